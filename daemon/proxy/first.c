/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a connection whose first request is still to come. Its listener may say so before a byte is read; where HTTP, TLS and
 * other protocols share a port, the first bytes do. A client that says nothing for a while may be waiting for its server to speak first:
 * then the endpoint of what is not HTTP is dialled, and whichever side speaks decides. (Envoy waits for the client for ever, or for
 * listener_filters_timeout.) */
#include "proxy/internal.h"

#include <sys/socket.h>

#include "proxy/client_hello.h"
#include "weft/first_line.h"
#include "weft/server_name.h"

#define SILENCE_MAX_MS 60000u

const struct weft_listener *find_listener(struct connection *connection, struct weft_image_handle *image)
{
	weft_ref ref = 0;

	*image = thread_routes(connection->thread, connection->pod->is.scope);
	if (!image->base || weft_find_listener(image, &connection->original, connection->original_port_be, &ref))
		return NULL;
	return weft_at(image, ref);
}

/* The chain of these bytes, or none. */
static void tunnel_or_close(struct connection *connection, weft_ref choice, u32 flags)
{
	if (choice)
		tunnel_open(connection, choice, flags);
	else
		connection_abort(connection, PROXY_REASON_NO_FILTER_CHAIN);
}

/* ---- before a byte is read --------------------------------------------------------------------------------------------------------- */

/* Bytes that are neither HTTP nor told apart by their server name: theirs is the server that may speak first. */
static weft_ref plain_choice(const struct weft_listener *listener)
{
	if (listener->kind == WEFT_LISTENER_TCP)
		return listener->tcp_choice;
	return listener->flags & WEFT_LISTENER_SNIFF ? listener->other_choice : 0;
}

/* True: the connection is a tunnel, or gone. */
static bool decide_at_once(struct connection *connection, const struct weft_listener *listener)
{
	if (!listener) {
		/* The listener went between capture and now: without the mesh the connection would be left alone, too. */
		COUNT(connection->thread, reasons[PROXY_REASON_NO_LISTENER]);
		tunnel_to_original(connection);
		return true;
	}
	switch (listener->kind) {
	case WEFT_LISTENER_TCP:
		if (listener->names)
			return false;
		tunnel_or_close(connection, listener->tcp_choice, listener->flags);
		return true;
	case WEFT_LISTENER_PASS:
		tunnel_to_original(connection);
		return true;
	case WEFT_LISTENER_BLOCK:
		connection_abort(connection, PROXY_REASON_BLOCKED);
		return true;
	default:
		return false;
	}
}

/* Requests that the kernel carries never come here, and it counts none whose response was relayed. */
static bool has_kernel_served(struct connection *connection)
{
	const struct proxy_backend *backend = &connection->thread->proxy->backend;
	struct weft_connection record = {0};
	union weft_sockaddr peer = {0};
	struct weft_address address;
	socklen_t len = sizeof(peer);
	u64 cookie = 0;

	if (connection->written || getpeername(connection->fd, &peer.any, &len) < 0)
		return true;
	address = weft_sockaddr_address(&peer);
	if (backend->connection_find(backend->arg, connection->pod->is.netns_cookie, &address, weft_sockaddr_port_be(&peer), &cookie, &record))
		return true;
	return cookie != connection->cookie || record.exchange || record.kernel_exchanges;
}

/* ---- by bytes ------------------------------------------------------------------------------------------------------------------------ */

static enum first decide_by_bytes(struct connection *connection)
{
	char name[SERVER_NAME_MAX + 1];
	struct weft_image_handle image;
	const struct weft_sni *found;
	const struct weft_listener *listener = find_listener(connection, &image);

	if (!image.base)
		return FIRST_HTTP;
	if (has_kernel_served(connection)) {
		connection->is_first = false;
		return FIRST_HTTP;
	}
	if (!listener || !listener->names)
		return decide_at_once(connection, listener) ? FIRST_TAKEN : FIRST_HTTP;
	switch (client_hello_read(buffer_bytes(&connection->in), buffer_len(&connection->in), name)) {
	case CLIENT_HELLO_MORE:
		return FIRST_WAIT;
	case CLIENT_HELLO_DONE:
		found = weft_find_server_name(&image, listener->names, name);
		tunnel_or_close(connection, found ? found->choice : 0, found ? found->flags : 0);
		return FIRST_TAKEN;
	case CLIENT_HELLO_LARGE:
		connection_abort(connection, PROXY_REASON_NO_FILTER_CHAIN);
		return FIRST_TAKEN;
	case CLIENT_HELLO_NONE:
		break;
	}
	if (listener->kind != WEFT_LISTENER_TCP)
		return FIRST_HTTP;
	tunnel_or_close(connection, listener->tcp_choice, listener->flags);
	return FIRST_TAKEN;
}

enum first first_decide(struct connection *connection)
{
	struct weft_image_handle image;
	const struct weft_listener *listener;

	if (!connection->was_looked_up) {
		listener = find_listener(connection, &image);
		connection->was_looked_up = true;
		if (image.base && decide_at_once(connection, listener))
			return FIRST_TAKEN;
		connection->looks_at_names = listener && listener->names;
		if (listener && plain_choice(listener)) {
			connection->silence_ms = connection->thread->proxy->limits.silence_ms;
			connection->silence_at_ms = now_ms() + connection->silence_ms;
			connection_timer(connection);
		}
	}
	if (!buffer_len(&connection->in))
		return probe_speaks(connection) ? FIRST_TAKEN : FIRST_WAIT;
	connection->silence_at_ms = 0;
	probe_close(connection);
	return connection->looks_at_names ? decide_by_bytes(connection) : FIRST_HTTP;
}

/* By the first line, as Envoy's http_inspector sees it; what is HTTP may still be malformed. FIRST_TAKEN: it is something else. */
static enum first inspect(const struct connection *connection, const struct weft_listener *listener, enum weft_parse parsed)
{
	switch (weft_inspect_first_line(buffer_bytes(&connection->in), buffer_len(&connection->in))) {
	case WEFT_FIRST_LINE_MORE:
		/* The parser is certain of a preface before it is whole; until then it may become something else. */
		if (parsed == WEFT_PARSE_PREFACE)
			return FIRST_WAIT;
		/* Envoy waits for the line's end, if need be for ever; a client that has said all it has to say waits for an answer. */
		return parsed == WEFT_PARSE_NOT_HTTP || parsed == WEFT_PARSE_BAD || parsed == WEFT_PARSE_VERSION ? FIRST_TAKEN : FIRST_HTTP;
	case WEFT_FIRST_LINE_HTTP_10:
		return listener->flags & WEFT_LISTENER_SNIFF_HTTP_10 ? FIRST_HTTP : FIRST_TAKEN;
	case WEFT_FIRST_LINE_HTTP_2:
		return listener->flags & WEFT_LISTENER_OTHER_HTTP_2 ? FIRST_TAKEN : FIRST_HTTP;
	case WEFT_FIRST_LINE_OTHER:
		return FIRST_TAKEN;
	default:
		return FIRST_HTTP;
	}
}

enum first first_inspect(struct connection *connection, enum weft_parse parsed)
{
	struct weft_connection_command keep = {.commands = WEFT_COMMAND_PROXY_ONLY};
	struct weft_image_handle image;
	const struct weft_listener *listener = find_listener(connection, &image);
	enum first found = listener && listener->flags & WEFT_LISTENER_SNIFF ? inspect(connection, listener, parsed) : FIRST_HTTP;

	if (found == FIRST_HTTP)
		return FIRST_HTTP;
	/* The kernel may have taken these bytes for a request that it leaves to the proxy. */
	if (connection->is_ordered)
		(void)order_ask(connection, &keep);
	/* In the middle of HTTP they are a bad request. */
	if (has_kernel_served(connection)) {
		connection->is_first = false;
		return FIRST_HTTP;
	}
	if (found == FIRST_WAIT)
		return FIRST_WAIT;
	if (listener->kind == WEFT_LISTENER_HTTP && listener->other_choice)
		tunnel_open(connection, listener->other_choice, listener->flags);
	else
		connection_abort(connection, PROXY_REASON_NOT_HTTP);
	return FIRST_TAKEN;
}

/* ---- silence --------------------------------------------------------------------------------------------------------------------------- */

static void probe_open(struct connection *connection)
{
	struct weft_image_handle image;
	const struct weft_listener *listener = find_listener(connection, &image);
	weft_ref choice = listener ? plain_choice(listener) : 0;

	if (!choice)
		return;
	exchange_begin(&connection->own, connection);
	connection->own.account.start_ns = 0; /* nobody has asked for anything */
	exchange_hash_source(&connection->own, listener->flags);
	if (!choose_cluster(connection, choice, &connection->own.cluster_id))
		(void)choose_once(&connection->own);
}

void probe_close(struct connection *connection)
{
	if (connection->own.upstream)
		exchange_release_upstream(&connection->own, false);
}

/* The server was the first to speak: its connection is the client's from now on. */
bool probe_speaks(struct connection *connection)
{
	const struct proxy_backend *backend = &connection->thread->proxy->backend;
	struct weft_connection_command keep = {.cookie = connection->cookie, .commands = WEFT_COMMAND_PROXY_ONLY};
	struct upstream *upstream = connection->own.upstream;
	ssize_t n;
	u8 byte;

	if (!upstream || !upstream->is_connected || !upstream->is_readable)
		return false;
	n = recv(upstream->fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		upstream->is_readable = errno == EINTR;
		return false;
	}
	if (n <= 0 || (connection->is_ordered && backend->connection_command(backend->arg, &keep)) || has_kernel_served(connection)) {
		probe_close(connection);
		connection->silence_at_ms = 0;
		return false;
	}
	account_begin(&connection->own);
	connection->own.account.is_tunnel = true;
	account_tunnel(&connection->own);
	tunnel_begin(connection);
	return true;
}

void first_timer(struct connection *connection, u64 now)
{
	struct upstream *probe = connection->own.upstream;

	if (connection->state != CONNECTION_HEAD || !connection->silence_at_ms || connection->silence_at_ms > now)
		return;
	connection->silence_at_ms = 0;
	if (!connection->is_first || buffer_len(&connection->in) || connection->is_ended || connection->thread->is_draining)
		return;
	if (connection->relay || has_kernel_served(connection)) {
		probe_close(connection);
		return;
	}
	if (!probe)
		probe_open(connection);
	else if (!probe->is_connected && connection->own.connect_deadline_ms <= now)
		probe_close(connection);
	if (!connection->own.upstream)
		return; /* nobody is there to speak */
	/* From now on only to see whether the client speaks with the kernel. */
	connection->silence_ms = connection->silence_ms * 2 < SILENCE_MAX_MS ? connection->silence_ms * 2 : SILENCE_MAX_MS;
	connection->silence_at_ms = now + connection->silence_ms;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a connection whose first request is still to come. Its listener may say so before a byte is read; where HTTP, TLS and
 * other protocols share a port, the first bytes do. */
#include "proxy/internal.h"

#include "proxy/client_hello.h"
#include "weft/server_name.h"

const struct weft_listener *find_listener(struct connection *connection, struct weft_image_handle *image)
{
	weft_ref ref = 0;

	*image = thread_routes(connection->thread, connection->pod->is.scope);
	if (!image->base || weft_find_listener(image, connection->original_ip4_be, connection->original_port_be, &ref))
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

/* ---- by bytes ------------------------------------------------------------------------------------------------------------------------ */

static enum first decide_by_bytes(struct connection *connection)
{
	char name[SERVER_NAME_MAX + 1];
	struct weft_image_handle image;
	const struct weft_sni *found;
	const struct weft_listener *listener = find_listener(connection, &image);

	if (!image.base)
		return FIRST_HTTP;
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
	}
	if (!buffer_len(&connection->in))
		return FIRST_WAIT;
	return connection->looks_at_names ? decide_by_bytes(connection) : FIRST_HTTP;
}

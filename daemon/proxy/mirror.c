/* SPDX-License-Identifier: Apache-2.0 */
/* Mirrors: a request that is whole is sent once more elsewhere, and what comes back is thrown away. Each has a connection of its own; it ends with
 * its response, with the route's timeout, or with the proxy. */
#include "proxy/policies.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <strings.h>

#include "weft/http1.h"

#define SHADOWS_EACH 1024u /* of a thread and a pod; Envoy: a circuit breaker of as many requests */
#define SHADOWS_MAX (4 * SHADOWS_EACH) /* of a thread */
#define RESPONSE_TIMEOUT_DEFAULT_MS 3600000u /* where the route has none, a server that never answers does not keep it for ever */

struct shadow {
	struct thread *thread;
	struct shadow *next, *prev;
	struct event event;
	int fd;
	u32 cluster_id, endpoint_id;
	u8 method;
	bool has_head;
	u32 share;              /* of the thread: `charged` counts there, and so does this */
	struct strbuf out;
	size_t sent, charged;
	struct buffer in;
	u8 body;                /* enum flow_body */
	u64 left;
	struct weft_chunked chunked;
};

/* ---- what it is sent ------------------------------------------------------------------------------------------------------------- */

/* Envoy: before the port, where there is one. */
static size_t host_len(const u8 *host, size_t len)
{
	const u8 *colon = memrchr(host, ':', len), *bracket = memrchr(host, ']', len);

	return colon && (!bracket || bracket < colon) ? (size_t)(colon - host) : len;
}

static const u8 *line_end(const u8 *at, const u8 *end)
{
	const u8 *found = memmem(at, (size_t)(end - at), "\r\n", 2);

	return found ? found : end;
}

/* The request as it went out, for a mirror: another Host, and who sent it (Envoy: send_internal, send_xff). */
static int write_request(const struct exchange *exchange, bool keeps_host, const struct weft_text *own_host, struct strbuf *out)
{
	static const char forwarded[] = "x-forwarded-for: ";
	const struct policies *policies = exchange->policies;
	const struct resend *resend = &policies->resend;
	const u8 *begin = resend->bytes, *blank = memmem(begin, resend->size, "\r\n\r\n", 4), *end = begin + resend->size, *host, *at, *body;
	const struct weft_address_text own = weft_address_text(client_address(exchange->connection));
	bool is_forwarded = false;
	size_t len;

	if (!blank)
		return -EINVAL;
	body = blank + 4;
	if (policies->plain_head) {
		begin = policies->plain_head;
		blank = begin + policies->plain_head_len - 4;
	}
	at = line_end(begin, blank) + 2;
	strbuf_append(out, begin, (size_t)(at - begin));
	weft_assert(blank - at >= 6 && !strncasecmp((const char *)at, "host: ", 6));
	host = at + 6;
	at = line_end(at, blank);
	len = host_len(host, (size_t)(at - host));
	strbuf_append_text(out, "host: ");
	if (own_host)
		strbuf_append(out, own_host->bytes, own_host->len);
	else
		strbuf_append(out, host, keeps_host ? (size_t)(at - host) : len);
	if (!own_host && !keeps_host) {
		strbuf_append_text(out, "-shadow");
		strbuf_append(out, host + len, (size_t)(at - host) - len);
	}
	strbuf_append_text(out, "\r\n");
	for (at += 2; at < blank; at = line_end(at, blank) + 2) {
		const u8 *next = line_end(at, blank);

		strbuf_append(out, at, (size_t)(next - at));
		if (!is_forwarded && (size_t)(next - at) >= sizeof(forwarded) - 1 && !strncasecmp((const char *)at, forwarded, sizeof(forwarded) - 1)) {
			is_forwarded = true;
			strbuf_printf(out, ",%s", own.text);
		}
		strbuf_append_text(out, "\r\n");
	}
	strbuf_append_text(out, "x-envoy-internal: true\r\n");
	if (!is_forwarded)
		strbuf_printf(out, "x-forwarded-for: %s\r\n", own.text);
	strbuf_append_text(out, "\r\n");
	strbuf_append(out, body, (size_t)(end - body));
	return strbuf_status(out);
}

/* ---- its connection -------------------------------------------------------------------------------------------------------------- */

static void shadow_free(struct shadow *shadow)
{
	struct thread *thread = shadow->thread;

	event_del(&shadow->event);
	if (shadow->fd >= 0) {
		close(shadow->fd);
		COUNT_ADD(thread, upstreams, -1);
		count_load(thread, shadow->cluster_id, shadow->endpoint_id, -1);
	}
	if (shadow->prev)
		shadow->prev->next = shadow->next;
	else
		thread->shadows = shadow->next;
	if (shadow->next)
		shadow->next->prev = shadow->prev;
	thread->shadow_count--;
	thread->shares[shadow->share].shadows--;
	if (shadow->charged)
		memory_give(thread, shadow->share, shadow->charged);
	buffer_release(thread, &shadow->in);
	strbuf_release(&shadow->out);
	free(shadow);
}

void shadows_free(struct thread *thread)
{
	while (thread->shadows)
		shadow_free(thread->shadows);
}

/* 0; -EAGAIN: there is more to come; else it is over. */
static int take_head(struct shadow *shadow)
{
	struct weft_head *head = &shadow->thread->head;
	int verdict = weft_parse_response((const struct weft_head_bytes *)buffer_bytes(&shadow->in), buffer_len(&shadow->in), shadow->method, head);

	if (verdict == WEFT_PARSE_MORE)
		return -EAGAIN;
	if (verdict != WEFT_PARSE_DONE || head->status == 101)
		return -EPROTO;
	buffer_consume(shadow->thread, &shadow->in, head->head_len);
	if (head->status < 200)
		return 0;
	shadow->has_head = true;
	shadow->body = FLOW_UNTIL_CLOSE;
	if (head->flags & WEFT_HEAD_NO_BODY) {
		shadow->body = FLOW_NONE;
	} else if (head->flags & WEFT_HEAD_CONTENT_LENGTH) {
		shadow->body = FLOW_LENGTH;
		shadow->left = head->content_length;
	} else if (head->flags & WEFT_HEAD_CHUNKED) {
		shadow->body = FLOW_CHUNKED;
		weft_chunked_init(&shadow->chunked);
	}
	return 0;
}

static int take_body(struct shadow *shadow)
{
	u32 len = buffer_len(&shadow->in);
	size_t used = len;
	int r = 0;

	if (shadow->body == FLOW_CHUNKED && len)
		r = weft_chunked_feed(&shadow->chunked, buffer_bytes(&shadow->in), len, &used);
	if (shadow->body == FLOW_LENGTH)
		shadow->left -= WEFT_MIN(shadow->left, (u64)len);
	if (len)
		buffer_consume(shadow->thread, &shadow->in, len);
	if (shadow->body == FLOW_NONE || (shadow->body == FLOW_LENGTH && !shadow->left) ||
	    (shadow->body == FLOW_CHUNKED && len && (r == WEFT_CHUNKED_DONE || r == WEFT_CHUNKED_BAD)))
		return -ENODATA;
	return -EAGAIN;
}

static int shadow_read(struct shadow *shadow)
{
	ssize_t n;
	int r;

	if (!buffer_space(&shadow->in) || buffer_reserve_read(shadow->thread, &shadow->in, false))
		return -ENOBUFS;
	n = recv(shadow->fd, shadow->in.block->data + shadow->in.end, buffer_room(&shadow->in), MSG_DONTWAIT);
	if (n <= 0)
		return n < 0 ? -errno : -ENODATA;
	shadow->in.end += (u32)n;
	do {
		r = shadow->has_head ? take_body(shadow) : buffer_len(&shadow->in) ? take_head(shadow) : -EAGAIN;
	} while (!r);
	return r == -EAGAIN ? 0 : r;
}

static int shadow_write(struct shadow *shadow)
{
	while (shadow->sent < shadow->out.size) {
		ssize_t n = send(shadow->fd, shadow->out.data + shadow->sent, shadow->out.size - shadow->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return -errno;
		shadow->sent += (size_t)n;
	}
	return 0;
}

static void on_shadow(evutil_socket_t fd, short what, void *arg)
{
	struct shadow *shadow = arg;
	int r = what & EV_TIMEOUT ? -ETIMEDOUT : shadow_write(shadow);

	(void)fd;
	/* A server may answer before it has read everything. */
	if (r == -EPIPE || r == -ECONNRESET)
		r = 0;
	while (!r && what & (EV_READ | EV_CLOSED))
		r = shadow_read(shadow);
	if (r && r != -EAGAIN && r != -EINTR && r != -EINPROGRESS && r != -ENOTCONN)
		shadow_free(shadow);
}

static int shadow_dial(struct shadow *shadow, const struct weft_endpoint *endpoint, u32 timeout_ms)
{
	union weft_sockaddr address;
	socklen_t len = weft_sockaddr_fill(&address, &endpoint->address, endpoint->port_be);
	struct timeval wait = {.tv_sec = timeout_ms / 1000, .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
	int on = 1;

	(void)setsockopt(shadow->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(shadow->fd, &address.any, len) && errno != EINPROGRESS)
		return -errno;
	event_assign(&shadow->event, shadow->thread->base, shadow->fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_shadow, shadow);
	return event_add(&shadow->event, &wait) ? -ENOMEM : 0;
}

/* Beside the copy that the exchange keeps: it may have to wait for a mirror that doesn't read. */
static int shadow_charge(struct shadow *shadow)
{
	int r = memory_take(shadow->thread, shadow->share, shadow->out.capacity);

	if (!r)
		shadow->charged = shadow->out.capacity;
	return r;
}

static bool shadow_new(struct exchange *exchange, u32 cluster_id, bool keeps_host, const struct weft_text *own_host)
{
	struct connection *connection = exchange->connection;
	struct thread *thread = connection->thread;
	struct exchange choice = {.connection = connection, .cluster_id = cluster_id};
	struct weft_endpoint endpoint = {0};
	const char *body = NULL;
	u32 connect_timeout_ms, share = connection->pod->is.pod_id % SHARES;
	struct shadow *shadow;
	u16 status;

	if (thread->shadow_count >= SHADOWS_MAX || thread->shares[share].shadows >= SHADOWS_EACH ||
	    choose_endpoint(&choice, 0, &endpoint, &connect_timeout_ms, &status, &body))
		return false;
	shadow = calloc(1, sizeof(*shadow));
	if (!shadow)
		return false;
	*shadow = (struct shadow){
		.thread = thread, .cluster_id = cluster_id, .endpoint_id = endpoint.id, .method = exchange->method, .share = share, .out = STRBUF_INIT,
		.next = thread->shadows,
	};
	event_assign(&shadow->event, thread->base, -1, 0, on_shadow, shadow);
	if (shadow->next)
		shadow->next->prev = shadow;
	thread->shadows = shadow;
	thread->shadow_count++;
	thread->shares[share].shadows++;
	shadow->fd = thread_socket(thread, connection->pod, weft_address_af(&endpoint.address));
	if (shadow->fd >= 0) {
		COUNT(thread, upstreams);
		COUNT(thread, upstreams_opened);
		count_load(thread, cluster_id, endpoint.id, 1);
	}
	if (shadow->fd < 0 || write_request(exchange, keeps_host, own_host, &shadow->out) || shadow_charge(shadow) ||
	    shadow_dial(shadow, &endpoint, exchange->timeout_ms ? exchange->timeout_ms : RESPONSE_TIMEOUT_DEFAULT_MS)) {
		shadow_free(shadow);
		return false;
	}
	return true;
}

/* The cluster that the request as it went out names. */
static u32 cluster_in(const struct exchange *exchange, const struct weft_text *header)
{
	const struct resend *resend = &exchange->policies->resend;
	const u8 *begin = resend->bytes, *end = begin + resend->size, *blank = memmem(begin, resend->size, "\r\n\r\n", 4);

	for (const u8 *at = begin; blank && at < blank; at = line_end(at, end) + 2) {
		const u8 *next = line_end(at, end), *value = at + header->len + 1;

		if (next - at <= (ptrdiff_t)header->len || at[header->len] != ':' || strncasecmp((const char *)at, (const char *)header->bytes, header->len))
			continue;
		while (value < next && *value == ' ')
			value++;
		return cluster_named(exchange->connection, (struct text_span){value, (u32)(next - value)});
	}
	return 0;
}

void mirrors_send(struct exchange *exchange)
{
	struct policies *policies = exchange->policies;
	struct thread *thread = exchange->connection->thread;
	const struct weft_mirrors *mirrors;

	if (!policies || !policies->mirrors || exchange->is_local || exchange->connection->state != CONNECTION_EXCHANGE)
		return;
	if (resend_take(exchange) || !policies->mirrors) /* it was too long */
		return;
	mirrors = TAKE_PTR(policies->mirrors);
	for (u32 i = 0; i < mirrors->count; i++) {
		const struct weft_image_handle *image = &policies->routes->handle;
		const struct weft_fraction *fraction = &mirrors->items[i].fraction;
		weft_ref header = mirrors->items[i].cluster_header, host = mirrors->items[i].host;
		u32 cluster_id = mirrors->items[i].cluster_id;

		if (fraction->numerator < fraction->denominator && thread_random(thread) % fraction->denominator >= fraction->numerator)
			continue;
		if (header)
			cluster_id = cluster_in(exchange, weft_at(image, header));
		if (shadow_new(exchange, cluster_id, mirrors->items[i].flags & WEFT_MIRROR_KEEPS_HOST, host ? weft_at(image, host) : NULL))
			COUNT(thread, mirrored);
		else
			COUNT(thread, mirrors_dropped);
	}
}

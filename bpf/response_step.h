/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the two response programs share: the decision about a response's first bytes, and the account of the rest. */
#ifndef WEFT_BPF_RESPONSE_STEP_H
#define WEFT_BPF_RESPONSE_STEP_H

#include "exchange.h"
#include "memory.h"
#include "scratch.h"
#include "weft/chunked.h"
#include "weft/http1.h"

/* Its head, from `copied` bytes in scratch->bytes into scratch->head: 0, or a reason. */
static __always_inline u32 response_parse(struct scratch *scratch, u32 copied, const struct weft_upstream *upstream)
{
	int parsed = weft_parse_response(&scratch->bytes, copied, upstream->method, &scratch->head);

	if (parsed == WEFT_PARSE_MORE)
		return WEFT_REASON_RESPONSE_PARTIAL_HEAD;
	if (parsed != WEFT_PARSE_DONE)
		return WEFT_REASON_RESPONSE_BAD_HEAD;
	return WEFT_REASON_NONE;
}

/* Can the kernel carry this response to its end? `available` bytes are here, `copied` of them in scratch->bytes, and scratch->head is its head.
 * Returns a reason why not (WEFT_REASON_NONE: it can) and the size of the whole message. */
static __always_inline u32 response_judge(struct scratch *scratch, u32 copied, u32 available, const struct weft_upstream *upstream,
					  u64 *total_out)
{
	struct weft_control *settings = control_get();
	struct weft_head *head = &scratch->head;
	u64 total;

	if (!settings)
		return WEFT_REASON_FAST_PATH_OFF;
	if (head->status < 200)
		return WEFT_REASON_RESPONSE_INTERIM; /* not an answer yet: the request goes on */
#ifndef WEFT_WITHOUT_COMPLETENESS
	if (request_owed(upstream))
		return WEFT_REASON_RESPONSE_EARLY;
#endif
	if (head->flags & (WEFT_HEAD_CLOSE | WEFT_HEAD_CONNECTION_OTHER | WEFT_HEAD_HTTP_10))
		return WEFT_REASON_RESPONSE_CLOSE;
	if (head->flags & WEFT_HEAD_UNTIL_CLOSE)
		return WEFT_REASON_RESPONSE_UNTIL_CLOSE;
	if (head->flags & WEFT_RESPONSE_PROXY_ONLY)
		return WEFT_REASON_PRIVATE_HEADER;
	if (head->flags & WEFT_HEAD_NO_BODY) {
		total = head->head_len;
	} else if (head->flags & WEFT_HEAD_CHUNKED) {
		/* Whole, with its last chunk, and in sight: else it is a stream. */
		if (available > copied || weft_chunked_whole(&scratch->bytes, head->head_len, copied) != 1)
			return WEFT_REASON_RESPONSE_CHUNKED;
		total = available;
	} else {
		total = head->head_len + head->content_length;
#ifndef WEFT_WITHOUT_REDIRECT_LIMIT
		if (head->content_length > settings->redirect_limit_bytes)
			return WEFT_REASON_RESPONSE_TOO_LARGE;
#endif
	}
#ifndef WEFT_WITHOUT_REDIRECT_LIMIT
	if (total > settings->redirect_limit_bytes)
		return WEFT_REASON_RESPONSE_TOO_LARGE;
#endif
	if (available > total)
		return WEFT_REASON_RESPONSE_EXCESS;
	*total_out = total;
	return WEFT_REASON_NONE;
}

/* Is the client there, waiting for this very exchange, with nothing on its way to it, and can it take `total` bytes? `needed`: receive buffer that
 * the move charges; a reader whose buffer is full is served by a timer, 16 MB a second (kernel-facts). */
static __always_inline u32 client_judge(const struct weft_upstream *upstream, u32 slot, u64 word, struct weft_connection *connection,
					u64 total, u64 needed)
{
	struct socket_queues queues;

	if (!connection || connection->exchange != WEFT_EXCHANGE(slot, WEFT_LEASE(word)))
		return WEFT_REASON_RESPONSE_LOOKUP_MISS;
	socket_queues_read(connection->sock, upstream->client_cookie, QUEUES_ARRIVED | QUEUES_RECEIVE_ROOM, &queues);
	if (!queues_are_drained(&queues))
		return WEFT_REASON_RESPONSE_CLIENT_NOT_DRAINED;
	if ((s64)needed > (s64)queues.free_receive_bytes)
		return WEFT_REASON_RESPONSE_CLIENT_FULL;
	return has_socket_memory(connection->sock, total) ? WEFT_REASON_NONE : WEFT_REASON_RESPONSE_SOCKET_MEMORY;
}

/* The connection of a response of which `n` more bytes are redirected now: only who ends the exchange looks for it. */
static __always_inline struct weft_connection *connection_at_end(const struct weft_upstream *upstream, const u64 *client, u64 n)
{
	return upstream->response_remaining == n ? bpf_map_lookup_elem(&connections, client) : NULL;
}

/* `n` more bytes of the response have been redirected. `connection` matters with the last of them; `now` may be 0: not known. */
static __always_inline void response_advance(struct weft_upstream *upstream, u32 slot, u64 word, struct weft_connection *connection, u64 n,
					     enum weft_mover mover, u64 now)
{
	upstream->response_bytes += n;
	upstream->response_remaining -= n;
	if (!upstream->response_remaining)
		exchange_complete(upstream, slot, word, connection, mover, now);
}

#endif

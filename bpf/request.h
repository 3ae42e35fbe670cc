/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* `request`: sk_msg on the client's socket. Each write of the application is one run: parse, route, balance, lend, redirect; or hand
 * the bytes up to the proxy (SK_PASS) under a named reason. One exchange, one path. */
#ifndef WEFT_BPF_REQUEST_H
#define WEFT_BPF_REQUEST_H

#include "blocking.h"
#include "delivered.h"
#include "exchange.h"
#include "kernel.h"
#include "local_reply.h"
#include "memo.h"
#include "memory.h"
#include "message.h"
#include "weft/fast.h"
#include "weft/http1.h"
#include "weft/location.h"
#include "weft/lookup.h"
#include "weft/router.h"

const volatile bool has_cork = false;

/* What a stage of the request returns: 0 when the bytes were sent, else why they go to the proxy (enum weft_reason), and: */
#define REQUEST_REASON 0x7f
#define REQUEST_KEEP 0x80 /* the connection stays with the proxy */
#define REQUEST_MORE 0x100 /* the head is not whole */
#define REQUEST_HASH 0x400 /* the cluster hashes: see request_hash() */
#define REQUEST_REST 0x200 /* it is the rest of a body that goes up, no request: none comes any more */

/* Stages are global functions: each has its own stack frame and is verified once. A pointer that lives in memory is none to the
 * verifier, so they are handed what they need. */

/* May a new exchange begin in the kernel? Only when the TCP leg of this connection is empty in both directions: everything that
 * went up to the proxy has been taken and answered, and the client has read the answers. */
WEFT_STAGE int connection_judge(struct weft_connection *connection, u64 cookie)
{
	struct socket_queues queues;

	if (!connection)
		return WEFT_REASON_NO_CONNECTION;
	socket_queues_read(connection->sock, cookie, QUEUES_ARRIVED | QUEUES_SENT, &queues);
	if (!queues.is_known)
		return WEFT_REASON_NO_CONNECTION;
	if (how_it_reads(connection->sock) == READS_WAIT)
		return WEFT_REASON_BLOCKING_CLIENT | REQUEST_KEEP;
#ifndef WEFT_WITHOUT_HANDOVER
	if (queues.write_seq - connection->write_base != connection->proxy_consumed ||
	    queues.rcv_nxt - connection->read_base != connection->proxy_written)
		return WEFT_REASON_PROXY_BUSY;
#endif
	if (!queues_are_drained(&queues))
		return WEFT_REASON_NOT_DRAINED;
	if (!delivery_wait(connection, cookie))
		return WEFT_REASON_NOT_DELIVERED;
	connection->mover = WEFT_MOVER_NONE;
	return WEFT_REASON_NONE;
}

/* When a redirect fails after the verdict (its target was closed that moment, or there was no memory), the application is told that less was written, and
 * comes again. Bytes may be
 * - the last piece of a body on the bypass, where nothing tells what has arrived: it begins as that did;
 * - of a head that the program made shorter, as many bytes behind its beginning: they begin as those do, or are none; where the beginnings are equal,
 *   or not known, they may be. Only a dead upstream's: else it fails before anything is told. */
static __always_inline bool may_come_again(struct sk_msg_md *msg, const struct weft_upstream *upstream, bool is_dead)
{
	u64 expected = upstream->said_again;
	u32 n = msg->size;

	if (!n || n > sizeof(expected))
		n = sizeof(expected);
	switch (upstream->said_kind) {
	case WEFT_SAID_BODY:
		return n <= msg->size && expected && !bpf_msg_pull_data(msg, 0, n, 0) && message_word(msg, 0, n) == expected;
	case WEFT_SAID_HEAD:
		break;
	default:
		return false;
	}
	if (!is_dead)
		return false;
	if (!expected || bpf_msg_pull_data(msg, 0, n, 0))
		return true;
	return message_word(msg, 0, n) == (expected & ~0ull >> (64 - 8 * n));
}

/* The last piece of a body, of at least eight bytes. */
static __always_inline void last_piece_keep(struct sk_msg_md *msg, struct weft_upstream *upstream)
{
	u64 word = 0;

	if (msg->size >= sizeof(word) && !bpf_msg_pull_data(msg, 0, sizeof(word), 0))
		word = message_word(msg, 0, sizeof(word));
	upstream->said_again = word;
	upstream->said_kind = WEFT_SAID_BODY;
}

/* The server will never have all of this request, nor shall anybody read what is left of it as one. */
WEFT_STAGE int message_rest(struct sk_msg_md *msg, struct weft_connection *connection, u64 cookie)
{
	struct weft_upstream *upstream;
	u64 exchange;
	u32 slot;

	if (!connection)
		return WEFT_REASON_NO_CONNECTION;
	exchange = connection->exchange;
	slot = WEFT_EXCHANGE_SLOT(exchange);
	upstream = exchange ? bpf_map_lookup_elem(&upstreams, &slot) : NULL;
	if (upstream && WEFT_LEASE(upstream->state) == WEFT_EXCHANGE_LEASE(exchange) && upstream->client_cookie == cookie) {
		upstream->request_remaining += msg->size;
		upstream->is_dead = 1;
		event_send(WEFT_EVENT_UPSTREAM_DEAD, slot, upstream->cookie, upstream->pod_id, upstream->endpoint_id);
	}
	return WEFT_REASON_REDIRECT_FAILED | REQUEST_KEEP | REQUEST_REST;
}

/* Body bytes of an exchange that is open: they follow its head. Anything else while an exchange is open is pipelining, but for what comes again. No
 * server must see that, and nobody must read it as a request. */
WEFT_STAGE int exchange_continue(struct sk_msg_md *msg, struct weft_connection *connection, u64 cookie)
{
	struct weft_upstream *upstream;
	u64 exchange, word, key, remaining;
	u32 slot, n, edited_head_len;
	long verdict;

	if (!connection)
		return WEFT_REASON_NO_CONNECTION;
	exchange = connection->exchange;
	slot = WEFT_EXCHANGE_SLOT(exchange);
	n = msg->size;
	upstream = bpf_map_lookup_elem(&upstreams, &slot);
	if (!upstream)
		return WEFT_REASON_PIPELINED | REQUEST_KEEP;
	word = upstream->state;
	if (WEFT_LEASE(word) != WEFT_EXCHANGE_LEASE(exchange))
		return WEFT_REASON_PIPELINED | REQUEST_KEEP;
	edited_head_len = upstream->edited_head_len;
	if (upstream->client_cookie != cookie) /* the worker has closed it, and is about to say so */
		return upstream->request_remaining || may_come_again(msg, upstream, true) ? WEFT_REASON_RESPONSE_EARLY | REQUEST_KEEP | REQUEST_REST :
						     WEFT_REASON_PIPELINED | REQUEST_KEEP;
	remaining = request_owed(upstream);
	if (edited_head_len && remaining > upstream->request_total - edited_head_len) {
		upstream->is_dead = 1;
		response_pass(upstream, slot, word, WEFT_REASON_EDIT_FAILED);
		return WEFT_REASON_EDIT_FAILED | REQUEST_KEEP | REQUEST_REST;
	}
	if (!remaining) {
		if (!may_come_again(msg, upstream, upstream->is_dead))
			return WEFT_REASON_PIPELINED | REQUEST_KEEP;
		upstream->request_remaining = n; /* whoever answers says that it is the last answer */
		return WEFT_REASON_RESPONSE_EARLY | REQUEST_KEEP | REQUEST_REST;
	}
	/* While a response is relayed the body goes on to its server, which may wait for the rest even after an early answer. It ends with
	 * the exchange, or with its socket: a write on one that was reset would give the application ECONNRESET. What comes then is the
	 * worker's to throw away. */
	if ((WEFT_STATE(word) != WEFT_UPSTREAM_LENT && WEFT_STATE(word) != WEFT_UPSTREAM_RELAYED) || upstream->is_dead)
		return WEFT_REASON_RESPONSE_EARLY | REQUEST_KEEP | REQUEST_REST;

	if (n > remaining) {
		/* The next request in the same write: this verdict ends with the message, and pipelining is the proxy's. */
		__sync_fetch_and_or(&connection->flags, WEFT_CONNECTION_PROXY_ONLY | WEFT_CONNECTION_SPLIT);
		n = remaining;
		bpf_msg_apply_bytes(msg, n);
	}
	if (upstream->path == WEFT_PATH_BYPASS) {
		upstream->body_sock = connection->sock;
		if (remaining == n)
			last_piece_keep(msg, upstream);
		key = upstream->server_cookie;
		verdict = bpf_msg_redirect_hash(msg, &server_sockets, &key, BPF_F_INGRESS);
	} else {
		key = upstream->cookie;
		verdict = bpf_msg_redirect_hash(msg, &upstream_sockets, &key, 0);
	}
	if (verdict != SK_PASS) {
		upstream->is_dead = 1;
		response_pass(upstream, slot, word, WEFT_REASON_LOOKUP_MISS);
		return WEFT_REASON_LOOKUP_MISS | REQUEST_KEEP | REQUEST_REST;
	}
	upstream->request_bytes += n;
	upstream->request_remaining = remaining - n;
	deadline_set(upstream, remaining == n, bpf_ktime_get_ns());
	return 0;
}

/* May the request go to this upstream: is the former one there, and room for all of this one? Returns a reason why not. */
static __always_inline u32 target_judge(struct weft_upstream *upstream, bool is_bypass, u64 total, u64 cookie)
{
	bool was_remote = upstream->path == WEFT_PATH_REMOTE;
	struct socket_queues queues;

	if (!was_remote && !body_has_arrived(upstream, cookie))
		return WEFT_REASON_SERVER_NOT_DELIVERED;
	if (was_remote || !is_bypass) {
		socket_queues_read(upstream->sock, upstream->cookie, QUEUES_SENT | QUEUES_SEND_ROOM, &queues);
#ifndef WEFT_WITHOUT_ARRIVED
		if (was_remote && queues.write_seq - upstream->request_base != (u32)upstream->request_total) {
			upstream->is_dead = 1; /* nobody sends the rest any more, and this request would be read as it */
			return WEFT_REASON_SERVER_NOT_DELIVERED;
		}
#endif
	}
	if (is_bypass) {
		socket_queues_read(upstream->server_sock, upstream->server_cookie, QUEUES_ARRIVED, &queues);
		if (!queues_are_drained(&queues))
			return WEFT_REASON_SERVER_NOT_DRAINED;
		return has_socket_memory(upstream->server_sock, total) ? WEFT_REASON_NONE : WEFT_REASON_SOCKET_MEMORY;
	}
	/* Beyond the free send buffer a non-blocking client would wait for an EPOLLOUT that never comes. The eighth and the page are
	 * what the kernel charges beside the bytes. */
#ifndef WEFT_WITHOUT_SEND_ROOM
	if (!queues.is_known || (s64)(total + total / 8 + 4096) > (s64)queues.free_send_bytes)
		return WEFT_REASON_UPSTREAM_FULL;
#endif
	upstream->request_base = queues.write_seq;
	return WEFT_REASON_NONE;
}

/* What becomes of the response's head goes with the exchange: the image may be another when it comes. */
WEFT_STAGE int response_changes_keep(struct scratch *scratch, u32 slot)
{
	const struct weft_response_changes *changes;
	struct weft_cursor cursor = {};

	if (!scratch)
		return -1;
	changes = WEFT_OBJECT(weft_response_changes, &scratch->route_query.image, &cursor, scratch->route.response_changes);
	if (!changes)
		return -1;
	return bpf_map_update_elem(&response_changes, &slot, changes, BPF_ANY) ? -1 : 0;
}

/* The request in `msg` is wholly known and its endpoint chosen: send it on a lent upstream. */
WEFT_STAGE int exchange_begin(struct sk_msg_md *msg, struct weft_connection *connection, struct scratch *scratch)
{
	struct weft_control *settings = control_get();
	struct weft_upstream *upstream;
	u32 slot, n = msg->size, reason, head_len, old_len;
	u64 total, word, now, key;
	bool is_bypass, always_changes, is_edited;

	if (!connection || !scratch || !settings)
		return WEFT_REASON_NO_CONNECTION;
	old_len = scratch->sent_head_len;
	head_len = scratch->head.head_len;
	always_changes = weft_changes_always(&scratch->head);
	is_edited = scratch->route.changes || scratch->is_rewritten || always_changes;
	if ((is_edited || scratch->route.response_changes) && !has_push_pop)
		return WEFT_REASON_EDITS_OFF;
	if (scratch->route.changes)
		head_len = weft_change_head(&scratch->change, &scratch->route_query, &scratch->bytes, &scratch->head, scratch->route.changes);
	else if (always_changes)
		head_len = weft_change_always(&scratch->change, &scratch->bytes, &scratch->head);
	if (!head_len)
		return WEFT_REASON_EDITED_TOO_LARGE;
	n += head_len - old_len;
	total = head_len + scratch->head.content_length;
	if (upstream_lend(connection, scratch->endpoint.id, !!(scratch->endpoint.flags & WEFT_ENDPOINT_BY_LOAD), &scratch->lease))
		return WEFT_REASON_NO_UPSTREAM;
	slot = scratch->lease.slot;
	word = scratch->lease.word;
	upstream = bpf_map_lookup_elem(&upstreams, &slot);
	if (!upstream)
		return WEFT_REASON_NO_UPSTREAM;

	is_bypass = upstream->server_cookie && settings->fast_path == WEFT_FAST_PATH_ON;
	if (is_bypass && how_it_reads(upstream->server_sock) == READS_WAIT) {
		server_waits(upstream, slot, word);
		return WEFT_REASON_BLOCKING_SERVER;
	}
	reason = is_bypass || has_sk_skb ? target_judge(upstream, is_bypass, total, scratch->cookie) : WEFT_REASON_NO_REMOTE;
	if (reason != WEFT_REASON_NONE) {
		upstream_return(upstream, word);
		return reason;
	}

	if (scratch->route.response_changes && response_changes_keep(scratch, slot)) {
		upstream_return(upstream, word);
		return WEFT_REASON_EDIT_FAILED;
	}

	now = bpf_ktime_get_ns();
	upstream->client_cookie = scratch->cookie;
	upstream->start_ns = now;
	upstream->first_byte_ns = 0;
	STORE_CHANGED(upstream->timeout_ms, scratch->route.timeout_ms);
	deadline_set(upstream, total == n, now);
	STORE_CHANGED(upstream->request_bytes, n);
	upstream->response_bytes = 0;
	upstream->request_remaining = total - n;
	STORE_CHANGED(upstream->request_total, total);
	upstream->response_remaining = 0;
	STORE_CHANGED(upstream->route_id, scratch->route.route_id);
	STORE_CHANGED(upstream->cluster_id, scratch->route.cluster_id);
	upstream->status = 0;
	upstream->method = scratch->head.method;
	upstream->path = is_bypass ? WEFT_PATH_BYPASS : WEFT_PATH_REMOTE;
	STORE_CHANGED(upstream->passed_reason, WEFT_REASON_NONE);
	STORE_CHANGED(upstream->body_sock, 0);
	STORE_CHANGED(upstream->edited_head_len, is_edited ? head_len : 0);
	STORE_CHANGED(upstream->said_kind, is_edited && head_len < old_len ? WEFT_SAID_HEAD : WEFT_SAID_NOTHING);
	if (is_edited && head_len < old_len)
		STORE_CHANGED(upstream->said_again, message_word(msg, old_len - head_len, sizeof(upstream->said_again)));
	STORE_CHANGED(upstream->head_growth, head_len - old_len);
	STORE_CHANGED(upstream->changes_response, !!scratch->route.response_changes);
	connection->exchange = WEFT_EXCHANGE(slot, WEFT_LEASE(word));

	/* The helper's result is the look-up: on a miss nothing was touched and the proxy can still have the bytes. */
	key = is_bypass ? upstream->server_cookie : upstream->cookie;
	if ((is_bypass ? bpf_msg_redirect_hash(msg, &server_sockets, &key, BPF_F_INGRESS)
		       : bpf_msg_redirect_hash(msg, &upstream_sockets, &key, 0)) != SK_PASS) {
		connection->exchange = 0;
		upstream->is_dead = 1; /* its socket is gone; sock_ops or the worker will say so too */
		upstream_return(upstream, word);
		return WEFT_REASON_LOOKUP_MISS;
	}
	/* Only now, when it is certain where they go: the client's bytes are never changed and then handed up. From here on the message has a target,
	 * so that without memory it takes the way of a write that was split. */
	if (is_edited && !edit_head(msg, scratch, old_len, head_len)) {
		connection->exchange = 0;
		upstream_return(upstream, word);
		__sync_fetch_and_or(&connection->flags, WEFT_CONNECTION_SPLIT);
		return WEFT_REASON_EDIT_FAILED | REQUEST_KEEP;
	}
	count(WEFT_COUNTER_PATHS + (is_bypass ? WEFT_PATH_BYPASS : WEFT_PATH_REMOTE), 1);
	return 0;
}

/* "HTTP/1.1 302 ..." */
static __always_inline u32 status_written(const u8 *line)
{
	return (line[9] - '0') * 100 + (line[10] - '0') * 10 + line[11] - '0';
}

/* What the kernel answers by itself. `answer`: 404, 503 (no healthy upstream), 302 for the route's redirect, or 0 for its direct response. A request whose
 * body is here or on its way is the proxy's: Envoy closes the connection after such a reply. */
WEFT_STAGE int request_answer(struct sk_msg_md *msg, struct weft_connection *connection, struct scratch *scratch, u32 answer)
{
	const struct weft_direct_response *direct;
	struct weft_traffic_key kind = {};
	struct local_reply reply = {};
	bool is_head;
	int size;

	if (!connection || !scratch)
		return WEFT_REASON_NO_CONNECTION;
	if (scratch->head.flags & WEFT_HEAD_CONTENT_LENGTH)
		return WEFT_REASON_DIRECT_WITH_BODY;
	if (scratch->head.flags & WEFT_HEAD_CONTENT_TYPE)
		return WEFT_REASON_DIRECT_CONTENT_TYPE;
	/* The reply takes the whole message's place: a further request in the same write would be lost with it. */
	if (msg->size > scratch->sent_head_len)
		return WEFT_REASON_PIPELINED | REQUEST_KEEP;
	is_head = scratch->head.method == WEFT_METHOD_HEAD;
	if (is_head && (answer == 404 || answer == 302))
		return WEFT_REASON_DIRECT_TOO_LARGE; /* Envoy says that there would be a chunked body */
	if (answer == 404) {
		reply.status = 404;
		reply.head = not_found_head;
		reply.head_len = sizeof(not_found_head) - 1;
		reply.body = not_found_head;
	} else if (answer == 503) {
		reply.status = 503;
		reply.head = unhealthy_head;
		reply.head_len = sizeof(unhealthy_head) - 1;
		reply.body = unhealthy_body;
		reply.body_len = is_head ? 0 : sizeof(unhealthy_body) - 1;
	} else if (answer == 302) {
		reply.head_len = weft_location_head(&scratch->change, &scratch->route_query, &scratch->bytes, &scratch->head, scratch->route.location);
		if (!reply.head_len || reply.head_len > LOCAL_HEAD_MAX)
			return WEFT_REASON_DIRECT_TOO_LARGE;
		reply.status = status_written(scratch->change.out);
		reply.head = scratch->change.out;
		reply.body = scratch->change.out;
	} else {
		direct = weft_at(&scratch->route_query.image, scratch->route.direct);
		if (!direct)
			return WEFT_REASON_IMAGE_MISSING;
		reply.status = direct->status;
		reply.head_len = direct->head_len;
		reply.body_len = is_head ? 0 : direct->body_len;
		if (is_head && !direct->body_len)
			return WEFT_REASON_DIRECT_TOO_LARGE;
		if (reply.head_len > LOCAL_HEAD_MAX || reply.body_len > LOCAL_BODY_MAX)
			return WEFT_REASON_DIRECT_TOO_LARGE;
		reply.head = weft_at(&scratch->route_query.image, direct->head);
		reply.body = reply.body_len ? weft_at(&scratch->route_query.image, direct->body) : reply.head;
		if (!reply.head || !reply.body)
			return WEFT_REASON_IMAGE_MISSING;
	}
	if (!has_socket_memory(connection->sock, LOCAL_HEAD_MAX + LOCAL_BODY_MAX))
		return WEFT_REASON_SOCKET_MEMORY;
	size = local_reply_send(msg, scratch, &reply, scratch->cookie);
	if (!size)
		return answer == 404 ? WEFT_REASON_NOT_FOUND : answer == 503 ? WEFT_REASON_NO_ENDPOINT : WEFT_REASON_DIRECT_TOO_LARGE;
	connection->mover = WEFT_MOVER_CLIENT;
	connection->kernel_exchanges++;
	count(WEFT_COUNTER_PATHS + WEFT_PATH_LOCAL, 1);
	count(WEFT_COUNTER_PATHS_OVER + WEFT_PATH_LOCAL, 1);
	count(WEFT_COUNTER_STATUS + (reply.status / 100 & 7), 1);
	kind.pod_id = connection->pod_id;
	kind.cluster_id = answer == 503 ? scratch->route.cluster_id : 0;
	kind.status = reply.status;
	kind.flag = answer == 404 ? WEFT_FLAG_NO_ROUTE : answer == 503 ? WEFT_FLAG_NO_HEALTHY : WEFT_FLAG_NONE;
	traffic_add(&kind, 0, scratch->sent_head_len, size);
	return 0;
}

/* The generation that this run keeps: read once. */
static __always_inline void request_images(const struct weft_connection *connection, struct scratch *scratch)
{
	u32 scope_id = connection->scope;
	struct weft_scope_state *scope = bpf_map_lookup_elem(&scopes, &scope_id);

	scratch->route_generation = scope ? *(volatile u64 *)&scope->route_generation : 0;
	if (!scope)
		return;
	scratch->route_query.image.slot = *(volatile u32 *)&scope->route_slot;
	scratch->balance_query.image.slot = *(volatile u32 *)&scope->endpoint_slot;
}

/* Which route table. Returns a reason why there is none for the kernel. */
WEFT_STAGE int request_listener(const struct weft_connection *connection, struct scratch *scratch)
{
	const struct weft_listener *listener;
	weft_ref listener_ref = 0;

	if (!connection || !scratch)
		return WEFT_REASON_NO_CONNECTION;
	if (!scratch->route_generation)
		return WEFT_REASON_IMAGE_MISSING;
	if (weft_find_listener(&scratch->route_query.image, &connection->original, connection->original_port_be, &listener_ref))
		return WEFT_REASON_LISTENER_PROXY;
	listener = weft_at(&scratch->route_query.image, listener_ref);
	if (!listener || listener->kind != WEFT_LISTENER_HTTP || !(listener->flags & WEFT_LISTENER_KERNEL) || !listener->route_table)
		return WEFT_REASON_LISTENER_PROXY;
	scratch->route_query.route_table = listener->route_table;
	return weft_head_reason(&scratch->head, listener->flags);
}

/* The route is a cluster: is the body one that the kernel carries, and which endpoint gets it? */
WEFT_STAGE int request_balance(struct scratch *scratch, u32 size)
{
	struct weft_control *settings = control_get();
	u64 total;

	if (!scratch || !settings)
		return WEFT_REASON_NO_CONNECTION;
	total = scratch->sent_head_len + scratch->head.content_length;
	if (total < size)
		return WEFT_REASON_PIPELINED | REQUEST_KEEP; /* more than one request in this write */
	if (scratch->head.content_length > settings->redirect_limit_bytes || total > settings->redirect_limit_bytes)
		return WEFT_REASON_BODY_TOO_LARGE;
	scratch->balance_query.cluster_id = scratch->route.cluster_id;
	scratch->balance_query.random = weft_hash_finish(scratch->route_query.random); /* the same chance, mixed */
	scratch->balance_query.hash_state = scratch->route.hash_policies ? WEFT_HASH_ASK : WEFT_HASH_NONE;
	switch (weft_pick_endpoint(&scratch->balance_query, &scratch->endpoint)) {
	case 0:
		return 0;
	case -EAGAIN:
		return REQUEST_HASH;
	case -EHOSTUNREACH:
		return WEFT_REASON_NO_ENDPOINT;
	case -ENOENT:
		return WEFT_REASON_NO_CLUSTER; /* its status is the route's to say: the proxy answers */
	default:
		return WEFT_REASON_BALANCE_PROXY;
	}
}

/* The cluster hashes, and the route says what of the request. */
WEFT_STAGE int request_hash(const struct weft_connection *connection, struct scratch *scratch)
{
	struct weft_pod *pod;
	u64 netns;
	int r;

	if (!connection || !scratch)
		return WEFT_REASON_NO_CONNECTION;
	netns = connection->netns_cookie;
	pod = bpf_map_lookup_elem(&pods, &netns);
	if (!pod)
		return WEFT_REASON_BALANCE_PROXY;
	scratch->hash_query.image = scratch->route_query.image;
	scratch->hash_query.policies = scratch->route.hash_policies;
	scratch->hash_query.source_hash = pod->source_hashes[weft_address_family(&connection->original)];
	r = weft_hash_request(&scratch->hash_query, &scratch->bytes, &scratch->head, &scratch->balance_query.hash);
	if (r < 0)
		return WEFT_REASON_BALANCE_PROXY;
	scratch->balance_query.hash_state = r;
	switch (weft_pick_endpoint(&scratch->balance_query, &scratch->endpoint)) {
	case 0:
		return 0;
	case -EHOSTUNREACH:
		return WEFT_REASON_NO_ENDPOINT;
	default:
		return WEFT_REASON_BALANCE_PROXY;
	}
}

/* The route is a cluster. */
static __always_inline int request_forward(struct sk_msg_md *msg, struct weft_connection *connection, struct scratch *scratch)
{
	int r = request_balance(scratch, msg->size);

	if (r == REQUEST_HASH)
		r = request_hash(connection, scratch);
	if (r == WEFT_REASON_NO_ENDPOINT)
		return request_answer(msg, connection, scratch, 503);
	if (r)
		return r;
	scratch->picked = scratch->endpoint.id;
	return exchange_begin(msg, connection, scratch);
}

static __always_inline int request_route(struct sk_msg_md *msg, struct weft_connection *connection, struct scratch *scratch, struct memo *memo)
{
	int r = request_listener(connection, scratch);

	if (r)
		return r;
	if (scratch->head.flags & WEFT_HEAD_NOT_CANONICAL) {
		if (weft_canonical_read(&scratch->change, &scratch->bytes, &scratch->head))
			return WEFT_REASON_EDITED_TOO_LARGE;
		scratch->is_rewritten = 1;
	}
	switch (weft_route(&scratch->route_query, &scratch->bytes, &scratch->head, &scratch->route)) {
	case WEFT_ROUTE_CLUSTER:
		break;
	case WEFT_ROUTE_DIRECT:
		return request_answer(msg, connection, scratch, 0);
	case WEFT_ROUTE_REDIRECT:
		return request_answer(msg, connection, scratch, 302);
	case WEFT_ROUTE_NOT_FOUND:
		return request_answer(msg, connection, scratch, 404);
	case WEFT_ROUTE_REFUSED:
		return WEFT_REASON_ROUTE_REFUSED;
	default:
		r = scratch->route.reason;
		return r > 0 && r < WEFT_REASON_COUNT ? r : WEFT_REASON_ROUTE_PROXY;
	}
	if (memo_is_worth_it(memo, connection->kernel_exchanges) && memo_is_certain(scratch)) {
		memo = bpf_sk_storage_get(&memos, msg->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		memo_keep(memo, scratch);
	}
	return request_forward(msg, connection, scratch);
}

/* The head of a new request, of which `copied` bytes are in scratch->bytes, into scratch->head: 0, or a reason. */
WEFT_STAGE int request_parse(struct sk_msg_md *msg, struct scratch *scratch, u32 copied)
{
	int parsed;

	if (!scratch)
		return WEFT_REASON_NO_SCRATCH;
	parsed = weft_parse_request(&scratch->bytes, copied, &scratch->head);
	if (parsed == WEFT_PARSE_MORE && copied < msg->size && copied < WEFT_KERNEL_HEAD_MAX) {
		copied = message_pull(msg, scratch);
		parsed = weft_parse_request(&scratch->bytes, copied, &scratch->head);
	}
	if (parsed == WEFT_PARSE_DONE) {
		scratch->sent_head_len = scratch->head.head_len;
		return 0;
	}
	if (parsed == WEFT_PARSE_MORE)
		return copied < WEFT_KERNEL_HEAD_MAX ? WEFT_REASON_PARTIAL_HEAD | REQUEST_MORE : WEFT_REASON_HEAD_TOO_LARGE;
	if (parsed == WEFT_PARSE_NOT_HTTP)
		return WEFT_REASON_NOT_HTTP | REQUEST_KEEP; /* a tunnel, if the listener allows it */
	return weft_parse_reason(parsed);
}

/* The record of the upstream that this connection is likely to get again was last written by the CPU that answered. Asked for here, it comes while
 * other things are waited for. */
static __always_inline void upstream_expect(const struct weft_connection *connection)
{
	u32 slot = connection->last_slot - 1;
	struct weft_upstream *upstream = bpf_map_lookup_elem(&upstreams, &slot);

	if (upstream)
		(void)*(volatile u64 *)&upstream->state;
}

static __always_inline int request_new(struct sk_msg_md *msg, struct weft_connection *connection, u64 cookie)
{
	struct scratch *scratch;
	struct memo *memo;
	u32 copied;
	int r;

	upstream_expect(connection);
	r = connection_judge(connection, cookie);
	if (r)
		return r;
	scratch = scratch_take();
	if (!scratch)
		return WEFT_REASON_NO_SCRATCH;
	scratch->cookie = cookie;
	scratch->route_query.random = bpf_get_prandom_u32() ?: 1;
	scratch->picked = 0;
	scratch->is_rewritten = 0;
	request_images(connection, scratch);
	copied = message_copy(msg, scratch);
	memo = bpf_sk_storage_get(&memos, msg->sk, NULL, 0);
	/* A socket that was connected anew still has it: what led to its route was another listener. */
	if (memo && !connection->kernel_exchanges)
		memo->head_len = 0;
	if (memo && memo_recall_route(memo, scratch, copied)) {
		count(WEFT_COUNTER_REQUESTS_REPEATED, 1);
		r = request_forward(msg, connection, scratch);
	} else {
		r = request_parse(msg, scratch, copied);
		if (!r)
			r = request_route(msg, connection, scratch, memo);
	}
	/* Whether a request goes up can depend on what was chosen. The proxy goes by the same number and takes the same endpoint, or what the
	 * kernel does not do would be chosen less often than its weight says, and a turn of a round robin would be lost. */
	if (r) {
		connection->drawn = scratch->route_query.random;
		connection->picked = scratch->picked;
	}
	scratch_give(scratch);
	return r;
}

SEC("sk_msg")
int weft_request(struct sk_msg_md *msg)
{
	struct weft_control *settings = control_get();
	struct weft_connection *connection;
	struct bpf_sock *sk = msg->sk;
	struct weft_socket *socket;
	u64 cookie;
	int r;

	if (!sk || !settings)
		return SK_PASS;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!socket || socket->role != WEFT_ROLE_CLIENT)
		return SK_PASS;
	cookie = socket->cookie;
	connection = bpf_map_lookup_elem(&connections, &cookie);
	if (!connection) {
		count(WEFT_COUNTER_REASONS + WEFT_REASON_NO_CONNECTION, 1);
		return SK_PASS;
	}

	if (is_rest_of_message(msg) && !(connection->flags & WEFT_CONNECTION_SPLIT))
		r = message_rest(msg, connection, cookie);
	/* An open exchange first: its body goes where its head went, whatever becomes of the connection. */
	else if (connection->exchange)
		r = exchange_continue(msg, connection, cookie);
	else if (connection->flags & WEFT_CONNECTION_PROXY_ONLY)
		r = WEFT_REASON_PROXY_ONLY_CONNECTION;
	else if (settings->fast_path == WEFT_FAST_PATH_OFF || settings->is_paused)
		r = WEFT_REASON_FAST_PATH_OFF;
	else
		r = request_new(msg, connection, cookie);
	if (r & REQUEST_MORE && has_cork) {
		bpf_msg_cork_bytes(msg, msg->size + 1);
		return SK_PASS;
	}
	/* The kernel keeps a corked message that was passed on, and what it waited for with it: a smaller write would wait for ever. */
	if (has_cork)
		bpf_msg_cork_bytes(msg, 0);
	if (!r)
		return SK_PASS; /* sent: the redirect helper has said where */
	if (r & REQUEST_KEEP)
		__sync_fetch_and_or(&connection->flags, WEFT_CONNECTION_PROXY_ONLY);
	if (r & REQUEST_REST)
		__sync_fetch_and_or(&connection->flags, WEFT_CONNECTION_BODY_REST);
	connection->last_reason = r & REQUEST_REASON;
	count(WEFT_COUNTER_REASONS + (r & REQUEST_REASON), 1);
	return message_pass(msg, &client_sockets, cookie, connection->flags & WEFT_CONNECTION_SPLIT);
}

#endif

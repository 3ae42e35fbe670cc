/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* `request`: sk_msg on the client's socket. Each write of the application is one run: parse, route, balance, lend, redirect; or hand
 * the bytes up to the proxy (SK_PASS) under a named reason. One exchange, one path. */
#ifndef WEFT_BPF_REQUEST_H
#define WEFT_BPF_REQUEST_H

#include "delivered.h"
#include "exchange.h"
#include "kernel.h"
#include "local_reply.h"
#include "message.h"
#include "weft/http1.h"
#include "weft/lookup.h"
#include "weft/router.h"

const volatile bool has_cork = false;

enum step {
	STEP_DONE,  /* redirected: nothing more to say */
	STEP_MORE,  /* the head is not whole */
	STEP_PASS,  /* the proxy's, for `reason` */
	STEP_KEEP,  /* the proxy's, and the connection stays with it */
};

struct request_run {
	struct weft_connection *connection;
	struct weft_control *settings;
	u64 cookie;
	u32 reason;
};

static __always_inline enum step pass(struct request_run *run, u32 reason)
{
	run->reason = reason;
	return STEP_PASS;
}

static __always_inline enum step keep(struct request_run *run, u32 reason)
{
	run->reason = reason;
	return STEP_KEEP;
}

static __always_inline u32 head_reason(const struct weft_head *head, u16 listener_flags)
{
	u32 flags = head->flags;

	if (flags & WEFT_HEAD_CHUNKED)
		return WEFT_REASON_CHUNKED_REQUEST;
	if (flags & (WEFT_HEAD_CLOSE | WEFT_HEAD_CONNECTION_OTHER))
		return WEFT_REASON_CONNECTION_CLOSE;
	if (flags & WEFT_HEAD_UPGRADE)
		return WEFT_REASON_UPGRADE;
	if (flags & (WEFT_HEAD_EXPECT_CONTINUE | WEFT_HEAD_EXPECT_OTHER))
		return WEFT_REASON_EXPECT;
	if (flags & WEFT_HEAD_HTTP_10)
		return WEFT_REASON_HTTP_10;
	if (flags & (WEFT_HEAD_ABSOLUTE_FORM | WEFT_HEAD_ASTERISK | WEFT_HEAD_CONNECT))
		return WEFT_REASON_ABSOLUTE_FORM;
	if (flags & WEFT_HEAD_NORMALIZES || (flags & WEFT_HEAD_SLASHES && listener_flags & WEFT_LISTENER_MERGE_SLASHES))
		return WEFT_REASON_NORMALIZES;
	if (flags & WEFT_HEAD_ODD)
		return WEFT_REASON_ODD_HEAD;
	if (flags & WEFT_REQUEST_PROXY_ONLY)
		return WEFT_REASON_PRIVATE_HEADER;
	return WEFT_REASON_NONE;
}

static __always_inline u32 parse_reason(int parsed)
{
	switch (parsed) {
	case WEFT_PARSE_TOO_LARGE: return WEFT_REASON_HEAD_TOO_LARGE;
	case WEFT_PARSE_NOT_HTTP:
	case WEFT_PARSE_PREFACE: return WEFT_REASON_NOT_HTTP;
	case WEFT_PARSE_VERSION: return WEFT_REASON_HTTP_10;
	default: return WEFT_REASON_BAD_HEAD;
	}
}

/* May a new exchange begin in the kernel? Only when the TCP leg of this connection is empty in both directions: everything that
 * went up to the proxy has been taken and answered, and the client has read the answers. */
static __always_inline u32 connection_reason(struct sk_msg_md *msg, const struct request_run *run)
{
	struct weft_connection *connection = run->connection;
	struct socket_queues queues;

	socket_queues_read(connection->sock, run->cookie, &queues);
	if (!queues.is_known)
		return WEFT_REASON_NO_CONNECTION;
#ifndef WEFT_WITHOUT_HANDOVER
	if (queues.write_seq - connection->write_base != connection->proxy_consumed ||
	    queues.rcv_nxt - connection->read_base != connection->proxy_written)
		return WEFT_REASON_PROXY_BUSY;
#endif
	if (!queues_are_drained(&queues))
		return WEFT_REASON_NOT_DRAINED;
	if (!delivery_is_proven(run->connection, run->cookie, true))
		return WEFT_REASON_NOT_DELIVERED;
	run->connection->mover = WEFT_MOVER_NONE;
	return WEFT_REASON_NONE;
}

/* Body bytes of an exchange that is open: they follow its head. Anything else while an exchange is open is pipelining. */
static __always_inline enum step exchange_continue(struct sk_msg_md *msg, struct request_run *run, u64 exchange)
{
	u32 slot = WEFT_EXCHANGE_SLOT(exchange), n = msg->size;
	struct weft_upstream *upstream = bpf_map_lookup_elem(&upstreams, &slot);
	u64 word, key, remaining;
	long verdict;

	if (!upstream)
		return keep(run, WEFT_REASON_PIPELINED);
	word = upstream->state;
	if (WEFT_LEASE(word) != WEFT_EXCHANGE_LEASE(exchange) || upstream->client_cookie != run->cookie)
		return keep(run, WEFT_REASON_PIPELINED);
	remaining = upstream->request_remaining;
	if (!remaining)
		return keep(run, WEFT_REASON_PIPELINED);
	if (WEFT_STATE(word) != WEFT_UPSTREAM_LENT)
		return keep(run, WEFT_REASON_RESPONSE_EARLY);

	if (n > remaining) {
		/* The next request in the same write: this verdict ends with the message. */
		n = remaining;
		bpf_msg_apply_bytes(msg, n);
	}
	if (upstream->path == WEFT_PATH_BYPASS) {
		key = upstream->server_cookie;
		verdict = bpf_msg_redirect_hash(msg, &server_sockets, &key, BPF_F_INGRESS);
	} else {
		key = upstream->cookie;
		verdict = bpf_msg_redirect_hash(msg, &upstream_sockets, &key, 0);
	}
	if (verdict != SK_PASS) {
		upstream->is_dead = 1;
		response_pass(upstream, word, WEFT_REASON_LOOKUP_MISS);
		return keep(run, WEFT_REASON_LOOKUP_MISS);
	}
	upstream->request_bytes += n;
	upstream->request_remaining = remaining - n;
	return STEP_DONE;
}

/* The request in `msg` is wholly known: send it on a lent upstream. */
static __always_inline enum step exchange_begin(struct sk_msg_md *msg, struct request_run *run, struct scratch *scratch)
{
	struct weft_connection *connection = run->connection;
	struct weft_head *head = &scratch->head;
	u32 pod_id = connection->pod_id, endpoint_id = scratch->endpoint.id, slot = 0, n = msg->size, reason;
	u64 total = head->head_len + head->content_length, word = 0, now, key;
	struct socket_queues queues;
	struct weft_upstream *upstream;
	bool is_bypass;

	if (upstream_lend(pod_id, endpoint_id, &scratch->lease))
		return pass(run, WEFT_REASON_NO_UPSTREAM);
	slot = scratch->lease.slot;
	word = scratch->lease.word;
	upstream = bpf_map_lookup_elem(&upstreams, &slot);
	if (!upstream)
		return pass(run, WEFT_REASON_NO_UPSTREAM);

	key = upstream->server_cookie;
	is_bypass = key && run->settings->fast_path == WEFT_FAST_PATH_ON;
	reason = WEFT_REASON_NONE;
	if (is_bypass) {
		socket_queues_read(upstream->server_sock, key, &queues);
		if (!queues_are_drained(&queues))
			reason = WEFT_REASON_SERVER_NOT_DRAINED;
	} else {
		key = upstream->cookie;
		socket_queues_read(upstream->sock, key, &queues);
		/* Beyond the free send buffer a non-blocking client would wait for an EPOLLOUT that never comes. The eighth and
		 * the page are what the kernel charges beside the bytes. */
#ifndef WEFT_WITHOUT_SEND_ROOM
		if (!queues.is_known || (s64)(total + total / 8 + 4096) > (s64)queues.free_send_bytes)
			reason = WEFT_REASON_UPSTREAM_FULL;
#endif
	}
	if (reason != WEFT_REASON_NONE) {
		upstream_return(upstream, word);
		return pass(run, reason);
	}

	now = bpf_ktime_get_ns();
	upstream->client_cookie = run->cookie;
	upstream->start_ns = now;
	upstream->first_byte_ns = 0;
	upstream->deadline_ns = scratch->route.timeout_ms ? now + (u64)scratch->route.timeout_ms * 1000000 : 0;
	upstream->request_bytes = n;
	upstream->response_bytes = 0;
	upstream->request_remaining = total - n;
	upstream->response_remaining = 0;
	upstream->route_id = scratch->route.route_id;
	upstream->cluster_id = scratch->route.cluster_id;
	upstream->status = 0;
	upstream->method = head->method;
	upstream->path = is_bypass ? WEFT_PATH_BYPASS : WEFT_PATH_REMOTE;
	upstream->passed_reason = WEFT_REASON_NONE;
	connection->exchange = WEFT_EXCHANGE(slot, WEFT_LEASE(word));

	/* The helper's result is the look-up: on a miss nothing was touched and the proxy can still have the bytes. */
	if ((is_bypass ? bpf_msg_redirect_hash(msg, &server_sockets, &key, BPF_F_INGRESS)
		       : bpf_msg_redirect_hash(msg, &upstream_sockets, &key, 0)) != SK_PASS) {
		connection->exchange = 0;
		upstream->is_dead = 1; /* its socket is gone; sock_ops or the worker will say so too */
		upstream_return(upstream, word);
		return pass(run, WEFT_REASON_LOOKUP_MISS);
	}
	count(WEFT_COUNTER_PATHS + (is_bypass ? WEFT_PATH_BYPASS : WEFT_PATH_REMOTE), 1);
	return STEP_DONE;
}

static __always_inline enum step local_reply(struct sk_msg_md *msg, struct request_run *run, struct scratch *scratch,
					     const struct local_reply *reply, u32 reason)
{
	/* A request whose body is here or on its way is the proxy's: Envoy closes the connection after such a reply. */
	if (scratch->head.flags & WEFT_HEAD_CONTENT_LENGTH)
		return pass(run, WEFT_REASON_DIRECT_WITH_BODY);
	if (!local_reply_send(msg, scratch, reply, run->cookie))
		return pass(run, reason);
	run->connection->mover = WEFT_MOVER_CLIENT;
	count(WEFT_COUNTER_PATHS + WEFT_PATH_LOCAL, 1);
	count(WEFT_COUNTER_PATHS_OVER + WEFT_PATH_LOCAL, 1);
	count(WEFT_COUNTER_STATUS + (reply->status / 100 & 7), 1);
	return STEP_DONE;
}

static __always_inline enum step direct_reply(struct sk_msg_md *msg, struct request_run *run, struct scratch *scratch,
					      const struct weft_image_handle *image)
{
	const struct weft_direct_response *direct = weft_at(image, scratch->route.direct);
	struct local_reply reply = {};

	if (!direct)
		return pass(run, WEFT_REASON_IMAGE_MISSING);
	reply.status = direct->status;
	reply.head_len = direct->head_len;
	reply.body_len = scratch->head.method == WEFT_METHOD_HEAD ? 0 : direct->body_len;
	if (reply.head_len > LOCAL_HEAD_MAX || reply.body_len > LOCAL_BODY_MAX)
		return pass(run, WEFT_REASON_DIRECT_TOO_LARGE);
	reply.head = weft_at(image, direct->head);
	reply.body = reply.body_len ? weft_at(image, direct->body) : reply.head;
	if (!reply.head || !reply.body)
		return pass(run, WEFT_REASON_IMAGE_MISSING);
	return local_reply(msg, run, scratch, &reply, WEFT_REASON_DIRECT_TOO_LARGE);
}

static __always_inline enum step request_route(struct sk_msg_md *msg, struct request_run *run, struct scratch *scratch)
{
	struct weft_connection *connection = run->connection;
	const struct weft_listener *listener;
	struct weft_scope_state *scope;
	struct weft_head *head = &scratch->head;
	struct local_reply reply = {};
	weft_ref listener_ref = 0;
	u32 scope_id = connection->scope, reason;

	scope = bpf_map_lookup_elem(&scopes, &scope_id);
	if (!scope || !scope->route_generation)
		return pass(run, WEFT_REASON_IMAGE_MISSING);
	/* Read once: this run keeps the generation that it began with. */
	scratch->route_query.image.slot = *(volatile u32 *)&scope->route_slot;
	scratch->balance_query.image.slot = *(volatile u32 *)&scope->endpoint_slot;

	if (weft_find_listener(&scratch->route_query.image, connection->original_ip4_be, connection->original_port_be, &listener_ref))
		return pass(run, WEFT_REASON_LISTENER_PROXY);
	listener = weft_at(&scratch->route_query.image, listener_ref);
	if (!listener || listener->kind != WEFT_LISTENER_HTTP || !(listener->flags & WEFT_LISTENER_KERNEL))
		return pass(run, WEFT_REASON_LISTENER_PROXY);
	reason = head_reason(head, listener->flags);
	if (reason != WEFT_REASON_NONE)
		return pass(run, reason);
	if (!listener->route_table)
		return pass(run, WEFT_REASON_LISTENER_PROXY);

	scratch->route_query.route_table = listener->route_table;
	scratch->route_query.random = bpf_get_prandom_u32();
	switch (weft_route(&scratch->route_query, &scratch->bytes, head, &scratch->route)) {
	case WEFT_ROUTE_CLUSTER:
		break;
	case WEFT_ROUTE_DIRECT:
		return direct_reply(msg, run, scratch, &scratch->route_query.image);
	case WEFT_ROUTE_NOT_FOUND:
		reply.status = 404;
		reply.head = not_found_head;
		reply.head_len = sizeof(not_found_head) - 1;
		reply.body = not_found_head;
		return local_reply(msg, run, scratch, &reply, WEFT_REASON_NOT_FOUND);
	case WEFT_ROUTE_REFUSED:
		return pass(run, WEFT_REASON_ROUTE_REFUSED);
	default:
		return pass(run, scratch->route.reason < WEFT_REASON_COUNT ? scratch->route.reason : WEFT_REASON_ROUTE_PROXY);
	}

	if (head->head_len + head->content_length < msg->size)
		return keep(run, WEFT_REASON_PIPELINED); /* more than one request in this write */
	if (head->content_length > run->settings->redirect_limit_bytes ||
	    head->head_len + head->content_length > run->settings->redirect_limit_bytes)
		return pass(run, WEFT_REASON_BODY_TOO_LARGE);

	scratch->balance_query.cluster_id = scratch->route.cluster_id;
	scratch->balance_query.random = bpf_get_prandom_u32();
	switch (weft_pick_endpoint(&scratch->balance_query, &scratch->endpoint)) {
	case 0:
		return exchange_begin(msg, run, scratch);
	case -EHOSTUNREACH:
		reply.status = 503;
		reply.head = unhealthy_head;
		reply.head_len = sizeof(unhealthy_head) - 1;
		reply.body = unhealthy_body;
		reply.body_len = head->method == WEFT_METHOD_HEAD ? 0 : sizeof(unhealthy_body) - 1;
		return local_reply(msg, run, scratch, &reply, WEFT_REASON_NO_ENDPOINT);
	case -ENOENT:
		return pass(run, WEFT_REASON_NO_CLUSTER); /* its status is the route's to say: the proxy answers */
	default:
		return pass(run, WEFT_REASON_BALANCE_PROXY);
	}
}

static __always_inline enum step request_new(struct sk_msg_md *msg, struct request_run *run, struct scratch *scratch)
{
	u32 copied = message_copy(msg, scratch);
	int parsed = weft_parse_request(&scratch->bytes, copied, &scratch->head);

	if (parsed == WEFT_PARSE_MORE && copied < msg->size && copied < WEFT_KERNEL_HEAD_MAX) {
		copied = message_pull(msg, scratch);
		parsed = weft_parse_request(&scratch->bytes, copied, &scratch->head);
	}
	if (parsed == WEFT_PARSE_MORE)
		return copied < WEFT_KERNEL_HEAD_MAX ? STEP_MORE : pass(run, WEFT_REASON_HEAD_TOO_LARGE);
	if (parsed == WEFT_PARSE_NOT_HTTP)
		return keep(run, WEFT_REASON_NOT_HTTP); /* a tunnel, if the listener allows it */
	if (parsed != WEFT_PARSE_DONE)
		return pass(run, parse_reason(parsed));
	return request_route(msg, run, scratch);
}

SEC("sk_msg")
int weft_request(struct sk_msg_md *msg)
{
	struct request_run run = {};
	struct bpf_sock *sk = msg->sk;
	struct weft_socket *socket;
	struct scratch *scratch;
	enum step step;
	u64 exchange;

	if (!sk)
		return SK_PASS;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	run.settings = control_get();
	if (!socket || socket->role != WEFT_ROLE_CLIENT || !run.settings)
		return SK_PASS;
	run.cookie = socket->cookie;
	run.connection = bpf_map_lookup_elem(&connections, &run.cookie);
	if (!run.connection) {
		count(WEFT_COUNTER_REASONS + WEFT_REASON_NO_CONNECTION, 1);
		return SK_PASS;
	}

	exchange = run.connection->exchange;
	if (run.connection->flags & WEFT_CONNECTION_PROXY_ONLY) {
		step = pass(&run, WEFT_REASON_PROXY_ONLY_CONNECTION);
	} else if (exchange) {
		step = exchange_continue(msg, &run, exchange);
	} else if (run.settings->fast_path == WEFT_FAST_PATH_OFF || run.settings->is_paused) {
		step = pass(&run, WEFT_REASON_FAST_PATH_OFF);
	} else {
		u32 reason = connection_reason(msg, &run);

		if (reason != WEFT_REASON_NONE) {
			step = pass(&run, reason);
		} else {
			scratch = scratch_take();
			if (!scratch) {
				step = pass(&run, WEFT_REASON_NO_SCRATCH);
			} else {
				step = request_new(msg, &run, scratch);
				scratch_give(scratch);
			}
		}
	}

	switch (step) {
	case STEP_DONE:
		return SK_PASS;
	case STEP_MORE:
		if (has_cork) {
			bpf_msg_cork_bytes(msg, msg->size + 1);
			return SK_PASS;
		}
		run.reason = WEFT_REASON_PARTIAL_HEAD;
		break;
	case STEP_KEEP:
		__sync_fetch_and_or(&run.connection->flags, WEFT_CONNECTION_PROXY_ONLY);
		break;
	case STEP_PASS:
		break;
	}
	run.connection->last_reason = run.reason;
	count(WEFT_COUNTER_REASONS + (run.reason & 127), 1);
	return SK_PASS;
}

#endif

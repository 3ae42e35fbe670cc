/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* `reply`: sk_msg on a local server's socket. Its response goes straight to the client's receive queue, or (SK_PASS, from the
 * first byte) over TCP to the worker, which relays it. */
#ifndef WEFT_BPF_REPLY_H
#define WEFT_BPF_REPLY_H

#include "edit.h"
#include "memo.h"
#include "message.h"
#include "response_step.h"

static __always_inline u32 reply_parse(struct sk_msg_md *msg, struct scratch *scratch, u32 copied, const struct weft_upstream *upstream)
{
	struct memo *memo;
	u32 reason;

	if (upstream->changes_response) /* line by line */
		return response_parse(scratch, copied, upstream);
	memo = bpf_sk_storage_get(&memos, msg->sk, NULL, 0);
	if (memo && memo->method == upstream->method && memo_recall(memo, scratch, copied)) {
		count(WEFT_COUNTER_RESPONSES_REPEATED, 1);
		return WEFT_REASON_NONE;
	}
	reason = response_parse(scratch, copied, upstream);
	if (reason == WEFT_REASON_NONE && scratch->head.head_len <= MEMO_HEAD_MAX && memo_is_worth_it(memo, upstream->exchange_count)) {
		memo = bpf_sk_storage_get(&memos, msg->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		memo_keep(memo, scratch);
	}
	return reason;
}

/* The head as the route changes it, into scratch->change: its length, or 0. */
WEFT_STAGE u32 reply_change(struct scratch *scratch, u32 slot)
{
	const struct weft_response_changes *changes = bpf_map_lookup_elem(&response_changes, &slot);

	if (!scratch || !changes)
		return 0;
	return weft_change_response(&scratch->change, changes, &scratch->bytes, &scratch->head);
}

static __always_inline int reply_first(struct sk_msg_md *msg, struct scratch *scratch, struct weft_socket *socket, struct weft_upstream *upstream,
				       u32 slot, u64 word)
{
	u64 client = upstream->client_cookie, total = 0, replying, now;
	u32 reason, size = msg->size, copied, old_len, head_len;
	struct weft_connection *connection;

	copied = message_copy(msg, scratch);
	reason = reply_parse(msg, scratch, copied, upstream);
	if (reason == WEFT_REASON_RESPONSE_PARTIAL_HEAD && copied < size) {
		copied = message_pull(msg, scratch);
		reason = response_parse(scratch, copied, upstream);
	}
	if (reason == WEFT_REASON_NONE)
		reason = response_judge(scratch, copied, size, upstream, &total);
	connection = bpf_map_lookup_elem(&connections, &client);
	if (reason == WEFT_REASON_NONE)
		reason = client_judge(upstream, slot, word, connection, total, 0);
	head_len = old_len = scratch->head.head_len;
	if (reason == WEFT_REASON_NONE && upstream->changes_response) {
		head_len = reply_change(scratch, slot);
		reason = head_len ? WEFT_REASON_NONE : WEFT_REASON_EDITED_TOO_LARGE;
	}
	if (reason != WEFT_REASON_NONE) {
		response_pass(upstream, slot, word, reason);
		return SK_PASS;
	}

	/* Ours from here: a time-out of the worker can only claim a LENT slot. */
	if (!state_swap(upstream, word, WEFT_LEASE(word), WEFT_UPSTREAM_REPLYING))
		return SK_PASS;
	replying = WEFT_STATE_WORD(WEFT_LEASE(word), WEFT_UPSTREAM_REPLYING);
	if (bpf_msg_redirect_hash(msg, &client_sockets, &client, BPF_F_INGRESS) != SK_PASS) {
		response_pass(upstream, slot, replying, WEFT_REASON_RESPONSE_LOOKUP_MISS);
		return SK_PASS;
	}
	/* As with a request: only when the target is certain. Without memory the server's own bytes take the way of a write that was split. */
	if (upstream->changes_response && !edit_head(msg, scratch, old_len, head_len)) {
		response_pass(upstream, slot, replying, WEFT_REASON_EDIT_FAILED);
		socket->is_split = 1;
		return message_pass(msg, &server_sockets, socket->cookie, true);
	}
	upstream->status = scratch->head.status;
	upstream->first_byte_ns = now = bpf_ktime_get_ns();
	upstream->response_remaining = total + head_len - old_len;
	response_advance(upstream, slot, replying, connection, size + head_len - old_len, WEFT_MOVER_SERVER, now);
	return SK_PASS;
}

static __always_inline int reply_rest(struct sk_msg_md *msg, struct weft_socket *socket, struct weft_upstream *upstream, u32 slot, u64 word)
{
	u64 client = upstream->client_cookie, remaining = upstream->response_remaining;
	u32 n = msg->size;

	if (n > remaining) {
		/* More than its Content-Length said. What belongs to the message goes on; the rest comes again, finds no
		 * exchange and goes to the worker, which closes this upstream. */
		upstream->is_dead = 1;
		socket->is_split = 1;
		n = remaining;
		bpf_msg_apply_bytes(msg, n);
	}
	if (bpf_msg_redirect_hash(msg, &client_sockets, &client, BPF_F_INGRESS) != SK_PASS) {
		/* The client has gone. The worker sees bytes on a slot that is replying, and closes it. */
		upstream->is_dead = 1;
		count(WEFT_COUNTER_REASONS + WEFT_REASON_RESPONSE_LOOKUP_MISS, 1);
		return SK_PASS;
	}
	response_advance(upstream, slot, word, connection_at_end(upstream, &client, n), n, WEFT_MOVER_SERVER, 0);
	return SK_PASS;
}

/* Its beginning is the client's, the rest of it will never be: whatever was said of the exchange, it is open again, and the worker cuts it. */
WEFT_STAGE int reply_broken(struct weft_upstream *upstream, u32 slot, u32 size)
{
	struct weft_connection *connection;
	u64 word, client;
	u32 lease;

	if (!upstream)
		return 0;
	word = upstream->state;
	lease = WEFT_LEASE(word);
	client = upstream->client_cookie;
	upstream->is_dead = 1;
	if (WEFT_STATE(word) == WEFT_UPSTREAM_REPLYING) {
		upstream->response_remaining += size;
	} else if (WEFT_STATE(word) == WEFT_UPSTREAM_IDLE || WEFT_STATE(word) == WEFT_UPSTREAM_DEAD) {
		if (upstream->counted_lease == lease) /* taken off already */
			upstream->counted_lease = ~lease;
		upstream->response_remaining = size;
		connection = bpf_map_lookup_elem(&connections, &client);
		if (connection && state_swap(upstream, word, lease, WEFT_UPSTREAM_REPLYING))
			__sync_val_compare_and_swap(&connection->exchange, 0, WEFT_EXCHANGE(slot, lease));
	}
	count(WEFT_COUNTER_REASONS + WEFT_REASON_REDIRECT_FAILED, 1);
	event_send(WEFT_EVENT_UPSTREAM_DEAD, slot, upstream->cookie, upstream->pod_id, upstream->endpoint_id);
	return 0;
}

SEC("sk_msg")
int weft_reply(struct sk_msg_md *msg)
{
	struct weft_upstream *upstream;
	struct bpf_sock *sk = msg->sk;
	struct weft_socket *socket;
	struct scratch *scratch;
	u32 slot;
	u64 word;
	int verdict;

	if (!sk)
		return SK_PASS;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!socket || socket->role != WEFT_ROLE_SERVER)
		return SK_PASS;
	slot = socket->slot;
	upstream = bpf_map_lookup_elem(&upstreams, &slot);
	if (socket->is_split || !upstream || upstream->cookie != socket->upstream_cookie || upstream->server_cookie != socket->cookie)
		return message_pass(msg, &server_sockets, socket->cookie, socket->is_split);
	if (is_rest_of_message(msg)) {
		reply_broken(upstream, slot, msg->size);
		return SK_PASS;
	}
	word = upstream->state;
	/* What came by TCP is answered by TCP. */
	if (upstream->path != WEFT_PATH_BYPASS && (WEFT_STATE(word) == WEFT_UPSTREAM_LENT || WEFT_STATE(word) == WEFT_UPSTREAM_REPLYING))
		return SK_PASS;
	if (WEFT_STATE(word) == WEFT_UPSTREAM_REPLYING)
		return reply_rest(msg, socket, upstream, slot, word);
	if (!has_sk_skb && WEFT_STATE(word) == WEFT_UPSTREAM_IDLE)
		upstream_spoke_unasked(upstream, slot, word); /* else it is said when they arrive */
	if (WEFT_STATE(word) != WEFT_UPSTREAM_LENT)
		return SK_PASS;

	scratch = scratch_take();
	if (!scratch) {
		response_pass(upstream, slot, word, WEFT_REASON_NO_SCRATCH);
		return SK_PASS;
	}
	verdict = reply_first(msg, scratch, socket, upstream, slot, word);
	scratch_give(scratch);
	return verdict;
}

#endif

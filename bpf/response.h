/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* `response`: sk_skb verdict on an upstream. The response of a server that is not ours to hook comes by TCP; it goes to the client's
 * receive queue, or (SK_PASS, from the first byte) to the worker. */
#ifndef WEFT_BPF_RESPONSE_H
#define WEFT_BPF_RESPONSE_H

#include "overlap.h"
#include "memo.h"
#include "response_step.h"

static __always_inline u32 response_read(struct scratch *scratch, u32 copied, const struct weft_upstream *upstream, u32 slot)
{
	struct memo *memo = bpf_map_lookup_elem(&upstream_memos, &slot);
	u32 reason;

	if (memo && memo->method == upstream->method && memo_recall(memo, scratch, copied)) {
		count(WEFT_COUNTER_RESPONSES_REPEATED, 1);
		return WEFT_REASON_NONE;
	}
	reason = response_parse(scratch, copied, upstream);
	if (reason == WEFT_REASON_NONE && scratch->head.head_len <= MEMO_HEAD_MAX && memo && memo_is_worth_it(memo, upstream->exchange_count))
		memo_keep(memo, scratch);
	return reason;
}

static __always_inline int response_first(struct __sk_buff *skb, struct scratch *scratch, struct weft_upstream *upstream, u32 slot, u64 word)
{
	u64 client = upstream->client_cookie, total = 0, replying, now;
	struct weft_connection *connection;
	u32 reason, size = skb->len, copied;

	copied = size < WEFT_KERNEL_HEAD_MAX ? size : WEFT_KERNEL_HEAD_MAX;
	if (!copied)
		return SK_PASS;
	/* 1 to WEFT_KERNEL_HEAD_MAX already; kernel 6.1 learns nothing from a comparison with 0. */
	asm volatile("" : "+r"(copied));
	copied = ((copied - 1) & (WEFT_KERNEL_HEAD_MAX - 1)) + 1;
	if (bpf_skb_load_bytes(skb, 0, scratch->bytes.data, copied))
		return SK_PASS;
	reason = response_read(scratch, copied, upstream, slot);
	if (reason == WEFT_REASON_NONE)
		reason = response_judge(scratch, copied, size, upstream, &total);
	if (reason == WEFT_REASON_NONE && upstream->changes_response)
		reason = WEFT_REASON_RESPONSE_CHANGED;
	connection = bpf_map_lookup_elem(&connections, &client);
	if (reason == WEFT_REASON_NONE)
		reason = client_judge(upstream, slot, word, connection, total, total + total / 2);
	if (reason != WEFT_REASON_NONE) {
		response_pass(upstream, slot, word, reason);
		return SK_PASS;
	}
	if (!state_swap(upstream, word, WEFT_LEASE(word), WEFT_UPSTREAM_REPLYING))
		return SK_PASS;
	replying = WEFT_STATE_WORD(WEFT_LEASE(word), WEFT_UPSTREAM_REPLYING);
	if (bpf_sk_redirect_hash(skb, &client_sockets, &client, BPF_F_INGRESS) != SK_PASS) {
		response_pass(upstream, slot, replying, WEFT_REASON_RESPONSE_LOOKUP_MISS);
		return SK_PASS;
	}
	upstream->status = scratch->head.status;
	upstream->first_byte_ns = now = bpf_ktime_get_ns();
	upstream->response_remaining = total;
	response_advance(upstream, slot, replying, connection, size, WEFT_MOVER_UPSTREAM, now);
	return SK_PASS;
}

static __always_inline int response_rest(struct __sk_buff *skb, struct weft_upstream *upstream, u32 slot, u64 word)
{
	u64 client = upstream->client_cookie, remaining = upstream->response_remaining;
	u32 n = skb->len;

	if (n > remaining) {
		/* More than its Content-Length said: cut off, and the upstream is not used again. */
		upstream->is_dead = 1;
		n = remaining;
		if (bpf_skb_change_tail(skb, n, 0))
			return SK_PASS;
		event_send(WEFT_EVENT_UPSTREAM_DEAD, slot, upstream->cookie, upstream->pod_id, upstream->endpoint_id);
	}
	if (bpf_sk_redirect_hash(skb, &client_sockets, &client, BPF_F_INGRESS) != SK_PASS) {
		upstream->is_dead = 1;
		count(WEFT_COUNTER_REASONS + WEFT_REASON_RESPONSE_LOOKUP_MISS, 1);
		return SK_PASS;
	}
	response_advance(upstream, slot, word, connection_at_end(upstream, &client, n), n, WEFT_MOVER_UPSTREAM, 0);
	return SK_PASS;
}

SEC("sk_skb/stream_verdict")
int weft_response(struct __sk_buff *skb)
{
	struct weft_upstream *upstream;
	struct bpf_sock *sk = skb->sk;
	struct scratch *scratch;
	struct tcp_sock *tp;
	u64 cookie, word;
	u32 *slot_found, slot;
	int verdict;

	if (!sk)
		return SK_PASS;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return SK_PASS;
	cookie = ((struct sock *)tp)->__sk_common.skc_cookie.counter;
	slot_found = bpf_map_lookup_elem(&upstream_slots, &cookie);
	if (!slot_found)
		return SK_PASS;
	slot = *slot_found;
	upstream = bpf_map_lookup_elem(&upstreams, &slot);
	if (!upstream || upstream->cookie != cookie)
		return SK_PASS;
	if (!overlap_cut(skb, &upstream->received_seq)) {
		upstream->is_dead = 1;
		event_send(WEFT_EVENT_UPSTREAM_DEAD, slot, upstream->cookie, upstream->pod_id, upstream->endpoint_id);
		return SK_DROP;
	}
	word = upstream->state;
	if (WEFT_STATE(word) == WEFT_UPSTREAM_REPLYING)
		return response_rest(skb, upstream, slot, word);
	if (WEFT_STATE(word) == WEFT_UPSTREAM_IDLE) {
		upstream_spoke_unasked(upstream, slot, word);
		return SK_PASS;
	}
	if (WEFT_STATE(word) != WEFT_UPSTREAM_LENT)
		return SK_PASS;

	scratch = scratch_take();
	if (!scratch) {
		response_pass(upstream, slot, word, WEFT_REASON_NO_SCRATCH);
		return SK_PASS;
	}
	verdict = response_first(skb, scratch, upstream, slot, word);
	scratch_give(scratch);
	return verdict;
}

#endif

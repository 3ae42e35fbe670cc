/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The exchange record: lending an upstream, and giving it back when request and response are complete. */
#ifndef WEFT_BPF_EXCHANGE_H
#define WEFT_BPF_EXCHANGE_H

#include "drained.h"
#include "maps.h"
#include "weft/balance.h"

#define LEND_TRIES 8

WEFT_INLINE struct weft_cluster_state *weft_cluster_state(u32 cluster_id)
{
	return bpf_map_lookup_elem(&cluster_state, &cluster_id);
}
WEFT_INLINE struct weft_endpoint_state *weft_endpoint_state(u32 endpoint_id)
{
	return bpf_map_lookup_elem(&endpoint_state, &endpoint_id);
}

/* Index of the lowest set bit of a word that has one. (clang 16 can't compile __builtin_ctzll for BPF.) */
static __always_inline u32 lowest_bit(u64 word)
{
	u32 n = 0;

	for (u32 width = 32; width; width >>= 1) {
		if (!(word & ((1ull << width) - 1))) {
			n += width;
			word >>= width;
		}
	}
	return n;
}

static __always_inline bool state_swap(struct weft_upstream *upstream, u64 from, u32 lease, u32 to)
{
	return __sync_val_compare_and_swap(&upstream->state, from, WEFT_STATE_WORD(lease, to)) == from;
}

static __always_inline struct weft_pool *pool_find(u32 pod_id, u32 endpoint_id)
{
	struct weft_pool_key key = {.pod_id = pod_id, .endpoint_id = endpoint_id};
	u32 *index = bpf_map_lookup_elem(&pool_index, &key);

	return index ? bpf_map_lookup_elem(&pools, index) : NULL;
}

static __always_inline void endpoint_active_add(u32 endpoint_id, int n)
{
	struct weft_endpoint_state *state = weft_endpoint_state(endpoint_id);

	if (state)
		__sync_fetch_and_add(&state->active, n);
}

static __always_inline void pool_mark_idle(const struct weft_upstream *upstream)
{
	u32 index = upstream->pool, position = upstream->pool_position;
	struct weft_pool *pool = bpf_map_lookup_elem(&pools, &index);

	/* Each word by a constant index: the verifier wants no variable offset of an atomic. */
	if (!pool)
		return;
	if (position < 64)
		__sync_fetch_and_or(&pool->idle[0], 1ull << (position & 63));
	else
		__sync_fetch_and_or(&pool->idle[1], 1ull << (position & 63));
}

static __always_inline void pool_lent_add(const struct weft_upstream *upstream, int n)
{
	u32 index = upstream->pool;
	struct weft_pool *pool = bpf_map_lookup_elem(&pools, &index);

	if (pool)
		__sync_fetch_and_add(&pool->lent, n);
}

/* LENT or REPLYING -> IDLE, or DEAD when its socket left ESTABLISHED meanwhile. The exchange's counts are the caller's. */
static __always_inline void upstream_return(struct weft_upstream *upstream, u64 word)
{
	u32 lease = WEFT_LEASE(word);

	endpoint_active_add(upstream->endpoint_id, -1);
	pool_lent_add(upstream, -1);
	if (upstream->is_dead) {
		state_swap(upstream, word, lease, WEFT_UPSTREAM_DEAD);
		return;
	}
	if (!state_swap(upstream, word, lease, WEFT_UPSTREAM_IDLE))
		return;
	pool_mark_idle(upstream);
	/* It died between the two looks: sock_ops saw it lent and left it to us. */
	if (upstream->is_dead)
		state_swap(upstream, WEFT_STATE_WORD(lease, WEFT_UPSTREAM_IDLE), lease, WEFT_UPSTREAM_DEAD);
}

/* One idle upstream of the pool: IDLE -> LENT. Returns NULL when there is none now. */
static __always_inline struct weft_upstream *pool_lend(struct weft_pool *pool, u32 pod_id, u32 endpoint_id, u32 *slot_out, u64 *word_out)
{
	for (u32 try = 0; try < LEND_TRIES; try++) {
		struct weft_upstream *upstream;
		u64 mask, bit, word, lent;
		u32 position, slot;

		mask = pool->idle[0];
		if (mask) {
			position = lowest_bit(mask);
			bit = 1ull << (position & 63);
			if (!(__sync_fetch_and_and(&pool->idle[0], ~bit) & bit))
				continue; /* somebody was faster */
		} else {
			mask = pool->idle[1];
			if (!mask)
				return NULL;
			position = lowest_bit(mask);
			bit = 1ull << (position & 63);
			if (!(__sync_fetch_and_and(&pool->idle[1], ~bit) & bit))
				continue;
			position += 64;
		}
		slot = pool->slots[position & (WEFT_POOL_SLOTS_MAX - 1)];
		if (!slot)
			continue;
		slot--;
		upstream = bpf_map_lookup_elem(&upstreams, &slot);
		if (!upstream)
			continue;
		word = upstream->state;
		if (WEFT_STATE(word) != WEFT_UPSTREAM_IDLE)
			continue; /* DEAD or CLOSING: the bit was a stale hint */
		lent = WEFT_STATE_WORD(WEFT_LEASE(word) + 1, WEFT_UPSTREAM_LENT);
		if (__sync_val_compare_and_swap(&upstream->state, word, lent) != word)
			continue;
		__sync_fetch_and_add(&pool->lent, 1);
		endpoint_active_add(endpoint_id, 1);
		/* A recycled slot can't reach another tenant. */
		if (upstream->is_dead || upstream->pod_id != pod_id || upstream->endpoint_id != endpoint_id) {
			upstream_return(upstream, lent);
			continue;
		}
		*slot_out = slot;
		*word_out = lent;
		return upstream;
	}
	return NULL;
}

/* The exchange is over: request and response are complete, and the last byte is on its way to the client. */
static __always_inline void exchange_complete(struct weft_upstream *upstream, u32 slot, u64 word, struct weft_connection *connection)
{
	u64 exchange = WEFT_EXCHANGE(slot, WEFT_LEASE(word));

	count(WEFT_COUNTER_PATHS_OVER + (upstream->path & 7), 1);
	count(WEFT_COUNTER_STATUS + (upstream->status / 100 & 7), 1);
	upstream->exchange_count++;
	if (connection && connection->exchange == exchange) {
		u64 cookie = upstream->client_cookie;
		u32 flags;

		connection->kernel_exchanges++;
		connection->exchange = 0;
		flags = __sync_fetch_and_and(&connection->flags, ~WEFT_CONNECTION_WAITED_FOR);
		if (flags & WEFT_CONNECTION_WAITED_FOR)
			event_send(WEFT_EVENT_EXCHANGE_OVER, slot, cookie, upstream->pod_id, upstream->endpoint_id);
	}
	upstream_return(upstream, word);
}

/* From here on this response is the worker's: LENT -> RELAYED. */
static __always_inline void response_pass(struct weft_upstream *upstream, u64 word, u32 reason)
{
	upstream->passed_reason = reason;
	count(WEFT_COUNTER_REASONS + reason, 1);
	state_swap(upstream, word, WEFT_LEASE(word), WEFT_UPSTREAM_RELAYED);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The exchange record: lending an upstream, and giving it back when request and response are complete. */
#ifndef WEFT_BPF_EXCHANGE_H
#define WEFT_BPF_EXCHANGE_H

#include "drained.h"
#include "maps.h"
#include "traffic.h"
#include "weft/balance.h"

#define LEND_TRIES 16

const volatile bool has_sk_skb = true; /* a response that comes by TCP can be redirected */

WEFT_INLINE struct weft_cluster_state *weft_cluster_state(u32 cluster_id)
{
	return bpf_map_lookup_elem(&cluster_state, &cluster_id);
}
WEFT_INLINE struct weft_endpoint_state *weft_endpoint_state(u32 endpoint_id)
{
	return bpf_map_lookup_elem(&endpoint_state, &endpoint_id);
}

/* Index of the lowest set bit of a word that has one, without a branch (de Bruijn). clang 16 can't compile __builtin_ctzll here. */
static const u8 bit_index[64] = {
	0,  1,  2,  53, 3,  7,  54, 27, 4,  38, 41, 8,  34, 55, 48, 28, 62, 5,  39, 46, 44, 42, 22, 9,  24, 35, 59, 56, 49, 18, 29, 11,
	63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21, 23, 58, 17, 10, 51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
};
static __always_inline u32 lowest_bit(u64 word)
{
	return bit_index[((word & -word) * 0x022fdd63cc95386dull) >> 58];
}

static __always_inline bool state_swap(struct weft_upstream *upstream, u64 from, u32 lease, u32 to)
{
	return __sync_val_compare_and_swap(&upstream->state, from, WEFT_STATE_WORD(lease, to)) == from;
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

	u64 bit = 1ull << (position & 63);

	if (!pool)
		return;
	/* A bit that is still there costs the other CPUs nothing. Whoever clears it looks at the state afterwards, and we look at the bit
	 * after the state was set: one of us sees the other. Each word by a constant index: the verifier wants no variable offset of an
	 * atomic. */
	if (position < 64) {
		if (!(*(volatile u64 *)&pool->idle[0] & bit))
			__sync_fetch_and_or(&pool->idle[0], bit);
	} else if (!(*(volatile u64 *)&pool->idle[1] & bit)) {
		__sync_fetch_and_or(&pool->idle[1], bit);
	}
}

/* LENT or REPLYING -> IDLE, or DEAD when its socket left ESTABLISHED meanwhile. Whose swap it is takes the exchange off the counts: the
 * worker may have been faster (a deadline, a client that went), and has done so. Whether it stands there is read before: once it is IDLE,
 * another CPU may lend it, and that exchange may be one of a cluster that does not count. */
static __always_inline void upstream_return(struct weft_upstream *upstream, u64 word)
{
	u32 lease = WEFT_LEASE(word), to = upstream->is_dead ? WEFT_UPSTREAM_DEAD : WEFT_UPSTREAM_IDLE;
	bool is_counted = upstream->counted_lease == lease;

	if (!state_swap(upstream, word, lease, to))
		return;
	if (is_counted)
		endpoint_active_add(upstream->endpoint_id, -1);
	if (to == WEFT_UPSTREAM_DEAD)
		return;
	pool_mark_idle(upstream);
	/* It died between the two looks: sock_ops saw it lent and left it to us. */
	if (upstream->is_dead)
		state_swap(upstream, WEFT_STATE_WORD(lease, WEFT_UPSTREAM_IDLE), lease, WEFT_UPSTREAM_DEAD);
}

struct lease {
	u64 word; /* state word of the LENT slot */
	u32 slot;
	u32 zero;
};

static __always_inline u32 pool_claim(struct weft_pool *pool)
{
	u64 mask = pool->idle[0], bit;
	u32 position;

	if (mask) {
		position = lowest_bit(mask) & 63;
		bit = 1ull << position;
		return __sync_fetch_and_and(&pool->idle[0], ~bit) & bit ? position : WEFT_POOL_SLOTS_MAX;
	}
	mask = pool->idle[1];
	if (!mask)
		return WEFT_POOL_SLOTS_MAX + 1;
	position = lowest_bit(mask) & 63;
	bit = 1ull << position;
	return __sync_fetch_and_and(&pool->idle[1], ~bit) & bit ? 64 + position : WEFT_POOL_SLOTS_MAX;
}

/* The exchange stands in `active`, and whoever ends it finds that out by its lease: what another one of the slot has written means nothing. `former`: what stood
 * there before the slot was lent. If that has changed, the slot was taken back and lent anew meanwhile, and the other one's must stay. */
static __always_inline void lease_count(struct weft_upstream *upstream, u32 lease, u32 former, u32 endpoint_id)
{
	endpoint_active_add(endpoint_id, 1);
	if (__sync_val_compare_and_swap(&upstream->counted_lease, former, lease) != former)
		endpoint_active_add(endpoint_id, -1);
}

/* The worker ended the exchange before it could see whether it counts, or has seen it and taken it off. */
static __always_inline void lease_uncount(struct weft_upstream *upstream, u32 lease, u32 endpoint_id)
{
	if (__sync_val_compare_and_swap(&upstream->counted_lease, lease, ~lease) == lease)
		endpoint_active_add(endpoint_id, -1);
}

/* IDLE -> LENT, if this slot is idle and in this pool: one that an endpoint had at another address, or before it was removed, keeps its
 * slots until their last exchange is over, and is not the one that `pool_index` names. */
static __always_inline bool slot_lend(u32 slot, u32 pool, u32 pod_id, u32 endpoint_id, u32 is_counted, struct lease *lease)
{
	struct weft_upstream *upstream = bpf_map_lookup_elem(&upstreams, &slot);
	u64 word, lent;
	u32 number, former;

	if (!upstream || upstream->pool != pool || upstream->pod_id != pod_id || upstream->endpoint_id != endpoint_id)
		return false;
	word = upstream->state;
	if (WEFT_STATE(word) != WEFT_UPSTREAM_IDLE)
		return false;
	number = WEFT_LEASE(word) + 1;
	lent = WEFT_STATE_WORD(number, WEFT_UPSTREAM_LENT);
	former = *(volatile u32 *)&upstream->counted_lease;
	if (__sync_val_compare_and_swap(&upstream->state, word, lent) != word)
		return false;
	if (is_counted)
		lease_count(upstream, number, former, endpoint_id);
	else if (upstream->counted_lease == number)
		upstream->counted_lease = ~number; /* of as many leases ago as there are numbers */
	if (upstream->state != lent) {
		lease_uncount(upstream, number, endpoint_id);
		return false;
	}
	/* Again, now that it is ours: a recycled slot can't reach another tenant. */
	if (upstream->is_dead || upstream->pool != pool || upstream->pod_id != pod_id || upstream->endpoint_id != endpoint_id) {
		upstream_return(upstream, lent);
		return false;
	}
	lease->word = lent;
	lease->slot = slot;
	return true;
}

/* Where there is no pool, there is none to note in that the worker was told, and there may never be one. */
#define MISS_AGAIN_NS 100000000ull
static __always_inline bool pool_miss_is_news(const struct weft_pool_key *key)
{
	u64 now = bpf_ktime_get_ns(), *told_ns = bpf_map_lookup_elem(&pools_missed, key);

	if (told_ns && now - *told_ns < MISS_AGAIN_NS)
		return false;
	bpf_map_update_elem(&pools_missed, key, &now, BPF_ANY);
	return true;
}

/* One idle upstream of (pod, endpoint): the one that this connection had before, if it is free and leads there (its record is in this
 * CPU's cache, and the pool's bits stay untouched), else any. Returns 0, or -1 when there is none now: then the worker is told, once until
 * it has looked. */
WEFT_STAGE int upstream_lend(struct weft_connection *connection, u32 endpoint_id, u32 is_counted, struct lease *lease)
{
	struct weft_pool_key key = {.endpoint_id = endpoint_id};
	struct weft_pool *pool;
	u32 pod_id, last, *index;

	if (!connection || !lease)
		return -1;
	key.pod_id = pod_id = connection->pod_id;
	index = bpf_map_lookup_elem(&pool_index, &key);
	last = connection->last_slot;
	if (index && last && slot_lend(last - 1, *index, pod_id, endpoint_id, is_counted, lease))
		return 0;
	pool = index ? bpf_map_lookup_elem(&pools, index) : NULL;
	if (!pool) {
		if (pool_miss_is_news(&key))
			event_send(WEFT_EVENT_POOL_MISS, 0, 0, pod_id, endpoint_id);
		return -1;
	}
	for (u32 try = 0; try < LEND_TRIES; try++) {
		u32 position = pool_claim(pool), slot;

		if (position > WEFT_POOL_SLOTS_MAX)
			break;
		if (position == WEFT_POOL_SLOTS_MAX)
			continue; /* somebody was faster */
		slot = pool->slots[position & (WEFT_POOL_SLOTS_MAX - 1)];
		/* not so when it is dead, closing, or lent to the connection that had it last: the bit was a stale hint */
		if (slot && slot_lend(slot - 1, *index, pod_id, endpoint_id, is_counted, lease)) {
			connection->last_slot = slot;
			return 0;
		}
	}
	__sync_fetch_and_add(&pool->misses, 1);
	if (!__sync_val_compare_and_swap(&pool->is_miss_reported, 0, 1))
		event_send(WEFT_EVENT_POOL_MISS, 0, 0, pod_id, endpoint_id);
	return -1;
}

/* What of the request has still to go. On a remote path by what has really gone out: a push that the kernel cut short (the application is told how much was taken, and comes again with the rest)
 * must not count twice. */
static __always_inline u64 request_owed(const struct weft_upstream *upstream)
{
	struct socket_queues queues;
	u32 sent;

	if (upstream->path != WEFT_PATH_REMOTE)
		return upstream->request_remaining;
	socket_queues_read(upstream->sock, upstream->cookie, QUEUES_SENT, &queues);
	if (!queues.is_known)
		return upstream->request_remaining; /* it is gone: the redirect will miss */
	sent = queues.write_seq - upstream->request_base;
	return sent < upstream->request_total ? upstream->request_total - sent : 0;
}

/* As in Envoy the route's time runs from the end of the request: a slow upload is no fault of the server's. */
static __always_inline void deadline_set(struct weft_upstream *upstream, bool is_whole, u64 now)
{
	STORE_CHANGED(upstream->deadline_ns, is_whole && upstream->timeout_ms ? now + (u64)upstream->timeout_ms * 1000000 : 0);
}

/* The exchange is over: request and response are complete, and the last byte is on its way to the client. `now` may be 0: not known. */
static __always_inline void exchange_complete(struct weft_upstream *upstream, u32 slot, u64 word, struct weft_connection *connection,
					      enum weft_mover mover, u64 now)
{
	u64 exchange = WEFT_EXCHANGE(slot, WEFT_LEASE(word));

	count(WEFT_COUNTER_PATHS_OVER + (upstream->path & 7), 1);
	count(WEFT_COUNTER_STATUS + (upstream->status / 100 & 7), 1);
	traffic_exchange(upstream, slot, now);
	upstream->exchange_count++;
	if (connection && connection->exchange == exchange) {
		u64 cookie = upstream->client_cookie;
		u32 flags;

		connection->kernel_exchanges++;
		connection->mover_sock = mover == WEFT_MOVER_SERVER ? upstream->server_sock : upstream->sock;
		connection->mover_cookie = mover == WEFT_MOVER_SERVER ? upstream->server_cookie : upstream->cookie;
		connection->mover = mover;
		connection->exchange = 0;
		flags = __sync_fetch_and_and(&connection->flags, ~WEFT_CONNECTION_WAITED_FOR);
		if (flags & WEFT_CONNECTION_WAITED_FOR)
			event_send(WEFT_EVENT_EXCHANGE_OVER, slot, cookie, upstream->pod_id, upstream->endpoint_id);
	}
	upstream_return(upstream, word);
}

/* Bytes on an idle upstream that nobody asked for: whoever borrowed it next would get them for an answer. */
static __always_inline void upstream_spoke_unasked(struct weft_upstream *upstream, u32 slot, u64 word)
{
	upstream->is_dead = 1;
	state_swap(upstream, word, WEFT_LEASE(word), WEFT_UPSTREAM_DEAD);
	event_send(WEFT_EVENT_UPSTREAM_DEAD, slot, upstream->cookie, upstream->pod_id, upstream->endpoint_id);
}

/* From here on this response is the worker's: LENT -> RELAYED. It is told, since it watches upstreams for their end alone: a redirected
 * response would wake it for nothing. */
static __always_inline void response_pass(struct weft_upstream *upstream, u32 slot, u64 word, u32 reason)
{
	upstream->passed_reason = reason;
	count(WEFT_COUNTER_REASONS + reason, 1);
	if (state_swap(upstream, word, WEFT_LEASE(word), WEFT_UPSTREAM_RELAYED))
		event_send(WEFT_EVENT_UPSTREAM_RELAYED, slot, upstream->cookie, upstream->pod_id, upstream->endpoint_id);
}

#endif

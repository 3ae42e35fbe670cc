/* SPDX-License-Identifier: Apache-2.0 */
/* Ten times a second over everything that is open: deadlines, clients that went, what events did not tell, growth and shrinking. */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/tcp.h"
#include "pool/internal.h"

/* Exchanges after which a round-trip time is known. */
#define ROUND_TRIPS 16u

/* Nobody waits for this exchange: its client is gone, or its connection was taken out of it. */
static bool is_abandoned(const struct upstream *u, uint64_t word)
{
	const struct pool_exchange exchange = {
		.exchange = WEFT_EXCHANGE(u->slot, WEFT_LEASE(word)),
		.client_cookie = u->shared->client_cookie,
	};

	return !exchange_is_awaited(u->pool, &exchange);
}

/* The record belongs to the lease in `word` for sure: it stood there a sweep ago, and a program fills it right after it lent. */
static void sweep_exchange(struct upstream *u, uint64_t word, uint64_t now)
{
	struct weft_upstream *s = u->shared;
	uint64_t deadline_ns = s->deadline_ns;

	/* That of the exchange before, as long as the program that lends has not written its own. */
	if (deadline_ns && now >= deadline_ns && !is_abandoned(u, word)) {
		if (WEFT_STATE(word) == WEFT_UPSTREAM_LENT)
			upstream_fail(u, word, 504, POOL_CLOSE_TIMEOUT);
		else
			upstream_cut(u, word, POOL_CLOSE_TIMEOUT);
		return;
	}
	if (now >= u->client_check_ns) {
		u->client_check_ns = now + CLIENT_CHECK_INTERVAL_NS;
		if (is_abandoned(u, word)) {
			upstream_close_from(u, word, POOL_CLOSE_CLIENT_GONE);
			return;
		}
		/* Bytes that no program claimed. */
		if (u->pool->options.is_told_of_relays) {
			upstream_look(u);
			return;
		}
	}
	if (is_marked_dead(s))
		upstream_look(u);
}

/* By now its shortest round-trip time is one that nobody waited for. */
static void measure_distance(struct upstream *u)
{
	u->is_distance_known = true;
	tcp_set_window(u->fd, TCP_WINDOW_FAR_MESSAGE);
}

static void sweep_idle(struct upstream *u, uint64_t word, bool is_same, uint64_t now)
{
	uint64_t rest_ns = u->pool->options.idle_timeout_ms * NS_PER_MS;

	if (!u->is_distance_known && u->shared->exchange_count >= ROUND_TRIPS)
		measure_distance(u);
	if (u->owner->is_leaving)
		upstream_close_from(u, word, u->owner->leave_reason);
	else if (is_marked_dead(u->shared))
		upstream_look(u);
	/* One stays warm as long as the pool is used at all. */
	else if (now - u->seen_ns >= rest_ns && u->owner->upstream_count > 1)
		upstream_close_from(u, word, POOL_CLOSE_IDLE);
	/* A bit is only a hint, but an upstream without it is never found. Rather one too many. */
	else if (is_same)
		idle_bit_set(u->owner->shared, u->shared->pool_position);
}

static void sweep_upstream(struct upstream *u, uint64_t now)
{
	uint64_t word = state_load(u->shared);
	bool is_same = word == u->seen_word;

	if (!is_same) {
		if (WEFT_LEASE(word) != WEFT_LEASE(u->seen_word)) {
			u->owner->last_used_ns = now;
			u->owner->backoff_ms = 0;
		}
		u->seen_word = word;
		u->seen_ns = now;
		u->client_check_ns = now + CLIENT_CHECK_INTERVAL_NS;
	}
	switch (WEFT_STATE(word)) {
	case WEFT_UPSTREAM_IDLE:
		u->owner->idle_seen++;
		sweep_idle(u, word, is_same, now);
		break;
	case WEFT_UPSTREAM_LENT:
	case WEFT_UPSTREAM_REPLYING:
		u->owner->last_used_ns = now;
		if (is_same)
			sweep_exchange(u, word, now);
		break;
	case WEFT_UPSTREAM_DEAD:
		upstream_close_from(u, word, POOL_CLOSE_PEER);
		break;
	case WEFT_UPSTREAM_RELAYED:
		u->owner->last_used_ns = now;
		if (!u->is_handed && is_same)
			upstream_hand_over(u, word);
		break;
	default:
		break;
	}
}

static void sweep_pool(struct pool *pool, struct endpoint_pool *owner, uint64_t now)
{
	struct weft_pool *shared = owner->shared;
	uint32_t misses;

	if (owner->is_leaving) {
		if (!owner->upstream_count)
			endpoint_pool_free(pool, owner);
		return;
	}
	misses = __atomic_load_n(&shared->misses, __ATOMIC_RELAXED);
	if (misses != owner->misses_seen) {
		owner->misses_seen = misses;
		owner->last_used_ns = now;
		endpoint_pool_grow(pool, owner, true);
	} else if (now - owner->last_used_ns >= pool->options.unused_timeout_ms * NS_PER_MS) {
		endpoint_pool_leave(pool, owner, POOL_CLOSE_IDLE);
		return;
	} else if (!owner->idle_seen) {
		endpoint_pool_grow(pool, owner, false);
	}
	/* An event may have been lost. While a dial runs or must wait, more of them would say nothing new. */
	if (!owner->dialling_count && now >= owner->backoff_until_ns)
		__atomic_store_n(&shared->is_miss_reported, 0, __ATOMIC_RELEASE);
}

void pool_sweep(struct pool *pool)
{
	uint64_t now = now_ns();

	for (uint32_t i = 0; i < pool->kernel.pool_count; i++) {
		if (pool->pools[i])
			pool->pools[i]->idle_seen = 0;
	}
	/* Closing puts the last one in the place of the closed one: downwards nothing is missed. */
	for (uint32_t i = pool->active_count; i-- > 0;) {
		if (i < pool->active_count)
			sweep_upstream(pool->active[i], now);
	}
	for (uint32_t i = 0; i < pool->kernel.pool_count; i++) {
		if (pool->pools[i])
			sweep_pool(pool, pool->pools[i], now);
	}
}

void pool_drop_stale(struct pool *pool)
{
	struct endpoint_pool *owner, *next;

	HASH_ITER(hh, pool->index, owner, next) {
		const struct pool_pod *pod = pool_pod_find(pool, owner->key.pod_id);
		const struct endpoint *e = endpoint_find(pool, owner->key.endpoint_id);

		if (!pod || pod->is_leaving)
			endpoint_pool_leave(pool, owner, POOL_CLOSE_POD_GONE);
		else if (!e || !weft_address_equals(&e->address, &owner->address) || e->port_be != owner->port_be)
			endpoint_pool_leave(pool, owner, POOL_CLOSE_ENDPOINT_GONE);
	}
	for (uint32_t i = pool->active_count; i-- > 0;) {
		struct upstream *u = i < pool->active_count ? pool->active[i] : NULL;
		uint64_t word = u ? state_load(u->shared) : 0;

		if (u && u->owner->is_leaving && WEFT_STATE(word) == WEFT_UPSTREAM_IDLE)
			upstream_close_from(u, word, u->owner->leave_reason);
	}
}

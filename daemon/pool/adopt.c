/* SPDX-License-Identifier: Apache-2.0 */
/* A worker that follows another one: sockets, slots and pools are as the former left them, and programs went on lending meanwhile. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "keeper/table.h"
#include "pool/internal.h"

/* Is this slot, in the state it is in, one that can go on? */
static bool is_whole(const struct pool *pool, const struct table_entry *entry)
{
	const struct weft_upstream *s = &pool->kernel.upstreams[entry->slot];

	switch (WEFT_STATE(state_load(s))) {
	case WEFT_UPSTREAM_IDLE:
	case WEFT_UPSTREAM_LENT:
	case WEFT_UPSTREAM_REPLYING:
	case WEFT_UPSTREAM_RELAYED:
	case WEFT_UPSTREAM_DEAD:
		break;
	default:
		return false;
	}
	if (s->cookie != entry->cookie || s->pool >= pool->kernel.pool_count || s->pool_position >= WEFT_POOL_SLOTS_MAX)
		return false;
	return pool->kernel.pools[s->pool].pod_id == s->pod_id && pool->kernel.pools[s->pool].endpoint_id == s->endpoint_id;
}

/* Pods that went while no worker was there still need somebody to hold their lent upstreams until they are over. */
static int pod_of(struct pool *pool, uint32_t pod_id, struct pool_pod **out)
{
	static const struct weft_address none[WEFT_FAMILIES];
	int r;

	*out = pool_pod_find(pool, pod_id);
	if (*out)
		return 0;
	r = pool_pod_add(pool, pod_id, -1, none);
	if (r)
		return r;
	*out = pool_pod_find(pool, pod_id);
	(*out)->is_leaving = true;
	return 0;
}

static int take_over(struct pool *pool, struct table_entry *entry)
{
	struct weft_upstream *s = &pool->kernel.upstreams[entry->slot];
	union weft_sockaddr peer = {};
	struct weft_address address;
	uint16_t port_be;
	socklen_t len = sizeof(peer);
	struct endpoint_pool *owner;
	struct pool_pod *pod;
	struct upstream *u;
	int r;

	/* One that was reset has no peer any more: 0.0.0.0 is no endpoint's address, so its pool would leave; hence the endpoint's. */
	if (getpeername(entry->fd, &peer.any, &len) < 0) {
		const struct endpoint *e = endpoint_find(pool, s->endpoint_id);

		address = e ? e->address : WEFT_IP4(0);
		port_be = e ? e->port_be : 0;
	} else {
		address = weft_sockaddr_address(&peer);
		port_be = weft_sockaddr_port_be(&peer);
	}
	r = endpoint_pool_adopt(pool, s->pool, &address, port_be, &owner);
	if (!r)
		r = pod_of(pool, s->pod_id, &pod);
	if (r)
		return r;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->pool = pool;
	u->owner = owner;
	u->pod = pod;
	u->slot = entry->slot;
	u->fd = entry->fd;
	u->entry = entry;
	u->shared = s;
	u->seen_word = state_load(s);
	u->seen_ns = now_ns();
	upstream_register(u);
	if (s->exchange_count && s->endpoint_id < WEFT_ENDPOINTS_MAX)
		__atomic_store_n(&pool->endpoints[s->endpoint_id].keeps, KEEPS_SURELY, __ATOMIC_RELAXED);
	__atomic_store_n(&owner->shared->slots[s->pool_position], entry->slot + 1, __ATOMIC_RELEASE);
	return 0;
}

int pool_adopt(struct pool *pool, struct table_entry *entry)
{
	int r = -ENOENT, fd;

	if (entry->slot < pool->kernel.upstream_count && !pool->upstreams[entry->slot] && is_whole(pool, entry))
		r = take_over(pool, entry);
	if (r != -ENOENT)
		return r;
	/* Half dialled or half closed: the slot is freed at the end, when it is seen that nothing backs it. */
	pool->counts.closes[POOL_CLOSE_ADOPTION]++;
	fd = entry->fd;
	table_release(pool->options.table, entry);
	datapath_upstream_close(fd);
	return 0;
}

/* A program may lend or give back at any moment: bits are only hints, so setting all that look idle is enough. */
static void mend_pool(struct pool *pool, struct endpoint_pool *owner)
{
	struct weft_pool *shared = owner->shared;

	for (uint32_t i = 0; i < WEFT_POOL_SLOTS_MAX; i++) {
		uint32_t slot = shared->slots[i];
		const struct upstream *u = slot && slot <= pool->kernel.upstream_count ? pool->upstreams[slot - 1] : NULL;

		if (!u || u->owner != owner || u->shared->pool_position != i)
			__atomic_store_n(&shared->slots[i], 0, __ATOMIC_RELEASE);
		else if (WEFT_STATE(state_load(u->shared)) == WEFT_UPSTREAM_IDLE)
			idle_bit_set(shared, i);
	}
	owner->misses_seen = __atomic_load_n(&shared->misses, __ATOMIC_RELAXED);
	__atomic_store_n(&shared->is_miss_reported, 0, __ATOMIC_RELEASE);
	if (!owner->is_leaving && pool->kernel.index_set(pool->kernel.arg, owner->key.pod_id, owner->key.endpoint_id, owner->index))
		log_warning("pool %u is not found by the programs", owner->index);
}

/* What no descriptor backs: the exchange on it, if its client still waits for it, is lost with its upstream. */
void free_unbacked(struct pool *pool, uint32_t slot)
{
	struct weft_upstream *s = &pool->kernel.upstreams[slot];
	uint32_t state = WEFT_STATE(state_load(s));
	struct pool_exchange exchange;

	if (state == WEFT_UPSTREAM_LENT || state == WEFT_UPSTREAM_REPLYING || state == WEFT_UPSTREAM_RELAYED) {
		if (s->counted_lease == WEFT_LEASE(state_load(s)) && s->endpoint_id < WEFT_ENDPOINTS_MAX)
			__atomic_fetch_sub(&pool->kernel.endpoint_states[s->endpoint_id].active, 1, __ATOMIC_RELAXED);
	}
	if (state != WEFT_UPSTREAM_FREE && s->client_cookie) {
		exchange_read(pool, slot, &exchange);
		if (exchange_is_awaited(pool, &exchange)) {
			pool->counts.cuts++;
			pool->callbacks.exchange_cut(pool->callbacks.arg, &exchange);
		}
	}
	slot_reset(s);
	slot_give(pool, slot, state == WEFT_UPSTREAM_FREE ? 0 : now_ns());
}

void pool_adopt_exchange(struct pool *pool, uint64_t client_cookie, uint64_t exchange)
{
	struct pool_exchange lost = { .exchange = exchange, .client_cookie = client_cookie, .slot = WEFT_EXCHANGE_SLOT(exchange) };
	uint64_t word;

	if (!exchange)
		return;
	if (lost.slot < pool->kernel.upstream_count) {
		word = state_load(&pool->kernel.upstreams[lost.slot]);
		/* Over since the record was read, still open, or settled at the end of the adoption. */
		if (WEFT_LEASE(word) == WEFT_EXCHANGE_LEASE(exchange) && WEFT_STATE(word) != WEFT_UPSTREAM_FREE)
			return;
	}
	pool->counts.cuts++;
	pool->callbacks.exchange_cut(pool->callbacks.arg, &lost);
}

/* The response was being relayed, or an error was being answered, when the former worker died: how far is not known. */
static bool is_half_told(const struct upstream *u)
{
	return WEFT_STATE(state_load(u->shared)) == WEFT_UPSTREAM_RELAYED && __atomic_load_n(&u->entry->is_busy, __ATOMIC_ACQUIRE);
}

static bool is_of_another_cgroup(const struct pool *pool, const struct table_entry *entry)
{
	return ((uint64_t)entry->reserved[1] << 32 | entry->reserved[0]) != pool->options.cgroup_inode;
}

/* After its exchange, if there is one. */
static void retire(struct upstream *u)
{
	uint64_t word = state_load(u->shared);

	__atomic_store_n(&u->shared->is_dead, 1, __ATOMIC_SEQ_CST);
	if (WEFT_STATE(word) == WEFT_UPSTREAM_IDLE)
		upstream_close_from(u, word, POOL_CLOSE_ADOPTION);
}

void pool_adopt_finish(struct pool *pool)
{
	uint32_t adopted = pool->active_count;

	for (uint32_t i = 0; i < pool->kernel.upstream_count; i++) {
		if (!pool->upstreams[i] && !(pool->is_elsewhere && pool->is_elsewhere[i]))
			free_unbacked(pool, i);
	}
	for (uint32_t i = 0; i < pool->kernel.pool_count; i++) {
		struct weft_pool *shared = &pool->kernel.pools[i];

		if (pool->pools[i]) {
			mend_pool(pool, pool->pools[i]);
			continue;
		}
		if ((shared->pod_id || shared->endpoint_id) && !endpoint_pool_find(pool, shared->pod_id, shared->endpoint_id))
			pool->kernel.index_delete(pool->kernel.arg, shared->pod_id, shared->endpoint_id);
		memset(shared, 0, sizeof(*shared));
	}
	pool_drop_stale(pool);
	for (uint32_t i = pool->active_count; i-- > 0;) {
		struct upstream *u = i < pool->active_count ? pool->active[i] : NULL;

		if (!u)
			continue;
		if (is_half_told(u)) {
			upstream_cut(u, state_load(u->shared), POOL_CLOSE_ADOPTION);
			continue;
		}
		upstream_set_busy(u, false);
		if (upstream_watch(u))
			log_error("slot %u can't be watched: the sweep will look at it", u->slot);
		if (is_of_another_cgroup(pool, u->entry))
			retire(u);
		else
			upstream_look(u); /* what happened meanwhile */
	}
	if (adopted)
		log_info("took %u upstreams over, %u go on", adopted, pool->active_count);
	if (sweep_start(pool))
		log_error("no timer for the sweep: deadlines of the kernel's exchanges are not kept");
}

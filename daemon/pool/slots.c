/* SPDX-License-Identifier: Apache-2.0 */
/* Which slot of `upstreams` is free. Oldest first, and only after a rest: a program that read a slot's number just before the slot was freed must find it
 * free, not lent to somebody else's pool. */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "pool/internal.h"

int slots_new(struct pool *pool)
{
	uint32_t count = pool->kernel.upstream_count;

	pool->upstreams = calloc(count, sizeof(struct upstream *));
	pool->active = calloc(count, sizeof(struct upstream *));
	pool->free_slots = calloc(count, sizeof(uint32_t));
	pool->slot_freed_ns = calloc(count, sizeof(uint64_t));
	return pool->upstreams && pool->active && pool->free_slots && pool->slot_freed_ns ? 0 : -ENOMEM;
}

void slots_free(struct pool *pool)
{
	free(pool->upstreams);
	free(pool->active);
	free(pool->free_slots);
	free(pool->slot_freed_ns);
}

int slot_take(struct pool *pool, uint32_t *slot)
{
	uint32_t first = pool->free_slots[pool->free_head];
	uint64_t freed_ns;

	if (!pool->free_count)
		return -EAGAIN;
	freed_ns = pool->slot_freed_ns[first];
	if (freed_ns && now_ns() - freed_ns < pool->options.quarantine_ms * NS_PER_MS)
		return -EAGAIN;
	pool->free_head = (pool->free_head + 1) % pool->kernel.upstream_count;
	pool->free_count--;
	*slot = first;
	return 0;
}

void slot_give(struct pool *pool, uint32_t slot, uint64_t freed_ns)
{
	uint32_t count = pool->kernel.upstream_count;

	weft_assert(pool->free_count < count);
	pool->slot_freed_ns[slot] = freed_ns;
	pool->free_slots[(pool->free_head + pool->free_count) % count] = slot;
	pool->free_count++;
}

void slot_reset(struct weft_upstream *u)
{
	uint64_t word = state_load(u);

	/* Everything first, so that who sees FREE sees an empty slot. */
	__atomic_store_n(&u->cookie, 0, __ATOMIC_RELEASE);
	u->server_cookie = 0;
	u->server_sock = 0;
	u->sock = 0;
	u->client_cookie = 0;
	u->deadline_ns = 0;
	u->path = 0;      /* nothing of a former request is missing on the next socket */
	u->body_sock = 0;
	u->is_dead = 0;
	u->waits_since_ns = 0;
	__atomic_store_n(&u->state, (word & ~0xffull) | WEFT_UPSTREAM_FREE, __ATOMIC_RELEASE);
}

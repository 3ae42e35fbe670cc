/* SPDX-License-Identifier: Apache-2.0 */
/* A weftd that another one replaces, and the one that replaces it: slots go over as they are; of what the former's proxy still relays, the former
 * keeps the upstream until it is over. */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "keeper/table.h"
#include "pool/internal.h"

/* The worker's side of an upstream ends; programs go on lending the slot. */
static void forget(struct pool *pool, struct upstream *u)
{
	struct upstream *last = pool->active[--pool->active_count];

	pool->active[u->active_index] = last;
	last->active_index = u->active_index;
	pool->upstreams[u->slot] = NULL;
	free(u);
}

void pool_claim(struct pool *pool, uint64_t exchange)
{
	uint32_t slot = WEFT_EXCHANGE_SLOT(exchange);
	struct upstream *u = slot < pool->kernel.upstream_count ? pool->upstreams[slot] : NULL;
	uint64_t word;

	if (!u || u->is_handed)
		return;
	word = state_load(u->shared);
	if (WEFT_LEASE(word) != WEFT_EXCHANGE_LEASE(exchange))
		return;
	/* A program that has begun to carry the response goes on, whoever has the slot. As long as the request has not gone out no byte of a later one can
	 * be here, and what comes of its own body when nobody takes it any more is thrown away: such a client goes to the one that follows. */
	if (WEFT_STATE(word) == WEFT_UPSTREAM_LENT && !__atomic_load_n(&u->shared->request_remaining, __ATOMIC_ACQUIRE))
		state_swap(u->shared, word, WEFT_UPSTREAM_RELAYED);
	word = state_load(u->shared);
	if (WEFT_LEASE(word) == WEFT_EXCHANGE_LEASE(exchange) && WEFT_STATE(word) == WEFT_UPSTREAM_RELAYED)
		upstream_hand_over(u, word);
}

void pool_leave(struct pool *pool)
{
	mail_read(pool); /* what was over before */
	pool->is_leaving = true;
	if (pool->sweep)
		event_del(pool->sweep);
	for (uint32_t i = pool->active_count; i-- > 0;) {
		struct upstream *u = pool->active[i];

		event_del(&u->watch);
		event_del(&u->second_look);
		if (!u->is_handed)
			forget(pool, u);
	}
}

void pool_take_back(struct pool *pool, uint64_t exchange)
{
	struct upstream *u = pool->upstreams[WEFT_EXCHANGE_SLOT(exchange)];

	weft_assert(pool->is_leaving && u && u->is_handed);
	u->is_handed = false;
	upstream_set_busy(u, false);
	forget(pool, u);
}

uint32_t pool_keep(struct pool *pool, const struct pool_kept *kept)
{
	pool->kept = *kept;
	for (uint32_t i = 0; i < pool->active_count; i++)
		if (pool->active[i]->entry)
			table_keep(pool->active[i]->entry);
	return pool->active_count;
}

uint32_t pool_kept_count(const struct pool *pool)
{
	return pool->active_count;
}

void pool_elsewhere(struct pool *pool, uint32_t slot)
{
	if (slot >= pool->kernel.upstream_count)
		return;
	if (!pool->is_elsewhere)
		pool->is_elsewhere = calloc(pool->kernel.upstream_count, sizeof(*pool->is_elsewhere));
	if (!pool->is_elsewhere) {
		log_err(-ENOMEM, "remembering a slot that the former weftd keeps: its exchange ends");
		return;
	}
	pool->is_elsewhere[slot] = 1;
}

void pool_elsewhere_over(struct pool *pool, uint32_t slot, bool is_lost)
{
	if (slot >= pool->kernel.upstream_count || !pool->is_elsewhere || !pool->is_elsewhere[slot])
		return;
	pool->is_elsewhere[slot] = 0;
	if (is_lost)
		free_unbacked(pool, slot);
	else
		slot_give(pool, slot, now_ns());
}

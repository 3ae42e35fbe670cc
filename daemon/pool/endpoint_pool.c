/* SPDX-License-Identifier: Apache-2.0 */
/* The upstreams of one pod to one endpoint: made at the first miss, grown by misses, found by the programs through `pool_index`. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "pool/internal.h"

struct pool_pod *pool_pod_find(struct pool *pool, uint32_t pod_id)
{
	struct pool_pod *pod;

	HASH_FIND(hh, pool->pods, &pod_id, sizeof(pod_id), pod);
	return pod;
}

uint32_t pools_of_pod(const struct pool *pool, uint32_t pod_id)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < pool->kernel.pool_count; i++)
		count += pool->pools[i] && pool->pools[i]->key.pod_id == pod_id;
	return count;
}

void pool_pod_forget_upstream(struct pool *pool, struct pool_pod *pod)
{
	weft_assert(pod->upstream_count > 0);
	pod->upstream_count--;
	if (pod->is_leaving && !pod->upstream_count) {
		HASH_DEL(pool->pods, pod);
		free(pod);
	}
}

struct endpoint_pool *endpoint_pool_find(struct pool *pool, uint32_t pod_id, uint32_t endpoint_id)
{
	struct weft_pool_key key = { .pod_id = pod_id, .endpoint_id = endpoint_id };
	struct endpoint_pool *owner;

	HASH_FIND(hh, pool->index, &key, sizeof(key), owner);
	return owner;
}

/* A free place in `pools` that has rested; see slots.c for why. */
static int index_take(struct pool *pool, uint32_t *index)
{
	uint64_t now = now_ns();

	for (uint32_t n = 0; n < pool->kernel.pool_count; n++) {
		uint32_t i = (pool->pool_cursor + n) % pool->kernel.pool_count;

		if (pool->pools[i] || (pool->pool_freed_ns[i] && now - pool->pool_freed_ns[i] < pool->options.quarantine_ms * NS_PER_MS))
			continue;
		pool->pool_cursor = i + 1;
		*index = i;
		return 0;
	}
	return -ENOSPC;
}

static int endpoint_pool_register(struct pool *pool, uint32_t index, uint32_t pod_id, uint32_t endpoint_id, const struct weft_address *address, uint16_t port_be,
				  struct endpoint_pool **out)
{
	struct endpoint_pool *owner = calloc(1, sizeof(*owner));

	if (!owner)
		return -ENOMEM;
	owner->key.pod_id = pod_id;
	owner->key.endpoint_id = endpoint_id;
	owner->index = index;
	owner->address = *address;
	owner->port_be = port_be;
	owner->shared = &pool->kernel.pools[index];
	owner->last_used_ns = now_ns();
	HASH_ADD(hh, pool->index, key, sizeof(owner->key), owner);
	if (!owner->hh.tbl) {
		free(owner);
		return -ENOMEM;
	}
	pool->pools[index] = owner;
	pool->pool_count++;
	*out = owner;
	return 0;
}

int endpoint_pool_new(struct pool *pool, uint32_t pod_id, uint32_t endpoint_id, struct endpoint_pool **out)
{
	const struct endpoint *endpoint = endpoint_find(pool, endpoint_id);
	struct endpoint_pool *owner;
	uint32_t index;
	int r;

	if (!endpoint)
		return -ENOENT;
	if (pools_of_pod(pool, pod_id) >= pool->options.pod_pools) {
		pool->counts.pools_refused_quota++;
		pool_complain(pool, 0, "a pod has as many pools as one pod may have (--limit pod-pools)");
		return -EDQUOT;
	}
	r = index_take(pool, &index);
	if (r) {
		pool->counts.pools_refused++;
		pool_complain(pool, 0, "all pools are taken (--limit pools)");
	} else {
		r = endpoint_pool_register(pool, index, pod_id, endpoint_id, &endpoint->address, endpoint->port_be, &owner);
	}
	if (r)
		return r;
	memset(owner->shared, 0, sizeof(*owner->shared));
	owner->shared->pod_id = pod_id;
	owner->shared->endpoint_id = endpoint_id;
	r = pool->kernel.index_set(pool->kernel.arg, pod_id, endpoint_id, index);
	if (r) {
		endpoint_pool_free(pool, owner);
		return r;
	}
	*out = owner;
	return 0;
}

int endpoint_pool_adopt(struct pool *pool, uint32_t index, const struct weft_address *address, uint16_t port_be, struct endpoint_pool **out)
{
	const struct weft_pool *shared = &pool->kernel.pools[index];
	struct endpoint_pool *other = endpoint_pool_find(pool, shared->pod_id, shared->endpoint_id);

	if (pool->pools[index]) {
		*out = pool->pools[index];
		return 0;
	}
	/* Two pools of one key: one of them was leaving when the former worker died. It does not matter which: this one will be found
	 * by the programs, the other drains. */
	if (other)
		endpoint_pool_leave(pool, other, POOL_CLOSE_ADOPTION);
	return endpoint_pool_register(pool, index, shared->pod_id, shared->endpoint_id, address, port_be, out);
}

void endpoint_pool_leave(struct pool *pool, struct endpoint_pool *owner, enum pool_close_reason reason)
{
	if (owner->is_leaving)
		return;
	owner->is_leaving = true;
	owner->leave_reason = reason;
	pool->kernel.index_delete(pool->kernel.arg, owner->key.pod_id, owner->key.endpoint_id);
	HASH_DEL(pool->index, owner);
}

void endpoint_pool_free(struct pool *pool, struct endpoint_pool *owner)
{
	weft_assert(!owner->upstream_count);
	endpoint_pool_leave(pool, owner, POOL_CLOSE_IDLE);
	memset(owner->shared, 0, sizeof(*owner->shared));
	pool->pools[owner->index] = NULL;
	pool->pool_freed_ns[owner->index] = now_ns();
	pool->pool_count--;
	free(owner);
}

void endpoint_pool_grow(struct pool *pool, struct endpoint_pool *owner, bool is_miss)
{
	uint32_t wanted = 1;

	/* Who serves one connection after the other would wait on one that lies idle, and its clients with it. */
	if (__atomic_load_n(&pool->endpoints[owner->key.endpoint_id].keeps, __ATOMIC_RELAXED) == 0) {
		owner->is_wanted |= is_miss;
		return;
	}
	owner->is_wanted = false;
	/* At a miss all that were open were lent. */
	if (is_miss && owner->upstream_count - owner->dialling_count > 4)
		wanted = (owner->upstream_count - owner->dialling_count) / 4;
	while (owner->dialling_count < wanted) {
		uint32_t dialling = owner->dialling_count;

		/* A dial that ended at once leaves the count as it was: on to the next event or sweep, never round and round. */
		if (upstream_dial(pool, owner) || owner->dialling_count == dialling)
			return;
	}
}

void endpoint_pools_begin(struct pool *pool, uint32_t endpoint_id)
{
	struct endpoint_pool *owner, *next;

	HASH_ITER(hh, pool->index, owner, next) {
		if (owner->key.endpoint_id == endpoint_id && owner->is_wanted)
			endpoint_pool_grow(pool, owner, true);
	}
}

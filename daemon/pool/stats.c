/* SPDX-License-Identifier: Apache-2.0 */
/* What the pool tells people. */
#include "pool/internal.h"

/* Whoever has the most: the next to be at a limit. */
static void find_most(const struct pool *pool, struct pool_stats *s)
{
	for (const struct pool_pod *pod = pool->pods; pod; pod = pod->hh.next) {
		s->pod_upstreams_most = WEFT_MAX(s->pod_upstreams_most, pod->upstream_count);
		s->pod_pools_most = WEFT_MAX(s->pod_pools_most, pools_of_pod(pool, pod->pod_id));
	}
	for (uint32_t i = 0; i < pool->kernel.pool_count; i++)
		if (pool->pools[i])
			s->pool_upstreams_most = WEFT_MAX(s->pool_upstreams_most, pool->pools[i]->upstream_count);
}

void pool_stats(const struct pool *pool, struct pool_stats *out)
{
	struct pool_stats s = pool->counts;

	s.pods = HASH_COUNT(pool->pods);
	s.pools = pool->pool_count;
	s.free = pool->free_count;
	for (uint32_t i = 0; i < pool->active_count; i++) {
		switch (WEFT_STATE(state_load(pool->active[i]->shared))) {
		case WEFT_UPSTREAM_DIALLING: s.dialling++; break;
		case WEFT_UPSTREAM_IDLE: s.idle++; break;
		case WEFT_UPSTREAM_LENT: s.lent++; break;
		case WEFT_UPSTREAM_REPLYING: s.replying++; break;
		case WEFT_UPSTREAM_RELAYED: s.relayed++; break;
		case WEFT_UPSTREAM_DEAD: s.dead++; break;
		case WEFT_UPSTREAM_CLOSING: s.closing++; break;
		}
	}
	find_most(pool, &s);
	*out = s;
}

const char *pool_close_reason_name(enum pool_close_reason reason)
{
	static const char *const names[POOL_CLOSE_COUNT] = {
		[POOL_CLOSE_PEER] = "peer_closed",
		[POOL_CLOSE_UNASKED_BYTES] = "unasked_bytes",
		[POOL_CLOSE_IDLE] = "idle",
		[POOL_CLOSE_ENDPOINT_GONE] = "endpoint_gone",
		[POOL_CLOSE_POD_GONE] = "pod_gone",
		[POOL_CLOSE_RELAY] = "relay",
		[POOL_CLOSE_FAILED] = "failed",
		[POOL_CLOSE_CUT] = "cut",
		[POOL_CLOSE_TIMEOUT] = "timeout",
		[POOL_CLOSE_CLIENT_GONE] = "client_gone",
		[POOL_CLOSE_DIAL] = "dial_failed",
		[POOL_CLOSE_ADOPTION] = "adoption",
		[POOL_CLOSE_STOP] = "stop",
	};

	return (unsigned)reason < POOL_CLOSE_COUNT ? names[reason] : "unknown";
}

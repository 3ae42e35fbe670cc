/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Which endpoint of a cluster. What mutates lives outside the image, keyed by stable ids, and survives a generation. */
#ifndef WEFT_BALANCE_H
#define WEFT_BALANCE_H

#include "weft/base.h"
#include "weft/image.h"
#include "weft/lookup.h"

struct weft_cluster_state {
	u32 position; /* of the next round-robin choice; wraps */
	u32 active;   /* requests in proxies: theirs to count */
};

struct weft_endpoint_state {
	u32 active; /* requests in flight that programs have: the caller's to count */
	u32 servers_block_s; /* when a server in its pod was seen to read without O_NONBLOCK, in seconds since boot; 0: never (bpf/blocking.h) */
	u32 proxied; /* requests in proxies, counted apart: when none is left, there is none */
	u32 zero;
};

#ifdef __bpf__
/* The including program defines both: pointers into its maps, or NULL. */
WEFT_INLINE struct weft_cluster_state *weft_cluster_state(u32 cluster_id);
WEFT_INLINE struct weft_endpoint_state *weft_endpoint_state(u32 endpoint_id);
#else
struct weft_balance_state {
	struct weft_cluster_state *clusters;
	u32 cluster_count;
	struct weft_endpoint_state *endpoints;
	u32 endpoint_count;
};
#endif

enum weft_hash_state {
	WEFT_HASH_NONE = 0,  /* nothing to hash: by chance */
	WEFT_HASH_READY = 1, /* `hash` */
	WEFT_HASH_ASK = 2,   /* there are hash policies: -EAGAIN where the cluster hashes, so that only then they are looked at */
};

struct weft_balance_query {
	struct weft_image_handle image; /* endpoint image */
	u32 cluster_id;
	u32 random;                     /* any 32 bits */
	u32 attempt;                    /* endpoints that were chosen for this request and not wanted (Envoy: retry_host_predicate) */
	u32 hash_state;                 /* enum weft_hash_state */
	u64 hash;
#ifndef __bpf__
	const struct weft_balance_state *state;
#endif
};

WEFT_INLINE struct weft_cluster_state *weft_balance_cluster(const struct weft_balance_query *query)
{
#ifdef __bpf__
	return weft_cluster_state(query->cluster_id);
#else
	return query->state && query->cluster_id < query->state->cluster_count ? &query->state->clusters[query->cluster_id] : NULL;
#endif
}

WEFT_INLINE u32 weft_balance_active(const struct weft_balance_query *query, u32 endpoint_id)
{
	struct weft_endpoint_state *state;

#ifdef __bpf__
	state = weft_endpoint_state(endpoint_id);
#else
	state = query->state && endpoint_id < query->state->endpoint_count ? &query->state->endpoints[endpoint_id] : NULL;
#endif
	return state ? *(volatile u32 *)&state->active + *(volatile u32 *)&state->proxied : 0;
}

/* Reference of the cluster in an endpoint image; 0: none. */
WEFT_INLINE weft_ref weft_seek_cluster(const struct weft_image_handle *image, struct weft_cursor *cursor, u32 cluster_id)
{
	const struct weft_image_header *header = WEFT_OBJECT(weft_image_header, image, cursor, 0);

	if (!header || cluster_id >= header->cluster_count || !header->cluster_directory)
		return 0;
	return weft_entry(image, cursor, header->cluster_directory, cluster_id);
}

WEFT_INLINE weft_ref weft_find_cluster(const struct weft_image_handle *image, u32 cluster_id)
{
	struct weft_cursor cursor = {};

	return weft_seek_cluster(image, &cursor, cluster_id);
}

/* Endpoint `index` of the cluster. */
WEFT_INLINE const struct weft_endpoint *weft_member(const struct weft_image_handle *image, struct weft_cursor *cursor,
						    const struct weft_cluster *cluster, u32 index)
{
	return weft_object(image, cursor, cluster->endpoints + index * sizeof(struct weft_endpoint), sizeof(struct weft_endpoint));
}

/* The endpoint at `turn` of the schedule, in which an endpoint stands as often as its weight says; turn < schedule_len. */
WEFT_INLINE const struct weft_endpoint *weft_scheduled(const struct weft_image_handle *image, struct weft_cursor *cursor,
						       const struct weft_cluster *cluster, u32 turn)
{
	u32 index = turn;

	if (cluster->schedule) {
		const u16 *item = weft_object(image, cursor, cluster->schedule + index * sizeof(*item), sizeof(*item));

		if (!item)
			return NULL;
		index = *item;
	}
	if (index >= cluster->endpoint_count)
		return NULL;
	return weft_member(image, cursor, cluster, index);
}

/* ---- least request ------------------------------------------------------------------------------------------------------- */

struct weft_least {
	u32 random;
	u32 count;      /* endpoints of the group */
	u32 first;      /* index of the first */
	u32 tries;
	u32 is_weighted;
	u32 takes_all;  /* every endpoint of the group is looked at */
	u64 active;     /* of the one that is best so far */
	u64 total;
};

/* One more endpoint of the group of `endpoint`, which it replaces if it is better. */
WEFT_STAGE int weft_least_step(const struct weft_balance_query *query, const struct weft_cluster *cluster, struct weft_least *least, u32 i,
			       struct weft_endpoint *endpoint)
{
	const struct weft_endpoint *candidate;
	struct weft_cursor cursor = {};
	u64 active, share;
	u32 draw, id;

	if (!query || !cluster || !least || !endpoint)
		return -EINVAL;
	least->random = weft_hash_finish(least->random + 0x9e3779b9u);
	draw = least->random;
	if (least->takes_all)
		candidate = weft_member(&query->image, &cursor, cluster, least->first + i);
	else if (least->is_weighted)
		candidate = weft_scheduled(&query->image, &cursor, cluster, ((u64)draw * cluster->schedule_len) >> 32);
	else
		candidate = weft_member(&query->image, &cursor, cluster, least->first + (((u64)draw * least->count) >> 32));
	if (!candidate)
		return -EHOSTUNREACH;
	if (candidate->group_first != endpoint->group_first)
		return 0;
	id = candidate->id;
	active = weft_balance_active(query, id);
	if (!least->is_weighted) {
		if (active >= least->active)
			return 0;
		least->active = active;
	} else {
		/* By chance, in proportion to the share: a sample of one, drawn from those seen so far. */
		share = ((u64)(least->takes_all ? candidate->weight & 0xffff : 0xffff) << 15) / (active + 1);
		least->total += share;
		if (((u64)(weft_hash_finish(draw ^ 0x85ebca6bu) >> 4) * least->total) >> 28 >= share)
			return 0;
	}
	endpoint->id = id;
	endpoint->address = candidate->address;
	endpoint->port_be = candidate->port_be;
	endpoint->flags = candidate->flags;
	endpoint->weight = candidate->weight;
	return 0;
}

/* The usual case of the next: equal weights, two choices. `drawn` was the first. */
WEFT_INLINE const struct weft_endpoint *weft_least_of_two(const struct weft_balance_query *query, struct weft_cursor *cursor,
							  const struct weft_cluster *cluster, const struct weft_endpoint *drawn)
{
	u32 count = drawn->group_count ? drawn->group_count : cluster->endpoint_count, draw = weft_hash_finish(query->random + 0x9e3779b9u);
	u32 drawn_active = weft_balance_active(query, drawn->id);
	const struct weft_endpoint *other = weft_member(&query->image, cursor, cluster, drawn->group_first + (((u64)draw * count) >> 32));

	if (other && other->group_first == drawn->group_first && weft_balance_active(query, other->id) < drawn_active)
		return other;
	return drawn;
}

/* Of the group that `endpoint` was drawn from. Envoy: with equal weights the one of `choices` draws that has the fewest requests in flight,
 * the first when equal; otherwise each in proportion to weight / (requests + 1). The latter is exact for groups of up to
 * WEFT_CHOICES_MAX endpoints; of larger ones as many are drawn by weight, and one of them by 1 / (requests + 1). */
WEFT_STAGE int weft_least_request(const struct weft_balance_query *query, const struct weft_cluster *cluster, struct weft_endpoint *endpoint)
{
	struct weft_least least = {};
	u32 i;

	if (!query || !cluster || !endpoint)
		return -EINVAL;
	least.random = query->random;
	least.count = endpoint->group_count ? endpoint->group_count : cluster->endpoint_count;
	least.first = endpoint->group_first;
	least.is_weighted = endpoint->flags & WEFT_ENDPOINT_WEIGHTED;
	least.takes_all = least.is_weighted && least.count <= WEFT_CHOICES_MAX;
	least.tries = WEFT_CHOICES_MAX;
	if (least.takes_all)
		least.tries = least.count;
	else if (!least.is_weighted)
		least.tries = cluster->choices ? cluster->choices - 1u : 1;
	if (least.count < 2)
		return 0;
#ifdef __bpf__
	if (least.tries > WEFT_CHOICES_MAX)
		return -EOPNOTSUPP; /* as its verdict says */
#endif
	if (!least.is_weighted)
		least.active = weft_balance_active(query, endpoint->id);
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_CHOICES_MAX); i++) {
		int r;

		if (i >= least.tries)
			break;
		r = weft_least_step(query, cluster, &least, i, endpoint);
		if (r)
			return r;
	}
	return 0;
}

/* ---- hashing ------------------------------------------------------------------------------------------------------------- */

#define WEFT_RING_BITS 20
_Static_assert(WEFT_RING_MAX == 1u << WEFT_RING_BITS, "a search of so many steps");

/* Is the place `index` of a ring below `hash`? */
WEFT_STAGE int weft_ring_is_below(const struct weft_image_handle *image, weft_ref hashes, u32 index, u64 hash)
{
	struct weft_cursor cursor = {};

	return image && weft_entry8(image, &cursor, hashes, index) < hash;
}

/* The place of `hash` on the ring: the first that is not below it, else the first of all. `slot`: see WEFT_FORGET. */
WEFT_STAGE u32 weft_ring_place(const struct weft_image_handle *image, const struct weft_hash_level *level, u64 hash, u32 *slot)
{
	u32 below = 0, bit, next; /* places that are known to be below */
	u32 size;

	if (!image || !level || !slot)
		return 0;
	size = level->size;
	for (bit = WEFT_RING_MAX; bit; bit >>= 1) {
		below = WEFT_FORGET(*slot, below);
		next = below + bit;
		if (next > size)
			continue;
		if (weft_ring_is_below(image, level->hashes, next - 1, hash))
			below = next;
	}
	return below >= size ? 0 : below;
}

/* Envoy: ThreadAwareLoadBalancerBase, RingHashLoadBalancer::Ring, MaglevTable. */
WEFT_STAGE int weft_pick_hashed(const struct weft_balance_query *query, const struct weft_cluster *cluster, struct weft_endpoint *endpoint)
{
	const struct weft_endpoint *found;
	struct weft_hash_level level = {};
	struct weft_cursor cursor = {};
	u32 part, place, index, i;
	u64 hash;

	if (!query || !cluster || !endpoint)
		return -EINVAL;
	if (query->hash_state == WEFT_HASH_ASK)
		return -EAGAIN;
	hash = query->hash;
	if (query->hash_state != WEFT_HASH_READY)
		hash = (u64)query->random << 32 | weft_hash_finish(query->random ^ 0x9e3779b9u);
	part = hash % 100;
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_HASH_LEVELS_MAX); i++) {
		const struct weft_hash_level *one;

		if (i >= cluster->hash_level_count)
			return -EHOSTUNREACH;
		one = WEFT_OBJECT(weft_hash_level, &query->image, &cursor, cluster->hash_levels + i * sizeof(*one));
		if (!one)
			return -ENODATA;
		if (part < one->until) {
			level = *one;
			break;
		}
	}
	if (!level.until)
		return -EOPNOTSUPP; /* more levels than the kernel looks at */
	if (!level.size)
		return -EHOSTUNREACH;
	if (level.hashes) {
		place = (weft_ring_place(&query->image, &level, hash, &endpoint->id) + query->attempt) % level.size;
	} else {
		if (query->attempt)
			hash ^= ~0ull - query->attempt + 1;
		place = hash % level.size;
	}
	index = weft_entry2(&query->image, &cursor, level.picks, place);
	if (index >= cluster->endpoint_count)
		return -EHOSTUNREACH;
	found = weft_member(&query->image, &cursor, cluster, index);
	if (!found)
		return -ENODATA;
	*endpoint = *found;
	return 0;
}

/* ---- all of it ----------------------------------------------------------------------------------------------------------- */

/* Returns 0 and the endpoint; -ENOENT: no such cluster (503), -EHOSTUNREACH: no usable endpoint (503, "no healthy upstream"),
 * -EOPNOTSUPP: another kind of cluster, or a policy that is not balanced here; -EAGAIN: see WEFT_HASH_ASK; -ENODATA: no image.
 * ROUND_ROBIN takes the schedule in turn. RANDOM takes any place of it: Envoy's ignores weights, so compile gives it one place an
 * endpoint. LEAST_REQUEST takes a place too, and then compares inside its group. */
WEFT_STAGE int weft_pick_endpoint(const struct weft_balance_query *query, struct weft_endpoint *endpoint)
{
	const struct weft_cluster *cluster;
	const struct weft_endpoint *first;
	struct weft_cluster_state *state;
	struct weft_cursor cursor = {};
	weft_ref ref;
	u32 turn;

	if (!query || !endpoint)
		return -EINVAL;
	if (!weft_seek(&query->image, &cursor, 0))
		return -ENODATA;
	ref = weft_seek_cluster(&query->image, &cursor, query->cluster_id);
	if (!ref)
		return -ENOENT;
	cluster = WEFT_OBJECT(weft_cluster, &query->image, &cursor, ref);
	if (!cluster)
		return -ENODATA;
	if (cluster->kind == WEFT_CLUSTER_BLACK_HOLE)
		return -EHOSTUNREACH;
	if (cluster->kind != WEFT_CLUSTER_ENDPOINTS)
		return -EOPNOTSUPP;
	if (cluster->policy == WEFT_LB_HASH)
		return weft_pick_hashed(query, cluster, endpoint);
	if (cluster->policy != WEFT_LB_ROUND_ROBIN && cluster->policy != WEFT_LB_RANDOM && cluster->policy != WEFT_LB_LEAST_REQUEST)
		return -EOPNOTSUPP;
	if (!cluster->endpoint_count || !cluster->schedule_len)
		return -EHOSTUNREACH;

	turn = ((u64)query->random * cluster->schedule_len) >> 32;
	if (cluster->policy == WEFT_LB_ROUND_ROBIN) {
		state = weft_balance_cluster(query);
		turn = (state ? __sync_fetch_and_add(&state->position, 1) : query->random) % cluster->schedule_len;
	}
	first = weft_scheduled(&query->image, &cursor, cluster, turn);
	if (!first)
		return -EHOSTUNREACH;
	if (cluster->policy == WEFT_LB_LEAST_REQUEST) {
		if (cluster->choices > 2 || (first->flags & WEFT_ENDPOINT_WEIGHTED)) {
			*endpoint = *first;
			return weft_least_request(query, cluster, endpoint);
		}
		if (cluster->choices != 1)
			first = weft_least_of_two(query, &cursor, cluster, first);
	}
	*endpoint = *first;
	return 0;
}

#endif

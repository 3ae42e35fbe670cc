/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Which endpoint of a cluster. What mutates lives outside the image, keyed by stable ids, and survives a generation. */
#ifndef WEFT_BALANCE_H
#define WEFT_BALANCE_H

#include "weft/base.h"
#include "weft/image.h"
#include "weft/lookup.h"

struct weft_cluster_state {
	u32 position; /* of the next round-robin choice; wraps */
	u32 active;   /* requests in flight: the caller's to count */
};

struct weft_endpoint_state {
	u32 active; /* requests in flight: the caller's to count */
	u32 reserved;
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

struct weft_balance_query {
	struct weft_image_handle image; /* endpoint image */
	u32 cluster_id;
	u32 random;                     /* any 32 bits */
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
	return state ? *(volatile u32 *)&state->active : 0;
}

/* Reference of the cluster in an endpoint image; 0: none. */
WEFT_INLINE weft_ref weft_find_cluster(const struct weft_image_handle *image, u32 cluster_id)
{
	const struct weft_image_header *header;
	struct weft_cursor cursor = {};

	header = WEFT_OBJECT(weft_image_header, image, &cursor, 0);
	if (!header || cluster_id >= header->cluster_count || !header->cluster_directory)
		return 0;
	return weft_entry(image, &cursor, header->cluster_directory, cluster_id);
}

/* The endpoint at `turn` of the schedule, in which an endpoint stands as often as its weight says. */
WEFT_INLINE const struct weft_endpoint *weft_scheduled(const struct weft_image_handle *image, struct weft_cursor *cursor,
						       const struct weft_cluster *cluster, u32 turn)
{
	u32 index = turn % cluster->schedule_len;

	if (cluster->schedule) {
		const u16 *item = weft_object(image, cursor, cluster->schedule + index * sizeof(*item), sizeof(*item));

		if (!item)
			return NULL;
		index = *item;
	}
	if (index >= cluster->endpoint_count)
		return NULL;
	return weft_object(image, cursor, cluster->endpoints + index * sizeof(struct weft_endpoint), sizeof(struct weft_endpoint));
}

/* Returns 0 and the endpoint; -ENOENT: no such cluster (503), -EHOSTUNREACH: no usable endpoint (503, "no healthy upstream"),
 * -EOPNOTSUPP: another kind of cluster, or a policy that is not balanced here; -ENODATA: no image.
 * ROUND_ROBIN takes the schedule in turn. RANDOM takes any place of it: Envoy's ignores weights, so compile gives it one place an
 * endpoint. LEAST_REQUEST draws two places and takes the endpoint with fewer requests in flight for its weight, the first when equal. */
WEFT_STAGE int weft_pick_endpoint(const struct weft_balance_query *query, struct weft_endpoint *endpoint)
{
	const struct weft_endpoint *first, *second;
	struct weft_cluster_state *state;
	struct weft_cursor cursor = {};
	struct weft_endpoint candidate;
	struct weft_cluster cluster;
	const struct weft_cluster *found;
	weft_ref ref;
	u32 turn;

	if (!query || !endpoint)
		return -EINVAL;
	if (!weft_seek(&query->image, &cursor, 0))
		return -ENODATA;
	ref = weft_find_cluster(&query->image, query->cluster_id);
	if (!ref)
		return -ENOENT;
	found = WEFT_OBJECT(weft_cluster, &query->image, &cursor, ref);
	if (!found)
		return -ENODATA;
	cluster = *found;
	if (cluster.kind == WEFT_CLUSTER_BLACK_HOLE)
		return -EHOSTUNREACH;
	if (cluster.kind != WEFT_CLUSTER_ENDPOINTS)
		return -EOPNOTSUPP;
	if (!cluster.endpoint_count || !cluster.schedule_len)
		return -EHOSTUNREACH;

	turn = query->random;
	if (cluster.policy == WEFT_LB_ROUND_ROBIN) {
		state = weft_balance_cluster(query);
		if (state)
			turn = __sync_fetch_and_add(&state->position, 1);
	} else if (cluster.policy != WEFT_LB_RANDOM && cluster.policy != WEFT_LB_LEAST_REQUEST) {
		return -EOPNOTSUPP;
	}
	if (cluster.policy != WEFT_LB_ROUND_ROBIN)
		turn = ((u64)query->random * cluster.schedule_len) >> 32;
	first = weft_scheduled(&query->image, &cursor, &cluster, turn);
	if (!first)
		return -EHOSTUNREACH;
	candidate = *first;
	if (cluster.policy == WEFT_LB_LEAST_REQUEST) {
		/* a second draw from other bits of the same number */
		u32 random = weft_hash_finish(query->random ^ 0x9e3779b9u);

		second = weft_scheduled(&query->image, &cursor, &cluster, ((u64)random * cluster.schedule_len) >> 32);
		if (second && second->id != candidate.id) {
			u64 active = weft_balance_active(query, candidate.id), other = weft_balance_active(query, second->id);

			if (other * (candidate.weight ?: 1) < active * (second->weight ?: 1))
				candidate = *second;
		}
	}
	*endpoint = candidate;
	return 0;
}

#endif

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

/* Returns 0 and the endpoint; -ENOENT: no such cluster (503), -EHOSTUNREACH: no usable endpoint (503, "no healthy upstream"),
 * -EOPNOTSUPP: another kind of cluster, or a policy that is not balanced here; -ENODATA: no image. */
WEFT_STAGE int weft_pick_endpoint(const struct weft_balance_query *query, struct weft_endpoint *endpoint);

/* Reference of the cluster in an endpoint image; 0: none. */
WEFT_INLINE weft_ref weft_find_cluster(const struct weft_image_handle *image, u32 cluster_id);

WEFT_INLINE weft_ref weft_find_cluster(const struct weft_image_handle *image, u32 cluster_id)
{
	return 0;
}

WEFT_STAGE int weft_pick_endpoint(const struct weft_balance_query *query, struct weft_endpoint *endpoint)
{
	if (!query || !endpoint)
		return -EINVAL;
	return -EOPNOTSUPP;
}

#endif

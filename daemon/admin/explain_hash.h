/* SPDX-License-Identifier: Apache-2.0 */
/* Which endpoint a hashing cluster gives to a request. */
#ifndef WEFT_ADMIN_EXPLAIN_HASH_H
#define WEFT_ADMIN_EXPLAIN_HASH_H

#include "admin/explain.h"
#include "weft/head.h"

struct explain_hash {
	bool is_for_proxy;              /* the kernel hands such requests up */
	bool is_too_much;               /* it does so with this one: what is hashed is longer than it hashes, or stands in several lines */
	bool has_endpoint;
	struct weft_endpoint endpoint;
	const char *why;                /* why there is none, or not always this one; "" */
};

/* `target` is the normalised one. `client`: all 0 where it is not known. `cluster_id` is of a cluster with WEFT_LB_HASH. */
void explain_hash(const struct explain_world *world, const struct weft_route *route, const struct weft_head_bytes *bytes,
		  const struct weft_head *head, const uint8_t *target, uint32_t target_len, uint32_t cluster_id, const struct weft_address *client,
		  struct explain_hash *out);

#endif

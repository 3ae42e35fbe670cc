/* SPDX-License-Identifier: Apache-2.0 */
/* Resources as they came, each content once: decoded when it is first seen, and shared by all streams that have it. One thread. */
#ifndef WEFT_XDS_STORE_H
#define WEFT_XDS_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "mesh/mesh.h"
#include "xds/response.h"

struct xds_store;

/* Counted. Immutable. */
struct xds_resource {
	enum mesh_kind kind;
	const char *name;            /* as the bytes say it */
	struct xds_bytes bytes;
	uint64_t hash;
	struct mesh_item *item;      /* NULL when it is refused */
	const char *refusal;         /* why; NULL when it is not */
	bool is_broken;              /* refused because the bytes are no such message */
};

int xds_store_new(struct xds_store **out);
/* After every resource of it was put back. */
void xds_store_free(struct xds_store **store);

/* The resource of these bytes, with a reference for the caller: one that is refused too. `known` (may be NULL) is what the caller has under that
 * name, which is compared first. 0 or -ENOMEM. */
int xds_store_take(struct xds_store *store, enum mesh_kind kind, const struct xds_response_item *item, struct xds_resource *known,
		   struct xds_resource **out);
struct xds_resource *xds_resource_ref(struct xds_resource *resource);
void xds_resource_put(struct xds_store *store, struct xds_resource **resource); /* accepts NULL in it */

struct xds_store_stats {
	size_t resources;   /* different ones */
	size_t bytes;       /* of them, as they came */
	uint64_t decoded;   /* since the start */
	uint64_t shared;    /* asked for and there already */
};
void xds_store_stats(const struct xds_store *store, struct xds_store_stats *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What a cluster of several priorities has beside the endpoints that get requests now: all its priorities, for retries that leave those which were tried. */
#ifndef WEFT_COMPILE_PRIORITIES_H
#define WEFT_COMPILE_PRIORITIES_H

#include "compile/balance.h"
#include "compile/builder.h"
#include "base/strbuf.h"

struct priority_turns {
	uint32_t priority, percent;
	bool is_degraded;
	uint16_t *turns;     /* indexes into the cluster's shares */
	size_t turn_count;
};

struct priorities {
	struct priority_turns *items;
	size_t count;
};

void priorities_release(struct priorities *priorities);

/* Adds to `shares` (room for all endpoints of the assignment; at most `limit` are used) what is not among the first `count`. None where there is one priority, or
 * where not all of them can be reached: `reason` says so then. -ENOMEM. */
int priorities_find(const struct mesh *mesh, const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment,
		    bool (*is_usable)(const struct mesh_endpoint *endpoint), size_t limit, struct share *shares, size_t *count, struct priorities *out,
		    struct strbuf *reason);

int priorities_write(struct builder *builder, const struct priorities *priorities, weft_ref cluster);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "xds/internal.h"

struct want {
	struct xds_scope *scope;
	enum mesh_kind kind;
};

static void want(void *arg, const char *name)
{
	struct want *w = arg;
	struct slot *slot = *name ? slot_make(w->scope, w->kind, name) : NULL;

	if (slot)
		slot->is_wanted = true;
}

static void want_all(struct xds_scope *scope, enum mesh_kind of, struct want *w)
{
	struct slot *slot, *next;

	HASH_ITER(hh, scope->types[of].slots, slot, next)
	{
		const struct mesh_resource *resource = slot->accepted ? mesh_item_resource(slot->accepted->item) : NULL;

		if (resource && of == MESH_CLUSTER && ((const struct mesh_cluster *)resource)->kind == MESH_CLUSTER_EDS)
			want(w, ((const struct mesh_cluster *)resource)->eds_name);
		if (resource && of == MESH_LISTENER)
			names_of_listener_routes((const struct mesh_listener *)resource, want, w);
	}
}

int demand_update(struct xds_scope *scope, enum mesh_kind of)
{
	struct want w = { scope, of == MESH_CLUSTER ? MESH_LOAD_ASSIGNMENT : MESH_ROUTE_CONFIG };
	struct subscription *type = &scope->types[w.kind];
	struct slot *slot, *next;

	HASH_ITER(hh, type->slots, slot, next)
	{
		slot->was_wanted = slot->is_wanted;
		slot->is_wanted = false;
	}
	want_all(scope, of, &w);
	if (scope->status)
		return scope->status;
	HASH_ITER(hh, type->slots, slot, next)
	{
		if (slot->is_wanted == slot->was_wanted)
			continue;
		type->names_changed = true;
		slot->was_wanted = slot->is_wanted;
		/* What the server says of a name that nobody asks for is not to be believed later: it is asked for again then. */
		if (!slot->is_wanted) {
			slot_set(scope, &slot->accepted, NULL);
			slot_set(scope, &slot->refused, NULL);
		}
	}
	return 0;
}

size_t demand_count(const struct subscription *type)
{
	struct slot *slot, *next;
	size_t count = 0;

	HASH_ITER(hh, type->slots, slot, next)
		count += slot->is_wanted;
	return count;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* From what was accepted to what serves: clusters and endpoints first, then routes, then listeners; what is gone in the other order. */
#include <errno.h>
#include <string.h>

#include "xds/internal.h"

struct check {
	struct xds_scope *scope;
	uint64_t now_ms;
	bool is_blocked;
};

static void set_live(struct xds_scope *scope, enum mesh_kind kind, struct slot *slot, struct xds_resource *resource)
{
	int r = resource ? mesh_put(scope->mesh, resource->item) : mesh_remove_resource(scope->mesh, kind, slot->name);

	if (r && r != -ENOENT) {
		scope->status = r;
		return;
	}
	slot_set(scope, &slot->live, resource);
	slot->waits_since_ms = 0;
	slot->was_asked_again = false;
	scope->is_dirty = true;
	scope->changes++;
}

static void wait_on(struct check *c, struct slot *slot)
{
	if (!slot->waits_since_ms)
		slot->waits_since_ms = c->now_ms ? c->now_ms : 1;
}

static bool has_waited(const struct check *c, const struct slot *slot, uint64_t ms)
{
	return slot->waits_since_ms && c->now_ms >= slot->waits_since_ms + ms;
}

/* ---- clusters and endpoints ------------------------------------------------------------------------------------------------------- */

/* A name that the server should have answered long since: its subscription may have been lost with a nonce that had grown stale. */
static void ask_again(struct check *c, enum mesh_kind kind, struct slot *slot)
{
	if (slot->was_asked_again || !has_waited(c, slot, XDS_ASK_AGAIN_MS))
		return;
	slot->was_asked_again = true;
	c->scope->types[kind].asks_again = true;
}

/* The server has spoken, and weft took nothing of it. As in Envoy, that ends the wait of those who name it. */
static bool is_refused(const struct slot *slot)
{
	return slot->refused && !slot->accepted;
}

/* Waits from now on, unless something was accepted or refused. */
static bool is_answered(struct check *c, enum mesh_kind kind, const char *name)
{
	struct slot *slot = slot_find(c->scope, kind, name);

	if (!slot || slot->accepted || is_refused(slot)) {
		if (slot)
			slot->was_asked_again = false;
		return slot != NULL;
	}
	wait_on(c, slot);
	ask_again(c, kind, slot);
	return false;
}

void settle_assignment(struct xds_scope *scope, struct slot *slot)
{
	if (slot->accepted && slot->accepted != slot->live)
		set_live(scope, MESH_LOAD_ASSIGNMENT, slot, slot->accepted);
}

static void settle_clusters(struct check *c)
{
	struct slot *slot, *next;

	HASH_ITER(hh, c->scope->types[MESH_LOAD_ASSIGNMENT].slots, slot, next)
		settle_assignment(c->scope, slot);
	HASH_ITER(hh, c->scope->types[MESH_CLUSTER].slots, slot, next)
	{
		const struct mesh_cluster *cluster;

		if (!slot->accepted || slot->accepted == slot->live)
			continue;
		cluster = (const struct mesh_cluster *)mesh_item_resource(slot->accepted->item);
		if (cluster->kind == MESH_CLUSTER_EDS && !is_answered(c, MESH_LOAD_ASSIGNMENT, cluster->eds_name) && !has_waited(c, slot, XDS_WARMING_MS))
			wait_on(c, slot);
		else
			set_live(c->scope, MESH_CLUSTER, slot, slot->accepted);
	}
}

/* ---- routes and listeners ---------------------------------------------------------------------------------------------------------- */

/* A cluster that comes blocks; one that there is not, or that is there in its former shape, doesn't. */
static void look_at_cluster(void *arg, const char *name)
{
	struct check *c = arg;
	const struct slot *slot = slot_find(c->scope, MESH_CLUSTER, name);

	if (slot && slot->accepted && !slot->live)
		c->is_blocked = true;
}

static void look_at_routes(void *arg, const char *name)
{
	struct check *c = arg;
	const struct slot *slot = slot_find(c->scope, MESH_ROUTE_CONFIG, name);

	(void)is_answered(c, MESH_ROUTE_CONFIG, name);
	if (!slot || (!slot->live && !is_refused(slot)))
		c->is_blocked = true;
}

static void settle_routes(struct check *c)
{
	struct slot *slot, *next;

	HASH_ITER(hh, c->scope->types[MESH_ROUTE_CONFIG].slots, slot, next)
	{
		if (!slot->accepted || slot->accepted == slot->live)
			continue;
		c->is_blocked = false;
		names_of_routes((const struct mesh_route_config *)mesh_item_resource(slot->accepted->item), look_at_cluster, c);
		if (c->is_blocked && !has_waited(c, slot, XDS_WARMING_MS))
			wait_on(c, slot);
		else
			set_live(c->scope, MESH_ROUTE_CONFIG, slot, slot->accepted);
	}
}

static void settle_listeners(struct check *c)
{
	struct slot *slot, *next;

	HASH_ITER(hh, c->scope->types[MESH_LISTENER].slots, slot, next)
	{
		const struct mesh_listener *listener;

		if (slot->accepted == slot->live)
			continue;
		if (!slot->accepted) {
			set_live(c->scope, MESH_LISTENER, slot, NULL);
			continue;
		}
		listener = (const struct mesh_listener *)mesh_item_resource(slot->accepted->item);
		c->is_blocked = false;
		names_of_listener_routes(listener, look_at_routes, c);
		names_of_listener_clusters(listener, look_at_cluster, c);
		if (c->is_blocked && !has_waited(c, slot, XDS_WARMING_MS))
			wait_on(c, slot);
		else
			set_live(c->scope, MESH_LISTENER, slot, slot->accepted);
	}
}

/* ---- what is gone ------------------------------------------------------------------------------------------------------------------ */

static void forget_names(struct xds_scope *scope, enum mesh_kind kind)
{
	struct slot *slot, *next;

	HASH_ITER(hh, scope->types[kind].slots, slot, next)
		slot->is_named = false;
}

static void name_route(void *arg, const char *name)
{
	struct slot *slot = slot_find(arg, MESH_ROUTE_CONFIG, name);

	if (slot)
		slot->is_named = true;
}

static void name_cluster(void *arg, const char *name)
{
	struct slot *slot = slot_find(arg, MESH_CLUSTER, name);

	if (slot)
		slot->is_named = true;
}

/* The routes that go with the clusters of the last push have come, or won't: the order is clusters, endpoints, listeners, routes. */
static bool is_push_complete(const struct xds_scope *scope)
{
	const struct subscription *last = &scope->types[demand_count(&scope->types[MESH_ROUTE_CONFIG]) ? MESH_ROUTE_CONFIG : MESH_LISTENER];

	return strcmp(last->received, scope->types[MESH_CLUSTER].received) == 0;
}

static bool is_gone(const struct slot *slot)
{
	return slot->live && !slot->accepted;
}

static void remove_routes(struct check *c)
{
	struct xds_scope *scope = c->scope;
	struct slot *slot, *next;

	forget_names(scope, MESH_ROUTE_CONFIG);
	for (size_t i = 0; i < scope->mesh->listener_count; i++)
		names_of_listener_routes(scope->mesh->listeners[i], name_route, scope);
	HASH_ITER(hh, scope->types[MESH_ROUTE_CONFIG].slots, slot, next)
		if (is_gone(slot) && !slot->is_named)
			set_live(scope, MESH_ROUTE_CONFIG, slot, NULL);
}

static void remove_clusters(struct check *c)
{
	struct xds_scope *scope = c->scope;
	struct slot *slot, *next;

	forget_names(scope, MESH_CLUSTER);
	for (size_t i = 0; i < scope->mesh->listener_count; i++)
		names_of_listener_clusters(scope->mesh->listeners[i], name_cluster, scope);
	for (size_t i = 0; i < scope->mesh->route_config_count; i++)
		names_of_routes(scope->mesh->route_configs[i], name_cluster, scope);
	HASH_ITER(hh, scope->types[MESH_CLUSTER].slots, slot, next)
	{
		if (!is_gone(slot))
			continue;
		if (slot->is_named && !is_push_complete(scope) && !has_waited(c, slot, XDS_REMOVED_MS))
			wait_on(c, slot);
		else
			set_live(scope, MESH_CLUSTER, slot, NULL);
	}
}

static void remove_assignments(struct check *c)
{
	struct xds_scope *scope = c->scope;
	struct slot *slot, *next;

	forget_names(scope, MESH_LOAD_ASSIGNMENT);
	for (size_t i = 0; i < scope->mesh->cluster_count; i++) {
		const struct mesh_cluster *cluster = scope->mesh->clusters[i];

		slot = cluster->kind == MESH_CLUSTER_EDS ? slot_find(scope, MESH_LOAD_ASSIGNMENT, cluster->eds_name) : NULL;
		if (slot)
			slot->is_named = true;
	}
	HASH_ITER(hh, scope->types[MESH_LOAD_ASSIGNMENT].slots, slot, next)
		if (is_gone(slot) && !slot->is_named)
			set_live(scope, MESH_LOAD_ASSIGNMENT, slot, NULL);
}

static bool has_gone(const struct xds_scope *scope, enum mesh_kind kind)
{
	struct slot *slot, *next;

	HASH_ITER(hh, scope->types[kind].slots, slot, next)
		if (is_gone(slot))
			return true;
	return false;
}

/* ---- slots without a purpose -------------------------------------------------------------------------------------------------------- */

/* A name without an answer keeps its time, to be asked for again, and holds nothing up: those who name it wait, or have ceased to. */
static bool is_waiting(struct slot *slot)
{
	if (slot->accepted == slot->live && (slot->accepted || !slot->is_wanted))
		slot->waits_since_ms = 0;
	return slot->accepted != slot->live && slot->waits_since_ms;
}

/* True when some of the type still wait. */
static bool sweep(struct xds_scope *scope, enum mesh_kind kind)
{
	struct slot *slot, *next;
	bool waits = false;

	HASH_ITER(hh, scope->types[kind].slots, slot, next)
	{
		if (is_waiting(slot))
			waits = true;
		if (slot->accepted || slot->refused || slot->live || slot->is_wanted)
			continue;
		HASH_DEL(scope->types[kind].slots, slot);
		free(slot->name);
		free(slot);
	}
	return waits;
}

static void look_for_waiting(struct xds_scope *scope)
{
	scope->is_unsettled = scope->status != 0;
	for (unsigned kind = 0; kind < MESH_KINDS; kind++)
		if (sweep(scope, kind))
			scope->is_unsettled = true;
}

void settle(struct xds_scope *scope, uint64_t now_ms)
{
	struct check c = { .scope = scope, .now_ms = now_ms };

	settle_clusters(&c);
	settle_routes(&c);
	settle_listeners(&c);
	if (has_gone(scope, MESH_ROUTE_CONFIG))
		remove_routes(&c);
	look_for_waiting(scope);
}

bool settle_removals(struct xds_scope *scope, uint64_t now_ms)
{
	struct check c = { .scope = scope, .now_ms = now_ms };
	uint64_t changes = scope->changes;

	if (has_gone(scope, MESH_CLUSTER))
		remove_clusters(&c);
	if (has_gone(scope, MESH_LOAD_ASSIGNMENT))
		remove_assignments(&c);
	look_for_waiting(scope);
	return scope->changes != changes;
}

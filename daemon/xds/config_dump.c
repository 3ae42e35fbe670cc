/* SPDX-License-Identifier: Apache-2.0 */
/* What a scope has, as Envoy's /config_dump would print it. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "mesh/proto_json.h"
#include "xds/internal.h"

#define TYPE(name) "type.googleapis.com/envoy.admin.v3." name

/* How Envoy calls the parts of a type's dump. */
static const struct shape {
	const char *type_url;
	const char *active, *warming; /* lists */
	const char *resource;         /* key of the resource in an item */
} shapes[MESH_KINDS] = {
	[MESH_CLUSTER] = { TYPE("ClustersConfigDump"), "dynamic_active_clusters", "dynamic_warming_clusters", "cluster" },
	[MESH_LOAD_ASSIGNMENT] = { TYPE("EndpointsConfigDump"), "dynamic_endpoint_configs", NULL, "endpoint_config" },
	[MESH_LISTENER] = { TYPE("ListenersConfigDump"), "dynamic_listeners", NULL, "listener" },
	[MESH_ROUTE_CONFIG] = { TYPE("RoutesConfigDump"), "dynamic_route_configs", NULL, "route_config" },
};

static json_t *item(const struct subscription *type, const struct shape *shape, const struct xds_resource *resource)
{
	struct arena scratch = ARENA_INIT;
	json_t *object = json_pack("{s:s, s:o}", "version_info", type->version, shape->resource,
				   proto_json_any(mesh_kind_type_url(resource->kind), resource->bytes.at, resource->bytes.size, &scratch));

	arena_release(&scratch);
	return object;
}

/* A listener's states stand side by side. */
static void add_listener(const struct subscription *type, const struct slot *slot, json_t *active)
{
	json_t *object = json_pack("{s:s}", "name", slot->name);

	if (slot->live)
		json_object_set_new(object, "active_state", item(type, &shapes[MESH_LISTENER], slot->live));
	if (slot->accepted && slot->accepted != slot->live)
		json_object_set_new(object, "warming_state", item(type, &shapes[MESH_LISTENER], slot->accepted));
	json_array_append_new(active, object);
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct slot *const *)a)->name, (*(const struct slot *const *)b)->name);
}

static void add_slots(const struct subscription *type, enum mesh_kind kind, json_t *active, json_t *warming)
{
	_cleanup_free_ const struct slot **slots = calloc(HASH_COUNT(type->slots) + 1, sizeof(const struct slot *));
	struct slot *slot, *next;
	size_t count = 0;

	if (!slots)
		return;
	HASH_ITER(hh, type->slots, slot, next)
		if (slot->live || slot->accepted)
			slots[count++] = slot;
	qsort(slots, count, sizeof(const struct slot *), by_name);
	for (size_t i = 0; i < count; i++) {
		if (kind == MESH_LISTENER) {
			add_listener(type, slots[i], active);
			continue;
		}
		if (slots[i]->live)
			json_array_append_new(active, item(type, &shapes[kind], slots[i]->live));
		if (warming && slots[i]->accepted && slots[i]->accepted != slots[i]->live)
			json_array_append_new(warming, item(type, &shapes[kind], slots[i]->accepted));
	}
}

static json_t *dump_type(const struct xds_scope *scope, enum mesh_kind kind)
{
	const struct subscription *type = &scope->types[kind];
	const struct shape *shape = &shapes[kind];
	json_t *object = json_pack("{s:s}", "@type", shape->type_url), *active = json_array(), *warming = shape->warming ? json_array() : NULL;

	if (type_is_wildcard(kind))
		json_object_set_new(object, "version_info", json_string(type->version));
	add_slots(type, kind, active, warming);
	json_object_set_new(object, shape->active, active);
	if (json_array_size(warming))
		json_object_set(object, shape->warming, warming);
	json_decref(warming);
	return object;
}

json_t *xds_scope_config_dump(const struct xds_scope *scope)
{
	json_t *configs = json_array();

	for (unsigned i = 0; i < MESH_KINDS; i++)
		json_array_append_new(configs, dump_type(scope, xds_order[i]));
	return json_pack("{s:o}", "configs", configs);
}

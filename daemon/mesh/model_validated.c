/* SPDX-License-Identifier: Apache-2.0 */
/* Route configurations with validate_clusters: the clusters that their routes name, and whether they are there. What Envoy's looks at is looked at: the
 * cluster of a route, each of weighted ones, and those to mirror to, also where a route that is no action of forwarding has them from above. Names that
 * come with the request (cluster_header) are not. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "mesh/mesh_internal.h"
#include "mesh/model.h"

static void name_cluster(struct build *b, struct mesh_route_config *config, const char *kind, const char *name)
{
	size_t count = config->validated_count;

	if (!*name)
		return;
	/* room doubles whenever the count reaches a power of two */
	if ((count & (count - 1)) == 0) {
		struct mesh_named_cluster *items = build_array(b, struct mesh_named_cluster, count ? count * 2 : 1);

		if (!items)
			return;
		if (count)
			memcpy(items, config->validated, count * sizeof(*items));
		config->validated = items;
	}
	config->validated[count] = (struct mesh_named_cluster){ name, kind, build_text(b, strbuf_text(&b->path)), build_place(b) };
	config->validated_count++;
}

static void name_at(struct build *b, struct mesh_route_config *config, const char *kind, const char *field, const char *name)
{
	size_t before = build_enter(b, field);

	name_cluster(b, config, kind, name);
	build_leave(b, before);
}

static void name_weighted(struct build *b, struct mesh_route_config *config, const struct mesh_forward *forward)
{
	size_t before = build_enter(b, "weighted_clusters");

	for (size_t i = 0; i < forward->weighted_count; i++) {
		size_t inner = build_enter_index(b, "clusters", i);

		name_at(b, config, "weighted cluster", "name", forward->weighted[i].name);
		build_leave(b, inner);
	}
	build_leave(b, before);
}

static void name_mirrors(struct build *b, struct mesh_route_config *config, const struct mesh_mirror *mirrors, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t before = build_enter_index(b, "request_mirror_policies", i);

		name_at(b, config, "shadow cluster", "cluster", mirrors[i].cluster);
		build_leave(b, before);
	}
}

void model_validated(struct build *b, struct mesh_route_config *config, const struct mesh_route *route, const struct mesh_mirror *mirrors, size_t mirror_count)
{
	const struct mesh_forward *forward = &route->forward;
	bool has_own = forward->mirror_count && forward->mirrors != mirrors;
	size_t before = build_enter(b, "route");

	if (route->action == MESH_ACTION_CLUSTER)
		name_at(b, config, "cluster", "cluster", forward->cluster);
	if (route->action == MESH_ACTION_WEIGHTED)
		name_weighted(b, config, forward);
	if (has_own)
		name_mirrors(b, config, forward->mirrors, forward->mirror_count);
	build_leave(b, before);
	for (size_t i = 0; !has_own && i < mirror_count; i++)
		name_cluster(b, config, "shadow cluster", mirrors[i].cluster); /* of no line of the route's own */
}

/* ---- are they there? --------------------------------------------------------------------------------------------------------------- */

static const struct mesh_named_cluster *unknown_of_routes(const struct mesh_route_config *config, bool (*is_known)(void *arg, const char *name), void *arg)
{
	for (size_t i = 0; i < config->validated_count; i++)
		if (!is_known(arg, config->validated[i].name))
			return &config->validated[i];
	return NULL;
}

static const struct mesh_named_cluster *unknown_of_chain(const struct mesh_filter_chain *chain, bool (*is_known)(void *arg, const char *name), void *arg)
{
	return chain && chain->http && chain->http->route_config ? unknown_of_routes(chain->http->route_config, is_known, arg) : NULL;
}

const struct mesh_named_cluster *mesh_unknown_cluster(const struct mesh_resource *resource, bool (*is_known)(void *arg, const char *name), void *arg)
{
	const struct mesh_named_cluster *unknown = NULL;
	const struct mesh_listener *listener;

	if (resource->kind == MESH_ROUTE_CONFIG)
		return unknown_of_routes((const struct mesh_route_config *)resource, is_known, arg);
	if (resource->kind != MESH_LISTENER)
		return NULL;
	listener = (const struct mesh_listener *)resource;
	for (size_t i = 0; !unknown && i < listener->filter_chain_count; i++)
		unknown = unknown_of_chain(&listener->filter_chains[i], is_known, arg);
	return unknown ? unknown : unknown_of_chain(listener->default_filter_chain, is_known, arg);
}

int mesh_unknown_cluster_text(const struct mesh_named_cluster *named, struct strbuf *text)
{
	return strbuf_printf(text, "route: unknown %s '%s'", named->kind, named->name);
}

static bool is_in_mesh(void *arg, const char *name)
{
	return mesh_find_cluster(arg, name) != NULL;
}

/* 1: it is refused, and gone from its array. */
static int refuse_if_unknown(struct mesh *mesh, const struct mesh_resource *resource, struct mesh_report *report)
{
	const struct mesh_named_cluster *named = mesh_unknown_cluster(resource, is_in_mesh, mesh);
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT, text = STRBUF_INIT;
	int r;

	if (!named)
		return 0;
	strbuf_printf(&path, "%s %s: %s", mesh_kind_name(resource->kind), resource->name, named->path);
	r = mesh_unknown_cluster_text(named, &text);
	if (r || strbuf_status(&path))
		return -ENOMEM;
	mesh_report_add(report, MESH_ERROR, named->place.file, named->place.line, named->place.column, strbuf_text(&path), "%s (validate_clusters is true)",
			strbuf_text(&text));
	r = mesh_refuse(mesh, resource, named->path, strbuf_text(&text));
	return r ? r : 1;
}

int mesh_refuse_unknown_clusters(struct mesh *mesh, struct mesh_report *report)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < mesh->listener_count; i += r == 0)
		r = refuse_if_unknown(mesh, &mesh->listeners[i]->resource, report);
	for (size_t i = 0; r >= 0 && i < mesh->route_config_count; i += r == 0)
		r = refuse_if_unknown(mesh, &mesh->route_configs[i]->resource, report);
	return r < 0 ? r : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Names that lead nowhere. None of them is an error, as with Envoy: what they would serve is answered 503 or 404, or closed. */
#include <stdarg.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "mesh/mesh.h"

struct check {
	const struct mesh *mesh;
	struct mesh_report *report;
	const struct mesh_resource *resource;
	struct strbuf path;
};

static void __attribute__((format(printf, 3, 4))) warn(struct check *c, const char *path, const char *fmt, ...)
{
	const struct mesh_place *place = &c->resource->place;
	_cleanup_(strbuf_release) struct strbuf full = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	va_list args;

	va_start(args, fmt);
	strbuf_vprintf(&text, fmt, args);
	va_end(args);
	strbuf_printf(&full, "%s %s%s%s", mesh_kind_name(c->resource->kind), c->resource->name, *path ? ": " : "", path);
	mesh_report_add(c->report, MESH_WARNING, place->file, place->line, place->column, strbuf_text(&full), "%s", strbuf_text(&text));
}

static void check_cluster_name(struct check *c, const char *name)
{
	if (*name && !mesh_find_cluster(c->mesh, name))
		warn(c, strbuf_text(&c->path), "there is no cluster %s: its requests are answered 503", name);
}

static void check_route(struct check *c, const struct mesh_route *route)
{
	const struct mesh_forward *forward = &route->forward;

	if (route->action == MESH_ACTION_CLUSTER)
		check_cluster_name(c, forward->cluster);
	for (size_t i = 0; i < forward->weighted_count; i++)
		check_cluster_name(c, forward->weighted[i].name);
	for (size_t i = 0; i < forward->mirror_count; i++)
		if (*forward->mirrors[i].cluster && !mesh_find_cluster(c->mesh, forward->mirrors[i].cluster))
			warn(c, strbuf_text(&c->path), "there is no cluster %s to mirror to", forward->mirrors[i].cluster);
}

static int check_routes(struct check *c, const struct mesh_route_config *config)
{
	for (size_t i = 0; i < config->virtual_host_count; i++) {
		for (size_t j = 0; j < config->virtual_hosts[i].route_count; j++) {
			strbuf_truncate(&c->path, 0);
			strbuf_printf(&c->path, "virtual_hosts[%zu].routes[%zu]", i, j);
			check_route(c, &config->virtual_hosts[i].routes[j]);
		}
	}
	return strbuf_status(&c->path);
}

static int check_chain(struct check *c, const struct mesh_filter_chain *chain, const char *path)
{
	if (chain->kind == MESH_CHAIN_NONE)
		warn(c, path, "connections end here: there is no HttpConnectionManager or TcpProxy that weft could read");
	if (chain->kind == MESH_CHAIN_HTTP && chain->http->route_config)
		return check_routes(c, chain->http->route_config);
	if (chain->kind == MESH_CHAIN_HTTP && !mesh_find_route_config(c->mesh, chain->http->route_config_name))
		warn(c, path, "there is no route configuration %s: its requests are answered 503", chain->http->route_config_name);
	for (size_t i = 0; chain->kind == MESH_CHAIN_TCP && i < chain->tcp->cluster_count; i++)
		if (!mesh_find_cluster(c->mesh, chain->tcp->clusters[i].name))
			warn(c, path, "there is no cluster %s: its connections are closed", chain->tcp->clusters[i].name);
	return 0;
}

static int check_listener(struct check *c, const struct mesh_listener *listener)
{
	char path[48];
	int r = 0;

	for (size_t i = 0; !r && i < listener->filter_chain_count; i++) {
		snprintf(path, sizeof(path), "filter_chains[%zu]", i);
		r = check_chain(c, &listener->filter_chains[i], path);
	}
	if (!r && listener->default_filter_chain)
		r = check_chain(c, listener->default_filter_chain, "default_filter_chain");
	return r;
}

static void check_cluster(struct check *c, const struct mesh_cluster *cluster)
{
	const struct mesh_load_assignment *assignment = mesh_cluster_endpoints(c->mesh, cluster);

	if (cluster->kind == MESH_CLUSTER_ORIGINAL_DST || cluster->kind == MESH_CLUSTER_OTHER)
		return;
	if (!assignment && cluster->kind == MESH_CLUSTER_EDS)
		warn(c, "", "there is no load assignment %s: requests are answered 503", cluster->eds_name);
	else if (assignment && !assignment->endpoint_count)
		warn(c, "", "%s has no endpoints: requests are answered 503", assignment->resource.name);
}

int mesh_check_references(const struct mesh *mesh, struct mesh_report *report)
{
	struct check c = { .mesh = mesh, .report = report, .path = STRBUF_INIT };
	int r = 0;

	for (size_t i = 0; !r && i < mesh->listener_count; i++) {
		c.resource = &mesh->listeners[i]->resource;
		r = check_listener(&c, mesh->listeners[i]);
	}
	for (size_t i = 0; !r && i < mesh->route_config_count; i++) {
		c.resource = &mesh->route_configs[i]->resource;
		r = check_routes(&c, mesh->route_configs[i]);
	}
	for (size_t i = 0; !r && i < mesh->cluster_count; i++) {
		c.resource = &mesh->clusters[i]->resource;
		check_cluster(&c, mesh->clusters[i]);
	}
	strbuf_release(&c.path);
	return r;
}

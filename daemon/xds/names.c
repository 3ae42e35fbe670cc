/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/internal.h"

static void names_of_route(const struct mesh_route *route, name_fn *fn, void *arg)
{
	const struct mesh_forward *forward = &route->forward;

	if (route->action == MESH_ACTION_CLUSTER)
		fn(arg, forward->cluster);
	for (size_t i = 0; route->action == MESH_ACTION_WEIGHTED && i < forward->weighted_count; i++)
		fn(arg, forward->weighted[i].name);
	for (size_t i = 0; i < forward->mirror_count; i++)
		fn(arg, forward->mirrors[i].cluster);
}

void names_of_routes(const struct mesh_route_config *config, name_fn *fn, void *arg)
{
	for (size_t i = 0; i < config->virtual_host_count; i++)
		for (size_t j = 0; j < config->virtual_hosts[i].route_count; j++)
			names_of_route(&config->virtual_hosts[i].routes[j], fn, arg);
}

static void clusters_of_chain(const struct mesh_filter_chain *chain, name_fn *fn, void *arg)
{
	if (chain->http && chain->http->route_config)
		names_of_routes(chain->http->route_config, fn, arg);
	for (size_t i = 0; chain->tcp && i < chain->tcp->cluster_count; i++)
		fn(arg, chain->tcp->clusters[i].name);
}

void names_of_listener_clusters(const struct mesh_listener *listener, name_fn *fn, void *arg)
{
	for (size_t i = 0; i < listener->filter_chain_count; i++)
		clusters_of_chain(&listener->filter_chains[i], fn, arg);
	if (listener->default_filter_chain)
		clusters_of_chain(listener->default_filter_chain, fn, arg);
}

static void routes_of_chain(const struct mesh_filter_chain *chain, name_fn *fn, void *arg)
{
	if (chain->http && !chain->http->route_config)
		fn(arg, chain->http->route_config_name);
}

void names_of_listener_routes(const struct mesh_listener *listener, name_fn *fn, void *arg)
{
	for (size_t i = 0; i < listener->filter_chain_count; i++)
		routes_of_chain(&listener->filter_chains[i], fn, arg);
	if (listener->default_filter_chain)
		routes_of_chain(listener->default_filter_chain, fn, arg);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What an image depends on. Of clusters that is little for the routes: a TCP listener is left alone or blocked by what its only cluster is. */
#include <string.h>

#include "base/hash.h"
#include "compile/compile.h"

/* Keyed, as the hashes of resources are: scopes whose keys are equal share an image, and what is in a scope is up to who may write in its namespace. */
static void add(uint64_t *key, uint64_t number)
{
	const uint64_t both[] = { *key, number };

	*key = keyed_hash(both, sizeof(both));
}

/* The name is part of the content. */
static void add_resource(uint64_t *key, const struct mesh_resource *resource)
{
	add(key, resource->content_hash);
}

static void add_cluster(uint64_t *key, const struct mesh *mesh, const struct mesh_cluster *cluster)
{
	const struct mesh_load_assignment *assignment;

	if (cluster->kind != MESH_CLUSTER_ORIGINAL_DST && cluster->kind != MESH_CLUSTER_STATIC)
		return;
	assignment = mesh_cluster_endpoints(mesh, cluster);
	add(key, keyed_hash(cluster->resource.name, strlen(cluster->resource.name)));
	add(key, cluster->kind);
	add(key, cluster->original_dst_port);
	add(key, cluster->resource.reasons.count);
	add(key, assignment && assignment->endpoint_count);
}

uint64_t compile_routes_key(const struct mesh *mesh)
{
	uint64_t key = 0;
	size_t i;

	add(&key, mesh->listener_count);
	for (i = 0; i < mesh->listener_count; i++)
		add_resource(&key, &mesh->listeners[i]->resource);
	add(&key, mesh->route_config_count);
	for (i = 0; i < mesh->route_config_count; i++)
		add_resource(&key, &mesh->route_configs[i]->resource);
	for (i = 0; i < mesh->cluster_count; i++)
		add_cluster(&key, mesh, mesh->clusters[i]);
	return key;
}

uint64_t compile_endpoints_key(const struct mesh *mesh)
{
	uint64_t key = 0;
	size_t i, at = 0;

	for (i = 0; i < mesh->cluster_count; i++) {
		const struct mesh_load_assignment *assignment = mesh_next_endpoints(mesh, mesh->clusters[i], &at);

		add_resource(&key, &mesh->clusters[i]->resource);
		/* An inline one is part of its cluster. */
		add(&key, !assignment ? 1 : assignment == mesh->clusters[i]->load_assignment ? 2 : assignment->resource.content_hash);
	}
	return key;
}

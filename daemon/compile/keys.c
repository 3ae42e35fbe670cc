/* SPDX-License-Identifier: Apache-2.0 */
/* What an image depends on. Of clusters that is little for the routes: a TCP listener is left alone or blocked by what its only cluster is. */
#include <string.h>

#include "compile/compile.h"

static void add(uint64_t *key, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	for (; size; size--, at++)
		*key = (*key ^ *at) * 0x100000001b3ull;
	*key ^= *key >> 29;
}

static void add_number(uint64_t *key, uint64_t number)
{
	add(key, &number, sizeof(number));
}

static void add_resource(uint64_t *key, const struct mesh_resource *resource)
{
	add(key, resource->name, strlen(resource->name) + 1);
	add_number(key, resource->content_hash);
}

static void add_cluster(uint64_t *key, const struct mesh *mesh, const struct mesh_cluster *cluster)
{
	const struct mesh_load_assignment *assignment;

	if (cluster->kind != MESH_CLUSTER_ORIGINAL_DST && cluster->kind != MESH_CLUSTER_STATIC)
		return;
	assignment = mesh_cluster_endpoints(mesh, cluster);
	add(key, cluster->resource.name, strlen(cluster->resource.name) + 1);
	add_number(key, cluster->kind);
	add_number(key, cluster->original_dst_port);
	add_number(key, cluster->resource.reasons.count);
	add_number(key, assignment && assignment->endpoint_count);
}

uint64_t compile_routes_key(const struct mesh *mesh)
{
	uint64_t key = 0xcbf29ce484222325ull;
	size_t i;

	add_number(&key, mesh->listener_count);
	for (i = 0; i < mesh->listener_count; i++)
		add_resource(&key, &mesh->listeners[i]->resource);
	add_number(&key, mesh->route_config_count);
	for (i = 0; i < mesh->route_config_count; i++)
		add_resource(&key, &mesh->route_configs[i]->resource);
	for (i = 0; i < mesh->cluster_count; i++)
		add_cluster(&key, mesh, mesh->clusters[i]);
	return key;
}

uint64_t compile_endpoints_key(const struct mesh *mesh)
{
	uint64_t key = 0xcbf29ce484222325ull;
	size_t i;

	for (i = 0; i < mesh->cluster_count; i++) {
		const struct mesh_load_assignment *assignment = mesh_cluster_endpoints(mesh, mesh->clusters[i]);

		add_resource(&key, &mesh->clusters[i]->resource);
		/* An inline one is part of its cluster. */
		add_number(&key, !assignment ? 1 : assignment == mesh->clusters[i]->load_assignment ? 2 : assignment->resource.content_hash);
	}
	return key;
}

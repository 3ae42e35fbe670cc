/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/dump.h"

#include <errno.h>

static const char *kind_name(uint8_t kind)
{
	static const char *const names[] = {
		[WEFT_CLUSTER_ENDPOINTS] = "endpoints", [WEFT_CLUSTER_ORIGINAL_DST] = "original_destination",
		[WEFT_CLUSTER_BLACK_HOLE] = "black_hole", [WEFT_CLUSTER_REFUSED] = "refused",
	};

	return kind < WEFT_ARRAY_SIZE(names) && names[kind] ? names[kind] : "unknown";
}

static const char *policy_name(uint8_t policy)
{
	static const char *const names[] = {
		[WEFT_LB_ROUND_ROBIN] = "round_robin", [WEFT_LB_LEAST_REQUEST] = "least_request", [WEFT_LB_RANDOM] = "random", [WEFT_LB_PROXY] = "none",
		[WEFT_LB_HASH] = "hash",
	};

	return policy < WEFT_ARRAY_SIZE(names) && names[policy] ? names[policy] : "unknown";
}

static json_t *dump_members(struct dump *dump, const struct weft_cluster *cluster)
{
	const struct weft_endpoint *endpoints = view_at(&dump->view, cluster->endpoints, cluster->endpoint_count, sizeof(*endpoints));
	json_t *array = json_array();
	uint32_t i;

	for (i = 0; endpoints && i < cluster->endpoint_count; i++) {
		json_t *endpoint = json_object();

		dump_set(dump, endpoint, "id", json_integer(endpoints[i].id));
		dump_set(dump, endpoint, "address", dump_address(dump, &endpoints[i].address, endpoints[i].port_be));
		dump_set(dump, endpoint, "weight", json_integer(endpoints[i].weight));
		if (endpoints[i].flags & WEFT_ENDPOINT_MTLS_CAPABLE)
			dump_set(dump, endpoint, "mtls_capable", json_true());
		if (endpoints[i].flags & WEFT_ENDPOINT_WEIGHTED)
			dump_set(dump, endpoint, "weighted", json_true());
		if (endpoints[i].group_count) {
			dump_set(dump, endpoint, "group_first", json_integer(endpoints[i].group_first));
			dump_set(dump, endpoint, "group_count", json_integer(endpoints[i].group_count));
		}
		dump_append(dump, array, endpoint);
	}
	return array;
}

static json_t *dump_turns(struct dump *dump, weft_ref ref, uint32_t count)
{
	const uint16_t *turns = view_at(&dump->view, ref, count, sizeof(*turns));
	json_t *array = json_array();
	uint32_t i;

	for (i = 0; turns && i < count; i++)
		dump_append(dump, array, json_integer(turns[i]));
	return array;
}

static json_t *dump_priorities(struct dump *dump, const struct weft_cluster *cluster)
{
	const struct weft_priority *priorities = view_at(&dump->view, cluster->priorities, cluster->priority_count, sizeof(*priorities));
	json_t *array = json_array();
	uint32_t i;

	for (i = 0; priorities && i < cluster->priority_count; i++) {
		json_t *object = json_object();

		dump_set(dump, object, "priority", json_integer(priorities[i].priority));
		dump_set(dump, object, "percent", json_integer(priorities[i].percent));
		if (priorities[i].is_degraded)
			dump_set(dump, object, "is_degraded", json_true());
		dump_set(dump, object, "schedule", dump_turns(dump, priorities[i].schedule, priorities[i].schedule_len));
		dump_append(dump, array, object);
	}
	return array;
}

static json_t *dump_cluster(struct dump *dump, const struct weft_cluster *cluster)
{
	json_t *object = json_object();

	dump_set(dump, object, "id", json_integer(cluster->id));
	dump_set(dump, object, "name", dump_text(dump, cluster->name));
	dump_set(dump, object, "kind", json_string(kind_name(cluster->kind)));
	dump_set(dump, object, "policy", json_string(policy_name(cluster->policy)));
	if (cluster->choices)
		dump_set(dump, object, "choices", json_integer(cluster->choices));
	dump_set(dump, object, "verdict", json_string(verdict_name(cluster->verdict)));
	dump_set_text(dump, object, "reason", cluster->reason);
	dump_set(dump, object, "connect_timeout_ms", json_integer(cluster->connect_timeout_ms));
	if (cluster->max_requests != UINT32_MAX)
		dump_set(dump, object, "max_requests", json_integer(cluster->max_requests));
	dump_set(dump, object, "endpoints", dump_members(dump, cluster));
	dump_set(dump, object, "schedule", dump_turns(dump, cluster->schedule, cluster->schedule_len));
	if (cluster->priority_count)
		dump_set(dump, object, "priorities", dump_priorities(dump, cluster));
	if (cluster->policy == WEFT_LB_HASH)
		dump_set(dump, object, "hash_levels", dump_hash_levels(dump, cluster));
	return object;
}

json_t *dump_endpoints(struct dump *dump)
{
	const struct weft_image_header *header = view_header(&dump->view);
	const weft_ref *directory = view_at(&dump->view, header->cluster_directory, header->cluster_count, sizeof(*directory));
	json_t *root = json_object(), *clusters = json_array();
	uint32_t i;

	dump_set(dump, root, "image", json_string("endpoints"));
	dump_set(dump, root, "size_bytes", json_integer(header->size_bytes));
	dump_set(dump, root, "page_count", json_integer(header->page_count));
	for (i = 0; directory && i < header->cluster_count; i++) {
		const struct weft_cluster *cluster = view_at(&dump->view, directory[i], 1, sizeof(*cluster));

		if (cluster)
			dump_append(dump, clusters, dump_cluster(dump, cluster));
		else if (directory[i])
			dump_fail(dump, -EINVAL);
	}
	dump_set(dump, root, "clusters", clusters);
	return root;
}

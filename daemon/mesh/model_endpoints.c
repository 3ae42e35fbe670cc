/* SPDX-License-Identifier: Apache-2.0 */
/* Load assignments. */
#include <string.h>

#include "google/protobuf/struct.pb-c.h"
#include "mesh/model.h"

#define OVERPROVISIONING_PERCENT 140
#define PRIORITY_LIMIT           128

/* metadata.filter_metadata[filter].fields[key], if it is a text; "" otherwise. */
static const char *metadata_text(const PbMetadata *metadata, const char *filter, const char *key)
{
	const Google__Protobuf__Value *value = model_value(model_metadata(metadata, filter), key);

	return value && value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE ? value->string_value : "";
}

static enum mesh_health health(struct build *b, const PbEndpoint *message)
{
	switch (message->health_status) {
	case ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__UNKNOWN:
		return MESH_HEALTH_UNKNOWN;
	case ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__HEALTHY:
		return MESH_HEALTH_HEALTHY;
	case ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__UNHEALTHY:
		return MESH_HEALTH_UNHEALTHY;
	case ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__DRAINING:
		return MESH_HEALTH_DRAINING;
	case ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__TIMEOUT:
		return MESH_HEALTH_TIMEOUT;
	case ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__DEGRADED:
		return MESH_HEALTH_DEGRADED;
	default:
		build_refuse(b, "an unknown health_status: %d", (int)message->health_status);
		return MESH_HEALTH_UNHEALTHY;
	}
}

static void check_name(struct build *b, const struct mesh_address *address, bool takes_names)
{
	if (address->kind == MESH_ADDRESS_HOSTNAME && *address->text && !takes_names)
		build_refuse(b, "`%s` is no IP address (STRICT_DNS and LOGICAL_DNS clusters take names)", address->text);
}

static void additional_addresses(struct build *b, const Envoy__Config__Endpoint__V3__Endpoint *message, bool takes_names,
				 struct mesh_endpoint *out)
{
	out->additional_addresses = build_array(b, struct mesh_address, message->n_additional_addresses);
	out->additional_address_count = out->additional_addresses ? message->n_additional_addresses : 0;
	for (size_t i = 0; i < out->additional_address_count; i++) {
		size_t before = build_enter_index(b, "additional_addresses", i);

		model_address(b, message->additional_addresses[i]->address, &out->additional_addresses[i]);
		check_name(b, &out->additional_addresses[i], takes_names);
		build_leave(b, before);
	}
}

static void endpoint(struct build *b, const PbEndpoint *message, bool takes_names, struct mesh_endpoint *out)
{
	size_t before;

	out->address.text = "";
	out->hostname = "";
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("endpoint", "endpoint_name", "health_status", "metadata", "load_balancing_weight"));
	out->health = health(b, message);
	out->weight = uint32_or(message->load_balancing_weight, 1);
	if (!out->weight)
		build_refuse(b, "load_balancing_weight must be 1 or more");
	out->tls_mode = build_text(b, metadata_text(message->metadata, "envoy.transport_socket_match", "tlsMode"));
	out->hash_key = build_text(b, metadata_text(message->metadata, "envoy.lb", "hash_key"));
	out->workload = build_text(b, metadata_text(message->metadata, "istio", "workload"));
	if (message->host_identifier_case != ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT) {
		if (message->host_identifier_case)
			build_reason(b, MESH_EFFECT_TRAFFIC, "endpoints by name are not supported");
		else
			build_refuse(b, "an endpoint is needed");
		return;
	}
	before = build_enter(b, "endpoint");
	/* health checks are istiod's (and Kubernetes's) affair */
	build_check_fields(b, &message->endpoint->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("address", "hostname", "additional_addresses", "health_check_config"));
	model_address(b, message->endpoint->address, &out->address);
	check_name(b, &out->address, takes_names);
	out->hostname = build_text(b, message->endpoint->hostname);
	additional_addresses(b, message->endpoint, takes_names, out);
	build_leave(b, before);
}

static void locality(struct build *b, const PbLocality *message, bool takes_names, struct mesh_locality *out)
{
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("locality", "metadata", "lb_endpoints", "load_balancing_weight", "priority", "proximity"));
	out->region = build_text(b, message->locality ? message->locality->region : "");
	out->zone = build_text(b, message->locality ? message->locality->zone : "");
	out->sub_zone = build_text(b, message->locality ? message->locality->sub_zone : "");
	out->priority = message->priority;
	if (message->priority > PRIORITY_LIMIT)
		build_refuse(b, "priority must be from 0 to %d", PRIORITY_LIMIT);
	out->weight = uint32_or(message->load_balancing_weight, 0);
	if (message->load_balancing_weight && !out->weight)
		build_refuse(b, "load_balancing_weight must be 1 or more");
	out->endpoints = build_array(b, struct mesh_endpoint, message->n_lb_endpoints);
	out->endpoint_count = out->endpoints ? message->n_lb_endpoints : 0;
	for (size_t i = 0; i < out->endpoint_count; i++) {
		size_t before = build_enter_index(b, "lb_endpoints", i);

		endpoint(b, message->lb_endpoints[i], takes_names, &out->endpoints[i]);
		build_leave(b, before);
	}
}

static void policy(struct build *b, const Envoy__Config__Endpoint__V3__ClusterLoadAssignment__Policy *message, struct mesh_load_assignment *out)
{
	size_t before = build_enter(b, "policy");

	/* when endpoints are stale is known to whoever sends them */
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC, KNOWN("overprovisioning_factor", "endpoint_stale_after"));
	out->overprovisioning_percent = uint32_or(message->overprovisioning_factor, OVERPROVISIONING_PERCENT);
	if (!out->overprovisioning_percent)
		build_refuse(b, "overprovisioning_factor must be 1 or more");
	build_leave(b, before);
}

struct mesh_load_assignment *model_load_assignment(struct build *b, const PbAssignment *message, bool takes_names)
{
	struct mesh_load_assignment *assignment = build_new(b, struct mesh_load_assignment);
	struct mesh_reasons *outer = b->reasons;

	if (!assignment)
		return NULL;
	b->reasons = &assignment->resource.reasons;
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC, KNOWN("cluster_name", "endpoints", "policy", "named_endpoints"));
	assignment->resource.kind = MESH_LOAD_ASSIGNMENT;
	assignment->resource.name = build_text(b, message->cluster_name);
	assignment->resource.place = build_place(b);
	if (!*assignment->resource.name)
		build_refuse(b, "a cluster_name is needed");
	assignment->overprovisioning_percent = OVERPROVISIONING_PERCENT;
	if (message->policy)
		policy(b, message->policy, assignment);

	assignment->localities = build_array(b, struct mesh_locality, message->n_endpoints);
	assignment->locality_count = assignment->localities ? message->n_endpoints : 0;
	for (size_t i = 0; i < assignment->locality_count; i++) {
		size_t before = build_enter_index(b, "endpoints", i);

		locality(b, message->endpoints[i], takes_names, &assignment->localities[i]);
		assignment->endpoint_count += assignment->localities[i].endpoint_count;
		build_leave(b, before);
	}
	b->reasons = outer;
	return assignment;
}

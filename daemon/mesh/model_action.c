/* SPDX-License-Identifier: Apache-2.0 */
/* What a route does with a request: forwards it (here in full), or redirects or answers it. */
#include <string.h>
#include <strings.h>

#include "mesh/model.h"

static void weight(struct build *b, const PbWeight *message, struct mesh_weighted_cluster *out)
{
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("name", "cluster_header", "weight", "request_headers_to_add", "request_headers_to_remove", "response_headers_to_add",
				 "response_headers_to_remove", "typed_per_filter_config", "host_rewrite_literal"));
	if (!*message->name == !*message->cluster_header)
		build_refuse(b, "exactly one of name and cluster_header is needed");
	out->name = build_text(b, message->name);
	model_header_value(b, "cluster_header", message->cluster_header);
	out->cluster_header = build_lower(b, message->cluster_header);
	out->weight = uint32_or(message->weight, 0);
	out->host_rewrite = "";
	if (message->host_rewrite_specifier_case)
		out->host_rewrite = model_header_value(b, "host_rewrite_literal", message->host_rewrite_literal);
	model_header_edits(b, HEADER_LISTS(message), &out->edits);
	out->filter_configs = FILTER_CONFIGS(b, message);
}

static void weighted_clusters(struct build *b, const PbWeighted *message, struct mesh_forward *forward)
{
	size_t before = build_enter(b, "weighted_clusters");

	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC, KNOWN("clusters", "total_weight", "runtime_key_prefix", "header_name", "use_hash_policy"));
	if (!message->n_clusters)
		build_refuse(b, "a cluster is needed");
	forward->weighted = build_array(b, struct mesh_weighted_cluster, message->n_clusters);
	forward->weighted_count = forward->weighted ? message->n_clusters : 0;
	for (size_t i = 0; i < forward->weighted_count; i++) {
		size_t inner = build_enter_index(b, "clusters", i);

		weight(b, message->clusters[i], &forward->weighted[i]);
		forward->total_weight += forward->weighted[i].weight;
		build_leave(b, inner);
	}
	if (message->n_clusters && !forward->total_weight)
		build_refuse(b, "the weights add up to 0");
	if (forward->total_weight > UINT32_MAX)
		build_refuse(b, "the weights add up to more than 4294967295");
	if (message->random_value_specifier_case == ENVOY__CONFIG__ROUTE__V3__WEIGHTED_CLUSTER__RANDOM_VALUE_SPECIFIER_HEADER_NAME)
		forward->weight_header = build_lower(b, message->header_name);
	if (message->random_value_specifier_case == ENVOY__CONFIG__ROUTE__V3__WEIGHTED_CLUSTER__RANDOM_VALUE_SPECIFIER_USE_HASH_POLICY)
		forward->weights_by_hash = message->use_hash_policy->value;
	build_leave(b, before);
}

static enum mesh_action_kind cluster_specifier(struct build *b, const PbAction *message, struct mesh_forward *forward)
{
	switch (message->cluster_specifier_case) {
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER:
		if (!*message->cluster)
			build_refuse(b, "the name of the cluster is empty");
		forward->cluster = build_text(b, message->cluster);
		return MESH_ACTION_CLUSTER;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER_HEADER:
		if (!*message->cluster_header)
			build_refuse(b, "the name of the cluster header is empty");
		model_header_value(b, "cluster_header", message->cluster_header);
		forward->cluster_header = build_lower(b, message->cluster_header);
		return MESH_ACTION_CLUSTER_HEADER;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS:
		weighted_clusters(b, message->weighted_clusters, forward);
		return MESH_ACTION_WEIGHTED;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER_SPECIFIER_PLUGIN:
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_INLINE_CLUSTER_SPECIFIER_PLUGIN:
		build_reason(b, MESH_EFFECT_TRAFFIC, "cluster specifier plugins are not supported");
		return MESH_ACTION_OTHER;
	default:
		if (!message->base.n_unknown_fields)
			build_refuse(b, "a cluster is needed: cluster, cluster_header or weighted_clusters");
		return MESH_ACTION_OTHER;
	}
}

static void host_rewrite(struct build *b, const PbAction *message, struct mesh_forward *forward)
{
	switch (message->host_rewrite_specifier_case) {
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL:
		forward->host_rewrite = *message->host_rewrite_literal ? MESH_HOST_LITERAL : MESH_HOST_KEEP;
		forward->host_rewrite_text = model_header_value(b, "host_rewrite_literal", message->host_rewrite_literal);
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_AUTO_HOST_REWRITE:
		forward->host_rewrite = message->auto_host_rewrite->value ? MESH_HOST_AUTO : MESH_HOST_KEEP;
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_HEADER:
		forward->host_rewrite = *message->host_rewrite_header ? MESH_HOST_HEADER : MESH_HOST_KEEP;
		forward->host_rewrite_text = model_header_value(b, "host_rewrite_header", message->host_rewrite_header);
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_PATH_REGEX:
		forward->host_rewrite = MESH_HOST_PATH_REGEX;
		model_regex_rewrite(b, "host_rewrite_path_regex", message->host_rewrite_path_regex, &forward->host_rewrite_regex);
		break;
	default:
		break;
	}
}

static void cookie_attributes(struct build *b, const Envoy__Config__Route__V3__RouteAction__HashPolicy__Cookie *cookie, struct mesh_hash_policy *out)
{
	out->attributes = build_array(b, struct mesh_cookie_attribute, cookie->n_attributes);
	out->attribute_count = out->attributes ? cookie->n_attributes : 0;
	for (size_t i = 0; i < out->attribute_count; i++) {
		out->attributes[i].name = model_header_value(b, "cookie.attributes.name", cookie->attributes[i]->name);
		out->attributes[i].value = model_header_value(b, "cookie.attributes.value", cookie->attributes[i]->value);
		if (!*out->attributes[i].name)
			build_refuse(b, "cookie.attributes[%zu]: a name is needed", i);
	}
}

static void hash_policy(struct build *b, const PbHash *message, struct mesh_hash_policy *out)
{
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("header", "cookie", "connection_properties", "query_parameter", "filter_state", "terminal"));
	out->name = "";
	out->cookie_path = "";
	out->is_terminal = message->terminal;
	switch (message->policy_specifier_case) {
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_HEADER:
		out->kind = MESH_HASH_HEADER;
		out->name = build_lower(b, message->header->header_name);
		model_regex_rewrite(b, "regex_rewrite", message->header->regex_rewrite, &out->rewrite);
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_COOKIE:
		out->kind = MESH_HASH_COOKIE;
		out->name = build_text(b, message->cookie->name);
		out->makes_cookie = message->cookie->ttl != NULL;
		out->cookie_ttl_ms = build_duration_ms(b, "cookie.ttl", message->cookie->ttl, 0);
		out->cookie_path = model_header_value(b, "cookie.path", message->cookie->path);
		cookie_attributes(b, message->cookie, out);
		build_check_fields(b, &message->cookie->base, MESH_EFFECT_TRAFFIC, KNOWN("name", "ttl", "path", "attributes"));
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_CONNECTION_PROPERTIES:
		out->kind = message->connection_properties->source_ip ? MESH_HASH_SOURCE_IP : MESH_HASH_OTHER;
		return;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_QUERY_PARAMETER:
		out->kind = MESH_HASH_QUERY;
		out->name = build_text(b, message->query_parameter->name);
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_FILTER_STATE:
		out->kind = MESH_HASH_OTHER;
		build_reason(b, MESH_EFFECT_TRAFFIC, "hashing filter state is not supported");
		return;
	default:
		out->kind = MESH_HASH_OTHER;
		if (!message->base.n_unknown_fields)
			build_refuse(b, "a hash policy needs one of header, cookie, connection_properties and query_parameter");
		return;
	}
	if (!*out->name)
		build_refuse(b, "a name is needed");
}

static void upgrades(struct build *b, const PbAction *message, struct mesh_upgrades *out)
{
	out->items = build_array(b, struct mesh_upgrade, message->n_upgrade_configs);
	out->count = out->items ? message->n_upgrade_configs : 0;
	for (size_t i = 0; i < out->count; i++) {
		const Envoy__Config__Route__V3__RouteAction__UpgradeConfig *config = message->upgrade_configs[i];
		size_t before = build_enter_index(b, "upgrade_configs", i);

		build_check_fields(b, &config->base, MESH_EFFECT_TRAFFIC, KNOWN("upgrade_type", "enabled"));
		if (!*config->upgrade_type)
			build_refuse(b, "upgrade_type is needed");
		for (size_t j = 0; j < i; j++)
			if (strcasecmp(message->upgrade_configs[j]->upgrade_type, config->upgrade_type) == 0)
				build_refuse(b, "the upgrade %s is given twice", config->upgrade_type);
		out->items[i].type = strcasecmp(config->upgrade_type, "connect") == 0 ? "CONNECT" : build_lower(b, config->upgrade_type);
		out->items[i].is_enabled = bool_or(config->enabled, true);
		build_leave(b, before);
	}
}

static void path_rewrites(struct build *b, const PbAction *message, struct mesh_forward *forward)
{
	forward->prefix_rewrite = model_header_value(b, "prefix_rewrite", message->prefix_rewrite);
	model_regex_rewrite(b, "regex_rewrite", message->regex_rewrite, &forward->regex_rewrite);
	if (!!*message->prefix_rewrite + !!message->regex_rewrite + !!message->path_rewrite_policy > 1)
		build_refuse(b, "only one of prefix_rewrite, regex_rewrite and path_rewrite_policy may be given");
}

static void timeouts(struct build *b, const PbAction *message, struct mesh_forward *forward)
{
	const Envoy__Config__Route__V3__RouteAction__MaxStreamDuration *duration = message->max_stream_duration;

	forward->timeout_ms = build_duration_ms(b, "timeout", message->timeout, 15000);
	forward->idle_timeout_ms = build_duration_ms(b, "idle_timeout", message->idle_timeout, -1);
	forward->grpc_timeout_header_max_ms = build_duration_ms(b, "max_grpc_timeout", message->max_grpc_timeout, -1);
	if (duration) {
		size_t before = build_enter(b, "max_stream_duration");

		forward->max_stream_duration_ms = build_duration_ms(b, "max_stream_duration", duration->max_stream_duration, 0);
		forward->grpc_timeout_header_max_ms =
			build_duration_ms(b, "grpc_timeout_header_max", duration->grpc_timeout_header_max, forward->grpc_timeout_header_max_ms);
		build_check_fields(b, &duration->base, MESH_EFFECT_TRAFFIC, KNOWN("max_stream_duration", "grpc_timeout_header_max"));
		build_leave(b, before);
	}
}

static uint32_t not_found_status(struct build *b, const PbAction *message)
{
	switch (message->cluster_not_found_response_code) {
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_NOT_FOUND_RESPONSE_CODE__SERVICE_UNAVAILABLE:
		return 503;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_NOT_FOUND_RESPONSE_CODE__NOT_FOUND:
		return 404;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_NOT_FOUND_RESPONSE_CODE__INTERNAL_SERVER_ERROR:
		return 500;
	default:
		build_refuse(b, "an unknown cluster_not_found_response_code: %d", (int)message->cluster_not_found_response_code);
		return 503;
	}
}

void model_action(struct build *b, const PbAction *message, struct mesh_route *route)
{
	struct mesh_forward *forward = &route->forward;
	size_t before = build_enter(b, "route");

	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("cluster", "cluster_header", "weighted_clusters", "cluster_specifier_plugin", "inline_cluster_specifier_plugin",
				 "cluster_not_found_response_code", "prefix_rewrite", "regex_rewrite", "host_rewrite_literal", "auto_host_rewrite",
				 "host_rewrite_header", "host_rewrite_path_regex", "append_x_forwarded_host", "timeout", "idle_timeout",
				 "max_grpc_timeout", "max_stream_duration", "retry_policy", "request_mirror_policies", "priority", "hash_policy",
				 "upgrade_configs",
				 /* no rate limits are taken from here or above; early data is a matter of TLS */
				 "include_vh_rate_limits", "early_data_policy", "flush_timeout"));
	route->action = cluster_specifier(b, message, forward);
	forward->cluster_not_found_status = not_found_status(b, message);
	path_rewrites(b, message, forward);
	host_rewrite(b, message, forward);
	forward->appends_forwarded_host = message->append_x_forwarded_host;
	timeouts(b, message, forward);
	forward->retry = model_retry(b, message->retry_policy);
	forward->mirrors = model_mirrors(b, message->request_mirror_policies, message->n_request_mirror_policies);
	forward->mirror_count = forward->mirrors ? message->n_request_mirror_policies : 0;
	forward->hash_policies = build_array(b, struct mesh_hash_policy, message->n_hash_policy);
	forward->hash_policy_count = forward->hash_policies ? message->n_hash_policy : 0;
	for (size_t i = 0; i < forward->hash_policy_count; i++) {
		size_t inner = build_enter_index(b, "hash_policy", i);

		hash_policy(b, message->hash_policy[i], &forward->hash_policies[i]);
		build_leave(b, inner);
	}
	upgrades(b, message, &forward->upgrades);
	forward->is_high_priority = message->priority == ENVOY__CONFIG__CORE__V3__ROUTING_PRIORITY__HIGH;
	build_leave(b, before);
}

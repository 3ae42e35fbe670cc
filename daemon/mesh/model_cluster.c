/* SPDX-License-Identifier: Apache-2.0 */
/* Clusters. */
#include <string.h>

#include "envoy/extensions/upstreams/http/v3/http.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "mesh/model.h"

#define CONNECT_TIMEOUT_MS 5000
#define IDLE_MS            3600000
#define DNS_REFRESH_MS     5000
#define RING_MIN           1024
#define RING_MAX           8388608
#define MAGLEV_SIZE        65537

typedef Envoy__Extensions__Upstreams__Http__V3__HttpProtocolOptions PbProtocolOptions;
typedef Envoy__Config__Core__V3__HttpProtocolOptions PbCommonOptions;

static enum mesh_cluster_kind kind(struct build *b, const PbCluster *message)
{
	if (message->cluster_discovery_type_case == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_CLUSTER_TYPE) {
		size_t before = build_enter(b, "cluster_type");

		build_reason(b, MESH_EFFECT_TRAFFIC, "cluster type %s is not supported", message->cluster_type->name);
		build_leave(b, before);
		return MESH_CLUSTER_OTHER;
	}
	if (!message->cluster_discovery_type_case)
		return MESH_CLUSTER_STATIC;
	switch (message->type) {
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STATIC:
		return MESH_CLUSTER_STATIC;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STRICT_DNS:
		return MESH_CLUSTER_STRICT_DNS;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__LOGICAL_DNS:
		return MESH_CLUSTER_LOGICAL_DNS;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__EDS:
		return MESH_CLUSTER_EDS;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST:
		return MESH_CLUSTER_ORIGINAL_DST;
	default:
		build_refuse(b, "an unknown type: %d", (int)message->type);
		return MESH_CLUSTER_OTHER;
	}
}

static enum mesh_lb_policy lb_policy(struct build *b, const PbCluster *message, enum mesh_cluster_kind cluster_kind)
{
	enum mesh_lb_policy policy = MESH_LB_OTHER;

	if (message->load_balancing_policy || message->lb_policy == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LOAD_BALANCING_POLICY_CONFIG) {
		size_t before = build_enter(b, "load_balancing_policy");

		build_reason(b, MESH_EFFECT_TRAFFIC, "load balancing policies as extensions are not supported");
		build_leave(b, before);
		return MESH_LB_OTHER;
	}
	switch (message->lb_policy) {
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__ROUND_ROBIN:
		policy = MESH_LB_ROUND_ROBIN;
		break;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LEAST_REQUEST:
		policy = MESH_LB_LEAST_REQUEST;
		break;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RING_HASH:
		policy = MESH_LB_RING_HASH;
		break;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RANDOM:
		policy = MESH_LB_RANDOM;
		break;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__MAGLEV:
		policy = MESH_LB_MAGLEV;
		break;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED:
		policy = MESH_LB_CLUSTER_PROVIDED;
		break;
	default:
		build_refuse(b, "an unknown lb_policy: %d", (int)message->lb_policy);
		break;
	}
	if ((policy == MESH_LB_CLUSTER_PROVIDED) != (cluster_kind == MESH_CLUSTER_ORIGINAL_DST) && cluster_kind != MESH_CLUSTER_OTHER)
		build_refuse(b, "ORIGINAL_DST clusters, and only they, have the lb_policy CLUSTER_PROVIDED");
	return policy;
}

static void circuit_breakers(struct build *b, const PbCluster *message, struct mesh_circuit_breaker *out)
{
	*out = (struct mesh_circuit_breaker){ 1024, 1024, 1024, 3, false };
	if (!message->circuit_breakers)
		return;
	for (size_t i = 0; i < message->circuit_breakers->n_thresholds; i++) {
		const Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *thresholds = message->circuit_breakers->thresholds[i];
		size_t before;

		if (thresholds->priority != ENVOY__CONFIG__CORE__V3__ROUTING_PRIORITY__DEFAULT)
			continue;
		before = build_enter_index(b, "circuit_breakers.thresholds", i);
		out->max_connections = uint32_or(thresholds->max_connections, 1024);
		out->max_pending_requests = uint32_or(thresholds->max_pending_requests, 1024);
		out->max_requests = uint32_or(thresholds->max_requests, 1024);
		out->max_retries = uint32_or(thresholds->max_retries, 3);
		out->limits_retries = thresholds->max_retries && out->max_retries != UINT32_MAX;
		build_check_fields(b, &thresholds->base, MESH_EFFECT_TRAFFIC,
				   KNOWN("max_connections", "max_pending_requests", "max_requests", "max_retries", "track_remaining"));
		build_leave(b, before);
		break; /* Envoy: the first one of a priority counts */
	}
	if (message->circuit_breakers->n_per_host_thresholds)
		build_reason(b, MESH_EFFECT_TRAFFIC, "circuit_breakers.per_host_thresholds is not supported");
}

static struct mesh_outlier_detection *outlier_detection(struct build *b, const PbCluster *message)
{
	const Envoy__Config__Cluster__V3__OutlierDetection *config = message->outlier_detection;
	struct mesh_outlier_detection *out;
	size_t before;

	if (!config)
		return NULL;
	out = build_new(b, struct mesh_outlier_detection);
	if (!out)
		return NULL;
	before = build_enter(b, "outlier_detection");
	out->consecutive_5xx = uint32_or(config->consecutive_5xx, 5);
	out->consecutive_gateway_failure = uint32_or(config->consecutive_gateway_failure, 5);
	out->consecutive_local_origin_failure = uint32_or(config->consecutive_local_origin_failure, 5);
	out->enforcing_consecutive_5xx = uint32_or(config->enforcing_consecutive_5xx, 100);
	out->enforcing_consecutive_gateway_failure = uint32_or(config->enforcing_consecutive_gateway_failure, 0);
	out->enforcing_consecutive_local_origin_failure = uint32_or(config->enforcing_consecutive_local_origin_failure, 100);
	out->enforcing_success_rate = uint32_or(config->enforcing_success_rate, 100);
	out->splits_local_origin_errors = config->split_external_local_origin_errors;
	out->interval_ms = build_duration_ms(b, "interval", config->interval, 10000);
	out->base_ejection_ms = build_duration_ms(b, "base_ejection_time", config->base_ejection_time, 30000);
	out->max_ejection_ms = build_duration_ms(b, "max_ejection_time", config->max_ejection_time, 300000);
	if (out->max_ejection_ms < out->base_ejection_ms)
		out->max_ejection_ms = out->base_ejection_ms;
	out->max_ejection_percent = uint32_or(config->max_ejection_percent, 10);
	if (out->max_ejection_percent > 100 || out->enforcing_consecutive_5xx > 100 || out->enforcing_consecutive_gateway_failure > 100 ||
	    out->enforcing_consecutive_local_origin_failure > 100 || out->enforcing_success_rate > 100)
		build_refuse(b, "a percentage is past 100");
	build_check_fields(b, &config->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure", "enforcing_consecutive_5xx",
				 "enforcing_consecutive_gateway_failure", "enforcing_consecutive_local_origin_failure", "enforcing_success_rate",
				 "split_external_local_origin_errors", "interval", "base_ejection_time", "max_ejection_time", "max_ejection_percent",
				 "enforcing_local_origin_success_rate"));
	build_leave(b, before);
	return out;
}

static void transport_matches(struct build *b, const PbCluster *message, struct mesh_cluster *out)
{
	out->transport_matches = build_array(b, struct mesh_transport_match, message->n_transport_socket_matches);
	out->transport_match_count = out->transport_matches ? message->n_transport_socket_matches : 0;
	for (size_t i = 0; i < out->transport_match_count; i++) {
		const Envoy__Config__Cluster__V3__Cluster__TransportSocketMatch *match = message->transport_socket_matches[i];
		struct mesh_transport_match *to = &out->transport_matches[i];
		size_t before = build_enter_index(b, "transport_socket_matches", i);

		build_check_fields(b, &match->base, MESH_EFFECT_TRAFFIC, KNOWN("name", "match", "transport_socket"));
		to->name = build_text(b, match->name);
		to->tls_mode = "";
		to->transport = model_transport(b, match->transport_socket);
		to->matches_all = !match->match || !match->match->n_fields;
		if (!to->matches_all) {
			const Google__Protobuf__Struct__FieldsEntry *field = match->match->fields[0];

			if (match->match->n_fields == 1 && strcmp(field->key, "tlsMode") == 0 && field->value &&
			    field->value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE)
				to->tls_mode = build_text(b, field->value->string_value);
			else
				build_reason(b, MESH_EFFECT_TRAFFIC, "matching endpoints by anything but tlsMode is not supported");
		}
		build_leave(b, before);
	}
}

static void transport(struct build *b, const PbCluster *message, struct mesh_cluster *out)
{
	out->transport = model_transport(b, message->transport_socket);
	if (out->transport != MESH_TRANSPORT_RAW) {
		size_t before = build_enter(b, "transport_socket");

		build_reason(b, MESH_EFFECT_TRAFFIC, "%s to endpoints is not supported", out->transport == MESH_TRANSPORT_TLS ? "TLS" : "this transport");
		build_leave(b, before);
	}
	transport_matches(b, message, out);
}

static void common_options(struct build *b, const PbCommonOptions *options, struct mesh_cluster *out)
{
	size_t before;

	if (!options)
		return;
	before = build_enter(b, "common_http_protocol_options");
	out->idle_timeout_ms = build_duration_ms(b, "idle_timeout", options->idle_timeout, IDLE_MS);
	out->max_connection_duration_ms = build_duration_ms(b, "max_connection_duration", options->max_connection_duration, 0);
	out->max_requests_per_connection = uint32_or(options->max_requests_per_connection, out->max_requests_per_connection);
	build_check_fields(b, &options->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("idle_timeout", "max_connection_duration", "max_requests_per_connection", "max_headers_count",
				 "max_response_headers_kb"));
	build_leave(b, before);
}

static void protocol_options(struct build *b, const PbProtocolOptions *options, struct mesh_cluster *out)
{
	/* upstream_http_protocol_options is about names in TLS */
	build_check_fields(b, &options->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("common_http_protocol_options", "upstream_http_protocol_options", "explicit_http_config",
				 "use_downstream_protocol_config", "auto_config"));
	common_options(b, options->common_http_protocol_options, out);
	switch (options->upstream_protocol_options_case) {
	case ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_EXPLICIT_HTTP_CONFIG:
		if (options->explicit_http_config->protocol_config_case ==
		    ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP2_PROTOCOL_OPTIONS)
			out->upstream_protocol = MESH_UPSTREAM_HTTP2;
		else if (options->explicit_http_config->base.n_unknown_fields)
			out->upstream_protocol = MESH_UPSTREAM_OTHER;
		break;
	case ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_USE_DOWNSTREAM_PROTOCOL_CONFIG:
		out->upstream_protocol = MESH_UPSTREAM_AS_DOWNSTREAM;
		break;
	case ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_AUTO_CONFIG:
		out->upstream_protocol = MESH_UPSTREAM_OTHER;
		break;
	default:
		break;
	}
	if (out->upstream_protocol == MESH_UPSTREAM_OTHER)
		build_reason(b, MESH_EFFECT_TRAFFIC, "this choice of the upstream protocol is not supported");
}

static void upstream_protocol(struct build *b, const PbCluster *message, struct mesh_cluster *out)
{
	out->idle_timeout_ms = IDLE_MS;
	out->max_requests_per_connection = uint32_or(message->max_requests_per_connection, 0);
	common_options(b, message->common_http_protocol_options, out);
	if (message->http2_protocol_options)
		out->upstream_protocol = MESH_UPSTREAM_HTTP2;
	if (message->protocol_selection == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_PROTOCOL_SELECTION__USE_DOWNSTREAM_PROTOCOL)
		out->upstream_protocol = MESH_UPSTREAM_AS_DOWNSTREAM;
	for (size_t i = 0; i < message->n_typed_extension_protocol_options; i++) {
		const Envoy__Config__Cluster__V3__Cluster__TypedExtensionProtocolOptionsEntry *entry = message->typed_extension_protocol_options[i];
		size_t before = build_enter_key(b, "typed_extension_protocol_options", entry->key);
		const ProtobufCMessage *options =
			build_unpack(b, entry->value, &envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor);

		if (options)
			protocol_options(b, (const PbProtocolOptions *)options, out);
		else
			build_reason(b, MESH_EFFECT_TRAFFIC, "not supported");
		build_leave(b, before);
	}
}

static int64_t slow_start_ms(struct build *b, const char *name, const Envoy__Config__Cluster__V3__Cluster__SlowStartConfig *config)
{
	size_t before;
	int64_t window_ms;

	if (!config)
		return 0;
	before = build_enter(b, name);
	window_ms = build_duration_ms(b, "slow_start_config.slow_start_window", config->slow_start_window, 0);
	build_leave(b, before);
	return window_ms;
}

static void original_dst(struct build *b, const Envoy__Config__Cluster__V3__Cluster__OriginalDstLbConfig *config, struct mesh_cluster *out)
{
	size_t before = build_enter(b, "original_dst_lb_config");

	if (uint32_or(config->upstream_port_override, 0) > UINT16_MAX)
		build_refuse(b, "port %u is past 65535", config->upstream_port_override->value);
	out->original_dst_port = (uint16_t)uint32_or(config->upstream_port_override, 0);
	build_check_fields(b, &config->base, MESH_EFFECT_TRAFFIC, KNOWN("upstream_port_override"));
	build_leave(b, before);
}

static bool is_prime(uint64_t number)
{
	for (uint64_t i = 2; i * i <= number; i++)
		if (number % i == 0)
			return false;
	return number > 1;
}

static void lb_config(struct build *b, const PbCluster *message, struct mesh_cluster *out)
{
	out->least_request_choices = 2;
	out->ring_min_size = RING_MIN;
	out->ring_max_size = RING_MAX;
	out->maglev_table_size = MAGLEV_SIZE;
	switch (message->lb_config_case) {
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_RING_HASH_LB_CONFIG:
		out->ring_min_size = uint64_or(message->ring_hash_lb_config->minimum_ring_size, RING_MIN);
		out->ring_max_size = uint64_or(message->ring_hash_lb_config->maximum_ring_size, RING_MAX);
		if (out->ring_min_size > out->ring_max_size || out->ring_max_size > RING_MAX)
			build_refuse(b, "the sizes of the hash ring are out of order, or past %d", RING_MAX);
		if (message->ring_hash_lb_config->hash_function > ENVOY__CONFIG__CLUSTER__V3__CLUSTER__RING_HASH_LB_CONFIG__HASH_FUNCTION__MURMUR_HASH_2)
			build_refuse(b, "an unknown hash_function: %d", (int)message->ring_hash_lb_config->hash_function);
		out->hashes_by_murmur = message->ring_hash_lb_config->hash_function;
		break;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_MAGLEV_LB_CONFIG:
		out->maglev_table_size = uint64_or(message->maglev_lb_config->table_size, MAGLEV_SIZE);
		if (out->maglev_table_size > 5000011 || !is_prime(out->maglev_table_size))
			build_refuse(b, "maglev_lb_config.table_size must be a prime number up to 5000011");
		break;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_LEAST_REQUEST_LB_CONFIG:
		out->least_request_choices = uint32_or(message->least_request_lb_config->choice_count, 2);
		if (out->least_request_choices < 2)
			build_refuse(b, "least_request_lb_config.choice_count must be 2 or more");
		if (message->least_request_lb_config->active_request_bias)
			build_reason(b, MESH_EFFECT_TRAFFIC, "least_request_lb_config.active_request_bias is not supported");
		out->slow_start_ms = slow_start_ms(b, "least_request_lb_config", message->least_request_lb_config->slow_start_config);
		break;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_ROUND_ROBIN_LB_CONFIG:
		out->slow_start_ms = slow_start_ms(b, "round_robin_lb_config", message->round_robin_lb_config->slow_start_config);
		break;
	case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_ORIGINAL_DST_LB_CONFIG:
		original_dst(b, message->original_dst_lb_config, out);
		break;
	default:
		break;
	}
}

static void common_lb_config(struct build *b, const PbCluster *message, struct mesh_cluster *out)
{
	const Envoy__Config__Cluster__V3__Cluster__CommonLbConfig *config = message->common_lb_config;
	size_t before;

	out->healthy_panic_percent = 50;
	if (!config)
		return;
	before = build_enter(b, "common_lb_config");
	if (config->healthy_panic_threshold) {
		double percent = config->healthy_panic_threshold->value;

		if (!(percent >= 0 && percent <= 100))
			build_refuse(b, "healthy_panic_threshold must be from 0 to 100");
		else
			out->healthy_panic_percent = (uint32_t)percent;
	}
	out->weighs_localities = config->locality_config_specifier_case ==
				 ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_LOCALITY_WEIGHTED_LB_CONFIG;
	if (config->consistent_hashing_lb_config) {
		out->hashes_hostname = config->consistent_hashing_lb_config->use_hostname_for_hashing;
		if (uint32_or(config->consistent_hashing_lb_config->hash_balance_factor, 0))
			build_reason(b, MESH_EFFECT_TRAFFIC, "consistent_hashing_lb_config.hash_balance_factor is not supported");
		build_check_fields(b, &config->consistent_hashing_lb_config->base, MESH_EFFECT_TRAFFIC,
				   KNOWN("use_hostname_for_hashing", "hash_balance_factor"));
	}
	build_check_fields(b, &config->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("healthy_panic_threshold", "locality_weighted_lb_config", "update_merge_window", "consistent_hashing_lb_config"));
	build_leave(b, before);
}

static void filters(struct build *b, const PbCluster *message)
{
	for (size_t i = 0; i < message->n_filters; i++) {
		size_t before = build_enter_index(b, "filters", i);
		struct mesh_filter ignored;

		model_filter(b, message->filters[i]->name, message->filters[i]->typed_config, &ignored);
		build_leave(b, before);
	}
}

static void load_assignment(struct build *b, const PbCluster *message, struct mesh_cluster *out)
{
	bool is_dns = out->kind == MESH_CLUSTER_STRICT_DNS || out->kind == MESH_CLUSTER_LOGICAL_DNS;
	size_t before;

	if (out->kind == MESH_CLUSTER_EDS || out->kind == MESH_CLUSTER_ORIGINAL_DST) {
		if (message->load_assignment)
			build_warn(b, "load_assignment is ignored: the cluster finds its endpoints elsewhere");
		return;
	}
	if (!message->load_assignment) {
		/* istiod's BlackHoleCluster is STATIC and has none */
		if (out->kind == MESH_CLUSTER_LOGICAL_DNS)
			build_refuse(b, "a LOGICAL_DNS cluster has exactly one endpoint");
		return;
	}
	if (is_dns && message->dns_lookup_family == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DNS_LOOKUP_FAMILY__V6_ONLY)
		build_reason(b, MESH_EFFECT_TRAFFIC, "dns_lookup_family V6_ONLY: IPv6 is not supported");
	before = build_enter(b, "load_assignment");
	out->load_assignment = model_load_assignment(b, message->load_assignment, is_dns);
	if (out->kind == MESH_CLUSTER_LOGICAL_DNS && out->load_assignment && out->load_assignment->endpoint_count != 1)
		build_refuse(b, "a LOGICAL_DNS cluster has exactly one endpoint");
	build_leave(b, before);
}

static void timeouts(struct build *b, const PbCluster *message, struct mesh_cluster *out)
{
	out->connect_timeout_ms = build_duration_ms(b, "connect_timeout", message->connect_timeout, CONNECT_TIMEOUT_MS);
	if (message->connect_timeout && !message->connect_timeout->seconds && !message->connect_timeout->nanos)
		build_refuse(b, "connect_timeout must be more than 0 s");
	else if (!out->connect_timeout_ms)
		out->connect_timeout_ms = 1;
	out->dns_refresh_ms = build_duration_ms(b, "dns_refresh_rate", message->dns_refresh_rate, DNS_REFRESH_MS);
	out->respects_dns_ttl = message->respect_dns_ttl;
}

static const char *text_of(const Google__Protobuf__Struct *fields, const char *key)
{
	const Google__Protobuf__Value *value = model_value(fields, key);

	return value && value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE ? value->string_value : "";
}

/* Whose cluster it is, as istiod says: for metrics. */
static void service(struct build *b, const PbCluster *message, struct mesh_cluster *out)
{
	const Google__Protobuf__Value *services = model_value(model_metadata(message->metadata, "istio"), "services");
	const Google__Protobuf__ListValue *list =
		services && services->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE ? services->list_value : NULL;
	const Google__Protobuf__Value *first = list && list->n_values ? list->values[0] : NULL;
	const Google__Protobuf__Struct *fields =
		first && first->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE ? first->struct_value : NULL;

	out->service_host = build_text(b, text_of(fields, "host"));
	out->service_name = build_text(b, text_of(fields, "name"));
	out->service_namespace = build_text(b, text_of(fields, "namespace"));
}

struct mesh_cluster *model_cluster(struct build *b, const PbCluster *message)
{
	struct mesh_cluster *cluster = build_new(b, struct mesh_cluster);

	if (!cluster)
		return NULL;
	b->reasons = &cluster->resource.reasons;
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("name", "type", "cluster_type", "eds_cluster_config", "connect_timeout", "lb_policy", "load_assignment",
				 "max_requests_per_connection", "circuit_breakers", "common_http_protocol_options", "http2_protocol_options",
				 "protocol_selection", "typed_extension_protocol_options", "dns_refresh_rate", "respect_dns_ttl",
				 "outlier_detection", "ring_hash_lb_config", "maglev_lb_config", "original_dst_lb_config",
				 "least_request_lb_config", "round_robin_lb_config", "common_lb_config", "transport_socket",
				 "transport_socket_matches", "filters", "load_balancing_policy",
				 /* names, counts, buffers, keepalives; how names are resolved */
				 "alt_stat_name", "metadata", "per_connection_buffer_limit_bytes", "http_protocol_options",
				 "upstream_http_protocol_options", "dns_jitter", "dns_failure_refresh_rate", "dns_lookup_family", "dns_resolvers",
				 "use_tcp_for_dns_lookups", "typed_dns_resolver_config", "wait_for_warm_on_init", "cleanup_interval",
				 "upstream_connection_options", "track_timeout_budgets", "track_cluster_stats", "lrs_server",
				 "lrs_report_endpoint_metrics", "preconnect_policy", "close_connections_on_host_health_failure",
				 "ignore_health_on_host_removal"));
	cluster->resource.kind = MESH_CLUSTER;
	cluster->resource.name = build_text(b, message->name);
	cluster->resource.place = build_place(b);
	if (!*cluster->resource.name)
		build_refuse(b, "a name is needed");
	cluster->kind = kind(b, message);
	cluster->lb_policy = lb_policy(b, message, cluster->kind);
	timeouts(b, message, cluster);
	cluster->eds_name = "";
	if (cluster->kind == MESH_CLUSTER_EDS) {
		const char *name = message->eds_cluster_config ? message->eds_cluster_config->service_name : "";

		cluster->eds_name = *name ? build_text(b, name) : cluster->resource.name;
	}
	service(b, message, cluster);
	load_assignment(b, message, cluster);
	circuit_breakers(b, message, &cluster->circuit_breaker);
	cluster->outlier_detection = outlier_detection(b, message);
	transport(b, message, cluster);
	upstream_protocol(b, message, cluster);
	lb_config(b, message, cluster);
	common_lb_config(b, message, cluster);
	filters(b, message);
	return cluster;
}

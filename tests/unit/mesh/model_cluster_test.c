/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include <arpa/inet.h>

#define CLUSTER "resources:\n- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: c\n"
#define ENDPOINTS "resources:\n- '@type': type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n  cluster_name: c\n"
#define AT(host) "{endpoint: {address: {socket_address: {address: " host ", port_value: 80}}}}"

static const struct mesh_cluster *first(const struct loaded *l)
{
	assert_no_errors(l);
	assert_int_equal(l->mesh->cluster_count, 1);
	return l->mesh->clusters[0];
}

static void test_a_cluster_has_envoys_defaults(void **state)
{
	LOADED(l, CLUSTER);
	const struct mesh_cluster *cluster = first(&l);

	assert_int_equal(cluster->kind, MESH_CLUSTER_STATIC);
	assert_int_equal(cluster->lb_policy, MESH_LB_ROUND_ROBIN);
	assert_int_equal(cluster->connect_timeout_ms, 5000);
	assert_null(cluster->load_assignment);
	assert_int_equal(cluster->circuit_breaker.max_requests, 1024);
	assert_int_equal(cluster->circuit_breaker.max_retries, 3);
	assert_null(cluster->outlier_detection);
	assert_int_equal(cluster->transport, MESH_TRANSPORT_RAW);
	assert_int_equal(cluster->upstream_protocol, MESH_UPSTREAM_HTTP1);
	assert_int_equal(cluster->idle_timeout_ms, 3600000);
	assert_int_equal(cluster->least_request_choices, 2);
	assert_int_equal(cluster->healthy_panic_percent, 50);
	assert_int_equal(cluster->resource.reasons.count, 0);
}

static void test_a_cluster_keeps_its_options(void **state)
{
	LOADED(l, CLUSTER "  type: EDS\n  eds_cluster_config: {service_name: s}\n  lb_policy: LEAST_REQUEST\n  connect_timeout: 0.25s\n"
			  "  least_request_lb_config: {choice_count: 3, slow_start_config: {slow_start_window: 45s}}\n"
			  "  circuit_breakers: {thresholds: [{priority: HIGH, max_requests: 1}, {max_requests: 7, max_connections: 0}, {max_requests: 9, max_pending_requests: 1}]}\n"
			  "  outlier_detection: {consecutive_5xx: 3, interval: 1s, base_ejection_time: 400s}\n"
			  "  common_lb_config: {healthy_panic_threshold: {}, locality_weighted_lb_config: {}}\n"
			  "  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': "
			  "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}},"
			  "common_http_protocol_options: {idle_timeout: 5s, max_requests_per_connection: 9}}}\n");
	const struct mesh_cluster *cluster = first(&l);

	assert_int_equal(cluster->kind, MESH_CLUSTER_EDS);
	assert_string_equal(cluster->eds_name, "s");
	assert_int_equal(cluster->lb_policy, MESH_LB_LEAST_REQUEST);
	assert_int_equal(cluster->least_request_choices, 3);
	assert_int_equal(cluster->slow_start_ms, 45000);
	assert_int_equal(cluster->connect_timeout_ms, 250);
	assert_int_equal(cluster->circuit_breaker.max_requests, 7);
	assert_int_equal(cluster->circuit_breaker.max_connections, 0);
	assert_int_equal(cluster->circuit_breaker.max_pending_requests, 1024);
	assert_int_equal(cluster->outlier_detection->consecutive_5xx, 3);
	assert_int_equal(cluster->outlier_detection->interval_ms, 1000);
	assert_int_equal(cluster->outlier_detection->max_ejection_ms, 400000);
	assert_int_equal(cluster->healthy_panic_percent, 0);
	assert_true(cluster->weighs_localities);
	assert_int_equal(cluster->upstream_protocol, MESH_UPSTREAM_HTTP2);
	assert_int_equal(cluster->idle_timeout_ms, 5000);
	assert_int_equal(cluster->max_requests_per_connection, 9);
	assert_int_equal(cluster->resource.reasons.count, 0);
	find_message(&l, MESH_WARNING, "there is no load assignment s");
}

static void test_endpoints_keep_locality_priority_weight_and_metadata(void **state)
{
	LOADED(l, ENDPOINTS "  endpoints:\n  - locality: {region: r, zone: z, sub_zone: s}\n    priority: 1\n    load_balancing_weight: 5\n    lb_endpoints:\n"
			    "    - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}, hostname: h, additional_addresses:"
			    " [{address: {socket_address: {address: 'fd00::1', port_value: 80}}}]}\n      health_status: DRAINING\n"
			    "      load_balancing_weight: 7\n      metadata: {filter_metadata: {envoy.transport_socket_match: {tlsMode: istio},"
			    " istio: {workload: 'a;b'}}}\n    - endpoint: {address: {envoy_internal_address: {server_listener_name: connect_originate}}}\n"
			    "  policy: {overprovisioning_factor: 200}\n");
	const struct mesh_load_assignment *assignment;
	const struct mesh_endpoint *endpoint;

	assert_no_errors(&l);
	assignment = mesh_find_load_assignment(l.mesh, "c");
	assert_non_null(assignment);
	assert_string_equal(assignment->localities[0].sub_zone, "s");
	assert_int_equal(assignment->localities[0].priority, 1);
	assert_int_equal(assignment->localities[0].weight, 5);
	assert_int_equal(assignment->endpoint_count, 2);
	assert_int_equal(assignment->overprovisioning_percent, 200);
	endpoint = &assignment->localities[0].endpoints[0];
	assert_int_equal(endpoint->health, MESH_HEALTH_DRAINING);
	assert_int_equal(endpoint->weight, 7);
	assert_string_equal(endpoint->tls_mode, "istio");
	assert_string_equal(endpoint->workload, "a;b");
	assert_string_equal(endpoint->hostname, "h");
	assert_int_equal(endpoint->additional_addresses[0].family, AF_INET6);
	assert_int_equal(endpoint[1].address.kind, MESH_ADDRESS_INTERNAL);
	assert_string_equal(endpoint[1].address.text, "connect_originate");
	assert_int_equal(endpoint[1].weight, 1);
	assert_int_equal(endpoint[1].health, MESH_HEALTH_UNKNOWN);
	assert_string_equal(endpoint[1].tls_mode, "");
}

static void test_only_dns_clusters_take_host_names(void **state)
{
	LOADED(dns, CLUSTER "  type: STRICT_DNS\n  load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [" AT("a.test") "]}]}\n");
	LOADED(statics, CLUSTER "  load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [" AT("a.test") "]}]}\n");
	LOADED(eds, ENDPOINTS "  endpoints: [{lb_endpoints: [" AT("a.test") "]}]\n");
	LOADED(logical, CLUSTER "  type: LOGICAL_DNS\n  load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [" AT("a") "," AT("b") "]}]}\n");

	assert_int_equal(first(&dns)->load_assignment->localities[0].endpoints[0].address.kind, MESH_ADDRESS_HOSTNAME);
	find_message(&statics, MESH_ERROR, "`a.test` is no IP address");
	find_message(&eds, MESH_ERROR, "`a.test` is no IP address");
	find_message(&logical, MESH_ERROR, "exactly one endpoint");
}

static void test_original_dst_goes_with_cluster_provided(void **state)
{
	LOADED(good, CLUSTER "  type: ORIGINAL_DST\n  lb_policy: CLUSTER_PROVIDED\n  original_dst_lb_config: {upstream_port_override: 15008}\n");
	LOADED(alone, CLUSTER "  type: ORIGINAL_DST\n");
	LOADED(other, CLUSTER "  type: EDS\n  lb_policy: CLUSTER_PROVIDED\n");

	assert_int_equal(first(&good)->lb_policy, MESH_LB_CLUSTER_PROVIDED);
	assert_int_equal(first(&good)->original_dst_port, 15008);
	find_message(&alone, MESH_ERROR, "CLUSTER_PROVIDED");
	find_message(&other, MESH_ERROR, "CLUSTER_PROVIDED");
}

static void test_what_a_cluster_can_not_represent_is_a_reason(void **state)
{
	LOADED(l, CLUSTER "  lb_subset_config: {}\n  cluster_type: {name: custom}\n  load_balancing_policy: {}\n"
			  "  transport_socket: {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}\n"
			  "  transport_socket_matches: [{name: m, match: {tunnel: http}, transport_socket: {name: t}}]\n"
			  "  filters: [{name: f, typed_config: {'@type': type.googleapis.com/some.Filter}}]\n"
			  "  typed_extension_protocol_options: {x: {'@type': type.googleapis.com/some.Options}}\n");
	const struct mesh_reasons *reasons = &first(&l)->resource.reasons;

	assert_true(has_reason(reasons, MESH_EFFECT_TRAFFIC, "lb_subset_config"));
	assert_true(has_reason(reasons, MESH_EFFECT_TRAFFIC, "cluster_type"));
	assert_true(has_reason(reasons, MESH_EFFECT_TRAFFIC, "load_balancing_policy"));
	assert_true(has_reason(reasons, MESH_EFFECT_TRAFFIC, "transport_socket"));
	assert_true(has_reason(reasons, MESH_EFFECT_TRAFFIC, "transport_socket_matches[0]"));
	assert_true(has_reason(reasons, MESH_EFFECT_POLICY, "filters[0].typed_config"));
	assert_true(has_reason(reasons, MESH_EFFECT_TRAFFIC, "typed_extension_protocol_options[x]"));
	assert_int_equal(first(&l)->kind, MESH_CLUSTER_OTHER);
	assert_int_equal(first(&l)->lb_policy, MESH_LB_OTHER);
}

static void test_values_out_of_range_are_refused(void **state)
{
	static const char *const cases[] = {
		CLUSTER "  connect_timeout: 0s\n",
		CLUSTER "  connect_timeout: -1s\n",
		CLUSTER "  lb_policy: 99\n",
		CLUSTER "  least_request_lb_config: {choice_count: 1}\n",
		CLUSTER "  ring_hash_lb_config: {minimum_ring_size: 10, maximum_ring_size: 5}\n",
		CLUSTER "  maglev_lb_config: {table_size: 5000012}\n",
		CLUSTER "  maglev_lb_config: {table_size: 65536}\n",
		CLUSTER "  common_lb_config: {healthy_panic_threshold: {value: 101}}\n",
		CLUSTER "  common_lb_config: {healthy_panic_threshold: {value: .nan}}\n",
		CLUSTER "  outlier_detection: {max_ejection_percent: 101}\n",
		ENDPOINTS "  endpoints: [{priority: 129}]\n",
		ENDPOINTS "  endpoints: [{load_balancing_weight: 0}]\n",
		ENDPOINTS "  endpoints: [{lb_endpoints: [{load_balancing_weight: 0, endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 1}}}}]}]\n",
		ENDPOINTS "  endpoints: [{lb_endpoints: [{}]}]\n",
		ENDPOINTS "  endpoints: [{lb_endpoints: [{health_status: 17, endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 1}}}}]}]\n",
		ENDPOINTS "  policy: {overprovisioning_factor: 0}\n",
		"resources:\n- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n",
		"resources:\n- '@type': type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		LOADED(l, cases[i]);

		if (l.r || !l.report.error_count || l.mesh->refused_count != 1 || l.mesh->cluster_count + l.mesh->load_assignment_count)
			fail_msg("case %zu was not refused: %s", i, cases[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_cluster_has_envoys_defaults),
		cmocka_unit_test(test_a_cluster_keeps_its_options),
		cmocka_unit_test(test_endpoints_keep_locality_priority_weight_and_metadata),
		cmocka_unit_test(test_only_dns_clusters_take_host_names),
		cmocka_unit_test(test_original_dst_goes_with_cluster_provided),
		cmocka_unit_test(test_what_a_cluster_can_not_represent_is_a_reason),
		cmocka_unit_test(test_values_out_of_range_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

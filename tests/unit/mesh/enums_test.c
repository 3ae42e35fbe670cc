/* SPDX-License-Identifier: Apache-2.0 */
/* Every enum that decides something: a value of it that weft does not know refuses the resource, and is named. */
#include "helper.h"

#define TYPE(name) "resources: [{'@type': type.googleapis.com/envoy." name ", "
#define CLUSTER(fields) TYPE("config.cluster.v3.Cluster") "name: c, " fields "}]"
#define HOST(fields) TYPE("config.route.v3.RouteConfiguration") "name: r, virtual_hosts: [{name: v, domains: ['*'], " fields "}]}]"
#define ROUTE(fields) HOST("routes: [{match: {prefix: /}, " fields "}]")
#define HTTP(fields) \
	TYPE("config.listener.v3.Listener") "name: l, address: {socket_address: {address: 10.0.0.1, port_value: 80}}, filter_chains: [{filters: [{name: h, typed_config: {" \
	"'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s, rds: {route_config_name: r}, " \
	fields "}}]}]}]"

static const struct {
	const char *text, *path, *why;
} cases[] = {
	{ CLUSTER("type: 77"), "resources[0]", "an unknown type: 77" },
	{ CLUSTER("lb_policy: 78"), "resources[0]", "an unknown lb_policy: 78" },
	{ CLUSTER("lb_policy: RING_HASH, ring_hash_lb_config: {hash_function: 9}"), "resources[0]", "an unknown hash_function: 9" },
	{ TYPE("config.endpoint.v3.ClusterLoadAssignment") "cluster_name: c, endpoints: [{lb_endpoints: [{health_status: 17, "
	  "endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 1}}}}]}]}]", "resources[0].endpoints[0].lb_endpoints[0]", "an unknown health_status: 17" },
	{ HOST("require_tls: 5"), "resources[0].virtual_hosts[0]", "an unknown require_tls: 5" },
	{ ROUTE("route: {cluster: c, cluster_not_found_response_code: 404}"), "resources[0].virtual_hosts[0].routes[0]", "an unknown cluster_not_found_response_code: 404" },
	{ ROUTE("redirect: {host_redirect: h, response_code: 302}"), "resources[0].virtual_hosts[0].routes[0]", "an unknown response_code: 302" },
	{ ROUTE("direct_response: {status: 200}, request_headers_to_add: [{header: {key: a, value: b}, append_action: 8}]"),
	  "resources[0].virtual_hosts[0].routes[0].request_headers_to_add[0]", "an unknown append_action: 8" },
	{ HOST("routes: [{match: {prefix: /, runtime_fraction: {runtime_key: k, default_value: {numerator: 1, denominator: 3}}}, direct_response: {status: 200}}]"),
	  "resources[0].virtual_hosts[0].routes[0].match.runtime_fraction.default_value", "an unknown denominator: 3" },
	{ HTTP("codec_type: 6"), "resources[0].filter_chains[0].filters[0].typed_config", "an unknown codec_type: 6" },
	{ HTTP("server_header_transformation: 7"), "resources[0].filter_chains[0].filters[0].typed_config", "an unknown server_header_transformation: 7" },
	{ HTTP("path_with_escaped_slashes_action: 12"), "resources[0].filter_chains[0].filters[0].typed_config", "an unknown path_with_escaped_slashes_action: 12" },
};

static void test_an_unknown_value_of_an_enum_is_refused_and_named(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		LOADED(l, cases[i].text);
		const struct mesh_message *message = find_message(&l, MESH_ERROR, "an unknown ");

		assert_int_equal(l.mesh->refused_count, 1);
		assert_string_equal(message->text, cases[i].why);
		/* what the value stands in, or its field */
		if (strncmp(message->path, cases[i].path, strlen(cases[i].path)) != 0)
			fail_msg("%s: at %s and not at %s", cases[i].why, message->path, cases[i].path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_unknown_value_of_an_enum_is_refused_and_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* validate_clusters: what is looked at, and what becomes of a resource that names a cluster which there is not. */
#include "helper.h"

#define TYPE(name) "'@type': type.googleapis.com/envoy." name
#define CLUSTER(name) "- {" TYPE("config.cluster.v3.Cluster") ", name: " name ", type: STATIC}\n"
/* The route at `routes[0]` is line 9, after a cluster in line 2. */
#define ROUTES(is_validated, above, route) \
	"resources:\n" CLUSTER("here") "- " TYPE("config.route.v3.RouteConfiguration") "\n  name: r\n  validate_clusters: " is_validated "\n" above \
	"  virtual_hosts:\n  - name: v\n    domains: ['*']\n    routes:\n    - " route "\n"
#define TO(what) "{match: {prefix: /}, route: {" what "}}"

static void assert_refused(const char *text, const char *path, const char *why)
{
	LOADED(l, text);

	if (l.r || l.report.error_count != 1 || l.mesh->refused_count != 1) {
		mesh_report_print(&l.report, stderr);
		fail_msg("%s: %zu errors", text, l.report.error_count);
	}
	assert_int_equal(l.mesh->route_config_count, 0);
	assert_int_equal(l.mesh->cluster_count, 1);
	assert_int_equal(l.mesh->refused[0]->kind, MESH_ROUTE_CONFIG);
	assert_string_equal(l.mesh->refused[0]->name, "r");
	assert_string_equal(l.mesh->refused[0]->path, path);
	assert_string_equal(l.mesh->refused[0]->text, why);
	assert_int_equal(l.mesh->refused[0]->place.line, 3);
	find_message(&l, MESH_ERROR, why);
}

static void assert_taken(const char *text)
{
	LOADED(l, text);

	assert_no_errors(&l);
	assert_int_equal(l.mesh->route_config_count, 1);
	assert_int_equal(l.mesh->refused_count, 0);
}

#define ROUTE "virtual_hosts[0].routes[0]"

static void test_an_unknown_cluster_refuses_what_asks_for_validation(void **state)
{
	assert_refused(ROUTES("true", "", TO("cluster: gone")), ROUTE ".route.cluster", "route: unknown cluster 'gone'");
	assert_taken(ROUTES("true", "", TO("cluster: here")));
	assert_taken(ROUTES("false", "", TO("cluster: gone")));
	assert_taken(ROUTES("", "", TO("cluster: gone"))); /* null: not set */
}

static void test_each_of_weighted_clusters_is_looked_at(void **state)
{
	assert_refused(ROUTES("true", "", TO("weighted_clusters: {clusters: [{name: here, weight: 1}, {name: gone, weight: 0}]}")),
		       ROUTE ".route.weighted_clusters.clusters[1].name", "route: unknown weighted cluster 'gone'");
	assert_taken(ROUTES("true", "", TO("weighted_clusters: {clusters: [{name: here, weight: 1}, {cluster_header: x-to, weight: 1}]}")));
}

static void test_mirrors_are_looked_at_wherever_a_route_has_them_from(void **state)
{
	assert_refused(ROUTES("true", "", TO("cluster: here, request_mirror_policies: [{cluster: here}, {cluster: gone}]")),
		       ROUTE ".route.request_mirror_policies[1].cluster", "route: unknown shadow cluster 'gone'");
	assert_refused(ROUTES("true", "  request_mirror_policies: [{cluster: gone}]\n", TO("cluster: here")), ROUTE, "route: unknown shadow cluster 'gone'");
	/* Envoy's routes have the mirrors from above whatever they do. */
	assert_refused(ROUTES("true", "  request_mirror_policies: [{cluster: gone}]\n", "{match: {prefix: /}, redirect: {path_redirect: /x}}"), ROUTE,
		       "route: unknown shadow cluster 'gone'");
	assert_taken(ROUTES("true", "  request_mirror_policies: [{cluster: gone}]\n", TO("cluster: here, request_mirror_policies: [{cluster: here}]")));
}

static void test_names_that_come_with_the_request_are_not_looked_at(void **state)
{
	assert_taken(ROUTES("true", "", TO("cluster_header: x-to")));
	assert_taken(ROUTES("true", "", "{match: {prefix: /}, direct_response: {status: 200}}"));
}

static void test_the_place_is_told(void **state)
{
	LOADED(l, ROUTES("true", "", TO("cluster: gone")));
	const struct mesh_message *message = find_message(&l, MESH_ERROR, "route: unknown cluster 'gone' (validate_clusters is true)");

	assert_string_equal(message->path, "route configuration r: " ROUTE ".route.cluster");
	assert_string_equal(message->file, "test.yaml");
	assert_int_equal(message->line, 10);
}

static void test_an_inline_table_refuses_its_listener(void **state)
{
	LOADED(l, "resources:\n"
		  "- " TYPE("config.listener.v3.Listener") "\n  name: l\n  address: {socket_address: {address: 10.0.0.1, port_value: 80}}\n"
		  "  filter_chains:\n  - filters:\n    - name: http\n      typed_config:\n"
		  "        " TYPE("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager") "\n        stat_prefix: s\n"
		  "        http_filters: [{name: r, typed_config: {" TYPE("extensions.filters.http.router.v3.Router") "}}]\n"
		  "        route_config:\n          name: t\n          validate_clusters: true\n"
		  "          virtual_hosts: [{name: v, domains: ['*'], routes: [" TO("cluster: gone") "]}]\n");

	assert_int_equal(l.r, 0);
	assert_int_equal(l.mesh->listener_count, 0);
	assert_int_equal(l.mesh->refused_count, 1);
	assert_int_equal(l.mesh->refused[0]->kind, MESH_LISTENER);
	assert_string_equal(l.mesh->refused[0]->path, "filter_chains[0].filters[0].typed_config.route_config." ROUTE ".route.cluster");
	assert_int_equal(find_message(&l, MESH_ERROR, "unknown cluster")->line, 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_unknown_cluster_refuses_what_asks_for_validation),
		cmocka_unit_test(test_each_of_weighted_clusters_is_looked_at),
		cmocka_unit_test(test_mirrors_are_looked_at_wherever_a_route_has_them_from),
		cmocka_unit_test(test_names_that_come_with_the_request_are_not_looked_at),
		cmocka_unit_test(test_the_place_is_told),
		cmocka_unit_test(test_an_inline_table_refuses_its_listener),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* validate_clusters over ADS: clusters are looked for when the routes come, and never again. */
#include "fixture.h"

#include "google/protobuf/wrappers.pb-c.h"

/* As push_one_routes(), with validate_clusters. */
static void push_validated(struct fixture *fx, const char *version, const char *name, const char *cluster)
{
	Envoy__Config__Route__V3__RouteConfiguration *config;
	Google__Protobuf__BoolValue yes = GOOGLE__PROTOBUF__BOOL_VALUE__INIT;
	struct push push, made;

	push_begin(&made, MESH_ROUTE_CONFIG);
	push_routes(&made, name, cluster);
	config = envoy__config__route__v3__route_configuration__unpack(NULL, made.any[0].value.len, made.any[0].value.data);
	assert_non_null(config);
	free(made.any[0].value.data);
	assert_null(config->validate_clusters);
	yes.value = true;
	config->validate_clusters = &yes;
	push_begin(&push, MESH_ROUTE_CONFIG);
	push_message(&push, &config->base);
	config->validate_clusters = NULL;
	envoy__config__route__v3__route_configuration__free_unpacked(config, NULL);
	assert_int_equal(push_end(fx, &push, version), 0);
}

static void test_an_unknown_cluster_is_refused_and_the_former_routes_serve(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_validated(fx, "2", "r", "gone");
	assert_sent(fx, 0, MESH_ROUTE_CONFIG, "1", "n5", "r");
	assert_refused(fx, 0, "route configuration r: virtual_hosts[0].routes[0].route.cluster: route: unknown cluster 'gone'");
	assert_int_equal(xds_scope_last_push(fx->scope)->refused, 1);
	assert_string_equal(xds_scope_mesh(fx->scope)->route_configs[0]->virtual_hosts[0].routes[0].forward.cluster, "a");
}

static void test_it_is_taken_as_soon_as_it_comes_with_its_cluster(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_validated(fx, "2", "r", "b");
	assert_refused(fx, 0, "unknown cluster 'b'");
	forget_sent(fx);
	push_clusters(fx, "3", NAMES("a", "b"));
	assert_accepted(fx, 0);
	forget_sent(fx);
	/* The cluster warms, for want of endpoints: Envoy knows it by then, and so does weft. */
	push_validated(fx, "3", "r", "b");
	assert_accepted(fx, 0);
	push_assignments(fx, "3", NAMES("a", "b"));
	assert_string_equal(xds_scope_mesh(fx->scope)->route_configs[0]->virtual_hosts[0].routes[0].forward.cluster, "b");
}

static void test_a_cluster_that_goes_later_is_not_missed(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_validated(fx, "2", "r", "a");
	assert_accepted(fx, 0);
	forget_sent(fx);
	push_clusters(fx, "3", NAMES("b"));
	assert_accepted(fx, 0);
	forget_sent(fx);
	/* The same bytes again: nothing is looked at. */
	push_validated(fx, "3", "r", "a");
	assert_accepted(fx, 0);
	assert_int_equal(xds_scope_last_push(fx->scope)->unchanged, 1);
	assert_int_equal(xds_scope_mesh(fx->scope)->route_config_count, 1);
}

static void test_a_first_refusal_ends_the_wait_of_the_listener(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(xds_scope_opened(fx->scope, fx->now_ms), 0);
	push_clusters(fx, "1", NAMES("a"));
	push_assignments(fx, "1", NAMES("a"));
	push_one_listener(fx, "1", "r");
	assert_false(xds_scope_is_ready(fx->scope));
	push_validated(fx, "1", "r", "gone");
	assert_true(xds_scope_is_ready(fx->scope));
	assert_int_equal(xds_scope_mesh(fx->scope)->listener_count, 1);
	assert_int_equal(xds_scope_mesh(fx->scope)->route_config_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_an_unknown_cluster_is_refused_and_the_former_routes_serve, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_it_is_taken_as_soon_as_it_comes_with_its_cluster, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_cluster_that_goes_later_is_not_missed, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_first_refusal_ends_the_wait_of_the_listener, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

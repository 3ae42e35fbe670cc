/* SPDX-License-Identifier: Apache-2.0 */
/* One resource that never comes, or that is refused when it comes first: the rest of the scope serves. */
#include "fixture.h"

static void pass(struct fixture *fx, uint64_t ms)
{
	fx->now_ms += ms;
	assert_int_equal(xds_scope_tick(fx->scope, fx->now_ms), 0);
}

static void assert_serves(const struct fixture *fx)
{
	assert_true(xds_scope_is_ready(fx->scope));
	assert_true(xds_scope_is_confirmed(fx->scope));
}

/* Not before the time is over, and then at once. */
static void assert_serves_after_warming(struct fixture *fx)
{
	pass(fx, XDS_WARMING_MS - 1);
	assert_false(xds_scope_is_ready(fx->scope));
	pass(fx, 1);
	assert_serves(fx);
	assert_int_equal(fx->published, 1);
}

static void push_two_listeners(struct fixture *fx, const char *version)
{
	struct push push;

	push_begin(&push, MESH_LISTENER);
	push_listener(&push, "l", "r");
	push_listener(&push, "m", "s");
	assert_int_equal(push_end(fx, &push, version), 0);
}

/* A virtual host without a domain, which Envoy refuses. */
static void push_bad_routes(struct push *push, const char *name)
{
	Envoy__Config__Route__V3__RouteConfiguration config = ENVOY__CONFIG__ROUTE__V3__ROUTE_CONFIGURATION__INIT;
	Envoy__Config__Route__V3__VirtualHost host = ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__INIT, *hosts[] = { &host };

	config.name = (char *)name;
	host.name = (char *)"h";
	config.n_virtual_hosts = 1;
	config.virtual_hosts = hosts;
	push_message(push, &config.base);
}

static void test_endpoints_that_never_come_hold_the_scope_up_for_15_s(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(xds_scope_opened(fx->scope, fx->now_ms), 0);
	push_clusters(fx, "1", NAMES("a", "b"));
	push_assignments(fx, "1", NAMES("a"));
	push_one_listener(fx, "1", "r");
	push_one_routes(fx, "1", "r", "a");
	assert_serves_after_warming(fx);
	assert_non_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "b"));
	/* They come after all. */
	push_assignments(fx, "2", NAMES("b"));
	assert_non_null(mesh_find_load_assignment(xds_scope_mesh(fx->scope), "b"));
	assert_int_equal(fx->published, 2);
	assert_serves(fx);
}

static void test_routes_that_never_come_hold_the_scope_up_for_15_s(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(xds_scope_opened(fx->scope, fx->now_ms), 0);
	push_clusters(fx, "1", NAMES("a"));
	push_assignments(fx, "1", NAMES("a"));
	push_two_listeners(fx, "1");
	push_one_routes(fx, "1", "r", "a");
	assert_serves_after_warming(fx);
	assert_non_null(mesh_find_listener(xds_scope_mesh(fx->scope), "m"));
	push_one_routes(fx, "2", "s", "a");
	assert_non_null(mesh_find_route_config(xds_scope_mesh(fx->scope), "s"));
	assert_serves(fx);
}

static void test_routes_that_come_late_wait_for_their_cluster_from_then_on(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_two_listeners(fx, "2");
	pass(fx, XDS_WARMING_MS);
	push_clusters(fx, "3", NAMES("a", "b"));
	push_one_routes(fx, "3", "s", "b");
	pass(fx, XDS_WARMING_MS - 1);
	assert_null(mesh_find_route_config(xds_scope_mesh(fx->scope), "s"));
	push_assignments(fx, "3", NAMES("b"));
	assert_non_null(mesh_find_route_config(xds_scope_mesh(fx->scope), "s"));
}

static void test_routes_refused_at_first_hold_nothing_up(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	assert_int_equal(xds_scope_opened(fx->scope, fx->now_ms), 0);
	push_clusters(fx, "1", NAMES("a"));
	push_assignments(fx, "1", NAMES("a"));
	push_two_listeners(fx, "1");
	forget_sent(fx);
	push_begin(&push, MESH_ROUTE_CONFIG);
	push_routes(&push, "r", "a");
	push_bad_routes(&push, "s");
	assert_int_equal(push_end(fx, &push, "1"), 0);
	assert_refused(fx, 0, "s:");
	assert_serves(fx);
	assert_non_null(mesh_find_listener(xds_scope_mesh(fx->scope), "m"));
	push_begin(&push, MESH_ROUTE_CONFIG);
	push_routes(&push, "r", "a");
	push_routes(&push, "s", "a");
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_non_null(mesh_find_route_config(xds_scope_mesh(fx->scope), "s"));
	assert_serves(fx);
}

static void test_endpoints_refused_at_first_hold_nothing_up(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	assert_int_equal(xds_scope_opened(fx->scope, fx->now_ms), 0);
	push_clusters(fx, "1", NAMES("a", "b"));
	forget_sent(fx);
	push_begin(&push, MESH_LOAD_ASSIGNMENT);
	push_assignment(&push, "a", "10.1.0.1");
	push_assignment(&push, "b", "");
	assert_int_equal(push_end(fx, &push, "1"), 0);
	assert_refused(fx, 0, "b:");
	push_one_listener(fx, "1", "r");
	push_one_routes(fx, "1", "r", "a");
	assert_serves(fx);
	assert_non_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "b"));
}

static void test_endpoints_are_gathered_while_routes_never_come(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_two_listeners(fx, "2");
	pass(fx, XDS_WARMING_MS);
	assert_serves(fx);
	xds_scope_gather(fx->scope);
	push_addresses(fx, "3", "a", "10.1.0.2");
	assert_true(xds_scope_has_gathered(fx->scope));
	assert_int_equal(xds_scope_flush(fx->scope, fx->now_ms), 0);
}

static void test_what_was_kept_of_it_serves_without_a_server(void **state)
{
	struct fixture *fx = *state, other;

	begin_serving(fx);
	push_two_listeners(fx, "2");
	pass(fx, XDS_WARMING_MS);
	assert_non_null(mesh_find_listener(xds_scope_mesh(fx->scope), "m"));
	begin_with_what_was_kept(fx, &other);
	pass(&other, XDS_WARMING_MS);
	assert_true(xds_scope_is_ready(other.scope));
	assert_int_equal(other.published, 1);
	fixture_release(&other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_endpoints_that_never_come_hold_the_scope_up_for_15_s),
		TEST(test_routes_that_never_come_hold_the_scope_up_for_15_s),
		TEST(test_routes_that_come_late_wait_for_their_cluster_from_then_on),
		TEST(test_routes_refused_at_first_hold_nothing_up),
		TEST(test_endpoints_refused_at_first_hold_nothing_up),
		TEST(test_endpoints_are_gathered_while_routes_never_come),
		TEST(test_what_was_kept_of_it_serves_without_a_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine: what it asks for, what it answers, what it lets serve. */
#include "fixture.h"

#include <jansson.h>

static const char *endpoint_of(const struct fixture *fx, const char *name)
{
	const struct mesh_load_assignment *assignment = mesh_find_load_assignment(xds_scope_mesh(fx->scope), name);

	return assignment ? assignment->localities[0].endpoints[0].address.text : NULL;
}

static const char *cluster_of_routes(const struct fixture *fx, const char *name)
{
	const struct mesh_route_config *config = mesh_find_route_config(xds_scope_mesh(fx->scope), name);

	return config ? config->virtual_hosts[0].routes[0].forward.cluster : NULL;
}

/* ---- subscriptions ----------------------------------------------------------------------------------------------------------------- */

static void test_a_stream_begins_with_clusters_and_listeners_and_the_node_once(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(xds_scope_opened(fx->scope, fx->now_ms), 0);
	assert_int_equal(fx->sent_count, 2);
	assert_sent(fx, 0, MESH_CLUSTER, "", "", "");
	assert_sent(fx, 1, MESH_LISTENER, "", "", "");
	assert_string_equal(fx->sent[0]->node->id, "node");
	assert_null(fx->sent[1]->node);
}

static void test_clusters_demand_assignments_and_listeners_demand_routes(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(xds_scope_opened(fx->scope, fx->now_ms), 0);
	forget_sent(fx);
	push_clusters(fx, "1", NAMES("b", "a"));
	assert_int_equal(fx->sent_count, 2);
	assert_sent(fx, 0, MESH_CLUSTER, "1", "n1", "");
	assert_accepted(fx, 0);
	assert_sent(fx, 1, MESH_LOAD_ASSIGNMENT, "", "", "a b");
	push_one_listener(fx, "1", "r");
	assert_int_equal(fx->sent_count, 4);
	assert_sent(fx, 2, MESH_LISTENER, "1", "n2", "");
	assert_sent(fx, 3, MESH_ROUTE_CONFIG, "", "", "r");
}

static void test_names_change_with_the_latest_nonce(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_clusters(fx, "2", NAMES("a", "b"));
	assert_sent(fx, 0, MESH_CLUSTER, "2", "n5", "");
	assert_sent(fx, 1, MESH_LOAD_ASSIGNMENT, "1", "n2", "a b");
	/* The server had pushed before it saw that: it drops the request, whose nonce is old, and this answer brings the names again. */
	push_assignments(fx, "2", NAMES("a"));
	assert_int_equal(fx->sent_count, 3);
	assert_sent(fx, 2, MESH_LOAD_ASSIGNMENT, "2", "n6", "a b");
}

static void test_a_subscription_without_names_ends_and_is_never_acked(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_clusters(fx, "2", NAMES(NULL));
	assert_int_equal(fx->sent_count, 2);
	assert_sent(fx, 1, MESH_LOAD_ASSIGNMENT, "1", "n2", "");
	forget_sent(fx);
	/* Late: it was on its way. */
	push_assignments(fx, "2", NAMES("a"));
	assert_int_equal(fx->sent_count, 0);
	assert_false(xds_scope_last_push(fx->scope)->is_answered);
	/* The server has forgotten it all: this begins anew. */
	push_clusters(fx, "3", NAMES("b"));
	assert_sent(fx, 1, MESH_LOAD_ASSIGNMENT, "1", "", "b");
}

static void test_a_new_stream_asks_for_everything_without_a_nonce(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	xds_scope_closed(fx->scope);
	assert_int_equal(xds_scope_opened(fx->scope, fx->now_ms), 0);
	assert_int_equal(fx->sent_count, 4);
	assert_sent(fx, 0, MESH_CLUSTER, "1", "", "");
	assert_sent(fx, 1, MESH_LOAD_ASSIGNMENT, "1", "", "a");
	assert_sent(fx, 2, MESH_LISTENER, "1", "", "");
	assert_sent(fx, 3, MESH_ROUTE_CONFIG, "1", "", "r");
	assert_non_null(fx->sent[0]->node);
	assert_non_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "a"));
}

static void test_a_name_without_an_answer_is_asked_for_again_once(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_clusters(fx, "2", NAMES("a", "b"));
	forget_sent(fx);
	fx->now_ms += XDS_ASK_AGAIN_MS - 1;
	assert_int_equal(xds_scope_tick(fx->scope, fx->now_ms), 0);
	assert_int_equal(fx->sent_count, 0);
	fx->now_ms += 1;
	assert_int_equal(xds_scope_tick(fx->scope, fx->now_ms), 0);
	assert_int_equal(fx->sent_count, 1);
	assert_sent(fx, 0, MESH_LOAD_ASSIGNMENT, "", "", "a b");
	fx->now_ms += 1000;
	assert_int_equal(xds_scope_tick(fx->scope, fx->now_ms), 0);
	assert_int_equal(fx->sent_count, 1);
}

/* ---- answers ----------------------------------------------------------------------------------------------------------------------- */

static void test_a_refused_resource_is_named_and_the_good_ones_are_taken(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	begin_serving(fx);
	push_begin(&push, MESH_CLUSTER);
	push_cluster(&push, "a", 2000);
	push_bad_cluster(&push, "bad");
	push_cluster(&push, "b", 1000);
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_sent(fx, 0, MESH_CLUSTER, "1", "n5", "");
	assert_refused(fx, 0, "cluster bad: connect_timeout: ");
	assert_sent(fx, 1, MESH_LOAD_ASSIGNMENT, "1", "n2", "a b");
	assert_int_equal(mesh_find_cluster(xds_scope_mesh(fx->scope), "a")->connect_timeout_ms, 2000);
	/* It says so each time, and only decodes it once. */
	forget_sent(fx);
	push_begin(&push, MESH_CLUSTER);
	push_bad_cluster(&push, "bad");
	push_cluster(&push, "a", 2000);
	assert_int_equal(push_end(fx, &push, "3"), 0);
	assert_refused(fx, 0, "cluster bad: ");
	assert_string_equal(fx->sent[0]->version_info, "1");
}

static void test_a_refused_change_leaves_the_former_version(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	begin_serving(fx);
	push_begin(&push, MESH_CLUSTER);
	push_bad_cluster(&push, "a");
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_refused(fx, 0, "cluster a: ");
	assert_int_equal(mesh_find_cluster(xds_scope_mesh(fx->scope), "a")->connect_timeout_ms, 1000);
	assert_string_equal(endpoint_of(fx, "a"), "10.1.0.1");
	/* Back to what it was: nothing had changed. */
	push_clusters(fx, "3", NAMES("a"));
	assert_sent(fx, 1, MESH_CLUSTER, "3", "n6", "");
	assert_accepted(fx, 1);
	assert_int_equal(xds_scope_last_push(fx->scope)->unchanged, 1);
}

static void test_bytes_that_are_no_message_refuse_the_whole_push(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	begin_serving(fx);
	push_begin(&push, MESH_CLUSTER);
	push_cluster(&push, "a", 2000);
	push_bytes(&push, "\x0a\x01z\x12\xff", 5);
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_refused(fx, 0, "cluster z: broken envoy.config.cluster.v3.Cluster");
	assert_int_equal(mesh_find_cluster(xds_scope_mesh(fx->scope), "a")->connect_timeout_ms, 1000);
}

static void test_a_resource_of_another_type_refuses_the_whole_push(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	begin_serving(fx);
	push_begin(&push, MESH_CLUSTER);
	push_cluster(&push, "a", 2000);
	push_cluster(&push, "b", 2000);
	push.any[1].type_url = (char *)mesh_kind_type_url(MESH_LISTENER);
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_refused(fx, 0, "a resource is of type type.googleapis.com/envoy.config.listener.v3.Listener");
	assert_int_equal(mesh_find_cluster(xds_scope_mesh(fx->scope), "a")->connect_timeout_ms, 1000);
}

/* A string of protobuf that isn't UTF-8 would end the stream at some servers. */
static void test_a_refusal_is_told_in_utf_8_whatever_came(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	begin_serving(fx);
	push_begin(&push, MESH_CLUSTER);
	push_cluster(&push, "a", 2000);
	push.any[0].type_url = (char *)"of\xff\xe4\xb8";
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_refused(fx, 0, "a resource is of type of???");
}

static void test_the_first_of_two_with_one_name_counts(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	begin_serving(fx);
	push_begin(&push, MESH_CLUSTER);
	push_cluster(&push, "a", 2000);
	push_cluster(&push, "a", 3000);
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_refused(fx, 0, "cluster a: the push has two of that name");
	assert_int_equal(mesh_find_cluster(xds_scope_mesh(fx->scope), "a")->connect_timeout_ms, 2000);
}

static void test_what_cannot_be_published_is_refused_and_tried_with_the_next_push(void **state)
{
	struct fixture *fx = *state;
	size_t published;

	begin_serving(fx);
	published = fx->published;
	fx->publish_error = -E2BIG;
	push_one_routes(fx, "2", "r", "elsewhere");
	assert_refused(fx, 0, "it can't be published: no room");
	assert_string_equal(fx->sent[0]->version_info, "1");
	fx->publish_error = 0;
	push_one_listener(fx, "3", "r");
	assert_accepted(fx, 1);
	assert_int_equal(fx->published, published + 1);
}

static void test_no_response_is_an_error_and_an_unknown_type_is_not(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	begin_serving(fx);
	assert_int_equal(xds_scope_response(fx->scope, "\xff\xff", 2, fx->now_ms), -EBADMSG);
	push_begin(&push, MESH_CLUSTER);
	push.response.type_url = (char *)"type.googleapis.com/istio.networking.nds.v1.NameTable";
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_int_equal(fx->sent_count, 0);
}

/* ---- what serves ------------------------------------------------------------------------------------------------------------------- */

static void test_nothing_is_published_before_all_of_it_is_there(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(xds_scope_opened(fx->scope, fx->now_ms), 0);
	push_clusters(fx, "1", NAMES("a"));
	push_one_listener(fx, "1", "r");
	push_one_routes(fx, "1", "r", "a");
	assert_int_equal(fx->published, 0);
	assert_false(xds_scope_is_ready(fx->scope));
	push_assignments(fx, "1", NAMES("a"));
	assert_int_equal(fx->published, 1);
	assert_true(xds_scope_is_ready(fx->scope));
}

static void test_an_unchanged_push_publishes_nothing(void **state)
{
	struct fixture *fx = *state;
	struct xds_store_stats before, after;
	size_t published;

	begin_serving(fx);
	published = fx->published;
	xds_store_stats(fx->store, &before);
	push_clusters(fx, "2", NAMES("a"));
	push_assignments(fx, "2", NAMES("a"));
	push_one_listener(fx, "2", "r");
	push_one_routes(fx, "2", "r", "a");
	xds_store_stats(fx->store, &after);
	assert_int_equal(fx->published, published);
	assert_int_equal(after.decoded, before.decoded);
	assert_int_equal(fx->sent_count, 4);
}

static void test_a_new_cluster_warms_and_routes_to_it_wait(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_clusters(fx, "2", NAMES("a", "b"));
	push_one_listener(fx, "2", "r");
	push_one_routes(fx, "2", "r", "b");
	assert_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "b"));
	assert_string_equal(cluster_of_routes(fx, "r"), "a");
	push_assignments(fx, "2", NAMES("b"));
	assert_non_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "b"));
	assert_string_equal(cluster_of_routes(fx, "r"), "b");
}

static void test_warming_has_an_end(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_clusters(fx, "2", NAMES("a", "b"));
	push_one_routes(fx, "2", "r", "b");
	fx->now_ms += XDS_WARMING_MS;
	assert_int_equal(xds_scope_tick(fx->scope, fx->now_ms), 0);
	assert_non_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "b"));
	assert_string_equal(cluster_of_routes(fx, "r"), "b");
}

static void test_a_changed_cluster_keeps_its_endpoints_and_serves_at_once(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	begin_serving(fx);
	push_begin(&push, MESH_CLUSTER);
	push_cluster(&push, "a", 7000);
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_int_equal(mesh_find_cluster(xds_scope_mesh(fx->scope), "a")->connect_timeout_ms, 7000);
	assert_string_equal(endpoint_of(fx, "a"), "10.1.0.1");
}

static void test_a_new_listener_waits_for_its_routes(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	begin_serving(fx);
	push_begin(&push, MESH_LISTENER);
	push_listener(&push, "l", "r");
	push_listener(&push, "m", "s");
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_sent(fx, 1, MESH_ROUTE_CONFIG, "1", "n4", "r s");
	assert_null(mesh_find_listener(xds_scope_mesh(fx->scope), "m"));
	push_one_routes(fx, "2", "s", "a");
	assert_non_null(mesh_find_listener(xds_scope_mesh(fx->scope), "m"));
	assert_non_null(mesh_find_listener(xds_scope_mesh(fx->scope), "l"));
}

static void test_a_listener_that_changes_its_routes_keeps_the_former_until_they_come(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_one_listener(fx, "2", "s");
	assert_sent(fx, 1, MESH_ROUTE_CONFIG, "1", "n4", "s");
	assert_string_equal(mesh_find_listener(xds_scope_mesh(fx->scope), "l")->filter_chains[0].http->route_config_name, "r");
	assert_non_null(mesh_find_route_config(xds_scope_mesh(fx->scope), "r"));
	push_one_routes(fx, "2", "s", "a");
	assert_string_equal(mesh_find_listener(xds_scope_mesh(fx->scope), "l")->filter_chains[0].http->route_config_name, "s");
	assert_null(mesh_find_route_config(xds_scope_mesh(fx->scope), "r"));
}

static void test_a_removed_cluster_serves_until_its_routes_are_pushed(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_clusters(fx, "2", NAMES("b"));
	assert_non_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "a"));
	assert_string_equal(endpoint_of(fx, "a"), "10.1.0.1");
	push_one_listener(fx, "2", "r");
	assert_non_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "a"));
	push_one_routes(fx, "2", "r", "c");
	assert_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "a"));
	assert_null(mesh_find_load_assignment(xds_scope_mesh(fx->scope), "a"));
}

/* Routes that go on naming it get 503, as with Envoy; but not before they could have changed. */
static void test_a_removed_cluster_that_routes_go_on_naming_goes_with_the_push(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_clusters(fx, "2", NAMES("b"));
	push_one_listener(fx, "2", "r");
	push_one_routes(fx, "2", "r", "a");
	assert_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "a"));
	assert_string_equal(cluster_of_routes(fx, "r"), "a");
}

static void test_a_removed_cluster_is_not_kept_for_ever(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_clusters(fx, "2", NAMES("b"));
	fx->now_ms += XDS_REMOVED_MS;
	assert_int_equal(xds_scope_tick(fx->scope, fx->now_ms), 0);
	assert_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "a"));
}

static void test_routes_leave_a_cluster_before_it_goes(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	strbuf_truncate(&fx->serving, 0);
	push_clusters(fx, "2", NAMES("b"));
	push_assignments(fx, "2", NAMES("b"));
	push_one_listener(fx, "2", "r");
	push_one_routes(fx, "2", "r", "b");
	assert_string_equal(strbuf_text(&fx->serving), "a b -> a; a b -> b; b -> b");
}

static void test_endpoints_of_a_cluster_that_is_gone_are_ignored(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	begin_serving(fx);
	push_clusters(fx, "2", NAMES("b"));
	push_begin(&push, MESH_LOAD_ASSIGNMENT);
	push_assignment(&push, "a", "10.9.9.9");
	push_assignment(&push, "b", "10.1.0.2");
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_int_equal(xds_scope_last_push(fx->scope)->ignored, 1);
	assert_string_equal(endpoint_of(fx, "a"), "10.1.0.1");
	assert_string_equal(endpoint_of(fx, "b"), "10.1.0.2");
	push_one_listener(fx, "2", "r");
	push_one_routes(fx, "2", "r", "b");
	assert_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "a"));
	assert_null(endpoint_of(fx, "a"));
}

static void test_routes_that_no_listener_names_are_ignored(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	push_one_routes(fx, "2", "other", "a");
	assert_int_equal(xds_scope_last_push(fx->scope)->ignored, 1);
	assert_null(mesh_find_route_config(xds_scope_mesh(fx->scope), "other"));
	assert_sent(fx, 0, MESH_ROUTE_CONFIG, "2", "n5", "r");
}

static void test_endpoints_that_the_push_lacks_are_unchanged(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	assert_int_equal(xds_scope_opened(fx->scope, fx->now_ms), 0);
	push_clusters(fx, "1", NAMES("a", "b"));
	push_assignments(fx, "1", NAMES("a", "b"));
	push_begin(&push, MESH_LOAD_ASSIGNMENT);
	push_assignment(&push, "b", "10.1.0.7");
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_string_equal(endpoint_of(fx, "a"), "10.1.0.1");
	assert_string_equal(endpoint_of(fx, "b"), "10.1.0.7");
}

static void test_a_listener_that_is_gone_goes_at_once_with_its_routes(void **state)
{
	struct fixture *fx = *state;
	struct push push;

	begin_serving(fx);
	push_begin(&push, MESH_LISTENER);
	assert_int_equal(push_end(fx, &push, "2"), 0);
	assert_null(mesh_find_listener(xds_scope_mesh(fx->scope), "l"));
	assert_null(mesh_find_route_config(xds_scope_mesh(fx->scope), "r"));
	assert_sent(fx, 1, MESH_ROUTE_CONFIG, "1", "n4", "");
}

/* ---- several scopes, and a cache --------------------------------------------------------------------------------------------------- */

static void test_endpoints_that_lie_ready_are_published_and_answered_once(void **state)
{
	struct fixture *fx = *state;
	size_t published;

	begin_serving(fx);
	xds_scope_gather(fx->scope);
	published = fx->published;
	push_addresses(fx, "2", "a", "10.1.0.2");
	push_addresses(fx, "3", "a", "10.1.0.3");
	assert_int_equal(fx->published, published);
	assert_int_equal(fx->sent_count, 0);
	assert_int_equal(xds_scope_flush(fx->scope, fx->now_ms), 0);
	assert_int_equal(fx->published, published + 1);
	assert_int_equal(fx->sent_count, 1);
	assert_sent(fx, 0, MESH_LOAD_ASSIGNMENT, "3", "n6", "a");
	assert_accepted(fx, 0);
	assert_int_equal(xds_scope_flush(fx->scope, fx->now_ms), 0);
	assert_int_equal(fx->sent_count, 1);
}

static void test_what_comes_after_gathered_endpoints_comes_after_them(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	xds_scope_gather(fx->scope);
	push_addresses(fx, "2", "a", "10.1.0.2");
	push_clusters(fx, "3", NAMES("a", "b"));
	assert_sent(fx, 0, MESH_LOAD_ASSIGNMENT, "2", "n5", "a");
	assert_sent(fx, 1, MESH_CLUSTER, "3", "n6", "");
}

static void test_refused_endpoints_are_answered_at_once_with_those_before(void **state)
{
	struct fixture *fx = *state;
	size_t published;
	struct push push;

	begin_serving(fx);
	xds_scope_gather(fx->scope);
	published = fx->published;
	push_addresses(fx, "2", "a", "10.1.0.2");
	push_begin(&push, MESH_LOAD_ASSIGNMENT);
	push_assignment(&push, "a", "10.1.0.3");
	push_assignment(&push, "a", "10.1.0.4");
	assert_int_equal(push_end(fx, &push, "3"), 0);
	assert_int_equal(fx->published, published + 1);
	assert_sent(fx, 0, MESH_LOAD_ASSIGNMENT, "1", "n6", "a");
	assert_refused(fx, 0, "two of that name");
}

static void test_gathered_endpoints_that_cannot_be_published_are_refused(void **state)
{
	struct fixture *fx = *state;

	begin_serving(fx);
	xds_scope_gather(fx->scope);
	fx->publish_error = -E2BIG;
	push_addresses(fx, "2", "a", "10.1.0.2");
	assert_int_equal(xds_scope_flush(fx->scope, fx->now_ms), 0);
	assert_sent(fx, 0, MESH_LOAD_ASSIGNMENT, "1", "n5", "a");
	assert_refused(fx, 0, "it can't be published: no room");
}

static void test_a_stream_that_ends_leaves_gathered_endpoints_to_be_published(void **state)
{
	struct fixture *fx = *state;
	size_t published;

	begin_serving(fx);
	xds_scope_gather(fx->scope);
	published = fx->published;
	push_addresses(fx, "2", "a", "10.1.0.2");
	xds_scope_closed(fx->scope);
	assert_int_equal(xds_scope_tick(fx->scope, fx->now_ms), 0);
	assert_int_equal(fx->published, published + 1);
	assert_int_equal(fx->sent_count, 0);
}

static void test_scopes_share_what_is_equal(void **state)
{
	static const struct xds_scope_callbacks callbacks = { fixture_on_send, fixture_on_publish };
	struct fixture *fx = *state, other = { .store = fx->store, .now_ms = 1000 };
	struct xds_store_stats before, after;

	begin_serving(fx);
	xds_store_stats(fx->store, &before);
	assert_int_equal(xds_scope_new(fx->store, "other", NODE, sizeof(NODE) - 1, &callbacks, &other, &other.scope), 0);
	begin_serving(&other);
	xds_store_stats(fx->store, &after);
	assert_int_equal(before.resources, 4);
	assert_int_equal(after.resources, 4);
	assert_int_equal(after.decoded, before.decoded);
	assert_ptr_equal(mesh_find_cluster(xds_scope_mesh(other.scope), "a"), mesh_find_cluster(xds_scope_mesh(fx->scope), "a"));
	/* What one changes is the other's no more. */
	push_one_routes(&other, "2", "r", "b");
	assert_string_equal(cluster_of_routes(fx, "r"), "a");
	assert_string_equal(cluster_of_routes(&other, "r"), "b");
	fixture_release(&other);
	assert_non_null(mesh_find_cluster(xds_scope_mesh(fx->scope), "a"));
}

static void test_what_was_kept_serves_before_there_is_a_stream(void **state)
{
	struct fixture *fx = *state, other;

	begin_serving(fx);
	begin_with_what_was_kept(fx, &other);
	assert_true(xds_scope_is_ready(other.scope));
	assert_int_equal(other.published, 1);
	assert_string_equal(endpoint_of(&other, "a"), "10.1.0.1");
	/* Then the server comes, and has lost a cluster meanwhile. */
	assert_int_equal(xds_scope_opened(other.scope, 1000), 0);
	assert_sent(&other, 1, MESH_LOAD_ASSIGNMENT, "", "", "a");
	push_clusters(&other, "1", NAMES("b"));
	push_one_listener(&other, "1", "r");
	push_assignments(&other, "1", NAMES("b"));
	push_one_routes(&other, "1", "r", "b");
	assert_null(mesh_find_cluster(xds_scope_mesh(other.scope), "a"));
	assert_string_equal(cluster_of_routes(&other, "r"), "b");
	fixture_release(&other);
}

/* ---- for people --------------------------------------------------------------------------------------------------------------------- */

static void test_a_config_dump_holds_what_serves_and_what_waits(void **state)
{
	struct fixture *fx = *state;
	struct mesh_report report = MESH_REPORT_INIT;
	struct mesh *mesh = NULL;
	json_t *dump, *clusters;
	char *text;

	begin_serving(fx);
	push_clusters(fx, "2", NAMES("a", "b"));
	dump = xds_scope_config_dump(fx->scope);
	text = json_dumps(dump, 0);
	assert_non_null(text);
	clusters = json_array_get(json_object_get(dump, "configs"), 0);
	assert_string_equal(json_string_value(json_object_get(clusters, "@type")), "type.googleapis.com/envoy.admin.v3.ClustersConfigDump");
	assert_string_equal(json_string_value(json_object_get(clusters, "version_info")), "2");
	assert_int_equal(json_array_size(json_object_get(clusters, "dynamic_active_clusters")), 1);
	assert_int_equal(json_array_size(json_object_get(clusters, "dynamic_warming_clusters")), 1);
	assert_int_equal(mesh_load_text("dump.json", text, strlen(text), &mesh, &report), 0);
	assert_int_equal(report.error_count, 0);
	assert_non_null(mesh_find_cluster(mesh, "a"));
	assert_null(mesh_find_cluster(mesh, "b"));
	assert_non_null(mesh_find_load_assignment(mesh, "a"));
	assert_non_null(mesh_find_listener(mesh, "l"));
	assert_non_null(mesh_find_route_config(mesh, "r"));
	mesh_free(&mesh);
	mesh_report_release(&report);
	free(text);
	json_decref(dump);
}

static void test_what_was_refused_is_told_until_it_is_good(void **state)
{
	struct fixture *fx = *state;
	struct push push;
	json_t *told, *clusters;

	begin_serving(fx);
	push_begin(&push, MESH_CLUSTER);
	push_bad_cluster(&push, "a");
	assert_int_equal(push_end(fx, &push, "2"), 0);
	told = xds_scope_describe(fx->scope, fx->now_ms + 1500);
	clusters = json_array_get(json_object_get(told, "types"), 0);
	assert_string_equal(json_string_value(json_object_get(clusters, "last_answer")), "NACK");
	assert_string_equal(json_string_value(json_object_get(clusters, "version")), "1");
	assert_string_equal(json_string_value(json_object_get(clusters, "received")), "2");
	assert_int_equal(json_integer_value(json_object_get(clusters, "last_nack_ago_ms")), 1500);
	assert_string_equal(json_string_value(json_object_get(json_object_get(clusters, "waiting"), "a")), "refused, its former version serves");
	json_decref(told);
	push_clusters(fx, "3", NAMES("a"));
	told = xds_scope_describe(fx->scope, fx->now_ms);
	clusters = json_array_get(json_object_get(told, "types"), 0);
	assert_string_equal(json_string_value(json_object_get(clusters, "last_answer")), "ACK");
	assert_null(json_object_get(clusters, "waiting"));
	json_decref(told);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_stream_begins_with_clusters_and_listeners_and_the_node_once),
		TEST(test_clusters_demand_assignments_and_listeners_demand_routes),
		TEST(test_names_change_with_the_latest_nonce),
		TEST(test_a_subscription_without_names_ends_and_is_never_acked),
		TEST(test_a_new_stream_asks_for_everything_without_a_nonce),
		TEST(test_a_name_without_an_answer_is_asked_for_again_once),
		TEST(test_a_refused_resource_is_named_and_the_good_ones_are_taken),
		TEST(test_a_refused_change_leaves_the_former_version),
		TEST(test_bytes_that_are_no_message_refuse_the_whole_push),
		TEST(test_a_resource_of_another_type_refuses_the_whole_push),
		TEST(test_a_refusal_is_told_in_utf_8_whatever_came),
		TEST(test_the_first_of_two_with_one_name_counts),
		TEST(test_what_cannot_be_published_is_refused_and_tried_with_the_next_push),
		TEST(test_no_response_is_an_error_and_an_unknown_type_is_not),
		TEST(test_nothing_is_published_before_all_of_it_is_there),
		TEST(test_an_unchanged_push_publishes_nothing),
		TEST(test_a_new_cluster_warms_and_routes_to_it_wait),
		TEST(test_warming_has_an_end),
		TEST(test_a_changed_cluster_keeps_its_endpoints_and_serves_at_once),
		TEST(test_a_new_listener_waits_for_its_routes),
		TEST(test_a_listener_that_changes_its_routes_keeps_the_former_until_they_come),
		TEST(test_a_removed_cluster_serves_until_its_routes_are_pushed),
		TEST(test_a_removed_cluster_that_routes_go_on_naming_goes_with_the_push),
		TEST(test_a_removed_cluster_is_not_kept_for_ever),
		TEST(test_routes_leave_a_cluster_before_it_goes),
		TEST(test_endpoints_of_a_cluster_that_is_gone_are_ignored),
		TEST(test_routes_that_no_listener_names_are_ignored),
		TEST(test_endpoints_that_the_push_lacks_are_unchanged),
		TEST(test_a_listener_that_is_gone_goes_at_once_with_its_routes),
		TEST(test_endpoints_that_lie_ready_are_published_and_answered_once),
		TEST(test_what_comes_after_gathered_endpoints_comes_after_them),
		TEST(test_refused_endpoints_are_answered_at_once_with_those_before),
		TEST(test_gathered_endpoints_that_cannot_be_published_are_refused),
		TEST(test_a_stream_that_ends_leaves_gathered_endpoints_to_be_published),
		TEST(test_scopes_share_what_is_equal),
		TEST(test_what_was_kept_serves_before_there_is_a_stream),
		TEST(test_a_config_dump_holds_what_serves_and_what_waits),
		TEST(test_what_was_refused_is_told_until_it_is_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Listeners by address, and endpoints by policy. */
#include "engine/engine_test.h"
#include "engine/image_builder.h"
#include "weft/balance.h"

#define ANY 0
#define IP(d) ((u32)10 | (u32)(d) << 24)

static void test_a_listener_is_found_by_its_address_before_any_address(void **state)
{
	static const struct weft_listener listeners[] = {
		{.key = {IP(1), 80, 0}, .kind = WEFT_LISTENER_HTTP}, {.key = {ANY, 80, 0}, .kind = WEFT_LISTENER_PASS},
		{.key = {IP(2), 443, 0}, .kind = WEFT_LISTENER_TCP},
	};
	struct weft_image_handle image;
	struct builder b;
	weft_ref found;

	builder_init(&b, 2);
	image = build_image(&b, WEFT_IMAGE_ROUTES);
	assert_int_equal(weft_find_listener(&image, IP(1), 80, &found), -ENOENT);
	build_listeners(&b, listeners, WEFT_ARRAY_SIZE(listeners));
	assert_int_equal(weft_find_listener(&image, IP(1), 80, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_HTTP);
	assert_int_equal(weft_find_listener(&image, IP(3), 80, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_PASS);
	assert_int_equal(weft_find_listener(&image, IP(2), 443, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_TCP);
	assert_int_equal(weft_find_listener(&image, IP(1), 443, &found), -ENOENT);
	assert_null(weft_at(&image, 0));
	builder_free(&b);
}

static void test_what_no_listener_owns_falls_to_the_one_of_any_address_and_port(void **state)
{
	static const struct weft_listener listeners[] = {
		{.key = {IP(1), 80, 0}, .kind = WEFT_LISTENER_HTTP}, {.key = {ANY, 0, 0}, .kind = WEFT_LISTENER_BLOCK},
	};
	struct weft_image_handle image;
	struct builder b;
	weft_ref found;

	builder_init(&b, 1);
	image = build_image(&b, WEFT_IMAGE_ROUTES);
	build_listeners(&b, listeners, WEFT_ARRAY_SIZE(listeners));
	assert_int_equal(weft_find_listener(&image, IP(1), 80, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_HTTP);
	assert_int_equal(weft_find_listener(&image, IP(1), 81, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_BLOCK);
	builder_free(&b);
}

struct world {
	struct builder builder;
	struct weft_cluster_state clusters[8];
	struct weft_endpoint_state endpoints[8];
	struct weft_balance_state balance;
	struct weft_balance_query query;
};

static const struct weft_endpoint endpoints[] = {
	{.id = 1, .ip4_be = IP(1), .port_be = 80, .weight = 1},
	{.id = 2, .ip4_be = IP(2), .port_be = 80, .weight = 3},
	{.id = 3, .ip4_be = IP(3), .port_be = 80, .weight = 1},
};

enum { MISSING, ROUND_ROBIN, RANDOM, LEAST_REQUEST, EMPTY, HASHED, BLACK_HOLE, ORIGINAL, CLUSTERS };

static void world_open(struct world *world)
{
	weft_ref clusters[CLUSTERS] = {};

	memset(world, 0, sizeof(*world));
	builder_init(&world->builder, 2);
	clusters[ROUND_ROBIN] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_ROUND_ROBIN}, endpoints, 3);
	clusters[RANDOM] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_RANDOM}, endpoints, 3);
	clusters[LEAST_REQUEST] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_LEAST_REQUEST}, endpoints, 3);
	clusters[EMPTY] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_RANDOM}, NULL, 0);
	clusters[HASHED] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_PROXY}, endpoints, 3);
	clusters[BLACK_HOLE] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_BLACK_HOLE}, NULL, 0);
	clusters[ORIGINAL] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_ORIGINAL_DST}, NULL, 0);
	build_directory(&world->builder, clusters, CLUSTERS);
	world->balance = (struct weft_balance_state){world->clusters, 8, world->endpoints, 8};
	world->query.image = build_image(&world->builder, WEFT_IMAGE_ENDPOINTS);
	world->query.state = &world->balance;
}

static u32 pick(struct world *world, u32 cluster, u32 random)
{
	struct weft_endpoint endpoint;

	world->query.cluster_id = cluster;
	world->query.random = random;
	assert_int_equal(weft_pick_endpoint(&world->query, &endpoint), 0);
	return endpoint.id;
}

static void test_round_robin_takes_the_schedule_in_turn(void **state)
{
	struct world world;
	u32 counts[4] = {}, i;

	world_open(&world);
	assert_int_equal(pick(&world, ROUND_ROBIN, 7), 1);
	assert_int_equal(pick(&world, ROUND_ROBIN, 7), 2);
	assert_int_equal(world.clusters[ROUND_ROBIN].position, 2);
	world.clusters[ROUND_ROBIN].position = 0;
	for (i = 0; i < 50; i++)
		counts[pick(&world, ROUND_ROBIN, 0)]++;
	assert_int_equal(counts[1], 10);
	assert_int_equal(counts[2], 30);
	assert_int_equal(counts[3], 10);
	builder_free(&world.builder);
}

static void test_random_follows_the_schedule(void **state)
{
	struct world world;
	u32 counts[4] = {}, i;

	world_open(&world);
	for (i = 0; i < 1000; i++)
		counts[pick(&world, RANDOM, i * 4294967)]++;
	assert_in_range(counts[1], 199, 202);
	assert_in_range(counts[2], 598, 602);
	assert_in_range(counts[3], 198, 202);
	builder_free(&world.builder);
}

static void test_least_request_avoids_the_busier_of_two(void **state)
{
	struct world world;
	u32 counts[4] = {}, i, random = 1;

	world_open(&world);
	for (i = 0; i < 10000; i++) {
		random = random * 1664525 + 1013904223;
		counts[pick(&world, LEAST_REQUEST, random)]++;
	}
	/* all idle: as the weights say */
	assert_in_range(counts[1], 1700, 2300);
	assert_in_range(counts[2], 5600, 6400);
	memset(counts, 0, sizeof(counts));
	world.endpoints[2].active = 100;
	for (i = 0; i < 10000; i++) {
		random = random * 1664525 + 1013904223;
		counts[pick(&world, LEAST_REQUEST, random)]++;
	}
	/* only when both draws are it: 0.6 * 0.6 */
	assert_in_range(counts[2], 3200, 4000);
	/* three times the requests for three times the weight is not busier */
	memset(counts, 0, sizeof(counts));
	world.endpoints[1].active = world.endpoints[3].active = 10;
	world.endpoints[2].active = 30;
	for (i = 0; i < 10000; i++) {
		random = random * 1664525 + 1013904223;
		counts[pick(&world, LEAST_REQUEST, random)]++;
	}
	assert_in_range(counts[2], 5600, 6400);
	builder_free(&world.builder);
}

static void test_clusters_without_a_choice_say_why(void **state)
{
	struct weft_endpoint endpoint;
	struct world world;

	world_open(&world);
	world.query.cluster_id = MISSING;
	assert_int_equal(weft_pick_endpoint(&world.query, &endpoint), -ENOENT);
	world.query.cluster_id = CLUSTERS;
	assert_int_equal(weft_pick_endpoint(&world.query, &endpoint), -ENOENT);
	world.query.cluster_id = EMPTY;
	assert_int_equal(weft_pick_endpoint(&world.query, &endpoint), -EHOSTUNREACH);
	world.query.cluster_id = BLACK_HOLE;
	assert_int_equal(weft_pick_endpoint(&world.query, &endpoint), -EHOSTUNREACH);
	world.query.cluster_id = HASHED;
	assert_int_equal(weft_pick_endpoint(&world.query, &endpoint), -EOPNOTSUPP);
	world.query.cluster_id = ORIGINAL;
	assert_int_equal(weft_pick_endpoint(&world.query, &endpoint), -EOPNOTSUPP);
	builder_free(&world.builder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_listener_is_found_by_its_address_before_any_address),
		cmocka_unit_test(test_what_no_listener_owns_falls_to_the_one_of_any_address_and_port),
		cmocka_unit_test(test_round_robin_takes_the_schedule_in_turn),
		cmocka_unit_test(test_random_follows_the_schedule),
		cmocka_unit_test(test_least_request_avoids_the_busier_of_two),
		cmocka_unit_test(test_clusters_without_a_choice_say_why),
	};

	return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}

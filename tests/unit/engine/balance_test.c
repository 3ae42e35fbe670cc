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
		{.key = {WEFT_IP4(IP(1)), 80, 0}, .kind = WEFT_LISTENER_HTTP}, {.key = {WEFT_IP4(ANY), 80, 0}, .kind = WEFT_LISTENER_PASS},
		{.key = {WEFT_IP4(IP(2)), 443, 0}, .kind = WEFT_LISTENER_TCP},
	};
	struct weft_image_handle image;
	struct builder b;
	weft_ref found;

	builder_init(&b, 2);
	image = build_image(&b, WEFT_IMAGE_ROUTES);
	assert_int_equal(weft_find_listener(&image, &WEFT_IP4(IP(1)), 80, &found), -ENOENT);
	build_listeners(&b, listeners, WEFT_ARRAY_SIZE(listeners));
	assert_int_equal(weft_find_listener(&image, &WEFT_IP4(IP(1)), 80, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_HTTP);
	assert_int_equal(weft_find_listener(&image, &WEFT_IP4(IP(3)), 80, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_PASS);
	assert_int_equal(weft_find_listener(&image, &WEFT_IP4(IP(2)), 443, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_TCP);
	assert_int_equal(weft_find_listener(&image, &WEFT_IP4(IP(1)), 443, &found), -ENOENT);
	assert_null(weft_at(&image, 0));
	builder_free(&b);
}

static void test_a_listener_of_ipv6_is_none_of_ipv4(void **state)
{
	static const struct weft_address service = {{0x6900fd, 0, 0, 0x1000000}}, other = {{0x6900fd, 0, 0, 0x2000000}};
	static const struct weft_listener listeners[] = {
		{.key = {{{0x6900fd, 0, 0, 0x1000000}}, 80, 0}, .kind = WEFT_LISTENER_HTTP}, {.key = {WEFT_IP4(ANY), 80, 0}, .kind = WEFT_LISTENER_PASS},
		{.key = {{{0}}, 81, 0}, .kind = WEFT_LISTENER_TCP}, {.key = {{{0}}, 0, 0}, .kind = WEFT_LISTENER_BLOCK},
	};
	struct weft_image_handle image;
	struct builder b;
	weft_ref found;

	builder_init(&b, 1);
	image = build_image(&b, WEFT_IMAGE_ROUTES);
	build_listeners(&b, listeners, WEFT_ARRAY_SIZE(listeners));
	assert_int_equal(weft_find_listener(&image, &service, 80, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_HTTP);
	assert_int_equal(weft_find_listener(&image, &other, 81, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_TCP);
	assert_int_equal(weft_find_listener(&image, &other, 80, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_BLOCK);
	assert_int_equal(weft_find_listener(&image, &WEFT_IP4(IP(1)), 80, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_PASS);
	assert_int_equal(weft_find_listener(&image, &WEFT_IP4(IP(1)), 81, &found), -ENOENT);
	builder_free(&b);
}

static void test_what_no_listener_owns_falls_to_the_one_of_any_address_and_port(void **state)
{
	static const struct weft_listener listeners[] = {
		{.key = {WEFT_IP4(IP(1)), 80, 0}, .kind = WEFT_LISTENER_HTTP}, {.key = {WEFT_IP4(ANY), 0, 0}, .kind = WEFT_LISTENER_BLOCK},
	};
	struct weft_image_handle image;
	struct builder b;
	weft_ref found;

	builder_init(&b, 1);
	image = build_image(&b, WEFT_IMAGE_ROUTES);
	build_listeners(&b, listeners, WEFT_ARRAY_SIZE(listeners));
	assert_int_equal(weft_find_listener(&image, &WEFT_IP4(IP(1)), 80, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_HTTP);
	assert_int_equal(weft_find_listener(&image, &WEFT_IP4(IP(1)), 81, &found), 0);
	assert_int_equal(((const struct weft_listener *)weft_at(&image, found))->kind, WEFT_LISTENER_BLOCK);
	builder_free(&b);
}

struct world {
	struct builder builder;
	struct weft_cluster_state clusters[16];
	struct weft_endpoint_state endpoints[64];
	struct weft_balance_state balance;
	struct weft_balance_query query;
};

static const struct weft_endpoint endpoints[] = {
	{.id = 1, .address = WEFT_IP4(IP(1)), .port_be = 80, .weight = 1},
	{.id = 2, .address = WEFT_IP4(IP(2)), .port_be = 80, .weight = 3},
	{.id = 3, .address = WEFT_IP4(IP(3)), .port_be = 80, .weight = 1},
};

static const struct weft_endpoint equals[] = {
	{.id = 4, .address = WEFT_IP4(IP(1)), .port_be = 80, .weight = 1},
	{.id = 5, .address = WEFT_IP4(IP(2)), .port_be = 80, .weight = 1},
	{.id = 6, .address = WEFT_IP4(IP(3)), .port_be = 80, .weight = 1},
};

enum { MISSING, ROUND_ROBIN, RANDOM, LEAST_REQUEST, LEAST_OF_FIVE, LEAST_WEIGHTED, LEAST_MANY, LEAST_GROUPS, EMPTY, UNKNOWN, BLACK_HOLE, ORIGINAL, CLUSTERS };

static weft_ref least_request(struct builder *b, u8 choices, const struct weft_endpoint *members, u32 count)
{
	const struct weft_cluster cluster = {.kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_LEAST_REQUEST, .choices = choices};

	return build_cluster(b, cluster, members, count);
}

static weft_ref many(struct builder *b)
{
	struct weft_endpoint members[40] = {};
	u32 i;

	for (i = 0; i < 40; i++)
		members[i] = (struct weft_endpoint){.id = 8 + i, .address = WEFT_IP4(IP(i)), .weight = i % 4 ? 1 : 5, .flags = WEFT_ENDPOINT_WEIGHTED};
	return least_request(b, 2, members, 40);
}

static void world_open(struct world *world)
{
	struct weft_endpoint weighted[3], grouped[3];
	weft_ref clusters[CLUSTERS] = {};
	u32 i;

	memset(world, 0, sizeof(*world));
	builder_init(&world->builder, 2);
	clusters[ROUND_ROBIN] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_ROUND_ROBIN}, endpoints, 3);
	clusters[RANDOM] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_RANDOM}, endpoints, 3);
	clusters[LEAST_REQUEST] = least_request(&world->builder, 2, equals, 3);
	clusters[LEAST_OF_FIVE] = least_request(&world->builder, 5, equals, 3);
	for (i = 0; i < 3; i++) {
		weighted[i] = grouped[i] = endpoints[i];
		weighted[i].flags = WEFT_ENDPOINT_WEIGHTED;
		grouped[i].weight = i < 2 ? 1 : 3;
		grouped[i].group_first = i < 2 ? 0 : 2;
		grouped[i].group_count = i < 2 ? 2 : 1;
	}
	clusters[LEAST_WEIGHTED] = least_request(&world->builder, 2, weighted, 3);
	clusters[LEAST_MANY] = many(&world->builder);
	clusters[LEAST_GROUPS] = least_request(&world->builder, 2, grouped, 3);
	clusters[EMPTY] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_RANDOM}, NULL, 0);
	clusters[UNKNOWN] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_PROXY}, endpoints, 3);
	clusters[BLACK_HOLE] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_BLACK_HOLE}, NULL, 0);
	clusters[ORIGINAL] = build_cluster(&world->builder, (struct weft_cluster){.kind = WEFT_CLUSTER_ORIGINAL_DST}, NULL, 0);
	build_directory(&world->builder, clusters, CLUSTERS);
	world->balance = (struct weft_balance_state){world->clusters, 16, world->endpoints, 64};
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

/* How often each of 10,000 requests reaches which endpoint. */
static void spread(struct world *world, u32 cluster, u32 counts[8])
{
	u32 i, random = 1;

	memset(counts, 0, 8 * sizeof(*counts));
	for (i = 0; i < 10000; i++) {
		random = random * 1664525 + 1013904223;
		counts[pick(world, cluster, random)]++;
	}
}

static void test_least_request_avoids_the_busier_of_two(void **state)
{
	struct world world;
	u32 counts[8];

	world_open(&world);
	spread(&world, LEAST_REQUEST, counts);
	assert_in_range(counts[4], 3100, 3600);
	assert_in_range(counts[5], 3100, 3600);
	/* only when both draws are it: 1/3 * 1/3 */
	world.endpoints[4].active = 100;
	spread(&world, LEAST_REQUEST, counts);
	assert_in_range(counts[4], 1000, 1220);
	builder_free(&world.builder);
}

/* Programs and proxies count apart, and compare the sum. */
static void test_requests_in_proxies_are_load_too(void **state)
{
	struct world world;
	u32 counts[8];

	world_open(&world);
	world.endpoints[4].proxied = 60;
	world.endpoints[5].active = 50;
	spread(&world, LEAST_REQUEST, counts);
	assert_in_range(counts[4], 1000, 1220);
	assert_in_range(counts[5], 3100, 3600);
	world.endpoints[5].proxied = 20;
	spread(&world, LEAST_REQUEST, counts);
	assert_in_range(counts[4], 3100, 3600);
	assert_in_range(counts[5], 1000, 1220);
	builder_free(&world.builder);
}

static void test_least_request_compares_as_many_as_it_is_told(void **state)
{
	struct world world;
	u32 counts[8];

	world_open(&world);
	world.endpoints[4].active = 100;
	spread(&world, LEAST_OF_FIVE, counts);
	/* (1/3)^5 */
	assert_in_range(counts[4], 20, 65);
	builder_free(&world.builder);
}

/* Envoy: LeastRequestLoadBalancer::hostWeight. */
static void test_unequal_weights_are_divided_by_the_requests_in_flight(void **state)
{
	struct world world;
	u32 counts[8];

	world_open(&world);
	spread(&world, LEAST_WEIGHTED, counts);
	assert_in_range(counts[1], 1850, 2150); /* 1 : 3 : 1 */
	assert_in_range(counts[2], 5850, 6150);
	world.endpoints[2].active = 5; /* 1 : 3/6 : 1 */
	spread(&world, LEAST_WEIGHTED, counts);
	assert_in_range(counts[1], 3850, 4150);
	assert_in_range(counts[2], 1850, 2150);
	world.endpoints[1].active = 9; /* 1/10 : 3/6 : 1 */
	spread(&world, LEAST_WEIGHTED, counts);
	assert_in_range(counts[1], 540, 710);
	assert_in_range(counts[2], 2950, 3300);
	builder_free(&world.builder);
}

static void test_unequal_weights_of_many_endpoints_are_sampled(void **state)
{
	struct world world;
	u32 counts[64] = {}, i, random = 1, heavy = 0;

	world_open(&world);
	for (i = 0; i < 20000; i++) {
		random = random * 1664525 + 1013904223;
		counts[pick(&world, LEAST_MANY, random)]++;
	}
	/* 40 endpoints, every fourth of weight 5: 80 parts */
	for (i = 0; i < 40; i++)
		if (i % 4 == 0)
			heavy += counts[8 + i];
	assert_in_range(heavy, 12100, 12900); /* 50 of 80 */
	for (i = 0; i < 40; i++)
		if (i % 4 == 0)
			world.endpoints[8 + i].active = 9;
	memset(counts, 0, sizeof(counts));
	for (heavy = 0, i = 0; i < 20000; i++) {
		random = random * 1664525 + 1013904223;
		counts[pick(&world, LEAST_MANY, random)]++;
	}
	for (i = 0; i < 40; i++)
		if (i % 4 == 0)
			heavy += counts[8 + i];
	assert_in_range(heavy, 2600, 3500); /* 5 of 35: 2857; a sample of 16 comes near it */
	builder_free(&world.builder);
}

/* What one group is given it keeps, however busy it is: the load of priorities and localities is not moved by requests in flight. */
static void test_least_request_compares_inside_a_group_only(void **state)
{
	struct world world;
	u32 counts[8];

	world_open(&world);
	world.endpoints[1].active = world.endpoints[2].active = 1000;
	spread(&world, LEAST_GROUPS, counts);
	assert_in_range(counts[1] + counts[2], 3800, 4200); /* 2 of 5 places */
	assert_in_range(counts[3], 5800, 6200);
	world.endpoints[1].active = 0;
	spread(&world, LEAST_GROUPS, counts);
	assert_in_range(counts[2], 850, 1150); /* both draws: 1/4 of 40 % */
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
	world.query.cluster_id = UNKNOWN;
	assert_int_equal(weft_pick_endpoint(&world.query, &endpoint), -EOPNOTSUPP);
	world.query.cluster_id = ORIGINAL;
	assert_int_equal(weft_pick_endpoint(&world.query, &endpoint), -EOPNOTSUPP);
	builder_free(&world.builder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_listener_is_found_by_its_address_before_any_address),
		cmocka_unit_test(test_a_listener_of_ipv6_is_none_of_ipv4),
		cmocka_unit_test(test_what_no_listener_owns_falls_to_the_one_of_any_address_and_port),
		cmocka_unit_test(test_round_robin_takes_the_schedule_in_turn),
		cmocka_unit_test(test_random_follows_the_schedule),
		cmocka_unit_test(test_least_request_avoids_the_busier_of_two),
		cmocka_unit_test(test_requests_in_proxies_are_load_too),
		cmocka_unit_test(test_least_request_compares_as_many_as_it_is_told),
		cmocka_unit_test(test_unequal_weights_are_divided_by_the_requests_in_flight),
		cmocka_unit_test(test_unequal_weights_of_many_endpoints_are_sampled),
		cmocka_unit_test(test_least_request_compares_inside_a_group_only),
		cmocka_unit_test(test_clusters_without_a_choice_say_why),
	};

	return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}

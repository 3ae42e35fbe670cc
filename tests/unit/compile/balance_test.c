/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/socket.h>

#include "fixture.h"
#include "compile/balance.h"

#define ENDPOINTS_MAX 64

/* An assignment of a few localities, written as text: one letter an endpoint (H healthy, D degraded, U unhealthy), localities by spaces. */
struct sample {
	struct mesh_endpoint endpoints[ENDPOINTS_MAX];
	struct mesh_locality localities[8];
	struct mesh_load_assignment assignment;
	struct mesh_cluster cluster;
	struct share shares[ENDPOINTS_MAX];
	size_t count;
	bool is_panic;
};

static void make(struct sample *sample, const char *text, const uint32_t *priorities)
{
	size_t used = 0;

	memset(sample, 0, sizeof(*sample));
	sample->assignment.localities = sample->localities;
	sample->assignment.locality_count = 1;
	sample->assignment.overprovisioning_percent = 140;
	sample->cluster.lb_policy = MESH_LB_ROUND_ROBIN;
	sample->localities[0].endpoints = sample->endpoints;
	for (; *text; text++) {
		struct mesh_locality *locality = &sample->localities[sample->assignment.locality_count - 1];

		if (*text == ' ') {
			sample->assignment.locality_count++;
			locality[1].endpoints = &sample->endpoints[used];
			locality[1].priority = priorities ? priorities[sample->assignment.locality_count - 1] : 0;
			continue;
		}
		sample->endpoints[used].health = *text == 'H' ? MESH_HEALTH_HEALTHY : *text == 'D' ? MESH_HEALTH_DEGRADED : MESH_HEALTH_UNHEALTHY;
		sample->endpoints[used].weight = 1;
		sample->endpoints[used].address = (struct mesh_address){ .kind = MESH_ADDRESS_IP, .family = AF_INET, .port = 80 };
		used++;
		locality->endpoint_count++;
	}
	sample->assignment.endpoint_count = used;
}

static bool all_usable(const struct mesh_endpoint *endpoint)
{
	return true;
}

static void choose(struct sample *sample)
{
	assert_int_equal(balance_shares(&sample->cluster, &sample->assignment, all_usable, sample->shares, &sample->count, &sample->is_panic), 0);
}

/* Percent of the requests that the endpoint gets. */
static double part(const struct sample *sample, size_t endpoint)
{
	double total = 0, mine = 0;
	size_t i;

	for (i = 0; i < sample->count; i++) {
		total += sample->shares[i].weight;
		if (sample->shares[i].endpoint == &sample->endpoints[endpoint])
			mine += sample->shares[i].weight;
	}
	return total > 0 ? mine / total * 100 : 0;
}

static void assert_part(const struct sample *sample, size_t endpoint, double percent)
{
	double found = part(sample, endpoint);

	if (found < percent - 0.01 || found > percent + 0.01)
		fail_msg("endpoint %zu gets %.3f%%, expected %.3f%%", endpoint, found, percent);
}

static void test_only_healthy_endpoints_get_requests(void **state)
{
	struct sample sample;

	make(&sample, "HUHHH", NULL);
	choose(&sample);
	assert_int_equal(sample.count, 4);
	assert_part(&sample, 0, 25);
	assert_part(&sample, 1, 0);
	assert_false(sample.is_panic);
}

static void test_the_next_priority_takes_what_the_first_can_not(void **state)
{
	static const uint32_t priorities[] = { 0, 1 };
	struct sample sample;

	make(&sample, "HHHH HH", priorities);
	choose(&sample);
	assert_part(&sample, 0, 25);
	assert_part(&sample, 4, 0);

	/* Half healthy, times 1.4: 70 percent stay. */
	make(&sample, "HUHU HH", priorities);
	choose(&sample);
	assert_part(&sample, 0, 35);
	assert_part(&sample, 4, 15);

	make(&sample, "UUUU HH", priorities);
	choose(&sample);
	assert_int_equal(sample.count, 2);
	assert_part(&sample, 4, 50);
}

static void test_degraded_endpoints_serve_only_what_healthy_ones_can_not(void **state)
{
	struct sample sample;

	make(&sample, "HHHD", NULL); /* 75 * 1.4 > 100 */
	choose(&sample);
	assert_part(&sample, 3, 0);
	make(&sample, "DD", NULL);
	choose(&sample);
	assert_part(&sample, 0, 50);
	make(&sample, "HDDD", NULL); /* 35 percent, and the rest */
	choose(&sample);
	assert_part(&sample, 0, 35);
	assert_part(&sample, 1, 65.0 / 3);
}

static void test_without_a_healthy_endpoint_there_is_none_unless_panic_is_allowed(void **state)
{
	struct sample sample;

	make(&sample, "UU", NULL);
	choose(&sample);
	assert_int_equal(sample.count, 0);
	sample.cluster.healthy_panic_percent = 50;
	choose(&sample);
	assert_int_equal(sample.count, 2);
	assert_true(sample.is_panic);
	/* 1 of 4 is below half: all four. */
	make(&sample, "HUUU", NULL);
	sample.cluster.healthy_panic_percent = 50;
	choose(&sample);
	assert_int_equal(sample.count, 4);
	assert_part(&sample, 0, 25);
}

static void test_locality_weights_count_when_asked_for_and_fade_with_health(void **state)
{
	struct sample sample;

	make(&sample, "HH HHHH", NULL);
	sample.localities[0].weight = 3;
	sample.localities[1].weight = 1;
	choose(&sample);
	assert_part(&sample, 0, 100.0 / 6);
	sample.cluster.weighs_localities = true;
	choose(&sample);
	assert_part(&sample, 0, 37.5);
	assert_part(&sample, 2, 6.25);
	/* Half of the first is gone: 3 * 0.7 against 1. */
	sample.endpoints[1].health = MESH_HEALTH_UNHEALTHY;
	choose(&sample);
	assert_part(&sample, 0, 2.1 / 3.1 * 100);
}

/* Envoy takes all hosts of the priority then, without a look at localities. */
static void test_a_panic_forgets_the_weights_of_localities(void **state)
{
	struct sample sample;

	make(&sample, "HUUU UUUU", NULL);
	sample.localities[0].weight = 9;
	sample.localities[1].weight = 1;
	sample.cluster.weighs_localities = true;
	sample.cluster.healthy_panic_percent = 50;
	choose(&sample);
	assert_true(sample.is_panic);
	assert_part(&sample, 0, 12.5);
	assert_part(&sample, 7, 12.5);
	assert_int_equal(sample.shares[0].group, sample.shares[7].group);
}

static void test_endpoints_are_grouped_as_envoy_compares_them(void **state)
{
	static const uint32_t priorities[] = { 0, 0, 1 };
	struct sample sample;

	/* without weights a priority is one group, whatever its localities */
	make(&sample, "HU HU HH", priorities);
	choose(&sample);
	assert_int_equal(sample.count, 4);
	assert_int_equal(sample.shares[0].group, sample.shares[1].group);
	assert_int_not_equal(sample.shares[1].group, sample.shares[2].group);
	assert_int_equal(sample.shares[2].group, sample.shares[3].group);

	sample.cluster.weighs_localities = true;
	sample.localities[0].weight = sample.localities[1].weight = sample.localities[2].weight = 1;
	choose(&sample);
	assert_int_not_equal(sample.shares[0].group, sample.shares[1].group);

	/* healthy and degraded ones are drawn from apart */
	make(&sample, "HDD", NULL);
	choose(&sample);
	assert_int_equal(sample.count, 3);
	assert_int_not_equal(sample.shares[0].group, sample.shares[1].group);
	assert_int_equal(sample.shares[1].group, sample.shares[2].group);
}

static void test_random_looks_at_no_weight(void **state)
{
	struct sample sample;

	make(&sample, "HH", NULL);
	sample.endpoints[0].weight = 9;
	choose(&sample);
	assert_part(&sample, 0, 90);
	sample.cluster.lb_policy = MESH_LB_RANDOM;
	choose(&sample);
	assert_part(&sample, 0, 50);
}

static void check_turns(const double *weights, size_t count, const uint16_t *expected, size_t expected_count)
{
	struct share shares[8] = { { NULL, 0, 0 } };
	uint16_t *turns = NULL;
	size_t i, turn_count;

	for (i = 0; i < count; i++)
		shares[i].weight = weights[i];
	assert_int_equal(balance_schedule(shares, count, &turns, &turn_count), 0);
	assert_int_equal(turn_count, expected_count);
	assert_memory_equal(turns, expected, turn_count * sizeof(*turns));
	free(turns);
}

static void test_turns_are_spread_evenly(void **state)
{
	check_turns((double[]){ 1, 1, 1 }, 3, (uint16_t[]){ 0, 1, 2 }, 3);
	check_turns((double[]){ 700, 700 }, 2, (uint16_t[]){ 0, 1 }, 2);
	check_turns((double[]){ 2, 1 }, 2, (uint16_t[]){ 0, 0, 1 }, 3);
	check_turns((double[]){ 200, 300, 100 }, 3, (uint16_t[]){ 1, 0, 1, 0, 1, 2 }, 6);
}

static void test_weights_that_make_too_many_turns_are_apportioned(void **state)
{
	struct share shares[3] = { { NULL, 1000003, 0 }, { NULL, 500009, 0 }, { NULL, 7, 0 } };
	uint32_t counts[3] = { 0 };
	uint16_t *turns = NULL;
	size_t i, turn_count;

	assert_int_equal(balance_schedule(shares, 3, &turns, &turn_count), 0);
	assert_true(turn_count <= WEFT_SCHEDULE_MAX);
	for (i = 0; i < turn_count; i++)
		counts[turns[i]]++;
	assert_in_range(counts[0], 2729, 2732);
	assert_in_range(counts[1], 1364, 1367);
	assert_int_equal(counts[2], 1);
	free(turns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_healthy_endpoints_get_requests),
		cmocka_unit_test(test_the_next_priority_takes_what_the_first_can_not),
		cmocka_unit_test(test_degraded_endpoints_serve_only_what_healthy_ones_can_not),
		cmocka_unit_test(test_without_a_healthy_endpoint_there_is_none_unless_panic_is_allowed),
		cmocka_unit_test(test_locality_weights_count_when_asked_for_and_fade_with_health),
		cmocka_unit_test(test_a_panic_forgets_the_weights_of_localities),
		cmocka_unit_test(test_endpoints_are_grouped_as_envoy_compares_them),
		cmocka_unit_test(test_random_looks_at_no_weight),
		cmocka_unit_test(test_turns_are_spread_evenly),
		cmocka_unit_test(test_weights_that_make_too_many_turns_are_apportioned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

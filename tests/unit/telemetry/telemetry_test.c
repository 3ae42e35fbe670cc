/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "telemetry/telemetry.h"

#define SLOTS 4

struct fixture {
	struct weft_upstream upstreams[SLOTS];
	struct telemetry *telemetry;
};

static int setup(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));

	assert_non_null(fx);
	assert_int_equal(telemetry_new(&fx->telemetry, fx->upstreams, SLOTS), 0);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fx = *state;

	telemetry_free(&fx->telemetry);
	telemetry_free(&fx->telemetry);
	free(fx);
	return 0;
}

static void exchange(struct fixture *fx, unsigned slot, uint64_t start_ns, uint64_t took_ns, uint16_t status)
{
	struct weft_upstream *u = &fx->upstreams[slot];

	u->start_ns = start_ns;
	u->first_byte_ns = start_ns + took_ns;
	u->status = status;
	u->path = WEFT_PATH_BYPASS;
	u->endpoint_id = slot + 100;
	u->state = WEFT_STATE_WORD(WEFT_LEASE(u->state) + 1, WEFT_UPSTREAM_IDLE);
}

static void test_an_exchange_is_taken_once(void **state)
{
	struct fixture *fx = *state;
	struct telemetry_latency latency;

	assert_int_equal(telemetry_sample(fx->telemetry), 0);
	exchange(fx, 0, 1000, 50000, 200);
	exchange(fx, 2, 1000, 70000, 404);
	assert_int_equal(telemetry_sample(fx->telemetry), 2);
	assert_int_equal(telemetry_sample(fx->telemetry), 0);
	exchange(fx, 0, 2000, 60000, 200);
	assert_int_equal(telemetry_sample(fx->telemetry), 1);
	telemetry_latency(fx->telemetry, WEFT_PATH_BYPASS, &latency);
	assert_int_equal(latency.samples, 3);
	assert_int_equal(latency.sum_ns, 180000);
	assert_int_equal(latency.max_ns, 70000);
	assert_int_equal(telemetry_responses(fx->telemetry, WEFT_PATH_BYPASS, 2), 2);
	assert_int_equal(telemetry_responses(fx->telemetry, WEFT_PATH_BYPASS, 4), 1);
	assert_int_equal(telemetry_responses(fx->telemetry, WEFT_PATH_REMOTE, 2), 0);
	assert_int_equal(telemetry_responses(fx->telemetry, WEFT_PATH_BYPASS, 9), 0);
}

static void test_an_open_exchange_and_one_of_the_proxy_are_left_out(void **state)
{
	struct fixture *fx = *state;

	exchange(fx, 0, 1000, 50000, 200);
	fx->upstreams[0].state = WEFT_STATE_WORD(5, WEFT_UPSTREAM_REPLYING);
	exchange(fx, 1, 1000, 50000, 0);
	assert_int_equal(telemetry_sample(fx->telemetry), 0);
	fx->upstreams[0].state = WEFT_STATE_WORD(5, WEFT_UPSTREAM_IDLE);
	assert_int_equal(telemetry_sample(fx->telemetry), 1);
}

static void test_quantiles_are_within_an_eighth(void **state)
{
	struct fixture *fx = *state;
	struct telemetry_latency latency;

	telemetry_latency(fx->telemetry, WEFT_PATH_BYPASS, &latency);
	assert_int_equal(latency.p99_ns, 0);
	for (uint64_t i = 1; i <= 1000; i++) {
		exchange(fx, 0, i, i * 1000, 200);
		telemetry_sample(fx->telemetry);
	}
	telemetry_latency(fx->telemetry, WEFT_PATH_BYPASS, &latency);
	assert_in_range(latency.p50_ns, 500000, 563000);
	assert_in_range(latency.p90_ns, 900000, 1000000);
	assert_in_range(latency.p99_ns, 990000, 1000000);
}

static void test_extreme_times_fall_into_some_bucket(void **state)
{
	struct fixture *fx = *state;
	struct telemetry_latency latency;
	const uint64_t times[] = { 0, 1, 7, 8, 15, 16, 1ull << 39, 1ull << 40, 1ull << 60 };

	for (unsigned i = 0; i < 9; i++) {
		exchange(fx, 0, i + 1, times[i], 200);
		assert_int_equal(telemetry_sample(fx->telemetry), 1);
		telemetry_latency(fx->telemetry, WEFT_PATH_BYPASS, &latency);
		assert_true(latency.p99_ns <= latency.max_ns);
	}
	assert_true(latency.max_ns == 1ull << 60);
}

static void test_recent_samples_come_newest_first(void **state)
{
	struct fixture *fx = *state;
	struct telemetry_exchange recent[80];

	for (uint64_t i = 1; i <= 70; i++) {
		exchange(fx, 1, i * 10, 5, 200);
		telemetry_sample(fx->telemetry);
	}
	assert_int_equal(telemetry_recent(fx->telemetry, recent, 80), 64);
	assert_int_equal(recent[0].start_ns, 700);
	assert_int_equal(recent[63].start_ns, 70);
	assert_int_equal(recent[0].endpoint_id, 101);
	assert_int_equal(telemetry_recent(fx->telemetry, recent, 3), 3);
	assert_int_equal(recent[2].start_ns, 680);
}

static void test_every_path_has_a_name(void **state)
{
	assert_string_equal(telemetry_path_name(WEFT_PATH_BYPASS), "bypass");
	assert_string_equal(telemetry_path_name(WEFT_PATH_LOCAL), "local_reply");
	assert_string_equal(telemetry_path_name(WEFT_PATH_COUNT), "unknown");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_an_exchange_is_taken_once),
		TEST(test_an_open_exchange_and_one_of_the_proxy_are_left_out),
		TEST(test_quantiles_are_within_an_eighth),
		TEST(test_extreme_times_fall_into_some_bucket),
		TEST(test_recent_samples_come_newest_first),
		TEST(test_every_path_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "xds/pace.h"

static void test_after_a_rest_some_are_done_at_once(void **state)
{
	struct xds_pace pace = { .every_ms = 50, .burst = 8 };

	for (int round = 0; round < 3; round++) {
		uint64_t now_ms = 1000 + (uint64_t)round * 1000;

		for (int i = 0; i < 8; i++) {
			assert_int_equal(xds_pace_wait(&pace, now_ms), 0);
			xds_pace_done(&pace, now_ms);
		}
		assert_int_equal(xds_pace_wait(&pace, now_ms), 50);
		assert_int_equal(xds_pace_wait(&pace, now_ms + 49), 1);
		assert_int_equal(xds_pace_wait(&pace, now_ms + 50), 0);
	}
}

static void test_what_is_rarer_than_the_rate_never_waits(void **state)
{
	struct xds_pace pace = { .every_ms = 50, .burst = 2 };

	for (uint64_t now_ms = 0; now_ms < 10000; now_ms += 50) {
		assert_int_equal(xds_pace_wait(&pace, now_ms), 0);
		xds_pace_done(&pace, now_ms);
	}
}

/* Asked for each 10 ms for a minute, done as soon as it may be. */
static void test_without_end_it_is_done_at_the_steady_rate_and_no_wait_is_longer(void **state)
{
	struct xds_pace pace = { .every_ms = 50, .burst = 8 };
	uint32_t done = 0, longest_ms = 0;

	for (uint64_t now_ms = 5000; now_ms < 65000; now_ms += 10) {
		uint32_t wait_ms = xds_pace_wait(&pace, now_ms);

		longest_ms = wait_ms > longest_ms ? wait_ms : longest_ms;
		if (wait_ms)
			continue;
		xds_pace_done(&pace, now_ms);
		done++;
	}
	assert_in_range(done, 1200, 1208);
	assert_in_range(longest_ms, 1, 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_after_a_rest_some_are_done_at_once),
		cmocka_unit_test(test_what_is_rarer_than_the_rate_never_waits),
		cmocka_unit_test(test_without_end_it_is_done_at_the_steady_rate_and_no_wait_is_longer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

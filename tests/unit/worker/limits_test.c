/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/internal.h"

static const struct options_limits defaults = { .connections = 65536, .upstreams = 16384, .pools = 4096, .endpoint_upstreams = 128 };

static void test_a_pod_has_its_share_of_each_table(void **state)
{
	struct pod_shares shares;

	(void)state;
	limits_share(&shares, &defaults, 262144);
	assert_int_equal(shares.connections, 16384);
	assert_int_equal(shares.upstreams, 2048);
	assert_int_equal(shares.pools, 1024);
}

static void test_where_descriptors_are_few_so_are_connections(void **state)
{
	struct pod_shares shares;

	(void)state;
	limits_share(&shares, &defaults, 8000);
	assert_int_equal(shares.connections, 1000);
	assert_int_equal(shares.upstreams, 1000);
	assert_int_equal(shares.pools, 1024);
}

static void test_what_the_options_say_goes(void **state)
{
	struct options_limits limits = defaults;
	struct pod_shares shares;

	(void)state;
	limits.pod_connections = 20000;
	limits.pod_upstreams = 4000;
	limits.pod_pools = 2000;
	limits_share(&shares, &limits, 8000);
	assert_int_equal(shares.connections, 20000);
	assert_int_equal(shares.upstreams, 4000);
	assert_int_equal(shares.pools, 2000);
}

static void test_a_share_is_never_nothing(void **state)
{
	const struct options_limits limits = { .connections = 3, .upstreams = 3, .pools = 2, .endpoint_upstreams = 128 };
	struct pod_shares shares;

	(void)state;
	limits_share(&shares, &limits, 8000);
	assert_int_equal(shares.connections, 1);
	assert_int_equal(shares.upstreams, 1);
	assert_int_equal(shares.pools, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_pod_has_its_share_of_each_table),
		cmocka_unit_test(test_where_descriptors_are_few_so_are_connections),
		cmocka_unit_test(test_what_the_options_say_goes),
		cmocka_unit_test(test_a_share_is_never_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "kube/exceptions.h"
#include "kube/objects.h"
#include "weft/address_host.h"

#define PORTS "excludeOutboundPorts"
#define RANGES "excludeOutboundIPRanges"
#define MESHED_PORTS "includeOutboundPorts"
#define MESHED_RANGES "includeOutboundIPRanges"

/* Pairs of names, without their prefix, and values; sorted by name, as a pod's are. */
static int read_all(struct weft_exceptions *out, char *problem, size_t size, const char *const pairs[][2], size_t count)
{
	char keys[4][64];
	struct pod_label annotations[4];
	struct kube_pod pod = { .annotations = annotations, .annotation_count = count };

	for (size_t i = 0; i < count; i++) {
		snprintf(keys[i], sizeof(keys[i]), EXCEPTIONS_PREFIX "%s", pairs[i][0]);
		annotations[i] = (struct pod_label){ keys[i], pairs[i][1] };
	}
	return exceptions_read(&pod, out, problem, size);
}

#define READ(out, problem, ...)                                                                        \
	({                                                                                             \
		static const char *const pairs_[][2] = { __VA_ARGS__ };                                \
		read_all(out, problem, sizeof(problem), pairs_, ARRAY_SIZE(pairs_));                   \
	})

static bool is_left_alone(const struct weft_exceptions *exceptions, const char *ip, uint16_t port)
{
	struct weft_address address;

	assert_true(weft_address_parse(ip, &address));
	return weft_is_excepted(exceptions, &address, htons(port));
}

static void test_excluded_ports_and_ranges_are_left_alone(void **state)
{
	struct weft_exceptions exceptions;
	char problem[200] = "";

	assert_int_equal(READ(&exceptions, problem, { RANGES, "10.1.0.0/16, 192.0.2.7/32,fd00:1::/32" }, { PORTS, " 3306,6379 ," }), 0);
	assert_int_equal(exceptions.count, 5);
	assert_false(exceptions_are_none(&exceptions));
	assert_true(is_left_alone(&exceptions, "10.96.0.1", 3306));
	assert_true(is_left_alone(&exceptions, "fd00:96::1", 6379));
	assert_false(is_left_alone(&exceptions, "10.96.0.1", 3307));
	assert_true(is_left_alone(&exceptions, "10.1.255.255", 80));
	assert_false(is_left_alone(&exceptions, "10.2.0.0", 80));
	assert_true(is_left_alone(&exceptions, "192.0.2.7", 80));
	assert_false(is_left_alone(&exceptions, "192.0.2.6", 80));
	assert_true(is_left_alone(&exceptions, "fd00:1:2::3", 80));
	assert_false(is_left_alone(&exceptions, "fd00:2::3", 80));
}

static void test_ranges_take_their_own_family_alone(void **state)
{
	struct weft_exceptions exceptions;
	char problem[200] = "";

	assert_int_equal(READ(&exceptions, problem, { RANGES, "::/0" }), 0);
	assert_true(is_left_alone(&exceptions, "fd00::1", 80));
	assert_false(is_left_alone(&exceptions, "10.0.0.1", 80));
	assert_int_equal(READ(&exceptions, problem, { RANGES, "0.0.0.0/0" }), 0);
	assert_false(is_left_alone(&exceptions, "fd00::1", 80));
	assert_true(is_left_alone(&exceptions, "10.0.0.1", 80));
	/* a mapped address is one of IPv4 */
	assert_true(is_left_alone(&exceptions, "::ffff:10.0.0.1", 80));
}

static void test_included_ranges_leave_the_rest_alone(void **state)
{
	struct weft_exceptions exceptions;
	char problem[200] = "";

	assert_int_equal(READ(&exceptions, problem, { MESHED_RANGES, "10.96.0.9/16" }), 0);
	assert_false(is_left_alone(&exceptions, "10.96.255.1", 80));
	assert_true(is_left_alone(&exceptions, "10.97.0.1", 80));
	assert_true(is_left_alone(&exceptions, "fd00::1", 80));
	/* none at all */
	assert_int_equal(READ(&exceptions, problem, { MESHED_RANGES, "" }), 0);
	assert_false(exceptions_are_none(&exceptions));
	assert_true(is_left_alone(&exceptions, "10.96.255.1", 80));
	assert_int_equal(READ(&exceptions, problem, { MESHED_RANGES, "*" }), 0);
	assert_true(exceptions_are_none(&exceptions));
	assert_false(is_left_alone(&exceptions, "10.96.255.1", 80));
}

static void test_exclusions_come_before_inclusions_and_ports_before_ranges(void **state)
{
	struct weft_exceptions exceptions;
	char problem[200] = "";

	assert_int_equal(READ(&exceptions, problem, { RANGES, "10.96.1.0/24" }, { PORTS, "3306" }, { MESHED_RANGES, "10.96.0.0/16" }, { MESHED_PORTS, "443,3306" }), 0);
	assert_true(is_left_alone(&exceptions, "10.96.0.1", 3306));
	assert_true(is_left_alone(&exceptions, "10.96.1.1", 443));
	assert_false(is_left_alone(&exceptions, "198.51.100.1", 443));
	assert_false(is_left_alone(&exceptions, "10.96.2.1", 80));
	assert_true(is_left_alone(&exceptions, "198.51.100.1", 80));
	/* with all ranges meshed, ports that are meshed say nothing new */
	assert_int_equal(READ(&exceptions, problem, { MESHED_PORTS, "443" }), 0);
	assert_true(exceptions_are_none(&exceptions));
}

static void test_values_that_cannot_be_read_are_named(void **state)
{
	static const char *const bad[][2] = {
		{ PORTS, "80,http" }, { PORTS, "65536" }, { PORTS, "0" }, { PORTS, "*" }, { PORTS, "80:90" }, { PORTS, "-1" }, { PORTS, "8080808080" }, { MESHED_PORTS, "x" },
		{ RANGES, "*" }, { RANGES, "10.0.0.1" }, { RANGES, "10.0.0.0/33" }, { RANGES, "10.0.0/8" }, { RANGES, "fd00::/129" }, { RANGES, "10.0.0.0/" },
		{ MESHED_RANGES, "*,10.0.0.0/8" }, { MESHED_RANGES, "everything" }, { RANGES, "10.0.0.0/8/8" },
	};
	struct weft_exceptions exceptions;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char problem[200] = "";

		if (read_all(&exceptions, problem, sizeof(problem), &bad[i], 1) != -EINVAL)
			fail_msg("%s: %s was read", bad[i][0], bad[i][1]);
		assert_non_null(strstr(problem, bad[i][0]));
	}
}

static void test_more_than_there_is_room_for_are_named(void **state)
{
	char ports[WEFT_EXCEPTIONS_MAX * 6 + 16] = "", problem[200] = "";
	const char *const pairs[][2] = { { PORTS, ports } };
	struct weft_exceptions exceptions;

	for (uint32_t i = 0; i < WEFT_EXCEPTIONS_MAX; i++)
		snprintf(ports + strlen(ports), sizeof(ports) - strlen(ports), "%u,", 1000 + i);
	assert_int_equal(read_all(&exceptions, problem, sizeof(problem), pairs, 1), 0);
	assert_int_equal(exceptions.count, WEFT_EXCEPTIONS_MAX);
	assert_true(is_left_alone(&exceptions, "10.0.0.1", 1000 + WEFT_EXCEPTIONS_MAX - 1));
	assert_false(is_left_alone(&exceptions, "10.0.0.1", 1000 + WEFT_EXCEPTIONS_MAX));
	strcat(ports, "9999");
	assert_int_equal(read_all(&exceptions, problem, sizeof(problem), pairs, 1), -E2BIG);
	assert_non_null(strstr(problem, "more than 64"));
}

static void test_equal_are_those_that_say_the_same(void **state)
{
	struct weft_exceptions a, b;
	char problem[200] = "";

	assert_int_equal(READ(&a, problem, { PORTS, "80,81" }), 0);
	assert_int_equal(READ(&b, problem, { PORTS, " 80, 81" }), 0);
	assert_true(exceptions_are_equal(&a, &b));
	assert_false(exceptions_are_equal(&a, NULL));
	assert_true(exceptions_are_equal(NULL, NULL));
	assert_int_equal(READ(&b, problem, { PORTS, "80,82" }), 0);
	assert_false(exceptions_are_equal(&a, &b));
	assert_int_equal(READ(&b, problem, { PORTS, "80" }), 0);
	assert_false(exceptions_are_equal(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_excluded_ports_and_ranges_are_left_alone),
		cmocka_unit_test(test_ranges_take_their_own_family_alone),
		cmocka_unit_test(test_included_ranges_leave_the_rest_alone),
		cmocka_unit_test(test_exclusions_come_before_inclusions_and_ports_before_ranges),
		cmocka_unit_test(test_values_that_cannot_be_read_are_named),
		cmocka_unit_test(test_more_than_there_is_room_for_are_named),
		cmocka_unit_test(test_equal_are_those_that_say_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

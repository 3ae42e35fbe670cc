/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "kube/pods.h"

static int add(struct pods *pods, const char *name, const char *namespace_name, const char *first, const char *second)
{
	struct pod_ip ips[2] = { { .text = first }, { .text = second } };
	struct pod_label labels[2] = { { "version", "v1" }, { "app", name } };
	struct pod pod = { .name = name, .namespace_name = namespace_name, .network_namespace = "/run/netns/x", .cgroup = "/c", .ips = ips,
			   .ip_count = second ? 2 : 1, .labels = labels, .label_count = 2 };

	return pods_add(pods, &pod);
}

static void test_pods_are_found_by_name_and_by_either_address(void **state)
{
	_cleanup_(pods_free) struct pods *pods = NULL;
	struct in6_addr six;
	uint8_t four[4] = { 10, 0, 0, 1 };
	char name[16], ip[32];

	assert_int_equal(pods_new(&pods), 0);
	assert_int_equal(add(pods, "a", NULL, "10.0.0.1", "fd00::0:1"), 0);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		snprintf(ip, sizeof(ip), "10.0.1.%d", i);
		assert_int_equal(add(pods, name, "shop", ip, NULL), 0);
	}
	assert_int_equal(pods_count(pods), 101);
	assert_ptr_equal(pods_find(pods, "default", "a"), pods_at(pods, 0));
	assert_ptr_equal(pods_find(pods, NULL, "p42"), pods_at(pods, 43));
	assert_null(pods_find(pods, "default", "p42"));
	assert_null(pods_at(pods, 101));
	assert_ptr_equal(pods_find_ip(pods, AF_INET, four), pods_at(pods, 0));
	assert_int_equal(inet_pton(AF_INET6, "fd00::1", &six), 1);
	assert_ptr_equal(pods_find_ip(pods, AF_INET6, &six), pods_at(pods, 0));
	assert_string_equal(pods_at(pods, 0)->ips[1].text, "fd00::1");
	assert_string_equal(pods_at(pods, 0)->labels[0].key, "app");
}

static void test_names_and_addresses_are_unique_and_addresses_valid(void **state)
{
	_cleanup_(pods_free) struct pods *pods = NULL;

	assert_int_equal(pods_new(&pods), 0);
	assert_int_equal(add(pods, "a", NULL, "10.0.0.1", NULL), 0);
	assert_int_equal(add(pods, "a", "default", "10.0.0.2", NULL), -EEXIST);
	assert_int_equal(add(pods, "a", "other", "10.0.0.3", NULL), 0);
	assert_int_equal(add(pods, "b", NULL, "10.0.0.1", NULL), -EEXIST);
	assert_int_equal(add(pods, "b", NULL, "10.0.0.4", "10.0.0.4"), -EEXIST);
	assert_int_equal(add(pods, "b", NULL, "nowhere", NULL), -EINVAL);
	assert_int_equal(add(pods, "", NULL, "10.0.0.5", NULL), -EINVAL);
	assert_int_equal(pods_count(pods), 2);
	assert_null(pods_find(pods, NULL, "a")); /* two of them */
}

static void test_a_list_that_is_no_more_is_freed_quietly(void **state)
{
	struct pods *pods = NULL;

	pods_free(&pods);
	assert_null(pods);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pods_are_found_by_name_and_by_either_address),
		cmocka_unit_test(test_names_and_addresses_are_unique_and_addresses_valid),
		cmocka_unit_test(test_a_list_that_is_no_more_is_freed_quietly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "xds/address.h"
#include "xds/backoff.h"

static struct xds_address parse(const char *text)
{
	struct xds_address address;
	char problem[256] = "";

	assert_int_equal(xds_address_parse(text, &address, problem, sizeof(problem)), 0);
	assert_string_equal(problem, "");
	return address;
}

static void refuse(const char *text, const char *why)
{
	struct xds_address address = { .port = 7 };
	char problem[256];

	assert_int_equal(xds_address_parse(text, &address, problem, sizeof(problem)), -EINVAL);
	assert_int_equal(address.port, 7);
	if (!strstr(problem, why))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, problem, why);
}

static void test_each_scheme_has_its_protocol_and_port(void **state)
{
	static const struct {
		const char *text;
		bool is_web, is_tls;
		enum xds_http http;
		uint16_t port;
	} cases[] = {
		{ "grpc://a", false, false, XDS_HTTP_2, 15010 },
		{ "grpcs://a", false, true, XDS_HTTP_2, 15012 },
		{ "grpc-web+http://a", true, false, XDS_HTTP_1, 80 },
		{ "grpc-web+h2c://a", true, false, XDS_HTTP_2, 80 },
		{ "grpc-web+https://a", true, true, XDS_HTTP_ANY, 443 },
		{ "grpc://a:1", false, false, XDS_HTTP_2, 1 },
		{ "grpcs://a:65535/", false, true, XDS_HTTP_2, 65535 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct xds_address address = parse(cases[i].text);

		assert_int_equal(address.is_web, cases[i].is_web);
		assert_int_equal(address.is_tls, cases[i].is_tls);
		assert_int_equal(address.http, cases[i].http);
		assert_int_equal(address.port, cases[i].port);
		assert_string_equal(address.host, "a");
		assert_string_equal(address.prefix, "");
	}
}

static void test_hosts_are_names_and_addresses(void **state)
{
	struct xds_address address;

	(void)state;
	assert_string_equal(parse("grpc://istiod.istio-system.svc:15010").host, "istiod.istio-system.svc");
	assert_string_equal(parse("grpc://10.0.0.1:15010").host, "10.0.0.1");
	address = parse("grpc://[2001:db8::1]:99");
	assert_string_equal(address.host, "2001:db8::1");
	assert_true(address.is_ipv6);
	assert_int_equal(address.port, 99);
}

static void test_grpc_web_may_have_a_path(void **state)
{
	(void)state;
	assert_string_equal(parse("grpc-web+https://gateway/istiod/").prefix, "/istiod");
	assert_string_equal(parse("grpc-web+http://gateway:8080/a/b").prefix, "/a/b");
	refuse("grpc://istiod:15010/a", "gRPC has no path");
	refuse("grpc-web+http://gateway/a?b", "0x3f");
	refuse("grpc-web+http://gateway/a b", "0x20");
}

static void test_what_is_no_address_is_refused_with_the_reason(void **state)
{
	(void)state;
	refuse("", "it must begin with grpc://");
	refuse("istiod:15010", "it must begin with grpc://");
	refuse("http://istiod:15010", "it must begin with grpc://");
	refuse("grpc:/istiod", "it must begin with grpc://");
	refuse("grpc://", "a host is expected");
	refuse("grpc://:15010", "a host is expected");
	refuse("grpc://user@host", "neither");
	refuse("grpc://a:", "a port from 1 to 65535");
	refuse("grpc://a:0", "a port from 1 to 65535");
	refuse("grpc://a:65536", "a port from 1 to 65535");
	refuse("grpc://a:123456", "a port from 1 to 65535");
	refuse("grpc://a:12x", "not \"12x\"");
	refuse("grpc://[::1", "must end it");
	refuse("grpc://[::x]:1", "is no IPv6 address");
	refuse("grpc://[::1]x", "neither");
}

static void test_pauses_double_with_jitter_up_to_their_limit(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct xds_backoff backoff = { .min_ms = 10, .max_ms = 15000, .random = seed };
		uint32_t step = 10;

		for (int i = 0; i < 20; i++) {
			uint32_t pause_ms = xds_backoff_next(&backoff);

			assert_in_range(pause_ms, step / 2 < 10 ? 10 : step / 2, step);
			step = step > 7500 ? 15000 : step * 2;
		}
		assert_int_equal(step, 15000);
		xds_backoff_reset(&backoff);
		assert_int_equal(xds_backoff_next(&backoff), 10);
	}
}

static void test_two_that_wait_do_not_come_back_together(void **state)
{
	struct xds_backoff a = { .min_ms = 10, .max_ms = 15000, .random = 1 }, b = { .min_ms = 10, .max_ms = 15000, .random = 2 };
	int differ = 0;

	(void)state;
	for (int i = 0; i < 20; i++)
		differ += xds_backoff_next(&a) != xds_backoff_next(&b);
	assert_in_range(differ, 12, 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_scheme_has_its_protocol_and_port),
		cmocka_unit_test(test_hosts_are_names_and_addresses),
		cmocka_unit_test(test_grpc_web_may_have_a_path),
		cmocka_unit_test(test_what_is_no_address_is_refused_with_the_reason),
		cmocka_unit_test(test_pauses_double_with_jitter_up_to_their_limit),
		cmocka_unit_test(test_two_that_wait_do_not_come_back_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What libcurl says of itself is this test's here: the program's own function comes before the library's. */
#include <curl/curl.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "xds/call.h"

static curl_version_info_data *said(void)
{
	static curl_version_info_data data;

	return &data;
}

curl_version_info_data *curl_version_info(CURLversion version)
{
	(void)version;
	return said();
}

static void libcurl_is(unsigned int number, const char *version, int features, const char *tls)
{
	*said() = (curl_version_info_data){ .version = version, .version_num = number, .features = features, .ssl_version = tls };
}

static int check(const char *address, char *problem, size_t size)
{
	struct xds_address parsed;

	problem[0] = '\0';
	assert_int_equal(xds_address_parse(address, &parsed, problem, size), 0);
	return xds_call_check(&parsed, problem, size);
}

static void test_a_libcurl_that_can_is_taken(void **state)
{
	char problem[256];

	(void)state;
	libcurl_is(0x075801, "7.88.1", CURL_VERSION_SSL | CURL_VERSION_HTTP2, "OpenSSL/3.0.19");
	assert_int_equal(check("grpc://a", problem, sizeof(problem)), 0);
	assert_int_equal(check("grpcs://a", problem, sizeof(problem)), 0);
	assert_int_equal(check("grpc-web+https://a", problem, sizeof(problem)), 0);
	assert_string_equal(problem, "");
}

static void test_one_without_http_2_or_tls_does_for_plaintext(void **state)
{
	char problem[256];

	(void)state;
	libcurl_is(0x075500, "7.85.0", 0, NULL);
	assert_int_equal(check("grpc://a", problem, sizeof(problem)), 0);
	assert_int_equal(check("grpc-web+http://a", problem, sizeof(problem)), 0);
	assert_int_equal(check("grpcs://a", problem, sizeof(problem)), -ENOTSUP);
	assert_string_equal(problem, "libcurl 7.85.0 was built with no TLS, and TLS needs one with OpenSSL");
}

static void test_what_is_missing_is_named(void **state)
{
	char problem[256];

	(void)state;
	libcurl_is(0x075801, "7.88.1", CURL_VERSION_SSL, "GnuTLS/3.7.9");
	assert_int_equal(check("grpcs://a", problem, sizeof(problem)), -ENOTSUP);
	assert_string_equal(problem, "libcurl 7.88.1 was built with GnuTLS/3.7.9, and TLS needs one with OpenSSL");
	libcurl_is(0x074a00, "7.74.0", CURL_VERSION_SSL, "OpenSSL/1.1.1");
	assert_int_equal(check("grpc://a", problem, sizeof(problem)), -ENOTSUP);
	assert_string_equal(problem, "libcurl 7.74.0 is too old, 7.85.0 or newer is needed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_libcurl_that_can_is_taken),
		cmocka_unit_test(test_one_without_http_2_or_tls_does_for_plaintext),
		cmocka_unit_test(test_what_is_missing_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

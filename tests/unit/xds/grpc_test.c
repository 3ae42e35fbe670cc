/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "xds/grpc.h"

static void check_decoded(const char *text, const char *expected)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	assert_int_equal(xds_percent_decode(text, strlen(text), &out), 0);
	assert_string_equal(strbuf_text(&out), expected);
}

static void test_percent_sequences_are_decoded_and_broken_ones_stay(void **state)
{
	(void)state;
	check_decoded("", "");
	check_decoded("plain text", "plain text");
	check_decoded("a%20b%3A%3a%E2%82%AC", "a b::\xe2\x82\xac");
	check_decoded("100%", "100%");
	check_decoded("%4", "%4");
	check_decoded("%zz%41%g1%1g", "%zzA%g1%1g");
	check_decoded("%%41", "%A");
}

static void read_lines(struct xds_grpc_head *head, const char *const *lines)
{
	xds_grpc_head_reset(head);
	for (; *lines; lines++)
		assert_int_equal(xds_grpc_head_line(head, *lines, strlen(*lines)), 0);
}

static void test_the_status_is_read_from_head_and_trailers(void **state)
{
	static const char *const lines[] = { "HTTP/2 200 \r\n", "Content-Type:  application/grpc\r\n", "\r\n", "grpc-status: 7\r\n",
					     "GRPC-Message: no%20way\r\n", "\r\n", NULL };
	_cleanup_(xds_grpc_head_release) struct xds_grpc_head head = { 0 };

	(void)state;
	read_lines(&head, lines);
	assert_int_equal(head.http_major, 2);
	assert_int_equal(head.http_status, 200);
	assert_int_equal(head.grpc_status, 7);
	assert_string_equal(strbuf_text(&head.message), "no way");
	assert_true(xds_grpc_head_is_good(&head));
}

static void test_an_informational_head_is_forgotten(void **state)
{
	static const char *const lines[] = { "HTTP/1.1 103 Early Hints\r\n", "content-type: text/html\r\n", "grpc-status: 3\r\n", "\r\n",
					     "HTTP/1.1 200 OK\r\n", "\r\n", NULL };
	_cleanup_(xds_grpc_head_release) struct xds_grpc_head head = { 0 };

	(void)state;
	read_lines(&head, lines);
	assert_int_equal(head.http_major, 1);
	assert_int_equal(head.http_status, 200);
	assert_int_equal(head.grpc_status, -1);
	assert_string_equal(head.content_type, "");
	assert_false(xds_grpc_head_is_good(&head));
}

static bool is_good(bool is_web, uint32_t status, const char *type)
{
	struct xds_grpc_head head = { .is_web = is_web, .http_status = status };

	snprintf(head.content_type, sizeof(head.content_type), "%s", type);
	return xds_grpc_head_is_good(&head);
}

static void test_only_the_protocol_that_was_asked_for_is_good(void **state)
{
	(void)state;
	assert_true(is_good(false, 200, "application/grpc"));
	assert_true(is_good(false, 200, "application/grpc+proto"));
	assert_true(is_good(false, 200, "Application/GRPC; charset=x"));
	assert_false(is_good(false, 200, "application/grpc-web+proto"));
	assert_false(is_good(false, 200, "text/html"));
	assert_false(is_good(false, 200, ""));
	assert_false(is_good(false, 503, "application/grpc"));
	assert_true(is_good(true, 200, "application/grpc-web+proto"));
	assert_true(is_good(true, 200, "application/grpc-web"));
	assert_false(is_good(true, 200, "application/grpc-web-text"));
	assert_false(is_good(true, 200, "application/grpc"));
}

static void test_trailers_in_a_body_are_read(void **state)
{
	static const char block[] = "grpc-status:14\r\nHTTP/1.1 200 OK\r\ngrpc-message:a%0Ab\r\n";
	_cleanup_(xds_grpc_head_release) struct xds_grpc_head head = { .http_status = 200, .grpc_status = -1 };

	(void)state;
	assert_int_equal(xds_grpc_head_trailers(&head, block, strlen(block)), 0);
	assert_int_equal(head.http_status, 200);
	assert_int_equal(head.grpc_status, 14);
	assert_string_equal(strbuf_text(&head.message), "a\nb");
	assert_int_equal(xds_grpc_head_trailers(&head, "grpc-status:0", 13), 0);
	assert_int_equal(head.grpc_status, 0);
}

static void test_a_status_that_is_no_number_is_an_error(void **state)
{
	static const char *const values[] = { "grpc-status: x", "grpc-status: -1", "grpc-status:", "grpc-status: 1234", "grpc-status: 0x0" };
	struct xds_grpc_head head = { .http_status = 200 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		head.grpc_status = -1;
		assert_int_equal(xds_grpc_head_line(&head, values[i], strlen(values[i])), 0);
		assert_int_equal(head.grpc_status, -2);
	}
}

static void test_every_status_has_a_name(void **state)
{
	char number[16];

	(void)state;
	assert_string_equal(xds_grpc_status_name(14, number), "UNAVAILABLE");
	assert_string_equal(xds_grpc_status_name(16, number), "UNAUTHENTICATED");
	assert_string_equal(xds_grpc_status_name(17, number), "status 17");
	assert_string_equal(xds_grpc_status_name(-2, number), "status -2");
}

static void test_no_split_of_garbage_crashes_the_head(void **state)
{
	static const char text[] = "HTTP/2 200\nHTTP/\n:\n: x\nHTTP/1.1\nHTTP/1.1 \nHTTP/1.1 2\ncontent-type\ngrpc-message: %\n\n";
	_cleanup_(xds_grpc_head_release) struct xds_grpc_head head = { 0 };

	(void)state;
	for (size_t from = 0; from < sizeof(text); from++) {
		for (size_t to = from; to < sizeof(text); to++) {
			_cleanup_free_ char *copy = malloc(to - from + 1);

			memcpy(copy, text + from, to - from);
			assert_int_equal(xds_grpc_head_line(&head, copy, to - from), 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_percent_sequences_are_decoded_and_broken_ones_stay),
		cmocka_unit_test(test_the_status_is_read_from_head_and_trailers),
		cmocka_unit_test(test_an_informational_head_is_forgotten),
		cmocka_unit_test(test_only_the_protocol_that_was_asked_for_is_good),
		cmocka_unit_test(test_trailers_in_a_body_are_read),
		cmocka_unit_test(test_a_status_that_is_no_number_is_an_error),
		cmocka_unit_test(test_every_status_has_a_name),
		cmocka_unit_test(test_no_split_of_garbage_crashes_the_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

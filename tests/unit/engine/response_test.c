// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Response heads: framing of RFC 9112 6.3, judged as Envoy judges them. */
#include "engine/engine_test.h"

#define OK "HTTP/1.1 200 OK\r\n"

#define assert_response(outcome, method, literal) \
	do { \
		struct weft_head parsed_head; \
		assert_int_equal(parse_response(BYTES(literal), method, &parsed_head), outcome); \
	} while (0)

#define assert_framing(expected, method, literal) \
	do { \
		struct weft_head parsed_head; \
		assert_int_equal(parse_response(BYTES(literal), method, &parsed_head), WEFT_PARSE_DONE); \
		assert_int_equal(parsed_head.flags, expected); \
	} while (0)

static void test_a_response_has_a_length_or_chunks_or_ends_with_the_connection(void **state)
{
	struct weft_head head;

	assert_int_equal(parse_response(BYTES(OK "Content-Length: 5\r\n\r\nhello"), WEFT_METHOD_GET, &head), WEFT_PARSE_DONE);
	assert_int_equal(head.flags, WEFT_HEAD_CONTENT_LENGTH);
	assert_int_equal(head.content_length, 5);
	assert_int_equal(head.status, 200);
	assert_framing(WEFT_HEAD_CHUNKED, WEFT_METHOD_GET, OK "Transfer-Encoding: chunked\r\n\r\n");
	assert_framing(WEFT_HEAD_UNTIL_CLOSE, WEFT_METHOD_GET, OK "\r\n");
	assert_framing(WEFT_HEAD_UNTIL_CLOSE | WEFT_HEAD_HTTP_10, WEFT_METHOD_GET, "HTTP/1.0 200 OK\r\n\r\n");
}

static void test_interim_204_304_and_answers_to_head_have_no_body(void **state)
{
	assert_framing(WEFT_HEAD_NO_BODY, WEFT_METHOD_GET, "HTTP/1.1 100 Continue\r\n\r\n");
	assert_framing(WEFT_HEAD_NO_BODY, WEFT_METHOD_GET, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
	assert_framing(WEFT_HEAD_NO_BODY, WEFT_METHOD_GET, "HTTP/1.1 204 No Content\r\n\r\n");
	assert_framing(WEFT_HEAD_NO_BODY | WEFT_HEAD_CONTENT_LENGTH | WEFT_HEAD_PRIVATE, WEFT_METHOD_GET, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
	assert_framing(WEFT_HEAD_NO_BODY | WEFT_HEAD_CONTENT_LENGTH, WEFT_METHOD_GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n");
	assert_framing(WEFT_HEAD_NO_BODY | WEFT_HEAD_CONTENT_LENGTH, WEFT_METHOD_HEAD, OK "Content-Length: 9\r\n\r\n");
	assert_framing(WEFT_HEAD_NO_BODY | WEFT_HEAD_CHUNKED, WEFT_METHOD_HEAD, OK "Transfer-Encoding: chunked\r\n\r\n");
	assert_framing(WEFT_HEAD_NO_BODY, WEFT_METHOD_HEAD, OK "\r\n");
}

static void test_a_switch_of_protocols_is_told(void **state)
{
	assert_framing(WEFT_HEAD_NO_BODY | WEFT_HEAD_UPGRADE | WEFT_HEAD_CONNECTION_OTHER | WEFT_HEAD_CONNECTION_UPGRADE | WEFT_HEAD_WEBSOCKET,
		       WEFT_METHOD_GET, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void test_responses_with_doubtful_framing_are_refused(void **state)
{
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, OK "Content-Length: +5\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
	assert_response(WEFT_PARSE_CODING, WEFT_METHOD_GET, OK "Transfer-Encoding: gzip, chunked\r\n\r\n");
	assert_response(WEFT_PARSE_CODING, WEFT_METHOD_GET, OK "Transfer-Encoding: identity\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n");
}

static void test_status_lines(void **state)
{
	assert_framing(WEFT_HEAD_UNTIL_CLOSE, WEFT_METHOD_GET, "HTTP/1.1 200\r\n\r\n");
	assert_framing(WEFT_HEAD_UNTIL_CLOSE, WEFT_METHOD_GET, "HTTP/1.1 200 \r\n\r\n");
	assert_framing(WEFT_HEAD_UNTIL_CLOSE, WEFT_METHOD_GET, "HTTP/1.1 200 Very \xe9\t Fine Indeed, so that it spans words\r\n\r\n");
	assert_framing(WEFT_HEAD_UNTIL_CLOSE, WEFT_METHOD_GET, "HTTP/1.1 999 X\r\n\r\n");
	assert_framing(WEFT_HEAD_UNTIL_CLOSE | WEFT_HEAD_ODD | WEFT_HEAD_HTTP_10, WEFT_METHOD_GET, "HTTP/2.0 200 OK\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "HTTP/1.1 20 OK\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "HTTP/1.1 099 OK\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "HTTP/1.1 abc OK\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "HTTP/1.1 200OK\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "HTTP/1.1 12345 X\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "\r\nHTTP/1.1 200 OK\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "http/1.1 200 OK\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "HTTP/1.1 200 O\x01K\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, "garbage\r\n\r\n");
}

/* Envoy lets them pass; weft's proxy repairs them, the kernel never sees DONE. */
static void test_bare_lf_folds_and_bare_cr_are_odd_but_pass(void **state)
{
	static const char folded[] = OK "X-A: 1\r\n 2\r\nX-B:\r\n\t3\r\nX-C: 4 \r\n \r\nContent-Length: 2\r\n\r\nok";
	static const char bare[] = "HTTP/1.1 200 OK\nX-A: a\rb\nContent-Length: 2\n\nok";
	struct weft_head head;

	assert_int_equal(parse_response(BYTES(folded), WEFT_METHOD_GET, &head), WEFT_PARSE_DONE);
	assert_int_equal(head.flags, WEFT_HEAD_ODD | WEFT_HEAD_CONTENT_LENGTH);
	assert_int_equal(head.field_count, 4);
	assert_true(span_is(folded, head.fields[0].value, "1\r\n 2"));
	assert_true(span_is(folded, head.fields[1].value, "3"));
	assert_true(span_is(folded, head.fields[2].value, "4"));
	assert_int_equal(head.head_len, sizeof(folded) - 1 - 2);
	assert_int_equal(parse_response(BYTES(bare), WEFT_METHOD_GET, &head), WEFT_PARSE_DONE);
	assert_int_equal(head.flags, WEFT_HEAD_ODD | WEFT_HEAD_CONTENT_LENGTH);
	assert_int_equal(head.content_length, 2);
	assert_true(span_is(bare, head.fields[0].value, "a\rb"));
	assert_int_equal(head.head_len, sizeof(bare) - 1 - 2);
}

static void test_bad_lines_are_refused(void **state)
{
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, OK "X: a\0b\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, OK "nocolon\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, OK "X : 1\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, OK ": 1\r\n\r\n");
	assert_response(WEFT_PARSE_BAD, WEFT_METHOD_GET, OK " X: 1\r\n\r\n");
}

static void test_what_makes_a_response_the_proxys(void **state)
{
	assert_framing(WEFT_HEAD_CONTENT_LENGTH | WEFT_HEAD_CLOSE, WEFT_METHOD_GET, OK "Connection: close\r\nContent-Length: 0\r\n\r\n");
	assert_framing(WEFT_HEAD_CONTENT_LENGTH | WEFT_HEAD_KEEP_ALIVE, WEFT_METHOD_GET, OK "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n");
	assert_framing(WEFT_HEAD_CONTENT_LENGTH | WEFT_HEAD_CONNECTION_OTHER, WEFT_METHOD_GET, OK "Connection: host\r\nContent-Length: 0\r\n\r\n");
	assert_framing(WEFT_HEAD_CHUNKED | WEFT_HEAD_TRAILER, WEFT_METHOD_GET, OK "Trailer: x\r\nTransfer-Encoding: chunked\r\n\r\n");
	assert_framing(WEFT_HEAD_CONTENT_LENGTH | WEFT_HEAD_PRIVATE, WEFT_METHOD_GET, OK "X-Envoy-Overloaded: 1\r\nContent-Length: 0\r\n\r\n");
	assert_framing(WEFT_HEAD_CONTENT_LENGTH | WEFT_HEAD_REPEATED_JOINED, WEFT_METHOD_GET, OK "Vary: a\r\nVary: b\r\nContent-Length: 0\r\n\r\n");
	assert_framing(WEFT_HEAD_CONTENT_LENGTH, WEFT_METHOD_GET, OK "Set-Cookie: a\r\nSet-Cookie: b\r\nVia: a\r\nVia: b\r\nContent-Length: 0\r\n\r\n");
}

static void test_what_envoy_rewrites_is_not_the_kernels(void **state)
{
	static const char *const responses[] = {
		OK "Vary: a\r\nVary: b\r\nContent-Length: 0\r\n\r\n",
		OK "Content-Type: a\r\nContent-Length: 0\r\ncontent-type: b\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
		OK "Connection: close\r\nContent-Length: 0\r\n\r\n",
	};
	struct weft_head head;
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(responses); i++) {
		assert_int_equal(parse_response(responses[i], strlen(responses[i]), WEFT_METHOD_GET, &head), WEFT_PARSE_DONE);
		assert_true(head.flags & WEFT_RESPONSE_PROXY_ONLY);
	}
	assert_int_equal(parse_response(BYTES(OK "Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"), WEFT_METHOD_GET, &head), WEFT_PARSE_DONE);
	assert_false(head.flags & WEFT_RESPONSE_PROXY_ONLY);
}

static void test_pieces_of_a_response_are_more_until_it_is_whole(void **state)
{
	static const char *const responses[] = {
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nServer: x\r\n\r\n",
		"HTTP/1.1 304\nX: a\n b\n\n",
	};
	struct weft_head head;
	size_t i, n;

	for (i = 0; i < WEFT_ARRAY_SIZE(responses); i++) {
		size_t len = strlen(responses[i]);

		for (n = 0; n < len; n++)
			if (parse_response(responses[i], n, WEFT_METHOD_GET, &head) != WEFT_PARSE_MORE)
				fail_msg("%.*s is not MORE", (int)n, responses[i]);
		assert_int_equal(parse_response(responses[i], len, WEFT_METHOD_GET, &head), WEFT_PARSE_DONE);
		assert_int_equal(head.head_len, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_response_has_a_length_or_chunks_or_ends_with_the_connection),
		cmocka_unit_test(test_interim_204_304_and_answers_to_head_have_no_body),
		cmocka_unit_test(test_a_switch_of_protocols_is_told),
		cmocka_unit_test(test_responses_with_doubtful_framing_are_refused),
		cmocka_unit_test(test_status_lines),
		cmocka_unit_test(test_bare_lf_folds_and_bare_cr_are_odd_but_pass),
		cmocka_unit_test(test_bad_lines_are_refused),
		cmocka_unit_test(test_what_makes_a_response_the_proxys),
		cmocka_unit_test(test_what_envoy_rewrites_is_not_the_kernels),
		cmocka_unit_test(test_pieces_of_a_response_are_more_until_it_is_whole),
	};

	return cmocka_run_group_tests_name("responses", tests, NULL, NULL);
}

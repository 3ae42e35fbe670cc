// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Request heads: the public vectors of llhttp and http-garden by their names, and what weft decides itself. */
#include "engine/engine_test.h"

#define HOST "Host: a\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST
#define GET "GET / HTTP/1.1\r\n" HOST

#define assert_parse(outcome, literal) \
	do { \
		struct weft_head parsed_head; \
		assert_int_equal(parse_request(BYTES(literal), &parsed_head), outcome); \
	} while (0)

#define assert_bad(why, literal) \
	do { \
		struct weft_head parsed_head; \
		assert_int_equal(parse_request(BYTES(literal), &parsed_head), WEFT_PARSE_BAD); \
		assert_int_equal(parsed_head.error, why); \
	} while (0)

#define assert_flags(expected, literal) \
	do { \
		struct weft_head parsed_head; \
		assert_int_equal(parse_request(BYTES(literal), &parsed_head), WEFT_PARSE_DONE); \
		assert_int_equal(parsed_head.flags, expected); \
	} while (0)

/* ---- llhttp, test/request ------------------------------------------------------------------------------------------------ */

static void test_llhttp_duplicate_content_length_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: 3\r\ncontent-length: 4\r\n\r\nabc");
}

static void test_llhttp_content_length_overflow_is_refused(void **state)
{
	struct weft_head head;

	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: 18446744073709551616\r\n\r\n");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: 100000000000000000000\r\n\r\n");
	assert_int_equal(parse_request(BYTES(POST "Content-Length: 18446744073709551615\r\n\r\n"), &head), WEFT_PARSE_DONE);
	assert_true(head.content_length == UINT64_MAX);
}

static void test_llhttp_content_length_with_transfer_encoding_identity_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_LENGTH_AND_CODING, POST "Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nWorld");
}

static void test_content_length_with_transfer_encoding_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_LENGTH_AND_CODING, POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
	assert_bad(WEFT_ERROR_LENGTH_AND_CODING, POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n");
}

static void test_llhttp_whitespace_in_content_length_is_refused(void **state)
{
	struct weft_head head;

	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: 4 2\r\n\r\n");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: 13 37\r\n\r\n");
	assert_int_equal(parse_request(BYTES(POST "Content-Length: \t 42 \t\r\n\r\n"), &head), WEFT_PARSE_DONE);
	assert_int_equal(head.content_length, 42);
}

static void test_llhttp_empty_content_length_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length:\r\n\r\n");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: \r\n\r\n");
}

static void test_llhttp_cr_instead_of_dash_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_NAME, POST "Content\rLength: 10\r\n\r\n");
}

static void test_llhttp_missing_crlf_before_the_body_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_LINE_END, GET "Connection: close\r\nContent-Length: 0\r\n\rGET / HTTP/1.1\r\n\r\n");
}

static void test_llhttp_chunked_before_other_codings_is_refused(void **state)
{
	assert_parse(WEFT_PARSE_CODING, POST "Transfer-Encoding: chunked, deflate\r\n\r\nWorld");
	assert_parse(WEFT_PARSE_CODING, POST "Transfer-Encoding: deflate, chunked\r\n\r\nWorld");
}

static void test_llhttp_chunked_with_duplicate_transfer_encoding_is_refused(void **state)
{
	assert_parse(WEFT_PARSE_CODING, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n");
	assert_parse(WEFT_PARSE_CODING, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: deflate\r\n\r\n");
}

static void test_llhttp_chunkedchunked_is_refused(void **state)
{
	assert_parse(WEFT_PARSE_CODING, POST "Transfer-Encoding: chunkedchunked\r\n\r\n5\r\nWorld\r\n0\r\n\r\n");
}

static void test_llhttp_pigeons_are_refused(void **state)
{
	assert_parse(WEFT_PARSE_CODING, POST "Transfer-Encoding: pigeons\r\n\r\n");
}

static void test_llhttp_obs_fold_after_the_chunked_value_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_FOLD, POST "Transfer-Encoding: chunked\r\n abc\r\n\r\n5\r\nWorld\r\n0\r\n\r\n");
}

static void test_llhttp_headers_separated_by_cr_are_refused(void **state)
{
	assert_bad(WEFT_ERROR_LINE_END, GET "Foo: 1\rBar: 2\r\n\r\n");
}

static void test_llhttp_headers_separated_by_lf_are_refused(void **state)
{
	assert_bad(WEFT_ERROR_LINE_END, GET "Foo: 1\nBar: 2\r\n\r\n");
}

static void test_llhttp_headers_separated_by_dummy_characters_are_refused(void **state)
{
	assert_bad(WEFT_ERROR_LINE_END, GET "Connection: close\r\nHost2: a\n\rZGET /evil: HTTP/1.1\r\n\r\n");
}

static void test_llhttp_illegal_name_line_folding_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_NAME, GET "name\r\n : value\r\n\r\n");
}

static void test_llhttp_only_lfs_are_refused(void **state)
{
	assert_bad(WEFT_ERROR_LINE_END, "GET / HTTP/1.1\nHost: a\n\n");
	assert_bad(WEFT_ERROR_LINE_END, GET "\n");
}

static void test_llhttp_spaces_before_headers_are_refused(void **state)
{
	assert_bad(WEFT_ERROR_NAME, "GET / HTTP/1.1\r\n Host: a\r\n\r\n");
	assert_bad(WEFT_ERROR_NAME, "POST /hello HTTP/1.1\r\n\tFoo: bar\r\nHost: a\r\n\r\n");
}

static void test_llhttp_line_folding_with_crlf_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_FOLD, GET "Line1: abc\r\n\tdef\r\n ghi\r\n\r\n");
	assert_bad(WEFT_ERROR_FOLD, GET "Line1:\r\n abc\r\n\r\n");
}

/* ---- http-garden, trophies ----------------------------------------------------------------------------------------------- */

static void test_garden_nul_cr_or_lf_in_a_value_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_VALUE, GET "X: a\0b\r\n\r\n");
	assert_bad(WEFT_ERROR_LINE_END, GET "X: a\rb\r\n\r\n");
	assert_bad(WEFT_ERROR_LINE_END, GET "X: a\nb\r\n\r\n");
	assert_bad(WEFT_ERROR_LINE_END, GET "X: a\r\r\n\r\n");
}

static void test_garden_content_lengths_that_are_no_digits_are_refused(void **state)
{
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: +1_0\r\n\r\n");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: 1_0\r\n\r\n");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: +1\r\n\r\n");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: -1\r\n\r\n");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: 0x1\r\n\r\n");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: 1,1\r\n\r\n");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length: 1\xb2\r\n\r\n");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, POST "Content-Length:\r\n\r\n");
}

static void test_garden_content_length_010_is_ten(void **state)
{
	struct weft_head head;

	assert_int_equal(parse_request(BYTES(POST "Content-Length: 010\r\n\r\n0123456789"), &head), WEFT_PARSE_DONE);
	assert_int_equal(head.content_length, 10);
	assert_int_equal(head.flags, WEFT_HEAD_CONTENT_LENGTH);
}

static void test_garden_an_empty_name_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_NAME, GET ": x\r\n\r\n");
	assert_bad(WEFT_ERROR_NAME, GET ":\r\n\r\n");
}

static void test_garden_comma_chunked_is_refused(void **state)
{
	assert_parse(WEFT_PARSE_CODING, POST "Transfer-Encoding: ,chunked\r\n\r\n");
	assert_parse(WEFT_PARSE_CODING, POST "Transfer-Encoding: chunked,\r\n\r\n");
}

static void test_garden_a_line_without_colon_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_NAME, GET "test\r\n\r\n");
	assert_bad(WEFT_ERROR_NAME, GET "an-unusually-long-name-that-never-comes-to-its-colon\r\n\r\n");
}

static void test_garden_cr_x_does_not_end_a_head(void **state)
{
	assert_bad(WEFT_ERROR_LINE_END, GET "\rX");
	assert_bad(WEFT_ERROR_LINE_END, GET "A: b\r\n\rXX");
}

static void test_garden_a_name_continued_across_lines_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_NAME, GET "Te\r\nst: a\r\n\r\n");
}

static void test_garden_xx_does_not_end_a_line(void **state)
{
	assert_bad(WEFT_ERROR_LINE_END, GET "A: b\rXX\r\n\r\n");
}

static void test_garden_an_unknown_transfer_encoding_is_refused(void **state)
{
	assert_parse(WEFT_PARSE_CODING, POST "Transfer-Encoding: x\r\n\r\n");
	assert_parse(WEFT_PARSE_CODING, POST "Transfer-Encoding: \"chunked\"\r\n\r\n");
	assert_parse(WEFT_PARSE_CODING, POST "Transfer-Encoding: chunked;a=b\r\n\r\n");
	assert_bad(WEFT_ERROR_VALUE, POST "Transfer-Encoding: \vchunked\r\n\r\n");
}

/* ---- weft's own ----------------------------------------------------------------------------------------------------------- */

static void test_white_space_before_the_colon_is_refused(void **state)
{
	assert_bad(WEFT_ERROR_NAME, GET "X : a\r\n\r\n");
	assert_bad(WEFT_ERROR_NAME, GET "Transfer-Encoding\t: chunked\r\n\r\n");
}

static void test_names_hold_token_characters_only(void **state)
{
	struct weft_head head;
	u32 byte;

	assert_parse(WEFT_PARSE_DONE, GET "!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n");
	for (byte = 0; byte < 256; byte++) {
		bool is_token = byte && strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", byte);
		char request[] = GET "Xy?z: 1\r\n\r\n";

		*strchr(request, '?') = byte;
		/* a colon ends the name, `y:` is none the worse; then `z: 1` is its value */
		assert_int_equal(parse_request(request, sizeof(request) - 1, &head) == WEFT_PARSE_DONE, is_token || byte == ':');
	}
}

static void test_values_hold_no_controls_but_tab(void **state)
{
	struct weft_head head;
	u32 byte;

	for (byte = 0; byte < 256; byte++) {
		bool is_control = (byte < 0x20 && byte != '\t') || byte == 0x7f;
		char request[] = GET "X: a?b and more than eight bytes\r\n\r\n";

		*strchr(request, '?') = byte;
		assert_int_equal(parse_request(request, sizeof(request) - 1, &head), is_control ? WEFT_PARSE_BAD : WEFT_PARSE_DONE);
	}
}

static void test_values_are_trimmed_of_space_and_tab(void **state)
{
	static const char request[] = GET "A:\t \tb c\t \r\nB:\r\nC: \t \r\nD:d\r\n\r\n";
	struct weft_head head;

	assert_int_equal(parse_request(BYTES(request), &head), WEFT_PARSE_DONE);
	assert_int_equal(head.field_count, 5);
	assert_true(span_is(request, head.fields[1].value, "b c"));
	assert_true(span_is(request, head.fields[2].value, ""));
	assert_true(span_is(request, head.fields[3].value, ""));
	assert_true(span_is(request, head.fields[4].value, "d"));
	assert_true(span_is(request, head.fields[4].name, "D"));
}

static void test_the_spans_are_those_of_the_line(void **state)
{
	static const char request[] = "DELETE /a/b?c=d&e HTTP/1.1\r\nHost: x.test:8080\r\n\r\nbody";
	struct weft_head head;

	assert_int_equal(parse_request(BYTES(request), &head), WEFT_PARSE_DONE);
	assert_int_equal(head.method, WEFT_METHOD_DELETE);
	assert_true(span_is(request, head.method_span, "DELETE"));
	assert_true(span_is(request, head.target, "/a/b?c=d&e"));
	assert_true(span_is(request, head.path, "/a/b"));
	assert_true(span_is(request, head.authority, "x.test:8080"));
	assert_int_equal(head.host_len, strlen("x.test"));
	assert_int_equal(head.head_len, sizeof(request) - 1 - strlen("body"));
	assert_int_equal(head.flags, 0);
}

static void test_an_absolute_target_gives_the_authority_without_userinfo(void **state)
{
	static const char request[] = "GET HTTPS://u:p@x.test:81/y?z HTTP/1.1\r\nHost: bad host\r\nHost: other\r\n\r\n";
	static const char bare[] = "OPTIONS http://[::1] HTTP/1.1\r\n\r\n";
	struct weft_head head;

	assert_int_equal(parse_request(BYTES(request), &head), WEFT_PARSE_DONE);
	assert_true(span_is(request, head.authority, "x.test:81"));
	assert_int_equal(head.host_len, strlen("x.test"));
	assert_true(span_is(request, head.path, "/y"));
	assert_int_equal(head.flags, WEFT_HEAD_ABSOLUTE_FORM | WEFT_HEAD_ABSOLUTE_OTHER);
	assert_int_equal(parse_request(BYTES(bare), &head), WEFT_PARSE_DONE);
	assert_true(span_is(bare, head.authority, "[::1]"));
	assert_int_equal(head.path.len, 0);
}

static void test_absolute_targets_that_envoy_refuses_are_refused(void **state)
{
	static const char *const targets[] = {
		"http://", "http:///x", "http://h:/", "http://h:x/", "http://h:65536/", "http://h#x", "http://h@@x/", "http://a@b@c/",
		"http://[::1/", "http://[::1]x/", "http://[1]/", "http://[::g]/", "http:/h/", "http:h", "ftp://h/", "httpx://h/", "h/", "?x",
	};
	char request[128];
	struct weft_head head;
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(targets); i++) {
		snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", targets[i]);
		if (parse_request(request, strlen(request), &head) != WEFT_PARSE_BAD)
			fail_msg("%s is taken", targets[i]);
		assert_int_equal(head.error, WEFT_ERROR_TARGET);
	}
}

static void test_hosts_without_port_end_before_the_last_colon(void **state)
{
	static const struct {
		const char *authority;
		u32 host_len;
	} cases[] = {
		{"a", 1}, {"a:", 1}, {"a:80", 1}, {"a:abc", 1}, {"a:-1", 1}, {"a:80:80", 4}, {"[::1]", 5}, {"[::1]:80", 5}, {"::1]", 4},
		{"2001:db8::1", 9}, {":80", 0}, {"", 0}, {"a.very.long.name.of.a.host.that.spans.words.and.goes.on.and.on.and.on:9", 69},
		{"a:123456789", 1}, {"under_score.test", 16}, {"user@h:1", 6}, {"user:pw@h", 4}, {"a.b-c:8080", 5},
	};
	char request[256];
	struct weft_head head;
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(cases); i++) {
		snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", cases[i].authority);
		assert_int_equal(parse_request(request, strlen(request), &head), WEFT_PARSE_DONE);
		if (head.host_len != cases[i].host_len)
			fail_msg("%s has %u bytes without its port", cases[i].authority, head.host_len);
	}
}

static void test_host_is_wanted_once_and_valid(void **state)
{
	static const char forbidden[] = "/?#\\\"<>|{} \x80\xff^`";
	struct weft_head head;
	size_t i;

	assert_bad(WEFT_ERROR_HOST, "GET / HTTP/1.1\r\n\r\n");
	assert_bad(WEFT_ERROR_HOST, "GET / HTTP/1.0\r\n\r\n");
	assert_bad(WEFT_ERROR_HOST, GET HOST "\r\n");
	assert_bad(WEFT_ERROR_HOST, GET "host:\r\n\r\n");
	assert_parse(WEFT_PARSE_DONE, "GET / HTTP/1.1\r\nHost:\r\n\r\n");
	for (i = 0; i < sizeof(forbidden) - 1; i++) {
		char request[] = "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n";

		*strchr(request, '?') = forbidden[i];
		assert_int_equal(parse_request(request, sizeof(request) - 1, &head), WEFT_PARSE_BAD);
		assert_int_equal(head.error, WEFT_ERROR_HOST);
	}
}

static void test_a_fault_of_host_comes_before_those_of_later_lines(void **state)
{
	static const char bad[] = "GET / HTTP/1.1\r\nhost: a b\r\n";

	assert_bad(WEFT_ERROR_HOST, "GET / HTTP/1.1\r\nhost: a b\r\na : b\r\n\r\n");
	assert_bad(WEFT_ERROR_HOST, "GET / HTTP/1.1\r\nhost: a b\r\ncontent-length: x\r\n\r\n");
	assert_bad(WEFT_ERROR_HOST, "GET / HTTP/1.1\r\nhost: a b\r\nconnection: keep-alive\r\nx: y\n\r\n");
	assert_bad(WEFT_ERROR_NAME, "GET / HTTP/1.1\r\na : b\r\nhost: a b\r\n\r\n");
	assert_bad(WEFT_ERROR_CONTENT_LENGTH, "GET / HTTP/1.1\r\ncontent-length: x\r\nhost: a b\r\n\r\n");
	/* and is certain with its line */
	assert_bad(WEFT_ERROR_HOST, bad);
}

static void test_versions_that_are_not_served(void **state)
{
	assert_parse(WEFT_PARSE_VERSION, "GET / HTTP/1.2\r\n");
	assert_parse(WEFT_PARSE_VERSION, "GET / HTTP/2.0\r\n");
	assert_parse(WEFT_PARSE_VERSION, "GET / HTTP/0.9\r\n");
	assert_parse(WEFT_PARSE_VERSION, "GET /\r\n");
	assert_flags(WEFT_HEAD_HTTP_10, "GET / HTTP/1.0\r\n" HOST "\r\n");
}

static void test_transfer_encoding_on_http_10_is_refused(void **state)
{
	struct weft_head head;

	assert_int_equal(parse_request(BYTES("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"), &head), WEFT_PARSE_BAD);
	assert_int_equal(head.error, WEFT_ERROR_TRANSFER_ENCODING);
	assert_true(head.flags & WEFT_HEAD_HTTP_10);
}

static void test_lines_that_are_no_request_are_not_http(void **state)
{
	assert_parse(WEFT_PARSE_NOT_HTTP, "\x16\x03\x01\x02\x00");
	assert_parse(WEFT_PARSE_NOT_HTTP, "SSH-2.0-OpenSSH_9.2\r\n");
	assert_parse(WEFT_PARSE_NOT_HTTP, "*1\r\n$4\r\nPING\r\n");
	assert_parse(WEFT_PARSE_NOT_HTTP, "hello");
	assert_parse(WEFT_PARSE_NOT_HTTP, "GETT");
	assert_parse(WEFT_PARSE_NOT_HTTP, "get / HTTP/1.1\r\n");
	assert_parse(WEFT_PARSE_NOT_HTTP, "M-SEARCH * HTTP/1.1\r\n");
	assert_parse(WEFT_PARSE_NOT_HTTP, "GET\r\n");
	assert_parse(WEFT_PARSE_NOT_HTTP, "GET \r\n");
	assert_parse(WEFT_PARSE_NOT_HTTP, "GET / http/1.1\r\n");
	assert_parse(WEFT_PARSE_NOT_HTTP, "GET / HTTP/1.10\r\n");
	assert_parse(WEFT_PARSE_NOT_HTTP, "GET / ICY");
	assert_parse(WEFT_PARSE_NOT_HTTP, " GET / HTTP/1.1\r\n");
}

static void test_the_preface_of_http2_is_told_by_its_first_twelve_bytes(void **state)
{
	assert_parse(WEFT_PARSE_PREFACE, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	assert_parse(WEFT_PARSE_PREFACE, "PRI * HTTP/2");
	assert_parse(WEFT_PARSE_MORE, "PRI * HTTP/");
	assert_parse(WEFT_PARSE_MORE, "P");
	assert_parse(WEFT_PARSE_NOT_HTTP, "PRI * HTTP/1.1\r\n");
}

static void test_white_space_in_the_line_and_empty_lines_before_it_are_odd(void **state)
{
	assert_flags(WEFT_HEAD_ODD, "GET  / HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_ODD, "GET /\tHTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_ODD, "GET / HTTP/1.1 \r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_ODD, "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n");
	assert_bad(WEFT_ERROR_LINE_END, "\nGET / HTTP/1.1\r\n" HOST "\r\n");
}

static void test_connection_tokens_are_told_apart(void **state)
{
	assert_flags(WEFT_HEAD_KEEP_ALIVE, GET "Connection: Keep-Alive\r\n\r\n");
	assert_flags(WEFT_HEAD_PRIVATE, GET "Keep-Alive: timeout=5\r\n\r\n");
	assert_flags(WEFT_HEAD_CONNECTION_OTHER, GET "Connection:\r\n\r\n");
	assert_flags(WEFT_HEAD_CONNECTION_OTHER, GET "Connection: ,,\r\n\r\n");
	assert_flags(WEFT_HEAD_CLOSE, GET "Connection: CLOSE\r\n\r\n");
	assert_flags(WEFT_HEAD_CLOSE | WEFT_HEAD_KEEP_ALIVE, GET "Connection: close , keep-alive\r\n\r\n");
	assert_flags(WEFT_HEAD_CLOSE | WEFT_HEAD_CONNECTION_OTHER, GET "Connection: x-hop\r\nConnection:\t,,close   ,\r\n\r\n");
	assert_flags(WEFT_HEAD_CONNECTION_OTHER, GET "Connection: keep-alive2\r\n\r\n");
	assert_flags(WEFT_HEAD_CONNECTION_OTHER, GET "Connection: close keep-alive\r\n\r\n");
}

static void test_connection_may_not_name_what_envoy_protects(void **state)
{
	assert_bad(WEFT_ERROR_CONNECTION, GET "Connection: x-forwarded-for\r\n\r\n");
	assert_bad(WEFT_ERROR_CONNECTION, GET "Connection: a, X-Forwarded-Proto\r\n\r\n");
	assert_bad(WEFT_ERROR_CONNECTION, GET "Connection: :path\r\n\r\n");
	assert_bad(WEFT_ERROR_CONNECTION_HOST, GET "Connection: Host\r\n\r\n");
	assert_bad(WEFT_ERROR_CONNECTION, GET "Connection: 1,2,3,4,5,6,7,8,9,10\r\n\r\n");
	assert_bad(WEFT_ERROR_CONNECTION, GET "Connection: 1,2,3,4,5\r\nConnection: 6,7,8,9,10\r\n\r\n");
	assert_parse(WEFT_PARSE_DONE, GET "Connection: 1,2,3,4,5,6,7,8,9\r\n\r\n");
}

static void test_a_websocket_upgrade_needs_both_lines_and_nothing_else(void **state)
{
	u32 upgrade = WEFT_HEAD_UPGRADE | WEFT_HEAD_CONNECTION_OTHER | WEFT_HEAD_CONNECTION_UPGRADE;

	assert_flags(upgrade | WEFT_HEAD_WEBSOCKET, GET "Connection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n");
	assert_flags(upgrade | WEFT_HEAD_WEBSOCKET | WEFT_HEAD_KEEP_ALIVE, GET "Upgrade: websocket\r\nConnection: keep-alive, upgrade\r\n\r\n");
	assert_flags(WEFT_HEAD_UPGRADE, GET "Upgrade: websocket\r\n\r\n");
	assert_flags(upgrade, GET "Connection: Upgrade\r\nUpgrade: websocket, foo\r\n\r\n");
	assert_flags(upgrade, GET "Connection: Upgrade\r\nUpgrade: foo\r\nUpgrade: websocket\r\n\r\n");
}

static void test_fields_that_make_a_request_the_proxys(void **state)
{
	assert_flags(WEFT_HEAD_EXPECT_CONTINUE, GET "Expect: 100-Continue\r\n\r\n");
	assert_flags(WEFT_HEAD_EXPECT_OTHER, GET "Expect: 100-continue, x\r\n\r\n");
	assert_flags(WEFT_HEAD_TE, GET "TE: trailers\r\n\r\n");
	assert_flags(WEFT_HEAD_TRAILER, GET "Trailer: x\r\n\r\n");
	assert_flags(WEFT_HEAD_PRIVATE, GET "X-Envoy-Anything: x\r\n\r\n");
	assert_flags(WEFT_HEAD_PRIVATE, GET "Proxy-Connection: close\r\n\r\n");
	assert_flags(WEFT_HEAD_PRIVATE, GET "X-Forwarded-Client-Cert: x\r\n\r\n");
	assert_flags(WEFT_HEAD_CONTENT_TYPE | WEFT_HEAD_GRPC, GET "Content-Type: application/grpc\r\n\r\n");
	assert_flags(WEFT_HEAD_CONTENT_TYPE | WEFT_HEAD_GRPC, GET "content-type:\tapplication/grpc-web+proto \r\n\r\n");
	assert_flags(WEFT_HEAD_CONTENT_TYPE, GET "Content-Type: application/grp\r\n\r\n");
	assert_flags(WEFT_HEAD_CONTENT_TYPE, GET "Content-Type: application/json\r\n\r\n");
	assert_flags(0, GET "x-forwarded-proto: http\r\n\r\n");
	assert_flags(WEFT_HEAD_FORWARDED_HTTPS, GET "X-Forwarded-Proto:  https \r\n\r\n");
	assert_flags(WEFT_HEAD_PRIVATE, GET "x-forwarded-proto: HTTPS\r\n\r\n");
	assert_flags(WEFT_HEAD_PRIVATE, GET "x-forwarded-proto: httpx\r\n\r\n");
	assert_flags(WEFT_HEAD_PRIVATE, GET "x-forwarded-proto: htt\r\n\r\n");
	assert_flags(WEFT_HEAD_PRIVATE, GET "x-forwarded-proto:\r\n\r\n");
	assert_flags(WEFT_HEAD_PRIVATE, GET "x-forwarded-proto: https,http\r\n\r\n");
	assert_flags(WEFT_HEAD_PRIVATE | WEFT_HEAD_REPEATED_JOINED, GET "x-forwarded-proto: https\r\nx-forwarded-proto: https\r\n\r\n");
	assert_flags(0, GET "X-Envo: x\r\nX-Forwarded-For: a\r\n\r\n");
	assert_flags(WEFT_HEAD_CHUNKED, POST "Transfer-Encoding: Chunked\r\n\r\n");
}

static void test_repeated_lines_count_only_for_names_that_envoy_joins(void **state)
{
	assert_flags(WEFT_HEAD_REPEATED_JOINED, GET "Accept: a\r\nX: 1\r\naccept: b\r\n\r\n");
	assert_flags(WEFT_HEAD_REPEATED_JOINED, GET "X-Forwarded-For: a\r\nX-Forwarded-For: b\r\n\r\n");
	assert_flags(0, GET "Cookie: a\r\nCookie: b\r\nX-Own: 1\r\nX-Own: 2\r\nAccept-Language: a\r\nAccept-Language: b\r\n\r\n");
	assert_flags(0, GET "Accept: a\r\nAccept-Encoding: b\r\n\r\n");
}

static void test_query_wants_a_content_type(void **state)
{
	assert_bad(WEFT_ERROR_METHOD, "QUERY / HTTP/1.1\r\n" HOST "\r\n");
	assert_parse(WEFT_PARSE_DONE, "QUERY / HTTP/1.1\r\n" HOST "Content-Type: a/b\r\n\r\n");
}

static void test_an_asterisk_is_for_options_only(void **state)
{
	assert_flags(WEFT_HEAD_ASTERISK, "OPTIONS * HTTP/1.1\r\n" HOST "\r\n");
	assert_bad(WEFT_ERROR_TARGET, "GET * HTTP/1.1\r\n" HOST "\r\n");
	assert_bad(WEFT_ERROR_TARGET, "OPTIONS *x HTTP/1.1\r\n" HOST "\r\n");
}

static void test_dot_segments_and_escapes_are_flagged_only_where_they_change_something(void **state)
{
	assert_flags(0, "GET /.well-known/..x/.../a. HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(0, "GET /a%20b%2gc%zz%2?../%7E%2f HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(0, "GET /~u/[x]@!$ HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_NORMALIZES, "GET /a/. HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_NORMALIZES, "GET /a/../b HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_NORMALIZES, "GET /%7Eu HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_NORMALIZES, "GET /%2e HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_NORMALIZES, "GET /a%00 HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_NORMALIZES, "GET /a\\b HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_NORMALIZES, "GET /a|b HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_NORMALIZES | WEFT_HEAD_FRAGMENT, "GET /a?b#c HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_ESCAPED_SLASHES, "GET /a%2fb%5Cc HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(WEFT_HEAD_SLASHES, "GET /a//b HTTP/1.1\r\n" HOST "\r\n");
	assert_flags(0, "GET /a?b=//c/../d HTTP/1.1\r\n" HOST "\r\n");
}

static void test_large_heads_are_too_large(void **state)
{
	static const char begin[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
	u32 fits = WEFT_PROXY_HEAD_MAX - (sizeof(begin) - 1) - 4;
	char *request = malloc(70000);
	struct weft_head head;
	u32 i, len;

	assert_non_null(request);
	for (i = fits - 1; i <= fits + 1; i++) {
		len = snprintf(request, 70000, "%s", begin);
		memset(request + len, 'v', i);
		len += i;
		memcpy(request + len, "\r\n\r\n", 4);
		len += 4;
		assert_int_equal(parse_request(request, len, &head), i <= fits ? WEFT_PARSE_DONE : WEFT_PARSE_TOO_LARGE);
	}
	/* without an end in sight */
	memset(request, 'a', 70000);
	memcpy(request, begin, sizeof(begin) - 1);
	assert_int_equal(parse_request(request, WEFT_PROXY_HEAD_MAX - 1, &head), WEFT_PARSE_MORE);
	assert_int_equal(parse_request(request, WEFT_PROXY_HEAD_MAX, &head), WEFT_PARSE_TOO_LARGE);
	/* lines: 100 with Host */
	for (i = 99; i <= 101; i++) {
		u32 k;

		len = snprintf(request, 70000, GET);
		for (k = 1; k < i; k++)
			len += snprintf(request + len, 70000 - len, "x: y\r\n");
		len += snprintf(request + len, 70000 - len, "\r\n");
		assert_int_equal(parse_request(request, len, &head), i <= 100 ? WEFT_PARSE_DONE : WEFT_PARSE_TOO_LARGE);
	}
	free(request);
}

/* A head that comes byte by byte is MORE until it is whole, and one that is refused is never taken by a shorter piece. */
static void test_pieces_of_a_head_are_more_until_it_is_whole(void **state)
{
	static const char *const requests[] = {
		"GET /a/b?c HTTP/1.1\r\nHost: a.test:80\r\nConnection: keep-alive, x\r\nAccept: */*\r\nX-Long-Name-Of-More-Than-32-Bytes: \tv \r\n\r\n",
		"\r\nPOST  http://u@h:1/%2e HTTP/1.1\t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
		"PROPPATCH /a//b#c HTTP/1.0\r\nHost: [::1]:80\r\nCookie: a=b; c=d\r\n\r\n",
	};
	struct weft_head head;
	size_t i, n;

	for (i = 0; i < WEFT_ARRAY_SIZE(requests); i++) {
		size_t len = strlen(requests[i]);

		for (n = 0; n < len; n++)
			if (parse_request(requests[i], n, &head) != WEFT_PARSE_MORE)
				fail_msg("%.*s is not MORE", (int)n, requests[i]);
		assert_int_equal(parse_request(requests[i], len, &head), WEFT_PARSE_DONE);
		assert_int_equal(head.head_len, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_llhttp_duplicate_content_length_is_refused),
		cmocka_unit_test(test_llhttp_content_length_overflow_is_refused),
		cmocka_unit_test(test_llhttp_content_length_with_transfer_encoding_identity_is_refused),
		cmocka_unit_test(test_content_length_with_transfer_encoding_is_refused),
		cmocka_unit_test(test_llhttp_whitespace_in_content_length_is_refused),
		cmocka_unit_test(test_llhttp_empty_content_length_is_refused),
		cmocka_unit_test(test_llhttp_cr_instead_of_dash_is_refused),
		cmocka_unit_test(test_llhttp_missing_crlf_before_the_body_is_refused),
		cmocka_unit_test(test_llhttp_chunked_before_other_codings_is_refused),
		cmocka_unit_test(test_llhttp_chunked_with_duplicate_transfer_encoding_is_refused),
		cmocka_unit_test(test_llhttp_chunkedchunked_is_refused),
		cmocka_unit_test(test_llhttp_pigeons_are_refused),
		cmocka_unit_test(test_llhttp_obs_fold_after_the_chunked_value_is_refused),
		cmocka_unit_test(test_llhttp_headers_separated_by_cr_are_refused),
		cmocka_unit_test(test_llhttp_headers_separated_by_lf_are_refused),
		cmocka_unit_test(test_llhttp_headers_separated_by_dummy_characters_are_refused),
		cmocka_unit_test(test_llhttp_illegal_name_line_folding_is_refused),
		cmocka_unit_test(test_llhttp_only_lfs_are_refused),
		cmocka_unit_test(test_llhttp_spaces_before_headers_are_refused),
		cmocka_unit_test(test_llhttp_line_folding_with_crlf_is_refused),
		cmocka_unit_test(test_garden_nul_cr_or_lf_in_a_value_is_refused),
		cmocka_unit_test(test_garden_content_lengths_that_are_no_digits_are_refused),
		cmocka_unit_test(test_garden_content_length_010_is_ten),
		cmocka_unit_test(test_garden_an_empty_name_is_refused),
		cmocka_unit_test(test_garden_comma_chunked_is_refused),
		cmocka_unit_test(test_garden_a_line_without_colon_is_refused),
		cmocka_unit_test(test_garden_cr_x_does_not_end_a_head),
		cmocka_unit_test(test_garden_a_name_continued_across_lines_is_refused),
		cmocka_unit_test(test_garden_xx_does_not_end_a_line),
		cmocka_unit_test(test_garden_an_unknown_transfer_encoding_is_refused),
		cmocka_unit_test(test_white_space_before_the_colon_is_refused),
		cmocka_unit_test(test_names_hold_token_characters_only),
		cmocka_unit_test(test_values_hold_no_controls_but_tab),
		cmocka_unit_test(test_values_are_trimmed_of_space_and_tab),
		cmocka_unit_test(test_the_spans_are_those_of_the_line),
		cmocka_unit_test(test_an_absolute_target_gives_the_authority_without_userinfo),
		cmocka_unit_test(test_absolute_targets_that_envoy_refuses_are_refused),
		cmocka_unit_test(test_hosts_without_port_end_before_the_last_colon),
		cmocka_unit_test(test_host_is_wanted_once_and_valid),
		cmocka_unit_test(test_a_fault_of_host_comes_before_those_of_later_lines),
		cmocka_unit_test(test_versions_that_are_not_served),
		cmocka_unit_test(test_transfer_encoding_on_http_10_is_refused),
		cmocka_unit_test(test_lines_that_are_no_request_are_not_http),
		cmocka_unit_test(test_the_preface_of_http2_is_told_by_its_first_twelve_bytes),
		cmocka_unit_test(test_white_space_in_the_line_and_empty_lines_before_it_are_odd),
		cmocka_unit_test(test_connection_tokens_are_told_apart),
		cmocka_unit_test(test_connection_may_not_name_what_envoy_protects),
		cmocka_unit_test(test_a_websocket_upgrade_needs_both_lines_and_nothing_else),
		cmocka_unit_test(test_fields_that_make_a_request_the_proxys),
		cmocka_unit_test(test_repeated_lines_count_only_for_names_that_envoy_joins),
		cmocka_unit_test(test_query_wants_a_content_type),
		cmocka_unit_test(test_an_asterisk_is_for_options_only),
		cmocka_unit_test(test_dot_segments_and_escapes_are_flagged_only_where_they_change_something),
		cmocka_unit_test(test_large_heads_are_too_large),
		cmocka_unit_test(test_pieces_of_a_head_are_more_until_it_is_whole),
	};

	return cmocka_run_group_tests_name("requests", tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What the first line of a connection is taken for: each as Envoy 1.40's http_inspector did, before chains for [http/1.1, h2c] and for anything
 * else. 17,000 random lines of such pieces agreed. */
#include "engine/engine_test.h"
#include "weft/first_line.h"

static const struct {
	const char *bytes;
	enum weft_first_line is;
} lines[] = {
	{"GET /x HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"GET /x HTTP/1.1\n", WEFT_FIRST_LINE_HTTP_11},
	{"GET /x HTTP/1.1\r\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"GET /x HTTP/1.1 \t\x01\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"GET\t/x\x01HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"GET\r/x\rHTTP/1.1\n", WEFT_FIRST_LINE_HTTP_11},
	{"get /x HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"1P!#$%&'*+-.^_`|~ /x HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"PRI /x HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"GET * HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"GET *a HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"GET /\fx#| HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER}, /* blanks end a target */
	{"GET /x#|\" HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"GET h9+-.://a@b:80/c?d HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"GET http:// HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"CONNECT a:80 HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"CONNECT /x HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"OPTIONS /xHTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"OPTIONS /xHTTP/1.1 \r\n", WEFT_FIRST_LINE_HTTP_10},
	{"OPTIONS\f/xHTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_10},
	{"GET /x HTTP/1.0\r\n", WEFT_FIRST_LINE_HTTP_10},
	{"GET /x HTTP/1.2\r\n", WEFT_FIRST_LINE_HTTP_10},
	{"GET /x HTTP/2.0\r\n", WEFT_FIRST_LINE_HTTP_10},
	{"GET /x\r\n", WEFT_FIRST_LINE_HTTP_10},
	{"GET /x \n", WEFT_FIRST_LINE_HTTP_10},
	{"GET /x HTTP/1.10\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET /x http/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET /x y HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET /x HTTP/1.1\x7f\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET\x01/x HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET x HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET mailto:a HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET 9h://a HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET http://a@@b/ HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET http://a|b/ HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET http://a#b HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET /\xc3\xa4 HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"CONNECT http://a/ HTTP/1.1\r\n", WEFT_FIRST_LINE_HTTP_11},
	{"connect a:80 HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET key\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET key another\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET\r\n", WEFT_FIRST_LINE_OTHER},
	{"GET \r\n", WEFT_FIRST_LINE_OTHER},
	{"*1\r\n$4\r\nPING\r\n", WEFT_FIRST_LINE_OTHER},
	{"SSH-2.0-OpenSSH_9.2\r\n", WEFT_FIRST_LINE_OTHER},
	{"\r\nGET /x HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"\n", WEFT_FIRST_LINE_OTHER},
	{"\r", WEFT_FIRST_LINE_OTHER},
	{" GET /x HTTP/1.1\r\n", WEFT_FIRST_LINE_OTHER},
	{"\x16\x03\x01", WEFT_FIRST_LINE_OTHER},
	{"A(B", WEFT_FIRST_LINE_OTHER},
	{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nx", WEFT_FIRST_LINE_HTTP_2},
	{"PRI * HTTP/2.0\r\n\r\nSM", WEFT_FIRST_LINE_MORE},
	{"PRI * HTTP/2.0\r\n\r\nSX", WEFT_FIRST_LINE_HTTP_10},
	{"", WEFT_FIRST_LINE_MORE},
	{"hello", WEFT_FIRST_LINE_MORE},
	{"GET /x HTTP/1.1\r", WEFT_FIRST_LINE_MORE},
	{"GET key another", WEFT_FIRST_LINE_MORE},
};

static void test_each_line_is_what_envoy_takes_it_for(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		size_t len = strlen(lines[i].bytes);
		u8 *bytes = malloc(len ? len : 1); /* no byte more, for the sanitizer */
		enum weft_first_line is;

		assert_non_null(bytes);
		memcpy(bytes, lines[i].bytes, len);
		is = weft_inspect_first_line(bytes, (u32)len);
		free(bytes);
		if (is != lines[i].is)
			fail_msg("line %zu, %s: %d, not %d", i, lines[i].bytes, (int)is, (int)lines[i].is);
	}
}

/* Until its line has ended, nothing that becomes HTTP is taken for something else. */
static void test_a_line_may_come_in_pieces(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const char *end = strchr(lines[i].bytes, '\n');

		for (size_t len = 1; lines[i].is == WEFT_FIRST_LINE_HTTP_11 && len <= (size_t)(end - lines[i].bytes); len++)
			assert_int_equal(weft_inspect_first_line((const u8 *)lines[i].bytes, (u32)len), WEFT_FIRST_LINE_MORE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_line_is_what_envoy_takes_it_for),
		cmocka_unit_test(test_a_line_may_come_in_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

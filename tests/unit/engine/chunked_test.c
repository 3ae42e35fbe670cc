// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Chunked bodies: the vectors of llhttp and http-garden by their names, in one piece and byte by byte. */
#include "engine/engine_test.h"
#include "weft/chunked.h"

/* The result and how many bytes belong to the body, fed whole and in pieces of every size up to 7, which must agree. */
static int feed(const u8 *bytes, size_t len, size_t *consumed)
{
	struct weft_chunked whole, pieces;
	size_t step, at, used;
	int r, k;

	weft_chunked_init(&whole);
	r = weft_chunked_feed(&whole, bytes, len, consumed);
	for (step = 1; step < 8; step++) {
		size_t total = 0;

		weft_chunked_init(&pieces);
		k = WEFT_CHUNKED_MORE;
		for (at = 0; at < len && k == WEFT_CHUNKED_MORE; at += step) {
			k = weft_chunked_feed(&pieces, bytes + at, WEFT_MIN(step, len - at), &used);
			total += used;
		}
		assert_int_equal(k, r);
		assert_int_equal(total, *consumed);
		assert_true(pieces.data_len == whole.data_len);
	}
	return r;
}

#define assert_done(rest, literal) \
	do { \
		size_t fed; \
		assert_int_equal(feed(BYTES(literal), &fed), WEFT_CHUNKED_DONE); \
		assert_int_equal(fed, sizeof(literal) - 1 - (rest)); \
	} while (0)

#define assert_result(result, literal) \
	do { \
		size_t fed; \
		assert_int_equal(feed(BYTES(literal), &fed), result); \
	} while (0)

#define assert_bad(literal) assert_result(WEFT_CHUNKED_BAD, literal)

static void test_bodies_end_after_the_last_chunk(void **state)
{
	assert_done(0, "5\r\nhello\r\n0\r\n\r\n");
	assert_done(0, "A\r\n0123456789\r\n00\r\n\r\n");
	assert_done(3, "0\r\n\r\nGET");
	assert_done(0, "0000000000000005\r\nhello\r\n0\r\n\r\n");
	assert_done(0, "00000000000000005\r\nhello\r\n0\r\n\r\n");
	assert_done(0, "1\r\n\r\r\n0\r\n\r\n");
	assert_result(WEFT_CHUNKED_MORE, "5\r\nhello\r\n0\r\n");
	assert_result(WEFT_CHUNKED_MORE, "5\r\nhel");
	assert_result(WEFT_CHUNKED_MORE, "FFFFFFFFFFFFFFFF\r\nhello");
}

static void test_the_data_is_counted_without_framing(void **state)
{
	struct weft_chunked chunked;
	size_t fed;

	weft_chunked_init(&chunked);
	assert_int_equal(weft_chunked_feed(&chunked, BYTES("5;x\r\nhello\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n"), &fed), WEFT_CHUNKED_DONE);
	assert_int_equal(chunked.data_len, 8);
	assert_int_equal(weft_chunked_feed(&chunked, BYTES("more"), &fed), WEFT_CHUNKED_DONE);
	assert_int_equal(fed, 0);
}

static void test_sizes_are_bounded_hexdig(void **state)
{
	assert_bad("0x5\r\nhello\r\n0\r\n\r\n");
	assert_bad("+5\r\nhello\r\n0\r\n\r\n");
	assert_bad("-5\r\nhello\r\n0\r\n\r\n");
	assert_bad("5_0\r\nhello\r\n0\r\n\r\n");
	assert_bad("0_2e\r\n"); /* garden */
	assert_bad("g\r\n");
	assert_bad("\r\nhello\r\n");
	assert_bad(" 5\r\nhello\r\n0\r\n\r\n");
	assert_bad("10000000000000000\r\n");
	assert_bad("5.0\r\n");
}

static void test_extensions(void **state)
{
	assert_done(0, "5;x=y\r\nhello\r\n0\r\n\r\n");
	assert_done(0, "5;x=\"a;b\"\r\nhello\r\n0;y\r\n\r\n");
	assert_done(0, "5;x=\"a\\\"b\"\r\nhello\r\n0\r\n\r\n");
	assert_done(0, "5 ;x\r\nhello\r\n0\r\n\r\n");
	assert_done(0, "5 \r\nhello\r\n0\r\n\r\n"); /* llhttp's space after the chunk header: Envoy takes it */
	assert_done(0, "5;\r\nhello\r\n0\r\n\r\n");
	assert_bad("5 x\r\nhello\r\n0\r\n\r\n");            /* llhttp: no semicolon before extensions */
	assert_bad("5;x=\"abc\r\nhello\r\n0\r\n\r\n");      /* llhttp: unbalanced quoting */
	assert_bad("5;a\rb\r\nhello\r\n0\r\n\r\n");
	assert_bad("5;a\nb\r\nhello\r\n0\r\n\r\n");
	assert_bad("5;a\0b\r\nhello\r\n0\r\n\r\n");
	assert_bad("5\r\r;ABCD\r\nhello\r\n0\r\n\r\n");     /* garden */
}

static void test_extensions_are_bounded(void **state)
{
	u32 n;

	for (n = WEFT_CHUNKED_EXTENSIONS_MAX - 2; n < WEFT_CHUNKED_EXTENSIONS_MAX + 2; n++) {
		u8 *body = malloc(n + 16);
		size_t len = 0, fed;

		assert_non_null(body);
		body[len++] = '0';
		body[len++] = ';';
		memset(body + len, 'x', n);
		len += n;
		memcpy(body + len, "\r\n\r\n", 4);
		assert_int_equal(feed(body, len + 4, &fed), n < WEFT_CHUNKED_EXTENSIONS_MAX ? WEFT_CHUNKED_DONE : WEFT_CHUNKED_BAD);
		free(body);
	}
}

static void test_lines_end_in_crlf(void **state)
{
	assert_bad("5\nhello\r\n0\r\n\r\n");   /* llhttp: header not terminated by CRLF; garden: bare-LF chunk */
	assert_bad("5\r\nhello\n0\r\n\r\n");   /* llhttp: data not terminated by CRLF */
	assert_bad("5\r\nhello0\r\n\r\n");
	assert_bad("5\r\nhelloXX0\r\n\r\n");
	assert_bad("5\rhello\r\n0\r\n\r\n");
	assert_bad("6\r\nhello\r\n\r\n0\r\n\r\n");
	assert_bad("4\r\nhello\r\n0\r\n\r\n");
	assert_bad("5\r\nhello\r\n\r\n0\r\n\r\n"); /* garden: extra CRLF before the last chunk */
	assert_bad("0\r\n\n");
	assert_bad("0\r\n\rX");
}

static void test_trailers_are_fields(void **state)
{
	assert_done(0, "0\r\nX-T: 1\r\nx-u:\t\xe9\r\n\r\n");
	assert_done(0, "0\r\nContent-Length: 3\r\nHost: evil\r\n\r\n");
	assert_bad("0\r\nbad trailer\r\n\r\n");
	assert_bad("0\r\n fold\r\n\r\n");
	assert_bad("0\r\nX: a\r\n fold\r\n\r\n");
	assert_bad("0\r\nX: a\nb\r\n\r\n");
	assert_bad("0\r\nX : a\r\n\r\n");
	assert_bad("0\r\n: a\r\n\r\n");
	assert_bad("0\r\nX: a\0\r\n\r\n");
}

static void test_trailers_are_bounded(void **state)
{
	struct weft_chunked chunked;
	size_t fed, i;
	int r;

	weft_chunked_init(&chunked);
	r = weft_chunked_feed(&chunked, BYTES("0\r\n"), &fed);
	for (i = 0; i <= WEFT_CHUNKED_TRAILERS_MAX / 8 && r == WEFT_CHUNKED_MORE; i++)
		r = weft_chunked_feed(&chunked, BYTES("x-t: y\r\n"), &fed);
	assert_int_equal(r, WEFT_CHUNKED_BAD);
}

static int whole(const char *bytes, size_t len)
{
	struct weft_head_bytes *copy = head_copy(bytes, len);
	int r = weft_chunked_whole(copy, 2, len);

	free(copy);
	return r;
}

static void test_the_kernel_knows_short_whole_bodies(void **state)
{
	char many[256] = "..";
	u32 i;

	assert_int_equal(whole("..5\r\nhello\r\n0\r\n\r\n", 17), 1);
	assert_int_equal(whole("..0\r\n\r\n", 7), 1);
	assert_int_equal(whole("..0\r\n\r\nx", 8), 0);
	assert_int_equal(whole("..5\r\nhello\r\n0\r\n\r", 16), 0);
	assert_int_equal(whole("..5;x\r\nhello\r\n0\r\n\r\n", 19), 0);
	assert_int_equal(whole("..5\r\nhello\r\n0\r\nX: y\r\n\r\n", 23), 0);
	assert_int_equal(whole("..5\r\nhelloXX0\r\n\r\n", 17), 0);
	assert_int_equal(whole("..FFFF\r\nhello\r\n0\r\n\r\n", 20), 0);
	assert_int_equal(whole("..g\r\n\r\n", 7), 0);
	assert_int_equal(whole("..", 2), 0);
	for (i = 0; i < WEFT_CHUNKED_KERNEL_CHUNKS_MAX; i++)
		strcat(many, "1\r\nx\r\n");
	strcat(many, "0\r\n\r\n");
	assert_int_equal(whole(many, strlen(many)), 1);
	memmove(many + 8, many + 2, strlen(many + 2) + 1);
	memcpy(many + 2, "1\r\nx\r\n", 6);
	assert_int_equal(whole(many, strlen(many)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bodies_end_after_the_last_chunk),
		cmocka_unit_test(test_the_data_is_counted_without_framing),
		cmocka_unit_test(test_sizes_are_bounded_hexdig),
		cmocka_unit_test(test_extensions),
		cmocka_unit_test(test_extensions_are_bounded),
		cmocka_unit_test(test_lines_end_in_crlf),
		cmocka_unit_test(test_trailers_are_fields),
		cmocka_unit_test(test_trailers_are_bounded),
		cmocka_unit_test(test_the_kernel_knows_short_whole_bodies),
	};

	return cmocka_run_group_tests_name("chunked", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "xds/frame.h"

#define LIMIT 1000u

struct seen {
	char text[512]; /* "M:bytes;T:bytes;" */
	int answer;
};

static int note(void *context, bool is_trailers, struct strbuf *body)
{
	struct seen *seen = context;
	size_t used = strlen(seen->text);

	snprintf(seen->text + used, sizeof(seen->text) - used, "%c:%s;", is_trailers ? 'T' : 'M', strbuf_text(body));
	return seen->answer;
}

static void test_a_stream_split_at_every_byte_gives_the_same_messages(void **state)
{
	static const char stream[] = "\0\0\0\0\3one\0\0\0\0\0\0\0\0\0\5three\x80\0\0\0\x10grpc-status: 0\r\n";
	size_t size = sizeof(stream) - 1;

	(void)state;
	for (size_t first = 0; first <= size; first++) {
		for (size_t second = first; second <= size; second++) {
			struct xds_frames frames = { .is_web = true, .limit_bytes = LIMIT };
			struct seen seen = { 0 };

			assert_int_equal(xds_frames_feed(&frames, stream, first, note, &seen), 0);
			assert_int_equal(xds_frames_feed(&frames, stream + first, second - first, note, &seen), 0);
			assert_int_equal(xds_frames_feed(&frames, stream + second, size - second, note, &seen), 0);
			assert_string_equal(seen.text, "M:one;M:;M:three;T:grpc-status: 0\r\n;");
			assert_true(xds_frames_are_whole(&frames));
			xds_frames_reset(&frames);
		}
	}
}

static void test_a_cut_message_is_not_whole(void **state)
{
	static const char stream[] = "\0\0\0\0\3one\0\0\0\0\3on";
	struct xds_frames frames = { .limit_bytes = LIMIT };
	struct seen seen = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(stream) - 1; i++) {
		assert_int_equal(xds_frames_are_whole(&frames), i == 0 || i == 8);
		assert_int_equal(xds_frames_feed(&frames, stream + i, 1, note, &seen), 0);
	}
	assert_false(xds_frames_are_whole(&frames));
	xds_frames_reset(&frames);
	assert_true(xds_frames_are_whole(&frames));
}

static int feed(const char *bytes, size_t size, bool is_web, char *problem)
{
	struct xds_frames frames = { .is_web = is_web, .limit_bytes = LIMIT };
	struct seen seen = { 0 };
	int r = xds_frames_feed(&frames, bytes, size, note, &seen);

	strcpy(problem, frames.problem);
	xds_frames_reset(&frames);
	return r;
}

static void test_a_message_over_the_limit_is_refused_by_its_prefix_and_named(void **state)
{
	char problem[128];

	(void)state;
	assert_int_equal(feed("\0\0\0\x03\xe9", 5, false, problem), -EMSGSIZE);
	assert_string_equal(problem, "a message of 1001 bytes, the limit is 1000");
	assert_int_equal(feed("\0\0\0\x03\xe8", 5, false, problem), 0);
	assert_int_equal(feed("\0\xff\xff\xff\xff", 5, false, problem), -EMSGSIZE);
	assert_string_equal(problem, "a message of 4294967295 bytes, the limit is 1000");
	assert_int_equal(feed("\x80\0\1\0\1", 5, true, problem), -EMSGSIZE);
}

static void test_what_was_not_asked_for_is_refused(void **state)
{
	char problem[128];

	(void)state;
	assert_int_equal(feed("\1\0\0\0\1x", 6, false, problem), -EPROTO);
	assert_non_null(strstr(problem, "compressed"));
	assert_int_equal(feed("\x80\0\0\0\1x", 6, false, problem), -EPROTO);
	assert_int_equal(feed("<html>", 6, false, problem), -EPROTO);
	assert_non_null(strstr(problem, "0x3c"));
	assert_int_equal(feed("\x80\0\0\0\0\0\0\0\0\0", 10, true, problem), -EPROTO);
	assert_string_equal(problem, "bytes after the trailers");
}

static void test_memory_follows_what_came_and_not_what_was_announced(void **state)
{
	struct xds_frames frames = { .limit_bytes = 200u << 20 };
	static char kilobyte[1024];
	struct seen seen = { 0 };

	(void)state;
	assert_int_equal(xds_frames_feed(&frames, "\0\x0c\x00\x00\x00", 5, note, &seen), 0);
	for (size_t came = 0; came < 64; came++) {
		assert_true(frames.body.capacity <= 8192 || frames.body.capacity <= 4 * came * 1024);
		assert_int_equal(xds_frames_feed(&frames, kilobyte, sizeof(kilobyte), note, &seen), 0);
	}
	xds_frames_reset(&frames);
}

static void test_an_error_of_the_reader_ends_the_reading(void **state)
{
	struct xds_frames frames = { .limit_bytes = LIMIT };
	struct seen seen = { .answer = -ENOMEM };

	(void)state;
	assert_int_equal(xds_frames_feed(&frames, "\0\0\0\0\1a\0\0\0\0\1b", 12, note, &seen), -ENOMEM);
	assert_string_equal(seen.text, "M:a;");
	xds_frames_reset(&frames);
}

static void test_what_is_framed_is_read_back(void **state)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	struct xds_frames frames = { .limit_bytes = LIMIT };
	struct seen seen = { 0 };

	(void)state;
	assert_int_equal(xds_frame_append(&out, "hello", 5), 0);
	assert_int_equal(xds_frame_append(&out, "", 0), 0);
	assert_int_equal(xds_frames_feed(&frames, out.data, out.size, note, &seen), 0);
	assert_string_equal(seen.text, "M:hello;M:;");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_stream_split_at_every_byte_gives_the_same_messages),
		cmocka_unit_test(test_a_cut_message_is_not_whole),
		cmocka_unit_test(test_a_message_over_the_limit_is_refused_by_its_prefix_and_named),
		cmocka_unit_test(test_what_was_not_asked_for_is_refused),
		cmocka_unit_test(test_memory_follows_what_came_and_not_what_was_announced),
		cmocka_unit_test(test_an_error_of_the_reader_ends_the_reading),
		cmocka_unit_test(test_what_is_framed_is_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/strbuf.h"

static void test_a_fresh_buffer_is_an_empty_text(void **state)
{
	struct strbuf buf = STRBUF_INIT;

	assert_string_equal(strbuf_text(&buf), "");
	assert_int_equal(strbuf_status(&buf), 0);
	strbuf_release(&buf);
}

static void test_pieces_add_up_and_end_in_a_zero_byte(void **state)
{
	_cleanup_(strbuf_release) struct strbuf buf = STRBUF_INIT;

	for (int i = 0; i < 1000; i++)
		assert_int_equal(strbuf_printf(&buf, "%d,", i), 0);
	assert_int_equal(strbuf_append_byte(&buf, 'x'), 0);
	assert_int_equal(strbuf_append(&buf, "a\0b", 3), 0);
	assert_int_equal(buf.size, 3890 + 4);
	assert_memory_equal(buf.data + 3890, "xa\0b", 5);
}

static void test_consume_and_truncate_keep_the_middle(void **state)
{
	_cleanup_(strbuf_release) struct strbuf buf = STRBUF_INIT;

	strbuf_append_text(&buf, "abcdef");
	strbuf_consume(&buf, 2);
	strbuf_truncate(&buf, 2);
	assert_string_equal(strbuf_text(&buf), "cd");
	strbuf_consume(&buf, 2);
	assert_string_equal(strbuf_text(&buf), "");
}

static void test_taking_hands_the_text_over_and_empties_the_buffer(void **state)
{
	struct strbuf buf = STRBUF_INIT;
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ char *none = NULL;

	strbuf_append_text(&buf, "mine");
	text = strbuf_take(&buf);
	assert_string_equal(text, "mine");
	assert_int_equal(buf.size, 0);
	none = strbuf_take(&buf);
	assert_string_equal(none, "");
}

static void test_an_impossible_size_fails_and_the_failure_sticks(void **state)
{
	_cleanup_(strbuf_release) struct strbuf buf = STRBUF_INIT;

	strbuf_append_text(&buf, "abc");
	assert_int_equal(strbuf_reserve(&buf, SIZE_MAX), -ENOMEM);
	assert_int_equal(strbuf_append_text(&buf, "d"), -ENOMEM);
	assert_string_equal(strbuf_text(&buf), "abc");
	assert_null(strbuf_take(&buf));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_fresh_buffer_is_an_empty_text),
		cmocka_unit_test(test_pieces_add_up_and_end_in_a_zero_byte),
		cmocka_unit_test(test_consume_and_truncate_keep_the_middle),
		cmocka_unit_test(test_taking_hands_the_text_over_and_empties_the_buffer),
		cmocka_unit_test(test_an_impossible_size_fails_and_the_failure_sticks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/varint.h"

static struct cursor over(const char *bytes, size_t size)
{
	return (struct cursor){ (const uint8_t *)bytes, (const uint8_t *)bytes + size };
}

static void reads(const char *bytes, size_t size, uint64_t expected)
{
	struct cursor c = over(bytes, size);
	uint64_t value;

	assert_true(take_varint(&c, &value));
	assert_int_equal(value, expected);
	assert_ptr_equal(c.at, c.end);
}

static void test_numbers_of_one_to_ten_bytes_are_read(void **state)
{
	reads("\x00", 1, 0);
	reads("\x7f", 1, 127);
	reads("\xac\x02", 2, 300);
	reads("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, UINT64_MAX);
	reads("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10, UINT64_MAX); /* what does not fit is lost */
}

static void test_a_number_that_is_cut_off_or_has_no_end_is_none(void **state)
{
	struct cursor c = over("\xac", 1), endless = over("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11), nothing = over("", 0);
	uint64_t value;

	assert_false(take_varint(&c, &value));
	assert_false(take_varint(&endless, &value));
	assert_false(take_varint(&nothing, &value));
}

static void test_nothing_past_the_end_is_skipped(void **state)
{
	struct cursor c = over("abc", 3);

	assert_true(skip_bytes(&c, 2));
	assert_false(skip_bytes(&c, 2));
	assert_false(skip_bytes(&c, UINT64_MAX));
	assert_true(skip_bytes(&c, 1));
	assert_true(skip_bytes(&c, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_of_one_to_ten_bytes_are_read),
		cmocka_unit_test(test_a_number_that_is_cut_off_or_has_no_end_is_none),
		cmocka_unit_test(test_nothing_past_the_end_is_skipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

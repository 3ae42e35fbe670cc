/* SPDX-License-Identifier: Apache-2.0 */
/* The date of local replies: whether programs may read it is one number, which outlives the worker that writes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "datapath/internal.h"

static const char earlier[] = "date: Sun, 22 Nov 2026 01:13:34 GMT\r\n", later[] = "date: Sun, 22 Nov 2026 01:13:35 GMT\r\n";

static void is_readable(const struct weft_control *control, const char *line)
{
	assert_int_equal(control->date_sequence & 1, 0);
	assert_int_equal(control->date_len, strlen(line));
	assert_memory_equal(control->date, line, strlen(line));
}

static void test_each_date_has_a_sequence_of_its_own(void **state)
{
	struct weft_control control = { 0 };
	struct datapath dp = { .control = &control };
	uint32_t before;

	datapath_set_date(&dp, earlier);
	is_readable(&control, earlier);
	before = control.date_sequence;
	datapath_set_date(&dp, later);
	is_readable(&control, later);
	assert_int_not_equal(control.date_sequence, before);
}

static void test_a_worker_that_died_writing_leaves_no_lasting_harm(void **state)
{
	struct weft_control control = { 0 };
	struct datapath dp = { .control = &control };
	uint32_t before;

	datapath_set_date(&dp, earlier);
	before = control.date_sequence;
	control.date_sequence++; /* killed before it could say that it was done */
	datapath_set_date(&dp, later);
	is_readable(&control, later);
	assert_int_not_equal(control.date_sequence, before);
	datapath_set_date(&dp, earlier);
	is_readable(&control, earlier);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_date_has_a_sequence_of_its_own),
		cmocka_unit_test(test_a_worker_that_died_writing_leaves_no_lasting_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

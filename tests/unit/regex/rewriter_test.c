/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "regex/regex.h"

static void check(const char *pattern, const char *substitution, const char *value, const char *expected)
{
	_cleanup_(rewriter_free) struct rewriter *rewriter = NULL;
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	assert_int_equal(rewriter_new(&rewriter, pattern, strlen(pattern)), 0);
	assert_int_equal(rewriter_apply(rewriter, substitution, strlen(substitution), value, strlen(value), &out), 0);
	assert_string_equal(strbuf_text(&out), expected);
}

static void test_every_match_is_replaced(void **state)
{
	check("a", "b", "banana", "bbnbnb");
	check("^([a-z]+).*$", "\\1", "alice-1", "alice");
	check("(\\w+)@(\\w+)", "\\2 at \\1 (\\0)", "x@y, z@w", "y at x (x@y), w at z (z@w)");
	check("b", "\\\\", "abc", "a\\c");
	check("x", "y", "abc", "abc");
	check("x", "y", "", "");
	/* RE2's own tests of GlobalReplace */
	check("b*", "bb", "a", "bbabb");
	check("b*", "bb", "ab", "bbabb");
	check("(qu|[b-df-hj-np-tv-z]*)([a-z]+)", "\\2\\1ay", "the quick brown fox", "ethay ickquay ownbray oxfay");
	check("\\w+$", "\\0-NOSPAM", "abcd.efghi@google.com", "abcd.efghi@google.com-NOSPAM");
	check("^", "(START)", "foo", "(START)foo");
	check("^", "(START)", "", "(START)");
	check("$", "(END)", "", "(END)");
}

static void test_a_group_that_is_not_there_replaces_nothing(void **state)
{
	check("(a)", "\\2", "banana", "banana");
	check("a", "x\\", "banana", "bxnxnx");
	check("a", "x\\qy", "ba", "bx");
}

static void test_bytes_are_latin_1(void **state)
{
	check("[\\xe9]", "e", "caf\xe9", "cafe");
	check("^.{2}$", "two", "\xc3\xa9", "two");
}

static void test_what_can_not_be_said_to_pcre2_is_refused(void **state)
{
	struct rewriter *rewriter = NULL;

	assert_int_equal(rewriter_new(&rewriter, "a(b", 3), -EINVAL);
	assert_int_equal(rewriter_new(&rewriter, "(a*)*", 5), -ENOTSUP);
}

static void test_a_search_without_end_is_given_up(void **state)
{
	static const char pattern[] = "(a+)+$", value[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
	_cleanup_(rewriter_free) struct rewriter *rewriter = NULL;
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	assert_int_equal(rewriter_new(&rewriter, pattern, sizeof(pattern) - 1), 0);
	assert_int_equal(rewriter_apply(rewriter, "x", 1, value, sizeof(value) - 1, &out), -E2BIG);
	assert_int_equal(out.size, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_match_is_replaced),
		cmocka_unit_test(test_a_group_that_is_not_there_replaces_nothing),
		cmocka_unit_test(test_bytes_are_latin_1),
		cmocka_unit_test(test_what_can_not_be_said_to_pcre2_is_refused),
		cmocka_unit_test(test_a_search_without_end_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

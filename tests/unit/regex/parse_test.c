/* SPDX-License-Identifier: Apache-2.0 */
/* Which patterns are taken, and what is said about the others. */
#include "helper.h"

static void refuse(const char *pattern, const char *expected)
{
	struct strbuf text = STRBUF_INIT;
	struct regex *regex = NULL;
	struct regex_error error;

	assert_int_equal(regex_parse(pattern, strlen(pattern), &regex, &error), -EINVAL);
	assert_null(regex);
	regex_error_text(&error, pattern, strlen(pattern), &text);
	assert_string_equal(strbuf_text(&text), expected);
	strbuf_release(&text);
}

static void test_a_refused_pattern_is_told_what_is_wrong_and_where(void **state)
{
	refuse("/a/([0-9]{1001})", "invalid repetition size: {1001}, at byte 9 of /a/([0-9]{1001})");
	refuse("a**", "bad repetition operator: **, at byte 1 of a**");
	refuse("x|*", "no argument for repetition operator: *, at byte 2 of x|*");
	refuse("/(a|b", "missing ): (a|b, at byte 1 of /(a|b");
	refuse("a)b", "unexpected ): ), at byte 1 of a)b");
	refuse("a[b", "missing ]: [b, at byte 1 of a[b");
	refuse("[z-a]", "invalid character class range: z-a, at byte 1 of [z-a]");
	refuse("\\p{Nix}", "invalid character class range, at byte 0 of \\p{Nix}");
	refuse("a\\", "trailing \\: \\, at byte 1 of a\\");
	refuse("(a)\\1", "invalid escape sequence: \\1, at byte 3 of (a)\\1");
	refuse("a(?=b)", "invalid perl operator: (?=, at byte 1 of a(?=b)");
	refuse("(?P<a-b>c)", "invalid named capture group: (?P<a-b>, at byte 0 of (?P<a-b>c)");
	refuse("\x01(", "missing ): (, at byte 1 of \\x01(");
}

static void test_a_long_pattern_is_shown_up_to_a_whole_character(void **state)
{
	char pattern[256] = "(", expected[600], shown[256];

	for (size_t i = 1; i < 199; i++)
		pattern[i] = 'a';
	memcpy(shown, pattern, sizeof(shown));
	strcpy(pattern + 199, "\xe4\xb8\x80\xe4\xb8\x80");
	snprintf(expected, sizeof(expected), "missing ), at byte 0 of %s...", shown);
	refuse(pattern, expected);
}

static void test_patterns_without_bounds_are_refused_and_not_followed(void **state)
{
	_cleanup_(regex_free) struct regex *regex = NULL;
	size_t size = 200000;
	_cleanup_free_ char *deep = malloc(size + 1);
	struct regex_error error;

	assert_non_null(deep);
	memset(deep, '(', size);
	assert_int_equal(regex_parse(deep, size, &regex, &error), -EINVAL);
	assert_int_equal(error.fault, REGEX_FAULT_MISSING_PAREN);
	memset(deep + size / 2, ')', size / 2);
	assert_int_equal(regex_parse(deep, size, &regex, &error), -EINVAL);
	assert_int_equal(error.fault, REGEX_FAULT_DEPTH);
	memset(deep, 'a', size);
	assert_int_equal(regex_parse(deep, size, &regex, &error), -EINVAL);
	assert_int_equal(error.fault, REGEX_FAULT_PROGRAM_SIZE);
}

static void test_a_list_of_paths_counts_its_common_beginnings_once(void **state)
{
	_cleanup_(regex_free) struct regex *regex = NULL;
	struct strbuf pattern = STRBUF_INIT;
	int i;

	for (i = 0; i < 3000; i++)
		strbuf_printf(&pattern, "%s/path%d", i ? "|" : "", i);
	regex = parsed(strbuf_text(&pattern));
	assert_true(regex_program_size(regex) < 12000);
	strbuf_release(&pattern);
}

static void test_nul_is_a_byte_of_a_pattern(void **state)
{
	_cleanup_(regex_free) struct regex *regex = NULL;

	assert_int_equal(regex_parse("a\0b*", 4, &regex, NULL), 0);
	assert_int_equal(regex_capture_count(regex), 0);
}

/* ---- what google-re2 said ----------------------------------------------------------------------------------------------------------- */

struct tally {
	size_t taken, refused, wrong;
};

/* RE2's message: its words, and the bytes at fault or, for parentheses, all of the pattern. */
static bool says_the_same(const struct bytes *said, const struct regex_error *error, const struct bytes *pattern)
{
	const char *words = regex_fault_text(error->fault);
	size_t size = strlen(words);
	bool is_paren = error->fault == REGEX_FAULT_MISSING_PAREN || error->fault == REGEX_FAULT_UNEXPECTED_PAREN;

	if (said->size < size || memcmp(said->data, words, size))
		return false;
	if (said->size == size)
		return error->fault == REGEX_FAULT_TRAILING_BACKSLASH;
	size += 2;
	if (is_paren)
		return said->size == size + pattern->size && !memcmp(said->data + size, pattern->data, pattern->size);
	return said->size == size + error->size && !memcmp(said->data + size, pattern->data + error->at, error->size);
}

static void judge_pattern(const json_t *line, void *context)
{
	_cleanup_(regex_free) struct regex *regex = NULL;
	const json_t *said = json_object_get(line, "error");
	struct tally *tally = context;
	static struct bytes pattern, message;
	struct regex_error error = { 0 };
	int r;

	bytes_of(json_object_get(line, "pattern"), &pattern);
	r = regex_parse(pattern.data, pattern.size, &regex, &error);
	if (said) {
		bytes_of(said, &message);
		tally->refused++;
		if (r == -EINVAL && says_the_same(&message, &error, &pattern))
			return;
	} else {
		tally->taken++;
		if (!r && regex_program_size(regex) >= json_integer_value(json_object_get(line, "size")))
			return;
	}
	tally->wrong++;
	print_error("%s: RE2 says %s (size %lld), weft %s at %zu (size %u)\n", pattern.data, said ? message.data : "yes",
		    json_integer_value(json_object_get(line, "size")), regex_fault_text(error.fault), error.at,
		    regex ? regex_program_size(regex) : 0);
}

static void test_re2_takes_and_refuses_the_same_patterns_in_the_same_words(void **state)
{
	struct tally tally = { 0 };

	each_line(RECORDED, judge_pattern, &tally);
	print_message("%zu patterns taken, %zu refused\n", tally.taken, tally.refused);
	assert_int_equal(tally.wrong, 0);
	assert_true(tally.taken >= 3000 && tally.refused >= 1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_refused_pattern_is_told_what_is_wrong_and_where),
		cmocka_unit_test(test_a_long_pattern_is_shown_up_to_a_whole_character),
		cmocka_unit_test(test_patterns_without_bounds_are_refused_and_not_followed),
		cmocka_unit_test(test_a_list_of_paths_counts_its_common_beginnings_once),
		cmocka_unit_test(test_nul_is_a_byte_of_a_pattern),
		cmocka_unit_test(test_re2_takes_and_refuses_the_same_patterns_in_the_same_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

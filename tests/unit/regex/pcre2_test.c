/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns in PCRE2's syntax find what RE2 finds in the original: the same text, with the same captures. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "helper.h"

static void expect(const char *pattern, const char *expected)
{
	_cleanup_(regex_free) struct regex *regex = parsed(pattern);
	struct strbuf text = STRBUF_INIT;

	assert_int_equal(regex_to_pcre2(regex, &text), 0);
	assert_string_equal(strbuf_text(&text), expected);
	strbuf_release(&text);
}

static void test_everything_is_written_so_that_no_option_changes_it(void **state)
{
	expect("/a.b", "/a[^\\x0a]b");
	expect("^(?s)a.$", "\\Aa[\\x00-\\xff]\\z");
	expect("(?m)^a$", "(?<![^\\x0a])a(?![^\\x0a])");
	expect("(?i)k1", "[Kk]1");
	expect("(?P<n>aa|b){2,}?", "(aa|b){2,}?");
	expect("/a|/b|c", "(?:/[ab]|c)");
	expect("(?U)a*b+?", "a*?b+");
	expect("a{,2}", "a\\x7b\\x2c2\\x7d");
	expect("[[:digit:]_]", "[0-9_]");
	expect("\\p{Greek}", "(?!)");
	expect("(?:)|a", "(?:|a)");
}

static void test_a_loop_whose_body_may_be_empty_is_not_translated(void **state)
{
	static const char *const patterns[] = { "(a*)*", "(?:a|b?)+", "(|a){2,}", "(?:\\b|a)*" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(patterns); i++) {
		_cleanup_(regex_free) struct regex *regex = parsed(patterns[i]);
		struct strbuf text = STRBUF_INIT;

		assert_int_equal(regex_to_pcre2(regex, &text), -ENOTSUP);
		strbuf_release(&text);
	}
	expect("(?:a*)+", "a*");
	expect("(a*){2,3}", "(a*){2,3}");
}

/* ---- what google-re2 said ----------------------------------------------------------------------------------------------------------- */

struct tally {
	size_t translated, left, found, wrong;
};

static bool same_spans(const json_t *spans, const PCRE2_SIZE *found, uint32_t count)
{
	uint32_t i;

	if (json_array_size(spans) != count)
		return false;
	for (i = 0; i < count; i++) {
		const json_t *span = json_array_get(spans, i);
		long long from = json_integer_value(json_array_get(span, 0)), to = json_integer_value(json_array_get(span, 1));

		if (found[2 * i] == PCRE2_UNSET ? from != -1 : (long long)found[2 * i] != from || (long long)found[2 * i + 1] != to)
			return false;
	}
	return true;
}

static void judge_text(pcre2_code *code, const json_t *entry, const char *pattern, struct tally *tally)
{
	pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
	const json_t *spans = json_array_get(entry, 2);
	static struct bytes text;
	bool is_right;
	int r;

	bytes_of(json_array_get(entry, 0), &text);
	r = pcre2_match(code, (PCRE2_SPTR)text.data, text.size, 0, 0, match, NULL);
	if (json_is_null(spans))
		is_right = r == PCRE2_ERROR_NOMATCH;
	else
		is_right = r > 0 && same_spans(spans, pcre2_get_ovector_pointer(match), pcre2_get_ovector_count(match));
	tally->found += r > 0;
	if (!is_right && !tally->wrong++)
		print_error("%s finds something else in \"%s\" (%d)\n", pattern, text.data, r);
	pcre2_match_data_free(match);
}

static void judge_pattern(const json_t *line, void *context)
{
	_cleanup_(regex_free) struct regex *regex = NULL;
	const json_t *texts = json_object_get(line, "texts");
	struct strbuf translated = STRBUF_INIT;
	struct tally *tally = context;
	static struct bytes pattern;
	pcre2_code *code;
	PCRE2_SIZE at;
	int r, error;
	size_t i;

	if (!texts)
		return;
	bytes_of(json_object_get(line, "pattern"), &pattern);
	assert_int_equal(regex_parse(pattern.data, pattern.size, &regex, NULL), 0);
	r = regex_to_pcre2(regex, &translated);
	if (r == -ENOTSUP) {
		tally->left++;
	} else {
		assert_int_equal(r, 0);
		code = pcre2_compile((PCRE2_SPTR)strbuf_text(&translated), PCRE2_ZERO_TERMINATED, 0, &error, &at, NULL);
		if (!code)
			fail_msg("%s: PCRE2 refuses %s (%d at %zu)", pattern.data, strbuf_text(&translated), error, at);
		tally->translated++;
		for (i = 0; i < json_array_size(texts); i++)
			judge_text(code, json_array_get(texts, i), strbuf_text(&translated), tally);
		pcre2_code_free(code);
	}
	strbuf_release(&translated);
}

static void test_pcre2_finds_what_re2_found(void **state)
{
	struct tally tally = { 0 };

	each_line(RECORDED, judge_pattern, &tally);
	print_message("%zu patterns translated, %zu not; %zu texts found\n", tally.translated, tally.left, tally.found);
	assert_int_equal(tally.wrong, 0);
	assert_true(tally.translated > 10 * tally.left);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_is_written_so_that_no_option_changes_it),
		cmocka_unit_test(test_a_loop_whose_body_may_be_empty_is_not_translated),
		cmocka_unit_test(test_pcre2_finds_what_re2_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

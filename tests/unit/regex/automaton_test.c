/* SPDX-License-Identifier: Apache-2.0 */
/* Automata take the texts that RE2 takes, are minimal, and grow no further than their budget. */
#include "helper.h"

#define PLENTY { .entries = 65536, .classes = 256, .steps = 50000000 }

static struct regex_automaton *automaton_of(const char *pattern, enum regex_alphabet alphabet)
{
	_cleanup_(regex_free) struct regex *regex = parsed(pattern);
	struct regex_budget budget = PLENTY;
	struct regex_automaton *automaton = NULL;
	int r = regex_automaton_new(regex, alphabet, &budget, &automaton);

	if (r)
		fail_msg("%s: %d", pattern, r);
	return automaton;
}

static bool takes(const struct regex_automaton *automaton, const char *text)
{
	return regex_run(automaton, text, strlen(text));
}

static void test_equal_languages_have_equal_automata(void **state)
{
	static const char *const pairs[][2] = {
		{ "(a|b)*", "[ab]*" }, { "a{2,4}", "aa(a(a)?)?" }, { "(?:ab|ac)d", "a[bc]d" }, { "a*a", "a+" }, { "(a*)*b?b{0,2}", "a*b{0,3}" },
		{ "^a$", "a" }, { "\\ba\\b", "a" }, { "(?i)ab", "[aA][bB]" }, { "x{0}y", "y" }, { "\\b|a", "a" }, { "(|a)+", "a*" }, { "\\B", "" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pairs); i++) {
		_cleanup_(regex_automaton_free) struct regex_automaton *a = automaton_of(pairs[i][0], REGEX_OVER_BYTES);
		_cleanup_(regex_automaton_free) struct regex_automaton *b = automaton_of(pairs[i][1], REGEX_OVER_BYTES);

		assert_int_equal(a->state_count, b->state_count);
		assert_int_equal(a->settled_count, b->settled_count);
		assert_int_equal(a->class_count, b->class_count);
		assert_memory_equal(a->classes, b->classes, sizeof(a->classes));
		assert_memory_equal(a->next, b->next, a->state_count * a->class_count * sizeof(*a->next));
		assert_memory_equal(a->accepts, b->accepts, a->state_count * sizeof(*a->accepts));
	}
}

static void test_bytes_that_never_occur_cost_nothing(void **state)
{
	_cleanup_(regex_automaton_free) struct regex_automaton *any = automaton_of("/a.*", REGEX_OVER_BYTES);
	_cleanup_(regex_automaton_free) struct regex_automaton *path = automaton_of("/a.*", REGEX_OVER_PATHS);

	assert_false(takes(any, "/a\nb"));
	assert_int_equal(any->settled_count, 1);
	/* dead, everything, and two on the way; what is not / or a is one class */
	assert_int_equal(path->state_count, 4);
	assert_int_equal(path->settled_count, 2);
	assert_int_equal(path->class_count, 3);
	assert_true(takes(path, "/abc"));
	assert_false(takes(path, "/b"));
}

static void test_a_budget_ends_what_explodes(void **state)
{
	_cleanup_(regex_free) struct regex *regex = parsed("(?:a|b)*a(?:a|b){20}");
	_cleanup_(regex_free) struct regex *large = parsed("[a-z]{1000}[a-z]{1000}");
	struct regex_automaton *automaton = NULL;
	struct regex_budget few_steps = { .entries = 65536, .classes = 256, .steps = 10000 }, few_entries = { .entries = 2000, .classes = 256, .steps = 1000000 };
	struct regex_budget plenty = PLENTY;

	assert_int_equal(regex_automaton_new(regex, REGEX_OVER_BYTES, &plenty, &automaton), -E2BIG);
	assert_int_equal(regex_automaton_new(regex, REGEX_OVER_BYTES, &few_steps, &automaton), -E2BIG);
	assert_int_equal(few_steps.steps, 0);
	assert_int_equal(regex_automaton_new(large, REGEX_OVER_BYTES, &few_entries, &automaton), -E2BIG);
	assert_null(automaton);
}

/* ---- literals ------------------------------------------------------------------------------------------------------------------------ */

static void expect_prefix(const char *pattern, const char *expected)
{
	_cleanup_(regex_automaton_free) struct regex_automaton *automaton = automaton_of(pattern, REGEX_OVER_PATHS);
	char prefix[64];
	size_t size = regex_literal_prefix(automaton, prefix, sizeof(prefix));

	assert_int_equal(size, strlen(expected));
	assert_memory_equal(prefix, expected, size);
}

static void test_what_every_text_begins_with_is_known(void **state)
{
	expect_prefix("/api/v[0-9]+/x", "/api/v");
	expect_prefix("/(?:ab|ac)d", "/a");
	expect_prefix(".*word.*", "");
	expect_prefix("/a|/a/b", "/a");
	expect_prefix("/(?i)a", "/");
	expect_prefix("\\x00", "");
	expect_prefix("/[b]c*", "/b");
}

static void expect_literals(const char *pattern, const char *expected)
{
	_cleanup_(regex_automaton_free) struct regex_automaton *automaton = automaton_of(pattern, REGEX_OVER_PATHS);
	struct regex_literals literals = { NULL, 0 };
	struct strbuf found = STRBUF_INIT;
	size_t i;
	int r = regex_literals_new(automaton, 8, &literals);

	if (!expected) {
		assert_int_equal(r, -E2BIG);
		return;
	}
	assert_int_equal(r, 0);
	for (i = 0; i < literals.count; i++)
		strbuf_printf(&found, "%s%s%s", i ? " " : "", literals.items[i].bytes, literals.items[i].is_prefix ? "*" : "");
	assert_string_equal(strbuf_text(&found), expected);
	regex_literals_release(&literals);
	strbuf_release(&found);
}

static void test_a_pattern_that_is_a_few_literals_is_taken_as_such(void **state)
{
	expect_literals("/a/b", "/a/b");
	expect_literals("/a/.*", "/a/*");
	expect_literals("/a(?:/.*)?", "/a /a/*");
	expect_literals("/(?:a|b)\\.txt|/c.*", "/a.txt /b.txt /c*");
	expect_literals("/(?:a|ab).*", "/a*");
	expect_literals(".*", "*");
	expect_literals("/\\x00", "");
	expect_literals("/[a-h]", "/a /b /c /d /e /f /g /h");
	expect_literals("/[a-i]", NULL);
	expect_literals("/a+", NULL);
	expect_literals(".*x", NULL);
	expect_literals("/.+", NULL);
}

/* ---- unions ------------------------------------------------------------------------------------------------------------------------- */

static const char *list_of(const struct regex_union *into, const char *text)
{
	const struct regex_list *list = &into->lists[regex_run(into->automaton, text, strlen(text))];
	static char shown[256];
	size_t at = 0;
	uint32_t i;

	shown[0] = '\0';
	for (i = 0; i < list->count; i++)
		at += (size_t)snprintf(shown + at, sizeof(shown) - at, "%s%u", i ? " " : "", list->items[i]);
	snprintf(shown + at, sizeof(shown) - at, "%s", list->is_final ? "." : "");
	return shown;
}

struct pattern {
	const char *text;
	uint32_t index;
	bool is_final;
};

static int unite(const struct pattern *patterns, size_t count, uint32_t entries, struct regex_union **out)
{
	struct regex_budget budget = { .entries = entries, .classes = 256, .steps = 50000000 };
	struct regex_automaton *automata[32];
	struct regex_part parts[32] = { { NULL } };
	size_t i;
	int r;

	for (i = 0; i < count; i++) {
		automata[i] = automaton_of(patterns[i].text, REGEX_OVER_PATHS);
		parts[i] = (struct regex_part){ automata[i], patterns[i].index, patterns[i].is_final };
	}
	r = regex_union_new(parts, count, &budget, out);
	for (i = 0; i < count; i++)
		regex_automaton_free(&automata[i]);
	return r;
}

static void test_a_union_says_which_patterns_match(void **state)
{
	static const struct pattern patterns[] = {
		{ "/x?", 1, true }, { ".*b", 2, false }, { "/a.*", 4, false }, { "/[a-c]+", 7, true }, { "/.*c.*", 9, false },
	};
	_cleanup_(regex_union_free) struct regex_union *into = NULL;

	assert_int_equal(unite(patterns, ARRAY_SIZE(patterns), 65536, &into), 0);
	assert_string_equal(list_of(into, "/abx"), "4");
	assert_string_equal(list_of(into, "/axb"), "2 4");
	assert_string_equal(list_of(into, "/ab"), "2 4 7.");
	assert_string_equal(list_of(into, "/acx"), "4 9");
	assert_string_equal(list_of(into, "/c"), "7.");
	assert_string_equal(list_of(into, "/x"), "1.");
	assert_string_equal(list_of(into, "/xc"), "9");
	assert_string_equal(list_of(into, "/y"), "");
}

#define WORDS 20u

static void make_words(struct pattern patterns[WORDS], bool is_final)
{
	static const char *const words[WORDS] = {
		".*alpha.*", ".*bravo.*", ".*charlie.*", ".*delta.*", ".*echo.*", ".*foxtrot.*", ".*golf.*", ".*hotel.*", ".*india.*", ".*juliett.*",
		".*kilo.*", ".*lima.*", ".*mike.*", ".*november.*", ".*oscar.*", ".*papa.*", ".*quebec.*", ".*romeo.*", ".*sierra.*", ".*tango.*",
	};
	uint32_t i;

	for (i = 0; i < WORDS; i++)
		patterns[i] = (struct pattern){ words[i], i, is_final };
}

/* Twenty of them have 2^20 combinations of what was seen. */
static void test_twenty_final_words_anywhere_make_a_small_union(void **state)
{
	_cleanup_(regex_union_free) struct regex_union *into = NULL;
	struct pattern patterns[WORDS];

	make_words(patterns, true);
	assert_int_equal(unite(patterns, WORDS, 32512, &into), 0);
	print_message("20 words: %u states, %u classes\n", into->automaton->state_count, into->automaton->class_count);
	assert_true(into->automaton->state_count < 1000);
	assert_string_equal(list_of(into, "/tangoalphax"), "0.");
	assert_string_equal(list_of(into, "/tangolimamike"), "11.");
	assert_string_equal(list_of(into, "/tang"), "");
}

static void test_words_that_all_matter_stop_at_the_budget(void **state)
{
	_cleanup_(regex_union_free) struct regex_union *few = NULL;
	struct regex_union *into = NULL;
	struct pattern patterns[WORDS];

	make_words(patterns, false);
	assert_int_equal(unite(patterns, WORDS, 32512, &into), -E2BIG);
	assert_null(into);
	assert_int_equal(unite(patterns, 6, 32512, &few), 0);
	print_message("6 words: %u states, %u classes\n", few->automaton->state_count, few->automaton->class_count);
	assert_string_equal(list_of(few, "/charlie/alpha"), "0 2");
}

/* ---- what google-re2 said ------------------------------------------------------------------------------------------------------------ */

struct tally {
	size_t pairs, taken, wrong, states;
};

static void judge_pattern(const json_t *line, void *context)
{
	_cleanup_(regex_automaton_free) struct regex_automaton *automaton = NULL;
	_cleanup_(regex_free) struct regex *regex = NULL;
	const json_t *texts = json_object_get(line, "texts");
	struct regex_budget budget = PLENTY;
	static struct bytes pattern, text;
	struct tally *tally = context;
	size_t i;
	int r;

	if (!texts)
		return;
	bytes_of(json_object_get(line, "pattern"), &pattern);
	assert_int_equal(regex_parse(pattern.data, pattern.size, &regex, NULL), 0);
	r = regex_automaton_new(regex, REGEX_OVER_BYTES, &budget, &automaton);
	if (r)
		fail_msg("%s: %d", pattern.data, r);
	tally->states += automaton->state_count;
	for (i = 0; i < json_array_size(texts); i++) {
		const json_t *entry = json_array_get(texts, i);
		bool is_expected = json_is_true(json_array_get(entry, 1));

		bytes_of(json_array_get(entry, 0), &text);
		tally->pairs++;
		tally->taken += is_expected;
		if (is_expected != regex_run(automaton, text.data, text.size) && !tally->wrong++)
			print_error("%s: RE2 says %d of \"%s\"\n", pattern.data, is_expected, text.data);
	}
}

static void test_automata_take_what_re2_takes(void **state)
{
	struct tally tally = { 0 };

	each_line(RECORDED, judge_pattern, &tally);
	print_message("%zu pairs, %zu of them match; %zu states\n", tally.pairs, tally.taken, tally.states);
	assert_int_equal(tally.wrong, 0);
	assert_true(tally.pairs > 20000 && tally.taken > 3000);
}

/* Each line a pattern, in UTF-8 as it was configured, and a text that Envoy 1.40 was given, a character a byte. */
static void judge_envoy(const json_t *line, void *context)
{
	_cleanup_(regex_automaton_free) struct regex_automaton *automaton = NULL;
	_cleanup_(regex_free) struct regex *regex = NULL;
	bool is_expected = json_is_true(json_object_get(line, "match"));
	struct regex_budget budget = PLENTY;
	const char *pattern = json_string_value(json_object_get(line, "pattern"));
	static struct bytes text;
	struct tally *tally = context;

	bytes_of(json_object_get(line, "text"), &text);
	assert_int_equal(regex_parse(pattern, strlen(pattern), &regex, NULL), 0);
	assert_int_equal(regex_automaton_new(regex, REGEX_OVER_VALUES, &budget, &automaton), 0);
	tally->pairs++;
	if (is_expected != regex_run(automaton, text.data, text.size) && !tally->wrong++)
		print_error("%s: Envoy says %d of \"%s\"\n", pattern, is_expected, text.data);
}

static void test_automata_take_what_envoy_took(void **state)
{
	struct tally tally = { 0 };

	each_line("tests/data/oracle/regex/matches.jsonl", judge_envoy, &tally);
	assert_int_equal(tally.wrong, 0);
	assert_true(tally.pairs >= 560);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal_languages_have_equal_automata),
		cmocka_unit_test(test_bytes_that_never_occur_cost_nothing),
		cmocka_unit_test(test_a_budget_ends_what_explodes),
		cmocka_unit_test(test_what_every_text_begins_with_is_known),
		cmocka_unit_test(test_a_pattern_that_is_a_few_literals_is_taken_as_such),
		cmocka_unit_test(test_a_union_says_which_patterns_match),
		cmocka_unit_test(test_twenty_final_words_anywhere_make_a_small_union),
		cmocka_unit_test(test_words_that_all_matter_stop_at_the_budget),
		cmocka_unit_test(test_automata_take_what_re2_takes),
		cmocka_unit_test(test_automata_take_what_envoy_took),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

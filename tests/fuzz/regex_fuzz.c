// SPDX-License-Identifier: Apache-2.0
/* Regular expressions under libFuzzer: the input is patterns and a text, a line each, the text last. Whatever reads a pattern must say the same of
 * the text: its automaton, its instructions, PCRE2, and the automata of a virtual host that hold all of them. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/regexes.h"
#include "weft/router.h"

#define check(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#define PATTERNS 6u
#define PATTERN_MAX 64u
#define TEXT_MAX 256u

struct input {
	char patterns[PATTERNS][PATTERN_MAX + 1];
	u32 count;
	u8 text[TEXT_MAX + 16]; /* whoever walks it reads words */
	u32 len;
};

/* What of a line fits. */
static size_t line(const uint8_t *data, size_t size, char *out, size_t max, size_t *len)
{
	const uint8_t *end = memchr(data, '\n', size);
	size_t whole = end ? (size_t)(end - data) : size;

	*len = whole < max ? whole : max;
	memcpy(out, data, *len);
	return end ? whole + 1 : whole;
}

static bool read_input(const uint8_t *data, size_t size, struct input *in)
{
	while (in->count < PATTERNS && memchr(data, '\n', size)) {
		size_t len, taken = line(data, size, in->patterns[in->count], PATTERN_MAX, &len);

		if (strlen(in->patterns[in->count++]) != len)
			return false;
		data += taken;
		size -= taken;
	}
	in->len = size < TEXT_MAX ? (u32)size : TEXT_MAX;
	memcpy(in->text, data, in->len);
	return in->count;
}

/* ---- one pattern ----------------------------------------------------------------------------------------------------------------- */

static int by_automaton(const struct regex *regex, const struct input *in)
{
	struct regex_budget budget = { .entries = 65536, .classes = 256, .steps = 300000 };
	struct regex_automaton *automaton = NULL;
	int r = regex_automaton_new(regex, REGEX_OVER_BYTES, &budget, &automaton);

	check(!r || r == -E2BIG);
	if (r)
		return -1;
	r = regex_run(automaton, (const char *)in->text, in->len) != 0;
	regex_automaton_free(&automaton);
	return r;
}

static int by_instructions(const struct regex *regex, const struct input *in)
{
	struct weft_image_handle image = { 0 };
	struct regex_program *program = NULL;
	struct weft_nfa_instruction *instructions;
	struct weft_nfa *nfa;
	size_t size;
	u32 i;
	int r;

	check(!regex_program_new(regex, &program));
	size = sizeof(*nfa) + program->set_count * sizeof(nfa->sets[0]) + program->instruction_count * sizeof(*instructions);
	nfa = calloc(1, size);
	check(nfa);
	nfa->instruction_count = program->instruction_count;
	nfa->set_count = program->set_count;
	nfa->start = program->start;
	for (i = 0; i < program->set_count; i++)
		memcpy(nfa->sets[i].bits, program->sets[i].bits, sizeof(nfa->sets[i].bits));
	instructions = (struct weft_nfa_instruction *)&nfa->sets[program->set_count];
	for (i = 0; i < program->instruction_count; i++)
		instructions[i] = (struct weft_nfa_instruction){ program->instructions[i].op, program->instructions[i].next, program->instructions[i].argument };
	image.base = (const u8 *)nfa;
	image.size = (u32)size;
	r = weft_nfa_takes(&image, in->text, in->len, 0);
	free(nfa);
	regex_program_free(&program);
	return r;
}

/* -1: it can't be said in PCRE2's syntax, or takes PCRE2 too long. */
static int by_pcre2(const struct regex *regex, const struct input *in)
{
	struct strbuf text = STRBUF_INIT;
	pcre2_match_context *context;
	pcre2_match_data *match;
	PCRE2_SIZE where;
	pcre2_code *code;
	int fault, r;

	strbuf_append_text(&text, "\\A(?:");
	if (regex_to_pcre2(regex, &text)) {
		strbuf_release(&text);
		return -1;
	}
	strbuf_append_text(&text, ")\\z");
	check(!strbuf_status(&text));
	code = pcre2_compile((PCRE2_SPTR)text.data, text.size, 0, &fault, &where, NULL);
	strbuf_release(&text);
	if (!code)
		return -1; /* larger than PCRE2 takes */
	context = pcre2_match_context_create(NULL);
	match = pcre2_match_data_create_from_pattern(code, NULL);
	check(context && match);
	pcre2_set_match_limit(context, 100000);
	pcre2_set_heap_limit(context, 65536);
	r = pcre2_match(code, in->text, in->len, 0, 0, match, context);
	pcre2_match_data_free(match);
	pcre2_match_context_free(context);
	pcre2_code_free(code);
	return r >= 0 ? 1 : r == PCRE2_ERROR_NOMATCH ? 0 : -1;
}

/* 1, 0, or -1 for no pattern. */
static int judge(const char *pattern, const struct input *in)
{
	struct regex *regex = NULL;
	struct regex_error error = { 0 };
	int expected, other, r = regex_parse(pattern, strlen(pattern), &regex, &error);

	check(!r || r == -EINVAL);
	if (r) {
		struct strbuf text = STRBUF_INIT;

		check(error.fault != REGEX_FAULT_NONE && error.at <= strlen(pattern) && error.size <= strlen(pattern) - error.at);
		regex_error_text(&error, pattern, strlen(pattern), &text);
		check(text.size);
		strbuf_release(&text);
		return -1;
	}
	expected = by_instructions(regex, in);
	check(expected == 0 || expected == 1);
	other = by_automaton(regex, in);
	check(other < 0 || other == expected);
	other = by_pcre2(regex, in);
	check(other < 0 || other == expected);
	regex_free(&regex);
	return expected;
}

/* ---- a virtual host -------------------------------------------------------------------------------------------------------------------- */

/* The routes that the automata name, a bit each. */
static u32 named(const struct weft_image_handle *image, const struct input *in, weft_ref ref)
{
	u64 says = weft_walk_dfa(image, (const struct weft_head_bytes *)in->text, 0, in->len, ref);
	const struct weft_dfa *dfa = weft_at(image, ref);
	u32 lane, i, found = 0;

	for (lane = 0; lane < WEFT_DFA_LANES; lane++) {
		u32 list = (u16)(says >> (16 * lane));
		const struct weft_list *routes;

		check(list < dfa->list_count);
		if (!list)
			continue;
		routes = weft_at(image, ((const weft_ref *)(image->base + dfa->lists))[list]);
		for (i = 0; i < routes->count; i++) {
			check(routes->items[i] < PATTERNS && (!i || routes->items[i] > routes->items[i - 1]));
			found |= 1u << routes->items[i];
		}
	}
	return found;
}

static void check_host(const struct input *in, const int *expected, u8 finals)
{
	struct regex_member members[PATTERNS];
	struct routes_compile c = { .lists_max = 1u << 20 };
	struct weft_image_handle image = { 0 };
	u32 i, count = 0, found = 0, left = 0, first_final = PATTERNS;
	weft_ref ref = 0;

	check(!builder_init(&c.builder, WEFT_IMAGE_ROUTES, 0) && !regexes_new(&c.regexes));
	for (i = 0; i < in->count; i++) {
		const struct regex_entry *entry = NULL;

		check(!regexes_find(&c, in->patterns[i], REGEX_OVER_PATHS, &entry));
		check(!entry->prefix_size || !expected[i] || (in->len >= entry->prefix_size && !memcmp(in->text, entry->prefix, entry->prefix_size)));
		if (!entry->automaton)
			continue;
		members[count++] = (struct regex_member){ entry, i, finals >> i & 1, false };
	}
	check(!regexes_lanes(&c, members, count, &ref));
	for (i = 0; i < count; i++)
		if (members[i].is_left)
			left |= 1u << members[i].route;
	image.base = builder_at(&c.builder, 0);
	image.size = ~0u;
	if (ref)
		found = named(&image, in, ref);
	for (i = 0; i < count; i++)
		if (expected[members[i].route] && members[i].is_final && !members[i].is_left && members[i].route < first_final)
			first_final = members[i].route;
	for (i = 0; i < count; i++) {
		u32 route = members[i].route;
		bool is_named = found >> route & 1;

		/* beyond a final one nothing needs to be named, and what is named matches */
		check(!is_named || expected[route]);
		check(is_named || !expected[route] || left >> route & 1 || route > first_final);
		check(!is_named || !(left >> route & 1));
	}
	regexes_free(&c.regexes);
	builder_release(&c.builder);
}

static bool is_path(const struct input *in)
{
	u32 i;

	for (i = 0; i < in->len; i++)
		if (in->text[i] <= ' ' || in->text[i] >= 0x7f || in->text[i] == '?' || in->text[i] == '#')
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .count = 0 };
	int expected[PATTERNS];
	u32 i;

	if (!size || !read_input(data + 1, size - 1, &in))
		return 0;
	for (i = 0; i < in.count; i++) {
		expected[i] = judge(in.patterns[i], &in);
		if (expected[i] < 0)
			return 0;
	}
	if (is_path(&in))
		check_host(&in, expected, data[0]);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Replacing what a pattern matches, by PCRE2: the only thing here that needs captures. */
#include "regex/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>

#include "base/cleanup.h"

/* Steps of one search. RE2 has no such limit because it does not backtrack; a value is at most a head long. */
#define MATCH_LIMIT 1000000u

struct rewriter {
	pcre2_code *code;
	pcre2_match_data *match;
	pcre2_match_context *context;
	uint32_t group_count;
};

void rewriter_free(struct rewriter **rewriter)
{
	if (!*rewriter)
		return;
	pcre2_match_data_free((*rewriter)->match);
	pcre2_match_context_free((*rewriter)->context);
	pcre2_code_free((*rewriter)->code);
	free(*rewriter);
	*rewriter = NULL;
}

/* `text` is in PCRE2's syntax. */
static int compile(struct rewriter *rewriter, const struct strbuf *text)
{
	PCRE2_SIZE offset;
	int code;

	rewriter->code = pcre2_compile((PCRE2_SPTR)strbuf_text(text), text->size, 0, &code, &offset, NULL);
	if (!rewriter->code)
		return code == PCRE2_ERROR_HEAP_FAILED ? -ENOMEM : -ENOTSUP;
	rewriter->match = pcre2_match_data_create_from_pattern(rewriter->code, NULL);
	rewriter->context = pcre2_match_context_create(NULL);
	if (!rewriter->match || !rewriter->context)
		return -ENOMEM;
	pcre2_set_match_limit(rewriter->context, MATCH_LIMIT);
	return 0;
}

int rewriter_new(struct rewriter **out, const char *pattern, size_t size)
{
	_cleanup_(rewriter_free) struct rewriter *rewriter = calloc(1, sizeof(*rewriter));
	_cleanup_(regex_free) struct regex *regex = NULL;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r;

	if (!rewriter)
		return -ENOMEM;
	r = regex_parse(pattern, size, &regex, NULL);
	if (!r)
		r = regex_to_pcre2(regex, &text);
	if (!r)
		r = compile(rewriter, &text);
	if (r)
		return r;
	rewriter->group_count = regex_capture_count(regex);
	*out = TAKE_PTR(rewriter);
	return 0;
}

/* ---- replacing ------------------------------------------------------------------------------------------------------------------- */

static bool has_its_groups(const struct rewriter *rewriter, const char *substitution, size_t size)
{
	size_t i;

	for (i = 0; i + 1 < size; i++) {
		if (substitution[i] != '\\')
			continue;
		i++;
		if (substitution[i] >= '0' && substitution[i] <= '9' && (unsigned int)(substitution[i] - '0') > rewriter->group_count)
			return false;
	}
	return true;
}

/* RE2::Rewrite: what follows a backslash that means nothing is dropped, with the rest. */
static void append_substitution(const struct rewriter *rewriter, const char *substitution, size_t size, const char *value, struct strbuf *out)
{
	const PCRE2_SIZE *groups = pcre2_get_ovector_pointer(rewriter->match);
	size_t i;

	for (i = 0; i < size; i++) {
		unsigned int group;

		if (substitution[i] != '\\') {
			strbuf_append_byte(out, substitution[i]);
			continue;
		}
		if (++i == size)
			return;
		if (substitution[i] == '\\') {
			strbuf_append_byte(out, '\\');
			continue;
		}
		if (substitution[i] < '0' || substitution[i] > '9')
			return;
		group = (unsigned int)(substitution[i] - '0');
		if (group < pcre2_get_ovector_count(rewriter->match) && groups[2 * group] != PCRE2_UNSET)
			strbuf_append(out, value + groups[2 * group], groups[2 * group + 1] - groups[2 * group]);
	}
}

int rewriter_apply(struct rewriter *rewriter, const char *substitution, size_t substitution_size, const char *value, size_t size,
		   struct strbuf *out)
{
	const PCRE2_SIZE *groups = pcre2_get_ovector_pointer(rewriter->match);
	size_t from = 0, begin = out->size, last_end = SIZE_MAX;
	bool is_possible = has_its_groups(rewriter, substitution, substitution_size);

	while (is_possible && from <= size) {
		int r = pcre2_match(rewriter->code, (PCRE2_SPTR)value, size, from, 0, rewriter->match, rewriter->context);

		if (r == PCRE2_ERROR_NOMATCH)
			break;
		if (r < 0) {
			strbuf_truncate(out, begin);
			return r == PCRE2_ERROR_NOMEMORY ? -ENOMEM : -E2BIG;
		}
		strbuf_append(out, value + from, groups[0] - from);
		from = groups[0];
		/* An empty match where the last one ended is none. */
		if (groups[0] == groups[1] && groups[0] == last_end) {
			if (from < size)
				strbuf_append_byte(out, value[from]);
			from++;
			continue;
		}
		append_substitution(rewriter, substitution, substitution_size, value, out);
		from = last_end = groups[1];
	}
	if (from < size)
		strbuf_append(out, value + from, size - from);
	return strbuf_status(out);
}

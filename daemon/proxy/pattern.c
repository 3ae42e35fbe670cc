/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns that replace something, compiled once in each thread. */
#include "proxy/internal.h"

#include "base/strbuf.h"
#include "regex/regex.h"

#define PATTERNS_MAX 256 /* that a thread keeps */

struct pattern {
	struct rewriter *rewriter; /* NULL: it is none, though the configuration was checked */
	UT_hash_handle hh;
	u32 size;
	char text[];
};

void patterns_free(struct thread *thread)
{
	struct pattern *pattern, *next;

	HASH_ITER(hh, thread->patterns, pattern, next) {
		HASH_DEL(thread->patterns, pattern);
		rewriter_free(&pattern->rewriter);
		free(pattern);
	}
}

/* NULL without memory. */
static struct pattern *pattern_find(struct thread *thread, const struct weft_text *text)
{
	struct pattern *pattern;

	HASH_FIND(hh, thread->patterns, text->bytes, text->len, pattern);
	if (pattern)
		return pattern;
	if (HASH_COUNT(thread->patterns) >= PATTERNS_MAX)
		patterns_free(thread);
	pattern = calloc(1, sizeof(*pattern) + text->len);
	if (!pattern)
		return NULL;
	pattern->size = text->len;
	memcpy(pattern->text, text->bytes, text->len);
	if (rewriter_new(&pattern->rewriter, pattern->text, pattern->size) == -ENOMEM) {
		free(pattern);
		return NULL;
	}
	HASH_ADD(hh, thread->patterns, text, pattern->size, pattern);
	return pattern;
}

int pattern_replace(struct thread *thread, const struct weft_text *pattern, const struct weft_text *substitution, const u8 *value, u32 len,
		    struct strbuf *out)
{
	struct pattern *compiled = pattern_find(thread, pattern);

	if (!compiled)
		return -ENOMEM;
	if (!compiled->rewriter)
		return -E2BIG;
	return rewriter_apply(compiled->rewriter, (const char *)substitution->bytes, substitution->len, (const char *)value, len, out);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of regexes share: what google-re2 said (tests/data/regex), read line by line. */
#ifndef WEFT_TESTS_REGEX_HELPER_H
#define WEFT_TESTS_REGEX_HELPER_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/cleanup.h"
#include "regex/regex.h"

#define RECORDED "tests/data/regex/recorded.jsonl"

struct bytes {
	char data[4096];
	size_t size;
};

/* Every character is one byte. */
static inline void bytes_of(const json_t *string, struct bytes *out)
{
	const unsigned char *text = (const unsigned char *)json_string_value(string);
	size_t i, size = json_string_length(string);

	assert_non_null(text);
	for (i = 0, out->size = 0; i < size; i++) {
		assert_true(out->size + 1 < sizeof(out->data));
		if (text[i] < 0x80)
			out->data[out->size++] = (char)text[i];
		else if (++i < size)
			out->data[out->size++] = (char)((text[i - 1] & 0x03) << 6 | (text[i] & 0x3f));
	}
	out->data[out->size] = '\0';
}

/* Calls `judge` with every line; returns how many there were. */
static inline size_t each_line(const char *path, void (*judge)(const json_t *line, void *context), void *context)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	static char line[1 << 16];
	size_t count = 0;

	if (!file)
		fail_msg("%s can't be read: run from the root of the repository", path);
	for (; fgets(line, sizeof(line), file); count++) {
		json_error_t error;
		json_t *entry = json_loads(line, JSON_ALLOW_NUL, &error);

		if (!entry)
			fail_msg("%s:%zu: %s", path, count + 1, error.text);
		judge(entry, context);
		json_decref(entry);
	}
	return count;
}

static inline struct regex *parsed(const char *pattern)
{
	struct regex_error error;
	struct regex *regex = NULL;
	int r = regex_parse(pattern, strlen(pattern), &regex, &error);

	if (r)
		fail_msg("%s: %d, %s at %zu", pattern, r, regex_fault_text(error.fault), error.at);
	return regex;
}

#endif

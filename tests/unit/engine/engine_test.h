/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the engine's unit tests share: heads in buffers of exactly the promised size, so that the sanitizers see every byte too far. */
#ifndef WEFT_ENGINE_TEST_H
#define WEFT_ENGINE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "weft/http1.h"

#define BYTES(literal) (const u8 *)(literal), sizeof(literal) - 1

enum oracle_outcome {
	ORACLE_TAKEN,
	ORACLE_REFUSED,
	ORACLE_VERSION,
	ORACLE_CODING,
	ORACLE_LARGE,
	ORACLE_PREFACE,
	ORACLE_PARTIAL,
};

/* A copy with the 8 readable bytes that the parser may load, and not one more. They are filled with what would end a line, so that a
 * parser which looked at them would be caught. */
static inline struct weft_head_bytes *head_copy(const void *bytes, size_t len)
{
	u8 *copy = malloc(len + 8);

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	memcpy(copy + len, "\r\n\r\n:\r\n ", 8);
	return (struct weft_head_bytes *)copy;
}

static inline int parse_request(const void *bytes, size_t len, struct weft_head *head)
{
	struct weft_head_bytes *copy = head_copy(bytes, len);
	int r = weft_parse_request(copy, len, head);

	free(copy);
	return r;
}

static inline int parse_response(const void *bytes, size_t len, u32 method, struct weft_head *head)
{
	struct weft_head_bytes *copy = head_copy(bytes, len);
	int r = weft_parse_response(copy, len, method, head);

	free(copy);
	return r;
}

/* Is the span that text of the head? */
static inline bool span_is(const void *bytes, struct weft_span span, const char *text)
{
	return span.len == strlen(text) && !memcmp((const u8 *)bytes + span.off, text, span.len);
}

#endif

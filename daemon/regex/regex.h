/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions as Envoy takes them: RE2's syntax over bytes (RE2 in its Latin-1 mode), and the whole text must match.
 *
 * A pattern is parsed into a tree. The tree becomes a minimal automaton that reads a byte with one look-up, or a list of instructions
 * that is simulated where an automaton would be too large, or the same pattern in PCRE2's syntax where captures are needed. Nothing here
 * knows of images: `compile` writes what this gives into them. */
#ifndef WEFT_REGEX_H
#define WEFT_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

/* Instructions of RE2's own program, beyond which istiod's bootstrap makes Envoy refuse a pattern (re2.max_program_size.error_level).
 * regex_parse() counts what RE2 needs at most, so a pattern just below may be refused, and none above is taken. */
#define REGEX_PROGRAM_MAX 32768u
/* Sequences, alternations, captures and repetitions inside each other. RE2 has no such limit but the one above. */
#define REGEX_DEPTH_MAX 4000u
#define REGEX_REPEAT_MAX 1000 /* RE2: of one count, and of the product of nested ones */

/* ---- patterns -------------------------------------------------------------------------------------------------------------------- */

enum regex_fault {
	REGEX_FAULT_NONE = 0,
	REGEX_FAULT_ESCAPE,
	REGEX_FAULT_RANGE,
	REGEX_FAULT_MISSING_BRACKET,
	REGEX_FAULT_MISSING_PAREN,
	REGEX_FAULT_UNEXPECTED_PAREN,
	REGEX_FAULT_TRAILING_BACKSLASH,
	REGEX_FAULT_REPEAT_ARGUMENT,
	REGEX_FAULT_REPEAT_SIZE,
	REGEX_FAULT_REPEAT_OPERATOR,
	REGEX_FAULT_PERL_OPERATOR,
	REGEX_FAULT_CAPTURE_NAME,
	REGEX_FAULT_PROGRAM_SIZE, /* REGEX_PROGRAM_MAX */
	REGEX_FAULT_DEPTH,        /* REGEX_DEPTH_MAX; the only one that RE2 does not have */
};

/* Why a pattern is refused: what is wrong, and the bytes [at, at + size) of the pattern that are. */
struct regex_error {
	enum regex_fault fault;
	size_t at;
	size_t size;
};

/* In RE2's words. */
const char *regex_fault_text(enum regex_fault fault);

/* "invalid repetition size: {40}, at byte 16 of ([a-z0-9]{100}){40}"; long patterns are cut. */
void regex_error_text(const struct regex_error *error, const char *pattern, size_t size, struct strbuf *out);

struct regex;

/* 0; -EINVAL with *error when RE2, as istiod configures it, refuses the pattern; -ENOMEM. `error` may be NULL. */
int regex_parse(const char *pattern, size_t size, struct regex **out, struct regex_error *error);
void regex_free(struct regex **regex);

/* What RE2's program has at most. */
uint32_t regex_program_size(const struct regex *regex);
uint32_t regex_capture_count(const struct regex *regex);

/* The same in PCRE2's syntax, to be compiled without any option: it finds the same texts at the same places, with the same captures under
 * the same numbers (names are left out). Appends to `out`. 0; -ENOTSUP where PCRE2 may find something else (a loop without an end whose
 * body may be empty); -ENOMEM. */
int regex_to_pcre2(const struct regex *regex, struct strbuf *out);

/* ---- replacing ------------------------------------------------------------------------------------------------------------------- */

struct rewriter;

/* 0; -EINVAL for what is no pattern; -ENOTSUP where regex_to_pcre2() says so; -ENOMEM. For one thread at a time. */
int rewriter_new(struct rewriter **out, const char *pattern, size_t size);
void rewriter_free(struct rewriter **rewriter);

/* Appends `value` with every match replaced (RE2::GlobalReplace): \0 to \9 in the substitution are groups, \\ is a backslash; one that names a
 * group which the pattern does not have replaces nothing. 0; -ENOMEM; -E2BIG when a search took too many steps (nothing is appended). */
int rewriter_apply(struct rewriter *rewriter, const char *substitution, size_t substitution_size, const char *value, size_t size,
		   struct strbuf *out);

#endif

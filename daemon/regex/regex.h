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

/* ---- instructions ---------------------------------------------------------------------------------------------------------------- */

/* Which of the 256 bytes. */
struct byte_set {
	uint64_t bits[4];
};

enum regex_instruction_op {
	REGEX_DO_BYTE = 1,   /* a byte of the set `argument`, then `next` */
	REGEX_DO_SPLIT = 2,  /* `next` as well as `argument` */
	REGEX_DO_ASSERT = 3, /* if the assertion `argument` (enum regex_assertion) holds, `next` */
	REGEX_DO_MATCH = 4,  /* if the text is over */
};

struct regex_instruction {
	uint16_t op;
	uint16_t next;
	uint16_t argument;
};

enum regex_assertion {
	REGEX_BEGIN_TEXT = 0,
	REGEX_END_TEXT = 1,
	REGEX_BEGIN_LINE = 2,
	REGEX_END_LINE = 3,
	REGEX_WORD_BOUNDARY = 4,
	REGEX_NO_WORD_BOUNDARY = 5,
};

/* A pattern as a machine that is in many places at once. Fewer than twice REGEX_PROGRAM_MAX instructions. */
struct regex_program {
	struct regex_instruction *instructions;
	struct byte_set *sets;
	uint32_t instruction_count, set_count;
	uint32_t start;
	bool has_assertions;
};

/* 0 or -ENOMEM. */
int regex_program_new(const struct regex *regex, struct regex_program **out);
void regex_program_free(struct regex_program **program);

/* ---- automata -------------------------------------------------------------------------------------------------------------------- */

/* What texts are made of. Bytes that never occur are not told from others: `.*` then takes everything, though `.` is no newline. */
enum regex_alphabet {
	REGEX_OVER_BYTES,   /* any */
	REGEX_OVER_VALUES,  /* of headers: no control character but tab */
	REGEX_OVER_TARGETS, /* path and query: visible ASCII without # */
	REGEX_OVER_PATHS,   /* likewise without ? */
};

/* How far one may go, and how much work is left for all that share this: memory and time of a compile are bounded whatever patterns do. Both
 * count the same on every machine. */
struct regex_budget {
	uint32_t entries; /* of one automaton: states times classes and one */
	uint32_t classes; /* of one automaton */
	uint64_t steps;   /* instructions and transitions looked at; goes down */
};

/* A complete, minimal automaton. State 0 is dead; the first `settled_count` states are never left. */
struct regex_automaton {
	enum regex_alphabet alphabet;
	uint32_t state_count, settled_count, start;
	uint32_t class_count;
	uint8_t classes[256];   /* of every byte */
	uint16_t *next;         /* [state * class_count + class] */
	uint16_t *accepts;      /* by state: 0, or what a text that ends here means */
};

/* Of one pattern: `accepts` is 0 or 1. 0; -E2BIG: the budget does not reach; -ENOMEM. */
int regex_automaton_new(const struct regex *regex, enum regex_alphabet alphabet, struct regex_budget *budget, struct regex_automaton **out);
void regex_automaton_free(struct regex_automaton **automaton);

static inline uint32_t regex_next(const struct regex_automaton *automaton, uint32_t state, uint8_t byte)
{
	return automaton->next[state * automaton->class_count + automaton->classes[byte]];
}

/* What `accepts` says of a whole text. */
uint32_t regex_run(const struct regex_automaton *automaton, const char *text, size_t size);

/* The bytes that every text it takes begins with; returns how many there are, and writes `room` of them at most. */
size_t regex_literal_prefix(const struct regex_automaton *automaton, char *out, size_t room);

/* The same told from the pattern alone, for one without an automaton: perhaps fewer bytes. */
size_t regex_leading_literals(const struct regex *regex, char *out, size_t room);

struct regex_literal {
	char *bytes;
	size_t size;
	bool is_prefix;         /* followed by anything */
};

struct regex_literals {
	struct regex_literal *items;
	size_t count;
};

/* All that it takes, if that is a list of at most `max` texts and beginnings of texts. 0; -E2BIG: it isn't, or there are more; -ENOMEM. */
int regex_literals_new(const struct regex_automaton *automaton, size_t max, struct regex_literals *out);
void regex_literals_release(struct regex_literals *literals);

/* ---- many patterns in one automaton ---------------------------------------------------------------------------------------------- */

/* Indexes of patterns, in order. After one that is final nothing is looked for any more. */
struct regex_list {
	uint32_t *items;
	uint32_t count;
	bool is_final;          /* the last one is */
};

/* `accepts` of the automaton is an index into `lists`; lists[0] is empty. */
struct regex_union {
	struct regex_automaton *automaton;
	struct regex_list *lists;
	uint32_t list_count;
};

struct regex_part {
	const struct regex_automaton *automaton;
	uint32_t index;
	bool is_final;
};

/* Of automata over one alphabet, in the order of their indexes. What can't matter is left out: states that differ only in what comes after a
 * final pattern are one. 0; -E2BIG: it would exceed the budget, or there are none; -ENOMEM. */
int regex_union_new(const struct regex_part *parts, size_t count, struct regex_budget *budget, struct regex_union **out);
void regex_union_free(struct regex_union **into);

#endif

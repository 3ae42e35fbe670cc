/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the regexes: the tree of a pattern. */
#ifndef WEFT_REGEX_AST_H
#define WEFT_REGEX_AST_H

#include "base/arena.h"
#include "regex/regex.h"

static inline bool set_has(const struct byte_set *set, unsigned byte)
{
	return set->bits[byte >> 6] >> (byte & 63) & 1;
}

static inline void set_add(struct byte_set *set, unsigned low, unsigned high)
{
	for (; low <= high; low++)
		set->bits[low >> 6] |= 1ull << (low & 63);
}

static inline void set_negate(struct byte_set *set)
{
	for (int i = 0; i < 4; i++)
		set->bits[i] = ~set->bits[i];
}

static inline void set_join(struct byte_set *set, const struct byte_set *other)
{
	for (int i = 0; i < 4; i++)
		set->bits[i] |= other->bits[i];
}

static inline bool set_equal(const struct byte_set *a, const struct byte_set *b)
{
	return !((a->bits[0] ^ b->bits[0]) | (a->bits[1] ^ b->bits[1]) | (a->bits[2] ^ b->bits[2]) | (a->bits[3] ^ b->bits[3]));
}

static inline bool set_is_empty(const struct byte_set *set)
{
	return !(set->bits[0] | set->bits[1] | set->bits[2] | set->bits[3]);
}

static inline unsigned set_count(const struct byte_set *set)
{
	unsigned i, count = 0;

	for (i = 0; i < 4; i++)
		count += (unsigned)__builtin_popcountll(set->bits[i]);
	return count;
}

/* What Latin-1 and case do to a set: the other case of its ASCII letters joins it. RE2 folds nothing else in Latin-1. */
void set_fold(struct byte_set *set);

/* Sets by name: `\d` and its like, `[:alpha:]` (with brackets), `Greek`; false: there is none. Scripts and categories without a
 * character in Latin-1 are empty. */
bool set_by_perl_letter(char letter, struct byte_set *out);
bool set_by_posix_name(const char *name, size_t size, struct byte_set *out);
bool set_by_unicode_name(const char *name, size_t size, struct byte_set *out);

enum regex_op {
	REGEX_EMPTY,     /* the empty text */
	REGEX_SET,       /* one byte of a set; of an empty one: nothing matches */
	REGEX_ASSERT,    /* the empty text, where the assertion holds */
	REGEX_CONCAT,
	REGEX_ALTERNATE,
	REGEX_REPEAT,
	REGEX_CAPTURE,
};

#define REGEX_FLAG_FOLD 0x01u        /* (?i) */
#define REGEX_FLAG_MANY_LINES 0x02u  /* (?m) */
#define REGEX_FLAG_DOT_NEWLINE 0x04u /* (?s) */
#define REGEX_FLAG_LAZY 0x08u        /* (?U); of a repetition: it prefers fewer */

struct regex_node {
	uint8_t op;               /* enum regex_op */
	uint8_t assertion;        /* enum regex_assertion */
	uint8_t flags;            /* those that held where it was written */
	char sign;                /* of a repetition: * + ? or {; of a set made of alternatives: | */
	bool is_nullable;         /* may match the empty text */
	bool has_loop;            /* a repetition without end, somewhere in it */
	uint16_t depth;           /* of nodes below it */
	uint16_t copies;          /* product of nested counts, at most REGEX_REPEAT_MAX + 1 */
	int16_t min, max;         /* of a repetition; max -1: without end */
	uint32_t capture;         /* its number, from 1 */
	uint32_t ranges;          /* of a set made of alternatives: those of all of them; otherwise 0 */
	uint32_t count;
	struct regex_node **children;
	struct byte_set set;
};

struct regex {
	struct arena arena;
	struct regex_node *root;
	uint32_t capture_count;
	uint32_t program_size;
};

/* Is it a byte, or both cases of a letter: what RE2 takes as a literal? */
bool regex_is_literal(const struct regex_node *node);

/* RE2 takes ranges of bytes one by one. A set without any counts too: it is an instruction here. */
uint32_t regex_count_ranges(const struct regex_node *node);

/* An upper bound of the size of RE2's program, and never wrong by overflow. */
uint32_t regex_bound_program(const struct regex_node *root);

#endif

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A regular expression followed instruction by instruction, for those whose automaton would be too large: on the host; the kernel hands up. All
 * instructions that may be next are followed at once, so no text takes longer than its bytes times the instructions. Part of the router; include
 * router.h. */
#ifndef WEFT_NFA_H
#define WEFT_NFA_H

#include "weft/bytes.h"
#include "weft/image.h"
#include "weft/lookup.h"

#ifdef WEFT_KERNEL_LIMITS
WEFT_INLINE int weft_nfa_takes(const struct weft_image_handle *image, const u8 *text, u32 len, weft_ref nfa)
{
	return WEFT_TOO_COMPLEX;
}
#else

#define WEFT_NFA_WORDS (65536 / 64)

/* What stands beside a place in the text, as far as assertions tell it. */
enum weft_nfa_neighbour { WEFT_NFA_NOTHING, WEFT_NFA_WORD, WEFT_NFA_NEWLINE, WEFT_NFA_OTHER };

/* Bits of instructions, and the words of them that are in use: [low, high]. */
struct weft_nfa_places {
	u64 bits[WEFT_NFA_WORDS];
	u32 low, high;
};

struct weft_nfa_run {
	const struct weft_nfa *nfa;
	const struct weft_nfa_instruction *instructions;
	struct weft_nfa_places reached; /* at this place of the text */
	u64 left[WEFT_NFA_WORDS];       /* those of them that were not followed yet */
	u32 cursor;                     /* no word before it has any */
	struct weft_nfa_places next;    /* reached by the byte that comes */
	u32 steps;
};

static inline bool weft_nfa_add(struct weft_nfa_places *places, u32 at)
{
	u64 bit = 1ull << (at & 63);
	u32 word = at >> 6;

	if (places->bits[word] & bit)
		return false;
	places->bits[word] |= bit;
	places->low = WEFT_MIN(places->low, word);
	if (word > places->high)
		places->high = word;
	return true;
}

static inline void weft_nfa_clear(struct weft_nfa_places *places)
{
	for (; places->low <= places->high; places->low++)
		places->bits[places->low] = 0;
	places->low = WEFT_NFA_WORDS;
	places->high = 0;
}

static inline void weft_nfa_reach(struct weft_nfa_run *run, u32 at)
{
	if (!weft_nfa_add(&run->reached, at))
		return;
	run->left[at >> 6] |= 1ull << (at & 63);
	run->cursor = WEFT_MIN(run->cursor, at >> 6);
}

static inline enum weft_nfa_neighbour weft_nfa_neighbour(u8 byte)
{
	u8 letter = byte | 0x20;

	if ((letter >= 'a' && letter <= 'z') || (byte >= '0' && byte <= '9') || byte == '_')
		return WEFT_NFA_WORD;
	return byte == '\n' ? WEFT_NFA_NEWLINE : WEFT_NFA_OTHER;
}

static inline bool weft_nfa_holds(u32 assertion, enum weft_nfa_neighbour before, enum weft_nfa_neighbour after)
{
	bool is_boundary = (before == WEFT_NFA_WORD) != (after == WEFT_NFA_WORD);

	switch ((enum weft_nfa_assertion)assertion) {
	case WEFT_NFA_BEGIN_TEXT: return before == WEFT_NFA_NOTHING;
	case WEFT_NFA_END_TEXT: return after == WEFT_NFA_NOTHING;
	case WEFT_NFA_BEGIN_LINE: return before == WEFT_NFA_NOTHING || before == WEFT_NFA_NEWLINE;
	case WEFT_NFA_END_LINE: return after == WEFT_NFA_NOTHING || after == WEFT_NFA_NEWLINE;
	case WEFT_NFA_WORD_BOUNDARY: return is_boundary;
	case WEFT_NFA_NO_WORD_BOUNDARY: return !is_boundary;
	}
	return false;
}

/* Follows one instruction. Returns true for the match at the end of the text. */
static inline bool weft_nfa_follow(struct weft_nfa_run *run, u32 at, enum weft_nfa_neighbour before, enum weft_nfa_neighbour after, u8 byte)
{
	const struct weft_nfa_instruction *instruction = &run->instructions[at];

	switch ((enum weft_nfa_op)instruction->op) {
	case WEFT_NFA_BYTE:
		if (after != WEFT_NFA_NOTHING && run->nfa->sets[instruction->argument].bits[byte >> 6] >> (byte & 63) & 1)
			weft_nfa_add(&run->next, instruction->next);
		return false;
	case WEFT_NFA_SPLIT:
		weft_nfa_reach(run, instruction->argument);
		weft_nfa_reach(run, instruction->next);
		return false;
	case WEFT_NFA_ASSERT:
		if (weft_nfa_holds(instruction->argument, before, after))
			weft_nfa_reach(run, instruction->next);
		return false;
	case WEFT_NFA_MATCH: return after == WEFT_NFA_NOTHING;
	}
	return false;
}

/* Follows everything that was reached at one place, and what that leads to without a byte. */
static inline bool weft_nfa_advance(struct weft_nfa_run *run, enum weft_nfa_neighbour before, enum weft_nfa_neighbour after, u8 byte)
{
	bool is_match = false;

	while (run->cursor <= run->reached.high) {
		u32 word = run->cursor, bit;

		if (!run->left[word]) {
			run->cursor++;
			continue;
		}
		bit = (u32)__builtin_ctzll(run->left[word]);
		run->left[word] &= run->left[word] - 1;
		run->steps++;
		is_match |= weft_nfa_follow(run, word * 64 + bit, before, after, byte);
	}
	return is_match;
}

/* What the byte led to is reached now. */
static inline void weft_nfa_turn(struct weft_nfa_run *run)
{
	u32 word;

	weft_nfa_clear(&run->reached);
	for (word = run->next.low; word <= run->next.high; word++)
		run->reached.bits[word] = run->left[word] = run->next.bits[word];
	run->reached.low = run->cursor = run->next.low;
	run->reached.high = run->next.high;
	weft_nfa_clear(&run->next);
}

/* Does the expression take the whole text? Returns WEFT_HOLDS, WEFT_FAILS, or WEFT_TOO_COMPLEX past WEFT_NFA_STEPS_MAX. */
static inline __attribute__((unused)) int weft_nfa_takes(const struct weft_image_handle *image, const u8 *text, u32 len, weft_ref nfa)
{
	struct weft_nfa_run run = {.reached.low = WEFT_NFA_WORDS, .next.low = WEFT_NFA_WORDS, .cursor = WEFT_NFA_WORDS};
	enum weft_nfa_neighbour before = WEFT_NFA_NOTHING;
	u32 i;

	run.nfa = (const struct weft_nfa *)(image->base + nfa);
	run.instructions = (const struct weft_nfa_instruction *)(run.nfa->sets + run.nfa->set_count);
	weft_nfa_reach(&run, run.nfa->start);
	for (i = 0; i < len; i++) {
		enum weft_nfa_neighbour after = weft_nfa_neighbour(text[i]);

		weft_nfa_advance(&run, before, after, text[i]);
		if (run.next.low == WEFT_NFA_WORDS)
			return WEFT_FAILS;
		if (run.steps > WEFT_NFA_STEPS_MAX)
			return WEFT_TOO_COMPLEX;
		weft_nfa_turn(&run);
		before = after;
	}
	return weft_nfa_advance(&run, before, WEFT_NFA_NOTHING, 0) ? WEFT_HOLDS : WEFT_FAILS;
}

#endif
#endif

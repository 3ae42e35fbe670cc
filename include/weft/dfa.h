/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Walking automata over a text: of each byte its class is looked up, and where that leads; only the second waits for the byte before, and there
 * is no branch on what they give. Eight bytes are one step, so that the loop costs little, and two automata go side by side, so that they don't
 * wait for each other's memory. Part of the router; include router.h. */
#ifndef WEFT_DFA_H
#define WEFT_DFA_H

#include "weft/bytes.h"
#include "weft/head.h"
#include "weft/image.h"
#include "weft/lookup.h"

struct weft_dfa_tables {
	const u8 *classes;
	const u8 *rows;
};

/* Walks. They may stand on the stack though steps change them (see WEFT_LOOP): nothing but the end of the loop is decided by what they change, and
 * whatever that is, what is read lies in the page. */
struct weft_dfa_walk {
	const u8 *text;                 /* text[at] is its first byte */
	struct weft_dfa_tables lanes[2];
	u32 at;
	u32 states[2];
	u32 settled[2];
};

struct weft_dfa_walk_alone {
	const u8 *text;
	struct weft_dfa_tables lane;
	u32 at;
	u32 state;
	u32 settled;
};

/* One byte after the other: the compiler would look all classes up first, and has no registers for them. */
#ifdef __bpf__
#define WEFT_DFA_REST(word) ({ u64 weft_rest = (word) >> 8; asm volatile("" : "+r"(weft_rest)); weft_rest; })
#else
#define WEFT_DFA_REST(word) ((word) >> 8)
#endif

/* No bounds are checked: a state is an u16 and a class an u8 (see struct weft_dfa). */
WEFT_INLINE u32 weft_dfa_next(const struct weft_dfa_tables *lane, u32 state, u8 byte)
{
	const u8 *row = lane->rows + lane->classes[byte];

	return weft_load2(row + (u16)state);
}

/* Eight bytes in both lanes. Ends the loop when none can change any more. */
WEFT_STEP weft_dfa_step(u32 index, void *context)
{
	struct weft_dfa_walk *walk = context;
	const struct weft_dfa_tables first = walk->lanes[0], second = walk->lanes[1];
	u64 word = weft_load8(walk->text + WEFT_OFFSET(walk->at + index * 8));
	u32 a = walk->states[0], b = walk->states[1], k;

	WEFT_UNROLL
	for (k = 0; k < 8; k++) {
		a = weft_dfa_next(&first, a, (u8)word);
		b = weft_dfa_next(&second, b, (u8)word);
		word = WEFT_DFA_REST(word);
	}
	walk->states[0] = a;
	walk->states[1] = b;
	return a < walk->settled[0] && b < walk->settled[1];
}

/* The same in one. */
WEFT_STEP weft_dfa_step_alone(u32 index, void *context)
{
	struct weft_dfa_walk_alone *walk = context;
	const struct weft_dfa_tables lane = walk->lane;
	u64 word = weft_load8(walk->text + WEFT_OFFSET(walk->at + index * 8));
	u32 state = walk->state, k;

	WEFT_UNROLL
	for (k = 0; k < 8; k++) {
		state = weft_dfa_next(&lane, state, (u8)word);
		word = WEFT_DFA_REST(word);
	}
	walk->state = state;
	return state < walk->settled;
}

/* A place in a page at a multiple of `step`, a power of two: what mask there is does nothing, and the verifier sees the bound without a branch. */
#ifdef __bpf__
#define WEFT_DFA_PLACE(offset, last, step) ((offset) & (last) & ~((step) - 1))
#else
#define WEFT_DFA_PLACE(offset, last, step) (offset)
#endif

/* Where a lane of the automata at offset `at` of the page stands. */
WEFT_INLINE void weft_dfa_place(const u8 *page, u32 at, const struct weft_dfa *dfa, u32 lane, struct weft_dfa_tables *out)
{
	out->classes = page + WEFT_DFA_PLACE(at + dfa->lanes[lane].classes, WEFT_PAGE_MASK, WEFT_DFA_ALIGN);
	out->rows = page + WEFT_DFA_PLACE(at + dfa->lanes[lane].rows, WEFT_PAGE_MASK / 2, 8);
}

/* Puts lanes `from` and the one after it at their starts. Returns how many lanes there are from there on, or 0 when the image is gone. */
WEFT_INLINE u32 weft_dfa_begin(struct weft_dfa_walk *walk, const struct weft_image_handle *image, weft_ref ref, u32 from)
{
	struct weft_cursor cursor = {};
	const struct weft_dfa *dfa;
	const u8 *page;
	u32 at, i;

	page = weft_seek(image, &cursor, ref);
	if (!page)
		return 0;
	at = WEFT_DFA_PLACE(ref, WEFT_PAGE_MASK, WEFT_DFA_ALIGN);
	dfa = (const struct weft_dfa *)(page + at);
	for (i = 0; i < 2; i++) {
		weft_dfa_place(page, at, dfa, from + i, &walk->lanes[i]);
		walk->states[i] = dfa->lanes[from + i].start;
		walk->settled[i] = dfa->lanes[from + i].settled;
	}
	return dfa->lane_count - from;
}

/* Puts the first lane at its start. False when the image is gone. */
WEFT_INLINE bool weft_dfa_begin_alone(struct weft_dfa_walk_alone *walk, const struct weft_image_handle *image, weft_ref ref)
{
	struct weft_cursor cursor = {};
	const struct weft_dfa *dfa;
	const u8 *page;
	u32 at;

	page = weft_seek(image, &cursor, ref);
	if (!page)
		return false;
	at = WEFT_DFA_PLACE(ref, WEFT_PAGE_MASK, WEFT_DFA_ALIGN);
	dfa = (const struct weft_dfa *)(page + at);
	weft_dfa_place(page, at, dfa, 0, &walk->lane);
	walk->state = dfa->lanes[0].start;
	walk->settled = dfa->lanes[0].settled;
	return true;
}

/* The last bytes, fewer than 8, of a text; then what each lane says of it. */
WEFT_INLINE u32 weft_dfa_end(const struct weft_dfa_walk *walk, u64 word, u32 count)
{
	const struct weft_dfa_tables first = walk->lanes[0], second = walk->lanes[1];
	u32 a = walk->states[0], b = walk->states[1], k;

	for (k = 0; k < 7; k++) {
		if (k >= count)
			break;
		a = weft_dfa_next(&first, a, (u8)word);
		b = weft_dfa_next(&second, b, (u8)word);
		word = WEFT_DFA_REST(word);
	}
	return (u32)weft_load2(first.rows + (u16)a) | (u32)weft_load2(second.rows + (u16)b) << 16;
}

WEFT_INLINE u32 weft_dfa_end_alone(const struct weft_dfa_walk_alone *walk, u64 word, u32 count)
{
	const struct weft_dfa_tables lane = walk->lane;
	u32 state = walk->state, k;

	for (k = 0; k < 7; k++) {
		if (k >= count)
			break;
		state = weft_dfa_next(&lane, state, (u8)word);
		word = WEFT_DFA_REST(word);
	}
	return weft_load2(lane.rows + (u16)state);
}

#define WEFT_DFA_GONE ~0ull /* no automaton says 0xffff */

/* What the automata say of the `len` bytes at `off`: 16 bits for each lane, the first lowest. WEFT_DFA_GONE when the image is. */
WEFT_STAGE u64 weft_walk_dfa(const struct weft_image_handle *image, const struct weft_head_bytes *bytes, u32 off, u32 len, weft_ref dfa)
{
	struct weft_dfa_walk walk = {};
	u64 says = 0;
	u32 from;

	if (!image || !bytes)
		return WEFT_DFA_GONE;
	walk.text = bytes->data;
	walk.at = off;
	for (from = 0; from < WEFT_DFA_LANES; from += 2) {
		u32 lanes = weft_dfa_begin(&walk, image, dfa, from);

		if (!lanes)
			return WEFT_DFA_GONE;
		WEFT_LOOP(len / 8, weft_dfa_step, &walk);
		says |= (u64)weft_dfa_end(&walk, weft_load8(bytes->data + WEFT_OFFSET(off + len / 8 * 8)), len % 8) << (16 * from);
		if (lanes <= 2)
			break;
	}
	return says;
}

/* The same of the first lane, which is the only one. */
WEFT_STAGE u64 weft_walk_dfa_alone(const struct weft_image_handle *image, const struct weft_head_bytes *bytes, u32 off, u32 len, weft_ref dfa)
{
	struct weft_dfa_walk_alone walk = {};

	if (!image || !bytes || !weft_dfa_begin_alone(&walk, image, dfa))
		return WEFT_DFA_GONE;
	walk.text = bytes->data;
	walk.at = off;
	WEFT_LOOP(len / 8, weft_dfa_step_alone, &walk);
	return weft_dfa_end_alone(&walk, weft_load8(bytes->data + WEFT_OFFSET(off + len / 8 * 8)), len % 8);
}

/* The same for a text of fewer than 8 bytes that stands in a word. */
WEFT_STAGE u64 weft_walk_dfa_word(const struct weft_image_handle *image, u64 word, u32 len, weft_ref dfa)
{
	struct weft_dfa_walk_alone walk = {};

	if (!image || !weft_dfa_begin_alone(&walk, image, dfa))
		return WEFT_DFA_GONE;
	return weft_dfa_end_alone(&walk, word, len);
}

/* Does the automaton, which stands alone, take the text? */
WEFT_INLINE int weft_dfa_takes(const struct weft_image_handle *image, const struct weft_head_bytes *bytes, u32 off, u32 len, weft_ref dfa)
{
	u64 says = weft_walk_dfa_alone(image, bytes, off, len, dfa);

	return says == WEFT_DFA_GONE ? WEFT_EXCEEDS : says != 0;
}

WEFT_INLINE int weft_dfa_takes_word(const struct weft_image_handle *image, u64 word, u32 len, weft_ref dfa)
{
	u64 says = weft_walk_dfa_word(image, word, len, dfa);

	return says == WEFT_DFA_GONE ? WEFT_EXCEEDS : says != 0;
}

#endif

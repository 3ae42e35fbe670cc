/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions become an automaton: a state is a set of the instructions that may be next, and what the byte before was where an assertion
 * among them asks for it. Assertions wait in a state until the next byte, or the end, is known. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "regex/automaton.h"

/* What stands beside a place in the text, as far as assertions tell it. */
enum neighbour { NEIGHBOUR_NONE, NEIGHBOUR_WORD, NEIGHBOUR_NEWLINE, NEIGHBOUR_OTHER };

/* A state's instructions in the pool: bytes, assertions, the match; sorted. */
struct subset {
	uint32_t first, count;
	uint32_t hash;
	uint8_t before;           /* enum neighbour; OTHER where no assertion is among them */
};

struct places {
	uint16_t *items;
	uint32_t count;
};

struct determine {
	const struct regex_program *program;
	struct regex_budget *budget;
	struct state_table table;
	struct subset *subsets;   /* by state */
	uint32_t subset_capacity;
	uint16_t *pool;
	size_t pool_count, pool_capacity;
	uint32_t *slots;          /* open addressing over subsets: state and one, 0: free */
	uint32_t slot_mask;
	uint64_t *seen;           /* bits of instructions: those reached while a set is made */
	uint64_t *chosen;         /* bits of those that are in it */
	struct places stack;      /* reached, not followed yet */
	struct places places, resolved;
	enum neighbour before, after; /* where assertions are decided */
	bool decides;
	struct byte_set words;
};

static void determine_release(struct determine *d)
{
	free(d->subsets);
	free(d->pool);
	free(d->slots);
	free(d->seen);
	free(d->chosen);
	free(d->stack.items);
	free(d->places.items);
	free(d->resolved.items);
	regex_automaton_free(&d->table.automaton);
}

/* ---- sets of instructions ------------------------------------------------------------------------------------------------------------ */

static enum neighbour neighbour_of(const struct determine *d, uint8_t byte)
{
	return set_has(&d->words, byte) ? NEIGHBOUR_WORD : byte == '\n' ? NEIGHBOUR_NEWLINE : NEIGHBOUR_OTHER;
}

static bool holds(uint16_t assertion, enum neighbour before, enum neighbour after)
{
	bool is_boundary = (before == NEIGHBOUR_WORD) != (after == NEIGHBOUR_WORD);

	switch ((enum regex_assertion)assertion) {
	case REGEX_BEGIN_TEXT: return before == NEIGHBOUR_NONE;
	case REGEX_END_TEXT: return after == NEIGHBOUR_NONE;
	case REGEX_BEGIN_LINE: return before == NEIGHBOUR_NONE || before == NEIGHBOUR_NEWLINE;
	case REGEX_END_LINE: return after == NEIGHBOUR_NONE || after == NEIGHBOUR_NEWLINE;
	case REGEX_WORD_BOUNDARY: return is_boundary;
	case REGEX_NO_WORD_BOUNDARY: return !is_boundary;
	}
	return false;
}

static bool mark(uint64_t *bits, uint32_t at)
{
	bool was_set = bits[at >> 6] >> (at & 63) & 1;

	bits[at >> 6] |= 1ull << (at & 63);
	return !was_set;
}

static void reach(struct determine *d, uint32_t at)
{
	if (mark(d->seen, at))
		d->stack.items[d->stack.count++] = (uint16_t)at;
}

/* Follows what was reached; what waits for a byte, and the match, is chosen, and assertions too unless they are decided now. */
static void follow(struct determine *d)
{
	while (d->stack.count) {
		uint32_t at = d->stack.items[--d->stack.count];
		const struct regex_instruction *instruction = &d->program->instructions[at];

		if (instruction->op == REGEX_DO_SPLIT) {
			reach(d, instruction->argument);
			reach(d, instruction->next);
		} else if (instruction->op != REGEX_DO_ASSERT || !d->decides) {
			mark(d->chosen, at);
		} else if (holds(instruction->argument, d->before, d->after)) {
			reach(d, instruction->next);
		}
	}
}

/* Takes the chosen ones out, in order, and forgets what was seen. */
static void collect(struct determine *d, struct places *out)
{
	uint32_t i, words = (d->program->instruction_count + 63) / 64;

	out->count = 0;
	for (i = 0; i < words; i++) {
		uint64_t left = d->chosen[i];

		for (; left; left &= left - 1)
			out->items[out->count++] = (uint16_t)(i * 64 + (uint32_t)__builtin_ctzll(left));
		d->chosen[i] = d->seen[i] = 0;
	}
}

/* A state's instructions with its assertions decided. */
static void resolve(struct determine *d, const struct subset *subset, enum neighbour after)
{
	uint32_t i;

	d->decides = true;
	d->before = subset->before;
	d->after = after;
	for (i = 0; i < subset->count; i++)
		reach(d, d->pool[subset->first + i]);
	follow(d);
	collect(d, &d->resolved);
	d->decides = false;
}

static bool has_assertion(const struct determine *d, const struct places *places)
{
	uint32_t i;

	for (i = 0; d->program->has_assertions && i < places->count; i++)
		if (d->program->instructions[places->items[i]].op == REGEX_DO_ASSERT)
			return true;
	return false;
}

/* ---- states --------------------------------------------------------------------------------------------------------------------------- */

static uint32_t hash_places(const struct places *places, enum neighbour before)
{
	uint32_t i, h = 0x811c9dc5u ^ before;

	for (i = 0; i < places->count; i++)
		h = (h ^ places->items[i]) * 0x01000193u;
	return h ^ h >> 15;
}

static bool is_same(const struct determine *d, const struct subset *subset, const struct places *places, enum neighbour before, uint32_t hash)
{
	return subset->hash == hash && subset->count == places->count && subset->before == before &&
	       (!places->count || !memcmp(d->pool + subset->first, places->items, places->count * sizeof(*places->items)));
}

static int grow_slots(struct determine *d)
{
	uint32_t i, slot, mask = d->slot_mask ? d->slot_mask * 2 + 1 : 127, *slots = calloc((size_t)mask + 1, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (i = 0; i < d->table.automaton->state_count; i++) {
		for (slot = d->subsets[i].hash & mask; slots[slot]; slot = (slot + 1) & mask)
			;
		slots[slot] = i + 1;
	}
	free(d->slots);
	d->slots = slots;
	d->slot_mask = mask;
	return 0;
}

static int reserve_subset(struct determine *d, uint32_t count)
{
	if (d->table.automaton->state_count == d->subset_capacity) {
		uint32_t capacity = d->subset_capacity ? d->subset_capacity * 2 : 64;
		struct subset *grown = reallocarray(d->subsets, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		d->subsets = grown;
		d->subset_capacity = capacity;
	}
	if (!d->pool || d->pool_count + count > d->pool_capacity) {
		size_t capacity = (d->pool_count + count) * 2 + 256;
		uint16_t *grown = reallocarray(d->pool, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		d->pool = grown;
		d->pool_capacity = capacity;
	}
	return (d->table.automaton->state_count + 1) * 2 > d->slot_mask ? grow_slots(d) : 0;
}

/* Does a text that ends in this state match? */
static bool is_accepting(struct determine *d, const struct subset *subset, bool waits)
{
	const uint16_t *items = d->pool + subset->first;
	uint32_t i, count = subset->count;

	if (waits) {
		resolve(d, subset, NEIGHBOUR_NONE);
		items = d->resolved.items;
		count = d->resolved.count;
	}
	for (i = 0; i < count; i++)
		if (d->program->instructions[items[i]].op == REGEX_DO_MATCH)
			return true;
	return false;
}

/* The state of the instructions in d->places. */
static int find_state(struct determine *d, enum neighbour before, uint32_t *out)
{
	const struct places *places = &d->places;
	bool waits = has_assertion(d, places);
	uint32_t hash, slot;
	int r;

	if (!waits)
		before = NEIGHBOUR_OTHER;
	hash = hash_places(places, before);
	r = reserve_subset(d, places->count);
	if (r)
		return r;
	for (slot = hash & d->slot_mask; d->slots[slot]; slot = (slot + 1) & d->slot_mask) {
		*out = d->slots[slot] - 1;
		if (is_same(d, &d->subsets[*out], places, before, hash))
			return 0;
	}
	r = regex_add_state(&d->table, out);
	if (r)
		return r;
	d->slots[slot] = *out + 1;
	d->subsets[*out] = (struct subset){ (uint32_t)d->pool_count, places->count, hash, (uint8_t)before };
	if (places->count)
		memcpy(d->pool + d->pool_count, places->items, places->count * sizeof(*places->items));
	d->pool_count += places->count;
	d->table.automaton->accepts[*out] = is_accepting(d, &d->subsets[*out], waits);
	return 0;
}

/* Where the byte leads from a state. */
static int step(struct determine *d, uint32_t from, uint8_t byte, uint32_t *out)
{
	const struct subset *subset = &d->subsets[from];
	struct places places = { d->pool + subset->first, subset->count };
	uint32_t i;

	if (has_assertion(d, &places)) {
		resolve(d, subset, neighbour_of(d, byte));
		places = d->resolved;
	}
	for (i = 0; i < places.count; i++) {
		const struct regex_instruction *instruction = &d->program->instructions[places.items[i]];

		if (instruction->op == REGEX_DO_BYTE && set_has(&d->program->sets[instruction->argument], byte))
			reach(d, instruction->next);
	}
	follow(d);
	collect(d, &d->places);
	if (!regex_spend(d->budget, places.count + d->places.count + d->program->instruction_count / 64 + 1))
		return -E2BIG;
	return find_state(d, neighbour_of(d, byte), out);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------------ */

static int prepare(struct determine *d, enum regex_alphabet alphabet)
{
	struct regex_automaton *automaton = d->table.automaton = calloc(1, sizeof(*automaton));
	size_t count = d->program->instruction_count, words = (count + 63) / 64;
	struct byte_set bytes, newline = { { 1u << '\n' } };
	uint32_t i;

	if (!automaton)
		return -ENOMEM;
	d->seen = calloc(words, sizeof(*d->seen));
	d->chosen = calloc(words, sizeof(*d->chosen));
	d->stack.items = calloc(count, sizeof(uint16_t));
	d->places.items = calloc(count, sizeof(uint16_t));
	d->resolved.items = calloc(count, sizeof(uint16_t));
	if (!d->seen || !d->chosen || !d->stack.items || !d->places.items || !d->resolved.items)
		return -ENOMEM;
	set_by_perl_letter('w', &d->words);

	automaton->alphabet = alphabet;
	automaton->class_count = 1;
	regex_alphabet_bytes(alphabet, &bytes);
	for (i = 0; i < d->program->set_count; i++)
		automaton->class_count = regex_split_by_set(automaton->classes, &bytes, &d->program->sets[i]);
	if (d->program->has_assertions) {
		regex_split_by_set(automaton->classes, &bytes, &d->words);
		automaton->class_count = regex_split_by_set(automaton->classes, &bytes, &newline);
	}
	return 0;
}

static int determine(struct determine *d)
{
	struct regex_automaton *automaton = d->table.automaton;
	uint8_t representatives[256];
	uint32_t state, class, next;
	struct byte_set bytes;
	int r;

	regex_alphabet_bytes(automaton->alphabet, &bytes);
	regex_representatives(automaton->classes, &bytes, representatives);
	r = find_state(d, NEIGHBOUR_OTHER, &state); /* nothing was reached: the dead one */
	if (r)
		return r;
	reach(d, d->program->start);
	follow(d);
	collect(d, &d->places);
	r = find_state(d, NEIGHBOUR_NONE, &automaton->start);
	for (state = automaton->start; !r && state < automaton->state_count; state++) {
		for (class = 0; !r && class < automaton->class_count; class++) {
			r = step(d, state, representatives[class], &next);
			if (!r)
				automaton->next[state * automaton->class_count + class] = (uint16_t)next;
		}
	}
	return r;
}

int regex_automaton_new(const struct regex *regex, enum regex_alphabet alphabet, struct regex_budget *budget, struct regex_automaton **out)
{
	_cleanup_(regex_program_free) struct regex_program *program = NULL;
	_cleanup_(determine_release) struct determine d = { .budget = budget };
	int r = regex_program_new(regex, &program);

	if (r)
		return r;
	d.program = program;
	r = prepare(&d, alphabet);
	if (!r)
		r = determine(&d);
	if (!r)
		r = regex_minimise(d.table.automaton);
	if (r)
		return r;
	if (!regex_fits(d.table.automaton, budget))
		return -E2BIG;
	*out = TAKE_PTR(d.table.automaton);
	return 0;
}

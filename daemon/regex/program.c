/* SPDX-License-Identifier: Apache-2.0 */
/* A tree becomes instructions. They are written from the end of the pattern to its beginning, so that what follows is known. */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "regex/ast.h"

/* Instructions that only lead on are not written, so these are hardly more than RE2's at most: a byte for a range or more, a split for a way,
 * an assertion; beside them a split for each alternative but one, and every alternative but one of a kind has two instructions or more. */
#define INSTRUCTIONS_MAX UINT16_MAX

struct writer {
	struct regex_program *program;
	size_t capacity, set_capacity;
	uint16_t *set_slots;      /* open addressing: index of a set and one, 0: free */
	uint32_t set_mask;
};

static int emit(struct writer *writer, enum regex_instruction_op op, uint32_t next, uint32_t argument, uint32_t *out)
{
	struct regex_program *program = writer->program;

	if (program->instruction_count == writer->capacity) {
		size_t capacity = writer->capacity ? writer->capacity * 2 : 64;
		struct regex_instruction *grown = reallocarray(program->instructions, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		program->instructions = grown;
		writer->capacity = capacity;
	}
	weft_assert(program->instruction_count < INSTRUCTIONS_MAX);
	*out = program->instruction_count++;
	program->instructions[*out] = (struct regex_instruction){ (uint16_t)op, (uint16_t)next, (uint16_t)argument };
	return 0;
}

/* ---- sets ---------------------------------------------------------------------------------------------------------------------------- */

static uint32_t hash_set(const struct byte_set *set)
{
	uint64_t h = 0;

	for (int i = 0; i < 4; i++) {
		h = (h ^ set->bits[i]) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
	}
	return (uint32_t)(h >> 16);
}

static int grow_sets(struct writer *writer)
{
	struct regex_program *program = writer->program;
	size_t capacity = writer->set_capacity ? writer->set_capacity * 2 : 32;
	struct byte_set *grown = reallocarray(program->sets, capacity, sizeof(*grown));
	uint32_t i, slot, mask = (uint32_t)capacity * 2 - 1;
	uint16_t *slots;

	if (!grown)
		return -ENOMEM;
	program->sets = grown;
	slots = calloc((size_t)mask + 1, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (i = 0; i < program->set_count; i++) {
		for (slot = hash_set(&program->sets[i]) & mask; slots[slot]; slot = (slot + 1) & mask)
			;
		slots[slot] = (uint16_t)(i + 1);
	}
	free(writer->set_slots);
	writer->set_slots = slots;
	writer->set_mask = mask;
	writer->set_capacity = capacity;
	return 0;
}

static int find_set(struct writer *writer, const struct byte_set *set, uint32_t *out)
{
	struct regex_program *program = writer->program;
	uint32_t slot;

	if (program->set_count == writer->set_capacity) {
		int r = grow_sets(writer);

		if (r)
			return r;
	}
	for (slot = hash_set(set) & writer->set_mask; writer->set_slots[slot]; slot = (slot + 1) & writer->set_mask) {
		*out = writer->set_slots[slot] - 1u;
		if (set_equal(&program->sets[*out], set))
			return 0;
	}
	*out = program->set_count++;
	program->sets[*out] = *set;
	writer->set_slots[slot] = (uint16_t)program->set_count;
	return 0;
}

/* ---- nodes --------------------------------------------------------------------------------------------------------------------------- */

/* Each writes what `node` does before `next`, and gives where that begins. */
static int write_node(struct writer *writer, const struct regex_node *node, uint32_t next, uint32_t *out);

/* The body as often as wanted, or without end: back to a split, which must be written before what it leads to. */
static int write_loop(struct writer *writer, const struct regex_node *body, uint32_t next, uint32_t *split, uint32_t *entry)
{
	int r = emit(writer, REGEX_DO_SPLIT, 0, next, split);

	if (!r)
		r = write_node(writer, body, *split, entry);
	if (!r)
		writer->program->instructions[*split].next = (uint16_t)*entry;
	return r;
}

/* x{2,4} is xx(x(x)?)?, x{2,} is xx+. */
static int write_repeat(struct writer *writer, const struct regex_node *node, uint32_t next, uint32_t *out)
{
	const struct regex_node *body = node->children[0];
	uint32_t at = next, split, entry;
	int i, r = 0, copies = node->min;

	if (node->max < 0) {
		r = write_loop(writer, body, next, &split, &entry);
		at = copies ? entry : split;
		copies -= copies > 0;
	}
	for (i = node->min; !r && i < node->max; i++) {
		r = write_node(writer, body, at, &entry);
		if (!r)
			r = emit(writer, REGEX_DO_SPLIT, entry, next, &at);
	}
	for (i = 0; !r && i < copies; i++)
		r = write_node(writer, body, at, &at);
	*out = at;
	return r;
}

static int write_alternatives(struct writer *writer, const struct regex_node *node, uint32_t next, uint32_t *out)
{
	uint32_t at, rest, i = node->count - 1;
	int r = write_node(writer, node->children[i], next, &rest);

	while (!r && i--) {
		r = write_node(writer, node->children[i], next, &at);
		if (!r)
			r = emit(writer, REGEX_DO_SPLIT, at, rest, &rest);
	}
	*out = rest;
	return r;
}

static int write_node(struct writer *writer, const struct regex_node *node, uint32_t next, uint32_t *out)
{
	uint32_t set, i;
	int r = 0;

	switch ((enum regex_op)node->op) {
	case REGEX_EMPTY: *out = next; return 0;
	case REGEX_SET:
		r = find_set(writer, &node->set, &set);
		return r ? r : emit(writer, REGEX_DO_BYTE, next, set, out);
	case REGEX_ASSERT:
		writer->program->has_assertions = true;
		return emit(writer, REGEX_DO_ASSERT, next, node->assertion, out);
	case REGEX_CONCAT:
		for (i = node->count, *out = next; !r && i--;)
			r = write_node(writer, node->children[i], *out, out);
		return r;
	case REGEX_ALTERNATE: return write_alternatives(writer, node, next, out);
	case REGEX_REPEAT: return write_repeat(writer, node, next, out);
	case REGEX_CAPTURE: return write_node(writer, node->children[0], next, out);
	}
	return -EINVAL;
}

int regex_program_new(const struct regex *regex, struct regex_program **out)
{
	_cleanup_(regex_program_free) struct regex_program *program = calloc(1, sizeof(*program));
	struct writer writer = { .program = program };
	uint32_t match;
	int r;

	if (!program)
		return -ENOMEM;
	r = emit(&writer, REGEX_DO_MATCH, 0, 0, &match);
	if (!r)
		r = write_node(&writer, regex->root, match, &program->start);
	free(writer.set_slots);
	if (r)
		return r;
	*out = TAKE_PTR(program);
	return 0;
}

void regex_program_free(struct regex_program **program)
{
	if (!*program)
		return;
	free((*program)->instructions);
	free((*program)->sets);
	free(*program);
	*program = NULL;
}

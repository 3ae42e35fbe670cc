/* SPDX-License-Identifier: Apache-2.0 */
/* What an automaton takes, told in literals: how every text of it begins, or all of them where they are few. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "regex/automaton.h"

/* The only byte of the alphabet that leads on from a state; -1: there are several, or none. */
static int only_byte(const struct regex_automaton *automaton, const struct byte_set *alphabet, uint32_t state)
{
	int found = -1;
	uint32_t byte;

	for (byte = 0; byte < 256; byte++) {
		if (!set_has(alphabet, byte) || regex_next(automaton, state, (uint8_t)byte) == REGEX_DEAD)
			continue;
		if (found >= 0)
			return -1;
		found = (int)byte;
	}
	return found;
}

size_t regex_literal_prefix(const struct regex_automaton *automaton, char *out, size_t room)
{
	uint32_t state = automaton->start;
	struct byte_set alphabet;
	size_t size;
	int byte;

	regex_alphabet_bytes(automaton->alphabet, &alphabet);
	/* A minimal automaton leads nowhere from which nothing is taken, so it can't go round on one byte for ever unless a text may end there. */
	for (size = 0; !automaton->accepts[state] && (byte = only_byte(automaton, &alphabet, state)) >= 0; size++) {
		if (size < room)
			out[size] = (char)byte;
		state = regex_next(automaton, state, (uint8_t)byte);
	}
	return size;
}

/* Writes what a node begins with from `size` on. Returns whether that was all of it. */
static bool lead(const struct regex_node *node, char *out, size_t room, size_t *size)
{
	unsigned byte;
	uint32_t i;

	switch ((enum regex_op)node->op) {
	case REGEX_EMPTY: return true;
	case REGEX_ASSERT: return true; /* it takes no byte, and can only take texts away */
	case REGEX_SET:
		if (set_count(&node->set) != 1)
			return false;
		for (byte = 0; !set_has(&node->set, byte); byte++)
			;
		if (*size < room)
			out[*size] = (char)byte;
		++*size;
		return true;
	case REGEX_CAPTURE: return lead(node->children[0], out, room, size);
	case REGEX_CONCAT:
		for (i = 0; i < node->count; i++)
			if (!lead(node->children[i], out, room, size))
				return false;
		return true;
	case REGEX_ALTERNATE:
	case REGEX_REPEAT: break;
	}
	return false;
}

size_t regex_leading_literals(const struct regex *regex, char *out, size_t room)
{
	size_t size = 0;

	lead(regex->root, out, room, &size);
	return size;
}

/* A text on its way: the bytes so far are those of the stack. */
struct walk {
	const struct regex_automaton *automaton;
	struct byte_set alphabet;
	size_t max;
	struct regex_literals *out;
	uint32_t *states;         /* of the way here */
	uint16_t *bytes;          /* the next to be tried after each of them */
	char *text;
};

static int add_literal(struct walk *walk, size_t size, bool is_prefix)
{
	struct regex_literals *out = walk->out;
	char *bytes;

	if (out->count == walk->max)
		return -E2BIG;
	bytes = malloc(size + 1);
	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, walk->text, size);
	bytes[size] = '\0';
	out->items[out->count++] = (struct regex_literal){ bytes, size, is_prefix };
	return 0;
}

/* A text that is longer than there are states has been somewhere twice: there is no end of them. */
static int walk_texts(struct walk *walk)
{
	const struct regex_automaton *automaton = walk->automaton;
	size_t depth = 0;
	int r = 0;

	walk->states[0] = automaton->start;
	walk->bytes[0] = 0;
	for (;;) {
		uint32_t state = walk->states[depth], byte = walk->bytes[depth]++, next;

		if (!byte && automaton->accepts[state]) {
			r = add_literal(walk, depth, state < automaton->settled_count);
			if (r)
				return r;
		}
		if (byte == 256 || state < automaton->settled_count) {
			if (!depth--)
				return 0;
			continue;
		}
		if (!set_has(&walk->alphabet, byte))
			continue;
		next = regex_next(automaton, state, (uint8_t)byte);
		if (next == REGEX_DEAD)
			continue;
		if (depth + 1 == automaton->state_count)
			return -E2BIG;
		walk->text[depth++] = (char)byte;
		walk->states[depth] = next;
		walk->bytes[depth] = 0;
	}
}

int regex_literals_new(const struct regex_automaton *automaton, size_t max, struct regex_literals *out)
{
	_cleanup_(regex_literals_release) struct regex_literals found = { .items = calloc(max, sizeof(*found.items)) };
	_cleanup_free_ uint32_t *states = calloc(automaton->state_count, sizeof(*states));
	_cleanup_free_ uint16_t *bytes = calloc(automaton->state_count, sizeof(*bytes));
	_cleanup_free_ char *text = malloc(automaton->state_count);
	struct walk walk = { automaton, .max = max, .out = &found, .states = states, .bytes = bytes, .text = text };
	int r;

	if (!found.items || !states || !bytes || !text)
		return -ENOMEM;
	regex_alphabet_bytes(automaton->alphabet, &walk.alphabet);
	r = walk_texts(&walk);
	if (r)
		return r;
	*out = found;
	found = (struct regex_literals){ NULL, 0 };
	return 0;
}

void regex_literals_release(struct regex_literals *literals)
{
	size_t i;

	for (i = 0; i < literals->count; i++)
		free(literals->items[i].bytes);
	free(literals->items);
	*literals = (struct regex_literals){ NULL, 0 };
}

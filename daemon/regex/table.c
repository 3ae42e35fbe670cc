/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of automata: their alphabets, classes and rows. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "regex/automaton.h"

void regex_alphabet_bytes(enum regex_alphabet alphabet, struct byte_set *out)
{
	static const char not_in[][3] = {
		[REGEX_OVER_TARGETS] = "#",
		[REGEX_OVER_PATHS] = "#?",
	};
	const char *c;

	memset(out, 0, sizeof(*out));
	switch (alphabet) {
	case REGEX_OVER_BYTES: set_add(out, 0, 255); return;
	case REGEX_OVER_VALUES:
		set_add(out, '\t', '\t');
		set_add(out, 0x20, 0x7e);
		set_add(out, 0x80, 0xff);
		return;
	case REGEX_OVER_TARGETS:
	case REGEX_OVER_PATHS:
		set_add(out, 0x21, 0x7e);
		for (c = not_in[alphabet]; *c; c++)
			out->bits[(unsigned)*c >> 6] &= ~(1ull << (*c & 63));
		return;
	}
}

#define PAIR_SLOTS 512u /* at most 256 are used */

uint32_t regex_split_by_map(uint8_t classes[256], const struct byte_set *alphabet, const uint8_t map[256])
{
	struct { uint16_t pair, class; } slots[PAIR_SLOTS];
	uint32_t byte, slot, count = 0;

	memset(slots, 0xff, sizeof(slots));
	for (byte = 0; byte < 256; byte++) {
		uint16_t pair = (uint16_t)(classes[byte] << 8 | map[byte]);

		if (!set_has(alphabet, byte))
			continue;
		for (slot = pair * 40503u >> 3 & (PAIR_SLOTS - 1); slots[slot].class != 0xffff && slots[slot].pair != pair;)
			slot = (slot + 1) & (PAIR_SLOTS - 1);
		if (slots[slot].class == 0xffff) {
			slots[slot].pair = pair;
			slots[slot].class = (uint16_t)count++;
		}
		classes[byte] = (uint8_t)slots[slot].class;
	}
	for (byte = 0; byte < 256; byte++)
		if (!set_has(alphabet, byte))
			classes[byte] = 0;
	return count;
}

uint32_t regex_split_by_set(uint8_t classes[256], const struct byte_set *alphabet, const struct byte_set *set)
{
	uint8_t map[256];
	uint32_t byte;

	for (byte = 0; byte < 256; byte++)
		map[byte] = set_has(set, byte);
	return regex_split_by_map(classes, alphabet, map);
}

void regex_representatives(const uint8_t classes[256], const struct byte_set *alphabet, uint8_t bytes[256])
{
	uint32_t byte;

	for (byte = 256; byte--;)
		if (set_has(alphabet, byte))
			bytes[classes[byte]] = (uint8_t)byte;
}

int regex_add_state(struct state_table *table, uint32_t *out)
{
	struct regex_automaton *automaton = table->automaton;
	uint32_t classes = automaton->class_count;

	if (automaton->state_count >= REGEX_STATES_MAX || (automaton->state_count + 1) * classes > REGEX_TABLE_MAX)
		return -E2BIG;
	if (automaton->state_count == table->capacity) {
		uint32_t capacity = table->capacity ? table->capacity * 2 : 32;
		uint16_t *next = reallocarray(automaton->next, (size_t)capacity * classes, sizeof(*next)), *accepts;

		if (!next)
			return -ENOMEM;
		automaton->next = next;
		accepts = reallocarray(automaton->accepts, capacity, sizeof(*accepts));
		if (!accepts)
			return -ENOMEM;
		automaton->accepts = accepts;
		table->capacity = capacity;
	}
	*out = automaton->state_count++;
	memset(automaton->next + (size_t)*out * classes, 0, classes * sizeof(*automaton->next));
	automaton->accepts[*out] = 0;
	return 0;
}

void regex_automaton_free(struct regex_automaton **automaton)
{
	if (!*automaton)
		return;
	free((*automaton)->next);
	free((*automaton)->accepts);
	free(*automaton);
	*automaton = NULL;
}

uint32_t regex_run(const struct regex_automaton *automaton, const char *text, size_t size)
{
	uint32_t state = automaton->start;
	size_t i;

	for (i = 0; i < size; i++)
		state = regex_next(automaton, state, (uint8_t)text[i]);
	return automaton->accepts[state];
}

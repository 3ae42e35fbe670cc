/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the automata: tables while they are made. */
#ifndef WEFT_REGEX_AUTOMATON_H
#define WEFT_REGEX_AUTOMATON_H

#include "regex/ast.h"

#define REGEX_DEAD 0u
/* States of an automaton before it is made minimal, and its table then: what bounds memory. */
#define REGEX_STATES_MAX 16384u
#define REGEX_TABLE_MAX (1u << 21)

/* The bytes of an alphabet. */
void regex_alphabet_bytes(enum regex_alphabet alphabet, struct byte_set *out);

/* Splits classes of bytes: those of one class stay together where `map` (or the set) agrees too. Classes are numbered by their first byte, and
 * bytes outside of the alphabet go with its first one. Returns how many there are. */
uint32_t regex_split_by_map(uint8_t classes[256], const struct byte_set *alphabet, const uint8_t map[256]);
uint32_t regex_split_by_set(uint8_t classes[256], const struct byte_set *alphabet, const struct byte_set *set);

/* A byte of the alphabet in each class. */
void regex_representatives(const uint8_t classes[256], const struct byte_set *alphabet, uint8_t bytes[256]);

/* Steps of the budget, if they are left. */
static inline bool regex_spend(struct regex_budget *budget, uint64_t steps)
{
	if (budget->steps < steps) {
		budget->steps = 0;
		return false;
	}
	budget->steps -= steps;
	return true;
}

/* Is it as small as the budget says? */
static inline bool regex_fits(const struct regex_automaton *automaton, const struct regex_budget *budget)
{
	return automaton->state_count * (automaton->class_count + 1) <= budget->entries && automaton->class_count <= budget->classes;
}

/* Makes an automaton minimal and numbers its states anew: dead, the other settled ones, then by distance from the start. `accepts` tells states
 * apart. Classes that no state tells apart become one. 0 or -ENOMEM. */
int regex_minimise(struct regex_automaton *automaton);

/* A growing table of states. */
struct state_table {
	struct regex_automaton *automaton;
	uint32_t capacity;
};

/* Room for one more state, whose row is 0 (dead). -E2BIG past REGEX_STATES_MAX or REGEX_TABLE_MAX. */
int regex_add_state(struct state_table *table, uint32_t *out);

#endif

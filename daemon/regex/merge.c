/* SPDX-License-Identifier: Apache-2.0 */
/* Many patterns in one automaton: a state of the union is a pair of a state of what there was and of one of the new pattern. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "regex/automaton.h"

#define NEVER UINT32_MAX

struct pair {
	uint32_t old, new;
};

struct merge {
	const struct regex_union *old;
	const struct regex_automaton *added;
	uint32_t index;
	bool is_final;
	struct regex_budget *budget;
	struct regex_union *out;
	struct state_table table;
	struct pair *pairs;       /* by state */
	uint32_t pair_capacity;
	uint32_t *slots;          /* open addressing over pairs: state and one, 0: free */
	uint32_t slot_mask;
	uint32_t *decided;        /* by old state: the last pattern that can still matter there, whatever follows; NEVER: all can */
	uint16_t *joined;         /* by old list: the list with the new pattern in it, 0: not made yet */
};

static void merge_release(struct merge *m)
{
	regex_union_free(&m->out);
	free(m->pairs);
	free(m->slots);
	free(m->decided);
	free(m->joined);
}

void regex_union_free(struct regex_union **into)
{
	uint32_t i;

	if (!*into)
		return;
	regex_automaton_free(&(*into)->automaton);
	for (i = 0; i < (*into)->list_count; i++)
		free((*into)->lists[i].items);
	free((*into)->lists);
	free(*into);
	*into = NULL;
}

/* ---- what can still matter ---------------------------------------------------------------------------------------------------------- */

/* From some states every text ends in a final pattern. What comes after the last of those is never tried, so it need not be followed. */
static int find_decided(struct merge *m)
{
	const struct regex_automaton *automaton = m->old->automaton;
	uint32_t state, class;
	bool has_changed = true;

	m->decided = calloc(automaton->state_count, sizeof(*m->decided));
	if (!m->decided)
		return -ENOMEM;
	for (state = 0; state < automaton->state_count; state++) {
		const struct regex_list *list = &m->old->lists[automaton->accepts[state]];

		m->decided[state] = list->is_final ? list->items[list->count - 1] : NEVER;
	}
	/* States are numbered from the start, so what is far from it is looked at first. */
	while (has_changed) {
		has_changed = false;
		for (state = automaton->state_count; state--;) {
			const uint16_t *row = automaton->next + state * automaton->class_count;
			uint32_t last = m->decided[state];

			for (class = 0; class < automaton->class_count && last != NEVER; class++)
				last = m->decided[row[class]] > last ? m->decided[row[class]] : last;
			has_changed |= last != m->decided[state];
			m->decided[state] = last;
		}
		if (!regex_spend(m->budget, automaton->state_count))
			return -E2BIG;
	}
	return 0;
}

/* ---- lists --------------------------------------------------------------------------------------------------------------------------- */

static int add_list(struct regex_union *into, const uint32_t *items, uint32_t count, bool is_final, uint32_t *out)
{
	struct regex_list *grown = reallocarray(into->lists, into->list_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	into->lists = grown;
	grown[into->list_count] = (struct regex_list){ .items = malloc((count + 1) * sizeof(*items)), .count = count, .is_final = is_final };
	if (!grown[into->list_count].items)
		return -ENOMEM;
	if (count)
		memcpy(grown[into->list_count].items, items, count * sizeof(*items));
	*out = into->list_count++;
	return 0;
}

/* An old list, with the new pattern at its place. */
static int join_list(struct merge *m, uint32_t old, uint32_t *out)
{
	const struct regex_list *list = &m->old->lists[old];
	_cleanup_free_ uint32_t *items = NULL;
	uint32_t i, count = 0, made;
	bool is_final = list->is_final;
	int r;

	if (m->joined[old]) {
		*out = m->joined[old];
		return 0;
	}
	items = malloc((list->count + 1) * sizeof(*items));
	if (!items)
		return -ENOMEM;
	for (i = 0; i < list->count && list->items[i] < m->index; i++)
		items[count++] = list->items[i];
	if (i == list->count && is_final) {
		*out = old;
		return 0;
	}
	items[count++] = m->index;
	if (m->is_final)
		is_final = true;
	else
		for (; i < list->count; i++)
			items[count++] = list->items[i];
	for (made = m->old->list_count; made < m->out->list_count; made++) {
		const struct regex_list *other = &m->out->lists[made];

		if (other->is_final == is_final && other->count == count && !memcmp(other->items, items, count * sizeof(*items))) {
			*out = m->joined[old] = (uint16_t)made;
			return 0;
		}
	}
	if (m->out->list_count > UINT16_MAX)
		return -E2BIG;
	r = add_list(m->out, items, count, is_final, &made);
	if (r)
		return r;
	*out = m->joined[old] = (uint16_t)made;
	return 0;
}

/* ---- states -------------------------------------------------------------------------------------------------------------------------- */

static uint32_t hash_pair(struct pair pair)
{
	uint32_t h = pair.old * 0x9e3779b1u ^ pair.new * 0x85ebca6bu;

	return h ^ h >> 15;
}

static int grow_pairs(struct merge *m)
{
	uint32_t i, slot, mask = m->slot_mask ? m->slot_mask * 2 + 1 : 255, *slots = calloc((size_t)mask + 1, sizeof(*slots));
	struct pair *grown = reallocarray(m->pairs, (mask + 1) / 2, sizeof(*grown));

	if (grown)
		m->pairs = grown;
	if (!slots || !grown) {
		free(slots);
		return -ENOMEM;
	}
	for (i = 0; i < m->table.automaton->state_count; i++) {
		for (slot = hash_pair(m->pairs[i]) & mask; slots[slot]; slot = (slot + 1) & mask)
			;
		slots[slot] = i + 1;
	}
	free(m->slots);
	m->slots = slots;
	m->slot_mask = mask;
	m->pair_capacity = (mask + 1) / 2;
	return 0;
}

static int find_pair(struct merge *m, uint32_t old, uint32_t new, uint32_t *out)
{
	const struct regex_automaton *automaton = m->table.automaton;
	struct pair pair = { old, new };
	uint32_t slot, list;
	int r;

	if (m->decided[old] < m->index)
		pair.new = REGEX_DEAD;
	if (automaton->state_count == m->pair_capacity) {
		r = grow_pairs(m);
		if (r)
			return r;
	}
	for (slot = hash_pair(pair) & m->slot_mask; m->slots[slot]; slot = (slot + 1) & m->slot_mask) {
		*out = m->slots[slot] - 1;
		if (m->pairs[*out].old == pair.old && m->pairs[*out].new == pair.new)
			return 0;
	}
	/* Minimal automata give hardly more pairs than the minimal union has states. */
	if (automaton->state_count * (automaton->class_count + 1) > 2 * m->budget->entries)
		return -E2BIG;
	r = regex_add_state(&m->table, out);
	if (r)
		return r;
	m->slots[slot] = *out + 1;
	m->pairs[*out] = pair;
	list = m->old->automaton->accepts[pair.old];
	if (m->added->accepts[pair.new]) {
		r = join_list(m, list, &list);
		if (r)
			return r;
	}
	m->table.automaton->accepts[*out] = (uint16_t)list;
	return 0;
}

static int walk_pairs(struct merge *m)
{
	struct regex_automaton *automaton = m->table.automaton;
	uint32_t state, class, next, classes = automaton->class_count;
	const struct regex_automaton *old = m->old->automaton, *added = m->added;
	uint8_t bytes[256];
	struct byte_set alphabet;
	int r;

	regex_alphabet_bytes(automaton->alphabet, &alphabet);
	regex_representatives(automaton->classes, &alphabet, bytes);
	r = find_pair(m, REGEX_DEAD, REGEX_DEAD, &state);
	if (!r)
		r = find_pair(m, old->start, added->start, &automaton->start);
	for (state = 0; !r && state < automaton->state_count; state++) {
		for (class = 0; !r && class < classes; class++) {
			struct pair pair = m->pairs[state];

			r = find_pair(m, regex_next(old, pair.old, bytes[class]), regex_next(added, pair.new, bytes[class]), &next);
			if (!r)
				automaton->next[state * classes + class] = (uint16_t)next;
		}
		if (!r && !regex_spend(m->budget, classes))
			r = -E2BIG;
	}
	return r;
}

/* Lists that no state has any more are left out. */
static int drop_unused_lists(struct regex_union *into)
{
	_cleanup_free_ uint32_t *renamed = calloc(into->list_count, sizeof(*renamed));
	uint32_t i, kept = 1;

	if (!renamed)
		return -ENOMEM;
	for (i = 0; i < into->automaton->state_count; i++)
		renamed[into->automaton->accepts[i]] = 1;
	for (i = 1; i < into->list_count; i++) {
		if (!renamed[i]) {
			free(into->lists[i].items);
			continue;
		}
		renamed[i] = kept;
		into->lists[kept++] = into->lists[i];
	}
	renamed[0] = 0;
	into->list_count = kept;
	for (i = 0; i < into->automaton->state_count; i++)
		into->automaton->accepts[i] = (uint16_t)renamed[into->automaton->accepts[i]];
	return 0;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------------ */

/* A union without patterns: it takes nothing. */
static int union_new(enum regex_alphabet alphabet, struct regex_union **out)
{
	_cleanup_(regex_union_free) struct regex_union *into = calloc(1, sizeof(*into));
	struct state_table table = { 0 };
	uint32_t unused;
	int r;

	if (!into)
		return -ENOMEM;
	table.automaton = into->automaton = calloc(1, sizeof(*into->automaton));
	if (!into->automaton)
		return -ENOMEM;
	into->automaton->alphabet = alphabet;
	into->automaton->class_count = into->automaton->settled_count = 1;
	r = regex_add_state(&table, &unused);
	if (!r)
		r = add_list(into, NULL, 0, false, &unused);
	if (r)
		return r;
	*out = TAKE_PTR(into);
	return 0;
}

static int merge_init(struct merge *m)
{
	const struct regex_automaton *old = m->old->automaton;
	struct regex_automaton *automaton;
	struct byte_set alphabet;
	uint32_t i, unused;
	int r = 0;

	m->joined = calloc(m->old->list_count, sizeof(*m->joined));
	m->out = calloc(1, sizeof(*m->out));
	if (!m->joined || !m->out)
		return -ENOMEM;
	automaton = m->table.automaton = m->out->automaton = calloc(1, sizeof(*automaton));
	if (!automaton)
		return -ENOMEM;
	for (i = 0; !r && i < m->old->list_count; i++)
		r = add_list(m->out, m->old->lists[i].items, m->old->lists[i].count, m->old->lists[i].is_final, &unused);
	automaton->alphabet = old->alphabet;
	regex_alphabet_bytes(old->alphabet, &alphabet);
	regex_split_by_map(automaton->classes, &alphabet, old->classes);
	automaton->class_count = regex_split_by_map(automaton->classes, &alphabet, m->added->classes);
	return r;
}

int regex_union_add(struct regex_union **into, const struct regex_automaton *automaton, uint32_t index, bool is_final,
		    struct regex_budget *budget)
{
	_cleanup_(regex_union_free) struct regex_union *empty = NULL;
	_cleanup_(merge_release) struct merge m = { .added = automaton, .index = index, .is_final = is_final, .budget = budget };
	int r = *into ? 0 : union_new(automaton->alphabet, &empty);

	if (r)
		return r;
	m.old = *into ? *into : empty;
	r = merge_init(&m);
	if (!r)
		r = find_decided(&m);
	if (!r)
		r = walk_pairs(&m);
	if (!r)
		r = regex_minimise(m.out->automaton);
	if (!r && m.out->automaton->state_count * (m.out->automaton->class_count + 1) > budget->entries)
		r = -E2BIG;
	if (!r)
		r = drop_unused_lists(m.out);
	if (r)
		return r;
	regex_union_free(into);
	*into = TAKE_PTR(m.out);
	return 0;
}

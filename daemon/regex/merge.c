/* SPDX-License-Identifier: Apache-2.0 */
/* Many patterns in one automaton: a state of the union says in which state each pattern is, but for those that are dead. Where a final pattern
 * takes whatever comes, those after it don't matter any more and are left out: that is what keeps `.*word.*` from multiplying. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "regex/automaton.h"

/* A pattern that is not dead. */
struct live {
	uint16_t part, state;
};

struct tuple {
	uint32_t first, count;    /* in the pool */
	uint32_t hash;
};

struct merge {
	const struct regex_part *parts;
	size_t part_count;
	struct regex_budget *budget;
	struct regex_union *out;
	struct state_table table;
	struct tuple *tuples;     /* by state */
	uint32_t tuple_capacity;
	struct live *pool;
	size_t pool_count, pool_capacity;
	uint32_t *slots;          /* open addressing over tuples: state and one, 0: free */
	uint32_t slot_mask;
	uint32_t *indexes;        /* of one state's list */
	uint32_t list_capacity;
};

static void merge_release(struct merge *m)
{
	regex_union_free(&m->out);
	free(m->tuples);
	free(m->pool);
	free(m->slots);
	free(m->indexes);
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

/* ---- lists --------------------------------------------------------------------------------------------------------------------------- */

static int find_list(struct merge *m, uint32_t count, bool is_final, uint32_t *out)
{
	struct regex_union *into = m->out;
	struct regex_list *grown;

	for (*out = 0; *out < into->list_count; ++*out) {
		const struct regex_list *list = &into->lists[*out];

		if (list->count == count && list->is_final == is_final && !memcmp(list->items, m->indexes, count * sizeof(*m->indexes)))
			return 0;
	}
	if (into->list_count > UINT16_MAX)
		return -E2BIG;
	if (into->list_count == m->list_capacity) {
		grown = reallocarray(into->lists, m->list_capacity * 2 + 8, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		into->lists = grown;
		m->list_capacity = m->list_capacity * 2 + 8;
	}
	into->lists[*out] = (struct regex_list){ .items = malloc((count + 1) * sizeof(*m->indexes)), .count = count, .is_final = is_final };
	if (!into->lists[*out].items)
		return -ENOMEM;
	memcpy(into->lists[*out].items, m->indexes, count * sizeof(*m->indexes));
	into->list_count++;
	return 0;
}

/* What a text that ends in this state matches. */
static int list_of(struct merge *m, const struct tuple *tuple, uint32_t *out)
{
	uint32_t i, count = 0;
	bool is_final = false;

	for (i = 0; !is_final && i < tuple->count; i++) {
		const struct live *live = &m->pool[tuple->first + i];
		const struct regex_part *part = &m->parts[live->part];

		if (!part->automaton->accepts[live->state])
			continue;
		m->indexes[count++] = part->index;
		is_final = part->is_final;
	}
	return find_list(m, count, is_final, out);
}

/* ---- states -------------------------------------------------------------------------------------------------------------------------- */

static int grow_slots(struct merge *m)
{
	uint32_t i, slot, mask = m->slot_mask ? m->slot_mask * 2 + 1 : 255, *slots = calloc((size_t)mask + 1, sizeof(*slots));
	struct tuple *grown = reallocarray(m->tuples, (mask + 1) / 2, sizeof(*grown));

	if (grown)
		m->tuples = grown;
	if (!slots || !grown) {
		free(slots);
		return -ENOMEM;
	}
	for (i = 0; i < m->table.automaton->state_count; i++) {
		for (slot = m->tuples[i].hash & mask; slots[slot]; slot = (slot + 1) & mask)
			;
		slots[slot] = i + 1;
	}
	free(m->slots);
	m->slots = slots;
	m->slot_mask = mask;
	m->tuple_capacity = (mask + 1) / 2;
	return 0;
}

/* Room for one tuple of all parts at the end of the pool. */
static int reserve(struct merge *m)
{
	if (m->table.automaton->state_count == m->tuple_capacity) {
		int r = grow_slots(m);

		if (r)
			return r;
	}
	if (m->pool_count + m->part_count > m->pool_capacity) {
		size_t capacity = (m->pool_count + m->part_count) * 2;
		struct live *grown = reallocarray(m->pool, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		m->pool = grown;
		m->pool_capacity = capacity;
	}
	return 0;
}

/* Puts a pattern's state into the tuple that grows at the end of the pool. Returns false when nothing after it matters. */
static bool push_live(struct merge *m, struct tuple *tuple, uint32_t part, uint32_t state)
{
	const struct regex_automaton *automaton = m->parts[part].automaton;

	if (state == REGEX_DEAD)
		return true;
	m->pool[tuple->first + tuple->count++] = (struct live){ (uint16_t)part, (uint16_t)state };
	tuple->hash = (tuple->hash ^ (part << 16 | state)) * 0x9e3779b1u;
	tuple->hash ^= tuple->hash >> 15;
	return !m->parts[part].is_final || state >= automaton->settled_count || !automaton->accepts[state];
}

/* The state of the tuple at the end of the pool. */
static int find_tuple(struct merge *m, const struct tuple *tuple, uint32_t *out)
{
	const struct regex_automaton *automaton = m->table.automaton;
	uint32_t slot, list;
	int r;

	for (slot = tuple->hash & m->slot_mask; m->slots[slot]; slot = (slot + 1) & m->slot_mask) {
		const struct tuple *other = &m->tuples[m->slots[slot] - 1];

		*out = m->slots[slot] - 1;
		if (other->hash == tuple->hash && other->count == tuple->count &&
		    !memcmp(m->pool + other->first, m->pool + tuple->first, tuple->count * sizeof(*m->pool)))
			return 0;
	}
	/* Made of minimal automata, a union has hardly more states than when it is minimal itself. */
	if (automaton->state_count * (automaton->class_count + 1) > 2 * m->budget->entries)
		return -E2BIG;
	r = regex_add_state(&m->table, out);
	if (r)
		return r;
	m->slots[slot] = *out + 1;
	m->tuples[*out] = *tuple;
	m->pool_count += tuple->count;
	r = list_of(m, tuple, &list);
	if (!r)
		m->table.automaton->accepts[*out] = (uint16_t)list;
	return r;
}

static int step(struct merge *m, uint32_t from, uint8_t byte, uint32_t *out)
{
	struct tuple tuple = { .first = (uint32_t)m->pool_count };
	uint32_t i, count = m->tuples[from].count;
	int r = reserve(m);

	if (r)
		return r;
	for (i = 0; i < count; i++) {
		struct live live = m->pool[m->tuples[from].first + i];

		if (!push_live(m, &tuple, live.part, regex_next(m->parts[live.part].automaton, live.state, byte)))
			break;
	}
	if (!regex_spend(m->budget, count + 1))
		return -E2BIG;
	return find_tuple(m, &tuple, out);
}

static int begin(struct merge *m, uint32_t *out)
{
	struct tuple tuple = { .first = (uint32_t)m->pool_count };
	uint32_t i;
	int r = reserve(m);

	if (r)
		return r;
	for (i = 0; i < m->part_count; i++)
		if (!push_live(m, &tuple, i, m->parts[i].automaton->start))
			break;
	return find_tuple(m, &tuple, out);
}

static int walk_tuples(struct merge *m)
{
	struct regex_automaton *automaton = m->table.automaton;
	uint32_t state, class, next, classes = automaton->class_count;
	struct tuple nothing = { 0 };
	struct byte_set alphabet;
	uint8_t bytes[256];
	int r = reserve(m);

	regex_alphabet_bytes(automaton->alphabet, &alphabet);
	regex_representatives(automaton->classes, &alphabet, bytes);
	if (!r)
		r = find_tuple(m, &nothing, &state);
	if (!r)
		r = begin(m, &automaton->start);
	for (state = 0; !r && state < automaton->state_count; state++) {
		for (class = 0; !r && class < classes; class++) {
			r = step(m, state, bytes[class], &next);
			if (!r)
				automaton->next[state * classes + class] = (uint16_t)next;
		}
	}
	return r;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------------ */

static int merge_init(struct merge *m)
{
	struct regex_automaton *automaton;
	struct byte_set alphabet;
	uint32_t none;
	size_t i;

	m->indexes = calloc(m->part_count + 1, sizeof(*m->indexes));
	m->out = calloc(1, sizeof(*m->out));
	if (!m->indexes || !m->out)
		return -ENOMEM;
	automaton = m->table.automaton = m->out->automaton = calloc(1, sizeof(*automaton));
	if (!automaton)
		return -ENOMEM;
	automaton->alphabet = m->parts[0].automaton->alphabet;
	automaton->class_count = 1;
	regex_alphabet_bytes(automaton->alphabet, &alphabet);
	for (i = 0; i < m->part_count; i++)
		automaton->class_count = regex_split_by_map(automaton->classes, &alphabet, m->parts[i].automaton->classes);
	return find_list(m, 0, false, &none);
}

int regex_union_new(const struct regex_part *parts, size_t count, struct regex_budget *budget, struct regex_union **out)
{
	_cleanup_(merge_release) struct merge m = { .parts = parts, .part_count = count, .budget = budget };
	int r = count && count <= UINT16_MAX ? merge_init(&m) : -E2BIG;

	if (!r)
		r = walk_tuples(&m);
	if (!r)
		r = regex_minimise(m.out->automaton);
	if (r)
		return r;
	if (!regex_fits(m.out->automaton, budget))
		return -E2BIG;
	*out = TAKE_PTR(m.out);
	return 0;
}

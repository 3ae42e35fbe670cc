/* SPDX-License-Identifier: Apache-2.0 */
/* Hopcroft's algorithm: blocks of states that look alike are split by where a class of bytes leads, the smaller part being looked at again.
 * Work is in the order of the table times the logarithm of the states. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "regex/automaton.h"

struct block {
	uint32_t first, count;    /* in `members` */
	uint32_t marked;          /* how many of them, at the front */
};

struct partition {
	const struct regex_automaton *automaton;
	uint32_t *members;        /* states, block by block */
	uint32_t *places;         /* of a state in `members` */
	uint32_t *block_of;
	struct block *blocks;
	uint32_t block_count;
	uint32_t *from_first;     /* [class * (states + 1) + state]: where those that lead there begin in `from` */
	uint32_t *from;           /* states, by class and by where they lead */
	uint32_t *work;           /* blocks times classes, to split by */
	uint32_t work_count;
	uint64_t *is_waiting;     /* bits of those in `work` */
	uint32_t *touched;        /* blocks with marked members */
	uint32_t *gathered;       /* states that lead to a block */
};

static void partition_release(struct partition *p)
{
	free(p->members);
	free(p->places);
	free(p->block_of);
	free(p->blocks);
	free(p->from_first);
	free(p->from);
	free(p->work);
	free(p->is_waiting);
	free(p->touched);
	free(p->gathered);
}

static int partition_init(struct partition *p, const struct regex_automaton *automaton)
{
	uint32_t states = automaton->state_count, entries = states * automaton->class_count;

	p->automaton = automaton;
	p->members = calloc(states, sizeof(*p->members));
	p->places = calloc(states, sizeof(*p->places));
	p->block_of = calloc(states, sizeof(*p->block_of));
	p->blocks = calloc(states, sizeof(*p->blocks));
	p->from_first = calloc((size_t)automaton->class_count * (states + 1), sizeof(*p->from_first));
	p->from = calloc(entries, sizeof(*p->from));
	p->work = calloc(entries, sizeof(*p->work));
	p->is_waiting = calloc(entries / 64 + 1, sizeof(*p->is_waiting));
	p->touched = calloc(states, sizeof(*p->touched));
	p->gathered = calloc(states, sizeof(*p->gathered));
	if (!p->members || !p->places || !p->block_of || !p->blocks || !p->from_first || !p->from || !p->work || !p->is_waiting || !p->touched ||
	    !p->gathered)
		return -ENOMEM;
	return 0;
}

/* Who leads where, by class. */
static void invert(struct partition *p)
{
	const struct regex_automaton *automaton = p->automaton;
	uint32_t states = automaton->state_count, classes = automaton->class_count, class, state, *from = p->from;

	for (class = 0; class < classes; class++, from += states) {
		uint32_t *first = p->from_first + (size_t)class * (states + 1);

		for (state = 0; state < states; state++)
			first[automaton->next[state * classes + class] + 1]++;
		for (state = 0; state < states; state++)
			first[state + 1] += first[state];
		/* Counted down from the end of each, so that it stands at the beginning afterwards. */
		for (state = states; state--;)
			from[--first[automaton->next[state * classes + class] + 1]] = state;
		memmove(first, first + 1, states * sizeof(*first));
		first[states] = states;
	}
}

static void enqueue(struct partition *p, uint32_t block, uint32_t class)
{
	uint32_t entry = block * p->automaton->class_count + class;

	if (p->is_waiting[entry >> 6] >> (entry & 63) & 1)
		return;
	p->is_waiting[entry >> 6] |= 1ull << (entry & 63);
	p->work[p->work_count++] = entry;
}

static int compare_accepts(const void *a, const void *b, void *context)
{
	const struct regex_automaton *automaton = context;
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	if (automaton->accepts[left] != automaton->accepts[right])
		return automaton->accepts[left] < automaton->accepts[right] ? -1 : 1;
	return left < right ? -1 : left > right;
}

/* At first a block for each thing that is accepted. */
static void begin(struct partition *p)
{
	const struct regex_automaton *automaton = p->automaton;
	uint32_t i, class;

	for (i = 0; i < automaton->state_count; i++)
		p->members[i] = i;
	qsort_r(p->members, automaton->state_count, sizeof(*p->members), compare_accepts, (void *)(uintptr_t)automaton);
	for (i = 0; i < automaton->state_count; i++) {
		uint32_t state = p->members[i];

		if (!i || automaton->accepts[state] != automaton->accepts[p->members[i - 1]])
			p->blocks[p->block_count++] = (struct block){ .first = i };
		p->blocks[p->block_count - 1].count++;
		p->block_of[state] = p->block_count - 1;
		p->places[state] = i;
	}
	for (i = 0; i < p->block_count; i++)
		for (class = 0; class < automaton->class_count; class++)
			enqueue(p, i, class);
}

/* Moves a state to the marked ones of its block. */
static void mark(struct partition *p, uint32_t state, uint32_t *touched_count)
{
	struct block *block = &p->blocks[p->block_of[state]];
	uint32_t place = p->places[state], to = block->first + block->marked, other = p->members[to];

	if (place < to)
		return;
	if (!block->marked)
		p->touched[(*touched_count)++] = p->block_of[state];
	p->members[place] = other;
	p->places[other] = place;
	p->members[to] = state;
	p->places[state] = to;
	block->marked++;
}

/* The marked members become a block of their own, unless all are. */
static void split(struct partition *p, uint32_t index)
{
	struct block *block = &p->blocks[index], *new = &p->blocks[p->block_count];
	uint32_t i, class, marked = block->marked, classes = p->automaton->class_count;

	block->marked = 0;
	if (marked == block->count)
		return;
	/* The smaller part gets the new number. */
	if (marked * 2 <= block->count) {
		*new = (struct block){ .first = block->first, .count = marked };
		block->first += marked;
	} else {
		*new = (struct block){ .first = block->first + marked, .count = block->count - marked };
	}
	block->count -= new->count;
	for (i = 0; i < new->count; i++)
		p->block_of[p->members[new->first + i]] = p->block_count;
	/* Where the old block still waits, both parts must; otherwise the smaller one does. */
	for (class = 0; class < classes; class++)
		enqueue(p, p->block_count, class);
	p->block_count++;
}

static void refine(struct partition *p)
{
	uint32_t states = p->automaton->state_count, classes = p->automaton->class_count;

	while (p->work_count) {
		uint32_t entry = p->work[--p->work_count], class = entry % classes, i, j, gathered = 0, touched_count = 0;
		const uint32_t *first = p->from_first + (size_t)class * (states + 1), *from = p->from + (size_t)class * states;
		const struct block *block = &p->blocks[entry / classes];

		p->is_waiting[entry >> 6] &= ~(1ull << (entry & 63));
		/* Gathered before any is marked, which moves members about. A state leads to one other, so none comes twice. */
		for (i = block->first; i < block->first + block->count; i++) {
			uint32_t state = p->members[i];

			for (j = first[state]; j < first[state + 1]; j++)
				p->gathered[gathered++] = from[j];
		}
		for (i = 0; i < gathered; i++)
			mark(p, p->gathered[i], &touched_count);
		for (i = 0; i < touched_count; i++)
			split(p, p->touched[i]);
	}
}

/* ---- the smaller table ---------------------------------------------------------------------------------------------------------------- */

static bool is_settled(const struct partition *p, uint32_t block)
{
	const struct regex_automaton *automaton = p->automaton;
	const uint16_t *row = automaton->next + p->members[p->blocks[block].first] * automaton->class_count;
	uint32_t class;

	for (class = 0; class < automaton->class_count; class++)
		if (p->block_of[row[class]] != block)
			return false;
	return true;
}

/* New numbers of blocks, in `order` by number and in p->places by block. */
static void number(struct partition *p, uint32_t *order, uint32_t *settled_count)
{
	const struct regex_automaton *automaton = p->automaton;
	uint32_t count = 0, i, class, start = p->block_of[automaton->start];
	uint32_t *numbers = p->places;

	for (i = 0; i < p->block_count; i++)
		numbers[i] = UINT32_MAX;
	numbers[p->block_of[REGEX_DEAD]] = count;
	order[count++] = p->block_of[REGEX_DEAD];
	for (i = 0; i < p->block_count; i++) {
		if (numbers[i] != UINT32_MAX || !is_settled(p, i))
			continue;
		numbers[i] = count;
		order[count++] = i;
	}
	*settled_count = i = count;
	if (numbers[start] == UINT32_MAX) {
		numbers[start] = count;
		order[count++] = start;
	}
	for (; i < count; i++) {
		const uint16_t *row = automaton->next + p->members[p->blocks[order[i]].first] * automaton->class_count;

		for (class = 0; class < automaton->class_count; class++) {
			uint32_t block = p->block_of[row[class]];

			if (numbers[block] != UINT32_MAX)
				continue;
			numbers[block] = count;
			order[count++] = block;
		}
	}
	p->block_count = count;
}

/* Rows of blocks in place of those of states. */
static int shrink(struct partition *p, struct regex_automaton *automaton)
{
	_cleanup_free_ uint32_t *order = calloc(p->block_count, sizeof(*order));
	_cleanup_free_ uint16_t *next = NULL, *accepts = NULL;
	uint32_t i, class, classes = automaton->class_count;

	if (!order)
		return -ENOMEM;
	number(p, order, &automaton->settled_count);
	next = calloc((size_t)p->block_count * classes, sizeof(*next));
	accepts = calloc(p->block_count, sizeof(*accepts));
	if (!next || !accepts)
		return -ENOMEM;
	for (i = 0; i < p->block_count; i++) {
		uint32_t state = p->members[p->blocks[order[i]].first];

		accepts[i] = automaton->accepts[state];
		for (class = 0; class < classes; class++)
			next[i * classes + class] = (uint16_t)p->places[p->block_of[automaton->next[state * classes + class]]];
	}
	automaton->start = p->places[p->block_of[automaton->start]];
	automaton->state_count = p->block_count;
	free(automaton->next);
	free(automaton->accepts);
	automaton->next = TAKE_PTR(next);
	automaton->accepts = TAKE_PTR(accepts);
	return 0;
}

static bool same_column(const struct regex_automaton *automaton, uint32_t a, uint32_t b)
{
	const uint16_t *row = automaton->next;
	uint32_t i;

	for (i = 0; i < automaton->state_count; i++, row += automaton->class_count)
		if (row[a] != row[b])
			return false;
	return true;
}

/* Classes that lead to the same from everywhere become one. */
static void join_classes(struct regex_automaton *automaton)
{
	uint32_t classes = automaton->class_count, kept = 0, class, other, byte, state;
	uint8_t renamed[256], column[256];

	for (class = 0; class < classes; class++) {
		for (other = 0; other < kept && !same_column(automaton, column[other], class); other++)
			;
		if (other == kept)
			column[kept++] = (uint8_t)class;
		renamed[class] = (uint8_t)other;
	}
	/* In place: what is written never comes before what is still to be read. */
	for (state = 0; state < automaton->state_count; state++)
		for (class = 0; class < kept; class++)
			automaton->next[state * kept + class] = automaton->next[state * classes + column[class]];
	for (byte = 0; byte < 256; byte++)
		automaton->classes[byte] = renamed[automaton->classes[byte]];
	automaton->class_count = kept;
}

int regex_minimise(struct regex_automaton *automaton)
{
	_cleanup_(partition_release) struct partition p = { 0 };
	int r = partition_init(&p, automaton);

	if (r)
		return r;
	invert(&p);
	begin(&p);
	refine(&p);
	r = shrink(&p, automaton);
	if (!r)
		join_classes(automaton);
	return r;
}

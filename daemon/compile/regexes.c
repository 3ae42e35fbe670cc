/* SPDX-License-Identifier: Apache-2.0 */
/* The patterns of an image and their automata. */
#include "compile/regexes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/cleanup.h"

#define HOST_STEPS_MAX 20000000ull /* of the automata of one virtual host: a fifth of a second */
#define TOO_LARGE "its automaton would be too large (at most 32512 entries of 127 classes of bytes)"
#define TOO_LARGE_OF_ALL "the automata of all regular expressions together would be too large (at most 8 MiB)"
#define TOO_MANY_STEPS "it takes too many steps to compile (at most 4000000)"
#define TOO_MANY_STEPS_OF_ALL "all regular expressions together take too many steps to compile (at most 100000000)"
_Static_assert(WEFT_DFA_ENTRIES_MAX == 32512 && WEFT_DFA_CLASSES_MAX == 127 && REGEXES_TABLE_BYTES_MAX == 8 << 20 && REGEX_STEPS_MAX == 4000000 &&
		       REGEXES_STEPS_MAX == 100000000,
	       "what the reasons say");
#define PREFIX_MAX 1024u /* bytes of a literal beginning that are of use */

/* Key: the alphabet's number, then the pattern. */
struct known {
	UT_hash_handle hh;
	struct regex_entry entry;
	uint8_t kind;            /* of the condition that it is: WEFT_CONDITION_REGEX or _PROGRAM; 0: not written yet */
	weft_ref value;
	size_t key_size;
	char key[];
};

struct regexes {
	struct known *known;
	uint64_t steps_left;
	uint32_t table_bytes_left;
	uint32_t program_bytes_left;
};

int regexes_new(struct regexes **out)
{
	struct regexes *regexes = calloc(1, sizeof(*regexes));

	if (!regexes)
		return -ENOMEM;
	regexes->steps_left = REGEXES_STEPS_MAX;
	regexes->table_bytes_left = REGEXES_TABLE_BYTES_MAX;
	regexes->program_bytes_left = REGEXES_PROGRAM_BYTES_MAX;
	*out = regexes;
	return 0;
}

static void known_free(struct known **known)
{
	if (!*known)
		return;
	regex_automaton_free(&(*known)->entry.automaton);
	regex_literals_release(&(*known)->entry.literals);
	free((*known)->entry.prefix);
	free(*known);
	*known = NULL;
}

void regexes_free(struct regexes **regexes)
{
	struct known *known, *next;

	if (!*regexes)
		return;
	HASH_ITER(hh, (*regexes)->known, known, next) {
		HASH_DEL((*regexes)->known, known);
		known_free(&known);
	}
	free(*regexes);
	*regexes = NULL;
}

/* ---- one pattern --------------------------------------------------------------------------------------------------------------------- */

/* Takes what was used out of what is left for all. */
static int make_automaton(struct regexes *regexes, const struct regex *regex, enum regex_alphabet alphabet, struct known *known)
{
	uint64_t steps = WEFT_MIN(regexes->steps_left, REGEX_STEPS_MAX);
	struct regex_budget budget = { .entries = WEFT_DFA_ENTRIES_MAX, .classes = WEFT_DFA_CLASSES_MAX, .steps = steps };
	int r;

	if (!steps) {
		known->entry.limit = TOO_MANY_STEPS_OF_ALL;
		return 0;
	}
	r = regex_automaton_new(regex, alphabet, &budget, &known->entry.automaton);
	regexes->steps_left -= steps - budget.steps;
	if (r != -E2BIG)
		return r;
	known->entry.limit = budget.steps ? TOO_LARGE : steps == REGEX_STEPS_MAX ? TOO_MANY_STEPS : TOO_MANY_STEPS_OF_ALL;
	return 0;
}

static int describe(const struct regex *regex, enum regex_alphabet alphabet, struct known *known)
{
	struct regex_entry *entry = &known->entry;
	char prefix[PREFIX_MAX];
	int r;

	entry->prefix_size = entry->automaton ? regex_literal_prefix(entry->automaton, prefix, sizeof(prefix)) :
						regex_leading_literals(regex, prefix, sizeof(prefix));
	if (entry->prefix_size > sizeof(prefix))
		entry->prefix_size = sizeof(prefix);
	entry->prefix = malloc(entry->prefix_size + 1);
	if (!entry->prefix)
		return -ENOMEM;
	memcpy(entry->prefix, prefix, entry->prefix_size);
	entry->prefix[entry->prefix_size] = '\0';
	if (alphabet != REGEX_OVER_PATHS || !entry->automaton)
		return 0;
	r = regex_literals_new(entry->automaton, REGEX_LITERALS_MAX, &entry->literals);
	entry->has_literals = !r;
	return r == -E2BIG ? 0 : r;
}

static int known_new(struct regexes *regexes, const char *pattern, enum regex_alphabet alphabet, struct known **out)
{
	size_t size = strlen(pattern);
	_cleanup_(known_free) struct known *known = calloc(1, sizeof(*known) + size + 1);
	_cleanup_(regex_free) struct regex *regex = NULL;
	int r;

	if (!known)
		return -ENOMEM;
	known->key_size = size + 1;
	known->key[0] = (char)alphabet;
	memcpy(known->key + 1, pattern, size);
	r = regex_parse(pattern, size, &regex, NULL);
	if (!r)
		r = make_automaton(regexes, regex, alphabet, known);
	if (!r)
		r = describe(regex, alphabet, known);
	if (r)
		return r;
	*out = TAKE_PTR(known);
	return 0;
}

static int find(struct regexes *regexes, const char *pattern, enum regex_alphabet alphabet, struct known **out)
{
	size_t size = strlen(pattern);
	_cleanup_free_ char *key = malloc(size + 1);
	int r;

	if (!key)
		return -ENOMEM;
	key[0] = (char)alphabet;
	memcpy(key + 1, pattern, size);
	HASH_FIND(hh, regexes->known, key, size + 1, *out);
	if (*out)
		return 0;
	r = known_new(regexes, pattern, alphabet, out);
	if (r)
		return r;
	HASH_ADD_KEYPTR(hh, regexes->known, (*out)->key, (*out)->key_size, *out);
	return 0;
}

int regexes_find(struct routes_compile *c, const char *pattern, enum regex_alphabet alphabet, const struct regex_entry **out)
{
	struct known *known = NULL;
	int r = find(c->regexes, pattern, alphabet, &known);

	if (!r)
		*out = &known->entry;
	return r;
}

/* ---- tables -------------------------------------------------------------------------------------------------------------------------- */

static uint32_t aligned(uint32_t size)
{
	return (size + WEFT_DFA_ALIGN - 1) & ~(WEFT_DFA_ALIGN - 1);
}

static uint32_t table_bytes(const struct regex_automaton *automaton)
{
	return 256 + aligned(automaton->state_count * (automaton->class_count + 1) * (uint32_t)sizeof(uint16_t));
}

/* Bytes are taken from what is left for the image. */
static bool spend_bytes(uint32_t *left, uint32_t bytes)
{
	if (*left < bytes)
		return false;
	*left -= bytes;
	return true;
}

static void write_lane(uint8_t *object, uint32_t at, const struct regex_automaton *automaton, uint32_t lane)
{
	struct weft_dfa *dfa = (struct weft_dfa *)(void *)object;
	uint32_t classes = automaton->class_count, stride = classes + 1, state, class, byte;
	uint16_t *rows = (uint16_t *)(void *)(object + at + 256);

	dfa->lanes[lane].classes = at;
	dfa->lanes[lane].rows = at + 256;
	dfa->lanes[lane].start = automaton->start * stride * (uint32_t)sizeof(*rows);
	dfa->lanes[lane].settled = automaton->settled_count * stride * (uint32_t)sizeof(*rows);
	dfa->lanes[lane].state_count = automaton->state_count;
	dfa->lanes[lane].class_count = classes;
	for (byte = 0; byte < 256; byte++)
		object[at + byte] = (uint8_t)((automaton->classes[byte] + 1) * sizeof(*rows));
	for (state = 0; state < automaton->state_count; state++, rows += stride) {
		rows[0] = automaton->accepts[state];
		for (class = 0; class < classes; class++)
			rows[class + 1] = (uint16_t)(automaton->next[state * classes + class] * stride * sizeof(*rows));
	}
}

/* The object in memory of its own; to be freed. Lanes that there are not are dead from the start. */
static int make_object(const struct regex_automaton *const *automata, uint32_t count, uint8_t **out, uint32_t *out_size)
{
	uint32_t size = aligned(sizeof(struct weft_dfa)), at = size, i;
	struct weft_dfa *dfa;
	uint8_t *object;

	for (i = 0; i < count; i++)
		size += table_bytes(automata[i]);
	object = calloc(1, size);
	if (!object)
		return -ENOMEM;
	dfa = (struct weft_dfa *)(void *)object;
	dfa->lane_count = count;
	for (i = 0; i < count; i++) {
		write_lane(object, at, automata[i], i);
		at += table_bytes(automata[i]);
	}
	for (; i < WEFT_DFA_LANES; i++) {
		dfa->lanes[i] = dfa->lanes[0];
		dfa->lanes[i].start = dfa->lanes[i].state_count = dfa->lanes[i].class_count = 0;
		dfa->lanes[i].settled = 1;
	}
	*out = object;
	*out_size = size;
	return 0;
}

/* Where its last rows begin early enough in a page. */
static int write_object(struct routes_compile *c, const uint8_t *object, uint32_t size, uint32_t count, weft_ref *out)
{
	uint32_t rows = ((const struct weft_dfa *)(const void *)object)->lanes[count - 1].rows;

	*out = builder_alloc_early(&c->builder, size, WEFT_DFA_ALIGN, WEFT_DFA_ROWS_LAST - rows);
	if (!*out)
		return builder_status(&c->builder);
	memcpy(builder_at(&c->builder, *out), object, size);
	return 0;
}

static int write_automaton(struct routes_compile *c, const struct regex_automaton *automaton, const char *pattern, weft_ref *out)
{
	_cleanup_free_ uint8_t *object = NULL;
	uint32_t size;
	int r = make_object(&automaton, 1, &object, &size);

	if (r)
		return r;
	((struct weft_dfa *)(void *)object)->pattern = builder_text(&c->builder, pattern);
	return write_object(c, object, size, 1, out);
}

/* -E2BIG: a page does not hold it, or the image may not. */
static int write_program(struct routes_compile *c, const char *pattern, weft_ref *out)
{
	_cleanup_(regex_program_free) struct regex_program *program = NULL;
	_cleanup_(regex_free) struct regex *regex = NULL;
	struct weft_nfa_instruction *instructions;
	_cleanup_free_ struct weft_nfa *nfa = NULL;
	size_t size;
	uint32_t i;
	int r = regex_parse(pattern, strlen(pattern), &regex, NULL);

	if (!r)
		r = regex_program_new(regex, &program);
	if (r)
		return r;
	size = sizeof(*nfa) + program->set_count * sizeof(nfa->sets[0]) + program->instruction_count * sizeof(*instructions);
	if (size > BUILDER_OBJECT_MAX || !spend_bytes(&c->regexes->program_bytes_left, (uint32_t)size))
		return -E2BIG;
	nfa = calloc(1, size);
	if (!nfa)
		return -ENOMEM;
	nfa->instruction_count = program->instruction_count;
	nfa->set_count = program->set_count;
	nfa->start = program->start;
	nfa->pattern = builder_text(&c->builder, pattern);
	for (i = 0; i < program->set_count; i++)
		memcpy(nfa->sets[i].bits, program->sets[i].bits, sizeof(nfa->sets[i].bits));
	instructions = (struct weft_nfa_instruction *)(void *)&nfa->sets[program->set_count];
	for (i = 0; i < program->instruction_count; i++)
		instructions[i] = (struct weft_nfa_instruction){ program->instructions[i].op, program->instructions[i].next,
								 program->instructions[i].argument };
	*out = builder_share(&c->builder, nfa, size);
	return builder_status(&c->builder);
}

/* As an automaton, or as instructions where that can't be. */
static int write_known(struct routes_compile *c, const char *pattern, struct known *known)
{
	const struct regex_automaton *automaton = known->entry.automaton;
	int r;

	if (automaton && spend_bytes(&c->regexes->table_bytes_left, table_bytes(automaton))) {
		r = write_automaton(c, automaton, pattern, &known->value);
		known->kind = WEFT_CONDITION_REGEX;
		return r;
	}
	if (automaton)
		known->entry.limit = TOO_LARGE_OF_ALL;
	r = write_program(c, pattern, &known->value);
	known->kind = WEFT_CONDITION_PROGRAM;
	if (r != -E2BIG)
		return r;
	known->value = 0;
	return 0;
}

int regexes_condition(struct routes_compile *c, const char *pattern, enum regex_alphabet alphabet, struct weft_condition *condition,
		      struct strbuf *unsupported, struct strbuf *limits)
{
	struct known *known = NULL;
	int r = find(c->regexes, pattern, alphabet, &known);

	if (r == -EINVAL) {
		reason_add(unsupported, "the regular expression `%s` is none", pattern);
		return 0;
	}
	if (!r && !known->kind)
		r = write_known(c, pattern, known);
	if (r)
		return r;
	condition->kind = known->kind;
	condition->value = known->value;
	if (!known->value)
		reason_add(unsupported, "the regular expression `%s` is too large: %s; and what the proxy would follow takes more than %u KiB, or more than %u MiB with all others", pattern,
			   known->entry.limit, WEFT_PAGE_SIZE >> 10, REGEXES_PROGRAM_BYTES_MAX >> 20);
	else if (known->kind == WEFT_CONDITION_PROGRAM)
		reason_add(limits, "only the proxy follows the regular expression `%s`: %s", pattern, known->entry.limit);
	return 0;
}

/* ---- virtual hosts ------------------------------------------------------------------------------------------------------------------- */

/* Patterns that may match anywhere would be tried for every request, so they come first; the others are found by how they begin. */
static int compare_members(const void *a, const void *b)
{
	const struct regex_member *left = a, *right = b;
	size_t left_size = left->entry->prefix_size > 1 ? left->entry->prefix_size : 0;
	size_t right_size = right->entry->prefix_size > 1 ? right->entry->prefix_size : 0;

	if (left_size != right_size)
		return left_size < right_size ? -1 : 1;
	return left->route < right->route ? -1 : left->route > right->route;
}

static int compare_parts(const void *a, const void *b)
{
	const struct regex_part *left = a, *right = b;

	return left->index < right->index ? -1 : left->index > right->index;
}

/* One union of the first `count` members. */
static int unite(const struct regex_member *members, size_t count, struct regex_part *parts, struct regex_budget *budget, struct regex_union **out)
{
	size_t i;

	for (i = 0; i < count; i++)
		parts[i] = (struct regex_part){ members[i].entry->automaton, members[i].route, members[i].is_final };
	qsort(parts, count, sizeof(*parts), compare_parts);
	return regex_union_new(parts, count, budget, out);
}

/* The union of as many of the first members as the budget allows; 0 of them when not even one does. */
static int unite_most(const struct regex_member *members, size_t count, struct regex_part *parts, struct regex_budget *budget,
		      struct regex_union **out, size_t *taken)
{
	size_t low = 0, high = count + 1, middle = count; /* `low` fit, `high` did not */
	struct regex_union *found = NULL;
	int r = 0;

	for (; low + 1 < high; middle = low + (high - low) / 2) {
		r = unite(members, middle, parts, budget, &found);
		if (r && r != -E2BIG)
			return r;
		if (r) {
			high = middle;
			continue;
		}
		low = middle;
		regex_union_free(out);
		*out = TAKE_PTR(found);
	}
	*taken = low;
	return 0;
}

/* Fills the automata one after the other; what is left when they are full is tried route by route. */
static int fill_lanes(struct regex_member *members, size_t count, struct regex_budget *budget, struct regex_union **unions, uint32_t *lanes)
{
	_cleanup_free_ struct regex_part *parts = calloc(count + 1, sizeof(*parts));
	size_t at = 0, taken = 0;
	int r = parts ? 0 : -ENOMEM;

	while (!r && at < count && *lanes < WEFT_DFA_LANES) {
		r = unite_most(members + at, count - at, parts, budget, &unions[*lanes], &taken);
		*lanes += taken > 0;
		/* One that is too large by itself stands alone. */
		if (!taken)
			members[at].is_left = true;
		at += taken ? taken : 1;
	}
	for (; at < count; at++)
		members[at].is_left = true;
	return r;
}

/* Lists of all unions, one after the other; what the states say moves along. */
static int write_lists(struct routes_compile *c, struct regex_union *const *unions, uint32_t count, weft_ref *out, uint32_t *out_count)
{
	uint32_t lane, i, total = 1, at = 1;
	weft_ref *refs;

	for (lane = 0; lane < count; lane++)
		total += unions[lane]->list_count - 1;
	*out = builder_table(&c->builder, total, sizeof(*refs));
	if (!*out)
		return builder_status(&c->builder);
	for (lane = 0; lane < count; lane++) {
		struct regex_automaton *automaton = unions[lane]->automaton;

		for (i = 0; i < automaton->state_count; i++)
			if (automaton->accepts[i])
				automaton->accepts[i] = (uint16_t)(automaton->accepts[i] + at - 1);
		for (i = 1; i < unions[lane]->list_count; i++) {
			weft_ref list = builder_list(&c->builder, unions[lane]->lists[i].items, unions[lane]->lists[i].count);

			refs = builder_at(&c->builder, *out);
			refs[at++] = list;
		}
	}
	*out_count = total;
	return builder_status(&c->builder);
}

static int write_lanes(struct routes_compile *c, struct regex_union *const *unions, uint32_t count, weft_ref *out)
{
	const struct regex_automaton *automata[WEFT_DFA_LANES];
	_cleanup_free_ uint8_t *object = NULL;
	uint32_t size, list_count = 0, i;
	weft_ref lists = 0;
	int r = write_lists(c, unions, count, &lists, &list_count);

	for (i = 0; i < count; i++)
		automata[i] = unions[i]->automaton;
	if (!r)
		r = make_object(automata, count, &object, &size);
	if (r)
		return r;
	((struct weft_dfa *)(void *)object)->lists = lists;
	((struct weft_dfa *)(void *)object)->list_count = list_count;
	return write_object(c, object, size, count, out);
}

int regexes_lanes(struct routes_compile *c, struct regex_member *members, size_t count, weft_ref *out)
{
	struct regexes *regexes = c->regexes;
	uint64_t steps = WEFT_MIN(regexes->steps_left, HOST_STEPS_MAX);
	struct regex_budget budget = { .entries = WEFT_DFA_LANE_ENTRIES_MAX, .classes = WEFT_DFA_CLASSES_MAX, .steps = steps };
	struct regex_union *unions[WEFT_DFA_LANES] = { NULL };
	uint32_t lanes = 0, i, bytes = 0;
	size_t at;
	int r;

	*out = 0;
	if (!count)
		return 0;
	qsort(members, count, sizeof(*members), compare_members);
	r = fill_lanes(members, count, &budget, unions, &lanes);
	regexes->steps_left -= steps - budget.steps;
	for (i = 0; i < lanes; i++)
		bytes += table_bytes(unions[i]->automaton);
	if (!r && lanes && spend_bytes(&regexes->table_bytes_left, bytes))
		r = write_lanes(c, unions, lanes, out);
	else
		for (at = 0; at < count; at++)
			members[at].is_left = true;
	for (i = 0; i < WEFT_DFA_LANES; i++)
		regex_union_free(&unions[i]);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Two passes over the same walk: the first only computes the candidate lists (and finds out whether they explode), the second lays the nodes
 * out. The walk is a stack of ranges of the sorted literals, so that depth costs memory and not stack. */
#include "compile/trie.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/cleanup.h"

struct list {
	weft_ref ref;
	bool is_cut;
	uint32_t count;
	uint32_t items[];
};

static const struct list no_candidates;

/* A node to be made: literals [low, high) agree up to `depth` and further through the node's label. */
struct task {
	uint32_t low, high;
	uint32_t depth;
	weft_ref slot;          /* where the parent wants the reference to the node; 0: the root */
	const struct list *inherited;
};

struct walk {
	struct builder *builder;
	const struct trie_literal *literals;
	const bool *is_final;
	const struct trie_limits *limits;
	struct arena arena;
	struct task *stack;
	size_t stack_count, stack_capacity;
	uint32_t *scratch;      /* routes of one node's own literals */
	uint64_t entries;
	bool was_cut;
	weft_ref root;
};

static int compare_literals(const void *a, const void *b)
{
	const struct trie_literal *left = a, *right = b;
	int order = memcmp(left->bytes, right->bytes, WEFT_MIN(left->len, right->len));

	if (order)
		return order;
	if (left->len != right->len)
		return left->len < right->len ? -1 : 1;
	if (left->is_prefix != right->is_prefix)
		return left->is_prefix ? -1 : 1;
	return left->route < right->route ? -1 : left->route > right->route;
}

static uint32_t common_length(const struct trie_literal *a, const struct trie_literal *b, uint32_t from)
{
	uint32_t i, limit = WEFT_MIN(a->len, b->len);

	for (i = from; i < limit && a->bytes[i] == b->bytes[i]; i++)
		;
	return i;
}

static int push(struct walk *walk, const struct task *task)
{
	if (walk->stack_count == walk->stack_capacity) {
		size_t capacity = walk->stack_capacity ? walk->stack_capacity * 2 : 256;
		struct task *grown = reallocarray(walk->stack, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		walk->stack = grown;
		walk->stack_capacity = capacity;
	}
	walk->stack[walk->stack_count++] = *task;
	return 0;
}

/* The union of `inherited` and the node's own routes (`own`, sorted), in order, up to the first that nothing passes. */
static int merge(struct walk *walk, const struct list *inherited, const uint32_t *own, uint32_t own_count, const struct list **out)
{
	uint32_t i = 0, j = 0, most = inherited->count + own_count;
	struct list *list;

	if (!own_count) {
		*out = inherited;
		return 0;
	}
	list = arena_alloc(&walk->arena, sizeof(*list) + ((size_t)WEFT_MIN(most, walk->limits->list) + 1) * sizeof(uint32_t));
	if (!list)
		return -ENOMEM;
	while (i < inherited->count || j < own_count) {
		uint32_t route;

		if (j == own_count || (i < inherited->count && inherited->items[i] <= own[j])) {
			route = inherited->items[i++];
			while (j < own_count && own[j] == route)
				j++;
		} else {
			route = own[j++];
			while (j < own_count && own[j] == route)
				j++;
		}
		/* An inherited list that was cut has limits->list entries before the overflow route, so nothing can follow that one. */
		if (list->count == walk->limits->list) {
			list->items[list->count++] = walk->limits->overflow_route;
			list->is_cut = walk->was_cut = true;
			break;
		}
		list->items[list->count++] = route;
		if (walk->is_final[route])
			break;
	}
	walk->entries += list->count;
	*out = list;
	return walk->entries > walk->limits->entries ? -EOVERFLOW : 0;
}

/* Routes of the literals [low, high), all of one kind and text and therefore in order. */
static const uint32_t *own_routes(struct walk *walk, uint32_t low, uint32_t high)
{
	uint32_t i;

	for (i = low; i < high; i++)
		walk->scratch[i - low] = walk->literals[i].route;
	return walk->scratch;
}

static weft_ref list_ref(struct walk *walk, const struct list *list)
{
	uint32_t *least = walk->limits->least, i;

	if (!list->count)
		return 0;
	if (!list->ref) {
		((struct list *)(uintptr_t)list)->ref = builder_list(walk->builder, list->items, list->count);
		for (i = 0; least && i < list->count; i++)
			least[list->items[i]] = WEFT_MIN(least[list->items[i]], i);
	}
	return list->ref;
}

/* Makes the node of a task and pushes those of its children. */
static int visit(struct walk *walk, const struct task *task, bool emit)
{
	const struct trie_literal *first = &walk->literals[task->low], *last = &walk->literals[task->high - 1];
	uint32_t label_end = common_length(first, last, task->depth), prefixes_end, ends_end, i, child_count = 0;
	const struct list *at_prefix, *at_end;
	struct weft_trie_node *node = NULL;
	weft_ref ref = 0, children = 0;
	struct task child;
	int r;

	/* The root has no label, so that a walk begins alike for every path. */
	label_end = task->slot || task->depth ? WEFT_MIN(label_end, task->depth + WEFT_TRIE_LABEL_MAX) : 0;

	/* What ends here comes first: prefixes, then exact ones. */
	for (prefixes_end = task->low; prefixes_end < task->high; prefixes_end++)
		if (walk->literals[prefixes_end].len != label_end || !walk->literals[prefixes_end].is_prefix)
			break;
	for (ends_end = prefixes_end; ends_end < task->high; ends_end++)
		if (walk->literals[ends_end].len != label_end)
			break;
	r = merge(walk, task->inherited, own_routes(walk, task->low, prefixes_end), prefixes_end - task->low, &at_prefix);
	if (r)
		return r;
	r = merge(walk, at_prefix, own_routes(walk, prefixes_end, ends_end), ends_end - prefixes_end, &at_end);
	if (r)
		return r;

	for (i = ends_end; i < task->high; i++)
		if (i == ends_end || walk->literals[i].bytes[label_end] != walk->literals[i - 1].bytes[label_end])
			child_count++;

	if (emit) {
		uint32_t label_len = label_end - task->depth;

		ref = builder_alloc(walk->builder, sizeof(*node) + label_len);
		if (!ref)
			return builder_status(walk->builder);
		node = builder_at(walk->builder, ref);
		node->label_len = (uint16_t)label_len;
		memcpy(node->label, first->bytes + task->depth, label_len);
		node->at_prefix = list_ref(walk, at_prefix);
		node->at_end = list_ref(walk, at_end);
		node->child_count = (uint16_t)child_count;
		if (child_count) {
			children = builder_alloc(walk->builder, child_count * sizeof(weft_ref));
			if (!children)
				return builder_status(walk->builder);
			node->children = children;
		}
		if (task->slot)
			*(weft_ref *)builder_at(walk->builder, task->slot) = ref;
		else
			walk->root = ref;
	}

	/* From the last to the first: the stack then yields them in order. */
	child = (struct task){ .high = task->high, .depth = label_end, .inherited = at_prefix };
	while (child.high > ends_end) {
		uint8_t byte = walk->literals[child.high - 1].bytes[label_end];

		for (child.low = child.high - 1; child.low > ends_end && walk->literals[child.low - 1].bytes[label_end] == byte; child.low--)
			;
		child_count--;
		if (emit) {
			node->branch[byte >> 6] |= 1ull << (byte & 63);
			child.slot = children + child_count * (uint32_t)sizeof(weft_ref);
		} else {
			child.slot = 1;
		}
		r = push(walk, &child);
		if (r)
			return r;
		child.high = child.low;
	}
	weft_assert(!child_count);
	return builder_status(walk->builder);
}

static int walk_all(struct walk *walk, size_t count, bool emit)
{
	int r = push(walk, &(struct task){ .high = (uint32_t)count, .inherited = &no_candidates });

	walk->entries = 0;
	walk->was_cut = false;
	while (!r && walk->stack_count) {
		struct task task = walk->stack[--walk->stack_count];

		r = visit(walk, &task, emit);
	}
	arena_release(&walk->arena);
	walk->stack_count = 0;
	return r;
}

int trie_build(struct builder *builder, struct trie_literal *literals, size_t count, const bool *is_final, const struct trie_limits *limits,
	       weft_ref *root, bool *was_cut)
{
	struct walk walk = { .builder = builder, .literals = literals, .is_final = is_final, .limits = limits, .arena = ARENA_INIT };
	int r;

	*root = 0;
	*was_cut = false;
	if (!count)
		return 0;
	if (count > UINT32_MAX / 2)
		return -E2BIG;
	walk.scratch = malloc(count * sizeof(*walk.scratch));
	if (!walk.scratch)
		return -ENOMEM;
	qsort(literals, count, sizeof(*literals), compare_literals);

	r = walk_all(&walk, count, false);
	if (!r)
		r = walk_all(&walk, count, true);
	if (!r) {
		*root = walk.root;
		*was_cut = walk.was_cut;
	}
	free(walk.scratch);
	free(walk.stack);
	return r;
}

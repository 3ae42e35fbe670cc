/* SPDX-License-Identifier: Apache-2.0 */
/* libyaml's events -> tree. No recursion: nesting lives on a stack of our own, bounded by YAML_DEPTH_LIMIT. */
#include "mesh/yaml_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"

#define ANCHOR_LIMIT 1000

struct anchor {
	const char *name;
	const struct yaml_node *node;
};

struct list {
	void **items;
	size_t count, capacity;
};

/* A sequence or mapping that is still open. */
struct open_node {
	struct yaml_node *node;
	const char *anchor;
	struct list items;          /* const struct yaml_node *, or for a mapping key and value in turn */
};

struct parser {
	const char *name;
	const char *text;
	size_t size;
	struct arena *arena;
	struct mesh_report *report;
	struct open_node stack[YAML_DEPTH_LIMIT];
	size_t depth;
	struct anchor *anchors;
	size_t anchor_count;
	const struct yaml_node *root;
	uint32_t weight;            /* of all nodes made so far, aliases included */
};

static int list_add(struct list *list, const void *item)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 8;
		void **items = reallocarray(list->items, capacity, sizeof(*items));

		if (!items)
			return -ENOMEM;
		list->items = items;
		list->capacity = capacity;
	}
	list->items[list->count++] = (void *)item;
	return 0;
}

static int fail(struct parser *p, const yaml_mark_t *mark, const char *text)
{
	mesh_report_add(p->report, MESH_ERROR, p->name, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1, "", "%s", text);
	return -EINVAL;
}

static struct yaml_node *node_new(struct parser *p, enum node_kind kind, const yaml_mark_t *mark)
{
	struct yaml_node *node = arena_new(p->arena, struct yaml_node);

	if (!node)
		return NULL;
	node->kind = kind;
	node->line = (uint32_t)mark->line + 1;
	node->column = (uint32_t)mark->column + 1;
	node->height = 1;
	node->weight = 1;
	return node;
}

static int anchor_add(struct parser *p, const char *name, const struct yaml_node *node)
{
	struct anchor *anchors;

	if (!name)
		return 0;
	/* an anchor may be set again; aliases see the latest */
	for (size_t i = 0; i < p->anchor_count; i++) {
		if (strcmp(p->anchors[i].name, name) == 0) {
			p->anchors[i].node = node;
			return 0;
		}
	}
	if (p->anchor_count == ANCHOR_LIMIT)
		return -E2BIG;
	anchors = reallocarray(p->anchors, p->anchor_count + 1, sizeof(*anchors));
	if (!anchors)
		return -ENOMEM;
	p->anchors = anchors;
	p->anchors[p->anchor_count].name = name;
	p->anchors[p->anchor_count++].node = node;
	return 0;
}

/* A node is complete: it becomes the root, or the next item of what is open. */
static int node_done(struct parser *p, const struct yaml_node *node, const yaml_mark_t *mark)
{
	struct open_node *parent;

	if (!p->depth) {
		p->root = node;
		return 0;
	}
	parent = &p->stack[p->depth - 1];
	if (p->depth + node->height > YAML_DEPTH_LIMIT)
		return fail(p, mark, "nested too deeply");
	if (parent->node->height <= node->height)
		parent->node->height = node->height + 1;
	if (__builtin_add_overflow(parent->node->weight, node->weight, &parent->node->weight) || parent->node->weight > YAML_NODE_LIMIT)
		return fail(p, mark, "too many values (aliases count each time they are used)");
	if (parent->node->kind == NODE_MAPPING && parent->items.count % 2 == 0) {
		if (node->kind != NODE_SCALAR)
			return fail(p, mark, "a key must be a text");
		if (strlen(node->scalar.text) != node->scalar.size)
			return fail(p, mark, "a key holds a zero byte");
	}
	return list_add(&parent->items, node);
}

/* The standard tags say nothing new but for !!str, which makes a plain scalar a text. */
static int tag_check(struct parser *p, const yaml_char_t *tag, const yaml_mark_t *mark, bool *is_text)
{
	static const char *const known[] = { "int", "float", "bool", "null", "map", "seq" };
	static const char prefix[] = "tag:yaml.org,2002:";

	*is_text = false;
	if (!tag)
		return 0;
	if (strcmp((const char *)tag, "!") == 0 || strcmp((const char *)tag, "tag:yaml.org,2002:str") == 0) {
		*is_text = true;
		return 0;
	}
	if (strncmp((const char *)tag, prefix, sizeof(prefix) - 1) == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(known); i++)
			if (strcmp((const char *)tag + sizeof(prefix) - 1, known[i]) == 0)
				return 0;
	}
	return fail(p, mark, "this YAML tag is not supported");
}

static int on_scalar(struct parser *p, const yaml_event_t *event)
{
	struct yaml_node *node = node_new(p, NODE_SCALAR, &event->start_mark);
	const char *anchor = NULL;
	bool is_text;
	char *text;
	int r;

	if (!node)
		return -ENOMEM;
	r = tag_check(p, event->data.scalar.tag, &event->start_mark, &is_text);
	if (r)
		return r;
	text = arena_alloc(p->arena, event->data.scalar.length + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, event->data.scalar.value, event->data.scalar.length);
	node->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !is_text;
	node->scalar.text = text;
	node->scalar.size = event->data.scalar.length;

	if (event->data.scalar.anchor) {
		anchor = arena_text(p->arena, (const char *)event->data.scalar.anchor);
		if (!anchor)
			return -ENOMEM;
	}
	r = anchor_add(p, anchor, node);
	if (r)
		return r == -E2BIG ? fail(p, &event->start_mark, "too many anchors") : r;
	return node_done(p, node, &event->start_mark);
}

static int on_alias(struct parser *p, const yaml_event_t *event)
{
	for (size_t i = 0; i < p->anchor_count; i++)
		if (strcmp(p->anchors[i].name, (const char *)event->data.alias.anchor) == 0)
			return node_done(p, p->anchors[i].node, &event->start_mark);
	return fail(p, &event->start_mark, "this alias has no anchor before it");
}

static int on_start(struct parser *p, enum node_kind kind, const yaml_char_t *anchor, const yaml_char_t *tag, const yaml_mark_t *mark)
{
	struct open_node *open = &p->stack[p->depth];
	bool is_text;
	int r;

	if (p->depth + 1 >= YAML_DEPTH_LIMIT)
		return fail(p, mark, "nested too deeply");
	r = tag_check(p, tag, mark, &is_text);
	if (r)
		return r;
	*open = (struct open_node){ .node = node_new(p, kind, mark) };
	if (!open->node)
		return -ENOMEM;
	if (anchor) {
		open->anchor = arena_text(p->arena, (const char *)anchor);
		if (!open->anchor)
			return -ENOMEM;
	}
	p->depth++;
	return 0;
}

static int by_key(const void *a, const void *b)
{
	return strcmp((*(const struct yaml_pair *const *)a)->key, (*(const struct yaml_pair *const *)b)->key);
}

/* Sorted, not compared each with each: a mapping may be large. */
static int keys_check(struct parser *p, const struct yaml_node *node)
{
	_cleanup_free_ const struct yaml_pair **sorted = NULL;
	size_t count = node->mapping.count;

	if (count < 2)
		return 0;
	sorted = reallocarray(NULL, count, sizeof(const struct yaml_pair *));
	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		sorted[i] = &node->mapping.pairs[i];
	qsort(sorted, count, sizeof(const struct yaml_pair *), by_key);
	for (size_t i = 1; i < count; i++) {
		if (strcmp(sorted[i]->key, sorted[i - 1]->key) == 0) {
			const struct yaml_pair *later = sorted[i] > sorted[i - 1] ? sorted[i] : sorted[i - 1];

			mesh_report_add(p->report, MESH_ERROR, p->name, later->line, later->column, "", "the key `%s` is given twice", later->key);
			return -EINVAL;
		}
	}
	return 0;
}

static int on_end(struct parser *p)
{
	struct open_node *open = &p->stack[p->depth - 1];
	struct yaml_node *node = open->node;
	yaml_mark_t start = { .line = node->line - 1, .column = node->column - 1 };
	size_t count = open->items.count;
	int r = 0;

	if (node->kind == NODE_SEQUENCE) {
		node->sequence.count = count;
		if (count) {
			node->sequence.items = arena_copy(p->arena, open->items.items, count * sizeof(void *));
			if (!node->sequence.items)
				r = -ENOMEM;
		}
	} else if (count) {
		node->mapping.count = count / 2;
		node->mapping.pairs = arena_new_array(p->arena, struct yaml_pair, count / 2);
		if (!node->mapping.pairs)
			r = -ENOMEM;
		for (size_t i = 0; !r && i < count / 2; i++) {
			const struct yaml_node *key = open->items.items[2 * i];

			node->mapping.pairs[i].key = key->scalar.text;
			node->mapping.pairs[i].line = key->line;
			node->mapping.pairs[i].column = key->column;
			node->mapping.pairs[i].value = open->items.items[2 * i + 1];
		}
		if (!r)
			r = keys_check(p, node);
	}
	free(open->items.items);
	p->depth--;
	if (r)
		return r;

	/* only now: a node that holds an alias of itself would be endless */
	r = anchor_add(p, open->anchor, node);
	if (r)
		return r == -E2BIG ? fail(p, &start, "too many anchors") : r;
	return node_done(p, node, &start);
}

static int on_event(struct parser *p, const yaml_event_t *event, int *documents)
{
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		return ++*documents > 1 ? fail(p, &event->start_mark, "one document a file, please") : 0;
	case YAML_SCALAR_EVENT:
		return on_scalar(p, event);
	case YAML_ALIAS_EVENT:
		return on_alias(p, event);
	case YAML_SEQUENCE_START_EVENT:
		return on_start(p, NODE_SEQUENCE, event->data.sequence_start.anchor, event->data.sequence_start.tag, &event->start_mark);
	case YAML_MAPPING_START_EVENT:
		return on_start(p, NODE_MAPPING, event->data.mapping_start.anchor, event->data.mapping_start.tag, &event->start_mark);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return on_end(p);
	default:
		return 0;
	}
}

/* libyaml reads ahead of what it parses, so of bytes that it can't read it knows the offset alone. Columns are characters, as everywhere else. */
static yaml_mark_t mark_of_byte(const struct parser *p, const yaml_parser_t *yaml)
{
	yaml_mark_t mark = { 0, 0, 0 };
	bool is_utf8 = yaml->encoding == YAML_UTF8_ENCODING;

	for (size_t i = 0; i < yaml->problem_offset && i < p->size; i++) {
		if (p->text[i] == '\n') {
			mark.line++;
			mark.column = 0;
		} else if (!is_utf8 || (p->text[i] & 0xc0) != 0x80) {
			mark.column++;
		}
	}
	return mark;
}

static int on_problem(struct parser *p, const yaml_parser_t *yaml)
{
	yaml_mark_t of_byte = mark_of_byte(p, yaml);
	const yaml_mark_t *mark = yaml->error == YAML_READER_ERROR ? &of_byte : &yaml->problem_mark;

	if (yaml->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	mesh_report_add(p->report, MESH_ERROR, p->name, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1, "", "not YAML: %s%s%s",
			yaml->problem ? yaml->problem : "unreadable", yaml->context ? " " : "", yaml->context ? yaml->context : "");
	return -EINVAL;
}

static int parse_events(struct parser *p, yaml_parser_t *yaml)
{
	int documents = 0, r = 0;
	bool is_end = false;

	while (!r && !is_end) {
		yaml_event_t event;

		if (!yaml_parser_parse(yaml, &event))
			return on_problem(p, yaml);
		is_end = event.type == YAML_STREAM_END_EVENT;
		r = on_event(p, &event, &documents);
		yaml_event_delete(&event);
	}
	return r;
}

int yaml_tree_parse(const char *name, const char *text, size_t size, struct arena *arena, const struct yaml_node **out,
		    struct mesh_report *report)
{
	_cleanup_free_ struct parser *p = calloc(1, sizeof(*p));
	yaml_mark_t start = { 0, 0, 0 };
	yaml_parser_t yaml;
	int r;

	if (!p)
		return -ENOMEM;
	p->name = name;
	p->text = text;
	p->size = size;
	p->arena = arena;
	p->report = report;
	if (size > YAML_SIZE_LIMIT)
		return fail(p, &start, "the file is too large");
	if (!yaml_parser_initialize(&yaml))
		return -ENOMEM;
	yaml_parser_set_input_string(&yaml, (const unsigned char *)text, size);
	r = parse_events(p, &yaml);
	yaml_parser_delete(&yaml);

	while (p->depth)
		free(p->stack[--p->depth].items.items);
	free(p->anchors);
	if (r)
		return r;
	if (!p->root)
		p->root = node_new(p, NODE_MAPPING, &start);
	if (!p->root)
		return -ENOMEM;
	*out = p->root;
	return 0;
}

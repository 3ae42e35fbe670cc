/* SPDX-License-Identifier: Apache-2.0 */
/* A pattern in, its tree out. What is literal and what is an error follows RE2's parser (re2/parse.cc, Regexp::LikePerl with Latin1). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "regex/parse.h"

/* ---- nodes -------------------------------------------------------------------------------------------------------------------------- */

static int push_node(struct node_stack *stack, struct regex_node *node)
{
	if (stack->count == stack->capacity) {
		size_t capacity = stack->capacity ? stack->capacity * 2 : 64;
		struct regex_node **grown = reallocarray(stack->nodes, capacity, sizeof(struct regex_node *));

		if (!grown)
			return -ENOMEM;
		stack->nodes = grown;
		stack->capacity = capacity;
	}
	stack->nodes[stack->count++] = node;
	return 0;
}

struct regex_node *parser_node(struct parser *parser, enum regex_op op)
{
	struct regex_node *node = arena_new(&parser->regex->arena, struct regex_node);

	if (!node)
		return NULL;
	node->op = (uint8_t)op;
	node->flags = parser->flags;
	node->copies = 1;
	node->is_nullable = op == REGEX_EMPTY || op == REGEX_ASSERT;
	return node;
}

/* A node over one other. */
static struct regex_node *node_over(struct parser *parser, enum regex_op op, struct regex_node *child)
{
	struct regex_node *node = parser_node(parser, op);

	if (!node)
		return NULL;
	node->children = arena_new_array(&parser->regex->arena, struct regex_node *, 1);
	if (!node->children)
		return NULL;
	node->children[0] = child;
	node->count = 1;
	return node;
}

int parser_finish(struct parser *parser, struct regex_node *node)
{
	bool any_nullable = false, all_nullable = true;
	uint32_t i;

	for (i = 0; i < node->count; i++) {
		const struct regex_node *child = node->children[i];

		any_nullable |= child->is_nullable;
		all_nullable &= child->is_nullable;
		node->has_loop |= child->has_loop;
		if (child->depth >= node->depth)
			node->depth = (uint16_t)(child->depth + 1);
		if (child->copies > node->copies)
			node->copies = child->copies;
	}
	if (node->count)
		node->is_nullable |= node->op == REGEX_ALTERNATE ? any_nullable : all_nullable;
	/* Trees are walked by recursion. */
	return node->depth > REGEX_DEPTH_MAX ? parser_fail(parser, REGEX_FAULT_DEPTH, 0, parser->at) : 0;
}

/* Appends to the sequence that is open. */
static int push_item(struct parser *parser, struct regex_node *node)
{
	return node ? push_node(&parser->items, node) : -ENOMEM;
}

static int push_set(struct parser *parser, const struct byte_set *set)
{
	struct regex_node *node = parser_node(parser, REGEX_SET);

	if (!node)
		return -ENOMEM;
	node->set = *set;
	return push_item(parser, node);
}

static int push_byte(struct parser *parser, unsigned char byte)
{
	struct byte_set set = { { 0 } };

	set_add(&set, byte, byte);
	if (parser->flags & REGEX_FLAG_FOLD)
		set_fold(&set);
	return push_set(parser, &set);
}

static int push_assertion(struct parser *parser, enum regex_assertion assertion)
{
	struct regex_node *node = parser_node(parser, REGEX_ASSERT);

	if (!node)
		return -ENOMEM;
	node->assertion = (uint8_t)assertion;
	return push_item(parser, node);
}

/* A node over those that lie on the stack from `first` on, which it takes away. One alone stands for itself. */
static int take_nodes(struct parser *parser, struct node_stack *stack, size_t first, enum regex_op op, struct regex_node **out)
{
	size_t count = stack->count - first;
	struct regex_node *node;

	if (count == 1) {
		*out = stack->nodes[--stack->count];
		return 0;
	}
	stack->count = first;
	if (op == REGEX_ALTERNATE && count)
		return regex_factor(parser, stack->nodes + first, (uint32_t)count, 0, out);
	node = parser_node(parser, count ? op : REGEX_EMPTY);
	if (!node)
		return -ENOMEM;
	if (count) {
		node->count = (uint32_t)count;
		node->children = arena_copy(&parser->regex->arena, stack->nodes + first, count * sizeof(struct regex_node *));
		if (!node->children)
			return -ENOMEM;
	}
	*out = node;
	return parser_finish(parser, node);
}

/* ---- groups ------------------------------------------------------------------------------------------------------------------------- */

static struct group *innermost(struct parser *parser)
{
	return &parser->groups[parser->group_count - 1];
}

static int open_group(struct parser *parser, size_t at, bool captures, uint8_t flags)
{
	struct group *group;

	if (parser->group_count == parser->group_capacity) {
		size_t capacity = parser->group_capacity ? parser->group_capacity * 2 : 16;
		struct group *grown = reallocarray(parser->groups, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		parser->groups = grown;
		parser->group_capacity = capacity;
	}
	group = &parser->groups[parser->group_count++];
	*group = (struct group){
		.first_item = parser->items.count,
		.first_branch = parser->branches.count,
		.at = at,
		.capture = captures ? ++parser->regex->capture_count : 0,
		.flags = parser->flags,
	};
	parser->flags = flags;
	return 0;
}

/* The sequence that was open becomes a branch. */
static int end_branch(struct parser *parser)
{
	struct regex_node *branch;
	int r = take_nodes(parser, &parser->items, innermost(parser)->first_item, REGEX_CONCAT, &branch);

	return r ? r : push_node(&parser->branches, branch);
}

/* What is in the innermost group, which is then closed. */
static int end_group(struct parser *parser, struct regex_node **out)
{
	struct group group = *innermost(parser);
	struct regex_node *inside, *node;
	int r = end_branch(parser);

	if (!r)
		r = take_nodes(parser, &parser->branches, group.first_branch, REGEX_ALTERNATE, &inside);
	if (r)
		return r;
	parser->group_count--;
	parser->flags = group.flags;
	*out = inside;
	if (!group.capture)
		return 0;
	node = node_over(parser, REGEX_CAPTURE, inside);
	if (!node)
		return -ENOMEM;
	node->capture = group.capture;
	*out = node;
	return parser_finish(parser, node);
}

static int parse_open(struct parser *parser)
{
	bool opens = true, captures = true;
	size_t at = parser->at;
	uint8_t flags = parser->flags;
	int r;

	if (parser_has(parser, 1) && parser_byte(parser, 1) == '?') {
		r = parse_perl_group(parser, &opens, &captures, &flags);
		if (r)
			return r;
	} else {
		parser->at++;
	}
	if (opens)
		return open_group(parser, at, captures, flags);
	parser->flags = flags;
	return 0;
}

static int parse_close(struct parser *parser)
{
	struct regex_node *node;
	int r;

	if (parser->group_count == 1)
		return parser_fail(parser, REGEX_FAULT_UNEXPECTED_PAREN, parser->at, parser->at + 1);
	parser->at++;
	r = end_group(parser, &node);
	return r ? r : push_item(parser, node);
}

/* ---- repetitions -------------------------------------------------------------------------------------------------------------------- */

static int repeat_last(struct parser *parser, char sign, int min, int max, bool is_lazy, size_t from)
{
	struct regex_node *last, *node;
	uint8_t flags = is_lazy ? parser->flags ^ REGEX_FLAG_LAZY : parser->flags;
	int r, most = max < 0 ? min : max;

	if (sign == '{' && ((max >= 0 && max < min) || min > REGEX_REPEAT_MAX || max > REGEX_REPEAT_MAX))
		return parser_fail(parser, REGEX_FAULT_REPEAT_SIZE, from, parser->at);
	if (parser->items.count == innermost(parser)->first_item)
		return parser_fail(parser, REGEX_FAULT_REPEAT_ARGUMENT, from, parser->at);
	last = parser->items.nodes[parser->items.count - 1];

	/* As RE2: (?:a*)+ is a*, (?:a+)+ is a+; only captures inside could tell. */
	if (last->op == REGEX_REPEAT && last->sign != '{' && sign != '{' && last->flags == flags) {
		if (last->sign != sign) {
			last->sign = '*';
			last->min = 0;
			last->max = -1;
			last->is_nullable = last->has_loop = true;
		}
		return 0;
	}
	node = node_over(parser, REGEX_REPEAT, last);
	if (!node)
		return -ENOMEM;
	node->flags = flags;
	node->sign = sign;
	node->min = (int16_t)min;
	node->max = (int16_t)max;
	node->is_nullable = !min;
	node->has_loop = max < 0;
	r = parser_finish(parser, node);
	if (sign == '{' && most > 0)
		node->copies = (uint16_t)(last->copies * most > REGEX_REPEAT_MAX ? REGEX_REPEAT_MAX + 1 : last->copies * most);
	if (sign == '{' && most >= 2 && node->copies > REGEX_REPEAT_MAX)
		return parser_fail(parser, REGEX_FAULT_REPEAT_SIZE, from, parser->at);
	parser->items.nodes[parser->items.count - 1] = node;
	return r;
}

/* `last_repeat` is where a repetition stands that ends here, or NULL: two in a row are refused. */
static int parse_repeat(struct parser *parser, const size_t *last_repeat)
{
	char sign = parser->text[parser->at];
	size_t from = parser->at;
	int min = sign == '+', max = sign == '?' ? 1 : -1;
	bool is_lazy = false;

	if (sign == '{') {
		if (!parse_counts(parser, &min, &max)) {
			parser->at++;
			return push_byte(parser, '{');
		}
	} else {
		parser->at++;
	}
	if (parser_has(parser, 0) && parser_byte(parser, 0) == '?') {
		is_lazy = true;
		parser->at++;
	}
	if (last_repeat)
		return parser_fail(parser, REGEX_FAULT_REPEAT_OPERATOR, *last_repeat, parser->at);
	return repeat_last(parser, sign, min, max, is_lazy, from);
}

/* ---- everything ------------------------------------------------------------------------------------------------------------------------ */

static int parse_dot(struct parser *parser)
{
	struct byte_set set = { { 0 } };

	set_add(&set, 0, 255);
	if (!(parser->flags & REGEX_FLAG_DOT_NEWLINE))
		set.bits[0] &= ~(1ull << '\n');
	parser->at++;
	return push_set(parser, &set);
}

static int parse_quoted(struct parser *parser)
{
	int r = 0;

	for (parser->at += 2; !r && parser_has(parser, 0); parser->at++) {
		if (parser_has(parser, 1) && parser_byte(parser, 0) == '\\' && parser_byte(parser, 1) == 'E') {
			parser->at += 2;
			return 0;
		}
		r = push_byte(parser, parser_byte(parser, 0));
	}
	return r;
}

static int parse_backslash(struct parser *parser)
{
	char letter = parser_has(parser, 1) ? (char)parser_byte(parser, 1) : '\0';
	struct byte_set set = { { 0 } };
	unsigned char byte;
	int r;

	switch (letter) {
	case 'b':
	case 'B':
		parser->at += 2;
		return push_assertion(parser, letter == 'b' ? REGEX_WORD_BOUNDARY : REGEX_NO_WORD_BOUNDARY);
	case 'A':
	case 'z':
		parser->at += 2;
		return push_assertion(parser, letter == 'A' ? REGEX_BEGIN_TEXT : REGEX_END_TEXT);
	case 'C':
		parser->at += 2;
		set_add(&set, 0, 255);
		return push_set(parser, &set);
	case 'Q': return parse_quoted(parser);
	case 'p':
	case 'P':
		r = parse_unicode_set(parser, &set);
		return r ? r : push_set(parser, &set);
	}
	/* Folding these sets changes nothing: each has both cases of a letter or none. */
	if (letter && set_by_perl_letter(letter, &set)) {
		parser->at += 2;
		return push_set(parser, &set);
	}
	r = parse_escaped_byte(parser, &byte);
	return r ? r : push_byte(parser, byte);
}

static int parse_one(struct parser *parser, const size_t *last_repeat)
{
	char c = parser->text[parser->at];
	bool has_many_lines = parser->flags & REGEX_FLAG_MANY_LINES;
	struct byte_set set;
	int r;

	switch (c) {
	case '(': return parse_open(parser);
	case ')': return parse_close(parser);
	case '|': parser->at++; return end_branch(parser);
	case '^': parser->at++; return push_assertion(parser, has_many_lines ? REGEX_BEGIN_LINE : REGEX_BEGIN_TEXT);
	case '$': parser->at++; return push_assertion(parser, has_many_lines ? REGEX_END_LINE : REGEX_END_TEXT);
	case '.': return parse_dot(parser);
	case '[':
		r = parse_class(parser, &set);
		return r ? r : push_set(parser, &set);
	case '*':
	case '+':
	case '?':
	case '{': return parse_repeat(parser, last_repeat);
	case '\\': return parse_backslash(parser);
	}
	parser->at++;
	return push_byte(parser, (unsigned char)c);
}

static int parse_all(struct parser *parser)
{
	size_t last_repeat = 0;
	bool follows_repeat = false;
	int r = open_group(parser, 0, false, 0);

	while (!r && parser->at < parser->size) {
		size_t at = parser->at;
		bool may_repeat = strchr("*+?{", parser->text[at]) && parser->text[at];

		r = parse_one(parser, follows_repeat ? &last_repeat : NULL);
		/* A brace that counts nothing is a literal. */
		follows_repeat = may_repeat && !(parser->text[at] == '{' && parser->at == at + 1);
		last_repeat = at;
	}
	if (r)
		return r;
	if (parser->group_count > 1)
		return parser_fail(parser, REGEX_FAULT_MISSING_PAREN, innermost(parser)->at, parser->size);
	r = end_group(parser, &parser->regex->root);
	if (r)
		return r;
	parser->regex->program_size = regex_bound_program(parser->regex->root);
	return parser->regex->program_size > REGEX_PROGRAM_MAX ? parser_fail(parser, REGEX_FAULT_PROGRAM_SIZE, 0, parser->size) : 0;
}

int regex_parse(const char *pattern, size_t size, struct regex **out, struct regex_error *error)
{
	_cleanup_(regex_free) struct regex *regex = calloc(1, sizeof(*regex));
	struct regex_error unused;
	struct parser parser = { .text = pattern, .size = size, .regex = regex, .error = error ? error : &unused };
	int r;

	if (!regex)
		return -ENOMEM;
	r = parse_all(&parser);
	free(parser.items.nodes);
	free(parser.branches.nodes);
	free(parser.groups);
	if (r)
		return r;
	*out = TAKE_PTR(regex);
	return 0;
}

void regex_free(struct regex **regex)
{
	if (!*regex)
		return;
	arena_release(&(*regex)->arena);
	free(*regex);
	*regex = NULL;
}

uint32_t regex_program_size(const struct regex *regex)
{
	return regex->program_size;
}

uint32_t regex_capture_count(const struct regex *regex)
{
	return regex->capture_count;
}

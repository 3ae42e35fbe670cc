/* SPDX-License-Identifier: Apache-2.0 */
/* Alternatives that begin with the same literals share them: /a1|/a2|b is (?:/a(?:1|2)|b). RE2 does so too, where neighbours agree; without
 * that a list of paths would count many times, here as in its own program. Which way is preferred stays the same. */
#include <errno.h>

#include "regex/parse.h"

bool regex_is_literal(const struct regex_node *node)
{
	struct byte_set other;
	unsigned count;

	if (node->op != REGEX_SET || node->sign == '|')
		return false;
	count = set_count(&node->set);
	if (count != 2)
		return count == 1;
	for (other = (struct byte_set){ { 0 } }, count = 'a'; count <= 'z'; count++) {
		other.bits[1] = 1ull << (count - 64) | 1ull << (count - 0x20 - 64);
		if (set_equal(&node->set, &other))
			return true;
	}
	return false;
}

uint32_t regex_count_ranges(const struct regex_node *node)
{
	uint32_t count = node->ranges, byte;

	for (byte = 0; !node->ranges && byte < 256; byte++)
		count += set_has(&node->set, byte) && (!byte || !set_has(&node->set, byte - 1));
	return count ? count : 1;
}

/* RE2 shares only what was written under the same (?i). */
static bool same_literal(const struct regex_node *a, const struct regex_node *b)
{
	return set_equal(&a->set, &b->set) && (set_count(&a->set) == 2 || !((a->flags ^ b->flags) & REGEX_FLAG_FOLD));
}

/* The literal at `index` of an alternative; NULL: there is none. */
static struct regex_node *literal_at(struct regex_node *branch, uint32_t index)
{
	if (branch->op == REGEX_CONCAT)
		return index < branch->count && regex_is_literal(branch->children[index]) ? branch->children[index] : NULL;
	return !index && regex_is_literal(branch) ? branch : NULL;
}

static bool agree_at(struct regex_node *const *branches, uint32_t count, uint32_t index)
{
	const struct regex_node *literal = literal_at(branches[0], index), *other;
	uint32_t i;

	for (i = 1; literal && i < count; i++) {
		other = literal_at(branches[i], index);
		if (!other || !same_literal(literal, other))
			return false;
	}
	return literal;
}

/* What an alternative has from `index` on. */
static int take_rest(struct parser *parser, struct regex_node *branch, uint32_t index, struct regex_node **out)
{
	uint32_t left = branch->op == REGEX_CONCAT ? branch->count - index : index ? 0 : 1;
	struct regex_node *rest;

	*out = branch;
	if (!index)
		return 0;
	if (left == 1) {
		*out = branch->children[index];
		return 0;
	}
	rest = parser_node(parser, left ? REGEX_CONCAT : REGEX_EMPTY);
	if (!rest)
		return -ENOMEM;
	rest->count = left;
	rest->children = left ? branch->children + index : NULL;
	*out = rest;
	return parser_finish(parser, rest);
}

/* `prefix` literals from `index` on, which the alternatives have in common, before what each has after them. */
static int share(struct parser *parser, struct regex_node *const *branches, uint32_t count, uint32_t index, uint32_t prefix,
		 struct regex_node **out)
{
	struct regex_node *node = parser_node(parser, REGEX_CONCAT);
	uint32_t i;
	int r;

	if (!node)
		return -ENOMEM;
	node->count = prefix + 1;
	node->children = arena_new_array(&parser->regex->arena, struct regex_node *, node->count);
	if (!node->children)
		return -ENOMEM;
	for (i = 0; i < prefix; i++)
		node->children[i] = literal_at(branches[0], index + i);
	r = regex_factor(parser, branches, count, index + prefix, &node->children[prefix]);
	*out = node;
	return r ? r : parser_finish(parser, node);
}

/* Neighbours that are one byte each become one set. RE2 does so too, but not always: its size is that of the alternatives. */
static int join_last_sets(struct parser *parser, struct regex_node *node)
{
	struct regex_node *before, *last, *joined;

	if (node->count < 2)
		return 0;
	before = node->children[node->count - 2];
	last = node->children[node->count - 1];
	if (before->op != REGEX_SET || last->op != REGEX_SET)
		return 0;
	joined = parser_node(parser, REGEX_SET);
	if (!joined)
		return -ENOMEM;
	joined->sign = '|';
	joined->set = before->set;
	joined->ranges = regex_count_ranges(before) + regex_count_ranges(last);
	set_join(&joined->set, &last->set);
	node->children[--node->count - 1] = joined;
	return 0;
}

int regex_factor(struct parser *parser, struct regex_node *const *branches, uint32_t count, uint32_t index, struct regex_node **out)
{
	struct regex_node *node = parser_node(parser, REGEX_ALTERNATE);
	uint32_t first, run, prefix;
	int r;

	if (!node)
		return -ENOMEM;
	node->children = arena_new_array(&parser->regex->arena, struct regex_node *, count);
	if (!node->children)
		return -ENOMEM;
	for (first = 0; first < count; first += run) {
		for (run = 1; first + run < count; run++) {
			struct regex_node *const pair[] = { branches[first], branches[first + run] };

			if (!agree_at(pair, 2, index))
				break;
		}
		for (prefix = 0; run > 1 && agree_at(branches + first, run, index + prefix); prefix++)
			;
		if (prefix)
			r = share(parser, branches + first, run, index, prefix, &node->children[node->count++]);
		else
			r = take_rest(parser, branches[first], index, &node->children[node->count++]);
		if (!r)
			r = join_last_sets(parser, node);
		if (r)
			return r;
	}
	*out = node->count == 1 ? node->children[0] : node;
	return parser_finish(parser, *out);
}

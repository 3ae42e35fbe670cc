/* SPDX-License-Identifier: Apache-2.0 */
/* How large RE2's program for a pattern is at most. Envoy compares what RE2 says with a limit; RE2 counts instructions after it has
 * simplified, factored and flattened. Here every transformation that could only make it smaller is left out, but one: common beginnings of
 * alternatives are shared, without which a list of paths would count many times. */
#include "regex/ast.h"

/* An instruction each for failing, matching and the `.*?` that RE2 puts before a pattern, and one that joins that to it. */
#define PROGRAM_BASE 4u
/* Far above any limit, and sums of two of them fit. */
#define BOUND_MAX (1u << 30)

static uint32_t bounded(uint64_t count)
{
	return count > BOUND_MAX ? BOUND_MAX : (uint32_t)count;
}

/* RE2 takes ranges of bytes one by one. */
static uint32_t count_ranges(const struct byte_set *set)
{
	uint32_t count = 0, byte;

	for (byte = 0; byte < 256; byte++)
		count += set_has(set, byte) && (!byte || !set_has(set, byte - 1));
	return count;
}

/* Is it a byte, or both cases of a letter: RE2's literals? */
static bool is_literal(const struct regex_node *node)
{
	struct byte_set other;
	unsigned count;

	if (node->op != REGEX_SET)
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

static uint32_t bound(const struct regex_node *node);

/* RE2 shares only what was written under the same (?i). */
static bool same_literal(const struct regex_node *a, const struct regex_node *b)
{
	return set_equal(&a->set, &b->set) && (set_count(&a->set) == 2 || !((a->flags ^ b->flags) & REGEX_FLAG_FOLD));
}

/* The literal at `index` of an alternative; NULL: there is none. */
static const struct regex_node *literal_at(const struct regex_node *branch, uint32_t index)
{
	if (branch->op == REGEX_CONCAT)
		return index < branch->count && is_literal(branch->children[index]) ? branch->children[index] : NULL;
	return !index && is_literal(branch) ? branch : NULL;
}

/* What an alternative has from `index` on; before it everything is a literal. Where it may be empty or begins with a loop, RE2 needs an
 * instruction to get to what others reach too. */
static uint32_t bound_rest(const struct regex_node *branch, uint32_t index)
{
	uint64_t total = 0;
	uint32_t i, extra = branch->is_nullable || branch->has_loop ? 2 : 0;

	/* RE2 makes one class of neighbours that are one byte each, and there both cases of a letter are two ranges. */
	if (branch->op == REGEX_SET && !index)
		return count_ranges(&branch->set);
	if (branch->op == REGEX_CONCAT && index + 1 == branch->count && branch->children[index]->op == REGEX_SET)
		return count_ranges(&branch->children[index]->set) + extra;
	if (branch->op != REGEX_CONCAT)
		return index ? 1 : bounded((uint64_t)bound(branch) + extra);
	for (i = index; i < branch->count; i++)
		total += bound(branch->children[i]);
	return bounded(total + (index == branch->count) + extra);
}

/* Alternatives that agree up to `index`. Neighbours with the same next literal share it, and those that follow it in all of them. */
static uint32_t bound_branches(struct regex_node *const *branches, uint32_t count, uint32_t index)
{
	uint64_t total = 0;
	uint32_t first, next;

	for (first = 0; first < count; first = next) {
		const struct regex_node *literal = literal_at(branches[first], index);
		uint32_t end = index, i;

		for (next = first + 1; literal && next < count; next++) {
			const struct regex_node *other = literal_at(branches[next], index);

			if (!other || !same_literal(literal, other))
				break;
		}
		if (next <= first + 1) {
			next = first + 1;
			total += bound_rest(branches[first], index);
			continue;
		}
		for (; literal; literal = literal_at(branches[first], ++end)) {
			for (i = first + 1; i < next; i++) {
				const struct regex_node *other = literal_at(branches[i], end);

				if (!other || !same_literal(literal, other))
					break;
			}
			if (i < next)
				break;
		}
		total += end - index + bound_branches(branches + first, next - first, end);
	}
	return bounded(total);
}

/* RE2 writes a count out: x{2,4} is xx(x(x)?)?, x{2,} is xx+, and x* is (x+)? if x may be empty. Each way round or past a body costs an
 * instruction, or two where the body may be empty. What begins a loop inside a loop is reached from both, and may be written twice. */
static uint32_t bound_repeat(const struct regex_node *node)
{
	uint64_t body = bound(node->children[0]), copies, ways = node->children[0]->is_nullable ? 2 : 1;

	if (node->max < 0) {
		copies = node->min ? (uint64_t)node->min : 1;
		body *= node->children[0]->has_loop ? 2 : 1;
		ways *= 2;
	} else {
		copies = (uint64_t)node->max;
		ways *= (uint64_t)(node->max - node->min);
	}
	return bounded(copies * body + ways + 1);
}

static uint32_t bound(const struct regex_node *node)
{
	uint64_t total = 0;
	uint32_t i;

	switch ((enum regex_op)node->op) {
	case REGEX_EMPTY:
	case REGEX_ASSERT: return 1;
	case REGEX_SET: return is_literal(node) ? 1 : count_ranges(&node->set);
	case REGEX_CAPTURE: return bounded((uint64_t)bound(node->children[0]) + 2);
	case REGEX_ALTERNATE: return bound_branches(node->children, node->count, 0);
	case REGEX_REPEAT: return bound_repeat(node);
	case REGEX_CONCAT:
		for (i = 0; i < node->count; i++)
			total += bound(node->children[i]);
		return bounded(total);
	}
	return BOUND_MAX;
}

uint32_t regex_bound_program(const struct regex_node *root)
{
	return bound(root) + PROGRAM_BASE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* How large RE2's program for a pattern is at most. Envoy compares what RE2 says with a limit; RE2 counts instructions after it has
 * simplified and flattened. Here every transformation that could only make it smaller is left out. */
#include "regex/ast.h"

/* An instruction each for failing, matching and the `.*?` that RE2 puts before a pattern, and one that joins that to it. */
#define PROGRAM_BASE 4u
/* Far above any limit, and sums of two of them fit. */
#define BOUND_MAX (1u << 30)

static uint32_t bounded(uint64_t count)
{
	return count > BOUND_MAX ? BOUND_MAX : (uint32_t)count;
}

static uint32_t bound(const struct regex_node *node);

/* RE2 needs an instruction to get to what others reach too, as where an alternative may be empty or begins with a loop. And it makes one class
 * of neighbours that are one byte each, in which both cases of a letter are two ranges. */
static uint32_t bound_branches(const struct regex_node *node)
{
	uint64_t total = 0;
	uint32_t i;

	for (i = 0; i < node->count; i++) {
		const struct regex_node *branch = node->children[i];

		total += branch->op == REGEX_SET ? regex_count_ranges(branch) : bound(branch);
		total += branch->is_nullable || branch->has_loop ? 2 : 0;
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
	case REGEX_SET: return regex_is_literal(node) ? 1 : regex_count_ranges(node);
	case REGEX_CAPTURE: return bounded((uint64_t)bound(node->children[0]) + 2);
	case REGEX_ALTERNATE: return bound_branches(node);
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

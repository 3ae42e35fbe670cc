/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the parser: one pattern being read. */
#ifndef WEFT_REGEX_PARSE_H
#define WEFT_REGEX_PARSE_H

#include "regex/ast.h"

/* A group that is open, or the whole pattern. Its nodes lie on the parser's two stacks, above those of the groups around it. */
struct group {
	size_t first_item;        /* of the sequence being read */
	size_t first_branch;      /* of the branches before it */
	size_t at;                /* of its parenthesis */
	uint32_t capture;         /* 0: none */
	uint8_t flags;            /* that come back when it closes */
};

struct node_stack {
	struct regex_node **nodes;
	size_t count, capacity;
};

struct parser {
	const char *text;
	size_t size;
	size_t at;                /* the next byte */
	struct regex *regex;
	struct regex_error *error;
	struct node_stack items;    /* what the open sequences hold */
	struct node_stack branches; /* what alternations hold */
	struct group *groups;
	size_t group_count, group_capacity;
	uint8_t flags;
};

/* What is left, as one byte or none. */
static inline bool parser_has(const struct parser *parser, size_t ahead)
{
	return parser->size - parser->at > ahead;
}

static inline unsigned char parser_byte(const struct parser *parser, size_t ahead)
{
	return (unsigned char)parser->text[parser->at + ahead];
}

/* Always -EINVAL. The bytes at fault are [from, to). */
int parser_fail(struct parser *parser, enum regex_fault fault, size_t from, size_t to);

/* NULL when memory is out. */
struct regex_node *parser_node(struct parser *parser, enum regex_op op);
/* What a node is by its children. -EINVAL when they are too deep. */
int parser_finish(struct parser *parser, struct regex_node *node);
/* The alternation of what `count` alternatives have from `index` on, where all before are literals. */
int regex_factor(struct parser *parser, struct regex_node *const *branches, uint32_t count, uint32_t index, struct regex_node **out);

/* Each reads one thing at parser->at. */
int parse_escaped_byte(struct parser *parser, unsigned char *byte);
int parse_class(struct parser *parser, struct byte_set *set);
/* `\pN`, `\p{Greek}`, `\P...`. */
int parse_unicode_set(struct parser *parser, struct byte_set *set);
/* `(?i)`, `(?:`, `(?P<name>`: *opens says whether a group begins, *captures whether it counts; flags are those inside or from here on. */
int parse_perl_group(struct parser *parser, bool *opens, bool *captures, uint8_t *flags);
/* `{2}`, `{2,}`, `{2,5}`; false (and nothing is read) for anything else, which is literal. */
bool parse_counts(struct parser *parser, int *min, int *max);

#endif

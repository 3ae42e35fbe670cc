/* SPDX-License-Identifier: Apache-2.0 */
/* A YAML (or JSON) document as a tree of nodes with their places. Only this folder uses it. */
#ifndef WEFT_MESH_YAML_TREE_H
#define WEFT_MESH_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "mesh/report.h"

/* A document deeper or larger than this is refused. Aliases count as often as they are used, so a small file can't stand for a huge tree. */
#define YAML_DEPTH_LIMIT 100
#define YAML_NODE_LIMIT  (16u * 1024 * 1024)
#define YAML_SIZE_LIMIT  ((size_t)256 * 1024 * 1024)

enum node_kind { NODE_SCALAR, NODE_SEQUENCE, NODE_MAPPING };

struct yaml_node;

struct yaml_pair {
	const char *key;         /* no NUL inside */
	uint32_t line, column;
	const struct yaml_node *value;
};

struct yaml_node {
	enum node_kind kind;
	bool is_plain;           /* a scalar without quotes: may be a number, a truth value or null */
	uint32_t line, column;   /* from 1 */
	uint32_t height;         /* 1 for a scalar */
	uint32_t weight;         /* nodes in it, aliases counted each time */
	union {
		struct {
			const char *text; /* ends in 0; may hold more of them */
			size_t size;
		} scalar;
		struct {
			const struct yaml_node **items;
			size_t count;
		} sequence;
		struct {
			struct yaml_pair *pairs;
			size_t count;
		} mapping;
	};
};

/* Parses one document into `arena`. Returns 0; -EINVAL with an error in the report; -ENOMEM. An empty document is an empty mapping. */
int yaml_tree_parse(const char *name, const char *text, size_t size, struct arena *arena, const struct yaml_node **out,
		    struct mesh_report *report);

/* NULL when there is no such key. */
const struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key);

/* The node at a path of the model (a.b[3].c[key]), where keys may be written in either style; or the deepest one on the way there. */
const struct yaml_node *yaml_find(const struct yaml_node *node, const char *path);

/* "normalize_path" -> "normalizePath", as proto3 JSON names it; `out` has room for strlen(name) + 1. */
void yaml_json_name(const char *name, char *out);

#endif

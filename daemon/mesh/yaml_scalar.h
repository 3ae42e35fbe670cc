/* SPDX-License-Identifier: Apache-2.0 */
/* What a scalar of YAML says: YAML 1.2's core schema for plain ones, proto3 JSON for what a message field takes. */
#ifndef WEFT_MESH_YAML_SCALAR_H
#define WEFT_MESH_YAML_SCALAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "mesh/yaml_tree.h"

enum scalar_kind { SCALAR_NULL, SCALAR_BOOL, SCALAR_NUMBER, SCALAR_TEXT };

/* By the core schema: a quoted scalar is a text; null, ~, true, 1, 0x1f, 1.5e3, .inf are what they look like; `yes` is a text. */
enum scalar_kind scalar_kind(const struct yaml_node *node);
bool node_is_null(const struct yaml_node *node);

/* Numbers may be quoted, as proto3 JSON has 64-bit ones. -EINVAL: not such a number; -ERANGE: out of the range. */
int scalar_int64(const struct yaml_node *node, int64_t min, int64_t max, int64_t *out);
int scalar_uint64(const struct yaml_node *node, uint64_t max, uint64_t *out);
int scalar_double(const struct yaml_node *node, double *out);
int scalar_bool(const struct yaml_node *node, bool *out);

/* "1.5s" -> 1, 500000000; within +-315,576,000,000 s, up to nine digits after the point. */
int scalar_duration(const struct yaml_node *node, int64_t *seconds, int32_t *nanos);

/* "2026-11-21T23:00:41.5Z", or with +01:00 in place of Z: seconds since 1970 in UTC, up to nine digits after the point, of the years 1 to 9999. */
int scalar_timestamp(const struct yaml_node *node, int64_t *seconds, int32_t *nanos);

/* Standard or URL alphabet, padding optional. */
int scalar_base64(const struct yaml_node *node, struct arena *arena, uint8_t **out, size_t *size);

bool text_is_utf8(const char *text, size_t size);

#endif

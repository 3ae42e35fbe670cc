/* SPDX-License-Identifier: Apache-2.0 */
/* YAML (or JSON) onto protobuf-c messages, by their descriptors alone: the proto3 JSON mapping.
 *
 * - Field names in either style; enums by name or number; durations as "1.5s"; wrappers as bare values; bytes in base64; maps as mappings; Any by
 *   `@type`; Struct and Value as they are; null means not set.
 * - A second member of a oneof, a value of the wrong type or out of range is an error, with its place and path; reading goes on to find more.
 * - An unknown key is an error in weft's own messages (and in a bootstrap's). In a resource it is a warning, unless asked otherwise, and the message keeps the
 *   name as an unknown protobuf field of the number UNKNOWN_NAME_FIELD, so that the model knows that something there was not understood.
 * - An Any of an unknown type keeps its type URL and an empty value, with a warning; as a resource of its own it is an error.
 */
#ifndef WEFT_MESH_YAML_MESSAGE_H
#define WEFT_MESH_YAML_MESSAGE_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "mesh/report.h"
#include "mesh/yaml_tree.h"

#define UNKNOWN_NAME_FIELD 536870911u /* the largest field number there is */

struct yaml_reader {
	const char *file;
	struct arena *arena;          /* owns every message read: do not free them */
	struct mesh_report *report;
	struct strbuf path;
	size_t error_count;
	bool is_strict;               /* an unknown key is an error in every message */
};

/* Returns 0; -EINVAL when there was an error (all are in the report); -ENOMEM. */
int yaml_message_read(struct yaml_reader *reader, const struct yaml_node *node, const ProtobufCMessageDescriptor *descriptor,
		      ProtobufCMessage **out);

/* ---- for the files of this reader ---- */

/* Reports at the node and the current path; returns -EINVAL. */
int reader_error(struct yaml_reader *reader, const struct yaml_node *node, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* "a list", "a mapping", "the number 5", ... for messages */
const char *node_words(const struct yaml_node *node, char *buffer, size_t size);

/* Appends ".name" or "[index]" or "[key]"; gives the size to cut the path back to. */
size_t reader_enter(struct yaml_reader *reader, const char *name);
size_t reader_enter_index(struct yaml_reader *reader, size_t index);
size_t reader_enter_key(struct yaml_reader *reader, const char *key);
void reader_leave(struct yaml_reader *reader, size_t size);

ProtobufCMessage *message_new(struct arena *arena, const ProtobufCMessageDescriptor *descriptor);

/* One value of a field (an item of it, if it is repeated) into `member`. */
int read_value(struct yaml_reader *reader, const struct yaml_node *node, const ProtobufCFieldDescriptor *field, void *member);

/* True for the types with a JSON form of their own. */
bool wellknown_is(const ProtobufCMessageDescriptor *descriptor);
int wellknown_read(struct yaml_reader *reader, const struct yaml_node *node, ProtobufCMessage *message);

/* True when null is a value of the type, not the absence of one. */
bool wellknown_takes_null(const ProtobufCMessageDescriptor *descriptor);

/* The keys of a mapping into the fields of a message; `skip` (may be NULL) is a key that belongs to somebody else. */
int read_fields(struct yaml_reader *reader, const struct yaml_node *node, ProtobufCMessage *message, const char *skip);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Building one resource of the model from its message: where we are in it, what could not be represented, whether it is refused. */
#ifndef WEFT_MESH_BUILD_H
#define WEFT_MESH_BUILD_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/strbuf.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"
#include "mesh/mesh.h"

struct yaml_node;

/* Where a resource was read. For one from the wire: "", NULL, "". */
struct mesh_source {
	const char *file;
	const struct yaml_node *node; /* of the resource */
	const char *path;             /* resources[3] */
};

struct build {
	struct arena *arena;          /* of the resource: the model lives there */
	struct arena *scratch;        /* of the messages: gone when the resource is built */
	struct mesh_report *report;
	const struct mesh_source *source;
	struct strbuf path;           /* from the resource down */
	struct mesh_reasons *reasons; /* of the object being built */
	const char *refused_path;     /* the first refusal; NULL: none */
	const char *refused_text;
	int status;                   /* -ENOMEM sticks: what was built then is thrown away */
};

size_t build_enter(struct build *b, const char *name);
size_t build_enter_index(struct build *b, const char *name, size_t index);
size_t build_enter_key(struct build *b, const char *name, const char *key);
void build_leave(struct build *b, size_t size);

/* Envoy would refuse the resource. Building goes on, to find what else is wrong. */
void build_refuse(struct build *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The model can't represent what the path leads to. */
void build_reason(struct build *b, enum mesh_effect effect, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void build_warn(struct build *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Where what the path leads to stands. */
struct mesh_place build_place(struct build *b);

/* Every field of `message` that is set and not in `known` (NULL ends it), and every unknown one, becomes a reason. */
void build_check_fields(struct build *b, const ProtobufCMessage *message, enum mesh_effect effect, const char *const *known);

/* For each message type the names of the fields that its builder reads, or that touch no traffic. */
#define KNOWN(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Memory of the resource. NULL (or "" for texts) after b->status was set. */
void *build_alloc(struct build *b, size_t count, size_t size);
#define build_new(b, type)      ((type *)build_alloc((b), 1, sizeof(type)))
#define build_array(b, type, n) ((type *)build_alloc((b), (n), sizeof(type)))
const char *build_text(struct build *b, const char *text);
const char *build_lower(struct build *b, const char *text);
struct mesh_texts build_texts(struct build *b, char *const *items, size_t count);

/* The message in an Any, or NULL: of another type, or (refused) broken. */
const ProtobufCMessage *build_unpack(struct build *b, const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *descriptor);

/* Milliseconds, rounded down as Envoy does; `otherwise` when not set. A negative one is refused. */
int64_t build_duration_ms(struct build *b, const char *name, const Google__Protobuf__Duration *duration, int64_t otherwise);

static inline uint32_t uint32_or(const Google__Protobuf__UInt32Value *value, uint32_t otherwise)
{
	return value ? value->value : otherwise;
}

static inline uint64_t uint64_or(const Google__Protobuf__UInt64Value *value, uint64_t otherwise)
{
	return value ? value->value : otherwise;
}

static inline bool bool_or(const Google__Protobuf__BoolValue *value, bool otherwise)
{
	return value ? value->value : otherwise;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/wire.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/varint.h"
#include "mesh/yaml_scalar.h"

static const char *check_message(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t size, unsigned depth);

static const char *check_bytes(const ProtobufCFieldDescriptor *field, const uint8_t *bytes, size_t size, unsigned depth)
{
	if (!field)
		return NULL;
	if (field->type == PROTOBUF_C_TYPE_STRING) {
		if (memchr(bytes, 0, size))
			return "a text holds a zero byte";
		if (!text_is_utf8((const char *)bytes, size))
			return "a text is not UTF-8";
	}
	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		return check_message(field->descriptor, bytes, size, depth + 1);
	return NULL;
}

/* NULL when all is well. */
static const char *check_message(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t size, unsigned depth)
{
	struct cursor c = { bytes, bytes + size };

	if (depth > WIRE_DEPTH_LIMIT)
		return "nested too deeply";
	while (c.at < c.end) {
		const ProtobufCFieldDescriptor *field;
		const uint8_t *start;
		const char *problem;
		uint64_t key, length;

		if (!take_varint(&c, &key) || key > UINT32_MAX || !(key >> 3))
			return "a field number is broken";
		field = protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(key >> 3));
		switch (key & 7) {
		case PROTOBUF_C_WIRE_TYPE_VARINT:
			if (!take_varint(&c, &length))
				return "a number is cut off";
			break;
		case PROTOBUF_C_WIRE_TYPE_64BIT:
			if (!skip_bytes(&c, 8))
				return "a number is cut off";
			break;
		case PROTOBUF_C_WIRE_TYPE_32BIT:
			if (!skip_bytes(&c, 4))
				return "a number is cut off";
			break;
		case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
			if (!take_varint(&c, &length))
				return "a length is broken";
			start = c.at;
			if (!skip_bytes(&c, length))
				return "a field is cut off";
			problem = check_bytes(field, start, (size_t)length, depth);
			if (problem)
				return problem;
			break;
		default:
			return "a wire type is not known";
		}
	}
	return NULL;
}

static void *from_arena(void *arena, size_t size)
{
	return arena_alloc(arena, size);
}

static void to_arena(void *arena, void *pointer)
{
}

int wire_unpack(const ProtobufCMessageDescriptor *descriptor, const void *bytes, size_t size, struct arena *arena,
		ProtobufCMessage **out, const char **problem)
{
	ProtobufCAllocator allocator = { .alloc = from_arena, .free = to_arena, .allocator_data = arena };
	ProtobufCMessage *message;

	*problem = check_message(descriptor, bytes ? bytes : "", size, 0);
	if (*problem)
		return -EBADMSG;
	/* protobuf-c wants a pointer even to nothing */
	message = protobuf_c_message_unpack(descriptor, &allocator, size, bytes ? bytes : (const void *)"");
	if (!message) {
		*problem = "a field has another type than its name says";
		return -EBADMSG;
	}
	*out = message;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of protobuf-c messages through their descriptors: where a value lies, whether it is set. */
#ifndef WEFT_MESH_PROTO_FIELD_H
#define WEFT_MESH_PROTO_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

static inline void *field_member(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	return (uint8_t *)message + field->offset;
}

/* Of a field in a oneof: the number of the member that is set, 0 for none. */
static inline uint32_t *field_case(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	return (uint32_t *)((uint8_t *)message + field->quantifier_offset);
}

/* Of a repeated field. */
static inline size_t field_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	return *(const size_t *)((const uint8_t *)message + field->quantifier_offset);
}

void field_set_items(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, void *items, size_t count);

/* Bytes of one value of the field. */
size_t field_item_size(const ProtobufCFieldDescriptor *field);

/* A map<,> field: repeated entries of key and value. */
bool field_is_map(const ProtobufCFieldDescriptor *field);

/* Set, in proto3's sense: a message that is there, a member of a oneof, a scalar that is not zero, a list with an item. */
bool field_is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

#endif

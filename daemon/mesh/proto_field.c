/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/proto_field.h"

#include <ctype.h>
#include <string.h>

#include "base/assert.h"

size_t field_item_size(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

void field_set_items(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, void *items, size_t count)
{
	weft_assert(field->label == PROTOBUF_C_LABEL_REPEATED);
	*(void **)field_member(message, field) = items;
	*(size_t *)((uint8_t *)message + field->quantifier_offset) = count;
}

/* protoc-c keeps no mark of a map, but protoc names its entry after the field: `labels` has a message LabelsEntry with fields key and value. */
bool field_is_map(const ProtobufCFieldDescriptor *field)
{
	const ProtobufCMessageDescriptor *entry = field->descriptor;
	const char *name, *at;

	if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE || entry->n_fields != 2)
		return false;
	if (strcmp(entry->fields[0].name, "key") != 0 || entry->fields[0].id != 1 || strcmp(entry->fields[1].name, "value") != 0 ||
	    entry->fields[1].id != 2)
		return false;
	name = strrchr(entry->name, '.');
	name = name ? name + 1 : entry->name;
	for (at = field->name; *at; at++) {
		char c = *at;

		if (c == '_')
			continue;
		if (at == field->name || at[-1] == '_')
			c = (char)toupper((unsigned char)c);
		if (*name++ != c)
			return false;
	}
	return strcmp(name, "Entry") == 0;
}

bool field_is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const void *member = field_member(message, field);

	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return field_count(message, field) > 0;
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *field_case(message, field) == field->id;
	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		return *(char *const *)member && **(char *const *)member;
	case PROTOBUF_C_TYPE_MESSAGE:
		return *(void *const *)member != NULL;
	case PROTOBUF_C_TYPE_BYTES:
		return ((const ProtobufCBinaryData *)member)->len > 0;
	case PROTOBUF_C_TYPE_BOOL:
		return *(const protobuf_c_boolean *)member;
	default:
		if (field_item_size(field) == 8)
			return *(const uint64_t *)member != 0;
		return *(const uint32_t *)member != 0;
	}
}

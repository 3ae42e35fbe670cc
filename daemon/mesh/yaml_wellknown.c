/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of google.protobuf that have a JSON form of their own. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"
#include "mesh/registry.h"
#include "mesh/proto_field.h"
#include "mesh/yaml_message.h"
#include "mesh/yaml_scalar.h"

/* A resource of its own: weft's `resources` list. There an unknown type is an error. */
static bool is_resource_item(const struct yaml_reader *reader)
{
	const char *path = strbuf_text(&reader->path);

	return strncmp(path, "resources[", 10) == 0 && path[strlen(path) - 1] == ']' && !strchr(path, '.');
}

static int pack_any(struct yaml_reader *reader, const char *type_url, const ProtobufCMessage *message, Google__Protobuf__Any *any)
{
	any->type_url = (char *)type_url;
	any->value.len = protobuf_c_message_get_packed_size(message);
	any->value.data = arena_alloc(reader->arena, any->value.len);
	if (!any->value.data)
		return -ENOMEM;
	protobuf_c_message_pack(message, any->value.data);
	return 0;
}

static int read_any(struct yaml_reader *reader, const struct yaml_node *node, Google__Protobuf__Any *any)
{
	const ProtobufCMessageDescriptor *descriptor;
	const struct yaml_node *type, *value;
	ProtobufCMessage *message;
	int r;

	if (node->kind != NODE_MAPPING)
		return reader_error(reader, node, "expected a mapping with an \"@type\"");
	type = yaml_get(node, "@type");
	if (!type) {
		if (!node->mapping.count)
			return 0;
		return reader_error(reader, node, "\"@type\" is missing: weft can't know what this is");
	}
	if (type->kind != NODE_SCALAR || !type->scalar.size || strlen(type->scalar.text) != type->scalar.size)
		return reader_error(reader, type, "\"@type\" must be a type URL");

	descriptor = registry_find_url(type->scalar.text);
	if (!descriptor) {
		if (is_resource_item(reader))
			return reader_error(reader, type, "weft knows no resource of type %s", type->scalar.text);
		mesh_report_add(reader->report, MESH_WARNING, reader->file, type->line, type->column, strbuf_text(&reader->path),
				"the type %s is not known to weft", type->scalar.text);
		any->type_url = (char *)type->scalar.text;
		return 0;
	}
	message = message_new(reader->arena, descriptor);
	if (!message)
		return -ENOMEM;
	if (wellknown_is(descriptor)) {
		value = yaml_get(node, "value");
		if (!value || node->mapping.count != 2)
			return reader_error(reader, node, "%s stands under the key `value`, and nothing else beside it", descriptor->name);
		r = wellknown_read(reader, value, message);
	} else {
		r = read_fields(reader, node, message, "@type");
	}
	return r ? r : pack_any(reader, type->scalar.text, message, any);
}

static int read_duration(struct yaml_reader *reader, const struct yaml_node *node, Google__Protobuf__Duration *duration)
{
	int r = scalar_duration(node, &duration->seconds, &duration->nanos);
	char words[64];

	if (r == -ERANGE)
		return reader_error(reader, node, "a duration of more than 10,000 years");
	if (r)
		return reader_error(reader, node, "expected a duration like 1.5s, found %s", node_words(node, words, sizeof(words)));
	return 0;
}

static int read_timestamp(struct yaml_reader *reader, const struct yaml_node *node, Google__Protobuf__Timestamp *timestamp)
{
	char words[64];

	if (scalar_timestamp(node, &timestamp->seconds, &timestamp->nanos))
		return reader_error(reader, node, "expected a time like 2026-11-21T23:00:41.5Z, found %s", node_words(node, words, sizeof(words)));
	return 0;
}

static int read_struct(struct yaml_reader *reader, const struct yaml_node *node, Google__Protobuf__Struct *message);
static int read_value_list(struct yaml_reader *reader, const struct yaml_node *node, Google__Protobuf__ListValue *list);

static int read_any_value(struct yaml_reader *reader, const struct yaml_node *node, Google__Protobuf__Value *value)
{
	bool truth;

	if (node->kind == NODE_MAPPING) {
		value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
		value->struct_value = (void *)message_new(reader->arena, &google__protobuf__struct__descriptor);
		return value->struct_value ? read_struct(reader, node, value->struct_value) : -ENOMEM;
	}
	if (node->kind == NODE_SEQUENCE) {
		value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
		value->list_value = (void *)message_new(reader->arena, &google__protobuf__list_value__descriptor);
		return value->list_value ? read_value_list(reader, node, value->list_value) : -ENOMEM;
	}
	switch (scalar_kind(node)) {
	case SCALAR_NULL:
		value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE;
		return 0;
	case SCALAR_BOOL:
		value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE;
		scalar_bool(node, &truth);
		value->bool_value = truth;
		return 0;
	case SCALAR_NUMBER:
		value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
		if (scalar_double(node, &value->number_value))
			return reader_error(reader, node, "the number is too large");
		return 0;
	default:
		if (strlen(node->scalar.text) != node->scalar.size)
			return reader_error(reader, node, "a text must not hold a zero byte");
		value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
		value->string_value = (char *)node->scalar.text;
		return 0;
	}
}

static int read_struct(struct yaml_reader *reader, const struct yaml_node *node, Google__Protobuf__Struct *message)
{
	size_t count = node->mapping.count;

	if (node->kind != NODE_MAPPING)
		return reader_error(reader, node, "expected a mapping");
	if (!count)
		return 0;
	message->fields = arena_new_array(reader->arena, Google__Protobuf__Struct__FieldsEntry *, count);
	if (!message->fields)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		Google__Protobuf__Struct__FieldsEntry *entry;
		size_t before;
		int r;

		entry = (void *)message_new(reader->arena, &google__protobuf__struct__fields_entry__descriptor);
		if (!entry)
			return -ENOMEM;
		entry->key = (char *)node->mapping.pairs[i].key;
		entry->value = (void *)message_new(reader->arena, &google__protobuf__value__descriptor);
		if (!entry->value)
			return -ENOMEM;
		before = reader_enter_key(reader, entry->key);
		r = read_any_value(reader, node->mapping.pairs[i].value, entry->value);
		reader_leave(reader, before);
		if (r)
			return r;
		message->fields[i] = entry;
	}
	message->n_fields = count;
	return 0;
}

static int read_value_list(struct yaml_reader *reader, const struct yaml_node *node, Google__Protobuf__ListValue *list)
{
	size_t count = node->sequence.count;

	if (node->kind != NODE_SEQUENCE) {
		reader_error(reader, node, "expected a list");
		return -EINVAL;
	}
	if (!count)
		return 0;
	list->values = arena_new_array(reader->arena, Google__Protobuf__Value *, count);
	if (!list->values)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		size_t before = reader_enter_index(reader, i);
		int r;

		list->values[i] = (void *)message_new(reader->arena, &google__protobuf__value__descriptor);
		r = list->values[i] ? read_any_value(reader, node->sequence.items[i], list->values[i]) : -ENOMEM;
		reader_leave(reader, before);
		if (r)
			return r;
	}
	list->n_values = count;
	return 0;
}

static bool is_wrapper(const ProtobufCMessageDescriptor *descriptor)
{
	static const ProtobufCMessageDescriptor *const wrappers[] = {
		&google__protobuf__double_value__descriptor, &google__protobuf__float_value__descriptor,
		&google__protobuf__int64_value__descriptor,  &google__protobuf__uint64_value__descriptor,
		&google__protobuf__int32_value__descriptor,  &google__protobuf__uint32_value__descriptor,
		&google__protobuf__bool_value__descriptor,   &google__protobuf__string_value__descriptor,
		&google__protobuf__bytes_value__descriptor,
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrappers); i++)
		if (wrappers[i] == descriptor)
			return true;
	return false;
}

bool wellknown_is(const ProtobufCMessageDescriptor *descriptor)
{
	return descriptor == &google__protobuf__any__descriptor || descriptor == &google__protobuf__duration__descriptor ||
	       descriptor == &google__protobuf__timestamp__descriptor ||
	       descriptor == &google__protobuf__struct__descriptor || descriptor == &google__protobuf__value__descriptor ||
	       descriptor == &google__protobuf__list_value__descriptor || is_wrapper(descriptor);
}

bool wellknown_takes_null(const ProtobufCMessageDescriptor *descriptor)
{
	return descriptor == &google__protobuf__value__descriptor;
}

int wellknown_read(struct yaml_reader *reader, const struct yaml_node *node, ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;

	if (descriptor == &google__protobuf__any__descriptor)
		return read_any(reader, node, (Google__Protobuf__Any *)message);
	if (descriptor == &google__protobuf__duration__descriptor)
		return read_duration(reader, node, (Google__Protobuf__Duration *)message);
	if (descriptor == &google__protobuf__timestamp__descriptor)
		return read_timestamp(reader, node, (Google__Protobuf__Timestamp *)message);
	if (descriptor == &google__protobuf__struct__descriptor)
		return read_struct(reader, node, (Google__Protobuf__Struct *)message);
	if (descriptor == &google__protobuf__value__descriptor)
		return read_any_value(reader, node, (Google__Protobuf__Value *)message);
	if (descriptor == &google__protobuf__list_value__descriptor)
		return read_value_list(reader, node, (Google__Protobuf__ListValue *)message);
	return read_value(reader, node, &descriptor->fields[0], field_member(message, &descriptor->fields[0]));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/proto_json.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"
#include "mesh/proto_field.h"
#include "mesh/registry.h"
#include "mesh/wire.h"

static json_t *object_of(const ProtobufCMessage *message, json_t *object, struct arena *scratch);

static json_t *base64(const uint8_t *bytes, size_t size, struct arena *scratch)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = arena_alloc(scratch, (size + 2) / 3 * 4 + 1), *at = text;

	for (size_t i = 0; text && i < size; i += 3) {
		uint32_t triple = (uint32_t)bytes[i] << 16 | (i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0) | (i + 2 < size ? bytes[i + 2] : 0);

		*at++ = digits[triple >> 18];
		*at++ = digits[triple >> 12 & 63];
		*at++ = i + 1 < size ? digits[triple >> 6 & 63] : '=';
		*at++ = i + 2 < size ? digits[triple & 63] : '=';
	}
	return text ? json_stringn(text, (size_t)(at - text)) : NULL;
}

/* ---- messages with a form of their own --------------------------------------------------------------------------------------------- */

/* 0, 3, 6 or 9 digits behind the point. */
static const char *fraction(uint32_t nanos, char buffer[16])
{
	if (!nanos)
		buffer[0] = 0;
	else if (nanos % 1000000 == 0)
		snprintf(buffer, 16, ".%03u", nanos / 1000000);
	else if (nanos % 1000 == 0)
		snprintf(buffer, 16, ".%06u", nanos / 1000);
	else
		snprintf(buffer, 16, ".%09u", nanos);
	return buffer;
}

static json_t *duration(const Google__Protobuf__Duration *d)
{
	const bool is_negative = d->seconds < 0 || d->nanos < 0;
	const unsigned long long seconds = is_negative ? 0 - (unsigned long long)d->seconds : (unsigned long long)d->seconds;
	const unsigned nanos = d->nanos < 0 ? 0u - (unsigned)d->nanos : (unsigned)d->nanos;
	char digits[16];

	return json_sprintf("%s%llu%ss", is_negative ? "-" : "", seconds, fraction(nanos, digits));
}

static json_t *timestamp(const Google__Protobuf__Timestamp *t)
{
	time_t seconds = (time_t)t->seconds;
	char text[64], digits[16];
	struct tm utc;

	if (!gmtime_r(&seconds, &utc) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc))
		return json_null();
	return json_sprintf("%s%sZ", text, fraction((uint32_t)t->nanos, digits));
}

static json_t *json_struct(const Google__Protobuf__Struct *message);

static json_t *json_value(const Google__Protobuf__Value *value)
{
	json_t *list;

	switch (value->kind_case) {
	case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
		if (value->number_value > -9e15 && value->number_value < 9e15 && value->number_value == (double)(json_int_t)value->number_value)
			return json_integer((json_int_t)value->number_value);
		return json_real(value->number_value);
	case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
		return json_string(value->string_value);
	case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
		return json_boolean(value->bool_value);
	case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
		return json_struct(value->struct_value);
	case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
		list = json_array();
		for (size_t i = 0; i < value->list_value->n_values; i++)
			json_array_append_new(list, json_value(value->list_value->values[i]));
		return list;
	default:
		return json_null();
	}
}

static json_t *json_struct(const Google__Protobuf__Struct *message)
{
	json_t *object = json_object();

	for (size_t i = 0; i < message->n_fields; i++)
		if (message->fields[i]->value)
			json_object_set_new(object, message->fields[i]->key, json_value(message->fields[i]->value));
	return object;
}

json_t *proto_json_any(const char *type_url, const void *bytes, size_t size, struct arena *scratch)
{
	const ProtobufCMessageDescriptor *descriptor = registry_find_url(type_url);
	json_t *object = json_object(), *inner;
	ProtobufCMessage *message;
	const char *problem;

	json_object_set_new(object, "@type", json_string(type_url));
	if (!descriptor || wire_unpack(descriptor, bytes, size, scratch, &message, &problem)) {
		if (size)
			json_object_set_new(object, "value", base64(bytes, size, scratch));
		return object;
	}
	inner = proto_json(message, scratch);
	if (json_is_object(inner) && descriptor != &google__protobuf__struct__descriptor)
		json_object_update_missing(object, inner);
	else
		json_object_set(object, "value", inner);
	json_decref(inner);
	return object;
}

/* A wrapper is its value. */
static bool is_wrapper(const ProtobufCMessageDescriptor *descriptor)
{
	const size_t size = strlen(descriptor->name);

	return strcmp(descriptor->package_name, "google.protobuf") == 0 && size > 5 && strcmp(descriptor->name + size - 5, "Value") == 0 &&
	       descriptor->n_fields == 1 && strcmp(descriptor->fields[0].name, "value") == 0;
}

/* ---- fields ------------------------------------------------------------------------------------------------------------------------- */

static json_t *scalar(const ProtobufCFieldDescriptor *field, const void *member, struct arena *scratch)
{
	const ProtobufCBinaryData *binary = member;
	const ProtobufCEnumValue *value;

	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return json_integer(*(const int32_t *)member);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_integer(*(const uint32_t *)member);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return json_sprintf("%lld", (long long)*(const int64_t *)member);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return json_sprintf("%llu", (unsigned long long)*(const uint64_t *)member);
	case PROTOBUF_C_TYPE_FLOAT:
		return json_real((double)*(const float *)member);
	case PROTOBUF_C_TYPE_DOUBLE:
		return json_real(*(const double *)member);
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)member);
	case PROTOBUF_C_TYPE_STRING:
		return json_string(*(char *const *)member);
	case PROTOBUF_C_TYPE_BYTES:
		return base64(binary->data, binary->len, scratch);
	case PROTOBUF_C_TYPE_ENUM:
		value = protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)member);
		return value ? json_string(value->name) : json_integer(*(const int *)member);
	default:
		return proto_json(*(ProtobufCMessage *const *)member, scratch);
	}
}

static json_t *map_of(const ProtobufCFieldDescriptor *field, ProtobufCMessage *const *entries, size_t count, struct arena *scratch)
{
	const ProtobufCMessageDescriptor *entry = field->descriptor;
	json_t *object = json_object();

	for (size_t i = 0; i < count; i++) {
		json_t *key = scalar(&entry->fields[0], field_member(entries[i], &entry->fields[0]), scratch);
		const void *value = field_member(entries[i], &entry->fields[1]);

		if (entry->fields[1].type != PROTOBUF_C_TYPE_MESSAGE || *(ProtobufCMessage *const *)value)
			json_object_set_new(object, json_is_string(key) ? json_string_value(key) : "", scalar(&entry->fields[1], value, scratch));
		json_decref(key);
	}
	return object;
}

static json_t *repeated(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, struct arena *scratch)
{
	const uint8_t *items = *(uint8_t *const *)field_member(message, field);
	size_t count = field_count(message, field), size = field_item_size(field);
	json_t *list;

	if (field_is_map(field))
		return map_of(field, (ProtobufCMessage *const *)(const void *)items, count, scratch);
	list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, scalar(field, items + i * size, scratch));
	return list;
}

static json_t *object_of(const ProtobufCMessage *message, json_t *object, struct arena *scratch)
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;

	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];

		if (!field_is_set(message, field))
			continue;
		json_object_set_new(object, field->name,
				    field->label == PROTOBUF_C_LABEL_REPEATED ? repeated(message, field, scratch) :
										scalar(field, field_member(message, field), scratch));
	}
	return object;
}

json_t *proto_json(const ProtobufCMessage *message, struct arena *scratch)
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;
	const Google__Protobuf__Any *any;

	if (descriptor == &google__protobuf__any__descriptor) {
		any = (const Google__Protobuf__Any *)message;
		return proto_json_any(any->type_url, any->value.data, any->value.len, scratch);
	}
	if (descriptor == &google__protobuf__duration__descriptor)
		return duration((const Google__Protobuf__Duration *)message);
	if (descriptor == &google__protobuf__timestamp__descriptor)
		return timestamp((const Google__Protobuf__Timestamp *)message);
	if (descriptor == &google__protobuf__struct__descriptor)
		return json_struct((const Google__Protobuf__Struct *)message);
	if (descriptor == &google__protobuf__value__descriptor)
		return json_value((const Google__Protobuf__Value *)message);
	if (is_wrapper(descriptor))
		return scalar(&descriptor->fields[0], field_member(message, &descriptor->fields[0]), scratch);
	return object_of(message, json_object(), scratch);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/proto_show.h"

#include <inttypes.h>
#include <string.h>

#include "mesh/proto_field.h"

#define SHOWN_BYTES 80 /* of one field */
#define SHOWN_DEPTH 6

struct show {
	struct strbuf *out;
	size_t limit;    /* of out->size */
	unsigned depth;
};

static bool is_full(const struct show *show)
{
	return show->out->size >= show->limit;
}

static void show_message(struct show *show, const ProtobufCMessage *message);

/* Texts come from outside: only printable ASCII is shown. */
static void show_bytes(struct show *show, const uint8_t *bytes, size_t size)
{
	size_t i;

	strbuf_append_byte(show->out, '"');
	for (i = 0; i < size && !is_full(show); i++)
		strbuf_append_byte(show->out, bytes[i] >= 0x20 && bytes[i] < 0x7f ? (char)bytes[i] : '?');
	strbuf_append_byte(show->out, '"');
}

static void show_enum(struct show *show, const ProtobufCFieldDescriptor *field, int32_t number)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(field->descriptor, number);

	if (value)
		strbuf_append_text(show->out, value->name);
	else
		strbuf_printf(show->out, "%" PRId32, number);
}

static void show_value(struct show *show, const ProtobufCFieldDescriptor *field, const void *value)
{
	const ProtobufCBinaryData *bytes = value;
	const char *text;

	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		text = *(char *const *)value;
		show_bytes(show, (const uint8_t *)text, text ? strlen(text) : 0);
		break;
	case PROTOBUF_C_TYPE_BYTES: show_bytes(show, bytes->data, bytes->len); break;
	case PROTOBUF_C_TYPE_MESSAGE: show_message(show, *(ProtobufCMessage *const *)value); break;
	case PROTOBUF_C_TYPE_BOOL: strbuf_append_text(show->out, *(const protobuf_c_boolean *)value ? "true" : "false"); break;
	case PROTOBUF_C_TYPE_ENUM: show_enum(show, field, *(const int32_t *)value); break;
	case PROTOBUF_C_TYPE_FLOAT: strbuf_printf(show->out, "%g", (double)*(const float *)value); break;
	case PROTOBUF_C_TYPE_DOUBLE: strbuf_printf(show->out, "%g", *(const double *)value); break;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32: strbuf_printf(show->out, "%" PRId32, *(const int32_t *)value); break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32: strbuf_printf(show->out, "%" PRIu32, *(const uint32_t *)value); break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64: strbuf_printf(show->out, "%" PRId64, *(const int64_t *)value); break;
	default: strbuf_printf(show->out, "%" PRIu64, *(const uint64_t *)value); break;
	}
}

static void show_field(struct show *show, const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const uint8_t *items;
	size_t i, count;

	if (field->label != PROTOBUF_C_LABEL_REPEATED) {
		show_value(show, field, field_member(message, field));
		return;
	}
	items = *(uint8_t *const *)field_member(message, field);
	count = field_count(message, field);
	strbuf_append_byte(show->out, '[');
	for (i = 0; i < count && !is_full(show); i++) {
		if (i)
			strbuf_append_text(show->out, ", ");
		show_value(show, field, items + i * field_item_size(field));
	}
	strbuf_append_byte(show->out, ']');
}

static void show_message(struct show *show, const ProtobufCMessage *message)
{
	unsigned i, shown = 0;

	if (show->depth == SHOWN_DEPTH) {
		strbuf_append_text(show->out, "{...}");
		return;
	}
	show->depth++;
	strbuf_append_byte(show->out, '{');
	for (i = 0; i < message->descriptor->n_fields && !is_full(show); i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];

		if (!field_is_set(message, field))
			continue;
		strbuf_printf(show->out, "%s%s: ", shown++ ? ", " : "", field->name);
		show_field(show, message, field);
	}
	strbuf_append_byte(show->out, '}');
	show->depth--;
}

void proto_show_field(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, struct strbuf *out)
{
	struct show show = { .out = out, .limit = out->size + SHOWN_BYTES };

	show_field(&show, message, field);
	if (!is_full(&show))
		return;
	strbuf_truncate(out, show.limit);
	strbuf_append_text(out, "...");
}

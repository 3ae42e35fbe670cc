/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/yaml_message.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/cleanup.h"
#include "mesh/proto_field.h"
#include "mesh/yaml_scalar.h"

#define UNKNOWN_NAMES_KEPT 16

int reader_error(struct yaml_reader *reader, const struct yaml_node *node, const char *fmt, ...)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	va_list args;

	va_start(args, fmt);
	strbuf_vprintf(&text, fmt, args);
	va_end(args);
	reader->error_count++;
	mesh_report_add(reader->report, MESH_ERROR, reader->file, node->line, node->column, strbuf_text(&reader->path), "%s", strbuf_text(&text));
	return -EINVAL;
}

const char *node_words(const struct yaml_node *node, char *buffer, size_t size)
{
	static const char *const scalars[] = { "null", "the truth value %.*s", "the number %.*s", "the text \"%.*s\"" };
	enum scalar_kind kind;

	if (node->kind == NODE_SEQUENCE)
		return "a list";
	if (node->kind == NODE_MAPPING)
		return "a mapping";
	kind = scalar_kind(node);
	if (kind == SCALAR_NULL)
		return scalars[SCALAR_NULL];
	snprintf(buffer, size, scalars[kind], node->scalar.size > 40 ? 40 : (int)node->scalar.size, node->scalar.text);
	return buffer;
}

#define EXPECTED(reader, node, what) \
	({ \
		char words_[64]; \
		reader_error((reader), (node), "expected %s, found %s", (what), node_words((node), words_, sizeof(words_))); \
	})

size_t reader_enter(struct yaml_reader *reader, const char *name)
{
	size_t before = reader->path.size;

	strbuf_printf(&reader->path, "%s%s", before ? "." : "", name);
	return before;
}

size_t reader_enter_index(struct yaml_reader *reader, size_t index)
{
	size_t before = reader->path.size;

	strbuf_printf(&reader->path, "[%zu]", index);
	return before;
}

size_t reader_enter_key(struct yaml_reader *reader, const char *key)
{
	size_t before = reader->path.size;

	strbuf_printf(&reader->path, "[%s]", key);
	return before;
}

void reader_leave(struct yaml_reader *reader, size_t size)
{
	strbuf_truncate(&reader->path, size);
}

ProtobufCMessage *message_new(struct arena *arena, const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *message = arena_alloc(arena, descriptor->sizeof_message);

	if (message)
		protobuf_c_message_init(descriptor, message);
	return message;
}

static int read_number(struct yaml_reader *reader, const struct yaml_node *node, const ProtobufCFieldDescriptor *field, void *member)
{
	char what[96];
	int64_t min = 0, max = 0;
	uint64_t umax = 0;
	uint64_t uvalue;
	int64_t value;
	double real;
	int r;

	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		min = INT32_MIN;
		max = INT32_MAX;
		r = scalar_int64(node, min, max, &value);
		if (!r)
			*(int32_t *)member = (int32_t)value;
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		min = INT64_MIN;
		max = INT64_MAX;
		r = scalar_int64(node, min, max, &value);
		if (!r)
			*(int64_t *)member = value;
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		umax = UINT32_MAX;
		r = scalar_uint64(node, umax, &uvalue);
		if (!r)
			*(uint32_t *)member = (uint32_t)uvalue;
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		umax = UINT64_MAX;
		r = scalar_uint64(node, umax, &uvalue);
		if (!r)
			*(uint64_t *)member = uvalue;
		break;
	default: /* float, double */
		r = scalar_double(node, &real);
		if (!r && field->type == PROTOBUF_C_TYPE_FLOAT)
			*(float *)member = (float)real;
		else if (!r)
			*(double *)member = real;
		break;
	}
	if (!r)
		return 0;
	if (umax)
		snprintf(what, sizeof(what), "a whole number from 0 to %" PRIu64, umax);
	else if (max)
		snprintf(what, sizeof(what), "a whole number from %" PRId64 " to %" PRId64, min, max);
	else
		snprintf(what, sizeof(what), "a number");
	return EXPECTED(reader, node, what);
}

static int read_text(struct yaml_reader *reader, const struct yaml_node *node, char **out)
{
	enum scalar_kind kind;

	if (node->kind != NODE_SCALAR)
		return EXPECTED(reader, node, "a text");
	kind = scalar_kind(node);
	if (kind != SCALAR_TEXT)
		return EXPECTED(reader, node, "a text (quotes make it one)");
	if (strlen(node->scalar.text) != node->scalar.size)
		return reader_error(reader, node, "a text must not hold a zero byte");
	*out = (char *)node->scalar.text;
	return 0;
}

static int read_enum(struct yaml_reader *reader, const struct yaml_node *node, const ProtobufCEnumDescriptor *descriptor, int *out)
{
	const ProtobufCEnumValue *value;
	int64_t number;

	if (node->kind != NODE_SCALAR)
		return EXPECTED(reader, node, "the name of an enum value");
	if (scalar_kind(node) == SCALAR_NUMBER && scalar_int64(node, INT32_MIN, INT32_MAX, &number) == 0) {
		*out = (int)number;
		return 0;
	}
	value = protobuf_c_enum_descriptor_get_value_by_name(descriptor, node->scalar.text);
	if (!value || strlen(node->scalar.text) != node->scalar.size) {
		char words[64];

		return reader_error(reader, node, "%s is no value of %s", node_words(node, words, sizeof(words)), descriptor->name);
	}
	*out = value->value;
	return 0;
}

int read_value(struct yaml_reader *reader, const struct yaml_node *node, const ProtobufCFieldDescriptor *field, void *member)
{
	ProtobufCBinaryData *binary;
	bool truth;
	int r;

	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		return read_text(reader, node, member);
	case PROTOBUF_C_TYPE_MESSAGE:
		return yaml_message_read(reader, node, field->descriptor, member);
	case PROTOBUF_C_TYPE_ENUM:
		return read_enum(reader, node, field->descriptor, member);
	case PROTOBUF_C_TYPE_BOOL:
		if (scalar_bool(node, &truth))
			return EXPECTED(reader, node, "true or false");
		*(protobuf_c_boolean *)member = truth;
		return 0;
	case PROTOBUF_C_TYPE_BYTES:
		binary = member;
		r = scalar_base64(node, reader->arena, &binary->data, &binary->len);
		return r == -EINVAL ? EXPECTED(reader, node, "bytes in base64") : r;
	default:
		return read_number(reader, node, field, member);
	}
}

static int read_list(struct yaml_reader *reader, const struct yaml_node *node, const ProtobufCFieldDescriptor *field, ProtobufCMessage *message)
{
	size_t item_size = field_item_size(field);
	uint8_t *items;
	int r, status = 0;

	if (node->kind != NODE_SEQUENCE)
		return EXPECTED(reader, node, "a list");
	if (!node->sequence.count)
		return 0;
	items = arena_array(reader->arena, node->sequence.count, item_size);
	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < node->sequence.count; i++) {
		size_t before = reader_enter_index(reader, i);
		const struct yaml_node *item = node->sequence.items[i];

		if (node_is_null(item) && !(field->type == PROTOBUF_C_TYPE_MESSAGE && wellknown_takes_null(field->descriptor)))
			r = reader_error(reader, item, "an item of a list must not be null");
		else
			r = read_value(reader, item, field, items + i * item_size);
		reader_leave(reader, before);
		if (r == -ENOMEM)
			return r;
		if (r)
			status = r;
	}
	if (status)
		return status;
	field_set_items(message, field, items, node->sequence.count);
	return 0;
}

/* Keys of a map are texts in YAML whatever they are in the message. */
static int read_map_key(struct yaml_reader *reader, const struct yaml_pair *pair, const ProtobufCFieldDescriptor *field, void *member)
{
	struct yaml_node key = { .kind = NODE_SCALAR, .is_plain = field->type == PROTOBUF_C_TYPE_BOOL, .line = pair->line, .column = pair->column };

	key.scalar.text = pair->key;
	key.scalar.size = strlen(pair->key);
	return read_value(reader, &key, field, member);
}

static int read_map(struct yaml_reader *reader, const struct yaml_node *node, const ProtobufCFieldDescriptor *field, ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *entry = field->descriptor;
	const ProtobufCFieldDescriptor *key_field = protobuf_c_message_descriptor_get_field(entry, 1);
	const ProtobufCFieldDescriptor *value_field = protobuf_c_message_descriptor_get_field(entry, 2);
	ProtobufCMessage **entries;
	int r, status = 0;

	if (node->kind != NODE_MAPPING)
		return EXPECTED(reader, node, "a mapping");
	if (!node->mapping.count)
		return 0;
	entries = arena_new_array(reader->arena, ProtobufCMessage *, node->mapping.count);
	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; i < node->mapping.count; i++) {
		const struct yaml_pair *pair = &node->mapping.pairs[i];
		size_t before = reader_enter_key(reader, pair->key);

		entries[i] = message_new(reader->arena, entry);
		if (!entries[i])
			return -ENOMEM;
		r = read_map_key(reader, pair, key_field, field_member(entries[i], key_field));
		if (!r && node_is_null(pair->value) &&
		    !(value_field->type == PROTOBUF_C_TYPE_MESSAGE && wellknown_takes_null(value_field->descriptor)))
			r = reader_error(reader, pair->value, "a value of a map must not be null");
		if (!r)
			r = read_value(reader, pair->value, value_field, field_member(entries[i], value_field));
		reader_leave(reader, before);
		if (r == -ENOMEM)
			return r;
		if (r)
			status = r;
	}
	if (status)
		return status;
	field_set_items(message, field, entries, node->mapping.count);
	return 0;
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *descriptor, const char *key)
{
	const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(descriptor, key);
	char json_name[128];

	if (field)
		return field;
	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		if (strlen(descriptor->fields[i].name) >= sizeof(json_name))
			continue;
		yaml_json_name(descriptor->fields[i].name, json_name);
		if (strcmp(json_name, key) == 0)
			return &descriptor->fields[i];
	}
	return NULL;
}

/* weft's own keys: a slip there must not go unnoticed. */
static bool is_ours(const ProtobufCMessageDescriptor *descriptor)
{
	return strcmp(descriptor->package_name, "weft.config.v1") == 0 || strcmp(descriptor->package_name, "envoy.config.bootstrap.v3") == 0;
}

/* Keeps the name of an unknown key as an unknown field: number UNKNOWN_NAME_FIELD, a length and the bytes. */
static int keep_unknown(struct yaml_reader *reader, ProtobufCMessage *message, const char *key)
{
	size_t size = strlen(key), prefix = 0, count = message->n_unknown_fields;
	ProtobufCMessageUnknownField *fields;
	uint8_t *bytes;

	/* that something was not understood is known by then */
	if (count == UNKNOWN_NAMES_KEPT)
		return 0;
	fields = arena_new_array(reader->arena, ProtobufCMessageUnknownField, count + 1);
	bytes = arena_alloc(reader->arena, size + 10);
	if (!fields || !bytes)
		return -ENOMEM;
	for (size_t rest = size; rest >= 0x80; rest >>= 7)
		bytes[prefix++] = (uint8_t)(rest | 0x80);
	bytes[prefix] = (uint8_t)(size >> (7 * prefix));
	prefix++;
	memcpy(bytes + prefix, key, size);

	if (count)
		memcpy(fields, message->unknown_fields, count * sizeof(*fields));
	fields[count].tag = UNKNOWN_NAME_FIELD;
	fields[count].wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
	fields[count].len = prefix + size;
	fields[count].data = bytes;
	message->unknown_fields = fields;
	message->n_unknown_fields = (unsigned)count + 1;
	return 0;
}

static int on_unknown_key(struct yaml_reader *reader, const struct yaml_pair *pair, ProtobufCMessage *message)
{
	struct yaml_node place = { .line = pair->line, .column = pair->column };

	if (is_ours(message->descriptor))
		return reader_error(reader, &place, "`%s` is not a key weft knows here", pair->key);
	if (reader->is_strict)
		return reader_error(reader, &place, "`%s` is no field of %s that weft knows", pair->key, message->descriptor->name);
	mesh_report_add(reader->report, MESH_WARNING, reader->file, pair->line, pair->column, strbuf_text(&reader->path),
			"`%s` is no field of %s that weft knows", pair->key, message->descriptor->name);
	return keep_unknown(reader, message, pair->key);
}

static int read_field(struct yaml_reader *reader, const struct yaml_pair *pair, const ProtobufCFieldDescriptor *field, ProtobufCMessage *message)
{
	int r;

	if (node_is_null(pair->value) && !(field->type == PROTOBUF_C_TYPE_MESSAGE && field->label != PROTOBUF_C_LABEL_REPEATED &&
					   wellknown_takes_null(field->descriptor)))
		return 0;
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return field_is_map(field) ? read_map(reader, pair->value, field, message) : read_list(reader, pair->value, field, message);
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
		uint32_t *which = field_case(message, field);
		const ProtobufCFieldDescriptor *other = *which ? protobuf_c_message_descriptor_get_field(message->descriptor, *which) : NULL;

		if (other)
			return reader_error(reader, pair->value, "`%s` and `%s` exclude each other", other->name, field->name);
		r = read_value(reader, pair->value, field, field_member(message, field));
		if (!r)
			*which = field->id;
		return r;
	}
	return read_value(reader, pair->value, field, field_member(message, field));
}

int read_fields(struct yaml_reader *reader, const struct yaml_node *node, ProtobufCMessage *message, const char *skip)
{
	int r, status = 0;

	for (size_t i = 0; i < node->mapping.count; i++) {
		const struct yaml_pair *pair = &node->mapping.pairs[i];
		const ProtobufCFieldDescriptor *field;
		size_t before;

		if (skip && strcmp(pair->key, skip) == 0)
			continue;
		field = find_field(message->descriptor, pair->key);
		if (!field) {
			r = on_unknown_key(reader, pair, message);
		} else {
			before = reader_enter(reader, field->name);
			if (strcmp(pair->key, field->name) != 0 && yaml_get(node, field->name))
				r = reader_error(reader, pair->value, "given twice, as `%s` and `%s`", field->name, pair->key);
			else
				r = read_field(reader, pair, field, message);
			reader_leave(reader, before);
		}
		if (r == -ENOMEM)
			return r;
		if (r)
			status = r;
	}
	return status;
}

int yaml_message_read(struct yaml_reader *reader, const struct yaml_node *node, const ProtobufCMessageDescriptor *descriptor,
		      ProtobufCMessage **out)
{
	ProtobufCMessage *message = message_new(reader->arena, descriptor);
	int r;

	if (!message)
		return -ENOMEM;
	if (wellknown_is(descriptor))
		r = wellknown_read(reader, node, message);
	else if (node->kind != NODE_MAPPING)
		r = EXPECTED(reader, node, "a mapping");
	else
		r = read_fields(reader, node, message, NULL);
	if (r)
		return r;
	*out = message;
	return strbuf_status(&reader->path);
}

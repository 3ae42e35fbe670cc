/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/build.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "mesh/proto_field.h"
#include "mesh/proto_show.h"
#include "mesh/registry.h"
#include "mesh/wire.h"
#include "mesh/yaml_message.h"
#include "mesh/yaml_tree.h"

#define DURATION_SECONDS_LIMIT INT64_C(315576000000)

size_t build_enter(struct build *b, const char *name)
{
	size_t before = b->path.size;

	if (before)
		strbuf_append_byte(&b->path, '.');
	strbuf_append_text(&b->path, name);
	return before;
}

size_t build_enter_index(struct build *b, const char *name, size_t index)
{
	char text[24], *at = text + sizeof(text);
	size_t before = build_enter(b, name);

	/* each item of each resource comes through here: printf was a fifth of a push */
	*--at = ']';
	do
		*--at = (char)('0' + index % 10);
	while (index /= 10);
	*--at = '[';
	strbuf_append(&b->path, at, (size_t)(text + sizeof(text) - at));
	return before;
}

size_t build_enter_key(struct build *b, const char *name, const char *key)
{
	size_t before = build_enter(b, name);

	strbuf_printf(&b->path, "[%s]", key);
	return before;
}

void build_leave(struct build *b, size_t size)
{
	if (strbuf_status(&b->path))
		b->status = -ENOMEM;
	if (size <= b->path.size)
		strbuf_truncate(&b->path, size);
}

static void tell(struct build *b, enum mesh_severity severity, const char *text)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	const struct yaml_node *node = NULL;

	if (b->source->node)
		node = yaml_find(b->source->node, strbuf_text(&b->path));
	strbuf_append_text(&path, b->source->path);
	if (path.size && b->path.size)
		strbuf_append_byte(&path, '.');
	strbuf_append_text(&path, strbuf_text(&b->path));
	mesh_report_add(b->report, severity, b->source->file, node ? node->line : 0, node ? node->column : 0, strbuf_text(&path), "%s", text);
}

struct mesh_place build_place(struct build *b)
{
	const struct yaml_node *node = b->source->node ? yaml_find(b->source->node, strbuf_text(&b->path)) : NULL;
	struct mesh_place place = { build_text(b, b->source->file), node ? node->line : 0, node ? node->column : 0 };

	return place;
}

void build_refuse(struct build *b, const char *fmt, ...)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	va_list args;

	va_start(args, fmt);
	strbuf_vprintf(&text, fmt, args);
	va_end(args);
	tell(b, MESH_ERROR, strbuf_text(&text));
	if (b->refused_text)
		return;
	b->refused_path = build_text(b, strbuf_text(&b->path));
	b->refused_text = build_text(b, strbuf_text(&text));
}

static void add_reason(struct build *b, enum mesh_effect effect, const char *text)
{
	struct mesh_reasons *reasons = b->reasons;
	size_t count = reasons->count;

	/* room doubles whenever the count reaches a power of two */
	if ((count & (count - 1)) == 0) {
		struct mesh_reason *items = build_array(b, struct mesh_reason, count ? count * 2 : 1);

		if (!items)
			return;
		if (count)
			memcpy(items, reasons->items, count * sizeof(*items));
		reasons->items = items;
	}
	reasons->items[count].effect = effect;
	reasons->items[count].path = build_text(b, strbuf_text(&b->path));
	reasons->items[count].text = build_text(b, text);
	reasons->count++;
}

void build_reason(struct build *b, enum mesh_effect effect, const char *fmt, ...)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	va_list args;

	va_start(args, fmt);
	strbuf_vprintf(&text, fmt, args);
	va_end(args);
	tell(b, MESH_WARNING, strbuf_text(&text));
	add_reason(b, effect, strbuf_text(&text));
}

void build_warn(struct build *b, const char *fmt, ...)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	va_list args;

	va_start(args, fmt);
	strbuf_vprintf(&text, fmt, args);
	va_end(args);
	tell(b, MESH_WARNING, strbuf_text(&text));
}

static bool is_known(const char *name, const char *const *known)
{
	for (; *known; known++)
		if (**known == *name && strcmp(name, *known) == 0)
			return true;
	return false;
}

/* The YAML reader leaves the names of keys it did not know, and has told of them; the wire has only numbers. */
static void unknown_field(struct build *b, const ProtobufCMessage *message, const ProtobufCMessageUnknownField *field, enum mesh_effect effect)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	size_t prefix = 0;

	if (field->tag != UNKNOWN_NAME_FIELD || field->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
		build_reason(b, effect, "field number %u of %s is not known", field->tag, message->descriptor->name);
		return;
	}
	while (prefix < field->len && (field->data[prefix] & 0x80))
		prefix++;
	prefix++;
	strbuf_printf(&text, "`%.*s` is not known in %s", prefix < field->len ? (int)(field->len - prefix) : 0, field->data + prefix,
		      message->descriptor->name);
	add_reason(b, effect, strbuf_text(&text));
}

void build_check_fields(struct build *b, const ProtobufCMessage *message, enum mesh_effect effect, const char *const *known)
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;

	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];

		if (field_is_set(message, field) && !is_known(field->name, known)) {
			_cleanup_(strbuf_release) struct strbuf value = STRBUF_INIT;
			size_t before = build_enter(b, field->name);

			proto_show_field(message, field, &value);
			build_reason(b, effect, "%s is not supported", strbuf_text(&value));
			build_leave(b, before);
		}
	}
	for (unsigned i = 0; i < message->n_unknown_fields; i++)
		unknown_field(b, message, &message->unknown_fields[i], effect);
}

void *build_alloc(struct build *b, size_t count, size_t size)
{
	void *memory = NULL;

	if (count)
		memory = arena_array(b->arena, count, size);
	if (count && !memory)
		b->status = -ENOMEM;
	return memory;
}

const char *build_text(struct build *b, const char *text)
{
	const char *copy;

	if (!text || !*text)
		return "";
	copy = arena_text(b->arena, text);
	if (!copy) {
		b->status = -ENOMEM;
		return "";
	}
	return copy;
}

const char *build_lower(struct build *b, const char *text)
{
	char *copy = (char *)build_text(b, text);

	/* ASCII only, and never the shared "" */
	for (char *at = copy; *at; at++)
		if (*at >= 'A' && *at <= 'Z')
			*at = (char)(*at - 'A' + 'a');
	return copy;
}

struct mesh_texts build_texts(struct build *b, char *const *items, size_t count)
{
	struct mesh_texts texts = { NULL, 0 };

	texts.items = build_array(b, const char *, count);
	if (!texts.items)
		return texts;
	for (size_t i = 0; i < count; i++)
		texts.items[i] = build_text(b, items[i]);
	texts.count = count;
	return texts;
}

const ProtobufCMessage *build_unpack(struct build *b, const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *message = NULL;
	const char *problem;
	int r;

	if (!any || strcmp(type_url_name(any->type_url), descriptor->name) != 0)
		return NULL;
	r = wire_unpack(descriptor, any->value.data, any->value.len, b->scratch, &message, &problem);
	if (r == -ENOMEM)
		b->status = r;
	else if (r)
		build_refuse(b, "broken %s: %s", descriptor->name, problem);
	return message;
}

int64_t build_duration_ms(struct build *b, const char *name, const Google__Protobuf__Duration *duration, int64_t otherwise)
{
	size_t before;

	if (!duration)
		return otherwise;
	if (duration->seconds >= 0 && duration->seconds <= DURATION_SECONDS_LIMIT && duration->nanos >= 0 && duration->nanos < 1000000000)
		return duration->seconds * 1000 + duration->nanos / 1000000;
	before = build_enter(b, name);
	build_refuse(b, "a duration must be from 0 to %lld seconds", (long long)DURATION_SECONDS_LIMIT);
	build_leave(b, before);
	return otherwise;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The header lines of a message as a list that can be changed, and written out again. Names are compared without case. */
#include "proxy/edit.h"

#include <strings.h>

struct name name_of_text(const char *text)
{
	u32 len = (u32)strlen(text);

	return (struct name){(const u8 *)text, len, weft_name_hash((const u8 *)text, len)};
}

void lines_begin(struct lines *lines, bool is_response)
{
	lines->count = 0;
	lines->used = 0;
	lines->is_response = is_response;
	lines->is_full = false;
}

bool lines_is_of(const struct lines *lines, const struct line *line, const struct name *name)
{
	return line->name_hash == name->hash && line->name_len == name->len &&
	       !strncasecmp((const char *)lines->text + line->name, (const char *)name->text, name->len);
}

static u32 put_text(struct lines *lines, const u8 *bytes, u32 len)
{
	u32 at = lines->used;

	if (len > sizeof(lines->text) - at) {
		lines->is_full = true;
		return 0;
	}
	memcpy(lines->text + at, bytes, len);
	lines->used += len;
	return at;
}

void lines_add(struct lines *lines, const struct name *name, const u8 *value, u32 len, u32 flags)
{
	struct line *line = &lines->items[lines->count];

	if (lines->count == LINES_MAX) {
		lines->is_full = true;
		return;
	}
	line->name = put_text(lines, name->text, name->len);
	line->name_len = name->len;
	line->name_hash = name->hash;
	line->value = put_text(lines, value, len);
	line->value_len = len;
	line->flags = flags;
	if (!lines->is_full)
		lines->count++;
}

const struct line *lines_look(const struct lines *lines, const struct name *name)
{
	for (u32 i = 0; i < lines->count; i++)
		if (lines_is_of(lines, &lines->items[i], name))
			return &lines->items[i];
	return NULL;
}

struct line *lines_find(struct lines *lines, const struct name *name)
{
	return (struct line *)(uintptr_t)lines_look(lines, name);
}

void lines_remove(struct lines *lines, const struct name *name)
{
	u32 kept = 0;

	for (u32 i = 0; i < lines->count; i++)
		if (!lines_is_of(lines, &lines->items[i], name))
			lines->items[kept++] = lines->items[i];
	lines->count = kept;
}

void lines_set(struct lines *lines, const struct name *name, const u8 *value, u32 len)
{
	lines_remove(lines, name);
	lines_add(lines, name, value, len, 0);
}

/* Envoy's header map has one entry for each name that it knows; adding to it makes a list. */
static bool is_joined(const struct lines *lines, const struct name *name)
{
	u8 padded[64] = {0};
	u32 known;

	if (name->len > 32)
		return false;
	memcpy(padded, name->text, name->len);
	known = weft_known_name(padded, name->len, name->hash);
	if (!lines->is_response)
		return known && weft_known_names[known].flags & WEFT_NAME_IS_JOINED;
	return (known && weft_known_names[known].flags & WEFT_NAME_IS_JOINED_BACK) ||
	       (name->len == 8 && !strncasecmp((const char *)padded, "location", 8));
}

void lines_append(struct lines *lines, const struct name *name, const u8 *value, u32 len)
{
	struct line *line = is_joined(lines, name) ? lines_find(lines, name) : NULL;
	u32 at, comma;

	if (!line) {
		lines_add(lines, name, value, len, 0);
		return;
	}
	/* Envoy: what is empty adds no comma. */
	comma = line->value_len && len ? 1 : 0;
	at = put_text(lines, lines->text + line->value, line->value_len);
	put_text(lines, (const u8 *)",", comma);
	put_text(lines, value, len);
	if (lines->is_full)
		return;
	line->value = at;
	line->value_len += comma + len;
	line->flags = 0;
}

/* Of the form "name: value\r\n", any number of them. */
static void add_text(struct lines *lines, const u8 *text, u32 len)
{
	while (len) {
		const u8 *colon = memchr(text, ':', len), *end = memchr(text, '\r', len);
		struct name name;

		weft_assert(colon && end && end - colon >= 2 && end + 2 <= text + len);
		name = (struct name){text, (u32)(colon - text), weft_name_hash(text, (u32)(colon - text))};
		lines_add(lines, &name, colon + 2, (u32)(end - colon - 2), 0);
		len -= (u32)(end + 2 - text);
		text = end + 2;
	}
}

void lines_change(struct lines *lines, const struct weft_response_changes *changes)
{
	bool was_there[WEFT_RESPONSE_CHANGES_MAX];

	for (u32 i = 0; i < changes->count; i++) {
		const struct weft_response_change *item = &changes->items[i];
		const struct name name = {changes->text + item->name, item->name_len, item->name_hash};

		was_there[i] = lines_look(lines, &name) != NULL;
		if (item->action != WEFT_EDIT_ADD_IF_ABSENT)
			lines_remove(lines, &name);
	}
	add_text(lines, changes->text + changes->tail, changes->tail_len);
	for (u32 i = 0; i < changes->count; i++) {
		const struct weft_response_change *item = &changes->items[i];

		if (item->action == (was_there[i] ? WEFT_EDIT_OVERWRITE_IF_EXISTS : WEFT_EDIT_ADD_IF_ABSENT))
			add_text(lines, changes->text + item->line, item->line_len);
	}
}

u32 lines_room(const struct lines *lines)
{
	return lines->used + lines->count * 4;
}

void lines_put(const struct lines *lines, struct buffer *out, bool decorates)
{
	for (u32 i = 0; i < lines->count; i++) {
		const struct line *line = &lines->items[i];

		if (line->flags & LINE_IS_DECORATION && !decorates)
			continue;
		buffer_put(out, lines->text + line->name, line->name_len);
		buffer_put_text(out, ": ");
		buffer_put(out, lines->text + line->value, line->value_len);
		buffer_put_text(out, "\r\n");
	}
}

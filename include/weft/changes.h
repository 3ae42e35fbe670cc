/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A request's head as its route changes it: another path, another Host, lines less and lines more. It is written anew in one pass, beside the
 * client's own, which stays as it is. Lines that nobody changes are copied byte by byte. */
#ifndef WEFT_CHANGES_H
#define WEFT_CHANGES_H

#include "weft/base.h"
#include "weft/conditions.h"
#include "weft/head.h"
#include "weft/image.h"
#include "weft/lookup.h"

#define WEFT_CHANGED_MAX WEFT_KERNEL_HEAD_MAX /* bytes of a changed head: less than that */

/* A head that is being written. What a step leaves for the next stands here (see WEFT_LOOP). */
struct weft_change {
	u8 out[2 * WEFT_CHANGED_MAX]; /* so that masked places and lengths stay inside */
	u64 from;      /* of weft_change_put: an address; a number, since global functions take no pointer to just anything */
	u32 read;      /* bytes of the client's head that are done with */
	u32 written;
	u32 seen;      /* bit set: which of the items' names came */
	u32 is_full;
	weft_ref changes;
	weft_ref host; /* and what else of struct weft_changes the steps ask for */
	u32 count;
	u32 zero;
	u64 names;     /* of weft/canonical.h: bit set of enum weft_name, those of lines that were joined */
};

WEFT_STAGE int weft_change_put(struct weft_change *change, u32 len)
{
	u32 at;

	if (!change)
		return 0;
	at = change->written;
	if (len >= WEFT_CHANGED_MAX || at >= WEFT_CHANGED_MAX || at + len >= WEFT_CHANGED_MAX) {
		change->is_full = 1;
		return 0;
	}
#ifdef __bpf__
	/* Both are below WEFT_CHANGED_MAX, a power of two: the masks only tell the verifier. */
	asm volatile("" : "+r"(at), "+r"(len));
	at &= WEFT_CHANGED_MAX - 1;
	if (bpf_probe_read_kernel(change->out + at, len & (WEFT_CHANGED_MAX - 1), (const void *)change->from))
		change->is_full = 1;
#else
	memcpy(change->out + at, (const void *)(uintptr_t)change->from, len);
#endif
	change->written = at + len;
	return 0;
}

/* The client's own bytes up to `to`. */
WEFT_STAGE int weft_change_keep(struct weft_change *change, const struct weft_head_bytes *bytes, u32 to)
{
	u32 read;

	if (!change || !bytes)
		return 0;
	read = change->read;
	if (to < read || to > WEFT_CHANGED_MAX) {
		change->is_full = 1;
		return 0;
	}
	change->from = (u64)(bytes->data + WEFT_OFFSET(read));
	change->read = to;
	return weft_change_put(change, to - read);
}

WEFT_INLINE void weft_change_literal(struct weft_change *change, const char *text, u32 len)
{
	change->from = (u64)text;
	weft_change_put(change, len);
}

/* A struct weft_text of the image. */
WEFT_STAGE int weft_change_text(struct weft_change *change, const struct weft_route_query *query, weft_ref ref)
{
	struct weft_cursor cursor = {};
	const struct weft_text *text;

	if (!change || !query)
		return 0;
	text = WEFT_OBJECT(weft_text, &query->image, &cursor, ref);
	if (!text) {
		change->is_full = 1;
		return 0;
	}
	change->from = (u64)text->bytes;
	return weft_change_put(change, text->len);
}

/* index < WEFT_FIELDS_MAX, put together of parts whose masks say so: kernel 6.1 forgets what was compared when the compiler spills a value first. */
WEFT_INLINE u32 weft_change_index(u32 index)
{
#ifdef __bpf__
	u32 low = index & 31, high = index & 15;

	_Static_assert(WEFT_FIELDS_MAX == 48, "32 and 16 of them");
	asm volatile("" : "+r"(low), "+r"(high));
	return index & 32 ? 32 + high : low;
#else
	return index;
#endif
}

/* Where the line ends: the next one begins there, or the blank line. */
WEFT_INLINE u32 weft_change_line_end(const struct weft_head *head, u32 index)
{
	u32 next = index + 1;

	return next < head->field_count && next < WEFT_FIELDS_MAX ? head->fields[next].name.off : head->head_len - 2;
}

WEFT_INLINE const struct weft_name_change *weft_change_item(const struct weft_change *change, const struct weft_route_query *query,
							     struct weft_cursor *cursor, u32 item)
{
	return WEFT_OBJECT(weft_name_change, &query->image, cursor,
			   change->changes + sizeof(struct weft_changes) + item * sizeof(struct weft_name_change));
}

/* Line `index` & 0xff, if its name is that of item `index` >> 8. Returns whether it is. */
WEFT_STAGE int weft_change_line(struct weft_change *change, const struct weft_route_query *query, const struct weft_head_bytes *bytes,
				const struct weft_head *head, u32 index)
{
	u32 line = index & 0xff, number = index >> 8, name_len, action;
	const struct weft_name_change *item;
	struct weft_cursor cursor = {};
	const struct weft_field *field;
	const u8 *page;
	weft_ref name;

	if (!change || !query || !bytes || !head || line >= WEFT_FIELDS_MAX || number >= WEFT_CHANGES_MAX)
		return 0;
	field = &head->fields[line];
	item = weft_change_item(change, query, &cursor, number);
	if (!item || item->name_hash != field->name_hash || item->name_len != field->name.len)
		return 0;
	name_len = item->name_len;
	action = item->action;
	name = item->name;
	page = weft_seek(&query->image, &cursor, name);
	if (!page || !weft_text_equals(bytes->data, field->name.off, page, weft_offset(name, sizeof(struct weft_text)), name_len, ~0ull))
		return 0;
	change->seen |= 1u << number;
	if (action == WEFT_EDIT_ADD_IF_ABSENT)
		return 1;
	weft_change_keep(change, bytes, field->name.off);
	change->read = weft_change_line_end(head, line);
	return 1;
}

/* The line of item `number`, if what the client sent asks for it. */
WEFT_STAGE int weft_change_add(struct weft_change *change, const struct weft_route_query *query, u32 number)
{
	const struct weft_name_change *item;
	struct weft_cursor cursor = {};

	if (!change || !query || number >= WEFT_CHANGES_MAX)
		return 0;
	item = weft_change_item(change, query, &cursor, number);
	if (item && item->action == (change->seen >> number & 1 ? WEFT_EDIT_OVERWRITE_IF_EXISTS : WEFT_EDIT_ADD_IF_ABSENT))
		weft_change_text(change, query, item->line);
	return 0;
}

/* The Connection line goes to nobody but weft. */
WEFT_INLINE void weft_change_connection(struct weft_change *change, const struct weft_head_bytes *bytes, const struct weft_head *head)
{
	weft_change_keep(change, bytes, head->connection.off);
	change->read = head->connection.off + head->connection.len;
}

/* Line `index`: Connection, Host, or of a name that may be one of the items'. */
WEFT_STAGE int weft_change_field(struct weft_change *change, const struct weft_route_query *query, const struct weft_head_bytes *bytes,
				 const struct weft_head *head, u32 index)
{
	const struct weft_field *field;
	u32 count, k;

	if (!change || !query || !bytes || !head || index >= WEFT_FIELDS_MAX)
		return 0;
	field = &head->fields[weft_change_index(index)];
	if (head->connection.len && field->name.off == head->connection.off) {
		weft_change_connection(change, bytes, head);
		return 0;
	}
	if (change->host && field->value.off == head->authority.off) {
		weft_change_keep(change, bytes, field->value.off);
		weft_change_text(change, query, change->host);
		change->read += field->value.len;
		return 0;
	}
	count = change->count;
	for (k = 0; k < WEFT_CHANGES_MAX; k++)
		if (k >= count || weft_change_line(change, query, bytes, head, index | k << 8))
			break;
	return 0;
}

/* What of the head is not done with, and what Envoy says to servers when the client says nothing. */
WEFT_INLINE u32 weft_change_end(struct weft_change *change, const struct weft_head_bytes *bytes, const struct weft_head *head)
{
	if (weft_lacks_length(head)) {
		weft_change_keep(change, bytes, head->head_len - 2);
		weft_change_literal(change, "content-length: 0\r\n", 19);
	}
	weft_change_keep(change, bytes, head->head_len);
	return change->is_full ? 0 : change->written;
}

/* Has the head what Envoy changes whatever the route? */
WEFT_INLINE bool weft_changes_always(const struct weft_head *head)
{
	return head->connection.len || weft_lacks_length(head);
}

/* Writes a head of which only that changes. Returns its length, or 0: it would be too long. */
WEFT_STAGE u32 weft_change_always(struct weft_change *change, const struct weft_head_bytes *bytes, const struct weft_head *head)
{
	if (!change || !bytes || !head)
		return 0;
	change->read = 0;
	change->written = 0;
	change->is_full = 0;
	if (head->connection.len)
		weft_change_connection(change, bytes, head);
	return weft_change_end(change, bytes, head);
}

/* Writes the head that `bytes` begin with as struct weft_changes `ref` of the route image wants it. Returns its length, or 0: it would be too
 * long. For heads that weft_head_reason lets pass. */
WEFT_STAGE u32 weft_change_head(struct weft_change *change, const struct weft_route_query *query, const struct weft_head_bytes *bytes,
				const struct weft_head *head, weft_ref ref)
{
	const struct weft_changes *changes;
	struct weft_cursor cursor = {};
	u32 matched, path_flags, count, i, k;
	weft_ref prefix, tail;
	bool has_host;
	u64 names;

	if (!change || !query || !bytes || !head)
		return 0;
	changes = WEFT_OBJECT(weft_changes, &query->image, &cursor, ref);
	if (!changes)
		return 0;
	prefix = changes->prefix;
	has_host = changes->host;
	change->host = changes->host;
	change->count = changes->count;
	names = changes->names;
	tail = changes->tail;
	count = changes->count;
	path_flags = changes->path_flags;
	matched = WEFT_MIN(changes->matched_len, head->path.len);
	change->changes = ref;
	change->read = 0;
	change->written = 0;
	change->seen = 0;
	change->is_full = 0;

	if (prefix) {
		weft_change_keep(change, bytes, head->path.off);
		weft_change_text(change, query, prefix);
		if (path_flags & WEFT_REWRITE_TAKES_SLASH && matched < head->path.len && bytes->data[WEFT_OFFSET(head->path.off + matched)] == '/')
			matched++;
		change->read = head->path.off + matched;
	}
	for (i = 0; i < WEFT_FIELDS_MAX; i++) {
		if (i >= head->field_count)
			break;
		if (has_host || names >> (head->fields[i].name_hash & 63) & 1 || head->fields[i].name.off == head->connection.off)
			weft_change_field(change, query, bytes, head, i);
	}
	weft_change_keep(change, bytes, head->head_len - 2);
	if (tail)
		weft_change_text(change, query, tail);
	for (k = 0; k < WEFT_CHANGES_MAX && k < count; k++)
		weft_change_add(change, query, k);
	return weft_change_end(change, bytes, head);
}

/* ---- responses --------------------------------------------------------------------------------------------------------------------- */

WEFT_STAGE int weft_change_is_named(const struct weft_response_changes *changes, const struct weft_head_bytes *bytes, u32 off, u32 index)
{
	u32 len, name, i;

	if (!changes || !bytes || index >= WEFT_RESPONSE_CHANGES_MAX)
		return 0;
	len = changes->items[index].name_len;
	name = changes->items[index].name;
	for (i = 0; i < WEFT_CHANGE_NAME_MAX; i++) {
		u8 byte = bytes->data[WEFT_OFFSET(off + i)];

		if (i >= len)
			break;
		byte |= byte >= 'A' && byte <= 'Z' ? 0x20 : 0;
		if (byte != changes->text[(name + i) & (WEFT_RESPONSE_TEXT_MAX - 1)])
			return 0;
	}
	return 1;
}

WEFT_STAGE int weft_change_response_text(struct weft_change *change, const struct weft_response_changes *changes, u32 off, u32 len)
{
	if (!change || !changes || off >= WEFT_RESPONSE_TEXT_MAX)
		return 0;
	change->from = (u64)(changes->text + (off & (WEFT_RESPONSE_TEXT_MAX - 1)));
	return weft_change_put(change, WEFT_MIN(len, WEFT_RESPONSE_TEXT_MAX - off));
}

WEFT_STAGE int weft_change_response_line(struct weft_change *change, const struct weft_response_changes *changes, const struct weft_head_bytes *bytes,
					 const struct weft_head *head, u32 index)
{
	const struct weft_field *field;
	u32 k;

	if (!change || !changes || !bytes || !head || index >= WEFT_FIELDS_MAX)
		return 0;
	index = weft_change_index(index);
	field = &head->fields[index];
	for (k = 0; k < WEFT_RESPONSE_CHANGES_MAX; k++) {
		const struct weft_response_change *item = &changes->items[k];

		if (k >= changes->count)
			break;
		if (item->name_hash != field->name_hash || item->name_len != field->name.len || !weft_change_is_named(changes, bytes, field->name.off, k))
			continue;
		change->seen |= 1u << k;
		if (item->action == WEFT_EDIT_ADD_IF_ABSENT)
			break;
		weft_change_keep(change, bytes, field->name.off);
		change->read = weft_change_line_end(head, index);
		break;
	}
	return 0;
}

/* The same for a response. */
WEFT_STAGE u32 weft_change_response(struct weft_change *change, const struct weft_response_changes *changes, const struct weft_head_bytes *bytes,
				    const struct weft_head *head)
{
	u32 i;

	if (!change || !changes || !bytes || !head)
		return 0;
	change->read = 0;
	change->written = 0;
	change->seen = 0;
	change->is_full = 0;
	for (i = 0; i < WEFT_FIELDS_MAX; i++) {
		if (i >= head->field_count)
			break;
		if (changes->names >> (head->fields[i].name_hash & 63) & 1)
			weft_change_response_line(change, changes, bytes, head, i);
	}
	weft_change_keep(change, bytes, head->head_len - 2);
	weft_change_response_text(change, changes, changes->tail, changes->tail_len);
	for (i = 0; i < WEFT_RESPONSE_CHANGES_MAX; i++) {
		if (i < changes->count && changes->items[i].action == (change->seen >> i & 1 ? WEFT_EDIT_OVERWRITE_IF_EXISTS : WEFT_EDIT_ADD_IF_ABSENT))
			weft_change_response_text(change, changes, changes->items[i].line, changes->items[i].line_len);
	}
	weft_change_keep(change, bytes, head->head_len);
	return change->is_full ? 0 : change->written;
}

#endif

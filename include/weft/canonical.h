/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A request's head as Envoy has it before it looks for a route, and as it sends it on: the target without scheme and authority, which become the Host;
 * repeated lines of the names that Envoy joins as one, at the place of the first. Written beside the client's own, and read again: what looks at
 * a head then needs to know of neither. */
#ifndef WEFT_CANONICAL_H
#define WEFT_CANONICAL_H

#include "weft/changes.h"
#include "weft/http1.h"

WEFT_INLINE void weft_canonical_take(struct weft_change *change, const struct weft_head_bytes *bytes, u32 off, u32 len)
{
	change->from = (u64)(bytes->data + WEFT_OFFSET(off));
	weft_change_put(change, len);
}

/* The value of line `index` >> 8, if its name is that of line `index` & 0xff, to which it is added. */
WEFT_STAGE int weft_canonical_join(struct weft_change *change, const struct weft_head_bytes *bytes, const struct weft_head *head, u32 index)
{
	u32 first = index & 0xff, other = index >> 8;
	const struct weft_field *to, *from;

	if (!change || !bytes || !head || first >= WEFT_FIELDS_MAX || other >= WEFT_FIELDS_MAX)
		return 0;
	to = &head->fields[weft_change_index(first)];
	from = &head->fields[weft_change_index(other)];
	if (to->name_hash != from->name_hash || !from->value.len ||
	    weft_known_name(bytes->data + WEFT_OFFSET(to->name.off), to->name.len, to->name_hash) !=
		    weft_known_name(bytes->data + WEFT_OFFSET(from->name.off), from->name.len, from->name_hash))
		return 0;
	if (change->count) /* what is empty adds no comma */
		weft_change_literal(change, ",", 1);
	change->count += from->value.len;
	weft_canonical_take(change, bytes, from->value.off, from->value.len);
	return 0;
}

WEFT_STAGE int weft_canonical_field(struct weft_change *change, const struct weft_head_bytes *bytes, const struct weft_head *head, u32 index)
{
	const struct weft_field *field;
	u32 name, value_end, other;
	u64 bit;

	if (!change || !bytes || !head || index >= WEFT_FIELDS_MAX)
		return 0;
	field = &head->fields[weft_change_index(index)];
	name = weft_known_name(bytes->data + WEFT_OFFSET(field->name.off), field->name.len, field->name_hash);
	bit = 1ull << (name & (WEFT_SEEN_NAMES - 1));
	if (name == WEFT_NAME_HOST) {
		if (!(head->flags & WEFT_HEAD_ABSOLUTE_FORM))
			return 0;
	} else if (!(weft_known_names[name & (WEFT_KNOWN_NAMES - 1)].flags & WEFT_NAME_IS_JOINED)) {
		return 0;
	} else if (!(change->names & bit)) {
		change->names |= bit;
		value_end = field->value.off + field->value.len;
		change->count = field->value.len;
		weft_change_keep(change, bytes, value_end);
		for (other = 0; other < WEFT_FIELDS_MAX; other++) {
			if (other >= head->field_count)
				break;
			if (other > index)
				weft_canonical_join(change, bytes, head, index | other << 8);
		}
		return 0;
	}
	weft_change_keep(change, bytes, field->name.off);
	change->read = weft_change_line_end(head, index);
	return 0;
}

/* Writes the head that `bytes` begin with into change->out. Returns its length, or 0: it would be too long. For heads that weft_head_reason lets
 * pass. */
WEFT_STAGE u32 weft_canonical_write(struct weft_change *change, const struct weft_head_bytes *bytes, const struct weft_head *head)
{
	u32 i;

	if (!change || !bytes || !head)
		return 0;
	change->read = 0;
	change->written = 0;
	change->is_full = 0;
	change->names = 0;
	if (head->flags & WEFT_HEAD_ABSOLUTE_FORM) {
		weft_change_keep(change, bytes, head->target.off);
		if (!head->path.len)
			weft_change_literal(change, "/", 1);
		change->read = head->path.off;
		weft_change_keep(change, bytes, head->field_count ? head->fields[0].name.off : head->head_len - 2);
		weft_change_literal(change, "host: ", 6);
		weft_canonical_take(change, bytes, head->authority.off, head->authority.len);
		weft_change_literal(change, "\r\n", 2);
	}
	for (i = 0; i < WEFT_FIELDS_MAX; i++) {
		if (i >= head->field_count)
			break;
		weft_canonical_field(change, bytes, head, i);
	}
	weft_change_keep(change, bytes, head->head_len);
	return change->is_full ? 0 : change->written;
}

#ifdef __bpf__
/* Puts that head in place of the one in `bytes`, of which nothing follows it any more, and reads it. Returns enum weft_parse. It stays in change->out,
 * too. */
WEFT_STAGE int weft_canonical_read(struct weft_change *change, struct weft_head_bytes *bytes, struct weft_head *head)
{
	u32 len;

	if (!change || !bytes || !head)
		return WEFT_PARSE_BAD;
	len = weft_canonical_write(change, bytes, head);
	if (!len || len > WEFT_KERNEL_HEAD_MAX)
		return WEFT_PARSE_TOO_LARGE;
	asm volatile("" : "+r"(len));
	if (len > WEFT_KERNEL_HEAD_MAX || bpf_probe_read_kernel(bytes->data, len, change->out))
		return WEFT_PARSE_TOO_LARGE;
	return weft_parse_request(bytes, len, head);
}
#endif

#endif

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The usual header lines, quickly: a name of less than 16 letters, digits and hyphens, one space after the colon, a value of ASCII without tabs that
 * ends in no space, CRLF, all of it here. Any other line is weft_parse_field's. What counts here is the number of instructions. Part of the
 * parser; include http1.h. */
#ifndef WEFT_PLAIN_FIELD_H
#define WEFT_PLAIN_FIELD_H

#include "weft/fields.h"

#ifdef __bpf__
#define WEFT_READABLE_PAST WEFT_HEAD_SLACK
#else
#define WEFT_READABLE_PAST 8u
#endif

#define WEFT_BLOCK 64u

/* One bit for each of 64 bytes: a control character, or something else that the usual value does not hold. Of several side by side only the
 * first: CR, and not the LF after it. */
WEFT_INLINE u64 weft_scan_block(const u8 *p)
{
	u64 bits = 0;
	u32 i;

#ifdef __bpf__
#pragma clang loop unroll(full)
#endif
	for (i = 0; i < 8; i++) {
		u64 word = weft_load8(p + 8 * i);
		u64 flags = ((word - WEFT_EACH(0x20)) | (word + WEFT_ONES)) & WEFT_HIGHS;

		bits |= weft_flag_bits(flags) << (8 * i);
	}
	return bits & ~(bits << 1);
}

struct weft_plain_lines {
	const struct weft_head_bytes *bytes;
	struct weft_parser *parser;
	struct weft_head *head;
	int result; /* as of weft_parse_plain_fields */
};

/* The next line, or the next block where the line does not end in this one. Returns 0 to go on, else lines->result says why not. */
WEFT_INLINE long weft_plain_line(struct weft_plain_lines *lines)
{
	struct weft_parser *parser = lines->parser;
	struct weft_head *head = lines->head;
	const u8 *p = lines->bytes->data;
	u32 start = parser->pos, len = parser->len, block = parser->block, name_len, begin, end, edge, hash, name, flags, count;
	u64 stops = parser->stops, first, second, colons, more_colons, through, through_second, no_colon;
	const struct weft_known_name *known;
	struct weft_field *field;

	/* where the line ends: the next stop, in this block of bytes or in another */
	if (!stops) {
		block = WEFT_PLACE(block + WEFT_BLOCK);
		if (block + WEFT_BLOCK > len + WEFT_READABLE_PAST)
			return 1;
		block = WEFT_OFFSET(block);
		stops = weft_scan_block(p + block);
		if (block < start)
			stops &= ~0ull << ((start - block) & (WEFT_BLOCK - 1));
		parser->block = block;
		parser->stops = stops;
		if (!stops)
			return 0;
	}
	end = block + weft_lowest_bit(stops);
	if (end + 2 > len)
		return 1;
	end = WEFT_OFFSET(end);
	if (weft_load2(p + end) != ('\r' | '\n' << 8))
		return 1;
	start = WEFT_OFFSET(start);
	if (end == start) {
		head->head_len = end + 2;
		lines->result = WEFT_PARSE_DONE;
		return 1;
	}

	/* The name and its colon, in lower case. The line begins with no control character, and so holds none: nothing else becomes a letter, a
	 * digit or a hyphen. */
	if (start + 8 > len)
		return 1;
	first = weft_load8(p + start);
	if ((u8)first <= ' ')
		return 1;
	first |= WEFT_EACH(0x20);
	second = weft_load8(p + start + 8) | WEFT_EACH(0x20);
	colons = weft_zero_bytes(first ^ WEFT_EACH(':'));
	more_colons = weft_zero_bytes(second ^ WEFT_EACH(':'));
	if (!(colons | more_colons))
		return 1;
	no_colon = ((colons | -colons) >> 63) - 1; /* all bits if the first word has none, without a branch */
	through = weft_through(colons);
	through_second = weft_through(more_colons) & no_colon;
	first &= through;
	second &= through_second;
	hash = weft_name_hash_finish(weft_name_hash_step(weft_name_hash_step(0, first, 0), second, 1));
	name = weft_name_slots[WEFT_NAME_SLOT(hash)] & (WEFT_KNOWN_NAMES - 1);
	known = &weft_known_names[name];
	name_len = known->len;
	flags = known->flags;
	if (first != weft_load8(known->text) || second != weft_load8(known->text + 8)) {
		through = weft_before(colons);
		through_second = weft_before(more_colons) & no_colon;
		if (!through || (weft_not_plain(first) & through) || (weft_not_plain(second) & through_second))
			return 1;
		if (first == WEFT_TEXT8('x', '-', 'e', 'n', 'v', 'o', 'y', '-'))
			head->flags |= WEFT_HEAD_PRIVATE;
		name_len = weft_count_before(through) + weft_count_before(through_second);
		flags = 0;
	}

	/* the value: " x...x" */
	begin = start + name_len + 2;
	edge = weft_load2(p + WEFT_OFFSET(begin - 1));
	if ((edge & 0xff) != ' ' || edge < ('!' << 8) || p[WEFT_OFFSET(end - 1)] == ' ')
		return 1;
#ifndef __bpf__
	/* a response's line may be folded */
	if (weft_repairs(parser) && (end + 2 >= len || weft_is_blank(p[end + 2])))
		return 1;
#endif
	count = head->field_count;
	if (count >= WEFT_FIELDS_MAX)
		return 1;
	field = &head->fields[count];
	field->name_hash = hash;
	field->name.off = start;
	field->name.len = name_len;
	field->value.off = begin;
	field->value.len = end - begin;
	head->field_count = count + 1;
	parser->pos = end + 2;
	parser->stops = stops & (stops - 1);

	if (!(flags & WEFT_NAME_IS_SPECIAL)) {
		if (!flags)
			return 0;
		weft_note_flags(parser, head, name, flags);
		if (name == WEFT_NAME_CONTENT_TYPE)
			weft_note_content_type(head, p + WEFT_OFFSET(begin), end - begin);
		return 0;
	}
	/* what nearly every request has costs no way out of here and back */
	if (name == WEFT_NAME_HOST && !(parser->seen & 1ull << WEFT_NAME_HOST)) {
		weft_note_flags(parser, head, name, flags);
		parser->host_line = count + 1;
		return 0;
	}
	if (name == WEFT_NAME_CONNECTION && weft_is_keep_alive(p + WEFT_OFFSET(begin), end - begin)) {
		weft_note_flags(parser, head, name, flags);
		parser->connection_line = count + 1;
		head->flags |= WEFT_HEAD_KEEP_ALIVE;
		parser->tokens++;
		return 0;
	}
	lines->result = -(int)name;
	return 1;
}

/* A call costs as much as many instructions where returns are guarded (AMD's Safe RET): several lines a step. */
#define WEFT_LINES_A_STEP 8u

WEFT_STEP weft_plain_lines_step(u32 index, void *context)
{
	u32 i;

	WEFT_ROLLED
	for (i = 0; i < WEFT_LINES_A_STEP; i++)
		if (weft_plain_line(context))
			return 1;
	return 0;
}


/* The next line is read anew, from parser->pos on. */
WEFT_INLINE void weft_plain_fields_from(struct weft_parser *parser)
{
	parser->block = (parser->pos & ~(WEFT_BLOCK - 1)) - WEFT_BLOCK;
	parser->stops = 0;
}

/* Reads lines from parser->pos on. Returns WEFT_PARSE_DONE after the blank line; WEFT_PARSE_NEXT: the line at parser->pos is another one; -N: the
 * line before it has the name N, whose value means something: weft_note_name. (Not from in here: kernels allow little stack.) */
WEFT_STAGE int weft_parse_plain_fields(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head)
{
	struct weft_plain_lines lines = {.bytes = bytes, .parser = parser, .head = head, .result = WEFT_PARSE_NEXT};

	if (!bytes || !parser || !head)
		return WEFT_PARSE_NEXT;
	WEFT_LOOP((WEFT_FIELDS_MAX + WEFT_HEAD_MAX / WEFT_BLOCK) / WEFT_LINES_A_STEP + 1, weft_plain_lines_step, &lines);
	return lines.result;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Header lines of requests and responses: one call reads one line. Part of the parser; include http1.h. */
#ifndef WEFT_FIELDS_H
#define WEFT_FIELDS_H

#include "weft/base.h"
#include "weft/bytes.h"
#include "weft/head.h"
#include "weft/names.h"

/* What the stages of one parse share. */
struct weft_parser {
	u64 seen;   /* bit set of enum weft_name */
	u64 hash;   /* of the name that weft_parse_long_name read */
	u64 stops;  /* ends of lines in the 64 bytes at `block` (weft_scan_block), those that were not passed yet */
	u32 block;
	u32 pos;    /* where the next line begins */
	u32 len;    /* bytes present */
	u32 facts;  /* WEFT_PARSER_* */
	u32 tokens; /* names in Connection lines */
	u32 host_line; /* one more than the index of a Host line that weft_plain_line left to be judged; 0: none */
	u32 connection_line; /* likewise of the last Connection line */
	u32 name_len;
	u32 value;  /* where the value that is being read begins */

	/* of a target, as it is read byte by byte */
	u32 path_end;  /* 0: not found yet */
	u32 fragment;  /* 1: after a # */
	u32 segment;   /* bytes of the current segment: 0, 1 `.`, 2 `..`, 3 anything else */
	u32 state;     /* enum weft_authority_state */
	u32 host;      /* where the host begins: after a userinfo */
	u32 colon;     /* before the port; 0: none */
	u32 port;
	u32 bad;       /* no host */
	u32 bad_user;  /* no userinfo */
	u32 user;      /* an @ came */
};

#define WEFT_PARSER_RESPONSE 0x01u
#define WEFT_PARSER_CODING_OTHER 0x02u         /* Transfer-Encoding is not a single chunked */
#define WEFT_PARSER_CODING 0x04u
#define WEFT_PARSER_CONNECTION_FORBIDDEN 0x08u /* Connection names what it must not */
#define WEFT_PARSER_CONNECTION_HOST 0x800u /* ... or host */
#define WEFT_PARSER_WEBSOCKET 0x10u
#define WEFT_PARSER_UPGRADE_OTHER 0x20u
#define WEFT_PARSER_NEEDS_CONTENT_TYPE 0x40u   /* method QUERY */
#define WEFT_PARSER_AUTHORITY 0x80u            /* the target holds it: Host is ignored, even a faulty one */
#define WEFT_PARSER_SECURE 0x100u              /* the target is https:// */

#define WEFT_CONNECTION_NAMES_MAX 9u /* Envoy refuses 10 */
#define WEFT_LENGTH_DIGITS_MAX 64u

/* Beside enum weft_parse: the line is complete, go on. */
#define WEFT_PARSE_NEXT 0x100

/* Envoy repairs bare LF, folded lines and bare CR in responses; weft's proxy does as well. The kernel hands such up. */
#ifdef __bpf__
#define weft_repairs(parser) 0
#else
#define weft_repairs(parser) ((parser)->facts & WEFT_PARSER_RESPONSE)
#endif

WEFT_INLINE int weft_bad(struct weft_head *head, u8 error)
{
	head->error = error;
	return WEFT_PARSE_BAD;
}

/* Sets of bytes below 0x80, as two words of bits. */
#define WEFT_BIT(byte) (1ull << ((byte) & 63))
#define WEFT_DIGIT_BITS 0x03ff000000000000ull
#define WEFT_LETTER_BITS 0x07fffffe07fffffeull
#define WEFT_TOKEN_LOW \
	(WEFT_DIGIT_BITS | WEFT_BIT('!') | WEFT_BIT('#') | WEFT_BIT('$') | WEFT_BIT('%') | WEFT_BIT('&') | WEFT_BIT('\'') | \
	 WEFT_BIT('*') | WEFT_BIT('+') | WEFT_BIT('-') | WEFT_BIT('.'))
#define WEFT_TOKEN_HIGH \
	(WEFT_LETTER_BITS | WEFT_BIT('^') | WEFT_BIT('_') | WEFT_BIT('`') | WEFT_BIT('|') | WEFT_BIT('~'))
/* RFC 3986 authority: unreserved, %, sub-delims, : @ [ ] */
#define WEFT_HOST_LOW \
	(WEFT_DIGIT_BITS | WEFT_BIT('!') | WEFT_BIT('$') | WEFT_BIT('%') | WEFT_BIT('&') | WEFT_BIT('\'') | WEFT_BIT('(') | \
	 WEFT_BIT(')') | WEFT_BIT('*') | WEFT_BIT('+') | WEFT_BIT(',') | WEFT_BIT('-') | WEFT_BIT('.') | WEFT_BIT(':') | \
	 WEFT_BIT(';') | WEFT_BIT('='))
#define WEFT_HOST_HIGH \
	(WEFT_LETTER_BITS | WEFT_BIT('@') | WEFT_BIT('[') | WEFT_BIT(']') | WEFT_BIT('_') | WEFT_BIT('~'))

WEFT_INLINE bool weft_in_set(u8 byte, u64 low, u64 high)
{
	u64 set = byte < 0x40 ? low : byte < 0x80 ? high : 0;

	return (set >> (byte & 63)) & 1;
}

WEFT_INLINE bool weft_is_blank(u8 byte)
{
	return byte == ' ' || byte == '\t';
}

/* Eight characters as a word, and the comparison of a text with lower-case words: setting bit 0x20 is exact, because the text
 * holds no control characters but tab. */
#define WEFT_TEXT8(a, b, c, d, e, f, g, h) \
	((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24 | (u64)(e) << 32 | (u64)(f) << 40 | (u64)(g) << 48 | (u64)(h) << 56)

#define WEFT_TEXT4(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

WEFT_INLINE bool weft_text_is(const u8 *text, u32 len, u64 first, u64 second, u32 expected_len)
{
	u64 a, b;

	if (len != expected_len)
		return false;
	a = (weft_load8(text) | WEFT_EACH(0x20)) & weft_first_bytes(expected_len);
	b = expected_len > 8 ? (weft_load8(text + 8) | WEFT_EACH(0x20)) & weft_first_bytes(expected_len - 8) : 0;
	return a == first && b == second;
}

#define weft_is_close(text, len) weft_text_is(text, len, WEFT_TEXT8('c', 'l', 'o', 's', 'e', 0, 0, 0), 0, 5)
#define weft_is_keep_alive(text, len) \
	weft_text_is(text, len, WEFT_TEXT8('k', 'e', 'e', 'p', '-', 'a', 'l', 'i'), WEFT_TEXT8('v', 'e', 0, 0, 0, 0, 0, 0), 10)
#define weft_is_upgrade(text, len) weft_text_is(text, len, WEFT_TEXT8('u', 'p', 'g', 'r', 'a', 'd', 'e', 0), 0, 7)
#define weft_is_host(text, len) weft_text_is(text, len, WEFT_TEXT8('h', 'o', 's', 't', 0, 0, 0, 0), 0, 4)
#define weft_is_chunked(text, len) weft_text_is(text, len, WEFT_TEXT8('c', 'h', 'u', 'n', 'k', 'e', 'd', 0), 0, 7)
#define weft_is_websocket(text, len) \
	weft_text_is(text, len, WEFT_TEXT8('w', 'e', 'b', 's', 'o', 'c', 'k', 'e'), WEFT_TEXT8('t', 0, 0, 0, 0, 0, 0, 0), 9)
#define weft_is_100_continue(text, len) \
	weft_text_is(text, len, WEFT_TEXT8('1', '0', '0', '-', 'c', 'o', 'n', 't'), WEFT_TEXT8('i', 'n', 'u', 'e', 0, 0, 0, 0), 12)

/* A false flag (see weft_zero_bytes; and above 0xff) is looked at and passed. */
WEFT_STAGE u32 weft_text_end_soon(const struct weft_head_bytes *bytes, u32 at, u32 len)
{
	const u8 *p;
	u32 i;

	if (!bytes)
		return len;
	p = bytes->data;

	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_TURNS); i++) {
		u64 word, flags;
		u8 byte;

		if (at >= len)
			return at;
		at = WEFT_OFFSET(at);
		word = weft_load8(p + at);
		flags = ((word - WEFT_EACH(0x20)) | (word + WEFT_ONES)) & ~word & WEFT_HIGHS;
		if (!flags) {
			at = WEFT_PLACE(at + 8);
			continue;
		}
		at += weft_count_before(weft_before(flags));
		if (at >= len)
			return at;
		byte = p[WEFT_OFFSET(at)];
		if (byte != '\t' && (byte < 0x20 || byte == 0x7f))
			return at;
		at = WEFT_PLACE(at + 1);
	}
	return at | WEFT_TURNS_UP;
}

/* The first byte from `at` on that is a control character other than tab, or something >= len where there is none. */
WEFT_STAGE u32 weft_text_end(const struct weft_head_bytes *bytes, u32 at, u32 len)
{
	u32 i;

	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_KERNEL_HEAD_MAX / 8 / WEFT_TURNS); i++) {
		at = weft_text_end_soon(bytes, at, len);
		if (!(at & WEFT_TURNS_UP))
			return at;
		at &= ~WEFT_TURNS_UP;
	}
	return len; /* only in the kernel, when tabs make more steps than words: reads as not complete, and goes to the proxy */
}

/* ---- white space -------------------------------------------------------------------------------------------------------- */

struct weft_blanks {
	const u8 *p;
	u32 begin;
	u32 end;
	u32 found;
	u32 repairs; /* CR and LF count as blank: a folded value may begin or end with them */
};

WEFT_INLINE bool weft_blanks_has(const struct weft_blanks *blanks, u8 byte)
{
	return weft_is_blank(byte) || (blanks->repairs && (byte == '\r' || byte == '\n'));
}

WEFT_STEP weft_blanks_skip_step(u32 index, void *context)
{
	struct weft_blanks *blanks = context;
	u32 at = blanks->begin + index;

	if (at < blanks->end && weft_blanks_has(blanks, blanks->p[WEFT_OFFSET(at)]))
		return 0;
	blanks->found = at;
	return 1;
}

WEFT_STEP weft_blanks_trim_step(u32 index, void *context)
{
	struct weft_blanks *blanks = context;
	u32 end = blanks->end - index;

	if (end > blanks->begin && weft_blanks_has(blanks, blanks->p[WEFT_OFFSET(end - 1)]))
		return 0;
	blanks->found = end;
	return 1;
}

/* The first byte in [at, end) that is not blank, or end. */
WEFT_STAGE u32 weft_skip_blanks(const struct weft_head_bytes *bytes, u32 at, u32 end, u32 repairs)
{
	struct weft_blanks blanks = {.begin = at, .end = end, .found = end, .repairs = repairs};

	if (!bytes || at >= end)
		return end;
	blanks.p = bytes->data;
	WEFT_LOOP(WEFT_HEAD_MAX + 1, weft_blanks_skip_step, &blanks);
	return blanks.found;
}

/* The end of [at, end) without trailing blanks. */
WEFT_STAGE u32 weft_trim_blanks(const struct weft_head_bytes *bytes, u32 at, u32 end, u32 repairs)
{
	struct weft_blanks blanks = {.begin = at, .end = end, .found = at, .repairs = repairs};

	if (!bytes || at >= end)
		return end;
	blanks.p = bytes->data;
	WEFT_LOOP(WEFT_HEAD_MAX + 1, weft_blanks_trim_step, &blanks);
	return blanks.found;
}

/* ---- names -------------------------------------------------------------------------------------------------------------- */

/* High bits of the bytes that are not letters, digits or hyphens: a cheap subset of token characters. */
WEFT_INLINE u64 weft_not_plain(u64 word)
{
	u64 letters = weft_bytes_between(word | WEFT_EACH(0x20), 'a', 'z');
	u64 digits = weft_bytes_between(word, '0', '9');
	u64 hyphens = weft_equal_bytes(word, '-');

	return (~(letters | digits | hyphens) | word) & WEFT_HIGHS;
}

struct weft_name_scan {
	const u8 *p;
	u64 word;
	u64 hash;
	u32 begin;
	u32 len;
	u32 name_len;
	u32 stop; /* enum weft_name_stop */
};

enum weft_name_stop { WEFT_NAME_STOP_NONE, WEFT_NAME_STOP_COLON, WEFT_NAME_STOP_BAD };

WEFT_STEP weft_name_scan_step(u32 index, void *context)
{
	struct weft_name_scan *scan = context;
	u32 at = scan->begin + index;
	u8 byte;

	if (at >= scan->len)
		return 1;
	byte = scan->p[WEFT_OFFSET(at)];
	if (!weft_in_set(byte, WEFT_TOKEN_LOW, WEFT_TOKEN_HIGH)) {
		scan->word |= (u64)':' << (8 * (index & 7));
		scan->hash = weft_name_hash_step(scan->hash, scan->word, index >> 3);
		scan->name_len = index;
		scan->stop = byte == ':' ? WEFT_NAME_STOP_COLON : WEFT_NAME_STOP_BAD;
		return 1;
	}
	scan->word |= (u64)(byte | 0x20) << (8 * (index & 7));
	if ((index & 7) == 7) {
		scan->hash = weft_name_hash_step(scan->hash, scan->word, index >> 3);
		scan->word = 0;
	}
	return 0;
}

/* Any name, byte by byte, from parser->pos: those that are long, unusual, faulty or not complete. Returns the name's length with its
 * hash in parser->hash, or -enum weft_parse. */
WEFT_STAGE int weft_parse_long_name(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head)
{
	struct weft_name_scan scan = {};
	u8 byte;

	if (!bytes || !parser || !head)
		return -WEFT_PARSE_BAD;
	scan.p = bytes->data;
	scan.begin = parser->pos;
	scan.len = parser->len;
	WEFT_LOOP(WEFT_HEAD_MAX, weft_name_scan_step, &scan);
	if (scan.stop == WEFT_NAME_STOP_NONE)
		return -WEFT_PARSE_MORE;
	if (scan.stop == WEFT_NAME_STOP_COLON && scan.name_len) {
		parser->hash = scan.hash;
		return scan.name_len;
	}
	byte = bytes->data[WEFT_OFFSET(scan.begin)];
	if (!scan.name_len && weft_is_blank(byte) && head->field_count)
		return -weft_bad(head, WEFT_ERROR_FOLD);
	if (!scan.name_len && byte == '\n')
		return -weft_bad(head, WEFT_ERROR_LINE_END);
	return -weft_bad(head, WEFT_ERROR_NAME);
}

/* ---- values with a meaning ---------------------------------------------------------------------------------------------- */

struct weft_host_scan {
	const u8 *p;
	u32 begin;
	u32 len;
	u32 host_len; /* to the last colon after the last bracket, or all */
	u32 bad;
};

WEFT_STEP weft_host_scan_step(u32 index, void *context)
{
	struct weft_host_scan *scan = context;
	u8 byte;

	if (index >= scan->len)
		return 1;
	byte = scan->p[WEFT_OFFSET(scan->begin + index)];
	if (!weft_in_set(byte, WEFT_HOST_LOW, WEFT_HOST_HIGH)) {
		scan->bad = 1;
		return 1;
	}
	if (byte == ':')
		scan->host_len = index;
	else if (byte == ']')
		scan->host_len = scan->len;
	return 0;
}

/* Checks the authority of `len` bytes at `off`; returns its length without the port (what follows the last colon, whatever that
 * is: Envoy), or -1: 400. Those of the usual form are hashed on the way. */
WEFT_STAGE int weft_parse_host(const struct weft_head_bytes *bytes, u32 off, u32 len, struct weft_head *head)
{
	struct weft_host_scan scan = {};
	u64 h = 0;
	u32 i;

	if (!bytes || !head)
		return -1;
	/* letters, digits, . - _ and perhaps a port of digits */
	for (i = 0; i < 64; i += 8) {
		u64 word, plain, other, before;
		u32 at, rest;

		if (i >= len) {
			head->host_hash = weft_host_hash_finish(h, len);
			return len;
		}
		word = weft_load8(bytes->data + WEFT_OFFSET(off) + i);
		plain = weft_bytes_between(word | WEFT_EACH(0x20), 'a', 'z') | weft_bytes_between(word, '0', '9') |
			weft_bytes_between(word, '-', '.') | weft_equal_bytes(word, '_');
		other = (~plain | word) & WEFT_HIGHS & weft_first_bytes(len - i);
		if (!other) {
			h = weft_host_hash_step(h, (word | WEFT_EACH(0x20)) & weft_first_bytes(len - i));
			continue;
		}
		before = weft_before(other);
		at = i + weft_count_before(before);
		if (bytes->data[WEFT_OFFSET(off + at)] != ':')
			break;
		if (before)
			h = weft_host_hash_step(h, (word | WEFT_EACH(0x20)) & before);
		rest = len - at - 1;
		if (rest > 8)
			break;
		word = weft_load8(bytes->data + WEFT_OFFSET(off + at + 1));
		other = (~weft_bytes_between(word, '0', '9') | word) & WEFT_HIGHS & weft_first_bytes(rest);
		if (other)
			break;
		head->host_hash = weft_host_hash_finish(h, at);
		return at;
	}
	scan.p = bytes->data;
	scan.begin = off;
	scan.len = scan.host_len = len;
	WEFT_LOOP(WEFT_HEAD_MAX, weft_host_scan_step, &scan);
	return scan.bad ? -1 : (int)scan.host_len;
}

/* Content-Length is 1*DIGIT below 2^64 (FACTS "Framing"). Returns 0 or WEFT_PARSE_BAD. */
WEFT_STAGE int weft_parse_length(const struct weft_head_bytes *bytes, u32 off, u32 len, struct weft_head *head)
{
	u64 value = 0;
	u32 i;

	if (!bytes || !head)
		return WEFT_PARSE_BAD;
	if (!len || len > WEFT_LENGTH_DIGITS_MAX)
		return weft_bad(head, WEFT_ERROR_CONTENT_LENGTH);
	for (i = 0; i < WEFT_LENGTH_DIGITS_MAX; i++) {
		u32 digit;

		if (i >= len)
			break;
		digit = (u32)bytes->data[WEFT_OFFSET(off + i)] - '0';
		if (digit > 9 || value > 0x1999999999999999ull || (value == 0x1999999999999999ull && digit > 5))
			return weft_bad(head, WEFT_ERROR_CONTENT_LENGTH);
		value = value * 10 + digit;
	}
	head->content_length = value;
	head->flags |= WEFT_HEAD_CONTENT_LENGTH;
	return 0;
}

struct weft_connection_scan {
	const u8 *p;
	u32 off;
	u32 begin; /* of the name that is being read */
	u32 last;  /* after its last byte that is not blank */
	u32 end;
	u32 flags;
	u32 facts;
	u32 names;
};

/* One name of a Connection list, trimmed; empty ones don't count. */
WEFT_INLINE void weft_connection_name(struct weft_connection_scan *scan, u32 begin, u32 end)
{
	const u8 *name = scan->p + WEFT_OFFSET(begin);
	u32 len = end - begin;

	scan->names++;
	if (weft_is_close(name, len)) {
		scan->flags |= WEFT_HEAD_CLOSE;
		return;
	}
	if (weft_is_keep_alive(name, len)) {
		scan->flags |= WEFT_HEAD_KEEP_ALIVE;
		return;
	}
	scan->flags |= WEFT_HEAD_CONNECTION_OTHER;
	if (weft_is_upgrade(name, len))
		scan->flags |= WEFT_HEAD_CONNECTION_UPGRADE;
	else if (weft_is_host(name, len))
		scan->facts |= WEFT_PARSER_CONNECTION_HOST;
	else if (name[0] == ':' ||
		 (len >= 12 && weft_text_is(name, 12, WEFT_TEXT8('x', '-', 'f', 'o', 'r', 'w', 'a', 'r'),
					    WEFT_TEXT8('d', 'e', 'd', '-', 0, 0, 0, 0), 12)))
		scan->facts |= WEFT_PARSER_CONNECTION_FORBIDDEN;
}

WEFT_STEP weft_connection_scan_step(u32 index, void *context)
{
	struct weft_connection_scan *scan = context;
	u32 at = scan->off + index, begin = scan->begin;
	u8 byte = at < scan->end ? scan->p[WEFT_OFFSET(at)] : ',';

	if (at > scan->end)
		return 1;
	if (byte != ',') {
		if (!weft_is_blank(byte))
			scan->last = at + 1;
		else if (begin == at)
			scan->begin = at + 1;
		return 0;
	}
	if (begin < at)
		weft_connection_name(scan, begin, scan->last);
	scan->begin = at + 1;
	return 0;
}

WEFT_STAGE int weft_parse_connection(const struct weft_head_bytes *bytes, u32 off, u32 len, struct weft_parser *parser,
				     struct weft_head *head)
{
	struct weft_connection_scan scan = {};

	if (!bytes || !parser || !head)
		return WEFT_PARSE_BAD;
	if (weft_is_keep_alive(bytes->data + WEFT_OFFSET(off), len)) {
		head->flags |= WEFT_HEAD_KEEP_ALIVE;
		parser->tokens++;
		return 0;
	}
	scan.p = bytes->data;
	scan.off = scan.begin = off;
	scan.end = off + len;
	WEFT_LOOP(WEFT_HEAD_MAX + 1, weft_connection_scan_step, &scan);
	head->flags |= scan.flags ? scan.flags : WEFT_HEAD_CONNECTION_OTHER; /* an empty list goes no further, either */
	parser->facts |= scan.facts;
	parser->tokens += scan.names;
	if (parser->tokens > WEFT_CONNECTION_NAMES_MAX)
		parser->facts |= WEFT_PARSER_CONNECTION_FORBIDDEN;
	return 0;
}

/* What follows from the name of a line alone, one of the known ones. Returns whether a line of this name came before. */
WEFT_INLINE bool weft_note_flags(struct weft_parser *parser, struct weft_head *head, u32 name, u32 flags)
{
	u64 bit = 1ull << (name & (WEFT_SEEN_NAMES - 1)), seen_before = parser->seen & bit;

	parser->seen |= bit;
	if (flags & WEFT_NAME_IS_PRIVATE)
		head->flags |= WEFT_HEAD_PRIVATE;
	if (seen_before && (flags & (parser->facts & WEFT_PARSER_RESPONSE ? WEFT_NAME_IS_JOINED_BACK : WEFT_NAME_IS_JOINED)))
		head->flags |= WEFT_HEAD_REPEATED_JOINED;
	return seen_before;
}

/* The first Host line, of which the value is at `off`. Returns 0 or WEFT_PARSE_BAD. */
WEFT_INLINE int weft_note_host(const struct weft_head_bytes *bytes, const struct weft_parser *parser, struct weft_head *head, u32 off, u32 len)
{
	int host_len;

	if (parser->facts & (WEFT_PARSER_RESPONSE | WEFT_PARSER_AUTHORITY))
		return 0;
	host_len = weft_parse_host(bytes, off, len, head);
	if (host_len < 0)
		return weft_bad(head, WEFT_ERROR_HOST);
	head->authority.off = off;
	head->authority.len = len;
	head->host_len = host_len;
	return 0;
}

/* Envoy: gRPC's, and gRPC-Web's. */
WEFT_INLINE void weft_note_content_type(struct weft_head *head, const u8 *value, u32 len)
{
	if (len >= 16 && weft_load8(value) == WEFT_TEXT8('a', 'p', 'p', 'l', 'i', 'c', 'a', 't') &&
	    weft_load8(value + 8) == WEFT_TEXT8('i', 'o', 'n', '/', 'g', 'r', 'p', 'c'))
		head->flags |= WEFT_HEAD_GRPC;
}

/* What the line that was just added means, whose name is `name` of enum weft_name. Returns 0 or WEFT_PARSE_BAD. */
WEFT_STAGE int weft_note_name(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head, u32 name)
{
	u32 flags = weft_known_names[name & (WEFT_KNOWN_NAMES - 1)].flags, last, off, len;
	const u8 *value;
	bool seen_before;

	if (!bytes || !parser || !head)
		return WEFT_PARSE_BAD;
	seen_before = weft_note_flags(parser, head, name, flags);
	if (!(flags & WEFT_NAME_IS_SPECIAL) && name != WEFT_NAME_CONTENT_TYPE)
		return 0;
	last = (u32)head->field_count - 1;
	if (last >= WEFT_FIELDS_MAX)
		return WEFT_PARSE_BAD;
	off = head->fields[last].value.off;
	len = head->fields[last].value.len;
	value = bytes->data + WEFT_OFFSET(off);

	switch (name) {
	case WEFT_NAME_HOST:
		if (seen_before && !(parser->facts & (WEFT_PARSER_RESPONSE | WEFT_PARSER_AUTHORITY)))
			return weft_bad(head, WEFT_ERROR_HOST);
		return seen_before ? 0 : weft_note_host(bytes, parser, head, off, len);
	case WEFT_NAME_CONTENT_LENGTH:
		if (seen_before)
			return weft_bad(head, WEFT_ERROR_CONTENT_LENGTH);
		return weft_parse_length(bytes, off, len, head);
	case WEFT_NAME_TRANSFER_ENCODING:
		parser->facts |= WEFT_PARSER_CODING;
		if (seen_before || !weft_is_chunked(value, len))
			parser->facts |= WEFT_PARSER_CODING_OTHER;
		return 0;
	case WEFT_NAME_CONNECTION:
		parser->connection_line = last + 1;
		return weft_parse_connection(bytes, off, len, parser, head);
	case WEFT_NAME_UPGRADE:
		head->flags |= WEFT_HEAD_UPGRADE;
		parser->facts |= !seen_before && weft_is_websocket(value, len) ? WEFT_PARSER_WEBSOCKET : WEFT_PARSER_UPGRADE_OTHER;
		return 0;
	case WEFT_NAME_EXPECT:
		head->flags |= weft_is_100_continue(value, len) ? WEFT_HEAD_EXPECT_CONTINUE : WEFT_HEAD_EXPECT_OTHER;
		return 0;
	case WEFT_NAME_CONTENT_TYPE:
		weft_note_content_type(head, value, len);
		return 0;
	case WEFT_NAME_TE:
		head->flags |= WEFT_HEAD_TE;
		return 0;
	case WEFT_NAME_KEEP_ALIVE:
		/* Usual in responses, where the kernel lets it pass with Connection: keep-alive. */
		if (!(parser->facts & WEFT_PARSER_RESPONSE))
			head->flags |= WEFT_HEAD_PRIVATE;
		return 0;
	case WEFT_NAME_X_FORWARDED_PROTO:
		/* Envoy goes by it; http is what it sets where there is none. Several are joined, and any other text is no scheme. */
		head->flags &= ~WEFT_HEAD_FORWARDED_HTTPS;
		if (parser->facts & WEFT_PARSER_RESPONSE || seen_before || len < 4 || len > 5 || weft_load4(value) != WEFT_TEXT4('h', 't', 't', 'p'))
			head->flags |= WEFT_HEAD_PRIVATE;
		else if (len == 5)
			head->flags |= value[4] == 's' ? WEFT_HEAD_FORWARDED_HTTPS : WEFT_HEAD_PRIVATE;
		return 0;
	case WEFT_NAME_TRAILER:
		head->flags |= WEFT_HEAD_TRAILER;
		return 0;
	}
	return 0;
}

/* ---- one line ----------------------------------------------------------------------------------------------------------- */

/* Reads the line at parser->pos: a field (WEFT_PARSE_NEXT, and pos moves on) or the blank line (WEFT_PARSE_DONE). */
WEFT_STAGE int weft_parse_field(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head)
{
	u32 start, len, at, name_len = 0, begin, end, hash, count, name, i;
	u64 word, first, h = 0;
	struct weft_field *field;
	const u8 *p;
	u8 byte;

	if (!bytes || !parser || !head)
		return WEFT_PARSE_BAD;
	p = bytes->data;
	start = parser->pos;
	len = parser->len;
	if (start >= len)
		return WEFT_PARSE_MORE;
	start = WEFT_OFFSET(start);
	word = weft_load8(p + start);
	byte = (u8)word;
	if (byte == '\r') {
		if (start + 1 >= len)
			return WEFT_PARSE_MORE;
		if (((word >> 8) & 0xff) != '\n')
			return weft_bad(head, WEFT_ERROR_LINE_END);
		head->head_len = start + 2;
		return WEFT_PARSE_DONE;
	}
	if (byte == '\n' && weft_repairs(parser)) {
		head->flags |= WEFT_HEAD_ODD;
		head->head_len = start + 1;
		return WEFT_PARSE_DONE;
	}
	count = head->field_count;
	if (count >= WEFT_FIELDS_MAX)
		return WEFT_PARSE_TOO_LARGE;

	/* the name: plain ones of up to 31 bytes by words, others byte by byte */
	first = word | WEFT_EACH(0x20);
	at = start;
	for (i = 0; i < 4; i++) {
		u64 colons = weft_zero_bytes(word ^ WEFT_EACH(':'));
		u64 before = weft_before(colons);

		if (weft_not_plain(word) & before)
			break;
		h = weft_name_hash_step(h, (word | WEFT_EACH(0x20)) & weft_through(colons), i);
		if (colons) {
			name_len = at - start + weft_count_before(before);
			break;
		}
		at += 8;
		if (at >= len)
			break;
		word = weft_load8(p + WEFT_OFFSET(at));
	}
	if (!name_len || start + name_len >= len) {
		int r = weft_parse_long_name(bytes, parser, head);

		if (r <= 0)
			return -r;
		name_len = r;
		h = parser->hash;
		start = WEFT_OFFSET(parser->pos);
	}
	hash = weft_name_hash_finish(h);
	name_len = WEFT_FORGET(parser->name_len, name_len);

	/* the value, to the end of the line */
	begin = start + name_len + 1;
	byte = p[WEFT_OFFSET(begin)];
	if (byte == ' ') {
		begin++;
		byte = p[WEFT_OFFSET(begin)];
	}
	if (weft_is_blank(byte))
		begin = weft_skip_blanks(bytes, begin, len, 0);
	end = begin = WEFT_FORGET(parser->value, begin);
	for (i = 0; i < WEFT_KERNEL_LIMIT(1); i++) {
		end = weft_text_end(bytes, end, len);
		if (end >= len)
			return WEFT_PARSE_MORE;
		byte = p[WEFT_OFFSET(end)];
		if (byte == '\r') {
			if (end + 1 >= len)
				return WEFT_PARSE_MORE;
			if (p[WEFT_OFFSET(end + 1)] == '\n') {
				at = end + 2;
			} else if (weft_repairs(parser)) {
				head->flags |= WEFT_HEAD_ODD;
				end++;
				continue;
			} else {
				return weft_bad(head, WEFT_ERROR_LINE_END);
			}
		} else if (byte == '\n' && weft_repairs(parser)) {
			head->flags |= WEFT_HEAD_ODD;
			at = end + 1;
		} else {
			return weft_bad(head, byte == '\n' ? WEFT_ERROR_LINE_END : WEFT_ERROR_VALUE);
		}
		if (!weft_repairs(parser))
			break;
		/* a response's line may be folded: then the value goes on */
		if (at >= len)
			return WEFT_PARSE_MORE;
		if (!weft_is_blank(p[WEFT_OFFSET(at)]))
			break;
		head->flags |= WEFT_HEAD_ODD;
		end = at;
	}
	parser->pos = at;
	if (weft_repairs(parser) && (head->flags & WEFT_HEAD_ODD)) {
		begin = weft_skip_blanks(bytes, begin, end, 1);
		end = weft_trim_blanks(bytes, begin, end, 1);
	} else if (end > begin && weft_is_blank(p[WEFT_OFFSET(end - 1)])) {
		end = weft_trim_blanks(bytes, begin, end, 0);
	}

	/* again, where it is used: kernel 6.1 forgets what it knew of a value that was spilled */
	count = WEFT_FORGET(parser->value, count);
	if (count >= WEFT_FIELDS_MAX)
		return WEFT_PARSE_TOO_LARGE;
	field = &head->fields[count];
	field->name_hash = hash;
	field->name.off = start;
	field->name.len = name_len;
	field->value.off = begin;
	field->value.len = end - begin;
	head->field_count = count + 1;

	if (first == WEFT_TEXT8('x', '-', 'e', 'n', 'v', 'o', 'y', '-'))
		head->flags |= WEFT_HEAD_PRIVATE;
	name = weft_known_name(p + start, name_len, hash);
	if (name) {
		int r = weft_note_name(bytes, parser, head, name);

		if (r)
			return r;
	}
	return WEFT_PARSE_NEXT;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The request line. Part of the parser; include http1.h. */
#ifndef WEFT_TARGET_H
#define WEFT_TARGET_H

#include "weft/fields.h"

#ifndef __bpf__
#include <arpa/inet.h>
#endif

/* ---- methods (FACTS "Request line and path"; case counts) ---------------------------------------------------------------- */

struct weft_method_text {
	u8 text[15];
	u8 method;
} __attribute__((aligned(8)));

#define WEFT_METHOD_TEXTS 35

static const struct weft_method_text weft_methods[WEFT_METHOD_TEXTS] = {
	{"GET", WEFT_METHOD_GET},           {"HEAD", WEFT_METHOD_HEAD},         {"POST", WEFT_METHOD_POST},
	{"PUT", WEFT_METHOD_PUT},           {"DELETE", WEFT_METHOD_DELETE},     {"PATCH", WEFT_METHOD_PATCH},
	{"OPTIONS", WEFT_METHOD_OPTIONS},   {"TRACE", WEFT_METHOD_TRACE},       {"CONNECT", WEFT_METHOD_CONNECT},
	{"ACL", WEFT_METHOD_LISTED},        {"BIND", WEFT_METHOD_LISTED},       {"CHECKOUT", WEFT_METHOD_LISTED},
	{"COPY", WEFT_METHOD_LISTED},       {"LINK", WEFT_METHOD_LISTED},       {"LOCK", WEFT_METHOD_LISTED},
	{"MERGE", WEFT_METHOD_LISTED},      {"MKACTIVITY", WEFT_METHOD_LISTED}, {"MKCALENDAR", WEFT_METHOD_LISTED},
	{"MKCOL", WEFT_METHOD_LISTED},      {"MOVE", WEFT_METHOD_LISTED},       {"MSEARCH", WEFT_METHOD_LISTED},
	{"NOTIFY", WEFT_METHOD_LISTED},     {"PROPFIND", WEFT_METHOD_LISTED},   {"PROPPATCH", WEFT_METHOD_LISTED},
	{"PURGE", WEFT_METHOD_LISTED},      {"QUERY", WEFT_METHOD_LISTED},      {"REBIND", WEFT_METHOD_LISTED},
	{"REPORT", WEFT_METHOD_LISTED},     {"SEARCH", WEFT_METHOD_LISTED},     {"SOURCE", WEFT_METHOD_LISTED},
	{"SUBSCRIBE", WEFT_METHOD_LISTED},  {"UNBIND", WEFT_METHOD_LISTED},     {"UNLINK", WEFT_METHOD_LISTED},
	{"UNLOCK", WEFT_METHOD_LISTED},     {"UNSUBSCRIBE", WEFT_METHOD_LISTED},
};

#define WEFT_METHOD_NONE -1   /* no method begins so */
#define WEFT_METHOD_PREFIX -2 /* some method begins so */

/* The method of `len` bytes at `at`; not `complete`: its end has not come. */
WEFT_STAGE int weft_parse_method(const struct weft_head_bytes *bytes, u32 at, u32 len, u32 complete)
{
	u64 first, second, first_mask, second_mask;
	u32 i;

	if (!bytes || len > 14)
		return WEFT_METHOD_NONE;
	first_mask = weft_first_bytes(len);
	second_mask = len > 8 ? weft_first_bytes(len - 8) : 0;
	first = weft_load8(bytes->data + WEFT_OFFSET(at)) & first_mask;
	second = len > 8 ? weft_load8(bytes->data + WEFT_OFFSET(at) + 8) & second_mask : 0;
	for (i = 0; i < WEFT_METHOD_TEXTS; i++) {
		u64 a = weft_load8(weft_methods[i].text);
		u64 b = weft_load8(weft_methods[i].text + 8) & weft_first_bytes(7);

		if (complete) {
			if (a == first && b == second)
				return weft_methods[i].method;
		} else if ((a & first_mask) == first && (b & second_mask) == second) {
			return WEFT_METHOD_PREFIX;
		}
	}
	return WEFT_METHOD_NONE;
}

#define WEFT_TARGET_BAD 0xffffffffu

/* ---- path and query ------------------------------------------------------------------------------------------------------ */

struct weft_target_scan {
	const u8 *p;
	struct weft_parser *parser;
	struct weft_head *head;
	u32 begin;
	u32 len;
	u32 end; /* len: not found */
};

/* What a raw byte of a path becomes (FACTS): these are escaped, and a backslash is made a slash. */
#define WEFT_REWRITTEN_LOW (WEFT_BIT('"') | WEFT_BIT('<') | WEFT_BIT('>'))
#define WEFT_REWRITTEN_HIGH \
	(WEFT_BIT('\\') | WEFT_BIT('^') | WEFT_BIT('`') | WEFT_BIT('{') | WEFT_BIT('|') | WEFT_BIT('}'))
/* An escape of these is decoded, that of NUL refused; unreserved characters. */
#define WEFT_DECODED_LOW (WEFT_DIGIT_BITS | WEFT_BIT('-') | WEFT_BIT('.') | WEFT_BIT(0))
#define WEFT_DECODED_HIGH (WEFT_LETTER_BITS | WEFT_BIT('_') | WEFT_BIT('~'))

/* Value of a hexadecimal digit, or 16. */
WEFT_INLINE u32 weft_hex(u8 byte)
{
	u32 digit = (u32)byte - '0', letter = (u32)(byte | 0x20) - 'a';

	return digit < 10 ? digit : letter < 6 ? letter + 10 : 16;
}

WEFT_INLINE void weft_target_path_byte(const struct weft_target_scan *scan, u32 at, u8 byte)
{
	struct weft_parser *parser = scan->parser;

	if (byte == '/') {
		if (parser->segment == 1 || parser->segment == 2)
			scan->head->flags |= WEFT_HEAD_NORMALIZES;
		if (parser->segment == 0)
			scan->head->flags |= WEFT_HEAD_SLASHES;
		parser->segment = 0;
		return;
	}
	if (byte == '.' && parser->segment < 2) {
		parser->segment++;
		return;
	}
	parser->segment = 3;
	if (byte == '%') {
		u32 high = weft_hex(scan->p[WEFT_OFFSET(at) + 1]), low = weft_hex(scan->p[WEFT_OFFSET(at) + 2]);

		if (high < 16 && low < 16 && weft_in_set(high << 4 | low, WEFT_DECODED_LOW, WEFT_DECODED_HIGH))
			scan->head->flags |= WEFT_HEAD_NORMALIZES;
		if ((high == 2 && low == 15) || (high == 5 && low == 12))
			scan->head->flags |= WEFT_HEAD_ESCAPED_SLASHES;
	} else if (weft_in_set(byte, WEFT_REWRITTEN_LOW, WEFT_REWRITTEN_HIGH)) {
		scan->head->flags |= WEFT_HEAD_NORMALIZES;
	}
}

WEFT_STEP weft_target_scan_step(u32 index, void *context)
{
	struct weft_target_scan *scan = context;
	struct weft_parser *parser = scan->parser;
	u32 at = scan->begin + index;
	u8 byte;

	if (at >= scan->len)
		return 1;
	byte = scan->p[WEFT_OFFSET(at)];
	if (byte <= 0x20 || byte >= 0x7f) {
		scan->end = at;
		return 1;
	}
	if (byte == '#' && !parser->fragment) {
		scan->head->flags |= WEFT_HEAD_NORMALIZES | WEFT_HEAD_FRAGMENT;
		parser->fragment = 1;
		if (!parser->path_end)
			parser->path_end = at;
	} else if (!parser->path_end) {
		if (byte == '?')
			parser->path_end = at;
		else
			weft_target_path_byte(scan, at, byte);
	}
	return 0;
}

/* Reads path, query and fragment from `at`, where a slash or a question mark stands. Returns where the target ends. */
WEFT_STAGE u32 weft_parse_path(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head, u32 at)
{
	struct weft_target_scan scan = {.parser = parser, .head = head, .begin = at};

	if (!bytes || !parser || !head)
		return WEFT_TARGET_BAD;
	scan.p = bytes->data;
	scan.len = scan.end = parser->len;
	parser->path_end = 0;
	parser->fragment = 0;
	parser->segment = 3;
	WEFT_LOOP(WEFT_HEAD_MAX, weft_target_scan_step, &scan);
	if (!parser->path_end)
		parser->path_end = scan.end;
	if (parser->segment == 1 || parser->segment == 2)
		head->flags |= WEFT_HEAD_NORMALIZES;
	head->path.off = at;
	head->path.len = parser->path_end - at;
	return scan.end;
}

/* ---- authority of an absolute target, or of CONNECT ----------------------------------------------------------------------- */

enum weft_authority_state {
	WEFT_AUTHORITY_START, /* userinfo, or the host: at its first byte */
	WEFT_AUTHORITY_HOST,
	WEFT_AUTHORITY_BRACKET,  /* inside [ ] */
	WEFT_AUTHORITY_BRACKETED, /* after ] */
	WEFT_AUTHORITY_PORT_START,
	WEFT_AUTHORITY_PORT,
};

struct weft_authority_scan {
	const u8 *p;
	struct weft_parser *parser;
	u32 begin;
	u32 len;
	u32 end; /* len: not found */
};

/* Userinfo: unreserved, %, sub-delims and the colon. Host: letters, digits, . - _ (Envoy's URL parser). */
#define WEFT_USER_LOW \
	(WEFT_DIGIT_BITS | WEFT_BIT('!') | WEFT_BIT('$') | WEFT_BIT('%') | WEFT_BIT('&') | WEFT_BIT('\'') | WEFT_BIT('(') | \
	 WEFT_BIT(')') | WEFT_BIT('*') | WEFT_BIT('+') | WEFT_BIT(',') | WEFT_BIT('-') | WEFT_BIT('.') | WEFT_BIT(':') | \
	 WEFT_BIT(';') | WEFT_BIT('='))
#define WEFT_USER_HIGH (WEFT_LETTER_BITS | WEFT_BIT('_') | WEFT_BIT('~'))
#define WEFT_URL_HOST_LOW (WEFT_DIGIT_BITS | WEFT_BIT('-') | WEFT_BIT('.'))
#define WEFT_URL_HOST_HIGH (WEFT_LETTER_BITS | WEFT_BIT('_'))

WEFT_INLINE void weft_authority_host_byte(struct weft_parser *parser, u32 at, u8 byte)
{
	u32 digit = (u32)byte - '0';

	switch (parser->state) {
	case WEFT_AUTHORITY_START:
		if (byte == '[')
			parser->state = WEFT_AUTHORITY_BRACKET;
		else if (weft_in_set(byte, WEFT_URL_HOST_LOW, WEFT_URL_HOST_HIGH))
			parser->state = WEFT_AUTHORITY_HOST;
		else
			parser->bad = 1;
		return;
	case WEFT_AUTHORITY_HOST:
		if (byte == ':') {
			parser->state = WEFT_AUTHORITY_PORT_START;
			parser->colon = at;
		} else if (!weft_in_set(byte, WEFT_URL_HOST_LOW, WEFT_URL_HOST_HIGH)) {
			parser->bad = 1;
		}
		return;
	case WEFT_AUTHORITY_BRACKET:
		if (byte == ']')
			parser->state = WEFT_AUTHORITY_BRACKETED;
		else if (weft_hex(byte) == 16 && byte != ':' && byte != '.')
			parser->bad = 1;
		return;
	case WEFT_AUTHORITY_BRACKETED:
		if (byte == ':') {
			parser->state = WEFT_AUTHORITY_PORT_START;
			parser->colon = at;
		} else {
			parser->bad = 1;
		}
		return;
	default:
		if (digit > 9 || parser->port > 65535) {
			parser->bad = 1;
			return;
		}
		parser->state = WEFT_AUTHORITY_PORT;
		parser->port = parser->port * 10 + digit;
		if (parser->port > 65535)
			parser->bad = 1;
	}
}

WEFT_STEP weft_authority_scan_step(u32 index, void *context)
{
	struct weft_authority_scan *scan = context;
	struct weft_parser *parser = scan->parser;
	u32 at = scan->begin + index;
	u8 byte;

	if (at >= scan->len)
		return 1;
	byte = scan->p[WEFT_OFFSET(at)];
	if (byte <= 0x20 || byte >= 0x7f || byte == '/' || byte == '?') {
		scan->end = at;
		return 1;
	}
	if (byte == '@' && !parser->user) {
		/* all before it was userinfo: the host begins anew */
		parser->user = 1;
		parser->bad = parser->bad_user;
		parser->state = WEFT_AUTHORITY_START;
		parser->host = at + 1;
		parser->colon = 0;
		parser->port = 0;
		return 0;
	}
	if (!weft_in_set(byte, WEFT_USER_LOW, WEFT_USER_HIGH))
		parser->bad_user = 1;
	weft_authority_host_byte(parser, at, byte);
	return 0;
}

/* Reads the authority at `at`; `is_connect`: with a port and without userinfo. Fills head->authority. Returns where it ends (len: not
 * complete), or WEFT_TARGET_BAD. */
WEFT_STAGE u32 weft_parse_authority(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head, u32 at,
				    u32 is_connect)
{
	struct weft_authority_scan scan = {.parser = parser, .begin = at};
	u32 state;

	if (!bytes || !parser || !head)
		return WEFT_TARGET_BAD;
	scan.p = bytes->data;
	scan.len = scan.end = parser->len;
	parser->state = WEFT_AUTHORITY_START;
	parser->host = at;
	parser->colon = parser->port = parser->bad = parser->bad_user = parser->user = 0;
	WEFT_LOOP(WEFT_HEAD_MAX, weft_authority_scan_step, &scan);
	if (scan.end >= parser->len)
		return parser->len;
	state = parser->state;
	if (parser->bad || (state != WEFT_AUTHORITY_HOST && state != WEFT_AUTHORITY_BRACKETED && state != WEFT_AUTHORITY_PORT))
		return WEFT_TARGET_BAD;
	if (is_connect && (parser->user || state != WEFT_AUTHORITY_PORT))
		return WEFT_TARGET_BAD;
	head->authority.off = parser->host;
	head->authority.len = scan.end - parser->host;
	head->host_len = (parser->colon ? parser->colon : scan.end) - parser->host;
#ifndef __bpf__
	if (bytes->data[parser->host] == '[') {
		/* Envoy wants an address here; the kernel hands all such targets up */
		char text[INET6_ADDRSTRLEN];
		struct in6_addr address;
		u32 text_len = head->host_len - 2;

		if (text_len >= sizeof(text))
			return WEFT_TARGET_BAD;
		memcpy(text, bytes->data + parser->host + 1, text_len);
		text[text_len] = 0;
		if (inet_pton(AF_INET6, text, &address) != 1)
			return WEFT_TARGET_BAD;
	}
#endif
	return scan.end;
}

/* Reads the target at `at`. Returns where it ends (>= len: not complete) or WEFT_TARGET_BAD. */
WEFT_STAGE u32 weft_parse_target(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head, u32 at)
{
	u32 len, scheme, i, end;
	const u8 *p;

	if (!bytes || !parser || !head)
		return WEFT_TARGET_BAD;
	len = parser->len;
	if (at >= len)
		return len;
	p = bytes->data + WEFT_OFFSET(at);
	if (head->method == WEFT_METHOD_CONNECT) {
		head->flags |= WEFT_HEAD_CONNECT;
		parser->facts |= WEFT_PARSER_AUTHORITY;
		head->path.off = at;
		end = weft_parse_authority(bytes, parser, head, at, 1);
		if (end < len && bytes->data[WEFT_OFFSET(end)] > 0x20)
			return WEFT_TARGET_BAD; /* something after the port */
		return end;
	}
	if (p[0] == '/')
		return weft_parse_path(bytes, parser, head, at);
	if (p[0] == '*') {
		if (head->method != WEFT_METHOD_OPTIONS)
			return WEFT_TARGET_BAD;
		if (at + 1 < len && p[1] != ' ' && p[1] != '\t' && p[1] != '\r' && p[1] != '\n')
			return WEFT_TARGET_BAD;
		head->flags |= WEFT_HEAD_ASTERISK;
		head->path.off = at;
		head->path.len = 1;
		return at + 1;
	}

	/* absolute form: http:// or https://, in any case */
	for (i = 0; i < 8; i++) {
		static const u8 plain[8] = "http://", secure[8] = "https://";
		u8 byte = weft_lower(p[i]);

		if (at + i >= len)
			return len;
		if (i == 4 && byte == 's') {
			parser->facts |= WEFT_PARSER_SECURE;
			continue;
		}
		if (byte != (parser->facts & WEFT_PARSER_SECURE ? secure[i] : plain[i]))
			return WEFT_TARGET_BAD;
		if (i == 6 && !(parser->facts & WEFT_PARSER_SECURE))
			break;
	}
	scheme = parser->facts & WEFT_PARSER_SECURE ? 8 : 7;
	head->flags |= WEFT_HEAD_ABSOLUTE_FORM;
	parser->facts |= WEFT_PARSER_AUTHORITY;
	end = weft_parse_authority(bytes, parser, head, at + scheme, 0);
	if (end >= len)
		return end;
	if (scheme == 8 || bytes->data[WEFT_OFFSET(head->authority.off)] == '[' || bytes->data[WEFT_OFFSET(end)] == '?')
		head->flags |= WEFT_HEAD_ABSOLUTE_OTHER;
	return weft_parse_path(bytes, parser, head, end);
}

/* ---- the line, quickly ---------------------------------------------------------------------------------------------------- */

/* High bits of the bytes that are neither letters, digits, nor one of & ' ( ) * + , - . / : ; = _ */
WEFT_INLINE u64 weft_not_plain_in_path(u64 word)
{
	u64 letters = weft_bytes_between(word | WEFT_EACH(0x20), 'a', 'z');
	u64 others = weft_bytes_between(word, '&', ';') | weft_equal_bytes(word, '=') | weft_equal_bytes(word, '_');

	return (~(letters | others) | word) & WEFT_HIGHS;
}

/* `follows_slash`: the byte before `at` is one. */
WEFT_STAGE u32 weft_plain_path_end_soon(const struct weft_head_bytes *bytes, u32 at, u32 len, u32 follows_slash)
{
	u64 pairs = 0, carry = follows_slash ? 0x80 : 0;
	u32 i;

	if (!bytes)
		return 0;
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_TURNS); i++) {
		u64 word, flags, slashes, dots, before;

		if (at >= len)
			return 0;
		at = WEFT_OFFSET(at);
		word = weft_load8(bytes->data + at);
		flags = weft_not_plain_in_path(word);
		before = flags ? weft_before(flags) : ~0ull;
		slashes = weft_equal_bytes(word, '/');
		dots = weft_equal_bytes(word, '.');
		pairs |= (slashes << 8 | carry) & (slashes | dots) & before;
		carry = slashes >> 56;
		if (flags)
			return pairs ? 0 : at + weft_count_before(before);
		at += 8;
	}
	return pairs ? 0 : at | WEFT_TURNS_UP;
}

/* Where a path of plain characters without `//` and `/.` ends: at its first byte that is not plain. 0: it is not so, or not complete. */
WEFT_STAGE u32 weft_plain_path_end(const struct weft_head_bytes *bytes, u32 at, u32 len)
{
	u32 follows_slash = 0, i;

	if (!bytes)
		return 0;
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_KERNEL_HEAD_MAX / 8 / WEFT_TURNS); i++) {
		at = weft_plain_path_end_soon(bytes, at, len, follows_slash);
		if (!(at & WEFT_TURNS_UP))
			return at;
		at &= ~WEFT_TURNS_UP;
		follows_slash = bytes->data[WEFT_OFFSET(at - 1)] == '/';
	}
	return 0;
}

WEFT_STAGE u32 weft_query_end_soon(const struct weft_head_bytes *bytes, u32 at, u32 len)
{
	u32 i;

	if (!bytes)
		return 0;
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_TURNS); i++) {
		u64 word, flags;

		if (at >= len)
			return 0;
		at = WEFT_OFFSET(at);
		word = weft_load8(bytes->data + at);
		flags = ((((word - WEFT_EACH(0x21)) | (word + WEFT_ONES)) & ~word) | word | weft_zero_bytes(word ^ WEFT_EACH('#'))) &
			WEFT_HIGHS;
		if (flags)
			return at + weft_count_before(weft_before(flags));
		at += 8;
	}
	return at | WEFT_TURNS_UP;
}

/* Where a query ends: at its first space, control character, byte from 0x7f on or `#`. 0: not complete. */
WEFT_STAGE u32 weft_query_end(const struct weft_head_bytes *bytes, u32 at, u32 len)
{
	u32 i;

	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_KERNEL_HEAD_MAX / 8 / WEFT_TURNS); i++) {
		at = weft_query_end_soon(bytes, at, len);
		if (!(at & WEFT_TURNS_UP))
			return at;
		at &= ~WEFT_TURNS_UP;
	}
	return 0;
}

/* The usual line: a frequent method, one space, a plain path, a query without a fragment, one space, HTTP/1.1, CRLF, all present.
 * Returns WEFT_PARSE_NEXT; 0: any other line, and nothing was written. */
WEFT_STAGE int weft_parse_plain_line(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head)
{
	u32 method, method_len, at, len, path_end;
	const u8 *p;
	u64 word;

	if (!bytes || !parser || !head)
		return 0;
	p = bytes->data;
	len = parser->len;
	word = weft_load8(p);
	if ((word & weft_first_bytes(4)) == WEFT_TEXT8('G', 'E', 'T', ' ', 0, 0, 0, 0)) {
		method = WEFT_METHOD_GET;
		method_len = 3;
	} else if ((word & weft_first_bytes(5)) == WEFT_TEXT8('P', 'O', 'S', 'T', ' ', 0, 0, 0)) {
		method = WEFT_METHOD_POST;
		method_len = 4;
	} else if ((word & weft_first_bytes(4)) == WEFT_TEXT8('P', 'U', 'T', ' ', 0, 0, 0, 0)) {
		method = WEFT_METHOD_PUT;
		method_len = 3;
	} else if ((word & weft_first_bytes(5)) == WEFT_TEXT8('H', 'E', 'A', 'D', ' ', 0, 0, 0)) {
		method = WEFT_METHOD_HEAD;
		method_len = 4;
	} else if ((word & weft_first_bytes(7)) == WEFT_TEXT8('D', 'E', 'L', 'E', 'T', 'E', ' ', 0)) {
		method = WEFT_METHOD_DELETE;
		method_len = 6;
	} else if ((word & weft_first_bytes(6)) == WEFT_TEXT8('P', 'A', 'T', 'C', 'H', ' ', 0, 0)) {
		method = WEFT_METHOD_PATCH;
		method_len = 5;
	} else {
		return 0;
	}
	if (p[method_len + 1] != '/')
		return 0;
	path_end = weft_plain_path_end_soon(bytes, method_len + 1, len, 0);
	if (path_end & WEFT_TURNS_UP)
		path_end = weft_plain_path_end(bytes, method_len + 1, len);
	if (!path_end || path_end >= len)
		return 0;
	at = path_end;
	if (p[WEFT_OFFSET(at)] == '?') {
		at = weft_query_end_soon(bytes, at, len);
		if (at & WEFT_TURNS_UP)
			at = weft_query_end(bytes, path_end, len);
	}
	if (!at || at + 11 > len)
		return 0;
	at = WEFT_OFFSET(at);
	if (p[at] != ' ' || weft_load8(p + at + 1) != WEFT_TEXT8('H', 'T', 'T', 'P', '/', '1', '.', '1') ||
	    weft_load2(p + at + 9) != ('\r' | '\n' << 8))
		return 0;
	head->method = method;
	head->method_span.len = method_len;
	head->target.off = head->path.off = method_len + 1;
	head->target.len = at - (method_len + 1);
	head->path.len = path_end - (method_len + 1);
	parser->pos = at + 11;
	return WEFT_PARSE_NEXT;
}

/* ---- any line -------------------------------------------------------------------------------------------------------------- */

#define WEFT_EMPTY_LINES_MAX 16u /* before a request; more: TOO_LARGE */

struct weft_word_scan {
	const u8 *p;
	u32 begin;
	u32 len;
	u32 end; /* len: not found */
};

WEFT_STEP weft_word_scan_step(u32 index, void *context)
{
	struct weft_word_scan *scan = context;
	u32 at = scan->begin + index;
	u8 byte;

	if (at >= scan->len)
		return 1;
	byte = scan->p[WEFT_OFFSET(at)];
	if (byte > 0x20 && byte != 0x7f)
		return 0;
	scan->end = at;
	return 1;
}

/* The end of a line at `at`, if it is one: returns what follows; 0: not complete; WEFT_TARGET_BAD: bare CR or LF, or none. */
WEFT_INLINE u32 weft_line_end(const u8 *p, u32 at, u32 len)
{
	if (p[WEFT_OFFSET(at)] != '\r')
		return WEFT_TARGET_BAD;
	if (at + 1 >= len)
		return 0;
	return p[WEFT_OFFSET(at + 1)] == '\n' ? at + 2 : WEFT_TARGET_BAD;
}

WEFT_INLINE int weft_not_http(struct weft_head *head, u8 error)
{
	head->error = error;
	return WEFT_PARSE_NOT_HTTP;
}

/* After the target: white space, the version, white space, the end of the line. */
WEFT_STAGE int weft_parse_version(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head, u32 at)
{
	u32 version, end, next, len, i;
	u8 major, minor, byte;
	const u8 *p;

	if (!bytes || !parser || !head)
		return WEFT_PARSE_BAD;
	p = bytes->data;
	len = parser->len;
	byte = p[WEFT_OFFSET(at)];
	if (byte != ' ' && byte != '\t' && byte != '\r' && byte != '\n')
		return weft_bad(head, WEFT_ERROR_TARGET);
	version = weft_skip_blanks(bytes, at, len, 0);
	if (version >= len)
		return WEFT_PARSE_MORE;
	byte = p[WEFT_OFFSET(version)];
	if (byte == '\r' || byte == '\n') {
		next = weft_line_end(p, version, len);
		if (next == WEFT_TARGET_BAD)
			return weft_bad(head, WEFT_ERROR_LINE_END);
		head->error = WEFT_ERROR_VERSION;
		return next ? WEFT_PARSE_VERSION : WEFT_PARSE_MORE; /* HTTP/0.9 */
	}
	if (version != at + 1 || p[WEFT_OFFSET(at)] != ' ')
		head->flags |= WEFT_HEAD_ODD;
	for (i = 0; i < 8; i++) {
		static const u8 form[8] = "HTTP/0.0";

		if (version + i >= len)
			return WEFT_PARSE_MORE;
		byte = p[WEFT_OFFSET(version) + i];
		if (form[i] == '0' ? (u32)byte - '0' > 9 : byte != form[i])
			return weft_not_http(head, WEFT_ERROR_VERSION);
	}
	major = p[WEFT_OFFSET(version) + 5];
	minor = p[WEFT_OFFSET(version) + 7];
	end = weft_skip_blanks(bytes, version + 8, len, 0);
	if (end >= len)
		return WEFT_PARSE_MORE;
	if (end != version + 8)
		head->flags |= WEFT_HEAD_ODD;
	byte = p[WEFT_OFFSET(end)];
	if (byte != '\r' && byte != '\n')
		return weft_not_http(head, WEFT_ERROR_VERSION);
	next = weft_line_end(p, end, len);
	if (!next)
		return WEFT_PARSE_MORE;
	if (next == WEFT_TARGET_BAD)
		return weft_bad(head, WEFT_ERROR_LINE_END);
	if (major != '1' || minor > '1') {
		head->error = WEFT_ERROR_VERSION;
		return WEFT_PARSE_VERSION;
	}
	if (minor == '0')
		head->flags |= WEFT_HEAD_HTTP_10;
	parser->pos = next;
	return WEFT_PARSE_NEXT;
}

/* Where the request line begins: after empty lines (RFC 9112 2.2). Or -enum weft_parse. */
WEFT_STAGE int weft_skip_empty_lines(const struct weft_head_bytes *bytes, const struct weft_parser *parser, struct weft_head *head)
{
	u32 at = 0, i;

	if (!bytes || !parser || !head)
		return -WEFT_PARSE_BAD;
	for (i = 0; i <= WEFT_EMPTY_LINES_MAX; i++) {
		u32 next;
		u8 byte;

		if (at >= parser->len)
			return -WEFT_PARSE_MORE;
		byte = bytes->data[WEFT_OFFSET(at)];
		if (byte != '\r' && byte != '\n')
			return at;
		next = weft_line_end(bytes->data, at, parser->len);
		if (!next)
			return -WEFT_PARSE_MORE;
		if (next == WEFT_TARGET_BAD)
			return -weft_bad(head, WEFT_ERROR_LINE_END);
		head->flags |= WEFT_HEAD_ODD;
		at = next;
	}
	return -WEFT_PARSE_TOO_LARGE;
}

/* Any request line, byte by byte. */
WEFT_STAGE int weft_parse_request_line(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head)
{
	struct weft_word_scan scan = {};
	u32 at, target, end, len;
	int method, r;
	const u8 *p;
	u8 byte;

	if (!bytes || !parser || !head)
		return WEFT_PARSE_BAD;
	p = bytes->data;
	len = parser->len;
	if (!len)
		return WEFT_PARSE_MORE;

	/* the preface of HTTP/2 decides itself by its first 12 bytes */
	if ((weft_load8(p) & weft_first_bytes(len)) == (WEFT_TEXT8('P', 'R', 'I', ' ', '*', ' ', 'H', 'T') & weft_first_bytes(len))) {
		if (len <= 8)
			return WEFT_PARSE_MORE;
		if (((weft_load8(p + 8) ^ WEFT_TEXT8('T', 'P', '/', '2', 0, 0, 0, 0)) & weft_first_bytes(WEFT_MIN(len - 8, 4))) == 0)
			return len >= 12 ? WEFT_PARSE_PREFACE : WEFT_PARSE_MORE;
	}

	r = weft_skip_empty_lines(bytes, parser, head);
	if (r < 0)
		return -r;
	at = r;

	scan.p = p;
	scan.begin = at;
	scan.len = scan.end = len;
	WEFT_LOOP(WEFT_HEAD_MAX, weft_word_scan_step, &scan);
	end = scan.end;
	method = weft_parse_method(bytes, at, end - at, end < len);
	if (method == WEFT_METHOD_PREFIX)
		return WEFT_PARSE_MORE;
	if (method < 0 || end >= len)
		return weft_not_http(head, WEFT_ERROR_METHOD);
	head->method = method;
	head->method_span.off = at;
	head->method_span.len = end - at;
	if (weft_load4(p + WEFT_OFFSET(at)) == ('Q' | 'U' << 8 | 'E' << 16 | 'R' << 24))
		parser->facts |= WEFT_PARSER_NEEDS_CONTENT_TYPE;

	byte = p[WEFT_OFFSET(end)];
	if (!weft_is_blank(byte))
		return weft_not_http(head, WEFT_ERROR_REQUEST_LINE);
	target = weft_skip_blanks(bytes, end, len, 0);
	if (target >= len)
		return WEFT_PARSE_MORE;
	if (target != end + 1 || byte != ' ')
		head->flags |= WEFT_HEAD_ODD;
	byte = p[WEFT_OFFSET(target)];
	if (byte == '\r' || byte == '\n')
		return weft_not_http(head, WEFT_ERROR_REQUEST_LINE);
	end = weft_parse_target(bytes, parser, head, target);
	if (end == WEFT_TARGET_BAD)
		return weft_bad(head, WEFT_ERROR_TARGET);
	if (end >= len)
		return WEFT_PARSE_MORE;
	head->target.off = target;
	head->target.len = end - target;
	return weft_parse_version(bytes, parser, head, end);
}

#endif

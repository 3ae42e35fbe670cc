/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What Envoy's http_inspector takes the first line of a connection for, where HTTP shares a port with other protocols. It is not what an
 * HTTP server makes of it: any token is a method here, no empty line may come before, and a CR is as blank as a space. Checked
 * against Envoy 1.40 (tests/unit/engine/first_line_test.c). Only the daemon asks: what a program carries is HTTP/1.1 to both. */
#ifndef WEFT_FIRST_LINE_H
#define WEFT_FIRST_LINE_H

#include <stdbool.h>
#include <string.h>

#include "weft/base.h"

enum weft_first_line {
	WEFT_FIRST_LINE_MORE,    /* has no end yet */
	WEFT_FIRST_LINE_HTTP_11,
	WEFT_FIRST_LINE_HTTP_10, /* and whatever other version there is, or none */
	WEFT_FIRST_LINE_HTTP_2,  /* the beginning of its preface, and maybe all of it */
	WEFT_FIRST_LINE_OTHER,
};

#define WEFT_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

static inline bool weft_is_among(u8 byte, const char *others)
{
	return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || (byte && strchr(others, byte));
}

static inline bool weft_is_method_byte(u8 byte)
{
	return weft_is_among(byte, "!#$%&'*+-.^_`|~");
}

static inline bool weft_are_path_bytes(const u8 *p, const u8 *end)
{
	for (; p < end; p++)
		if (*p != '\t' && *p != '\f' && (*p < '!' || *p > 126))
			return false;
	return true;
}

static inline bool weft_is_inspected_target(const u8 *p, const u8 *end, bool is_connect)
{
	if (p == end)
		return false;
	if (*p == '/' || *p == '*')
		return weft_are_path_bytes(p + 1, end);
	if (!is_connect) {
		if (!weft_is_among(*p, "") || (*p >= '0' && *p <= '9'))
			return false;
		while (p < end && weft_is_among(*p, "+-."))
			p++;
		if (end - p < 3 || memcmp(p, "://", 3))
			return false;
		p += 3;
	}
	for (; p < end && *p != '/' && *p != '?'; p++)
		if (!weft_is_among(*p, "!$%&'()*+,-.:;=@[]_~") || (*p == '@' && end - p > 1 && p[1] == '@'))
			return false;
	return weft_are_path_bytes(p, end);
}

/* A line without its LF: three words with anything up to a space between them. What is behind the second one is the third, less what is blank at
 * the end. */
static inline enum weft_first_line weft_inspect_line(const u8 *p, const u8 *end)
{
	const u8 *method = p, *target, *version;
	bool is_plain = true; /* no blank but CR, tab and space, and none but CR at the end */
	u32 i;

	for (; end > p && end[-1] <= ' '; end--)
		is_plain = is_plain && end[-1] == '\r';
	while (p < end && *p > ' ')
		p++;
	if (p == end || (*p != ' ' && (*p < '\t' || *p > '\r')))
		return WEFT_FIRST_LINE_OTHER;
	for (target = p; *target <= ' '; target++)
		is_plain = is_plain && (*target == ' ' || *target == '\t' || *target == '\r');
	version = target;
	while (version < end && *version > ' ')
		version++;
	if (!weft_is_inspected_target(target, version, p - method == 7 && !memcmp(method, "CONNECT", 7)))
		return WEFT_FIRST_LINE_OTHER;
	while (version < end && *version <= ' ')
		version++;
	for (i = 0; version < end && i < 8; i++)
		if (end - version != 8 || ("HTTP/0.0"[i] == '0' ? version[i] < '0' || version[i] > '9' : version[i] != (u8)"HTTP/0.0"[i]))
			return WEFT_FIRST_LINE_OTHER;
	/* Envoy asks how the line ends, be it a target without a version. */
	return (version < end || is_plain) && end - target >= 8 && !memcmp(end - 8, "HTTP/1.1", 8) ? WEFT_FIRST_LINE_HTTP_11 : WEFT_FIRST_LINE_HTTP_10;
}

static inline enum weft_first_line weft_inspect_first_line(const u8 *bytes, u32 len)
{
	const u32 preface = sizeof(WEFT_PREFACE) - 1;
	const u8 *end;
	u32 i;

	if (!memcmp(bytes, WEFT_PREFACE, WEFT_MIN(len, preface)))
		return len < preface ? WEFT_FIRST_LINE_MORE : WEFT_FIRST_LINE_HTTP_2;
	for (i = 0; i < len && (bytes[i] > ' ' || !i); i++)
		if (!weft_is_method_byte(bytes[i]))
			return WEFT_FIRST_LINE_OTHER;
	end = memchr(bytes, '\n', len);
	return end ? weft_inspect_line(bytes, end) : WEFT_FIRST_LINE_MORE;
}

#endif

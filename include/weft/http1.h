/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Message heads of HTTP/1, strictly (RFC 9112; where Envoy repairs requests, weft refuses them; responses are judged as Envoy does). */
#ifndef WEFT_HTTP1_H
#define WEFT_HTTP1_H

#include "weft/base.h"
#include "weft/bytes.h"
#include "weft/fields.h"
#include "weft/head.h"
#include "weft/names.h"
#include "weft/plain_field.h"
#include "weft/target.h"

/* Parses the head that begins at bytes->data[0], of which `len` bytes are present. Returns enum weft_parse. `head` is complete for
 * DONE; for the others head->error says why, and head->flags has WEFT_HEAD_HTTP_10 once the request line was read. Partial input gives
 * MORE, or the fault as soon as it is certain: call again from the start with more bytes. In BPF what is longer than
 * WEFT_KERNEL_HEAD_MAX or has more than WEFT_KERNEL_FIELDS_MAX lines is TOO_LARGE.
 * NOT_HTTP is a request line that is none; where the listener does not pass such bytes on, it is a 400. */
WEFT_STAGE int weft_parse_request(const struct weft_head_bytes *bytes, u32 len, struct weft_head *head);

/* Likewise a response to a request of `request_method` (enum weft_method). On the host bare LF, folded lines and bare CR are let pass
 * with WEFT_HEAD_ODD, as Envoy does; in BPF they are BAD. BAD and CODING: 502. */
WEFT_STAGE int weft_parse_response(const struct weft_head_bytes *bytes, u32 len, u32 request_method, struct weft_head *head);

WEFT_INLINE void weft_head_clear(struct weft_head *head)
{
	head->head_len = 0;
	head->flags = 0;
	head->content_length = 0;
	head->status = 0;
	head->method = 0;
	head->error = 0;
	head->field_count = 0;
	head->method_span = (struct weft_span){};
	head->target = (struct weft_span){};
	head->path = (struct weft_span){};
	head->authority = (struct weft_span){};
	head->connection = (struct weft_span){};
	head->host_len = 0;
	head->host_hash = 0;
}

/* Every line after the first. */
WEFT_INLINE int weft_parse_fields(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head)
{
	int r = WEFT_PARSE_TOO_LARGE;
	u32 line, i;

	weft_plain_fields_from(parser);
	for (i = 0; i <= WEFT_FIELDS_MAX; i++) {
		r = weft_parse_plain_fields(bytes, parser, head);
		if (r == WEFT_PARSE_DONE)
			break;
		if (r < 0) {
			r = weft_note_name(bytes, parser, head, -r);
			if (r)
				break;
			r = WEFT_PARSE_TOO_LARGE;
			continue;
		}
		r = weft_parse_field(bytes, parser, head);
		if (r != WEFT_PARSE_NEXT)
			break;
		r = WEFT_PARSE_TOO_LARGE;
		weft_plain_fields_from(parser);
	}
	/* a Host line came before whatever ended the loop, and so did its fault */
	line = parser->host_line - 1;
	if (line < WEFT_FIELDS_MAX && weft_note_host(bytes, parser, head, head->fields[line].value.off, head->fields[line].value.len))
		return WEFT_PARSE_BAD;
	return r;
}

/* Where the Connection line is: it goes no further. What names keep-alive twice, in one line or in two, is the proxy's. */
WEFT_INLINE void weft_judge_connection(const struct weft_parser *parser, struct weft_head *head)
{
	u32 line = parser->connection_line - 1;

	if (line >= WEFT_FIELDS_MAX || head->flags & (WEFT_HEAD_CLOSE | WEFT_HEAD_CONNECTION_OTHER))
		return;
	if (parser->tokens > 1)
		head->flags |= WEFT_HEAD_ODD;
	head->connection.off = head->fields[line].name.off;
	head->connection.len = (line + 1 < head->field_count && line + 1 < WEFT_FIELDS_MAX ? head->fields[line + 1].name.off : head->head_len - 2) -
			       head->connection.off;
}

/* What only the whole head tells. */
WEFT_INLINE int weft_judge_request(const struct weft_parser *parser, struct weft_head *head)
{
	if ((head->flags & WEFT_HEAD_UPGRADE) && (head->flags & WEFT_HEAD_CONNECTION_UPGRADE)) {
		if ((parser->facts & WEFT_PARSER_WEBSOCKET) && !(parser->facts & WEFT_PARSER_UPGRADE_OTHER))
			head->flags |= WEFT_HEAD_WEBSOCKET;
	} else if (parser->facts & WEFT_PARSER_CONNECTION_FORBIDDEN) {
		return weft_bad(head, WEFT_ERROR_CONNECTION);
	} else if (parser->facts & WEFT_PARSER_CONNECTION_HOST) {
		return weft_bad(head, WEFT_ERROR_CONNECTION_HOST);
	}
	if (parser->facts & WEFT_PARSER_CODING) {
		if (head->flags & WEFT_HEAD_CONTENT_LENGTH)
			return weft_bad(head, WEFT_ERROR_LENGTH_AND_CODING);
		head->error = WEFT_ERROR_TRANSFER_ENCODING;
		if (head->flags & WEFT_HEAD_HTTP_10)
			return WEFT_PARSE_BAD;
		if (parser->facts & WEFT_PARSER_CODING_OTHER)
			return WEFT_PARSE_CODING;
		head->error = 0;
		head->flags |= WEFT_HEAD_CHUNKED;
	}
	if (!(parser->facts & WEFT_PARSER_AUTHORITY) && !(parser->seen & 1ull << WEFT_NAME_HOST))
		return weft_bad(head, WEFT_ERROR_HOST);
	/* the URL has one scheme, and what forwarded it another */
	if ((parser->facts & WEFT_PARSER_AUTHORITY) && (head->flags & WEFT_HEAD_FORWARDED_HTTPS))
		head->flags |= WEFT_HEAD_ABSOLUTE_OTHER;
	weft_judge_connection(parser, head);
	if (parser->seen & 1ull << WEFT_NAME_CONTENT_TYPE)
		head->flags |= WEFT_HEAD_CONTENT_TYPE;
	else if (parser->facts & WEFT_PARSER_NEEDS_CONTENT_TYPE)
		return weft_bad(head, WEFT_ERROR_METHOD);
	return WEFT_PARSE_DONE;
}

WEFT_STAGE int weft_parse_request(const struct weft_head_bytes *bytes, u32 len, struct weft_head *head)
{
	struct weft_parser parser = {};
	int r;

	if (!bytes || !head)
		return WEFT_PARSE_BAD;
	weft_head_clear(head);
	parser.len = WEFT_MIN(len, WEFT_HEAD_MAX);
	r = weft_parse_plain_line(bytes, &parser, head);
	if (!r)
		r = weft_parse_request_line(bytes, &parser, head);
	if (r == WEFT_PARSE_NEXT)
		r = weft_parse_fields(bytes, &parser, head);
	if (r == WEFT_PARSE_DONE)
		return weft_judge_request(&parser, head);
	if (r == WEFT_PARSE_MORE && len >= WEFT_HEAD_MAX)
		return WEFT_PARSE_TOO_LARGE;
	return r;
}

/* "HTTP/1.1 200 OK": any version of that form (Envoy), a status of three or four digits from 100 on, any reason or none. */
WEFT_STAGE int weft_parse_status_line(const struct weft_head_bytes *bytes, struct weft_parser *parser, struct weft_head *head)
{
	u32 at, begin, end, len, status = 0, i;
	const u8 *p;
	u8 byte;

	if (!bytes || !parser || !head)
		return WEFT_PARSE_BAD;
	p = bytes->data;
	len = parser->len;
	for (i = 0; i < 8; i++) {
		static const u8 form[8] = "HTTP/0.0";

		if (i >= len)
			return WEFT_PARSE_MORE;
		byte = p[i];
		if (form[i] == '0' ? (u32)byte - '0' > 9 : byte != form[i])
			return weft_bad(head, WEFT_ERROR_STATUS_LINE);
	}
	if (p[7] == '0')
		head->flags |= WEFT_HEAD_HTTP_10;
	if (p[5] != '1' || p[7] > '1')
		head->flags |= WEFT_HEAD_ODD;
	if (len <= 8)
		return WEFT_PARSE_MORE;
	if (!weft_is_blank(p[8]))
		return weft_bad(head, WEFT_ERROR_STATUS_LINE);
	begin = 9;
	if (p[8] != ' ' || (len > 9 && weft_is_blank(p[9]))) {
		begin = weft_skip_blanks(bytes, 9, len, 0);
		head->flags |= WEFT_HEAD_ODD;
	}
	for (i = 0; i < 5; i++) {
		at = begin + i;
		if (at >= len)
			return WEFT_PARSE_MORE;
		byte = p[WEFT_OFFSET(at)];
		if ((u32)byte - '0' > 9)
			break;
		status = status * 10 + (byte - '0');
	}
	at = begin + i;
	if (status < 100 || i > 4 || (byte != '\r' && byte != '\n' && !weft_is_blank(byte)))
		return weft_bad(head, WEFT_ERROR_STATUS_LINE);
	if (i != 3)
		head->flags |= WEFT_HEAD_ODD;
	head->status = status;

	end = weft_text_end(bytes, at, len);
	if (end >= len)
		return WEFT_PARSE_MORE;
	byte = p[WEFT_OFFSET(end)];
	if (byte == '\n' && weft_repairs(parser)) {
		head->flags |= WEFT_HEAD_ODD;
		parser->pos = end + 1;
		return WEFT_PARSE_NEXT;
	}
	if (byte != '\r' && byte != '\n')
		return weft_bad(head, WEFT_ERROR_STATUS_LINE);
	end = weft_line_end(p, end, len);
	if (!end)
		return WEFT_PARSE_MORE;
	if (end == WEFT_TARGET_BAD)
		return weft_bad(head, WEFT_ERROR_LINE_END);
	parser->pos = end;
	return WEFT_PARSE_NEXT;
}

/* Framing of a response: RFC 9112 6.3, and what Envoy answers 502 for (FACTS "Upstream request and response"). */
WEFT_INLINE int weft_judge_response(const struct weft_parser *parser, struct weft_head *head, u32 request_method)
{
	bool never_has_body = head->status < 200 || head->status == 204;

	if ((head->flags & WEFT_HEAD_UPGRADE) && (head->flags & WEFT_HEAD_CONNECTION_UPGRADE) &&
	    (parser->facts & WEFT_PARSER_WEBSOCKET) && !(parser->facts & WEFT_PARSER_UPGRADE_OTHER))
		head->flags |= WEFT_HEAD_WEBSOCKET;
	if (parser->facts & WEFT_PARSER_CODING) {
		if (head->flags & WEFT_HEAD_CONTENT_LENGTH)
			return weft_bad(head, WEFT_ERROR_LENGTH_AND_CODING);
		head->error = WEFT_ERROR_TRANSFER_ENCODING;
		if (never_has_body)
			return WEFT_PARSE_BAD;
		if (parser->facts & WEFT_PARSER_CODING_OTHER)
			return WEFT_PARSE_CODING;
		head->error = 0;
		head->flags |= WEFT_HEAD_CHUNKED;
	}
	if (never_has_body && head->content_length)
		return weft_bad(head, WEFT_ERROR_CONTENT_LENGTH);
	if (never_has_body && head->flags & WEFT_HEAD_CONTENT_LENGTH)
		head->flags |= WEFT_HEAD_PRIVATE; /* Envoy strips it */
	if (never_has_body || head->status == 304 || request_method == WEFT_METHOD_HEAD)
		head->flags |= WEFT_HEAD_NO_BODY;
	else if (!(head->flags & (WEFT_HEAD_CHUNKED | WEFT_HEAD_CONTENT_LENGTH)))
		head->flags |= WEFT_HEAD_UNTIL_CLOSE;
	return WEFT_PARSE_DONE;
}

WEFT_STAGE int weft_parse_response(const struct weft_head_bytes *bytes, u32 len, u32 request_method, struct weft_head *head)
{
	struct weft_parser parser = {.facts = WEFT_PARSER_RESPONSE};
	int r;

	if (!bytes || !head)
		return WEFT_PARSE_BAD;
	weft_head_clear(head);
	head->method = request_method;
	parser.len = WEFT_MIN(len, WEFT_HEAD_MAX);
	r = weft_parse_status_line(bytes, &parser, head);
	if (r == WEFT_PARSE_NEXT)
		r = weft_parse_fields(bytes, &parser, head);
	if (r == WEFT_PARSE_DONE)
		return weft_judge_response(&parser, head, request_method);
	if (r == WEFT_PARSE_MORE && len >= WEFT_HEAD_MAX)
		return WEFT_PARSE_TOO_LARGE;
	return r;
}

#endif

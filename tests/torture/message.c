// SPDX-License-Identifier: Apache-2.0
#include "message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bytes.h"

enum { SLOW_BYTES = 400 };

int reader_init(struct reader *reader)
{
	reader->buf = malloc(READER_BYTES);
	return reader->buf ? 0 : -ENOMEM;
}

void reader_free(struct reader *reader)
{
	free(reader->buf);
	reader->buf = NULL;
}

void reader_reset(struct reader *reader, struct io *io)
{
	reader->io = io;
	reader->start = reader->end = 0;
}

void reader_style(struct reader *reader, enum read_mode mode, uint64_t piece, bool is_exact)
{
	reader->mode = mode;
	reader->piece = piece;
	reader->is_exact = is_exact;
	reader->slow = mode == READ_BYTE ? SLOW_BYTES : 0;
}

/* Reads at least one byte more, at most `most`. */
static int fill(struct reader *reader, size_t most)
{
	size_t room;
	ssize_t n;

	if (reader->start == reader->end)
		reader->start = reader->end = 0;
	if (reader->end == READER_BYTES && reader->start) {
		memmove(reader->buf, reader->buf + reader->start, reader->end - reader->start);
		reader->end -= reader->start;
		reader->start = 0;
	}
	room = READER_BYTES - reader->end;
	if (!room)
		return -EBADMSG;
	if (room > most)
		room = most;
	if (reader->piece && room > reader->piece)
		room = (size_t)reader->piece;
	if (reader->slow) {
		room = 1;
		reader->slow--;
	}
	n = io_read(reader->io, reader->buf + reader->end, room, reader->mode);
	if (n <= 0)
		return n == 0 ? -EPIPE : (int)n;
	reader->end += (size_t)n;
	return 0;
}

static bool parse_head(struct head *head, const char *text, size_t len)
{
	const char *line_end = memmem(text, len, "\r\n", 2);
	const char *space = memchr(text, ' ', (size_t)(line_end - text));
	const char *second;

	if (!space)
		return false;
	second = memchr(space + 1, ' ', (size_t)(line_end - space - 1));
	head->first[0] = (struct text){text, (size_t)(space - text)};
	head->first[1] = (struct text){space + 1, (size_t)((second ? second : line_end) - space - 1)};
	head->first[2] = (struct text){second ? second + 1 : line_end, second ? (size_t)(line_end - second - 1) : 0};
	head->fields = line_end + 2;
	head->fields_len = len - (size_t)(head->fields - text) - 2;
	head->len = len;
	return true;
}

int reader_head(struct reader *reader, struct head *head)
{
	size_t seen = 0;

	for (;;) {
		const char *at = reader->buf + reader->start;
		size_t len = reader->end - reader->start;
		const char *end = NULL;
		int r;

		if (len > seen) {
			size_t from = seen > 3 ? seen - 3 : 0;

			end = memmem(at + from, len - from, "\r\n\r\n", 4);
			seen = len;
		}
		if (end) {
			size_t head_len = (size_t)(end - at) + 4;

			reader->start += head_len;
			return parse_head(head, at, head_len) ? 0 : -EBADMSG;
		}
		r = fill(reader, SIZE_MAX);
		if (r == -EPIPE && reader->end == reader->start)
			return -ENODATA;
		if (r)
			return r;
	}
}

bool head_field(const struct head *head, const char *name, unsigned int nth, struct text *value)
{
	const char *at = head->fields;
	const char *end = at + head->fields_len;
	size_t name_len = strlen(name);

	while (at < end) {
		const char *line_end = memmem(at, (size_t)(end - at), "\r\n", 2);

		if (!line_end)
			return false;
		if ((size_t)(line_end - at) > name_len && at[name_len] == ':' && !strncasecmp(at, name, name_len) && nth-- == 0) {
			at += name_len + 1;
			while (at < line_end && (*at == ' ' || *at == '\t'))
				at++;
			while (line_end > at && (line_end[-1] == ' ' || line_end[-1] == '\t'))
				line_end--;
			*value = (struct text){at, (size_t)(line_end - at)};
			return true;
		}
		at = line_end + 2;
	}
	return false;
}

bool text_is(struct text text, const char *literal)
{
	return text.len == strlen(literal) && !strncasecmp(text.at, literal, text.len);
}

bool text_number(struct text text, uint64_t *out)
{
	uint64_t value = 0;

	if (!text.len || text.len > 19)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(text.at[i] - '0');
	}
	*out = value;
	return true;
}

static void hex(char *out, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sprintf(out + 2 * i, "%02x", ((const uint8_t *)data)[i]);
}

static int wrong_bytes(struct body *body, const char *data, size_t len, size_t right)
{
	char is[33] = "", should[33] = "", expected[16];
	size_t n = len - right < 16 ? len - right : 16;
	uint64_t at = body->got + right;
	int64_t found = n >= 8 ? bytes_find(body->key, body->expected + 1, data + right, n) : -1;

	bytes_fill(body->key, at, expected, n);
	hex(is, data + right, n);
	hex(should, expected, n);
	snprintf(body->error, sizeof(body->error), "body byte %llu of %llu: is %s, should be %s; these bytes stand at %lld of this body",
		 (unsigned long long)at, (unsigned long long)body->expected, is, should, (long long)found);
	return -EBADMSG;
}

static int check(struct body *body, const char *data, size_t len)
{
	size_t right;

	if (!body->is_checked) {
		body->got += len;
		return 0;
	}
	if (len > body->expected - body->got) {
		snprintf(body->error, sizeof(body->error), "body longer than its %llu bytes", (unsigned long long)body->expected);
		return -EBADMSG;
	}
	right = bytes_check(body->key, body->got, data, len);
	if (right < len)
		return wrong_bytes(body, data, len, right);
	body->got += len;
	return 0;
}

/* Reads what body->left says (UINT64_MAX: to the end of the stream, -EPIPE then). */
static int read_span(struct reader *reader, struct body *body)
{
	while (body->left) {
		size_t n = reader->end - reader->start;
		int r;

		if (body->got >= body->stop_at)
			return 1;
		if (!n) {
			r = fill(reader, reader->is_exact && body->left < SIZE_MAX ? (size_t)body->left : SIZE_MAX);
			if (r)
				return r;
			continue;
		}
		if (n > body->left)
			n = (size_t)body->left;
		r = check(body, reader->buf + reader->start, n);
		if (r)
			return r;
		reader->start += n;
		if (body->left != UINT64_MAX)
			body->left -= n;
		if (body->stall_ms && body->got >= body->stall_at) {
			io_pause(reader->io, body->stall_ms);
			body->stall_ms = 0;
		}
	}
	return 0;
}

/* A line of chunk framing, at most 4096 bytes, without its CRLF. */
static int read_line(struct reader *reader, char *out, size_t len, size_t *line_len)
{
	size_t used = 0;

	for (;;) {
		int r;

		if (reader->start == reader->end) {
			r = fill(reader, reader->is_exact ? 1 : SIZE_MAX);
			if (r)
				return r;
		}
		if (used == len)
			return -EBADMSG;
		out[used++] = reader->buf[reader->start++];
		if (used >= 2 && out[used - 2] == '\r' && out[used - 1] == '\n') {
			*line_len = used - 2;
			return 0;
		}
	}
}

static int bad_chunk(struct body *body, const char *what, const char *line, size_t len)
{
	snprintf(body->error, sizeof(body->error), "after body byte %llu of %llu: %s: %.*s", (unsigned long long)body->got,
		 (unsigned long long)body->expected, what, (int)(len < 60 ? len : 60), line);
	return -EBADMSG;
}

static int parse_chunk_size(struct body *body, const char *line, size_t len)
{
	uint64_t size = 0;
	size_t i = 0;

	for (; i < len && line[i] != ';' && line[i] != ' '; i++) {
		static const char digits[] = "0123456789abcdef";
		const char *digit = memchr(digits, line[i] | 0x20, 16);

		if (!digit || i > 15)
			return bad_chunk(body, "no chunk size", line, len);
		size = size * 16 + (uint64_t)(digit - digits);
	}
	if (!i)
		return bad_chunk(body, "empty chunk size", line, len);
	body->left = size;
	return 0;
}

static int read_trailer(struct reader *reader, struct body *body)
{
	char line[4096];
	size_t len = 0;
	int r;

	for (;;) {
		r = read_line(reader, line, sizeof(line), &len);
		if (r)
			return r == -EBADMSG ? bad_chunk(body, "endless trailer", line, 20) : r;
		if (!len)
			return 0;
		if (len < 10 || strncasecmp(line, "X-Trailer:", 10))
			return bad_chunk(body, "unknown trailer", line, len);
	}
}

static int read_chunked(struct reader *reader, struct body *body)
{
	char line[4096];
	size_t len = 0;
	int r;

	while (!body->in_trailer) {
		if (!body->left) {
			r = read_line(reader, line, sizeof(line), &len);
			if (!r)
				r = parse_chunk_size(body, line, len);
			else if (r == -EBADMSG)
				r = bad_chunk(body, "endless chunk size", line, 20);
			if (r)
				return r;
			body->in_trailer = !body->left;
			continue;
		}
		r = read_span(reader, body);
		if (r)
			return r;
		r = read_line(reader, line, 2, &len);
		if (r)
			return r == -EBADMSG ? bad_chunk(body, "no CRLF after a chunk", line, 2) : r;
	}
	return read_trailer(reader, body);
}

int reader_body(struct reader *reader, struct body *body)
{
	int r;

	switch (body->framing) {
	case FRAMING_LENGTH:
		if (body->is_checked && body->length != body->expected) {
			snprintf(body->error, sizeof(body->error), "content-length %llu, should be %llu", (unsigned long long)body->length,
				 (unsigned long long)body->expected);
			return -EBADMSG;
		}
		if (!body->is_begun)
			body->left = body->length;
		body->is_begun = true;
		r = read_span(reader, body);
		break;
	case FRAMING_CHUNKED:
	case FRAMING_TRAILERS:
		r = read_chunked(reader, body);
		break;
	case FRAMING_EOF:
		body->left = UINT64_MAX;
		r = read_span(reader, body);
		if (r == -EPIPE && (!body->is_checked || body->got == body->expected))
			r = 0;
		break;
	case FRAMING_NONE:
	default:
		r = 0;
		break;
	}
	if (!r && body->is_checked && body->got != body->expected && body->framing != FRAMING_NONE) {
		snprintf(body->error, sizeof(body->error), "body ends after %llu of %llu bytes, as if it was whole", (unsigned long long)body->got,
			 (unsigned long long)body->expected);
		r = -EBADMSG;
	}
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/grpc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

static const char *const status_names[] = {
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
};

const char *xds_grpc_status_name(int status, char number[16])
{
	if (status >= 0 && (size_t)status < ARRAY_SIZE(status_names))
		return status_names[status];
	snprintf(number, 16, "status %d", status);
	return number;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int xds_percent_decode(const char *text, size_t size, struct strbuf *out)
{
	for (size_t i = 0; i < size; i++) {
		int high = -1, low = -1;

		if (text[i] == '%' && size - i > 2) {
			high = hex(text[i + 1]);
			low = hex(text[i + 2]);
		}
		if (high >= 0 && low >= 0) {
			strbuf_append_byte(out, (char)(high << 4 | low));
			i += 2;
		} else {
			strbuf_append_byte(out, text[i]);
		}
	}
	return strbuf_status(out);
}

void xds_grpc_head_reset(struct xds_grpc_head *head)
{
	strbuf_release(&head->message);
	head->http_major = head->http_status = 0;
	head->content_type[0] = '\0';
	head->grpc_status = -1;
}

void xds_grpc_head_release(struct xds_grpc_head *head)
{
	strbuf_release(&head->message);
}

/* "HTTP/2 200", "HTTP/1.1 503 Service Unavailable" */
static bool read_status_line(const char *line, size_t size, uint32_t *out)
{
	const char *blank;
	uint32_t status = 0;

	if (size < 8 || memcmp(line, "HTTP/", 5) != 0)
		return false;
	blank = memchr(line, ' ', size);
	if (!blank || line + size - blank < 4)
		return false;
	for (int i = 1; i <= 3; i++) {
		if (blank[i] < '0' || blank[i] > '9')
			return false;
		status = status * 10 + (uint32_t)(blank[i] - '0');
	}
	*out = status;
	return true;
}

static int parse_status(const char *text, size_t size)
{
	int status = 0;

	if (!size || size > 3)
		return -2;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -2;
		status = status * 10 + text[i] - '0';
	}
	return status;
}

static bool is_named(const char *line, size_t name_size, const char *name)
{
	return strlen(name) == name_size && strncasecmp(line, name, name_size) == 0;
}

static void begin_head(struct xds_grpc_head *head, uint32_t http_major, uint32_t http_status)
{
	xds_grpc_head_reset(head);
	head->http_major = http_major;
	head->http_status = http_status;
}

int xds_grpc_head_field(struct xds_grpc_head *head, const char *name, size_t name_size, const char *value, size_t value_size)
{
	if (is_named(name, name_size, ":status")) {
		int status = parse_status(value, value_size);

		begin_head(head, 2, status < 0 ? 0 : (uint32_t)status);
	} else if (is_named(name, name_size, "content-type")) {
		snprintf(head->content_type, sizeof(head->content_type), "%.*s", (int)(value_size < 127 ? value_size : 127), value);
	} else if (is_named(name, name_size, "grpc-status")) {
		head->grpc_status = parse_status(value, value_size);
	} else if (is_named(name, name_size, "grpc-message")) {
		strbuf_release(&head->message);
		return xds_percent_decode(value, value_size < XDS_GRPC_MESSAGE_MAX ? value_size : XDS_GRPC_MESSAGE_MAX, &head->message);
	}
	return 0;
}

int xds_grpc_head_line(struct xds_grpc_head *head, const char *line, size_t size)
{
	const char *colon, *value;
	uint32_t status;

	while (size && (line[size - 1] == '\n' || line[size - 1] == '\r' || line[size - 1] == ' '))
		size--;
	if (read_status_line(line, size, &status)) {
		begin_head(head, (uint32_t)(line[5] - '0'), status);
		return 0;
	}
	colon = size ? memchr(line, ':', size) : NULL;
	if (!colon || colon == line)
		return 0;
	value = colon + 1;
	while (value < line + size && (*value == ' ' || *value == '\t'))
		value++;
	return xds_grpc_head_field(head, line, (size_t)(colon - line), value, size - (size_t)(value - line));
}

int xds_grpc_head_trailers(struct xds_grpc_head *head, const char *block, size_t size)
{
	const char *end = block + size;
	int r = 0;

	while (block < end && r == 0) {
		const char *line_end = memchr(block, '\n', (size_t)(end - block));

		line_end = line_end ? line_end + 1 : end;
		/* No status line can stand here, and what looks like one must not begin anew. */
		if (line_end - block < 5 || memcmp(block, "HTTP/", 5) != 0)
			r = xds_grpc_head_line(head, block, (size_t)(line_end - block));
		block = line_end;
	}
	return r;
}

bool xds_grpc_head_is_good(const struct xds_grpc_head *head)
{
	const char *type = head->is_web ? "application/grpc-web" : "application/grpc";
	size_t size = strlen(type);

	if (head->http_status != 200 || strncasecmp(head->content_type, type, size) != 0)
		return false;
	/* application/grpc-web-text is base64, which was not asked for */
	return !head->content_type[size] || strchr("+; ", head->content_type[size]);
}

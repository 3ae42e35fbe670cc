/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/explain_head.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int complain(char *complaint, size_t size, const char *text)
{
	snprintf(complaint, size, "%s", text);
	return -EINVAL;
}

static int parse_port(const char *text, size_t len, uint16_t *out)
{
	unsigned value = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(text[i] - '0');
		if (value > 65535)
			return -EINVAL;
	}
	if (value == 0)
		return -EINVAL;
	*out = (uint16_t)value;
	return 0;
}

int explain_url_parse(const char *text, struct explain_url *out, char *complaint, size_t size)
{
	struct explain_url url = { .port = 80, .address = WEFT_IP4(0) };
	const char *colon, *bracket = NULL;
	size_t len;

	if (strncasecmp(text, "https://", 8) == 0) {
		text += 8;
		url.is_tls = true;
		url.port = 443;
	} else if (strncasecmp(text, "http://", 7) == 0) {
		text += 7;
	} else if (strstr(text, "://")) {
		return complain(complaint, size, "a URL that begins with http:// or https:// is expected");
	}
	len = strcspn(text, "/?#");
	url.target = text[len] ? text + len : "/";
	if (memchr(text, '@', len))
		return complain(complaint, size, "a URL with a user in it: what clients make of that is a header, -H 'authorization: ...'");
	if (*text == '[') {
		bracket = memchr(text, ']', len);
		if (!bracket || (bracket + 1 < text + len && bracket[1] != ':'))
			return complain(complaint, size, "an IPv6 address is written [address] or [address]:port");
	}
	colon = memchr(bracket ? bracket : text, ':', len - (size_t)(bracket ? bracket - text : 0));
	if (colon) {
		if (parse_port(colon + 1, len - (size_t)(colon + 1 - text), &url.port))
			return complain(complaint, size, "the URL's port is not a number from 1 to 65535");
		len = (size_t)(colon - text);
	}
	if (len == 0 || len >= sizeof(url.host))
		return complain(complaint, size, "the URL has no host, or one of more than 255 bytes");
	if (bracket) {
		text++;
		len -= 2;
	}
	memcpy(url.host, text, len);
	url.is_ip = weft_address_parse(url.host, &url.address);
	if (bracket && (!url.is_ip || !strchr(url.host, ':')))
		return complain(complaint, size, "what stands in the URL's brackets is no IPv6 address");
	*out = url;
	return 0;
}

static bool is_named(const char *line, const char *name)
{
	size_t len = strlen(name);

	return strncasecmp(line, name, len) == 0 && line[len] == ':';
}

int explain_head(const char *method, const struct explain_url *url, const json_t *headers, struct strbuf *out, char *complaint, size_t size)
{
	bool has_host = false, is_bracketed = strchr(url->host, ':');
	const json_t *header;
	size_t i;

	strbuf_printf(out, "%s %s%s HTTP/1.1\r\n", method, url->target[0] == '/' ? "" : "/", url->target);
	json_array_foreach(headers, i, header) {
		const char *line = json_string_value(header);

		if (!line || strpbrk(line, "\r\n") || !strchr(line, ':'))
			return complain(complaint, size, "a header is written \"name: value\", without line breaks");
		has_host |= is_named(line, "host");
	}
	if (!has_host && url->port == 80)
		strbuf_printf(out, is_bracketed ? "host: [%s]\r\n" : "host: %s\r\n", url->host);
	else if (!has_host)
		strbuf_printf(out, is_bracketed ? "host: [%s]:%u\r\n" : "host: %s:%u\r\n", url->host, url->port);
	json_array_foreach(headers, i, header)
		strbuf_printf(out, "%s\r\n", json_string_value(header));
	return strbuf_append_text(out, "\r\n");
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define EXAMPLE "such as grpc://istiod.istio-system.svc:15010"

static const struct scheme {
	const char *name;
	bool is_web, is_tls;
	enum xds_http http;
	uint16_t port;
} schemes[] = {
	{ "grpc", false, false, XDS_HTTP_2, 15010 },
	{ "grpcs", false, true, XDS_HTTP_2, 15012 },
	{ "grpc-web+http", true, false, XDS_HTTP_1, 80 },
	{ "grpc-web+h2c", true, false, XDS_HTTP_2, 80 },
	{ "grpc-web+https", true, true, XDS_HTTP_ANY, 443 },
};

static const struct scheme *find_scheme(const char *text, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		if (strlen(schemes[i].name) == size && strncmp(schemes[i].name, text, size) == 0)
			return &schemes[i];
	}
	return NULL;
}

static bool is_name_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

static bool is_path_byte(char c)
{
	return is_name_byte(c) || (c && strchr("/~!$&'()*+,;=:@%", c));
}

/* What was read of the host; NULL after a complaint. */
static const char *parse_host(const char *at, struct xds_address *address, char *problem, size_t size)
{
	uint8_t bytes[16];
	size_t length = 0;

	if (*at == '[') {
		length = strcspn(++at, "]");
		if (at[length] != ']' || length > XDS_HOST_MAX) {
			snprintf(problem, size, "\"[\" begins an IPv6 address, and \"]\" must end it");
			return NULL;
		}
		memcpy(address->host, at, length);
		if (inet_pton(AF_INET6, address->host, bytes) != 1) {
			snprintf(problem, size, "\"%s\" is no IPv6 address", address->host);
			return NULL;
		}
		address->is_ipv6 = true;
		return at + length + 1;
	}
	while (is_name_byte(at[length]))
		length++;
	if (!length || length > XDS_HOST_MAX) {
		snprintf(problem, size, length ? "a host's name has at most %d bytes" : "a host is expected after \"://\", " EXAMPLE, XDS_HOST_MAX);
		return NULL;
	}
	memcpy(address->host, at, length);
	return at + length;
}

static const char *parse_port(const char *at, struct xds_address *address, char *problem, size_t size)
{
	uint32_t port = 0;
	const char *digits = at;

	while (*at >= '0' && *at <= '9' && at - digits < 5)
		port = port * 10 + (uint32_t)(*at++ - '0');
	if (!port || port > UINT16_MAX || (*at && *at != '/')) {
		snprintf(problem, size, "a port from 1 to 65535 is expected after \":\", not \"%.*s\"", (int)strcspn(digits, "/"), digits);
		return NULL;
	}
	address->port = (uint16_t)port;
	return at;
}

static int parse_prefix(const char *at, struct xds_address *address, char *problem, size_t size)
{
	size_t length = strlen(at);

	while (length && at[length - 1] == '/')
		length--;
	if (length && !address->is_web) {
		snprintf(problem, size, "gRPC has no path before the service's; what follows the port is \"%s\"", at);
		return -EINVAL;
	}
	if (length > XDS_PREFIX_MAX) {
		snprintf(problem, size, "a path has at most %d bytes", XDS_PREFIX_MAX);
		return -EINVAL;
	}
	for (size_t i = 0; i < length; i++) {
		if (!is_path_byte(at[i])) {
			snprintf(problem, size, "byte 0x%02x may not stand in a path", (uint8_t)at[i]);
			return -EINVAL;
		}
	}
	memcpy(address->prefix, at, length);
	return 0;
}

int xds_address_parse(const char *text, struct xds_address *out, char *problem, size_t problem_size)
{
	const char *at = strstr(text, "://");
	const struct scheme *scheme = at ? find_scheme(text, (size_t)(at - text)) : NULL;
	struct xds_address address = { 0 };
	int r;

	if (!scheme) {
		snprintf(problem, problem_size,
			 "it must begin with grpc://, grpcs://, grpc-web+http://, grpc-web+h2c:// or grpc-web+https://, " EXAMPLE);
		return -EINVAL;
	}
	address = (struct xds_address){ .is_web = scheme->is_web, .is_tls = scheme->is_tls, .http = scheme->http, .port = scheme->port };
	at = parse_host(at + 3, &address, problem, problem_size);
	if (at && *at == ':')
		at = parse_port(at + 1, &address, problem, problem_size);
	if (!at)
		return -EINVAL;
	if (*at && *at != '/') {
		snprintf(problem, problem_size, "\"%s\" is neither \":PORT\" nor \"/PATH\"", at);
		return -EINVAL;
	}
	r = parse_prefix(at, &address, problem, problem_size);
	if (r)
		return r;
	*out = address;
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

static const char *const method_names[METHODS] = {
	[METHOD_GET] = "GET", [METHOD_POST] = "POST", [METHOD_PUT] = "PUT", [METHOD_HEAD] = "HEAD",
	[METHOD_DELETE] = "DELETE", [METHOD_OPTIONS] = "OPTIONS",
};

const char *method_name(uint64_t method)
{
	return method < METHODS ? method_names[method] : "?";
}

enum method method_by_name(const char *name, size_t len)
{
	for (int i = 0; i < METHODS; i++) {
		if (strlen(method_names[i]) == len && !memcmp(method_names[i], name, len))
			return (enum method)i;
	}
	return METHODS;
}

size_t spec_encode(const struct spec *spec, char *out, size_t len)
{
	size_t used = 0, without_zeros = 0;

#define FIELD(name)                                                                                              \
	used += (size_t)snprintf(out + used, len - used, used ? ".%llx" : "%llx", (unsigned long long)spec->name); \
	if (spec->name)                                                                                           \
		without_zeros = used;
	SERVER_FIELDS(FIELD)
#undef FIELD
	return without_zeros;
}

int spec_decode(struct spec *spec, const char *text, size_t len)
{
	char copy[512];
	char *p = copy;

	if (len >= sizeof(copy))
		return -EBADMSG;
	memcpy(copy, text, len);
	copy[len] = '\0';
#define FIELD(name)                                          \
	if (*p) {                                             \
		char *end;                                    \
		spec->name = strtoull(p, &end, 16);           \
		if (end == p || (*end != '.' && *end != '\0')) \
			return -EBADMSG;                      \
		p = *end ? end + 1 : end;                     \
	}
	SERVER_FIELDS(FIELD)
#undef FIELD
	return *p ? -EBADMSG : 0;
}

void spec_derive_bare(struct spec *spec)
{
	uint64_t sizes = bytes_key(spec->run, spec->conn, spec->req, BYTES_SCHEDULE);

	spec->status = 200;
	spec->reply_framing = FRAMING_LENGTH;
	spec->reply_body = sizes % 701;
	if (spec->method == METHOD_POST || spec->method == METHOD_PUT) {
		spec->request_framing = FRAMING_LENGTH;
		spec->request_body = sizes / 701 % 1501;
	}
}

void spec_print(const struct spec *spec, char *out, size_t len)
{
	size_t used = 0;

	out[0] = '\0';
#define FIELD(name)                                                                                                         \
	if (spec->name && used < len)                                                                                       \
		used += (size_t)snprintf(out + used, len - used, used ? " %s=%llu" : "%s=%llu", #name, (unsigned long long)spec->name);
	SERVER_FIELDS(FIELD)
	CLIENT_FIELDS(FIELD)
#undef FIELD
}

bool spec_reply_has_body(const struct spec *spec)
{
	return spec->method != METHOD_HEAD && spec->status != 204 && spec->status != 304;
}

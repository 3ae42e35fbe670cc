/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/response.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/varint.h"

#define WRAPPER "envoy.service.discovery.v3.Resource"

enum { VERSION = 1, RESOURCES = 2, TYPE_URL = 4, NONCE = 5 }; /* of DiscoveryResponse */
enum { ANY_TYPE_URL = 1, ANY_VALUE = 2 };
enum { WRAPPER_RESOURCE = 2 };
enum { NAME = 1 };

/* What is not there is empty, and never NULL: functions of memory want a pointer even to no bytes. */
static const struct xds_bytes nothing = { (const uint8_t *)"", 0 };

struct field {
	uint64_t number;
	bool has_bytes;         /* length-delimited: bytes */
	struct xds_bytes bytes;
};

/* False when the bytes are broken; the end of the message is for the caller to see. */
static bool take_field(struct cursor *c, struct field *out)
{
	uint64_t key, size;

	if (!take_varint(c, &key) || !(key >> 3))
		return false;
	*out = (struct field){ .number = key >> 3 };
	switch (key & 7) {
	case 0:
		return take_varint(c, &size);
	case 1:
		return skip_bytes(c, 8);
	case 2:
		if (!take_varint(c, &size))
			return false;
		out->has_bytes = true;
		out->bytes = (struct xds_bytes){ c->at, (size_t)size };
		return skip_bytes(c, size);
	case 5:
		return skip_bytes(c, 4);
	default:
		return false;
	}
}

/* The last one counts, as in protobuf. */
static bool find_bytes(struct xds_bytes message, uint64_t number, struct xds_bytes *out)
{
	struct cursor c = { message.at, message.at + message.size };
	struct field field;

	while (c.at < c.end) {
		if (!take_field(&c, &field))
			return false;
		if (field.number == number && field.has_bytes)
			*out = field.bytes;
	}
	return true;
}

static bool is_wrapper(struct xds_bytes type_url)
{
	const size_t size = strlen(WRAPPER);

	return type_url.size > size && memcmp(type_url.at + type_url.size - size, WRAPPER, size) == 0 && type_url.at[type_url.size - size - 1] == '/';
}

static bool take_any(struct xds_bytes any, struct xds_response_item *out)
{
	*out = (struct xds_response_item){ nothing, nothing, nothing };
	return find_bytes(any, ANY_TYPE_URL, &out->type_url) && find_bytes(any, ANY_VALUE, &out->value);
}

static bool take_item(struct xds_bytes any, struct xds_response_item *out)
{
	struct xds_bytes inner = nothing;

	if (!take_any(any, out))
		return false;
	if (is_wrapper(out->type_url) && (!find_bytes(out->value, WRAPPER_RESOURCE, &inner) || !take_any(inner, out)))
		return false;
	/* Whether the rest of the resource can be read is for who decodes it. */
	(void)find_bytes(out->value, NAME, &out->name);
	return true;
}

static int add_item(struct xds_response *response, size_t *capacity, struct xds_bytes any)
{
	if (response->count == *capacity) {
		size_t wanted = *capacity ? *capacity * 2 : 64;
		struct xds_response_item *items = reallocarray(response->items, wanted, sizeof(*items));

		if (!items)
			return -ENOMEM;
		response->items = items;
		*capacity = wanted;
	}
	if (!take_item(any, &response->items[response->count]))
		return -EBADMSG;
	response->count++;
	return 0;
}

static int set_text(char **text, struct xds_bytes bytes)
{
	char *copy = bytes.size && memchr(bytes.at, 0, bytes.size) ? NULL : strndup((const char *)bytes.at, bytes.size);

	if (!copy)
		return bytes.size && memchr(bytes.at, 0, bytes.size) ? -EBADMSG : -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}

static int take_part(struct xds_response *response, size_t *capacity, const struct field *field)
{
	if (!field->has_bytes)
		return 0;
	switch (field->number) {
	case VERSION:
		return set_text(&response->version, field->bytes);
	case RESOURCES:
		return add_item(response, capacity, field->bytes);
	case TYPE_URL:
		return set_text(&response->type_url, field->bytes);
	case NONCE:
		return set_text(&response->nonce, field->bytes);
	}
	return 0;
}

int xds_response_parse(const void *bytes, size_t size, struct xds_response *out, const char **problem)
{
	struct cursor c = { bytes, (const uint8_t *)bytes + size };
	size_t capacity = 0;
	struct field field;
	int r = 0;

	*out = (struct xds_response){ strdup(""), strdup(""), strdup(""), NULL, 0 };
	*problem = "";
	if (!out->version || !out->type_url || !out->nonce)
		return -ENOMEM;
	while (!r && c.at < c.end)
		r = take_field(&c, &field) ? take_part(out, &capacity, &field) : -EBADMSG;
	if (r == -EBADMSG)
		*problem = "the bytes are no DiscoveryResponse";
	return r;
}

int xds_response_item_of(const void *bytes, size_t size, struct xds_response_item *out)
{
	*out = (struct xds_response_item){ nothing, { size ? bytes : "", size }, nothing };
	return find_bytes(out->value, NAME, &out->name) ? 0 : -EBADMSG;
}

void xds_response_release(struct xds_response *response)
{
	free(response->version);
	free(response->type_url);
	free(response->nonce);
	free(response->items);
	*response = (struct xds_response){ NULL, NULL, NULL, NULL, 0 };
}

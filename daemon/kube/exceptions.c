/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/exceptions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kube/objects.h"
#include "weft/address_host.h"

#define BOTH_FAMILIES (1u << WEFT_FAMILY_4 | 1u << WEFT_FAMILY_6)

struct reading {
	struct weft_exceptions *out;
	const char *name;            /* of the annotation */
	bool is_meshed;
	char *problem;
	size_t problem_size;
};

/* The first `bits` of an address. */
static struct weft_address mask_of(uint32_t bits)
{
	struct weft_address mask = { { 0 } };

	for (uint32_t i = 0; i < 4 && bits; i++) {
		uint32_t here = bits < 32 ? bits : 32;

		mask.be[i] = htonl(0xffffffffu << (32 - here));
		bits -= here;
	}
	return mask;
}

/* A whole number of at most `most`, digits alone. */
static bool read_number(const char *text, uint32_t most, uint32_t *out)
{
	uint32_t value = 0;

	if (!*text || strlen(text) > 5)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (uint32_t)(*text - '0');
	}
	*out = value;
	return value <= most;
}

static bool read_port(char *item, struct weft_exception *out)
{
	uint32_t port;

	if (!read_number(item, 65535, &port) || !port)
		return false;
	out->port_be = htons((uint16_t)port);
	out->families = BOTH_FAMILIES;
	return true;
}

/* "10.0.0.0/8", "fd00::/8"; what stands behind the prefix counts as little as for iptables. */
static bool read_range(char *item, struct weft_exception *out)
{
	char *slash = strchr(item, '/');
	bool is_ip6 = strchr(item, ':');
	uint32_t bits;

	if (!slash)
		return false;
	*slash = 0;
	if (!weft_address_parse(item, &out->network) || !read_number(slash + 1, is_ip6 ? 128 : 32, &bits))
		return false;
	out->mask = mask_of(is_ip6 ? bits : bits + 96);
	for (int i = 0; i < 4; i++)
		out->network.be[i] &= out->mask.be[i];
	out->families = (uint16_t)(1u << (is_ip6 ? WEFT_FAMILY_6 : WEFT_FAMILY_4));
	return true;
}

/* Items between commas; spaces around them and empty ones are nothing. */
static int read_list(struct reading *reading, const char *value, bool (*read)(char *item, struct weft_exception *out))
{
	_cleanup_free_ char *copy = strdup(value);
	char *rest = copy, *item;

	if (!copy)
		return -ENOMEM;
	while ((item = strsep(&rest, ","))) {
		struct weft_exceptions *out = reading->out;
		struct weft_exception exception = { .is_meshed = reading->is_meshed };
		char shown[64];

		item += strspn(item, " \t");
		item[strcspn(item, " \t")] = 0;
		if (!*item)
			continue;
		snprintf(shown, sizeof(shown), "%s", item);
		if (!read(item, &exception)) {
			snprintf(reading->problem, reading->problem_size, "the annotation " EXCEPTIONS_PREFIX "%s can't be read: %s", reading->name, shown);
			return -EINVAL;
		}
		if (out->count == WEFT_EXCEPTIONS_MAX) {
			snprintf(reading->problem, reading->problem_size, "its annotations " EXCEPTIONS_PREFIX " name more than %u ports and ranges",
				 WEFT_EXCEPTIONS_MAX);
			return -E2BIG;
		}
		out->items[out->count++] = exception;
	}
	return 0;
}

static const struct {
	const char *name;
	bool is_meshed;
	bool (*read)(char *item, struct weft_exception *out);
} annotations[] = { /* in the order in which Istio's rules come */
	{ "excludeOutboundPorts", false, read_port },
	{ "excludeOutboundIPRanges", false, read_range },
	{ "includeOutboundPorts", true, read_port },
	{ "includeOutboundIPRanges", true, read_range },
};

bool exceptions_has(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(annotations); i++)
		if (strcmp(annotations[i].name, name) == 0)
			return true;
	return false;
}

int exceptions_read(const struct kube_pod *pod, struct weft_exceptions *out, char *problem, size_t problem_size)
{
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < ARRAY_SIZE(annotations); i++) {
		struct reading reading = { out, annotations[i].name, annotations[i].is_meshed, problem, problem_size };
		bool is_last = i + 1 == ARRAY_SIZE(annotations);
		const char *value;
		char key[64];
		int r;

		snprintf(key, sizeof(key), EXCEPTIONS_PREFIX "%s", annotations[i].name);
		value = kube_pod_annotation(pod, key);
		/* What ranges are meshed is said of all, or of those in the list, which may be empty. */
		if (!value || (is_last && strcmp(value, "*") == 0))
			continue;
		out->leaves_rest = is_last;
		r = read_list(&reading, value, annotations[i].read);
		if (r)
			return r;
	}
	return 0;
}

bool exceptions_are_none(const struct weft_exceptions *exceptions)
{
	if (exceptions->leaves_rest)
		return false;
	for (uint32_t i = 0; i < exceptions->count; i++)
		if (!exceptions->items[i].is_meshed)
			return false;
	return true;
}

size_t exceptions_size(const struct weft_exceptions *exceptions)
{
	return offsetof(struct weft_exceptions, items) + exceptions->count * sizeof(exceptions->items[0]);
}

bool exceptions_are_equal(const struct weft_exceptions *a, const struct weft_exceptions *b)
{
	if (!a || !b)
		return a == b;
	return exceptions_size(a) == exceptions_size(b) && memcmp(a, b, exceptions_size(a)) == 0;
}

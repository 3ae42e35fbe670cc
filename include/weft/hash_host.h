/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Host only: what hash policies find in any head, as Envoy's header map would have it. Part of hash.h. */
#ifndef WEFT_HASH_HOST_H
#define WEFT_HASH_HOST_H

#include <arpa/inet.h>

#include "weft/address_host.h"

struct weft_hash_value {
	const u8 *bytes;
	u32 len;
};

struct weft_hash_values {
	struct weft_hash_value items[WEFT_FIELDS_MAX + 1];
	u32 count;
	u8 joined[WEFT_JOINED_MAX]; /* where the only value is one that Envoy makes of several lines */
};

static inline u64 weft_hash_bytes(const void *bytes, u32 len, u64 seed)
{
	return weft_xxhash64(bytes, 0, len, seed);
}

/* Of a client's address, as Envoy hashes it: as text, without the port. */
static inline u64 weft_source_hash(const struct weft_address *address)
{
	const struct weft_address_text ip = weft_address_text(address);

	return weft_hash_bytes(ip.text, (u32)strlen(ip.text), 0);
}

static inline const struct weft_text *weft_hash_text(const struct weft_hash_query *query, weft_ref ref)
{
	return weft_at(&query->image, ref);
}

static inline void weft_hash_add(struct weft_hash_values *values, const void *bytes, u32 len)
{
	values->items[values->count++] = (struct weft_hash_value){bytes, len};
}

/* The lines of a header, in order. */
static inline void weft_hash_lines(const struct weft_head_bytes *bytes, const struct weft_head *head, const u8 *name, u32 name_len,
				   u32 name_hash, struct weft_hash_values *values)
{
	u8 padded[WEFT_KNOWN_NAME_MAX + 8] = {};
	u32 known, len, i;

	memcpy(padded, name, WEFT_MIN(name_len, WEFT_KNOWN_NAME_MAX));
	known = name_len <= WEFT_KNOWN_NAME_MAX ? weft_known_name(padded, name_len, name_hash) : WEFT_NAME_UNKNOWN;
	if (weft_is_rewritten(head, known)) {
		if (weft_rewritten_value(bytes, head, known, values->joined, &len))
			weft_hash_add(values, values->joined, len);
		return;
	}
	for (i = 0; i < head->field_count; i++) {
		const struct weft_field *field = &head->fields[i];

		if (field->name_hash == name_hash && field->name.len == name_len &&
		    !strncasecmp((const char *)bytes->data + field->name.off, (const char *)name, name_len) &&
		    !weft_is_hidden(bytes, head, field, known))
			weft_hash_add(values, bytes->data + field->value.off, field->value.len);
	}
	if (!values->count && known == WEFT_NAME_X_FORWARDED_PROTO)
		weft_hash_add(values, "http", 4);
}

/* Envoy, forEachCookie: parts between semicolons, blanks before the name skipped, quotes around the value too. The first one counts. */
static inline bool weft_hash_cookie_in(const struct weft_hash_value *line, const struct weft_text *name, struct weft_hash_value *value)
{
	u32 begin = 0, end;

	for (; begin < line->len; begin = end + 1) {
		const u8 *part = line->bytes + begin, *equals;
		u32 len;

		for (end = begin; end < line->len && line->bytes[end] != ';'; end++)
			;
		len = end - begin;
		while (len && *part == ' ')
			part++, len--;
		equals = memchr(part, '=', len);
		if (!equals || (u32)(equals - part) != name->len || memcmp(part, name->bytes, name->len))
			continue;
		value->bytes = equals + 1;
		value->len = len - name->len - 1;
		if (value->len >= 2 && value->bytes[0] == '"' && value->bytes[value->len - 1] == '"') {
			value->bytes++;
			value->len -= 2;
		}
		return true;
	}
	return false;
}

static inline int weft_hash_cookie(const struct weft_hash_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				   const struct weft_hash_policy *policy, u64 *hash)
{
	const struct weft_text *name = weft_hash_text(query, policy->name);
	struct weft_hash_value value = {};
	struct weft_hash_values lines;
	u32 i;

	lines.count = 0;
	weft_hash_lines(bytes, head, (const u8 *)"cookie", 6, weft_name_hash((const u8 *)"cookie", 6), &lines);
	for (i = 0; i < lines.count; i++)
		if (weft_hash_cookie_in(&lines.items[i], name, &value))
			break;
	if (value.len) {
		*hash = weft_hash_bytes(value.bytes, value.len, 0);
		return 1;
	}
	if (!(policy->flags & WEFT_HASH_MAKES_COOKIE))
		return 0;
	if (!query->make_cookie)
		return WEFT_EXCEEDS;
	*hash = query->make_cookie(query->arg, policy);
	return 1;
}

/* Envoy, getLastAddressFromXFF: what follows the last comma, if it is an address; else the connection's. */
static inline u64 weft_hash_source(const struct weft_hash_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				   const struct weft_hash_policy *policy)
{
	const struct weft_text *name = weft_hash_text(query, policy->name);
	char text[INET6_ADDRSTRLEN];
	struct weft_hash_values lines;
	const u8 *from, *end;
	u8 address[16];

	lines.count = 0;
	weft_hash_lines(bytes, head, name->bytes, name->len, policy->name_hash, &lines);
	if (!lines.count)
		return query->source_hash;
	from = lines.items[0].bytes;
	end = from + lines.items[0].len;
	for (const u8 *p = end; p > from; p--) {
		if (p[-1] != ',')
			continue;
		if (p < end)
			from = p;
		break;
	}
	while (from < end && weft_is_blank(*from))
		from++;
	while (end > from && weft_is_blank(end[-1]))
		end--;
	if (end - from >= (long)sizeof(text))
		return query->source_hash;
	memcpy(text, from, end - from);
	text[end - from] = '\0';
	if (inet_pton(AF_INET, text, address) == 1)
		inet_ntop(AF_INET, address, text, sizeof(text));
	else if (inet_pton(AF_INET6, text, address) == 1)
		inet_ntop(AF_INET6, address, text, sizeof(text));
	else
		return query->source_hash;
	return weft_hash_bytes(text, strlen(text), 0);
}

static inline int weft_hash_before(const struct weft_hash_value *a, const struct weft_hash_value *b)
{
	int order = memcmp(a->bytes, b->bytes, WEFT_MIN(a->len, b->len));

	return order ? order < 0 : a->len < b->len;
}

/* Values of a header: rewritten, sorted, hashed one into the other. */
static inline int weft_hash_values_of(const struct weft_hash_query *query, const struct weft_hash_policy *policy, struct weft_hash_values *values,
				      u64 *hash)
{
	u64 sum = 0;
	u32 i, k;

	if (!values->count)
		return 0;
	for (i = 0; policy->pattern && i < values->count; i++) {
		struct weft_hash_value *value = &values->items[i];

		if (!query->rewrite || query->rewrite(query->arg, policy, value->bytes, value->len, &value->bytes, &value->len))
			return WEFT_EXCEEDS;
	}
	for (i = 1; i < values->count; i++) {
		struct weft_hash_value value = values->items[i];

		for (k = i; k && weft_hash_before(&value, &values->items[k - 1]); k--)
			values->items[k] = values->items[k - 1];
		values->items[k] = value;
	}
	for (i = 0; i < values->count; i++)
		sum = weft_hash_bytes(values->items[i].bytes, values->items[i].len, sum);
	*hash = sum;
	return 1;
}

static inline int weft_hash_found(const struct weft_hash_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				  const struct weft_hash_policy *policy, u64 *hash)
{
	const struct weft_text *name = policy->name ? weft_hash_text(query, policy->name) : NULL;
	struct weft_hash_values values;

	values.count = 0;
	switch (policy->kind) {
	case WEFT_HASH_HEADER:
		weft_hash_lines(bytes, head, name->bytes, name->len, policy->name_hash, &values);
		break;
	case WEFT_HASH_METHOD:
		weft_hash_add(&values, bytes->data + head->method_span.off, head->method_span.len);
		break;
	case WEFT_HASH_AUTHORITY:
		weft_hash_add(&values, bytes->data + head->authority.off, head->authority.len);
		break;
	case WEFT_HASH_PATH:
		weft_hash_add(&values, query->target ? query->target : bytes->data + head->target.off,
			      query->target ? query->target_len : head->target.len);
		break;
	case WEFT_HASH_SCHEME:
		weft_hash_add(&values, "https", weft_is_https(bytes, head) ? 5 : 4);
		break;
	case WEFT_HASH_COOKIE:
		return weft_hash_cookie(query, bytes, head, policy, hash);
	case WEFT_HASH_QUERY:
		return weft_hash_parameter(query, bytes, head, policy, hash);
	case WEFT_HASH_SOURCE_IP:
		*hash = weft_hash_source(query, bytes, head, policy);
		return 1;
	default:
		return WEFT_EXCEEDS;
	}
	return weft_hash_values_of(query, policy, &values, hash);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Host only: what Envoy's matchers see of a head in the cases that the kernel hands up. Lines that Envoy removes before matching are
 * hidden; those of names that it joins are one text (FACTS "Header and query matchers"). Part of conditions.h. */
#ifndef WEFT_VISIBLE_H
#define WEFT_VISIBLE_H

#include <strings.h>

/* x-envoy- controls that Envoy strips from what comes in. */
static const char *const weft_stripped_names[] = {
	"x-envoy-internal",
	"x-envoy-retriable-status-codes",
	"x-envoy-retriable-header-names",
	"x-envoy-retry-on",
	"x-envoy-retry-grpc-on",
	"x-envoy-max-retries",
	"x-envoy-upstream-alt-stat-name",
	"x-envoy-upstream-rq-timeout-ms",
	"x-envoy-upstream-rq-per-try-timeout-ms",
	"x-envoy-upstream-rq-timeout-alt-response",
	"x-envoy-expected-rq-timeout-ms",
	"x-envoy-force-trace",
	"x-envoy-ip-tags",
	"x-envoy-original-url",
	"x-envoy-hedge-on-per-try-timeout",
};

static inline u32 weft_field_name(const struct weft_head_bytes *bytes, const struct weft_field *field)
{
	return weft_known_name(bytes->data + field->name.off, field->name.len, field->name_hash);
}

static inline bool weft_is_an_upgrade(const struct weft_head *head)
{
	return (head->flags & WEFT_HEAD_UPGRADE) && (head->flags & WEFT_HEAD_CONNECTION_UPGRADE);
}

/* Is the name listed in a Connection line? */
static inline bool weft_connection_names(const struct weft_head_bytes *bytes, const struct weft_head *head, const u8 *name, u32 len)
{
	u32 i;

	for (i = 0; i < head->field_count; i++) {
		const struct weft_field *field = &head->fields[i];
		const u8 *value = bytes->data + field->value.off;
		u32 begin = 0, end;

		if (weft_field_name(bytes, field) != WEFT_NAME_CONNECTION)
			continue;
		while (begin < field->value.len) {
			u32 from = begin, to;

			end = begin;
			while (end < field->value.len && value[end] != ',')
				end++;
			to = end;
			while (from < to && weft_is_blank(value[from]))
				from++;
			while (to > from && weft_is_blank(value[to - 1]))
				to--;
			if (to - from == len && !strncasecmp((const char *)value + from, (const char *)name, len))
				return true;
			begin = end + 1;
		}
	}
	return false;
}

/* Is the line removed before matching? */
static inline bool weft_is_hidden(const struct weft_head_bytes *bytes, const struct weft_head *head, const struct weft_field *field, u32 name)
{
	const u8 *text = bytes->data + field->name.off;
	size_t i;

	switch (name) {
	case WEFT_NAME_KEEP_ALIVE:
	case WEFT_NAME_PROXY_CONNECTION:
	case WEFT_NAME_TRANSFER_ENCODING:
	case WEFT_NAME_X_FORWARDED_CLIENT_CERT:
		return true;
	case WEFT_NAME_CONNECTION:
	case WEFT_NAME_UPGRADE:
		return !weft_is_an_upgrade(head);
	}
	if (head->flags & WEFT_HEAD_PRIVATE)
		for (i = 0; i < WEFT_ARRAY_SIZE(weft_stripped_names); i++)
			if (strlen(weft_stripped_names[i]) == field->name.len &&
			    !strncasecmp((const char *)text, weft_stripped_names[i], field->name.len))
				return true;
	return (head->flags & WEFT_HEAD_CONNECTION_OTHER) && !weft_is_an_upgrade(head) &&
	       weft_connection_names(bytes, head, text, field->name.len);
}

/* Does Envoy make one line, or another, of what came? */
static inline bool weft_is_rewritten(const struct weft_head *head, u32 name)
{
	if (name == WEFT_NAME_TE || (name == WEFT_NAME_CONNECTION && weft_is_an_upgrade(head)))
		return true;
	return (head->flags & WEFT_HEAD_REPEATED_JOINED) && (weft_known_names[name].flags & WEFT_NAME_IS_JOINED);
}

#define WEFT_JOINED_MAX (WEFT_PROXY_HEAD_MAX + 16)

/* The value of that one line: te is `trailers` if that is in a list, else it is removed; other names are joined by commas. False: there
 * is no such line. */
static inline bool weft_rewritten_value(const struct weft_head_bytes *bytes, const struct weft_head *head, u32 name,
					u8 joined[WEFT_JOINED_MAX], u32 *joined_len)
{
	bool is_present = false;
	u32 len = 0, i;

	for (i = 0; i < head->field_count; i++) {
		const struct weft_field *field = &head->fields[i];

		if (weft_field_name(bytes, field) != name || weft_is_hidden(bytes, head, field, name))
			continue;
		if (len && field->value.len) /* what is empty adds no comma */
			joined[len++] = ',';
		is_present = true;
		memcpy(joined + len, bytes->data + field->value.off, field->value.len);
		len += field->value.len;
	}
	if (name == WEFT_NAME_TE && is_present) {
		u32 from = 0;

		is_present = false;
		while (from < len && !is_present) {
			u32 to = from, next;

			while (to < len && joined[to] != ',')
				to++;
			next = to + 1;
			while (from < to && weft_is_blank(joined[from]))
				from++;
			while (to > from && weft_is_blank(joined[to - 1]))
				to--;
			is_present = to - from == 8 && !memcmp(joined + from, "trailers", 8);
			from = next;
		}
		memcpy(joined, "trailers", 8);
		len = 8;
	}
	*joined_len = len;
	return is_present;
}

/* The condition on it. */
static inline int weft_rewritten_holds(const struct weft_route_query *query, const struct weft_head_bytes *bytes,
				       const struct weft_head *head, const struct weft_condition *condition)
{
	u32 name = weft_condition_name(query->image.base, condition), len = 0;
	bool inverted = condition->flags & WEFT_CONDITION_INVERT;
	u8 joined[WEFT_JOINED_MAX];
	int r;

	if (!weft_rewritten_value(bytes, head, name, joined, &len))
		return weft_missing_holds(query, condition);
	memset(joined + len, 0, 8);
	r = weft_text_matches(query, (const struct weft_head_bytes *)joined, 0, len, condition);
	return r < 0 ? r : r != (int)inverted;
}

/* The value of x-forwarded-proto, if that is one line's: what is joined of several is no scheme. Empty lines add nothing. */
static inline bool weft_forwarded_proto(const struct weft_head_bytes *bytes, const struct weft_head *head, struct weft_span *value)
{
	bool is_found = false;
	u32 i;

	for (i = 0; i < head->field_count; i++) {
		const struct weft_field *field = &head->fields[i];

		if (weft_field_name(bytes, field) != WEFT_NAME_X_FORWARDED_PROTO)
			continue;
		if (is_found && value->len && field->value.len)
			return false;
		if (!is_found || field->value.len)
			*value = field->value;
		is_found = true;
	}
	return is_found;
}

/* What x-forwarded-proto says, as it is. Envoy goes by it where the connection counts and not the URL. */
static inline bool weft_came_by_https(const struct weft_head_bytes *bytes, const struct weft_head *head)
{
	struct weft_span value;

	if (head->flags & WEFT_HEAD_FORWARDED_HTTPS)
		return true;
	return (head->flags & WEFT_HEAD_PRIVATE) && weft_forwarded_proto(bytes, head, &value) && value.len == 5 &&
	       !memcmp(bytes->data + value.off, "https", 5);
}

/* :scheme is what an absolute target says, else follows x-forwarded-proto if that is http or https, else is http. */
static inline bool weft_is_https(const struct weft_head_bytes *bytes, const struct weft_head *head)
{
	struct weft_span value;

	if (head->flags & WEFT_HEAD_ABSOLUTE_FORM)
		return weft_lower(bytes->data[head->target.off + 4]) == 's';
	if (head->flags & WEFT_HEAD_FORWARDED_HTTPS)
		return true;
	if (!(head->flags & WEFT_HEAD_PRIVATE) || !weft_forwarded_proto(bytes, head, &value))
		return false;
	return value.len == 5 && !strncasecmp((const char *)bytes->data + value.off, "https", 5);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Clusters that the request itself names or chooses (Envoy: HeaderClusterSpecifierPlugin, WeightedClusterSpecifierPlugin). */
#include "proxy/outgoing.h"

/* ---- what a request says ---------------------------------------------------------------------------------------------------------- */

static bool is_name(const struct weft_text *name, const char *text)
{
	return name->len == strlen(text) && !memcmp(name->bytes, text, name->len);
}

/* What Envoy's header map has beside the lines. */
static bool find_pseudo(const struct outgoing *outgoing, const struct weft_text *name, struct text_span *value)
{
	if (is_name(name, ":authority") || is_name(name, "host"))
		*value = outgoing->authority;
	else if (is_name(name, ":path"))
		*value = outgoing->target;
	else if (is_name(name, ":method"))
		*value = outgoing->method;
	else if (is_name(name, ":scheme"))
		*value = (struct text_span){(const u8 *)"https", outgoing->is_https ? 5 : 4};
	else
		return false;
	return true;
}

u32 outgoing_values(const struct outgoing *outgoing, const struct lines *lines, const struct weft_text *text, struct text_span *first)
{
	const struct name name = {text->bytes, text->len, weft_name_hash(text->bytes, text->len)};
	u32 count = 0;

	if (find_pseudo(outgoing, text, first))
		return 1;
	for (const struct line *line = lines_look(lines, &name); line && line < lines->items + lines->count; line++) {
		if (!lines_is_of(lines, line, &name))
			continue;
		if (!count++)
			*first = (struct text_span){lines->text + line->value, line->value_len};
	}
	if (!count && is_name(text, "x-forwarded-proto")) {
		*first = (struct text_span){(const u8 *)"http", 4};
		count = 1;
	}
	return count;
}

bool span_number(struct text_span text, u64 *number)
{
	u64 value = 0;
	u32 i = text.len && *text.bytes == '+';

	if (i == text.len)
		return false;
	for (; i < text.len; i++) {
		u32 digit = text.bytes[i] - (u32)'0';

		if (digit > 9 || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*number = value;
	return true;
}

/* ---- clusters --------------------------------------------------------------------------------------------------------------------- */

u32 cluster_named(const struct connection *connection, struct text_span name)
{
	struct weft_image_handle image = thread_endpoints(connection->thread, connection->pod->is.scope);
	const struct weft_image_header *header = (const void *)image.base;
	u32 hash = weft_host_prefix_hash(name.bytes, name.len);

	if (!header || !header->cluster_names || !name.len)
		return 0;
	for (u32 at = hash & header->cluster_names_mask;; at = (at + 1) & header->cluster_names_mask) {
		const struct weft_slot *slot = weft_at(&image, header->cluster_names + at * (u32)sizeof(*slot));
		const struct weft_cluster *cluster = slot && slot->object ? weft_at(&image, slot->object) : NULL;
		const struct weft_text *text = cluster ? weft_at(&image, cluster->name) : NULL;

		if (!text)
			return 0;
		if (slot->hash == hash && text->len == name.len && !memcmp(text->bytes, name.bytes, name.len))
			return cluster->id;
	}
}

static u32 cluster_from(const struct outgoing *outgoing, const struct weft_text *header)
{
	struct lines *lines = outgoing->thread->request_lines;
	struct text_span value;

	outgoing_lines(outgoing, lines);
	return outgoing_values(outgoing, lines, header, &value) ? cluster_named(outgoing->exchange->connection, value) : 0;
}

/* In place of the random number; false: that stays. */
static bool find_number(struct outgoing *outgoing, const struct weft_pick *pick, const struct weft_route *route, u64 *number)
{
	const struct weft_image_handle *image = &outgoing->image;
	struct lines *lines = outgoing->thread->request_lines;
	struct text_span value;

	if (pick->kind == WEFT_PICK_HASH)
		return hash_number(outgoing->exchange, route, image, outgoing->plan->bytes, outgoing->head, outgoing->target.bytes, outgoing->target.len, number);
	outgoing_lines(outgoing, lines);
	return outgoing_values(outgoing, lines, weft_at(image, pick->name), &value) == 1 && span_number(value, number);
}

void pick_cluster(struct outgoing *outgoing, struct weft_route_result *result)
{
	const struct weft_image_handle *image = &outgoing->image;
	const struct weft_route_extras *extras = route_extras(image, result->route);
	const struct weft_pick *pick = extras && extras->pick ? weft_at(image, extras->pick) : NULL;
	const struct weft_route *route = weft_at(image, result->route);
	const struct weft_choice *choice = route ? weft_at(image, route->choice) : NULL;
	const struct weft_weight *weight;
	struct weft_cursor cursor = {0};
	u64 number;

	if (pick && pick->kind == WEFT_PICK_CLUSTER)
		result->cluster_id = cluster_from(outgoing, weft_at(image, pick->name));
	else if (pick && choice && choice->total_weight && find_number(outgoing, pick, route, &number))
		(void)weft_choose_cluster(image, &cursor, route->choice, (u32)(number % choice->total_weight), &result->cluster_id, &result->choice_item, NULL, NULL);
	weight = route_weight(image, result);
	if (weight && weight->cluster_header)
		result->cluster_id = cluster_from(outgoing, weft_at(image, weight->cluster_header));
}

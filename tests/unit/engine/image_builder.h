/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Small images for the engine's own tests, from a table written in C: independent of daemon/compile, so that each judges the other's
 * reading of weft/image.h. With `pages` > 1 consecutive objects go to different pages, as they may in a large image. */
#ifndef WEFT_IMAGE_BUILDER_H
#define WEFT_IMAGE_BUILDER_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft/image.h"
#include "weft/lookup.h"
#include "weft/names.h"

enum built_match { BUILT_PREFIX, BUILT_EXACT, BUILT_SEPARATED };

struct built_condition {
	u8 kind;    /* enum weft_condition_kind; 0 ends the list */
	u8 subject;
	u8 flags;
	const char *name;
	const char *value; /* of a range: "start end"; of a fraction: "numerator denominator" */
};

struct built_route {
	enum built_match match;
	const char *path;
	bool ignores_case;
	struct built_condition conditions[4];
	u16 action;          /* 0: WEFT_ACTION_CLUSTER */
	u16 flags;
	u32 clusters[4];     /* ids */
	u32 weights[4];      /* 0: one cluster */
};

struct built_host {
	const char *name;
	const char *domains[8];
	const struct built_route *routes;
	u32 route_count;
};

struct builder {
	u8 *base;
	u32 pages;
	u32 turn;
	u32 used[8];
	u32 routes; /* so far, for ids */
};

static inline void builder_init(struct builder *b, u32 pages)
{
	memset(b, 0, sizeof(*b));
	b->pages = pages;
	b->base = calloc(pages, WEFT_PAGE_SIZE);
	b->used[0] = sizeof(struct weft_image_header);
}

static inline void builder_free(struct builder *b)
{
	free(b->base);
	b->base = NULL;
}

static inline weft_ref builder_add(struct builder *b, const void *bytes, u32 size)
{
	u32 page = b->turn++ % b->pages;
	weft_ref ref = page * WEFT_PAGE_SIZE + b->used[page];

	/* not 0, and no object at the very begin of a page: that would hide a mistake with masks */
	if (!b->used[page])
		ref += 8;
	b->used[page] = (ref & WEFT_PAGE_MASK) + ((size + 7) & ~7u);
	if (b->used[page] > WEFT_PAGE_SIZE - WEFT_PAGE_SLACK)
		abort();
	if (bytes)
		memcpy(b->base + ref, bytes, size);
	return ref;
}

static inline weft_ref builder_text(struct builder *b, const char *text, u32 len)
{
	weft_ref ref = builder_add(b, NULL, sizeof(struct weft_text) + len);
	struct weft_text *t = (struct weft_text *)(b->base + ref);

	t->len = len;
	memcpy(t->bytes, text, len);
	return ref;
}

static inline weft_ref builder_list(struct builder *b, const u32 *items, u32 count)
{
	weft_ref ref = builder_add(b, NULL, sizeof(struct weft_list) + count * sizeof(u32));
	struct weft_list *list = (struct weft_list *)(b->base + ref);

	list->count = count;
	memcpy(list->items, items, count * sizeof(u32));
	return ref;
}

/* ---- trie -------------------------------------------------------------------------------------------------------------------- */

struct built_literal {
	const char *text;
	u32 len;
	bool is_prefix;
	u32 route;
};

static inline int built_order(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

/* A list in order, cut after the first route without conditions. */
static inline weft_ref built_candidates(struct builder *b, const struct built_route *routes, u32 *items, u32 count)
{
	u32 i, n = 0;

	if (!count)
		return 0;
	qsort(items, count, sizeof(*items), built_order);
	for (i = 0; i < count; i++) {
		if (n && items[n - 1] == items[i])
			continue;
		items[n++] = items[i];
		if (!routes[items[i]].conditions[0].kind && !(routes[items[i]].flags & WEFT_ROUTE_MATCH_UNSUPPORTED))
			break;
	}
	return builder_list(b, items, n);
}

/* The node below which all `literals` agree in their first `depth` bytes; `above`: prefixes that end above. */
static inline weft_ref built_trie(struct builder *b, const struct built_route *routes, const struct built_literal *literals, u32 count,
				  u32 depth, const u32 *above, u32 above_count)
{
	u32 *prefixes = calloc(above_count + count + 1, sizeof(u32)), *ends = calloc(above_count + 2 * count + 1, sizeof(u32));
	u32 prefix_count = above_count, end_count, label = 0, i, byte, children[256], child_count = 0;
	struct built_literal *group = calloc(count + 1, sizeof(*group));
	struct weft_trie_node node = {};
	weft_ref ref;

	if (above_count)
		memcpy(prefixes, above, above_count * sizeof(u32));
	for (; label < WEFT_TRIE_LABEL_MAX; label++) {
		for (i = 0; i < count; i++)
			if (literals[i].len <= depth + label || literals[i].text[depth + label] != literals[0].text[depth + label])
				break;
		if (i < count || !count)
			break;
	}
	for (i = 0; i < count; i++)
		if (literals[i].len == depth + label && literals[i].is_prefix)
			prefixes[prefix_count++] = literals[i].route;
	memcpy(ends, prefixes, prefix_count * sizeof(u32));
	end_count = prefix_count;
	for (i = 0; i < count; i++)
		if (literals[i].len == depth + label && !literals[i].is_prefix)
			ends[end_count++] = literals[i].route;
	for (byte = 0; byte < 256; byte++) {
		u32 n = 0;

		for (i = 0; i < count; i++)
			if (literals[i].len > depth + label && (u8)literals[i].text[depth + label] == byte)
				group[n++] = literals[i];
		if (!n)
			continue;
		node.branch[byte >> 6] |= 1ull << (byte & 63);
		children[child_count++] = built_trie(b, routes, group, n, depth + label, prefixes, prefix_count);
	}
	node.at_prefix = built_candidates(b, routes, prefixes, prefix_count);
	node.at_end = built_candidates(b, routes, ends, end_count);
	node.label_len = label;
	node.child_count = child_count;
	node.children = child_count ? builder_add(b, children, child_count * sizeof(u32)) : 0;
	ref = builder_add(b, NULL, sizeof(node) + label);
	memcpy(b->base + ref, &node, sizeof(node));
	if (label)
		memcpy(b->base + ref + sizeof(node), literals[0].text + depth, label);
	free(prefixes);
	free(ends);
	free(group);
	return ref;
}

static inline weft_ref built_paths(struct builder *b, const struct built_route *routes, u32 count, bool ignores_case)
{
	struct built_literal *literals = calloc(2 * count + 1, sizeof(*literals));
	u32 n = 0, i;
	weft_ref ref;

	for (i = 0; i < count; i++) {
		char *text;
		u32 len, k;

		if (routes[i].ignores_case != ignores_case)
			continue;
		len = strlen(routes[i].path);
		text = malloc(len + 2);
		memcpy(text, routes[i].path, len + 1);
		if (ignores_case)
			for (k = 0; k < len; k++)
				text[k] = weft_lower(text[k]);
		literals[n++] = (struct built_literal){text, len, routes[i].match == BUILT_PREFIX, i};
		if (routes[i].match == BUILT_SEPARATED) {
			char *separated = malloc(len + 2);

			memcpy(separated, text, len);
			separated[len] = '/';
			literals[n++] = (struct built_literal){separated, len + 1, true, i};
		}
	}
	ref = n ? built_trie(b, routes, literals, n, 0, NULL, 0) : 0;
	for (i = 0; i < n; i++)
		free((void *)literals[i].text);
	free(literals);
	return ref;
}

static inline weft_ref built_value(struct builder *b, const struct built_condition *c)
{
	struct weft_fraction fraction;
	struct weft_range range;
	long long start, end;

	if (c->kind == WEFT_CONDITION_RANGE) {
		if (sscanf(c->value, "%lld %lld", &start, &end) != 2)
			abort();
		range = (struct weft_range){start, end};
		return builder_add(b, &range, sizeof(range));
	}
	if (c->kind == WEFT_CONDITION_FRACTION) {
		if (sscanf(c->value, "%u %u", &fraction.numerator, &fraction.denominator) != 2)
			abort();
		return builder_add(b, &fraction, sizeof(fraction));
	}
	return builder_text(b, c->value ?: "", c->value ? strlen(c->value) : 0);
}

/* ---- routes and hosts ---------------------------------------------------------------------------------------------------------- */

static inline weft_ref built_route_add(struct builder *b, const struct built_route *r)
{
	u32 choice[2 + 4 * 4] = {}, count = 0, i;
	struct weft_condition conditions[4] = {};
	struct weft_route route = {.id = b->routes++, .action = r->action ?: WEFT_ACTION_CLUSTER, .flags = r->flags, .timeout_ms = 15000};

	for (i = 0; i < 4 && r->conditions[i].kind; i++) {
		const struct built_condition *c = &r->conditions[i];
		struct weft_condition *to = &conditions[route.condition_count++];

		to->kind = c->kind;
		to->subject = c->subject;
		to->flags = c->flags;
		if (c->name) {
			to->name_len = strlen(c->name);
			to->name_hash = weft_name_hash((const u8 *)c->name, to->name_len);
		}
		to->name = builder_text(b, c->name ?: "", c->name ? strlen(c->name) : 0);
		to->value = built_value(b, c);
	}
	if (route.condition_count)
		route.conditions = builder_add(b, conditions, route.condition_count * sizeof(conditions[0]));
	for (i = 0; i < 4 && (r->weights[i] || !i); i++) {
		u32 weight = r->weights[i] ?: 1;

		choice[1] += weight;
		choice[2 + 4 * count] = r->clusters[i];
		choice[3 + 4 * count] = choice[1];
		count++;
	}
	choice[0] = count;
	if (route.action == WEFT_ACTION_DIRECT) {
		struct weft_direct_response direct = {.status = 200};

		route.direct = builder_add(b, &direct, sizeof(direct));
	} else {
		route.choice = builder_add(b, choice, (2 + 4 * count) * sizeof(u32));
	}
	return builder_add(b, &route, sizeof(route));
}

struct built_table {
	struct weft_slot *slots;
	u32 mask;
	u64 lengths[4];
	u32 count;
};

static inline void built_domain(struct builder *b, struct built_table *table, const char *key, u32 len, u32 hash, weft_ref virtual_host)
{
	weft_ref ref = builder_add(b, NULL, sizeof(struct weft_host) + len);
	struct weft_host *host = (struct weft_host *)(b->base + ref);
	u32 i;

	host->virtual_host = virtual_host;
	host->len = len;
	for (i = 0; i < len; i++)
		host->bytes[i] = weft_lower(key[i]);
	if (len <= WEFT_HOST_LENGTH_MAX)
		table->lengths[len >> 6] |= 1ull << (len & 63);
	for (i = 0; table->slots[(hash + i) & table->mask].object; i++)
		;
	table->slots[(hash + i) & table->mask] = (struct weft_slot){hash, ref};
	table->count++;
}

/* A route table of all the hosts; returns its reference. */
static inline weft_ref build_route_table(struct builder *b, const struct built_host *hosts, u32 count, u32 flags)
{
	struct built_table tables[3] = {};
	struct weft_route_table table = {.flags = flags};
	u32 i, k, t;

	for (t = 0; t < 3; t++) {
		tables[t].mask = 127;
		tables[t].slots = calloc(128, sizeof(struct weft_slot));
	}
	for (i = 0; i < count; i++) {
		struct weft_virtual_host virtual_host = {.route_count = hosts[i].route_count};
		u32 *routes = calloc(hosts[i].route_count + 1, sizeof(u32));
		weft_ref ref;

		for (k = 0; k < hosts[i].route_count; k++)
			routes[k] = built_route_add(b, &hosts[i].routes[k]);
		virtual_host.name = builder_text(b, hosts[i].name, strlen(hosts[i].name));
		virtual_host.routes = builder_list(b, routes, hosts[i].route_count);
		virtual_host.paths = built_paths(b, hosts[i].routes, hosts[i].route_count, false);
		virtual_host.paths_nocase = built_paths(b, hosts[i].routes, hosts[i].route_count, true);
		ref = builder_add(b, &virtual_host, sizeof(virtual_host));
		for (k = 0; k < 8 && hosts[i].domains[k]; k++) {
			const char *domain = hosts[i].domains[k];
			u32 len = strlen(domain), n;
			u8 key[512];

			for (n = 0; n < len; n++)
				key[n] = weft_lower(domain[n]);
			if (!strcmp(domain, "*"))
				table.any = ref;
			else if (domain[0] == '*')
				built_domain(b, &tables[1], domain + 1, len - 1, weft_host_suffix_hash(key + 1, len - 1), ref);
			else if (domain[len - 1] == '*')
				built_domain(b, &tables[2], domain, len - 1, weft_host_prefix_hash(key, len - 1), ref);
			else
				built_domain(b, &tables[0], domain, len, weft_host_hash(key, len), ref);
		}
		free(routes);
	}
	if (tables[0].count)
		table.exact_slots = builder_add(b, tables[0].slots, 128 * sizeof(struct weft_slot));
	if (tables[1].count)
		table.suffix_slots = builder_add(b, tables[1].slots, 128 * sizeof(struct weft_slot));
	if (tables[2].count)
		table.prefix_slots = builder_add(b, tables[2].slots, 128 * sizeof(struct weft_slot));
	table.exact_mask = table.suffix_mask = table.prefix_mask = 127;
	memcpy(table.suffix_lengths, tables[1].lengths, sizeof(table.suffix_lengths));
	memcpy(table.prefix_lengths, tables[2].lengths, sizeof(table.prefix_lengths));
	for (t = 0; t < 3; t++)
		free(tables[t].slots);
	return builder_add(b, &table, sizeof(table));
}

static inline struct weft_image_handle build_image(struct builder *b, u16 kind)
{
	struct weft_image_header *header = (struct weft_image_header *)b->base;

	header->magic = WEFT_IMAGE_MAGIC;
	header->version = WEFT_IMAGE_VERSION;
	header->kind = kind;
	header->page_count = b->pages;
	header->size_bytes = b->pages * WEFT_PAGE_SIZE;
	return (struct weft_image_handle){b->base, header->size_bytes};
}

static inline void build_listeners(struct builder *b, const struct weft_listener *listeners, u32 count)
{
	struct weft_image_header *header = (struct weft_image_header *)b->base;
	struct weft_slot slots[64] = {};
	u32 i, k;

	for (i = 0; i < count; i++) {
		u32 hash = weft_listener_hash(&listeners[i].key.address, listeners[i].key.port_be);

		for (k = 0; slots[(hash + k) & 63].object; k++)
			;
		slots[(hash + k) & 63] = (struct weft_slot){hash, builder_add(b, &listeners[i], sizeof(listeners[i]))};
	}
	header->listener_mask = 63;
	header->listener_slots = builder_add(b, slots, sizeof(slots));
}

/* A cluster with `endpoints`; the schedule has every endpoint as often as its weight says. */
static inline weft_ref build_cluster(struct builder *b, struct weft_cluster cluster, const struct weft_endpoint *endpoints, u32 count)
{
	u16 schedule[WEFT_SCHEDULE_MAX];
	u32 i, k;

	cluster.endpoint_count = count;
	if (count) {
		cluster.endpoints = builder_add(b, endpoints, count * sizeof(*endpoints));
		for (i = 0; i < count; i++)
			for (k = 0; k < endpoints[i].weight; k++)
				schedule[cluster.schedule_len++] = i;
		cluster.schedule = builder_add(b, schedule, cluster.schedule_len * sizeof(u16));
	}
	return builder_add(b, &cluster, sizeof(cluster));
}

static inline void build_directory(struct builder *b, const weft_ref *clusters, u32 count)
{
	struct weft_image_header *header = (struct weft_image_header *)b->base;

	header->cluster_count = count;
	header->cluster_directory = builder_add(b, clusters, count * sizeof(*clusters));
}

#endif

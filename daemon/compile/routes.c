/* SPDX-License-Identifier: Apache-2.0 */
/* The route image: listeners by address, and the route tables that they name. */
#include "compile/regexes.h"
#include "compile/routes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define LISTS_MAX (2u << 20) /* candidates in all lists of one virtual host: 8 MiB */

/* A route table that was written: listeners share those they name. */
struct table_entry {
	const struct mesh_route_config *config;
	weft_ref ref;
};

struct listener_entry {
	struct weft_address address;
	uint16_t port_be;
	weft_ref ref;
	const char *name;
};

struct listeners {
	struct listener_entry *entries;
	size_t count, capacity;
	struct table_entry *tables;
	size_t table_count, table_capacity;
};

static void listeners_release(struct listeners *listeners)
{
	free(listeners->entries);
	free(listeners->tables);
}

/* ---- tables ---------------------------------------------------------------------------------------------------------------------- */

static int remember_table(struct listeners *all, const struct mesh_route_config *config, weft_ref ref)
{
	if (all->table_count == all->table_capacity) {
		size_t capacity = all->table_capacity ? all->table_capacity * 2 : 32;
		struct table_entry *grown = reallocarray(all->tables, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		all->tables = grown;
		all->table_capacity = capacity;
	}
	all->tables[all->table_count++] = (struct table_entry){ .config = config, .ref = ref };
	return 0;
}

/* One table a configuration. What has not come (yet) answers 503. */
static int find_table(struct routes_compile *c, struct listeners *all, struct listener_plan *plan, weft_ref *out)
{
	const struct mesh_http *http = plan->http;
	const struct mesh_route_config *config = mesh_http_routes(c->mesh, http);
	size_t i;
	int r;

	for (i = 0; config && i < all->table_count; i++) {
		if (all->tables[i].config != config)
			continue;
		*out = all->tables[i].ref;
		return 0;
	}
	if (config) {
		r = route_table_compile(c, config, out);
	} else {
		reason_add(&plan->reason, "route configuration %s has not come yet: 503", http->route_config_name);
		plan->verdict = WEFT_VERDICT_REFUSED;
		r = route_table_refused(c, http->route_config_name, "the route configuration has not come yet", out);
	}
	return r ? r : remember_table(all, config, *out);
}

/* ---- listeners ------------------------------------------------------------------------------------------------------------------- */

static const struct listener_entry *find_listener(const struct listeners *all, const struct weft_address *address, uint16_t port_be)
{
	size_t i;

	for (i = 0; i < all->count; i++)
		if (all->entries[i].port_be == port_be && weft_address_equals(&all->entries[i].address, address))
			return &all->entries[i];
	return NULL;
}

static int compile_choice(struct routes_compile *c, const struct mesh_tcp *tcp, weft_ref *out)
{
	_cleanup_free_ struct choice_item *items = NULL;
	size_t i;

	*out = 0;
	if (!tcp)
		return 0;
	items = calloc(tcp->cluster_count + 1, sizeof(*items));
	if (!items)
		return -ENOMEM;
	for (i = 0; i < tcp->cluster_count; i++)
		items[i] = (struct choice_item){ .cluster = tcp->clusters[i].name, .weight = tcp->clusters[i].weight };
	return choice_compile(c, items, tcp->cluster_count, out);
}

static int remember_listener(struct listeners *all, const struct listener_entry *entry)
{
	if (all->count == all->capacity) {
		size_t capacity = all->capacity ? all->capacity * 2 : 64;
		struct listener_entry *grown = reallocarray(all->entries, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		all->entries = grown;
		all->capacity = capacity;
	}
	all->entries[all->count++] = *entry;
	return 0;
}

static int compile_names(struct routes_compile *c, const struct listener_plan *plan, weft_ref *out)
{
	_cleanup_free_ struct weft_sni_list *list = NULL;
	size_t i, size = sizeof(*list) + plan->name_count * sizeof(list->items[0]);
	int r;

	*out = 0;
	if (!plan->name_count)
		return 0;
	list = calloc(1, size);
	if (!list)
		return -ENOMEM;
	list->count = (uint32_t)plan->name_count;
	for (i = 0; i < plan->name_count; i++) {
		list->items[i].name = builder_text(&c->builder, plan->names[i].name);
		r = compile_choice(c, plan->names[i].tcp, &list->items[i].choice);
		if (r)
			return r;
		if (plan->names[i].tcp && plan->names[i].tcp->hashes_source_ip)
			list->items[i].flags = WEFT_LISTENER_HASH_SOURCE_IP;
	}
	*out = builder_share(&c->builder, list, size);
	return builder_status(&c->builder);
}

/* `out` may be the first of several for one key. */
static int write_listener(struct routes_compile *c, struct listeners *all, const char *name, struct listener_plan *plan, weft_ref *out)
{
	struct weft_listener listener = {
		.key = { .address = plan->address, .port_be = plan->port_be },
		.kind = (uint8_t)plan->kind,
		.flags = plan->flags,
	};
	int r = 0;

	if (plan->kind == WEFT_LISTENER_HTTP && plan->http)
		r = find_table(c, all, plan, &listener.route_table);
	if (!r)
		r = compile_choice(c, plan->kind == WEFT_LISTENER_TCP ? plan->tcp : NULL, &listener.tcp_choice);
	if (!r)
		r = compile_choice(c, plan->kind == WEFT_LISTENER_HTTP ? plan->other : NULL, &listener.other_choice);
	if (!r && plan->range.bits) {
		const struct weft_subnet subnet = { .network = plan->range.network, .mask = range_mask(&plan->range) };

		listener.subnet = builder_share(&c->builder, &subnet, sizeof(subnet));
		r = builder_status(&c->builder);
	}
	if (!r && (plan->kind == WEFT_LISTENER_HTTP || plan->kind == WEFT_LISTENER_TCP))
		r = compile_names(c, plan, &listener.names);
	if (!r)
		r = strbuf_status(&plan->reason);
	if (r)
		return r;
	listener.verdict = (uint8_t)plan->verdict;
	listener.name = builder_text(&c->builder, name);
	listener.reason = plan->reason.size ? builder_text(&c->builder, strbuf_text(&plan->reason)) : 0;
	*out = builder_alloc(&c->builder, sizeof(listener));
	if (!*out)
		return builder_status(&c->builder);
	*(struct weft_listener *)builder_at(&c->builder, *out) = listener;
	return 0;
}

/* All parts of one key, from the most specific range on. */
static int write_listeners(struct routes_compile *c, struct listeners *all, const struct mesh_listener *source, struct listener_plan *plans, size_t count)
{
	struct listener_entry entry = { .address = plans[0].address, .port_be = plans[0].port_be, .name = source->resource.name };
	weft_ref ref, before = 0;
	size_t i;
	int r;

	for (i = 0; i < count; i++) {
		struct strbuf name = STRBUF_INIT;

		r = write_listener(c, all, source->resource.name, &plans[i], &ref);
		if (r)
			return r;
		if (before)
			((struct weft_listener *)builder_at(&c->builder, before))->next = ref;
		else
			entry.ref = ref;
		before = ref;
		strbuf_append_text(&name, source->resource.name);
		if (plans[i].range.bits)
			strbuf_printf(&name, " to %s", range_text(&plans[i].range).text);
		report_verdict(c->report, "listener", strbuf_text(&name), plans[i].verdict, strbuf_text(&plans[i].reason), &source->resource.place);
		strbuf_release(&name);
	}
	return remember_listener(all, &entry);
}

/* One of the addresses of a listener. */
static int compile_address(struct routes_compile *c, struct listeners *all, const struct mesh_listener *source, const struct mesh_address *address)
{
	const char *name = source->resource.name;
	const struct listener_entry *owner;
	struct listener_plan *plans;
	struct weft_address key;
	size_t count;
	int r;

	if (address->kind != MESH_ADDRESS_IP) {
		report_verdict(c->report, "listener", name, WEFT_VERDICT_REFUSED, "it has no IP address and port: nothing reaches it",
			       &source->resource.place);
		return 0;
	}
	key = weft_address_from(address->family, address->ip);
	owner = find_listener(all, &key, htons(address->port));
	if (owner) {
		struct strbuf reason = STRBUF_INIT;

		reason_add(&reason, "listener %s has the same address", owner->name);
		report_verdict(c->report, "listener", name, WEFT_VERDICT_REFUSED, strbuf_text(&reason), &source->resource.place);
		strbuf_release(&reason);
		return 0;
	}
	r = listener_plans(c->mesh, source, address, &plans, &count);
	if (r)
		return r;
	r = write_listeners(c, all, source, plans, count);
	listener_plans_free(plans, count);
	return r;
}

/* virtualOutbound: what becomes of addresses of a family without a listener, kept under any address and port 0. Without a plan worth telling, nothing. */
static int compile_catch_all(struct routes_compile *c, struct listeners *all, const struct mesh_listener *source, int family)
{
	const struct weft_address any = weft_address_any(family == AF_INET ? WEFT_FAMILY_4 : WEFT_FAMILY_6);
	struct listener_plan *plans;
	size_t count;
	int r;

	if (find_listener(all, &any, 0)) {
		report_verdict(c->report, "listener", source->resource.name, WEFT_VERDICT_REFUSED,
			       "another listener decides already on addresses without a listener", &source->resource.place);
		return 0;
	}
	r = listener_plans_catch_all(c->mesh, source, family, &plans, &count);
	if (r)
		return r;
	r = write_listeners(c, all, source, plans, count);
	listener_plans_free(plans, count);
	return r;
}

static bool has_family(const struct mesh_listener *source, int family)
{
	bool has = source->address.family == family;
	size_t i;

	for (i = 0; i < source->additional_address_count; i++)
		has = has || source->additional_addresses[i].family == family;
	return has;
}

static int compile_listener(struct routes_compile *c, struct listeners *all, const struct mesh_listener *source)
{
	char reason[512];
	size_t i;
	int r;

	if (source->is_internal) {
		report_verdict(c->report, "listener", source->resource.name, WEFT_VERDICT_IGNORED, "an internal listener, reached only from inside Envoy",
			       &source->resource.place);
		return 0;
	}
	if (source->direction == MESH_DIRECTION_INBOUND) {
		compile_inbound_policy(c->mesh, reason, sizeof(reason));
		report_verdict(c->report, "listener", source->resource.name, *reason ? WEFT_VERDICT_REFUSED : WEFT_VERDICT_IGNORED,
			       *reason ? reason : "inbound: weft routes what a pod sends, and nothing here has to be enforced on what it receives",
			       &source->resource.place);
		return 0;
	}
	if (source->uses_original_dst) {
		bool has_ip6 = has_family(source, AF_INET6);

		/* Where its address says nothing of a family, it is IPv4's, as ever. */
		r = has_family(source, AF_INET) || !has_ip6 ? compile_catch_all(c, all, source, AF_INET) : 0;
		return r || !has_ip6 ? r : compile_catch_all(c, all, source, AF_INET6);
	}
	r = compile_address(c, all, source, &source->address);
	for (i = 0; !r && i < source->additional_address_count; i++)
		r = compile_address(c, all, source, &source->additional_addresses[i]);
	return r;
}

/* ---- image ----------------------------------------------------------------------------------------------------------------------- */

static int write_lists(struct routes_compile *c, const struct listeners *all)
{
	struct weft_image_header *header = builder_header(&c->builder);
	_cleanup_free_ struct table_key *keys = calloc(all->count + 1, sizeof(*keys));
	_cleanup_free_ uint32_t *refs = calloc(all->count + all->table_count + 1, sizeof(*refs));
	size_t i;
	int r;

	if (!keys || !refs)
		return -ENOMEM;
	for (i = 0; i < all->count; i++) {
		keys[i].hash = weft_listener_hash(&all->entries[i].address, all->entries[i].port_be);
		keys[i].object = refs[i] = all->entries[i].ref;
	}
	r = table_build(&c->builder, keys, all->count, &header->listener_slots, &header->listener_mask);
	if (r)
		return r;
	header->listeners = builder_list(&c->builder, refs, all->count);
	for (i = 0; i < all->table_count; i++)
		refs[i] = all->tables[i].ref;
	header->route_tables = builder_list(&c->builder, refs, all->table_count);
	return builder_status(&c->builder);
}

static void report_unused(const struct routes_compile *c, const struct listeners *all)
{
	size_t i, j;

	for (i = 0; i < c->mesh->route_config_count; i++) {
		for (j = 0; j < all->table_count; j++)
			if (all->tables[j].config == c->mesh->route_configs[i])
				break;
		if (j == all->table_count)
			report_verdict(c->report, "route configuration", c->mesh->route_configs[i]->resource.name, WEFT_VERDICT_IGNORED,
				       "no listener that is served uses it", &c->mesh->route_configs[i]->resource.place);
	}
}

static int compile_all(struct routes_compile *c)
{
	_cleanup_(listeners_release) struct listeners all = { NULL };
	size_t i;
	int r;

	for (i = 0; i < c->mesh->listener_count; i++) {
		r = compile_listener(c, &all, c->mesh->listeners[i]);
		if (r)
			return r;
	}
	report_unused(c, &all);
	return write_lists(c, &all);
}

int compile_routes(const struct mesh *mesh, struct ids *ids, struct image **out, struct compile_report *report)
{
	struct routes_compile c = { .mesh = mesh, .report = report, .lists_max = LISTS_MAX };
	int r;

	r = builder_init(&c.builder, WEFT_IMAGE_ROUTES, 0);
	if (!r)
		r = ids_claim_new(ids, &c.claim);
	if (!r)
		r = regexes_new(&c.regexes);
	if (!r)
		r = compile_all(&c);
	if (!r)
		r = builder_finish(&c.builder, &c.claim, out);
	regexes_free(&c.regexes);
	ids_claim_release(&c.claim);
	builder_release(&c.builder);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/chains.h"
#include "compile/dump.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* ---- choices --------------------------------------------------------------------------------------------------------------------- */

static json_t *cluster_name(struct dump *dump, uint32_t id)
{
	const struct weft_image_header *header = view_header(&dump->names);
	const struct weft_cluster *cluster = NULL;
	const struct weft_text *name = NULL;
	const weft_ref *directory;

	if (!dump->names.base || header->kind != WEFT_IMAGE_ENDPOINTS || id >= header->cluster_count)
		return NULL;
	directory = view_at(&dump->names, header->cluster_directory, header->cluster_count, sizeof(*directory));
	if (directory)
		cluster = view_at(&dump->names, directory[id], 1, sizeof(*cluster));
	if (cluster)
		name = view_text(&dump->names, cluster->name);
	return name ? dump_string(dump, name->bytes, name->len) : NULL;
}

json_t *dump_choice(struct dump *dump, weft_ref ref)
{
	const struct weft_choice *choice = view_at(&dump->view, ref, 1, sizeof(*choice));
	json_t *array = json_array();
	uint32_t i, before = 0;

	if (!choice || !view_at(&dump->view, ref, (uint64_t)choice->count * sizeof(choice->items[0]) + sizeof(*choice), 1)) {
		dump_fail(dump, -EINVAL);
		return array;
	}
	for (i = 0; i < choice->count; i++) {
		json_t *item = json_object(), *name = cluster_name(dump, choice->items[i].cluster_id);

		dump_set(dump, item, "cluster_id", json_integer(choice->items[i].cluster_id));
		if (name)
			dump_set(dump, item, "cluster", name);
		dump_set(dump, item, "weight", json_integer(choice->items[i].until - before));
		before = choice->items[i].until;
		dump_append(dump, array, item);
	}
	return array;
}

/* ---- listeners ------------------------------------------------------------------------------------------------------------------- */

static const char *listener_kind_name(uint8_t kind)
{
	static const char *const names[] = {
		[WEFT_LISTENER_HTTP] = "http", [WEFT_LISTENER_TCP] = "tcp", [WEFT_LISTENER_PASS] = "pass",
		[WEFT_LISTENER_REFUSED] = "refused", [WEFT_LISTENER_BLOCK] = "block",
	};

	return kind < WEFT_ARRAY_SIZE(names) && names[kind] ? names[kind] : "unknown";
}

static json_t *dump_flags(struct dump *dump, uint32_t flags)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} names[] = {
		{ WEFT_LISTENER_ACCEPT_HTTP_10, "accept_http_10" }, { WEFT_LISTENER_NORMALIZE_PATH, "normalize_path" },
		{ WEFT_LISTENER_MERGE_SLASHES, "merge_slashes" },
		{ WEFT_LISTENER_UNESCAPE_SLASHES, "unescape_slashes" }, { WEFT_LISTENER_REJECT_SLASHES, "reject_escaped_slashes" }, { WEFT_LISTENER_SNIFF, "sniff" }, { WEFT_LISTENER_SNIFF_HTTP_10, "sniff_http_10" },
		{ WEFT_LISTENER_OTHER_HTTP_2, "other_http_2" },
		{ WEFT_LISTENER_WEBSOCKET, "websocket" }, { WEFT_LISTENER_KERNEL, "kernel" },
		{ WEFT_LISTENER_HTTP_REFUSED, "http_refused" }, { WEFT_LISTENER_HASH_SOURCE_IP, "hash_source_ip" },
	};
	json_t *array = json_array();
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(names); i++)
		if (flags & names[i].flag)
			dump_append(dump, array, json_string(names[i].name));
	return array;
}

static json_t *dump_names(struct dump *dump, weft_ref ref)
{
	const struct weft_sni_list *list = view_at(&dump->view, ref, 1, sizeof(*list));
	const struct weft_sni *items = NULL;
	json_t *array = json_array();
	uint32_t i;

	if (list)
		items = view_at(&dump->view, ref + (uint32_t)sizeof(*list), list->count, sizeof(*items));
	if (!items)
		dump_fail(dump, -EINVAL);
	for (i = 0; items && i < list->count; i++) {
		json_t *one = json_object();

		dump_set(dump, one, "name", dump_text(dump, items[i].name));
		if (items[i].choice)
			dump_set(dump, one, "clusters", dump_choice(dump, items[i].choice));
		dump_append(dump, array, one);
	}
	return array;
}

static json_t *dump_network(struct dump *dump, const struct weft_listener *listener)
{
	const struct weft_subnet *subnet = view_at(&dump->view, listener->subnet, 1, sizeof(*subnet));
	struct range range = { .bits = 0 };

	if (!subnet)
		return NULL;
	range.network = subnet->network;
	for (int i = 0; i < 4; i++)
		range.bits = (uint8_t)(range.bits + __builtin_popcount(subnet->mask.be[i]));
	return json_string(range_text(&range).text);
}

static json_t *dump_listener(struct dump *dump, const struct weft_listener *listener)
{
	const struct weft_route_table *table = view_at(&dump->view, listener->route_table, 1, sizeof(*table));
	json_t *object = json_object();

	if (weft_address_is_any(&listener->key.address) && !listener->key.port_be)
		dump_set(dump, object, "address", json_string(weft_address_is_ip4(&listener->key.address) ? "any other address" : "any other IPv6 address"));
	else
		dump_set(dump, object, "address", dump_address(dump, &listener->key.address, listener->key.port_be));
	dump_set(dump, object, "name", dump_text(dump, listener->name));
	dump_set(dump, object, "kind", json_string(listener_kind_name(listener->kind)));
	dump_set(dump, object, "verdict", json_string(verdict_name(listener->verdict)));
	dump_set_text(dump, object, "reason", listener->reason);
	dump_set(dump, object, "flags", dump_flags(dump, listener->flags));
	if (table)
		dump_set(dump, object, "route_table", dump_text(dump, table->name));
	if (listener->tcp_choice)
		dump_set(dump, object, "tcp", dump_choice(dump, listener->tcp_choice));
	if (listener->other_choice)
		dump_set(dump, object, "not_http", dump_choice(dump, listener->other_choice));
	if (listener->names)
		dump_set(dump, object, "server_names", dump_names(dump, listener->names));
	if (listener->subnet)
		dump_set(dump, object, "destinations", dump_network(dump, listener));
	return object;
}

/* With those of the same key after it. */
static void dump_listeners(struct dump *dump, weft_ref ref, json_t *array)
{
	uint32_t left = WEFT_RANGES_MAX;

	while (ref) {
		const struct weft_listener *listener = view_at(&dump->view, ref, 1, sizeof(*listener));

		if (!listener || !left--) {
			dump_fail(dump, -EINVAL);
			return;
		}
		dump_append(dump, array, dump_listener(dump, listener));
		ref = listener->next;
	}
}

/* ---- domains --------------------------------------------------------------------------------------------------------------------- */

struct domain {
	weft_ref virtual_host;
	const struct weft_host *host;   /* NULL: `*` */
	bool is_suffix, is_prefix;
};

struct domain_list {
	struct domain *items;
	size_t count, capacity;
};

static void add_domain(struct dump *dump, struct domain_list *list, const struct domain *domain)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 64;
		struct domain *grown = reallocarray(list->items, capacity, sizeof(*grown));

		if (!grown) {
			dump_fail(dump, -ENOMEM);
			return;
		}
		list->items = grown;
		list->capacity = capacity;
	}
	list->items[list->count++] = *domain;
}

static void collect_slots(struct dump *dump, weft_ref ref, uint32_t mask, bool is_suffix, bool is_prefix, struct domain_list *list)
{
	const struct weft_slot *slots = view_at(&dump->view, ref, (uint64_t)mask + 1, sizeof(*slots));
	uint64_t i;

	for (i = 0; slots && i <= mask; i++) {
		const struct weft_host *host = view_at(&dump->view, slots[i].object, 1, sizeof(*host));

		if (!slots[i].object)
			continue;
		if (!host || !view_at(&dump->view, slots[i].object, (uint64_t)host->len + sizeof(*host), 1)) {
			dump_fail(dump, -EINVAL);
			continue;
		}
		add_domain(dump, list, &(struct domain){ host->virtual_host, host, is_suffix, is_prefix });
	}
}

static int compare_domains(const void *a, const void *b)
{
	const struct domain *left = a, *right = b;
	int left_kind = left->is_suffix * 1 + left->is_prefix * 2 + !left->host * 3;
	int right_kind = right->is_suffix * 1 + right->is_prefix * 2 + !right->host * 3;
	int order;

	if (left->virtual_host != right->virtual_host)
		return left->virtual_host < right->virtual_host ? -1 : 1;
	if (left_kind != right_kind)
		return left_kind - right_kind;
	if (!left->host)
		return 0;
	order = memcmp(left->host->bytes, right->host->bytes, WEFT_MIN(left->host->len, right->host->len));
	return order ? order : left->host->len < right->host->len ? -1 : left->host->len > right->host->len;
}

static json_t *domain_text(struct dump *dump, const struct domain *domain)
{
	char text[WEFT_HOST_LENGTH_MAX + 2];
	size_t len = 0;

	if (!domain->host)
		return json_string("*");
	if (domain->is_suffix)
		text[len++] = '*';
	if (domain->host->len > WEFT_HOST_LENGTH_MAX) {
		dump_fail(dump, -EINVAL);
		return json_string("");
	}
	memcpy(text + len, domain->host->bytes, domain->host->len);
	len += domain->host->len;
	if (domain->is_prefix)
		text[len++] = '*';
	return dump_string(dump, text, len);
}

static json_t *domains_of(struct dump *dump, const struct domain_list *list, weft_ref virtual_host)
{
	json_t *array = json_array();
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (list->items[middle].virtual_host < virtual_host)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < list->count && list->items[low].virtual_host == virtual_host; low++)
		dump_append(dump, array, domain_text(dump, &list->items[low]));
	return array;
}

/* ---- tables ---------------------------------------------------------------------------------------------------------------------- */

static json_t *dump_table(struct dump *dump, const struct weft_route_table *table)
{
	const struct weft_list *hosts = view_list(&dump->view, table->virtual_hosts);
	json_t *object = json_object(), *array = json_array();
	struct domain_list domains = { NULL };
	uint32_t i;

	collect_slots(dump, table->exact_slots, table->exact_mask, false, false, &domains);
	collect_slots(dump, table->suffix_slots, table->suffix_mask, true, false, &domains);
	collect_slots(dump, table->prefix_slots, table->prefix_mask, false, true, &domains);
	if (table->any)
		add_domain(dump, &domains, &(struct domain){ .virtual_host = table->any });
	if (domains.count)
		qsort(domains.items, domains.count, sizeof(*domains.items), compare_domains);

	dump_set(dump, object, "name", dump_text(dump, table->name));
	dump_set(dump, object, "ignores_port", json_boolean(table->flags & WEFT_ROUTE_TABLE_IGNORE_PORT));
	for (i = 0; hosts && i < hosts->count; i++) {
		const struct weft_virtual_host *host = view_at(&dump->view, hosts->items[i], 1, sizeof(*host));
		json_t *one = host ? dump_virtual_host(dump, host) : NULL;

		if (!one) {
			dump_fail(dump, -EINVAL);
			continue;
		}
		dump_set(dump, one, "domains", domains_of(dump, &domains, hosts->items[i]));
		dump_append(dump, array, one);
	}
	dump_set(dump, object, "virtual_hosts", array);
	free(domains.items);
	return object;
}

json_t *dump_routes(struct dump *dump)
{
	const struct weft_image_header *header = view_header(&dump->view);
	const struct weft_list *listeners = view_list(&dump->view, header->listeners), *tables = view_list(&dump->view, header->route_tables);
	json_t *root = json_object(), *listener_array = json_array(), *table_array = json_array();
	uint32_t i;

	dump_set(dump, root, "image", json_string("routes"));
	dump_set(dump, root, "size_bytes", json_integer(header->size_bytes));
	dump_set(dump, root, "page_count", json_integer(header->page_count));
	for (i = 0; listeners && i < listeners->count; i++) {
		if (!listeners->items[i])
			dump_fail(dump, -EINVAL);
		dump_listeners(dump, listeners->items[i], listener_array);
	}
	for (i = 0; tables && i < tables->count; i++) {
		const struct weft_route_table *table = view_at(&dump->view, tables->items[i], 1, sizeof(*table));

		if (table)
			dump_append(dump, table_array, dump_table(dump, table));
		else
			dump_fail(dump, -EINVAL);
	}
	dump_set(dump, root, "listeners", listener_array);
	dump_set(dump, root, "route_tables", table_array);
	return root;
}

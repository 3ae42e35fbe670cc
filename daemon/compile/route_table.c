/* SPDX-License-Identifier: Apache-2.0 */
/* Route tables: hosts to virtual hosts. Order of look-up: exact, longest suffix wildcard, longest prefix wildcard, `*` (Envoy). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/routes.h"
#include "weft/lookup.h"
#include "weft/names.h"

#define HOSTS_IN_PAGE ((BUILDER_OBJECT_MAX - sizeof(struct weft_list)) / sizeof(uint32_t)) /* virtual hosts of one table: the list lies in one page */
#define DOMAIN_SHOWN 40

struct keys {
	struct table_key *items;
	size_t count;
};

struct domains {
	struct keys exact, suffix, prefix;
	weft_ref any;
	uint64_t suffix_lengths[4], prefix_lengths[4];
};

static void domains_release(struct domains *domains)
{
	free(domains->exact.items);
	free(domains->suffix.items);
	free(domains->prefix.items);
}

static int domains_init(struct domains *domains, const struct mesh_route_config *config)
{
	size_t i, count = 1;

	for (i = 0; i < config->virtual_host_count; i++)
		count += config->virtual_hosts[i].domains.count;
	domains->exact.items = calloc(count, sizeof(struct table_key));
	domains->suffix.items = calloc(count, sizeof(struct table_key));
	domains->prefix.items = calloc(count, sizeof(struct table_key));
	return domains->exact.items && domains->suffix.items && domains->prefix.items ? 0 : -ENOMEM;
}

/* What finds a key: all of a host, its begin or its end. */
typedef uint32_t host_hash(const uint8_t *key, uint32_t len);

static int add_host(struct routes_compile *c, struct keys *keys, const char *key, size_t len, host_hash *hash, weft_ref virtual_host)
{
	_cleanup_free_ struct weft_host *host = calloc(1, sizeof(*host) + len);

	if (!host)
		return -ENOMEM;
	host->virtual_host = virtual_host;
	host->len = (uint32_t)len;
	memcpy(host->bytes, key, len);
	keys->items[keys->count].hash = hash(host->bytes, (uint32_t)len);
	keys->items[keys->count].object = builder_share(&c->builder, host, sizeof(*host) + len);
	if (!keys->items[keys->count].object)
		return builder_status(&c->builder);
	keys->count++;
	return 0;
}

static void set_length(uint64_t lengths[4], size_t len)
{
	lengths[len >> 6] |= 1ull << (len & 63);
}

/* Envoy: `*` at the front makes a suffix, at the end a prefix; anywhere else it is a character. */
static int add_domain(struct routes_compile *c, struct domains *domains, const char *domain, weft_ref virtual_host)
{
	size_t len = strlen(domain);

	if (!strcmp(domain, "*")) {
		domains->any = virtual_host;
		return 0;
	}
	if (domain[0] == '*') {
		set_length(domains->suffix_lengths, len - 1);
		return add_host(c, &domains->suffix, domain + 1, len - 1, weft_host_suffix_hash, virtual_host);
	}
	if (len && domain[len - 1] == '*') {
		set_length(domains->prefix_lengths, len - 1);
		return add_host(c, &domains->prefix, domain, len - 1, weft_host_prefix_hash, virtual_host);
	}
	return add_host(c, &domains->exact, domain, len, weft_host_hash, virtual_host);
}

/* A domain longer than the hosts that are looked up would be passed over in favour of `*`. */
static void judge_domains(const struct mesh_route_config *config, struct strbuf *reason)
{
	size_t i, j;

	for (i = 0; i < config->virtual_host_count; i++) {
		for (j = 0; j < config->virtual_hosts[i].domains.count; j++) {
			const char *domain = config->virtual_hosts[i].domains.items[j];
			size_t len = strlen(domain);

			if (len <= WEFT_HOST_LENGTH_MAX)
				continue;
			/* the first is enough: what is too long is mostly made so by one template */
			reason_add(reason, "virtual_hosts[%zu].domains[%zu], `%.*s...`, has %zu bytes, more than the %u of a host that is looked up", i, j,
				   DOMAIN_SHOWN, domain, len, WEFT_HOST_LENGTH_MAX);
			return;
		}
	}
}

static int write_table(struct routes_compile *c, const char *name, uint32_t flags, const struct domains *domains, const uint32_t *hosts,
		       size_t host_count, weft_ref *out)
{
	struct weft_route_table table = { .flags = flags, .any = domains->any };
	int r;

	memcpy(table.suffix_lengths, domains->suffix_lengths, sizeof(table.suffix_lengths));
	memcpy(table.prefix_lengths, domains->prefix_lengths, sizeof(table.prefix_lengths));
	r = table_build(&c->builder, domains->exact.items, domains->exact.count, &table.exact_slots, &table.exact_mask);
	if (!r)
		r = table_build(&c->builder, domains->suffix.items, domains->suffix.count, &table.suffix_slots, &table.suffix_mask);
	if (!r)
		r = table_build(&c->builder, domains->prefix.items, domains->prefix.count, &table.prefix_slots, &table.prefix_mask);
	if (r)
		return r;
	table.name = builder_text(&c->builder, name);
	table.virtual_hosts = builder_list(&c->builder, hosts, host_count);
	*out = builder_alloc(&c->builder, sizeof(table));
	if (!*out)
		return builder_status(&c->builder);
	*(struct weft_route_table *)builder_at(&c->builder, *out) = table;
	return 0;
}

int route_table_refused(struct routes_compile *c, const char *name, const char *reason, weft_ref *out)
{
	struct domains domains = { .any = 0 };
	int r = virtual_host_refused(c, "*", reason, &domains.any);

	return r ? r : write_table(c, name, 0, &domains, &domains.any, 1, out);
}

static int compile_table(struct routes_compile *c, const struct mesh_route_config *config, weft_ref *out)
{
	_cleanup_(domains_release) struct domains domains = { .any = 0 };
	_cleanup_free_ uint32_t *hosts = calloc(config->virtual_host_count + 1, sizeof(*hosts));
	size_t i, j;
	int r;

	r = domains_init(&domains, config);
	if (r)
		return r;
	if (!hosts)
		return -ENOMEM;
	for (i = 0; i < config->virtual_host_count; i++) {
		const struct mesh_virtual_host *host = &config->virtual_hosts[i];

		r = virtual_host_compile(c, config, host, &hosts[i]);
		for (j = 0; !r && j < host->domains.count; j++)
			r = add_domain(c, &domains, host->domains.items[j], hosts[i]);
		if (r)
			return r;
	}
	return write_table(c, config->resource.name, config->ignores_port_in_host ? WEFT_ROUTE_TABLE_IGNORE_PORT : 0, &domains, hosts,
			   config->virtual_host_count, out);
}

int route_table_compile(struct routes_compile *c, const struct mesh_route_config *config, weft_ref *out)
{
	struct strbuf reason = STRBUF_INIT;
	int r;

	if (reasons_have(&config->resource.reasons, MESH_EFFECT_MATCH))
		reason_add_mesh(&reason, &config->resource.reasons);
	judge_domains(config, &reason);
	if (config->virtual_host_count > HOSTS_IN_PAGE)
		reason_add(&reason, "%zu virtual hosts are more than the %zu that fit", config->virtual_host_count, (size_t)HOSTS_IN_PAGE);
	r = strbuf_status(&reason);
	if (!r && reason.size) {
		report_verdict(c->report, "route configuration", config->resource.name, WEFT_VERDICT_REFUSED, strbuf_text(&reason),
			       &config->resource.place);
		r = route_table_refused(c, config->resource.name, strbuf_text(&reason), out);
	} else if (!r) {
		report_verdict(c->report, "route configuration", config->resource.name, WEFT_VERDICT_KERNEL, "", &config->resource.place);
		r = compile_table(c, config, out);
	}
	strbuf_release(&reason);
	return r;
}

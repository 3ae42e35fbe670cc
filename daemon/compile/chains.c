/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/chains.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "weft/base.h"

static bool has_listener_filter(const struct mesh_listener *listener, const char *part)
{
	size_t i;

	for (i = 0; i < listener->listener_filters.count; i++)
		if (strstr(listener->listener_filters.items[i].name, part) || strstr(listener->listener_filters.items[i].type_url, part))
			return true;
	return false;
}

static bool texts_have(const struct mesh_texts *texts, const char *text)
{
	size_t i;

	for (i = 0; i < texts->count; i++)
		if (!strcmp(texts->items[i], text))
			return true;
	return false;
}

/* ---- destination ----------------------------------------------------------------------------------------------------------------- */

struct weft_address range_mask(const struct range *range)
{
	struct weft_address mask = { { 0 } };

	for (unsigned i = 0; i < range->bits; i++)
		((uint8_t *)mask.be)[i / 8] |= (uint8_t)(0x80 >> i % 8);
	return mask;
}

struct weft_address_text range_text(const struct range *range)
{
	struct weft_address_text ip = weft_address_text(&range->network), out;

	snprintf(out.text, sizeof(out.text), "%.46s/%u", ip.text, weft_address_is_ip4(&range->network) ? range->bits - 96u : range->bits);
	return out;
}

static bool range_equals(const struct range *a, const struct range *b)
{
	return a->bits == b->bits && weft_address_equals(&a->network, &b->network);
}

static bool to_range(const struct mesh_cidr *cidr, int family, struct range *out)
{
	struct range range = { .bits = cidr->bits };

	if (cidr->family != family)
		return false;
	if (cidr->family == AF_INET && cidr->bits)
		range.bits = (uint8_t)(cidr->bits + 96);
	if (range.bits)
		range.network = weft_address_from(cidr->family, cidr->ip);
	*out = range;
	return true;
}

static bool range_has(const struct range *range, const struct weft_address *address)
{
	const struct weft_address mask = range_mask(range);

	for (int i = 0; i < 4; i++)
		if ((range->network.be[i] ^ address->be[i]) & mask.be[i])
			return false;
	return true;
}

/* Chains for the port alone, if there are such; else those for any. */
static bool takes_port(const struct mesh_listener *listener, const struct mesh_chain_match *match, uint16_t port)
{
	bool has_own = false;
	size_t i;

	for (i = 0; port && i < listener->filter_chain_count; i++)
		has_own = has_own || listener->filter_chains[i].match.destination_port == port;
	return match->destination_port == (has_own ? port : 0);
}

static bool takes_range(const struct mesh_chain_match *match, int family, const struct range *range)
{
	struct range own;
	size_t i;

	if (!match->prefix_range_count)
		return !range->bits;
	for (i = 0; i < match->prefix_range_count; i++)
		if (to_range(&match->prefix_ranges[i], family, &own) && range_equals(&own, range))
			return true;
	return false;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct range *left = a, *right = b;

	if (left->bits != right->bits)
		return left->bits > right->bits ? -1 : 1;
	return memcmp(left->network.be, right->network.be, sizeof(left->network.be));
}

int chains_ranges(const struct mesh_listener *listener, int family, uint16_t port, struct range **ranges, size_t *count)
{
	_cleanup_free_ struct range *found = NULL;
	size_t i, k, all = 1, used = 0;

	for (i = 0; i < listener->filter_chain_count; i++)
		all += listener->filter_chains[i].match.prefix_range_count;
	found = calloc(all, sizeof(*found));
	if (!found)
		return -ENOMEM;
	for (i = 0; i < listener->filter_chain_count; i++) {
		const struct mesh_chain_match *match = &listener->filter_chains[i].match;

		for (k = 0; takes_port(listener, match, port) && k < match->prefix_range_count; k++)
			if (to_range(&match->prefix_ranges[k], family, &found[used]) && found[used].bits)
				used++;
	}
	qsort(found, used, sizeof(*found), compare_ranges);
	for (i = k = 0; i < used; i++)
		if (!k || !range_equals(&found[k - 1], &found[i]))
			found[k++] = found[i];
	found[k++] = (struct range){ 0 };
	*ranges = TAKE_PTR(found);
	*count = k;
	return 0;
}

struct range chains_range_of(const struct mesh_listener *listener, uint16_t port, const struct weft_address *address)
{
	struct range best = { 0 }, own;
	size_t i, k;

	for (i = 0; i < listener->filter_chain_count; i++) {
		const struct mesh_chain_match *match = &listener->filter_chains[i].match;

		for (k = 0; takes_port(listener, match, port) && k < match->prefix_range_count; k++)
			if (to_range(&match->prefix_ranges[k], weft_address_af(address), &own) && own.bits > best.bits && range_has(&own, address))
				best = own;
	}
	return best;
}

/* ---- transport and protocol ------------------------------------------------------------------------------------------------------ */

struct branch {
	const struct mesh_listener *listener;
	int family;
	uint16_t port;
	struct range range;
};

static bool is_in_branch(const struct branch *branch, const struct mesh_filter_chain *chain)
{
	return takes_port(branch->listener, &chain->match, branch->port) && takes_range(&chain->match, branch->family, &branch->range);
}

static bool takes_name(const struct mesh_chain_match *match, const char *server_name)
{
	return *server_name ? texts_have(&match->server_names, server_name) : !match->server_names.count;
}

/* The chain for connections of `transport` with this server name ("" for none of the names) and application protocol ("" for none).
 * `by_protocol`, unless NULL: is another taken for another application protocol? */
static const struct mesh_filter_chain *find_chain(const struct branch *branch, const char *server_name, const char *transport, const char *protocol,
						  bool *by_protocol)
{
	const struct mesh_filter_chain *found = NULL, *chain;
	bool has_transport = false;
	size_t i;

	for (i = 0; i < branch->listener->filter_chain_count; i++) {
		chain = &branch->listener->filter_chains[i];
		if (is_in_branch(branch, chain) && takes_name(&chain->match, server_name) && !strcmp(chain->match.transport_protocol, transport))
			has_transport = true;
	}
	for (i = 0; i < branch->listener->filter_chain_count; i++) {
		const struct mesh_chain_match *match;

		chain = &branch->listener->filter_chains[i];
		match = &chain->match;
		if (!is_in_branch(branch, chain) || !takes_name(match, server_name) || strcmp(match->transport_protocol, has_transport ? transport : ""))
			continue;
		if (by_protocol && match->application_protocols.count)
			*by_protocol = true;
		if (*protocol && texts_have(&match->application_protocols, protocol))
			return chain;
		if (!match->application_protocols.count && !found)
			found = chain;
	}
	return found;
}

static const struct mesh_filter_chain *or_default(const struct branch *branch, const struct mesh_filter_chain *chain)
{
	return chain ? chain : branch->listener->default_filter_chain;
}

/* ---- server names ---------------------------------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct named_chain *)a)->name, ((const struct named_chain *)b)->name);
}

static int add_names(const struct branch *branch, struct chains *out)
{
	size_t i, k, all = 1, used = 0;

	for (i = 0; i < branch->listener->filter_chain_count; i++)
		all += branch->listener->filter_chains[i].match.server_names.count;
	out->names = calloc(all, sizeof(*out->names));
	if (!out->names)
		return -ENOMEM;
	for (i = 0; i < branch->listener->filter_chain_count; i++) {
		const struct mesh_filter_chain *chain = &branch->listener->filter_chains[i];

		for (k = 0; is_in_branch(branch, chain) && k < chain->match.server_names.count; k++)
			out->names[used++].name = chain->match.server_names.items[k];
	}
	out->names[used++].name = "";
	qsort(out->names, used, sizeof(*out->names), compare_names);
	for (i = k = 0; i < used; i++) {
		if (k && !strcmp(out->names[k - 1].name, out->names[i].name))
			continue;
		out->names[k] = (struct named_chain){ .name = out->names[i].name };
		out->names[k].chain = or_default(branch, find_chain(branch, out->names[i].name, "tls", "", &out->names[k].is_by_protocol));
		k++;
	}
	out->name_count = k;
	/* Where TLS takes no other chain there is nothing to look for. */
	out->inspects_tls = k > 1 || out->names[0].chain != out->rest || out->names[0].is_by_protocol;
	return 0;
}

int chains_choose(const struct mesh_listener *listener, int family, uint16_t port, const struct range *range, struct chains *out)
{
	const struct branch branch = { listener, family, port, *range };
	bool inspects_http = has_listener_filter(listener, "http_inspector");
	const struct mesh_filter_chain *http_10;

	memset(out, 0, sizeof(*out));
	out->rest = or_default(&branch, find_chain(&branch, "", "raw_buffer", "", NULL));
	out->http = inspects_http ? or_default(&branch, find_chain(&branch, "", "raw_buffer", "http/1.1", NULL)) : out->rest;
	out->is_sniffed = out->http != out->rest;
	http_10 = inspects_http ? or_default(&branch, find_chain(&branch, "", "raw_buffer", "http/1.0", NULL)) : out->http;
	out->accepts_http_10 = http_10 == out->http;
	out->sniffs_http_10 = http_10 != out->rest;
	out->is_rest_http_2 = out->is_sniffed && or_default(&branch, find_chain(&branch, "", "raw_buffer", "h2c", NULL)) == out->rest;
	return has_listener_filter(listener, "tls_inspector") ? add_names(&branch, out) : 0;
}

void chains_release(struct chains *chains)
{
	free(chains->names);
	*chains = (struct chains){ 0 };
}

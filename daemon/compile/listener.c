/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection to a listener's address gets: which of its filter chains there is to take, and what that makes of the listener. */
#include <arpa/inet.h>
#include <string.h>

#include "compile/routes.h"

#define HTTP_INSPECTOR "http_inspector"

/* The chains of a listener that a plaintext connection can reach, by what they are taken for. */
struct chains {
	const struct mesh_filter_chain *http;      /* for bytes that look like HTTP, or for all */
	const struct mesh_filter_chain *rest;      /* for the others */
	bool http_is_sniffed;
	bool accepts_http_10;      /* its application_protocols have http/1.0 */
};

static void refuse(struct listener_plan *plan)
{
	plan->kind = WEFT_LISTENER_REFUSED;
	plan->verdict = WEFT_VERDICT_REFUSED;
}

/* ---- filters --------------------------------------------------------------------------------------------------------------------- */

static bool judge_filters(const struct mesh_filters *filters, struct strbuf *reason)
{
	size_t i, before = reason->size;

	for (i = 0; i < filters->count; i++) {
		const struct mesh_filter *filter = &filters->items[i];

		if (filter->kind == MESH_FILTER_POLICY)
			reason_add(reason, "filter %s decides who may pass, and weft does not enforce it", filter->name);
		else if (filter->kind == MESH_FILTER_UNKNOWN)
			reason_add(reason, "filter %s is not supported", filter->name);
		else if (filter->has_effect && filter->kind != MESH_FILTER_IGNORED)
			reason_add(reason, "the configuration of filter %s is not supported yet", filter->name);
	}
	return reason->size == before;
}

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

/* ---- choosing chains ------------------------------------------------------------------------------------------------------------- */

static bool cidr_has(const struct mesh_cidr *cidr, uint32_t ip4_be)
{
	uint32_t network, mask = cidr->bits ? 0xffffffffu << (32 - cidr->bits) : 0;

	if (cidr->family != AF_INET || cidr->bits > 32)
		return false;
	memcpy(&network, cidr->ip, sizeof(network));
	return ((ntohl(network) ^ ntohl(ip4_be)) & mask) == 0;
}

/* Length of the longest range that has the address, plus 1; 1 when the chain has no ranges; 0: not this chain. */
static uint32_t prefix_rank(const struct mesh_chain_match *match, uint32_t ip4_be)
{
	uint32_t best = 0;
	size_t i;

	if (!match->prefix_range_count)
		return 1;
	for (i = 0; i < match->prefix_range_count; i++)
		if (cidr_has(&match->prefix_ranges[i], ip4_be) && match->prefix_ranges[i].bits + 1u > best)
			best = match->prefix_ranges[i].bits + 1u;
	return best;
}

/* Envoy orders conditions: destination port, prefix range, server name, transport, application protocol. The port is the listener's, the
 * address is known unless the listener takes any, and a plaintext connection has neither server name nor TLS. */
struct candidate {
	const struct mesh_filter_chain *chain;
	uint32_t port_rank, prefix_rank;
	bool is_raw;             /* asks for raw_buffer by name */
	bool is_sniffed;
};

static bool outranks(const struct candidate *a, const struct candidate *b)
{
	if (!b->chain)
		return true;
	if (a->port_rank != b->port_rank)
		return a->port_rank > b->port_rank;
	if (a->prefix_rank != b->prefix_rank)
		return a->prefix_rank > b->prefix_rank;
	if (a->is_raw != b->is_raw)
		return a->is_raw;
	return false;
}

/* False when the chains can't be told apart with what weft knows of a connection; `reason` says why. */
static bool choose_chains(const struct mesh_listener *listener, uint32_t ip4_be, uint16_t port, struct chains *chains, struct strbuf *reason)
{
	bool inspects_http = has_listener_filter(listener, HTTP_INSPECTOR), inspects_tls = has_listener_filter(listener, "tls_inspector");
	struct candidate sniffed = { NULL }, plain = { NULL };
	size_t i, before = reason->size;

	memset(chains, 0, sizeof(*chains));
	for (i = 0; i < listener->filter_chain_count; i++) {
		const struct mesh_filter_chain *chain = &listener->filter_chains[i];
		const struct mesh_chain_match *match = &chain->match;
		struct candidate candidate = { .chain = chain, .port_rank = match->destination_port != 0 };

		if (match->destination_port && match->destination_port != port)
			continue;
		if (match->prefix_range_count && !ip4_be) {
			reason_add(reason, "filter chains by destination address are not supported yet on a listener for any address");
			break;
		}
		candidate.prefix_rank = prefix_rank(match, ip4_be);
		if (!candidate.prefix_rank)
			continue;
		if (match->server_names.count || !strcmp(match->transport_protocol, "tls")) {
			if (!inspects_tls)
				continue;
			reason_add(reason, "filter chains by server name or for TLS are not supported yet");
			break;
		}
		candidate.is_raw = *match->transport_protocol;
		candidate.is_sniffed = match->application_protocols.count > 0;
		if (candidate.is_sniffed && (!inspects_http || !texts_have(&match->application_protocols, "http/1.1")))
			continue;
		if (candidate.is_sniffed && outranks(&candidate, &sniffed))
			sniffed = candidate;
		else if (!candidate.is_sniffed && outranks(&candidate, &plain))
			plain = candidate;
	}
	if (reason->size != before)
		return false;
	/* A plain chain of a more specific address beats a sniffed one. */
	if (plain.chain && sniffed.chain && (plain.port_rank > sniffed.port_rank ||
					     (plain.port_rank == sniffed.port_rank && plain.prefix_rank > sniffed.prefix_rank)))
		sniffed.chain = NULL;
	if (!plain.chain)
		plain.chain = listener->default_filter_chain;

	if (sniffed.chain && sniffed.chain->kind == MESH_CHAIN_HTTP) {
		chains->http = sniffed.chain;
		chains->rest = plain.chain;
		chains->http_is_sniffed = true;
		chains->accepts_http_10 = texts_have(&sniffed.chain->match.application_protocols, "http/1.0");
	} else if (sniffed.chain) {
		reason_add(reason, "a filter chain for HTTP that does not manage HTTP is not supported");
		return false;
	} else if (plain.chain && plain.chain->kind == MESH_CHAIN_HTTP) {
		chains->http = plain.chain;
		chains->accepts_http_10 = true;
	} else {
		chains->rest = plain.chain;
	}
	return true;
}

/* ---- chains to kinds ------------------------------------------------------------------------------------------------------------- */

static bool judge_chain(const struct mesh_filter_chain *chain, struct strbuf *reason)
{
	size_t before = reason->size;

	/* The mesh's own reasons say the same of filters and transport, with their places. */
	if (chain->reasons.count) {
		reason_add_mesh(reason, &chain->reasons);
		return false;
	}
	if (chain->transport != MESH_TRANSPORT_RAW)
		reason_add(reason, "terminating TLS is not supported");
	judge_filters(&chain->filters, reason);
	if (chain->http)
		judge_filters(&chain->http->filters, reason);
	return reason->size == before;
}

static const struct mesh_cluster *only_cluster(const struct mesh *mesh, const struct mesh_tcp *tcp)
{
	return tcp->cluster_count == 1 ? mesh_find_cluster(mesh, tcp->clusters[0].name) : NULL;
}

static void plan_tcp(const struct mesh *mesh, const struct mesh_tcp *tcp, struct listener_plan *plan)
{
	const struct mesh_cluster *cluster = only_cluster(mesh, tcp);
	const struct mesh_load_assignment *assignment = cluster ? mesh_cluster_endpoints(mesh, cluster) : NULL;

	plan->tcp = tcp;
	plan->verdict = WEFT_VERDICT_KERNEL;
	if (cluster && cluster->kind == MESH_CLUSTER_ORIGINAL_DST && !cluster->original_dst_port && !cluster->resource.reasons.count) {
		plan->kind = WEFT_LISTENER_PASS;
	} else if (cluster && cluster->kind == MESH_CLUSTER_STATIC && (!assignment || !assignment->endpoint_count)) {
		plan->kind = WEFT_LISTENER_BLOCK;
	} else if (!tcp->total_weight || tcp->total_weight > UINT32_MAX) {
		refuse(plan);
		reason_add(&plan->reason, "the weights sum to %llu", (unsigned long long)tcp->total_weight);
	} else {
		plan->kind = WEFT_LISTENER_TCP;
		plan->verdict = WEFT_VERDICT_PROXY;
		reason_add(&plan->reason, "the proxy tunnels TCP");
	}
}

static void plan_upgrades(const struct mesh_http *http, struct listener_plan *plan)
{
	size_t i;

	for (i = 0; i < http->upgrades.count; i++) {
		const struct mesh_upgrade *upgrade = &http->upgrades.items[i];

		if (!upgrade->is_enabled)
			continue;
		if (!strcmp(upgrade->type, "websocket"))
			plan->flags |= WEFT_LISTENER_WEBSOCKET;
		else
			reason_add(&plan->reason, "upgrades to %s are not supported and are answered 403", upgrade->type);
	}
}

/* Settings that change what Envoy does with a request and that weft has no way to do. */
static void judge_http(const struct mesh_http *http, struct strbuf *reason)
{
	if (http->codec == MESH_CODEC_HTTP2 || http->codec == MESH_CODEC_HTTP3)
		reason_add(reason, "a listener for HTTP/2 alone is not supported yet");
	if (http->escaped_slashes == MESH_SLASHES_UNESCAPE_AND_REDIRECT)
		reason_add(reason, "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT is not supported");
	if (http->use_remote_address)
		reason_add(reason, "use_remote_address is not supported yet");
	if (http->accept_http_10 && *http->default_host_for_http_10)
		reason_add(reason, "default_host_for_http_10 is not supported yet");
	if (http->request_timeout_ms)
		reason_add(reason, "request_timeout is not supported yet");
}

static void plan_http(const struct chains *chains, struct listener_plan *plan)
{
	const struct mesh_http *http = chains->http->http;
	size_t before = plan->reason.size;

	judge_http(http, &plan->reason);
	if (plan->reason.size != before) {
		refuse(plan);
		return;
	}
	plan->kind = WEFT_LISTENER_HTTP;
	plan->verdict = WEFT_VERDICT_KERNEL;
	plan->http = http;
	plan->flags = WEFT_LISTENER_KERNEL;
	if (http->accept_http_10 && chains->accepts_http_10)
		plan->flags |= WEFT_LISTENER_ACCEPT_HTTP_10;
	if (http->normalize_path)
		plan->flags |= WEFT_LISTENER_NORMALIZE_PATH;
	if (http->merge_slashes)
		plan->flags |= WEFT_LISTENER_MERGE_SLASHES;
	if (http->escaped_slashes == MESH_SLASHES_UNESCAPE_AND_FORWARD)
		plan->flags |= WEFT_LISTENER_UNESCAPE_SLASHES;
	if (http->escaped_slashes == MESH_SLASHES_REJECT)
		plan->flags |= WEFT_LISTENER_REJECT_SLASHES;
	if (chains->http_is_sniffed)
		plan->flags |= WEFT_LISTENER_SNIFF;
	plan_upgrades(http, plan);
	if (chains->rest && chains->rest->kind == MESH_CHAIN_TCP)
		plan->other = chains->rest->tcp;
	else if (chains->rest && chains->rest->kind == MESH_CHAIN_HTTP)
		reason_add(&plan->reason, "bytes that do not look like HTTP are closed, not answered by the second HTTP filter chain");
}

void listener_plan(const struct mesh *mesh, const struct mesh_listener *listener, const struct mesh_address *address, struct listener_plan *plan)
{
	struct chains chains;

	*plan = (struct listener_plan){ .port_be = htons(address->port), .reason = STRBUF_INIT };
	memcpy(&plan->ip4_be, address->ip, sizeof(plan->ip4_be));
	if (listener->resource.reasons.count) {
		reason_add_mesh(&plan->reason, &listener->resource.reasons);
		refuse(plan);
		return;
	}
	if (!judge_filters(&listener->listener_filters, &plan->reason) ||
	    !choose_chains(listener, plan->ip4_be, address->port, &chains, &plan->reason)) {
		refuse(plan);
		return;
	}
	if (chains.http && !judge_chain(chains.http, &plan->reason)) {
		refuse(plan);
		return;
	}
	if (chains.rest && !judge_chain(chains.rest, &plan->reason)) {
		refuse(plan);
		return;
	}
	if (chains.http) {
		plan_http(&chains, plan);
	} else if (chains.rest && chains.rest->kind == MESH_CHAIN_TCP) {
		plan_tcp(mesh, chains.rest->tcp, plan);
	} else {
		refuse(plan);
		reason_add(&plan->reason, "no filter chain takes a plaintext connection: it is closed");
	}
}

void listener_plan_catch_all(const struct mesh *mesh, const struct mesh_listener *listener, struct listener_plan *plan)
{
	/* Destination port 0 is nobody's: chains for the listener's own port (15001, against loops) drop out. */
	struct mesh_address any = { .kind = MESH_ADDRESS_IP, .family = AF_INET, .text = "" };

	listener_plan(mesh, listener, &any, plan);
	if (plan->kind == WEFT_LISTENER_HTTP) {
		refuse(plan);
		plan->http = NULL;
		reason_add(&plan->reason, "HTTP for addresses without a listener is not supported");
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection to a listener's address gets: which of its filter chains there is to take, and what that makes of the listener. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/chains.h"
#include "compile/routes.h"
#include "weft/head.h"

#define FAULT_FILTER "envoy.filters.http.fault"
#define CORS_FILTER "envoy.filters.http.cors"
#define IDLE_TIMEOUT_DEFAULT_MS 3600000  /* Envoy's, of tcp_proxy and of HTTP connections */
#define STREAM_IDLE_DEFAULT_MS 300000    /* Envoy's */

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

static const struct mesh_tcp *judge_tcp(const struct mesh_filter_chain *chain, struct strbuf *reason)
{
	if (chain->kind == MESH_CHAIN_NONE)
		reason_add(reason, "its filter chain ends nowhere: it is closed");
	else if (chain->kind == MESH_CHAIN_HTTP)
		reason_add(reason, "it would be served as HTTP");
	else if (!chain->tcp->total_weight || chain->tcp->total_weight > UINT32_MAX)
		reason_add(reason, "the weights sum to %llu", (unsigned long long)chain->tcp->total_weight);
	else
		return chain->tcp;
	return NULL;
}

/* What bytes that take `chain` are handed to; NULL, with the reason: closed. `what` says which bytes, where others are served. */
static const struct mesh_tcp *judge_rest(const struct mesh_filter_chain *chain, const char *what, struct strbuf *reason)
{
	struct strbuf own = STRBUF_INIT;
	const struct mesh_tcp *tcp = NULL;

	if (!chain)
		reason_add(&own, "no filter chain takes it: it is closed");
	else if (judge_chain(chain, &own))
		tcp = judge_tcp(chain, &own);
	if (!tcp)
		reason_add(reason, "%s%s%s", what ? what : "", what ? " is refused: " : "", strbuf_text(&own));
	strbuf_release(&own);
	return tcp;
}

static void plan_tcp(const struct mesh *mesh, const struct mesh_tcp *tcp, struct listener_plan *plan)
{
	const struct mesh_cluster *cluster = only_cluster(mesh, tcp);
	const struct mesh_load_assignment *assignment = cluster ? mesh_cluster_endpoints(mesh, cluster) : NULL;

	plan->tcp = tcp;
	plan->verdict = WEFT_VERDICT_KERNEL;
	if (tcp->idle_timeout_ms && tcp->idle_timeout_ms != IDLE_TIMEOUT_DEFAULT_MS)
		reason_add(&plan->reason, "idle_timeout %lld ms is not enforced yet", (long long)tcp->idle_timeout_ms);
	if (tcp->hashes_source_ip)
		plan->flags |= WEFT_LISTENER_HASH_SOURCE_IP;
	if (plan->name_count) {
		plan->kind = WEFT_LISTENER_TCP;
		plan->verdict = WEFT_VERDICT_PROXY;
		reason_add(&plan->reason, "the proxy looks at the server name and tunnels");
	} else if (cluster && cluster->kind == MESH_CLUSTER_ORIGINAL_DST && !cluster->original_dst_port && !cluster->resource.reasons.count) {
		plan->kind = WEFT_LISTENER_PASS;
	} else if (cluster && cluster->kind == MESH_CLUSTER_STATIC && (!assignment || !assignment->endpoint_count)) {
		plan->kind = WEFT_LISTENER_BLOCK;
	} else {
		plan->kind = WEFT_LISTENER_TCP;
		plan->flags |= WEFT_LISTENER_KERNEL;
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

/* Where a filter stands, as routes name it; one that is off may be turned on by them. SIZE_MAX: nowhere. */
static size_t filter_at(const struct mesh_http *http, const char *name)
{
	size_t i;

	for (i = 0; i < http->filters.count; i++)
		if (!strcmp(http->filters.items[i].name, name))
			return i;
	return SIZE_MAX;
}

static uint16_t filter_flags(const struct mesh_http *http)
{
	uint16_t flags = 0;

	if (filter_at(http, FAULT_FILTER) != SIZE_MAX)
		flags |= WEFT_LISTENER_FAULTS;
	if (filter_at(http, CORS_FILTER) != SIZE_MAX)
		flags |= WEFT_LISTENER_CORS;
	return flags;
}

/* Settings that change what Envoy does with a request and that weft has no way to do. */
static bool judge_http(const struct mesh_http *http, struct strbuf *reason)
{
	size_t before = reason->size;

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
	if (http->max_request_headers_kb < WEFT_PROXY_HEAD_MAX / 1024)
		reason_add(reason, "max_request_headers_kb %u, less than weft's own %u, is not supported yet", http->max_request_headers_kb,
			   WEFT_PROXY_HEAD_MAX / 1024);
	if (http->max_headers_count < WEFT_PROXY_FIELDS_MAX)
		reason_add(reason, "max_headers_count %u, less than weft's own %u, is not supported yet", http->max_headers_count, WEFT_PROXY_FIELDS_MAX);
	if (filter_flags(http) == (WEFT_LISTENER_FAULTS | WEFT_LISTENER_CORS) && filter_at(http, CORS_FILTER) < filter_at(http, FAULT_FILTER))
		reason_add(reason, "CORS before faults is not supported (http_filters)");
	return reason->size == before;
}

/* What ends streams and connections on which nothing happens. The defaults, which nobody asked for, are told in the documentation. */
static void remark_timeouts(const struct mesh_http *http, struct strbuf *remark)
{
	if (http->stream_idle_timeout_ms && http->stream_idle_timeout_ms != STREAM_IDLE_DEFAULT_MS)
		reason_add(remark, "stream_idle_timeout %lld ms is not enforced yet", (long long)http->stream_idle_timeout_ms);
	if (http->idle_timeout_ms && http->idle_timeout_ms != IDLE_TIMEOUT_DEFAULT_MS)
		reason_add(remark, "idle_timeout %lld ms is not enforced yet", (long long)http->idle_timeout_ms);
}

static void plan_http(const struct mesh_http *http, const struct chains *chains, struct listener_plan *plan)
{
	plan->verdict = WEFT_VERDICT_KERNEL;
	plan->http = http;
	plan->flags |= (uint16_t)(WEFT_LISTENER_KERNEL | filter_flags(http));
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
	plan_upgrades(http, plan);
	remark_timeouts(http, &plan->reason);
}

/* A chain that weft does not serve refuses what takes it, and nothing else. */
static void plan_sniffed(const struct chains *chains, struct listener_plan *plan)
{
	struct strbuf refusal = STRBUF_INIT;
	bool is_served = judge_chain(chains->http, &refusal) && judge_http(chains->http->http, &refusal);

	plan->kind = WEFT_LISTENER_HTTP;
	if (is_served) {
		plan_http(chains->http->http, chains, plan);
	} else {
		plan->verdict = WEFT_VERDICT_REFUSED;
		plan->flags |= WEFT_LISTENER_HTTP_REFUSED;
		reason_add(&plan->reason, "%s", strbuf_text(&refusal));
	}
	strbuf_release(&refusal);
	if (chains->is_sniffed) {
		plan->flags |= WEFT_LISTENER_SNIFF | (chains->sniffs_http_10 ? WEFT_LISTENER_SNIFF_HTTP_10 : 0) |
			       (chains->is_rest_http_2 ? WEFT_LISTENER_OTHER_HTTP_2 : 0);
		/* Without a chain they are closed by Envoy, too: that is no shortcoming to tell of. */
		if (chains->rest)
			plan->other = judge_rest(chains->rest, "what is not HTTP", &plan->reason);
		if (plan->other && plan->other->hashes_source_ip)
			plan->flags |= WEFT_LISTENER_HASH_SOURCE_IP;
	}
	if (!is_served && !plan->other && !plan->name_count) {
		refuse(plan);
		plan->flags = 0;
	}
}

static int plan_names(const struct chains *chains, struct listener_plan *plan)
{
	size_t i;

	if (!chains->inspects_tls)
		return 0;
	plan->names = calloc(chains->name_count, sizeof(*plan->names));
	if (!plan->names)
		return -ENOMEM;
	for (i = 0; i < chains->name_count; i++) {
		const char *name = chains->names[i].name;
		char what[320];

		snprintf(what, sizeof(what), *name ? "TLS to %s" : "TLS to other names", name);
		plan->names[i].name = name;
		if (chains->names[i].is_by_protocol)
			reason_add(&plan->reason, "%s is refused: filter chains by TLS's application protocol are not supported", what);
		else
			plan->names[i].tcp = judge_rest(chains->names[i].chain, what, &plan->reason);
	}
	plan->name_count = chains->name_count;
	return 0;
}

static int plan_range(const struct mesh *mesh, const struct mesh_listener *listener, uint16_t port, struct listener_plan *plan)
{
	_cleanup_(chains_release) struct chains chains = { NULL };
	const struct mesh_tcp *tcp;
	int r;

	if (listener->resource.reasons.count) {
		reason_add_mesh(&plan->reason, &listener->resource.reasons);
		refuse(plan);
		return 0;
	}
	if (!judge_filters(&listener->listener_filters, &plan->reason)) {
		refuse(plan);
		return 0;
	}
	r = chains_choose(listener, weft_address_af(&plan->address), port, &plan->range, &chains);
	if (!r)
		r = plan_names(&chains, plan);
	if (r)
		return r;
	if (chains.http && chains.http->kind == MESH_CHAIN_HTTP) {
		plan_sniffed(&chains, plan);
		return 0;
	}
	if (chains.is_sniffed && chains.http) {
		refuse(plan);
		reason_add(&plan->reason, "a filter chain for HTTP that does not manage HTTP is not supported");
		return 0;
	}
	tcp = judge_rest(chains.rest, plan->name_count ? "what is not TLS" : NULL, &plan->reason);
	if (tcp) {
		plan_tcp(mesh, tcp, plan);
	} else if (plan->name_count) {
		plan->kind = WEFT_LISTENER_TCP;
		plan->verdict = WEFT_VERDICT_PROXY;
	} else {
		refuse(plan);
	}
	return 0;
}

void listener_plans_free(struct listener_plan *plans, size_t count)
{
	size_t i;

	for (i = 0; plans && i < count; i++) {
		free(plans[i].names);
		strbuf_release(&plans[i].reason);
	}
	free(plans);
}

int listener_plans(const struct mesh *mesh, const struct mesh_listener *listener, const struct mesh_address *address, struct listener_plan **out,
		   size_t *count)
{
	_cleanup_free_ struct range *ranges = NULL;
	struct listener_plan *plans;
	size_t i, range_count, known;
	const struct weft_address key = weft_address_from(address->family, address->ip);
	bool is_any = weft_address_is_any(&key);
	int r;

	r = chains_ranges(listener, address->family, address->port, &ranges, &range_count);
	if (r)
		return r;
	if (!is_any) {
		/* The range is known: of others nothing comes here. */
		ranges[0] = chains_range_of(listener, address->port, &key);
		range_count = 1;
	}
	known = range_count;
	if (known > WEFT_RANGES_MAX) {
		ranges[0] = (struct range){ 0 };
		range_count = 1;
	}
	plans = calloc(range_count, sizeof(*plans));
	if (!plans)
		return -ENOMEM;
	for (i = 0; !r && i < range_count; i++) {
		plans[i].reason = (struct strbuf)STRBUF_INIT;
		plans[i].address = key;
		plans[i].port_be = htons(address->port);
		plans[i].range = ranges[i];
		r = plan_range(mesh, listener, address->port, &plans[i]);
		if (known > WEFT_RANGES_MAX) {
			refuse(&plans[i]);
			reason_add(&plans[i].reason, "%zu ranges of destination addresses are more than %u", known, WEFT_RANGES_MAX);
		}
		if (!is_any)
			plans[i].range = (struct range){ 0 };
	}
	if (r) {
		listener_plans_free(plans, range_count);
		return r;
	}
	*out = plans;
	*count = range_count;
	return 0;
}

int listener_plans_catch_all(const struct mesh *mesh, const struct mesh_listener *listener, int family, struct listener_plan **plans, size_t *count)
{
	/* Destination port 0 is nobody's: chains for the listener's own port (15001, against loops) drop out. */
	const struct mesh_address any = { .kind = MESH_ADDRESS_IP, .family = family, .text = "" };
	size_t i;
	int r;

	r = listener_plans(mesh, listener, &any, plans, count);
	for (i = 0; !r && i < *count; i++) {
		if ((*plans)[i].kind != WEFT_LISTENER_HTTP)
			continue;
		refuse(&(*plans)[i]);
		(*plans)[i].http = NULL;
		reason_add(&(*plans)[i].reason, "HTTP for addresses without a listener is not supported");
	}
	return r;
}

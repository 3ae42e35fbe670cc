/* SPDX-License-Identifier: Apache-2.0 */
/* What a route asks for beside forwarding or answering, and only the proxy does: faults, CORS, retries, mirrors. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/routes.h"

#define LEVELS_MAX 4 /* weight, route, virtual host, configuration */
/* Each of these lists lies in one page. */
#define MATCHERS_MAX (BUILDER_OBJECT_MAX / sizeof(struct weft_condition))
#define STATUS_CODES_MAX (BUILDER_OBJECT_MAX / sizeof(uint32_t))
#define MIRRORS_MAX ((BUILDER_OBJECT_MAX - sizeof(struct weft_mirrors)) / sizeof(((struct weft_mirrors *)NULL)->items[0]))

struct policies_compile {
	struct routes_compile *c;
	const struct mesh_filter_configs *levels[LEVELS_MAX]; /* the most specific first */
	size_t level_count;
	struct strbuf *proxy, *unsupported;
};

/* Configurations of one filter, the most specific first: none where that one turns the filter off. */
static size_t configs_of(const struct policies_compile *p, enum mesh_filter_kind kind, const struct mesh_filter_config **out)
{
	size_t i, j, count = 0;

	for (i = 0; i < p->level_count; i++) {
		for (j = 0; j < p->levels[i]->count; j++) {
			const struct mesh_filter_config *config = &p->levels[i]->items[j];

			if (config->kind != kind)
				continue;
			if (config->is_disabled && !count)
				return 0;
			if (!config->is_disabled)
				out[count++] = config;
			break;
		}
	}
	return count;
}

static weft_ref text(struct policies_compile *p, const char *value)
{
	return *value ? builder_bytes_text(&p->c->builder, value, strlen(value)) : 0;
}

static struct weft_fraction fraction(const struct mesh_fraction *from)
{
	return (struct weft_fraction){ from->numerator, from->denominator };
}

/* ---- faults ---------------------------------------------------------------------------------------------------------------------- */

#define BY_HEADER (WEFT_FAULT_DELAY_BY_HEADER | WEFT_FAULT_ABORT_BY_HEADER)

static int fault(struct policies_compile *p, weft_ref *out)
{
	const struct mesh_filter_config *configs[LEVELS_MAX];
	const struct mesh_fault *source = configs_of(p, MESH_FILTER_FAULT, configs) ? configs[0]->fault : NULL;
	struct weft_fault made = { 0 };
	uint16_t count = 0;
	bool can_hold;
	int r;

	if (!source)
		return 0;
	r = conditions_of_headers(p->c, source->headers, source->header_count, &made.conditions, &count, &can_hold, p->unsupported);
	if (r)
		return r;
	made.condition_count = count;
	if (source->delay_ms && source->delayed.numerator) {
		made.delay_ms = (uint32_t)WEFT_MIN(source->delay_ms, (int64_t)UINT32_MAX);
		made.delayed = fraction(&source->delayed);
	}
	if (source->abort_status && source->aborted.numerator) {
		made.abort_status = (uint16_t)source->abort_status;
		made.aborted = fraction(&source->aborted);
		made.flags = source->has_grpc_status ? WEFT_FAULT_HAS_GRPC_STATUS : 0;
		made.grpc_status = source->grpc_status;
	}
	if (source->delays_by_header && source->delayed.numerator) {
		made.flags |= WEFT_FAULT_DELAY_BY_HEADER;
		made.delayed = fraction(&source->delayed);
	}
	if (source->aborts_by_header && source->aborted.numerator) {
		made.flags |= WEFT_FAULT_ABORT_BY_HEADER;
		made.aborted = fraction(&source->aborted);
	}
	if (!can_hold || (!made.delay_ms && !made.abort_status && !(made.flags & BY_HEADER)))
		return 0;
	if (*source->upstream_cluster) {
		r = ids_cluster(p->c->claim, source->upstream_cluster, &made.cluster_id);
		if (r == -ENOSPC)
			reason_add(p->unsupported, "a fault for cluster %s, for which there is no room", source->upstream_cluster);
		if (r)
			return r == -ENOSPC ? 0 : r;
	}
	if (made.delay_ms)
		reason_add(p->proxy, "the proxy delays %u of %u requests by %u ms", made.delayed.numerator, made.delayed.denominator, made.delay_ms);
	if (made.abort_status)
		reason_add(p->proxy, "the proxy aborts %u of %u requests with %u", made.aborted.numerator, made.aborted.denominator, made.abort_status);
	if (made.flags & BY_HEADER)
		reason_add(p->proxy, "the proxy injects the faults that a request asks for");
	*out = builder_share(&p->c->builder, &made, sizeof(made));
	return builder_status(&p->c->builder);
}

/* Alternatives: each matcher a condition. */
static int alternatives(struct policies_compile *p, const struct mesh_header_matcher *matchers, size_t count, weft_ref *out, uint32_t *out_count)
{
	_cleanup_free_ struct weft_condition *written = calloc(count + 1, sizeof(*written));
	size_t i;

	if (!written)
		return -ENOMEM;
	if (count > MATCHERS_MAX) {
		reason_add(p->unsupported, "%zu matchers are more than one policy holds (%zu)", count, MATCHERS_MAX);
		return 0;
	}
	for (i = 0; i < count; i++) {
		struct mesh_header_matcher matcher = matchers[i];
		weft_ref ref;
		uint16_t made;
		bool can_hold;
		int r = conditions_of_headers(p->c, &matcher, 1, &ref, &made, &can_hold, p->unsupported);

		if (r)
			return r;
		if (made)
			written[(*out_count)++] = *(const struct weft_condition *)builder_at(&p->c->builder, ref);
		else if (can_hold)
			reason_add(p->unsupported, "a matcher on %s that always holds is not supported here", matcher.name);
	}
	if (*out_count)
		*out = builder_share(&p->c->builder, written, *out_count * sizeof(*written));
	return builder_status(&p->c->builder);
}

/* ---- CORS ------------------------------------------------------------------------------------------------------------------------ */

static int origins(struct policies_compile *p, const struct mesh_cors *source, struct weft_cors *made)
{
	_cleanup_free_ struct mesh_header_matcher *matchers = calloc(source->origin_count + 1, sizeof(*matchers));
	size_t i;

	if (!matchers)
		return -ENOMEM;
	for (i = 0; i < source->origin_count; i++)
		matchers[i] = (struct mesh_header_matcher){ .name = "origin", .kind = MESH_HEADER_STRING, .string = source->origins[i] };
	return alternatives(p, matchers, source->origin_count, &made->origins, &made->origin_count);
}

/* The first level that says it. */
static uint32_t option(enum mesh_option found, enum mesh_option otherwise, uint32_t flag)
{
	return (found == MESH_UNSET ? otherwise : found) == MESH_YES ? flag : 0;
}

static int cors(struct policies_compile *p, weft_ref *out)
{
	const struct mesh_filter_config *configs[LEVELS_MAX];
	size_t i, count = configs_of(p, MESH_FILTER_CORS, configs);
	struct mesh_cors all = { .allow_methods = "", .allow_headers = "", .expose_headers = "", .max_age = "" };
	struct weft_cors made = { 0 };
	int r;

	if (!count || !configs[0]->cors || !configs[0]->cors->enabled.numerator)
		return 0;
	for (i = 0; i < count; i++) {
		const struct mesh_cors *level = configs[i]->cors;

		if (!level)
			continue;
		if (!all.origin_count) {
			all.origins = level->origins;
			all.origin_count = level->origin_count;
		}
		all.allow_methods = *all.allow_methods ? all.allow_methods : level->allow_methods;
		all.allow_headers = *all.allow_headers ? all.allow_headers : level->allow_headers;
		all.expose_headers = *all.expose_headers ? all.expose_headers : level->expose_headers;
		all.max_age = *all.max_age ? all.max_age : level->max_age;
		all.allows_credentials = all.allows_credentials ? all.allows_credentials : level->allows_credentials;
		all.allows_private_network = all.allows_private_network ? all.allows_private_network : level->allows_private_network;
		all.forwards_preflights = all.forwards_preflights ? all.forwards_preflights : level->forwards_preflights;
	}
	r = origins(p, &all, &made);
	if (r)
		return r;
	made.enabled = fraction(&configs[0]->cors->enabled);
	made.flags = option(all.allows_credentials, MESH_NO, WEFT_CORS_CREDENTIALS) |
		     option(all.allows_private_network, MESH_NO, WEFT_CORS_PRIVATE_NETWORK) |
		     option(all.forwards_preflights, MESH_YES, WEFT_CORS_FORWARDS);
	made.allow_methods = text(p, all.allow_methods);
	made.allow_headers = text(p, all.allow_headers);
	made.expose_headers = text(p, all.expose_headers);
	made.max_age = text(p, all.max_age);
	reason_add(p->proxy, "the proxy does CORS");
	*out = builder_share(&p->c->builder, &made, sizeof(made));
	return builder_status(&p->c->builder);
}

/* ---- retries --------------------------------------------------------------------------------------------------------------------- */

_Static_assert((int)MESH_RETRY_5XX == WEFT_RETRY_5XX && (int)MESH_RETRY_RESET == WEFT_RETRY_RESET &&
		       (int)MESH_RETRY_CONNECT_FAILURE == WEFT_RETRY_CONNECT_FAILURE && (int)MESH_RETRY_STATUS_CODES == WEFT_RETRY_STATUS_CODES &&
		       (int)MESH_RETRY_GRPC_UNAVAILABLE == WEFT_RETRY_GRPC_UNAVAILABLE,
	       "one set of bits");

/* The others are of HTTP/2 and HTTP/3. */
#define RETRY_CONDITIONS \
	(RETRY_BY_PROXY | WEFT_RETRY_CONNECT_FAILURE | WEFT_RETRY_RESET_BEFORE_REQUEST | WEFT_RETRY_GRPC_CANCELLED | WEFT_RETRY_GRPC_UNAVAILABLE)
/* What a program can't do once it has sent a request: all but what comes before that, and the gRPC conditions that istiod always names, which need
 * an answer that HTTP/1.1 does not bring. */
#define RETRY_BY_PROXY \
	(WEFT_RETRY_5XX | WEFT_RETRY_GATEWAY_ERROR | WEFT_RETRY_RESET | WEFT_RETRY_RATELIMITED | WEFT_RETRY_4XX | WEFT_RETRY_STATUS_CODES | \
	 WEFT_RETRY_HEADERS | WEFT_RETRY_GRPC_DEADLINE_EXCEEDED | WEFT_RETRY_GRPC_INTERNAL | WEFT_RETRY_GRPC_RESOURCE_EXHAUSTED)

/* gRPC's conditions without the failed connection that istiod names beside them are somebody's wish. */
static bool is_by_proxy(u32 on)
{
	return on & RETRY_BY_PROXY ||
	       (on & (WEFT_RETRY_GRPC_CANCELLED | WEFT_RETRY_GRPC_UNAVAILABLE) && !(on & WEFT_RETRY_CONNECT_FAILURE));
}

static uint32_t in_ms(int64_t ms)
{
	return (uint32_t)WEFT_MIN(ms, (int64_t)UINT32_MAX);
}

static int retry(struct policies_compile *p, const struct mesh_forward *forward, weft_ref *out)
{
	const struct mesh_retry *source = forward->retry;
	struct weft_retry made;
	int r;

	if (!source || (!source->retry_on && !source->per_try_timeout_ms && !source->per_try_idle_timeout_ms))
		return 0;
	made = (struct weft_retry){
		.on = source->retry_on & RETRY_CONDITIONS,
		.count = source->num_retries,
		.try_timeout_ms = in_ms(source->per_try_timeout_ms),
		.try_idle_timeout_ms = in_ms(source->per_try_idle_timeout_ms),
		.back_off_base_ms = in_ms(source->back_off_base_ms),
		.back_off_max_ms = in_ms(source->back_off_max_ms),
		.other_hosts = source->avoids_previous_hosts ? in_ms(source->host_selection_attempts) : 0,
		.priorities_after = source->priorities_after,
	};
	/* Envoy: a try that may last as long as all has no timeout of its own. */
	if (forward->timeout_ms && made.try_timeout_ms >= forward->timeout_ms)
		made.try_timeout_ms = 0;
	if (source->status_code_count > STATUS_CODES_MAX)
		reason_add(p->unsupported, "%zu status codes are more than one policy holds (%zu)", source->status_code_count, STATUS_CODES_MAX);
	else if (made.on & WEFT_RETRY_STATUS_CODES && source->status_code_count) {
		made.code_count = (uint32_t)source->status_code_count;
		made.codes = builder_share(&p->c->builder, source->status_codes, source->status_code_count * sizeof(uint32_t));
	} else {
		made.on &= ~WEFT_RETRY_STATUS_CODES;
	}
	r = alternatives(p, source->headers, made.on & WEFT_RETRY_HEADERS ? source->header_count : 0, &made.headers, &made.header_count);
	if (!r)
		r = alternatives(p, source->request_headers, source->request_header_count, &made.request_headers, &made.request_header_count);
	if (r)
		return r;
	if (!made.header_count)
		made.on &= ~WEFT_RETRY_HEADERS;
	if (source->request_header_count && !made.request_header_count)
		made.on = 0; /* none of them ever holds */
	if (made.count && is_by_proxy(made.on))
		reason_add(p->proxy, "the proxy retries what has been sent");
	if (made.try_timeout_ms)
		reason_add(p->proxy, "the proxy gives each try %u ms", made.try_timeout_ms);
	if (made.try_idle_timeout_ms)
		reason_add(p->proxy, "the proxy ends tries that are silent for %u ms", made.try_idle_timeout_ms);
	*out = builder_share(&p->c->builder, &made, sizeof(made));
	return builder_status(&p->c->builder);
}

/* ---- mirrors --------------------------------------------------------------------------------------------------------------------- */

static int mirrors(struct policies_compile *p, const struct mesh_forward *forward, weft_ref *out)
{
	_cleanup_free_ struct weft_mirrors *made = NULL;
	size_t i, size = sizeof(*made) + forward->mirror_count * sizeof(made->items[0]);
	int r;

	if (!forward->mirror_count)
		return 0;
	if (forward->mirror_count > MIRRORS_MAX) {
		reason_add(p->unsupported, "%zu mirrors are more than one policy holds (%zu)", forward->mirror_count, MIRRORS_MAX);
		return 0;
	}
	made = calloc(1, size);
	if (!made)
		return -ENOMEM;
	for (i = 0; i < forward->mirror_count; i++) {
		const struct mesh_mirror *mirror = &forward->mirrors[i];
		uint32_t id = 0;

		if (mirror->has_fraction && !mirror->fraction_numerator)
			continue;
		r = *mirror->cluster ? ids_cluster(p->c->claim, mirror->cluster, &id) : 0;
		/* Without an id (0) the cluster counts as missing: nothing is sent there. */
		if (r && r != -ENOSPC)
			return r;
		made->items[made->count].cluster_id = id;
		made->items[made->count].flags = mirror->keeps_host ? WEFT_MIRROR_KEEPS_HOST : 0;
		made->items[made->count].cluster_header = *mirror->cluster ? 0 : text(p, mirror->cluster_header);
		made->items[made->count].host = text(p, mirror->host_rewrite);
		made->items[made->count++].fraction =
			mirror->has_fraction ? (struct weft_fraction){ mirror->fraction_numerator, mirror->fraction_denominator } : (struct weft_fraction){ 1, 1 };
	}
	if (!made->count)
		return 0;
	reason_add(p->proxy, "the proxy mirrors requests");
	*out = builder_share(&p->c->builder, made, sizeof(*made) + made->count * sizeof(made->items[0]));
	return builder_status(&p->c->builder);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------- */

static bool is_forward(const struct mesh_route *route)
{
	return route->action == MESH_ACTION_CLUSTER || route->action == MESH_ACTION_CLUSTER_HEADER || route->action == MESH_ACTION_WEIGHTED;
}

static void limits(struct policies_compile *p, const struct mesh_forward *forward, struct weft_policies *made)
{
	made->idle_timeout_ms = in_ms(WEFT_MAX(forward->idle_timeout_ms, (int64_t)0));
	made->max_duration_ms = in_ms(forward->max_stream_duration_ms);
	if (made->idle_timeout_ms)
		reason_add(p->proxy, "the proxy ends what is idle for %u ms", made->idle_timeout_ms);
	if (made->max_duration_ms)
		reason_add(p->proxy, "the proxy ends what takes more than %u ms", made->max_duration_ms);
}

int policies_compile(struct routes_compile *c, const struct route_context *context, const struct mesh_route *route,
		     const struct mesh_weighted_cluster *weighted, weft_ref *out, struct strbuf *proxy, struct strbuf *unsupported)
{
	struct policies_compile p = { .c = c, .proxy = proxy, .unsupported = unsupported };
	static const struct weft_policies none;
	struct weft_policies made = { 0 };
	int r;

	*out = 0;
	if (weighted)
		p.levels[p.level_count++] = &weighted->filter_configs;
	p.levels[p.level_count++] = &route->filter_configs;
	p.levels[p.level_count++] = &context->virtual_host->filter_configs;
	p.levels[p.level_count++] = &context->config->filter_configs;
	r = fault(&p, &made.fault);
	/* Envoy: CORS does nothing where a route answers by itself. */
	if (!r && is_forward(route))
		r = cors(&p, &made.cors);
	if (!r && is_forward(route))
		r = retry(&p, &route->forward, &made.retry);
	if (!r && is_forward(route))
		r = mirrors(&p, &route->forward, &made.mirrors);
	if (!r && is_forward(route))
		limits(&p, &route->forward, &made);
	if (r || (!weighted && !memcmp(&made, &none, sizeof(made))))
		return r;
	*out = builder_share(&c->builder, &made, sizeof(made));
	return builder_status(&c->builder);
}

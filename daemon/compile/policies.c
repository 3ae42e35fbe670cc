/* SPDX-License-Identifier: Apache-2.0 */
/* What a route asks for beside forwarding or answering, and only the proxy does: faults and CORS. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/routes.h"

#define LEVELS_MAX 4 /* weight, route, virtual host, configuration */

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

static struct weft_fraction fraction(const struct mesh_fraction *from)
{
	return (struct weft_fraction){ from->numerator, from->denominator };
}

/* ---- faults ---------------------------------------------------------------------------------------------------------------------- */

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
		made.grpc_status = (uint8_t)source->grpc_status;
	}
	if (!can_hold || (!made.delay_ms && !made.abort_status))
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
	*out = builder_share(&p->c->builder, &made, sizeof(made));
	return builder_status(&p->c->builder);
}

/* ---- CORS ------------------------------------------------------------------------------------------------------------------------ */

static int origins(struct policies_compile *p, const struct mesh_cors *source, struct weft_cors *made)
{
	_cleanup_free_ struct weft_condition *written = calloc(source->origin_count + 1, sizeof(*written));
	size_t i;

	if (!written)
		return -ENOMEM;
	if (source->origin_count > BUILDER_OBJECT_MAX / sizeof(*written)) {
		reason_add(p->unsupported, "%zu origins are more than one policy holds", source->origin_count);
		return 0;
	}
	for (i = 0; i < source->origin_count; i++) {
		struct mesh_header_matcher matcher = { .name = "origin", .kind = MESH_HEADER_STRING, .string = source->origins[i] };
		weft_ref ref;
		uint16_t count;
		bool can_hold;
		int r = conditions_of_headers(p->c, &matcher, 1, &ref, &count, &can_hold, p->unsupported);

		if (r)
			return r;
		if (count)
			written[made->origin_count++] = *(const struct weft_condition *)builder_at(&p->c->builder, ref);
	}
	if (made->origin_count)
		made->origins = builder_share(&p->c->builder, written, made->origin_count * sizeof(*written));
	return builder_status(&p->c->builder);
}

static weft_ref text(struct policies_compile *p, const char *value)
{
	return *value ? builder_bytes_text(&p->c->builder, value, strlen(value)) : 0;
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

/* ---- all of it ------------------------------------------------------------------------------------------------------------------- */

static bool is_forward(const struct mesh_route *route)
{
	return route->action == MESH_ACTION_CLUSTER || route->action == MESH_ACTION_CLUSTER_HEADER || route->action == MESH_ACTION_WEIGHTED;
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
	if (r || (!weighted && !memcmp(&made, &none, sizeof(made))))
		return r;
	*out = builder_share(&c->builder, &made, sizeof(made));
	return builder_status(&c->builder);
}

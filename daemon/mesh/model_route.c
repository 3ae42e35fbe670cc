/* SPDX-License-Identifier: Apache-2.0 */
/* Route configurations, virtual hosts and routes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "mesh/model.h"

#define DIRECT_BODY_LIMIT_BYTES 4096 /* Envoy: max_direct_response_body_size_bytes */

/* What routes take from above where they have none of their own. */
struct above {
	uint32_t body_limit_bytes;
	struct mesh_retry *retry;
	struct mesh_mirror *mirrors;
	size_t mirror_count;
	struct mesh_route_config *validating; /* NULL: clusters may be missing */
};

static void action(struct build *b, const PbRoute *message, const struct above *above, struct mesh_route *route)
{
	switch (message->action_case) {
	case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE:
		model_action(b, message->route, route);
		if (!route->forward.retry)
			route->forward.retry = above->retry;
		if (!route->forward.mirror_count) {
			route->forward.mirrors = above->mirrors;
			route->forward.mirror_count = above->mirror_count;
		}
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT:
		route->action = MESH_ACTION_REDIRECT;
		model_redirect(b, message->redirect, &route->redirect);
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE:
		route->action = MESH_ACTION_DIRECT_RESPONSE;
		model_direct_response(b, message->direct_response, above->body_limit_bytes, &route->direct);
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_FILTER_ACTION:
	case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_NON_FORWARDING_ACTION:
		route->action = MESH_ACTION_OTHER;
		build_reason(b, MESH_EFFECT_TRAFFIC, "this action is not supported");
		break;
	default:
		route->action = MESH_ACTION_OTHER;
		if (!message->base.n_unknown_fields)
			build_refuse(b, "an action is needed: route, redirect or direct_response");
		break;
	}
}

static void route_init(struct mesh_route *route)
{
	route->forward = (struct mesh_forward){
		.cluster = "", .cluster_header = "", .weight_header = "", .prefix_rewrite = "", .host_rewrite_text = "",
		.cluster_not_found_status = 503,
	};
	route->redirect.scheme = "";
	route->redirect.host = "";
}

static void build_route(struct build *b, const PbRoute *message, const struct above *above, struct mesh_route *route)
{
	struct mesh_reasons *outer = b->reasons;
	size_t before;

	route_init(route);
	b->reasons = &route->reasons;
	route->name = build_text(b, message->name);
	/* an unknown field might be a new kind of condition or of action: both are uncertain */
	build_check_fields(b, &message->base, MESH_EFFECT_MATCH,
			   KNOWN("name", "match", "route", "redirect", "direct_response", "filter_action", "non_forwarding_action",
				 "typed_per_filter_config", "request_headers_to_add", "request_headers_to_remove", "response_headers_to_add",
				 "response_headers_to_remove",
				 /* touch no traffic */
				 "metadata", "decorator", "tracing", "stat_prefix", "per_request_buffer_limit_bytes", "request_body_buffer_limit"));
	before = build_enter(b, "match");
	if (message->match)
		model_route_match(b, message->match, &route->match);
	else
		build_refuse(b, "a match is needed");
	build_leave(b, before);
	action(b, message, above, route);
	model_header_edits(b, HEADER_LISTS(message), &route->edits);
	route->filter_configs = FILTER_CONFIGS(b, message);
	if (above->validating)
		model_validated(b, above->validating, route, above->mirrors, above->mirror_count);
	b->reasons = outer;
}

static void domains(struct build *b, const PbVirtualHost *message, struct mesh_virtual_host *out)
{
	out->domains = build_texts(b, message->domains, message->n_domains);
	if (!message->n_domains)
		build_refuse(b, "a domain is needed");
	for (size_t i = 0; i < out->domains.count; i++) {
		size_t before = build_enter_index(b, "domains", i);

		if (out->domains.items[i][strcspn(out->domains.items[i], "\r\n")])
			build_refuse(b, "a line break is not allowed here");
		out->domains.items[i] = build_lower(b, out->domains.items[i]);
		build_leave(b, before);
	}
}

static enum mesh_require_tls require_tls(struct build *b, const PbVirtualHost *message)
{
	switch (message->require_tls) {
	case ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__NONE:
		return MESH_TLS_NOT_REQUIRED;
	case ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__EXTERNAL_ONLY:
		return MESH_TLS_REQUIRED_EXTERNAL;
	case ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__ALL:
		return MESH_TLS_REQUIRED;
	default:
		build_refuse(b, "an unknown require_tls: %d", (int)message->require_tls);
		return MESH_TLS_REQUIRED;
	}
}

static void virtual_host(struct build *b, const PbVirtualHost *message, const struct above *above, struct mesh_virtual_host *out)
{
	struct mesh_reasons *outer = b->reasons;
	struct above own = *above;

	b->reasons = &out->reasons;
	build_check_fields(b, &message->base, MESH_EFFECT_MATCH,
			   KNOWN("name", "domains", "routes", "require_tls", "request_headers_to_add", "request_headers_to_remove",
				 "response_headers_to_add", "response_headers_to_remove", "typed_per_filter_config",
				 "include_request_attempt_count", "include_attempt_count_in_response", "retry_policy", "request_mirror_policies",
				 /* counts, tags and buffers */
				 "virtual_clusters", "metadata", "per_request_buffer_limit_bytes", "request_body_buffer_limit"));
	out->name = build_text(b, message->name);
	if (!*out->name)
		build_refuse(b, "a name is needed");
	domains(b, message, out);
	out->require_tls = require_tls(b, message);
	out->counts_attempts_in_request = message->include_request_attempt_count;
	out->counts_attempts_in_response = message->include_attempt_count_in_response;
	model_header_edits(b, HEADER_LISTS(message), &out->edits);
	out->filter_configs = FILTER_CONFIGS(b, message);
	own.retry = model_retry(b, message->retry_policy);
	if (message->n_request_mirror_policies) {
		own.mirrors = model_mirrors(b, message->request_mirror_policies, message->n_request_mirror_policies);
		own.mirror_count = own.mirrors ? message->n_request_mirror_policies : 0;
	}
	out->routes = build_array(b, struct mesh_route, message->n_routes);
	out->route_count = out->routes ? message->n_routes : 0;
	for (size_t i = 0; i < out->route_count; i++) {
		size_t before = build_enter_index(b, "routes", i);

		build_route(b, message->routes[i], &own, &out->routes[i]);
		build_leave(b, before);
	}
	b->reasons = outer;
}

struct domain {
	const char *text;
	size_t virtual_host, index;
};

static int by_text(const void *a, const void *b)
{
	const struct domain *x = a, *y = b;
	int order = strcmp(x->text, y->text);

	if (order)
		return order;
	if (x->virtual_host != y->virtual_host)
		return x->virtual_host < y->virtual_host ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static void check_unique_domains(struct build *b, const struct mesh_route_config *config)
{
	_cleanup_free_ struct domain *all = NULL;
	size_t count = 0, used = 0;

	for (size_t i = 0; i < config->virtual_host_count; i++)
		count += config->virtual_hosts[i].domains.count;
	if (count < 2)
		return;
	all = reallocarray(NULL, count, sizeof(*all));
	if (!all) {
		b->status = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < config->virtual_host_count; i++)
		for (size_t j = 0; j < config->virtual_hosts[i].domains.count; j++)
			all[used++] = (struct domain){ config->virtual_hosts[i].domains.items[j], i, j };
	qsort(all, count, sizeof(*all), by_text);
	for (size_t i = 1; i < count; i++) {
		size_t before, inner;

		if (strcmp(all[i].text, all[i - 1].text) != 0)
			continue;
		before = build_enter_index(b, "virtual_hosts", all[i].virtual_host);
		inner = build_enter_index(b, "domains", all[i].index);
		build_refuse(b, "the domain `%s` is given twice (case does not count); first in virtual host %s", all[i].text,
			     config->virtual_hosts[all[i - 1].virtual_host].name);
		build_leave(b, inner);
		build_leave(b, before);
	}
}

struct mesh_route_config *model_route_config(struct build *b, const PbRouteConfig *message)
{
	struct mesh_route_config *config = build_new(b, struct mesh_route_config);
	struct mesh_reasons *outer = b->reasons;
	struct above above = { 0 };

	if (!config)
		return NULL;
	b->reasons = &config->resource.reasons;
	build_check_fields(b, &message->base, MESH_EFFECT_MATCH,
			   KNOWN("name", "virtual_hosts", "request_headers_to_add", "request_headers_to_remove", "response_headers_to_add",
				 "response_headers_to_remove", "most_specific_header_mutations_wins", "ignore_port_in_host_matching",
				 "max_direct_response_body_size_bytes", "request_mirror_policies", "typed_per_filter_config",
				 "validate_clusters", "metadata"));
	config->resource.kind = MESH_ROUTE_CONFIG;
	config->resource.name = build_text(b, message->name);
	config->resource.place = build_place(b);
	config->ignores_port_in_host = message->ignore_port_in_host_matching;
	config->most_specific_edits_win = message->most_specific_header_mutations_wins;
	model_header_edits(b, HEADER_LISTS(message), &config->edits);
	config->filter_configs = FILTER_CONFIGS(b, message);
	above.body_limit_bytes = uint32_or(message->max_direct_response_body_size_bytes, DIRECT_BODY_LIMIT_BYTES);
	above.mirrors = model_mirrors(b, message->request_mirror_policies, message->n_request_mirror_policies);
	above.mirror_count = above.mirrors ? message->n_request_mirror_policies : 0;
	above.validating = message->validate_clusters && message->validate_clusters->value ? config : NULL;

	config->virtual_hosts = build_array(b, struct mesh_virtual_host, message->n_virtual_hosts);
	config->virtual_host_count = config->virtual_hosts ? message->n_virtual_hosts : 0;
	for (size_t i = 0; i < config->virtual_host_count; i++) {
		size_t before = build_enter_index(b, "virtual_hosts", i);

		virtual_host(b, message->virtual_hosts[i], &above, &config->virtual_hosts[i]);
		build_leave(b, before);
	}
	check_unique_domains(b, config);
	b->reasons = outer;
	return config;
}

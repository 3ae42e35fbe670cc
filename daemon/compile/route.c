/* SPDX-License-Identifier: Apache-2.0 */
/* One route: which action it gets, and why not the kernel's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/regexes.h"
#include "compile/routes.h"

/* ---- choices --------------------------------------------------------------------------------------------------------------------- */

int choice_compile(struct routes_compile *c, const struct choice_item *items, size_t count, weft_ref *out)
{
	_cleanup_free_ struct weft_choice *choice = NULL;
	uint32_t until = 0;
	size_t i, used = 0;
	int r;

	if (count > (BUILDER_OBJECT_MAX - sizeof(*choice)) / sizeof(choice->items[0]))
		return -EMSGSIZE;
	choice = calloc(1, sizeof(*choice) + (count + 1) * sizeof(choice->items[0]));
	if (!choice)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		uint32_t id = 0;

		if (!items[i].weight)
			continue;
		/* Without an id (0) the cluster counts as missing; so does one that only the request names. */
		r = *items[i].cluster ? ids_cluster(c->claim, items[i].cluster, &id) : 0;
		if (r && r != -ENOSPC)
			return r;
		until += items[i].weight;
		choice->items[used++] = (struct weft_choice_item){ .cluster_id = id, .until = until, .changes = items[i].changes, .response_changes = items[i].response_changes };
	}
	choice->count = (uint32_t)used;
	choice->total_weight = until;
	*out = builder_share(&c->builder, choice, sizeof(*choice) + used * sizeof(choice->items[0]));
	return *out ? 0 : builder_status(&c->builder);
}

/* ---- what is not supported ------------------------------------------------------------------------------------------------------- */

void route_remark_level(struct strbuf *reason, const char *level, const struct mesh_filter_configs *configs)
{
	size_t i;

	for (i = 0; i < configs->count; i++) {
		const struct mesh_filter_config *config = &configs->items[i];

		/* CORS and faults are compiled (policies.c), or the mesh has reasons of its own. */
		if (!config->is_disabled && (config->kind == MESH_FILTER_POLICY || config->kind == MESH_FILTER_UNKNOWN))
			reason_add(reason, "configuration for filter %s (%s) is not supported", config->name, level);
	}
}

static void judge_weights(const struct mesh_forward *forward, struct strbuf *reason)
{
	uint64_t total = 0;
	size_t i;

	for (i = 0; i < forward->weighted_count; i++) {
		const struct mesh_weighted_cluster *weighted = &forward->weighted[i];

		total += weighted->weight;
		if (!weighted->weight)
			continue;
		route_remark_level(reason, "weight", &weighted->filter_configs);
	}
	if (!total || total > UINT32_MAX)
		reason_add(reason, "the weights sum to %llu", (unsigned long long)total);
}

static bool is_websocket(const struct mesh_upgrade *upgrade)
{
	return !strcmp(upgrade->type, "websocket");
}

static void judge_forward(const struct mesh_route *route, struct strbuf *reason)
{
	const struct mesh_forward *forward = &route->forward;

	if (route->action == MESH_ACTION_WEIGHTED)
		judge_weights(forward, reason);
	hash_policies_judge(forward, reason);
	for (size_t i = 0; i < forward->upgrades.count; i++)
		if (forward->upgrades.items[i].is_enabled && !is_websocket(&forward->upgrades.items[i]))
			reason_add(reason, "upgrades to %s are not supported", forward->upgrades.items[i].type);
	if (forward->is_high_priority)
		reason_add(reason, "priority HIGH is not supported");
}

/* ---- route ----------------------------------------------------------------------------------------------------------------------- */

/* What is known of a route before it is written. */
struct draft {
	struct strbuf match;       /* why its match is not complete */
	struct strbuf action;      /* why its action can't be done */
	struct strbuf proxy;       /* why only the proxy can do it */
	struct strbuf hash;        /* why only the proxy balances it */
	struct route_effects effects;
	weft_ref policies;
	bool is_complete, can_hold;
};

static void draft_release(struct draft *draft)
{
	strbuf_release(&draft->match);
	strbuf_release(&draft->action);
	strbuf_release(&draft->proxy);
	strbuf_release(&draft->hash);
	free(draft->effects.changes);
	free(draft->effects.response_changes);
	strbuf_release(&draft->effects.lines);
}

static uint32_t path_kind_for_people(enum mesh_path_kind kind)
{
	switch (kind) {
	case MESH_PATH_EXACT: return 1;
	case MESH_PATH_PREFIX: return 2;
	case MESH_PATH_SEPARATED_PREFIX: return 3;
	case MESH_PATH_REGEX: return 4;
	case MESH_PATH_CONNECT: return 5;
	case MESH_PATH_OTHER: break;
	}
	return 6;
}

static int judge_path(struct routes_compile *c, const struct mesh_route_match *match, struct compiled_route *out, struct strbuf *reason)
{
	int r = 0;

	out->place = PLACE_EVERYWHERE;
	switch (match->path_kind) {
	case MESH_PATH_EXACT:
	case MESH_PATH_PREFIX:
	case MESH_PATH_SEPARATED_PREFIX: out->place = PLACE_LITERAL; break;
	case MESH_PATH_REGEX:
		r = regexes_find(c, match->path, REGEX_OVER_PATHS, &out->regex);
		if (!r)
			out->place = PLACE_REGEX;
		if (r != -EINVAL)
			return r;
		reason_add(reason, "the regular expression `%s` is none", match->path);
		return 0;
	case MESH_PATH_CONNECT: reason_add(reason, "CONNECT is not supported"); break;
	case MESH_PATH_OTHER: reason_add(reason, "this kind of path match is not supported"); break;
	}
	return 0;
}

static void judge_action(const struct route_context *context, const struct mesh_route *route, struct draft *draft)
{
	switch (route->action) {
	case MESH_ACTION_CLUSTER:
	case MESH_ACTION_CLUSTER_HEADER:
	case MESH_ACTION_WEIGHTED:
		judge_forward(route, &draft->action);
		hash_policies_remark(context, route, &draft->hash);
		break;
	case MESH_ACTION_DIRECT_RESPONSE: direct_judge(&route->direct, &draft->action, &draft->proxy); break;
	case MESH_ACTION_REDIRECT: break;
	case MESH_ACTION_OTHER:
		if (!route->reasons.count)
			reason_add(&draft->action, "this action is not supported");
		break;
	}
	route_remark_level(&draft->action, "route", &route->filter_configs);
	if (*context->reason)
		reason_add(&draft->action, "%s", context->reason);
	if (route->forward.weighted_count > WEFT_WEIGHTED_MAX && route->action == MESH_ACTION_WEIGHTED)
		reason_add(&draft->proxy, "%zu weighted clusters are more than the kernel chooses from (%u)", route->forward.weighted_count,
			   WEFT_WEIGHTED_MAX);
}

/* The model's own reasons: of the match, or of what happens. */
static void judge_reasons(const struct mesh_reasons *reasons, struct draft *draft)
{
	size_t i;

	for (i = 0; i < reasons->count; i++) {
		bool is_match = reasons->items[i].effect == MESH_EFFECT_MATCH;

		if (is_match)
			draft->is_complete = false;
		reason_add_at(is_match ? &draft->match : &draft->action, &reasons->items[i]);
	}
}

static int write_forward(struct routes_compile *c, const struct route_context *context, const struct mesh_route *source,
			 const struct route_effects *effects, struct weft_route *route)
{
	const struct mesh_forward *forward = &source->forward;
	_cleanup_free_ struct choice_item *items = NULL;
	int r;
	size_t i, chosen = 0, count = source->action == MESH_ACTION_WEIGHTED ? forward->weighted_count : 1;

	items = calloc(count + 1, sizeof(*items));
	if (!items)
		return -ENOMEM;
	items[0] = (struct choice_item){ .cluster = forward->cluster, .weight = 1 };
	if (source->action == MESH_ACTION_WEIGHTED)
		for (i = 0; i < count; i++)
			items[i] = (struct choice_item){ .cluster = forward->weighted[i].name, .weight = forward->weighted[i].weight };
	for (i = 0; effects && i < count; i++) {
		if (!items[i].weight)
			continue;
		items[i].changes = effects->changes[chosen];
		items[i].response_changes = effects->response_changes[chosen++];
	}
	for (i = 0; i < forward->upgrades.count; i++)
		if (is_websocket(&forward->upgrades.items[i]))
			route->flags |= forward->upgrades.items[i].is_enabled ? WEFT_ROUTE_WEBSOCKET : WEFT_ROUTE_NO_WEBSOCKET;
	route->timeout_ms = (uint32_t)WEFT_MIN(forward->timeout_ms, (int64_t)UINT32_MAX);
	route->missing_status = forward->cluster_not_found_status;
	r = hash_policies_compile(c, context, source, &route->hash_policies);
	if (r)
		return r;
	if (forward->retry && forward->retry->retry_on)
		route->retries = (uint8_t)WEFT_MIN(forward->retry->num_retries, (uint32_t)UINT8_MAX);
	return choice_compile(c, items, count, &route->choice);
}

static int write_action(struct routes_compile *c, const struct route_context *context, const struct mesh_route *source, const struct draft *draft,
			struct weft_route *route)
{
	bool is_direct = source->action == MESH_ACTION_DIRECT_RESPONSE, is_redirect = source->action == MESH_ACTION_REDIRECT;
	const struct route_effects *effects = &draft->effects;

	route->missing_status = 503;
	if (!draft->is_complete || draft->match.size || draft->action.size) {
		route->action = WEFT_ACTION_REFUSED;
		route->verdict = WEFT_VERDICT_REFUSED;
		if (!draft->is_complete)
			route->flags |= WEFT_ROUTE_MATCH_UNSUPPORTED;
		return 0;
	}
	route->action = is_direct ? WEFT_ACTION_DIRECT : is_redirect ? WEFT_ACTION_REDIRECT : WEFT_ACTION_CLUSTER;
	route->verdict = WEFT_VERDICT_KERNEL;
	if (draft->proxy.size) {
		route->action = WEFT_ACTION_PROXY;
		route->verdict = WEFT_VERDICT_PROXY;
	}
	/* The kernel may still route it: to a cluster that does not hash after all. */
	if (draft->hash.size)
		route->verdict = WEFT_VERDICT_PROXY;
	route->extras = effects->extras;
	route->policies = draft->policies;
	route->location = effects->location;
	if (is_redirect)
		return 0;
	return is_direct ? direct_compile(c, &source->direct, &effects->lines, &route->direct)
			 : write_forward(c, context, source, draft->proxy.size ? NULL : effects, route);
}

static void collect_reason(const struct draft *draft, struct strbuf *reason)
{
	if (!draft->can_hold)
		reason_add(reason, "never matches");
	if (draft->match.size)
		reason_add(reason, "%s", strbuf_text(&draft->match));
	if (draft->action.size)
		reason_add(reason, "%s", strbuf_text(&draft->action));
	if (draft->proxy.size)
		reason_add(reason, "%s", strbuf_text(&draft->proxy));
	if (draft->hash.size)
		reason_add(reason, "%s", strbuf_text(&draft->hash));
}

void route_report(struct routes_compile *c, const struct route_context *context, size_t index, weft_ref ref)
{
	const struct weft_route *route = builder_at(&c->builder, ref);
	const struct mesh_route *source = &context->virtual_host->routes[index];
	const struct weft_text *text = route->reason ? builder_at(&c->builder, route->reason) : NULL;
	struct strbuf name = STRBUF_INIT, reason = STRBUF_INIT;

	if (!c->report)
		return;
	strbuf_printf(&name, "%s / %s #%zu", context->config->resource.name, context->virtual_host->name, index);
	if (*source->name)
		strbuf_printf(&name, " \"%s\"", source->name);
	if (text)
		strbuf_append(&reason, text->bytes, text->len);
	report_verdict(c->report, "route", strbuf_text(&name), route->verdict, strbuf_text(&reason), &context->config->resource.place);
	strbuf_release(&reason);
	strbuf_release(&name);
}

static int write_route(struct routes_compile *c, const struct route_context *context, const struct mesh_route *source, size_t index,
		       struct draft *draft, struct compiled_route *out)
{
	struct weft_route route = { .path_kind = path_kind_for_people(source->match.path_kind) };
	struct strbuf reason = STRBUF_INIT;
	bool tests_path;
	int r;

	*out = (struct compiled_route){ 0 };
	r = judge_path(c, &source->match, out, &draft->match);
	if (r)
		return r;
	tests_path = out->place == PLACE_REGEX && !out->regex->automaton;
	r = conditions_compile(c, &source->match, tests_path, &route.conditions, &route.condition_count, &draft->is_complete, &draft->can_hold,
			       &draft->match, &draft->proxy);
	if (r)
		return r;
	if (out->place == PLACE_REGEX && out->regex->has_literals && !out->regex->literals.count)
		draft->can_hold = false;
	if (out->place == PLACE_EVERYWHERE)
		draft->is_complete = false;
	judge_reasons(&source->reasons, draft);
	judge_action(context, source, draft);
	draft->effects.changes = calloc(source->forward.weighted_count + 1, sizeof(*draft->effects.changes));
	draft->effects.response_changes = calloc(source->forward.weighted_count + 1, sizeof(*draft->effects.response_changes));
	if (!draft->effects.changes || !draft->effects.response_changes)
		return -ENOMEM;
	r = extras_compile(c, context, source, &draft->effects, &draft->proxy, &draft->action);
	if (!r)
		r = policies_compile(c, context, source, NULL, &draft->policies, &draft->proxy, &draft->action);
	if (r)
		return r;
	if (!draft->can_hold)
		out->place = PLACE_NOWHERE;

	r = write_action(c, context, source, draft, &route);
	if (r)
		return r;
	collect_reason(draft, &reason);
	route.id = c->next_route_id++;
	route.path = builder_text(&c->builder, source->match.path);
	route.name = *source->name ? builder_text(&c->builder, source->name) : 0;
	route.reason = reason.size ? builder_text(&c->builder, strbuf_text(&reason)) : 0;
	out->is_final = !route.condition_count;
	out->ref = builder_alloc(&c->builder, sizeof(route));
	r = strbuf_status(&reason) ? strbuf_status(&reason) : builder_status(&c->builder);
	strbuf_release(&reason);
	if (r)
		return r;
	*(struct weft_route *)builder_at(&c->builder, out->ref) = route;
	return 0;
}

int route_compile(struct routes_compile *c, const struct route_context *context, const struct mesh_route *route, size_t index,
		  struct compiled_route *out)
{
	struct draft draft = { .match = STRBUF_INIT, .action = STRBUF_INIT, .proxy = STRBUF_INIT, .hash = STRBUF_INIT, .effects.lines = STRBUF_INIT };
	int r = write_route(c, context, route, index, &draft, out);

	if (!r) {
		r = strbuf_status(&draft.match);
		r = r ? r : strbuf_status(&draft.action);
		r = r ? r : strbuf_status(&draft.proxy);
		r = r ? r : strbuf_status(&draft.hash);
	}
	draft_release(&draft);
	return r;
}

/* What the reason of a route says, and one thing more. */
static int add_reason(struct routes_compile *c, struct weft_route *route, const struct strbuf *added)
{
	const struct weft_text *text = route->reason ? builder_at(&c->builder, route->reason) : NULL;
	struct strbuf reason = STRBUF_INIT;
	int r;

	if (text)
		reason_add(&reason, "%.*s", (int)text->len, (const char *)text->bytes);
	reason_add(&reason, "%s", strbuf_text(added));
	r = strbuf_status(added) ? strbuf_status(added) : strbuf_status(&reason);
	if (!r) {
		route->reason = builder_text(&c->builder, strbuf_text(&reason));
		r = builder_status(&c->builder);
	}
	strbuf_release(&reason);
	return r;
}

int route_test_path(struct routes_compile *c, const char *pattern, weft_ref ref)
{
	struct weft_route *route = builder_at(&c->builder, ref);
	struct strbuf unsupported = STRBUF_INIT, limits = STRBUF_INIT;
	int r = conditions_add_path(c, pattern, &route->conditions, &route->condition_count, &unsupported, &limits);

	if (!r && unsupported.size) {
		route->action = WEFT_ACTION_REFUSED;
		route->verdict = WEFT_VERDICT_REFUSED;
		route->flags |= WEFT_ROUTE_MATCH_UNSUPPORTED;
		r = add_reason(c, route, &unsupported);
	} else if (!r && limits.size) {
		if (route->verdict == WEFT_VERDICT_KERNEL) {
			route->action = WEFT_ACTION_PROXY;
			route->verdict = WEFT_VERDICT_PROXY;
		}
		r = add_reason(c, route, &limits);
	}
	strbuf_release(&unsupported);
	strbuf_release(&limits);
	return r;
}

/* Its action stays: it is the proxy's look-up that takes the route, and the kernel's never comes so far. */
int route_is_late(struct routes_compile *c, uint32_t before, weft_ref ref)
{
	struct weft_route *route = builder_at(&c->builder, ref);
	struct strbuf reason = STRBUF_INIT;
	int r;

	if (route->verdict != WEFT_VERDICT_KERNEL && route->verdict != WEFT_VERDICT_PROXY)
		return 0;
	strbuf_printf(&reason, "%u candidate routes are tried before it, and the kernel tries %u", before, WEFT_CANDIDATES_MAX);
	r = add_reason(c, route, &reason);
	strbuf_release(&reason);
	if (!r)
		route->verdict = WEFT_VERDICT_PROXY;
	return r;
}

int route_refused(struct routes_compile *c, const char *name, const char *reason, weft_ref *out)
{
	struct weft_route route = {
		.id = c->next_route_id++,
		.action = WEFT_ACTION_REFUSED,
		.verdict = WEFT_VERDICT_REFUSED,
		.missing_status = 503,
		.path_kind = path_kind_for_people(MESH_PATH_PREFIX),
	};

	route.path = builder_text(&c->builder, "");
	route.name = *name ? builder_text(&c->builder, name) : 0;
	route.reason = builder_text(&c->builder, reason);
	*out = builder_alloc(&c->builder, sizeof(route));
	if (!*out)
		return builder_status(&c->builder);
	*(struct weft_route *)builder_at(&c->builder, *out) = route;
	return 0;
}

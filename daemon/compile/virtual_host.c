/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual hosts: their routes in order, and the path automata over them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/regexes.h"
#include "compile/routes.h"
#include "compile/trie.h"
#include "weft/head.h"

#define ROUTES_MAX ((BUILDER_OBJECT_MAX - sizeof(struct weft_list)) / sizeof(uint32_t) - 2) /* of one virtual host: its list lies in one page */
#define LIST_MAX 32768u  /* candidates in one list, to begin with */
#define LIST_MIN 64u     /* below this the virtual host is refused: its routes shadow each other too much */

struct literals {
	struct trie_literal *items;
	size_t count, capacity;
};

/* The routes of a virtual host while it is compiled. */
struct members {
	uint32_t *refs;
	bool *is_final;
	uint32_t *least;       /* candidates that are always tried before it, as far as paths alone tell; UINT32_MAX: not known */
	size_t count;
	struct literals exact_case, no_case;
	char **owned;          /* texts made here: lower-cased, with a slash */
	size_t owned_count;
	struct regex_member *regexes;
	size_t regex_count;
};

static void members_release(struct members *members)
{
	size_t i;

	for (i = 0; i < members->owned_count; i++)
		free(members->owned[i]);
	free(members->owned);
	free(members->refs);
	free(members->is_final);
	free(members->least);
	free(members->exact_case.items);
	free(members->no_case.items);
	free(members->regexes);
}

static int members_init(struct members *members, size_t route_count)
{
	/* Two texts a route at most (path_separated_prefix), and one more route for what a cut list leaves out. */
	members->refs = calloc(route_count + 1, sizeof(*members->refs));
	members->is_final = calloc(route_count + 1, sizeof(*members->is_final));
	members->least = calloc(route_count + 1, sizeof(*members->least));
	members->owned = calloc(route_count * 2 + 1, sizeof(*members->owned));
	members->regexes = calloc(route_count + 1, sizeof(*members->regexes));
	return members->refs && members->is_final && members->least && members->owned && members->regexes ? 0 : -ENOMEM;
}

/* A copy of the path, in lower case when case doesn't count, followed by `suffix`. */
static int own_text(struct members *members, const char *path, bool lowered, const char *suffix, const char **out)
{
	size_t i, size = strlen(path), suffix_size = strlen(suffix);
	char *text = malloc(size + suffix_size + 1);

	if (!text)
		return -ENOMEM;
	for (i = 0; i < size; i++)
		text[i] = lowered && path[i] >= 'A' && path[i] <= 'Z' ? (char)(path[i] | 0x20) : path[i];
	memcpy(text + size, suffix, suffix_size + 1);
	members->owned[members->owned_count++] = text;
	*out = text;
	return 0;
}

static int add_literal(struct literals *literals, const char *text, size_t size, size_t route, bool is_prefix)
{
	if (literals->count == literals->capacity) {
		size_t capacity = literals->capacity ? literals->capacity * 2 : 32;
		struct trie_literal *grown = reallocarray(literals->items, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		literals->items = grown;
		literals->capacity = capacity;
	}
	literals->items[literals->count++] = (struct trie_literal){ (const uint8_t *)text, (uint32_t)size, (uint32_t)route, is_prefix };
	return 0;
}

static int add_literals(struct members *members, const struct mesh_route_match *match, size_t route)
{
	bool no_case = !match->is_case_sensitive;
	struct literals *literals = no_case ? &members->no_case : &members->exact_case;
	const char *text = match->path;
	int r;

	/* No request reaches a path that is longer than a head. */
	if (strlen(match->path) > WEFT_PROXY_HEAD_MAX)
		return 0;
	if (no_case) {
		r = own_text(members, match->path, true, "", &text);
		if (r)
			return r;
	}
	r = add_literal(literals, text, strlen(text), route, match->path_kind == MESH_PATH_PREFIX);
	if (r || match->path_kind != MESH_PATH_SEPARATED_PREFIX)
		return r;
	r = own_text(members, match->path, no_case, "/", &text);
	return r ? r : add_literal(literals, text, strlen(text), route, true);
}

/* A pattern that is but a few literals is as good as them. One that needs an automaton gets its place when all are known; one that has none is a
 * condition of its route, tried where the pattern may begin. */
static int add_regex(struct members *members, const struct compiled_route *compiled, size_t route)
{
	const struct regex_entry *entry = compiled->regex;
	size_t i;
	int r = 0;

	if (!entry->automaton)
		return add_literal(&members->exact_case, entry->prefix, entry->prefix_size, route, true);
	if (!entry->has_literals) {
		members->regexes[members->regex_count++] = (struct regex_member){ entry, (uint32_t)route, compiled->is_final, false };
		return 0;
	}
	for (i = 0; !r && i < entry->literals.count; i++)
		r = add_literal(&members->exact_case, entry->literals.items[i].bytes, entry->literals.items[i].size, route,
				entry->literals.items[i].is_prefix);
	return r;
}

static int add_route(struct routes_compile *c, const struct route_context *context, struct members *members, size_t index)
{
	const struct mesh_route *route = &context->virtual_host->routes[index];
	struct compiled_route compiled;
	int r;

	r = route_compile(c, context, route, index, &compiled);
	if (r)
		return r;
	members->refs[index] = compiled.ref;
	members->is_final[index] = compiled.is_final;
	members->count = index + 1;
	switch (compiled.place) {
	case PLACE_NOWHERE: break;
	case PLACE_EVERYWHERE: return add_literal(&members->exact_case, "", 0, index, true);
	case PLACE_LITERAL: return add_literals(members, &route->match, index);
	case PLACE_REGEX: return add_regex(members, &compiled, index);
	}
	return 0;
}

/* ---- automata -------------------------------------------------------------------------------------------------------------------- */

/* Candidate lists are inherited from prefix to prefix, so many conditional routes on short prefixes times many longer paths may
 * explode. Then lists are cut, each at the same length, and end in a route that answers 503: what is tried before it is exact. A cut list can't be
 * merged with another one at run time, so with several automata the virtual host is refused (-EOVERFLOW). */
static int build_tries(struct routes_compile *c, struct members *members, struct weft_virtual_host *host, uint32_t *cut_at)
{
	struct trie_limits limits = { .list = LIST_MAX, .entries = c->lists_max, .overflow_route = (uint32_t)members->count, .least = members->least };
	bool has_several = (members->exact_case.count > 0) + (members->no_case.count > 0) + (host->regexes > 0) > 1, cut[2];
	int r;

	for (;; limits.list /= 2) {
		if (limits.list < LIST_MIN)
			return -EOVERFLOW;
		memset(members->least, 0xff, (members->count + 1) * sizeof(*members->least));
		r = trie_build(&c->builder, members->exact_case.items, members->exact_case.count, members->is_final, &limits, &host->paths,
			       &cut[0]);
		if (!r)
			r = trie_build(&c->builder, members->no_case.items, members->no_case.count, members->is_final, &limits, &host->paths_nocase,
				       &cut[1]);
		if (r != -EOVERFLOW)
			break;
	}
	*cut_at = !r && (cut[0] || cut[1]) ? limits.list : 0;
	return *cut_at && has_several ? -EOVERFLOW : r;
}

/* Patterns that fit into no automaton of the host are conditions of their routes. */
static int build_regexes(struct routes_compile *c, const struct route_context *context, struct members *members, struct weft_virtual_host *host)
{
	size_t i;
	int r = regexes_lanes(c, members->regexes, members->regex_count, &host->regexes);

	for (i = 0; !r && i < members->regex_count; i++) {
		const struct regex_member *member = &members->regexes[i];

		if (!member->is_left)
			continue;
		members->is_final[member->route] = false;
		r = route_test_path(c, context->virtual_host->routes[member->route].match.path, members->refs[member->route]);
		if (!r)
			r = add_literal(&members->exact_case, member->entry->prefix, member->entry->prefix_size, member->route, true);
	}
	return r;
}

static int finish(struct routes_compile *c, const struct route_context *context, struct members *members, weft_ref ref)
{
	struct weft_virtual_host *host = builder_at(&c->builder, ref);
	uint32_t cut_at;
	char reason[160];
	size_t i;
	int r;

	members->is_final[members->count] = true;
	r = build_regexes(c, context, members, host);
	if (!r)
		r = build_tries(c, members, host, &cut_at);
	for (i = 0; !r && i < members->count; i++)
		if (members->least[i] >= WEFT_CANDIDATES_MAX && members->least[i] != UINT32_MAX)
			r = route_is_late(c, members->least[i], members->refs[i]);
	for (i = 0; !r && i < members->count; i++)
		route_report(c, context, i, members->refs[i]);
	if (r)
		return r;
	if (cut_at) {
		snprintf(reason, sizeof(reason), "more than %u routes with conditions shadow this path: as many were tried, none matched", cut_at);
		r = route_refused(c, "", reason, &members->refs[members->count]);
		if (r)
			return r;
		members->count++;
	}
	host->route_count = (uint32_t)members->count;
	host->routes = builder_list(&c->builder, members->refs, members->count);
	return builder_status(&c->builder);
}

int virtual_host_refused(struct routes_compile *c, const char *name, const char *reason, weft_ref *out)
{
	static const bool is_final[] = { true, true };
	struct trie_limits limits = { .list = LIST_MIN, .entries = LIST_MIN };
	struct trie_literal everything = { .bytes = (const uint8_t *)"", .is_prefix = true };
	struct weft_virtual_host host = { .route_count = 1 };
	weft_ref route;
	bool was_cut;
	int r;

	r = route_refused(c, "", reason, &route);
	if (!r)
		r = trie_build(&c->builder, &everything, 1, is_final, &limits, &host.paths, &was_cut);
	if (r)
		return r;
	host.name = builder_text(&c->builder, name);
	host.routes = builder_list(&c->builder, &route, 1);
	*out = builder_alloc(&c->builder, sizeof(host));
	if (!*out)
		return builder_status(&c->builder);
	*(struct weft_virtual_host *)builder_at(&c->builder, *out) = host;
	return 0;
}

/* What of its routing is left to chance. */
static uint32_t chance_flags(const struct mesh_virtual_host *source)
{
	uint32_t flags = 0;

	for (size_t i = 0; i < source->route_count; i++) {
		if (source->routes[i].match.has_fraction)
			flags |= WEFT_VIRTUAL_HOST_BY_CHANCE | WEFT_VIRTUAL_HOST_HAS_FRACTIONS;
		if (source->routes[i].forward.weighted_count > 1)
			flags |= WEFT_VIRTUAL_HOST_BY_CHANCE;
	}
	return flags;
}

static int compile_members(struct routes_compile *c, const struct route_context *context, weft_ref *out)
{
	const struct mesh_virtual_host *source = context->virtual_host;
	_cleanup_(members_release) struct members members = { 0 };
	struct weft_virtual_host *host;
	weft_ref tls_location = 0;
	size_t i;
	int r;

	r = members_init(&members, source->route_count);
	for (i = 0; !r && i < source->route_count; i++)
		r = add_route(c, context, &members, i);
	if (!r && source->require_tls != MESH_TLS_NOT_REQUIRED)
		r = tls_location_compile(c, &tls_location);
	if (r)
		return r;
	*out = builder_alloc(&c->builder, sizeof(*host));
	if (!*out)
		return builder_status(&c->builder);
	host = builder_at(&c->builder, *out);
	host->name = builder_text(&c->builder, source->name);
	host->flags |= chance_flags(source);
	host->tls_location = tls_location;
	if (tls_location)
		host->flags |= WEFT_VIRTUAL_HOST_NEEDS_TLS;
	if (source->counts_attempts_in_request)
		host->flags |= WEFT_VIRTUAL_HOST_COUNTS_ATTEMPTS;
	if (source->counts_attempts_in_response)
		host->flags |= WEFT_VIRTUAL_HOST_COUNTS_ATTEMPTS_BACK;
	return finish(c, context, &members, *out);
}

static void judge_levels(const struct mesh_route_config *config, const struct mesh_virtual_host *host, struct strbuf *reason)
{
	reason_add_mesh(reason, &config->resource.reasons);
	reason_add_mesh(reason, &host->reasons);
	route_remark_level(reason, "route configuration", &config->filter_configs);
	route_remark_level(reason, "virtual host", &host->filter_configs);
}

static int refuse(struct routes_compile *c, const struct mesh_route_config *config, const struct mesh_virtual_host *host, const char *reason,
		  weft_ref *out)
{
	struct strbuf name = STRBUF_INIT;

	strbuf_printf(&name, "%s / %s", config->resource.name, host->name);
	report_verdict(c->report, "virtual host", strbuf_text(&name), WEFT_VERDICT_REFUSED, reason, &config->resource.place);
	strbuf_release(&name);
	return virtual_host_refused(c, host->name, reason, out);
}

int virtual_host_compile(struct routes_compile *c, const struct mesh_route_config *config, const struct mesh_virtual_host *host, weft_ref *out)
{
	struct strbuf reason = STRBUF_INIT, above = STRBUF_INIT;
	struct route_context context = { .config = config, .virtual_host = host };
	int r;

	/* Reasons about what happens to requests refuse each route; which requests those are is then still exact. */
	if (reasons_have(&host->reasons, MESH_EFFECT_MATCH))
		reason_add_mesh(&reason, &host->reasons);
	if (host->route_count > ROUTES_MAX)
		reason_add(&reason, "%zu routes are more than the %zu that fit", host->route_count, (size_t)ROUTES_MAX);
	judge_levels(config, host, &above);
	r = strbuf_status(&reason) ? strbuf_status(&reason) : strbuf_status(&above);
	if (r)
		goto out;
	context.reason = strbuf_text(&above);

	if (!reason.size) {
		r = compile_members(c, &context, out);
		if (r != -EOVERFLOW)
			goto out;
		reason_add(&reason, "its conditional routes on short prefixes and its many paths need more than %u candidates", c->lists_max);
	}
	r = refuse(c, config, host, strbuf_text(&reason), out);
out:
	strbuf_release(&reason);
	strbuf_release(&above);
	return r;
}

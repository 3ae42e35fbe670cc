/* SPDX-License-Identifier: Apache-2.0 */
/* What a route changes on the way: redirects, rewrites of path and host, header edits of all levels. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/routes.h"
#include "regex/regex.h"

#define LEVELS_MAX 4 /* weight, route, virtual host, configuration */
#define ANSWER_FRAME_MAX 100 /* bytes of an answer's head beside its lines: status and length */

struct extras_compile {
	struct routes_compile *c;
	const struct route_context *context;
	const struct mesh_route *route;
	struct edits_names names;
	struct strbuf *proxy, *unsupported;
};

static weft_ref text_or_none(struct extras_compile *x, const char *text)
{
	return text && *text ? builder_bytes_text(&x->c->builder, text, strlen(text)) : 0;
}

static weft_ref text_of(struct extras_compile *x, const char *text)
{
	return builder_bytes_text(&x->c->builder, text, strlen(text));
}

static weft_ref pattern_of(struct extras_compile *x, const char *pattern)
{
	_cleanup_(rewriter_free) struct rewriter *rewriter = NULL;
	int r = rewriter_new(&rewriter, pattern, strlen(pattern));

	if (r == -ENOMEM)
		x->c->builder.status = r;
	else if (r)
		reason_add(x->unsupported, "replacing what `%s` matches is not supported: a loop without end in it may match nothing", pattern);
	return r ? 0 : text_of(x, pattern);
}

/* ---- paths and hosts ------------------------------------------------------------------------------------------------------------- */

/* What of the path matched, and is replaced. */
static uint32_t matched_len(const struct mesh_route_match *match)
{
	if (match->path_kind == MESH_PATH_PREFIX || match->path_kind == MESH_PATH_SEPARATED_PREFIX)
		return (uint32_t)strlen(match->path);
	return WEFT_WHOLE_PATH;
}

/* Does the pattern's beginning say nothing but the beginning of all paths that the route takes? Returns what follows it, and the bytes of a
 * path that it stands for. */
static const char *skip_literal(const struct mesh_route_match *match, const char *pattern, uint32_t *len)
{
	bool begins_all = match->path_kind == MESH_PATH_EXACT || match->path_kind == MESH_PATH_PREFIX || match->path_kind == MESH_PATH_SEPARATED_PREFIX;
	const char *path = match->path;
	uint32_t used = 0;

	if (!begins_all || !match->is_case_sensitive)
		return NULL;
	while (*pattern && !strchr("()[]{}*+?|^$", *pattern) && (unsigned char)*pattern < 0x80) {
		bool is_quoted = *pattern == '\\' && pattern[1] && !isalnum((unsigned char)pattern[1]);

		pattern += is_quoted;
		if (!path[used] || *pattern == '\\' || (*pattern != path[used] && (*pattern != '.' || is_quoted)))
			return NULL;
		pattern++;
		used++;
	}
	*len = used;
	return pattern;
}

/* The forms in which istiod writes ReplacePrefixMatch with "/" (`^/old(/?)(.*)` by `/\2`) and ReplaceFullPath (`/.*` by a literal). */
static bool literal_rewrite(struct extras_compile *x, const struct mesh_regex_rewrite *regex, struct weft_path_rewrite *out)
{
	const char *pattern = regex->pattern, *rest;
	uint32_t len;

	if (!strcmp(pattern, "/.*") && *regex->substitution && !strchr(regex->substitution, '\\')) {
		rest = skip_literal(&x->route->match, "/", &len);
		if (!rest)
			return false;
		out->prefix = text_of(x, regex->substitution);
		out->matched_len = WEFT_WHOLE_PATH;
		return true;
	}
	if (*pattern != '^' || strcmp(regex->substitution, "/\\2"))
		return false;
	rest = skip_literal(&x->route->match, pattern + 1, &len);
	if (!rest || strcmp(rest, "(/?)(.*)"))
		return false;
	out->prefix = text_of(x, "/");
	out->matched_len = len;
	out->flags = WEFT_REWRITE_TAKES_SLASH;
	return true;
}

static void path_rewrite(struct extras_compile *x, const char *prefix, const struct mesh_regex_rewrite *regex, struct weft_path_rewrite *out)
{
	out->prefix = text_or_none(x, prefix);
	out->matched_len = out->prefix ? matched_len(&x->route->match) : 0;
	if (!regex->pattern || (!out->prefix && literal_rewrite(x, regex, out)))
		return;
	out->pattern = pattern_of(x, regex->pattern);
	out->substitution = text_of(x, regex->substitution);
}

static void host_rewrite(struct extras_compile *x, const struct mesh_forward *forward, struct weft_rewrite *out)
{
	switch (forward->host_rewrite) {
	case MESH_HOST_KEEP: return;
	case MESH_HOST_LITERAL:
		out->host_kind = WEFT_HOST_LITERAL;
		out->host = text_of(x, forward->host_rewrite_text);
		break;
	case MESH_HOST_HEADER:
		out->host_kind = WEFT_HOST_HEADER;
		out->host = text_of(x, forward->host_rewrite_text);
		break;
	case MESH_HOST_PATH_REGEX:
		out->host_kind = WEFT_HOST_PATH_REGEX;
		out->host = pattern_of(x, forward->host_rewrite_regex.pattern);
		out->substitution = text_of(x, forward->host_rewrite_regex.substitution);
		break;
	case MESH_HOST_AUTO: out->host_kind = WEFT_HOST_AUTO; break;
	}
}

static int rewrite(struct extras_compile *x, weft_ref *out)
{
	const struct mesh_forward *forward = &x->route->forward;
	struct weft_rewrite made = { .appends_host = forward->appends_forwarded_host };

	path_rewrite(x, forward->prefix_rewrite, &forward->regex_rewrite, &made.path);
	host_rewrite(x, forward, &made);
	if (made.path.prefix || made.path.pattern || made.host_kind)
		*out = builder_share(&x->c->builder, &made, sizeof(made));
	return builder_status(&x->c->builder);
}

/* Envoy puts a slash before a path that begins with none, be it a whole URL (recorded: redirect/field-25). */
static weft_ref absolute_path(struct extras_compile *x, const char *path)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	if (!path || !*path || *path == '/')
		return text_or_none(x, path);
	if (strbuf_printf(&text, "/%s", path))
		return 0;
	return text_of(x, text.data);
}

static int redirect(struct extras_compile *x, weft_ref *out)
{
	const struct mesh_redirect *source = &x->route->redirect;
	struct weft_redirect made = { .status = (uint16_t)source->status, .port = source->port };

	made.flags = source->strips_query ? WEFT_REDIRECT_STRIPS_QUERY : 0;
	made.scheme = text_or_none(x, source->scheme);
	made.host = text_or_none(x, source->host);
	made.path = absolute_path(x, source->path);
	if (made.path && strchr(source->path, '?'))
		made.flags |= WEFT_REDIRECT_HAS_QUERY;
	path_rewrite(x, source->prefix_rewrite, &source->regex_rewrite, &made.rewrite);
	*out = builder_share(&x->c->builder, &made, sizeof(made));
	return builder_status(&x->c->builder);
}

/* ---- edits ----------------------------------------------------------------------------------------------------------------------- */

/* Weight (or NULL), route, virtual host, configuration; or the other way round, as the configuration says. */
static size_t levels_of(const struct extras_compile *x, const struct mesh_header_edits *weight, const struct mesh_header_edits **levels)
{
	const struct mesh_header_edits *all[LEVELS_MAX] = { weight, &x->route->edits, &x->context->virtual_host->edits, &x->context->config->edits };
	size_t i, count = 0;

	for (i = 0; i < LEVELS_MAX; i++) {
		const struct mesh_header_edits *level = all[x->context->config->most_specific_edits_win ? LEVELS_MAX - 1 - i : i];

		if (level)
			levels[count++] = level;
	}
	return count;
}

static bool is_forward(const struct mesh_route *route)
{
	return route->action != MESH_ACTION_DIRECT_RESPONSE && route->action != MESH_ACTION_REDIRECT;
}

static int edits(struct extras_compile *x, const struct mesh_header_edits *weight, weft_ref *request, weft_ref *response)
{
	const struct mesh_header_edits *levels[LEVELS_MAX];
	size_t count = levels_of(x, weight, levels);
	int r = 0;

	if (is_forward(x->route))
		r = edits_compile(x->c, &x->names, levels, count, true, request, x->unsupported);
	return r ? r : edits_compile(x->c, &x->names, levels, count, false, response, x->unsupported);
}

static bool has_edits(const struct mesh_header_edits *edits)
{
	return edits->request_add_count || edits->request_remove.count || edits->response_add_count || edits->response_remove.count;
}

/* struct weft_weight for each cluster that may be chosen (choice_compile leaves those without weight out). */
static int weights(struct extras_compile *x, weft_ref rewrite_ref, weft_ref *out, struct route_effects *effects)
{
	const struct mesh_forward *forward = &x->route->forward;
	_cleanup_free_ struct weft_weight *made = calloc(forward->weighted_count + 1, sizeof(*made));
	bool has_own_edits = false, has_own = false;
	size_t i, used = 0;
	int r = 0;

	if (!made)
		return -ENOMEM;
	for (i = 0; !r && i < forward->weighted_count; i++) {
		const struct mesh_weighted_cluster *weighted = &forward->weighted[i];

		if (!weighted->weight)
			continue;
		has_own_edits |= has_edits(&weighted->edits);
		has_own |= *weighted->host_rewrite || *weighted->cluster_header;
		if (weighted->filter_configs.count) {
			has_own = true;
			r = policies_compile(x->c, x->context, x->route, weighted, &made[used].policies, x->proxy, x->unsupported);
			if (r)
				return r;
		}
		r = edits(x, &weighted->edits, &made[used].request_edits, &made[used].response_edits);
		made[used].host = text_or_none(x, weighted->host_rewrite);
		made[used].cluster_header = text_or_none(x, weighted->cluster_header);
		if (*weighted->cluster_header)
			reason_add(x->proxy, "the proxy takes a weighted cluster's name from header %s", weighted->cluster_header);
		if (!r)
			r = changes_compile(x->c, rewrite_ref, made[used].host, made[used].request_edits, &effects->changes[used], x->proxy);
		if (!r)
			r = response_changes_compile(x->c, made[used].response_edits, &effects->response_changes[used], x->proxy);
		used++;
	}
	if (r || (!has_own_edits && !has_own))
		return r;
	*out = builder_share(&x->c->builder, made, used * sizeof(*made));
	return builder_status(&x->c->builder);
}

/* ---- clusters that the request names ---------------------------------------------------------------------------------------------- */

static int pick(struct extras_compile *x, weft_ref *out)
{
	const struct mesh_forward *forward = &x->route->forward;
	bool is_weighted = x->route->action == MESH_ACTION_WEIGHTED;
	struct weft_pick made = { 0 };

	if (x->route->action == MESH_ACTION_CLUSTER_HEADER) {
		made = (struct weft_pick){ WEFT_PICK_CLUSTER, text_of(x, forward->cluster_header) };
		reason_add(x->proxy, "the proxy takes the cluster's name from header %s", forward->cluster_header);
	} else if (is_weighted && *forward->weight_header) {
		made = (struct weft_pick){ WEFT_PICK_NUMBER, text_of(x, forward->weight_header) };
		reason_add(x->proxy, "the proxy chooses a weighted cluster by header %s", forward->weight_header);
	} else if (is_weighted && forward->weights_by_hash) {
		made.kind = WEFT_PICK_HASH;
		reason_add(x->proxy, "the proxy chooses a weighted cluster by the hash policies");
	} else {
		return 0;
	}
	*out = builder_share(&x->c->builder, &made, sizeof(made));
	return builder_status(&x->c->builder);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------- */

/* What the kernel answers by itself. */
static int answer(struct extras_compile *x, const struct weft_route_extras *made, struct route_effects *out)
{
	bool has_body = x->route->action == MESH_ACTION_DIRECT_RESPONSE && x->route->direct.body_size;
	int r = answer_lines_compile(x->c, made->response_edits, has_body, &out->lines, x->proxy);

	if (!r && out->lines.size > WEFT_DIRECT_HEAD_MAX - ANSWER_FRAME_MAX)
		reason_add(x->proxy, "an answer's head of more than %u bytes", WEFT_DIRECT_HEAD_MAX);
	else if (!r && made->redirect)
		r = location_compile(x->c, builder_at(&x->c->builder, made->redirect), &out->lines, &out->location, x->proxy);
	return r;
}

int extras_compile(struct routes_compile *c, const struct route_context *context, const struct mesh_route *route, struct route_effects *out,
		   struct strbuf *proxy, struct strbuf *unsupported)
{
	struct extras_compile x = {
		.c = c,
		.context = context,
		.route = route,
		.names = { .route = route->name, .virtual_host = context->virtual_host->name },
		.proxy = proxy,
		.unsupported = unsupported,
	};
	struct weft_route_extras made = { 0 };
	static const struct weft_route_extras none;
	int r;

	out->extras = 0;
	r = edits(&x, NULL, &made.request_edits, &made.response_edits);
	if (!r && route->action == MESH_ACTION_REDIRECT)
		r = redirect(&x, &made.redirect);
	else if (!r && route->action != MESH_ACTION_DIRECT_RESPONSE)
		r = rewrite(&x, &made.rewrite);
	if (!r && is_forward(route))
		r = pick(&x, &made.pick);
	if (!r && !is_forward(route))
		r = answer(&x, &made, out);
	else if (!r && route->action == MESH_ACTION_WEIGHTED)
		r = weights(&x, made.rewrite, &made.weights, out);
	else if (!r)
		r = changes_compile(c, made.rewrite, 0, made.request_edits, out->changes, proxy);
	if (!r && is_forward(route) && route->action != MESH_ACTION_WEIGHTED)
		r = response_changes_compile(c, made.response_edits, out->response_changes, proxy);
	if (r || !memcmp(&made, &none, sizeof(made)))
		return r;
	out->extras = builder_share(&c->builder, &made, sizeof(made));
	return builder_status(&c->builder);
}

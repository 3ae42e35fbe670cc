/* SPDX-License-Identifier: Apache-2.0 */
/* Hash policies of a route. Whether they count is the cluster's affair: one that does not hash takes no notice of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "compile/routes.h"
#include "regex/regex.h"
#include "weft/hash.h"

static uint8_t kind_of(const struct mesh_hash_policy *policy)
{
	switch (policy->kind) {
	case MESH_HASH_COOKIE: return WEFT_HASH_COOKIE;
	case MESH_HASH_SOURCE_IP: return WEFT_HASH_SOURCE_IP;
	case MESH_HASH_QUERY: return WEFT_HASH_QUERY;
	case MESH_HASH_HEADER:
		if (!strcmp(policy->name, ":method"))
			return WEFT_HASH_METHOD;
		if (!strcmp(policy->name, ":authority") || !strcmp(policy->name, "host"))
			return WEFT_HASH_AUTHORITY;
		if (!strcmp(policy->name, ":path"))
			return WEFT_HASH_PATH;
		return !strcmp(policy->name, ":scheme") ? WEFT_HASH_SCHEME : WEFT_HASH_HEADER;
	case MESH_HASH_OTHER: break;
	}
	return 0;
}

/* What the kernel finds by itself in most requests; weft_hash_request() says of each request. */
static bool is_for_kernel(const struct mesh_hash_policy *policy)
{
	switch (kind_of(policy)) {
	case WEFT_HASH_HEADER: return !policy->rewrite.pattern;
	case WEFT_HASH_AUTHORITY:
	case WEFT_HASH_PATH: return !policy->rewrite.pattern;
	case WEFT_HASH_QUERY:
	case WEFT_HASH_SOURCE_IP: return true;
	default: return false;
	}
}

static bool edits_request(const struct mesh_header_edits *edits, const char *name)
{
	size_t i;

	for (i = 0; i < edits->request_add_count; i++)
		if (!strcasecmp(edits->request_add[i].name, name))
			return true;
	for (i = 0; i < edits->request_remove.count; i++)
		if (!strcasecmp(edits->request_remove.items[i], name))
			return true;
	return false;
}

static bool edits_header(const struct route_context *context, const struct mesh_route *route, const char *name)
{
	bool found = edits_request(&route->edits, name) || edits_request(&context->virtual_host->edits, name) || edits_request(&context->config->edits, name);
	size_t i;

	for (i = 0; !found && i < route->forward.weighted_count; i++)
		found = edits_request(&route->forward.weighted[i].edits, name);
	return found;
}

/* Headers of Envoy's own making, which the kernel does not add: the proxy hashes them where this route has them. */
static bool is_made_by_envoy(const struct route_context *context, const struct mesh_forward *forward, const char *name, bool has_host, bool has_path)
{
	if (!strcasecmp(name, "x-envoy-original-path"))
		return has_path;
	if (!strcasecmp(name, "x-envoy-original-host"))
		return has_host;
	if (!strcasecmp(name, "x-forwarded-host"))
		return has_host && forward->appends_forwarded_host;
	if (!strcasecmp(name, "x-envoy-attempt-count"))
		return context->virtual_host->counts_attempts_in_request;
	if (!strcasecmp(name, "x-envoy-expected-rq-timeout-ms"))
		return forward->timeout_ms || (forward->retry && forward->retry->per_try_timeout_ms);
	return !strcasecmp(name, "x-forwarded-proto");
}

/* Envoy hashes the request as it goes upstream. */
static bool is_of_changed(const struct route_context *context, const struct mesh_route *route, const struct mesh_hash_policy *policy)
{
	const struct mesh_forward *forward = &route->forward;
	bool has_host = forward->host_rewrite != MESH_HOST_KEEP, has_path = *forward->prefix_rewrite || forward->regex_rewrite.pattern;
	size_t i;

	for (i = 0; i < forward->weighted_count; i++)
		has_host = has_host || *forward->weighted[i].host_rewrite;
	switch (kind_of(policy)) {
	case WEFT_HASH_HEADER: return edits_header(context, route, policy->name) || is_made_by_envoy(context, forward, policy->name, has_host, has_path);
	case WEFT_HASH_AUTHORITY: return has_host;
	case WEFT_HASH_PATH: return has_path;
	case WEFT_HASH_QUERY:
		return strchr(forward->prefix_rewrite, '?') || (forward->regex_rewrite.pattern && strchr(forward->regex_rewrite.substitution, '?'));
	default: return false;
	}
}

void hash_policies_judge(const struct mesh_forward *forward, struct strbuf *reason)
{
	size_t i;

	for (i = 0; i < forward->hash_policy_count; i++) {
		const char *pattern = forward->hash_policies[i].rewrite.pattern;
		struct rewriter *rewriter = NULL;

		/* that it is one was seen to when it came */
		if (pattern && rewriter_new(&rewriter, pattern, strlen(pattern)) == -ENOTSUP)
			reason_add(reason, "hash_policy[%zu].header.regex_rewrite %s: a loop without end whose body may be empty is not supported", i,
				   pattern);
		rewriter_free(&rewriter);
		if (strlen(forward->hash_policies[i].name) > UINT8_MAX)
			reason_add(reason, "hash_policy[%zu]: a name of more than %u bytes is not supported", i, UINT8_MAX);
	}
}

void hash_policies_remark(const struct route_context *context, const struct mesh_route *route, struct strbuf *remark)
{
	const struct mesh_forward *forward = &route->forward;
	static const char *const kinds[] = {
		[MESH_HASH_HEADER] = "header", [MESH_HASH_COOKIE] = "cookie", [MESH_HASH_SOURCE_IP] = "source address", [MESH_HASH_QUERY] = "query parameter",
		[MESH_HASH_OTHER] = "",
	};
	size_t i;

	if (forward->hash_policy_count > WEFT_HASH_POLICIES_MAX) {
		reason_add(remark, "%zu hash policies are more than the kernel combines (%u): the proxy balances where the cluster hashes",
			   forward->hash_policy_count, WEFT_HASH_POLICIES_MAX);
		return;
	}
	for (i = 0; i < forward->hash_policy_count; i++) {
		const struct mesh_hash_policy *policy = &forward->hash_policies[i];

		if (kind_of(policy) && !is_for_kernel(policy))
			reason_add(remark, "hash policy by %s %s%s: the proxy balances where the cluster hashes", kinds[policy->kind], policy->name,
				   policy->rewrite.pattern ? ", rewritten" : "");
		else if (kind_of(policy) && is_of_changed(context, route, policy))
			reason_add(remark, "hash policy by %s %s, which the route changes: the proxy balances where the cluster hashes", kinds[policy->kind], policy->name);
	}
}

/* Envoy, makeSetCookieValue: what stands after the value. */
static weft_ref cookie_tail(struct builder *builder, const struct mesh_hash_policy *policy)
{
	struct strbuf text = STRBUF_INIT;
	weft_ref ref;
	size_t i;

	if (policy->cookie_ttl_ms / 1000)
		strbuf_printf(&text, "; Max-Age=%lld", (long long)policy->cookie_ttl_ms / 1000);
	if (*policy->cookie_path)
		strbuf_printf(&text, "; Path=%s", policy->cookie_path);
	for (i = 0; i < policy->attribute_count; i++) {
		strbuf_printf(&text, "; %s", policy->attributes[i].name);
		if (*policy->attributes[i].value)
			strbuf_printf(&text, "=%s", policy->attributes[i].value);
	}
	strbuf_append_text(&text, "; HttpOnly");
	if (strbuf_status(&text) && !builder->status)
		builder->status = -ENOMEM;
	ref = builder_bytes_text(builder, text.data, text.size);
	strbuf_release(&text);
	return ref;
}

static void write_policy(struct builder *builder, const struct mesh_hash_policy *policy, struct weft_hash_policy *out)
{
	const char *name = policy->kind == MESH_HASH_SOURCE_IP ? "x-forwarded-for" : policy->name;
	size_t len = strlen(name);

	out->kind = kind_of(policy);
	out->name_len = (uint16_t)len;
	out->name_hash = weft_name_hash((const uint8_t *)name, (uint32_t)len);
	out->name = builder_bytes_text(builder, name, len);
	if (policy->is_terminal)
		out->flags |= WEFT_HASH_TERMINAL;
	if (policy->kind == MESH_HASH_COOKIE && policy->makes_cookie) {
		out->flags |= WEFT_HASH_MAKES_COOKIE;
		out->cookie_tail = cookie_tail(builder, policy);
	}
	if (policy->rewrite.pattern) {
		out->pattern = builder_bytes_text(builder, policy->rewrite.pattern, strlen(policy->rewrite.pattern));
		out->substitution = builder_bytes_text(builder, policy->rewrite.substitution, strlen(policy->rewrite.substitution));
	}
}

int hash_policies_compile(struct routes_compile *c, const struct route_context *context, const struct mesh_route *route, weft_ref *out)
{
	const struct mesh_forward *forward = &route->forward;
	_cleanup_free_ struct weft_hash_policies *policies = NULL;
	size_t i, used = 0;

	*out = 0;
	if (!forward->hash_policy_count)
		return 0;
	policies = calloc(1, sizeof(*policies) + forward->hash_policy_count * sizeof(policies->items[0]));
	if (!policies)
		return -ENOMEM;
	if (forward->hash_policy_count > WEFT_HASH_POLICIES_MAX)
		policies->flags |= WEFT_HASH_POLICIES_PROXY;
	for (i = 0; i < forward->hash_policy_count; i++) {
		if (!kind_of(&forward->hash_policies[i]))
			continue;
		if (!is_for_kernel(&forward->hash_policies[i]) || is_of_changed(context, route, &forward->hash_policies[i]))
			policies->flags |= WEFT_HASH_POLICIES_PROXY;
		write_policy(&c->builder, &forward->hash_policies[i], &policies->items[used++]);
	}
	if (!used)
		return 0;
	policies->count = (uint32_t)used;
	*out = builder_share(&c->builder, policies, sizeof(*policies) + used * sizeof(policies->items[0]));
	return builder_status(&c->builder);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/explain_hash.h"

#include <arpa/inet.h>
#include <string.h>

#include "admin/explain_kernel.h"
#include "base/strbuf.h"
#include "regex/regex.h"
#include "weft/hash.h"

struct finding {
	const struct explain_world *world;
	struct strbuf rewritten[WEFT_FIELDS_MAX];
	size_t rewritten_count;
	bool makes_cookie;
};

static int rewrite(void *arg, const struct weft_hash_policy *policy, const u8 *value, u32 len, const u8 **out, u32 *out_len)
{
	struct finding *finding = arg;
	const struct weft_text *pattern = weft_at(&finding->world->routes, policy->pattern);
	const struct weft_text *substitution = weft_at(&finding->world->routes, policy->substitution);
	struct strbuf *text = &finding->rewritten[finding->rewritten_count];
	struct rewriter *rewriter = NULL;
	int r = finding->rewritten_count < WEFT_FIELDS_MAX ? 0 : -E2BIG;

	if (!r)
		r = rewriter_new(&rewriter, (const char *)pattern->bytes, pattern->len);
	if (!r) {
		finding->rewritten_count++;
		r = rewriter_apply(rewriter, (const char *)substitution->bytes, substitution->len, (const char *)value, len, text);
	}
	rewriter_free(&rewriter);
	*out = (const u8 *)strbuf_text(text);
	*out_len = (u32)text->size;
	return r;
}

static u64 make_cookie(void *arg, const struct weft_hash_policy *policy)
{
	((struct finding *)arg)->makes_cookie = true;
	return 0;
}

static bool uses_source(const struct explain_world *world, const struct weft_hash_policies *policies)
{
	uint32_t i;

	for (i = 0; policies && i < policies->count; i++)
		if (policies->items[i].kind == WEFT_HASH_SOURCE_IP)
			return true;
	return false;
}

static bool changes_requests(const struct explain_world *world, const struct weft_route *route)
{
	const struct weft_route_extras *extras = route->extras ? weft_at(&world->routes, route->extras) : NULL;

	return extras && (extras->rewrite || extras->request_edits || extras->weights);
}

void explain_hash(const struct explain_world *world, const struct weft_route *route, const struct weft_head_bytes *bytes,
		  const struct weft_head *head, const uint8_t *target, uint32_t target_len, uint32_t cluster_id, const struct weft_address *client,
		  struct explain_hash *out)
{
	const struct weft_hash_policies *policies = route && route->hash_policies ? weft_at(&world->routes, route->hash_policies) : NULL;
	struct finding finding = { .world = world };
	struct weft_hash_query query = { .image = world->routes, .target = target, .target_len = target_len, .rewrite = rewrite, .make_cookie = make_cookie };
	struct weft_balance_query balance = { .image = world->endpoints, .cluster_id = cluster_id };

	memset(out, 0, sizeof(*out));
	out->why = "";
	out->is_for_proxy = policies && policies->flags & WEFT_HASH_POLICIES_PROXY;
	out->is_too_much = policies && !out->is_for_proxy && !explain_kernel_hashes(&world->routes, route->hash_policies, bytes, head);
	if (!policies) {
		out->why = "the route has no hash policy: any endpoint";
		return;
	}
	if (out->is_for_proxy && changes_requests(world, route)) {
		out->why = "the proxy hashes the request as this route changes it: it is not worked out here";
		return;
	}
	query.policies = route->hash_policies;
	query.arg = &finding;
	query.source_hash = weft_source_hash(client);
	balance.hash_state = (u32)weft_hash_request(&query, bytes, head, &balance.hash);
	while (finding.rewritten_count)
		strbuf_release(&finding.rewritten[--finding.rewritten_count]);
	if (balance.hash_state != WEFT_HASH_READY)
		out->why = "the request has nothing that the hash policies look at: any endpoint";
	else if (finding.makes_cookie)
		out->why = "a cookie is made, from the addresses of the connection: any endpoint, and from then on the same";
	else if (uses_source(world, policies) && !weft_address_is_set(client))
		out->why = "it depends on the pod that asks";
	else
		out->has_endpoint = weft_pick_endpoint(&balance, &out->endpoint) == 0;
}

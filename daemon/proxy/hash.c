/* SPDX-License-Identifier: Apache-2.0 */
/* What hash policies find in a request: the engine's rules, and what takes more than the head: rewritten values, and cookies that are made
 * and given to the client with the response. */
#include "proxy/outgoing.h"

#include <arpa/inet.h>
#include <strings.h>

#include "base/strbuf.h"
#include "weft/hash.h"

struct hashing {
	struct exchange *exchange;
	const struct weft_image_handle *image;
	struct strbuf rewritten[WEFT_FIELDS_MAX];
	u32 rewritten_count;
	struct strbuf cookies;
};

/* ---- rewritten values ------------------------------------------------------------------------------------------------------------ */

static int rewrite_value(void *arg, const struct weft_hash_policy *policy, const u8 *value, u32 len, const u8 **out, u32 *out_len)
{
	struct hashing *hashing = arg;
	const struct weft_text *pattern = weft_at(hashing->image, policy->pattern), *substitution = weft_at(hashing->image, policy->substitution);
	struct strbuf *text;
	int r;

	if (hashing->rewritten_count == WEFT_ARRAY_SIZE(hashing->rewritten))
		return -ENOMEM;
	text = &hashing->rewritten[hashing->rewritten_count++];
	r = pattern_replace(hashing->exchange->connection->thread, pattern, substitution, value, len, text);
	if (r)
		return r;
	*out = (const u8 *)strbuf_text(text);
	*out_len = (u32)text->size;
	return 0;
}

/* ---- cookies --------------------------------------------------------------------------------------------------------------------- */

/* Envoy: the same for all requests of a connection, so that those that race get one cookie. */
static u64 make_cookie(void *arg, const struct weft_hash_policy *policy)
{
	struct hashing *hashing = arg;
	const struct connection *connection = hashing->exchange->connection;
	const struct weft_text *name = weft_at(hashing->image, policy->name), *tail = weft_at(hashing->image, policy->cookie_tail);
	char seed[160], value[24];
	int len;

	len = snprintf(seed, sizeof(seed), "%s%s", weft_host_text(client_address(connection), connection->client_port_be).text,
		       weft_host_text(&connection->original, connection->original_port_be).text);
	snprintf(value, sizeof(value), "%016llx", (unsigned long long)weft_hash_bytes(seed, (u32)len, 0));
	strbuf_printf(&hashing->cookies, "set-cookie: %.*s=\"%s\"%.*s\r\n", (int)name->len, (const char *)name->bytes, value, (int)tail->len,
		      (const char *)tail->bytes);
	return weft_hash_bytes(value, (u32)strlen(value), 0);
}

/* ---- requests -------------------------------------------------------------------------------------------------------------------- */

static bool cluster_hashes(const struct connection *connection, u32 cluster_id)
{
	struct weft_image_handle image = thread_endpoints(connection->thread, connection->pod->is.scope);
	const struct weft_cluster *cluster = image.base ? weft_at(&image, weft_find_cluster(&image, cluster_id)) : NULL;

	return cluster && cluster->policy == WEFT_LB_HASH;
}

/* False: the policies find nothing. `cookies`: set-cookie lines of those that it makes; an empty buffer. */
static bool find_hash(struct exchange *exchange, const struct weft_route *route, const struct weft_image_handle *image,
		      const struct weft_head_bytes *bytes, const struct weft_head *head, const u8 *target, u32 target_len, struct strbuf *cookies, u64 *hash)
{
	struct hashing hashing = {.exchange = exchange, .image = image, .cookies = STRBUF_INIT};
	const struct weft_hash_query query = {
		.image = *image,
		.policies = route->hash_policies,
		.source_hash = weft_source_hash(client_address(exchange->connection)),
		.target = target,
		.target_len = target_len,
		.rewrite = rewrite_value,
		.make_cookie = make_cookie,
		.arg = &hashing,
	};
	int r;

	r = weft_hash_request(&query, bytes, head, hash);
	for (u32 i = 0; i < hashing.rewritten_count; i++)
		strbuf_release(&hashing.rewritten[i]);
	*cookies = hashing.cookies;
	return r == WEFT_HASH_READY;
}

void hash_request(struct exchange *exchange, const struct weft_route *route, const struct weft_image_handle *image,
		  const struct weft_head_bytes *bytes, const struct weft_head *head, const u8 *target, u32 target_len)
{
	struct strbuf cookies = STRBUF_INIT;

	/* Elsewhere the policies mean nothing, and no cookie is made. */
	if (!route || !route->hash_policies || !cluster_hashes(exchange->connection, exchange->cluster_id))
		return;
	exchange->hash_state =
		find_hash(exchange, route, image, bytes, head, target, target_len, &cookies, &exchange->hash) ? WEFT_HASH_READY : WEFT_HASH_NONE;
	if (cookies.size)
		exchange->set_cookie = strbuf_take(&cookies);
	strbuf_release(&cookies);
}

bool hash_number(struct exchange *exchange, const struct weft_route *route, const struct weft_image_handle *image,
		 const struct weft_head_bytes *bytes, const struct weft_head *head, const u8 *target, u32 target_len, u64 *hash)
{
	struct strbuf cookies = STRBUF_INIT;
	bool found = route->hash_policies && find_hash(exchange, route, image, bytes, head, target, target_len, &cookies, hash);

	strbuf_release(&cookies);
	return found;
}

/* The head as Envoy's filters see it when it chooses an endpoint: with what Envoy adds, whatever of that is sent. */
static void put_head(const struct outgoing *outgoing, struct strbuf *out)
{
	const struct lines *lines = outgoing->lines;

	strbuf_append(out, outgoing->method.bytes, outgoing->method.len);
	strbuf_append_text(out, " ");
	strbuf_append(out, outgoing->target.bytes, outgoing->target.len);
	strbuf_append_text(out, " HTTP/1.1\r\nhost: ");
	strbuf_append(out, outgoing->authority.bytes, outgoing->authority.len);
	strbuf_append_text(out, "\r\n");
	for (u32 i = 0; i < lines->count; i++) {
		const struct line *line = &lines->items[i];

		strbuf_append(out, lines->text + line->name, line->name_len);
		strbuf_append_text(out, ": ");
		strbuf_append(out, lines->text + line->value, line->value_len);
		strbuf_append_text(out, "\r\n");
	}
	strbuf_append_text(out, "\r\n");
}

int hash_changed(struct exchange *exchange, const struct weft_route *route, const struct outgoing *outgoing)
{
	_cleanup_free_ struct weft_head *head = NULL;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	static const char slack[WEFT_HEAD_SLACK];
	const struct weft_head_bytes *bytes;
	u32 len;

	if (!route || !route->hash_policies || !cluster_hashes(exchange->connection, exchange->cluster_id))
		return 0;
	head = calloc(1, sizeof(*head));
	put_head(outgoing, &text);
	len = (u32)text.size;
	strbuf_append(&text, slack, sizeof(slack));
	if (!head || strbuf_status(&text))
		return -ENOMEM;
	bytes = (const struct weft_head_bytes *)text.data;
	if (weft_parse_request(bytes, len, head) != WEFT_PARSE_DONE)
		return 0; /* nothing to go by: any endpoint */
	head->flags &= ~WEFT_HEAD_PRIVATE; /* what came of those was stripped; these are Envoy's own */
	hash_request(exchange, route, &outgoing->image, bytes, head, (const u8 *)text.data + head->path.off,
		     (u32)head->target.off + head->target.len - head->path.off);
	return 0;
}

bool hash_needs_lines(const struct exchange *exchange, const struct weft_route *route, const struct weft_image_handle *image)
{
	const struct weft_hash_policies *policies = route && route->hash_policies ? weft_at(image, route->hash_policies) : NULL;
	static const char *const made[] = { "x-envoy-", "x-forwarded-" };

	if (!policies || !(policies->flags & WEFT_HASH_POLICIES_PROXY) || !cluster_hashes(exchange->connection, exchange->cluster_id))
		return false;
	for (u32 i = 0; i < policies->count; i++) {
		const struct weft_text *name = weft_at(image, policies->items[i].name);

		for (u32 k = 0; policies->items[i].kind == WEFT_HASH_HEADER && name && k < WEFT_ARRAY_SIZE(made); k++)
			if (name->len > strlen(made[k]) && !strncasecmp((const char *)name->bytes, made[k], strlen(made[k])))
				return true;
	}
	return false;
}

void exchange_hash_source(struct exchange *exchange, u32 listener_flags)
{
	if (!(listener_flags & WEFT_LISTENER_HASH_SOURCE_IP))
		return;
	exchange->hash = weft_source_hash(client_address(exchange->connection));
	exchange->hash_state = WEFT_HASH_READY;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A Host that is the name of the endpoint which gets the request: known when one is chosen, and another one for another try (Envoy:
 * auto_host_rewrite, Http::Utility::updateAuthority). */
#include "proxy/policies.h"

#include <strings.h>
#include <sys/socket.h>

#include "base/strbuf.h"
#include "proxy/outgoing.h"

int auto_host_plan(const struct outgoing *outgoing, const struct weft_route_result *result)
{
	const struct weft_image_handle *image = &outgoing->image;
	const struct weft_route_extras *extras = route_extras(image, result->route);
	const struct weft_rewrite *rewrite = extras && extras->rewrite ? weft_at(image, extras->rewrite) : NULL;
	struct policies *policies;

	if (!rewrite || rewrite->host_kind != WEFT_HOST_AUTO)
		return 0;
	policies = policies_of(outgoing->exchange);
	if (!policies)
		return -ENOMEM;
	policies->auto_host = rewrite->appends_host ? AUTO_HOST_APPENDS : AUTO_HOST;
	return 0;
}

/* NULL: it has none. */
static const struct weft_text *name_of_endpoint(const struct exchange *exchange)
{
	struct weft_image_handle image = thread_endpoints(exchange->connection->thread, exchange->connection->pod->is.scope);
	const struct weft_cluster *cluster = image.base ? weft_at(&image, weft_find_cluster(&image, exchange->cluster_id)) : NULL;
	struct weft_cursor cursor = {0};

	for (u32 i = 0; cluster && cluster->hostnames && i < cluster->endpoint_count; i++) {
		const struct weft_endpoint *member = weft_member(&image, &cursor, cluster, i);
		const weft_ref *name = weft_at(&image, cluster->hostnames + i * (u32)sizeof(*name));

		if (member && name && member->id == exchange->endpoint_id)
			return *name ? weft_at(&image, *name) : NULL;
	}
	return NULL;
}

static bool is_line_of(struct text_span line, const char *name)
{
	size_t len = strlen(name);

	return line.len > len && line.bytes[len] == ':' && !strncasecmp((const char *)line.bytes, name, len);
}

static void put_forwarded(struct strbuf *out, struct text_span line, struct text_span former)
{
	const u8 *value = (const u8 *)memchr(line.bytes, ':', line.len) + 1, *end = line.bytes + line.len;

	while (value < end && *value == ' ')
		value++;
	strbuf_append(out, line.bytes, line.len);
	if (!outgoing_is_listed_last((struct text_span){value, (u32)(end - value)}, former)) {
		strbuf_append_text(out, value == end ? "" : ",");
		strbuf_append(out, former.bytes, former.len);
	}
	strbuf_append_text(out, "\r\n");
}

/* The head with another Host, which is its second line. */
static void put_head(const struct exchange *exchange, const u8 *head, size_t size, const struct weft_text *name, struct strbuf *out)
{
	bool appends = exchange->policies->auto_host == AUTO_HOST_APPENDS, decorates = exchange->connection->thread->proxy->decorates;
	const u8 *at = head, *end = head + size - 2;
	struct text_span former = {0};

	for (const u8 *next; at < end; at = next + 2) {
		struct text_span line;

		next = memmem(at, (size_t)(head + size - at), "\r\n", 2);
		line = (struct text_span){at, (u32)(next - at)};
		if (!former.bytes && is_line_of(line, "host")) {
			former = (struct text_span){line.bytes + 6, line.len - 6};
			strbuf_printf(out, "host: %.*s\r\n", (int)name->len, (const char *)name->bytes);
		} else if (appends && is_line_of(line, "x-forwarded-host")) {
			put_forwarded(out, line, former);
			appends = false;
		} else if (!decorates || !is_line_of(line, "x-envoy-original-host")) {
			strbuf_append(out, line.bytes, line.len + 2);
		}
	}
	if (appends && former.len)
		strbuf_printf(out, "x-forwarded-host: %.*s\r\n", (int)former.len, (const char *)former.bytes);
	if (decorates)
		strbuf_printf(out, "x-envoy-original-host: %.*s\r\n", (int)former.len, (const char *)former.bytes);
	strbuf_append_text(out, "\r\n");
}

static int replace_head(struct exchange *exchange, size_t size, const struct strbuf *made)
{
	struct thread *thread = exchange->connection->thread;
	struct buffer *out = &exchange->connection->request.out;
	struct strbuf rest = STRBUF_INIT;
	int r;

	if (exchange->policies->resend.size)
		return resend_replace(&exchange->policies->resend, size, made->data, made->size);
	r = strbuf_append(&rest, buffer_bytes(out) + size, buffer_len(out) - size);
	if (!r) {
		buffer_consume(thread, out, buffer_len(out));
		r = buffer_reserve(thread, out, (u32)(made->size + rest.size));
	}
	if (!r) {
		buffer_put(out, made->data, made->size);
		buffer_put(out, strbuf_text(&rest), rest.size);
	}
	strbuf_release(&rest);
	return r;
}

static bool is_open(const struct upstream *upstream)
{
	union weft_sockaddr address;
	socklen_t len = sizeof(address);

	return upstream->is_connected || !getpeername(upstream->fd, &address.any, &len);
}

int auto_host_begin(struct exchange *exchange)
{
	struct policies *policies = exchange->policies;
	const struct resend *resend = policies ? &policies->resend : NULL;
	const struct buffer *out = &exchange->connection->request.out;
	const struct weft_text *name;
	struct strbuf made = STRBUF_INIT;
	const u8 *head, *blank;
	size_t size;
	int r = 0;

	/* Envoy: when there is a connection; a try that gets none leaves the Host alone. */
	if (!policies || !policies->auto_host || policies->has_auto_host || !is_open(exchange->upstream))
		return 0;
	policies->has_auto_host = true;
	if (resend->is_kept)
		r = resend_take(exchange);
	if (r)
		return r;
	head = resend->size ? resend->bytes : buffer_len(out) ? buffer_bytes(out) : NULL;
	size = resend->size ? resend->size : buffer_len(out);
	name = name_of_endpoint(exchange);
	blank = head && name ? memmem(head, size, "\r\n\r\n", 4) : NULL;
	if (!blank)
		return 0;
	size = (size_t)(blank - head) + 4;
	if (policies->mirrors && !policies->plain_head) {
		policies->plain_head = malloc(size);
		if (!policies->plain_head)
			return -ENOMEM;
		memcpy(policies->plain_head, head, size);
		policies->plain_head_len = size;
	}
	put_head(exchange, head, size, name, &made);
	r = strbuf_status(&made) ? strbuf_status(&made) : replace_head(exchange, size, &made);
	strbuf_release(&made);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* New paths, hosts and locations, made of a request and what its route says. */
#include "proxy/edit.h"

#include "base/strbuf.h"

static int replace(struct thread *thread, const struct weft_image_handle *image, weft_ref pattern, weft_ref substitution, const u8 *value, u32 len,
		   struct strbuf *out)
{
	return pattern_replace(thread, weft_at(image, pattern), weft_at(image, substitution), value, len, out);
}

/* ---- paths and hosts ----------------------------------------------------------------------------------------------------------- */

static void put_text_at(const struct weft_image_handle *image, weft_ref ref, struct strbuf *out)
{
	const struct weft_text *text = weft_at(image, ref);

	strbuf_append(out, text->bytes, text->len);
}

int rewrite_path(struct thread *thread, const struct weft_image_handle *image, const struct weft_path_rewrite *rewrite, const u8 *target,
		 u32 target_len, u32 path_len, struct strbuf *out)
{
	u32 matched = WEFT_MIN(rewrite->matched_len, path_len);
	int r = 0;

	if (rewrite->prefix) {
		put_text_at(image, rewrite->prefix, out);
		if (rewrite->flags & WEFT_REWRITE_TAKES_SLASH && matched < path_len && target[matched] == '/')
			matched++;
		strbuf_append(out, target + matched, path_len - matched);
	} else if (rewrite->pattern) {
		r = replace(thread, image, rewrite->pattern, rewrite->substitution, target, path_len, out);
	}
	/* Envoy leaves a path alone that would be empty. */
	if (!r && out->size)
		strbuf_append(out, target + path_len, target_len - path_len);
	return r ? r : strbuf_status(out);
}

int rewrite_host(struct thread *thread, const struct weft_image_handle *image, const struct weft_rewrite *rewrite, const struct lines *lines,
		 const u8 *path, u32 path_len, struct strbuf *out)
{
	const struct weft_text *text = rewrite->host ? weft_at(image, rewrite->host) : NULL;
	const struct line *line;
	struct name name;

	switch (rewrite->host_kind) {
	case WEFT_HOST_LITERAL:
		put_text_at(image, rewrite->host, out);
		break;
	case WEFT_HOST_HEADER:
		name = (struct name){text->bytes, text->len, weft_name_hash(text->bytes, text->len)};
		line = lines_look(lines, &name);
		if (line)
			strbuf_append(out, lines->text + line->value, line->value_len);
		break;
	case WEFT_HOST_PATH_REGEX:
		return replace(thread, image, rewrite->host, rewrite->substitution, path, path_len, out);
	}
	return strbuf_status(out);
}

/* ---- locations ------------------------------------------------------------------------------------------------------------------ */

static bool is_span(struct text_span span, const char *text)
{
	return span.len == strlen(text) && !memcmp(span.bytes, text, span.len);
}

/* The request's host; its port goes where a new one is given, or where it was the default of a scheme that changes. */
static u32 host_len(const struct redirect_request *request, struct text_span scheme, bool has_port)
{
	struct text_span host = request->authority, port;
	u32 at = host.len;

	while (at && host.bytes[at - 1] != ':' && host.bytes[at - 1] != ']')
		at--;
	if (!at || host.bytes[at - 1] == ']')
		return host.len;
	at--;
	port = (struct text_span){host.bytes + at, host.len - at};
	if (has_port)
		return at;
	if (scheme.len == request->forwarded.len && !memcmp(scheme.bytes, request->forwarded.bytes, scheme.len))
		return host.len;
	if ((is_span(request->forwarded, "https") && is_span(port, ":443")) || (is_span(request->forwarded, "http") && is_span(port, ":80")))
		return at;
	return host.len;
}

static int put_path(struct thread *thread, const struct weft_image_handle *image, const struct weft_redirect *redirect,
		    const struct redirect_request *request, struct strbuf *out)
{
	struct text_span target = request->target;
	struct strbuf rewritten = STRBUF_INIT;
	u32 path_len = request->path_len;
	const u8 *mark;
	int r;

	if (redirect->path) {
		put_text_at(image, redirect->path, out);
		if (!(redirect->flags & (WEFT_REDIRECT_HAS_QUERY | WEFT_REDIRECT_STRIPS_QUERY)))
			strbuf_append(out, target.bytes + path_len, target.len - path_len);
		return strbuf_status(out);
	}
	r = rewrite_path(thread, image, &redirect->rewrite, target.bytes, target.len, path_len, &rewritten);
	if (!r && rewritten.size)
		target = (struct text_span){(const u8 *)rewritten.data, (u32)rewritten.size};
	/* Envoy: Utility::newUri. */
	if (target.len && *target.bytes != '/')
		strbuf_append_byte(out, '/');
	mark = redirect->flags & WEFT_REDIRECT_STRIPS_QUERY ? memchr(target.bytes, '?', target.len) : NULL;
	strbuf_append(out, target.bytes, mark ? (size_t)(mark - target.bytes) : target.len);
	strbuf_release(&rewritten);
	return r ? r : strbuf_status(out);
}

int redirect_location(struct thread *thread, const struct weft_image_handle *image, const struct weft_redirect *redirect,
		      const struct redirect_request *request, struct strbuf *out)
{
	const struct weft_text *own = redirect->scheme ? weft_at(image, redirect->scheme) : NULL;
	struct text_span scheme = {(const u8 *)"https", request->is_https ? 5 : 4};

	if (own)
		scheme = (struct text_span){own->bytes, own->len};
	strbuf_append(out, scheme.bytes, scheme.len);
	strbuf_append_text(out, "://");
	if (redirect->host)
		put_text_at(image, redirect->host, out);
	else
		strbuf_append(out, request->authority.bytes, host_len(request, scheme, redirect->port));
	if (redirect->port)
		strbuf_printf(out, ":%u", redirect->port);
	return put_path(thread, image, redirect, request, out);
}

void own_location(const struct redirect_request *request, bool is_https, struct strbuf *out)
{
	strbuf_append_text(out, is_https ? "https://" : "http://");
	strbuf_append(out, request->authority.bytes, request->authority.len);
	strbuf_append(out, request->target.bytes, request->target.len);
}

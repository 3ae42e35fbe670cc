/* SPDX-License-Identifier: Apache-2.0 */
/* Direct responses and redirects: the head is built here, so that the kernel only adds the date, and what a location takes from the request. */
#include <errno.h>
#include <string.h>

#include "compile/routes.h"

/* What Envoy writes after the status (CodeUtility::toString). */
static const char *reason_phrase(uint32_t status)
{
	switch (status) {
	case 200: return "OK";
	case 201: return "Created";
	case 202: return "Accepted";
	case 203: return "Non-Authoritative Information";
	case 204: return "No Content";
	case 205: return "Reset Content";
	case 206: return "Partial Content";
	case 207: return "Multi-Status";
	case 208: return "Already Reported";
	case 226: return "IM Used";
	case 300: return "Multiple Choices";
	case 301: return "Moved Permanently";
	case 302: return "Found";
	case 303: return "See Other";
	case 304: return "Not Modified";
	case 305: return "Use Proxy";
	case 307: return "Temporary Redirect";
	case 308: return "Permanent Redirect";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 402: return "Payment Required";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 406: return "Not Acceptable";
	case 407: return "Proxy Authentication Required";
	case 408: return "Request Timeout";
	case 409: return "Conflict";
	case 410: return "Gone";
	case 411: return "Length Required";
	case 412: return "Precondition Failed";
	case 413: return "Payload Too Large";
	case 414: return "URI Too Long";
	case 415: return "Unsupported Media Type";
	case 416: return "Range Not Satisfiable";
	case 417: return "Expectation Failed";
	case 421: return "Misdirected Request";
	case 422: return "Unprocessable Entity";
	case 423: return "Locked";
	case 424: return "Failed Dependency";
	case 426: return "Upgrade Required";
	case 428: return "Precondition Required";
	case 429: return "Too Many Requests";
	case 431: return "Request Header Fields Too Large";
	case 500: return "Internal Server Error";
	case 501: return "Not Implemented";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	case 505: return "HTTP Version Not Supported";
	case 506: return "Variant Also Negotiates";
	case 507: return "Insufficient Storage";
	case 508: return "Loop Detected";
	case 510: return "Not Extended";
	case 511: return "Network Authentication Required";
	}
	return "Unknown";
}

void direct_judge(const struct mesh_direct_response *direct, struct strbuf *unsupported, struct strbuf *for_proxy)
{
	/* Envoy: a location of the request's own URL. */
	if (direct->status == 201 || direct->status / 100 == 3)
		reason_add(for_proxy, "a direct response of status %u has a location made from the request", direct->status);
	/* Envoy writes length and bytes all the same, which breaks the connection's framing. */
	if (direct->status == 204 && direct->body_size)
		reason_add(for_proxy, "a direct response of status 204 that has a body");
	if (direct->body_size > BUILDER_OBJECT_MAX)
		reason_add(unsupported, "a direct response body of %zu bytes is more than an image holds in one piece (%u)", direct->body_size,
			   (unsigned int)BUILDER_OBJECT_MAX);
	else if (direct->body_size > WEFT_DIRECT_BODY_MAX)
		reason_add(for_proxy, "a direct response body of %zu bytes is more than the kernel sends (%u)", direct->body_size,
			   WEFT_DIRECT_BODY_MAX);
	/* Envoy closes the connection after every 400. */
	if (direct->status == 400)
		reason_add(for_proxy, "a direct response of status 400 closes the connection");
}

int direct_compile(struct routes_compile *c, const struct mesh_direct_response *direct, const struct strbuf *lines, weft_ref *out)
{
	struct weft_direct_response response = { .status = (uint16_t)direct->status, .body_len = (uint32_t)direct->body_size };
	struct strbuf head = STRBUF_INIT;
	int r;

	strbuf_printf(&head, "HTTP/1.1 %u %s\r\n", direct->status, reason_phrase(direct->status));
	if (direct->body_size)
		strbuf_printf(&head, "content-length: %zu\r\n", direct->body_size);
	else if (direct->status != 204)
		strbuf_append_text(&head, "content-length: 0\r\n");
	if (direct->status == 400)
		strbuf_append_text(&head, "connection: close\r\n");
	strbuf_append(&head, strbuf_text(lines), lines->size);

	r = strbuf_status(&head);
	if (!r) {
		response.head_len = (uint32_t)head.size;
		response.head = builder_share(&c->builder, head.data, head.size);
		if (direct->body_size)
			response.body = builder_share(&c->builder, direct->body, direct->body_size);
		*out = builder_share(&c->builder, &response, sizeof(response));
		r = builder_status(&c->builder);
	}
	strbuf_release(&head);
	return r;
}

/* ---- redirects ---------------------------------------------------------------------------------------------------------------------- */

static void put_text_of(const struct routes_compile *c, weft_ref ref, struct strbuf *out)
{
	const struct weft_text *text = builder_at(&c->builder, ref);

	strbuf_append(out, text->bytes, text->len);
}

/* What follows host and port; what of it is the request's. */
static void put_place(const struct routes_compile *c, const struct weft_redirect *redirect, struct weft_location *location, struct strbuf *out)
{
	if (redirect->path) {
		put_text_of(c, redirect->path, out);
		if (!(redirect->flags & (WEFT_REDIRECT_HAS_QUERY | WEFT_REDIRECT_STRIPS_QUERY)))
			location->flags |= WEFT_LOCATION_QUERY;
		return;
	}
	location->flags |= WEFT_LOCATION_PATH;
	if (!(redirect->flags & WEFT_REDIRECT_STRIPS_QUERY))
		location->flags |= WEFT_LOCATION_QUERY;
	if (!redirect->rewrite.prefix)
		return;
	if (*((const struct weft_text *)builder_at(&c->builder, redirect->rewrite.prefix))->bytes != '/')
		strbuf_append_byte(out, '/');
	put_text_of(c, redirect->rewrite.prefix, out);
	location->matched_len = redirect->rewrite.matched_len;
	if (redirect->rewrite.flags & WEFT_REWRITE_TAKES_SLASH)
		location->flags |= WEFT_LOCATION_TAKES_SLASH;
}

static bool has_mark(const struct routes_compile *c, weft_ref ref)
{
	const struct weft_text *text = ref ? builder_at(&c->builder, ref) : NULL;

	return text && memchr(text->bytes, '?', text->len);
}

int location_compile(struct routes_compile *c, const struct weft_redirect *redirect, const struct strbuf *lines, weft_ref *out, struct strbuf *proxy)
{
	struct strbuf before = STRBUF_INIT, before_https = STRBUF_INIT, between = STRBUF_INIT, after = STRBUF_INIT;
	struct weft_location location = { .status = redirect->status };
	bool is_http = true, is_https = true;
	int r;

	*out = 0;
	if (redirect->rewrite.pattern || (redirect->flags & WEFT_REDIRECT_STRIPS_QUERY && has_mark(c, redirect->rewrite.prefix))) {
		reason_add(proxy, redirect->rewrite.pattern ? "the proxy redirects by a regular expression" : "the proxy redirects to a path with a query");
		return 0;
	}
	strbuf_printf(&before, "HTTP/1.1 %u %s\r\ncontent-length: 0\r\nlocation: ", redirect->status, reason_phrase(redirect->status));
	if (redirect->scheme) {
		const struct weft_text *scheme = builder_at(&c->builder, redirect->scheme);

		is_http = scheme->len == 4 && !memcmp(scheme->bytes, "http", 4);
		is_https = scheme->len == 5 && !memcmp(scheme->bytes, "https", 5);
		strbuf_append(&before, scheme->bytes, scheme->len);
	} else {
		strbuf_append_text(&before, "http"); /* what came by anything else than http or https, or says so, is the proxy's */
	}
	strbuf_append(&before_https, strbuf_text(&before), before.size);
	strbuf_append_text(&before_https, redirect->scheme ? "://" : "s://");
	strbuf_append_text(&before, "://");
	if (redirect->host) {
		put_text_of(c, redirect->host, &before);
		put_text_of(c, redirect->host, &before_https);
	} else {
		location.flags |= WEFT_LOCATION_HOST;
		if (redirect->port)
			location.flags |= WEFT_LOCATION_DROPS_PORT;
		else
			location.flags |= (is_http ? 0 : WEFT_LOCATION_DROPS_80) | (is_https ? 0 : WEFT_LOCATION_DROPS_443);
	}
	if (redirect->port)
		strbuf_printf(&between, ":%u", redirect->port);
	put_place(c, redirect, &location, &between);
	strbuf_append_text(&after, "\r\n");
	strbuf_append(&after, strbuf_text(lines), lines->size);

	r = strbuf_status(&before_https) ? strbuf_status(&before_https) : strbuf_status(&before) ? strbuf_status(&before) : strbuf_status(&between) ? strbuf_status(&between) : strbuf_status(&after);
	if (!r && before_https.size + between.size + after.size > WEFT_DIRECT_HEAD_MAX) {
		reason_add(proxy, "a redirect's head of more than %u bytes", WEFT_DIRECT_HEAD_MAX);
	} else if (!r) {
		location.before = builder_bytes_text(&c->builder, before.data, before.size);
		location.before_https = redirect->scheme ? location.before : builder_bytes_text(&c->builder, before_https.data, before_https.size);
		location.between = between.size ? builder_bytes_text(&c->builder, between.data, between.size) : 0;
		location.after = builder_bytes_text(&c->builder, after.data, after.size);
		*out = builder_share(&c->builder, &location, sizeof(location));
		r = builder_status(&c->builder);
	}
	strbuf_release(&before);
	strbuf_release(&before_https);
	strbuf_release(&between);
	strbuf_release(&after);
	return r;
}

int tls_location_compile(struct routes_compile *c, weft_ref *out)
{
	static const char before[] = "HTTP/1.1 301 Moved Permanently\r\ncontent-length: 0\r\nlocation: https://", after[] = "\r\n";
	struct weft_location location = { .status = 301, .flags = WEFT_LOCATION_HOST | WEFT_LOCATION_PATH | WEFT_LOCATION_QUERY };

	location.before = location.before_https = builder_bytes_text(&c->builder, before, sizeof(before) - 1);
	location.after = builder_bytes_text(&c->builder, after, sizeof(after) - 1);
	*out = builder_share(&c->builder, &location, sizeof(location));
	return builder_status(&c->builder);
}

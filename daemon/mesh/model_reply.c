/* SPDX-License-Identifier: Apache-2.0 */
/* Routes that answer by themselves: redirects and direct responses. */
#include <string.h>

#include "mesh/model.h"

static uint32_t redirect_status(struct build *b, const PbRedirect *message)
{
	switch (message->response_code) {
	case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__MOVED_PERMANENTLY:
		return 301;
	case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__FOUND:
		return 302;
	case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__SEE_OTHER:
		return 303;
	case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__TEMPORARY_REDIRECT:
		return 307;
	case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__PERMANENT_REDIRECT:
		return 308;
	default:
		build_refuse(b, "an unknown response_code: %d", (int)message->response_code);
		return 301;
	}
}

void model_redirect(struct build *b, const PbRedirect *message, struct mesh_redirect *out)
{
	size_t before = build_enter(b, "redirect");

	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("https_redirect", "scheme_redirect", "host_redirect", "port_redirect", "path_redirect", "prefix_rewrite",
				 "regex_rewrite", "response_code", "strip_query"));
	out->status = redirect_status(b, message);
	out->host = model_header_value(b, "host_redirect", message->host_redirect);
	out->port = message->port_redirect;
	out->strips_query = message->strip_query;
	if (message->scheme_rewrite_specifier_case == ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_HTTPS_REDIRECT)
		out->scheme = message->https_redirect ? "https" : "";
	else if (message->scheme_rewrite_specifier_case == ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT)
		out->scheme = model_header_value(b, "scheme_redirect", message->scheme_redirect);

	switch (message->path_rewrite_specifier_case) {
	case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT:
		out->path = model_header_value(b, "path_redirect", message->path_redirect);
		break;
	case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE:
		out->prefix_rewrite = model_header_value(b, "prefix_rewrite", message->prefix_rewrite);
		break;
	case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_REGEX_REWRITE:
		model_regex_rewrite(b, "regex_rewrite", message->regex_rewrite, &out->regex_rewrite);
		break;
	default:
		break;
	}
	build_leave(b, before);
}

static void body(struct build *b, const Envoy__Config__Core__V3__DataSource *source, uint32_t limit_bytes, struct mesh_direct_response *out)
{
	const void *bytes = "";

	switch (source->specifier_case) {
	case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING:
		bytes = source->inline_string;
		out->body_size = strlen(source->inline_string);
		break;
	case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES:
		bytes = source->inline_bytes.data;
		out->body_size = source->inline_bytes.len;
		break;
	case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_FILENAME:
	case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_ENVIRONMENT_VARIABLE:
		build_reason(b, MESH_EFFECT_TRAFFIC, "a body from a file or the environment is not supported");
		return;
	default:
		if (!source->base.n_unknown_fields)
			build_refuse(b, "a body is needed: inline_string or inline_bytes");
		return;
	}
	if (out->body_size > limit_bytes) {
		build_refuse(b, "a body of %zu bytes; the most is %u", out->body_size, limit_bytes);
		out->body_size = 0;
	}
	if (out->body_size) {
		void *copy = build_alloc(b, 1, out->body_size);

		if (copy)
			memcpy(copy, bytes, out->body_size);
		out->body = copy;
	}
	build_check_fields(b, &source->base, MESH_EFFECT_TRAFFIC, KNOWN("inline_string", "inline_bytes"));
}

void model_direct_response(struct build *b, const PbDirect *message, uint32_t body_limit_bytes, struct mesh_direct_response *out)
{
	size_t before = build_enter(b, "direct_response");

	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC, KNOWN("status", "body"));
	if (message->status < 200 || message->status > 599) {
		size_t inner = build_enter(b, "status");

		build_refuse(b, "a status must be from 200 to 599");
		build_leave(b, inner);
	}
	out->status = message->status;
	if (message->body) {
		size_t inner = build_enter(b, "body");

		body(b, message->body, body_limit_bytes, out);
		build_leave(b, inner);
	}
	build_leave(b, before);
}

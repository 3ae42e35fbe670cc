/* SPDX-License-Identifier: Apache-2.0 */
/* Route matches: path, headers, query parameters, fraction. Whatever is not represented here makes uncertain which requests a route takes. */
#include <string.h>

#include "mesh/model.h"

#define QUERY_NAME_LIMIT 1024 /* bytes; Envoy's own */

/* The fields that came before string_match. */
static void old_matcher(struct build *b, enum mesh_string_kind kind, const char *text, struct mesh_header_matcher *out)
{
	out->kind = MESH_HEADER_STRING;
	out->string.kind = kind;
	out->string.text = build_text(b, text);
	if (*text)
		return;
	/* An empty exact_match takes any value, as an empty prefix would; other empty ones are refused. */
	if (kind == MESH_STRING_EXACT)
		out->string.kind = MESH_STRING_PREFIX;
	else
		build_refuse(b, "an empty pattern");
}

static void header_specifier(struct build *b, const PbHeaderMatcher *message, struct mesh_header_matcher *out)
{
	size_t before;

	switch (message->header_match_specifier_case) {
	case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH:
		before = build_enter(b, "string_match");
		out->kind = MESH_HEADER_STRING;
		model_string(b, message->string_match, &out->string);
		build_leave(b, before);
		break;
	case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_EXACT_MATCH:
		old_matcher(b, MESH_STRING_EXACT, message->exact_match, out);
		break;
	case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PREFIX_MATCH:
		old_matcher(b, MESH_STRING_PREFIX, message->prefix_match, out);
		break;
	case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SUFFIX_MATCH:
		old_matcher(b, MESH_STRING_SUFFIX, message->suffix_match, out);
		break;
	case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_CONTAINS_MATCH:
		old_matcher(b, MESH_STRING_CONTAINS, message->contains_match, out);
		break;
	case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SAFE_REGEX_MATCH:
		out->kind = MESH_HEADER_STRING;
		out->string.kind = MESH_STRING_REGEX;
		out->string.text = model_regex(b, "safe_regex_match", message->safe_regex_match);
		break;
	case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_RANGE_MATCH:
		out->kind = MESH_HEADER_RANGE;
		out->range_start = message->range_match->start;
		out->range_end = message->range_match->end;
		break;
	case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH:
		out->kind = MESH_HEADER_PRESENT;
		out->is_present = message->present_match;
		break;
	default:
		/* no condition on the value: the header must be there */
		out->kind = MESH_HEADER_PRESENT;
		out->is_present = true;
		break;
	}
}

void model_header_matcher(struct build *b, const PbHeaderMatcher *message, struct mesh_header_matcher *out)
{
	out->string.text = "";
	build_check_fields(b, &message->base, MESH_EFFECT_MATCH,
			   KNOWN("name", "exact_match", "safe_regex_match", "range_match", "present_match", "prefix_match", "suffix_match",
				 "contains_match", "string_match", "invert_match", "treat_missing_header_as_empty"));
	if (!*message->name)
		build_refuse(b, "a header name is needed");
	model_header_value(b, "name", message->name);
	out->name = build_lower(b, message->name);
	out->is_inverted = message->invert_match;
	out->treats_missing_as_empty = message->treat_missing_header_as_empty;
	header_specifier(b, message, out);
}

static void query_matcher(struct build *b, const PbQueryMatcher *message, struct mesh_query_matcher *out)
{
	size_t before;

	out->string.text = "";
	out->name = build_text(b, message->name);
	build_check_fields(b, &message->base, MESH_EFFECT_MATCH, KNOWN("name", "string_match", "present_match"));
	if (!*message->name)
		build_refuse(b, "a parameter name is needed");
	if (strlen(message->name) > QUERY_NAME_LIMIT)
		build_refuse(b, "a parameter name is longer than %d bytes", QUERY_NAME_LIMIT);
	switch (message->query_parameter_match_specifier_case) {
	case ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH:
		before = build_enter(b, "string_match");
		model_string(b, message->string_match, &out->string);
		build_leave(b, before);
		break;
	case ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_PRESENT_MATCH:
		out->is_present_only = true;
		out->is_present = message->present_match;
		break;
	default:
		out->is_present_only = true;
		out->is_present = true;
		break;
	}
}

static void separated_prefix(struct build *b, const char *text)
{
	size_t size = strlen(text);

	/* Envoy's rule is the pattern ^[^?#]+[^?#/]$, which needs two bytes */
	if (size >= 2 && !text[strcspn(text, "?#")] && text[size - 1] != '/')
		return;
	build_refuse(b, "a separated prefix must not end in / nor hold ? or #, and has two bytes or more");
}

static void path_specifier(struct build *b, const PbRouteMatch *message, struct mesh_route_match *out)
{
	size_t before;

	switch (message->path_specifier_case) {
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX:
		out->path_kind = MESH_PATH_PREFIX;
		out->path = build_text(b, message->prefix);
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH:
		out->path_kind = MESH_PATH_EXACT;
		out->path = build_text(b, message->path);
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH_SEPARATED_PREFIX:
		out->path_kind = MESH_PATH_SEPARATED_PREFIX;
		out->path = build_text(b, message->path_separated_prefix);
		before = build_enter(b, "path_separated_prefix");
		separated_prefix(b, out->path);
		build_leave(b, before);
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX:
		out->path_kind = MESH_PATH_REGEX;
		out->path = model_regex(b, "safe_regex", message->safe_regex);
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_CONNECT_MATCHER:
		out->path_kind = MESH_PATH_CONNECT;
		break;
	case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH_MATCH_POLICY:
		out->path_kind = MESH_PATH_OTHER;
		before = build_enter(b, "path_match_policy");
		build_reason(b, MESH_EFFECT_MATCH, "path templates are not supported");
		build_leave(b, before);
		break;
	default:
		out->path_kind = MESH_PATH_OTHER;
		if (!message->base.n_unknown_fields)
			build_refuse(b, "a path condition is needed: prefix, path, path_separated_prefix, safe_regex or connect_matcher");
		break;
	}
}

void model_route_match(struct build *b, const PbRouteMatch *message, struct mesh_route_match *out)
{
	out->path = "";
	build_check_fields(b, &message->base, MESH_EFFECT_MATCH,
			   KNOWN("prefix", "path", "path_separated_prefix", "safe_regex", "connect_matcher", "path_match_policy", "case_sensitive",
				 "headers", "query_parameters", "runtime_fraction", "grpc", "tls_context"));
	path_specifier(b, message, out);
	out->is_case_sensitive = bool_or(message->case_sensitive, true);
	out->is_grpc_only = message->grpc != NULL;
	if (message->tls_context) {
		size_t before = build_enter(b, "tls_context");

		build_check_fields(b, &message->tls_context->base, MESH_EFFECT_MATCH, KNOWN("presented", "validated"));
		out->needs_client_certificate = bool_or(message->tls_context->presented, false) || bool_or(message->tls_context->validated, false);
		build_leave(b, before);
	}

	out->headers = build_array(b, struct mesh_header_matcher, message->n_headers);
	out->header_count = out->headers ? message->n_headers : 0;
	for (size_t i = 0; i < out->header_count; i++) {
		size_t before = build_enter_index(b, "headers", i);

		model_header_matcher(b, message->headers[i], &out->headers[i]);
		build_leave(b, before);
	}
	out->queries = build_array(b, struct mesh_query_matcher, message->n_query_parameters);
	out->query_count = out->queries ? message->n_query_parameters : 0;
	for (size_t i = 0; i < out->query_count; i++) {
		size_t before = build_enter_index(b, "query_parameters", i);

		query_matcher(b, message->query_parameters[i], &out->queries[i]);
		build_leave(b, before);
	}
	if (message->runtime_fraction) {
		out->has_fraction = true;
		model_fraction(b, "runtime_fraction", message->runtime_fraction, &out->fraction_numerator, &out->fraction_denominator);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions of a route beside its path. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/regexes.h"
#include "compile/routes.h"
#include "weft/head.h"
#include "weft/names.h"

enum outcome {
	OUTCOME_CONDITION,   /* `condition` says it */
	OUTCOME_ALWAYS,      /* holds for every request */
	OUTCOME_NEVER,
	OUTCOME_UNSUPPORTED,
};

/* What weft_condition needs before it has references. */
struct planned {
	struct weft_condition condition;
	const char *name;
	const char *value;   /* NULL: none, or one of these */
	const char *pattern; /* a regular expression; NULL: none */
	enum regex_alphabet alphabet;
	bool is_lowered;     /* the value is compared in lower case */
	struct weft_range range;
	struct weft_fraction fraction;
};

#define GRPC_CONTENT_TYPE "application/grpc"

static enum weft_condition_subject subject_of(const char *name)
{
	if (!strcmp(name, ":method"))
		return WEFT_SUBJECT_METHOD;
	if (!strcmp(name, ":authority") || !strcmp(name, "host"))
		return WEFT_SUBJECT_AUTHORITY;
	if (!strcmp(name, ":path"))
		return WEFT_SUBJECT_PATH;
	if (!strcmp(name, ":scheme"))
		return WEFT_SUBJECT_SCHEME;
	return WEFT_SUBJECT_HEADER;
}

/* Envoy: HeaderDataPresentMatch. Missing as empty means that the header is always there. */
static enum outcome plan_present(const struct mesh_header_matcher *matcher, struct planned *planned)
{
	bool wants_absent = matcher->is_present == matcher->is_inverted;

	if (matcher->treats_missing_as_empty)
		return wants_absent ? OUTCOME_NEVER : OUTCOME_ALWAYS;
	planned->condition.kind = WEFT_CONDITION_PRESENT;
	if (wants_absent)
		planned->condition.flags |= WEFT_CONDITION_INVERT;
	return OUTCOME_CONDITION;
}

/* What a header or a parameter is compared with. */
static enum outcome plan_text(const struct mesh_string_matcher *string, struct planned *planned)
{
	struct weft_condition *condition = &planned->condition;

	switch (string->kind) {
	case MESH_STRING_EXACT: condition->kind = WEFT_CONDITION_EXACT; break;
	case MESH_STRING_PREFIX: condition->kind = WEFT_CONDITION_PREFIX; break;
	case MESH_STRING_SUFFIX: condition->kind = WEFT_CONDITION_SUFFIX; break;
	case MESH_STRING_CONTAINS: condition->kind = WEFT_CONDITION_CONTAINS; break;
	case MESH_STRING_REGEX:
		condition->kind = WEFT_CONDITION_REGEX;
		planned->pattern = string->text;
		planned->alphabet = condition->subject == WEFT_SUBJECT_QUERY || condition->subject == WEFT_SUBJECT_PATH ? REGEX_OVER_TARGETS :
															  REGEX_OVER_VALUES;
		return OUTCOME_CONDITION;
	}
	if (string->ignore_case) {
		condition->flags |= WEFT_CONDITION_IGNORE_CASE;
		planned->is_lowered = true;
	}
	planned->value = string->text;
	return OUTCOME_CONDITION;
}

static bool plan_name(const char *what, const char *name, struct planned *planned, struct strbuf *unsupported)
{
	size_t len = strlen(name);

	planned->name = name;
	if (len > UINT8_MAX) {
		reason_add(unsupported, "matching a %s whose name has %zu bytes is not supported (at most %u)", what, len, UINT8_MAX);
		return false;
	}
	planned->condition.name_len = (uint8_t)len;
	planned->condition.name_hash = weft_name_hash((const uint8_t *)name, (uint32_t)len);
	return true;
}

/* No request has a value that long, but an inverted condition would hold. */
static enum outcome judge_length(const struct planned *planned, enum outcome outcome, struct strbuf *unsupported)
{
	if (outcome != OUTCOME_CONDITION || !planned->value || strlen(planned->value) <= WEFT_PROXY_HEAD_MAX)
		return outcome;
	if (!(planned->condition.flags & WEFT_CONDITION_INVERT))
		return OUTCOME_NEVER;
	reason_add(unsupported, "the value for %s has %zu bytes, more than a request's head may (%u)", planned->name, strlen(planned->value), WEFT_PROXY_HEAD_MAX);
	return OUTCOME_UNSUPPORTED;
}

static enum outcome plan_header(const struct mesh_header_matcher *matcher, struct planned *planned, struct strbuf *unsupported)
{
	enum outcome outcome = OUTCOME_CONDITION;

	*planned = (struct planned){ .condition.subject = (uint8_t)subject_of(matcher->name) };
	if (!plan_name("header", matcher->name, planned, unsupported))
		return OUTCOME_UNSUPPORTED;
	if (matcher->kind == MESH_HEADER_PRESENT)
		return plan_present(matcher, planned);
	if (matcher->kind == MESH_HEADER_RANGE) {
		planned->condition.kind = WEFT_CONDITION_RANGE;
		planned->range = (struct weft_range){ .start = matcher->range_start, .end = matcher->range_end };
	} else {
		outcome = plan_text(&matcher->string, planned);
	}
	if (matcher->is_inverted)
		planned->condition.flags |= WEFT_CONDITION_INVERT;
	if (matcher->treats_missing_as_empty)
		planned->condition.flags |= WEFT_CONDITION_MISSING_AS_EMPTY;
	return judge_length(planned, outcome, unsupported);
}

static enum outcome plan_query(const struct mesh_query_matcher *matcher, struct planned *planned, struct strbuf *unsupported)
{
	bool wants_absent = matcher->is_present_only && !matcher->is_present;

	*planned = (struct planned){ .condition.subject = WEFT_SUBJECT_QUERY };
	/* The query is split at & and = before names are looked at. */
	if (matcher->name[strcspn(matcher->name, "&=")])
		return wants_absent ? OUTCOME_ALWAYS : OUTCOME_NEVER;
	if (!plan_name("query parameter", matcher->name, planned, unsupported))
		return OUTCOME_UNSUPPORTED;
	if (!matcher->is_present_only)
		return judge_length(planned, plan_text(&matcher->string, planned), unsupported);
	planned->condition.kind = WEFT_CONDITION_PRESENT;
	if (wants_absent)
		planned->condition.flags |= WEFT_CONDITION_INVERT;
	return OUTCOME_CONDITION;
}

static enum outcome plan_fraction(const struct mesh_route_match *match, struct planned *planned)
{
	*planned = (struct planned){
		.condition = { .kind = WEFT_CONDITION_FRACTION, .subject = WEFT_SUBJECT_CHANCE },
		.name = "",
		.fraction = { .numerator = match->fraction_numerator, .denominator = match->fraction_denominator },
	};
	if (!match->fraction_numerator)
		return OUTCOME_NEVER;
	return match->fraction_numerator < match->fraction_denominator ? OUTCOME_CONDITION : OUTCOME_ALWAYS;
}

/* Envoy: what Grpc::Common::hasGrpcContentType asks for. */
static enum outcome plan_grpc(struct planned *planned)
{
	*planned = (struct planned){ .condition.kind = WEFT_CONDITION_GRPC, .value = GRPC_CONTENT_TYPE };
	plan_name("header", "content-type", planned, NULL);
	return OUTCOME_CONDITION;
}

/* Conditions that are not spoken of by headers, as matchers. */
static const struct mesh_header_matcher connect_only = {
	.name = ":method", .kind = MESH_HEADER_STRING, .string = { .kind = MESH_STRING_EXACT, .text = "CONNECT" }
};

/* A regular expression on the path that no automaton stands for. */
static enum outcome plan_path(const char *pattern, struct planned *planned)
{
	*planned = (struct planned){
		.condition = { .kind = WEFT_CONDITION_REGEX, .subject = WEFT_SUBJECT_ROUTE_PATH },
		.name = "",
		.pattern = pattern,
		.alphabet = REGEX_OVER_PATHS,
	};
	return OUTCOME_CONDITION;
}

/* Condition `index` of a route: those on headers, on the query, then what the match says in other words. */
static enum outcome plan_condition(const struct mesh_route_match *match, size_t index, bool tests_path, struct planned *planned,
				   struct strbuf *unsupported)
{
	if (index < match->header_count)
		return plan_header(&match->headers[index], planned, unsupported);
	index -= match->header_count;
	if (index < match->query_count)
		return plan_query(&match->queries[index], planned, unsupported);
	switch (index - match->query_count) {
	case 0: return match->has_fraction ? plan_fraction(match, planned) : OUTCOME_ALWAYS;
	case 1: return match->is_grpc_only ? plan_grpc(planned) : OUTCOME_ALWAYS;
	case 2: return match->needs_client_certificate ? OUTCOME_NEVER : OUTCOME_ALWAYS; /* connections are in plaintext */
	case 3: return tests_path ? plan_path(match->path, planned) : OUTCOME_ALWAYS;
	default: return match->path_kind == MESH_PATH_CONNECT ? plan_header(&connect_only, planned, unsupported) : OUTCOME_ALWAYS;
	}
}

#define OTHER_CONDITIONS 5

static weft_ref value_text(struct builder *builder, const struct planned *planned)
{
	_cleanup_free_ char *lowered = NULL;
	size_t i, size = strlen(planned->value);

	if (!planned->is_lowered)
		return builder_bytes_text(builder, planned->value, size);
	lowered = malloc(size + 1);
	if (!lowered)
		return 0;
	for (i = 0; i < size; i++)
		lowered[i] = planned->value[i] >= 'A' && planned->value[i] <= 'Z' ? (char)(planned->value[i] | 0x20) : planned->value[i];
	return builder_bytes_text(builder, lowered, size);
}

static weft_ref value_object(struct builder *builder, const struct planned *planned)
{
	switch (planned->condition.kind) {
	case WEFT_CONDITION_PRESENT: return 0;
	case WEFT_CONDITION_RANGE: return builder_share(builder, &planned->range, sizeof(planned->range));
	case WEFT_CONDITION_FRACTION: return builder_share(builder, &planned->fraction, sizeof(planned->fraction));
	default: return value_text(builder, planned);
	}
}

/* A value of 0 afterwards, where there should be one: `unsupported` says why. */
static int write_condition(struct routes_compile *c, const struct planned *planned, struct weft_condition *out, struct strbuf *unsupported,
			   struct strbuf *limits)
{
	struct builder *builder = &c->builder;

	*out = planned->condition;
	out->name = builder_bytes_text(builder, planned->name, strlen(planned->name));
	if (!out->name)
		return builder_status(builder);
	if (planned->pattern)
		return regexes_condition(c, planned->pattern, planned->alphabet, out, unsupported, limits);
	out->value = value_object(builder, planned);
	if (!out->value && out->kind != WEFT_CONDITION_PRESENT)
		return builder_status(builder) ? builder_status(builder) : -ENOMEM;
	return 0;
}

static void remark_limits(const struct planned *planned, struct strbuf *limits)
{
	if (planned->value && strlen(planned->value) > WEFT_CONDITION_VALUE_MAX)
		reason_add(limits, "the value for %s has %zu bytes, more than the kernel compares (%u)", planned->name,
			   strlen(planned->value), WEFT_CONDITION_VALUE_MAX);
}

int conditions_compile(struct routes_compile *c, const struct mesh_route_match *match, bool tests_path, weft_ref *conditions, uint16_t *count,
		       bool *is_complete, bool *can_hold, struct strbuf *unsupported, struct strbuf *limits)
{
	_cleanup_free_ struct weft_condition *written = NULL;
	size_t i, total = match->header_count + match->query_count + OTHER_CONDITIONS, used = 0;
	int r;

	*conditions = 0;
	*count = 0;
	*is_complete = *can_hold = true;
	if (total > BUILDER_OBJECT_MAX / sizeof(*written) || total > UINT16_MAX) {
		*is_complete = false;
		reason_add(unsupported, "%zu header and query matchers on one route are not supported", total - OTHER_CONDITIONS);
		return 0;
	}
	written = calloc(total, sizeof(*written));
	if (!written)
		return -ENOMEM;
	for (i = 0; i < total; i++) {
		struct planned planned;

		switch (plan_condition(match, i, tests_path, &planned, unsupported)) {
		case OUTCOME_ALWAYS: continue;
		case OUTCOME_NEVER: *can_hold = false; continue;
		case OUTCOME_UNSUPPORTED: *is_complete = false; continue;
		case OUTCOME_CONDITION: break;
		}
		remark_limits(&planned, limits);
		r = write_condition(c, &planned, &written[used], unsupported, limits);
		if (r)
			return r;
		if (written[used].value || written[used].kind == WEFT_CONDITION_PRESENT)
			used++;
		else
			*is_complete = false;
	}
	if (used > WEFT_CONDITIONS_MAX)
		reason_add(limits, "%zu conditions are more than the kernel tries (%u)", used, WEFT_CONDITIONS_MAX);
	if (!used)
		return 0;
	*conditions = builder_share(&c->builder, written, used * sizeof(*written));
	*count = (uint16_t)used;
	return *conditions ? 0 : builder_status(&c->builder);
}

int conditions_of_headers(struct routes_compile *c, struct mesh_header_matcher *headers, size_t header_count, weft_ref *conditions, uint16_t *count,
			  bool *can_hold, struct strbuf *unsupported)
{
	const struct mesh_route_match match = { .path_kind = MESH_PATH_PREFIX, .headers = headers, .header_count = header_count };
	struct strbuf limits = STRBUF_INIT; /* of the kernel: not what this is for */
	bool is_complete;
	int r = conditions_compile(c, &match, false, conditions, count, &is_complete, can_hold, unsupported, &limits);

	strbuf_release(&limits);
	return r;
}

int conditions_add_path(struct routes_compile *c, const char *pattern, weft_ref *conditions, uint16_t *count, struct strbuf *unsupported,
			struct strbuf *limits)
{
	_cleanup_free_ struct weft_condition *written = calloc((size_t)*count + 1, sizeof(*written));
	struct planned planned;
	int r;

	if (!written)
		return -ENOMEM;
	if (*count)
		memcpy(written, builder_at(&c->builder, *conditions), *count * sizeof(*written));
	plan_path(pattern, &planned);
	r = write_condition(c, &planned, &written[*count], unsupported, limits);
	if (r || !written[*count].value)
		return r;
	if (*count == WEFT_CONDITIONS_MAX)
		reason_add(limits, "%u conditions are more than the kernel tries (%u)", *count + 1, WEFT_CONDITIONS_MAX);
	*conditions = builder_share(&c->builder, written, (*count + 1) * sizeof(*written));
	*count = (uint16_t)(*count + 1);
	return *conditions ? 0 : builder_status(&c->builder);
}

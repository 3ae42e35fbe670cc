/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions of a route beside its path. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
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
	const char *value;
	bool is_lowered;     /* the value is compared in lower case */
};

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

static enum outcome plan_string(const struct mesh_header_matcher *matcher, struct planned *planned, struct strbuf *unsupported)
{
	const struct mesh_string_matcher *string = &matcher->string;
	struct weft_condition *condition = &planned->condition;

	switch (string->kind) {
	case MESH_STRING_EXACT: condition->kind = WEFT_CONDITION_EXACT; break;
	case MESH_STRING_PREFIX: condition->kind = WEFT_CONDITION_PREFIX; break;
	case MESH_STRING_SUFFIX: condition->kind = WEFT_CONDITION_SUFFIX; break;
	case MESH_STRING_CONTAINS: condition->kind = WEFT_CONDITION_CONTAINS; break;
	case MESH_STRING_REGEX:
		reason_add(unsupported, "matching header %s by a regular expression is not supported yet", matcher->name);
		return OUTCOME_UNSUPPORTED;
	}
	if (matcher->is_inverted)
		condition->flags |= WEFT_CONDITION_INVERT;
	if (matcher->treats_missing_as_empty)
		condition->flags |= WEFT_CONDITION_MISSING_AS_EMPTY;
	if (string->ignore_case) {
		condition->flags |= WEFT_CONDITION_IGNORE_CASE;
		planned->is_lowered = true;
	}
	planned->value = string->text;
	return OUTCOME_CONDITION;
}

static enum outcome plan_condition(const struct mesh_header_matcher *matcher, struct planned *planned, struct strbuf *unsupported)
{
	size_t name_len = strlen(matcher->name);
	enum outcome outcome;

	memset(planned, 0, sizeof(*planned));
	planned->name = matcher->name;
	planned->condition.subject = (uint8_t)subject_of(matcher->name);
	if (name_len > UINT8_MAX) {
		reason_add(unsupported, "matching a header whose name has %zu bytes is not supported", name_len);
		return OUTCOME_UNSUPPORTED;
	}
	planned->condition.name_len = (uint8_t)name_len;
	planned->condition.name_hash = weft_name_hash((const uint8_t *)matcher->name, (uint32_t)name_len);

	switch (matcher->kind) {
	case MESH_HEADER_PRESENT: return plan_present(matcher, planned);
	case MESH_HEADER_STRING: break;
	case MESH_HEADER_RANGE:
		reason_add(unsupported, "matching header %s by a range is not supported yet", matcher->name);
		return OUTCOME_UNSUPPORTED;
	}
	outcome = plan_string(matcher, planned, unsupported);
	/* No request has a value that long, but an inverted condition would hold. */
	if (outcome != OUTCOME_CONDITION || strlen(planned->value) <= WEFT_PROXY_HEAD_MAX)
		return outcome;
	if (!matcher->is_inverted)
		return OUTCOME_NEVER;
	reason_add(unsupported, "the value for header %s is longer than any header", matcher->name);
	return OUTCOME_UNSUPPORTED;
}

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

static int write_condition(struct builder *builder, const struct planned *planned, struct weft_condition *out)
{
	*out = planned->condition;
	out->name = builder_bytes_text(builder, planned->name, strlen(planned->name));
	if (!out->name)
		return builder_status(builder);
	if (!planned->value)
		return 0;
	out->value = value_text(builder, planned);
	if (!out->value)
		return builder_status(builder) ? builder_status(builder) : -ENOMEM;
	return 0;
}

static void remark_limits(const struct planned *planned, struct strbuf *limits)
{
	if (planned->value && strlen(planned->value) > WEFT_CONDITION_VALUE_MAX)
		reason_add(limits, "the value for header %s has %zu bytes, more than the kernel compares (%u)", planned->name,
			   strlen(planned->value), WEFT_CONDITION_VALUE_MAX);
}

/* Conditions that are not spoken of by headers, as matchers. */
static const struct mesh_header_matcher connect_only = {
	.name = ":method", .kind = MESH_HEADER_STRING, .string = { .kind = MESH_STRING_EXACT, .text = "CONNECT" }
};

static void judge_rest(const struct mesh_route_match *match, bool *is_complete, bool *can_hold, struct strbuf *unsupported)
{
	if (match->query_count) {
		*is_complete = false;
		reason_add(unsupported, "matching query parameters is not supported yet");
	}
	if (match->is_grpc_only) {
		*is_complete = false;
		reason_add(unsupported, "matching only gRPC requests is not supported yet");
	}
	if (match->has_fraction && !match->fraction_numerator) {
		*can_hold = false;
	} else if (match->has_fraction && match->fraction_numerator < match->fraction_denominator) {
		*is_complete = false;
		reason_add(unsupported, "matching a fraction of the requests (runtime_fraction) is not supported yet");
	}
}

int conditions_compile(struct routes_compile *c, const struct mesh_route_match *match, weft_ref *conditions, uint16_t *count, bool *is_complete,
		       bool *can_hold, struct strbuf *unsupported, struct strbuf *limits)
{
	_cleanup_free_ struct weft_condition *written = NULL;
	size_t i, total = match->header_count + (match->path_kind == MESH_PATH_CONNECT), used = 0;
	int r;

	*conditions = 0;
	*count = 0;
	*is_complete = *can_hold = true;
	judge_rest(match, is_complete, can_hold, unsupported);
	if (total > BUILDER_OBJECT_MAX / sizeof(*written) || total > UINT16_MAX) {
		*is_complete = false;
		reason_add(unsupported, "%zu header matchers on one route are not supported", total);
		return 0;
	}
	written = calloc(total + 1, sizeof(*written));
	if (!written)
		return -ENOMEM;
	for (i = 0; i < total; i++) {
		const struct mesh_header_matcher *matcher = i < match->header_count ? &match->headers[i] : &connect_only;
		struct planned planned;

		switch (plan_condition(matcher, &planned, unsupported)) {
		case OUTCOME_ALWAYS: continue;
		case OUTCOME_NEVER: *can_hold = false; continue;
		case OUTCOME_UNSUPPORTED: *is_complete = false; continue;
		case OUTCOME_CONDITION: break;
		}
		remark_limits(&planned, limits);
		r = write_condition(&c->builder, &planned, &written[used++]);
		if (r)
			return r;
	}
	if (used > WEFT_CONDITIONS_MAX)
		reason_add(limits, "%zu conditions are more than the kernel tries (%u)", used, WEFT_CONDITIONS_MAX);
	if (!used)
		return 0;
	*conditions = builder_share(&c->builder, written, used * sizeof(*written));
	*count = (uint16_t)used;
	return *conditions ? 0 : builder_status(&c->builder);
}

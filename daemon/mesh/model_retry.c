/* SPDX-License-Identifier: Apache-2.0 */
/* Retry policies and mirrors, which routes and virtual hosts (mirrors: the whole configuration too) may have. */
#include <string.h>

#include "base/cleanup.h"
#include "envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities.pb-c.h"
#include "mesh/model.h"

static const struct {
	const char *name;
	enum mesh_retry_on flag;
} retry_conditions[] = {
	{ "5xx", MESH_RETRY_5XX },
	{ "gateway-error", MESH_RETRY_GATEWAY_ERROR },
	{ "reset", MESH_RETRY_RESET },
	{ "reset-before-request", MESH_RETRY_RESET_BEFORE_REQUEST },
	{ "connect-failure", MESH_RETRY_CONNECT_FAILURE },
	{ "envoy-ratelimited", MESH_RETRY_ENVOY_RATELIMITED },
	{ "retriable-4xx", MESH_RETRY_RETRIABLE_4XX },
	{ "refused-stream", MESH_RETRY_REFUSED_STREAM },
	{ "retriable-status-codes", MESH_RETRY_STATUS_CODES },
	{ "retriable-headers", MESH_RETRY_HEADERS },
	{ "http3-post-connect-failure", MESH_RETRY_HTTP3_POST_CONNECT_FAILURE },
	{ "cancelled", MESH_RETRY_GRPC_CANCELLED },
	{ "deadline-exceeded", MESH_RETRY_GRPC_DEADLINE_EXCEEDED },
	{ "internal", MESH_RETRY_GRPC_INTERNAL },
	{ "resource-exhausted", MESH_RETRY_GRPC_RESOURCE_EXHAUSTED },
	{ "unavailable", MESH_RETRY_GRPC_UNAVAILABLE },
};

static uint32_t retry_on(struct build *b, const char *text)
{
	uint32_t flags = 0;

	while (*text) {
		size_t size = strcspn(text, ",");
		size_t start = strspn(text, " \t");
		size_t length = size > start ? size - start : 0;
		bool is_known = false;

		while (length && strchr(" \t", text[start + length - 1]))
			length--;
		for (size_t i = 0; i < ARRAY_SIZE(retry_conditions); i++) {
			if (strlen(retry_conditions[i].name) == length && memcmp(retry_conditions[i].name, text + start, length) == 0) {
				flags |= retry_conditions[i].flag;
				is_known = true;
			}
		}
		/* Envoy passes over words it doesn't know */
		if (!is_known && length)
			build_warn(b, "retry_on: `%.*s` is no retry condition", (int)(length > 60 ? 60 : length), text + start);
		text += size + (text[size] == ',');
	}
	return flags;
}

static void back_off(struct build *b, const PbRetry *message, struct mesh_retry *retry)
{
	const Envoy__Config__Route__V3__RetryPolicy__RetryBackOff *policy = message->retry_back_off;
	size_t before;

	retry->back_off_base_ms = 25;
	if (policy) {
		before = build_enter(b, "retry_back_off");
		retry->back_off_base_ms = build_duration_ms(b, "base_interval", policy->base_interval, 0);
		if (!policy->base_interval || !(policy->base_interval->seconds || policy->base_interval->nanos))
			build_refuse(b, "base_interval must be more than 0 s");
		else if (retry->back_off_base_ms < 1)
			retry->back_off_base_ms = 1;
		build_check_fields(b, &policy->base, MESH_EFFECT_TRAFFIC, KNOWN("base_interval", "max_interval"));
		build_leave(b, before);
	}
	retry->back_off_max_ms = 10 * retry->back_off_base_ms;
	if (policy && policy->max_interval) {
		before = build_enter(b, "retry_back_off");
		retry->back_off_max_ms = build_duration_ms(b, "max_interval", policy->max_interval, 0);
		if (retry->back_off_max_ms < retry->back_off_base_ms)
			build_refuse(b, "max_interval must not be less than base_interval");
		build_leave(b, before);
	}
}

static void predicates(struct build *b, const PbRetry *message, struct mesh_retry *retry)
{
	for (size_t i = 0; i < message->n_retry_host_predicate; i++) {
		const Envoy__Config__Route__V3__RetryPolicy__RetryHostPredicate *predicate = message->retry_host_predicate[i];
		const char *type = predicate->config_type_case ? model_type_name(b, predicate->typed_config) : "";
		size_t before = build_enter_index(b, "retry_host_predicate", i);

		if (strcmp(type, "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate") == 0 ||
		    (!*type && strcmp(predicate->name, "envoy.retry_host_predicates.previous_hosts") == 0))
			retry->avoids_previous_hosts = true;
		else
			build_reason(b, MESH_EFFECT_TRAFFIC, "%s is not supported", predicate->name);
		build_leave(b, before);
	}
}

static void priority(struct build *b, const PbRetry *message, struct mesh_retry *retry)
{
	const Envoy__Config__Route__V3__RetryPolicy__RetryPriority *source = message->retry_priority;
	const Envoy__Extensions__Retry__Priority__PreviousPriorities__V3__PreviousPrioritiesConfig *config;
	size_t before;

	if (!source)
		return;
	before = build_enter(b, "retry_priority");
	config = (const void *)build_unpack(b, source->config_type_case ? source->typed_config : NULL,
					    &envoy__extensions__retry__priority__previous_priorities__v3__previous_priorities_config__descriptor);
	if (config && config->update_frequency <= 0) {
		build_refuse(b, "update_frequency must be more than 0");
	} else if (config) {
		build_check_fields(b, &config->base, MESH_EFFECT_TRAFFIC, KNOWN("update_frequency"));
		retry->priorities_after = (uint32_t)config->update_frequency;
	} else {
		build_reason(b, MESH_EFFECT_TRAFFIC, "%s is not supported", source->name);
	}
	build_leave(b, before);
}

static struct mesh_header_matcher *matchers(struct build *b, const char *name, PbHeaderMatcher **messages, size_t count, size_t *out)
{
	struct mesh_header_matcher *found = build_array(b, struct mesh_header_matcher, count);
	size_t outer = build_enter(b, name);

	*out = found ? count : 0;
	for (size_t i = 0; i < *out; i++) {
		size_t before = build_enter_index(b, "", i);

		model_header_matcher(b, messages[i], &found[i]);
		build_leave(b, before);
	}
	build_leave(b, outer);
	return found;
}

struct mesh_retry *model_retry(struct build *b, const PbRetry *message)
{
	struct mesh_retry *retry;
	size_t before;

	if (!message)
		return NULL;
	retry = build_new(b, struct mesh_retry);
	if (!retry)
		return NULL;
	before = build_enter(b, "retry_policy");
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("retry_on", "num_retries", "retry_priority", "per_try_timeout", "per_try_idle_timeout", "retriable_status_codes", "retry_back_off",
				 "retry_host_predicate", "host_selection_retry_max_attempts", "retriable_headers", "retriable_request_headers"));
	retry->headers = matchers(b, "retriable_headers", message->retriable_headers, message->n_retriable_headers, &retry->header_count);
	retry->request_headers = matchers(b, "retriable_request_headers", message->retriable_request_headers, message->n_retriable_request_headers,
					  &retry->request_header_count);
	retry->retry_on = retry_on(b, message->retry_on);
	retry->num_retries = uint32_or(message->num_retries, 1);
	retry->per_try_timeout_ms = build_duration_ms(b, "per_try_timeout", message->per_try_timeout, 0);
	retry->per_try_idle_timeout_ms = build_duration_ms(b, "per_try_idle_timeout", message->per_try_idle_timeout, 0);
	retry->host_selection_attempts = message->host_selection_retry_max_attempts > 0 ? message->host_selection_retry_max_attempts : 1;
	retry->status_codes = build_array(b, uint32_t, message->n_retriable_status_codes);
	if (retry->status_codes) {
		retry->status_code_count = message->n_retriable_status_codes;
		memcpy(retry->status_codes, message->retriable_status_codes, retry->status_code_count * sizeof(uint32_t));
	}
	back_off(b, message, retry);
	predicates(b, message, retry);
	priority(b, message, retry);
	build_leave(b, before);
	return retry;
}

struct mesh_mirror *model_mirrors(struct build *b, PbMirror **messages, size_t count)
{
	struct mesh_mirror *mirrors = build_array(b, struct mesh_mirror, count);

	for (size_t i = 0; mirrors && i < count; i++) {
		const PbMirror *message = messages[i];
		struct mesh_mirror *mirror = &mirrors[i];
		size_t before = build_enter_index(b, "request_mirror_policies", i);

		build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
				   KNOWN("cluster", "cluster_header", "runtime_fraction", "trace_sampled", "disable_shadow_host_suffix_append",
				         "host_rewrite_literal"));
		if (!*message->cluster && !*message->cluster_header)
			build_refuse(b, "a cluster is needed");
		mirror->cluster = build_text(b, message->cluster);
		mirror->keeps_host = message->disable_shadow_host_suffix_append;
		model_header_value(b, "cluster_header", message->cluster_header);
		mirror->cluster_header = build_lower(b, message->cluster_header);
		mirror->host_rewrite = model_header_value(b, "host_rewrite_literal", message->host_rewrite_literal);
		if (message->runtime_fraction) {
			mirror->has_fraction = true;
			model_fraction(b, "runtime_fraction", message->runtime_fraction, &mirror->fraction_numerator, &mirror->fraction_denominator);
		}
		build_leave(b, before);
	}
	return mirrors;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The fault filter's configuration. */
#include "envoy/extensions/filters/http/fault/v3/fault.pb-c.h"
#include "mesh/model.h"

typedef Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault PbFault;
typedef Envoy__Extensions__Filters__Http__Fault__V3__FaultAbort PbAbort;
typedef Envoy__Extensions__Filters__Common__Fault__V3__FaultDelay PbDelay;

static void check_status(struct build *b, const PbAbort *abort)
{
	size_t before;

	if (abort->error_type_case != ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_HTTP_STATUS ||
	    (abort->http_status >= 200 && abort->http_status < 600))
		return;
	before = build_enter(b, "abort.http_status");
	build_refuse(b, "a status must be from 200 to 599");
	build_leave(b, before);
}

bool model_fault_has_effect(struct build *b, const Google__Protobuf__Any *config)
{
	const PbFault *fault = (const PbFault *)build_unpack(b, config, &envoy__extensions__filters__http__fault__v3__httpfault__descriptor);

	if (!fault)
		return config && *config->type_url;
	if (fault->abort)
		check_status(b, fault->abort);
	return fault->abort || fault->delay || fault->response_rate_limit || fault->base.n_unknown_fields;
}

static void delay(struct build *b, const PbDelay *message, struct mesh_fault *out)
{
	size_t before = build_enter(b, "delay");

	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC, KNOWN("fixed_delay", "header_delay", "percentage"));
	if (message->fault_delay_secifier_case == ENVOY__EXTENSIONS__FILTERS__COMMON__FAULT__V3__FAULT_DELAY__FAULT_DELAY_SECIFIER_FIXED_DELAY) {
		out->delay_ms = build_duration_ms(b, "fixed_delay", message->fixed_delay, 0);
		if (!message->fixed_delay->seconds && !message->fixed_delay->nanos)
			build_refuse(b, "fixed_delay must be more than 0 s");
	} else if (message->fault_delay_secifier_case == ENVOY__EXTENSIONS__FILTERS__COMMON__FAULT__V3__FAULT_DELAY__FAULT_DELAY_SECIFIER_HEADER_DELAY) {
		out->delays_by_header = true;
	} else if (!message->fault_delay_secifier_case && !message->base.n_unknown_fields) {
		build_refuse(b, "fixed_delay or header_delay is needed");
	}
	model_percent(b, "percentage", message->percentage, &out->delayed);
	build_leave(b, before);
}

static void abort_with(struct build *b, const PbAbort *message, struct mesh_fault *out)
{
	size_t before = build_enter(b, "abort");

	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC, KNOWN("http_status", "grpc_status", "header_abort", "percentage"));
	switch (message->error_type_case) {
	case ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_HTTP_STATUS:
		out->abort_status = message->http_status;
		break;
	case ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_GRPC_STATUS:
		/* Envoy: who does not speak gRPC is answered 200. */
		out->abort_status = 200;
		out->has_grpc_status = true;
		out->grpc_status = message->grpc_status;
		break;
	case ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_HEADER_ABORT:
		out->aborts_by_header = true;
		break;
	default:
		if (!message->base.n_unknown_fields)
			build_refuse(b, "http_status, grpc_status or header_abort is needed");
		break;
	}
	model_percent(b, "percentage", message->percentage, &out->aborted);
	build_leave(b, before);
}

static void matchers(struct build *b, const PbFault *message, struct mesh_fault *out)
{
	out->headers = build_array(b, struct mesh_header_matcher, message->n_headers);
	out->header_count = out->headers ? message->n_headers : 0;
	for (size_t i = 0; i < out->header_count; i++) {
		size_t before = build_enter_index(b, "headers", i);

		model_header_matcher(b, message->headers[i], &out->headers[i]);
		build_leave(b, before);
	}
}

const struct mesh_fault *model_fault(struct build *b, const Google__Protobuf__Any *config)
{
	const PbFault *message = (const PbFault *)build_unpack(b, config, &envoy__extensions__filters__http__fault__v3__httpfault__descriptor);
	struct mesh_fault *fault;

	if (!message) {
		if (config && *config->type_url)
			build_reason(b, MESH_EFFECT_TRAFFIC, "a fault of this type is not supported");
		return NULL;
	}
	fault = build_new(b, struct mesh_fault);
	if (!fault)
		return NULL;
	/* The names of runtime keys have no effect: nothing sets them, and they say nothing for a route. */
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("delay", "abort", "upstream_cluster", "headers", "delay_percent_runtime", "abort_percent_runtime",
				 "delay_duration_runtime", "abort_http_status_runtime", "max_active_faults_runtime",
				 "response_rate_limit_percent_runtime", "abort_grpc_status_runtime", "disable_downstream_cluster_stats",
				 "filter_metadata"));
	fault->upstream_cluster = build_text(b, message->upstream_cluster);
	if (message->abort) {
		check_status(b, message->abort);
		abort_with(b, message->abort, fault);
	}
	if (message->delay)
		delay(b, message->delay, fault);
	matchers(b, message, fault);
	return fault;
}

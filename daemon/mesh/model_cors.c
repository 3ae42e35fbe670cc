/* SPDX-License-Identifier: Apache-2.0 */
/* The CORS filter's policies. */
#include "envoy/extensions/filters/http/cors/v3/cors.pb-c.h"
#include "mesh/model.h"

typedef Envoy__Extensions__Filters__Http__Cors__V3__CorsPolicy PbCors;

static enum mesh_option option(const Google__Protobuf__BoolValue *value)
{
	if (!value)
		return MESH_UNSET;
	return value->value ? MESH_YES : MESH_NO;
}

const struct mesh_cors *model_cors(struct build *b, const Google__Protobuf__Any *config)
{
	const PbCors *message = (const PbCors *)build_unpack(b, config, &envoy__extensions__filters__http__cors__v3__cors_policy__descriptor);
	struct mesh_cors *cors;

	if (!message) {
		if (config && *config->type_url)
			build_reason(b, MESH_EFFECT_TRAFFIC, "CORS of this type is not supported");
		return NULL;
	}
	cors = build_new(b, struct mesh_cors);
	if (!cors)
		return NULL;
	/* Shadowed policies are only counted. */
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("allow_origin_string_match", "allow_methods", "allow_headers", "expose_headers", "max_age", "allow_credentials",
				 "filter_enabled", "shadow_enabled", "allow_private_network_access", "forward_not_matching_preflights"));
	cors->origins = build_array(b, struct mesh_string_matcher, message->n_allow_origin_string_match);
	cors->origin_count = cors->origins ? message->n_allow_origin_string_match : 0;
	for (size_t i = 0; i < cors->origin_count; i++) {
		size_t before = build_enter_index(b, "allow_origin_string_match", i);

		model_string(b, message->allow_origin_string_match[i], &cors->origins[i]);
		build_leave(b, before);
	}
	cors->allow_methods = model_header_value(b, "allow_methods", message->allow_methods);
	cors->allow_headers = model_header_value(b, "allow_headers", message->allow_headers);
	cors->expose_headers = model_header_value(b, "expose_headers", message->expose_headers);
	cors->max_age = model_header_value(b, "max_age", message->max_age);
	cors->allows_credentials = option(message->allow_credentials);
	cors->allows_private_network = option(message->allow_private_network_access);
	cors->forwards_preflights = option(message->forward_not_matching_preflights);
	cors->enabled = (struct mesh_fraction){ 100, 100 };
	if (message->filter_enabled)
		model_fraction(b, "filter_enabled", message->filter_enabled, &cors->enabled.numerator, &cors->enabled.denominator);
	return cors;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* HttpConnectionManager. */
#include <string.h>
#include <strings.h>

#include "mesh/model.h"

#define HEADERS_KB     60
#define HEADERS_COUNT  100
#define STREAM_IDLE_MS 300000
#define IDLE_MS        3600000

typedef Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpFilter PbHttpFilter;

static void http_filters(struct build *b, const PbHttpManager *message, struct mesh_http *http)
{
	if (!message->n_http_filters)
		build_warn(b, "no http_filters: the router alone is assumed");
	http->filters.items = build_array(b, struct mesh_filter, message->n_http_filters);
	http->filters.count = http->filters.items ? message->n_http_filters : 0;
	for (size_t i = 0; i < http->filters.count; i++) {
		const PbHttpFilter *filter = message->http_filters[i];
		struct mesh_filter *out = &http->filters.items[i];
		size_t before = build_enter_index(b, "http_filters", i);
		bool is_last = i + 1 == http->filters.count;

		build_check_fields(b, &filter->base, MESH_EFFECT_POLICY, KNOWN("name", "typed_config", "is_optional", "disabled"));
		if (!*filter->name)
			build_refuse(b, "a name is needed");
		if (filter->disabled) {
			/* it does nothing unless a route turns it on, and what a route has for it is looked at there */
			out->name = build_text(b, filter->name);
			out->type_url = build_text(b, filter->config_type_case ? model_type_name(b, filter->typed_config) : "");
			out->kind = MESH_FILTER_IGNORED;
		} else {
			model_filter(b, filter->name, filter->config_type_case ? filter->typed_config : NULL, out);
		}
		if (is_last && (out->kind == MESH_FILTER_IGNORED || out->kind == MESH_FILTER_FAULT || out->kind == MESH_FILTER_CORS))
			build_refuse(b, "the last filter must be the router");
		else if (!is_last && out->kind == MESH_FILTER_ROUTER)
			build_refuse(b, "the router must be the last filter");
		build_leave(b, before);
	}
}

static void upgrades(struct build *b, const PbHttpManager *message, struct mesh_upgrades *out)
{
	out->items = build_array(b, struct mesh_upgrade, message->n_upgrade_configs);
	out->count = out->items ? message->n_upgrade_configs : 0;
	for (size_t i = 0; i < out->count; i++) {
		const char *type = message->upgrade_configs[i]->upgrade_type;
		size_t before = build_enter_index(b, "upgrade_configs", i);

		build_check_fields(b, &message->upgrade_configs[i]->base, MESH_EFFECT_TRAFFIC, KNOWN("upgrade_type", "enabled"));
		for (size_t j = 0; j < i; j++)
			if (strcasecmp(message->upgrade_configs[j]->upgrade_type, type) == 0)
				build_refuse(b, "the upgrade %s is given twice", type);
		out->items[i].type = strcasecmp(type, "connect") == 0 ? "CONNECT" : build_lower(b, type);
		out->items[i].is_enabled = bool_or(message->upgrade_configs[i]->enabled, true);
		build_leave(b, before);
	}
}

static void common_options(struct build *b, const PbHttpManager *message, struct mesh_http *http)
{
	const Envoy__Config__Core__V3__HttpProtocolOptions *options = message->common_http_protocol_options;
	size_t before;

	http->idle_timeout_ms = IDLE_MS;
	http->max_headers_count = HEADERS_COUNT;
	if (!options)
		return;
	before = build_enter(b, "common_http_protocol_options");
	http->idle_timeout_ms = build_duration_ms(b, "idle_timeout", options->idle_timeout, IDLE_MS);
	http->max_headers_count = uint32_or(options->max_headers_count, HEADERS_COUNT);
	build_check_fields(b, &options->base, MESH_EFFECT_TRAFFIC, KNOWN("idle_timeout", "max_headers_count", "max_response_headers_kb"));
	build_leave(b, before);
}

static void http1_options(struct build *b, const PbHttpManager *message, struct mesh_http *http)
{
	const Envoy__Config__Core__V3__Http1ProtocolOptions *options = message->http_protocol_options;
	size_t before;

	http->default_host_for_http_10 = "";
	if (!options)
		return;
	before = build_enter(b, "http_protocol_options");
	http->accept_http_10 = options->accept_http_10;
	http->default_host_for_http_10 = model_header_value(b, "default_host_for_http_10", options->default_host_for_http_10);
	/* which parser Envoy uses is Envoy's own affair */
	build_check_fields(b, &options->base, MESH_EFFECT_TRAFFIC, KNOWN("accept_http_10", "default_host_for_http_10", "use_balsa_parser"));
	if (options->allow_absolute_url && !options->allow_absolute_url->value)
		build_warn(b, "allow_absolute_url: false is not supported; absolute targets are taken");
	build_leave(b, before);
}

static enum mesh_escaped_slashes escaped_slashes(struct build *b, const PbHttpManager *message)
{
	switch (message->path_with_escaped_slashes_action) {
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__IMPLEMENTATION_SPECIFIC_DEFAULT:
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__KEEP_UNCHANGED:
		return MESH_SLASHES_KEEP;
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__REJECT_REQUEST:
		return MESH_SLASHES_REJECT;
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__UNESCAPE_AND_REDIRECT:
		return MESH_SLASHES_UNESCAPE_AND_REDIRECT;
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__UNESCAPE_AND_FORWARD:
		return MESH_SLASHES_UNESCAPE_AND_FORWARD;
	default:
		build_refuse(b, "an unknown path_with_escaped_slashes_action: %d", (int)message->path_with_escaped_slashes_action);
		return MESH_SLASHES_REJECT;
	}
}

static void server_header(struct build *b, const PbHttpManager *message, struct mesh_http *http)
{
	const char *name = model_header_value(b, "server_name", message->server_name);

	http->server_name = *name ? name : "envoy";
	switch (message->server_header_transformation) {
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__SERVER_HEADER_TRANSFORMATION__OVERWRITE:
		http->server_header = MESH_SERVER_OVERWRITE;
		break;
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__SERVER_HEADER_TRANSFORMATION__APPEND_IF_ABSENT:
		http->server_header = MESH_SERVER_APPEND_IF_ABSENT;
		break;
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__SERVER_HEADER_TRANSFORMATION__PASS_THROUGH:
		http->server_header = MESH_SERVER_PASS_THROUGH;
		break;
	default:
		build_refuse(b, "an unknown server_header_transformation: %d", (int)message->server_header_transformation);
		break;
	}
}

static void codec(struct build *b, const PbHttpManager *message, struct mesh_http *http)
{
	switch (message->codec_type) {
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__CODEC_TYPE__AUTO:
		http->codec = MESH_CODEC_AUTO;
		break;
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__CODEC_TYPE__HTTP1:
		http->codec = MESH_CODEC_HTTP1;
		break;
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__CODEC_TYPE__HTTP2:
		http->codec = MESH_CODEC_HTTP2;
		break;
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__CODEC_TYPE__HTTP3:
		http->codec = MESH_CODEC_HTTP3;
		break;
	default:
		build_refuse(b, "an unknown codec_type: %d", (int)message->codec_type);
		break;
	}
}

static void routes(struct build *b, const PbHttpManager *message, struct mesh_http *http)
{
	size_t before;

	http->route_config_name = "";
	switch (message->route_specifier_case) {
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS:
		http->route_config_name = build_text(b, message->rds->route_config_name);
		if (!*http->route_config_name)
			build_refuse(b, "rds needs a route_config_name");
		break;
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_ROUTE_CONFIG:
		before = build_enter(b, "route_config");
		http->route_config = model_route_config(b, message->route_config);
		build_leave(b, before);
		break;
	case ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_SCOPED_ROUTES:
		build_refuse(b, "scoped_routes is not supported: weft needs rds or route_config");
		break;
	default:
		build_refuse(b, "routes are needed: rds or route_config");
		break;
	}
}

struct mesh_http *model_http(struct build *b, const PbHttpManager *message)
{
	struct mesh_http *http = build_new(b, struct mesh_http);

	if (!http)
		return NULL;
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC,
			   KNOWN("codec_type", "stat_prefix", "rds", "route_config", "scoped_routes", "http_filters", "upgrade_configs",
				 "common_http_protocol_options", "http_protocol_options", "server_name", "server_header_transformation",
				 "use_remote_address", "proxy_100_continue", "normalize_path", "merge_slashes", "path_with_escaped_slashes_action",
				 "stream_idle_timeout", "request_timeout", "max_request_headers_kb",
				 /* logs, traces, request ids and client certificates; HTTP/2 has its own verdict; how a connection ends */
				 "access_log", "access_log_flush_interval", "flush_access_log_on_new_request", "access_log_options", "tracing",
				 "generate_request_id", "preserve_external_request_id", "request_id_extension", "forward_client_cert_details",
				 "set_current_client_cert_details", "http2_protocol_options", "drain_timeout", "delayed_close_timeout",
				 "internal_address_config", "skip_xff_append", "stream_flush_timeout", "http1_safe_max_connection_duration",
				 "add_proxy_protocol_connection_state"));
	codec(b, message, http);
	http->stat_prefix = build_text(b, message->stat_prefix);
	routes(b, message, http);
	http->normalize_path = bool_or(message->normalize_path, false);
	http->merge_slashes = message->merge_slashes;
	http->escaped_slashes = escaped_slashes(b, message);
	http->use_remote_address = bool_or(message->use_remote_address, false);
	http->proxies_100_continue = message->proxy_100_continue;
	server_header(b, message, http);
	http->stream_idle_timeout_ms = build_duration_ms(b, "stream_idle_timeout", message->stream_idle_timeout, STREAM_IDLE_MS);
	http->request_timeout_ms = build_duration_ms(b, "request_timeout", message->request_timeout, 0);
	http->max_request_headers_kb = uint32_or(message->max_request_headers_kb, HEADERS_KB);
	if (!http->max_request_headers_kb || http->max_request_headers_kb > 8192)
		build_refuse(b, "max_request_headers_kb must be from 1 to 8192");
	common_options(b, message, http);
	http1_options(b, message, http);
	upgrades(b, message, &http->upgrades);
	http_filters(b, message, http);
	return http;
}

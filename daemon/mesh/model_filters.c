/* SPDX-License-Identifier: Apache-2.0 */
/* Named extensions: what each filter is to weft, decided by the type of its configuration. */
#include <string.h>

#include "base/cleanup.h"
#include "mesh/model.h"
#include "mesh/registry.h"
#include "udpa/type/v1/type.pb-c.h"
#include "xds/type/v3/type.pb-c.h"

struct known_filter {
	const char *name; /* a full type name, or the usual name of the filter */
	enum mesh_filter_kind kind;
};

static const struct known_filter by_type[] = {
	{ "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", MESH_FILTER_HTTP_MANAGER },
	{ "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", MESH_FILTER_TCP_PROXY },
	{ "envoy.extensions.filters.http.router.v3.Router", MESH_FILTER_ROUTER },
	{ "envoy.extensions.filters.http.fault.v3.HTTPFault", MESH_FILTER_FAULT },
	{ "envoy.extensions.filters.http.cors.v3.Cors", MESH_FILTER_CORS },
	{ "envoy.extensions.filters.http.cors.v3.CorsPolicy", MESH_FILTER_CORS },
	/* the allow-list */
	{ "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", MESH_FILTER_IGNORED },
	{ "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", MESH_FILTER_IGNORED },
	{ "stats.PluginConfig", MESH_FILTER_IGNORED },
	{ "io.istio.http.peer_metadata.Config", MESH_FILTER_IGNORED },
	{ "envoy.tcp.metadataexchange.config.MetadataExchange", MESH_FILTER_IGNORED },
	{ "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector", MESH_FILTER_IGNORED },
	{ "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", MESH_FILTER_IGNORED },
	{ "envoy.extensions.filters.listener.original_dst.v3.OriginalDst", MESH_FILTER_IGNORED },
	/* who may pass */
	{ "envoy.extensions.filters.http.rbac.v3.RBAC", MESH_FILTER_POLICY },
	{ "envoy.extensions.filters.http.rbac.v3.RBACPerRoute", MESH_FILTER_POLICY },
	{ "envoy.extensions.filters.network.rbac.v3.RBAC", MESH_FILTER_POLICY },
	{ "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", MESH_FILTER_POLICY },
	{ "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig", MESH_FILTER_POLICY },
	{ "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", MESH_FILTER_POLICY },
	{ "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", MESH_FILTER_POLICY },
	{ "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz", MESH_FILTER_POLICY },
	{ "envoy.extensions.filters.http.ratelimit.v3.RateLimit", MESH_FILTER_POLICY },
	{ "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", MESH_FILTER_POLICY },
	{ "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit", MESH_FILTER_POLICY },
};

/* Envoy lets some filters go without a configuration; then the name says which it is. */
static const struct known_filter by_name[] = {
	{ "envoy.filters.http.router", MESH_FILTER_ROUTER },
	{ "envoy.filters.http.cors", MESH_FILTER_CORS },
	{ "envoy.filters.http.fault", MESH_FILTER_FAULT },
	{ "envoy.filters.http.grpc_stats", MESH_FILTER_IGNORED },
	{ "istio.metadata_exchange", MESH_FILTER_IGNORED },
	{ "istio.alpn", MESH_FILTER_IGNORED },
	{ "istio.stats", MESH_FILTER_IGNORED },
	{ "envoy.filters.listener.http_inspector", MESH_FILTER_IGNORED },
	{ "envoy.filters.listener.tls_inspector", MESH_FILTER_IGNORED },
	{ "envoy.filters.listener.original_dst", MESH_FILTER_IGNORED },
};

static enum mesh_filter_kind find(const struct known_filter *known, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(known[i].name, name) == 0)
			return known[i].kind;
	return MESH_FILTER_UNKNOWN;
}

enum mesh_filter_kind filter_kind(const char *type_name, const char *filter_name)
{
	if (*type_name)
		return find(by_type, ARRAY_SIZE(by_type), type_name);
	return find(by_name, ARRAY_SIZE(by_name), filter_name);
}

const char *model_type_name(struct build *b, const Google__Protobuf__Any *any)
{
	const ProtobufCMessage *inner;

	if (!any)
		return "";
	inner = build_unpack(b, any, &udpa__type__v1__typed_struct__descriptor);
	if (inner)
		return type_url_name(((const Udpa__Type__V1__TypedStruct *)inner)->type_url);
	inner = build_unpack(b, any, &xds__type__v3__typed_struct__descriptor);
	if (inner)
		return type_url_name(((const Xds__Type__V3__TypedStruct *)inner)->type_url);
	return type_url_name(any->type_url);
}

/* Says why an unhandled filter matters. */
static void filter_reason(struct build *b, enum mesh_filter_kind kind, const char *name, const char *type)
{
	if (kind == MESH_FILTER_POLICY)
		build_reason(b, MESH_EFFECT_POLICY, "the policy of filter %s (%s) is not enforced", name, *type ? type : "no type");
	else if (kind == MESH_FILTER_UNKNOWN)
		build_reason(b, MESH_EFFECT_POLICY, "filter %s (%s) is not supported", name, *type ? type : "no type");
}

void model_filter(struct build *b, const char *name, const Google__Protobuf__Any *config, struct mesh_filter *out)
{
	size_t before = build_enter(b, "typed_config");
	const char *type = model_type_name(b, config);

	out->name = build_text(b, name);
	out->type_url = build_text(b, type);
	out->kind = filter_kind(type, name);
	if (out->kind == MESH_FILTER_FAULT && config && model_fault_has_effect(b, config)) {
		out->has_effect = true;
		build_reason(b, MESH_EFFECT_TRAFFIC, "fault injection for all routes of a listener is not supported");
	}
	filter_reason(b, out->kind, out->name, out->type_url);
	build_leave(b, before);
}

static void filter_config(struct build *b, const struct filter_entry *entry, struct mesh_filter_config *out)
{
	typedef Envoy__Config__Route__V3__FilterConfig PbFilterConfig;
	const Google__Protobuf__Any *config = entry->config;
	const PbFilterConfig *wrapper;

	wrapper = (const PbFilterConfig *)build_unpack(b, config, &envoy__config__route__v3__filter_config__descriptor);
	if (wrapper) {
		out->is_disabled = wrapper->disabled;
		config = wrapper->config;
		build_check_fields(b, &wrapper->base, MESH_EFFECT_POLICY, KNOWN("config", "is_optional", "disabled"));
	}
	out->name = build_text(b, entry->name);
	out->type_url = build_text(b, model_type_name(b, config));
	out->kind = filter_kind(out->type_url, entry->name);
	if (out->is_disabled)
		return;
	if (out->kind == MESH_FILTER_FAULT)
		out->fault = model_fault(b, config);
	else if (out->kind == MESH_FILTER_CORS)
		out->cors = model_cors(b, config);
	/* A filter finds its configuration by its own name. */
	if ((out->kind == MESH_FILTER_FAULT && strcmp(entry->name, "envoy.filters.http.fault") != 0) ||
	    (out->kind == MESH_FILTER_CORS && strcmp(entry->name, "envoy.filters.http.cors") != 0))
		build_reason(b, MESH_EFFECT_TRAFFIC, "a filter of the name %s is not supported", entry->name);
	filter_reason(b, out->kind, out->name, out->type_url);
}

static int by_filter_name(const void *a, const void *b)
{
	return strcmp(((const struct filter_entry *)a)->name, ((const struct filter_entry *)b)->name);
}

struct mesh_filter_configs model_filter_configs(struct build *b, const struct filter_entry *entries, size_t count)
{
	struct mesh_filter_configs configs = { NULL, 0 };
	struct filter_entry *sorted = build_array(b, struct filter_entry, count);

	configs.items = build_array(b, struct mesh_filter_config, count);
	if (!configs.items || !sorted)
		return (struct mesh_filter_configs){ NULL, 0 };
	/* the wire has maps in any order, the model in one */
	memcpy(sorted, entries, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), by_filter_name);
	configs.count = count;
	for (size_t i = 0; i < count; i++) {
		size_t before = build_enter_key(b, "typed_per_filter_config", sorted[i].name);

		filter_config(b, &sorted[i], &configs.items[i]);
		build_leave(b, before);
	}
	return configs;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The resources in what Envoy's /config_dump prints, or `istioctl proxy-config all -o json`. What is inline in another resource stands there twice and is left
 * out: static endpoint and route configurations. */
#include "mesh/load.h"

#include <stdio.h>

#include "envoy/admin/v3/config_dump.pb-c.h"
#include "mesh/registry.h"
#include "mesh/wire.h"

typedef Envoy__Admin__V3__ClustersConfigDump Clusters;
typedef Envoy__Admin__V3__ListenersConfigDump Listeners;
typedef Envoy__Admin__V3__RoutesConfigDump Routes;
typedef Envoy__Admin__V3__EndpointsConfigDump Endpoints;

static int add(struct loader *l, const Google__Protobuf__Any *any, size_t config, const char *list, size_t index, const char *key)
{
	char path[128];

	if (!any)
		return 0;
	snprintf(path, sizeof(path), "configs[%zu].%s[%zu].%s", config, list, index, key);
	return load_add(l, path, any->type_url, any->value.data, any->value.len);
}

static int add_clusters(struct loader *l, size_t config, const Clusters *dump)
{
	int r = 0;

	for (size_t i = 0; !r && i < dump->n_static_clusters; i++)
		r = add(l, dump->static_clusters[i]->cluster, config, "static_clusters", i, "cluster");
	for (size_t i = 0; !r && i < dump->n_dynamic_active_clusters; i++)
		r = add(l, dump->dynamic_active_clusters[i]->cluster, config, "dynamic_active_clusters", i, "cluster");
	return r;
}

static int add_listeners(struct loader *l, size_t config, const Listeners *dump)
{
	int r = 0;

	for (size_t i = 0; !r && i < dump->n_static_listeners; i++)
		r = add(l, dump->static_listeners[i]->listener, config, "static_listeners", i, "listener");
	for (size_t i = 0; !r && i < dump->n_dynamic_listeners; i++)
		if (dump->dynamic_listeners[i]->active_state)
			r = add(l, dump->dynamic_listeners[i]->active_state->listener, config, "dynamic_listeners", i, "active_state.listener");
	return r;
}

static int add_routes(struct loader *l, size_t config, const Routes *dump)
{
	int r = 0;

	for (size_t i = 0; !r && i < dump->n_dynamic_route_configs; i++)
		r = add(l, dump->dynamic_route_configs[i]->route_config, config, "dynamic_route_configs", i, "route_config");
	return r;
}

static int add_endpoints(struct loader *l, size_t config, const Endpoints *dump)
{
	int r = 0;

	for (size_t i = 0; !r && i < dump->n_dynamic_endpoint_configs; i++)
		r = add(l, dump->dynamic_endpoint_configs[i]->endpoint_config, config, "dynamic_endpoint_configs", i, "endpoint_config");
	return r;
}

int load_dump(struct loader *l, const ProtobufCMessage *message)
{
	const Envoy__Admin__V3__ConfigDump *dump = (const void *)message;
	int r = 0;

	for (size_t i = 0; !r && i < dump->n_configs; i++) {
		const Google__Protobuf__Any *any = dump->configs[i];
		const ProtobufCMessageDescriptor *descriptor = registry_find_url(any->type_url);
		ProtobufCMessage *part;
		const char *problem;

		/* Bootstrap, secrets and the like: not about resources. The reader has told of them. */
		if (!descriptor)
			continue;
		r = wire_unpack(descriptor, any->value.data, any->value.len, &l->arena, &part, &problem);
		if (!r && descriptor == &envoy__admin__v3__clusters_config_dump__descriptor)
			r = add_clusters(l, i, (const Clusters *)part);
		else if (!r && descriptor == &envoy__admin__v3__listeners_config_dump__descriptor)
			r = add_listeners(l, i, (const Listeners *)part);
		else if (!r && descriptor == &envoy__admin__v3__routes_config_dump__descriptor)
			r = add_routes(l, i, (const Routes *)part);
		else if (!r && descriptor == &envoy__admin__v3__endpoints_config_dump__descriptor)
			r = add_endpoints(l, i, (const Endpoints *)part);
	}
	return r;
}

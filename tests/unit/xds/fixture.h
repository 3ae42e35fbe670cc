/* SPDX-License-Identifier: Apache-2.0 */
/* A scope whose other end is the test: resources and responses made by hand, requests and publications as they came. */
#ifndef WEFT_TESTS_XDS_FIXTURE_H
#define WEFT_TESTS_XDS_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/endpoint/v3/endpoint.pb-c.h"
#include "envoy/config/listener/v3/listener.pb-c.h"
#include "envoy/config/route/v3/route.pb-c.h"
#include "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.pb-c.h"
#include "envoy/service/discovery/v3/discovery.pb-c.h"
#include "xds/scope.h"

#define SENT_MAX 64
#define NODE "\x0a\x04node" /* a Node whose id is "node" */

struct fixture {
	struct xds_store *store;
	struct xds_scope *scope;
	Envoy__Service__Discovery__V3__DiscoveryRequest *sent[SENT_MAX];
	size_t sent_count;
	size_t published;
	struct strbuf serving;  /* each publication: its clusters, and where its routes go */
	int publish_error;
	uint64_t now_ms;
	unsigned nonce;
};

static inline void fixture_on_send(void *arg, const void *bytes, size_t size)
{
	struct fixture *fx = arg;

	assert_true(fx->sent_count < SENT_MAX);
	fx->sent[fx->sent_count] = envoy__service__discovery__v3__discovery_request__unpack(NULL, size, bytes);
	assert_non_null(fx->sent[fx->sent_count]);
	fx->sent_count++;
}

static inline int fixture_on_publish(void *arg, const struct mesh *mesh, struct strbuf *why)
{
	struct fixture *fx = arg;

	if (fx->publish_error) {
		strbuf_append_text(why, "no room");
		return fx->publish_error;
	}
	strbuf_printf(&fx->serving, "%s", fx->serving.size ? "; " : "");
	for (size_t i = 0; i < mesh->cluster_count; i++)
		strbuf_printf(&fx->serving, "%s ", mesh->clusters[i]->resource.name);
	for (size_t i = 0; i < mesh->route_config_count; i++)
		strbuf_printf(&fx->serving, "-> %s", mesh->route_configs[i]->virtual_hosts[0].routes[0].forward.cluster);
	fx->published++;
	return 0;
}

static inline void forget_sent(struct fixture *fx)
{
	for (size_t i = 0; i < fx->sent_count; i++)
		envoy__service__discovery__v3__discovery_request__free_unpacked(fx->sent[i], NULL);
	fx->sent_count = 0;
}

static inline void fixture_init(struct fixture *fx, struct xds_store *store, const char *name)
{
	static const struct xds_scope_callbacks callbacks = { fixture_on_send, fixture_on_publish };

	*fx = (struct fixture){ .store = store, .now_ms = 1000 };
	assert_int_equal(xds_scope_new(store, name, NODE, sizeof(NODE) - 1, &callbacks, fx, &fx->scope), 0);
}

static inline int fixture_setup(void **state)
{
	struct fixture *fx = malloc(sizeof(*fx));
	struct xds_store *store;

	assert_non_null(fx);
	assert_int_equal(xds_store_new(&store), 0);
	fixture_init(fx, store, "default");
	*state = fx;
	return 0;
}

/* All but its store. */
static inline void fixture_release(struct fixture *fx)
{
	forget_sent(fx);
	strbuf_release(&fx->serving);
	xds_scope_free(&fx->scope);
}

static inline int fixture_teardown(void **state)
{
	struct fixture *fx = *state;

	fixture_release(fx);
	xds_store_free(&fx->store);
	free(fx);
	return 0;
}

/* ---- responses --------------------------------------------------------------------------------------------------------------------- */

struct push {
	Envoy__Service__Discovery__V3__DiscoveryResponse response;
	Google__Protobuf__Any any[16];
	Google__Protobuf__Any *items[16];
	enum mesh_kind kind;
	char nonce[32];
};

static inline void push_begin(struct push *push, enum mesh_kind kind)
{
	*push = (struct push){ .response = ENVOY__SERVICE__DISCOVERY__V3__DISCOVERY_RESPONSE__INIT, .kind = kind };
	push->response.type_url = (char *)mesh_kind_type_url(kind);
}

static inline void push_bytes(struct push *push, const void *bytes, size_t size)
{
	size_t i = push->response.n_resources++;

	push->any[i] = (Google__Protobuf__Any)GOOGLE__PROTOBUF__ANY__INIT;
	push->any[i].type_url = push->response.type_url;
	push->any[i].value.data = malloc(size + 1);
	assert_non_null(push->any[i].value.data);
	memcpy(push->any[i].value.data, bytes, size);
	push->any[i].value.len = size;
	push->items[i] = &push->any[i];
}

static inline void push_message(struct push *push, const ProtobufCMessage *message)
{
	uint8_t bytes[4096];
	size_t size = protobuf_c_message_get_packed_size(message);

	assert_true(size <= sizeof(bytes));
	protobuf_c_message_pack(message, bytes);
	push_bytes(push, bytes, size);
}

/* With a nonce of its own ("n1", "n2" ...), unless the push has one. */
static inline int push_end(struct fixture *fx, struct push *push, const char *version)
{
	uint8_t bytes[32768];
	size_t size;
	int r;

	if (!push->nonce[0])
		snprintf(push->nonce, sizeof(push->nonce), "n%u", ++fx->nonce);
	push->response.version_info = (char *)version;
	push->response.nonce = push->nonce;
	push->response.resources = push->items;
	size = protobuf_c_message_get_packed_size(&push->response.base);
	assert_true(size <= sizeof(bytes));
	protobuf_c_message_pack(&push->response.base, bytes);
	r = xds_scope_response(fx->scope, bytes, size, fx->now_ms);
	for (size_t i = 0; i < push->response.n_resources; i++)
		free(push->any[i].value.data);
	return r;
}

/* ---- resources --------------------------------------------------------------------------------------------------------------------- */

/* `connect_ms` is there to make another content. */
static inline void push_cluster(struct push *push, const char *name, unsigned connect_ms)
{
	Envoy__Config__Cluster__V3__Cluster cluster = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__INIT;
	Envoy__Config__Cluster__V3__Cluster__EdsClusterConfig eds = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__EDS_CLUSTER_CONFIG__INIT;
	Envoy__Config__Core__V3__ConfigSource source = ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__INIT;
	Envoy__Config__Core__V3__AggregatedConfigSource ads = ENVOY__CONFIG__CORE__V3__AGGREGATED_CONFIG_SOURCE__INIT;
	Google__Protobuf__Duration timeout = GOOGLE__PROTOBUF__DURATION__INIT;

	timeout.seconds = connect_ms / 1000;
	timeout.nanos = (int32_t)(connect_ms % 1000) * 1000000;
	source.config_source_specifier_case = ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS;
	source.ads = &ads;
	eds.eds_config = &source;
	cluster.name = (char *)name;
	cluster.connect_timeout = &timeout;
	cluster.cluster_discovery_type_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_TYPE;
	cluster.type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__EDS;
	cluster.eds_cluster_config = &eds;
	push_message(push, &cluster.base);
}

/* A connect timeout that Envoy refuses. */
static inline void push_bad_cluster(struct push *push, const char *name)
{
	Envoy__Config__Cluster__V3__Cluster cluster = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__INIT;
	Google__Protobuf__Duration timeout = GOOGLE__PROTOBUF__DURATION__INIT;

	timeout.seconds = -1;
	cluster.name = (char *)name;
	cluster.connect_timeout = &timeout;
	push_message(push, &cluster.base);
}

static inline void push_assignment(struct push *push, const char *name, const char *ip)
{
	Envoy__Config__Endpoint__V3__ClusterLoadAssignment assignment = ENVOY__CONFIG__ENDPOINT__V3__CLUSTER_LOAD_ASSIGNMENT__INIT;
	Envoy__Config__Endpoint__V3__LocalityLbEndpoints locality = ENVOY__CONFIG__ENDPOINT__V3__LOCALITY_LB_ENDPOINTS__INIT, *localities[] = { &locality };
	Envoy__Config__Endpoint__V3__LbEndpoint member = ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__INIT, *members[] = { &member };
	Envoy__Config__Endpoint__V3__Endpoint endpoint = ENVOY__CONFIG__ENDPOINT__V3__ENDPOINT__INIT;
	Envoy__Config__Core__V3__Address address = ENVOY__CONFIG__CORE__V3__ADDRESS__INIT;
	Envoy__Config__Core__V3__SocketAddress socket_address = ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__INIT;

	socket_address.address = (char *)ip;
	socket_address.port_specifier_case = ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE;
	socket_address.port_value = 80;
	address.address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS;
	address.socket_address = &socket_address;
	endpoint.address = &address;
	member.host_identifier_case = ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT;
	member.endpoint = &endpoint;
	locality.n_lb_endpoints = 1;
	locality.lb_endpoints = members;
	assignment.cluster_name = (char *)name;
	assignment.n_endpoints = 1;
	assignment.endpoints = localities;
	push_message(push, &assignment.base);
}

/* 10.0.0.1:80 -> HTTP with the route configuration `routes`. */
static inline void push_listener(struct push *push, const char *name, const char *routes)
{
	Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager http =
		ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__INIT;
	Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__Rds rds = ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__RDS__INIT;
	Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpFilter router =
		ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__INIT, *routers[] = { &router };
	Google__Protobuf__Any router_config = GOOGLE__PROTOBUF__ANY__INIT, http_config = GOOGLE__PROTOBUF__ANY__INIT;
	Envoy__Config__Listener__V3__Listener listener = ENVOY__CONFIG__LISTENER__V3__LISTENER__INIT;
	Envoy__Config__Listener__V3__FilterChain chain = ENVOY__CONFIG__LISTENER__V3__FILTER_CHAIN__INIT, *chains[] = { &chain };
	Envoy__Config__Listener__V3__Filter filter = ENVOY__CONFIG__LISTENER__V3__FILTER__INIT, *filters[] = { &filter };
	Envoy__Config__Core__V3__ConfigSource source = ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__INIT;
	Envoy__Config__Core__V3__AggregatedConfigSource ads = ENVOY__CONFIG__CORE__V3__AGGREGATED_CONFIG_SOURCE__INIT;
	Envoy__Config__Core__V3__Address address = ENVOY__CONFIG__CORE__V3__ADDRESS__INIT;
	Envoy__Config__Core__V3__SocketAddress socket_address = ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__INIT;
	uint8_t bytes[2048];

	source.config_source_specifier_case = ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS;
	source.ads = &ads;
	rds.config_source = &source;
	rds.route_config_name = (char *)routes;
	router_config.type_url = (char *)"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
	router.name = (char *)"envoy.filters.http.router";
	router.config_type_case = ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG;
	router.typed_config = &router_config;
	http.stat_prefix = (char *)"http";
	http.route_specifier_case = ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS;
	http.rds = &rds;
	http.n_http_filters = 1;
	http.http_filters = routers;
	http_config.type_url = (char *)"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
	http_config.value.len = protobuf_c_message_pack(&http.base, bytes);
	http_config.value.data = bytes;
	filter.name = (char *)"http";
	filter.config_type_case = ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG;
	filter.typed_config = &http_config;
	chain.n_filters = 1;
	chain.filters = filters;
	socket_address.address = (char *)"10.0.0.1";
	socket_address.port_specifier_case = ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE;
	socket_address.port_value = 80;
	address.address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS;
	address.socket_address = &socket_address;
	listener.name = (char *)name;
	listener.address = &address;
	listener.n_filter_chains = 1;
	listener.filter_chains = chains;
	push_message(push, &listener.base);
}

static inline void push_routes(struct push *push, const char *name, const char *cluster)
{
	Envoy__Config__Route__V3__RouteConfiguration config = ENVOY__CONFIG__ROUTE__V3__ROUTE_CONFIGURATION__INIT;
	Envoy__Config__Route__V3__VirtualHost host = ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__INIT, *hosts[] = { &host };
	Envoy__Config__Route__V3__Route route = ENVOY__CONFIG__ROUTE__V3__ROUTE__INIT, *routes[] = { &route };
	Envoy__Config__Route__V3__RouteMatch match = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__INIT;
	Envoy__Config__Route__V3__RouteAction action = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__INIT;
	char *domains[] = { (char *)"*" };

	match.path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
	match.prefix = (char *)"/";
	action.cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
	action.cluster = (char *)cluster;
	route.match = &match;
	route.action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
	route.route = &action;
	host.name = (char *)"all";
	host.n_domains = 1;
	host.domains = domains;
	host.n_routes = 1;
	host.routes = routes;
	config.name = (char *)name;
	config.n_virtual_hosts = 1;
	config.virtual_hosts = hosts;
	push_message(push, &config.base);
}

/* ---- whole pushes ------------------------------------------------------------------------------------------------------------------- */

/* Names up to a NULL. */
static inline void push_clusters(struct fixture *fx, const char *version, const char *const *names)
{
	struct push push;

	push_begin(&push, MESH_CLUSTER);
	for (; *names; names++)
		push_cluster(&push, *names, 1000);
	assert_int_equal(push_end(fx, &push, version), 0);
}

static inline void push_assignments(struct fixture *fx, const char *version, const char *const *names)
{
	struct push push;

	push_begin(&push, MESH_LOAD_ASSIGNMENT);
	for (; *names; names++)
		push_assignment(&push, *names, "10.1.0.1");
	assert_int_equal(push_end(fx, &push, version), 0);
}

static inline void push_addresses(struct fixture *fx, const char *version, const char *name, const char *ip)
{
	struct push push;

	push_begin(&push, MESH_LOAD_ASSIGNMENT);
	push_assignment(&push, name, ip);
	assert_int_equal(push_end(fx, &push, version), 0);
}

static inline void push_one_listener(struct fixture *fx, const char *version, const char *routes)
{
	struct push push;

	push_begin(&push, MESH_LISTENER);
	push_listener(&push, "l", routes);
	assert_int_equal(push_end(fx, &push, version), 0);
}

static inline void push_one_routes(struct fixture *fx, const char *version, const char *name, const char *cluster)
{
	struct push push;

	push_begin(&push, MESH_ROUTE_CONFIG);
	push_routes(&push, name, cluster);
	assert_int_equal(push_end(fx, &push, version), 0);
}

#define NAMES(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Cluster a, its endpoint, listener l, routes r to a: all of it serves. */
static inline void begin_serving(struct fixture *fx)
{
	assert_int_equal(xds_scope_opened(fx->scope, fx->now_ms), 0);
	push_clusters(fx, "1", NAMES("a"));
	push_assignments(fx, "1", NAMES("a"));
	push_one_listener(fx, "1", "r");
	push_one_routes(fx, "1", "r", "a");
	assert_true(xds_scope_is_ready(fx->scope));
	forget_sent(fx);
}

static inline void fixture_restore_one(void *arg, const struct xds_resource *resource)
{
	assert_int_equal(xds_scope_restore(((struct fixture *)arg)->scope, resource->kind, resource->bytes.at, resource->bytes.size), 0);
}

/* Another scope, with what serves in the first, as after a restart. */
static inline void begin_with_what_was_kept(const struct fixture *fx, struct fixture *other)
{
	fixture_init(other, fx->store, "other");
	xds_scope_each_live(fx->scope, fixture_restore_one, other);
	assert_int_equal(xds_scope_restored(other->scope, other->now_ms), 0);
}

/* ---- requests ---------------------------------------------------------------------------------------------------------------------- */

/* The request that was sent as number `index` since they were forgotten: names are space separated. */
static inline void assert_sent(const struct fixture *fx, size_t index, enum mesh_kind kind, const char *version, const char *nonce, const char *names)
{
	const Envoy__Service__Discovery__V3__DiscoveryRequest *request;
	struct strbuf found = STRBUF_INIT;

	assert_true(index < fx->sent_count);
	request = fx->sent[index];
	assert_string_equal(request->type_url, mesh_kind_type_url(kind));
	assert_string_equal(request->version_info, version);
	assert_string_equal(request->response_nonce, nonce);
	for (size_t i = 0; i < request->n_resource_names; i++)
		strbuf_printf(&found, "%s%s", i ? " " : "", request->resource_names[i]);
	assert_string_equal(strbuf_text(&found), names);
	strbuf_release(&found);
}

static inline void assert_accepted(const struct fixture *fx, size_t index)
{
	assert_true(index < fx->sent_count);
	assert_null(fx->sent[index]->error_detail);
}

static inline void assert_refused(const struct fixture *fx, size_t index, const char *part)
{
	assert_true(index < fx->sent_count);
	assert_non_null(fx->sent[index]->error_detail);
	if (!strstr(fx->sent[index]->error_detail->message, part))
		fail_msg("\"%s\" does not say \"%s\"", fx->sent[index]->error_detail->message, part);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include <arpa/inet.h>

#define LISTENER "resources:\n- '@type': type.googleapis.com/envoy.config.listener.v3.Listener\n  name: l\n"
#define ADDRESS  "  address: {socket_address: {address: 10.0.0.1, port_value: 80}}\n"
#define TCP(cluster) "{name: tcp, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, " cluster "}}"
#define HCM(more) \
	"{name: hcm, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, " \
	"stat_prefix: x, " more "}}"
#define ROUTER "{name: router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}"
#define CHAINS(filters) "  filter_chains:\n  - filters: [" filters "]\n"

static const struct mesh_listener *first(const struct loaded *l)
{
	assert_no_errors(l);
	assert_int_equal(l->mesh->listener_count, 1);
	return l->mesh->listeners[0];
}

static void test_addresses_are_kept_as_text_and_bytes(void **state)
{
	LOADED(l, LISTENER "  address: {socket_address: {address: '::1', port_value: 65535}}\n"
			   "  additional_addresses: [{address: {socket_address: {address: 10.1.2.3, port_value: 1}}}]\n" CHAINS(TCP("cluster: c")));
	const struct mesh_listener *listener = first(&l);
	static const uint8_t loopback[16] = { [15] = 1 };

	assert_int_equal(listener->address.family, AF_INET6);
	assert_memory_equal(listener->address.ip, loopback, 16);
	assert_int_equal(listener->address.port, 65535);
	assert_string_equal(listener->address.text, "::1");
	assert_int_equal(listener->additional_addresses[0].family, AF_INET);
	assert_memory_equal(listener->additional_addresses[0].ip, "\x0a\x01\x02\x03\0\0\0\0", 8);
	assert_true(listener->binds_to_port);
	assert_int_equal(listener->listener_filters_timeout_ms, 15000);
	assert_null(listener->default_filter_chain);
}

static void test_bad_addresses_are_refused(void **state)
{
	static const struct {
		const char *address, *part;
	} cases[] = {
		{ "{socket_address: {address: a.test, port_value: 80}}", "is no IP address" },
		{ "{socket_address: {address: 10.0.0.1, port_value: 65536}}", "past 65535" },
		{ "{socket_address: {address: 10.0.0.1, named_port: http}}", "port_value" },
		{ "{socket_address: {address: 10.0.0.1}}", "port_value" },
		{ "{socket_address: {address: '', port_value: 1}}", "empty" },
		{ "{}", "an address is needed" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

		strbuf_printf(&text, LISTENER "  address: %s\n" CHAINS(TCP("cluster: c")), cases[i].address);
		{
			LOADED(l, text.data);

			assert_int_equal(l.r, 0);
			assert_int_equal(l.mesh->listener_count, 0);
			assert_int_equal(l.mesh->refused_count, 1);
			find_message(&l, MESH_ERROR, cases[i].part);
		}
	}
}

static void test_a_chain_match_keeps_its_conditions(void **state)
{
	LOADED(l, LISTENER ADDRESS "  filter_chains:\n"
				   "  - filter_chain_match: {destination_port: 80, prefix_ranges: [{address_prefix: 10.11.12.13, prefix_len: 12},"
				   "{address_prefix: 'fd00::1', prefix_len: 64}], server_names: [A.Test, '*.b'], transport_protocol: raw_buffer,"
				   "application_protocols: [http/1.1]}\n    filters: [" TCP("cluster: c") "]\n"
				   "  - filter_chain_match: {source_prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}], source_type: EXTERNAL}\n"
				   "    filters: [" TCP("cluster: c") "]\n");
	const struct mesh_filter_chain *chains = first(&l)->filter_chains;
	const struct mesh_chain_match *match = &chains[0].match;

	assert_int_equal(match->destination_port, 80);
	assert_int_equal(match->prefix_ranges[0].bits, 12);
	assert_memory_equal(match->prefix_ranges[0].ip, "\x0a\x00\x00\x00", 4);
	assert_memory_equal(match->prefix_ranges[1].ip, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_string_equal(match->server_names.items[0], "a.test");
	assert_int_equal(chains[0].reasons.count, 0);
	assert_true(has_reason(&chains[1].reasons, MESH_EFFECT_MATCH, "filter_chains[1].filter_chain_match.source_prefix_ranges"));
	assert_true(has_reason(&chains[1].reasons, MESH_EFFECT_MATCH, "filter_chains[1].filter_chain_match.source_type"));
}

static void test_two_chains_of_one_match_are_refused(void **state)
{
	LOADED(l, LISTENER ADDRESS "  filter_chains:\n  - filters: [" TCP("cluster: c") "]\n  - filters: [" TCP("cluster: d") "]\n");

	find_message(&l, MESH_ERROR, "has the same match as filter_chains[0]");
	assert_int_equal(l.mesh->listener_count, 0);
}

static void test_an_http_chain_has_envoys_defaults(void **state)
{
	LOADED(l, LISTENER ADDRESS CHAINS(HCM("rds: {route_config_name: r}, http_filters: [" ROUTER "]")));
	const struct mesh_http *http = first(&l)->filter_chains[0].http;

	assert_string_equal(http->route_config_name, "r");
	assert_null(http->route_config);
	assert_false(http->normalize_path);
	assert_false(http->accept_http_10);
	assert_int_equal(http->stream_idle_timeout_ms, 300000);
	assert_int_equal(http->idle_timeout_ms, 3600000);
	assert_int_equal(http->request_timeout_ms, 0);
	assert_int_equal(http->max_request_headers_kb, 60);
	assert_int_equal(http->max_headers_count, 100);
	assert_string_equal(http->server_name, "envoy");
	assert_int_equal(http->escaped_slashes, MESH_SLASHES_KEEP);
	find_message(&l, MESH_WARNING, "there is no route configuration r");
}

static void test_an_http_chain_keeps_its_options(void **state)
{
	LOADED(l, LISTENER ADDRESS CHAINS(HCM(
			   "codec_type: HTTP1, route_config: {name: in, virtual_hosts: [{name: v, domains: ['*']}]}, http_filters: [" ROUTER "],"
			   "http_protocol_options: {accept_http_10: true, default_host_for_http_10: d}, normalize_path: true, merge_slashes: true,"
			   "path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD, use_remote_address: true, proxy_100_continue: true, server_name: s,"
			   "server_header_transformation: PASS_THROUGH, stream_idle_timeout: 0s, common_http_protocol_options: {idle_timeout: 1s},"
			   "upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT, enabled: false}]")));
	const struct mesh_http *http = first(&l)->filter_chains[0].http;

	assert_int_equal(http->codec, MESH_CODEC_HTTP1);
	assert_string_equal(http->route_config->resource.name, "in");
	assert_int_equal(http->route_config->resource.place.line, 6);
	assert_ptr_equal(mesh_http_routes(l.mesh, http), http->route_config);
	assert_int_equal(l.mesh->route_config_count, 0);
	assert_true(http->accept_http_10);
	assert_string_equal(http->default_host_for_http_10, "d");
	assert_true(http->normalize_path && http->merge_slashes && http->use_remote_address && http->proxies_100_continue);
	assert_int_equal(http->escaped_slashes, MESH_SLASHES_UNESCAPE_AND_FORWARD);
	assert_int_equal(http->server_header, MESH_SERVER_PASS_THROUGH);
	assert_int_equal(http->idle_timeout_ms, 1000);
	assert_int_equal(http->stream_idle_timeout_ms, 0);
	assert_string_equal(http->upgrades.items[1].type, "CONNECT");
	assert_false(http->upgrades.items[1].is_enabled);
	assert_int_equal(first(&l)->filter_chains[0].reasons.count, 0);
}

static void test_filters_are_known_by_their_type(void **state)
{
	LOADED(l, LISTENER ADDRESS CHAINS(
			   "{name: istio.stats, typed_config: {'@type': type.googleapis.com/stats.PluginConfig}},"
			   HCM("rds: {route_config_name: r}, http_filters: ["
			       "{name: mx, typed_config: {'@type': type.googleapis.com/udpa.type.v1.TypedStruct, type_url: "
			       "type.googleapis.com/io.istio.http.peer_metadata.Config, value: {a: 1}}},"
			       "{name: f, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}},"
			       "{name: envoy.filters.http.cors},"
			       "{name: lua, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}},"
			       "{name: off, disabled: true, typed_config: {'@type': type.googleapis.com/some.Filter}},"
			       "{name: rbac, typed_config: {'@type': type.googleapis.com/udpa.type.v1.TypedStruct, type_url: "
			       "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC}}," ROUTER "]")));
	const struct mesh_filter_chain *chain = &first(&l)->filter_chains[0];
	const struct mesh_filter *filters = chain->http->filters.items;

	assert_int_equal(chain->filters.items[0].kind, MESH_FILTER_IGNORED);
	assert_int_equal(chain->filters.items[1].kind, MESH_FILTER_HTTP_MANAGER);
	assert_int_equal(filters[0].kind, MESH_FILTER_IGNORED);
	assert_string_equal(filters[0].type_url, "io.istio.http.peer_metadata.Config");
	assert_int_equal(filters[1].kind, MESH_FILTER_FAULT);
	assert_false(filters[1].has_effect);
	assert_int_equal(filters[2].kind, MESH_FILTER_CORS);
	assert_int_equal(filters[3].kind, MESH_FILTER_UNKNOWN);
	assert_int_equal(filters[4].kind, MESH_FILTER_IGNORED);
	assert_int_equal(filters[5].kind, MESH_FILTER_POLICY);
	assert_int_equal(filters[6].kind, MESH_FILTER_ROUTER);
	assert_int_equal(chain->reasons.count, 2);
	assert_true(has_reason(&chain->reasons, MESH_EFFECT_POLICY, "filter_chains[0].filters[1].typed_config.http_filters[3].typed_config"));
	assert_true(has_reason(&chain->reasons, MESH_EFFECT_POLICY, "filter_chains[0].filters[1].typed_config.http_filters[5].typed_config"));
}

static void test_the_router_is_last_and_terminal_filters_too(void **state)
{
	LOADED(middle, LISTENER ADDRESS CHAINS(HCM("rds: {route_config_name: r}, http_filters: [" ROUTER ", {name: istio.alpn}]")));
	LOADED(after, LISTENER ADDRESS CHAINS(TCP("cluster: c") ", {name: istio.stats}"));
	LOADED(none, LISTENER ADDRESS CHAINS("{name: istio.stats}"));

	find_message(&middle, MESH_ERROR, "the router must be the last filter");
	find_message(&middle, MESH_ERROR, "the last filter must be the router");
	find_message(&after, MESH_ERROR, "tcp must be the last filter");
	assert_int_equal(first(&none)->filter_chains[0].kind, MESH_CHAIN_NONE);
	find_message(&none, MESH_WARNING, "connections end here");
}

static void test_a_tcp_chain_keeps_its_clusters(void **state)
{
	LOADED(l, LISTENER ADDRESS CHAINS(TCP("idle_timeout: 0s, hash_policy: [{source_ip: {}}], "
					      "weighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 3}]}")));
	LOADED(none, LISTENER ADDRESS CHAINS(TCP("idle_timeout: 1s")));
	LOADED(tunnel, LISTENER ADDRESS CHAINS(TCP("cluster: c, tunneling_config: {hostname: h}")));
	const struct mesh_tcp *tcp = first(&l)->filter_chains[0].tcp;

	assert_int_equal(tcp->cluster_count, 2);
	assert_int_equal(tcp->total_weight, 4);
	assert_string_equal(tcp->clusters[1].name, "b");
	assert_int_equal(tcp->idle_timeout_ms, 0);
	assert_true(tcp->hashes_source_ip);
	find_message(&none, MESH_ERROR, "a cluster is needed");
	assert_true(has_reason(&first(&tunnel)->filter_chains[0].reasons, MESH_EFFECT_TRAFFIC,
			       "filter_chains[0].filters[0].typed_config.tunneling_config"));
	find_message(&l, MESH_WARNING, "there is no cluster a");
}

static void test_tls_and_unknown_fields_are_reasons_of_policy(void **state)
{
	LOADED(l, LISTENER ADDRESS "  somethingNew: 1\n  filter_chains:\n  - filters: [" TCP("cluster: c") "]\n"
				   "    transport_socket: {name: envoy.transport_sockets.tls, typed_config: {'@type': "
				   "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}}\n");
	const struct mesh_listener *listener = first(&l);

	assert_true(has_reason(&listener->resource.reasons, MESH_EFFECT_POLICY, ""));
	assert_int_equal(listener->filter_chains[0].transport, MESH_TRANSPORT_TLS);
	assert_true(has_reason(&listener->filter_chains[0].reasons, MESH_EFFECT_POLICY, "filter_chains[0].transport_socket"));
}

static void test_an_error_in_an_inline_route_configuration_refuses_the_listener(void **state)
{
	LOADED(l, LISTENER ADDRESS CHAINS(HCM("http_filters: [" ROUTER "], route_config: {virtual_hosts: [{name: v, domains: []}]}")));
	const struct mesh_message *message = find_message(&l, MESH_ERROR, "a domain is needed");

	assert_string_equal(message->path, "resources[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0]");
	assert_int_equal(l.mesh->listener_count, 0);
}

static void test_listeners_without_what_they_need_are_refused(void **state)
{
	LOADED(chains, LISTENER ADDRESS);
	LOADED(routes, LISTENER ADDRESS CHAINS(HCM("http_filters: [" ROUTER "]")));
	LOADED(address, LISTENER CHAINS(TCP("cluster: c")));
	LOADED(internal, LISTENER "  internal_listener: {}\n" CHAINS(TCP("cluster: c")));

	find_message(&chains, MESH_ERROR, "a filter chain is needed");
	find_message(&routes, MESH_ERROR, "routes are needed");
	find_message(&address, MESH_ERROR, "an address is needed");
	assert_true(first(&internal)->is_internal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses_are_kept_as_text_and_bytes),
		cmocka_unit_test(test_bad_addresses_are_refused),
		cmocka_unit_test(test_a_chain_match_keeps_its_conditions),
		cmocka_unit_test(test_two_chains_of_one_match_are_refused),
		cmocka_unit_test(test_an_http_chain_has_envoys_defaults),
		cmocka_unit_test(test_an_http_chain_keeps_its_options),
		cmocka_unit_test(test_filters_are_known_by_their_type),
		cmocka_unit_test(test_the_router_is_last_and_terminal_filters_too),
		cmocka_unit_test(test_a_tcp_chain_keeps_its_clusters),
		cmocka_unit_test(test_tls_and_unknown_fields_are_reasons_of_policy),
		cmocka_unit_test(test_an_error_in_an_inline_route_configuration_refuses_the_listener),
		cmocka_unit_test(test_listeners_without_what_they_need_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

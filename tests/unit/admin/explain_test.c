/* SPDX-License-Identifier: Apache-2.0 */
/* explain over images that were compiled from a configuration, as weftd has them. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "admin/explain.h"
#include "admin/explain_head.h"
#include "base/cleanup.h"
#include "compile/compile.h"
#include "mesh/mesh.h"

#define LISTENER(name, address, port, filter) \
	"- {\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener, name: " name ",\n" \
	"   address: {socket_address: {address: " address ", port_value: " port "}},\n" \
	"   filter_chains: [{filters: [" filter "]}]}\n"

#define HTTP(routes) \
	"{name: h, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, " \
	"stat_prefix: x, normalize_path: true, rds: {route_config_name: " routes ", config_source: {ads: {}, resource_api_version: V3}}, " \
	"http_filters: [{name: envoy.filters.http.router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}"

#define TCP(cluster) \
	"{name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: " cluster "}}"

#define CLUSTER(name, endpoints) \
	"- {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: " name ", type: STATIC, load_assignment: {cluster_name: " name \
	", endpoints: [{lb_endpoints: [" endpoints "]}]}}\n"

#define ENDPOINT(address) "{endpoint: {address: {socket_address: {address: " address ", port_value: 8080}}}}"

#define CROWD(number) "    - {name: r" number ", match: {prefix: /, headers: [{name: h" number ", present_match: true}]}, route: {cluster: near}}\n"
#define TEN(tens) \
	CROWD(tens "0") CROWD(tens "1") CROWD(tens "2") CROWD(tens "3") CROWD(tens "4") CROWD(tens "5") CROWD(tens "6") CROWD(tens "7") CROWD(tens "8") CROWD(tens "9")

static const char config[] =
	"resources:\n"
	LISTENER("any", "0.0.0.0", "80", HTTP("\"80\""))
	LISTENER("own", "10.96.0.9", "81", HTTP("\"80\""))
	LISTENER("bytes", "10.96.0.9", "5432", TCP("near"))
	LISTENER("nowhere", "10.96.0.9", "5433", TCP("absent"))
	"- {\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener, name: tls, address: {socket_address: {address: 0.0.0.0, port_value: 443}},\n"
	"   listener_filters: [{name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}],\n"
	"   filter_chains: [{filter_chain_match: {server_names: [shop.test, \"*.shop.test\"]}, filters: [" TCP("near") "]}]}\n"
	"- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n"
	"  name: \"80\"\n"
	"  virtual_hosts:\n"
	"  - name: shop\n"
	"    domains: [shop]\n"
	"    routes:\n"
	"    - {name: canary, match: {prefix: /, headers: [{name: end-user, string_match: {exact: jason}}]}, route: {cluster: far}}\n"
	"    - {name: beta, match: {prefix: /, headers: [{name: x-n, range_match: {start: 1, end: 5}}], query_parameters: [{name: beta, present_match: true}], "
	"runtime_fraction: {default_value: {numerator: 99}}}, route: {cluster: far}}\n"
	"    - {name: near, match: {path_separated_prefix: /near}, route: {cluster: near}}\n"
	"    - {name: far, match: {prefix: /far/}, route: {cluster: far}}\n"
	"    - {name: split, match: {prefix: /split}, route: {weighted_clusters: {clusters: [{name: near, weight: 30}, {name: far, weight: 70}]}}}\n"
	"    - {name: hashed, match: {prefix: /hashed}, route: {cluster: ring, hash_policy: [{header: {header_name: x-user}}]}}\n"
	"    - {name: changed, match: {prefix: /changed}, route: {cluster: ring, prefix_rewrite: /x, hash_policy: [{header: {header_name: ':path'}}]}}\n"
	"    - {name: sticky, match: {prefix: /sticky}, route: {cluster: ring, hash_policy: [{cookie: {name: sid, ttl: 0s}}]}}\n"
	"    - {name: empty, match: {prefix: /empty}, route: {cluster: empty}}\n"
	"    - {name: missing, match: {prefix: /missing}, route: {cluster: nowhere}}\n"
	"    - {name: health, match: {path: /healthz}, direct_response: {status: 418, body: {inline_string: short}}}\n"
	"    - {name: silent, match: {path: /silent}, direct_response: {status: 204}}\n"
	"    - {name: marked, match: {prefix: /marked}, route: {cluster: near}, response_headers_to_remove: [x-secret]}\n"
	"    - {name: grown, match: {prefix: /grown}, route: {cluster: near, prefix_rewrite: /somewhere/else/and/much/longer}}\n"
	"    - {name: moved, match: {prefix: /old}, redirect: {prefix_rewrite: /new, response_code: FOUND}}\n"
	"    - {name: changed, match: {prefix: /api/}, route: {cluster: near, prefix_rewrite: /, host_rewrite_literal: inner}, "
	"request_headers_to_add: [{header: {key: x-from, value: \"%PROTOCOL%\"}}], response_headers_to_remove: [server]}\n"
	"  - name: crowded\n"
	"    domains: [crowded]\n"
	"    routes:\n"
	TEN("0") TEN("1") TEN("2") TEN("3") TEN("4") TEN("5") TEN("6")
	"  - name: wild\n"
	"    domains: ['*.wild', 'exact']\n"
	"    routes:\n"
	"    - {name: traced, match: {prefix: /, headers: [{name: x-trace, string_match: {safe_regex: {regex: '[ab]*a[ab]{24}'}}}]}, route: {cluster: far}}\n"
	"    - {name: any, match: {prefix: /}, route: {cluster: near}}\n"
	"  - name: secure\n"
	"    domains: [secure]\n"
	"    require_tls: ALL\n"
	"    routes:\n"
	"    - {name: any, match: {prefix: /}, route: {cluster: near}}\n"
	CLUSTER("near", ENDPOINT("10.7.0.3") ", " ENDPOINT("10.7.0.4"))
	CLUSTER("far", ENDPOINT("10.8.0.1"))
	"- {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: ring, type: STATIC, lb_policy: RING_HASH, load_assignment: "
	"{cluster_name: ring, endpoints: [{lb_endpoints: [" ENDPOINT("10.7.0.3") ", " ENDPOINT("10.7.0.4") "]}]}}\n"
	CLUSTER("empty", "");

struct scene {
	struct mesh *mesh;
	struct ids *ids;
	struct image *routes, *endpoints;
	struct explain_world world;
};

static bool is_served_pod(const void *arg, const struct weft_address *address)
{
	return weft_address_is_ip4(address) && (ntohl(address->be[3]) & 0xffffff00) == 0x0a070000;
}

static int begin(void **state)
{
	_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
	struct scene *scene = calloc(1, sizeof(*scene));

	if (mesh_load_text("test.yaml", config, sizeof(config) - 1, &scene->mesh, &report) || scene->mesh->refused_count) {
		mesh_report_print(&report, stderr);
		return -1;
	}
	if (ids_new(&scene->ids, NULL) || compile_endpoints(scene->mesh, NULL, scene->ids, &scene->endpoints, NULL) ||
	    compile_routes(scene->mesh, scene->ids, &scene->routes, NULL))
		return -1;
	scene->world = (struct explain_world){
		.routes = { scene->routes->base, scene->routes->size_bytes },
		.endpoints = { scene->endpoints->base, scene->endpoints->size_bytes },
		.fast_path = WEFT_FAST_PATH_ON,
		.redirect_limit_bytes = 1 << 20,
		.has_sockmap = true,
		.has_sk_skb = true,
		.has_push_pop = true,
		.is_served_pod = is_served_pod,
	};
	*state = scene;
	return 0;
}

static int end(void **state)
{
	struct scene *scene = *state;

	image_free(&scene->routes);
	image_free(&scene->endpoints);
	ids_free(&scene->ids);
	mesh_free(&scene->mesh);
	free(scene);
	return 0;
}

static json_t *ask(const struct explain_world *world, const char *method, const char *url, const char *header)
{
	json_t *request = json_pack("{s:s, s:s, s:[]}", "method", method, "url", url, "headers"), *answer;

	if (header)
		json_array_append_new(json_object_get(request, "headers"), json_string(header));
	answer = explain_request(world, request);
	json_decref(request);
	assert_non_null(answer);
	return answer;
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

/* What people want to know, in one line: listener, virtual host, route, status, path, reason. */
static void explains(const struct explain_world *world, const char *method, const char *url, const char *header, const char *expected)
{
	json_t *answer = ask(world, method, url, header);
	char line[512];

	snprintf(line, sizeof(line), "%s|%s|%s|%lld|%s|%s", text(json_object_get(answer, "listener"), "name"), text(answer, "virtual_host"),
		 text(json_object_get(answer, "route"), "name"), (long long)json_integer_value(json_object_get(answer, "status")),
		 text(answer, "path"), text(answer, "reason"));
	assert_string_equal(line, expected);
	json_decref(answer);
}

static void complains(const struct explain_world *world, const char *method, const char *url, const char *header, const char *expected)
{
	json_t *answer = ask(world, method, url, header);

	if (!strstr(text(answer, "error"), expected))
		fail_msg("%s %s: \"%s\" instead of \"...%s...\"", method, url, text(answer, "error"), expected);
	json_decref(answer);
}

static void test_the_path_follows_from_where_endpoints_are(void **state)
{
	const struct scene *scene = *state;

	explains(&scene->world, "GET", "http://shop/near/1", NULL, "any|shop|near|0|bypass|");
	explains(&scene->world, "GET", "http://shop/far/1", NULL, "any|shop|far|0|remote|");
	explains(&scene->world, "GET", "http://shop/split", NULL, "any|shop|split|0|bypass or remote|");
	explains(&scene->world, "GET", "http://shop/near?q=1", NULL, "any|shop|near|0|bypass|");
}

/* `count` times the byte between the two texts. */
static const char *padded(char room[1024], const char *before, char byte, size_t count, const char *after)
{
	char bytes[512];

	memset(bytes, byte, count);
	snprintf(room, 1024, "%s%.*s%s", before, (int)count, bytes, after);
	return room;
}

static void test_what_is_longer_than_the_kernel_follows_is_the_proxys(void **state)
{
	const struct scene *scene = *state;
	const struct explain_world *world = &scene->world;
	json_t *request, *answer;
	char room[1024];

	/* 250 and 5 bytes, then one more */
	explains(world, "GET", "http://shop/", padded(room, "host: ", 'a', 250, ".wild"), "any|wild|any|0|bypass|");
	explains(world, "GET", "http://shop/", padded(room, "host: ", 'a', 251, ".wild"), "any|wild|any|0|slow|limit_exceeded");
	explains(world, "GET", "http://shop/", padded(room, "host: ", 'a', 300, ""), "any|||404|slow|limit_exceeded");
	explains(world, "GET", "http://shop/near?beta", padded(room, "x-n: ", '0', 63, "2"), "any|shop|beta|0|remote|");
	explains(world, "GET", "http://shop/near?beta", padded(room, "x-n: ", '0', 64, "2"), "any|shop|beta|0|slow|limit_exceeded");
	explains(world, "GET", "http://exact/", "x-trace: ab", "any|wild|any|0|slow|regex_too_complex");
	explains(world, "GET", "http://shop/hashed", padded(room, "x-user: ", 'u', 256, ""), "any|shop|hashed|0|bypass|");
	explains(world, "GET", "http://shop/hashed", padded(room, "x-user: ", 'u', 257, ""), "any|shop|hashed|0|slow|balance_proxy");
	request = json_pack("{s:s, s:s, s:[s,s]}", "method", "GET", "url", "http://shop/hashed", "headers", "x-user: a", "x-user: b");
	answer = explain_request(world, request);
	assert_string_equal(text(answer, "reason"), "balance_proxy");
	json_decref(answer);
	json_decref(request);
}

static void test_headers_decide(void **state)
{
	const struct scene *scene = *state;

	explains(&scene->world, "GET", "http://shop/near/1", "end-user: jason", "any|shop|canary|0|remote|");
	explains(&scene->world, "GET", "http://shop/near/1", "end-user: sara", "any|shop|near|0|bypass|");
	explains(&scene->world, "GET", "http://10.1.2.3/near/1", "Host: shop", "any|shop|near|0|bypass|");
}

static void test_what_weft_answers_itself_has_a_status(void **state)
{
	const struct scene *scene = *state;

	explains(&scene->world, "GET", "http://shop/nothing", NULL, "any|shop||404|local_reply|");
	explains(&scene->world, "GET", "http://other/near", NULL, "any|||404|local_reply|");
	explains(&scene->world, "GET", "http://shop/healthz", NULL, "any|shop|health|418|local_reply|");
	explains(&scene->world, "POST", "http://shop/healthz", "content-length: 3", "any|shop|health|418|slow|direct_with_body");
	explains(&scene->world, "GET", "http://shop/healthz", "content-type: text/plain", "any|shop|health|418|slow|direct_content_type");
	explains(&scene->world, "GET", "http://shop/healthz", "content-type: application/grpc", "any|shop|health|418|slow|grpc");
	explains(&scene->world, "GET", "http://shop/empty", NULL, "any|shop|empty|503|local_reply|no_endpoint");
	explains(&scene->world, "GET", "http://shop/missing", NULL, "any|shop|missing|503|slow|no_cluster");
}

/* As the program does. */
static void test_answers_that_the_kernel_does_not_write_are_the_proxys(void **state)
{
	const struct scene *scene = *state;
	char url[1024], long_name[600];

	explains(&scene->world, "HEAD", "http://shop/nothing", NULL, "any|shop||404|slow|direct_too_large");
	explains(&scene->world, "HEAD", "http://shop/healthz", NULL, "any|shop|health|418|local_reply|");
	explains(&scene->world, "GET", "http://shop/silent", NULL, "any|shop|silent|204|local_reply|");
	explains(&scene->world, "HEAD", "http://shop/silent", NULL, "any|shop|silent|204|slow|direct_too_large");
	explains(&scene->world, "HEAD", "http://shop/old/x", NULL, "any|shop|moved|302|slow|direct_too_large");
	explains(&scene->world, "HEAD", "http://shop/empty", NULL, "any|shop|empty|503|local_reply|no_endpoint");
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = 0;
	snprintf(url, sizeof(url), "http://shop/old/%s", long_name);
	explains(&scene->world, "GET", url, NULL, "any|shop|moved|302|slow|direct_too_large");
	explains(&scene->world, "GET", "http://shop/old/x", NULL, "any|shop|moved|302|local_reply|");
}

static void test_routes_that_the_kernel_does_not_come_to_are_the_proxys(void **state)
{
	const struct scene *scene = *state;

	explains(&scene->world, "GET", "http://crowded/", "h00: x", "any|crowded|r00|0|bypass|");
	explains(&scene->world, "GET", "http://crowded/", "h63: x", "any|crowded|r63|0|bypass|");
	explains(&scene->world, "GET", "http://crowded/", "h64: x", "any|crowded|r64|0|slow|limit_exceeded");
	explains(&scene->world, "GET", "http://crowded/", NULL, "any|crowded||404|slow|limit_exceeded");
}

static void test_heads_that_the_kernel_does_not_read_or_write_are_the_proxys(void **state)
{
	struct explain_world world = ((const struct scene *)*state)->world;
	char header[4096];
	json_t *request, *answer;

	memcpy(header, "x-long: ", 9);
	memset(header + 8, 'a', sizeof(header) - 9);
	header[sizeof(header) - 1] = 0;
	explains(&world, "GET", "http://shop/near/1", header, "any|shop|near|0|slow|head_too_large");
	header[4050] = 0;
	explains(&world, "GET", "http://shop/near/1", header, "any|shop|near|0|bypass|");
	explains(&world, "GET", "http://shop/grown/1", header, "any|shop|grown|0|slow|edited_too_large");
	explains(&world, "GET", "http://shop/grown/1", NULL, "any|shop|grown|0|bypass|");

	request = json_pack("{s:s, s:s, s:[]}", "method", "GET", "url", "http://shop/near/1", "headers");
	for (int i = 0; i < 48; i++)
		json_array_append_new(json_object_get(request, "headers"), json_string("x-many: 1"));
	answer = explain_request(&world, request);
	assert_string_equal(text(answer, "reason"), "head_too_large");
	json_decref(answer);
	json_array_remove(json_object_get(request, "headers"), 0);
	answer = explain_request(&world, request);
	assert_string_equal(text(answer, "path"), "bypass");
	json_decref(answer);
	json_decref(request);

	world.has_push_pop = false;
	explains(&world, "GET", "http://shop/marked/1", NULL, "any|shop|marked|0|slow|edits_off");
	explains(&world, "GET", "http://shop/grown/1", NULL, "any|shop|grown|0|slow|edits_off");
}

static void test_what_only_the_proxy_carries_has_its_reason(void **state)
{
	const struct scene *scene = *state;

	explains(&scene->world, "POST", "http://shop/near", "transfer-encoding: chunked", "any|shop|near|0|slow|chunked_request");
	explains(&scene->world, "GET", "http://shop/near", "connection: close", "any|shop|near|0|slow|connection_close");
	explains(&scene->world, "PUT", "http://shop/near", "content-length: 2000000", "any|shop|near|0|slow|body_too_large");
	explains(&scene->world, "PUT", "http://shop/near", "content-length: 20000", "any|shop|near|0|bypass|");
	explains(&scene->world, "GET", "http://shop/far/../near/x", NULL, "any|shop|near|0|slow|normalizes");
	explains(&scene->world, "GET", "http://shop/near", "bad header: x", "any|||400|slow|bad_head");
	explains(&scene->world, "G(T", "http://shop/near", NULL, "any|||400|slow|not_http");
}

static void test_options_and_kernels_limit_the_path(void **state)
{
	struct explain_world world = ((const struct scene *)*state)->world;

	world.fast_path = WEFT_FAST_PATH_REMOTE;
	explains(&world, "GET", "http://shop/near", NULL, "any|shop|near|0|remote|");
	world.fast_path = WEFT_FAST_PATH_OFF;
	explains(&world, "GET", "http://shop/near", NULL, "any|shop|near|0|slow|fast_path_off");
	explains(&world, "GET", "http://shop/nothing", NULL, "any|shop||404|slow|fast_path_off");
	world.fast_path = WEFT_FAST_PATH_ON;
	world.has_push_pop = false;
	explains(&world, "GET", "http://shop/nothing", NULL, "any|shop||404|slow|direct_too_large");
	world.has_sk_skb = false;
	explains(&world, "GET", "http://shop/far/1", NULL, "any|shop|far|0|slow|");
	world.has_sockmap = false;
	explains(&world, "GET", "http://shop/near", NULL, "any|shop|near|0|slow|fast_path_off");
}

static void test_listeners_are_found_by_address_or_by_host(void **state)
{
	struct explain_world world = ((const struct scene *)*state)->world;

	explains(&world, "GET", "http://10.96.0.9:81/near", "Host: shop", "own|shop|near|0|bypass|");
	explains(&world, "GET", "http://shop:81/near", "Host: shop", "own|shop|near|0|bypass|");
	explains(&world, "GET", "http://10.96.0.10:81/near", "Host: shop", "|||0|untouched|");
	explains(&world, "GET", "http://shop:82/near", NULL, "|||0|untouched|");
	explains(&world, "GET", "http://10.96.0.9:5432/", NULL, "bytes|||0|direct|");
	explains(&world, "GET", "https://10.96.0.9:5432/", NULL, "bytes|||0|direct|");
	explains(&world, "GET", "http://10.96.0.9:5433/", NULL, "nowhere|||0|closed|");
	world.fast_path = WEFT_FAST_PATH_OFF;
	explains(&world, "GET", "http://10.96.0.9:5432/", NULL, "bytes|||0|tunnel|");
	world.fast_path = WEFT_FAST_PATH_ON;
	world.pod_addresses[WEFT_FAMILY_4] = WEFT_IP4(inet_addr("10.7.0.3"));
	explains(&world, "GET", "http://10.7.0.3/near", "Host: shop", "|||0|untouched|");
}

static void test_what_connect_leaves_alone_reaches_no_listener(void **state)
{
	static const char *const urls[] = { "http://127.0.0.1/near", "http://127.9.9.9/near", "http://169.254.169.254/near", "http://224.0.0.1/near", "http://0.0.0.0/near",
					    "http://[::1]/near", "http://[fe80::1]/near", "http://[ff02::1]/near", "http://[::]/near" };
	struct explain_world world = ((const struct scene *)*state)->world;
	struct weft_exceptions exceptions = { .count = 1, .items = { { .port_be = htons(80), .families = 3 } } };

	for (size_t i = 0; i < ARRAY_SIZE(urls); i++)
		explains(&world, "GET", urls[i], "Host: shop", "|||0|untouched|");
	explains(&world, "GET", "http://10.96.0.77/near", "Host: shop", "any|shop|near|0|bypass|");
	world.exceptions = &exceptions;
	explains(&world, "GET", "http://10.96.0.77/near", "Host: shop", "|||0|untouched|");
	explains(&world, "GET", "http://10.96.0.9:81/near", "Host: shop", "own|shop|near|0|bypass|");
}

static void test_tls_is_told_apart_by_server_names(void **state)
{
	const struct scene *scene = *state;

	explains(&scene->world, "GET", "https://shop.test/", NULL, "tls|||0|tunnel|");
	explains(&scene->world, "GET", "https://A.shop.test/", NULL, "tls|||0|tunnel|");
	explains(&scene->world, "GET", "https://other.test/", NULL, "tls|||0|closed|");
	explains(&scene->world, "GET", "https://10.96.0.77/", NULL, "tls|||0|closed|");
	explains(&scene->world, "GET", "http://shop.test:443/", NULL, "tls|||0|closed|");
	explains(&scene->world, "GET", "https://shop.test:80/", NULL, "any|||400|slow|not_http");
}

static void test_clusters_come_with_weights_and_endpoints(void **state)
{
	const struct scene *scene = *state;
	json_t *answer = ask(&scene->world, "GET", "http://shop/split", NULL), *clusters = json_object_get(answer, "clusters"), *endpoints;

	assert_int_equal(json_array_size(clusters), 2);
	assert_string_equal(text(json_array_get(clusters, 0), "name"), "near");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(clusters, 0), "weight")), 30);
	assert_string_equal(text(json_array_get(clusters, 1), "name"), "far");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(clusters, 1), "weight")), 70);
	endpoints = json_object_get(json_array_get(clusters, 0), "endpoints");
	assert_int_equal(json_array_size(endpoints), 2);
	assert_string_equal(text(json_array_get(endpoints, 0), "address"), "10.7.0.3:8080");
	assert_true(json_is_true(json_object_get(json_array_get(endpoints, 0), "is_local")));
	json_decref(answer);
}

static void test_a_hashing_cluster_is_told_with_the_endpoint_of_this_request(void **state)
{
	const struct scene *scene = *state;
	json_t *answer, *cluster;

	explains(&scene->world, "GET", "http://shop/hashed", "x-user: alice", "any|shop|hashed|0|bypass|");
	answer = ask(&scene->world, "GET", "http://shop/hashed", "x-user: alice");
	cluster = json_array_get(json_object_get(answer, "clusters"), 0);
	assert_string_equal(text(cluster, "policy"), "hash");
	/* by an independent implementation of XXH64 and the ring */
	assert_string_equal(text(cluster, "hashed_to"), "10.7.0.4:8080");
	json_decref(answer);
	answer = ask(&scene->world, "GET", "http://shop/hashed", NULL);
	cluster = json_array_get(json_object_get(answer, "clusters"), 0);
	assert_null(json_object_get(cluster, "hashed_to"));
	assert_non_null(strstr(text(cluster, "hash"), "any endpoint"));
	json_decref(answer);
	answer = ask(&scene->world, "GET", "http://shop/changed", NULL);
	cluster = json_array_get(json_object_get(answer, "clusters"), 0);
	assert_null(json_object_get(cluster, "hashed_to"));
	assert_non_null(strstr(text(cluster, "hash"), "as this route changes it"));
	json_decref(answer);
	explains(&scene->world, "GET", "http://shop/sticky", NULL, "any|shop|sticky|0|slow|balance_proxy");
}

static void test_conditions_are_told_in_words(void **state)
{
	const struct scene *scene = *state;
	json_t *answer = ask(&scene->world, "GET", "http://shop/", "end-user: jason");
	json_t *conditions = json_object_get(json_object_get(answer, "route"), "conditions");

	assert_int_equal(json_array_size(conditions), 1);
	assert_string_equal(json_string_value(json_array_get(conditions, 0)), "end-user is \"jason\"");
	json_decref(answer);

	answer = ask(&scene->world, "GET", "http://shop/?beta", "x-n: 4");
	conditions = json_object_get(json_object_get(answer, "route"), "conditions");
	assert_int_equal(json_array_size(conditions), 3);
	assert_string_equal(json_string_value(json_array_get(conditions, 0)), "x-n is a number in [1, 5)");
	assert_string_equal(json_string_value(json_array_get(conditions, 1)), "query parameter beta is present");
	assert_string_equal(json_string_value(json_array_get(conditions, 2)), "chance is drawn: 99 in 100");
	json_decref(answer);
}

static void test_redirects_have_their_status(void **state)
{
	const struct scene *scene = *state;

	explains(&scene->world, "GET", "http://shop/old/x", NULL, "any|shop|moved|302|local_reply|");
	explains(&scene->world, "GET", "http://secure/x", NULL, "any|secure||301|local_reply|");
	explains(&scene->world, "GET", "http://secure/x", "x-forwarded-proto: https", "any|secure|any|0|bypass|");
}

static void test_what_a_route_changes_is_told_in_words(void **state)
{
	static const char *const expected[] = {
		"path: the first 5 bytes become \"/\"",
		"host: \"inner\"",
		"request header x-from added \"%PROTOCOL%\"",
		"response header server removed",
	};
	const struct scene *scene = *state;
	json_t *answer = ask(&scene->world, "GET", "http://shop/api/1", NULL);
	json_t *changes = json_object_get(json_object_get(answer, "route"), "changes");

	assert_int_equal(json_array_size(changes), 4);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(json_string_value(json_array_get(changes, i)), expected[i]);
	json_decref(answer);
	explains(&scene->world, "GET", "http://shop/api/1", NULL, "any|shop|changed|0|slow|route_proxy");
}

static void test_questions_that_make_no_sense_are_complaints(void **state)
{
	const struct scene *scene = *state;
	char long_url[70000];
	json_t *answer;

	complains(&scene->world, "GET", "https://", NULL, "no host");
	complains(&scene->world, "GET", "ftp://shop/", NULL, "http://");
	complains(&scene->world, "GET", "http://", NULL, "no host");
	complains(&scene->world, "GET", "http://shop:0/", NULL, "port");
	complains(&scene->world, "GET", "http://shop:99999/", NULL, "port");
	complains(&scene->world, "GET", "http://shop:x/", NULL, "port");
	complains(&scene->world, "GET", "http://shop/ x", NULL, "white space");
	complains(&scene->world, "", "http://shop/", NULL, "white space");
	complains(&scene->world, "GET", "http://shop/", "nothing", "name: value");
	complains(&scene->world, "GET", "http://shop/", "a: b\r\nc: d", "line breaks");
	memset(long_url, 'a', sizeof(long_url));
	memcpy(long_url, "http://shop/", 12);
	long_url[sizeof(long_url) - 1] = 0;
	complains(&scene->world, "GET", long_url, NULL, "more than anybody serves");
	answer = explain_request(&scene->world, NULL);
	assert_string_equal(text(answer, "error"), "explain needs a method and a URL");
	json_decref(answer);
}

static void test_a_url_without_a_path_asks_for_the_root(void **state)
{
	_cleanup_(strbuf_release) struct strbuf head = STRBUF_INIT;
	struct explain_url url;
	char complaint[128];

	assert_int_equal(explain_url_parse("shop:8080?q", &url, complaint, sizeof(complaint)), 0);
	assert_int_equal(url.port, 8080);
	assert_false(url.is_ip);
	assert_int_equal(explain_head("GET", &url, NULL, &head, complaint, sizeof(complaint)), 0);
	assert_string_equal(head.data, "GET /?q HTTP/1.1\r\nhost: shop:8080\r\n\r\n");
}

static void test_a_user_in_a_url_is_named(void **state)
{
	struct explain_url url;
	char complaint[128];

	assert_int_equal(explain_url_parse("http://me:secret@shop/", &url, complaint, sizeof(complaint)), -EINVAL);
	assert_non_null(strstr(complaint, "user"));
	assert_int_equal(explain_url_parse("http://me@shop/", &url, complaint, sizeof(complaint)), -EINVAL);
	assert_int_equal(explain_url_parse("http://shop/me@home", &url, complaint, sizeof(complaint)), 0);
	assert_string_equal(url.host, "shop");
}

static void test_an_ipv6_address_stands_in_brackets(void **state)
{
	static const char *const refused[] = { "http://[fd00::1", "http://[fd00::1]x/", "http://[10.0.0.1]/", "http://[shop]/" };
	_cleanup_(strbuf_release) struct strbuf head = STRBUF_INIT;
	struct explain_url url;
	char complaint[128];

	assert_int_equal(explain_url_parse("http://[fd00::1]:8080/x:1", &url, complaint, sizeof(complaint)), 0);
	assert_true(url.is_ip && url.port == 8080);
	assert_string_equal(weft_address_text(&url.address).text, "fd00::1");
	assert_int_equal(explain_head("GET", &url, NULL, &head, complaint, sizeof(complaint)), 0);
	assert_string_equal(head.data, "GET /x:1 HTTP/1.1\r\nhost: [fd00::1]:8080\r\n\r\n");
	assert_int_equal(explain_url_parse("http://[::1]", &url, complaint, sizeof(complaint)), 0);
	assert_true(url.is_ip && url.port == 80);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		assert_int_equal(explain_url_parse(refused[i], &url, complaint, sizeof(complaint)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_path_follows_from_where_endpoints_are),
		cmocka_unit_test(test_what_is_longer_than_the_kernel_follows_is_the_proxys),
		cmocka_unit_test(test_headers_decide),
		cmocka_unit_test(test_what_weft_answers_itself_has_a_status),
		cmocka_unit_test(test_answers_that_the_kernel_does_not_write_are_the_proxys),
		cmocka_unit_test(test_routes_that_the_kernel_does_not_come_to_are_the_proxys),
		cmocka_unit_test(test_heads_that_the_kernel_does_not_read_or_write_are_the_proxys),
		cmocka_unit_test(test_what_only_the_proxy_carries_has_its_reason),
		cmocka_unit_test(test_options_and_kernels_limit_the_path),
		cmocka_unit_test(test_listeners_are_found_by_address_or_by_host),
		cmocka_unit_test(test_what_connect_leaves_alone_reaches_no_listener),
		cmocka_unit_test(test_tls_is_told_apart_by_server_names),
		cmocka_unit_test(test_clusters_come_with_weights_and_endpoints),
		cmocka_unit_test(test_a_hashing_cluster_is_told_with_the_endpoint_of_this_request),
		cmocka_unit_test(test_conditions_are_told_in_words),
		cmocka_unit_test(test_redirects_have_their_status),
		cmocka_unit_test(test_what_a_route_changes_is_told_in_words),
		cmocka_unit_test(test_questions_that_make_no_sense_are_complaints),
		cmocka_unit_test(test_an_ipv6_address_stands_in_brackets),
		cmocka_unit_test(test_a_user_in_a_url_is_named),
		cmocka_unit_test(test_a_url_without_a_path_asks_for_the_root),
	};

	return cmocka_run_group_tests(tests, begin, end);
}

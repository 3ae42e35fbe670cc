/* SPDX-License-Identifier: Apache-2.0 */
/* Consistent hashing against what Envoy did (tests/conformance/README.md), and what tables are made of. */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>

#include "fixture.h"
#include "base/fd.h"
#include "compile/compile.h"
#include "mesh/mesh.h"
#include "regex/regex.h"
#include "weft/hash.h"
#include "weft/http1.h"
#include "weft/path.h"
#include "weft/router.h"

#define DATA "tests/conformance/vectors/hash/"

static const char listener[] =
	"resources:\n"
	"  - \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n"
	"    name: out\n"
	"    address: {socket_address: {address: 0.0.0.0, port_value: 80}}\n"
	"    filter_chains:\n"
	"      - filters:\n"
	"          - name: envoy.filters.network.http_connection_manager\n"
	"            typed_config:\n"
	"              \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n"
	"              stat_prefix: out\n"
	"              normalize_path: true\n"
	"              rds: {config_source: {ads: {}, resource_api_version: V3}, route_config_name: \"80\"}\n"
	"              http_filters:\n"
	"                - {name: envoy.filters.http.router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}\n";

struct world {
	struct ids *ids;
	struct image *routes, *endpoints;
	struct weft_image_handle route_handle;
	weft_ref route_table;
	struct strbuf rewritten[8];
	uint32_t rewritten_count;
	uint32_t cookies;
	char tail[128];           /* of the last cookie that was made */
	json_t *addresses;        /* of the oracle's clusters */
};

static struct mesh *load(const char *name, const char *text, size_t size)
{
	struct mesh_report report = MESH_REPORT_INIT;
	struct mesh *mesh = NULL;

	if (mesh_load_text(name, text, size, &mesh, &report) || report.error_count) {
		mesh_report_print(&report, stderr);
		fail();
	}
	mesh_report_release(&report);
	return mesh;
}

static void read_data(const char *file, struct strbuf *out)
{
	char path[128];

	snprintf(path, sizeof(path), DATA "%s", file);
	if (file_read(path, 1u << 20, out))
		fail_msg("can't read %s (tests run in the top folder)", path);
}

static void open_endpoints(struct world *world, const char *name, const char *text, size_t size)
{
	struct mesh *mesh = load(name, text, size);

	memset(world, 0, sizeof(*world));
	assert_int_equal(ids_new(&world->ids, NULL), 0);
	assert_int_equal(compile_endpoints(mesh, NULL, world->ids, &world->endpoints, NULL), 0);
	mesh_free(&mesh);
}

static void close_world(struct world *world)
{
	image_free(&world->routes);
	image_free(&world->endpoints);
	ids_free(&world->ids);
}

/* ---- what Envoy did -------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *settings;
} oracle_clusters[] = {
	{ "ring", "lb_policy: RING_HASH" },
	{ "ring-small", "lb_policy: RING_HASH\n    ring_hash_lb_config: {minimum_ring_size: 16}" },
	{ "ring-murmur", "lb_policy: RING_HASH\n    ring_hash_lb_config: {hash_function: MURMUR_HASH_2}" },
	{ "maglev", "lb_policy: MAGLEV" },
	{ "maglev-small", "lb_policy: MAGLEV\n    maglev_lb_config: {table_size: 101}" },
	{ "ring1024", "lb_policy: RING_HASH\n    ring_hash_lb_config: {minimum_ring_size: 1024}" },
};

static void write_clusters(const json_t *addresses, struct strbuf *out)
{
	size_t i, k;

	strbuf_append_text(out, "resources:\n");
	for (i = 0; i < sizeof(oracle_clusters) / sizeof(oracle_clusters[0]); i++) {
		const json_t *list = json_object_get(addresses, oracle_clusters[i].name);

		assert_true(json_array_size(list) > 0);
		strbuf_printf(out, "  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: %s\n    type: STATIC\n    %s\n"
			      "    load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [", oracle_clusters[i].name, oracle_clusters[i].settings);
		for (k = 0; k < json_array_size(list); k++) {
			const char *address = json_string_value(json_array_get(list, k)), *colon = strchr(address, ':');

			strbuf_printf(out, "%s{endpoint: {address: {socket_address: {address: %.*s, port_value: %s}}}}", k ? ", " : "",
				      (int)(colon - address), address, colon + 1);
		}
		strbuf_append_text(out, "]}]}\n");
	}
}

static void open_oracle(struct world *world)
{
	struct strbuf clusters = STRBUF_INIT, routes = STRBUF_INIT;
	struct mesh *mesh = load("listener", listener, strlen(listener));
	json_t *addresses = json_load_file(DATA "endpoints.json", 0, NULL);
	weft_ref ref;

	assert_non_null(addresses);
	write_clusters(addresses, &clusters);
	read_data("route_config.pb", &routes);
	open_endpoints(world, "clusters", clusters.data, clusters.size);
	world->addresses = addresses;
	assert_int_equal(mesh_add_resource(mesh, mesh_kind_type_url(MESH_ROUTE_CONFIG), routes.data, routes.size, NULL), 0);
	assert_int_equal(compile_routes(mesh, world->ids, &world->routes, NULL), 0);
	world->route_handle = (struct weft_image_handle){ world->routes->base, world->routes->size_bytes };
	assert_int_equal(weft_find_listener(&world->route_handle, &WEFT_IP4(htonl(INADDR_LOOPBACK)), htons(80), &ref), 0);
	world->route_table = ((const struct weft_listener *)weft_at(&world->route_handle, ref))->route_table;
	mesh_free(&mesh);
	strbuf_release(&clusters);
	strbuf_release(&routes);
}

static int rewrite(void *arg, const struct weft_hash_policy *policy, const u8 *value, u32 len, const u8 **out, u32 *out_len)
{
	struct world *world = arg;
	const struct weft_text *pattern = weft_at(&world->route_handle, policy->pattern);
	const struct weft_text *substitution = weft_at(&world->route_handle, policy->substitution);
	struct strbuf *text = &world->rewritten[world->rewritten_count++];
	struct rewriter *rewriter = NULL;

	assert_in_range(world->rewritten_count, 1, 8);
	assert_int_equal(rewriter_new(&rewriter, (const char *)pattern->bytes, pattern->len), 0);
	assert_int_equal(rewriter_apply(rewriter, (const char *)substitution->bytes, substitution->len, (const char *)value, len, text), 0);
	rewriter_free(&rewriter);
	*out = (const u8 *)strbuf_text(text);
	*out_len = (u32)text->size;
	return 0;
}

static u64 make_cookie(void *arg, const struct weft_hash_policy *policy)
{
	struct world *world = arg;
	const struct weft_text *tail = weft_at(&world->route_handle, policy->cookie_tail);

	world->cookies++;
	snprintf(world->tail, sizeof(world->tail), "%.*s", (int)tail->len, (const char *)tail->bytes);
	return 1;
}

/* The endpoint as text; "" when there is nothing to hash. */
static const char *endpoint_of(struct world *world, const char *request, const char *cluster)
{
	static char text[64];
	struct weft_hash_query query = {
		.image = world->route_handle, .source_hash = weft_hash_bytes("127.0.0.1", 9, 0), .rewrite = rewrite, .make_cookie = make_cookie, .arg = world,
	};
	struct weft_balance_query balance = { .image = { world->endpoints->base, world->endpoints->size_bytes }, .hash_state = WEFT_HASH_ASK };
	struct weft_route_query route_query = { .image = world->route_handle, .route_table = world->route_table };
	struct weft_route_result result;
	struct weft_endpoint endpoint;
	static struct weft_head head;
	const struct weft_route *route;
	uint8_t bytes[2048] = { 0 }, target[1024];
	uint32_t len, path_len;
	int r;

	strcpy((char *)bytes, request);
	assert_int_equal(weft_parse_request((const void *)bytes, (u32)strlen(request), &head), WEFT_PARSE_DONE);
	assert_int_equal(weft_path_normalize(bytes + head.path.off, head.target.len, WEFT_LISTENER_NORMALIZE_PATH, target, sizeof(target), &len, &path_len), 0);
	query.target = route_query.target = target;
	query.target_len = route_query.target_len = len;
	route_query.path_len = path_len;
	assert_int_equal(weft_route(&route_query, (const void *)bytes, &head, &result), WEFT_ROUTE_CLUSTER);
	assert_string_equal(ids_cluster_name(world->ids, result.cluster_id), cluster);
	route = weft_at(&world->route_handle, result.route);
	assert_true(route->hash_policies);

	balance.cluster_id = result.cluster_id;
	assert_int_equal(weft_pick_endpoint(&balance, &endpoint), -EAGAIN);
	query.policies = route->hash_policies;
	r = weft_hash_request(&query, (const void *)bytes, &head, &balance.hash);
	while (world->rewritten_count)
		strbuf_release(&world->rewritten[--world->rewritten_count]);
	if (r == WEFT_HASH_NONE)
		return "";
	assert_int_equal(r, WEFT_HASH_READY);
	balance.hash_state = WEFT_HASH_READY;
	assert_int_equal(weft_pick_endpoint(&balance, &endpoint), 0);
	snprintf(text, sizeof(text), "%s", weft_host_text(&endpoint.address, endpoint.port_be).text);
	return text;
}

static bool is_unstable(const json_t *one, const char *field)
{
	const json_t *name;
	size_t i;

	json_array_foreach(json_object_get(one, "unstable"), i, name)
		if (!strcmp(json_string_value(name), field))
			return true;
	return false;
}

static const char *header_of(const json_t *response, const char *name)
{
	const json_t *header;
	size_t i;

	json_array_foreach(json_object_get(response, "headers"), i, header)
		if (!strcmp(json_string_value(json_array_get(header, 0)), name))
			return json_string_value(json_array_get(header, 1));
	return NULL;
}

struct tally {
	unsigned int cases, endpoints, cookies;
};

static void run_case(struct world *world, const json_t *one, struct tally *tally)
{
	const json_t *upstream = json_array_get(json_object_get(one, "upstream"), 0);
	const char *id = json_string_value(json_object_get(one, "id")), *cluster = json_string_value(json_object_get(upstream, "cluster"));
	const char *cookie = header_of(json_array_get(json_object_get(one, "responses"), 0), "set-cookie"), *expected, *found;

	world->cookies = 0;
	found = endpoint_of(world, json_string_value(json_object_get(json_array_get(json_object_get(one, "send"), 0), "raw")), cluster);
	expected = json_string_value(json_array_get(json_object_get(world->addresses, cluster),
						    (size_t)json_integer_value(json_object_get(upstream, "endpoint"))));
	tally->cases++;
	if (!is_unstable(one, "upstream")) {
		if (strcmp(found, expected))
			fail_msg("%s: weft chooses %s, Envoy %s", id, found, expected);
		tally->endpoints++;
	} else if (!cookie) {
		assert_string_equal(found, "");
	}
	assert_int_equal(world->cookies, cookie != NULL);
	if (cookie) {
		assert_string_equal(world->tail, strrchr(cookie, '"') + 1);
		tally->cookies++;
	}
}

static void test_every_request_reaches_the_endpoint_that_envoy_chose(void **state)
{
	struct strbuf lines = STRBUF_INIT;
	struct tally tally = { 0 };
	char *line, *rest;
	struct world world;

	open_oracle(&world);
	read_data("expected.jsonl", &lines);
	for (line = strtok_r(lines.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		json_t *one = json_loads(line, 0, NULL);

		assert_non_null(one);
		run_case(&world, one, &tally);
		json_decref(one);
	}
	print_message("%u cases: %u endpoints, %u cookies, all as Envoy's\n", tally.cases, tally.endpoints, tally.cookies);
	assert_int_equal(tally.cases, 164);
	assert_int_equal(tally.endpoints, 154);
	json_decref(world.addresses);
	strbuf_release(&lines);
	close_world(&world);
}

/* ---- tables ---------------------------------------------------------------------------------------------------------------------- */

#define CLUSTER(name, settings, localities) \
	"  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n" \
	"    name: " name "\n" \
	"    type: STATIC\n" \
	"    " settings "\n" \
	"    load_assignment: {cluster_name: a, endpoints: [" localities "]}\n"
#define ENDPOINT(ip, more) "{endpoint: {address: {socket_address: {address: " ip ", port_value: 80}}}" more "}"

static const struct weft_cluster *find_cluster(const struct world *world, const char *name)
{
	struct weft_image_handle image = { world->endpoints->base, world->endpoints->size_bytes };

	return weft_at(&image, weft_find_cluster(&image, ids_cluster_find(world->ids, name)));
}

/* Last byte of the address that a hash leads to; 0: none. */
static uint32_t hashed(const struct world *world, const char *cluster, uint64_t hash, uint32_t attempt)
{
	struct weft_balance_query query = {
		.image = { world->endpoints->base, world->endpoints->size_bytes }, .cluster_id = ids_cluster_find(world->ids, cluster),
		.hash_state = WEFT_HASH_READY, .hash = hash, .attempt = attempt,
	};
	struct weft_endpoint endpoint;
	int r = weft_pick_endpoint(&query, &endpoint);

	if (r) {
		assert_int_equal(r, -EHOSTUNREACH);
		return 0;
	}
	return ntohl(endpoint.address.be[3]) & 0xff;
}

static void shares(const struct world *world, const char *cluster, double parts[8])
{
	uint64_t random = 1;
	uint32_t i;

	memset(parts, 0, 8 * sizeof(*parts));
	for (i = 0; i < 100000; i++) {
		uint64_t hash = (uint64_t)random_next(&random) << 33 ^ (uint64_t)random_next(&random) << 11 ^ random_next(&random);

		parts[hashed(world, cluster, hash, 0) & 7] += 1e-3;
	}
}

static void assert_near(double found, double expected, double by)
{
	if (fabs(found - expected) > by)
		fail_msg("%.2f%% where %.2f%% is expected", found, expected);
}

static void test_weights_make_places_on_rings_and_in_tables(void **state)
{
	static const char text[] = "resources:\n"
		CLUSTER("ring", "lb_policy: RING_HASH",
			"{lb_endpoints: [" ENDPOINT("10.0.0.1", ", load_balancing_weight: 3") "," ENDPOINT("10.0.0.2", ", load_balancing_weight: 1") "]}")
		CLUSTER("maglev", "lb_policy: MAGLEV",
			"{lb_endpoints: [" ENDPOINT("10.0.0.1", ", load_balancing_weight: 3") "," ENDPOINT("10.0.0.2", ", load_balancing_weight: 1") "]}")
		CLUSTER("localities", "lb_policy: MAGLEV\n    common_lb_config: {locality_weighted_lb_config: {}}",
			"{locality: {region: b}, load_balancing_weight: 1, lb_endpoints: [" ENDPOINT("10.0.0.1", "") "," ENDPOINT("10.0.0.2", "") "]},"
			"{locality: {region: a}, load_balancing_weight: 3, lb_endpoints: [" ENDPOINT("10.0.0.3", "") "]}");
	struct world world;
	double parts[8];

	open_endpoints(&world, "test", text, strlen(text));
	shares(&world, "ring", parts);
	assert_near(parts[1], 75, 4); /* a ring of 1024 places is not more even than that */
	assert_near(parts[2], 25, 4);
	shares(&world, "maglev", parts);
	assert_near(parts[1], 75, 0.5);
	shares(&world, "localities", parts);
	assert_near(parts[1], 12.5, 0.5);
	assert_near(parts[2], 12.5, 0.5);
	assert_near(parts[3], 75, 0.5);
	close_world(&world);
}

static void test_a_priority_is_chosen_by_the_hash_too(void **state)
{
	static const char text[] = "resources:\n"
		CLUSTER("spill", "lb_policy: RING_HASH",
			"{lb_endpoints: [" ENDPOINT("10.0.0.1", "") "," ENDPOINT("10.0.0.2", ", health_status: UNHEALTHY") "]},"
			"{priority: 1, lb_endpoints: [" ENDPOINT("10.0.0.3", "") "]}")
		CLUSTER("degraded", "lb_policy: MAGLEV\n    common_lb_config: {healthy_panic_threshold: {}}",
			"{lb_endpoints: [" ENDPOINT("10.0.0.1", "") "," ENDPOINT("10.0.0.2", ", health_status: DEGRADED") "]}")
		CLUSTER("none", "lb_policy: RING_HASH\n    common_lb_config: {healthy_panic_threshold: {}}",
			"{lb_endpoints: [" ENDPOINT("10.0.0.1", ", health_status: UNHEALTHY") "]}")
		CLUSTER("panic", "lb_policy: RING_HASH",
			"{lb_endpoints: [" ENDPOINT("10.0.0.1", ", health_status: UNHEALTHY") "," ENDPOINT("10.0.0.2", ", health_status: UNHEALTHY") "]}");
	struct world world;
	uint64_t hash;

	open_endpoints(&world, "test", text, strlen(text));
	/* half healthy, times 1.4: hash % 100 below 70 stays */
	for (hash = 0; hash < 1000; hash++)
		assert_int_equal(hashed(&world, "spill", hash, 0), hash % 100 < 70 ? 1 : 3);
	/* Envoy's tables hold no degraded endpoints: their part goes to the healthy ones */
	for (hash = 0; hash < 1000; hash++)
		assert_int_equal(hashed(&world, "degraded", hash, 0), 1);
	assert_int_equal(hashed(&world, "none", 1, 0), 0);
	assert_in_range(hashed(&world, "panic", 1ull << 63, 0), 1, 2);
	close_world(&world);
}

static void test_an_endpoint_that_is_not_wanted_gives_way_to_the_next_place(void **state)
{
	static const char text[] = "resources:\n"
		CLUSTER("ring", "lb_policy: RING_HASH",
			"{lb_endpoints: [" ENDPOINT("10.0.0.1", "") "," ENDPOINT("10.0.0.2", "") "," ENDPOINT("10.0.0.3", "") "]}")
		CLUSTER("maglev", "lb_policy: MAGLEV\n    maglev_lb_config: {table_size: 101}",
			"{lb_endpoints: [" ENDPOINT("10.0.0.1", "") "," ENDPOINT("10.0.0.2", "") "]}");
	struct world world;
	const struct weft_cluster *cluster;
	const struct weft_hash_level *level;
	const u64 *hashes;
	uint32_t i;

	open_endpoints(&world, "test", text, strlen(text));
	cluster = find_cluster(&world, "ring");
	level = (const void *)(world.endpoints->base + cluster->hash_levels);
	hashes = (const void *)(world.endpoints->base + level->hashes);
	assert_int_equal(level->size, 1026); /* 342 each: 1024 / 3, rounded up */
	for (i = 0; i + 1 < level->size; i++) {
		assert_true(hashes[i] <= hashes[i + 1]);
		assert_int_equal(hashed(&world, "ring", hashes[i], 1), hashed(&world, "ring", hashes[i + 1], 0));
	}
	/* past the last place comes the first */
	assert_int_equal(hashed(&world, "ring", hashes[level->size - 1] + 1, 0), hashed(&world, "ring", 0, 0));
	for (i = 0; i < 500; i++)
		assert_int_equal(hashed(&world, "maglev", i, 2), hashed(&world, "maglev", i ^ (~0ull - 1), 0));
	close_world(&world);
}

static void test_most_keys_stay_when_an_endpoint_goes(void **state)
{
	static const char before[] = "resources:\n"
		CLUSTER("maglev", "lb_policy: MAGLEV", "{lb_endpoints: [" ENDPOINT("10.0.0.1", "") "," ENDPOINT("10.0.0.2", "") "," ENDPOINT("10.0.0.3", "") "]}");
	static const char after[] = "resources:\n"
		CLUSTER("maglev", "lb_policy: MAGLEV", "{lb_endpoints: [" ENDPOINT("10.0.0.3", "") "," ENDPOINT("10.0.0.1", "") "]}");
	struct world first, second;
	uint32_t moved = 0, i;

	open_endpoints(&first, "test", before, strlen(before));
	open_endpoints(&second, "test", after, strlen(after));
	for (i = 0; i < 10000; i++) {
		uint32_t was = hashed(&first, "maglev", i * 0x9e3779b97f4a7c15ull, 0);

		moved += was != 2 && hashed(&second, "maglev", i * 0x9e3779b97f4a7c15ull, 0) != was;
	}
	assert_in_range(moved, 0, 1500);
	close_world(&first);
	close_world(&second);
}

static void test_keys_of_their_own_stand_for_addresses(void **state)
{
	static const char text[] = "resources:\n"
		CLUSTER("a", "lb_policy: RING_HASH", "{lb_endpoints: [" ENDPOINT("10.0.0.1", "") "," ENDPOINT("10.0.0.2", "") "]}")
		CLUSTER("b", "lb_policy: RING_HASH",
			"{lb_endpoints: [" ENDPOINT("10.0.0.3", ", metadata: {filter_metadata: {envoy.lb: {hash_key: \"10.0.0.1:80\"}}}") ","
			ENDPOINT("10.0.0.4", ", metadata: {filter_metadata: {envoy.lb: {hash_key: \"10.0.0.2:80\"}}}") "]}")
		CLUSTER("names", "lb_policy: RING_HASH\n    common_lb_config: {consistent_hashing_lb_config: {use_hostname_for_hashing: true}}",
			"{lb_endpoints: [{endpoint: {hostname: \"10.0.0.1:80\", address: {socket_address: {address: 10.0.0.5, port_value: 80}}}},"
			"{endpoint: {hostname: \"10.0.0.2:80\", address: {socket_address: {address: 10.0.0.6, port_value: 80}}}}]}");
	struct world world;
	uint64_t i;

	open_endpoints(&world, "test", text, strlen(text));
	for (i = 0; i < 2000; i++) {
		uint32_t endpoint = hashed(&world, "a", i * 0x9e3779b97f4a7c15ull, 0);

		assert_int_equal(hashed(&world, "b", i * 0x9e3779b97f4a7c15ull, 0), endpoint + 2);
		assert_int_equal(hashed(&world, "names", i * 0x9e3779b97f4a7c15ull, 0), endpoint + 4);
	}
	close_world(&world);
}

static void test_a_ring_that_is_too_large_is_refused_by_name(void **state)
{
	static const char text[] = "resources:\n"
		CLUSTER("huge", "lb_policy: RING_HASH\n    ring_hash_lb_config: {minimum_ring_size: 4000000}", "{lb_endpoints: [" ENDPOINT("10.0.0.1", "") "]}");
	struct weft_image_handle image;
	const struct weft_cluster *cluster;
	const struct weft_text *reason;
	struct world world;

	open_endpoints(&world, "test", text, strlen(text));
	cluster = find_cluster(&world, "huge");
	assert_int_equal(cluster->verdict, WEFT_VERDICT_REFUSED);
	image = (struct weft_image_handle){ world.endpoints->base, world.endpoints->size_bytes };
	reason = weft_at(&image, cluster->reason);
	assert_non_null(memmem(reason->bytes, reason->len, "a hash ring of 4000000 places is more than 1048576", 50));
	close_world(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_request_reaches_the_endpoint_that_envoy_chose),
		cmocka_unit_test(test_weights_make_places_on_rings_and_in_tables),
		cmocka_unit_test(test_a_priority_is_chosen_by_the_hash_too),
		cmocka_unit_test(test_an_endpoint_that_is_not_wanted_gives_way_to_the_next_place),
		cmocka_unit_test(test_most_keys_stay_when_an_endpoint_goes),
		cmocka_unit_test(test_keys_of_their_own_stand_for_addresses),
		cmocka_unit_test(test_a_ring_that_is_too_large_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling what has hardly changed: less work, and the same bytes. */
#include "fixture.h"

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/strbuf.h"
#include "compile/compile.h"
#include "mesh/mesh.h"

#define TYPE "\"@type\": type.googleapis.com/envoy.config."
#define CLUSTERS 60u
#define ROUNDS 120

/* ---- endpoints ------------------------------------------------------------------------------------------------------------------- */

struct member {
	uint32_t address, weight;
	bool is_healthy;
};

struct cluster {
	uint32_t policy, count;
	bool exists, has_assignment;
	uint32_t priorities;  /* of its members, in turn */
	struct member members[6];
};

static void change(struct cluster *cluster, uint64_t *random)
{
	struct member *member = &cluster->members[random_below(random, 6)];

	switch (random_below(random, 7)) {
	case 6: cluster->priorities = random_below(random, 3); break;
	case 0: cluster->exists = !cluster->exists; break;
	case 1: cluster->policy = random_below(random, 4); break;
	case 2: cluster->count = random_below(random, 7); break;
	case 3: cluster->has_assignment = !cluster->has_assignment; break;
	case 4: member->is_healthy = !member->is_healthy; break;
	default: *member = (struct member){ random_below(random, 200), 1 + random_below(random, 3), true }; break;
	}
}

static struct mesh *build(const struct cluster *clusters)
{
	static const char *const policies[] = { "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH" };
	_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct mesh *mesh = NULL;

	strbuf_append_text(&text, "resources:\n- {" TYPE "cluster.v3.Cluster, name: none, type: STATIC}\n");
	for (uint32_t i = 0; i < CLUSTERS; i++) {
		const struct cluster *cluster = &clusters[i];

		if (cluster->exists)
			strbuf_printf(&text, "- {" TYPE "cluster.v3.Cluster, name: c%u, type: EDS, lb_policy: %s, eds_cluster_config: {eds_config: {ads: {}}}}\n", i,
				      policies[cluster->policy]);
		if (!cluster->has_assignment)
			continue;
		strbuf_printf(&text, "- {" TYPE "endpoint.v3.ClusterLoadAssignment, cluster_name: c%u, endpoints: [{lb_endpoints: [", i);
		for (uint32_t j = 0; j < cluster->count; j++)
			strbuf_printf(&text, "%s{endpoint: {address: {socket_address: {address: 10.0.0.%u, port_value: 80}}}, load_balancing_weight: %u, health_status: %s}, ",
				      !cluster->priorities || !j ? "" : j % (cluster->priorities + 1) ? "]}, {priority: 1, lb_endpoints: [" : "]}, {lb_endpoints: [",
				      cluster->members[j].address, cluster->members[j].weight, cluster->members[j].is_healthy ? "HEALTHY" : "UNHEALTHY");
		strbuf_append_text(&text, "]}]}\n");
	}
	assert_int_equal(mesh_load_text("test.yaml", strbuf_text(&text), text.size, &mesh, &report), 0);
	return mesh;
}

static void same_verdicts(const struct compile_report *a, const struct compile_report *b)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++) {
		assert_string_equal(a->verdicts[i].name, b->verdicts[i].name);
		assert_int_equal(a->verdicts[i].verdict, b->verdicts[i].verdict);
		assert_string_equal(a->verdicts[i].reason, b->verdicts[i].reason);
	}
}

static void test_what_is_taken_over_is_what_would_be_made(void **state)
{
	static struct cluster clusters[CLUSTERS];
	struct image *former = NULL;
	struct ids *ids = NULL;
	uint64_t random = 1;

	assert_int_equal(ids_new(&ids, NULL), 0);
	for (int i = 0; i < 2000; i++)
		change(&clusters[random_below(&random, CLUSTERS)], &random);
	for (int round = 0; round < ROUNDS; round++) {
		_cleanup_(compile_report_release) struct compile_report report = COMPILE_REPORT_INIT, whole_report = COMPILE_REPORT_INIT;
		struct image *again = NULL, *whole = NULL;
		struct mesh *mesh = build(clusters);

		ids_set_time(ids, (uint64_t)round * 1000 + 1);
		assert_int_equal(compile_endpoints_again(mesh, NULL, ids, former, &again, &report), 0);
		assert_int_equal(compile_endpoints(mesh, NULL, ids, &whole, &whole_report), 0);
		assert_int_equal(again->size_bytes, whole->size_bytes);
		assert_memory_equal(again->base, whole->base, again->size_bytes);
		same_verdicts(&report, &whole_report);
		/* The claims are as good as those of the whole. */
		image_free(&whole);
		image_free(&former);
		former = again;
		mesh_free(&mesh);
		for (uint32_t changes = random_below(&random, 3); changes; changes--)
			change(&clusters[random_below(&random, CLUSTERS)], &random);
	}
	image_free(&former);
	ids_free(&ids);
}

/* ---- routes ---------------------------------------------------------------------------------------------------------------------- */

#define LISTENER(port) \
	"- {" TYPE "listener.v3.Listener, name: l, traffic_direction: OUTBOUND, address: {socket_address: {address: 10.0.0.1, port_value: " port "}},\n" \
	"   filter_chains: [{filters: [{name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c}}]}]}\n"
#define ROUTES(cluster) \
	"- {" TYPE "route.v3.RouteConfiguration, name: r, virtual_hosts: [{name: v, domains: [v], routes: [{match: {prefix: /}, route: {cluster: " cluster "}}]}]}\n"
#define STATIC(name, members) \
	"- {" TYPE "cluster.v3.Cluster, name: " name ", type: STATIC, load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [" members "]}]}}\n"
#define MEMBER(address) "{endpoint: {address: {socket_address: {address: " address ", port_value: 80}}}}"
#define EDS(name) "- {" TYPE "cluster.v3.Cluster, name: " name ", type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}\n"

static uint64_t key_of(const char *resources)
{
	_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct mesh *mesh = NULL;
	uint64_t key;

	strbuf_printf(&text, "resources:\n%s", resources);
	assert_int_equal(mesh_load_text("test.yaml", strbuf_text(&text), text.size, &mesh, &report), 0);
	key = compile_routes_key(mesh);
	mesh_free(&mesh);
	return key;
}

static void test_routes_are_compiled_for_what_they_are_made_of(void **state)
{
	uint64_t key = key_of(LISTENER("80") ROUTES("c") STATIC("c", MEMBER("10.0.0.1")));

	assert_true(key == key_of(LISTENER("80") ROUTES("c") STATIC("c", MEMBER("10.0.0.1"))));
	assert_true(key != key_of(LISTENER("81") ROUTES("c") STATIC("c", MEMBER("10.0.0.1"))));
	assert_true(key != key_of(LISTENER("80") ROUTES("d") STATIC("c", MEMBER("10.0.0.1"))));
	assert_true(key != key_of(LISTENER("80") STATIC("c", MEMBER("10.0.0.1"))));
	/* A cluster without any endpoint is BlackHoleCluster, and blocks its listener. */
	assert_true(key != key_of(LISTENER("80") ROUTES("c") STATIC("c", "")));
}

static void test_endpoints_compile_no_route(void **state)
{
	uint64_t key = key_of(LISTENER("80") ROUTES("c") STATIC("c", MEMBER("10.0.0.1")));

	assert_true(key == key_of(LISTENER("80") ROUTES("c") STATIC("c", MEMBER("10.0.0.2") ", " MEMBER("10.0.0.3"))));
	assert_true(key == key_of(LISTENER("80") ROUTES("c") STATIC("c", MEMBER("10.0.0.1")) EDS("e")));
}

/* A field of a protobuf message that is bytes or a message, of less than 128 bytes. */
static void put(struct strbuf *out, uint8_t field, const void *bytes, size_t size)
{
	const uint8_t head[] = { (uint8_t)(field << 3 | 2), (uint8_t)size };

	assert_true(size < 128);
	strbuf_append(out, head, sizeof(head));
	strbuf_append(out, bytes, size);
}

/* A route configuration whose only answer is `body`, which begins at a multiple of eight bytes. */
static void configuration(const uint64_t body[2], struct strbuf *out, size_t *place)
{
	static const uint8_t match[] = { 1 << 3 | 2, 1, '/' }, status[] = { 1 << 3, 200, 1 };

	for (size_t padding = 0; padding < 8; padding++) {
		_cleanup_(strbuf_release) struct strbuf source = STRBUF_INIT, direct = STRBUF_INIT, route = STRBUF_INIT, host = STRBUF_INIT;

		put(&source, 2, body, 16);
		strbuf_append(&direct, status, sizeof(status));
		put(&direct, 2, strbuf_text(&source), source.size);
		put(&route, 1, match, sizeof(match));
		put(&route, 7, strbuf_text(&direct), direct.size);
		put(&host, 1, "v", 1);
		put(&host, 2, "*", 1);
		put(&host, 3, strbuf_text(&route), route.size);
		strbuf_truncate(out, 0);
		put(out, 1, "rrrrrrrr", padding + 1);
		put(out, 2, strbuf_text(&host), host.size);
		*place = out->size - 16;
		if (*place % 8 == 0)
			return;
	}
	fail_msg("no padding fits");
}

/* What content_hash() has of the words so far. */
static uint64_t hashed(const char *bytes, size_t size, size_t place)
{
	uint64_t hash = 0xcbf29ce484222325ull ^ size, word;

	for (size_t at = 0; at < place; at += 8) {
		memcpy(&word, bytes + at, 8);
		hash = (hash ^ word) * 0x9fb21c651e98df25ull;
		hash ^= hash >> 29;
	}
	return hash;
}

static uint64_t key_of_bytes(const struct strbuf *bytes)
{
	struct mesh *mesh = NULL;
	uint64_t key;

	assert_int_equal(mesh_new(&mesh), 0);
	assert_int_equal(mesh_add_resource(mesh, mesh_kind_type_url(MESH_ROUTE_CONFIG), strbuf_text(bytes), bytes->size, NULL), 0);
	key = compile_routes_key(mesh);
	mesh_free(&mesh);
	return key;
}

/* Scopes with one key share an image. The plain hash of content is nothing that holds against somebody who looks for a second content. */
static void test_a_made_collision_is_not_taken_for_the_same_routes(void **state)
{
	_cleanup_(strbuf_release) struct strbuf one = STRBUF_INIT, other = STRBUF_INIT;
	uint64_t body[2] = { 0x6f206f6e20736179ull, 0x2165796220796173ull };
	size_t place;

	configuration(body, &one, &place);
	body[0]++;
	configuration(body, &other, &place);
	body[1] ^= hashed(strbuf_text(&one), one.size, place + 8) ^ hashed(strbuf_text(&other), other.size, place + 8);
	configuration(body, &other, &place);
	assert_int_equal(one.size, other.size);
	assert_memory_not_equal(strbuf_text(&one), strbuf_text(&other), one.size);
	assert_true(content_hash(strbuf_text(&one), one.size) == content_hash(strbuf_text(&other), other.size));
	assert_true(key_of_bytes(&one) == key_of_bytes(&one));
	assert_true(key_of_bytes(&one) != key_of_bytes(&other));
}

static void test_the_same_input_gives_the_same_images(void **state)
{
	static const char *const recordings[] = { "bookshop-lds", "bookshop-rds", "bookshop-cds", "bookshop-eds", "routing-rds", "balancing-cds" };

	for (size_t i = 0; i < sizeof(recordings) / sizeof(recordings[0]); i++) {
		struct image *routes[2] = { NULL }, *endpoints[2] = { NULL };
		struct ids *ids[2] = { NULL };
		char path[128];

		snprintf(path, sizeof(path), "tests/data/istiod/%s.json", recordings[i]);
		for (int k = 0; k < 2; k++) {
			_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
			struct mesh *mesh = NULL;

			assert_int_equal(mesh_load_file(path, &mesh, &report), 0);
			assert_int_equal(ids_new(&ids[k], NULL), 0);
			assert_int_equal(compile_endpoints(mesh, NULL, ids[k], &endpoints[k], NULL), 0);
			assert_int_equal(compile_routes(mesh, ids[k], &routes[k], NULL), 0);
			mesh_free(&mesh);
		}
		assert_int_equal(routes[0]->size_bytes, routes[1]->size_bytes);
		assert_memory_equal(routes[0]->base, routes[1]->base, routes[0]->size_bytes);
		assert_int_equal(endpoints[0]->size_bytes, endpoints[1]->size_bytes);
		assert_memory_equal(endpoints[0]->base, endpoints[1]->base, endpoints[0]->size_bytes);
		for (int k = 0; k < 2; k++) {
			image_free(&routes[k]);
			image_free(&endpoints[k]);
			ids_free(&ids[k]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_taken_over_is_what_would_be_made),
		cmocka_unit_test(test_routes_are_compiled_for_what_they_are_made_of),
		cmocka_unit_test(test_endpoints_compile_no_route),
		cmocka_unit_test(test_a_made_collision_is_not_taken_for_the_same_routes),
		cmocka_unit_test(test_the_same_input_gives_the_same_images),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The endpoint image through the engine's balancer, and its ids over generations and workers. */
#include <arpa/inet.h>
#include <errno.h>

#include "fixture.h"
#include "base/strbuf.h"
#include "compile/compile.h"
#include "mesh/mesh.h"
#include "weft/balance.h"

#define CLUSTER(name, endpoints) \
	"  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n" \
	"    name: " name "\n" \
	"    type: STATIC\n" \
	"    lb_policy: ROUND_ROBIN\n" \
	"    load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [" endpoints "]}]}\n"
#define ENDPOINT(ip, weight) "{endpoint: {address: {socket_address: {address: " ip ", port_value: 80}}}, load_balancing_weight: " weight "}"

static struct mesh *load(const char *text)
{
	struct mesh_report report = MESH_REPORT_INIT;
	struct mesh *mesh = NULL;

	assert_int_equal(mesh_load_text("test", text, strlen(text), &mesh, &report), 0);
	mesh_report_release(&report);
	return mesh;
}

static struct image *compile(struct ids *ids, const char *text)
{
	struct mesh *mesh = load(text);
	struct image *image = NULL;

	assert_int_equal(compile_endpoints(mesh, NULL, ids, &image, NULL), 0);
	mesh_free(&mesh);
	return image;
}

static int pick(const struct image *image, const struct ids *ids, const char *cluster, struct weft_balance_state *state, uint32_t random,
		struct weft_endpoint *out)
{
	struct weft_balance_query query = {
		.image = { image->base, image->size_bytes }, .cluster_id = ids_cluster_find(ids, cluster), .random = random, .state = state,
	};

	return weft_pick_endpoint(&query, out);
}

static void test_round_robin_follows_weights(void **state)
{
	static struct weft_cluster_state clusters[16];
	struct weft_balance_state balance = { .clusters = clusters, .cluster_count = 16 };
	struct ids *ids = NULL;
	struct weft_endpoint endpoint;
	struct image *image;
	uint32_t counts[3] = { 0 }, i;

	assert_int_equal(ids_new(&ids, NULL), 0);
	image = compile(ids, "resources:\n" CLUSTER("a", ENDPOINT("10.0.0.1", "2") "," ENDPOINT("10.0.0.2", "3") "," ENDPOINT("10.0.0.3", "1")));
	for (i = 0; i < 600; i++) {
		assert_int_equal(pick(image, ids, "a", &balance, i, &endpoint), 0);
		counts[(ntohl(endpoint.address.be[3]) & 3) - 1]++;
		assert_int_equal(ntohs(endpoint.port_be), 80);
	}
	assert_int_equal(counts[0], 200);
	assert_int_equal(counts[1], 300);
	assert_int_equal(counts[2], 100);
	assert_int_equal(pick(image, ids, "b", &balance, 0, &endpoint), -ENOENT);
	image_free(&image);
	ids_free(&ids);
}

/* Envoy: two draws, and the better one. A busy endpoint is taken where it was drawn twice; in proportion to 1 / (requests + 1) it hardly ever were. */
static void test_least_request_of_equal_weights_takes_the_better_of_two_draws(void **state)
{
	static struct weft_endpoint_state endpoints[16];
	struct weft_balance_state balance = { .endpoints = endpoints, .endpoint_count = 16 };
	struct ids *ids = NULL;
	struct weft_endpoint endpoint;
	struct image *image;
	uint32_t busy, taken = 0, i;

	assert_int_equal(ids_new(&ids, NULL), 0);
	image = compile(ids, "resources:\n"
			"  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n"
			"    name: a\n"
			"    type: STATIC\n"
			"    lb_policy: LEAST_REQUEST\n"
			"    load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [" ENDPOINT("10.0.0.1", "1") "," ENDPOINT("10.0.0.2", "1") "]}]}\n");
	assert_int_equal(pick(image, ids, "a", &balance, 0, &endpoint), 0);
	assert_true(endpoint.flags & WEFT_ENDPOINT_BY_LOAD);
	assert_false(endpoint.flags & WEFT_ENDPOINT_WEIGHTED);
	endpoints[endpoint.id].active = 1000;
	busy = endpoint.id;
	for (i = 0; i < 4000; i++) {
		assert_int_equal(pick(image, ids, "a", &balance, i * 2654435761u, &endpoint), 0);
		taken += endpoint.id == busy;
	}
	assert_in_range(taken, 900, 1100);
	image_free(&image);
	ids_free(&ids);
}

static void test_an_endpoint_keeps_its_id_when_others_come_and_go(void **state)
{
	struct ids *ids = NULL;
	struct weft_endpoint before, after;
	struct image *first, *second;

	assert_int_equal(ids_new(&ids, NULL), 0);
	first = compile(ids, "resources:\n" CLUSTER("a", ENDPOINT("10.0.0.1", "1")) CLUSTER("b", ENDPOINT("10.0.0.2", "1")));
	assert_int_equal(pick(first, ids, "b", NULL, 0, &before), 0);
	second = compile(ids, "resources:\n" CLUSTER("new", ENDPOINT("10.0.0.3", "1")) CLUSTER("b", ENDPOINT("10.0.0.2", "1")));
	image_free(&first);
	assert_int_equal(pick(second, ids, "b", NULL, 0, &after), 0);
	assert_int_equal(before.id, after.id);
	assert_int_equal(pick(second, ids, "new", NULL, 0, &after), 0);
	assert_int_not_equal(before.id, after.id);
	image_free(&second);
	ids_free(&ids);
}

static void test_the_next_worker_takes_over_the_ids_of_an_image(void **state)
{
	static const char text[] = "resources:\n" CLUSTER("a", ENDPOINT("10.0.0.1", "1")) CLUSTER("b", ENDPOINT("10.0.0.2", "1"));
	static const char later[] = "resources:\n" CLUSTER("first now", ENDPOINT("10.0.0.9", "1")) CLUSTER("b", ENDPOINT("10.0.0.2", "1"));
	struct ids *ids = NULL, *next = NULL;
	struct weft_endpoint before, after;
	struct image *first, *second;
	uint32_t b;

	assert_int_equal(ids_new(&ids, NULL), 0);
	first = compile(ids, text);
	b = ids_cluster_find(ids, "b");
	assert_int_equal(pick(first, ids, "b", NULL, 0, &before), 0);

	assert_int_equal(ids_new(&next, NULL), 0);
	assert_int_equal(ids_adopt(next, first->base, first->size_bytes), 0);
	assert_int_equal(ids_adopt(next, first->base, first->size_bytes), 0);
	second = compile(next, later);
	assert_int_equal(ids_cluster_find(next, "b"), b);
	assert_int_equal(pick(second, next, "b", NULL, 0, &after), 0);
	assert_int_equal(after.id, before.id);
	assert_int_not_equal(ids_cluster_find(next, "first now"), ids_cluster_find(ids, "a"));

	first->base[0] ^= 1;
	assert_int_equal(ids_adopt(next, first->base, first->size_bytes), -EINVAL);
	image_free(&first);
	image_free(&second);
	ids_free(&ids);
	ids_free(&next);
}

static void test_a_cluster_without_endpoints_and_one_that_is_refused_answer_differently(void **state)
{
	struct ids *ids = NULL;
	struct weft_endpoint endpoint;
	struct image *image;

	assert_int_equal(ids_new(&ids, NULL), 0);
	image = compile(ids, "resources:\n"
			     "  - {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: none, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}\n"
			     "  - {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: refused, type: EDS, lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 1000}, eds_cluster_config: {eds_config: {ads: {}}}}\n"
			     "  - {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: hole, type: STATIC}\n");
	assert_int_equal(pick(image, ids, "none", NULL, 0, &endpoint), -EHOSTUNREACH);
	assert_int_equal(pick(image, ids, "hole", NULL, 0, &endpoint), -EHOSTUNREACH);
	assert_int_equal(pick(image, ids, "refused", NULL, 0, &endpoint), -EOPNOTSUPP);
	image_free(&image);
	ids_free(&ids);
}

/* As docs/limits.md says. */
static void test_a_cluster_that_finds_no_ids_is_refused_alone(void **state)
{
	static const struct ids_limits limits = { .clusters = 16, .endpoints = 2 };
	struct ids *ids = NULL;
	struct weft_endpoint endpoint;
	struct image *image;

	assert_int_equal(ids_new(&ids, &limits), 0);
	image = compile(ids, "resources:\n" CLUSTER("a", ENDPOINT("10.0.0.1", "1")) CLUSTER("b", ENDPOINT("10.0.0.2", "1") "," ENDPOINT("10.0.0.3", "1")) CLUSTER("c", ENDPOINT("10.0.0.1", "1")));
	assert_int_equal(pick(image, ids, "a", NULL, 0, &endpoint), 0);
	assert_int_equal(pick(image, ids, "b", NULL, 0, &endpoint), -EOPNOTSUPP);
	assert_int_equal(pick(image, ids, "c", NULL, 0, &endpoint), 0);
	image_free(&image);
	ids_free(&ids);
}

static void test_a_cluster_has_7280_endpoints_at_most(void **state)
{
	for (uint32_t count = 7280; count <= 7281; count++) {
		struct strbuf text = STRBUF_INIT;
		struct ids *ids = NULL;
		struct weft_endpoint endpoint;
		struct image *image;

		strbuf_append_text(&text, "resources:\n  - {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a, type: STATIC, load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [");
		for (uint32_t i = 0; i < count; i++)
			strbuf_printf(&text, "%s{endpoint: {address: {socket_address: {address: 10.1.%u.%u, port_value: 80}}}}", i ? "," : "", i >> 8, i & 255);
		strbuf_append_text(&text, "]}]}}\n");
		assert_int_equal(ids_new(&ids, NULL), 0);
		image = compile(ids, strbuf_text(&text));
		assert_int_equal(pick(image, ids, "a", NULL, 0, &endpoint), count == 7280 ? 0 : -EOPNOTSUPP);
		image_free(&image);
		ids_free(&ids);
		strbuf_release(&text);
	}
}

/* As istiod writes it: the peer can do mTLS and takes plaintext too. */
static const char capable[] = "resources:\n"
			      "  - '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n"
			      "    name: shop\n"
			      "    type: EDS\n"
			      "    eds_cluster_config: {eds_config: {ads: {}}}\n"
			      "    transport_socket_matches:\n"
			      "      - {name: tlsMode-istio, match: {tlsMode: istio}, transport_socket: {name: envoy.transport_sockets.tls, typed_config: "
			      "{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}}\n"
			      "      - {name: tlsMode-disabled, match: {}, transport_socket: {name: envoy.transport_sockets.raw_buffer, typed_config: "
			      "{'@type': type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}\n"
			      "  - '@type': type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n"
			      "    cluster_name: shop\n"
			      "    endpoints:\n"
			      "      - lb_endpoints:\n"
			      "          - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}\n"
			      "            metadata: {filter_metadata: {envoy.transport_socket_match: {tlsMode: istio}}}\n"
			      "            load_balancing_weight: 1\n";

static void test_an_endpoint_that_could_take_mtls_is_reached_without_unless_that_is_forbidden(void **state)
{
	struct mesh *mesh = load(capable);
	struct ids *ids = NULL;
	struct weft_endpoint endpoint;
	struct image *image = NULL;

	assert_int_equal(ids_new(&ids, NULL), 0);
	assert_int_equal(compile_endpoints(mesh, NULL, ids, &image, NULL), 0);
	assert_int_equal(pick(image, ids, "shop", NULL, 0, &endpoint), 0);
	assert_true(endpoint.flags & WEFT_ENDPOINT_MTLS_CAPABLE);
	image_free(&image);
	mesh_require_mtls(mesh, true);
	assert_int_equal(compile_endpoints(mesh, NULL, ids, &image, NULL), 0);
	assert_int_equal(pick(image, ids, "shop", NULL, 0, &endpoint), -EOPNOTSUPP);
	image_free(&image);
	mesh_free(&mesh);
	ids_free(&ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_robin_follows_weights),
		cmocka_unit_test(test_least_request_of_equal_weights_takes_the_better_of_two_draws),
		cmocka_unit_test(test_an_endpoint_keeps_its_id_when_others_come_and_go),
		cmocka_unit_test(test_the_next_worker_takes_over_the_ids_of_an_image),
		cmocka_unit_test(test_a_cluster_without_endpoints_and_one_that_is_refused_answer_differently),
		cmocka_unit_test(test_a_cluster_that_finds_no_ids_is_refused_alone),
		cmocka_unit_test(test_a_cluster_has_7280_endpoints_at_most),
		cmocka_unit_test(test_an_endpoint_that_could_take_mtls_is_reached_without_unless_that_is_forbidden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

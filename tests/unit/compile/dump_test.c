/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "fixture.h"
#include "base/fd.h"
#include "compile/compile.h"
#include "mesh/mesh.h"

static void load(const char *case_name, struct ids *ids, struct image **routes, struct image **endpoints)
{
	struct mesh_report report = MESH_REPORT_INIT;
	struct mesh *mesh = NULL;
	char path[256];

	snprintf(path, sizeof(path), "tests/golden/%s/in.yaml", case_name);
	if (mesh_load_file(path, &mesh, &report))
		fail_msg("can't load %s (tests run in the top folder)", path);
	assert_int_equal(compile_endpoints(mesh, NULL, ids, endpoints, NULL), 0);
	assert_int_equal(compile_routes(mesh, ids, routes, NULL), 0);
	mesh_free(&mesh);
	mesh_report_release(&report);
}

/* What a dump does with bytes that somebody damaged: an error or nonsense, but never outside of the image. */
static void damage_and_dump(const struct image *image, uint64_t *seed, unsigned int *errors)
{
	struct image damaged = *image;
	FILE *nowhere = fopen("/dev/null", "w");
	uint32_t i, count = 1 + random_below(seed, 8);

	/* On the heap and no byte longer, so that the sanitizer sees every step outside. */
	damaged.base = malloc(image->size_bytes);
	memcpy(damaged.base, image->base, image->size_bytes);
	for (i = 0; i < count; i++) {
		uint32_t at = (uint32_t)sizeof(uint64_t) + random_below(seed, image->size_bytes - 16), value = random_next(seed);

		at &= ~3u;
		value = random_below(seed, 2) ? value : random_below(seed, image->size_bytes + 64);
		memcpy(damaged.base + at, &value, sizeof(value));
	}
	*errors += compile_dump(nowhere, &damaged, NULL, random_below(seed, 2) ? DUMP_TEXT : DUMP_JSON) != 0;
	free(damaged.base);
	fclose(nowhere);
}

static void test_a_damaged_image_is_never_read_outside_its_bytes(void **state)
{
	struct ids *ids = NULL;
	struct image *routes = NULL, *endpoints = NULL;
	unsigned int errors = 0;
	uint64_t seed = 5;
	int i;

	assert_int_equal(ids_new(&ids, NULL), 0);
	load("paths", ids, &routes, &endpoints);
	for (i = 0; i < 1500; i++)
		damage_and_dump(i % 3 ? routes : endpoints, &seed, &errors);
	print_message("1500 damaged images: %u seen as such\n", errors);
	assert_true(errors > 100);
	image_free(&routes);
	image_free(&endpoints);
	ids_free(&ids);
}

static void test_json_holds_everything_that_a_program_needs(void **state)
{
	struct ids *ids = NULL;
	struct image *routes = NULL, *endpoints = NULL;
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	assert_int_equal(ids_new(&ids, NULL), 0);
	load("bookshop", ids, &routes, &endpoints);
	assert_int_equal(compile_dump(stream, routes, endpoints, DUMP_JSON), 0);
	assert_int_equal(compile_dump(stream, endpoints, NULL, DUMP_JSON), 0);
	fclose(stream);
	assert_non_null(strstr(text, "\"cluster\": \"outbound|8000|v3|catalog.default.svc.cluster.local\""));
	assert_non_null(strstr(text, "\"address\": \"10.44.1.40:8080\""));
	assert_non_null(strstr(text, "\"verdict\": \"kernel\""));
	free(text);
	image_free(&routes);
	image_free(&endpoints);
	ids_free(&ids);
}

static void test_check_tells_verdicts_and_fails_where_a_resource_was_refused(void **state)
{
	static const char good[] = "resources:\n  - {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: m, type: STATIC, lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 1000}, "
				   "load_assignment: {cluster_name: m, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}}]}]}}\n";
	static const char bad[] = "resources:\n  - {\"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration, name: r, "
				  "virtual_hosts: [{name: a, domains: [x]}, {name: b, domains: [X]}]}\n";
	const char *const texts[] = { good, bad };
	int i;

	for (i = 0; i < 2; i++) {
		struct mesh_report report = MESH_REPORT_INIT;
		struct mesh *mesh = NULL;
		char *out = NULL;
		size_t size;
		FILE *stream = open_memstream(&out, &size);

		assert_int_equal(mesh_load_text("test", texts[i], strlen(texts[i]), &mesh, &report), 0);
		assert_int_equal(compile_check_report(stream, mesh), i ? -EINVAL : 0);
		fclose(stream);
		assert_non_null(strstr(out, "endpoint image: "));
		assert_true(i || strstr(out, "cluster m: refused: least request of 1000 choices"));
		free(out);
		mesh_free(&mesh);
		mesh_report_release(&report);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_damaged_image_is_never_read_outside_its_bytes),
		cmocka_unit_test(test_json_holds_everything_that_a_program_needs),
		cmocka_unit_test(test_check_tells_verdicts_and_fails_where_a_resource_was_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

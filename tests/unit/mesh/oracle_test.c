/* SPDX-License-Identifier: Apache-2.0 */
/* Route configurations that Envoy 1.40 was given in a bootstrap: those it took must load, strictly as there, those it refused must be refused. */
#include "helper.h"

#include <jansson.h>

#include "base/fd.h"

static void test_envoy_and_weft_refuse_the_same_route_configurations(void **state)
{
	_cleanup_fclose_ FILE *file = fopen("tests/data/oracle/rejects.jsonl", "re");
	static char line[1 << 17];
	int failed = 0, count = 0;

	if (!file)
		fail_msg("tests/data/oracle/rejects.jsonl can't be read: run from the root of the repository");
	while (fgets(line, sizeof(line), file)) {
		json_t *entry = json_loads(line, 0, NULL);
		const char *id = json_string_value(json_object_get(entry, "id"));
		bool is_accepted = json_is_true(json_object_get(entry, "accepted"));
		bool is_taken;

		assert_non_null(entry);
		{
			LOADED_STRICTLY(l, json_string_value(json_object_get(entry, "config")));

			is_taken = !l.r && !l.report.error_count && l.mesh->route_config_count == 1;
			if (is_taken != is_accepted) {
				fprintf(stderr, "%s: Envoy %s it (%s), weft %s it\n", id, is_accepted ? "takes" : "refuses",
					json_string_value(json_object_get(entry, "envoy")), is_taken ? "takes" : "refuses");
				mesh_report_print(&l.report, stderr);
				failed++;
			}
		}
		json_decref(entry);
		count++;
	}
	assert_int_equal(failed, 0);
	assert_true(count > 200);
}

static void test_route_configurations_of_the_oracle_load(void **state)
{
	static const char *const names[] = { "paths", "headers", "header-mutation", "redirect", "retry" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct mesh_report report = MESH_REPORT_INIT;
		struct mesh *mesh = NULL;
		char path[64];

		snprintf(path, sizeof(path), "tests/data/oracle/%s.yaml", names[i]);
		assert_int_equal(mesh_load_file(path, &mesh, &report), 0);
		assert_int_equal(report.error_count, 0);
		assert_int_equal(mesh->route_config_count, 1);
		mesh_free(&mesh);
		mesh_report_release(&report);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_envoy_and_weft_refuse_the_same_route_configurations),
		cmocka_unit_test(test_route_configurations_of_the_oracle_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

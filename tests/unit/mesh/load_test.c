/* SPDX-License-Identifier: Apache-2.0 */
/* The file as a whole, and the mesh as a container. */
#include "helper.h"

#define CLUSTER(name) "- {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: " name "}\n"
#define POD           "{name: cli, ip: 10.7.0.2, network_namespace: /run/netns/cli, cgroup: /sys/fs/cgroup/cli}"

static void test_an_empty_file_is_an_empty_mesh(void **state)
{
	LOADED(l, "");

	assert_no_errors(&l);
	assert_int_equal(l.mesh->listener_count + l.mesh->cluster_count + l.mesh->refused_count, 0);
	assert_int_equal(pods_count(l.mesh->pods), 0);
}

static void test_pods_are_read_with_their_places(void **state)
{
	LOADED(l, "pods:\n- " POD "\n- {name: web, namespace: shop, ip: 'FD00:0::5', additional_ips: [10.7.0.3], network_namespace: /n, cgroup: /c,"
		  " labels: {version: v1, app: web}}\n");
	const struct pod *pod;

	assert_no_errors(&l);
	assert_int_equal(pods_count(l.mesh->pods), 2);
	pod = pods_find(l.mesh->pods, "shop", "web");
	assert_non_null(pod);
	assert_int_equal(pod->line, 3);
	assert_string_equal(pod->file, "test.yaml");
	assert_string_equal(pod->ips[0].text, "fd00::5");
	assert_string_equal(pod->ips[1].text, "10.7.0.3");
	assert_string_equal(pod_label(pod, "app"), "web");
	assert_null(pod_label(pod, "tier"));
	assert_string_equal(pods_at(l.mesh->pods, 0)->namespace_name, "default");
}

static void test_a_bad_pod_makes_the_file_bad(void **state)
{
	static const struct {
		const char *text, *part;
		uint32_t line;
	} cases[] = {
		{ "pods:\n- {name: x}\n", "a pod needs", 2 },
		{ "pods:\n- " POD "\n- " POD "\n", "the same name or address", 3 },
		{ "pods:\n- {name: x, ip: nowhere, network_namespace: /n, cgroup: /c}\n", "no IP address", 2 },
		{ "pods:\n- {name: x, ip: 10.0.0.1, netns: /n, cgroup: /c}\n", "`netns` is not a key", 2 },
		{ "pods: {}\n", "expected a list", 1 },
		{ "pod: []\n", "`pod` is not a key", 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		LOADED(l, cases[i].text);

		assert_int_equal(l.r, -EINVAL);
		assert_null(l.mesh);
		assert_int_equal(find_message(&l, MESH_ERROR, cases[i].part)->line, cases[i].line);
	}
}

static void test_unknown_resource_types_make_the_file_bad(void **state)
{
	LOADED(unknown, "resources:\n- {'@type': type.googleapis.com/no.such.Resource}\n");
	LOADED(no_resource, "resources:\n- {'@type': type.googleapis.com/envoy.config.route.v3.Route, match: {prefix: /}}\n");
	LOADED(no_type, "resources:\n- {name: x}\n");

	assert_int_equal(unknown.r, -EINVAL);
	find_message(&unknown, MESH_ERROR, "weft knows no resource of type");
	assert_int_equal(no_resource.r, -EINVAL);
	find_message(&no_resource, MESH_ERROR, "not a resource");
	assert_int_equal(no_type.r, -EINVAL);
	find_message(&no_type, MESH_ERROR, "\"@type\" is missing");
}

static void test_a_bootstrap_and_a_list_of_resources_go_together(void **state)
{
	LOADED(l, "static_resources:\n  clusters:\n  - {name: a}\n  - {name: b, connect_timeout: 0s}\n  listeners: []\nresources:\n" CLUSTER("c"));
	LOADED(twice, "static_resources:\n  clusters:\n  - {name: c}\nresources:\n" CLUSTER("c"));
	LOADED(unknown, "static_resources: {routes: []}\n");

	assert_int_equal(l.r, 0);
	assert_int_equal(l.mesh->cluster_count, 2);
	assert_string_equal(l.mesh->clusters[0]->resource.name, "c");
	assert_string_equal(l.mesh->clusters[1]->resource.name, "a");
	assert_int_equal(l.mesh->clusters[1]->resource.place.line, 3);
	assert_string_equal(find_message(&l, MESH_ERROR, "connect_timeout")->path, "static_resources.clusters[1]");
	assert_int_equal(twice.r, -EINVAL);
	find_message(&twice, MESH_ERROR, "another resource before it has the same type and name");
	assert_int_equal(unknown.r, -EINVAL);
}

static void test_a_refused_resource_leaves_the_rest_served(void **state)
{
	LOADED(l, "resources:\n" CLUSTER("a") "- {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: b, connect_timeout: 0s}\n" CLUSTER("c"));

	assert_int_equal(l.r, 0);
	assert_int_equal(l.report.error_count, 1);
	assert_int_equal(l.mesh->cluster_count, 2);
	assert_int_equal(l.mesh->refused_count, 1);
	assert_string_equal(l.mesh->refused[0]->name, "b");
	assert_int_equal(l.mesh->refused[0]->place.line, 3);
	assert_string_equal(l.mesh->refused[0]->place.file, "test.yaml");
}

static void test_an_unknown_field_of_a_resource_makes_the_file_bad_if_that_is_asked_for(void **state)
{
	const char *text = "resources:\n" CLUSTER("a") "- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: b\n  frobnication: 1\n";
	LOADED(loose, text);
	LOADED_STRICTLY(strict, text);
	LOADED_STRICTLY(good, "resources:\n" CLUSTER("a"));

	assert_int_equal(loose.r, 0);
	assert_int_equal(find_message(&loose, MESH_WARNING, "`frobnication` is no field of envoy.config.cluster.v3.Cluster that weft knows")->line, 5);
	assert_int_equal(strict.r, -EINVAL);
	assert_null(strict.mesh);
	assert_int_equal(find_message(&strict, MESH_ERROR, "`frobnication` is no field of envoy.config.cluster.v3.Cluster that weft knows")->line, 5);
	assert_string_equal(find_message(&strict, MESH_ERROR, "frobnication")->path, "resources[1]");
	assert_no_errors(&good);
}

static void test_a_missing_file_and_a_folder_are_said_so(void **state)
{
	struct mesh_report report = MESH_REPORT_INIT;
	struct mesh *mesh = NULL;

	assert_int_equal(mesh_load_file("/no/such/file", &mesh, &report), -ENOENT);
	assert_int_equal(mesh_load_file("/tmp", &mesh, &report), -EISDIR);
	assert_int_equal(report.error_count, 2);
	assert_null(mesh);
	mesh_report_release(&report);
}

/* name: field 1 of a cluster, then connect_timeout { seconds } */
static int add_cluster(struct mesh *mesh, const char *name, char seconds)
{
	uint8_t bytes[32];
	size_t size = strlen(name), at = 0;

	bytes[at++] = 0x0a;
	bytes[at++] = (uint8_t)size;
	memcpy(bytes + at, name, size);
	at += size;
	memcpy(bytes + at, "\x22\x02\x08", 3);
	bytes[at + 3] = (uint8_t)seconds;
	return mesh_add_resource(mesh, mesh_kind_type_url(MESH_CLUSTER), bytes, at + 4, NULL);
}

static void test_resources_are_replaced_in_place_and_removed(void **state)
{
	_cleanup_(mesh_free) struct mesh *mesh = NULL;
	char name[16];
	uint64_t hash;

	assert_int_equal(mesh_new(&mesh), 0);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		assert_int_equal(add_cluster(mesh, name, 1), 0);
	}
	hash = mesh_find_cluster(mesh, "c7")->resource.content_hash;
	assert_int_equal(add_cluster(mesh, "c7", 2), 0);
	assert_int_equal(mesh->cluster_count, 50);
	assert_string_equal(mesh->clusters[7]->resource.name, "c7");
	assert_int_equal(mesh->clusters[7]->connect_timeout_ms, 2000);
	assert_true(mesh->clusters[7]->resource.content_hash != hash);

	assert_int_equal(mesh_remove_resource(mesh, MESH_CLUSTER, "c3"), 0);
	assert_int_equal(mesh_remove_resource(mesh, MESH_CLUSTER, "c3"), -ENOENT);
	assert_int_equal(mesh_remove_resource(mesh, MESH_LISTENER, "c4"), -ENOENT);
	assert_int_equal(mesh->cluster_count, 49);
	assert_string_equal(mesh->clusters[3]->resource.name, "c4");
	assert_int_equal(add_cluster(mesh, "c4", 9), 0);
	assert_int_equal(mesh->clusters[3]->connect_timeout_ms, 9000);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		assert_int_equal(mesh_remove_resource(mesh, MESH_CLUSTER, name), i == 3 ? -ENOENT : 0);
	}
	assert_int_equal(mesh->cluster_count, 0);
}

static void test_a_refusal_keeps_the_last_good_one_until_it_is_mended(void **state)
{
	_cleanup_(mesh_free) struct mesh *mesh = NULL;

	assert_int_equal(mesh_new(&mesh), 0);
	assert_int_equal(add_cluster(mesh, "c", 1), 0);
	assert_int_equal(add_cluster(mesh, "c", 0), -EINVAL);
	assert_int_equal(add_cluster(mesh, "c", 0), -EINVAL);
	assert_int_equal(mesh->cluster_count, 1);
	assert_int_equal(mesh->clusters[0]->connect_timeout_ms, 1000);
	assert_int_equal(mesh->refused_count, 1);
	assert_string_equal(mesh->refused[0]->text, "connect_timeout must be more than 0 s");
	assert_int_equal(add_cluster(mesh, "c", 3), 0);
	assert_int_equal(mesh->refused_count, 0);
}

static void test_broken_bytes_and_other_types_are_told_apart(void **state)
{
	_cleanup_(mesh_free) struct mesh *mesh = NULL;

	assert_int_equal(mesh_new(&mesh), 0);
	assert_int_equal(mesh_add_resource(mesh, "type.googleapis.com/envoy.config.route.v3.Route", "", 0, NULL), -EPROTONOSUPPORT);
	assert_int_equal(mesh_add_resource(mesh, mesh_kind_type_url(MESH_CLUSTER), "\x0a\x05", 2, NULL), -EINVAL);
	assert_int_equal(mesh->refused_count, 1);
	assert_string_equal(mesh->refused[0]->name, "");
}

static void test_a_report_prints_what_a_person_needs(void **state)
{
	LOADED(l, "resources:\n" CLUSTER("[x]"));
	char text[512] = { 0 };
	FILE *stream = fmemopen(text, sizeof(text), "w");

	mesh_report_print(&l.report, stream);
	fclose(stream);
	assert_string_equal(text, "test.yaml:2:72: error: resources[0].name: expected a text, found a list\n");
}

/* Clusters and assignments in any order, one or the other missing, sorted or as they came: in turn as by name. */
static void test_assignments_are_found_in_turn_as_by_name(void **state)
{
	static const char *const names[] = { "d", "a", "c", "e", "b", "g", "f" };
	uint32_t random = 1;

	for (int round = 0; round < 300; round++) {
		struct mesh *mesh = NULL;
		size_t at = 0;

		assert_int_equal(round & 1 ? mesh_new_sorted(&mesh) : mesh_new(&mesh), 0);
		for (int i = 0; i < 20; i++) {
			const char *name = names[(random >> 24) % ARRAY_SIZE(names)];
			const char cluster[] = { 1 << 3 | 2, 1, *name, 2 << 3, 3, 3 << 3 | 2, 4, 1 << 3 | 2, 2, 0x1a, 0 };
			const char assignment[] = { 1 << 3 | 2, 1, *name };
			bool is_cluster = random >> 20 & 1;

			if (random >> 21 & 1)
				assert_int_equal(mesh_add_resource(mesh, mesh_kind_type_url(is_cluster ? MESH_CLUSTER : MESH_LOAD_ASSIGNMENT),
								   is_cluster ? cluster : assignment, is_cluster ? sizeof(cluster) : sizeof(assignment), NULL), 0);
			else
				(void)mesh_remove_resource(mesh, is_cluster ? MESH_CLUSTER : MESH_LOAD_ASSIGNMENT, name);
			random = random * 1664525 + 1013904223;
		}
		for (size_t i = 0; i < mesh->cluster_count; i++)
			assert_ptr_equal(mesh_next_endpoints(mesh, mesh->clusters[i], &at), mesh_cluster_endpoints(mesh, mesh->clusters[i]));
		mesh_free(&mesh);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_empty_file_is_an_empty_mesh),
		cmocka_unit_test(test_pods_are_read_with_their_places),
		cmocka_unit_test(test_a_bad_pod_makes_the_file_bad),
		cmocka_unit_test(test_unknown_resource_types_make_the_file_bad),
		cmocka_unit_test(test_a_bootstrap_and_a_list_of_resources_go_together),
		cmocka_unit_test(test_a_refused_resource_leaves_the_rest_served),
		cmocka_unit_test(test_an_unknown_field_of_a_resource_makes_the_file_bad_if_that_is_asked_for),
		cmocka_unit_test(test_a_missing_file_and_a_folder_are_said_so),
		cmocka_unit_test(test_resources_are_replaced_in_place_and_removed),
		cmocka_unit_test(test_a_refusal_keeps_the_last_good_one_until_it_is_mended),
		cmocka_unit_test(test_broken_bytes_and_other_types_are_told_apart),
		cmocka_unit_test(test_assignments_are_found_in_turn_as_by_name),
		cmocka_unit_test(test_a_report_prints_what_a_person_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

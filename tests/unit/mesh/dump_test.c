/* SPDX-License-Identifier: Apache-2.0 */
/* Envoy's /config_dump, written and read: what istiod sent, as JSON in that shape, must load as the very same resources. */
#include "helper.h"

#include "base/fd.h"
#include "google/protobuf/any.pb-c.h"
#include "mesh/proto_json.h"

static const struct {
	const char *name, *type, *list, *key;
	enum mesh_kind kind;
} parts[] = {
	{ "bookshop-cds", "ClustersConfigDump", "dynamic_active_clusters", "cluster", MESH_CLUSTER },
	{ "bookshop-eds", "EndpointsConfigDump", "dynamic_endpoint_configs", "endpoint_config", MESH_LOAD_ASSIGNMENT },
	{ "bookshop-rds", "RoutesConfigDump", "dynamic_route_configs", "route_config", MESH_ROUTE_CONFIG },
	{ "kinds-rds", "RoutesConfigDump", "dynamic_route_configs", "route_config", MESH_ROUTE_CONFIG },
	{ "kinds-eds", "EndpointsConfigDump", "dynamic_endpoint_configs", "endpoint_config", MESH_LOAD_ASSIGNMENT },
	{ "routing-rds", "RoutesConfigDump", "dynamic_route_configs", "route_config", MESH_ROUTE_CONFIG },
	{ "balancing-cds", "ClustersConfigDump", "dynamic_active_clusters", "cluster", MESH_CLUSTER },
};

static void test_timestamps_and_unknown_parts_do_no_harm(void **state)
{
	struct loaded l = load_text("{\"configs\": ["
				    "{\"@type\": \"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump\", \"bootstrap\": {\"x\": 1}},"
				    "{\"@type\": \"type.googleapis.com/envoy.admin.v3.ClustersConfigDump\", \"versionInfo\": \"1\", \"dynamicActiveClusters\": ["
				    "{\"versionInfo\": \"1\", \"lastUpdated\": \"2026-11-21T23:00:41.123Z\", \"cluster\": {"
				    "\"@type\": \"type.googleapis.com/envoy.config.cluster.v3.Cluster\", \"name\": \"a\", \"connectTimeout\": \"1s\"}}]},"
				    "{\"@type\": \"type.googleapis.com/envoy.admin.v3.ListenersConfigDump\", \"dynamic_listeners\": ["
				    "{\"name\": \"gone\", \"draining_state\": {\"version_info\": \"1\"}}]}]}");

	assert_no_errors(&l);
	assert_non_null(mesh_find_cluster(l.mesh, "a"));
	assert_int_equal(l.mesh->listener_count, 0);
	loaded_release(&l);
}

static void test_a_time_that_is_none_is_an_error(void **state)
{
	struct loaded l = load_text("{\"configs\": [{\"@type\": \"type.googleapis.com/envoy.admin.v3.ClustersConfigDump\","
				    "\"dynamic_active_clusters\": [{\"last_updated\": \"yesterday\"}]}]}");

	assert_int_equal(l.r, -EINVAL);
	find_message(&l, MESH_ERROR, "expected a time");
	loaded_release(&l);
}

static void test_a_time_is_written_with_its_fraction(void **state)
{
	struct arena scratch = ARENA_INIT;
	/* seconds: 1, nanos: 500000000; and nanos: 1 */
	json_t *half = proto_json_any("type.googleapis.com/google.protobuf.Timestamp", (const uint8_t *)"\x08\x01\x10\x80\xca\xb5\xee\x01", 8, &scratch);
	json_t *least = proto_json_any("type.googleapis.com/google.protobuf.Timestamp", (const uint8_t *)"\x10\x01", 2, &scratch);

	assert_string_equal(json_string_value(json_object_get(half, "value")), "1970-01-01T00:00:01.500Z");
	assert_string_equal(json_string_value(json_object_get(least, "value")), "1970-01-01T00:00:00.000000001Z");
	json_decref(half);
	json_decref(least);
	arena_release(&scratch);
}

/* The resources of a recorded response: field 2, repeated Any. */
static size_t split(const struct strbuf *bytes, Google__Protobuf__Any *out[], size_t max)
{
	size_t at = 0, count = 0;

	while (at < bytes->size) {
		uint8_t key = (uint8_t)bytes->data[at++];
		size_t length = 0;
		int shift = 0;

		do {
			length |= (size_t)(bytes->data[at] & 0x7f) << shift;
			shift += 7;
		} while (bytes->data[at++] & 0x80);
		if (key == (2 << 3 | 2)) {
			assert_true(count < max);
			out[count] = google__protobuf__any__unpack(NULL, length, (const uint8_t *)bytes->data + at);
			assert_non_null(out[count++]);
		}
		at += length;
	}
	return count;
}

static char *dump_of(size_t part, Google__Protobuf__Any *const *resources, size_t count)
{
	struct arena scratch = ARENA_INIT;
	json_t *list = json_array(), *dump;
	char type[96], *text;

	snprintf(type, sizeof(type), "type.googleapis.com/envoy.admin.v3.%s", parts[part].type);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:s, s:o}", "version_info", "1", parts[part].key,
						      proto_json_any(resources[i]->type_url, resources[i]->value.data, resources[i]->value.len, &scratch)));
	dump = json_pack("{s:[{s:s, s:o}]}", "configs", "@type", type, parts[part].list, list);
	assert_non_null(dump);
	text = json_dumps(dump, 0);
	json_decref(dump);
	arena_release(&scratch);
	return text;
}

static const struct mesh_resource *find(const struct mesh *mesh, enum mesh_kind kind, const char *name)
{
	const void *found = kind == MESH_CLUSTER ? (const void *)mesh_find_cluster(mesh, name) :
			    kind == MESH_ROUTE_CONFIG ? (const void *)mesh_find_route_config(mesh, name) :
							(const void *)mesh_find_load_assignment(mesh, name);

	return found;
}

static void test_what_was_sent_survives_as_json(void **state)
{
	for (size_t part = 0; part < ARRAY_SIZE(parts); part++) {
		Google__Protobuf__Any *resources[128];
		struct strbuf bytes = STRBUF_INIT;
		struct mesh *sent = NULL;
		struct loaded l;
		char path[128], *text;
		size_t count;

		snprintf(path, sizeof(path), "tests/data/istiod/%s.pb", parts[part].name);
		assert_int_equal(file_read(path, 1 << 20, &bytes), 0);
		count = split(&bytes, resources, ARRAY_SIZE(resources));
		text = dump_of(part, resources, count);
		l = load_text(text);
		assert_no_errors(&l);
		assert_int_equal(mesh_new(&sent), 0);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(mesh_add_resource(sent, resources[i]->type_url, resources[i]->value.data, resources[i]->value.len, NULL), 0);
		assert_int_equal(l.mesh->cluster_count + l.mesh->route_config_count + l.mesh->load_assignment_count, count);
		for (size_t i = 0; i < count; i++) {
			const struct mesh_resource *was = parts[part].kind == MESH_CLUSTER ? &sent->clusters[i]->resource :
							  parts[part].kind == MESH_ROUTE_CONFIG ? &sent->route_configs[i]->resource :
												  &sent->load_assignments[i]->resource;
			const struct mesh_resource *is = find(l.mesh, parts[part].kind, was->name);

			assert_non_null(is);
			assert_int_equal(is->reasons.count, was->reasons.count);
			for (size_t j = 0; j < was->reasons.count; j++)
				assert_string_equal(is->reasons.items[j].path, was->reasons.items[j].path);
			google__protobuf__any__free_unpacked(resources[i], NULL);
		}
		mesh_free(&sent);
		loaded_release(&l);
		strbuf_release(&bytes);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_sent_survives_as_json),
		cmocka_unit_test(test_timestamps_and_unknown_parts_do_no_harm),
		cmocka_unit_test(test_a_time_that_is_none_is_an_error),
		cmocka_unit_test(test_a_time_is_written_with_its_fraction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

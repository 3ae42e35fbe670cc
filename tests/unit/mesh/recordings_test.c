/* SPDX-License-Identifier: Apache-2.0 */
/* Responses of a real istiod, recorded both serialized and as JSON. What the YAML reader makes of the JSON must say the same as the bytes that
 * were sent: that checks the reader and the numbers of the .proto files at once, against somebody else's code. And all of it must load. */
#include "helper.h"

#include "base/fd.h"
#include "google/protobuf/any.pb-c.h"
#include "mesh/proto_field.h"
#include "mesh/registry.h"
#include "mesh/wire.h"
#include "mesh/yaml_message.h"
#include "weft/config/v1/config.pb-c.h"

static const char *const recordings[] = { "bookshop-cds", "bookshop-lds", "bookshop-eds", "bookshop-rds",
					  "routing-rds",  "kinds-rds",    "kinds-eds",    "balancing-cds" };

static void read_data(const char *name, const char *suffix, struct strbuf *out)
{
	char path[128];

	snprintf(path, sizeof(path), "tests/data/istiod/%s.%s", name, suffix);
	if (file_read(path, 1 << 20, out))
		fail_msg("%s can't be read: run from the root of the repository", path);
}

/* ---- a message as text: fields by number, maps sorted, what an Any holds spelled out, unknown fields left out ---- */

static void dump_message(const ProtobufCMessage *message, int depth, struct strbuf *out);

static void dump_value(const ProtobufCFieldDescriptor *field, const void *member, int depth, struct strbuf *out)
{
	const ProtobufCBinaryData *binary = member;

	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		strbuf_printf(out, "\"%s\"\n", *(char *const *)member);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		strbuf_append_text(out, "{\n");
		dump_message(*(ProtobufCMessage *const *)member, depth + 1, out);
		strbuf_printf(out, "%*s}\n", depth, "");
		break;
	case PROTOBUF_C_TYPE_BYTES:
		for (size_t i = 0; i < binary->len; i++)
			strbuf_printf(out, "%02x", binary->data[i]);
		strbuf_append_text(out, "\n");
		break;
	default:
		if (field_item_size(field) == 8)
			strbuf_printf(out, "%llu\n", (unsigned long long)*(const uint64_t *)member);
		else
			strbuf_printf(out, "%u\n", *(const uint32_t *)member);
		break;
	}
}

static int by_key(const void *a, const void *b)
{
	const ProtobufCMessage *x = *(ProtobufCMessage *const *)a, *y = *(ProtobufCMessage *const *)b;

	return strcmp(*(char **)field_member(x, &x->descriptor->fields[0]), *(char **)field_member(y, &y->descriptor->fields[0]));
}

static void dump_any(const Google__Protobuf__Any *any, int depth, struct strbuf *out)
{
	const ProtobufCMessageDescriptor *descriptor = registry_find_url(any->type_url);
	_cleanup_(arena_release) struct arena arena = ARENA_INIT;
	ProtobufCMessage *message;
	const char *problem;

	strbuf_printf(out, "%*s@%s\n", depth, "", any->type_url);
	if (!descriptor)
		return; /* the reader can't serialize it either */
	if (wire_unpack(descriptor, any->value.data, any->value.len, &arena, &message, &problem))
		fail_msg("%s: %s", any->type_url, problem);
	dump_message(message, depth, out);
}

static void dump_message(const ProtobufCMessage *message, int depth, struct strbuf *out)
{
	if (message->descriptor == &google__protobuf__any__descriptor) {
		dump_any((const Google__Protobuf__Any *)message, depth, out);
		return;
	}
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		size_t size = field_item_size(field), count = 1;
		uint8_t *items = field_member(message, field);

		if (!field_is_set(message, field))
			continue;
		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			count = field_count(message, field);
			items = *(uint8_t **)items;
			if (field_is_map(field))
				qsort(items, count, size, by_key);
		}
		for (size_t j = 0; j < count; j++) {
			strbuf_printf(out, "%*s%s: ", depth, "", field->name);
			dump_value(field, items + j * size, depth, out);
		}
	}
}

/* ---- */

/* The resources of a DiscoveryResponse: field 2, repeated Any. */
static size_t split_response(const uint8_t *bytes, size_t size, Google__Protobuf__Any **out, size_t limit)
{
	size_t at = 0, count = 0;

	while (at < size) {
		uint8_t key = bytes[at++];
		size_t length = 0;
		int shift = 0;

		do {
			length |= (size_t)(bytes[at] & 0x7f) << shift;
			shift += 7;
		} while (bytes[at++] & 0x80);
		if ((key & 7) != 2)
			continue;
		if (key == (2 << 3 | 2)) {
			assert_true(count < limit);
			out[count] = google__protobuf__any__unpack(NULL, length, bytes + at);
			assert_non_null(out[count++]);
		}
		at += length;
	}
	return count;
}

static void test_json_and_bytes_of_a_response_say_the_same(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(recordings); i++) {
		_cleanup_(strbuf_release) struct strbuf json = STRBUF_INIT, bytes = STRBUF_INIT;
		_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
		_cleanup_(arena_release) struct arena arena = ARENA_INIT;
		struct yaml_reader reader = { .file = recordings[i], .arena = &arena, .report = &report, .path = STRBUF_INIT };
		Google__Protobuf__Any *sent[100];
		const Weft__Config__V1__Config *config;
		const struct yaml_node *root;
		ProtobufCMessage *message;
		size_t count;

		read_data(recordings[i], "json", &json);
		read_data(recordings[i], "pb", &bytes);
		count = split_response((const uint8_t *)bytes.data, bytes.size, sent, ARRAY_SIZE(sent));
		assert_int_equal(yaml_tree_parse(recordings[i], json.data, json.size, &arena, &root, &report), 0);
		assert_int_equal(yaml_message_read(&reader, root, &weft__config__v1__config__descriptor, &message), 0);
		config = (const Weft__Config__V1__Config *)message;
		assert_int_equal(config->n_resources, count);
		for (size_t j = 0; j < count; j++) {
			_cleanup_(strbuf_release) struct strbuf ours = STRBUF_INIT, theirs = STRBUF_INIT;

			dump_any(config->resources[j], 0, &ours);
			dump_any(sent[j], 0, &theirs);
			assert_true(theirs.size > 100);
			assert_string_equal(strbuf_text(&ours), strbuf_text(&theirs));
			google__protobuf__any__free_unpacked(sent[j], NULL);
		}
		strbuf_release(&reader.path);
	}
}

static struct loaded load_recording(const char *name)
{
	struct loaded l = { .report = MESH_REPORT_INIT };
	char path[128];

	snprintf(path, sizeof(path), "tests/data/istiod/%s.json", name);
	l.r = mesh_load_file(path, &l.mesh, &l.report);
	return l;
}

static void test_every_recording_loads_without_an_error(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(recordings); i++) {
		_cleanup_(loaded_release) struct loaded l = load_recording(recordings[i]);

		assert_no_errors(&l);
		assert_int_equal(l.mesh->refused_count, 0);
	}
}

/* The same model, whichever way it came. */
static void test_bytes_of_every_recording_are_taken_as_xds_would_bring_them(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(recordings); i++) {
		_cleanup_(loaded_release) struct loaded l = load_recording(recordings[i]);
		_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
		_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
		_cleanup_(mesh_free) struct mesh *mesh = NULL;
		Google__Protobuf__Any *sent[100];
		size_t count;

		read_data(recordings[i], "pb", &bytes);
		count = split_response((const uint8_t *)bytes.data, bytes.size, sent, ARRAY_SIZE(sent));
		assert_int_equal(mesh_new(&mesh), 0);
		for (size_t j = 0; j < count; j++) {
			assert_int_equal(mesh_add_resource(mesh, sent[j]->type_url, sent[j]->value.data, sent[j]->value.len, &report), 0);
			google__protobuf__any__free_unpacked(sent[j], NULL);
		}
		assert_int_equal(mesh->listener_count, l.mesh->listener_count);
		assert_int_equal(mesh->cluster_count, l.mesh->cluster_count);
		assert_int_equal(mesh->route_config_count, l.mesh->route_config_count);
		assert_int_equal(mesh->load_assignment_count, l.mesh->load_assignment_count);
	}
}

static void test_an_outbound_listener_of_istiod_is_whole_in_the_model(void **state)
{
	_cleanup_(loaded_release) struct loaded l = load_recording("bookshop-lds");
	const struct mesh_listener *listener = mesh_find_listener(l.mesh, "0.0.0.0_8000");
	const struct mesh_filter_chain *chain;

	assert_non_null(listener);
	assert_int_equal(listener->resource.reasons.count, 0);
	assert_int_equal(listener->address.kind, MESH_ADDRESS_IP);
	assert_int_equal(listener->address.port, 8000);
	assert_int_equal(listener->direction, MESH_DIRECTION_OUTBOUND);
	assert_false(listener->binds_to_port);
	assert_int_equal(listener->listener_filters.items[0].kind, MESH_FILTER_IGNORED);
	assert_int_equal(listener->filter_chain_count, 1);
	chain = &listener->filter_chains[0];
	assert_int_equal(chain->reasons.count, 0);
	assert_string_equal(chain->match.transport_protocol, "raw_buffer");
	assert_string_equal(chain->match.application_protocols.items[1], "h2c");
	assert_int_equal(chain->kind, MESH_CHAIN_HTTP);
	assert_string_equal(chain->http->route_config_name, "8000");
	assert_true(chain->http->normalize_path);
	assert_int_equal(chain->http->stream_idle_timeout_ms, 0);
	assert_string_equal(chain->http->upgrades.items[0].type, "websocket");
	assert_int_equal(chain->http->filters.items[chain->http->filters.count - 1].kind, MESH_FILTER_ROUTER);
	assert_int_equal(listener->default_filter_chain->kind, MESH_CHAIN_TCP);
	assert_string_equal(listener->default_filter_chain->tcp->clusters[0].name, "PassthroughCluster");
}

static void test_clusters_and_endpoints_of_istiod_are_whole_in_the_model(void **state)
{
	_cleanup_(loaded_release) struct loaded clusters = load_recording("bookshop-cds"), endpoints = load_recording("bookshop-eds");
	const struct mesh_cluster *cluster = mesh_find_cluster(clusters.mesh, "outbound|8000||storefront.default.svc.cluster.local");
	const struct mesh_load_assignment *assignment =
		mesh_find_load_assignment(endpoints.mesh, "outbound|8000|v1|catalog.default.svc.cluster.local");

	assert_non_null(cluster);
	assert_int_equal(cluster->resource.reasons.count, 0);
	assert_int_equal(cluster->kind, MESH_CLUSTER_EDS);
	assert_string_equal(cluster->eds_name, cluster->resource.name);
	assert_int_equal(cluster->lb_policy, MESH_LB_LEAST_REQUEST);
	assert_int_equal(cluster->connect_timeout_ms, 10000);
	assert_true(cluster->circuit_breaker.max_requests == UINT32_MAX);
	assert_int_equal(cluster->healthy_panic_percent, 0);
	assert_int_equal(cluster->transport_match_count, 2);
	assert_string_equal(cluster->transport_matches[0].tls_mode, "istio");
	assert_int_equal(cluster->transport_matches[0].transport, MESH_TRANSPORT_TLS);
	assert_true(cluster->transport_matches[1].matches_all);
	assert_int_equal(cluster->transport_matches[1].transport, MESH_TRANSPORT_RAW);

	assert_non_null(assignment);
	assert_int_equal(assignment->locality_count, 3);
	assert_int_equal(assignment->endpoint_count, 3);
	assert_string_equal(assignment->localities[1].zone, "zone-b");
	assert_string_equal(assignment->localities[0].endpoints[0].address.text, "10.44.1.20");
	assert_int_equal(assignment->localities[0].endpoints[0].health, MESH_HEALTH_HEALTHY);
	assert_string_equal(assignment->localities[0].endpoints[0].workload, "catalog-v1-6f7d4548-0;default;catalog;v1;Kubernetes");
}

static void test_routes_of_istiod_are_whole_in_the_model(void **state)
{
	_cleanup_(loaded_release) struct loaded l = load_recording("bookshop-rds");
	const struct mesh_route_config *config = mesh_find_route_config(l.mesh, "80");
	const struct mesh_route *route;

	assert_non_null(config);
	assert_true(config->ignores_port_in_host);
	route = &config->virtual_hosts[0].routes[0];
	assert_string_equal(route->name, "testers");
	assert_int_equal(route->reasons.count, 0);
	assert_int_equal(route->match.path_kind, MESH_PATH_PREFIX);
	assert_string_equal(route->match.headers[0].string.text, "editor");
	assert_int_equal(route->forward.timeout_ms, 0);
	assert_int_equal(route->forward.grpc_timeout_header_max_ms, 0);
	assert_int_equal(route->forward.retry->num_retries, 2);
	assert_int_equal(route->forward.retry->retry_on, MESH_RETRY_CONNECT_FAILURE | MESH_RETRY_REFUSED_STREAM | MESH_RETRY_GRPC_UNAVAILABLE |
								 MESH_RETRY_GRPC_CANCELLED | MESH_RETRY_STATUS_CODES);
	assert_true(route->forward.retry->avoids_previous_hosts);
	assert_int_equal(route->forward.retry->host_selection_attempts, 5);
	route = &config->virtual_hosts[0].routes[1];
	assert_int_equal(route->action, MESH_ACTION_WEIGHTED);
	assert_int_equal(route->forward.total_weight, 100);
	assert_int_equal(route->forward.weighted[1].weight, 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_and_bytes_of_a_response_say_the_same),
		cmocka_unit_test(test_every_recording_loads_without_an_error),
		cmocka_unit_test(test_bytes_of_every_recording_are_taken_as_xds_would_bring_them),
		cmocka_unit_test(test_an_outbound_listener_of_istiod_is_whole_in_the_model),
		cmocka_unit_test(test_clusters_and_endpoints_of_istiod_are_whole_in_the_model),
		cmocka_unit_test(test_routes_of_istiod_are_whole_in_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

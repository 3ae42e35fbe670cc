/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/core/v3/core.pb-c.h"
#include "envoy/config/route/v3/route.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "mesh/yaml_message.h"
#include "stats/stats.pb-c.h"
#include "weft/config/v1/config.pb-c.h"

struct message {
	struct arena arena;
	struct mesh_report report;
	ProtobufCMessage *root;
	int r;
};

static void message_release(struct message *m)
{
	arena_release(&m->arena);
	mesh_report_release(&m->report);
}

static struct message read_as(const ProtobufCMessageDescriptor *descriptor, const char *text)
{
	struct message m = { .arena = ARENA_INIT, .report = MESH_REPORT_INIT };
	struct yaml_reader reader = { .file = "t", .path = STRBUF_INIT };
	const struct yaml_node *root;

	m.r = yaml_tree_parse("t", text, strlen(text), &m.arena, &root, &m.report);
	reader.arena = &m.arena;
	reader.report = &m.report;
	if (!m.r)
		m.r = yaml_message_read(&reader, root, descriptor, &m.root);
	m.arena = *reader.arena;
	strbuf_release(&reader.path);
	return m;
}

#define READ(name, type, text) _cleanup_(message_release) struct message name = read_as(&type, text)
#define ROUTE   envoy__config__route__v3__route__descriptor
#define ACTION  envoy__config__route__v3__route_action__descriptor
#define CLUSTER envoy__config__cluster__v3__cluster__descriptor

static void assert_clean(const struct message *m)
{
	if (m->r || m->report.count) {
		mesh_report_print(&m->report, stderr);
		fail_msg("not read cleanly: %d", m->r);
	}
}

/* One error or warning: its path, place and what it says. */
static void assert_says(const struct message *m, enum mesh_severity severity, const char *path, uint32_t line, const char *part)
{
	if (m->report.count != 1 || m->report.messages[0].severity != severity || strcmp(m->report.messages[0].path, path) != 0 ||
	    m->report.messages[0].line != line || !strstr(m->report.messages[0].text, part)) {
		mesh_report_print(&m->report, stderr);
		fail_msg("expected at line %u, %s: %s", line, path, part);
	}
	assert_int_equal(m->r, severity == MESH_ERROR ? -EINVAL : 0);
}

static void test_names_are_taken_in_both_styles(void **state)
{
	READ(m, ACTION, "{cluster: c, hostRewriteLiteral: h, prefix_rewrite: /x, maxStreamDuration: {grpcTimeoutHeaderMax: 2s}}");
	READ(digits, envoy__config__cluster__v3__outlier_detection__descriptor, "{consecutive5xx: 3}");
	READ(twice, ACTION, "prefix_rewrite: /x\nprefixRewrite: /y\n");
	const Envoy__Config__Route__V3__RouteAction *action = (void *)m.root;

	assert_clean(&m);
	assert_string_equal(action->host_rewrite_literal, "h");
	assert_string_equal(action->prefix_rewrite, "/x");
	assert_int_equal(action->max_stream_duration->grpc_timeout_header_max->seconds, 2);
	assert_clean(&digits);
	assert_int_equal(((Envoy__Config__Cluster__V3__OutlierDetection *)digits.root)->consecutive_5xx->value, 3);
	assert_says(&twice, MESH_ERROR, "prefix_rewrite", 2, "given twice");
}

static void test_wrappers_are_bare_values_and_zero_is_not_absence(void **state)
{
	READ(m, CLUSTER, "{perConnectionBufferLimitBytes: 0, waitForWarmOnInit: false, maxRequestsPerConnection: null}");
	const Envoy__Config__Cluster__V3__Cluster *cluster = (void *)m.root;

	assert_clean(&m);
	assert_non_null(cluster->per_connection_buffer_limit_bytes);
	assert_int_equal(cluster->per_connection_buffer_limit_bytes->value, 0);
	assert_non_null(cluster->wait_for_warm_on_init);
	assert_null(cluster->max_requests_per_connection);
}

static void test_enums_are_taken_by_name_or_number(void **state)
{
	READ(name, CLUSTER, "lb_policy: MAGLEV");
	READ(number, CLUSTER, "lb_policy: 5");
	READ(unknown, CLUSTER, "lb_policy: BEST");
	READ(text, CLUSTER, "lb_policy: [MAGLEV]");

	assert_clean(&name);
	assert_int_equal(((Envoy__Config__Cluster__V3__Cluster *)name.root)->lb_policy, 5);
	assert_clean(&number);
	assert_int_equal(((Envoy__Config__Cluster__V3__Cluster *)number.root)->lb_policy, 5);
	assert_says(&unknown, MESH_ERROR, "lb_policy", 1, "is no value of envoy.config.cluster.v3.Cluster.LbPolicy");
	assert_says(&text, MESH_ERROR, "lb_policy", 1, "expected the name of an enum value, found a list");
}

static void test_a_oneof_has_one_member(void **state)
{
	READ(two, ROUTE, "match: {prefix: /}\nroute: {cluster: a}\nredirect: {}\n");
	READ(null, ROUTE, "{route: null, redirect: {}}");
	READ(empty, envoy__config__route__v3__route_match__descriptor, "prefix: \"\"");

	assert_says(&two, MESH_ERROR, "redirect", 3, "`route` and `redirect` exclude each other");
	assert_clean(&null);
	assert_int_equal(((Envoy__Config__Route__V3__Route *)null.root)->action_case, ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT);
	assert_clean(&empty);
	assert_int_equal(((Envoy__Config__Route__V3__RouteMatch *)empty.root)->path_specifier_case,
			 ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX);
}

static void test_an_empty_member_of_a_oneof_survives_packing(void **state)
{
	READ(m, envoy__config__route__v3__route_match__descriptor, "prefix: \"\"");
	uint8_t bytes[16];

	assert_clean(&m);
	assert_int_equal(protobuf_c_message_pack(m.root, bytes), 2);
	assert_memory_equal(bytes, "\x0a\x00", 2);
}

static void test_values_of_the_wrong_type_are_refused_with_place_and_path(void **state)
{
	static const struct {
		const char *text, *path, *part;
		uint32_t line;
	} cases[] = {
		{ "match:\n  prefix: 5\n", "match.prefix", "expected a text (quotes make it one), found the number 5", 2 },
		{ "match:\n  prefix: true\n", "match.prefix", "found the truth value true", 2 },
		{ "match: /x\n", "match", "expected a mapping, found the text \"/x\"", 1 },
		{ "route:\n  timeout: 5\n", "route.timeout", "expected a duration like 1.5s, found the number 5", 2 },
		{ "route:\n  hash_policy:\n  - {}\n  - 7\n", "route.hash_policy[1]", "expected a mapping", 4 },
		{ "route: {hash_policy: {}}\n", "route.hash_policy", "expected a list, found a mapping", 1 },
		{ "route: {hash_policy: [null]}\n", "route.hash_policy[0]", "must not be null", 1 },
		{ "match: {case_sensitive: yes}", "match.case_sensitive", "expected true or false", 1 },
		{ "direct_response: {status: -1}", "direct_response.status", "a whole number from 0 to 4294967295", 1 },
		{ "direct_response: {status: 4294967296}", "direct_response.status", "a whole number from 0 to 4294967295", 1 },
		{ "direct_response: {status: 2.5}", "direct_response.status", "a whole number", 1 },
		{ "direct_response: {body: {inline_bytes: '!'}}", "direct_response.body.inline_bytes", "base64", 1 },
		{ "name: \"a\\0b\"", "name", "zero byte", 1 },
		{ "typed_per_filter_config: []", "typed_per_filter_config", "expected a mapping, found a list", 1 },
		{ "typed_per_filter_config: {f: null}", "typed_per_filter_config[f]", "must not be null", 1 },
		{ "typed_per_filter_config: {f: {a: 1}}", "typed_per_filter_config[f]", "\"@type\" is missing", 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		READ(m, ROUTE, cases[i].text);

		assert_says(&m, MESH_ERROR, cases[i].path, cases[i].line, cases[i].part);
	}
}

static void test_reading_goes_on_after_an_error(void **state)
{
	READ(m, ROUTE, "name: 5\nmatch: {prefix: 6}\nroute: {cluster: 7}\n");

	assert_int_equal(m.r, -EINVAL);
	assert_int_equal(m.report.error_count, 3);
}

static void test_maps_of_texts_and_of_messages(void **state)
{
	READ(labels, weft__config__v1__pod__descriptor, "labels: {app: x, 'version': v1, 5: five}");
	READ(bad, weft__config__v1__pod__descriptor, "labels: {app: 1}");
	const Weft__Config__V1__Pod *pod = (void *)labels.root;

	assert_clean(&labels);
	assert_int_equal(pod->n_labels, 3);
	assert_string_equal(pod->labels[1]->key, "version");
	assert_string_equal(pod->labels[1]->value, "v1");
	assert_says(&bad, MESH_ERROR, "labels[app]", 1, "expected a text");
}

static void test_structs_take_any_value(void **state)
{
	READ(m, google__protobuf__struct__descriptor, "{a: null, b: [1, x, {c: true}], d: 0x10, e: '5'}");
	READ(zero, google__protobuf__struct__descriptor, "a: [\"x\\0\"]");
	const Google__Protobuf__Struct *fields = (void *)m.root;

	assert_clean(&m);
	assert_int_equal(fields->n_fields, 4);
	assert_int_equal(fields->fields[0]->value->kind_case, GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE);
	assert_int_equal(fields->fields[1]->value->list_value->n_values, 3);
	assert_true(fields->fields[1]->value->list_value->values[2]->struct_value->fields[0]->value->bool_value);
	assert_true(fields->fields[2]->value->number_value == 16);
	assert_string_equal(fields->fields[3]->value->string_value, "5");
	assert_says(&zero, MESH_ERROR, "[a][0]", 1, "zero byte");
}

static void test_any_is_read_by_its_type(void **state)
{
	READ(m, google__protobuf__any__descriptor,
	     "{'@type': type.googleapis.com/stats.PluginConfig, tcp_reporting_duration: 10s, metrics: [{name: requests_total, drop: true}]}");
	READ(wellknown, google__protobuf__any__descriptor, "{'@type': type.googleapis.com/google.protobuf.Duration, value: 1.5s}");
	READ(beside, google__protobuf__any__descriptor, "{'@type': type.googleapis.com/google.protobuf.Duration, value: 1s, more: 1}");
	READ(unknown, google__protobuf__any__descriptor, "{'@type': type.googleapis.com/no.such.Type, a: {b: [1]}}");
	READ(inner, google__protobuf__any__descriptor, "'@type': type.googleapis.com/stats.PluginConfig\nmetrics:\n- name: [x]\n");
	const Google__Protobuf__Any *any = (void *)m.root;
	Stats__PluginConfig *config;

	assert_clean(&m);
	config = stats__plugin_config__unpack(NULL, any->value.len, any->value.data);
	assert_non_null(config);
	assert_int_equal(config->tcp_reporting_duration->seconds, 10);
	assert_string_equal(config->metrics[0]->name, "requests_total");
	stats__plugin_config__free_unpacked(config, NULL);

	assert_clean(&wellknown);
	any = (void *)wellknown.root;
	assert_int_equal(any->value.len, 8);
	assert_memory_equal(any->value.data, "\x08\x01\x10\x80\xca\xb5\xee\x01", 8);
	assert_says(&beside, MESH_ERROR, "", 1, "nothing else beside it");
	assert_says(&unknown, MESH_WARNING, "", 1, "the type type.googleapis.com/no.such.Type is not known");
	any = (void *)unknown.root;
	assert_string_equal(any->type_url, "type.googleapis.com/no.such.Type");
	assert_int_equal(any->value.len, 0);
	assert_says(&inner, MESH_ERROR, "metrics[0].name", 3, "expected a text");
}

static void test_an_unknown_key_is_an_error_only_in_our_own_messages(void **state)
{
	READ(ours, weft__config__v1__config__descriptor, "pods:\n- {name: x}\nresource: []\n");
	READ(pod, weft__config__v1__config__descriptor, "pods:\n- {name: x, nme: y}\n");
	READ(theirs, ROUTE, "name: r\nfoo: {bar: 1}\n");

	assert_says(&ours, MESH_ERROR, "", 3, "`resource` is not a key weft knows here");
	assert_says(&pod, MESH_ERROR, "pods[0]", 2, "`nme`");
	assert_says(&theirs, MESH_WARNING, "", 2, "`foo` is no field of envoy.config.route.v3.Route");
}

static void test_an_unknown_key_stays_visible_in_the_message(void **state)
{
	char key[300];
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	uint8_t *packed;
	Envoy__Config__Route__V3__Route *again;

	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	strbuf_printf(&text, "{name: r, foo: 1, %s: 2}", key);
	{
		READ(m, ROUTE, text.data);

		assert_int_equal(m.r, 0);
		packed = malloc(protobuf_c_message_get_packed_size(m.root));
		again = envoy__config__route__v3__route__unpack(NULL, protobuf_c_message_pack(m.root, packed), packed);
	}
	assert_non_null(again);
	assert_int_equal(again->base.n_unknown_fields, 2);
	assert_int_equal(again->base.unknown_fields[0].tag, UNKNOWN_NAME_FIELD);
	assert_int_equal(again->base.unknown_fields[0].len, 4);
	assert_memory_equal(again->base.unknown_fields[0].data, "\x03" "foo", 4);
	assert_int_equal(again->base.unknown_fields[1].len, 2 + 299);
	envoy__config__route__v3__route__free_unpacked(again, NULL);
	free(packed);
}

static void test_many_unknown_keys_are_bounded(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	for (int i = 0; i < 5000; i++)
		strbuf_printf(&text, "k%d: 1\n", i);
	{
		READ(m, ROUTE, text.data);

		assert_int_equal(m.r, 0);
		assert_int_equal(m.report.warning_count, 5000);
		assert_int_equal(m.report.count, MESH_REPORT_LIMIT);
		assert_true(m.root->n_unknown_fields < 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_taken_in_both_styles),
		cmocka_unit_test(test_wrappers_are_bare_values_and_zero_is_not_absence),
		cmocka_unit_test(test_enums_are_taken_by_name_or_number),
		cmocka_unit_test(test_a_oneof_has_one_member),
		cmocka_unit_test(test_an_empty_member_of_a_oneof_survives_packing),
		cmocka_unit_test(test_values_of_the_wrong_type_are_refused_with_place_and_path),
		cmocka_unit_test(test_reading_goes_on_after_an_error),
		cmocka_unit_test(test_maps_of_texts_and_of_messages),
		cmocka_unit_test(test_structs_take_any_value),
		cmocka_unit_test(test_any_is_read_by_its_type),
		cmocka_unit_test(test_an_unknown_key_is_an_error_only_in_our_own_messages),
		cmocka_unit_test(test_an_unknown_key_stays_visible_in_the_message),
		cmocka_unit_test(test_many_unknown_keys_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

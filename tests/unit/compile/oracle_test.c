/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that Envoy was sent, through the compiled image: the same route, the same cluster, or a clear refusal where weft does not compile
 * a route yet. Never another route. tests/conformance/README.md says what the files hold. */
#include <errno.h>
#include <jansson.h>

#include "fixture.h"
#include "base/fd.h"
#include "compile/compile.h"
#include "mesh/mesh.h"
#include "weft/fast.h"
#include "weft/http1.h"
#include "weft/path.h"
#include "weft/router.h"

#define DATA "tests/conformance/vectors/"

/* As istiod writes it, but for what the topic changes. */
static const char listener_form[] =
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
	"              %s\n"
	"              rds: {config_source: {ads: {}, resource_api_version: V3}, route_config_name: \"80\"}\n"
	"              http_filters:\n"
	"                - {name: envoy.filters.http.router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}\n";

struct topic {
	const char *name;
	struct mesh *mesh;
	struct ids *ids;
	struct image *routes;
	struct weft_image_handle handle;
	const struct weft_listener *listener;
	unsigned int cases, same, not_found, refused, not_parsed, stricter, wrong;
	unsigned int well_formed;                    /* of known length: the kernel may decide them */
	unsigned int handed_up[WEFT_REASON_COUNT];   /* of those: why it doesn't */
	unsigned int decided;
};

/* ---- set-up ---------------------------------------------------------------------------------------------------------------------- */

static void read_data(const char *topic, const char *file, struct strbuf *out)
{
	char path[256];

	snprintf(path, sizeof(path), DATA "%s/%s", topic, file);
	if (file_read(path, 64u << 20, out))
		fail_msg("can't read %s (tests run in the top folder)", path);
}

static void topic_open(struct topic *topic, const char *name, const char *options)
{
	struct mesh_report report = MESH_REPORT_INIT;
	struct strbuf bytes = STRBUF_INIT;
	char listener[sizeof(listener_form) + 256];
	weft_ref ref;

	memset(topic, 0, sizeof(*topic));
	topic->name = name;
	snprintf(listener, sizeof(listener), listener_form, options);
	read_data(name, "route_config.pb", &bytes);
	assert_int_equal(mesh_load_text("oracle", listener, strlen(listener), &topic->mesh, &report), 0);
	assert_int_equal(mesh_add_resource(topic->mesh, mesh_kind_type_url(MESH_ROUTE_CONFIG), bytes.data, bytes.size, &report), 0);
	mesh_report_release(&report);
	strbuf_release(&bytes);
	assert_int_equal(ids_new(&topic->ids, NULL), 0);
	assert_int_equal(compile_routes(topic->mesh, topic->ids, &topic->routes, NULL), 0);
	topic->handle = (struct weft_image_handle){ topic->routes->base, topic->routes->size_bytes };
	assert_int_equal(weft_find_listener(&topic->handle, &WEFT_IP4(0x0100007f), __builtin_bswap16(80), &ref), 0);
	topic->listener = weft_at(&topic->handle, ref);
	assert_non_null(topic->listener);
	assert_int_equal(topic->listener->kind, WEFT_LISTENER_HTTP);
}

static void topic_close(struct topic *topic)
{
	image_free(&topic->routes);
	ids_free(&topic->ids);
	mesh_free(&topic->mesh);
}

/* ---- requests -------------------------------------------------------------------------------------------------------------------- */

/* In the files one character stands for one byte. */
static void append_latin1(struct strbuf *out, const json_t *text)
{
	const unsigned char *p = (const unsigned char *)json_string_value(text);
	size_t i, size = json_string_length(text);

	for (i = 0; i < size; i++) {
		if (p[i] < 0x80) {
			strbuf_append_byte(out, (char)p[i]);
			continue;
		}
		strbuf_append_byte(out, (char)((p[i] & 3) << 6 | (p[i + 1] & 0x3f)));
		i++;
	}
}

static void request_bytes(const json_t *step, struct strbuf *out)
{
	const json_t *parts = json_object_get(step, "parts");
	size_t i;

	if (json_object_get(step, "raw"))
		append_latin1(out, json_object_get(step, "raw"));
	for (i = 0; i < json_array_size(parts); i++) {
		const json_t *part = json_array_get(parts, i), *repeat = json_object_get(part, "repeat");
		json_int_t n = repeat ? json_integer_value(json_array_get(repeat, 1)) : 1;

		while (n--)
			append_latin1(out, repeat ? json_array_get(repeat, 0) : part);
	}
	strbuf_reserve(out, 64);
	memset(out->data + out->size, 0, 64);
}

static const char *route_name(const struct topic *topic, const struct weft_route_result *result)
{
	static char text[256];
	const struct weft_route *route = result->route ? weft_at(&topic->handle, result->route) : NULL;
	const struct weft_text *name = route && route->name ? weft_at(&topic->handle, route->name) : NULL;

	snprintf(text, sizeof(text), "%.*s", name ? (int)name->len : 0, name ? (const char *)name->bytes : "");
	return text;
}

enum outcome { OUTCOME_SAME, OUTCOME_NOT_FOUND, OUTCOME_REFUSED, OUTCOME_WRONG };

static enum outcome compare(const struct topic *topic, const struct weft_route_result *result, const json_t *envoy)
{
	const char *route = json_string_value(json_object_get(envoy, "route")), *cluster = json_string_value(json_object_get(envoy, "cluster"));
	const char *chosen;

	switch (result->kind) {
	case WEFT_ROUTE_CLUSTER:
		chosen = ids_cluster_name(topic->ids, result->cluster_id);
		return route && cluster && chosen && !strcmp(chosen, cluster) && !strcmp(route_name(topic, result), route) ? OUTCOME_SAME : OUTCOME_WRONG;
	case WEFT_ROUTE_DIRECT: return route && !cluster && !strcmp(route_name(topic, result), route) ? OUTCOME_SAME : OUTCOME_WRONG;
	case WEFT_ROUTE_NOT_FOUND: return !route && json_integer_value(json_object_get(envoy, "code")) == 404 ? OUTCOME_NOT_FOUND : OUTCOME_WRONG;
	case WEFT_ROUTE_REFUSED:
	case WEFT_ROUTE_PROXY: return OUTCOME_REFUSED;
	}
	return OUTCOME_WRONG;
}

static void count(struct topic *topic, enum outcome outcome)
{
	topic->same += outcome == OUTCOME_SAME;
	topic->not_found += outcome == OUTCOME_NOT_FOUND;
	topic->refused += outcome == OUTCOME_REFUSED;
	topic->wrong += outcome == OUTCOME_WRONG;
}

/* What Envoy answered before it looked for a route. */
static bool was_refused_early(const json_t *envoy)
{
	const char *details = json_string_value(json_object_get(envoy, "details"));

	return details && (!strcmp(details, "absolute_path_rejected") || !strcmp(details, "upgrade_failed"));
}

/* Would the kernel have decided so, and if not, why? */
static void count_kernel(struct topic *topic, const struct weft_head *head, const struct weft_route_result *result)
{
	const struct weft_route *route = result->route ? weft_at(&topic->handle, result->route) : NULL;
	uint32_t reason = weft_head_reason(head, topic->listener->flags);

	if (head->flags & WEFT_HEAD_CHUNKED)
		return;
	topic->well_formed++;
	if (!reason && route && route->action == WEFT_ACTION_PROXY)
		reason = WEFT_REASON_ROUTE_PROXY;
	if (!reason && result->kind == WEFT_ROUTE_REFUSED)
		reason = WEFT_REASON_ROUTE_REFUSED;
	topic->decided += !reason;
	topic->handed_up[reason]++;
}

static void run_request(struct topic *topic, const json_t *one, const struct strbuf *bytes)
{
	const struct weft_head_bytes *head_bytes = (const void *)bytes->data;
	const json_t *envoy = json_array_get(json_object_get(one, "envoy"), 0);
	struct weft_route_query query = { .image = topic->handle, .route_table = topic->listener->route_table, .random = 0x80000000u };
	struct weft_route_result result = { 0 };
	static struct weft_head head;
	enum outcome outcome;
	uint32_t target_len, path_len, room, len;
	uint8_t *target;

	if (weft_parse_request(head_bytes, (uint32_t)bytes->size, &head) != WEFT_PARSE_DONE || was_refused_early(envoy)) {
		topic->not_parsed++;
		topic->stricter += json_object_get(envoy, "route") != NULL;
		return;
	}
	/* The target without the scheme and authority of an absolute form. */
	len = head.target.off + head.target.len - head.path.off;
	room = WEFT_PATH_ROOM(len);
	target = calloc(1, room);
	if (weft_path_normalize(head_bytes->data + head.path.off, len, topic->listener->flags, target, room, &target_len, &path_len)) {
		assert_int_equal(json_integer_value(json_object_get(envoy, "code")), 400);
		topic->not_parsed++;
		free(target);
		return;
	}
	query.target = target;
	query.target_len = target_len;
	query.path_len = path_len;
	weft_route(&query, head_bytes, &head, &result);
	count_kernel(topic, &head, &result);
	outcome = compare(topic, &result, envoy);
	count(topic, outcome);
	if (outcome == OUTCOME_WRONG)
		print_error("%s/%s: weft: kind %u, route %s, reason %u; Envoy: %s\n", topic->name, json_string_value(json_object_get(one, "id")), result.kind,
			    route_name(topic, &result), result.reason, json_dumps(envoy, JSON_COMPACT));
	free(target);
}

static void print_topic(const struct topic *topic)
{
	unsigned int i;

	print_message("%s: %u cases: %u same route, %u not found alike, %u refused (not compiled yet), "
		      "%u answered before routing (%u of them Envoy lets pass), %u wrong; of %u well-formed ones the kernel decides %.1f %%",
		      topic->name, topic->cases, topic->same, topic->not_found, topic->refused, topic->not_parsed, topic->stricter, topic->wrong,
		      topic->well_formed, 100.0 * topic->decided / topic->well_formed);
	for (i = 1; i < WEFT_REASON_COUNT; i++)
		if (topic->handed_up[i])
			print_message(", %s %u", weft_reason_names[i], topic->handed_up[i]);
	print_message("\n");
}

static void run_topic(struct topic *topic)
{
	struct strbuf lines = STRBUF_INIT;
	char *line, *rest;

	read_data(topic->name, "expected.jsonl", &lines);
	for (line = strtok_r(lines.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		json_t *one = json_loads(line, JSON_ALLOW_NUL, NULL);
		struct strbuf bytes = STRBUF_INIT;

		assert_non_null(one);
		topic->cases++;
		request_bytes(json_array_get(json_object_get(one, "send"), 0), &bytes);
		run_request(topic, one, &bytes);
		strbuf_release(&bytes);
		json_decref(one);
	}
	strbuf_release(&lines);
	print_topic(topic);
}

/* `refused_limit`: routes that are not compiled yet; the number may only fall. */
static void check_topic(const char *name, const char *options, unsigned int refused_limit)
{
	struct topic topic;

	topic_open(&topic, name, options);
	run_topic(&topic);
	topic_close(&topic);
	assert_true(topic.cases > 0);
	assert_int_equal(topic.wrong, 0);
	assert_true(topic.refused <= refused_limit);
	assert_int_equal(topic.cases, topic.same + topic.not_found + topic.refused + topic.not_parsed);
}

static void test_virtual_hosts_are_chosen_as_envoy_chooses_them(void **state)
{
	check_topic("domains", "normalize_path: true", 0);
}

static void test_no_virtual_host_is_chosen_where_envoy_finds_none(void **state)
{
	check_topic("domains-no-catch-all", "normalize_path: true", 0);
}

static void test_ports_of_hosts_count_where_they_count_for_envoy(void **state)
{
	check_topic("domains-port-counts", "normalize_path: true", 0);
}

static void test_paths_lead_to_the_routes_of_envoy(void **state)
{
	check_topic("paths", "normalize_path: true", 0);
}

static void test_headers_lead_to_the_routes_of_envoy(void **state)
{
	check_topic("headers", "normalize_path: true", 0);
}

static void test_queries_lead_to_the_routes_of_envoy(void **state)
{
	check_topic("query", "normalize_path: true", 0);
}

static void test_regular_expressions_lead_to_the_routes_of_envoy(void **state)
{
	check_topic("regex", "normalize_path: true", 0);
}

static void test_paths_are_normalised_as_the_mesh_asks(void **state)
{
	check_topic("paths-none", "normalize_path: false", 0);
	check_topic("paths-decode-and-merge-slashes",
		    "normalize_path: true\n              merge_slashes: true\n              path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD", 0);
	check_topic("paths-merge-slashes", "normalize_path: true\n              merge_slashes: true", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_virtual_hosts_are_chosen_as_envoy_chooses_them),
		cmocka_unit_test(test_no_virtual_host_is_chosen_where_envoy_finds_none),
		cmocka_unit_test(test_ports_of_hosts_count_where_they_count_for_envoy),
		cmocka_unit_test(test_paths_lead_to_the_routes_of_envoy),
		cmocka_unit_test(test_headers_lead_to_the_routes_of_envoy),
		cmocka_unit_test(test_queries_lead_to_the_routes_of_envoy),
		cmocka_unit_test(test_regular_expressions_lead_to_the_routes_of_envoy),
		cmocka_unit_test(test_paths_are_normalised_as_the_mesh_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which listener, and which of its filter chains, a connection takes: looked up in a compiled image as kernel and proxy do. */
#include <arpa/inet.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "compile/compile.h"
#include "compile/fixture.h"
#include "mesh/mesh.h"
#include "weft/server_name.h"
#include "weft/address_host.h"

#define TYPE(name) "\"@type\": type.googleapis.com/envoy.extensions.filters." name
#define TLS_INSPECTOR "{name: tls, typed_config: {" TYPE("listener.tls_inspector.v3.TlsInspector") "}}"
#define HTTP_INSPECTOR "{name: http, typed_config: {" TYPE("listener.http_inspector.v3.HttpInspector") "}}"
#define CHAIN(match, to) \
	"{filter_chain_match: {" match "}, filters: [{name: t, typed_config: {" TYPE("network.tcp_proxy.v3.TcpProxy") ", stat_prefix: t, cluster: " to "}}]}"
#define HTTP_CHAIN(match) \
	"{filter_chain_match: {" match "}, filters: [{name: h, typed_config: {" TYPE("network.http_connection_manager.v3.HttpConnectionManager") ", " \
	"stat_prefix: h, route_config: {name: here}, http_filters: [{name: r, typed_config: {" TYPE("http.router.v3.Router") "}}]}}]}"
#define LISTENER(name, address, port, more) \
	"- {\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener, name: " name ", traffic_direction: OUTBOUND,\n" \
	"   address: {socket_address: {address: " address ", port_value: " port "}},\n   " more "}\n"
#define RANGE(address, bits) "prefix_ranges: [{address_prefix: \"" address "\", prefix_len: " bits "}]"

static const char config[] =
	"resources:\n"
	/* exact addresses win over all of a port; a listener may have several */
	LISTENER("any", "0.0.0.0", "100", "filter_chains: [" CHAIN("", "c-any") "]")
	LISTENER("exact", "10.0.0.1", "100", "additional_addresses: [{address: {socket_address: {address: 10.0.0.2, port_value: 100}}}], "
		 "filter_chains: [" CHAIN("", "c-exact") "]")
	/* ranges: the most specific, whatever the order; no way back when its chains do not fit */
	LISTENER("ranges", "0.0.0.0", "200", "filter_chains: [" CHAIN(RANGE("10.1.0.0", "16"), "c-16") ", " CHAIN(RANGE("10.1.2.0", "24"), "c-24") ", "
		 CHAIN("prefix_ranges: [{address_prefix: 10.1.2.3, prefix_len: 32}, {address_prefix: 10.9.0.0, prefix_len: 15}]", "c-32") ", "
		 CHAIN(RANGE("10.1.9.77", "24") ", transport_protocol: tls", "c-tls") "], default_filter_chain: " CHAIN("", "c-default"))
	LISTENER("ranges-alone", "0.0.0.0", "201", "filter_chains: [" CHAIN(RANGE("10.1.0.0", "16"), "c-16") "]")
	LISTENER("range-of-exact", "10.0.0.1", "202", "filter_chains: [" CHAIN(RANGE("10.0.0.0", "8"), "c-8") ", " CHAIN(RANGE("11.0.0.0", "8"), "c-11") "]")
	LISTENER("range-of-all", "0.0.0.0", "203", "filter_chains: [" CHAIN(RANGE("0.0.0.0", "0"), "c-all") ", " CHAIN(RANGE("fd00::", "8"), "c-6") "]")
	LISTENER("six", "\"::\"", "200", "filter_chains: [" CHAIN(RANGE("fd00:1::", "32"), "c-32") ", " CHAIN(RANGE("fd00:1:2::", "47"), "c-47") ", "
		 CHAIN(RANGE("10.0.0.0", "8"), "c-8") "], default_filter_chain: " CHAIN("", "c-default"))
	LISTENER("virtual", "0.0.0.0", "15001", "use_original_dst: true, additional_addresses: [{address: {socket_address: {address: \"::\", port_value: 15001}}}], "
		 "filter_chains: [" CHAIN("", "c-any") "]")
	/* ports: chains for one port alone win over those for any */
	LISTENER("ports", "0.0.0.0", "300", "filter_chains: [" CHAIN("", "c-any") ", " CHAIN("destination_port: 300", "c-300") ", "
		 CHAIN("destination_port: 301", "c-301") "]")
	/* names */
	LISTENER("names", "0.0.0.0", "443", "listener_filters: [" TLS_INSPECTOR "], filter_chains: [" CHAIN("server_names: [a.test, B.test]", "c-a") ", "
		 CHAIN("server_names: [\"*.test\"]", "c-wild") ", " CHAIN("transport_protocol: tls", "c-tls") ", " CHAIN("", "c-plain") "]")
	LISTENER("names-of-ranges", "0.0.0.0", "444", "listener_filters: [" TLS_INSPECTOR "], filter_chains: [" CHAIN(RANGE("10.1.0.0", "16") ", server_names: [a.test]", "c-a") ", "
		 CHAIN("server_names: [a.test]", "c-other") "], default_filter_chain: " CHAIN("", "c-default"))
	LISTENER("alpn", "0.0.0.0", "445", "listener_filters: [" TLS_INSPECTOR "], filter_chains: [" CHAIN("server_names: [a.test]", "c-a") ", "
		 CHAIN("server_names: [b.test], application_protocols: [h2]", "c-b") "]")
	LISTENER("no-inspector", "0.0.0.0", "446", "filter_chains: [" CHAIN("server_names: [a.test]", "c-a") ", " CHAIN("", "c-plain") "]")
	/* HTTP by its bytes */
	LISTENER("sniffed", "0.0.0.0", "80", "listener_filters: [" HTTP_INSPECTOR "], filter_chains: [" HTTP_CHAIN("application_protocols: [http/1.1, h2c]") "], "
		 "default_filter_chain: " CHAIN("", "c-default"))
	LISTENER("sniffed-ranges", "0.0.0.0", "81", "listener_filters: [" HTTP_INSPECTOR "], filter_chains: ["
		 HTTP_CHAIN(RANGE("10.1.0.0", "16") ", application_protocols: [http/1.1]") ", " CHAIN(RANGE("10.1.0.0", "16"), "c-16") ", " CHAIN("", "c-any") "]");

struct scene {
	struct ids *ids;
	struct image *routes;
	struct weft_image_handle image;
};

static int begin(void **state)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	struct mesh_report report = MESH_REPORT_INIT;
	struct mesh *mesh = NULL;

	assert_non_null(scene);
	if (mesh_load_text("test.yaml", config, sizeof(config) - 1, &mesh, &report)) {
		mesh_report_print(&report, stderr);
		fail_msg("the configuration does not load");
	}
	assert_int_equal(ids_new(&scene->ids, NULL), 0);
	assert_int_equal(compile_routes(mesh, scene->ids, &scene->routes, NULL), 0);
	scene->image = (struct weft_image_handle){scene->routes->base, scene->routes->size_bytes};
	mesh_free(&mesh);
	mesh_report_release(&report);
	*state = scene;
	return 0;
}

static int end(void **state)
{
	struct scene *scene = *state;

	image_free(&scene->routes);
	ids_free(&scene->ids);
	free(scene);
	return 0;
}

static const struct weft_listener *listener_for(const struct scene *scene, const char *address, uint16_t port)
{
	struct weft_address parsed;
	weft_ref ref = 0;

	assert_true(weft_address_parse(address, &parsed));
	return weft_find_listener(&scene->image, &parsed, htons(port), &ref) ? NULL : weft_at(&scene->image, ref);
}

static struct weft_text *text_at(const struct scene *scene, weft_ref ref)
{
	return (struct weft_text *)weft_at(&scene->image, ref);
}

/* "LISTENER kind" */
static void expect_listener(const struct scene *scene, const char *address, uint16_t port, const char *name, enum weft_listener_kind kind)
{
	const struct weft_listener *listener = listener_for(scene, address, port);
	const struct weft_text *text;

	if (!listener)
		fail_msg("%s:%u has no listener", address, port);
	text = text_at(scene, listener->name);
	if (text->len != strlen(name) || memcmp(text->bytes, name, text->len) || listener->kind != kind)
		fail_msg("%s:%u has listener %.*s of kind %d", address, port, (int)text->len, (const char *)text->bytes, listener->kind);
}

/* Clusters of these tests are told by their ids: in order of their names' first use. */
static uint32_t cluster_of(const struct scene *scene, weft_ref choice)
{
	const struct weft_choice *found = weft_at(&scene->image, choice);

	return choice && found ? found->items[0].cluster_id : 0;
}

static uint32_t plain(const struct scene *scene, const char *address, uint16_t port)
{
	const struct weft_listener *listener = listener_for(scene, address, port);

	assert_non_null(listener);
	return cluster_of(scene, listener->kind == WEFT_LISTENER_HTTP ? listener->other_choice : listener->tcp_choice);
}

static uint32_t tls(const struct scene *scene, const char *address, uint16_t port, const char *name)
{
	const struct weft_listener *listener = listener_for(scene, address, port);
	const struct weft_sni *found;
	char room[64];

	assert_non_null(listener);
	if (!listener->names)
		return plain(scene, address, port);
	snprintf(room, sizeof(room), "%s", name);
	found = weft_find_server_name(&scene->image, listener->names, room);
	assert_non_null(found);
	assert_string_equal(room, name);
	return cluster_of(scene, found->choice);
}

static void test_an_exact_address_wins(void **state)
{
	const struct scene *scene = *state;

	expect_listener(scene, "10.0.0.1", 100, "exact", WEFT_LISTENER_TCP);
	expect_listener(scene, "10.0.0.2", 100, "exact", WEFT_LISTENER_TCP);
	expect_listener(scene, "10.0.0.3", 100, "any", WEFT_LISTENER_TCP);
	expect_listener(scene, "10.0.0.1", 101, "virtual", WEFT_LISTENER_TCP);
}

static void test_the_most_specific_range_wins(void **state)
{
	const struct scene *scene = *state;
	uint32_t c16 = plain(scene, "10.1.7.7", 200), c24 = plain(scene, "10.1.2.4", 200), c32 = plain(scene, "10.1.2.3", 200),
		 rest = plain(scene, "10.2.0.0", 200);

	assert_true(c16 && c24 && c32 && rest);
	assert_true(c16 != c24 && c16 != c32 && c16 != rest && c24 != c32 && c24 != rest && c32 != rest);
	assert_int_equal(plain(scene, "10.1.255.255", 200), c16);
	assert_int_equal(plain(scene, "10.1.2.255", 200), c24);
	assert_int_equal(plain(scene, "10.8.0.1", 200), c32);
	assert_int_equal(plain(scene, "10.9.255.255", 200), c32);
	assert_int_equal(plain(scene, "10.10.0.0", 200), rest);
}

static void test_ranges_of_ipv6_are_those_of_its_listener(void **state)
{
	const struct scene *scene = *state;
	uint32_t c32 = plain(scene, "fd00:1:4::1", 200), c47 = plain(scene, "fd00:1:3::1", 200), rest = plain(scene, "fd00:2::1", 200);

	assert_true(c32 && c47 && rest);
	assert_true(c32 != c47 && c32 != rest && c47 != rest);
	assert_int_equal(plain(scene, "fd00:1:2:ffff::", 200), c47);
	assert_int_equal(plain(scene, "::ffff:10.1.7.7", 200), plain(scene, "10.1.7.7", 200)); /* an IPv4 address, however it is written */
}

static void test_addresses_without_a_listener_are_each_familys_own(void **state)
{
	const struct scene *scene = *state;

	expect_listener(scene, "10.0.0.1", 999, "virtual", WEFT_LISTENER_TCP);
	expect_listener(scene, "fd00::1", 999, "virtual", WEFT_LISTENER_TCP);
	expect_listener(scene, "fd00::1", 100, "virtual", WEFT_LISTENER_TCP); /* 0.0.0.0:100 is none of it */
}

static void test_there_is_no_way_back_to_a_wider_range(void **state)
{
	const struct scene *scene = *state;

	/* 10.1.9.0/24 has a chain for TLS alone: others take the default, not that of 10.1.0.0/16. */
	assert_int_equal(plain(scene, "10.1.9.1", 200), plain(scene, "10.2.0.0", 200));
	assert_int_not_equal(plain(scene, "10.1.9.1", 200), plain(scene, "10.1.7.7", 200));
}

static void test_what_no_range_has_is_closed(void **state)
{
	const struct scene *scene = *state;

	expect_listener(scene, "10.1.0.1", 201, "ranges-alone", WEFT_LISTENER_TCP);
	expect_listener(scene, "10.2.0.1", 201, "ranges-alone", WEFT_LISTENER_REFUSED);
	expect_listener(scene, "10.0.0.1", 202, "range-of-exact", WEFT_LISTENER_TCP);
	assert_int_equal(listener_for(scene, "10.0.0.1", 202)->next, 0);
	expect_listener(scene, "10.2.0.1", 203, "range-of-all", WEFT_LISTENER_TCP);
}

static void test_a_chain_of_the_port_wins(void **state)
{
	const struct scene *scene = *state;

	assert_int_not_equal(plain(scene, "10.0.0.1", 300), plain(scene, "10.0.0.3", 100));
	expect_listener(scene, "10.0.0.1", 300, "ports", WEFT_LISTENER_TCP);
}

static void test_names_are_exact_then_wild_then_any(void **state)
{
	const struct scene *scene = *state;
	uint32_t exact = tls(scene, "10.0.0.1", 443, "a.test"), wild = tls(scene, "10.0.0.1", 443, "x.test"), any = tls(scene, "10.0.0.1", 443, "x.other"),
		 bytes = plain(scene, "10.0.0.1", 443);

	assert_true(exact && wild && any && bytes && exact != wild && exact != any && wild != any && any != bytes);
	assert_int_equal(tls(scene, "10.0.0.1", 443, "b.test"), exact);
	assert_int_equal(tls(scene, "10.0.0.1", 443, "x.y.a.test"), wild);
	assert_int_equal(tls(scene, "10.0.0.1", 443, "test"), any);
	assert_int_equal(tls(scene, "10.0.0.1", 443, ".test"), any);
	assert_int_equal(tls(scene, "10.0.0.1", 443, ""), any);
	assert_int_equal(listener_for(scene, "10.0.0.1", 443)->verdict, WEFT_VERDICT_PROXY);
}

static void test_names_belong_to_their_range(void **state)
{
	const struct scene *scene = *state;
	uint32_t inside = tls(scene, "10.1.0.1", 444, "a.test"), outside = tls(scene, "10.2.0.1", 444, "a.test"), rest = tls(scene, "10.2.0.1", 444, "b.test");

	assert_true(inside && outside && rest && inside != outside && outside != rest);
	assert_int_equal(tls(scene, "10.1.0.1", 444, "b.test"), rest);
	assert_int_equal(plain(scene, "10.1.0.1", 444), rest);
}

static void test_a_chain_by_alpn_refuses_its_name_alone(void **state)
{
	const struct scene *scene = *state;
	const struct weft_listener *listener = listener_for(scene, "10.0.0.1", 445);

	assert_int_not_equal(tls(scene, "10.0.0.1", 445, "a.test"), 0);
	assert_int_equal(tls(scene, "10.0.0.1", 445, "b.test"), 0);
	assert_non_null(strstr((const char *)text_at(scene, listener->reason)->bytes, "TLS to b.test is refused: filter chains by TLS's application protocol"));
}

static void test_without_an_inspector_nobody_looks(void **state)
{
	const struct scene *scene = *state;

	assert_int_equal(listener_for(scene, "10.0.0.1", 446)->names, 0);
	assert_int_equal(tls(scene, "10.0.0.1", 446, "a.test"), plain(scene, "10.0.0.1", 446));
	assert_int_equal(listener_for(scene, "10.0.0.1", 446)->verdict, WEFT_VERDICT_KERNEL);
}

static void test_http_is_told_by_its_bytes(void **state)
{
	const struct scene *scene = *state;
	const struct weft_listener *listener = listener_for(scene, "10.0.0.1", 80);

	expect_listener(scene, "10.0.0.1", 80, "sniffed", WEFT_LISTENER_HTTP);
	assert_true(listener->flags & WEFT_LISTENER_SNIFF);
	assert_false(listener->flags & WEFT_LISTENER_SNIFF_HTTP_10);
	assert_int_equal(plain(scene, "10.0.0.1", 80), plain(scene, "10.2.0.0", 200));
	expect_listener(scene, "10.1.0.1", 81, "sniffed-ranges", WEFT_LISTENER_HTTP);
	assert_int_equal(plain(scene, "10.1.0.1", 81), plain(scene, "10.1.7.7", 200));
	expect_listener(scene, "10.2.0.1", 81, "sniffed-ranges", WEFT_LISTENER_TCP);
}

static void test_many_ranges_are_refused_aloud(void **state)
{
	struct mesh_report report = MESH_REPORT_INIT;
	struct strbuf text = STRBUF_INIT;
	struct scene scene = {0};
	struct mesh *mesh = NULL;

	(void)state;
	strbuf_append_text(&text, "resources:\n- {\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener, name: many, traffic_direction: OUTBOUND,\n"
				  "   address: {socket_address: {address: 0.0.0.0, port_value: 80}}, filter_chains: [");
	for (unsigned i = 0; i < WEFT_RANGES_MAX; i++)
		strbuf_printf(&text, "%s{filter_chain_match: {prefix_ranges: [{address_prefix: 10.0.%u.0, prefix_len: 24}]}, filters: [{name: t, typed_config: {"
			      TYPE("network.tcp_proxy.v3.TcpProxy") ", stat_prefix: t, cluster: c}}]}", i ? ", " : "", i);
	strbuf_append_text(&text, "]}\n");
	assert_int_equal(mesh_load_text("test.yaml", text.data, text.size, &mesh, &report), 0);
	assert_int_equal(ids_new(&scene.ids, NULL), 0);
	assert_int_equal(compile_routes(mesh, scene.ids, &scene.routes, NULL), 0);
	scene.image = (struct weft_image_handle){scene.routes->base, scene.routes->size_bytes};
	expect_listener(&scene, "10.0.1.1", 80, "many", WEFT_LISTENER_REFUSED);
	assert_non_null(strstr((const char *)text_at(&scene, listener_for(&scene, "10.0.1.1", 80)->reason)->bytes, "65 ranges of destination addresses are more than 64"));
	image_free(&scene.routes);
	ids_free(&scene.ids);
	mesh_free(&mesh);
	mesh_report_release(&report);
	strbuf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_exact_address_wins),
		cmocka_unit_test(test_the_most_specific_range_wins),
		cmocka_unit_test(test_ranges_of_ipv6_are_those_of_its_listener),
		cmocka_unit_test(test_addresses_without_a_listener_are_each_familys_own),
		cmocka_unit_test(test_there_is_no_way_back_to_a_wider_range),
		cmocka_unit_test(test_what_no_range_has_is_closed),
		cmocka_unit_test(test_a_chain_of_the_port_wins),
		cmocka_unit_test(test_names_are_exact_then_wild_then_any),
		cmocka_unit_test(test_names_belong_to_their_range),
		cmocka_unit_test(test_a_chain_by_alpn_refuses_its_name_alone),
		cmocka_unit_test(test_without_an_inspector_nobody_looks),
		cmocka_unit_test(test_http_is_told_by_its_bytes),
		cmocka_unit_test(test_many_ranges_are_refused_aloud),
	};

	return cmocka_run_group_tests(tests, begin, end);
}

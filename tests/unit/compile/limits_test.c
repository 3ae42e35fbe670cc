/* SPDX-License-Identifier: Apache-2.0 */
/* What reaches a limit says so: its verdict names the limit, its number, and what is beyond it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "compile/compile.h"
#include "mesh/mesh.h"

#define TYPE "'@type': type.googleapis.com/envoy.config."
#define LISTENER \
	"- {" TYPE "listener.v3.Listener, name: l, address: {socket_address: {address: 0.0.0.0, port_value: 80}}, filter_chains: [{filters: [{name: h, typed_config: {" \
	"'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s, rds: {route_config_name: r}, " \
	"http_filters: [{name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}\n"

/* A listener, and the route configuration r that is being written. */
static struct strbuf begin(void)
{
	struct strbuf text = STRBUF_INIT;

	assert_int_equal(strbuf_printf(&text, "resources:\n" LISTENER "- " TYPE "route.v3.RouteConfiguration\n  name: r\n"), 0);
	return text;
}

static void compile(struct strbuf *text, struct compile_report *report)
{
	struct mesh_report problems = MESH_REPORT_INIT;
	struct mesh *mesh = NULL;
	struct image *image = NULL;
	struct ids *ids = NULL;

	*report = (struct compile_report)COMPILE_REPORT_INIT;
	assert_int_equal(strbuf_status(text), 0);
	if (mesh_load_text("test.yaml", text->data, text->size, &mesh, &problems) || problems.error_count) {
		mesh_report_print(&problems, stderr);
		fail_msg("the configuration is not loaded");
	}
	assert_int_equal(ids_new(&ids, NULL), 0);
	assert_int_equal(compile_routes(mesh, ids, &image, report), 0);
	image_free(&image);
	ids_free(&ids);
	mesh_free(&mesh);
	mesh_report_release(&problems);
	strbuf_release(text);
}

/* The verdict on what has `name` in its name. */
static void expect(const struct compile_report *report, const char *kind, const char *name, enum weft_verdict verdict, const char *reason)
{
	for (size_t i = 0; i < report->count; i++) {
		const struct compile_verdict *found = &report->verdicts[i];

		if (strcmp(found->kind, kind) != 0 || !strstr(found->name, name))
			continue;
		if (found->verdict == verdict && (*reason ? strstr(found->reason, reason) != NULL : !*found->reason))
			return;
		fail_msg("%s %s: verdict %d, \"%s\"", kind, name, found->verdict, found->reason);
	}
	fail_msg("no verdict on %s %s", kind, name);
}

static void test_a_domain_that_is_too_long_is_named(void **state)
{
	struct strbuf text = begin();
	struct compile_report report;

	strbuf_printf(&text, "  virtual_hosts:\n  - {name: a, domains: [a]}\n  - {name: b, domains: [b, '%s%0250d', c]}\n", "a-name-to-be-found.", 0);
	compile(&text, &report);
	expect(&report, "route configuration", "r", WEFT_VERDICT_REFUSED,
	       "virtual_hosts[1].domains[1], `a-name-to-be-found.000000000000000000000...`, has 269 bytes, more than the 255 of a host that is looked up");
	compile_report_release(&report);
}

static void test_the_longest_domain_is_taken(void **state)
{
	struct strbuf text = begin();
	struct compile_report report;

	strbuf_printf(&text, "  virtual_hosts: [{name: b, domains: ['b%0254d']}]\n", 0);
	compile(&text, &report);
	expect(&report, "route configuration", "r", WEFT_VERDICT_KERNEL, "");
	compile_report_release(&report);
}

static void test_more_routes_than_a_virtual_host_holds(void **state)
{
	struct strbuf text = begin();
	struct compile_report report;

	strbuf_printf(&text, "  virtual_hosts:\n  - name: v\n    domains: ['*']\n    routes:\n");
	for (unsigned i = 0; i < 65518; i++)
		strbuf_printf(&text, "    - {match: {path: /%u}, direct_response: {status: 200}}\n", i);
	compile(&text, &report);
	expect(&report, "virtual host", "r / v", WEFT_VERDICT_REFUSED, "65518 routes are more than the 65517 that fit");
	compile_report_release(&report);
}

/* One route, in flow style. */
static void compile_route(const char *fields, const char *more, struct compile_report *report)
{
	struct strbuf text = begin();

	strbuf_printf(&text, "  virtual_hosts: [{name: v, domains: ['*'], routes: [{name: it, %s%s}]}]\n", fields, more);
	compile(&text, report);
}

/* Route i: x-n equal to i on a prefix. */
static void add_conditional(struct strbuf *text, unsigned from, unsigned to, const char *prefix)
{
	for (unsigned i = from; i < to; i++)
		strbuf_printf(text, "    - {name: n%u., match: {prefix: %s, headers: [{name: x-n, string_match: {exact: '%u'}}]}, route: {cluster: c}}\n", i, prefix, i);
}

static void test_a_route_that_the_kernel_never_comes_to_is_the_proxys(void **state)
{
	struct strbuf text = begin();
	struct compile_report report;

	strbuf_printf(&text, "  virtual_hosts:\n  - name: v\n    domains: ['*']\n    routes:\n");
	add_conditional(&text, 0, 60, "/");
	/* Before these stand all of the above; on other paths they are none. */
	add_conditional(&text, 60, 70, "/deep/");
	/* Elsewhere there are 60 before them, on /deep/ 70: the kernel may decide the first four. */
	add_conditional(&text, 70, 76, "/");
	strbuf_printf(&text, "    - {name: exact., match: {path: /deep/er}, route: {cluster: c}}\n");
	strbuf_printf(&text, "    - {name: hidden., match: {path: /deep/er}, route: {cluster: c}}\n");
	strbuf_printf(&text, "    - {name: all., match: {prefix: /}, direct_response: {status: 200}}\n");
	compile(&text, &report);
	expect(&report, "route", "n0.", WEFT_VERDICT_KERNEL, "");
	expect(&report, "route", "n63.", WEFT_VERDICT_KERNEL, "");
	expect(&report, "route", "n64.", WEFT_VERDICT_PROXY, "64 candidate routes are tried before it, and the kernel tries 64");
	expect(&report, "route", "n69.", WEFT_VERDICT_PROXY, "69 candidate routes are tried before it, and the kernel tries 64");
	expect(&report, "route", "n70.", WEFT_VERDICT_KERNEL, "");
	expect(&report, "route", "n73.", WEFT_VERDICT_KERNEL, "");
	expect(&report, "route", "n74.", WEFT_VERDICT_PROXY, "64 candidate routes are tried before it, and the kernel tries 64");
	expect(&report, "route", "exact.", WEFT_VERDICT_PROXY, "76 candidate routes are tried before it, and the kernel tries 64");
	expect(&report, "route", "hidden.", WEFT_VERDICT_KERNEL, "");
	expect(&report, "route", "all.", WEFT_VERDICT_PROXY, "66 candidate routes are tried before it, and the kernel tries 64");
	compile_report_release(&report);
}

/* Which of them a path matches is known only when there is one. */
static void test_of_regular_expressions_nothing_is_said_that_is_not_certain(void **state)
{
	struct strbuf text = begin();
	struct compile_report report;

	strbuf_printf(&text, "  virtual_hosts:\n  - name: v\n    domains: ['*']\n    routes:\n");
	for (unsigned i = 0; i < 80; i++)
		strbuf_printf(&text, "    - {name: n%u., match: {safe_regex: {regex: '/%u[0-9]+'}, headers: [{name: x}]}, route: {cluster: c}}\n", i, i);
	compile(&text, &report);
	expect(&report, "route", "n79.", WEFT_VERDICT_KERNEL, "");
	compile_report_release(&report);
}

static void test_more_names_than_are_edited_together(void **state)
{
	_cleanup_(strbuf_release) struct strbuf names = STRBUF_INIT;
	struct compile_report report;

	for (unsigned i = 0; i < 33; i++)
		strbuf_printf(&names, "{header: {key: a%u, value: b}},", i);
	strbuf_append_text(&names, "]");
	compile_route("match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [", strbuf_text(&names), &report);
	expect(&report, "route", "it", WEFT_VERDICT_PROXY, "the proxy edits headers: more than 32 names");
	compile_report_release(&report);
}

static void test_a_name_that_is_too_long_for_the_kernel(void **state)
{
	struct compile_report report;

	compile_route("match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {value: b, key: ",
		      "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklm}}]", &report);
	expect(&report, "route", "it", WEFT_VERDICT_PROXY, "the proxy edits headers: a name of 65 bytes, where the kernel's have 1 to 63");
	compile_report_release(&report);
}

static void test_a_value_that_no_head_has(void **state)
{
	_cleanup_(strbuf_release) struct strbuf value = STRBUF_INIT;
	struct compile_report report;

	strbuf_printf(&value, "a%061440d}, invert_match: true}]}, route: {cluster: c}", 0);
	compile_route("match: {prefix: /, headers: [{name: x-a, string_match: {exact: ", strbuf_text(&value), &report);
	expect(&report, "route", "it", WEFT_VERDICT_REFUSED, "the value for x-a has 61441 bytes, more than a request's head may (61440)");
	compile_report_release(&report);
}

static void test_more_status_codes_and_mirrors_than_a_policy_holds(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct compile_report report;

	for (unsigned i = 0; i < 65521; i++)
		strbuf_append_text(&text, "503,");
	strbuf_append_text(&text, "]}, request_mirror_policies: [");
	for (unsigned i = 0; i < 10920; i++)
		strbuf_append_text(&text, "{cluster: c},");
	strbuf_append_text(&text, "]}");
	compile_route("match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: retriable-status-codes, retriable_status_codes: [", strbuf_text(&text), &report);
	expect(&report, "route", "it", WEFT_VERDICT_REFUSED, "65521 status codes are more than one policy holds (65520)");
	expect(&report, "route", "it", WEFT_VERDICT_REFUSED, "10920 mirrors are more than one policy holds (10919)");
	compile_report_release(&report);
}

static void test_more_edits_than_a_page_holds(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct compile_report report;

	for (unsigned i = 0; i < 16380; i++)
		strbuf_printf(&text, "a%u,", i);
	strbuf_append_text(&text, "]");
	compile_route("match: {prefix: /}, route: {cluster: c}, request_headers_to_remove: [", strbuf_text(&text), &report);
	expect(&report, "route", "it", WEFT_VERDICT_REFUSED, "16380 header edits are more than an image holds in one piece (16379)");
	compile_report_release(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_domain_that_is_too_long_is_named),
		cmocka_unit_test(test_the_longest_domain_is_taken),
		cmocka_unit_test(test_more_routes_than_a_virtual_host_holds),
		cmocka_unit_test(test_a_route_that_the_kernel_never_comes_to_is_the_proxys),
		cmocka_unit_test(test_of_regular_expressions_nothing_is_said_that_is_not_certain),
		cmocka_unit_test(test_more_names_than_are_edited_together),
		cmocka_unit_test(test_a_name_that_is_too_long_for_the_kernel),
		cmocka_unit_test(test_a_value_that_no_head_has),
		cmocka_unit_test(test_more_status_codes_and_mirrors_than_a_policy_holds),
		cmocka_unit_test(test_more_edits_than_a_page_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

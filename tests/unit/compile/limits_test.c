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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_domain_that_is_too_long_is_named),
		cmocka_unit_test(test_the_longest_domain_is_taken),
		cmocka_unit_test(test_more_routes_than_a_virtual_host_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

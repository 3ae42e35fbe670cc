/* SPDX-License-Identifier: Apache-2.0 */
/* Redirects of every form, chosen at random, for random requests: the location that the kernel writes must be the proxy's. The kernel puts it together from
 * texts that the compiler made before there was a request, the proxy looks at one field after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "proxy/edit.h"
#include "weft/http1.h"
#include "weft/location.h"
#include "weft/router.h"

#include "compiled.h"

#define CONFIGURATIONS 400
#define REQUESTS 16

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33) % limit;
}

/* One of them, each as probable as it often stands there. */
#define ONE_OF(random, ...) \
	((const char *const[]){__VA_ARGS__})[random_below(random, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))]

static void put_configuration(struct strbuf *out, uint64_t *random)
{
	strbuf_append_text(out,
		"resources:\n"
		"- {\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener, name: l, address: {socket_address: {address: 0.0.0.0, port_value: 80}},\n"
		"   filter_chains: [{filters: [{name: h, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,\n"
		"   stat_prefix: x, rds: {route_config_name: r, config_source: {ads: {}, resource_api_version: V3}},\n"
		"   http_filters: [{name: envoy.filters.http.router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}\n"
		"- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n"
		"  name: r\n"
		"  virtual_hosts:\n  - name: v\n    domains: [\"*\"]\n");
	strbuf_printf(out, "    routes:\n    - match: {%s}\n      redirect: {response_code: %s", ONE_OF(random, "prefix: /old", "path_separated_prefix: /old", "prefix: /"),
		      ONE_OF(random, "MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"));
	strbuf_append_text(out, ONE_OF(random, "", ", https_redirect: true", ", scheme_redirect: http", ", scheme_redirect: https", ", scheme_redirect: other"));
	strbuf_append_text(out, ONE_OF(random, "", "", ", host_redirect: new.test", ", host_redirect: \"new.test:81\""));
	strbuf_append_text(out, ONE_OF(random, "", "", ", port_redirect: 8443", ", port_redirect: 80"));
	strbuf_append_text(out, ONE_OF(random, "", "", ", path_redirect: /new", ", path_redirect: \"/new?a=b\"", ", path_redirect: \"\"", ", prefix_rewrite: /new", ", prefix_rewrite: /", ", prefix_rewrite: new", ", path_redirect: new",
				       ", prefix_rewrite: \"/new?a=b\"", ", regex_rewrite: {pattern: {regex: \"^/old(/?)(.*)\"}, substitution: \"/\\\\2\"}",
				       ", regex_rewrite: {pattern: {regex: \"/.*\"}, substitution: /uno}", ", regex_rewrite: {pattern: {regex: \"/.*\"}, substitution: uno}"));
	strbuf_append_text(out, ONE_OF(random, "", "", ", strip_query: true"));
	strbuf_append_text(out, "}\n");
	strbuf_append_text(out, ONE_OF(random, "", "      response_headers_to_add: [{header: {key: x-added, value: one}}, {header: {key: content-type, value: a/b}}]\n"));
}

static void put_request(struct strbuf *out, uint64_t *random)
{
	strbuf_printf(out, "GET %s%s HTTP/1.1\r\nx-before: 1\r\nHost: %s\r\n%s\r\nbody", ONE_OF(random, "/old", "/old/", "/old/x/y", "/old//x", "/old/?"),
		      ONE_OF(random, "", "?", "?a=b", "?a=b?c=/d"), ONE_OF(random, "h.test", "h.test:80", "h.test:443", "h.test:8080", "h.test:8", "10.0.0.1:80", "[::1]", "[::1]:80", "[::1]:81", "[::1]:443", "h.test:4433"),
		      ONE_OF(random, "", "x-forwarded-proto: http\r\n", "x-forwarded-proto: https\r\n"));
}

/* Returns whether the kernel takes the route. */
static bool check_request(const struct compiled *compiled, uint64_t *random)
{
	static struct weft_head head;
	static struct weft_change change;
	_cleanup_(strbuf_release) struct strbuf request = STRBUF_INIT, wanted = STRBUF_INIT;
	_cleanup_free_ u8 *bytes = NULL;
	const struct weft_route_extras *extras;
	struct weft_route_result result;
	const struct weft_route *route;
	u32 len;

	put_request(&request, random);
	bytes = calloc(1, request.size + 64);
	assert_non_null(bytes);
	memcpy(bytes, request.data, request.size);
	assert_int_equal(weft_parse_request((const struct weft_head_bytes *)bytes, (u32)request.size, &head), WEFT_PARSE_DONE);
	assert_int_equal(weft_route(&compiled->query, (const struct weft_head_bytes *)bytes, &head, &result), WEFT_ROUTE_REDIRECT);
	route = weft_at(&compiled->query.image, result.route);
	assert_int_equal(route->verdict == WEFT_VERDICT_KERNEL, route->location != 0);
	if (!result.location)
		return false;

	extras = weft_at(&compiled->query.image, route->extras);
	const struct weft_redirect *redirect = weft_at(&compiled->query.image, extras->redirect);
	const struct redirect_request asked = {
		.authority = { bytes + head.authority.off, head.authority.len },
		.target = { bytes + head.target.off, head.target.len },
		.path_len = head.path.len,
		.forwarded = { (const u8 *)"https", head.flags & WEFT_HEAD_FORWARDED_HTTPS ? 5 : 4 },
		.is_https = head.flags & WEFT_HEAD_FORWARDED_HTTPS,
	};
	strbuf_printf(&wanted, "HTTP/1.1 %u ", redirect->status);
	len = weft_location_head(&change, &compiled->query, (const struct weft_head_bytes *)bytes, &head, result.location);
	assert_true(len > wanted.size);
	assert_memory_equal(change.out, wanted.data, wanted.size);
	strbuf_truncate(&wanted, 0);
	strbuf_append_text(&wanted, "\r\ncontent-length: 0\r\nlocation: ");
	assert_int_equal(redirect_location(NULL, &compiled->query.image, redirect, &asked, &wanted), 0);
	/* Envoy: whatever the path becomes, it begins with a slash. */
	assert_int_equal(strstr(strbuf_text(&wanted), "://")[3 + strcspn(strstr(strbuf_text(&wanted), "://") + 3, "/?\r")], '/');
	strbuf_append_text(&wanted, extras->response_edits ? "\r\nx-added: one\r\n" : "\r\n");
	if (len < wanted.size || memcmp(change.out + len - wanted.size, wanted.data, wanted.size))
		fail_msg("%.*s\ninstead of ...%s\n%s\n%s", (int)len, (const char *)change.out, strbuf_text(&wanted), strbuf_text(&request), strbuf_text(&compiled->text));
	return true;
}

static void test_the_kernel_redirects_where_the_proxy_does(void **state)
{
	uint64_t random = 20240801;
	uint32_t taken = 0, i, k;

	for (i = 0; i < CONFIGURATIONS; i++) {
		struct compiled compiled;
		bool is_kernels = false;

		compile(&compiled, put_configuration, &random);
		for (k = 0; k < REQUESTS; k++)
			is_kernels = check_request(&compiled, &random);
		taken += is_kernels;
		release(&compiled);
	}
	print_message("%u of %u configurations are the kernel's\n", taken, CONFIGURATIONS);
	assert_in_range(taken, CONFIGURATIONS * 3 / 4, CONFIGURATIONS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_kernel_redirects_where_the_proxy_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

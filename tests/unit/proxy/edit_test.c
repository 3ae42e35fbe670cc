/* SPDX-License-Identifier: Apache-2.0 */
/* What routes change on the way: redirects, rewrites, header edits and their variables. Expectations are Envoy's. */
#include "proxy/harness.h"

#define ROUTE "          - name: "

static const char routes[] =
	ROUTE "host\n            match: {path: /host}\n            redirect: {host_redirect: new.test}\n"
	ROUTE "https\n            match: {path: /https}\n            redirect: {https_redirect: true}\n"
	ROUTE "path\n            match: {path: /path}\n            redirect: {path_redirect: /new, response_code: FOUND}\n"
	ROUTE "query\n            match: {path: /query}\n            redirect: {path_redirect: \"/new?a=1\"}\n"
	ROUTE "slash\n            match: {prefix: /slash/}\n            redirect: {regex_rewrite: {pattern: {regex: \"^/slash/\"}, substitution: \"\"}}\n"
	ROUTE "prefix\n            match: {prefix: /pre}\n            redirect: {prefix_rewrite: /post, port_redirect: 8080, strip_query: true}\n"
	ROUTE "located\n            match: {path: /located}\n            direct_response: {status: 302, body: {inline_string: x}}\n"
	"            response_headers_to_add: [{header: {key: location, value: /there}}, {header: {key: content-type, value: text/html}},\n"
	"              {header: {key: x-code, value: \"%RESPONSE_CODE% %RESP(:status)%\"}}]\n"
	ROUTE "grown\n            match: {prefix: /old}\n            route: {cluster: up, timeout: 0s, prefix_rewrite: /a/longer/one, host_rewrite_literal: h.test}\n"
	ROUTE "swap\n            match: {prefix: /swap/}\n            route: {cluster: up, timeout: 0s, regex_rewrite: {pattern: {regex: \"^/swap/(\\\\w+)/(\\\\d+)$\"}, "
	"substitution: \"/\\\\2/\\\\1\"}, host_rewrite_header: x-host, append_x_forwarded_host: true}\n"
	ROUTE "hostpath\n            match: {prefix: /in/}\n            route: {cluster: up, timeout: 0s, host_rewrite_path_regex: {pattern: {regex: \"^/in/([a-z]+).*\"}, "
	"substitution: \"\\\\1.test\"}}\n"
	ROUTE "edits\n            match: {path: /edits}\n            route: {cluster: up, timeout: 0s}\n"
	"            request_headers_to_remove: [x-gone, content-length]\n"
	"            request_headers_to_add:\n"
	"              - {header: {key: x-t, value: \"1\"}}\n"
	"              - {header: {key: x-t, value: \"2\"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}\n"
	"              - {header: {key: x-absent, value: new}, append_action: ADD_IF_ABSENT}\n"
	"              - {header: {key: x-there, value: new}, append_action: OVERWRITE_IF_EXISTS}\n"
	"              - {header: {key: accept, value: b}}\n"
	"              - {header: {key: x-none, value: \"%REQ(x-missing)%\"}}\n"
	"              - {header: {key: x-kept, value: \"%REQ(x-missing)%\"}, keep_empty_value: true}\n"
	"            response_headers_to_remove: [x-inner, content-length]\n"
	"            response_headers_to_add:\n"
	"              - {header: {key: x-path, value: \"%REQ(:path)% %REQ(:method)% %REQ(x-missing?x-a):2% %RESP(x-was)% %RESPONSE_CODE% 100%%\"}}\n"
	ROUTE "variables\n            match: {prefix: /v}\n            route: {cluster: up, timeout: 0s, prefix_rewrite: /w}\n"
	"            request_headers_to_add:\n"
	"              - {header: {key: x-1, value: \"%REQ(:path)%|%PATH(NQ)%|%QUERY_PARAM(q)%|%REQ(:authority)%|%REQ(:scheme)%|%PROTOCOL%\"}}\n"
	"              - {header: {key: x-2, value: \"%ROUTE_NAME%|%VIRTUAL_HOST_NAME%|%UPSTREAM_CLUSTER%|%DYNAMIC_METADATA(a:b)%\"}}\n"
	"              - {header: {key: x-3, value: \"%DOWNSTREAM_REMOTE_ADDRESS%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_LOCAL_ADDRESS%|%DOWNSTREAM_LOCAL_PORT%\"}}\n"
	ROUTE "weights\n            match: {path: /weights}\n            route:\n              timeout: 0s\n              weighted_clusters:\n                clusters:\n"
	"                  - {name: nowhere, weight: 0}\n"
	"                  - {name: up, weight: 1, host_rewrite_literal: w.test, request_headers_to_add: [{header: {key: x-level, value: weight}}],\n"
	"                     response_headers_to_add: [{header: {key: x-level, value: weight}}]}\n"
	"            request_headers_to_add: [{header: {key: x-level, value: route}}]\n"
	"            response_headers_to_add: [{header: {key: x-level, value: route}}]\n"
	ROUTE "up\n            match: {prefix: /}\n            route: {cluster: up, timeout: 0s}\n";

static int setup(void **state)
{
	struct harness *h = harness_new(&(struct harness_options){.has_no_images = true});

	harness_publish(h, routes);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	harness_free(*state);
	return 0;
}

/* ---- answers ------------------------------------------------------------------------------------------------------------------ */

static void expect_location(struct harness *h, const char *request, int status, const char *location)
{
	int client = client_new(h);
	struct reply reply;
	char value[256];

	put_text(client, request);
	get_reply_to(client, &reply, !strncmp(request, "HEAD", 4));
	if (reply.status != status || !header_of(reply.head, "location", value, sizeof(value)) || strcmp(value, location))
		fail_msg("%s was answered %s", request, reply.head);
	reply_release(&reply);
	close(client);
}

static void test_redirects_keep_what_they_do_not_set(void **state)
{
	struct harness *h = *state;

	expect_location(h, "GET /host?a=b HTTP/1.1\r\nHost: old.test:81\r\n\r\n", 301, "http://new.test/host?a=b");
	expect_location(h, "GET /path?a=b HTTP/1.1\r\nHost: old.test:81\r\n\r\n", 302, "http://old.test:81/new?a=b");
	expect_location(h, "GET /query?a=b HTTP/1.1\r\nHost: old.test\r\n\r\n", 301, "http://old.test/new?a=1");
	expect_location(h, "GET /prex/y?a=b HTTP/1.1\r\nHost: [::1]:81\r\n\r\n", 301, "http://[::1]:8080/postx/y");
	expect_location(h, "HEAD /path HTTP/1.1\r\nHost: old.test\r\n\r\n", 302, "http://old.test/new");
	expect_location(h, "GET /slash/y?a=b HTTP/1.1\r\nHost: old.test\r\n\r\n", 301, "http://old.test/y?a=b");
	expect_location(h, "GET http://abs.test/path HTTP/1.1\r\nHost: old.test\r\n\r\n", 302, "http://abs.test/new");
}

/* Lines that are joined make another head, in which the scheme must be found too. */
static void test_the_scheme_is_that_of_a_whole_url_whatever_becomes_of_the_lines(void **state)
{
	struct harness *h = *state;

	expect_location(h, "GET https://abs.test/host?a=b HTTP/1.1\r\nHost: old.test\r\n\r\n", 301, "https://new.test/host?a=b");
	expect_location(h, "GET https://u@abs.test/slash/y?a=b HTTP/1.1\r\nAccept: a\r\nHost: b c\r\nAccept: b\r\n\r\n", 301, "https://abs.test/y?a=b");
	expect_location(h, "GET https://abs.test/path HTTP/1.1\r\nAccept: a\r\naccept: b\r\n\r\n", 302, "https://abs.test/new");
	expect_location(h, "GET http://abs.test/path HTTP/1.1\r\nAccept: a\r\naccept: b\r\n\r\n", 302, "http://abs.test/new");
	expect_location(h, "GET HTTPS://abs.test/%70ath HTTP/1.1\r\nAccept: a\r\naccept: b\r\n\r\n", 302, "https://abs.test/new");
}

static void test_a_port_goes_with_the_scheme_that_it_was_the_default_of(void **state)
{
	struct harness *h = *state;

	expect_location(h, "GET /https HTTP/1.1\r\nHost: old.test:80\r\n\r\n", 301, "https://old.test/https");
	expect_location(h, "GET /https HTTP/1.1\r\nHost: old.test:443\r\n\r\n", 301, "https://old.test:443/https");
	expect_location(h, "GET /https HTTP/1.1\r\nHost: old.test:80\r\nx-forwarded-proto: https\r\n\r\n", 301, "https://old.test:80/https");
	expect_location(h, "GET /path HTTP/1.1\r\nHost: old.test:443\r\nx-forwarded-proto: https\r\n\r\n", 302, "https://old.test:443/new");
}

static void test_a_direct_response_that_moves_has_a_location_of_its_own(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);
	struct reply reply;

	put_text(client, "GET /located?x HTTP/1.1\r\nHost: a.test\r\n\r\n");
	get_reply(client, &reply);
	assert_int_equal(reply.status, 302);
	assert_true(has_line(reply.head, "location: http://a.test/located?x,/there"));
	assert_true(has_line(reply.head, "content-type: text/html"));
	assert_true(has_line(reply.head, "x-code: 0 302")); /* Envoy notes the code of a reply of its own after the edits */
	assert_false(has_line(reply.head, "content-type: text/plain"));
	assert_string_equal(strbuf_text(&reply.body), "x");
	reply_release(&reply);
	close(client);
}

/* ---- requests ------------------------------------------------------------------------------------------------------------------ */

/* What the server is sent for a request; the server then answers with `response`. */
static void exchange(struct harness *h, const char *request, const char *expected, const char *response, struct reply *reply)
{
	int client = client_new(h), server;

	put_text(client, request);
	server = server_accept(h, 0);
	expect_bytes(server, expected);
	put_text(server, response);
	get_reply(client, reply);
	close(client);
	close(server);
}

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void expect_sent(struct harness *h, const char *request, const char *expected)
{
	struct reply reply;

	exchange(h, request, expected, OK, &reply);
	assert_string_equal(strbuf_text(&reply.body), "ok");
	reply_release(&reply);
}

static void test_paths_and_hosts_are_rewritten(void **state)
{
	struct harness *h = *state;

	expect_sent(h, "GET /old/x?a=/old HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\n\r\n", "GET /a/longer/one/x?a=/old HTTP/1.1\r\nhost: h.test\r\nX-A: 1\r\n\r\n");
	expect_sent(h, "GET /swap/ab/12?x HTTP/1.1\r\nHost: a.test\r\nX-Host: b.test\r\nX-Forwarded-Host: z\r\n\r\n",
		    "GET /12/ab?x HTTP/1.1\r\nhost: b.test\r\nX-Host: b.test\r\nX-Forwarded-Host: z,a.test\r\n\r\n");
	expect_sent(h, "GET /swap/ab/12?x HTTP/1.1\r\nHost: a.test\r\nX-Host: b.test\r\nX-Forwarded-Host:\r\n\r\n",
		    "GET /12/ab?x HTTP/1.1\r\nhost: b.test\r\nX-Host: b.test\r\nX-Forwarded-Host: a.test\r\n\r\n");
	/* what does not match, or is not there, stays */
	expect_sent(h, "GET /swap/ab/cd HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET /swap/ab/cd HTTP/1.1\r\nhost: a.test\r\n\r\n");
	expect_sent(h, "GET /in/abc/d?e HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET /in/abc/d?e HTTP/1.1\r\nhost: abc.test\r\n\r\n");
}

static void test_header_lines_are_edited_level_by_level(void **state)
{
	struct harness *h = *state;
	struct reply reply;

	exchange(h, "POST /edits HTTP/1.1\r\nHost: a.test\r\nX-Gone: 1\r\nX-T: 0\r\nX-There: old\r\nX-A: abcd\r\nAccept: a\r\nContent-Length: 5\r\n\r\nhello",
		 "POST /edits HTTP/1.1\r\nhost: a.test\r\nX-A: abcd\r\nAccept: a,b\r\nx-t: 2\r\nx-there: new\r\nx-t: 1\r\nx-absent: new\r\nx-kept: \r\n"
		 "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nX-Inner: 1\r\nX-Was: w\r\nContent-Length: 2\r\n\r\nok", &reply);
	assert_true(has_line(reply.head, "x-path: /edits POST ab w 200 100%"));
	assert_false(has_line(reply.head, "x-inner: 1"));
	/* a length that is taken away leaves chunks */
	assert_true(has_line(reply.head, "transfer-encoding: chunked"));
	assert_string_equal(strbuf_text(&reply.body), "ok");
	reply_release(&reply);

	exchange(h, "GET /weights HTTP/1.1\r\nHost: a.test\r\n\r\n",
		 "GET /weights HTTP/1.1\r\nhost: w.test\r\nx-level: weight\r\nx-level: route\r\n\r\n", OK, &reply);
	assert_non_null(strstr(reply.head, "x-level: weight\r\nx-level: route\r\n"));
	reply_release(&reply);
}

static void test_variables_are_those_of_the_request_as_it_came(void **state)
{
	struct harness *h = *state;

	expect_sent(h, "GET /v/x?p=1&q=2 HTTP/1.1\r\nHost: A.test:1\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\n\r\n",
		    "GET /w/x?p=1&q=2 HTTP/1.1\r\nhost: A.test:1\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\n"
		    "x-1: /v/x?p=1&q=2|/v/x|2|A.test:1|http|HTTP/1.1\r\nx-2: variables|all|up|\r\n"
		    "x-3: 5.6.7.8:0|5.6.7.8|10.96.0.1:80|80\r\n\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_redirects_keep_what_they_do_not_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_scheme_is_that_of_a_whole_url_whatever_becomes_of_the_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_port_goes_with_the_scheme_that_it_was_the_default_of, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_direct_response_that_moves_has_a_location_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_paths_and_hosts_are_rewritten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_header_lines_are_edited_level_by_level, setup, teardown),
		cmocka_unit_test_setup_teardown(test_variables_are_those_of_the_request_as_it_came, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

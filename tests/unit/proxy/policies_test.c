/* SPDX-License-Identifier: Apache-2.0 */
/* Faults and CORS, as routes ask for them. Expectations are Envoy's. */
#include "proxy/harness.h"

#define ROUTE(name, match, more) "          - name: " name "\n            match: {" match "}\n            route: {cluster: up, timeout: 0s}\n" more
#define FILTERS "            typed_per_filter_config:\n"
#define FAULT(config) \
	"              envoy.filters.http.fault: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, " config "}\n"
#define CORS(config) \
	"              envoy.filters.http.cors: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, " config "}\n"
#define ALL "percentage: {numerator: 100}"

static const char routes[] =
	ROUTE("abort", "path: /abort", FILTERS FAULT("abort: {http_status: 418, " ALL "}")
	      "            response_headers_to_add: [{header: {key: x-added, value: \"1\"}}]\n")
	ROUTE("never", "path: /never", FILTERS FAULT("abort: {http_status: 418, percentage: {numerator: 0}}, delay: {fixed_delay: 9s}"))
	ROUTE("grpc", "path: /grpc", FILTERS FAULT("abort: {grpc_status: 5, " ALL "}"))
	ROUTE("some", "path: /some", FILTERS FAULT("abort: {http_status: 500, " ALL "}, headers: [{name: x-fault, string_match: {exact: \"yes\"}}]"))
	ROUTE("delay", "path: /delay", FILTERS FAULT("delay: {fixed_delay: 0.15s, " ALL "}"))
	ROUTE("both", "path: /both", FILTERS FAULT("delay: {fixed_delay: 0.05s, " ALL "}, abort: {http_status: 503, " ALL "}"))
	"          - name: redirect\n            match: {path: /redirect}\n            redirect: {path_redirect: /x}\n"
	FILTERS FAULT("abort: {http_status: 501, " ALL "}") CORS("allow_origin_string_match: [{exact: \"https://a.test\"}]")
	ROUTE("cors", "path: /cors", FILTERS CORS("allow_origin_string_match: [{exact: \"https://a.test\"}, {suffix: .b.test}], allow_methods: \"*\", "
						   "allow_headers: x-a, expose_headers: x-e, max_age: \"600\", allow_credentials: true"))
	ROUTE("star", "path: /star", FILTERS CORS("allow_origin_string_match: [{safe_regex: {regex: \".*\"}}]"))
	ROUTE("keeps", "path: /keeps", FILTERS CORS("allow_origin_string_match: [{exact: \"https://a.test\"}], forward_not_matching_preflights: false, "
						     "allow_methods: GET"))
	"          - {name: empty, match: {prefix: /empty}, route: {cluster: empty, timeout: 0s}, typed_per_filter_config: {envoy.filters.http.cors: "
	"{\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, allow_origin_string_match: [{exact: \"https://a.test\"}]}}}\n"
	ROUTE("up", "prefix: /", "");

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

/* The answer to a request that the proxy answers by itself. */
static void expect_own(int client, const char *request, int status, const char *body, const char *line)
{
	struct reply reply = {0};

	put_text(client, request);
	get_reply(client, &reply);
	assert_int_equal(reply.status, status);
	assert_int_equal(reply.body.size, strlen(body));
	assert_memory_equal(reply.body.data ? reply.body.data : "", body, reply.body.size);
	if (line && !has_line(reply.head, line))
		fail_msg("no line %s in:\n%s", line, reply.head);
	reply_release(&reply);
}

static void expect_served(struct harness *h, int client, const char *request, const char *line, const char *absent)
{
	struct reply reply = {0};
	int server;

	put_text(client, request);
	server = server_accept(h, 0);
	free(get_head(server));
	put_text(server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
	get_reply(client, &reply);
	assert_int_equal(reply.status, 200);
	if (line && !has_line(reply.head, line))
		fail_msg("no line %s in:\n%s", line, reply.head);
	if (absent && strcasestr(reply.head, absent))
		fail_msg("%s in:\n%s", absent, reply.head);
	reply_release(&reply);
	close(server);
}

static void test_a_fault_aborts_in_place_of_what_the_route_does(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	expect_own(client, "GET /abort HTTP/1.1\r\nhost: a\r\n\r\n", 418, "fault filter abort", "x-added: 1");
	expect_own(client, "GET /redirect HTTP/1.1\r\nhost: a\r\n\r\n", 501, "fault filter abort", NULL);
	expect_own(client, "GET /grpc HTTP/1.1\r\nhost: a\r\n\r\n", 200, "fault filter abort", NULL);
	expect_own(client, "GET /grpc HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n\r\n", 200, "", "grpc-status: 5");
	expect_own(client, "GET /some HTTP/1.1\r\nhost: a\r\nx-fault: yes\r\n\r\n", 500, "fault filter abort", NULL);
	expect_served(h, client, "GET /some HTTP/1.1\r\nhost: a\r\nx-fault: no\r\n\r\n", NULL, NULL);
	expect_served(h, client, "GET /never HTTP/1.1\r\nhost: a\r\n\r\n", NULL, NULL);
	close(client);
}

static void test_a_delayed_request_goes_on_with_its_body(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;
	uint64_t begun = test_now_ms();

	put_text(client, "POST /delay HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel");
	assert_false(server_has_caller(h, 0, 50));
	put_text(client, "lo");
	server = server_accept(h, 0);
	assert_true(test_now_ms() - begun >= 140);
	free(get_head(server));
	expect_bytes(server, "hello");
	put_text(server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
	expect_reply(client, 200, "ok");
	/* the next one has a delay of its own */
	begun = test_now_ms();
	put_text(client, "GET /delay HTTP/1.1\r\nhost: a\r\n\r\n");
	free(get_head(server));
	assert_true(test_now_ms() - begun >= 140);
	put_text(server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
	expect_reply(client, 200, "ok");
	close(client);
	close(server);
}

static void test_an_abort_after_a_delay_leaves_the_connection_open(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);
	uint64_t begun = test_now_ms();

	expect_own(client, "POST /both HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", 503, "fault filter abort", NULL);
	assert_true(test_now_ms() - begun >= 45);
	expect_own(client, "GET /abort HTTP/1.1\r\nhost: a\r\n\r\n", 418, "fault filter abort", NULL);
	close(client);
}

static void test_a_client_that_goes_during_a_delay_is_not_served(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	put_text(client, "GET /delay HTTP/1.1\r\nhost: a\r\n\r\n");
	close(client);
	assert_false(server_has_caller(h, 0, 300));
}

#define PREFLIGHT(path, origin) "OPTIONS " path " HTTP/1.1\r\nhost: a\r\norigin: " origin "\r\naccess-control-request-method: PUT\r\n\r\n"

static void test_a_preflight_of_an_allowed_origin_is_answered(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	expect_own(client, PREFLIGHT("/cors", "https://a.test"), 200, "", "access-control-allow-origin: https://a.test");
	expect_own(client, PREFLIGHT("/cors", "https://x.b.test"), 200, "", "access-control-allow-methods: PUT");
	expect_own(client, PREFLIGHT("/cors", "https://a.test"), 200, "", "access-control-allow-headers: x-a");
	expect_own(client, PREFLIGHT("/cors", "https://a.test"), 200, "", "access-control-max-age: 600");
	expect_own(client, PREFLIGHT("/cors", "https://a.test"), 200, "", "access-control-allow-credentials: true");
	expect_own(client, PREFLIGHT("/star", "https://other.test"), 200, "", "access-control-allow-origin: https://other.test");
	expect_own(client, PREFLIGHT("/keeps", "https://other.test"), 200, "", "access-control-allow-methods: GET");
	expect_served(h, client, PREFLIGHT("/cors", "https://other.test"), NULL, "access-control");
	expect_own(client, PREFLIGHT("/redirect", "https://a.test"), 501, "fault filter abort", NULL);
	close(client);
}

static void test_responses_to_an_allowed_origin_say_so(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	expect_served(h, client, "GET /cors HTTP/1.1\r\nhost: a\r\norigin: https://a.test\r\n\r\n", "access-control-expose-headers: x-e", "allow-methods");
	expect_served(h, client, "GET /cors HTTP/1.1\r\nhost: a\r\norigin: https://a.test\r\n\r\n", "access-control-allow-credentials: true", NULL);
	expect_served(h, client, "GET /cors HTTP/1.1\r\nhost: a\r\norigin: https://other.test\r\n\r\n", NULL, "access-control");
	expect_served(h, client, "GET /cors HTTP/1.1\r\nhost: a\r\n\r\n", NULL, "access-control");
	expect_own(client, "GET /empty HTTP/1.1\r\nhost: a\r\norigin: https://a.test\r\n\r\n", 503, "no healthy upstream",
		   "access-control-allow-origin: https://a.test");
	close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_fault_aborts_in_place_of_what_the_route_does, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_delayed_request_goes_on_with_its_body, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_abort_after_a_delay_leaves_the_connection_open, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_client_that_goes_during_a_delay_is_not_served, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_preflight_of_an_allowed_origin_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_responses_to_an_allowed_origin_say_so, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Clusters that a request names, faults that it asks for, hosts that are their endpoint's name, limits of time. Expectations are Envoy's. */
#include "proxy/harness.h"

#define ROUTE(path, more) "          - {match: {path: " path "}, route: {timeout: 0s, " more "}}\n"
#define FAULT "{\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, "
#define GET(path, lines) "GET " path " HTTP/1.1\r\nhost: a\r\n" lines "\r\n"

static const char routes[] =
	ROUTE("/named", "cluster_header: x-cluster, cluster_not_found_response_code: NOT_FOUND")
	ROUTE("/numbered", "weighted_clusters: {header_name: x-number, clusters: [{name: up, weight: 10}, {name: empty, weight: 90}]}")
	ROUTE("/weighed", "weighted_clusters: {clusters: [{name: empty, weight: 0}, {cluster_header: x-cluster, weight: 1}]}")
	ROUTE("/hashed", "hash_policy: [{header: {header_name: x-user}}], weighted_clusters: {use_hash_policy: true, clusters: [{name: up, weight: 50}, "
			 "{name: empty, weight: 50}]}")
	ROUTE("/auto", "cluster: up, auto_host_rewrite: true, append_x_forwarded_host: true, retry_policy: {retry_on: 5xx, num_retries: 1, "
		       "retry_back_off: {base_interval: 0.001s}}")
	ROUTE("/upgrades", "cluster: up, upgrade_configs: [{upgrade_type: websocket}]")
	ROUTE("/stays", "cluster: up, upgrade_configs: [{upgrade_type: websocket, enabled: false}]")
	ROUTE("/silent-try", "cluster: up, retry_policy: {retry_on: 5xx, num_retries: 0, per_try_idle_timeout: 0.1s}")
	ROUTE("/idle", "cluster: up, idle_timeout: 0.1s")
	ROUTE("/long", "cluster: up, max_stream_duration: {max_stream_duration: 0.1s}")
	"          - match: {path: /fault}\n            route: {cluster: up, timeout: 0s}\n            typed_per_filter_config: {envoy.filters.http.fault: "
	FAULT "abort: {header_abort: {}, percentage: {numerator: 100}}, delay: {header_delay: {}, percentage: {numerator: 100}}}}\n"
	"          - match: {path: /direct}\n            direct_response: {status: 200}\n            response_headers_to_add: "
	"[{header: {key: x-added, value: \"1\"}}]\n            typed_per_filter_config: {envoy.filters.http.fault: "
	FAULT "abort: {http_status: 418, percentage: {numerator: 100}}}}\n"
	ROUTE("/up", "cluster: up");

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

/* The head that the server got. */
static char *served(struct harness *h, int client, const char *request)
{
	char *head;
	int server;

	put_text(client, request);
	server = server_accept(h, 0);
	head = get_head(server);
	put_text(server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
	expect_reply(client, 200, "ok");
	close(server);
	return head;
}

static void expect_served(struct harness *h, int client, const char *request)
{
	free(served(h, client, request));
}

/* What Envoy says with the status is compared elsewhere. */
static void expect_status(int client, const char *request, int status)
{
	struct reply reply = {0};

	put_text(client, request);
	get_reply(client, &reply);
	assert_int_equal(reply.status, status);
	reply_release(&reply);
}

static void test_a_header_names_the_cluster(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	expect_served(h, client, GET("/named", "x-cluster: up\r\nx-cluster: none\r\n"));
	expect_status(client, GET("/named", "x-cluster: UP\r\n"), 404);
	expect_status(client, GET("/named", ""), 404);
	expect_served(h, client, GET("/weighed", "x-cluster: up\r\n"));
	expect_status(client, GET("/weighed", "x-cluster: none\r\n"), 503);
	close(client);
}

static void test_a_number_or_a_hash_chooses_a_weighted_cluster(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	expect_served(h, client, GET("/numbered", "x-number: 9\r\n"));
	expect_served(h, client, GET("/numbered", "x-number: +109\r\n"));
	expect_status(client, GET("/numbered", "x-number: 10\r\n"), 503);
	expect_status(client, GET("/numbered", "x-number: 99\r\n"), 503);
	/* As a recorded Envoy chose of 50 and 50. */
	expect_status(client, GET("/hashed", "x-user: alice\r\n"), 503);
	expect_served(h, client, GET("/hashed", "x-user: bob\r\n"));
	close(client);
}

static void test_a_request_asks_for_its_fault(void **state)
{
	struct harness *h = *state;
	uint64_t begun = test_now_ms();
	int client = client_new(h);

	expect_served(h, client, GET("/fault", ""));
	expect_status(client, GET("/fault", "x-envoy-fault-abort-request: 418\r\n"), 418);
	expect_served(h, client, GET("/fault", "x-envoy-fault-abort-request: 199\r\n"));
	expect_served(h, client, GET("/fault", "x-envoy-fault-abort-request: 418\r\nx-envoy-fault-abort-request-percentage: 0\r\n"));
	expect_status(client, GET("/fault", "x-envoy-fault-abort-grpc-request: 5\r\n"), 200);
	expect_served(h, client, GET("/fault", "x-envoy-fault-delay-request: 150\r\n"));
	assert_true(test_now_ms() - begun >= 140);
	close(client);
}

static void test_an_abort_where_nothing_is_forwarded_has_no_line_of_the_route(void **state)
{
	struct reply reply = {0};
	int client = client_new(*state);

	put_text(client, GET("/direct", ""));
	get_reply(client, &reply);
	assert_int_equal(reply.status, 418);
	assert_false(has_line(reply.head, "x-added: 1"));
	reply_release(&reply);
	close(client);
}

static void test_the_host_is_the_name_of_the_endpoint(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;
	char *head;

	put_text(client, "POST /auto HTTP/1.1\r\nhost: a\r\nx-forwarded-host: b\r\ncontent-length: 5\r\n\r\nhello");
	server = server_accept(h, 0);
	head = get_head(server);
	assert_true(has_line(head, "host: s0.test"));
	assert_true(has_line(head, "x-forwarded-host: b,a"));
	free(head);
	expect_bytes(server, "hello");
	put_text(server, "HTTP/1.1 503 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
	close(server);
	server = server_accept(h, 0);
	head = get_head(server);
	assert_true(has_line(head, "host: s0.test"));
	assert_true(has_line(head, "x-forwarded-host: b,a,s0.test"));
	free(head);
	expect_bytes(server, "hello");
	put_text(server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
	expect_reply(client, 200, "ok");
	close(server);
	close(client);
}

/* Envoy, Utility::updateAuthority: blanks count, commas at the end don't. */
static void test_a_host_is_not_listed_twice_in_a_row(void **state)
{
	static const struct {
		const char *sent, *wanted;
	} lists[] = {
		{"x,a", "x,a"}, {"x, a", "x, a,a"}, {"a", "a"}, {"a,b", "a,b,a"}, {"a,", "a,"}, {"x-a", "x-a,a"},
	};
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		int client = client_new(h), server;
		char line[64], *head;

		snprintf(line, sizeof(line), "x-forwarded-host: %s\r\n", lists[i].sent);
		put_text(client, "GET /auto HTTP/1.1\r\nhost: a\r\n");
		put_text(client, line);
		put_text(client, "\r\n");
		server = server_accept(h, 0);
		head = get_head(server);
		snprintf(line, sizeof(line), "x-forwarded-host: %s", lists[i].wanted);
		if (!has_line(head, line))
			fail_msg("%s became %s", lists[i].sent, head);
		free(head);
		put_text(server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
		expect_reply(client, 200, "ok");
		close(server);
		close(client);
	}
}

static void test_a_route_says_whether_it_upgrades(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;
	struct reply reply = {0};

	put_text(client, GET("/upgrades", "connection: upgrade\r\nupgrade: websocket\r\n"));
	server = server_accept(h, 0);
	free(get_head(server));
	put_text(server, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi");
	get_reply(client, &reply);
	assert_int_equal(reply.status, 101);
	reply_release(&reply);
	expect_bytes(client, "hi");
	close(server);
	close(client);
	client = client_new(h);
	expect_status(client, GET("/stays", "connection: upgrade\r\nupgrade: websocket\r\n"), 403);
	close(client);
}

static void test_a_try_may_not_be_silent_for_long(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;

	put_text(client, GET("/silent-try", ""));
	server = server_accept(h, 0);
	free(get_head(server));
	expect_reply(client, 504, "upstream request timeout");
	close(server);
	put_text(client, GET("/silent-try", ""));
	server = server_accept(h, 0);
	free(get_head(server));
	put_text(server, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok");
	free(get_head(client));
	expect_bytes(client, "ok");
	expect_end(client);
	close(server);
	close(client);
}

static void test_what_is_idle_or_takes_long_ends(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;

	put_text(client, GET("/idle", ""));
	server = server_accept(h, 0);
	free(get_head(server));
	expect_reply(client, 504, "stream timeout");
	close(server);
	put_text(client, GET("/long", ""));
	server = server_accept(h, 0);
	free(get_head(server));
	expect_reply(client, 504, "downstream duration timeout");
	close(server);
	put_text(client, "POST /idle HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe");
	server = server_accept(h, 0);
	free(get_head(server));
	expect_reply(client, 408, "stream timeout");
	expect_end(client);
	close(server);
	close(client);
}

static void test_limits_of_time_hold_on_connections_that_were_used(void **state)
{
	static const char *const requests[] = { GET("/silent-try", ""), GET("/long", ""), GET("/idle", "") };
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		int client = client_new(h), server;
		struct reply reply = {0};

		put_text(client, GET("/up", ""));
		server = server_accept(h, 0);
		free(get_head(server));
		put_text(server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
		expect_reply(client, 200, "ok");
		put_text(client, requests[i]);
		free(get_head(server));
		get_reply(client, &reply);
		assert_int_equal(reply.status, 504);
		reply_release(&reply);
		close(server);
		close(client);
	}
}

static void test_an_empty_line_adds_no_comma(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);
	char *head = served(h, client, GET("/up", "user-agent: x\r\nuser-agent:\r\naccept:\r\naccept: y\r\n"));

	assert_true(has_line(head, "user-agent: x"));
	assert_true(has_line(head, "accept: y"));
	free(head);
	close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_header_names_the_cluster, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_number_or_a_hash_chooses_a_weighted_cluster, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_request_asks_for_its_fault, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_abort_where_nothing_is_forwarded_has_no_line_of_the_route, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_host_is_the_name_of_the_endpoint, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_host_is_not_listed_twice_in_a_row, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_route_says_whether_it_upgrades, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_try_may_not_be_silent_for_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_idle_or_takes_long_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits_of_time_hold_on_connections_that_were_used, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_empty_line_adds_no_comma, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

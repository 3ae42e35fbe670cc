/* SPDX-License-Identifier: Apache-2.0 */
/* Further tries and mirrors. Expectations are Envoy's. */
#include <sys/resource.h>

#include "proxy/harness.h"

#define ROUTE(name, cluster, more) \
	"          - name: " name "\n            match: {prefix: /" name "}\n            route: {cluster: " cluster ", " more "}\n"
#define RETRY(more) "timeout: 0s, retry_policy: {retry_back_off: {base_interval: 0.002s, max_interval: 0.004s}, " more "}"

#define LEAVES(after) \
	"retry_priority: {name: envoy.retry_priorities.previous_priorities, typed_config: " \
	"{\"@type\": type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: " after "}}"

static const char routes[] =
	ROUTE("5xx", "up", RETRY("retry_on: 5xx, num_retries: 2"))
	ROUTE("gateway", "up", RETRY("retry_on: gateway-error, num_retries: 1"))
	ROUTE("reset", "up", RETRY("retry_on: reset, num_retries: 1"))
	ROUTE("codes", "up", RETRY("retry_on: retriable-status-codes, retriable_status_codes: [404, 418], num_retries: 1"))
	ROUTE("header", "up", RETRY("retry_on: retriable-headers, retriable_headers: [{name: x-again, string_match: {exact: \"yes\"}}], num_retries: 1"))
	ROUTE("asked", "up", RETRY("retry_on: 5xx, retriable_request_headers: [{name: x-may}], num_retries: 1"))
	ROUTE("istio", "up", RETRY("retry_on: \"connect-failure,refused-stream,unavailable,cancelled\", num_retries: 2"))
	ROUTE("try", "up", "timeout: 0s, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.1s}")
	ROUTE("once", "up", "timeout: 0s, retry_policy: {retry_on: connect-failure, num_retries: 3, per_try_timeout: 0.1s}")
	ROUTE("all", "up", "timeout: 0.15s, retry_policy: {retry_on: 5xx, num_retries: 9, retry_back_off: {base_interval: 60s, max_interval: 60s}}")
	ROUTE("other", "either", RETRY("retry_on: connect-failure, num_retries: 1, host_selection_retry_max_attempts: 50, "
				       "retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config: "
				       "{\"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]"))
	ROUTE("leave", "levels", RETRY("retry_on: 5xx, num_retries: 3, " LEAVES("1")))
	ROUTE("by-two", "levels", RETRY("retry_on: 5xx, num_retries: 5, " LEAVES("2")))
	ROUTE("stay", "up", RETRY("retry_on: 5xx, num_retries: 1, " LEAVES("1")))
	ROUTE("mirror", "up", "timeout: 0s, request_mirror_policies: [{cluster: either, runtime_fraction: {default_value: {numerator: 0}}}, {cluster: second}]")
	ROUTE("same", "up", "timeout: 0s, request_mirror_policies: [{cluster: second, disable_shadow_host_suffix_append: true}]")
	ROUTE("gone", "up", "timeout: 0s, request_mirror_policies: [{cluster: down}, {cluster: nowhere}]")
	ROUTE("many", "up", RETRY("retry_on: 5xx, num_retries: 12"))
	ROUTE("", "up", "timeout: 0s")
	"        include_request_attempt_count: true\n";

static int setup_with(void **state, struct proxy_limits limits, bool decorates)
{
	struct harness *h = harness_new(&(struct harness_options){.has_no_images = true, .limits = limits, .decorates = decorates});
	char more[1024];

	snprintf(more, sizeof(more),
		 "  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: second\n    type: STATIC\n"
		 "    load_assignment: {cluster_name: second, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: "
		 "{address: 127.0.0.1, port_value: %u}}}}]}]}\n"
		 "  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: levels\n    type: STATIC\n"
		 "    load_assignment: {cluster_name: levels, endpoints: [{priority: 0, lb_endpoints: [{endpoint: {address: {socket_address: "
		 "{address: 127.0.0.1, port_value: %u}}}}]}, {priority: 1, lb_endpoints: [{endpoint: {address: {socket_address: "
		 "{address: 127.0.0.1, port_value: %u}}}}]}]}\n",
		 h->ports[1], h->ports[0], h->ports[1]);
	harness_publish_more(h, routes, more);
	*state = h;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, (struct proxy_limits){0}, false);
}

static int setup_with_little_memory(void **state)
{
	return setup_with(state, (struct proxy_limits){.buffer_bytes_each = 2u << 20}, false);
}

static int setup_with_less_memory_and_counts(void **state)
{
	return setup_with(state, (struct proxy_limits){.buffer_bytes_each = 3u << 19}, true);
}

static int setup_with_room_for_two_copies(void **state)
{
	return setup_with(state, (struct proxy_limits){.buffer_bytes_each = 5u << 19}, false);
}

static int teardown(void **state)
{
	harness_free(*state);
	return 0;
}

#define FAILS "HTTP/1.1 503 Bad\r\ncontent-length: 4\r\n\r\nnope"
#define GOOD "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
/* Before a server closes: otherwise the connection may be used again just then. */
#define LAST "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"

static void expect_head_and(int server, const char *head, const char *body)
{
	char *found = get_head(server);

	if (!strstr(found, head))
		fail_msg("no %s in:\n%s", head, found);
	free(found);
	if (*body)
		expect_bytes(server, body);
}

/* A try: what the server gets, and what it answers. */
static void serve(struct harness *h, const char *head, const char *body, const char *answer)
{
	int server = server_accept(h, 0);

	expect_head_and(server, head, body);
	put_text(server, answer);
	close(server);
}

static void test_a_request_is_sent_again_after_an_answer(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	put_text(client, "POST /5xx HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nx-a: 1\r\n\r\nhello");
	serve(h, "x-a: 1", "hello", FAILS);
	serve(h, "x-a: 1", "hello", "HTTP/1.1 500 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
	serve(h, "x-a: 1", "hello", LAST);
	expect_reply(client, 200, "ok");
	/* the last answer is the client's */
	put_text(client, "GET /5xx HTTP/1.1\r\nhost: a\r\n\r\n");
	for (int i = 0; i < 3; i++)
		serve(h, "GET /5xx", "", FAILS);
	expect_reply(client, 503, "nope");
	close(client);
}

static void test_a_chunked_body_is_sent_again(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;

	put_text(client, "POST /5xx HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
	server = server_accept(h, 0);
	free(get_head(server));
	expect_bytes(server, "5\r\nhello\r\n");
	put_text(client, "3\r\nyou\r\n0\r\n\r\n");
	expect_bytes(server, "3\r\nyou\r\n0\r\n\r\n");
	put_text(server, FAILS);
	close(server);
	serve(h, "chunked", "5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n", LAST);
	expect_reply(client, 200, "ok");
	close(client);
}

/* Which answers are retried, by condition: each request is answered so, and then well. */
static void test_each_condition_takes_its_answers_alone(void **state)
{
	static const struct {
		const char *request, *answer;
		int status; /* of the first answer where it is not retried; 0: it is */
	} cases[] = {
		{"/gateway", "HTTP/1.1 502 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 0},
		{"/gateway", "HTTP/1.1 500 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 500},
		{"/codes", "HTTP/1.1 418 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 0},
		{"/codes", "HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 503},
		{"/header", "HTTP/1.1 201 X\r\nx-again: yes\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 0},
		{"/header", "HTTP/1.1 201 X\r\nx-again: no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 201},
		{"/istio", "HTTP/1.1 200 X\r\ngrpc-status: 14\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 0},
		{"/istio", "HTTP/1.1 503 X\r\ngrpc-status: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 503},
		{"/5xx", "HTTP/1.1 503 X\r\nx-envoy-ratelimited: true\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 503},
		{"/asked", "HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 503},
		{"/asked HTTP/1.1\r\nx-may: 1", "HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 0},
		{"/reset", "HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 503},
		{"/reset", "garbage\r\n\r\n", 0},
		{"/reset", "", 0},
		{"/codes", "", 503},
	};
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reply reply = {0};
		int client = client_new(h);
		char request[128];

		snprintf(request, sizeof(request), strstr(cases[i].request, "HTTP") ? "GET %s\r\nhost: a\r\n\r\n" : "GET %s HTTP/1.1\r\nhost: a\r\n\r\n",
			 cases[i].request);
		put_text(client, request);
		serve(h, "GET", "", cases[i].answer);
		if (!cases[i].status)
			serve(h, "GET", "", LAST);
		get_reply(client, &reply);
		if (reply.status != (cases[i].status ? cases[i].status : 200))
			fail_msg("%s, answered %s: %d", cases[i].request, cases[i].answer, reply.status);
		reply_release(&reply);
		close(client);
	}
}

static void test_each_try_has_a_time_of_its_own(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), first, second;
	uint64_t begun = test_now_ms();

	put_text(client, "GET /try HTTP/1.1\r\nhost: a\r\n\r\n");
	first = server_accept(h, 0);
	free(get_head(first));
	second = server_accept(h, 0);
	assert_true(test_now_ms() - begun >= 95);
	free(get_head(second));
	put_text(second, LAST);
	expect_reply(client, 200, "ok");
	expect_end(first);
	close(first);
	close(second);
	/* where a reset is not retried, it is the end */
	put_text(client, "GET /once HTTP/1.1\r\nhost: a\r\n\r\n");
	first = server_accept(h, 0);
	free(get_head(first));
	expect_reply(client, 504, "upstream request timeout");
	close(first);
	close(client);
}

static void test_the_routes_timeout_ends_the_wait_for_a_try(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	put_text(client, "GET /all HTTP/1.1\r\nhost: a\r\n\r\n");
	serve(h, "GET", "", FAILS);
	expect_reply(client, 504, "upstream request timeout");
	close(client);
}

static void test_a_body_of_more_than_a_mebibyte_is_sent_once(void **state)
{
	struct harness *h = *state;
	size_t size = (1u << 20) + 1;
	char *body = pattern(size, 7), *found = malloc(size), head[128];
	int client = client_new(h), server;

	assert_non_null(found);
	snprintf(head, sizeof(head), "POST /5xx HTTP/1.1\r\nhost: a\r\ncontent-length: %zu\r\n\r\n", size);
	put_text(client, head);
	put_bytes(client, body, size / 2);
	server = server_accept(h, 0);
	free(get_head(server));
	get_exactly(server, found, size / 2);
	put_bytes(client, body + size / 2, size - size / 2);
	get_exactly(server, found + size / 2, size - size / 2);
	assert_memory_equal(found, body, size);
	put_text(server, FAILS);
	expect_reply(client, 503, "nope");
	assert_false(server_has_caller(h, 0, 50));
	close(server);
	close(client);
	free(found);
	free(body);
}

/* A POST of `size` bytes that has arrived at a server, whole. */
static int post(struct harness *h, int client, const char *path, const char *body, size_t size, size_t *head_len)
{
	char *found_head;
	char *found = malloc(size), head[128];
	int server;

	assert_non_null(found);
	snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: %zu\r\n\r\n", path, size);
	put_text(client, head);
	put_bytes(client, body, 1000);
	server = server_accept(h, 0);
	found_head = get_head(server);
	*head_len = strlen(found_head);
	free(found_head);
	get_exactly(server, found, 1000);
	for (size_t at = 1000; at < size; at += 11000) {
		size_t part = WEFT_MIN((size_t)11000, size - at);

		put_bytes(client, body + at, part);
		get_exactly(server, found + at, part);
	}
	assert_memory_equal(found, body, size);
	free(found);
	return server;
}

static void test_bodies_that_there_is_no_room_for_are_sent_once(void **state)
{
	enum { SIZE = 400000 }; /* in half a mebibyte, which half of the pod's memory has once beside what is on its way */
	struct harness *h = *state;
	char *body = pattern(SIZE, 7);
	int kept = client_new(h), unkept = client_new(h), kept_at, unkept_at;
	struct proxy_stats stats;
	size_t head_len;

	kept_at = post(h, kept, "/5xx", body, SIZE, &head_len);
	unkept_at = post(h, unkept, "/5xx", body, SIZE, &head_len);
	proxy_stats(h->proxy, &stats);
	assert_int_equal(stats.requests_unkept, 1);
	assert_in_range(stats.buffers_bytes, SIZE, 1u << 20);
	put_text(unkept_at, FAILS);
	expect_reply(unkept, 503, "nope");
	close(unkept_at);
	put_text(kept_at, FAILS);
	close(kept_at);
	serve(h, "POST", body, GOOD);
	expect_reply(kept, 200, "ok");
	close(kept);
	/* There is room again. */
	kept_at = post(h, unkept, "/5xx", body, SIZE, &head_len);
	put_text(kept_at, FAILS);
	close(kept_at);
	serve(h, "POST", body, GOOD);
	expect_reply(unkept, 200, "ok");
	proxy_stats(h->proxy, &stats);
	assert_int_equal(stats.requests_unkept, 1);
	assert_int_equal(stats.retries, 2);
	close(unkept);
	free(body);
}

/* The tenth try's number has a digit more, for which the copy has to grow. */
static void test_the_last_try_that_there_is_memory_for_is_answered(void **state)
{
	struct harness *h = *state;
	size_t size = 100000, head_len;
	char *body = pattern(1u << 19, 7);
	int client = client_new(h), server;

	server = post(h, client, "/many", body, size, &head_len);
	put_text(server, LAST);
	expect_reply(client, 200, "ok");
	close(server);
	size = (1u << 19) - head_len;
	body[size] = '\0';
	server = post(h, client, "/many", body, size, &head_len);
	for (int i = 2; i <= 9; i++) {
		char number[40];

		put_text(server, FAILS);
		close(server);
		server = server_accept(h, 0);
		snprintf(number, sizeof(number), "x-envoy-attempt-count: %d\r\n", i);
		expect_head_and(server, number, body);
	}
	put_text(server, FAILS);
	expect_reply(client, 503, "nope");
	assert_false(server_has_caller(h, 0, 50));
	close(server);
	close(client);
	free(body);
}

/* Each copy is half a mebibyte, of which the pod may have two and a half. */
static void test_a_copy_for_a_mirror_that_there_is_no_room_for_is_not_sent(void **state)
{
	enum { SIZE = 400000 };
	struct harness *h = *state;
	char *body = pattern(SIZE, 7);
	int client = client_new(h), servers[2], mirror;
	struct proxy_stats stats;
	size_t head_len;

	servers[0] = post(h, client, "/mirror", body, SIZE, &head_len);
	mirror = server_accept(h, 1);
	put_text(servers[0], LAST);
	expect_reply(client, 200, "ok");
	proxy_stats(h->proxy, &stats);
	assert_int_equal(stats.mirrored, 1);
	assert_true(stats.buffers_bytes >= SIZE);
	servers[1] = post(h, client, "/mirror", body, SIZE, &head_len);
	put_text(servers[1], LAST);
	expect_reply(client, 200, "ok");
	proxy_stats(h->proxy, &stats);
	assert_int_equal(stats.mirrored, 1);
	assert_int_equal(stats.mirrors_dropped, 1);
	assert_int_equal(stats.requests_unkept, 0);
	assert_false(server_has_caller(h, 1, 50));
	expect_head_and(mirror, "host: a-shadow", body);
	put_text(mirror, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
	expect_end(mirror);
	for (int i = 0; i < 5000; i++) {
		proxy_stats(h->proxy, &stats);
		if (stats.buffers_bytes < SIZE)
			break;
		usleep(1000);
	}
	assert_true(stats.buffers_bytes < SIZE);
	close(servers[0]);
	close(servers[1]);
	close(mirror);
	close(client);
	free(body);
}

static void test_a_pod_has_its_part_of_the_mirrored_requests(void **state)
{
	struct rlimit files;
	struct harness *h = *state;
	int client = client_new(h), server = -1;
	struct proxy_stats stats;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	for (int i = 0; i <= 1024; i++) {
		put_text(client, "GET /same HTTP/1.1\r\nhost: a.test\r\n\r\n");
		if (server < 0)
			server = server_accept(h, 0);
		free(get_head(server));
		put_text(server, GOOD);
		expect_reply(client, 200, "ok");
	}
	proxy_stats(h->proxy, &stats);
	assert_int_equal(stats.mirrored, 1024);
	assert_int_equal(stats.mirrors_dropped, 1);
	close(server);
	close(client);
}

static void test_a_further_try_avoids_hosts_that_were_tried(void **state)
{
	struct harness *h = *state;

	for (int i = 0; i < 8; i++) {
		int client = client_new(h), server;

		put_text(client, "GET /other HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
		server = server_accept(h, 1);
		free(get_head(server));
		put_text(server, LAST);
		expect_reply(client, 200, "ok");
		close(server);
		close(client);
	}
}

/* Which server gets each try, the last of which is answered well. */
static void expect_tries(struct harness *h, const char *request, const char *servers)
{
	int client = client_new(h);

	put_text(client, request);
	for (; *servers; servers++) {
		int server = server_accept(h, *servers - '0');

		free(get_head(server));
		put_text(server, servers[1] ? FAILS : LAST);
		close(server);
	}
	expect_reply(client, 200, "ok");
	close(client);
}

/* Envoy: when all priorities have been tried, all of them are there again, and what follows begins anew. */
static void test_a_retry_leaves_the_priorities_that_were_tried(void **state)
{
	expect_tries(*state, "GET /leave HTTP/1.1\r\nhost: a\r\n\r\n", "0101");
	expect_tries(*state, "GET /by-two HTTP/1.1\r\nhost: a\r\n\r\n", "00110");
	expect_tries(*state, "GET /stay HTTP/1.1\r\nhost: a\r\n\r\n", "00");
}

static void test_a_mirror_gets_what_the_server_gets(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server, mirror;
	char *head;

	put_text(client, "POST /mirror HTTP/1.1\r\nhost: a.test:81\r\ncontent-length: 5\r\nx-a: 1\r\nx-forwarded-for: 9.9.9.9\r\n\r\nhello");
	server = server_accept(h, 0);
	free(get_head(server));
	expect_bytes(server, "hello");
	mirror = server_accept(h, 1);
	head = get_head(mirror);
	assert_true(has_line(head, "host: a.test-shadow:81"));
	assert_true(has_line(head, "x-a: 1"));
	assert_true(has_line(head, "x-envoy-internal: true"));
	assert_non_null(strstr(head, "x-forwarded-for: 9.9.9.9,"));
	free(head);
	expect_bytes(mirror, "hello");
	put_text(mirror, "HTTP/1.1 500 X\r\ncontent-length: 3\r\n\r\nbad");
	expect_end(mirror);
	put_text(server, GOOD);
	expect_reply(client, 200, "ok");
	close(mirror);
	put_text(client, "GET /same HTTP/1.1\r\nhost: a.test\r\n\r\n");
	mirror = server_accept(h, 1);
	head = get_head(mirror);
	assert_true(has_line(head, "host: a.test"));
	free(head);
	free(get_head(server));
	put_text(server, GOOD);
	expect_reply(client, 200, "ok");
	/* one that does not answer is nobody's business */
	put_text(client, "GET /gone HTTP/1.1\r\nhost: a.test\r\n\r\n");
	free(get_head(server));
	put_text(server, GOOD);
	expect_reply(client, 200, "ok");
	close(server);
	close(mirror);
	close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_request_is_sent_again_after_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_chunked_body_is_sent_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_condition_takes_its_answers_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_try_has_a_time_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_routes_timeout_ends_the_wait_for_a_try, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_body_of_more_than_a_mebibyte_is_sent_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bodies_that_there_is_no_room_for_are_sent_once, setup_with_little_memory, teardown),
		cmocka_unit_test_setup_teardown(test_the_last_try_that_there_is_memory_for_is_answered, setup_with_less_memory_and_counts, teardown),
		cmocka_unit_test_setup_teardown(test_a_copy_for_a_mirror_that_there_is_no_room_for_is_not_sent, setup_with_room_for_two_copies, teardown),
		cmocka_unit_test_setup_teardown(test_a_pod_has_its_part_of_the_mirrored_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_further_try_avoids_hosts_that_were_tried, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_retry_leaves_the_priorities_that_were_tried, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_mirror_gets_what_the_server_gets, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

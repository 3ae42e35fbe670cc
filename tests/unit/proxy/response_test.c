/* SPDX-License-Identifier: Apache-2.0 */
/* What the client gets of what the server says: heads, framing, failures. */
#include "proxy/harness.h"

static int setup(void **state)
{
	*state = harness_new(&(struct harness_options){0});
	return 0;
}

static int teardown(void **state)
{
	harness_free(*state);
	return 0;
}

#define REQUEST "GET /u HTTP/1.1\r\nHost: a\r\n\r\n"
#define PROTOCOL_ERROR "upstream connect error or disconnect/reset before headers. reset reason: protocol error"
#define TERMINATION "upstream connect error or disconnect/reset before headers. reset reason: connection termination"

enum then { KEEPS, FIN, RST };

/* After Envoy 1.40 (server and date, which it adds or overwrites, aside). */
static const struct {
	const char *raw;
	enum then then;
	int status;
	const char *body;
	const char *has;      /* a line that is there */
	const char *has_not;  /* the beginning of a line that is not */
	bool is_reused;       /* the upstream */
} responses[] = {
	{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", KEEPS, 200, "hello", "content-length: 5", "connection", true},
	{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", KEEPS, 200, "", "content-length: 0", "transfer-encoding", true},
	{"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok", KEEPS, 200, "ok", NULL, "keep-alive", true},
	{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", FIN, 200, "ok", NULL, "connection", false},
	{"HTTP/1.1 200 OK\r\n\r\nhello", FIN, 200, "hello", "transfer-encoding: chunked", "connection", false},
	{"HTTP/1.0 200 OK\r\n\r\nhello", FIN, 200, "hello", "transfer-encoding: chunked", NULL, false},
	{"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", FIN, 200, "hello", "content-length: 5", NULL, false},
	{"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", KEEPS, 200, "hello", NULL, "connection", true},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", KEEPS, 200, "hello", "transfer-encoding: chunked", NULL, true},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0;c\r\nX-T: 1\r\n\r\n", KEEPS, 200, "hello", NULL, "x-t", true},
	{"HTTP/1.1 200 OK\r\nTrailer: x-t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\n\r\n", KEEPS, 200, "", "trailer: x-t", NULL, true},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", KEEPS, 502, PROTOCOL_ERROR, NULL, "connection", false},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", KEEPS, 502, PROTOCOL_ERROR, NULL, NULL, false},
	{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", FIN, 200, "hello", "transfer-encoding: chunked", NULL, false},
	{"HTTP/1.1 204 No Content\r\n\r\n", KEEPS, 204, "", NULL, "transfer-encoding", true},
	{"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", KEEPS, 204, "", NULL, "content-length", true},
	{"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", KEEPS, 502, PROTOCOL_ERROR, NULL, NULL, false},
	{"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", KEEPS, 502, PROTOCOL_ERROR, NULL, NULL, false},
	{"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", KEEPS, 304, "", "content-length: 100", NULL, true},
	{"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", KEEPS, 304, "", "etag: \"x\"", "transfer-encoding", true},
	{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", KEEPS, 502, PROTOCOL_ERROR, NULL, NULL, false},
	{"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nhello", FIN, 502, PROTOCOL_ERROR, NULL, NULL, false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhello", KEEPS, 200, "hel", NULL, NULL, false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 05\r\n\r\nhello", KEEPS, 200, "hello", "content-length: 05", NULL, true},
	{"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", KEEPS, 200, "ok", NULL, NULL, false},
	{"HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\nok", KEEPS, 999, "ok", NULL, NULL, true},
	{"HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nok", FIN, 502, PROTOCOL_ERROR, NULL, NULL, false},
	{"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", KEEPS, 200, "ok", NULL, NULL, true},
	{"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", KEEPS, 200, "ok", "content-length: 2", NULL, true},
	{"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok", KEEPS, 200, "ok", "x-a: 1 2", NULL, true},
	{"HTTP/1.1 200 OK\r\nX-A: a\001b\r\nContent-Length: 2\r\n\r\nok", FIN, 502, PROTOCOL_ERROR, NULL, NULL, false},
	{"HTTP/1.1 200 OK\r\nnocolon\r\nContent-Length: 2\r\n\r\nok", FIN, 502, PROTOCOL_ERROR, NULL, NULL, false},
	{"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", FIN, 502, PROTOCOL_ERROR, NULL, NULL, false},
	{"garbage\r\n\r\n", FIN, 502, PROTOCOL_ERROR, NULL, NULL, false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA", KEEPS, 200, "ok", NULL, NULL, false},
	{"HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nUpgrade: h2c\r\nTE: x\r\nContent-Length: 2\r\n\r\nok", KEEPS, 200, "ok", "x-hop: 1", "upgrade", true},
	{"HTTP/1.1 200 OK\r\nVary: a\r\nX-R: 1\r\nVary: b\r\nX-R: 2\r\nContent-Length: 2\r\n\r\nok", KEEPS, 200, "ok", "vary: a,b", "vary: b", true},
	{"HTTP/1.1 200 OK\r\nVary: \r\nVary: b\r\nVary: \r\nVary: c\r\nContent-Length: 2\r\n\r\nok", KEEPS, 200, "ok", "vary: b,c", "vary: ,", true},
	{"HTTP/1.1 200 OK\r\nServer: mine\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nok", KEEPS, 200, "ok", "server: mine", NULL, true},
	{"", FIN, 503, TERMINATION, "content-type: text/plain", "connection", false},
	{"", RST, 503, TERMINATION, NULL, NULL, false},
	{"HTTP/1.1 200 OK\r\nContent-Le", FIN, 502, PROTOCOL_ERROR, NULL, NULL, false},
	{"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n", FIN, 101, "", NULL, "upgrade", false},
};

static bool has_line_of(const char *head, const char *begin)
{
	_cleanup_free_ char *text = NULL;

	assert_true(asprintf(&text, "\r\n%s", begin) > 0);
	return strcasestr(head, text) != NULL;
}

static void test_responses_go_on_as_with_envoy(void **state)
{
	struct harness *h = *state;
	int server = -1;

	for (size_t i = 0; i < sizeof(responses) / sizeof(responses[0]); i++) {
		int client = client_new(h);
		struct reply reply;

		put_text(client, REQUEST);
		if (server < 0)
			server = server_accept(h, 0);
		expect_bytes(server, REQUEST);
		put_text(server, responses[i].raw);
		if (responses[i].then == RST)
			reset(server);
		else if (responses[i].then == FIN)
			close(server);
		get_reply(client, &reply);
		if (reply.status != responses[i].status || strcmp(strbuf_text(&reply.body), responses[i].body) || !reply.is_whole ||
		    (responses[i].has && !has_line(reply.head, responses[i].has)) ||
		    (responses[i].has_not && has_line_of(reply.head, responses[i].has_not)))
			fail_msg("%s became %s%s", responses[i].raw, reply.head, strbuf_text(&reply.body));
		reply_release(&reply);
		/* The client's connection goes on in every case. */
		put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
		expect_reply(client, 200, "direct");
		close(client);
		if (responses[i].then == KEEPS && !responses[i].is_reused && what_comes(server, 2000) != 0)
			fail_msg("after %s the upstream is kept", responses[i].raw);
		if (responses[i].then == KEEPS && !responses[i].is_reused)
			close(server);
		if (!responses[i].is_reused)
			server = -1;
	}
	close(server);
}

static void test_a_head_request_gets_a_head(void **state)
{
	static const struct {
		const char *raw, *has;
	} heads[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", "content-length: 500"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer-encoding: chunked"},
		{"HTTP/1.1 200 OK\r\n\r\n", "transfer-encoding: chunked"},
	};
	struct harness *h = *state;
	int client = client_new(h), server = -1;

	for (size_t i = 0; i < 3; i++) {
		struct reply reply;

		put_text(client, "HEAD /u HTTP/1.1\r\nHost: a\r\n\r\n");
		if (server < 0)
			server = server_accept(h, 0);
		free(get_head(server));
		put_text(server, heads[i].raw);
		get_reply_to(client, &reply, true);
		assert_int_equal(reply.status, 200);
		assert_true(has_line(reply.head, heads[i].has));
		reply_release(&reply);
	}
	close(client);
	close(server);
}

static void test_only_the_first_known_interim_response_is_passed(void **state)
{
	static const struct {
		const char *raw;
		int interim;
	} cases[] = {
		{"HTTP/1.1 100 Continue\r\n\r\n", 100},
		{"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 103},
		{"HTTP/1.1 102 Processing\r\n\r\n", 102},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n", 100},
		{"HTTP/1.1 150 X\r\n\r\n", 0},
	};
	struct harness *h = *state;
	int client = client_new(h), server = -1;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_text(client, REQUEST);
		if (server < 0)
			server = server_accept(h, 0);
		expect_bytes(server, REQUEST);
		put_text(server, cases[i].raw);
		put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		if (cases[i].interim)
			expect_reply(client, cases[i].interim, "");
		expect_reply(client, 200, "ok");
	}
	put_text(client, REQUEST);
	expect_bytes(server, REQUEST);
	put_text(server, "HTTP/1.1 100 Continue\r\n\r\n");
	close(server);
	expect_reply(client, 100, "");
	expect_reply(client, 503, TERMINATION);
	close(client);
}

static void test_a_failure_in_mid_body_cuts_the_clients_connection(void **state)
{
	static const struct {
		const char *raw, *more;
		bool resets;
	} cases[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "", false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "", true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "", false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "", false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "zz\r\nhello\r\n0\r\n\r\n", false},
		{"HTTP/1.1 200 OK\r\n\r\nhello", "", true},
	};
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int client = client_new(h), server;
		struct reply reply;

		put_text(client, REQUEST);
		server = server_accept(h, 0);
		expect_bytes(server, REQUEST);
		put_text(server, cases[i].raw);
		usleep(30000);
		put_text(server, cases[i].more);
		if (cases[i].resets)
			reset(server);
		else
			close(server);
		get_reply(client, &reply);
		assert_int_equal(reply.status, 200);
		assert_false(reply.is_whole);
		reply_release(&reply);
		close(client);
	}
}

static void test_a_route_that_takes_too_long_is_answered_504(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;
	uint64_t before = test_now_ms();
	struct reply reply;

	put_text(client, "GET /hasty HTTP/1.1\r\nHost: a\r\n\r\n");
	server = server_accept(h, 0);
	expect_reply(client, 504, "upstream request timeout");
	assert_in_range(test_now_ms() - before, 190, 1500);
	free(get_head(server));
	expect_end(server);
	close(server);
	/* Once the response began, only the end of the connection can tell. */
	put_text(client, "GET /hasty HTTP/1.1\r\nHost: a\r\n\r\n");
	server = server_accept(h, 0);
	free(get_head(server));
	put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
	get_reply(client, &reply);
	assert_false(reply.is_whole);
	reply_release(&reply);
	close(server);
	close(client);
	/* Exchanges in time are not disturbed by timers of earlier ones. */
	client = client_new(h);
	for (int i = 0; i < 6; i++) {
		put_text(client, "GET /hasty HTTP/1.1\r\nHost: a\r\n\r\n");
		if (!i)
			server = server_accept(h, 0);
		free(get_head(server));
		usleep(80000);
		put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		expect_reply(client, 200, "ok");
	}
	close(client);
	close(server);
}

static void test_a_refused_connect_is_tried_elsewhere_if_the_route_says_so(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server = -1;
	struct proxy_stats stats;

	for (int i = 0; i < 8; i++) {
		put_text(client, "GET /either HTTP/1.1\r\nHost: a\r\n\r\n");
		if (server < 0)
			server = server_accept(h, 1);
		expect_bytes(server, "GET /either HTTP/1.1\r\nHost: a\r\n\r\n");
		put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		expect_reply(client, 200, "ok");
	}
	proxy_stats(h->proxy, &stats);
	assert_in_range(stats.retries, 1, 8);
	close(client);
	close(server);
}

static void test_a_kept_upstream_that_closes_is_noticed_while_idle(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;

	for (int i = 0; i < 3; i++) {
		put_text(client, REQUEST);
		server = server_accept(h, 0);
		expect_bytes(server, REQUEST);
		put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		expect_reply(client, 200, "ok");
		if (i == 1)
			reset(server);
		else
			close(server);
		usleep(20000);
	}
	close(client);
}

static void test_an_early_response_ends_the_connection_after_it(void **state)
{
	struct harness *h = *state;

	for (int i = 0; i < 3; i++) {
		_cleanup_free_ char *body = pattern(100000, 3);
		int client = client_new(h), server;
		struct reply reply;

		put_text(client, i == 2 ? "POST /u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" :
					  "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
		if (i != 2)
			put_bytes(client, body, 1000);
		server = server_accept(h, 0);
		free(get_head(server));
		put_text(server, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
		if (i == 1)
			close(server);
		get_reply(client, &reply);
		assert_int_equal(reply.status, 413);
		assert_string_equal(strbuf_text(&reply.body), "big");
		assert_true(has_line(reply.head, "connection: close"));
		reply_release(&reply);
		/* What still comes is read, so that the answer is not lost to a reset. */
		if (i != 2)
			put_bytes(client, body + 1000, 50000);
		expect_end(client);
		close(client);
		if (i != 1)
			close(server);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_responses_go_on_as_with_envoy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_head_request_gets_a_head, setup, teardown),
		cmocka_unit_test_setup_teardown(test_only_the_first_known_interim_response_is_passed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_failure_in_mid_body_cuts_the_clients_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_route_that_takes_too_long_is_answered_504, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_refused_connect_is_tried_elsewhere_if_the_route_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_kept_upstream_that_closes_is_noticed_while_idle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_early_response_ends_the_connection_after_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

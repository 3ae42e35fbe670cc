/* SPDX-License-Identifier: Apache-2.0 */
/* What goes upstream, what is refused, and in which order answers come. */
#include <sys/wait.h>

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

static void serve_ok(int server)
{
	put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static void test_a_plain_request_goes_on_as_it_came_and_its_upstream_is_kept(void **state)
{
	static const char request[] = "GET /u/x?q=1 HTTP/1.1\r\nHost: a.test\r\nUser-Agent: t\r\naccept: */*\r\n\r\n";
	struct harness *h = *state;
	int client = client_new(h), server;

	put_text(client, request);
	server = server_accept(h, 0);
	for (int i = 0; i < 3; i++) {
		if (i)
			put_text(client, request);
		expect_bytes(server, request);
		serve_ok(server);
		expect_reply(client, 200, "ok");
	}
	assert_false(server_has_caller(h, 0, 50));
	close(client);
	/* The next client's request takes the same upstream. */
	client = client_new(h);
	put_text(client, request);
	expect_bytes(server, request);
	serve_ok(server);
	expect_reply(client, 200, "ok");
	close(client);
	close(server);
}

/* Lines of a request, and those that must come out (in order, names without case), after Envoy 1.40. */
static const struct {
	const char *in;
	const char *out;
} fields[] = {
	{"Connection: close\r\n", ""},
	{"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", ""},
	{"Keep-Alive: timeout=5\r\n", ""},
	{"Connection: x-hop, close\r\nX-Hop: 1\r\nX-Stay: 1\r\n", "x-stay: 1\r\n"},
	{"Connection: x-hop\r\nConnection: x-hop2\r\nX-Hop: 1\r\nX-Hop2: 2\r\n", ""},
	{"Connection: X-HOP\r\nx-hop: 1\r\n", ""},
	{"Connection: cookie, authorization\r\nCookie: a=b\r\nAuthorization: x\r\n", ""},
	{"Connection: te\r\nTE: trailers\r\n", "te: trailers\r\n"},
	{"Connection: upgrade\r\n", ""},
	{"Connection: ,,\r\n", ""},
	{"Connection:\r\n", ""},
	{"Connection: content-length\r\n", ""},
	{"Proxy-Connection: keep-alive\r\n", ""},
	{"Proxy-Authorization: Basic x\r\n", "proxy-authorization: Basic x\r\n"},
	{"Trailer: x-t\r\n", "trailer: x-t\r\n"},
	{"TE: trailers, deflate;q=0.5\r\n", "te: trailers\r\n"},
	{"TE: gzip,trailers\r\n", "te: trailers\r\n"},
	{"TE: deflate\r\n", ""},
	{"TE: Trailers\r\n", ""},
	{"TE: trailers;q=1\r\n", ""},
	{"TE:\r\n", "te: \r\n"},
	{"Upgrade: h2c\r\n", ""},
	{"Upgrade: websocket\r\n", ""},
	{"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", ""},
	{"HTTP2-Settings: AAMAAABk\r\n", "http2-settings: AAMAAABk\r\n"},
	{"Via: 1.1 x\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\n", "via: 1.1 x\r\nforwarded: for=1.2.3.4\r\nx-forwarded-for: 1.2.3.4\r\n"},
	{"Expect: 200-ok\r\n", "expect: 200-ok\r\n"},
	{"x-forwarded-client-cert: a\r\nx-between: 1\r\nx-forwarded-client-cert: b\r\n", "x-between: 1\r\n"},
	{"x-envoy-upstream-rq-timeout-ms: 150\r\nX-Envoy-Retry-On: 5xx\r\nx-envoy-max-retries: 9\r\n", ""},
	{"x-envoy-expected-rq-timeout-ms: 100\r\nx-envoy-internal: true\r\nx-envoy-force-trace: 1\r\n", ""},
	{"x-envoy-original-path: /spoof\r\nx-envoy-unknown: 1\r\n", "x-envoy-original-path: /spoof\r\nx-envoy-unknown: 1\r\n"},
	{"accept: a\r\nx-between: 1\r\nAccept: b\r\n", "accept: a,b\r\nx-between: 1\r\n"},
	{"accept: \r\nAccept: b\r\naccept: \r\nAccept: c\r\n", "accept: b,c\r\n"},
	{"User-Agent: a\r\nUser-Agent: b\r\nCookie: a=1\r\nCookie: b=2\r\n", "user-agent: a,b\r\ncookie: a=1\r\ncookie: b=2\r\n"},
	{"x-dup: 1\r\nx-other: 0\r\nX-DUP: 2\r\n", "x-dup: 1\r\nx-other: 0\r\nx-dup: 2\r\n"},
	{"Referer: r\r\nConnection: close\r\nReferer: s\r\nReferer: t\r\nX-A: 1\r\n", "referer: r,s,t\r\nx-a: 1\r\n"},
	{"X-A:  \t 1 \t \r\nConnection: close\r\n", "x-a: 1\r\n"},
	{"X-A:1\r\n", "x-a:1\r\n"},
};

/* As Envoy's peers see them: names without case, values trimmed. */
static void canonical(const char *head, struct strbuf *out)
{
	const char *line = strchr(head, '\n') + 1;

	for (; strncmp(line, "\r\n", 2); line = strstr(line, "\r\n") + 2) {
		const char *colon = strchr(line, ':'), *end = strstr(line, "\r\n"), *value = colon + 1;

		for (const char *at = line; at < colon; at++)
			strbuf_append_byte(out, *at >= 'A' && *at <= 'Z' ? (char)(*at | 0x20) : *at);
		while (value < end && (*value == ' ' || *value == '\t'))
			value++;
		while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
			end--;
		strbuf_append_text(out, ":");
		strbuf_append(out, value, (size_t)(end - value));
		strbuf_append_text(out, "\n");
	}
}

static void test_header_fields_go_on_as_with_envoy(void **state)
{
	struct harness *h = *state;
	int server = -1;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		_cleanup_(strbuf_release) struct strbuf expected = STRBUF_INIT, got = STRBUF_INIT, lines = STRBUF_INIT;
		_cleanup_free_ char *head = NULL;
		int client = client_new(h);
		struct reply reply;

		strbuf_printf(&lines, "GET /u HTTP/1.1\r\nHost: f.test\r\n%s\r\n", fields[i].in);
		put_text(client, lines.data);
		if (server < 0)
			server = server_accept(h, 0);
		head = get_head(server);
		serve_ok(server);
		strbuf_truncate(&lines, 0);
		strbuf_printf(&lines, "GET /u HTTP/1.1\r\nHost: f.test\r\n%s\r\n", fields[i].out);
		canonical(lines.data, &expected);
		canonical(head, &got);
		if (strcmp(strbuf_text(&got), strbuf_text(&expected)))
			fail_msg("%s became %s", fields[i].in, head);
		get_reply(client, &reply);
		assert_int_equal(reply.status, 200);
		assert_int_equal(has_line(reply.head, "connection: close"), strcasestr(fields[i].in, "close") != NULL);
		reply_release(&reply);
		close(client);
	}
	close(server);
}

static void test_a_target_is_normalised_and_an_absolute_one_made_relative(void **state)
{
	static const struct {
		const char *line, *out, *host;
	} targets[] = {
		{"GET /u/a/../b?x=/../y HTTP/1.1", "GET /u/b?x=/../y HTTP/1.1\r\n", "f.test"},
		{"GET /u/%41%2f#frag HTTP/1.1", "GET /u/A%2f HTTP/1.1\r\n", "f.test"},
		{"GET   /u \t HTTP/1.1", "GET /u HTTP/1.1\r\n", "f.test"},
		{"GET http://h.test/u/x?y HTTP/1.1", "GET /u/x?y HTTP/1.1\r\n", "h.test"},
		{"GET http://user@h.test:81/u/./x HTTP/1.1", "GET /u/x HTTP/1.1\r\n", "h.test:81"},
		{"OPTIONS http://h.test HTTP/1.1", "OPTIONS / HTTP/1.1\r\n", "h.test"},
	};
	struct harness *h = *state;
	int server = -1;

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		_cleanup_free_ char *head = NULL, *request = NULL;
		char value[64];
		int client = client_new(h);

		assert_true(asprintf(&request, "%s\r\nX-A: 1\r\nHost: f.test\r\nX-B: 2\r\n\r\n", targets[i].line) > 0);
		put_text(client, request);
		if (server < 0)
			server = server_accept(h, 0);
		head = get_head(server);
		serve_ok(server);
		if (strncmp(head, targets[i].out, strlen(targets[i].out)))
			fail_msg("%s became %s", targets[i].line, head);
		assert_string_equal(header_of(head, "host", value, sizeof(value)), targets[i].host);
		assert_true(has_line(head, "X-A: 1") && has_line(head, "X-B: 2"));
		expect_reply(client, 200, "ok");
		close(client);
	}
	close(server);
}

static void test_a_method_that_may_have_a_body_gets_a_length(void **state)
{
	static const struct {
		const char *method;
		bool has_length;
	} methods[] = {{"GET", false}, {"HEAD", false}, {"DELETE", false}, {"TRACE", false}, {"POST", true}, {"PUT", true},
		       {"PATCH", true}, {"OPTIONS", true}, {"PROPFIND", true}};
	struct harness *h = *state;
	int client = client_new(h), server = -1;

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		_cleanup_free_ char *head = NULL, *request = NULL;
		struct reply reply;

		assert_true(asprintf(&request, "%s /u HTTP/1.1\r\nHost: f.test\r\n\r\n", methods[i].method) > 0);
		put_text(client, request);
		if (server < 0)
			server = server_accept(h, 0);
		head = get_head(server);
		if (has_line(head, "content-length: 0") != methods[i].has_length)
			fail_msg("%s", head);
		put_text(server, strcmp(methods[i].method, "HEAD") ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" :
								      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
		get_reply_to(client, &reply, !strcmp(methods[i].method, "HEAD"));
		assert_int_equal(reply.status, 200);
		reply_release(&reply);
	}
	close(client);
	close(server);
}

static const struct {
	const char *request;
	int status;
	const char *body;
} refused[] = {
	{"GET /u HTTP/1.1\r\n\r\n", 400, ""},
	{"GET /u HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "Bad Request"},
	{"GET /u HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "Bad Request"},
	{"GET /u HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400, "Bad Request"},
	{"GET /u HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400, "Bad Request"},
	{"GET /u HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400, "Bad Request"},
	{"GET /u HTTP/1.1\r\nHost: a\r\nX: a\001b\r\n\r\n", 400, "Bad Request"},
	{"GET /u HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n", 400, "Bad Request"},
	{"GET /u HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400, "Bad Request"},
	{"GET /u HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "Bad Request"},
	{"GET /u HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n", 400, "Bad Request"},
	{"GET /u HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", 400, "Bad Request"},
	{"POST /u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400, "Bad Request"},
	{"POST /u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "Not Implemented"},
	{"POST /u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n", 501, "Not Implemented"},
	{"GET /u HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", 400, NULL},
	{"GET /u HTTP/1.1\r\nHost: a\r\nConnection: x-forwarded-for\r\n\r\n", 400, "Bad Request"},
	{"GET /u HTTP/1.1\r\nHost: a\r\nConnection: a,b,c,d,e,f,g,h,i,j\r\n\r\n", 400, "Bad Request"},
	{"GET /u%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, NULL},
	{"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "Bad Request"},
	{"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", 403, ""},
	{"GET /u HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", 403, ""},
	{"GET /u HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, foo\r\n\r\n", 403, ""},
};

static void test_bad_requests_are_refused_and_their_connection_ends(void **state)
{
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		int client = client_new(h);
		struct reply reply;
		char value[64];

		put_text(client, refused[i].request);
		get_reply(client, &reply);
		if (reply.status != refused[i].status || (refused[i].body && strcmp(strbuf_text(&reply.body), refused[i].body)) ||
		    !has_line(reply.head, "connection: close") || !header_of(reply.head, "date", value, sizeof(value)))
			fail_msg("%s was answered %s%s", refused[i].request, reply.head, strbuf_text(&reply.body));
		assert_int_equal(header_of(reply.head, "content-type", value, sizeof(value)) != NULL, reply.body.size > 0);
		reply_release(&reply);
		expect_end(client);
		close(client);
	}
	assert_false(server_has_caller(h, 0, 10));
}

static void test_long_heads_pass_up_to_the_limit(void **state)
{
	struct harness *h = *state;
	int server = -1;
	static const struct {
		size_t len;
		bool passes;
	} sizes[] = {{16000, true}, {17000, true}, {61000, true}, {61440, false}, {70000, false}};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		_cleanup_free_ char *value = pattern(sizes[i].len, 1), *head = NULL;
		int client = client_new(h);

		put_text(client, "GET /u HTTP/1.1\r\nHost: f.test\r\nX-B: ");
		put_bytes(client, value, sizes[i].len);
		put_text(client, "\r\nConnection: close\r\n\r\n");
		if (!sizes[i].passes) {
			expect_reply(client, 431, "Request Header Fields Too Large");
			expect_end(client);
			close(client);
			continue;
		}
		if (server < 0)
			server = server_accept(h, 0);
		head = get_head(server);
		assert_non_null(strstr(head, value));
		serve_ok(server);
		expect_reply(client, 200, "ok");
		close(client);
	}
	close(server);
}

static void test_a_head_may_come_in_drops(void **state)
{
	static const char request[] = "GET /u HTTP/1.1\r\nHost: f.test\r\nX-A: 1\r\n\r\n";
	struct harness *h = *state;
	int client = client_new(h), server;

	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		put_bytes(client, request + i, 1);
		if (i % 7 == 0)
			usleep(1000);
	}
	server = server_accept(h, 0);
	expect_bytes(server, request);
	serve_ok(server);
	expect_reply(client, 200, "ok");
	close(client);
	close(server);
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;

	put_text(client, "GET /direct HTTP/1.1\r\nHost: f.test\r\n\r\n"
			 "GET /u/1 HTTP/1.1\r\nHost: f.test\r\n\r\n"
			 "POST /u/2 HTTP/1.1\r\nHost: f.test\r\nContent-Length: 5\r\n\r\nhello"
			 "GET /u/4 HTTP/1.1\r\nHost: f.test\r\n\r\n"
			 "BAD\r\n\r\n");
	server = server_accept(h, 0);
	expect_bytes(server, "GET /u/1 HTTP/1.1\r\nHost: f.test\r\n\r\n");
	assert_int_equal(what_comes(server, 30), -1);
	put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
	expect_bytes(server, "POST /u/2 HTTP/1.1\r\nHost: f.test\r\nContent-Length: 5\r\n\r\nhello");
	put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
	expect_bytes(server, "GET /u/4 HTTP/1.1\r\nHost: f.test\r\n\r\n");
	put_text(server, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n");
	expect_reply(client, 200, "direct");
	expect_reply(client, 200, "one");
	expect_reply(client, 200, "two");
	expect_reply(client, 200, "four");
	expect_reply(client, 400, "Bad Request");
	expect_end(client);
	close(client);
	close(server);
}

/* The next request comes behind a body that is spliced, or that had to wait for its server: no event will tell of it again. */
/* Envoy, max_outbound_responses: two replies of its own that the client was not given yet are the most. */
static void test_a_flood_of_requests_for_local_replies_is_cut_off(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\nGET /direct HTTP/1.1\r\nHost: a\r\n\r\nGET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_reply(client, 200, "direct");
	expect_reply(client, 200, "direct");
	expect_end(client);
	close(client);
	/* One after the other they may be as many as they like. */
	client = client_new(h);
	for (int i = 0; i < 5; i++) {
		put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
		expect_reply(client, 200, "direct");
	}
	close(client);
}

/* An upstream that can't be reached is heard of later by Envoy, when what was answered before has been written. */
static void test_errors_of_upstreams_are_no_flood(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	close(TAKE_FD(h->servers[0]));
	put_text(client, "GET /u HTTP/1.1\r\nHost: a\r\n\r\nGET /u HTTP/1.1\r\nHost: a\r\n\r\nGET /u HTTP/1.1\r\nHost: a\r\n\r\n"
			 "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	for (int i = 0; i < 3; i++)
		expect_reply(client, 503, "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure");
	expect_reply(client, 200, "direct");
	close(client);
}

static void test_a_request_behind_a_large_body_is_not_forgotten(void **state)
{
	enum { SIZE = 400000 };
	struct harness *h = *state;
	_cleanup_free_ char *body = pattern(SIZE, 2), *got = calloc(1, SIZE + 1);

	for (int kind = 0; kind < 2; kind++) {
		struct reply up = {.is_whole = true};
		struct strbuf text = STRBUF_INIT;
		int client = client_new(h), server, small = 4096;
		pid_t child;

		/* The head alone first, so that its read is a short one. */
		put_text(client, "POST /u HTTP/1.1\r\nHost: a\r\n");
		if (kind == 0)
			strbuf_printf(&text, "Content-Length: %d\r\n\r\n", SIZE);
		else
			strbuf_printf(&text, "Transfer-Encoding: chunked\r\n\r\n%x\r\n", SIZE);
		put_bytes(client, text.data, text.size);
		strbuf_truncate(&text, 0);
		usleep(20000);
		strbuf_append(&text, body, SIZE);
		if (kind == 1)
			strbuf_append_text(&text, "\r\n0\r\n\r\n");
		strbuf_append_text(&text, "GET /u/next HTTP/1.1\r\nHost: a\r\n\r\n");
		setsockopt(h->servers[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		child = fork();
		if (!child) {
			put_bytes(client, text.data, text.size);
			_exit(0);
		}
		server = server_accept(h, 0);
		free(get_head(server));
		usleep(100000);
		if (kind == 0) {
			get_exactly(server, got, SIZE);
			assert_memory_equal(got, body, SIZE);
		} else {
			get_chunked(server, &up);
			assert_int_equal(up.body.size, SIZE);
			strbuf_release(&up.body);
		}
		serve_ok(server);
		expect_reply(client, 200, "ok");
		expect_bytes(server, "GET /u/next HTTP/1.1\r\nHost: a\r\n\r\n");
		serve_ok(server);
		expect_reply(client, 200, "ok");
		waitpid(child, NULL, 0);
		strbuf_release(&text);
		close(client);
		close(server);
		usleep(20000);
	}
}

/* A block that is full but for the one byte before its content has no room behind it: to read into that is not the end of the stream. */
static void test_a_request_that_fills_the_block_behind_another_one_is_read_on(void **state)
{
	/* What the proxy reads at once: a head's block, a body's, then a large one, whose first byte ends the first request. */
	enum { SMALL = 16384, LARGE = 67584, FIRST = 2 * SMALL + 1, SECOND = LARGE + 5000 };
	struct harness *h = *state;
	_cleanup_free_ char *bytes = pattern(FIRST + SECOND, 3), *got = calloc(1, SECOND + 1);
	static const size_t sizes[] = {FIRST, SECOND};
	int client = client_new(h), server, held;

	/* Accepted, and at rest. */
	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_reply(client, 200, "direct");
	for (int i = 0; i < 2; i++) {
		char head[] = "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 00000\r\n\r\n";

		snprintf(head, sizeof(head), "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: %05zu\r\n\r\n", sizes[i] - (sizeof(head) - 1));
		memcpy(bytes + i * FIRST, head, sizeof(head) - 1);
	}
	held = harness_hold(h);
	put_bytes(client, bytes, FIRST + SECOND);
	harness_let_go(h, held);
	server = server_accept(h, 0);
	for (int i = 0; i < 2; i++) {
		get_exactly(server, got, sizes[i]);
		assert_memory_equal(got, bytes + i * FIRST, sizes[i]);
		serve_ok(server);
		expect_reply(client, 200, "ok");
	}
	close(client);
	close(server);
}

static void test_local_replies_are_envoys(void **state)
{
	static const struct {
		const char *request;
		int status;
		const char *body;
		bool closes;
	} replies[] = {
		{"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, "", false},
		{"HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, "", false},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404, "", false},
		{"GET /direct HTTP/1.1\r\nHost: a\r\n\r\n", 200, "direct", false},
		{"GET /none HTTP/1.1\r\nHost: a\r\n\r\n", 204, "", false},
		{"POST /direct HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 200, "direct", true},
		{"POST /direct HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 200, "direct", false},
		{"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n", 503, "", false},
		{"GET /empty HTTP/1.1\r\nHost: a\r\n\r\n", 503, "no healthy upstream", false},
		{"GET /down HTTP/1.1\r\nHost: a\r\n\r\n", 503,
		 "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure", false},
		{"GET /again HTTP/1.1\r\nHost: a\r\n\r\n", 503,
		 "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure", false},
		{"GET /u HTTP/1.1\r\nHost: a\r\nx-forwarded-proto:\r\n\r\n", 404, "", false},
		{"GET /direct HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 200, "direct", true},
	};
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		int client = client_new(h);
		struct reply reply;
		char value[64];

		put_text(client, replies[i].request);
		get_reply_to(client, &reply, !strncmp(replies[i].request, "HEAD", 4));
		if (reply.status != replies[i].status || strcmp(strbuf_text(&reply.body), replies[i].body) ||
		    has_line(reply.head, "connection: close") != replies[i].closes)
			fail_msg("%s was answered %s%s", replies[i].request, reply.head, strbuf_text(&reply.body));
		assert_non_null(header_of(reply.head, "date", value, sizeof(value)));
		reply_release(&reply);
		if (replies[i].closes) {
			expect_end(client);
		} else {
			put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
			expect_reply(client, 200, "direct");
		}
		close(client);
	}
}

static void test_http_1_0_is_served_where_the_listener_accepts_it(void **state)
{
	struct harness *h = *state;
	int client, server;
	struct reply reply;

	h->original_port_be = htons(10);
	client = client_new(h);
	put_text(client, "GET /u HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
	server = server_accept(h, 0);
	expect_bytes(server, "GET /u HTTP/1.1\r\nHost: a\r\n\r\n");
	serve_ok(server);
	get_reply(client, &reply);
	assert_true(has_line(reply.head, "connection: keep-alive"));
	assert_int_equal(reply.minor, 0);
	reply_release(&reply);
	/* A body without a length ends with the connection. */
	put_text(client, "GET /u HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
	expect_bytes(server, "GET /u HTTP/1.1\r\nHost: a\r\n\r\n");
	put_text(server, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
	get_reply(client, &reply);
	assert_true(has_line(reply.head, "connection: close"));
	assert_false(has_line(reply.head, "transfer-encoding: chunked"));
	assert_string_equal(strbuf_text(&reply.body), "hello");
	reply_release(&reply);
	expect_end(client);
	close(client);
	client = client_new(h);
	put_text(client, "GET /direct HTTP/1.0\r\nHost: a\r\n\r\n");
	get_reply(client, &reply);
	assert_true(has_line(reply.head, "connection: close"));
	assert_int_equal(reply.minor, 0);
	reply_release(&reply);
	expect_end(client);
	close(client);
	close(server);
	/* Older ones are read as such: without a Host. */
	client = client_new(h);
	put_text(client, "GET /\r\n\r\n");
	get_reply(client, &reply);
	assert_int_equal(reply.status, 400);
	assert_int_equal(reply.minor, 0);
	reply_release(&reply);
	close(client);
}

/* As the first one of a connection it is no HTTP for a listener that looks for HTTP/1.1: tests/unit/proxy/first_test.c. */
static void test_another_version_is_refused_where_none_is_accepted(void **state)
{
	static const char *const requests[] = {"GET /u HTTP/1.0\r\nHost: a\r\n\r\n", "GET /u HTTP/2.0\r\nHost: a\r\n\r\n", "GET /u\r\n\r\n"};
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		int client = client_new(h);
		struct reply reply;

		put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
		get_reply(client, &reply);
		assert_int_equal(reply.status, 200);
		reply_release(&reply);
		put_text(client, requests[i]);
		get_reply(client, &reply);
		assert_int_equal(reply.status, 426);
		assert_string_equal(strbuf_text(&reply.body), "Upgrade Required");
		assert_int_equal(reply.minor, 1);
		assert_true(has_line(reply.head, "connection: close"));
		reply_release(&reply);
		close(client);
	}
}

static void test_bytes_behind_a_request_are_judged_by_whole_lines(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\njunk");
	expect_reply(client, 200, "direct");
	assert_int_equal(what_comes(client, 30), -1);
	put_text(client, "\r\n");
	expect_reply(client, 400, "Bad Request");
	close(client);
	/* A byte that no line can hold needs no end of line. */
	client = client_new(h);
	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03\x01");
	expect_reply(client, 200, "direct");
	expect_reply(client, 400, "Bad Request");
	close(client);
}

static void test_expect_is_the_servers_to_answer(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;

	put_text(client, "POST /u HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
	server = server_accept(h, 0);
	expect_bytes(server, "POST /u HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
	assert_int_equal(what_comes(client, 30), -1);
	put_text(server, "HTTP/1.1 100 Continue\r\n\r\n");
	expect_reply(client, 100, "");
	put_text(client, "hello");
	expect_bytes(server, "hello");
	serve_ok(server);
	expect_reply(client, 200, "ok");
	close(client);
	close(server);
}

static void test_a_client_that_closes_in_mid_exchange_ends_it(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;

	put_text(client, "GET /u HTTP/1.1\r\nHost: a\r\n\r\n");
	server = server_accept(h, 0);
	free(get_head(server));
	/* Envoy: a half-close is a disconnect. */
	shutdown(client, SHUT_WR);
	expect_end(client);
	expect_end(server);
	close(client);
	close(server);
	client = client_new(h);
	put_text(client, "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
	server = server_accept(h, 0);
	free(get_head(server));
	expect_bytes(server, "hello");
	reset(client);
	assert_int_equal(what_comes(server, 2000), 0);
	close(server);
}

/* A reset is told where nothing is read any more: while the answer is waited for, or while the server takes nothing. */
static void test_a_client_that_resets_in_mid_exchange_ends_it(void **state)
{
	enum { SIZE = 32 << 20 };
	struct harness *h = *state;
	_cleanup_free_ char *body = pattern(SIZE, 1);
	int client = client_new(h), server = -1, small = 4096, quiet = 0;
	struct proxy_stats stats;
	char head[100];
	ssize_t n;

	put_text(client, "GET /u HTTP/1.1\r\nHost: a\r\n\r\n");
	server = server_accept(h, 0);
	free(get_head(server));
	reset(client);
	assert_int_equal(what_comes(server, 2000), 0);
	close(server);

	client = client_new(h);
	setsockopt(h->servers[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	snprintf(head, sizeof(head), "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", SIZE);
	put_text(client, head);
	server = server_accept(h, 0);
	free(get_head(server));
	for (; quiet < 20; quiet++) {
		for (; (n = send(client, body, SIZE, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0; quiet = 0)
			;
		usleep(10000);
	}
	reset(client);
	for (int turns = 0; turns < 1000; turns++) {
		proxy_stats(h->proxy, &stats);
		if (!stats.connections)
			break;
		usleep(10000);
	}
	assert_int_equal(stats.connections, 0);
	assert_int_equal(stats.reasons[PROXY_REASON_CLIENT_GONE], 2);
	close(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_plain_request_goes_on_as_it_came_and_its_upstream_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_header_fields_go_on_as_with_envoy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_target_is_normalised_and_an_absolute_one_made_relative, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_method_that_may_have_a_body_gets_a_length, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_requests_are_refused_and_their_connection_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_heads_pass_up_to_the_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_head_may_come_in_drops, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pipelined_requests_are_answered_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_flood_of_requests_for_local_replies_is_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors_of_upstreams_are_no_flood, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_request_behind_a_large_body_is_not_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_request_that_fills_the_block_behind_another_one_is_read_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_local_replies_are_envoys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bytes_behind_a_request_are_judged_by_whole_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_http_1_0_is_served_where_the_listener_accepts_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_version_is_refused_where_none_is_accepted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_expect_is_the_servers_to_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_client_that_closes_in_mid_exchange_ends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_client_that_resets_in_mid_exchange_ends_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

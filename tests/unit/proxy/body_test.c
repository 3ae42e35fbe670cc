/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of any size and framing, both ways; slow readers; tunnels. */
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

/* Writes from a thread of its own, so that the test can read at the same time. */
struct writer {
	int fd;
	const char *bytes;
	size_t len, written;
	size_t chunk;      /* 0: as it is; else chunked, in chunks of this size */
	pthread_t thread;
};

static void *write_all(void *arg)
{
	struct writer *writer = arg;

	while (writer->written < writer->len) {
		size_t piece = writer->chunk && writer->len - writer->written > writer->chunk ? writer->chunk : writer->len - writer->written;
		char line[32];
		ssize_t n = 0;

		if (writer->chunk) {
			int len = snprintf(line, sizeof(line), "%zX;x=\"y\"\r\n", piece);

			if (send(writer->fd, line, (size_t)len, MSG_NOSIGNAL | MSG_MORE) != len)
				return NULL;
		}
		for (size_t done = 0; done < piece; done += (size_t)n) {
			/* One call for all of it would not tell how far it came. */
			n = send(writer->fd, writer->bytes + writer->written, piece - done < 65536 ? piece - done : 65536, MSG_NOSIGNAL);
			if (n <= 0)
				return NULL;
			__atomic_fetch_add(&writer->written, (size_t)n, __ATOMIC_RELAXED);
		}
		if (writer->chunk && send(writer->fd, "\r\n", 2, MSG_NOSIGNAL | MSG_MORE) != 2)
			return NULL;
	}
	if (writer->chunk)
		(void)!send(writer->fd, "0\r\nX-Trailer: 1\r\n\r\n", 19, MSG_NOSIGNAL);
	return NULL;
}

static void writer_start(struct writer *writer, int fd, const char *bytes, size_t len, size_t chunk)
{
	*writer = (struct writer){.fd = fd, .bytes = bytes, .len = len, .chunk = chunk};
	assert_int_equal(pthread_create(&writer->thread, NULL, write_all, writer), 0);
}

static void writer_end(struct writer *writer)
{
	pthread_join(writer->thread, NULL);
	assert_int_equal(writer->written, writer->len);
}

static void test_bodies_of_all_sizes_go_both_ways(void **state)
{
	static const size_t sizes[] = {0, 1, 100, 4096, 16000, 16384, 49000, 65536, 66000, 200000, 3000000};
	struct harness *h = *state;
	int client = client_new(h), server = -1;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (int kind = 0; kind < 4; kind++) {
			_cleanup_free_ char *body = pattern(sizes[i], (unsigned)kind), *got = calloc(1, sizes[i] + 1), *head = NULL;
			bool is_chunked_up = kind & 1, is_chunked_down = kind & 2;
			char text[128];
			struct writer writer;
			struct reply reply;

			snprintf(text, sizeof(text), "POST /u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
			if (!is_chunked_up)
				snprintf(text, sizeof(text), "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", sizes[i]);
			put_text(client, text);
			writer_start(&writer, client, body, sizes[i], is_chunked_up ? 1000 + sizes[i] / 7 : 0);
			if (server < 0)
				server = server_accept(h, 0);
			head = get_head(server);
			if (is_chunked_up) {
				struct reply up = {.is_whole = true};

				assert_true(has_line(head, "transfer-encoding: chunked"));
				strbuf_append(&up.body, "", 0);
				get_chunked(server, &up);
				assert_true(up.is_whole);
				assert_int_equal(up.body.size, sizes[i]);
				assert_memory_equal(up.body.data, body, sizes[i]);
				strbuf_release(&up.body);
			} else {
				get_exactly(server, got, sizes[i]);
				assert_memory_equal(got, body, sizes[i]);
			}
			writer_end(&writer);
			snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", sizes[i]);
			put_text(server, is_chunked_down ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" : text);
			writer_start(&writer, server, body, sizes[i], is_chunked_down ? 999 + sizes[i] / 5 : 0);
			get_reply(client, &reply);
			writer_end(&writer);
			assert_true(reply.is_whole);
			assert_int_equal(reply.body.size, sizes[i]);
			assert_memory_equal(strbuf_text(&reply.body), body, sizes[i]);
			reply_release(&reply);
		}
	}
	assert_false(server_has_caller(h, 0, 10));
	close(client);
	close(server);
}

static void test_a_body_in_tiny_chunks_and_drops(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;
	struct reply up = {.is_whole = true};
	char *head;

	put_text(client, "POST /u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 3000; i++)
		put_bytes(client, "1\r\nx\r\n", 6);
	for (const char *at = "3;q=\"a\\\"b\"\r\nend\r\n0;last\r\nx-t: 1\r\n\r\n"; *at; at++) {
		put_bytes(client, at, 1);
		usleep(300);
	}
	server = server_accept(h, 0);
	head = get_head(server);
	free(head);
	strbuf_append(&up.body, "", 0);
	get_chunked(server, &up);
	assert_int_equal(up.body.size, 3003);
	assert_string_equal(up.body.data + 2999, "xend");
	strbuf_release(&up.body);
	put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	expect_reply(client, 200, "ok");
	close(client);
	close(server);
}

static void test_a_malformed_chunk_is_answered_400(void **state)
{
	static const char *const bad[] = {" 5\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n", "g\r\n", "5\r\nhelloXX0\r\n\r\n",
					  "10000000000000000\r\n", "5;a\rb\r\nhello\r\n", "0\r\nbad trailer\r\n\r\n", "0\r\n fold\r\n\r\n"};
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int client = client_new(h), server;
		struct reply reply;

		put_text(client, "POST /u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
		server = server_accept(h, 0);
		free(get_head(server));
		put_text(client, bad[i]);
		get_reply(client, &reply);
		if (reply.status != 400 || !has_line(reply.head, "connection: close"))
			fail_msg("%s was answered %s", bad[i], reply.head);
		reply_release(&reply);
		expect_end(client);
		close(client);
		close(server);
	}
}

static void test_a_length_that_connection_names_becomes_chunked(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;
	struct reply up = {.is_whole = true};
	char *head;

	put_text(client, "POST /u HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\nhello");
	server = server_accept(h, 0);
	head = get_head(server);
	assert_true(has_line(head, "transfer-encoding: chunked"));
	assert_null(strcasestr(head, "content-length"));
	free(head);
	get_chunked(server, &up);
	assert_string_equal(strbuf_text(&up.body), "hello");
	strbuf_release(&up.body);
	put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	expect_reply(client, 200, "ok");
	close(client);
	close(server);
}

/* Bytes that are written while nobody reads: what sockets and the proxy hold. */
static size_t stalled_at(const struct writer *writer)
{
	size_t before = 1, now = 0;

	for (int i = 0; i < 100 && before != now; i++) {
		before = now;
		usleep(150000);
		now = __atomic_load_n(&writer->written, __ATOMIC_RELAXED);
	}
	return now;
}

static void test_a_reader_that_stalls_holds_the_writer_back(void **state)
{
	enum { SIZE = 32 << 20 };
	struct harness *h = *state;
	_cleanup_free_ char *body = pattern(SIZE, 5);

	for (int kind = 0; kind < 4; kind++) {
		bool is_upload = kind & 1, is_chunked = kind & 2;
		int client = client_new(h), server, small = 65536;
		struct writer writer;
		struct proxy_stats stats;
		char text[128];
		struct reply reply;

		snprintf(text, sizeof(text), "Content-Length: %d\r\n\r\n", SIZE);
		if (is_chunked)
			snprintf(text, sizeof(text), "Transfer-Encoding: chunked\r\n\r\n");
		put_text(client, is_upload ? "POST /u HTTP/1.1\r\nHost: a\r\n" : "GET /u HTTP/1.1\r\nHost: a\r\n\r\n");
		if (is_upload)
			put_text(client, text);
		server = server_accept(h, 0);
		setsockopt(is_upload ? server : client, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		free(get_head(server));
		if (!is_upload) {
			put_text(server, "HTTP/1.1 200 OK\r\n");
			put_text(server, text);
		}
		writer_start(&writer, is_upload ? client : server, body, SIZE, is_chunked ? 100000 : 0);
		/* Two TCP connections' buffers, a pipe and the proxy's own blocks. */
		assert_in_range(stalled_at(&writer), 1, 16 << 20);
		proxy_stats(h->proxy, &stats);
		assert_in_range(stats.buffers_bytes, 0, 300000);
		/* Others are not slowed. */
		{
			int other = client_new(h);
			uint64_t before = test_now_ms();

			put_text(other, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
			expect_reply(other, 200, "direct");
			assert_in_range(test_now_ms() - before, 0, 500);
			close(other);
		}
		if (is_upload) {
			struct reply up = {.is_whole = true};
			_cleanup_free_ char *got = malloc(SIZE);

			if (is_chunked) {
				get_chunked(server, &up);
				assert_int_equal(up.body.size, SIZE);
				assert_memory_equal(up.body.data, body, SIZE);
				strbuf_release(&up.body);
			} else {
				get_exactly(server, got, SIZE);
				assert_memory_equal(got, body, SIZE);
			}
			writer_end(&writer);
			put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
			expect_reply(client, 200, "ok");
		} else {
			get_reply(client, &reply);
			writer_end(&writer);
			assert_int_equal(reply.body.size, SIZE);
			assert_memory_equal(reply.body.data, body, SIZE);
			reply_release(&reply);
		}
		close(client);
		close(server);
		usleep(50000);
	}
}

static void test_an_idle_connection_holds_no_buffer(void **state)
{
	struct harness *h = *state;
	struct proxy_stats stats;
	int clients[50];

	for (int i = 0; i < 50; i++) {
		clients[i] = client_new(h);
		put_text(clients[i], "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
		expect_reply(clients[i], 200, "direct");
	}
	/* A client may have its reply a moment before the proxy has put its block back. */
	for (int i = 0; i < 100; i++) {
		proxy_stats(h->proxy, &stats);
		if (!stats.buffers_bytes)
			break;
		usleep(10000);
	}
	assert_int_equal(stats.connections, 50);
	assert_int_equal(stats.buffers_bytes, 0);
	for (int i = 0; i < 50; i++)
		close(clients[i]);
}

/* ---- tunnels --------------------------------------------------------------------------------------------------------------- */

static void tunnel_both_ways(int client, int server)
{
	_cleanup_free_ char *bytes = pattern(2000000, 9), *got = calloc(1, 2000001);
	struct writer writer;

	for (int i = 0; i < 3; i++) {
		put_text(client, "ping");
		expect_bytes(server, "ping");
		put_text(server, "pong");
		expect_bytes(client, "pong");
	}
	writer_start(&writer, client, bytes, 2000000, 0);
	get_exactly(server, got, 2000000);
	writer_end(&writer);
	assert_memory_equal(got, bytes, 2000000);
	writer_start(&writer, server, bytes, 2000000, 0);
	get_exactly(client, got, 2000000);
	writer_end(&writer);
	assert_memory_equal(got, bytes, 2000000);
}

static void test_a_websocket_becomes_a_tunnel(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;
	struct reply reply;
	char *head;

	put_text(client, "GET /u HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nX-A: 1\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nearly");
	server = server_accept(h, 0);
	head = get_head(server);
	assert_true(has_line(head, "connection: keep-alive,Upgrade"));
	assert_true(has_line(head, "upgrade: WebSocket"));
	free(head);
	put_text(server, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nfirst");
	get_reply(client, &reply);
	assert_int_equal(reply.status, 101);
	assert_true(has_line(reply.head, "connection: Upgrade") && has_line(reply.head, "upgrade: websocket"));
	reply_release(&reply);
	expect_bytes(client, "first");
	expect_bytes(server, "early");
	tunnel_both_ways(client, server);
	shutdown(client, SHUT_WR);
	expect_end(server);
	put_text(server, "last");
	expect_bytes(client, "last");
	close(server);
	expect_end(client);
	close(client);
}

static void test_a_websocket_that_is_refused_closes(void **state)
{
	struct harness *h = *state;
	static const struct {
		const char *raw, *body;
		int status;
	} answers[] = {
		{"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope", "nope", 403},
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", "", 200},
	};

	for (int i = 0; i < 2; i++) {
		int client = client_new(h), server;
		struct reply reply;

		put_text(client, "GET /u HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
		server = server_accept(h, 0);
		free(get_head(server));
		put_text(server, answers[i].raw);
		get_reply(client, &reply);
		assert_int_equal(reply.status, answers[i].status);
		assert_string_equal(strbuf_text(&reply.body), answers[i].body);
		assert_true(has_line(reply.head, "connection: close"));
		reply_release(&reply);
		expect_end(client);
		close(client);
		close(server);
	}
}

#define UPGRADE "Connection: Upgrade\r\nUpgrade: websocket\r\n"

/* As Envoy 1.40 answers them: what is no error is a reply of its own, which the upstream's lines are copied into. */
static void test_a_refusal_that_is_no_error_becomes_a_reply(void **state)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nKeep-Alive: 5\r\nContent-Length: 4\r\n\r\nbody";
	static const struct {
		const char *request, *answer;
		int status;
		const char *has[3], *has_not[3];
	} cases[] = {
		{"GET /u HTTP/1.1\r\nHost: a\r\n" UPGRADE "\r\n", ok, 200, {"content-length: 0", "keep-alive: 5"}, {"content-type", "grpc-status", "transfer-encoding"}},
		{"HEAD /u HTTP/1.1\r\nHost: a\r\n" UPGRADE "\r\n", ok, 200, {"transfer-encoding: chunked"}, {"content-type", "content-length"}},
		{"POST /u HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n" UPGRADE "\r\n", ok, 200,
		 {"content-type: application/grpc", "grpc-status: 2", "content-length: 0"}, {"transfer-encoding"}},
		{"POST /u HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n" UPGRADE "\r\n",
		 "HTTP/1.1 302 Found\r\ngrpc-status: 14\r\nContent-Length: 0\r\n\r\n", 200, {"content-type: application/grpc", "grpc-status: 14"}, {"location"}},
		{"GET /u HTTP/1.1\r\nHost: a\r\n" UPGRADE "\r\n", "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n", 204, {"x-a: 1"}, {"content-length", "transfer-encoding"}},
	};
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int client = client_new(h), server;
		struct reply reply;
		char value[64];

		put_text(client, cases[i].request);
		server = server_accept(h, 0);
		free(get_head(server));
		put_text(server, cases[i].answer);
		get_reply_to(client, &reply, cases[i].request[0] == 'H');
		assert_int_equal(reply.status, cases[i].status);
		assert_string_equal(strbuf_text(&reply.body), "");
		assert_true(has_line(reply.head, "connection: close"));
		for (int k = 0; k < 3; k++) {
			if (cases[i].has[k] && !has_line(reply.head, cases[i].has[k]))
				fail_msg("case %zu has no %s:\n%s", i, cases[i].has[k], reply.head);
			if (cases[i].has_not[k] && header_of(reply.head, cases[i].has_not[k], value, sizeof(value)))
				fail_msg("case %zu has %s:\n%s", i, cases[i].has_not[k], reply.head);
		}
		reply_release(&reply);
		expect_end(client);
		close(client);
		close(server);
	}
}

/* Envoy: an error with the lines of an upgrade is followed by bytes as they come, and the client's stay where they are. */
static void test_an_error_that_speaks_of_an_upgrade_has_no_end(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server = -1;
	struct reply reply;

	put_text(client, "GET /u HTTP/1.1\r\nHost: a\r\n" UPGRADE "\r\n");
	server = server_accept(h, 0);
	free(get_head(server));
	put_text(server, "HTTP/1.1 426 Upgrade Required\r\n" UPGRADE "Content-Length: 4\r\n\r\nnope");
	get_reply(client, &reply);
	assert_int_equal(reply.status, 426);
	assert_string_equal(strbuf_text(&reply.body), "nope");
	assert_true(has_line(reply.head, "connection: Upgrade") && has_line(reply.head, "upgrade: websocket"));
	reply_release(&reply);
	put_text(client, "to nobody");
	assert_int_equal(what_comes(server, 100), -1);
	put_text(server, "more");
	expect_bytes(client, "more");
	close(server);
	expect_end(client);
	close(client);
}

/* Also a counted body is the tunnel's: the upstream has it after its 101, and never if it refuses. */
static void test_the_body_of_an_upgrade_waits_for_the_101(void **state)
{
	static const char request[] = "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n" UPGRADE "\r\nhello";
	struct harness *h = *state;

	for (int i = 0; i < 2; i++) {
		int client = client_new(h), server;
		struct reply reply;
		char *head;

		put_text(client, request);
		server = server_accept(h, 0);
		head = get_head(server);
		assert_true(has_line(head, "content-length: 5"));
		free(head);
		assert_int_equal(what_comes(server, 100), -1);
		put_text(server, i ? "HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope" : "HTTP/1.1 101 Switching Protocols\r\n" UPGRADE "\r\n");
		get_reply(client, &reply);
		assert_int_equal(reply.status, i ? 403 : 101);
		reply_release(&reply);
		if (i)
			expect_end(server);
		else
			expect_bytes(server, "hello");
		close(client);
		close(server);
	}
}

static void test_what_is_not_http_takes_the_other_filter_chain(void **state)
{
	static const char hello[] = "\x16\x03\x01\x02\x01\x01\x01\xfc\x03\x03";
	struct harness *h = *state;
	int client = client_new(h), server = -1, which = 0;

	put_bytes(client, hello, 10);
	for (int i = 0; server < 0 && i < 200; i++) {
		which = i & 1;
		if (server_has_caller(h, which, 10))
			server = server_accept(h, which);
	}
	expect_bytes(server, hello);
	tunnel_both_ways(client, server);
	close(client);
	expect_end(server);
	close(server);
	/* Where the listener does not look for other protocols, it is a bad request. */
	h->original_port_be = htons(10);
	client = client_new(h);
	put_bytes(client, hello, 10);
	expect_reply(client, 400, "Bad Request");
	close(client);
}

static void test_a_tcp_listener_lets_the_server_speak_first(void **state)
{
	struct harness *h = *state;
	int client, server;

	h->original_port_be = htons(90);
	client = client_new(h);
	server = server_accept(h, 0);
	put_text(server, "220 ready\r\n");
	expect_bytes(client, "220 ready\r\n");
	tunnel_both_ways(client, server);
	/* Half-closes pass, with what came before them. */
	put_text(server, "bye");
	shutdown(server, SHUT_WR);
	expect_bytes(client, "bye");
	expect_end(client);
	put_text(client, "still here");
	expect_bytes(server, "still here");
	close(client);
	expect_end(server);
	close(server);
}

static void test_an_unmeshed_destination_is_passed_on_as_it_is(void **state)
{
	struct harness *h = *state;
	int client, server;

	h->original = WEFT_IP4(htonl(INADDR_LOOPBACK));
	h->original_port_be = htons(h->ports[1]);
	client = client_new(h);
	server = server_accept(h, 1);
	tunnel_both_ways(client, server);
	close(server);
	expect_end(client);
	close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bodies_of_all_sizes_go_both_ways, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_body_in_tiny_chunks_and_drops, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_malformed_chunk_is_answered_400, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_length_that_connection_names_becomes_chunked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_reader_that_stalls_holds_the_writer_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_idle_connection_holds_no_buffer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_websocket_becomes_a_tunnel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_websocket_that_is_refused_closes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_refusal_that_is_no_error_becomes_a_reply, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_error_that_speaks_of_an_upgrade_has_no_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_body_of_an_upgrade_waits_for_the_101, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_not_http_takes_the_other_filter_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_tcp_listener_lets_the_server_speak_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_unmeshed_destination_is_passed_on_as_it_is, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

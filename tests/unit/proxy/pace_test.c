/* SPDX-License-Identifier: Apache-2.0 */
/* Streams go as far as their readers have read. The test is the kernel, which says how much the client has not. */
#include "proxy/kernel.h"

#include <sys/ioctl.h>

#define SIZE (16 << 20)
#define A_LOT (64u << 20)

static int setup(void **state)
{
	*state = harness_new(&(struct harness_options){.is_fast_path_on = true});
	return 0;
}

static int teardown(void **state)
{
	harness_free(*state);
	return 0;
}

static void say_unread(struct harness *h, uint32_t bytes)
{
	pthread_mutex_lock(&h->lock);
	h->unread_bytes = bytes;
	pthread_mutex_unlock(&h->lock);
}

/* A response whose server writes as fast as it can, from a thread of its own, to a client whose buffer would take all of it. */
struct stream {
	int client, server;
	bool is_chunked;
	char *body;
	size_t written;
	pthread_t writer;
};

static void *write_body(void *arg)
{
	struct stream *stream = arg;

	while (stream->written < SIZE) {
		ssize_t n = send(stream->server, stream->body + stream->written, SIZE - stream->written < 65536 ? SIZE - stream->written : 65536, MSG_NOSIGNAL);

		if (n <= 0)
			return NULL;
		__atomic_fetch_add(&stream->written, (size_t)n, __ATOMIC_RELAXED);
	}
	if (stream->is_chunked)
		(void)!send(stream->server, "\r\n0\r\n\r\n", 7, MSG_NOSIGNAL);
	return NULL;
}

static void stream_begin(struct harness *h, struct stream *stream, bool is_chunked)
{
	int bytes = 32 << 20;
	char text[100];

	*stream = (struct stream){.client = client_new(h), .is_chunked = is_chunked, .body = pattern(SIZE, 3)};
	if (setsockopt(stream->client, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		assert_int_equal(setsockopt(stream->client, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
	put_text(stream->client, REQUEST);
	stream->server = server_accept(h, 0);
	expect_bytes(stream->server, REQUEST);
	if (is_chunked)
		snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", SIZE);
	else
		snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", SIZE);
	put_text(stream->server, text);
	assert_int_equal(pthread_create(&stream->writer, NULL, write_body, stream), 0);
}

static int waiting_at(int fd)
{
	int bytes = -1;

	assert_int_equal(ioctl(fd, FIONREAD, &bytes), 0);
	return bytes;
}

/* What waits at the client when no more comes. */
static int settled(const struct stream *stream)
{
	int before = -1, now = 0;

	for (int i = 0; i < 100 && (before != now || !now); i++) {
		before = now;
		usleep(100000);
		now = waiting_at(stream->client);
	}
	return now;
}

static void stream_end(struct stream *stream)
{
	struct reply reply;

	get_reply(stream->client, &reply);
	pthread_join(stream->writer, NULL);
	assert_int_equal(reply.status, 200);
	assert_true(reply.is_whole);
	assert_int_equal(reply.body.size, SIZE);
	assert_memory_equal(reply.body.data, stream->body, SIZE);
	reply_release(&reply);
	close(stream->client);
	close(stream->server);
	free(stream->body);
}

static uint64_t paces(struct harness *h)
{
	struct proxy_stats stats;

	proxy_stats(h->proxy, &stats);
	return stats.paces;
}

static void test_a_stream_waits_for_a_client_that_has_not_read(void **state)
{
	struct harness *h = *state;
	struct stream stream;

	for (int is_chunked = 0; is_chunked < 2; is_chunked++) {
		say_unread(h, A_LOT);
		stream_begin(h, &stream, is_chunked);
		/* What goes before the first look, and one write. */
		assert_in_range(settled(&stream), 1, 512 << 10);
		/* The server, too, has not got rid of all: its window is as large as what is read. */
		assert_in_range(__atomic_load_n(&stream.written, __ATOMIC_RELAXED), 1, SIZE - 1);
		assert_true(paces(h) > 0);
		say_unread(h, 0);
		stream_end(&stream);
	}
}

static void test_looks_become_seldom_and_others_are_served_meanwhile(void **state)
{
	struct harness *h = *state;
	struct stream stream;
	uint64_t before;
	int other;

	say_unread(h, A_LOT);
	stream_begin(h, &stream, false);
	settled(&stream);
	before = paces(h);
	usleep(500000);
	/* Every 64 ms by now. */
	assert_in_range(paces(h) - before, 1, 20);
	other = client_new(h);
	put_text(other, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_reply(other, 200, "direct");
	close(other);
	say_unread(h, 0);
	stream_end(&stream);
}

static void test_a_stream_whose_client_reads_is_not_held(void **state)
{
	struct harness *h = *state;
	struct stream stream;

	stream_begin(h, &stream, false);
	stream_end(&stream);
	assert_int_equal(paces(h), 0);
}

/* A client that takes the first 100 KB as fast as it can may stop then as well: what goes ahead of it is by how much it has read. */
static void test_a_stream_runs_ahead_by_what_its_client_has_read(void **state)
{
	struct harness *h = *state;
	struct stream stream;

	say_unread(h, A_LOT);
	stream_begin(h, &stream, false);
	pthread_mutex_lock(&h->lock);
	h->read_bytes = 100 << 10; /* it takes as fast as they come */
	h->unread_at = stream.client;
	pthread_mutex_unlock(&h->lock);
	/* Those, 64 KB, and one write. */
	assert_in_range(settled(&stream), 1, 300 << 10);
	close(stream.client);
	pthread_join(stream.writer, NULL);
	close(stream.server);
	free(stream.body);
}

/* A message is no stream: it goes whole, whatever waits. */
static void test_a_short_answer_asks_nothing(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;

	say_unread(h, A_LOT);
	put_text(client, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	put_text(server, OK);
	expect_reply(client, 200, "ok");
	assert_int_equal(paces(h), 0);
	close(client);
	close(server);
}

static void test_a_client_that_goes_while_it_is_waited_for_ends_it(void **state)
{
	struct harness *h = *state;
	struct proxy_stats stats;
	struct stream stream;

	say_unread(h, A_LOT);
	stream_begin(h, &stream, false);
	settled(&stream);
	reset(stream.client);
	pthread_join(stream.writer, NULL); /* its connection is closed */
	assert_in_range(stream.written, 1, SIZE - 1);
	for (int i = 0; i < 100; i++) {
		proxy_stats(h->proxy, &stats);
		if (!stats.connections)
			break;
		usleep(10000);
	}
	assert_int_equal(stats.connections, 0);
	close(stream.server);
	free(stream.body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_stream_waits_for_a_client_that_has_not_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_looks_become_seldom_and_others_are_served_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_stream_whose_client_reads_is_not_held, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_stream_runs_ahead_by_what_its_client_has_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_short_answer_asks_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_client_that_goes_while_it_is_waited_for_ends_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

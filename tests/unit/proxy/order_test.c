/* SPDX-License-Identifier: Apache-2.0 */
/* The order of bytes with those that the kernel programs carry. The test is the kernel: it answers connection commands, passes
 * responses to be relayed, and looks at what was published. */
#include "proxy/kernel.h"

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

static void test_what_was_taken_and_written_is_published_before_the_last_write(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;
	uint32_t consumed = 0, written = 0;
	struct weft_connection_command command;

	put_text(client, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	put_text(server, OK);
	expect_reply(client, 200, "ok");
	consumed += strlen(REQUEST);
	written += strlen(OK);
	/* One command for a response in one write: wait and publish. */
	assert_int_equal(command_count(h), 1);
	for (int i = 0; i < 3; i++) {
		command = last_command(h);
		assert_int_equal(command.cookie, client_cookie(client));
		assert_int_equal(command.commands, WEFT_COMMAND_WAIT | WEFT_COMMAND_PUBLISH);
		assert_int_equal(command.proxy_consumed, consumed);
		assert_int_equal(command.proxy_written, written);
		consumed += (uint32_t)strlen(REQUEST);
		written += exchange_on(client, server);
	}
	assert_int_equal(command_count(h), 4);
	close(client);
	close(server);
}

static void test_a_large_body_is_published_with_its_last_piece(void **state)
{
	enum { SIZE = 3000000 };
	struct harness *h = *state;
	_cleanup_free_ char *body = pattern(SIZE, 1), *got = calloc(1, SIZE + 1);
	int client = client_new(h), server;
	struct weft_connection_command command;
	char *head, text[100];
	uint32_t written;

	put_text(client, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", SIZE);
	put_text(server, text);
	head = get_head(client);
	written = (uint32_t)strlen(head);
	free(head);
	/* Asked before the first write, and nothing is published while bytes are to come. */
	assert_int_equal(command_count(h), 1);
	assert_int_equal(last_command(h).commands, WEFT_COMMAND_WAIT);
	put_bytes(server, body, SIZE - 1);
	get_exactly(client, got, SIZE - 1);
	assert_int_equal(command_count(h), 1);
	put_bytes(server, body + SIZE - 1, 1);
	get_exactly(client, got + SIZE - 1, 1);
	assert_memory_equal(got, body, SIZE);
	command = last_command(h);
	assert_int_equal(command_count(h), 2);
	assert_int_equal(command.commands, WEFT_COMMAND_PUBLISH);
	assert_int_equal(command.proxy_consumed, strlen(REQUEST));
	assert_int_equal(command.proxy_written, written + SIZE);
	close(client);
	close(server);
}

static void test_guard_proxy_waits_a_response_waits_for_the_kernels_exchange(void **state)
{
	struct harness *h = *state;
	const uint64_t exchange = WEFT_EXCHANGE(7, 3);
	int client = client_new(h), server;
	struct proxy_stats stats;

	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, exchange);
	put_text(client, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	put_text(server, OK);
	/* Not by time ... */
	assert_int_equal(what_comes(client, 100), -1);
	assert_in_range(command_count(h), 2, COMMANDS_MAX);
	/* ... nor while redirected bytes are on their way ... */
	kernel_answers(h, WEFT_ANSWER_UNDELIVERED, 0);
	proxy_exchange_over(h->proxy, client_cookie(client));
	assert_int_equal(what_comes(client, 50), -1);
	/* ... but then at once. */
	kernel_answers(h, WEFT_ANSWER_UNREAD, 0);
	proxy_exchange_over(h->proxy, client_cookie(client));
	expect_reply(client, 200, "ok");
	proxy_stats(h->proxy, &stats);
	assert_in_range(stats.waits, 2, 1000);
	close(client);
	close(server);
}

static void test_guard_proxy_waits_a_local_reply_waits_too(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, WEFT_EXCHANGE(1, 1));
	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_int_equal(what_comes(client, 50), -1);
	/* The event may be lost: a poll finds out as well. */
	kernel_answers(h, 0, 0);
	expect_reply(client, 200, "direct");
	close(client);
}

static void test_a_held_body_holds_its_server_back(void **state)
{
	enum { SIZE = 32 << 20 };
	struct harness *h = *state;
	int client = client_new(h), server;
	_cleanup_free_ char *body = pattern(SIZE, 1), *got = malloc(SIZE);
	struct proxy_stats stats;
	size_t sent = 0;
	char text[100];

	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, WEFT_EXCHANGE(1, 1));
	put_text(client, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", SIZE);
	put_text(server, text);
	for (int quiet = 0; quiet < 20;) {
		ssize_t n = send(server, body + sent, SIZE - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			sent += (size_t)n;
			quiet = 0;
		} else {
			usleep(10000);
			quiet++;
		}
	}
	assert_in_range(sent, 1, SIZE / 2);
	proxy_stats(h->proxy, &stats);
	assert_in_range(stats.buffers_bytes, 1, 200000);
	assert_int_equal(what_comes(client, 10), -1);
	kernel_answers(h, 0, 0);
	free(get_head(client));
	for (size_t received = 0; received < SIZE;) {
		ssize_t n = sent < SIZE ? send(server, body + sent, SIZE - sent, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

		if (n > 0)
			sent += (size_t)n;
		n = recv(client, got + received, SIZE - received, sent < SIZE ? MSG_DONTWAIT : 0);
		if (n > 0)
			received += (size_t)n;
	}
	assert_memory_equal(got, body, SIZE);
	close(client);
	close(server);
}

static void test_nothing_is_published_while_a_further_request_waits(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), server;
	struct weft_connection_command command;

	put_text(client, REQUEST REQUEST "GET /u/par");
	server = server_accept(h, 0);
	for (int i = 0; i < 2; i++) {
		expect_bytes(server, REQUEST);
		put_text(server, OK);
		expect_reply(client, 200, "ok");
	}
	/* The first response asked; the kernel can't have begun anything since. */
	assert_int_equal(command_count(h), 1);
	assert_int_equal(last_command(h).commands, WEFT_COMMAND_WAIT);
	put_text(client, "tial HTTP/1.1\r\nHost: a\r\n\r\n");
	free(get_head(server));
	put_text(server, OK);
	expect_reply(client, 200, "ok");
	command = last_command(h);
	assert_int_equal(command_count(h), 2);
	assert_int_equal(command.commands, WEFT_COMMAND_PUBLISH);
	assert_int_equal(command.proxy_consumed, 2 * strlen(REQUEST) + strlen("GET /u/partial HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_int_equal(command.proxy_written, 3 * strlen(OK));
	close(client);
	close(server);
}

static void test_nothing_is_published_for_a_connection_that_ends(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	expect_reply(client, 200, "direct");
	expect_end(client);
	close(client);
	for (uint32_t i = 0; i < command_count(h); i++)
		assert_false(h->commands[i].commands & WEFT_COMMAND_PUBLISH);
}

static void test_a_listener_that_the_kernel_does_not_serve_costs_no_publication(void **state)
{
	struct harness *h = *state;
	int client, server;

	h->original_port_be = htons(10); /* accepts HTTP/1.0: the proxy's */
	client = client_new(h);
	put_text(client, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	put_text(server, OK);
	expect_reply(client, 200, "ok");
	for (int i = 0; i < 5; i++)
		exchange_on(client, server);
	for (uint32_t i = 0; i < command_count(h); i++)
		assert_false(h->commands[i].commands & WEFT_COMMAND_PUBLISH && !(h->commands[i].commands & WEFT_COMMAND_WAIT));
	close(client);
	close(server);
}

static void test_without_the_fast_path_there_are_no_commands(void **state)
{
	struct harness *h = *state;
	int client, server;

	proxy_set_fast_path(h->proxy, false);
	client = client_new(h);
	put_text(client, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	put_text(server, OK);
	expect_reply(client, 200, "ok");
	close(client);
	usleep(20000);
	assert_int_equal(command_count(h), 0);
	close(server);
}

static void test_guard_fin_last_a_fin_waits_for_the_kernels_bytes(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	/* The client closes its side while the kernel's response is on its way: the anchor's FIN must not overtake it. */
	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, WEFT_EXCHANGE(2, 2));
	usleep(20000);
	shutdown(client, SHUT_WR);
	assert_int_equal(what_comes(client, 100), -1);
	kernel_answers(h, WEFT_ANSWER_UNDELIVERED, 0);
	assert_int_equal(what_comes(client, 100), -1);
	kernel_answers(h, 0, 0);
	expect_end(client);
	close(client);
	assert_int_equal(h->gone_exchange, 0);
	/* An exchange that does not end is given up, and its upstream with it. */
	client = client_new(h);
	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, WEFT_EXCHANGE(2, 3));
	usleep(20000);
	shutdown(client, SHUT_WR);
	expect_end(client);
	pthread_mutex_lock(&h->lock);
	assert_int_equal(h->gone_exchange, WEFT_EXCHANGE(2, 3));
	pthread_mutex_unlock(&h->lock);
	close(client);
}

static void test_half_a_request_of_a_client_that_leaves_is_not_waited_for(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);

	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN | WEFT_ANSWER_REQUEST_OPEN, WEFT_EXCHANGE(2, 3));
	usleep(20000);
	shutdown(client, SHUT_WR);
	assert_int_equal(what_comes(client, 500), 0);
	pthread_mutex_lock(&h->lock);
	assert_int_equal(h->gone_exchange, WEFT_EXCHANGE(2, 3));
	pthread_mutex_unlock(&h->lock);
	close(client);
}

static void test_a_client_that_is_gone_needs_no_order(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);
	uint64_t before;

	pthread_mutex_lock(&h->lock);
	h->is_gone = true;
	pthread_mutex_unlock(&h->lock);
	before = test_now_ms();
	shutdown(client, SHUT_WR);
	expect_end(client);
	assert_in_range(test_now_ms() - before, 0, 500);
	close(client);
}

/* An argument runs the tests whose names begin with it. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_was_taken_and_written_is_published_before_the_last_write, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_large_body_is_published_with_its_last_piece, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guard_proxy_waits_a_response_waits_for_the_kernels_exchange, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guard_proxy_waits_a_local_reply_waits_too, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_held_body_holds_its_server_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_is_published_while_a_further_request_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_is_published_for_a_connection_that_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_listener_that_the_kernel_does_not_serve_costs_no_publication, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_the_fast_path_there_are_no_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guard_fin_last_a_fin_waits_for_the_kernels_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_half_a_request_of_a_client_that_leaves_is_not_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_client_that_is_gone_needs_no_order, setup, teardown),
	};

	if (argc > 1) {
		char pattern[128];

		snprintf(pattern, sizeof(pattern), "%s*", argv[1]);
		cmocka_set_test_filter(pattern);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}

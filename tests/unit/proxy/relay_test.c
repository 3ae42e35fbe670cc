/* SPDX-License-Identifier: Apache-2.0 */
/* Responses, and errors, of exchanges that the kernel programs began. The test is the kernel and the pool. */
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

static void relay_done(void *arg, uint32_t slot, uint32_t lease, bool is_reusable)
{
	struct harness *h = arg;

	(void)slot;
	(void)lease;
	pthread_mutex_lock(&h->lock);
	h->relays_done++;
	h->was_reusable = is_reusable;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static bool wait_for_relays(struct harness *h, uint32_t count)
{
	struct timespec until;
	bool is_reusable;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&h->lock);
	while (h->relays_done < count)
		if (pthread_cond_timedwait(&h->changed, &h->lock, &until))
			break;
	assert_int_equal(h->relays_done, count);
	is_reusable = h->was_reusable;
	pthread_mutex_unlock(&h->lock);
	return is_reusable;
}

/* An upstream of the pool and its server's end. */
static void pool_pair(struct harness *h, int *upstream, int *server)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(h->ports[1]), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	*upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*upstream, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(fcntl(*upstream, F_SETFL, O_NONBLOCK), 0);
	*server = server_accept(h, 1);
}

/* `answer`: what the kernel says of the exchange. */
static void begin_relay_of(struct harness *h, int client, int upstream, uint32_t lease, uint64_t request_remaining, uint32_t answer)
{
	const struct proxy_relay relay = {
		.client_cookie = client_cookie(client),
		.fd = upstream,
		.slot = 5,
		.lease = lease,
		.method = WEFT_METHOD_GET,
		.request_remaining = request_remaining,
		.done = relay_done,
		.arg = h,
	};

	kernel_answers(h, answer, WEFT_EXCHANGE(5, lease));
	assert_int_equal(proxy_relay(h->proxy, &relay), 0);
}

static void begin_relay(struct harness *h, int client, int upstream, uint32_t lease, uint64_t request_remaining)
{
	begin_relay_of(h, client, upstream, lease, request_remaining, WEFT_ANSWER_EXCHANGE_OPEN);
}

static void test_a_relayed_response_ends_its_exchange_with_its_last_write(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), upstream, server;
	uint32_t written = 0;
	struct weft_connection_command command;

	pool_pair(h, &upstream, &server);
	for (uint32_t i = 1; i <= 3; i++) {
		static const char raw[] = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
		struct reply reply;

		put_bytes(server, raw, 40);
		begin_relay(h, client, upstream, i, 0);
		usleep(10000);
		put_text(server, raw + 40);
		get_reply(client, &reply);
		assert_string_equal(strbuf_text(&reply.body), "hello");
		written += (uint32_t)strlen(reply.head) + 5 + 5 + 5 + 2 - 2;
		reply_release(&reply);
		assert_true(wait_for_relays(h, i));
		command = last_command(h);
		assert_int_equal(command.commands, WEFT_COMMAND_END_EXCHANGE | WEFT_COMMAND_PUBLISH);
		assert_int_equal(command.exchange, WEFT_EXCHANGE(5, i));
		assert_int_equal(command.proxy_consumed, 0);
		assert_int_equal(command.proxy_written, written);
	}
	/* The anchor goes on with requests of its own; what was relayed counts. */
	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_reply(client, 200, "direct");
	command = last_command(h);
	assert_int_equal(command.proxy_consumed, strlen("GET /direct HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(command.proxy_written > written);
	close(client);
	/* The descriptor is still the pool's. */
	assert_true(fcntl(upstream, F_GETFD) >= 0);
	close(upstream);
	close(server);
}

/* An early answer: the rest of the body is here before the response is, and looks like a request. */
static void test_the_rest_of_a_body_is_never_a_request(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), upstream, server;

	pool_pair(h, &upstream, &server);
	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN | WEFT_ANSWER_BODY_REST, WEFT_EXCHANGE(5, 1));
	put_text(client, REQUEST);
	assert_false(server_has_caller(h, 0, 100));
	put_text(server, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
	begin_relay(h, client, upstream, 1, 100);
	put_text(client, REQUEST);
	expect_reply(client, 413, "no");
	expect_end(client);
	assert_false(wait_for_relays(h, 1));
	assert_false(server_has_caller(h, 0, 50));
	close(client);
	close(upstream);
	close(server);

	/* The kernel carries the response after all, and nothing more comes here that would tell. */
	client = client_new(h);
	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN | WEFT_ANSWER_BODY_REST, WEFT_EXCHANGE(5, 1));
	put_text(client, REQUEST);
	assert_int_equal(what_comes(client, 50), -1);
	kernel_answers(h, WEFT_ANSWER_BODY_REST, 0);
	proxy_exchange_over(h->proxy, client_cookie(client));
	expect_end(client);
	assert_false(server_has_caller(h, 0, 50));
	close(client);

	/* The response has been given already. */
	client = client_new(h);
	kernel_answers(h, WEFT_ANSWER_BODY_REST, 0);
	put_text(client, REQUEST);
	expect_end(client);
	assert_false(server_has_caller(h, 0, 50));
	close(client);
}

/* The socket was disconnected in mid-exchange and connected again: same cookie, another connection. */
static void test_a_response_to_a_former_connection_is_nobodys(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), upstream, server;
	struct proxy_relay relay = {
		.client_cookie = client_cookie(client),
		.slot = 5,
		.lease = 1,
		.method = WEFT_METHOD_GET,
		.done = relay_done,
		.arg = h,
	};

	pool_pair(h, &upstream, &server);
	relay.fd = upstream;
	put_text(server, OK);
	kernel_answers(h, 0, 0);
	assert_int_equal(proxy_relay(h->proxy, &relay), 0);
	assert_false(wait_for_relays(h, 1));
	assert_int_equal(what_comes(client, 50), -1);
	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_reply(client, 200, "direct");
	close(client);
	close(upstream);
	close(server);
}

static void note_unaccepted(void *arg, uint32_t slot, uint32_t lease)
{
	unsigned *count = arg;

	assert_int_equal(slot, 5);
	assert_int_equal(lease, 1);
	(*count)++;
}

/* Another weftd takes over: who waits to be accepted is accepted there. */
static void test_a_relay_for_whom_nobody_accepted_is_given_back(void **state)
{
	const struct proxy_relay relay = { .client_cookie = 4711, .fd = -1, .slot = 5, .lease = 1, .method = WEFT_METHOD_GET, .done = relay_done, .arg = *state };
	struct harness *h = *state;
	unsigned count = 0;

	assert_int_equal(proxy_relay(h->proxy, &relay), 0);
	proxy_unaccepted(h->proxy, note_unaccepted, &count);
	assert_int_equal(count, 1);
	proxy_unaccepted(h->proxy, note_unaccepted, &count);
	assert_int_equal(count, 1);
	assert_int_equal(h->relays_done, 0);
}

/* The same, but the later connection has begun an exchange, and its anchor is accepted only afterwards. */
static void test_a_socket_that_connects_anew_is_told_from_before(void **state)
{
	struct harness *h = *state;
	int before, after, upstream, server;
	struct proxy_relay relay = {.client_cookie = 77, .slot = 5, .lease = 1, .method = WEFT_METHOD_GET, .done = relay_done, .arg = h};

	h->next_cookie = 77;
	h->captured_ns = 1;
	before = client_new(h);
	put_text(before, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_reply(before, 200, "direct");
	forget_commands(h);

	pthread_mutex_lock(&h->lock);
	h->captured_ns = 2;
	pthread_mutex_unlock(&h->lock);
	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, WEFT_EXCHANGE(5, 1));
	pool_pair(h, &upstream, &server);
	relay.fd = upstream;
	put_text(server, OK);
	assert_int_equal(proxy_relay(h->proxy, &relay), 0);
	assert_int_equal(what_comes(before, 50), -1);
	assert_int_equal(h->relays_done, 0);
	after = client_new(h);
	expect_reply(after, 200, "ok");
	assert_true(wait_for_relays(h, 1));
	forget_commands(h);
	/* What the former one does is not published for the later one, nor does it wait for its exchanges. */
	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, WEFT_EXCHANGE(5, 2));
	put_text(before, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_reply(before, 200, "direct");
	assert_int_equal(command_count(h), 0);
	close(before);
	close(after);
	close(upstream);
	close(server);
}

static void test_requests_that_come_during_a_relay_are_served_after_it(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), upstream, server;

	pool_pair(h, &upstream, &server);
	put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
	begin_relay(h, client, upstream, 1, 0);
	usleep(20000);
	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	usleep(20000);
	put_text(server, "world");
	expect_reply(client, 200, "helloworld");
	expect_reply(client, 200, "direct");
	assert_true(wait_for_relays(h, 1));
	close(client);
	close(upstream);
	close(server);
}

static void test_a_relay_goes_before_a_request_that_the_proxy_has_already(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), upstream, server;

	pool_pair(h, &upstream, &server);
	/* Pipelined: the kernel has the first request, the proxy the second. */
	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, WEFT_EXCHANGE(5, 9));
	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_int_equal(what_comes(client, 30), -1);
	begin_relay(h, client, upstream, 9, 0);
	put_text(server, OK);
	expect_reply(client, 200, "ok");
	expect_reply(client, 200, "direct");
	wait_for_relays(h, 1);
	close(client);
	close(upstream);
	close(server);
}

static void test_a_relay_waits_for_an_anchor_that_was_not_accepted_yet(void **state)
{
	struct harness *h = *state;
	int upstream, server, client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct reply reply;

	harness_give_up_after_a_while(client);
	assert_int_equal(bind(client, (struct sockaddr *)&own, sizeof(own)), 0);
	pool_pair(h, &upstream, &server);
	put_text(server, OK);
	begin_relay(h, client, upstream, 1, 0);
	usleep(50000);
	assert_int_equal(connect(client, (struct sockaddr *)&h->address, sizeof(h->address)), 0);
	expect_reply(client, 200, "ok");
	assert_true(wait_for_relays(h, 1));
	close(client);
	/* And not forever: the upstream is given back, and who comes after all gets an error. */
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	harness_give_up_after_a_while(client);
	assert_int_equal(bind(client, (struct sockaddr *)&own, sizeof(own)), 0);
	begin_relay(h, client, upstream, 2, 0);
	assert_false(wait_for_relays(h, 2));
	usleep(2600000); /* as long as that once more */
	assert_int_equal(connect(client, (struct sockaddr *)&h->address, sizeof(h->address)), 0);
	get_reply(client, &reply);
	assert_int_equal(reply.status, 503);
	reply_release(&reply);
	close(client);
	/* Nothing is kept for who is gone, nor when the proxy ends. */
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(client, (struct sockaddr *)&own, sizeof(own)), 0);
	begin_relay(h, client, upstream, 3, 0);
	assert_false(wait_for_relays(h, 3));
	close(client);
	close(upstream);
	close(server);
}

static void test_a_relayed_response_to_an_unfinished_request_ends_the_connection(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), upstream, server;
	struct reply reply;

	pool_pair(h, &upstream, &server);
	put_text(server, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
	begin_relay(h, client, upstream, 1, 100000);
	get_reply(client, &reply);
	assert_int_equal(reply.status, 413);
	assert_true(has_line(reply.head, "connection: close"));
	reply_release(&reply);
	put_text(client, "the rest of the body, by the anchor now");
	expect_end(client);
	assert_false(wait_for_relays(h, 1));
	close(client);
	close(upstream);
	close(server);
}

/* It goes by the program for as long as the response takes, so what it was when the response came says nothing of when it begins to go out. */
static void test_a_relayed_response_says_whether_its_request_is_open(void **state)
{
	static const char raw[] = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	struct harness *h = *state;

	for (uint32_t i = 0; i < 4; i++) {
		bool is_open = i & 1, fails = i & 2;
		int client = client_new(h), upstream, server;
		struct reply reply;
		char *interim;

		pool_pair(h, &upstream, &server);
		put_bytes(server, raw, 28);
		begin_relay_of(h, client, upstream, i + 1, 0, WEFT_ANSWER_EXCHANGE_OPEN | WEFT_ANSWER_REQUEST_OPEN);
		interim = get_head(client);
		free(interim);
		if (!is_open)
			kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, WEFT_EXCHANGE(5, i + 1));
		if (fails)
			close(server);
		else
			put_text(server, raw + 28);
		get_reply(client, &reply);
		assert_int_equal(reply.status, fails ? 503 : 200);
		assert_int_equal(has_line(reply.head, "connection: close"), is_open);
		reply_release(&reply);
		assert_int_equal(wait_for_relays(h, i + 1), !fails);
		if (is_open)
			expect_end(client);
		close(client);
		close(upstream);
		if (!fails)
			close(server);
	}
}

static void test_an_upstream_that_dies_in_a_relay(void **state)
{
	static const struct {
		const char *raw;
		int status;
		bool is_whole;
	} cases[] = {{"", 503, true}, {"HTTP/1.1 200 OK\r\nContent-Le", 502, true}, {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 200, false}};
	struct harness *h = *state;

	for (uint32_t i = 0; i < 3; i++) {
		int client = client_new(h), upstream, server;
		struct reply reply;

		pool_pair(h, &upstream, &server);
		put_text(server, cases[i].raw);
		begin_relay(h, client, upstream, i + 1, 0);
		usleep(10000);
		close(server);
		get_reply(client, &reply);
		assert_int_equal(reply.status, cases[i].status);
		assert_int_equal(reply.is_whole, cases[i].is_whole);
		reply_release(&reply);
		assert_false(wait_for_relays(h, i + 1));
		close(client);
		close(upstream);
	}
}

/* The server waits for the rest of a body that will not come: what it said so far is written, and nothing else would tell. */
static void test_a_client_that_resets_ends_its_relay(void **state)
{
	struct harness *h = *state;
	int client = client_new(h), upstream, server;
	char *head;

	pool_pair(h, &upstream, &server);
	put_text(server, "HTTP/1.1 103 Early Hints\r\n\r\n");
	begin_relay(h, client, upstream, 1, 0);
	head = get_head(client);
	assert_string_equal(head, "HTTP/1.1 103 Early Hints\r\n\r\n");
	free(head);
	usleep(20000);
	reset(client);
	assert_false(wait_for_relays(h, 1));
	close(upstream);
	close(server);
}

/* The command that ended this exchange for the kernel; 0 if none did. */
static uint32_t how_it_ended(struct harness *h, uint64_t exchange)
{
	uint32_t commands = 0;

	pthread_mutex_lock(&h->lock);
	for (uint32_t i = 0; i < h->command_count; i++) {
		if (h->commands[i].commands & WEFT_COMMAND_END_EXCHANGE && h->commands[i].exchange == exchange)
			commands = h->commands[i].commands;
	}
	pthread_mutex_unlock(&h->lock);
	return commands;
}

static void test_a_failed_exchange_of_the_kernels_is_answered(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);
	struct proxy_local_error error = {.client_cookie = client_cookie(client), .slot = 5, .lease = 1, .status = 503, .method = WEFT_METHOD_GET};
	struct weft_connection_command command;
	struct reply reply;
	char *head;

	for (error.lease = 1; error.lease <= 2; error.lease++) {
		kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, WEFT_EXCHANGE(5, error.lease));
		error.status = error.lease == 1 ? 503 : 504;
		assert_int_equal(proxy_local_error(h->proxy, &error), 0);
		get_reply(client, &reply);
		assert_int_equal(reply.status, error.status);
		assert_string_equal(strbuf_text(&reply.body), error.status == 504 ? "upstream request timeout" :
				    "upstream connect error or disconnect/reset before headers. reset reason: connection termination");
		assert_false(has_line(reply.head, "connection: close"));
		reply_release(&reply);
		command = last_command(h);
		assert_int_equal(command.commands, WEFT_COMMAND_END_EXCHANGE | WEFT_COMMAND_PUBLISH);
		assert_int_equal(command.exchange, WEFT_EXCHANGE(5, error.lease));
	}
	/* A HEAD gets no body; the connection goes on. */
	error.method = WEFT_METHOD_HEAD;
	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, WEFT_EXCHANGE(5, error.lease));
	assert_int_equal(proxy_local_error(h->proxy, &error), 0);
	head = get_head(client);
	free(head);
	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_reply(client, 200, "direct");
	/* A response that was begun is cut, after what the kernel redirected is delivered. */
	error.status = 0;
	error.lease++;
	kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN | WEFT_ANSWER_UNDELIVERED, WEFT_EXCHANGE(5, error.lease));
	assert_int_equal(proxy_local_error(h->proxy, &error), 0);
	assert_int_equal(what_comes(client, 50), -1);
	/* The kernel must not answer a next request behind what came of this one. */
	assert_int_equal(how_it_ended(h, WEFT_EXCHANGE(5, error.lease)), WEFT_COMMAND_END_EXCHANGE | WEFT_COMMAND_PROXY_ONLY);
	kernel_answers(h, 0, 0);
	expect_end(client);
	close(client);
}

/* Of an exchange that is over, or that was another connection's with this socket: nobody waits for it. */
static void test_a_failed_exchange_that_nobody_awaits_is_not_answered(void **state)
{
	struct harness *h = *state;
	int client = client_new(h);
	struct proxy_local_error error = {.client_cookie = client_cookie(client), .slot = 5, .lease = 1, .status = 503, .method = WEFT_METHOD_GET};

	for (int i = 0; i < 2; i++) {
		kernel_answers(h, i ? WEFT_ANSWER_EXCHANGE_OPEN : 0, WEFT_EXCHANGE(5, 2));
		assert_int_equal(proxy_local_error(h->proxy, &error), 0);
		error.status = 0;
		assert_int_equal(proxy_local_error(h->proxy, &error), 0);
		assert_int_equal(what_comes(client, 50), -1);
	}
	kernel_answers(h, 0, 0);
	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_reply(client, 200, "direct");
	close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_relayed_response_ends_its_exchange_with_its_last_write, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_rest_of_a_body_is_never_a_request, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_response_to_a_former_connection_is_nobodys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_relay_for_whom_nobody_accepted_is_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_socket_that_connects_anew_is_told_from_before, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests_that_come_during_a_relay_are_served_after_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_relay_goes_before_a_request_that_the_proxy_has_already, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_relay_waits_for_an_anchor_that_was_not_accepted_yet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_relayed_response_to_an_unfinished_request_ends_the_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_relayed_response_says_whether_its_request_is_open, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_upstream_that_dies_in_a_relay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_client_that_resets_ends_its_relay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_failed_exchange_of_the_kernels_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_failed_exchange_that_nobody_awaits_is_not_answered, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

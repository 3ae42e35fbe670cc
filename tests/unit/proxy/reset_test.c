/* SPDX-License-Identifier: Apache-2.0 */
/* A client that is reset is gone, whenever the reset comes. */
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

/* The proxy's thread waits for our lock as soon as `other` says something; what `client` does meanwhile comes to it as one event. */
static void send_and_reset_in_one_event(struct harness *h, int client, int other, const char *text)
{
	pthread_mutex_lock(&h->lock);
	put_text(other, REQUEST);
	usleep(50000);
	put_text(client, text);
	usleep(10000);
	reset(client);
	usleep(10000);
	pthread_mutex_unlock(&h->lock);
}

static void expect_cut(struct harness *h, const char *request)
{
	int other = client_new(h), client = client_new(h), server, cut;
	char byte;

	put_text(other, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	put_text(server, OK);
	expect_reply(other, 200, "ok");
	exchange_on(client, server);
	exchange_on(other, server);

	send_and_reset_in_one_event(h, client, other, request);
	expect_bytes(server, REQUEST);
	cut = server_accept(h, 0);
	free(get_head(cut));
	assert_true(recv(cut, &byte, 1, 0) == 0 || errno == ECONNRESET);
	put_text(server, OK);
	expect_reply(other, 200, "ok");
	close(cut);
	close(server);
	close(other);
}

/* The rest of it will never come, and the server must not wait for it. */
static void test_a_reset_that_comes_with_a_part_of_a_request_cuts_it(void **state)
{
	expect_cut(*state, "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n");
}

/* Envoy: the client has disconnected, so nobody waits for the answer. */
static void test_a_reset_that_comes_with_a_whole_request_cuts_it(void **state)
{
	expect_cut(*state, REQUEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_reset_that_comes_with_a_part_of_a_request_cuts_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_reset_that_comes_with_a_whole_request_cuts_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

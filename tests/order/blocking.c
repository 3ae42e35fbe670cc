// SPDX-License-Identifier: Apache-2.0
#include "blocking.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "steps.h"

struct reading {
	int fd;
	ssize_t n;
	int error;
	pthread_t thread;
	char buffer[4096];
};

static void *read_one(void *arg)
{
	struct reading *reading = arg;

	reading->n = recv(reading->fd, reading->buffer, sizeof(reading->buffer) - 1, 0);
	reading->error = reading->n < 0 ? errno : 0;
	return NULL;
}

static void reading_start(struct reading *reading, int fd)
{
	*reading = (struct reading){.fd = fd};
	assert_int_equal(pthread_create(&reading->thread, NULL, read_one, reading), 0);
	usleep(20000);
}

static void assert_read(struct reading *reading, const char *expected)
{
	pthread_join(reading->thread, NULL);
	assert_int_equal(reading->error, 0);
	reading->buffer[reading->n] = 0;
	assert_string_equal(reading->buffer, expected);
}

void test_guard_blocking_a_client_that_sleeps_in_its_reads_is_the_proxys(void **state)
{
	struct harness *h = *state;
	static char body[131072], drain[262144];
	uint64_t before = counted(h, WEFT_COUNTER_CLIENTS_BLOCKING);
	struct reading reading;
	struct client client;
	struct link link;
	char head[128];

	memset(body, 'x', sizeof(body));
	client_open_waiting(h, &client);
	link_open(h, h->local_endpoint, &link);
	assert_int_equal(counted(h, WEFT_COUNTER_CLIENTS_BLOCKING), before + 1);
	reading_start(&reading, client.fd);
	snprintf(head, sizeof(head), "POST /p HTTP/1.1\r\nHost: local\r\nContent-Length: %zu\r\n\r\n", sizeof(body));
	say(client.fd, head);
	for (size_t sent = 0; sent < sizeof(body); sent += 16384)
		assert_int_equal(send(client.fd, body + sent, 16384, MSG_NOSIGNAL), 16384);
	assert_int_equal(hear(client.anchor, drain, sizeof(drain), 500), strlen(head) + sizeof(body));
	usleep(20000);
	say(client.anchor, RESPONSE);
	assert_read(&reading, RESPONSE);
	link_close(h, &link);
	client_close(&client);
}

/* As a program that connects with a time-out, and has none afterwards. */
void test_guard_blocking_a_client_that_begins_to_sleep_leaves(void **state)
{
	struct harness *h = *state;
	uint64_t left = counted(h, WEFT_COUNTER_CLIENTS_LEFT), reasons = reason(h, WEFT_REASON_BLOCKING_CLIENT);
	struct reading reading;
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	assert_carried(client.fd, REQUEST_LOCAL, link.server, RESPONSE);
	reads_wait(client.fd, true);
	say(client.fd, REQUEST_LOCAL);
	reading_start(&reading, client.fd);
	assert_heard(client.anchor, REQUEST_LOCAL);
	assert_int_equal(reason(h, WEFT_REASON_BLOCKING_CLIENT), reasons + 1);
	say(client.anchor, RESPONSE_TWO);
	assert_read(&reading, RESPONSE_TWO);
	assert_int_equal(counted(h, WEFT_COUNTER_CLIENTS_LEFT), left + 1);
	link_close(h, &link);
	client_close(&client);
}

/* The proxy takes its requests, until it is certain that the server stays so; from then on they are sent by TCP. */
void test_guard_blocking_a_server_that_sleeps_is_served_by_tcp(void **state)
{
	struct harness *h = *state;
	uint64_t given_up = counted(h, WEFT_COUNTER_SERVERS_BLOCKING), paired = counted(h, WEFT_COUNTER_SERVERS);
	struct client first, second, third;
	struct reading reading;
	struct link link;

	client_open(h, &first);
	client_open(h, &second);
	client_open(h, &third);
	link_open_waiting(h, h->local_endpoint, &link);
	assert_int_equal(counted(h, WEFT_COUNTER_SERVERS), paired + 1);
	reading_start(&reading, link.server);
	say(first.fd, REQUEST_LOCAL);
	assert_heard(first.anchor, REQUEST_LOCAL);
	assert_int_equal(WEFT_STATE(link_slot(h, &link)->state), WEFT_UPSTREAM_IDLE);
	usleep(120000);
	say(second.fd, REQUEST_LOCAL);
	assert_heard(second.anchor, REQUEST_LOCAL);
	assert_int_equal(WEFT_STATE(link_slot(h, &link)->state), WEFT_UPSTREAM_DEAD);
	assert_int_equal(counted(h, WEFT_COUNTER_SERVERS_BLOCKING), given_up + 1);
	/* The worker closes it, and the server reads the end of the stream, not an error. */
	close(link.upstream);
	link.upstream = -1;
	assert_read(&reading, "");
	link_close(h, &link);

	/* The next ones are never paired, ... */
	link_open_waiting(h, h->local_endpoint, &link);
	assert_int_equal(counted(h, WEFT_COUNTER_SERVERS), paired + 1);
	assert_int_equal(link_slot(h, &link)->server_cookie, 0);
	reading_start(&reading, link.server);
	say(third.fd, REQUEST_LOCAL);
	assert_read(&reading, REQUEST_LOCAL);
	say(link.server, RESPONSE_TWO);
	assert_heard(third.fd, RESPONSE_TWO);
	link_close(h, &link);
	client_close(&first);
	client_close(&second);
	client_close(&third);
	/* ... for a minute. */
	datapath_endpoints(h->dp)[h->local_endpoint].servers_block_s = 0;
}

void test_a_sleeping_read_gets_what_the_proxy_writes(void **state)
{
	struct harness *h = *state;
	struct reading reading;
	struct client client;

	for (int i = 0; i < 300; i++) {
		client_open_waiting(h, &client);
		reading = (struct reading){.fd = client.fd};
		assert_int_equal(pthread_create(&reading.thread, NULL, read_one, &reading), 0);
		say(client.fd, REQUEST_STREAM);
		if (i % 2)
			usleep(500);
		say(client.anchor, RESPONSE);
		assert_read(&reading, RESPONSE);
		client_close(&client);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A head that comes again is not parsed again, and nothing but the same head under the same routes is taken for it (bpf/memo.h). Needs root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "steps.h"
#include "weft/abi.h"

struct world {
	struct client client;
	struct link local, other; /* `other`: reached on the remote path */
};

static int open_world(void **state)
{
	static struct world world;
	struct harness *h = the_harness();

	harness_route(h, NULL);
	client_open(h, &world.client);
	link_open(h, h->local_endpoint, &world.local);
	link_open(h, h->other_endpoint, &world.other);
	*state = &world;
	return 0;
}

static int close_world(void **state)
{
	struct world *world = *state;
	struct harness *h = the_harness();

	link_close(h, &world->local);
	link_close(h, &world->other);
	client_close(&world->client);
	*state = h;
	return 0;
}

/* What went another way than it should says why. */
/* As many bytes as are expected, at once: what is beyond them comes first the next time. */
static void assert_next(int fd, const char *expected)
{
	char buffer[8192];

	hear(fd, buffer, strlen(expected) + 1, 1000);
	assert_said(buffer, expected);
}

static void exchange(struct world *world, const struct link *link, const char *request, const char *response)
{
	assert_int_equal(say(world->client.fd, request), strlen(request));
	assert_next(link->server, request);
	assert_int_equal(say(link->server, response), strlen(response));
	assert_next(world->client.fd, response);
}

static uint64_t requests_repeated(void)
{
	return counted(the_harness(), WEFT_COUNTER_REQUESTS_REPEATED);
}

static uint64_t responses_repeated(void)
{
	return counted(the_harness(), WEFT_COUNTER_RESPONSES_REPEATED);
}

static void test_a_head_that_comes_again_is_not_parsed_again(void **state)
{
	struct world *world = *state;
	uint64_t requests = requests_repeated(), responses = responses_repeated();

	for (int i = 0; i < 10; i++)
		exchange(world, &world->local, REQUEST_LOCAL, RESPONSE);
	/* not the first, which may be the only one, nor the second, which is kept */
	assert_int_equal(requests_repeated() - requests, 8);
	assert_int_equal(responses_repeated() - responses, 8);
}

/* On the remote path the response comes by TCP, and another program reads it. */
static void test_what_remote_servers_say_is_remembered_too(void **state)
{
	struct world *world = *state;
	static const char get[] = "GET /a HTTP/1.1\r\nHost: other\r\n\r\n", head[] = "HEAD /a HTTP/1.1\r\nHost: other\r\n\r\n";
	static const char empty[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", longer[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!";
	uint64_t responses = responses_repeated();

	for (int i = 0; i < 10; i++)
		exchange(world, &world->other, get, RESPONSE);
	assert_in_range(responses_repeated() - responses, 9, 10); /* a slot may know this head from its upstream before */
	for (int i = 0; i < 4; i++) {
		exchange(world, &world->other, head, empty);
		exchange(world, &world->other, head, empty);
		exchange(world, &world->other, get, RESPONSE);
		exchange(world, &world->other, get, longer);
		exchange(world, &world->other, get, RESPONSE);
	}
}

static void test_bodies_may_differ(void **state)
{
	struct world *world = *state;
	uint64_t requests = requests_repeated(), responses = responses_repeated();
	char request[128], response[128];

	for (int i = 0; i < 8; i++) {
		snprintf(request, sizeof(request), "POST /p HTTP/1.1\r\nHost: local\r\nContent-Length: 6\r\n\r\nbody %d", i);
		snprintf(response, sizeof(response), "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nanswer %d", i);
		exchange(world, &world->local, request, response);
	}
	assert_int_equal(requests_repeated() - requests, 6);
	assert_int_equal(responses_repeated() - responses, 6);
}

/* The same bytes as far as they go, and then something else. */
static void test_a_head_that_only_begins_like_it_is_another_one(void **state)
{
	struct world *world = *state;
	static const char *const heads[] = {
		"GET /a HTTP/1.1\r\nHost: local\r\nA: b\r\n\r\n", "GET /a HTTP/1.1\r\nHost: other\r\n\r\n", "GET /b HTTP/1.1\r\nHost: local\r\n\r\n",
		"GET /aa HTTP/1.1\r\nHost: local\r\n\r\n",
	};
	static const char *const responses[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!", "HTTP/1.1 201 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello", "HTTP/1.1 204 No Content\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		bool is_other = strstr(heads[i], "other");

		for (int again = 0; again < 3; again++)
			exchange(world, &world->local, REQUEST_LOCAL, RESPONSE);
		exchange(world, is_other ? &world->other : &world->local, heads[i], responses[i]);
	}
	exchange(world, &world->local, REQUEST_LOCAL, RESPONSE);
}

static void test_an_answer_to_head_is_none_to_get(void **state)
{
	struct world *world = *state;
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

	for (int i = 0; i < 4; i++) {
		for (int again = 0; again < 3; again++)
			exchange(world, &world->local, "HEAD /a HTTP/1.1\r\nHost: local\r\n\r\n", head);
		for (int again = 0; again < 3; again++)
			exchange(world, &world->local, REQUEST_LOCAL, RESPONSE);
	}
}

static void test_routes_that_were_published_since_decide(void **state)
{
	struct world *world = *state;
	struct harness *h = the_harness();

	for (int i = 0; i < 3; i++) {
		for (int again = 0; again < 4; again++)
			exchange(world, &world->local, REQUEST_LOCAL, RESPONSE);
		harness_route(h, "{match: {prefix: /}, route: {cluster: other}}");
		for (int again = 0; again < 4; again++)
			exchange(world, &world->other, REQUEST_LOCAL, RESPONSE);
		harness_route(h, NULL);
	}
	harness_route(h, "{match: {prefix: /}, direct_response: {status: 403}}");
	say(world->client.fd, REQUEST_LOCAL);
	assert_next(world->client.fd, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\ndate: Sun, 22 Nov 2026 01:13:34 GMT\r\n\r\n");
}

/* Sends on one connection, and answers on whichever server hears it: how many `other` heard. */
static int shares(struct world *world, int count)
{
	char buffer[8192];
	int others = 0;

	for (int i = 0; i < count; i++) {
		say(world->client.fd, REQUEST_LOCAL);
		if (hear(world->local.server, buffer, sizeof(buffer), 30)) {
			say(world->local.server, RESPONSE);
		} else {
			assert_next(world->other.server, REQUEST_LOCAL);
			say(world->other.server, RESPONSE);
			others++;
		}
		assert_next(world->client.fd, RESPONSE);
	}
	return others;
}

/* 60 draws of one half: 11 or fewer come once in a million. */
static void test_what_chance_decides_is_decided_each_time(void **state)
{
	struct world *world = *state;
	struct harness *h = the_harness();
	uint64_t requests = requests_repeated();

	harness_route(h, "{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: local, weight: 1}, {name: other, weight: 1}]}}}");
	assert_in_range(shares(world, 60), 12, 48);
	harness_route(h, "{match: {prefix: /, runtime_fraction: {default_value: {numerator: 50}}}, route: {cluster: local}}, "
			 "{match: {prefix: /}, route: {cluster: other}}");
	assert_in_range(shares(world, 60), 12, 48);
	assert_int_equal(requests_repeated(), requests);
}

/* Who never says the same thing again is not asked for ever whether he does. */
static void test_heads_that_all_differ_are_all_routed(void **state)
{
	struct world *world = *state;
	uint64_t requests = requests_repeated(), responses = responses_repeated();
	char request[128], response[128];

	for (int i = 0; i < 100; i++) {
		snprintf(request, sizeof(request), "GET /a%d HTTP/1.1\r\nHost: local\r\n\r\n", i);
		snprintf(response, sizeof(response), "HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 5\r\n\r\nhello", i);
		exchange(world, &world->local, request, response);
	}
	assert_int_equal(requests_repeated(), requests);
	assert_int_equal(responses_repeated(), responses);
	for (int i = 0; i < 200; i++)
		exchange(world, &world->local, REQUEST_LOCAL, RESPONSE);
	assert_in_range(requests_repeated() - requests, 100, 199);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_head_that_comes_again_is_not_parsed_again, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_what_remote_servers_say_is_remembered_too, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_bodies_may_differ, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_a_head_that_only_begins_like_it_is_another_one, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_an_answer_to_head_is_none_to_get, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_routes_that_were_published_since_decide, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_what_chance_decides_is_decided_each_time, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_heads_that_all_differ_are_all_routed, open_world, close_world),
	};

	return cmocka_run_group_tests(tests, start_harness, stop_harness);
}

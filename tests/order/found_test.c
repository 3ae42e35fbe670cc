// SPDX-License-Identifier: Apache-2.0
/* What a review tried to break, one test a finding, at the moment it is for. An argument runs the tests whose names contain it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "steps.h"

#define REQUEST_DIRECT "GET / HTTP/1.1\r\nHost: direct\r\n\r\n"
#define REQUEST_NOWHERE "GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n"
#define POST_LOCAL "POST /p HTTP/1.1\r\nHost: local\r\nContent-Length: 10\r\n\r\n"

static size_t map_entries(struct harness *h, const char *name)
{
	char path[320], key[64], next[64];
	void *previous = NULL;
	size_t count = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", datapath_pins(h->dp), name);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	while (!bpf_map_get_next_key(fd, previous, next)) {
		memcpy(key, next, sizeof(key));
		previous = key;
		count++;
	}
	close(fd);
	return count;
}

static int tcp_socket(void)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return fd;
}

static struct sockaddr_in address_of(const char *ip, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

	inet_pton(AF_INET, ip, &address.sin_addr);
	return address;
}

static int bind_to(int fd, const char *ip, uint16_t port)
{
	struct sockaddr_in address = address_of(ip, port);

	return bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
}

static int connect_to(int fd, const char *ip, uint16_t port)
{
	struct pollfd connected = {.fd = fd, .events = POLLOUT};
	struct sockaddr_in address = address_of(ip, port);

	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return 0;
	return errno == EINPROGRESS && poll(&connected, 1, 1000) == 1 ? 0 : -errno;
}

static int disconnect(int fd)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	return connect(fd, &none, sizeof(none)) ? -errno : 0;
}

/* A reply that is made of the request's own buffer must not take the next request with it. */
static void test_requests_behind_a_local_reply_in_one_write_are_not_lost(void **state)
{
	static const char *const writes[] = {REQUEST_DIRECT REQUEST_LOCAL, REQUEST_NOWHERE REQUEST_LOCAL, REQUEST_LOCAL REQUEST_LOCAL};
	struct harness *h = *state;
	struct client client;

	for (size_t i = 0; i < sizeof(writes) / sizeof(*writes); i++) {
		client_open(h, &client);
		say(client.fd, writes[i]);
		assert_heard(client.anchor, writes[i]);
		assert_silent(client.fd);
		client_close(&client);
	}
}

/* The request's own buffer becomes the reply, be it longer or shorter, in one piece or in several. */
static void test_a_local_reply_fits_whatever_asked_for_it(void **state)
{
	static const char body[] = "\r\n\r\nhello";
	char request[2048], response[512];
	struct harness *h = *state;
	struct client client;

	client_open(h, &client);
	for (int padding = 0; padding <= 1600; padding += 40) {
		int len = snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: direct\r\nX-Padding: %0*d\r\n\r\n", padding, 0);
		size_t first = padding % 80 ? (size_t)len / 3 : 0;
		struct iovec pieces[2] = {{request, first}, {request + first, (size_t)len - first}};
		size_t heard;

		assert_int_equal(writev(client.fd, pieces, 2), len);
		heard = hear(client.fd, response, sizeof(response), 500);
		assert_true(heard > sizeof(body));
		assert_memory_equal(response, "HTTP/1.1 200 OK\r\n", 17);
		assert_memory_equal(response + heard - (sizeof(body) - 1), body, sizeof(body) - 1);
	}
	assert_silent(client.anchor);
	client_close(&client);
}

/* An application that binds its socket to the pod's address before it connects. */
static void test_a_bound_client_leaves_no_port_behind(void **state)
{
	struct harness *h = *state;
	struct client client = {.fd = tcp_socket()};
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	size_t before = map_entries(h, "connection_ports");

	assert_int_equal(bind_to(client.fd, POD_IP, 0), 0);
	assert_int_equal(connect_to(client.fd, SERVICE_IP, 80), 0);
	client.anchor = accept(h->listener, (struct sockaddr *)&peer, &len);
	assert_int_equal(map_entries(h, "connection_ports"), before + 1);
	client_close(&client);
	usleep(20000);
	assert_int_equal(map_entries(h, "connection_ports"), before);
}

/* A connect() that fails before it sends a SYN: here the local port is taken, with thousands of connections all are. */
static void test_a_connect_that_fails_early_leaves_no_record(void **state)
{
	struct harness *h = *state;
	int first = tcp_socket(), second = tcp_socket(), anchor;

	assert_int_equal(bind_to(first, "127.0.0.1", 5555), 0);
	assert_int_equal(bind_to(second, "127.0.0.1", 5555), 0);
	assert_int_equal(connect_to(first, SERVICE_IP, 80), 0);
	anchor = accept(h->listener, NULL, NULL);
	assert_int_equal(connect_to(second, SERVICE_IP, 80), -EADDRNOTAVAIL);
	close(second);
	close(first);
	close(anchor);
	usleep(20000);
	assert_int_equal(map_entries(h, "connections"), 0);
}

/* A socket that is bound to a device can't reach the worker's listener on the loopback: it is left alone, and not left hanging. */
static void test_a_client_bound_to_a_device_is_left_alone(void **state)
{
	struct harness *h = *state;
	int fd = tcp_socket();

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof("lo")), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	connect_to(fd, SERVICE_IP, 80);
	assert_int_equal(map_entries(h, "connections"), 0);
	close(fd);
}

/* A socket that was in the mesh is connected anew to where the mesh does not reach. */
static void test_getpeername_is_true_after_a_reconnect(void **state)
{
	struct harness *h = *state;
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	struct client client;
	int server;

	client_open(h, &client);
	assert_int_equal(disconnect(client.fd), 0);
	assert_int_equal(connect_to(client.fd, OTHER_IP, SERVER_PORT), 0);
	server = accept(h->other_listener, NULL, NULL);
	assert_int_equal(getpeername(client.fd, (struct sockaddr *)&peer, &len), 0);
	assert_int_equal(ntohs(peer.sin_port), SERVER_PORT);
	close(server);
	client_close(&client);
}

/* ... and to where it does: it keeps its cookie, and the worker's end of the former connection may not have heard yet that it is over. */
static void test_a_former_connections_commands_do_not_touch_the_later_one(void **state)
{
	struct harness *h = *state;
	struct weft_connection_command stale = {.commands = WEFT_COMMAND_PUBLISH | WEFT_COMMAND_PROXY_ONLY, .proxy_consumed = 5, .proxy_written = 6};
	struct weft_connection before, after;
	struct client client, later;

	client_open(h, &client);
	assert_int_equal(datapath_connection_get(h->dp, client.cookie, &before), 0);
	later = client;
	assert_int_equal(disconnect(client.fd), 0);
	assert_int_equal(connect_to(client.fd, SERVICE_IP, 80), 0);
	later.anchor = accept(h->listener, NULL, NULL);
	assert_int_equal(datapath_connection_get(h->dp, client.cookie, &after), 0);
	assert_true(after.captured_ns != before.captured_ns);

	stale.cookie = client.cookie;
	stale.captured_ns = before.captured_ns;
	assert_int_equal(datapath_connection_command(h->dp, &stale), 0);
	assert_int_equal(stale.answer, WEFT_ANSWER_REUSED);
	assert_int_equal(datapath_connection_get(h->dp, client.cookie, &after), 0);
	assert_int_equal(after.proxy_consumed, 0);
	assert_int_equal(after.flags, 0);
	stale.captured_ns = after.captured_ns;
	assert_int_equal(datapath_connection_command(h->dp, &stale), 0);
	assert_true(stale.answer & WEFT_ANSWER_FOUND);
	assert_int_equal(datapath_connection_get(h->dp, client.cookie, &after), 0);
	assert_int_equal(after.proxy_consumed, 5);
	close(client.anchor);
	client_close(&later);
}

/* Nor does it hear what the former one had not read: TCP throws that away, and so must whoever redirected it. */
static void test_what_was_not_read_is_gone_after_a_reconnect(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;
	int server;

	for (int i = 0; i < 4; i++) {
		bool is_remote = i & 1, goes_elsewhere = i & 2;

		client_open(h, &client);
		link_open(h, is_remote ? h->other_endpoint : h->local_endpoint, &link);
		say(client.fd, is_remote ? REQUEST_OTHER : REQUEST_LOCAL);
		assert_heard(link.server, is_remote ? REQUEST_OTHER : REQUEST_LOCAL);
		say(link.server, RESPONSE);
		usleep(10000);
		assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_IDLE);
		if (goes_elsewhere) {
			assert_int_equal(disconnect(client.fd), 0);
			assert_int_equal(connect_to(client.fd, OTHER_IP, SERVER_PORT), 0);
			server = accept(h->other_listener, NULL, NULL);
			say(server, "else");
			assert_heard(client.fd, "else");
			close(server);
		} else {
			client_connect_anew(h, &client, 80);
			assert_silent(client.fd);
			assert_carried(client.fd, is_remote ? REQUEST_OTHER : REQUEST_LOCAL, link.server, RESPONSE_TWO);
		}
		link_close(h, &link);
		client_close(&client);
	}
}

/* The head that the socket said last had another route there. */
static void test_a_connection_to_another_port_is_routed_by_that_port(void **state)
{
	struct harness *h = *state;
	uint64_t repeated = counted(h, WEFT_COUNTER_REQUESTS_REPEATED);
	struct client client;
	struct link local, other;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &local);
	link_open(h, h->other_endpoint, &other);
	for (int i = 0; i < 4; i++)
		assert_carried(client.fd, REQUEST_LOCAL, local.server, RESPONSE);
	assert_int_equal(counted(h, WEFT_COUNTER_REQUESTS_REPEATED) - repeated, 2);
	client_connect_anew(h, &client, 81);
	for (int i = 0; i < 4; i++)
		assert_carried(client.fd, REQUEST_LOCAL, other.server, RESPONSE);
	assert_int_equal(counted(h, WEFT_COUNTER_REQUESTS_REPEATED) - repeated, 5);
	link_close(h, &local);
	link_close(h, &other);
	client_close(&client);
}

/* What the server said before it was asked is no answer to the next request. */
static void test_an_upstream_that_spoke_unasked_is_not_lent(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;

	for (int remote = 0; remote < 2; remote++) {
		client_open(h, &client);
		link_open(h, remote ? h->other_endpoint : h->local_endpoint, &link);
		say(link.server, RESPONSE);
		usleep(20000);
		say(client.fd, remote ? REQUEST_OTHER : REQUEST_LOCAL);
		assert_heard(client.anchor, remote ? REQUEST_OTHER : REQUEST_LOCAL);
		assert_silent(link.server);
		link_close(h, &link);
		client_close(&client);
	}
}

static void exchange_once(struct client *client, struct link *link)
{
	assert_carried(client->fd, REQUEST_LOCAL, link->server, RESPONSE);
}

/* A connection borrows the upstream that it had before, whatever the pool's hints say; when that one is lent, any other. */
static void test_a_connection_borrows_the_same_upstream_again(void **state)
{
	struct weft_upstream *first_slot, *second_slot;
	struct link first, second;
	struct harness *h = *state;
	struct client client;
	struct weft_pool *pool;
	uint64_t word;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &second);
	link_open(h, h->local_endpoint, &first);
	first_slot = link_slot(h, &first);
	second_slot = link_slot(h, &second);
	exchange_once(&client, &first);
	pool = &datapath_pools(h->dp)[first_slot->pool];
	second_slot->pool = first_slot->pool;
	second_slot->pool_position = 1;
	pool->slots[1] = second.slot + 1;
	__atomic_store_n(&pool->idle[0], 2, __ATOMIC_SEQ_CST);
	exchange_once(&client, &first);

	word = first_slot->state;
	first_slot->state = WEFT_STATE_WORD(WEFT_LEASE(word) + 1, WEFT_UPSTREAM_LENT);
	exchange_once(&client, &second);
	first_slot->state = WEFT_STATE_WORD(WEFT_LEASE(word) + 1, WEFT_UPSTREAM_IDLE);
	link_close(h, &first);
	link_close(h, &second);
	client_close(&client);
}

/* A pool that was replaced (its endpoint has another address now) lends nothing, not even to who had it last. */
static void test_a_pool_that_was_replaced_lends_nothing(void **state)
{
	struct link before, after;
	struct harness *h = *state;
	struct client client;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &before);
	exchange_once(&client, &before);
	link_open(h, h->local_endpoint, &after);
	exchange_once(&client, &after);
	assert_silent(before.server);
	link_close(h, &before);
	link_close(h, &after);
	client_close(&client);
}

/* The proxy routes by the number that the kernel has drawn: one for each request that went up, and only once. */
static void test_what_was_drawn_goes_up_with_the_request(void **state)
{
	static const char chunked[] = "POST /p HTTP/1.1\r\nHost: local\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
	struct harness *h = *state;
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	exchange_once(&client, &link);
	assert_int_equal(command(h, &client, WEFT_COMMAND_TAKE_CHOICE, 0, 0, 0).drawn, 0);
	say(client.fd, chunked);
	assert_heard(client.anchor, chunked);
	assert_int_not_equal(command(h, &client, WEFT_COMMAND_TAKE_CHOICE, 0, 0, 0).drawn, 0);
	assert_int_equal(command(h, &client, WEFT_COMMAND_TAKE_CHOICE, 0, 0, 0).drawn, 0);
	link_close(h, &link);
	client_close(&client);
}

/* Its endpoint was chosen, and then no upstream was free: the proxy takes that endpoint, or a turn would be lost. */
static void test_what_was_picked_goes_up_with_the_request(void **state)
{
	struct harness *h = *state;
	struct weft_connection_command answer;
	struct client client;

	client_open(h, &client);
	say(client.fd, REQUEST_LOCAL);
	assert_heard(client.anchor, REQUEST_LOCAL);
	answer = command(h, &client, WEFT_COMMAND_TAKE_CHOICE, 0, 0, 0);
	assert_int_equal(answer.picked, h->local_endpoint);
	answer = command(h, &client, WEFT_COMMAND_TAKE_CHOICE, 0, 0, 0);
	assert_int_equal(answer.picked, 0);
	client_close(&client);
}

/* As in Envoy the route's time runs from the end of the request: a slow upload is no fault of the server's. */
static void test_the_deadline_runs_from_the_end_of_the_request(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, POST_LOCAL);
	assert_heard(link.server, POST_LOCAL);
	assert_int_equal(link_slot(h, &link)->deadline_ns, 0);
	say(client.fd, "0123456789");
	assert_heard(link.server, "0123456789");
	assert_true(link_slot(h, &link)->deadline_ns != 0);
	say(link.server, RESPONSE);
	assert_heard(client.fd, RESPONSE);
	link_close(h, &link);
	client_close(&client);
}

/* The worker may take a slot while a program ends its exchange: one of the two takes it off the counts. */
struct taker {
	struct weft_upstream *slot;
	struct weft_endpoint_state *endpoint;
	atomic_int round, done;
	atomic_bool stops;
	int server;
};

static void *answer(void *arg)
{
	struct taker *taker = arg;
	int seen = 0;

	while (!taker->stops) {
		if (taker->round == seen)
			continue;
		seen = taker->round;
		say(taker->server, "lo");
		taker->done = seen;
	}
	return NULL;
}

static void test_an_exchange_is_taken_off_the_counts_once(void **state)
{
	struct harness *h = *state;
	struct taker taker = {.endpoint = NULL};
	struct client client;
	pthread_t thread;
	struct link link;
	uint32_t consumed = 0;
	char buffer[256];

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	taker.slot = link_slot(h, &link);
	taker.endpoint = &datapath_endpoints(h->dp)[h->local_endpoint];
	taker.server = link.server;
	taker.endpoint->active = 0; /* other tests leave exchanges open */
	assert_int_equal(pthread_create(&thread, NULL, answer, &taker), 0);
	for (int i = 1; i <= 1500 && !taker.endpoint->active; i++) {
		uint64_t word;

		say(client.fd, REQUEST_LOCAL);
		if (recv(link.server, buffer, sizeof(buffer), MSG_DONTWAIT) <= 0) {
			/* The proof of delivery was asked too early: the request went to the proxy, which would answer it. */
			consumed += (uint32_t)recv(client.anchor, buffer, sizeof(buffer), 0);
			command(h, &client, WEFT_COMMAND_PUBLISH, consumed, 0, 0);
			continue;
		}
		say(link.server, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
		word = taker.slot->state;
		assert_int_equal(WEFT_STATE(word), WEFT_UPSTREAM_REPLYING);
		taker.round = i;
		for (volatile int wait = 0; wait < (i * 7) % 6000; wait++)
			;
		/* As upstream_cut() does it. */
		if (__atomic_compare_exchange_n(&taker.slot->state, &word, WEFT_STATE_WORD(WEFT_LEASE(word), WEFT_UPSTREAM_CLOSING), false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			__atomic_fetch_sub(&taker.endpoint->active, 1, __ATOMIC_SEQ_CST);
		while (taker.done != i)
			;
		command(h, &client, WEFT_COMMAND_END_EXCHANGE, 0, 0, WEFT_EXCHANGE(link.slot, WEFT_LEASE(taker.slot->state)));
		recv(client.fd, buffer, sizeof(buffer), MSG_DONTWAIT);
		recv(link.upstream, buffer, sizeof(buffer), MSG_DONTWAIT);
		taker.slot->is_dead = 0;
		taker.slot->state = WEFT_STATE_WORD(WEFT_LEASE(taker.slot->state), WEFT_UPSTREAM_IDLE);
		__atomic_fetch_or(&datapath_pools(h->dp)[taker.slot->pool].idle[0], 1, __ATOMIC_SEQ_CST);
	}
	taker.stops = true;
	pthread_join(thread, NULL);
	assert_int_equal((int32_t)taker.endpoint->active, 0);
	link_close(h, &link);
	client_close(&client);
}

/* The rest of a body whose exchange was taken over goes up: the proxy must be able to tell it from a request. */
static void test_the_rest_of_a_body_is_known_for_what_it_is(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, POST_LOCAL);
	assert_heard(link.server, POST_LOCAL);
	say(link.server, RESPONSE);
	assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_RELAYED);
	assert_false(command(h, &client, 0, 0, 0, 0).answer & WEFT_ANSWER_BODY_REST);
	command(h, &client, WEFT_COMMAND_END_EXCHANGE, 0, 0, WEFT_EXCHANGE(link.slot, WEFT_LEASE(link_slot(h, &link)->state)));
	say(client.fd, REQUEST_LOCAL);
	assert_heard(client.anchor, REQUEST_LOCAL);
	assert_true(command(h, &client, 0, 0, 0, 0).answer & WEFT_ANSWER_BODY_REST);
	link_close(h, &link);
	client_close(&client);

	/* A further request is no rest. */
	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, REQUEST_LOCAL);
	assert_heard(link.server, REQUEST_LOCAL);
	say(client.fd, REQUEST_LOCAL);
	assert_heard(client.anchor, REQUEST_LOCAL);
	assert_false(command(h, &client, 0, 0, 0, 0).answer & WEFT_ANSWER_BODY_REST);
	link_close(h, &link);
	client_close(&client);
}

/* Where a redirect fails after the verdict, the application is told that of a head that became shorter as many bytes are written, and goes on with the
 * rest of it. That goes up for what it is; a request behind one that was sent whole is none, also where the upstream has ended since. */
static void test_the_rest_of_a_shortened_head_is_told_from_a_request(void **state)
{
	static const char line[] = "Connection: keep-alive\r\n";
	static const struct {
		const char *said;
		size_t len;
		bool is_rest;
	} next[] = { { REQUEST_LOCAL, sizeof(REQUEST_LOCAL) - 1, false }, { "GET", 3, false }, { NULL, 200, true }, { NULL, 5, true }, { NULL, 1, true } };
	struct harness *h = *state;

	for (unsigned int i = 0; i < 4 * WEFT_ARRAY_SIZE(next); i++) {
		bool is_remote = i & 1, is_closed = i & 2;
		const char *host = is_remote ? "other" : "local";
		struct client client;
		struct link link;
		char request[200], shortened[200];
		const char *said;
		size_t len;

		client_open(h, &client);
		link_open(h, is_remote ? h->other_endpoint : h->local_endpoint, &link);
		snprintf(request, sizeof(request), "GET /a HTTP/1.1\r\n%sHost: %s\r\n\r\n", line, host);
		snprintf(shortened, sizeof(shortened), "GET /a HTTP/1.1\r\nHost: %s\r\n\r\n", host);
		say(client.fd, request);
		assert_heard(link.server, shortened);
		said = next[i / 4].said ?: request + sizeof(line) - 1;
		len = next[i / 4].len < strlen(said) ? next[i / 4].len : strlen(said);
		if (is_closed)
			link_slot(h, &link)->client_cookie = 0;
		link_slot(h, &link)->is_dead = 1;
		assert_int_equal(send(client.fd, said, len, MSG_NOSIGNAL), len);
		assert_int_equal(!!(command(h, &client, 0, 0, 0, 0).answer & WEFT_ANSWER_BODY_REST), next[i / 4].is_rest);
		link_close(h, &link);
		client_close(&client);
	}
}

/* Likewise of the last piece of a body, which nothing tells whether it has arrived: its server closes while the application writes. */
static void test_the_last_piece_of_a_body_is_known_when_it_comes_again(void **state)
{
	static const char piece[] = "GET /b HTTP/1.1\r\nHost: local\r\n\r\n";
	struct harness *h = *state;
	struct client client;
	struct link link;
	char head[128];

	for (unsigned int i = 0; i < 8; i++) {
		bool is_again = i & 1, is_closed = i & 2, is_dead = i & 4;
		const char *next = is_again ? piece : REQUEST_LOCAL;

		client_open(h, &client);
		link_open(h, h->local_endpoint, &link);
		snprintf(head, sizeof(head), "POST /p HTTP/1.1\r\nHost: local\r\nContent-Length: %zu\r\n\r\n", sizeof(piece) + 4);
		say(client.fd, head);
		say(client.fd, "first");
		say(client.fd, piece);
		hear(link.server, head, sizeof(head), 100);
		link_slot(h, &link)->is_dead = is_dead;
		if (is_closed)
			link_slot(h, &link)->client_cookie = 0;
		assert_int_equal(send(client.fd, next, strlen(next), MSG_NOSIGNAL), strlen(next));
		assert_heard(client.anchor, next);
		assert_int_equal(!!(command(h, &client, 0, 0, 0, 0).answer & WEFT_ANSWER_BODY_REST), is_again);
		assert_int_equal(link_slot(h, &link)->request_remaining, is_again && !is_closed ? strlen(next) : 0);
		link_close(h, &link);
		client_close(&client);
	}
}

/* What the server of a relayed response sees of the worker's end when it closes: a reset if some of the response was not read ... */
static void test_an_upstream_that_closes_over_unread_bytes_resets(void **state)
{
	static char body[4 << 20];
	struct harness *h = *state;
	struct client client;
	struct link link;
	char head[128];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", sizeof(body));
	for (int remote = 0; remote < 2; remote++) {
		struct pollfd server;
		ssize_t n;

		client_open(h, &client);
		link_open(h, remote ? h->other_endpoint : h->local_endpoint, &link);
		say(client.fd, remote ? REQUEST_OTHER : REQUEST_LOCAL);
		assert_heard(link.server, remote ? REQUEST_OTHER : REQUEST_LOCAL);
		say(link.server, head);
		assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_RELAYED);
		/* Until the worker's window is closed: with room in it, the next segment would be answered by a reset in any case. */
		for (int quiet = 0; quiet < 20; quiet++) {
			for (; (n = send(link.server, body, sizeof(body), MSG_NOSIGNAL | MSG_DONTWAIT)) > 0; quiet = 0)
				;
			usleep(10000);
		}
		datapath_upstream_close(link.upstream);
		link.upstream = -1;
		server = (struct pollfd){.fd = link.server};
		assert_int_equal(poll(&server, 1, 1000), 1);
		assert_true(server.revents & POLLERR);
		assert_int_equal(recv(link.server, head, 1, MSG_DONTWAIT) < 0 ? errno : 0, ECONNRESET);
		link_close(h, &link);
		client_close(&client);
	}
}

/* ... and else a FIN, which leaves the server what it has not read yet. */
static void test_an_upstream_that_closes_with_nothing_unread_ends_in_order(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->other_endpoint, &link);
	say(client.fd, REQUEST_OTHER);
	usleep(20000);
	datapath_upstream_close(link.upstream);
	link.upstream = -1;
	assert_heard(link.server, REQUEST_OTHER);
	assert_int_equal(recv(link.server, (char[1]){}, 1, 0), 0);
	link_close(h, &link);
	client_close(&client);
}

static void count_miss(void *arg, const struct weft_event *event)
{
	*(unsigned *)arg += event->kind == WEFT_EVENT_POOL_MISS;
}

/* With all pools in use no further one can be made: requests for it must not fill the ring buffer. */
static void test_a_missing_pool_is_not_told_at_every_request(void **state)
{
	struct harness *h = *state;
	struct client clients[20];
	unsigned misses = 0;

	for (int i = 0; i < 20; i++)
		client_open(h, &clients[i]);
	for (int round = 0; round < 2; round++) {
		usleep(150000);
		datapath_events_drain(h->dp, count_miss, &misses);
		misses = 0;
		for (int i = 0; i < 10; i++)
			say(clients[10 * round + i].fd, REQUEST_LOCAL);
		datapath_events_drain(h->dp, count_miss, &misses);
		assert_in_range(misses, 1, 3);
		for (int i = 0; i < 10; i++)
			assert_heard(clients[10 * round + i].anchor, REQUEST_LOCAL);
	}
	for (int i = 0; i < 20; i++)
		client_close(&clients[i]);
}

static void count_record(void *arg, uint64_t cookie, const struct weft_connection *connection)
{
	unsigned **counts = arg;

	(*counts[0])++;
	*counts[1] += connection->exchange != 0;
}

/* The next worker looks through all records for exchanges that went with the former one. */
static void test_every_record_is_visited(void **state)
{
	struct harness *h = *state;
	struct client clients[20];
	unsigned visited = 0, open = 0;
	struct link link;

	for (int i = 0; i < 20; i++)
		client_open(h, &clients[i]);
	link_open(h, h->local_endpoint, &link);
	say(clients[7].fd, REQUEST_LOCAL);
	assert_heard(link.server, REQUEST_LOCAL);
	assert_int_equal(datapath_connections_each(h->dp, count_record, (unsigned *[]){&visited, &open}), 0);
	assert_int_equal(visited, 20);
	assert_int_equal(open, 1);
	link_close(h, &link);
	for (int i = 0; i < 20; i++)
		client_close(&clients[i]);
	usleep(20000);
	visited = 0;
	assert_int_equal(datapath_connections_each(h->dp, count_record, (unsigned *[]){&visited, &open}), 0);
	assert_int_equal(visited, 0);
}

/* A pod leaves the mesh while its connections are open: what they hold in the maps goes with them. */
static void test_a_pod_that_leaves_takes_its_records_along(void **state)
{
	struct harness *h = *state;
	struct client client;

	client_open(h, &client);
	assert_int_equal(datapath_pod_remove(h->dp, 1, h->netns_cookie), 0);
	usleep(200000); /* the links go a little after their pins */
	client_close(&client);
	usleep(20000);
	assert_int_equal(map_entries(h, "connections"), 0);
	assert_int_equal(map_entries(h, "connection_ports"), 0);
}

/* Where heads in pieces wait in the kernel, what they waited for must not outlast them: the body is shorter than the head's first piece. */
static void test_a_write_behind_a_head_in_pieces_is_not_kept(void **state)
{
	struct harness *h = *state;
	struct client client;

	client_open(h, &client);
	say(client.fd, "POST /p HTTP/1.1\r\nHost: local\r\nContent-Le");
	say(client.fd, "ngth: 10\r\n\r\n");
	assert_heard(client.anchor, POST_LOCAL);
	say(client.fd, "0123456789");
	assert_heard(client.anchor, "0123456789");
	client_close(&client);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_behind_a_local_reply_in_one_write_are_not_lost),
		cmocka_unit_test(test_a_local_reply_fits_whatever_asked_for_it),
		cmocka_unit_test(test_a_bound_client_leaves_no_port_behind),
		cmocka_unit_test(test_a_connect_that_fails_early_leaves_no_record),
		cmocka_unit_test(test_a_client_bound_to_a_device_is_left_alone),
		cmocka_unit_test(test_getpeername_is_true_after_a_reconnect),
		cmocka_unit_test(test_a_former_connections_commands_do_not_touch_the_later_one),
		cmocka_unit_test(test_what_was_not_read_is_gone_after_a_reconnect),
		cmocka_unit_test(test_a_connection_to_another_port_is_routed_by_that_port),
		cmocka_unit_test(test_an_upstream_that_spoke_unasked_is_not_lent),
		cmocka_unit_test(test_the_deadline_runs_from_the_end_of_the_request),
		cmocka_unit_test(test_a_connection_borrows_the_same_upstream_again),
		cmocka_unit_test(test_a_pool_that_was_replaced_lends_nothing),
		cmocka_unit_test(test_what_was_drawn_goes_up_with_the_request),
		cmocka_unit_test(test_what_was_picked_goes_up_with_the_request),
		cmocka_unit_test(test_an_exchange_is_taken_off_the_counts_once),
		cmocka_unit_test(test_the_rest_of_a_body_is_known_for_what_it_is),
		cmocka_unit_test(test_the_rest_of_a_shortened_head_is_told_from_a_request),
		cmocka_unit_test(test_the_last_piece_of_a_body_is_known_when_it_comes_again),
		cmocka_unit_test(test_an_upstream_that_closes_over_unread_bytes_resets),
		cmocka_unit_test(test_an_upstream_that_closes_with_nothing_unread_ends_in_order),
		cmocka_unit_test(test_a_missing_pool_is_not_told_at_every_request),
		cmocka_unit_test(test_every_record_is_visited),
		cmocka_unit_test(test_a_write_behind_a_head_in_pieces_is_not_kept),
		cmocka_unit_test(test_a_pod_that_leaves_takes_its_records_along),
	};

	if (argc > 1) {
		char pattern[128];

		snprintf(pattern, sizeof(pattern), "*%s*", argv[1]);
		cmocka_set_test_filter(pattern);
	}
	return cmocka_run_group_tests(tests, start_harness, stop_harness);
}

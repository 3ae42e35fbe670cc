// SPDX-License-Identifier: Apache-2.0
/* The rules that keep the order of bytes right, each at the moment it is for. Every test here that names a guard fails when the programs
 * are built without it: `make order-guards` shows that. An argument runs the tests whose names contain it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocking.h"
#include "steps.h"

static void test_bypass_carries_a_whole_exchange_between_local_sockets(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	assert_true(link_slot(h, &link)->server_cookie != 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(say(client.fd, REQUEST_LOCAL), (int)strlen(REQUEST_LOCAL));
		assert_heard(link.server, REQUEST_LOCAL);
		say(link.server, RESPONSE);
		assert_heard(client.fd, RESPONSE);
		assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_IDLE);
	}
	assert_silent(client.anchor);
	assert_silent(link.upstream);
	assert_true(counted(h, WEFT_COUNTER_PATHS_OVER + WEFT_PATH_BYPASS) >= 3);
	link_close(h, &link);
	client_close(&client);
}

static void test_remote_sends_on_the_upstream_and_hears_from_it(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->other_endpoint, &link);
	for (int i = 0; i < 3; i++) {
		assert_carried(client.fd, REQUEST_OTHER, link.server, RESPONSE);
		assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_IDLE);
	}
	assert_silent(client.anchor);
	assert_true(counted(h, WEFT_COUNTER_PATHS_OVER + WEFT_PATH_REMOTE) >= 3);
	link_close(h, &link);
	client_close(&client);
}

static void test_a_body_written_apart_follows_its_head(void **state)
{
	struct harness *h = *state;
	const char *head = "POST /p HTTP/1.1\r\nHost: local\r\nContent-Length: 10\r\n\r\n";
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, head);
	assert_heard(link.server, head);
	say(client.fd, "01234");
	assert_heard(link.server, "01234");
	say(client.fd, "56789");
	assert_heard(link.server, "56789");
	say(link.server, RESPONSE);
	assert_heard(client.fd, RESPONSE);
	assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_IDLE);
	link_close(h, &link);
	client_close(&client);
}

static void test_a_direct_response_is_turned_round_to_the_client(void **state)
{
	struct harness *h = *state;
	struct datapath_feature_state features[FEATURE_COUNT];
	char buffer[1024];
	struct client client;

	datapath_features(h->dp, features);
	client_open(h, &client);
	say(client.fd, "GET / HTTP/1.1\r\nHost: direct\r\n\r\n");
	if (features[FEATURE_PUSH_POP].is_on) {
		assert_true(hear(client.fd, buffer, sizeof(buffer), 1000) > 0);
		assert_non_null(strstr(buffer, "HTTP/1.1 200 OK\r\n"));
		assert_non_null(strstr(buffer, "\r\ndate: Sun, 22 Nov 2026"));
		assert_non_null(strstr(buffer, "\r\n\r\nhello"));
		assert_silent(client.anchor);
	} else {
		assert_true(hear(client.anchor, buffer, sizeof(buffer), 1000) > 0);
	}
	client_close(&client);
}

/* Guard WEFT_WITHOUT_DRAINED: a redirected response would overtake the TCP bytes that the client has not read. */
static void test_guard_drained_unread_bytes_keep_the_next_request_from_the_kernel(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;
	char buffer[1024];

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	/* The proxy serves one exchange, wholly published ... */
	say(client.fd, REQUEST_STREAM);
	assert_heard(client.anchor, REQUEST_STREAM);
	command(h, &client, WEFT_COMMAND_PUBLISH, strlen(REQUEST_STREAM), strlen(RESPONSE), 0);
	say(client.anchor, RESPONSE);
	usleep(20000);
	/* ... but the client sends its next request before it reads the answer. */
	say(client.fd, REQUEST_LOCAL);
	assert_silent(link.server);
	assert_true(hear(client.anchor, buffer, sizeof(buffer), 500) > 0);
	say(client.anchor, RESPONSE_TWO);
	assert_heard(client.fd, RESPONSE RESPONSE_TWO);
	link_close(h, &link);
	client_close(&client);
}

/* Guard WEFT_WITHOUT_DRAINED: a response that the client does not wait for with empty hands is the worker's to relay. */
static void test_guard_drained_a_response_never_overtakes_unread_bytes(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, REQUEST_LOCAL);
	assert_heard(link.server, REQUEST_LOCAL);
	/* An interim answer by TCP, as the worker writes when it relays, is unread when the final one comes. */
	say(client.anchor, "HTTP/1.1 103 Early Hints\r\n\r\n");
	usleep(20000);
	say(link.server, RESPONSE);
	assert_heard(link.upstream, RESPONSE);
	assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_RELAYED);
	assert_int_equal(link_slot(h, &link)->passed_reason, WEFT_REASON_RESPONSE_CLIENT_NOT_DRAINED);
	link_close(h, &link);
	client_close(&client);
}

/* Guard WEFT_WITHOUT_HANDOVER: while the proxy owes an answer, the kernel takes nothing. */
static void test_guard_handover_the_kernel_waits_until_the_proxy_has_published(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;
	char buffer[1024];

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, REQUEST_STREAM);
	assert_heard(client.anchor, REQUEST_STREAM);
	/* Pipelined behind a request that is with the proxy. */
	say(client.fd, REQUEST_LOCAL);
	assert_silent(link.server);
	assert_true(hear(client.anchor, buffer, sizeof(buffer), 500) > 0);
	assert_string_equal(buffer, REQUEST_LOCAL);

	/* Both answered and published: the connection is the kernel's again. */
	command(h, &client, WEFT_COMMAND_PUBLISH, strlen(REQUEST_STREAM REQUEST_LOCAL), strlen(RESPONSE RESPONSE), 0);
	say(client.anchor, RESPONSE RESPONSE);
	assert_heard(client.fd, RESPONSE RESPONSE);
	assert_carried(client.fd, REQUEST_LOCAL, link.server, RESPONSE_TWO);
	link_close(h, &link);
	client_close(&client);
}

static void test_pipelining_stays_with_the_proxy_for_good(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, REQUEST_LOCAL);
	assert_heard(link.server, REQUEST_LOCAL);
	say(client.fd, REQUEST_LOCAL);
	assert_heard(client.anchor, REQUEST_LOCAL);
	assert_silent(link.server);
	/* The proxy asks to be told when the kernel's exchange is over. */
	assert_true(command(h, &client, WEFT_COMMAND_WAIT, 0, 0, 0).answer & WEFT_ANSWER_EXCHANGE_OPEN);
	say(link.server, RESPONSE);
	assert_heard(client.fd, RESPONSE);
	assert_false(command(h, &client, WEFT_COMMAND_WAIT, 0, 0, 0).answer & WEFT_ANSWER_EXCHANGE_OPEN);
	say(client.anchor, RESPONSE_TWO);
	command(h, &client, WEFT_COMMAND_PUBLISH, strlen(REQUEST_LOCAL), strlen(RESPONSE_TWO), 0);
	assert_heard(client.fd, RESPONSE_TWO);
	say(client.fd, REQUEST_LOCAL);
	assert_heard(client.anchor, REQUEST_LOCAL);
	link_close(h, &link);
	client_close(&client);
}

static void test_the_end_of_a_body_and_the_next_request_in_one_write_part_ways(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;
	char head[128];

	for (int remote = 0; remote < 2; remote++) {
		snprintf(head, sizeof(head), "POST /p HTTP/1.1\r\nHost: %s\r\nContent-Length: 10\r\n\r\n", remote ? "other" : "local");
		client_open(h, &client);
		link_open(h, remote ? h->other_endpoint : h->local_endpoint, &link);
		say(client.fd, head);
		assert_heard(link.server, head);
		say(client.fd, "01234");
		assert_heard(link.server, "01234");
		say(client.fd, "56789" REQUEST_LOCAL REQUEST_OTHER);
		assert_heard(link.server, "56789");
		assert_heard(client.anchor, REQUEST_LOCAL REQUEST_OTHER);
		say(client.fd, REQUEST_STREAM REQUEST_STREAM);
		assert_heard(client.anchor, REQUEST_STREAM REQUEST_STREAM);
		assert_silent(link.server);
		say(link.server, RESPONSE);
		assert_heard(client.fd, RESPONSE);
		link_close(h, &link);
		client_close(&client);
	}
}

static void test_two_requests_in_one_write_are_the_proxys(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, REQUEST_LOCAL REQUEST_LOCAL);
	assert_heard(client.anchor, REQUEST_LOCAL REQUEST_LOCAL);
	assert_silent(link.server);
	link_close(h, &link);
	client_close(&client);
}

/* Guard WEFT_WITHOUT_COMPLETENESS: a response before the request has ended is the worker's, and the upstream is not lent again. */
static void test_guard_completeness_an_early_response_is_relayed(void **state)
{
	struct harness *h = *state;
	const char *head = "POST /p HTTP/1.1\r\nHost: local\r\nContent-Length: 10\r\n\r\n";
	struct client client;
	struct link link;
	uint64_t word;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, head);
	assert_heard(link.server, head);
	say(link.server, RESPONSE);
	assert_heard(link.upstream, RESPONSE);
	assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_RELAYED);
	/* The server may wait for the rest before it ends its answer; once that is over, what comes goes up. */
	say(client.fd, "01234");
	assert_heard(link.server, "01234");
	assert_silent(client.anchor);
	word = link_slot(h, &link)->state;
	command(h, &client, WEFT_COMMAND_END_EXCHANGE, 0, 0, WEFT_EXCHANGE(link.slot, WEFT_LEASE(word)));
	say(client.fd, "56789");
	assert_heard(client.anchor, "56789");
	assert_silent(link.server);
	link_close(h, &link);
	client_close(&client);
}

/* A page that is not there until hold_release(): who copies from it in a send call waits, with the lock of its socket, and sends nothing in
 * the end. */
struct hold {
	int uffd;
	char *page;
};

static void hold_prepare(struct hold *hold)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	hold->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(hold->page != MAP_FAILED);
	range.range.start = (uintptr_t)hold->page;
	range.range.len = 4096;
	hold->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	assert_true(hold->uffd >= 0);
	assert_int_equal(ioctl(hold->uffd, UFFDIO_API, &api), 0);
	assert_int_equal(ioctl(hold->uffd, UFFDIO_REGISTER, &range), 0);
}

static void hold_wait(struct hold *hold)
{
	struct pollfd fault = {.fd = hold->uffd, .events = POLLIN};

	assert_int_equal(poll(&fault, 1, 2000), 1);
	assert_int_equal(fault.revents, POLLIN);
}

static void hold_release(struct hold *hold)
{
	munmap(hold->page, 4096);
	close(hold->uffd);
}

struct sending {
	int fd;
	const char *bytes;
	size_t len;
	pthread_t thread;
};

static void *send_all(void *arg)
{
	struct sending *sending = arg;

	send(sending->fd, sending->bytes, sending->len, MSG_NOSIGNAL);
	return NULL;
}

static void sending_start(struct sending *sending, int fd, const char *bytes, size_t len)
{
	*sending = (struct sending){.fd = fd, .bytes = bytes, .len = len};
	assert_int_equal(pthread_create(&sending->thread, NULL, send_all, sending), 0);
}

/* As the worker gives an upstream back after a relay. */
static void give_back(struct harness *h, const struct client *client, const struct link *link)
{
	struct weft_upstream *slot = link_slot(h, link);
	uint32_t lease = WEFT_LEASE(slot->state);

	command(h, client, WEFT_COMMAND_END_EXCHANGE, 0, 0, WEFT_EXCHANGE(link->slot, lease));
	slot->state = WEFT_STATE_WORD(lease, WEFT_UPSTREAM_IDLE);
	__atomic_fetch_or(&datapath_pools(h->dp)[slot->pool].idle[0], 1, __ATOMIC_SEQ_CST);
}

/* Guard WEFT_WITHOUT_ARRIVED: a verdict comes before the bytes move. A server that answered early is busy in a send call when the end of the
 * body comes: the body waits for the server's lock, and must not be overtaken by the next request on this upstream. */
static void test_guard_arrived_no_request_overtakes_the_end_of_a_body(void **state)
{
	struct harness *h = *state;
	const char *head = "POST /p HTTP/1.1\r\nHost: local\r\nContent-Length: 10\r\n\r\n";
	struct client client, next;
	struct sending reply, body, request;
	struct hold hold;
	struct link link;
	char buffer[1024] = "";

	client_open(h, &client);
	client_open(h, &next);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, head);
	assert_heard(link.server, head);
	say(link.server, RESPONSE);
	assert_heard(link.upstream, RESPONSE);
	hold_prepare(&hold);
	sending_start(&reply, link.server, hold.page, 1);
	hold_wait(&hold);
	sending_start(&body, client.fd, "0123456789", 10);
	for (int tries = 0; link_slot(h, &link)->request_remaining && tries < 1000; tries++)
		usleep(1000);
	assert_int_equal(link_slot(h, &link)->request_remaining, 0);
	usleep(20000);
	give_back(h, &client, &link);
	sending_start(&request, next.fd, REQUEST_LOCAL, strlen(REQUEST_LOCAL));
	hear(next.anchor, buffer, sizeof(buffer), 500);
	hold_release(&hold);
	pthread_join(reply.thread, NULL);
	pthread_join(body.thread, NULL);
	pthread_join(request.thread, NULL);
	assert_string_equal(buffer, REQUEST_LOCAL);
	assert_heard(link.server, "0123456789");
	assert_true(reason(h, WEFT_REASON_SERVER_NOT_DELIVERED) > 0);
	/* Now it may. */
	give_back(h, &client, &link);
	client_close(&next);
	client_open(h, &next);
	say(next.fd, REQUEST_LOCAL);
	assert_heard(link.server, REQUEST_LOCAL);
	link_close(h, &link);
	client_close(&next);
	client_close(&client);
}

/* Guard WEFT_WITHOUT_ARRIVED: a non-blocking client's write of a body was cut short, its server has answered, and the rest never comes. */
static void test_guard_arrived_no_request_follows_half_a_body(void **state)
{
	static char body[1 << 20];
	struct harness *h = *state;
	int small = 4096, rcvbuf = 4096;
	struct client client, next;
	struct link link;
	char head[128];
	ssize_t sent;

	client_open(h, &client);
	client_open(h, &next);
	link_open(h, h->other_endpoint, &link);
	snprintf(head, sizeof(head), "POST /p HTTP/1.1\r\nHost: other\r\nContent-Length: %zu\r\n\r\n", sizeof(body));
	say(client.fd, head);
	assert_heard(link.server, head);
	setsockopt(link.server, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	setsockopt(link.upstream, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	sent = send(client.fd, body, sizeof(body), MSG_NOSIGNAL | MSG_DONTWAIT);
	assert_in_range(sent, 1, sizeof(body) - 1);
	/* What is open is what has not gone out, whatever the program had sent ... */
	link_slot(h, &link)->request_remaining = 0;
	assert_true(command(h, &client, 0, 0, 0, 0).answer & WEFT_ANSWER_REQUEST_OPEN);
	/* ... and the worker has it counted when the upstream has failed: until the proxy ends the exchange, its slot may be another one's ... */
	command(h, &client, WEFT_COMMAND_COUNT_OWED, 0, 0, WEFT_EXCHANGE(link.slot, WEFT_LEASE(link_slot(h, &link)->state)));
	assert_int_equal(link_slot(h, &link)->request_remaining, sizeof(body) - (size_t)sent);
	assert_int_equal(command(h, &client, 0, 0, 0, 0).answer & (WEFT_ANSWER_BODY_REST | WEFT_ANSWER_EXCHANGE_OPEN),
			 WEFT_ANSWER_BODY_REST | WEFT_ANSWER_EXCHANGE_OPEN);
	say(link.server, RESPONSE);
	assert_heard(link.upstream, RESPONSE);
	/* ... the one that ends it sees it, and so does whoever brings the rest to the proxy ... */
	command(h, &client, WEFT_COMMAND_END_EXCHANGE, 0, 0, WEFT_EXCHANGE(link.slot, WEFT_LEASE(link_slot(h, &link)->state)));
	assert_int_equal(link_slot(h, &link)->request_remaining, sizeof(body) - (size_t)sent);
	assert_true(command(h, &client, 0, 0, 0, 0).answer & WEFT_ANSWER_BODY_REST);
	/* ... and if the client was gone before the worker could ask, the program does. */
	give_back(h, &client, &link);
	setsockopt(link.upstream, SOL_SOCKET, SO_SNDBUFFORCE, &(int){8 << 20}, sizeof(int));
	say(next.fd, REQUEST_OTHER);
	assert_heard(next.anchor, REQUEST_OTHER);
	assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_DEAD);
	link_close(h, &link);
	client_close(&next);
	client_close(&client);
}

static void test_an_interim_response_does_not_end_the_request(void **state)
{
	struct harness *h = *state;
	const char *head = "POST /p HTTP/1.1\r\nHost: local\r\nContent-Length: 10\r\n\r\n", *hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, head);
	assert_heard(link.server, head);
	say(link.server, hints);
	assert_heard(link.upstream, hints);
	assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_RELAYED);
	say(client.fd, "0123456789");
	assert_heard(link.server, "0123456789");
	assert_silent(client.anchor);
	say(link.server, RESPONSE);
	assert_heard(link.upstream, RESPONSE);
	link_close(h, &link);
	client_close(&client);
}

/* Guard WEFT_WITHOUT_DEAD_SLOTS: a write on an upstream that was reset gives the application ECONNRESET. */
static void test_guard_dead_slots_a_reset_upstream_is_never_lent(void **state)
{
	struct harness *h = *state;
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->other_endpoint, &link);
	setsockopt(link.server, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(link.server);
	link.server = -1;
	usleep(20000);
	for (int i = 0; i < 2; i++)
		assert_int_equal(say(client.fd, REQUEST_OTHER), (int)strlen(REQUEST_OTHER));
	assert_heard(client.anchor, REQUEST_OTHER REQUEST_OTHER);
	assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_DEAD);
	link_close(h, &link);
	client_close(&client);
}

/* Guard WEFT_WITHOUT_ABANDONED: a socket that is connected anew keeps its cookie, and would hear the end of what its last connection asked for. */
static void test_guard_abandoned_a_later_connection_hears_nothing_of_a_former_one(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
	struct harness *h = *state;
	const uint32_t endpoints[] = {h->local_endpoint, h->other_endpoint};
	static const char *const requests[] = {REQUEST_LOCAL, REQUEST_OTHER};
	struct client client;
	struct link link;

	for (int i = 0; i < 2; i++) {
		client_open(h, &client);
		link_open(h, endpoints[i], &link);
		assert_carried(client.fd, requests[i], link.server, head);
		assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_REPLYING);
		client_connect_anew(h, &client, 80);
		assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_RELAYED);
		say(link.server, "world");
		assert_heard(link.upstream, "world");
		assert_silent(client.fd);
		say(client.fd, requests[i]);
		assert_heard(client.anchor, requests[i]);
		link_close(h, &link);
		client_close(&client);
	}
}

/* Guard WEFT_WITHOUT_SEND_ROOM: beyond the free send buffer a non-blocking client would wait for an EPOLLOUT that never comes. */
static void test_guard_send_room_what_does_not_fit_goes_to_the_proxy(void **state)
{
	struct harness *h = *state;
	char head[128];
	struct client client;
	struct link link;
	int small = 4096, rcvbuf = 4096;

	client_open(h, &client);
	link_open(h, h->other_endpoint, &link);
	setsockopt(link.server, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	setsockopt(link.upstream, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	snprintf(head, sizeof(head), "POST /p HTTP/1.1\r\nHost: other\r\nContent-Length: %d\r\n\r\n", 1 << 20);
	say(client.fd, head);
	assert_heard(client.anchor, head);
	assert_silent(link.server);
	assert_true(reason(h, WEFT_REASON_UPSTREAM_FULL) > 0);
	link_close(h, &link);
	client_close(&client);
}

/* Guard WEFT_WITHOUT_NETNS_CHECK: a server counts as ours only in the network namespace of the pod that owns the address. */
static void test_guard_netns_check_a_server_on_a_foreign_address_is_remote(void **state)
{
	struct harness *h = *state;
	struct link link;

	link_open(h, h->other_endpoint, &link);
	assert_int_equal(link_slot(h, &link)->server_cookie, 0);
	assert_true(counted(h, WEFT_COUNTER_FORGED_SERVERS) > 0);
	link_close(h, &link);
}

/* Guard WEFT_WITHOUT_REDIRECT_LIMIT: a reader that stops would pin all of it, since nothing slows who redirects to it. */
static void test_guard_redirect_limit_a_large_response_is_relayed_from_its_first_byte(void **state)
{
	struct harness *h = *state;
	char head[128];
	struct client client;
	struct link link;

	for (int remote = 0; remote < 2; remote++) {
		client_open(h, &client);
		link_open(h, remote ? h->other_endpoint : h->local_endpoint, &link);
		say(client.fd, remote ? REQUEST_OTHER : REQUEST_LOCAL);
		assert_heard(link.server, remote ? REQUEST_OTHER : REQUEST_LOCAL);
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 64 << 20);
		say(link.server, head);
		assert_heard(link.upstream, head);
		say(link.server, "more");
		assert_heard(link.upstream, "more");
		assert_silent(client.fd);
		assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_RELAYED);
		link_close(h, &link);
		client_close(&client);
	}
}

static void test_relayed_exchange_hands_the_connection_back(void **state)
{
	struct harness *h = *state;
	const char *chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct weft_connection_command answer;
	struct weft_upstream *slot;
	struct client client;
	struct link link;
	uint64_t word;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	slot = link_slot(h, &link);
	say(client.fd, REQUEST_LOCAL);
	assert_heard(link.server, REQUEST_LOCAL);
	say(link.server, chunked);
	assert_heard(link.upstream, chunked);
	word = slot->state;
	assert_int_equal(WEFT_STATE(word), WEFT_UPSTREAM_RELAYED);
	answer = command(h, &client, WEFT_COMMAND_PUBLISH | WEFT_COMMAND_END_EXCHANGE, 0, strlen(RESPONSE),
			 WEFT_EXCHANGE(link.slot, WEFT_LEASE(word)));
	assert_false(answer.answer & WEFT_ANSWER_EXCHANGE_OPEN);
	say(client.anchor, RESPONSE);
	slot->state = WEFT_STATE_WORD(WEFT_LEASE(word), WEFT_UPSTREAM_IDLE);
	__atomic_fetch_or(&datapath_pools(h->dp)[slot->pool].idle[0], 1, __ATOMIC_SEQ_CST);
	assert_heard(client.fd, RESPONSE);
	assert_carried(client.fd, REQUEST_LOCAL, link.server, RESPONSE_TWO);
	link_close(h, &link);
	client_close(&client);
}

static void test_fionread_counts_on_client_and_server(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;
	int waiting = 0;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.anchor, RESPONSE);
	usleep(20000);
	assert_int_equal(ioctl(client.fd, FIONREAD, &waiting), 0);
	assert_int_equal(waiting, (int)strlen(RESPONSE));
	say(link.upstream, REQUEST_LOCAL);
	usleep(20000);
	assert_int_equal(ioctl(link.server, FIONREAD, &waiting), 0);
	assert_int_equal(waiting, (int)strlen(REQUEST_LOCAL));
	link_close(h, &link);
	client_close(&client);
}

static void test_records_go_with_their_sockets(void **state)
{
	struct harness *h = *state;
	struct weft_connection connection;
	struct client client;

	client_open(h, &client);
	assert_int_equal(datapath_connection_get(h->dp, client.cookie, &connection), 0);
	client_close(&client);
	usleep(20000);
	assert_int_equal(datapath_connection_get(h->dp, client.cookie, &connection), -ENOENT);
	assert_int_equal(datapath_connection_count(h->dp), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bypass_carries_a_whole_exchange_between_local_sockets),
		cmocka_unit_test(test_remote_sends_on_the_upstream_and_hears_from_it),
		cmocka_unit_test(test_a_body_written_apart_follows_its_head),
		cmocka_unit_test(test_a_direct_response_is_turned_round_to_the_client),
		cmocka_unit_test(test_guard_drained_unread_bytes_keep_the_next_request_from_the_kernel),
		cmocka_unit_test(test_guard_drained_a_response_never_overtakes_unread_bytes),
		cmocka_unit_test(test_guard_handover_the_kernel_waits_until_the_proxy_has_published),
		cmocka_unit_test(test_pipelining_stays_with_the_proxy_for_good),
		cmocka_unit_test(test_the_end_of_a_body_and_the_next_request_in_one_write_part_ways),
		cmocka_unit_test(test_two_requests_in_one_write_are_the_proxys),
		cmocka_unit_test(test_guard_completeness_an_early_response_is_relayed),
		cmocka_unit_test(test_guard_arrived_no_request_overtakes_the_end_of_a_body),
		cmocka_unit_test(test_guard_arrived_no_request_follows_half_a_body),
		cmocka_unit_test(test_an_interim_response_does_not_end_the_request),
		cmocka_unit_test(test_guard_dead_slots_a_reset_upstream_is_never_lent),
		cmocka_unit_test(test_guard_abandoned_a_later_connection_hears_nothing_of_a_former_one),
		cmocka_unit_test(test_guard_send_room_what_does_not_fit_goes_to_the_proxy),
		cmocka_unit_test(test_guard_netns_check_a_server_on_a_foreign_address_is_remote),
		cmocka_unit_test(test_guard_redirect_limit_a_large_response_is_relayed_from_its_first_byte),
		cmocka_unit_test(test_relayed_exchange_hands_the_connection_back),
		cmocka_unit_test(test_guard_blocking_a_client_that_sleeps_in_its_reads_is_the_proxys),
		cmocka_unit_test(test_guard_blocking_a_client_that_begins_to_sleep_leaves),
		cmocka_unit_test(test_guard_blocking_a_server_that_sleeps_is_served_by_tcp),
		cmocka_unit_test(test_a_sleeping_read_gets_what_the_proxy_writes),
		cmocka_unit_test(test_fionread_counts_on_client_and_server),
		cmocka_unit_test(test_records_go_with_their_sockets),
	};

	if (argc > 1) {
		char pattern[128];

		snprintf(pattern, sizeof(pattern), "*%s*", argv[1]);
		cmocka_set_test_filter(pattern);
	}
	return cmocka_run_group_tests(tests, start_harness, stop_harness);
}

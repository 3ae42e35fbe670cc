// SPDX-License-Identifier: Apache-2.0
/* What becomes of half a message, where memory was not as it had seemed: these programs don't ask first (bpf/memory.h). Memory ends in the middle: the
 * kernel moves what there is room for and asks the program about the rest, when its verdict has said that all of it is on its way. Sockets of one end are
 * made in a control group whose memory is limited. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "steps.h"

#define BODY 200000
#define ROOM "65536" /* more than one piece, and less than all */

struct limited {
	char of[128], group[160], rest[160], limit[64];
};

static bool put(const char *folder, const char *name, const char *text)
{
	char path[300];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text);
}

/* Of version 1 (a limit for sockets alone), or else below that of the programs, where no process may then be. */
static void limited_open(const struct harness *h, struct limited *limited)
{
	snprintf(limited->of, sizeof(limited->of), "/sys/fs/cgroup/memory");
	snprintf(limited->group, sizeof(limited->group), "%s/weft-order-%d", limited->of, getpid());
	snprintf(limited->limit, sizeof(limited->limit), "memory.kmem.tcp.limit_in_bytes");
	limited->rest[0] = 0;
	rmdir(limited->group); /* of a test that failed */
	if (!mkdir(limited->group, 0755) && put(limited->group, limited->limit, ROOM))
		return;
	rmdir(limited->group);
	snprintf(limited->of, sizeof(limited->of), "%.120s", h->cgroup);
	snprintf(limited->group, sizeof(limited->group), "%s/limited", limited->of);
	snprintf(limited->rest, sizeof(limited->rest), "%s/rest", limited->of);
	snprintf(limited->limit, sizeof(limited->limit), "memory.max");
	assert_int_equal(mkdir(limited->group, 0755), 0);
	assert_int_equal(mkdir(limited->rest, 0755), 0);
	assert_true(put(limited->rest, "cgroup.procs", "0"));
	*strrchr(limited->of, '/') = 0;
	assert_true(put(limited->of, "cgroup.subtree_control", "+memory"));
	snprintf(limited->of, sizeof(limited->of), "%.120s", h->cgroup);
	assert_true(put(limited->of, "cgroup.subtree_control", "+memory"));
}

static void limited_enter(const struct limited *limited)
{
	assert_true(put(limited->group, "cgroup.procs", "0"));
}

static void limited_leave(const struct limited *limited)
{
	assert_true(put(*limited->rest ? limited->rest : limited->of, "cgroup.procs", "0"));
	assert_true(put(limited->group, limited->limit, ROOM));
}

static void limited_close(const struct limited *limited)
{
	rmdir(limited->group);
	if (!*limited->rest)
		return;
	put(limited->of, "cgroup.subtree_control", "-memory");
	put(limited->of, "cgroup.procs", "0");
	rmdir(limited->rest);
}

static size_t hear_all(int fd)
{
	static char buffer[2 * BODY];

	return hear(fd, buffer, sizeof(buffer), 200);
}

/* What the server has not got is no request. */
static void test_the_rest_of_a_request_without_memory_is_no_request(void **state)
{
	static char request[BODY + 200];
	struct harness *h = *state;
	struct limited limited;
	struct client client;
	struct link link;
	size_t len, heard;
	ssize_t n;

	limited_open(h, &limited);
	client_open(h, &client);
	limited_enter(&limited);
	link_open(h, h->local_endpoint, &link);
	limited_leave(&limited);
	len = (size_t)snprintf(request, sizeof(request), "POST /p HTTP/1.1\r\nHost: local\r\nContent-Length: %d\r\n\r\n", BODY);
	memset(request + len, 'x', BODY);
	len += BODY;
	n = send(client.fd, request, len, MSG_NOSIGNAL);
	heard = hear_all(link.server);
	assert_in_range(heard, 1, len - 1);
	assert_in_range(n, heard, len);
	assert_true(command(h, &client, 0, 0, 0, 0).answer & WEFT_ANSWER_BODY_REST);
	/* The worker is told, and what it tells the client is that its request was not whole. */
	assert_true(link_slot(h, &link)->is_dead);
	assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_LENT);
	assert_true(link_slot(h, &link)->request_remaining > 0);
	assert_int_equal(reason(h, WEFT_REASON_PIPELINED), 0);
	link_close(h, &link);
	client_close(&client);
	limited_close(&limited);
}

/* Nor has a client its answer: the exchange is open until the worker has cut it. */
static void test_an_answer_without_memory_is_cut(void **state)
{
	static char response[BODY + 200];
	struct harness *h = *state;
	struct limited limited;
	struct client client;
	struct link link;
	size_t len, heard;

	for (int in_pieces = 0; in_pieces < 2; in_pieces++) {
		limited_open(h, &limited);
		limited_enter(&limited);
		client_open(h, &client);
		limited_leave(&limited);
		link_open(h, h->local_endpoint, &link);
		datapath_endpoints(h->dp)[h->local_endpoint].active = 0;
		say(client.fd, REQUEST_LOCAL);
		assert_heard(link.server, REQUEST_LOCAL);
		len = (size_t)snprintf(response, sizeof(response), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", in_pieces ? BODY + 5 : BODY);
		memset(response + len, 'x', BODY);
		len += BODY;
		send(link.server, response, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		heard = hear_all(client.fd);
		assert_in_range(heard, 1, len - 1);
		assert_int_equal(command(h, &client, 0, 0, 0, 0).open_exchange, WEFT_EXCHANGE(link.slot, WEFT_LEASE(link_slot(h, &link)->state)));
		assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_REPLYING);
		assert_true(link_slot(h, &link)->is_dead);
		assert_true(link_slot(h, &link)->response_remaining > 0);
		/* Counted once, and taken off once at most. */
		assert_int_equal(datapath_endpoints(h->dp)[h->local_endpoint].active, in_pieces);
		assert_int_equal(link_slot(h, &link)->counted_lease == WEFT_LEASE(link_slot(h, &link)->state), in_pieces);
		link_close(h, &link);
		client_close(&client);
		limited_close(&limited);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_rest_of_a_request_without_memory_is_no_request),
		cmocka_unit_test(test_an_answer_without_memory_is_cut),
	};

	return cmocka_run_group_tests(tests, start_harness, stop_harness);
}

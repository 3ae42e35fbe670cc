/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the order rules have in common: one harness for all tests of a program, what is said and heard. Included after cmocka.h. */
#ifndef WEFT_TESTS_ORDER_STEPS_H
#define WEFT_TESTS_ORDER_STEPS_H

#include <signal.h>
#include <string.h>

#include "harness.h"
#include "weft/reason.h"

#define REQUEST_LOCAL "GET /a HTTP/1.1\r\nHost: local\r\n\r\n"
#define REQUEST_OTHER "GET /a HTTP/1.1\r\nHost: other\r\n\r\n"
#define REQUEST_STREAM "POST /s HTTP/1.1\r\nHost: local\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
#define RESPONSE "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define RESPONSE_TWO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworld"

static inline struct harness *the_harness(void)
{
	static struct harness harness;

	return &harness;
}

/* Group set-up and tear-down; the state of a test is the harness. */
static inline int start_harness(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	*state = the_harness();
	return harness_start(*state, WEFT_FAST_PATH_ON);
}

static inline int stop_harness(void **state)
{
	harness_stop(*state);
	return 0;
}

static inline uint64_t reason(struct harness *h, enum weft_reason index)
{
	return counted(h, WEFT_COUNTER_REASONS + index);
}

/* What went another way than it should says why. */
static inline void assert_said(const char *said, const char *expected)
{
	struct harness *h = the_harness();

	for (uint32_t index = 0; strcmp(said, expected) && index < WEFT_REASON_COUNT; index++) {
		if (reason(h, index))
			print_error("%s: %llu\n", weft_reason_names[index], (unsigned long long)reason(h, index));
	}
	assert_string_equal(said, expected);
}

static inline void assert_heard(int fd, const char *expected)
{
	char buffer[8192];

	hear(fd, buffer, sizeof(buffer), 1000);
	assert_said(buffer, expected);
}

static inline void assert_silent(int fd)
{
	char buffer[8192];

	assert_int_equal(hear(fd, buffer, sizeof(buffer), 50), 0);
}

static inline uint32_t state_of(struct harness *h, const struct link *link)
{
	return WEFT_STATE(link_slot(h, link)->state);
}

/* One exchange that the kernel carries, from end to end. */
static inline void assert_carried(int client, const char *request, int server, const char *response)
{
	say(client, request);
	assert_heard(server, request);
	say(server, response);
	assert_heard(client, response);
}

#endif

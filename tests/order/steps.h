/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the order rules say and hear. Included after cmocka.h. */
#ifndef WEFT_TESTS_ORDER_STEPS_H
#define WEFT_TESTS_ORDER_STEPS_H

#include "harness.h"
#include "weft/reason.h"

#define REQUEST_LOCAL "GET /a HTTP/1.1\r\nHost: local\r\n\r\n"
#define REQUEST_OTHER "GET /a HTTP/1.1\r\nHost: other\r\n\r\n"
#define REQUEST_STREAM "POST /s HTTP/1.1\r\nHost: local\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
#define RESPONSE "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define RESPONSE_TWO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworld"

static inline uint64_t reason(struct harness *h, enum weft_reason index)
{
	return counted(h, WEFT_COUNTER_REASONS + index);
}

static inline void assert_heard(int fd, const char *expected)
{
	char buffer[8192];

	hear(fd, buffer, sizeof(buffer), 1000);
	assert_string_equal(buffer, expected);
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

/* SPDX-License-Identifier: Apache-2.0 */
/* The test as the kernel programs: what connection commands are answered, and what was commanded. */
#ifndef TEST_PROXY_KERNEL_H
#define TEST_PROXY_KERNEL_H

#include "proxy/harness.h"

#define REQUEST "GET /u HTTP/1.1\r\nHost: a\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static inline void kernel_answers(struct harness *h, uint32_t answer, uint64_t exchange)
{
	pthread_mutex_lock(&h->lock);
	h->answer = answer;
	h->open_exchange = exchange;
	pthread_mutex_unlock(&h->lock);
}

static inline uint32_t command_count(struct harness *h)
{
	uint32_t count;

	pthread_mutex_lock(&h->lock);
	count = h->command_count;
	pthread_mutex_unlock(&h->lock);
	return count;
}

static inline struct weft_connection_command last_command(struct harness *h)
{
	struct weft_connection_command command;

	pthread_mutex_lock(&h->lock);
	assert_true(h->command_count > 0);
	command = h->commands[h->command_count - 1];
	pthread_mutex_unlock(&h->lock);
	return command;
}

static inline void forget_commands(struct harness *h)
{
	pthread_mutex_lock(&h->lock);
	h->command_count = 0;
	pthread_mutex_unlock(&h->lock);
}

/* Length of a reply as the client saw it. */
static inline uint32_t exchange_on(int client, int server)
{
	struct reply reply;
	uint32_t len;

	put_text(client, REQUEST);
	expect_bytes(server, REQUEST);
	put_text(server, OK);
	get_reply(client, &reply);
	assert_int_equal(reply.status, 200);
	len = (uint32_t)(strlen(reply.head) + reply.body.size);
	reply_release(&reply);
	return len;
}

#endif

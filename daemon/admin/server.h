/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: a unix socket for root alone. A client sends one JSON object on one line and gets one JSON object on one line, after
 * which the connection is closed. docs/weftctl.md has the requests. Runs in the event loop that is given; slow clients cost a bounded
 * number of descriptors and are cut after a time. */
#ifndef WEFT_ADMIN_SERVER_H
#define WEFT_ADMIN_SERVER_H

#include <jansson.h>
#include <stdint.h>

struct admin;
struct event_base;

/* Answers a request; the value is the server's. NULL: out of memory, the client is told so. */
typedef json_t *(*admin_answer_fn)(void *arg, const json_t *request);

struct admin_options {
	struct event_base *base;
	int listener_fd;             /* non-blocking; stays the caller's */
	uint32_t clients_max;        /* 0: 16; further ones wait in the listener's queue */
	uint32_t request_bytes_max;  /* 0: 65536 */
	uint32_t timeout_ms;         /* 0: 10000; without progress */
	admin_answer_fn answer;
	void *arg;
};

int admin_new(struct admin **out, const struct admin_options *options);
/* Cuts the clients that are being served. */
void admin_free(struct admin **admin);

/* {"error": "..."} */
json_t *admin_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Makes the socket at `path` (its folder too), replacing one that nobody serves any more. Mode 0600. -EADDRINUSE: somebody answers there. */
int admin_listen(const char *path, int *fd);

#endif

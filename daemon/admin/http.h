/* SPDX-License-Identifier: Apache-2.0 */
/* A small HTTP server for operators' tools: probes, scrapes, a look at the configuration. What is answered is the caller's; one thread, the control loop. */
#ifndef WEFT_ADMIN_HTTP_H
#define WEFT_ADMIN_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"

struct event_base;
struct evkeyvalq;
struct http;

#define HTTP_CONNECTIONS_MAX 64 /* of one server; beyond it, the one that has asked for nothing the longest is closed */
#define HTTP_IDLE_S 10          /* a connection that neither asks nor takes its answer is closed after that */

struct http_request {
	const char *path;             /* without its query, decoded */
	bool is_post;                 /* else GET or HEAD */
	const char *accept;           /* "" if not said */
	const struct evkeyvalq *query;
};

struct http_answer {
	int status;                   /* 404 if left alone */
	const char *content_type;     /* constant text; "text/plain; charset=utf-8" if left alone */
	struct strbuf body;
};

typedef void (*http_answer_fn)(void *arg, const struct http_request *request, struct http_answer *answer);

/* Listens at `address`: HOST:PORT, HOST being an IPv4 address or an IPv6 one in brackets. -EINVAL for another text, or the kernel's -errno. */
int http_new(struct http **out, struct event_base *base, const char *address, http_answer_fn answer, void *arg);
void http_free(struct http **http);

struct http_stats {
	uint32_t connections;
	uint64_t evicted;             /* closed for others */
};

/* Of a NULL: none. */
void http_get_stats(struct http *http, struct http_stats *out);

/* Is that an address to listen at, and (`is_loopback`, may be NULL) one that nobody else can reach? */
bool http_address_is_good(const char *address, bool *is_loopback);

/* A parameter of the query; NULL: not there. */
const char *http_parameter(const struct http_request *request, const char *name);

#endif

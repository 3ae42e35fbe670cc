/* SPDX-License-Identifier: Apache-2.0 */
/* The connections of one HTTP server, of which libevent's knows neither a number nor a limit. At the limit nothing is accepted until one has ended, and the
 * one that has asked for nothing the longest is made to: who holds connections keeps no probe out. Without a descriptor nothing is accepted for a while. */
#ifndef WEFT_ADMIN_HTTP_CLIENTS_H
#define WEFT_ADMIN_HTTP_CLIENTS_H

#include <stdint.h>

struct bufferevent;
struct event_base;
struct evconnlistener;
struct http_clients;

/* `listener`: from which `http_clients_accept` gets its connections, bound to the server already; it has to live as long. */
int http_clients_new(struct http_clients **out, struct event_base *base, struct evconnlistener *listener);
/* Those that the server has not freed stay the server's. */
void http_clients_free(struct http_clients **clients);

/* What evhttp_set_bevcb wants: the bufferevent of a connection that has been accepted. NULL: no memory. */
struct bufferevent *http_clients_accept(struct event_base *base, void *clients);
/* This one asks for something. */
void http_clients_touch(struct http_clients *clients, const struct bufferevent *stream);

uint32_t http_clients_count(struct http_clients *clients);
uint64_t http_clients_evicted(const struct http_clients *clients);

#endif

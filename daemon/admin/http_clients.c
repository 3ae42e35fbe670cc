/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/http_clients.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "admin/http.h"
#include "base/acceptor.h"
#include "base/cleanup.h"

#define AGAIN_US 1000 /* that end takes longer */

struct client {
	struct bufferevent *stream; /* with a reference of ours; NULL: free */
	uint64_t asked;             /* by `turn`, when it was accepted or asked last */
	bool is_evicted;
};

struct http_clients {
	struct evconnlistener *listener;
	struct event *again, *short_of;
	uint64_t turn, evicted;
	struct client items[HTTP_CONNECTIONS_MAX];
};

/* The server has freed its part of it: nothing is called any more when bytes come. */
static bool is_over(struct bufferevent *stream)
{
	bufferevent_event_cb on_event;

	bufferevent_getcb(stream, NULL, NULL, &on_event, NULL);
	return !on_event;
}

/* How many there are. */
static uint32_t sweep(struct http_clients *clients)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
		struct client *client = &clients->items[i];

		if (client->stream && is_over(client->stream)) {
			bufferevent_decref(client->stream);
			*client = (struct client){ 0 };
		}
		count += client->stream != NULL;
	}
	return count;
}

/* The server sees its end, and frees it. */
static void evict_one(struct http_clients *clients)
{
	struct client *oldest = NULL;

	for (uint32_t i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
		struct client *client = &clients->items[i];

		if (client->is_evicted)
			return; /* one at a time */
		if (client->stream && (!oldest || client->asked < oldest->asked))
			oldest = client;
	}
	if (!oldest)
		return;
	oldest->is_evicted = true;
	clients->evicted++;
	shutdown(bufferevent_getfd(oldest->stream), SHUT_RDWR);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval soon = { .tv_usec = AGAIN_US };
	struct http_clients *clients = arg;

	(void)fd;
	(void)what;
	if (sweep(clients) < HTTP_CONNECTIONS_MAX) {
		evconnlistener_enable(clients->listener);
		return;
	}
	evict_one(clients);
	evtimer_add(clients->again, &soon);
}

struct bufferevent *http_clients_accept(struct event_base *base, void *arg)
{
	const struct timeval soon = { 0 }; /* once the loop has seen the end of the other one */
	struct http_clients *clients = arg;
	struct bufferevent *stream = bufferevent_socket_new(base, -1, 0);
	struct client *place = clients->items;

	if (!stream)
		return NULL;
	if (sweep(clients) + 1 >= HTTP_CONNECTIONS_MAX) {
		evconnlistener_disable(clients->listener);
		evict_one(clients);
		evtimer_add(clients->again, &soon);
	}
	/* there is one: with the last of them the listener is disabled */
	while (place->stream)
		place++;
	bufferevent_incref(stream);
	*place = (struct client){ .stream = stream, .asked = ++clients->turn };
	return stream;
}

void http_clients_touch(struct http_clients *clients, const struct bufferevent *stream)
{
	for (uint32_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		if (clients->items[i].stream == stream)
			clients->items[i].asked = ++clients->turn;
}

uint32_t http_clients_count(struct http_clients *clients)
{
	return sweep(clients);
}

uint64_t http_clients_evicted(const struct http_clients *clients)
{
	return clients->evicted;
}

/* Whoever waits in the queue wakes the loop again and again, unless nothing listens there for a while. */
static void on_short(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval rest = { .tv_usec = ACCEPT_REST_MS * 1000 };
	struct http_clients *clients = arg;

	(void)fd;
	(void)what;
	evconnlistener_disable(clients->listener);
	evtimer_add(clients->again, &rest);
}

/* The argument is what the server has given the listener. Ours is with the event that waits at the same descriptor. */
static void on_error(struct evconnlistener *listener, void *server)
{
	(void)server;
	if (accept_is_short(errno))
		event_base_active_by_fd(evconnlistener_get_base(listener), evconnlistener_get_fd(listener), EV_WRITE);
}

int http_clients_new(struct http_clients **out, struct event_base *base, struct evconnlistener *listener)
{
	_cleanup_(http_clients_free) struct http_clients *clients = calloc(1, sizeof(*clients));

	if (!clients)
		return -ENOMEM;
	clients->listener = listener;
	clients->again = evtimer_new(base, on_again, clients);
	/* A listener never becomes writable. */
	clients->short_of = event_new(base, evconnlistener_get_fd(listener), EV_WRITE | EV_PERSIST, on_short, clients);
	if (!clients->again || !clients->short_of || event_add(clients->short_of, NULL) < 0)
		return -ENOMEM;
	evconnlistener_set_error_cb(listener, on_error);
	*out = TAKE_PTR(clients);
	return 0;
}

void http_clients_free(struct http_clients **pointer)
{
	struct http_clients *clients = TAKE_PTR(*pointer);

	if (!clients)
		return;
	for (uint32_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		if (clients->items[i].stream)
			bufferevent_decref(clients->items[i].stream);
	if (clients->again)
		event_free(clients->again);
	if (clients->short_of)
		event_free(clients->short_of);
	free(clients);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/acceptor.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"

struct acceptor {
	struct event *readable, *rest;
	bool is_paused;
	void (*fn)(void *arg, int fd);
	void *arg;
};

bool accept_is_short(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_readable(evutil_socket_t listener, short what, void *arg)
{
	const struct timeval rest = { .tv_usec = ACCEPT_REST_MS * 1000 };
	struct acceptor *acceptor = arg;
	int fd;

	(void)what;
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		acceptor->fn(acceptor->arg, fd);
	else if (accept_is_short(errno) && evtimer_add(acceptor->rest, &rest) == 0)
		event_del(acceptor->readable);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *acceptor = arg;

	(void)fd;
	(void)what;
	if (!acceptor->is_paused)
		event_add(acceptor->readable, NULL);
}

void acceptor_pause(struct acceptor *acceptor)
{
	acceptor->is_paused = true;
	event_del(acceptor->readable);
}

void acceptor_resume(struct acceptor *acceptor)
{
	acceptor->is_paused = false;
	if (!evtimer_pending(acceptor->rest, NULL))
		event_add(acceptor->readable, NULL);
}

int acceptor_new(struct acceptor **out, struct event_base *base, int listener_fd, void (*fn)(void *arg, int fd), void *arg)
{
	_cleanup_(acceptor_free) struct acceptor *acceptor = calloc(1, sizeof(*acceptor));

	if (!acceptor)
		return -ENOMEM;
	acceptor->fn = fn;
	acceptor->arg = arg;
	acceptor->readable = event_new(base, listener_fd, EV_READ | EV_PERSIST, on_readable, acceptor);
	acceptor->rest = evtimer_new(base, on_rested, acceptor);
	if (!acceptor->readable || !acceptor->rest || event_add(acceptor->readable, NULL) < 0)
		return -ENOMEM;
	*out = TAKE_PTR(acceptor);
	return 0;
}

void acceptor_free(struct acceptor **pointer)
{
	struct acceptor *acceptor = TAKE_PTR(*pointer);

	if (!acceptor)
		return;
	if (acceptor->readable)
		event_free(acceptor->readable);
	if (acceptor->rest)
		event_free(acceptor->rest);
	free(acceptor);
}

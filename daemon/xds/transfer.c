/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/transfer.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct xds_transfer {
	struct event_base *base;
	CURLM *multi;
	CURL *easy;
	struct event *timer, *resume;
	xds_transfer_fn settled;
	void *context;
	bool is_added;
	unsigned int sockets;
};

/* Last thing in every event: the transfer may be gone after it. */
static void settle(struct xds_transfer *transfer)
{
	CURLcode result = CURLE_OK;
	bool is_done = false;
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(transfer->multi, &left))) {
		if (message->msg == CURLMSG_DONE) {
			is_done = true;
			result = message->data.result;
		}
	}
	transfer->settled(transfer->context, is_done, result);
}

static void act(struct xds_transfer *transfer, curl_socket_t fd, int what)
{
	int running;

	curl_multi_socket_action(transfer->multi, fd, what, &running);
	settle(transfer);
}

static void on_socket_event(evutil_socket_t fd, short what, void *arg)
{
	act(arg, fd, (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct xds_transfer *transfer = arg;

	(void)fd;
	(void)what;
	curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
	settle(transfer);
}

/* What libcurl wants to know of a socket; `socket_arg` is that socket's event. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct xds_transfer *transfer = arg;
	struct event *event = socket_arg;
	short wanted = (short)(EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));

	(void)easy;
	if (event) {
		event_free(event);
		transfer->sockets--;
	}
	event = NULL;
	if (what != CURL_POLL_REMOVE) {
		event = event_new(transfer->base, fd, wanted, on_socket_event, transfer);
		if (!event || event_add(event, NULL) < 0) {
			if (event)
				event_free(event);
			curl_multi_assign(transfer->multi, fd, NULL);
			return -1;
		}
		transfer->sockets++;
	}
	curl_multi_assign(transfer->multi, fd, event);
	return 0;
}

static int on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
	const struct timeval after = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	struct xds_transfer *transfer = arg;

	(void)multi;
	if (timeout_ms < 0)
		return evtimer_del(transfer->timer);
	return evtimer_add(transfer->timer, &after);
}

int xds_transfer_new(struct xds_transfer **out, struct event_base *base, xds_transfer_fn settled, void *context)
{
	_cleanup_(xds_transfer_free) struct xds_transfer *transfer = calloc(1, sizeof(*transfer));

	if (!transfer)
		return -ENOMEM;
	transfer->base = base;
	transfer->settled = settled;
	transfer->context = context;
	transfer->multi = curl_multi_init();
	transfer->easy = curl_easy_init();
	transfer->timer = evtimer_new(base, on_timer, transfer);
	transfer->resume = event_new(base, -1, 0, on_resume, transfer);
	if (!transfer->multi || !transfer->easy || !transfer->timer || !transfer->resume)
		return -ENOMEM;
	curl_multi_setopt(transfer->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(transfer->multi, CURLMOPT_SOCKETDATA, transfer);
	curl_multi_setopt(transfer->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	curl_multi_setopt(transfer->multi, CURLMOPT_TIMERDATA, transfer);
	*out = TAKE_PTR(transfer);
	return 0;
}

CURL *xds_transfer_easy(struct xds_transfer *transfer)
{
	return transfer->easy;
}

int xds_transfer_start(struct xds_transfer *transfer)
{
	if (curl_multi_add_handle(transfer->multi, transfer->easy) != CURLM_OK)
		return -EIO;
	transfer->is_added = true;
	return 0;
}

bool xds_transfer_has_sockets(const struct xds_transfer *transfer)
{
	return transfer->sockets > 0;
}

void xds_transfer_resume(struct xds_transfer *transfer)
{
	event_active(transfer->resume, EV_TIMEOUT, 0);
}

void xds_transfer_free(struct xds_transfer **pointer)
{
	struct xds_transfer *transfer = TAKE_PTR(*pointer);

	if (!transfer)
		return;
	if (transfer->is_added)
		curl_multi_remove_handle(transfer->multi, transfer->easy);
	/* The connections go with the multi handle, and with them the events of their sockets. */
	if (transfer->multi)
		curl_multi_cleanup(transfer->multi);
	if (transfer->easy)
		curl_easy_cleanup(transfer->easy);
	if (transfer->timer)
		event_free(transfer->timer);
	if (transfer->resume)
		event_free(transfer->resume);
	free(transfer);
}

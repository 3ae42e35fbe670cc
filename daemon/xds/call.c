/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "xds/call_internal.h"

#define OUT_KEPT_BYTES (64u << 10) /* sent bytes that may wait to be dropped */
#define PAGE_MS 500                /* for the text of an answer that is no gRPC */

uint64_t xds_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- bytes, from within libcurl or nghttp2: they only note ------------------------------------------------------------------------- */

size_t call_take(struct xds_call *call, void *bytes, size_t size, bool *is_end)
{
	size_t left = call->out.size - call->out_at;

	*is_end = !left && call->is_finished;
	call->is_paused = !left && !call->is_finished;
	if (!left)
		return 0;
	if (size > left)
		size = left;
	memcpy(bytes, call->out.data + call->out_at, size);
	call->out_at += size;
	if (call->out_at == call->out.size) {
		strbuf_release(&call->out);
		call->out_at = 0;
	} else if (call->out_at > OUT_KEPT_BYTES && call->out_at > call->out.size / 2) {
		strbuf_consume(&call->out, call->out_at);
		call->out_at = 0;
	}
	return size;
}

static int on_frame(void *arg, bool is_trailers, struct strbuf *body)
{
	struct xds_call *call = arg;
	struct message *message;

	if (is_trailers)
		return xds_grpc_head_trailers(&call->head, strbuf_text(body), body->size);
	message = calloc(1, sizeof(*message));
	if (!message)
		return -ENOMEM;
	message->bytes = *body;
	*body = (struct strbuf)STRBUF_INIT;
	*call->last = message;
	call->last = &message->next;
	return 0;
}

/* Something that is no gRPC server says why in a page of text, of which the beginning is enough. */
static int show(struct xds_call *call, const void *bytes, size_t size)
{
	size_t take = sizeof(call->shown) - 1 - call->shown_size;

	if (take > size)
		take = size;
	memcpy(call->shown + call->shown_size, bytes, take);
	call->shown_size += take;
	return call->shown_size == sizeof(call->shown) - 1;
}

int call_body(struct xds_call *call, const void *bytes, size_t size)
{
	if (!xds_grpc_head_is_good(&call->head))
		return show(call, bytes, size);
	return call->failure = xds_frames_feed(&call->frames, bytes, size, on_frame, call);
}

/* ---- in the loop ----------------------------------------------------------------------------------------------------------------- */

static void start_timer(struct xds_call *call, uint32_t after_ms)
{
	const struct timeval after = { .tv_sec = after_ms / 1000, .tv_usec = after_ms % 1000 * 1000 };

	evtimer_add(call->answer_timer, &after);
}

static void deliver(struct xds_call *call)
{
	while (call->first) {
		struct message *message = call->first;

		call->first = message->next;
		if (!call->first)
			call->last = &call->first;
		if (!call->is_silent)
			call->events.message(call->context, strbuf_text(&message->bytes), message->bytes.size);
		strbuf_release(&message->bytes);
		free(message);
	}
}

static void end(struct xds_call *call, CURLcode result)
{
	struct xds_close why;
	char text[1024];

	call->is_over = true;
	event_del(call->answer_timer);
	call_explain(call, result, &why, text, sizeof(text));
	if (!call->is_silent)
		call->events.ended(call->context, &why);
}

/* A call is over when its status is there, or when it can get none any more; a server may leave the connection as it is. */
static void look_for_end(struct xds_call *call, bool is_done, CURLcode result)
{
	const struct xds_grpc_head *head = &call->head;

	if (is_done || call->failure || head->grpc_status != -1) {
		end(call, is_done && !call->is_cut ? result : CURLE_OK);
	} else if (head->http_status >= 200 && !xds_grpc_head_is_good(head)) {
		if (!call->has_page)
			start_timer(call, PAGE_MS);
		call->has_page = true;
	} else if (head->http_status) {
		event_del(call->answer_timer);
	}
}

void call_settle(struct xds_call *call, bool is_done, CURLcode result)
{
	if (call->is_ready && !call->is_opened) {
		call->is_opened = true;
		call->opened_ms = xds_now_ms();
		if (!call->is_silent)
			call->events.opened(call->context);
	}
	deliver(call);
	if (!call->is_over)
		look_for_end(call, is_done, result);
	call->events.settled(call->context);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	struct xds_call *call = arg;

	(void)fd;
	(void)what;
	if (!call->is_over) {
		call->is_late = !call->has_page;
		end(call, CURLE_OK);
	}
	call->events.settled(call->context);
}

static void resume(struct xds_call *call)
{
	if (!call->is_paused)
		return;
	call->is_paused = false;
	if (call->h2)
		xds_h2_resume(call->h2);
	else
		xds_transfer_resume(call->transfer);
}

int xds_call_send(struct xds_call *call, const void *bytes, size_t size)
{
	int r;

	if (call->is_over || call->is_finished)
		return -ENOTCONN;
	r = xds_frame_append(&call->out, bytes, size);
	if (r)
		return r;
	if (call->options->answer_ms && !call->has_sent && !call->head.http_status)
		start_timer(call, call->options->answer_ms);
	call->has_sent = true;
	resume(call);
	return 0;
}

void xds_call_finish(struct xds_call *call)
{
	call->is_finished = true;
	resume(call);
}

void xds_call_silence(struct xds_call *call)
{
	call->is_silent = true;
}

uint64_t xds_call_queued_bytes(const struct xds_call *call)
{
	return call->out.size - call->out_at;
}

int xds_call_new(struct xds_call **out, struct event_base *base, const struct xds_call_options *options, const struct xds_call_events *events,
		 void *context, char *problem, size_t problem_size)
{
	_cleanup_(xds_call_free) struct xds_call *call = calloc(1, sizeof(*call));
	int r;

	snprintf(problem, problem_size, "no memory for a call");
	if (!call)
		return -ENOMEM;
	call->options = options;
	call->events = *events;
	call->context = context;
	call->base = base;
	call->http = options->address->http;
	call->last = &call->first;
	call->frames.is_web = call->head.is_web = options->address->is_web;
	call->frames.limit_bytes = options->message_max_bytes;
	xds_grpc_head_reset(&call->head);
	call->answer_timer = evtimer_new(base, on_late, call);
	if (!call->answer_timer)
		return -ENOMEM;
	r = xds_secrets_load(options->credentials, &call->secrets, problem, problem_size);
	if (r == 0)
		r = call_set_up(call, problem, problem_size);
	if (r == 0)
		r = call_start(call);
	if (r)
		return r;
	*out = TAKE_PTR(call);
	return 0;
}

void xds_call_free(struct xds_call **pointer)
{
	struct xds_call *call = TAKE_PTR(*pointer);

	if (!call)
		return;
	call->is_silent = true;
	xds_h2_free(&call->h2);
	xds_transfer_free(&call->transfer);
	deliver(call);
	if (call->answer_timer)
		event_free(call->answer_timer);
	curl_slist_free_all(call->headers);
	curl_slist_free_all(call->connect_to);
	if (call->bearer.data)
		OPENSSL_cleanse(call->bearer.data, call->bearer.capacity);
	strbuf_release(&call->bearer);
	xds_secrets_release(&call->secrets);
	xds_grpc_head_release(&call->head);
	xds_frames_reset(&call->frames);
	strbuf_release(&call->out);
	free(call);
}

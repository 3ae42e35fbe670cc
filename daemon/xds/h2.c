/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/h2.h"

#include <errno.h>
#include <event2/event.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define WINDOW_BYTES (16 << 20)      /* istiod's own default would be 64 KiB for messages of megabytes */
#define READ_BYTES (64u << 10)
#define ROUND_BYTES (4u << 20)       /* then others in the loop have their turn */
#define FIELDS_MAX 16
#define PING_ANSWER_MIN_S 1

struct xds_h2 {
	struct event_base *base;
	CURL *easy;
	nghttp2_session *session;
	struct event *read, *write, *timer;
	struct xds_h2_events events;
	void *context;
	int32_t stream_id;
	struct xds_h2_state state;
	const uint8_t *out;          /* nghttp2's, until it is asked again */
	size_t out_size;
	uint32_t keepalive_s;
	bool has_heard, has_pinged, is_write_wanted, is_send_broken;
	uint8_t buffer[READ_BYTES];
};

static void fail(struct xds_h2 *h2, const char *what, const char *why)
{
	h2->state.is_over = true;
	if (!h2->state.problem[0])
		snprintf(h2->state.problem, sizeof(h2->state.problem), "%s%s%s", what, why ? ": " : "", why ? why : "");
}

/* ---- what nghttp2 calls ---------------------------------------------------------------------------------------------------------- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size, const uint8_t *value,
		     size_t value_size, uint8_t flags, void *arg)
{
	struct xds_h2 *h2 = arg;

	(void)session;
	(void)flags;
	if (frame->hd.stream_id != h2->stream_id)
		return 0;
	return h2->events.field(h2->context, (const char *)name, name_size, (const char *)value, value_size) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *bytes, size_t size, void *arg)
{
	struct xds_h2 *h2 = arg;

	(void)session;
	(void)flags;
	if (stream_id != h2->stream_id || h2->state.is_over)
		return 0;
	if (h2->events.data(h2->context, bytes, size))
		h2->state.is_over = true;
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct xds_h2 *h2 = arg;

	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		size_t size = frame->goaway.opaque_data_len;

		h2->state.has_goaway = true;
		h2->state.goaway_code = frame->goaway.error_code;
		snprintf(h2->state.goaway_text, sizeof(h2->state.goaway_text), "%.*s", size < 60 ? (int)size : 60,
			 size ? (const char *)frame->goaway.opaque_data : "");
	}
	if (frame->hd.stream_id != h2->stream_id)
		return 0;
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
		h2->state.has_ended = h2->state.is_over = true;
	} else if (frame->hd.type == NGHTTP2_RST_STREAM && !h2->state.is_over) {
		h2->state.is_reset = h2->state.is_over = true;
		h2->state.reset_code = frame->rst_stream.error_code;
	}
	return 0;
}

/* Also of streams that no frame ended: those behind the last one of a GOAWAY, those that broke the protocol. */
static int on_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *arg)
{
	struct xds_h2 *h2 = arg;

	(void)session;
	if (stream_id != h2->stream_id || h2->state.is_over)
		return 0;
	h2->state.is_reset = h2->state.is_over = true;
	h2->state.reset_code = code;
	return 0;
}

static ssize_t on_take(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t size, uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct xds_h2 *h2 = arg;
	bool is_end = false;
	size_t taken;

	(void)session;
	(void)stream_id;
	(void)source;
	taken = h2->events.take(h2->context, to, size, &is_end);
	if (is_end)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return taken || is_end ? (ssize_t)taken : NGHTTP2_ERR_DEFERRED;
}

/* ---- the connection -------------------------------------------------------------------------------------------------------------- */

static void want_write(struct xds_h2 *h2, bool is_wanted)
{
	if (is_wanted != h2->is_write_wanted)
		is_wanted ? event_add(h2->write, NULL) : event_del(h2->write);
	h2->is_write_wanted = is_wanted;
}

static void push(struct xds_h2 *h2)
{
	size_t sent;
	CURLcode r;

	while (!h2->is_send_broken) {
		if (!h2->out_size) {
			ssize_t size = nghttp2_session_mem_send(h2->session, &h2->out);

			if (size <= 0)
				break;
			h2->out_size = (size_t)size;
		}
		r = curl_easy_send(h2->easy, h2->out, h2->out_size, &sent);
		if (r == CURLE_AGAIN) {
			want_write(h2, true);
			return;
		}
		if (r != CURLE_OK) {
			/* What the server said before it closed may still be read, and that tells more; the read will find the end. */
			h2->is_send_broken = true;
			break;
		}
		h2->out += sent;
		h2->out_size -= sent;
	}
	want_write(h2, false);
	/* nghttp2 has sent a GOAWAY of its own: the peer broke the protocol. */
	if (!h2->state.is_over && !nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session))
		fail(h2, "this is no HTTP/2, or a broken one", NULL);
}

static void heard(struct xds_h2 *h2)
{
	const struct timeval after = { .tv_sec = h2->keepalive_s };

	h2->has_pinged = false;
	evtimer_add(h2->timer, &after);
}

static void pull(struct xds_h2 *h2)
{
	size_t size, total = 0;
	ssize_t taken;
	CURLcode r;

	while (!h2->state.is_over) {
		r = curl_easy_recv(h2->easy, h2->buffer, sizeof(h2->buffer), &size);
		if (r == CURLE_AGAIN)
			break;
		if (r != CURLE_OK || size == 0) {
			fail(h2, "the connection was closed", r != CURLE_OK ? curl_easy_strerror(r) : NULL);
			return;
		}
		if (!h2->has_heard && size > 7 && memcmp(h2->buffer, "HTTP/1.", 7) == 0) {
			fail(h2, "it speaks HTTP/1, and HTTP/2 is needed", NULL);
			return;
		}
		h2->has_heard = true;
		heard(h2);
		taken = nghttp2_session_mem_recv(h2->session, h2->buffer, size);
		if (taken < 0) {
			fail(h2, "this is no HTTP/2", nghttp2_strerror((int)taken));
			return;
		}
		total += size;
		if (total >= ROUND_BYTES) {
			/* TLS may hold bytes of which the socket knows nothing any more */
			event_active(h2->read, EV_READ, 0);
			break;
		}
	}
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
	struct xds_h2 *h2 = arg;

	(void)fd;
	(void)what;
	if (!h2->state.is_over) {
		pull(h2);
		push(h2);
	}
	if (h2->state.is_over)
		event_del(h2->read);
	h2->events.settled(h2->context);
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
	struct xds_h2 *h2 = arg;

	(void)fd;
	(void)what;
	push(h2);
	h2->events.settled(h2->context);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct xds_h2 *h2 = arg;
	const struct timeval after = { .tv_sec = h2->keepalive_s / 2 > PING_ANSWER_MIN_S ? h2->keepalive_s / 2 : PING_ANSWER_MIN_S };

	(void)fd;
	(void)what;
	if (h2->state.is_over)
		return;
	if (h2->has_pinged) {
		h2->state.is_silent = true;
		fail(h2, "no sign of life", NULL);
	} else {
		h2->has_pinged = true;
		nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL);
		evtimer_add(h2->timer, &after);
		push(h2);
	}
	h2->events.settled(h2->context);
}

/* ---- outside --------------------------------------------------------------------------------------------------------------------- */

static int make_session(struct xds_h2 *h2)
{
	nghttp2_session_callbacks *callbacks;
	int r;

	if (nghttp2_session_callbacks_new(&callbacks))
		return -ENOMEM;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	r = nghttp2_session_client_new(&h2->session, callbacks, h2);
	nghttp2_session_callbacks_del(callbacks);
	return r ? -ENOMEM : 0;
}

static int submit(struct xds_h2 *h2, const struct xds_h2_field *fields, size_t count)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES },
	};
	const nghttp2_data_provider provider = { .read_callback = on_take };
	nghttp2_nv list[FIELDS_MAX];

	if (count > FIELDS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count; i++)
		list[i] = (nghttp2_nv){ .name = (uint8_t *)fields[i].name, .namelen = strlen(fields[i].name), .value = (uint8_t *)fields[i].value,
					.valuelen = strlen(fields[i].value),
					/* a token has no place in a table of what is said often */
					.flags = strcmp(fields[i].name, "authorization") == 0 ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE };
	if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, ARRAY_SIZE(settings)) ||
	    nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES))
		return -ENOMEM;
	h2->stream_id = nghttp2_submit_request(h2->session, NULL, list, count, &provider, NULL);
	return h2->stream_id < 0 ? -ENOMEM : 0;
}

int xds_h2_new(struct xds_h2 **out, struct event_base *base, CURL *easy, const struct xds_h2_field *fields, size_t field_count, uint32_t keepalive_s,
	       const struct xds_h2_events *events, void *context)
{
	_cleanup_(xds_h2_free) struct xds_h2 *h2 = calloc(1, sizeof(*h2));
	curl_socket_t fd = CURL_SOCKET_BAD;
	int r;

	if (!h2)
		return -ENOMEM;
	h2->base = base;
	h2->easy = easy;
	h2->events = *events;
	h2->context = context;
	h2->keepalive_s = keepalive_s;
	if (curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD)
		return -ENOTCONN;
	h2->read = event_new(base, fd, EV_READ | EV_PERSIST, on_read, h2);
	h2->write = event_new(base, fd, EV_WRITE | EV_PERSIST, on_write, h2);
	h2->timer = evtimer_new(base, on_timer, h2);
	if (!h2->read || !h2->write || !h2->timer)
		return -ENOMEM;
	r = make_session(h2);
	if (r == 0)
		r = submit(h2, fields, field_count);
	if (r)
		return r;
	event_add(h2->read, NULL);
	want_write(h2, true);
	heard(h2);
	*out = TAKE_PTR(h2);
	return 0;
}

void xds_h2_resume(struct xds_h2 *h2)
{
	if (h2->state.is_over)
		return;
	nghttp2_session_resume_data(h2->session, h2->stream_id);
	event_active(h2->write, EV_WRITE, 0);
}

void xds_h2_get_state(const struct xds_h2 *h2, struct xds_h2_state *out)
{
	*out = h2->state;
}

const char *xds_h2_code_name(uint32_t code)
{
	return nghttp2_http2_strerror(code);
}

void xds_h2_free(struct xds_h2 **pointer)
{
	struct xds_h2 *h2 = TAKE_PTR(*pointer);

	if (!h2)
		return;
	/* Said in one go or not at all: the connection is closed next. */
	if (h2->session && h2->write && !h2->state.problem[0] && !h2->out_size) {
		nghttp2_session_terminate_session(h2->session, NGHTTP2_NO_ERROR);
		push(h2);
	}
	if (h2->read)
		event_free(h2->read);
	if (h2->write)
		event_free(h2->write);
	if (h2->timer)
		event_free(h2->timer);
	if (h2->session)
		nghttp2_session_del(h2->session);
	free(h2);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/stream.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "xds/backoff.h"
#include "xds/call_internal.h"

#define RETRY_MIN_MS 10
#define RETRY_MAX_MS 15000
#define ANSWER_MS 60000     /* istiod answers at once, or when it has read its cluster */
#define SAY_AGAIN_MS 60000  /* the same failure */

struct xds_stream {
	struct event_base *base;
	struct xds_stream_events events;
	void *context;
	char *name, *path, *address_text;
	struct xds_address address;
	struct xds_credentials credentials;
	struct xds_call_options call_options;
	struct xds_backoff backoff;

	struct xds_call *call;     /* NULL between two */
	bool is_call_over;
	struct event *next_event;  /* the next call begins, or xds_stream_restart() */
	bool is_restarting;
	bool is_in_call;           /* it is on the stack, up to `settled` */
	bool is_in_closed;         /* so is the user's `closed` */
	bool is_doomed;            /* freed by one of its callbacks */

	struct xds_stream_stats stats;
	uint64_t said_ms;          /* when the last failure was logged */
	uint32_t tries;            /* that failed since the last answer */
	bool is_said;              /* that it fails: so will be that it answers again */
	char last_error[1024], said[1024];
};

static uint64_t unix_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void destroy(struct xds_stream *stream)
{
	xds_call_free(&stream->call);
	if (stream->next_event)
		event_free(stream->next_event);
	xds_credentials_release(&stream->credentials);
	free(stream->name);
	free(stream->path);
	free(stream->address_text);
	free(stream);
}

/* ---- what people are told -------------------------------------------------------------------------------------------------------- */

/* But for numbers: milliseconds differ each time. */
static bool says_the_same(const char *a, const char *b)
{
	for (;; a++, b++) {
		while (*a >= '0' && *a <= '9')
			a++;
		while (*b >= '0' && *b <= '9')
			b++;
		if (*a != *b)
			return false;
		if (!*a)
			return true;
	}
}

/* A server that is away for an hour is one line a minute, not one a try. */
static void say_failure(struct xds_stream *stream, uint32_t retry_ms)
{
	uint64_t now_ms = xds_now_ms();

	stream->tries++;
	if (says_the_same(stream->said, stream->last_error) && now_ms - stream->said_ms < SAY_AGAIN_MS)
		return;
	if (stream->tries > 1)
		log_warning("%s: %s (try %u); tries again, with pauses of up to %u s", stream->name, stream->last_error, stream->tries,
			    stream->backoff.max_ms / 1000);
	else
		log_warning("%s: %s; tries again in %u ms", stream->name, stream->last_error, retry_ms);
	memcpy(stream->said, stream->last_error, sizeof(stream->said));
	stream->said_ms = now_ms;
	stream->is_said = true;
}

static bool is_failure(const struct xds_close *why)
{
	return why->kind != XDS_CLOSE_ENDED && why->kind != XDS_CLOSE_RESTARTED;
}

/* ---- one call after the other ---------------------------------------------------------------------------------------------------- */

static void begin_later(struct xds_stream *stream, uint32_t after_ms)
{
	const struct timeval after = { .tv_sec = after_ms / 1000, .tv_usec = after_ms % 1000 * 1000 };

	stream->stats.retry_unix_ms = unix_ms() + after_ms;
	evtimer_add(stream->next_event, &after);
}

/* A call that lived longer than the longest pause was no part of a row of failures: a server that ends it (for age, or because it is replaced)
 * is asked again at once. */
static uint32_t choose_pause(struct xds_stream *stream, const struct xds_close *why)
{
	if (why->kind == XDS_CLOSE_RESTARTED)
		return 0;
	if (why->was_opened && why->lived_ms >= stream->backoff.max_ms) {
		xds_backoff_reset(&stream->backoff);
		return 0;
	}
	return xds_backoff_next(&stream->backoff);
}

/* Last thing to do: the stream may be gone after it. */
static void close_call(struct xds_stream *stream, struct xds_close *why)
{
	stream->is_call_over = true;
	stream->stats.is_open = false;
	stream->stats.connected_unix_ms = 0;
	why->retry_ms = choose_pause(stream, why);
	why->will_retry = true;
	if (is_failure(why)) {
		snprintf(stream->last_error, sizeof(stream->last_error), "%s", why->reason);
		stream->stats.failures++;
		stream->stats.error_unix_ms = unix_ms();
		say_failure(stream, why->retry_ms);
	} else {
		log_info("%s: %s after %llu s; begins anew", stream->name, why->reason, (unsigned long long)why->lived_ms / 1000);
	}
	begin_later(stream, why->retry_ms);
	stream->is_in_closed = true;
	if (stream->events.closed)
		stream->events.closed(stream, why, stream->context);
	stream->is_in_closed = false;
	if (stream->is_doomed && !stream->is_in_call)
		destroy(stream);
}

static void on_call_opened(void *arg)
{
	struct xds_stream *stream = arg;

	stream->is_in_call = true;
	stream->stats.is_open = true;
	stream->stats.connects++;
	stream->stats.connected_unix_ms = unix_ms();
	stream->events.opened(stream, stream->context);
}

static void on_call_message(void *arg, const void *bytes, size_t size)
{
	struct xds_stream *stream = arg;

	stream->is_in_call = true;
	if (stream->is_doomed || stream->is_restarting)
		return;
	if (stream->is_said)
		log_info("%s: %s answers again", stream->name, stream->address_text);
	stream->is_said = false;
	stream->tries = 0;
	stream->stats.messages_received++;
	stream->stats.bytes_received += size;
	stream->stats.answered_unix_ms = unix_ms();
	stream->events.message(stream, bytes, size, stream->context);
}

static void on_call_ended(void *arg, const struct xds_close *why)
{
	struct xds_stream *stream = arg;
	struct xds_close mine = *why;

	stream->is_in_call = true;
	if (!stream->is_doomed && !stream->is_restarting)
		close_call(stream, &mine);
}

/* The call may go now, and with it the stream. */
static void on_call_settled(void *arg)
{
	struct xds_stream *stream = arg;

	stream->is_in_call = false;
	if (stream->is_doomed)
		destroy(stream);
	else if (stream->is_call_over)
		xds_call_free(&stream->call);
}

static void begin(struct xds_stream *stream)
{
	static const struct xds_call_events events = { on_call_opened, on_call_message, on_call_ended, on_call_settled };
	struct xds_close why = { .kind = XDS_CLOSE_CONNECT, .grpc_status = -1, .grpc_message = "" };
	char problem[XDS_PROBLEM_MAX];
	int r;

	stream->stats.retry_unix_ms = 0;
	stream->is_call_over = false;
	r = xds_call_new(&stream->call, stream->base, &stream->call_options, &events, stream, problem, sizeof(problem));
	if (r) {
		why.reason = problem;
		close_call(stream, &why);
	}
}

static void on_next(evutil_socket_t fd, short what, void *arg)
{
	struct xds_close why = { .kind = XDS_CLOSE_RESTARTED, .grpc_status = -1, .grpc_message = "", .reason = "the call is ended" };
	struct xds_stream *stream = arg;
	bool is_restarting = stream->is_restarting;

	(void)fd;
	(void)what;
	stream->is_restarting = false;
	if (stream->call && !stream->is_call_over && is_restarting) {
		why.was_opened = stream->stats.is_open;
		why.lived_ms = stream->stats.is_open ? unix_ms() - stream->stats.connected_unix_ms : 0;
		xds_call_free(&stream->call);
		close_call(stream, &why); /* which comes back here */
		return;
	}
	xds_call_free(&stream->call);
	begin(stream);
}

/* ---- outside --------------------------------------------------------------------------------------------------------------------- */

static int copy(const char *text, char **out)
{
	if (!text)
		return 0;
	*out = strdup(text);
	return *out ? 0 : -ENOMEM;
}

static int copy_options(struct xds_stream *stream, const struct xds_stream_options *options)
{
	struct xds_credentials *to = &stream->credentials;
	int r = copy(options->address, &stream->address_text);

	r = r ? r : copy(options->path ? options->path : XDS_ADS_PATH, &stream->path);
	r = r ? r : copy(options->name ? options->name : options->address, &stream->name);
	r = r ? r : copy(options->root_cert_file, &to->root_cert_file);
	r = r ? r : copy(options->server_name, &to->server_name);
	r = r ? r : copy(options->token_file, &to->token_file);
	r = r ? r : copy(options->cluster_id, &to->cluster_id);
	r = r ? r : copy(options->cert_file, &to->cert_file);
	r = r ? r : copy(options->key_file, &to->key_file);
	stream->backoff.min_ms = options->retry_min_ms ? options->retry_min_ms : RETRY_MIN_MS;
	stream->backoff.max_ms = options->retry_max_ms ? options->retry_max_ms : RETRY_MAX_MS;
	if (getrandom(&stream->backoff.random, sizeof(stream->backoff.random), GRND_NONBLOCK) < 0)
		stream->backoff.random = xds_now_ms();
	stream->call_options = (struct xds_call_options){
		.address = &stream->address, .credentials = to, .path = stream->path, .answer_ms = ANSWER_MS,
		.keepalive_s = options->keepalive_s, .message_max_bytes = options->message_max_bytes ? options->message_max_bytes : XDS_MESSAGE_MAX,
	};
	return r;
}

static int check(struct xds_stream *stream)
{
	char problem[XDS_PROBLEM_MAX];
	int r = xds_address_parse(stream->address_text, &stream->address, problem, sizeof(problem));

	if (r == 0)
		r = xds_call_check(&stream->address, problem, sizeof(problem));
	if (r)
		log_error("%s: %s", stream->address_text, problem);
	return r;
}

int xds_stream_new(struct xds_stream **out, struct event_base *base, const struct xds_stream_options *options,
		   const struct xds_stream_events *events, void *context)
{
	_cleanup_(xds_stream_free) struct xds_stream *stream = calloc(1, sizeof(*stream));
	int r;

	if (!stream)
		return -ENOMEM;
	stream->base = base;
	stream->events = *events;
	stream->context = context;
	r = copy_options(stream, options);
	if (r == 0)
		r = check(stream);
	if (r)
		return r;
	stream->next_event = evtimer_new(base, on_next, stream);
	if (!stream->next_event)
		return -ENOMEM;
	begin_later(stream, 0);
	*out = TAKE_PTR(stream);
	return 0;
}

int xds_stream_send(struct xds_stream *stream, const void *bytes, size_t size)
{
	int r;

	if (!stream->stats.is_open || stream->is_restarting || stream->is_doomed)
		return -ENOTCONN;
	r = xds_call_send(stream->call, bytes, size);
	if (r)
		return r;
	stream->stats.messages_sent++;
	stream->stats.bytes_sent += size;
	return 0;
}

void xds_stream_restart(struct xds_stream *stream)
{
	stream->is_restarting = true;
	begin_later(stream, 0);
}

int xds_stream_set_certificate(struct xds_stream *stream, const char *chain_pem, const char *key_pem)
{
	_cleanup_free_ char *chain = NULL;
	char *key = NULL;

	if (chain_pem && key_pem) {
		chain = strdup(chain_pem);
		key = strdup(key_pem);
		if (!chain || !key) {
			free(key);
			return -ENOMEM;
		}
	}
	free(stream->credentials.chain_pem);
	if (stream->credentials.key_pem)
		OPENSSL_cleanse(stream->credentials.key_pem, strlen(stream->credentials.key_pem));
	free(stream->credentials.key_pem);
	stream->credentials.chain_pem = TAKE_PTR(chain);
	stream->credentials.key_pem = key;
	return 0;
}

void xds_stream_get_stats(const struct xds_stream *stream, struct xds_stream_stats *out)
{
	*out = stream->stats;
	out->last_error = stream->last_error;
	out->queued_bytes = stream->stats.is_open ? xds_call_queued_bytes(stream->call) : 0;
}

void xds_stream_free(struct xds_stream **pointer)
{
	struct xds_stream *stream = TAKE_PTR(*pointer);

	if (!stream)
		return;
	stream->is_doomed = true;
	if (stream->call)
		xds_call_silence(stream->call);
	if (stream->next_event)
		event_del(stream->next_event);
	if (!stream->is_in_call && !stream->is_in_closed)
		destroy(stream);
}

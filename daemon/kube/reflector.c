/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/reflector.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

#define PAGE_SIZE 500
#define ERROR_BODY_MAX (64u << 10)
#define ANSWER_MS 30000          /* a server that says nothing at all for so long has forgotten us */
#define WATCH_MIN_S 300          /* client-go's: watches end at different times on different nodes */
#define WATCH_MAX_S 600
#define WATCH_GRACE_MS 15000     /* after that the server should have ended it */
#define SILENCE_MS 90000         /* bookmarks come each minute, where they come */
#define BRIEF_MS 1000            /* a watch that ends so soon without an event is a failure */
#define PAUSE_MIN_MS 800
#define PAUSE_MAX_MS 30000
#define PAUSE_CALM_MS 120000     /* so long without a failure, and pauses are short again */
#define RETRY_AFTER_MAX_S 60

/* Which state a list may show. */
enum freshness {
	FRESH_ANY,       /* any: the server's cache answers, even the one of a server that is behind */
	FRESH_SEEN,      /* none older than what was seen */
	FRESH_NOW,       /* the present one */
};

enum phase { PHASE_PAUSED, PHASE_LISTING, PHASE_WATCHING };

struct kube_reflector {
	struct kube_reflector_options options;
	char *selector;              /* "fieldSelector=...&", or "" */
	enum phase phase;
	bool has_list;               /* what the store holds may be watched on from `version` */
	bool is_synced;
	enum freshness freshness;    /* of the next list */
	uint64_t round;
	char version[KUBE_VERSION_MAX + 1];
	struct kube_list_meta meta;  /* of the list being read; `next` continues it */

	/* of the request under way */
	int code;                    /* 0: no answer yet */
	uint32_t retry_after_s;
	bool is_protobuf;
	struct strbuf body;
	struct kube_frames frames;
	uint64_t started_ms, heard_ms, deadline_ms;
	uint64_t events_before;
	bool is_settled;             /* by what came: the rest does not matter */

	/* how it goes */
	bool has_bookmarks;          /* the server sends them */
	uint64_t patience_ms;        /* with a silent watch */
	bool wants_fresh;
	uint32_t pause_ms;           /* step of the next pause; 0: the first */
	uint64_t failed_ms;          /* when it failed last; 0: never */
	uint64_t listed_ms;          /* when a list was read to its end */
	uint64_t random;
	uint64_t lists, watches, events, failures;
	char error[320];
	char told[320];              /* what the log has of it */
};

/* ---- small things -------------------------------------------------------------------------------------------------------------------- */

static uint64_t next_random(struct kube_reflector *reflector)
{
	uint64_t z = reflector->random += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static const char *kind_name(const struct kube_reflector *reflector)
{
	return reflector->options.kind == KUBE_PODS ? "pods" : "namespaces";
}

static void pause_for(struct kube_reflector *reflector, uint64_t ms)
{
	reflector->phase = PHASE_PAUSED;
	reflector->options.ops->wake(reflector->options.arg, ms);
}

/* Twice as long each time, times a number from 1 to 2. */
static uint64_t next_pause(struct kube_reflector *reflector, uint64_t now_ms)
{
	uint32_t step;

	if (reflector->failed_ms && now_ms - reflector->failed_ms > PAUSE_CALM_MS)
		reflector->pause_ms = 0;
	reflector->failed_ms = now_ms;
	step = reflector->pause_ms ? reflector->pause_ms : PAUSE_MIN_MS;
	reflector->pause_ms = step > PAUSE_MAX_MS / 2 ? PAUSE_MAX_MS : step * 2;
	return step + next_random(reflector) % step;
}

static void note_error(struct kube_reflector *reflector, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note_error(struct kube_reflector *reflector, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(reflector->error, sizeof(reflector->error), fmt, args);
	va_end(args);
	reflector->failures++;
	if (strcmp(reflector->error, reflector->told) != 0)
		log_warning("Kubernetes, %s: %s%s", kind_name(reflector), reflector->error, reflector->is_synced ? "; what was known goes on" : "");
	memcpy(reflector->told, reflector->error, sizeof(reflector->told));
}

static void note_success(struct kube_reflector *reflector)
{
	if (reflector->told[0])
		log_info("Kubernetes, %s: all is well again", kind_name(reflector));
	reflector->error[0] = reflector->told[0] = '\0';
}

static void tell_change(const struct kube_reflector *reflector)
{
	if (reflector->options.ops->changed)
		reflector->options.ops->changed(reflector->options.arg);
}

/* ---- requests ------------------------------------------------------------------------------------------------------------------------ */

static void append_escaped(struct strbuf *out, const char *text)
{
	for (; *text; text++) {
		bool is_plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || (*text >= '0' && *text <= '9') || strchr("-._~", *text);

		if (is_plain)
			strbuf_append_byte(out, *text);
		else
			strbuf_printf(out, "%%%02X", (uint8_t)*text);
	}
}

static void append_freshness(struct kube_reflector *reflector, struct strbuf *target)
{
	if (reflector->freshness == FRESH_ANY) {
		strbuf_append_text(target, "&resourceVersion=0");
	} else if (reflector->freshness == FRESH_SEEN && reflector->version[0]) {
		strbuf_append_text(target, "&resourceVersionMatch=NotOlderThan&resourceVersion=");
		append_escaped(target, reflector->version);
	}
}

static void list_target(struct kube_reflector *reflector, struct strbuf *target)
{
	strbuf_printf(target, "/api/v1/%s?%slimit=%u", kind_name(reflector), reflector->selector, reflector->options.page_size);
	if (reflector->meta.next.size) {
		strbuf_append_text(target, "&continue=");
		append_escaped(target, strbuf_text(&reflector->meta.next));
	} else {
		append_freshness(reflector, target);
	}
}

static uint32_t watch_target(struct kube_reflector *reflector, struct strbuf *target)
{
	uint32_t timeout_s = WATCH_MIN_S + (uint32_t)(next_random(reflector) % (WATCH_MAX_S - WATCH_MIN_S + 1));

	strbuf_printf(target, "/api/v1/%s?%swatch=1&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=", kind_name(reflector), reflector->selector, timeout_s);
	append_escaped(target, reflector->version);
	return timeout_s;
}

static void watch_over(struct kube_reflector *reflector, uint64_t now_ms)
{
	uint64_t until = reflector->deadline_ms, silent;

	if (reflector->code == 0 || reflector->phase == PHASE_LISTING)
		silent = reflector->heard_ms + ANSWER_MS;
	else
		silent = reflector->has_bookmarks ? reflector->heard_ms + reflector->patience_ms : until;
	until = silent < until ? silent : until;
	reflector->options.ops->wake(reflector->options.arg, until > now_ms ? until - now_ms : 0);
}

static void request(struct kube_reflector *reflector, uint64_t now_ms)
{
	_cleanup_(strbuf_release) struct strbuf target = STRBUF_INIT;
	uint32_t timeout_s = 0;
	int r;

	reflector->code = 0;
	reflector->is_settled = false;
	reflector->retry_after_s = 0;
	strbuf_release(&reflector->body);
	kube_frames_reset(&reflector->frames);
	reflector->started_ms = reflector->heard_ms = now_ms;
	reflector->events_before = reflector->events;
	reflector->phase = reflector->has_list ? PHASE_WATCHING : PHASE_LISTING;
	if (reflector->has_list)
		timeout_s = watch_target(reflector, &target);
	else
		list_target(reflector, &target);
	reflector->deadline_ms = timeout_s ? now_ms + timeout_s * 1000ull + WATCH_GRACE_MS : UINT64_MAX;
	r = strbuf_status(&target);
	if (!r)
		r = reflector->options.ops->request(reflector->options.arg, strbuf_text(&target), reflector->wants_fresh);
	if (r) {
		note_error(reflector, "asking: %s", strerror(-r));
		pause_for(reflector, next_pause(reflector, now_ms));
		return;
	}
	reflector->wants_fresh = false;
	watch_over(reflector, now_ms);
}

/* From the first page. What the store holds stays until a list was read to its end. */
static void list_anew(struct kube_reflector *reflector, enum freshness freshness)
{
	reflector->has_list = false;
	reflector->freshness = freshness;
	strbuf_release(&reflector->meta.next);
	reflector->round++;
}

static void settle(struct kube_reflector *reflector, uint64_t pause_ms)
{
	reflector->is_settled = true;
	reflector->options.ops->cancel(reflector->options.arg);
	pause_for(reflector, pause_ms);
}

/* ---- lists --------------------------------------------------------------------------------------------------------------------------- */

static int on_item(void *arg, const uint8_t *raw, size_t size)
{
	struct kube_reflector *reflector = arg;
	char version[KUBE_VERSION_MAX + 1];

	return kube_store_put(reflector->options.store, reflector->options.kind, reflector->round, raw, size, version);
}

static void finish_list(struct kube_reflector *reflector, uint64_t now_ms)
{
	memcpy(reflector->version, reflector->meta.resource_version, sizeof(reflector->version));
	kube_store_sweep(reflector->options.store, reflector->options.kind, reflector->round);
	reflector->has_list = true;
	reflector->listed_ms = now_ms;
	reflector->lists++;
	if (!reflector->is_synced)
		log_info("Kubernetes: %zu %s are known", kube_store_count(reflector->options.store, reflector->options.kind), kind_name(reflector));
	reflector->is_synced = true;
	reflector->patience_ms = SILENCE_MS;
	note_success(reflector);
	tell_change(reflector);
	request(reflector, now_ms);
}

static void take_page(struct kube_reflector *reflector, uint64_t now_ms)
{
	struct kube_envelope list;
	int r = kube_envelope_read(reflector->body.data ? reflector->body.data : "", reflector->body.size, &list);

	strbuf_release(&reflector->meta.next);
	reflector->meta.resource_version[0] = '\0';
	if (!r)
		r = kube_list_read(list.raw, list.size, &reflector->meta, on_item, reflector);
	strbuf_release(&reflector->body);
	if (!r && !reflector->meta.resource_version[0])
		r = -EBADMSG;
	if (r) {
		note_error(reflector, "a list that can't be read: %s", strerror(-r));
		list_anew(reflector, FRESH_NOW);
		pause_for(reflector, next_pause(reflector, now_ms));
	} else if (reflector->meta.next.size) {
		request(reflector, now_ms);
	} else {
		finish_list(reflector, now_ms);
	}
}

/* ---- watches ------------------------------------------------------------------------------------------------------------------------- */

/* That the server has forgotten a version is no fault, unless it is that of a list which it has just given. */
static uint64_t pause_after_expiry(struct kube_reflector *reflector, uint64_t now_ms)
{
	return now_ms - reflector->listed_ms < BRIEF_MS ? next_pause(reflector, now_ms) : next_random(reflector) % 200;
}

static void take_error(struct kube_reflector *reflector, const struct kube_status *status, uint64_t now_ms)
{
	bool is_expired = status->code == 410;

	if (is_expired)
		log_info("Kubernetes, %s: the server has forgotten where the watch was (%s): listing again", kind_name(reflector), status->message);
	else
		note_error(reflector, "the watch ended with %d %s: %s", status->code, status->reason, status->message);
	list_anew(reflector, FRESH_SEEN);
	settle(reflector, is_expired ? pause_after_expiry(reflector, now_ms) : next_pause(reflector, now_ms));
}

struct feed {
	struct kube_reflector *reflector;
	uint64_t now_ms;
	bool has_changed;
};

static int take_object(struct kube_reflector *reflector, enum kube_event_type type, const struct kube_envelope *object)
{
	struct kube_store *store = reflector->options.store;
	char version[KUBE_VERSION_MAX + 1];
	bool ends_initial_events;
	int r;

	if (type == KUBE_BOOKMARK)
		r = kube_version_read(object->raw, object->size, version, &ends_initial_events);
	else if (type == KUBE_DELETED)
		r = kube_store_delete(store, reflector->options.kind, object->raw, object->size, version);
	else
		r = kube_store_put(store, reflector->options.kind, reflector->round, object->raw, object->size, version);
	if (r)
		return r;
	memcpy(reflector->version, version, sizeof(version));
	reflector->has_bookmarks |= type == KUBE_BOOKMARK;
	return 0;
}

static int on_frame(void *arg, const uint8_t *bytes, size_t size)
{
	struct feed *feed = arg;
	struct kube_reflector *reflector = feed->reflector;
	struct kube_envelope object;
	struct kube_status status;
	enum kube_event_type type;
	int r = kube_event_read(bytes, size, &type, &object);

	if (r)
		return r;
	reflector->events++;
	if (type == KUBE_ERROR) {
		r = kube_status_read(object.raw, object.size, &status);
		if (!r)
			take_error(reflector, &status, feed->now_ms);
		return r ? r : -ECANCELED;
	}
	feed->has_changed |= type != KUBE_BOOKMARK;
	return take_object(reflector, type, &object);
}

static void take_events(struct kube_reflector *reflector, const void *bytes, size_t size, uint64_t now_ms)
{
	struct feed feed = { .reflector = reflector, .now_ms = now_ms };
	int r = kube_frames_feed(&reflector->frames, bytes, size, on_frame, &feed);

	reflector->patience_ms = SILENCE_MS;
	if (r && !reflector->is_settled) {
		note_error(reflector, "an event that can't be read: %s", strerror(-r));
		list_anew(reflector, FRESH_NOW);
		settle(reflector, next_pause(reflector, now_ms));
	}
	if (feed.has_changed)
		tell_change(reflector);
}

/* ---- ends ---------------------------------------------------------------------------------------------------------------------------- */

static void describe_answer(const struct kube_reflector *reflector, struct kube_status *status)
{
	const char *text = strbuf_text(&reflector->body);
	struct kube_envelope envelope;

	*status = (struct kube_status){ .code = reflector->code };
	if (!reflector->is_protobuf || kube_envelope_read(text, reflector->body.size, &envelope) || kube_status_read(envelope.raw, envelope.size, status))
		snprintf(status->message, sizeof(status->message), "%.*s", (int)strcspn(text, "\r\n"), text);
	status->code = reflector->code;
}

static uint64_t wait_as_told(struct kube_reflector *reflector, uint32_t seconds, uint64_t now_ms)
{
	uint64_t ms = (seconds > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : seconds) * 1000ull;

	/* It still counts as a failure: a server that always says one second must not be asked each second. */
	return ms + (next_pause(reflector, now_ms) - PAUSE_MIN_MS) + next_random(reflector) % 250;
}

static void take_refusal(struct kube_reflector *reflector, uint64_t now_ms)
{
	struct kube_status status;
	uint32_t seconds;

	describe_answer(reflector, &status);
	seconds = reflector->retry_after_s ? reflector->retry_after_s : status.retry_after_s;
	note_error(reflector, "%s is answered with %d%s%s: %s", reflector->phase == PHASE_LISTING ? "the list" : "the watch", status.code,
		   status.reason[0] ? " " : "", status.reason, status.message);
	if (status.code == 410 && reflector->phase == PHASE_WATCHING) {
		list_anew(reflector, FRESH_SEEN);
		pause_for(reflector, pause_after_expiry(reflector, now_ms));
		return;
	}
	/* 410: the token that continues the list is too old. 400 and 504: it may be the version, which then has to be asked for no more. */
	if (status.code == 410 || status.code == 400 || status.code == 504)
		list_anew(reflector, FRESH_NOW);
	if (seconds && (status.code == 429 || status.code >= 500))
		pause_for(reflector, wait_as_told(reflector, seconds, now_ms));
	else
		pause_for(reflector, next_pause(reflector, now_ms));
}

static void end_list(struct kube_reflector *reflector, const char *problem, uint64_t now_ms)
{
	if (problem) {
		note_error(reflector, "the list: %s", problem);
		pause_for(reflector, next_pause(reflector, now_ms));
	} else if (!reflector->is_protobuf) {
		note_error(reflector, "the list came as something else than " KUBE_CONTENT_TYPE);
		pause_for(reflector, next_pause(reflector, now_ms));
	} else {
		take_page(reflector, now_ms);
	}
}

static void end_watch(struct kube_reflector *reflector, const char *problem, uint64_t now_ms)
{
	bool is_brief = now_ms - reflector->started_ms < BRIEF_MS && reflector->events == reflector->events_before;

	if (reflector->code == 0 || is_brief) {
		note_error(reflector, "the watch: %s", problem ? problem : "it ends as soon as it begins");
		pause_for(reflector, next_pause(reflector, now_ms));
		return;
	}
	if (problem)
		log_debug("Kubernetes, %s: the watch was cut: %s", kind_name(reflector), problem);
	/* At once, nearly: a server that ends does so to all nodes. It did well for a while, so what may fail now begins with short pauses. */
	reflector->pause_ms = 0;
	pause_for(reflector, next_random(reflector) % (problem ? 100 : 10));
}

void kube_reflector_end(struct kube_reflector *reflector, const char *problem, uint64_t now_ms)
{
	if (reflector->phase == PHASE_PAUSED || reflector->is_settled)
		return;
	if (reflector->code && reflector->code != 200)
		take_refusal(reflector, now_ms);
	else if (reflector->phase == PHASE_LISTING)
		end_list(reflector, problem, now_ms);
	else
		end_watch(reflector, problem, now_ms);
}

void kube_reflector_head(struct kube_reflector *reflector, int code, const char *content_type, uint32_t retry_after_s, uint64_t now_ms)
{
	if (reflector->phase == PHASE_PAUSED || reflector->is_settled)
		return;
	reflector->code = code;
	reflector->is_protobuf = strcmp(content_type, KUBE_CONTENT_TYPE) == 0;
	reflector->retry_after_s = retry_after_s;
	reflector->heard_ms = now_ms;
	if (code == 200 && reflector->phase == PHASE_WATCHING) {
		if (!reflector->is_protobuf) {
			note_error(reflector, "the watch came as something else than " KUBE_CONTENT_TYPE);
			settle(reflector, next_pause(reflector, now_ms));
			return;
		}
		reflector->watches++;
		note_success(reflector);
	}
	watch_over(reflector, now_ms);
}

void kube_reflector_body(struct kube_reflector *reflector, const void *bytes, size_t size, uint64_t now_ms)
{
	size_t limit = reflector->code == 200 ? KUBE_LIST_BYTES_MAX : ERROR_BODY_MAX;

	if (reflector->phase == PHASE_PAUSED || reflector->is_settled)
		return;
	reflector->heard_ms = now_ms;
	watch_over(reflector, now_ms);
	if (reflector->code == 200 && reflector->phase == PHASE_WATCHING) {
		take_events(reflector, bytes, size, now_ms);
		return;
	}
	if (size > limit - (reflector->body.size < limit ? reflector->body.size : limit) || strbuf_append(&reflector->body, bytes, size)) {
		note_error(reflector, "an answer of more than %zu bytes", limit);
		settle(reflector, next_pause(reflector, now_ms));
	}
}

/* ---- time ---------------------------------------------------------------------------------------------------------------------------- */

/* The server, or what is between, does not speak any more. Another connection goes on from where this one was. */
static void give_up(struct kube_reflector *reflector, uint64_t now_ms)
{
	bool is_watch = reflector->phase == PHASE_WATCHING && reflector->code == 200;

	reflector->wants_fresh = true;
	if (!is_watch) {
		note_error(reflector, "no answer for %d s", ANSWER_MS / 1000);
		settle(reflector, next_pause(reflector, now_ms));
		return;
	}
	log_debug("Kubernetes, %s: the watch has been silent for %llu s: beginning another one", kind_name(reflector),
		  (unsigned long long)((now_ms - reflector->heard_ms) / 1000));
	/* A cluster at rest is silent too. */
	reflector->patience_ms *= 2;
	settle(reflector, 0);
}

void kube_reflector_wake(struct kube_reflector *reflector, uint64_t now_ms)
{
	bool is_silent;

	if (reflector->phase == PHASE_PAUSED) {
		request(reflector, now_ms);
		return;
	}
	if (reflector->code == 0 || reflector->phase == PHASE_LISTING)
		is_silent = now_ms - reflector->heard_ms >= ANSWER_MS;
	else
		is_silent = reflector->has_bookmarks && now_ms - reflector->heard_ms >= reflector->patience_ms;
	if (is_silent || now_ms >= reflector->deadline_ms)
		give_up(reflector, now_ms);
	else
		watch_over(reflector, now_ms);
}

void kube_reflector_start(struct kube_reflector *reflector, uint64_t now_ms)
{
	request(reflector, now_ms);
}

/* ---- beginning and end --------------------------------------------------------------------------------------------------------------- */

void kube_reflector_get_status(const struct kube_reflector *reflector, struct kube_reflector_status *out)
{
	*out = (struct kube_reflector_status){
		.is_synced = reflector->is_synced,
		.is_watching = reflector->phase == PHASE_WATCHING && reflector->code == 200,
		.lists = reflector->lists,
		.watches = reflector->watches,
		.events = reflector->events,
		.failures = reflector->failures,
		.last_error = reflector->error,
	};
}

int kube_reflector_new(struct kube_reflector **out, const struct kube_reflector_options *options)
{
	_cleanup_(kube_reflector_free) struct kube_reflector *reflector = calloc(1, sizeof(*reflector));
	_cleanup_(strbuf_release) struct strbuf selector = STRBUF_INIT;

	if (!reflector)
		return -ENOMEM;
	reflector->options = *options;
	if (!reflector->options.page_size)
		reflector->options.page_size = PAGE_SIZE;
	reflector->random = options->random;
	reflector->round = 1;
	reflector->patience_ms = SILENCE_MS;
	strbuf_append_text(&selector, "");
	if (options->node_name) {
		strbuf_append_text(&selector, "fieldSelector=spec.nodeName%3D");
		append_escaped(&selector, options->node_name);
		strbuf_append_byte(&selector, '&');
	}
	reflector->selector = strbuf_take(&selector);
	if (!reflector->selector)
		return -ENOMEM;
	*out = TAKE_PTR(reflector);
	return 0;
}

void kube_reflector_free(struct kube_reflector **pointer)
{
	struct kube_reflector *reflector = TAKE_PTR(*pointer);

	if (!reflector)
		return;
	strbuf_release(&reflector->meta.next);
	strbuf_release(&reflector->body);
	kube_frames_reset(&reflector->frames);
	free(reflector->selector);
	free(reflector);
}

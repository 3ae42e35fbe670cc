/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/node.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "kube/exceptions.h"
#include "kube/http.h"
#include "kube/report.h"

#define KINDS 2
#define SOON_MIN_MS 20           /* pods that could not be found are looked for again: a sandbox takes a moment to be there */
#define SOON_MAX_MS 1000

/* What is known of a pod beyond what the server says. */
struct entry {
	char *key;                   /* namespace/name */
	char *uid;
	enum enrol_reason told;      /* what an Event has been made of */
	char *judged;                /* resourceVersion of the pod when its place was looked at */
	struct enrol enrol;
	bool has_place, is_seen;
	struct place place;
	UT_hash_handle hh;
};

struct side {
	struct kube_node *node;
	struct kube_reflector *reflector;
	struct kube_call *call;
	struct event *timer;
};

struct kube_node {
	struct kube_node_options options;
	struct kube_http *http;
	struct kube_reports *reports;
	struct kube_store *store;
	struct side sides[KINDS];
	struct entry *entries;
	struct event *judge_event;   /* after a burst of changes; and while pods are waited for */
	uint32_t soon_ms;
	uint64_t fingerprint;        /* of what was told last */
	bool has_told;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void start_timer(struct event *timer, uint64_t after_ms)
{
	const struct timeval after = { .tv_sec = (time_t)(after_ms / 1000), .tv_usec = (suseconds_t)(after_ms % 1000 * 1000) };

	evtimer_add(timer, &after);
}

/* ---- entries -------------------------------------------------------------------------------------------------------------------------- */

static void entry_free(struct entry **entry)
{
	if (!*entry)
		return;
	place_release(&(*entry)->place);
	free((*entry)->key);
	free((*entry)->uid);
	free((*entry)->judged);
	free(*entry);
	*entry = NULL;
}

static struct entry *find_entry(const struct kube_node *node, const struct kube_pod *pod)
{
	struct entry *found = NULL;
	char key[512];
	int size = snprintf(key, sizeof(key), "%s/%s", pod->namespace_name, pod->name);

	if (size < (int)sizeof(key))
		HASH_FIND(hh, node->entries, key, (size_t)size, found);
	return found;
}

static void drop_entry(struct kube_node *node, struct entry *entry)
{
	HASH_DEL(node->entries, entry);
	entry_free(&entry);
}

static struct entry *make_entry(struct kube_node *node, const struct kube_pod *pod)
{
	_cleanup_(entry_free) struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry || asprintf(&entry->key, "%s/%s", pod->namespace_name, pod->name) < 0)
		return NULL;
	entry->uid = strdup(pod->uid);
	if (!entry->uid)
		return NULL;
	HASH_ADD_KEYPTR(hh, node->entries, entry->key, strlen(entry->key), entry);
	return entry->hh.tbl ? TAKE_PTR(entry) : NULL;
}

/* ---- judging -------------------------------------------------------------------------------------------------------------------------- */

static void lose_place(struct entry *entry)
{
	place_release(&entry->place);
	entry->has_place = false;
}

/* What the server says of the pod has changed, or some time has passed: its sandbox may be another one. */
static void check_place(struct kube_node *node, const struct kube_pod *pod, struct entry *entry, bool is_due)
{
	bool has_changed = !entry->judged || strcmp(entry->judged, pod->resource_version) != 0;

	if (has_changed) {
		free(entry->judged);
		entry->judged = strdup(pod->resource_version);
	}
	if (entry->has_place && (has_changed || is_due) && !place_holds(&node->options.roots, &entry->place))
		lose_place(entry);
}

/* Somebody wants it enrolled, and it can't be. That a pod has ended is nobody's fault, and what waits may still come. */
static void tell_user(struct kube_node *node, const struct kube_pod *pod, struct entry *entry, const struct enrol *enrol)
{
	const struct kube_report report = {
		.namespace_name = pod->namespace_name,
		.name = pod->name,
		.uid = pod->uid,
		.reason = enrol_reason_name(enrol->reason),
		.message = enrol->text,
	};

	if (enrol->verdict != ENROL_SKIPPED || enrol->reason == ENROL_TERMINATED || entry->told == enrol->reason)
		return;
	entry->told = enrol->reason;
	kube_reports_add(node->reports, &report);
}

void kube_node_report(struct kube_node *node, const char *namespace_name, const char *name, const char *reason, const char *text)
{
	const struct kube_pod *pod = kube_store_find_pod(node->store, namespace_name, name);
	const struct kube_report report = { namespace_name, name, pod ? pod->uid : "", reason, text };

	if (pod)
		kube_reports_add(node->reports, &report);
}

static void judge_pod(struct kube_node *node, const struct kube_pod *pod, bool is_due, bool *is_waiting)
{
	struct entry *entry = find_entry(node, pod);
	struct enrol enrol;
	int r;

	if (entry && strcmp(entry->uid, pod->uid) != 0) {
		drop_entry(node, entry);
		entry = NULL;
	}
	if (!entry)
		entry = make_entry(node, pod);
	if (!entry) {
		log_err(-ENOMEM, "pod %s/%s", pod->namespace_name, pod->name);
		return;
	}
	entry->is_seen = true;
	enrol_judge(pod, kube_store_find_namespace(node->store, pod->namespace_name), &enrol);
	if (enrol.verdict == ENROL_WANTED) {
		check_place(node, pod, entry, is_due);
		if (!entry->has_place) {
			r = place_find(&node->options.roots, pod, &entry->place, &enrol);
			entry->has_place = r == 0;
			*is_waiting |= r != 0;
		}
	} else {
		lose_place(entry);
	}
	entry->enrol = enrol;
	tell_user(node, pod, entry, &enrol);
}

static void mix(uint64_t *hash, const void *bytes, size_t size)
{
	for (const uint8_t *at = bytes; size--; at++)
		*hash = (*hash ^ *at) * 0x100000001b3;
}

static void mix_text(uint64_t *hash, const char *text)
{
	mix(hash, text, strlen(text) + 1);
}

/* Of all that kube_node_pods() says. */
static uint64_t fingerprint(const struct kube_node *node)
{
	uint64_t hash = 0xcbf29ce484222325;
	const struct kube_pod *pod = NULL;

	while ((pod = kube_store_next_pod(node->store, pod))) {
		const struct entry *entry = find_entry(node, pod);

		if (!entry || !entry->has_place)
			continue;
		mix_text(&hash, entry->key);
		mix_text(&hash, entry->uid);
		mix_text(&hash, pod->service_account);
		mix_text(&hash, entry->place.cgroup);
		mix(&hash, &entry->place.netns.inode, sizeof(entry->place.netns.inode));
		for (size_t i = 0; i < pod->ip_count; i++)
			mix_text(&hash, pod->ips[i]);
		for (size_t i = 0; i < pod->label_count; i++) {
			mix_text(&hash, pod->labels[i].key);
			mix_text(&hash, pod->labels[i].value);
		}
		for (size_t i = 0; i < pod->annotation_count; i++) {
			mix_text(&hash, pod->annotations[i].key);
			mix_text(&hash, pod->annotations[i].value);
		}
	}
	return hash;
}

static void judge_all(struct kube_node *node, bool is_due)
{
	const struct kube_pod *pod = NULL;
	struct entry *entry, *next;
	bool is_waiting = false;
	uint64_t hash;

	/* A namespace that is not known yet is no namespace without a label. */
	if (!kube_node_is_synced(node))
		return;
	for (entry = node->entries; entry; entry = entry->hh.next)
		entry->is_seen = false;
	while ((pod = kube_store_next_pod(node->store, pod)))
		judge_pod(node, pod, is_due, &is_waiting);
	HASH_ITER(hh, node->entries, entry, next)
		if (!entry->is_seen)
			drop_entry(node, entry);
	if (is_waiting && node->soon_ms < SOON_MAX_MS) {
		start_timer(node->judge_event, node->soon_ms);
		node->soon_ms *= 2;
	}
	hash = fingerprint(node);
	if (node->has_told && hash == node->fingerprint)
		return;
	node->has_told = true;
	node->fingerprint = hash;
	node->options.changed(node->options.arg);
}

static void on_judge(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	judge_all(arg, false);
}

void kube_node_look_again(struct kube_node *node)
{
	judge_all(node, true);
}

/* ---- reflectors ----------------------------------------------------------------------------------------------------------------------- */

static void on_head(void *arg, const struct kube_answer_head *head)
{
	struct side *side = arg;

	kube_reflector_head(side->reflector, head->code, head->content_type, head->retry_after_s, now_ms());
}

static void on_body(void *arg, const void *bytes, size_t size)
{
	struct side *side = arg;

	kube_reflector_body(side->reflector, bytes, size, now_ms());
}

static void on_end(void *arg, const char *problem)
{
	struct side *side = arg;

	kube_reflector_end(side->reflector, problem, now_ms());
}

static int on_request(void *arg, const char *target, bool is_fresh)
{
	static const struct kube_call_events events = { on_head, on_body, on_end };
	const struct kube_request request = { .target = target, .is_fresh = is_fresh };
	struct side *side = arg;

	kube_call_free(&side->call);
	return kube_call_new(&side->call, side->node->http, &request, &events, side);
}

static void on_cancel(void *arg)
{
	kube_call_free(&((struct side *)arg)->call);
}

static void on_wake_wanted(void *arg, uint64_t after_ms)
{
	start_timer(((struct side *)arg)->timer, after_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct side *side = arg;

	(void)fd;
	(void)what;
	kube_reflector_wake(side->reflector, now_ms());
}

static void on_changed(void *arg)
{
	struct side *side = arg;

	side->node->soon_ms = SOON_MIN_MS;
	start_timer(side->node->judge_event, 0);
}

static int begin_side(struct kube_node *node, enum kube_kind kind)
{
	static const struct kube_reflector_ops ops = { on_request, on_cancel, on_wake_wanted, on_changed };
	struct side *side = &node->sides[kind];
	const struct kube_reflector_options options = {
		.kind = kind,
		.node_name = kind == KUBE_PODS ? node->options.node_name : NULL,
		.store = node->store,
		.random = node->options.random + kind,
		.ops = &ops,
		.arg = side,
	};
	int r;

	side->node = node;
	side->timer = evtimer_new(node->options.base, on_timer, side);
	if (!side->timer)
		return -ENOMEM;
	r = kube_reflector_new(&side->reflector, &options);
	if (!r)
		kube_reflector_start(side->reflector, now_ms());
	return r;
}

/* ---- answers -------------------------------------------------------------------------------------------------------------------------- */

static int add_pod(struct pods *pods, const struct kube_pod *pod, const struct entry *entry)
{
	struct weft_exceptions exceptions;
	char problem[200];
	struct pod_ip ips[8];
	struct pod enrolled = {
		.name = pod->name,
		.namespace_name = pod->namespace_name,
		.service_account = pod->service_account,
		.network_namespace = entry->place.network_namespace,
		.netns_inode = entry->place.netns.inode,
		.cgroup = entry->place.cgroup,
		.labels = pod->labels,
		.label_count = pod->label_count,
		.ips = ips,
	};
	int r;

	for (size_t i = 0; i < pod->ip_count && i < ARRAY_SIZE(ips); i++)
		ips[enrolled.ip_count++] = (struct pod_ip){ .text = pod->ips[i] };
	r = exceptions_read(pod, &exceptions, problem, sizeof(problem)); /* it was judged by them */
	if (!exceptions_are_none(&exceptions))
		enrolled.exceptions = &exceptions;
	if (!r)
		r = pods_add(pods, &enrolled);
	/* An address is given to another pod while the server still lists its former one. */
	if (r == -EEXIST || r == -EINVAL) {
		log_warn(r, "pod %s/%s (%s) is not enrolled now", pod->namespace_name, pod->name, pod->ips[0]);
		return 0;
	}
	return r;
}

int kube_node_pods(const struct kube_node *node, struct pods **out)
{
	_cleanup_(pods_free) struct pods *pods = NULL;
	const struct kube_pod *pod = NULL;
	int r = pods_new(&pods);

	while (!r && (pod = kube_store_next_pod(node->store, pod))) {
		const struct entry *entry = find_entry(node, pod);

		if (entry && entry->has_place)
			r = add_pod(pods, pod, entry);
	}
	if (r)
		return r;
	*out = TAKE_PTR(pods);
	return 0;
}

void kube_node_each(const struct kube_node *node, kube_node_fn fn, void *arg)
{
	const struct kube_pod *pod = NULL;

	while ((pod = kube_store_next_pod(node->store, pod))) {
		const struct entry *entry = find_entry(node, pod);

		if (entry)
			fn(arg, pod, &entry->enrol);
	}
}

void kube_node_get_status(const struct kube_node *node, enum kube_kind kind, struct kube_reflector_status *out)
{
	kube_reflector_get_status(node->sides[kind].reflector, out);
}

bool kube_node_is_synced(const struct kube_node *node)
{
	struct kube_reflector_status status;

	for (int kind = 0; kind < KINDS; kind++) {
		if (!node->sides[kind].reflector)
			return false;
		kube_reflector_get_status(node->sides[kind].reflector, &status);
		if (!status.is_synced)
			return false;
	}
	return true;
}

size_t kube_node_count(const struct kube_node *node, enum kube_kind kind)
{
	return kube_store_count(node->store, kind);
}

/* ---- beginning and end ---------------------------------------------------------------------------------------------------------------- */

int kube_node_new(struct kube_node **out, const struct kube_node_options *options)
{
	_cleanup_(kube_node_free) struct kube_node *node = calloc(1, sizeof(*node));
	int r;

	if (!node)
		return -ENOMEM;
	node->options = *options;
	node->soon_ms = SOON_MIN_MS;
	node->judge_event = evtimer_new(options->base, on_judge, node);
	r = node->judge_event ? kube_store_new(&node->store) : -ENOMEM;
	if (!r)
		r = kube_http_new(&node->http, options->base, options->access);
	if (!r)
		r = kube_reports_new(&node->reports, node->http, options->node_name);
	for (int kind = 0; kind < KINDS && !r; kind++)
		r = begin_side(node, (enum kube_kind)kind);
	if (r)
		return r;
	*out = TAKE_PTR(node);
	return 0;
}

void kube_node_free(struct kube_node **pointer)
{
	struct kube_node *node = TAKE_PTR(*pointer);
	struct entry *entry, *next;

	if (!node)
		return;
	for (int kind = 0; kind < KINDS; kind++) {
		kube_call_free(&node->sides[kind].call);
		kube_reflector_free(&node->sides[kind].reflector);
		if (node->sides[kind].timer)
			event_free(node->sides[kind].timer);
	}
	kube_reports_free(&node->reports);
	kube_http_free(&node->http);
	HASH_ITER(hh, node->entries, entry, next)
		drop_entry(node, entry);
	kube_store_free(&node->store);
	if (node->judge_event)
		event_free(node->judge_event);
	free(node);
}

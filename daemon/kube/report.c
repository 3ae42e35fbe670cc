/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/report.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "kube/http.h"

#define WAITING_MAX 256          /* further ones are dropped: a server that is slow has other troubles */
#define CONFLICT 409             /* there is one of that name */

struct waiting {
	struct waiting *next;
	char *target, *body;
};

struct kube_reports {
	struct kube_http *http;
	const char *node_name;
	struct kube_call *call;
	struct waiting *first, **last;
	unsigned int count;
	bool is_refused;             /* the last answer was no: said once */
};

static void waiting_free(struct waiting **waiting)
{
	if (!*waiting)
		return;
	free((*waiting)->target);
	free((*waiting)->body);
	free(*waiting);
	*waiting = NULL;
}

static void send_next(struct kube_reports *reports);

static void on_head(void *arg, const struct kube_answer_head *head)
{
	struct kube_reports *reports = arg;
	bool is_refused = head->code / 100 != 2 && head->code != CONFLICT;

	if (is_refused && !reports->is_refused)
		log_warning("Kubernetes: an Event on a pod is answered with %d (weftd's role needs `create` of events); `weftctl pods` has the reasons too", head->code);
	reports->is_refused = is_refused;
}

static void on_body(void *arg, const void *bytes, size_t size)
{
	(void)arg;
	(void)bytes;
	(void)size;
}

static void on_end(void *arg, const char *problem)
{
	struct kube_reports *reports = arg;

	if (problem)
		log_debug("Kubernetes: an Event on a pod is lost: %s", problem);
	kube_call_free(&reports->call);
	send_next(reports);
}

static void send_next(struct kube_reports *reports)
{
	static const struct kube_call_events events = { on_head, on_body, on_end };

	while (reports->first && !reports->call) {
		_cleanup_(waiting_free) struct waiting *waiting = reports->first;
		const struct kube_request request = { .target = waiting->target, .post_json = waiting->body };

		reports->first = waiting->next;
		if (!reports->first)
			reports->last = &reports->first;
		reports->count--;
		if (kube_call_new(&reports->call, reports->http, &request, &events, reports))
			log_debug("Kubernetes: an Event on a pod is lost");
	}
}

/* Names of objects are lower case letters, digits, dots and dashes. */
static void append_name(struct strbuf *out, const char *text)
{
	for (; *text; text++)
		strbuf_append_byte(out, *text == '_' ? '-' : *text);
}

static char *body_of(const struct kube_reports *reports, const struct kube_report *report)
{
	_cleanup_(strbuf_release) struct strbuf name = STRBUF_INIT;
	time_t now = time(NULL);
	json_t *object;
	struct tm utc;
	char when[32], *text;

	gmtime_r(&now, &utc);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &utc);
	strbuf_printf(&name, "%.200s.weft.", report->name);
	append_name(&name, report->reason);
	object = json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s, s:s, s:s}, s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:s, s:i}", "apiVersion", "v1", "kind", "Event",
		"metadata", "name", strbuf_text(&name), "namespace", report->namespace_name,
		"involvedObject", "apiVersion", "v1", "kind", "Pod", "namespace", report->namespace_name, "name", report->name, "uid", report->uid,
		"type", "Warning", "reason", "NotEnrolled", "message", report->message, "source", "component", "weftd", "host", reports->node_name,
		"firstTimestamp", when, "lastTimestamp", when, "count", 1);
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	return text;
}

void kube_reports_add(struct kube_reports *reports, const struct kube_report *report)
{
	_cleanup_(waiting_free) struct waiting *waiting = NULL;

	if (reports->count >= WAITING_MAX)
		return;
	waiting = calloc(1, sizeof(*waiting));
	if (!waiting || asprintf(&waiting->target, "/api/v1/namespaces/%s/events", report->namespace_name) < 0)
		return;
	waiting->body = body_of(reports, report);
	if (!waiting->body)
		return;
	reports->count++;
	*reports->last = waiting;
	reports->last = &waiting->next;
	waiting = NULL;
	send_next(reports);
}

int kube_reports_new(struct kube_reports **out, struct kube_http *http, const char *node_name)
{
	struct kube_reports *reports = calloc(1, sizeof(*reports));

	if (!reports)
		return -ENOMEM;
	reports->http = http;
	reports->node_name = node_name;
	reports->last = &reports->first;
	*out = reports;
	return 0;
}

void kube_reports_free(struct kube_reports **pointer)
{
	struct kube_reports *reports = TAKE_PTR(*pointer);

	if (!reports)
		return;
	kube_call_free(&reports->call);
	while (reports->first) {
		struct waiting *waiting = reports->first;

		reports->first = waiting->next;
		waiting_free(&waiting);
	}
	free(reports);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Events on pods that can't be enrolled, where `kubectl describe pod` shows them. One at a time, since nothing hangs on them; what the server does not
 * want is dropped. An Event's name is made of the pod and the reason, so one that is still there is not made again. */
#ifndef WEFT_KUBE_REPORT_H
#define WEFT_KUBE_REPORT_H

struct event_base;
struct kube_http;
struct kube_reports;

struct kube_report {
	const char *namespace_name, *name, *uid; /* of the pod */
	const char *reason;          /* "host_network": part of the Event's name */
	const char *message;
};

int kube_reports_new(struct kube_reports **out, struct kube_http *http, const char *node_name);
void kube_reports_free(struct kube_reports **reports);
void kube_reports_add(struct kube_reports *reports, const struct kube_report *report);

#endif

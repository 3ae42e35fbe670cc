/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the API server, by libcurl in the event loop: over HTTP/2 where the server offers it, all on one connection then. libcurl's
 * callbacks run deep inside it, so they only note what came; it is told afterwards, when everything may be done, the call's own end too. */
#ifndef WEFT_KUBE_HTTP_H
#define WEFT_KUBE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct kube_access;
struct kube_http;
struct kube_call;

struct kube_answer_head {
	int code;
	char content_type[96];       /* without parameters */
	uint32_t retry_after_s;      /* 0: not said */
};

/* In this order; `body` as often as bytes come, `end` last. Each may free the call. */
struct kube_call_events {
	void (*head)(void *arg, const struct kube_answer_head *head);
	void (*body)(void *arg, const void *bytes, size_t size);
	void (*end)(void *arg, const char *problem); /* NULL: all of it came */
};

struct kube_request {
	const char *target;          /* "/api/v1/..." */
	bool is_fresh;               /* on a new connection: the one there is can't be trusted */
	const char *post_json;       /* NULL: GET, of protobuf */
};

/* `access` must outlive it. */
int kube_http_new(struct kube_http **out, struct event_base *base, const struct kube_access *access);
void kube_http_free(struct kube_http **http); /* after its calls */

int kube_call_new(struct kube_call **out, struct kube_http *http, const struct kube_request *request, const struct kube_call_events *events, void *arg);
void kube_call_free(struct kube_call **call); /* ends it; nothing is told any more */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps one kind of objects in a store equal to the API server's: lists them page by page, then watches from where the list ended, for ever. What
 * is cut goes on from the last resourceVersion; what the server has forgotten is listed again; whoever fails waits. It knows neither sockets nor
 * clocks: requests, times and what comes are its owner's. */
#ifndef WEFT_KUBE_REFLECTOR_H
#define WEFT_KUBE_REFLECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "kube/objects.h"

struct kube_reflector;

struct kube_reflector_ops {
	/* GET `target` ("/api/v1/..."), in place of what is under way. `is_fresh`: on a new connection, the other one is not trusted. What comes is told by
	 * the calls below, never from within this one. */
	int (*request)(void *arg, const char *target, bool is_fresh);
	void (*cancel)(void *arg);
	/* kube_reflector_wake() in so many ms, in place of what was asked for before. */
	void (*wake)(void *arg, uint64_t after_ms);
	/* The store may have changed; may be NULL. */
	void (*changed)(void *arg);
};

struct kube_reflector_options {
	enum kube_kind kind;
	const char *node_name;       /* pods: those of this node alone; NULL: all */
	struct kube_store *store;
	uint32_t page_size;          /* 0: as large as people use */
	uint64_t random;             /* any number, for pauses that differ between nodes */
	const struct kube_reflector_ops *ops;
	void *arg;
};

int kube_reflector_new(struct kube_reflector **out, const struct kube_reflector_options *options);
void kube_reflector_free(struct kube_reflector **reflector); /* after it nothing is told; a request under way is the owner's to end */

/* The first request. */
void kube_reflector_start(struct kube_reflector *reflector, uint64_t now_ms);
void kube_reflector_wake(struct kube_reflector *reflector, uint64_t now_ms);

/* What comes of the request: once its head, then pieces of its body, then its end, unless it was cancelled or replaced. `retry_after_s`: 0 when it
 * was not said. `content_type` without parameters. */
void kube_reflector_head(struct kube_reflector *reflector, int code, const char *content_type, uint32_t retry_after_s, uint64_t now_ms);
void kube_reflector_body(struct kube_reflector *reflector, const void *bytes, size_t size, uint64_t now_ms);
/* `problem`: NULL when all of it came, else in a few words what went wrong. */
void kube_reflector_end(struct kube_reflector *reflector, const char *problem, uint64_t now_ms);

struct kube_reflector_status {
	bool is_synced;              /* a list was read to its end once */
	bool is_watching;            /* a watch stands */
	uint64_t lists, watches, events, failures;
	const char *last_error;      /* "" while all is well */
};

void kube_reflector_get_status(const struct kube_reflector *reflector, struct kube_reflector_status *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The pods of this node as Kubernetes has them: which of them are to be enrolled, where they are, and why the others are not. */
#ifndef WEFT_KUBE_NODE_H
#define WEFT_KUBE_NODE_H

#include "kube/access.h"
#include "kube/place.h"
#include "kube/pods.h"
#include "kube/reflector.h"

struct event_base;
struct kube_node;

struct kube_node_options {
	struct event_base *base;
	const struct kube_access *access; /* must outlive it */
	const char *node_name;
	struct place_roots roots;
	uint64_t random;
	/* From the loop: kube_node_pods() has another answer. Not before the server's lists were read once. */
	void (*changed)(void *arg);
	void *arg;
};

int kube_node_new(struct kube_node **out, const struct kube_node_options *options);
void kube_node_free(struct kube_node **node);

/* Those to be enrolled, with their places. */
int kube_node_pods(const struct kube_node *node, struct pods **out);

/* Every few seconds: whether pods that wait can be found now, and those that were found are still there. */
void kube_node_look_again(struct kube_node *node);

/* Every pod of the node, enrolled or not. */
typedef void (*kube_node_fn)(void *arg, const struct kube_pod *pod, const struct enrol *enrol);
void kube_node_each(const struct kube_node *node, kube_node_fn fn, void *arg);

/* An Event on a pod that could be found and still is not enrolled, for a reason that is its user's: once. */
void kube_node_report(struct kube_node *node, const char *namespace_name, const char *name, const char *reason, const char *text);

bool kube_node_is_synced(const struct kube_node *node);
void kube_node_get_status(const struct kube_node *node, enum kube_kind kind, struct kube_reflector_status *out);
size_t kube_node_count(const struct kube_node *node, enum kube_kind kind);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Pods and namespaces as the API server has them: of each what decides whether, and where, a pod is enrolled. The store holds those that the
 * server would list now, as far as is known; each object is replaced as a whole. */
#ifndef WEFT_KUBE_OBJECTS_H
#define WEFT_KUBE_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kube/pods.h"
#include "kube/wire.h"

enum kube_container_state { KUBE_CONTAINER_UNKNOWN, KUBE_CONTAINER_WAITING, KUBE_CONTAINER_RUNNING, KUBE_CONTAINER_TERMINATED };

struct kube_container {
	const char *name;
	bool is_init;
	bool is_sidecar;             /* an init container that runs as long as the pod does */
	enum kube_container_state state;
	const char *id;              /* "containerd://..."; "" before it was made */
};

/* Strings are never NULL. Of the annotations those that weft knows are kept. */
struct kube_pod {
	const char *name, *namespace_name, *uid, *resource_version;
	const char *service_account, *node_name, *phase, *qos;
	bool is_host_network;
	bool is_deleting;
	struct pod_label *labels, *annotations; /* sorted by key */
	size_t label_count, annotation_count;
	const char **ips;
	size_t ip_count;
	struct kube_container *containers;      /* init containers first */
	size_t container_count;
};

struct kube_namespace {
	const char *name, *uid, *resource_version;
	const char *dataplane_mode;  /* the label istio.io/dataplane-mode; "" without */
};

/* NULL: there is none. */
const char *kube_pod_label(const struct kube_pod *pod, const char *key);
const char *kube_pod_annotation(const struct kube_pod *pod, const char *key);

enum kube_kind { KUBE_PODS, KUBE_NAMESPACES };

struct kube_store;

int kube_store_new(struct kube_store **out);
void kube_store_free(struct kube_store **store);

/* Takes an object as it came, without its envelope; what the store had under the name is gone. `version` is its resourceVersion. `round` marks
 * it as seen. -EBADMSG, -ENOMEM: nothing has changed. */
int kube_store_put(struct kube_store *store, enum kube_kind kind, uint64_t round, const uint8_t *raw, size_t size, char version[KUBE_VERSION_MAX + 1]);
/* It was deleted. An object of the same name with another uid stays. */
int kube_store_delete(struct kube_store *store, enum kube_kind kind, const uint8_t *raw, size_t size, char version[KUBE_VERSION_MAX + 1]);
/* A list was read to its end: what `round` did not see is gone. */
void kube_store_sweep(struct kube_store *store, enum kube_kind kind, uint64_t round);

/* Rises with every change. */
uint64_t kube_store_changes(const struct kube_store *store);
size_t kube_store_count(const struct kube_store *store, enum kube_kind kind);
/* In no particular order; the first after NULL. The store must not change between. */
const struct kube_pod *kube_store_next_pod(const struct kube_store *store, const struct kube_pod *pod);
const struct kube_namespace *kube_store_next_namespace(const struct kube_store *store, const struct kube_namespace *name);
const struct kube_pod *kube_store_find_pod(const struct kube_store *store, const char *namespace_name, const char *name);
const struct kube_namespace *kube_store_find_namespace(const struct kube_store *store, const char *name);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/objects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "k8s/io/api/core/v1/core.pb-c.h"

typedef K8s__Io__Api__Core__V1__Pod pb_pod;
typedef K8s__Io__Api__Core__V1__Namespace pb_namespace;
typedef K8s__Io__Api__Core__V1__ContainerStatus pb_container_status;
typedef K8s__Io__Api__Core__V1__Container pb_container;
typedef K8s__Io__Apimachinery__Pkg__Apis__Meta__V1__ObjectMeta pb_meta;

#define DATAPLANE_MODE "istio.io/dataplane-mode"

/* What of a pod's annotations counts: others may be as large as they like. */
static const char *const known_annotations[] = { "sidecar.istio.io/", "traffic.sidecar.istio.io/", "kubernetes.io/config.hash" };

struct stored_pod {
	struct kube_pod pod;         /* first: a kube_pod is its entry */
	struct arena arena;
	char *key;
	uint64_t round;
	UT_hash_handle hh;
};

/* There are thousands of them: one piece of memory each. */
struct stored_namespace {
	struct kube_namespace name;  /* first, likewise */
	uint64_t round;
	UT_hash_handle hh;
	char texts[];
};

struct kube_store {
	struct stored_pod *pods;
	struct stored_namespace *namespaces;
	uint64_t changes;
};

static void free_pb_pod(pb_pod **message)
{
	k8s__io__api__core__v1__pod__free_unpacked(*message, NULL);
}

static void free_pb_namespace(pb_namespace **message)
{
	k8s__io__api__core__v1__namespace__free_unpacked(*message, NULL);
}

static const char *text(const char *value)
{
	return value ? value : "";
}

/* A name that is none, or a version that could not be sent back, is not an object. */
static bool has_identity(const pb_meta *meta)
{
	return meta && meta->name && *meta->name && meta->uid && meta->resourceversion && strlen(meta->resourceversion) <= KUBE_VERSION_MAX;
}

/* ---- a pod --------------------------------------------------------------------------------------------------------------------------- */

static void stored_pod_free(struct stored_pod **stored)
{
	if (!*stored)
		return;
	arena_release(&(*stored)->arena);
	free(*stored);
	*stored = NULL;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct pod_label *)a)->key, ((const struct pod_label *)b)->key);
}

static bool is_known_annotation(const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(known_annotations); i++)
		if (strncmp(key, known_annotations[i], strlen(known_annotations[i])) == 0)
			return true;
	return false;
}

static int copy_labels(struct stored_pod *stored, const pb_meta *meta)
{
	struct kube_pod *pod = &stored->pod;

	pod->labels = arena_new_array(&stored->arena, struct pod_label, meta->n_labels);
	pod->annotations = arena_new_array(&stored->arena, struct pod_label, meta->n_annotations);
	if (!pod->labels || !pod->annotations)
		return -ENOMEM;
	for (size_t i = 0; i < meta->n_labels; i++)
		pod->labels[pod->label_count++] = (struct pod_label){ arena_text(&stored->arena, text(meta->labels[i]->key)),
								      arena_text(&stored->arena, text(meta->labels[i]->value)) };
	for (size_t i = 0; i < meta->n_annotations; i++)
		if (is_known_annotation(text(meta->annotations[i]->key)))
			pod->annotations[pod->annotation_count++] = (struct pod_label){ arena_text(&stored->arena, meta->annotations[i]->key),
											arena_text(&stored->arena, text(meta->annotations[i]->value)) };
	for (size_t i = 0; i < pod->label_count; i++)
		if (!pod->labels[i].key || !pod->labels[i].value)
			return -ENOMEM;
	for (size_t i = 0; i < pod->annotation_count; i++)
		if (!pod->annotations[i].key || !pod->annotations[i].value)
			return -ENOMEM;
	qsort(pod->labels, pod->label_count, sizeof(*pod->labels), by_key);
	qsort(pod->annotations, pod->annotation_count, sizeof(*pod->annotations), by_key);
	return 0;
}

static int copy_ips(struct stored_pod *stored, const K8s__Io__Api__Core__V1__PodStatus *status)
{
	struct kube_pod *pod = &stored->pod;

	pod->ips = arena_new_array(&stored->arena, const char *, status->n_podips + 1);
	if (!pod->ips)
		return -ENOMEM;
	for (size_t i = 0; i < status->n_podips; i++)
		if (status->podips[i]->ip && *status->podips[i]->ip)
			pod->ips[pod->ip_count++] = arena_text(&stored->arena, status->podips[i]->ip);
	/* podIPs has it too, but for servers of long ago */
	if (!pod->ip_count && status->podip && *status->podip)
		pod->ips[pod->ip_count++] = arena_text(&stored->arena, status->podip);
	for (size_t i = 0; i < pod->ip_count; i++)
		if (!pod->ips[i])
			return -ENOMEM;
	return 0;
}

static const pb_container_status *find_status(pb_container_status *const *statuses, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(text(statuses[i]->name), name) == 0)
			return statuses[i];
	return NULL;
}

static enum kube_container_state state_of(const pb_container_status *status)
{
	if (!status || !status->state)
		return KUBE_CONTAINER_UNKNOWN;
	if (status->state->running)
		return KUBE_CONTAINER_RUNNING;
	if (status->state->terminated)
		return KUBE_CONTAINER_TERMINATED;
	return status->state->waiting ? KUBE_CONTAINER_WAITING : KUBE_CONTAINER_UNKNOWN;
}

static int copy_container(struct stored_pod *stored, const pb_container *from, bool is_init, const pb_container_status *status)
{
	struct kube_container *to = &stored->pod.containers[stored->pod.container_count++];

	to->name = arena_text(&stored->arena, text(from->name));
	to->is_init = is_init;
	to->is_sidecar = is_init && strcmp(text(from->restartpolicy), "Always") == 0;
	to->state = state_of(status);
	to->id = arena_text(&stored->arena, status ? text(status->containerid) : "");
	return to->name && to->id ? 0 : -ENOMEM;
}

static int copy_containers(struct stored_pod *stored, const pb_pod *from)
{
	static const K8s__Io__Api__Core__V1__PodStatus none = K8S__IO__API__CORE__V1__POD_STATUS__INIT;
	const K8s__Io__Api__Core__V1__PodStatus *status = from->status ? from->status : &none;
	const K8s__Io__Api__Core__V1__PodSpec *spec = from->spec;
	int r = 0;

	if (!spec)
		return 0;
	stored->pod.containers = arena_new_array(&stored->arena, struct kube_container, spec->n_initcontainers + spec->n_containers);
	if (!stored->pod.containers)
		return -ENOMEM;
	for (size_t i = 0; i < spec->n_initcontainers && !r; i++)
		r = copy_container(stored, spec->initcontainers[i], true,
				   find_status(status->initcontainerstatuses, status->n_initcontainerstatuses, text(spec->initcontainers[i]->name)));
	for (size_t i = 0; i < spec->n_containers && !r; i++)
		r = copy_container(stored, spec->containers[i], false,
				   find_status(status->containerstatuses, status->n_containerstatuses, text(spec->containers[i]->name)));
	return r;
}

static int copy_texts(struct stored_pod *stored, const pb_pod *from)
{
	const struct {
		const char **to, *from;
	} texts[] = {
		{ &stored->pod.name, from->metadata->name },
		{ &stored->pod.namespace_name, from->metadata->namespace_ },
		{ &stored->pod.uid, from->metadata->uid },
		{ &stored->pod.resource_version, from->metadata->resourceversion },
		{ &stored->pod.service_account, from->spec ? from->spec->serviceaccountname : NULL },
		{ &stored->pod.node_name, from->spec ? from->spec->nodename : NULL },
		{ &stored->pod.phase, from->status ? from->status->phase : NULL },
		{ &stored->pod.qos, from->status ? from->status->qosclass : NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		*texts[i].to = arena_text(&stored->arena, text(texts[i].from));
		if (!*texts[i].to)
			return -ENOMEM;
	}
	stored->key = arena_printf(&stored->arena, "%s/%s", stored->pod.namespace_name, stored->pod.name);
	return stored->key ? 0 : -ENOMEM;
}

static int stored_pod_new(const pb_pod *from, struct stored_pod **out)
{
	_cleanup_(stored_pod_free) struct stored_pod *stored = calloc(1, sizeof(*stored));
	int r;

	if (!stored)
		return -ENOMEM;
	r = copy_texts(stored, from);
	if (!r)
		r = copy_labels(stored, from->metadata);
	if (!r && from->status)
		r = copy_ips(stored, from->status);
	if (!r)
		r = copy_containers(stored, from);
	if (r)
		return r;
	stored->pod.is_host_network = from->spec && from->spec->hostnetwork;
	stored->pod.is_deleting = from->metadata->deletiontimestamp != NULL;
	*out = TAKE_PTR(stored);
	return 0;
}

static struct stored_pod *find_pod(const struct kube_store *store, const char *namespace_name, const char *name)
{
	struct stored_pod *found = NULL;
	char key[512];
	int size = snprintf(key, sizeof(key), "%s/%s", namespace_name, name);

	if (size < (int)sizeof(key))
		HASH_FIND(hh, store->pods, key, (size_t)size, found);
	return found;
}

static void drop_pod(struct kube_store *store, struct stored_pod *stored)
{
	HASH_DEL(store->pods, stored);
	stored_pod_free(&stored);
	store->changes++;
}

static int put_pod(struct kube_store *store, uint64_t round, const uint8_t *raw, size_t size, char *version)
{
	_cleanup_(free_pb_pod) pb_pod *message = k8s__io__api__core__v1__pod__unpack(NULL, size, raw);
	_cleanup_(stored_pod_free) struct stored_pod *stored = NULL;
	struct stored_pod *former;
	int r;

	if (!message || !has_identity(message->metadata) || !message->metadata->namespace_)
		return -EBADMSG;
	strcpy(version, message->metadata->resourceversion);
	former = find_pod(store, message->metadata->namespace_, message->metadata->name);
	if (former && strcmp(former->pod.uid, message->metadata->uid) == 0 && strcmp(former->pod.resource_version, version) == 0) {
		former->round = round;
		return 0;
	}
	r = stored_pod_new(message, &stored);
	if (r)
		return r;
	stored->round = round;
	HASH_ADD_KEYPTR(hh, store->pods, stored->key, strlen(stored->key), stored);
	if (!stored->hh.tbl)
		return -ENOMEM;
	if (former)
		drop_pod(store, former);
	store->changes++;
	stored = NULL;
	return 0;
}

/* ---- a namespace --------------------------------------------------------------------------------------------------------------------- */

static const char *mode_of(const pb_meta *meta)
{
	for (size_t i = 0; i < meta->n_labels; i++)
		if (strcmp(text(meta->labels[i]->key), DATAPLANE_MODE) == 0)
			return text(meta->labels[i]->value);
	return "";
}

static const char *place(char **at, const char *value)
{
	char *start = *at;

	*at = stpcpy(start, value) + 1;
	return start;
}

static struct stored_namespace *stored_namespace_new(const pb_meta *meta)
{
	const char *mode = mode_of(meta);
	size_t size = strlen(meta->name) + strlen(meta->uid) + strlen(meta->resourceversion) + strlen(mode) + 4;
	struct stored_namespace *stored = calloc(1, sizeof(*stored) + size);
	char *at;

	if (!stored)
		return NULL;
	at = stored->texts;
	stored->name.name = place(&at, meta->name);
	stored->name.uid = place(&at, meta->uid);
	stored->name.resource_version = place(&at, meta->resourceversion);
	stored->name.dataplane_mode = place(&at, mode);
	return stored;
}

static struct stored_namespace *find_namespace(const struct kube_store *store, const char *name)
{
	struct stored_namespace *found;

	HASH_FIND(hh, store->namespaces, name, strlen(name), found);
	return found;
}

static void drop_namespace(struct kube_store *store, struct stored_namespace *stored)
{
	HASH_DEL(store->namespaces, stored);
	free(stored);
	store->changes++;
}

static int put_namespace(struct kube_store *store, uint64_t round, const uint8_t *raw, size_t size, char *version)
{
	_cleanup_(free_pb_namespace) pb_namespace *message = k8s__io__api__core__v1__namespace__unpack(NULL, size, raw);
	struct stored_namespace *stored, *former;

	if (!message || !has_identity(message->metadata))
		return -EBADMSG;
	strcpy(version, message->metadata->resourceversion);
	former = find_namespace(store, message->metadata->name);
	if (former && strcmp(former->name.uid, message->metadata->uid) == 0 && strcmp(former->name.resource_version, version) == 0) {
		former->round = round;
		return 0;
	}
	stored = stored_namespace_new(message->metadata);
	if (!stored)
		return -ENOMEM;
	stored->round = round;
	HASH_ADD_KEYPTR(hh, store->namespaces, stored->name.name, strlen(stored->name.name), stored);
	if (!stored->hh.tbl) {
		free(stored);
		return -ENOMEM;
	}
	if (former)
		drop_namespace(store, former);
	store->changes++;
	return 0;
}

/* ---- the store ----------------------------------------------------------------------------------------------------------------------- */

int kube_store_new(struct kube_store **out)
{
	struct kube_store *store = calloc(1, sizeof(*store));

	if (!store)
		return -ENOMEM;
	*out = store;
	return 0;
}

void kube_store_free(struct kube_store **pointer)
{
	struct kube_store *store = TAKE_PTR(*pointer);
	struct stored_namespace *name, *next_name;
	struct stored_pod *pod, *next_pod;

	if (!store)
		return;
	HASH_ITER(hh, store->pods, pod, next_pod)
		drop_pod(store, pod);
	HASH_ITER(hh, store->namespaces, name, next_name)
		drop_namespace(store, name);
	free(store);
}

int kube_store_put(struct kube_store *store, enum kube_kind kind, uint64_t round, const uint8_t *raw, size_t size, char version[KUBE_VERSION_MAX + 1])
{
	return kind == KUBE_PODS ? put_pod(store, round, raw, size, version) : put_namespace(store, round, raw, size, version);
}

int kube_store_delete(struct kube_store *store, enum kube_kind kind, const uint8_t *raw, size_t size, char version[KUBE_VERSION_MAX + 1])
{
	/* A Pod's metadata stands where a Namespace's does, and no more is needed of it. */
	_cleanup_(free_pb_namespace) pb_namespace *message = k8s__io__api__core__v1__namespace__unpack(NULL, size, raw);
	struct stored_namespace *name;
	struct stored_pod *pod;

	if (!message || !has_identity(message->metadata))
		return -EBADMSG;
	strcpy(version, message->metadata->resourceversion);
	if (kind == KUBE_PODS) {
		pod = find_pod(store, text(message->metadata->namespace_), message->metadata->name);
		if (pod && strcmp(pod->pod.uid, message->metadata->uid) == 0)
			drop_pod(store, pod);
	} else {
		name = find_namespace(store, message->metadata->name);
		if (name && strcmp(name->name.uid, message->metadata->uid) == 0)
			drop_namespace(store, name);
	}
	return 0;
}

void kube_store_sweep(struct kube_store *store, enum kube_kind kind, uint64_t round)
{
	struct stored_namespace *name, *next_name;
	struct stored_pod *pod, *next_pod;

	if (kind == KUBE_PODS) {
		HASH_ITER(hh, store->pods, pod, next_pod)
			if (pod->round != round)
				drop_pod(store, pod);
	} else {
		HASH_ITER(hh, store->namespaces, name, next_name)
			if (name->round != round)
				drop_namespace(store, name);
	}
}

uint64_t kube_store_changes(const struct kube_store *store)
{
	return store->changes;
}

size_t kube_store_count(const struct kube_store *store, enum kube_kind kind)
{
	return kind == KUBE_PODS ? HASH_COUNT(store->pods) : HASH_COUNT(store->namespaces);
}

const struct kube_pod *kube_store_next_pod(const struct kube_store *store, const struct kube_pod *pod)
{
	const struct stored_pod *next = pod ? ((const struct stored_pod *)pod)->hh.next : store->pods;

	return next ? &next->pod : NULL;
}

const struct kube_namespace *kube_store_next_namespace(const struct kube_store *store, const struct kube_namespace *name)
{
	const struct stored_namespace *next = name ? ((const struct stored_namespace *)name)->hh.next : store->namespaces;

	return next ? &next->name : NULL;
}

const struct kube_pod *kube_store_find_pod(const struct kube_store *store, const char *namespace_name, const char *name)
{
	const struct stored_pod *found = find_pod(store, namespace_name, name);

	return found ? &found->pod : NULL;
}

const struct kube_namespace *kube_store_find_namespace(const struct kube_store *store, const char *name)
{
	const struct stored_namespace *found = find_namespace(store, name);

	return found ? &found->name : NULL;
}

static const char *find_label(const struct pod_label *labels, size_t count, const char *key)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(labels[i].key, key) == 0)
			return labels[i].value;
	return NULL;
}

const char *kube_pod_label(const struct kube_pod *pod, const char *key)
{
	return find_label(pod->labels, pod->label_count, key);
}

const char *kube_pod_annotation(const struct kube_pod *pod, const char *key)
{
	return find_label(pod->annotations, pod->annotation_count, key);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Pods as Kubernetes has them: those that are to be enrolled reach pods.c and scopes.c as a list, the whole of it each time. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "keeper/options.h"
#include "kube/exceptions.h"
#include "kube/node.h"
#include "worker/internal.h"

/* ---- what is kept for a next worker ---------------------------------------------------------------------------------------------------- */

static void free_text(char **text)
{
	free(*text);
}

static void free_json(json_t **value)
{
	json_decref(*value);
}

/* As their bytes: who reads it has the same layout. */
static json_t *describe_exceptions(const struct weft_exceptions *exceptions)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	size_t size = exceptions ? exceptions_size(exceptions) : 0;

	for (size_t i = 0; i < size; i++)
		strbuf_printf(&text, "%02x", ((const uint8_t *)exceptions)[i]);
	return json_string(strbuf_text(&text));
}

/* False: there are none, or they can't be read. */
static bool read_exceptions(const char *text, struct weft_exceptions *out)
{
	size_t size = strlen(text) / 2;
	unsigned int byte;

	memset(out, 0, sizeof(*out));
	if (!size || size > sizeof(*out))
		return false;
	for (size_t i = 0; i < size; i++) {
		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		((uint8_t *)out)[i] = (uint8_t)byte;
	}
	return out->count <= WEFT_EXCEPTIONS_MAX && exceptions_size(out) == size;
}

static json_t *describe_kept(const struct pod *pod)
{
	json_t *ips = json_array(), *labels = json_object();

	for (size_t i = 0; i < pod->ip_count; i++)
		json_array_append_new(ips, json_string(pod->ips[i].text));
	for (size_t i = 0; i < pod->label_count; i++)
		json_object_set_new(labels, pod->labels[i].key, json_string(pod->labels[i].value));
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:o, s:o, s:o}", "name", pod->name, "namespace", pod->namespace_name, "service_account", pod->service_account,
			 "network_namespace", pod->network_namespace, "netns_inode", (json_int_t)pod->netns_inode, "cgroup", pod->cgroup, "ips", ips,
			 "labels", labels, "exceptions", describe_exceptions(pod->exceptions));
}

/* A worker that follows needs to know at once whose connections it takes over: the server's lists come later. */
static void keep(struct worker *worker, const struct pods *pods)
{
	_cleanup_(free_json) json_t *list = json_array();
	_cleanup_(free_text) char *text = NULL;
	int r;

	for (size_t i = 0; i < pods_count(pods); i++)
		json_array_append_new(list, describe_kept(pods_at(pods, i)));
	text = json_dumps(list, JSON_COMPACT);
	r = text ? memory_keep(worker->table, MEMORY_KUBE, text, strlen(text), &worker->kube.entry) : -ENOMEM;
	if (r)
		log_warn(r, "keeping the pods for a next worker");
}

static int read_kept(const json_t *object, struct pods *pods)
{
	struct pod_label labels[64];
	struct pod_ip ips[8];
	struct pod pod = { .ips = ips, .labels = labels };
	struct weft_exceptions exceptions;
	const char *excepted;
	json_int_t inode;
	json_t *all_ips, *all_labels, *value;
	const char *key;
	size_t i;

	if (json_unpack((json_t *)object, "{s:s, s:s, s:s, s:s, s:I, s:s, s:o, s:o, s:s}", "name", &pod.name, "namespace", &pod.namespace_name, "service_account",
			&pod.service_account, "network_namespace", &pod.network_namespace, "netns_inode", &inode, "cgroup", &pod.cgroup, "ips", &all_ips,
			"labels", &all_labels, "exceptions", &excepted))
		return -EBADMSG;
	pod.netns_inode = (uint64_t)inode;
	json_array_foreach(all_ips, i, value)
		if (i < ARRAY_SIZE(ips))
			ips[pod.ip_count++] = (struct pod_ip){ .text = json_string_value(value) };
	json_object_foreach(all_labels, key, value)
		if (pod.label_count < ARRAY_SIZE(labels))
			labels[pod.label_count++] = (struct pod_label){ key, json_string_value(value) };
	if (read_exceptions(excepted, &exceptions))
		pod.exceptions = &exceptions;
	return pods_add(pods, &pod);
}

static int take_kept(struct worker *worker, struct pods **out)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(pods_free) struct pods *pods = NULL;
	_cleanup_(free_json) json_t *list = NULL;
	json_t *value;
	size_t i;
	int r = memory_find(worker->table, MEMORY_KUBE, &text, &worker->kube.entry);

	if (!r)
		r = pods_new(&pods);
	if (r)
		return r;
	list = json_loadb(strbuf_text(&text), text.size, 0, NULL);
	json_array_foreach(list, i, value) {
		r = read_kept(value, pods);
		if (r)
			return r;
	}
	*out = TAKE_PTR(pods);
	return 0;
}

/* ---- what the server says -------------------------------------------------------------------------------------------------------------- */

static void apply(struct worker *worker, const struct pods *pods)
{
	int r = scopes_update(worker, pods, worker_now_ms());

	if (!r)
		r = pods_apply(worker, pods);
	if (r)
		log_err(r, "enrolling pods");
}

static void on_changed(void *arg)
{
	_cleanup_(pods_free) struct pods *pods = NULL;
	struct worker *worker = arg;
	int r;

	if (worker->is_stopping)
		return;
	r = kube_node_pods(worker->kube.node, &pods);
	if (r) {
		log_err(r, "listing the pods of this node");
		return;
	}
	apply(worker, pods);
	keep(worker, pods);
}

static int find_access(const struct options *options, struct kube_access *access)
{
	char problem[512] = "";
	int r;

	if (options->kubeconfig)
		r = kube_access_kubeconfig(options->kubeconfig, access, problem, sizeof(problem));
	else
		r = kube_access_in_cluster(KUBE_SERVICE_ACCOUNT, getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT"), access, problem, sizeof(problem));
	if (r)
		log_error("--kubernetes: %s", problem[0] ? problem : strerror(-r));
	return r;
}

static uint64_t any_number(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec ^ (uint64_t)getpid() << 20;
}

int kube_start(struct worker *worker)
{
	const struct options *options = worker->config->options;
	_cleanup_(pods_free) struct pods *pods = NULL;
	struct kube_node_options node = {
		.base = worker->base,
		.node_name = options->node_name,
		.roots = { .proc = options->proc_root, .cgroup = options->cgroup_root ? options->cgroup_root : worker->config->cgroup2 },
		.random = any_number(),
		.changed = on_changed,
		.arg = worker,
	};
	int r;

	if (!options->kubernetes)
		return 0;
	worker->kube.access = calloc(1, sizeof(*worker->kube.access));
	if (!worker->kube.access)
		return -ENOMEM;
	r = find_access(options, worker->kube.access);
	if (r)
		return r;
	if (worker->is_successor && take_kept(worker, &pods) == 0)
		apply(worker, pods);
	node.access = worker->kube.access;
	r = kube_node_new(&worker->kube.node, &node);
	if (r)
		return log_err(r, "asking Kubernetes for pods");
	log_info("pods of node %s are those that %s has", options->node_name, worker->kube.access->server);
	return 0;
}

void kube_look_again(struct worker *worker)
{
	if (worker->kube.node)
		kube_node_look_again(worker->kube.node);
}

void kube_stop(struct worker *worker)
{
	kube_node_free(&worker->kube.node);
	if (worker->kube.access)
		kube_access_release(worker->kube.access);
	free(worker->kube.access);
	worker->kube.access = NULL;
}

void kube_report_refusal(struct worker *worker, const struct node_pod *pod)
{
	if (worker->kube.node)
		kube_node_report(worker->kube.node, pod->namespace_name, pod->name, "refused", pod->reason);
}

/* ---- for people ------------------------------------------------------------------------------------------------------------------------ */

bool kube_is_synced(const struct worker *worker)
{
	return !worker->kube.node || kube_node_is_synced(worker->kube.node);
}

static json_t *describe_side(const struct kube_node *node, enum kube_kind kind)
{
	struct kube_reflector_status status;

	kube_node_get_status(node, kind, &status);
	return json_pack("{s:I, s:b, s:b, s:I, s:I, s:I, s:I, s:s}", "count", (json_int_t)kube_node_count(node, kind), "is_synced", status.is_synced, "is_watching",
			 status.is_watching, "lists", (json_int_t)status.lists, "watches", (json_int_t)status.watches, "events", (json_int_t)status.events,
			 "failures", (json_int_t)status.failures, "last_error", status.last_error);
}

json_t *kube_describe(const struct worker *worker)
{
	const struct kube_node *node = worker->kube.node;

	return json_pack("{s:s, s:s, s:o, s:o}", "server", worker->kube.access->server, "node", worker->config->options->node_name, "pods",
			 describe_side(node, KUBE_PODS), "namespaces", describe_side(node, KUBE_NAMESPACES));
}

static const struct node_pod *find_served(const struct worker *worker, const char *namespace_name, const char *name)
{
	for (size_t i = 0; i < worker->pods.count; i++) {
		const struct node_pod *pod = worker->pods.items[i];

		if (strcmp(pod->name, name) == 0 && strcmp(pod->namespace_name, namespace_name) == 0)
			return pod;
	}
	return NULL;
}

struct listing {
	const struct worker *worker;
	json_t *list;
};

static void describe_pod(void *arg, const struct kube_pod *pod, const struct enrol *enrol)
{
	struct listing *listing = arg;
	const struct node_pod *served = find_served(listing->worker, pod->namespace_name, pod->name);
	bool is_drained = served && served->state == NODE_POD_DRAINING;
	bool is_judged = enrol->verdict != ENROL_WANTED;
	json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "namespace", pod->namespace_name, "name", pod->name, "uid", pod->uid, "ip",
		pod->ip_count ? pod->ips[0] : "", "state", is_drained || (served && !is_judged) ? node_pod_state_name(served->state) : enrol_verdict_name(enrol->verdict),
		"reason", is_judged ? enrol->text : served ? served->reason : "", "reason_name", enrol_reason_name(enrol->reason));

	if (served)
		unmeshed_describe(served, object);
	json_array_append_new(listing->list, object);
}

static int by_name(const void *a, const void *b)
{
	const json_t *first = *(json_t *const *)a, *second = *(json_t *const *)b;
	int order = strcmp(json_string_value(json_object_get(first, "namespace")), json_string_value(json_object_get(second, "namespace")));

	return order ? order : strcmp(json_string_value(json_object_get(first, "name")), json_string_value(json_object_get(second, "name")));
}

static json_t *sorted(json_t *list)
{
	size_t count = json_array_size(list);
	_cleanup_free_ json_t **items = calloc(count + 1, sizeof(*items));
	json_t *result = json_array();

	for (size_t i = 0; items && i < count; i++)
		items[i] = json_array_get(list, i);
	if (items)
		qsort(items, count, sizeof(*items), by_name);
	for (size_t i = 0; items && i < count; i++)
		json_array_append(result, items[i]);
	json_decref(list);
	return result;
}

json_t *kube_describe_pods(struct worker *worker)
{
	struct listing listing = { .worker = worker, .list = json_array() };

	unmeshed_look_again(worker);
	if (worker->kube.node)
		kube_node_each(worker->kube.node, describe_pod, &listing);
	for (size_t i = 0; i < worker->pods.count && !worker->kube.node; i++) {
		const struct node_pod *pod = worker->pods.items[i];

		json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s}", "namespace", pod->namespace_name, "name", pod->name, "ip", pod->ip, "state",
					   node_pod_state_name(pod->state), "reason", pod->reason);

		unmeshed_describe(pod, object);
		json_array_append_new(listing.list, object);
	}
	return sorted(listing.list);
}

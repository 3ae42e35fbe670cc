/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that pods made while they were not enrolled: weft leaves them alone, so somebody should know how many there are. A worker that follows takes
 * the list over: it could not tell them from what plain TCP connections connect() has sent to endpoints. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "kube/sockets.h"
#include "worker/internal.h"

#define LOOK_AGAIN_MS 1000u

static void free_text(char **text)
{
	free(*text);
}

static void free_json(json_t **value)
{
	json_decref(*value);
}

static int look(const struct node_pod *pod, struct pod_sockets *out)
{
	return sockets_of_pod(pod->netns_fd, pod->cgroup, pod->addresses, out);
}

/* Those of now that are neither known nor among `meshed`. */
static void find(struct worker *worker, struct node_pod *pod, const struct pod_sockets *meshed)
{
	struct node_unmeshed *unmeshed = &pod->unmeshed;
	_cleanup_(sockets_release) struct pod_sockets now = { 0 };
	int r = look(pod, &now);

	if (!r) {
		sockets_without(&now, &unmeshed->open);
		if (meshed)
			sockets_without(&now, meshed);
		r = sockets_add(&unmeshed->open, &now);
	}
	unmeshed->is_known = !r;
	if (r) {
		log_debug("pod %s/%s: its connections can't be listed: %s", pod->namespace_name, pod->name, strerror(-r));
		return;
	}
	if (!now.count)
		return;
	log_info("pod %s/%s: %zu connections that it made before are not meshed", pod->namespace_name, pod->name, now.count);
	unmeshed->found += now.count;
	worker->unmeshed.found += now.count;
	worker->unmeshed.is_changed = true;
}

/* ---- what a former worker knew -------------------------------------------------------------------------------------------------------- */

/* As their bytes: who reads it has the same layout. */
static json_t *describe(const struct node_pod *pod)
{
	const struct pod_sockets *open = &pod->unmeshed.open;
	const uint8_t *bytes = (const uint8_t *)open->items;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	for (size_t i = 0; i < open->count * sizeof(*open->items); i++)
		strbuf_printf(&text, "%02x", bytes[i]);
	return json_pack("{s:I, s:I, s:s}", "netns", (json_int_t)pod->netns_cookie, "found", (json_int_t)pod->unmeshed.found, "open", strbuf_text(&text));
}

void unmeshed_keep(struct worker *worker)
{
	_cleanup_(free_json) json_t *list = NULL, *all = NULL;
	_cleanup_(free_text) char *text = NULL;
	json_t *kept;
	size_t i;
	int r;

	if (!worker->unmeshed.is_changed)
		return;
	worker->unmeshed.is_changed = false;
	list = json_array();
	for (i = 0; i < worker->pods.count; i++)
		if (worker->pods.items[i]->added)
			json_array_append_new(list, describe(worker->pods.items[i]));
	json_array_foreach(worker->unmeshed.kept, i, kept)
		json_array_append(list, kept);
	all = json_pack("{s:I, s:O}", "found", (json_int_t)worker->unmeshed.found, "pods", list);
	text = all ? json_dumps(all, JSON_COMPACT) : NULL;
	r = text ? memory_keep(worker->table, MEMORY_UNMESHED, text, strlen(text), &worker->unmeshed.entry) : -ENOMEM;
	if (r)
		log_warn(r, "keeping the list of connections that are not meshed for a next worker");
}

static void read_open(const char *text, struct pod_sockets *out)
{
	size_t size = text ? strlen(text) / 2 : 0;
	unsigned int byte;
	uint8_t *bytes;

	if (!size || size % sizeof(*out->items))
		return;
	out->items = malloc(size);
	bytes = (uint8_t *)out->items;
	for (size_t i = 0; bytes && i < size; i++)
		bytes[i] = sscanf(text + 2 * i, "%2x", &byte) == 1 ? (uint8_t)byte : 0;
	out->count = bytes ? size / sizeof(*out->items) : 0;
}

/* False: it was not enrolled then. */
static bool take_kept(struct worker *worker, struct node_pod *pod)
{
	json_t *kept;
	size_t i;

	json_array_foreach(worker->unmeshed.kept, i, kept) {
		if ((uint64_t)json_integer_value(json_object_get(kept, "netns")) != pod->netns_cookie)
			continue;
		read_open(json_string_value(json_object_get(kept, "open")), &pod->unmeshed.open);
		pod->unmeshed.found = (uint64_t)json_integer_value(json_object_get(kept, "found"));
		pod->unmeshed.is_known = true;
		json_array_remove(worker->unmeshed.kept, i);
		return true;
	}
	return false;
}

void unmeshed_start(struct worker *worker)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(free_json) json_t *all = NULL;

	if (!worker->is_successor || memory_find(worker->table, MEMORY_UNMESHED, &text, &worker->unmeshed.entry))
		return;
	all = json_loadb(strbuf_text(&text), text.size, 0, NULL);
	worker->unmeshed.found = (uint64_t)json_integer_value(json_object_get(all, "found"));
	worker->unmeshed.kept = json_incref(json_object_get(all, "pods"));
}

void unmeshed_stop(struct worker *worker)
{
	json_decref(worker->unmeshed.kept);
	worker->unmeshed.kept = NULL;
}

/* ---- a pod --------------------------------------------------------------------------------------------------------------------------- */

void unmeshed_begin(struct worker *worker, struct node_pod *pod)
{
	if (!take_kept(worker, pod))
		find(worker, pod, NULL);
}

void unmeshed_pause(struct node_pod *pod)
{
	sockets_release(&pod->unmeshed.when_paused);
	(void)look(pod, &pod->unmeshed.when_paused);
}

void unmeshed_resume(struct worker *worker, struct node_pod *pod)
{
	find(worker, pod, &pod->unmeshed.when_paused);
	sockets_release(&pod->unmeshed.when_paused);
}

void unmeshed_end(struct node_pod *pod)
{
	sockets_release(&pod->unmeshed.open);
	sockets_release(&pod->unmeshed.when_paused);
	pod->unmeshed = (struct node_unmeshed){ 0 };
}

void unmeshed_look_again(struct worker *worker)
{
	uint64_t now_ms = worker_now_ms();

	for (size_t i = 0; i < worker->pods.count; i++) {
		struct node_pod *pod = worker->pods.items[i];

		if (!pod->added || !pod->unmeshed.open.count || now_ms - pod->unmeshed.looked_ms < LOOK_AGAIN_MS)
			continue;
		(void)sockets_look_again(pod->netns_fd, &pod->unmeshed.open);
		pod->unmeshed.looked_ms = now_ms;
	}
}

void unmeshed_describe(const struct node_pod *pod, json_t *object)
{
	if (!pod->added || !pod->unmeshed.is_known)
		return;
	json_object_set_new(object, "unmeshed_connections", json_integer((json_int_t)pod->unmeshed.open.count));
	json_object_set_new(object, "unmeshed_connections_found", json_integer((json_int_t)pod->unmeshed.found));
}

json_t *unmeshed_sums(const struct worker *worker)
{
	size_t open = 0;

	for (size_t i = 0; i < worker->pods.count; i++)
		open += worker->pods.items[i]->unmeshed.open.count;
	return json_pack("{s:I, s:I}", "open", (json_int_t)open, "found", (json_int_t)worker->unmeshed.found);
}

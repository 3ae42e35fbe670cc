/* SPDX-License-Identifier: Apache-2.0 */
/* Which pods are served what. A configuration file serves all pods of the node; istiod has an answer of its own for each namespace, so each has a stream. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "kube/pods.h"
#include "mesh/mesh.h"
#include "worker/internal.h"
#include "xds/cache.h"
#include "xds/node.h"
#include "xds/scope.h"
#include "xds/store.h"

static void serving_free(struct serving **serving)
{
	if (!*serving)
		return;
	(void)xds_cache_end(&(*serving)->cache_job);
	xds_scope_free(&(*serving)->stream);
	free((*serving)->name);
	free((*serving)->pod_name);
	free((*serving)->service_account);
	free(*serving);
	*serving = NULL;
}

struct serving *scopes_next(const struct worker *worker, const struct serving *serving)
{
	for (uint32_t i = serving ? serving->number + 1 : 0; i < WEFT_SCOPES_MAX; i++)
		if (worker->scopes.items[i])
			return worker->scopes.items[i];
	return NULL;
}

struct serving *scopes_find(const struct worker *worker, const char *namespace_name)
{
	struct serving *serving = NULL;

	while ((serving = scopes_next(worker, serving)))
		if (!serving->stream || strcmp(serving->name, namespace_name) == 0)
			return serving;
	return NULL;
}

/* ---- what a stream says ------------------------------------------------------------------------------------------------------------ */

static void on_send(void *arg, const void *bytes, size_t size)
{
	struct serving *serving = arg;

	serving->worker->scopes.events->send(serving->worker, serving, bytes, size);
}

static int on_publish(void *arg, const struct mesh *mesh, struct strbuf *why)
{
	struct serving *serving = arg;
	struct worker *worker = serving->worker;
	int r;

	/* Its clusters' names are to be asked for before they are compiled: what DNS has answered before counts. */
	serving->mesh = mesh;
	names_want(worker);
	r = publish_mesh(worker, serving, mesh);
	if (r) {
		strbuf_printf(why, "%s", r == -E2BIG ? "it needs more than the largest image (64 MiB)" : strerror(-r));
		return r;
	}
	worker->state->generation++;
	pods_judge_scope(worker, serving);
	return 0;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------------------ */

/* The kernel keeps numbers in connections: a next worker must give each namespace its own again. */
static void keep_numbers(struct worker *worker)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const struct serving *serving = NULL;
	int r;

	while ((serving = scopes_next(worker, serving)))
		strbuf_printf(&text, "%u %s\n", serving->number, serving->name);
	r = strbuf_status(&text);
	if (!r)
		r = memory_keep(worker->table, MEMORY_SCOPES, strbuf_text(&text), text.size, &worker->scopes.names_entry);
	if (r)
		log_warn(r, "keeping the numbers of scopes for a next worker");
}

static void take_numbers(struct worker *worker)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	char name[256];
	const char *at;
	unsigned number;
	int size;

	if (memory_find(worker->table, MEMORY_SCOPES, &text, &worker->scopes.names_entry))
		return;
	for (at = strbuf_text(&text); sscanf(at, "%u %255s\n%n", &number, name, &size) == 2; at += size)
		if (number < WEFT_SCOPES_MAX && !worker->scopes.former_names[number])
			worker->scopes.former_names[number] = strdup(name);
}

/* The one it had, else one that nobody has or had, else one that nobody has. */
static uint32_t number_for(const struct worker *worker, const char *name)
{
	const struct scopes *scopes = &worker->scopes;
	uint32_t fresh = WEFT_SCOPES_MAX, any = WEFT_SCOPES_MAX;

	for (uint32_t i = WEFT_SCOPES_MAX; i-- > 0;) {
		if (scopes->items[i])
			continue;
		if (scopes->former_names[i] && strcmp(scopes->former_names[i], name) == 0)
			return i;
		any = i;
		fresh = scopes->former_names[i] ? fresh : i;
	}
	return fresh < WEFT_SCOPES_MAX ? fresh : any;
}

static int serving_new(struct worker *worker, uint32_t number, const char *name, struct serving **out)
{
	_cleanup_(serving_free) struct serving *serving = calloc(1, sizeof(*serving));

	if (!serving)
		return -ENOMEM;
	serving->worker = worker;
	serving->number = number;
	serving->name = strdup(name);
	if (!serving->name)
		return -ENOMEM;
	serving->endpoints_entry = worker->former_endpoints[number];
	worker->former_endpoints[number] = NULL;
	*out = worker->scopes.items[number] = TAKE_PTR(serving);
	return 0;
}

/* ---- cache -------------------------------------------------------------------------------------------------------------------------- */

static uint64_t unix_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void take_cache(struct serving *serving)
{
	const char *folder = serving->worker->scopes.events->cache;
	uint64_t written_ms = 0;
	int r = *folder ? xds_cache_read(folder, serving->stream, worker_now_ms(), &written_ms) : -ENOENT;

	if (r == -EBADMSG)
		log_warning("namespace %s: what served last, in %s/%s.xds, is damaged: set aside; its pods wait for istiod", serving->name, folder,
			    serving->name);
	else if (r && r != -ENOENT)
		log_warn(r, "namespace %s: reading what served last, from %s/%s.xds", serving->name, folder, serving->name);
	if (r)
		return;
	serving->cache_unix_ms = written_ms;
	serving->cached_changes = xds_scope_changes(serving->stream);
	log_info("namespace %s: what served %llu seconds ago serves until istiod answers", serving->name,
		 (unsigned long long)(unix_ms() - written_ms) / 1000);
}

static void tell_of_cache(const struct serving *serving, int r)
{
	if (r)
		log_warn(r, "namespace %s: writing %s/%s.xds: after a start without istiod, its pods will not be served", serving->name,
			 serving->worker->scopes.events->cache, serving->name);
}

/* Where something has changed since. */
static void keep_cache(struct serving *serving, uint64_t now_ms)
{
	const char *folder = serving->worker->scopes.events->cache;
	uint64_t changes = xds_scope_changes(serving->stream);

	/* It is another weftd's when this one drains. */
	if (!*folder || serving->worker->is_draining || serving->cache_job || changes == serving->cached_changes || !xds_scope_is_ready(serving->stream))
		return;
	serving->cached_changes = changes;
	serving->cached_ms = now_ms;
	tell_of_cache(serving, xds_cache_begin(&serving->cache_job, folder, serving->stream, unix_ms()));
}

static void end_cache_job(struct serving *serving)
{
	tell_of_cache(serving, xds_cache_end(&serving->cache_job));
}

/* ---- streams ------------------------------------------------------------------------------------------------------------------------ */

static int node_of(const struct worker *worker, const struct pod *pod, struct strbuf *out)
{
	const struct xds_node node = {
		.pod = pod,
		.service_account = pod->service_account,
		.cluster_id = worker->scopes.events->cluster_id,
		.node_name = worker->scopes.events->node_name,
	};

	return xds_node_make(&node, out);
}

static int set_text(char **place, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*place);
	*place = copy;
	return 0;
}

/* This pod stands for its namespace from now on. */
static int represent(struct worker *worker, struct serving *serving, const struct pod *pod)
{
	static const struct xds_scope_callbacks callbacks = { on_send, on_publish };
	_cleanup_(strbuf_release) struct strbuf node = STRBUF_INIT;
	int r = node_of(worker, pod, &node);

	if (!r)
		r = set_text(&serving->pod_name, pod->name);
	if (!r)
		r = set_text(&serving->service_account, pod->service_account);
	if (r)
		return r;
	if (serving->stream)
		return xds_scope_set_node(serving->stream, node.data, node.size);
	r = xds_scope_new(worker->scopes.store, serving->name, node.data, node.size, &callbacks, serving, &serving->stream);
	if (!r)
		xds_scope_require_mtls(serving->stream, worker->scopes.requires_mtls);
	return r;
}

static int carry(struct worker *worker, struct serving *serving)
{
	int r = worker->scopes.events->begin(worker, serving);

	serving->is_carried = r == 0;
	return r;
}

static int begin(struct worker *worker, const struct pod *pod, struct serving **out)
{
	uint32_t number = number_for(worker, pod->namespace_name);
	struct serving *serving;
	int r;

	if (number == WEFT_SCOPES_MAX) {
		log_error("namespace %s: pods of more than %u namespaces are on this node; those of this one are not served", pod->namespace_name,
			  WEFT_SCOPES_MAX);
		return -ENOSPC;
	}
	r = serving_new(worker, number, pod->namespace_name, &serving);
	if (r)
		return r;
	r = represent(worker, serving, pod);
	if (!r) {
		take_cache(serving);
		r = carry(worker, serving);
	}
	if (r) {
		worker->former_endpoints[number] = serving->endpoints_entry;
		serving_free(&worker->scopes.items[number]);
		return log_err(r, "beginning the stream of namespace %s", pod->namespace_name);
	}
	log_info("namespace %s: pod %s stands for it", serving->name, serving->pod_name);
	keep_numbers(worker);
	*out = serving;
	return 0;
}

/* Everybody who reads its images gets empty ones: what they held may be used for something else. */
static void serve_nothing(struct worker *worker, struct serving *serving)
{
	_cleanup_(mesh_free) struct mesh *empty = NULL;
	int r = mesh_new(&empty);

	if (!r && serving->endpoints)
		r = publish_mesh(worker, serving, empty);
	if (r)
		log_err(r, "namespace %s: forgetting what its pods were served", serving->name);
}

static void end(struct worker *worker, struct serving *serving)
{
	uint32_t number = serving->number;

	log_info("namespace %s: no pod of it is left, its stream ends", serving->name);
	worker->scopes.events->end(worker, serving);
	serve_nothing(worker, serving);
	publish_forget(serving);
	worker->former_endpoints[number] = serving->endpoints_entry;
	serving_free(&worker->scopes.items[number]);
	names_want(worker);
	keep_numbers(worker);
}

/* ---- pods come and go --------------------------------------------------------------------------------------------------------------- */

/* The pod that stands for a namespace: the one that does already, or else the first. */
static const struct pod *representative(const struct pods *pods, const struct serving *serving)
{
	const struct pod *pod = serving->pod_name ? pods_find(pods, serving->name, serving->pod_name) : NULL;

	for (size_t i = 0; !pod && i < pods_count(pods); i++)
		if (strcmp(pods_at(pods, i)->namespace_name, serving->name) == 0)
			pod = pods_at(pods, i);
	return pod;
}

/* The node of a stream is said once, at its beginning: another one is another stream. What serves goes on meanwhile. A pod of the same name may be another
 * one, with another address, or have other labels, by which istiod chooses what it sends. */
static int follow(struct worker *worker, struct serving *serving, const struct pod *pod)
{
	_cleanup_(strbuf_release) struct strbuf node = STRBUF_INIT;
	int r = node_of(worker, pod, &node);

	if (r || xds_scope_has_node(serving->stream, node.data, node.size))
		return r;
	worker->scopes.events->end(worker, serving);
	xds_scope_closed(serving->stream);
	r = represent(worker, serving, pod);
	if (!r)
		r = carry(worker, serving);
	else
		serving->is_carried = false;
	if (!r)
		log_info("namespace %s: pod %s stands for it now", serving->name, serving->pod_name);
	return r ? log_err(r, "beginning the stream of namespace %s anew: it is tried again every second, what served goes on", serving->name) : 0;
}

int scopes_update(struct worker *worker, const struct pods *pods, uint64_t now_ms)
{
	struct serving *serving = NULL;
	int r = 0;

	if (!worker->scopes.events)
		return 0;
	for (size_t i = 0; i < pods_count(pods); i++) {
		const struct pod *pod = pods_at(pods, i);
		int failed = scopes_find(worker, pod->namespace_name) ? 0 : begin(worker, pod, &serving);

		r = r ? r : failed;
	}
	serving = NULL;
	while ((serving = scopes_next(worker, serving))) {
		const struct pod *pod = representative(pods, serving);
		int failed = pod ? follow(worker, serving, pod) : 0;

		r = r ? r : failed;
		if (pod)
			serving->pods_gone_ms = 0;
		else if (!serving->pods_gone_ms)
			serving->pods_gone_ms = now_ms;
	}
	return r;
}

void scopes_tick(struct worker *worker, uint64_t now_ms)
{
	for (uint32_t i = 0; worker->scopes.events && i < WEFT_SCOPES_MAX; i++) {
		struct serving *serving = worker->scopes.items[i];

		/* what the last of its pods have open is still served */
		if (serving && serving->pods_gone_ms && pods_are_draining(worker, serving->name))
			serving->pods_gone_ms = now_ms;
		if (serving && serving->pods_gone_ms && now_ms - serving->pods_gone_ms >= SCOPE_GRACE_MS)
			end(worker, serving);
		if (!worker->scopes.items[i])
			continue;
		if (!serving->is_carried && !carry(worker, serving))
			log_info("namespace %s: its stream has begun", serving->name);
		(void)xds_scope_tick(serving->stream, now_ms);
		if (serving->cache_job && xds_cache_is_done(serving->cache_job))
			end_cache_job(serving);
		if (now_ms - serving->cached_ms >= SCOPE_CACHE_MS)
			keep_cache(serving, now_ms);
	}
}

/* Whose image it is: the first scope's that serves it. */
static const char *owner_name(const struct worker *worker, const struct serving *serving, enum weft_image_kind kind)
{
	const struct serving *other = NULL;

	while ((other = scopes_next(worker, other)))
		if (kind == WEFT_IMAGE_ROUTES ? other->routes == serving->routes : other->endpoints == serving->endpoints)
			break;
	return other ? other->name : "";
}

json_t *scopes_describe(struct worker *worker)
{
	const struct scope_events *events = worker->scopes.events;
	const struct serving *serving = NULL;
	json_t *list = json_array();

	while (events && (serving = scopes_next(worker, serving))) {
		json_t *object = xds_scope_describe(serving->stream, worker_now_ms());

		json_object_set_new(object, "pod", json_string(serving->pod_name));
		json_object_set_new(object, "service_account", json_string(serving->service_account));
		if (serving->routes && serving->endpoints)
			json_object_set_new(object, "images", json_pack("{s:s, s:s}", "routes", owner_name(worker, serving, WEFT_IMAGE_ROUTES),
									"endpoints", owner_name(worker, serving, WEFT_IMAGE_ENDPOINTS)));
		/* until the server has said how things are */
		if (serving->cache_unix_ms && !xds_scope_is_confirmed(serving->stream))
			json_object_set_new(object, "cache_age_s", json_integer((json_int_t)((unix_ms() - serving->cache_unix_ms) / 1000)));
		if (events->describe)
			json_object_set_new(object, "connection", events->describe(worker, serving));
		json_array_append_new(list, object);
	}
	return list;
}

/* ---- beginning and end -------------------------------------------------------------------------------------------------------------- */

int scopes_start(struct worker *worker)
{
	struct serving *serving;

	if (worker->scopes.events) {
		take_numbers(worker);
		return xds_store_new(&worker->scopes.store);
	}
	return serving_new(worker, 0, "", &serving);
}

void scopes_stop(struct worker *worker)
{
	for (uint32_t i = 0; i < WEFT_SCOPES_MAX; i++) {
		struct serving *serving = worker->scopes.items[i];

		free(worker->scopes.former_names[i]);
		if (!serving)
			continue;
		if (serving->stream) {
			end_cache_job(serving);
			keep_cache(serving, worker_now_ms());
			end_cache_job(serving);
			worker->scopes.events->end(worker, serving);
		}
		publish_forget(serving);
		serving_free(&worker->scopes.items[i]);
	}
	xds_store_free(&worker->scopes.store);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Compile, then publish: the pool first, because an endpoint that went must lose its idle connections before programs may meet its id with
 * another meaning; then the proxy and the programs. A mesh that can't be compiled changes nothing. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/step.h"
#include "datapath/datapath.h"
#include "mesh/mesh.h"
#include "pool/pool.h"
#include "proxy/proxy.h"
#include "worker/internal.h"

#define PREPARE_MS 20 /* after a publication; one that follows at once takes longer */

static void published_free(struct published *published)
{
	image_free(&published->image);
	free(published);
}

/* Any thread. Images are freed on the control loop, since their ids begin to rest with that. */
static void published_put(struct published *published)
{
	struct worker *worker = published->worker;
	const uint64_t one = 1;

	if (__atomic_sub_fetch(&published->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	published->next = __atomic_load_n(&worker->retired, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&worker->retired, &published->next, published, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	/* The only failure is a counter that is full, and then the loop is awake. */
	if (write(worker->retire_fd, &one, sizeof(one)) < 0)
		return;
}

static void release(void *arg)
{
	published_put(arg);
}

static void free_retired(struct worker *worker)
{
	struct published *published = __atomic_exchange_n(&worker->retired, NULL, __ATOMIC_ACQUIRE), *next;

	for (; published; published = next) {
		next = published->next;
		published_free(published);
	}
}

static void on_retired(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	free_retired(arg);
}

/* A failure costs the next publication some time, and is said there if it lasts. */
static void on_prepare(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	(void)datapath_prepare(worker->datapath, SCOPE, WEFT_IMAGE_ENDPOINTS);
	(void)datapath_prepare(worker->datapath, SCOPE, WEFT_IMAGE_ROUTES);
}

static int published_new(struct worker *worker, struct image **image, struct published **out)
{
	struct published *published = calloc(1, sizeof(*published));

	if (!published)
		return -ENOMEM;
	published->worker = worker;
	published->image = TAKE_PTR(*image);
	published->references = 1;
	*out = published;
	return 0;
}

/* To the proxy and the programs. Whichever fails keeps serving the former image, and the caller keeps it too. */
static int publish_image(struct worker *worker, struct image **image, struct published **serving)
{
	struct published *published;
	enum weft_image_kind kind = (*image)->kind;
	const struct timeval soon = { .tv_usec = PREPARE_MS * 1000 };
	int r;

	r = published_new(worker, image, &published);
	if (r)
		return r;
	if (kind == WEFT_IMAGE_ENDPOINTS) {
		r = pool_publish_endpoints(worker->pool, SCOPE, published->image->base, published->image->size_bytes);
		if (r) {
			published_put(published);
			return log_err(r, "telling the pool of the new endpoints");
		}
	}
	r = datapath_publish(worker->datapath, SCOPE, published->image);
	if (r) {
		published_put(published);
		return log_err(r, "publishing to the kernel");
	}
	evtimer_add(worker->prepare_event, &soon);
	__atomic_add_fetch(&published->references, 1, __ATOMIC_RELAXED);
	r = proxy_publish(worker->proxy, SCOPE, kind, published->image->base, published->image->size_bytes, release, published);
	if (r) {
		published_put(published);
		published_put(published);
		return log_err(r, "publishing to the proxy");
	}
	if (*serving)
		published_put(*serving);
	*serving = published;
	step("publish: an image published");
	return 0;
}

static bool is_served(const struct published *serving, const struct image *image)
{
	return serving && serving->image->content_hash == image->content_hash && serving->image->size_bytes == image->size_bytes;
}

static void keep_ids(struct worker *worker)
{
	const struct image *image = worker->endpoints->image;
	int r = memory_keep(worker->table, MEMORY_ENDPOINTS, image->base, image->size_bytes, &worker->endpoints_entry);

	if (r)
		log_warn(r, "keeping endpoint ids for a next worker: after a crash, pooled connections would be dialled anew");
}

/* Some cluster that routes may still name is not in the new mesh. */
static bool loses_clusters(const struct mesh *former, const struct mesh *mesh)
{
	for (size_t i = 0; former && i < former->cluster_count; i++) {
		if (!mesh_find_cluster(mesh, former->clusters[i]->resource.name))
			return true;
	}
	return false;
}

static bool gains_clusters(const struct mesh *former, const struct mesh *mesh)
{
	return !former || loses_clusters(mesh, former);
}

static int publish_endpoints(struct worker *worker, struct image **endpoints)
{
	int r;

	if (is_served(worker->endpoints, *endpoints))
		return 0;
	r = publish_image(worker, endpoints, &worker->endpoints);
	if (r == 0)
		keep_ids(worker);
	return r;
}

static int publish_routes(struct worker *worker, struct image **routes)
{
	return !*routes || is_served(worker->routes, *routes) ? 0 : publish_image(worker, routes, &worker->routes);
}

static const struct image *serving_endpoints(const struct worker *worker)
{
	return worker->endpoints ? worker->endpoints->image : NULL;
}

int publish_mesh(struct worker *worker, const struct mesh *mesh)
{
	_cleanup_(compile_report_release) struct compile_report of_endpoints = COMPILE_REPORT_INIT, of_routes = COMPILE_REPORT_INIT;
	_cleanup_(image_free) struct image *routes = NULL;
	_cleanup_(image_free) struct image *endpoints = NULL;
	uint64_t routes_key = compile_routes_key(mesh);
	bool has_same_routes = worker->routes && worker->routes_key == routes_key, has_new_routes, has_new_endpoints;
	const size_t *endpoint_totals = of_endpoints.totals, *route_totals = worker->route_totals;
	int r;

	ids_set_time(worker->ids, worker_now_ms());
	r = compile_endpoints_again(mesh, worker->dns, worker->ids, serving_endpoints(worker), &endpoints, &of_endpoints);
	if (r)
		return log_err(r, "compiling clusters and endpoints");
	r = has_same_routes ? 0 : compile_routes(mesh, worker->ids, &routes, &of_routes);
	if (r)
		return log_err(r, "compiling listeners and routes");
	has_new_endpoints = !is_served(worker->endpoints, endpoints);
	has_new_routes = routes && !is_served(worker->routes, routes);

	/* A route must never name a cluster that is not there yet, nor one that is gone already. */
	if (loses_clusters(worker->mesh, mesh) && !gains_clusters(worker->mesh, mesh)) {
		r = publish_routes(worker, &routes);
		if (r == 0)
			r = publish_endpoints(worker, &endpoints);
	} else {
		r = publish_endpoints(worker, &endpoints);
		if (r == 0)
			r = publish_routes(worker, &routes);
	}
	if (r)
		return r;
	if (!has_same_routes)
		memcpy(worker->route_totals, of_routes.totals, sizeof(worker->route_totals));
	worker->routes_key = routes_key;
	log_info("published%s%s%s: %zu kernel, %zu proxy, %zu refused", has_new_routes ? " routes" : "", has_new_endpoints ? " endpoints" : "",
		 has_new_routes || has_new_endpoints ? "" : " nothing new", endpoint_totals[WEFT_VERDICT_KERNEL] + route_totals[WEFT_VERDICT_KERNEL],
		 endpoint_totals[WEFT_VERDICT_PROXY] + route_totals[WEFT_VERDICT_PROXY],
		 endpoint_totals[WEFT_VERDICT_REFUSED] + route_totals[WEFT_VERDICT_REFUSED]);
	return 0;
}

void publish_names(struct worker *worker)
{
	_cleanup_(image_free) struct image *endpoints = NULL;
	int r;

	if (!worker->mesh)
		return;
	ids_set_time(worker->ids, worker_now_ms());
	r = compile_endpoints_again(worker->mesh, worker->dns, worker->ids, serving_endpoints(worker), &endpoints, NULL);
	if (!r)
		r = publish_endpoints(worker, &endpoints);
	if (r)
		log_err(r, "publishing what DNS answers: the addresses before it keep serving");
}

int publish_start(struct worker *worker)
{
	_cleanup_(strbuf_release) struct strbuf former = STRBUF_INIT;
	int r;

	r = ids_new(&worker->ids, NULL);
	if (r)
		return r;
	if (memory_find(worker->table, MEMORY_ENDPOINTS, &former, &worker->endpoints_entry) == 0) {
		r = ids_adopt(worker->ids, (const uint8_t *)strbuf_text(&former), (uint32_t)former.size);
		if (r)
			log_warn(r, "taking over the former worker's endpoint ids: pooled connections are dialled anew");
	}
	worker->retire_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (worker->retire_fd < 0)
		return -errno;
	worker->prepare_event = evtimer_new(worker->base, on_prepare, worker);
	if (!worker->prepare_event)
		return -ENOMEM;
	worker->retire_event = event_new(worker->base, worker->retire_fd, EV_READ | EV_PERSIST, on_retired, worker);
	return worker->retire_event && event_add(worker->retire_event, NULL) == 0 ? 0 : -ENOMEM;
}

/* After the proxy is gone, so that nobody reads an image any more. */
void publish_stop(struct worker *worker)
{
	if (worker->routes)
		published_put(worker->routes);
	if (worker->endpoints)
		published_put(worker->endpoints);
	worker->routes = worker->endpoints = NULL;
	free_retired(worker);
	ids_free(&worker->ids);
	if (worker->prepare_event)
		event_free(worker->prepare_event);
	if (worker->retire_event)
		event_free(worker->retire_event);
	if (worker->retire_fd >= 0)
		close(worker->retire_fd);
}

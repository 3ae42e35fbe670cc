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

/* The first scope that serves the image: the others share its pages. */
static bool is_owner(const struct worker *worker, const struct serving *serving, enum weft_image_kind kind)
{
	const struct serving *other = NULL;
	bool is_routes = kind == WEFT_IMAGE_ROUTES;

	while ((other = scopes_next(worker, other)) && other != serving)
		if ((is_routes ? other->routes : other->endpoints) == (is_routes ? serving->routes : serving->endpoints))
			return false;
	return true;
}

/* A failure costs the next publication some time, and is said there if it lasts. */
static void on_prepare(evutil_socket_t fd, short what, void *arg)
{
	const struct serving *serving = NULL;
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	while ((serving = scopes_next(worker, serving))) {
		if (serving->endpoints && is_owner(worker, serving, WEFT_IMAGE_ENDPOINTS))
			(void)datapath_prepare(worker->datapath, serving->number, WEFT_IMAGE_ENDPOINTS);
		if (serving->routes && is_owner(worker, serving, WEFT_IMAGE_ROUTES))
			(void)datapath_prepare(worker->datapath, serving->number, WEFT_IMAGE_ROUTES);
	}
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

static struct published **place_of(struct serving *serving, enum weft_image_kind kind)
{
	return kind == WEFT_IMAGE_ROUTES ? &serving->routes : &serving->endpoints;
}

static struct published *published_ref(struct published *published)
{
	__atomic_add_fetch(&published->references, 1, __ATOMIC_RELAXED);
	return published;
}

/* To pool, programs and proxy; `owner` (may be NULL) serves it already. Whichever fails keeps serving the former image, and the caller keeps it too. Takes over
 * a reference. */
static int publish_image(struct worker *worker, struct serving *serving, struct published *published, const struct serving *owner)
{
	const struct image *image = published->image;
	const struct timeval soon = { .tv_usec = PREPARE_MS * 1000 };
	struct published **place = place_of(serving, image->kind);
	int r = 0;

	if (image->kind == WEFT_IMAGE_ENDPOINTS)
		r = pool_publish_endpoints(worker->pool, serving->number, image->base, image->size_bytes);
	if (r) {
		published_put(published);
		return log_err(r, "telling the pool of the new endpoints");
	}
	r = owner ? datapath_publish_shared(worker->datapath, serving->number, image->kind, owner->number) :
		    datapath_publish(worker->datapath, serving->number, image);
	if (r) {
		published_put(published);
		return log_err(r, "publishing to the kernel");
	}
	evtimer_add(worker->prepare_event, &soon);
	r = proxy_publish(worker->proxy, serving->number, image->kind, image->base, image->size_bytes, release, published_ref(published));
	if (r) {
		published_put(published);
		published_put(published);
		return log_err(r, "publishing to the proxy");
	}
	if (*place)
		published_put(*place);
	*place = published;
	step("publish: an image published");
	return 0;
}

static int publish_new(struct worker *worker, struct serving *serving, struct image **image)
{
	struct published *published;
	int r = published_new(worker, image, &published);

	return r ? r : publish_image(worker, serving, published, NULL);
}

static bool is_served(const struct published *serving, const struct image *image)
{
	return serving && serving->image->content_hash == image->content_hash && serving->image->size_bytes == image->size_bytes &&
	       memcmp(serving->image->base, image->base, image->size_bytes) == 0;
}

static void keep_ids(struct worker *worker, struct serving *serving)
{
	const struct image *image = serving->endpoints->image;
	int r = memory_keep(worker->table, (enum memory_slot)(MEMORY_ENDPOINTS + serving->number), image->base, image->size_bytes,
			    &serving->endpoints_entry);

	if (r)
		log_warn(r, "keeping endpoint ids for a next worker: after a crash, pooled connections would be dialled anew");
}

/* Some cluster that routes may still name is in the one image and not in the other. */
static bool loses_clusters(const struct image *former, const struct image *next)
{
	const struct weft_image_header *a = former ? (const void *)former->base : NULL, *b = next ? (const void *)next->base : NULL;

	for (uint32_t i = 0; a && i < a->cluster_count; i++) {
		const weft_ref *had = (const void *)(former->base + a->cluster_directory);
		const weft_ref *has = b && i < b->cluster_count ? (const void *)(next->base + b->cluster_directory) : NULL;

		if (had[i] && (!has || !has[i]))
			return true;
	}
	return false;
}

static int publish_endpoints(struct worker *worker, struct serving *serving, struct image **endpoints)
{
	int r;

	if (!*endpoints || is_served(serving->endpoints, *endpoints))
		return 0;
	r = publish_new(worker, serving, endpoints);
	if (r == 0)
		keep_ids(worker, serving);
	return r;
}

static int publish_routes(struct worker *worker, struct serving *serving, struct image **routes)
{
	return !*routes || is_served(serving->routes, *routes) ? 0 : publish_new(worker, serving, routes);
}

static const struct image *image_of(const struct published *published)
{
	return published ? published->image : NULL;
}

/* ---- sharing --------------------------------------------------------------------------------------------------------------------- */

/* A scope whose image was made of the same, by `key`. */
static const struct serving *find_equal(const struct worker *worker, const struct serving *serving, enum weft_image_kind kind, uint64_t key)
{
	const struct serving *other = NULL;

	while ((other = scopes_next(worker, other))) {
		bool is_equal = kind == WEFT_IMAGE_ROUTES ? other->routes && other->routes_key == key : other->endpoints && other->endpoints_key == key;

		if (other != serving && is_equal)
			return other;
	}
	return NULL;
}

static uint64_t endpoints_key(const struct worker *worker, const struct mesh *mesh)
{
	uint64_t key = compile_endpoints_key(mesh);

	return key ^ worker->scopes.names_changes * 0x9e3779b97f4a7c15ull;
}

static int share(struct worker *worker, struct serving *serving, enum weft_image_kind kind, const struct serving *owner)
{
	struct published *published = kind == WEFT_IMAGE_ROUTES ? owner->routes : owner->endpoints;
	int r;

	if (*place_of(serving, kind) == published)
		return 0;
	r = publish_image(worker, serving, published_ref(published), owner);
	if (r == 0 && kind == WEFT_IMAGE_ENDPOINTS)
		keep_ids(worker, serving);
	return r;
}

/* ---- a mesh ---------------------------------------------------------------------------------------------------------------------- */

/* What a scope is to serve next: an image of its own, another scope's, or what it serves already. */
struct plan {
	struct image *endpoints, *routes;
	const struct serving *endpoints_owner, *routes_owner;
	uint64_t endpoints_key, routes_key;
	struct compile_report of_endpoints, of_routes;
};

static void plan_release(struct plan *plan)
{
	image_free(&plan->endpoints);
	image_free(&plan->routes);
	compile_report_release(&plan->of_endpoints);
	compile_report_release(&plan->of_routes);
}

static int make_plan(struct worker *worker, struct serving *serving, const struct mesh *mesh, struct plan *plan)
{
	int r = 0;

	plan->endpoints_key = endpoints_key(worker, mesh);
	plan->routes_key = compile_routes_key(mesh);
	plan->endpoints_owner = find_equal(worker, serving, WEFT_IMAGE_ENDPOINTS, plan->endpoints_key);
	if (!serving->routes || serving->routes_key != plan->routes_key)
		plan->routes_owner = find_equal(worker, serving, WEFT_IMAGE_ROUTES, plan->routes_key);
	ids_set_time(worker->ids, worker_now_ms());
	if (!plan->endpoints_owner)
		r = compile_endpoints_again(mesh, worker->dns, worker->ids, image_of(serving->endpoints), &plan->endpoints, &plan->of_endpoints);
	if (r)
		return log_err(r, "compiling clusters and endpoints");
	if (!plan->routes_owner && (!serving->routes || serving->routes_key != plan->routes_key))
		r = compile_routes(mesh, worker->ids, &plan->routes, &plan->of_routes);
	return r ? log_err(r, "compiling listeners and routes") : 0;
}

static int publish_plan(struct worker *worker, struct serving *serving, struct plan *plan, enum weft_image_kind kind)
{
	if (kind == WEFT_IMAGE_ROUTES)
		return plan->routes_owner ? share(worker, serving, kind, plan->routes_owner) : publish_routes(worker, serving, &plan->routes);
	return plan->endpoints_owner ? share(worker, serving, kind, plan->endpoints_owner) : publish_endpoints(worker, serving, &plan->endpoints);
}

static void tell(struct serving *serving, const struct plan *plan, bool has_new_routes, bool has_new_endpoints)
{
	const size_t *endpoints = plan->endpoints_owner ? plan->endpoints_owner->endpoint_totals : plan->of_endpoints.totals, *routes = serving->route_totals;
	size_t told[WEFT_VERDICT_IGNORED + 1];
	bool is_news;

	for (unsigned i = 0; i <= WEFT_VERDICT_IGNORED; i++)
		told[i] = endpoints[i] + routes[i];
	if (endpoints != serving->endpoint_totals)
		memcpy(serving->endpoint_totals, endpoints, sizeof(serving->endpoint_totals));
	is_news = !*serving->name || memcmp(told, serving->told_totals, sizeof(told)) != 0;
	memcpy(serving->told_totals, told, sizeof(told));
	/* A file changes when somebody changes it, istiod pushes whenever a pod comes or goes. */
	log_write(is_news ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, __FILE__, "published%s%s%s%s%s: %zu kernel, %zu proxy, %zu refused, %zu ignored",
		  *serving->name ? " for namespace " : "", serving->name, has_new_routes ? " routes" : "", has_new_endpoints ? " endpoints" : "",
		  has_new_routes || has_new_endpoints ? "" : " nothing new", told[WEFT_VERDICT_KERNEL],
		  told[WEFT_VERDICT_PROXY], told[WEFT_VERDICT_REFUSED], told[WEFT_VERDICT_IGNORED]);
}

int publish_mesh(struct worker *worker, struct serving *serving, const struct mesh *mesh)
{
	_cleanup_(plan_release) struct plan plan = { .of_endpoints = COMPILE_REPORT_INIT, .of_routes = COMPILE_REPORT_INIT };
	const struct published *former_routes = serving->routes, *former_endpoints = serving->endpoints;
	const struct image *next;
	bool routes_first;
	int r;

	r = make_plan(worker, serving, mesh, &plan);
	if (r)
		return r;
	/* A route must never name a cluster that is not there yet, nor one that is gone already. */
	next = plan.endpoints_owner ? plan.endpoints_owner->endpoints->image : plan.endpoints;
	routes_first = loses_clusters(image_of(serving->endpoints), next) && !loses_clusters(next, image_of(serving->endpoints));
	r = publish_plan(worker, serving, &plan, routes_first ? WEFT_IMAGE_ROUTES : WEFT_IMAGE_ENDPOINTS);
	if (r == 0)
		r = publish_plan(worker, serving, &plan, routes_first ? WEFT_IMAGE_ENDPOINTS : WEFT_IMAGE_ROUTES);
	if (r)
		return r;
	if (plan.routes_owner)
		memcpy(serving->route_totals, plan.routes_owner->route_totals, sizeof(serving->route_totals));
	else if (serving->routes_key != plan.routes_key || !former_routes)
		memcpy(serving->route_totals, plan.of_routes.totals, sizeof(serving->route_totals));
	serving->routes_key = plan.routes_key;
	serving->endpoints_key = plan.endpoints_key;
	tell(serving, &plan, serving->routes != former_routes, serving->endpoints != former_endpoints);
	return 0;
}

void publish_forget(struct serving *serving)
{
	if (serving->routes)
		published_put(serving->routes);
	if (serving->endpoints)
		published_put(serving->endpoints);
	serving->routes = serving->endpoints = NULL;
}

static int publish_names_of(struct worker *worker, struct serving *serving)
{
	_cleanup_(plan_release) struct plan plan = { .of_endpoints = COMPILE_REPORT_INIT, .of_routes = COMPILE_REPORT_INIT };
	int r = 0;

	plan.endpoints_key = endpoints_key(worker, serving->mesh);
	plan.endpoints_owner = find_equal(worker, serving, WEFT_IMAGE_ENDPOINTS, plan.endpoints_key);
	ids_set_time(worker->ids, worker_now_ms());
	if (!plan.endpoints_owner)
		r = compile_endpoints_again(serving->mesh, worker->dns, worker->ids, image_of(serving->endpoints), &plan.endpoints, NULL);
	if (!r)
		r = publish_plan(worker, serving, &plan, WEFT_IMAGE_ENDPOINTS);
	if (!r)
		serving->endpoints_key = plan.endpoints_key;
	return r;
}

void publish_names(struct worker *worker)
{
	struct serving *serving = NULL;

	worker->scopes.names_changes++;
	while ((serving = scopes_next(worker, serving))) {
		int r = serving->mesh && serving->endpoints ? publish_names_of(worker, serving) : 0;

		if (r)
			log_err(r, "publishing what DNS answers: the addresses before it keep serving");
	}
}

/* Ids that the former worker gave, whatever scope it gave them for. */
static void adopt_ids(struct worker *worker)
{
	for (uint32_t i = 0; i < WEFT_SCOPES_MAX; i++) {
		_cleanup_(strbuf_release) struct strbuf former = STRBUF_INIT;
		struct table_entry *entry = NULL;
		int r;

		if (memory_find(worker->table, (enum memory_slot)(MEMORY_ENDPOINTS + i), &former, &entry))
			continue;
		worker->former_endpoints[i] = entry;
		r = ids_adopt(worker->ids, (const uint8_t *)strbuf_text(&former), (uint32_t)former.size);
		if (r)
			log_warn(r, "taking over the former worker's endpoint ids: pooled connections are dialled anew");
	}
}

int publish_start(struct worker *worker)
{
	int r;

	r = ids_new(&worker->ids, NULL);
	if (r)
		return r;
	adopt_ids(worker);
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
	scopes_stop(worker);
	free_retired(worker);
	ids_free(&worker->ids);
	if (worker->prepare_event)
		event_free(worker->prepare_event);
	if (worker->retire_event)
		event_free(worker->retire_event);
	if (worker->retire_fd >= 0)
		close(worker->retire_fd);
}

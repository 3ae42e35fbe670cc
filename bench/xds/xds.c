/* SPDX-License-Identifier: Apache-2.0 */
/* What pushes of istiod cost, from the whole message to what serves in the kernel: a recording with 1,000 services of ten pods each and 1,200 routes, and
 * its changes. One thread does all of it, so the time is that of one core.
 *   xds OUT.json SAMPLES     as root; the middle of the samples counts, after one that warms up */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/strbuf.h"
#include "bench/report.h"
#include "compile/compile.h"
#include "datapath/datapath.h"
#include "envoy/service/discovery/v3/discovery.pb-c.h"
#include "xds/response.h"
#include "xds/scope.h"

#define RECORDING "tests/data/recordings/scale/"
#define BPFFS "/sys/fs/bpf/weft-bench-xds"
#define RESPONSE_MAX (4u << 20)
#define SCOPES 10
#define GROWTH_PUSHES 500

typedef Envoy__Service__Discovery__V3__DiscoveryResponse Response;

static struct strbuf read_message(const char *name)
{
	struct strbuf bytes = STRBUF_INIT;
	char path[128];
	gzFile file;
	int n;

	snprintf(path, sizeof(path), RECORDING "%s.pb.gz", name);
	file = gzopen(path, "rb");
	need(file && !strbuf_reserve(&bytes, RESPONSE_MAX), "the recording can't be read: run from the root of the repository");
	n = gzread(file, bytes.data, RESPONSE_MAX);
	need(n > 0, "the recording can't be read");
	bytes.size = (size_t)n;
	gzclose(file);
	return bytes;
}

/* ---- scopes as the worker has them ------------------------------------------------------------------------------------------------- */

struct bench;

struct scope {
	struct bench *bench;
	uint32_t number;
	struct xds_scope *state;
	struct image *routes, *endpoints; /* of its own; NULL: another scope's */
	uint64_t routes_key, endpoints_key;
};

struct bench {
	struct xds_store *store;
	struct ids *ids;
	struct datapath *datapath;
	struct scope scopes[SCOPES];
	size_t published;
	struct report report;
	double cpu[SAMPLES_MAX];
};

struct moment {
	double wall, cpu;
};

static struct moment now(void)
{
	return (struct moment){ now_ms(), now_cpu_ms() };
}

static void took(struct bench *b, int sample, struct moment start)
{
	struct moment end = now();

	if (sample < 0)
		return;
	b->report.taken[sample] = end.wall - start.wall;
	b->cpu[sample] = end.cpu - start.cpu;
}

/* The middle of the samples, and what of it was work: the rest is a grace period, or other people. */
static void rows_of(struct bench *b, const char *name, double bar)
{
	row(&b->report, name, middle(&b->report), "ms", bar);
	memcpy(b->report.taken, b->cpu, sizeof(b->cpu));
	row(&b->report, "the same, CPU time", middle(&b->report), "ms", bar);
}

static void on_send(void *arg, const void *bytes, size_t size)
{
}

static const struct scope *find_equal(const struct scope *scope, enum weft_image_kind kind, uint64_t key)
{
	for (size_t i = 0; i < SCOPES; i++) {
		const struct scope *other = &scope->bench->scopes[i];

		if (other != scope && (kind == WEFT_IMAGE_ROUTES ? other->routes && other->routes_key == key : other->endpoints && other->endpoints_key == key))
			return other;
	}
	return NULL;
}

static int publish_image(struct scope *scope, struct image *image, struct image **place)
{
	int r;

	if (*place && (*place)->content_hash == image->content_hash) {
		image_free(&image);
		return 0;
	}
	r = datapath_publish(scope->bench->datapath, scope->number, image);
	image_free(place);
	*place = image;
	scope->bench->published++;
	return r;
}

static int publish_endpoints(struct scope *scope, const struct mesh *mesh)
{
	uint64_t key = compile_endpoints_key(mesh);
	const struct scope *owner = find_equal(scope, WEFT_IMAGE_ENDPOINTS, key);
	struct image *image = NULL;
	int r;

	scope->endpoints_key = key;
	if (owner)
		return datapath_publish_shared(scope->bench->datapath, scope->number, WEFT_IMAGE_ENDPOINTS, owner->number);
	r = compile_endpoints_again(mesh, NULL, scope->bench->ids, scope->endpoints, &image, NULL);
	return r ? r : publish_image(scope, image, &scope->endpoints);
}

static int publish_routes(struct scope *scope, const struct mesh *mesh)
{
	uint64_t key = compile_routes_key(mesh);
	const struct scope *owner = find_equal(scope, WEFT_IMAGE_ROUTES, key);
	struct image *image = NULL;
	int r;

	if (key == scope->routes_key)
		return 0;
	scope->routes_key = key;
	if (owner)
		return datapath_publish_shared(scope->bench->datapath, scope->number, WEFT_IMAGE_ROUTES, owner->number);
	r = compile_routes(mesh, scope->bench->ids, &image, NULL);
	return r ? r : publish_image(scope, image, &scope->routes);
}

static int on_publish(void *arg, const struct mesh *mesh, struct strbuf *why)
{
	struct scope *scope = arg;
	int r = publish_endpoints(scope, mesh);

	return r ? r : publish_routes(scope, mesh);
}

static void scope_begin(struct bench *b, uint32_t number)
{
	static const struct xds_scope_callbacks callbacks = { on_send, on_publish };
	struct scope *scope = &b->scopes[number];

	*scope = (struct scope){ .bench = b, .number = number };
	need(!xds_scope_new(b->store, "bench", NULL, 0, &callbacks, scope, &scope->state), "no memory");
	need(!xds_scope_opened(scope->state, 1), "no memory");
}

static void scope_end(struct scope *scope)
{
	xds_scope_free(&scope->state);
	image_free(&scope->routes);
	image_free(&scope->endpoints);
}

static void push(struct scope *scope, const struct strbuf *message)
{
	need(!xds_scope_response(scope->state, message->data, message->size, 1), "a message is refused");
	need(!*xds_scope_last_push(scope->state)->detail, "a push is refused");
}

/* As the worker does when it has published. */
static void prepare(struct bench *b)
{
	need(!datapath_prepare(b->datapath, 0, WEFT_IMAGE_ENDPOINTS) && !datapath_prepare(b->datapath, 0, WEFT_IMAGE_ROUTES), "no pages can be made");
}

/* ---- measuring ------------------------------------------------------------------------------------------------------------------- */

/* What was freed and not given back counts for nobody. */
static double resident_after_trim(void)
{
	malloc_trim(0);
	return resident_mib();
}

struct recording {
	struct strbuf cds, lds, eds, rds;                    /* the first of each */
	struct strbuf one_eds, one_eds_before;               /* a cluster's endpoints, changed and as they were */
	struct strbuf cds_again, lds_again, rds_changed;     /* one VirtualService changed: all of it again */
};

/* A push of the one assignment that `changed` has, as it stood in `all`. */
static struct strbuf former_of(const struct strbuf *all, const struct strbuf *changed)
{
	Response *one = envoy__service__discovery__v3__discovery_response__unpack(NULL, changed->size, (const uint8_t *)changed->data);
	struct xds_response before, after;
	struct strbuf out = STRBUF_INIT;
	const char *problem;

	need(one && one->n_resources == 1 && !xds_response_parse(all->data, all->size, &before, &problem) &&
	     !xds_response_parse(changed->data, changed->size, &after, &problem), "the recording is damaged");
	for (size_t i = 0; i < before.count; i++) {
		const struct xds_response_item *item = &before.items[i];

		if (item->name.size != after.items[0].name.size || memcmp(item->name.at, after.items[0].name.at, item->name.size) != 0)
			continue;
		free(one->resources[0]->value.data);
		one->resources[0]->value.data = malloc(item->value.size);
		one->resources[0]->value.len = item->value.size;
		need(one->resources[0]->value.data, "no memory");
		memcpy(one->resources[0]->value.data, item->value.at, item->value.size);
	}
	need(!strbuf_reserve(&out, 1 << 16), "no memory");
	out.size = envoy__service__discovery__v3__discovery_response__pack(one, (uint8_t *)out.data);
	envoy__service__discovery__v3__discovery_response__free_unpacked(one, NULL);
	xds_response_release(&before);
	xds_response_release(&after);
	return out;
}

static void push_all(struct scope *scope, const struct recording *r)
{
	push(scope, &r->cds);
	push(scope, &r->lds);
	push(scope, &r->eds);
	push(scope, &r->rds);
	need(xds_scope_is_ready(scope->state), "nothing serves");
}

static void bench_all(struct bench *b, const struct recording *r)
{
	for (int i = -1; i < b->report.samples; i++) {
		struct moment start;

		if (b->scopes[0].state)
			scope_end(&b->scopes[0]);
		scope_begin(b, 0);
		start = now();
		push_all(&b->scopes[0], r);
		took(b, i, start);
		prepare(b);
	}
	rows_of(b, "all of 1,003 clusters, 10,000 endpoints and 1,200 routes, bytes to live", 300);
}

static void bench_one_route(struct bench *b, const struct recording *r)
{
	for (int i = -1; i < b->report.samples; i++) {
		size_t published = b->published;
		struct moment start = now();

		push(&b->scopes[0], &r->cds_again);
		push(&b->scopes[0], &r->lds_again);
		push(&b->scopes[0], i & 1 ? &r->rds_changed : &r->rds);
		took(b, i, start);
		need(b->published > published, "the change changes nothing");
		prepare(b);
	}
	rows_of(b, "one VirtualService changed, 2.3 MB sent again, bytes to live", 60);
}

static void bench_one_assignment(struct bench *b, const struct recording *r)
{
	for (int i = -1; i < b->report.samples; i++) {
		size_t published = b->published;
		struct moment start = now();

		push(&b->scopes[0], i & 1 ? &r->one_eds : &r->one_eds_before);
		took(b, i, start);
		need(b->published > published || i < 0, "the change changes nothing");
		prepare(b);
	}
	rows_of(b, "endpoints of one cluster, bytes to live", 5);
}

/* What is heard again changes nothing and must cost next to nothing. */
static void bench_unchanged(struct bench *b, const struct recording *r)
{
	for (int i = -1; i < b->report.samples; i++) {
		size_t published = b->published;
		struct moment start = now();

		push(&b->scopes[0], &r->cds_again);
		push(&b->scopes[0], &r->eds);
		push(&b->scopes[0], &r->rds);
		took(b, i, start);
		need(b->published == published || i < 0, "what did not change was published");
	}
	rows_of(b, "all of it pushed again, unchanged", 20);
}

/* Pushes without end must not add up. */
static void bench_growth(struct bench *b, const struct recording *r)
{
	double before = 0;

	for (int i = 0; i < GROWTH_PUSHES * 2; i++) {
		if (i == GROWTH_PUSHES)
			before = resident_after_trim();
		push(&b->scopes[0], i & 1 ? &r->one_eds : &r->one_eds_before);
	}
	row(&b->report, "growth of memory over 500 pushes", resident_after_trim() - before, "MiB", 1);
}

static void bench_memory(struct bench *b, const struct recording *r)
{
	double one = resident_after_trim();

	for (uint32_t i = 1; i < SCOPES; i++) {
		scope_begin(b, i);
		push_all(&b->scopes[i], r);
	}
	row(&b->report, "memory with 1 scope: model, images, programs", one, "MiB", 60);
	row(&b->report, "memory with 10 scopes of the same content", resident_after_trim(), "MiB", 80);
}

static void read_recording(struct recording *r)
{
	r->cds = read_message("003-resp-cds");
	r->lds = read_message("006-resp-lds");
	r->eds = read_message("009-resp-eds");
	r->rds = read_message("011-resp-rds");
	r->one_eds = read_message("013-resp-eds");
	r->cds_again = read_message("015-resp-cds");
	r->lds_again = read_message("017-resp-lds");
	r->rds_changed = read_message("019-resp-rds");
	r->one_eds_before = former_of(&r->eds, &r->one_eds);
}

/* What the kernel of this process holds of the messages would count as memory. */
static void release_recording(struct recording *r)
{
	strbuf_release(&r->one_eds);
	strbuf_release(&r->one_eds_before);
	strbuf_release(&r->cds_again);
	strbuf_release(&r->lds_again);
	strbuf_release(&r->rds_changed);
}

int main(int argc, char **argv)
{
	const struct datapath_options options = {.bpffs = BPFFS, .fast_path = WEFT_FAST_PATH_OFF};
	struct bench b = {.report = report_begin(argc, argv)};
	struct recording r;

	read_recording(&r);
	need(!xds_store_new(&b.store) && !ids_new(&b.ids, NULL), "no memory");
	(void)datapath_uninstall(BPFFS);
	need(!datapath_new(&b.datapath, &options), "the programs can't be loaded: are you root?");

	bench_all(&b, &r);
	bench_one_route(&b, &r);
	bench_one_assignment(&b, &r);
	bench_unchanged(&b, &r);
	bench_growth(&b, &r);
	release_recording(&r);
	bench_memory(&b, &r);
	report_end(&b.report);

	for (size_t i = 0; i < SCOPES; i++)
		scope_end(&b.scopes[i]);
	strbuf_release(&r.cds);
	strbuf_release(&r.lds);
	strbuf_release(&r.eds);
	strbuf_release(&r.rds);
	xds_store_free(&b.store);
	ids_free(&b.ids);
	datapath_free(&b.datapath);
	(void)datapath_uninstall(BPFFS);
	return 0;
}

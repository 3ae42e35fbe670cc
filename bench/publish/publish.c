/* SPDX-License-Identifier: Apache-2.0 */
/* What it costs to serve a large mesh: a recording of a real istiod with 1,000 services of ten pods each, and 1,200 routes, compiled,
 * published to the kernel, and changed as istiod changed it.
 *   publish OUT.json SAMPLES     as root; the middle of the samples counts, after one that warms up */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "bench/report.h"
#include "compile/compile.h"
#include "datapath/datapath.h"
#include "google/protobuf/any.pb-c.h"
#include "mesh/mesh.h"

#define RECORDING "tests/data/istiod-scale/"
#define BPFFS "/sys/fs/bpf/weft-bench-publish"
#define RESPONSE_MAX (4u << 20)

/* ---- the recording --------------------------------------------------------------------------------------------------------------- */

struct response {
	Google__Protobuf__Any *resources[2000];
	size_t count;
};

/* The resources of a DiscoveryResponse: field 2, repeated Any. */
static void split(const uint8_t *bytes, size_t size, struct response *out)
{
	size_t at = 0;

	while (at < size) {
		uint8_t key = bytes[at++];
		size_t length = 0;
		int shift = 0;

		do {
			length |= (size_t)(bytes[at] & 0x7f) << shift;
			shift += 7;
		} while (bytes[at++] & 0x80);
		if ((key & 7) != 2)
			continue;
		if (key == (2 << 3 | 2)) {
			need(out->count < sizeof(out->resources) / sizeof(out->resources[0]), "the recording has more resources than expected");
			out->resources[out->count] = google__protobuf__any__unpack(NULL, length, bytes + at);
			need(out->resources[out->count++], "the recording is damaged");
		}
		at += length;
	}
}

static struct response *response_read(const char *name)
{
	struct response *response = calloc(1, sizeof(*response));
	uint8_t *bytes = malloc(RESPONSE_MAX);
	char path[128];
	gzFile file;
	int n;

	snprintf(path, sizeof(path), RECORDING "%s.pb.gz", name);
	file = gzopen(path, "rb");
	need(response && bytes && file, "the recording can't be read: run from the root of the repository");
	n = gzread(file, bytes, RESPONSE_MAX);
	need(n > 0, "the recording can't be read");
	split(bytes, (size_t)n, response);
	gzclose(file);
	free(bytes);
	return response;
}

static void response_free(struct response *response)
{
	for (size_t i = 0; i < response->count; i++)
		google__protobuf__any__free_unpacked(response->resources[i], NULL);
	free(response);
}

static void add(struct mesh *mesh, const Google__Protobuf__Any *any)
{
	need(!mesh_add_resource(mesh, any->type_url, any->value.data, any->value.len, NULL), "a resource is refused");
}

static void add_all(struct mesh *mesh, const struct response *response)
{
	for (size_t i = 0; i < response->count; i++)
		add(mesh, response->resources[i]);
}

/* The one of `former` that has the name which `changed` has a new version of. */
static const Google__Protobuf__Any *former_of(const struct response *former, const char *name)
{
	for (size_t i = 0; i < former->count; i++)
		if (memmem(former->resources[i]->value.data, former->resources[i]->value.len, name, strlen(name)))
			return former->resources[i];
	need(false, "the recording lacks the cluster that changes");
	return NULL;
}

/* ---- measuring ------------------------------------------------------------------------------------------------------------------- */

struct bench {
	struct mesh *mesh;
	struct ids *ids;
	struct datapath *datapath;
	struct image *routes, *endpoints;
	struct report report;
};

static void publish(struct bench *b, struct image **image, struct image **serving)
{
	need(!datapath_publish(b->datapath, 0, *image), "an image can't be published");
	image_free(serving);
	*serving = *image;
	*image = NULL;
}

/* As the worker does when it has published. */
static void prepare(struct bench *b)
{
	need(!datapath_prepare(b->datapath, 0, WEFT_IMAGE_ENDPOINTS) && !datapath_prepare(b->datapath, 0, WEFT_IMAGE_ROUTES), "no pages can be made");
}

static void bench_compile(struct bench *b)
{
	for (int i = -1; i < b->report.samples; i++) {
		struct image *routes = NULL, *endpoints = NULL;
		double start = now_ms();

		need(!compile_endpoints(b->mesh, NULL, b->ids, &endpoints, NULL) && !compile_routes(b->mesh, b->ids, &routes, NULL), "it does not compile");
		if (i >= 0)
			b->report.taken[i] = now_ms() - start;
		publish(b, &endpoints, &b->endpoints);
		publish(b, &routes, &b->routes);
	}
	row(&b->report, "compile 1,000 services x 10 endpoints and 1,200 routes", middle(&b->report), "ms", 150);
	row(&b->report, "images of them", (double)(b->routes->size_bytes + b->endpoints->size_bytes) / (1 << 20), "MiB", 16);
}

static void bench_endpoint(struct bench *b, const Google__Protobuf__Any *former, const Google__Protobuf__Any *changed)
{
	for (int i = -1; i < b->report.samples; i++) {
		struct image *endpoints = NULL;
		double start;

		add(b->mesh, i & 1 ? changed : former);
		start = now_ms();
		need(!compile_endpoints_again(b->mesh, NULL, b->ids, b->endpoints, &endpoints, NULL), "it does not compile");
		need(endpoints->content_hash != b->endpoints->content_hash, "the change changes nothing");
		publish(b, &endpoints, &b->endpoints);
		if (i >= 0)
			b->report.taken[i] = now_ms() - start;
		prepare(b);
	}
	row(&b->report, "change of one endpoint, model to kernel", middle(&b->report), "ms", 2);
}

static void bench_routes(struct bench *b, const struct response *former, const struct response *changed)
{
	uint64_t key = compile_routes_key(b->mesh);

	for (int i = -1; i < b->report.samples; i++) {
		struct image *routes = NULL;
		double start;

		add_all(b->mesh, i & 1 ? changed : former);
		start = now_ms();
		need(compile_routes_key(b->mesh) != key, "the change changes nothing");
		key = compile_routes_key(b->mesh);
		need(!compile_routes(b->mesh, b->ids, &routes, NULL), "it does not compile");
		publish(b, &routes, &b->routes);
		if (i >= 0)
			b->report.taken[i] = now_ms() - start;
		prepare(b);
	}
	row(&b->report, "change of one route scope, model to kernel", middle(&b->report), "ms", 20);
}

int main(int argc, char **argv)
{
	const struct datapath_options options = {.bpffs = BPFFS, .fast_path = WEFT_FAST_PATH_OFF};
	struct bench b = {.report = report_begin(argc, argv)};
	struct response *cds, *lds, *eds, *rds, *eds_changed, *rds_changed;

	cds = response_read("cds");
	lds = response_read("lds");
	eds = response_read("eds");
	rds = response_read("rds");
	eds_changed = response_read("eds-changed");
	rds_changed = response_read("rds-changed");
	need(!mesh_new_sorted(&b.mesh) && !ids_new(&b.ids, NULL), "no memory");
	add_all(b.mesh, cds);
	add_all(b.mesh, lds);
	add_all(b.mesh, eds);
	add_all(b.mesh, rds);
	(void)datapath_uninstall(BPFFS);
	need(!datapath_new(&b.datapath, &options), "the programs can't be loaded: are you root?");

	bench_compile(&b);
	need(eds_changed->count == 1, "one assignment was to change");
	bench_endpoint(&b, former_of(eds, "outbound|80||svc-0500."), eds_changed->resources[0]);
	bench_routes(&b, rds, rds_changed);
	response_free(cds);
	response_free(lds);
	response_free(eds);
	response_free(rds);
	response_free(eds_changed);
	response_free(rds_changed);
	/* what is left out is the proxy's and the pool's */
	row(&b.report, "memory that model, images and programs hold", resident_mib(), "MiB", 60);
	report_end(&b.report);

	image_free(&b.routes);
	image_free(&b.endpoints);
	mesh_free(&b.mesh);
	ids_free(&b.ids);
	datapath_free(&b.datapath);
	(void)datapath_uninstall(BPFFS);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* How long the engine takes in this kernel: BENCH_REQUESTS different requests in turn, through images that the compiler made. Prints a table and writes it
 * as JSON: an array of {case, value, unit, bar}.
 *   bench PROGRAM.bpf.o OUT.json [ROUNDS] */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "cases.h"
#include "compile/compile.h"
#include "mesh/mesh.h"
#include "weft/lookup.h"

#define RUNS (2 * BENCH_REQUESTS) /* of one sample: short enough that some are not interrupted */

static const struct bench_case cases[] = {
	{ "10 routes", 1, 10, 0, 600 },
	{ "10,000 prefix routes, the last one", 1, 10000, 0, 1.3 },
	{ "1,000 virtual hosts of 10 routes", 1000, 10, 0, 1.3 },
	{ "100 regular expressions, 20 of them unanchored", 1, 100, 20, 1.5 },
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static const struct {
	const char *program, *name;
} parts[] = {
	{ "bench_nothing", "an empty program" },
	{ "bench_parse", "parse" },
	{ "bench_route", "parse, route" },
	{ "bench_whole", "parse, route, balance" },
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))
#define WHOLE (PARTS - 1)

/* A case that is ready to run, and what it took at best. */
struct prepared {
	const struct bench_case *is;
	uint32_t routes_slot, endpoints_slot;
	weft_ref route_table;
	uint8_t requests[BENCH_REQUESTS][BENCH_HEAD_BYTES];
	double best[PARTS];
};

struct bench {
	struct bpf_object *object;
	struct bench_io *io;
	size_t io_size;
	int images_fd;
	struct prepared *prepared[CASES];
};

static void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void bench_open(struct bench *bench, const char *path)
{
	struct bpf_map *map;

	bench->object = bpf_object__open_file(path, NULL);
	if (!bench->object || bpf_object__load(bench->object))
		die("loading the programs (are you root?)");
	bench->images_fd = bpf_object__find_map_fd_by_name(bench->object, "images");
	bpf_object__for_each_map(map, bench->object) {
		if (!strstr(bpf_map__name(map), ".bss"))
			continue;
		bench->io_size = (bpf_map__value_size(map) + 4095) & ~4095u;
		bench->io = mmap(NULL, bench->io_size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	}
	if (!bench->io || bench->io == MAP_FAILED)
		die("mapping the programs' data");
}

static void publish(const struct bench *bench, uint32_t slot, const struct image *image)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	size_t size = (size_t)image->page_count * WEFT_PAGE_SIZE;
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "bench_image", sizeof(uint32_t), WEFT_PAGE_SIZE, image->page_count, &options);
	void *pages = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (pages == MAP_FAILED)
		die("creating an image");
	memcpy(pages, image->base, size);
	munmap(pages, size);
	if (bpf_map_update_elem(bench->images_fd, &slot, &fd, BPF_ANY))
		die("publishing an image");
	close(fd);
}

static weft_ref route_table_of(const struct image *routes)
{
	struct weft_image_handle handle = { routes->base, routes->size_bytes };
	const struct weft_listener *listener;
	weft_ref ref;

	if (weft_find_listener(&handle, &WEFT_IP4(0x0100007f), __builtin_bswap16(80), &ref))
		die("finding the listener");
	listener = weft_at(&handle, ref);
	if (listener->kind != WEFT_LISTENER_HTTP)
		die("the listener is refused");
	return listener->route_table;
}

static struct prepared *case_prepare(const struct bench *bench, size_t index)
{
	_cleanup_(image_free) struct image *routes = NULL, *endpoints = NULL;
	_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
	_cleanup_(strbuf_release) struct strbuf config = STRBUF_INIT;
	_cleanup_(mesh_free) struct mesh *mesh = NULL;
	struct prepared *prepared = calloc(1, sizeof(*prepared));
	struct ids *ids = NULL;
	uint32_t i;

	if (!prepared)
		die("preparing a case");
	*prepared = (struct prepared){ .is = &cases[index], .routes_slot = (uint32_t)(1 + 2 * index), .endpoints_slot = (uint32_t)(2 + 2 * index) };
	case_config(prepared->is, &config);
	if (strbuf_status(&config) || mesh_load_text("bench", config.data, config.size, &mesh, &report) || mesh->refused_count) {
		mesh_report_print(&report, stderr);
		die("reading the configuration");
	}
	if (ids_new(&ids, NULL) || compile_routes(mesh, ids, &routes, NULL) || compile_endpoints(mesh, NULL, ids, &endpoints, NULL))
		die("compiling the configuration");
	publish(bench, prepared->routes_slot, routes);
	publish(bench, prepared->endpoints_slot, endpoints);
	prepared->route_table = route_table_of(routes);
	for (i = 0; i < BENCH_REQUESTS; i++)
		case_request(prepared->is, i, prepared->requests[i]);
	image_free(&routes);
	image_free(&endpoints);
	ids_free(&ids);
	return prepared;
}

static void case_open(const struct bench *bench, const struct prepared *prepared)
{
	struct bench_io *io = bench->io;
	uint32_t i;

	io->routes_slot = prepared->routes_slot;
	io->endpoints_slot = prepared->endpoints_slot;
	io->route_table = prepared->route_table;
	for (i = 0; i < BENCH_REQUESTS; i++) {
		io->lengths[i] = BENCH_HEAD_BYTES;
		memcpy(io->requests[i].data, prepared->requests[i], BENCH_HEAD_BYTES);
	}
}

/* Nanoseconds of a run. Every request must be decided. */
static double sample(const struct bench *bench, size_t part, uint32_t runs)
{
	int fd = bpf_program__fd(bpf_object__find_program_by_name(bench->object, parts[part].program));
	uint8_t packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet), .repeat = (int)runs);

	bench->io->decided = 0;
	if (bpf_prog_test_run_opts(fd, &options))
		die(parts[part].program);
	if (bench->io->decided != runs) {
		fprintf(stderr, "bench: %s: only %u of %u requests were decided\n", parts[part].program, bench->io->decided, runs);
		exit(1);
	}
	return options.duration;
}

/* The best sample, since what disturbs only adds; and all cases a round, since a machine is slow for a while. */
static void measure(struct bench *bench, uint32_t rounds)
{
	size_t i, part;
	uint32_t round;

	for (round = 0; round < rounds; round++)
		for (i = 0; i < CASES; i++) {
			case_open(bench, bench->prepared[i]);
			for (part = 0; part < PARTS; part++) {
				double *best = &bench->prepared[i]->best[part], ns;

				sample(bench, part, BENCH_REQUESTS);
				ns = sample(bench, part, RUNS);
				if (!round || ns < *best)
					*best = ns;
			}
		}
}

/* `bar` 0: none. */
static bool tell(json_t *rows, const char *name, double value, const char *unit, double bar)
{
	bool is_met = bar == 0 || value <= bar;
	json_t *row = json_pack("{s:s, s:f, s:s}", "case", name, "value", value, "unit", unit);

	if (bar != 0) {
		json_object_set_new(row, "bar", json_real(bar));
		printf("%-58s %8.2f %-6s at most %6.2f%s\n", name, value, unit, bar, is_met ? "" : "   MISSED");
	} else {
		json_object_set_new(row, "bar", json_null());
		printf("%-58s %8.2f %s\n", name, value, unit);
	}
	json_array_append_new(rows, row);
	return is_met;
}

static bool report(const struct bench *bench, json_t *rows)
{
	double first = bench->prepared[0]->best[WHOLE];
	bool are_met = true;
	size_t i, part;

	for (i = 0; i < CASES; i++) {
		const struct prepared *prepared = bench->prepared[i];
		char name[128];

		for (part = i ? 2 : 0; part < PARTS; part++) {
			snprintf(name, sizeof(name), "%s: %s", prepared->is->name, parts[part].name);
			are_met &= tell(rows, name, prepared->best[part], "ns", part == WHOLE && !i ? prepared->is->bar : 0);
		}
		snprintf(name, sizeof(name), "%s: to %s", prepared->is->name, cases[0].name);
		if (i)
			are_met &= tell(rows, name, prepared->best[WHOLE] / first, "times", prepared->is->bar);
	}
	return are_met;
}

int main(int argc, char **argv)
{
	struct bench bench = { 0 };
	json_t *rows = json_array();
	bool are_met;
	size_t i;

	if (argc < 3) {
		fprintf(stderr, "usage: bench PROGRAM.bpf.o OUT.json [ROUNDS]\n");
		return 2;
	}
	bench_open(&bench, argv[1]);
	for (i = 0; i < CASES; i++)
		bench.prepared[i] = case_prepare(&bench, i);
	measure(&bench, argc > 3 ? (uint32_t)atoi(argv[3]) : 1000);
	are_met = report(&bench, rows);
	if (json_dump_file(rows, argv[2], JSON_INDENT(2)))
		die(argv[2]);
	json_decref(rows);
	for (i = 0; i < CASES; i++)
		free(bench.prepared[i]);
	munmap(bench.io, bench.io_size);
	bpf_object__close(bench.object);
	return are_met ? 0 : 1;
}

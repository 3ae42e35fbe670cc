// SPDX-License-Identifier: Apache-2.0
/* What the engine decides for recorded requests, on the host and in this kernel, for conformance.py to judge:
 *   engine ENGINE.bpf.o (MESH CASES ANSWERS)...   for each three: the configuration, lines {"id", "data"} (a request's first bytes, one
 *                                                 character a byte), and where a line a case goes; or a line {"failure"}
 *   engine --accept MESH...                       says of each file whether its configuration would be taken */
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
#include "base/fd.h"
#include "base/strbuf.h"
#include "compile/compile.h"
#include "engine_io.h"
#include "mesh/mesh.h"
#include "weft/fast.h"
#include "weft/http1.h"
#include "weft/path.h"
#include "weft/router.h"

#define LISTENER_PORT 18080
#define IMAGE_SLOT 1

struct kernel {
	struct bpf_object *object;
	struct engine_io *io;
	int parse_fd, canonical_fd, route_fd;
};

struct engine {
	struct mesh *mesh;
	struct ids *ids;
	struct image *routes;
	struct weft_image_handle handle;
	const struct weft_listener *listener;
};

static void die(const char *what)
{
	fprintf(stderr, "engine: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- set-up ---------------------------------------------------------------------------------------------------------------------- */

static int mesh_open(const char *path, bool is_strict, struct mesh **mesh)
{
	struct mesh_report report = MESH_REPORT_INIT;
	int r = mesh_load_file_as(path, is_strict, mesh, &report);

	mesh_report_print(&report, stderr);
	mesh_report_release(&report);
	if (!r && (*mesh)->refused_count)
		r = -EINVAL;
	return r;
}

/* Returns what is wrong with the configuration, or NULL. */
static const char *engine_open(struct engine *engine, const char *path)
{
	weft_ref ref;

	if (mesh_open(path, false, &engine->mesh))
		return "the configuration is refused";
	if (ids_new(&engine->ids, NULL) || compile_routes(engine->mesh, engine->ids, &engine->routes, NULL))
		die("compile");
	engine->handle = (struct weft_image_handle){ engine->routes->base, engine->routes->size_bytes };
	if (weft_find_listener(&engine->handle, &WEFT_IP4(0x0100600au), __builtin_bswap16(LISTENER_PORT), &ref))
		return "there is no listener";
	engine->listener = weft_at(&engine->handle, ref);
	return engine->listener->kind == WEFT_LISTENER_HTTP ? NULL : "the listener is refused";
}

static void engine_close(struct engine *engine)
{
	image_free(&engine->routes);
	ids_free(&engine->ids);
	mesh_free(&engine->mesh);
}

static int program_fd(struct bpf_object *object, const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);

	return program ? bpf_program__fd(program) : -1;
}

static void kernel_open(struct kernel *kernel, const char *path)
{
	struct bpf_map *map;

	kernel->object = bpf_object__open_file(path, NULL);
	if (!kernel->object || bpf_object__load(kernel->object))
		die(path);
	kernel->parse_fd = program_fd(kernel->object, "engine_parse_request");
	kernel->canonical_fd = program_fd(kernel->object, "engine_canonical");
	kernel->route_fd = program_fd(kernel->object, "engine_route");
	bpf_object__for_each_map(map, kernel->object)
		if (strstr(bpf_map__name(map), ".bss"))
			kernel->io = mmap(NULL, (bpf_map__value_size(map) + 4095) & ~4095u, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	if (!kernel->io || kernel->io == MAP_FAILED)
		die("the program's memory");
}

/* Hangs the image into the programs' slot as the daemon does. */
static void kernel_publish(const struct kernel *kernel, const struct image *image)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	size_t size = (size_t)image->page_count * WEFT_PAGE_SIZE;
	uint32_t slot = IMAGE_SLOT;
	void *pages;
	int fd;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "conformance", sizeof(uint32_t), WEFT_PAGE_SIZE, image->page_count, &options);
	pages = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (pages == MAP_FAILED)
		die("the image's map");
	memcpy(pages, image->base, size);
	munmap(pages, size);
	if (bpf_map_update_elem(bpf_object__find_map_fd_by_name(kernel->object, "images"), &slot, &fd, BPF_ANY))
		die("publish");
	close(fd);
}

static void kernel_run(int fd)
{
	uint8_t packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet));

	if (bpf_prog_test_run_opts(fd, &options))
		die("running a program");
}

/* ---- requests -------------------------------------------------------------------------------------------------------------------- */

/* In the files one character stands for one byte. 64 readable bytes follow. */
static void append_latin1(struct strbuf *out, const json_t *text)
{
	const unsigned char *p = (const unsigned char *)json_string_value(text);
	size_t i, size = json_string_length(text);

	for (i = 0; i < size; i++) {
		if (p[i] < 0x80) {
			strbuf_append_byte(out, (char)p[i]);
			continue;
		}
		strbuf_append_byte(out, (char)((p[i] & 3) << 6 | (p[i + 1] & 0x3f)));
		i++;
	}
	strbuf_reserve(out, 64);
	memset(out->data + out->size, 0, 64);
}

static json_t *text_at(const struct engine *engine, weft_ref ref)
{
	const struct weft_text *text = ref ? weft_at(&engine->handle, ref) : NULL;

	return text ? json_stringn_nocheck((const char *)text->bytes, text->len) : json_null();
}

static const char *kind_name(u32 kind)
{
	switch (kind) {
	case WEFT_ROUTE_CLUSTER: return "cluster";
	case WEFT_ROUTE_DIRECT: return "direct";
	case WEFT_ROUTE_NOT_FOUND: return "not_found";
	case WEFT_ROUTE_REFUSED: return "refused";
	case WEFT_ROUTE_REDIRECT: return "redirect";
	default: return "handed_up";
	}
}

/* The proxy finds the cluster in the request: the engine does not choose it. */
static bool is_picked(const struct engine *engine, const struct weft_route *route, const struct weft_route_result *result)
{
	const struct weft_route_extras *extras = route && route->extras ? weft_at(&engine->handle, route->extras) : NULL;
	const struct weft_weight *weights = extras && extras->weights ? weft_at(&engine->handle, extras->weights) : NULL;

	return extras && (extras->pick || (weights && weights[result->choice_item].cluster_header));
}

static json_t *decision(const struct engine *engine, const struct weft_route_result *result)
{
	const struct weft_route *route = result->route ? weft_at(&engine->handle, result->route) : NULL;
	json_t *one = json_object();

	json_object_set_new(one, "kind", json_string(kind_name(result->kind)));
	if (route) {
		json_object_set_new(one, "route", text_at(engine, route->name));
		if (route->reason)
			json_object_set_new(one, "why", text_at(engine, route->reason));
	}
	if (result->kind == WEFT_ROUTE_CLUSTER)
		json_object_set_new(one, "cluster",
				    is_picked(engine, route, result) ? json_null() : json_string(ids_cluster_name(engine->ids, result->cluster_id)));
	if (result->kind == WEFT_ROUTE_PROXY)
		json_object_set_new(one, "reason", json_string(weft_reason_names[result->reason]));
	return one;
}

static json_t *handed_up(const char *kind, u32 reason)
{
	json_t *one = json_object();

	json_object_set_new(one, "kind", json_string(kind));
	json_object_set_new(one, "reason", json_string(weft_reason_names[reason]));
	return one;
}

static const char *parse_name(int parsed)
{
	switch (parsed) {
	case WEFT_PARSE_MORE: return "more";
	case WEFT_PARSE_TOO_LARGE: return "too_large";
	case WEFT_PARSE_VERSION: return "version";
	case WEFT_PARSE_CODING: return "coding";
	case WEFT_PARSE_PREFACE: return "preface";
	default: return "bad";
	}
}

static json_t *on_host(const struct engine *engine, const struct strbuf *bytes)
{
	const struct weft_head_bytes *head_bytes = (const void *)bytes->data;
	struct weft_route_query query = { .image = engine->handle, .route_table = engine->listener->route_table, .random = 0x80000000u };
	struct weft_route_result result = { 0 };
	_cleanup_free_ uint8_t *target = NULL;
	static struct weft_head head;
	uint32_t target_len, path_len, room, len;
	int parsed;

	parsed = weft_parse_request(head_bytes, (uint32_t)bytes->size, &head);
	if (parsed != WEFT_PARSE_DONE)
		return handed_up(parse_name(parsed), WEFT_REASON_NONE);
	if ((head.flags & WEFT_HEAD_HTTP_10) && !(engine->listener->flags & WEFT_LISTENER_ACCEPT_HTTP_10))
		return handed_up("version", WEFT_REASON_NONE);
	/* The target without the scheme and authority of an absolute form. */
	len = head.target.off + head.target.len - head.path.off;
	room = WEFT_PATH_ROOM(len);
	target = calloc(1, room);
	if (!target || weft_path_normalize(head_bytes->data + head.path.off, len, engine->listener->flags, target, room, &target_len, &path_len))
		return handed_up("bad", WEFT_REASON_NONE);
	query.target = target;
	query.target_len = target_len;
	query.path_len = path_len;
	weft_route(&query, head_bytes, &head, &result);
	return decision(engine, &result);
}

static json_t *in_kernel(const struct engine *engine, const struct kernel *kernel, const struct strbuf *bytes)
{
	struct engine_io *io = kernel->io;
	const struct weft_head *head = (const void *)&io->head;
	u32 reason;

	if (bytes->size > WEFT_KERNEL_HEAD_MAX)
		return handed_up("handed_up", WEFT_REASON_HEAD_TOO_LARGE);
	memcpy(io->bytes, bytes->data, bytes->size);
	io->len = (u32)bytes->size;
	kernel_run(kernel->parse_fd);
	if (io->result != WEFT_PARSE_DONE)
		return handed_up("handed_up", io->result == WEFT_PARSE_MORE ? WEFT_REASON_PARTIAL_HEAD : weft_parse_reason(io->result));
	reason = engine->listener->flags & WEFT_LISTENER_KERNEL ? weft_head_reason(head, engine->listener->flags) : WEFT_REASON_LISTENER_PROXY;
	if (reason != WEFT_REASON_NONE)
		return handed_up("handed_up", reason);
	if (head->flags & WEFT_HEAD_NOT_CANONICAL) {
		kernel_run(kernel->canonical_fd);
		if (io->result != WEFT_PARSE_DONE)
			return handed_up("handed_up", WEFT_REASON_EDITED_TOO_LARGE);
	}
	io->slot = IMAGE_SLOT;
	io->route_table = engine->listener->route_table;
	io->random = 0x80000000u;
	kernel_run(kernel->route_fd);
	return decision(engine, &io->route);
}

static void run_cases(const struct engine *engine, const struct kernel *kernel, const char *path, FILE *answers)
{
	_cleanup_(strbuf_release) struct strbuf lines = STRBUF_INIT;
	char *line, *rest;

	if (file_read(path, 64u << 20, &lines))
		die(path);
	for (line = strtok_r(lines.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
		json_t *one = json_loads(line, JSON_ALLOW_NUL, NULL), *answer = json_object();

		append_latin1(&bytes, json_object_get(one, "data"));
		json_object_set(answer, "id", json_object_get(one, "id"));
		json_object_set_new(answer, "host", on_host(engine, &bytes));
		json_object_set_new(answer, "bpf", in_kernel(engine, kernel, &bytes));
		json_dumpf(answer, answers, JSON_COMPACT);
		fputc('\n', answers);
		json_decref(answer);
		json_decref(one);
	}
}

static void run(const struct kernel *kernel, char **paths)
{
	struct engine engine = { 0 };
	FILE *answers = fopen(paths[2], "w");
	const char *failure = engine_open(&engine, paths[0]);

	if (!answers)
		die(paths[2]);
	if (failure) {
		fprintf(answers, "{\"failure\": \"%s\"}\n", failure);
	} else {
		kernel_publish(kernel, engine.routes);
		run_cases(&engine, kernel, paths[1], answers);
	}
	fclose(answers);
	engine_close(&engine);
}

/* As Envoy takes a bootstrap: strictly. */
static void accept_files(char **paths)
{
	for (; *paths; paths++) {
		struct mesh *mesh = NULL;

		printf("%s\n", mesh_open(*paths, true, &mesh) ? "refused" : "accepted");
		mesh_free(&mesh);
	}
}

int main(int argc, char **argv)
{
	struct kernel kernel = { 0 };
	int i;

	if (argc > 2 && !strcmp(argv[1], "--accept")) {
		accept_files(argv + 2);
		return 0;
	}
	if (argc < 5 || (argc - 2) % 3) {
		fprintf(stderr, "usage: %s ENGINE.bpf.o (MESH CASES ANSWERS)... | --accept MESH...\n", argv[0]);
		return 2;
	}
	kernel_open(&kernel, argv[1]);
	for (i = 2; i < argc; i += 3)
		run(&kernel, argv + i);
	bpf_object__close(kernel.object);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/replay.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/strbuf.h"
#include "compile/compile.h"
#include "envoy/service/discovery/v3/discovery.pb-c.h"
#include "xds/scope.h"

#define MESSAGE_MAX (200u << 20)
#define STEP_MS 1000 /* between messages of a recording without times */
#define LINES_SHOWN 50 /* of what one push changes */
#define VERDICT_PREFIX "verdict on "

struct replay {
	FILE *stream;
	struct xds_store *store;
	struct xds_scope *scope;
	struct ids *ids;
	struct image *endpoints, *routes;
	struct strbuf requests;  /* sent since the last response */
	struct strbuf times;     /* timeline.tsv */
	char **lines;            /* of the last state: sorted */
	size_t line_count;
	size_t routes_in_kernel, routes_in_all; /* of the last compile */
	uint64_t now_ms;
};

static void replay_release(struct replay *replay)
{
	xds_scope_free(&replay->scope);
	xds_store_free(&replay->store);
	image_free(&replay->routes);
	image_free(&replay->endpoints);
	ids_free(&replay->ids);
	strbuf_release(&replay->requests);
	strbuf_release(&replay->times);
	for (size_t i = 0; i < replay->line_count; i++)
		free(replay->lines[i]);
	free(replay->lines);
}

/* ---- the other end ----------------------------------------------------------------------------------------------------------------- */

static const char *name_of(const char *type_url)
{
	for (unsigned kind = 0; kind < MESH_KINDS; kind++)
		if (strcmp(type_url, mesh_kind_type_url(kind)) == 0)
			return mesh_kind_name(kind);
	return type_url;
}

static void on_send(void *arg, const void *bytes, size_t size)
{
	struct replay *replay = arg;
	Envoy__Service__Discovery__V3__DiscoveryRequest *request = envoy__service__discovery__v3__discovery_request__unpack(NULL, size, bytes);

	if (!request)
		return;
	strbuf_printf(&replay->requests, "  > %s, %s", name_of(request->type_url),
		      request->error_detail ? "NACK" : *request->response_nonce ? "ACK" : "begins");
	if (request->n_resource_names)
		strbuf_printf(&replay->requests, ", %zu names", request->n_resource_names);
	if (request->error_detail)
		strbuf_printf(&replay->requests, ": %s", request->error_detail->message);
	strbuf_append_byte(&replay->requests, '\n');
	envoy__service__discovery__v3__discovery_request__free_unpacked(request, NULL);
}

/* ---- what serves, as lines --------------------------------------------------------------------------------------------------------- */

struct lines {
	char **items;
	size_t count, capacity;
	int status;
};

static void add_line(struct lines *lines, char *line)
{
	if (line && lines->count == lines->capacity) {
		size_t capacity = lines->capacity ? lines->capacity * 2 : 256;
		char **items = reallocarray(lines->items, capacity, sizeof(*items));

		if (items) {
			lines->items = items;
			lines->capacity = capacity;
		}
	}
	if (!line || lines->count == lines->capacity) {
		free(line);
		lines->status = -ENOMEM;
		return;
	}
	lines->items[lines->count++] = line;
}

static void add_resource(void *arg, const struct xds_resource *resource)
{
	struct lines *lines = arg;
	struct strbuf text = STRBUF_INIT;

	strbuf_printf(&text, "%s %s: ", mesh_kind_name(resource->kind), resource->name);
	if (resource->kind == MESH_LOAD_ASSIGNMENT)
		strbuf_printf(&text, "%zu endpoints, ", ((const struct mesh_load_assignment *)mesh_item_resource(resource->item))->endpoint_count);
	strbuf_printf(&text, "%016llx", (unsigned long long)resource->hash);
	add_line(lines, strbuf_take(&text));
}

static void add_verdicts(struct lines *lines, const struct compile_report *report)
{
	for (size_t i = 0; i < report->count; i++) {
		const struct compile_verdict *verdict = &report->verdicts[i];
		struct strbuf text = STRBUF_INIT;

		if (verdict->verdict == WEFT_VERDICT_KERNEL && !*verdict->reason)
			continue;
		strbuf_printf(&text, VERDICT_PREFIX "%s %s: %s%s%s", verdict->kind, verdict->name, verdict_name(verdict->verdict),
			      *verdict->reason ? ": " : "", verdict->reason);
		add_line(lines, strbuf_take(&text));
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_verdict(const char *line)
{
	return strncmp(line, VERDICT_PREFIX, sizeof(VERDICT_PREFIX) - 1) == 0;
}

static void print_rest(FILE *stream, size_t count)
{
	if (count > LINES_SHOWN)
		fprintf(stream, "  and %zu more\n", count - LINES_SHOWN);
}

/* What went and what came, both sorted. Verdicts are what one looks for: they are never left out, however many resources came with them. */
static void print_difference(FILE *stream, const struct lines *now, char *const *before, size_t before_count)
{
	size_t i = 0, j = 0, count = 0;
	bool told_of_rest = false;

	while (i < now->count || j < before_count) {
		int order = i == now->count ? 1 : j == before_count ? -1 : strcmp(now->items[i], before[j]);
		const char *line = order < 0 ? now->items[i] : order > 0 ? before[j] : NULL;

		if (line && is_verdict(line) && !told_of_rest) {
			told_of_rest = true;
			print_rest(stream, count);
		}
		if (line && (is_verdict(line) || count++ < LINES_SHOWN))
			fprintf(stream, "  %c %s\n", order < 0 ? '+' : '-', line);
		i += order <= 0;
		j += order >= 0;
	}
	if (!told_of_rest)
		print_rest(stream, count);
}

/* ---- compiling --------------------------------------------------------------------------------------------------------------------- */

static void add_totals(size_t totals[WEFT_VERDICT_IGNORED + 1], const struct compile_report *report)
{
	for (int i = 0; i <= WEFT_VERDICT_IGNORED; i++)
		totals[i] += report->totals[i];
}

static void count_routes(struct replay *replay, const struct compile_report *report)
{
	replay->routes_in_kernel = replay->routes_in_all = 0;
	for (size_t i = 0; i < report->count; i++) {
		if (strcmp(report->verdicts[i].kind, "route") != 0)
			continue;
		replay->routes_in_all++;
		replay->routes_in_kernel += report->verdicts[i].verdict == WEFT_VERDICT_KERNEL;
	}
}

/* What is taken over from the former image must be what a compile of everything gives. */
static bool is_equal(const struct image *a, const struct image *b)
{
	return a->size_bytes == b->size_bytes && memcmp(a->base, b->base, a->size_bytes) == 0;
}

static int compile(struct replay *replay, struct lines *lines)
{
	_cleanup_(compile_report_release) struct compile_report of_endpoints = COMPILE_REPORT_INIT, of_routes = COMPILE_REPORT_INIT;
	const struct mesh *mesh = xds_scope_mesh(replay->scope);
	_cleanup_(image_free) struct image *endpoints = NULL, *anew = NULL;
	_cleanup_(image_free) struct image *routes = NULL;
	size_t totals[WEFT_VERDICT_IGNORED + 1] = { 0 };
	int r;

	ids_set_time(replay->ids, replay->now_ms);
	r = compile_endpoints_again(mesh, NULL, replay->ids, replay->endpoints, &endpoints, &of_endpoints);
	if (!r)
		r = compile_endpoints(mesh, NULL, replay->ids, &anew, NULL);
	if (!r)
		r = is_equal(endpoints, anew) ? compile_routes(mesh, replay->ids, &routes, &of_routes) : -EBADMSG;
	if (r)
		return r;
	count_routes(replay, &of_routes);
	add_verdicts(lines, &of_endpoints);
	add_verdicts(lines, &of_routes);
	add_totals(totals, &of_endpoints);
	add_totals(totals, &of_routes);
	fprintf(replay->stream, "  verdicts: %zu kernel, %zu proxy, %zu refused, %zu ignored\n", totals[WEFT_VERDICT_KERNEL],
		totals[WEFT_VERDICT_PROXY], totals[WEFT_VERDICT_REFUSED], totals[WEFT_VERDICT_IGNORED]);
	image_free(&replay->endpoints);
	image_free(&replay->routes);
	replay->endpoints = TAKE_PTR(endpoints);
	replay->routes = TAKE_PTR(routes);
	return 0;
}

static int on_publish(void *arg, const struct mesh *mesh, struct strbuf *why)
{
	_cleanup_(image_free) struct image *endpoints = NULL;
	_cleanup_(image_free) struct image *routes = NULL;
	struct replay *replay = arg;
	int r = compile_endpoints(mesh, NULL, replay->ids, &endpoints, NULL);

	if (!r)
		r = compile_routes(mesh, replay->ids, &routes, NULL);
	if (r)
		strbuf_printf(why, "%s", r == -E2BIG ? "it needs more than the largest image (64 MiB)" : strerror(-r));
	return r;
}

/* ---- one message ------------------------------------------------------------------------------------------------------------------- */

static void print_push(FILE *stream, const char *file, const struct xds_push *push)
{
	fprintf(stream, "%s: %s, %zu resources", file, mesh_kind_name(push->kind), push->resources);
	if (push->unchanged)
		fprintf(stream, ", %zu unchanged", push->unchanged);
	if (push->added)
		fprintf(stream, ", %zu added", push->added);
	if (push->changed)
		fprintf(stream, ", %zu changed", push->changed);
	if (push->removed)
		fprintf(stream, ", %zu removed", push->removed);
	if (push->ignored)
		fprintf(stream, ", %zu ignored", push->ignored);
	if (push->refused)
		fprintf(stream, ", %zu refused", push->refused);
	fprintf(stream, "%s\n", push->is_answered ? "" : ": nobody asked");
}

static int print_state(struct replay *replay)
{
	struct lines lines = { NULL, 0, 0, 0 };
	int r;

	fputs(strbuf_text(&replay->requests), replay->stream);
	strbuf_truncate(&replay->requests, 0);
	xds_scope_print(replay->scope, replay->stream);
	xds_scope_each_live(replay->scope, add_resource, &lines);
	r = compile(replay, &lines);
	if (!r)
		r = lines.status;
	if (lines.count)
		qsort(lines.items, lines.count, sizeof(*lines.items), by_text);
	if (!r)
		print_difference(replay->stream, &lines, replay->lines, replay->line_count);
	for (size_t i = 0; i < replay->line_count; i++)
		free(replay->lines[i]);
	free(replay->lines);
	replay->lines = lines.items;
	replay->line_count = lines.count;
	return r;
}

/* As the recording says, or a step later than the one before. */
static uint64_t time_of(const struct replay *replay, const char *file)
{
	const char *at = strbuf_text(&replay->times);
	size_t size = strcspn(file, ".");

	for (; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
		const char *tab = strchr(at, '\t');

		if (*at != '#' && tab && strncmp(tab + 1, file, size) == 0 && tab[1 + size] == '.')
			return 1000 + (uint64_t)strtod(at, NULL);
	}
	return replay->now_ms + STEP_MS;
}

static int read_message(const char *folder, const char *file, struct strbuf *out)
{
	char path[4096];
	gzFile in; /* reads plain files as they are */
	int got;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	in = gzopen(path, "rbe");
	if (!in)
		return -errno;
	do {
		got = strbuf_reserve(out, 1 << 16) ? -1 : gzread(in, out->data + out->size, 1 << 16);
		if (got > 0)
			out->size += (size_t)got;
	} while (got > 0 && out->size <= MESSAGE_MAX);
	gzclose(in);
	return got < 0 ? -EIO : out->size > MESSAGE_MAX ? -EFBIG : 0;
}

static int replay_message(struct replay *replay, const char *folder, const char *file)
{
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	int r = read_message(folder, file, &bytes);

	if (r)
		return r;
	replay->now_ms = time_of(replay, file);
	(void)xds_scope_tick(replay->scope, replay->now_ms);
	r = xds_scope_response(replay->scope, bytes.data ? bytes.data : "", bytes.size, replay->now_ms);
	if (r == -EBADMSG) {
		fprintf(replay->stream, "%s: no DiscoveryResponse\n", file);
		return 0;
	}
	if (r)
		return r;
	print_push(replay->stream, file, xds_scope_last_push(replay->scope));
	return print_state(replay);
}

/* ---- the folder -------------------------------------------------------------------------------------------------------------------- */

static int is_response(const struct dirent *entry)
{
	const char *at = strstr(entry->d_name, "-resp-");
	size_t size = strlen(entry->d_name);

	return at && entry->d_name[0] >= '0' && entry->d_name[0] <= '9' &&
	       ((size > 3 && strcmp(entry->d_name + size - 3, ".pb") == 0) || (size > 6 && strcmp(entry->d_name + size - 6, ".pb.gz") == 0));
}

static int begin(struct replay *replay, const char *folder)
{
	static const struct xds_scope_callbacks callbacks = { on_send, on_publish };
	char path[4096];
	int r;

	snprintf(path, sizeof(path), "%s/timeline.tsv", folder);
	r = file_read(path, 64u << 20, &replay->times);
	if (r && r != -ENOENT)
		return r;
	r = ids_new(&replay->ids, NULL);
	if (!r)
		r = xds_store_new(&replay->store);
	if (!r)
		r = xds_scope_new(replay->store, "replay", NULL, 0, &callbacks, replay, &replay->scope);
	if (!r)
		r = xds_scope_opened(replay->scope, 0);
	if (!r)
		fprintf(replay->stream, "begin\n%s", strbuf_text(&replay->requests));
	strbuf_truncate(&replay->requests, 0);
	return r;
}

int replay_folder(FILE *stream, const char *folder)
{
	_cleanup_(replay_release) struct replay replay = { .stream = stream, .requests = STRBUF_INIT, .times = STRBUF_INIT };
	struct dirent **entries = NULL;
	int r, count = scandir(folder, &entries, is_response, alphasort);

	if (count < 0) {
		r = -errno;
		fprintf(stream, "%s: %s\n", folder, strerror(-r));
		return r;
	}
	r = count ? begin(&replay, folder) : -ENOENT;
	if (!count)
		fprintf(stream, "%s: no response (NNN-resp-TYPE.pb) is in it\n", folder);
	for (int i = 0; i < count; i++) {
		if (!r) {
			r = replay_message(&replay, folder, entries[i]->d_name);
			if (r)
				fprintf(stream, "%s: %s\n", entries[i]->d_name, strerror(-r));
		}
		free(entries[i]);
	}
	free(entries);
	if (!r)
		fprintf(stream, "end: %zu of %zu routes in the kernel\n", replay.routes_in_kernel, replay.routes_in_all);
	return r;
}

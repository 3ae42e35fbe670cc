/* SPDX-License-Identifier: Apache-2.0 */
/* Golden tests: resources in, readable dump out. Every folder CASES/x with in.yaml is loaded, compiled and dumped, and compared with its
 * expected.txt; a difference is printed as a diff. With --update the expectation is written instead, for review.
 *
 *   golden [--update] CASES OUTPUT [CASE...]
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/strbuf.h"
#include "compile/compile.h"
#include "mesh/mesh.h"

struct run {
	const char *cases;
	const char *output;
	bool update;
	unsigned int passed, failed, written;
};

static int compile_pair(const struct mesh *mesh, struct image **routes, struct image **endpoints, struct compile_report *report, struct ids **ids)
{
	int r = ids_new(ids, NULL);

	if (!r)
		r = compile_endpoints(mesh, NULL, *ids, endpoints, report);
	if (!r)
		r = compile_routes(mesh, *ids, routes, report);
	return r;
}

/* Identical configuration gives identical bytes, and JSON can be made of everything. */
static int check_twice(const struct mesh *mesh, const struct image *routes, const struct image *endpoints)
{
	_cleanup_(ids_free) struct ids *ids = NULL;
	_cleanup_(image_free) struct image *routes_again = NULL, *endpoints_again = NULL;
	_cleanup_fclose_ FILE *nowhere = fopen("/dev/null", "w");
	int r = compile_pair(mesh, &routes_again, &endpoints_again, NULL, &ids);

	if (r)
		return r;
	if (routes->size_bytes != routes_again->size_bytes || memcmp(routes->base, routes_again->base, routes->size_bytes) ||
	    endpoints->size_bytes != endpoints_again->size_bytes || memcmp(endpoints->base, endpoints_again->base, endpoints->size_bytes)) {
		fprintf(stderr, "two compiles of one configuration differ\n");
		return -EBADMSG;
	}
	r = compile_dump(nowhere, routes, endpoints, DUMP_JSON);
	return r ? r : compile_dump(nowhere, endpoints, NULL, DUMP_JSON);
}

static int describe_mesh(const struct mesh *mesh, FILE *stream)
{
	_cleanup_(ids_free) struct ids *ids = NULL;
	_cleanup_(image_free) struct image *routes = NULL, *endpoints = NULL;
	_cleanup_(compile_report_release) struct compile_report report = COMPILE_REPORT_INIT;
	int r = compile_pair(mesh, &routes, &endpoints, &report, &ids);

	if (r) {
		fprintf(stream, "compile: %s\n", strerror(-r));
		return 0;
	}
	fprintf(stream, "\n== verdicts\n%zu kernel, %zu proxy, %zu refused, %zu ignored\n", report.totals[WEFT_VERDICT_KERNEL],
		report.totals[WEFT_VERDICT_PROXY], report.totals[WEFT_VERDICT_REFUSED], report.totals[WEFT_VERDICT_IGNORED]);
	compile_report_print(&report, stream, false);
	fprintf(stream, "\n== routes\n");
	r = compile_dump(stream, routes, endpoints, DUMP_TEXT);
	if (!r) {
		fprintf(stream, "\n== endpoints\n");
		r = compile_dump(stream, endpoints, NULL, DUMP_TEXT);
	}
	return r ? r : check_twice(mesh, routes, endpoints);
}

/* Everything that is said about the case. Names of files have no folders in it. */
static int describe(const char *path, FILE *stream)
{
	_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
	_cleanup_(mesh_free) struct mesh *mesh = NULL;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = file_read(path, 64u << 20, &text);

	if (r)
		return r;
	r = mesh_load_text("in.yaml", strbuf_text(&text), text.size, &mesh, &report);
	fprintf(stream, "== messages\n");
	mesh_report_print(&report, stream);
	if (r) {
		fprintf(stream, "load: %s\n", strerror(-r));
		return 0;
	}
	return describe_mesh(mesh, stream);
}

static void show_difference(const char *expected, const char *found)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		execlp("diff", "diff", "-u", "--label", "expected", "--label", "found", expected, found, (char *)NULL);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0 || WEXITSTATUS(status) == 127)
		printf("compare %s with %s\n", expected, found);
}

static bool is_equal(const char *left, const char *right)
{
	_cleanup_(strbuf_release) struct strbuf a = STRBUF_INIT, b = STRBUF_INIT;

	return !file_read(left, 64u << 20, &a) && !file_read(right, 64u << 20, &b) && a.size == b.size &&
	       !memcmp(strbuf_text(&a), strbuf_text(&b), a.size);
}

static void run_case(struct run *run, const char *name)
{
	char in[4096], expected[4096], found[4096];
	_cleanup_fclose_ FILE *stream = NULL;
	int r;

	snprintf(in, sizeof(in), "%s/%s/in.yaml", run->cases, name);
	snprintf(expected, sizeof(expected), "%s/%s/expected.txt", run->cases, name);
	snprintf(found, sizeof(found), "%s/%s.txt", run->output, name);
	stream = fopen(run->update ? expected : found, "w");
	r = stream ? describe(in, stream) : -errno;
	if (stream && fflush(stream))
		r = -errno;
	if (r) {
		printf("FAIL %s: %s\n", name, strerror(-r));
		run->failed++;
	} else if (run->update) {
		run->written++;
	} else if (is_equal(expected, found)) {
		run->passed++;
	} else {
		printf("FAIL %s\n", name);
		show_difference(expected, found);
		run->failed++;
	}
}

static int has_input(const struct dirent *entry)
{
	return entry->d_name[0] != '.' && strchr(entry->d_name, '.') == NULL;
}

static int run_all(struct run *run)
{
	struct dirent **entries = NULL;
	int i, count = scandir(run->cases, &entries, has_input, alphasort);

	if (count < 0) {
		fprintf(stderr, "%s: %s\n", run->cases, strerror(errno));
		return 1;
	}
	for (i = 0; i < count; i++) {
		char path[4096];

		snprintf(path, sizeof(path), "%s/%s/in.yaml", run->cases, entries[i]->d_name);
		if (!access(path, R_OK))
			run_case(run, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return 0;
}

int main(int argc, char **argv)
{
	struct run run = { 0 };
	int i, at = 1;

	if (at < argc && !strcmp(argv[at], "--update")) {
		run.update = true;
		at++;
	}
	if (argc - at < 2) {
		fprintf(stderr, "usage: golden [--update] CASES OUTPUT [CASE...]\n");
		return 2;
	}
	run.cases = argv[at++];
	run.output = argv[at++];
	if (at == argc && run_all(&run))
		return 1;
	for (i = at; i < argc; i++)
		run_case(&run, argv[i]);
	if (run.update)
		printf("golden: %u written\n", run.written);
	else
		printf("golden: %u passed, %u failed\n", run.passed, run.failed);
	return run.failed || run.passed + run.written == 0;
}

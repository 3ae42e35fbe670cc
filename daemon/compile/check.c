/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/report.h"

static void print_image(FILE *stream, const char *name, const struct image *image)
{
	fprintf(stream, "%s image: %u bytes in %u page%s\n", name, image->size_bytes, image->page_count, image->page_count == 1 ? "" : "s");
}

static void print_totals(FILE *stream, const struct compile_report *report)
{
	enum weft_verdict verdict;

	fprintf(stream, "verdicts:");
	for (verdict = WEFT_VERDICT_KERNEL; verdict <= WEFT_VERDICT_IGNORED; verdict++)
		fprintf(stream, "%s %zu %s", verdict == WEFT_VERDICT_KERNEL ? "" : ",", report->totals[verdict], verdict_name(verdict));
	fprintf(stream, "\n");
}

static int compile_both(FILE *stream, const struct mesh *mesh, struct ids *ids, struct compile_report *report)
{
	_cleanup_(image_free) struct image *routes = NULL, *endpoints = NULL;
	int r;

	r = compile_routes(mesh, ids, &routes, report);
	if (!r)
		r = compile_endpoints(mesh, NULL, ids, &endpoints, report);
	if (r) {
		fprintf(stream, "error: the configuration can't be compiled: %s\n",
			r == -E2BIG ? "it needs more than the largest image (64 MiB)" : strerror(-r));
		return r;
	}
	print_image(stream, "route", routes);
	print_image(stream, "endpoint", endpoints);
	return 0;
}

/* Images go before the ids that they hold. */
static int compile_for_report(const struct mesh *mesh, const struct dns *dns, struct ids *ids, struct compile_report *report)
{
	_cleanup_(image_free) struct image *routes = NULL, *endpoints = NULL;
	int r = compile_endpoints(mesh, dns, ids, &endpoints, report);

	return r ? r : compile_routes(mesh, ids, &routes, report);
}

int compile_verdicts(const struct mesh *mesh, const struct dns *dns, struct compile_report *report)
{
	struct ids *ids = NULL;
	int r = ids_new(&ids, NULL);

	if (!r)
		r = compile_for_report(mesh, dns, ids, report);
	ids_free(&ids);
	return r ? r : report->status;
}

int compile_check_report(FILE *stream, const struct mesh *mesh)
{
	struct compile_report report = COMPILE_REPORT_INIT;
	struct ids *ids = NULL;
	int r;

	r = ids_new(&ids, NULL);
	if (!r)
		r = compile_both(stream, mesh, ids, &report);
	if (!r) {
		print_totals(stream, &report);
		compile_report_print(&report, stream, false);
		r = mesh->refused_count ? -EINVAL : 0;
	}
	compile_report_release(&report);
	ids_free(&ids);
	return r;
}

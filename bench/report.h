/* SPDX-License-Identifier: Apache-2.0 */
/* What the benches of configuration print and write: a row for each case, {case, value, unit, bar}. */
#ifndef WEFT_BENCH_REPORT_H
#define WEFT_BENCH_REPORT_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/strbuf.h"

#define SAMPLES_MAX 101

struct report {
	FILE *json;
	int samples, rows;
	double taken[SAMPLES_MAX]; /* by the samples of the case at hand */
};

static inline void need(bool is_right, const char *what)
{
	if (is_right)
		return;
	fprintf(stderr, "bench: %s\n", what);
	exit(1);
}

static inline double clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static inline double now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

/* What this thread had of a processor: of a machine that others use too, it says more. */
static inline double now_cpu_ms(void)
{
	return clock_ms(CLOCK_THREAD_CPUTIME_ID);
}

/* Of PROGRAM OUT.json SAMPLES; the number of samples is made odd. */
static inline struct report report_begin(int argc, char **argv)
{
	struct report report = { .samples = argc == 3 ? atoi(argv[2]) | 1 : 0 };

	need(report.samples > 0 && report.samples <= SAMPLES_MAX, "usage: PROGRAM OUT.json SAMPLES (at most 101)");
	report.json = fopen(argv[1], "w");
	need(report.json, "the output can't be written");
	return report;
}

static inline void report_end(struct report *report)
{
	fprintf(report->json, "\n]\n");
	fclose(report->json);
}

static inline int report_compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return left < right ? -1 : left > right;
}

static inline double middle(struct report *report)
{
	qsort(report->taken, (size_t)report->samples, sizeof(report->taken[0]), report_compare);
	return report->taken[report->samples / 2];
}

static inline void row(struct report *report, const char *name, double value, const char *unit, double bar)
{
	printf("%-72s %9.2f %-3s (at most %g)%s\n", name, value, unit, bar, value <= bar ? "" : "  TOO MUCH");
	fprintf(report->json, "%s\n  {\"case\": \"%s\", \"value\": %.3f, \"unit\": \"%s\", \"bar\": %g}", report->rows++ ? "," : "[", name, value, unit, bar);
}

static inline double resident_mib(void)
{
	struct strbuf text = STRBUF_INIT;
	unsigned long long size, resident;

	need(!file_read("/proc/self/statm", 4096, &text) && sscanf(strbuf_text(&text), "%llu %llu", &size, &resident) == 2, "no /proc");
	strbuf_release(&text);
	return (double)resident * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

#endif

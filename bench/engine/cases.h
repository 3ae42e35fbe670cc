/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The configurations that the engine is measured with, and requests for them. */
#ifndef WEFT_BENCH_CASES_H
#define WEFT_BENCH_CASES_H

#include "base/strbuf.h"
#include "bench_io.h"

#define BENCH_HEAD_BYTES 512u /* of every request, the blank line included */

struct bench_case {
	const char *name;
	uint32_t virtual_hosts;
	uint32_t routes;         /* of each: prefixes, the last one is the requests' */
	uint32_t unanchored;     /* of each: its first ones are `.*word.*`, and all others regular expressions too; 0: prefixes */
	double bar;              /* at most: nanoseconds in the first case, else times the first */
};

/* A configuration of weftd: a listener on port 80 for the route configuration "bench", and a cluster of ten endpoints for each virtual host. */
void case_config(const struct bench_case *one, struct strbuf *out);

/* Request `index` (of BENCH_REQUESTS, all different) for the last route of one of the virtual hosts: BENCH_HEAD_BYTES, as a client or another
 * writes them. */
void case_request(const struct bench_case *one, uint32_t index, uint8_t *out);

#endif

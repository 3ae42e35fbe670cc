/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_TELEMETRY_TRAFFIC_INTERNAL_H
#define WEFT_TELEMETRY_TRAFFIC_INTERNAL_H

#include <uthash.h>

#include "telemetry/traffic.h"

struct series {
	char *name;              /* what it is found by */
	const char *labels;      /* its end: those of both ends */
	uint16_t status, flag;
	struct weft_traffic_sums sums;
	UT_hash_handle hh;
};

/* Those of the table, and then the `others` that have anything. */
int series_write(const struct series *table, const struct series *others, size_t other_count, bool is_openmetrics, struct strbuf *out);

#endif

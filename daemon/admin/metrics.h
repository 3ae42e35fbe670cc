/* SPDX-License-Identifier: Apache-2.0 */
/* What scrapers read, made of what weftctl shows: one place counts. docs/metrics.md lists the metrics. */
#ifndef WEFT_ADMIN_METRICS_H
#define WEFT_ADMIN_METRICS_H

#include <jansson.h>

#include "base/strbuf.h"

enum metrics_format { METRICS_PROMETHEUS, METRICS_OPENMETRICS };

#define METRICS_PROMETHEUS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* What an Accept header asks for. */
enum metrics_format metrics_format(const char *accept);

/* `status`: as status_answer() makes it. What it lacks is left out. `more`: families that are text already. 0 or -ENOMEM. */
int metrics_write(const json_t *status, enum metrics_format format, const struct strbuf *more, struct strbuf *out);

/* Each number of the status on a line of its own: "requests.bypass: 12". */
int metrics_write_flat(const json_t *status, struct strbuf *out);

#endif

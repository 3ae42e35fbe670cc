/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics by workload (istio_requests_total and the like), made of what programs and proxy count by the ids of pods, endpoints and clusters. Ids are named when their counts
 * come, since they mean something else one day; what was counted once stays counted under the names it had then.
 *
 * One thread, the control loop. */
#ifndef WEFT_TELEMETRY_TRAFFIC_H
#define WEFT_TELEMETRY_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "weft/abi.h"

struct traffic;

struct traffic_options {
	uint32_t series_max;   /* different sets of labels; what would be one more counts where all is unknown */
	/* Appends the labels that name the two ends, comma-separated: source_workload="a",... -ENOENT: nobody knows (any more); -ENOMEM. */
	int (*describe)(void *arg, const struct weft_traffic_key *key, struct strbuf *labels);
	void *arg;
};

int traffic_new(struct traffic **out, const struct traffic_options *options);
void traffic_free(struct traffic **traffic);

/* Names may be others than before. */
void traffic_names_changed(struct traffic *traffic);

/* What was added since. */
void traffic_add(struct traffic *traffic, const struct weft_traffic_key *key, const struct weft_traffic_sums *sums);

/* The records of the programs: what they grew by since the former look. `is_first`: what they hold by now was counted by somebody else. Slots get the kind
 * that is usual on them. */
void traffic_look_at_slots(struct traffic *traffic, const struct weft_upstream *upstreams, struct weft_traffic *slots, uint32_t count, bool is_first);
/* One of the table of kinds. True: it has not grown for so long that it may be forgotten. */
bool traffic_look(struct traffic *traffic, const struct weft_traffic_key *key, const struct weft_traffic *record, bool is_first);
/* `last`: what it held when it was taken out of the table; NULL: it was not there. */
void traffic_forget(struct traffic *traffic, const struct weft_traffic_key *key, const struct weft_traffic *last);

size_t traffic_series(const struct traffic *traffic);
size_t traffic_kinds(const struct traffic *traffic); /* of the programs' table, as it was looked at last */

/* As Prometheus' text, or OpenMetrics' (without its end). */
int traffic_write(const struct traffic *traffic, bool is_openmetrics, struct strbuf *out);

#endif

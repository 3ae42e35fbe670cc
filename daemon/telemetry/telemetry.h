/* SPDX-License-Identifier: Apache-2.0 */
/* How long the kernel's exchanges take, from samples: programs write start, first byte and status into a slot's record and nobody copies them
 * out, so this looks at the records every so often and takes what ended since it last looked. Exact numbers (how many, by which path, why not) are
 * the kernel's counters (datapath_counters).
 *
 * One thread, the control loop. */
#ifndef WEFT_TELEMETRY_TELEMETRY_H
#define WEFT_TELEMETRY_TELEMETRY_H

#include <stddef.h>
#include <stdint.h>

#include "weft/abi.h"

struct telemetry;

/* `upstreams` stays readable until telemetry_free(). */
int telemetry_new(struct telemetry **out, const struct weft_upstream *upstreams, uint32_t count);
void telemetry_free(struct telemetry **telemetry);

/* Takes the last exchange of every slot that ended one since the former call. Cheap enough for once a second. Returns how many. */
uint32_t telemetry_sample(struct telemetry *telemetry);

struct telemetry_exchange {
	uint64_t start_ns;      /* CLOCK_MONOTONIC */
	uint64_t first_byte_ns; /* from the start */
	uint64_t request_bytes, response_bytes;
	uint32_t pod_id, endpoint_id, cluster_id, route_id;
	uint16_t status;
	uint8_t path;           /* enum weft_path */
	uint8_t method;         /* enum weft_method */
};

/* From the program's look at the request to its redirect of the response's first byte. Quantiles are upper bounds of buckets that are an eighth of
 * their value wide. */
struct telemetry_latency {
	uint64_t samples;
	uint64_t sum_ns, max_ns;
	uint64_t p50_ns, p90_ns, p99_ns;
};
void telemetry_latency(const struct telemetry *telemetry, enum weft_path path, struct telemetry_latency *out);
/* Sampled responses of this path by status / 100. */
uint64_t telemetry_responses(const struct telemetry *telemetry, enum weft_path path, unsigned status_class);

/* The latest samples, newest first; returns how many. */
size_t telemetry_recent(const struct telemetry *telemetry, struct telemetry_exchange *out, size_t max);

const char *telemetry_path_name(enum weft_path path);

#endif

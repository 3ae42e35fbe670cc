/* SPDX-License-Identifier: Apache-2.0 */
#include "telemetry/telemetry.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

/* Buckets: 8 linear steps for each doubling, from 1 to 2^40 ns (18 minutes). */
#define STEPS 8u
#define STEP_BITS 3u
#define BUCKETS (40u * STEPS)
#define STATUS_CLASSES 6u
#define RECENT 64u

struct path_record {
	uint64_t samples, sum_ns, max_ns;
	uint64_t responses[STATUS_CLASSES];
	uint32_t buckets[BUCKETS];
};

struct telemetry {
	const struct weft_upstream *upstreams;
	uint32_t count;
	uint64_t *seen;   /* by slot: start of the last exchange taken */
	struct path_record paths[WEFT_PATH_COUNT];
	struct telemetry_exchange recent[RECENT];
	uint64_t taken;
};

int telemetry_new(struct telemetry **out, const struct weft_upstream *upstreams, uint32_t count)
{
	_cleanup_(telemetry_free) struct telemetry *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->upstreams = upstreams;
	t->count = count;
	t->seen = calloc(count, sizeof(*t->seen));
	if (!t->seen)
		return -ENOMEM;
	*out = TAKE_PTR(t);
	return 0;
}

void telemetry_free(struct telemetry **telemetry)
{
	if (*telemetry)
		free((*telemetry)->seen);
	free(*telemetry);
	*telemetry = NULL;
}

static uint32_t bucket_of(uint64_t ns)
{
	uint32_t doubling, bucket;

	if (ns < STEPS)
		return (uint32_t)ns;
	doubling = 63u - (uint32_t)__builtin_clzll(ns);
	bucket = (doubling - STEP_BITS + 1) * STEPS + (uint32_t)((ns >> (doubling - STEP_BITS)) & (STEPS - 1));
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_limit(uint32_t bucket)
{
	uint32_t shift;

	if (bucket < STEPS)
		return bucket;
	shift = bucket / STEPS - 1;
	return (((uint64_t)(STEPS + bucket % STEPS) + 1) << shift) - 1;
}

/* Copies the record of an exchange that is over; -EAGAIN when there is none or a program lent the slot meanwhile. */
static int record_read(const struct weft_upstream *u, struct telemetry_exchange *out)
{
	uint64_t word = __atomic_load_n(&u->state, __ATOMIC_ACQUIRE), first_byte_ns;

	if (WEFT_STATE(word) != WEFT_UPSTREAM_IDLE && WEFT_STATE(word) != WEFT_UPSTREAM_DEAD)
		return -EAGAIN;
	first_byte_ns = u->first_byte_ns;
	*out = (struct telemetry_exchange){
		.start_ns = u->start_ns,
		.request_bytes = u->request_bytes,
		.response_bytes = u->response_bytes,
		.pod_id = u->pod_id,
		.endpoint_id = u->endpoint_id,
		.cluster_id = u->cluster_id,
		.route_id = u->route_id,
		.status = u->status,
		.path = u->path,
		.method = u->method,
	};
	/* The programs write only between LENT and what follows it: an unmoved lease means an unmoved record. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (WEFT_LEASE(__atomic_load_n(&u->state, __ATOMIC_RELAXED)) != WEFT_LEASE(word))
		return -EAGAIN;
	/* Without a status the response was not the kernel's. */
	if (!out->start_ns || !out->status || first_byte_ns < out->start_ns || out->path >= WEFT_PATH_COUNT)
		return -EAGAIN;
	out->first_byte_ns = first_byte_ns - out->start_ns;
	return 0;
}

static void take(struct telemetry *t, const struct telemetry_exchange *exchange)
{
	struct path_record *path = &t->paths[exchange->path];
	uint32_t class = exchange->status / 100u;

	path->samples++;
	path->sum_ns += exchange->first_byte_ns;
	if (exchange->first_byte_ns > path->max_ns)
		path->max_ns = exchange->first_byte_ns;
	path->buckets[bucket_of(exchange->first_byte_ns)]++;
	path->responses[class < STATUS_CLASSES ? class : 0]++;
	t->recent[t->taken++ % RECENT] = *exchange;
}

uint32_t telemetry_sample(struct telemetry *t)
{
	uint32_t taken = 0;

	for (uint32_t i = 0; i < t->count; i++) {
		const struct weft_upstream *u = &t->upstreams[i];
		struct telemetry_exchange exchange;

		if (__atomic_load_n(&u->start_ns, __ATOMIC_RELAXED) == t->seen[i] || record_read(u, &exchange))
			continue;
		t->seen[i] = exchange.start_ns;
		take(t, &exchange);
		taken++;
	}
	return taken;
}

static uint64_t quantile(const struct path_record *path, unsigned percent)
{
	uint64_t rank = (path->samples * percent + 99) / 100, below = 0;

	for (uint32_t i = 0; i < BUCKETS; i++) {
		below += path->buckets[i];
		if (below >= rank)
			return bucket_limit(i) < path->max_ns ? bucket_limit(i) : path->max_ns;
	}
	return path->max_ns;
}

void telemetry_latency(const struct telemetry *t, enum weft_path which, struct telemetry_latency *out)
{
	const struct path_record *path = &t->paths[(unsigned)which < WEFT_PATH_COUNT ? which : 0];

	*out = (struct telemetry_latency){ .samples = path->samples, .sum_ns = path->sum_ns, .max_ns = path->max_ns };
	if (!path->samples)
		return;
	out->p50_ns = quantile(path, 50);
	out->p90_ns = quantile(path, 90);
	out->p99_ns = quantile(path, 99);
}

uint64_t telemetry_responses(const struct telemetry *t, enum weft_path path, unsigned status_class)
{
	return (unsigned)path < WEFT_PATH_COUNT && status_class < STATUS_CLASSES ? t->paths[path].responses[status_class] : 0;
}

size_t telemetry_recent(const struct telemetry *t, struct telemetry_exchange *out, size_t max)
{
	uint64_t have = t->taken < RECENT ? t->taken : RECENT;
	size_t n = max < have ? max : (size_t)have;

	for (size_t i = 0; i < n; i++)
		out[i] = t->recent[(t->taken - 1 - i) % RECENT];
	return n;
}

const char *telemetry_path_name(enum weft_path path)
{
	switch (path) {
	case WEFT_PATH_BYPASS: return "bypass";
	case WEFT_PATH_REMOTE: return "remote";
	case WEFT_PATH_LOCAL: return "local_reply";
	case WEFT_PATH_SLOW: return "slow";
	default: return "unknown";
	}
}

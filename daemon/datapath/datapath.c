// SPDX-License-Identifier: Apache-2.0
/* The handle: opening and closing it, settings, events, counters. */
#include "datapath/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/pins.h"
#include "abi_layout.h"
#include "datapath/internal.h"
#include "keeper/pass.h"

static int on_event(void *arg, void *data, size_t size)
{
	struct datapath *dp = arg;

	if (size >= sizeof(struct weft_event) && dp->event_fn)
		dp->event_fn(dp->event_arg, data);
	return 0;
}

int datapath_new(struct datapath **out, const struct datapath_options *options)
{
	_cleanup_(datapath_free) struct datapath *dp = calloc(1, sizeof(*dp));
	char path[PATH_MAX];
	int r;

	if (!dp)
		return -ENOMEM;
	dp->disabled = options->disabled;
	dp->connections_max = options->connections_max;
	dp->wanted_fast_path = options->fast_path;
	for (int i = 0; i < MAP_COUNT; i++)
		dp->maps[i] = -1;
	for (int i = 0; i < PROGRAM_COUNT; i++)
		dp->programs[i] = -1;
	r = pins_path(options->bpffs, PASS_ABI, path);
	if (r || strlen(path) >= sizeof(dp->bpffs))
		return log_err(-ENAMETOOLONG, "--bpffs");
	memcpy(dp->bpffs, path, strlen(path) + 1);
	if (!options->adopt) {
		r = pins_make(options->bpffs, PASS_ABI);
		if (!r)
			r = datapath_load(dp, options);
		if (r) {
			pins_remove(dp->bpffs);
			return r;
		}
	}
	if (options->adopt && options->replaces) {
		r = datapath_put_next_in_force(dp);
		if (r)
			return r;
	}
	r = datapath_open(dp);
	if (r)
		return r;
	dp->events = ring_buffer__new(dp->maps[MAP_EVENTS], on_event, dp, NULL);
	if (!dp->events)
		return log_err(-errno, "opening the ring buffer of events");
	/* Also where they seem to be the same: one that was to replace this weftd, and did not, may have set them. */
	if (options->adopt) {
		__atomic_store_n(&dp->control->redirect_limit_bytes,
				 options->redirect_limit_bytes ? options->redirect_limit_bytes : WEFT_REDIRECT_LIMIT_DEFAULT, __ATOMIC_SEQ_CST);
		__atomic_store_n(&dp->control->connections_each, options->connections_each ? options->connections_each : WEFT_CONNECTIONS_MAX,
				 __ATOMIC_SEQ_CST);
		datapath_set_fast_path(dp, options->fast_path);
		dp->control->is_paused = 0;
	}
	*out = TAKE_PTR(dp);
	return 0;
}

static void unmap(void *memory, size_t entries, size_t value_size)
{
	size_t size = entries * ((value_size + 7) & ~7ul), page = (size_t)sysconf(_SC_PAGESIZE);

	if (memory)
		munmap(memory, (size + page - 1) & ~(page - 1));
}

void datapath_free(struct datapath **pointer)
{
	struct datapath *dp = *pointer;

	if (!dp)
		return;
	datapath_later_free(&dp->later);
	ring_buffer__free(dp->events);
	unmap(dp->control, 1, sizeof(*dp->control));
	datapath_forget_next(dp);
	unmap(dp->scopes, WEFT_SCOPES_MAX, sizeof(*dp->scopes));
	unmap(dp->upstreams, WEFT_UPSTREAMS_MAX, sizeof(*dp->upstreams));
	unmap(dp->pools, WEFT_POOLS_MAX, sizeof(*dp->pools));
	unmap(dp->slot_traffic, WEFT_UPSTREAMS_MAX, sizeof(*dp->slot_traffic));
	unmap(dp->clusters, WEFT_CLUSTERS_MAX, sizeof(*dp->clusters));
	unmap(dp->endpoints, WEFT_ENDPOINTS_MAX, sizeof(*dp->endpoints));
	for (int i = 0; i < MAP_COUNT; i++)
		if (dp->maps[i] >= 0)
			close(dp->maps[i]);
	for (int i = 0; i < PROGRAM_COUNT; i++)
		if (dp->programs[i] >= 0)
			close(dp->programs[i]);
	free(dp);
	*pointer = NULL;
}

void datapath_set_fast_path(struct datapath *dp, enum weft_fast_path mode)
{
	__atomic_store_n(&dp->control->fast_path, features_fast_path(dp, mode), __ATOMIC_SEQ_CST);
}

enum weft_fast_path datapath_fast_path(const struct datapath *dp)
{
	return __atomic_load_n(&dp->control->fast_path, __ATOMIC_SEQ_CST);
}

/* A reader that sees an odd or a changed sequence does without: the proxy answers. */
void datapath_set_date(struct datapath *dp, const char *line)
{
	struct weft_control *settings = dp->control;
	size_t len = strlen(line);
	uint32_t writing;

	if (len > sizeof(settings->date))
		return;
	/* It may be odd already: a worker that was killed in here left it so. */
	writing = __atomic_or_fetch(&settings->date_sequence, 1, __ATOMIC_SEQ_CST);
	memcpy(settings->date, line, len);
	settings->date_len = (uint32_t)len;
	__atomic_store_n(&settings->date_sequence, writing + 1, __ATOMIC_SEQ_CST);
}

struct weft_upstream *datapath_upstreams(struct datapath *dp)
{
	return dp->upstreams;
}

struct weft_pool *datapath_pools(struct datapath *dp)
{
	return dp->pools;
}

struct weft_traffic *datapath_slot_traffic(struct datapath *dp)
{
	return dp->slot_traffic;
}

struct weft_cluster_state *datapath_clusters(struct datapath *dp)
{
	return dp->clusters;
}

struct weft_endpoint_state *datapath_endpoints(struct datapath *dp)
{
	return dp->endpoints;
}

int datapath_events_fd(struct datapath *dp)
{
	return ring_buffer__epoll_fd(dp->events);
}

int datapath_events_drain(struct datapath *dp, datapath_event_fn fn, void *arg)
{
	int r;

	dp->event_fn = fn;
	dp->event_arg = arg;
	r = ring_buffer__consume(dp->events);
	return r < 0 ? r : 0;
}

int datapath_counters(struct datapath *dp, uint64_t out[WEFT_COUNTERS])
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ uint64_t *values = NULL;

	if (cpus < 1)
		return -EINVAL;
	values = calloc((size_t)cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (uint32_t i = 0; i < WEFT_COUNTERS; i++) {
		if (bpf_map_lookup_elem(dp->maps[MAP_COUNTERS], &i, values))
			return -errno;
		out[i] = 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			out[i] += values[cpu];
	}
	return 0;
}

uint32_t datapath_connection_count(struct datapath *dp)
{
	uint64_t counters[WEFT_COUNTERS];

	if (datapath_counters(dp, counters) || counters[WEFT_COUNTER_CONNECTIONS] < counters[WEFT_COUNTER_CONNECTIONS_OVER])
		return 0;
	return (uint32_t)(counters[WEFT_COUNTER_CONNECTIONS] - counters[WEFT_COUNTER_CONNECTIONS_OVER]);
}

const char *datapath_pins(const struct datapath *dp)
{
	return dp->bpffs;
}

int datapath_uninstall(const char *bpffs)
{
	return pins_remove_all(bpffs);
}

int datapath_sweep_left(const char *bpffs)
{
	char own[PATH_MAX];
	int r = pins_path(bpffs, PASS_ABI, own);

	return r ? r : pins_remove_left(bpffs, own);
}

int datapath_empty_own(const char *bpffs)
{
	char own[PATH_MAX];
	int r = pins_path(bpffs, PASS_ABI, own);

	return r ? r : pins_empty(own);
}

void datapath_features(const struct datapath *dp, struct datapath_feature_state out[FEATURE_COUNT])
{
	memcpy(out, dp->features, sizeof(dp->features));
}

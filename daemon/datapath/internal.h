/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share: the handles of pinned objects. Nothing here is kept but descriptors and mappings, so a
 * worker that follows another one opens the same names and goes on. */
#ifndef WEFT_DATAPATH_INTERNAL_H
#define WEFT_DATAPATH_INTERNAL_H

#include <linux/limits.h>

#include "datapath/datapath.h"

enum map_index {
	MAP_CONTROL,
	MAP_SCOPES,
	MAP_IMAGES,
	MAP_PODS,
	MAP_SOCKETS,
	MAP_CONNECTIONS,
	MAP_CONNECTION_PORTS,
	MAP_UPSTREAMS,
	MAP_POOLS,
	MAP_POOL_INDEX,
	MAP_UPSTREAM_SOCKETS,
	MAP_CLUSTER_STATE,
	MAP_ENDPOINT_STATE,
	MAP_EVENTS,
	MAP_COUNTERS,
	MAP_COUNT
};

/* Programs that user space needs by descriptor: what is attached to cgroups, and the command. */
enum program_index {
	PROGRAM_SOCKOPS,
	PROGRAM_CONNECT4,
	PROGRAM_GETPEERNAME4,
	PROGRAM_GETSOCKNAME4,
	PROGRAM_RELEASE,
	PROGRAM_COMMAND,
	PROGRAM_COUNT
};

extern const char *const datapath_map_names[MAP_COUNT];
extern const char *const datapath_program_names[PROGRAM_COUNT];

struct ring_buffer;

struct datapath {
	char bpffs[PATH_MAX - 256];
	int maps[MAP_COUNT];
	int programs[PROGRAM_COUNT];
	struct weft_control *control;
	struct weft_scope_state *scopes;
	struct weft_upstream *upstreams;
	struct weft_pool *pools;
	struct weft_cluster_state *clusters;
	struct weft_endpoint_state *endpoints;
	struct ring_buffer *events;
	datapath_event_fn event_fn;
	void *event_arg;
	struct datapath_feature_state features[FEATURE_COUNT];
};

/* Makes `dir` on a BPF file system: one is mounted where there is none. */
int bpffs_prepare(const char *dir);

/* Loads the object, pins maps and programs under dp->bpffs, fills the program arrays, attaches the message and verdict programs. */
int datapath_load(struct datapath *dp, const struct datapath_options *options);
/* Opens what is pinned and maps the shared arrays. */
int datapath_open(struct datapath *dp);

/* Fix levels first, since they decide what is loaded; then what can be tried with the stubs `message_stub` (sk_msg). */
void features_by_release(struct datapath_feature_state features[FEATURE_COUNT]);
void features_by_trying(struct datapath_feature_state features[FEATURE_COUNT], int message_stub);
/* Has this kernel the function at all? Whether its programs may call it is known when they are loaded. */
bool features_know_direct_reads(void);
void features_set_direct_reads(struct datapath_feature_state features[FEATURE_COUNT], bool is_on);
/* The kernel refused a program that carries messages. */
void features_without_fast_path(struct datapath_feature_state features[FEATURE_COUNT]);
int features_store(const struct datapath *dp);
int features_restore(struct datapath *dp);

#endif

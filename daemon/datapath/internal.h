/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share: the handles of pinned objects. Nothing here is kept but descriptors and mappings, so a
 * worker that follows another one opens the same names and goes on. */
#ifndef WEFT_DATAPATH_INTERNAL_H
#define WEFT_DATAPATH_INTERNAL_H

#include <bpf/libbpf.h>
#include <linux/limits.h>
#include <stdarg.h>

#include "datapath/datapath.h"

enum map_index {
	MAP_CONTROL,
	MAP_SCOPES,
	MAP_IMAGES,
	MAP_PODS,
	MAP_POD_USAGE,
	MAP_EXCEPTIONS,
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
	MAP_RESPONSE_CHANGES,
	MAP_SLOT_TRAFFIC,
	MAP_TRAFFIC,
	MAP_COUNT
};

/* Programs that user space needs by descriptor: what is attached to cgroups, and the command. */
enum program_index {
	PROGRAM_SOCKOPS,
	PROGRAM_CONNECT4,
	PROGRAM_GETPEERNAME4,
	PROGRAM_GETSOCKNAME4,
	PROGRAM_CONNECT6,
	PROGRAM_GETPEERNAME6,
	PROGRAM_GETSOCKNAME6,
	PROGRAM_RELEASE,
	PROGRAM_COMMAND,
	PROGRAM_COUNT
};

extern const char *const datapath_map_names[MAP_COUNT];
extern const char *const datapath_program_names[PROGRAM_COUNT];

/* Where the programs behind the stubs are. */
struct datapath_slot {
	const char *program;
	const char *array; /* NULL: it is run by its pin */
	uint32_t key;
};
#define SLOT_COUNT 12
extern const struct datapath_slot datapath_slots[SLOT_COUNT];

struct later;
struct ring_buffer;
struct weft; /* the skeleton */

/* Pages that hang in the slot of the next generation already. */
struct next_pages {
	void *memory;        /* NULL: none */
	uint32_t page_count;
	uint32_t published_page_count; /* of the generation that serves */
	uint64_t generation;
};

struct datapath {
	char bpffs[PATH_MAX - 256]; /* this version's folder of pins */
	int maps[MAP_COUNT];
	int programs[PROGRAM_COUNT];
	struct weft_control *control;
	struct weft_scope_state *scopes;
	struct weft_upstream *upstreams;
	struct weft_pool *pools;
	struct weft_traffic *slot_traffic;
	struct weft_cluster_state *clusters;
	struct weft_endpoint_state *endpoints;
	struct ring_buffer *events;
	datapath_event_fn event_fn;
	void *event_arg;
	struct datapath_feature_state features[FEATURE_COUNT];
	uint32_t disabled; /* as in the options */
	uint32_t connections_max;
	enum weft_fast_path wanted_fast_path;
	struct later *later; /* message programs that are being loaded; NULL: none */
	bool has_removed; /* a pod, since links were swept */
	struct next_pages next[WEFT_SCOPES_MAX][2]; /* by kind - 1 */
};

/* publish.c */
void datapath_forget_next(struct datapath *dp);

/* Loads the object, pins maps and programs under dp->bpffs, fills the program arrays, attaches the message and verdict programs. */
int datapath_load(struct datapath *dp, const struct datapath_options *options);
/* Opens what is pinned and maps the shared arrays. */
int datapath_open(struct datapath *dp);
/* Which programs: all; all but those that read messages, which the verifier takes a second for; only those. */
enum load_part { LOAD_ALL, LOAD_FIRST, LOAD_MESSAGES };
/* Opens the object and loads it, with the features as they stand. */
int datapath_skeleton_load(struct datapath *dp, enum load_part part, struct weft **out);
void datapath_skeleton_destroy(struct weft **skeleton);
/* The verifier's log comes as one message of many lines, and what it complains of is at the end. */
int datapath_libbpf_log(enum libbpf_print_level level, const char *fmt, va_list args);
/* replace.c: what datapath_load_next() has loaded, in the place of what runs. Once more does no harm. */
int datapath_put_next_in_force(struct datapath *dp);

/* Any thread: of `dp` it needs bpffs, connections_max, disabled, and features, which may change. Success without a skeleton: the fast path is given up. */
int datapath_load_messages(struct datapath *dp, struct weft **out);
int datapath_fill_messages(struct weft *skeleton);

/* later.c */
void datapath_later_free(struct later **later);

/* ---- features.c: each sets what it is about, unless the option has disabled it ---- */

/* Fix levels, and what can be tried without the datapath's programs: they decide what is loaded. */
void features_before_loading(struct datapath *dp);
/* The kernel refused what was loaded with it. `why`: for people. */
void features_without_direct_reads(struct datapath *dp);
void features_without_sk_skb(struct datapath *dp, const char *why);
void features_without_fast_path(struct datapath *dp, const char *why);
/* Tries FIONREAD with a stub (sk_msg) that is loaded. */
void features_mend_fionread(struct datapath *dp, int message_stub);
/* Tries FIONREAD of redirected bytes on a socket as the datapath has them: after features_mend_fionread(). */
void features_count_redirected(struct datapath *dp, int message_stub, int verdict_stub);
/* What comes into force of `wanted`; what the kernel takes away of it is logged. */
enum weft_fast_path features_fast_path(const struct datapath *dp, enum weft_fast_path wanted);
bool feature_is_disabled(const struct datapath *dp, enum datapath_feature feature);
int features_store(const struct datapath *dp);
int features_restore(struct datapath *dp);

/* ---- probe.c ---- */

/* Does FIONREAD count TCP bytes on a socket that has a message program alone? 1: it does, 0: the bug, -errno: not to be known. */
int probe_fionread(int message_stub);
/* Does it count what was redirected into a socket with this message program, and this verdict if >= 0? Likewise. */
int probe_redirected_fionread(int message_stub, int verdict_stub);
/* Do bpf_msg_push_data and bpf_msg_pop_data do what they say? 1, 0, or -errno: not to be known (the programs were refused). */
int probe_edits(void);
/* Does a helper that the programs call not exist here? Then `why` names it. */
bool probe_missing_helper(char *why, size_t size);

#endif

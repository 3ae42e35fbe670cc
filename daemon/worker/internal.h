/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share. Everything here belongs to the control loop's thread but what says otherwise. */
#ifndef WEFT_WORKER_INTERNAL_H
#define WEFT_WORKER_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/strbuf.h"
#include "compile/compile.h"
#include "kube/netns.h"
#include "weft/image.h"
#include "worker/worker.h"

struct admin;
struct dns;
struct datapath;
struct event;
struct event_base;
struct mesh;
struct pool;
struct proxy;
struct telemetry;

/* All pods of a configuration file see the same mesh. */
#define SCOPE 0u

#define LISTENER_PORT 15001

/* ---- published images (publish.c) ------------------------------------------------------------------------------------------------ */

struct worker;

/* An image and who still reads it: the control loop, and the proxy until its release call, which comes on any thread. */
struct published {
	struct image *image;
	struct worker *worker;
	struct published *next; /* in the list of those to be freed */
	uint32_t references;    /* atomic */
};

/* ---- pods (pods.c) --------------------------------------------------------------------------------------------------------------- */

enum node_pod_state {
	NODE_POD_WAITING,  /* can't be served now; tried again every few seconds: `reason` */
	NODE_POD_SERVING,
	NODE_POD_REFUSED,  /* will not be served as it is configured: `reason` */
};

struct node_pod {
	char *name, *namespace_name, *network_namespace, *cgroup, *ip;
	uint32_t ip4_be;
	enum node_pod_state state;
	char reason[240];
	bool is_configured;      /* in the configuration being applied */
	/* while it is served */
	uint32_t pod_id;
	uint64_t netns_cookie;
	int netns_fd, listener_fd;
	uint16_t port;
	struct table_entry *netns_entry, *listener_entry;
	struct file_identity netns_identity, cgroup_identity;
	uint32_t added;          /* enum node_pod_added */
};

enum node_pod_added { ADDED_PROXY = 1, ADDED_POOL = 2, ADDED_DATAPATH = 4 };

struct node_pods {
	struct node_pod **items;
	size_t count, capacity;
	uint32_t last_id;
};

/* Brings what is served in line with the mesh: pods that went stop, new ones start, changed ones do both. Problems of one pod are its own. */
int pods_apply(struct worker *worker, const struct mesh *mesh);
/* Tries the waiting ones again, and finds those whose namespace or cgroup was replaced or is gone. */
void pods_look_again(struct worker *worker);
void pods_pause(struct worker *worker);
void pods_release(struct worker *worker); /* frees the list; descriptors that the table names stay open */
const struct node_pod *pods_find_name(const struct worker *worker, const char *name); /* "name" or "namespace/name" */
const char *node_pod_state_name(enum node_pod_state state);

/* ---- configuration (config.c) ---------------------------------------------------------------------------------------------------- */

struct config_source {
	struct strbuf text;          /* what serves */
	struct strbuf refused;       /* what was refused last */
	struct table_entry *entry;   /* its memfd */
	int inotify_fd;
	struct event *inotify_event;
	struct event *settle_event;
	uint64_t changed_ms;         /* first change of the burst */
	struct file_identity identity;
	struct timespec modified;
	uint64_t size;
	uint32_t refusals;           /* changed files that were not taken, for people */
	uint32_t changes;            /* those that were */
};

/* First reading: -errno and a log line when there is nothing to serve. A worker that follows another one falls back on what that one served. */
int config_start(struct worker *worker);
/* Reads the file again and publishes it if it is good; `is_asked`: say so even when nothing changed. */
void config_reload(struct worker *worker, bool is_asked);
void config_check_file(struct worker *worker); /* every few seconds: inotify can't see everything */
void config_stop(struct worker *worker);

/* ---- the worker ------------------------------------------------------------------------------------------------------------------ */

struct worker {
	const struct worker_config *config;
	struct keeper_state *state;
	struct table *table;
	bool is_successor;           /* another worker ran before */
	bool is_stopping;

	struct event_base *base;
	struct event *signal_event, *second_event, *ring_event, *retire_event, *prepare_event;
	int signal_fd, retire_fd;
	uint64_t stop_deadline_ms;
	uint64_t seconds;            /* ticks of second_event */

	struct datapath *datapath;
	struct pool *pool;
	struct proxy *proxy;
	struct telemetry *telemetry;
	struct dns *dns;
	struct ids *ids;
	struct admin *admin;

	struct config_source source;
	struct mesh *mesh;           /* what serves */
	struct published *routes, *endpoints;
	uint64_t routes_key;         /* of the mesh that `routes` were made of */
	size_t route_totals[WEFT_VERDICT_IGNORED + 1]; /* verdicts on it */
	struct published *retired;   /* atomic stack, any thread pushes */
	struct table_entry *names_entry;     /* memfd with what DNS answered */
	struct table_entry *endpoints_entry; /* memfd with the endpoint image: ids for the next worker */
	struct node_pods pods;
};

uint64_t worker_now_ms(void);

/* publish.c: compiles all of the mesh, and only if that is good publishes what differs from what serves. The mesh stays the caller's. */
int publish_mesh(struct worker *worker, const struct mesh *mesh);
/* Clusters and endpoints of the mesh that serves, since DNS answers otherwise. What can't be published leaves the former. */
void publish_names(struct worker *worker);
int publish_start(struct worker *worker);
void publish_stop(struct worker *worker);

/* handover.c: what the kernel programs, the pool and the proxy say to each other. */
int handover_start_pool(struct worker *worker);
int handover_start_proxy(struct worker *worker);
int handover_watch(struct worker *worker);  /* the events of the kernel */
void handover_adopt(struct worker *worker); /* connections and upstreams of the former worker */
void handover_forget(struct worker *worker); /* closes them instead */

/* names.c: the names of endpoints, and what was known of them by a former worker. */
int names_start(struct worker *worker);
void names_want(struct worker *worker); /* those of the mesh that serves */
void names_stop(struct worker *worker);

/* memory.c: named memory that outlives this worker: a memfd in the table. */
enum memory_slot { MEMORY_CONFIG = 0, MEMORY_ENDPOINTS = 1, MEMORY_NAMES = 2 };
/* Replaces what `*entry` (may be NULL) names. */
int memory_keep(struct table *table, enum memory_slot slot, const void *bytes, size_t size, struct table_entry **entry);
/* What a former worker kept: the bytes are appended to `out`. -ENOENT. */
int memory_find(struct table *table, enum memory_slot slot, struct strbuf *out, struct table_entry **entry);

/* answer.c: an admin_answer_fn; `arg` is the worker. */
json_t *answer_request(void *arg, const json_t *request);
json_t *status_answer(struct worker *worker); /* status.c */

#endif

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
#include "keeper/options.h"
#include "keeper/pass.h"
#include "kube/netns.h"
#include "kube/sockets.h"
#include "weft/image.h"
#include "worker/worker.h"

struct admin;
struct dns;
struct datapath;
struct event;
struct event_base;
struct http;
struct mesh;
struct pods;
struct pool;
struct proxy;
struct proxy_load;
struct beside;
struct succession;
struct telemetry;
struct traffic;

#define LISTENER_PORT 15001
#define WORKER_SERIES_MAX 1000u /* of metrics by workload: each is 63 lines for a scraper */

/* ---- published images (publish.c) ------------------------------------------------------------------------------------------------ */

struct worker;

/* An image and who still reads it: the control loop, and the proxy until its release call, which comes on any thread. */
struct published {
	struct image *image;
	struct worker *worker;
	struct published *next; /* in the list of those to be freed */
	uint32_t references;    /* atomic */
};

/* ---- scopes (scopes.c) ----------------------------------------------------------------------------------------------------------- */

struct xds_cache_job;
struct xds_scope;
struct xds_store;

/* What some pods of this node are served: all of them by a configuration file, those of a namespace by a stream of its own. */
struct serving {
	uint32_t number;             /* what kernel, pool and proxy call it */
	char *name;                  /* the namespace; "" for the file's */
	const struct mesh *mesh;     /* what serves; NULL before there is something */
	struct published *routes, *endpoints;
	uint64_t routes_key;         /* of the mesh that `routes` were made of */
	uint64_t endpoints_key;      /* likewise; 0: not to be compared */
	size_t route_totals[WEFT_VERDICT_IGNORED + 1]; /* verdicts on it */
	size_t endpoint_totals[WEFT_VERDICT_IGNORED + 1]; /* ... on clusters and endpoints */
	size_t told_totals[WEFT_VERDICT_IGNORED + 1];  /* the sums that the log had last */
	struct table_entry *endpoints_entry; /* memfd with the endpoint image: ids for the next worker */

	/* of a stream */
	struct worker *worker;
	char *pod_name, *service_account; /* of the pod that stands for all */
	struct xds_scope *stream;
	void *transport;             /* whose `events` it is */
	bool is_carried;             /* `events` have begun it; false: they could not, and it is tried again */
	uint64_t cache_unix_ms;      /* of the cache that it began with; 0: none */
	uint64_t cached_changes;     /* of the stream, when its cache was written */
	uint64_t cached_ms;          /* when that was tried last */
	struct xds_cache_job *cache_job; /* that is being written */
	uint64_t pods_gone_ms;       /* since when no pod is there; 0: some are */
};

/* What carries the streams. */
struct scope_events {
	const char *cluster_id;      /* for the Node: istiod's name for its cluster */
	const char *node_name;       /* likewise: this node; "" when not known */
	const char *cache;           /* folder of what served last; "" for none */
	int (*begin)(struct worker *worker, struct serving *serving);
	void (*end)(struct worker *worker, struct serving *serving);
	void (*send)(struct worker *worker, struct serving *serving, const void *bytes, size_t size);
	json_t *(*describe)(struct worker *worker, const struct serving *serving); /* of the connection; may be NULL */
};

struct scopes {
	struct serving *items[WEFT_SCOPES_MAX]; /* by number; NULL: none */
	const struct scope_events *events;      /* NULL: a configuration file serves all */
	bool requires_mtls;                     /* --require-mtls */
	struct xds_store *store;
	struct table_entry *names_entry;        /* memfd with the names by number */
	char *former_names[WEFT_SCOPES_MAX];    /* what a former worker used the numbers for; NULL: nothing */
	uint64_t names_changes;                 /* of DNS answers, part of endpoint keys */
};

/* How long a stream outlives its last pod. */
#define SCOPE_GRACE_MS 60000
/* How often its cache is written at most. */
#define SCOPE_CACHE_MS 5000

int scopes_start(struct worker *worker);
void scopes_stop(struct worker *worker); /* streams and meshes; images are publish_stop()'s */
/* Streams for the namespaces of these pods: new ones begin, those without pods end after a while. */
int scopes_update(struct worker *worker, const struct pods *pods, uint64_t now_ms);
void scopes_tick(struct worker *worker, uint64_t now_ms); /* once a second */
/* Whose scope serves pods of the namespace; NULL: none yet. */
struct serving *scopes_find(const struct worker *worker, const char *namespace_name);
struct serving *scopes_next(const struct worker *worker, const struct serving *serving); /* the first after NULL */
json_t *scopes_describe(struct worker *worker);

/* ---- connections to istiod (xds.c) ------------------------------------------------------------------------------------------------- */

/* Of --xds: what the options leave open, the address's scheme says. */
struct xds_settings {
	const char *root_cert_file, *server_name, *token_file; /* NULL: none */
	bool asks_for_identities;    /* each namespace's stream has a certificate of its own */
	struct scope_events events;
};

/* With --xds: streams will carry the scopes. Before scopes_start(). */
int xds_start(struct worker *worker);

/* ---- pods (pods.c) --------------------------------------------------------------------------------------------------------------- */

enum node_pod_state {
	NODE_POD_WAITING,  /* can't be served now; tried again every few seconds: `reason` */
	NODE_POD_SERVING,
	NODE_POD_REFUSED,  /* will not be served as it is configured: `reason` */
	NODE_POD_DRAINING, /* not enrolled any more: what is open goes on until it ends */
};

struct node_pod {
	char *name, *namespace_name, *network_namespace, *cgroup, *ip;
	char *source_labels;     /* what metrics call it */
	char *cgroup_real;       /* without links; NULL until it is looked at */
	struct weft_address addresses[WEFT_FAMILIES]; /* all 0: it has none of that family */
	uint64_t netns_inode;    /* what `network_namespace` has to lead to; 0: whatever it leads to */
	uint64_t drains_since_ms;
	enum node_pod_state state;
	char reason[240];
	bool is_configured;      /* in the configuration being applied */
	/* while it is served */
	uint32_t pod_id;
	uint32_t scope;
	uint64_t netns_cookie;
	int netns_fd;
	struct table_entry *netns_entry;
	struct node_listener {
		int fd;              /* -1: none */
		uint16_t port;
		struct table_entry *entry;
	} listeners[WEFT_FAMILIES];
	struct file_identity netns_identity, cgroup_identity;
	uint32_t added;          /* enum node_pod_added */
	struct weft_exceptions *exceptions; /* NULL: none */
	struct node_unmeshed {
		struct pod_sockets open;        /* made while it was not enrolled, and open when that was looked at last */
		struct pod_sockets when_paused; /* what it had when its new connections began to be left alone */
		uint64_t found;             /* of the former, also those that have ended since */
		uint64_t looked_ms;
		bool is_known;              /* the kernel could be asked */
	} unmeshed;
};

enum node_pod_added { ADDED_PROXY = 1, ADDED_POOL = 2, ADDED_DATAPATH = 4 };

struct node_pods {
	struct node_pod **items;
	size_t count, capacity;
};

/* Brings what is served in line with the list: pods that went stop, new ones start, changed ones do both. Problems of one pod are its own. Those
 * of Kubernetes that went drain first: they may have lost a label and nothing else. */
int pods_apply(struct worker *worker, const struct pods *pods);
/* Pods of a scope whose mesh has changed: what it says of pods may have. */
void pods_judge_scope(struct worker *worker, const struct serving *serving);
/* Tries the waiting ones again, and finds those whose namespace or cgroup was replaced or is gone. */
void pods_look_again(struct worker *worker);
void pods_pause(struct worker *worker);
/* -EEXIST and why: its cgroup, or a part of it, is that of a pod that is served, or weftd's own (cgroups.c). */
int cgroup_claim(const struct worker *worker, struct node_pod *pod, char *complaint, size_t size);
/* Of the pods' namespaces: this one captures nothing any more, and another one may. */
void pods_release_claims(struct worker *worker);
const struct node_pod *pods_find_id(const struct worker *worker, uint32_t pod_id);
void pods_release(struct worker *worker); /* frees the list; descriptors that the table names stay open */
const struct node_pod *pods_find_name(const struct worker *worker, const char *name); /* "name" or "namespace/name" */
const char *node_pod_state_name(enum node_pod_state state);

uint32_t pods_serving(const struct worker *worker);
/* How many are not served, by state: ", 1 waiting, 2 refused"; nothing when all are. */
int pods_others(const struct worker *worker, struct strbuf *text);
/* Is it known which pods there are, and is none waited for, or are there at least `wanted` that are served? */
bool pods_are_settled(const struct worker *worker, uint32_t wanted);
/* Has the namespace pods that drain? */
bool pods_are_draining(const struct worker *worker, const char *namespace_name);

/* ---- Kubernetes (kube.c) ----------------------------------------------------------------------------------------------------------- */

struct kube_node;
struct kube_access;

struct kube_source {
	struct kube_access *access;
	struct kube_node *node;      /* NULL: a file names the pods */
	struct table_entry *entry;   /* memfd with the pods, for a next worker */
};

/* With --kubernetes: what the former worker enrolled is enrolled again at once; what the server says follows. */
int kube_start(struct worker *worker);
void kube_look_again(struct worker *worker);
void kube_stop(struct worker *worker);
bool kube_is_synced(const struct worker *worker); /* all pods are known; true where a file names them */
/* An Event on a pod that is refused, where Kubernetes has the pods. */
void kube_report_refusal(struct worker *worker, const struct node_pod *pod);
json_t *kube_describe(const struct worker *worker);      /* of the connection; NULL: there is none */
json_t *kube_describe_pods(struct worker *worker); /* every pod of the node, and why it is enrolled or not */

/* ---- unmeshed.c: connections that pods made while they were not enrolled -------------------------------------------------------------- */

struct unmeshed_source {
	struct table_entry *entry;   /* memfd with them, for a next worker */
	json_t *kept;                /* what a former one knew, of pods that are not enrolled yet */
	uint64_t found;              /* since weftd was started */
	bool is_changed;             /* since it was kept */
};

void unmeshed_start(struct worker *worker);
void unmeshed_stop(struct worker *worker);
/* The pod has been enrolled just now; its new connections begin to be left alone, or are taken again; it is not enrolled any more. */
void unmeshed_begin(struct worker *worker, struct node_pod *pod);
void unmeshed_pause(struct node_pod *pod);
void unmeshed_resume(struct worker *worker, struct node_pod *pod);
void unmeshed_end(struct node_pod *pod);
void unmeshed_keep(struct worker *worker);       /* what has changed, for a next worker */
void unmeshed_look_again(struct worker *worker); /* which of them are open */
void unmeshed_describe(const struct node_pod *pod, json_t *object);
json_t *unmeshed_sums(const struct worker *worker);

/* ---- configuration (config.c) ---------------------------------------------------------------------------------------------------- */

struct config_source {
	struct strbuf text;          /* what serves */
	struct strbuf refused;       /* what was refused last */
	int unreadable;              /* why it could not be read the last time, which was told; 0: it could */
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

/* ---- limits.c -------------------------------------------------------------------------------------------------------------------- */

/* What one pod may have, so that it takes nothing of what others need. */
struct pod_shares {
	uint32_t connections, upstreams, pools;
};
/* As the options say, else a quarter of connections and pools and an eighth of upstreams, but of the descriptors that this process may have open no more
 * than an eighth each. */
void limits_share(struct pod_shares *out, const struct options_limits *limits, uint32_t descriptors);
void limits_watch(struct worker *worker); /* every second */

/* ---- the worker ------------------------------------------------------------------------------------------------------------------ */

struct worker {
	const struct worker_config *config;
	struct keeper_state *state;
	struct table *table;
	bool is_successor;           /* another worker ran before */
	uint64_t cgroup_inode;       /* of the folder that it is in */
	bool is_stopping;
	bool is_draining;            /* another one, of another ABI, serves: this one captures no connection any more */
	bool has_taken_over;         /* from another weftd, if one runs */

	struct event_base *base;
	struct event *signal_event, *second_event, *ring_event, *later_event, *retire_event, *prepare_event;
	int signal_fd, retire_fd;
	uint64_t stop_deadline_ms;
	uint64_t seconds;            /* ticks of second_event */
	uint64_t left_out_told;      /* connections that found no place, when it was said last */
	uint64_t left_out_told_at;   /* in `seconds` */
	uint64_t left_alone_told;    /* likewise, of pods that have as many as they may */
	uint64_t left_alone_told_at;
	struct pod_shares shares;
	uint32_t sweeps_left;        /* how often to look, once a second, for what a weftd before this one has left */

	struct datapath *datapath;
	struct pool *pool;
	struct proxy *proxy;
	struct proxy_load *load;
	struct telemetry *telemetry;
	struct traffic *traffic;
	struct dns *dns;
	struct ids *ids;
	struct admin *admin;
	struct succession *succession;
	struct beside *beside;       /* NULL: none of another ABI has asked, or was asked */
	struct http *health, *metrics, *administration; /* NULL: not asked for */

	struct config_source source;
	struct kube_source kube;
	struct unmeshed_source unmeshed;
	struct mesh *mesh;           /* of the file that serves */
	struct scopes scopes;
	struct xds_settings xds;
	struct table_entry *former_endpoints[WEFT_SCOPES_MAX]; /* memfds of the former worker; a scope takes its own over */
	struct published *retired;   /* atomic stack, any thread pushes */
	struct table_entry *names_entry;     /* memfd with what DNS answered */
	struct node_pods pods;
};

uint64_t worker_now_ms(void);
int worker_start_admin(struct worker *worker);
void worker_stop(struct worker *worker); /* what is open gets a moment */

/* publish.c: compiles what of the mesh differs from what serves the scope, and only if that is good publishes it. What another scope serves is shared. The
 * mesh stays the caller's. */
int publish_mesh(struct worker *worker, struct serving *serving, const struct mesh *mesh);
/* Gives back what serves the scope. */
void publish_forget(struct serving *serving);
/* Clusters and endpoints of the meshes that serve, since DNS answers otherwise. What can't be published leaves the former. */
void publish_names(struct worker *worker);
int publish_start(struct worker *worker);
void publish_stop(struct worker *worker);

/* handover.c: what the kernel programs, the pool and the proxy say to each other. */
int handover_start_pool(struct worker *worker);
int handover_start_proxy(struct worker *worker);
int handover_watch(struct worker *worker);  /* the events of the kernel */
/* Waits for the programs that a thread loads, if it does: before somebody else puts others in their place. */
void handover_finish_loading(struct worker *worker);
void handover_adopt(struct worker *worker); /* connections and upstreams of the former worker */
void handover_forget(struct worker *worker); /* closes them instead */

/* succession.c: another weftd that takes over from this one, and one that this one took over from. */
int succession_start(struct worker *worker);
/* Before the first thing is done that could not be undone (what comes on a connection is read, a slot is judged): the weftd before this one, if there is
 * one, is told that it will not go on. Before that, an error makes it go on. */
void succession_take_over(struct worker *worker);
/* To the weftds before this one. */
void succession_say(struct worker *worker, enum pass_kind kind);
/* Whether others are heard that ask to follow. */
void succession_listen(struct worker *worker, bool is_heard);
/* It hangs, and is killed. */
void succession_end_follower(struct worker *worker, unsigned waited_ms);
void succession_stop(struct worker *worker); /* asked to end: does not return when another one serves already */
void succession_free(struct worker *worker);

/* beside.c: the same with a weftd of another ABI, beside which the old one drains. */
int beside_yield(struct worker *worker, int channel);       /* the new one begins; -EBUSY */
int beside_give_places(struct worker *worker, int channel); /* it is ready for what only one may have; -EPROTO, -ENOENT */
int beside_drain(struct worker *worker);                    /* it serves; -EPROTO */
bool beside_is_yielding(const struct worker *worker);       /* until then */
bool beside_is_giving(const struct worker *worker);         /* of that time, once it has what only one may have */
void beside_lost(struct worker *worker);                    /* it is gone */
/* Of the new one: it says when all pods are served, and is given the places. Until then nobody hears or asks it. */
int beside_start(struct worker *worker);
bool beside_is_settling(const struct worker *worker);
/* One that this one has come after drains, or begins: what it has is not a stranger's. */
bool beside_has_another(const struct worker *worker);
void beside_hear_count(struct worker *worker, uint32_t count); /* of pods that the old one serves */
void beside_take_places(struct worker *worker, const struct pass_message *places);
void beside_former_gone(struct worker *worker);              /* the channel to it has ended */
void beside_free(struct worker *worker);
void beside_describe(const struct worker *worker, json_t *status); /* those that drain, or begin */

/* names.c: the names of endpoints, and what was known of them by a former worker. */
int names_start(struct worker *worker);
void names_want(struct worker *worker); /* those of the mesh that serves */
void names_stop(struct worker *worker);

/* memory.c: named memory that outlives this worker: a memfd in the table. */
enum memory_slot {
	MEMORY_CONFIG = 0,
	MEMORY_LOAD = 1,       /* load.c; cookie: of the channel to the weftd that has it, 0: this one */
	MEMORY_NAMES = 2,
	MEMORY_SCOPES = 3,
	MEMORY_KUBE = 4,
	MEMORY_UNMESHED = 5,
	MEMORY_ENDPOINTS = 16, /* and the scope's number */
};
/* Replaces what `*entry` (may be NULL) names. */
int memory_keep(struct table *table, enum memory_slot slot, const void *bytes, size_t size, struct table_entry **entry);
/* What a former worker kept: the bytes are appended to `out`. -ENOENT. */
int memory_find(struct table *table, enum memory_slot slot, struct strbuf *out, struct table_entry **entry);

/* load.c: before the proxy is made. What a former worker had counted is taken off. */
int load_start(struct worker *worker);
void load_stop(struct worker *worker); /* after the proxy has ended */
/* The weftd at the channel with this cookie has ended; or all that have. */
void load_settle(struct worker *worker, uint64_t cookie);
void load_settle_orphans(struct worker *worker);

/* answer.c: an admin_answer_fn; `arg` is the worker. */
json_t *answer_request(void *arg, const json_t *request);
json_t *status_answer(struct worker *worker); /* status.c */

/* workload.c: the labels that name a client, as text: source_workload="a",... NULL: no memory. */
struct pod;
char *source_labels(const struct pod *pod, const char *cluster_id);
/* Appends name="value",; an empty value is `unknown`. */
void put_label(struct strbuf *out, const char *name, const char *value, size_t len);

/* traffic.c: what was carried, by workload. */
int worker_traffic_start(struct worker *worker);
void worker_traffic_look(struct worker *worker); /* every second, and before a pod's or mesh's names are others */
void worker_traffic_left(struct worker *worker, const struct weft_upstream *record, uint64_t request_bytes); /* by its client, while the kernel carried it */
int worker_traffic_write(struct worker *worker, bool is_openmetrics, struct strbuf *out);

/* http.c: what operators' tools ask, at the addresses that the options name. */
/* What it waits for before it serves all that it has to, a line each; nothing: it is ready. */
void http_pending(struct worker *worker, struct strbuf *out);
int http_start(struct worker *worker);
void http_stop(struct worker *worker);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel side as the daemon sees it: loads, attaches and pins the programs, publishes images, owns the maps. One thread
 * (the control loop) calls it, except for what is marked "any thread". */
#ifndef WEFT_DATAPATH_H
#define WEFT_DATAPATH_H

#include <stdint.h>
#include <stdio.h>
#include "weft/abi.h"
#include "weft/image.h"

struct image; /* compile/compile.h */
struct strbuf; /* base/strbuf.h */
struct datapath;

enum datapath_feature {
	FEATURE_SOCKMAP = 0,       /* sk_msg redirect: without it everything is the proxy's */
	FEATURE_SK_SKB,            /* response redirect (remote) */
	FEATURE_FIONREAD_MEND,     /* a no-op verdict on every TCP socket of the fast path: FIONREAD, and reads after a reset */
	FEATURE_FIONREAD_REDIRECTED, /* FIONREAD counts redirected bytes too: else who waits for it waits for ever, and auto is off */
	FEATURE_DIRECT_READS,     /* programs read kernel structures by loads (bpf_rdonly_cast), not by a helper call for each field */
	FEATURE_CORK,              /* partial heads may wait in the kernel */
	FEATURE_PUSH_POP,          /* local replies and changed requests in the kernel */
	FEATURE_COUNT
};

struct datapath_feature_state {
	const char *name;
	bool is_on;
	char detail[120]; /* why */
};

extern const char *const datapath_feature_names[FEATURE_COUNT];
/* "cork,push_pop" to bits 1 << enum datapath_feature. -EINVAL: `complaint` says what is wrong, and lists the names. */
int datapath_features_parse(const char *names, uint32_t *bits, struct strbuf *complaint);

struct datapath_options {
	const char *bpffs;            /* directory for pins, made if missing: in there this version of the ABI has its own folder */
	uint32_t redirect_limit_bytes; /* 0: default */
	enum weft_fast_path fast_path;
	uint32_t connections_max;     /* 0: WEFT_CONNECTIONS_MAX */
	uint32_t connections_each;    /* captured connections of one pod; 0: as many as there is room for */
	uint32_t disabled;            /* bits 1 << enum datapath_feature: their fallback is forced */
	bool message_programs_later;  /* what reads messages is not loaded before datapath_later_start() */
	bool adopt;                   /* a worker that follows another one: use the pinned objects as they are */
	bool replaces;                /* with adopt: another weftd's, whose programs are replaced by those that datapath_load_next() has loaded */
};

/* Loads the programs, or with `adopt` opens what is pinned. Where the kernel refuses the message programs, FEATURE_SOCKMAP is off and so is
 * the fast path, whatever the options say. -EPERM: capabilities; -ENOTSUP: the kernel lacks something
 * essential (logged); -EBUSY never: the keeper's lock decides who may run. */
int datapath_new(struct datapath **out, const struct datapath_options *options);
/* For a weftd that is to replace one that runs, of the same ABI: loads the programs over its maps, beside those that run, which are as before
 * whatever becomes of this. Of the options: bpffs, disabled, connections_max. Errors are logged. */
int datapath_load_next(const struct datapath_options *options);
void datapath_forget_loaded(const char *bpffs);
/* For one that is to replace one of another ABI: loads and pins all, to be opened with `adopt`. */
int datapath_load_beside(const struct datapath_options *options);
/* Releases user-space handles; attached programs and pins stay. */
void datapath_free(struct datapath **dp);
/* A thread begins to load the programs that read messages, unless they are there, or are not wanted. Whoever publishes new pages meanwhile waits longer: a grace period of RCU
 * lasts while the verifier is at work. */
int datapath_later_start(struct datapath *dp);
/* Readable when the programs that read messages are loaded, or were refused: then call datapath_later_finish(), which puts them into force. Until then
 * everything goes up. -1: nothing is being loaded. */
int datapath_later_fd(const struct datapath *dp);
/* Features, and what of the fast path is in force, may be others afterwards. -errno: there is no fast path. */
int datapath_later_finish(struct datapath *dp);
/* Detaches and unpins everything under `bpffs` that no replaced weftd drains (needs no open datapath): clean exit, uninstall, and clean-up of a crash. */
int datapath_uninstall(const char *bpffs);
/* What killed weftds of other ABIs have left there; and what is pinned of this ABI. Who drains keeps what it has. */
int datapath_sweep_left(const char *bpffs);
int datapath_empty_own(const char *bpffs);

/* sock_ops on the worker's own cgroup (cgroup v2 directory), for its upstream sockets. */
int datapath_attach_worker(struct datapath *dp, const char *cgroup);

struct datapath_pod {
	uint32_t pod_id;
	uint32_t scope;
	struct weft_address addresses[WEFT_FAMILIES];
	uint16_t listener_ports[WEFT_FAMILIES]; /* host order; 0: none */
	uint64_t netns_cookie;
	const char *cgroup;      /* cgroup v2 directory */
	const struct weft_exceptions *exceptions; /* NULL: none */
};
int datapath_pod_add(struct datapath *dp, const struct datapath_pod *pod);
int datapath_pod_pause(struct datapath *dp, uint64_t netns_cookie); /* new connections are left alone from now on */
int datapath_pod_resume(struct datapath *dp, uint64_t netns_cookie); /* after a pause: they are meshed again */
int datapath_pod_remove(struct datapath *dp, uint32_t pod_id, uint64_t netns_cookie);
/* Others than it was added with. NULL: none. */
int datapath_pod_except(struct datapath *dp, uint32_t pod_id, uint64_t netns_cookie, const struct weft_exceptions *exceptions);
int datapath_pod_usage(const struct datapath *dp, uint32_t pod_id, struct weft_pod_usage *out); /* -ENOENT */
/* After pods were removed, once for all of them: takes away the pins of links whose cgroup is gone. */
void datapath_sweep(struct datapath *dp);

/* Publishes the image as the next generation of (scope, kind); readers that began with the old one keep it. -E2BIG: beyond
 * WEFT_IMAGE_PAGES_MAX (the old one keeps serving). */
int datapath_publish(struct datapath *dp, uint32_t scope, const struct image *image);
/* What serves `from` becomes the next generation of (scope, kind), too: the same pages, not a copy. For that it waits for a grace period of RCU. */
int datapath_publish_shared(struct datapath *dp, uint32_t scope, enum weft_image_kind kind, uint32_t from);
/* Makes room for the next generation, so that to publish it is to copy it: to hang pages where programs find them takes a grace period of RCU,
 * some milliseconds, for which this call waits. For the moments when nobody waits; without it, datapath_publish() does it. */
int datapath_prepare(struct datapath *dp, uint32_t scope, enum weft_image_kind kind);
/* What is in force: the option, unless the kernel can't. Never AUTO. */
enum weft_fast_path datapath_fast_path(const struct datapath *dp);
uint64_t datapath_generation(const struct datapath *dp, uint32_t scope, enum weft_image_kind kind);

void datapath_set_fast_path(struct datapath *dp, enum weft_fast_path mode);
void datapath_set_date(struct datapath *dp, const char *line); /* once a second: "date: ...\r\n" */

/* Shared memory with the programs (any thread; atomics where abi.h says so). */
struct weft_upstream *datapath_upstreams(struct datapath *dp);        /* [WEFT_UPSTREAMS_MAX] */
struct weft_pool *datapath_pools(struct datapath *dp);                /* [WEFT_POOLS_MAX] */
struct weft_traffic *datapath_slot_traffic(struct datapath *dp);      /* [WEFT_UPSTREAMS_MAX] */
struct weft_cluster_state *datapath_clusters(struct datapath *dp);    /* [WEFT_CLUSTERS_MAX] */
struct weft_endpoint_state *datapath_endpoints(struct datapath *dp);  /* [WEFT_ENDPOINTS_MAX] */

int datapath_pool_index_set(struct datapath *dp, uint32_t pod_id, uint32_t endpoint_id, uint32_t pool);
int datapath_pool_index_delete(struct datapath *dp, uint32_t pod_id, uint32_t endpoint_id);

/* Before connect(): marks `fd` as the upstream of `slot`, so that sock_ops registers it when it is established. Any thread. */
int datapath_upstream_mark(struct datapath *dp, int fd, uint32_t slot, uint32_t pod_id);
/* After connect() succeeded: puts it where the programs can reach it. Key: the socket's cookie. Any thread. */
int datapath_upstream_insert(struct datapath *dp, int fd, uint64_t cookie);
/* close(), with a reset where bytes wait unread, as TCP does it of itself: of a socket in a map the kernel does not count them. Its FIN alone
 * would leave a server that fills the window with its answer to probe a closed one for a minute. Any thread. */
void datapath_upstream_close(int fd);

/* Which captured connection is on the other end of an accepted socket (peer address as accept() gave it). -ENOENT: none:
 * somebody dialled the loopback listener directly. Any thread. */
int datapath_connection_find(struct datapath *dp, uint64_t netns_cookie, const struct weft_address *peer, uint16_t peer_port_be,
			     uint64_t *cookie, struct weft_connection *out);
int datapath_connection_get(struct datapath *dp, uint64_t cookie, struct weft_connection *out);
/* How the head of the response of a lent slot is to be changed. -ENOENT: not at all. Any thread. */
int datapath_response_changes(struct datapath *dp, uint32_t slot, struct weft_response_changes *out);
/* Visits the records as they are; of those that come and go meanwhile, some. -ENOMEM, or the kernel's -errno. */
int datapath_connections_each(struct datapath *dp, void (*fn)(void *arg, uint64_t cookie, const struct weft_connection *connection), void *arg);
/* Runs the command program; see abi.h. 0 also when the connection is gone (answer lacks WEFT_ANSWER_FOUND). Any thread. */
int datapath_connection_command(struct datapath *dp, struct weft_connection_command *command);

/* Ring buffer: poll the fd for reading, then drain. The callback runs in the caller's thread. */
typedef void (*datapath_event_fn)(void *arg, const struct weft_event *event);
int datapath_events_fd(struct datapath *dp);
int datapath_events_drain(struct datapath *dp, datapath_event_fn fn, void *arg);

/* Visits what is counted by kind and not by slot. 0, or the kernel's -errno. */
typedef void (*datapath_traffic_fn)(void *arg, const struct weft_traffic_key *key, const struct weft_traffic *record);
int datapath_traffic_each(struct datapath *dp, datapath_traffic_fn fn, void *arg);
/* Takes one out; `*last` is what it held then. -ENOENT. What a program adds that had found it just before is lost. */
int datapath_traffic_forget(struct datapath *dp, const struct weft_traffic_key *key, struct weft_traffic *last);

int datapath_counters(struct datapath *dp, uint64_t out[WEFT_COUNTERS]);
uint32_t datapath_connection_count(struct datapath *dp);
void datapath_features(const struct datapath *dp, struct datapath_feature_state out[FEATURE_COUNT]);
const char *datapath_pins(const struct datapath *dp); /* this version's folder of pins */
size_t datapath_attached(const struct datapath *dp, char (*names)[96], size_t max); /* for people */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Pooled upstream connections that the kernel programs lend: one pool for each (pod, endpoint), dialled from inside the pod's
 * network namespace, kept warm, watched, taken back. Owns every slot of `upstreams` and `pools` (abi.h) while it is not lent.
 *
 * One thread, the control loop, calls everything here but what is marked "any thread"; callbacks run on that loop too. The
 * proxy stands after this stage, so it is reached only through the callbacks. */
#ifndef WEFT_POOL_POOL_H
#define WEFT_POOL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/abi.h"

struct datapath;
struct event_base;
struct pool;
struct table;
struct table_entry;

/* What the pool needs of the kernel side; pool_kernel_datapath() fills it from a datapath, unit tests from plain memory. */
struct pool_kernel {
	void *arg;
	struct weft_upstream *upstreams; /* [upstream_count] */
	struct weft_pool *pools;         /* [pool_count] */
	struct weft_endpoint_state *endpoint_states; /* [WEFT_ENDPOINTS_MAX]: requests in flight */
	uint32_t upstream_count;
	uint32_t pool_count;
	int (*index_set)(void *arg, uint32_t pod_id, uint32_t endpoint_id, uint32_t pool);
	int (*index_delete)(void *arg, uint32_t pod_id, uint32_t endpoint_id);
	int (*mark)(void *arg, int fd, uint32_t slot, uint32_t pod_id);
	int (*insert)(void *arg, int fd, uint64_t cookie);
	/* The open exchange (0: none) of the captured connection of this client socket. -ENOENT: the client is gone. */
	int (*client_exchange)(void *arg, uint64_t client_cookie, uint64_t *exchange);
	/* Brings `request_remaining` of this open exchange's upstream to what has not gone out: less may have than the program had sent. What comes of it from
	 * now on is known for what it is, whatever becomes of the slot. */
	void (*count_owed)(void *arg, uint64_t client_cookie, uint64_t exchange);
};
void pool_kernel_datapath(struct pool_kernel *out, struct datapath *dp);

/* An exchange that the kernel began and hands up. `record` is the slot as it was when the worker took it over. */
struct pool_exchange {
	uint64_t exchange;           /* WEFT_EXCHANGE(slot, lease): also in the connection's `exchange` until the proxy ends it */
	uint64_t client_cookie;
	uint32_t slot;
	struct weft_upstream record;
};

/* All but the last: the connection's `exchange` still names this one; whoever takes the call ends it (WEFT_COMMAND_END_EXCHANGE) once
 * the client has its answer. `record.request_remaining` > 0: the request is not whole, so its connection can't go on after it. */
struct pool_callbacks {
	void *arg;
	/* The response to a request that the kernel sent is the worker's: it waits, or will come, on `fd`. No byte of it has reached
	 * the client by the kernel. The callee may read, poll and write `fd` on any thread until it calls pool_relay_done() and
	 * must not close it. Negative: nobody can take it (the client is gone, no memory); the upstream is then closed. */
	int (*relay)(void *arg, const struct pool_exchange *exchange, int fd);
	/* Answer locally: 503 (the upstream ended before its response began; Envoy: UC) or 504 (the deadline passed; UT). The client
	 * has seen no byte of a response, and the upstream, which is closed after this, will give none. */
	void (*exchange_failed)(void *arg, const struct pool_exchange *exchange, unsigned status);
	/* The response was cut in its middle, or may have been: close the client's connection. */
	void (*exchange_cut)(void *arg, const struct pool_exchange *exchange);
	/* The client went before its exchange, which the kernel carried, was over; nobody ends it any more. `record.state` is what it was in. */
	void (*exchange_left)(void *arg, const struct pool_exchange *exchange);
};

struct pool_options {
	struct event_base *base;
	struct table *table;             /* NULL: descriptors are not registered */
	struct pool_kernel kernel;
	struct pool_callbacks callbacks;
	uint32_t redirect_limit_bytes;   /* 0: WEFT_REDIRECT_LIMIT_DEFAULT; twice this is asked for as send buffer */
	uint32_t pod_quota;              /* upstreams of one pod; 0: an eighth of all slots */
	uint32_t pod_pools;              /* pools of one pod; 0: a quarter of all */
	uint32_t pool_slots;             /* upstreams of one pod to one endpoint; 0: WEFT_POOL_SLOTS_MAX */
	uint32_t idle_timeout_ms;        /* 0: 60000; surplus idle upstreams close after this */
	uint32_t unused_timeout_ms;      /* 0: 300000; a pool without exchanges for this long goes with its last upstream */
	uint32_t sweep_interval_ms;      /* 0: 100 */
	uint32_t second_look_ms;         /* 0: 10; how long a lent upstream that ended may still turn out to be answered */
	uint32_t quarantine_ms;          /* 0: 1000; how long a freed slot or pool index rests before it is used again */
	uint32_t backoff_min_ms;         /* 0: 100; after a failed dial, doubled at each further one */
	uint32_t backoff_max_ms;         /* 0: 10000 */
	/* The programs tell by events of every response that becomes the worker's, and of bytes on an idle upstream. Upstreams are then
	 * watched for their end only: watched for bytes, they wake the loop at every redirected response although there is nothing to read. */
	bool is_told_of_relays;
	/* Of the cgroup that this process makes sockets in, where the kernel tells of their end; 0: all is one. Adopted upstreams of another one are not used
	 * for a further exchange: that cgroup may go, and nobody would tell. */
	uint64_t cgroup_inode;
	/* Another worker ran before this one on the same maps: nothing is touched until pool_adopt_finish(). */
	bool adopt;
};

/* Without `adopt` every slot and pool in the arrays is reset. In a worker: after table_close_strays(). -EMFILE, -ENOMEM. */
int pool_new(struct pool **out, const struct pool_options *options);
/* Closes every descriptor that is not in the table; what is in the table is the next worker's, as is the state in the maps. */
void pool_free(struct pool **pool);
/* Clean exit, when no relay runs any more: closes all upstreams, lent or not, and frees their slots. No callback is called. */
void pool_close_all(struct pool *pool);
/* From now on nothing tells of relays (is_told_of_relays): idle upstreams are closed, all others watched for bytes, too. */
void pool_watch_relays(struct pool *pool);

/* The descriptor of the pod's network namespace stays the caller's, open until pool_pod_remove(); -1: the calling thread's own. Upstreams are
 * bound to that of `addresses` which is of their endpoint's family, unless it is all 0. -EEXIST, -ENOMEM. */
int pool_pod_add(struct pool *pool, uint32_t pod_id, int netns_fd, const struct weft_address addresses[WEFT_FAMILIES]);
/* Idle upstreams close at once, lent ones when their exchange is over. */
void pool_pod_remove(struct pool *pool, uint32_t pod_id);

/* What an endpoint id means to the pods of `scope`; `image` is a whole, valid endpoint image (WEFT_IMAGE_ENDPOINTS). Call it before the same
 * image is published to the programs: an id that went, or that now names another address, loses its idle upstreams here; lent
 * ones finish first. -EINVAL: not an endpoint image (nothing changed). */
int pool_publish_endpoints(struct pool *pool, uint32_t scope, const void *image, size_t size);

/* Events of the ring buffer. POOL_MISS, and whatever names an upstream by slot and cookie: its state then says what is to be done. Others
 * are ignored. */
void pool_event(struct pool *pool, const struct weft_event *event);

/* The relay is over and `fd` is no longer used by the callee. is_reusable: request and response were both whole, nothing was left
 * unread, and neither side asked to close. Any thread. */
void pool_relay_done(struct pool *pool, uint64_t exchange, bool is_reusable);
/* The client of an open exchange is gone (its anchor ended): the upstream goes too. `exchange` as the connection record had it;
 * 0 and exchanges that are over are ignored. Never for an exchange whose relay runs: pool_relay_done() does that. Any thread. */
void pool_client_gone(struct pool *pool, uint64_t client_cookie, uint64_t exchange);

/* A response of this endpoint says that its connection stays, or that the first exchange on it was the last one. Before the former was said
 * nothing is dialled to it, nor after the latter three times in a row: a server that serves one connection after the other would wait on one that lies
 * idle. Any thread. */
void pool_endpoint_keeps(struct pool *pool, uint32_t endpoint_id, bool keeps);

/* A TABLE_UPSTREAM entry of the former worker, after its pod was added and endpoints were published. 0: the entry and its descriptor are the
 * pool's (one that can't go on is closed already), and fast-path exchanges in flight go on; -ENOMEM: they are still the caller's. */
int pool_adopt(struct pool *pool, struct table_entry *entry);
/* After the last pool_adopt(): this client's record says that `exchange` is open. Where no slot knows of it, the former worker had closed the
 * upstream and died before its proxy heard of it: the client is cut. */
void pool_adopt_exchange(struct pool *pool, uint64_t client_cookie, uint64_t exchange);
/* After the last of those, when callbacks may be called: frees what no descriptor backs, and settles the exchanges whose
 * relay died with the former worker. */
void pool_adopt_finish(struct pool *pool);

/* ---- replacement by another weftd ---- */

/* Before that: the response of an exchange whose request the kernel has sent is the proxy's from here on. For a client that the proxy keeps: the one
 * that follows would not find it. */
void pool_claim(struct pool *pool, uint64_t exchange);
/* From here on nothing is dialled, watched, swept or taken back; slots and descriptors stay as they are, for the one that follows, but those that the
 * proxy relays from. No further event may be given. */
void pool_leave(struct pool *pool);
/* A relay that has not begun and will not: its response is for the one that follows, like all others. */
void pool_take_back(struct pool *pool, uint64_t exchange);
/* After that: relays that still run keep their upstream, whose entry becomes TABLE_KEPT. `slot_over` is called for each when it is closed, `client_gone`
 * instead of what pool_client_gone() does. Returns how many are kept. */
struct pool_kept {
	void *arg;
	void (*slot_over)(void *arg, uint32_t slot);
	void (*client_gone)(void *arg, uint64_t client_cookie, uint64_t exchange);
};
uint32_t pool_keep(struct pool *pool, const struct pool_kept *kept);
/* Relays that still run, after pool_leave(). */
uint32_t pool_kept_count(const struct pool *pool);
/* The other side, before pool_adopt_finish(): the weftd that was here before keeps this slot's upstream. */
void pool_elsewhere(struct pool *pool, uint32_t slot);
/* It does no more. `is_lost`: it ended before it said so. */
void pool_elsewhere_over(struct pool *pool, uint32_t slot, bool is_lost);

enum pool_close_reason {
	POOL_CLOSE_PEER = 0,       /* the other end closed or reset an idle one */
	POOL_CLOSE_UNASKED_BYTES,  /* bytes came on an idle one */
	POOL_CLOSE_IDLE,           /* idle for too long */
	POOL_CLOSE_ENDPOINT_GONE,
	POOL_CLOSE_POD_GONE,
	POOL_CLOSE_RELAY,          /* the proxy said that it can't be used again */
	POOL_CLOSE_FAILED,         /* ended before its response began */
	POOL_CLOSE_CUT,            /* ended, or was ended, in the middle of a response */
	POOL_CLOSE_TIMEOUT,
	POOL_CLOSE_CLIENT_GONE,
	POOL_CLOSE_DIAL,           /* the dial failed */
	POOL_CLOSE_ADOPTION,       /* could not be taken over from the former worker */
	POOL_CLOSE_STOP,
	POOL_CLOSE_COUNT
};

struct pool_stats {
	uint32_t pods, pools;
	uint32_t dialling, idle, lent, replying, relayed, dead, closing, free; /* slots now */
	uint64_t misses;                 /* events; each stands for one or more requests */
	uint64_t dials, dials_failed;
	uint64_t dials_refused_quota, dials_refused_endpoint, dials_refused_slots, dials_refused_descriptors;
	uint64_t pools_refused, pools_refused_quota;
	uint32_t pod_upstreams_most, pod_pools_most, pool_upstreams_most; /* what the pod, or pool, with the most of them has */
	uint64_t relays, failures, timeouts, cuts;
	uint64_t closes[POOL_CLOSE_COUNT];
};
void pool_stats(const struct pool *pool, struct pool_stats *out);
const char *pool_close_reason_name(enum pool_close_reason reason);

#endif

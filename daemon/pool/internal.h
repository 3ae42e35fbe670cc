/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share. Words of `upstreams` and `pools` are also read and swapped by programs on other CPUs, so they are only
 * touched through the helpers below. */
#ifndef WEFT_POOL_INTERNAL_H
#define WEFT_POOL_INTERNAL_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <time.h>

#include "pool/pool.h"
#include "weft/address_host.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define NS_PER_MS 1000000ull
#define CLIENT_CHECK_INTERVAL_NS (1000 * NS_PER_MS)
#define CONNECT_TIMEOUT_DEFAULT_MS 5000u
#define DIALS_AT_ONCE_MAX 256u

struct pool_pod {
	UT_hash_handle hh;
	uint32_t pod_id;          /* key */
	int netns_fd;
	struct weft_address addresses[WEFT_FAMILIES];
	uint32_t upstream_count;
	bool is_leaving;          /* removed; stays until its last upstream is closed */
};

struct endpoint {
	uint64_t scopes;          /* bit: a scope whose image has it; 0: unknown */
	struct weft_address address;
	uint16_t port_be;
	uint32_t connect_timeout_ms;
	uint8_t keeps;            /* KEEPS_SURELY when its server kept a connection, one less for each since that ended with its first exchange; 0: not known
	                             to keep any. Any thread: atomic */
};

#define KEEPS_SURELY 3 /* a response may have a reason of its own to be the last one */

/* The worker's side of one struct weft_pool. */
struct endpoint_pool {
	UT_hash_handle hh;
	struct weft_pool_key key;
	uint32_t index;
	struct weft_address address; /* the other end of all its upstreams */
	uint16_t port_be;
	struct weft_pool *shared;
	uint32_t upstream_count;
	uint32_t dialling_count;
	uint32_t idle_seen;        /* slots that the sweep found idle */
	uint32_t misses_seen;
	uint32_t backoff_ms;       /* 0: the last dial succeeded */
	uint64_t backoff_until_ns;
	uint64_t last_used_ns;
	bool is_wanted;            /* a miss came before it was known whether the server keeps connections */
	bool is_leaving;           /* the programs can't find it any more; goes with its last upstream */
	enum pool_close_reason leave_reason;
};

enum mail_kind { MAIL_RELAY_DONE, MAIL_CLIENT_GONE, MAIL_ENDPOINT_KEEPS };
struct mail {
	struct mail *next;
	enum mail_kind kind;       /* RELAY_DONE: lies in the upstream; others: malloc'd */
	uint32_t endpoint_id;
	uint64_t exchange;
	uint64_t client_cookie;
	bool is_reusable;
};

/* The worker's side of one slot: it exists exactly as long as the descriptor is open. */
struct upstream {
	struct pool *pool;
	struct endpoint_pool *owner;
	struct pool_pod *pod;
	struct weft_upstream *shared;
	struct table_entry *entry; /* NULL without a table */
	uint32_t slot;
	uint32_t active_index;     /* in pool->active */
	int fd;
	bool is_dialling;
	bool is_handed;            /* a relay of the proxy uses the descriptor */
	bool is_doubted;           /* the second look is due */
	bool is_distance_known;    /* its window is that of its round-trip time */
	uint64_t seen_word;        /* state at the last sweep, and since when */
	uint64_t seen_ns;
	uint64_t client_check_ns;
	struct event watch;
	struct event second_look;
	struct mail done;
};

struct pool {
	struct pool_options options;
	struct pool_kernel kernel;
	struct pool_callbacks callbacks;
	struct endpoint *endpoints;        /* [WEFT_ENDPOINTS_MAX] */
	struct pool_pod *pods;
	struct endpoint_pool *index;       /* by key; without those that leave */
	struct endpoint_pool **pools;      /* [kernel.pool_count], by index */
	uint64_t *pool_freed_ns;           /* [kernel.pool_count] */
	uint32_t pool_cursor;
	uint32_t pool_count;
	struct upstream **upstreams;       /* [kernel.upstream_count], by slot */
	struct upstream **active;          /* the same, dense */
	uint32_t active_count;
	uint32_t *free_slots;              /* ring, oldest first */
	uint64_t *slot_freed_ns;           /* by slot */
	uint32_t free_head, free_count;
	uint32_t dialling_count;
	struct event *sweep;
	struct event *mail_event;
	int mail_fd;
	pthread_mutex_t mail_lock;
	struct mail *mail_head, **mail_tail;
	bool is_leaving;                   /* another weftd takes over */
	struct pool_kept kept;             /* slot_over NULL: nothing is kept yet */
	uint8_t *is_elsewhere;             /* [kernel.upstream_count]: the weftd that was here before has the upstream; NULL: none */
	uint64_t complained_ns;            /* last warning about a limit */
	struct pool_stats counts;          /* counters only */
};

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts); /* what bpf_ktime_get_ns() reads */
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static inline struct timeval timeval_of_ms(uint32_t ms)
{
	return (struct timeval){ .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };
}

/* ---- shared words ---- */

static inline uint64_t state_load(const struct weft_upstream *u)
{
	return __atomic_load_n(&u->state, __ATOMIC_ACQUIRE);
}

/* Swaps the state of the lease in `word`; false when a program was first. */
static inline bool state_swap(struct weft_upstream *u, uint64_t word, enum weft_upstream_state to)
{
	return __atomic_compare_exchange_n(&u->state, &word, (word & ~0xffull) | to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static inline bool is_marked_dead(const struct weft_upstream *u)
{
	return __atomic_load_n(&u->is_dead, __ATOMIC_ACQUIRE) != 0;
}

static inline void idle_bit_set(struct weft_pool *p, uint32_t position)
{
	__atomic_fetch_or(&p->idle[position / 64], 1ull << (position % 64), __ATOMIC_RELEASE);
}

static inline void idle_bit_clear(struct weft_pool *p, uint32_t position)
{
	__atomic_fetch_and(&p->idle[position / 64], ~(1ull << (position % 64)), __ATOMIC_RELEASE);
}

/* ---- slots.c: who may use which index ---- */
int slots_new(struct pool *pool);
void slots_free(struct pool *pool);
int slot_take(struct pool *pool, uint32_t *slot);    /* -EAGAIN: none has rested long enough */
void slot_give(struct pool *pool, uint32_t slot, uint64_t freed_ns);
void slot_reset(struct weft_upstream *u);            /* to FREE; the lease stays */

/* ---- endpoints.c ---- */
static inline const struct endpoint *endpoint_find(const struct pool *pool, uint32_t endpoint_id)
{
	return endpoint_id < WEFT_ENDPOINTS_MAX && pool->endpoints[endpoint_id].scopes ? &pool->endpoints[endpoint_id] : NULL;
}

/* ---- endpoint_pool.c: what one pod has towards one endpoint ---- */
struct endpoint_pool *endpoint_pool_find(struct pool *pool, uint32_t pod_id, uint32_t endpoint_id);
int endpoint_pool_new(struct pool *pool, uint32_t pod_id, uint32_t endpoint_id, struct endpoint_pool **out);
/* As an earlier worker left it at `index`, with upstreams to this address. */
int endpoint_pool_adopt(struct pool *pool, uint32_t index, const struct weft_address *address, uint16_t port_be, struct endpoint_pool **out);
void endpoint_pool_leave(struct pool *pool, struct endpoint_pool *owner, enum pool_close_reason reason);
void endpoint_pool_free(struct pool *pool, struct endpoint_pool *owner);
/* After a miss, and from the sweep; `is_miss`: a request found nothing idle, so all were lent. */
void endpoint_pool_grow(struct pool *pool, struct endpoint_pool *owner, bool is_miss);
/* The server of this endpoint is now known to keep connections: what was wanted before is dialled. */
void endpoint_pools_begin(struct pool *pool, uint32_t endpoint_id);
struct pool_pod *pool_pod_find(struct pool *pool, uint32_t pod_id);
uint32_t pools_of_pod(const struct pool *pool, uint32_t pod_id);
void pool_pod_forget_upstream(struct pool *pool, struct pool_pod *pod);

/* ---- dial.c ---- */
/* Once in a while: why no upstream was added. */
void pool_complain(struct pool *pool, int r, const char *what);
int upstream_dial(struct pool *pool, struct endpoint_pool *owner);
/* After a dial that failed, or a connection that the other end closed before it was of any use. */
void endpoint_pool_back_off(struct pool *pool, struct endpoint_pool *owner);

/* ---- upstream.c ---- */
int upstream_new(struct pool *pool, struct endpoint_pool *owner, struct pool_pod *pod, uint32_t slot, int fd, struct upstream **out);
void upstream_register(struct upstream *u);
int upstream_watch(struct upstream *u);
void upstream_look(struct upstream *u);
/* Nothing to read, and it has not ended. */
bool upstream_is_quiet(const struct upstream *u);
/* The next worker must know whether the client may have had a part of the answer from this one. */
void upstream_set_busy(struct upstream *u, bool is_busy);
/* The state is CLOSING or DIALLING: nobody else's. What the exchange counted is taken off already. `u` is gone afterwards. */
void upstream_drop(struct upstream *u, enum pool_close_reason reason);
/* Swaps from `word` to CLOSING and closes (of a lent one the exchange is over); false when a program was first. */
bool upstream_close_from(struct upstream *u, uint64_t word, enum pool_close_reason reason);
/* Makes it IDLE from `word` (DIALLING or RELAYED), or closes it when it ended meanwhile. */
void upstream_idle(struct upstream *u, uint64_t word);
/* LENT: answers `status` for the upstream and closes it. false when a program was first. */
bool upstream_fail(struct upstream *u, uint64_t word, unsigned status, enum pool_close_reason reason);
bool upstream_cut(struct upstream *u, uint64_t word, enum pool_close_reason reason);
/* Does its client still wait for this very exchange? Not when the program that lent has not come to say so yet (it will find the upstream gone, and
 * the request goes to the proxy), nor when one has just completed it. Unknown counts as yes. */
bool exchange_is_awaited(const struct pool *pool, const struct pool_exchange *exchange);
/* A copy of the record as it is now. */
void exchange_read(const struct pool *pool, uint32_t slot, struct pool_exchange *out);
void upstream_hand_over(struct upstream *u, uint64_t word);

/* ---- sweep.c ---- */
void pool_sweep(struct pool *pool);
/* Pools whose pod or endpoint is gone, or whose endpoint has another address now, leave; their idle upstreams close. */
void pool_drop_stale(struct pool *pool);

/* ---- pool.c ---- */
int sweep_start(struct pool *pool);

/* ---- adopt.c ---- */
void free_unbacked(struct pool *pool, uint32_t slot);

/* ---- mail.c ---- */
void mail_read(struct pool *pool);
int mail_new(struct pool *pool);
void mail_free(struct pool *pool);

#endif

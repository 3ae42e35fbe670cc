/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What kernel programs and daemon share through maps. Sockets are named by their cookies; a slot index is only ever used
 * together with the cookie that it must hold.
 *
 * Who writes what: a field has one writer, or is changed by compare-and-swap. Arrays marked "mmap" are BPF_F_MMAPABLE: the
 * worker reads and swaps the same words that the programs do. */
#ifndef WEFT_ABI_H
#define WEFT_ABI_H

#include "weft/address.h"
#include "weft/balance.h"
#include "weft/base.h"
#include "weft/exceptions.h"
#include "weft/head.h"
#include "weft/image.h"
#include "weft/traffic.h"

#define WEFT_ABI_VERSION 1

/* Named limits: `weftctl status` shows them. */
#define WEFT_PODS_MAX 1024u
#define WEFT_CONNECTIONS_MAX 65536u
#define WEFT_UPSTREAMS_MAX 16384u
#define WEFT_POOLS_MAX 4096u
#define WEFT_POOL_SLOTS_MAX 128u          /* upstreams of one pod to one endpoint */
#define WEFT_CLUSTERS_MAX 16384u
#define WEFT_ENDPOINTS_MAX 65536u
#define WEFT_REDIRECT_LIMIT_DEFAULT (2u << 20)
#define WEFT_EVENTS_BYTES (256u << 10)
#define WEFT_TRAFFIC_MAX 2048u            /* kinds of exchanges that are not the usual one of their slot */

/* ---- images ----------------------------------------------------------------------------------------------------------- */

/* Slots of the outer map `images`: WEFT_GENERATIONS of each kind for each scope, used in turn. A program run reads the
 * current slot once and keeps it; a slot is filled again only after WEFT_GENERATIONS - 1 later publications and a grace period
 * between two of them. */
#define WEFT_SCOPES_MAX 64u
#define WEFT_GENERATIONS 4u
#define WEFT_IMAGE_SLOT(scope, kind, generation) \
	(((scope) * 2u + ((kind) - 1u)) * WEFT_GENERATIONS + (u32)((generation) % WEFT_GENERATIONS))

struct weft_scope_state { /* array `scopes`, mmap; written by the worker */
	u32 route_slot;
	u32 endpoint_slot;
	u64 route_generation;   /* 0: nothing published yet */
	u64 endpoint_generation;
};

/* AUTO is an option and never in force: the datapath makes ON or OFF of it. */
enum weft_fast_path { WEFT_FAST_PATH_OFF = 0, WEFT_FAST_PATH_REMOTE = 1, WEFT_FAST_PATH_ON = 2, WEFT_FAST_PATH_AUTO = 3 };

struct weft_control { /* array `control`, one entry, mmap; written by the worker */
	u32 fast_path;            /* enum weft_fast_path */
	u32 is_paused;            /* 1: no new exchange in the kernel */
	u32 redirect_limit_bytes;
	u32 connections_each;     /* records that one pod may have */
	u32 date_len;
	u32 date_sequence;        /* odd while `date` is being written */
	char date[64];            /* "date: Sun, 22 Nov 2026 01:13:34 GMT\r\n", for local replies */
};

/* ---- pods ------------------------------------------------------------------------------------------------------------- */

struct weft_pod { /* hash `pods`; key: network namespace cookie (u64) */
	u32 pod_id;
	u32 scope;
	struct weft_address addresses[WEFT_FAMILIES]; /* all 0: it has none of that family, and connections of it are left alone */
	u16 listener_ports_be[WEFT_FAMILIES]; /* the worker's listeners on 127.0.0.1 and ::1 inside the pod's network namespace */
	u16 flags;            /* WEFT_POD_* */
	u16 zero;
	u64 source_hashes[WEFT_FAMILIES]; /* xxHash64 of its addresses as text, for hash policies */
};
#define WEFT_POD_PAUSED 0x1u     /* being removed: new connections are left alone */
#define WEFT_POD_EXCEPTIONS 0x2u /* it has an entry in `exceptions`: weft/exceptions.h */

struct weft_pod_usage { /* hash `pod_usage`; key: pod_id (u32). Made and taken away by the worker, changed by the programs */
	u32 connections;      /* records that it has */
	u32 zero;
	u64 left_alone;       /* connections that it had no place for: bpf/quota.h */
};

/* ---- sockets ---------------------------------------------------------------------------------------------------------- */

enum weft_role { WEFT_ROLE_CLIENT = 1, WEFT_ROLE_UPSTREAM = 2, WEFT_ROLE_SERVER = 3, WEFT_ROLE_TCP = 4 };

struct weft_socket { /* socket storage `sockets` */
	u64 cookie;             /* own; 0 until established */
	u32 role;               /* enum weft_role */
	u32 pod_id;
	u32 slot;               /* UPSTREAM, SERVER: index in `upstreams` */
	struct weft_address original; /* CLIENT, TCP: what the application asked for */
	u16 original_port_be;
	u16 is_split;           /* SERVER: a write was split: see message_pass() */
	struct weft_address pod_address; /* of the same family */
	u64 upstream_cookie;    /* SERVER: cookie of the other end */
	u32 endpoint_id;        /* TCP: whom connect() was sent to */
	u32 is_counted;         /* TCP: in its endpoint's `active` */
	u32 cluster_id;         /* TCP */
	u32 is_open;            /* TCP: it was established, and is not closed */
};

/* A captured connection. Written by the programs; the fields of the proxy only through weft_connection_command. */
struct weft_connection { /* hash `connections`; key: client socket cookie */
	/* of each request and response; together, since two CPUs pass them to each other */
	u64 exchange;           /* 0, or WEFT_EXCHANGE(slot, lease) of the open exchange */
	u64 sock;               /* kernel address of the client socket: only ever read by probe, with its cookie compared */
	u64 mover_sock;         /* the socket whose run decided on the last response: address and cookie */
	u64 mover_cookie;
	u32 mover;              /* enum weft_mover: who carries the last response here; 0 once it is proven to be delivered */
	u32 flags;              /* WEFT_CONNECTION_* */
	u32 last_slot;          /* slot + 1 of the upstream that it borrowed last: the first to be asked again */
	u32 kernel_exchanges;   /* for people */
	u32 last_reason;        /* enum weft_reason of the last hand-up, for people */
	/* written at the beginning, or by the proxy */
	u32 write_base;         /* sequence number of the first byte that the client sends on its TCP leg */
	u32 read_base;          /* sequence number of the first byte that it receives there */
	u32 proxy_consumed;     /* bytes of whole requests that the proxy took from the anchor (modulo 2^32) */
	u32 proxy_written;      /* bytes of whole responses that it wrote, or is about to finish writing, to the anchor */
	u32 pod_id;
	u32 scope;
	u32 drawn;              /* the number that the last request was routed by which then went up; 0: none, or taken */
	u32 picked;             /* ... and the endpoint that was picked for it; 0: none, or taken */
	u32 received_seq;       /* where the bytes end that came to the client by TCP: bpf/overlap.h */
	struct weft_address original;
	u16 original_port_be;
	u16 local_port_be;      /* the client socket's; with its address and netns_cookie the key of `connection_ports` */
	u32 zero;
	u64 netns_cookie;
	u64 captured_ns;        /* connect() */
	u64 established_ns;     /* 0: not yet, or never */
};

/* A program decides that a response's last bytes go to the client, and returns; the kernel moves them after that. Until then the
 * queues of the client look empty: see bpf/delivered.h. */
enum weft_mover { WEFT_MOVER_NONE = 0, WEFT_MOVER_SERVER = 1, WEFT_MOVER_UPSTREAM = 2, WEFT_MOVER_CLIENT = 3 };

#define WEFT_CONNECTION_PROXY_ONLY 0x1u  /* pipelined, early data ...: the proxy keeps it for good */
#define WEFT_CONNECTION_WAITED_FOR 0x2u  /* the proxy wants WEFT_EVENT_EXCHANGE_OVER */
#define WEFT_CONNECTION_CLOSED 0x4u      /* the client socket is gone */
#define WEFT_CONNECTION_SPLIT 0x8u       /* a write was split: see message_pass() */
#define WEFT_CONNECTION_BODY_REST 0x10u  /* the rest of a body whose exchange was taken over went up: no request comes any more */

#define WEFT_EXCHANGE(slot, lease) (((u64)(u32)(lease) << 32) | ((u32)(slot) + 1u))
#define WEFT_EXCHANGE_SLOT(exchange) ((u32)(exchange) - 1u)
#define WEFT_EXCHANGE_LEASE(exchange) ((u32)((exchange) >> 32))

struct weft_port_key { /* hash `connection_ports` -> client socket cookie (u64); written by sock_ops alone */
	u64 netns_cookie;
	struct weft_address address; /* the client socket's own on this leg */
	u16 port_be;
	u16 zero[3];
};

struct weft_tuple { /* hash `dialled` -> struct weft_dialled: upstreams by the addresses that their server sees */
	struct weft_address source;
	struct weft_address destination;
	u16 source_port_be;
	u16 destination_port_be;
};
struct weft_dialled {
	u64 upstream_cookie;
	u32 slot;
	u32 zero;
};

/* ---- upstreams and the exchange record -------------------------------------------------------------------------------- */

/* Transitions, each by compare-and-swap of `state` (the low byte; the lease above it):
 *   FREE -> DIALLING -> IDLE           worker
 *   IDLE -> LENT (lease + 1)           request program
 *   LENT -> REPLYING                   reply/response program at the first response byte that it redirects
 *   LENT -> RELAYED                    reply/response program (this response is the worker's), or worker (time-out, failure)
 *   REPLYING -> IDLE                   reply/response program after the last byte
 *   REPLYING -> RELAYED                sock_ops, when the client's connection is over, or reply/response program, when nothing could be redirected
 *   LENT, REPLYING -> IDLE             request program, when nothing was redirected after all
 *   RELAYED -> IDLE or CLOSING         worker
 *   IDLE -> CLOSING -> FREE            worker;  IDLE -> DEAD: sock_ops;  DEAD -> CLOSING -> FREE: worker */
enum weft_upstream_state {
	WEFT_UPSTREAM_FREE = 0,
	WEFT_UPSTREAM_DIALLING = 1,
	WEFT_UPSTREAM_IDLE = 2,
	WEFT_UPSTREAM_LENT = 3,
	WEFT_UPSTREAM_REPLYING = 4,
	WEFT_UPSTREAM_RELAYED = 5,
	WEFT_UPSTREAM_DEAD = 6,
	WEFT_UPSTREAM_CLOSING = 7,
};
#define WEFT_STATE(word) ((u32)((word) & 0xff))
#define WEFT_LEASE(word) ((u32)((word) >> 8))
#define WEFT_STATE_WORD(lease, state) (((u64)(u32)(lease) << 8) | (u32)(state))

enum weft_path { WEFT_PATH_BYPASS = 1, WEFT_PATH_REMOTE = 2, WEFT_PATH_LOCAL = 3, WEFT_PATH_SLOW = 4, WEFT_PATH_COUNT = 5 };

enum weft_said {
	WEFT_SAID_NOTHING, /* if it failed, nothing was told to be written */
	WEFT_SAID_HEAD,    /* a head that became shorter: from -head_growth on */
	WEFT_SAID_BODY,    /* the last piece of a body */
};

/* Laid out by who writes when: client's and server's CPU pass the lines of an exchange to each other, so what both write shares one. */
struct weft_upstream { /* array `upstreams`, mmap; 256 bytes */
	/* line 0: who it is; written before it is IDLE, and when it dies */
	u64 cookie;            /* upstream socket; written by the worker before DIALLING */
	u64 sock;              /* kernel address, written by sock_ops */
	u64 server_cookie;     /* 0: the other end is not an enrolled local server; written by sock_ops after server_sock */
	u64 server_sock;
	u32 pod_id;
	u32 endpoint_id;
	u32 pool;              /* index in `pools` */
	u32 pool_position;     /* index in its `slots` */
	u32 is_dead;           /* set by sock_ops when the socket left ESTABLISHED */
	u32 counted_lease;     /* of the last exchange that stands in its endpoint's `active`; its complement once it is taken off */
	u64 waits_since_ns;    /* when its server was first seen to read without O_NONBLOCK; 0: never (bpf/blocking.h) */
	/* line 1: the exchange, valid from LENT on; written by the program that holds the lease: of the client, then of the server */
	u64 state;             /* WEFT_STATE_WORD */
	u64 client_cookie;
	u64 start_ns;
	u64 first_byte_ns;
	u64 request_remaining; /* body bytes still to come from the client */
	u64 response_remaining; /* bytes of the response still to be redirected */
	u32 response_bytes;
	u32 received_seq;      /* where the bytes end that came from the server: bpf/overlap.h */
	u16 status;
	u8 path;               /* enum weft_path */
	u8 method;             /* enum weft_method */
	u32 exchange_count;
	/* line 2: of the exchange too; written by the client's program, and only what differs from the exchange before: in a run of equal
	 * requests the line stays in both caches */
	u64 request_total;     /* bytes of the whole request */
	u64 body_sock;         /* BYPASS: 0, or kernel address of the client whose body came in further writes than the head's */
	u32 route_id;
	u32 cluster_id;
	u32 changes_response;  /* the response's head is to be changed as `response_changes` says */
	u32 head_growth;       /* bytes by which the request's head became longer (modulo 2^32) */
	u32 edited_head_len;   /* bytes of the head as the kernel wrote it; 0: it is the client's own */
	u32 request_base;      /* REMOTE: the upstream's sequence number before the request */
	u32 passed_reason;     /* enum weft_reason: why the response is the worker's; written by whoever passes it */
	u32 said_kind;         /* enum weft_said: what said_again is of */
	u64 said_again;        /* the first eight bytes that the application would come again with if the last redirect failed; 0: not known */
	u32 reserved_line2_end[2];
	/* line 3: of the exchange, and of no interest to the server's program */
	u64 request_bytes;
	u64 deadline_ns;       /* 0: none */
	u32 timeout_ms;        /* of the route: the deadline is set when the request is whole */
	u32 reserved_line3[11];
};
_Static_assert(sizeof(struct weft_upstream) == 256, "a slot is four cache lines");

struct weft_pool { /* array `pools`, mmap */
	u64 idle[WEFT_POOL_SLOTS_MAX / 64]; /* hint: bit = position in `slots`; the truth is the slot's state. An idle slot has its bit,
					       * a lent one may have kept it */
	u32 pod_id;
	u32 endpoint_id;
	u32 misses;            /* rises when a request found no idle upstream */
	u32 is_miss_reported;  /* set by the program with the event, cleared by the worker */
	u32 reserved[2];
	u32 slots[WEFT_POOL_SLOTS_MAX]; /* slot + 1; 0: none */
};
struct weft_pool_key { /* hash `pool_index` -> u32 index in `pools`; written by the worker */
	u32 pod_id;
	u32 endpoint_id;
};

/* `cluster_state` and `endpoint_state`: arrays, mmap, of the structs in weft/balance.h. A request of a cluster that is balanced by load
 * counts in its endpoint's `active` from the lease on, until whoever ends the exchange takes it off: the program that sets IDLE, or the
 * worker when it takes a slot out of LENT, REPLYING or RELAYED. Where the worker does so before the program that lends has written
 * `counted_lease`, that one sees it, and takes off what it has counted. Proxies count theirs in `proxied`, and what they have of a cluster in its
 * `active`: the load of an endpoint is the sum. */

/* ---- events (ring buffer `events`) ------------------------------------------------------------------------------------ */

enum weft_event_kind {
	WEFT_EVENT_POOL_MISS = 1,      /* pod_id, endpoint_id: no idle upstream */
	WEFT_EVENT_EXCHANGE_OVER = 2,  /* cookie: a connection that was WAITED_FOR has no open exchange now */
	WEFT_EVENT_UPSTREAM_DEAD = 3,  /* slot, cookie */
	WEFT_EVENT_UPSTREAM_RELAYED = 4, /* slot, cookie: this response is the worker's */
};
struct weft_event {
	u32 kind;
	u32 slot;
	u64 cookie;
	u32 pod_id;
	u32 endpoint_id;
};

/* ---- counters (per-CPU array `counters`) ------------------------------------------------------------------------------ */

/* index: [0, WEFT_REASON_COUNT) hand-ups by reason, then the rest */
enum weft_counter {
	WEFT_COUNTER_REASONS = 0,
	WEFT_COUNTER_PATHS = 128,          /* + enum weft_path: exchanges begun */
	WEFT_COUNTER_PATHS_OVER = 136,     /* + enum weft_path: exchanges finished wholly by the kernel */
	WEFT_COUNTER_CONNECTIONS = 144,    /* captured */
	WEFT_COUNTER_CONNECTIONS_FULL,     /* not captured or not accelerated: a map was full */
	WEFT_COUNTER_CONNECTIONS_QUOTA,    /* left alone: their pod has as many as it may */
	WEFT_COUNTER_PASSED_CONNECTS,      /* left alone: no listener, loopback, nobody listening */
	WEFT_COUNTER_BLOCKED_CONNECTS,
	WEFT_COUNTER_FOREIGN_NETNS,        /* connect from an enrolled cgroup in another network namespace */
	WEFT_COUNTER_SERVERS,              /* paired server sockets */
	WEFT_COUNTER_CONNECTIONS_OVER,     /* of CONNECTIONS: closed again */
	WEFT_COUNTER_FORGED_SERVERS,       /* address matches an upstream, network namespace does not */
	WEFT_COUNTER_TCP_CONNECTS,         /* sent to an endpoint by connect() */
	WEFT_COUNTER_CLIENTS_LEFT,         /* left the sockmap: see bpf/leave.h */
	WEFT_COUNTER_CLIENTS_BLOCKING,     /* never in the sockmap: see bpf/blocking.h */
	WEFT_COUNTER_SERVERS_BLOCKING,     /* upstreams that were given up for it */
	WEFT_COUNTER_REQUESTS_REPEATED,    /* their head was that of the one before: see bpf/memo.h */
	WEFT_COUNTER_RESPONSES_REPEATED,
	WEFT_COUNTER_FAMILY_CONNECTS,      /* left alone: the pod has no address of the destination's family that weft knows of, or no loopback */
	WEFT_COUNTER_STATUS = 160,         /* + status / 100: responses of the kernel paths */
	WEFT_COUNTER_EVENTS_LOST = 170,
	WEFT_COUNTER_EXCEPTED_CONNECTS,    /* left alone: exceptions of the pod */
	WEFT_COUNTERS = 192,
};

/* ---- commands: SEC("syscall") program `weft_connection_command` ---------------------------------------------------- */

#define WEFT_COMMAND_PUBLISH 0x1u        /* set proxy_consumed and proxy_written */
#define WEFT_COMMAND_END_EXCHANGE 0x2u   /* clear `exchange` if it equals `exchange` */
#define WEFT_COMMAND_WAIT 0x4u           /* set WAITED_FOR if an exchange is open */
#define WEFT_COMMAND_PROXY_ONLY 0x8u     /* never the kernel's again */

#define WEFT_COMMAND_COUNT_OWED 0x20u    /* set the upstream's request_remaining to what has not gone out of the request of `exchange`, and BODY_REST if
					      * that is something: its upstream closes */
#define WEFT_COMMAND_TAKE_CHOICE 0x10u   /* `drawn` and `picked` come out, and are 0 in the record from then on */

#define WEFT_ANSWER_FOUND 0x1u
#define WEFT_ANSWER_EXCHANGE_OPEN 0x2u   /* `open_exchange` says which */
#define WEFT_ANSWER_UNDELIVERED 0x4u     /* redirected bytes wait for a kernel worker: a FIN or TCP byte would overtake them */
#define WEFT_ANSWER_UNREAD 0x8u          /* redirected bytes wait to be read */
#define WEFT_ANSWER_BODY_REST 0x10u      /* what comes on the anchor is the rest of a request that the kernel began */
#define WEFT_ANSWER_REQUEST_OPEN 0x20u   /* the request of the open exchange is not complete */
#define WEFT_ANSWER_REUSED 0x40u         /* alone: the record is of a later connection of this socket; nothing was done */

struct weft_connection_command {
	u64 cookie;
	u64 captured_ns;     /* of the record that is meant: a socket that connects anew keeps its cookie. 0: any */
	u32 commands;
	u32 proxy_consumed;
	u32 proxy_written;
	u32 answer;          /* out: WEFT_ANSWER_* */
	u64 exchange;        /* END_EXCHANGE */
	u64 open_exchange;   /* out */
	u32 drawn;           /* out: TAKE_CHOICE */
	u32 picked;          /* out: TAKE_CHOICE */
	u32 unread_bytes;    /* out: came by TCP, and the application has not read them */
	u32 zero;
};

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The correct path: a small, strict HTTP/1.1 proxy over the engine and the images, on worker threads with an event loop each.
 *
 * It takes the other ends of captured connections (anchors) from each pod's loopback listener, serves what the kernel hands up,
 * relays the responses that the kernel passes to the worker, and keeps the order of bytes with it (abi.h, struct
 * weft_connection_command). A connection lives on one thread. Every function here is called from the control thread, or from any
 * other that is not the proxy's own; work is posted to the thread of the connection. */
#ifndef WEFT_PROXY_PROXY_H
#define WEFT_PROXY_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keeper/table.h"
#include "weft/abi.h"
#include "weft/image.h"

struct datapath; /* datapath/datapath.h */
struct proxy;

/* Named limits; 0 means the default. */
struct proxy_limits {
	uint32_t connections;          /* anchors open at once; default 65536; beyond it new ones wait to be accepted, counted */
	uint32_t connections_each;     /* of one pod; default a quarter of them */
	uint32_t buffer_bytes;         /* memory for bytes in flight; default 512 MiB; beyond it connections are closed, counted */
	uint32_t buffer_bytes_each;    /* of one pod; default a quarter of them; beyond it, for responses twice of it, nothing is read for it, counted */
	uint32_t idle_upstreams;       /* a thread's unused upstream connections; default 1024 */
	uint32_t idle_upstreams_each;  /* of one pod to one endpoint, a thread; default 64 */
	uint32_t idle_upstream_ms;     /* how long one is kept; default 60000 */
	uint32_t silence_ms;           /* after which a server may speak before its client, where not all is HTTP; default 200 */
	uint32_t splice_pipes;         /* a thread's pipes for large bodies and tunnels; default 256; beyond it bytes are copied */
	uint32_t splice_pipes_each;    /* of one pod; default a quarter of them */
};

/* What the proxy asks of the kernel side; proxy_new() takes it from a datapath, tests give their own. Called from the proxy's
 * threads. The meaning of each is in datapath/datapath.h. */
struct proxy_backend {
	void *arg;
	int (*connection_find)(void *arg, uint64_t netns_cookie, const struct weft_address *peer, uint16_t peer_port_be, uint64_t *cookie,
			       struct weft_connection *out);
	int (*connection_command)(void *arg, struct weft_connection_command *command); /* only while the fast path is on */
	struct weft_cluster_state *clusters;   /* [WEFT_CLUSTERS_MAX] */
	struct weft_endpoint_state *endpoints; /* [WEFT_ENDPOINTS_MAX] */
};

/* What this proxy has counted in `active` and `proxied` of the states above, and not yet taken off: for who follows it when it dies. */
struct proxy_load {
	uint32_t clusters[WEFT_CLUSTERS_MAX];
	uint32_t endpoints[WEFT_ENDPOINTS_MAX];
};

struct proxy_options {
	struct proxy_load *load;  /* NULL: nobody follows */
	bool decorates;           /* adds what Envoy adds for its own sake: server, date, x-envoy-*, x-forwarded-proto */
	struct table *table;      /* where anchors are named for the next worker; NULL: nowhere */
	uint32_t threads;         /* 0: a quarter of the processors, at least one */
	bool is_fast_path_on;     /* see proxy_set_fast_path */
	struct proxy_limits limits;
	/* The client of an open kernel exchange is gone: its anchor is about to be closed. On a thread of the proxy; may be NULL. Not for
	 * exchanges that are relayed (their `done` says it). `exchange` as in struct weft_connection. */
	void (*client_gone)(void *arg, uint64_t client_cookie, uint64_t exchange);
	void *client_gone_arg;
	/* What a response says of its endpoint's connections: that this one stays, or that it ends with the first exchange on it. On a thread of the
	 * proxy; may be NULL. */
	void (*endpoint_keeps)(void *arg, uint32_t endpoint_id, bool keeps);
	void *endpoint_keeps_arg;
};

/* Starts the threads. `datapath` outlives the proxy. -ENOMEM, -EMFILE ... */
int proxy_new(struct proxy **out, struct datapath *datapath, const struct proxy_options *options);
int proxy_new_with_backend(struct proxy **out, const struct proxy_backend *backend, const struct proxy_options *options);
/* Stops the threads and closes every connection. Callbacks of open relays are called first. */
void proxy_free(struct proxy **proxy);

/* Off: the proxy makes no connection command at all. Turning it on acts on connections accepted afterwards; those before stay the
 * proxy's (nothing is published for them, so the kernel never takes them). */
void proxy_set_fast_path(struct proxy *proxy, bool is_on);

/* ---- pods and images ---------------------------------------------------------------------------------------------------- */

struct proxy_pod {
	uint32_t pod_id;
	uint32_t scope;
	struct weft_address addresses[WEFT_FAMILIES];
	uint64_t netns_cookie;
	int netns_fd;     /* duplicated */
	int listener_fds[WEFT_FAMILIES]; /* non-blocking, listening on the pod's loopback, -1: none; stay the caller's, open until proxy_pod_remove returned */
};
/* Begins to accept. Publish the scope's images first: a connection without them is answered 503 (no_image). -EEXIST. */
int proxy_pod_add(struct proxy *proxy, const struct proxy_pod *pod);
/* Stops accepting from its listener; when this returns no thread uses `listener_fds`. Open connections go on. -ENOENT. */
int proxy_pod_remove(struct proxy *proxy, uint32_t pod_id);
/* Connections of the pod's clients that are open; 0 for a pod that is not known. */
uint32_t proxy_pod_connections(struct proxy *proxy, uint32_t pod_id);

/* The next image of (scope, kind). The bytes [base, base + size_bytes), with 8 readable bytes behind them, stay until `release`
 * was called, once, on any thread, when no thread reads them any more. On an error (-ENOMEM) it is not called. */
int proxy_publish(struct proxy *proxy, uint32_t scope, enum weft_image_kind kind, const void *base, uint32_t size_bytes,
		  void (*release)(void *arg), void *arg);

/* ---- what the kernel hands over ----------------------------------------------------------------------------------------- */

/* An anchor of a worker that died (a published TABLE_ANCHOR entry of this table). Idle: goes on as if nothing had happened. With
 * an exchange that the dead worker had begun: 503 if nothing of its response was written, else the connection is cut; counted.
 * Call it after proxy_pod_add of its pod; -ENOENT when there is no such pod: the caller closes it. */
int proxy_adopt_anchor(struct proxy *proxy, struct table_entry *entry);

/* The kernel passed this response to the worker: an upstream in state RELAYED. From the call until `done` the proxy alone reads
 * `fd` and may write nothing to it; it never closes it. The client gets the response under TCP backpressure, then the exchange
 * WEFT_EXCHANGE(slot, lease) is ended and `done` is called, on a thread of the proxy, or of the caller of proxy_free. */
struct proxy_relay {
	uint64_t client_cookie;
	int fd;
	uint32_t slot;
	uint32_t lease;
	uint32_t pod_id;
	uint32_t endpoint_id;
	uint8_t method;             /* enum weft_method of the request: HEAD has no body */
	uint32_t cluster_id;
	uint64_t start_ns;          /* CLOCK_MONOTONIC: the request */
	uint64_t request_bytes;     /* all of it */
	uint64_t request_remaining; /* body bytes that had not come when the response was passed: they will arrive on the anchor */
	uint64_t deadline_ns;       /* CLOCK_MONOTONIC; 0: none. Then: 504, or in mid-body the connection is cut */
	bool is_first;              /* on its upstream */
	bool has_changes;           /* the head is to be changed */
	struct weft_response_changes changes;
	/* is_reusable: the response was read to its end exactly, the request was complete and the server keeps the connection. */
	void (*done)(void *arg, uint32_t slot, uint32_t lease, bool is_reusable);
	void *arg;
};
/* 0: `done` will be called. -ENOMEM: it won't. A client whose anchor was not accepted yet is waited for (2 s). */
int proxy_relay(struct proxy *proxy, const struct proxy_relay *relay);

/* An exchange that the kernel had begun, and that no response byte answered, failed: the upstream died (503, UC) or the time ran
 * out (504). status 0: bytes of the response were redirected already, cut the connection. Ends the exchange. The slot is the caller's
 * and may be closed at once. */
struct proxy_local_error {
	uint64_t client_cookie;
	uint32_t slot;
	uint32_t lease;
	uint16_t status;            /* 503, 504 or 0 */
	uint16_t cut_status;        /* of a response that is cut */
	uint8_t method;
	uint32_t endpoint_id;
	uint32_t cluster_id;
	uint64_t start_ns;
	uint64_t request_bytes;
	uint64_t request_remaining; /* as above; they are read and thrown away, and the connection is closed */
};
int proxy_local_error(struct proxy *proxy, const struct proxy_local_error *error);

/* WEFT_EVENT_EXCHANGE_OVER: a connection that was WAITED_FOR has no open exchange now. */
void proxy_exchange_over(struct proxy *proxy, uint64_t client_cookie);

/* ---- stopping ----------------------------------------------------------------------------------------------------------- */

/* Accepts nothing new, closes idle connections (a FIN, after their client is drained), and says `connection: close` in every
 * further response. Open exchanges and tunnels go on: watch proxy_stats().connections. */
void proxy_drain(struct proxy *proxy);

/* ---- replacement by another weftd ----------------------------------------------------------------------------------------- */

/* From here on no request is begun. A connection that is between two is let go as soon as no byte of it is held here: its entry says where it stands,
 * its descriptor stays open, and `let_go` is called, on a thread of the proxy. New connections are accepted and let go. */
void proxy_leave(struct proxy *proxy, void (*let_go)(void *arg, struct table_entry *entry), void *arg);
/* After that: the kernel's exchanges that connections which stay here wait for, because bytes of a later request are here. `fn` is called on the
 * caller's thread. Returns 0 or -ENOMEM, when some may be missing. */
int proxy_awaited_exchanges(struct proxy *proxy, void (*fn)(void *arg, uint64_t exchange), void *arg);
/* After that: accepts nothing more. What is still here, since an exchange takes longer, is marked TABLE_KEPT; `let_go` is called for it later.
 * Returns how many. */
uint32_t proxy_keep(struct proxy *proxy);
/* After that: relays whose clients were not accepted here, and so never will be. `take` is called for each on the calling thread; nothing was read of it, and
 * `done` will not be called. */
void proxy_unaccepted(struct proxy *proxy, void (*take)(void *arg, uint32_t slot, uint32_t lease), void *arg);

/* ---- what it counts ----------------------------------------------------------------------------------------------------- */

/* Why a response is the proxy's own, or a connection ended without one. */
enum proxy_reason {
	PROXY_REASON_BAD_REQUEST,         /* 400: the parser's enum weft_parse_error is in the log at debug level */
	PROXY_REASON_HEAD_TOO_LARGE,      /* 431 */
	PROXY_REASON_VERSION,             /* 426 */
	PROXY_REASON_CODING,              /* 501 */
	PROXY_REASON_PREFACE,             /* HTTP/2 preface: closed */
	PROXY_REASON_NOT_HTTP,            /* other bytes, and no other_choice: 400 */
	PROXY_REASON_UPGRADE,             /* 403: an upgrade that the listener does not allow */
	PROXY_REASON_NO_IMAGE,            /* 503: nothing published for the scope yet */
	PROXY_REASON_NO_LISTENER,         /* no listener for the original destination any more: passed on to it as it is */
	PROXY_REASON_NO_FILTER_CHAIN,     /* no chain of the listener takes these bytes, or weft refuses it: closed */
	PROXY_REASON_LISTENER_REFUSED,    /* 503: weft does not enforce what the listener asks for */
	PROXY_REASON_ROUTE_NOT_FOUND,     /* 404 */
	PROXY_REASON_ROUTE_REFUSED,       /* 503: weft can't do this route exactly */
	PROXY_REASON_DIRECT_RESPONSE,
	PROXY_REASON_NO_CLUSTER,          /* 503, or the route's cluster_not_found_response_code */
	PROXY_REASON_CLUSTER_REFUSED,     /* 503 */
	PROXY_REASON_OVERFLOW,            /* 503: max_requests of the cluster's circuit breaker */
	PROXY_REASON_NO_HEALTHY_UPSTREAM, /* 503 */
	PROXY_REASON_CONNECT_FAILURE,     /* 503 */
	PROXY_REASON_CONNECT_TIMEOUT,     /* 503 */
	PROXY_REASON_UPSTREAM_CLOSED,     /* 503: before any byte of a response */
	PROXY_REASON_UPSTREAM_PROTOCOL,   /* 502: a head that is not HTTP, or only a part of one */
	PROXY_REASON_TIMEOUT,             /* 504 */
	PROXY_REASON_CUT_IN_BODY,         /* the upstream failed in mid-body: the client's connection was cut */
	PROXY_REASON_BLOCKED,             /* the destination is refused (REGISTRY_ONLY): closed */
	PROXY_REASON_BAD_BODY,            /* the client's chunked body is malformed: 400, or cut when the response had begun */
	PROXY_REASON_CLIENT_GONE,         /* the client closed in mid-exchange */
	PROXY_REASON_NO_MEMORY,           /* closed */
	PROXY_REASON_ADOPTED_ERROR,       /* 503 or cut: the worker died with this exchange in the proxy */
	PROXY_REASON_KERNEL_ERROR,        /* proxy_local_error */
	PROXY_REASON_REDIRECT,            /* as a route says, or its virtual host's require_tls */
	PROXY_REASON_FLOOD,               /* a pipelined request behind two local replies that are not written yet: closed, as by Envoy */
	PROXY_REASON_PATTERN,             /* 500: a pattern took too long to match (regex_rewrite and the like) */
	PROXY_REASON_FAULT,               /* aborted as a route says */
	PROXY_REASON_PREFLIGHT,           /* of CORS: answered as a route says */
	PROXY_REASON_COUNT
};
const char *proxy_reason_name(enum proxy_reason reason); /* "bad_request" ... */

struct proxy_stats {
	uint64_t connections;             /* open now */
	uint64_t connections_accepted;
	uint64_t connections_unknown;     /* dialled the loopback listener directly: closed */
	uint64_t accept_pauses;           /* looks at a listener whose pod, or all of them, had as many connections as they may */
	uint64_t memory_waits;            /* looks at a connection whose pod has as much memory as it may */
	uint64_t connections_adopted;
	uint64_t requests;
	uint64_t responses[6];            /* by status / 100, interim ones included */
	uint64_t reasons[PROXY_REASON_COUNT];
	uint64_t retries;
	uint64_t requests_unkept;         /* not kept for retries and mirrors any more: no room */
	uint64_t mirrored;                /* requests sent to mirrors */
	uint64_t mirrors_dropped;         /* not sent: nobody there, or too many under way */
	uint64_t upstreams;               /* open now, the proxy's own */
	uint64_t upstreams_idle;
	uint64_t upstreams_opened;
	uint64_t upstreams_reused;
	uint64_t relays;                  /* responses relayed for the kernel */
	uint64_t relays_orphaned;         /* the client was gone */
	uint64_t tunnels;
	uint64_t waits;                   /* responses held until a kernel exchange was over or its bytes delivered */
	uint64_t paces;                   /* looks at a client that had not read on */
	uint64_t published;               /* connections handed back to the kernel, times */
	uint64_t request_body_bytes;
	uint64_t response_body_bytes;
	uint64_t spliced_bytes;           /* of both */
	uint64_t buffers_bytes;           /* memory of buffers in use now */
};
void proxy_stats(struct proxy *proxy, struct proxy_stats *out);

/* Exchanges and connections that ended in the proxy since the call before: each kind once for each thread that had some. Those that no memory was
 * there for are of the kind with nothing in its key. */
void proxy_traffic(struct proxy *proxy, void (*take)(void *arg, const struct weft_traffic_key *key, const struct weft_traffic_sums *sums), void *arg);
uint32_t proxy_thread_count(const struct proxy *proxy);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the proxy share. A thread owns its connections, upstreams, buffers and counters; nothing in here is locked but
 * the inbox of a thread and, in struct proxy, the registry of captured connections.
 *
 * A connection is driven: whatever happened to one of its sockets, connection_drive() takes every step that is possible until
 * nothing moves any more. Descriptors are edge-triggered; is_readable and is_writable remember what the last edge said. */
#ifndef WEFT_PROXY_INTERNAL_H
#define WEFT_PROXY_INTERNAL_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <sys/types.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "proxy/proxy.h"
#include "weft/balance.h"
#include "weft/chunked.h"
#include "weft/head.h"
#include "weft/lookup.h"
#include "weft/names.h"
#include "weft/address_host.h"

#define uthash_noexpand_fyi(table) ((void)0)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define READ_SMALL (16u << 10)                       /* bytes of the usual block */
#define READ_LARGE ((64u << 10) + 2048u)             /* ... of one for long heads and streams */
#define SHARES 1024u
#define BLOCK_SLACK 64u                              /* the parser loads words */
#define HEAD_MAX WEFT_PROXY_HEAD_MAX
#define SPLICE_MIN (48u << 10)                       /* bodies with less to come are copied */
#define PIPE_BYTES (128u << 10)
#define ACCEPT_BATCH 64
#define DRIVE_ROUNDS 32                              /* before others get their turn */
#define REPLIES_QUEUED_MAX 2u                        /* Envoy: max_outbound_responses */
#define MEMORY_WAIT_MS 50u
#define LINGER_MS 1000u                              /* Envoy: delayed_close_timeout */
#define ORDER_POLL_MS 1u
#define ORDER_EOF_WAIT_MS 1000u                      /* how long a client that half-closed keeps its kernel exchange */
#define RELAY_WAIT_MS 2000u                          /* for an anchor that was not accepted yet */
#define CONNECT_TIMEOUT_DEFAULT_MS 5000u             /* Envoy: cluster connect_timeout */

/* ---- buffers (buffer.c) ------------------------------------------------------------------------------------------------- */

struct block {
	struct block *next;
	u32 capacity;
	u32 share;                /* in thread->shares, of the pod that holds it */
	u8 data[];
};

/* Bytes [begin, end) of a block; no block while empty. */
struct buffer {
	struct block *block;
	u32 begin, end;
};

struct splice_pipe {
	struct splice_pipe *next;
	int in, out;
	u32 share;                /* likewise */
};

struct thread;

static inline u32 buffer_len(const struct buffer *buffer)
{
	return buffer->end - buffer->begin;
}
static inline u8 *buffer_bytes(const struct buffer *buffer)
{
	return buffer->block->data + buffer->begin;
}
/* Bytes that can be added at the end as things are. */
static inline u32 buffer_room(const struct buffer *buffer)
{
	return buffer->block ? buffer->block->capacity - buffer->end : 0;
}
/* Makes room for `bytes` more in one piece: takes, compacts or enlarges the block. -ENOSPC: more than a block can hold. */
int buffer_reserve(struct thread *thread, struct buffer *buffer, u32 bytes);
/* Bytes that buffer_reserve() could make room for. */
u32 buffer_space(const struct buffer *buffer);
/* Makes room for the next read from a socket, at least a byte where there is any space; `is_large`: as much as there can be. */
int buffer_reserve_read(struct thread *thread, struct buffer *buffer, bool is_large);
/* The same for a request's body, which goes on to its server: beyond its pod's share its block is filled and does not grow. -EAGAIN: it is full. */
int buffer_reserve_body(struct thread *thread, struct buffer *buffer, bool is_large);
void buffer_consume(struct thread *thread, struct buffer *buffer, u32 bytes);
void buffer_release(struct thread *thread, struct buffer *buffer);
/* The caller reserved. */
static inline void buffer_put(struct buffer *buffer, const void *bytes, size_t len)
{
	memcpy(buffer->block->data + buffer->end, bytes, len);
	buffer->end += (u32)len;
}
#define buffer_put_text(buffer, literal) buffer_put((buffer), (literal), sizeof(literal) - 1)
void buffer_put_number(struct buffer *buffer, u64 number);

struct splice_pipe *pipe_take(struct thread *thread);
/* A pipe that still holds bytes is closed. */
void pipe_give(struct thread *thread, struct splice_pipe **pipe, bool is_empty);
void buffers_free(struct thread *thread);
/* What is taken from here on is the pod's. */
struct pod;
void buffers_charge(struct thread *thread, const struct pod *pod);
/* May bytes be read into `buffer` now? Not into a further block of a pod that has its share; for responses that is twice as much. */
bool buffers_allow(const struct thread *thread, const struct buffer *buffer, bool is_response);
/* Memory of a share that is no buffer, and that an exchange keeps to its end: 0, or -ENOSPC when half of what there is has been taken. */
int memory_take(struct thread *thread, u32 share, u64 bytes);
void memory_give(struct thread *thread, u32 share, u64 bytes);

/* ---- one direction of an exchange (flow.c) ------------------------------------------------------------------------------- */

enum flow_body {
	FLOW_NONE = 0,
	FLOW_LENGTH,      /* `left` bytes */
	FLOW_CHUNKED,
	FLOW_UNTIL_CLOSE,
};

/* Bytes go out in this order: `out` (heads, re-framed bodies), what is in the pipe, then `left` bytes as they came. */
struct flow {
	struct buffer out;
	struct splice_pipe *pipe;
	u32 piped;             /* bytes in the pipe */
	u8 body;               /* enum flow_body: how the source frames it */
	bool is_chunked_out;   /* written chunked; LENGTH and not this: verbatim */
	bool is_source_done;   /* every byte of the message was taken */
	bool is_large;         /* a stream: read in large pieces */
	bool is_unspliceable;  /* splice said no */
	u64 left;              /* LENGTH: bytes still to be taken from the source */
	struct weft_chunked chunked;
};

/* More than a block's worth is under way. */
static inline bool flow_is_stream(const struct flow *flow)
{
	return flow->is_large || flow->pipe;
}
static inline bool flow_is_verbatim(const struct flow *flow)
{
	return flow->body == FLOW_LENGTH && !flow->is_chunked_out;
}
void flow_begin(struct flow *flow);
void flow_release(struct thread *thread, struct flow *flow);
/* Takes from `in` what must be re-framed, as far as there is room. 0 or -EBADMSG; -ENOMEM. `taken` grows by what was consumed. */
int flow_transform(struct thread *thread, struct flow *flow, struct buffer *in, bool is_end, u32 *taken);
/* Everything was taken and written. */
bool flow_is_done(const struct flow *flow, const struct buffer *in);
/* Bytes that are in hand and not yet written. */
u64 flow_pending(const struct flow *flow, const struct buffer *in);
/* The rest of the message is in hand. */
bool flow_is_whole(const struct flow *flow, const struct buffer *in);
/* Should more be read from the source into `in`? */
bool flow_wants_bytes(const struct flow *flow, const struct buffer *in);
bool flow_wants_splice(const struct flow *flow, const struct buffer *in);
/* Bytes moved (> 0), 0 at the end of the stream, -EAGAIN, -EINVAL (can't be spliced) or -errno. */
ssize_t flow_splice(struct thread *thread, struct flow *flow, int from);
/* Writes what is pending. Bytes written, or -errno; `taken` grows by what was consumed from `in`. */
ssize_t flow_write(struct thread *thread, struct flow *flow, struct buffer *in, int to, u32 *taken);

/* ---- pods and images ------------------------------------------------------------------------------------------------------ */

struct pod {
	struct proxy_pod is;      /* netns_fd is our own */
	u32 references;           /* atomic */
	u32 connection_count;     /* atomic */
	bool is_removed;          /* atomic: nothing of it is kept for later */
	struct pod *next;         /* in struct proxy; control side only */
};
struct pod *pod_get(struct pod *pod);
void pod_put(struct pod *pod);

struct published {           /* an image in use */
	struct weft_image_handle handle;
	u32 references;           /* atomic */
	void (*release)(void *arg);
	void *arg;
};
void published_put(struct published *published);
static inline struct published *published_get(struct published *published)
{
	__atomic_add_fetch(&published->references, 1, __ATOMIC_RELAXED);
	return published;
}

struct listener {            /* a pod's listener, on one thread */
	struct listener *next;
	struct thread *thread;
	struct pod *pod;
	struct event event;
	struct event pause;       /* while descriptors or memory are short */
};

/* ---- upstreams (upstream.c) ------------------------------------------------------------------------------------------------ */

struct group_key {
	u32 pod_id;
	struct weft_address address;
	u32 port_be;
};
struct group {               /* a thread's idle upstreams of one pod to one endpoint, the last used first */
	struct group_key key;
	u32 idle_count;
	struct upstream *idle;
	UT_hash_handle hh;
};

struct upstream {
	struct thread *thread;
	struct event event;
	int fd;
	bool is_connected;
	bool is_readable;
	bool is_writable;
	bool is_ended;            /* FIN, RST or an error was seen */
	bool is_reset;            /* ... and it was not a FIN */
	bool is_reused;
	bool is_borrowed;         /* the pool's: never closed here */
	bool is_write_failed;
	bool is_registered;
	bool is_read_short;       /* the last read got all that was announced since */
	bool has_hang_up;         /* the poller said that a FIN is there */
	u8 pace;                  /* PACE_*: what its buffers may hold */
	struct group_key key;
	struct buffer in;
	struct exchange *exchange; /* NULL: idle */
	struct upstream *group_next, *group_prev;
	struct upstream *idle_next, *idle_prev; /* of the thread, the longest idle first */
	struct upstream *next_dead;
	u64 idle_since_ms;
};

struct weft_endpoint;
/* An idle one, or a new one that is connecting. -errno as connect() says; -EMFILE ... */
int upstream_open(struct exchange *exchange, const struct weft_endpoint *endpoint);
/* Borrows a descriptor of the pool. */
int upstream_borrow(struct exchange *exchange, int fd);
/* The exchange is over: keeps the upstream for another one, or closes it. */
void upstream_done(struct upstream *upstream, const struct pod *pod, bool is_reusable);
void upstream_close(struct upstream *upstream);
/* Reads into `in` (or, for a spliced response, into its pipe); true: something happened. */
bool upstream_read(struct upstream *upstream);
/* With a stream, of either direction: bounds what its buffers hold when nobody reads (pace.c). */
void pace_upstream(struct upstream *upstream);
/* The next stream on it begins small again. */
void pace_upstream_over(struct upstream *upstream);
enum { PACE_NONE = 0, PACE_NARROW, PACE_WIDE };
void upstreams_expire(struct thread *thread, u64 now_ms);
void upstreams_free(struct thread *thread);
/* Closes a pod's idle ones. */
void upstreams_forget(struct thread *thread, u32 pod_id);

/* ---- connections ----------------------------------------------------------------------------------------------------------- */

enum connection_state {
	CONNECTION_HEAD = 0,   /* between requests */
	CONNECTION_EXCHANGE,
	CONNECTION_TUNNEL,
	CONNECTION_LINGER,     /* all is written, the FIN is sent: reads and throws away */
	CONNECTION_FINISH,     /* waits until a FIN may be sent */
	CONNECTION_DEAD,       /* only its memory is left, until the event is over */
};

struct edited; /* edit.h */
struct lines;
struct policies; /* policies.h */

struct exchange {
	struct connection *connection;
	struct upstream *upstream;  /* NULL: a local reply, or none yet */
	struct flow response;
	u8 method;                  /* enum weft_method */
	u16 status;
	bool is_relay;
	bool is_grpc;               /* the request: its local replies look otherwise */
	bool is_local;              /* the response is ours */
	bool is_of_upstream;        /* ours, and says what became of an upstream */
	bool is_http_10;            /* the client's version */
	bool wants_keep_alive;      /* HTTP/1.0 with Connection: keep-alive */
	bool is_upgrade;            /* a websocket request that may become a tunnel */
	bool is_switching;          /* ... and the upstream said 101 */
	bool has_head;              /* the final response's head was made */
	bool has_interim;
	bool is_begun;              /* the first byte was written to the client */
	bool is_published;
	bool is_ended;              /* relay: END_EXCHANGE was said */
	bool closes;                /* the client's connection ends with this response */
	bool is_reusable;           /* the upstream, as far as the response's head says */
	bool is_cut;                /* in mid-body: the client's connection goes when what is in hand is written */
	bool is_counted;            /* in the endpoint's and the cluster's `active` */
	u8 attempts;
	u16 missing_status;         /* of the reply when there is no such cluster */
	u8 hash_state;              /* enum weft_hash_state: NONE or READY */
	u64 hash;
	char *set_cookie;           /* whole lines for the response's head; or NULL */
	struct edited *edited;      /* what the route changes of the response; NULL: nothing */
	struct policies *policies;  /* what it asks for beside; NULL: nothing */
	bool has_grpc_status;       /* of a local reply to who speaks gRPC; else as the HTTP status says */
	u64 grpc_status;
	u64 content_length;         /* of the request, as its head says */
	u32 cluster_id;
	u32 endpoint_id;
	u32 picked;                 /* the endpoint that a program picked before it handed the request up; 0: none, or tried */
	u32 timeout_ms;
	u64 deadline_ms;            /* 0: none */
	u64 connect_deadline_ms;
	struct account {            /* what is counted when it is over (account.c) */
		u64 start_ns;       /* 0: nothing, or it was counted */
		u64 request_base;   /* the connection's `taken` when it began */
		u64 request_bytes;  /* of a relay: as the kernel counted them */
		u64 response_bytes; /* written to the client */
		u8 flag;            /* enum weft_flag: why the response is ours */
		bool is_complete;   /* the client got its end */
		bool is_tunnel;     /* bytes, and no exchange: counted as a connection */
	} account;
};

struct relay {
	struct exchange exchange;
	struct proxy_relay is;      /* done == NULL: a local error */
	bool may_be_open;           /* when it was handed over, its request was still going out */
	struct relay *next;         /* free list */
};

struct connection {
	struct thread *thread;
	struct connection *next, *prev;
	struct connection *next_dead;
	struct connection *next_ready;
	struct pod *pod;
	struct table_entry *entry;  /* or NULL */
	struct event event;
	struct event timer;
	u64 cookie;
	u64 captured_ns;            /* with the cookie it names the connection */
	u64 timer_at_ms;            /* 0: not armed */
	u64 finish_at_ms;           /* LINGER, FINISH: then it closes whatever is still to come */
	u64 silence_at_ms;          /* HEAD: when first.c looks again whether the client has spoken; 0: not */
	u64 memory_at_ms;           /* when is looked again whether its pod may have more memory; 0: it may */
	u64 delayed_until_ms;       /* HEAD: a fault delays the request that has come; 0: none */
	u32 silence_ms;
	int fd;
	u8 state;                   /* enum connection_state */
	bool is_registered;         /* in the proxy's registry */
	bool is_readable;
	bool is_writable;
	bool is_ended;              /* the client sent a FIN or RST, and what came before it was read */
	bool has_hang_up;           /* the poller said so */
	bool may_be_reset;          /* the poller told of an event that is a reset's too */
	bool is_first;              /* nothing was served yet: the bytes may be no HTTP at all */
	bool was_looked_up;         /* the listener, for what it decides before a byte is read */
	bool looks_at_names;        /* it tells TLS apart by server names */
	bool is_read_short;         /* the last read got all that was announced since */
	bool is_ready;              /* in the thread's list of those that did not finish their turn */
	bool is_driven;             /* connection_drive is below us */
	bool is_ordered;            /* the kernel may carry exchanges: command it */
	bool may_kernel_run;        /* a kernel exchange may be open, or its bytes on the way */
	bool is_kernel_listener;    /* ... and may carry the next request */
	bool is_held;               /* the response waits for the kernel */
	u8 replies_queued;          /* local replies that were made since the loop last looked at it */
	bool was_delayed;           /* the request that is looked at now */
	bool discards;              /* request bytes that still come are thrown away */
	bool is_request_whole;      /* every byte of the request was taken */
	bool shuts_upstream;        /* tunnel: the client's FIN was passed on */
	bool shuts_client;          /* tunnel: the upstream's */
	struct weft_address original;
	u16 original_port_be;
	u16 client_port_be;
	u32 drawn;                  /* of the next request: the number that a program routed it by, and the endpoint that it picked; */
	u32 picked;                 /* 0: none */
	u32 consumed;               /* modulo 2^32, see abi.h */
	u32 written;
	u64 taken;                  /* bytes of requests and tunnels */
	u32 pace_written;           /* `written` when its reader was looked at last */
	u32 pace_read;              /* what it had read when `pace_ahead` grew last */
	u32 pace_ahead;             /* bytes that may wait there; 0: no stream yet */
	u32 pace_looks;             /* ... in vain */
	u32 mail_count;             /* messages that waited for it, and did not run yet */
	u64 pace_at_ms;             /* no look before */
	u32 parsed;                 /* bytes of `in` that are known to hold no whole head */
	struct buffer in;
	struct flow request;
	struct exchange own;        /* what the proxy serves itself */
	struct relay *relay;        /* what it relays for the kernel: an earlier request than `own` */
	UT_hash_handle hh;          /* proxy->registry, by cookie */
};
/* The client's, as its servers see it: its pod's, of the family that it asked for. */
static inline const struct weft_address *client_address(const struct connection *connection)
{
	return &connection->pod->is.addresses[weft_address_family(&connection->original)];
}

int connection_new(struct thread *thread, struct pod *pod, int fd, const struct weft_connection *record, u64 cookie,
		   struct table_entry *entry, struct connection **out);
/* What the next worker must know of a connection whose worker died (keeper/table.h, is_busy). */
enum connection_busy {
	BUSY_IDLE = 0,
	BUSY_UNANSWERED = 1, /* bytes of a request were taken, or a relay begun; nothing of its response was written */
	BUSY_ANSWERED = 2,   /* or a tunnel: what went through it can't be told again */
	BUSY_READING = 3,    /* IDLE or, if bytes were taken beyond `consumed`, UNANSWERED: it died around a read, most of which give nothing */
};
void connection_set_busy(struct connection *connection, enum connection_busy busy);

void connection_drive(struct connection *connection);
/* Drives it once more when others have had their turn. */
void connection_again(struct connection *connection);
/* Reads what the connection's state has a use for; true: something happened. */
bool anchor_read(struct connection *connection);
/* Nothing is read until others of its pod have given memory back. */
void connection_wait_for_memory(struct connection *connection);
static inline void connection_took(struct connection *connection, u64 n)
{
	connection->consumed += (u32)n;
	connection->taken += n;
}
/* At once; a response in flight may be lost. */
void connection_close(struct connection *connection);
/* In order: after the client has what the kernel redirected; then a FIN, and what still comes is thrown away for a second. */
void connection_finish(struct connection *connection);
void connection_abort(struct connection *connection, enum proxy_reason reason);
void connection_timer(struct connection *connection);
/* The exchange has no more to do with the client: next request, or the end. */
void exchange_over(struct exchange *exchange);
/* Gives the upstream back or closes it, and takes the request off the counts of its endpoint. */
void exchange_release_upstream(struct exchange *exchange, bool is_reusable);
void exchange_begin(struct exchange *exchange, struct connection *connection);
void connections_bury(struct thread *thread);

/* ---- what is counted by who talks to whom (account.c) -------------------------------------------------------------------------- */

void account_begin(struct exchange *exchange);
/* Its response is ours, or its end came of this. */
void account_reason(struct exchange *exchange, enum proxy_reason reason, u16 status);
/* It is over, however: counted, once. */
void account_end(struct exchange *exchange);
/* A tunnel that is no exchange's has its endpoint; its end is account_end()'s. */
void account_tunnel(struct exchange *exchange);
void account_release(struct thread *thread);

/* ---- requests and responses -------------------------------------------------------------------------------------------------- */

/* The listener of the connection in the image of now; NULL: none, or no image (no base). */
const struct weft_listener *find_listener(struct connection *connection, struct weft_image_handle *image);
enum first {
	FIRST_HTTP,  /* it goes on as a request */
	FIRST_WAIT,
	FIRST_TAKEN, /* a tunnel, or gone */
};
/* Before the first request. */
enum first first_decide(struct connection *connection);
/* Whether the first bytes are HTTP, or take the listener's other chain. `parsed`: what the parser of requests says of them. */
enum first first_inspect(struct connection *connection, enum weft_parse parsed);
void first_timer(struct connection *connection, u64 now);
/* The server that may be the first to speak, of a silent client's connection (own.upstream in state HEAD). */
bool probe_speaks(struct connection *connection);
void probe_close(struct connection *connection);

/* Takes what can be taken of the client's bytes; true: something moved. */
bool request_advance(struct connection *connection);
/* Sends what can be sent upstream. */
bool request_write(struct connection *connection);
bool response_advance(struct exchange *exchange);
/* The upstream failed; what the client gets depends on how far the response was. */
void response_fail(struct exchange *exchange, enum proxy_reason reason);
/* Picks an endpoint of the exchange's cluster and opens an upstream; answers the client if there is none. */
void choose_upstream(struct exchange *exchange);
int choose_cluster(struct connection *connection, weft_ref choice, u32 *cluster_id);
/* One try, and nobody is told when it fails. */
int choose_once(struct exchange *exchange);
/* What balancing by load goes by. */
void count_load(struct thread *thread, u32 cluster_id, u32 endpoint_id, int by);
/* 0, or the reason why there is no endpoint. `attempt`: how many were chosen for this try and not wanted. */
int choose_endpoint(struct exchange *exchange, u32 attempt, struct weft_endpoint *endpoint, u32 *connect_timeout_ms, u16 *status, const char **body);

/* Fills in the exchange's hash and cookies, where its cluster balances by hash. `bytes`, `head` and `target` as the router saw them. */
struct weft_route;
void hash_request(struct exchange *exchange, const struct weft_route *route, const struct weft_image_handle *image,
		  const struct weft_head_bytes *bytes, const struct weft_head *head, const u8 *target, u32 target_len);
/* The hash alone, whatever the cluster. False: the policies find nothing in the request. */
bool hash_number(struct exchange *exchange, const struct weft_route *route, const struct weft_image_handle *image,
		 const struct weft_head_bytes *bytes, const struct weft_head *head, const u8 *target, u32 target_len, u64 *hash);
/* The same of a tunnel: its listener may hash the client's address. */
void exchange_hash_source(struct exchange *exchange, u32 listener_flags);

/* Appends the value with what the pattern matches replaced. 0; -ENOMEM; -E2BIG: the pattern took too many steps. */
struct strbuf;
struct weft_text;
int pattern_replace(struct thread *thread, const struct weft_text *pattern, const struct weft_text *substitution, const u8 *value, u32 len,
		    struct strbuf *out);
void patterns_free(struct thread *thread);

/* The connection's record: a command with its name filled in. 0 or -errno of the call; what it found is in the answer. */
int order_ask(struct connection *connection, struct weft_connection_command *command);
enum order { ORDER_GO, ORDER_HOLD };
/* Asks before the next write of a response. `is_last`: all that is left of it, `pending` bytes, goes now. */
enum order order_before_write(struct exchange *exchange, bool is_last, u32 pending);
/* May the connection be ended without overtaking bytes? `open_exchange`: what is open in the kernel, or 0; `is_request_open`: of its
 * request something is still to come. */
bool order_may_finish(struct connection *connection, u64 *open_exchange, bool *is_request_open);
void order_end_relay(struct relay *relay);
/* Bytes of responses that reached the client's socket by TCP and wait there to be read. -errno: nobody is there to read them. */
int order_unread(struct connection *connection, u32 *unread);

/* Asks before a write of a stream: false while the client has not read enough of what it got (pace.c). */
bool pace_allows(struct connection *connection);

/* Does the client still send the request whose response begins now? */
bool relay_is_early(struct relay *relay);
/* Gives the upstream back to the pool. */
void relay_end(struct relay *relay, bool is_reusable);

void tunnel_begin(struct connection *connection);
/* Dials one of the clusters that the listener names for these bytes. `flags`: WEFT_LISTENER_* */
void tunnel_open(struct connection *connection, weft_ref choice, u32 flags);
void tunnel_to_original(struct connection *connection);
bool tunnel_advance(struct connection *connection);

/* ---- replies of our own (local_reply.c) ----------------------------------------------------------------------------------------- */

/* Puts a whole response into the exchange. `body` NULL: none. */
void local_reply(struct exchange *exchange, enum proxy_reason reason, u16 status, const char *body);
void local_reply_headers(struct exchange *exchange, enum proxy_reason reason, u16 status, const char *body, const char *extra);
/* Without a body, and with these lines. */
void local_reply_lines(struct exchange *exchange, enum proxy_reason reason, u16 status, const struct lines *lines);
const char *status_reason_phrase(u16 status);

/* ---- header fields (headers.c) --------------------------------------------------------------------------------------------------- */

struct request_plan {
	bool is_changed;       /* the head can't go out as it came */
	bool is_upgrade;       /* Upgrade and Connection: upgrade, and not h2c */
	bool is_websocket;     /* ... for websocket alone */
	bool wants_close;
	bool wants_keep_alive;
	bool drops_length;     /* Connection names content-length */
	bool is_grpc;
	bool has_empty_scheme; /* x-forwarded-proto without a value: no route */
	const u8 *lines;       /* the fields that go on, as they are to be sent */
	u32 lines_len;
	const struct weft_head_bytes *bytes; /* what head's spans now refer to */
};
/* Decides what of the request's head goes on, as Envoy: connection headers, private ones, te, joined repeats. Changes `head` so that the
 * router sees what Envoy's would. */
void headers_plan_request(struct thread *thread, const u8 *bytes, struct weft_head *head, struct request_plan *plan);

struct response_plan {
	bool keeps_upgrade;    /* Connection and Upgrade go on, in an answer to an upgrade */
	bool keeps_keep_alive;
	bool drops_length;
	bool drops_coding;
	bool is_chunked;       /* the extra lines say so */
	bool is_http_10;       /* the client's version */
	struct lines *lines;   /* the fields, edited; NULL: as they came */
	const char *extra;     /* whole lines */
	const char *set_cookie; /* likewise */
};
/* The fields that go on, as a list. */
void headers_response_lines(struct lines *lines, const u8 *bytes, const struct weft_head *head, const struct response_plan *plan);
/* The same behind the lines that there are, as Envoy copies one head into another. */
void headers_copy_response(struct lines *lines, const u8 *bytes, const struct weft_head *head, const struct response_plan *plan);
/* Appends the response's head to `out` (reserved by this). */
int headers_put_response(struct thread *thread, struct buffer *out, const u8 *bytes, const struct weft_head *head,
			 const struct response_plan *plan);

/* ---- threads ----------------------------------------------------------------------------------------------------------------------- */

struct message {
	struct message *next;
	void (*run)(struct thread *thread, struct message *message);
	struct connection *target;   /* who it is for, if the sender named one by cookie */
	u64 cookie;
	u64 expires_ms;
	bool is_synchronous;         /* the sender waits and owns it */
	bool was_waiting;            /* for `cookie` to be accepted: counted in its mail_count */
	bool is_done;
};

struct thread {
	struct proxy *proxy;
	pthread_t handle;
	u32 index;
	bool is_started;
	bool is_stopping;
	bool is_draining;
	bool is_leaving;             /* another weftd takes over: no request is begun */
	struct event_base *base;
	struct event wake;
	struct event tick;
	struct event ready;
	int wake_fd;
	int home_netns_fd;
	u64 netns_cookie;            /* of the network namespace that the thread is in; 0: its own */
	pthread_mutex_t lock;        /* inbox */
	pthread_cond_t answered;
	struct message *inbox, **inbox_tail;
	struct listener *listeners;
	struct connection *connections;
	struct connection *dead_connections;
	struct connection *ready_first, **ready_tail;
	struct upstream *dead_upstreams;
	struct upstream *idle_first, *idle_last;
	struct group *groups;
	struct upstream *free_upstreams;
	struct connection *free_connections;
	struct relay *free_relays;
	struct shadow *shadows;      /* requests to mirrors under way */
	u32 shadow_count;
	struct block *free_small, *free_large;
	u32 free_small_count, free_large_count;
	struct splice_pipe *free_pipes;
	u32 pipe_count;
	struct share {
		u64 buffers_bytes;
		u32 pipes;
		u32 shadows;
	} shares[SHARES];            /* by pod_id % SHARES: pods that have one in common are rare, and may then have less */
	u32 share;                   /* whose what is taken now is */
	u64 random_state;
	u64 date_second;
	u32 date_len;
	char date[48];               /* "date: ...\r\n" */
	struct {
		struct published *routes, *endpoints;
	} scopes[WEFT_SCOPES_MAX];
	struct weft_head head;       /* of the message being read: used within one step */
	u8 *scratch;                 /* rewritten fields */
	u8 *target;                  /* normalised target */
	struct lines *request_lines, *response_lines;
	struct pattern *patterns;    /* compiled ones, by text */
	pthread_mutex_t traffic_lock;
	struct kind *traffic;        /* what is counted, by its kind; under the lock */
	u32 traffic_count;
	struct proxy_stats stats;
};
#define SCRATCH_BYTES ((64u << 10) + 4096u)
#define TARGET_BYTES (192u << 10)

/* Counters have one writer; readers of other threads may see a moment ago. */
#define COUNT_ADD(thread, field, n) \
	__atomic_store_n(&(thread)->stats.field, (thread)->stats.field + (u64)(n), __ATOMIC_RELAXED)
#define COUNT(thread, field) COUNT_ADD(thread, field, 1)

struct proxy {
	struct proxy_backend backend;
	struct table *table;
	struct proxy_limits limits;
	struct proxy_load *load;
	void (*client_gone)(void *arg, uint64_t client_cookie, uint64_t exchange);
	void *client_gone_arg;
	void (*endpoint_keeps)(void *arg, uint32_t endpoint_id, bool keeps);
	void *endpoint_keeps_arg;
	void (*let_go)(void *arg, struct table_entry *entry); /* see proxy_leave() */
	void *let_go_arg;
	bool is_fast_path_on;        /* atomic */
	bool decorates;              /* Envoy's own headers are added */
	u32 connection_count;        /* atomic */
	u32 next_thread;             /* for adoption */
	struct pod *pods;
	pthread_mutex_t lock;        /* registry and waiting messages */
	struct connection *registry;
	struct message *waiting;     /* for an anchor that was not accepted yet */
	u32 waiting_count;           /* atomic */
	u32 thread_count;
	struct thread threads[];
};

int thread_start(struct thread *thread, struct proxy *proxy, u32 index);
void thread_stop(struct thread *thread);
void thread_post(struct thread *thread, struct message *message);
/* Runs it there and returns when it was run. */
void thread_call(struct thread *thread, struct message *message);
u64 now_ms(void);
u32 thread_random(struct thread *thread);
/* "date: ...\r\n" of now. */
const char *thread_date(struct thread *thread, u32 *len);
/* A TCP socket inside the pod's network namespace, non-blocking. */
int thread_socket(struct thread *thread, const struct pod *pod, int family);
void thread_go_home(struct thread *thread);
struct weft_image_handle thread_routes(const struct thread *thread, u32 scope);
struct weft_image_handle thread_endpoints(const struct thread *thread, u32 scope);

int listener_add(struct thread *thread, struct pod *pod);
void listener_remove(struct thread *thread, u32 pod_id);
void anchor_adopt(struct thread *thread, struct pod *pod, struct table_entry *entry);

/* The registry of captured connections, while the fast path is on. */
void registry_add(struct connection *connection);
void registry_remove(struct connection *connection);
void registry_expire(struct proxy *proxy, struct thread *thread, u64 now);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What a route asks for beside forwarding or answering: faults, CORS, retries, mirrors. Part of the proxy's inside. */
#ifndef WEFT_PROXY_POLICIES_H
#define WEFT_PROXY_POLICIES_H

#include "proxy/outgoing.h"

#define TRIED_MAX 8 /* hosts that are remembered */

/* What was sent of a request, while it may be sent again. Everything goes out through here then. */
struct resend {
	struct thread *thread;
	u32 share;                /* of the thread: `capacity` counts there */
	u8 *bytes;
	size_t size, capacity, sent;
	bool is_kept;             /* from the first byte on; otherwise only what is not sent yet is still here */
};

/* Of an exchange. */
struct policies {
	struct published *routes; /* the image that the references are of */
	const struct weft_retry *retry;     /* NULL: nothing is retried (any more) */
	const struct weft_mirrors *mirrors; /* NULL: none, or they have been sent */
	struct resend resend;
	u32 retries_left;
	u32 try_timeout_ms;
	u64 back_off_ms;          /* the next one's longest */
	u64 resume_at_ms;         /* waits until the next try; 0: does not */
	u64 try_deadline_ms;      /* 0: none */
	u32 try_idle_timeout_ms;
	u32 idle_timeout_ms;
	u32 max_duration_ms;
	u64 try_idle_at_ms;       /* unless more of the response comes before; 0: none */
	u64 idle_at_ms;           /* unless anything moves before; 0: none */
	u64 ends_at_ms;           /* of all; 0: none */
	u32 tried_count;
	struct {
		struct weft_address address;
		u16 port_be;
	} tried[TRIED_MAX];
	u32 attempts;             /* since all priorities were there to choose from */
	u64 attempted_priorities; /* of them: bits */
	u64 left_priorities;      /* those that a try does not go to */
	enum { AUTO_HOST_NONE = 0, AUTO_HOST, AUTO_HOST_APPENDS } auto_host; /* the endpoint's name becomes the Host; the former one goes to x-forwarded-host */
	bool has_auto_host;       /* this try has it */
	u8 *plain_head;           /* the head before that, for mirrors; NULL: it stays what it is */
	size_t plain_head_len;
	char *origin;             /* CORS: of a request that came with one that is allowed; NULL: no lines */
	char *expose_headers;     /* "": none */
	bool allows_credentials;
};
void policies_free(struct policies **policies);

struct policy_request {
	const struct weft_route_query *query;
	const struct weft_head_bytes *bytes;
	const struct weft_head *head;
	const struct weft_route_result *result;
	u32 listener_flags;
	bool was_delayed;         /* it was, and is not again */
};

struct policy_answer {
	enum {
		POLICY_GO = 0,
		POLICY_DELAY,     /* by delay_ms, and then this is asked again */
		POLICY_ABORT,     /* with `status`; the exchange knows the one for gRPC */
		POLICY_PREFLIGHT, /* with the thread's response_lines */
	} kind;
	u32 delay_ms;
	u16 status;
};

/* The exchange's, made where there are none yet. NULL: out of memory. */
struct policies *policies_of(struct exchange *exchange);

/* Before anything of the request goes on. 0; -ENOMEM; -ENOSPC: it is too large. */
int policies_begin(struct outgoing *outgoing, const struct policy_request *request, struct policy_answer *answer);

/* The request's head is to be written anew. */
bool policies_need_lines(const struct exchange *exchange);

bool policies_have_lines(const struct exchange *exchange);
/* What CORS sets in every response. */
void policies_put_lines(const struct exchange *exchange, struct lines *lines);

/* ---- retries (retry.c) ------------------------------------------------------------------------------------------------------------ */

/* When the request's head has been made. */
void retry_begin(struct exchange *exchange);
void retry_request_is_whole(struct exchange *exchange);
/* True: the upstream failed, and the request will be tried again. */
bool retry_failed(struct exchange *exchange, enum proxy_reason reason);
/* True: this response is not the one, and the request will be tried again. */
bool retry_answered(struct exchange *exchange, const u8 *bytes, const struct weft_head *head);
void retry_timer(struct exchange *exchange, u64 now);
/* When it wants to be called; 0: not. */
u64 retry_at(const struct exchange *exchange);
/* Further picks that may find a host that was not tried yet. */
u32 retry_other_hosts(const struct exchange *exchange);
bool retry_was_tried(const struct exchange *exchange, const struct weft_endpoint *endpoint);
void retry_remember(struct exchange *exchange, const struct weft_endpoint *endpoint);
/* More of the response came. */
void retry_heard(struct exchange *exchange);

/* ---- how long it may take (time_limits.c) ------------------------------------------------------------------------------------------ */

/* Tells a server that speaks gRPC how long all may take. */
void time_limits_tell(const struct exchange *exchange, struct lines *lines);
/* Something moved on the connection. */
void time_limits_moved(struct connection *connection);
void time_limits_timer(struct connection *connection, u64 now);
/* When it wants to be called; 0: not. */
u64 time_limits_at(const struct connection *connection);

/* ---- hosts that are the endpoints' names (auto_host.c) -------------------------------------------------------------------------------- */

/* Notes whether the route asks for it. 0 or -ENOMEM. */
int auto_host_plan(const struct outgoing *outgoing, const struct weft_route_result *result);
/* Before the first byte of a try goes out on the exchange's upstream. 0 or -ENOMEM. */
int auto_host_begin(struct exchange *exchange);

/* ---- priorities (priorities.c) ---------------------------------------------------------------------------------------------------- */

/* True: this try leaves priorities that were tried, and `endpoint` is of another one. */
bool priorities_pick(struct exchange *exchange, const struct weft_balance_query *query, const struct weft_cluster *cluster, struct weft_endpoint *endpoint);
void priorities_remember(struct exchange *exchange, const struct weft_endpoint *endpoint);

/* ---- what may be sent again (resend.c) --------------------------------------------------------------------------------------------- */

static inline bool resend_is_on(const struct exchange *exchange)
{
	return exchange->policies && (exchange->policies->resend.is_kept || exchange->policies->resend.sent < exchange->policies->resend.size);
}
static inline bool resend_pending(const struct exchange *exchange)
{
	return exchange->policies && exchange->policies->resend.sent < exchange->policies->resend.size;
}
void resend_begin(struct exchange *exchange);
/* Takes what the request's flow has in hand. 0 or -ENOMEM. */
int resend_take(struct exchange *exchange);
/* Bytes sent, or -errno. `taken`: as of flow_write(). */
ssize_t resend_write(struct exchange *exchange, int to, u32 *taken);
/* All of it once more, as try `attempt`. 0, or -ENOMEM or -ENOSPC: then all is as before. */
int resend_again(struct exchange *exchange, u32 attempt);
/* Other bytes in place of the first `len`. 0 or -ENOMEM. */
int resend_replace(struct resend *resend, size_t len, const void *bytes, size_t size);
void resend_release(struct resend *resend);

/* ---- mirrors (mirror.c) ------------------------------------------------------------------------------------------------------------- */

/* The request is whole: sends it to its mirrors, once. */
void mirrors_send(struct exchange *exchange);
void shadows_free(struct thread *thread);

#endif

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The part of a route image that only the proxy looks at: what routes ask for beside choosing a cluster or answering. A part of image.h, which
 * includes it. */
#ifndef WEFT_IMAGE_POLICIES_H
#define WEFT_IMAGE_POLICIES_H

/* Beside choosing a cluster or answering: each a reference, 0 for none. */
struct weft_policies {
	weft_ref fault;          /* struct weft_fault */
	weft_ref cors;           /* struct weft_cors */
	weft_ref retry;          /* struct weft_retry */
	weft_ref mirrors;        /* struct weft_mirrors */
	u32 idle_timeout_ms;     /* nothing moved, in either direction; 0: none */
	u32 max_duration_ms;     /* of all from the request's head on; 0: none */
};

#define WEFT_FAULT_HAS_GRPC_STATUS 0x01u /* of an abort, for who speaks gRPC */
#define WEFT_FAULT_DELAY_BY_HEADER 0x02u /* the request says how long, and may lower `delayed` */
#define WEFT_FAULT_ABORT_BY_HEADER 0x04u /* ... with what, and may lower `aborted` */

/* For requests that all conditions hold for: first a delay, then an abort, each for a part of them. */
struct weft_fault {
	u32 delay_ms;            /* 0: none */
	u16 abort_status;        /* 0: none */
	u16 flags;
	u32 grpc_status;
	struct weft_fraction delayed;
	struct weft_fraction aborted;
	weft_ref conditions;     /* struct weft_condition[condition_count], contiguous */
	u32 condition_count;
	u32 cluster_id;          /* only requests that are routed to it; 0: all */
};

#define WEFT_CORS_CREDENTIALS 0x01u
#define WEFT_CORS_PRIVATE_NETWORK 0x02u
#define WEFT_CORS_FORWARDS 0x04u /* preflights of origins that are not allowed */

/* Texts are struct weft_text, 0 for none. */
struct weft_cors {
	u32 flags;
	u32 origin_count;
	weft_ref origins;        /* struct weft_condition[origin_count] on the header `origin`, contiguous: one that holds is enough */
	struct weft_fraction enabled;
	weft_ref allow_methods;  /* `*`: what the preflight asks for */
	weft_ref allow_headers;  /* likewise */
	weft_ref expose_headers;
	weft_ref max_age;
};

#define WEFT_RETRY_5XX 0x0001u
#define WEFT_RETRY_GATEWAY_ERROR 0x0002u
#define WEFT_RETRY_RESET 0x0004u
#define WEFT_RETRY_RESET_BEFORE_REQUEST 0x0008u
#define WEFT_RETRY_CONNECT_FAILURE 0x0010u
#define WEFT_RETRY_RATELIMITED 0x0020u
#define WEFT_RETRY_4XX 0x0040u /* 409 */
#define WEFT_RETRY_STATUS_CODES 0x0100u
#define WEFT_RETRY_HEADERS 0x0200u
#define WEFT_RETRY_GRPC_CANCELLED 0x0800u
#define WEFT_RETRY_GRPC_DEADLINE_EXCEEDED 0x1000u
#define WEFT_RETRY_GRPC_INTERNAL 0x2000u
#define WEFT_RETRY_GRPC_RESOURCE_EXHAUSTED 0x4000u
#define WEFT_RETRY_GRPC_UNAVAILABLE 0x8000u

struct weft_retry {
	u32 on;                  /* WEFT_RETRY_* */
	u32 count;               /* tries beyond the first */
	u32 try_timeout_ms;      /* 0: none */
	u32 try_idle_timeout_ms; /* between pieces of the response; 0: none */
	u32 back_off_base_ms;
	u32 back_off_max_ms;
	u32 other_hosts;         /* further picks for one that was not tried yet; 0: any will do */
	u32 priorities_after;    /* tries, after each so many of which the priorities that were tried are left; 0: they are not */
	weft_ref codes;          /* u32[code_count], contiguous */
	u32 code_count;
	weft_ref headers;        /* struct weft_condition[header_count] on the response, contiguous: one that holds is enough */
	u32 header_count;
	weft_ref request_headers; /* likewise on the request: where there are any, nothing is retried unless one holds */
	u32 request_header_count;
};

#define WEFT_MIRROR_KEEPS_HOST 0x01u /* without -shadow */

struct weft_mirrors {
	u32 count;
	struct {
		u32 cluster_id;
		u32 flags;
		struct weft_fraction fraction; /* of requests */
		weft_ref cluster_header;       /* struct weft_text: the header that names the cluster; 0: cluster_id is it */
		weft_ref host;                 /* struct weft_text: the new Host; 0: see flags */
	} items[];
};

#endif

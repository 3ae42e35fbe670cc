/* SPDX-License-Identifier: Apache-2.0 */
/* What a route asks for beside forwarding or answering: faults, CORS. Part of the proxy's inside. */
#ifndef WEFT_PROXY_POLICIES_H
#define WEFT_PROXY_POLICIES_H

#include "proxy/outgoing.h"

/* Of an exchange. */
struct policies {
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

/* Before anything of the request goes on. 0; -ENOMEM; -ENOSPC: it is too large. */
int policies_begin(struct outgoing *outgoing, const struct policy_request *request, struct policy_answer *answer);

bool policies_have_lines(const struct exchange *exchange);
/* What CORS sets in every response. */
void policies_put_lines(const struct exchange *exchange, struct lines *lines);

#endif

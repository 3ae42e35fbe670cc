/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a request's head on its way out. Part of the proxy's inside. */
#ifndef WEFT_PROXY_OUTGOING_H
#define WEFT_PROXY_OUTGOING_H

#include "base/strbuf.h"
#include "proxy/edit.h"
#include "weft/router.h"

struct outgoing {
	struct thread *thread;
	struct exchange *exchange;
	struct weft_image_handle image;   /* of the route */
	const struct request_plan *plan;
	const struct weft_head *head;
	const struct weft_virtual_host *virtual_host;
	struct text_span method, target, authority;
	u32 path_len;
	bool is_https;                    /* the URL's scheme */
	bool decorates;
	bool is_changed;                  /* the target is another than the client's */
	bool is_listed;                   /* its lines are wanted as a list, whatever the route changes */
	u64 start_ms;
	struct lines *lines;              /* NULL: the plan's lines go on as they are */
	struct strbuf new_host, new_target;
};

/* Method and target are the caller's to fill in. To be ended in any case. */
void outgoing_begin(struct outgoing *outgoing, struct exchange *exchange, const struct weft_image_handle *image, const struct request_plan *plan,
		    const struct weft_head *head);
void outgoing_end(struct outgoing *outgoing);

/* The request's lines but its Host, as Envoy's header map has them. */
void outgoing_lines(const struct outgoing *outgoing, struct lines *lines);

/* The values of a header of the request as it came, `:path` and its like among them: how many lines, and the first one's. `lines`: of outgoing_lines(). */
u32 outgoing_values(const struct outgoing *outgoing, const struct lines *lines, const struct weft_text *name, struct text_span *first);
/* The id of the cluster of that name; 0: there is none. */
u32 cluster_named(const struct connection *connection, struct text_span name);
/* A whole decimal number, as absl::SimpleAtoi() reads one without a sign. */
bool span_number(struct text_span text, u64 *number);

/* Where the request says which cluster it goes to, or which of several: that one in place of the result's (pick.c). */
void pick_cluster(struct outgoing *outgoing, struct weft_route_result *result);

/* Makes of the request what its route says, and remembers what its response needs. 0; -ENOSPC: it is too large; -ENOMEM; -E2BIG: a pattern
 * took too long. */
int outgoing_edit(struct outgoing *outgoing, const struct weft_route_result *result);

/* The same for a request that is answered by its route: the location that the answer has, if any. */
int incoming_answer(struct outgoing *outgoing, const struct weft_route_result *result, struct strbuf *location);
void local_reply_route(struct exchange *exchange, const struct outgoing *outgoing, const struct weft_route_result *result, const char *location);

/* Which weighted cluster's changes count; NULL: the route's. */
const struct weft_weight *route_weight(const struct weft_image_handle *image, const struct weft_route_result *result);
/* The edits of a response that goes back by this route. */
weft_ref route_response_edits(const struct weft_image_handle *image, const struct weft_route_result *result);

/* For the edits of the response. 0 or -ENOMEM. */
int outgoing_remember(const struct outgoing *outgoing, weft_ref response_edits, const struct lines *lines);
void edited_context(const struct exchange *exchange, const struct lines *response, struct edit_context *context);

/* Envoy, updateAuthority: a host that an x-forwarded-host names last is not appended to it. Blanks count, commas at its end don't. */
bool outgoing_is_listed_last(struct text_span list, struct text_span host);
u64 outgoing_clock_ms(void); /* the clock of start_ms */

/* hash_request() of its lines, with what Envoy adds to them. 0 or -ENOMEM. */
int hash_changed(struct exchange *exchange, const struct weft_route *route, const struct outgoing *outgoing);
/* Does the route hash a header that Envoy may have added? */
bool hash_needs_lines(const struct exchange *exchange, const struct weft_route *route, const struct weft_image_handle *image);

/* NULL: the route changes nothing. */
const struct weft_route_extras *route_extras(const struct weft_image_handle *image, weft_ref route);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Further tries of a request, as Envoy's RetryState decides them: after a failure, after an answer, after a try's own timeout. */
#include "proxy/policies.h"

#include <strings.h>

#include "weft/router.h"

/* Where a request has to be in hand for another try: it may have been sent. */
#define AFTER_SENDING (~(u32)(WEFT_RETRY_CONNECT_FAILURE | WEFT_RETRY_RESET_BEFORE_REQUEST | GRPC))
#define GRPC \
	(WEFT_RETRY_GRPC_CANCELLED | WEFT_RETRY_GRPC_DEADLINE_EXCEEDED | WEFT_RETRY_GRPC_INTERNAL | WEFT_RETRY_GRPC_RESOURCE_EXHAUSTED | \
	 WEFT_RETRY_GRPC_UNAVAILABLE)

static bool is_open(const struct exchange *exchange)
{
	return exchange->policies && !exchange->is_relay && !exchange->has_head && !exchange->is_local &&
	       exchange->connection->state == CONNECTION_EXCHANGE;
}

void retry_begin(struct exchange *exchange)
{
	const struct policies *policies = exchange->policies;
	const struct flow *flow = &exchange->connection->request;
	u32 on = policies && policies->retry && policies->retries_left ? policies->retry->on : 0;
	/* istiod names gRPC's conditions everywhere: a body that is long, or may be, is not kept for their sake. */
	bool is_short = flow->body == FLOW_NONE || (flow->body == FLOW_LENGTH && flow->left < SPLICE_MIN);

	if (!policies)
		return;
	if (policies->mirrors || on & AFTER_SENDING || (on & GRPC && is_short))
		resend_begin(exchange);
}

static void begin_try_timeout(struct exchange *exchange)
{
	struct policies *policies = exchange->policies;

	if (!exchange->connection->is_request_whole)
		return;
	if (policies->try_timeout_ms)
		policies->try_deadline_ms = now_ms() + policies->try_timeout_ms;
	if (policies->try_idle_timeout_ms)
		policies->try_idle_at_ms = now_ms() + policies->try_idle_timeout_ms;
	if (policies->try_timeout_ms || policies->try_idle_timeout_ms)
		connection_timer(exchange->connection);
}

void retry_heard(struct exchange *exchange)
{
	struct policies *policies = exchange->policies;

	if (policies && policies->try_idle_at_ms)
		policies->try_idle_at_ms = now_ms() + policies->try_idle_timeout_ms;
}

void retry_request_is_whole(struct exchange *exchange)
{
	if (is_open(exchange))
		begin_try_timeout(exchange);
}

/* Envoy: a random part of an interval that doubles each time. */
static u64 back_off(struct exchange *exchange)
{
	struct policies *policies = exchange->policies;
	u64 wait = policies->back_off_ms ? thread_random(exchange->connection->thread) % policies->back_off_ms : 0;

	policies->back_off_ms = WEFT_MIN(policies->back_off_ms * 2, (u64)policies->retry->back_off_max_ms);
	return wait;
}

/* Without `head_len` bytes of an answer. False: no try is left, and nothing has changed. */
static bool schedule(struct exchange *exchange, bool is_sent, bool is_reusable, u32 head_len)
{
	struct policies *policies = exchange->policies;
	struct connection *connection = exchange->connection;

	if (!policies->retries_left || (is_sent && !policies->resend.is_kept))
		return false;
	if (policies->resend.is_kept && resend_again(exchange, exchange->attempts + 1u))
		return false;
	policies->retries_left--;
	COUNT(connection->thread, retries);
	if (head_len)
		buffer_consume(connection->thread, &exchange->upstream->in, head_len);
	exchange_release_upstream(exchange, is_reusable);
	exchange->is_reusable = false;
	policies->try_deadline_ms = 0;
	policies->try_idle_at_ms = 0;
	policies->resume_at_ms = now_ms() + back_off(exchange);
	connection_timer(connection);
	return true;
}

bool retry_failed(struct exchange *exchange, enum proxy_reason reason)
{
	u32 on = WEFT_RETRY_5XX | WEFT_RETRY_GATEWAY_ERROR | WEFT_RETRY_RESET;
	bool is_sent = true;

	/* What the client has been told can't be taken back. */
	if (!is_open(exchange) || !exchange->policies->retry || exchange->has_interim)
		return false;
	switch (reason) {
	case PROXY_REASON_CONNECT_FAILURE:
	case PROXY_REASON_CONNECT_TIMEOUT:
		on |= WEFT_RETRY_CONNECT_FAILURE | WEFT_RETRY_RESET_BEFORE_REQUEST;
		is_sent = false;
		break;
	case PROXY_REASON_UPSTREAM_CLOSED:
	case PROXY_REASON_UPSTREAM_PROTOCOL:
		break;
	default:
		return false;
	}
	return exchange->policies->retry->on & on && schedule(exchange, is_sent, false, 0);
}

/* ---- answers --------------------------------------------------------------------------------------------------------------------- */

static const struct weft_field *field_of(const u8 *bytes, const struct weft_head *head, const char *text)
{
	const struct name name = name_of_text(text);

	for (u32 i = 0; i < head->field_count; i++) {
		const struct weft_field *field = &head->fields[i];

		if (field->name_hash == name.hash && field->name.len == name.len && !strncasecmp((const char *)bytes + field->name.off, text, name.len))
			return field;
	}
	return NULL;
}

static bool has_code(const struct policies *policies, const struct weft_head *head)
{
	const struct weft_image_handle *image = &policies->routes->handle;
	const u32 *codes = weft_at(image, policies->retry->codes);

	for (u32 i = 0; i < policies->retry->code_count; i++)
		if (codes[i] == head->status)
			return true;
	return false;
}

static bool has_header(const struct policies *policies, const u8 *bytes, const struct weft_head *head)
{
	const struct weft_route_query query = {.image = policies->routes->handle};

	for (u32 i = 0; i < policies->retry->header_count; i++) {
		weft_ref ref = policies->retry->headers + i * (u32)sizeof(struct weft_condition);

		if (weft_conditions_hold(&query, (const struct weft_head_bytes *)bytes, head, ref, 1) == WEFT_HOLDS)
			return true;
	}
	return false;
}

static bool has_grpc_status(u32 on, const u8 *bytes, const struct weft_head *head)
{
	static const struct {
		u32 flag;
		const char *status;
	} conditions[] = {
		{WEFT_RETRY_GRPC_CANCELLED, "1"},          {WEFT_RETRY_GRPC_DEADLINE_EXCEEDED, "4"}, {WEFT_RETRY_GRPC_INTERNAL, "13"},
		{WEFT_RETRY_GRPC_RESOURCE_EXHAUSTED, "8"}, {WEFT_RETRY_GRPC_UNAVAILABLE, "14"},
	};
	const struct weft_field *field = on & GRPC ? field_of(bytes, head, "grpc-status") : NULL;

	for (size_t i = 0; field && i < WEFT_ARRAY_SIZE(conditions); i++)
		if (on & conditions[i].flag && field->value.len == strlen(conditions[i].status) &&
		    !memcmp(bytes + field->value.off, conditions[i].status, field->value.len))
			return true;
	return false;
}

static bool is_retriable(const struct policies *policies, const u8 *bytes, const struct weft_head *head)
{
	u32 on = policies->retry->on, status = head->status;

	if (field_of(bytes, head, "x-envoy-ratelimited"))
		return on & WEFT_RETRY_RATELIMITED;
	if (on & WEFT_RETRY_5XX && status >= 500 && status < 600)
		return true;
	if (on & WEFT_RETRY_GATEWAY_ERROR && status >= 502 && status <= 504)
		return true;
	if (on & WEFT_RETRY_4XX && status == 409)
		return true;
	if (on & WEFT_RETRY_STATUS_CODES && has_code(policies, head))
		return true;
	return (on & WEFT_RETRY_HEADERS && has_header(policies, bytes, head)) || has_grpc_status(on, bytes, head);
}

bool retry_answered(struct exchange *exchange, const u8 *bytes, const struct weft_head *head)
{
	struct upstream *upstream = exchange->upstream;
	bool is_whole = head->flags & WEFT_HEAD_NO_BODY || (head->flags & WEFT_HEAD_CONTENT_LENGTH && !head->content_length);
	bool is_sent = exchange->connection->is_request_whole && !exchange->is_upgrade && !resend_pending(exchange);
	bool is_reusable = is_whole && !(head->flags & (WEFT_HEAD_CLOSE | WEFT_HEAD_UNTIL_CLOSE)) && !(head->flags & WEFT_HEAD_HTTP_10) &&
			   buffer_len(&upstream->in) == head->head_len && is_sent;

	if (is_open(exchange) && exchange->policies->retry && exchange->attempts > 1 && !exchange->policies->retries_left &&
	    is_retriable(exchange->policies, bytes, head))
		exchange->account.flag = WEFT_FLAG_RETRY_LIMIT;
	if (!is_open(exchange) || !exchange->policies->retry || exchange->has_interim ||
	    !exchange->policies->retries_left || !exchange->policies->resend.is_kept || !is_retriable(exchange->policies, bytes, head))
		return false;
	return schedule(exchange, true, is_reusable, head->head_len);
}

/* ---- time ------------------------------------------------------------------------------------------------------------------------ */

/* A response is still to come, or more of it. */
static bool is_listening(const struct exchange *exchange)
{
	bool is_answered = exchange->has_head && (!exchange->upstream || flow_is_whole(&exchange->response, &exchange->upstream->in));

	return exchange->policies && !exchange->is_relay && !exchange->is_local && !exchange->is_cut && !is_answered &&
	       exchange->connection->state == CONNECTION_EXCHANGE;
}

void retry_timer(struct exchange *exchange, u64 now)
{
	struct policies *policies = exchange->policies;
	bool is_silent = is_listening(exchange) && policies->try_idle_at_ms && policies->try_idle_at_ms <= now;

	if (is_silent && exchange->has_head) {
		policies->try_idle_at_ms = 0;
		response_fail(exchange, PROXY_REASON_TIMEOUT);
		return;
	}
	if (!is_open(exchange))
		return;
	if (is_silent || (policies->try_deadline_ms && policies->try_deadline_ms <= now)) {
		policies->try_deadline_ms = 0;
		policies->try_idle_at_ms = 0;
		if (!retry_failed(exchange, PROXY_REASON_UPSTREAM_CLOSED))
			response_fail(exchange, PROXY_REASON_TIMEOUT);
		return;
	}
	if (policies->resume_at_ms && policies->resume_at_ms <= now) {
		policies->resume_at_ms = 0;
		begin_try_timeout(exchange);
		choose_upstream(exchange);
	}
}

u64 retry_at(const struct exchange *exchange)
{
	const struct policies *policies = exchange->policies;

	u64 at = is_listening(exchange) ? policies->try_idle_at_ms : 0;

	if (!is_open(exchange))
		return at;
	at = policies->resume_at_ms && (!at || policies->resume_at_ms < at) ? policies->resume_at_ms : at;
	return policies->try_deadline_ms && (!at || policies->try_deadline_ms < at) ? policies->try_deadline_ms : at;
}

/* ---- hosts ----------------------------------------------------------------------------------------------------------------------- */

u32 retry_other_hosts(const struct exchange *exchange)
{
	const struct policies *policies = exchange->policies;

	return policies && policies->retry && exchange->attempts ? policies->retry->other_hosts : 0;
}

bool retry_was_tried(const struct exchange *exchange, const struct weft_endpoint *endpoint)
{
	const struct policies *policies = exchange->policies;

	for (u32 i = 0; policies && i < policies->tried_count; i++)
		if (weft_address_equals(&policies->tried[i].address, &endpoint->address) && policies->tried[i].port_be == endpoint->port_be)
			return true;
	return false;
}

void retry_remember(struct exchange *exchange, const struct weft_endpoint *endpoint)
{
	struct policies *policies = exchange->policies;

	if (!policies || !policies->retry || policies->tried_count == TRIED_MAX)
		return;
	policies->tried[policies->tried_count].address = endpoint->address;
	policies->tried[policies->tried_count++].port_be = endpoint->port_be;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Responses: read the upstream's head, decide how the body comes and goes on, and what a failure means at which point. */
#include "proxy/outgoing.h"
#include "proxy/policies.h"

#include "weft/http1.h"

static const struct {
	u16 status;
	const char *text; /* after "reset reason: " */
} failures[PROXY_REASON_COUNT] = {
	[PROXY_REASON_CONNECT_FAILURE] = {503, "remote connection failure"},
	[PROXY_REASON_CONNECT_TIMEOUT] = {503, "connection timeout"},
	[PROXY_REASON_UPSTREAM_CLOSED] = {503, "connection termination"},
	[PROXY_REASON_UPSTREAM_PROTOCOL] = {502, "protocol error"},
};

void response_fail(struct exchange *exchange, enum proxy_reason reason)
{
	struct connection *connection = exchange->connection;
	char body[160];

	if (connection->state == CONNECTION_TUNNEL && !exchange->is_relay) {
		connection_abort(connection, reason);
		return;
	}
	if (exchange->has_head) {
		/* The client has seen that the response began: only the end of its connection can say that it is not whole. */
		COUNT(connection->thread, reasons[PROXY_REASON_CUT_IN_BODY]);
		exchange->is_cut = true;
		account_reason(exchange, reason, exchange->status);
		exchange->deadline_ms = 0;
		if (exchange->upstream) {
			exchange->upstream->is_ended = true;
			exchange->upstream->is_write_failed = true;
		}
		return;
	}
	/* A body that has come whole meanwhile leaves the connection usable. */
	if (!exchange->is_relay && connection->state == CONNECTION_EXCHANGE) {
		request_advance(connection);
		if (exchange->has_head || connection->state == CONNECTION_DEAD)
			return;
	}
	if (retry_failed(exchange, reason))
		return;
	/* Envoy hears of an upstream in a later turn of its loop: what was answered before has been written then. */
	exchange->is_of_upstream = true;
	if (!exchange->is_relay)
		connection->replies_queued = 0;
	if (reason == PROXY_REASON_TIMEOUT) {
		local_reply(exchange, reason, 504, "upstream request timeout");
		return;
	}
	weft_assert(failures[reason].status);
	snprintf(body, sizeof(body), "upstream connect error or disconnect/reset before headers. %s: %s",
		 exchange->attempts > 1 ? "retried and the latest reset reason" : "reset reason", failures[reason].text);
	local_reply(exchange, reason, failures[reason].status, body);
}

/* Envoy passes the first interim response, if it is one it knows. */
static int put_interim(struct exchange *exchange, const u8 *bytes, const struct weft_head *head)
{
	static const struct response_plan plan = {.drops_length = true, .drops_coding = true};
	struct thread *thread = exchange->connection->thread;

	if (exchange->has_interim || exchange->is_http_10 || (head->status != 100 && head->status != 102 && head->status != 103))
		return 0;
	exchange->has_interim = true;
	COUNT(thread, responses[1]);
	return headers_put_response(thread, &exchange->response.out, bytes, head, &plan);
}

/* The body's way in and out; adds to `plan` what the head must say of it. */
static void begin_body(struct exchange *exchange, const struct weft_head *head, struct response_plan *plan)
{
	struct flow *flow = &exchange->response;

	flow->body = FLOW_NONE;
	flow->is_source_done = true;
	if (head->status == 204 || head->status < 200)
		plan->drops_length = true;
	if (head->flags & WEFT_HEAD_NO_BODY) {
		/* A HEAD is told what a GET would have been. */
		if (exchange->method == WEFT_METHOD_HEAD && head->status >= 200 && head->status != 204 && head->status != 304 &&
		    !(head->flags & (WEFT_HEAD_CONTENT_LENGTH | WEFT_HEAD_CHUNKED)) && !exchange->is_http_10)
			plan->is_chunked = true;
		plan->drops_coding |= exchange->is_http_10;
		return;
	}
	if (head->flags & WEFT_HEAD_CONTENT_LENGTH) {
		flow->body = FLOW_LENGTH;
		flow->left = head->content_length;
		return;
	}
	flow->is_source_done = false;
	flow->is_chunked_out = !exchange->is_http_10;
	if (exchange->is_http_10) {
		plan->drops_coding = true;
		exchange->closes = true;
	}
	if (head->flags & WEFT_HEAD_CHUNKED) {
		flow->body = FLOW_CHUNKED;
		weft_chunked_init(&flow->chunked);
	} else {
		flow->body = FLOW_UNTIL_CLOSE;
		plan->is_chunked = flow->is_chunked_out;
	}
}

/* What Envoy's router adds to a response: edits see it. */
static void decorate_early(const struct exchange *exchange, struct lines *lines)
{
	const struct name time = name_of_text("x-envoy-upstream-service-time"), attempts = name_of_text("x-envoy-attempt-count");
	const struct edited *edited = exchange->edited;
	char text[24];

	if (!edited)
		return;
	if (exchange->connection->is_request_whole && !exchange->is_upgrade) { /* the time since its end */
		u64 now = outgoing_clock_ms();

		snprintf(text, sizeof(text), "%llu", (unsigned long long)(now > edited->start_ms ? now - edited->start_ms : 0));
		lines_set(lines, &time, (const u8 *)text, (u32)strlen(text));
	}
	if (!edited->counts_attempts)
		return;
	snprintf(text, sizeof(text), "%u", exchange->attempts);
	lines_set(lines, &attempts, (const u8 *)text, (u32)strlen(text));
}

/* What its connection manager adds at the end. */
static void decorate_late(struct thread *thread, struct lines *lines)
{
	const struct name date = name_of_text("date"), server = name_of_text("server");

	if (!lines_look(lines, &date)) {
		u32 len;
		const char *line = thread_date(thread, &len);

		lines_add(lines, &date, (const u8 *)line + sizeof("date: ") - 1, len - (u32)sizeof("date: \r\n") + 1, 0);
	}
	lines_set(lines, &server, (const u8 *)"envoy", 5);
}

/* The route's edits, and what Envoy adds for its own sake, where there is any of it. A length that is taken away leaves chunks. */
static void edit_lines(struct exchange *exchange, const u8 *bytes, const struct weft_head *head, struct response_plan *plan)
{
	struct thread *thread = exchange->connection->thread;
	const struct name length = name_of_text("content-length");
	struct lines *lines = thread->response_lines;
	struct edit_context context;

	const struct proxy_relay *relay = exchange->is_relay ? &exchange->connection->relay->is : NULL;

	if (!exchange->edited && !policies_have_lines(exchange) && !(relay && relay->has_changes) && !thread->proxy->decorates)
		return;
	plan->lines = lines;
	headers_response_lines(lines, bytes, head, plan);
	if (thread->proxy->decorates)
		decorate_early(exchange, lines);
	if (exchange->edited) {
		edited_context(exchange, lines, &context);
		context.code = exchange->status;
		edits_apply(&context, exchange->edited->response_edits, lines);
	}
	if (relay && relay->has_changes)
		lines_change(lines, &relay->changes);
	policies_put_lines(exchange, lines);
	if (thread->proxy->decorates)
		decorate_late(thread, lines);
	if (exchange->response.body != FLOW_LENGTH || lines_look(lines, &length))
		return;
	exchange->response.is_source_done = false;
	exchange->response.is_chunked_out = plan->is_chunked = !exchange->is_http_10;
	exchange->closes = exchange->closes || exchange->is_http_10;
}

/* -ENOSPC: what the route adds makes it too large. */
static int put_head(struct exchange *exchange, const u8 *bytes, const struct weft_head *head, const struct response_plan *plan)
{
	if (plan->lines && plan->lines->is_full)
		return -ENOSPC;
	return headers_put_response(exchange->connection->thread, &exchange->response.out, bytes, head, plan);
}

/* ---- answers to upgrades --------------------------------------------------------------------------------------------------- */

/* Does the answer speak of an upgrade itself (Envoy: Utility::isUpgrade)? */
static bool is_of_upgrade(const struct weft_head *head)
{
	return head->flags & WEFT_HEAD_UPGRADE && head->flags & WEFT_HEAD_CONNECTION_UPGRADE;
}

/* Envoy sends a refusal without an error's status as a reply of its own, with the upstream's status: without retries, cookies and counts of
 * attempts. */
static bool is_mild_refusal(const struct exchange *exchange, const struct weft_head *head)
{
	return exchange->is_upgrade && head->status != 101 && head->status < 400;
}

/* Envoy: a local reply has the route's lines first, then those that are copied into it, and what is said of its body last. */
static void refusal_lines(struct exchange *exchange, const u8 *bytes, const struct weft_head *head, struct response_plan *plan)
{
	const struct name length = name_of_text("content-length"), type = name_of_text("content-type"), status = name_of_text("grpc-status");
	struct thread *thread = exchange->connection->thread;
	struct lines *lines = thread->response_lines;
	struct edit_context context;
	const struct line *line;

	plan->lines = lines;
	lines_begin(lines, true);
	if (exchange->edited) {
		edited_context(exchange, lines, &context);
		edits_apply(&context, exchange->edited->response_edits, lines);
	}
	headers_copy_response(lines, bytes, head, plan);
	lines_remove(lines, &length);
	if (exchange->is_grpc) {
		lines_set(lines, &type, (const u8 *)"application/grpc", 16);
		line = lines_look(lines, &status);
		if (!line || !line->value_len) /* unknown: no status below 400 stands for another one */
			lines_set(lines, &status, (const u8 *)"2", 1);
	} else {
		lines_remove(lines, &type);
	}
	policies_put_lines(exchange, lines);
	if (thread->proxy->decorates)
		decorate_late(thread, lines);
}

/* Envoy's codec frames what it ends without a body. */
static const char *refusal_framing(const struct exchange *exchange, const struct weft_head *head, const struct response_plan *plan)
{
	static const char none[] = "content-length: 0\r\n";

	if (plan->keeps_upgrade && !(head->flags & WEFT_HEAD_CHUNKED))
		return none;
	if (exchange->status == 204 || exchange->status == 304)
		return "";
	if (exchange->method != WEFT_METHOD_HEAD)
		return none;
	return exchange->is_http_10 ? "" : "transfer-encoding: chunked\r\n";
}

/* Envoy, websocket_handshake_unsuccessful: the upstream's head goes on, but neither its body nor what says something of it. */
static int put_mild_refusal(struct exchange *exchange, const u8 *bytes, struct weft_head *head)
{
	struct response_plan plan = {
		.keeps_upgrade = is_of_upgrade(head),
		.keeps_keep_alive = true,
		.drops_length = true,
		.drops_coding = true,
		.is_http_10 = exchange->is_http_10,
	};
	char extra[80];

	exchange->status = head->status; /* what the route's edits see */
	exchange->has_head = true;
	exchange->closes = true;
	exchange->response.is_source_done = true;
	refusal_lines(exchange, bytes, head, &plan);
	if (exchange->is_grpc)
		exchange->status = head->status = 200;
	COUNT(exchange->connection->thread, responses[WEFT_MIN(head->status / 100, 5)]);
	snprintf(extra, sizeof(extra), "%s%s", refusal_framing(exchange, head, &plan), plan.keeps_upgrade ? "" : "connection: close\r\n");
	plan.extra = extra;
	return put_head(exchange, bytes, head, &plan);
}

/* Bytes as they come, whatever the head says of them, until one side ends: behind an error that has the lines of an upgrade, too. Those of
 * the client are the tunnel's, so they stay here. */
static int put_unframed(struct exchange *exchange, const u8 *bytes, const struct weft_head *head)
{
	const struct name name = name_of_text("content-length");
	struct response_plan plan = {.set_cookie = exchange->set_cookie, .keeps_upgrade = true, .is_http_10 = exchange->is_http_10};
	bool has_length;

	plan.drops_coding = exchange->is_http_10;
	exchange->is_switching = head->status == 101;
	exchange->response.is_source_done = true;
	edit_lines(exchange, bytes, head, &plan);
	if (exchange->is_switching)
		return put_head(exchange, bytes, head, &plan);
	exchange->closes = true;
	has_length = plan.lines ? lines_look(plan.lines, &name) != NULL : head->flags & WEFT_HEAD_CONTENT_LENGTH;
	if (!has_length && !(head->flags & WEFT_HEAD_CHUNKED))
		plan.extra = "content-length: 0\r\n";
	exchange->response.body = FLOW_LENGTH;
	exchange->response.left = UINT64_MAX;
	return put_head(exchange, bytes, head, &plan);
}

/* ---- final heads ------------------------------------------------------------------------------------------------------------- */

static const char *extra_lines(const struct exchange *exchange, const struct response_plan *plan)
{
	if (exchange->closes)
		return plan->is_chunked ? "transfer-encoding: chunked\r\nconnection: close\r\n" : "connection: close\r\n";
	if (exchange->is_http_10)
		return "connection: keep-alive\r\n";
	return plan->is_chunked ? "transfer-encoding: chunked\r\n" : NULL;
}

/* A connection that ends after others on it, as many servers let it after a number of them, says nothing of the next one. */
static void tell_what_it_keeps(const struct exchange *exchange, const struct weft_head *head)
{
	const struct proxy *proxy = exchange->connection->thread->proxy;
	bool is_first = exchange->is_relay ? exchange->connection->relay->is.is_first : !exchange->upstream->is_reused;

	if (proxy->endpoint_keeps && head->status != 101 && !exchange->is_upgrade && (exchange->is_reusable || is_first))
		proxy->endpoint_keeps(proxy->endpoint_keeps_arg, exchange->endpoint_id, exchange->is_reusable);
}

static int put_final(struct exchange *exchange, const u8 *bytes, const struct weft_head *head)
{
	struct connection *connection = exchange->connection;
	struct response_plan plan = {.set_cookie = exchange->set_cookie};

	exchange->status = head->status;
	exchange->has_head = true;
	retry_heard(exchange);
	connection->replies_queued = 1; /* Envoy: what came before has been written when an upstream answers */
	COUNT(connection->thread, responses[WEFT_MIN(head->status / 100, 5)]);
	if (exchange->is_upgrade && is_of_upgrade(head))
		return put_unframed(exchange, bytes, head);
	/* Envoy: a response that begins before its request has ended is the last one. */
	if (exchange->is_relay)
		exchange->closes = exchange->closes || relay_is_early(connection->relay);
	else
		exchange->closes = exchange->closes || exchange->is_upgrade || !connection->is_request_whole;
	if (connection->thread->is_draining)
		exchange->closes = true;
	/* Envoy: neither is a connection whose request has no end used again. */
	exchange->is_reusable = !(head->flags & (WEFT_HEAD_CLOSE | WEFT_HEAD_UNTIL_CLOSE)) && head->status != 101 && !exchange->is_upgrade &&
				(!(head->flags & WEFT_HEAD_HTTP_10) || head->flags & WEFT_HEAD_KEEP_ALIVE);
	tell_what_it_keeps(exchange, head);
	begin_body(exchange, head, &plan);
	plan.is_http_10 = exchange->is_http_10;
	edit_lines(exchange, bytes, head, &plan);
	plan.extra = extra_lines(exchange, &plan);
	return put_head(exchange, bytes, head, &plan);
}

/* Reads heads until the final one. True: something moved. */
static bool head_step(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;
	struct thread *thread = connection->thread;
	struct upstream *upstream = exchange->upstream;
	struct weft_head *head = &thread->head;
	u32 len = buffer_len(&upstream->in);
	const u8 *bytes;
	int verdict, r;

	if (!len) {
		if (!upstream->is_ended)
			return false;
		response_fail(exchange, PROXY_REASON_UPSTREAM_CLOSED);
		return true;
	}
	bytes = buffer_bytes(&upstream->in);
	verdict = weft_parse_response((const struct weft_head_bytes *)bytes, len, exchange->method, head);
	if (verdict == WEFT_PARSE_MORE && !upstream->is_ended)
		return false;
	if (verdict != WEFT_PARSE_DONE) {
		response_fail(exchange, PROXY_REASON_UPSTREAM_PROTOCOL);
		return true;
	}
	if (head->status >= 200 && !is_mild_refusal(exchange, head) && retry_answered(exchange, bytes, head))
		return true;
	if (head->status < 200 && head->status != 101) {
		r = put_interim(exchange, bytes, head);
	} else if (is_mild_refusal(exchange, head)) {
		r = put_mild_refusal(exchange, bytes, head);
	} else {
		r = put_final(exchange, bytes, head);
	}
	if (r) {
		connection_abort(connection, PROXY_REASON_NO_MEMORY);
		return false;
	}
	buffer_consume(thread, &upstream->in, head->head_len);
	return true;
}

static bool body_step(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;
	struct upstream *upstream = exchange->upstream;
	struct flow *flow = &exchange->response;
	u32 taken = 0;
	int r;

	if (exchange->is_cut)
		return false;
	if (flow_is_verbatim(flow)) {
		if (upstream->is_ended && buffer_len(&upstream->in) < flow->left) {
			response_fail(exchange, PROXY_REASON_UPSTREAM_CLOSED);
			return true;
		}
		return false;
	}
	if (flow->is_source_done)
		return false;
	r = flow_transform(connection->thread, flow, &upstream->in, upstream->is_ended && !upstream->is_reset, &taken);
	if (r == -EBADMSG) {
		response_fail(exchange, PROXY_REASON_UPSTREAM_PROTOCOL);
		return true;
	}
	if (r) {
		connection_abort(connection, PROXY_REASON_NO_MEMORY);
		return false;
	}
	if (!flow->is_source_done && upstream->is_ended && !buffer_len(&upstream->in)) {
		response_fail(exchange, PROXY_REASON_UPSTREAM_CLOSED);
		return true;
	}
	return taken || flow->is_source_done;
}

bool response_advance(struct exchange *exchange)
{
	if (!exchange->has_head)
		return head_step(exchange);
	return body_step(exchange);
}

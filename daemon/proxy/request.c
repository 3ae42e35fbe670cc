/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: read a head, decide what it may do, route it, and pass it on. */
#include "proxy/policies.h"

#include <strings.h>

#include "weft/fast.h"
#include "weft/http1.h"
#include "weft/path.h"
#include "weft/router.h"

static bool has_host_line(const struct buffer *in)
{
	for (u32 i = 0; i + 6 <= buffer_len(in); i++)
		if (buffer_bytes(in)[i] == '\n' && !strncasecmp((const char *)buffer_bytes(in) + i + 1, "host:", 5))
			return true;
	return false;
}

/* Statuses that the parser's verdict stands for; 0: no reply at all. */
static void refuse_head(struct connection *connection, enum weft_parse verdict, const struct weft_head *head)
{
	static const struct {
		enum proxy_reason reason;
		u16 status;
		const char *body;
	} replies[] = {
		[WEFT_PARSE_BAD] = {PROXY_REASON_BAD_REQUEST, 400, "Bad Request"},
		[WEFT_PARSE_TOO_LARGE] = {PROXY_REASON_HEAD_TOO_LARGE, 431, "Request Header Fields Too Large"},
		[WEFT_PARSE_VERSION] = {PROXY_REASON_VERSION, 426, "Upgrade Required"},
		[WEFT_PARSE_NOT_HTTP] = {PROXY_REASON_NOT_HTTP, 400, "Bad Request"},
		[WEFT_PARSE_CODING] = {PROXY_REASON_CODING, 501, "Not Implemented"},
	};
	struct exchange *exchange = &connection->own;
	const char *body;

	log_debug("request refused: verdict %d, error %d", (int)verdict, (int)head->error);
	if (verdict == WEFT_PARSE_PREFACE) {
		connection_abort(connection, PROXY_REASON_PREFACE);
		return;
	}
	body = replies[verdict].body;
	exchange_begin(exchange, connection);
	connection->state = CONNECTION_EXCHANGE;
	connection->discards = true;
	exchange->closes = true;
	exchange->is_http_10 = head->flags & WEFT_HEAD_HTTP_10 && verdict != WEFT_PARSE_VERSION;
	/* Envoy refuses a missing Host (one that Connection names is taken away), and a QUERY without a type, after its parser: with an
	 * empty reply. */
	if (verdict == WEFT_PARSE_BAD && (head->error == WEFT_ERROR_METHOD || head->error == WEFT_ERROR_CONNECTION_HOST ||
					  (head->error == WEFT_ERROR_HOST && !has_host_line(&connection->in))))
		body = NULL;
	local_reply(exchange, replies[verdict].reason, replies[verdict].status, body);
}

/* A listener that takes HTTP/1.0 reads older requests as such: they lack a Host. */
static enum weft_parse refuse_old_version(struct weft_head *head)
{
	head->flags |= WEFT_HEAD_HTTP_10;
	head->error = WEFT_ERROR_CONNECTION_HOST;
	return WEFT_PARSE_BAD;
}

/* ---- one request -------------------------------------------------------------------------------------------------------------------- */

struct request_target {
	const u8 *bytes;
	u32 len, path_len;
	bool is_changed;
};

/* The origin form of the target, normalised: an absolute one stands where the plan has it. 0 or the status that refuses it. */
static u16 target_of(struct thread *thread, const u8 *bytes, const struct weft_head *head, u32 listener_flags, struct request_target *target)
{
	target->bytes = bytes + head->path.off;
	target->len = (u32)head->target.off + head->target.len - head->path.off;
	target->path_len = head->path.len;
	target->is_changed = head->flags & WEFT_HEAD_ABSOLUTE_FORM;
	if (!target->len) {
		/* An absolute target without a path; the engine loads words. */
		memcpy(thread->target, "/\0\0\0\0\0\0\0", 9);
		target->bytes = thread->target;
		target->len = target->path_len = 1;
		return 0;
	}
	if (*target->bytes != '/')
		return 404;
	if (!weft_target_changes(head->flags, listener_flags))
		return 0;
	if (WEFT_PATH_ROOM(target->len) > TARGET_BYTES)
		return 431;
	if (weft_path_normalize(target->bytes, target->len, listener_flags, thread->target, TARGET_BYTES, &target->len, &target->path_len))
		return 400;
	target->bytes = thread->target;
	target->is_changed = true;
	return 0;
}

static bool has_length(const struct lines *lines)
{
	const struct name name = name_of_text("content-length");

	return lines_look(lines, &name);
}

/* Puts the head that goes upstream before the body. 0, -ENOSPC (431) or -ENOMEM. */
static int put_head(struct connection *connection, const struct request_plan *plan, const struct outgoing *outgoing, const char *extra)
{
	struct thread *thread = connection->thread;
	struct buffer *out = &connection->request.out;
	bool has_own_host = outgoing->lines || outgoing->head->flags & WEFT_HEAD_ABSOLUTE_FORM;
	u32 lines_len = outgoing->lines ? lines_room(outgoing->lines) : plan->lines_len;
	int r = buffer_reserve(thread, out, outgoing->method.len + outgoing->target.len + outgoing->authority.len + lines_len + 128);

	if (r)
		return r;
	buffer_put(out, outgoing->method.bytes, outgoing->method.len);
	buffer_put_text(out, " ");
	buffer_put(out, outgoing->target.bytes, outgoing->target.len);
	buffer_put_text(out, " HTTP/1.1\r\n");
	if (has_own_host) {
		buffer_put_text(out, "host: ");
		buffer_put(out, outgoing->authority.bytes, outgoing->authority.len);
		buffer_put_text(out, "\r\n");
	}
	if (outgoing->lines)
		lines_put(outgoing->lines, out, outgoing->decorates);
	else
		buffer_put(out, plan->lines, plan->lines_len);
	buffer_put(out, extra, strlen(extra));
	buffer_put_text(out, "\r\n");
	return 0;
}

/* How the body comes, and how it goes on. Returns lines that the head has to have for it. */
static const char *begin_body(struct flow *flow, const struct weft_head *head, bool drops_length)
{
	if (head->flags & WEFT_HEAD_CHUNKED) {
		flow->body = FLOW_CHUNKED;
		flow->is_chunked_out = true;
		weft_chunked_init(&flow->chunked);
		return "";
	}
	if (head->flags & WEFT_HEAD_CONTENT_LENGTH && head->content_length) {
		flow->body = FLOW_LENGTH;
		flow->left = head->content_length;
		flow->is_chunked_out = drops_length;
		return drops_length ? "transfer-encoding: chunked\r\n" : "";
	}
	return !(head->flags & WEFT_HEAD_CONTENT_LENGTH) && weft_method_has_length(head->method) ? "content-length: 0\r\n" : "";
}

/* The head is made or, if nothing in it changes, sent as it came. */
static int begin_request(struct connection *connection, const struct weft_head *head, const struct request_plan *plan,
			 const struct outgoing *outgoing)
{
	struct flow *flow = &connection->request;
	bool drops_length = plan->drops_length || (outgoing->lines && !has_length(outgoing->lines));
	const char *extra = "";
	bool is_changed;
	int r;

	flow_begin(flow);
	/* Envoy: what follows the head of an upgrade is the tunnel's, also where the head counts it, and waits for the 101. */
	if (!plan->is_upgrade)
		extra = begin_body(flow, head, drops_length);
	is_changed = plan->is_changed || outgoing->is_changed || *extra;
	if (!is_changed && (flow->body == FLOW_NONE || flow_is_verbatim(flow)) && flow->left < UINT64_MAX - head->head_len) {
		/* Head and body are one run of bytes. */
		flow->body = FLOW_LENGTH;
		flow->left += head->head_len;
		return 0;
	}
	r = put_head(connection, plan, outgoing, extra);
	if (r)
		return r;
	connection_took(connection, head->head_len);
	buffer_consume(connection->thread, &connection->in, head->head_len);
	return 0;
}

static bool has_body(const struct weft_head *head)
{
	return head->flags & WEFT_HEAD_CHUNKED || (head->flags & WEFT_HEAD_CONTENT_LENGTH && head->content_length);
}

/* Answers without an upstream. A body that comes, or came along, is thrown away with the connection, as Envoy does. */
static void answer(struct connection *connection, const struct weft_head *head, const struct request_plan *plan)
{
	u32 len = head->head_len;
	bool is_upgrade = plan && plan->is_upgrade;

	connection->is_request_whole = !has_body(head) && !is_upgrade;
	/* What came while the request was delayed was taken. */
	if (connection->was_delayed && !is_upgrade && head->flags & WEFT_HEAD_CONTENT_LENGTH && buffer_len(&connection->in) - len >= head->content_length) {
		len += (u32)head->content_length;
		connection->is_request_whole = true;
	}
	if (!connection->is_request_whole) {
		connection->discards = true;
		connection->own.closes = true;
	}
	connection_took(connection, len);
	buffer_consume(connection->thread, &connection->in, len);
}

static void reply(struct connection *connection, const struct weft_head *head, const struct request_plan *plan, enum proxy_reason reason,
		  u16 status, const char *body)
{
	answer(connection, head, plan);
	local_reply(&connection->own, reason, status, body);
}

static void reply_and_close(struct connection *connection, const struct weft_head *head, enum proxy_reason reason, u16 status, const char *body)
{
	connection->own.closes = true;
	reply(connection, head, NULL, reason, status, body);
}

/* The request was taken to its end: the route's time runs from here (Envoy: route timeout). */
static void request_is_whole(struct connection *connection)
{
	struct exchange *exchange = &connection->own;

	connection->is_request_whole = true;
	if (connection->is_read_short)
		connection->is_readable = false;
	if (exchange->timeout_ms && !exchange->is_local) {
		exchange->deadline_ms = now_ms() + exchange->timeout_ms;
		connection_timer(connection);
	}
	retry_request_is_whole(exchange);
}

static void refuse_outgoing(struct connection *connection, const struct weft_head *head, int r)
{
	if (r == -ENOSPC)
		reply_and_close(connection, head, PROXY_REASON_HEAD_TOO_LARGE, 431, "Request Header Fields Too Large");
	else if (r == -E2BIG)
		reply_and_close(connection, head, PROXY_REASON_PATTERN, 500, NULL);
	else
		connection_abort(connection, PROXY_REASON_NO_MEMORY);
}

static void send_on(struct connection *connection, const struct weft_head *head, const struct request_plan *plan, struct outgoing *outgoing,
		    const struct weft_route_result *result)
{
	const struct weft_route *route = weft_at(&outgoing->image, result->route);
	struct exchange *exchange = &connection->own;
	int r;

	exchange->cluster_id = result->cluster_id;
	exchange->picked = connection->picked;
	exchange->timeout_ms = result->timeout_ms;
	exchange->missing_status = route && route->missing_status ? (u16)route->missing_status : 503;
	exchange->is_upgrade = plan->is_upgrade;
	exchange->content_length = head->flags & WEFT_HEAD_CONTENT_LENGTH ? head->content_length : 0;
	r = auto_host_plan(outgoing, result);
	outgoing->is_listed = policies_need_lines(exchange) || hash_needs_lines(exchange, route, &outgoing->image);
	if (!r)
		r = outgoing_edit(outgoing, result);
	if (!r) {
		outgoing->is_changed |= outgoing->lines != NULL;
		/* Envoy hashes the request as it goes upstream: before its bytes are given back. */
		if (outgoing->lines)
			r = hash_changed(exchange, route, outgoing);
		else
			hash_request(exchange, route, &outgoing->image, outgoing->plan->bytes, head, outgoing->target.bytes, outgoing->target.len);
	}
	if (!r)
		r = begin_request(connection, head, plan, outgoing);
	if (r) {
		refuse_outgoing(connection, head, r);
		return;
	}
	retry_begin(exchange);
	if (!has_body(head) || plan->is_upgrade)
		request_is_whole(connection);
	choose_upstream(exchange);
	if (connection->is_request_whole && connection->state == CONNECTION_EXCHANGE)
		mirrors_send(exchange);
}

/* Direct responses and redirects: what they say of the request is made before its bytes go. */
static void answer_route(struct connection *connection, const struct weft_head *head, const struct request_plan *plan, struct outgoing *outgoing,
			 const struct weft_route_result *result)
{
	struct strbuf location = STRBUF_INIT;
	int r = incoming_answer(outgoing, result, &location);

	if (r)
		refuse_outgoing(connection, head, r);
	if (!r) {
		answer(connection, head, plan);
		local_reply_route(&connection->own, outgoing, result, strbuf_text(&location));
	}
	strbuf_release(&location);
}

/* A program may have drawn for this request already. */
static void route_by_chance(struct connection *connection, const struct weft_head *head, const struct request_plan *plan,
			    struct weft_route_query *query, struct weft_route_result *result)
{
	const struct weft_virtual_host *host = result->virtual_host ? weft_at(&query->image, result->virtual_host) : NULL;

	if (!connection->drawn || !host || !(host->flags & WEFT_VIRTUAL_HOST_BY_CHANCE))
		return;
	query->random = connection->drawn;
	(void)weft_route(query, plan->bytes, head, result);
}

/* A fault delays the request, with its head and all that still comes in the buffer: then it is looked at once more, with the same luck. */
static void delay_request(struct connection *connection, u32 delay_ms, u32 random)
{
	connection->state = CONNECTION_HEAD;
	connection->delayed_until_ms = now_ms() + delay_ms;
	connection->drawn = random ? random : 1;
	connection->picked = connection->own.picked;
	policies_free(&connection->own.policies);
	edited_free(&connection->own.edited);
	connection_timer(connection);
}

/* True: the request has its answer, or waits for it. */
static bool apply_policies(struct connection *connection, const struct weft_head *head, const struct weft_listener *listener,
			   struct outgoing *outgoing, const struct weft_route_query *query, const struct weft_route_result *result)
{
	struct policy_request request = {
		.query = query,
		.bytes = outgoing->plan->bytes,
		.head = head,
		.result = result,
		.listener_flags = listener->flags,
		.was_delayed = connection->was_delayed,
	};
	struct policy_answer verdict = {0};
	int r = policies_begin(outgoing, &request, &verdict);

	if (r) {
		refuse_outgoing(connection, head, r);
		return true;
	}
	switch (verdict.kind) {
	case POLICY_GO:
		return false;
	case POLICY_DELAY:
		delay_request(connection, verdict.delay_ms, query->random);
		return true;
	case POLICY_ABORT:
		reply(connection, head, outgoing->plan, PROXY_REASON_FAULT, verdict.status, "fault filter abort");
		return true;
	case POLICY_PREFLIGHT:
		answer(connection, head, outgoing->plan);
		local_reply_lines(&connection->own, PROXY_REASON_PREFLIGHT, 200, connection->thread->response_lines);
		return true;
	}
	return false;
}

/* The route's word goes before its listener's. */
static bool may_upgrade(const struct weft_image_handle *image, const struct weft_route_result *result, const struct weft_listener *listener)
{
	const struct weft_route *route = weft_at(image, result->route);
	u32 own = route ? route->flags & (WEFT_ROUTE_WEBSOCKET | WEFT_ROUTE_NO_WEBSOCKET) : 0;

	return own ? own & WEFT_ROUTE_WEBSOCKET : listener->flags & WEFT_LISTENER_WEBSOCKET;
}

/* Envoy: with what the route says of responses, where it would have forwarded the request. */
static void refuse_upgrade(struct connection *connection, const struct weft_head *head, struct outgoing *outgoing, const struct weft_route_result *result)
{
	weft_ref edits = result->kind == WEFT_ROUTE_CLUSTER ? route_response_edits(&outgoing->image, result) : 0;
	int r = 0;

	if (edits) {
		outgoing_lines(outgoing, connection->thread->request_lines);
		r = outgoing_remember(outgoing, edits, connection->thread->request_lines);
	}
	if (r)
		refuse_outgoing(connection, head, r);
	else
		reply_and_close(connection, head, PROXY_REASON_UPGRADE, 403, NULL);
}

/* What the request's target leads to. */
static void take_route(struct connection *connection, const struct weft_head *head, const struct weft_listener *listener,
		       const struct request_plan *plan, struct outgoing *outgoing)
{
	struct weft_route_query query = {
		.image = outgoing->image,
		.route_table = listener->route_table,
		.random = thread_random(connection->thread),
		.target = outgoing->target.bytes,
		.target_len = outgoing->target.len,
		.path_len = outgoing->path_len,
	};
	struct weft_route_result result = {0};
	bool is_taken;

	(void)weft_route(&query, plan->bytes, head, &result);
	route_by_chance(connection, head, plan, &query, &result);
	is_taken = result.kind == WEFT_ROUTE_CLUSTER || result.kind == WEFT_ROUTE_DIRECT || result.kind == WEFT_ROUTE_REDIRECT;
	if (result.kind == WEFT_ROUTE_CLUSTER)
		pick_cluster(outgoing, &result);
	if (is_taken && plan->is_upgrade && !(plan->is_websocket && may_upgrade(&query.image, &result, listener))) {
		refuse_upgrade(connection, head, outgoing, &result);
		return;
	}
	if (is_taken && apply_policies(connection, head, listener, outgoing, &query, &result))
		return;
	switch (result.kind) {
	case WEFT_ROUTE_CLUSTER:
		send_on(connection, head, plan, outgoing, &result);
		return;
	case WEFT_ROUTE_DIRECT:
	case WEFT_ROUTE_REDIRECT:
		answer_route(connection, head, plan, outgoing, &result);
		return;
	case WEFT_ROUTE_NOT_FOUND:
		reply(connection, head, plan, PROXY_REASON_ROUTE_NOT_FOUND, 404, NULL);
		return;
	default:
		reply(connection, head, plan, PROXY_REASON_ROUTE_REFUSED, 503, NULL);
		return;
	}
}

static void route_request(struct connection *connection, const u8 *bytes, struct weft_head *head, const struct weft_listener *listener,
			  const struct weft_image_handle *image)
{
	struct thread *thread = connection->thread;
	struct exchange *exchange = &connection->own;
	struct text_span method = {bytes + head->method_span.off, head->method_span.len};
	struct request_target target = {0};
	struct outgoing outgoing;
	struct request_plan plan;
	u16 status;

	headers_plan_request(thread, bytes, head, &plan);
	exchange->wants_keep_alive = plan.wants_keep_alive;
	exchange->is_grpc = plan.is_grpc;
	exchange->closes = exchange->is_http_10 ? !plan.wants_keep_alive : plan.wants_close;
	if (thread->is_draining)
		exchange->closes = true;
	if (head->flags & WEFT_HEAD_CONNECT) {
		reply_and_close(connection, head, PROXY_REASON_UPGRADE, 403, NULL);
		return;
	}
	if (head->flags & WEFT_HEAD_ASTERISK || plan.has_empty_scheme) {
		reply(connection, head, &plan, PROXY_REASON_ROUTE_NOT_FOUND, 404, NULL);
		return;
	}
	status = target_of(thread, head->flags & WEFT_HEAD_ABSOLUTE_FORM ? plan.bytes->data : bytes, head, listener->flags, &target);
	if (status == 404) {
		reply(connection, head, &plan, PROXY_REASON_ROUTE_NOT_FOUND, 404, NULL);
		return;
	}
	if (status) {
		bool is_large = status == 431;

		reply_and_close(connection, head, is_large ? PROXY_REASON_HEAD_TOO_LARGE : PROXY_REASON_BAD_REQUEST, status,
				is_large ? "Request Header Fields Too Large" : NULL);
		return;
	}
	outgoing_begin(&outgoing, exchange, image, &plan, head);
	outgoing.method = method;
	outgoing.target = (struct text_span){target.bytes, target.len};
	outgoing.path_len = target.path_len;
	outgoing.is_changed = target.is_changed;
	take_route(connection, head, listener, &plan, &outgoing);
	outgoing_end(&outgoing);
}

static void request_begin(struct connection *connection, struct weft_head *head)
{
	const u8 *bytes = buffer_bytes(&connection->in);
	struct exchange *exchange = &connection->own;
	struct weft_image_handle image;
	const struct weft_listener *listener = find_listener(connection, &image);

	if (!connection->was_delayed)
		COUNT(connection->thread, requests);
	exchange_begin(exchange, connection);
	connection->state = CONNECTION_EXCHANGE;
	connection->is_first = false;
	connection->is_request_whole = false;
	connection->is_kernel_listener = listener && listener->flags & WEFT_LISTENER_KERNEL;
	connection->parsed = 0;
	exchange->method = head->method;
	exchange->is_http_10 = head->flags & WEFT_HEAD_HTTP_10;
	if (!image.base) {
		reply_and_close(connection, head, PROXY_REASON_NO_IMAGE, 503, NULL);
	} else if (!listener || listener->kind != WEFT_LISTENER_HTTP || listener->flags & WEFT_LISTENER_HTTP_REFUSED) {
		bool is_refused = listener && (listener->kind == WEFT_LISTENER_REFUSED || listener->flags & WEFT_LISTENER_HTTP_REFUSED);

		/* Refused, or changed under an open connection: its next one sees the new state of things. */
		reply_and_close(connection, head, is_refused ? PROXY_REASON_LISTENER_REFUSED : PROXY_REASON_NO_LISTENER, 503, NULL);
	} else if (exchange->is_http_10 && !(listener->flags & WEFT_LISTENER_ACCEPT_HTTP_10)) {
		exchange->is_http_10 = false;
		reply_and_close(connection, head, PROXY_REASON_VERSION, 426, "Upgrade Required");
	} else {
		route_request(connection, bytes, head, listener, &image);
	}
	connection->was_delayed = false;
	if (connection->delayed_until_ms)
		return;
	connection->drawn = 0;
	connection->picked = 0;
}

/* ---- steps ------------------------------------------------------------------------------------------------------------------------------ */

/* A server may answer before it has the whole body; the kernel then hands up response and rest, and the rest may be here first. Read
 * as a request it would be one that the body's author made. While the exchange is open its response, or an error, is on its way and ends
 * the connection; after it, and where the kernel has carried the response after all, this does. */
static void discard_body_rest(struct connection *connection)
{
	struct weft_connection_command question = {.commands = WEFT_COMMAND_WAIT};

	connection->discards = true;
	buffer_consume(connection->thread, &connection->in, buffer_len(&connection->in));
	if (order_ask(connection, &question) || !(question.answer & WEFT_ANSWER_EXCHANGE_OPEN))
		connection_finish(connection);
}

/* Asks once a head, before it is looked at, what the programs know of it: what they chose before they handed it up, and whether it is one. */
static bool is_body_rest(struct connection *connection)
{
	struct weft_connection_command question = {.commands = WEFT_COMMAND_TAKE_CHOICE};

	if (!connection->is_ordered || !connection->may_kernel_run || order_ask(connection, &question))
		return false;
	if (question.drawn) {
		connection->drawn = question.drawn;
		connection->picked = question.picked;
	}
	return question.answer & WEFT_ANSWER_BODY_REST;
}

static bool is_printable(const u8 *bytes, u32 len)
{
	for (u32 i = 0; i < len; i++)
		if (bytes[i] < 0x20 || bytes[i] >= 0x7f)
			return false;
	return true;
}

static bool head_advance(struct connection *connection)
{
	struct weft_head *head = &connection->thread->head;
	struct weft_image_handle image;
	const struct weft_listener *listener;
	const u8 *bytes;
	u32 len = buffer_len(&connection->in);
	int verdict;

	if (connection->relay)
		return false;
	if (connection->discards) {
		discard_body_rest(connection);
		return false;
	}
	if (connection->delayed_until_ms) {
		if (connection->delayed_until_ms > now_ms())
			return false;
		connection->delayed_until_ms = 0;
		connection->was_delayed = true;
	}
	if (connection->is_first) {
		switch (first_decide(connection)) {
		case FIRST_TAKEN: return true;
		case FIRST_WAIT: return false;
		case FIRST_HTTP: break;
		}
	}
	if (!len)
		return false;
	bytes = buffer_bytes(&connection->in);
	/* A head that drips in is not parsed again for every drop. */
	if (connection->parsed && len < HEAD_MAX && !memchr(bytes + connection->parsed, '\n', len - connection->parsed)) {
		connection->parsed = len;
		return false;
	}
	if (is_body_rest(connection)) {
		discard_body_rest(connection);
		return false;
	}
	verdict = weft_parse_request((const struct weft_head_bytes *)bytes, len, head);
	if (connection->is_first) {
		switch (first_inspect(connection, (enum weft_parse)verdict)) {
		case FIRST_TAKEN: return true;
		case FIRST_WAIT: return false;
		case FIRST_HTTP: break;
		}
	}
	/* Envoy's protection against floods: a client that has not been given two answers yet gets no third. */
	if (verdict != WEFT_PARSE_MORE && connection->replies_queued >= REPLIES_QUEUED_MAX) {
		COUNT(connection->thread, reasons[PROXY_REASON_FLOOD]);
		connection->discards = true;
		connection_finish(connection);
		return true;
	}
	if (verdict == WEFT_PARSE_DONE) {
		if (connection->is_read_short && len == head->head_len)
			connection->is_readable = false;
		request_begin(connection, head);
		return true;
	}
	if (verdict == WEFT_PARSE_MORE) {
		connection->parsed = connection->is_first ? 0 : len;
		return false;
	}
	/* Envoy judges whole lines, unless a byte can stand in none. */
	if (verdict == WEFT_PARSE_NOT_HTTP && len < HEAD_MAX && is_printable(bytes, len))
		return false;
	COUNT(connection->thread, requests);
	/* A version that is not served is refused before anything else that is wrong with the head. */
	listener = find_listener(connection, &image);
	if (head->flags & WEFT_HEAD_HTTP_10 && listener && !(listener->flags & WEFT_LISTENER_ACCEPT_HTTP_10))
		verdict = WEFT_PARSE_VERSION;
	else if (verdict == WEFT_PARSE_VERSION && listener && listener->flags & WEFT_LISTENER_ACCEPT_HTTP_10)
		verdict = refuse_old_version(head);
	refuse_head(connection, (enum weft_parse)verdict, head);
	return true;
}

static bool body_advance(struct connection *connection)
{
	struct exchange *exchange = &connection->own;
	u32 taken = 0;
	int r;

	if (connection->is_request_whole || connection->discards)
		return false;
	r = flow_transform(connection->thread, &connection->request, &connection->in, false, &taken);
	connection_took(connection, taken);
	if (r == -EBADMSG) {
		connection->discards = true;
		if (exchange->has_head) {
			exchange->is_cut = true;
			COUNT(connection->thread, reasons[PROXY_REASON_BAD_BODY]);
			exchange_release_upstream(exchange, false);
		} else {
			exchange_release_upstream(exchange, false);
			exchange->closes = true;
			local_reply(exchange, PROXY_REASON_BAD_BODY, 400, "Bad Request");
		}
		return true;
	}
	if (r) {
		connection_abort(connection, PROXY_REASON_NO_MEMORY);
		return false;
	}
	if (flow_is_whole(&connection->request, &connection->in)) {
		request_is_whole(connection);
		mirrors_send(&connection->own);
		return true;
	}
	return taken > 0;
}

bool request_advance(struct connection *connection)
{
	return connection->state == CONNECTION_HEAD ? head_advance(connection) : body_advance(connection);
}

bool request_write(struct connection *connection)
{
	struct upstream *upstream = connection->own.upstream;
	struct exchange *own = &connection->own;
	u32 taken = 0;
	ssize_t n;

	if (!upstream->is_writable || upstream->is_write_failed || !(flow_pending(&connection->request, &connection->in) || resend_pending(own)))
		return false;
	if (upstream->pace == PACE_NONE && flow_is_stream(&connection->request))
		pace_upstream(upstream);
	if (auto_host_begin(own)) {
		connection_abort(connection, PROXY_REASON_NO_MEMORY);
		return false;
	}
	if (resend_is_on(own))
		n = resend_write(own, upstream->fd, &taken);
	else
		n = flow_write(connection->thread, &connection->request, &connection->in, upstream->fd, &taken);
	connection_took(connection, taken);
	if (n >= 0) {
		upstream->is_connected = true;
		own->connect_deadline_ms = 0;
		return n > 0;
	}
	if (n == -EAGAIN || n == -EINTR) {
		upstream->is_writable = n == -EINTR;
		return n == -EINTR;
	}
	if (n == -ENOMEM) {
		connection_abort(connection, PROXY_REASON_NO_MEMORY);
		return false;
	}
	if (!upstream->is_connected && n != -EPIPE && n != -ECONNRESET) {
		response_fail(own, PROXY_REASON_CONNECT_FAILURE);
		return true;
	}
	/* A server may answer and close before it read everything: its answer is still to be read. */
	upstream->is_connected = true;
	upstream->is_write_failed = true;
	upstream->is_readable = true;
	return true;
}

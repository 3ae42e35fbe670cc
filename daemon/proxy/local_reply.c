/* SPDX-License-Identifier: Apache-2.0 */
/* Responses of the proxy's own, in Envoy's words: date and content-length, a content-type where there is a body. */
#include "proxy/policies.h"

const char *status_reason_phrase(u16 status)
{
	static const struct {
		u16 status;
		const char *phrase;
	} phrases[] = {
		{100, "Continue"}, {101, "Switching Protocols"}, {102, "Processing"}, {103, "Early Hints"}, {200, "OK"}, {201, "Created"},
		{202, "Accepted"}, {203, "Non-Authoritative Information"}, {204, "No Content"}, {205, "Reset Content"}, {206, "Partial Content"},
		{207, "Multi-Status"}, {208, "Already Reported"}, {226, "IM Used"}, {300, "Multiple Choices"}, {301, "Moved Permanently"},
		{302, "Found"}, {303, "See Other"}, {304, "Not Modified"}, {305, "Use Proxy"}, {307, "Temporary Redirect"},
		{308, "Permanent Redirect"}, {400, "Bad Request"}, {401, "Unauthorized"}, {402, "Payment Required"}, {403, "Forbidden"},
		{404, "Not Found"}, {405, "Method Not Allowed"}, {406, "Not Acceptable"}, {407, "Proxy Authentication Required"},
		{408, "Request Timeout"}, {409, "Conflict"}, {410, "Gone"}, {411, "Length Required"}, {412, "Precondition Failed"},
		{413, "Payload Too Large"}, {414, "URI Too Long"}, {415, "Unsupported Media Type"}, {416, "Range Not Satisfiable"},
		{417, "Expectation Failed"}, {421, "Misdirected Request"}, {422, "Unprocessable Entity"}, {423, "Locked"},
		{424, "Failed Dependency"}, {426, "Upgrade Required"}, {428, "Precondition Required"}, {429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {501, "Not Implemented"}, {502, "Bad Gateway"},
		{503, "Service Unavailable"}, {504, "Gateway Timeout"}, {505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < WEFT_ARRAY_SIZE(phrases); i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return "Unknown";
}

static void put_date(struct exchange *exchange, struct buffer *out)
{
	u32 len;
	const char *date = thread_date(exchange->connection->thread, &len);

	buffer_put(out, date, len);
}

static void put_server(struct exchange *exchange, struct buffer *out)
{
	if (exchange->connection->thread->proxy->decorates)
		buffer_put_text(out, "server: envoy\r\n");
}

static void put_connection(struct exchange *exchange, struct buffer *out)
{
	if (exchange->closes)
		buffer_put_text(out, "connection: close\r\n");
	else if (exchange->is_http_10)
		buffer_put_text(out, "connection: keep-alive\r\n");
}

/* Envoy's codec frames what it ends without a body: a HEAD is told of a chunked one. */
static void put_framing(struct exchange *exchange, struct buffer *out, size_t body_len)
{
	if (!body_len && exchange->method == WEFT_METHOD_HEAD) {
		buffer_put_text(out, "transfer-encoding: chunked\r\n");
		return;
	}
	buffer_put_text(out, "content-length: ");
	buffer_put_number(out, body_len);
	buffer_put_text(out, "\r\n");
}

/* The exchange has its whole response in `out` from here on. */
static bool begin(struct exchange *exchange, enum proxy_reason reason, u16 status, size_t room)
{
	struct connection *connection = exchange->connection;

	if (connection->state == CONNECTION_TUNNEL && !exchange->is_relay) {
		connection_abort(connection, reason);
		return false;
	}
	COUNT(connection->thread, reasons[reason]);
	COUNT(connection->thread, responses[WEFT_MIN(status / 100, 5)]);
	exchange_release_upstream(exchange, false);
	exchange->deadline_ms = 0;
	exchange->is_local = true;
	exchange->closes |= exchange->is_upgrade; /* a request without an end */
	account_reason(exchange, reason, status);
	exchange->has_head = true;
	if (!exchange->is_relay)
		connection->replies_queued++;
	exchange->is_reusable = false;
	exchange->status = status;
	exchange->response.body = FLOW_NONE;
	exchange->response.is_source_done = true;
	/* A request that still comes can't be told from the next one. */
	if (exchange->is_relay ? relay_is_early(connection->relay) : !connection->is_request_whole)
		exchange->closes = true;
	if (exchange->closes && !exchange->is_relay)
		connection->discards = connection->discards || !connection->is_request_whole;
	if (buffer_reserve(connection->thread, &exchange->response.out, (u32)room + 256)) {
		connection_abort(connection, PROXY_REASON_NO_MEMORY);
		return false;
	}
	return true;
}

static void put_status_line(struct exchange *exchange, struct buffer *out, u16 status)
{
	buffer_put_text(out, "HTTP/1.");
	buffer_put(out, exchange->is_http_10 ? "0 " : "1 ", 2);
	buffer_put_number(out, status);
	buffer_put_text(out, " ");
	buffer_put(out, status_reason_phrase(status), strlen(status_reason_phrase(status)));
	buffer_put_text(out, "\r\n");
}

/* ---- gRPC ------------------------------------------------------------------------------------------------------------------------ */

/* Envoy: Grpc::Utility::httpToGrpcStatus. */
static u32 grpc_status(u16 status)
{
	switch (status) {
	case 400: return 13;
	case 401: return 16;
	case 403: return 7;
	case 404: return 12;
	case 429:
	case 502:
	case 503:
	case 504: return 14;
	}
	return 2;
}

/* A client of gRPC gets a response without a body: the status stands in a header, and the body's text percent-encoded. */
static void put_grpc(const struct exchange *exchange, struct buffer *out, u16 status, const u8 *body, size_t len)
{
	static const char digits[] = "0123456789ABCDEF";

	buffer_put_text(out, "content-type: application/grpc\r\ngrpc-status: ");
	buffer_put_number(out, exchange->has_grpc_status ? exchange->grpc_status : grpc_status(status));
	buffer_put_text(out, "\r\n");
	if (!len || exchange->method == WEFT_METHOD_HEAD)
		return;
	buffer_put_text(out, "grpc-message: ");
	for (size_t i = 0; i < len; i++) {
		if (body[i] >= ' ' && body[i] < 0x7f && body[i] != '%') {
			buffer_put(out, body + i, 1);
			continue;
		}
		buffer_put_text(out, "%");
		buffer_put(out, digits + (body[i] >> 4), 1);
		buffer_put(out, digits + (body[i] & 15), 1);
	}
	buffer_put_text(out, "\r\n");
}

void local_reply(struct exchange *exchange, enum proxy_reason reason, u16 status, const char *body)
{
	local_reply_headers(exchange, reason, status, body, NULL);
}

void local_reply_lines(struct exchange *exchange, enum proxy_reason reason, u16 status, const struct lines *lines)
{
	struct buffer *out = &exchange->response.out;

	if (!begin(exchange, reason, status, lines_room(lines)))
		return;
	put_status_line(exchange, out, status);
	put_framing(exchange, out, 0);
	lines_put(lines, out, false);
	put_date(exchange, out);
	put_server(exchange, out);
	put_connection(exchange, out);
	buffer_put_text(out, "\r\n");
}

/* ---- what a route answers -------------------------------------------------------------------------------------------------------- */

/* Of the lines: what the body decides, after all edits (Envoy: Utility::encodeLocalReply). */
static void set_body_lines(struct lines *lines, size_t len)
{
	const struct name length = name_of_text("content-length"), type = name_of_text("content-type");

	lines_remove(lines, &length);
	if (!len)
		lines_remove(lines, &type);
	else if (!lines_look(lines, &type))
		lines_add(lines, &type, (const u8 *)"text/plain", 10, 0);
}

static void route_lines(const struct exchange *exchange, const char *location, size_t body_len, struct lines *lines)
{
	const struct name name = name_of_text("location"), server = name_of_text("server");
	struct edit_context context;

	lines_begin(lines, true);
	if (*location)
		lines_add(lines, &name, (const u8 *)location, (u32)strlen(location), 0);
	if (exchange->edited) {
		edited_context(exchange, lines, &context);
		edits_apply(&context, exchange->edited->response_edits, lines);
	}
	policies_put_lines(exchange, lines);
	set_body_lines(lines, body_len);
	if (exchange->connection->thread->proxy->decorates)
		lines_remove(lines, &server);
}

/* Envoy writes length and bytes of a body that a status can't have, too. */
static bool says_length(u16 status, size_t len)
{
	return len || (status != 204 && status != 304);
}

/* `extra`: whole lines, or NULL. */
static void put_answer(struct exchange *exchange, enum proxy_reason reason, u16 status, const u8 *body, size_t len, const char *location,
		       const char *extra)
{
	struct buffer *out = &exchange->response.out;
	struct lines *lines = exchange->connection->thread->response_lines;
	const struct name date = name_of_text("date");
	u16 shown = exchange->is_grpc ? 200 : status;

	exchange->status = shown;
	route_lines(exchange, location, exchange->is_grpc ? 0 : len, lines);
	if (lines->is_full) {
		edited_free(&exchange->edited);
		policies_free(&exchange->policies);
		local_reply(exchange, reason, 500, NULL);
		return;
	}
	if (!begin(exchange, reason, shown, len * 3 + lines_room(lines) + (extra ? strlen(extra) : 0)))
		return;
	put_status_line(exchange, out, shown);
	if (exchange->is_grpc) {
		put_grpc(exchange, out, status, body, len);
		len = 0;
	}
	if (says_length(shown, len))
		put_framing(exchange, out, len);
	lines_put(lines, out, false);
	if (extra)
		buffer_put(out, extra, strlen(extra));
	if (!lines_look(lines, &date))
		put_date(exchange, out);
	put_server(exchange, out);
	put_connection(exchange, out);
	buffer_put_text(out, "\r\n");
	if (len && exchange->method != WEFT_METHOD_HEAD)
		buffer_put(out, body, len);
}

/* ---- replies --------------------------------------------------------------------------------------------------------------------- */

void local_reply_headers(struct exchange *exchange, enum proxy_reason reason, u16 status, const char *body, const char *extra)
{
	struct buffer *out = &exchange->response.out;
	size_t len = body ? strlen(body) : 0;

	/* Envoy: what a route does to responses it does to those of its own filters, too. */
	if ((exchange->edited || policies_have_lines(exchange)) && reason != PROXY_REASON_BAD_BODY) {
		put_answer(exchange, reason, status, (const u8 *)body, len, "", extra);
		return;
	}
	if (!begin(exchange, reason, exchange->is_grpc ? 200 : status, len * 3))
		return;
	put_status_line(exchange, out, exchange->status);
	if (exchange->is_grpc) {
		put_grpc(exchange, out, status, (const u8 *)body, len);
		len = 0;
	}
	put_framing(exchange, out, len);
	if (len)
		buffer_put_text(out, "content-type: text/plain\r\n");
	if (extra)
		buffer_put(out, extra, strlen(extra));
	put_date(exchange, out);
	put_server(exchange, out);
	put_connection(exchange, out);
	buffer_put_text(out, "\r\n");
	if (len && exchange->method != WEFT_METHOD_HEAD)
		buffer_put(out, body, len);
}

static struct text_span forwarded_proto(const struct outgoing *outgoing)
{
	struct weft_span value;

	if (!weft_forwarded_proto(outgoing->plan->bytes, outgoing->head, &value))
		return (struct text_span){(const u8 *)"http", 4};
	return (struct text_span){outgoing->plan->bytes->data + value.off, value.len};
}

int incoming_answer(struct outgoing *outgoing, const struct weft_route_result *result, struct strbuf *location)
{
	const struct weft_image_handle *image = &outgoing->image;
	const struct weft_direct_response *direct = result->direct ? weft_at(image, result->direct) : NULL;
	const struct weft_route_extras *extras = route_extras(image, result->route);
	const struct redirect_request request = {
		.authority = outgoing->authority,
		.target = outgoing->target,
		.path_len = outgoing->path_len,
		.is_https = outgoing->is_https,
		.forwarded = forwarded_proto(outgoing),
	};
	int r = 0;

	if (result->kind == WEFT_ROUTE_REDIRECT && extras)
		r = redirect_location(outgoing->thread, image, weft_at(image, extras->redirect), &request, location);
	else if (result->kind == WEFT_ROUTE_REDIRECT)
		own_location(&request, true, location);
	else if (direct->status == 201 || direct->status / 100 == 3)
		own_location(&request, outgoing->is_https, location);
	if (r || !extras || !extras->response_edits)
		return r ? r : strbuf_status(location);
	outgoing_lines(outgoing, outgoing->thread->request_lines);
	return outgoing_remember(outgoing, extras->response_edits, outgoing->thread->request_lines);
}

void local_reply_route(struct exchange *exchange, const struct outgoing *outgoing, const struct weft_route_result *result, const char *location)
{
	const struct weft_direct_response *direct = result->direct ? weft_at(&outgoing->image, result->direct) : NULL;
	const struct weft_route_extras *extras = route_extras(&outgoing->image, result->route);
	const struct weft_redirect *redirect = result->kind == WEFT_ROUTE_REDIRECT && extras ? weft_at(&outgoing->image, extras->redirect) : NULL;

	if (result->kind == WEFT_ROUTE_REDIRECT) {
		put_answer(exchange, PROXY_REASON_REDIRECT, redirect ? redirect->status : 301, NULL, 0, location, NULL);
		return;
	}
	/* Envoy closes the connection after every 400. */
	if (direct->status == 400)
		exchange->closes = true;
	put_answer(exchange, PROXY_REASON_DIRECT_RESPONSE, direct->status, direct->body_len ? weft_at(&outgoing->image, direct->body) : NULL,
		   direct->body_len, location, NULL);
}

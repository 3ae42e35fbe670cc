/* SPDX-License-Identifier: Apache-2.0 */
/* Responses of the proxy's own, in Envoy's words: date and content-length, a content-type where there is a body. */
#include "proxy/internal.h"

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
	exchange->has_head = true;
	exchange->is_reusable = false;
	exchange->status = status;
	exchange->response.body = FLOW_NONE;
	exchange->response.is_source_done = true;
	/* A request that still comes can't be told from the next one. */
	if (!exchange->is_relay && !connection->is_request_whole)
		exchange->closes = true;
	if (exchange->closes && !exchange->is_relay)
		connection->discards = connection->discards || !connection->is_request_whole;
	if (buffer_reserve(connection->thread, &exchange->response.out, (u32)room + 256)) {
		connection_abort(connection, PROXY_REASON_NO_MEMORY);
		return false;
	}
	return true;
}

void local_reply_headers(struct exchange *exchange, enum proxy_reason reason, u16 status, const char *body, const char *extra)
{
	struct buffer *out = &exchange->response.out;
	size_t len = body ? strlen(body) : 0;

	if (!begin(exchange, reason, status, len))
		return;
	buffer_put_text(out, "HTTP/1.");
	buffer_put(out, exchange->is_http_10 ? "0 " : "1 ", 2);
	buffer_put_number(out, status);
	buffer_put_text(out, " ");
	buffer_put(out, status_reason_phrase(status), strlen(status_reason_phrase(status)));
	buffer_put_text(out, "\r\n");
	put_framing(exchange, out, len);
	if (len)
		buffer_put_text(out, "content-type: text/plain\r\n");
	if (extra)
		buffer_put(out, extra, strlen(extra));
	put_date(exchange, out);
	put_connection(exchange, out);
	buffer_put_text(out, "\r\n");
	if (len && exchange->method != WEFT_METHOD_HEAD)
		buffer_put(out, body, len);
}

void local_reply(struct exchange *exchange, enum proxy_reason reason, u16 status, const char *body)
{
	local_reply_headers(exchange, reason, status, body, NULL);
}

void local_reply_direct(struct exchange *exchange, const struct weft_direct_response *direct, const struct weft_image_handle *image)
{
	static const char none[] = "content-length: 0\r\n";
	struct buffer *out = &exchange->response.out;
	bool is_head = exchange->method == WEFT_METHOD_HEAD, has_body = direct->body_len && !is_head;
	const u8 *head = weft_at(image, direct->head), *length = NULL;
	u32 head_len = direct->head_len, begin_at, before;

	if (!begin(exchange, PROXY_REASON_DIRECT_RESPONSE, direct->status, (size_t)direct->head_len + direct->body_len))
		return;
	begin_at = buffer_len(out);
	if (is_head && !direct->body_len)
		length = memmem(head, head_len, none, sizeof(none) - 1);
	if (length) {
		before = (u32)(length - head);
		buffer_put(out, head, before);
		put_framing(exchange, out, 0);
		before += sizeof(none) - 1;
		head += before;
		head_len -= before;
	}
	buffer_put(out, head, head_len);
	if (exchange->is_http_10)
		buffer_bytes(out)[begin_at + strlen("HTTP/1.")] = '0';
	put_date(exchange, out);
	put_connection(exchange, out);
	buffer_put_text(out, "\r\n");
	if (has_body)
		buffer_put(out, weft_at(image, direct->body), direct->body_len);
}

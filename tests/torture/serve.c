// SPDX-License-Identifier: Apache-2.0
/* One exchange at the server: the request is checked byte by byte, the answer made as its X-T says. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pads.h"
#include "server.h"

void server_report(struct served *served, _Atomic uint64_t *counter, const char *what, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	atomic_fetch_add(counter, 1);
	fprintf(stderr, "torture-server %s: %s conn=%llu req=%llu: %s [%s]\n", served->server->name, what,
		(unsigned long long)atomic_load(&served->conn), (unsigned long long)atomic_load(&served->req), text, served->spec_text);
}

/* /PREFIX/RUN.CONN.REQ[?q=...] */
static bool parse_target(struct text target, struct spec *spec, struct text *query)
{
	const char *question = memchr(target.at, '?', target.len);
	size_t len = question ? (size_t)(question - target.at) : target.len;
	const char *id = memrchr(target.at, '/', len);
	unsigned long long run, conn, req;
	char copy[80];
	int used = 0;

	*query = (struct text){question, question ? target.len - len : 0};
	if (!id || target.at + len - id >= (ptrdiff_t)sizeof(copy))
		return false;
	memcpy(copy, id, (size_t)(target.at + len - id));
	copy[target.at + len - id] = '\0';
	if (sscanf(copy, "/%llu.%llu.%llu%n", &run, &conn, &req, &used) != 3 || copy[used])
		return false;
	spec->run = run;
	spec->conn = conn;
	spec->req = req;
	return true;
}

/* NULL, or what is wrong with the request's head. */
static const char *check_head(const struct head *head, const struct spec *spec, struct text query)
{
	struct text value, declared = {};
	uint64_t length;
	bool is_chunked = head_field(head, "transfer-encoding", 0, &value);
	bool has_length = head_field(head, "content-length", 0, &declared);

	if (!text_is(head->first[2], "HTTP/1.1"))
		return "not HTTP/1.1";
	if (method_by_name(head->first[0].at, head->first[0].len) != spec->method)
		return "another method";
	if (!head_field(head, "host", 0, &value) || head_field(head, "host", 1, &value))
		return "not one Host";
	if (query.len != (spec->query_pad ? spec->query_pad + 3 : 0))
		return "another length of the query";
	if (query.len && !text_check(bytes_key(spec->run, spec->conn, spec->req, BYTES_QUERY), 0, query.at + 3, query.len - 3))
		return "other bytes in the query";
	if (!pads_check(head, bytes_key(spec->run, spec->conn, spec->req, BYTES_REQUEST_PAD), spec->request_pad))
		return "other X-P headers";
	if (is_chunked && has_length)
		return "content-length and transfer-encoding";
	if (spec->request_framing == FRAMING_NONE && (is_chunked || (has_length && !text_is(declared, "0"))))
		return "a body that should not be there";
	if (spec->request_framing != FRAMING_NONE && !is_chunked && !has_length)
		return "no framing of the body";
	if (head_field(head, "connection", 0, &value) && text_is(value, "keep-alive"))
		return "a Connection line that was for weft";
	if (has_length && (!text_number(declared, &length) || length != spec->request_body))
		return "another content-length";
	return NULL;
}

static const char *reason(uint64_t status)
{
	return status == 200 ? "OK" : status == 599 ? "Torture Found A Fault" : "Torture";
}

static size_t write_head(struct served *served, const struct spec *spec, const char *fault, bool says_close)
{
	char *out = served->head_text;
	size_t used = 0, len = SERVER_HEAD_BYTES;
	uint64_t body = fault ? 0 : spec->reply_body;

	used += (size_t)snprintf(out + used, len - used, "HTTP/1.1 %u %s\r\nX-R: %llu.%llu.%llu\r\nX-S: %s\r\nX-N: %llu\r\n",
				 fault ? 599 : (unsigned int)spec->status, reason(fault ? 599 : spec->status), (unsigned long long)spec->run,
				 (unsigned long long)spec->conn, (unsigned long long)spec->req, served->server->name, (unsigned long long)body);
	if (fault)
		used += (size_t)snprintf(out + used, len - used, "X-V: %.200s\r\n", fault);
	else
		used += pads_write(out + used, len - used, bytes_key(spec->run, spec->conn, spec->req, BYTES_REPLY_PAD), spec->reply_pad);
	if (fault || (spec->reply_framing == FRAMING_LENGTH && spec->status != 204))
		used += (size_t)snprintf(out + used, len - used, "Content-Length: %llu\r\n", (unsigned long long)body);
	else if (spec->reply_framing == FRAMING_CHUNKED || spec->reply_framing == FRAMING_TRAILERS)
		used += (size_t)snprintf(out + used, len - used, "Transfer-Encoding: chunked\r\n");
	if (says_close)
		used += (size_t)snprintf(out + used, len - used, "Connection: close\r\n");
	used += (size_t)snprintf(out + used, len - used, "\r\n");
	return used;
}

/* What a peer that went away in the middle does to us; which is right only where the schedule says so. */
static void report_cut(struct served *served, const struct spec *spec, const char *where, int error, uint64_t got, uint64_t of)
{
	if (spec->may_be_cut || served->server->has_crashes)
		return;
	if (error == -EPIPE && !strcmp(where, "reading"))
		server_report(served, &served->server->ledger->lost, "LOST", "request body ends after %llu of %llu bytes", (unsigned long long)got,
			      (unsigned long long)of);
	else
		server_report(served, &served->server->ledger->error, "ERROR", "%s: %s after %llu of %llu bytes%s%s", where, strerror(-error),
			      (unsigned long long)got, (unsigned long long)of, served->io.read_anomaly ? ": " : "",
			      served->io.read_anomaly ? served->io.read_anomaly : served->io.write_anomaly ? served->io.write_anomaly : "");
}

static int send_interim(struct served *served, uint64_t status)
{
	char text[64];
	_Atomic uint64_t written = 0;
	int n = snprintf(text, sizeof(text), "HTTP/1.1 %u Interim\r\n%s\r\n", (unsigned int)status, status == 103 ? "Link: </x>\r\n" : "");

	return io_write(&served->io, text, (size_t)n, WRITE_BLOCK, false, &written);
}

static int answer(struct served *served, const struct spec *spec, const char *fault, bool says_close)
{
	bool has_body = !fault && spec_reply_has_body(spec);
	size_t head_len = write_head(served, spec, fault, says_close);
	struct sending *sending = &served->sending;
	struct wire wire;
	int r;

	wire_begin(&wire, served->head_text, head_len, has_body ? (enum framing)spec->reply_framing : FRAMING_NONE,
		   bytes_key(spec->run, spec->conn, spec->req, BYTES_REPLY_BODY), spec->reply_body,
		   bytes_key(spec->run, spec->conn, spec->req, BYTES_REPLY_CHUNKS));
	sending->io = &served->io;
	sending->rng.state = rng_next(&served->rng);
	sending->split = (enum split)spec->reply_split;
	sending->mode = (enum write_mode)spec->reply_write;
	sending->piece = spec->reply_piece;
	sending->gap_ms = spec->reply_gap_ms;
	sending->stall_at = spec->reply_stall_at;
	sending->stall_ms = spec->reply_stall_ms;
	sending->cut_at = UINT64_MAX;
	if (!fault && (spec->fault == FAULT_CLOSE_HEAD || spec->fault == FAULT_RESET_HEAD))
		sending->cut_at = 1 + spec->fault_at % (head_len - 1);
	if (!fault && (spec->fault == FAULT_CLOSE_BODY || spec->fault == FAULT_RESET_BODY))
		sending->cut_at = head_len + spec->fault_at;
	atomic_store(&served->beat.writing, "answer");
	r = wire_send(sending, &wire, 1);
	atomic_store(&served->beat.writing, NULL);
	if (r < 0)
		report_cut(served, spec, "writing", r, atomic_load(&sending->written), head_len + spec->reply_body);
	return r;
}

static bool is_reset(uint64_t fault)
{
	return fault == FAULT_RESET_UNSAID || fault == FAULT_RESET_HEAD || fault == FAULT_RESET_BODY;
}

/* The request's body up to `stop_at`. */
static int read_body(struct served *served, const struct spec *spec, struct body *body, uint64_t stop_at)
{
	int r;

	body->stop_at = stop_at;
	atomic_store(&served->beat.reading, "request body");
	r = stop_at ? reader_body(&served->reader, body) : 1;
	atomic_store(&served->beat.reading, NULL);
	if (r < 0 && r != -EBADMSG)
		report_cut(served, spec, "reading", r, body->got, spec->request_body);
	if (r == -EBADMSG)
		server_report(served, &served->server->ledger->wrong, "WRONG", "request: %s", body->error[0] ? body->error : "malformed");
	return r;
}

static enum verdict serve_spec(struct served *served, const struct head *head, struct spec *spec, const char *fault)
{
	struct text value;
	bool expects = head_field(head, "expect", 0, &value);
	bool client_closes = head_field(head, "connection", 0, &value) && text_is(value, "close");
	bool has_length = head_field(head, "content-length", 0, &value);
	bool says_close = client_closes || spec->after == AFTER_CLOSE || spec->reply_framing == FRAMING_EOF || fault;
	struct body body = {
		.framing = spec->request_framing == FRAMING_NONE ? FRAMING_NONE : has_length ? FRAMING_LENGTH : FRAMING_CHUNKED,
		.length = spec->request_body,
		.is_checked = true,
		.key = bytes_key(spec->run, spec->conn, spec->req, BYTES_REQUEST_BODY),
		.expected = spec->request_body,
		.stall_at = spec->server_stall_at,
		.stall_ms = spec->server_stall_ms,
	};
	bool is_early = spec->early && !fault;
	bool is_partly_read;
	int r;

	reader_style(&served->reader, (enum read_mode)spec->server_read, spec->server_piece, spec->server_piece & 1);
	if (spec->fault == FAULT_CLOSE_UNREAD)
		return HANG_UP;
	r = spec->interim ? send_interim(served, spec->interim) : 0;
	if (!r && expects && !is_early)
		r = send_interim(served, 100);
	if (r) {
		report_cut(served, spec, "writing a 1xx", r, 0, 0);
		return HANG_UP;
	}

	r = fault ? 0 : read_body(served, spec, &body, is_early ? spec->early - 1 : UINT64_MAX);
	if (r == -EBADMSG)
		fault = body.error[0] ? body.error : "malformed request body";
	else if (r < 0)
		return HANG_UP;
	is_partly_read = r == 1;
	io_pause(&served->io, spec->delay_ms);
	if (spec->fault == FAULT_CLOSE_UNSAID)
		return HANG_UP;
	if (spec->fault == FAULT_RESET_UNSAID)
		return RESET;
	r = answer(served, spec, fault, says_close || fault);
	if (r)
		return r == 1 && is_reset(spec->fault) ? RESET : HANG_UP;
	atomic_fetch_or(ledger_entry(served->server->ledger, spec->conn, spec->req), LEDGER_DONE);
	if (fault)
		return HANG_UP;
	/* Who was answered before the 100 it waited for may keep its body, and waits for the end that was announced. */
	if (says_close && expects)
		return HANG_UP;
	if (is_partly_read && read_body(served, spec, &body, UINT64_MAX) < 0)
		return HANG_UP;
	if (says_close)
		return HANG_UP;
	served->idle_ms = spec->after == AFTER_IDLE || spec->after == AFTER_IDLE_RESET ? spec->after_ms : UINT64_MAX;
	served->idle_reset = spec->after == AFTER_IDLE_RESET;
	return spec->after == AFTER_SILENT ? HANG_UP_SILENTLY : GO_ON;
}

enum verdict serve(struct served *served, const struct head *head)
{
	struct server *server = served->server;
	struct spec spec = {};
	struct text query, value;
	const char *fault;
	uint8_t before;

	if (!parse_target(head->first[1], &spec, &query)) {
		server_report(served, &server->ledger->wrong, "WRONG", "no request of ours: %.*s", (int)(head->len < 200 ? head->len : 200),
			      head->first[0].at);
		return RESET;
	}
	atomic_store(&served->conn, spec.conn);
	atomic_store(&served->req, spec.req);
	if (head_field(head, "x-t", 0, &value)) {
		if (spec_decode(&spec, value.at, value.len)) {
			server_report(served, &server->ledger->wrong, "WRONG", "X-T cannot be read: %.*s", (int)value.len, value.at);
			return RESET;
		}
	} else {
		spec.method = method_by_name(head->first[0].at, head->first[0].len);
		spec_derive_bare(&spec);
	}
	spec_print(&spec, served->spec_text, sizeof(served->spec_text));
	atomic_store(&served->is_idle, false);
	served->is_reported_stuck = false;

	before = atomic_fetch_add(ledger_entry(server->ledger, spec.conn, spec.req), 1);
	atomic_fetch_add(&server->executed, 1);
	if (before & LEDGER_COUNT)
		server_report(served, &server->ledger->duplicate, "DUPLICATE", "this request was executed before (entry %#x)", before);
	fault = check_head(head, &spec, query);
	if (fault)
		server_report(served, &server->ledger->wrong, "WRONG", "request head: %s: %.*s", fault,
			      (int)(head->len < 300 ? head->len : 300), head->first[0].at);
	return serve_spec(served, head, &spec, fault);
}

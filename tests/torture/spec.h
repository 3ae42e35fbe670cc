/* SPDX-License-Identifier: Apache-2.0 */
/* What one exchange is to be: made by the client's schedule; the part that the server acts on travels in the X-T header. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum method { METHOD_GET, METHOD_POST, METHOD_PUT, METHOD_HEAD, METHOD_DELETE, METHOD_OPTIONS, METHODS };

enum framing { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED, FRAMING_TRAILERS /* chunked, with a trailer */, FRAMING_EOF };

/* How a message is cut into writes. */
enum split {
	SPLIT_ONE,    /* as few writes as possible, pipelined messages together */
	SPLIT_EACH,   /* one write for each message */
	SPLIT_HEAD,   /* head and body apart */
	SPLIT_BREAK,  /* the head in two, its second part with the body */
	SPLIT_BYTES,  /* the first few hundred bytes one by one */
	SPLIT_PIECES, /* random pieces, over message boundaries */
	SPLITS,
};

/* What a server does after a whole answer. */
enum after {
	AFTER_KEEP,
	AFTER_CLOSE,      /* says Connection: close, and closes */
	AFTER_SILENT,     /* closes without a word */
	AFTER_IDLE,       /* closes without a word when nothing came for after_ms */
	AFTER_IDLE_RESET, /* the same with a RST */
};

/* What goes wrong at the server. */
enum fault {
	FAULT_NONE,
	FAULT_CLOSE_UNREAD, /* closes after the request's head, its body unread */
	FAULT_CLOSE_UNSAID, /* reads the request, closes without an answer */
	FAULT_RESET_UNSAID,
	FAULT_CLOSE_HEAD,   /* closes in its answer's head */
	FAULT_RESET_HEAD,
	FAULT_CLOSE_BODY,   /* closes in its answer's body */
	FAULT_RESET_BODY,
	FAULTS,
};

/* What goes wrong at the client. Reply: after client_fault_at bytes of the answer; sending: after that many of the request. */
enum client_fault {
	CLIENT_FAULT_NONE,
	CLIENT_CLOSE_SENDING,
	CLIENT_RESET_SENDING,
	CLIENT_HALF_SENDING, /* shutdown(SHUT_WR) in the middle of the request */
	CLIENT_CLOSE_REPLY,
	CLIENT_RESET_REPLY,
	CLIENT_HALF_SENT,    /* shutdown(SHUT_WR) right after a whole request, then it reads the answer */
	CLIENT_FAULTS,
};

/* In the order in which they travel: the rarer, the later, for zeros at the end are not sent. */
#define SERVER_FIELDS(F)                                                                                                \
	F(method) F(status) F(reply_framing) F(reply_body) F(request_framing) F(request_body) F(request_pad) F(query_pad)  \
	F(reply_pad) F(reply_split) F(reply_write) F(reply_piece) F(server_read) F(server_piece) F(delay_ms)               \
	F(interim) F(after) F(after_ms) F(reply_gap_ms) F(reply_stall_at) F(reply_stall_ms) F(server_stall_at)             \
	F(server_stall_ms) F(early) F(fault) F(fault_at) F(may_be_cut)

/* early: 0, or 1 + how many bytes of the request's body the server reads before it answers. interim: 0 or a 1xx status.
 * may_be_cut: the schedule has something in it that may cut this exchange off, so the server does not wonder. */

#define CLIENT_FIELDS(F)                                                                                                \
	F(target) F(bare) F(expect) F(upgrade) F(close) F(keep_alive) F(request_split) F(request_write) F(request_piece)    \
	F(request_gap_ms) F(request_stall_at) F(request_stall_ms) F(read) F(read_piece) F(read_exact) F(read_delay_ms)     \
	F(stall_at) F(stall_ms) F(client_fault) F(client_fault_at) F(staggered) F(serial) F(after_end)

/* serial: the client reads when all is written, as one thread would; else a thread reads while another one writes. bare: no X-T, the server derives the answer from the path. after_end: an exchange before it in the pipeline may have ended
 * the connection. staggered: sent when the answer before it has begun to arrive. */

struct spec {
	uint64_t run, conn, req;
#define FIELD(name) uint64_t name;
	SERVER_FIELDS(FIELD)
	CLIENT_FIELDS(FIELD)
#undef FIELD
};

/* The path's identity and the X-T value; both return the length written (no terminating NUL is counted). */
size_t spec_encode(const struct spec *spec, char *out, size_t len);

/* 0, or -EBADMSG. */
int spec_decode(struct spec *spec, const char *text, size_t len);

/* Fills in what a bare request of (run, conn, req) with this method means, on both sides. */
void spec_derive_bare(struct spec *spec);

/* Fields that aren't 0, for a person. */
void spec_print(const struct spec *spec, char *out, size_t len);

const char *method_name(uint64_t method);
/* METHODS if unknown. */
enum method method_by_name(const char *name, size_t len);

bool spec_reply_has_body(const struct spec *spec);

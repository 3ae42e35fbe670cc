/* SPDX-License-Identifier: Apache-2.0 */
/* Reading messages: a buffered reader over a `struct io`, heads, and bodies that are checked byte by byte as they come. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io.h"
#include "spec.h"

enum { READER_BYTES = 160 * 1024 };

struct reader {
	struct io *io;
	enum read_mode mode;
	uint64_t piece;    /* most bytes a read asks for; 0: as many as fit */
	unsigned int slow; /* bytes still to be read one by one */
	bool is_exact;     /* never asks for more than the body it reads has left */
	char *buf;         /* READER_BYTES */
	size_t start, end;
};

struct text {
	const char *at;
	size_t len;
};

struct head {
	struct text first[3]; /* the start line, split at its first two spaces */
	const char *fields;
	size_t fields_len;    /* with the last line's CRLF, without the empty line */
	size_t len;           /* with the empty line */
};

int reader_init(struct reader *reader);
void reader_free(struct reader *reader);
void reader_reset(struct reader *reader, struct io *io);
/* Sets how the next message is to be read. */
void reader_style(struct reader *reader, enum read_mode mode, uint64_t piece, bool is_exact);

/* Reads a whole head; it stays valid until the reader is used again. 0, -ENODATA at an end before its first byte, -EPIPE at an
 * end within it, -EBADMSG for what is no HTTP head, or -errno. */
int reader_head(struct reader *reader, struct head *head);

/* The n-th (from 0) field called `name`; false if there is none. */
bool head_field(const struct head *head, const char *name, unsigned int nth, struct text *value);
bool text_is(struct text text, const char *literal);
/* Decimal; false if it is anything else. */
bool text_number(struct text text, uint64_t *out);

struct body {
	enum framing framing;
	uint64_t length;   /* of FRAMING_LENGTH */
	bool is_checked;   /* against key and expected */
	uint64_t key;
	uint64_t expected; /* how long it must be in the end */
	uint64_t stall_at; /* a scheduled pause of the reading, once */
	uint64_t stall_ms;
	uint64_t stop_at;  /* return 1 once that many bytes were read; UINT64_MAX: never */
	uint64_t got;      /* out: bytes that were read and found right */
	uint64_t left;     /* own: of the present chunk, or of the body */
	bool is_begun, in_trailer; /* own */
	char error[320];   /* out, for -EBADMSG */
};

/* Reads on from where body->got stands to the end of the body. 0; 1 at stop_at; -EPIPE at an end in the middle; -EBADMSG with
 * body->error; or -errno. */
int reader_body(struct reader *reader, struct body *body);

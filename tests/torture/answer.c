// SPDX-License-Identifier: Apache-2.0
/* The reading thread's work: one answer, checked byte by byte. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "pads.h"

static bool wrong(struct result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool wrong(struct result *result, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(result->detail, sizeof(result->detail), format, args);
	va_end(args);
	result->outcome = OUTCOME_WRONG;
	return false;
}

/* What a read that failed says about the exchange. */
static bool failed(struct connection *c, struct result *result, int r)
{
	if (r == -EPIPE || r == -ENODATA) {
		result->outcome = OUTCOME_ENDED;
	} else if (r == -EBADMSG) {
		if (c->io.read_anomaly || !result->detail[0])
			return wrong(result, "%s", c->io.read_anomaly ? c->io.read_anomaly : "malformed answer");
		result->outcome = OUTCOME_WRONG;
	} else {
		result->outcome = OUTCOME_FAILED;
		result->error = r;
		if (c->io.read_anomaly)
			snprintf(result->detail, sizeof(result->detail), "%s", c->io.read_anomaly);
	}
	return false;
}

static bool name_is_in(struct text name, const char *names)
{
	while (*names) {
		size_t len = strcspn(names, "+");

		if (len == name.len && !memcmp(names, name.at, len))
			return true;
		names += len + (names[len] == '+');
	}
	return false;
}

static bool check_head(struct connection *c, const struct spec *spec, const struct head *head, struct result *result)
{
	const struct target *target = &c->client->targets[spec->target];
	struct text value;
	char id[80];
	uint64_t length;

	head_field(head, "x-r", 0, &value);
	snprintf(id, sizeof(id), "%llu.%llu.%llu", (unsigned long long)spec->run, (unsigned long long)spec->conn, (unsigned long long)spec->req);
	if (!text_is(value, id))
		return wrong(result, "the answer is to another request: %.*s", (int)(value.len < 80 ? value.len : 80), value.at);
	if (head_field(head, "x-r", 1, &value))
		return wrong(result, "two X-R headers");
	if (head_field(head, "x-v", 0, &value))
		return wrong(result, "the server says: %.*s", (int)(value.len < 300 ? value.len : 300), value.at);
	if (!head_field(head, "x-s", 0, &value) || !name_is_in(value, target->names))
		return wrong(result, "answered by %.*s, but %s%s is served by %s", (int)(value.len < 40 ? value.len : 40), value.at, target->host,
			     target->prefix, target->names);
	if (result->status != spec->status)
		return wrong(result, "status %u, should be %u", result->status, (unsigned int)spec->status);
	if (!pads_check(head, bytes_key(spec->run, spec->conn, spec->req, BYTES_REPLY_PAD), spec->reply_pad))
		return wrong(result, "other X-P headers in the answer");
	if (spec->status != 204 && head_field(head, "content-length", 0, &value) && (!text_number(value, &length) || length != spec->reply_body))
		return wrong(result, "content-length %.*s, should be %llu", (int)(value.len < 20 ? value.len : 20), value.at,
			     (unsigned long long)spec->reply_body);
	return true;
}

static enum framing framing_of(const struct head *head, const struct spec *spec, unsigned int status, uint64_t *length)
{
	struct text value;

	if (spec->method == METHOD_HEAD || status == 204 || status == 304)
		return FRAMING_NONE;
	if (head_field(head, "transfer-encoding", 0, &value))
		return FRAMING_CHUNKED;
	if (head_field(head, "content-length", 0, &value) && text_number(value, length))
		return FRAMING_LENGTH;
	return FRAMING_EOF;
}

static void tell(struct connection *c, bool is_continue)
{
	pthread_mutex_lock(&c->lock);
	if (is_continue)
		c->got_continue = true;
	else
		c->begun++;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

/* Skips 1xx; leaves the final answer's head in `head`. */
static int read_final_head(struct connection *c, const struct spec *spec, struct head *head, struct result *result)
{
	for (;;) {
		uint64_t status;
		int r;

		atomic_store(&c->beat.reading, "head");
		r = reader_head(&c->reader, head);
		if (r) {
			if (r == -EBADMSG)
				snprintf(result->detail, sizeof(result->detail), "no HTTP head: %.60s", c->reader.buf + c->reader.start);
			if (r == -EPIPE)
				snprintf(result->detail, sizeof(result->detail), "ends in the head");
			return r;
		}
		if (!text_is(head->first[0], "HTTP/1.1") || !text_number(head->first[1], &status) || status < 100 || status > 999) {
			snprintf(result->detail, sizeof(result->detail), "no HTTP answer: %.*s", (int)(head->len < 80 ? head->len : 80), head->first[0].at);
			return -EBADMSG;
		}
		if (status >= 200) {
			result->status = (unsigned int)status;
			return 0;
		}
		/* A proxy may say 100 by itself to who expects it, but nobody may invent another one. */
		if (status != spec->interim && !(status == 100 && spec->expect)) {
			snprintf(result->detail, sizeof(result->detail), "a %u that nobody sent", (unsigned int)status);
			return -EBADMSG;
		}
		if (status == 100)
			tell(c, true);
	}
}

bool read_answer(struct connection *c, unsigned int idx)
{
	const struct spec *spec = &c->batch.specs[idx];
	struct result *result = &c->results[idx];
	bool abandons = spec->client_fault == CLIENT_CLOSE_REPLY || spec->client_fault == CLIENT_RESET_REPLY;
	struct body body = {.stop_at = UINT64_MAX};
	struct head head;
	struct text value;
	bool is_ours;
	int r;

	reader_style(&c->reader, (enum read_mode)spec->read, spec->read_piece, spec->read_exact);
	if (abandons && !spec->client_fault_at) {
		result->outcome = OUTCOME_ABANDONED;
		return false;
	}
	io_pause(&c->io, spec->read_delay_ms);
	r = read_final_head(c, spec, &head, result);
	if (r)
		return failed(c, result, r);
	result->has_begun = true;
	tell(c, false);
	if (head_field(&head, "connection", 0, &value) && text_is(value, "close"))
		result->says_close = true;
	is_ours = head_field(&head, "x-r", 0, &value);
	if (is_ours && !check_head(c, spec, &head, result))
		return false;
	if (!is_ours)
		snprintf(result->detail, sizeof(result->detail), "%.*s", (int)(head.len < 400 ? head.len : 400), head.first[0].at);

	body.framing = framing_of(&head, spec, result->status, &body.length);
	body.is_checked = is_ours;
	body.key = bytes_key(spec->run, spec->conn, spec->req, BYTES_REPLY_BODY);
	body.expected = spec->reply_body;
	body.stall_at = spec->stall_at;
	body.stall_ms = spec->stall_ms;
	if (abandons)
		body.stop_at = spec->client_fault_at - 1;
	if (body.framing == FRAMING_EOF)
		result->says_close = true;
	atomic_store(&c->beat.reading, "body");
	r = reader_body(&c->reader, &body);
	result->got = body.got;
	if (r == 1 || (r == 0 && abandons)) {
		result->outcome = OUTCOME_ABANDONED;
		return false;
	}
	if (r) {
		if (r == -EBADMSG)
			snprintf(result->detail, sizeof(result->detail), "%s", body.error);
		else if (is_ours)
			snprintf(result->detail, sizeof(result->detail), "after %llu of %llu bytes of the body", (unsigned long long)body.got,
				 (unsigned long long)spec->reply_body);
		return failed(c, result, r);
	}
	result->outcome = is_ours ? OUTCOME_COMPLETE : OUTCOME_LOCAL;
	return !result->says_close;
}

void read_end(struct connection *c, struct result *result, bool is_error_wrong)
{
	char extra[64];
	ssize_t r;

	atomic_store(&c->beat.reading, "end of the stream");
	/* Of a HEAD that was not sent whole a proxy can't know that its refusal may have no body. */
	if (result->outcome == OUTCOME_LOCAL)
		return;
	if (c->reader.end > c->reader.start) {
		wrong(result, "bytes after the last answer: %.60s", c->reader.buf + c->reader.start);
		return;
	}
	r = io_read(&c->io, extra, sizeof(extra), READ_POLL);
	if (r > 0)
		wrong(result, "bytes after the last answer: %.*s", (int)r, extra);
	if (r < 0 && r != -ECANCELED && is_error_wrong) {
		result->outcome = OUTCOME_FAILED;
		result->error = (int)r;
		snprintf(result->detail, sizeof(result->detail), "instead of the end of the stream after a whole answer");
	}
}

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Heads, targets and chunks under libFuzzer. What must hold of any bytes:
 * - nothing beyond the 8 bytes after them is read, and those change nothing;
 * - a verdict on a piece is the verdict on the whole; the whole head of n bytes is MORE when it is shorter, and the same when more follows;
 * - spans lie inside the head, values hold no controls, names are tokens;
 * - the quick ways through a request line and through several lines of a head say what the slow ones say;
 * - a target has WEFT_HEAD_NORMALIZES exactly if normalisation changes or refuses it;
 * - a head that the programs rewrite is one again, with the same authority, target, framing and, for who matches, the same values. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft/canonical.h"
#include "weft/chunked.h"
#include "weft/fast.h"
#include "weft/http1.h"
#include "weft/path.h"

#define check(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

struct verdict {
	int result;
	struct weft_head head;
};

static struct verdict parse(const u8 *data, size_t len, bool is_response, u8 fill)
{
	u8 *copy = malloc(len + 8);
	struct verdict v;

	memcpy(copy, data, len);
	memset(copy + len, fill, 8);
	memset(&v, 0, sizeof(v));
	v.result = is_response ? weft_parse_response((const void *)copy, len, WEFT_METHOD_GET, &v.head)
			       : weft_parse_request((const void *)copy, len, &v.head);
	free(copy);
	return v;
}

static bool same(const struct verdict *a, const struct verdict *b)
{
	if (a->result != b->result || a->head.error != b->head.error)
		return false;
	return a->result != WEFT_PARSE_DONE || !memcmp(&a->head, &b->head, sizeof(a->head));
}

static bool inside(const struct weft_head *head, struct weft_span span)
{
	return (u32)span.off + span.len <= head->head_len;
}

static void check_head(const u8 *data, size_t len, const struct weft_head *head, bool is_response)
{
	u32 i, k;

	check(head->head_len && head->head_len <= len);
	check(head->field_count <= WEFT_FIELDS_MAX);
	check(inside(head, head->method_span) && inside(head, head->target) && inside(head, head->path) && inside(head, head->authority));
	check(head->host_len <= head->authority.len);
	for (i = 0; i < head->field_count; i++) {
		const struct weft_field *field = &head->fields[i];

		check(inside(head, field->name) && inside(head, field->value) && field->name.len);
		check(field->name_hash == weft_name_hash(data + field->name.off, field->name.len));
		for (k = 0; k < field->name.len; k++)
			check(weft_in_set(data[field->name.off + k], WEFT_TOKEN_LOW, WEFT_TOKEN_HIGH));
		for (k = 0; k < field->value.len; k++) {
			u8 byte = data[field->value.off + k];

			check(byte != 0x7f && (byte >= 0x20 || byte == '\t' ||
					       (is_response && (head->flags & WEFT_HEAD_ODD) && (byte == '\r' || byte == '\n'))));
		}
		if (field->value.len) {
			check(!weft_is_blank(data[field->value.off]));
			check(!weft_is_blank(data[field->value.off + field->value.len - 1]));
		}
	}
}

static void check_target(const u8 *data, const struct weft_head *head)
{
	u32 len = head->target.len, room = WEFT_PATH_ROOM(len), out_len, path_len;
	const u8 *target = data + head->target.off;
	bool changes;
	u8 *out;
	int r;

	if (head->flags & (WEFT_HEAD_ABSOLUTE_FORM | WEFT_HEAD_ASTERISK | WEFT_HEAD_CONNECT))
		return;
	out = malloc(room);
	r = weft_path_normalize(target, len, WEFT_LISTENER_NORMALIZE_PATH, out, room, &out_len, &path_len);
	changes = r || out_len != len || memcmp(out, target, len);
	check(changes == !!(head->flags & WEFT_HEAD_NORMALIZES));
	if (!r)
		check(path_len <= out_len && out[0] == '/');
	r = weft_path_normalize(target, len, WEFT_LISTENER_MERGE_SLASHES, out, room, &out_len, &path_len);
	check(!r);
	if (!memchr(target, '#', len) && (out_len != len || memcmp(out, target, len)))
		check(head->flags & WEFT_HEAD_SLASHES);
	free(out);
}

static bool same_text(const u8 *a, struct weft_span a_span, const u8 *b, struct weft_span b_span)
{
	return a_span.len == b_span.len && !memcmp(a + a_span.off, b + b_span.off, a_span.len);
}

/* Every line of the written head: its value is that which Envoy has of all lines of that name. */
static void check_joined(const u8 *data, const struct weft_head *head, const u8 *written, const struct weft_head *again)
{
	static u8 joined[WEFT_JOINED_MAX];
	u32 i, k, name, lines, len;

	for (i = 0; i < again->field_count; i++) {
		const struct weft_field *field = &again->fields[i];

		name = weft_field_name((const void *)written, field);
		if (!(weft_known_names[name].flags & WEFT_NAME_IS_JOINED))
			continue;
		for (k = lines = 0; k < again->field_count; k++)
			lines += weft_field_name((const void *)written, &again->fields[k]) == name;
		check(lines == 1);
		check(weft_rewritten_value((const void *)data, head, name, joined, &len));
		check(len == field->value.len && !memcmp(joined, written + field->value.off, len));
	}
}

static void check_canonical(const u8 *data, size_t size, const struct weft_head *head)
{
	static struct weft_change change;
	struct weft_head again;
	u8 *copy;
	u32 len;

	if (weft_head_reason(head, 0) || !(head->flags & WEFT_HEAD_NOT_CANONICAL))
		return;
	copy = malloc(size + 64);
	memcpy(copy, data, size);
	memset(copy + size, ',', 64);
	len = weft_canonical_write(&change, (const void *)copy, head);
	if (!len) {
		free(copy);
		return;
	}
	memset(change.out + len, 'x', 64);
	check(weft_parse_request((const void *)change.out, len, &again) == WEFT_PARSE_DONE);
	check(again.head_len == len && again.method == head->method && again.content_length == head->content_length);
	check((again.flags | WEFT_HEAD_NOT_CANONICAL) == (head->flags | WEFT_HEAD_NOT_CANONICAL) && !(again.flags & WEFT_HEAD_NOT_CANONICAL));
	check(same_text(copy, head->authority, change.out, again.authority) && again.host_len == head->host_len);
	if (head->path.len)
		check(same_text(copy, head->path, change.out, again.path) && again.target.len == head->target.off + head->target.len - head->path.off);
	else
		check(again.target.len == 1 && change.out[again.target.off] == '/');
	check_joined(copy, head, change.out, &again);
	free(copy);
}

static void check_quick_line(const u8 *data, size_t len)
{
	struct weft_parser quick = {}, slow = {};
	struct weft_head quick_head, slow_head;
	u8 *copy = malloc(len + 8);

	memcpy(copy, data, len);
	memset(copy + len, ' ', 8);
	memset(&quick_head, 0, sizeof(quick_head));
	memset(&slow_head, 0, sizeof(slow_head));
	quick.len = slow.len = len;
	if (weft_parse_plain_line((const void *)copy, &quick, &quick_head) == WEFT_PARSE_NEXT) {
		check(weft_parse_request_line((const void *)copy, &slow, &slow_head) == WEFT_PARSE_NEXT);
		check(quick.pos == slow.pos && quick.facts == slow.facts);
		check(!memcmp(&quick_head, &slow_head, sizeof(quick_head)));
	}
	free(copy);
}

/* Line by line, each the long way: what is read several lines at a time must come to the same. */
static void check_slow_lines(const u8 *data, size_t len, const struct verdict *whole)
{
	struct weft_parser parser = {.len = len};
	struct weft_head head;
	u8 *copy = malloc(len + 8);
	int r;

	memcpy(copy, data, len);
	memset(copy + len, ' ', 8);
	memset(&head, 0, sizeof(head));
	r = weft_parse_request_line((const void *)copy, &parser, &head);
	while (r == WEFT_PARSE_NEXT)
		r = weft_parse_field((const void *)copy, &parser, &head);
	if (r == WEFT_PARSE_DONE)
		r = weft_judge_request(&parser, &head);
	free(copy);
	if (whole->result == WEFT_PARSE_TOO_LARGE || r == WEFT_PARSE_TOO_LARGE)
		return; /* which comes first, the length or the number of lines, is the loop's to say */
	check(r == whole->result && head.error == whole->head.error);
	check((head.flags & WEFT_HEAD_HTTP_10) == (whole->head.flags & WEFT_HEAD_HTTP_10));
	if (r != WEFT_PARSE_DONE)
		return;
	check(head.flags == whole->head.flags && head.head_len == whole->head.head_len && head.content_length == whole->head.content_length && head.field_count == whole->head.field_count);
	check(head.host_len == whole->head.host_len && head.host_hash == whole->head.host_hash);
	check(!memcmp(&head.authority, &whole->head.authority, sizeof(head.authority)));
	check(!memcmp(head.fields, whole->head.fields, head.field_count * sizeof(head.fields[0])));
}

static void fuzz_head(const u8 *data, size_t len, bool is_response)
{
	struct verdict whole = parse(data, len, is_response, '\r'), other = parse(data, len, is_response, ':'), piece;
	size_t step = len / 16 + 1, n;

	check(same(&whole, &other));
	check(whole.result >= WEFT_PARSE_DONE && whole.result <= WEFT_PARSE_PREFACE);
	if (whole.result == WEFT_PARSE_DONE) {
		check_head(data, len, &whole.head, is_response);
		if (!is_response)
			check_target(data, &whole.head);
		if (!is_response)
			check_canonical(data, len, &whole.head);
		piece = parse(data, whole.head.head_len, is_response, '\n');
		check(same(&whole, &piece));
		if (whole.head.head_len) {
			piece = parse(data, whole.head.head_len - 1, is_response, '\n');
			check(piece.result == WEFT_PARSE_MORE);
		}
	}
	for (n = 0; n < len; n += step) {
		piece = parse(data, n, is_response, '\n');
		if (piece.result != WEFT_PARSE_MORE)
			check(same(&whole, &piece));
	}
	if (!is_response && len) {
		check_quick_line(data, len);
		check_slow_lines(data, len, &whole);
	}
}

static void fuzz_chunked(const u8 *data, size_t len)
{
	struct weft_chunked whole, pieces;
	size_t consumed, used, at = 0, total = 0, step = len ? 1 + data[0] % 5 : 1;
	u8 *copy = malloc(len + 8);
	int r, k = WEFT_CHUNKED_MORE;

	weft_chunked_init(&whole);
	r = weft_chunked_feed(&whole, data, len, &consumed);
	check(consumed <= len && (r != WEFT_CHUNKED_MORE || consumed == len));
	weft_chunked_init(&pieces);
	for (; at < len && k == WEFT_CHUNKED_MORE; at += step) {
		k = weft_chunked_feed(&pieces, data + at, WEFT_MIN(step, len - at), &used);
		total += used;
	}
	check(k == r && total == consumed && pieces.data_len == whole.data_len);
	memcpy(copy, data, len);
	memset(copy + len, '\r', 8);
	if (weft_chunked_whole((const void *)copy, 0, len))
		check(r == WEFT_CHUNKED_DONE && consumed == len);
	free(copy);
}

/* Recorded heads are the seeds: now and then one takes the place of what libFuzzer would change. */
#define BYTES(literal) (const u8 *)(literal), sizeof(literal) - 1

enum oracle_outcome { ORACLE_TAKEN, ORACLE_REFUSED, ORACLE_VERSION, ORACLE_CODING, ORACLE_LARGE, ORACLE_PREFACE, ORACLE_PARTIAL };

static const struct {
	const char *id;
	enum oracle_outcome outcome;
	const u8 *bytes;
	u32 len;
} requests[] = {
#include "engine/oracle_requests.inc"
};

static const struct {
	const char *id;
	u32 method;
	enum oracle_outcome outcome;
	const u8 *bytes;
	u32 len;
} responses[] = {
#include "engine/oracle_responses.inc"
};

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	const u8 *bytes = NULL;
	u32 len = 0;

	if (seed % 16 == 0) {
		bytes = requests[seed / 16 % WEFT_ARRAY_SIZE(requests)].bytes;
		len = requests[seed / 16 % WEFT_ARRAY_SIZE(requests)].len;
	} else if (seed % 16 == 1) {
		bytes = responses[seed / 16 % WEFT_ARRAY_SIZE(responses)].bytes;
		len = responses[seed / 16 % WEFT_ARRAY_SIZE(responses)].len;
	}
	if (bytes && len < max_size) {
		data[0] = seed % 16 ? 2 : 0;
		memcpy(data + 1, bytes, len);
		size = len + 1;
	}
	return LLVMFuzzerMutate(data, size, max_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	switch (data[0] % 4) {
	case 0:
	case 1:
		fuzz_head(data + 1, size - 1, false);
		break;
	case 2:
		fuzz_head(data + 1, size - 1, true);
		break;
	case 3:
		fuzz_chunked(data + 1, size - 1);
		break;
	}
	return 0;
}

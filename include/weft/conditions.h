/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Conditions of a route on headers, query parameters, method, authority, path, scheme and chance. Part of the router; include router.h. */
#ifndef WEFT_CONDITIONS_H
#define WEFT_CONDITIONS_H

#include "weft/dfa.h"
#include "weft/fields.h"
#include "weft/image.h"
#include "weft/lookup.h"
#include "weft/names.h"
#include "weft/nfa.h"

/* What is asked beside the head. On the host `target` is the normalised target (path and query, no fragment) with at least 8
 * readable bytes after it; NULL: the head's own is right. */
struct weft_route_query {
	struct weft_image_handle image; /* route image */
	weft_ref route_table;
	u32 random;                     /* for fractions and weighted choices: any 32 bits */
#ifndef __bpf__
	const u8 *target;
	u32 target_len;
	u32 path_len;                   /* bytes of target before `?` */
#endif
};

/* `len` bytes of the head against the struct weft_text at `text` in `page`; `fold`, all ones or 0: they are lowered first, the text is in
 * lower case. */
WEFT_INLINE bool weft_text_equals(const u8 *p, u32 off, const u8 *page, u32 text, u32 len, u64 fold)
{
	u64 differ = 0, word;
	u32 i;

	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_CONDITION_VALUE_MAX); i += 8) {
		if (i + 8 > len)
			break;
		word = weft_load8(p + WEFT_OFFSET(off + i));
		word ^= (word ^ weft_lower_word(word)) & fold;
		differ |= word ^ weft_text_word(page, text, i);
	}
	word = weft_load8(p + WEFT_OFFSET(off + i));
	word ^= (word ^ weft_lower_word(word)) & fold;
	differ |= (word ^ weft_text_word(page, text, i)) & weft_bytes_of(len);
	return !differ && len <= WEFT_KERNEL_LIMIT(WEFT_CONDITION_VALUE_MAX);
}

struct weft_contains {
	const u8 *p;
	const u8 *page;
	u64 first; /* of the value: its first word */
	u32 off;
	u32 last;  /* offset in the text at which the value could begin at the latest */
	u32 text;
	u32 len;
	u64 fold;
	u32 found;
};

WEFT_STEP weft_contains_step(u32 index, void *context)
{
	struct weft_contains *search = context;
	u64 word;

	if (index > search->last)
		return 1;
	word = weft_load8(search->p + WEFT_OFFSET(search->off + index));
	word ^= (word ^ weft_lower_word(word)) & search->fold;
	if ((word ^ search->first) & weft_first_bytes(search->len))
		return 0;
	if (search->len > 8 && !weft_text_equals(search->p, search->off + index, search->page, search->text, search->len, search->fold))
		return 0;
	search->found = 1;
	return 1;
}

/* ---- numbers ---------------------------------------------------------------------------------------------------------------- */

#define WEFT_NUMBER_MAX 64u /* characters of a number that the kernel reads */

/* The decimal number of `len` bytes at `off`: a sign or none, digits, within 64 bits (absl::SimpleAtoi; FACTS "Header and query
 * matchers"). Returns WEFT_HOLDS with *number, WEFT_FAILS or WEFT_EXCEEDS. */
WEFT_STAGE int weft_read_number(const struct weft_head_bytes *bytes, u32 off, u32 len, s64 *number)
{
	u64 value = 0, limit = 0x7fffffffffffffffull;
	u32 sign = 0, i;
	u8 first;

	if (!bytes || !number)
		return WEFT_EXCEEDS;
	first = bytes->data[WEFT_OFFSET(off)];
	if (len && (first == '-' || first == '+')) {
		sign = 1;
		limit += first == '-';
	}
	if (len > WEFT_KERNEL_LIMIT(WEFT_NUMBER_MAX))
		return WEFT_EXCEEDS;
	if (len <= sign)
		return WEFT_FAILS;
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_NUMBER_MAX); i++) {
		u32 digit;

		if (i + sign >= len)
			break;
		digit = (u32)bytes->data[WEFT_OFFSET(off + sign + i)] - '0';
		if (digit > 9 || value > 0x0cccccccccccccccull)
			return WEFT_FAILS;
		value = value * 10 + digit;
		if (value > limit)
			return WEFT_FAILS;
	}
	*number = sign && first == '-' ? (s64)-value : (s64)value;
	return WEFT_HOLDS;
}

/* Is the text a number in the condition's range? */
WEFT_STAGE int weft_range_matches(const struct weft_route_query *query, const struct weft_head_bytes *bytes, u32 off, u32 len,
				  const struct weft_condition *condition)
{
	struct weft_cursor cursor = {};
	const struct weft_range *range;
	s64 number = 0;
	int r;

	if (!query || !bytes || !condition)
		return WEFT_EXCEEDS;
	r = weft_read_number(bytes, off, len, &number);
	if (r != WEFT_HOLDS)
		return r;
	range = WEFT_OBJECT(weft_range, &query->image, &cursor, condition->value);
	if (!range)
		return WEFT_EXCEEDS;
	return number >= range->start && number < range->end;
}

WEFT_STAGE int weft_chance_holds(const struct weft_route_query *query, const struct weft_condition *condition)
{
	const struct weft_fraction *fraction;
	struct weft_cursor cursor = {};
	u32 denominator;

	if (!query || !condition)
		return WEFT_EXCEEDS;
	fraction = WEFT_OBJECT(weft_fraction, &query->image, &cursor, condition->value);
	if (!fraction)
		return WEFT_EXCEEDS;
	denominator = fraction->denominator;
	return denominator && query->random % denominator < fraction->numerator;
}

/* ---- texts ------------------------------------------------------------------------------------------------------------------ */

/* One text of the head against what the condition compares it with. */
WEFT_STAGE int weft_text_compares(const struct weft_route_query *query, const struct weft_head_bytes *bytes, u32 off, u32 len,
				 const struct weft_condition *condition)
{
	struct weft_cursor cursor = {};
	const struct weft_text *text;
	u32 value_len, at, from = off;
	const u8 *page;
	u64 fold;

	if (!query || !bytes || !condition)
		return WEFT_EXCEEDS;
	if (condition->kind == WEFT_CONDITION_PRESENT)
		return WEFT_HOLDS;
	if (condition->kind == WEFT_CONDITION_RANGE)
		return weft_range_matches(query, bytes, off, len, condition);
	page = weft_seek(&query->image, &cursor, condition->value);
	if (!page)
		return WEFT_EXCEEDS;
	at = weft_offset(condition->value, sizeof(*text));
	text = (const struct weft_text *)(page + at);
	value_len = text->len;
	if (value_len > WEFT_KERNEL_LIMIT(WEFT_CONDITION_VALUE_MAX))
		return WEFT_EXCEEDS;
	fold = condition->flags & WEFT_CONDITION_IGNORE_CASE ? ~0ull : 0;
	if (value_len > len)
		return WEFT_FAILS;

	switch (condition->kind) {
	case WEFT_CONDITION_EXACT:
		if (value_len != len)
			return WEFT_FAILS;
		break;
	case WEFT_CONDITION_PREFIX:
		break;
	case WEFT_CONDITION_GRPC:
		if (len > value_len && bytes->data[WEFT_OFFSET(off + value_len)] != '+')
			return WEFT_FAILS;
		break;
	case WEFT_CONDITION_SUFFIX:
		from = off + len - value_len;
		break;
	case WEFT_CONDITION_CONTAINS: {
		struct weft_contains search = {
			.p = bytes->data,
			.page = page,
			.first = weft_text_word(page, at, 0),
			.off = off,
			.last = len - value_len,
			.text = at,
			.len = value_len,
			.fold = fold,
		};

		WEFT_LOOP(WEFT_HEAD_MAX + 1, weft_contains_step, &search);
		return search.found ? WEFT_HOLDS : WEFT_FAILS;
	}
	default:
		return WEFT_EXCEEDS;
	}
	return weft_text_equals(bytes->data, from, page, at, value_len, fold) ? WEFT_HOLDS : WEFT_FAILS;
}

/* One text of the head against the condition's value, without regard to INVERT. Returns WEFT_HOLDS, WEFT_FAILS or what is negative. */
WEFT_INLINE int weft_text_matches(const struct weft_route_query *query, const struct weft_head_bytes *bytes, u32 off, u32 len,
				  const struct weft_condition *condition)
{
	if (condition->kind == WEFT_CONDITION_REGEX)
		return weft_dfa_takes(&query->image, bytes, off, len, condition->value);
	if (condition->kind == WEFT_CONDITION_PROGRAM)
		return weft_nfa_takes(&query->image, bytes->data + off, len, condition->value);
	return weft_text_compares(query, bytes, off, len, condition);
}

/* A text of at most 8 bytes that stands in no head, as a word: the scheme, or nothing. */
WEFT_STAGE int weft_word_compares(const struct weft_route_query *query, u64 word, u32 len, const struct weft_condition *condition)
{
	struct weft_cursor cursor = {};
	const struct weft_text *text;
	u32 value_len, i;
	const u8 *page;
	u64 value;

	if (!query || !condition)
		return WEFT_EXCEEDS;
	if (condition->kind == WEFT_CONDITION_PRESENT)
		return WEFT_HOLDS;
	if (condition->kind == WEFT_CONDITION_RANGE)
		return WEFT_FAILS; /* no number */
	page = weft_seek(&query->image, &cursor, condition->value);
	if (!page)
		return WEFT_EXCEEDS;
	text = (const struct weft_text *)(page + weft_offset(condition->value, sizeof(*text)));
	value_len = text->len;
	if (value_len > len || len > 8)
		return WEFT_FAILS;
	value = weft_text_word(page, weft_offset(condition->value, sizeof(*text)), 0) & weft_first_bytes(value_len);
	switch (condition->kind) {
	case WEFT_CONDITION_EXACT:
		return value_len == len && value == word;
	case WEFT_CONDITION_PREFIX:
		return value == (word & weft_first_bytes(value_len));
	case WEFT_CONDITION_SUFFIX:
		return value_len == 0 || value == word >> (8 * (len - value_len));
	case WEFT_CONDITION_CONTAINS:
		for (i = 0; i < 8; i++) {
			if (i + value_len > len)
				return WEFT_FAILS;
			if (value == (word >> (8 * i) & weft_first_bytes(value_len)))
				return WEFT_HOLDS;
		}
		return WEFT_FAILS;
	}
	return WEFT_EXCEEDS;
}

WEFT_INLINE int weft_word_matches(const struct weft_route_query *query, u64 word, u32 len, const struct weft_condition *condition)
{
	if (condition->kind == WEFT_CONDITION_REGEX)
		return weft_dfa_takes_word(&query->image, word, len, condition->value);
	if (condition->kind == WEFT_CONDITION_PROGRAM)
		return weft_nfa_takes(&query->image, (const u8 *)&word, len, condition->value);
	return weft_word_compares(query, word, len, condition);
}

#define WEFT_SCHEME_HTTP WEFT_TEXT8('h', 't', 't', 'p', 0, 0, 0, 0)
#define WEFT_SCHEME_HTTPS WEFT_TEXT8('h', 't', 't', 'p', 's', 0, 0, 0)

/* Which known name the condition is on. */
WEFT_INLINE u32 weft_condition_name(const u8 *page, const struct weft_condition *condition)
{
	u32 at = weft_offset(condition->name, sizeof(struct weft_text) + WEFT_KNOWN_NAME_MAX) + sizeof(struct weft_text);

	return weft_known_name(page + at, condition->name_len, condition->name_hash);
}

WEFT_INLINE bool weft_field_is(const struct weft_head_bytes *bytes, const struct weft_field *field, const u8 *page,
			       const struct weft_condition *condition)
{
	return field->name_hash == condition->name_hash && field->name.len == condition->name_len &&
	       weft_text_equals(bytes->data, field->name.off, page, weft_offset(condition->name, sizeof(struct weft_text)),
				field->name.len, ~0ull);
}

#ifndef __bpf__
WEFT_STAGE int weft_missing_holds(const struct weft_route_query *query, const struct weft_condition *condition);
#include "weft/visible.h"
#else
#define weft_is_https(bytes, head) ((head)->flags & WEFT_HEAD_FORWARDED_HTTPS)
#define weft_came_by_https(bytes, head) weft_is_https(bytes, head)
#endif

/* Is line `index` of the head one that the condition is on? Not if Envoy removes it before matching; of the names that it removes the
 * kernel meets only connection and keep-alive. Returns 1, 0 or WEFT_EXCEEDS. */
WEFT_STAGE int weft_line_counts(const struct weft_route_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				const struct weft_condition *condition, u32 index)
{
	struct weft_cursor cursor = {};
	const struct weft_field *field;
	const u8 *page;
	u32 name;

	if (!query || !bytes || !head || !condition || index >= WEFT_FIELDS_MAX)
		return WEFT_EXCEEDS;
	field = &head->fields[index];
	page = weft_seek(&query->image, &cursor, condition->name);
	if (!page)
		return WEFT_EXCEEDS;
	if (!weft_field_is(bytes, field, page, condition))
		return 0;
	name = weft_condition_name(page, condition);
	if (name == WEFT_NAME_CONNECTION || name == WEFT_NAME_KEEP_ALIVE)
		return 0;
#ifndef __bpf__
	if (weft_is_hidden(bytes, head, field, name))
		return 0;
#endif
	return 1;
}

/* A condition on a header that no line has. Envoy sets x-forwarded-proto. */
WEFT_STAGE int weft_missing_holds(const struct weft_route_query *query, const struct weft_condition *condition)
{
	struct weft_cursor cursor = {};
	const u8 *page;
	int r;

	if (!query || !condition)
		return WEFT_EXCEEDS;
	page = weft_seek(&query->image, &cursor, condition->name);
	if (!page)
		return WEFT_EXCEEDS;
	if (weft_condition_name(page, condition) == WEFT_NAME_X_FORWARDED_PROTO)
		r = weft_word_matches(query, WEFT_SCHEME_HTTP, 4, condition);
	else if (condition->flags & WEFT_CONDITION_MISSING_AS_EMPTY)
		r = weft_word_matches(query, 0, 0, condition);
	else
		return condition->kind == WEFT_CONDITION_PRESENT && (condition->flags & WEFT_CONDITION_INVERT);
	return r < 0 ? r : r != !!(condition->flags & WEFT_CONDITION_INVERT);
}

/* A condition on a header. Envoy 1.40: repeated lines match one by one, any may match (inverted: none may); a missing header fails every
 * condition, inverted ones too, but PRESENT inverted, or is an empty text with MISSING_AS_EMPTY. */
WEFT_STAGE int weft_header_holds(const struct weft_route_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				 const struct weft_condition *condition)
{
	u32 is_present = 0, i;
	int holds = WEFT_FAILS;

	if (!query || !bytes || !head || !condition)
		return WEFT_EXCEEDS;
#ifndef __bpf__
	if (weft_is_rewritten(head, weft_condition_name(query->image.base, condition)))
		return weft_rewritten_holds(query, bytes, head, condition);
#endif
	for (i = 0; i < WEFT_FIELDS_MAX; i++) {
		int r;

		if (i >= head->field_count)
			break;
		if (head->fields[i].name_hash != condition->name_hash)
			continue;
		r = weft_line_counts(query, bytes, head, condition, i);
		if (r < 0)
			return r;
		if (!r)
			continue;
		is_present = 1;
		holds = weft_text_matches(query, bytes, head->fields[i].value.off, head->fields[i].value.len, condition);
		if (holds != WEFT_FAILS)
			break;
	}
	if (!is_present)
		return weft_missing_holds(query, condition);
	return holds < 0 ? holds : holds != !!(condition->flags & WEFT_CONDITION_INVERT);
}

/* ---- query parameters -------------------------------------------------------------------------------------------------------- */

/* A search for a parameter; what changes on the way stands here (see WEFT_LOOP). */
struct weft_parameter {
	u32 at;         /* of the next parameter */
	u32 end;        /* of the query */
	u32 value;      /* where the found one's value begins */
	u32 value_len;
	u32 is_present;
};

/* Where the parameter at `at` ends: at the next & or with the query. */
WEFT_STAGE u32 weft_parameter_end(const struct weft_head_bytes *bytes, u32 at, u32 end)
{
	u32 i;

	if (!bytes)
		return end;
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_KERNEL_HEAD_MAX / 8); i++) {
		u64 flags;

		if (at >= end)
			break;
		at = WEFT_OFFSET(at);
		flags = weft_equal_bytes(weft_load8(bytes->data + at), '&');
		if (flags) {
			at += weft_count_before(weft_before(flags));
			return WEFT_MIN(at, end);
		}
		at += 8;
	}
	return end;
}

struct weft_parameter_context {
	const struct weft_head_bytes *bytes;
	struct weft_parameter *parameter;
	const u8 *page; /* of the name */
	u32 name;       /* offset of its struct weft_text there */
	u32 name_len;
};

WEFT_STEP weft_parameter_step(u32 index, void *context)
{
	struct weft_parameter_context *c = context;
	struct weft_parameter *parameter = c->parameter;
	u32 at = parameter->at, len, end;

	if (at >= parameter->end)
		return 1;
	end = weft_parameter_end(c->bytes, at, parameter->end);
	parameter->at = end + 1;
	len = end - at;
	if (len < c->name_len || (len > c->name_len && c->bytes->data[WEFT_OFFSET(at + c->name_len)] != '='))
		return 0;
	if (!weft_text_equals(c->bytes->data, at, c->page, c->name, c->name_len, 0))
		return 0;
	parameter->is_present = 1;
	parameter->value = len > c->name_len ? at + c->name_len + 1 : end;
	parameter->value_len = end - parameter->value;
	return 1;
}

/* The first parameter of the condition's name. Envoy splits the query at & alone, a parameter at its first =, and decodes nothing; one
 * without = is an empty text. */
WEFT_STAGE int weft_find_parameter(const struct weft_route_query *query, const struct weft_head_bytes *bytes,
				   const struct weft_condition *condition, struct weft_parameter *parameter)
{
	struct weft_parameter_context context = {.bytes = bytes, .parameter = parameter};
	struct weft_cursor cursor = {};

	if (!query || !bytes || !condition || !parameter)
		return WEFT_EXCEEDS;
	context.page = weft_seek(&query->image, &cursor, condition->name);
	if (!context.page)
		return WEFT_EXCEEDS;
	context.name = weft_offset(condition->name, sizeof(struct weft_text));
	context.name_len = condition->name_len;
	parameter->is_present = 0;
	WEFT_LOOP(WEFT_HEAD_MAX, weft_parameter_step, &context);
	return 0;
}

/* A condition on a query parameter: a missing one fails all but PRESENT inverted. */
WEFT_STAGE int weft_query_holds(const struct weft_route_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				const struct weft_condition *condition)
{
	struct weft_parameter parameter = {};
	int r;

	if (!query || !bytes || !head || !condition)
		return WEFT_EXCEEDS;
	parameter.at = head->path.off + head->path.len;
	parameter.end = head->target.off + head->target.len;
#ifndef __bpf__
	if (query->target) {
		bytes = (const struct weft_head_bytes *)query->target;
		parameter.at = query->path_len;
		parameter.end = query->target_len;
	}
#endif
	parameter.at++; /* the question mark, if there is one */
	if (weft_find_parameter(query, bytes, condition, &parameter))
		return WEFT_EXCEEDS;
	if (!parameter.is_present)
		return condition->kind == WEFT_CONDITION_PRESENT && (condition->flags & WEFT_CONDITION_INVERT);
	r = weft_text_matches(query, bytes, parameter.value, parameter.value_len, condition);
	return r < 0 ? r : r != !!(condition->flags & WEFT_CONDITION_INVERT);
}

/* The path without its query, as routes see it. */
WEFT_STAGE int weft_path_matches(const struct weft_route_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				 const struct weft_condition *condition)
{
	if (!query || !bytes || !head || !condition)
		return WEFT_EXCEEDS;
#ifndef __bpf__
	if (query->target)
		return weft_text_matches(query, (const struct weft_head_bytes *)query->target, 0, query->path_len, condition);
	if (!head->path.len)
		return weft_word_matches(query, '/', 1, condition);
#endif
	return weft_text_matches(query, bytes, head->path.off, head->path.len, condition);
}

/* Any condition. */
WEFT_INLINE int weft_condition_holds(const struct weft_route_query *query, const struct weft_head_bytes *bytes,
				    const struct weft_head *head, const struct weft_condition *condition)
{
	int r;

	switch (condition->subject) {
	case WEFT_SUBJECT_HEADER:
		return weft_header_holds(query, bytes, head, condition);
	case WEFT_SUBJECT_QUERY:
		return weft_query_holds(query, bytes, head, condition);
	case WEFT_SUBJECT_CHANCE:
		return weft_chance_holds(query, condition);
	case WEFT_SUBJECT_METHOD:
		r = weft_text_matches(query, bytes, head->method_span.off, head->method_span.len, condition);
		break;
	case WEFT_SUBJECT_AUTHORITY:
		r = weft_text_matches(query, bytes, head->authority.off, head->authority.len, condition);
		break;
	case WEFT_SUBJECT_PATH:
#ifndef __bpf__
		if (query->target) {
			r = weft_text_matches(query, (const struct weft_head_bytes *)query->target, 0, query->target_len, condition);
			break;
		}
#endif
		r = weft_text_matches(query, bytes, head->target.off, head->target.len, condition);
		break;
	case WEFT_SUBJECT_ROUTE_PATH:
		r = weft_path_matches(query, bytes, head, condition);
		break;
	case WEFT_SUBJECT_SCHEME:
		if (weft_is_https(bytes, head))
			r = weft_word_matches(query, WEFT_SCHEME_HTTPS, 5, condition);
		else
			r = weft_word_matches(query, WEFT_SCHEME_HTTP, 4, condition);
		break;
	default:
		return WEFT_EXCEEDS;
	}
	return r < 0 ? r : r != !!(condition->flags & WEFT_CONDITION_INVERT);
}

/* All `count` conditions at `ref`. */
WEFT_STAGE int weft_conditions_hold(const struct weft_route_query *query, const struct weft_head_bytes *bytes,
				    const struct weft_head *head, weft_ref ref, u32 count)
{
	struct weft_cursor cursor = {};
	u32 i;

	if (!query || !bytes || !head || count > WEFT_KERNEL_LIMIT(WEFT_CONDITIONS_MAX))
		return WEFT_EXCEEDS;
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_CONDITIONS_MAX); i++) {
		const struct weft_condition *found;
		struct weft_condition condition;
		int r;

		if (i >= count)
			return WEFT_HOLDS;
		found = WEFT_OBJECT(weft_condition, &query->image, &cursor, ref + i * sizeof(condition));
		if (!found)
			return WEFT_EXCEEDS;
		condition = *found;
		r = weft_condition_holds(query, bytes, head, &condition);
		if (r != WEFT_HOLDS)
			return r;
	}
	return WEFT_HOLDS;
}

#endif

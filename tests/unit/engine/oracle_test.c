// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The parser and the path against what Envoy 1.40 was recorded to do. */
#include "engine/engine_test.h"
#include "weft/path.h"

struct request_case {
	const char *id;
	enum oracle_outcome outcome;
	const u8 *bytes;
	u32 len;
};

static const struct request_case requests[] = {
#include "engine/oracle_requests.inc"
};

struct response_case {
	const char *id;
	u32 method;
	enum oracle_outcome outcome;
	const u8 *bytes;
	u32 len;
};

static const struct response_case responses[] = {
#include "engine/oracle_responses.inc"
};

struct path_case {
	const char *id;
	u32 listener_flags;
	const char *target;
	const char *sent;
};

static const struct path_case paths[] = {
#include "engine/oracle_paths.inc"
};

static const char *const outcomes[] = {"taken", "refused", "version", "coding", "too large", "preface", "partial"};

static bool agrees(enum oracle_outcome outcome, int r, u32 flags)
{
	switch (outcome) {
	case ORACLE_TAKEN:
		return r == WEFT_PARSE_DONE;
	case ORACLE_REFUSED:
		return r == WEFT_PARSE_BAD || r == WEFT_PARSE_NOT_HTTP;
	case ORACLE_VERSION:
		/* 1.0 is the proxy's to refuse, where the listener does not accept it */
		return r == WEFT_PARSE_VERSION || (flags & WEFT_HEAD_HTTP_10);
	case ORACLE_CODING:
		return r == WEFT_PARSE_CODING;
	case ORACLE_LARGE:
		return r == WEFT_PARSE_TOO_LARGE;
	case ORACLE_PREFACE:
		return r == WEFT_PARSE_PREFACE;
	case ORACLE_PARTIAL:
		return r == WEFT_PARSE_MORE;
	}
	return false;
}

static void test_requests_are_taken_and_refused_as_envoy_does(void **state)
{
	u32 wrong = 0;
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(requests); i++) {
		const struct request_case *c = &requests[i];
		struct weft_head head;
		int r = parse_request(c->bytes, c->len, &head);

		if (agrees(c->outcome, r, head.flags))
			continue;
		print_error("%s: %s by Envoy, the parser says %d (error %u)\n%.*s\n", c->id, outcomes[c->outcome], r, head.error,
			    (int)WEFT_MIN(c->len, 200u), (const char *)c->bytes);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void test_responses_are_taken_and_refused_as_envoy_does(void **state)
{
	u32 wrong = 0;
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(responses); i++) {
		const struct response_case *c = &responses[i];
		struct weft_head head;
		int r = parse_response(c->bytes, c->len, c->method, &head);

		if (r == WEFT_PARSE_CODING || r == WEFT_PARSE_TOO_LARGE)
			r = WEFT_PARSE_BAD; /* all are a 502 */
		if (agrees(c->outcome, r, head.flags))
			continue;
		print_error("%s: %s by Envoy, the parser says %d (error %u)\n%.*s\n", c->id, outcomes[c->outcome], r, head.error,
			    (int)WEFT_MIN(c->len, 200u), (const char *)c->bytes);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void test_targets_are_normalised_as_envoy_does(void **state)
{
	u32 wrong = 0;
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(paths); i++) {
		const struct path_case *c = &paths[i];
		u32 len = strlen(c->target), out_len = 0, path_len = 0;
		u8 *out = malloc(WEFT_PATH_ROOM(len));
		int r;

		assert_non_null(out);
		r = weft_path_normalize((const u8 *)c->target, len, c->listener_flags, out, WEFT_PATH_ROOM(len), &out_len, &path_len);
		if (c->sent ? r || out_len != strlen(c->sent) || memcmp(out, c->sent, out_len) : r != -EINVAL) {
			print_error("%s: %s became %.*s (%d), Envoy sent %s\n", c->id, c->target, (int)out_len, (const char *)out, r,
				    c->sent ?: "400");
			wrong++;
		} else if (!r && path_len != strcspn((const char *)c->sent, "?")) {
			print_error("%s: the path of %s has %u bytes?\n", c->id, c->sent, path_len);
			wrong++;
		}
		free(out);
	}
	assert_int_equal(wrong, 0);
}

/* The kernel relies on it: without the flags a target is what normalisation would make of it. */
static void test_the_normalizes_flag_is_set_exactly_when_normalisation_changes_or_refuses(void **state)
{
	u32 wrong = 0;
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(paths); i++) {
		const struct path_case *c = &paths[i];
		u32 len = strlen(c->target), out_len = 0, path_len = 0, flags;
		struct weft_head head;
		bool changes, merges;
		char request[2048];
		u8 out[4096];
		int r;

		snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", c->target);
		if (parse_request(request, strlen(request), &head))
			continue;
		r = weft_path_normalize((const u8 *)c->target, len, WEFT_LISTENER_NORMALIZE_PATH, out, sizeof(out), &out_len, &path_len);
		changes = r || out_len != len || memcmp(out, c->target, len);
		flags = head.flags & WEFT_HEAD_NORMALIZES;
		r = weft_path_normalize((const u8 *)c->target, len, WEFT_LISTENER_MERGE_SLASHES, out, sizeof(out), &out_len, &path_len);
		merges = !strchr(c->target, '#') && (out_len != len || memcmp(out, c->target, len));
		if (changes != !!flags) {
			print_error("%s: %s has %sthe flag\n", c->id, c->target, flags ? "" : "not ");
			wrong++;
		}
		r = weft_path_normalize((const u8 *)c->target, len, WEFT_LISTENER_REJECT_SLASHES, out, sizeof(out), &out_len, &path_len);
		if (!!r != !!(head.flags & WEFT_HEAD_ESCAPED_SLASHES)) {
			print_error("%s: %s has %sthe flag for escaped slashes\n", c->id, c->target, r ? "not " : "");
			wrong++;
		}
		if (merges && !(head.flags & WEFT_HEAD_SLASHES)) {
			print_error("%s: %s has not the flag for slashes\n", c->id, c->target);
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_are_taken_and_refused_as_envoy_does),
		cmocka_unit_test(test_responses_are_taken_and_refused_as_envoy_does),
		cmocka_unit_test(test_targets_are_normalised_as_envoy_does),
		cmocka_unit_test(test_the_normalizes_flag_is_set_exactly_when_normalisation_changes_or_refuses),
	};

	return cmocka_run_group_tests_name("oracle", tests, NULL, NULL);
}

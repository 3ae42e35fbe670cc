// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Heads as the programs write them before they look for a route: what Envoy has, and sends on. */
#include "engine/engine_test.h"
#include "weft/canonical.h"
#include "weft/fast.h"

/* What becomes of `sent`; it is again a head, and one that nothing more is to be done about. */
static const char *canonical(const char *sent)
{
	static struct weft_change change;
	struct weft_head_bytes *bytes = head_copy(sent, strlen(sent));
	struct weft_head head;
	u32 len;

	assert_int_equal(weft_parse_request(bytes, (u32)strlen(sent), &head), WEFT_PARSE_DONE);
	assert_int_equal(weft_head_reason(&head, WEFT_LISTENER_NORMALIZE_PATH), WEFT_REASON_NONE);
	assert_true(head.flags & WEFT_HEAD_NOT_CANONICAL);
	len = weft_canonical_write(&change, bytes, &head);
	free(bytes);
	assert_in_range(len, 1, sizeof(change.out) - 9);
	memset(change.out + len, 0, 9);
	assert_int_equal(parse_request(change.out, len, &head), WEFT_PARSE_DONE);
	assert_int_equal(head.head_len, len);
	assert_false(head.flags & (WEFT_HEAD_NOT_CANONICAL | WEFT_REQUEST_PROXY_ONLY));
	return (const char *)change.out;
}

static void test_an_absolute_target_becomes_a_path_and_the_host(void **state)
{
	assert_string_equal(canonical("GET http://x.test:81/y?z HTTP/1.1\r\nA: 1\r\nHost: other\r\nB: 2\r\n\r\nbody"),
			    "GET /y?z HTTP/1.1\r\nhost: x.test:81\r\nA: 1\r\nB: 2\r\n\r\n");
	assert_string_equal(canonical("GET HTTP://u:p@X.test HTTP/1.1\r\n\r\n"), "GET / HTTP/1.1\r\nhost: X.test\r\n\r\n");
	assert_string_equal(canonical("GET http://x.test//y HTTP/1.1\r\nhost: bad host\r\nHOST:\r\nHost: x\r\n\r\n"), "GET //y HTTP/1.1\r\nhost: x.test\r\n\r\n");
}

static void test_repeated_lines_become_one_at_the_place_of_the_first(void **state)
{
#define BEGIN "GET / HTTP/1.1\r\nHost: a\r\n"
	assert_string_equal(canonical(BEGIN "Accept: a\r\nX: 1\r\naccept:  b \r\nACCEPT:c\r\nX: 2\r\n\r\n"), BEGIN "Accept: a,b,c\r\nX: 1\r\nX: 2\r\n\r\n");
	assert_string_equal(canonical(BEGIN "Via: a\r\nPragma: x\r\nvia: b\r\npragma: y, z\r\n\r\n"), BEGIN "Via: a,b\r\nPragma: x,y, z\r\n\r\n");
	assert_string_equal(canonical(BEGIN "Cookie: a\r\nAccept: a\r\nCookie: b\r\nAccept: a\r\n\r\n"), BEGIN "Cookie: a\r\nAccept: a,a\r\nCookie: b\r\n\r\n");
}

static void test_empty_values_add_no_comma(void **state)
{
	assert_string_equal(canonical(BEGIN "Accept:\r\nAccept: \r\nAccept: b\r\nAccept:\r\nAccept: c\r\n\r\n"), BEGIN "Accept:b,c\r\n\r\n");
	assert_string_equal(canonical(BEGIN "Accept: a\r\nAccept:\r\n\r\n"), BEGIN "Accept: a\r\n\r\n");
	assert_string_equal(canonical(BEGIN "Accept:\r\nAccept:\r\n\r\n"), BEGIN "Accept:\r\n\r\n");
}

static void test_both_at_once(void **state)
{
	assert_string_equal(canonical("POST http://x/ HTTP/1.1\r\nAccept: a\r\nHost: h\r\nContent-Length: 4\r\nAccept: b\r\n\r\nbody"),
			    "POST / HTTP/1.1\r\nhost: x\r\nAccept: a,b\r\nContent-Length: 4\r\n\r\n");
}

static void test_a_length_is_said_where_envoy_says_it(void **state)
{
	static const struct {
		const char *sent, *wanted;
	} cases[] = {
		{"POST / HTTP/1.1\r\nHost: a\r\n\r\nGET", "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n"},
		{"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n"},
		{"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"},
		{"GET / HTTP/1.1\r\nConnection: keep-alive\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"GET / HTTP/1.1\r\nHost: a\r\nconnection:Keep-Alive , \r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"POST / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nB: c\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nB: c\r\ncontent-length: 0\r\n\r\n"},
	};
	static struct weft_change change;
	struct weft_head head;
	u32 i, len;

	for (i = 0; i < WEFT_ARRAY_SIZE(cases); i++) {
		struct weft_head_bytes *bytes = head_copy(cases[i].sent, strlen(cases[i].sent));

		assert_int_equal(weft_parse_request(bytes, (u32)strlen(cases[i].sent), &head), WEFT_PARSE_DONE);
		assert_int_equal(weft_head_reason(&head, 0), WEFT_REASON_NONE);
		assert_int_equal(weft_lacks_length(&head), i < 2 || i == 6);
		assert_int_equal(weft_changes_always(&head), i != 2 && i != 3);
		len = weft_change_always(&change, bytes, &head);
		assert_int_equal(len, strlen(cases[i].wanted));
		assert_memory_equal(change.out, cases[i].wanted, len);
		free(bytes);
	}
}

static void test_keep_alive_said_twice_is_the_proxys(void **state)
{
	static const char *const requests[] = {
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: keep-alive\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, keep-alive\r\n\r\n",
	};
	struct weft_head head;
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(requests); i++) {
		assert_int_equal(parse_request(requests[i], strlen(requests[i]), &head), WEFT_PARSE_DONE);
		assert_int_equal(weft_head_reason(&head, 0), WEFT_REASON_ODD_HEAD);
	}
}

/* What the kernel does not rewrite: the scheme of https:// counts in conditions, an address is to be read, and a query without a path has no route. */
static void test_other_absolute_targets_are_the_proxys(void **state)
{
	static const char *const targets[] = {"https://x/", "http://[::1]/", "http://x?y", "http://x/"};
	struct weft_head head;
	char request[128];
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(targets); i++) {
		snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: %s\r\n\r\n", targets[i], i == 3 ? "https" : "http");
		assert_int_equal(parse_request(request, strlen(request), &head), WEFT_PARSE_DONE);
		assert_int_equal(weft_head_reason(&head, 0), WEFT_REASON_ABSOLUTE_FORM);
	}
}

/* The joined lines are not all of the head: what is too long for the kernel stays the client's. */
static void test_a_head_that_is_too_long_is_not_written(void **state)
{
	static struct weft_change change;
	struct weft_head_bytes *bytes;
	struct weft_head head;
	char request[5000];
	int len;

	len = snprintf(request, sizeof(request), BEGIN "Accept: a\r\nAccept: %04095d\r\n\r\n", 1);
	bytes = head_copy(request, (size_t)len);
	assert_int_equal(weft_parse_request(bytes, (u32)len, &head), WEFT_PARSE_DONE);
	assert_int_equal(weft_canonical_write(&change, bytes, &head), 0);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_absolute_target_becomes_a_path_and_the_host),
		cmocka_unit_test(test_repeated_lines_become_one_at_the_place_of_the_first),
		cmocka_unit_test(test_empty_values_add_no_comma),
		cmocka_unit_test(test_both_at_once),
		cmocka_unit_test(test_a_length_is_said_where_envoy_says_it),
		cmocka_unit_test(test_keep_alive_said_twice_is_the_proxys),
		cmocka_unit_test(test_other_absolute_targets_are_the_proxys),
		cmocka_unit_test(test_a_head_that_is_too_long_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

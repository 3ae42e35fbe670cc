// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Virtual hosts, paths and conditions over small images: FACTS statements, and Envoy's recorded choice of virtual host. */
#include "engine/engine_test.h"
#include "engine/image_builder.h"
#include "weft/path.h"
#include "weft/router.h"

#define CATCH_ALL {.match = BUILT_PREFIX, .path = "/", .clusters = {99}}

struct world {
	struct builder builder;
	struct weft_route_query query;
};

static void world_open(struct world *world, const struct built_host *hosts, u32 count, u32 flags, u32 pages)
{
	builder_init(&world->builder, pages);
	world->query = (struct weft_route_query){};
	world->query.route_table = build_route_table(&world->builder, hosts, count, flags);
	world->query.image = build_image(&world->builder, WEFT_IMAGE_ROUTES);
}

static void world_close(struct world *world)
{
	builder_free(&world->builder);
}

/* Routes a whole request as the proxy does: the target is normalised first. */
static struct weft_route_result route_bytes(struct world *world, const void *bytes, size_t len)
{
	struct weft_head_bytes *copy = head_copy(bytes, len);
	struct weft_route_result result;
	struct weft_head head;
	u8 *target = NULL;
	int kind;

	if (weft_parse_request(copy, len, &head))
		fail_msg("not a request: %.*s", (int)len, (const char *)bytes);
	if (!(head.flags & (WEFT_HEAD_ABSOLUTE_FORM | WEFT_HEAD_ASTERISK | WEFT_HEAD_CONNECT))) {
		u32 room = WEFT_PATH_ROOM(head.target.len);

		target = malloc(room);
		assert_int_equal(weft_path_normalize((const u8 *)copy + head.target.off, head.target.len, WEFT_LISTENER_NORMALIZE_PATH, target,
						     room, &world->query.target_len, &world->query.path_len), 0);
	}
	world->query.target = target;
	kind = weft_route(&world->query, copy, &head, &result);
	assert_int_equal(kind, result.kind);
	world->query.target = NULL;
	free(target);
	free(copy);
	return result;
}

static struct weft_route_result route(struct world *world, const char *method, const char *target, const char *host, const char *fields)
{
	char request[8192];
	int len = snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method, target, host, fields);

	return route_bytes(world, request, len);
}

/* The cluster that a GET reaches; 0: 404. */
static u32 cluster_of(struct world *world, const char *target, const char *fields)
{
	struct weft_route_result result = route(world, "GET", target, "a", fields);

	if (result.kind == WEFT_ROUTE_NOT_FOUND)
		return 0;
	assert_int_equal(result.kind, WEFT_ROUTE_CLUSTER);
	return result.cluster_id;
}

/* ---- virtual hosts --------------------------------------------------------------------------------------------------------- */

/* The domains of oracle topic `domains`. */
static const struct built_route host_routes[] = {CATCH_ALL};
#define HOST_ROUTES host_routes, 1
static const struct built_host hosts[] = {
	{"exact", {"reviews.default.svc.cluster.local", "reviews.default.svc.cluster.local.", "reviews", "reviews.default.svc", "reviews.default", "10.96.4.7"}, HOST_ROUTES},
	{"upper-config", {"MixedCase.Example.COM"}, HOST_ROUTES},
	{"suffix-com", {"*.example.com"}, HOST_ROUTES},
	{"suffix-a", {"*.a.example.com"}, HOST_ROUTES},
	{"suffix-dash", {"*-bar.example.com"}, HOST_ROUTES},
	{"suffix-nodot", {"*oo.org"}, HOST_ROUTES},
	{"suffix-svc", {"*.svc.cluster.local"}, HOST_ROUTES},
	{"prefix-www", {"www.*"}, HOST_ROUTES},
	{"prefix-long", {"www.shop.*"}, HOST_ROUTES},
	{"prefix-nodot", {"api*"}, HOST_ROUTES},
	{"exact-beats", {"x.a.example.com", "www.exact.example.com"}, HOST_ROUTES},
	{"with-port", {"ported.test:8080"}, HOST_ROUTES},
	{"without-port", {"plain.test"}, HOST_ROUTES},
	{"both-ports", {"two.test", "two.test:9080"}, HOST_ROUTES},
	{"wild-port", {"*.wildport.test:8080"}, HOST_ROUTES},
	{"port-443", {"secure.test:443"}, HOST_ROUTES},
	{"ip4", {"192.168.1.10"}, HOST_ROUTES},
	{"ip4-port", {"192.168.1.11:8080"}, HOST_ROUTES},
	{"ip6", {"[2001:db8::1]"}, HOST_ROUTES},
	{"ip6-port", {"[2001:db8::2]:8080"}, HOST_ROUTES},
	{"ip6-bare", {"2001:db8::3"}, HOST_ROUTES},
	{"underscore", {"under_score.test"}, HOST_ROUTES},
	{"idn", {"xn--bcher-kva.test"}, HOST_ROUTES},
	{"trailing-dot-only", {"dotted.test."}, HOST_ROUTES},
	{"nothing", {"norroutes.test"}, NULL, 0},
	{"any", {"*"}, HOST_ROUTES},
};

struct host_case {
	const char *topic;
	const char *id;
	const u8 *bytes;
	u32 len;
	const char *name;
};

static const struct host_case host_cases[] = {
#include "engine/oracle_hosts.inc"
};

static void test_virtual_hosts_are_chosen_as_envoy_does(void **state)
{
	u32 wrong = 0, pages, i;

	for (pages = 1; pages <= 3; pages += 2) {
		struct world with_any, without_any, with_ports;

		world_open(&with_any, hosts, WEFT_ARRAY_SIZE(hosts), WEFT_ROUTE_TABLE_IGNORE_PORT, pages);
		world_open(&without_any, hosts, WEFT_ARRAY_SIZE(hosts) - 1, WEFT_ROUTE_TABLE_IGNORE_PORT, pages);
		world_open(&with_ports, hosts, WEFT_ARRAY_SIZE(hosts), 0, pages);
		for (i = 0; i < WEFT_ARRAY_SIZE(host_cases); i++) {
			const struct host_case *c = &host_cases[i];
			struct world *world = !strcmp(c->topic, "domains") ? &with_any
					      : !strcmp(c->topic, "domains-no-catch-all") ? &without_any : &with_ports;
			struct weft_route_result result = route_bytes(world, c->bytes, c->len);
			const char *name = "none";
			u32 len = 4;

			if (result.virtual_host) {
				const struct weft_virtual_host *chosen = (const void *)(world->builder.base + result.virtual_host);
				const struct weft_text *text = (const void *)(world->builder.base + chosen->name);

				name = (const char *)text->bytes;
				len = text->len;
			}
			if (len == strlen(c->name ?: "none") && !memcmp(name, c->name ?: "none", len))
				continue;
			print_error("%s/%s: %s by Envoy, %.*s by weft\n%s\n", c->topic, c->id, c->name ?: "none", (int)len, name,
				    (const char *)c->bytes);
			wrong++;
		}
		world_close(&with_any);
		world_close(&without_any);
		world_close(&with_ports);
	}
	assert_int_equal(wrong, 0);
}

static void test_a_virtual_host_without_a_matching_route_is_not_left_for_the_wildcard(void **state)
{
	static const struct built_route only[] = {{.match = BUILT_EXACT, .path = "/x", .clusters = {1}}};
	static const struct built_host two[] = {{"a", {"a"}, only, 1}, {"any", {"*"}, HOST_ROUTES}};
	struct weft_route_result result;
	struct world world;

	world_open(&world, two, 2, WEFT_ROUTE_TABLE_IGNORE_PORT, 1);
	result = route(&world, "GET", "/y", "a", "");
	assert_int_equal(result.kind, WEFT_ROUTE_NOT_FOUND);
	assert_int_equal(result.reason, WEFT_REASON_NOT_FOUND);
	result = route(&world, "GET", "/y", "b", "");
	assert_int_equal(result.cluster_id, 99);
	world_close(&world);
}

static void test_long_hosts_reach_suffixes_too(void **state)
{
	struct weft_route_result result;
	char host[400];
	struct world world;

	world_open(&world, hosts, WEFT_ARRAY_SIZE(hosts), WEFT_ROUTE_TABLE_IGNORE_PORT, 1);
	memset(host, 'a', sizeof(host));
	strcpy(host + sizeof(host) - sizeof(".example.com"), ".example.com");
	result = route(&world, "GET", "/", host, "");
	assert_int_equal(result.kind, WEFT_ROUTE_CLUSTER);
	assert_string_equal((const char *)((const struct weft_text *)(world.builder.base + ((const struct weft_virtual_host *)(world.builder.base + result.virtual_host))->name))->bytes, "suffix-com");
	world_close(&world);
}

/* ---- paths -------------------------------------------------------------------------------------------------------------------- */

static const struct built_route path_routes[] = {
	{.match = BUILT_EXACT, .path = "/exact", .clusters = {1}},
	{.match = BUILT_EXACT, .path = "/exact/", .clusters = {2}},
	{.match = BUILT_PREFIX, .path = "/api/v1/", .clusters = {3}},
	{.match = BUILT_PREFIX, .path = "/api/v1", .clusters = {4}},
	{.match = BUILT_PREFIX, .path = "/api", .clusters = {5}},
	{.match = BUILT_EXACT, .path = "/api/v1/exact", .clusters = {6}}, /* shadowed */
	{.match = BUILT_SEPARATED, .path = "/sep", .clusters = {7}},
	{.match = BUILT_PREFIX, .path = "/sep", .clusters = {8}},
	{.match = BUILT_EXACT, .path = "/post", .conditions = {{WEFT_CONDITION_EXACT, WEFT_SUBJECT_METHOD, 0, NULL, "POST"}}, .clusters = {9}},
	{.match = BUILT_EXACT, .path = "/post", .clusters = {10}},
	{.match = BUILT_PREFIX, .path = "/", .conditions = {{WEFT_CONDITION_PRESENT, 0, 0, "x-canary", NULL}}, .clusters = {11}},
	{.match = BUILT_EXACT, .path = "/late", .clusters = {12}},
	{.match = BUILT_EXACT, .path = "/CaseExact", .ignores_case = true, .clusters = {13}},
	{.match = BUILT_PREFIX, .path = "/CasePrefix", .ignores_case = true, .clusters = {14}},
	{.match = BUILT_SEPARATED, .path = "/CaseSep", .ignores_case = true, .clusters = {15}},
	{.match = BUILT_EXACT, .path = "/Strict", .clusters = {16}},
	{.match = BUILT_EXACT, .path = "/k[@`{", .ignores_case = true, .clusters = {17}},
	{.match = BUILT_EXACT, .path = "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", .clusters = {18}},
	{.match = BUILT_PREFIX, .path = "/", .clusters = {19}},
	{.match = BUILT_EXACT, .path = "/after", .clusters = {20}}, /* shadowed */
};

static const struct built_host path_hosts[] = {{"a", {"*"}, path_routes, WEFT_ARRAY_SIZE(path_routes)}};

static void test_the_first_route_that_matches_wins(void **state)
{
	static const struct {
		const char *target;
		const char *fields;
		u32 cluster;
	} cases[] = {
		{"/exact", "", 1}, {"/exact/", "", 2}, {"/exact/x", "", 19}, {"/exac", "", 19}, {"/exact?x", "", 1},
		{"/api/v1/", "", 3}, {"/api/v1/x", "", 3}, {"/api/v1", "", 4}, {"/api/v1x", "", 4}, {"/api", "", 5}, {"/apix/v1/", "", 5},
		{"/api/v2", "", 5}, {"/api/v1/exact", "", 3}, {"/ap", "", 19},
		{"/sep", "", 7}, {"/sep/", "", 7}, {"/sep//x", "", 7}, {"/sep?x", "", 7}, {"/sepx", "", 8}, {"/sep;x", "", 8}, {"/sep%2Fx", "", 8},
		{"/post", "", 10}, {"/late", "", 12}, {"/late", "X-Canary:\r\n", 11}, {"/sep", "X-Canary: 1\r\n", 7}, {"/after", "", 19},
		{"/caseexact", "", 13}, {"/CASEEXACT", "", 13}, {"/caseexact/", "", 19}, {"/cAsEpReFiXes", "", 14}, {"/casesep/x", "", 15},
		{"/CaseSep", "", 15}, {"/casesepx", "", 19}, {"/Strict", "", 16}, {"/strict", "", 19}, {"/%61pi", "", 5}, {"/x/../api", "", 5},
		{"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "", 18},
		{"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "", 19},
		{"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "", 19},
	};
	u32 pages, i;

	for (pages = 1; pages <= 3; pages += 2) {
		struct world world;

		world_open(&world, path_hosts, 1, 0, pages);
		for (i = 0; i < WEFT_ARRAY_SIZE(cases); i++) {
			u32 cluster = cluster_of(&world, cases[i].target, cases[i].fields);

			if (cluster != cases[i].cluster)
				fail_msg("%s reaches %u, not %u", cases[i].target, cluster, cases[i].cluster);
		}
		assert_int_equal(route(&world, "POST", "/post", "a", "").cluster_id, 9);
		world_close(&world);
	}
}

static void test_a_normalised_backtick_never_meets_a_configured_one(void **state)
{
	struct world world;

	world_open(&world, path_hosts, 1, 0, 1);
	assert_int_equal(cluster_of(&world, "/K[@`{", ""), 19); /* becomes %60%7B */
	world_close(&world);
}

static void test_requests_that_reach_no_route(void **state)
{
	static const struct built_route all[] = {{.match = BUILT_PREFIX, .path = "", .clusters = {1}}};
	static const struct built_host any[] = {{"any", {"*"}, all, 1}};
	struct world world;

	world_open(&world, any, 1, 0, 1);
	assert_int_equal(route(&world, "OPTIONS", "*", "a", "").kind, WEFT_ROUTE_NOT_FOUND);
	assert_int_equal(route(&world, "CONNECT", "a:80", "a", "").kind, WEFT_ROUTE_NOT_FOUND);
	assert_int_equal(route(&world, "GET", "http://a?x", "a", "").kind, WEFT_ROUTE_NOT_FOUND);
	assert_int_equal(route(&world, "GET", "/", "a", "X-Forwarded-Proto:\r\n").kind, WEFT_ROUTE_NOT_FOUND);
	assert_int_equal(route(&world, "GET", "/", "a", "Accept: a\r\nX-Forwarded-Proto:\r\nAccept: b\r\n").kind, WEFT_ROUTE_NOT_FOUND);
	assert_int_equal(route(&world, "GET", "/", "a", "X-Forwarded-Proto:\r\nX-Forwarded-Proto: http\r\n").kind, WEFT_ROUTE_CLUSTER);
	assert_int_equal(route(&world, "GET", "http://a", "a", "").kind, WEFT_ROUTE_CLUSTER);
	assert_int_equal(route(&world, "GET", "/", "", "").kind, WEFT_ROUTE_CLUSTER);
	world_close(&world);
}

static void test_a_path_without_leading_slash_matches_only_by_an_empty_prefix(void **state)
{
	static const struct built_route routes[] = {
		{.match = BUILT_PREFIX, .path = "no-slash", .clusters = {1}},
		{.match = BUILT_PREFIX, .path = "", .clusters = {2}},
	};
	static const struct built_host any[] = {{"any", {"*"}, routes, 2}};
	struct world world;

	world_open(&world, any, 1, 0, 1);
	assert_int_equal(cluster_of(&world, "/no-slash", ""), 2);
	world_close(&world);
}

/* ---- conditions ------------------------------------------------------------------------------------------------------------------ */

/* Does a route with this one condition match a request with these lines? */
static bool holds(u8 kind, u8 flags, const char *name, const char *value, const char *fields)
{
	struct built_route routes[] = {{.match = BUILT_PREFIX, .path = "/", .conditions = {{kind, 0, flags, name, value}}, .clusters = {1}}, CATCH_ALL};
	struct built_host any[] = {{"any", {"*"}, routes, 2}};
	struct world world;
	u32 cluster;

	world_open(&world, any, 1, 0, 1);
	cluster = cluster_of(&world, "/p?q", fields);
	world_close(&world);
	return cluster == 1;
}

static bool holds_on(u8 subject, u8 kind, u8 flags, const char *value, const char *method, const char *target, const char *host, const char *fields)
{
	struct built_route routes[] = {{.match = BUILT_PREFIX, .path = "/", .conditions = {{kind, subject, flags, NULL, value}}, .clusters = {1}}, CATCH_ALL};
	struct built_host any[] = {{"any", {"*"}, routes, 2}};
	struct weft_route_result result;
	struct world world;

	world_open(&world, any, 1, 0, 1);
	result = route(&world, method, target, host, fields);
	world_close(&world);
	return result.cluster_id == 1;
}

#define INVERT WEFT_CONDITION_INVERT
#define NOCASE WEFT_CONDITION_IGNORE_CASE
#define AS_EMPTY WEFT_CONDITION_MISSING_AS_EMPTY
#define EXACT WEFT_CONDITION_EXACT
#define PREFIX WEFT_CONDITION_PREFIX
#define SUFFIX WEFT_CONDITION_SUFFIX
#define CONTAINS WEFT_CONDITION_CONTAINS
#define PRESENT WEFT_CONDITION_PRESENT
#define RANGE WEFT_CONDITION_RANGE
#define GRPC WEFT_CONDITION_GRPC
#define FRACTION WEFT_CONDITION_FRACTION
#define CHANCE WEFT_SUBJECT_CHANCE

static void test_values_match_by_their_kind(void **state)
{
	assert_true(holds(EXACT, 0, "x-v", "abc", "X-V: abc\r\n"));
	assert_false(holds(EXACT, 0, "x-v", "abc", "X-V: abcd\r\n"));
	assert_false(holds(EXACT, 0, "x-v", "abc", "X-V: ABC\r\n"));
	assert_true(holds(EXACT, NOCASE, "x-v", "abc", "X-V: aBC\r\n"));
	assert_true(holds(PREFIX, 0, "x-v", "ab", "X-V: abc\r\n"));
	assert_false(holds(PREFIX, 0, "x-v", "ab", "X-V: a\r\n"));
	assert_true(holds(SUFFIX, NOCASE, "x-v", "bc", "X-V: ABC\r\n"));
	assert_false(holds(SUFFIX, 0, "x-v", "bc", "X-V: bca\r\n"));
	assert_true(holds(CONTAINS, 0, "x-v", "b", "X-V: abc\r\n"));
	assert_true(holds(CONTAINS, 0, "x-v", "a longer needle", "X-V: in a haystack, a longer needle, and more\r\n"));
	assert_false(holds(CONTAINS, 0, "x-v", "a longer needle", "X-V: in a haystack, a longer needl, a longer nEedle\r\n"));
	assert_true(holds(CONTAINS, NOCASE, "x-v", "needle!", "X-V: ...NEEDLE!\r\n"));
	assert_true(holds(EXACT, 0, "x-v", "", "X-V:\r\n"));
	assert_false(holds(EXACT, 0, "x-v", "", "X-V: a\r\n"));
	assert_true(holds(EXACT, 0, "x-v", "12345678", "X-V: 12345678\r\n"));
	assert_false(holds(EXACT, 0, "x-v", "12345678", "X-V: 12345679\r\n"));
	assert_true(holds(EXACT, 0, "x-v", "0123456789abcdef0123456789abcdef0", "X-V: 0123456789abcdef0123456789abcdef0\r\n"));
	assert_false(holds(EXACT, 0, "x-v", "0123456789abcdef0123456789abcdef0", "X-V: 0123456789abcdef0123456789abcdef1\r\n"));
}

static void test_names_match_without_case_and_exactly(void **state)
{
	assert_true(holds(PRESENT, 0, "x_under", NULL, "X_Under: 1\r\n"));
	assert_false(holds(PRESENT, 0, "x-under", NULL, "X_Under: 1\r\n"));
	/* ^ and ~ have one hash */
	assert_false(holds(PRESENT, 0, "x^", NULL, "X~: 1\r\n"));
	assert_true(holds(PRESENT, 0, "x~", NULL, "X~: 1\r\n"));
	assert_true(holds(PRESENT, 0, "a-name-of-more-than-thirty-two-bytes", NULL, "A-Name-Of-More-Than-Thirty-Two-Bytes: 1\r\n"));
}

static void test_a_missing_header_fails_even_inverted_conditions(void **state)
{
	assert_false(holds(EXACT, 0, "x-v", "abc", ""));
	assert_false(holds(EXACT, INVERT, "x-v", "abc", ""));
	assert_false(holds(PREFIX, INVERT, "x-v", "", ""));
	assert_true(holds(EXACT, INVERT, "x-v", "abc", "X-V: abd\r\n"));
	assert_false(holds(EXACT, INVERT, "x-v", "abc", "X-V: abc\r\n"));
}

static void test_presence_and_its_inverse(void **state)
{
	assert_true(holds(PRESENT, 0, "x-v", NULL, "X-V:\r\n"));
	assert_false(holds(PRESENT, 0, "x-v", NULL, ""));
	assert_true(holds(PRESENT, INVERT, "x-v", NULL, ""));
	assert_false(holds(PRESENT, INVERT, "x-v", NULL, "X-V:\r\n"));
	assert_true(holds(PRESENT, AS_EMPTY, "x-v", NULL, ""));
	assert_false(holds(PRESENT, INVERT | AS_EMPTY, "x-v", NULL, ""));
}

static void test_missing_as_empty(void **state)
{
	assert_true(holds(EXACT, INVERT | AS_EMPTY, "x-v", "abc", ""));
	assert_true(holds(EXACT, AS_EMPTY, "x-v", "", ""));
	assert_false(holds(EXACT, INVERT | AS_EMPTY, "x-v", "", ""));
	assert_false(holds(PREFIX, AS_EMPTY, "x-v", "a", ""));
	assert_false(holds(CONTAINS, AS_EMPTY, "x-v", "a", ""));
}

static void test_repeated_lines_match_one_by_one(void **state)
{
	assert_true(holds(EXACT, 0, "x-v", "b", "X-V: a\r\nX-V: b\r\n"));
	assert_false(holds(EXACT, 0, "x-v", "a,b", "X-V: a\r\nX-V: b\r\n"));
	assert_false(holds(EXACT, INVERT, "x-v", "a", "X-V: a\r\nX-V: b\r\n"));
	assert_true(holds(EXACT, INVERT, "x-v", "c", "X-V: a\r\nX-V: b\r\n"));
}

static void test_lines_of_names_that_envoy_joins_match_as_one(void **state)
{
	assert_true(holds(EXACT, 0, "user-agent", "a,b", "User-Agent: a\r\nX: 1\r\nUser-Agent: b\r\n"));
	assert_false(holds(EXACT, 0, "user-agent", "a", "User-Agent: a\r\nUser-Agent: b\r\n"));
	assert_true(holds(EXACT, 0, "user-agent", "a,b", "User-Agent: a,b\r\n"));
	assert_false(holds(EXACT, 0, "cookie", "a,b", "Cookie: a\r\nCookie: b\r\n"));
}

static void test_lines_that_envoy_removes_are_missing(void **state)
{
	assert_false(holds(PRESENT, 0, "connection", NULL, "Connection: keep-alive\r\n"));
	assert_false(holds(PRESENT, 0, "keep-alive", NULL, "Keep-Alive: timeout=5\r\n"));
	assert_false(holds(PRESENT, 0, "proxy-connection", NULL, "Proxy-Connection: x\r\n"));
	assert_false(holds(PRESENT, 0, "upgrade", NULL, "Upgrade: foo\r\n"));
	assert_true(holds(PRESENT, 0, "upgrade", NULL, "Connection: Upgrade\r\nUpgrade: foo\r\n"));
	assert_true(holds(EXACT, 0, "connection", "keep-alive,Upgrade", "Connection: keep-alive\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"));
	assert_false(holds(PRESENT, 0, "x-foo", NULL, "Connection: x-foo\r\nX-Foo: 1\r\n"));
	assert_false(holds(PRESENT, 0, "x-envoy-internal", NULL, "X-Envoy-Internal: true\r\n"));
	assert_false(holds(PRESENT, 0, "x-envoy-max-retries", NULL, "X-Envoy-Max-Retries: 9\r\n"));
	assert_true(holds(PRESENT, 0, "x-envoy-unknown", NULL, "X-Envoy-Unknown: 1\r\n"));
	assert_false(holds(PRESENT, 0, "transfer-encoding", NULL, "Transfer-Encoding: chunked\r\n"));
	assert_false(holds(PRESENT, 0, "te", NULL, "TE: gzip\r\n"));
	assert_false(holds(PRESENT, 0, "te", NULL, "TE: Trailers\r\n"));
	assert_true(holds(EXACT, 0, "te", "trailers", "TE: gzip, trailers\r\n"));
	assert_true(holds(PRESENT, 0, "expect", NULL, "Expect: 100-continue\r\n"));
}

static void test_pseudo_headers(void **state)
{
	assert_true(holds_on(WEFT_SUBJECT_METHOD, EXACT, NOCASE, "get", "GET", "/", "a", ""));
	assert_false(holds_on(WEFT_SUBJECT_METHOD, EXACT, 0, "get", "GET", "/", "a", ""));
	assert_true(holds_on(WEFT_SUBJECT_AUTHORITY, EXACT, 0, "A.test:80", "GET", "/", "A.test:80", ""));
	assert_false(holds_on(WEFT_SUBJECT_AUTHORITY, EXACT, 0, "a.test", "GET", "/", "A.test:80", ""));
	assert_true(holds_on(WEFT_SUBJECT_PATH, EXACT, 0, "/b?c=%2e", "GET", "/a/../b?c=%2e#d", "a", ""));
	assert_true(holds_on(WEFT_SUBJECT_SCHEME, EXACT, 0, "http", "GET", "/", "a", ""));
	assert_false(holds_on(WEFT_SUBJECT_SCHEME, PREFIX, 0, "https", "GET", "/", "a", ""));
	assert_true(holds_on(WEFT_SUBJECT_SCHEME, SUFFIX, 0, "s", "GET", "/", "a", "X-Forwarded-Proto: HTTPS\r\n"));
	assert_true(holds_on(WEFT_SUBJECT_SCHEME, EXACT, 0, "https", "GET", "https://a/", "a", ""));
	assert_true(holds_on(WEFT_SUBJECT_SCHEME, CONTAINS, 0, "tt", "GET", "/", "a", "X-Forwarded-Proto: ftp\r\n"));
	assert_true(holds(EXACT, 0, "x-forwarded-proto", "http", ""));
	assert_false(holds(EXACT, 0, "x-forwarded-proto", "http", "X-Forwarded-Proto: ftp\r\n"));
	assert_true(holds(EXACT, INVERT, "x-forwarded-proto", "https", ""));
	/* what is set is there beside other names that came twice, too */
	assert_true(holds(EXACT, 0, "x-forwarded-proto", "http", "Via: a\r\nVia: b\r\n"));
	assert_true(holds(EXACT, INVERT, "x-forwarded-proto", "https", "Via: a\r\nVia: b\r\n"));
}

static void test_all_conditions_must_hold(void **state)
{
	static const struct built_route routes[] = {
		{.match = BUILT_PREFIX, .path = "/", .conditions = {{EXACT, 0, 0, "x-a", "1"}, {EXACT, 0, 0, "x-b", "2"}, {PRESENT, 0, INVERT, "x-c", NULL}}, .clusters = {1}},
		CATCH_ALL,
	};
	static const struct built_host any[] = {{"any", {"*"}, routes, 2}};
	struct world world;

	world_open(&world, any, 1, 0, 2);
	assert_int_equal(cluster_of(&world, "/", "X-A: 1\r\nX-B: 2\r\n"), 1);
	assert_int_equal(cluster_of(&world, "/", "X-A: 1\r\nX-B: 3\r\n"), 99);
	assert_int_equal(cluster_of(&world, "/", "X-A: 1\r\nX-B: 2\r\nX-C: 3\r\n"), 99);
	world_close(&world);
}

static void test_numbers_match_by_range(void **state)
{
	assert_true(holds(RANGE, 0, "x-v", "1 10", "X-V: 1\r\n"));
	assert_false(holds(RANGE, 0, "x-v", "1 10", "X-V: 10\r\n"));
	assert_true(holds(RANGE, 0, "x-v", "10 11", "X-V: +10\r\n"));
	assert_true(holds(RANGE, 0, "x-v", "10 11", "X-V: 010\r\n"));
	assert_true(holds(RANGE, 0, "x-v", "-10 -9", "X-V: -10\r\n"));
	assert_false(holds(RANGE, 0, "x-v", "0 100", "X-V: 10.0\r\n"));
	assert_false(holds(RANGE, 0, "x-v", "0 100", "X-V: 0x0a\r\n"));
	assert_false(holds(RANGE, 0, "x-v", "0 100", "X-V: - 1\r\n"));
	assert_false(holds(RANGE, 0, "x-v", "0 100", "X-V:\r\n"));
	assert_true(holds(RANGE, 0, "x-v", "-9223372036854775808 0", "X-V: -9223372036854775808\r\n"));
	assert_false(holds(RANGE, INVERT, "x-v", "9223372036854775807 9223372036854775807", ""));
	assert_true(holds(RANGE, INVERT, "x-v", "-9223372036854775808 9223372036854775807", "X-V: 9223372036854775808\r\n"));
	assert_true(holds(RANGE, INVERT, "x-v", "-9223372036854775808 9223372036854775807", "X-V: 18446744073709551616\r\n"));
	assert_true(holds(RANGE, 0, "x-v", "1 10", "X-V: abc\r\nX-V: 5\r\n"));
	assert_true(holds(RANGE, INVERT | AS_EMPTY, "x-v", "1 10", ""));
	assert_false(holds(RANGE, AS_EMPTY, "x-v", "0 10", ""));
}

/* Does a route with this condition on a query parameter match the target? */
static bool holds_query(u8 kind, u8 flags, const char *name, const char *value, const char *target)
{
	struct built_route routes[] = {
		{.match = BUILT_PREFIX, .path = "/", .conditions = {{kind, WEFT_SUBJECT_QUERY, flags, name, value}}, .clusters = {1}},
		CATCH_ALL,
	};
	struct built_host any[] = {{"any", {"*"}, routes, 2}};
	struct weft_route_result result;
	struct world world;

	world_open(&world, any, 1, 0, 1);
	result = route(&world, "GET", target, "a", "");
	world_close(&world);
	return result.cluster_id == 1;
}

static void test_query_parameters_match_undecoded_and_by_their_first_value(void **state)
{
	assert_true(holds_query(EXACT, 0, "a", "1", "/?a=1"));
	assert_true(holds_query(EXACT, 0, "a", "1", "/?b=2&a=1&a=2"));
	assert_false(holds_query(EXACT, 0, "a", "2", "/?a=1&a=2"));
	assert_true(holds_query(EXACT, 0, "a", "", "/?a"));
	assert_true(holds_query(EXACT, 0, "a", "", "/?a="));
	assert_true(holds_query(EXACT, 0, "a", "b=c", "/?a=b=c"));
	assert_false(holds_query(EXACT, 0, "a", "1", "/?A=1"));
	assert_false(holds_query(EXACT, 0, "a", "1", "/?aa=1&%61=1"));
	assert_true(holds_query(EXACT, 0, "a", "%31", "/?a=%31"));
	assert_true(holds_query(PREFIX, NOCASE, "a", "x", "/?a=Xyz"));
	assert_true(holds_query(CONTAINS, 0, "a", "?", "/?a=1?2"));
	assert_true(holds_query(PRESENT, 0, "a", NULL, "/x/../y?a"));
	assert_false(holds_query(PRESENT, 0, "a", NULL, "/a?b=a"));
	assert_true(holds_query(PRESENT, INVERT, "a", NULL, "/a"));
	assert_false(holds_query(EXACT, 0, "a", "1", "/#?a=1"));
	assert_true(holds_query(EXACT, 0, "a", "1", "/?a=1#b"));
}

static void test_grpc_is_told_by_its_content_type(void **state)
{
	assert_true(holds(GRPC, 0, "content-type", "application/grpc", "Content-Type: application/grpc\r\n"));
	assert_true(holds(GRPC, 0, "content-type", "application/grpc", "Content-Type: application/grpc+proto\r\n"));
	assert_false(holds(GRPC, 0, "content-type", "application/grpc", "Content-Type: application/grpc-web\r\n"));
	assert_false(holds(GRPC, 0, "content-type", "application/grpc", "Content-Type: Application/grpc\r\n"));
	assert_false(holds(GRPC, 0, "content-type", "application/grpc", ""));
}

/* One number a request: what passes a fraction has a number below it, for later fractions and weights too. */
static void test_a_request_has_one_random_number(void **state)
{
	static const struct built_route routes[] = {
		{.match = BUILT_PREFIX, .path = "/", .conditions = {{FRACTION, CHANCE, 0, "", "30 100"}}, .clusters = {1}},
		{.match = BUILT_PREFIX, .path = "/", .conditions = {{FRACTION, CHANCE, 0, "", "30 100"}}, .clusters = {2}},
		{.match = BUILT_PREFIX, .path = "/", .conditions = {{FRACTION, CHANCE, 0, "", "400000 1000000"}}, .clusters = {3}},
		{.match = BUILT_PREFIX, .path = "/", .clusters = {4, 5}, .weights = {30, 70}},
	};
	static const struct built_host any[] = {{"any", {"*"}, routes, 4}};
	u32 counts[6] = {}, i;
	struct world world;

	world_open(&world, any, 1, 0, 1);
	for (i = 0; i < 100; i++) {
		world.query.random = i;
		counts[cluster_of(&world, "/", "")]++;
	}
	assert_int_equal(counts[1], 30);
	assert_int_equal(counts[2], 0);
	assert_int_equal(counts[3], 70);
	counts[3] = 0;
	for (i = 400000; i < 400100; i++) {
		world.query.random = i;
		counts[cluster_of(&world, "/", "")]++;
	}
	assert_int_equal(counts[1], 60);
	assert_int_equal(counts[4], 0);
	assert_int_equal(counts[5], 70);
	world_close(&world);
}

/* ---- actions ----------------------------------------------------------------------------------------------------------------------- */

static void test_weights_divide_the_random_numbers(void **state)
{
	static const struct built_route routes[] = {{.match = BUILT_PREFIX, .path = "/", .clusters = {1, 2, 3}, .weights = {1, 2, 7}}};
	static const struct built_host any[] = {{"any", {"*"}, routes, 1}};
	u32 counts[4] = {}, i;
	struct world world;

	world_open(&world, any, 1, 0, 1);
	for (i = 0; i < 1000; i++) {
		world.query.random = i;
		counts[cluster_of(&world, "/", "")]++;
	}
	assert_int_equal(counts[1], 100);
	assert_int_equal(counts[2], 200);
	assert_int_equal(counts[3], 700);
	world.query.random = ~0u; /* 5 of 10 */
	assert_int_equal(cluster_of(&world, "/", ""), 3);
	world_close(&world);
}

static void test_actions_become_kinds(void **state)
{
	static const struct built_route routes[] = {
		{.match = BUILT_PREFIX, .path = "/direct", .action = WEFT_ACTION_DIRECT},
		{.match = BUILT_PREFIX, .path = "/refused", .action = WEFT_ACTION_REFUSED},
		{.match = BUILT_PREFIX, .path = "/proxy", .action = WEFT_ACTION_PROXY, .clusters = {5}},
		{.match = BUILT_PREFIX, .path = "/unsupported", .flags = WEFT_ROUTE_MATCH_UNSUPPORTED, .conditions = {{EXACT, 0, 0, "x-a", "1"}}, .clusters = {6}},
		{.match = BUILT_PREFIX, .path = "/", .clusters = {7}},
	};
	static const struct built_host any[] = {{"any", {"*"}, routes, WEFT_ARRAY_SIZE(routes)}};
	struct weft_route_result result;
	struct world world;

	world_open(&world, any, 1, 0, 1);
	result = route(&world, "GET", "/direct", "a", "");
	assert_int_equal(result.kind, WEFT_ROUTE_DIRECT);
	assert_int_not_equal(result.direct, 0);
	result = route(&world, "GET", "/refused", "a", "");
	assert_int_equal(result.kind, WEFT_ROUTE_REFUSED);
	assert_int_equal(result.reason, WEFT_REASON_ROUTE_REFUSED);
	assert_int_equal(route(&world, "GET", "/proxy", "a", "").cluster_id, 5);
	assert_int_equal(route(&world, "GET", "/unsupported", "a", "").cluster_id, 7);
	assert_int_equal(route(&world, "GET", "/unsupported", "a", "X-A: 1\r\n").kind, WEFT_ROUTE_REFUSED);
	result = route(&world, "GET", "/", "a", "");
	assert_int_equal(result.kind, WEFT_ROUTE_CLUSTER);
	assert_int_equal(result.reason, WEFT_REASON_NONE);
	assert_int_equal(result.route_id, 4);
	assert_int_equal(result.timeout_ms, 15000);
	world_close(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_virtual_hosts_are_chosen_as_envoy_does),
		cmocka_unit_test(test_a_virtual_host_without_a_matching_route_is_not_left_for_the_wildcard),
		cmocka_unit_test(test_long_hosts_reach_suffixes_too),
		cmocka_unit_test(test_the_first_route_that_matches_wins),
		cmocka_unit_test(test_a_normalised_backtick_never_meets_a_configured_one),
		cmocka_unit_test(test_requests_that_reach_no_route),
		cmocka_unit_test(test_a_path_without_leading_slash_matches_only_by_an_empty_prefix),
		cmocka_unit_test(test_values_match_by_their_kind),
		cmocka_unit_test(test_names_match_without_case_and_exactly),
		cmocka_unit_test(test_a_missing_header_fails_even_inverted_conditions),
		cmocka_unit_test(test_presence_and_its_inverse),
		cmocka_unit_test(test_missing_as_empty),
		cmocka_unit_test(test_repeated_lines_match_one_by_one),
		cmocka_unit_test(test_lines_of_names_that_envoy_joins_match_as_one),
		cmocka_unit_test(test_lines_that_envoy_removes_are_missing),
		cmocka_unit_test(test_pseudo_headers),
		cmocka_unit_test(test_all_conditions_must_hold),
		cmocka_unit_test(test_numbers_match_by_range),
		cmocka_unit_test(test_query_parameters_match_undecoded_and_by_their_first_value),
		cmocka_unit_test(test_grpc_is_told_by_its_content_type),
		cmocka_unit_test(test_a_request_has_one_random_number),
		cmocka_unit_test(test_weights_divide_the_random_numbers),
		cmocka_unit_test(test_actions_become_kinds),
	};

	return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}

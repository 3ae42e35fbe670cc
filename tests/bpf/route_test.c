// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Routes and conditions: the engine in the kernel against the engine on the host. Needs root. */
#include "engine/image_builder.h"
#include "harness.h"
#include "weft/fast.h"

static const struct {
	const char *id;
	int outcome;
	const u8 *bytes;
	u32 len;
} requests[] = {
#define ORACLE_TAKEN 0
#define ORACLE_REFUSED 1
#define ORACLE_VERSION 2
#define ORACLE_CODING 3
#define ORACLE_LARGE 4
#define ORACLE_PREFACE 5
#define ORACLE_PARTIAL 6
#define BYTES(literal) (const u8 *)(literal), sizeof(literal) - 1
#include "engine/oracle_requests.inc"
};

static const struct built_route many_routes[] = {
	{.match = BUILT_EXACT, .path = "/direct", .action = WEFT_ACTION_DIRECT},
	{.match = BUILT_PREFIX, .path = "/ws", .clusters = {1}},
	{.match = BUILT_EXACT, .path = "/a", .conditions = {{WEFT_CONDITION_EXACT, 0, 0, "x-a", "1"}}, .clusters = {2}},
	{.match = BUILT_PREFIX, .path = "/a", .conditions = {{WEFT_CONDITION_CONTAINS, 0, WEFT_CONDITION_IGNORE_CASE, "user-agent", "mozilla/5"}}, .clusters = {3}},
	{.match = BUILT_PREFIX, .path = "/", .conditions = {{WEFT_CONDITION_SUFFIX, 0, 0, "cookie", "user=jason"}, {WEFT_CONDITION_PRESENT, 0, WEFT_CONDITION_INVERT, "x-no", NULL}}, .clusters = {4}},
	{.match = BUILT_PREFIX, .path = "/", .conditions = {{WEFT_CONDITION_PREFIX, WEFT_SUBJECT_AUTHORITY, 0, NULL, "plain."}, {WEFT_CONDITION_EXACT, WEFT_SUBJECT_METHOD, 0, NULL, "DELETE"}}, .clusters = {5}},
	{.match = BUILT_PREFIX, .path = "/api/v1", .ignores_case = true, .clusters = {6}},
	{.match = BUILT_SEPARATED, .path = "/sep", .clusters = {7}},
	{.match = BUILT_PREFIX, .path = "/refused", .action = WEFT_ACTION_REFUSED},
	{.match = BUILT_PREFIX, .path = "/x", .conditions = {{WEFT_CONDITION_EXACT, WEFT_SUBJECT_PATH, 0, NULL, "/x?y"}}, .clusters = {8}},
	{.match = BUILT_PREFIX, .path = "/a", .conditions = {{WEFT_CONDITION_EXACT, 0, WEFT_CONDITION_INVERT | WEFT_CONDITION_MISSING_AS_EMPTY, "x-b", ""}}, .clusters = {9}},
	{.match = BUILT_PREFIX, .path = "/a", .conditions = {{WEFT_CONDITION_PRESENT, 0, 0, "connection", NULL}}, .clusters = {10}},
	{.match = BUILT_PREFIX, .path = "/a", .conditions = {{WEFT_CONDITION_EXACT, 0, WEFT_CONDITION_INVERT, "x-forwarded-proto", "http"}}, .clusters = {11}},
	{.match = BUILT_PREFIX, .path = "/an/unusually/long/prefix/that/needs/more/than/one/node/of/the/trie/since/a/label/has/sixty/four/bytes", .clusters = {12}},
	{.match = BUILT_PREFIX, .path = "/", .clusters = {20, 21, 22}, .weights = {1, 2, 3}},
};

static const struct built_host many_hosts[] = {
	{"exact", {"reviews.default.svc.cluster.local", "f.test", "a"}, many_routes, WEFT_ARRAY_SIZE(many_routes)},
	{"suffix", {"*.example.com", "*.a.example.com", "*oo.org"}, many_routes, WEFT_ARRAY_SIZE(many_routes)},
	{"prefix", {"www.*", "api*", "www.shop.*"}, many_routes, WEFT_ARRAY_SIZE(many_routes)},
	{"any", {"*"}, many_routes, WEFT_ARRAY_SIZE(many_routes)},
};

static void compare_route(struct engine *engine, struct weft_route_query *query, const u8 *bytes, u32 len, struct counts *counts)
{
	u8 copy[WEFT_KERNEL_HEAD_MAX + 64] = {};
	struct weft_route_query as_sent = *query;
	struct weft_route_result result;
	struct weft_head head;

	memcpy(copy, bytes, len);
	if (weft_parse_request((const void *)copy, len, &head) || head.field_count > WEFT_KERNEL_FIELDS_MAX ||
	    weft_head_reason(&head, WEFT_LISTENER_NORMALIZE_PATH) || head.host_len > WEFT_HOST_LENGTH_MAX)
		return;
	feed(engine, bytes, len);
	run(engine, "engine_parse_request", 1);
	assert_int_equal(engine->io->result, WEFT_PARSE_DONE);
	canonical(engine);
	if (head.flags & WEFT_HEAD_ABSOLUTE_FORM) {
		as_sent.target = head.path.len ? copy + head.path.off : (const u8 *)"/\0\0\0\0\0\0\0";
		as_sent.target_len = head.path.len ? (u32)head.target.off + head.target.len - head.path.off : 1;
		as_sent.path_len = head.path.len ?: 1;
	}
	engine->io->random = query->random;
	engine->io->route_table = query->route_table;
	run(engine, "engine_route", 1);
	weft_route(&as_sent, (const void *)copy, &head, &result);
	counts->compared++;
	counts->done += result.kind == WEFT_ROUTE_CLUSTER;
	if (engine->io->result == (int)result.kind && !memcmp(&engine->io->route, &result, sizeof(result)))
		return;
	if (!counts->wrong++)
		print_error("kernel: %u reason %u route %u cluster %u, host: %u reason %u route %u cluster %u\n%.*s\n", engine->io->route.kind,
			    engine->io->route.reason, engine->io->route.route_id, engine->io->route.cluster_id, result.kind, result.reason,
			    result.route_id, result.cluster_id, (int)len, (const char *)bytes);
}

static void test_routes_are_chosen_as_on_the_host(void **state)
{
	static const char *const hosts[] = {"f.test", "REVIEWS.default.svc.cluster.local:9080", "x.example.com", "x.A.example.com:1", ".a.example.com", "foo.org", "oo.org", "www.x", "www.shop.x:80", "api", "api2", "plain.x", "", "[::1]:80"};
	static const char *const targets[] = {"/", "/direct", "/ws?x", "/a", "/a/b", "/API/v1/x", "/sep", "/sepx", "/sep/", "/refused", "/x?y", "/x", "/an/unusually/long/prefix/that/needs/more/than/one/node/of/the/trie/since/a/label/has/sixty/four/bytes/and", "/an/unusually/long/prefix/that"};
	static const char *const fields[] = {"", "X-A: 1\r\n", "X-a: 2\r\nX-A: 1\r\n", "User-Agent: MOZILLA/5.0\r\n", "Cookie: a; user=jason\r\n", "Cookie: user=jason\r\nX-No: \r\n", "X-B: x\r\nConnection: keep-alive\r\n", "X-B:\r\n"};
	struct engine *engine = engine_of(state);
	struct counts counts = {};
	u32 random = SEED, pages;

	for (pages = 1; pages <= 3; pages++) {
		struct weft_route_query query = {};
		struct builder b;
		u32 h, t, f, i, k;

		builder_init(&b, pages);
		query.route_table = build_route_table(&b, many_hosts, WEFT_ARRAY_SIZE(many_hosts) - (pages == 2), WEFT_ROUTE_TABLE_IGNORE_PORT);
		query.image = build_image(&b, WEFT_IMAGE_ROUTES);
		publish(engine, 5, b.base, b.pages);
		engine->io->slot = 5;
		for (h = 0; h < WEFT_ARRAY_SIZE(hosts); h++)
			for (t = 0; t < WEFT_ARRAY_SIZE(targets); t++)
				for (f = 0; f < WEFT_ARRAY_SIZE(fields); f++) {
					u8 bytes[2048];
					u32 len = sprintf((char *)bytes, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", (h + t) % 2 ? "GET" : "DELETE", targets[t], hosts[h], fields[f]);

					query.random = random_next(&random);
					compare_route(engine, &query, bytes, len, &counts);
					len = mutate(bytes, len, sizeof(bytes), &random);
					compare_route(engine, &query, bytes, len, &counts);
				}
		for (i = 0; i < WEFT_ARRAY_SIZE(requests); i++)
			for (k = 0; k < 4; k++) {
				u8 bytes[2048];
				u32 len = requests[i].len;

				memcpy(bytes, requests[i].bytes, len);
				if (k)
					len = mutate(bytes, len, sizeof(bytes), &random);
				query.random = random_next(&random);
				compare_route(engine, &query, bytes, len, &counts);
			}
		builder_free(&b);
	}
	print_message("%u requests routed, %u to a cluster\n", counts.compared, counts.done);
	assert_int_equal(counts.wrong, 0);
	assert_true(counts.compared > 5000);
}

static void test_what_the_kernel_cannot_decide_goes_to_the_proxy(void **state)
{
	static const struct built_route routes[] = {{.match = BUILT_PREFIX, .path = "/p", .action = WEFT_ACTION_PROXY, .clusters = {1}}, {.match = BUILT_PREFIX, .path = "/", .clusters = {2}}};
	static const struct built_host hosts[] = {{"any", {"*"}, routes, 2}, {"suffix", {"*.x"}, routes, 2}};
	struct engine *engine = engine_of(state);
	struct builder b;
	u8 bytes[1024];
	u32 len;

	builder_init(&b, 1);
	engine->io->route_table = build_route_table(&b, hosts, 2, 0);
	build_image(&b, WEFT_IMAGE_ROUTES);
	publish(engine, 6, b.base, b.pages);
	builder_free(&b);
	engine->io->slot = 6;
	len = sprintf((char *)bytes, "GET /p HTTP/1.1\r\nHost: a\r\n\r\n");
	feed(engine, bytes, len);
	run(engine, "engine_parse_request", 1);
	run(engine, "engine_route", 1);
	assert_int_equal(engine->io->result, WEFT_ROUTE_PROXY);
	assert_int_equal(engine->io->route.reason, WEFT_REASON_ROUTE_PROXY);
	engine->io->slot = 7; /* nothing is published there */
	run(engine, "engine_route", 1);
	assert_int_equal(engine->io->result, WEFT_ROUTE_PROXY);
	assert_int_equal(engine->io->route.reason, WEFT_REASON_IMAGE_MISSING);
	engine->io->slot = 6;
	len = sprintf((char *)bytes, "GET / HTTP/1.1\r\nHost: %0300d.x\r\n\r\n", 1); /* a suffix of a host too long to hash */
	feed(engine, bytes, len);
	run(engine, "engine_parse_request", 1);
	run(engine, "engine_route", 1);
	assert_int_equal(engine->io->route.reason, WEFT_REASON_LIMIT_EXCEEDED);
}

/* ---- conditions -------------------------------------------------------------------------------------------------------------- */

/* One condition a route on a path of its own, and a route for when it fails. */
static const struct built_condition conditions[] = {
	{WEFT_CONDITION_RANGE, 0, 0, "x-n", "1 10"},
	{WEFT_CONDITION_RANGE, 0, WEFT_CONDITION_INVERT, "x-n", "-5 5"},
	{WEFT_CONDITION_RANGE, 0, WEFT_CONDITION_INVERT | WEFT_CONDITION_MISSING_AS_EMPTY, "x-n", "0 1"},
	{WEFT_CONDITION_RANGE, 0, 0, "x-n", "-9223372036854775808 9223372036854775807"},
	{WEFT_CONDITION_RANGE, WEFT_SUBJECT_SCHEME, WEFT_CONDITION_INVERT, NULL, "0 1"},
	{WEFT_CONDITION_GRPC, 0, 0, "content-type", "application/grpc"},
	{WEFT_CONDITION_PRESENT, WEFT_SUBJECT_QUERY, 0, "a", NULL},
	{WEFT_CONDITION_PRESENT, WEFT_SUBJECT_QUERY, WEFT_CONDITION_INVERT, "a", NULL},
	{WEFT_CONDITION_EXACT, WEFT_SUBJECT_QUERY, 0, "a", "1"},
	{WEFT_CONDITION_EXACT, WEFT_SUBJECT_QUERY, 0, "a", ""},
	{WEFT_CONDITION_PREFIX, WEFT_SUBJECT_QUERY, WEFT_CONDITION_IGNORE_CASE, "a-longer-name", "val"},
	{WEFT_CONDITION_SUFFIX, WEFT_SUBJECT_QUERY, 0, "a", "b=c"},
	{WEFT_CONDITION_CONTAINS, WEFT_SUBJECT_QUERY, 0, "a", "%20and-more-than-eight"},
	{WEFT_CONDITION_FRACTION, WEFT_SUBJECT_CHANCE, 0, "", "30 100"},
	{WEFT_CONDITION_FRACTION, WEFT_SUBJECT_CHANCE, 0, "", "999999 1000000"},
};
#define CONDITIONS WEFT_ARRAY_SIZE(conditions)

static const char *const condition_queries[] = {
	"", "?", "?a", "?a=", "?a=1", "?a=1&a=2", "?a=2&a=1", "?b&a=1", "?aa=1&a", "?A=1", "?&&a=1&", "?=a", "?a==1", "?a=b=c&x", "?ab", "?a=%20and-more-than-eight+",
	"?a-longer-name=VALUE&a=x", "?a-longer-nam=val", "?a-longer-name", "?x=0123456789012345678901234567890123456789&a=1", "?a=1?a=2", "?a%3d1",
};

static const char *const condition_fields[] = {
	"", "X-N: 5\r\n", "X-N: 10\r\n", "X-N: +1\r\n", "X-N: -5\r\n", "X-N: 0001\r\n", "X-N: 1.0\r\n", "X-N:\r\n", "X-N: -\r\n", "X-N: 0x1\r\n",
	"X-N: 9223372036854775806\r\n", "X-N: 9223372036854775807\r\n", "X-N: 9223372036854775808\r\n", "X-N: -9223372036854775808\r\n", "X-N: -9223372036854775809\r\n",
	"X-N: 18446744073709551617\r\n", "X-N: 99\r\nX-N: 4\r\n", "X-N: abc\r\nX-N: 99\r\n", "Content-Type: application/grpc\r\n", "Content-Type: application/grpc+proto\r\n",
	"Content-Type: application/grpc-web\r\n", "Content-Type: application/grp\r\n",
};

static weft_ref build_conditions(struct builder *b)
{
	static struct built_route routes[2 * CONDITIONS];
	static char paths[CONDITIONS][8];
	static const struct built_host hosts[] = {{"any", {"*"}, routes, 2 * CONDITIONS}};
	u32 i;

	for (i = 0; i < CONDITIONS; i++) {
		snprintf(paths[i], sizeof(paths[i]), "/c%u", i);
		routes[2 * i] = (struct built_route){.match = BUILT_EXACT, .path = paths[i], .conditions = {conditions[i]}, .clusters = {1}};
		routes[2 * i + 1] = (struct built_route){.match = BUILT_EXACT, .path = paths[i], .clusters = {2}};
	}
	return build_route_table(b, hosts, 1, 0);
}

static void test_conditions_hold_as_on_the_host(void **state)
{
	struct engine *engine = engine_of(state);
	u32 random = SEED, pages, c, q, f;
	struct counts counts = {};

	for (pages = 1; pages <= 3; pages += 2) {
		struct weft_route_query query = {};
		struct builder b;

		builder_init(&b, pages);
		query.route_table = build_conditions(&b);
		query.image = build_image(&b, WEFT_IMAGE_ROUTES);
		publish(engine, 5, b.base, b.pages);
		engine->io->slot = 5;
		for (c = 0; c < CONDITIONS; c++)
			for (q = 0; q < WEFT_ARRAY_SIZE(condition_queries); q++)
				for (f = 0; f < WEFT_ARRAY_SIZE(condition_fields); f++) {
					u8 bytes[2048];
					u32 len = sprintf((char *)bytes, "GET /c%u%s HTTP/1.1\r\nHost: a\r\n%s\r\n", c, condition_queries[q], condition_fields[f]);

					query.random = random_next(&random);
					compare_route(engine, &query, bytes, len, &counts);
				}
		builder_free(&b);
	}
	print_message("%u requests, %u to a cluster\n", counts.compared, counts.done);
	assert_int_equal(counts.wrong, 0);
}

/* A number too long to read is the proxy's, and so is what comes after it. */
static void test_a_number_of_more_digits_than_the_kernel_reads_goes_to_the_proxy(void **state)
{
	struct engine *engine = engine_of(state);
	struct builder b;
	u8 bytes[1024];
	u32 len;

	builder_init(&b, 1);
	engine->io->route_table = build_conditions(&b);
	build_image(&b, WEFT_IMAGE_ROUTES);
	publish(engine, 5, b.base, b.pages);
	builder_free(&b);
	engine->io->slot = 5;
	len = sprintf((char *)bytes, "GET /c0 HTTP/1.1\r\nHost: a\r\nX-N: %065d\r\n\r\n", 5);
	feed(engine, bytes, len);
	run(engine, "engine_parse_request", 1);
	run(engine, "engine_route", 1);
	assert_int_equal(engine->io->result, WEFT_ROUTE_PROXY);
	assert_int_equal(engine->io->route.reason, WEFT_REASON_LIMIT_EXCEEDED);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes_are_chosen_as_on_the_host),
		cmocka_unit_test(test_what_the_kernel_cannot_decide_goes_to_the_proxy),
		cmocka_unit_test(test_conditions_hold_as_on_the_host),
		cmocka_unit_test(test_a_number_of_more_digits_than_the_kernel_reads_goes_to_the_proxy),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s engine.bpf.o\n", argv[0]);
		return 2;
	}
	object_path = argv[1];
	return cmocka_run_group_tests_name("routes in the kernel", tests, open_engine, close_engine);
}

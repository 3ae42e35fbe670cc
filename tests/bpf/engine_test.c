// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The engine in the kernel against the engine on the host: the same bytes, recorded requests and responses and seeded mutations of
 * them, must give the same answers byte for byte. Prints what the verifier had to look at and how long a call takes. Needs root. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "engine/image_builder.h"
#include "engine_io.h"
#include "weft/balance.h"
#include "weft/chunked.h"
#include "weft/http1.h"
#include "weft/router.h"

#define BYTES(literal) (const u8 *)(literal), sizeof(literal) - 1
#define SEED 20240607u
#define MUTATIONS 60 /* of every recorded head */

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

struct engine {
	struct bpf_object *object;
	struct engine_io *io;
	size_t io_size;
	int images_fd;
};

static const char *object_path;
static struct engine *engine_of(void **state)
{
	return *state;
}

static int program_fd(struct engine *engine, const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(engine->object, name);

	assert_non_null(program);
	return bpf_program__fd(program);
}

/* Runs a program `repeat` times; returns nanoseconds a run. */
static u32 run(struct engine *engine, const char *name, u32 repeat)
{
	u8 packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet), .repeat = repeat);

	assert_int_equal(bpf_prog_test_run_opts(program_fd(engine, name), &options), 0);
	return options.duration;
}

static void feed(struct engine *engine, const u8 *bytes, u32 len)
{
	assert_true(len <= WEFT_KERNEL_HEAD_MAX);
	memcpy(engine->io->bytes, bytes, len);
	engine->io->len = len;
}

/* ---- mutations ---------------------------------------------------------------------------------------------------------------- */

static u32 random_next(u32 *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 17;
	*random ^= *random << 5;
	return *random;
}

static u32 mutate(u8 *bytes, u32 len, u32 room, u32 *random)
{
	static const char *const pieces[] = {
		"\r\n", "\n", "\r", " ", "\t", ":", ",", "/", "//", "/../", "/.", "%2e", "%00", "%7E", "?", "#", "\\", "|", "\x80", "\x7f", "@", "[", "]",
		"Host: a\r\n", "Host: [::1]:80\r\n", "Connection: close, keep-alive ,upgrade\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
		"Upgrade: websocket\r\n", "Expect: 100-continue\r\n", "X-Envoy-Retry-On: 5xx\r\n", "A-Long-Header-Name-That-Needs-More-Than-Four-Words: x\r\n",
		"Accept: a\r\n", "http://u@h:1/", "HTTP/1.0", "\r\n\r\n", "0123456789",
	};
	u32 edits = 1 + random_next(random) % 3;

	while (edits--) {
		u32 at = len ? random_next(random) % len : 0;

		switch (random_next(random) % 5) {
		case 0:
			if (len)
				bytes[at] = random_next(random);
			break;
		case 1:
			if (len)
				bytes[at] ^= 1u << (random_next(random) % 8);
			break;
		case 2: {
			u32 n = len ? 1 + random_next(random) % WEFT_MIN(len - at, 8u) : 0;

			memmove(bytes + at, bytes + at + n, len - at - n);
			len -= n;
			break;
		}
		case 3: {
			const char *piece = pieces[random_next(random) % WEFT_ARRAY_SIZE(pieces)];
			u32 n = strlen(piece);

			if (len + n > room)
				break;
			memmove(bytes + at + n, bytes + at, len - at);
			memcpy(bytes + at, piece, n);
			len += n;
			break;
		}
		case 4:
			if (random_next(random) % 4 == 0)
				len = at;
			break;
		}
	}
	return len;
}

/* ---- heads ----------------------------------------------------------------------------------------------------------------------- */

struct counts {
	u32 compared;
	u32 done;
	u32 wrong;
};

static bool same_head(const struct engine_head *kernel, const struct weft_head *host)
{
	return !memcmp(kernel->fixed, host, sizeof(kernel->fixed)) && host->field_count <= WEFT_KERNEL_FIELDS_MAX &&
	       !memcmp(kernel->fields, host->fields, host->field_count * sizeof(host->fields[0]));
}

/* May the two differ so? The kernel gives up where its limits are, repairs no responses (so it does not wait for a line that might be
 * folded) and leaves addresses in absolute targets. */
static bool may_differ(int kernel, int host, const struct weft_head *head, bool is_response, u32 kernel_flags)
{
	if (kernel == WEFT_PARSE_TOO_LARGE)
		return head->field_count >= WEFT_KERNEL_FIELDS_MAX || host == WEFT_PARSE_MORE;
	if (is_response)
		return kernel == WEFT_PARSE_BAD && (host == WEFT_PARSE_MORE || (head->flags & WEFT_HEAD_ODD));
	return host == WEFT_PARSE_BAD && head->error == WEFT_ERROR_TARGET && (kernel_flags & (WEFT_HEAD_ABSOLUTE_FORM | WEFT_HEAD_CONNECT));
}

static void compare_head(struct engine *engine, const u8 *bytes, u32 len, bool is_response, u32 method, struct counts *counts)
{
	const struct weft_head *kernel_head = (const void *)&engine->io->head;
	u8 copy[WEFT_KERNEL_HEAD_MAX + 64];
	struct weft_head head;
	int host, kernel;

	feed(engine, bytes, len);
	engine->io->request_method = method;
	run(engine, is_response ? "engine_parse_response" : "engine_parse_request", 1);
	kernel = engine->io->result;
	/* after the head other bytes than those that the kernel's buffer has from before */
	memset(copy, 0xa5, sizeof(copy));
	memcpy(copy, bytes, len);
	host = is_response ? weft_parse_response((const void *)copy, len, method, &head) : weft_parse_request((const void *)copy, len, &head);
	counts->compared++;
	counts->done += host == WEFT_PARSE_DONE;
	if (kernel == host && kernel_head->error == head.error && (host != WEFT_PARSE_DONE || same_head(&engine->io->head, &head)))
		return;
	if (may_differ(kernel, host, &head, is_response, kernel_head->flags))
		return;
	if (!counts->wrong++)
		print_error("kernel %d (error %u, flags %x), host %d (error %u, flags %x):\n%.*s\n", kernel, kernel_head->error,
			    kernel_head->flags, host, head.error, head.flags, (int)len, (const char *)bytes);
}

static void test_request_heads_are_read_as_on_the_host(void **state)
{
	struct counts counts = {};
	u32 random = SEED, i, k;

	for (i = 0; i < WEFT_ARRAY_SIZE(requests); i++) {
		compare_head(engine_of(state), requests[i].bytes, requests[i].len, false, 0, &counts);
		for (k = 0; k < MUTATIONS; k++) {
			u8 bytes[2048];
			u32 len = requests[i].len;

			memcpy(bytes, requests[i].bytes, len);
			len = mutate(bytes, len, sizeof(bytes), &random);
			compare_head(engine_of(state), bytes, len, false, 0, &counts);
		}
	}
	print_message("%u request heads, %u of them whole and right\n", counts.compared, counts.done);
	assert_int_equal(counts.wrong, 0);
	assert_true(counts.done > counts.compared / 10);
}

static void test_response_heads_are_read_as_on_the_host(void **state)
{
	struct counts counts = {};
	u32 random = SEED, i, k;

	for (i = 0; i < WEFT_ARRAY_SIZE(responses); i++) {
		compare_head(engine_of(state), responses[i].bytes, responses[i].len, true, responses[i].method, &counts);
		for (k = 0; k < MUTATIONS; k++) {
			u8 bytes[2048];
			u32 len = responses[i].len;

			memcpy(bytes, responses[i].bytes, len);
			len = mutate(bytes, len, sizeof(bytes), &random);
			compare_head(engine_of(state), bytes, len, true, responses[i].method, &counts);
		}
	}
	print_message("%u response heads, %u of them whole and right\n", counts.compared, counts.done);
	assert_int_equal(counts.wrong, 0);
	assert_true(counts.done > counts.compared / 10);
}

static void test_heads_at_the_limits_of_the_kernel(void **state)
{
	static const char begin[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
	struct engine *engine = engine_of(state);
	u8 bytes[WEFT_KERNEL_HEAD_MAX + 8];
	struct counts counts = {};
	u32 i, k, len;

	for (len = WEFT_KERNEL_HEAD_MAX - 2; len <= WEFT_KERNEL_HEAD_MAX; len++) {
		memset(bytes, 'v', sizeof(bytes));
		memcpy(bytes, begin, sizeof(begin) - 1);
		memcpy(bytes + len - 4, "\r\n\r\n", 4);
		compare_head(engine, bytes, len, false, 0, &counts);
		assert_int_equal(engine->io->result, WEFT_PARSE_DONE);
		bytes[len - 1] = 'x';
		compare_head(engine, bytes, len, false, 0, &counts);
		bytes[len - 1] = bytes[len - 2] = bytes[len - 3] = bytes[len - 4] = 'v';
		compare_head(engine, bytes, len, false, 0, &counts);
		assert_int_equal(engine->io->result, len == WEFT_KERNEL_HEAD_MAX ? WEFT_PARSE_TOO_LARGE : WEFT_PARSE_MORE);
	}
	/* the whole head is one target, one query, one name, blanks, tabs */
	for (k = 0; k < 6; k++) {
		static const char fills[] = "aaa \t/", *const begins[] = {"GET /", "GET /?", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nA:", "GET / HTTP/1.1\r\nA:x", "GET /"};

		memset(bytes, fills[k], sizeof(bytes));
		memcpy(bytes, begins[k], strlen(begins[k]));
		for (len = WEFT_KERNEL_HEAD_MAX - 20; len <= WEFT_KERNEL_HEAD_MAX; len++)
			compare_head(engine, bytes, len, false, 0, &counts);
	}
	for (i = WEFT_KERNEL_FIELDS_MAX - 1; i <= WEFT_KERNEL_FIELDS_MAX + 1; i++) {
		len = sprintf((char *)bytes, "GET / HTTP/1.1\r\nHost: a\r\n");
		for (k = 1; k < i; k++)
			len += sprintf((char *)bytes + len, "x: y\r\n");
		len += sprintf((char *)bytes + len, "\r\n");
		compare_head(engine, bytes, len, false, 0, &counts);
		assert_int_equal(engine->io->result, i <= WEFT_KERNEL_FIELDS_MAX ? WEFT_PARSE_DONE : WEFT_PARSE_TOO_LARGE);
	}
	assert_int_equal(counts.wrong, 0);
}

static void test_chunked_ends_are_found_as_on_the_host(void **state)
{
	static const char *const bodies[] = {"5\r\nhello\r\n0\r\n\r\n", "0\r\n\r\n", "a\r\n0123456789\r\n3\r\nabc\r\n0\r\n\r\n", "fff\r\n", "5;x\r\nhello\r\n0\r\n\r\n"};
	struct engine *engine = engine_of(state);
	u32 random = SEED, whole = 0, i, k;

	for (i = 0; i < WEFT_ARRAY_SIZE(bodies); i++) {
		for (k = 0; k < 2000; k++) {
			u8 bytes[256];
			u32 len = strlen(bodies[i]);
			int host;

			memset(bytes, 0xa5, sizeof(bytes));
			memcpy(bytes, bodies[i], len);
			if (k)
				len = mutate(bytes, len, 128, &random);
			feed(engine, bytes, len);
			engine->io->offset = k % 3;
			run(engine, "engine_chunked", 1);
			host = weft_chunked_whole((const void *)bytes, k % 3, len);
			assert_int_equal(engine->io->result, host);
			whole += host;
			/* what the kernel calls whole is so for the one who reads it as a stream */
			if (host) {
				struct weft_chunked chunked;
				size_t consumed;

				weft_chunked_init(&chunked);
				assert_int_equal(weft_chunked_feed(&chunked, bytes + k % 3, len - k % 3, &consumed), WEFT_CHUNKED_DONE);
				assert_int_equal(consumed, len - k % 3);
			}
		}
	}
	assert_true(whole > 100);
}

/* ---- images ------------------------------------------------------------------------------------------------------------------------- */

/* Hangs the image into a slot as the daemon does. */
static void publish(struct engine *engine, u32 slot, const struct builder *b)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "engine_image", sizeof(u32), WEFT_PAGE_SIZE, b->pages, &options);
	void *pages;

	assert_true(fd >= 0);
	pages = mmap(NULL, (size_t)b->pages * WEFT_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(pages != MAP_FAILED);
	memcpy(pages, b->base, (size_t)b->pages * WEFT_PAGE_SIZE);
	munmap(pages, (size_t)b->pages * WEFT_PAGE_SIZE);
	assert_int_equal(bpf_map_update_elem(engine->images_fd, &slot, &fd, BPF_ANY), 0);
	close(fd);
}

static const struct built_route many_routes[] = {
	{.match = BUILT_EXACT, .path = "/direct", .action = WEFT_ACTION_DIRECT},
	{.match = BUILT_PREFIX, .path = "/ws", .clusters = {1}},
	{.match = BUILT_EXACT, .path = "/a", .conditions = {{WEFT_CONDITION_EXACT, 0, 0, "x-a", "1"}}, .clusters = {2}},
	{.match = BUILT_PREFIX, .path = "/a", .conditions = {{WEFT_CONDITION_CONTAINS, 0, WEFT_CONDITION_IGNORE_CASE, "user-agent", "mozilla/5"}}, .clusters = {3}},
	{.match = BUILT_PREFIX, .path = "/", .conditions = {{WEFT_CONDITION_SUFFIX, 0, 0, "cookie", "user=jason"}, {WEFT_CONDITION_PRESENT, 0, WEFT_CONDITION_INVERT, "x-no", NULL}}, .clusters = {4}},
	{.match = BUILT_PREFIX, .path = "/", .conditions = {{WEFT_CONDITION_PREFIX, WEFT_SUBJECT_AUTHORITY, 0, NULL, "plain."}, {WEFT_CONDITION_EXACT, WEFT_SUBJECT_METHOD, 0, NULL, "POST"}}, .clusters = {5}},
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
	struct weft_route_result result;
	struct weft_head head;

	memcpy(copy, bytes, len);
	if (weft_parse_request((const void *)copy, len, &head) || head.field_count > WEFT_KERNEL_FIELDS_MAX ||
	    (head.flags & (WEFT_REQUEST_PROXY_ONLY | WEFT_HEAD_NORMALIZES)) || head.host_len > WEFT_HOST_LENGTH_MAX)
		return;
	feed(engine, bytes, len);
	run(engine, "engine_parse_request", 1);
	assert_int_equal(engine->io->result, WEFT_PARSE_DONE);
	engine->io->random = query->random;
	engine->io->route_table = query->route_table;
	run(engine, "engine_route", 1);
	weft_route(query, (const void *)copy, &head, &result);
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
		publish(engine, 5, &b);
		engine->io->slot = 5;
		for (h = 0; h < WEFT_ARRAY_SIZE(hosts); h++)
			for (t = 0; t < WEFT_ARRAY_SIZE(targets); t++)
				for (f = 0; f < WEFT_ARRAY_SIZE(fields); f++) {
					u8 bytes[2048];
					u32 len = sprintf((char *)bytes, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", (h + t) % 2 ? "GET" : "POST", targets[t], hosts[h], fields[f]);

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
	publish(engine, 6, &b);
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

static void test_listeners_and_endpoints_are_found_as_on_the_host(void **state)
{
	static const struct weft_listener listeners[] = {{.key = {10, 80, 0}, .kind = 1}, {.key = {0, 80, 0}, .kind = 2}, {.key = {11, 81, 0}, .kind = 3}};
	static const struct weft_endpoint endpoints[] = {{.id = 1, .ip4_be = 1, .weight = 1}, {.id = 2, .ip4_be = 2, .weight = 3}, {.id = 3, .ip4_be = 3, .weight = 1}};
	static const u8 policies[] = {WEFT_LB_ROUND_ROBIN, WEFT_LB_LEAST_REQUEST, WEFT_LB_RANDOM, WEFT_LB_PROXY};
	struct weft_cluster_state clusters[ENGINE_STATES] = {};
	struct weft_endpoint_state states[ENGINE_STATES] = {};
	struct weft_balance_state balance = {clusters, ENGINE_STATES, states, ENGINE_STATES};
	struct weft_balance_query query = {.state = &balance};
	struct engine *engine = engine_of(state);
	u32 random = SEED, ip, port, i, id;
	struct weft_image_handle image;
	weft_ref directory[6] = {};
	struct builder b;

	builder_init(&b, 2);
	image = build_image(&b, WEFT_IMAGE_ROUTES);
	build_listeners(&b, listeners, 3);
	publish(engine, 1, &b);
	engine->io->slot = 1;
	for (ip = 9; ip < 13; ip++)
		for (port = 79; port < 83; port++) {
			weft_ref found = 0;
			int r = weft_find_listener(&image, ip, port, &found);

			engine->io->ip4_be = ip;
			engine->io->port_be = port;
			engine->io->listener = 0;
			run(engine, "engine_find_listener", 1);
			assert_int_equal(engine->io->result, r);
			assert_int_equal(engine->io->listener, found);
		}
	builder_free(&b);

	builder_init(&b, 2);
	for (i = 0; i < 4; i++)
		directory[1 + i] = build_cluster(&b, (struct weft_cluster){.id = 1 + i, .kind = WEFT_CLUSTER_ENDPOINTS, .policy = policies[i]}, endpoints, 3);
	directory[5] = build_cluster(&b, (struct weft_cluster){.id = 5, .kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_RANDOM}, NULL, 0);
	build_directory(&b, directory, 6);
	query.image = build_image(&b, WEFT_IMAGE_ENDPOINTS);
	publish(engine, 2, &b);
	engine->io->slot = 2;
	for (i = 0; i < 2000; i++) {
		struct weft_endpoint endpoint = {};
		struct weft_endpoint_state busy;
		int r;

		query.cluster_id = engine->io->cluster_id = i % 7;
		query.random = engine->io->random = random_next(&random);
		id = 1 + i % 3;
		busy.active = states[id].active = random_next(&random) % 5;
		busy.reserved = 0;
		assert_int_equal(bpf_map_update_elem(bpf_object__find_map_fd_by_name(engine->object, "endpoints"), &id, &busy, BPF_ANY), 0);
		r = weft_pick_endpoint(&query, &endpoint);
		run(engine, "engine_pick_endpoint", 1);
		assert_int_equal(engine->io->result, r);
		if (!r)
			assert_memory_equal(&engine->io->endpoint, &endpoint, sizeof(endpoint));
	}
	builder_free(&b);
}

/* ---- how long, how much --------------------------------------------------------------------------------------------------------------- */

static u32 best_of(struct engine *engine, const char *name)
{
	u32 best = ~0u, i;

	/* short enough that some are not interrupted */
	for (i = 0; i < 300; i++)
		best = WEFT_MIN(best, run(engine, name, 300));
	return best;
}

static void test_report_of_run_times_and_verified_instructions(void **state)
{
	static const char *const heads[] = {
		"GET / HTTP/1.1\r\nHost: f.test\r\n\r\n",
		"GET /a/v1/reviews?id=42&x=1 HTTP/1.1\r\nHost: reviews.default.svc.cluster.local:9080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
		"Connection: keep-alive\r\nX-Request-Id: 7d9c6b5f-4c2a-11ee-be56-0242ac120002\r\n\r\n",
		"GET /productpage/v1/reviews?id=42&x=1 HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) "
		"AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9\r\n"
		"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.5\r\nConnection: keep-alive\r\n"
		"X-Request-Id: 7d9c6b5f-4c2a-11ee-be56-0242ac120002\r\nCookie: session=0123456789abcdef0123456789abcdef; user=jack\r\n\r\n",
		"GET /caf%C3%A9/[x]/~u HTTP/1.1\r\nHost: f.test\r\nAn-Unusual-Header-Of-More-Than-Thirty-Two: x\r\n\r\n",
	};
	static const char response[] = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: text/plain\r\n"
				       "Content-Length: 100\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \"65920080-64\"\r\n"
				       "Accept-Ranges: bytes\r\n\r\n";
	static const struct built_route one_route[] = {{.match = BUILT_PREFIX, .path = "/", .clusters = {1}}};
	static const struct built_host plain_hosts[] = {
		{"reviews", {"reviews.default.svc.cluster.local", "reviews", "reviews.default"}, one_route, 1},
		{"any", {"*"}, one_route, 1},
	};
	struct engine *engine = engine_of(state);
	struct bpf_program *program;
	struct builder b;
	u32 i, nothing;

	bpf_object__for_each_program(program, engine->object) {
		struct bpf_prog_info info = {};
		u32 size = sizeof(info);

		assert_int_equal(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size), 0);
		print_message("%-24s %7u instructions verified, %5u long\n", bpf_program__name(program), info.verified_insns, info.xlated_prog_len / 8);
		assert_true(info.verified_insns < 400000); /* of a million, that others share */
	}
	builder_init(&b, 1);
	engine->io->route_table = build_route_table(&b, many_hosts, WEFT_ARRAY_SIZE(many_hosts), WEFT_ROUTE_TABLE_IGNORE_PORT);
	build_image(&b, WEFT_IMAGE_ROUTES);
	publish(engine, 5, &b);
	builder_free(&b);
	engine->io->slot = 5;
	nothing = best_of(engine, "engine_nothing");
	for (i = 0; i < WEFT_ARRAY_SIZE(heads); i++) {
		u32 parse, route;

		feed(engine, (const u8 *)heads[i], strlen(heads[i]));
		parse = best_of(engine, "engine_parse_request") - nothing;
		assert_int_equal(engine->io->result, WEFT_PARSE_DONE);
		route = best_of(engine, "engine_route") - nothing;
		assert_int_equal(engine->io->result, WEFT_ROUTE_CLUSTER);
		print_message("request of %3zu bytes: parsed in %4u ns, routed in %4u ns (route %u)\n", strlen(heads[i]), parse, route, engine->io->route.route_id);
	}
	/* what most services of a mesh have: a host and one route */
	builder_init(&b, 1);
	engine->io->route_table = build_route_table(&b, plain_hosts, WEFT_ARRAY_SIZE(plain_hosts), WEFT_ROUTE_TABLE_IGNORE_PORT);
	build_image(&b, WEFT_IMAGE_ROUTES);
	publish(engine, 5, &b);
	builder_free(&b);
	feed(engine, (const u8 *)heads[1], strlen(heads[1]));
	run(engine, "engine_parse_request", 1);
	i = best_of(engine, "engine_route") - nothing;
	assert_int_equal(engine->io->result, WEFT_ROUTE_CLUSTER);
	print_message("a host of %zu bytes with one route: routed in %u ns\n", strlen("reviews.default.svc.cluster.local"), i);

	feed(engine, (const u8 *)response, sizeof(response) - 1);
	engine->io->request_method = WEFT_METHOD_GET;
	i = best_of(engine, "engine_parse_response") - nothing;
	assert_int_equal(engine->io->result, WEFT_PARSE_DONE);
	print_message("response of %zu bytes: parsed in %u ns\n", sizeof(response) - 1, i);
}

/* ---- set up ------------------------------------------------------------------------------------------------------------------------------ */

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return level == LIBBPF_DEBUG ? 0 : vfprintf(stderr, format, arguments);
}

static int open_engine(void **state)
{
	static struct engine engine;
	struct bpf_map *map;

	libbpf_set_print(print_libbpf);
	engine.object = bpf_object__open_file(object_path, NULL);
	if (!engine.object || bpf_object__load(engine.object))
		return -1;
	engine.images_fd = bpf_object__find_map_fd_by_name(engine.object, "images");
	bpf_object__for_each_map(map, engine.object) {
		if (!strstr(bpf_map__name(map), ".bss"))
			continue;
		engine.io_size = (bpf_map__value_size(map) + 4095) & ~4095u;
		engine.io = mmap(NULL, engine.io_size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	}
	if (!engine.io || engine.io == MAP_FAILED)
		return -1;
	*state = &engine;
	return 0;
}

static int close_engine(void **state)
{
	munmap(engine_of(state)->io, engine_of(state)->io_size);
	bpf_object__close(engine_of(state)->object);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_heads_are_read_as_on_the_host),
		cmocka_unit_test(test_response_heads_are_read_as_on_the_host),
		cmocka_unit_test(test_heads_at_the_limits_of_the_kernel),
		cmocka_unit_test(test_chunked_ends_are_found_as_on_the_host),
		cmocka_unit_test(test_routes_are_chosen_as_on_the_host),
		cmocka_unit_test(test_what_the_kernel_cannot_decide_goes_to_the_proxy),
		cmocka_unit_test(test_listeners_and_endpoints_are_found_as_on_the_host),
		cmocka_unit_test(test_report_of_run_times_and_verified_instructions),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s engine.bpf.o\n", argv[0]);
		return 2;
	}
	object_path = argv[1];
	return cmocka_run_group_tests_name("engine in the kernel", tests, open_engine, close_engine);
}

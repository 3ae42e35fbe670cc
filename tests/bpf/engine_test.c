// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The engine in the kernel against the engine on the host: the same bytes, recorded requests and responses and seeded mutations of
 * them, must give the same answers byte for byte. Prints what the verifier had to look at. Needs root. */
#include "engine/http1_vectors.h"
#include "engine/image_builder.h"
#include "harness.h"
#include "weft/canonical.h"
#include "weft/chunked.h"
#include "weft/fast.h"

#define BYTES(literal) (const u8 *)(literal), sizeof(literal) - 1
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

/* ---- heads ----------------------------------------------------------------------------------------------------------------------- */

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

/* What the programs write anew is the same head, byte for byte, and read the same. */
static void compare_canonical(struct engine *engine, const u8 *bytes, u32 len, struct counts *counts)
{
	u8 copy[WEFT_KERNEL_HEAD_MAX + 64] = {};
	static struct weft_change change;
	struct weft_head head, again;
	u32 written;

	memcpy(copy, bytes, len);
	if (weft_parse_request((const void *)copy, len, &head) || head.field_count >= WEFT_KERNEL_FIELDS_MAX ||
	    weft_head_reason(&head, WEFT_LISTENER_NORMALIZE_PATH) || !(head.flags & WEFT_HEAD_NOT_CANONICAL))
		return;
	feed(engine, bytes, len);
	run(engine, "engine_parse_request", 1);
	canonical(engine);
	written = weft_canonical_write(&change, (const void *)copy, &head);
	memset(change.out + written, 0xa5, 64);
	counts->compared++;
	counts->done += (head.flags & WEFT_HEAD_NOT_CANONICAL) == WEFT_HEAD_NOT_CANONICAL;
	if (weft_parse_request((const void *)change.out, written, &again) || again.head_len != written || memcmp(engine->io->bytes, change.out, written) ||
	    !same_head(&engine->io->head, &again)) {
		if (!counts->wrong++)
			print_error("kernel:\n%.*shost:\n%.*s\n", (int)written, (const char *)engine->io->bytes, (int)written, (const char *)change.out);
	}
}

static void test_heads_are_rewritten_as_on_the_host(void **state)
{
	static const char *const targets[] = {"/a", "http://h.test/a?b", "HTTP://u:p@h.test:81", "http://10.0.0.1//x"};
	static const char *const lines[] = {
		"Host: a\r\n", "Accept: a\r\n", "accept:b\t \r\n", "ACCEPT:\r\n", "If-Unmodified-Since: x\r\n", "if-unmodified-since:   y\r\n", "Cookie: a\r\n",
		"X-Forwarded-For: 1.1.1.1\r\n", "User-Agent: z\r\n", "x-other: a, b\r\n",
	};
	u32 random = SEED, i, k, len;
	struct counts counts = {};
	u8 bytes[4096];

	for (i = 0; i < 4000; i++) {
		len = sprintf((char *)bytes, "GET %s HTTP/1.1\r\nHost: h\r\n", targets[random_next(&random) % WEFT_ARRAY_SIZE(targets)]);
		for (k = random_next(&random) % (i % 100 ? 8 : 46); k; k--)
			len += sprintf((char *)bytes + len, "%s", lines[random_next(&random) % WEFT_ARRAY_SIZE(lines)]);
		len += sprintf((char *)bytes + len, "\r\nbody");
		compare_canonical(engine_of(state), bytes, len, &counts);
		len = mutate(bytes, len, sizeof(bytes), &random);
		compare_canonical(engine_of(state), bytes, len, &counts);
	}
	print_message("%u request heads rewritten, %u of them for both reasons\n", counts.compared, counts.done);
	assert_int_equal(counts.wrong, 0);
	assert_true(counts.compared > 2000 && counts.done > 500);
}

/* Of what the proxy refuses the kernel never makes a request that goes on; a chunked body that is wrong is never whole. */
static void test_the_public_vectors_are_fast_or_handed_up(void **state)
{
	struct engine *engine = engine_of(state);
	u32 fast = 0, wrong = 0, i;

	for (i = 0; i < HTTP1_VECTORS; i++) {
		const struct http1_vector *vector = &http1_vectors[i];
		const struct weft_head *head = (const void *)&engine->io->head;
		bool is_whole = false;

		feed(engine, (const u8 *)vector->bytes, (u32)vector->len);
		run(engine, "engine_parse_request", 1);
		if (engine->io->result != WEFT_PARSE_DONE || weft_head_reason(head, WEFT_LISTENER_NORMALIZE_PATH))
			continue;
		is_whole = true;
		if (head->flags & WEFT_HEAD_CHUNKED) {
			engine->io->offset = head->head_len;
			run(engine, "engine_chunked", 1);
			is_whole = engine->io->result;
		}
		fast += is_whole;
		if (is_whole && vector->status != 200) {
			print_message("%s: the kernel takes it, the proxy answers %d\n", vector->name, vector->status);
			wrong++;
		}
	}
	print_message("%u of %u public vectors are the kernel's, %u are so by mistake\n", fast, (u32)HTTP1_VECTORS, wrong);
	assert_int_equal(wrong, 0);
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

/* Long paths, queries and values are read in pieces: what makes a head a special one may stand on either side of a joint, or on both. */
static void test_heads_that_are_read_in_pieces(void **state)
{
	static const char *const odd[] = {"//", "/.", "/./", "%2f", " ", "#", "?", "\t", "\r\n", "\x7f", "\x80"};
	static const char *const lines[] = {"GET /", "GET /?", "GET / HTTP/1.1\r\nHost: "};
	static const char *const ends[] = {" HTTP/1.1\r\nHost: a\r\n\r\n", " HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n"};
	const u32 piece = 8 * WEFT_TURNS;
	struct counts counts = {};
	char bytes[1024];
	u32 i, k, at;

	for (i = 0; i < WEFT_ARRAY_SIZE(lines); i++) {
		for (k = 0; k < WEFT_ARRAY_SIZE(odd); k++) {
			for (at = 2 * piece - 16; at < 2 * piece + 24; at++) {
				memset(bytes, 'a', sizeof(bytes));
				memcpy(bytes, lines[i], strlen(lines[i]));
				memcpy(bytes + at, odd[k], strlen(odd[k]));
				strcpy(bytes + 3 * piece, ends[i]);
				compare_head(engine_of(state), (const u8 *)bytes, (u32)strlen(bytes), false, 0, &counts);
			}
		}
	}
	assert_int_equal(counts.wrong, 0);
	assert_true(counts.done > counts.compared / 10);
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

/* Of few addresses and ports, so that many are taken; the last of 64 too. */
static void test_exceptions_are_made_as_on_the_host(void **state)
{
	struct engine *engine = engine_of(state);
	u32 random = SEED, taken = 0, i, k;

	for (i = 0; i < 3000; i++) {
		struct weft_exceptions *exceptions = &engine->io->exceptions;
		struct weft_address address = random_next(&random) % 2 ? WEFT_IP4(random_next(&random) % 64) : (struct weft_address){{1, 2, 3, random_next(&random) % 64}};
		int host;

		memset(exceptions, 0, sizeof(*exceptions));
		exceptions->count = random_next(&random) % (WEFT_EXCEPTIONS_MAX + 1);
		exceptions->leaves_rest = random_next(&random) % 2;
		for (k = 0; k < exceptions->count; k++) {
			struct weft_exception *item = &exceptions->items[k];

			item->mask = (struct weft_address){{~0u, ~0u, ~0u, random_next(&random) % 4 ? ~0u : 0x30}};
			item->network = random_next(&random) % 2 ? WEFT_IP4(random_next(&random) % 64) : (struct weft_address){{1, 2, 3, random_next(&random) % 64}};
			item->network.be[3] &= item->mask.be[3];
			item->port_be = random_next(&random) % 3;
			item->families = random_next(&random) % 4;
			item->is_meshed = random_next(&random) % 2;
		}
		engine->io->address = address;
		engine->io->port_be = 1 + random_next(&random) % 3;
		host = weft_is_excepted(exceptions, &address, engine->io->port_be);
		run(engine, "engine_is_excepted", 1);
		assert_int_equal(engine->io->result, host);
		taken += host != (int)exceptions->leaves_rest;
	}
	assert_in_range(taken, 300, 2700);
	memset(&engine->io->exceptions, 0, sizeof(engine->io->exceptions));
	engine->io->exceptions.count = WEFT_EXCEPTIONS_MAX;
	engine->io->exceptions.items[WEFT_EXCEPTIONS_MAX - 1] = (struct weft_exception){.families = 3};
	run(engine, "engine_is_excepted", 1);
	assert_int_equal(engine->io->result, 1);
}

static void test_listeners_and_endpoints_are_found_as_on_the_host(void **state)
{
	static const struct weft_listener listeners[] = {{.key = {WEFT_IP4(10), 80, 0}, .kind = 1}, {.key = {WEFT_IP4(0), 80, 0}, .kind = 2}, {.key = {WEFT_IP4(11), 81, 0}, .kind = 3},
						     {.key = {{{1, 2, 3, 10}}, 80, 0}, .kind = 4}, {.key = {{{0}}, 81, 0}, .kind = 5}};
	static const struct weft_endpoint endpoints[] = {{.id = 1, .address = WEFT_IP4(1), .weight = 1}, {.id = 2, .address = WEFT_IP4(2), .weight = 3}, {.id = 3, .address = WEFT_IP4(3), .weight = 1}};
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
	build_listeners(&b, listeners, WEFT_ARRAY_SIZE(listeners));
	publish(engine, 1, b.base, b.pages);
	engine->io->slot = 1;
	for (ip = 9; ip < 17; ip++)
		for (port = 79; port < 83; port++) {
			const struct weft_address address = ip < 13 ? WEFT_IP4(ip) : (struct weft_address){{1, 2, 3, ip - 4}};
			weft_ref found = 0;
			int r = weft_find_listener(&image, &address, port, &found);

			engine->io->address = address;
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
	publish(engine, 2, b.base, b.pages);
	engine->io->slot = 2;
	for (i = 0; i < 2000; i++) {
		struct weft_endpoint endpoint = {};
		struct weft_endpoint_state busy;
		int r;

		query.cluster_id = engine->io->cluster_id = i % 7;
		query.random = engine->io->random = random_next(&random);
		id = 1 + i % 3;
		busy.active = states[id].active = random_next(&random) % 5;
		busy.proxied = states[id].proxied = random_next(&random) % 3;
		busy.servers_block_s = busy.zero = 0;
		assert_int_equal(bpf_map_update_elem(bpf_object__find_map_fd_by_name(engine->object, "endpoints"), &id, &busy, BPF_ANY), 0);
		r = weft_pick_endpoint(&query, &endpoint);
		run(engine, "engine_pick_endpoint", 1);
		assert_int_equal(engine->io->result, r);
		if (!r)
			assert_memory_equal(&engine->io->endpoint, &endpoint, sizeof(endpoint));
	}
	builder_free(&b);
}

/* ---- how much --------------------------------------------------------------------------------------------------------------- */

static void test_every_program_leaves_the_verifier_a_quarter_of_its_budget(void **state)
{
	struct engine *engine = engine_of(state);
	struct bpf_program *program;

	bpf_object__for_each_program(program, engine->object) {
		struct bpf_prog_info info = {};
		u32 size = sizeof(info);

		assert_int_equal(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size), 0);
		print_message("%-24s %7u instructions verified, %5u long\n", bpf_program__name(program), info.verified_insns, info.xlated_prog_len / 8);
		assert_true(info.verified_insns <= 750000);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_heads_are_read_as_on_the_host),
		cmocka_unit_test(test_heads_are_rewritten_as_on_the_host),
		cmocka_unit_test(test_the_public_vectors_are_fast_or_handed_up),
		cmocka_unit_test(test_response_heads_are_read_as_on_the_host),
		cmocka_unit_test(test_heads_at_the_limits_of_the_kernel),
		cmocka_unit_test(test_heads_that_are_read_in_pieces),
		cmocka_unit_test(test_chunked_ends_are_found_as_on_the_host),
		cmocka_unit_test(test_exceptions_are_made_as_on_the_host),
		cmocka_unit_test(test_listeners_and_endpoints_are_found_as_on_the_host),
		cmocka_unit_test(test_every_program_leaves_the_verifier_a_quarter_of_its_budget),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s engine.bpf.o\n", argv[0]);
		return 2;
	}
	object_path = argv[1];
	return cmocka_run_group_tests_name("engine in the kernel", tests, open_engine, close_engine);
}

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Balancing in the kernel against the same on the host: picks by every policy, and what hash policies find. */
#include "harness.h"

#include "engine/image_builder.h"
#include "weft/hash.h"

#define OBJECT_PAGES 4
#define PAGES 8 /* those after the objects' are for tables */

static weft_ref put_table(struct builder *b, u32 page, const void *bytes, u32 size)
{
	memcpy(b->base + page * WEFT_PAGE_SIZE, bytes, size);
	return page * WEFT_PAGE_SIZE;
}

/* A ring over two pages, or a Maglev table. */
static weft_ref hashing_cluster(struct builder *b, u32 id, bool is_ring, const struct weft_endpoint *endpoints, u32 count)
{
	struct weft_cluster cluster = {.id = id, .kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_HASH, .endpoint_count = count};
	struct weft_hash_level levels[2] = {{.until = 60, .size = is_ring ? 40000 : 101}, {.until = 100, .size = is_ring ? 3 : 1}};
	u16 *picks = calloc(levels[0].size, sizeof(*picks));
	u64 *hashes = calloc(levels[0].size, sizeof(*hashes));
	u32 random = SEED, i;

	for (i = 0; i < levels[0].size; i++) {
		picks[i] = random_next(&random) % count;
		hashes[i] = ~0ull / levels[0].size * i + random_next(&random);
	}
	levels[1].picks = builder_add(b, picks, levels[1].size * sizeof(*picks));
	levels[0].picks = put_table(b, is_ring ? 4 : 5, picks, levels[0].size * sizeof(*picks));
	if (is_ring) {
		levels[1].hashes = builder_add(b, hashes, levels[1].size * sizeof(*hashes));
		levels[0].hashes = put_table(b, 6, hashes, levels[0].size * sizeof(*hashes));
	}
	cluster.hash_levels = builder_add(b, levels, sizeof(levels));
	cluster.hash_level_count = 2;
	cluster.endpoints = builder_add(b, endpoints, count * sizeof(*endpoints));
	free(picks);
	free(hashes);
	return builder_add(b, &cluster, sizeof(cluster));
}

static void test_endpoints_are_picked_as_on_the_host(void **state)
{
	static const u8 policies[] = {WEFT_LB_ROUND_ROBIN, WEFT_LB_LEAST_REQUEST, WEFT_LB_RANDOM, WEFT_LB_PROXY};
	struct weft_endpoint endpoints[40] = {}, weighted[40];
	struct weft_cluster_state clusters[ENGINE_STATES] = {};
	struct weft_endpoint_state states[ENGINE_STATES] = {};
	struct weft_balance_state balance = {clusters, ENGINE_STATES, states, ENGINE_STATES};
	struct weft_balance_query query = {.state = &balance};
	struct engine *engine = engine_of(state);
	u32 random = SEED, i, id, agreed = 0;
	weft_ref directory[10] = {};
	struct builder b;

	for (i = 0; i < 40; i++) {
		endpoints[i] = (struct weft_endpoint){.id = 1 + i, .address = WEFT_IP4(1 + i), .weight = 1 + i % 3};
		weighted[i] = endpoints[i];
		weighted[i].flags = WEFT_ENDPOINT_WEIGHTED;
	}
	builder_init(&b, PAGES);
	b.pages = OBJECT_PAGES;
	for (i = 0; i < 4; i++)
		directory[1 + i] = build_cluster(&b, (struct weft_cluster){.id = 1 + i, .kind = WEFT_CLUSTER_ENDPOINTS, .policy = policies[i]}, endpoints, 3);
	directory[5] = build_cluster(&b, (struct weft_cluster){.id = 5, .kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_RANDOM}, NULL, 0);
	for (i = 0; i < 2; i++)
		directory[6 + i] = build_cluster(&b, (struct weft_cluster){.id = 6 + i, .kind = WEFT_CLUSTER_ENDPOINTS, .policy = WEFT_LB_LEAST_REQUEST, .choices = 5},
						 weighted, i ? 40 : 7);
	for (i = 0; i < 2; i++)
		directory[8 + i] = hashing_cluster(&b, 8 + i, i, endpoints, 40);
	build_directory(&b, directory, 10);
	b.pages = PAGES;
	query.image = build_image(&b, WEFT_IMAGE_ENDPOINTS);
	publish(engine, 2, b.base, b.pages);
	engine->io->slot = 2;
	for (i = 0; i < 6000; i++) {
		struct weft_endpoint endpoint = {};
		struct weft_endpoint_state busy;
		int r;

		query.cluster_id = engine->io->cluster_id = i % 11;
		query.random = engine->io->random = random_next(&random);
		query.attempt = engine->io->attempt = i % 7 == 0 ? i % 5 : 0;
		query.hash_state = engine->io->hash_state = random_next(&random) % 3;
		query.hash = engine->io->hash = (u64)random_next(&random) << 32 | random_next(&random);
		id = 1 + i % 40;
		busy.active = states[id].active = random_next(&random) % 5;
		busy.proxied = states[id].proxied = random_next(&random) % 3;
		busy.servers_block_s = busy.zero = 0;
		assert_int_equal(bpf_map_update_elem(bpf_object__find_map_fd_by_name(engine->object, "endpoints"), &id, &busy, BPF_ANY), 0);
		r = weft_pick_endpoint(&query, &endpoint);
		run(engine, "engine_pick_endpoint", 1);
		assert_int_equal(engine->io->result, r);
		if (!r)
			assert_memory_equal(&engine->io->endpoint, &endpoint, sizeof(endpoint));
		agreed += !r;
	}
	assert_true(agreed > 3000);
	builder_free(&b);
}

static const struct {
	u8 kind, flags;
	const char *name;
} hash_policies[] = {
	{WEFT_HASH_HEADER, 0, "x-user"}, {WEFT_HASH_HEADER, WEFT_HASH_TERMINAL, "x-user"}, {WEFT_HASH_HEADER, 0, "connection"},
	{WEFT_HASH_HEADER, 0, "accept"}, {WEFT_HASH_AUTHORITY, 0, ""}, {WEFT_HASH_PATH, 0, ""}, {WEFT_HASH_SOURCE_IP, 0, "x-forwarded-for"},
	{WEFT_HASH_QUERY, 0, "user"}, {WEFT_HASH_QUERY, 0, "x"}, {WEFT_HASH_COOKIE, 0, "sid"}, {WEFT_HASH_METHOD, 0, ""},
};

static weft_ref build_hash_policies(struct builder *b, u32 *random)
{
	struct {
		struct weft_hash_policies head;
		struct weft_hash_policy items[3];
	} built = {.head.count = 1 + random_next(random) % 3};
	u32 i;

	for (i = 0; i < built.head.count; i++) {
		u32 index = random_next(random) % WEFT_ARRAY_SIZE(hash_policies), len = strlen(hash_policies[index].name);

		built.items[i].kind = hash_policies[index].kind;
		built.items[i].flags = hash_policies[index].flags;
		built.items[i].name_len = len;
		built.items[i].name_hash = weft_name_hash((const u8 *)hash_policies[index].name, len);
		built.items[i].name = builder_text(b, hash_policies[index].name, len);
	}
	return builder_add(b, &built, sizeof(built));
}

static void test_requests_are_hashed_as_on_the_host(void **state)
{
	static const char *const lines[] = {
		"x-user: alice\r\n", "X-User: BOB\r\n", "x-user:\r\n", "accept: text/html\r\n", "connection: keep-alive\r\n", "x-forwarded-for: 10.1.2.3\r\n",
		"cookie: sid=1\r\n", "x-usera: no\r\n", "x-user: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef!\r\n",
	};
	static const char *const queries[] = {"", "?user=", "?x=1&user=", "?userx=2&user&user=3", "?&&x", "?xx=1&x=2&x=3&"};
	struct engine *engine = engine_of(state);
	u32 random = SEED, decided = 0, i, k;
	weft_ref policies[64];
	struct builder b;

	builder_init(&b, 1);
	for (i = 0; i < WEFT_ARRAY_SIZE(policies); i++)
		policies[i] = build_hash_policies(&b, &random);
	build_image(&b, WEFT_IMAGE_ROUTES);
	engine->io->slot = 3;
	engine->io->source_hash = 77;
	publish(engine, 3, b.base, b.pages);
	for (i = 0; i < 4000; i++) {
		struct weft_hash_query query = {.image = {b.base, WEFT_PAGE_SIZE}, .source_hash = 77};
		u8 bytes[WEFT_KERNEL_HEAD_MAX + 64] = {};
		static struct weft_head head;
		u64 hash = 0;
		u32 len;
		int r;

		len = sprintf((char *)bytes, "GET /%s%.*s HTTP/1.1\r\nHost: a.test\r\n", queries[random_next(&random) % WEFT_ARRAY_SIZE(queries)],
			      (int)(random_next(&random) % 300),
			      "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"
			      "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"
			      "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz");
		for (k = random_next(&random) % 4; k; k--)
			len += sprintf((char *)bytes + len, "%s", lines[random_next(&random) % WEFT_ARRAY_SIZE(lines)]);
		len += sprintf((char *)bytes + len, "\r\n");
		feed(engine, bytes, len);
		run(engine, "engine_parse_request", 1);
		assert_int_equal(engine->io->result, WEFT_PARSE_DONE);
		assert_int_equal(weft_parse_request((const struct weft_head_bytes *)bytes, len, &head), WEFT_PARSE_DONE);
		if (head.flags & WEFT_REQUEST_PROXY_ONLY)
			continue; /* the kernel has handed it up before */
		canonical(engine);
		query.policies = engine->io->hash_policies = policies[i % WEFT_ARRAY_SIZE(policies)];
		r = weft_hash_request(&query, (const struct weft_head_bytes *)bytes, &head, &hash);
		run(engine, "engine_hash_request", 1);
		if (engine->io->result == WEFT_EXCEEDS)
			continue;
		assert_int_equal(engine->io->result, r);
		assert_true(engine->io->hash == hash);
		decided++;
	}
	assert_true(decided > 1000);
	builder_free(&b);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endpoints_are_picked_as_on_the_host),
		cmocka_unit_test(test_requests_are_hashed_as_on_the_host),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s engine.bpf.o\n", argv[0]);
		return 2;
	}
	object_path = argv[1];
	return cmocka_run_group_tests_name("balancing in the kernel", tests, open_engine, close_engine);
}

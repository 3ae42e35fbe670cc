/* SPDX-License-Identifier: Apache-2.0 */
/* The reflector against a server of this test, which lists, watches, forgets, fails and cuts as a seed has it, in pieces of any size. Whatever happened:
 * once the server behaves, the store is what a fresh list would be. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "k8s/io/api/core/v1/core.pb-c.h"
#include "k8s/io/apimachinery/pkg/runtime/runtime.pb-c.h"
#include "kube/reflector.h"

#define NAMES 12
#define HISTORY 4000
#define NEVER UINT64_MAX

struct object {
	bool exists;
	unsigned int uid;
	uint64_t version;
};

struct change {
	uint64_t version;
	unsigned int name, uid;
	const char *type;
};

struct world {
	uint64_t random, now_ms, wake_ms;
	struct kube_store *store;
	struct kube_reflector *reflector;

	/* the server */
	struct object objects[NAMES];
	uint64_t version, oldest; /* what a watch may begin from */
	unsigned int last_uid;
	struct change history[HISTORY];
	size_t history_size;
	bool is_kind;            /* nothing goes wrong any more */
	uint64_t tokens;         /* continue tokens before this are gone */

	/* the request */
	bool is_open, is_watch, is_fresh;
	char target[512];
	uint64_t sent;           /* version that the watch is at */
	struct strbuf out;       /* bytes that are on their way */
	size_t out_at;
	bool ends;               /* after them */
	const char *problem;
	bool has_head;
	int code;
	uint32_t retry_after_s;

	unsigned int requests, lists, watches, fresh;
};

static uint64_t next_random(struct world *world)
{
	uint64_t z = world->random += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static bool chance(struct world *world, unsigned int percent)
{
	return !world->is_kind && next_random(world) % 100 < percent;
}

/* ---- encoding -------------------------------------------------------------------------------------------------------------------------- */

static void put_varint(struct strbuf *out, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		strbuf_append_byte(out, (char)(value | 0x80));
	strbuf_append_byte(out, (char)value);
}

static void put_bytes(struct strbuf *out, unsigned int number, const void *bytes, size_t size)
{
	put_varint(out, number << 3 | 2);
	put_varint(out, size);
	strbuf_append(out, bytes, size);
}

static void put_text(struct strbuf *out, unsigned int number, const char *text)
{
	put_bytes(out, number, text, strlen(text));
}

static void put_number(struct strbuf *out, unsigned int number, uint64_t value)
{
	put_varint(out, number << 3);
	put_varint(out, value);
}

static void put_nested(struct strbuf *out, unsigned int number, struct strbuf *nested)
{
	put_bytes(out, number, strbuf_text(nested), nested->size);
	strbuf_release(nested);
}

static void envelope(struct strbuf *out, const char *kind, struct strbuf *raw)
{
	struct strbuf meta = STRBUF_INIT;

	strbuf_append(out, "k8s", 4);
	put_text(&meta, 1, "v1");
	put_text(&meta, 2, kind);
	put_nested(out, 1, &meta);
	put_nested(out, 2, raw);
}

static void pod(struct strbuf *out, unsigned int name, unsigned int uid, uint64_t version)
{
	struct strbuf meta = STRBUF_INIT, spec = STRBUF_INIT;
	char text[32];

	snprintf(text, sizeof(text), "pod-%u", name);
	put_text(&meta, 1, text);
	put_text(&meta, 3, "shop");
	snprintf(text, sizeof(text), "uid-%u", uid);
	put_text(&meta, 5, text);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)version);
	put_text(&meta, 6, text);
	put_text(&meta, 17, "managed fields, which nobody reads");
	put_nested(out, 1, &meta);
	put_text(&spec, 10, "node-a");
	put_nested(out, 2, &spec);
}

static void status(struct strbuf *out, int code, const char *reason)
{
	struct strbuf raw = STRBUF_INIT;

	put_text(&raw, 2, "Failure");
	put_text(&raw, 4, reason);
	put_number(&raw, 6, (uint64_t)code);
	envelope(out, "Status", &raw);
}

static void frame(struct strbuf *out, const char *type, struct strbuf *object)
{
	struct strbuf event = STRBUF_INIT, extension = STRBUF_INIT;
	uint8_t prefix[4];

	put_text(&event, 1, type);
	put_nested(&extension, 1, object);
	put_nested(&event, 2, &extension);
	for (int i = 0; i < 4; i++)
		prefix[i] = (uint8_t)(event.size >> (24 - 8 * i));
	strbuf_append(out, prefix, sizeof(prefix));
	strbuf_append(out, event.data, event.size);
	strbuf_release(&event);
}

/* ---- the server ------------------------------------------------------------------------------------------------------------------------ */

static void note(struct world *world, unsigned int name, const char *type)
{
	world->objects[name].version = ++world->version;
	assert_true(world->history_size < HISTORY);
	world->history[world->history_size++] = (struct change){ world->version, name, world->objects[name].uid, type };
}

static void change_something(struct world *world)
{
	unsigned int name = (unsigned int)(next_random(world) % NAMES);
	struct object *object = &world->objects[name];

	if (!object->exists) {
		object->exists = true;
		object->uid = ++world->last_uid;
		note(world, name, "ADDED");
	} else if (next_random(world) % 3 == 0) {
		object->exists = false;
		note(world, name, "DELETED");
	} else {
		note(world, name, "MODIFIED");
	}
}

static void answer(struct world *world, int code)
{
	world->code = code;
	world->ends = true;
	world->problem = NULL;
	if (code != 200)
		status(&world->out, code, code == 410 ? "Expired" : "");
}

static unsigned int number_after(const char *target, const char *key)
{
	const char *at = strstr(target, key);

	return at ? (unsigned int)strtoul(at + strlen(key), NULL, 10) : 0;
}

/* A page is of the state as it is now, which the real server's is not: its pages are one state. So what changes between pages must come by the
 * watch, which begins at the version of the first page. */
static void answer_list(struct world *world)
{
	unsigned int limit = number_after(world->target, "limit="), from = 0, count = 0, name;
	struct strbuf raw = STRBUF_INIT, meta = STRBUF_INIT;
	uint64_t version = world->version;
	char text[64];

	if (strstr(world->target, "continue=")) {
		unsigned long long at;

		assert_int_equal(sscanf(strstr(world->target, "continue="), "continue=v%llu.%u", &at, &from), 2);
		version = at;
		if (version < world->tokens || chance(world, 10)) {
			answer(world, 410);
			return;
		}
	}
	for (name = from; name < NAMES && count < limit; name++) {
		struct strbuf item = STRBUF_INIT;

		if (!world->objects[name].exists)
			continue;
		pod(&item, name, world->objects[name].uid, world->objects[name].version);
		put_nested(&raw, 2, &item);
		count++;
	}
	snprintf(text, sizeof(text), "%llu", (unsigned long long)version);
	put_text(&meta, 2, text);
	snprintf(text, sizeof(text), "v%llu.%u", (unsigned long long)version, name);
	put_text(&meta, 3, name < NAMES ? text : "");
	put_nested(&raw, 1, &meta);
	envelope(&world->out, "PodList", &raw);
	answer(world, 200);
}

static void answer_watch(struct world *world)
{
	world->sent = number_after(world->target, "resourceVersion=");
	if (world->sent < world->oldest && chance(world, 50)) {
		answer(world, 410);
		return;
	}
	world->code = 200;
	if (world->sent < world->oldest) {
		struct strbuf object = STRBUF_INIT;

		status(&object, 410, "Expired");
		frame(&world->out, "ERROR", &object);
		world->ends = true;
	}
}

static int on_request(void *arg, const char *target, bool is_fresh)
{
	struct world *world = arg;
	static const int codes[] = { 401, 403, 429, 500, 503, 504 };

	assert_true(strlen(target) < sizeof(world->target));
	assert_non_null(strstr(target, "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a&"));
	strcpy(world->target, target);
	world->is_open = true;
	world->is_watch = strstr(target, "watch=1") != NULL;
	world->is_fresh = is_fresh;
	world->requests++;
	world->fresh += is_fresh;
	*(world->is_watch ? &world->watches : &world->lists) += 1;
	strbuf_truncate(&world->out, 0);
	world->out_at = 0;
	world->ends = world->has_head = false;
	world->code = 0;
	world->problem = NULL;
	world->retry_after_s = 0;
	if (chance(world, 5)) {
		world->ends = true;
		world->problem = "connection refused";
	} else if (chance(world, 10)) {
		answer(world, codes[next_random(world) % ARRAY_SIZE(codes)]);
		world->retry_after_s = world->code == 429 ? 1 : 0;
	} else if (world->is_watch) {
		answer_watch(world);
	} else {
		answer_list(world);
	}
	return 0;
}

static void on_cancel(void *arg)
{
	((struct world *)arg)->is_open = false;
}

static void on_wake(void *arg, uint64_t after_ms)
{
	struct world *world = arg;

	world->wake_ms = world->now_ms + after_ms;
}

static const struct kube_reflector_ops ops = { on_request, on_cancel, on_wake, NULL };

/* What a watch is to say next goes out. */
static void push(struct world *world)
{
	for (size_t i = 0; i < world->history_size; i++) {
		struct strbuf object = STRBUF_INIT, raw = STRBUF_INIT;

		if (world->history[i].version <= world->sent)
			continue;
		pod(&raw, world->history[i].name, world->history[i].uid, world->history[i].version);
		envelope(&object, "Pod", &raw);
		frame(&world->out, world->history[i].type, &object);
		world->sent = world->history[i].version;
	}
	if (next_random(world) % 4 == 0) {
		struct strbuf object = STRBUF_INIT, raw = STRBUF_INIT, meta = STRBUF_INIT;
		char text[32];

		snprintf(text, sizeof(text), "%llu", (unsigned long long)world->sent);
		put_text(&meta, 6, text);
		put_nested(&raw, 1, &meta);
		envelope(&object, "Pod", &raw);
		frame(&world->out, "BOOKMARK", &object);
	}
}

/* One thing happens on the connection. */
static void deliver(struct world *world)
{
	size_t left, piece;

	if (!world->is_open)
		return;
	if (world->code && !world->has_head) {
		world->has_head = true;
		kube_reflector_head(world->reflector, world->code, KUBE_CONTENT_TYPE, world->retry_after_s, world->now_ms);
		return;
	}
	if (world->is_watch && world->code == 200 && !world->ends)
		push(world);
	if (chance(world, 4)) {
		world->is_open = false;
		kube_reflector_end(world->reflector, "connection reset", world->now_ms);
		return;
	}
	left = world->out.size - world->out_at;
	if (left) {
		piece = 1 + (size_t)(next_random(world) % (world->is_kind ? 4096 : 300));
		piece = piece < left ? piece : left;
		world->out_at += piece;
		kube_reflector_body(world->reflector, world->out.data + world->out_at - piece, piece, world->now_ms);
	} else if (world->ends || (world->is_watch && chance(world, 3))) {
		world->is_open = false;
		kube_reflector_end(world->reflector, world->problem, world->now_ms);
	}
}

static void pass_time(struct world *world, uint64_t ms)
{
	world->now_ms += ms;
	if (world->now_ms >= world->wake_ms) {
		world->wake_ms = NEVER;
		kube_reflector_wake(world->reflector, world->now_ms);
	}
}

static void assert_equal_to_a_fresh_list(struct world *world, uint64_t seed)
{
	size_t exists = 0;

	for (unsigned int i = 0; i < NAMES; i++) {
		const struct kube_pod *found;
		char name[32], uid[32], version[32];

		snprintf(name, sizeof(name), "pod-%u", i);
		snprintf(uid, sizeof(uid), "uid-%u", world->objects[i].uid);
		snprintf(version, sizeof(version), "%llu", (unsigned long long)world->objects[i].version);
		found = kube_store_find_pod(world->store, "shop", name);
		exists += world->objects[i].exists;
		if (!found != !world->objects[i].exists || (found && (strcmp(found->uid, uid) != 0 || strcmp(found->resource_version, version) != 0)))
			fail_msg("seed %llu: %s is %s %s, and should be %s %s", (unsigned long long)seed, name, found ? found->uid : "gone",
				 found ? found->resource_version : "", world->objects[i].exists ? uid : "gone", world->objects[i].exists ? version : "");
	}
	assert_int_equal(kube_store_count(world->store, KUBE_PODS), exists);
}

static void begin(struct world *world, uint64_t seed)
{
	struct kube_reflector_options options = { .kind = KUBE_PODS, .node_name = "node-a", .page_size = 3, .random = seed, .ops = &ops, .arg = world };

	*world = (struct world){ .random = seed, .now_ms = 1000, .wake_ms = NEVER, .version = 10 };
	assert_int_equal(kube_store_new(&world->store), 0);
	options.store = world->store;
	assert_int_equal(kube_reflector_new(&world->reflector, &options), 0);
}

static void end(struct world *world)
{
	kube_reflector_free(&world->reflector);
	kube_store_free(&world->store);
	strbuf_release(&world->out);
}

/* The server behaves and nothing changes: what is on its way arrives. */
static void settle(struct world *world)
{
	world->is_kind = true;
	for (unsigned int i = 0; i < 3000; i++) {
		deliver(world);
		pass_time(world, 50);
	}
}

static void test_after_any_faults_the_store_is_what_a_list_would_be(void **state)
{
	for (uint64_t seed = 1; seed <= 150; seed++) {
		struct world world;

		begin(&world, seed);
		kube_reflector_start(world.reflector, world.now_ms);
		for (unsigned int i = 0; i < 1500; i++) {
			if (next_random(&world) % 3 == 0)
				change_something(&world);
			if (next_random(&world) % 100 == 0)
				world.oldest = world.tokens = world.version - next_random(&world) % 5;
			deliver(&world);
			pass_time(&world, next_random(&world) % 100 ? next_random(&world) % 200 : 60000);
		}
		settle(&world);
		assert_equal_to_a_fresh_list(&world, seed);
		end(&world);
	}
}

static void calm(struct world *world)
{
	begin(world, 7);
	world->is_kind = true;
	for (unsigned int i = 0; i < 20; i++)
		change_something(world);
	kube_reflector_start(world->reflector, world->now_ms);
	for (unsigned int i = 0; i < 40; i++)
		deliver(world);
}

static void test_pages_are_read_to_the_last_and_a_watch_follows(void **state)
{
	struct kube_reflector_status status;
	struct world world;

	calm(&world);
	assert_equal_to_a_fresh_list(&world, 7);
	kube_reflector_get_status(world.reflector, &status);
	assert_true(status.is_synced && status.is_watching);
	assert_int_equal(status.lists, 1);
	assert_in_range(world.lists, 2, NAMES / 3 + 1);
	assert_int_equal(world.watches, 1);
	assert_non_null(strstr(world.target, "allowWatchBookmarks=true"));
	assert_in_range(number_after(world.target, "timeoutSeconds="), 300, 600);
	end(&world);
}

static void test_a_cut_watch_goes_on_from_where_it_was(void **state)
{
	char wanted[64];
	struct world world;

	calm(&world);
	change_something(&world);
	for (unsigned int i = 0; i < 10; i++)
		deliver(&world);
	world.is_open = false;
	pass_time(&world, 5000);
	kube_reflector_end(world.reflector, "connection reset", world.now_ms);
	pass_time(&world, 200);
	snprintf(wanted, sizeof(wanted), "resourceVersion=%llu&", (unsigned long long)world.version);
	assert_int_equal(world.watches, 2);
	strcat(world.target, "&");
	assert_non_null(strstr(world.target, wanted));
	end(&world);
}

static void test_a_version_that_is_forgotten_leads_to_a_list(void **state)
{
	unsigned int lists;
	struct world world;

	calm(&world);
	lists = world.lists;
	world.is_open = false;
	for (unsigned int i = 0; i < 30; i++)
		change_something(&world);
	world.oldest = world.version;
	kube_reflector_end(world.reflector, NULL, world.now_ms + 5000);
	settle(&world);
	assert_true(world.lists > lists);
	assert_equal_to_a_fresh_list(&world, 7);
	end(&world);
}

static void test_a_watch_that_is_refused_as_too_old_leads_to_a_list_soon(void **state)
{
	struct world world;

	calm(&world);
	for (unsigned int i = 0; i < 2; i++) {
		/* refused connections before it don't count */
		world.is_open = false;
		pass_time(&world, 5000);
		kube_reflector_end(world.reflector, "connection reset", world.now_ms);
		pass_time(&world, 200);
		kube_reflector_end(world.reflector, "connection refused", world.now_ms);
		pass_time(&world, 60000);
	}
	kube_reflector_head(world.reflector, 410, KUBE_CONTENT_TYPE, 0, world.now_ms);
	kube_reflector_end(world.reflector, NULL, world.now_ms);
	assert_in_range(world.wake_ms - world.now_ms, 0, 200);
	pass_time(&world, 200);
	assert_null(strstr(world.target, "watch=1"));
	/* but not again and again */
	for (unsigned int i = 0; i < 10 && !strstr(world.target, "watch=1"); i++)
		deliver(&world);
	kube_reflector_head(world.reflector, 410, KUBE_CONTENT_TYPE, 0, world.now_ms);
	kube_reflector_end(world.reflector, NULL, world.now_ms);
	assert_true(world.wake_ms - world.now_ms >= 800);
	end(&world);
}

static void test_a_refused_request_waits_as_long_as_it_is_told_and_longer_each_time(void **state)
{
	uint64_t least = 0;
	struct world world;

	begin(&world, 3);
	world.is_kind = true;
	kube_reflector_start(world.reflector, world.now_ms);
	for (unsigned int i = 0; i < 4; i++) {
		world.is_open = false;
		kube_reflector_head(world.reflector, 429, "text/plain", 2, world.now_ms);
		kube_reflector_body(world.reflector, "Too many requests", 17, world.now_ms);
		kube_reflector_end(world.reflector, NULL, world.now_ms);
		assert_true(world.wake_ms - world.now_ms >= 2000 + least);
		assert_true(world.wake_ms - world.now_ms <= 62000);
		least = least * 2 + (i == 0 ? 800 : 0);
		pass_time(&world, world.wake_ms - world.now_ms);
		assert_int_equal(world.requests, i + 2);
	}
	end(&world);
}

static void test_a_list_is_retried_from_the_page_that_failed(void **state)
{
	struct kube_reflector_status status;
	struct world world;
	char target[512];

	begin(&world, 7);
	world.is_kind = true;
	for (unsigned int i = 0; i < 30; i++)
		change_something(&world);
	kube_reflector_start(world.reflector, world.now_ms);
	while (!strstr(world.target, "continue="))
		deliver(&world);
	strcpy(target, world.target);
	world.is_open = false;
	kube_reflector_end(world.reflector, "connection reset", world.now_ms);
	kube_reflector_get_status(world.reflector, &status);
	assert_false(status.is_synced);
	assert_string_equal(status.last_error, "the list: connection reset");
	pass_time(&world, 60000);
	assert_string_equal(world.target, target);
	end(&world);
}

static void test_a_silent_watch_is_begun_anew_on_another_connection(void **state)
{
	struct strbuf object = STRBUF_INIT, raw = STRBUF_INIT, meta = STRBUF_INIT, bytes = STRBUF_INIT;
	struct world world;

	calm(&world);
	put_text(&meta, 6, "77");
	put_nested(&raw, 1, &meta);
	envelope(&object, "Pod", &raw);
	frame(&bytes, "BOOKMARK", &object);
	kube_reflector_body(world.reflector, bytes.data, bytes.size, world.now_ms);
	strbuf_release(&bytes);
	for (unsigned int i = 0; i < 89; i++)
		pass_time(&world, 1000);
	assert_int_equal(world.watches, 1);
	for (unsigned int i = 0; i < 5; i++)
		pass_time(&world, 1000);
	assert_int_equal(world.watches, 2);
	assert_int_equal(world.fresh, 1);
	assert_non_null(strstr(world.target, "resourceVersion=77"));
	end(&world);
}

static void test_a_server_that_does_not_answer_is_left_after_half_a_minute(void **state)
{
	struct world world;

	begin(&world, 5);
	world.is_kind = true;
	kube_reflector_start(world.reflector, world.now_ms);
	for (unsigned int i = 0; i < 29; i++)
		pass_time(&world, 1000);
	assert_int_equal(world.requests, 1);
	for (unsigned int i = 0; i < 5; i++)
		pass_time(&world, 1000);
	assert_int_equal(world.requests, 2);
	assert_int_equal(world.fresh, 1);
	end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_after_any_faults_the_store_is_what_a_list_would_be),
		cmocka_unit_test(test_pages_are_read_to_the_last_and_a_watch_follows),
		cmocka_unit_test(test_a_cut_watch_goes_on_from_where_it_was),
		cmocka_unit_test(test_a_version_that_is_forgotten_leads_to_a_list),
		cmocka_unit_test(test_a_watch_that_is_refused_as_too_old_leads_to_a_list_soon),
		cmocka_unit_test(test_a_refused_request_waits_as_long_as_it_is_told_and_longer_each_time),
		cmocka_unit_test(test_a_list_is_retried_from_the_page_that_failed),
		cmocka_unit_test(test_a_silent_watch_is_begun_anew_on_another_connection),
		cmocka_unit_test(test_a_server_that_does_not_answer_is_left_after_half_a_minute),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which streams there are: one for each namespace that has a pod. What carries them is the test; time is an argument. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <event2/event.h>

#include "base/cleanup.h"
#include "dns/dns.h"
#include "keeper/table.h"
#include "kube/pods.h"
#include "worker/internal.h"

#define NOW_MS UINT64_C(1000000)

struct fixture {
	struct worker worker;
	struct scope_events events;
	char said[512]; /* which streams began and ended */
	int failures;   /* of the next beginnings */
};

static struct fixture *fixture_of(struct worker *worker)
{
	return (struct fixture *)((char *)worker - offsetof(struct fixture, worker));
}

static void say(struct worker *worker, const char *what, const struct serving *serving)
{
	struct fixture *fx = fixture_of(worker);

	snprintf(fx->said + strlen(fx->said), sizeof(fx->said) - strlen(fx->said), "%s%s %s", *fx->said ? ", " : "", what, serving->name);
}

static int on_begin(struct worker *worker, struct serving *serving)
{
	if (fixture_of(worker)->failures) {
		fixture_of(worker)->failures--;
		say(worker, "fail", serving);
		return -EMFILE;
	}
	say(worker, "begin", serving);
	return 0;
}

static void on_end(struct worker *worker, struct serving *serving)
{
	say(worker, "end", serving);
}

static void on_send(struct worker *worker, struct serving *serving, const void *bytes, size_t size)
{
}

static int setup(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));
	struct dns_options dns = { .resolv_conf = "/dev/null" };

	assert_non_null(fx);
	fx->worker.base = dns.base = event_base_new();
	assert_int_equal(dns_new(&fx->worker.dns, &dns), 0);
	fx->events = (struct scope_events){ .cluster_id = "Kubernetes", .node_name = "", .cache = "", .begin = on_begin, .end = on_end, .send = on_send };
	assert_int_equal(table_new(&fx->worker.table, 16), 0);
	fx->worker.scopes.events = &fx->events;
	assert_int_equal(scopes_start(&fx->worker), 0);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fx = *state;

	scopes_stop(&fx->worker);
	if (fx->worker.scopes.names_entry)
		close(fx->worker.scopes.names_entry->fd);
	table_free(&fx->worker.table);
	dns_free(&fx->worker.dns);
	event_base_free(fx->worker.base);
	free(fx);
	return 0;
}

/* `names`: "NAMESPACE/POD NAMESPACE/POD..."; a pod is NAME, or NAME=ADDRESS or NAME=ADDRESS,VERSION, which is a label. */
static int try_pods(struct fixture *fx, const char *names, uint64_t now_ms)
{
	_cleanup_(pods_free) struct pods *pods = NULL;
	char namespace_name[32], name[32], address[32];
	int size;

	assert_int_equal(pods_new(&pods), 0);
	for (const char *at = names; sscanf(at, " %31[^/]/%31s%n", namespace_name, name, &size) == 2; at += size) {
		char *given = strchr(name, '='), *version = given ? strchr(given, ',') : NULL;
		struct pod_label label = { .key = (char *)"version", .value = version ? version + 1 : NULL };
		struct pod_ip ip = { .text = address };
		struct pod pod = { .name = name, .namespace_name = namespace_name, .service_account = "default", .network_namespace = "/run/netns/x",
				   .cgroup = "/sys/fs/cgroup/x", .ips = &ip, .ip_count = 1, .file = "", .labels = &label, .label_count = version != NULL };

		if (version)
			*version = '\0';
		if (given)
			*given = '\0';
		if (given)
			snprintf(address, sizeof(address), "%s", given + 1);
		else
			snprintf(address, sizeof(address), "10.0.0.%d", name[0] - 'a' + 1);
		assert_int_equal(pods_add(pods, &pod), 0);
	}
	return scopes_update(&fx->worker, pods, now_ms);
}

static void have_pods(struct fixture *fx, const char *names, uint64_t now_ms)
{
	assert_int_equal(try_pods(fx, names, now_ms), 0);
}

static void says(struct fixture *fx, const char *expected)
{
	assert_string_equal(fx->said, expected);
	fx->said[0] = '\0';
}

static void test_each_namespace_with_a_pod_has_one_stream(void **state)
{
	struct fixture *fx = *state;

	have_pods(fx, "shop/a shop/b bank/c", NOW_MS);
	says(fx, "begin shop, begin bank");
	have_pods(fx, "shop/a shop/b bank/c shop/d", NOW_MS);
	says(fx, "");
	assert_ptr_not_equal(scopes_find(&fx->worker, "shop"), scopes_find(&fx->worker, "bank"));
}

static void test_a_stream_ends_a_minute_after_its_last_pod(void **state)
{
	struct fixture *fx = *state;

	have_pods(fx, "shop/a bank/c", NOW_MS);
	have_pods(fx, "bank/c", NOW_MS + 5000);
	says(fx, "begin shop, begin bank");
	scopes_tick(&fx->worker, NOW_MS + 5000 + 59999);
	says(fx, "");
	assert_non_null(scopes_find(&fx->worker, "shop"));
	scopes_tick(&fx->worker, NOW_MS + 5000 + 60000);
	says(fx, "end shop");
	assert_null(scopes_find(&fx->worker, "shop"));
	assert_non_null(scopes_find(&fx->worker, "bank"));
}

static void test_the_minute_begins_when_the_last_pod_goes_and_not_with_every_look(void **state)
{
	struct fixture *fx = *state;

	have_pods(fx, "shop/a", NOW_MS);
	have_pods(fx, "", NOW_MS + 1000);
	have_pods(fx, "", NOW_MS + 50000);
	scopes_tick(&fx->worker, NOW_MS + 61000);
	says(fx, "begin shop, end shop");
}

static void test_a_pod_that_comes_within_the_minute_finds_the_stream_open(void **state)
{
	struct fixture *fx = *state;

	have_pods(fx, "shop/a", NOW_MS);
	have_pods(fx, "", NOW_MS + 1000);
	have_pods(fx, "shop/a", NOW_MS + 60000);
	scopes_tick(&fx->worker, NOW_MS + 200000);
	says(fx, "begin shop");
	have_pods(fx, "", NOW_MS + 200000);
	scopes_tick(&fx->worker, NOW_MS + 260000 - 1);
	says(fx, "");
}

static void test_another_pod_stands_for_its_namespace_on_a_new_stream(void **state)
{
	struct fixture *fx = *state;

	have_pods(fx, "shop/a shop/b", NOW_MS);
	have_pods(fx, "shop/b", NOW_MS + 1000);
	says(fx, "begin shop, end shop, begin shop");
	assert_string_equal(scopes_find(&fx->worker, "shop")->pod_name, "b");
}

static void test_a_pod_recreated_under_its_name_or_relabelled_has_a_new_stream(void **state)
{
	struct fixture *fx = *state;

	have_pods(fx, "shop/web-0=10.0.0.7,v1", NOW_MS);
	have_pods(fx, "shop/web-0=10.0.0.7,v1", NOW_MS);
	says(fx, "begin shop");
	have_pods(fx, "shop/web-0=10.0.0.8,v1", NOW_MS);
	says(fx, "end shop, begin shop");
	have_pods(fx, "shop/web-0=10.0.0.8,v2", NOW_MS);
	says(fx, "end shop, begin shop");
	have_pods(fx, "shop/web-0=10.0.0.8", NOW_MS);
	says(fx, "end shop, begin shop");
	have_pods(fx, "shop/web-0=10.0.0.8 shop/b", NOW_MS);
	says(fx, "");
}

static void test_a_new_stream_that_can_not_begin_is_tried_again(void **state)
{
	struct fixture *fx = *state;

	have_pods(fx, "shop/a", NOW_MS);
	says(fx, "begin shop");
	fx->failures = 2;
	assert_int_equal(try_pods(fx, "shop/b", NOW_MS), -EMFILE);
	says(fx, "end shop, fail shop");
	assert_non_null(scopes_find(&fx->worker, "shop"));
	/* Nothing new comes from the pods. */
	have_pods(fx, "shop/b", NOW_MS);
	scopes_tick(&fx->worker, NOW_MS + 1000);
	says(fx, "fail shop");
	scopes_tick(&fx->worker, NOW_MS + 2000);
	says(fx, "begin shop");
	scopes_tick(&fx->worker, NOW_MS + 3000);
	says(fx, "");
}

static void test_a_namespace_that_comes_back_has_its_number_again(void **state)
{
	struct fixture *fx = *state;
	uint32_t number;

	have_pods(fx, "shop/a bank/c", NOW_MS);
	number = scopes_find(&fx->worker, "bank")->number;
	assert_int_not_equal(number, scopes_find(&fx->worker, "shop")->number);
	have_pods(fx, "shop/a", NOW_MS);
	scopes_tick(&fx->worker, NOW_MS + 60000);
	have_pods(fx, "shop/a bank/c", NOW_MS + 60000);
	assert_int_equal(scopes_find(&fx->worker, "bank")->number, number);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_each_namespace_with_a_pod_has_one_stream),
		TEST(test_a_stream_ends_a_minute_after_its_last_pod),
		TEST(test_the_minute_begins_when_the_last_pod_goes_and_not_with_every_look),
		TEST(test_a_pod_that_comes_within_the_minute_finds_the_stream_open),
		TEST(test_another_pod_stands_for_its_namespace_on_a_new_stream),
		TEST(test_a_pod_recreated_under_its_name_or_relabelled_has_a_new_stream),
		TEST(test_a_new_stream_that_can_not_begin_is_tried_again),
		TEST(test_a_namespace_that_comes_back_has_its_number_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

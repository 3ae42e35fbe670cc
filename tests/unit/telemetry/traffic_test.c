/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "telemetry/traffic.h"

#define SLOTS 4

struct fixture {
	struct traffic *traffic;
	struct weft_upstream upstreams[SLOTS];
	struct weft_traffic slots[SLOTS];
	const char *service;     /* what every cluster is called; NULL: unknown */
};

static int describe(void *arg, const struct weft_traffic_key *key, struct strbuf *labels)
{
	struct fixture *fx = arg;

	if (!fx->service)
		return -ENOENT;
	strbuf_printf(labels, "source_workload=\"pod-%u\",destination_service=\"%s-%u\"", key->pod_id, fx->service, key->cluster_id);
	return 0;
}

static int setup(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));
	const struct traffic_options options = { .series_max = 3, .describe = describe, .arg = fx };

	assert_non_null(fx);
	fx->service = "a";
	assert_int_equal(traffic_new(&fx->traffic, &options), 0);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fx = *state;

	traffic_free(&fx->traffic);
	traffic_free(&fx->traffic);
	free(fx);
	return 0;
}

static void has(struct fixture *fx, const char *line)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	assert_int_equal(traffic_write(fx->traffic, false, &text), 0);
	if (!strstr(strbuf_text(&text), line))
		fail_msg("no \"%s\" in\n%s", line, strbuf_text(&text));
}

static void lacks(struct fixture *fx, const char *part)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	assert_int_equal(traffic_write(fx->traffic, false, &text), 0);
	if (strstr(strbuf_text(&text), part))
		fail_msg("\"%s\" in\n%s", part, strbuf_text(&text));
}

#define LABELS(pod, service, code, flag)                                                                                           \
	"{reporter=\"source\",source_workload=\"" pod "\",destination_service=\"" service "\",request_protocol=\"http\",response_code=\"" code \
	"\",grpc_response_status=\"\",response_flags=\"" flag "\",connection_security_policy=\"unknown\""

static void add(struct fixture *fx, uint32_t pod_id, uint32_t cluster_id, uint16_t status, uint16_t flag)
{
	const struct weft_traffic_key key = { .pod_id = pod_id, .endpoint_id = 5, .cluster_id = cluster_id, .status = status, .flag = flag };
	struct weft_traffic_sums sums = { .duration_ns = 1500000, .request_bytes = 40, .response_bytes = 5000001 };

	sums.durations[weft_duration_bucket(sums.duration_ns)] = 1;
	sums.requests[WEFT_SIZE_FIRST + weft_size_bucket(sums.request_bytes)] = 1;
	sums.responses[WEFT_SIZE_FIRST + weft_size_bucket(sums.response_bytes)] = 1;
	traffic_add(fx->traffic, &key, &sums);
}

/* An exchange as the programs count it: on its slot, if that is its kind. */
static void carry(struct fixture *fx, unsigned slot, uint16_t status)
{
	struct weft_upstream *u = &fx->upstreams[slot];
	struct weft_traffic *record = &fx->slots[slot];

	u->status = status;
	u->state = WEFT_STATE_WORD(WEFT_LEASE(u->state) + 1, WEFT_UPSTREAM_IDLE);
	if (record->key.pod_id != u->pod_id || record->key.endpoint_id != u->endpoint_id || record->key.cluster_id != u->cluster_id ||
	    record->key.status != status)
		return;
	record->duration_ns += 10000;
	record->durations[0]++;
	record->requests[1]++;
	record->responses[1]++;
}

static void look(struct fixture *fx)
{
	traffic_look_at_slots(fx->traffic, fx->upstreams, fx->slots, SLOTS, false);
}

static void pool_of(struct fixture *fx, unsigned slot, uint32_t pod_id, uint32_t endpoint_id)
{
	fx->upstreams[slot].pod_id = pod_id;
	fx->upstreams[slot].endpoint_id = endpoint_id;
	fx->upstreams[slot].cluster_id = 9;
}

/* Each bound belongs to its bucket, and what is one more to the next. */
static void test_every_bound_is_in_its_bucket(void **state)
{
	static const double bounds[WEFT_TRAFFIC_BOUNDS] = { 0.5,  1,    5,     10,    25,    50,     100,    250,     500,    1000,
							    2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000 };

	for (uint32_t i = 0; i < WEFT_TRAFFIC_BOUNDS; i++) {
		assert_int_equal(weft_duration_bucket((uint64_t)(bounds[i] * 1e6)), i);
		assert_int_equal(weft_duration_bucket((uint64_t)(bounds[i] * 1e6) + 1), i + 1);
		if (i < WEFT_SIZE_FIRST)
			continue;
		assert_int_equal(weft_size_bucket((uint64_t)bounds[i]), i - WEFT_SIZE_FIRST);
		assert_int_equal(weft_size_bucket((uint64_t)bounds[i] + 1), i - WEFT_SIZE_FIRST + 1);
	}
}

static void test_what_was_added_is_a_series_of_each_metric(void **state)
{
	struct fixture *fx = *state;

	add(fx, 1, 2, 200, WEFT_FLAG_NONE);
	add(fx, 1, 2, 200, WEFT_FLAG_NONE);
	add(fx, 1, 2, 503, WEFT_FLAG_NO_HEALTHY);
	has(fx, "# TYPE istio_requests_total counter\n");
	has(fx, "istio_requests_total" LABELS("pod-1", "a-2", "200", "-") "} 2\n");
	has(fx, "istio_requests_total" LABELS("pod-1", "a-2", "503", "UH") "} 1\n");
	has(fx, "istio_request_duration_milliseconds_bucket" LABELS("pod-1", "a-2", "200", "-") ",le=\"1\"} 0\n");
	has(fx, "istio_request_duration_milliseconds_bucket" LABELS("pod-1", "a-2", "200", "-") ",le=\"5\"} 2\n");
	has(fx, "istio_request_duration_milliseconds_sum" LABELS("pod-1", "a-2", "200", "-") "} 3.000000\n");
	has(fx, "istio_request_bytes_bucket" LABELS("pod-1", "a-2", "200", "-") ",le=\"50\"} 2\n");
	has(fx, "istio_response_bytes_bucket" LABELS("pod-1", "a-2", "200", "-") ",le=\"3600000\"} 0\n");
	has(fx, "istio_response_bytes_bucket" LABELS("pod-1", "a-2", "200", "-") ",le=\"+Inf\"} 2\n");
	has(fx, "istio_response_bytes_sum" LABELS("pod-1", "a-2", "200", "-") "} 10000002\n");
	lacks(fx, "istio_tcp_connections_opened_total{");
}

static void test_connections_are_no_requests(void **state)
{
	struct fixture *fx = *state;
	const struct weft_traffic_key key = { .pod_id = 1, .cluster_id = 2, .flag = WEFT_FLAG_TCP };
	const struct weft_traffic_sums sums = { .opened = 2, .closed = 1, .request_bytes = 10, .response_bytes = 20 };
	static const char labels[] = "{reporter=\"source\",source_workload=\"pod-1\",destination_service=\"a-2\",request_protocol=\"tcp\","
				     "response_flags=\"-\",connection_security_policy=\"unknown\"}";
	char line[512];

	traffic_add(fx->traffic, &key, &sums);
	snprintf(line, sizeof(line), "istio_tcp_connections_opened_total%s 2\n", labels);
	has(fx, line);
	snprintf(line, sizeof(line), "istio_tcp_connections_closed_total%s 1\n", labels);
	has(fx, line);
	snprintf(line, sizeof(line), "istio_tcp_received_bytes_total%s 10\n", labels);
	has(fx, line);
	snprintf(line, sizeof(line), "istio_tcp_sent_bytes_total%s 20\n", labels);
	has(fx, line);
	lacks(fx, "istio_requests_total{");
}

static void test_beyond_the_limit_all_is_unknown_and_nothing_is_lost(void **state)
{
	struct fixture *fx = *state;

	for (uint32_t cluster = 1; cluster <= 5; cluster++)
		add(fx, 1, cluster, 200, WEFT_FLAG_NONE);
	assert_int_equal(traffic_series(fx->traffic), 3);
	has(fx, "destination_service=\"a-3\"");
	lacks(fx, "destination_service=\"a-4\"");
	has(fx, "destination_service=\"unknown\",request_protocol=\"http\",response_code=\"0\",grpc_response_status=\"\",response_flags=\"-\","
		"connection_security_policy=\"unknown\"} 2\n");
}

static void test_the_programs_records_count_by_what_they_grew(void **state)
{
	struct fixture *fx = *state;

	pool_of(fx, 1, 7, 70);
	carry(fx, 1, 200); /* whose slot it is was not said yet */
	look(fx);
	assert_int_equal(fx->slots[1].key.pod_id, 7);
	carry(fx, 1, 200);
	carry(fx, 1, 200);
	look(fx);
	look(fx);
	has(fx, "istio_requests_total" LABELS("pod-7", "a-9", "200", "-") "} 2\n");
	carry(fx, 1, 404); /* not what is usual here */
	carry(fx, 1, 200);
	look(fx);
	has(fx, "istio_requests_total" LABELS("pod-7", "a-9", "200", "-") "} 3\n");
	lacks(fx, "404");
}

static void test_counters_of_32_bits_may_turn_over(void **state)
{
	struct fixture *fx = *state;

	pool_of(fx, 0, 7, 70);
	fx->slots[0].durations[0] = UINT32_MAX;
	fx->slots[0].key = (struct weft_traffic_key){ .pod_id = 7, .endpoint_id = 70, .cluster_id = 9, .status = 200 };
	fx->upstreams[0].state = WEFT_STATE_WORD(1, WEFT_UPSTREAM_IDLE);
	traffic_look_at_slots(fx->traffic, fx->upstreams, fx->slots, SLOTS, true); /* of a worker before */
	carry(fx, 0, 200);
	carry(fx, 0, 200);
	look(fx);
	has(fx, "istio_requests_total" LABELS("pod-7", "a-9", "200", "-") "} 2\n");
}

/* As the programs write them: of the next exchange, first the cluster and then that there is no status yet. */
static void test_a_kind_is_of_one_exchange(void **state)
{
	struct fixture *fx = *state;
	struct weft_upstream *u = &fx->upstreams[0];

	pool_of(fx, 0, 1, 70);
	u->status = 200;
	u->state = WEFT_STATE_WORD(1, WEFT_UPSTREAM_LENT);
	u->cluster_id = 11;
	look(fx);
	assert_int_equal(fx->slots[0].key.pod_id, 0);
	u->status = 0;
	look(fx);
	assert_int_equal(fx->slots[0].key.pod_id, 0);
	u->state = WEFT_STATE_WORD(1, WEFT_UPSTREAM_REPLYING);
	u->status = 404;
	look(fx);
	assert_int_equal(fx->slots[0].key.pod_id, 1);
	assert_int_equal(fx->slots[0].key.endpoint_id, 70);
	assert_int_equal(fx->slots[0].key.cluster_id, 11);
	assert_int_equal(fx->slots[0].key.status, 404);
}

struct carrying {
	struct weft_upstream *upstream;
	bool is_over;
};

static void *carry_both_kinds(void *arg)
{
	struct carrying *carrying = arg;
	struct weft_upstream *u = carrying->upstream;

	for (uint32_t lease = 1; !__atomic_load_n(&carrying->is_over, __ATOMIC_RELAXED); lease++) {
		__atomic_store_n(&u->state, WEFT_STATE_WORD(lease, WEFT_UPSTREAM_LENT), __ATOMIC_SEQ_CST);
		__atomic_store_n(&u->cluster_id, 9 + (lease & 1), __ATOMIC_RELAXED);
		__atomic_store_n(&u->status, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&u->status, lease & 1 ? 500 : 200, __ATOMIC_RELAXED);
		__atomic_store_n(&u->state, WEFT_STATE_WORD(lease, WEFT_UPSTREAM_IDLE), __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void test_a_kind_that_is_written_meanwhile_is_not_taken(void **state)
{
	struct fixture *fx = *state;
	struct carrying carrying = { .upstream = &fx->upstreams[0] };
	uint32_t taken = 0;
	pthread_t thread;

	pool_of(fx, 0, 1, 70);
	assert_int_equal(pthread_create(&thread, NULL, carry_both_kinds, &carrying), 0);
	while (taken < 500) {
		struct weft_traffic_key *key = &fx->slots[0].key;

		look(fx);
		if (!key->pod_id)
			continue;
		assert_int_equal(key->status, key->cluster_id == 9 ? 200 : 500);
		memset(key, 0, sizeof(*key));
		taken++;
	}
	__atomic_store_n(&carrying.is_over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

static void test_a_slot_of_another_pool_counts_for_that_one(void **state)
{
	struct fixture *fx = *state;

	pool_of(fx, 0, 1, 70);
	carry(fx, 0, 200);
	look(fx);
	carry(fx, 0, 200);
	pool_of(fx, 0, 2, 71); /* the rest of the first one's is still to be read */
	carry(fx, 0, 200);
	look(fx);
	has(fx, "istio_requests_total" LABELS("pod-1", "a-9", "200", "-") "} 1\n");
	carry(fx, 0, 200);
	look(fx);
	has(fx, "istio_requests_total" LABELS("pod-1", "a-9", "200", "-") "} 1\n");
	has(fx, "istio_requests_total" LABELS("pod-2", "a-9", "200", "-") "} 1\n");
}

static void test_what_was_counted_keeps_its_name(void **state)
{
	struct fixture *fx = *state;

	add(fx, 1, 2, 200, WEFT_FLAG_NONE);
	fx->service = NULL; /* it is gone, and something came late */
	traffic_names_changed(fx->traffic);
	add(fx, 1, 2, 200, WEFT_FLAG_NONE);
	has(fx, "istio_requests_total" LABELS("pod-1", "a-2", "200", "-") "} 2\n");
	fx->service = "b"; /* the same ids again */
	traffic_names_changed(fx->traffic);
	add(fx, 1, 2, 200, WEFT_FLAG_NONE);
	has(fx, "istio_requests_total" LABELS("pod-1", "a-2", "200", "-") "} 2\n");
	has(fx, "istio_requests_total" LABELS("pod-1", "b-2", "200", "-") "} 1\n");
}

static void test_a_kind_that_rests_is_forgotten(void **state)
{
	struct fixture *fx = *state;
	const struct weft_traffic_key key = { .pod_id = 1, .cluster_id = 2, .status = 404, .flag = WEFT_FLAG_NO_ROUTE }, others = { 0 };
	struct weft_traffic record = { .durations = { 3 } };
	unsigned looks = 0;

	assert_false(traffic_look(fx->traffic, &key, &record, false));
	has(fx, "istio_requests_total" LABELS("pod-1", "a-2", "404", "NR") "} 3\n");
	while (!traffic_look(fx->traffic, &key, &record, false) && looks < 1000) {
		assert_false(traffic_look(fx->traffic, &others, &record, false));
		looks++;
	}
	assert_in_range(looks, 10, 100);
	record.durations[0]++; /* after it was looked at last */
	traffic_forget(fx->traffic, &key, &record);
	assert_int_equal(traffic_kinds(fx->traffic), 1);
	has(fx, "istio_requests_total" LABELS("pod-1", "a-2", "404", "NR") "} 4\n");
}

/* Another weftd forgot it, and the kind came back. */
static void test_a_record_that_began_anew_counts_from_nothing(void **state)
{
	struct fixture *fx = *state;
	const struct weft_traffic_key key = { .pod_id = 1, .cluster_id = 2, .status = 404 }, tcp = { .pod_id = 1, .cluster_id = 2, .flag = WEFT_FLAG_TCP };
	struct weft_traffic record = { .durations = { 3 }, .requests = { 3 }, .responses = { 3 }, .duration_ns = 3000000, .request_bytes = 300 };
	struct weft_traffic connections = { .opened = UINT32_MAX, .closed = UINT32_MAX - 1, .response_bytes = 50 };

	traffic_look(fx->traffic, &key, &record, false);
	record = (struct weft_traffic){ .durations = { 1 }, .requests = { 1 }, .responses = { 1 }, .duration_ns = 1000000, .request_bytes = 100 };
	traffic_look(fx->traffic, &key, &record, false);
	has(fx, "istio_requests_total" LABELS("pod-1", "a-2", "404", "-") "} 4\n");
	has(fx, "istio_request_duration_milliseconds_sum" LABELS("pod-1", "a-2", "404", "-") "} 4.000000\n");
	has(fx, "istio_request_bytes_sum" LABELS("pod-1", "a-2", "404", "-") "} 400\n");
	has(fx, "istio_response_bytes_bucket" LABELS("pod-1", "a-2", "404", "-") ",le=\"+Inf\"} 4\n");

	traffic_look(fx->traffic, &tcp, &connections, true);
	connections.opened += 2; /* turns over: that is no beginning */
	connections.closed += 2;
	traffic_look(fx->traffic, &tcp, &connections, false);
	has(fx, "response_flags=\"-\",connection_security_policy=\"unknown\"} 2\n");
	connections.opened = connections.closed = 0; /* forgotten, and only bytes since */
	traffic_look(fx->traffic, &tcp, &connections, false);
	has(fx, "response_flags=\"-\",connection_security_policy=\"unknown\"} 2\n");
	lacks(fx, "} 429496729");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_bound_is_in_its_bucket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_was_added_is_a_series_of_each_metric, setup, teardown),
		cmocka_unit_test_setup_teardown(test_connections_are_no_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_beyond_the_limit_all_is_unknown_and_nothing_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_programs_records_count_by_what_they_grew, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counters_of_32_bits_may_turn_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_kind_is_of_one_exchange, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_kind_that_is_written_meanwhile_is_not_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_slot_of_another_pool_counts_for_that_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_was_counted_keeps_its_name, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_kind_that_rests_is_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_record_that_began_anew_counts_from_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

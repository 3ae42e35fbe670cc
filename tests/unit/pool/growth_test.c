/* SPDX-License-Identifier: Apache-2.0 */
/* How many upstreams there are: growth by misses, limits, backoff, shrinking, endpoints and pods that come and go. */
#include "pool/fixture.h"

static void restart(struct fixture *fx)
{
	pool_close_all(fx->pool);
	pool_free(&fx->pool);
	fixture_start(fx, false);
}

static uint32_t open_count(const struct fixture *fx)
{
	struct pool_stats s = stats_of(fx);

	return s.dialling + s.idle + s.lent + s.replying + s.relayed + s.dead;
}

static void test_misses_in_one_round_dial_once(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < 50; i++)
		miss(fx, ENDPOINT);
	assert_int_equal(stats_of(fx).dials, 1);
	assert_int_equal(stats_of(fx).misses, 50);
}

static void test_a_busy_pool_grows_by_a_quarter_a_round(void **state)
{
	struct fixture *fx = *state;
	uint32_t before;

	for (uint32_t open = 1; open <= 24; open = open_count(fx)) {
		miss(fx, ENDPOINT);
		AWAIT(fx, stats_of(fx).dialling == 0 && stats_of(fx).idle > 0);
		while (lend(fx, ENDPOINT) >= 0)
			;
	}
	before = (uint32_t)stats_of(fx).dials;
	miss(fx, ENDPOINT);
	assert_true(stats_of(fx).dials - before >= 24 / 4);
	assert_true(stats_of(fx).dials - before <= 32 / 4);
}

static void test_one_spare_is_kept_beyond_what_is_lent(void **state)
{
	struct fixture *fx = *state;

	lend_first(fx);
	AWAIT(fx, stats_of(fx).idle == 1 && stats_of(fx).lent == 1); /* without any miss */
	assert_true(lend(fx, ENDPOINT) >= 0);
	AWAIT(fx, stats_of(fx).idle == 1 && stats_of(fx).lent == 2);
	fixture_run(fx, 40);
	assert_int_equal(open_count(fx), 3);
}

static void test_a_pool_never_has_more_upstreams_than_positions(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < 400 && open_count(fx) < WEFT_POOL_SLOTS_MAX; i++) {
		miss(fx, ENDPOINT);
		fixture_run(fx, 2);
		accept_all(fx);
		while (lend(fx, ENDPOINT) >= 0)
			;
	}
	assert_int_equal(open_count(fx), WEFT_POOL_SLOTS_MAX);
	AWAIT(fx, stats_of(fx).dialling == 0);
	while (lend(fx, ENDPOINT) >= 0)
		;
	miss(fx, ENDPOINT);
	assert_int_equal(open_count(fx), WEFT_POOL_SLOTS_MAX);
	assert_true(stats_of(fx).dials_refused_endpoint > 0);
	/* The last position can be lent like the first. */
	assert_int_equal(stats_of(fx).lent, WEFT_POOL_SLOTS_MAX);
}

static void test_a_pod_stays_within_its_quota(void **state)
{
	struct fixture *fx = *state;

	fx->options.pod_quota = 3;
	restart(fx);
	for (int i = 0; i < 6; i++) {
		miss(fx, i % 2 ? ENDPOINT : OTHER_ENDPOINT);
		fixture_run(fx, 10);
		lend(fx, ENDPOINT);
		lend(fx, OTHER_ENDPOINT);
	}
	assert_int_equal(open_count(fx), 3);
	assert_true(stats_of(fx).dials_refused_quota > 0);
}

static void test_a_pod_has_no_more_pools_than_its_share(void **state)
{
	struct fixture *fx = *state;

	fx->options.pod_pools = 1;
	restart(fx);
	miss(fx, ENDPOINT);
	miss(fx, OTHER_ENDPOINT);
	assert_int_equal(stats_of(fx).pools, 1);
	assert_int_equal(stats_of(fx).pod_pools_most, 1);
	assert_int_equal(stats_of(fx).pools_refused_quota, 1);
	assert_int_equal(stats_of(fx).pools_refused, 0);
	fixture_run(fx, 20);
	assert_int_equal(open_count(fx), 1);
}

static void test_a_pool_stays_within_what_the_options_say(void **state)
{
	struct fixture *fx = *state;

	fx->options.pool_slots = 2;
	restart(fx);
	for (int i = 0; i < 6; i++) {
		miss(fx, ENDPOINT);
		fixture_run(fx, 10);
		lend(fx, ENDPOINT);
	}
	assert_int_equal(open_count(fx), 2);
	assert_int_equal(stats_of(fx).pool_upstreams_most, 2);
	assert_true(stats_of(fx).dials_refused_endpoint > 0);
}

static void test_refused_dials_back_off(void **state)
{
	struct fixture *fx = *state;

	struct timespec begun, now;

	close(fx->listener);
	fx->listener = -1;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	for (int i = 0; i < 4000 && stats_of(fx).dials_failed < 5; i++) {
		miss(fx, ENDPOINT);
		fixture_run(fx, 5);
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	assert_int_equal(stats_of(fx).dials, 5);
	/* 20, 40, 80 and 160 ms lie between them. */
	assert_true((now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 >= 299);
	assert_int_equal(stats_of(fx).dials_failed, stats_of(fx).dials);
	assert_int_equal(stats_of(fx).closes[POOL_CLOSE_DIAL], stats_of(fx).dials);
	assert_int_equal(open_count(fx), 0);
}

static void test_dials_that_nobody_answers_time_out(void **state)
{
	struct fixture *fx = *state;
	const struct known_endpoint full[] = { { ENDPOINT, fx->port_be } };
	int fillers[8], count = 0;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = fx->port_be, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	/* A full accept queue drops further SYNs. */
	assert_int_equal(listen(fx->listener, 0), 0);
	for (int i = 0; i < 8; i++) {
		fillers[count] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(fillers[count++], (struct sockaddr *)&to, sizeof(to));
	}
	publish(fx, full, 1);
	miss(fx, ENDPOINT);
	assert_int_equal(stats_of(fx).dialling, 1);
	AWAIT(fx, stats_of(fx).dials_failed == 1);
	assert_int_equal(stats_of(fx).dialling, 0);
	while (count > 0)
		close(fillers[--count]);
}

static void test_an_upstream_that_the_programs_can_not_reach_is_closed(void **state)
{
	struct fixture *fx = *state;

	fx->insert_answer = -E2BIG;
	miss(fx, ENDPOINT);
	AWAIT(fx, stats_of(fx).dials_failed >= 1);
	assert_int_equal(stats_of(fx).idle, 0);
	fx->insert_answer = 0;
	AWAIT(fx, stats_of(fx).idle == 1);
}

static void test_a_server_that_hangs_up_at_once_is_not_stormed(void **state)
{
	struct fixture *fx = *state;

	miss(fx, ENDPOINT);
	for (int i = 0; i < 60; i++) {
		fixture_run(fx, 5);
		accept_all(fx);
		for (unsigned n = 0; n < fx->accepted_count; n++) {
			if (fx->accepted[n] >= 0)
				close_server(&fx->accepted[n]);
		}
	}
	assert_in_range(stats_of(fx).dials, 3, 9);
}

static void test_surplus_idle_upstreams_go_and_one_stays_warm(void **state)
{
	struct fixture *fx = *state;
	int slots[3];

	fx->options.idle_timeout_ms = 60;
	fx->options.unused_timeout_ms = 100000;
	restart(fx);
	for (int i = 0; i < 3; i++) {
		miss(fx, ENDPOINT);
		AWAIT(fx, stats_of(fx).idle >= 1);
		slots[i] = lend(fx, ENDPOINT);
		assert_true(slots[i] >= 0);
	}
	AWAIT(fx, stats_of(fx).dialling == 0 && stats_of(fx).idle >= 1);
	for (int i = 0; i < 3; i++)
		assert_true(give_back(fx, slots[i], WEFT_UPSTREAM_LENT));
	AWAIT(fx, open_count(fx) == 1);
	assert_true(stats_of(fx).closes[POOL_CLOSE_IDLE] >= 3);
	fixture_run(fx, 150);
	assert_int_equal(open_count(fx), 1);
}

static void test_a_pool_that_nobody_uses_goes_and_comes_back(void **state)
{
	struct fixture *fx = *state;

	fx->options.unused_timeout_ms = 60;
	restart(fx);
	assert_true(give_back(fx, lend_first(fx), WEFT_UPSTREAM_LENT));
	AWAIT(fx, stats_of(fx).pools == 0);
	assert_int_equal(open_count(fx), 0);
	assert_null(program_pool(fx, ENDPOINT));
	assert_true(give_back(fx, lend_first(fx), WEFT_UPSTREAM_LENT));
}

static void test_more_pools_than_places_are_refused_not_broken(void **state)
{
	struct fixture *fx = *state;
	struct known_endpoint many[8];

	for (uint32_t i = 0; i < 8; i++)
		many[i] = (struct known_endpoint){ 10 + i, fx->port_be };
	publish(fx, many, 8);
	for (uint32_t i = 0; i < 8; i++)
		miss(fx, 10 + i);
	assert_int_equal(stats_of(fx).pools, POOLS);
	assert_int_equal(pool_pod_add(fx->pool, POD + 1, -1, (const struct weft_address[WEFT_FAMILIES]){}), 0);
	pool_event(fx->pool, &(struct weft_event){ .kind = WEFT_EVENT_POOL_MISS, .pod_id = POD + 1, .endpoint_id = 10 });
	assert_int_equal(stats_of(fx).pools, POOLS);
}

static void test_an_endpoint_that_goes_lets_lent_upstreams_finish(void **state)
{
	struct fixture *fx = *state;
	const struct known_endpoint other[] = { { OTHER_ENDPOINT, fx->other_port_be } };
	int replying = lend_first(fx), lent;

	assert_true(move(fx, replying, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_REPLYING));
	AWAIT(fx, stats_of(fx).idle == 1);
	lent = lend(fx, ENDPOINT);
	AWAIT(fx, stats_of(fx).idle == 1);
	publish(fx, other, 1);
	assert_null(program_pool(fx, ENDPOINT)); /* the programs lend no more of them */
	assert_int_equal(stats_of(fx).closes[POOL_CLOSE_ENDPOINT_GONE], 1);
	fixture_run(fx, 30);
	assert_int_equal(state_of(fx, replying), WEFT_UPSTREAM_REPLYING);
	assert_int_equal(state_of(fx, lent), WEFT_UPSTREAM_LENT);
	assert_true(give_back(fx, replying, WEFT_UPSTREAM_REPLYING));
	AWAIT(fx, state_of(fx, replying) == WEFT_UPSTREAM_FREE);
	assert_true(move(fx, lent, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	AWAIT(fx, fx->told.relays == 1);
	pool_relay_done(fx->pool, fx->told.exchange.exchange, true);
	AWAIT(fx, stats_of(fx).pools == 0);
	assert_int_equal(fx->told.failed + fx->told.cuts, 0);
	/* A miss that was on its way is not an endpoint. */
	miss(fx, ENDPOINT);
	assert_int_equal(stats_of(fx).pools, 0);
}

static void test_an_endpoint_that_comes_back_has_a_new_pool(void **state)
{
	struct fixture *fx = *state;
	const struct known_endpoint other[] = { { OTHER_ENDPOINT, fx->other_port_be } };
	int old = lend_first(fx), new;

	publish(fx, other, 1);
	publish_usual(fx);
	miss(fx, ENDPOINT);
	AWAIT(fx, stats_of(fx).idle == 1);
	new = lend(fx, ENDPOINT);
	assert_true(new >= 0);
	assert_true(fx->upstreams[new].pool != fx->upstreams[old].pool);
	assert_true(give_back(fx, old, WEFT_UPSTREAM_LENT));
	AWAIT(fx, state_of(fx, old) == WEFT_UPSTREAM_FREE);
	assert_int_equal(state_of(fx, new), WEFT_UPSTREAM_LENT);
	assert_true(give_back(fx, new, WEFT_UPSTREAM_LENT));
}

static void test_an_id_with_another_address_is_another_endpoint(void **state)
{
	struct fixture *fx = *state;
	const struct known_endpoint moved[] = { { ENDPOINT, fx->other_port_be } };
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	int old = lend_first(fx), new;

	publish(fx, moved, 1);
	pool_endpoint_keeps(fx->pool, ENDPOINT, true);
	miss(fx, ENDPOINT);
	AWAIT(fx, stats_of(fx).idle == 1);
	new = lend(fx, ENDPOINT);
	assert_int_equal(getpeername(fd_of(fx, new), (struct sockaddr *)&peer, &len), 0);
	assert_int_equal(peer.sin_port, fx->other_port_be);
	assert_true(give_back(fx, old, WEFT_UPSTREAM_LENT));
	AWAIT(fx, state_of(fx, old) == WEFT_UPSTREAM_FREE);
	assert_true(give_back(fx, new, WEFT_UPSTREAM_LENT));
}

static void test_an_endpoint_of_two_scopes_stays_until_both_dropped_it(void **state)
{
	struct fixture *fx = *state;
	const struct known_endpoint both[] = { { ENDPOINT, fx->port_be } };

	publish_in(fx, 5, both, 1);
	miss(fx, ENDPOINT);
	AWAIT(fx, stats_of(fx).idle == 1);
	publish(fx, NULL, 0);
	assert_int_equal(stats_of(fx).idle, 1);
	publish_in(fx, 5, NULL, 0);
	assert_int_equal(stats_of(fx).idle, 0);
	AWAIT(fx, stats_of(fx).pools == 0);
}

static void test_a_broken_image_changes_nothing(void **state)
{
	struct fixture *fx = *state;
	struct weft_image_header wrong = { .magic = WEFT_IMAGE_MAGIC, .version = WEFT_IMAGE_VERSION, .kind = WEFT_IMAGE_ROUTES, .size_bytes = sizeof(wrong) };

	assert_int_equal(pool_publish_endpoints(fx->pool, 0, &wrong, sizeof(wrong)), -EINVAL);
	wrong.kind = WEFT_IMAGE_ENDPOINTS;
	assert_int_equal(pool_publish_endpoints(fx->pool, WEFT_SCOPES_MAX, &wrong, sizeof(wrong)), -EINVAL);
	assert_int_equal(pool_publish_endpoints(fx->pool, 0, &wrong, sizeof(wrong) - 1), -EINVAL);
	/* A directory that leads out of the image is read as far as it lies inside. */
	wrong.cluster_directory = sizeof(wrong) - 2;
	wrong.cluster_count = 1000;
	assert_int_equal(pool_publish_endpoints(fx->pool, 1, &wrong, sizeof(wrong)), 0);
	miss(fx, ENDPOINT);
	AWAIT(fx, stats_of(fx).idle == 1);
}

static void test_a_pod_that_goes_takes_its_upstreams_along(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	AWAIT(fx, stats_of(fx).idle == 1);
	pool_pod_remove(fx->pool, POD);
	assert_int_equal(stats_of(fx).closes[POOL_CLOSE_POD_GONE], 1);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_LENT);
	assert_int_equal(stats_of(fx).pods, 1); /* as long as an exchange of it is open */
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	AWAIT(fx, stats_of(fx).pods == 0 && stats_of(fx).pools == 0);
	assert_int_equal(pool_pod_add(fx->pool, POD, -1, (const struct weft_address[WEFT_FAMILIES]){}), 0);
	assert_int_equal(pool_pod_add(fx->pool, POD, -1, (const struct weft_address[WEFT_FAMILIES]){}), -EEXIST);
	assert_true(give_back(fx, lend_first(fx), WEFT_UPSTREAM_LENT));
}

static void test_upstreams_are_bound_to_the_address_of_the_pod(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_in own;
	socklen_t len = sizeof(own);
	int slot;

	pool_pod_remove(fx->pool, POD);
	assert_int_equal(pool_pod_add(fx->pool, POD, -1, (const struct weft_address[WEFT_FAMILIES]){WEFT_IP4(htonl(0x7f000005))}), 0);
	slot = lend_first(fx);
	assert_int_equal(getsockname(fd_of(fx, slot), (struct sockaddr *)&own, &len), 0);
	assert_int_equal(own.sin_addr.s_addr, htonl(0x7f000005));
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* A server that serves one connection after the other waits on one that lies idle. */
static void test_nothing_is_dialled_before_a_server_is_known_to_keep_connections(void **state)
{
	struct fixture *fx = *state;
	const struct known_endpoint another[] = { { ENDPOINT, fx->port_be }, { OTHER_ENDPOINT + 1, fx->port_be } };

	publish(fx, another, 2);
	miss(fx, OTHER_ENDPOINT + 1);
	fixture_run(fx, 40);
	miss(fx, OTHER_ENDPOINT + 1);
	fixture_run(fx, 40);
	assert_int_equal(stats_of(fx).dials, 0);
	pool_endpoint_keeps(fx->pool, OTHER_ENDPOINT + 1, true);
	AWAIT(fx, stats_of(fx).idle == 1); /* without a further miss */
	assert_int_equal(stats_of(fx).dials, 1);
}

static void test_who_keeps_no_connections_any_more_is_not_dialled(void **state)
{
	struct fixture *fx = *state;

	pool_endpoint_keeps(fx->pool, ENDPOINT, false); /* this one may have had its reason */
	pool_endpoint_keeps(fx->pool, ENDPOINT, false);
	pool_endpoint_keeps(fx->pool, OTHER_ENDPOINT, false);
	pool_endpoint_keeps(fx->pool, OTHER_ENDPOINT, false);
	pool_endpoint_keeps(fx->pool, OTHER_ENDPOINT, false);
	miss(fx, OTHER_ENDPOINT);
	fixture_run(fx, 40);
	assert_int_equal(stats_of(fx).dials, 0);
	miss(fx, ENDPOINT);
	AWAIT(fx, stats_of(fx).idle == 1);
	pool_endpoint_keeps(fx->pool, OTHER_ENDPOINT, true);
	AWAIT(fx, stats_of(fx).idle == 2);
}

static void test_another_address_of_an_endpoint_is_another_server(void **state)
{
	struct fixture *fx = *state;
	const struct known_endpoint moved[] = { { ENDPOINT, fx->other_port_be } };

	publish(fx, moved, 1);
	miss(fx, ENDPOINT);
	fixture_run(fx, 40);
	assert_int_equal(stats_of(fx).dials, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_misses_in_one_round_dial_once),
		TEST(test_a_busy_pool_grows_by_a_quarter_a_round),
		TEST(test_nothing_is_dialled_before_a_server_is_known_to_keep_connections),
		TEST(test_who_keeps_no_connections_any_more_is_not_dialled),
		TEST(test_another_address_of_an_endpoint_is_another_server),
		TEST(test_one_spare_is_kept_beyond_what_is_lent),
		TEST(test_a_pool_never_has_more_upstreams_than_positions),
		TEST(test_a_pod_stays_within_its_quota),
		TEST(test_a_pod_has_no_more_pools_than_its_share),
		TEST(test_a_pool_stays_within_what_the_options_say),
		TEST(test_refused_dials_back_off),
		TEST(test_dials_that_nobody_answers_time_out),
		TEST(test_an_upstream_that_the_programs_can_not_reach_is_closed),
		TEST(test_a_server_that_hangs_up_at_once_is_not_stormed),
		TEST(test_surplus_idle_upstreams_go_and_one_stays_warm),
		TEST(test_a_pool_that_nobody_uses_goes_and_comes_back),
		TEST(test_more_pools_than_places_are_refused_not_broken),
		TEST(test_an_endpoint_that_goes_lets_lent_upstreams_finish),
		TEST(test_an_endpoint_that_comes_back_has_a_new_pool),
		TEST(test_an_id_with_another_address_is_another_endpoint),
		TEST(test_an_endpoint_of_two_scopes_stays_until_both_dropped_it),
		TEST(test_a_broken_image_changes_nothing),
		TEST(test_a_pod_that_goes_takes_its_upstreams_along),
		TEST(test_upstreams_are_bound_to_the_address_of_the_pod),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

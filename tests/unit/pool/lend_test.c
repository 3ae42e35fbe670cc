/* SPDX-License-Identifier: Apache-2.0 */
/* An upstream's life: every transition that is the worker's. */
#include "pool/fixture.h"

#include <netinet/tcp.h>

static void test_a_miss_dials_and_the_upstream_becomes_idle(void **state)
{
	struct fixture *fx = *state;
	int on = 0, size = 0, slot;
	socklen_t len = sizeof(on);

	miss(fx, ENDPOINT);
	assert_int_equal(stats_of(fx).dialling, 1);
	assert_int_equal(fx->marks, 1);
	assert_int_equal(fx->inserts, 0);
	AWAIT(fx, stats_of(fx).idle == 1);
	assert_int_equal(fx->inserts, 1);
	assert_int_equal(program_pool(fx, ENDPOINT)->is_miss_reported, 0);
	slot = lend(fx, ENDPOINT);
	assert_true(slot >= 0);
	assert_int_equal(fx->upstreams[slot].pod_id, POD);
	assert_int_equal(fx->upstreams[slot].endpoint_id, ENDPOINT);
	assert_int_equal(getsockopt(fd_of(fx, slot), IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
	assert_true(on);
	assert_int_equal(getsockopt(fd_of(fx, slot), SOL_SOCKET, SO_SNDBUF, &size, &len), 0);
	assert_true(size >= 2 * 65536);
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
}

static void test_a_server_that_closes_an_idle_upstream_is_dialled_anew(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	close_server(server_of(fx, fd_of(fx, slot)));
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_PEER] == 1);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_FREE);
	AWAIT(fx, stats_of(fx).idle == 1);
	assert_int_equal(fx->told.failed + fx->told.cuts + fx->told.relays, 0);
}

static void test_bytes_on_an_idle_upstream_close_it(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	assert_int_equal(write(*server_of(fx, fd_of(fx, slot)), "HTTP/1.1 408", 12), 12);
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_UNASKED_BYTES] == 1);
	assert_int_equal(fx->told.relays, 0);
}

/* As it does with the programs of the kernel, which don't look before an upstream is idle. */
static void test_told_of_relays_a_server_that_speaks_first_is_not_lent(void **state)
{
	struct fixture *fx = *state;
	int fd;

	pool_close_all(fx->pool);
	pool_free(&fx->pool);
	fx->options.is_told_of_relays = true;
	fixture_start(fx, false);
	miss(fx, ENDPOINT);
	/* Connected, and the worker has not come to see it. */
	AWAIT(fx, (accept_all(fx), fx->accepted_count));
	fd = fx->accepted[0];
	assert_int_equal(write(fd, "220 hello", 9), 9);
	AWAIT(fx, stats_of(fx).dialling == 0);
	assert_int_equal(stats_of(fx).idle, 0);
	assert_int_equal(stats_of(fx).closes[POOL_CLOSE_UNASKED_BYTES], 1);
	/* Nor dialled again and again. */
	assert_int_equal(stats_of(fx).dials, 1);
}

static void test_a_slot_marked_dead_by_sock_ops_is_cleared_away(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	struct weft_event event = { .kind = WEFT_EVENT_UPSTREAM_DEAD, .slot = (uint32_t)slot };

	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	event.cookie = fx->upstreams[slot].cookie;
	fx->upstreams[slot].is_dead = 1;
	assert_true(move(fx, slot, WEFT_UPSTREAM_IDLE, WEFT_UPSTREAM_DEAD));
	pool_event(fx->pool, &event);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_FREE);
	assert_true(fx->upstreams[slot].cookie == 0);
	assert_int_equal(fx->upstreams[slot].is_dead, 0);
	/* The same news for a slot that was given to somebody else meanwhile says nothing. */
	pool_event(fx->pool, &event);
	AWAIT(fx, stats_of(fx).idle == 1);
}

static void test_a_dead_slot_is_found_without_its_event(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	fx->upstreams[slot].is_dead = 1;
	assert_true(move(fx, slot, WEFT_UPSTREAM_IDLE, WEFT_UPSTREAM_DEAD));
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_PEER] == 1);
}

static void test_a_relayed_response_goes_to_the_proxy_and_the_upstream_comes_back(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	uint64_t exchange = fx->client_exchange;
	char bytes[8];

	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	assert_int_equal(write(*server_of(fx, fd_of(fx, slot)), "response", 8), 8);
	AWAIT(fx, fx->told.relays == 1);
	assert_true(fx->told.exchange.exchange == exchange);
	assert_true(fx->told.exchange.client_cookie == CLIENT);
	assert_int_equal(fx->told.exchange.record.method, WEFT_METHOD_GET);
	assert_int_equal(fx->told.fd, fd_of(fx, slot));
	fixture_run(fx, 20); /* the bytes that wait there are no longer the pool's */
	assert_int_equal(fx->told.relays, 1);
	assert_int_equal(read(fx->told.fd, bytes, sizeof(bytes)), 8);
	pool_relay_done(fx->pool, exchange, true);
	AWAIT(fx, state_of(fx, slot) == WEFT_UPSTREAM_IDLE);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
	slot = lend(fx, ENDPOINT);
	assert_true(slot >= 0);
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
}

static void test_a_relay_that_can_not_reuse_its_upstream_closes_it(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	AWAIT(fx, fx->told.relays == 1); /* the sweep finds it before a byte came */
	pool_relay_done(fx->pool, fx->told.exchange.exchange, false);
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_RELAY] == 1);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
}

static void test_bytes_left_after_a_relay_close_the_upstream(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	assert_int_equal(write(*server_of(fx, fd_of(fx, slot)), "more", 4), 4);
	AWAIT(fx, fx->told.relays == 1);
	pool_relay_done(fx->pool, fx->told.exchange.exchange, true);
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_RELAY] == 1);
}

static void test_an_upstream_that_died_during_its_relay_is_not_lent_again(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	AWAIT(fx, fx->told.relays == 1);
	fx->upstreams[slot].is_dead = 1;
	pool_relay_done(fx->pool, fx->told.exchange.exchange, true);
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_RELAY] == 1);
}

static void test_a_relay_that_nobody_can_take_closes_the_upstream(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	fx->told.relay_answer = -ENOMEM;
	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_RELAY] == 1);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
}

static void test_a_response_whose_client_is_gone_is_not_handed_over(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	fx->is_client_gone = true;
	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_CLIENT_GONE] == 1);
	assert_int_equal(fx->told.left, 1);
	assert_int_equal(WEFT_STATE(fx->told.exchange.record.state), WEFT_UPSTREAM_RELAYED);
	assert_int_equal(fx->told.relays, 0);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
}

static void test_a_response_that_no_program_claimed_is_relayed(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	assert_int_equal(write(*server_of(fx, fd_of(fx, slot)), "HTTP/1.1 200 OK", 15), 15);
	AWAIT(fx, fx->told.relays == 1);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_RELAYED);
	pool_relay_done(fx->pool, fx->told.exchange.exchange, false);
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_RELAY] == 1);
}

static void test_an_upstream_that_ends_before_its_response_gives_503(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	uint64_t exchange = fx->client_exchange;

	reset_server(server_of(fx, fd_of(fx, slot)));
	AWAIT(fx, fx->told.failed == 1);
	assert_int_equal(fx->told.status, 503);
	assert_true(fx->told.exchange.exchange == exchange);
	assert_true(fx->told.exchange.client_cookie == CLIENT);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_FREE);
	assert_int_equal(stats_of(fx).closes[POOL_CLOSE_FAILED], 1);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
}

/* The kernel had cut a push short: the client is about to send the rest, which is no request. */
static void test_what_had_not_gone_out_is_told_with_the_failure(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	fx->push_cut_by = 3000;
	reset_server(server_of(fx, fd_of(fx, slot)));
	AWAIT(fx, fx->told.failed == 1);
	assert_int_equal(fx->told.exchange.record.request_remaining, 3000);
}

static void test_an_upstream_that_ends_in_its_response_cuts_the_client(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_REPLYING));
	close_server(server_of(fx, fd_of(fx, slot)));
	AWAIT(fx, fx->told.cuts == 1);
	assert_int_equal(fx->told.failed, 0);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
}

/* The FIN of the segment that holds the last bytes is announced before the program has seen them. */
static void test_an_end_that_a_program_explains_a_moment_later_fails_nothing(void **state)
{
	struct fixture *fx = *state;
	int slot;

	fx->options.second_look_ms = 40;
	pool_close_all(fx->pool);
	pool_free(&fx->pool);
	fixture_start(fx, false);
	slot = lend_first(fx);
	close_server(server_of(fx, fd_of(fx, slot)));
	fixture_run(fx, 10);
	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_REPLYING));
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_REPLYING));
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_PEER] == 1);
	assert_int_equal(fx->told.failed + fx->told.cuts, 0);
}

/* A program that was preempted right after it lent has not yet said whose exchange this is. */
static void test_an_end_is_not_judged_before_the_exchange_is_known(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	uint64_t exchange = fx->client_exchange;

	fx->client_exchange = 0;
	fx->upstreams[slot].client_cookie = CLIENT + 1;
	fx->upstreams[slot].deadline_ns = 1;
	reset_server(server_of(fx, fd_of(fx, slot)));
	fixture_run(fx, 300); /* sixty second looks */
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_LENT);
	assert_int_equal(fx->told.failed + fx->told.cuts, 0);
	fx->upstreams[slot].client_cookie = CLIENT;
	fx->upstreams[slot].deadline_ns = 0;
	fx->client_exchange = exchange;
	AWAIT(fx, fx->told.failed == 1);
	assert_int_equal(fx->told.status, 503);
	assert_true(fx->told.exchange.exchange == exchange);
}

/* A program that was held up between lending and writing its record: the client in the record is that of the exchange before. */
static void test_an_exchange_that_its_client_does_not_await_tells_nobody(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	fx->client_exchange = 0;
	reset_server(server_of(fx, fd_of(fx, slot)));
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_CLIENT_GONE] == 1);
	assert_int_equal(fx->told.failed + fx->told.cuts, 0);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
}

static void test_a_passed_deadline_gives_504(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	fx->upstreams[slot].deadline_ns = 1;
	AWAIT(fx, fx->told.failed == 1);
	assert_int_equal(fx->told.status, 504);
	assert_int_equal(stats_of(fx).closes[POOL_CLOSE_TIMEOUT], 1);
}

static void test_a_passed_deadline_in_the_response_cuts_it(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_REPLYING));
	fx->upstreams[slot].deadline_ns = 1;
	AWAIT(fx, fx->told.cuts == 1);
	assert_int_equal(fx->told.failed, 0);
}

static void test_the_deadline_of_a_relay_is_the_proxys(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	fx->upstreams[slot].deadline_ns = 1;
	AWAIT(fx, fx->told.relays == 1);
	fixture_run(fx, 30);
	assert_int_equal(fx->told.failed + fx->told.cuts, 0);
	pool_relay_done(fx->pool, fx->told.exchange.exchange, false);
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_RELAY] == 1);
}

static void test_an_exchange_whose_client_went_frees_its_upstream(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	uint64_t exchange = fx->client_exchange;

	pool_client_gone(fx->pool, CLIENT, exchange + (1ull << 32)); /* another lease */
	pool_client_gone(fx->pool, CLIENT + 1, exchange);
	pool_client_gone(fx->pool, CLIENT, 0);
	fixture_run(fx, 20);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_LENT);
	assert_int_equal(fx->told.left, 0);
	pool_client_gone(fx->pool, CLIENT, exchange);
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_CLIENT_GONE] == 1);
	assert_int_equal(fx->told.left, 1);
	assert_true(fx->told.exchange.exchange == exchange);
	assert_int_equal(WEFT_STATE(fx->told.exchange.record.state), WEFT_UPSTREAM_LENT);
	assert_int_equal(fx->told.failed + fx->told.cuts, 0);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
}

static void test_the_sweep_finds_a_client_that_went_unnoticed(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_REPLYING));
	fx->is_client_gone = true;
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_CLIENT_GONE] == 1);
	assert_int_equal(fx->told.left, 1);
	assert_int_equal(WEFT_STATE(fx->told.exchange.record.state), WEFT_UPSTREAM_REPLYING);
	assert_int_equal(fx->told.cuts, 0);
}

static void test_a_freed_slot_keeps_counting_its_leases(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	uint64_t first = fx->client_exchange, before;
	uint64_t lease = WEFT_LEASE(fx->upstreams[slot].state);

	fx->upstreams[slot].path = WEFT_PATH_REMOTE;
	fx->upstreams[slot].body_sock = 1;
	pool_client_gone(fx->pool, CLIENT, first);
	AWAIT(fx, state_of(fx, slot) == WEFT_UPSTREAM_FREE);
	assert_true(WEFT_LEASE(fx->upstreams[slot].state) == lease);
	/* What it knows of its last request says nothing of the next socket. */
	assert_int_equal(fx->upstreams[slot].path, 0);
	assert_true(fx->upstreams[slot].body_sock == 0);
	/* The oldest free slot is used first: this one comes last. */
	for (int i = 0; i < SLOTS; i++) {
		miss(fx, ENDPOINT);
		AWAIT(fx, stats_of(fx).idle >= 1);
		slot = lend(fx, ENDPOINT);
		assert_true(slot >= 0);
		before = fx->client_exchange;
		assert_true(before != first);
		pool_client_gone(fx->pool, CLIENT, before);
		AWAIT(fx, state_of(fx, slot) == WEFT_UPSTREAM_FREE);
	}
}

static void test_told_of_relays_a_response_that_no_program_claimed_is_found(void **state)
{
	struct fixture *fx = *state;

	pool_close_all(fx->pool);
	pool_free(&fx->pool);
	fx->options.is_told_of_relays = true;
	fixture_start(fx, false);
	assert_int_equal(write(*server_of(fx, fd_of(fx, lend_first(fx))), "HTTP/1.1 200 OK", 15), 15);
	AWAIT(fx, fx->told.relays == 1);
	pool_relay_done(fx->pool, fx->told.exchange.exchange, false);
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_RELAY] == 1);
}

/* The programs that tell turn out not to load, and a request was lent an upstream, or its response is being relayed. */
static void test_told_no_more_of_relays_what_is_lent_goes_on(void **state)
{
	struct fixture *fx = *state;
	int relayed, lent;

	pool_close_all(fx->pool);
	pool_free(&fx->pool);
	fx->options.is_told_of_relays = true;
	fixture_start(fx, false);
	relayed = lend_first(fx);
	assert_true(move(fx, relayed, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	AWAIT(fx, fx->told.relays == 1);
	AWAIT(fx, (lent = lend(fx, ENDPOINT)) >= 0);
	AWAIT(fx, stats_of(fx).idle == 1);
	pool_watch_relays(fx->pool);
	assert_int_equal(stats_of(fx).closes[POOL_CLOSE_STOP], 1);
	pool_relay_done(fx->pool, fx->told.exchange.exchange, true);
	AWAIT(fx, state_of(fx, relayed) == WEFT_UPSTREAM_IDLE);
	assert_int_equal(state_of(fx, lent), WEFT_UPSTREAM_LENT);
	close_server(server_of(fx, fd_of(fx, lent)));
	AWAIT(fx, fx->told.failed == 1);
}

static void test_told_of_relays_the_loop_sleeps_through_bytes(void **state)
{
	struct fixture *fx = *state;
	struct weft_event relayed = { .kind = 99 };
	int slot;

	pool_close_all(fx->pool);
	pool_free(&fx->pool);
	fx->options.is_told_of_relays = true;
	fx->options.sweep_interval_ms = 10000;
	fixture_start(fx, false);
	slot = lend_first(fx);
	assert_int_equal(write(*server_of(fx, fd_of(fx, slot)), "HTTP/1.1 200 OK", 15), 15);
	fixture_run(fx, 20);
	assert_int_equal(fx->told.relays, 0);
	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	relayed.slot = (uint32_t)slot;
	relayed.cookie = fx->upstreams[slot].cookie + 1;
	pool_event(fx->pool, &relayed); /* of the slot's former life */
	assert_int_equal(fx->told.relays, 0);
	relayed.cookie--;
	pool_event(fx->pool, &relayed);
	assert_int_equal(fx->told.relays, 1);
	pool_relay_done(fx->pool, fx->told.exchange.exchange, false);
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_RELAY] == 1);
	/* Its end is seen all the same. */
	miss(fx, ENDPOINT);
	AWAIT(fx, stats_of(fx).idle == 1);
	slot = lend(fx, ENDPOINT);
	close_server(server_of(fx, fd_of(fx, slot)));
	AWAIT(fx, fx->told.failed == 1);
}

static void test_an_idle_upstream_whose_bit_was_lost_is_found_again(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	struct weft_pool *p = program_pool(fx, ENDPOINT);

	AWAIT(fx, stats_of(fx).idle == 1);
	assert_true(lend(fx, ENDPOINT) >= 0);
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	memset(p->idle, 0, sizeof(p->idle));
	assert_int_equal(lend(fx, ENDPOINT), -1);
	AWAIT(fx, lend(fx, ENDPOINT) == slot);
}

static void test_every_close_reason_has_a_name(void **state)
{
	for (int i = 0; i < POOL_CLOSE_COUNT; i++)
		assert_non_null(pool_close_reason_name((enum pool_close_reason)i));
	assert_string_equal(pool_close_reason_name(POOL_CLOSE_COUNT), "unknown");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_miss_dials_and_the_upstream_becomes_idle),
		TEST(test_a_server_that_closes_an_idle_upstream_is_dialled_anew),
		TEST(test_bytes_on_an_idle_upstream_close_it),
		TEST(test_told_of_relays_a_server_that_speaks_first_is_not_lent),
		TEST(test_a_slot_marked_dead_by_sock_ops_is_cleared_away),
		TEST(test_a_dead_slot_is_found_without_its_event),
		TEST(test_a_relayed_response_goes_to_the_proxy_and_the_upstream_comes_back),
		TEST(test_a_relay_that_can_not_reuse_its_upstream_closes_it),
		TEST(test_bytes_left_after_a_relay_close_the_upstream),
		TEST(test_an_upstream_that_died_during_its_relay_is_not_lent_again),
		TEST(test_a_relay_that_nobody_can_take_closes_the_upstream),
		TEST(test_a_response_whose_client_is_gone_is_not_handed_over),
		TEST(test_a_response_that_no_program_claimed_is_relayed),
		TEST(test_an_upstream_that_ends_before_its_response_gives_503),
		TEST(test_what_had_not_gone_out_is_told_with_the_failure),
		TEST(test_an_upstream_that_ends_in_its_response_cuts_the_client),
		TEST(test_an_end_that_a_program_explains_a_moment_later_fails_nothing),
		TEST(test_an_end_is_not_judged_before_the_exchange_is_known),
		TEST(test_an_exchange_that_its_client_does_not_await_tells_nobody),
		TEST(test_a_passed_deadline_gives_504),
		TEST(test_a_passed_deadline_in_the_response_cuts_it),
		TEST(test_the_deadline_of_a_relay_is_the_proxys),
		TEST(test_an_exchange_whose_client_went_frees_its_upstream),
		TEST(test_the_sweep_finds_a_client_that_went_unnoticed),
		TEST(test_a_freed_slot_keeps_counting_its_leases),
		TEST(test_told_of_relays_a_response_that_no_program_claimed_is_found),
		TEST(test_told_no_more_of_relays_what_is_lent_goes_on),
		TEST(test_told_of_relays_the_loop_sleeps_through_bytes),
		TEST(test_an_idle_upstream_whose_bit_was_lost_is_found_again),
		TEST(test_every_close_reason_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

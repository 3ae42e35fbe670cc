/* SPDX-License-Identifier: Apache-2.0 */
/* kill -9 of a worker: arrays, descriptors and table stay; the next worker goes on from them. */
#include "base/cleanup.h"
#include "pool/fixture.h"

struct entries {
	struct table_entry *items[SLOTS];
	unsigned count;
};

static void collect(void *arg, struct table_entry *entry)
{
	struct entries *entries = arg;

	if (entry->kind == TABLE_UPSTREAM)
		entries->items[entries->count++] = entry;
}

/* The worker is gone without a word: only its private memory. */
static void die(struct fixture *fx)
{
	pool_free(&fx->pool);
}

static void adopt_one(void *arg, struct table_entry *entry)
{
	if (entry->kind == TABLE_UPSTREAM)
		assert_int_equal(pool_adopt(arg, entry), 0);
}

static void follow(struct fixture *fx)
{
	struct entries entries = { .count = 0 };

	fixture_start(fx, true);
	table_each(fx->table, collect, &entries);
	for (unsigned i = 0; i < entries.count; i++)
		assert_int_equal(pool_adopt(fx->pool, entries.items[i]), 0);
	assert_int_equal(fx->told.relays + fx->told.failed + fx->told.cuts, 0);
	pool_adopt_finish(fx->pool);
}

static void test_idle_upstreams_stay_idle(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	uint64_t cookie = fx->upstreams[slot].cookie;

	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	die(fx);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_IDLE);
	follow(fx);
	assert_true(fx->upstreams[slot].cookie == cookie);
	AWAIT(fx, stats_of(fx).idle >= 1);
	slot = lend(fx, ENDPOINT);
	assert_true(slot >= 0);
	/* It is watched again. */
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	close_server(server_of(fx, fd_of(fx, slot)));
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_PEER] == 1);
}

static void test_exchanges_in_flight_go_on_unharmed(void **state)
{
	struct fixture *fx = *state;
	int lent = lend_first(fx), replying;

	AWAIT(fx, stats_of(fx).idle == 1);
	replying = lend(fx, ENDPOINT);
	assert_true(move(fx, replying, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_REPLYING));
	fx->client_exchange = WEFT_EXCHANGE((uint32_t)lent, WEFT_LEASE(fx->upstreams[lent].state));
	die(fx);
	follow(fx);
	assert_int_equal(fx->told.failed + fx->told.cuts + fx->told.relays, 0);
	assert_int_equal(state_of(fx, lent), WEFT_UPSTREAM_LENT);
	assert_true(give_back(fx, replying, WEFT_UPSTREAM_REPLYING));
	assert_true(give_back(fx, lent, WEFT_UPSTREAM_LENT));
	fixture_run(fx, 30);
	assert_int_equal(fx->told.failed + fx->told.cuts + fx->told.relays, 0);
	assert_true(stats_of(fx).idle >= 2);
}

static void test_an_exchange_that_ended_meanwhile_gave_its_upstream_back(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	die(fx);
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	follow(fx);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_IDLE);
	assert_true(lend(fx, ENDPOINT) >= 0);
}

static void test_a_half_made_dial_is_closed(void **state)
{
	struct fixture *fx = *state;

	miss(fx, ENDPOINT);
	assert_int_equal(stats_of(fx).dialling, 1);
	die(fx);
	assert_int_equal(table_count(fx->table, TABLE_UPSTREAM), 1);
	follow(fx);
	assert_int_equal(table_count(fx->table, TABLE_UPSTREAM), 0);
	assert_int_equal(stats_of(fx).closes[POOL_CLOSE_ADOPTION], 1);
	assert_int_equal(stats_of(fx).free, SLOTS);
	AWAIT(fx, stats_of(fx).pools == 0 || stats_of(fx).idle == 1);
	assert_int_equal(fx->told.cuts, 0);
}

static void test_a_response_passed_meanwhile_is_relayed_now(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	die(fx);
	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	assert_int_equal(write(*server_of(fx, fd_of(fx, slot)), "response", 8), 8);
	follow(fx);
	AWAIT(fx, fx->told.relays == 1);
	assert_int_equal(fx->told.cuts, 0);
	pool_relay_done(fx->pool, fx->told.exchange.exchange, false);
	AWAIT(fx, stats_of(fx).closes[POOL_CLOSE_RELAY] == 1);
}

static void test_a_relay_that_died_with_its_worker_is_cut(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	uint64_t exchange = fx->client_exchange;

	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	AWAIT(fx, fx->told.relays == 1);
	memset(&fx->told, 0, sizeof(fx->told));
	die(fx);
	follow(fx);
	assert_int_equal(fx->told.cuts, 1);
	assert_true(fx->told.exchange.exchange == exchange);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_FREE);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
}

static void test_an_upstream_that_ended_meanwhile_fails_its_exchange(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);

	die(fx);
	reset_server(server_of(fx, fd_of(fx, slot)));
	fx->upstreams[slot].is_dead = 1;
	follow(fx);
	AWAIT(fx, fx->told.failed == 1);
	assert_int_equal(fx->told.status, 503);
}

static void test_a_slot_without_a_descriptor_is_freed_and_its_client_cut(void **state)
{
	struct fixture *fx = *state;
	struct entries entries = { .count = 0 };
	int slot = lend_first(fx);

	/* The worker died between withdrawing the entry and freeing the slot. */
	die(fx);
	table_each(fx->table, collect, &entries);
	assert_int_equal(entries.count, 1);
	close(entries.items[0]->fd);
	table_release(fx->table, entries.items[0]);
	follow(fx);
	assert_int_equal(fx->told.cuts, 1);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_FREE);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
	assert_int_equal(stats_of(fx).free, SLOTS);
}

/* The worker closed an upstream that failed, and died before its proxy had told the client. */
static void test_an_exchange_that_no_slot_knows_of_cuts_its_client(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	uint64_t lost = fx->client_exchange, open;

	pool_client_gone(fx->pool, CLIENT, lost);
	AWAIT(fx, state_of(fx, slot) == WEFT_UPSTREAM_FREE);
	slot = lend_first(fx);
	open = fx->client_exchange;
	die(fx);
	fixture_start(fx, true);
	table_each(fx->table, adopt_one, fx->pool);
	pool_adopt_exchange(fx->pool, CLIENT, 0);
	pool_adopt_exchange(fx->pool, CLIENT, open);
	assert_int_equal(fx->told.cuts, 0);
	pool_adopt_exchange(fx->pool, CLIENT, lost);
	assert_int_equal(fx->told.cuts, 1);
	assert_true(fx->told.exchange.exchange == lost);
	assert_true(fx->told.exchange.client_cookie == CLIENT);
	pool_adopt_exchange(fx->pool, CLIENT, WEFT_EXCHANGE(SLOTS, 1));
	assert_int_equal(fx->told.cuts, 2);
	/* The slot was used again meanwhile. */
	pool_adopt_exchange(fx->pool, CLIENT, open - (1ull << 32));
	assert_int_equal(fx->told.cuts, 3);
	pool_adopt_finish(fx->pool);
	assert_int_equal(fx->told.cuts, 3);
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
}

static void test_an_idle_slot_without_a_descriptor_cuts_nobody(void **state)
{
	struct fixture *fx = *state;
	struct entries entries = { .count = 0 };
	int slot = lend_first(fx);

	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	fx->client_exchange = 0;
	die(fx);
	table_each(fx->table, collect, &entries);
	close(entries.items[0]->fd);
	table_release(fx->table, entries.items[0]);
	follow(fx);
	assert_int_equal(fx->told.cuts, 0);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_FREE);
}

static void test_an_entry_of_another_slot_owner_is_closed(void **state)
{
	struct fixture *fx = *state;
	struct entries entries = { .count = 0 };

	assert_true(give_back(fx, lend_first(fx), WEFT_UPSTREAM_LENT));
	die(fx);
	table_each(fx->table, collect, &entries);
	entries.items[0]->cookie ^= 1;
	follow(fx);
	assert_int_equal(table_count(fx->table, TABLE_UPSTREAM), 0);
	assert_int_equal(stats_of(fx).closes[POOL_CLOSE_ADOPTION], 1);
}

static void test_upstreams_to_an_endpoint_that_went_meanwhile_finish_first(void **state)
{
	struct fixture *fx = *state;
	struct entries entries = { .count = 0 };
	const struct known_endpoint moved[] = { { ENDPOINT, fx->other_port_be } };
	int slot = lend_first(fx);

	die(fx);
	fx->options.adopt = true;
	assert_int_equal(pool_new(&fx->pool, &fx->options), 0);
	assert_int_equal(pool_pod_add(fx->pool, POD, -1, (const struct weft_address[WEFT_FAMILIES]){}), 0);
	publish(fx, moved, 1);
	table_each(fx->table, collect, &entries);
	assert_int_equal(pool_adopt(fx->pool, entries.items[0]), 0);
	pool_adopt_finish(fx->pool);
	assert_null(program_pool(fx, ENDPOINT));
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_LENT);
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	AWAIT(fx, stats_of(fx).pools == 0);
	assert_int_equal(fx->told.failed + fx->told.cuts, 0);
}

static void test_upstreams_of_a_pod_that_went_meanwhile_finish_first(void **state)
{
	struct fixture *fx = *state;
	struct entries entries = { .count = 0 };
	int slot = lend_first(fx);

	die(fx);
	fx->options.adopt = true;
	assert_int_equal(pool_new(&fx->pool, &fx->options), 0);
	publish_usual(fx);
	table_each(fx->table, collect, &entries);
	assert_int_equal(pool_adopt(fx->pool, entries.items[0]), 0);
	pool_adopt_finish(fx->pool);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_LENT);
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	AWAIT(fx, stats_of(fx).pools == 0 && stats_of(fx).pods == 0);
}

static void test_a_new_keeper_clears_what_an_old_one_left(void **state)
{
	struct fixture *fx = *state;

	lend_first(fx);
	pool_close_all(fx->pool);
	pool_free(&fx->pool);
	memset(fx->pools, 0xff, sizeof(fx->pools));
	for (unsigned i = 0; i < SLOTS; i++)
		fx->upstreams[i].state = WEFT_STATE_WORD(77, WEFT_UPSTREAM_LENT);
	fixture_start(fx, false);
	assert_int_equal(stats_of(fx).free, SLOTS);
	assert_true(give_back(fx, lend_first(fx), WEFT_UPSTREAM_LENT));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* ---- another weftd takes over ---------------------------------------------------------------------------------------------------- */

struct kept_told {
	unsigned overs, gone;
	uint32_t slot;
	uint64_t exchange;
};

static void on_slot_over(void *arg, uint32_t slot)
{
	struct kept_told *told = arg;

	told->overs++;
	told->slot = slot;
}

static void on_client_gone(void *arg, uint64_t client_cookie, uint64_t exchange)
{
	struct kept_told *told = arg;

	told->gone++;
	told->exchange = exchange;
}

/* One upstream idle, one relayed from, which the former pool keeps; the next one is fx->pool. */
static struct pool *take_over(struct fixture *fx, struct kept_told *told, uint32_t *relayed)
{
	const struct pool_kept kept = { .arg = told, .slot_over = on_slot_over, .client_gone = on_client_gone };
	int slot = lend_first(fx);
	struct pool *former;

	AWAIT(fx, stats_of(fx).idle == 1);
	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	AWAIT(fx, fx->told.relays == 1);
	former = TAKE_PTR(fx->pool);
	pool_leave(former);
	assert_int_equal(pool_keep(former, &kept), 1);
	assert_int_equal(pool_kept_count(former), 1);
	assert_int_equal(table_count(fx->table, TABLE_KEPT), 1);
	fixture_start(fx, true);
	table_each(fx->table, adopt_one, fx->pool);
	pool_elsewhere(fx->pool, (uint32_t)slot);
	pool_adopt_finish(fx->pool);
	assert_int_equal(fx->told.cuts, 0);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_RELAYED);
	assert_int_equal(stats_of(fx).idle, 1);
	assert_int_equal(stats_of(fx).free, SLOTS - 2);
	*relayed = (uint32_t)slot;
	return former;
}

static void test_a_relay_of_the_former_weftd_keeps_its_slot(void **state)
{
	struct fixture *fx = *state;
	uint64_t exchange;
	struct kept_told told = { 0 };
	struct pool *former;
	uint32_t slot;

	former = take_over(fx, &told, &slot);
	exchange = fx->told.exchange.exchange;
	/* Who was reusable is closed all the same: another one has the pool. */
	pool_relay_done(former, exchange, true);
	AWAIT(fx, told.overs == 1);
	assert_int_equal(told.slot, slot);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_FREE);
	assert_int_equal(pool_kept_count(former), 0);
	assert_int_equal(stats_of(fx).free, SLOTS - 2);
	pool_elsewhere_over(fx->pool, slot, false);
	assert_int_equal(stats_of(fx).free, SLOTS - 1);
	pool_elsewhere_over(fx->pool, slot, false); /* once */
	assert_int_equal(stats_of(fx).free, SLOTS - 1);
	assert_true(lend(fx, ENDPOINT) >= 0);
	pool_free(&former);
}

/* Bytes of its client's next request are in the proxy, which keeps the connection: the next weftd would not find it. */
static void test_what_a_kept_client_waits_for_is_kept(void **state)
{
	struct fixture *fx = *state;
	struct kept_told told = { 0 };
	const struct pool_kept kept = { .arg = &told, .slot_over = on_slot_over };
	int slot = lend_first(fx);
	uint32_t lease = WEFT_LEASE(fx->upstreams[slot].state);
	struct pool *former;

	pool_claim(fx->pool, WEFT_EXCHANGE((uint32_t)slot, lease + 1)); /* of another lease */
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_LENT);
	pool_claim(fx->pool, WEFT_EXCHANGE((uint32_t)slot, lease));
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_RELAYED);
	assert_int_equal(fx->told.relays, 1);
	former = TAKE_PTR(fx->pool);
	pool_leave(former);
	assert_int_equal(pool_keep(former, &kept), 1);
	fixture_start(fx, true);
	table_each(fx->table, adopt_one, fx->pool);
	pool_elsewhere(fx->pool, (uint32_t)slot);
	pool_adopt_finish(fx->pool);
	assert_int_equal(fx->told.cuts, 0);
	pool_relay_done(former, fx->told.exchange.exchange, false);
	AWAIT(fx, told.overs == 1);
	assert_int_equal(pool_kept_count(former), 0);
	pool_free(&former);
}

/* Its client waits in the queue of a listener that is the next weftd's. */
static void test_a_relay_that_has_not_begun_is_the_next_weftds(void **state)
{
	const struct pool_kept kept = { .slot_over = on_slot_over };
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	struct pool *former;

	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	AWAIT(fx, fx->told.relays == 1);
	former = TAKE_PTR(fx->pool);
	pool_leave(former);
	pool_take_back(former, fx->told.exchange.exchange);
	assert_int_equal(pool_keep(former, &kept), 0);
	assert_int_equal(table_count(fx->table, TABLE_KEPT), 0);
	fixture_start(fx, true);
	table_each(fx->table, adopt_one, fx->pool);
	pool_adopt_finish(fx->pool);
	assert_int_equal(fx->told.cuts, 0);
	assert_int_equal(fx->told.relays, 2);
	pool_relay_done(fx->pool, fx->told.exchange.exchange, true);
	AWAIT(fx, state_of(fx, slot) == WEFT_UPSTREAM_IDLE);
	pool_free(&former);
}

static void test_a_relay_that_is_lost_with_the_former_weftd_is_cut(void **state)
{
	struct fixture *fx = *state;
	struct kept_told told = { 0 };
	struct pool *former;
	uint32_t slot;

	former = take_over(fx, &told, &slot);
	pool_free(&former);
	pool_elsewhere_over(fx->pool, slot, true);
	assert_int_equal(fx->told.cuts, 1);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_FREE);
	assert_int_equal(stats_of(fx).free, SLOTS - 1);
}

static void test_a_client_that_goes_is_the_next_weftds_to_hear_of(void **state)
{
	struct fixture *fx = *state;
	struct kept_told told = { 0 };
	struct pool *former;
	uint32_t slot;
	int lent;

	former = take_over(fx, &told, &slot);
	lent = lend(fx, ENDPOINT);
	assert_true(lent >= 0);
	pool_client_gone(former, CLIENT, WEFT_EXCHANGE((uint32_t)lent, WEFT_LEASE(fx->upstreams[lent].state)));
	AWAIT(fx, told.gone == 1);
	assert_int_equal(WEFT_EXCHANGE_SLOT(told.exchange), lent);
	assert_int_equal(state_of(fx, lent), WEFT_UPSTREAM_LENT);
	pool_relay_done(former, fx->told.exchange.exchange, false);
	AWAIT(fx, told.overs == 1);
	pool_free(&former);
}

static void test_upstreams_of_another_cgroup_carry_no_further_exchange(void **state)
{
	struct fixture *fx = *state;
	int lent = lend_first(fx);

	AWAIT(fx, stats_of(fx).idle == 1);
	fx->client_exchange = WEFT_EXCHANGE((uint32_t)lent, WEFT_LEASE(fx->upstreams[lent].state));
	die(fx);
	fx->options.cgroup_inode = 7;
	follow(fx);
	assert_int_equal(stats_of(fx).closes[POOL_CLOSE_ADOPTION], 1);
	assert_int_equal(state_of(fx, lent), WEFT_UPSTREAM_LENT);
	/* The program that ends the exchange goes by the mark. */
	assert_true(fx->upstreams[lent].is_dead);
	fx->endpoint_states[ENDPOINT].active--;
	assert_true(move(fx, lent, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_DEAD));
	AWAIT(fx, state_of(fx, lent) == WEFT_UPSTREAM_FREE);
	assert_int_equal(fx->told.failed + fx->told.cuts, 0);
	/* One that is made now is of this cgroup. */
	AWAIT(fx, stats_of(fx).idle == 1);
	die(fx);
	follow(fx);
	assert_int_equal(stats_of(fx).idle, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_idle_upstreams_stay_idle),
		TEST(test_exchanges_in_flight_go_on_unharmed),
		TEST(test_an_exchange_that_ended_meanwhile_gave_its_upstream_back),
		TEST(test_a_half_made_dial_is_closed),
		TEST(test_a_response_passed_meanwhile_is_relayed_now),
		TEST(test_a_relay_that_died_with_its_worker_is_cut),
		TEST(test_an_upstream_that_ended_meanwhile_fails_its_exchange),
		TEST(test_a_slot_without_a_descriptor_is_freed_and_its_client_cut),
		TEST(test_an_exchange_that_no_slot_knows_of_cuts_its_client),
		TEST(test_an_idle_slot_without_a_descriptor_cuts_nobody),
		TEST(test_an_entry_of_another_slot_owner_is_closed),
		TEST(test_upstreams_to_an_endpoint_that_went_meanwhile_finish_first),
		TEST(test_upstreams_of_a_pod_that_went_meanwhile_finish_first),
		TEST(test_a_new_keeper_clears_what_an_old_one_left),
		TEST(test_a_relay_of_the_former_weftd_keeps_its_slot),
		TEST(test_what_a_kept_client_waits_for_is_kept),
		TEST(test_a_relay_that_has_not_begun_is_the_next_weftds),
		TEST(test_a_relay_that_is_lost_with_the_former_weftd_is_cut),
		TEST(test_a_client_that_goes_is_the_next_weftds_to_hear_of),
		TEST(test_upstreams_of_another_cgroup_carry_no_further_exchange),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

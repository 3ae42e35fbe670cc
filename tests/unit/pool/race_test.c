/* SPDX-License-Identifier: Apache-2.0 */
/* Threads play the programs on other CPUs: they lend, reply, pass and give back as fast as they can while the worker sweeps, times out, closes
 * and reshapes. Whatever happens, an exchange ends exactly once, nothing is counted twice and nothing leaks. */
#include "pool/fixture.h"

#include <pthread.h>
#include <signal.h>

#define THREADS 3

struct program {
	pthread_t thread;
	struct fixture *fx;
	unsigned seed;
	uint64_t lent, returned, passed, lost; /* lost: the worker took the lease first */
};

struct race {
	struct program programs[THREADS];
	int stop;
	pthread_mutex_t lock; /* of the test's own records: the index */
};

static struct race race;

static unsigned roll(struct program *p, unsigned sides)
{
	return (unsigned)rand_r(&p->seed) % sides;
}

static void exchange(struct program *p)
{
	struct fixture *fx = p->fx;
	enum weft_upstream_state from = WEFT_UPSTREAM_LENT;
	int slot;

	pthread_mutex_lock(&race.lock);
	slot = lend(fx, ENDPOINT);
	pthread_mutex_unlock(&race.lock);
	if (slot < 0)
		return;
	p->lent++;
	if (roll(p, 8) == 0)
		__atomic_store_n(&fx->upstreams[slot].deadline_ns, 1, __ATOMIC_RELAXED); /* passed already */
	if (roll(p, 16) == 0)
		usleep(roll(p, 12) * 1000);
	switch (roll(p, 3)) {
	case 0:
		if (!move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED))
			p->lost++;
		else
			p->passed++;
		return;
	case 1:
		if (!move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_REPLYING)) {
			p->lost++;
			return;
		}
		from = WEFT_UPSTREAM_REPLYING;
		if (roll(p, 16) == 0)
			usleep(roll(p, 12) * 1000);
		break;
	}
	if (give_back(fx, slot, from))
		p->returned++;
	else
		p->lost++;
}

static void *play(void *arg)
{
	struct program *p = arg;

	while (!__atomic_load_n(&race.stop, __ATOMIC_RELAXED)) {
		exchange(p);
		if (roll(p, 4) == 0)
			usleep(100);
	}
	return NULL;
}

/* The relay is the loop's own in this test: done at once, reusable or not. */
static int relay_at_once(void *arg, const struct pool_exchange *e, int fd)
{
	struct fixture *fx = arg;

	fx->told.relays++;
	pool_relay_done(fx->pool, e->exchange, e->exchange % 3 != 0);
	return 0;
}

static int client_is_always_there(void *arg, uint64_t client_cookie, uint64_t *exchange_out)
{
	return -EIO; /* says nothing */
}

static void test_programs_and_worker_never_end_an_exchange_twice(void **state)
{
	struct fixture *fx = *state;
	const struct known_endpoint other[] = { { OTHER_ENDPOINT, fx->other_port_be } };
	uint64_t lent = 0, returned = 0, passed = 0, lost = 0;
	struct pool_stats s;

	pool_close_all(fx->pool);
	pool_free(&fx->pool);
	fx->options.callbacks.relay = relay_at_once;
	fx->options.kernel.client_exchange = client_is_always_there;
	fx->options.idle_timeout_ms = 15;
	fx->options.sweep_interval_ms = 2;
	fixture_start(fx, false);
	pthread_mutex_init(&race.lock, NULL);
	for (unsigned i = 0; i < THREADS; i++) {
		race.programs[i] = (struct program){ .fx = fx, .seed = i + 1 };
		assert_int_equal(pthread_create(&race.programs[i].thread, NULL, play, &race.programs[i]), 0);
	}
	for (int i = 0; i < 300; i++) {
		miss(fx, ENDPOINT);
		fixture_run(fx, 5);
		accept_all(fx);
		for (unsigned n = 0; i % 10 == 5 && n < fx->accepted_count; n += 3) {
			if (fx->accepted[n] >= 0)
				reset_server(&fx->accepted[n]);
		}
		while (fx->accepted_count > SLOTS - 64) { /* room: those that the pool closed */
			fx->accepted_count--;
			if (fx->accepted[fx->accepted_count] >= 0)
				close_server(&fx->accepted[fx->accepted_count]);
		}
		if (i % 50 == 25) {
			pthread_mutex_lock(&race.lock);
			publish(fx, other, 1);
			publish_usual(fx);
			pthread_mutex_unlock(&race.lock);
		}
	}
	__atomic_store_n(&race.stop, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(race.programs[i].thread, NULL);
		lent += race.programs[i].lent;
		returned += race.programs[i].returned;
		passed += race.programs[i].passed;
		lost += race.programs[i].lost;
	}
	/* Exchanges that were passed to the worker are all settled. */
	AWAIT(fx, stats_of(fx).relayed == 0 && stats_of(fx).lent == 0 && stats_of(fx).replying == 0);
	s = stats_of(fx);
	assert_true(lent > 200);
	assert_true(lent == returned + passed + lost);
	assert_true(fx->told.relays >= passed);
	assert_true(fx->told.failed + fx->told.cuts + (fx->told.relays - passed) == lost);
	assert_true(s.timeouts > 0);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
	print_message("%llu exchanges: %llu returned, %llu passed, %llu taken by the worker; %llu dials, %llu timeouts\n", (unsigned long long)lent,
		      (unsigned long long)returned, (unsigned long long)passed, (unsigned long long)lost, (unsigned long long)s.dials,
		      (unsigned long long)s.timeouts);
	pthread_mutex_destroy(&race.lock);
}

/* ---- at one instruction ------------------------------------------------------------------------------------------------------------- */

/* The worker goes on instruction by instruction, and after each of them another CPU looks whether it may lend. */
static struct {
	struct weft_upstream *upstream;
	bool has_lent;
} onlooker;

static void lend_for_a_cluster_that_does_not_count(int signal)
{
	struct weft_upstream *u = onlooker.upstream;
	uint64_t word = __atomic_load_n(&u->state, __ATOMIC_ACQUIRE);

	if (onlooker.has_lent || WEFT_STATE(word) != WEFT_UPSTREAM_IDLE)
		return;
	onlooker.has_lent =
		__atomic_compare_exchange_n(&u->state, &word, WEFT_STATE_WORD(WEFT_LEASE(word) + 1, WEFT_UPSTREAM_LENT), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Where processors can't be stepped so, it is lent when the worker is done. */
static void step_by_step(bool begins)
{
#ifdef __x86_64__
	const unsigned long trap = 0x100;
	unsigned long flags = __builtin_ia32_readeflags_u64();

	__builtin_ia32_writeeflags_u64(begins ? flags | trap : flags & ~trap);
#else
	if (!begins)
		lend_for_a_cluster_that_does_not_count(SIGTRAP);
#endif
}

static void test_what_is_lent_at_once_does_not_change_what_was_counted_before(void **state)
{
	struct fixture *fx = *state;
	const struct sigaction look = { .sa_handler = lend_for_a_cluster_that_does_not_count };
	struct sigaction former;
	int slot = lend_first(fx);

	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 1);
	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	AWAIT(fx, fx->told.relays == 1);
	pool_relay_done(fx->pool, fx->told.exchange.exchange, true);
	onlooker.upstream = &fx->upstreams[slot];
	onlooker.has_lent = false;
	sigaction(SIGTRAP, &look, &former);
	step_by_step(true);
	fixture_run(fx, 1);
	step_by_step(false);
	sigaction(SIGTRAP, &former, NULL);
	assert_true(onlooker.has_lent);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
	/* The other exchange ends, and takes off nothing. */
	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_IDLE));
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
}

/* How many instructions the worker took while the relay was not over, and after which of them the server speaks. */
static struct {
	struct weft_upstream *upstream;
	long steps, speaks_after;
	int server;
	bool has_spoken;
} speaker;

static void speak_unasked(int signal)
{
	if (WEFT_STATE(__atomic_load_n(&speaker.upstream->state, __ATOMIC_ACQUIRE)) != WEFT_UPSTREAM_RELAYED || speaker.steps++ != speaker.speaks_after)
		return;
	assert_int_equal(write(speaker.server, "more", 4), 4);
	speaker.has_spoken = true;
}

/* A relay that is over; the server speaks after so many instructions of what the worker does then. */
static int end_relay(struct fixture *fx, long speaks_after)
{
	const struct sigaction speak = { .sa_handler = speak_unasked };
	struct sigaction former;
	int slot = lend(fx, ENDPOINT);
	struct weft_event event = { .kind = WEFT_EVENT_UPSTREAM_RELAYED, .slot = (uint32_t)slot };

	if (slot < 0)
		slot = lend_first(fx);
	event.slot = (uint32_t)slot;
	event.cookie = fx->upstreams[slot].cookie;
	assert_true(move(fx, slot, WEFT_UPSTREAM_LENT, WEFT_UPSTREAM_RELAYED));
	fx->told.relays = 0;
	pool_event(fx->pool, &event);
	assert_int_equal(fx->told.relays, 1);
	speaker.upstream = &fx->upstreams[slot];
	speaker.server = *server_of(fx, fx->told.fd);
	speaker.steps = 0;
	speaker.speaks_after = speaks_after;
	speaker.has_spoken = false;
	pool_relay_done(fx->pool, fx->told.exchange.exchange, true);
	sigaction(SIGTRAP, &speak, &former);
	step_by_step(true);
	fixture_run(fx, 1);
	step_by_step(false);
	sigaction(SIGTRAP, &former, NULL);
	return slot;
}

/* To the program it is no word on an idle upstream while the relay is not over, so nobody but the worker hears it: whoever is relayed from there next
 * would have it for an answer. */
static void test_what_a_server_says_as_its_relay_ends_is_nobodys_answer(void **state)
{
	struct fixture *fx = *state;
	unsigned spoken = 0;
	long steps;
	int slot;

	pool_close_all(fx->pool);
	pool_free(&fx->pool);
	fx->options.is_told_of_relays = true;
	fx->options.sweep_interval_ms = 3600000;
	fixture_start(fx, false);
	for (int warm = 0; warm < 3; warm++)
		slot = end_relay(fx, -1);
	assert_int_equal(state_of(fx, slot), WEFT_UPSTREAM_IDLE);
	steps = speaker.steps;
	for (long before = 1; before < steps && before < 10000; before += before / 4 + 1) {
		slot = end_relay(fx, steps - before);
		spoken += speaker.has_spoken;
		assert_true(!speaker.has_spoken || state_of(fx, slot) == WEFT_UPSTREAM_FREE);
	}
	assert_true(spoken > 5 || !steps);
}

/* IDLE -> LENT, and not a step more. */
static uint64_t lend_and_stop(struct weft_upstream *u)
{
	uint64_t word = __atomic_load_n(&u->state, __ATOMIC_ACQUIRE), lent = WEFT_STATE_WORD(WEFT_LEASE(word) + 1, WEFT_UPSTREAM_LENT);

	assert_int_equal(WEFT_STATE(word), WEFT_UPSTREAM_IDLE);
	assert_true(__atomic_compare_exchange_n(&u->state, &word, lent, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	return lent;
}

/* The program that lends is stopped for long, with its pod, right after it has: the worker takes nothing off that was not counted. */
static void test_what_is_ended_before_it_is_counted_is_not_counted(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	struct weft_upstream *u = &fx->upstreams[slot];
	uint64_t lent;

	/* one that counted was there before, so that its mark is; of two clusters of an endpoint one may count, and the other not */
	assert_true(give_back(fx, slot, WEFT_UPSTREAM_LENT));
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
	u->client_cookie = 0;
	lent = lend_and_stop(u);
	AWAIT(fx, __atomic_load_n(&u->state, __ATOMIC_ACQUIRE) != lent);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
	/* ... and it counts only now */
	assert_false(count_lease(fx, u, lent, ENDPOINT));
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
}

/* The other way round: the worker has seen it, and the program looks afterwards. */
static void test_what_is_counted_while_it_ends_is_taken_off_once(void **state)
{
	struct fixture *fx = *state;
	int slot = lend_first(fx);
	struct weft_upstream *u = &fx->upstreams[slot];
	uint32_t lease = WEFT_LEASE(u->state);

	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 1);
	u->client_cookie = 0;
	AWAIT(fx, state_of(fx, slot) != WEFT_UPSTREAM_LENT);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
	assert_int_equal(u->counted_lease, ~lease);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_programs_and_worker_never_end_an_exchange_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_ended_before_it_is_counted_is_not_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_counted_while_it_ends_is_taken_off_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_a_server_says_as_its_relay_ends_is_nobodys_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_lent_at_once_does_not_change_what_was_counted_before, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A pool over plain memory, real sockets on loopback, and the steps of the kernel programs played by the test. */
#ifndef WEFT_TEST_POOL_FIXTURE_H
#define WEFT_TEST_POOL_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "keeper/table.h"
#include "pool/pool.h"

#pragma GCC diagnostic ignored "-Wunused-function" /* no test needs all of it */

#define SLOTS 300
#define POOLS 8
#define POD 7
#define ENDPOINT 3
#define OTHER_ENDPOINT 4
#define CLIENT 0xc11e47ull

#define AWAIT(fx, condition) \
	do { \
		for (int turns_ = 0; !(condition); turns_++) { \
			if (turns_ > 4000) \
				fail_msg("after %d ms still not: %s", turns_ * 5, #condition); \
			fixture_run(fx, 5); \
		} \
	} while (0)

struct told { /* the last callback, and how many */
	unsigned relays, failed, cuts, left;
	unsigned status;
	int fd, relay_answer;
	struct pool_exchange exchange;
};

struct fixture {
	struct event_base *base;
	struct table *table;
	struct pool *pool;
	struct pool_options options;
	struct weft_upstream upstreams[SLOTS];
	struct weft_pool pools[POOLS];
	struct weft_endpoint_state *endpoint_states;
	struct { uint32_t pod_id, endpoint_id, pool; bool is_set; } index[POOLS];
	struct told told;
	unsigned marks, inserts;
	int insert_answer;
	bool is_client_gone;
	uint64_t client_exchange; /* what the connection record says */
	uint64_t push_cut_by;     /* bytes of a request that had not gone out after all */
	int listener, other_listener;
	uint16_t port_be, other_port_be;
	int accepted[SLOTS];
	unsigned accepted_count;
};

/* ---- what the pool calls ---- */

static int fake_index_set(void *arg, uint32_t pod_id, uint32_t endpoint_id, uint32_t pool)
{
	struct fixture *fx = arg;

	assert_in_range(pool, 0, POOLS - 1);
	fx->index[pool].pod_id = pod_id;
	fx->index[pool].endpoint_id = endpoint_id;
	fx->index[pool].pool = pool;
	fx->index[pool].is_set = true;
	return 0;
}

static int fake_index_delete(void *arg, uint32_t pod_id, uint32_t endpoint_id)
{
	struct fixture *fx = arg;

	for (unsigned i = 0; i < POOLS; i++) {
		if (fx->index[i].is_set && fx->index[i].pod_id == pod_id && fx->index[i].endpoint_id == endpoint_id)
			fx->index[i].is_set = false;
	}
	return 0;
}

static int fake_mark(void *arg, int fd, uint32_t slot, uint32_t pod_id)
{
	struct fixture *fx = arg;
	uint64_t cookie;
	socklen_t len = sizeof(cookie);

	/* sock_ops goes by the slot's cookie, so it must be there before connect(). */
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len), 0);
	assert_true(fx->upstreams[slot].cookie == cookie);
	assert_int_equal(WEFT_STATE(fx->upstreams[slot].state), WEFT_UPSTREAM_DIALLING);
	fx->marks++;
	return 0;
}

static int fake_insert(void *arg, int fd, uint64_t cookie)
{
	struct fixture *fx = arg;

	fx->inserts++;
	return fx->insert_answer;
}

static int fake_client_exchange(void *arg, uint64_t client_cookie, uint64_t *exchange)
{
	struct fixture *fx = arg;

	if (fx->is_client_gone || client_cookie != CLIENT)
		return -ENOENT;
	*exchange = fx->client_exchange;
	return 0;
}

static void fake_count_owed(void *arg, uint64_t client_cookie, uint64_t exchange)
{
	struct fixture *fx = arg;

	if (client_cookie == CLIENT && exchange == fx->client_exchange)
		fx->upstreams[WEFT_EXCHANGE_SLOT(exchange)].request_remaining += fx->push_cut_by;
}

static int fake_relay(void *arg, const struct pool_exchange *exchange, int fd)
{
	struct fixture *fx = arg;

	fx->told.relays++;
	fx->told.exchange = *exchange;
	fx->told.fd = fd;
	return fx->told.relay_answer;
}

static void fake_exchange_failed(void *arg, const struct pool_exchange *exchange, unsigned status)
{
	struct fixture *fx = arg;

	fx->told.failed++;
	fx->told.status = status;
	fx->told.exchange = *exchange;
}

static void fake_exchange_cut(void *arg, const struct pool_exchange *exchange)
{
	struct fixture *fx = arg;

	fx->told.cuts++;
	fx->told.exchange = *exchange;
}

static void fake_exchange_left(void *arg, const struct pool_exchange *exchange)
{
	struct fixture *fx = arg;

	fx->told.left++;
	fx->told.exchange = *exchange;
}

/* ---- servers ---- */

static int listen_somewhere(uint16_t *port_be)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 512), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*port_be = address.sin_port;
	return fd;
}

static void accept_all(struct fixture *fx)
{
	int fd;

	while ((fd = accept4(fx->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		assert_true(fx->accepted_count < SLOTS);
		fx->accepted[fx->accepted_count++] = fd;
	}
}

/* The server's end of the upstream on `slot`. */
static int *server_of(struct fixture *fx, int upstream_fd)
{
	struct sockaddr_in ours, theirs;
	socklen_t len = sizeof(ours);

	accept_all(fx);
	assert_int_equal(getsockname(upstream_fd, (struct sockaddr *)&ours, &len), 0);
	for (unsigned i = 0; i < fx->accepted_count; i++) {
		len = sizeof(theirs);
		if (fx->accepted[i] >= 0 && getpeername(fx->accepted[i], (struct sockaddr *)&theirs, &len) == 0 && theirs.sin_port == ours.sin_port)
			return &fx->accepted[i];
	}
	fail_msg("no server has accepted this upstream");
	return NULL;
}

static void close_server(int *fd)
{
	close(*fd);
	*fd = -1;
}

static void reset_server(int *fd)
{
	struct linger hard = { .l_onoff = 1, .l_linger = 0 };

	assert_int_equal(setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
	close_server(fd);
}

/* ---- configuration ---- */

struct known_endpoint {
	uint32_t id;
	uint16_t port_be;
};

/* One cluster with these endpoints on 127.0.0.1. */
static void publish_in(struct fixture *fx, uint32_t scope, const struct known_endpoint *known, uint32_t count)
{
	struct {
		struct weft_image_header header;
		weft_ref directory[2];
		struct weft_cluster cluster;
		struct weft_endpoint endpoints[8];
	} image = {
		.header = { .magic = WEFT_IMAGE_MAGIC, .version = WEFT_IMAGE_VERSION, .kind = WEFT_IMAGE_ENDPOINTS, .size_bytes = sizeof(image) },
	};

	image.header.cluster_directory = (uint32_t)((uint8_t *)image.directory - (uint8_t *)&image);
	image.header.cluster_count = 2;
	image.directory[1] = (uint32_t)((uint8_t *)&image.cluster - (uint8_t *)&image);
	image.cluster.id = 1;
	image.cluster.connect_timeout_ms = 200;
	image.cluster.endpoint_count = count;
	image.cluster.endpoints = (uint32_t)((uint8_t *)image.endpoints - (uint8_t *)&image);
	for (uint32_t i = 0; i < count; i++) {
		image.endpoints[i].id = known[i].id;
		image.endpoints[i].address = WEFT_IP4(htonl(INADDR_LOOPBACK));
		image.endpoints[i].port_be = known[i].port_be;
	}
	assert_int_equal(pool_publish_endpoints(fx->pool, scope, &image, sizeof(image)), 0);
}

static void publish(struct fixture *fx, const struct known_endpoint *known, uint32_t count)
{
	publish_in(fx, 0, known, count);
}

static void publish_usual(struct fixture *fx)
{
	const struct known_endpoint usual[] = { { ENDPOINT, fx->port_be }, { OTHER_ENDPOINT, fx->other_port_be } };

	publish(fx, usual, 2);
}

static void fixture_run(struct fixture *fx, int ms)
{
	struct timeval timeout = { .tv_usec = ms * 1000 };

	event_base_loopexit(fx->base, &timeout);
	event_base_dispatch(fx->base);
}

static void fixture_start(struct fixture *fx, bool adopt)
{
	fx->options.adopt = adopt;
	assert_int_equal(pool_new(&fx->pool, &fx->options), 0);
	assert_int_equal(pool_pod_add(fx->pool, POD, -1, (const struct weft_address[WEFT_FAMILIES]){}), 0);
	publish_usual(fx);
	pool_endpoint_keeps(fx->pool, ENDPOINT, true);
	pool_endpoint_keeps(fx->pool, OTHER_ENDPOINT, true);
}

static struct fixture *fixture_new(void)
{
	struct fixture *fx = calloc(1, sizeof(*fx));

	assert_non_null(fx);
	fx->base = event_base_new();
	assert_non_null(fx->base);
	assert_int_equal(table_new(&fx->table, 1024), 0);
	fx->endpoint_states = calloc(WEFT_ENDPOINTS_MAX, sizeof(*fx->endpoint_states));
	assert_non_null(fx->endpoint_states);
	fx->listener = listen_somewhere(&fx->port_be);
	fx->other_listener = listen_somewhere(&fx->other_port_be);
	fx->options = (struct pool_options){
		.base = fx->base,
		.table = fx->table,
		.kernel = {
			.arg = fx,
			.upstreams = fx->upstreams,
			.pools = fx->pools,
			.endpoint_states = fx->endpoint_states,
			.upstream_count = SLOTS,
			.pool_count = POOLS,
			.index_set = fake_index_set,
			.index_delete = fake_index_delete,
			.mark = fake_mark,
			.insert = fake_insert,
			.client_exchange = fake_client_exchange,
			.count_owed = fake_count_owed,
		},
		.callbacks = { .arg = fx, .relay = fake_relay, .exchange_failed = fake_exchange_failed, .exchange_cut = fake_exchange_cut,
			       .exchange_left = fake_exchange_left },
		.redirect_limit_bytes = 65536,
		.pod_quota = 200,
		.pod_pools = POOLS,
		.idle_timeout_ms = 60000,
		.sweep_interval_ms = 5,
		.second_look_ms = 5,
		.quarantine_ms = 1,
		.backoff_min_ms = 20,
		.backoff_max_ms = 160,
	};
	return fx;
}

static int setup(void **state)
{
	struct fixture *fx = fixture_new();

	fixture_start(fx, false);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fx = *state;

	if (fx->pool)
		pool_close_all(fx->pool);
	assert_int_equal(table_count(fx->table, TABLE_UPSTREAM), 0);
	for (unsigned i = 0; i < SLOTS; i++) {
		assert_int_equal(WEFT_STATE(fx->upstreams[i].state), WEFT_UPSTREAM_FREE);
		assert_true(fx->upstreams[i].cookie == 0);
	}
	for (unsigned i = 0; i < POOLS; i++)
		assert_false(fx->index[i].is_set);
	assert_int_equal(fx->endpoint_states[ENDPOINT].active, 0);
	pool_free(&fx->pool);
	for (unsigned i = 0; i < fx->accepted_count; i++) {
		if (fx->accepted[i] >= 0)
			close(fx->accepted[i]);
	}
	close(fx->listener);
	close(fx->other_listener);
	event_base_free(fx->base);
	table_free(&fx->table);
	free(fx->endpoint_states);
	free(fx);
	return 0;
}

/* ---- the programs' steps ---- */

static struct weft_pool *program_pool(struct fixture *fx, uint32_t endpoint_id)
{
	for (unsigned i = 0; i < POOLS; i++) {
		if (fx->index[i].is_set && fx->index[i].pod_id == POD && fx->index[i].endpoint_id == endpoint_id)
			return &fx->pools[fx->index[i].pool];
	}
	return NULL;
}

static void miss(struct fixture *fx, uint32_t endpoint_id)
{
	struct weft_pool *p = program_pool(fx, endpoint_id);
	const struct weft_event event = { .kind = WEFT_EVENT_POOL_MISS, .pod_id = POD, .endpoint_id = endpoint_id };

	if (p) {
		__atomic_fetch_add(&p->misses, 1, __ATOMIC_RELAXED);
		p->is_miss_reported = 1;
	}
	pool_event(fx->pool, &event);
}

/* As lease_count() and lease_uncount() in bpf/exchange.h; false: the worker has ended it meanwhile. */
static inline bool count_lease(struct fixture *fx, struct weft_upstream *u, uint64_t lent, uint32_t endpoint_id)
{
	uint32_t lease = WEFT_LEASE(lent);

	__atomic_fetch_add(&fx->endpoint_states[endpoint_id].active, 1, __ATOMIC_RELAXED);
	__atomic_exchange_n(&u->counted_lease, lease, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&u->state, __ATOMIC_SEQ_CST) == lent)
		return true;
	if (__atomic_compare_exchange_n(&u->counted_lease, &lease, ~WEFT_LEASE(lent), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		__atomic_fetch_sub(&fx->endpoint_states[endpoint_id].active, 1, __ATOMIC_RELAXED);
	return false;
}

/* IDLE -> LENT, as upstream_lend() in bpf/exchange.h; -1: nothing idle. */
static int lend(struct fixture *fx, uint32_t endpoint_id)
{
	struct weft_pool *p = program_pool(fx, endpoint_id);

	for (uint32_t i = 0; p && i < WEFT_POOL_SLOTS_MAX; i++) {
		uint64_t bit = 1ull << (i % 64), word, lent;
		struct weft_upstream *u;

		if (!(__atomic_fetch_and(&p->idle[i / 64], ~bit, __ATOMIC_ACQ_REL) & bit) || !p->slots[i])
			continue;
		u = &fx->upstreams[p->slots[i] - 1];
		word = __atomic_load_n(&u->state, __ATOMIC_ACQUIRE);
		if (WEFT_STATE(word) != WEFT_UPSTREAM_IDLE)
			continue;
		lent = WEFT_STATE_WORD(WEFT_LEASE(word) + 1, WEFT_UPSTREAM_LENT);
		if (!__atomic_compare_exchange_n(&u->state, &word, lent, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			continue;
		if (!count_lease(fx, u, lent, endpoint_id))
			continue;
		u->client_cookie = CLIENT;
		u->deadline_ns = 0;
		u->request_remaining = 0;
		u->method = WEFT_METHOD_GET;
		fx->client_exchange = WEFT_EXCHANGE((uint32_t)(u - fx->upstreams), WEFT_LEASE(lent));
		return (int)(u - fx->upstreams);
	}
	return -1;
}

static bool move(struct fixture *fx, int slot, enum weft_upstream_state from, enum weft_upstream_state to)
{
	uint64_t word = __atomic_load_n(&fx->upstreams[slot].state, __ATOMIC_ACQUIRE);

	return WEFT_STATE(word) == from && __atomic_compare_exchange_n(&fx->upstreams[slot].state, &word, WEFT_STATE_WORD(WEFT_LEASE(word), to), false,
								       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* LENT or REPLYING -> IDLE, as upstream_return(). */
static bool give_back(struct fixture *fx, int slot, enum weft_upstream_state from)
{
	struct weft_upstream *u = &fx->upstreams[slot];
	struct weft_pool *p = &fx->pools[u->pool];
	uint32_t position = u->pool_position, endpoint_id = u->endpoint_id;

	if (!move(fx, slot, from, WEFT_UPSTREAM_IDLE))
		return false;
	u->exchange_count++;
	__atomic_fetch_sub(&fx->endpoint_states[endpoint_id].active, 1, __ATOMIC_RELAXED);
	__atomic_fetch_or(&p->idle[position / 64], 1ull << (position % 64), __ATOMIC_RELEASE);
	return true;
}

static uint32_t state_of(const struct fixture *fx, int slot)
{
	return WEFT_STATE(__atomic_load_n(&fx->upstreams[slot].state, __ATOMIC_ACQUIRE));
}

static struct pool_stats stats_of(const struct fixture *fx)
{
	struct pool_stats s;

	pool_stats(fx->pool, &s);
	return s;
}

struct fd_search {
	uint32_t slot;
	int fd;
};

static void match_slot(void *arg, struct table_entry *entry)
{
	struct fd_search *search = arg;

	if (entry->kind == TABLE_UPSTREAM && entry->slot == search->slot)
		search->fd = entry->fd;
}

static int fd_of(struct fixture *fx, int slot)
{
	struct fd_search search = { .slot = (uint32_t)slot, .fd = -1 };

	table_each(fx->table, match_slot, &search);
	assert_true(search.fd >= 0);
	return search.fd;
}

/* One idle upstream to ENDPOINT, lent. */
static int lend_first(struct fixture *fx)
{
	int slot;

	miss(fx, ENDPOINT);
	AWAIT(fx, stats_of(fx).idle == 1);
	slot = lend(fx, ENDPOINT);
	assert_true(slot >= 0);
	return slot;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* One upstream after its dial: watched, judged when it ends or speaks, handed over, taken back, closed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "keeper/table.h"
#include "pool/internal.h"

/* What the worker would read now. Redirected bytes never show. */
enum waiting { WAITING_NOTHING, WAITING_BYTES, WAITING_END };

static enum waiting look_at(const struct upstream *u)
{
	uint8_t byte;
	ssize_t n = recv(u->fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);

	if (n > 0)
		return WAITING_BYTES;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return is_marked_dead(u->shared) ? WAITING_END : WAITING_NOTHING;
	return WAITING_END;
}

bool upstream_is_quiet(const struct upstream *u)
{
	return look_at(u) == WAITING_NOTHING;
}

int upstream_new(struct pool *pool, struct endpoint_pool *owner, struct pool_pod *pod, uint32_t slot, int fd, struct upstream **out)
{
	struct upstream *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->pool = pool;
	u->owner = owner;
	u->pod = pod;
	u->slot = slot;
	u->fd = fd;
	u->shared = &pool->kernel.upstreams[slot];
	u->seen_word = state_load(u->shared);
	u->seen_ns = now_ns();
	if (pool->options.table) {
		u->entry = table_take(pool->options.table, fd);
		if (!u->entry) {
			free(u);
			return -ENOSPC;
		}
		u->entry->cookie = u->shared->cookie;
		u->entry->pod_id = owner->key.pod_id;
		u->entry->slot = slot;
		u->entry->reserved[0] = (uint32_t)pool->options.cgroup_inode;
		u->entry->reserved[1] = (uint32_t)(pool->options.cgroup_inode >> 32);
		table_publish(u->entry, TABLE_UPSTREAM);
	}
	upstream_register(u);
	*out = u;
	return 0;
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	upstream_look(arg);
}

void upstream_register(struct upstream *u)
{
	struct pool *pool = u->pool;

	weft_assert(!pool->upstreams[u->slot]);
	/* Assigned for life, so that event_del() is always allowed. Fails only for a wrong combination of flags. */
	weft_assert(event_assign(&u->watch, pool->options.base, u->fd, EV_CLOSED, on_ready, u) == 0);
	weft_assert(event_assign(&u->second_look, pool->options.base, -1, 0, on_ready, u) == 0);
	pool->upstreams[u->slot] = u;
	u->active_index = pool->active_count;
	pool->active[pool->active_count++] = u;
	u->owner->upstream_count++;
	u->pod->upstream_count++;
}

static void unregister(struct upstream *u)
{
	struct pool *pool = u->pool;
	struct upstream *last = pool->active[--pool->active_count];

	pool->active[u->active_index] = last;
	last->active_index = u->active_index;
	pool->upstreams[u->slot] = NULL;
	u->owner->upstream_count--;
	if (u->is_dialling) {
		u->owner->dialling_count--;
		pool->dialling_count--;
	}
	pool_pod_forget_upstream(pool, u->pod);
}

void upstream_drop(struct upstream *u, enum pool_close_reason reason)
{
	struct weft_upstream *s = u->shared;
	struct pool *pool = u->pool;

	weft_assert(!u->is_handed);
	weft_assert(WEFT_STATE(state_load(s)) == WEFT_UPSTREAM_CLOSING || WEFT_STATE(state_load(s)) == WEFT_UPSTREAM_DIALLING);
	event_del(&u->watch);
	event_del(&u->second_look);
	/* Nobody finds it any more, then it is closed (which takes it out of the programs' socket map), then the slot is free. The weftd that replaces
	 * this one has given its place in the pool away already. */
	if (!pool->is_leaving) {
		idle_bit_clear(u->owner->shared, s->pool_position);
		__atomic_store_n(&u->owner->shared->slots[s->pool_position], 0, __ATOMIC_RELEASE);
	}
	if (u->entry)
		table_release(pool->options.table, u->entry);
	datapath_upstream_close(u->fd);
	slot_reset(s);
	slot_give(pool, u->slot, now_ns());
	unregister(u);
	pool->counts.closes[reason]++;
	free(u);
}

static bool is_lease(uint64_t word)
{
	uint32_t state = WEFT_STATE(word);

	return state == WEFT_UPSTREAM_LENT || state == WEFT_UPSTREAM_REPLYING || state == WEFT_UPSTREAM_RELAYED;
}

static bool is_counted(const struct upstream *u, uint64_t word)
{
	return __atomic_load_n(&u->shared->counted_lease, __ATOMIC_RELAXED) == WEFT_LEASE(word);
}

/* What the program counted when it lent is taken off by whoever ends the exchange. */
static void take_off_count(struct upstream *u)
{
	__atomic_fetch_sub(&u->pool->kernel.endpoint_states[u->owner->key.endpoint_id].active, 1, __ATOMIC_RELAXED);
}

/* It is CLOSING: nobody lends it any more. The program that lent it may count it only now: one of the two takes that off. */
static void exchange_ended(struct upstream *u, uint64_t word)
{
	uint32_t lease = WEFT_LEASE(word);

	if (__atomic_compare_exchange_n(&u->shared->counted_lease, &lease, ~WEFT_LEASE(word), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		take_off_count(u);
}

bool upstream_close_from(struct upstream *u, uint64_t word, enum pool_close_reason reason)
{
	struct pool *pool = u->pool;
	struct pool_exchange exchange;

	exchange_read(pool, u->slot, &exchange);
	if (!state_swap(u->shared, word, WEFT_UPSTREAM_CLOSING))
		return false;
	if (is_lease(word))
		exchange_ended(u, word);
	upstream_drop(u, reason);
	if (reason == POOL_CLOSE_CLIENT_GONE && is_lease(word)) {
		exchange.record.state = word;
		pool->callbacks.exchange_left(pool->callbacks.arg, &exchange);
	}
	return true;
}

int upstream_watch(struct upstream *u)
{
	struct pool *pool = u->pool;
	/* EV_CLOSED alone: redirected responses wake those that wait for EV_READ, although there is nothing to read. */
	short what = pool->options.is_told_of_relays ? EV_CLOSED | EV_PERSIST : EV_READ | EV_CLOSED | EV_PERSIST;

	event_del(&u->watch);
	if (event_assign(&u->watch, pool->options.base, u->fd, what, on_ready, u) < 0 || event_add(&u->watch, NULL) < 0)
		return -ENOMEM;
	return 0;
}

/* An idle one that the other end gave up. Before it carried anything: to dial again at once would go round and round. */
static bool close_ended(struct upstream *u, uint64_t word, enum pool_close_reason reason)
{
	struct endpoint_pool *owner = u->owner;
	struct pool *pool = u->pool;
	bool was_useless = !u->shared->exchange_count;

	if (!upstream_close_from(u, word, reason))
		return false;
	if (was_useless)
		endpoint_pool_back_off(pool, owner);
	return true;
}

void upstream_idle(struct upstream *u, uint64_t word)
{
	struct weft_upstream *s = u->shared;
	enum pool_close_reason reason = WEFT_STATE(word) == WEFT_UPSTREAM_DIALLING ? POOL_CLOSE_DIAL : POOL_CLOSE_RELAY;
	uint64_t idle = (word & ~0xffull) | WEFT_UPSTREAM_IDLE;
	enum waiting waiting;
	bool was_counted;

	if (u->owner->is_leaving) {
		upstream_close_from(u, word, u->owner->leave_reason);
		return;
	}
	if (upstream_watch(u)) {
		upstream_close_from(u, word, reason);
		return;
	}
	u->seen_word = idle;
	u->seen_ns = now_ns();
	/* Once it is IDLE it may be lent, and what stands in its record is the next exchange's. */
	was_counted = is_lease(word) && is_counted(u, word);
	if (is_lease(word))
		s->exchange_count++;
	if (!state_swap(s, word, WEFT_UPSTREAM_IDLE))
		return; /* not by abi.h; the sweep goes by what it finds */
	if (was_counted)
		take_off_count(u);
	/* While it was not IDLE sock_ops could only leave its mark, and of what the server said nobody was told. */
	waiting = look_at(u);
	if (waiting != WAITING_NOTHING) {
		__atomic_store_n(&s->is_dead, 1, __ATOMIC_SEQ_CST);
		if (close_ended(u, idle, waiting == WAITING_BYTES ? POOL_CLOSE_UNASKED_BYTES : POOL_CLOSE_PEER))
			return;
	}
	idle_bit_set(u->owner->shared, s->pool_position);
}

void exchange_read(const struct pool *pool, uint32_t slot, struct pool_exchange *out)
{
	memcpy(&out->record, &pool->kernel.upstreams[slot], sizeof(out->record));
	out->slot = slot;
	out->exchange = WEFT_EXCHANGE(slot, WEFT_LEASE(out->record.state));
	out->client_cookie = out->record.client_cookie;
}

void upstream_set_busy(struct upstream *u, bool is_busy)
{
	if (u->entry)
		__atomic_store_n(&u->entry->is_busy, is_busy, __ATOMIC_RELEASE);
}

bool exchange_is_awaited(const struct pool *pool, const struct pool_exchange *exchange)
{
	uint64_t open = 0;
	int r = pool->kernel.client_exchange(pool->kernel.arg, exchange->client_cookie, &open);

	return r ? r != -ENOENT : open == exchange->exchange;
}

void upstream_hand_over(struct upstream *u, uint64_t word)
{
	struct pool *pool = u->pool;
	struct pool_exchange exchange;
	int r;

	weft_assert(!u->is_handed && WEFT_STATE(word) == WEFT_UPSTREAM_RELAYED);
	event_del(&u->watch);
	event_del(&u->second_look);
	u->is_doubted = false;
	exchange_read(pool, u->slot, &exchange);
	/* Who is gone would be waited for, as if its connection was only not accepted yet. */
	if (!exchange_is_awaited(pool, &exchange)) {
		weft_assert(upstream_close_from(u, word, POOL_CLOSE_CLIENT_GONE));
		return;
	}
	upstream_set_busy(u, true);
	u->is_handed = true;
	pool->counts.relays++;
	r = pool->callbacks.relay(pool->callbacks.arg, &exchange, u->fd);
	if (r >= 0)
		return;
	log_write_error(LOG_LEVEL_DEBUG, __FILE__, r, "handing over the response on slot %u", u->slot);
	u->is_handed = false;
	weft_assert(upstream_close_from(u, word, POOL_CLOSE_RELAY));
}

bool upstream_fail(struct upstream *u, uint64_t word, unsigned status, enum pool_close_reason reason)
{
	struct pool *pool = u->pool;
	struct pool_exchange exchange;

	weft_assert(WEFT_STATE(word) == WEFT_UPSTREAM_LENT);
	upstream_set_busy(u, true);
	/* Through RELAYED: whatever the program still sees of this exchange is then the worker's. */
	if (!state_swap(u->shared, word, WEFT_UPSTREAM_RELAYED)) {
		upstream_set_busy(u, false);
		return false;
	}
	/* The bytes of a push that was cut short come from the client yet; they are no request. */
	pool->kernel.count_owed(pool->kernel.arg, u->shared->client_cookie, WEFT_EXCHANGE(u->slot, WEFT_LEASE(word)));
	exchange_read(pool, u->slot, &exchange);
	if (status == 504)
		pool->counts.timeouts++;
	else
		pool->counts.failures++;
	/* Told first: a worker that dies in between leaves a slot that says so. */
	if (exchange_is_awaited(pool, &exchange))
		pool->callbacks.exchange_failed(pool->callbacks.arg, &exchange, status);
	weft_assert(upstream_close_from(u, exchange.record.state, reason));
	return true;
}

bool upstream_cut(struct upstream *u, uint64_t word, enum pool_close_reason reason)
{
	struct pool *pool = u->pool;
	struct pool_exchange exchange;

	weft_assert(!u->is_handed);
	upstream_set_busy(u, true);
	if (!state_swap(u->shared, word, WEFT_UPSTREAM_CLOSING)) {
		upstream_set_busy(u, false);
		return false;
	}
	exchange_read(pool, u->slot, &exchange);
	exchange_ended(u, word);
	pool->counts.cuts++;
	if (exchange_is_awaited(pool, &exchange))
		pool->callbacks.exchange_cut(pool->callbacks.arg, &exchange);
	upstream_drop(u, reason);
	return true;
}

/* What looks like a failure is looked at again a little later, and only then believed: a mark of death may be a program's that has not yet said
 * what becomes of the exchange. (Bytes that came with a FIN have been to the program when the FIN is seen: to look takes the socket's lock.) */
static void doubt(struct upstream *u)
{
	struct timeval delay = timeval_of_ms(u->pool->options.second_look_ms);

	if (event_pending(&u->second_look, EV_TIMEOUT, NULL))
		return;
	event_del(&u->watch); /* else it would fire all the time meanwhile */
	u->is_doubted = true;
	if (event_add(&u->second_look, &delay) < 0)
		log_error("no timer for slot %u: the sweep will look at it", u->slot);
}

static void trust_again(struct upstream *u)
{
	if (!u->is_doubted)
		return;
	u->is_doubted = false;
	if (upstream_watch(u))
		log_error("slot %u can't be watched: the sweep will look at it", u->slot);
}

static bool is_awaited(const struct upstream *u)
{
	struct pool_exchange exchange;

	exchange_read(u->pool, u->slot, &exchange);
	return exchange_is_awaited(u->pool, &exchange);
}

/* One judgement; true when the state moved under it and it must be made again. */
static bool judge(struct upstream *u, uint64_t word, bool was_doubted)
{
	enum waiting waiting;

	switch (WEFT_STATE(word)) {
	case WEFT_UPSTREAM_DEAD:
		return !close_ended(u, word, POOL_CLOSE_PEER);
	case WEFT_UPSTREAM_RELAYED:
		upstream_hand_over(u, word);
		return false;
	case WEFT_UPSTREAM_IDLE:
	case WEFT_UPSTREAM_LENT:
	case WEFT_UPSTREAM_REPLYING:
		break;
	default:
		return false;
	}
	waiting = look_at(u);
	if (state_load(u->shared) != word)
		return true;
	if (waiting == WAITING_NOTHING) {
		trust_again(u);
		return false;
	}
	if (WEFT_STATE(word) == WEFT_UPSTREAM_IDLE)
		return !close_ended(u, word, waiting == WAITING_BYTES ? POOL_CLOSE_UNASKED_BYTES : POOL_CLOSE_PEER);
	if (!was_doubted) {
		doubt(u);
		return false;
	}
	/* A program that lends writes the record after the state, and may be preempted in between for as long as the machine pleases: told by what
	 * stood there before, its client would wait for ever. One that is gone is the sweep's. */
	if (WEFT_STATE(word) == WEFT_UPSTREAM_LENT && !is_awaited(u)) {
		doubt(u);
		return false;
	}
	if (WEFT_STATE(word) == WEFT_UPSTREAM_REPLYING)
		return !upstream_cut(u, word, POOL_CLOSE_CUT);
	if (waiting == WAITING_END)
		return !upstream_fail(u, word, 503, POOL_CLOSE_FAILED);
	/* A response that no program claimed (there is none for this path on this kernel): it is the worker's. */
	state_swap(u->shared, word, WEFT_UPSTREAM_RELAYED);
	return true;
}

void upstream_look(struct upstream *u)
{
	/* Doubts are settled only by the timer, so that every judgement has its delay. */
	bool was_doubted = u->is_doubted && !event_pending(&u->second_look, EV_TIMEOUT, NULL);

	if (u->is_handed || u->is_dialling)
		return;
	/* Each turn follows a swap by a program; a slot has few states, and only a new lease begins them anew. */
	while (judge(u, state_load(u->shared), was_doubted))
		;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What other threads tell the control loop: a relay is over, a client is gone, a server keeps connections. */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "pool/internal.h"

static void post(struct pool *pool, struct mail *mail)
{
	uint64_t one = 1;

	mail->next = NULL;
	pthread_mutex_lock(&pool->mail_lock);
	*pool->mail_tail = mail;
	pool->mail_tail = &mail->next;
	pthread_mutex_unlock(&pool->mail_lock);
	/* Fails only when the counter is full: then it is readable already. */
	if (write(pool->mail_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_err(-errno, "waking the control loop");
}

void pool_relay_done(struct pool *pool, uint64_t exchange, bool is_reusable)
{
	/* While the relay runs the slot stays as it is: the control loop waits for this very message, whose room is there already. */
	struct upstream *u = pool->upstreams[WEFT_EXCHANGE_SLOT(exchange)];

	weft_assert(u && u->is_handed);
	u->done.kind = MAIL_RELAY_DONE;
	u->done.exchange = exchange;
	u->done.is_reusable = is_reusable;
	post(pool, &u->done);
}

void pool_client_gone(struct pool *pool, uint64_t client_cookie, uint64_t exchange)
{
	struct mail *mail;

	if (!exchange)
		return;
	mail = calloc(1, sizeof(*mail));
	if (!mail)
		return; /* the sweep finds it a little later */
	mail->kind = MAIL_CLIENT_GONE;
	mail->exchange = exchange;
	mail->client_cookie = client_cookie;
	post(pool, mail);
}

void pool_endpoint_keeps(struct pool *pool, uint32_t endpoint_id, bool keeps)
{
	uint8_t before, now;
	struct mail *mail;

	if (!endpoint_id || endpoint_id >= WEFT_ENDPOINTS_MAX)
		return;
	before = __atomic_load_n(&pool->endpoints[endpoint_id].keeps, __ATOMIC_RELAXED);
	do {
		now = keeps ? KEEPS_SURELY : before ? before - 1 : 0;
		if (now == before)
			return;
	} while (!__atomic_compare_exchange_n(&pool->endpoints[endpoint_id].keeps, &before, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	if (before || !now)
		return;
	mail = calloc(1, sizeof(*mail));
	if (!mail)
		return; /* the next miss finds it said */
	mail->kind = MAIL_ENDPOINT_KEEPS;
	mail->endpoint_id = endpoint_id;
	post(pool, mail);
}

/* The upstream of an exchange that is still open, or NULL. */
static struct upstream *find(struct pool *pool, uint64_t exchange)
{
	uint32_t slot = WEFT_EXCHANGE_SLOT(exchange);
	struct upstream *u = slot < pool->kernel.upstream_count ? pool->upstreams[slot] : NULL;

	return u && WEFT_LEASE(state_load(u->shared)) == WEFT_EXCHANGE_LEASE(exchange) ? u : NULL;
}

/* Another weftd has the pool that it belongs to. */
static void kept_relay_done(struct pool *pool, struct upstream *u)
{
	uint32_t slot = u->slot;

	upstream_close_from(u, state_load(u->shared), POOL_CLOSE_RELAY);
	if (pool->kept.slot_over)
		pool->kept.slot_over(pool->kept.arg, slot);
}

static void relay_done(struct pool *pool, const struct mail *mail)
{
	struct upstream *u = find(pool, mail->exchange);
	bool is_reusable = mail->is_reusable;
	uint64_t word;

	weft_assert(u && u->is_handed);
	u->is_handed = false;
	u->is_distance_known = false; /* the relay may have left another window */
	upstream_set_busy(u, false);
	if (pool->is_leaving) {
		kept_relay_done(pool, u);
		return;
	}
	word = state_load(u->shared);
	/* A request that is not whole leaves its rest on the connection. */
	if (is_reusable && !u->shared->request_remaining && !is_marked_dead(u->shared) && upstream_is_quiet(u))
		upstream_idle(u, word);
	else
		upstream_close_from(u, word, POOL_CLOSE_RELAY);
}

static void client_gone(struct pool *pool, const struct mail *mail)
{
	struct upstream *u = find(pool, mail->exchange);

	while (u && !u->is_handed) {
		uint64_t word = state_load(u->shared);
		uint32_t state = WEFT_STATE(word);

		if (WEFT_LEASE(word) != WEFT_EXCHANGE_LEASE(mail->exchange) || u->shared->client_cookie != mail->client_cookie ||
		    (state != WEFT_UPSTREAM_LENT && state != WEFT_UPSTREAM_REPLYING && state != WEFT_UPSTREAM_RELAYED) ||
		    upstream_close_from(u, word, POOL_CLOSE_CLIENT_GONE))
			return;
	}
}

static void endpoint_keeps(struct pool *pool, uint32_t endpoint_id)
{
	if (!pool->is_leaving)
		endpoint_pools_begin(pool, endpoint_id);
}

void mail_read(struct pool *pool)
{
	struct mail *mail, *next;
	uint64_t count;

	if (read(pool->mail_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_err(-errno, "reading the mailbox");
	pthread_mutex_lock(&pool->mail_lock);
	mail = pool->mail_head;
	pool->mail_head = NULL;
	pool->mail_tail = &pool->mail_head;
	pthread_mutex_unlock(&pool->mail_lock);
	for (; mail; mail = next) {
		next = mail->next;
		if (mail->kind == MAIL_RELAY_DONE) {
			relay_done(pool, mail); /* may free the upstream, and the message with it */
			continue;
		}
		if (mail->kind == MAIL_ENDPOINT_KEEPS)
			endpoint_keeps(pool, mail->endpoint_id);
		else if (pool->kept.client_gone)
			pool->kept.client_gone(pool->kept.arg, mail->client_cookie, mail->exchange);
		else
			client_gone(pool, mail);
		free(mail);
	}
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
	mail_read(arg);
}

int mail_new(struct pool *pool)
{
	pool->mail_tail = &pool->mail_head;
	pool->mail_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (pool->mail_fd < 0)
		return -errno;
	pool->mail_event = event_new(pool->options.base, pool->mail_fd, EV_READ | EV_PERSIST, on_mail, pool);
	return pool->mail_event && event_add(pool->mail_event, NULL) == 0 ? 0 : -ENOMEM;
}

void mail_free(struct pool *pool)
{
	struct mail *mail, *next;

	if (pool->mail_event)
		event_free(pool->mail_event);
	if (pool->mail_fd >= 0)
		close(pool->mail_fd);
	for (mail = pool->mail_head; mail; mail = next) {
		next = mail->next;
		if (mail->kind != MAIL_RELAY_DONE)
			free(mail);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The pool as a whole: made, told of pods and events, ended. */
#include "pool/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "pool/internal.h"

static void set_default(uint32_t *value, uint32_t to)
{
	if (!*value)
		*value = to;
}

static void set_defaults(struct pool_options *o)
{
	set_default(&o->redirect_limit_bytes, WEFT_REDIRECT_LIMIT_DEFAULT);
	set_default(&o->pod_quota, o->kernel.upstream_count / 8 ? o->kernel.upstream_count / 8 : 1);
	set_default(&o->pod_pools, o->kernel.pool_count / 4 ? o->kernel.pool_count / 4 : 1);
	set_default(&o->pool_slots, WEFT_POOL_SLOTS_MAX);
	set_default(&o->idle_timeout_ms, 60000);
	set_default(&o->unused_timeout_ms, 300000);
	set_default(&o->sweep_interval_ms, 100);
	set_default(&o->second_look_ms, 10);
	set_default(&o->quarantine_ms, 1000);
	set_default(&o->backoff_min_ms, 100);
	set_default(&o->backoff_max_ms, 10000);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	pool_sweep(arg);
}

int sweep_start(struct pool *pool)
{
	struct timeval interval = timeval_of_ms(pool->options.sweep_interval_ms);

	pool->sweep = event_new(pool->options.base, -1, EV_PERSIST, on_sweep, pool);
	return pool->sweep && event_add(pool->sweep, &interval) == 0 ? 0 : -ENOMEM;
}

/* Arrays that an unclean end left as they were, under programs that were loaded anew. */
static void reset_arrays(struct pool *pool)
{
	for (uint32_t i = 0; i < pool->kernel.pool_count; i++) {
		struct weft_pool *p = &pool->kernel.pools[i];

		if (p->pod_id || p->endpoint_id)
			pool->kernel.index_delete(pool->kernel.arg, p->pod_id, p->endpoint_id);
		memset(p, 0, sizeof(*p));
	}
	for (uint32_t i = 0; i < pool->kernel.upstream_count; i++) {
		slot_reset(&pool->kernel.upstreams[i]);
		slot_give(pool, i, 0);
	}
}

int pool_new(struct pool **out, const struct pool_options *options)
{
	_cleanup_(pool_free) struct pool *pool = calloc(1, sizeof(*pool));
	int r;

	if (!pool)
		return -ENOMEM;
	pool->options = *options;
	pool->kernel = options->kernel;
	pool->callbacks = options->callbacks;
	pool->mail_fd = -1;
	pthread_mutex_init(&pool->mail_lock, NULL);
	set_defaults(&pool->options);
	pool->endpoints = calloc(WEFT_ENDPOINTS_MAX, sizeof(*pool->endpoints));
	pool->pools = calloc(pool->kernel.pool_count, sizeof(*pool->pools));
	pool->pool_freed_ns = calloc(pool->kernel.pool_count, sizeof(*pool->pool_freed_ns));
	if (!pool->endpoints || !pool->pools || !pool->pool_freed_ns)
		return -ENOMEM;
	r = slots_new(pool);
	if (!r)
		r = mail_new(pool);
	if (!r && !options->adopt) {
		reset_arrays(pool);
		r = sweep_start(pool);
	}
	if (r)
		return r;
	*out = TAKE_PTR(pool);
	return 0;
}

/* Takes the worker's side of an upstream away; descriptor and slot stay for the next worker. */
static void let_go(struct upstream *u)
{
	event_del(&u->watch);
	event_del(&u->second_look);
	if (!u->entry) {
		close(u->fd);
		slot_reset(u->shared);
	}
	free(u);
}

void pool_free(struct pool **pool_ptr)
{
	struct endpoint_pool *owner;
	struct pool *pool = *pool_ptr;
	struct pool_pod *pod, *next;

	*pool_ptr = NULL;
	if (!pool)
		return;
	if (pool->sweep)
		event_free(pool->sweep);
	mail_free(pool);
	for (uint32_t i = 0; i < pool->active_count; i++)
		let_go(pool->active[i]);
	HASH_CLEAR(hh, pool->index);
	for (uint32_t i = 0; pool->pools && i < pool->kernel.pool_count; i++) {
		owner = pool->pools[i];
		free(owner);
	}
	HASH_ITER(hh, pool->pods, pod, next) {
		HASH_DEL(pool->pods, pod);
		free(pod);
	}
	slots_free(pool);
	free(pool->is_elsewhere);
	free(pool->pool_freed_ns);
	free(pool->pools);
	free(pool->endpoints);
	pthread_mutex_destroy(&pool->mail_lock);
	free(pool);
}

void pool_close_all(struct pool *pool)
{
	mail_read(pool); /* relays that are over by now */
	for (uint32_t i = pool->active_count; i-- > 0;) {
		struct upstream *u = pool->active[i];

		u->is_handed = false;
		while (!upstream_close_from(u, state_load(u->shared), POOL_CLOSE_STOP))
			;
	}
	for (uint32_t i = 0; i < pool->kernel.pool_count; i++) {
		if (pool->pools[i])
			endpoint_pool_free(pool, pool->pools[i]);
	}
}

void pool_watch_relays(struct pool *pool)
{
	pool->options.is_told_of_relays = false;
	for (uint32_t i = pool->active_count; i-- > 0;) {
		struct upstream *u = i < pool->active_count ? pool->active[i] : NULL;
		uint64_t word = u ? state_load(u->shared) : 0;

		/* Those that dial, or that a relay has, are watched when they are idle. */
		if (!u || u->is_dialling || u->is_handed)
			continue;
		if (WEFT_STATE(word) == WEFT_UPSTREAM_IDLE && upstream_close_from(u, word, POOL_CLOSE_STOP))
			continue;
		if (!u->is_doubted && upstream_watch(u))
			log_error("slot %u can't be watched: the sweep will look at it", u->slot);
	}
}

int pool_pod_add(struct pool *pool, uint32_t pod_id, int netns_fd, const struct weft_address addresses[WEFT_FAMILIES])
{
	struct pool_pod *pod = pool_pod_find(pool, pod_id);

	if (pod && !pod->is_leaving)
		return -EEXIST;
	if (!pod) {
		pod = calloc(1, sizeof(*pod));
		if (!pod)
			return -ENOMEM;
		pod->pod_id = pod_id;
		HASH_ADD(hh, pool->pods, pod_id, sizeof(pod->pod_id), pod);
		if (!pod->hh.tbl) {
			free(pod);
			return -ENOMEM;
		}
	}
	pod->is_leaving = false;
	pod->netns_fd = netns_fd;
	memcpy(pod->addresses, addresses, sizeof(pod->addresses));
	return 0;
}

void pool_pod_remove(struct pool *pool, uint32_t pod_id)
{
	struct pool_pod *pod = pool_pod_find(pool, pod_id);

	if (!pod || pod->is_leaving)
		return;
	pod->is_leaving = true;
	pod->netns_fd = -1;
	pod->upstream_count++; /* holds it until the end of this function */
	pool_drop_stale(pool);
	pool_pod_forget_upstream(pool, pod);
}

static void on_miss(struct pool *pool, uint32_t pod_id, uint32_t endpoint_id)
{
	struct endpoint_pool *owner = endpoint_pool_find(pool, pod_id, endpoint_id);
	const struct pool_pod *pod = pool_pod_find(pool, pod_id);
	int r;

	pool->counts.misses++;
	/* Still on its way from a program that began before either went. */
	if (!pod || pod->is_leaving || !endpoint_find(pool, endpoint_id))
		return;
	if (!owner) {
		r = endpoint_pool_new(pool, pod_id, endpoint_id, &owner);
		if (r) {
			pool_complain(pool, r, "no further pool can be made");
			return;
		}
	}
	owner->misses_seen = __atomic_load_n(&owner->shared->misses, __ATOMIC_RELAXED);
	owner->last_used_ns = now_ns();
	endpoint_pool_grow(pool, owner, true);
}

static void look_at_slot(struct pool *pool, uint32_t slot, uint64_t cookie)
{
	struct upstream *u = slot < pool->kernel.upstream_count ? pool->upstreams[slot] : NULL;

	if (u && u->shared->cookie == cookie)
		upstream_look(u);
}

void pool_event(struct pool *pool, const struct weft_event *event)
{
	switch (event->kind) {
	case WEFT_EVENT_POOL_MISS:
		on_miss(pool, event->pod_id, event->endpoint_id);
		break;
	default:
		look_at_slot(pool, event->slot, event->cookie);
		break;
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* FREE -> DIALLING -> IDLE: a connection from inside the pod's network namespace, so that its source address is the pod's. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/tcp.h"
#include "kube/netns.h"
#include "pool/internal.h"

#define COMPLAINT_INTERVAL_NS (10000 * NS_PER_MS)
#define KEEPALIVE_IDLE_S 30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_COUNT 3

static int socket_in(const struct pool_pod *pod, int family, int *out)
{
	int fd;

	if (pod->netns_fd >= 0)
		return netns_socket(pod->netns_fd, family, SOCK_STREAM | SOCK_NONBLOCK, out);
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*out = fd;
	return 0;
}

static int bind_source(int fd, const struct weft_address *address)
{
	union weft_sockaddr source;
	socklen_t len = weft_sockaddr_fill(&source, address, 0);
	int on = 1;

	if (!weft_address_is_set(address))
		return 0;
	/* Ports are then shared between destinations, as for a client that doesn't bind. */
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0 ||
	    bind(fd, &source.any, len) < 0)
		return -errno;
	return 0;
}

static void set_options(const struct pool *pool, int fd)
{
	int on = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S, count = KEEPALIVE_COUNT;
	/* A request of redirect_limit bytes must fit whole: the programs send only what fits. */
	int size = (int)(pool->options.redirect_limit_bytes * 2);

	/* None of these can fail on a TCP socket but SNDBUFFORCE, for want of CAP_NET_ADMIN; then fewer requests fit. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	/* Redirected bytes leave the legs quiet for long. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

void pool_complain(struct pool *pool, int r, const char *what)
{
	uint64_t now = now_ns();

	if (pool->complained_ns && now - pool->complained_ns < COMPLAINT_INTERVAL_NS)
		return;
	pool->complained_ns = now;
	log_warn(r, "no further upstream is dialled: %s; requests that find none idle go through the proxy", what);
}

void endpoint_pool_back_off(struct pool *pool, struct endpoint_pool *owner)
{
	uint64_t now = now_ns();
	uint32_t jitter = 0;

	if (now < owner->backoff_until_ns)
		return; /* several dials of one round failed together */
	owner->backoff_ms = owner->backoff_ms ? owner->backoff_ms * 2 : pool->options.backoff_min_ms;
	if (owner->backoff_ms > pool->options.backoff_max_ms)
		owner->backoff_ms = pool->options.backoff_max_ms;
	/* Up to a quarter more, so that the pods of a node don't knock at the same instant. */
	if (getrandom(&jitter, sizeof(jitter), GRND_NONBLOCK) < 0)
		jitter = (uint32_t)now;
	owner->backoff_until_ns = now + (owner->backoff_ms + jitter % (owner->backoff_ms / 4 + 1)) * NS_PER_MS;
}

static void dial_failed(struct upstream *u, int r)
{
	u->pool->counts.dials_failed++;
	endpoint_pool_back_off(u->pool, u->owner);
	log_write_error(LOG_LEVEL_DEBUG, __FILE__, r, "dialling endpoint %u (%s) for pod %u, again in %u ms", u->owner->key.endpoint_id,
			weft_host_text(&u->owner->address, u->owner->port_be).text, u->owner->key.pod_id, u->owner->backoff_ms);
	upstream_drop(u, POOL_CLOSE_DIAL);
}

static int connected(struct upstream *u)
{
	struct pool *pool = u->pool;
	int error = 0, r;
	socklen_t len = sizeof(error);

	if (getsockopt(u->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	if (error)
		return -error;
	set_options(pool, u->fd);
	/* What a server gets rid of before a response is relayed, and its reader looked at. */
	tcp_set_window(u->fd, TCP_WINDOW_MESSAGE);
	r = pool->kernel.insert(pool->kernel.arg, u->fd, u->shared->cookie);
	if (r)
		return r;
	u->is_dialling = false;
	u->owner->dialling_count--;
	pool->dialling_count--;
	u->owner->backoff_until_ns = 0; /* how long the next one is, is forgotten when this one is used */
	return 0;
}

static void dial_over(evutil_socket_t fd, short what, void *arg)
{
	struct upstream *u = arg;
	struct endpoint_pool *owner = u->owner;
	struct pool *pool = u->pool;
	int r = what & EV_TIMEOUT ? -ETIMEDOUT : connected(u);

	event_del(&u->watch);
	if (r) {
		dial_failed(u, r);
		return;
	}
	upstream_idle(u, state_load(u->shared));
	/* The next miss is news again: growth goes by rounds, each as long as a dial. */
	if (pool->pools[owner->index] == owner)
		__atomic_store_n(&owner->shared->is_miss_reported, 0, __ATOMIC_RELEASE);
}

static int begin(struct upstream *u, uint32_t timeout_ms)
{
	union weft_sockaddr to;
	socklen_t len = weft_sockaddr_fill(&to, &u->owner->address, u->owner->port_be);
	struct timeval timeout = timeval_of_ms(timeout_ms);
	struct pool *pool = u->pool;
	int r;

	r = pool->kernel.mark(pool->kernel.arg, u->fd, u->slot, u->owner->key.pod_id);
	if (!r)
		r = bind_source(u->fd, &u->pod->addresses[weft_address_family(&u->owner->address)]);
	if (r)
		return r;
	if (connect(u->fd, &to.any, len) < 0 && errno != EINPROGRESS)
		return -errno;
	if (event_assign(&u->watch, pool->options.base, u->fd, EV_WRITE, dial_over, u) < 0 || event_add(&u->watch, &timeout) < 0)
		return -ENOMEM;
	return 0;
}

static int free_position(const struct weft_pool *shared, uint32_t *position)
{
	for (uint32_t i = 0; i < WEFT_POOL_SLOTS_MAX; i++) {
		if (!__atomic_load_n(&shared->slots[i], __ATOMIC_RELAXED)) {
			*position = i;
			return 0;
		}
	}
	return -ENOSPC;
}

/* Fills a free slot and says DIALLING last: from then on sock_ops may find it. */
static void slot_fill(struct weft_upstream *s, const struct endpoint_pool *owner, uint32_t position, uint64_t cookie)
{
	uint32_t lease = WEFT_LEASE(state_load(s)) + 1; /* no exchange of the slot's former life is mistaken for one of this */

	weft_assert(WEFT_STATE(state_load(s)) == WEFT_UPSTREAM_FREE);
	s->pod_id = owner->key.pod_id;
	s->endpoint_id = owner->key.endpoint_id;
	s->pool = owner->index;
	s->pool_position = position;
	s->is_dead = 0;
	s->exchange_count = 0;
	__atomic_store_n(&s->cookie, cookie, __ATOMIC_RELEASE);
	__atomic_store_n(&s->state, WEFT_STATE_WORD(lease, WEFT_UPSTREAM_DIALLING), __ATOMIC_RELEASE);
}

static int check_limits(struct pool *pool, const struct endpoint_pool *owner, const struct pool_pod *pod)
{
	if (pod->upstream_count >= pool->options.pod_quota) {
		pool->counts.dials_refused_quota++;
		pool_complain(pool, 0, "a pod has as many as one pod may have (--limit pod-upstreams)");
		return -EDQUOT;
	}
	if (owner->upstream_count >= pool->options.pool_slots) {
		pool->counts.dials_refused_endpoint++;
		return -ENOSPC;
	}
	return pool->dialling_count >= DIALS_AT_ONCE_MAX ? -EAGAIN : 0;
}

int upstream_dial(struct pool *pool, struct endpoint_pool *owner)
{
	const struct endpoint *endpoint = endpoint_find(pool, owner->key.endpoint_id);
	struct pool_pod *pod = pool_pod_find(pool, owner->key.pod_id);
	_cleanup_close_ int fd = -1;
	uint32_t slot, position;
	uint64_t cookie;
	socklen_t len = sizeof(cookie);
	struct upstream *u;
	int r;

	if (owner->is_leaving || !endpoint || !pod || pod->is_leaving)
		return -ENOENT;
	if (now_ns() < owner->backoff_until_ns)
		return -EAGAIN;
	r = check_limits(pool, owner, pod);
	if (!r)
		r = free_position(owner->shared, &position);
	if (r)
		return r;
	r = socket_in(pod, weft_address_af(&owner->address), &fd);
	if (r) {
		pool->counts.dials_refused_descriptors++;
		pool_complain(pool, r, "no socket could be made");
		return r;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		return -errno;
	r = slot_take(pool, &slot);
	if (r) {
		pool->counts.dials_refused_slots++;
		pool_complain(pool, 0, "all slots are taken (--limit upstreams)");
		return r;
	}
	/* Before the descriptor is in the table: a worker that dies here leaves a slot that no descriptor backs. */
	slot_fill(&pool->kernel.upstreams[slot], owner, position, cookie);
	r = upstream_new(pool, owner, pod, slot, fd, &u);
	if (r) {
		slot_reset(&pool->kernel.upstreams[slot]);
		slot_give(pool, slot, now_ns());
		return r;
	}
	TAKE_FD(fd);
	u->is_dialling = true;
	owner->dialling_count++;
	pool->dialling_count++;
	pool->counts.dials++;
	__atomic_store_n(&owner->shared->slots[position], slot + 1, __ATOMIC_RELEASE);
	r = begin(u, endpoint->connect_timeout_ms ? endpoint->connect_timeout_ms : CONNECT_TIMEOUT_DEFAULT_MS);
	if (r)
		dial_failed(u, r);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges and tunnels that are over, by who talked to whom and how it ended: what becomes metrics by workload. Each thread has a table of its own, which the
 * control loop empties every now and then; the lock is for that alone. */
#include "proxy/internal.h"

#include <time.h>

#define KINDS_MAX 4096u /* of one thread, between two times that somebody takes them */
#define NS_PER_MS 1000000ull

struct kind {
	struct weft_traffic_key key;
	struct weft_traffic_sums sums;
	UT_hash_handle hh;
};

static u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * 1000 * NS_PER_MS + (u64)now.tv_nsec;
}

/* The proxy's replies are of all sizes. */
static u32 size_bucket(u64 bytes)
{
	if (bytes <= 10)
		return !bytes ? 0 : bytes <= 1 ? 1 : bytes <= 5 ? 2 : 3;
	return WEFT_SIZE_FIRST + weft_size_bucket(bytes);
}

static struct kind *find(struct thread *thread, const struct weft_traffic_key *key)
{
	struct kind *kind;

	HASH_FIND(hh, thread->traffic, key, sizeof(*key), kind);
	return kind;
}

static struct kind *add(struct thread *thread, const struct weft_traffic_key *key)
{
	struct kind *kind = calloc(1, sizeof(*kind));

	if (!kind)
		return NULL;
	kind->key = *key;
	HASH_ADD(hh, thread->traffic, key, sizeof(kind->key), kind);
	if (!kind->hh.tbl) {
		free(kind);
		return NULL;
	}
	thread->traffic_count++;
	return kind;
}

/* NULL: not even of those that could not be told apart. */
static struct weft_traffic_sums *sums_of(struct thread *thread, const struct weft_traffic_key *key)
{
	static const struct weft_traffic_key others, other_tunnels = {.flag = WEFT_FLAG_TCP};
	struct kind *kind = find(thread, key);

	if (!kind && thread->traffic_count < KINDS_MAX)
		kind = add(thread, key);
	if (kind)
		return &kind->sums;
	key = key->flag == WEFT_FLAG_TCP ? &other_tunnels : &others;
	kind = find(thread, key);
	if (!kind)
		kind = add(thread, key);
	return kind ? &kind->sums : NULL;
}

static struct weft_traffic_key key_of(const struct exchange *exchange)
{
	return (struct weft_traffic_key){
		.pod_id = exchange->connection->pod->is.pod_id,
		.endpoint_id = exchange->endpoint_id,
		.cluster_id = exchange->cluster_id,
	};
}

static u16 flag_of(const struct exchange *exchange)
{
	if (!exchange->account.is_complete && !exchange->is_switching && !exchange->is_cut)
		return WEFT_FLAG_CLIENT_GONE;
	if (exchange->is_cut && !exchange->account.flag)
		return WEFT_FLAG_UPSTREAM_CLOSED;
	return exchange->account.flag;
}

void account_begin(struct exchange *exchange)
{
	if (!exchange->account.start_ns)
		exchange->account.start_ns = now_ns();
	exchange->account.request_base = exchange->connection->taken;
}

void account_reason(struct exchange *exchange, enum proxy_reason reason, u16 status)
{
	static const u8 flags[PROXY_REASON_COUNT] = {
		[PROXY_REASON_BAD_REQUEST] = WEFT_FLAG_BAD_REQUEST,
		[PROXY_REASON_HEAD_TOO_LARGE] = WEFT_FLAG_BAD_REQUEST,
		[PROXY_REASON_VERSION] = WEFT_FLAG_BAD_REQUEST,
		[PROXY_REASON_CODING] = WEFT_FLAG_BAD_REQUEST,
		[PROXY_REASON_NOT_HTTP] = WEFT_FLAG_BAD_REQUEST,
		[PROXY_REASON_BAD_BODY] = WEFT_FLAG_BAD_REQUEST,
		[PROXY_REASON_NO_IMAGE] = WEFT_FLAG_NO_ROUTE,
		[PROXY_REASON_NO_LISTENER] = WEFT_FLAG_NO_ROUTE,
		[PROXY_REASON_NO_FILTER_CHAIN] = WEFT_FLAG_NO_ROUTE,
		[PROXY_REASON_LISTENER_REFUSED] = WEFT_FLAG_NO_ROUTE,
		[PROXY_REASON_ROUTE_NOT_FOUND] = WEFT_FLAG_NO_ROUTE,
		[PROXY_REASON_ROUTE_REFUSED] = WEFT_FLAG_NO_ROUTE,
		[PROXY_REASON_NO_CLUSTER] = WEFT_FLAG_NO_CLUSTER,
		[PROXY_REASON_CLUSTER_REFUSED] = WEFT_FLAG_NO_CLUSTER,
		[PROXY_REASON_OVERFLOW] = WEFT_FLAG_OVERFLOW,
		[PROXY_REASON_NO_HEALTHY_UPSTREAM] = WEFT_FLAG_NO_HEALTHY,
		[PROXY_REASON_CONNECT_FAILURE] = WEFT_FLAG_CONNECT_FAILURE,
		[PROXY_REASON_CONNECT_TIMEOUT] = WEFT_FLAG_CONNECT_FAILURE,
		[PROXY_REASON_UPSTREAM_CLOSED] = WEFT_FLAG_UPSTREAM_CLOSED,
		[PROXY_REASON_UPSTREAM_PROTOCOL] = WEFT_FLAG_UPSTREAM_PROTOCOL,
		[PROXY_REASON_CUT_IN_BODY] = WEFT_FLAG_UPSTREAM_CLOSED,
		[PROXY_REASON_ADOPTED_ERROR] = WEFT_FLAG_UPSTREAM_CLOSED,
		[PROXY_REASON_TIMEOUT] = WEFT_FLAG_TIMEOUT,
		[PROXY_REASON_FAULT] = WEFT_FLAG_FAULT,
	};

	exchange->account.flag = flags[reason];
	if (reason == PROXY_REASON_KERNEL_ERROR)
		exchange->account.flag = status == 504 ? WEFT_FLAG_TIMEOUT : WEFT_FLAG_UPSTREAM_CLOSED;
}

static void count_exchange(struct exchange *exchange)
{
	struct account *account = &exchange->account;
	struct thread *thread = exchange->connection->thread;
	u64 request_bytes = exchange->is_relay ? account->request_bytes : exchange->connection->taken - account->request_base;
	u64 duration_ns = now_ns() - account->start_ns;
	struct weft_traffic_key key = key_of(exchange);
	struct weft_traffic_sums *sums;

	key.status = exchange->has_head ? exchange->status : 0;
	key.flag = flag_of(exchange);
	pthread_mutex_lock(&thread->traffic_lock);
	sums = sums_of(thread, &key);
	if (sums) {
		sums->duration_ns += duration_ns;
		sums->request_bytes += request_bytes;
		sums->response_bytes += account->response_bytes;
		sums->durations[weft_duration_bucket(duration_ns)]++;
		sums->requests[size_bucket(request_bytes)]++;
		sums->responses[size_bucket(account->response_bytes)]++;
	}
	pthread_mutex_unlock(&thread->traffic_lock);
}

static void count_tunnel(struct exchange *exchange, u32 opened, u32 closed)
{
	struct account *account = &exchange->account;
	struct connection *connection = exchange->connection;
	struct thread *thread = connection->thread;
	struct weft_traffic_key key = key_of(exchange);
	struct weft_traffic_sums *sums;

	key.flag = WEFT_FLAG_TCP;
	pthread_mutex_lock(&thread->traffic_lock);
	sums = sums_of(thread, &key);
	if (sums) {
		sums->opened += opened;
		sums->closed += closed;
		sums->request_bytes += closed ? connection->taken - account->request_base : 0;
		sums->response_bytes += closed ? account->response_bytes : 0;
	}
	pthread_mutex_unlock(&thread->traffic_lock);
}

void account_tunnel(struct exchange *exchange)
{
	if (exchange->account.start_ns)
		count_tunnel(exchange, 1, 0);
	exchange->account.is_complete = true;
}

void account_end(struct exchange *exchange)
{
	if (!exchange->account.start_ns)
		return;
	if (exchange->account.is_tunnel)
		count_tunnel(exchange, !exchange->account.is_complete, 1); /* it may end before it had an endpoint */
	else
		count_exchange(exchange);
	exchange->account.start_ns = 0;
}

void account_release(struct thread *thread)
{
	struct kind *kind, *next;

	HASH_ITER(hh, thread->traffic, kind, next) {
		HASH_DEL(thread->traffic, kind);
		free(kind);
	}
	thread->traffic_count = 0;
}

/* ---- outside ------------------------------------------------------------------------------------------------------------------- */

void proxy_traffic(struct proxy *proxy, void (*take)(void *arg, const struct weft_traffic_key *key, const struct weft_traffic_sums *sums), void *arg)
{
	for (u32 i = 0; i < proxy->thread_count; i++) {
		struct thread *thread = &proxy->threads[i];
		struct kind *kinds, *kind, *next;

		pthread_mutex_lock(&thread->traffic_lock);
		kinds = TAKE_PTR(thread->traffic);
		thread->traffic_count = 0;
		pthread_mutex_unlock(&thread->traffic_lock);
		HASH_ITER(hh, kinds, kind, next) {
			take(arg, &kind->key, &kind->sums);
			HASH_DEL(kinds, kind);
			free(kind);
		}
	}
}

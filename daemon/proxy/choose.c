/* SPDX-License-Identifier: Apache-2.0 */
/* From a cluster to an upstream: the engine's balancer over the current endpoint image, circuit breaker, and further tries when a
 * connect fails. */
#include "proxy/policies.h"

int choose_cluster(struct connection *connection, weft_ref ref, u32 *cluster_id)
{
	struct weft_image_handle image = thread_routes(connection->thread, connection->pod->is.scope);
	struct weft_cursor cursor = {0};

	return weft_choose_cluster(&image, &cursor, ref, thread_random(connection->thread), cluster_id, NULL, NULL, NULL);
}

static int refuse(u16 *status, const char **body, enum proxy_reason reason, const char *text)
{
	*status = 503;
	*body = text;
	return (int)reason;
}

/* The endpoint that a program picked for this request, if it is still one of the cluster's: that was its turn. */
static bool take_picked(struct exchange *exchange, const struct weft_image_handle *image, const struct weft_cluster *cluster, struct weft_endpoint *endpoint)
{
	struct weft_cursor cursor = {0};
	u32 picked = exchange->picked;

	exchange->picked = 0;
	if (!picked || cluster->policy == WEFT_LB_HASH)
		return false;
	for (u32 i = 0; i < cluster->endpoint_count; i++) {
		const struct weft_endpoint *member = weft_member(image, &cursor, cluster, i);

		if (member && member->id == picked) {
			*endpoint = *member;
			return true;
		}
	}
	return false;
}

int choose_endpoint(struct exchange *exchange, u32 attempt, struct weft_endpoint *endpoint, u32 *connect_timeout_ms, u16 *status, const char **body)
{
	struct connection *connection = exchange->connection;
	struct thread *thread = connection->thread;
	const struct proxy_backend *backend = &thread->proxy->backend;
	const struct weft_balance_state state = {backend->clusters, WEFT_CLUSTERS_MAX, backend->endpoints, WEFT_ENDPOINTS_MAX};
	struct weft_balance_query query = {
		.image = thread_endpoints(thread, connection->pod->is.scope),
		.cluster_id = exchange->cluster_id,
		.random = thread_random(thread),
		.attempt = attempt,
		.hash_state = exchange->hash_state,
		.hash = exchange->hash,
		.state = &state,
	};
	const struct weft_cluster *cluster;
	int r;

	if (!query.image.base)
		return refuse(status, body, PROXY_REASON_NO_IMAGE, NULL);
	cluster = weft_at(&query.image, weft_find_cluster(&query.image, exchange->cluster_id));
	if (!cluster) {
		*body = NULL;
		*status = exchange->missing_status ? exchange->missing_status : 503;
		return PROXY_REASON_NO_CLUSTER;
	}
	*connect_timeout_ms = cluster->connect_timeout_ms ? cluster->connect_timeout_ms : CONNECT_TIMEOUT_DEFAULT_MS;
	switch (cluster->kind) {
	case WEFT_CLUSTER_ORIGINAL_DST:
		*endpoint = (struct weft_endpoint){.address = connection->original, .port_be = connection->original_port_be};
		return 0;
	case WEFT_CLUSTER_BLACK_HOLE:
		return refuse(status, body, PROXY_REASON_NO_HEALTHY_UPSTREAM, "no healthy upstream");
	case WEFT_CLUSTER_ENDPOINTS:
		break;
	default:
		return refuse(status, body, PROXY_REASON_CLUSTER_REFUSED, NULL);
	}
	if (cluster->verdict == WEFT_VERDICT_REFUSED)
		return refuse(status, body, PROXY_REASON_CLUSTER_REFUSED, NULL);
	if (exchange->cluster_id < WEFT_CLUSTERS_MAX && !exchange->is_counted &&
	    __atomic_load_n(&backend->clusters[exchange->cluster_id].active, __ATOMIC_RELAXED) >= cluster->max_requests)
		return refuse(status, body, PROXY_REASON_OVERFLOW, "upstream connect error or disconnect/reset before headers. reset reason: overflow");
	if (take_picked(exchange, &query.image, cluster, endpoint))
		return 0;
	if (priorities_pick(exchange, &query, cluster, endpoint))
		return 0;
	r = weft_pick_endpoint(&query, endpoint);
	if (r == -EOPNOTSUPP)
		return refuse(status, body, PROXY_REASON_CLUSTER_REFUSED, NULL);
	if (r)
		return refuse(status, body, PROXY_REASON_NO_HEALTHY_UPSTREAM, "no healthy upstream");
	return 0;
}

/* A proxy that dies in between leaves one too many, rather than one too few, until the next one begins. */
static void add(u32 *active, u32 *noted, int by)
{
	if (noted && by < 0)
		__atomic_fetch_add(noted, (u32)by, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(active, (u32)by, __ATOMIC_SEQ_CST);
	if (noted && by > 0)
		__atomic_fetch_add(noted, (u32)by, __ATOMIC_SEQ_CST);
}

void count_load(struct thread *thread, u32 cluster_id, u32 endpoint_id, int by)
{
	const struct proxy_backend *backend = &thread->proxy->backend;
	struct proxy_load *load = thread->proxy->load;

	if (cluster_id < WEFT_CLUSTERS_MAX)
		add(&backend->clusters[cluster_id].active, load ? &load->clusters[cluster_id] : NULL, by);
	if (endpoint_id && endpoint_id < WEFT_ENDPOINTS_MAX)
		add(&backend->endpoints[endpoint_id].proxied, load ? &load->endpoints[endpoint_id] : NULL, by);
}

static void count_active(struct exchange *exchange, int by)
{
	count_load(exchange->connection->thread, exchange->cluster_id, exchange->endpoint_id, by);
	exchange->is_counted = by > 0;
}

void exchange_release_upstream(struct exchange *exchange, bool is_reusable)
{
	struct upstream *upstream = TAKE_PTR(exchange->upstream);

	exchange->connect_deadline_ms = 0;
	if (exchange->is_counted)
		count_active(exchange, -1);
	if (!upstream)
		return;
	upstream->exchange = NULL;
	upstream_done(upstream, exchange->connection->pod, is_reusable);
}

/* Dials. 0 or -errno. */
static int open_upstream(struct exchange *exchange, const struct weft_endpoint *endpoint, u32 connect_timeout_ms)
{
	int r;

	exchange->endpoint_id = endpoint->id;
	if (exchange->policies)
		exchange->policies->has_auto_host = false;
	count_active(exchange, 1);
	exchange->attempts++;
	r = upstream_open(exchange, endpoint);
	if (r) {
		count_active(exchange, -1);
		return r;
	}
	if (!exchange->upstream->is_connected) {
		exchange->connect_deadline_ms = now_ms() + connect_timeout_ms;
		connection_timer(exchange->connection);
	}
	return 0;
}

/* One try. 0; -errno: the connect failed at once; -ECANCELED: answered. */
static int try_upstream(struct exchange *exchange)
{
	u32 further = retry_other_hosts(exchange);
	struct weft_endpoint endpoint = {0};
	const char *body = NULL;
	u32 connect_timeout_ms = 0;
	u16 status = 0;
	int r;

	for (u32 i = 0; i <= further; i++) {
		r = choose_endpoint(exchange, i, &endpoint, &connect_timeout_ms, &status, &body);
		if (r) {
			const char *extra = r == PROXY_REASON_OVERFLOW ? "x-envoy-overloaded: true\r\n" : NULL;

			local_reply_headers(exchange, (enum proxy_reason)r, status, body, extra);
			return -ECANCELED;
		}
		if (!further || !retry_was_tried(exchange, &endpoint))
			break;
	}
	retry_remember(exchange, &endpoint);
	priorities_remember(exchange, &endpoint);
	return open_upstream(exchange, &endpoint, connect_timeout_ms);
}

int choose_once(struct exchange *exchange)
{
	struct weft_endpoint endpoint = {0};
	const char *body = NULL;
	u32 connect_timeout_ms = 0;
	u16 status = 0;

	if (choose_endpoint(exchange, 0, &endpoint, &connect_timeout_ms, &status, &body))
		return -EHOSTUNREACH;
	return open_upstream(exchange, &endpoint, connect_timeout_ms);
}

void choose_upstream(struct exchange *exchange)
{
	int r = try_upstream(exchange);

	if (r && r != -ECANCELED)
		response_fail(exchange, PROXY_REASON_CONNECT_FAILURE);
}

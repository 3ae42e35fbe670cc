/* SPDX-License-Identifier: Apache-2.0 */
/* Between the kernel's events, the pool and the proxy: the pool stands before the proxy in the pipeline and reaches it only through here. */
#include <errno.h>
#include <event2/event.h>
#include <unistd.h>

#include "base/log.h"
#include "datapath/datapath.h"
#include "pool/pool.h"
#include "proxy/proxy.h"
#include "worker/internal.h"
#include "weft/reason.h"

/* ---- exchanges that the kernel hands up ------------------------------------------------------------------------------------------ */

static void relay_done(void *arg, uint32_t slot, uint32_t lease, bool is_reusable)
{
	struct worker *worker = arg;

	pool_relay_done(worker->pool, WEFT_EXCHANGE(slot, lease), is_reusable);
}

/* What of the request will arrive on the anchor: only after an early answer. Else the program goes on sending it to the server. */
static uint64_t remaining_at_anchor(const struct pool_exchange *exchange)
{
	return exchange->record.passed_reason == WEFT_REASON_RESPONSE_EARLY ? exchange->record.request_remaining : 0;
}

/* As the client sent it: the head may have become shorter, too. */
static uint64_t request_bytes(const struct pool_exchange *exchange)
{
	return exchange->record.request_total - (uint64_t)(int64_t)(int32_t)exchange->record.head_growth;
}

static int relay(void *arg, const struct pool_exchange *exchange, int fd)
{
	struct worker *worker = arg;
	struct proxy_relay relay = {
		.client_cookie = exchange->client_cookie,
		.fd = fd,
		.slot = exchange->slot,
		.lease = WEFT_EXCHANGE_LEASE(exchange->exchange),
		.pod_id = exchange->record.pod_id,
		.endpoint_id = exchange->record.endpoint_id,
		.method = exchange->record.method,
		.cluster_id = exchange->record.cluster_id,
		.start_ns = exchange->record.start_ns,
		.request_bytes = request_bytes(exchange),
		.request_remaining = remaining_at_anchor(exchange),
		.deadline_ns = exchange->record.deadline_ns,
		.is_first = !exchange->record.exchange_count,
		.done = relay_done,
		.arg = worker,
	};

	if (exchange->record.changes_response) {
		int r = datapath_response_changes(worker->datapath, exchange->slot, &relay.changes);

		if (r)
			return log_err(r, "reading how a response is to be changed");
		relay.has_changes = true;
	}
	return proxy_relay(worker->proxy, &relay);
}

static void answer_locally(struct worker *worker, const struct pool_exchange *exchange, uint16_t status)
{
	const struct proxy_local_error error = {
		.client_cookie = exchange->client_cookie,
		.slot = exchange->slot,
		.lease = WEFT_EXCHANGE_LEASE(exchange->exchange),
		.status = status,
		.cut_status = exchange->record.status,
		.method = exchange->record.method,
		.endpoint_id = exchange->record.endpoint_id,
		.cluster_id = exchange->record.cluster_id,
		.start_ns = exchange->record.start_ns,
		.request_bytes = request_bytes(exchange),
		.request_remaining = exchange->record.request_remaining,
	};
	int r = proxy_local_error(worker->proxy, &error);

	if (r)
		log_warn(r, "a failed exchange stays without an answer");
}

static void exchange_failed(void *arg, const struct pool_exchange *exchange, unsigned status)
{
	answer_locally(arg, exchange, (uint16_t)status);
}

static void exchange_cut(void *arg, const struct pool_exchange *exchange)
{
	answer_locally(arg, exchange, 0);
}

static void exchange_left(void *arg, const struct pool_exchange *exchange)
{
	worker_traffic_left(arg, &exchange->record, request_bytes(exchange));
}

/* On a thread of the proxy. */
static void client_gone(void *arg, uint64_t client_cookie, uint64_t exchange)
{
	struct worker *worker = arg;

	pool_client_gone(worker->pool, client_cookie, exchange);
}

/* Likewise. */
static void endpoint_keeps(void *arg, uint32_t endpoint_id, bool keeps)
{
	struct worker *worker = arg;

	pool_endpoint_keeps(worker->pool, endpoint_id, keeps);
}

/* ---- events ---------------------------------------------------------------------------------------------------------------------- */

static void take_event(void *arg, const struct weft_event *event)
{
	struct worker *worker = arg;

	if (event->kind == WEFT_EVENT_EXCHANGE_OVER)
		proxy_exchange_over(worker->proxy, event->cookie);
	else
		pool_event(worker->pool, event);
}

static void on_ring(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	datapath_events_drain(worker->datapath, take_event, worker);
}

/* The programs that read messages are there, or are not to be had. */
void handover_finish_loading(struct worker *worker)
{
	struct datapath_feature_state before[FEATURE_COUNT], after[FEATURE_COUNT];
	int r;

	if (!worker->later_event)
		return;
	event_free(worker->later_event);
	worker->later_event = NULL;
	datapath_features(worker->datapath, before);
	r = datapath_later_finish(worker->datapath);
	datapath_features(worker->datapath, after);
	if (before[FEATURE_SK_SKB].is_on && !after[FEATURE_SK_SKB].is_on)
		pool_watch_relays(worker->pool);
	if (datapath_fast_path(worker->datapath) == WEFT_FAST_PATH_OFF)
		proxy_set_fast_path(worker->proxy, false);
	if (r)
		log_err(r, "loading the programs that read messages: the proxy serves everything");
	else
		log_info("the kernel's programs are loaded: fast path %s", fast_path_name(datapath_fast_path(worker->datapath)));
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	handover_finish_loading(arg);
}

static int watch_later(struct worker *worker)
{
	int r = datapath_later_start(worker->datapath), fd = datapath_later_fd(worker->datapath);

	if (r || fd < 0)
		return r;
	worker->later_event = event_new(worker->base, fd, EV_READ, on_later, worker);
	return worker->later_event && event_add(worker->later_event, NULL) == 0 ? 0 : -ENOMEM;
}

int handover_watch(struct worker *worker)
{
	int r = watch_later(worker);

	if (r)
		return r;
	worker->ring_event = event_new(worker->base, datapath_events_fd(worker->datapath), EV_READ | EV_PERSIST, on_ring, worker);
	return worker->ring_event && event_add(worker->ring_event, NULL) == 0 ? 0 : -ENOMEM;
}

/* ---- beginning ------------------------------------------------------------------------------------------------------------------- */

int handover_start_pool(struct worker *worker)
{
	struct datapath_feature_state features[FEATURE_COUNT];
	struct pool_options options = {
		.base = worker->base,
		.table = worker->table,
		.callbacks = { .arg = worker, .relay = relay, .exchange_failed = exchange_failed, .exchange_cut = exchange_cut,
			       .exchange_left = exchange_left },
		.redirect_limit_bytes = worker->config->options->redirect_limit_bytes,
		.adopt = worker->is_successor,
		.cgroup_inode = worker->cgroup_inode,
		.pod_quota = worker->shares.upstreams,
		.pod_pools = worker->shares.pools,
		.pool_slots = worker->config->options->limits.endpoint_upstreams,
	};

	datapath_features(worker->datapath, features);
	/* Without their program nothing tells of bytes that come by TCP. */
	options.is_told_of_relays = features[FEATURE_SK_SKB].is_on;
	pool_kernel_datapath(&options.kernel, worker->datapath);
	options.kernel.upstream_count = worker->config->options->limits.upstreams;
	options.kernel.pool_count = worker->config->options->limits.pools;
	return pool_new(&worker->pool, &options);
}

/* Without a fast path too when it may have been on in the weftd that this one replaces: exchanges are open that the kernel carries. */
static bool may_kernel_carry(struct worker *worker)
{
	struct datapath_feature_state features[FEATURE_COUNT];

	datapath_features(worker->datapath, features);
	return datapath_fast_path(worker->datapath) != WEFT_FAST_PATH_OFF || (worker->config->replaces && features[FEATURE_SOCKMAP].is_on);
}

int handover_start_proxy(struct worker *worker)
{
	const struct proxy_options options = {
		.decorates = worker->config->options->decorates,
		.table = worker->table,
		.threads = worker->config->options->proxy_threads,
		.load = worker->load,
		.client_gone = client_gone,
		.client_gone_arg = worker,
		.endpoint_keeps = endpoint_keeps,
		.endpoint_keeps_arg = worker,
		/* The programs keep to a pod's share; some of what has ended there is still about to end here. */
		.limits = { .connections = WEFT_CONNECTIONS_MAX + WEFT_CONNECTIONS_MAX / 8,
			    .connections_each = worker->shares.connections + worker->shares.connections / 8 + 64 },
		.is_fast_path_on = may_kernel_carry(worker),
	};

	return proxy_new(&worker->proxy, worker->datapath, &options);
}

struct adoption {
	struct worker *worker;
	uint32_t upstreams, anchors, closed;
};

static bool is_claimed(const struct worker *worker, const struct table_entry *entry)
{
	for (size_t i = 0; i < worker->pods.count; i++) {
		const struct node_pod *pod = worker->pods.items[i];

		if (pod->listeners[WEFT_FAMILY_4].entry == entry || pod->listeners[WEFT_FAMILY_6].entry == entry || pod->netns_entry == entry)
			return true;
	}
	return false;
}

static void close_entry(struct adoption *adoption, struct table_entry *entry)
{
	bool is_upstream = entry->kind == TABLE_UPSTREAM;
	int fd = entry->fd;

	table_release(adoption->worker->table, entry);
	if (is_upstream)
		datapath_upstream_close(fd);
	else
		close(fd);
	adoption->closed++;
}

static void adopt(void *arg, struct table_entry *entry)
{
	struct adoption *adoption = arg;
	struct worker *worker = adoption->worker;

	/* For a weftd that then did not take over: what needed it went with the proxy that kept it. */
	if (entry->kind == TABLE_KEPT)
		table_publish(entry, table_kept_kind(entry));
	switch (entry->kind) {
	case TABLE_UPSTREAM:
		if (pool_adopt(worker->pool, entry))
			close_entry(adoption, entry);
		else
			adoption->upstreams++;
		break;
	case TABLE_ANCHOR:
		if (proxy_adopt_anchor(worker->proxy, entry))
			close_entry(adoption, entry);
		else
			adoption->anchors++;
		break;
	case TABLE_LISTENER:
		if (is_claimed(worker, entry))
			break;
		/* A pod that left while there was no worker. */
		datapath_pod_remove(worker->datapath, entry->pod_id, entry->cookie);
		close_entry(adoption, entry);
		break;
	case TABLE_ELSEWHERE:
		pool_elsewhere(worker->pool, entry->slot);
		break;
	case TABLE_NETNS:
		if (!is_claimed(worker, entry))
			close_entry(adoption, entry);
		break;
	default:
		break;
	}
}

static void adopt_exchange(void *arg, uint64_t cookie, const struct weft_connection *connection)
{
	struct worker *worker = arg;

	pool_adopt_exchange(worker->pool, cookie, connection->exchange);
}

void handover_adopt(struct worker *worker)
{
	struct adoption adoption = { .worker = worker };
	int r;

	succession_take_over(worker);
	/* Its pods' listeners accept by now. */
	table_each_former(worker->table, adopt, &adoption);
	r = datapath_connections_each(worker->datapath, adopt_exchange, worker);
	if (r)
		log_err(r, "looking for exchanges that went with the former worker: their clients wait for nothing");
	pool_adopt_finish(worker->pool);
	log_info("took over from the former worker: %u connections, %u upstreams; closed %u descriptors that nobody needs", adoption.anchors,
		 adoption.upstreams, adoption.closed);
}

static void forget(void *arg, struct table_entry *entry)
{
	if (entry->kind == TABLE_UPSTREAM || entry->kind == TABLE_ANCHOR || entry->kind == TABLE_KEPT)
		close_entry(arg, entry);
}

void handover_forget(struct worker *worker)
{
	struct adoption adoption = { .worker = worker };

	table_each(worker->table, forget, &adoption);
	if (adoption.closed)
		log_warning("closed %u connections of the former worker: they can't be taken over", adoption.closed);
}

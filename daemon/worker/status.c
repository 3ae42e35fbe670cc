/* SPDX-License-Identifier: Apache-2.0 */
/* How the daemon is: features, what is attached, pods, connections, requests and why, limits. docs/weftctl.md describes the answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin/http.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "dns/dns.h"
#include "pool/pool.h"
#include "proxy/proxy.h"
#include "telemetry/telemetry.h"
#include "telemetry/traffic.h"
#include "weft/reason.h"
#include "worker/internal.h"

#define ATTACHED_MAX (4 * WEFT_PODS_MAX + 8)

/* jansson's setters take the reference and report a NULL value as failure; an answer that lacks a part for want of memory is still an answer. */
static void set(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
}

static void set_number(json_t *object, const char *key, uint64_t value)
{
	set(object, key, json_integer((json_int_t)value));
}

static json_t *features(const struct worker *worker)
{
	struct datapath_feature_state states[FEATURE_COUNT];
	json_t *object = json_object();

	datapath_features(worker->datapath, states);
	for (size_t i = 0; i < FEATURE_COUNT; i++)
		set(object, states[i].name, json_pack("{s:b, s:s}", "on", states[i].is_on, "detail", states[i].detail));
	return object;
}

static json_t *attached(const struct worker *worker)
{
	char (*names)[96] = calloc(ATTACHED_MAX, sizeof(*names));
	json_t *list = json_array();
	size_t count;

	if (!names)
		return list;
	count = datapath_attached(worker->datapath, names, ATTACHED_MAX);
	for (size_t i = 0; i < count && i < ATTACHED_MAX; i++)
		json_array_append_new(list, json_string(names[i]));
	free(names);
	return list;
}

/* The programs take off first and put back what was too much: for a moment it may be below none. */
static uint32_t connections_of(const struct weft_pod_usage *usage)
{
	return (int32_t)usage->connections < 0 ? 0 : usage->connections;
}

static void set_usage(const struct worker *worker, const struct node_pod *pod, json_t *object)
{
	struct weft_pod_usage usage;

	if (datapath_pod_usage(worker->datapath, pod->pod_id, &usage))
		return;
	set_number(object, "connections", connections_of(&usage));
	set_number(object, "connections_left_alone", usage.left_alone);
}

static json_t *pods(const struct worker *worker)
{
	json_t *list = json_array();

	for (size_t i = 0; i < worker->pods.count; i++) {
		const struct node_pod *pod = worker->pods.items[i];
		json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", pod->name, "namespace", pod->namespace_name, "ip", pod->ip,
					   "state", node_pod_state_name(pod->state), "reason", pod->reason);

		if (pod->added) {
			set_number(object, "id", pod->pod_id);
			if (pod->exceptions)
				set_number(object, "exceptions", pod->exceptions->count);
			for (int f = 0; f < WEFT_FAMILIES; f++)
				if (pod->listeners[f].port)
					set_number(object, f == WEFT_FAMILY_4 ? "listener_port" : "listener_port_ipv6", pod->listeners[f].port);
			set_usage(worker, pod, object);
			unmeshed_describe(pod, object);
		}
		json_array_append_new(list, object);
	}
	return list;
}

static json_t *upstreams(const struct pool_stats *pool)
{
	json_t *object = json_object(), *closes = json_object();

	set_number(object, "idle", pool->idle);
	set_number(object, "lent", pool->lent);
	set_number(object, "replying", pool->replying);
	set_number(object, "relayed", pool->relayed);
	set_number(object, "dead", pool->dead);
	set_number(object, "dialling", pool->dialling);
	set_number(object, "closing", pool->closing);
	set_number(object, "pools", pool->pools);
	set_number(object, "misses", pool->misses);
	set_number(object, "dials", pool->dials);
	set_number(object, "dials_failed", pool->dials_failed);
	set_number(object, "dials_refused",
		   pool->dials_refused_quota + pool->dials_refused_endpoint + pool->dials_refused_slots + pool->dials_refused_descriptors);
	for (int i = 0; i < POOL_CLOSE_COUNT; i++) {
		if (pool->closes[i])
			set_number(closes, pool_close_reason_name(i), pool->closes[i]);
	}
	set(object, "closes", closes);
	return object;
}

/* Exchanges by who carried them to their end. */
static json_t *requests(const uint64_t counters[WEFT_COUNTERS], const struct proxy_stats *proxy)
{
	json_t *object = json_object();

	set_number(object, "bypass", counters[WEFT_COUNTER_PATHS_OVER + WEFT_PATH_BYPASS]);
	set_number(object, "remote", counters[WEFT_COUNTER_PATHS_OVER + WEFT_PATH_REMOTE]);
	set_number(object, "local_reply", counters[WEFT_COUNTER_PATHS_OVER + WEFT_PATH_LOCAL]);
	set_number(object, "slow", proxy->requests + proxy->relays);
	return object;
}

static json_t *slow_reasons(const uint64_t counters[WEFT_COUNTERS])
{
	json_t *object = json_object();

	for (int i = 1; i < WEFT_REASON_COUNT; i++) {
		if (counters[WEFT_COUNTER_REASONS + i])
			set_number(object, weft_reason_names[i], counters[WEFT_COUNTER_REASONS + i]);
	}
	return object;
}

static json_t *kernel_counters(const uint64_t counters[WEFT_COUNTERS])
{
	static const struct {
		const char *name;
		enum weft_counter counter;
	} named[] = {
		{ "connections_captured", WEFT_COUNTER_CONNECTIONS },
		{ "connections_map_full", WEFT_COUNTER_CONNECTIONS_FULL },
		{ "connections_over_quota", WEFT_COUNTER_CONNECTIONS_QUOTA },
		{ "connects_sent_to_endpoints", WEFT_COUNTER_TCP_CONNECTS },
		{ "connects_left_alone", WEFT_COUNTER_PASSED_CONNECTS },
		{ "connects_excepted", WEFT_COUNTER_EXCEPTED_CONNECTS },
		{ "connects_refused", WEFT_COUNTER_BLOCKED_CONNECTS },
		{ "connects_of_unknown_family", WEFT_COUNTER_FAMILY_CONNECTS },
		{ "connects_from_another_netns", WEFT_COUNTER_FOREIGN_NETNS },
		{ "clients_blocking", WEFT_COUNTER_CLIENTS_BLOCKING },
		{ "clients_left_sockmap", WEFT_COUNTER_CLIENTS_LEFT },
		{ "requests_repeated", WEFT_COUNTER_REQUESTS_REPEATED },
		{ "responses_repeated", WEFT_COUNTER_RESPONSES_REPEATED },
		{ "servers_paired", WEFT_COUNTER_SERVERS },
		{ "servers_blocking", WEFT_COUNTER_SERVERS_BLOCKING },
		{ "servers_forged", WEFT_COUNTER_FORGED_SERVERS },
		{ "events_lost", WEFT_COUNTER_EVENTS_LOST },
		{ "begun_bypass", WEFT_COUNTER_PATHS + WEFT_PATH_BYPASS },
		{ "begun_remote", WEFT_COUNTER_PATHS + WEFT_PATH_REMOTE },
		{ "begun_local_reply", WEFT_COUNTER_PATHS + WEFT_PATH_LOCAL },
		{ "responses_1xx", WEFT_COUNTER_STATUS + 1 },
		{ "responses_2xx", WEFT_COUNTER_STATUS + 2 },
		{ "responses_3xx", WEFT_COUNTER_STATUS + 3 },
		{ "responses_4xx", WEFT_COUNTER_STATUS + 4 },
		{ "responses_5xx", WEFT_COUNTER_STATUS + 5 },
	};
	json_t *object = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(named); i++)
		set_number(object, named[i].name, counters[named[i].counter]);
	return object;
}

static json_t *proxy_counters(const struct worker *worker, const struct proxy_stats *stats)
{
	json_t *object = json_object(), *reasons = json_object(), *responses = json_object();
	char key[8];

	set_number(object, "threads", proxy_thread_count(worker->proxy));
	set_number(object, "connections", stats->connections);
	set_number(object, "connections_accepted", stats->connections_accepted);
	set_number(object, "connections_adopted", stats->connections_adopted);
	set_number(object, "connections_unknown", stats->connections_unknown);
	set_number(object, "accept_pauses", stats->accept_pauses);
	set_number(object, "memory_waits", stats->memory_waits);
	set_number(object, "requests", stats->requests);
	for (unsigned i = 1; i < ARRAY_SIZE(stats->responses); i++) {
		snprintf(key, sizeof(key), "%uxx", i);
		set_number(responses, key, stats->responses[i]);
	}
	set(object, "responses", responses);
	for (int i = 0; i < PROXY_REASON_COUNT; i++) {
		if (stats->reasons[i])
			set_number(reasons, proxy_reason_name(i), stats->reasons[i]);
	}
	set(object, "reasons", reasons);
	set_number(object, "upstreams", stats->upstreams);
	set_number(object, "upstreams_idle", stats->upstreams_idle);
	set_number(object, "upstreams_opened", stats->upstreams_opened);
	set_number(object, "upstreams_reused", stats->upstreams_reused);
	set_number(object, "retries", stats->retries);
	set_number(object, "requests_unkept", stats->requests_unkept);
	set_number(object, "mirrored", stats->mirrored);
	set_number(object, "mirrors_dropped", stats->mirrors_dropped);
	set_number(object, "relays", stats->relays);
	set_number(object, "relays_orphaned", stats->relays_orphaned);
	set_number(object, "tunnels", stats->tunnels);
	set_number(object, "waits", stats->waits);
	set_number(object, "paces", stats->paces);
	set_number(object, "published", stats->published);
	set_number(object, "request_body_bytes", stats->request_body_bytes);
	set_number(object, "response_body_bytes", stats->response_body_bytes);
	set_number(object, "spliced_bytes", stats->spliced_bytes);
	return object;
}

/* Samples: what each slot carried last when it was looked at. */
static json_t *latency(const struct worker *worker)
{
	static const enum weft_path paths[] = { WEFT_PATH_BYPASS, WEFT_PATH_REMOTE };
	json_t *object = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct telemetry_latency each;
		json_t *path;

		telemetry_latency(worker->telemetry, paths[i], &each);
		if (!each.samples)
			continue;
		path = json_object();
		set_number(path, "samples", each.samples);
		set_number(path, "p50_us", each.p50_ns / 1000);
		set_number(path, "p90_us", each.p90_ns / 1000);
		set_number(path, "p99_us", each.p99_ns / 1000);
		set_number(path, "max_us", each.max_ns / 1000);
		set(object, telemetry_path_name(paths[i]), path);
	}
	return object;
}

static void set_limit(json_t *limits, const char *name, uint64_t value, uint64_t used)
{
	set(limits, name, json_pack("{s:I, s:I}", "value", (json_int_t)value, "used", (json_int_t)used));
}

/* `beyond`: how often there was no place. */
static void set_counted_limit(json_t *limits, const char *name, uint64_t value, uint64_t used, uint64_t beyond)
{
	set_limit(limits, name, value, used);
	set_number(json_object_get(limits, name), "beyond", beyond);
}

/* Of one pod; used: by the pod that has the most. */
static void set_pod_limits(const struct worker *worker, json_t *limits, const struct pool_stats *pool, const uint64_t counters[WEFT_COUNTERS])
{
	uint32_t most = 0, most_exceptions = 0;

	for (size_t i = 0; i < worker->pods.count; i++) {
		const struct weft_exceptions *exceptions = worker->pods.items[i]->exceptions;
		struct weft_pod_usage usage;

		if (exceptions)
			most_exceptions = WEFT_MAX(most_exceptions, exceptions->count);
		if (worker->pods.items[i]->added && !datapath_pod_usage(worker->datapath, worker->pods.items[i]->pod_id, &usage))
			most = WEFT_MAX(most, connections_of(&usage));
	}
	set_counted_limit(limits, "pod_connections", worker->shares.connections, most, counters[WEFT_COUNTER_CONNECTIONS_QUOTA]);
	set_counted_limit(limits, "pod_upstreams", worker->shares.upstreams, pool->pod_upstreams_most, pool->dials_refused_quota);
	set_counted_limit(limits, "pod_pools", worker->shares.pools, pool->pod_pools_most, pool->pools_refused_quota);
	set_limit(limits, "pod_exceptions", WEFT_EXCEPTIONS_MAX, most_exceptions);
	set_counted_limit(limits, "endpoint_upstreams", worker->config->options->limits.endpoint_upstreams, pool->pool_upstreams_most,
			  pool->dials_refused_endpoint);
}

/* Of all scopes: the most pages of one image, and the bytes of all of them. */
static void image_sizes(const struct worker *worker, enum weft_image_kind kind, uint32_t *pages, uint64_t *bytes)
{
	const struct serving *serving = NULL, *other;

	*pages = 0;
	*bytes = 0;
	while ((serving = scopes_next(worker, serving))) {
		const struct published *published = kind == WEFT_IMAGE_ROUTES ? serving->routes : serving->endpoints;

		if (!published)
			continue;
		for (other = scopes_next(worker, NULL); other != serving; other = scopes_next(worker, other))
			if ((kind == WEFT_IMAGE_ROUTES ? other->routes : other->endpoints) == published)
				break;
		*pages = WEFT_MAX(*pages, published->image->page_count);
		*bytes += other == serving ? published->image->size_bytes : 0; /* shared ones count once */
	}
}

/* Of one address; used: of that which has the most. */
static void set_http_limit(const struct worker *worker, json_t *limits)
{
	struct http *const servers[] = { worker->health, worker->metrics, worker->administration };
	struct http_stats stats;
	uint32_t most = 0;
	uint64_t evicted = 0;

	for (size_t i = 0; i < ARRAY_SIZE(servers); i++) {
		http_get_stats(servers[i], &stats);
		most = WEFT_MAX(most, stats.connections);
		evicted += stats.evicted;
	}
	set_counted_limit(limits, "http_connections", HTTP_CONNECTIONS_MAX, most, evicted);
}

static json_t *limits(const struct worker *worker, const struct pool_stats *pool, const uint64_t counters[WEFT_COUNTERS], uint32_t connections)
{
	const struct options_limits *limits = &worker->config->options->limits;
	const uint32_t redirect_limit = worker->config->options->redirect_limit_bytes;
	json_t *object = json_object();
	uint32_t pages;
	uint64_t bytes;

	set_limit(object, "pods", WEFT_PODS_MAX, worker->pods.count);
	set_counted_limit(object, "connections", limits->connections, connections, counters[WEFT_COUNTER_CONNECTIONS_FULL]);
	set_counted_limit(object, "upstreams", limits->upstreams, limits->upstreams - pool->free, pool->dials_refused_slots);
	set_counted_limit(object, "pools", limits->pools, pool->pools, pool->pools_refused);
	set_pod_limits(worker, object, pool, counters);
	set_limit(object, "metric_series", WORKER_SERIES_MAX, traffic_series(worker->traffic));
	set_limit(object, "traffic_kinds", WEFT_TRAFFIC_MAX, traffic_kinds(worker->traffic));
	image_sizes(worker, WEFT_IMAGE_ROUTES, &pages, &bytes);
	set_limit(object, "route_image_pages", WEFT_IMAGE_PAGES_MAX, pages);
	image_sizes(worker, WEFT_IMAGE_ENDPOINTS, &pages, &bytes);
	set_limit(object, "endpoint_image_pages", WEFT_IMAGE_PAGES_MAX, pages);
	set_limit(object, "descriptors_shared", table_capacity(worker->table),
		  table_count(worker->table, TABLE_ANCHOR) + table_count(worker->table, TABLE_UPSTREAM) +
			  table_count(worker->table, TABLE_LISTENER) + table_count(worker->table, TABLE_NETNS));
	set_http_limit(worker, object);
	set_counted_limit(object, "log_lines_per_second", worker->config->options->log_rate, 0, log_left_out());
	set_number(json_object_get(object, "log_lines_per_second"), "lost", log_lost());
	set(object, "redirect_limit_bytes", json_pack("{s:I}", "value", (json_int_t)(redirect_limit ? redirect_limit : WEFT_REDIRECT_LIMIT_DEFAULT)));
	return object;
}

/* Of endpoints, asked of DNS. */
static json_t *names(const struct worker *worker)
{
	size_t count, unknown;

	dns_count(worker->dns, &count, &unknown);
	return json_pack("{s:I, s:I}", "asked", (json_int_t)count, "without_answer", (json_int_t)unknown);
}

static uint64_t resident_bytes(void)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	unsigned long long size, resident;

	if (file_read("/proc/self/statm", 4096, &text) || sscanf(strbuf_text(&text), "%llu %llu", &size, &resident) != 2)
		return 0;
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static json_t *memory(const struct worker *worker, const struct proxy_stats *proxy)
{
	json_t *object = json_object();
	uint32_t pages;
	uint64_t bytes;

	set_number(object, "resident_bytes", resident_bytes());
	set_number(object, "proxy_buffers_bytes", proxy->buffers_bytes);
	image_sizes(worker, WEFT_IMAGE_ROUTES, &pages, &bytes);
	set_number(object, "route_image_bytes", bytes);
	image_sizes(worker, WEFT_IMAGE_ENDPOINTS, &pages, &bytes);
	set_number(object, "endpoint_image_bytes", bytes);
	return object;
}

/* Endpoints that could take mTLS, and are reached in plaintext; those that scopes share count once for each of their images. */
static uint64_t plaintext_endpoints(const struct image *image)
{
	const struct weft_image_header *header = (const void *)image->base;
	const weft_ref *directory = (const void *)(image->base + header->cluster_directory);
	uint64_t count = 0;

	for (uint32_t i = 0; i < header->cluster_count; i++) {
		const struct weft_cluster *cluster = (const void *)(image->base + directory[i]);
		const struct weft_endpoint *endpoints = directory[i] ? (const void *)(image->base + cluster->endpoints) : NULL;

		for (uint32_t j = 0; endpoints && j < cluster->endpoint_count; j++)
			count += (endpoints[j].flags & WEFT_ENDPOINT_MTLS_CAPABLE) != 0;
	}
	return count;
}

static json_t *plaintext(const struct worker *worker)
{
	const struct serving *serving = NULL, *other;
	uint64_t count = 0;

	while ((serving = scopes_next(worker, serving))) {
		for (other = scopes_next(worker, NULL); other != serving; other = scopes_next(worker, other))
			if (other->endpoints == serving->endpoints)
				break;
		if (other == serving && serving->endpoints)
			count += plaintext_endpoints(serving->endpoints->image);
	}
	return json_pack("{s:I, s:b}", "endpoints_that_could_take_mtls", (json_int_t)count, "is_refused", worker->scopes.requires_mtls);
}

/* Images published so far. */
static json_t *generations(const struct worker *worker)
{
	const struct serving *serving = NULL;
	uint64_t routes = 0, endpoints = 0;

	while ((serving = scopes_next(worker, serving))) {
		routes += datapath_generation(worker->datapath, serving->number, WEFT_IMAGE_ROUTES);
		endpoints += datapath_generation(worker->datapath, serving->number, WEFT_IMAGE_ENDPOINTS);
	}
	return json_pack("{s:I, s:I}", "routes", (json_int_t)routes, "endpoints", (json_int_t)endpoints);
}

json_t *status_answer(struct worker *worker)
{
	uint64_t counters[WEFT_COUNTERS] = { 0 };
	struct proxy_stats proxy = { 0 };
	struct pool_stats pool = { 0 };
	json_t *answer = json_object();
	uint32_t connections = datapath_connection_count(worker->datapath);
	struct timespec now;

	if (datapath_counters(worker->datapath, counters))
		memset(counters, 0, sizeof(counters));
	proxy_stats(worker->proxy, &proxy);
	pool_stats(worker->pool, &pool);
	clock_gettime(CLOCK_MONOTONIC, &now);

	set(answer, "version", json_string(WEFT_VERSION));
	set(answer, "worker", json_pack("{s:i, s:i, s:i}", "pid", (int)getpid(), "restarts", (int)worker->state->restarts, "keeper_pid",
					(int)worker->state->keeper_pid));
	beside_describe(worker, answer);
	set_number(answer, "uptime_s", (uint64_t)now.tv_sec - worker->state->started_ns / 1000000000u);
	set(answer, "config", json_pack("{s:s?, s:i, s:i}", "file", worker->config->options->config, "changes", (int)worker->source.changes,
					"refusals", (int)worker->source.refusals));
	set(answer, "fast_path", json_string(fast_path_name(datapath_fast_path(worker->datapath))));
	set(answer, "is_loading", json_boolean(datapath_later_fd(worker->datapath) >= 0));
	set(answer, "features", features(worker));
	set(answer, "attached", attached(worker));
	set_number(answer, "generation", worker->state->generation);
	set(answer, "generations", generations(worker));
	unmeshed_look_again(worker);
	set(answer, "pods", pods(worker));
	set(answer, "unmeshed", unmeshed_sums(worker));
	set_number(answer, "connections", connections);
	set(answer, "upstreams", upstreams(&pool));
	set(answer, "requests", requests(counters, &proxy));
	set(answer, "slow_reasons", slow_reasons(counters));
	set(answer, "latency", latency(worker));
	set(answer, "names", names(worker));
	set(answer, "kernel", kernel_counters(counters));
	set(answer, "proxy", proxy_counters(worker, &proxy));
	set(answer, "limits", limits(worker, &pool, counters, connections));
	set(answer, "plaintext", plaintext(worker));
	set(answer, "memory", memory(worker, &proxy));
	if (worker->scopes.events)
		set(answer, "scopes", scopes_describe(worker));
	if (worker->kube.node)
		set(answer, "kubernetes", kube_describe(worker));
	return answer;
}

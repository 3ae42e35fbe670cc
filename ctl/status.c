/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl.h"

static void print_daemon(const json_t *status)
{
	const json_t *worker = json_object_get(status, "worker"), *config = json_object_get(status, "config");
	const json_t *generations = json_object_get(status, "generations"), *memory = json_object_get(status, "memory");
	const json_t *lines = json_object_get(json_object_get(status, "limits"), "log_lines_per_second");
	long long up = ctl_number(status, "uptime_s");
	const json_t *drainer;
	size_t i;

	printf("weftd %s, up %lldd %02lld:%02lld:%02lld, worker %lld (%lld restarts), fast path %s%s\n", ctl_text(status, "version"), up / 86400,
	       up / 3600 % 24, up / 60 % 60, up % 60, ctl_number(worker, "pid"), ctl_number(worker, "restarts"), ctl_text(status, "fast_path"),
	       json_is_true(json_object_get(status, "is_loading")) ? " when the kernel has verified its programs: the proxy serves everything until then" : "");
	printf("Configuration %s: generation %lld (routes %lld, endpoints %lld), %lld changed files refused\n", ctl_text(config, "file"),
	       ctl_number(status, "generation"), ctl_number(generations, "routes"), ctl_number(generations, "endpoints"),
	       ctl_number(config, "refusals"));
	json_array_foreach(json_object_get(status, "beginning"), i, drainer)
		printf("A weftd of another ABI begins beside this one: process %lld, ABI %s\n", ctl_number(drainer, "process"), ctl_text(drainer, "abi"));
	json_array_foreach(json_object_get(status, "draining"), i, drainer)
		printf("A weftd that was replaced is draining: process %lld, ABI %s\n", ctl_number(drainer, "process"), ctl_text(drainer, "abi"));
	printf("Log: %lld lines lost (nobody read it), %lld left out (--log-rate)\n", ctl_number(lines, "lost"), ctl_number(lines, "beyond"));
	printf("Memory: %.1f MB resident, images %.1f KB, proxy buffers %.1f KB\n", (double)ctl_number(memory, "resident_bytes") / 1e6,
	       (double)(ctl_number(memory, "route_image_bytes") + ctl_number(memory, "endpoint_image_bytes")) / 1e3,
	       (double)ctl_number(memory, "proxy_buffers_bytes") / 1e3);
}

static void print_features(const json_t *status)
{
	static const char *const headings[] = { "FEATURE", "STATE", "DETAIL" };
	struct text_table table;
	const char *name;
	json_t *feature;

	text_table_begin(&table, headings, 3);
	json_object_foreach(json_object_get(status, "features"), name, feature) {
		text_table_add(&table, name);
		text_table_add(&table, json_is_true(json_object_get(feature, "on")) ? "on" : "off");
		text_table_add(&table, ctl_text(feature, "detail"));
	}
	printf("\nKernel\n");
	text_table_end(&table, 2);
	printf("  attached: %zu", json_array_size(json_object_get(status, "attached")));
	for (size_t i = 0; i < json_array_size(json_object_get(status, "attached")) && i < 12; i++)
		printf("%s%s", i ? ", " : " (", json_string_value(json_array_get(json_object_get(status, "attached"), i)));
	printf("%s\n", json_array_size(json_object_get(status, "attached")) > 12 ? ", ...)" :
	       json_array_size(json_object_get(status, "attached")) ? ")" : "");
}

static void print_pods(const json_t *status)
{
	static const char *const headings[] = { "POD", "NAMESPACE", "IP", "STATE", "REASON" };
	struct text_table table;
	const json_t *pod;
	size_t i;

	text_table_begin(&table, headings, 5);
	json_array_foreach(json_object_get(status, "pods"), i, pod) {
		text_table_add(&table, ctl_text(pod, "name"));
		text_table_add(&table, ctl_text(pod, "namespace"));
		text_table_add(&table, ctl_text(pod, "ip"));
		text_table_add(&table, ctl_text(pod, "state"));
		text_table_add(&table, ctl_text(pod, "reason"));
	}
	printf("\nPods: %zu\n", json_array_size(json_object_get(status, "pods")));
	text_table_end(&table, 2);
}

/* "3 m": how long ago that was, in the largest unit that it fills. */
static void add_age(struct text_table *table, long long unix_ms)
{
	long long seconds = ((long long)time(NULL) * 1000 - unix_ms) / 1000;

	if (!unix_ms)
		text_table_add(table, "-");
	else if (seconds < 120)
		text_table_addf(table, "%lld s", seconds < 0 ? 0 : seconds);
	else
		text_table_addf(table, "%lld %s", seconds < 7200 ? seconds / 60 : seconds / 3600, seconds < 7200 ? "min" : "h");
}

static void print_streams(const json_t *status)
{
	static const char *const headings[] = { "NAMESPACE", "STREAM", "FOR", "LAST MESSAGE", "MESSAGES", "FAILURES", "LAST ERROR" };
	const json_t *scopes = json_object_get(status, "scopes"), *scope;
	struct text_table table;
	size_t i;

	if (!json_array_size(scopes))
		return;
	text_table_begin(&table, headings, 7);
	json_array_foreach(scopes, i, scope) {
		const json_t *connection = json_object_get(scope, "connection");

		text_table_add(&table, ctl_text(scope, "scope"));
		text_table_add(&table, json_is_true(json_object_get(connection, "is_open")) ? "open" : "closed");
		add_age(&table, ctl_number(connection, "connected_unix_ms"));
		add_age(&table, ctl_number(connection, "answered_unix_ms"));
		text_table_addf(&table, "%lld", ctl_number(connection, "messages_received"));
		text_table_addf(&table, "%lld", ctl_number(connection, "failures"));
		text_table_add(&table, ctl_text(connection, "last_error"));
	}
	printf("\nStreams from %s\n", ctl_text(json_object_get(json_array_get(scopes, 0), "connection"), "address"));
	text_table_end(&table, 2);
}

static void print_names(const json_t *status)
{
	const json_t *names = json_object_get(status, "names");

	if (ctl_number(names, "asked"))
		printf("\nNames of endpoints: %lld asked of DNS, %lld without an answer yet\n", ctl_number(names, "asked"),
		       ctl_number(names, "without_answer"));
}

static void print_requests(const json_t *status)
{
	static const char *const paths[] = { "bypass", "remote", "local_reply", "slow" };
	static const char *const headings[] = { "REASON", "HAND-UPS" };
	const json_t *requests = json_object_get(status, "requests"), *proxy = json_object_get(status, "proxy");
	struct text_table table;
	const char *name;
	json_t *value;

	printf("\nRequests:");
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		printf("%s %s %lld", i ? "," : "", paths[i], ctl_number(requests, paths[i]));
	printf("\nWhy the kernel handed bytes up\n");
	text_table_begin(&table, headings, 2);
	json_object_foreach(json_object_get(status, "slow_reasons"), name, value) {
		text_table_add(&table, name);
		text_table_addf(&table, "%lld", (long long)json_integer_value(value));
	}
	text_table_end(&table, 2);

	static const char *const own[] = { "PROXY'S OWN ANSWERS", "COUNT" };

	text_table_begin(&table, own, 2);
	json_object_foreach(json_object_get(proxy, "reasons"), name, value) {
		text_table_add(&table, name);
		text_table_addf(&table, "%lld", (long long)json_integer_value(value));
	}
	text_table_end(&table, 2);
}

static void print_latency(const json_t *status)
{
	static const char *const headings[] = { "UNTIL THE FIRST BYTE (us)", "P50", "P90", "P99", "MAX", "SAMPLES" };
	struct text_table table;
	const char *path;
	json_t *latency;

	text_table_begin(&table, headings, 6);
	json_object_foreach(json_object_get(status, "latency"), path, latency) {
		text_table_add(&table, path);
		text_table_addf(&table, "%lld", ctl_number(latency, "p50_us"));
		text_table_addf(&table, "%lld", ctl_number(latency, "p90_us"));
		text_table_addf(&table, "%lld", ctl_number(latency, "p99_us"));
		text_table_addf(&table, "%lld", ctl_number(latency, "max_us"));
		text_table_addf(&table, "%lld", ctl_number(latency, "samples"));
	}
	text_table_end(&table, 2);
}

static void print_connections(const json_t *status)
{
	static const char *const states[] = { "idle", "lent", "replying", "relayed", "dead" };
	const json_t *upstreams = json_object_get(status, "upstreams"), *proxy = json_object_get(status, "proxy");

	printf("\nConnections: %lld captured, %lld at the proxy (%lld threads, %lld upstreams of its own)\n", ctl_number(status, "connections"),
	       ctl_number(proxy, "connections"), ctl_number(proxy, "threads"), ctl_number(proxy, "upstreams"));
	printf("Pooled upstreams:");
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		printf("%s %s %lld", i ? "," : "", states[i], ctl_number(upstreams, states[i]));
	printf("; %lld pools, %lld misses, %lld of %lld dials failed\n", ctl_number(upstreams, "pools"), ctl_number(upstreams, "misses"),
	       ctl_number(upstreams, "dials_failed"), ctl_number(upstreams, "dials"));
}

static void print_limits(const json_t *status)
{
	static const char *const headings[] = { "LIMIT", "USED", "VALUE", "BEYOND" };
	struct text_table table;
	const char *name;
	json_t *limit;

	text_table_begin(&table, headings, 4);
	json_object_foreach(json_object_get(status, "limits"), name, limit) {
		text_table_add(&table, name);
		if (json_object_get(limit, "used"))
			text_table_addf(&table, "%lld", ctl_number(limit, "used"));
		else
			text_table_add(&table, "");
		text_table_addf(&table, "%lld", ctl_number(limit, "value"));
		if (json_object_get(limit, "beyond"))
			text_table_addf(&table, "%lld", ctl_number(limit, "beyond"));
		else
			text_table_add(&table, "");
	}
	printf("\n");
	text_table_end(&table, 0);
}

static void print(const json_t *status)
{
	print_daemon(status);
	print_pods(status);
	print_streams(status);
	print_names(status);
	print_requests(status);
	print_latency(status);
	print_connections(status);
	print_features(status);
	print_limits(status);
}

int ctl_status(const struct ctl *ctl, int argc, char **argv)
{
	(void)argv;
	return ctl_show(ctl, argc, "status", NULL, print);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/metrics.h"

#include <string.h>

#include "base/cleanup.h"

#define PATH_MAX_BYTES 512

enum type { GAUGE, COUNTER };

struct writer {
	struct strbuf *out;
	enum metrics_format format;
};

/* ---- lines ------------------------------------------------------------------------------------------------------------------------ */

/* `name` of a counter is without "_total", which its samples have. */
static void family(const struct writer *w, const char *name, enum type type, const char *help)
{
	const char *suffix = type == COUNTER && w->format == METRICS_PROMETHEUS ? "_total" : "";

	strbuf_printf(w->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, suffix, help, name, suffix, type == COUNTER ? "counter" : "gauge");
}

static void escape(struct strbuf *out, const char *value)
{
	for (; *value; value++) {
		if (*value == '\n')
			strbuf_append_text(out, "\\n");
		else if (*value == '"' || *value == '\\')
			strbuf_printf(out, "\\%c", *value);
		else
			strbuf_append_byte(out, *value);
	}
}

struct label {
	const char *name, *value; /* NULL: none */
};

static void sample(const struct writer *w, const char *name, enum type type, struct label first, struct label second, json_int_t value)
{
	const struct label labels[] = { first, second };
	const char *before = "{";

	strbuf_printf(w->out, "%s%s", name, type == COUNTER ? "_total" : "");
	for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
		if (!labels[i].name)
			continue;
		strbuf_printf(w->out, "%s%s=\"", before, labels[i].name);
		escape(w->out, labels[i].value);
		strbuf_append_byte(w->out, '"');
		before = ",";
	}
	strbuf_printf(w->out, "%s %lld\n", *before == ',' ? "}" : "", (long long)value);
}

static const struct label none;

/* The number (or boolean) at a.b.c; NULL when it is not there. */
static const json_t *find(const json_t *object, const char *path)
{
	char key[64];

	while (object && *path) {
		size_t len = strcspn(path, ".");

		if (len >= sizeof(key))
			return NULL;
		memcpy(key, path, len);
		key[len] = '\0';
		object = json_object_get(object, key);
		path += len + (path[len] == '.');
	}
	return object;
}

static json_int_t number_of(const json_t *value)
{
	return json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);
}

/* ---- what there is one of, and what there is one of for each name --------------------------------------------------------------------- */

struct plain {
	const char *name;
	enum type type;
	const char *path, *help;
};

/* `label`: the name of the label that has the keys of the object at `path`; `inner`: where the number is in each of its values. */
struct keyed {
	const char *name;
	enum type type;
	const char *path, *label, *inner, *help;
};

static const struct plain plains[] = {
	{ "weft_uptime_seconds", GAUGE, "uptime_s", "Since weftd was started." },
	{ "weft_worker_restarts", COUNTER, "worker.restarts", "Workers that died and were replaced." },
	{ "weft_log_lines_lost", COUNTER, "limits.log_lines_per_second.lost", "Lines of the log that could not be written: nobody read it." },
	{ "weft_log_lines_left_out", COUNTER, "limits.log_lines_per_second.beyond", "Lines of the log that were more than --log-rate in their second." },
	{ "weft_generation", GAUGE, "generation", "Rises with every configuration that is taken." },
	{ "weft_config_changes", COUNTER, "config.changes", "Configuration files that were taken." },
	{ "weft_config_refusals", COUNTER, "config.refusals", "Configuration files that were refused." },
	{ "weft_connections", GAUGE, "connections", "Captured connections that are open." },
	{ "weft_connections_captured", COUNTER, "kernel.connections_captured", "Connections of pods that weft took." },
	{ "weft_connections_map_full", COUNTER, "kernel.connections_map_full", "Connections that found no room in a table and are the proxy's, or nobody's." },
	{ "weft_connections_over_quota", COUNTER, "kernel.connections_over_quota", "Connections left alone because their pod has as many as it may." },
	{ "weft_tcp_connects", COUNTER, "kernel.connects_sent_to_endpoints", "Connections that connect() sent to an endpoint: plain TCP." },
	{ "weft_connects_left_alone", COUNTER, "kernel.connects_left_alone", "Connections of pods that are not the mesh's." },
	{ "weft_connects_of_unknown_family", COUNTER, "kernel.connects_of_unknown_family",
	  "Connections of pods that have no address of their family that weft knows of: left alone." },
	{ "weft_connects_excepted", COUNTER, "kernel.connects_excepted", "Connections that annotations of their pods keep out of the mesh: left alone." },
	{ "weft_unmeshed_connections", GAUGE, "unmeshed.open", "Connections of enrolled pods that were made before they were: left alone." },
	{ "weft_connections_before_enrolment", COUNTER, "unmeshed.found", "Connections that pods had made when they were enrolled: left alone." },
	{ "weft_connects_refused", COUNTER, "kernel.connects_refused", "Connections to unknown addresses, where only known ones are allowed." },
	{ "weft_clients_blocking", COUNTER, "kernel.clients_blocking", "Connections of clients that sleep in their reads: they are the proxy's." },
	{ "weft_upstreams_of_blocking_servers", COUNTER, "kernel.servers_blocking", "Pooled connections that were given up since their server sleeps in its reads." },
	{ "weft_servers_forged", COUNTER, "kernel.servers_forged", "Sockets with an enrolled pod's address in another network namespace." },
	{ "weft_events_lost", COUNTER, "kernel.events_lost", "Events of the programs for which the ring buffer had no room." },
	{ "weft_requests_repeated", COUNTER, "kernel.requests_repeated", "Requests whose head was the one before it on their connection." },
	{ "weft_proxy_connections", GAUGE, "proxy.connections", "Connections of clients that the proxy holds." },
	{ "weft_proxy_retries", COUNTER, "proxy.retries", "Requests that the proxy sent again." },
	{ "weft_proxy_tunnels", COUNTER, "proxy.tunnels", "Connections that the proxy passes on as bytes." },
	{ "weft_proxy_request_body_bytes", COUNTER, "proxy.request_body_bytes", "Bytes of request bodies that went through the proxy." },
	{ "weft_proxy_response_body_bytes", COUNTER, "proxy.response_body_bytes", "Bytes of response bodies that went through the proxy." },
	{ "weft_upstream_misses", COUNTER, "upstreams.misses", "Requests that found no idle connection in their pool." },
	{ "weft_upstream_dials", COUNTER, "upstreams.dials", "Connections to endpoints that were begun." },
	{ "weft_upstream_dials_failed", COUNTER, "upstreams.dials_failed", "Those that failed." },
	{ "weft_dns_names", GAUGE, "names.asked", "Names of endpoints that DNS is asked for." },
	{ "weft_dns_names_without_answer", GAUGE, "names.without_answer", "Those of them without an answer yet." },
	{ "weft_plaintext_mtls_capable_endpoints", GAUGE, "plaintext.endpoints_that_could_take_mtls", "Endpoints that could take mutual TLS and are reached in plaintext." },
	{ "process_resident_memory_bytes", GAUGE, "memory.resident_bytes", "Of the worker." },
	{ "weft_proxy_buffer_bytes", GAUGE, "memory.proxy_buffers_bytes", "What the proxy holds of streams." },
	{ "weft_route_image_bytes", GAUGE, "memory.route_image_bytes", "Published listeners and routes." },
	{ "weft_endpoint_image_bytes", GAUGE, "memory.endpoint_image_bytes", "Published clusters and endpoints." },
};

static const struct keyed keyeds[] = {
	{ "weft_requests", COUNTER, "requests", "path", NULL, "Exchanges finished, by who carried them." },
	{ "weft_slow_path", COUNTER, "slow_reasons", "reason", NULL, "How often the kernel handed bytes up, by reason." },
	{ "weft_proxy_responses", COUNTER, "proxy.responses", "class", NULL, "Responses of the proxy to clients, by class of their status." },
	{ "weft_proxy_replies", COUNTER, "proxy.reasons", "reason", NULL, "Requests and connections that the proxy ended by itself, by reason." },
	{ "weft_upstream_closes", COUNTER, "upstreams.closes", "reason", NULL, "Pooled connections that were closed, by reason." },
	{ "weft_table_entries", GAUGE, "limits", "table", "used", "Entries in use." },
	{ "weft_table_limit", GAUGE, "limits", "table", "value", "Entries that there is room for." },
	{ "weft_feature", GAUGE, "features", "feature", "on", "1: this kernel can do it, and weft uses it." },
};

static void write_plain(const struct writer *w, const json_t *status, const struct plain *plain)
{
	const json_t *value = find(status, plain->path);

	if (!value)
		return;
	family(w, plain->name, plain->type, plain->help);
	sample(w, plain->name, plain->type, none, none, number_of(value));
}

static void write_keyed(const struct writer *w, const json_t *status, const struct keyed *keyed)
{
	json_t *object = (json_t *)find(status, keyed->path), *value;
	const char *key;

	if (!object)
		return;
	family(w, keyed->name, keyed->type, keyed->help);
	json_object_foreach(object, key, value) {
		const json_t *number = keyed->inner ? json_object_get(value, keyed->inner) : value;

		if (number)
			sample(w, keyed->name, keyed->type, (struct label){ keyed->label, key }, none, number_of(number));
	}
}

/* ---- what has a form of its own -------------------------------------------------------------------------------------------------------- */

static void write_build(const struct writer *w, const json_t *status)
{
	const char *version = json_string_value(json_object_get(status, "version"));

	family(w, "istio_build", GAUGE, "Which build this is.");
	sample(w, "istio_build", GAUGE, (struct label){ "component", "weft" }, (struct label){ "tag", version ? version : "unknown" }, 1);
}

static void write_pods(const struct writer *w, const json_t *status)
{
	static const char *const states[] = { "serving", "waiting", "refused" };
	json_int_t counts[ARRAY_SIZE(states)] = { 0 };
	const json_t *pod;
	size_t i;

	json_array_foreach(json_object_get(status, "pods"), i, pod) {
		const char *state = json_string_value(json_object_get(pod, "state"));

		for (size_t j = 0; state && j < ARRAY_SIZE(states); j++)
			counts[j] += strcmp(state, states[j]) == 0;
	}
	family(w, "weft_pods", GAUGE, "Pods of this node, by state.");
	for (size_t j = 0; j < ARRAY_SIZE(states); j++)
		sample(w, "weft_pods", GAUGE, (struct label){ "state", states[j] }, none, counts[j]);
}

/* Connections of the pool in each state: the parts of `upstreams` that count what is there now. */
static void write_upstreams(const struct writer *w, const json_t *status)
{
	static const char *const states[] = { "idle", "lent", "replying", "relayed", "dead", "dialling", "closing" };
	const json_t *upstreams = json_object_get(status, "upstreams");

	if (!upstreams)
		return;
	family(w, "weft_upstreams", GAUGE, "Pooled connections to endpoints, by state.");
	for (size_t i = 0; i < ARRAY_SIZE(states); i++)
		sample(w, "weft_upstreams", GAUGE, (struct label){ "state", states[i] }, none, number_of(json_object_get(upstreams, states[i])));
}

/* ---- streams --------------------------------------------------------------------------------------------------------------------------- */

static const char *namespace_of(const json_t *scope)
{
	const char *name = json_string_value(json_object_get(scope, "scope"));

	return name ? name : "";
}

static void write_streams(const struct writer *w, const json_t *scopes, const struct plain *plain)
{
	const json_t *scope;
	size_t i;

	family(w, plain->name, plain->type, plain->help);
	json_array_foreach(scopes, i, scope) {
		const json_t *value = find(scope, plain->path);

		if (value)
			sample(w, plain->name, plain->type, (struct label){ "namespace", namespace_of(scope) }, none, number_of(value));
	}
}

static void write_types(const struct writer *w, const json_t *scopes, const struct plain *plain)
{
	const json_t *scope, *type;
	size_t i, j;

	family(w, plain->name, plain->type, plain->help);
	json_array_foreach(scopes, i, scope) {
		json_array_foreach(json_object_get(scope, "types"), j, type) {
			const char *name = json_string_value(json_object_get(type, "type"));

			sample(w, plain->name, plain->type, (struct label){ "namespace", namespace_of(scope) }, (struct label){ "type", name ? name : "" },
			       number_of(json_object_get(type, plain->path)));
		}
	}
}

/* As Istio's other data planes count them: by type URL, of all streams. */
static void write_messages(const struct writer *w, const json_t *scopes)
{
	static const struct {
		const char *type, *url;
	} urls[] = {
		{ "cluster", "type.googleapis.com/envoy.config.cluster.v3.Cluster" },
		{ "load assignment", "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment" },
		{ "listener", "type.googleapis.com/envoy.config.listener.v3.Listener" },
		{ "route configuration", "type.googleapis.com/envoy.config.route.v3.RouteConfiguration" },
	};

	family(w, "istio_xds_message", COUNTER, "Responses of istiod.");
	for (size_t u = 0; u < ARRAY_SIZE(urls); u++) {
		const json_t *scope, *type;
		json_int_t count = 0;
		size_t i, j;

		json_array_foreach(scopes, i, scope) {
			json_array_foreach(json_object_get(scope, "types"), j, type) {
				const char *name = json_string_value(json_object_get(type, "type"));

				if (name && strcmp(name, urls[u].type) == 0)
					count += number_of(json_object_get(type, "responses"));
			}
		}
		sample(w, "istio_xds_message", COUNTER, (struct label){ "url", urls[u].url }, none, count);
	}
}

static void write_xds(const struct writer *w, const json_t *status)
{
	static const struct plain streams[] = {
		{ "weft_xds_connected", GAUGE, "open", "1: the stream of the namespace is open." },
		{ "weft_xds_ready", GAUGE, "ready", "1: all that it asked for is there and serves." },
		{ "weft_xds_connects", COUNTER, "connection.connects", "Streams that were opened." },
		{ "weft_xds_failures", COUNTER, "connection.failures", "Streams that failed or could not be opened." },
		{ "weft_xds_received_bytes", COUNTER, "connection.bytes_received", "Bytes of responses." },
		{ "weft_xds_cache_age_seconds", GAUGE, "cache_age_s", "What serves is this old, and was not confirmed since." },
		{ "weft_certificate_expiry_seconds", GAUGE, "connection.certificate.until_unix_s", "When the certificate ends that the stream shows (Unix time)." },
		{ "weft_certificate_failures", COUNTER, "connection.certificate.failures", "Requests for a certificate that failed." },
	};
	static const struct plain types[] = {
		{ "weft_xds_resources", GAUGE, "serving", "Resources that serve." },
		{ "weft_xds_responses", COUNTER, "responses", "Responses." },
		{ "weft_xds_acks", COUNTER, "acks", "Responses that were accepted." },
		{ "weft_xds_nacks", COUNTER, "nacks", "Responses with something that was refused." },
	};
	const json_t *scopes = json_object_get(status, "scopes");

	if (!scopes)
		return;
	write_messages(w, scopes);
	for (size_t i = 0; i < ARRAY_SIZE(streams); i++)
		write_streams(w, scopes, &streams[i]);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		write_types(w, scopes, &types[i]);
}

/* ---- outside --------------------------------------------------------------------------------------------------------------------------- */

enum metrics_format metrics_format(const char *accept)
{
	return strstr(accept, "application/openmetrics-text") ? METRICS_OPENMETRICS : METRICS_PROMETHEUS;
}

int metrics_write(const json_t *status, enum metrics_format format, const struct strbuf *more, struct strbuf *out)
{
	const struct writer w = { out, format };

	write_build(&w, status);
	for (size_t i = 0; i < ARRAY_SIZE(plains); i++)
		write_plain(&w, status, &plains[i]);
	write_pods(&w, status);
	write_upstreams(&w, status);
	for (size_t i = 0; i < ARRAY_SIZE(keyeds); i++)
		write_keyed(&w, status, &keyeds[i]);
	write_xds(&w, status);
	strbuf_append(out, strbuf_text(more), more->size);
	if (format == METRICS_OPENMETRICS)
		strbuf_append_text(out, "# EOF\n");
	return strbuf_status(out);
}

static void flatten(const json_t *value, char *path, size_t len, struct strbuf *out)
{
	const char *key;
	json_t *inner;
	size_t i;

	if (json_is_integer(value) || json_is_boolean(value))
		strbuf_printf(out, "%s: %lld\n", path, (long long)number_of(value));
	json_object_foreach((json_t *)value, key, inner) {
		int n = snprintf(path + len, PATH_MAX_BYTES - len, "%s%s", len ? "." : "", key);

		if (n > 0 && len + (size_t)n < PATH_MAX_BYTES)
			flatten(inner, path, len + (size_t)n, out);
	}
	json_array_foreach(value, i, inner) {
		int n = snprintf(path + len, PATH_MAX_BYTES - len, ".%zu", i);

		if (n > 0 && len + (size_t)n < PATH_MAX_BYTES)
			flatten(inner, path, len + (size_t)n, out);
	}
	path[len] = '\0';
}

int metrics_write_flat(const json_t *status, struct strbuf *out)
{
	char path[PATH_MAX_BYTES] = "";

	flatten(status, path, 0, out);
	return strbuf_status(out);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Series as scrapers read them: names, labels and buckets are those of Istio's sidecars. */
#include <inttypes.h>

#include "telemetry/traffic_internal.h"

#define NS_PER_MS 1000000u

static const char *const bounds[WEFT_DURATION_BUCKETS] = {
	"0.5",   "1",     "5",     "10",    "25",    "50",     "100",    "250",     "500",     "1000",
	"2500",  "5000",  "10000", "30000", "60000", "300000", "600000", "1800000", "3600000", "+Inf",
};

static const char *const flags[WEFT_FLAG_COUNT] = {
	[WEFT_FLAG_NONE] = "-",
	[WEFT_FLAG_NO_ROUTE] = "NR",
	[WEFT_FLAG_NO_CLUSTER] = "NC",
	[WEFT_FLAG_NO_HEALTHY] = "UH",
	[WEFT_FLAG_CONNECT_FAILURE] = "UF",
	[WEFT_FLAG_UPSTREAM_CLOSED] = "UC",
	[WEFT_FLAG_UPSTREAM_PROTOCOL] = "UPE",
	[WEFT_FLAG_OVERFLOW] = "UO",
	[WEFT_FLAG_TIMEOUT] = "UT",
	[WEFT_FLAG_RETRY_LIMIT] = "URX",
	[WEFT_FLAG_FAULT] = "FI",
	[WEFT_FLAG_BAD_REQUEST] = "DPE",
	[WEFT_FLAG_CLIENT_GONE] = "DC",
	[WEFT_FLAG_TCP] = "-",
};

struct family {
	const char *name, *help;
	enum { OF_EXCHANGES, OF_CONNECTIONS } of;
	bool is_histogram;
	uint64_t (*value)(const struct weft_traffic_sums *sums);
	const uint64_t *(*buckets)(const struct weft_traffic_sums *sums);
};

static uint64_t total(const uint64_t *buckets)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < WEFT_DURATION_BUCKETS; i++)
		sum += buckets[i];
	return sum;
}

static const uint64_t *durations(const struct weft_traffic_sums *sums)
{
	return sums->durations;
}

static const uint64_t *request_sizes(const struct weft_traffic_sums *sums)
{
	return sums->requests;
}

static const uint64_t *response_sizes(const struct weft_traffic_sums *sums)
{
	return sums->responses;
}

static uint64_t exchanges(const struct weft_traffic_sums *sums)
{
	return total(sums->durations);
}

static uint64_t request_bytes(const struct weft_traffic_sums *sums)
{
	return sums->request_bytes;
}

static uint64_t response_bytes(const struct weft_traffic_sums *sums)
{
	return sums->response_bytes;
}

static uint64_t opened(const struct weft_traffic_sums *sums)
{
	return sums->opened;
}

static uint64_t closed(const struct weft_traffic_sums *sums)
{
	return sums->closed;
}

static const struct family families[] = {
	{ "istio_requests", "Requests of this node's pods, by whoever carried them.", OF_EXCHANGES, false, exchanges, NULL },
	{ "istio_request_duration_milliseconds", "From the request's first byte to the response's last.", OF_EXCHANGES, true, NULL, durations },
	{ "istio_request_bytes", "Sizes of requests, heads included.", OF_EXCHANGES, true, request_bytes, request_sizes },
	{ "istio_response_bytes", "Sizes of responses, heads included.", OF_EXCHANGES, true, response_bytes, response_sizes },
	{ "istio_tcp_connections_opened", "Connections of this node's pods that are no HTTP.", OF_CONNECTIONS, false, opened, NULL },
	{ "istio_tcp_connections_closed", "Those of them that are over.", OF_CONNECTIONS, false, closed, NULL },
	{ "istio_tcp_sent_bytes", "Bytes that their clients got, once they are over.", OF_CONNECTIONS, false, response_bytes, NULL },
	{ "istio_tcp_received_bytes", "Bytes that their clients sent, once they are over.", OF_CONNECTIONS, false, request_bytes, NULL },
};

static void write_labels(struct strbuf *out, const struct family *family, const struct series *series)
{
	strbuf_printf(out, "{reporter=\"source\",%s", series->labels);
	if (family->of == OF_EXCHANGES)
		strbuf_printf(out, ",request_protocol=\"http\",response_code=\"%u\",grpc_response_status=\"\"", series->status);
	else
		strbuf_append_text(out, ",request_protocol=\"tcp\"");
	strbuf_printf(out, ",response_flags=\"%s\",connection_security_policy=\"unknown\"", flags[series->flag]);
}

static void write_histogram(struct strbuf *out, const struct family *family, const struct series *series)
{
	const uint64_t *buckets = family->buckets(&series->sums);
	uint64_t below = 0;

	for (uint32_t i = 0; i < WEFT_DURATION_BUCKETS; i++) {
		below += buckets[i];
		strbuf_printf(out, "%s_bucket", family->name);
		write_labels(out, family, series);
		strbuf_printf(out, ",le=\"%s\"} %" PRIu64 "\n", bounds[i], below);
	}
	strbuf_printf(out, "%s_sum", family->name);
	write_labels(out, family, series);
	if (family->value)
		strbuf_printf(out, "} %" PRIu64 "\n", family->value(&series->sums));
	else
		strbuf_printf(out, "} %" PRIu64 ".%06" PRIu64 "\n", series->sums.duration_ns / NS_PER_MS, series->sums.duration_ns % NS_PER_MS);
	strbuf_printf(out, "%s_count", family->name);
	write_labels(out, family, series);
	strbuf_printf(out, "} %" PRIu64 "\n", below);
}

static void write_series(struct strbuf *out, const struct family *family, const struct series *series)
{
	if ((series->flag == WEFT_FLAG_TCP) != (family->of == OF_CONNECTIONS))
		return;
	if (family->is_histogram) {
		write_histogram(out, family, series);
		return;
	}
	strbuf_printf(out, "%s_total", family->name);
	write_labels(out, family, series);
	strbuf_printf(out, "} %" PRIu64 "\n", family->value(&series->sums));
}

int series_write(const struct series *table, const struct series *others, size_t other_count, bool is_openmetrics, struct strbuf *out)
{
	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
		const struct family *family = &families[f];
		const char *suffix = !family->is_histogram && !is_openmetrics ? "_total" : "";

		strbuf_printf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", family->name, suffix, family->help, family->name, suffix,
			      family->is_histogram ? "histogram" : "counter");
		for (const struct series *series = table; series; series = series->hh.next)
			write_series(out, family, series);
		for (size_t i = 0; i < other_count; i++) {
			if (exchanges(&others[i].sums) || others[i].sums.opened || others[i].sums.closed)
				write_series(out, family, &others[i]);
		}
	}
	return strbuf_status(out);
}

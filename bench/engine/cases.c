// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
#include "cases.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

#define ENDPOINTS 10

/* A generator of its own, so that everybody measures the same requests. */
static uint64_t random_next(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 16;
}

static void host_name(const struct bench_case *one, uint32_t index, char *out, size_t size)
{
	snprintf(out, size, "reviews%" PRIu32 ".default", index % one->virtual_hosts);
}

static void add_virtual_host(const struct bench_case *one, uint32_t index, struct strbuf *out)
{
	char host[64];
	uint32_t i;

	host_name(one, index, host, sizeof(host));
	strbuf_printf(out, "  - name: %s.svc.cluster.local:9080\n    domains: [%s.svc.cluster.local, %s, %s.svc, 10.96.%" PRIu32 ".%" PRIu32 "]\n    routes:\n",
		      host, host, host, host, index >> 8, index & 255);
	for (i = 0; i < one->routes; i++) {
		uint32_t service = one->routes - 1 - i;

		if (i < one->unanchored)
			strbuf_printf(out, "    - {match: {safe_regex: {regex: \".*word-%02" PRIu32 "x.*\"}}, route: {cluster: cluster-%" PRIu32 "}}\n", i, index);
		else if (one->unanchored)
			strbuf_printf(out, "    - {match: {safe_regex: {regex: \"/api/v[0-9]/service-%05" PRIu32 "/.*\"}}, route: {cluster: cluster-%" PRIu32 "}}\n",
				      service, index);
		else
			strbuf_printf(out, "    - {match: {prefix: /api/v1/service-%05" PRIu32 "/}, route: {cluster: cluster-%" PRIu32 "}}\n", service, index);
	}
}

static void add_cluster(uint32_t index, struct strbuf *out)
{
	uint32_t i;

	strbuf_printf(out, "- {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: cluster-%" PRIu32 ", type: STATIC, lb_policy: LEAST_REQUEST,\n"
		      "   load_assignment: {cluster_name: cluster-%" PRIu32 ", endpoints: [{lb_endpoints: [\n", index, index);
	for (i = 0; i < ENDPOINTS; i++)
		strbuf_printf(out, "   {endpoint: {address: {socket_address: {address: 10.%" PRIu32 ".%" PRIu32 ".%" PRIu32 ", port_value: 8080}}}},\n",
			      1 + (index >> 8), index & 255, i + 1);
	strbuf_append_text(out, "   ]}]}}\n");
}

void case_config(const struct bench_case *one, struct strbuf *out)
{
	uint32_t i;

	strbuf_append_text(out,
		"resources:\n"
		"- {\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener, name: bench, address: {socket_address: {address: 0.0.0.0, port_value: 80}},\n"
		"   filter_chains: [{filters: [{name: h, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,\n"
		"   stat_prefix: x, normalize_path: true, rds: {route_config_name: bench, config_source: {ads: {}, resource_api_version: V3}},\n"
		"   http_filters: [{name: envoy.filters.http.router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}\n"
		"- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n"
		"  name: bench\n"
		"  ignore_port_in_host_matching: true\n"
		"  virtual_hosts:\n");
	for (i = 0; i < one->virtual_hosts; i++)
		add_virtual_host(one, i, out);
	for (i = 0; i < one->virtual_hosts; i++)
		add_cluster(i, out);
}

/* ---- requests -------------------------------------------------------------------------------------------------------------------- */

static void hex(struct strbuf *out, uint64_t *random, uint32_t digits)
{
	while (digits--)
		strbuf_append_byte(out, "0123456789abcdef"[random_next(random) & 15]);
}

static void uuid(struct strbuf *out, uint64_t *random)
{
	static const uint32_t parts[] = { 8, 4, 4, 4, 12 };
	size_t i;

	for (i = 0; i < 5; i++) {
		if (i)
			strbuf_append_byte(out, '-');
		hex(out, random, parts[i]);
	}
}

/* What follows Host, as various clients have it; the rest of the 512 bytes is a cookie or a token. */
static void add_browser(struct strbuf *out, uint64_t *random)
{
	strbuf_printf(out, "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:1%02u.0) Gecko/20100101 Firefox/1%02u.0\r\n", (unsigned)random_next(random) % 40,
		      (unsigned)random_next(random) % 40);
	strbuf_append_text(out, "Accept: text/html,application/xhtml+xml,application/xml;q=0.9\r\nAccept-Language: en-GB,en;q=0.5\r\n"
				"Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: session=");
}

static void add_go_client(struct strbuf *out, uint64_t *random)
{
	strbuf_append_text(out, "User-Agent: Go-http-client/1.1\r\nAccept: application/json\r\nX-Request-Id: ");
	uuid(out, random);
	strbuf_append_text(out, "\r\nX-B3-Traceid: ");
	hex(out, random, 32);
	strbuf_append_text(out, "\r\nX-B3-Spanid: ");
	hex(out, random, 16);
	strbuf_append_text(out, "\r\nX-B3-Sampled: 1\r\nAccept-Encoding: gzip\r\nAuthorization: Bearer ");
}

static void add_python_client(struct strbuf *out, uint64_t *random)
{
	strbuf_printf(out, "User-Agent: python-requests/2.%u.0\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
		      "X-Tenant: tenant-%u\r\nTraceparent: 00-", (unsigned)random_next(random) % 32, (unsigned)random_next(random) % 5000);
	hex(out, random, 32);
	strbuf_append_byte(out, '-');
	hex(out, random, 16);
	strbuf_append_text(out, "-01\r\nAuthorization: Bearer ");
}

static void add_java_client(struct strbuf *out, uint64_t *random)
{
	strbuf_append_text(out, "Accept: application/json, application/*+json\r\nContent-Type: application/json\r\nX-Forwarded-For: 10.0.");
	strbuf_printf(out, "%u.%u\r\nUser-Agent: Java/17.0.%u\r\nB3: ", (unsigned)random_next(random) % 256, (unsigned)random_next(random) % 256,
		      (unsigned)random_next(random) % 12);
	hex(out, random, 16);
	strbuf_append_text(out, "\r\nCache-Control: no-cache\r\nPragma: no-cache\r\nConnection: keep-alive\r\nX-Session: ");
}

void case_request(const struct bench_case *one, uint32_t index, uint8_t *out)
{
	static void (*const clients[])(struct strbuf *, uint64_t *) = { add_browser, add_go_client, add_python_client, add_java_client };
	uint64_t random = index + 1;
	struct strbuf text = STRBUF_INIT;
	char host[64];

	random_next(&random);
	host_name(one, (uint32_t)random_next(&random), host, sizeof(host));
	strbuf_printf(&text, "GET /api/v1/service-%05u/item/%u", 0u, (unsigned)random_next(&random) % 1000000);
	if (index & 1)
		strbuf_printf(&text, "?page=%u&order=name", (unsigned)random_next(&random) % 100);
	strbuf_printf(&text, " HTTP/1.1\r\nHost: %s%s\r\n", host, index & 2 ? ".svc.cluster.local:9080" : ":9080");
	clients[random_next(&random) % 4](&text, &random);
	weft_assert(text.size + 4 < BENCH_HEAD_BYTES);
	hex(&text, &random, (uint32_t)(BENCH_HEAD_BYTES - 4 - text.size));
	strbuf_append_text(&text, "\r\n\r\n");
	weft_assert(!strbuf_status(&text) && text.size == BENCH_HEAD_BYTES);
	memcpy(out, text.data, text.size);
	strbuf_release(&text);
}

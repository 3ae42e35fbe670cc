/* SPDX-License-Identifier: Apache-2.0 */
/* A proxy without kernel programs: clients connect to a pod's listener, and the original destination of every one of them is what the
 * test says. Client and upstream servers are the test itself, with blocking sockets that give up after a while. */
#ifndef TEST_PROXY_HARNESS_H
#define TEST_PROXY_HARNESS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "compile/compile.h"
#include "mesh/mesh.h"
#include "proxy/proxy.h"
#include "weft/balance.h"

#define SERVERS 3
#define PATIENCE_S 10
#define COMMANDS_MAX 64

struct harness {
	struct proxy *proxy;
	struct table *table;
	int listener;
	struct sockaddr_in address;
	int servers[SERVERS];        /* listening; cluster `up` is the first, `both` the first two, `down` the closed third */
	uint16_t ports[SERVERS];
	struct weft_address original;
	uint16_t original_port_be;
	uint64_t next_cookie;        /* of all clients; 0: each has its own */
	uint64_t captured_ns;        /* of the record of every client */
	struct ids *ids;
	struct image *routes, *endpoints;
	struct weft_cluster_state clusters[WEFT_CLUSTERS_MAX];
	struct weft_endpoint_state endpoint_states[WEFT_ENDPOINTS_MAX];
	/* the kernel's side, when the fast path is on */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t answer;             /* what commands are told, beside FOUND */
	uint64_t open_exchange;
	bool is_gone;
	struct weft_connection_command commands[COMMANDS_MAX];
	uint32_t command_count;
	uint32_t drawn;              /* what the program drew; 0: nothing */
	uint32_t picked;             /* ... and picked */
	uint32_t kernel_exchanges;   /* what the record says of every connection */
	uint32_t unread_bytes;       /* what the client is said not to have read */
	int unread_at;               /* or, if set, what waits in this socket, but for so much */
	uint32_t read_bytes;
	uint32_t find_count;         /* begun: the proxy's thread is in harness_find, or was */
	uint64_t gone_exchange;
	uint32_t relays_done;
	bool was_reusable;
};

static int harness_find(void *arg, uint64_t netns_cookie, const struct weft_address *peer, uint16_t port_be, uint64_t *cookie, struct weft_connection *out)
{
	struct harness *h = arg;

	(void)netns_cookie;
	(void)peer;
	__atomic_fetch_add(&h->find_count, 1, __ATOMIC_RELEASE);
	pthread_mutex_lock(&h->lock); /* held by harness_hold() */
	pthread_mutex_unlock(&h->lock);
	if (!weft_address_is_set(&h->original))
		return -ENOENT;
	memset(out, 0, sizeof(*out));
	out->kernel_exchanges = h->kernel_exchanges;
	out->original = h->original;
	out->original_port_be = h->original_port_be;
	out->captured_ns = h->captured_ns;
	*cookie = h->next_cookie ? h->next_cookie : 0xc000000000000000ull | port_be; /* the client's port names it */
	return 0;
}

static int harness_command(void *arg, struct weft_connection_command *command)
{
	struct harness *h = arg;
	int unread = 0;

	pthread_mutex_lock(&h->lock);
	if (command->captured_ns != h->captured_ns) {
		command->answer = WEFT_ANSWER_REUSED;
		pthread_mutex_unlock(&h->lock);
		return 0;
	}
	command->answer = h->is_gone ? 0 : WEFT_ANSWER_FOUND | h->answer;
	command->open_exchange = h->answer & WEFT_ANSWER_EXCHANGE_OPEN ? h->open_exchange : 0;
	command->unread_bytes = h->unread_bytes;
	if (h->unread_at && ioctl(h->unread_at, FIONREAD, &unread) == 0)
		command->unread_bytes = (uint32_t)unread > h->read_bytes ? (uint32_t)unread - h->read_bytes : 0;
	if (command->commands & ~WEFT_COMMAND_TAKE_CHOICE && h->command_count < COMMANDS_MAX) /* a mere question is none */
		h->commands[h->command_count++] = *command;
	if (command->commands & WEFT_COMMAND_TAKE_CHOICE) {
		command->drawn = h->drawn;
		command->picked = h->picked;
		h->drawn = h->picked = 0;
	}
	if (command->commands & WEFT_COMMAND_END_EXCHANGE && command->exchange == h->open_exchange)
		h->answer &= ~WEFT_ANSWER_EXCHANGE_OPEN;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	return 0;
}

static inline void harness_client_gone(void *arg, uint64_t cookie, uint64_t exchange)
{
	struct harness *h = arg;

	(void)cookie;
	pthread_mutex_lock(&h->lock);
	h->gone_exchange = exchange;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static inline int harness_listen(uint16_t *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

static inline void harness_give_up_after_a_while(int fd)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
}

/* Clusters up, both, slow (connect timeout 200 ms to an address that never answers is not needed: see down), down, empty; listeners
 * 0.0.0.0_80 (HTTP, sniffing, websocket), 0.0.0.0_10 (accepts HTTP/1.0), 0.0.0.0_90 (TCP). `routes` are the routes of `*`. */
static inline void harness_config(struct harness *h, struct strbuf *text, const char *routes)
{
	static const char hcm[] =
		"          - name: envoy.filters.network.http_connection_manager\n"
		"            typed_config:\n"
		"              \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n"
		"              stat_prefix: x\n"
		"              rds: {config_source: {ads: {}}, route_config_name: \"80\"}\n"
		"              http_filters:\n"
		"                - name: envoy.filters.http.fault\n"
		"                  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}\n"
		"                - name: envoy.filters.http.cors\n"
		"                  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}\n"
		"                - name: envoy.filters.http.router\n"
		"                  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}\n"
		"              normalize_path: true\n"
		"              use_remote_address: false\n"
		"              upgrade_configs: [{upgrade_type: websocket}]\n";
	static const struct {
		const char *name;
		unsigned port;
	} https[] = {{"0.0.0.0_80", 80}, {"0.0.0.0_10", 10}};
	static const struct {
		const char *name;
		int first, last;
	} clusters[] = {{"up", 0, 0}, {"both", 0, 1}, {"down", 2, 2}, {"either", 1, 2}, {"empty", 1, 0}};

	strbuf_append_text(text, "resources:\n");
	for (size_t i = 0; i < 2; i++) {
		strbuf_printf(text, "  - \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n    name: %s\n"
			      "    address: {socket_address: {address: 0.0.0.0, port_value: %u}}\n"
			      "    bind_to_port: false\n    traffic_direction: OUTBOUND\n"
			      "    filter_chains:\n"
			      "      - filter_chain_match: {%s}\n        filters:\n%s",
			      https[i].name, https[i].port, i ? "" : "transport_protocol: raw_buffer, application_protocols: [http/1.1, h2c]", hcm);
		if (i)
			strbuf_append_text(text, "              http_protocol_options: {accept_http_10: true}\n");
		else
			strbuf_append_text(text,
				"    default_filter_chain:\n      filter_chain_match: {}\n      filters:\n"
				"        - name: envoy.filters.network.tcp_proxy\n          typed_config:\n"
				"            \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\n"
				"            stat_prefix: p\n            cluster: both\n"
				"    listener_filters:\n      - name: envoy.filters.listener.http_inspector\n        typed_config:\n"
				"          \"@type\": type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector\n");
	}
	strbuf_append_text(text,
		"  - \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n    name: 0.0.0.0_90\n"
		"    address: {socket_address: {address: 0.0.0.0, port_value: 90}}\n    bind_to_port: false\n    traffic_direction: OUTBOUND\n"
		"    filter_chains:\n      - filters:\n        - name: envoy.filters.network.tcp_proxy\n          typed_config:\n"
		"            \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\n"
		"            stat_prefix: p\n            cluster: up\n");
	strbuf_printf(text, "  - \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n    name: \"80\"\n"
		      "    validate_clusters: false\n    virtual_hosts:\n      - name: all\n        domains: [\"*\"]\n        routes:\n%s", routes);
	for (size_t i = 0; i < sizeof(clusters) / sizeof(clusters[0]); i++) {
		strbuf_printf(text, "  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: %s\n    type: STATIC\n"
			      "    connect_timeout: 2s\n    load_assignment:\n      cluster_name: %s\n      endpoints:\n        - lb_endpoints:\n",
			      clusters[i].name, clusters[i].name);
		if (clusters[i].first > clusters[i].last)
			strbuf_truncate(text, text->size - strlen("      endpoints:\n        - lb_endpoints:\n"));
		for (int k = clusters[i].first; k <= clusters[i].last; k++)
			strbuf_printf(text, "            - endpoint: {hostname: s%d.test, address: {socket_address: {address: 127.0.0.1, port_value: %u}}}\n", k, h->ports[k]);
	}
}

/* `more`: resources beside those of harness_config(). */
static inline void harness_publish_more(struct harness *h, const char *routes, const char *more)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct mesh_report report = MESH_REPORT_INIT;
	struct mesh *mesh = NULL;

	harness_config(h, &text, routes);
	strbuf_append_text(&text, more);
	if (mesh_load_text("test.yaml", text.data, text.size, &mesh, &report)) {
		mesh_report_print(&report, stderr);
		fail_msg("the configuration does not load");
	}
	assert_int_equal(compile_routes(mesh, h->ids, &h->routes, NULL), 0);
	assert_int_equal(compile_endpoints(mesh, NULL, h->ids, &h->endpoints, NULL), 0);
	mesh_free(&mesh);
	mesh_report_release(&report);
	assert_int_equal(proxy_publish(h->proxy, 0, WEFT_IMAGE_ENDPOINTS, h->endpoints->base, h->endpoints->size_bytes, NULL, NULL), 0);
	assert_int_equal(proxy_publish(h->proxy, 0, WEFT_IMAGE_ROUTES, h->routes->base, h->routes->size_bytes, NULL, NULL), 0);
}

static inline void harness_publish(struct harness *h, const char *routes)
{
	harness_publish_more(h, routes, "");
}

static const char harness_routes[] =
	"          - {name: direct, match: {path: /direct}, direct_response: {status: 200, body: {inline_string: direct}}}\n"
	"          - {name: none, match: {path: /none}, direct_response: {status: 204}}\n"
	"          - {name: down, match: {prefix: /down}, route: {cluster: down, timeout: 0s}}\n"
	"          - {name: empty, match: {prefix: /empty}, route: {cluster: empty, timeout: 0s}}\n"
	"          - {name: missing, match: {prefix: /missing}, route: {cluster: nowhere, timeout: 0s}}\n"
	"          - {name: hasty, match: {prefix: /hasty}, route: {cluster: up, timeout: 0.2s}}\n"
	"          - {name: both, match: {prefix: /both}, route: {cluster: both, timeout: 0s}}\n"
	"          - name: either\n            match: {prefix: /either}\n            route: {cluster: either, timeout: 0s, retry_policy: "
	"{retry_on: connect-failure, num_retries: 3}}\n"
	"          - name: again\n            match: {prefix: /again}\n            route: {cluster: down, timeout: 0s, retry_policy: "
	"{retry_on: connect-failure, num_retries: 2}}\n"
	"          - {name: up, match: {prefix: /u}, route: {cluster: up, timeout: 0s}}\n"
	"          - {name: root, match: {path: /}, route: {cluster: up, timeout: 0s}}\n";

struct harness_options {
	bool is_fast_path_on;
	uint16_t original_port; /* 0: 80 */
	struct proxy_limits limits;
	struct table *table;
	bool has_no_images;
	bool decorates;
};

static inline struct harness *harness_new(const struct harness_options *options)
{
	struct harness *h = calloc(1, sizeof(*h));
	struct proxy_backend backend = {.arg = h, .connection_find = harness_find, .connection_command = harness_command};
	struct proxy_options own = {.is_fast_path_on = options->is_fast_path_on, .limits = options->limits, .table = options->table,
				    .decorates = options->decorates,
				    .threads = 1, .client_gone = harness_client_gone, .client_gone_arg = h};
	struct proxy_pod pod = {.pod_id = 1, .netns_fd = -1, .netns_cookie = 1, .addresses = {WEFT_IP4(0)}, .listener_fds = {-1, -1}};
	uint16_t port;

	assert_non_null(h);
	if (!own.limits.silence_ms) /* a test that is slow to speak means nothing by it */
		own.limits.silence_ms = 3600000;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->changed, NULL);
	backend.clusters = h->clusters;
	backend.endpoints = h->endpoint_states;
	h->original = WEFT_IP4(inet_addr("10.96.0.1"));
	h->original_port_be = htons(options->original_port ? options->original_port : 80);
	for (int i = 0; i < SERVERS; i++) {
		h->servers[i] = harness_listen(&h->ports[i]);
		harness_give_up_after_a_while(h->servers[i]);
	}
	close(h->servers[2]);
	h->servers[2] = -1;
	h->listener = harness_listen(&port);
	assert_int_equal(fcntl(h->listener, F_SETFL, O_NONBLOCK), 0);
	h->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(ids_new(&h->ids, NULL), 0);
	assert_int_equal(proxy_new_with_backend(&h->proxy, &backend, &own), 0);
	if (!options->has_no_images)
		harness_publish(h, harness_routes);
	pod.listener_fds[WEFT_FAMILY_4] = h->listener;
	assert_int_equal(proxy_pod_add(h->proxy, &pod), 0);
	return h;
}

static inline void harness_free(struct harness *h)
{
	struct proxy_stats stats;

	assert_int_equal(proxy_pod_remove(h->proxy, 1), 0);
	proxy_free(&h->proxy);
	(void)stats;
	image_free(&h->routes);
	image_free(&h->endpoints);
	ids_free(&h->ids);
	for (size_t i = 0; i < WEFT_ENDPOINTS_MAX; i++)
		assert_int_equal(h->endpoint_states[i].proxied, 0);
	for (int i = 0; i < SERVERS; i++)
		if (h->servers[i] >= 0)
			close(h->servers[i]);
	close(h->listener);
	free(h);
}

/* ---- sockets of the test -------------------------------------------------------------------------------------------------- */

static inline int client_new(struct harness *h)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	harness_give_up_after_a_while(fd);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	assert_int_equal(connect(fd, (struct sockaddr *)&h->address, sizeof(h->address)), 0);
	return fd;
}

/* The proxy's one thread stands still, so that it finds all at once what the test does meanwhile. Returns what harness_let_go() wants. */
static inline int harness_hold(struct harness *h)
{
	uint32_t before = __atomic_load_n(&h->find_count, __ATOMIC_ACQUIRE);
	int fd;

	pthread_mutex_lock(&h->lock);
	fd = client_new(h);
	while (__atomic_load_n(&h->find_count, __ATOMIC_ACQUIRE) == before)
		usleep(1000);
	return fd;
}
static inline void harness_let_go(struct harness *h, int held)
{
	pthread_mutex_unlock(&h->lock);
	close(held);
}

static inline uint64_t client_cookie(int fd)
{
	struct sockaddr_in own;
	socklen_t len = sizeof(own);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &len), 0);
	return 0xc000000000000000ull | own.sin_port;
}

static inline int server_accept(struct harness *h, int server)
{
	int fd = accept4(h->servers[server], NULL, NULL, SOCK_CLOEXEC), on = 1;

	assert_true(fd >= 0);
	harness_give_up_after_a_while(fd);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static inline bool server_has_caller(struct harness *h, int server, int wait_ms)
{
	struct pollfd poll_fd = {.fd = h->servers[server], .events = POLLIN};

	return poll(&poll_fd, 1, wait_ms) > 0;
}

static inline void put_bytes(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		assert_true(n > 0);
		at += n;
		len -= (size_t)n;
	}
}
static inline void put_text(int fd, const char *text)
{
	put_bytes(fd, text, strlen(text));
}

static inline void reset(int fd)
{
	const struct linger now = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* What comes within `wait_ms`: 1 bytes, 0 end of stream, -1 nothing. */
static inline int what_comes(int fd, int wait_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	char byte;
	ssize_t n;

	if (poll(&poll_fd, 1, wait_ms) <= 0)
		return -1;
	n = recv(fd, &byte, 1, MSG_PEEK);
	return n > 0 ? 1 : 0;
}

/* A head up to its blank line, as text; the bytes after it stay in the socket. */
static inline char *get_head(int fd)
{
	struct strbuf text = STRBUF_INIT;

	for (;;) {
		char peeked[70000], *end;
		size_t had = text.size, take;
		ssize_t n = recv(fd, peeked, sizeof(peeked), MSG_PEEK);

		if (n <= 0) {
			if (!had) {
				strbuf_release(&text);
				return NULL;
			}
			fail_msg("the head ends after: %s", strbuf_text(&text));
		}
		strbuf_append(&text, peeked, (size_t)n);
		end = memmem(text.data, text.size, "\r\n\r\n", 4);
		take = end ? (size_t)(end + 4 - text.data) - had : (size_t)n;
		assert_int_equal(recv(fd, peeked, take, MSG_WAITALL), take);
		strbuf_truncate(&text, had + take);
		if (end)
			return strbuf_take(&text);
	}
}

static inline void get_exactly(int fd, void *into, size_t len)
{
	char *at = into;

	while (len) {
		ssize_t n = recv(fd, at, len, 0);

		if (n <= 0)
			fail_msg("%zu bytes are missing (%zd, errno %d)", len, n, errno);
		at += n;
		len -= (size_t)n;
	}
}

static inline void expect_bytes(int fd, const char *expected)
{
	size_t len = strlen(expected);
	_cleanup_free_ char *got = calloc(1, len + 1);

	get_exactly(fd, got, len);
	assert_string_equal(got, expected);
}

static inline void expect_end(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

struct reply {
	char *head;
	int status, minor;
	struct strbuf body;
	bool is_whole;
};

static inline const char *header_of(const char *head, const char *name, char *value, size_t size)
{
	size_t len = strlen(name);

	for (const char *line = strchr(head, '\n'); line; line = strchr(line, '\n')) {
		const char *end;

		line++;
		if (strncasecmp(line, name, len) || line[len] != ':')
			continue;
		line += len + 1;
		while (*line == ' ')
			line++;
		end = strstr(line, "\r\n");
		snprintf(value, size, "%.*s", (int)(end - line), line);
		return value;
	}
	return NULL;
}

static inline bool has_line(const char *head, const char *line)
{
	_cleanup_free_ char *whole = NULL;

	assert_true(asprintf(&whole, "\r\n%s\r\n", line) > 0);
	return strcasestr(head, whole) != NULL;
}

static inline void get_chunked(int fd, struct reply *reply)
{
	for (;;) {
		char line[32] = "", data[70000];
		size_t at = 0, size;

		while (at < sizeof(line) - 1) {
			if (recv(fd, &line[at], 1, 0) != 1) {
				reply->is_whole = false;
				return;
			}
			if (line[at++] == '\n')
				break;
		}
		size = strtoul(line, NULL, 16);
		while (size) {
			ssize_t n = recv(fd, data, size < sizeof(data) ? size : sizeof(data), 0);

			if (n <= 0) {
				reply->is_whole = false;
				return;
			}
			strbuf_append(&reply->body, data, (size_t)n);
			size -= (size_t)n;
		}
		expect_bytes(fd, "\r\n");
		if (line[0] == '0')
			return;
	}
}

static inline void get_reply_to(int fd, struct reply *reply, bool is_head)
{
	char value[64];

	memset(reply, 0, sizeof(*reply));
	reply->head = get_head(fd);
	if (!reply->head)
		fail_msg("no response");
	reply->is_whole = true;
	assert_int_equal(sscanf(reply->head, "HTTP/1.%d %d", &reply->minor, &reply->status), 2);
	strbuf_append(&reply->body, "", 0);
	if (is_head || reply->status < 200 || reply->status == 204 || reply->status == 304)
		return;
	if (has_line(reply->head, "transfer-encoding: chunked")) {
		get_chunked(fd, reply);
		return;
	}
	if (header_of(reply->head, "content-length", value, sizeof(value))) {
		size_t left = strtoul(value, NULL, 10);

		while (left) {
			char data[70000];
			ssize_t n = recv(fd, data, left < sizeof(data) ? left : sizeof(data), 0);

			if (n <= 0) {
				reply->is_whole = false;
				return;
			}
			strbuf_append(&reply->body, data, (size_t)n);
			left -= (size_t)n;
		}
		return;
	}
	for (;;) {
		char data[70000];
		ssize_t n = recv(fd, data, sizeof(data), 0);

		if (n <= 0)
			return;
		strbuf_append(&reply->body, data, (size_t)n);
	}
}

static inline void get_reply(int fd, struct reply *reply)
{
	get_reply_to(fd, reply, false);
}

static inline void reply_release(struct reply *reply)
{
	free(reply->head);
	strbuf_release(&reply->body);
}

static inline void expect_reply(int fd, int status, const char *body)
{
	struct reply reply;

	get_reply(fd, &reply);
	assert_int_equal(reply.status, status);
	assert_string_equal(strbuf_text(&reply.body), body);
	assert_true(reply.is_whole);
	reply_release(&reply);
}

/* Bytes that say where they are. */
static inline char *pattern(size_t size, unsigned seed)
{
	char *bytes = malloc(size + 1);

	assert_non_null(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (char)('A' + (i * 7 + i / 251 + seed) % 26);
	bytes[size] = 0;
	return bytes;
}

static inline uint64_t test_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#endif

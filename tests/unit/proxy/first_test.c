/* SPDX-License-Identifier: Apache-2.0 */
/* The first bytes of a connection: TLS by server name, HTTP or not, and servers that speak first. */
#include "proxy/kernel.h"

#include "proxy/client_hello.h"
#include "weft/hash.h"

/* ---- reading the first message ------------------------------------------------------------------------------------------------- */

struct hello {
	u8 bytes[20000];
	u32 len;
};

static void put(struct hello *hello, const void *bytes, size_t len)
{
	memcpy(hello->bytes + hello->len, bytes, len);
	hello->len += (u32)len;
}

static void put_number(struct hello *hello, u32 number, u32 size)
{
	while (size--) {
		u8 byte = (u8)(number >> (8 * size));

		put(hello, &byte, 1);
	}
}

/* A ClientHello for `name` (NULL: without one) with `padding` bytes more, in records of at most `record` bytes. */
static void hello_make(struct hello *out, const char *name, u32 padding, u32 record)
{
	static const u8 zeros[16000];
	struct hello body = {.len = 0}, message = {.len = 0}, extensions = {.len = 0};
	u32 len = name ? (u32)strlen(name) : 0;

	put_number(&extensions, 43, 2); /* supported_versions */
	put_number(&extensions, 3, 2);
	put(&extensions, "\x02\x03\x04", 3);
	if (name) {
		put_number(&extensions, 0, 2);
		put_number(&extensions, len + 5, 2);
		put_number(&extensions, len + 3, 2);
		put_number(&extensions, 0, 1);
		put_number(&extensions, len, 2);
		put(&extensions, name, len);
	}
	if (padding) {
		put_number(&extensions, 21, 2);
		put_number(&extensions, padding, 2);
		put(&extensions, zeros, padding);
	}
	put_number(&body, 0x0303, 2);
	put(&body, zeros, 32);
	put_number(&body, 32, 1);
	put(&body, zeros, 32);
	put_number(&body, 4, 2);
	put(&body, "\x13\x01\x13\x02", 4);
	put(&body, "\x01\x00", 2);
	put_number(&body, extensions.len, 2);
	put(&body, extensions.bytes, extensions.len);
	put_number(&message, 1, 1);
	put_number(&message, body.len, 3);
	put(&message, body.bytes, body.len);
	out->len = 0;
	for (u32 at = 0; at < message.len; at += record) {
		u32 now = message.len - at < record ? message.len - at : record;

		put(out, "\x16\x03\x01", 3);
		put_number(out, now, 2);
		put(out, message.bytes + at, now);
	}
}

static void names_are_found(void **state)
{
	static const struct {
		const char *name, *found;
		u32 padding, record;
	} cases[] = {
		{"a.test", "a.test", 0, 16384},  {"A.Test", "a.test", 0, 16384}, {NULL, "", 0, 16384},
		{"a.test", "a.test", 0, 1},      {"a.test", "a.test", 3000, 700}, {"a.test", "a.test", 15000, 16384},
	};
	static struct hello hello;
	char name[SERVER_NAME_MAX + 1];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		hello_make(&hello, cases[i].name, cases[i].padding, cases[i].record);
		for (u32 len = 0; len < hello.len; len++)
			assert_int_equal(client_hello_read(hello.bytes, len, name), CLIENT_HELLO_MORE);
		assert_int_equal(client_hello_read(hello.bytes, hello.len, name), CLIENT_HELLO_DONE);
		assert_string_equal(name, cases[i].found);
		/* What follows is not looked at. */
		put(&hello, "more", 4);
		assert_int_equal(client_hello_read(hello.bytes, hello.len, name), CLIENT_HELLO_DONE);
	}
}

static void what_is_malformed_is_no_tls(void **state)
{
	static const struct {
		u32 at;
		u8 byte;
	} damage[] = {
		{0, 23},   /* no handshake */
		{1, 2},    /* no TLS version */
		{5, 2},    /* a ServerHello */
		{43, 33},  /* a session of 33 bytes */
		{77, 3},   /* an odd length of cipher suites */
	};
	static struct hello hello;
	char name[SERVER_NAME_MAX + 1];

	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		hello_make(&hello, "a.test", 0, 16384);
		hello.bytes[damage[i].at] = damage[i].byte;
		assert_int_equal(client_hello_read(hello.bytes, hello.len, name), CLIENT_HELLO_NONE);
	}
	hello_make(&hello, "", 0, 16384); /* an empty name */
	assert_int_equal(client_hello_read(hello.bytes, hello.len, name), CLIENT_HELLO_NONE);
	hello_make(&hello, "a.test", 0, 16384);
	hello.bytes[hello.len - 3] = 0;
	assert_int_equal(client_hello_read(hello.bytes, hello.len, name), CLIENT_HELLO_NONE);
	assert_int_equal(client_hello_read((const u8 *)"\x16\x03\x01\x00\x00", 5, name), CLIENT_HELLO_NONE);
	assert_int_equal(client_hello_read((const u8 *)"GET / HT", 8, name), CLIENT_HELLO_NONE);
}

static void what_is_too_large_is_told(void **state)
{
	static struct hello hello;
	char name[SERVER_NAME_MAX + 1];

	hello_make(&hello, "a.test", 16000, 16384);
	hello.bytes[7] = 0x40; /* 16384 bytes of message and its header */
	assert_int_equal(client_hello_read(hello.bytes, 100, name), CLIENT_HELLO_LARGE);
}

/* ---- through the proxy ---------------------------------------------------------------------------------------------------------- */

#define TYPE(name) "\"@type\": type.googleapis.com/envoy.extensions.filters." name
#define TLS_INSPECTOR "{name: tls, typed_config: {" TYPE("listener.tls_inspector.v3.TlsInspector") "}}"
#define HTTP_INSPECTOR "{name: http, typed_config: {" TYPE("listener.http_inspector.v3.HttpInspector") "}}"
#define TCP(cluster) "filters: [{name: tcp, typed_config: {" TYPE("network.tcp_proxy.v3.TcpProxy") ", stat_prefix: t, cluster: " cluster "}}]"
#define HTTP(more)                                                                                                                             \
	"filters: [{name: http, typed_config: {" TYPE("network.http_connection_manager.v3.HttpConnectionManager") ", stat_prefix: h, " more      \
	"rds: {config_source: {ads: {}}, route_config_name: \"80\"}, "                                                                         \
	"http_filters: [{name: router, typed_config: {" TYPE("http.router.v3.Router") "}}]}}]"
#define IF_HTTP "filter_chain_match: {transport_protocol: raw_buffer, application_protocols: [http/1.1, h2c]}, "
#define IF_OLD_HTTP "filter_chain_match: {transport_protocol: raw_buffer, application_protocols: [http/1.0, http/1.1, h2c]}, "
#define IF_HTTP_1 "filter_chain_match: {transport_protocol: raw_buffer, application_protocols: [http/1.1]}, "
#define LISTENER(port, inspectors, chains, rest)                                                                                       \
	"  - \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n    name: \"" port "\"\n"                               \
	"    address: {socket_address: {address: 0.0.0.0, port_value: " port "}}\n    traffic_direction: OUTBOUND\n"                   \
	"    listener_filters: [" inspectors "]\n    filter_chains: [" chains "]\n" rest
#define OTHERWISE(chain) "    default_filter_chain: {" chain "}\n"
#define NAMES                                                                                                                                    \
	"{filter_chain_match: {server_names: [a.test, \"*.wide.test\"]}, " TCP("up") "}, "                                                     \
	"{filter_chain_match: {server_names: [\"*.b.test\", deep.wide.test]}, " TCP("second") "}, "                                            \
	"{filter_chain_match: {server_names: [refused.test]}, filters: [{name: odd, typed_config: {" TYPE("network.odd.v3.Odd") "}}]}"

static const char more[] =
	LISTENER("443", TLS_INSPECTOR, NAMES, "")
	LISTENER("444", TLS_INSPECTOR, NAMES, OTHERWISE(TCP("second")))
	LISTENER("8443", TLS_INSPECTOR ", " HTTP_INSPECTOR, "{" IF_HTTP HTTP("") "}, " NAMES, OTHERWISE(TCP("second")))
	LISTENER("8080", HTTP_INSPECTOR, "{" IF_HTTP HTTP("") "}", OTHERWISE(TCP("second")))
	LISTENER("8010", HTTP_INSPECTOR, "{" IF_OLD_HTTP HTTP("") "}", OTHERWISE(TCP("second")))
	LISTENER("8011", HTTP_INSPECTOR, "{" IF_HTTP_1 HTTP("") "}", OTHERWISE(TCP("second")))
	LISTENER("8081", HTTP_INSPECTOR, "{" IF_HTTP HTTP("use_remote_address: true, ") "}", OTHERWISE(TCP("second")))
	LISTENER("8082", HTTP_INSPECTOR, "{" IF_HTTP HTTP("") "}", OTHERWISE(TCP("down")))
	LISTENER("8083", "", "{filters: [{name: tcp, typed_config: {" TYPE("network.tcp_proxy.v3.TcpProxy") ", stat_prefix: t, cluster: ring, "
		 "hash_policy: [{source_ip: {}}]}}]}", "");

static int setup(void **state)
{
	struct harness *h = harness_new(&(struct harness_options){.has_no_images = true, .is_fast_path_on = true, .limits.silence_ms = 200});
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	strbuf_append_text(&text, more);
	strbuf_printf(&text, "  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: second\n    type: STATIC\n"
		      "    load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: ["
		      "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %u}}}}]}]}\n", h->ports[1]);
	strbuf_printf(&text, "  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: ring\n    type: STATIC\n"
		      "    lb_policy: RING_HASH\n    load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: ["
		      "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %u}}}},"
		      "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %u}}}}]}]}\n", h->ports[0], h->ports[1]);
	harness_publish_more(h, harness_routes, strbuf_text(&text));
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	harness_free(*state);
	return 0;
}

static int dial(struct harness *h, uint16_t port)
{
	h->original_port_be = htons(port);
	return client_new(h);
}

/* -1: nobody within a while */
static int who_is_called(struct harness *h, int wait_ms)
{
	struct pollfd servers[2] = {{.fd = h->servers[0], .events = POLLIN}, {.fd = h->servers[1], .events = POLLIN}};

	if (poll(servers, 2, wait_ms) <= 0)
		return -1;
	return servers[0].revents ? 0 : 1;
}

static void expect_tunnel(struct harness *h, int client, int which, const void *sent, size_t len)
{
	_cleanup_free_ char *got = calloc(1, len);
	int server;

	assert_int_equal(who_is_called(h, PATIENCE_S * 1000), which);
	server = server_accept(h, which);
	get_exactly(server, got, len);
	assert_memory_equal(got, sent, len);
	put_text(server, "back");
	expect_bytes(client, "back");
	close(client);
	expect_end(server);
	close(server);
}

static void tls_takes_the_chain_of_its_name(void **state)
{
	static const struct {
		const char *name;
		int server; /* -1: closed */
	} cases[] = {
		{"a.test", 0},         {"A.TEST", 0},      {"x.wide.test", 0}, {"x.y.wide.test", 0}, {"deep.wide.test", 1},
		{"x.deep.wide.test", 0}, {"x.b.test", 1}, {"b.test", -1},     {"wide.test", -1},    {"refused.test", -1},
		{"other.test", -1},    {NULL, -1},
	};
	struct harness *h = *state;
	static struct hello hello;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int client = dial(h, 443);

		hello_make(&hello, cases[i].name, 0, 16384);
		put_bytes(client, hello.bytes, hello.len);
		if (cases[i].server < 0) {
			expect_end(client);
			close(client);
		} else {
			expect_tunnel(h, client, cases[i].server, hello.bytes, hello.len);
		}
	}
}

static void other_names_take_the_last_chain(void **state)
{
	struct harness *h = *state;
	static struct hello hello;
	int client = dial(h, 444);

	hello_make(&hello, "other.test", 0, 16384);
	put_bytes(client, hello.bytes, hello.len);
	expect_tunnel(h, client, 1, hello.bytes, hello.len);
	client = dial(h, 444);
	put_text(client, "no tls at all");
	expect_tunnel(h, client, 1, "no tls at all", 13);
}

static void a_hello_may_come_in_pieces(void **state)
{
	struct harness *h = *state;
	static struct hello hello;
	int client = dial(h, 443);

	hello_make(&hello, "a.test", 9000, 5000);
	put_bytes(client, hello.bytes, 1);
	assert_int_equal(who_is_called(h, 100), -1);
	put_bytes(client, hello.bytes + 1, 5500);
	assert_int_equal(who_is_called(h, 100), -1);
	put_bytes(client, hello.bytes + 5501, hello.len - 5501);
	expect_tunnel(h, client, 0, hello.bytes, hello.len);
}

static void one_port_serves_http_tls_and_the_rest(void **state)
{
	struct harness *h = *state;
	static struct hello hello;
	int client = dial(h, 8443);

	hello_make(&hello, "a.test", 0, 16384);
	put_bytes(client, hello.bytes, hello.len);
	expect_tunnel(h, client, 0, hello.bytes, hello.len);
	client = dial(h, 8443);
	put_text(client, "\x01\x02\x03\x04\x05\x06\x07\x08");
	expect_tunnel(h, client, 1, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	client = dial(h, 8443);
	put_text(client, "GET /direct HTTP/1.1\r\nhost: a\r\n\r\n");
	expect_reply(client, 200, "direct");
	close(client);
}

static void a_refused_chain_refuses_its_own_traffic(void **state)
{
	struct harness *h = *state;
	int client = dial(h, 8081);
	struct reply reply;

	put_text(client, "GET /direct HTTP/1.1\r\nhost: a\r\n\r\n");
	get_reply(client, &reply);
	assert_int_equal(reply.status, 503);
	reply_release(&reply);
	expect_end(client);
	close(client);
	client = dial(h, 8081);
	put_text(client, "\x01\x02\x03\x04\x05\x06\x07\x08");
	expect_tunnel(h, client, 1, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
}

/* As Envoy's http_inspector: tests/unit/engine/first_line_test.c has more of them. */
static void what_begins_with_no_request_line_takes_the_other_chain(void **state)
{
	static const char *const lines[] = {
		"GET / HTTP/1.0\r\n\r\n", "GET /\r\n", "GET / HTTP/2.0\r\n\r\n", "GET key\r\n", "GET key another\r\n", "GET key another", "DELETE key 0\r\n",
		"\r\n", "\n", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS rtsp://a/ RTSP/1.0\r\n\r\n",
	};
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		int client = dial(h, 8080);

		forget_commands(h);
		put_text(client, lines[i]);
		expect_tunnel(h, client, 1, lines[i], strlen(lines[i]));
		assert_int_equal(last_command(h).commands, WEFT_COMMAND_PROXY_ONLY);
	}
}

static void expect_refusal(struct harness *h, int client, const char *request, int status)
{
	struct reply reply;

	put_text(client, request);
	get_reply(client, &reply);
	if (reply.status != status)
		fail_msg("%s was answered %s", request, reply.head);
	reply_release(&reply);
	expect_end(client);
	close(client);
	assert_int_equal(who_is_called(h, 50), -1);
}

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

static u64 prefaces(struct harness *h)
{
	struct proxy_stats stats;

	proxy_stats(h->proxy, &stats);
	return stats.reasons[PROXY_REASON_PREFACE];
}

static void the_preface_of_http_2_ends_its_connection(void **state)
{
	static const uint16_t ports[] = {10, 8080};
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		u64 before = prefaces(h);
		int client = dial(h, ports[i]);

		put_text(client, PREFACE);
		expect_end(client);
		close(client);
		assert_int_equal(prefaces(h), before + 1);
	}
	assert_int_equal(who_is_called(h, 50), -1);
}

/* Where nothing but HTTP comes, its first bytes are enough; where other bytes have a chain of their own, only all of it is. */
static void a_preface_in_pieces_is_what_a_whole_one_is(void **state)
{
	static const struct {
		uint16_t port;
		size_t decides_at;
	} listeners[] = {{10, 12}, {8080, 24}, {8010, 24}, {8443, 24}};
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(listeners) / sizeof(listeners[0]); i++) {
		for (size_t cut = 1; cut <= strlen(PREFACE); cut++) {
			u64 before = prefaces(h);
			int client = dial(h, listeners[i].port);

			put_bytes(client, PREFACE, cut);
			if (cut < listeners[i].decides_at) {
				if (what_comes(client, 20) != -1)
					fail_msg("port %u: closed after %zu bytes", listeners[i].port, cut);
				put_bytes(client, PREFACE + cut, strlen(PREFACE) - cut);
			}
			expect_end(client);
			close(client);
			assert_int_equal(prefaces(h), before + 1);
		}
	}
	assert_int_equal(who_is_called(h, 50), -1);
}

static void a_preface_takes_the_other_chain_where_that_of_http_does_not_name_it(void **state)
{
	struct harness *h = *state;

	for (size_t cut = 1; cut <= strlen(PREFACE); cut++) {
		u64 before = prefaces(h);
		int client = dial(h, 8011);

		put_bytes(client, PREFACE, cut);
		if (cut < strlen(PREFACE)) {
			assert_int_equal(who_is_called(h, 5), -1);
			put_bytes(client, PREFACE + cut, strlen(PREFACE) - cut);
		}
		expect_tunnel(h, client, 1, PREFACE, strlen(PREFACE));
		assert_int_equal(prefaces(h), before);
	}
}

static void half_a_preface_and_no_more_ends_with_its_client(void **state)
{
	struct harness *h = *state;

	for (size_t len = 8; len < strlen(PREFACE); len += 8) {
		int client = dial(h, 8080);

		put_bytes(client, PREFACE, len);
		assert_int_equal(shutdown(client, SHUT_WR), 0);
		expect_end(client);
		close(client);
	}
	assert_int_equal(who_is_called(h, 50), -1);
}

static void what_is_no_preface_in_the_end_takes_the_other_chain(void **state)
{
	static const char *const others[] = {"PRI * HTTP/2.0\r\n\r\nSM\r\nx", "PRI * HTTP/2.1\r\n", "PRI * HTTP/2.x\r\n", "PRI * HTTP/3\r\n", "PRI * HTx"};
	struct harness *h = *state;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		for (size_t cut = 1; cut <= strlen(others[i]); cut++) {
			int client = dial(h, 8080);

			put_bytes(client, others[i], cut);
			if (cut < strlen(others[i]) && memcmp(others[i], PREFACE, cut) == 0) {
				assert_int_equal(what_comes(client, 20), -1);
				assert_int_equal(who_is_called(h, 0), -1);
			}
			put_bytes(client, others[i] + cut, strlen(others[i]) - cut);
			expect_tunnel(h, client, 1, others[i], strlen(others[i]));
		}
	}
}

static void any_token_is_a_method_of_http(void **state)
{
	struct harness *h = *state;

	expect_refusal(h, dial(h, 8080), "FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
	expect_refusal(h, dial(h, 8080), "get / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

static void older_http_may_be_of_the_chain_for_http(void **state)
{
	struct harness *h = *state;

	expect_refusal(h, dial(h, 8010), "GET / HTTP/1.0\r\n\r\n", 426);
	expect_refusal(h, dial(h, 8010), "GET /\r\n\r\n", 426);
}

static void what_follows_requests_of_the_kernel_takes_no_other_chain(void **state)
{
	struct harness *h = *state;
	static struct hello hello;
	int client;

	h->kernel_exchanges = 1;
	expect_refusal(h, dial(h, 8080), "\x01\x02\x03\r\n\r\n", 400);
	expect_refusal(h, dial(h, 8080), "FOO / HTTP/1.1\r\n\r\n", 400);
	expect_refusal(h, dial(h, 8080), "GET / HTTP/1.0\r\n\r\n", 426);
	hello_make(&hello, "a.test", 0, 16384);
	client = dial(h, 8443);
	put_bytes(client, hello.bytes, hello.len);
	expect_refusal(h, client, "", 400);
	h->kernel_exchanges = 0;
}

/* A response that the kernel left to the proxy answers a request of the kernel's, too: what comes after it is of a connection of HTTP. */
static void what_follows_a_relayed_response_takes_no_other_chain(void **state)
{
	struct harness *h = *state;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(h->ports[0]), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static const char *const requests[] = {"\x01\x02\x03\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"};
	static const int statuses[] = {400, 426};

	for (u32 i = 0; i < 2; i++) {
		int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client = dial(h, 8080), server;
		struct proxy_relay relay = {.client_cookie = client_cookie(client), .fd = upstream, .slot = 5, .lease = i + 1, .method = WEFT_METHOD_GET};

		assert_int_equal(connect(upstream, (struct sockaddr *)&address, sizeof(address)), 0);
		assert_int_equal(fcntl(upstream, F_SETFL, O_NONBLOCK), 0);
		server = server_accept(h, 0);
		kernel_answers(h, WEFT_ANSWER_EXCHANGE_OPEN, WEFT_EXCHANGE(5, i + 1));
		assert_int_equal(proxy_relay(h->proxy, &relay), 0);
		put_text(server, OK);
		expect_reply(client, 200, "ok");
		kernel_answers(h, 0, 0);
		/* Nor is it one whose server speaks first. */
		assert_int_equal(who_is_called(h, 500), -1);
		expect_refusal(h, client, requests[i], statuses[i]);
		close(server);
		close(upstream);
	}
}

/* ---- who speaks first ------------------------------------------------------------------------------------------------------------ */

static void a_server_may_speak_first(void **state)
{
	struct harness *h = *state;
	int client, server;

	forget_commands(h);
	client = dial(h, 8080);
	server = server_accept(h, 1);
	put_text(server, "220 ready\r\n");
	expect_bytes(client, "220 ready\r\n");
	put_text(client, "EHLO me\r\n");
	expect_bytes(server, "EHLO me\r\n");
	put_text(server, "250 hello\r\n");
	expect_bytes(client, "250 hello\r\n");
	/* The kernel was told that no request comes here any more. */
	assert_int_equal(last_command(h).commands, WEFT_COMMAND_PROXY_ONLY);
	close(client);
	expect_end(server);
	close(server);
}

static void a_slow_client_may_still_speak_http(void **state)
{
	struct harness *h = *state;
	int client = dial(h, 8080), server = server_accept(h, 1);

	put_text(client, "GET /direct HTTP/1.1\r\nhost: a\r\n\r\n");
	expect_reply(client, 200, "direct");
	expect_end(server);
	close(server);
	put_text(client, "GET /direct HTTP/1.1\r\nhost: a\r\n\r\n");
	expect_reply(client, 200, "direct");
	assert_int_equal(who_is_called(h, 400), -1);
	close(client);
}

static void a_slow_client_may_still_speak_something_else(void **state)
{
	struct harness *h = *state;
	int client = dial(h, 8080), server = server_accept(h, 1);

	put_text(client, "\x01\x02\x03\x04");
	expect_end(server);
	close(server);
	expect_tunnel(h, client, 1, "\x01\x02\x03\x04", 4);
}

static void a_server_that_is_not_there_ends_nothing(void **state)
{
	struct harness *h = *state;
	int client = dial(h, 8082);

	usleep(400000);
	assert_int_equal(what_comes(client, 10), -1);
	put_text(client, "GET /direct HTTP/1.1\r\nhost: a\r\n\r\n");
	expect_reply(client, 200, "direct");
	close(client);
}

static void a_server_that_goes_ends_nothing(void **state)
{
	struct harness *h = *state;
	int client = dial(h, 8080);

	close(server_accept(h, 1));
	assert_int_equal(what_comes(client, 300), -1);
	put_text(client, "GET /direct HTTP/1.1\r\nhost: a\r\n\r\n");
	expect_reply(client, 200, "direct");
	close(client);
}

static void a_client_that_the_kernel_serves_is_left_to_it(void **state)
{
	struct harness *h = *state;
	int client;

	h->kernel_exchanges = 1;
	client = dial(h, 8080);
	assert_int_equal(who_is_called(h, 500), -1);
	h->kernel_exchanges = 0;
	close(client);
}

static void a_tunnel_takes_no_connection_that_carried_http(void **state)
{
	struct harness *h = *state;
	int client = dial(h, 80), server, other;

	put_text(client, "GET /u HTTP/1.1\r\nhost: a\r\n\r\n");
	server = server_accept(h, 0);
	free(get_head(server));
	put_text(server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
	expect_reply(client, 200, "ok");
	other = dial(h, 90); /* TCP, to the same endpoint */
	put_text(other, "hello");
	expect_tunnel(h, other, 0, "hello", 5);
	close(server);
	close(client);
}

static void a_tunnel_may_be_hashed_by_its_client(void **state)
{
	struct harness *h = *state;
	struct weft_balance_query query = {.image = {h->endpoints->base, h->endpoints->size_bytes}, .cluster_id = ids_cluster_find(h->ids, "ring"),
					   .hash_state = WEFT_HASH_READY, .hash = weft_source_hash(&WEFT_IP4(0))};
	struct weft_endpoint endpoint;
	int server;

	assert_int_equal(weft_pick_endpoint(&query, &endpoint), 0);
	server = ntohs(endpoint.port_be) == h->ports[0] ? 0 : 1;
	for (int i = 0; i < 8; i++) {
		int client = dial(h, 8083);

		put_text(client, "x");
		expect_tunnel(h, client, server, "x", 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_found),
		cmocka_unit_test(what_is_malformed_is_no_tls),
		cmocka_unit_test(what_is_too_large_is_told),
		cmocka_unit_test_setup_teardown(tls_takes_the_chain_of_its_name, setup, teardown),
		cmocka_unit_test_setup_teardown(other_names_take_the_last_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(a_hello_may_come_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(one_port_serves_http_tls_and_the_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refused_chain_refuses_its_own_traffic, setup, teardown),
		cmocka_unit_test_setup_teardown(what_begins_with_no_request_line_takes_the_other_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(the_preface_of_http_2_ends_its_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(a_preface_in_pieces_is_what_a_whole_one_is, setup, teardown),
		cmocka_unit_test_setup_teardown(a_preface_takes_the_other_chain_where_that_of_http_does_not_name_it, setup, teardown),
		cmocka_unit_test_setup_teardown(half_a_preface_and_no_more_ends_with_its_client, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_preface_in_the_end_takes_the_other_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(any_token_is_a_method_of_http, setup, teardown),
		cmocka_unit_test_setup_teardown(older_http_may_be_of_the_chain_for_http, setup, teardown),
		cmocka_unit_test_setup_teardown(what_follows_requests_of_the_kernel_takes_no_other_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(what_follows_a_relayed_response_takes_no_other_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(a_server_may_speak_first, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slow_client_may_still_speak_http, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slow_client_may_still_speak_something_else, setup, teardown),
		cmocka_unit_test_setup_teardown(a_server_that_is_not_there_ends_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_server_that_goes_ends_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_client_that_the_kernel_serves_is_left_to_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_tunnel_takes_no_connection_that_carried_http, setup, teardown),
		cmocka_unit_test_setup_teardown(a_tunnel_may_be_hashed_by_its_client, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Hash policies through the proxy: which server is reached, which cookies are made. That the choice is Envoy's is tested by the compile stage. */
#include "proxy/harness.h"

#include "weft/hash.h"

#define POLICY(policies) "hash_policy: [" policies "]"

static const char routes[] =
	"          - {name: header, match: {path: /header}, route: {cluster: ring, timeout: 0s, " POLICY("{header: {header_name: x-user}}") "}}\n"
	"          - {name: word, match: {path: /word}, route: {cluster: ring, timeout: 0s, "
	POLICY("{header: {header_name: x-user, regex_rewrite: {pattern: {regex: '^([a-z]+).*$'}, substitution: '\\1'}}}") "}}\n"
	"          - {name: query, match: {path: /query}, route: {cluster: ring, timeout: 0s, " POLICY("{query_parameter: {name: user}}") "}}\n"
	"          - {name: cookie, match: {path: /cookie}, route: {cluster: ring, timeout: 0s, "
	POLICY("{cookie: {name: sid, ttl: 60s, path: /app, attributes: [{name: SameSite, value: Strict}, {name: Secure}]}}") "}}\n"
	"          - {name: session, match: {path: /session}, route: {cluster: ring, timeout: 0s, " POLICY("{cookie: {name: s, ttl: 0s}}") "}}\n"
	"          - {name: passive, match: {path: /passive}, route: {cluster: ring, timeout: 0s, " POLICY("{cookie: {name: s}}") "}}\n"
	"          - {name: set, match: {path: /set}, route: {cluster: ring, timeout: 0s, " POLICY("{header: {header_name: x-user}}") "}, "
	"request_headers_to_add: [{header: {key: x-user, value: fixed}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}\n"
	"          - {name: moved, match: {prefix: /moved/}, route: {cluster: ring, timeout: 0s, prefix_rewrite: /to/, " POLICY("{header: {header_name: ':path'}}") "}}\n"
	"          - {name: named, match: {prefix: /named/}, route: {cluster: ring, timeout: 0s, host_rewrite_literal: new.test, " POLICY("{header: {header_name: ':authority'}}") "}}\n"
	"          - {name: moved-from, match: {prefix: /moved-from/}, route: {cluster: ring, timeout: 0s, prefix_rewrite: /to/, " POLICY("{header: {header_name: x-envoy-original-path}}") "}}\n"
	"          - {name: named-from, match: {prefix: /named-from/}, route: {cluster: ring, timeout: 0s, host_rewrite_literal: new.test, " POLICY("{header: {header_name: x-envoy-original-host}}") "}}\n"
	"          - {name: named-for, match: {prefix: /named-for/}, route: {cluster: ring, timeout: 0s, host_rewrite_literal: new.test, append_x_forwarded_host: true, " POLICY("{header: {header_name: x-forwarded-host}}") "}}\n"
	"          - {name: timed, match: {path: /timed}, route: {cluster: ring, timeout: 7s, " POLICY("{header: {header_name: x-envoy-expected-rq-timeout-ms}}") "}}\n"
	"          - {name: plain, match: {path: /plain}, route: {cluster: ring, timeout: 0s, " POLICY("{header: {header_name: x-forwarded-proto}}") "}}\n"
	"          - {name: turns, match: {path: /turns}, route: {cluster: both, timeout: 0s, " POLICY("{cookie: {name: sid, ttl: 60s}}") "}}\n"
	"          - {name: dead, match: {path: /dead}, route: {cluster: half-dead, timeout: 0s, " POLICY("{header: {header_name: x-user}}") ", "
	"retry_policy: {retry_on: connect-failure, num_retries: 2, retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config: "
	"{\"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]}}}\n";

static int setup(void **state)
{
	struct harness *h = harness_new(&(struct harness_options){.has_no_images = true});
	_cleanup_(strbuf_release) struct strbuf clusters = STRBUF_INIT;
	static const struct {
		const char *name;
		int first, last;
	} all[] = {{"ring", 0, 1}, {"half-dead", 1, 2}};

	for (size_t i = 0; i < 2; i++)
		strbuf_printf(&clusters, "  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: %s\n    type: STATIC\n"
			      "    connect_timeout: 2s\n    lb_policy: RING_HASH\n    load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: ["
			      "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %u}}}},"
			      "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %u}}}}]}]}\n",
			      all[i].name, h->ports[all[i].first], h->ports[all[i].last]);
	harness_publish_more(h, routes, strbuf_text(&clusters));
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	harness_free(*state);
	return 0;
}

/* The server that the engine would choose for this text. */
static int server_for(struct harness *h, const char *cluster, const char *text, u32 attempt)
{
	struct weft_balance_query query = {.image = {h->endpoints->base, h->endpoints->size_bytes}, .cluster_id = ids_cluster_find(h->ids, cluster),
					   .hash_state = WEFT_HASH_READY, .hash = weft_hash_bytes(text, (u32)strlen(text), 0), .attempt = attempt};
	struct weft_endpoint endpoint;

	assert_int_equal(weft_pick_endpoint(&query, &endpoint), 0);
	for (int i = 0; i < SERVERS; i++)
		if (ntohs(endpoint.port_be) == h->ports[i])
			return i;
	return -1;
}

/* Sends a request on a fresh connection; returns the server that got it, and the response's head. */
static int ask(struct harness *h, const char *target, const char *lines, char **head)
{
	_cleanup_free_ char *request = NULL;
	int client = client_new(h), which = -1, server;
	struct pollfd servers[2] = {{.fd = h->servers[0], .events = POLLIN}, {.fd = h->servers[1], .events = POLLIN}};
	struct reply reply;

	assert_true(asprintf(&request, "GET %s HTTP/1.1\r\nhost: a.test\r\n%s\r\n", target, lines) > 0);
	put_text(client, request);
	assert_true(poll(servers, 2, PATIENCE_S * 1000) > 0);
	which = servers[0].revents ? 0 : 1;
	server = server_accept(h, which);
	free(get_head(server));
	put_text(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nset-cookie: own=1\r\nconnection: close\r\n\r\nok");
	get_reply(client, &reply);
	assert_int_equal(reply.status, 200);
	if (head)
		*head = TAKE_PTR(reply.head);
	reply_release(&reply);
	close(server);
	close(client);
	return which;
}

/* Envoy: of the request as it goes upstream. */
static void test_the_hash_is_of_what_the_route_has_changed(void **state)
{
	struct harness *h = *state;

	for (int i = 0; i < 12; i++) {
		char line[64], path[64];

		snprintf(line, sizeof(line), "x-user: user-%d\r\n", i);
		assert_int_equal(ask(h, "/set", line, NULL), server_for(h, "ring", "fixed", 0));
		snprintf(line, sizeof(line), "/moved/%d?a=%d", i, i);
		snprintf(path, sizeof(path), "/to/%d?a=%d", i, i);
		assert_int_equal(ask(h, line, "", NULL), server_for(h, "ring", path, 0));
		assert_int_equal(ask(h, "/named/x", "", NULL), server_for(h, "ring", "new.test", 0));
	}
}

/* Headers that Envoy adds for its own sake are hashed, whether they are sent or not. */
static void test_the_hash_is_of_what_envoy_would_have_added(void **state)
{
	struct harness *h = *state;

	for (int i = 0; i < 12; i++) {
		char target[64];

		snprintf(target, sizeof(target), "/moved-from/%d?a=%d", i, i);
		assert_int_equal(ask(h, target, "", NULL), server_for(h, "ring", target, 0));
		assert_int_equal(ask(h, "/named-from/x", "", NULL), server_for(h, "ring", "a.test", 0));
		assert_int_equal(ask(h, "/named-for/x", "", NULL), server_for(h, "ring", "a.test", 0));
		assert_int_equal(ask(h, "/timed", "", NULL), server_for(h, "ring", "7000", 0));
		assert_int_equal(ask(h, "/plain", "", NULL), server_for(h, "ring", "http", 0));
	}
}

static void test_requests_reach_the_server_that_their_hash_says(void **state)
{
	struct harness *h = *state;
	int seen[2] = {0, 0};

	for (int i = 0; i < 24; i++) {
		char name[16], line[64];
		int server;

		snprintf(name, sizeof(name), "user-%c", 'a' + i);
		server = server_for(h, "ring", name, 0);
		snprintf(line, sizeof(line), "X-User:  %s \r\n", name);
		assert_int_equal(ask(h, "/header", line, NULL), server);
		snprintf(line, sizeof(line), "/query?x=1&user=%s", name);
		assert_int_equal(ask(h, line, "", NULL), server);
		seen[server]++;
		snprintf(line, sizeof(line), "x-user: %c%c%d\r\n", 'a' + i, 'z', i);
		snprintf(name, sizeof(name), "%cz", 'a' + i);
		assert_int_equal(ask(h, "/word", line, NULL), server_for(h, "ring", name, 0));
	}
	assert_true(seen[0] && seen[1]);
}

static void test_repeated_lines_are_hashed_in_order_of_their_values(void **state)
{
	struct harness *h = *state;

	for (int i = 0; i < 6; i++) {
		char forth[64], back[64];

		snprintf(forth, sizeof(forth), "x-user: a%d\r\nx-user: b%d\r\n", i, i);
		snprintf(back, sizeof(back), "x-user: b%d\r\nx-user: a%d\r\n", i, i);
		assert_int_equal(ask(h, "/header", forth, NULL), ask(h, "/header", back, NULL));
	}
}

static void test_a_cookie_is_made_and_leads_back(void **state)
{
	struct harness *h = *state;

	for (int i = 0; i < 6; i++) {
		char value[17] = "", line[64];
		_cleanup_free_ char *head = NULL, *again = NULL;
		const char *cookie;
		int server = ask(h, "/cookie", "", &head), tail = 0;

		cookie = strstr(head, "set-cookie: sid=");
		assert_non_null(cookie);
		sscanf(cookie, "set-cookie: sid=\"%16[0-9a-f]\"%n", value, &tail);
		assert_int_equal(strlen(value), 16);
		assert_memory_equal(cookie + tail, "; Max-Age=60; Path=/app; SameSite=Strict; Secure; HttpOnly\r\n", 60);
		assert_true(has_line(head, "set-cookie: own=1"));
		assert_int_equal(server, server_for(h, "ring", value, 0));
		snprintf(line, sizeof(line), "cookie: a=b; sid=\"%s\"\r\n", value);
		assert_int_equal(ask(h, "/cookie", line, &again), server);
		assert_null(strstr(again, "sid="));
	}
}

static void test_a_session_cookie_has_no_age_and_one_without_ttl_is_not_made(void **state)
{
	struct harness *h = *state;
	_cleanup_free_ char *head = NULL, *passive = NULL, *turns = NULL;

	ask(h, "/session", "", &head);
	assert_non_null(strstr(head, "\"; HttpOnly\r\n"));
	assert_null(strstr(head, "Max-Age"));
	ask(h, "/passive", "", &passive);
	assert_null(strstr(passive, "; HttpOnly"));
	/* a cluster that does not hash takes no notice of hash policies */
	ask(h, "/turns", "", &turns);
	assert_null(strstr(turns, "; HttpOnly"));
}

static void test_a_dead_server_gives_way_to_the_next_on_the_ring(void **state)
{
	struct harness *h = *state;
	int dead = 0;

	for (int i = 0; dead < 6; i++) {
		char name[16], line[64];

		snprintf(name, sizeof(name), "user-%d", i);
		snprintf(line, sizeof(line), "x-user: %s\r\n", name);
		/* chosen at first, and the next place is the other's (Envoy too looks at a few places only) */
		if (server_for(h, "half-dead", name, 0) != 2 || server_for(h, "half-dead", name, 1) != 1)
			continue;
		dead++;
		assert_int_equal(ask(h, "/dead", line, NULL), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_requests_reach_the_server_that_their_hash_says, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repeated_lines_are_hashed_in_order_of_their_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_cookie_is_made_and_leads_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_session_cookie_has_no_age_and_one_without_ttl_is_not_made, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_hash_is_of_what_the_route_has_changed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_hash_is_of_what_envoy_would_have_added, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_dead_server_gives_way_to_the_next_on_the_ring, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The public vectors through the proxy: refused with the status, closed and never passed on, or passed on as one request. */
#include "engine/http1_vectors.h"
#include "proxy/harness.h"

/* All that comes there is HTTP: where it shares the port with others, the listener takes HTTP/1.0 for one of them. */
#define TYPE(name) "\"@type\": type.googleapis.com/envoy.extensions.filters." name
static const char http_alone[] =
	"  - \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n    name: alone\n"
	"    address: {socket_address: {address: 0.0.0.0, port_value: 81}}\n    traffic_direction: OUTBOUND\n"
	"    filter_chains: [{filters: [{name: http, typed_config: {" TYPE("network.http_connection_manager.v3.HttpConnectionManager") ", stat_prefix: h, "
	"rds: {config_source: {ads: {}}, route_config_name: \"80\"}, "
	"http_filters: [{name: router, typed_config: {" TYPE("http.router.v3.Router") "}}]}}]}]\n";

static int setup(void **state)
{
	struct harness *h = harness_new(&(struct harness_options){.has_no_images = true});

	harness_publish_more(h, harness_routes, http_alone);
	h->original_port_be = htons(81);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	harness_free(*state);
	return 0;
}

static void expect_refused(struct harness *h, const struct http1_vector *vector)
{
	struct reply reply = {0};
	int client = client_new(h);

	put_bytes(client, vector->bytes, vector->len);
	/* It is not to be used again, whatever follows. */
	put_text(client, "GET /u HTTP/1.1\r\nHost: a\r\n\r\n");
	get_reply(client, &reply);
	if (reply.status != vector->status)
		fail_msg("%s: %d instead of %d", vector->name, reply.status, vector->status);
	if (!has_line(reply.head, "connection: close"))
		fail_msg("%s: the connection is kept", vector->name);
	expect_end(client);
	reply_release(&reply);
	close(client);
}

static void expect_passed_on(struct harness *h, const struct http1_vector *vector)
{
	int client, server;
	char *head;

	/* Chunked bodies were refused when their heads had gone on already. */
	while (server_has_caller(h, 0, 0))
		close(server_accept(h, 0));
	client = client_new(h);
	put_bytes(client, vector->bytes, vector->len);
	server = server_accept(h, 0);
	head = get_head(server);
	if (strcasestr(head, "x-trailer"))
		fail_msg("%s: a trailer became a header", vector->name);
	free(head);
	expect_bytes(server, vector->body);
	put_text(server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
	expect_reply(client, 200, "ok");
	close(server);
	close(client);
}

static void test_the_public_vectors_are_answered_as_named(void **state)
{
	struct harness *h = *state;

	for (size_t i = 0; i < HTTP1_VECTORS; i++) {
		print_message("%s\n", http1_vectors[i].name);
		if (http1_vectors[i].status == 200)
			expect_passed_on(h, &http1_vectors[i]);
		else
			expect_refused(h, &http1_vectors[i]);
	}
}

/* Whatever comes before it. */
static void expect_some_end(int fd)
{
	char bytes[1024];

	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
}

/* What chunked bodies that end badly leave at a server is no whole request. */
static void test_no_refused_vector_reaches_a_server_whole(void **state)
{
	struct harness *h = *state;

	for (size_t i = 0; i < HTTP1_VECTORS; i++) {
		const struct http1_vector *vector = &http1_vectors[i];
		char found[4096];
		ssize_t n, len = 0;
		int client, server;

		if (vector->status == 200)
			continue;
		client = client_new(h);
		put_bytes(client, vector->bytes, vector->len);
		shutdown(client, SHUT_WR);
		expect_some_end(client);
		close(client);
		if (!server_has_caller(h, 0, 0))
			continue;
		server = server_accept(h, 0);
		while ((n = recv(server, found + len, sizeof(found) - (size_t)len, 0)) > 0)
			len += n;
		if (memmem(found, (size_t)len, "\r\n0\r\n\r\n", 7) || !memmem(found, (size_t)len, "chunked", 7))
			fail_msg("%s: a server got %.*s", vector->name, (int)len, found);
		close(server);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_public_vectors_are_answered_as_named, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_refused_vector_reaches_a_server_whole, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel chose for a request before it handed it up is what the proxy goes by. */
#include "proxy/kernel.h"
#include "weft/balance.h"

static int setup(void **state)
{
	*state = harness_new(&(struct harness_options){.is_fast_path_on = true});
	return 0;
}

static int teardown(void **state)
{
	harness_free(*state);
	return 0;
}

static void choose(struct harness *h, uint32_t drawn, uint32_t picked)
{
	pthread_mutex_lock(&h->lock);
	h->drawn = drawn;
	h->picked = picked;
	pthread_mutex_unlock(&h->lock);
}

/* Which cluster it is decides whether the kernel does it: were it drawn anew here, the other one would get more than its weight. */
static void test_a_request_goes_where_the_kernel_has_drawn(void **state)
{
	static const char routes[] = "          - name: chance\n            match: {prefix: /}\n            route: {timeout: 0s, weighted_clusters: "
				     "{clusters: [{name: empty, weight: 1}, {name: up, weight: 1}]}}\n";
	struct harness *h = harness_new(&(struct harness_options){.is_fast_path_on = true, .has_no_images = true});
	int client, server;

	(void)state;
	harness_publish(h, routes);
	client = client_new(h);
	choose(h, 3, 0); /* the second of two */
	put_text(client, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	put_text(server, OK);
	expect_reply(client, 200, "ok");
	for (uint32_t i = 1; i < 40; i++) {
		choose(h, 2 * i + 3, 0);
		exchange_on(client, server);
	}
	choose(h, 4, 0);
	put_text(client, REQUEST);
	expect_reply(client, 503, "no healthy upstream");
	close(client);
	close(server);
	harness_free(h);
}

static uint32_t id_of(const struct harness *h, uint16_t port)
{
	const struct weft_image_header *header = (const void *)h->endpoints->base;
	struct weft_image_handle image = {.base = h->endpoints->base, .size = h->endpoints->size_bytes};

	for (uint32_t cluster_id = 0; cluster_id < header->cluster_count; cluster_id++) {
		weft_ref ref = weft_find_cluster(&image, cluster_id);
		const struct weft_cluster *cluster = ref ? weft_at(&image, ref) : NULL;

		for (uint32_t i = 0; cluster && i < cluster->endpoint_count; i++) {
			struct weft_cursor cursor = {0};
			const struct weft_endpoint *endpoint = weft_member(&image, &cursor, cluster, i);

			if (endpoint && endpoint->port_be == htons(port))
				return endpoint->id;
		}
	}
	fail_msg("no endpoint has port %u", port);
	return 0;
}

/* It had its turn when the kernel picked it. One that is not of this cluster is none; and each is taken for one request alone. */
static void test_a_request_goes_to_the_endpoint_that_the_kernel_has_picked(void **state)
{
	static const char request[] = "GET /both HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
	struct harness *h = *state;
	uint32_t second = id_of(h, h->ports[1]), foreign = id_of(h, h->ports[2]);

	for (int i = 0; i < 12; i++) {
		int client = client_new(h), server, expected = i < 8 ? 1 : i % 2;

		choose(h, 1, i < 8 ? second : i < 10 ? foreign : 0);
		put_text(client, request);
		server = server_accept(h, expected);
		free(get_head(server));
		put_text(server, OK);
		expect_reply(client, 200, "ok");
		assert_int_equal(h->picked, 0);
		close(server);
		close(client);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_request_goes_where_the_kernel_has_drawn),
		cmocka_unit_test_setup_teardown(test_a_request_goes_to_the_endpoint_that_the_kernel_has_picked, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

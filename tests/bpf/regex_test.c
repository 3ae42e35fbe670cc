// SPDX-License-Identifier: Apache-2.0
/* Regular expressions as the daemon compiles them, in the kernel against the host, and what they cost there. Needs root. */
#include "harness.h"
#include "compile/regexes.h"
#include "compile/routes.h"
#include "weft/fast.h"

#define ROUTES_MAX 128u
#define SLOT 6u

/* ---- a virtual host ----------------------------------------------------------------------------------------------------------------- */

struct host {
	struct mesh_route_config config;
	struct mesh_virtual_host virtual_host;
	struct mesh_route routes[ROUTES_MAX];
	struct mesh_header_matcher headers[ROUTES_MAX];
	struct mesh_query_matcher queries[ROUTES_MAX];
	char paths[ROUTES_MAX][96];
	u32 count;
	struct ids *ids;
	struct image *image;
	struct weft_route_query query;
};

static const char *every[] = {"*"};

static void host_begin(struct host *host)
{
	memset(host, 0, sizeof(*host));
	host->config.resource.name = host->virtual_host.name = "host";
	host->config.resource.place.file = "";
	host->config.virtual_hosts = &host->virtual_host;
	host->config.virtual_host_count = 1;
	host->virtual_host.domains = (struct mesh_texts){every, 1};
	host->virtual_host.routes = host->routes;
}

static struct mesh_route *host_add(struct host *host, enum mesh_path_kind kind, const char *format, ...)
{
	struct mesh_route *route = &host->routes[host->count];
	va_list arguments;

	assert_true(host->count < ROUTES_MAX);
	va_start(arguments, format);
	vsnprintf(host->paths[host->count], sizeof(host->paths[0]), format, arguments);
	va_end(arguments);
	route->name = "";
	route->match.path = host->paths[host->count];
	route->match.path_kind = kind;
	route->match.is_case_sensitive = true;
	route->match.headers = &host->headers[host->count];
	route->match.queries = &host->queries[host->count];
	route->forward.cluster = host->count % 2 ? "odd" : "even";
	route->forward.cluster_header = route->forward.weight_header = route->forward.prefix_rewrite = route->forward.host_rewrite_text = "";
	route->forward.cluster_not_found_status = 503;
	host->virtual_host.route_count = ++host->count;
	return route;
}

/* The route matches only with x-a: a text that the pattern takes. */
static void only_with_header(struct mesh_route *route, const char *pattern)
{
	struct mesh_header_matcher *header = (struct mesh_header_matcher *)(uintptr_t)route->match.headers;

	*header = (struct mesh_header_matcher){.name = "x-a", .string = {.kind = MESH_STRING_REGEX, .text = pattern}};
	route->match.header_count = 1;
}

static void host_publish(struct host *host, struct engine *engine)
{
	struct routes_compile c = {.lists_max = 1u << 20};

	assert_int_equal(ids_new(&host->ids, NULL), 0);
	assert_int_equal(builder_init(&c.builder, WEFT_IMAGE_ROUTES, 0), 0);
	assert_int_equal(ids_claim_new(host->ids, &c.claim), 0);
	assert_int_equal(regexes_new(&c.regexes), 0);
	assert_int_equal(route_table_compile(&c, &host->config, &host->query.route_table), 0);
	builder_header(&c.builder)->listeners = builder_header(&c.builder)->route_tables = builder_list(&c.builder, &host->query.route_table, 1);
	assert_int_equal(builder_finish(&c.builder, &c.claim, &host->image), 0);
	regexes_free(&c.regexes);
	host->query.image = (struct weft_image_handle){host->image->base, host->image->size_bytes};
	publish(engine, SLOT, host->image->base, host->image->page_count);
	engine->io->slot = SLOT;
	engine->io->route_table = host->query.route_table;
}

static void host_release(struct host *host)
{
	image_free(&host->image);
	ids_free(&host->ids);
}

/* ---- requests ------------------------------------------------------------------------------------------------------------------------ */

static u32 make_request(u8 *bytes, const char *path, const char *more)
{
	return (u32)sprintf((char *)bytes, "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", path, more);
}

static void parse_in_kernel(struct engine *engine, const u8 *bytes, u32 len)
{
	feed(engine, bytes, len);
	run(engine, "engine_parse_request", 1);
	assert_int_equal(engine->io->result, WEFT_PARSE_DONE);
}

static void compare(struct engine *engine, const struct host *host, const u8 *bytes, u32 len, struct counts *counts)
{
	static u8 copy[WEFT_KERNEL_HEAD_MAX + WEFT_HEAD_SLACK];
	struct weft_route_result result;
	static struct weft_head head;

	memset(copy, 0xa5, sizeof(copy));
	memcpy(copy, bytes, len);
	assert_int_equal(weft_parse_request((const void *)copy, len, &head), WEFT_PARSE_DONE);
	if (weft_head_reason(&head, 0))
		return;
	parse_in_kernel(engine, bytes, len);
	canonical(engine);
	run(engine, "engine_route", 1);
	weft_route(&host->query, (const void *)copy, &head, &result);
	counts->compared++;
	counts->done += result.kind == WEFT_ROUTE_CLUSTER;
	if (engine->io->result == (int)result.kind && !memcmp(&engine->io->route, &result, sizeof(result)))
		return;
	if (!counts->wrong++)
		print_error("kernel: %u reason %u route %u, host: %u reason %u route %u\n%.*s\n", engine->io->route.kind, engine->io->route.reason,
			    engine->io->route.route_id, result.kind, result.reason, result.route_id, (int)len, (const char *)bytes);
}

static const char *const words[] = {
	"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett",
	"kilo", "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango",
};

/* A path of pieces that the patterns are made of. */
static void make_path(char *path, u32 room, u32 *random)
{
	static const char *const pieces[] = {"/svc", "/v1", "/v", "/items", "/users", "/", "7", "42", "x", "abc", ".png", "-", "/a/b/c/d/e/f/g/h"};
	u32 count = random_next(random) % 7, at = (u32)snprintf(path, room, "/");

	while (count--)
		at += (u32)snprintf(path + at, room - at, "%s", random_next(random) % 4 ? pieces[random_next(random) % WEFT_ARRAY_SIZE(pieces)] :
											  words[random_next(random) % WEFT_ARRAY_SIZE(words)]);
}

static void add_words(struct host *host, bool behind_header)
{
	u32 i;

	for (i = 0; i < WEFT_ARRAY_SIZE(words); i++) {
		struct mesh_route *route = host_add(host, MESH_PATH_REGEX, ".*%s.*", words[i]);

		if (behind_header)
			only_with_header(route, i % 3 ? "[0-9]+" : ".*x.*");
	}
}

/* ---- the same as on the host ---------------------------------------------------------------------------------------------------------- */

static void compare_many(struct engine *engine, const struct host *host, u32 rounds)
{
	static const char *const more[] = {"", "X-A: 1\r\n", "X-A: ax\r\nX-A: 7\r\n", "X-A:\r\n", "X-A: 123456789012345678901234567890\r\n"};
	struct counts counts = {};
	u32 random = SEED, i;

	for (i = 0; i < rounds; i++) {
		char path[512], target[640];
		u8 bytes[2048];

		make_path(path, sizeof(path), &random);
		snprintf(target, sizeof(target), "%s%s", path, random_next(&random) % 3 ? "" : random_next(&random) % 2 ? "?q=12" : "?a&q=x1&q=2");
		compare(engine, host, bytes, make_request(bytes, target, more[random_next(&random) % WEFT_ARRAY_SIZE(more)]), &counts);
	}
	print_message("%u requests, %u to a cluster\n", counts.compared, counts.done);
	assert_int_equal(counts.wrong, 0);
	assert_true(counts.done > counts.compared / 4);
}

static void test_paths_are_matched_as_on_the_host(void **state)
{
	static struct host host;
	u32 i;

	host_begin(&host);
	host_add(&host, MESH_PATH_EXACT, "/svc7");
	add_words(&host, false);
	for (i = 0; i < 40; i++)
		host_add(&host, MESH_PATH_REGEX, "/svc%u?/v[0-9]+/(?:items|users)/[^/]+", i);
	host_add(&host, MESH_PATH_REGEX, "/(?:svc|v1)(?:/.*)?");
	host_add(&host, MESH_PATH_REGEX, ".*\\.(?i)PNG");
	host_publish(&host, engine_of(state));
	compare_many(engine_of(state), &host, 6000);
	host_release(&host);
}

/* Routes with conditions: lists of several candidates, several automata, and patterns for which there was no room in them. */
static void test_conditions_are_matched_as_on_the_host(void **state)
{
	static struct host host;
	struct mesh_route *route;

	host_begin(&host);
	add_words(&host, true);
	route = host_add(&host, MESH_PATH_PREFIX, "/v");
	*(struct mesh_query_matcher *)(uintptr_t)route->match.queries = (struct mesh_query_matcher){
		.name = "q", .string = {.kind = MESH_STRING_REGEX, .text = "\\d+"}};
	route->match.query_count = 1;
	host_add(&host, MESH_PATH_REGEX, "/.*[a-z]/.*");
	only_with_header(host_add(&host, MESH_PATH_PREFIX, "/"), "[^x]*");
	host_publish(&host, engine_of(state));
	compare_many(engine_of(state), &host, 6000);
	host_release(&host);
}

static void test_a_text_of_any_length_is_matched_to_its_end(void **state)
{
	static struct host host;
	struct counts counts = {};
	char path[4000];
	u8 bytes[4096];
	u32 len;

	host_begin(&host);
	host_add(&host, MESH_PATH_REGEX, "/a*b");
	host_add(&host, MESH_PATH_REGEX, "/.*c");
	host_add(&host, MESH_PATH_REGEX, "/(?:aa)*");
	host_publish(&host, engine_of(state));
	for (len = 1; len < sizeof(path) - 1; len = len < 40 ? len + 1 : len * 2 + 1) {
		memset(path, 'a', len);
		path[0] = '/';
		path[len] = '\0';
		compare(engine_of(state), &host, bytes, make_request(bytes, path, ""), &counts);
		path[len] = 'b';
		path[len + 1] = '\0';
		compare(engine_of(state), &host, bytes, make_request(bytes, path, ""), &counts);
		path[len] = 'c';
		compare(engine_of(state), &host, bytes, make_request(bytes, path, ""), &counts);
	}
	assert_int_equal(counts.wrong, 0);
	assert_true(counts.done > 40);
	host_release(&host);
}

static void test_what_is_no_automaton_is_handed_up_unless_a_route_is_certain_before(void **state)
{
	struct engine *engine = engine_of(state);
	static struct host host;
	u8 bytes[256];

	host_begin(&host);
	host_add(&host, MESH_PATH_EXACT, "/log/first");
	host_add(&host, MESH_PATH_REGEX, "/log/(?:a|b)*a(?:a|b){20}");
	host_add(&host, MESH_PATH_PREFIX, "/");
	host_publish(&host, engine);
	parse_in_kernel(engine, bytes, make_request(bytes, "/log/first", ""));
	run(engine, "engine_route", 1);
	assert_int_equal(engine->io->result, WEFT_ROUTE_CLUSTER);
	parse_in_kernel(engine, bytes, make_request(bytes, "/other", ""));
	run(engine, "engine_route", 1);
	assert_int_equal(engine->io->result, WEFT_ROUTE_CLUSTER);
	parse_in_kernel(engine, bytes, make_request(bytes, "/log/x", ""));
	run(engine, "engine_route", 1);
	assert_int_equal(engine->io->result, WEFT_ROUTE_PROXY);
	assert_int_equal(engine->io->route.reason, WEFT_REASON_REGEX_TOO_COMPLEX);
	host_release(&host);
}

static void print_automata(const struct host *host)
{
	const struct weft_route_table *table = weft_at(&host->query.image, host->query.route_table);
	const struct weft_virtual_host *virtual_host = weft_at(&host->query.image, table->any);
	const struct weft_dfa *dfa = weft_at(&host->query.image, virtual_host->regexes);
	u32 i;

	for (i = 0; dfa && i < dfa->lane_count; i++)
		print_message("automaton of %u states, %u classes\n", dfa->lanes[i].state_count, dfa->lanes[i].class_count);
}

/* ---- cost ------------------------------------------------------------------------------------------------------------------------------ */

static u32 measure(struct engine *engine, const char *path)
{
	u32 best = ~0u, i;
	u8 bytes[1024];

	parse_in_kernel(engine, bytes, make_request(bytes, path, ""));
	for (i = 0; i < 5; i++) {
		u32 took = run(engine, "engine_route", 20000);

		best = WEFT_MIN(best, took);
	}
	return best;
}

static void test_what_a_hundred_patterns_cost(void **state)
{
	static const char *const paths[] = {"/svc7/v12/items/thing", "/nothing/that/any/of/them/knows/about", "/one/of/the/words/is/sierra/here"};
	struct engine *engine = engine_of(state);
	static struct host host;
	u32 few, many, i;

	for (i = 0; i < WEFT_ARRAY_SIZE(paths); i++) {
		u32 k;

		host_begin(&host);
		for (k = 0; k < 9; k++)
			host_add(&host, MESH_PATH_PREFIX, "/svc%u/", k);
		host_add(&host, MESH_PATH_PREFIX, "/");
		host_publish(&host, engine);
		few = measure(engine, paths[i]);
		host_release(&host);

		host_begin(&host);
		add_words(&host, false);
		for (k = 0; k < 79; k++)
			host_add(&host, MESH_PATH_REGEX, "/svc%u/v[0-9]+/(?:items|users)/[^/]+", k);
		host_add(&host, MESH_PATH_PREFIX, "/");
		host_publish(&host, engine);
		if (!i)
			print_automata(&host);
		many = measure(engine, paths[i]);
		host_release(&host);
		print_message("%-40s 10 prefixes %u ns, 100 patterns %u ns\n", paths[i], few, many);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths_are_matched_as_on_the_host),
		cmocka_unit_test(test_conditions_are_matched_as_on_the_host),
		cmocka_unit_test(test_a_text_of_any_length_is_matched_to_its_end),
		cmocka_unit_test(test_what_is_no_automaton_is_handed_up_unless_a_route_is_certain_before),
		cmocka_unit_test(test_what_a_hundred_patterns_cost),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: regex_test engine.bpf.o\n");
		return 2;
	}
	object_path = argv[1];
	return cmocka_run_group_tests_name("regular expressions in the kernel", tests, open_engine, close_engine);
}

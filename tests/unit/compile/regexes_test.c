/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions in images: what exceeds a limit has it in its verdict and is followed by the proxy, with the answers of RE2. */
#include "fixture.h"
#include "base/cleanup.h"
#include "compile/regexes.h"
#include "compile/routes.h"
#include "regex/helper.h"
#include "weft/http1.h"
#include "weft/router.h"

#define ROUTES_MAX 2048u

/* One virtual host, a route a pattern. */
struct world {
	struct mesh_route_config config;
	struct mesh_virtual_host host;
	struct mesh_route routes[ROUTES_MAX];
	struct mesh_header_matcher headers[ROUTES_MAX];
	char texts[ROUTES_MAX][128];
	struct compile_report report;
	struct ids *ids;
	struct image *image;
	weft_ref table;
};

static const char *every[] = { "*" };

static struct world *world_new(void)
{
	struct world *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	world->report = (struct compile_report)COMPILE_REPORT_INIT;
	world->config.resource.name = world->host.name = "host";
	world->config.resource.place.file = "";
	world->config.virtual_hosts = &world->host;
	world->config.virtual_host_count = 1;
	world->host.domains = (struct mesh_texts){ every, 1 };
	world->host.routes = world->routes;
	return world;
}

static void world_free(struct world **world)
{
	image_free(&(*world)->image);
	ids_free(&(*world)->ids);
	compile_report_release(&(*world)->report);
	free(*world);
}

static __attribute__((format(printf, 3, 4))) struct mesh_route *add(struct world *world, enum mesh_path_kind kind, const char *format, ...)
{
	size_t i = world->host.route_count++;
	struct mesh_route *route = &world->routes[i];
	va_list arguments;

	assert_true(i < ROUTES_MAX);
	va_start(arguments, format);
	vsnprintf(world->texts[i], sizeof(world->texts[0]), format, arguments);
	va_end(arguments);
	route->name = "";
	route->match.path = world->texts[i];
	route->match.path_kind = kind;
	route->match.is_case_sensitive = true;
	route->match.headers = &world->headers[i];
	route->forward.cluster = "cluster";
	route->forward.cluster_header = route->forward.weight_header = route->forward.prefix_rewrite = route->forward.host_rewrite_text = "";
	route->forward.cluster_not_found_status = 503;
	return route;
}

/* Only with a header x-a that the pattern takes. */
static void only_with(struct world *world, const char *pattern)
{
	size_t i = world->host.route_count - 1;

	world->headers[i] = (struct mesh_header_matcher){ .name = "x-a", .string = { .kind = MESH_STRING_REGEX, .text = pattern } };
	world->routes[i].match.header_count = 1;
}

static void compile(struct world *world)
{
	struct routes_compile c = { .lists_max = 1u << 20, .report = &world->report };

	assert_int_equal(ids_new(&world->ids, NULL), 0);
	assert_int_equal(builder_init(&c.builder, WEFT_IMAGE_ROUTES, 0), 0);
	assert_int_equal(ids_claim_new(world->ids, &c.claim), 0);
	assert_int_equal(regexes_new(&c.regexes), 0);
	assert_int_equal(route_table_compile(&c, &world->config, &world->table), 0);
	builder_header(&c.builder)->listeners = builder_header(&c.builder)->route_tables = builder_list(&c.builder, &world->table, 1);
	assert_int_equal(builder_finish(&c.builder, &c.claim, &world->image), 0);
	regexes_free(&c.regexes);
	assert_int_equal(world->report.status, 0);
}

static const struct compile_verdict *verdict_of(const struct world *world, size_t route)
{
	size_t i;

	for (i = 0; i < world->report.count; i++)
		if (!strcmp(world->report.verdicts[i].kind, "route") && !route--)
			return &world->report.verdicts[i];
	fail_msg("no verdict on the route");
	return NULL;
}

static void expect_limit(const struct world *world, size_t route, enum weft_verdict verdict, const char *limit)
{
	const struct compile_verdict *found = verdict_of(world, route);

	if (found->verdict != verdict || !strstr(found->reason, limit))
		fail_msg("route %zu: %s: %s; expected %s: %s", route, verdict_name(found->verdict), found->reason, verdict_name(verdict), limit);
}

/* The index of the route that a request takes; -1: none. */
static int route_of(const struct world *world, const char *path, const char *value)
{
	static u8 bytes[8192 + WEFT_HEAD_SLACK];
	struct weft_route_query query = { .image = { world->image->base, world->image->size_bytes }, .route_table = world->table };
	static struct weft_head head;
	struct weft_route_result result;
	int len = snprintf((char *)bytes, sizeof(bytes) - WEFT_HEAD_SLACK, "GET %s HTTP/1.1\r\nHost: a\r\nX-A: %s\r\n\r\n", path, value);

	assert_int_equal(weft_parse_request((const void *)bytes, (u32)len, &head), WEFT_PARSE_DONE);
	return weft_route(&query, (const void *)bytes, &head, &result) == WEFT_ROUTE_CLUSTER ? (int)result.route_id : -1;
}

/* ---- limits -------------------------------------------------------------------------------------------------------------------------- */

/* Twenty of them have 2^20 combinations of what was seen; each may be followed by another, for they all have a condition more. */
static void test_words_anywhere_do_not_explode(void **state)
{
	static const char *const words[] = { "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo",
					     "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango" };
	_cleanup_(world_free) struct world *world = world_new();
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(words); i++) {
		add(world, MESH_PATH_REGEX, ".*%s.*", words[i]);
		if (i < 19)
			only_with(world, "[0-9]+");
	}
	compile(world);
	for (i = 0; i < WEFT_ARRAY_SIZE(words); i++)
		expect_limit(world, i, WEFT_VERDICT_KERNEL, "");
	print_message("20 words: %u bytes\n", world->image->size_bytes);
	assert_true(world->image->page_count <= 8);
	assert_int_equal(route_of(world, "/a/tango/alpha", "7"), 0);
	assert_int_equal(route_of(world, "/a/tango/alpha", "x"), 19);
	assert_int_equal(route_of(world, "/sierra/romeo", "7"), 17);
	assert_int_equal(route_of(world, "/sierra/romeo", ""), -1);
}

static void test_one_that_is_too_large_says_so_and_hides_nothing(void **state)
{
	_cleanup_(world_free) struct world *world = world_new();

	add(world, MESH_PATH_EXACT, "/log/first");
	add(world, MESH_PATH_REGEX, "/log/(?:a|b)*a(?:a|b){20}");
	add(world, MESH_PATH_PREFIX, "/log");
	only_with(world, "(?:a|b)*a(?:a|b){20}");
	add(world, MESH_PATH_PREFIX, "/");
	compile(world);
	expect_limit(world, 0, WEFT_VERDICT_KERNEL, "");
	expect_limit(world, 1, WEFT_VERDICT_PROXY, "its automaton would be too large (at most 32512 entries of 127 classes of bytes)");
	expect_limit(world, 2, WEFT_VERDICT_PROXY, "its automaton would be too large (at most 32512 entries of 127 classes of bytes)");
	expect_limit(world, 3, WEFT_VERDICT_KERNEL, "");
	assert_int_equal(route_of(world, "/log/baaaaaaaaaaaaaaaaaaaaaaaa", ""), 1);
	assert_int_equal(route_of(world, "/log/bbbbbbbbbbbbbbbbbbbbbbbb", ""), 3);
	assert_int_equal(route_of(world, "/log/b", "aaaaaaaaaaaaaaaaaaaaaaaa"), 2);
	assert_int_equal(route_of(world, "/log/b", "aaaaaaaaaaaaaaaaaaaac"), 3);
}

/* Large before it is minimal, and small afterwards: it is the work that is too much. */
static void test_one_that_takes_too_many_steps_says_so(void **state)
{
	_cleanup_(world_free) struct world *world = world_new();

	add(world, MESH_PATH_REGEX, "/(?:.*[a-z]{300}.*){3}[0-9]{0,300}x");
	compile(world);
	expect_limit(world, 0, WEFT_VERDICT_PROXY, "it takes too many steps to compile (at most 4000000)");
	assert_int_equal(route_of(world, "/7x", ""), -1);
}

static void test_all_together_take_a_bounded_number_of_steps(void **state)
{
	_cleanup_(world_free) struct world *world = world_new();
	u32 i;

	for (i = 0; i < 200; i++) {
		add(world, MESH_PATH_PREFIX, "/");
		add(world, MESH_PATH_REGEX, "/%u(?:a|b)*a(?:a|b){20}", i);
	}
	compile(world);
	expect_limit(world, 1, WEFT_VERDICT_PROXY, "its automaton would be too large (at most 32512 entries of 127 classes of bytes)");
	expect_limit(world, 399, WEFT_VERDICT_PROXY, "all regular expressions together take too many steps to compile (at most 100000000)");
}

static void test_tables_of_all_take_a_bounded_number_of_pages(void **state)
{
	_cleanup_(world_free) struct world *world = world_new();
	static char patterns[ROUTES_MAX][32];
	u32 i;

	for (i = 0; i < 1000; i++) {
		snprintf(patterns[i], sizeof(patterns[i]), "[a-z]{900}[a-z]{%u}", i);
		add(world, MESH_PATH_PREFIX, "/%u", i);
		only_with(world, patterns[i]);
	}
	compile(world);
	expect_limit(world, 0, WEFT_VERDICT_KERNEL, "");
	expect_limit(world, 999, WEFT_VERDICT_PROXY, "the automata of all regular expressions together would be too large (at most 8 MiB)");
	assert_true(world->image->page_count <= 128);
}

/* ---- instructions ------------------------------------------------------------------------------------------------------------------- */

struct tally {
	struct routes_compile c;
	size_t pairs, taken, wrong;
};

/* Takes all steps that there are, so that nothing becomes an automaton any more. */
static void spend_all_steps(struct routes_compile *c)
{
	struct strbuf unsupported = STRBUF_INIT, limits = STRBUF_INIT;
	struct weft_condition condition;
	char pattern[64];
	u32 i;

	for (i = 0; !strstr(strbuf_text(&limits), "all regular expressions together"); i++) {
		assert_true(i < 1000);
		snprintf(pattern, sizeof(pattern), "%u(?:a|b)*a(?:a|b){20}", i);
		strbuf_release(&limits);
		assert_int_equal(regexes_condition(c, pattern, REGEX_OVER_BYTES, &condition, &unsupported, &limits), 0);
	}
	assert_int_equal(unsupported.size, 0);
	strbuf_release(&limits);
	strbuf_release(&unsupported);
}

static void judge_pattern(const json_t *line, void *context)
{
	const json_t *texts = json_object_get(line, "texts");
	struct strbuf unsupported = STRBUF_INIT, limits = STRBUF_INIT;
	struct weft_condition condition = { 0 };
	static struct bytes pattern, text;
	struct tally *tally = context;
	size_t i;

	bytes_of(json_object_get(line, "pattern"), &pattern);
	if (!texts || strlen(pattern.data) != pattern.size)
		return;
	assert_int_equal(regexes_condition(&tally->c, pattern.data, REGEX_OVER_BYTES, &condition, &unsupported, &limits), 0);
	assert_int_equal(condition.kind, WEFT_CONDITION_PROGRAM);
	assert_int_equal(unsupported.size, 0);
	for (i = 0; i < json_array_size(texts); i++) {
		const struct weft_image_handle image = { builder_at(&tally->c.builder, 0), ~0u };
		const json_t *entry = json_array_get(texts, i);
		bool is_expected = json_is_true(json_array_get(entry, 1));

		bytes_of(json_array_get(entry, 0), &text);
		tally->pairs++;
		tally->taken += is_expected;
		if (weft_nfa_takes(&image, (const u8 *)text.data, (u32)text.size, condition.value) != is_expected && !tally->wrong++)
			print_error("%s: RE2 says %d of \"%s\"\n", pattern.data, is_expected, text.data);
	}
	strbuf_release(&unsupported);
	strbuf_release(&limits);
}

static void test_what_has_no_automaton_takes_what_re2_takes(void **state)
{
	struct tally tally = { .c = { .lists_max = 1u << 20 } };

	assert_int_equal(builder_init(&tally.c.builder, WEFT_IMAGE_ROUTES, 0), 0);
	assert_int_equal(regexes_new(&tally.c.regexes), 0);
	spend_all_steps(&tally.c);
	each_line(RECORDED, judge_pattern, &tally);
	print_message("%zu pairs, %zu of them match\n", tally.pairs, tally.taken);
	assert_int_equal(tally.wrong, 0);
	assert_true(tally.pairs > 20000 && tally.taken > 3000);
	regexes_free(&tally.c.regexes);
	builder_release(&tally.c.builder);
}

/* Followed instruction by instruction, it takes longer than anybody waits; a client that asks for it gets an answer all the same. */
static void test_a_text_that_takes_too_many_steps_is_refused(void **state)
{
	_cleanup_(world_free) struct world *world = world_new();
	struct weft_route_query query = { 0 };
	struct weft_route_result result;
	static struct weft_head head;
	static u8 bytes[61440 + WEFT_HEAD_SLACK];
	int len, i;

	add(world, MESH_PATH_PREFIX, "/");
	only_with(world, "(?:(?:a?){1000}(?:a?){1000}b)*(?:a|b)*a(?:a|b){30}c");
	compile(world);
	expect_limit(world, 0, WEFT_VERDICT_PROXY, "only the proxy follows the regular expression");
	query.image = (struct weft_image_handle){ world->image->base, world->image->size_bytes };
	query.route_table = world->table;
	len = sprintf((char *)bytes, "GET / HTTP/1.1\r\nHost: a\r\nX-A: ");
	for (i = 0; i < 50000; i++)
		bytes[len++] = i % 500 ? 'a' : 'b';
	len += sprintf((char *)bytes + len, "\r\n\r\n");
	assert_int_equal(weft_parse_request((const void *)bytes, (u32)len, &head), WEFT_PARSE_DONE);
	assert_int_equal(weft_route(&query, (const void *)bytes, &head, &result), WEFT_ROUTE_PROXY);
	assert_int_equal(result.reason, WEFT_REASON_REGEX_TOO_COMPLEX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_anywhere_do_not_explode),
		cmocka_unit_test(test_one_that_is_too_large_says_so_and_hides_nothing),
		cmocka_unit_test(test_one_that_takes_too_many_steps_says_so),
		cmocka_unit_test(test_all_together_take_a_bounded_number_of_steps),
		cmocka_unit_test(test_tables_of_all_take_a_bounded_number_of_pages),
		cmocka_unit_test(test_what_has_no_automaton_takes_what_re2_takes),
		cmocka_unit_test(test_a_text_that_takes_too_many_steps_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

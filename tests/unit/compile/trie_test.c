/* SPDX-License-Identifier: Apache-2.0 */
/* The automaton against a reference that compares every literal with every path. The walk here is image.h's comment in code, and nothing else. */
#include <errno.h>

#include "fixture.h"
#include "compile/trie.h"

#define ROUTES_MAX 400u

struct reference {
	struct trie_literal literals[ROUTES_MAX * 2];
	char texts[ROUTES_MAX * 2][160];
	bool is_final[ROUTES_MAX + 1];
	size_t count;
	uint32_t routes;
};

static const struct weft_list *walk(const struct builder *builder, weft_ref root, const uint8_t *path, uint32_t len, uint32_t *nodes)
{
	const struct weft_trie_node *node = root ? builder_at(builder, root) : NULL;
	weft_ref candidates = 0;
	uint32_t at = 0;

	*nodes = 0;
	while (node) {
		uint32_t i, index = 0;

		++*nodes;
		if (len - at < node->label_len || memcmp(path + at, node->label, node->label_len))
			break;
		at += node->label_len;
		if (at == len) {
			candidates = node->at_end;
			break;
		}
		candidates = node->at_prefix;
		if (!(node->branch[path[at] >> 6] >> (path[at] & 63) & 1))
			break;
		for (i = 0; i < path[at]; i++)
			index += node->branch[i >> 6] >> (i & 63) & 1;
		assert_true(index < node->child_count);
		node = builder_at(builder, ((const weft_ref *)builder_at(builder, node->children))[index]);
		assert_int_equal(node->label[0], path[at]);
	}
	return candidates ? builder_at(builder, candidates) : NULL;
}

/* The routes whose literal fits, in order, up to the first final one. */
static uint32_t expected_candidates(const struct reference *reference, const uint8_t *path, uint32_t len, uint32_t *out)
{
	uint32_t route, count = 0;
	size_t i;

	for (route = 0; route < reference->routes; route++) {
		bool fits = false;

		for (i = 0; i < reference->count; i++) {
			const struct trie_literal *literal = &reference->literals[i];

			if (literal->route == route && (literal->is_prefix ? literal->len <= len : literal->len == len) &&
			    !memcmp(literal->bytes, path, literal->len))
				fits = true;
		}
		if (!fits)
			continue;
		out[count++] = route;
		if (reference->is_final[route])
			break;
	}
	return count;
}

/* Texts of few letters and shared stems, so that prefixes nest and labels split anywhere. */
static uint32_t random_text(uint64_t *seed, char *text)
{
	static const char *const stems[] = { "", "/", "/api", "/api/v1/", "/a", "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	uint32_t i, len, more = random_below(seed, 8);

	strcpy(text, stems[random_below(seed, 6)]);
	len = (uint32_t)strlen(text);
	for (i = 0; i < more; i++)
		text[len++] = "ab/\xff"[random_below(seed, 4)];
	text[len] = 0;
	return len;
}

static void make_reference(struct reference *reference, uint64_t *seed, uint32_t routes, uint32_t final_of)
{
	uint32_t i;

	memset(reference, 0, sizeof(*reference));
	reference->routes = routes;
	for (i = 0; i < routes; i++) {
		uint32_t literals = 1 + (random_below(seed, 4) == 0);

		reference->is_final[i] = random_below(seed, final_of) == 0;
		while (literals--) {
			char *text = reference->texts[reference->count];
			uint32_t len = random_text(seed, text);

			reference->literals[reference->count++] =
				(struct trie_literal){ (const uint8_t *)text, len, i, random_below(seed, 2) };
		}
	}
	reference->is_final[routes] = true;
}

static void compare(const struct builder *builder, const struct reference *reference, weft_ref root, const char *path, uint32_t len)
{
	uint32_t expected[ROUTES_MAX], nodes;
	uint32_t count = expected_candidates(reference, (const uint8_t *)path, len, expected);
	const struct weft_list *list = walk(builder, root, (const uint8_t *)path, len, &nodes);

	assert_int_equal(list ? list->count : 0, count);
	if (list)
		assert_memory_equal(list->items, expected, count * sizeof(*expected));
}

static void test_every_path_gets_the_candidates_of_a_naive_matcher(void **state)
{
	static struct reference reference;
	struct trie_limits limits = { .list = 1000, .entries = 1u << 20 };
	uint64_t seed = 20240607;
	int round, i;

	for (round = 0; round < 60; round++) {
		struct builder builder;
		bool was_cut;
		weft_ref root;
		char path[200];

		assert_int_equal(builder_init(&builder, WEFT_IMAGE_ROUTES, 16), 0);
		make_reference(&reference, &seed, 1 + random_below(&seed, round < 50 ? 40 : ROUTES_MAX - 1), 1 + random_below(&seed, 6));
		limits.overflow_route = reference.routes;
		assert_int_equal(trie_build(&builder, reference.literals, reference.count, reference.is_final, &limits, &root, &was_cut), 0);
		assert_false(was_cut);
		for (i = 0; i < 300; i++) {
			uint32_t len = random_text(&seed, path);

			compare(&builder, &reference, root, path, len);
		}
		/* And at, just before and just after every literal. */
		for (i = 0; i < (int)reference.count; i++) {
			uint32_t len = reference.literals[i].len;

			memcpy(path, reference.literals[i].bytes, len);
			compare(&builder, &reference, root, path, len);
			if (len)
				compare(&builder, &reference, root, path, len - 1);
			path[len] = '/';
			compare(&builder, &reference, root, path, len + 1);
		}
		builder_release(&builder);
	}
}

static void test_a_cut_list_keeps_the_first_candidates_and_ends_in_the_overflow_route(void **state)
{
	static struct reference reference;
	struct trie_limits limits = { .list = 7, .entries = 1u << 20 };
	uint64_t seed = 99;
	int round, i, cuts = 0;

	for (round = 0; round < 40; round++) {
		struct builder builder;
		bool was_cut;
		weft_ref root;
		char path[200];

		assert_int_equal(builder_init(&builder, WEFT_IMAGE_ROUTES, 16), 0);
		make_reference(&reference, &seed, 150, 1000);
		limits.overflow_route = reference.routes;
		assert_int_equal(trie_build(&builder, reference.literals, reference.count, reference.is_final, &limits, &root, &was_cut), 0);
		cuts += was_cut;
		for (i = 0; i < 200; i++) {
			uint32_t expected[ROUTES_MAX], nodes, len = random_text(&seed, path);
			uint32_t count = expected_candidates(&reference, (const uint8_t *)path, len, expected);
			const struct weft_list *list = walk(&builder, root, (const uint8_t *)path, len, &nodes);

			if (count > limits.list) {
				count = limits.list;
				expected[count++] = reference.routes;
			}
			assert_int_equal(list ? list->count : 0, count);
			if (list)
				assert_memory_equal(list->items, expected, count * sizeof(*expected));
		}
		builder_release(&builder);
	}
	assert_true(cuts > 20);
}

static void test_lists_that_explode_are_refused_before_anything_is_built(void **state)
{
	static struct reference reference;
	struct trie_limits limits = { .list = 1000, .entries = 500 };
	struct builder builder;
	uint64_t seed = 4;
	bool was_cut;
	weft_ref root;
	uint32_t used;

	assert_int_equal(builder_init(&builder, WEFT_IMAGE_ROUTES, 16), 0);
	make_reference(&reference, &seed, 200, 100000);
	used = builder.used;
	assert_int_equal(trie_build(&builder, reference.literals, reference.count, reference.is_final, &limits, &root, &was_cut), -EOVERFLOW);
	assert_int_equal(builder.used, used);
	builder_release(&builder);
}

static void test_ten_thousand_nested_prefixes_need_no_deep_stack(void **state)
{
	enum { COUNT = 10000 };
	struct trie_literal *literals = calloc(COUNT, sizeof(*literals));
	bool *is_final = calloc(COUNT + 1, sizeof(*is_final)), was_cut;
	uint8_t *bytes = malloc(COUNT);
	struct trie_limits limits = { .list = 100, .entries = 1u << 21, .overflow_route = COUNT };
	const struct weft_list *list;
	struct builder builder;
	weft_ref root;
	uint32_t i, nodes;

	memset(bytes, 'n', COUNT);
	for (i = 0; i < COUNT; i++) {
		literals[i] = (struct trie_literal){ bytes, i + 1, i, true };
		is_final[i] = true;
	}
	assert_int_equal(builder_init(&builder, WEFT_IMAGE_ROUTES, 64), 0);
	assert_int_equal(trie_build(&builder, literals, COUNT, is_final, &limits, &root, &was_cut), 0);
	list = walk(&builder, root, bytes, COUNT, &nodes);
	assert_non_null(list);
	assert_int_equal(list->count, 1);
	assert_int_equal(list->items[0], 0);
	builder_release(&builder);
	free(literals);
	free(is_final);
	free(bytes);
}

static void test_ten_thousand_routes_fit_and_walks_stay_short(void **state)
{
	enum { COUNT = 10000 };
	struct trie_literal *literals = calloc(COUNT, sizeof(*literals));
	char (*texts)[64] = calloc(COUNT, sizeof(*texts));
	bool *is_final = calloc(COUNT + 1, sizeof(*is_final)), was_cut;
	struct trie_limits limits = { .list = 1000, .entries = 1u << 21, .overflow_route = COUNT };
	uint32_t i, nodes, most = 0;
	struct builder builder;
	weft_ref root;

	for (i = 0; i < COUNT; i++) {
		snprintf(texts[i], sizeof(texts[i]), "/service-%u/version-%u/resource/%u", i % 97, i % 13, i);
		literals[i] = (struct trie_literal){ (const uint8_t *)texts[i], (uint32_t)strlen(texts[i]), i, i % 3 == 0 };
		is_final[i] = i % 5 != 0;
	}
	assert_int_equal(builder_init(&builder, WEFT_IMAGE_ROUTES, 0), 0);
	assert_int_equal(trie_build(&builder, literals, COUNT, is_final, &limits, &root, &was_cut), 0);
	for (i = 0; i < COUNT; i++) {
		const struct weft_list *list = walk(&builder, root, (const uint8_t *)texts[i], (uint32_t)strlen(texts[i]), &nodes);

		assert_non_null(list);
		most = nodes > most ? nodes : most;
	}
	print_message("10000 routes: %u bytes, at most %u nodes on a walk\n", builder.used, most);
	assert_true(most <= WEFT_TRIE_NODES_MAX / 4);
	assert_true(builder.used < 4u << 20);
	builder_release(&builder);
	free(literals);
	free(texts);
	free(is_final);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_path_gets_the_candidates_of_a_naive_matcher),
		cmocka_unit_test(test_a_cut_list_keeps_the_first_candidates_and_ends_in_the_overflow_route),
		cmocka_unit_test(test_lists_that_explode_are_refused_before_anything_is_built),
		cmocka_unit_test(test_ten_thousand_nested_prefixes_need_no_deep_stack),
		cmocka_unit_test(test_ten_thousand_routes_fit_and_walks_stay_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

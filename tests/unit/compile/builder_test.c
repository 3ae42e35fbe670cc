/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "fixture.h"
#include "compile/builder.h"
#include "weft/lookup.h"
#include "weft/names.h"

static int builder_teardown(void **state)
{
	builder_release(*state);
	return 0;
}

static int builder_setup(void **state)
{
	static struct builder builder;

	*state = &builder;
	return builder_init(&builder, WEFT_IMAGE_ROUTES, 8);
}

static void test_an_object_never_crosses_a_page_nor_lies_in_its_slack(void **state)
{
	struct builder *builder = *state;
	uint64_t seed = 1;
	int i;

	for (i = 0; i < 2000; i++) {
		uint32_t size = 1 + random_below(&seed, 1000);
		weft_ref ref = builder_alloc(builder, size);

		assert_int_not_equal(ref, 0);
		assert_int_equal(ref % 8, 0);
		assert_int_equal(ref >> WEFT_PAGE_SHIFT, (ref + size - 1) >> WEFT_PAGE_SHIFT);
		assert_true((ref & WEFT_PAGE_MASK) + size <= WEFT_PAGE_SIZE - WEFT_PAGE_SLACK);
	}
}

static void test_an_object_as_large_as_a_page_less_its_slack_fits_and_one_more_byte_does_not(void **state)
{
	struct builder *builder = *state;

	assert_int_equal(builder_alloc(builder, BUILDER_OBJECT_MAX), WEFT_PAGE_SIZE);
	assert_int_equal(builder_alloc(builder, BUILDER_OBJECT_MAX + 1), 0);
	assert_int_equal(builder_status(builder), -EMSGSIZE);
	assert_int_equal(builder_alloc(builder, 8), 0); /* errors stick */
}

static void test_an_image_stops_at_its_pages(void **state)
{
	struct builder *builder = *state;
	int i;

	for (i = 0; i < 7; i++)
		assert_int_not_equal(builder_alloc(builder, BUILDER_OBJECT_MAX), 0);
	assert_int_equal(builder_alloc(builder, BUILDER_OBJECT_MAX), 0);
	assert_int_equal(builder_status(builder), -E2BIG);
}

static void test_equal_bytes_are_stored_once(void **state)
{
	struct builder *builder = *state;
	weft_ref first = builder_text(builder, "outbound|80||a.default.svc.cluster.local");
	uint32_t used = builder->used, i;

	assert_int_equal(builder_text(builder, "outbound|80||a.default.svc.cluster.local"), first);
	assert_int_equal(builder->used, used);
	assert_int_not_equal(builder_text(builder, "outbound|80||b.default.svc.cluster.local"), first);
	for (i = 0; i < 5000; i++)
		builder_list(builder, (uint32_t[]){ i, i + 1 }, 2);
	used = builder->used;
	for (i = 0; i < 5000; i++)
		builder_list(builder, (uint32_t[]){ i, i + 1 }, 2);
	assert_int_equal(builder->used, used);
}

static void test_texts_for_people_are_cut_and_texts_for_comparison_are_not(void **state)
{
	struct builder *builder = *state;
	char long_text[10000];
	const struct weft_text *text;

	memset(long_text, 'x', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = 0;
	text = builder_at(builder, builder_text(builder, long_text));
	assert_int_equal(text->len, BUILDER_TEXT_MAX);
	assert_memory_equal(text->bytes + text->len - 4, "x...", 4);
	text = builder_at(builder, builder_bytes_text(builder, long_text, sizeof(long_text)));
	assert_int_equal(text->len, sizeof(long_text));
}

static void test_a_finished_image_says_its_size_and_hash(void **state)
{
	struct builder *builder = *state;
	struct weft_image_header *header;
	struct image *image = NULL;
	weft_ref list;

	list = builder_list(builder, NULL, 0);
	builder_header(builder)->listeners = builder_header(builder)->route_tables = list;
	builder_alloc(builder, BUILDER_OBJECT_MAX);
	assert_int_equal(builder_finish(builder, NULL, &image), 0);
	header = (void *)image->base;
	assert_int_equal(image->page_count, 2);
	assert_int_equal(image->size_bytes, 2 * WEFT_PAGE_SIZE);
	assert_int_equal(header->size_bytes, image->size_bytes);
	assert_int_equal(header->magic, WEFT_IMAGE_MAGIC);
	assert_true(header->content_hash == image->content_hash && image->content_hash);
	assert_int_equal((uintptr_t)image->base % 4096, 0);
	assert_int_equal(image_check(image->base, image->size_bytes), 0);
	assert_int_equal(image_check(image->base, image->size_bytes - 1), -EINVAL);
	image_free(&image);
	assert_null(image);
}

/* The look-up that the engine makes, byte for byte of image.h. */
static weft_ref probe(const struct builder *builder, weft_ref slots, uint32_t mask, uint32_t hash, uint32_t *probes)
{
	uint32_t at = hash & mask;

	for (*probes = 1; *probes <= WEFT_HASH_PROBES_MAX; ++*probes) {
		const struct weft_slot *slot = builder_at(builder, slots + at * (uint32_t)sizeof(*slot));

		if (!slot->object)
			return 0;
		if (slot->hash == hash)
			return slot->object;
		at = (at + 1) & mask;
	}
	return 0;
}

static void test_twenty_thousand_hosts_are_found_within_the_probes_of_the_kernel(void **state)
{
	const uint32_t count = 20000;
	struct builder *builder = *state;
	struct table_key *keys = calloc(count, sizeof(*keys));
	uint32_t i, mask, probes, total = 0, most = 0;
	weft_ref slots;
	char host[64];

	for (i = 0; i < count; i++) {
		snprintf(host, sizeof(host), "service-%u.namespace-%u.svc.cluster.local", i, i % 37);
		keys[i].hash = weft_host_hash((const uint8_t *)host, (uint32_t)strlen(host));
		keys[i].object = 8 * (i + 1);
	}
	assert_int_equal(table_build(builder, keys, count, &slots, &mask), 0);
	assert_true(mask + 1 <= 4 * count);
	for (i = 0; i < count; i++) {
		/* Equal hashes are told apart by the host's bytes; here they must not occur. */
		assert_int_equal(probe(builder, slots, mask, keys[i].hash, &probes), keys[i].object);
		total += probes;
		most = probes > most ? probes : most;
	}
	print_message("20000 hosts: %u slots, %.2f probes on average, %u at most\n", mask + 1, (double)total / count, most);
	assert_true(most <= WEFT_HASH_PROBES_MAX);
	free(keys);
}

static void test_more_equal_hashes_than_probes_are_refused(void **state)
{
	struct builder *builder = *state;
	struct table_key keys[WEFT_HASH_PROBES_MAX + 1];
	weft_ref slots;
	uint32_t i, mask;

	for (i = 0; i < WEFT_ARRAY_SIZE(keys); i++)
		keys[i] = (struct table_key){ .hash = 12345, .object = 8 * (i + 1) };
	assert_int_equal(table_build(builder, keys, WEFT_HASH_PROBES_MAX, &slots, &mask), 0);
	assert_int_equal(table_build(builder, keys, WEFT_ARRAY_SIZE(keys), &slots, &mask), -E2BIG);
	assert_int_equal(table_build(builder, keys, 0, &slots, &mask), 0);
	assert_int_equal(slots, 0);
	assert_int_equal(mask, 0);
}

static void test_a_host_hashed_from_its_end_shares_the_hash_of_its_suffixes(void **state)
{
	const uint8_t *host = (const uint8_t *)"a.example.com";

	assert_int_equal(weft_host_suffix_hash(host + 1, 12), weft_host_suffix_hash((const uint8_t *)".example.com", 12));
	assert_int_not_equal(weft_host_suffix_hash(host, 13), weft_host_prefix_hash(host, 13));
}

int main(void)
{
#define BUILDER_TEST(name) cmocka_unit_test_setup_teardown(name, builder_setup, builder_teardown)
	const struct CMUnitTest tests[] = {
		BUILDER_TEST(test_an_object_never_crosses_a_page_nor_lies_in_its_slack),
		BUILDER_TEST(test_an_object_as_large_as_a_page_less_its_slack_fits_and_one_more_byte_does_not),
		BUILDER_TEST(test_an_image_stops_at_its_pages),
		BUILDER_TEST(test_equal_bytes_are_stored_once),
		BUILDER_TEST(test_texts_for_people_are_cut_and_texts_for_comparison_are_not),
		BUILDER_TEST(test_a_finished_image_says_its_size_and_hash),
		BUILDER_TEST(test_twenty_thousand_hosts_are_found_within_the_probes_of_the_kernel),
		BUILDER_TEST(test_more_equal_hashes_than_probes_are_refused),
		BUILDER_TEST(test_a_host_hashed_from_its_end_shares_the_hash_of_its_suffixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Published images in the kernel: what programs find in the slots, prepared or not, and that nothing old stays. */
#include <bpf/bpf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "compile/compile.h"
#include "datapath/internal.h"

#define BPFFS "/sys/fs/bpf/weft-publish-test"
#define GENERATIONS 12u

/* An image that says which generation it is, in its first and last bytes. */
static void make(struct image *image, uint8_t *memory, uint32_t page_count, uint64_t number)
{
	struct weft_image_header *header = (void *)memory;

	memset(memory, 0, (size_t)page_count * WEFT_PAGE_SIZE);
	*header = (struct weft_image_header){ .magic = WEFT_IMAGE_MAGIC, .version = WEFT_IMAGE_VERSION, .kind = WEFT_IMAGE_ROUTES,
					      .page_count = page_count, .size_bytes = page_count * WEFT_PAGE_SIZE, .content_hash = number };
	memcpy(memory + header->size_bytes - sizeof(number), &number, sizeof(number));
	*image = (struct image){ .base = memory, .size_bytes = header->size_bytes, .page_count = page_count, .kind = WEFT_IMAGE_ROUTES };
}

/* The id of the pages in the slot of a generation. */
static uint32_t pages_of(const struct datapath *dp, uint64_t generation)
{
	uint32_t slot = WEFT_IMAGE_SLOT(0, WEFT_IMAGE_ROUTES, generation), id = 0;

	assert_int_equal(bpf_map_lookup_elem(dp->maps[MAP_IMAGES], &slot, &id), 0);
	return id;
}

static void holds(const struct datapath *dp, uint64_t generation, uint32_t page_count, uint8_t *page)
{
	_cleanup_close_ int fd = bpf_map_get_fd_by_id(pages_of(dp, generation));
	uint32_t last = page_count - 1;
	uint64_t number;

	assert_true(fd >= 0);
	assert_int_equal(bpf_map_lookup_elem(fd, &last, page), 0);
	memcpy(&number, page + WEFT_PAGE_SIZE - sizeof(number), sizeof(number));
	assert_int_equal(number, generation);
}

static bool is_gone(uint32_t id)
{
	for (int i = 0; i < 200; i++) {
		_cleanup_close_ int fd = bpf_map_get_fd_by_id(id);

		if (fd < 0)
			return true;
		usleep(10000);
	}
	return false;
}

/* Generations come with and without pages that wait for them, and need more pages than before or fewer. */
static void test_the_last_generations_stay_and_the_others_go(void **state)
{
	static const uint32_t page_counts[] = { 1, 1, 3, 9, 2, 2, 1 };
	const struct datapath_options options = { .bpffs = BPFFS, .fast_path = WEFT_FAST_PATH_OFF };
	uint8_t *memory = aligned_alloc(4096, 9 * WEFT_PAGE_SIZE), *page = malloc(WEFT_PAGE_SIZE);
	uint32_t ids[GENERATIONS + 1] = { 0 }, counts[GENERATIONS + 1] = { 0 };
	struct datapath *dp = NULL;
	struct image image;

	(void)datapath_uninstall(BPFFS);
	assert_non_null(memory);
	assert_non_null(page);
	assert_int_equal(datapath_new(&dp, &options), 0);
	assert_int_equal(datapath_prepare(dp, 0, WEFT_IMAGE_ROUTES), 0);
	for (uint64_t g = 1; g <= GENERATIONS; g++) {
		counts[g] = page_counts[g % (sizeof(page_counts) / sizeof(page_counts[0]))];
		make(&image, memory, counts[g], g);
		assert_int_equal(datapath_publish(dp, 0, &image), 0);
		assert_int_equal(datapath_generation(dp, 0, WEFT_IMAGE_ROUTES), g);
		assert_int_equal(dp->scopes[0].route_slot, WEFT_IMAGE_SLOT(0, WEFT_IMAGE_ROUTES, g));
		ids[g] = pages_of(dp, g);
		for (uint64_t former = g > 2 ? g - 2 : 1; former <= g; former++)
			holds(dp, former, counts[former], page);
		if (g % 3 != 0)
			assert_int_equal(datapath_prepare(dp, 0, WEFT_IMAGE_ROUTES), 0);
		for (uint64_t former = g > 2 ? g - 2 : 1; former <= g; former++)
			holds(dp, former, counts[former], page);
		if (g > WEFT_GENERATIONS)
			assert_true(is_gone(ids[g - WEFT_GENERATIONS]));
	}
	datapath_free(&dp);
	assert_int_equal(datapath_uninstall(BPFFS), 0);
	for (uint64_t g = GENERATIONS - 3; g <= GENERATIONS; g++)
		assert_true(is_gone(ids[g]));
	free(memory);
	free(page);
}

/* With pages that wait, no map is made when an image is published: that is what takes the time. */
static void test_prepared_pages_are_used(void **state)
{
	const struct datapath_options options = { .bpffs = BPFFS, .fast_path = WEFT_FAST_PATH_OFF };
	uint8_t *memory = aligned_alloc(4096, WEFT_PAGE_SIZE);
	struct datapath *dp = NULL;
	struct image image;
	uint32_t id;

	assert_non_null(memory);
	assert_int_equal(datapath_new(&dp, &options), 0);
	make(&image, memory, 1, 1);
	assert_int_equal(datapath_publish(dp, 0, &image), 0);
	assert_int_equal(datapath_prepare(dp, 0, WEFT_IMAGE_ROUTES), 0);
	id = pages_of(dp, 2);
	assert_int_equal(datapath_prepare(dp, 0, WEFT_IMAGE_ROUTES), 0);
	assert_int_equal(pages_of(dp, 2), id);
	make(&image, memory, 1, 2);
	assert_int_equal(datapath_publish(dp, 0, &image), 0);
	assert_int_equal(pages_of(dp, 2), id);
	datapath_free(&dp);
	assert_int_equal(datapath_uninstall(BPFFS), 0);
	free(memory);
}

/* Two scopes, one set of pages; it stays for the one when the other goes on. */
static void test_scopes_share_pages(void **state)
{
	const struct datapath_options options = { .bpffs = BPFFS, .fast_path = WEFT_FAST_PATH_OFF };
	uint8_t *memory = aligned_alloc(4096, WEFT_PAGE_SIZE);
	const uint32_t shared_slot = WEFT_IMAGE_SLOT(5, WEFT_IMAGE_ROUTES, 1);
	struct datapath *dp = NULL;
	struct image image;
	uint32_t id;

	assert_non_null(memory);
	assert_int_equal(datapath_new(&dp, &options), 0);
	assert_int_equal(datapath_publish_shared(dp, 5, WEFT_IMAGE_ROUTES, 0), -EINVAL);
	make(&image, memory, 1, 1);
	assert_int_equal(datapath_publish(dp, 0, &image), 0);
	assert_int_equal(datapath_publish_shared(dp, 5, WEFT_IMAGE_ROUTES, 0), 0);
	assert_int_equal(datapath_generation(dp, 5, WEFT_IMAGE_ROUTES), 1);
	assert_int_equal(dp->scopes[5].route_slot, shared_slot);
	assert_int_equal(bpf_map_lookup_elem(dp->maps[MAP_IMAGES], &shared_slot, &id), 0);
	assert_int_equal(id, pages_of(dp, 1));
	for (uint64_t g = 2; g <= 2 + WEFT_GENERATIONS; g++) {
		make(&image, memory, 1, g);
		assert_int_equal(datapath_publish(dp, 0, &image), 0);
	}
	assert_int_equal(bpf_map_lookup_elem(dp->maps[MAP_IMAGES], &shared_slot, &id), 0);
	assert_false(is_gone(id));
	datapath_free(&dp);
	assert_int_equal(datapath_uninstall(BPFFS), 0);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_last_generations_stay_and_the_others_go),
		cmocka_unit_test(test_prepared_pages_are_used),
		cmocka_unit_test(test_scopes_share_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

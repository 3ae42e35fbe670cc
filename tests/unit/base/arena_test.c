/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/cleanup.h"

static void test_pieces_are_zeroed_aligned_and_apart(void **state)
{
	_cleanup_(arena_release) struct arena arena = ARENA_INIT;
	unsigned char *last = NULL;

	for (size_t size = 0; size < 300; size++) {
		unsigned char *piece = arena_alloc(&arena, size);

		assert_non_null(piece);
		assert_int_equal((uintptr_t)piece % _Alignof(max_align_t), 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(piece[i], 0);
		memset(piece, 0xff, size);
		assert_ptr_not_equal(piece, last);
		if (size)
			last = piece;
	}
}

static void test_a_large_piece_leaves_the_room_of_the_block_before_it(void **state)
{
	_cleanup_(arena_release) struct arena arena = ARENA_INIT;
	char *first, *large, *second;

	first = arena_alloc(&arena, 16);
	large = arena_alloc(&arena, 1 << 20);
	memset(large, 1, 1 << 20);
	second = arena_alloc(&arena, 16);
	assert_ptr_equal(second, first + 16);
}

static void test_many_pieces_cost_few_blocks_and_little_room(void **state)
{
	_cleanup_(arena_release) struct arena arena = ARENA_INIT;
	const size_t count = 100000;

	for (size_t i = 0; i < count; i++)
		assert_non_null(arena_alloc(&arena, 16));
	assert_in_range(arena.size_bytes, 16 * count, 16 * count + 16 * count / 4);
}

static void test_counts_are_checked_before_they_are_multiplied(void **state)
{
	_cleanup_(arena_release) struct arena arena = ARENA_INIT;

	assert_null(arena_array(&arena, SIZE_MAX / 2, 3));
	assert_null(arena_alloc(&arena, SIZE_MAX));
	assert_null(arena_alloc(&arena, SIZE_MAX - 64));
	assert_non_null(arena_array(&arena, 0, 8));
}

static void test_texts_are_copies(void **state)
{
	_cleanup_(arena_release) struct arena arena = ARENA_INIT;
	char source[] = "listener";
	const char *copy = arena_text(&arena, source);

	source[0] = 'x';
	assert_string_equal(copy, "listener");
	assert_string_equal(arena_printf(&arena, "%s[%d]", "routes", 7), "routes[7]");
	assert_memory_equal(arena_copy(&arena, "a\0b", 3), "a\0b", 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces_are_zeroed_aligned_and_apart),
		cmocka_unit_test(test_a_large_piece_leaves_the_room_of_the_block_before_it),
		cmocka_unit_test(test_many_pieces_cost_few_blocks_and_little_room),
		cmocka_unit_test(test_counts_are_checked_before_they_are_multiplied),
		cmocka_unit_test(test_texts_are_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

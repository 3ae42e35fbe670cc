// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* xxHash64 against values that its author and others publish. */
#include "engine/engine_test.h"
#include "weft/xxhash.h"

static u64 hash(const char *text, u64 seed)
{
	u32 len = strlen(text);
	u8 *bytes = malloc(len + 1); /* just as long, so that the sanitizer sees what is read past it */
	u64 h;

	memcpy(bytes, text, len);
	h = weft_xxhash64((const struct weft_head_bytes *)bytes, 0, len, seed);
	free(bytes);
	return h;
}

static void test_hashes_are_those_of_xxh64(void **state)
{
	assert_true(hash("", 0) == 0xef46db3751d8e999ull);
	assert_true(hash("a", 0) == 0xd24ec4f1a98c6e5bull);
	assert_true(hash("abc", 0) == 0x44bc2cf5ad770999ull);
	assert_true(hash("xxhash", 0) == 0x32dd38952c4bc720ull);
	assert_true(hash("xxhash", 20141025) == 0xb559b98d844e0635ull);
	assert_true(hash("Nobody inspects the spammish repetition", 0) == 0xfbcea83c8a378bf1ull);
}

/* Every length around the steps of 4, 8 and 32 bytes; sums from the reference implementation. */
static void test_every_length_is_hashed_whole(void **state)
{
	char text[300];
	u64 sum = 0;
	u32 i;

	for (i = 0; i < sizeof(text); i++)
		text[i] = 'a' + i * 7 % 26;
	for (i = 0; i < 257; i++) {
		char part[260];

		memcpy(part, text, i);
		part[i] = '\0';
		sum = (sum << 1 | sum >> 63) ^ hash(part, i);
	}
	assert_true(sum == 0x53616b653d8e110eull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hashes_are_those_of_xxh64),
		cmocka_unit_test(test_every_length_is_hashed_whole),
	};

	return cmocka_run_group_tests_name("xxhash", tests, NULL, NULL);
}

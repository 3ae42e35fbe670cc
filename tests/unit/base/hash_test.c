/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/hash.h"

static void test_the_same_bytes_have_the_same_hash_wherever_they_stand(void **state)
{
	uint8_t a[40], b[41];

	memset(a, 7, sizeof(a));
	memset(b, 7, sizeof(b));
	for (size_t size = 0; size <= sizeof(a); size++)
		assert_true(content_hash(a, size) == content_hash(b + 1, size));
}

static void test_each_bit_and_the_length_count(void **state)
{
	uint8_t bytes[24] = { 0 };

	for (size_t size = 1; size <= sizeof(bytes); size++) {
		uint64_t hash = content_hash(bytes, size);

		assert_true(hash != content_hash(bytes, size - 1)); /* zeroes fill the last word */
		for (size_t bit = 0; bit < 8 * size; bit++) {
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_true(hash != content_hash(bytes, size));
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

/* Python hashes bytes so, with this key where PYTHONHASHSEED is 0. */
static void test_the_keyed_hash_is_siphash_1_3(void **state)
{
	static const uint64_t key[2] = { 0, 0 };
	uint8_t bytes[64];

	for (uint8_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i;
	assert_true(sip_hash(key, "a", 1) == 0x407448d2b89b1813ull);
	assert_true(sip_hash(key, bytes, 15) == 0xf30eb725bb91c9eaull);
	assert_true(sip_hash(key, bytes, 64) == 0x75e05fd5bbc870c6ull);
	assert_true(keyed_hash(bytes, 64) == keyed_hash(bytes, 64));
	assert_true(keyed_hash(bytes, 64) != keyed_hash(bytes, 63));
	assert_true(keyed_hash(bytes, 64) != 0x75e05fd5bbc870c6ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_same_bytes_have_the_same_hash_wherever_they_stand),
		cmocka_unit_test(test_each_bit_and_the_length_count),
		cmocka_unit_test(test_the_keyed_hash_is_siphash_1_3),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "fixture.h"
#include "compile/ids.h"

static const struct ids_limits small = { .clusters = 4, .endpoints = 4, .rest_ms = 1000, .rest_generations = 3 };

static uint32_t cluster(struct ids_claim *claim, const char *name)
{
	uint32_t id = 0;

	assert_int_equal(ids_cluster(claim, name, &id), 0);
	assert_int_not_equal(id, 0);
	return id;
}

static void test_a_name_keeps_its_id_over_generations(void **state)
{
	struct ids *ids = NULL;
	struct ids_claim *first = NULL, *second = NULL;
	uint32_t a, b, endpoint, again;

	assert_int_equal(ids_new(&ids, NULL), 0);
	assert_int_equal(ids_claim_new(ids, &first), 0);
	a = cluster(first, "a");
	b = cluster(first, "b");
	assert_int_not_equal(a, b);
	assert_int_equal(cluster(first, "a"), a);
	assert_int_equal(ids_endpoint(first, &WEFT_IP4(0x0100000a), 0x5000, &endpoint), 0);

	assert_int_equal(ids_claim_new(ids, &second), 0);
	ids_claim_release(&first);
	assert_int_equal(cluster(second, "b"), b);
	assert_int_equal(cluster(second, "a"), a);
	assert_int_equal(ids_endpoint(second, &WEFT_IP4(0x0100000a), 0x5000, &again), 0);
	assert_int_equal(again, endpoint);
	assert_int_equal(ids_endpoint(second, &WEFT_IP4(0x0100000a), 0x5100, &again), 0);
	assert_int_not_equal(again, endpoint);
	assert_string_equal(ids_cluster_name(ids, a), "a");
	assert_int_equal(ids_cluster_find(ids, "b"), b);
	assert_int_equal(ids_cluster_find(ids, "c"), 0);
	assert_null(ids_cluster_name(ids, 77777));
	ids_claim_release(&second);
	ids_free(&ids);
}

/* Names are looked up only where they come in another order than their ids: what they get is the same. */
static void test_ids_do_not_depend_on_the_order_of_names(void **state)
{
	struct ids_claim *first = NULL, *second = NULL;
	uint64_t random = 7;
	struct ids *ids = NULL;
	uint32_t given[40];
	char name[24];

	assert_int_equal(ids_new(&ids, NULL), 0);
	assert_int_equal(ids_claim_new(ids, &first), 0);
	for (uint32_t i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "c%u", i);
		given[i] = cluster(first, name);
	}
	for (int round = 0; round < 200; round++) {
		uint32_t at = random_below(&random, 40);

		assert_int_equal(ids_claim_new(ids, &second), 0);
		for (uint32_t i = 0; i < 40; i++) {
			snprintf(name, sizeof(name), "c%u", at);
			assert_int_equal(cluster(second, name), given[at]);
			if (!random_below(&random, 10))
				(void)cluster(second, strcat(name, "-new"));
			at = random_below(&random, 4) ? (at + 1) % 40 : random_below(&random, 40);
		}
		ids_claim_release(&first);
		first = second;
		second = NULL;
		/* All of them stay claimed by somebody. */
		for (uint32_t i = 0; i < 40; i++) {
			snprintf(name, sizeof(name), "c%u", i);
			assert_int_equal(cluster(first, name), given[i]);
		}
	}
	ids_claim_release(&first);
	ids_free(&ids);
}

static void test_an_id_rests_before_it_is_given_to_another(void **state)
{
	struct ids *ids = NULL;
	struct ids_claim *claim = NULL, *other = NULL;
	uint32_t a, id, i;

	assert_int_equal(ids_new(&ids, &small), 0);
	ids_set_time(ids, 5000);
	assert_int_equal(ids_claim_new(ids, &claim), 0);
	a = cluster(claim, "a");
	cluster(claim, "b");
	cluster(claim, "c");
	assert_int_equal(ids_cluster(claim, "d", &id), -ENOSPC);
	ids_claim_release(&claim);

	/* Long enough by the clock, not by generations. */
	ids_set_time(ids, 9000);
	assert_int_equal(ids_claim_new(ids, &claim), 0);
	cluster(claim, "b");
	assert_int_equal(ids_cluster(claim, "d", &id), -ENOSPC);
	for (i = 0; i < 3; i++) {
		assert_int_equal(ids_claim_new(ids, &other), 0);
		ids_claim_release(&other);
	}
	/* Both: the one that rests longest goes, never one that is held. */
	assert_int_equal(ids_cluster(claim, "d", &id), 0);
	assert_int_equal(id, a);
	assert_int_equal(ids_cluster_find(ids, "a"), 0);
	ids_claim_release(&claim);
	ids_free(&ids);
}

static void test_an_id_held_by_two_images_rests_only_after_the_second(void **state)
{
	struct ids *ids = NULL;
	struct ids_claim *first = NULL, *second = NULL, *third = NULL;
	const struct ids_limits at_once = { .clusters = 2, .endpoints = 2 };
	uint32_t a, id;

	assert_int_equal(ids_new(&ids, &at_once), 0);
	assert_int_equal(ids_claim_new(ids, &first), 0);
	assert_int_equal(ids_claim_new(ids, &second), 0);
	a = cluster(first, "a");
	cluster(second, "a");
	ids_claim_release(&first);
	assert_int_equal(ids_claim_new(ids, &third), 0);
	assert_int_equal(ids_cluster(third, "b", &id), -ENOSPC);
	ids_claim_release(&second);
	assert_int_equal(ids_cluster(third, "b", &id), 0);
	assert_int_equal(id, a);
	ids_claim_release(&third);
	ids_free(&ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_name_keeps_its_id_over_generations),
		cmocka_unit_test(test_ids_do_not_depend_on_the_order_of_names),
		cmocka_unit_test(test_an_id_rests_before_it_is_given_to_another),
		cmocka_unit_test(test_an_id_held_by_two_images_rests_only_after_the_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

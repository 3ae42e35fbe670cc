/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "worker/internal.h"

static void keep(struct table *table, enum memory_slot slot, const char *text, struct table_entry **entry)
{
	assert_int_equal(memory_keep(table, slot, text, strlen(text), entry), 0);
}

static void finds(struct table *table, enum memory_slot slot, const char *expected)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct table_entry *entry = NULL;

	assert_int_equal(memory_find(table, slot, &text, &entry), 0);
	assert_string_equal(strbuf_text(&text), expected);
	assert_non_null(entry);
}

static void test_what_is_kept_is_found_by_its_slot(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct table_entry *config = NULL, *endpoints = NULL;

	assert_int_equal(table_new(&table, 8), 0);
	assert_int_equal(memory_find(table, MEMORY_CONFIG, &text, &config), -ENOENT);
	keep(table, MEMORY_CONFIG, "pods: []", &config);
	assert_int_equal(memory_find(table, MEMORY_ENDPOINTS, &text, &endpoints), -ENOENT);
	keep(table, MEMORY_ENDPOINTS, "image", &endpoints);
	finds(table, MEMORY_CONFIG, "pods: []");
	finds(table, MEMORY_ENDPOINTS, "image");
	finds(table, MEMORY_CONFIG, "pods: []"); /* from its beginning, however often */
	close(config->fd);
	close(endpoints->fd);
}

static void test_the_former_content_goes_with_its_descriptor(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	struct table_entry *entry = NULL;
	int former;

	assert_int_equal(table_new(&table, 2), 0);
	keep(table, MEMORY_CONFIG, "one", &entry);
	former = entry->fd;
	keep(table, MEMORY_CONFIG, "two", &entry);
	assert_true(fcntl(former, F_GETFD) < 0);
	assert_int_equal(table_count(table, TABLE_CONFIG), 1);
	finds(table, MEMORY_CONFIG, "two");
	close(entry->fd);
}

static void test_a_full_table_keeps_what_it_has(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	struct table_entry *entry = NULL;

	assert_int_equal(table_new(&table, 1), 0);
	keep(table, MEMORY_CONFIG, "one", &entry);
	assert_int_equal(memory_keep(table, MEMORY_CONFIG, "two", 3, &entry), -ENFILE);
	finds(table, MEMORY_CONFIG, "one");
	close(entry->fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_kept_is_found_by_its_slot),
		cmocka_unit_test(test_the_former_content_goes_with_its_descriptor),
		cmocka_unit_test(test_a_full_table_keeps_what_it_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

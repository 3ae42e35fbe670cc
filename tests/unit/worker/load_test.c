/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "datapath/internal.h"
#include "proxy/proxy.h"
#include "worker/internal.h"

/* A worker that dies before it has released the entry leaves the same memory to the next one. */
static void test_a_load_is_taken_off_once(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	struct datapath *datapath = calloc(1, sizeof(*datapath));
	struct worker *worker = calloc(1, sizeof(*worker));
	struct proxy_load *load;

	(void)state;
	assert_int_equal(table_new(&table, 8), 0);
	datapath->clusters = calloc(WEFT_CLUSTERS_MAX, sizeof(*datapath->clusters));
	datapath->endpoints = calloc(WEFT_ENDPOINTS_MAX, sizeof(*datapath->endpoints));
	worker->table = table;
	worker->datapath = datapath;
	assert_int_equal(load_start(worker), 0);
	load = worker->load;
	load->clusters[3] = 2;
	load->endpoints[5] = 1;
	datapath->clusters[3].active = 10;
	datapath->endpoints[5].active = 10;
	load_settle(worker, 0);
	assert_int_equal(datapath->clusters[3].active, 8);
	assert_int_equal(datapath->endpoints[5].active, 9);
	assert_int_equal(load->clusters[3], 0);
	assert_int_equal(load->endpoints[5], 0);
	assert_int_equal(table_count(table, TABLE_CONFIG), 0);
	load_stop(worker);
	free(datapath->clusters);
	free(datapath->endpoints);
	free(datapath);
	free(worker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_load_is_taken_off_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

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

static int setup(void **state)
{
	struct datapath *datapath = calloc(1, sizeof(*datapath));
	struct worker *worker = calloc(1, sizeof(*worker));

	datapath->clusters = calloc(WEFT_CLUSTERS_MAX, sizeof(*datapath->clusters));
	datapath->endpoints = calloc(WEFT_ENDPOINTS_MAX, sizeof(*datapath->endpoints));
	worker->datapath = datapath;
	*state = worker;
	return table_new(&worker->table, 8);
}

static int teardown(void **state)
{
	struct worker *worker = *state;

	table_free(&worker->table);
	free(worker->datapath->clusters);
	free(worker->datapath->endpoints);
	free(worker->datapath);
	free(worker);
	return 0;
}

/* A worker that dies before it has released the entry leaves the same memory to the next one. */
static void test_a_load_is_taken_off_once(void **state)
{
	struct worker *worker = *state;
	struct datapath *datapath = worker->datapath;
	struct proxy_load *load;

	assert_int_equal(load_start(worker), 0);
	load = worker->load;
	load->clusters[3] = 2;
	load->endpoints[5] = 1;
	datapath->clusters[3].active = 10;
	datapath->endpoints[5].proxied = 10;
	load_settle(worker, 0);
	assert_int_equal(datapath->clusters[3].active, 8);
	assert_int_equal(datapath->endpoints[5].proxied, 9);
	assert_int_equal(load->clusters[3], 0);
	assert_int_equal(load->endpoints[5], 0);
	assert_int_equal(table_count(worker->table, TABLE_CONFIG), 0);
	load_stop(worker);
}

/* Between the two steps of counting, or of settling, a worker leaves one too many: it is none as soon as no proxy runs that could have counted it. What programs
 * have counted stays. */
static void test_what_nobody_can_have_counted_is_gone_with_the_next_worker(void **state)
{
	struct worker *worker = *state;
	struct datapath *datapath = worker->datapath;
	struct table_entry *former;

	datapath->clusters[3].active = 1;
	datapath->clusters[3].position = 7;
	datapath->endpoints[5].proxied = 1;
	datapath->endpoints[5].active = 4;
	former = table_take(worker->table, -1);
	former->cookie = 77;
	table_publish(former, TABLE_CHANNEL); /* a weftd before this one still has exchanges */
	assert_int_equal(load_start(worker), 0);
	assert_int_equal(datapath->clusters[3].active, 1);
	assert_int_equal(datapath->endpoints[5].proxied, 1);
	load_stop(worker);
	table_release(worker->table, former);
	assert_int_equal(load_start(worker), 0);
	assert_int_equal(datapath->clusters[3].active, 0);
	assert_int_equal(datapath->clusters[3].position, 7);
	assert_int_equal(datapath->endpoints[5].proxied, 0);
	assert_int_equal(datapath->endpoints[5].active, 4);
	load_stop(worker);
	load_settle(worker, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_load_is_taken_off_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_nobody_can_have_counted_is_gone_with_the_next_worker, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

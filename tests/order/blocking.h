/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that sleep in their reads (bpf/blocking.h): tests for order_test, whose harness is their state. */
#ifndef WEFT_TESTS_ORDER_BLOCKING_H
#define WEFT_TESTS_ORDER_BLOCKING_H

void test_guard_blocking_a_client_that_sleeps_in_its_reads_is_the_proxys(void **state);
void test_guard_blocking_a_client_that_begins_to_sleep_leaves(void **state);
void test_guard_blocking_a_server_that_sleeps_is_served_by_tcp(void **state);
void test_a_sleeping_read_gets_what_the_proxy_writes(void **state);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces are made by a child, held open through /proc, and entered by the test; without root, in a user namespace of its own. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "kube/netns.h"
#include "pod.h"

static int dial(int netns_fd, uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
	int fd, r;

	assert_int_equal(netns_socket(netns_fd, AF_INET, SOCK_STREAM, &fd), 0);
	r = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static void test_cookies_tell_namespaces_apart(void **state)
{
	uint64_t first = 0, again = 0, second = 0, own = 0;
	struct pod a, b;
	int own_fd;

	pod_begin(&a);
	pod_begin(&b);
	assert_int_equal(netns_open("/proc/self/ns/net", &own_fd), 0);
	assert_int_equal(netns_cookie(a.fd, &first), 0);
	assert_int_equal(netns_cookie(b.fd, &second), 0);
	assert_int_equal(netns_cookie(a.fd, &again), 0);
	assert_int_equal(netns_cookie(own_fd, &own), 0);
	assert_true(first != 0 && first == again);
	assert_true(first != second && first != own && second != own);
	close(own_fd);
	pod_end(&a);
	pod_end(&b);
}

static void test_a_namespace_is_claimed_once_by_whoever_holds_the_descriptor(void **state)
{
	struct pod pod, another;
	int own, copy, others;

	pod_begin(&pod);
	pod_begin(&another);
	assert_int_equal(netns_open(pod.path, &own), 0);
	assert_int_equal(netns_open(pod.path, &others), 0);
	assert_int_equal(netns_claimant(others), 0);
	assert_int_equal(netns_claim(own), 0);
	assert_int_equal(netns_claim(another.fd), 0);
	assert_int_equal(netns_claim(others), -EBUSY);
	assert_int_equal(netns_claimant(others), getpid());
	/* Who is given the descriptor has the claim with it. */
	copy = dup(own);
	close(own);
	assert_int_equal(netns_claim(copy), 0);
	assert_int_equal(netns_claim(others), -EBUSY);
	netns_release(copy);
	assert_int_equal(netns_claim(others), 0);
	assert_int_equal(netns_claim(copy), -EBUSY);
	netns_release(others);
	assert_int_equal(netns_claim(copy), 0);
	close(copy);
	assert_int_equal(netns_claim(others), 0);
	close(others);
	pod_end(&another);
	pod_end(&pod);
}

/* What runs in a pod may lock its namespace: it takes itself out of nothing. */
static void test_a_lock_from_inside_is_no_claim(void **state)
{
	int own, inside;

	assert_int_equal(netns_open("/proc/self/ns/net", &inside), 0);
	assert_int_equal(netns_open("/proc/self/ns/net", &own), 0);
	assert_int_equal(flock(inside, LOCK_EX), 0);
	assert_int_equal(netns_claim(own), -EBUSY);
	assert_int_equal(netns_claimant(own), -1);
	close(inside);
	assert_int_equal(netns_claim(own), 0);
	close(own);
}

static void test_a_shared_lock_is_no_claim(void **state)
{
	int own, others;
	struct pod pod;

	pod_begin(&pod);
	assert_int_equal(netns_open(pod.path, &own), 0);
	assert_int_equal(netns_open(pod.path, &others), 0);
	assert_int_equal(flock(others, LOCK_SH), 0);
	assert_int_equal(netns_claim(own), -EBUSY);
	assert_int_equal(netns_claimant(own), -1);
	close(others);
	close(own);
	pod_end(&pod);
}

static void test_the_thread_comes_back(void **state)
{
	struct file_identity before, after;
	struct pod pod;
	int fd;

	pod_begin(&pod);
	assert_int_equal(file_identity_of_path("/proc/thread-self/ns/net", &before), 0);
	assert_int_equal(netns_socket(pod.fd, AF_INET, SOCK_STREAM, &fd), 0);
	close(fd);
	/* what fails inside must not leave it there either */
	assert_int_equal(netns_socket(pod.fd, AF_INET, 77, &fd), -EINVAL);
	assert_int_equal(file_identity_of_path("/proc/thread-self/ns/net", &after), 0);
	assert_true(file_identity_is_equal(&before, &after));
	pod_end(&pod);
}

static void test_a_listener_is_reached_from_inside_alone(void **state)
{
	uint16_t port = 0;
	struct pod pod, other;
	int fd;

	pod_begin(&pod);
	pod_begin(&other);
	loopback_up(&pod);
	loopback_up(&other);
	assert_int_equal(netns_listen_loopback(pod.fd, AF_INET, 15001, 16, &fd, &port), 0);
	assert_int_equal(port, 15001);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(dial(pod.fd, port), 0);
	assert_int_equal(dial(other.fd, port), -ECONNREFUSED);
	close(fd);
	pod_end(&pod);
	pod_end(&other);
}

static void test_a_taken_port_is_replaced(void **state)
{
	uint16_t first = 0, second = 0;
	struct pod pod;
	int a, b;

	pod_begin(&pod);
	loopback_up(&pod);
	assert_int_equal(netns_listen_loopback(pod.fd, AF_INET, 15001, 16, &a, &first), 0);
	assert_int_equal(netns_listen_loopback(pod.fd, AF_INET, 15001, 16, &b, &second), 0);
	assert_int_equal(first, 15001);
	assert_true(second != 0 && second != first);
	assert_int_equal(dial(pod.fd, second), 0);
	close(a);
	close(b);
	pod_end(&pod);
}

static void test_a_pod_has_a_listener_for_ipv6_too(void **state)
{
	struct sockaddr_in6 address;
	socklen_t size = sizeof(address);
	uint16_t four = 0, six = 0;
	struct pod pod;
	int a, b;

	pod_begin(&pod);
	loopback_up(&pod);
	assert_int_equal(netns_listen_loopback(pod.fd, AF_INET, 15001, 16, &a, &four), 0);
	assert_int_equal(netns_listen_loopback(pod.fd, AF_INET6, 15001, 16, &b, &six), 0);
	assert_int_equal(four, 15001);
	assert_int_equal(six, 15001);
	assert_int_equal(getsockname(b, (struct sockaddr *)&address, &size), 0);
	assert_true(IN6_IS_ADDR_LOOPBACK(&address.sin6_addr));
	close(a);
	close(b);
	pod_end(&pod);
}

static void test_a_pod_without_loopback_has_no_listener(void **state)
{
	uint16_t port = 7;
	struct pod pod;
	int fd = -1;

	pod_begin(&pod);
	assert_int_equal(netns_listen_loopback(pod.fd, AF_INET, 15001, 16, &fd, &port), -ENETDOWN);
	assert_int_equal(fd, -1);
	assert_int_equal(port, 7);
	pod_end(&pod);
}

static void test_what_is_no_namespace_is_refused(void **state)
{
	struct file_identity identity;
	int fd = -1;

	assert_int_equal(netns_open("/nowhere", &fd), -ENOENT);
	assert_int_equal(netns_open("/dev/null", &fd), -EINVAL);
	assert_int_equal(cgroup2_check("/nowhere", &identity), -ENOENT);
	assert_int_equal(cgroup2_check("/dev/null", &identity), -ENOTDIR);
	assert_int_equal(cgroup2_check("/tmp", &identity), -EINVAL);
	assert_int_equal(fd, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cookies_tell_namespaces_apart),
		cmocka_unit_test(test_a_namespace_is_claimed_once_by_whoever_holds_the_descriptor),
		cmocka_unit_test(test_a_lock_from_inside_is_no_claim),
		cmocka_unit_test(test_a_shared_lock_is_no_claim),
		cmocka_unit_test(test_the_thread_comes_back),
		cmocka_unit_test(test_a_listener_is_reached_from_inside_alone),
		cmocka_unit_test(test_a_taken_port_is_replaced),
		cmocka_unit_test(test_a_pod_has_a_listener_for_ipv6_too),
		cmocka_unit_test(test_a_pod_without_loopback_has_no_listener),
		cmocka_unit_test(test_what_is_no_namespace_is_refused),
	};

	if (geteuid() != 0 && unshare(CLONE_NEWUSER) < 0) {
		perror("netns_test: a user namespace");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of a pod, which is a network namespace that a child holds open. All its addresses are on its loopback interface. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "kube/netns.h"
#include "kube/sockets.h"
#include "pod.h"
#include "weft/address_host.h"

static void add_address(const struct pod *pod, const char *alias, const char *address)
{
	struct ifreq request = { 0 };
	struct sockaddr_in *four = (struct sockaddr_in *)&request.ifr_addr;
	int fd;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", alias);
	four->sin_family = AF_INET;
	assert_int_equal(inet_pton(AF_INET, address, &four->sin_addr), 1);
	assert_int_equal(netns_socket(pod->fd, AF_INET, SOCK_DGRAM, &fd), 0);
	assert_int_equal(ioctl(fd, SIOCSIFADDR, &request), 0);
	close(fd);
}

#define OWN "10.9.9.1"
#define OTHER "10.9.9.2"

static void begin(struct pod *pod)
{
	pod_begin(pod);
	loopback_up(pod);
	add_address(pod, "lo:1", OWN);
	add_address(pod, "lo:2", OTHER);
}

static void address_of(const char *text, uint16_t port, union weft_sockaddr *out, socklen_t *size)
{
	struct weft_address address;

	assert_true(weft_address_parse(text, &address));
	*size = weft_sockaddr_fill(out, &address, htons(port));
}

/* On any address, of both families: as most servers do. */
static int listener(const struct pod *pod, uint16_t port)
{
	union weft_sockaddr address;
	socklen_t size;
	int fd;

	address_of("::", port, &address, &size);
	assert_int_equal(netns_socket(pod->fd, AF_INET6, SOCK_STREAM, &fd), 0);
	assert_int_equal(bind(fd, &address.any, size), 0);
	assert_int_equal(listen(fd, 128), 0);
	return fd;
}

static int dial(const struct pod *pod, const char *from, const char *to, uint16_t port)
{
	union weft_sockaddr address;
	socklen_t size;
	int fd;

	assert_int_equal(netns_socket(pod->fd, AF_INET, SOCK_STREAM, &fd), 0);
	address_of(from, 0, &address, &size);
	assert_int_equal(bind(fd, &address.any, size), 0);
	address_of(to, port, &address, &size);
	assert_int_equal(connect(fd, &address.any, size), 0);
	return fd;
}

/* By a socket of IPv6, as runtimes do that have one kind of socket for both. */
static int dial_mapped(const struct pod *pod, const char *to, uint16_t port)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	char text[64];
	int fd;

	snprintf(text, sizeof(text), "::ffff:%s", to);
	assert_int_equal(inet_pton(AF_INET6, text, &address.sin6_addr), 1);
	assert_int_equal(netns_socket(pod->fd, AF_INET6, SOCK_STREAM, &fd), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
	return cookie;
}

static bool has(const struct pod_sockets *sockets, int fd)
{
	uint64_t cookie = cookie_of(fd);

	for (size_t i = 0; i < sockets->count; i++)
		if (sockets->items[i].cookie == cookie)
			return true;
	return false;
}

static void find(const struct pod *pod, const char *cgroup, struct pod_sockets *out)
{
	struct weft_address own[WEFT_FAMILIES] = { 0 };

	assert_true(weft_address_parse(OWN, &own[WEFT_FAMILY_4]));
	assert_int_equal(sockets_of_pod(pod->fd, cgroup, own, out), 0);
}

static void test_connections_to_others_are_found_once_and_by_their_clients(void **state)
{
	struct pod_sockets found;
	struct pod pod;
	int server, client, mapped;

	begin(&pod);
	server = listener(&pod, 8080);
	client = dial(&pod, OWN, OTHER, 8080);
	mapped = dial_mapped(&pod, OTHER, 8080);
	find(&pod, NULL, &found);
	assert_int_equal(found.count, 2); /* and not those that the server has accepted */
	assert_true(has(&found, client));
	assert_true(has(&found, mapped));
	assert_true(found.items[0].cookie < found.items[1].cookie);
	sockets_release(&found);
	close(client);
	close(mapped);
	close(server);
	pod_end(&pod);
}

static void test_what_the_mesh_never_takes_is_not_found(void **state)
{
	struct pod_sockets found;
	struct pod pod;
	int server, loopback, own;

	begin(&pod);
	server = listener(&pod, 8080);
	loopback = dial(&pod, "127.0.0.1", "127.0.0.2", 8080);
	own = dial(&pod, OTHER, OWN, 8080);
	find(&pod, NULL, &found);
	assert_int_equal(found.count, 0);
	sockets_release(&found);
	close(loopback);
	close(own);
	close(server);
	pod_end(&pod);
}

static void test_many_connections_are_all_found(void **state)
{
	enum { MANY = 200 }; /* with their other ends more than one answer of the kernel holds */
	int server, clients[MANY], accepted[MANY];
	struct pod_sockets found;
	struct pod pod;

	begin(&pod);
	server = listener(&pod, 8080);
	for (int i = 0; i < MANY; i++) {
		clients[i] = dial(&pod, OWN, OTHER, 8080);
		accepted[i] = accept(server, NULL, NULL);
		assert_true(accepted[i] >= 0);
	}
	find(&pod, NULL, &found);
	assert_int_equal(found.count, MANY);
	for (int i = 0; i < MANY; i++) {
		assert_true(has(&found, clients[i]));
		close(clients[i]);
		close(accepted[i]);
	}
	sockets_release(&found);
	close(server);
	pod_end(&pod);
}

static void test_a_pod_whose_cgroup_is_gone_has_none(void **state)
{
	struct weft_address own[WEFT_FAMILIES] = { 0 };
	struct pod_sockets found = { 0 };
	struct pod pod;

	begin(&pod);
	assert_int_equal(sockets_of_pod(pod.fd, "/nowhere", own, &found), -ENOENT);
	assert_int_equal(found.count, 0);
	pod_end(&pod);
}

static void test_what_has_ended_is_not_found_again(void **state)
{
	struct pod_sockets found;
	struct pod pod;
	int server, client, mapped, again;

	begin(&pod);
	server = listener(&pod, 8080);
	client = dial(&pod, OWN, OTHER, 8080);
	mapped = dial_mapped(&pod, OTHER, 8080);
	find(&pod, NULL, &found);
	assert_int_equal(found.count, 2);
	assert_int_equal(sockets_look_again(pod.fd, &found), 0);
	assert_int_equal(found.count, 2);

	close(client);
	again = dial(&pod, OWN, OTHER, 8080);
	assert_int_equal(sockets_look_again(pod.fd, &found), 0);
	assert_int_equal(found.count, 1);
	assert_true(has(&found, mapped));
	close(mapped);
	assert_int_equal(sockets_look_again(pod.fd, &found), 0);
	assert_int_equal(found.count, 0);
	sockets_release(&found);
	close(again);
	close(server);
	pod_end(&pod);
}

static void test_lists_are_put_together_and_taken_apart(void **state)
{
	struct pod_socket first[] = { { .cookie = 1 }, { .cookie = 7 } }, second[] = { { .cookie = 5 }, { .cookie = 9 } };
	struct pod_sockets all = { 0 }, a = { first, 2 }, b = { second, 2 }, none = { 0 };

	assert_int_equal(sockets_add(&all, &a), 0);
	assert_int_equal(sockets_add(&all, &b), 0);
	assert_int_equal(sockets_add(&all, &none), 0);
	assert_int_equal(all.count, 4);
	for (size_t i = 1; i < all.count; i++)
		assert_true(all.items[i - 1].cookie < all.items[i].cookie);
	sockets_without(&all, &none);
	assert_int_equal(all.count, 4);
	sockets_without(&all, &a);
	assert_int_equal(all.count, 2);
	assert_int_equal(all.items[0].cookie, 5);
	assert_int_equal(all.items[1].cookie, 9);
	sockets_release(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connections_to_others_are_found_once_and_by_their_clients),
		cmocka_unit_test(test_what_the_mesh_never_takes_is_not_found),
		cmocka_unit_test(test_many_connections_are_all_found),
		cmocka_unit_test(test_a_pod_whose_cgroup_is_gone_has_none),
		cmocka_unit_test(test_what_has_ended_is_not_found_again),
		cmocka_unit_test(test_lists_are_put_together_and_taken_apart),
	};

	if (geteuid() != 0 && unshare(CLONE_NEWUSER) < 0) {
		perror("sockets_test: a user namespace");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}

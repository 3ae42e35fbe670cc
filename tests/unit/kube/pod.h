/* SPDX-License-Identifier: Apache-2.0 */
/* A pod for tests of the kube stage: a network namespace that a child holds open. */
#ifndef TESTS_UNIT_KUBE_POD_H
#define TESTS_UNIT_KUBE_POD_H

#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kube/netns.h"

struct pod {
	pid_t holder;
	char path[64];
	int fd;
};

static inline void pod_begin(struct pod *pod)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	pod->holder = fork();
	if (pod->holder == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET))
			_exit(1);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	snprintf(pod->path, sizeof(pod->path), "/proc/%d/ns/net", (int)pod->holder);
	assert_int_equal(netns_open(pod->path, &pod->fd), 0);
}

static inline void pod_end(struct pod *pod)
{
	close(pod->fd);
	kill(pod->holder, SIGKILL);
	waitpid(pod->holder, NULL, 0);
}

static inline void loopback_up(const struct pod *pod)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd;

	assert_int_equal(netns_socket(pod->fd, AF_INET, SOCK_DGRAM, &fd), 0);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
	request.ifr_flags |= IFF_UP;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
}

#endif

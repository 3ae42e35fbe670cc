/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's surroundings as the kernel knows them: its network namespace and its cgroup. Sockets are made inside a pod by entering its network
 * namespace with the calling thread alone. */
#ifndef WEFT_KUBE_NETNS_H
#define WEFT_KUBE_NETNS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens a network namespace by path. -ENOENT: gone; -EINVAL: the path is something else. */
int netns_open(const char *path, int *fd);

/* What programs in the kernel see of a namespace: unique while the machine runs, never used again. Linux 5.14. */
int netns_cookie(int netns_fd, uint64_t *cookie);

/* Makes it known that whoever has this descriptor open, or a copy of it, serves the namespace; until the last of them is closed, or it is released. -EBUSY: somebody else
 * does, with a descriptor of his own. */
int netns_claim(int netns_fd);
/* Takes it back, for all copies. */
void netns_release(int netns_fd);
/* A process that claimed it and still runs; 0: none that is known; -1: it is no claim, but a lock that something in the namespace itself holds. */
pid_t netns_claimant(int netns_fd);

/* A socket made inside; the thread is back in its own namespace when this returns. */
int netns_socket(int netns_fd, int family, int type, int *fd);
int netns_netlink(int netns_fd, int protocol, int *fd);

/* A listener on 127.0.0.1:`port` inside, or [::1]:`port` with AF_INET6, non-blocking; a port that is taken is replaced by one that the kernel chooses.
 * -ENETDOWN: the loopback interface there is down, so nobody could reach it. -EADDRNOTAVAIL, -EAFNOSUPPORT: there is no IPv6 in there. */
int netns_listen_loopback(int netns_fd, int family, uint16_t port, int backlog, int *fd, uint16_t *bound_port);

/* Which file a path leads to: changes when the path is made anew. */
struct file_identity {
	dev_t device;
	ino_t inode;
};
int file_identity_of_path(const char *path, struct file_identity *out);
int file_identity_of_fd(int fd, struct file_identity *out);
static inline bool file_identity_is_equal(const struct file_identity *a, const struct file_identity *b)
{
	return a->device == b->device && a->inode == b->inode;
}

/* 0 when `path` is a folder of a cgroup v2 hierarchy; -EINVAL when it is one of something else; -errno. */
int cgroup2_check(const char *path, struct file_identity *out);

#endif

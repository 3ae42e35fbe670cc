/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "weft/address_host.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef NSFS_MAGIC
#define NSFS_MAGIC 0x6e736673
#endif

int netns_open(const char *path, int *out)
{
	_cleanup_close_ int fd = -1;
	struct statfs fs;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* /run/netns/x is a plain file before `ip netns add` mounted the namespace over it, and after it was taken away. */
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type != NSFS_MAGIC)
		return -EINVAL;
	*out = TAKE_FD(fd);
	return 0;
}

static int make_socket(int netns_fd, int family, int type, int protocol, int *out)
{
	_cleanup_close_ int own = -1;
	int fd, r = 0;

	own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own < 0)
		return -errno;
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(family, type | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		r = -errno;
	/* A thread lost in a pod would do everything else there too. */
	weft_assert(setns(own, CLONE_NEWNET) == 0);
	if (r)
		return r;
	*out = fd;
	return 0;
}

int netns_socket(int netns_fd, int family, int type, int *out)
{
	return make_socket(netns_fd, family, type, 0, out);
}

int netns_netlink(int netns_fd, int protocol, int *out)
{
	return make_socket(netns_fd, AF_NETLINK, SOCK_RAW, protocol, out);
}

int netns_claim(int netns_fd)
{
	if (flock(netns_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

void netns_release(int netns_fd)
{
	(void)flock(netns_fd, LOCK_UN);
}

static bool is_inside(pid_t pid, const struct stat *netns)
{
	struct stat own;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	return stat(path, &own) == 0 && own.st_ino == netns->st_ino && own.st_dev == netns->st_dev;
}

pid_t netns_claimant(int netns_fd)
{
	_cleanup_fclose_ FILE *locks = fopen("/proc/locks", "re");
	char line[256], mode[8];
	struct stat wanted;

	if (!locks || fstat(netns_fd, &wanted) < 0)
		return 0;
	while (fgets(line, sizeof(line), locks)) {
		unsigned device_major, device_minor;
		unsigned long inode;
		int pid;

		/* "7: FLOCK  ADVISORY  WRITE 1234 00:04:4026532345 0 EOF" */
		if (sscanf(line, "%*d: FLOCK %*s %7s %d %x:%x:%lu", mode, &pid, &device_major, &device_minor, &inode) != 5)
			continue;
		if (inode != wanted.st_ino || device_major != major(wanted.st_dev) || device_minor != minor(wanted.st_dev))
			continue;
		if (strcmp(mode, "WRITE") != 0 || (pid > 0 && is_inside(pid, &wanted)))
			return -1;
		return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM) ? pid : 0;
	}
	return 0;
}

int netns_cookie(int netns_fd, uint64_t *cookie)
{
	_cleanup_close_ int fd = -1;
	socklen_t size = sizeof(*cookie);
	uint64_t value;
	int r;

	r = netns_socket(netns_fd, AF_INET, SOCK_DGRAM, &fd);
	if (r)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &value, &size) < 0)
		return -errno;
	*cookie = value;
	return 0;
}

static int check_loopback(int fd)
{
	struct ifreq request = { .ifr_name = "lo" };

	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		return -errno;
	return request.ifr_flags & IFF_UP ? 0 : -ENETDOWN;
}

int netns_listen_loopback(int netns_fd, int family, uint16_t port, int backlog, int *out, uint16_t *bound_port)
{
	const struct weft_address loopback = family == AF_INET ? WEFT_IP4(htonl(INADDR_LOOPBACK)) : weft_address_from(AF_INET6, &in6addr_loopback);
	union weft_sockaddr address;
	socklen_t size = weft_sockaddr_fill(&address, &loopback, htons(port));
	_cleanup_close_ int fd = -1;
	const int on = 1;
	int r;

	r = netns_socket(netns_fd, family, SOCK_STREAM | SOCK_NONBLOCK, &fd);
	if (r)
		return r;
	r = check_loopback(fd);
	if (r)
		return r;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, &address.any, size) < 0) {
		if (errno != EADDRINUSE || port == 0)
			return -errno;
		size = weft_sockaddr_fill(&address, &loopback, 0);
		if (bind(fd, &address.any, size) < 0)
			return -errno;
	}
	if (listen(fd, backlog) < 0)
		return -errno;
	if (getsockname(fd, &address.any, &size) < 0)
		return -errno;
	*bound_port = ntohs(weft_sockaddr_port_be(&address));
	*out = TAKE_FD(fd);
	return 0;
}

int file_identity_of_path(const char *path, struct file_identity *out)
{
	struct stat info;

	if (stat(path, &info) < 0)
		return -errno;
	*out = (struct file_identity){ info.st_dev, info.st_ino };
	return 0;
}

int file_identity_of_fd(int fd, struct file_identity *out)
{
	struct stat info;

	if (fstat(fd, &info) < 0)
		return -errno;
	*out = (struct file_identity){ info.st_dev, info.st_ino };
	return 0;
}

int cgroup2_check(const char *path, struct file_identity *out)
{
	_cleanup_close_ int fd = -1;
	struct statfs fs;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type != CGROUP2_SUPER_MAGIC)
		return -EINVAL;
	return file_identity_of_fd(fd, out);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* bare PROGRAMS.bpf.o bypass PORT CGROUP...: what a client in one of these cgroups sends to PORT, and its server answers, moves from socket to socket.
 * bare PROGRAMS.bpf.o remote PORT SERVER CGROUP...: listens on 127.0.0.1:PORT; each connection gets one of its own to SERVER (address, port 8080), by TCP.
 * Says "ready" and stays until it is killed. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "weft/base.h"

#define SERVER_PORT 8080
#define BACKLOG 4096

struct bare {
	struct bpf_object *object;
	struct sockaddr_in server;
	int epoll_fd;
};

static void need(bool is_right, const char *what)
{
	if (is_right)
		return;
	fprintf(stderr, "bare: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int map_fd(const struct bare *bare, const char *name)
{
	return bpf_object__find_map_fd_by_name(bare->object, name);
}

static struct bpf_program *program(const struct bare *bare, const char *name)
{
	return bpf_object__find_program_by_name(bare->object, name);
}

static void attach(const struct bare *bare, const char *name, const char *map, enum bpf_attach_type type)
{
	need(bpf_prog_attach(bpf_program__fd(program(bare, name)), map_fd(bare, map), type, 0) == 0, name);
}

static void attach_cgroup(const struct bare *bare, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	need(fd >= 0, path);
	need(bpf_program__attach_cgroup(program(bare, "established"), fd) != NULL, path);
	close(fd);
}

static int listen_at(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	need(fd >= 0, "socket");
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	need(bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, BACKLOG) == 0, "listening");
	return fd;
}

/* The accepted socket's number and the upstream's, in one word. */
static void watch(const struct bare *bare, int fd, int upstream_fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = (uint64_t)(uint32_t)fd << 32 | (uint32_t)upstream_fd };

	need(epoll_ctl(bare->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0, "epoll");
}

static void pair(const struct bare *bare, int listener_fd)
{
	struct sockaddr_in client, own;
	socklen_t client_len = sizeof(client), own_len = sizeof(own);
	int on = 1, fd = accept4(listener_fd, (struct sockaddr *)&client, &client_len, SOCK_CLOEXEC | SOCK_NONBLOCK), upstream_fd;
	uint32_t client_port, own_port;
	uint64_t value;

	if (fd < 0)
		return;
	upstream_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	need(upstream_fd >= 0 && connect(upstream_fd, (const struct sockaddr *)&bare->server, sizeof(bare->server)) == 0 &&
		     getsockname(upstream_fd, (struct sockaddr *)&own, &own_len) == 0,
	     "dialling");
	(void)setsockopt(upstream_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	client_port = ntohs(client.sin_port);
	own_port = ntohs(own.sin_port);
	value = (uint64_t)upstream_fd;
	need(bpf_map_update_elem(map_fd(bare, "client_ports"), &own_port, &client_port, BPF_ANY) == 0 &&
		     bpf_map_update_elem(map_fd(bare, "upstreams"), &client_port, &value, BPF_ANY) == 0,
	     "pairing");
	watch(bare, fd, upstream_fd);
}

/* What was written before the pair stood came here; a connection that is over takes its upstream along. */
static void carry(int fd, int upstream_fd)
{
	char bytes[4096];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	if (n > 0) {
		need(write(upstream_fd, bytes, (size_t)n) == n, "writing a first request");
		return;
	}
	if (n < 0 && errno == EAGAIN)
		return;
	close(fd);
	close(upstream_fd);
}

static void serve(const struct bare *bare, int listener_fd)
{
	struct epoll_event event;

	watch(bare, listener_fd, listener_fd);
	for (;;) {
		int fd, upstream_fd;

		if (epoll_wait(bare->epoll_fd, &event, 1, -1) != 1)
			continue;
		fd = (int)(event.data.u64 >> 32);
		upstream_fd = (int)(uint32_t)event.data.u64;
		if (fd == listener_fd)
			pair(bare, listener_fd);
		else
			carry(fd, upstream_fd);
	}
}

int main(int argc, char **argv)
{
	struct bare bare = { .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
	bool is_remote = argc > 5 && !strcmp(argv[2], "remote");
	struct bpf_map *constants;
	uint32_t port;

	errno = EINVAL;
	need(is_remote || (argc > 4 && !strcmp(argv[2], "bypass")), "usage: bare PROGRAMS.bpf.o bypass PORT CGROUP... | remote PORT SERVER CGROUP...");
	bare.object = bpf_object__open(argv[1]);
	need(bare.object != NULL, argv[1]);
	constants = bpf_object__find_map_by_name(bare.object, ".rodata");
	port = (uint32_t)atoi(argv[3]);
	need(constants && bpf_map__set_initial_value(constants, &port, sizeof(port)) == 0, "the port is not the programs' only constant");
	need(bpf_object__load(bare.object) == 0, "loading");
	attach(&bare, "pass", "clients", BPF_SK_SKB_STREAM_VERDICT);
	if (is_remote) {
		attach(&bare, "to_upstream", "clients", BPF_SK_MSG_VERDICT);
		attach(&bare, "from_upstream", "upstreams", BPF_SK_SKB_STREAM_VERDICT);
	} else {
		attach(&bare, "to_server", "clients", BPF_SK_MSG_VERDICT);
		attach(&bare, "to_client", "servers", BPF_SK_MSG_VERDICT);
		attach(&bare, "pass", "servers", BPF_SK_SKB_STREAM_VERDICT);
	}
	for (int i = is_remote ? 5 : 4; i < argc; i++)
		attach_cgroup(&bare, argv[i]);
	if (is_remote) {
		int listener_fd = listen_at((int)port);

		bare.server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(SERVER_PORT) };
		need(inet_pton(AF_INET, argv[4], &bare.server.sin_addr) == 1, argv[4]);
		puts("ready");
		fflush(stdout);
		serve(&bare, listener_fd);
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

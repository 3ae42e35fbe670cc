// SPDX-License-Identifier: Apache-2.0
/* What can be found out by doing it, on a connection of weftd's own that nobody else sees. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/strbuf.h"
#include "datapath/internal.h"
#include "probe.skel.h"
#include "weft/probe.h"

#define ARRIVAL_MS 1000 /* waited out only where bytes do not come */

static int loopback_pair(int *client, int *server)
{
	_cleanup_close_ int listener = -1, c = -1;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || c < 0 || bind(listener, (struct sockaddr *)&address, len) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &len) || connect(c, (struct sockaddr *)&address, len))
		return -errno;
	*server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (*server < 0)
		return -errno;
	*client = TAKE_FD(c);
	return 0;
}

/* `socket` gets the message program `program`, by a map that has nothing else. */
static int watch_messages(int program, int socket, int *map)
{
	uint64_t value = (uint64_t)socket;
	uint32_t key = 0;

	*map = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "weft_probe", 4, 8, 1, NULL);
	if (*map < 0 || bpf_prog_attach(program, *map, BPF_SK_MSG_VERDICT, 0) || bpf_map_update_elem(*map, &key, &value, BPF_ANY))
		return -errno;
	return 0;
}

static bool has_bytes(int socket)
{
	struct pollfd wanted = {.fd = socket, .events = POLLIN};

	return poll(&wanted, 1, ARRIVAL_MS) > 0;
}

/* ---- FIONREAD -------------------------------------------------------------------------------------------------------------------- */

int probe_fionread(int message_stub)
{
	_cleanup_close_ int map = -1, client = -1, server = -1;
	int r, waiting = 0;

	r = loopback_pair(&client, &server);
	if (!r)
		r = watch_messages(message_stub, server, &map);
	if (r)
		return r;
	if (send(client, "weft", 4, MSG_NOSIGNAL) != 4)
		return -errno;
	/* Where FIONREAD misses them, poll() sees them nevertheless. */
	if (!has_bytes(server))
		return -ETIMEDOUT;
	if (ioctl(server, FIONREAD, &waiting))
		return -errno;
	return waiting > 0;
}

static void skeleton_destroy(struct probe **skeleton)
{
	if (*skeleton)
		probe__destroy(*skeleton);
}

int probe_redirected_fionread(int message_stub, int verdict_stub)
{
	_cleanup_(skeleton_destroy) struct probe *skeleton = probe__open_and_load();
	_cleanup_close_ int map = -1, client = -1, server = -1;
	char received[sizeof(WEFT_PROBE_SENT) - 1];
	const int wanted = (int)sizeof(received);
	uint32_t key = WEFT_PROBE_TARGET;
	int r, target, waiting = 0;
	uint64_t value;

	if (!skeleton)
		return -errno;
	target = bpf_map__fd(skeleton->maps.probe_sockets);
	r = loopback_pair(&client, &server);
	if (!r)
		r = watch_messages(bpf_program__fd(skeleton->progs.probe_redirect), client, &map);
	if (r)
		return r;
	value = (uint64_t)server;
	if (bpf_prog_attach(message_stub, target, BPF_SK_MSG_VERDICT, 0) ||
	    (verdict_stub >= 0 && bpf_prog_attach(verdict_stub, target, BPF_SK_SKB_VERDICT, 0)) ||
	    bpf_map_update_elem(target, &key, &value, BPF_ANY))
		return -errno;
	if (send(client, WEFT_PROBE_SENT, (size_t)wanted, MSG_NOSIGNAL) != wanted || ioctl(server, FIONREAD, &waiting))
		return -errno;
	/* What FIONREAD says counts only if the bytes are there: they came before send() returned. */
	if (recv(server, received, sizeof(received), MSG_DONTWAIT) != wanted || memcmp(received, WEFT_PROBE_SENT, sizeof(received)) != 0)
		return -EBADMSG;
	return waiting == wanted;
}

/* ---- edits ----------------------------------------------------------------------------------------------------------------------- */

int probe_edits(void)
{
	_cleanup_(skeleton_destroy) struct probe *skeleton = probe__open_and_load();
	_cleanup_close_ int map = -1, client = -1, server = -1;
	const size_t wanted = sizeof(WEFT_PROBE_RECEIVED) - 1;
	char received[64];
	size_t have = 0;
	int r;

	if (!skeleton)
		return -errno;
	r = loopback_pair(&client, &server);
	if (!r)
		r = watch_messages(bpf_program__fd(skeleton->progs.probe_push_pop), client, &map);
	if (r)
		return r;
	if (send(client, WEFT_PROBE_SENT, sizeof(WEFT_PROBE_SENT) - 1, MSG_NOSIGNAL) < 0)
		return -errno;
	while (have < wanted && has_bytes(server)) {
		ssize_t n = recv(server, received + have, sizeof(received) - have, MSG_DONTWAIT);

		if (n <= 0)
			break;
		have += (size_t)n;
	}
	return have == wanted && memcmp(received, WEFT_PROBE_RECEIVED, wanted) == 0;
}

/* ---- what a refusal is about ----------------------------------------------------------------------------------------------------- */

static const struct {
	enum bpf_prog_type program;
	enum bpf_attach_type attach;
	enum bpf_func_id helper;
	const char *name;
} helpers[] = {
	{ BPF_PROG_TYPE_SK_MSG, BPF_SK_MSG_VERDICT, BPF_FUNC_msg_redirect_hash, "bpf_msg_redirect_hash" },
	{ BPF_PROG_TYPE_SK_MSG, BPF_SK_MSG_VERDICT, BPF_FUNC_msg_apply_bytes, "bpf_msg_apply_bytes" },
	{ BPF_PROG_TYPE_SK_MSG, BPF_SK_MSG_VERDICT, BPF_FUNC_msg_pull_data, "bpf_msg_pull_data" },
	{ BPF_PROG_TYPE_SK_MSG, BPF_SK_MSG_VERDICT, BPF_FUNC_sk_storage_get, "bpf_sk_storage_get" },
	{ BPF_PROG_TYPE_SK_MSG, BPF_SK_MSG_VERDICT, BPF_FUNC_loop, "bpf_loop" },
	{ BPF_PROG_TYPE_SK_MSG, BPF_SK_MSG_VERDICT, BPF_FUNC_ringbuf_reserve, "bpf_ringbuf_reserve" },
	{ BPF_PROG_TYPE_SK_MSG, BPF_SK_MSG_VERDICT, BPF_FUNC_probe_read_kernel, "bpf_probe_read_kernel" },
	{ BPF_PROG_TYPE_SK_SKB, BPF_SK_SKB_VERDICT, BPF_FUNC_sk_redirect_hash, "bpf_sk_redirect_hash" },
	{ BPF_PROG_TYPE_SK_SKB, BPF_SK_SKB_VERDICT, BPF_FUNC_skc_to_tcp_sock, "bpf_skc_to_tcp_sock" },
	{ BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS, BPF_FUNC_sock_hash_update, "bpf_sock_hash_update" },
	{ BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS, BPF_FUNC_get_netns_cookie, "bpf_get_netns_cookie" },
	{ BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS, BPF_FUNC_skc_to_tcp_sock, "bpf_skc_to_tcp_sock" },
	{ BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT, BPF_FUNC_get_netns_cookie, "bpf_get_netns_cookie" },
	{ BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT, BPF_FUNC_skc_lookup_tcp, "bpf_skc_lookup_tcp" },
	{ BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT, BPF_FUNC_set_retval, "bpf_set_retval" },
};

/* A program that does nothing but call it: whatever else the verifier says of that (it never gets its arguments), it knows the helper. */
static bool is_missing(size_t i)
{
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = helpers[i].attach);
	const struct bpf_insn instructions[] = {
		{ .code = BPF_JMP | BPF_CALL, .imm = helpers[i].helper },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	char log[4096] = "";
	int fd;

	options.log_buf = log;
	options.log_size = sizeof(log);
	options.log_level = 1;
	fd = bpf_prog_load(helpers[i].program, "weft_probe", "GPL", instructions, 2, &options);
	if (fd >= 0) {
		close(fd);
		return false;
	}
	return strstr(log, "unknown func") || strstr(log, "invalid func") || strstr(log, "cannot use helper");
}

/* "none integrity [confidentiality]" */
static bool is_locked_down(void)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	return file_read("/sys/kernel/security/lockdown", 4096, &text) == 0 && strstr(strbuf_text(&text), "[confidentiality]");
}

bool probe_missing_helper(char *why, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(helpers); i++) {
		if (!is_missing(i))
			continue;
		snprintf(why, size, "this kernel has no %s%s", helpers[i].name,
			 helpers[i].helper != BPF_FUNC_probe_read_kernel ? "" :
			 is_locked_down() ? " (lockdown: confidentiality)" : " (lockdown?)");
		return true;
	}
	return false;
}

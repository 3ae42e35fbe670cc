/* SPDX-License-Identifier: Apache-2.0 */
/* Could weftd run here? Looks at the node as it is, without weftd: each line is one thing that it needs, what was found, and what to do. */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ctl.h"

#define KERNEL_MAJOR 6
#define KERNEL_MINOR 1
#define CONNECT_MS 3000
#define PROGRAMS_MAX 64

struct findings {
	json_t *list;
	bool has_failed;
};

enum verdict { VERDICT_GOOD, VERDICT_WARNING, VERDICT_BAD };

static void add(struct findings *findings, const char *what, enum verdict verdict, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void add(struct findings *findings, const char *what, enum verdict verdict, const char *fmt, ...)
{
	static const char *const names[] = { "ok", "warning", "missing" };
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	findings->has_failed |= verdict == VERDICT_BAD;
	json_array_append_new(findings->list, json_pack("{s:s, s:s, s:s}", "what", what, "verdict", names[verdict], "found", text));
}

static void check_kernel(struct findings *findings)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;

	if (uname(&name) || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		add(findings, "kernel", VERDICT_BAD, "its version can't be read");
	else if (major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR))
		add(findings, "kernel", VERDICT_BAD, "%s: %d.%d or newer is needed", name.release, KERNEL_MAJOR, KERNEL_MINOR);
	else
		add(findings, "kernel", VERDICT_GOOD, "%s", name.release);
}

/* The first one that is mounted, as weftd takes it. */
static bool find_cgroup2(char *path, size_t room)
{
	_cleanup_fclose_ FILE *mounts = fopen("/proc/mounts", "re");
	char line[4096], where[1024], type[64];

	while (mounts && fgets(line, sizeof(line), mounts)) {
		if (sscanf(line, "%*s %1023s %63s", where, type) == 2 && strcmp(type, "cgroup2") == 0) {
			snprintf(path, room, "%s", where);
			return true;
		}
	}
	return false;
}

/* Programs of others at the hook: several may be there, unless one of them wants to be alone. */
static void check_hook(struct findings *findings, int cgroup_fd, enum bpf_attach_type type, const char *name)
{
	uint32_t ids[PROGRAMS_MAX], count = PROGRAMS_MAX, flags = 0;
	char what[64];

	snprintf(what, sizeof(what), "hook %s", name);
	if (bpf_prog_query(cgroup_fd, type, 0, &flags, ids, &count))
		add(findings, what, errno == EPERM ? VERDICT_BAD : VERDICT_WARNING, "can't be asked: %s", strerror(errno));
	else if (count && !(flags & BPF_F_ALLOW_MULTI))
		add(findings, what, VERDICT_BAD, "a program at the root cgroup (id %u) allows no other below it: bpftool cgroup show", ids[0]);
	else if (count)
		add(findings, what, VERDICT_WARNING, "%u program%s at the root cgroup, as of a socket load balancer: it runs too, and may choose destinations before weft does", count,
		    count > 1 ? "s" : "");
	else
		add(findings, what, VERDICT_GOOD, "free");
}

static void check_cgroup(struct findings *findings)
{
	static const struct {
		enum bpf_attach_type type;
		const char *name;
	} hooks[] = { { BPF_CGROUP_INET4_CONNECT, "connect4" }, { BPF_CGROUP_INET4_GETPEERNAME, "getpeername4" }, { BPF_CGROUP_INET6_CONNECT, "connect6" },
		      { BPF_CGROUP_INET6_GETPEERNAME, "getpeername6" }, { BPF_CGROUP_SOCK_OPS, "sockops" } };
	_cleanup_close_ int fd = -1;
	char path[1024];

	if (!find_cgroup2(path, sizeof(path))) {
		add(findings, "cgroup v2", VERDICT_BAD, "not mounted: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified");
		return;
	}
	add(findings, "cgroup v2", VERDICT_GOOD, "at %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; fd >= 0 && i < ARRAY_SIZE(hooks); i++)
		check_hook(findings, fd, hooks[i].type, hooks[i].name);
}

static void check_bpffs(struct findings *findings, const char *bpffs)
{
	char path[1024];
	struct statfs fs;
	char *slash;

	/* weftd makes the last folder itself */
	snprintf(path, sizeof(path), "%s", bpffs);
	if (statfs(path, &fs) && (slash = strrchr(path, '/')) && slash != path) {
		*slash = '\0';
		if (statfs(path, &fs)) {
			add(findings, "BPF file system", VERDICT_BAD, "%s: %s", path, strerror(errno));
			return;
		}
	}
	if ((uint32_t)fs.f_type == BPF_FS_MAGIC)
		add(findings, "BPF file system", VERDICT_GOOD, "at %s", path);
	else
		add(findings, "BPF file system", VERDICT_WARNING, "%s is none: weftd mounts one, and what it pins is gone with its container", path);
}

static void check_capabilities(struct findings *findings)
{
	static const struct {
		unsigned int number;
		const char *name;
	} wanted[] = { { CAP_NET_ADMIN, "NET_ADMIN" }, { CAP_SYS_ADMIN, "SYS_ADMIN" }, { CAP_SYS_PTRACE, "SYS_PTRACE (for --kubernetes)" } };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT, missing = STRBUF_INIT;
	unsigned long long effective = 0;
	const char *at;

	if (file_read("/proc/self/status", 1 << 16, &text) == 0 && (at = strstr(strbuf_text(&text), "CapEff:")))
		effective = strtoull(at + 7, NULL, 16);
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (!(effective >> wanted[i].number & 1))
			strbuf_printf(&missing, "%s%s", missing.size ? ", " : "", wanted[i].name);
	if (missing.size)
		add(findings, "capabilities", VERDICT_BAD, "this process lacks %s: run it as weftd will run", strbuf_text(&missing));
	else
		add(findings, "capabilities", VERDICT_GOOD, "NET_ADMIN, SYS_ADMIN, SYS_PTRACE");
}

static int dial(const struct addrinfo *address)
{
	_cleanup_close_ int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pollfd wait = { .fd = fd, .events = POLLOUT };
	socklen_t size = sizeof(int);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	if (poll(&wait, 1, CONNECT_MS) != 1)
		return -ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) ? -errno : -error;
}

/* HOST:PORT, [ADDRESS]:PORT, with a scheme before it or not: istiod, or the API server. */
static void check_server(struct findings *findings, const char *text)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	const char *start = strstr(text, "://"), *colon;
	char host[256] = "", port[16] = "";
	int r;

	start = start ? start + 3 : text;
	colon = strrchr(start, ':');
	if (colon) {
		bool is_bracketed = *start == '[' && colon > start + 1 && colon[-1] == ']';

		snprintf(host, sizeof(host), "%.*s", (int)(colon - start) - (is_bracketed ? 2 : 0), start + is_bracketed);
		snprintf(port, sizeof(port), "%.*s", (int)strcspn(colon + 1, "/"), colon + 1);
	}
	if (!*host || !*port) {
		add(findings, text, VERDICT_BAD, "HOST:PORT is expected");
		return;
	}
	r = getaddrinfo(host, port, &hints, &found);
	if (r) {
		add(findings, text, VERDICT_BAD, "%s: %s", host, gai_strerror(r));
		return;
	}
	r = dial(found);
	freeaddrinfo(found);
	if (r)
		add(findings, text, VERDICT_BAD, "no connection: %s", strerror(-r));
	else
		add(findings, text, VERDICT_GOOD, "takes connections");
}

static void print(const json_t *list)
{
	static const char *const headings[] = { "WHAT", "VERDICT", "FOUND" };
	struct text_table table;
	const json_t *finding;
	size_t i;

	text_table_begin(&table, headings, 3);
	json_array_foreach(list, i, finding) {
		text_table_add(&table, ctl_text(finding, "what"));
		text_table_add(&table, ctl_text(finding, "verdict"));
		text_table_add(&table, ctl_text(finding, "found"));
	}
	text_table_end(&table, 0);
}

int ctl_check(const struct ctl *ctl, int argc, char **argv)
{
	struct findings findings = { .list = json_array() };
	json_t *answer;

	check_kernel(&findings);
	check_cgroup(&findings);
	check_bpffs(&findings, ctl->bpffs);
	check_capabilities(&findings);
	for (int i = 0; i < argc; i++)
		check_server(&findings, argv[i]);
	answer = json_pack("{s:o, s:b}", "checks", findings.list, "is_fit", !findings.has_failed);
	if (ctl->is_json)
		ctl_print_json(answer);
	else
		print(findings.list);
	json_decref(answer);
	return findings.has_failed;
}

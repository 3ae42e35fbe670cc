/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/place.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define STATIC_POD_HASH "kubernetes.io/config.hash"
#define DEPTH_MAX 8              /* of folders below a root; kind on a host has six */
#define FOLDERS_MAX 20000        /* that are looked at */
#define PROCS_MAX (1u << 20)
#define PROCESSES_MAX 4096

static void set(struct enrol *why, enum enrol_reason reason, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void set(struct enrol *why, enum enrol_reason reason, const char *fmt, ...)
{
	va_list args;

	why->verdict = ENROL_WAITING;
	why->reason = reason;
	va_start(args, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, args);
	va_end(args);
}

void place_release(struct place *place)
{
	free(place->cgroup);
	free(place->network_namespace);
	*place = (struct place){ 0 };
}

/* ---- the cgroup ---------------------------------------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
	struct stat info;

	return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* What kubelet calls the pod: static ones by the hash of their file. */
static const char *uid_of(const struct kube_pod *pod)
{
	const char *hash = kube_pod_annotation(pod, STATIC_POD_HASH);

	return hash && *hash ? hash : pod->uid;
}

/* systemd's units have no dashes inside: there they are underscores. */
static void underscored(char *to, size_t room, const char *from)
{
	size_t i;

	for (i = 0; from[i] && i + 1 < room; i++)
		to[i] = from[i] == '-' ? '_' : from[i];
	to[i] = '\0';
}

static const char *qos_of(const struct kube_pod *pod)
{
	if (strcmp(pod->qos, "Burstable") == 0)
		return "burstable";
	return strcmp(pod->qos, "BestEffort") == 0 ? "besteffort" : "";
}

/* The layouts that kubelet makes itself, with each driver, alone and below a root of its own as in kind. */
static bool find_by_name(const char *root, const struct kube_pod *pod, char *path, size_t room)
{
	const char *qos = qos_of(pod), *dash = *qos ? "-" : "", *slash = *qos ? "/" : "", *uid = uid_of(pod);
	char unit[128];

	underscored(unit, sizeof(unit), uid);
	for (int nested = 0; nested < 2; nested++) {
		const char *before = nested ? "kubelet-" : "";
		char level[128] = "";

		if (*qos)
			snprintf(level, sizeof(level), "%skubepods-%s.slice/", before, qos);
		snprintf(path, room, "%s%s/%skubepods.slice/%s%skubepods%s%s-pod%s.slice", root, nested ? "/kubelet.slice" : "", before, level, before, dash, qos, unit);
		if (is_folder(path))
			return true;
		snprintf(path, room, "%s%s/kubepods%s%s/pod%s", root, nested ? "/kubelet" : "", slash, qos, uid);
		if (is_folder(path))
			return true;
	}
	return false;
}

struct walk {
	const char *uid, *unit;
	unsigned int left;
	char *path;
	size_t room;
};

static bool is_pod_folder(const char *name, const char *uid)
{
	const char *at = strstr(name, uid);
	const char *rest = at ? at + strlen(uid) : "";

	return at && at - name >= 3 && strncmp(at - 3, "pod", 3) == 0 && (!*rest || strcmp(rest, ".slice") == 0);
}

/* Anywhere below: runtimes and nodes in containers put kubelet's folders where they like. */
static bool walk(struct walk *state, size_t size, unsigned int depth)
{
	_cleanup_closedir_ DIR *dir = opendir(state->path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		int more;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.' || !state->left)
			continue;
		state->left--;
		more = snprintf(state->path + size, state->room - size, "/%s", entry->d_name);
		if (more < 0 || (size_t)more >= state->room - size)
			continue;
		if (is_pod_folder(entry->d_name, state->uid) || is_pod_folder(entry->d_name, state->unit))
			return true;
		if (depth < DEPTH_MAX && state->left && walk(state, size + (size_t)more, depth + 1))
			return true;
		state->path[size] = '\0';
	}
	return false;
}

static bool find_by_walking(const char *root, const struct kube_pod *pod, char *path, size_t room)
{
	struct walk state = { .uid = uid_of(pod), .left = FOLDERS_MAX, .path = path, .room = room };
	char unit[128];

	underscored(unit, sizeof(unit), state.uid);
	state.unit = unit;
	snprintf(path, room, "%s", root);
	return walk(&state, strlen(path), 1);
}

/* ---- processes ----------------------------------------------------------------------------------------------------------------------- */

struct processes {
	pid_t pids[PROCESSES_MAX];
	size_t count;
	bool are_hidden;             /* they are in a PID namespace that is not ours */
};

/* conmon, CRI-O's monitor, is in the node's network namespace. */
static bool is_monitor(const char *name)
{
	return strncmp(name, "crio-conmon-", 12) == 0;
}

static void read_processes(const char *folder, struct processes *out)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	char path[PATH_MAX];
	char *at, *end;

	if (snprintf(path, sizeof(path), "%s/cgroup.procs", folder) >= (int)sizeof(path) || file_read(path, PROCS_MAX, &text) || !text.data)
		return;
	for (at = text.data; *at; at = *end ? end + 1 : end) {
		long pid = strtol(at, &end, 10);

		if (end == at)
			break;
		if (pid == 0)
			out->are_hidden = true;
		else if (pid > 0 && out->count < PROCESSES_MAX)
			out->pids[out->count++] = (pid_t)pid;
	}
}

/* In cgroup v2 the processes are in the leaves. */
static void collect(char *path, size_t size, size_t room, unsigned int depth, struct processes *out)
{
	_cleanup_closedir_ DIR *dir = opendir(path);
	struct dirent *entry;

	if (dir)
		read_processes(path, out);
	while (dir && (entry = readdir(dir))) {
		int more;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.' || is_monitor(entry->d_name))
			continue;
		more = snprintf(path + size, room - size, "/%s", entry->d_name);
		if (more > 0 && (size_t)more < room - size && depth < DEPTH_MAX)
			collect(path, size + (size_t)more, room, depth + 1, out);
		path[size] = '\0';
	}
}

static void processes_of(const char *cgroup, struct processes *out)
{
	char path[PATH_MAX];
	int size = snprintf(path, sizeof(path), "%s", cgroup);

	out->count = 0;
	out->are_hidden = false;
	if (size < (int)sizeof(path))
		collect(path, (size_t)size, sizeof(path), 1, out);
}

/* When it began, in ticks since the machine did; 0: it is gone. */
static uint64_t started(const char *proc, pid_t pid)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	char path[PATH_MAX];
	const char *at;

	snprintf(path, sizeof(path), "%s/%d/stat", proc, (int)pid);
	if (file_read(path, 4096, &text))
		return 0;
	/* The second field is the program's name, which may hold anything: fields are counted from its end. The 22nd is wanted. */
	at = strrchr(strbuf_text(&text), ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

/* ---- the network namespace ----------------------------------------------------------------------------------------------------------- */

/* The kernel lets a socket be bound to addresses of its own namespace alone. */
static bool holds_address(int netns_fd, const char *ip)
{
	struct sockaddr_in six_or_four = { .sin_family = AF_INET };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	_cleanup_close_ int fd = -1;

	if (inet_pton(AF_INET, ip, &six_or_four.sin_addr) == 1)
		return netns_socket(netns_fd, AF_INET, SOCK_DGRAM, &fd) == 0 && bind(fd, (struct sockaddr *)&six_or_four, sizeof(six_or_four)) == 0;
	return inet_pton(AF_INET6, ip, &six.sin6_addr) == 1 && netns_socket(netns_fd, AF_INET6, SOCK_DGRAM, &fd) == 0 &&
	       bind(fd, (struct sockaddr *)&six, sizeof(six)) == 0;
}

static bool holds_any_address(int netns_fd, const struct kube_pod *pod)
{
	for (size_t i = 0; i < pod->ip_count; i++)
		if (holds_address(netns_fd, pod->ips[i]))
			return true;
	return false;
}

/* The node's, by its first process and by ourselves, who are meant to be in it: the first process may not be looked at everywhere. */
struct host {
	struct file_identity netns[2];
	size_t count;
};

static void find_host(const char *proc, struct host *out)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/1/ns/net", proc);
	out->count = file_identity_of_path(path, &out->netns[0]) == 0 ? 1 : 0;
	if (file_identity_of_path("/proc/self/ns/net", &out->netns[out->count]) == 0)
		out->count++;
}

static int open_netns_of(const char *proc, pid_t pid, const struct host *host, int *out, struct file_identity *identity)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "%s/%d/ns/net", proc, (int)pid);
	r = netns_open(path, &fd);
	if (!r)
		r = file_identity_of_fd(fd, identity);
	for (size_t i = 0; i < host->count && !r; i++)
		if (file_identity_is_equal(identity, &host->netns[i]))
			r = -EADDRINUSE;
	if (!r)
		*out = TAKE_FD(fd);
	return r;
}

static int set_path(const struct place_roots *roots, pid_t pid, struct place *out)
{
	char *path;

	if (asprintf(&path, "%s/%d/ns/net", roots->proc, (int)pid) < 0)
		return -ENOMEM;
	free(out->network_namespace);
	out->network_namespace = path;
	return 0;
}

/* Of the oldest process that is not in the node's: the sandbox's, or a container's. */
static int find_netns(const struct place_roots *roots, const struct kube_pod *pod, const struct processes *processes, struct place *out)
{
	struct file_identity identity;
	uint64_t oldest = UINT64_MAX;
	pid_t found = 0;
	struct host host;

	find_host(roots->proc, &host);
	for (size_t i = 0; i < processes->count; i++) {
		uint64_t since = started(roots->proc, processes->pids[i]);
		_cleanup_close_ int fd = -1;

		if (!since || since >= oldest || open_netns_of(roots->proc, processes->pids[i], &host, &fd, &identity))
			continue;
		if (!holds_any_address(fd, pod))
			continue;
		found = processes->pids[i];
		oldest = since;
		out->netns = identity;
	}
	return found ? set_path(roots, found, out) : -ENOENT;
}

int place_find(const struct place_roots *roots, const struct kube_pod *pod, struct place *out, struct enrol *why)
{
	_cleanup_(place_release) struct place place = { 0 };
	_cleanup_free_ struct processes *processes = malloc(sizeof(*processes));
	char path[PATH_MAX];
	int r;

	if (!processes)
		return -ENOMEM;
	if (!*uid_of(pod) || strchr(uid_of(pod), '/') ||
	    (!find_by_name(roots->cgroup, pod, path, sizeof(path)) && !find_by_walking(roots->cgroup, pod, path, sizeof(path)))) {
		set(why, ENROL_NO_CGROUP, "no folder of cgroup v2 for it is below %s", roots->cgroup);
		return -ENOENT;
	}
	processes_of(path, processes);
	if (!processes->count) {
		set(why, ENROL_NO_NETWORK_NAMESPACE, processes->are_hidden ? "its processes are in a PID namespace that weftd does not see (hostPID)" :
									     "no process of it runs yet");
		return -ENOENT;
	}
	r = find_netns(roots, pod, processes, &place);
	if (r == -ENOMEM)
		return r;
	if (r) {
		set(why, ENROL_NO_NETWORK_NAMESPACE, "of its %zu processes none is in a network namespace that has its address %s", processes->count,
		    pod->ip_count ? pod->ips[0] : "");
		return -ENOENT;
	}
	place.cgroup = strdup(path);
	if (!place.cgroup)
		return -ENOMEM;
	*out = place;
	place = (struct place){ 0 };
	return 0;
}

bool place_holds(const struct place_roots *roots, struct place *place)
{
	_cleanup_free_ struct processes *processes = malloc(sizeof(*processes));
	struct file_identity identity;
	char path[PATH_MAX];

	if (!processes)
		return true;
	processes_of(place->cgroup, processes);
	for (size_t i = 0; i < processes->count; i++) {
		snprintf(path, sizeof(path), "%s/%d/ns/net", roots->proc, (int)processes->pids[i]);
		if (file_identity_of_path(path, &identity) == 0 && file_identity_is_equal(&identity, &place->netns))
			return strcmp(path, place->network_namespace) == 0 || set_path(roots, processes->pids[i], place) == 0;
	}
	return false;
}

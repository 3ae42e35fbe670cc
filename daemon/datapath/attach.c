// SPDX-License-Identifier: Apache-2.0
/* Pods and the worker's cgroup: links, pinned by name so that a crash leaves nothing that the next start can't find. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/step.h"
#include "datapath/internal.h"
#include "weft/hash.h"

static const struct {
	enum program_index program;
	enum bpf_attach_type type;
	const char *name;
} pod_hooks[] = {
	{PROGRAM_SOCKOPS, BPF_CGROUP_SOCK_OPS, "sockops"},
	{PROGRAM_GETPEERNAME4, BPF_CGROUP_INET4_GETPEERNAME, "getpeername4"},
	{PROGRAM_GETSOCKNAME4, BPF_CGROUP_INET4_GETSOCKNAME, "getsockname4"},
	{PROGRAM_GETPEERNAME6, BPF_CGROUP_INET6_GETPEERNAME, "getpeername6"},
	{PROGRAM_GETSOCKNAME6, BPF_CGROUP_INET6_GETSOCKNAME, "getsockname6"},
	{PROGRAM_RELEASE, BPF_CGROUP_INET_SOCK_RELEASE, "release"},
	{PROGRAM_CONNECT6, BPF_CGROUP_INET6_CONNECT, "connect6"},
	{PROGRAM_CONNECT4, BPF_CGROUP_INET4_CONNECT, "connect4"}, /* last: only then are connections captured */
};

static void link_path(const struct datapath *dp, const char *owner, const char *hook, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/links/%s-%s", dp->bpffs, owner, hook);
}

/* The kernel detaches a link when its cgroup goes; the pin is ours to take away. */
static bool is_detached(const char *path)
{
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);
	_cleanup_close_ int fd = bpf_obj_get(path);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) && !info.cgroup.cgroup_id;
}

/* A pinned link keeps its program attached whatever happens to this process. One that is pinned already is kept, unless it is that of a former cgroup
 * with the same number. */
static int link_create(struct datapath *dp, enum program_index program, enum bpf_attach_type type, const char *cgroup, const char *owner,
		       const char *hook)
{
	_cleanup_close_ int cgroup_fd = -1, link_fd = -1;
	char path[PATH_MAX];

	link_path(dp, owner, hook, path);
	if (!access(path, F_OK) && !is_detached(path))
		return 0;
	unlink(path);
	cgroup_fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup_fd < 0)
		return log_err(-errno, "opening cgroup %s", cgroup);
	link_fd = bpf_link_create(dp->programs[program], cgroup_fd, type, NULL);
	if (link_fd < 0)
		return log_err(-errno, "attaching %s to cgroup %s (is it a cgroup v2 directory?)", hook, cgroup);
	step("attach: a link made");
	if (bpf_obj_pin(link_fd, path))
		return log_err(-errno, "pinning %s", path);
	step("attach: a link pinned");
	return 0;
}

static int cgroup_owner(const char *cgroup, char owner[32])
{
	struct stat info;

	if (stat(cgroup, &info))
		return log_err(-errno, "looking at cgroup %s", cgroup);
	snprintf(owner, 32, "cgroup%" PRIu64, (uint64_t)info.st_ino);
	return 0;
}

static bool is_connect(enum program_index program)
{
	return program == PROGRAM_CONNECT4 || program == PROGRAM_CONNECT6;
}

/* connect4 and connect6 belong to the pod and go with its enrolment. The other hooks belong to the cgroup and stay while it lives: clients that were
 * captured before still close (their records go then) and still ask for their addresses. */
static int hook_owner(const struct datapath_pod *pod, enum program_index program, char owner[32])
{
	if (is_connect(program)) {
		snprintf(owner, 32, "pod%" PRIu32, pod->pod_id);
		return 0;
	}
	return cgroup_owner(pod->cgroup, owner);
}

static void pod_detach(struct datapath *dp, uint32_t pod_id)
{
	char path[PATH_MAX], owner[32];

	snprintf(owner, sizeof(owner), "pod%" PRIu32, pod_id);
	for (size_t i = 0; i < ARRAY_SIZE(pod_hooks); i++) {
		if (!is_connect(pod_hooks[i].program))
			continue;
		link_path(dp, owner, pod_hooks[i].name, path);
		unlink(path);
	}
}

/* Looks at every pin: a node has a thousand of them. */
void datapath_sweep(struct datapath *dp)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	char path[PATH_MAX];

	if (!dp->has_removed)
		return;
	dp->has_removed = false;
	snprintf(path, sizeof(path), "%s/links", dp->bpffs);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "cgroup", 6))
			continue;
		snprintf(path, sizeof(path), "%s/links/%.128s", dp->bpffs, entry->d_name);
		if (is_detached(path))
			unlink(path);
	}
}

/* A weftd that was replaced may have had another cgroup: that link lives as long as the cgroup. */
int datapath_attach_worker(struct datapath *dp, const char *cgroup)
{
	char owner[32];
	int r = cgroup_owner(cgroup, owner);

	dp->has_removed = true; /* by a former weftd, perhaps */
	datapath_sweep(dp);
	return r ? r : link_create(dp, PROGRAM_SOCKOPS, BPF_CGROUP_SOCK_OPS, cgroup, owner, "sockops");
}

static int write_exceptions(struct datapath *dp, uint32_t pod_id, const struct weft_exceptions *exceptions)
{
	if (!exceptions)
		return 0;
	return bpf_map_update_elem(dp->maps[MAP_EXCEPTIONS], &pod_id, exceptions, BPF_ANY) ? -errno : 0;
}

int datapath_pod_add(struct datapath *dp, const struct datapath_pod *pod)
{
	struct weft_pod entry = {
		.pod_id = pod->pod_id,
		.scope = pod->scope,
		.flags = pod->exceptions ? WEFT_POD_EXCEPTIONS : 0,
	};
	const struct weft_pod_usage none = { 0 };
	char owner[32];
	int r;

	for (int i = 0; i < WEFT_FAMILIES; i++) {
		entry.addresses[i] = pod->addresses[i];
		entry.listener_ports_be[i] = htons(pod->listener_ports[i]);
		entry.source_hashes[i] = weft_source_hash(&pod->addresses[i]);
	}
	/* One that was there before has its connections still. */
	if (bpf_map_update_elem(dp->maps[MAP_POD_USAGE], &pod->pod_id, &none, BPF_NOEXIST) && errno != EEXIST)
		return log_err(-errno, "counting the connections of pod %" PRIu32, pod->pod_id);
	r = write_exceptions(dp, pod->pod_id, pod->exceptions);
	if (r)
		return log_err(r, "excepting connections of pod %" PRIu32, pod->pod_id);
	if (bpf_map_update_elem(dp->maps[MAP_PODS], &pod->netns_cookie, &entry, BPF_ANY)) {
		r = -errno;
		return log_err(r == -E2BIG ? -ENOSPC : r, "enrolling pod %" PRIu32 " (limit: %u pods)", pod->pod_id, WEFT_PODS_MAX);
	}
	if (!pod->exceptions)
		bpf_map_delete_elem(dp->maps[MAP_EXCEPTIONS], &pod->pod_id); /* of before */
	step("attach: a pod in the map");
	for (size_t i = 0; i < ARRAY_SIZE(pod_hooks); i++) {
		r = hook_owner(pod, pod_hooks[i].program, owner);
		if (!r)
			r = link_create(dp, pod_hooks[i].program, pod_hooks[i].type, pod->cgroup, owner, pod_hooks[i].name);
		if (r) {
			pod_detach(dp, pod->pod_id);
			bpf_map_delete_elem(dp->maps[MAP_PODS], &pod->netns_cookie);
			bpf_map_delete_elem(dp->maps[MAP_POD_USAGE], &pod->pod_id);
			bpf_map_delete_elem(dp->maps[MAP_EXCEPTIONS], &pod->pod_id);
			return r;
		}
	}
	return 0;
}

static int set_flag(struct datapath *dp, uint64_t netns_cookie, uint16_t flag, bool is_set)
{
	struct weft_pod entry;

	if (bpf_map_lookup_elem(dp->maps[MAP_PODS], &netns_cookie, &entry))
		return -errno;
	if (is_set)
		entry.flags |= flag;
	else
		entry.flags &= (uint16_t)~flag;
	return bpf_map_update_elem(dp->maps[MAP_PODS], &netns_cookie, &entry, BPF_EXIST) ? -errno : 0;
}

int datapath_pod_pause(struct datapath *dp, uint64_t netns_cookie)
{
	return set_flag(dp, netns_cookie, WEFT_POD_PAUSED, true);
}

int datapath_pod_resume(struct datapath *dp, uint64_t netns_cookie)
{
	return set_flag(dp, netns_cookie, WEFT_POD_PAUSED, false);
}

int datapath_pod_except(struct datapath *dp, uint32_t pod_id, uint64_t netns_cookie, const struct weft_exceptions *exceptions)
{
	int r = write_exceptions(dp, pod_id, exceptions);

	if (!r)
		r = set_flag(dp, netns_cookie, WEFT_POD_EXCEPTIONS, exceptions);
	if (!r && !exceptions)
		bpf_map_delete_elem(dp->maps[MAP_EXCEPTIONS], &pod_id);
	return r;
}

int datapath_pod_remove(struct datapath *dp, uint32_t pod_id, uint64_t netns_cookie)
{
	pod_detach(dp, pod_id);
	step("attach: a pod detached");
	dp->has_removed = true;
	bpf_map_delete_elem(dp->maps[MAP_POD_USAGE], &pod_id);
	bpf_map_delete_elem(dp->maps[MAP_EXCEPTIONS], &pod_id);
	if (bpf_map_delete_elem(dp->maps[MAP_PODS], &netns_cookie) && errno != ENOENT)
		return -errno;
	return 0;
}

int datapath_pod_usage(const struct datapath *dp, uint32_t pod_id, struct weft_pod_usage *out)
{
	return bpf_map_lookup_elem(dp->maps[MAP_POD_USAGE], &pod_id, out) ? -errno : 0;
}

size_t datapath_attached(const struct datapath *dp, char (*names)[96], size_t max)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	char path[PATH_MAX];
	size_t count = 0;

	snprintf(path, sizeof(path), "%s/links", dp->bpffs);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (count < max)
			snprintf(names[count], sizeof(names[count]), "%.95s", entry->d_name);
		count++;
	}
	return count < max ? count : max;
}

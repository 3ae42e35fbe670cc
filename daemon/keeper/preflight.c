/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/preflight.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/pins.h"

#define PROC_FILE_LIMIT (1u << 20)

/* linux/capability.h's numbers; CAP_BPF and CAP_PERFMON are part of CAP_SYS_ADMIN where both are. */
static const struct needed {
	unsigned number;
	const char *name;
} needed[] = {
	{ 12, "CAP_NET_ADMIN" },  /* programs on sockets and cgroups */
	{ 21, "CAP_SYS_ADMIN" },  /* entering the network namespaces of pods; BPF */
};

int preflight_missing(uint64_t effective, struct strbuf *names)
{
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (!(effective >> needed[i].number & 1))
			strbuf_printf(names, "%s%s", names->size ? ", " : "", needed[i].name);
	}
	return strbuf_status(names);
}

int preflight_capabilities(uint64_t *effective)
{
	_cleanup_(strbuf_release) struct strbuf status = STRBUF_INIT;
	const char *line;
	int r;

	r = file_read("/proc/self/status", PROC_FILE_LIMIT, &status);
	if (r)
		return r;
	line = strstr(strbuf_text(&status), "\nCapEff:");
	if (!line)
		return -ENODATA;
	*effective = strtoull(line + strlen("\nCapEff:"), NULL, 16);
	return 0;
}

int preflight_cgroup2(const char *mounts, struct strbuf *path)
{
	struct mntent entry;
	char text[4096];
	int r = -ENOENT;
	FILE *file;

	file = setmntent(mounts, "re");
	if (!file)
		return -errno;
	while (getmntent_r(file, &entry, text, sizeof(text))) {
		if (strcmp(entry.mnt_type, "cgroup2") == 0) {
			r = strbuf_append_text(path, entry.mnt_dir);
			break;
		}
	}
	endmntent(file);
	return r;
}

int preflight_worker_cgroup(const char *mount, const char *self_cgroup, const char *wanted, struct strbuf *path)
{
	_cleanup_(strbuf_release) struct strbuf lines = STRBUF_INIT;
	const char *line, *own = "";
	size_t len = 0;
	int r;

	if (wanted)
		return strbuf_append_text(path, wanted);
	r = file_read(self_cgroup, PROC_FILE_LIMIT, &lines);
	if (r)
		return r;
	for (line = strbuf_text(&lines); *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (strncmp(line, "0::/", 4) == 0) {
			own = line + 3;
			len = strcspn(own, "\n");
			break;
		}
	}
	/* A cgroup outside of this cgroup namespace reads as /../x: there is nothing of that name here. */
	if (len <= 1 || strncmp(own, "/..", 3) == 0)
		len = 0;
	return strbuf_printf(path, "%s%.*s/weft", mount, (int)len, own);
}

/* Without links, "." and "..". What is not there yet will be made as it is written. */
static int resolve(const char *path, char out[PATH_MAX])
{
	char found[PATH_MAX];
	size_t used = 0;

	if (path[0] != '/') {
		if (!getcwd(out, PATH_MAX))
			return -errno;
		used = strlen(out);
	}
	for (size_t len; *path; path += len) {
		len = strcspn(path, "/");
		if (!len) {
			len = 1;
			continue;
		}
		if (len == 2 && path[0] == '.' && path[1] == '.') {
			while (used && out[--used] != '/')
				;
		} else if (len != 1 || path[0] != '.') {
			if (used + len + 2 > PATH_MAX)
				return -ENAMETOOLONG;
			out[used++] = '/';
			memcpy(out + used, path, len);
			used += len;
		}
		out[used] = '\0';
		if (used && realpath(out, found)) {
			used = strlen(found);
			memcpy(out, found, used + 1);
		}
		if (used == 1)
			used = 0; /* the root */
	}
	out[used] = '\0';
	return 0;
}

bool preflight_is_inside(const char *path, const char *folder)
{
	char inner[PATH_MAX], outer[PATH_MAX];
	size_t len;

	/* What can't be resolved can't be used either, and who tries to says why. */
	if (resolve(path, inner) || resolve(folder, outer))
		return false;
	len = strlen(outer);
	return strncmp(inner, outer, len) == 0 && (!inner[len] || inner[len] == '/');
}

bool preflight_is_on_bpffs(const char *path)
{
	char at[PATH_MAX];
	char *slash;

	if (resolve(path, at))
		return false;
	while (access(at, F_OK) && (slash = strrchr(at, '/')))
		*slash = '\0';
	return pins_is_bpffs(*at ? at : "/");
}

uint32_t preflight_descriptors(uint32_t wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_max < wanted) {
		struct rlimit more = { wanted, wanted };

		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			return wanted;
	}
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			return (uint32_t)limit.rlim_cur;
	}
	return (uint32_t)limit.rlim_cur;
}

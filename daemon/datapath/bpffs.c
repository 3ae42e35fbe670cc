// SPDX-License-Identifier: Apache-2.0
/* The directory of pins: made, found to be on a BPF file system, and emptied again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/internal.h"

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

static int make_directories(char *path)
{
	for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		int r = mkdir(path, 0700);

		*slash = '/';
		if (r && errno != EEXIST)
			return -errno;
	}
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

static int mount_bpf(const char *path)
{
	if (mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return log_err(-errno, "mounting a BPF file system on %s", path);
	log_info("mounted a BPF file system on %s", path);
	return 0;
}

int bpffs_prepare(const char *dir)
{
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path) || path[0] != '/')
		return log_err(-EINVAL, "--bpffs %s: not an absolute path", dir);
	/* Distributions mount it on /sys/fs/bpf; a container may have the bare directory. */
	if (!strncmp(path, "/sys/fs/bpf/", 12) && !is_bpffs("/sys/fs/bpf")) {
		r = mount_bpf("/sys/fs/bpf");
		if (r)
			return r;
	}
	r = make_directories(path);
	if (r)
		return log_err(r, "making %s", path);
	return is_bpffs(path) ? 0 : mount_bpf(path);
}

static int remove_tree(int dir_fd, const char *name, int depth)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	int fd, r = 0;

	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (!unlinkat(fd, entry->d_name, 0))
			continue;
		if ((errno == EISDIR || errno == EPERM) && depth < 4) {
			int e = remove_tree(fd, entry->d_name, depth + 1);

			if (!e && unlinkat(fd, entry->d_name, AT_REMOVEDIR))
				e = -errno;
			if (e)
				r = e;
		} else {
			r = -errno;
		}
	}
	return r;
}

/* Links first: what is pinned under links/ detaches when its pin goes. The sockets' programs go with the maps. */
int datapath_uninstall(const char *bpffs)
{
	int r;

	if (access(bpffs, F_OK))
		return 0;
	if (!is_bpffs(bpffs))
		return 0; /* nothing of ours can be there */
	r = remove_tree(AT_FDCWD, bpffs, 0);
	if (r)
		return log_err(r, "removing what is pinned under %s", bpffs);
	/* A mount of our own goes too; a directory inside somebody's mount is removed. */
	if (rmdir(bpffs) && errno == EBUSY)
		umount2(bpffs, MNT_DETACH);
	return 0;
}

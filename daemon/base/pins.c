// SPDX-License-Identifier: Apache-2.0
/* The directory of pins: made, found to be on a BPF file system, and emptied again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/leftovers.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/pins.h"
#include "base/step.h"

#define DEPTH_MAX 5
#define TRIES_MAX 8

#define USUAL_PLACE "/sys/fs/bpf"

bool pins_is_bpffs(const char *path)
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

/* Distributions mount it on /sys/fs/bpf; a container may have the bare directory. */
const char *pins_place(const char *dir)
{
	return !strncmp(dir, USUAL_PLACE "/", strlen(USUAL_PLACE) + 1) && !pins_is_bpffs(USUAL_PLACE) ? USUAL_PLACE : dir;
}

/* -ENOENT: it is gone again. */
static int prepare(const char *dir)
{
	struct statfs fs;
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path) || path[0] != '/')
		return log_err(-EINVAL, "--bpffs %s: not an absolute path", dir);
	if (pins_place(path) != path) {
		r = mount_bpf(USUAL_PLACE);
		if (r)
			return r;
	}
	r = make_directories(path);
	if (r)
		return r == -ENOENT ? r : log_err(r, "making %s", path);
	step("pins: folder made");
	if (statfs(path, &fs))
		return errno == ENOENT ? -ENOENT : log_err(-errno, "looking at %s", path);
	return (unsigned long)fs.f_type == BPF_FS_MAGIC ? 0 : mount_bpf(path);
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
		if (!unlinkat(fd, entry->d_name, 0)) {
			step("pins: one removed");
			continue;
		}
		if ((errno == EISDIR || errno == EPERM) && depth < DEPTH_MAX) {
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

int pins_empty(const char *dir)
{
	/* Links detach when their pins go; the sockets' programs go with the maps. */
	int r = pins_is_bpffs(dir) ? remove_tree(AT_FDCWD, dir, 0) : 0;

	return r ? log_err(r, "removing what is pinned under %s", dir) : 0;
}

int pins_remove(const char *dir)
{
	int r = pins_empty(dir);

	if (r)
		return r;
	if (rmdir(dir) && errno != ENOENT && errno != ENOTDIR)
		return log_err(-errno, "removing the folder %s", dir);
	return 0;
}

int pins_path(const char *dir, uint64_t abi, char path[PATH_MAX])
{
	return snprintf(path, PATH_MAX, "%s/" PINS_PREFIX "%u-%08x", dir, (uint32_t)abi, (uint32_t)(abi >> 32)) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

uint64_t pins_identity(const char *dir, uint64_t abi)
{
	char path[PATH_MAX];
	struct stat info;

	return pins_path(dir, abi, path) == 0 && stat(path, &info) == 0 ? (uint64_t)info.st_ino : 0;
}

int pins_make(const char *dir, uint64_t abi)
{
	char path[PATH_MAX];
	int r;

	r = pins_path(dir, abi, path);
	if (r)
		return log_err(r, "--bpffs %s", dir);
	/* The last one that drained takes `dir` away when nothing is in it, and may do so at any moment until something is. */
	for (int i = 0; i < TRIES_MAX; i++) {
		r = prepare(dir);
		if (r && r != -ENOENT)
			return r;
		if (!r && (!mkdir(path, 0700) || errno == EEXIST))
			return 0;
		r = r ? r : -errno;
		if (r != -ENOENT)
			break;
	}
	return log_err(r, "making a folder for what is pinned in %s", dir);
}

int pins_each(const char *dir, int (*fn)(void *arg, const char *path), void *arg)
{
	_cleanup_closedir_ DIR *stream = opendir(dir);
	struct dirent *entry;
	char path[PATH_MAX];
	int r = 0;

	if (!stream)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	while ((entry = readdir(stream))) {
		int e;

		if (strncmp(entry->d_name, PINS_PREFIX, strlen(PINS_PREFIX)) != 0)
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) >= (int)sizeof(path))
			return -ENAMETOOLONG;
		e = fn(arg, path);
		if (e)
			r = e;
	}
	return r;
}

pid_t pins_drainer(const char *path)
{
	return access(path, F_OK) ? 0 : lock_holder(LOCK_FOLDER, path);
}

bool pins_begins(const char *path)
{
	return lock_is_noted(LOCK_FOLDER, path, PINS_NOTE_BEGINS);
}

int pins_remove_locked(const char *path, int *lock_fd)
{
	int r = pins_empty(path);

	step("pins: version emptied");
	if (r)
		return r;
	lock_give(LOCK_FOLDER, path, lock_fd);
	step("pins: version unlocked");
	return pins_remove(path);
}

/* With the lock, so that nobody begins to drain it meanwhile. */
static int remove_undrained(const char *path)
{
	pid_t holder = 0;
	int fd = -1, r;

	r = lock_take(LOCK_FOLDER, path, &fd, &holder);
	if (r == -EBUSY) {
		log_debug("%s stays: it is another weftd's (process %d), which serves what is open there to its end", path, (int)holder);
		return 0;
	}
	if (r)
		return log_err(r, "taking the lock of %s in " LOCK_FOLDER, path);
	leftovers_clear(fd);
	r = pins_remove_locked(path, &fd);
	step("pins: version removed");
	if (fd >= 0)
		close(fd);
	return r;
}

static int remove_one(void *arg, const char *path)
{
	const char *own = arg;

	return own && !strcmp(own, path) ? 0 : remove_undrained(path);
}

int pins_remove_left(const char *dir, const char *own)
{
	return pins_each(dir, remove_one, (void *)own);
}

/* The kernel itself puts files into each BPF file system that is mounted. */
static bool has_nothing(const char *dir)
{
	_cleanup_closedir_ DIR *stream = opendir(dir);
	struct dirent *entry;

	while (stream && (entry = readdir(stream))) {
		const char *end = strrchr(entry->d_name, '.');

		if (entry->d_name[0] != '.' && !(end && !strcmp(end, ".debug")))
			return false;
	}
	return stream != NULL;
}

void pins_remove_folder(const char *dir)
{
	if (rmdir(dir) && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST && errno != EBUSY)
		log_warn(-errno, "removing the folder %s", dir);
}

int pins_remove_all(const char *dir)
{
	int r = pins_each(dir, remove_one, NULL);

	if (r)
		return r;
	/* It may be somebody's folder, with other things in it, or the machine's own mount. */
	if (rmdir(dir) && errno == EBUSY && pins_is_bpffs(dir) && has_nothing(dir) && strcmp(dir, USUAL_PLACE) != 0 && umount2(dir, MNT_DETACH) == 0)
		rmdir(dir);
	return 0;
}

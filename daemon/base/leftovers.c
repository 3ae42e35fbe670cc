/* SPDX-License-Identifier: Apache-2.0 */
#include "base/leftovers.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/log.h"

int leftovers_remove_socket(const char *path)
{
	struct stat info;

	if (lstat(path, &info) < 0 || !S_ISSOCK(info.st_mode) || socket_is_served(path))
		return 0;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int leftovers_remove_cgroup(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs) < 0 || (unsigned long)fs.f_type != CGROUP2_SUPER_MAGIC)
		return 0;
	/* It may have been there before, with others in it. */
	return rmdir(path) < 0 && errno != ENOENT && errno != EBUSY && errno != ENOTEMPTY ? -errno : 0;
}

static void each_note(int lock_fd, const char *key, int (*remove_one)(const char *path))
{
	_cleanup_(strbuf_release) struct strbuf values = STRBUF_INIT;
	char *save = NULL;
	int r;

	r = lock_notes(lock_fd, key, &values);
	if (r) {
		log_warn(r, "reading what a former weftd left (%s)", key);
		return;
	}
	for (char *path = values.data ? strtok_r(values.data, "\n", &save) : NULL; path; path = strtok_r(NULL, "\n", &save)) {
		r = remove_one(path);
		if (r)
			log_warn(r, "removing the %s %s", key, path);
	}
}

void leftovers_clear(int lock_fd)
{
	each_note(lock_fd, NOTE_CONTROL, leftovers_remove_socket);
	each_note(lock_fd, NOTE_CGROUP, leftovers_remove_cgroup);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/strbuf.h"

/* /sys/fs/bpf/weft -> sys-fs-bpf-weft.lock: two daemons that use one folder meet in one file, whatever their other options are. */
static int lock_path(const char *folder, const char *bpffs, struct strbuf *out)
{
	const char *at = bpffs;

	strbuf_printf(out, "%s/", folder);
	while (*at) {
		size_t len = strcspn(at, "/");

		/* "//" and "/./" name nothing of their own. */
		if (len > 0 && !(len == 1 && at[0] == '.')) {
			if (strbuf_text(out)[out->size - 1] != '/')
				strbuf_append_byte(out, '-');
			strbuf_append(out, at, len);
		}
		at += len + (at[len] == '/');
	}
	return strbuf_append_text(out, ".lock");
}

static pid_t read_holder(int fd)
{
	char text[32] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	return n > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

int lock_take(const char *folder, const char *bpffs, int *out, pid_t *holder)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	_cleanup_close_ int fd = -1;
	char text[32];
	int r, len;

	r = lock_path(folder, bpffs, &path);
	if (r)
		return r;
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path.data, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		r = -errno;
		if (r == -EWOULDBLOCK) {
			*holder = read_holder(fd);
			return -EBUSY;
		}
		return r;
	}
	len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len)
		return -EIO;
	*out = TAKE_FD(fd);
	return 0;
}

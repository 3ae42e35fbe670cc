/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/strbuf.h"

#define NOTES_BYTES_MAX 65536u
#define PROBE_TRIES 5 /* somebody may just be looking whether it is held */
#define PROBE_MS 2

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

/* The one before may have removed the file between our opening it and getting the lock: then we hold a lock that nobody else meets. */
static bool is_still_there(int fd, const char *path)
{
	struct stat mine, now;

	return fstat(fd, &mine) == 0 && stat(path, &now) == 0 && mine.st_dev == now.st_dev && mine.st_ino == now.st_ino;
}

static int open_locked(const char *path, int *out, pid_t *holder)
{
	for (int tries = 0;;) {
		_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			if (errno != EWOULDBLOCK)
				return -errno;
			if (++tries < PROBE_TRIES) {
				nanosleep(&(struct timespec){ .tv_nsec = PROBE_MS * 1000000l }, NULL);
				continue;
			}
			*holder = read_holder(fd);
			return -EBUSY;
		}
		if (is_still_there(fd, path)) {
			*out = TAKE_FD(fd);
			return 0;
		}
	}
}

int lock_take(const char *folder, const char *bpffs, int *out, pid_t *holder)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	int r;

	r = lock_path(folder, bpffs, &path);
	if (r)
		return r;
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return -errno;
	return open_locked(path.data, out, holder);
}

pid_t lock_holder(const char *folder, const char *bpffs)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	_cleanup_close_ int fd = -1;

	if (lock_path(folder, bpffs, &path))
		return 0;
	fd = open(path.data, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK ? read_holder(fd) : 0;
}

static int append(int fd, const struct strbuf *line)
{
	if (lseek(fd, 0, SEEK_END) < 0)
		return -errno;
	return fd_write_all(fd, strbuf_text(line), line->size);
}

int lock_sign(int fd, pid_t holder)
{
	_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;
	int r;

	r = strbuf_printf(&line, "%ld\n", (long)holder);
	if (r)
		return r;
	if (ftruncate(fd, 0) < 0)
		return -errno;
	return append(fd, &line);
}

int lock_note(int fd, const char *key, const char *value)
{
	_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;
	int r;

	r = strbuf_printf(&line, "%s %s\n", key, value);
	return r ? r : append(fd, &line);
}

int lock_text(int fd, struct strbuf *out)
{
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : fd_read_all(fd, NOTES_BYTES_MAX, out);
}

int lock_set_text(int fd, const struct strbuf *text)
{
	return ftruncate(fd, 0) < 0 ? -errno : append(fd, text);
}

int lock_notes(int fd, const char *key, struct strbuf *out)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	size_t key_len = strlen(key), len;
	int r;

	r = lock_text(fd, &text);
	if (r)
		return r;
	for (const char *line = strbuf_text(&text); *line; line += len + (line[len] == '\n')) {
		len = strcspn(line, "\n");
		if (len > key_len && strncmp(line, key, key_len) == 0 && line[key_len] == ' ')
			strbuf_printf(out, "%.*s\n", (int)(len - key_len - 1), line + key_len + 1);
	}
	return strbuf_status(out);
}

bool lock_is_noted(const char *folder, const char *bpffs, const char *key)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT, values = STRBUF_INIT;
	_cleanup_close_ int fd = -1;

	if (lock_path(folder, bpffs, &path))
		return false;
	fd = open(path.data, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && lock_notes(fd, key, &values) == 0 && values.size;
}

void lock_give(const char *folder, const char *bpffs, int *fd)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;

	/* Removed while it is held: see is_still_there(). */
	if (lock_path(folder, bpffs, &path) == 0)
		unlink(path.data);
	close(*fd);
	*fd = -1;
}

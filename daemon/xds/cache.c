/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/strbuf.h"

#define MAGIC UINT64_C(0x3158534454464557) /* "WEFTDSX1" in a file of this byte order */
#define PATH_SIZE 4096

/* The file: a header, `count` times a record and its bytes, the checksum of all before it (u64). */
struct header {
	uint64_t magic;
	uint64_t unix_ms;
	uint64_t count;
};

struct record {
	uint32_t kind;
	uint32_t size;
};

/* FNV-1a */
static uint64_t checksum(const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (; size; size--, at++)
		sum = (sum ^ *at) * UINT64_C(0x100000001b3);
	return sum;
}

/* Names of namespaces are DNS labels: nothing in them leads out of the folder. */
static int path_of(const char *folder, const struct xds_scope *scope, const char *suffix, char path[PATH_SIZE])
{
	const char *name = xds_scope_name(scope);

	if (!*name || strchr(name, '/') || *name == '.')
		return -EINVAL;
	return snprintf(path, PATH_SIZE, "%s/%s.xds%s", folder, name, suffix) < PATH_SIZE ? 0 : -ENAMETOOLONG;
}

/* ---- writing ----------------------------------------------------------------------------------------------------------------------- */

struct writer {
	struct strbuf bytes;
	uint64_t count;
};

static void add(void *arg, const struct xds_resource *resource)
{
	const struct record record = { (uint32_t)resource->kind, (uint32_t)resource->bytes.size };
	struct writer *w = arg;

	if (w->bytes.size > XDS_CACHE_MAX)
		return;
	strbuf_append(&w->bytes, &record, sizeof(record));
	strbuf_append(&w->bytes, resource->bytes.at, resource->bytes.size);
	w->count++;
}

static int compose(const struct xds_scope *scope, uint64_t unix_ms, struct writer *w)
{
	struct header header = { MAGIC, unix_ms, 0 };
	uint64_t sum;

	strbuf_append(&w->bytes, &header, sizeof(header));
	xds_scope_each_live(scope, add, w);
	if (strbuf_status(&w->bytes))
		return -ENOMEM;
	header.count = w->count;
	memcpy(w->bytes.data, &header, sizeof(header));
	sum = checksum(w->bytes.data, w->bytes.size);
	return strbuf_append(&w->bytes, &sum, sizeof(sum));
}

static int write_file(const char *path, const struct strbuf *bytes)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : fd_write_all(fd, bytes->data, bytes->size);
}

int xds_cache_write(const char *folder, const struct xds_scope *scope, uint64_t unix_ms)
{
	char path[PATH_SIZE], next[PATH_SIZE];
	struct writer w = { STRBUF_INIT, 0 };
	int r = path_of(folder, scope, "", path);

	if (!r)
		r = path_of(folder, scope, ".new", next);
	if (!r)
		r = compose(scope, unix_ms, &w);
	if (!r && w.bytes.size > XDS_CACHE_MAX) {
		unlink(path);
		r = -EFBIG;
	}
	if (!r && mkdir(folder, 0700) < 0 && errno != EEXIST)
		r = -errno;
	if (!r)
		r = write_file(next, &w.bytes);
	if (!r && rename(next, path) < 0)
		r = -errno;
	strbuf_release(&w.bytes);
	return r;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------------------- */

static int take_records(struct xds_scope *scope, const char *at, const char *end, uint64_t count)
{
	for (; count; count--) {
		struct record record;
		int r;

		if ((size_t)(end - at) < sizeof(record))
			return -EBADMSG;
		memcpy(&record, at, sizeof(record));
		at += sizeof(record);
		if (record.size > (size_t)(end - at) || record.kind >= MESH_KINDS)
			return -EBADMSG;
		r = xds_scope_restore(scope, (enum mesh_kind)record.kind, at, record.size);
		if (r)
			return r;
		at += record.size;
	}
	return at == end ? 0 : -EBADMSG;
}

static int take(struct xds_scope *scope, const struct strbuf *bytes, uint64_t *unix_ms)
{
	const char *at = strbuf_text(bytes);
	struct header header;
	uint64_t sum;

	if (bytes->size < sizeof(header) + sizeof(sum))
		return -EBADMSG;
	memcpy(&header, at, sizeof(header));
	memcpy(&sum, at + bytes->size - sizeof(sum), sizeof(sum));
	if (header.magic != MAGIC || sum != checksum(at, bytes->size - sizeof(sum)))
		return -EBADMSG;
	*unix_ms = header.unix_ms;
	return take_records(scope, at + sizeof(header), at + bytes->size - sizeof(sum), header.count);
}

int xds_cache_read(const char *folder, struct xds_scope *scope, uint64_t now_ms, uint64_t *unix_ms)
{
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	char path[PATH_SIZE], aside[PATH_SIZE];
	int r = path_of(folder, scope, "", path);

	if (!r)
		r = path_of(folder, scope, ".damaged", aside);
	if (!r)
		r = file_read(path, XDS_CACHE_MAX + 1024, &bytes);
	if (r == -EFBIG)
		r = -EBADMSG;
	else if (!r)
		r = take(scope, &bytes, unix_ms);
	if (r == -EBADMSG)
		rename(path, aside);
	return r ? r : xds_scope_restored(scope, now_ms);
}

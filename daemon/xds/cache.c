/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
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

struct xds_cache_job {
	pthread_t thread;
	char folder[PATH_SIZE], path[PATH_SIZE], next[PATH_SIZE];
	struct strbuf bytes;
	int result;
	bool is_done; /* atomic: the last that the thread writes */
};

static int write_file(const char *path, const struct strbuf *bytes)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = fd < 0 ? -errno : fd_write_all(fd, bytes->data, bytes->size);

	/* Otherwise a name may lead to what the disk has not got yet. */
	return r || !fsync(fd) ? r : -errno;
}

/* What a folder holds is on the disk when the folder is. */
static int sync_folder(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && !fsync(fd) ? 0 : -errno;
}

static int write_all(const struct xds_cache_job *job)
{
	int r;

	if (job->bytes.size > XDS_CACHE_MAX) {
		unlink(job->path);
		return -EFBIG;
	}
	if (mkdir(job->folder, 0700) < 0 && errno != EEXIST)
		return -errno;
	r = write_file(job->next, &job->bytes);
	if (!r && rename(job->next, job->path) < 0)
		r = -errno;
	return r ? r : sync_folder(job->folder);
}

static void *run(void *arg)
{
	struct xds_cache_job *job = arg;

	job->result = write_all(job);
	__atomic_store_n(&job->is_done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void job_free(struct xds_cache_job **job)
{
	if (*job)
		strbuf_release(&(*job)->bytes);
	free(*job);
	*job = NULL;
}

int xds_cache_begin(struct xds_cache_job **out, const char *folder, const struct xds_scope *scope, uint64_t unix_ms)
{
	_cleanup_(job_free) struct xds_cache_job *job = calloc(1, sizeof(*job));
	struct writer w = { STRBUF_INIT, 0 };
	int r = job ? path_of(folder, scope, "", job->path) : -ENOMEM;

	if (!r)
		r = path_of(folder, scope, ".new", job->next);
	if (r)
		return r;
	r = compose(scope, unix_ms, &w);
	job->bytes = w.bytes;
	if (r)
		return r;
	snprintf(job->folder, sizeof(job->folder), "%s", folder);
	r = pthread_create(&job->thread, NULL, run, job);
	if (r)
		return -r;
	*out = TAKE_PTR(job);
	return 0;
}

bool xds_cache_is_done(const struct xds_cache_job *job)
{
	return __atomic_load_n(&job->is_done, __ATOMIC_ACQUIRE);
}

int xds_cache_end(struct xds_cache_job **job)
{
	int r = 0;

	if (*job) {
		pthread_join((*job)->thread, NULL);
		r = (*job)->result;
	}
	job_free(job);
	return r;
}

int xds_cache_write(const char *folder, const struct xds_scope *scope, uint64_t unix_ms)
{
	struct xds_cache_job *job = NULL;
	int r = xds_cache_begin(&job, folder, scope, unix_ms);

	return r ? r : xds_cache_end(&job);
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

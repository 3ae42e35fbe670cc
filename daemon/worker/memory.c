/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "worker/internal.h"

#define MEMORY_BYTES_MAX (1u << 30)

int memory_keep(struct table *table, enum memory_slot slot, const void *bytes, size_t size, struct table_entry **entry)
{
	struct table_entry *former = *entry, *next;
	_cleanup_close_ int fd = -1;
	int r;

	fd = memfd_create("weft", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, bytes, size);
	if (r)
		return r;
	next = table_take(table, fd);
	if (!next)
		return -ENFILE;
	next->slot = slot;
	/* For a moment there are two: memory_find() takes any, both are whole. */
	table_publish(next, TABLE_CONFIG);
	TAKE_FD(fd);
	*entry = next;
	if (former) {
		int former_fd = former->fd;

		table_release(table, former);
		close(former_fd);
	}
	return 0;
}

struct search {
	uint32_t slot;
	struct table_entry *found;
};

static void look(void *arg, struct table_entry *entry)
{
	struct search *search = arg;

	if (entry->kind == TABLE_CONFIG && entry->slot == search->slot)
		search->found = entry;
}

int memory_find(struct table *table, enum memory_slot slot, struct strbuf *out, struct table_entry **entry)
{
	struct search search = { .slot = slot };

	table_each(table, look, &search);
	if (!search.found)
		return -ENOENT;
	if (lseek(search.found->fd, 0, SEEK_SET) < 0)
		return -errno;
	*entry = search.found;
	return fd_read_all(search.found->fd, MEMORY_BYTES_MAX, out);
}

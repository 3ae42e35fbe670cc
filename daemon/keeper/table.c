/* SPDX-License-Identifier: Apache-2.0 */
/* The shared descriptor table: one anonymous shared mapping that the keeper and each worker inherit at the same address. */
#include "keeper/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"

struct table {
	uint32_t capacity;
	uint32_t hint; /* where the next search begins; only ever a hint */
	uint32_t generation; /* of the worker that runs; written while none does */
	uint32_t window;     /* entries from here on were never taken: who looks for some looks before it. It doubles, and never shrinks */
	uint32_t pod_id;     /* the highest that was given */
	uint32_t zero[11];
	struct table_entry entries[];
};
_Static_assert(sizeof(struct table) == 64, "entries begin on a cache line");

#define FIRST_FD (STDERR_FILENO + 1)
#define WINDOW_FIRST 256u
#define TRIES_MAX 64u /* entries that are looked at before the window is made larger */

int table_new(struct table **out, uint32_t capacity)
{
	struct table *table;
	size_t size;

	if (capacity == 0)
		return -EINVAL;
	if (__builtin_mul_overflow((size_t)capacity, sizeof(struct table_entry), &size) || __builtin_add_overflow(size, sizeof(*table), &size))
		return -ENOMEM;
	/* Pages come when they are first used: a large table of a small mesh costs nothing. */
	table = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (table == MAP_FAILED)
		return -errno;
	table->capacity = capacity;
	table->window = capacity < WINDOW_FIRST ? capacity : WINDOW_FIRST;
	*out = table;
	return 0;
}

void table_free(struct table **table)
{
	if (*table)
		munmap(*table, sizeof(**table) + (size_t)(*table)->capacity * sizeof(struct table_entry));
	*table = NULL;
}

static uint32_t kind_of(const struct table_entry *entry)
{
	return __atomic_load_n(&entry->kind, __ATOMIC_ACQUIRE);
}

static uint32_t window_of(const struct table *table)
{
	return __atomic_load_n(&table->window, __ATOMIC_ACQUIRE);
}

/* NULL: none of those that it looked at is free. */
static struct table_entry *reserve(struct table *table, uint32_t window)
{
	uint32_t start = __atomic_load_n(&table->hint, __ATOMIC_RELAXED), tries = window < table->capacity ? TRIES_MAX : table->capacity;

	for (uint32_t i = 0; i < tries; i++) {
		uint32_t index = (uint32_t)(((uint64_t)start + i) % window), expected = TABLE_FREE;
		struct table_entry *entry = &table->entries[index];

		if (__atomic_load_n(&entry->kind, __ATOMIC_RELAXED) != TABLE_FREE ||
		    !__atomic_compare_exchange_n(&entry->kind, &expected, TABLE_RESERVED, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		__atomic_store_n(&table->hint, (index + 1) % window, __ATOMIC_RELAXED);
		return entry;
	}
	return NULL;
}

/* Another thread may have done it. */
static void widen(struct table *table, uint32_t window)
{
	uint32_t wider = table->capacity - window < window ? table->capacity : 2 * window;

	if (__atomic_compare_exchange_n(&table->window, &window, wider, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		__atomic_store_n(&table->hint, window, __ATOMIC_RELAXED); /* where all is free */
}

struct table_entry *table_take(struct table *table, int fd)
{
	for (;;) {
		uint32_t window = window_of(table);
		struct table_entry *entry = reserve(table, window);

		if (!entry && window == table->capacity)
			return NULL;
		if (!entry) {
			widen(table, window);
			continue;
		}
		/* All but `kind`, which must not be FREE for a moment while the compiler clears the rest. */
		memset((char *)entry + sizeof(entry->kind), 0, sizeof(*entry) - sizeof(entry->kind));
		entry->fd = fd;
		entry->generation = table->generation;
		return entry;
	}
}

void table_publish(struct table_entry *entry, enum table_kind kind)
{
	weft_assert(kind != TABLE_FREE && kind != TABLE_RESERVED);
	__atomic_store_n(&entry->kind, kind, __ATOMIC_RELEASE);
}

void table_release(struct table *table, struct table_entry *entry)
{
	weft_assert(entry >= table->entries && entry < table->entries + table->capacity);
	__atomic_store_n(&entry->kind, TABLE_FREE, __ATOMIC_RELEASE);
}

void table_keep(struct table_entry *entry)
{
	entry->kept_kind = entry->kind;
	table_publish(entry, TABLE_KEPT);
}

enum table_kind table_kept_kind(const struct table_entry *entry)
{
	return (enum table_kind)(kind_of(entry) == TABLE_KEPT ? entry->kept_kind : kind_of(entry));
}

void table_raise_pod_id(struct table *table, uint32_t pod_id)
{
	uint32_t now = __atomic_load_n(&table->pod_id, __ATOMIC_RELAXED);

	while (now < pod_id && !__atomic_compare_exchange_n(&table->pod_id, &now, pod_id, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

struct table_entry *table_import(struct table *table, const struct table_entry *entry)
{
	const size_t skipped = offsetof(struct table_entry, cookie);
	struct table_entry *own = table_take(table, entry->fd);
	uint32_t generation;

	if (!own)
		return NULL;
	generation = own->generation;
	memcpy((char *)own + skipped, (const char *)entry + skipped, sizeof(*own) - skipped);
	own->generation = generation;
	table_raise_pod_id(table, entry->pod_id);
	table_publish(own, (enum table_kind)entry->kind);
	return own;
}

uint32_t table_next_pod_id(struct table *table)
{
	return __atomic_add_fetch(&table->pod_id, 1, __ATOMIC_RELAXED);
}

uint32_t table_last_pod_id(const struct table *table)
{
	return __atomic_load_n(&table->pod_id, __ATOMIC_RELAXED);
}

static bool is_published(uint32_t kind)
{
	return kind != TABLE_FREE && kind != TABLE_RESERVED;
}

void table_each(struct table *table, void (*fn)(void *arg, struct table_entry *entry), void *arg)
{
	uint32_t window = window_of(table);

	for (uint32_t i = 0; i < window; i++) {
		if (is_published(kind_of(&table->entries[i])))
			fn(arg, &table->entries[i]);
	}
}

void table_each_former(struct table *table, void (*fn)(void *arg, struct table_entry *entry), void *arg)
{
	uint32_t window = window_of(table);

	for (uint32_t i = 0; i < window; i++) {
		struct table_entry *entry = &table->entries[i];

		/* Of one that is being taken just now, `generation` is read after `kind`, which is published last. */
		if (is_published(kind_of(entry)) && entry->generation != table->generation)
			fn(arg, entry);
	}
}

struct table_entry *table_find(struct table *table, enum table_kind kind, uint32_t slot)
{
	uint32_t window = window_of(table);

	for (uint32_t i = 0; i < window; i++) {
		struct table_entry *entry = &table->entries[i];

		if (kind_of(entry) == kind && entry->slot == slot)
			return entry;
	}
	return NULL;
}

uint32_t table_count(const struct table *table, enum table_kind kind)
{
	uint32_t count = 0, window = window_of(table);

	for (uint32_t i = 0; i < window; i++)
		count += kind_of(&table->entries[i]) == kind;
	return count;
}

uint32_t table_capacity(const struct table *table)
{
	return table->capacity;
}

void table_begin_generation(struct table *table)
{
	table->generation++;
}

static int compare_fds(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static void close_between(int first, int last)
{
	if (first <= last && close_range((unsigned)first, (unsigned)last, 0) < 0)
		log_warn(-errno, "closing descriptors %d to %d that a former worker left", first, last);
}

int table_close_strays(struct table *table)
{
	size_t count = 0, room = 0;
	uint32_t window = window_of(table);
	int *fds, next = FIRST_FD;

	for (uint32_t i = 0; i < window; i++) {
		struct table_entry *entry = &table->entries[i];

		if (kind_of(entry) == TABLE_RESERVED)
			table_release(table, entry);
		else if (is_published(kind_of(entry)))
			room++;
	}
	fds = malloc((room + 1) * sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	for (uint32_t i = 0; i < window && count < room; i++) {
		if (is_published(kind_of(&table->entries[i])))
			fds[count++] = table->entries[i].fd;
	}
	qsort(fds, count, sizeof(*fds), compare_fds);
	for (size_t i = 0; i < count; i++) {
		close_between(next, fds[i] - 1);
		if (fds[i] >= next)
			next = fds[i] + 1;
	}
	close_between(next, INT32_MAX);
	table_begin_generation(table);
	free(fds);
	return 0;
}

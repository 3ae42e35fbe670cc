/* SPDX-License-Identifier: Apache-2.0 */
/* What this worker's proxy has counted in `active` of clusters and `proxied` of endpoints, written down in memory that outlives it: a worker that dies takes
 * nothing off, nor does a replaced weftd that is killed before its last exchange is over. Whoever follows does it for them. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "proxy/proxy.h"
#include "weft/balance.h"
#include "worker/internal.h"

/* Never below none: what was counted may have been in maps that are gone. */
static void take_off(uint32_t *active, uint32_t count)
{
	uint32_t now = __atomic_load_n(active, __ATOMIC_RELAXED);

	while (!__atomic_compare_exchange_n(active, &now, now - WEFT_MIN(now, count), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* Each count is taken, so that a worker that dies before the entry is released leaves to the next one only what it has not taken off. */
static uint32_t settle(struct worker *worker, struct proxy_load *load)
{
	struct weft_cluster_state *clusters = datapath_clusters(worker->datapath);
	struct weft_endpoint_state *endpoints = datapath_endpoints(worker->datapath);
	uint32_t sum = 0, count;

	for (uint32_t i = 0; i < WEFT_CLUSTERS_MAX; i++) {
		if (!load->clusters[i]) /* a page that was never written stays unmade */
			continue;
		count = __atomic_exchange_n(&load->clusters[i], 0, __ATOMIC_SEQ_CST);
		take_off(&clusters[i].active, count);
		sum += count;
	}
	for (uint32_t i = 0; i < WEFT_ENDPOINTS_MAX; i++)
		if (load->endpoints[i])
			take_off(&endpoints[i].proxied, __atomic_exchange_n(&load->endpoints[i], 0, __ATOMIC_SEQ_CST));
	return sum;
}

struct search {
	struct worker *worker;
	uint64_t cookie;
	bool is_any;             /* but those of `cookie`, and those of a weftd that still runs */
};

static void look_for_channel(void *arg, struct table_entry *entry)
{
	struct search *search = arg;

	if (entry->kind == TABLE_CHANNEL && entry->cookie == search->cookie)
		search->is_any = true;
}

static bool is_running(struct worker *worker, uint64_t cookie)
{
	struct search search = { .cookie = cookie };

	table_each(worker->table, look_for_channel, &search);
	return search.is_any;
}

static void settle_entry(void *arg, struct table_entry *entry)
{
	struct search *search = arg;
	struct proxy_load *load;
	uint32_t count;
	int fd = entry->fd;

	if (entry->kind != TABLE_CONFIG || entry->slot != MEMORY_LOAD)
		return;
	if (search->is_any ? !entry->cookie || is_running(search->worker, entry->cookie) : entry->cookie != search->cookie)
		return;
	load = mmap(NULL, sizeof(*load), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (load == MAP_FAILED) {
		log_err(-errno, "reading what another proxy had counted: balancing by load goes by a little too much");
	} else {
		count = settle(search->worker, load);
		munmap(load, sizeof(*load));
		if (count)
			log_info("took %u requests off the load of their endpoints: they ended with the proxy that had them", count);
	}
	table_release(search->worker->table, entry);
	close(fd);
}

void load_settle(struct worker *worker, uint64_t cookie)
{
	struct search search = { .worker = worker, .cookie = cookie };

	table_each(worker->table, settle_entry, &search);
}

void load_settle_orphans(struct worker *worker)
{
	struct search search = { .worker = worker, .is_any = true };

	table_each(worker->table, settle_entry, &search);
}

/* No proxy runs that could have counted anything: what stands there is of those that died between two steps, of an exchange or of settling another one's. */
static void settle_rest(struct worker *worker)
{
	struct weft_cluster_state *clusters = datapath_clusters(worker->datapath);
	struct weft_endpoint_state *endpoints = datapath_endpoints(worker->datapath);

	for (uint32_t i = 0; i < WEFT_CLUSTERS_MAX; i++)
		if (__atomic_load_n(&clusters[i].active, __ATOMIC_RELAXED))
			__atomic_store_n(&clusters[i].active, 0, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < WEFT_ENDPOINTS_MAX; i++)
		if (__atomic_load_n(&endpoints[i].proxied, __ATOMIC_RELAXED))
			__atomic_store_n(&endpoints[i].proxied, 0, __ATOMIC_RELAXED);
}

int load_start(struct worker *worker)
{
	_cleanup_close_ int fd = -1;
	struct table_entry *entry;
	struct proxy_load *load;

	load_settle(worker, 0); /* of the worker before */
	if (!table_count(worker->table, TABLE_CHANNEL))
		settle_rest(worker);
	fd = memfd_create("weft-load", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, sizeof(*load)) < 0)
		return -errno;
	load = mmap(NULL, sizeof(*load), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (load == MAP_FAILED)
		return -errno;
	worker->load = load;
	entry = table_take(worker->table, fd);
	if (!entry)
		return -ENFILE;
	entry->slot = MEMORY_LOAD;
	entry->cookie = 0;
	table_publish(entry, TABLE_CONFIG);
	TAKE_FD(fd);
	return 0;
}

void load_stop(struct worker *worker)
{
	if (worker->load)
		munmap(worker->load, sizeof(*worker->load));
	worker->load = NULL;
}

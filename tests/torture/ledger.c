// SPDX-License-Identifier: Apache-2.0
#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int ledger_open(const char *path, struct ledger **out)
{
	void *map;
	int fd, r = 0;

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(struct ledger))) {
		r = -errno;
		close(fd);
		return r;
	}
	map = mmap(NULL, sizeof(struct ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (map == MAP_FAILED)
		r = -errno;
	close(fd);
	if (!r)
		*out = map;
	return r;
}

_Atomic uint8_t *ledger_entry(struct ledger *ledger, uint64_t conn, uint64_t req)
{
	return &ledger->requests[conn % LEDGER_CONNECTIONS][req % LEDGER_REQUESTS];
}

uint64_t ledger_idle_reset_begins(struct ledger *ledger, uint64_t now_ms)
{
	uint64_t number = atomic_fetch_add(&ledger->idle_resets, 1);

	atomic_store(&ledger->idle_reset_over_ms[number % LEDGER_RESETS], 0);
	atomic_store(&ledger->idle_reset_ms[number % LEDGER_RESETS], now_ms);
	return number;
}

void ledger_idle_reset_over(struct ledger *ledger, uint64_t number, uint64_t now_ms)
{
	atomic_store(&ledger->idle_reset_over_ms[number % LEDGER_RESETS], now_ms);
}

bool ledger_idle_reset_between(struct ledger *ledger, uint64_t from_ms, uint64_t to_ms)
{
	for (unsigned int i = 0; i < LEDGER_RESETS; i++) {
		uint64_t begun = atomic_load(&ledger->idle_reset_ms[i]), over = atomic_load(&ledger->idle_reset_over_ms[i]);

		if (begun && begun <= to_ms && (!over || over >= from_ms))
			return true;
	}
	return false;
}

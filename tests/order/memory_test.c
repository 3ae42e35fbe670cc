/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing is redirected into a pod's socket where the kernel has no socket memory for it (bpf/memory.h). Memory is made short as this machine allows:
 * by the cgroup's limit of TCP memory (cgroup v1), or by TCP's limits for the node. Needs root. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <mntent.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "steps.h"
#include "weft/abi.h"

#define REQUEST_DIRECT "GET / HTTP/1.1\r\nHost: direct\r\n\r\n"
#define PLENTY (1ll << 40)

/* One of the two. */
struct memory {
	char mount[100];  /* of cgroup v1's memory; "": there is none */
	char cgroup[200]; /* in it, for this process */
	int tcp_mem;      /* the file, which only the node's own network namespace has */
	unsigned long limits[3];
	struct client hog;
};

static struct memory *the_memory(void)
{
	static struct memory memory;

	return &memory;
}

static void file_put(const char *folder, const char *name, long long number)
{
	char path[300];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fprintf(file, "%lld", number) > 0);
	if (fclose(file))
		fail_msg("%s: %s", path, strerror(errno));
}

static long long file_number(const char *folder, const char *name)
{
	long long number = -1;
	char path[300];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lld", &number), 1);
	fclose(file);
	return number;
}

static void find_mount(struct memory *memory)
{
	FILE *mounts = setmntent("/proc/mounts", "re");
	struct mntent *entry;

	assert_non_null(mounts);
	while ((entry = getmntent(mounts))) {
		if (!strcmp(entry->mnt_type, "cgroup") && hasmntopt(entry, "memory"))
			snprintf(memory->mount, sizeof(memory->mount), "%s", entry->mnt_dir);
	}
	endmntent(mounts);
}

/* Before the first socket, which then counts, and in the node's network namespace. */
static int memory_begin(struct memory *memory)
{
	char text[100] = "";

	find_mount(memory);
	if (*memory->mount) {
		snprintf(memory->cgroup, sizeof(memory->cgroup), "%s/weft-memory-%d", memory->mount, (int)getpid());
		assert_int_equal(mkdir(memory->cgroup, 0755), 0);
		file_put(memory->cgroup, "memory.kmem.tcp.limit_in_bytes", PLENTY);
		file_put(memory->cgroup, "cgroup.procs", getpid());
		return 0;
	}
	memory->tcp_mem = open("/proc/sys/net/ipv4/tcp_mem", O_RDWR | O_CLOEXEC);
	if (memory->tcp_mem < 0)
		fail_msg("neither cgroup v1 for memory nor /proc/sys/net/ipv4/tcp_mem: run this in the node's own network namespace");
	assert_true(read(memory->tcp_mem, text, sizeof(text) - 1) > 0);
	assert_int_equal(sscanf(text, "%lu %lu %lu", &memory->limits[0], &memory->limits[1], &memory->limits[2]), 3);
	return 0;
}

static void tcp_mem_put(const struct memory *memory, unsigned long low, unsigned long pressure)
{
	char text[100];
	int len = snprintf(text, sizeof(text), "%lu %lu %lu\n", low, pressure, memory->limits[2]);

	assert_int_equal(pwrite(memory->tcp_mem, text, (size_t)len, 0), len);
}

static void memory_shorten(struct harness *h)
{
	static char much[8 << 20];
	struct memory *memory = the_memory();
	long long used;

	if (*memory->mount) {
		used = file_number(memory->cgroup, "memory.kmem.tcp.usage_in_bytes");
		file_put(memory->cgroup, "memory.kmem.tcp.limit_in_bytes", used + (128 << 10)); /* TCP goes on with that */
		return;
	}
	tcp_mem_put(memory, 0, 0);
	/* Beyond what each processor counts for itself; what it takes makes the kernel look. */
	client_open(h, &memory->hog);
	assert_int_equal(setsockopt(memory->hog.anchor, SOL_SOCKET, SO_SNDBUFFORCE, &(int){2 * sizeof(much)}, sizeof(int)), 0);
	assert_true(send(memory->hog.anchor, much, sizeof(much), MSG_NOSIGNAL | MSG_DONTWAIT) > (ssize_t)sizeof(much) / 2);
}

static void memory_give(void)
{
	struct memory *memory = the_memory();

	if (*memory->mount) {
		file_put(memory->cgroup, "memory.kmem.tcp.limit_in_bytes", PLENTY);
		return;
	}
	tcp_mem_put(memory, memory->limits[0], memory->limits[1]);
	client_close(&memory->hog); /* what it gives back makes the kernel look again */
}

static int start(void **state)
{
	memory_begin(the_memory());
	return start_harness(state);
}

static int stop(void **state)
{
	struct memory *memory = the_memory();
	int r = stop_harness(state);

	if (*memory->mount) {
		file_put(memory->mount, "cgroup.procs", getpid());
		for (int tries = 0; rmdir(memory->cgroup) && tries < 100; tries++)
			usleep(10000);
	}
	return r;
}

static void test_a_request_goes_by_tcp_where_its_server_could_not_take_it(void **state)
{
	struct harness *h = *state;
	struct client client, remote;
	struct link link, other;

	client_open(h, &client);
	client_open(h, &remote);
	link_open(h, h->local_endpoint, &link);
	link_open(h, h->other_endpoint, &other);
	memory_shorten(h);
	assert_int_equal(say(client.fd, REQUEST_LOCAL), strlen(REQUEST_LOCAL));
	assert_heard(client.anchor, REQUEST_LOCAL);
	assert_int_equal(reason(h, WEFT_REASON_SOCKET_MEMORY), 1);
	assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_IDLE);
	/* What goes by TCP to its server waits as TCP does. */
	assert_int_equal(say(remote.fd, REQUEST_OTHER), strlen(REQUEST_OTHER));
	assert_heard(other.server, REQUEST_OTHER);
	memory_give();
	link_close(h, &link);
	link_close(h, &other);
	client_close(&remote);
	client_close(&client);
}

static void test_a_response_is_relayed_where_its_client_could_not_take_it(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;

	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	say(client.fd, REQUEST_LOCAL);
	assert_heard(link.server, REQUEST_LOCAL);
	memory_shorten(h);
	assert_int_equal(say(link.server, RESPONSE), strlen(RESPONSE));
	assert_heard(link.upstream, RESPONSE);
	assert_int_equal(state_of(h, &link), WEFT_UPSTREAM_RELAYED);
	assert_int_equal(reason(h, WEFT_REASON_RESPONSE_SOCKET_MEMORY), 1);
	memory_give();
	link_close(h, &link);
	client_close(&client);
}

static void test_the_kernel_answers_only_who_can_take_it(void **state)
{
	uint64_t before = reason(*state, WEFT_REASON_SOCKET_MEMORY);
	struct harness *h = *state;
	struct client client;

	client_open(h, &client);
	memory_shorten(h);
	assert_int_equal(say(client.fd, REQUEST_DIRECT), strlen(REQUEST_DIRECT));
	assert_heard(client.anchor, REQUEST_DIRECT);
	assert_int_equal(reason(h, WEFT_REASON_SOCKET_MEMORY), before + 1);
	memory_give();
	client_close(&client);
}

static void test_with_memory_again_the_kernel_carries(void **state)
{
	struct harness *h = *state;
	struct client client;
	struct link link;

	memory_shorten(h);
	memory_give();
	client_open(h, &client);
	link_open(h, h->local_endpoint, &link);
	assert_carried(client.fd, REQUEST_LOCAL, link.server, RESPONSE);
	link_close(h, &link);
	client_close(&client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_request_goes_by_tcp_where_its_server_could_not_take_it),
		cmocka_unit_test(test_a_response_is_relayed_where_its_client_could_not_take_it),
		cmocka_unit_test(test_the_kernel_answers_only_who_can_take_it),
		cmocka_unit_test(test_with_memory_again_the_kernel_carries),
	};

	return cmocka_run_group_tests(tests, start, stop);
}

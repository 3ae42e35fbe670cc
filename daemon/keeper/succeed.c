/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/succeed.h"

#include <errno.h>
#include <time.h>

#include "abi_layout.h"
#include "base/log.h"
#include "base/pins.h"
#include "base/step.h"
#include "keeper/pass.h"
#include "weft/abi.h"

#define GREET_MS 5000
#define TAKE_MS 15000

int succeed_greet(int channel, const char *bpffs)
{
	struct pass_message message = { .kind = PASS_HELLO, .value = PASS_ABI };
	int r;

	r = pass_send_wait(channel, &message, GREET_MS);
	if (!r)
		r = pass_receive_wait(channel, &message, GREET_MS);
	if (r == -EPIPE)
		return log_err(-EBUSY, "the weftd that runs does not hand over: it is about to end, or to hand over to another one");
	if (!r && message.kind != PASS_WELCOME)
		r = -EPROTO;
	if (r)
		return log_err(r, "talking to the weftd that runs");
	if (message.value != PASS_ABI)
		return log_err(-EPROTONOSUPPORT, "the weftd that runs (process %u) has another ABI between daemon and programs (version %u, layout %08x; this one %u, "
			       "%08x): stop it, then start this one", message.count, (uint32_t)message.value, (uint32_t)(message.value >> 32),
			       (unsigned)WEFT_ABI_VERSION, (uint32_t)WEFT_ABI_LAYOUT);
	if (message.cookie != pins_identity(bpffs, WEFT_ABI_VERSION))
		return log_err(-EINVAL, "the weftd that runs (process %u) has its pins elsewhere than in --bpffs %s: give this one that one's --bpffs",
			       message.count, bpffs);
	log_info("taking over from the weftd that runs (process %u)", message.count);
	return 0;
}

static uint64_t new_name(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static int import(struct table *table, const struct pass_message *message, uint64_t name, struct succeed_kept *kept)
{
	for (uint32_t i = 0; i < message->count; i++) {
		struct table_entry *entry = table_import(table, &message->entries[i]);

		if (!entry)
			return -ENFILE;
		if (entry->kind == TABLE_KEEPER)
			kept->lock_fd = entry->fd;
		else if (entry->kind == TABLE_CONTROL)
			kept->control_fd = entry->fd;
		/* Its own, which it has no name for. */
		else if ((entry->kind == TABLE_ELSEWHERE || entry->kind == TABLE_CONFIG) && !entry->cookie)
			entry->cookie = name;
	}
	return 0;
}

static int receive_all(int channel, struct table *table, uint64_t name, struct succeed_kept *kept)
{
	struct pass_message message;
	uint32_t count = 0;

	for (;;) {
		int r = pass_receive_wait(channel, &message, TAKE_MS);

		if (r)
			return r;
		if (message.kind == PASS_END) {
			kept->generation = message.value;
			return message.count == count ? 0 : -EPROTO;
		}
		if (message.kind != PASS_ENTRIES)
			return -EPROTO;
		count += message.count;
		r = import(table, &message, name, kept);
		if (r)
			return r;
	}
}

int succeed_take(int channel, struct table *table, struct succeed_kept *kept)
{
	const struct pass_message give = { .kind = PASS_GIVE };
	struct table_entry own = { .kind = TABLE_CHANNEL, .fd = channel, .cookie = new_name() };
	int r;

	*kept = (struct succeed_kept){ -1, -1, 0 };
	r = pass_send_wait(channel, &give, GREET_MS);
	if (!r)
		r = receive_all(channel, table, own.cookie, kept);
	step("replace: descriptors taken");
	if (!r && (kept->lock_fd < 0 || kept->control_fd < 0))
		r = -EPROTO;
	if (!r && !table_import(table, &own))
		r = -ENFILE;
	if (r)
		return log_err(r, "taking over what the weftd that runs has: it goes on");
	table_begin_generation(table);
	return 0;
}

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

int succeed_greet(int channel, const char *bpffs, bool *is_beside)
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
	*is_beside = message.value != PASS_ABI;
	/* A weftd from before there were folders by layout has them elsewhere, too. */
	if (message.cookie != pins_identity(bpffs, message.value) && *is_beside)
		return log_err(-EPROTONOSUPPORT, "the weftd that runs (process %u) has another ABI between daemon and programs (version %u, layout %08x; this one %u, "
			       "%08x), and not its pins in --bpffs %s, or can't drain beside this one: give this one that one's --bpffs, or stop it, then start this one",
			       message.count, (uint32_t)message.value, (uint32_t)(message.value >> 32), (unsigned)WEFT_ABI_VERSION,
			       (uint32_t)WEFT_ABI_LAYOUT, bpffs);
	if (message.cookie != pins_identity(bpffs, message.value))
		return log_err(-EINVAL, "the weftd that runs (process %u) has its pins elsewhere than in --bpffs %s: give this one that one's --bpffs",
			       message.count, bpffs);
	if (*is_beside)
		log_info("the weftd that runs (process %u) has another ABI between daemon and programs (version %u, layout %08x; this one %u, %08x): it is "
			 "to drain beside this one", message.count, (uint32_t)message.value, (uint32_t)(message.value >> 32),
			 (unsigned)WEFT_ABI_VERSION, (uint32_t)WEFT_ABI_LAYOUT);
	else
		log_info("taking over from the weftd that runs (process %u)", message.count);
	return 0;
}

static uint64_t new_name(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static int import(struct table *table, const struct pass_message *message, uint64_t name)
{
	for (uint32_t i = 0; i < message->count; i++) {
		struct table_entry *entry = table_import(table, &message->entries[i]);

		if (!entry)
			return -ENFILE;
		/* Its own, which it has no name for. */
		if ((entry->kind == TABLE_ELSEWHERE || entry->kind == TABLE_CONFIG) && !entry->cookie)
			entry->cookie = name;
	}
	return 0;
}

static int receive_all(int channel, struct table *table, uint64_t name, uint64_t *generation)
{
	struct pass_message message;
	uint32_t count = 0;

	for (;;) {
		int r = pass_receive_wait(channel, &message, TAKE_MS);

		if (r)
			return r;
		if (message.kind == PASS_END) {
			*generation = message.value;
			table_raise_pod_id(table, (uint32_t)message.cookie);
			return message.count == count ? 0 : -EPROTO;
		}
		if (message.kind != PASS_ENTRIES)
			return -EPROTO;
		count += message.count;
		r = import(table, &message, name);
		if (r)
			return r;
	}
}

int succeed_take(int channel, struct table *table, uint64_t *generation)
{
	const struct pass_message give = { .kind = PASS_GIVE };
	struct table_entry own = { .kind = TABLE_CHANNEL, .fd = channel, .cookie = new_name() };
	int r;

	r = pass_send_wait(channel, &give, GREET_MS);
	if (!r)
		r = receive_all(channel, table, own.cookie, generation);
	step("replace: descriptors taken");
	if (!r && (!table_find(table, TABLE_KEEPER, 0) || !table_find(table, TABLE_CONTROL, 0)))
		r = -EPROTO;
	if (!r && !table_import(table, &own))
		r = -ENFILE;
	if (r)
		return log_err(r, "taking over what the weftd that runs has: it goes on");
	table_begin_generation(table);
	return 0;
}

static void say_serving(void *arg, struct table_entry *entry)
{
	const struct pass_message serving = { .kind = PASS_SERVING };

	(void)arg;
	if (entry->kind == TABLE_CHANNEL)
		(void)pass_send(entry->fd, &serving);
}

void succeed_say_serving(struct table *table)
{
	table_each(table, say_serving, NULL);
}

int succeed_beside(int channel, struct table *table, struct succeed_yielded *yielded)
{
	struct pass_message message = { .kind = PASS_YIELD, .value = PASS_ABI };
	const struct table_entry own = { .kind = TABLE_CHANNEL, .fd = channel, .cookie = new_name() };
	int r;

	r = pass_send_wait(channel, &message, GREET_MS);
	if (!r)
		r = pass_receive_wait(channel, &message, TAKE_MS);
	if (r == -EPIPE)
		return log_err(-EPROTONOSUPPORT, "the weftd that runs can't drain beside this one: stop it, then start this one");
	if (!r && message.kind != PASS_YIELDED)
		r = -EPROTO;
	step("beside: yielded");
	if (!r && !table_import(table, &own))
		r = -ENFILE;
	if (r)
		return log_err(r, "asking the weftd that runs to drain beside this one: it goes on");
	*yielded = (struct succeed_yielded){ .generation = message.value, .pod_count = message.count };
	return 0;
}

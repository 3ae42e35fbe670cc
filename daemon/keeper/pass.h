/* SPDX-License-Identifier: Apache-2.0 */
/* What one weftd says to another that replaces it, over a SOCK_SEQPACKET connection: descriptors, and what they are, by SCM_RIGHTS in batches. HELLO,
 * WELCOME, SERVING and those of YIELD, and the first four fields of a message, are understood by every version; the rest, like struct table_entry, by
 * those of the same PASS_ABI.
 *
 *   new                          old
 *   HELLO                 ->
 *                         <-     WELCOME, or a closed connection
 *   (loads its programs)
 *   GIVE                  ->     (begins no further exchange in its proxy; short ones end)
 *                         <-     ENTRIES..., END
 *   (all but to read what comes is done)
 *   SERVING               ->     (closes its copies, finishes what it kept)
 *   (serves)
 *                         <-     ENTRIES, SLOT_OVER, CLIENT_GONE, ...
 *                         <-     (closed: the old one has ended)
 *
 * Until SERVING the old one has all that it gave, and nothing was done with it: when the new one goes, the next worker of the old one takes everything up
 * again. So the new one has but one worker until then. Of the old one no worker begins after END, unless the present one has seen the new one go.
 *
 * Of another PASS_ABI, the old one drains beside the new one, which has programs, maps and pins of its own:
 *
 *   HELLO                 ->
 *                         <-     WELCOME
 *   (locks its own pins, loads its programs)
 *   YIELD                 ->     (locks its own pins; picks no endpoints for connections and enrols no pods any more: worker/beside.c says why)
 *                         <-     YIELDED, and again when it serves fewer pods
 *   (captures new connections, beside the old one, until all its pods are served)
 *   SETTLED               ->     (lets go of what only one may have)
 *                         <-     PLACES: that
 *   (answers there)
 *   SERVING               ->     (captures no more, ends when nothing is open, or its time is over)
 *                         <-     (closed: the old one has ended)
 *
 * Until SETTLED nothing but pins is the new one's; until SERVING nothing is lost when it goes, and the old one goes on. When the old one goes before PLACES, the
 * new one ends. Of the old one no worker begins after PLACES, unless the present one has seen the new one go. */
#ifndef WEFT_KEEPER_PASS_H
#define WEFT_KEEPER_PASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keeper/table.h"

/* For those who include abi_layout.h (scripts/abi-layout.sh) and weft/abi.h. */
#define PASS_ABI (WEFT_ABI_VERSION | (uint64_t)WEFT_ABI_LAYOUT << 32)

#define PASS_ENTRIES_MAX 128u /* the kernel takes 253 descriptors at a time */

enum pass_kind {
	PASS_HELLO = 1,   /* `value`: PASS_ABI, the ABI's version and layout */
	PASS_WELCOME,     /* `value`: likewise; `count`: the keeper's process; `cookie`: which folder of pins it has (base/pins.h) */
	PASS_GIVE,
	PASS_SERVING,
	PASS_ENTRIES,     /* `count` entries, each with its descriptor; after END: connections whose exchange is over */
	PASS_END,         /* `count`: entries in all; `value`: generations of the configuration so far; `cookie`: the last id of a pod */
	PASS_SLOT_OVER,   /* `value`: the slot of an upstream that was kept, closed now */
	PASS_CLIENT_GONE, /* `value`: an open exchange, `cookie`: its client, which is gone */
	/* Numbers for good, as the first two and SERVING have. */
	PASS_YIELD = 64,  /* `value`: PASS_ABI */
	PASS_YIELDED,     /* `count`: pods that are served; `value`: generations of the configuration so far */
	PASS_SETTLED,
	PASS_PLACES,      /* with as many descriptors as there are enum pass_place */
};

/* What only one weftd may have, in the order in which PLACES brings it. */
enum pass_place {
	PASS_PLACE_LOCK = 0,   /* of the node */
	PASS_PLACE_CONTROL,    /* listener of the control socket */
	PASS_PLACE_SUCCESSION, /* listener where a weftd asks that is to follow */
	PASS_PLACES_COUNT
};
#define PASS_PLACE_KINDS { [PASS_PLACE_LOCK] = TABLE_KEEPER, [PASS_PLACE_CONTROL] = TABLE_CONTROL, [PASS_PLACE_SUCCESSION] = TABLE_SUCCESSION }

struct pass_message {
	uint32_t kind;
	uint32_t count;
	uint64_t value;
	uint64_t cookie;
	struct table_entry entries[PASS_ENTRIES_MAX];
};

/* Where the weftd with this control socket is asked to hand over: appended to `path`'s bytes. */
#define PASS_SUFFIX ".replace"

/* -ECONNREFUSED, -ENOENT: nobody is there. */
int pass_connect(const char *path, int *channel);

/* Never blocks: -EAGAIN. -EPIPE: the other one is gone. PASS_ENTRIES sends `entries[i].fd` of each that is >= 0, PASS_PLACES those of the first ones. */
int pass_send(int channel, const struct pass_message *message);
/* Waits for room, for at most `timeout_ms`: -ETIMEDOUT. */
int pass_send_wait(int channel, const struct pass_message *message, int timeout_ms);
/* Of PASS_ENTRIES and PASS_PLACES `entries[i].fd` are new descriptors, the caller's. -EAGAIN; -EPIPE: the other one is gone; -EPROTO: not understood. */
int pass_receive(int channel, struct pass_message *message);
int pass_receive_wait(int channel, struct pass_message *message, int timeout_ms);
/* The descriptors that came with it, of a message that says nothing here. */
void pass_close(const struct pass_message *message);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What every descriptor is, in memory that keeper and workers share (MAP_SHARED|MAP_ANONYMOUS, made by the keeper before the
 * first worker). Keeper and worker also share the descriptor table itself (clone(CLONE_FILES)): after kill -9 of a worker no
 * socket closes, and the next worker adopts what the table names and closes every other descriptor.
 *
 * An entry belongs to the thread that made it; it is published last (kind) and withdrawn first, so a worker that dies
 * between two stores leaves either a whole entry or a descriptor that the next worker closes. */
#ifndef WEFT_KEEPER_TABLE_H
#define WEFT_KEEPER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/address.h"

enum table_kind {
	TABLE_FREE = 0,
	TABLE_KEEPER,    /* the keeper's own: the node's lock, and in slot TABLE_OWN_PINS that of its own pins, while two weftds run */
	TABLE_CONTROL,   /* the control socket's listener */
	TABLE_LISTENER,  /* a pod's loopback listener */
	TABLE_NETNS,     /* a pod's network namespace */
	TABLE_ANCHOR,    /* accepted from a captured client */
	TABLE_UPSTREAM,  /* a pooled upstream: `slot` in weft_upstream */
	TABLE_CONFIG,    /* a memfd: text of the configuration that serves */
	TABLE_RESERVED,  /* taken, not yet meaningful */
	TABLE_SUCCESSION, /* the listener where a weftd asks that is to replace this one */
	TABLE_CHANNEL,   /* to the weftd that this one has replaced, while that finishes exchanges or drains */
	TABLE_KEPT,      /* an anchor or an upstream that is not handed to a replacement, since an exchange in the proxy needs it */
	TABLE_ELSEWHERE, /* no descriptor (-1): the replaced weftd still has the upstream of `slot` */
};

#define TABLE_OWN_PINS 1u /* `slot` of a TABLE_KEEPER */

struct table_entry { /* 64 bytes */
	uint32_t kind;        /* enum table_kind; atomic */
	int32_t fd;
	uint64_t cookie;      /* ANCHOR: the client's; UPSTREAM: its own; LISTENER, NETNS: network namespace cookie */
	uint32_t pod_id;
	uint32_t slot;        /* UPSTREAM: in weft_upstream; LISTENER: enum weft_family */
	/* ANCHOR: what the next worker must know. is_busy: an exchange is in the proxy (bytes of it were read or written). */
	uint32_t is_busy;
	uint32_t consumed;    /* as published to the kernel */
	uint32_t written;
	union {
		struct weft_address peer; /* ANCHOR */
		uint32_t reserved[2]; /* LISTENER: inode of the pod's cgroup; UPSTREAM: of the cgroup that it was made in; low half first */
	};
	uint16_t peer_port_be;
	uint16_t zero;
	uint32_t generation;  /* of the worker that took it */
	uint32_t kept_kind;   /* KEPT: what it was */
};
_Static_assert(sizeof(struct table_entry) == 64, "one cache line");

struct table;

/* Makes the shared table with room for `capacity` entries. */
int table_new(struct table **out, uint32_t capacity);
void table_free(struct table **table); /* unmaps it here; descriptors stay open */
/* A free entry with `fd` and `kind` TABLE_RESERVED; NULL when the table is full. Any thread. Fill it, then table_publish. */
struct table_entry *table_take(struct table *table, int fd);
void table_publish(struct table_entry *entry, enum table_kind kind);
void table_release(struct table *table, struct table_entry *entry);
/* Makes a published entry TABLE_KEPT; what it was before can still be asked. */
void table_keep(struct table_entry *entry);
enum table_kind table_kept_kind(const struct table_entry *entry);
/* Publishes what another weftd's `entry` says of `entry->fd`, a descriptor of this one. NULL when the table is full. */
struct table_entry *table_import(struct table *table, const struct table_entry *entry);
/* An id for a pod, above all that were given since there is this table, by whichever worker, and above those of imported entries: kernel, pool and
 * proxy may still know connections of a pod that went. */
uint32_t table_next_pod_id(struct table *table);
/* The highest that was given, for a weftd that takes over: what it is given need not name it. 0: none was yet. */
uint32_t table_last_pod_id(const struct table *table);
/* Those up to this one were given by another one. */
void table_raise_pod_id(struct table *table, uint32_t pod_id);
/* Visits published entries; the visitor may release the entry it was given. */
void table_each(struct table *table, void (*fn)(void *arg, struct table_entry *entry), void *arg);
/* Only those that former workers published: the present one has made its own by the time it adopts. */
void table_each_former(struct table *table, void (*fn)(void *arg, struct table_entry *entry), void *arg);
/* The published entry of that kind and `slot`, of which there is but one; NULL: none. */
struct table_entry *table_find(struct table *table, enum table_kind kind, uint32_t slot);
uint32_t table_count(const struct table *table, enum table_kind kind);
uint32_t table_capacity(const struct table *table);
/* What is published was a former worker's from here on. Only while no worker runs. */
void table_begin_generation(struct table *table);
/* Closes every descriptor above 2 that no published entry names, and frees entries that a killed worker left half made; what is published is a
 * former worker's from here on. Only while no worker runs: the keeper calls it before it makes the next one. -ENOMEM: nothing was closed. */
int table_close_strays(struct table *table);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the state machine share. */
#ifndef WEFT_XDS_INTERNAL_H
#define WEFT_XDS_INTERNAL_H

#define uthash_fatal(message) ((void)0) /* not reached: HASH_NONFATAL_OOM */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "xds/scope.h"

/* A name of a type, and what is known under it. */
struct slot {
	char *name;
	struct xds_resource *accepted;  /* what the server says now; NULL: nothing (yet, or any more) */
	struct xds_resource *refused;   /* newer than that, and NACKed */
	struct xds_resource *live;      /* what is in the mesh */
	bool is_wanted;                 /* load assignments, route configurations: something accepted names it */
	bool was_wanted;
	bool is_seen;                   /* in the response at hand */
	bool is_named;                  /* something live names it; as of settle_names() */
	bool was_asked_again;
	uint64_t waits_since_ms;        /* accepted and live differ, or nothing came yet that is asked for; 0: neither */
	UT_hash_handle hh;
};

/* A type of the stream. */
struct subscription {
	struct slot *slots;
	char *version;                  /* accepted last; "" */
	char *received;                 /* seen last, whatever became of it; "" */
	char *nonce;                    /* seen last on this stream; "" */
	char *detail;                   /* of the NACK that is owed, or was last sent */
	bool is_subscribed;             /* on this stream */
	bool names_changed;             /* since the last request */
	bool owes_answer;               /* to `nonce` */
	bool is_nack;
	bool was_applied;               /* a response, or what of it was good */
	bool asks_again;                /* the next request is without nonce: everything asked for comes again */
	/* for people */
	uint64_t responses, acks, nacks, ignored;
	uint64_t response_ms, nack_ms;
	size_t response_bytes, response_count;
};

struct xds_scope {
	char *name;
	uint8_t *node;
	size_t node_size;
	struct xds_store *store;
	struct xds_scope_callbacks callbacks;
	void *arg;
	struct mesh *mesh;              /* what serves */
	struct subscription types[MESH_KINDS];
	bool is_open, sent_node;
	bool is_ready, was_published;
	bool is_dirty;                  /* the mesh differs from what was published */
	bool is_unsettled;              /* accepted and live may differ */
	bool gathers;                   /* xds_scope_gather() */
	bool has_gathered;              /* endpoints that were accepted and are neither published nor answered */
	uint64_t changes;
	struct xds_push push;
	int status;                     /* -ENOMEM sticks until it is told */
};

/* The order of pushes, in which requests are sent too. */
extern const enum mesh_kind xds_order[MESH_KINDS];

/* scope.c */
struct slot *slot_find(const struct xds_scope *scope, enum mesh_kind kind, const char *name);
struct slot *slot_make(struct xds_scope *scope, enum mesh_kind kind, const char *name); /* NULL: scope->status says why */
void slot_set(struct xds_scope *scope, struct xds_resource **place, struct xds_resource *resource);
bool type_is_wildcard(enum mesh_kind kind);

/* demand.c: which load assignments and route configurations accepted clusters and listeners name. */
int demand_update(struct xds_scope *scope, enum mesh_kind of);
size_t demand_count(const struct subscription *type);

/* settle.c: brings what serves in line with what was accepted, as far as the rules let it. */
void settle(struct xds_scope *scope, uint64_t now_ms);
/* When that is published: clusters that are gone, and their endpoints. True when some went. */
bool settle_removals(struct xds_scope *scope, uint64_t now_ms);
/* One load assignment of a cluster that serves: at once. */
void settle_assignment(struct xds_scope *scope, struct slot *slot);

/* names.c: what a live resource points at. */
typedef void name_fn(void *arg, const char *name);
void names_of_routes(const struct mesh_route_config *config, name_fn *fn, void *arg);   /* clusters */
void names_of_listener_clusters(const struct mesh_listener *listener, name_fn *fn, void *arg);
void names_of_listener_routes(const struct mesh_listener *listener, name_fn *fn, void *arg);

/* request.c */
int request_send(struct xds_scope *scope, enum mesh_kind kind);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* One ADS stream's state: what is subscribed to, what came, what of it serves. It does no input or output: bytes of responses go in, bytes of requests
 * come out of a callback, and time is an argument.
 *
 * Between what was accepted and what serves stand two rules. Warming: a new cluster serves when its endpoints are there, a route configuration
 * when the clusters it names are, a listener when its route configurations are; until then what was before goes on. Make before break: a
 * cluster that is gone serves as long as live routes name it, until the push that removed it is complete. Both have a limit in time. */
#ifndef WEFT_XDS_SCOPE_H
#define WEFT_XDS_SCOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/strbuf.h"
#include "mesh/mesh.h"
#include "xds/store.h"

#define XDS_WARMING_MS 15000  /* what was waited for so long is served without what it waits for */
#define XDS_ASK_AGAIN_MS 5000 /* a name without an answer is asked for anew */
#define XDS_REMOVED_MS 5000   /* a cluster that is gone is kept no longer, whoever names it */

struct xds_scope;

struct xds_scope_callbacks {
	/* One serialized DiscoveryRequest. */
	void (*send)(void *arg, const void *bytes, size_t size);
	/* Makes live what the mesh says. -errno and why it can't be: what was live before goes on, and the push is refused. */
	int (*publish)(void *arg, const struct mesh *mesh, struct strbuf *why);
};

/* `node` is a serialized Node, copied. */
int xds_scope_new(struct xds_store *store, const char *name, const void *node, size_t node_size, const struct xds_scope_callbacks *callbacks, void *arg,
		  struct xds_scope **out);
void xds_scope_free(struct xds_scope **scope);
/* See mesh_require_mtls(). Before anything serves. */
void xds_scope_require_mtls(struct xds_scope *scope, bool is_required);
/* For the next stream. */
int xds_scope_set_node(struct xds_scope *scope, const void *node, size_t node_size);
/* Are these the bytes that it has? */
bool xds_scope_has_node(const struct xds_scope *scope, const void *node, size_t node_size);

const char *xds_scope_name(const struct xds_scope *scope);
/* In the order of names. Empty before anything serves. */
const struct mesh *xds_scope_mesh(const struct xds_scope *scope);
/* All that was asked for at first is there (or was waited for long enough), so that pods may be served. Nothing is published before. */
bool xds_scope_is_ready(const struct xds_scope *scope);

/* A server has told all of it: what serves is no cache's any more. */
bool xds_scope_is_confirmed(const struct xds_scope *scope);

/* A stream began: subscribes to everything that is known to be wanted. */
int xds_scope_opened(struct xds_scope *scope, uint64_t now_ms);
/* It ended. What serves goes on. */
void xds_scope_closed(struct xds_scope *scope);

/* One message of it. -EBADMSG: no DiscoveryResponse; there is nothing to answer, and a stream that says such things is better begun anew. -ENOMEM: likewise.
 * 0 for everything else, also for what is refused. */
int xds_scope_response(struct xds_scope *scope, const void *bytes, size_t size, uint64_t now_ms);

/* From now on endpoints alone are published by xds_scope_flush(), and answered then: of several responses the last, which stands for all. To be called
 * when no more of them lie ready. What comes faster than it can be published would pile up otherwise. Other responses flush by themselves. */
void xds_scope_gather(struct xds_scope *scope);
bool xds_scope_has_gathered(const struct xds_scope *scope); /* there is something to flush */
int xds_scope_flush(struct xds_scope *scope, uint64_t now_ms); /* as xds_scope_response() */

/* From time to time, once a second or so: what waits may have waited long enough. */
int xds_scope_tick(struct xds_scope *scope, uint64_t now_ms);

/* ---- what a cache keeps ----------------------------------------------------------------------------------------------------------- */

/* Takes a resource as though a stream had brought it, before there is one. Refused ones are left out. */
int xds_scope_restore(struct xds_scope *scope, enum mesh_kind kind, const void *bytes, size_t size);
/* After the last one: what can serve is published. */
int xds_scope_restored(struct xds_scope *scope, uint64_t now_ms);
/* Every resource that serves. */
void xds_scope_each_live(const struct xds_scope *scope, void (*fn)(void *arg, const struct xds_resource *resource), void *arg);
/* Grows with every change of what serves. */
uint64_t xds_scope_changes(const struct xds_scope *scope);

/* ---- for people -------------------------------------------------------------------------------------------------------------------- */

/* What became of the last response. */
struct xds_push {
	uint64_t number;     /* of it, from 1; 0: there was none */
	enum mesh_kind kind;
	const char *version;
	size_t resources, unchanged, added, changed, removed, ignored, refused;
	size_t bytes;
	bool is_answered;    /* false: nothing of this type is subscribed to any more */
	const char *detail;  /* of the NACK; "" for an ACK */
};
const struct xds_push *xds_scope_last_push(const struct xds_scope *scope);

/* Names that wait, names that are kept, and counts: lines for `weftd --replay`. */
void xds_scope_print(const struct xds_scope *scope, FILE *stream);

struct json_t;
/* As Envoy's /config_dump has it: what serves, and what waits. */
struct json_t *xds_scope_config_dump(const struct xds_scope *scope);
/* For `weftctl xds`. */
struct json_t *xds_scope_describe(const struct xds_scope *scope, uint64_t now_ms);

#endif

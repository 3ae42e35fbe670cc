/* SPDX-License-Identifier: Apache-2.0 */
/* The mesh model in, images out: flat tables that kernel, proxy and people read (weft/image.h), and a verdict for every resource.
 *
 * Honest compilation: what weft does not do exactly gets a verdict and a reason, and a request that reaches it is answered 503; it is never
 * dropped, and it never makes another route match more or less. One thread (the control loop) calls this stage. */
#ifndef WEFT_COMPILE_H
#define WEFT_COMPILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "mesh/mesh.h"
#include "weft/image.h"

/* ---- stable ids ------------------------------------------------------------------------------------------------------------------ */

/* Cluster names and endpoint addresses as numbers that survive generations: maps in the kernel are indexed by them. An id belongs to what
 * it was given to as long as an image uses it, and then rests, because exchanges, pools and counters may still name it. 0 is never given. */
struct ids;

struct ids_limits {
	uint32_t clusters;        /* ids are below this: size of the arrays indexed by them */
	uint32_t endpoints;
	uint64_t rest_ms;         /* an id without an image is given to somebody else only after that long ... */
	uint32_t rest_generations; /* ... and that many images */
};
#define IDS_LIMITS_DEFAULT { 16384, 65536, 600000, 16 }

/* `limits` NULL: the defaults (WEFT_CLUSTERS_MAX, WEFT_ENDPOINTS_MAX of weft/abi.h; ten minutes and 16 images). */
int ids_new(struct ids **out, const struct ids_limits *limits);
/* Every image that was compiled with it must be freed before. */
void ids_free(struct ids **ids);

/* The clock of resting ids, in milliseconds of any monotonic clock. Call it before a compile. */
void ids_set_time(struct ids *ids, uint64_t now_ms);

/* Takes over what an endpoint image says (a former worker's, found in the kernel), so that its ids keep their meaning. They rest at first.
 * -EINVAL when the bytes are no endpoint image, -EEXIST when an id is taken already. */
int ids_adopt(struct ids *ids, const uint8_t *base, uint32_t size_bytes);

/* NULL when the id has no owner. The text is the table's. */
const char *ids_cluster_name(const struct ids *ids, uint32_t cluster_id);
/* -ENOENT: likewise. */
int ids_endpoint_address(const struct ids *ids, uint32_t endpoint_id, struct weft_address *address, uint16_t *port_be);
/* 0 when the name has none. */
uint32_t ids_cluster_find(const struct ids *ids, const char *name);

/* ---- images ---------------------------------------------------------------------------------------------------------------------- */

struct ids_claim;

struct image {
	uint8_t *base;             /* page aligned; page_count * WEFT_PAGE_SIZE bytes, 0 past size_bytes */
	uint32_t size_bytes;
	uint32_t page_count;
	enum weft_image_kind kind;
	uint64_t content_hash;     /* as in the header: equal bytes, equal hash */
	struct ids_claim *claim;   /* the ids that the image holds */
	uint64_t *sources;         /* endpoint image: by cluster id, what the cluster was made of; 0: not to be taken over */
	uint32_t source_count;
};

/* Accepts NULL and a pointer to NULL. The ids of the image begin to rest. */
void image_free(struct image **image);

/* For bytes that come from outside this process: are they an image of this version, of the size they say, and do its first tables (all of them in an
 * endpoint image) stay inside? 0 or -EINVAL. */
int image_check(const uint8_t *base, uint32_t size_bytes);

struct compile_report;
struct dns;

/* Both: 0; -E2BIG when the image would exceed WEFT_IMAGE_PAGES_MAX; -ENOMEM. `report` may be NULL. Identical meshes, answers of `dns`
 * (NULL: no name is known) and id tables give identical bytes. */
int compile_routes(const struct mesh *mesh, struct ids *ids, struct image **out, struct compile_report *report);
int compile_endpoints(const struct mesh *mesh, const struct dns *dns, struct ids *ids, struct image **out, struct compile_report *report);
/* The same bytes with less work: clusters of which nothing has changed are taken out of `former` (may be NULL), an image of the same ids. */
int compile_endpoints_again(const struct mesh *mesh, const struct dns *dns, struct ids *ids, const struct image *former, struct image **out,
			    struct compile_report *report);

/* What compile_routes() reads of a mesh, as a number: equal numbers, equal images (with the same ids) and verdicts. Endpoints have no part in it. */
uint64_t compile_routes_key(const struct mesh *mesh);

/* Likewise of compile_endpoints(), as far as the mesh goes: what DNS answers is for the caller to add. */
uint64_t compile_endpoints_key(const struct mesh *mesh);

/* ---- verdicts -------------------------------------------------------------------------------------------------------------------- */

struct compile_verdict {
	const char *kind;     /* "listener", "route configuration", "virtual host", "route", "cluster", "endpoint", "load assignment", "resource" */
	const char *name;
	enum weft_verdict verdict;
	const char *reason;   /* "" for none; with WEFT_VERDICT_KERNEL: a remark */
	struct mesh_place place;
};

struct compile_report {
	struct arena arena;
	struct compile_verdict *verdicts;
	size_t count, capacity;
	size_t totals[WEFT_VERDICT_IGNORED + 1]; /* by verdict */
	int status;           /* 0, or -ENOMEM: the list is not complete */
};

#define COMPILE_REPORT_INIT { ARENA_INIT, NULL, 0, 0, { 0 }, 0 }

void compile_report_release(struct compile_report *report);

/* One line a verdict; all of them, or only those that are not plainly `kernel`. */
void compile_report_print(const struct compile_report *report, FILE *stream, bool all);

/* What is said of the mesh when it is compiled, without making anything of it: clusters and endpoints, then listeners and routes. */
int compile_verdicts(const struct mesh *mesh, const struct dns *dns, struct compile_report *report);

const char *verdict_name(enum weft_verdict verdict);

/* What `weftd --check` says after the messages of the loader: compiles both images, prints sizes, totals and every verdict that is not plainly
 * `kernel`. Returns 0 when the mesh can be published and nothing in it was refused by the loader, -EINVAL when something was, or the
 * compile's -errno. */
int compile_check_report(FILE *stream, const struct mesh *mesh);

/* Why pods of this mesh must not be enrolled: policy in their inbound listener that weft does not enforce. An empty text when there is
 * none. */
void compile_inbound_policy(const struct mesh *mesh, char *reason, size_t size);

/* ---- dumps ----------------------------------------------------------------------------------------------------------------------- */

enum dump_format { DUMP_TEXT, DUMP_JSON };

/* Everything in an image, readable. `names` (may be NULL) is the endpoint image that gives cluster ids their names. 0, -EINVAL for a
 * damaged image, -ENOMEM, -EIO. */
int compile_dump(FILE *stream, const struct image *image, const struct image *names, enum dump_format format);

/* What a route of the image changes on the way: an array (jansson) of sentences. */
struct json_t;
struct json_t *compile_route_changes(const uint8_t *base, uint32_t size_bytes, const struct weft_route *route);

#endif

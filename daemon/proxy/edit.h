/* SPDX-License-Identifier: Apache-2.0 */
/* Heads that are changed on the way: lines of a message as a list, the edits of a route's levels, variables in their values, rewritten
 * paths and hosts. Part of the proxy's inside; include proxy/internal.h. */
#ifndef WEFT_PROXY_EDIT_H
#define WEFT_PROXY_EDIT_H

#include "base/strbuf.h"
#include "proxy/internal.h"

/* ---- lines (lines.c) -------------------------------------------------------------------------------------------------------- */

#define LINES_MAX 512u
#define LINES_TEXT_BYTES (192u << 10)

/* Envoy adds it for its own sake: written only where weft decorates, or when an edit has touched it. */
#define LINE_IS_DECORATION 0x01u

struct line {
	u32 name, value;           /* offsets in the text */
	u32 name_len, value_len;
	u32 name_hash;
	u32 flags;
};

/* Without pointers, so that a copy is one. */
struct lines {
	u32 count;
	u32 used;
	bool is_response;          /* which names are joined into one line */
	bool is_full;              /* something did not fit: the message can't go on */
	struct line items[LINES_MAX];
	u8 text[LINES_TEXT_BYTES];
};

struct name {
	const u8 *text;
	u32 len;
	u32 hash;
};

struct name name_of_text(const char *text);
void lines_begin(struct lines *lines, bool is_response);
void lines_add(struct lines *lines, const struct name *name, const u8 *value, u32 len, u32 flags);
/* NULL: there is none. */
struct line *lines_find(struct lines *lines, const struct name *name);
const struct line *lines_look(const struct lines *lines, const struct name *name);
bool lines_is_of(const struct lines *lines, const struct line *line, const struct name *name);
void lines_remove(struct lines *lines, const struct name *name);
/* In place of all of that name. */
void lines_set(struct lines *lines, const struct name *name, const u8 *value, u32 len);
/* One more line, or at the end of the one there is where Envoy knows the name. */
void lines_append(struct lines *lines, const struct name *name, const u8 *value, u32 len);
/* As the kernel would have changed a response. */
void lines_change(struct lines *lines, const struct weft_response_changes *changes);
/* Bytes that lines_put() writes at most. */
u32 lines_room(const struct lines *lines);
void lines_put(const struct lines *lines, struct buffer *out, bool decorates);

/* ---- what is remembered of a request until its response (edit.c) -------------------------------------------------------------- */

struct edited {
	struct published *routes;  /* the image that the references are of */
	weft_ref response_edits;
	u32 cluster_id;
	u64 start_ms;              /* of the system's clock */
	bool is_https;
	bool counts_attempts;      /* in the response, where weft decorates */
	u32 method_len, target_len, authority_len;
	u8 *bytes;                 /* method, target and authority as they went on */
	struct lines *request;     /* NULL: no variable asks for it */
	struct thread *thread;
	u32 share;                 /* of the thread: `size` counts there */
	size_t size;               /* of the two above */
};
void edited_free(struct edited **edited);

struct edit_context {
	const struct connection *connection;
	const struct exchange *exchange;
	struct weft_image_handle image;
	const struct lines *request;
	const struct lines *response; /* NULL while the request is edited */
	const u8 *method, *target, *authority;
	u32 method_len, target_len, authority_len;
	u32 cluster_id;
	u64 start_ms;
	u64 body_bytes;
	u16 code;                     /* of an upstream's response; Envoy has none yet when it edits a reply of its own */
	bool is_https;
};

/* The edits of a struct weft_edits, level by level, on `lines`. */
void edits_apply(const struct edit_context *context, weft_ref edits, struct lines *lines);

/* ---- paths, hosts and locations (rewrite.c) ------------------------------------------------------------------------------------ */

struct text_span {
	const u8 *bytes;
	u32 len;
};

/* Writes the new path and the query to `out`, or leaves `out` empty where nothing is rewritten. 0; -ENOMEM; -E2BIG: the match limit. */
int rewrite_path(struct thread *thread, const struct weft_image_handle *image, const struct weft_path_rewrite *rewrite, const u8 *target,
		 u32 target_len, u32 path_len, struct strbuf *out);
/* The new Host, or an empty one: keep it. `path` without its query. */
int rewrite_host(struct thread *thread, const struct weft_image_handle *image, const struct weft_rewrite *rewrite, const struct lines *lines,
		 const u8 *path, u32 path_len, struct strbuf *out);

struct redirect_request {
	struct text_span authority, target;
	u32 path_len;
	bool is_https;              /* the URL's scheme */
	struct text_span forwarded; /* x-forwarded-proto, or http */
};
int redirect_location(struct thread *thread, const struct weft_image_handle *image, const struct weft_redirect *redirect,
		      const struct redirect_request *request, struct strbuf *out);
/* Envoy: of a direct response that needs one, and of require_tls (`is_https` then). */
void own_location(const struct redirect_request *request, bool is_https, struct strbuf *out);

#endif

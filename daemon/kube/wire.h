/* SPDX-License-Identifier: Apache-2.0 */
/* How an API server writes objects as protobuf: an envelope around each body and each object, length-prefixed frames around the events of a
 * watch. A list is read item by item, so that a large one costs no more memory than its bytes. */
#ifndef WEFT_KUBE_WIRE_H
#define WEFT_KUBE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

#define KUBE_CONTENT_TYPE "application/vnd.kubernetes.protobuf"
#define KUBE_KIND_MAX 63
#define KUBE_VERSION_MAX 63     /* of a resourceVersion: a number of 20 digits in truth, but an opaque text by contract */
#define KUBE_EVENT_BYTES_MAX (8u << 20) /* etcd takes objects of 1.5 MiB */
#define KUBE_LIST_BYTES_MAX (256u << 20)

/* What an envelope says; `raw` points into the bytes it was read from. */
struct kube_envelope {
	char kind[KUBE_KIND_MAX + 1];
	const uint8_t *raw;
	size_t size;
};

/* -EBADMSG: not one. */
int kube_envelope_read(const void *bytes, size_t size, struct kube_envelope *out);

struct kube_list_meta {
	char resource_version[KUBE_VERSION_MAX + 1];
	struct strbuf next;          /* the token that continues the list; empty on its last page */
	int64_t remaining;           /* further items; 0 when it is not said */
};

typedef int (*kube_item_fn)(void *arg, const uint8_t *raw, size_t size);

/* A list of any kind, without its envelope: `item` for each of its items, in their order; other than 0 ends it. `meta->next` is the caller's to
 * release. -EBADMSG. */
int kube_list_read(const uint8_t *raw, size_t size, struct kube_list_meta *meta, kube_item_fn item, void *arg);

enum kube_event_type { KUBE_ADDED, KUBE_MODIFIED, KUBE_DELETED, KUBE_BOOKMARK, KUBE_ERROR };

/* -EBADMSG: none of them, or not a whole one. */
int kube_event_read(const uint8_t *bytes, size_t size, enum kube_event_type *type, struct kube_envelope *object);

/* The bytes of a watch as they come; pieces end anywhere. */
struct kube_frames {
	struct strbuf pending;
};

typedef int (*kube_frame_fn)(void *arg, const uint8_t *bytes, size_t size);

/* `frame` for each that is whole; other than 0 ends it. -EMSGSIZE: a length beyond KUBE_EVENT_BYTES_MAX. */
int kube_frames_feed(struct kube_frames *frames, const void *bytes, size_t size, kube_frame_fn frame, void *arg);
void kube_frames_reset(struct kube_frames *frames);

/* What a failure says, as a body or in a watch. */
struct kube_status {
	int32_t code;
	uint32_t retry_after_s;
	char reason[64];
	char message[256];
};

/* A Status without its envelope. */
int kube_status_read(const uint8_t *raw, size_t size, struct kube_status *out);

/* metadata.resourceVersion of any object, and whether it is the bookmark behind what a watch began with. */
int kube_version_read(const uint8_t *raw, size_t size, char version[KUBE_VERSION_MAX + 1], bool *ends_initial_events);

#endif

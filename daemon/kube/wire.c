/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/wire.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "k8s/io/apimachinery/pkg/apis/meta/v1/meta.pb-c.h"

#define MAGIC "k8s"             /* and its final 0 */
#define PREFIX_BYTES 4          /* of a frame: its length, big endian */
#define INITIAL_EVENTS_END "k8s.io/initial-events-end"

typedef K8s__Io__Apimachinery__Pkg__Apis__Meta__V1__ObjectMeta pb_metadata;
typedef K8s__Io__Apimachinery__Pkg__Apis__Meta__V1__ListMeta pb_list_meta;
typedef K8s__Io__Apimachinery__Pkg__Apis__Meta__V1__Status pb_status;

static void free_metadata(pb_metadata **message)
{
	k8s__io__apimachinery__pkg__apis__meta__v1__object_meta__free_unpacked(*message, NULL);
}

static void free_list_meta(pb_list_meta **message)
{
	k8s__io__apimachinery__pkg__apis__meta__v1__list_meta__free_unpacked(*message, NULL);
}

static void free_status(pb_status **message)
{
	k8s__io__apimachinery__pkg__apis__meta__v1__status__free_unpacked(*message, NULL);
}

/* ---- fields, one by one: protobuf-c would copy all that they hold ------------------------------------------------------------------ */

struct fields {
	const uint8_t *at, *end;
	uint32_t number;
	const uint8_t *bytes;        /* NULL: the field is no run of bytes */
	size_t size;
};

static bool read_varint(struct fields *fields, uint64_t *out)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && fields->at < fields->end; shift += 7) {
		uint8_t byte = *fields->at++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*out = value;
			return true;
		}
	}
	return false;
}

/* 1: a field; 0: there is none left; -EBADMSG. */
static int next_field(struct fields *fields)
{
	uint64_t tag, size;

	if (fields->at == fields->end)
		return 0;
	if (!read_varint(fields, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
		return -EBADMSG;
	fields->number = (uint32_t)(tag >> 3);
	fields->bytes = NULL;
	switch (tag & 7) {
	case 0:
		return read_varint(fields, &size) ? 1 : -EBADMSG;
	case 1:
		size = 8;
		break;
	case 2:
		if (!read_varint(fields, &size))
			return -EBADMSG;
		break;
	case 5:
		size = 4;
		break;
	default:
		return -EBADMSG;
	}
	if (size > (uint64_t)(fields->end - fields->at))
		return -EBADMSG;
	if ((tag & 7) == 2) {
		fields->bytes = fields->at;
		fields->size = (size_t)size;
	}
	fields->at += size;
	return 1;
}

/* The last one of that number, as protobuf has it. 0 and NULL: there is none. */
static int find_bytes(const uint8_t *bytes, size_t size, uint32_t number, const uint8_t **out, size_t *out_size)
{
	struct fields fields = { .at = bytes, .end = bytes + size };
	int r;

	*out = NULL;
	*out_size = 0;
	while ((r = next_field(&fields)) > 0) {
		if (fields.number == number && fields.bytes) {
			*out = fields.bytes;
			*out_size = fields.size;
		}
	}
	return r;
}

static void copy_text(char *to, size_t room, const void *bytes, size_t size)
{
	if (size >= room)
		size = room - 1;
	if (size)
		memcpy(to, bytes, size);
	to[size] = '\0';
}

/* ---- envelopes ----------------------------------------------------------------------------------------------------------------------- */

int kube_envelope_read(const void *bytes, size_t size, struct kube_envelope *out)
{
	const uint8_t *type_meta, *kind, *raw;
	size_t type_meta_size, kind_size, raw_size;
	int r;

	if (size < sizeof(MAGIC) || memcmp(bytes, MAGIC, sizeof(MAGIC)) != 0)
		return -EBADMSG;
	bytes = (const uint8_t *)bytes + sizeof(MAGIC);
	size -= sizeof(MAGIC);
	r = find_bytes(bytes, size, 1, &type_meta, &type_meta_size);
	if (!r)
		r = find_bytes(type_meta, type_meta_size, 2, &kind, &kind_size);
	if (!r)
		r = find_bytes(bytes, size, 2, &raw, &raw_size);
	if (r)
		return r;
	copy_text(out->kind, sizeof(out->kind), kind, kind_size);
	out->raw = raw;
	out->size = raw_size;
	return 0;
}

/* ---- lists --------------------------------------------------------------------------------------------------------------------------- */

static int read_list_meta(const uint8_t *bytes, size_t size, struct kube_list_meta *meta)
{
	_cleanup_(free_list_meta) pb_list_meta *message = k8s__io__apimachinery__pkg__apis__meta__v1__list_meta__unpack(NULL, size, bytes);

	if (!message)
		return -EBADMSG;
	if (message->resourceversion)
		copy_text(meta->resource_version, sizeof(meta->resource_version), message->resourceversion, strlen(message->resourceversion));
	meta->remaining = message->remainingitemcount;
	strbuf_truncate(&meta->next, 0);
	return message->continue_ ? strbuf_append_text(&meta->next, message->continue_) : 0;
}

int kube_list_read(const uint8_t *raw, size_t size, struct kube_list_meta *meta, kube_item_fn item, void *arg)
{
	struct fields fields = { .at = raw, .end = raw + size };
	int r, failed = 0;

	while ((r = next_field(&fields)) > 0) {
		if (!fields.bytes)
			continue;
		if (fields.number == 1)
			failed = read_list_meta(fields.bytes, fields.size, meta);
		else if (fields.number == 2)
			failed = item(arg, fields.bytes, fields.size);
		if (failed)
			return failed;
	}
	return r;
}

/* ---- watches ------------------------------------------------------------------------------------------------------------------------- */

static const char *const event_types[] = {
	[KUBE_ADDED] = "ADDED", [KUBE_MODIFIED] = "MODIFIED", [KUBE_DELETED] = "DELETED", [KUBE_BOOKMARK] = "BOOKMARK", [KUBE_ERROR] = "ERROR",
};

int kube_event_read(const uint8_t *bytes, size_t size, enum kube_event_type *type, struct kube_envelope *object)
{
	const uint8_t *name, *extension, *raw;
	size_t name_size, extension_size, raw_size;
	int r;

	r = find_bytes(bytes, size, 1, &name, &name_size);
	if (!r)
		r = find_bytes(bytes, size, 2, &extension, &extension_size);
	if (!r)
		r = find_bytes(extension, extension_size, 1, &raw, &raw_size);
	if (r)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(event_types); i++) {
		if (name && strlen(event_types[i]) == name_size && memcmp(event_types[i], name, name_size) == 0) {
			r = kube_envelope_read(raw ? raw : (const uint8_t *)"", raw_size, object);
			if (!r)
				*type = (enum kube_event_type)i;
			return r;
		}
	}
	return -EBADMSG;
}

void kube_frames_reset(struct kube_frames *frames)
{
	strbuf_release(&frames->pending);
}

static size_t frame_size(const uint8_t *prefix)
{
	return (size_t)prefix[0] << 24 | (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 | prefix[3];
}

int kube_frames_feed(struct kube_frames *frames, const void *bytes, size_t size, kube_frame_fn frame, void *arg)
{
	size_t at = 0;
	int r = strbuf_append(&frames->pending, bytes, size);

	while (!r && frames->pending.size - at >= PREFIX_BYTES) {
		const uint8_t *start = (const uint8_t *)frames->pending.data + at;
		size_t length = frame_size(start);

		if (length > KUBE_EVENT_BYTES_MAX)
			return -EMSGSIZE;
		if (frames->pending.size - at - PREFIX_BYTES < length)
			break;
		at += PREFIX_BYTES + length;
		r = frame(arg, start + PREFIX_BYTES, length);
	}
	/* Between events nothing is kept: most of the time a watch is silent. */
	if (!r && at == frames->pending.size)
		strbuf_release(&frames->pending);
	else if (!r && at)
		strbuf_consume(&frames->pending, at);
	return r;
}

/* ---- single messages ----------------------------------------------------------------------------------------------------------------- */

int kube_status_read(const uint8_t *raw, size_t size, struct kube_status *out)
{
	_cleanup_(free_status) pb_status *message = k8s__io__apimachinery__pkg__apis__meta__v1__status__unpack(NULL, size, raw);
	struct kube_status status = { 0 };

	if (!message)
		return -EBADMSG;
	status.code = message->code;
	if (message->details && message->details->retryafterseconds > 0)
		status.retry_after_s = (uint32_t)message->details->retryafterseconds;
	if (message->reason)
		copy_text(status.reason, sizeof(status.reason), message->reason, strlen(message->reason));
	if (message->message)
		copy_text(status.message, sizeof(status.message), message->message, strlen(message->message));
	*out = status;
	return 0;
}

int kube_version_read(const uint8_t *raw, size_t size, char version[KUBE_VERSION_MAX + 1], bool *ends_initial_events)
{
	_cleanup_(free_metadata) pb_metadata *message = NULL;
	const uint8_t *metadata;
	size_t metadata_size;
	int r = find_bytes(raw, size, 1, &metadata, &metadata_size);

	/* without spec and status, which would be copied as unknown fields */
	if (!r && metadata)
		message = k8s__io__apimachinery__pkg__apis__meta__v1__object_meta__unpack(NULL, metadata_size, metadata);
	if (!message || !message->resourceversion)
		return -EBADMSG;
	copy_text(version, KUBE_VERSION_MAX + 1, message->resourceversion, strlen(message->resourceversion));
	*ends_initial_events = false;
	for (size_t i = 0; i < message->n_annotations; i++)
		if (message->annotations[i]->key && strcmp(message->annotations[i]->key, INITIAL_EVENTS_END) == 0)
			*ends_initial_events = true;
	return 0;
}

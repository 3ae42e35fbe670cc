/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Local replies: the client's own request is turned into the response and handed back to it, with no network at all. Only for
 * requests without a body (Envoy closes the connection after the others: the proxy's). */
#ifndef WEFT_BPF_LOCAL_REPLY_H
#define WEFT_BPF_LOCAL_REPLY_H

#include "edit.h"
#include "message.h"

#define LOCAL_HEAD_MAX (u32)WEFT_DIRECT_HEAD_MAX
#define LOCAL_BODY_MAX (u32)WEFT_DIRECT_BODY_MAX
#define LOCAL_DATE_MAX 60u

static const char not_found_head[] = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n";
static const char no_cluster_head[] = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n";
static const char unhealthy_head[] = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 19\r\ncontent-type: text/plain\r\n";
static const char unhealthy_body[] = "no healthy upstream";

struct local_reply {
	const void *head;
	const void *body;
	u32 head_len;
	u32 body_len;
	u32 status;
};

/* head, date line, blank line, body into scratch->bytes. Returns the length, 0 when the date can't be had. */
static __always_inline u32 local_compose(struct scratch *scratch, const struct local_reply *reply)
{
	struct weft_control *settings = control_get();
	u32 off, date_len, sequence, body_len;
	u8 *bytes = scratch->bytes.data;

	if (!settings)
		return 0;
	sequence = *(volatile u32 *)&settings->date_sequence;
	date_len = settings->date_len;
	if (sequence & 1 || !date_len || date_len > LOCAL_DATE_MAX)
		return 0;
	off = BOUNDED(reply->head_len, LOCAL_HEAD_MAX);
	if (bpf_probe_read_kernel(bytes, off, reply->head))
		return 0;
	off = BOUNDED(reply->head_len, LOCAL_HEAD_MAX);
	date_len = BOUNDED(date_len, 63);
	if (bpf_probe_read_kernel(bytes + off, date_len, settings->date) || *(volatile u32 *)&settings->date_sequence != sequence)
		return 0;
	off = BOUNDED(off + date_len, 1023);
	bytes[off] = '\r';
	bytes[off + 1] = '\n';
	off = BOUNDED(off + 2, 1023);
	body_len = BOUNDED(reply->body_len, LOCAL_BODY_MAX);
	if (body_len && bpf_probe_read_kernel(bytes + off, body_len, reply->body))
		return 0;
	return off + body_len;
}

/* Gives the message `len` bytes in one piece, to be overwritten. Only push and pull can want for memory, and each comes at a moment when the
 * client's own bytes are still whole or can be made so: what was pushed in front is taken off again, and the end goes last. */
static __always_inline bool message_resize(struct sk_msg_md *msg, u32 size, u32 len)
{
	if (len > size) {
		if (bpf_msg_push_data(msg, 0, len - size, 0))
			return false;
		if (!bpf_msg_pull_data(msg, 0, len, 0))
			return true;
		bpf_msg_pop_data(msg, 0, len - size, 0);
		return false;
	}
	if (bpf_msg_pull_data(msg, 0, len, 0))
		return false;
	return len == size || !bpf_msg_pop_data(msg, len, size - len, 0);
}

/* Returns 0: the client's bytes are untouched, hand them up. Otherwise the message is the response, of so many bytes, on its way to the client
 * itself. */
static __always_inline u32 local_reply_send(struct sk_msg_md *msg, struct scratch *scratch, const struct local_reply *reply, u64 cookie)
{
	u32 len;

	if (!has_push_pop || reply->head_len > LOCAL_HEAD_MAX || reply->body_len > LOCAL_BODY_MAX)
		return 0;
	len = local_compose(scratch, reply);
	if (!len || !message_resize(msg, msg->size, len))
		return 0;
	if (!message_write(msg, scratch, 0, len) || bpf_msg_redirect_hash(msg, &client_sockets, &cookie, BPF_F_INGRESS) != SK_PASS)
		return 0;
	return len;
}

#endif

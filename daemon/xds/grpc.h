/* SPDX-License-Identifier: Apache-2.0 */
/* How a gRPC call ends: the status in headers, trailers or gRPC-Web's last frame. */
#ifndef WEFT_XDS_GRPC_H
#define WEFT_XDS_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

#define XDS_GRPC_OK 0
#define XDS_GRPC_PERMISSION_DENIED 7
#define XDS_GRPC_UNAUTHENTICATED 16
#define XDS_GRPC_MESSAGE_MAX 2048 /* what is kept of grpc-message */

/* What was read of a response's head and trailers. */
struct xds_grpc_head {
	bool is_web;              /* as asked for */
	uint32_t http_major;      /* of the last status line */
	uint32_t http_status;     /* 0: none yet */
	char content_type[128];   /* "" when there is none */
	int grpc_status;          /* -1: none yet; -2: not a number */
	struct strbuf message;    /* grpc-message, decoded */
};

void xds_grpc_head_reset(struct xds_grpc_head *head);
void xds_grpc_head_release(struct xds_grpc_head *head);

/* One field of a head or of trailers; ":status" begins a head of HTTP/2. -ENOMEM. */
int xds_grpc_head_field(struct xds_grpc_head *head, const char *name, size_t name_size, const char *value, size_t value_size);
/* One line of a head or of trailers, with or without its line break; a status line begins a new head. -ENOMEM. */
int xds_grpc_head_line(struct xds_grpc_head *head, const char *line, size_t size);
/* The content of gRPC-Web's last frame. */
int xds_grpc_head_trailers(struct xds_grpc_head *head, const char *block, size_t size);
/* Is it an answer of a gRPC server in the protocol that was asked for? */
bool xds_grpc_head_is_good(const struct xds_grpc_head *head);

/* "UNAVAILABLE"; "status 99" is written to `number` for what has no name. */
const char *xds_grpc_status_name(int status, char number[16]);

/* %XX; what is no such sequence stays as it is, as the specification wants it. */
int xds_percent_decode(const char *text, size_t size, struct strbuf *out);

#endif

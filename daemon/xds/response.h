/* SPDX-License-Identifier: Apache-2.0 */
/* A DiscoveryResponse taken apart where it lies: most of a large push is what is known already, and must cost no copy. */
#ifndef WEFT_XDS_RESPONSE_H
#define WEFT_XDS_RESPONSE_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of somebody else. `at` is never NULL. */
struct xds_bytes {
	const uint8_t *at;
	size_t size;
};

struct xds_response_item {
	struct xds_bytes type_url;
	struct xds_bytes value;  /* of the resource itself, whatever stood around it */
	struct xds_bytes name;   /* its field 1: the name, in all resources of ADS; empty when there is none */
};

struct xds_response {
	char *version, *type_url, *nonce; /* "" where not set */
	struct xds_response_item *items;
	size_t count;
};

/* -EBADMSG with `problem` set to a constant text; -ENOMEM. `bytes` must outlive `out`, which is to be released. */
int xds_response_parse(const void *bytes, size_t size, struct xds_response *out, const char **problem);
/* A resource by itself, without what stands around it in a response. -EBADMSG. */
int xds_response_item_of(const void *bytes, size_t size, struct xds_response_item *out);
void xds_response_release(struct xds_response *response);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Where configuration comes from: SCHEME://HOST[:PORT][/PREFIX].
 *
 *   grpc://istiod.istio-system.svc:15010        gRPC, plaintext HTTP/2
 *   grpcs://istiod.istio-system.svc:15012       gRPC over TLS
 *   grpc-web+http://gateway:8080                gRPC-Web, HTTP/1.1
 *   grpc-web+h2c://gateway:8080                 gRPC-Web, plaintext HTTP/2
 *   grpc-web+https://gateway/istiod             gRPC-Web over TLS, HTTP/2 or 1.1 as both agree; with a path before the service's */
#ifndef WEFT_XDS_ADDRESS_H
#define WEFT_XDS_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XDS_HOST_MAX 253
#define XDS_PREFIX_MAX 255

enum xds_http { XDS_HTTP_2, XDS_HTTP_1, XDS_HTTP_ANY };

struct xds_address {
	bool is_web;  /* gRPC-Web: trailers stand in the body */
	bool is_tls;
	bool is_ipv6; /* `host` is an IPv6 address, without its brackets */
	enum xds_http http;
	uint16_t port;
	char host[XDS_HOST_MAX + 1];
	char prefix[XDS_PREFIX_MAX + 1]; /* "" or "/..." without a slash at its end */
};

/* 0, or -EINVAL with a sentence about what is wrong in `problem`. */
int xds_address_parse(const char *text, struct xds_address *out, char *problem, size_t problem_size);

#endif

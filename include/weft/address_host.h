/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Addresses as user space has them: text, and what sockets take. */
#ifndef WEFT_ADDRESS_HOST_H
#define WEFT_ADDRESS_HOST_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "weft/address.h"

/* `bytes`: 4 or 16 of them, by `family` (AF_INET, AF_INET6). */
static inline struct weft_address weft_address_from(int family, const void *bytes)
{
	struct weft_address out = WEFT_IP4(0);

	if (family == AF_INET)
		memcpy(&out.be[3], bytes, 4);
	else
		memcpy(out.be, bytes, 16);
	return out;
}

/* False: no address. "" is none. */
static inline bool weft_address_parse(const char *text, struct weft_address *out)
{
	u8 bytes[16];
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;

	if (inet_pton(family, text, bytes) != 1)
		return false;
	*out = weft_address_from(family, bytes);
	return true;
}

struct weft_address_text {
	char text[INET6_ADDRSTRLEN + 10]; /* with brackets and a port */
};

static inline struct weft_address_text weft_address_text(const struct weft_address *a)
{
	struct weft_address_text out = {""};

	if (weft_address_is_ip4(a))
		inet_ntop(AF_INET, &a->be[3], out.text, sizeof(out.text));
	else
		inet_ntop(AF_INET6, a->be, out.text, sizeof(out.text));
	return out;
}

/* "10.0.0.1:80", "[fd00::1]:80" */
static inline struct weft_address_text weft_host_text(const struct weft_address *a, u16 port_be)
{
	struct weft_address_text ip = weft_address_text(a), out = {""};

	snprintf(out.text, sizeof(out.text), weft_address_is_ip4(a) ? "%.46s:%u" : "[%.46s]:%u", ip.text, ntohs(port_be));
	return out;
}

union weft_sockaddr {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

/* Fills `out` for a socket of the address's own family, which `out->any.sa_family` then says. */
static inline socklen_t weft_sockaddr_fill(union weft_sockaddr *out, const struct weft_address *a, u16 port_be)
{
	memset(out, 0, sizeof(*out));
	if (weft_address_is_ip4(a)) {
		out->four.sin_family = AF_INET;
		out->four.sin_port = port_be;
		out->four.sin_addr.s_addr = a->be[3];
		return sizeof(out->four);
	}
	out->six.sin6_family = AF_INET6;
	out->six.sin6_port = port_be;
	memcpy(&out->six.sin6_addr, a->be, 16);
	return sizeof(out->six);
}

static inline struct weft_address weft_sockaddr_address(const union weft_sockaddr *from)
{
	return from->any.sa_family == AF_INET6 ? weft_address_from(AF_INET6, &from->six.sin6_addr) : weft_address_from(AF_INET, &from->four.sin_addr);
}

static inline u16 weft_sockaddr_port_be(const union weft_sockaddr *from)
{
	return from->any.sa_family == AF_INET6 ? from->six.sin6_port : from->four.sin_port;
}

static inline int weft_address_af(const struct weft_address *a)
{
	return weft_address_is_ip4(a) ? AF_INET : AF_INET6;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Where a server is: an address of either family and a port. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

struct place {
	union {
		struct sockaddr any;
		struct sockaddr_in four;
		struct sockaddr_in6 six;
	};
	socklen_t len;
};

/* "10.0.0.1:80" or "[fd00::1]:80"; a mapped address is one of IPv6, for sockets of IPv6. */
static inline bool place_parse(const char *text, struct place *out)
{
	char host[64];
	unsigned int port;

	memset(out, 0, sizeof(*out));
	if (*text == '[') {
		out->len = sizeof(out->six);
		out->six.sin6_family = AF_INET6;
		if (sscanf(text, "[%63[^]]]:%u", host, &port) != 2 || inet_pton(AF_INET6, host, &out->six.sin6_addr) != 1)
			return false;
		out->six.sin6_port = htons((uint16_t)port);
		return true;
	}
	out->len = sizeof(out->four);
	out->four.sin_family = AF_INET;
	if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || inet_pton(AF_INET, host, &out->four.sin_addr) != 1)
		return false;
	out->four.sin_port = htons((uint16_t)port);
	return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The TCP connections that a pod has made to others and has open, as the kernel lists them. */
#ifndef WEFT_KUBE_SOCKETS_H
#define WEFT_KUBE_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/address.h"

/* Plain data without padding. */
struct pod_socket {
	uint64_t cookie;    /* never used again */
	uint64_t family;
	uint8_t id[48];     /* what the kernel finds it by: struct inet_diag_sockid */
};
_Static_assert(sizeof(struct pod_socket) == 64, "no padding");

struct pod_sockets {
	struct pod_socket *items; /* by rising cookies */
	size_t count;
};

void sockets_release(struct pod_sockets *sockets);
/* Takes those out of `from` that are in `some`. */
void sockets_without(struct pod_sockets *from, const struct pod_sockets *some);
/* Adds `more`, of which none may be there already. */
int sockets_add(struct pod_sockets *to, const struct pod_sockets *more);

/* Loopback, link-local, multicast and above, "this host": connect() leaves them alone whatever listens there (is_own_address in bpf/connect.h). */
bool address_is_never_meshed(const struct weft_address *address);

/* Open or being opened (SYN sent), by sockets that were made in the cgroup or below it (NULL: anywhere), from the network namespace. Not among them: what
 * goes to the loopback interface, to link-local addresses or to one of `own`, and what was accepted, as far as a listener tells: one at the same port.
 * The kernel looks through the connections of all namespaces for that: a millisecond for each. -ENOENT: it lists none (CONFIG_INET_DIAG). */
int sockets_of_pod(int netns_fd, const char *cgroup, const struct weft_address own[WEFT_FAMILIES], struct pod_sockets *out);

/* Takes out those that have ended: some microseconds for each. */
int sockets_look_again(int netns_fd, struct pod_sockets *sockets);

#endif

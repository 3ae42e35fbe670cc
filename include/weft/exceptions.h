/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What of a pod's outbound connections is left alone although a listener covers it: its operators' exceptions, in the order in which Istio's iptables rules
 * look at them. */
#ifndef WEFT_EXCEPTIONS_H
#define WEFT_EXCEPTIONS_H

#include "weft/address.h"

#define WEFT_EXCEPTIONS_MAX 64u /* of one pod */

struct weft_exception {
	struct weft_address network;
	struct weft_address mask;     /* (address & mask) == network */
	u16 port_be;                  /* 0: any */
	u16 families;                 /* bits 1 << enum weft_family: a range of IPv6 may cover mapped addresses, and doesn't take them */
	u32 is_meshed;                /* whom it takes is meshed; else left alone */
};

/* The first that takes a destination decides. */
struct weft_exceptions { /* hash `exceptions`; key: pod_id (u32). Written by the worker, whole */
	u32 count;
	u32 leaves_rest;              /* whom none takes is left alone */
	struct weft_exception items[WEFT_EXCEPTIONS_MAX];
};

#define WEFT_EXCEPTIONS_PIECE 8u
_Static_assert(WEFT_EXCEPTIONS_MAX % WEFT_EXCEPTIONS_PIECE == 0, "whole pieces");

enum weft_excepted { WEFT_EXCEPTED_BY_NONE, WEFT_EXCEPTED_LEFT_ALONE, WEFT_EXCEPTED_MESHED };

WEFT_INLINE bool weft_exception_takes(const struct weft_exception *item, const struct weft_address *address, u32 port_be)
{
	u32 differs = (address->be[0] & item->mask.be[0]) ^ item->network.be[0];

	differs |= (address->be[1] & item->mask.be[1]) ^ item->network.be[1];
	differs |= (address->be[2] & item->mask.be[2]) ^ item->network.be[2];
	differs |= (address->be[3] & item->mask.be[3]) ^ item->network.be[3];
	if (item->port_be)
		differs |= item->port_be ^ port_be;
	return !differs && item->families >> weft_address_family(address) & 1;
}

/* What item `i` says of the destination. Stages, so that the verifier walks one item and one piece, and not all of them. */
WEFT_STAGE int weft_exception_says(const struct weft_exceptions *exceptions, u32 i, const struct weft_address *address, u32 port_be)
{
	if (!exceptions || !address || i >= WEFT_EXCEPTIONS_MAX || i >= exceptions->count)
		return WEFT_EXCEPTED_BY_NONE;
	if (!weft_exception_takes(&exceptions->items[i], address, port_be))
		return WEFT_EXCEPTED_BY_NONE;
	return exceptions->items[i].is_meshed ? WEFT_EXCEPTED_MESHED : WEFT_EXCEPTED_LEFT_ALONE;
}

WEFT_STAGE int weft_exceptions_piece_says(const struct weft_exceptions *exceptions, u32 from, const struct weft_address *address, u32 port_be)
{
	u32 i;

	for (i = 0; i < WEFT_EXCEPTIONS_PIECE; i++) {
		int says = weft_exception_says(exceptions, from + i, address, port_be);

		if (says)
			return says;
	}
	return WEFT_EXCEPTED_BY_NONE;
}

/* Is a connection to there left alone? */
WEFT_STAGE int weft_is_excepted(const struct weft_exceptions *exceptions, const struct weft_address *address, u32 port_be)
{
	u32 from;

	if (!exceptions || !address)
		return 0;
	for (from = 0; from < WEFT_EXCEPTIONS_MAX; from += WEFT_EXCEPTIONS_PIECE) {
		int says;

		if (from >= exceptions->count)
			break;
		says = weft_exceptions_piece_says(exceptions, from, address, port_be);
		if (says)
			return says == WEFT_EXCEPTED_LEFT_ALONE;
	}
	return exceptions->leaves_rest != 0;
}

#endif

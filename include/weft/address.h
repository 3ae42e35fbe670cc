/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* IP addresses as kernel and daemon hold them, in network order: 16 bytes, IPv4 ones in their mapped form (::ffff:a.b.c.d). So an address is one thing,
 * whichever kind of socket the application asks for it with. */
#ifndef WEFT_ADDRESS_H
#define WEFT_ADDRESS_H

#include "weft/base.h"

struct weft_address { /* all 0: none, or any IPv6 address */
	u32 be[4];
};

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define WEFT_MAPPED_BE 0xffff0000u
#else
#define WEFT_MAPPED_BE 0x0000ffffu
#endif
#define WEFT_IP4(ip4_be) ((struct weft_address){{0, 0, WEFT_MAPPED_BE, (ip4_be)}})

/* Index of what there is one of for each family. */
enum weft_family { WEFT_FAMILY_4 = 0, WEFT_FAMILY_6 = 1, WEFT_FAMILIES = 2 };

/* Comparisons have one branch each: the verifier follows every one there is. */
WEFT_INLINE bool weft_address_is_ip4(const struct weft_address *a)
{
	return !(a->be[0] | a->be[1] | (a->be[2] ^ WEFT_MAPPED_BE));
}

WEFT_INLINE enum weft_family weft_address_family(const struct weft_address *a)
{
	return weft_address_is_ip4(a) ? WEFT_FAMILY_4 : WEFT_FAMILY_6;
}

WEFT_INLINE bool weft_address_equals(const struct weft_address *a, const struct weft_address *b)
{
	return !((a->be[0] ^ b->be[0]) | (a->be[1] ^ b->be[1]) | (a->be[2] ^ b->be[2]) | (a->be[3] ^ b->be[3]));
}

/* False for :: too, which no host has. */
WEFT_INLINE bool weft_address_is_set(const struct weft_address *a)
{
	return a->be[0] | a->be[1] | a->be[2] | a->be[3];
}

/* 0.0.0.0 or ::, as listeners are bound to. */
WEFT_INLINE bool weft_address_is_any(const struct weft_address *a)
{
	return !(a->be[0] | a->be[1] | a->be[3]) && (!a->be[2] || a->be[2] == WEFT_MAPPED_BE);
}

WEFT_INLINE struct weft_address weft_address_any(enum weft_family family)
{
	struct weft_address any = {};

	if (family == WEFT_FAMILY_4)
		any.be[2] = WEFT_MAPPED_BE;
	return any;
}

#endif

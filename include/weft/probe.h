/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the probe program and the daemon agree on. */
#ifndef WEFT_PROBE_H
#define WEFT_PROBE_H

#define WEFT_PROBE_TARGET 0 /* place of the socket that bytes are redirected to */
#define WEFT_PROBE_SENT "0123456789"
#define WEFT_PROBE_PUSHED "weft"
#define WEFT_PROBE_POPPED 3
#define WEFT_PROBE_RECEIVED "weft0123456"

#endif

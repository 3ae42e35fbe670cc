// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The datapath's programs, one translation unit: they share maps and the engine's stages, which are global functions. */
#include "kernel.h"

#include "stubs.h"

#include "command.h"
#include "connect.h"
#include "reply.h"
#include "request.h"
#include "response.h"
#include "sockops.h"

/* What the kernel asks: these programs may be used under GPL-2.0. It knows no word for "or Apache-2.0". */
char LICENSE[] SEC("license") = "GPL";

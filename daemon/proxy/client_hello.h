/* SPDX-License-Identifier: Apache-2.0 */
/* The first message of TLS, as far as it says which server the client means. Nothing of it is changed or kept. */
#ifndef WEFT_PROXY_CLIENT_HELLO_H
#define WEFT_PROXY_CLIENT_HELLO_H

#include "weft/base.h"

#define SERVER_NAME_MAX 255u
#define CLIENT_HELLO_MAX (16u << 10) /* Envoy: max_client_hello_size */

enum client_hello {
	CLIENT_HELLO_NONE,  /* these bytes are no TLS */
	CLIENT_HELLO_MORE,
	CLIENT_HELLO_DONE,  /* `name`, in lower case; "" without one */
	CLIENT_HELLO_LARGE, /* more bytes than Envoy reads of one */
};

enum client_hello client_hello_read(const u8 *bytes, u32 len, char name[SERVER_NAME_MAX + 1]);

#endif

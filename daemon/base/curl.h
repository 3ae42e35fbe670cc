/* SPDX-License-Identifier: Apache-2.0 */
/* What every connection that libcurl makes for weftd has in common. */
#ifndef WEFT_BASE_CURL_H
#define WEFT_BASE_CURL_H

#include <curl/curl.h>

/* When a peer that is gone without a word is given up: idle, TCP asks it so often; busy, what is not acknowledged in the same time ends the connection. */
struct curl_keepalive {
	int idle_s;
	int between_s;
	int probes;
};

/* To the server that the URL names and no other, by HTTP or HTTPS; no proxy, redirect, password or signal that nobody asked for. A new process inherits
 * no socket. `error_text` (CURL_ERROR_SIZE) and `keepalive` are used as long as the handle is. */
void curl_set_common(CURL *easy, char *error_text, const struct curl_keepalive *keepalive);

#endif

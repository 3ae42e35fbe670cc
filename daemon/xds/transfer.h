/* SPDX-License-Identifier: Apache-2.0 */
/* One transfer of libcurl in the event loop: its sockets and its timer are events, no thread is made for it but libcurl's own for names.
 * libcurl's callbacks run deep inside it, where next to nothing of it may be called; so they only note what happened, and `settled` acts on it. */
#ifndef WEFT_XDS_TRANSFER_H
#define WEFT_XDS_TRANSFER_H

#include <curl/curl.h>
#include <stdbool.h>

struct event_base;
struct xds_transfer;

/* Called from the loop after anything happened, as the last thing: it may free the transfer. `is_done`: with `result`, once. */
typedef void (*xds_transfer_fn)(void *context, bool is_done, CURLcode result);

int xds_transfer_new(struct xds_transfer **out, struct event_base *base, xds_transfer_fn settled, void *context);
/* To be set up before the start; the transfer's. */
CURL *xds_transfer_easy(struct xds_transfer *transfer);
/* 0 or -EIO. What it does happens in the loop. */
int xds_transfer_start(struct xds_transfer *transfer);
/* Does libcurl wait for a socket? Once it has connected, it does until the transfer is done; not so when the answer has come to its end while the
 * upload is paused: libcurl then waits for nothing (7.88.1: KEEP_SEND_PAUSE keeps Curl_readwrite() from being done). */
bool xds_transfer_has_sockets(const struct xds_transfer *transfer);
/* Lets a paused upload go on, from the loop. */
void xds_transfer_resume(struct xds_transfer *transfer);
/* Ends it, with its connection; not from within libcurl. */
void xds_transfer_free(struct xds_transfer **transfer);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What proves who the server is and who weft is: files that others rotate, so they are read for each call. */
#ifndef WEFT_XDS_CREDENTIALS_H
#define WEFT_XDS_CREDENTIALS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

#define XDS_PROBLEM_MAX 512

/* Where they are; NULL is "none". */
struct xds_credentials {
	char *root_cert_file;
	char *server_name;
	char *token_file;
	char *cluster_id;
	char *cert_file, *key_file; /* both or none */
	char *chain_pem, *key_pem;  /* instead of those files */
};

void xds_credentials_release(struct xds_credentials *credentials);

/* What was in them. */
struct xds_secrets {
	struct strbuf root, token, chain, key; /* empty: none */
	int64_t token_expires_s;               /* what the token says of itself; 0: nothing */
};

#define XDS_SECRETS_INIT { .root = STRBUF_INIT, .token = STRBUF_INIT, .chain = STRBUF_INIT, .key = STRBUF_INIT }

/* 0, or -errno with a sentence that names the file: it can't be read, holds no certificate, the client's certificate is out of date. */
int xds_secrets_load(const struct xds_credentials *credentials, struct xds_secrets *out, char *problem, size_t problem_size);
void xds_secrets_release(struct xds_secrets *secrets); /* wipes them */

/* When a certificate in PEM (its first one) is valid, in seconds since 1970. -EINVAL: there is none. */
int xds_certificate_times(const char *pem, size_t size, int64_t *from_s, int64_t *until_s);

/* What the handshake showed, for people. */
struct xds_handshake {
	char problem[XDS_PROBLEM_MAX]; /* why a certificate was not taken, with its name; "" */
	char names[256];               /* whom the server's certificate is for */
	char alpn[16];                 /* the protocol that both agreed to; "" */
};

/* Makes `ctx` note in `handshake` what its verification finds. It decides as before. */
void xds_handshake_watch(struct xds_handshake *handshake, SSL_CTX *ctx);

/* 2026-11-22T10:00:00Z */
void xds_time_text(int64_t seconds, char out[32]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A workload's certificate, signed by istiod on the word of weft's own token, as ztunnel has it done: istiod gives a stream on its secure port the
 * configuration of a namespace only to an identity of that namespace. Renewed at half its life. */
#ifndef WEFT_XDS_IDENTITY_H
#define WEFT_XDS_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct xds_identity;

/* Strings are copied; those of the connection are as in struct xds_stream_options. */
struct xds_identity_options {
	const char *address;
	const char *spiffe;         /* spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT */
	const char *root_cert_file, *server_name, *token_file, *cluster_id, *cert_file, *key_file;
	uint32_t validity_s;        /* 0: a day */
	uint32_t retry_min_ms, retry_max_ms; /* 0: 1 s, 60 s */
};

struct xds_identity_events {
	/* A certificate is there, the first one or a new one: PEM, valid during the call. It may not free the identity. */
	void (*ready)(void *context, const char *chain_pem, const char *key_pem);
};

struct xds_identity_stats {
	uint64_t issued, failures;
	int64_t until_s;            /* of the certificate; 0: there is none yet */
	const char *last_error;     /* "" once a certificate came */
};

/* Asks at once. -EINVAL, -ENOTSUP with a line in the log, -ENOMEM. */
int xds_identity_new(struct xds_identity **out, struct event_base *base, const struct xds_identity_options *options,
		     const struct xds_identity_events *events, void *context);
void xds_identity_get_stats(const struct xds_identity *identity, struct xds_identity_stats *out);
void xds_identity_free(struct xds_identity **identity);

#endif

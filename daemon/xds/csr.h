/* SPDX-License-Identifier: Apache-2.0 */
/* A key, what istiod is asked to sign for it, and what it answers (istio.v1.auth.IstioCertificateService). */
#ifndef WEFT_XDS_CSR_H
#define WEFT_XDS_CSR_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

#define XDS_CSR_PATH "/istio.v1.auth.IstioCertificateService/CreateCertificate"

/* A new key (P-256) and the serialized request for a certificate of `spiffe` (spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT), which is impersonated.
 * 0, -ENOMEM, -EINVAL when OpenSSL does not take the name. */
int xds_csr_make(const char *spiffe, int64_t validity_s, EVP_PKEY **key, struct strbuf *request);

/* The chain (PEM; roots are left out, the server has them) and the key (PEM) that go with a serialized response, and until when they are good.
 * -EBADMSG with a sentence: it is no response, the certificate is not for that key and name, or not valid now. */
int xds_csr_read(const void *response, size_t size, EVP_PKEY *key, const char *spiffe, struct strbuf *chain_pem, struct strbuf *key_pem,
		 int64_t *until_s, char *problem, size_t problem_size);

#endif

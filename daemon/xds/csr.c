/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/csr.h"

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "istio/v1/auth/ca.pb-c.h"
#include "xds/credentials.h"

static void cleanup_bio(BIO **bio)
{
	BIO_free(*bio);
}

static void cleanup_x509(X509 **cert)
{
	X509_free(*cert);
}

static void cleanup_req(X509_REQ **req)
{
	X509_REQ_free(*req);
}

static void cleanup_pkey(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}

/* What is in a memory BIO, as text. */
static int take_text(BIO *bio, struct strbuf *out)
{
	char *data = NULL;
	long size = BIO_get_mem_data(bio, &data);

	return size > 0 ? strbuf_append(out, data, (size_t)size) : -ENOMEM;
}

/* The name stands in the only extension, which is critical because there is no subject (RFC 5280 4.2.1.6). */
static int add_name(X509_REQ *req, const char *spiffe)
{
	_cleanup_(strbuf_release) struct strbuf value = STRBUF_INIT;
	STACK_OF(X509_EXTENSION) *list = NULL;
	X509_EXTENSION *extension;
	int r = -ENOMEM;

	if (strbuf_printf(&value, "critical,URI:%s", spiffe))
		return -ENOMEM;
	extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, strbuf_text(&value));
	if (!extension)
		return -EINVAL;
	list = sk_X509_EXTENSION_new_null();
	if (list && sk_X509_EXTENSION_push(list, extension)) {
		extension = NULL;
		r = X509_REQ_add_extensions(req, list) == 1 ? 0 : -ENOMEM;
	}
	X509_EXTENSION_free(extension);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	return r;
}

static int make_csr(const char *spiffe, EVP_PKEY *key, struct strbuf *pem)
{
	_cleanup_(cleanup_req) X509_REQ *req = X509_REQ_new();
	_cleanup_(cleanup_bio) BIO *bio = BIO_new(BIO_s_mem());
	int r;

	if (!req || !bio || X509_REQ_set_version(req, 0) != 1 || X509_REQ_set_pubkey(req, key) != 1)
		return -ENOMEM;
	r = add_name(req, spiffe);
	if (r)
		return r;
	if (X509_REQ_sign(req, key, EVP_sha256()) <= 0 || PEM_write_bio_X509_REQ(bio, req) != 1)
		return -ENOMEM;
	return take_text(bio, pem);
}

int xds_csr_make(const char *spiffe, int64_t validity_s, EVP_PKEY **key, struct strbuf *request)
{
	_cleanup_(strbuf_release) struct strbuf pem = STRBUF_INIT;
	_cleanup_(cleanup_pkey) EVP_PKEY *made = EVP_EC_gen("P-256");
	Google__Protobuf__Value value = GOOGLE__PROTOBUF__VALUE__INIT;
	Google__Protobuf__Struct__FieldsEntry field = GOOGLE__PROTOBUF__STRUCT__FIELDS_ENTRY__INIT, *fields[] = { &field };
	Google__Protobuf__Struct metadata = GOOGLE__PROTOBUF__STRUCT__INIT;
	Istio__V1__Auth__IstioCertificateRequest message = ISTIO__V1__AUTH__ISTIO_CERTIFICATE_REQUEST__INIT;
	int r;

	r = made ? make_csr(spiffe, made, &pem) : -ENOMEM;
	ERR_clear_error();
	if (r)
		return r;
	value.kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
	value.string_value = (char *)spiffe;
	field.key = "ImpersonatedIdentity";
	field.value = &value;
	metadata.n_fields = 1;
	metadata.fields = fields;
	message.csr = pem.data;
	message.validity_duration = validity_s;
	message.metadata = &metadata;
	r = strbuf_reserve(request, istio__v1__auth__istio_certificate_request__get_packed_size(&message));
	if (r)
		return r;
	request->size += istio__v1__auth__istio_certificate_request__pack(&message, (uint8_t *)request->data + request->size);
	request->data[request->size] = '\0';
	*key = TAKE_PTR(made);
	return 0;
}

/* ---- the answer ------------------------------------------------------------------------------------------------------------------ */

static X509 *parse(const char *pem)
{
	_cleanup_(cleanup_bio) BIO *bio = BIO_new_mem_buf(pem, -1);

	return bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
}

static bool is_for(X509 *cert, const char *spiffe)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	bool is_found = false;

	for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		is_found |= name->type == GEN_URI && (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier) == strlen(spiffe) &&
			    memcmp(ASN1_STRING_get0_data(name->d.uniformResourceIdentifier), spiffe, strlen(spiffe)) == 0;
	}
	GENERAL_NAMES_free(names);
	return is_found;
}

static int check_leaf(const char *pem, EVP_PKEY *key, const char *spiffe, int64_t *until_s, char *problem, size_t size)
{
	_cleanup_(cleanup_x509) X509 *leaf = parse(pem);
	int64_t from_s, now_s = (int64_t)time(NULL);
	char when[32];

	if (!leaf || xds_certificate_times(pem, strlen(pem), &from_s, until_s)) {
		snprintf(problem, size, "what was signed is no certificate");
	} else if (X509_check_private_key(leaf, key) != 1) {
		snprintf(problem, size, "the certificate is for another key");
	} else if (!is_for(leaf, spiffe)) {
		snprintf(problem, size, "the certificate is not for %s", spiffe);
	} else if (now_s < from_s || now_s >= *until_s) {
		xds_time_text(now_s < from_s ? from_s : *until_s, when);
		snprintf(problem, size, "the certificate %s %s: do the clocks agree?", now_s < from_s ? "is valid only from" : "expired on", when);
	} else {
		return 0;
	}
	return -EBADMSG;
}

static bool is_root(const char *pem)
{
	_cleanup_(cleanup_x509) X509 *cert = parse(pem);

	return cert && X509_self_signed(cert, 0) == 1;
}

static int write_key(EVP_PKEY *key, struct strbuf *pem)
{
	_cleanup_(cleanup_bio) BIO *bio = BIO_new(BIO_s_secmem());

	if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return -ENOMEM;
	return take_text(bio, pem);
}

static int read_message(const Istio__V1__Auth__IstioCertificateResponse *message, EVP_PKEY *key, const char *spiffe, struct strbuf *chain_pem,
			struct strbuf *key_pem, int64_t *until_s, char *problem, size_t size)
{
	int r;

	if (!message || !message->n_cert_chain) {
		snprintf(problem, size, "the answer holds no certificate");
		return -EBADMSG;
	}
	r = check_leaf(message->cert_chain[0], key, spiffe, until_s, problem, size);
	for (size_t i = 0; i < message->n_cert_chain && r == 0; i++) {
		if (i == 0 || !is_root(message->cert_chain[i]))
			r = strbuf_printf(chain_pem, "%s\n", message->cert_chain[i]);
	}
	return r ? r : write_key(key, key_pem);
}

int xds_csr_read(const void *response, size_t size, EVP_PKEY *key, const char *spiffe, struct strbuf *chain_pem, struct strbuf *key_pem,
		 int64_t *until_s, char *problem, size_t problem_size)
{
	Istio__V1__Auth__IstioCertificateResponse *message = istio__v1__auth__istio_certificate_response__unpack(NULL, size, response);
	int r;

	snprintf(problem, problem_size, "no memory for a certificate");
	r = read_message(message, key, spiffe, chain_pem, key_pem, until_s, problem, problem_size);
	istio__v1__auth__istio_certificate_response__free_unpacked(message, NULL);
	ERR_clear_error();
	return r;
}

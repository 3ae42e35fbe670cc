/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/credentials.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define FILE_MAX (1u << 20)
#define TOKEN_MAX (64u << 10)

static void cleanup_bio(BIO **bio)
{
	BIO_free(*bio);
}

static void cleanup_x509(X509 **cert)
{
	X509_free(*cert);
}

void xds_credentials_release(struct xds_credentials *credentials)
{
	free(credentials->root_cert_file);
	free(credentials->server_name);
	free(credentials->token_file);
	free(credentials->cluster_id);
	free(credentials->cert_file);
	free(credentials->key_file);
	free(credentials->chain_pem);
	if (credentials->key_pem)
		OPENSSL_cleanse(credentials->key_pem, strlen(credentials->key_pem));
	free(credentials->key_pem);
	*credentials = (struct xds_credentials){ 0 };
}

static void wipe(struct strbuf *buf)
{
	if (buf->data)
		OPENSSL_cleanse(buf->data, buf->capacity);
	strbuf_release(buf);
}

void xds_secrets_release(struct xds_secrets *secrets)
{
	strbuf_release(&secrets->root);
	wipe(&secrets->token);
	strbuf_release(&secrets->chain);
	wipe(&secrets->key);
}

void xds_time_text(int64_t seconds, char out[32])
{
	time_t at = (time_t)seconds;
	struct tm utc;

	if (!gmtime_r(&at, &utc) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc))
		strcpy(out, "some day");
}

static int64_t seconds_of(const ASN1_TIME *when)
{
	struct tm utc = { 0 };

	return ASN1_TIME_to_tm(when, &utc) == 1 ? (int64_t)timegm(&utc) : 0;
}

int xds_certificate_times(const char *pem, size_t size, int64_t *from_s, int64_t *until_s)
{
	_cleanup_(cleanup_bio) BIO *bio = BIO_new_mem_buf(pem, (int)size);
	_cleanup_(cleanup_x509) X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	ERR_clear_error();
	if (!cert)
		return -EINVAL;
	*from_s = seconds_of(X509_get0_notBefore(cert));
	*until_s = seconds_of(X509_get0_notAfter(cert));
	return 0;
}

/* ---- files ----------------------------------------------------------------------------------------------------------------------- */

static int complain(int r, char *problem, size_t size, const char *what, const char *path)
{
	snprintf(problem, size, "%s %s: %s", what, path, strerror(-r));
	return r;
}

static int read_certificates(const char *path, const char *what, struct strbuf *out, char *problem, size_t size)
{
	int64_t from_s, until_s;
	int r = file_read(path, FILE_MAX, out);

	if (r)
		return complain(r, problem, size, what, path);
	r = xds_certificate_times(strbuf_text(out), out->size, &from_s, &until_s);
	if (r)
		snprintf(problem, size, "%s %s holds no certificate in PEM", what, path);
	return r;
}

/* A token that is a JWT says when it ends: header.PAYLOAD.signature, in base64url. The server decides; this is for the error's text. */
static int64_t token_expiry(const char *token)
{
	_cleanup_free_ char *payload = NULL;
	const char *dot = strchr(token, '.'), *end = dot ? strchr(dot + 1, '.') : NULL;
	json_t *claims;
	int64_t expires_s;
	size_t size, padded;

	if (!end)
		return 0;
	size = (size_t)(end - dot - 1);
	padded = (size + 3) / 4 * 4;
	payload = malloc(padded * 2 + 1);
	if (!payload || !size)
		return 0;
	for (size_t i = 0; i < padded; i++)
		payload[i] = i >= size ? '=' : dot[1 + i] == '-' ? '+' : dot[1 + i] == '_' ? '/' : dot[1 + i];
	if (EVP_DecodeBlock((unsigned char *)payload + padded, (unsigned char *)payload, (int)padded) < 0) {
		ERR_clear_error();
		return 0;
	}
	claims = json_loadb(payload + padded, size * 3 / 4, 0, NULL);
	expires_s = json_integer_value(json_object_get(claims, "exp"));
	json_decref(claims);
	OPENSSL_cleanse(payload, padded * 2);
	return expires_s;
}

static int read_token(const char *path, struct xds_secrets *out, char *problem, size_t size)
{
	struct strbuf *token = &out->token;
	int r = file_read(path, TOKEN_MAX, token);

	if (r)
		return complain(r, problem, size, "token", path);
	while (token->size && strchr(" \t\r\n", token->data[token->size - 1]))
		strbuf_truncate(token, token->size - 1);
	if (!token->size) {
		snprintf(problem, size, "token %s is empty", path);
		return -EINVAL;
	}
	for (size_t i = 0; i < token->size; i++) {
		if (token->data[i] <= ' ' || token->data[i] > '~') {
			snprintf(problem, size, "token %s holds byte 0x%02x, which no token has", path, (uint8_t)token->data[i]);
			return -EINVAL;
		}
	}
	out->token_expires_s = token_expiry(strbuf_text(token));
	return 0;
}

/* An out of date certificate would only be answered by an alert that nobody understands. */
static int check_client(const struct xds_credentials *credentials, const struct xds_secrets *secrets, char *problem, size_t size)
{
	const char *path = credentials->chain_pem ? "of the workload" : credentials->cert_file;
	int64_t from_s, until_s, now_s = (int64_t)time(NULL);
	char text[32];

	if (xds_certificate_times(secrets->chain.data, secrets->chain.size, &from_s, &until_s)) {
		snprintf(problem, size, "client certificate %s holds no certificate in PEM", path);
		return -EINVAL;
	}
	if (now_s >= from_s && now_s < until_s)
		return 0;
	xds_time_text(now_s < from_s ? from_s : until_s, text);
	snprintf(problem, size, "client certificate %s %s %s", path, now_s < from_s ? "is valid only from" : "expired on", text);
	return -EKEYEXPIRED;
}

static int read_client(const struct xds_credentials *credentials, struct xds_secrets *out, char *problem, size_t size)
{
	int r;

	if (credentials->chain_pem && credentials->key_pem) {
		strbuf_append_text(&out->chain, credentials->chain_pem);
		strbuf_append_text(&out->key, credentials->key_pem);
		r = strbuf_status(&out->chain) ? -ENOMEM : strbuf_status(&out->key);
		if (r)
			snprintf(problem, size, "no memory for a certificate");
	} else {
		r = read_certificates(credentials->cert_file, "client certificate", &out->chain, problem, size);
		if (r)
			return r;
		r = file_read(credentials->key_file, FILE_MAX, &out->key);
		if (r)
			return complain(r, problem, size, "client key", credentials->key_file);
	}
	return r ? r : check_client(credentials, out, problem, size);
}

int xds_secrets_load(const struct xds_credentials *credentials, struct xds_secrets *out, char *problem, size_t problem_size)
{
	int r = 0;

	if (credentials->root_cert_file)
		r = read_certificates(credentials->root_cert_file, "root certificate", &out->root, problem, problem_size);
	if (r == 0 && (credentials->chain_pem || credentials->cert_file))
		return read_client(credentials, out, problem, problem_size);
	if (r == 0 && credentials->token_file)
		r = read_token(credentials->token_file, out, problem, problem_size);
	return r;
}

/* ---- the handshake --------------------------------------------------------------------------------------------------------------- */

static void append_names(X509 *cert, char *out, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t used = 0;

	out[0] = '\0';
	for (int i = 0; names && i < sk_GENERAL_NAME_num(names) && used < size; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		/* both are IA5 strings */
		if (name->type == GEN_DNS || name->type == GEN_URI)
			used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? ", " : "", ASN1_STRING_length(name->d.ia5),
						 (const char *)ASN1_STRING_get0_data(name->d.ia5));
	}
	GENERAL_NAMES_free(names);
}

static void describe(X509 *cert, int depth, char *out, size_t size)
{
	char names[256], subject[256] = "";

	append_names(cert, names, sizeof(names));
	X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof(subject));
	snprintf(out, size, "%s certificate \"%s\"", depth == 0 ? "the server's" : "its issuer's", names[0] ? names : subject);
}

static void note_failure(struct xds_handshake *handshake, X509_STORE_CTX *store, X509 *cert)
{
	int error = X509_STORE_CTX_get_error(store);
	char who[400], when[32];

	describe(cert, X509_STORE_CTX_get_error_depth(store), who, sizeof(who));
	if (error == X509_V_ERR_CERT_HAS_EXPIRED) {
		xds_time_text(seconds_of(X509_get0_notAfter(cert)), when);
		snprintf(handshake->problem, sizeof(handshake->problem), "%s expired on %s", who, when);
	} else if (error == X509_V_ERR_CERT_NOT_YET_VALID) {
		xds_time_text(seconds_of(X509_get0_notBefore(cert)), when);
		snprintf(handshake->problem, sizeof(handshake->problem), "%s is valid only from %s", who, when);
	} else {
		snprintf(handshake->problem, sizeof(handshake->problem), "%s: %s", who, X509_verify_cert_error_string(error));
	}
}

static int on_verify(int is_good, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct xds_handshake *handshake = ssl ? SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)) : NULL;
	X509 *cert = X509_STORE_CTX_get_current_cert(store);

	if (!handshake || !cert)
		return is_good;
	if (!is_good && !handshake->problem[0])
		note_failure(handshake, store, cert);
	if (X509_STORE_CTX_get_error_depth(store) == 0)
		append_names(cert, handshake->names, sizeof(handshake->names));
	return is_good;
}

/* libcurl tells of the protocol only while it transfers something. */
static void on_info(const SSL *ssl, int where, int value)
{
	struct xds_handshake *handshake = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const unsigned char *name = NULL;
	unsigned int size = 0;

	(void)value;
	if (!(where & SSL_CB_HANDSHAKE_DONE) || !handshake)
		return;
	SSL_get0_alpn_selected(ssl, &name, &size);
	snprintf(handshake->alpn, sizeof(handshake->alpn), "%.*s", size < 15 ? (int)size : 15, size ? (const char *)name : "");
}

void xds_handshake_watch(struct xds_handshake *handshake, SSL_CTX *ctx)
{
	SSL_CTX_set_app_data(ctx, handshake);
	SSL_CTX_set_info_callback(ctx, on_info);
	SSL_CTX_set_verify(ctx, SSL_CTX_get_verify_mode(ctx), on_verify);
}

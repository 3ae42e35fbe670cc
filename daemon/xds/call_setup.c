/* SPDX-License-Identifier: Apache-2.0 */
/* What libcurl is told of a call before it starts. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "xds/call_internal.h"

#define BUFFER_BYTES (256L << 10)
#define KEEPALIVE_S 20
#define KEEPALIVE_PROBES 3

int xds_call_check(const struct xds_address *address, char *problem, size_t problem_size)
{
	const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
	const char *tls = info->ssl_version ? info->ssl_version : "";

	if (info->version_num < 0x075500) {
		snprintf(problem, problem_size, "libcurl %s is too old, 7.85.0 or newer is needed", info->version);
		return -ENOTSUP;
	}
	/* Certificates come from memory, and errors name them. */
	if (address->is_tls && (!(info->features & CURL_VERSION_SSL) || strncmp(tls, "OpenSSL/", 8) != 0)) {
		snprintf(problem, problem_size, "libcurl %s was built with %s, and TLS needs one with OpenSSL", info->version, *tls ? tls : "no TLS");
		return -ENOTSUP;
	}
	return 0;
}

static int add_field(struct xds_call *call, const char *name, const char *value)
{
	_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;
	struct curl_slist *list;

	call->fields[call->field_count++] = (struct xds_h2_field){ name, value };
	/* libcurl makes :method and the like itself */
	if (name[0] == ':')
		return 0;
	strbuf_printf(&line, "%s: %s", name, value);
	list = strbuf_status(&line) ? NULL : curl_slist_append(call->headers, strbuf_text(&line));
	if (line.data)
		OPENSSL_cleanse(line.data, line.capacity);
	if (!list)
		return -ENOMEM;
	call->headers = list;
	return 0;
}

/* Nothing is compressed: grpc-encoding is not sent, and istiod would refuse it. */
static int set_fields(struct xds_call *call)
{
	const struct xds_address *address = call->options->address;
	const struct xds_credentials *credentials = call->options->credentials;
	const struct {
		const char *name, *value;
	} fields[] = {
		{ ":method", "POST" },
		{ ":scheme", address->is_tls ? "https" : "http" },
		{ ":authority", call->authority },
		{ ":path", call->path },
		{ "content-type", address->is_web ? "application/grpc-web+proto" : "application/grpc" },
		{ "user-agent", "weft/" WEFT_VERSION },
		{ address->is_web ? "accept" : "te", address->is_web ? "application/grpc-web+proto" : "trailers" },
		{ address->is_web ? "x-grpc-web" : NULL, "1" },
		{ call->bearer.size ? "authorization" : NULL, strbuf_text(&call->bearer) },
		{ credentials->cluster_id ? "clusterid" : NULL, credentials->cluster_id },
	};
	static const char *const http1[] = { "Transfer-Encoding: chunked", "Expect:" };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(fields) && r == 0; i++) {
		if (fields[i].name)
			r = add_field(call, fields[i].name, fields[i].value);
	}
	for (size_t i = 0; i < ARRAY_SIZE(http1) && r == 0; i++) {
		struct curl_slist *list = curl_slist_append(call->headers, http1[i]);

		if (!list)
			return -ENOMEM;
		call->headers = list;
	}
	return r;
}

/* Over TLS the URL names whom the certificate must be for, and the connection goes where the address says. */
int call_set_up(struct xds_call *call, char *problem, size_t problem_size)
{
	const struct xds_address *address = call->options->address;
	const char *name = address->is_tls ? call->options->credentials->server_name : NULL;
	const char *open = address->is_ipv6 ? "[" : "", *close = address->is_ipv6 ? "]" : "";
	char to[XDS_HOST_MAX + 32];
	int r = 0;

	snprintf(call->authority, sizeof(call->authority), "%s%s%s:%u", name ? "" : open, name ? name : address->host, name ? "" : close, address->port);
	snprintf(call->path, sizeof(call->path), "%s%s", address->prefix, call->options->path);
	snprintf(call->url, sizeof(call->url), "http%s://%s%s", address->is_tls ? "s" : "", call->authority, call->path);
	if (name) {
		snprintf(to, sizeof(to), "::%s%s%s:%u", open, address->host, close, address->port);
		call->connect_to = curl_slist_append(NULL, to);
	}
	if (call->secrets.token.size && address->is_tls)
		strbuf_printf(&call->bearer, "Bearer %s", strbuf_text(&call->secrets.token));
	if ((name && !call->connect_to) || strbuf_status(&call->bearer))
		r = -ENOMEM;
	if (r == 0)
		r = set_fields(call);
	if (r)
		snprintf(problem, problem_size, "no memory for a call");
	return r;
}

static void set_blob(CURL *easy, CURLoption option, const struct strbuf *pem)
{
	struct curl_blob blob = { .data = pem->data, .len = pem->size, .flags = CURL_BLOB_NOCOPY };

	if (pem->size)
		curl_easy_setopt(easy, option, &blob);
}

static void set_tls(struct xds_call *call, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	set_blob(easy, CURLOPT_CAINFO_BLOB, &call->secrets.root);
	if (call->secrets.root.size)
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (call->secrets.chain.size) {
		curl_easy_setopt(easy, CURLOPT_SSLCERTTYPE, "PEM");
		curl_easy_setopt(easy, CURLOPT_SSLKEYTYPE, "PEM");
		set_blob(easy, CURLOPT_SSLCERT_BLOB, &call->secrets.chain);
		set_blob(easy, CURLOPT_SSLKEY_BLOB, &call->secrets.key);
	}
}

int call_set_up_transfer(struct xds_call *call)
{
	CURL *easy = xds_transfer_easy(call->transfer);

	if (curl_easy_setopt(easy, CURLOPT_URL, call->url) != CURLE_OK)
		return -ENOMEM;
	if (call->connect_to)
		curl_easy_setopt(easy, CURLOPT_CONNECT_TO, call->connect_to);
	/* nghttp2 speaks HTTP/2, so libcurl must not know that ALPN agreed to it: on_ssl_ctx() offers it. */
	curl_easy_setopt(easy, CURLOPT_SSL_ENABLE_ALPN, 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	call->keepalive.idle_s = call->options->keepalive_s ? (int)call->options->keepalive_s : KEEPALIVE_S;
	call->keepalive.between_s = call->keepalive.idle_s < 2 ? 1 : call->keepalive.idle_s / 2;
	call->keepalive.probes = KEEPALIVE_PROBES;
	curl_set_common(easy, call->curl_text, &call->keepalive);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	if (call->options->address->is_tls)
		set_tls(call, easy);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/access.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define SECRET_BYTES_MAX (1u << 20)

void kube_secret_wipe(struct strbuf *text)
{
	if (text->data)
		OPENSSL_cleanse(text->data, text->capacity);
	strbuf_release(text);
}

static void secret_release(struct kube_secret *secret)
{
	free(secret->file);
	secret->file = NULL;
	kube_secret_wipe(&secret->text);
}

void kube_access_release(struct kube_access *access)
{
	free(access->server);
	free(access->server_name);
	secret_release(&access->ca);
	secret_release(&access->token);
	secret_release(&access->cert);
	secret_release(&access->key);
	*access = (struct kube_access){ 0 };
}

static bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

int kube_secret_read(const struct kube_secret *secret, struct strbuf *out)
{
	_cleanup_(kube_secret_wipe) struct strbuf text = STRBUF_INIT;
	size_t from = 0, until;
	int r;

	r = secret->file ? file_read(secret->file, SECRET_BYTES_MAX, &text) : strbuf_append(&text, strbuf_text(&secret->text), secret->text.size);
	if (r)
		return r;
	until = text.size;
	while (until && is_space(text.data[until - 1]))
		until--;
	while (from < until && is_space(text.data[from]))
		from++;
	return strbuf_append(out, strbuf_text(&text) + from, until - from);
}

static bool is_port(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return digits && digits <= 5 && !text[digits] && atoi(text) > 0 && atoi(text) <= 65535;
}

static int file_of(struct kube_secret *secret, const char *folder, const char *name)
{
	return asprintf(&secret->file, "%s/%s", folder, name) < 0 ? (secret->file = NULL, -ENOMEM) : 0;
}

int kube_access_in_cluster(const char *folder, const char *host, const char *port, struct kube_access *out, char *problem, size_t problem_size)
{
	_cleanup_(kube_access_release) struct kube_access access = { 0 };
	_cleanup_(kube_secret_wipe) struct strbuf token = STRBUF_INIT;
	struct in6_addr six;
	bool is_six;
	int r;

	if (!host || !*host || !port || !is_port(port) || strpbrk(host, "/[]@ ")) {
		snprintf(problem, problem_size, "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT don't say where the API server is: this is no pod "
			 "(--kubeconfig FILE says where it is)");
		return -ENOENT;
	}
	is_six = inet_pton(AF_INET6, host, &six) == 1;
	if (asprintf(&access.server, "https://%s%s%s:%s", is_six ? "[" : "", host, is_six ? "]" : "", port) < 0) {
		access.server = NULL;
		return -ENOMEM;
	}
	r = file_of(&access.ca, folder, "ca.crt");
	if (!r)
		r = file_of(&access.token, folder, "token");
	if (r)
		return r;
	r = kube_secret_read(&access.token, &token);
	if (r || !token.size) {
		snprintf(problem, problem_size, "%s: %s", access.token.file, r ? strerror(-r) : "it is empty");
		return r ? r : -EINVAL;
	}
	*out = access;
	access = (struct kube_access){ 0 };
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Where the API server is, and how both sides prove who they are: as a pod of the cluster finds it, or as a kubeconfig says. */
#ifndef WEFT_KUBE_ACCESS_H
#define WEFT_KUBE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"

#define KUBE_SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

/* A secret stands in a file, which is read anew for every request since it is renewed there, or in `text`. */
struct kube_secret {
	char *file;                  /* NULL: `text` */
	struct strbuf text;
};

struct kube_access {
	char *server;                /* "https://[fd00::1]:443", without a slash at its end */
	char *server_name;           /* whom its certificate must be for; NULL: as the address says */
	bool is_insecure;            /* its certificate is not looked at */
	struct kube_secret ca, token, cert, key; /* may be empty */
};

/* As a container of a pod: `folder` of its service account (KUBE_SERVICE_ACCOUNT), the server's address in KUBERNETES_SERVICE_HOST and _PORT. -ENOENT, after a
 * sentence in `problem`: this is no pod. */
int kube_access_in_cluster(const char *folder, const char *host, const char *port, struct kube_access *out, char *problem, size_t problem_size);

/* The current context of a kubeconfig, with a token or a client certificate. -EINVAL and the like after a sentence in `problem`. */
int kube_access_kubeconfig(const char *path, struct kube_access *out, char *problem, size_t problem_size);

void kube_access_release(struct kube_access *access);

/* What the secret is now; nothing when there is none. Spaces around it are taken away. */
int kube_secret_read(const struct kube_secret *secret, struct strbuf *out);
void kube_secret_wipe(struct strbuf *text);

#endif

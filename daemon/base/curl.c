/* SPDX-License-Identifier: Apache-2.0 */
#include "base/curl.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define CONNECT_MS 10000L

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	(void)arg;
	(void)purpose;
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int on_socket_made(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	const struct curl_keepalive *keepalive = arg;
	unsigned int limit_ms = (unsigned int)(keepalive->idle_s + keepalive->between_s * keepalive->probes) * 1000;
	int on = 1;

	(void)purpose;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &keepalive->idle_s, sizeof(keepalive->idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &keepalive->between_s, sizeof(keepalive->between_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &keepalive->probes, sizeof(keepalive->probes));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof(limit_ms));
	return CURL_SOCKOPT_OK;
}

void curl_set_common(CURL *easy, char *error_text, const struct curl_keepalive *keepalive)
{
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_text);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, (void *)keepalive);
}

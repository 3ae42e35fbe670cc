/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "kube/access.h"

static char folder[] = "/tmp/weft-access-XXXXXX";
static char problem[512];

static const char *place(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void put(const char *name, const char *text)
{
	assert_int_equal(file_write_atomic(place(name), text, strlen(text), 0600), 0);
}

static void assert_secret(const struct kube_secret *secret, const char *wanted)
{
	struct strbuf text = STRBUF_INIT;

	assert_int_equal(kube_secret_read(secret, &text), 0);
	assert_string_equal(strbuf_text(&text), wanted);
	strbuf_release(&text);
}

static void test_a_pod_finds_its_server_and_a_token_that_is_renewed(void **state)
{
	struct kube_access access;

	put("token", "first\n");
	put("ca.crt", "PEM");
	assert_int_equal(kube_access_in_cluster(folder, "10.96.0.1", "443", &access, problem, sizeof(problem)), 0);
	assert_string_equal(access.server, "https://10.96.0.1:443");
	assert_secret(&access.token, "first");
	put("token", "second");
	assert_secret(&access.token, "second");
	assert_secret(&access.ca, "PEM");
	kube_access_release(&access);
}

static void test_a_server_may_have_an_ipv6_address(void **state)
{
	struct kube_access access;

	assert_int_equal(kube_access_in_cluster(folder, "fd00:10:96::1", "443", &access, problem, sizeof(problem)), 0);
	assert_string_equal(access.server, "https://[fd00:10:96::1]:443");
	kube_access_release(&access);
}

static void test_what_is_no_pod_is_told_so(void **state)
{
	static const struct {
		const char *host, *port;
	} cases[] = { { NULL, "443" }, { "10.96.0.1", NULL }, { "", "443" }, { "10.96.0.1", "0" }, { "10.96.0.1", "65536" }, { "a/b", "443" }, { "x@y", "443" } };
	struct kube_access access;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(kube_access_in_cluster(folder, cases[i].host, cases[i].port, &access, problem, sizeof(problem)), -ENOENT);
		assert_non_null(strstr(problem, "KUBERNETES_SERVICE_HOST"));
	}
	assert_int_equal(kube_access_in_cluster("/nowhere", "10.96.0.1", "443", &access, problem, sizeof(problem)), -ENOENT);
	assert_non_null(strstr(problem, "/nowhere/token"));
}

#define CONFIG(user) \
	"apiVersion: v1\nkind: Config\ncurrent-context: here\ncontexts:\n- name: there\n  context: {cluster: x, user: y}\n- name: here\n" \
	"  context: {cluster: c, user: u}\nclusters:\n- name: c\n  cluster:\n    server: https://[::1]:6443/\n    certificate-authority: ca.crt\n" \
	"    tls-server-name: kubernetes\nusers:\n- name: u\n  user:\n" user

static void test_a_kubeconfig_has_a_token_or_a_certificate(void **state)
{
	struct kube_access access;

	put("config", CONFIG("    token: abc\n"));
	assert_int_equal(kube_access_kubeconfig(place("config"), &access, problem, sizeof(problem)), 0);
	assert_string_equal(access.server, "https://[::1]:6443");
	assert_string_equal(access.server_name, "kubernetes");
	assert_secret(&access.token, "abc");
	assert_secret(&access.ca, "PEM");
	kube_access_release(&access);

	put("config", CONFIG("    client-certificate-data: Y2VydA==\n    client-key-data: a2V5\n"));
	assert_int_equal(kube_access_kubeconfig(place("config"), &access, problem, sizeof(problem)), 0);
	assert_secret(&access.cert, "cert");
	assert_secret(&access.key, "key");
	assert_secret(&access.token, "");
	kube_access_release(&access);
}

static void test_a_kubeconfig_that_asks_for_more_is_refused_by_name(void **state)
{
	static const struct {
		const char *config, *wanted;
	} cases[] = {
		{ CONFIG("    exec: {command: aws}\n"), "not exec" },
		{ CONFIG("    username: me\n"), "not username" },
		{ CONFIG("    client-certificate-data: '!!'\n"), "no base64: client-certificate-data" },
		{ "current-context: here\n", "there is no context here" },
		{ "contexts: []\n", "no current-context" },
		{ "current-context: here\ncontexts: [{name: here, context: {cluster: c}}]\n", "there is no cluster c" },
		{ "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'ftp://x'}}]\n", "no server" },
		{ "a: [", "config:" },
	};
	struct kube_access access;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put("config", cases[i].config);
		assert_true(kube_access_kubeconfig(place("config"), &access, problem, sizeof(problem)) < 0);
		if (!strstr(problem, cases[i].wanted))
			fail_msg("wanted \"%s\" in: %s", cases[i].wanted, problem);
	}
	assert_int_equal(kube_access_kubeconfig("/nowhere", &access, problem, sizeof(problem)), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_pod_finds_its_server_and_a_token_that_is_renewed),
		cmocka_unit_test(test_a_server_may_have_an_ipv6_address),
		cmocka_unit_test(test_what_is_no_pod_is_told_so),
		cmocka_unit_test(test_a_kubeconfig_has_a_token_or_a_certificate),
		cmocka_unit_test(test_a_kubeconfig_that_asks_for_more_is_refused_by_name),
	};
	static const char *const files[] = { "token", "ca.crt", "config" };
	int failed;

	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlink(place(files[i]));
	rmdir(folder);
	return failed;
}

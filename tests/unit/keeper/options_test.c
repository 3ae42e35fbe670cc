/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "keeper/options.h"

struct outcome {
	int r;
	struct options options;
	enum options_action action;
	char errors[512];
};

static struct outcome parse(const char *line)
{
	struct outcome outcome = { 0 };
	static char copy[1024]; /* options point into it */
	char *argv[32] = { "weftd" }, *save = NULL;
	int argc = 1;
	FILE *errors;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	errors = fmemopen(outcome.errors, sizeof(outcome.errors), "w");
	assert_non_null(errors);
	outcome.r = options_parse(argc, argv, errors, &outcome.options, &outcome.action);
	fclose(errors);
	return outcome;
}

static void refused(const char *line, const char *said)
{
	struct outcome outcome = parse(line);

	if (outcome.r != -EINVAL || !strstr(outcome.errors, said))
		fail_msg("`%s`: %d \"%s\" instead of \"...%s...\"", line, outcome.r, outcome.errors, said);
}

static void test_only_a_configuration_is_needed(void **state)
{
	struct outcome outcome = parse("--config a.yaml");

	assert_int_equal(outcome.r, 0);
	assert_int_equal(outcome.action, OPTIONS_RUN);
	assert_string_equal(outcome.options.config, "a.yaml");
	assert_string_equal(outcome.options.control, "/run/weft/weft.sock");
	assert_string_equal(outcome.options.bpffs, "/sys/fs/bpf/weft");
	assert_null(outcome.options.cgroup);
	assert_int_equal(outcome.options.fast_path, WEFT_FAST_PATH_AUTO);
	assert_null(outcome.options.xds);
	assert_null(outcome.options.xds_token);
	assert_string_equal(outcome.options.xds_cluster_id, "Kubernetes");
	assert_string_equal(outcome.options.xds_trust_domain, "cluster.local");
	assert_string_equal(outcome.options.xds_cache, "/var/lib/weft/xds");
	assert_string_equal(outcome.options.node_name, "");
	assert_false(outcome.options.require_mtls);
	assert_false(outcome.options.strict);
	assert_true(parse("--check a --strict").options.strict);
	assert_string_equal(outcome.options.resolv_conf, "/etc/resolv.conf");
	assert_int_equal(outcome.options.log_level, LOG_LEVEL_INFO);
	assert_int_equal(outcome.options.proxy_threads, 0);
	assert_int_equal(outcome.options.redirect_limit_bytes, 0);
	assert_string_equal(outcome.errors, "");
}

static void test_every_option_has_its_place(void **state)
{
	struct outcome outcome = parse("--config=a --fast-path remote --control /c --bpffs /b --resolv-conf /r --cgroup /g --log-level debug --proxy-threads 3 "
				       "--redirect-limit 64K --disable cork,push_pop");

	assert_int_equal(outcome.r, 0);
	assert_string_equal(outcome.options.disable, "cork,push_pop");
	assert_string_equal(outcome.options.control, "/c");
	assert_string_equal(outcome.options.bpffs, "/b");
	assert_string_equal(outcome.options.resolv_conf, "/r");
	assert_string_equal(outcome.options.cgroup, "/g");
	assert_int_equal(outcome.options.fast_path, WEFT_FAST_PATH_REMOTE);
	assert_int_equal(outcome.options.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(outcome.options.proxy_threads, 3);
	assert_int_equal(outcome.options.redirect_limit_bytes, 65536);
}

static void test_options_about_istiod_are_read(void **state)
{
	struct outcome outcome = parse("--config a --xds grpcs://b:15012 --xds-root-cert /r --xds-server-name n --xds-token /t --xds-cert /c --xds-key /k "
				       "--xds-cluster-id i --xds-trust-domain d --xds-cache= --node-name m --require-mtls");

	(void)state;
	assert_int_equal(outcome.r, 0);
	assert_string_equal(outcome.options.xds, "grpcs://b:15012");
	assert_string_equal(outcome.options.xds_root_cert, "/r");
	assert_string_equal(outcome.options.xds_server_name, "n");
	assert_string_equal(outcome.options.xds_token, "/t");
	assert_string_equal(outcome.options.xds_cert, "/c");
	assert_string_equal(outcome.options.xds_key, "/k");
	assert_string_equal(outcome.options.xds_cluster_id, "i");
	assert_string_equal(outcome.options.xds_trust_domain, "d");
	assert_string_equal(outcome.options.xds_cache, "");
	assert_string_equal(outcome.options.node_name, "m");
	assert_true(outcome.options.require_mtls);
}

static void test_kubernetes_names_the_pods_in_place_of_a_file(void **state)
{
	struct outcome outcome = parse("--kubernetes --node-name n --xds grpc://b:15010 --kubeconfig /k --proc-root /p --cgroup-root /c");

	(void)state;
	assert_int_equal(outcome.r, 0);
	assert_true(outcome.options.kubernetes);
	assert_null(outcome.options.config);
	assert_string_equal(outcome.options.kubeconfig, "/k");
	assert_string_equal(outcome.options.proc_root, "/p");
	assert_string_equal(outcome.options.cgroup_root, "/c");
	assert_string_equal(parse("--kubernetes --node-name n --config a").options.proc_root, "/proc");
	refused("--kubernetes --node-name n", "which configuration?");
	refused("--kubernetes --xds grpc://b:15010", "--node-name");
	refused("--config a --kubeconfig /k", "goes with --kubernetes");
	refused("--config a --cgroup-root c", "absolute path");
}

static void test_check_help_and_version_are_actions(void **state)
{
	assert_int_equal(parse("--check a").action, OPTIONS_CHECK);
	assert_string_equal(parse("--check a").options.config, "a");
	assert_int_equal(parse("--replay a").action, OPTIONS_REPLAY);
	assert_int_equal(parse("--replay a --config b").r, -EINVAL);
	assert_int_equal(parse("--help").action, OPTIONS_HELP);
	assert_int_equal(parse("--version").action, OPTIONS_VERSION);
	assert_int_equal(parse("--help").r, 0);
}

static void test_what_envoy_adds_is_added_by_the_proxy_alone(void **state)
{
	assert_false(parse("--config a").options.decorates);
	assert_false(parse("--config a --decorate none").options.decorates);
	assert_true(parse("--config a --decorate envoy").options.decorates);
	assert_int_equal(parse("--config a --decorate envoy").options.fast_path, WEFT_FAST_PATH_OFF);
	assert_int_equal(parse("--config a --decorate none").options.fast_path, WEFT_FAST_PATH_AUTO);
	refused("--config a --decorate nginx", "none or envoy");
	refused("--config a --fast-path on --decorate envoy", "--fast-path off");
}

static void test_fast_path_modes_have_names(void **state)
{
	assert_int_equal(parse("--config a --fast-path on").options.fast_path, WEFT_FAST_PATH_ON);
	assert_int_equal(parse("--config a --fast-path off").options.fast_path, WEFT_FAST_PATH_OFF);
	assert_int_equal(parse("--config a --fast-path auto").options.fast_path, WEFT_FAST_PATH_AUTO);
	assert_string_equal(fast_path_name(WEFT_FAST_PATH_AUTO), "auto");
	assert_string_equal(fast_path_name(WEFT_FAST_PATH_OFF), "off");
	assert_string_equal(fast_path_name(WEFT_FAST_PATH_REMOTE), "remote");
	assert_string_equal(fast_path_name(WEFT_FAST_PATH_ON), "on");
	refused("--config a --fast-path sideways", "auto, on, remote or off");
}

static void test_what_is_wrong_is_said(void **state)
{
	char line[300];

	refused("", "--config FILE");
	refused("--config", "--config needs a value");
	refused("--frobnicate", "--frobnicate is not an option");
	refused("--config a b", "\"b\"");
	refused("--config a --config b", "once");
	refused("--config a --check b", "once");
	refused("--config a --disable cork --disable sk_skb", "once");
	refused("--config a --xds grpcs://b --xds-cert c", "--xds-cert and --xds-key belong together");
	refused("--config a --xds=", "--xds needs a value that is not empty");
	refused("--config a --xds-cluster-id=", "--xds-cluster-id needs a value");
	refused("--config a --log-level loud", "error, warning, info or debug");
	refused("--config a --bpffs weft", "absolute");
	refused("--config a --cgroup weft", "absolute");
	snprintf(line, sizeof(line), "--config a --control /%0120d", 1);
	refused(line, "too long");
}

static void test_numbers_have_bounds(void **state)
{
	assert_int_equal(parse("--config a --redirect-limit 1").options.redirect_limit_bytes, 1);
	assert_int_equal(parse("--config a --redirect-limit 64M").options.redirect_limit_bytes, 64 << 20);
	assert_int_equal(parse("--config a --redirect-limit 67108864").options.redirect_limit_bytes, 64 << 20);
	refused("--config a --redirect-limit 0", "1 to 64M");
	refused("--config a --redirect-limit 65M", "1 to 64M");
	refused("--config a --redirect-limit 67108865", "1 to 64M");
	refused("--config a --redirect-limit 4294967297", "1 to 64M");
	refused("--config a --redirect-limit 99999999999999999999999", "1 to 64M");
	refused("--config a --redirect-limit -1", "1 to 64M");
	refused("--config a --redirect-limit 1G", "1 to 64M");
	refused("--config a --redirect-limit M", "1 to 64M");
	assert_int_equal(parse("--config a --proxy-threads 256").options.proxy_threads, 256);
	assert_int_equal(parse("--config a").options.log_rate, 1000);
	assert_int_equal(parse("--config a --log-rate 20").options.log_rate, 20);
	refused("--config a --log-rate 0", "1 to 1000000");
	assert_int_equal(parse("--config a").options.drain_time_s, 50);
	assert_int_equal(parse("--config a --drain-time 5").options.drain_time_s, 5);
	refused("--config a --drain-time 0", "1 to 86400");
	refused("--config a --proxy-threads 0", "1 to 256");
	refused("--config a --proxy-threads 257", "1 to 256");
	refused("--config a --proxy-threads 1K", "1 to 256");
}

static void test_tables_can_be_made_smaller(void **state)
{
	struct options_limits limits = parse("--config a").options.limits;

	assert_int_equal(limits.connections, WEFT_CONNECTIONS_MAX);
	assert_int_equal(limits.upstreams, WEFT_UPSTREAMS_MAX);
	assert_int_equal(limits.pools, WEFT_POOLS_MAX);
	assert_int_equal(limits.pod_connections + limits.pod_upstreams + limits.pod_pools, 0);
	assert_int_equal(limits.endpoint_upstreams, WEFT_POOL_SLOTS_MAX);
	limits = parse("--config a --limit pod-connections=7,pod-upstreams=8,pod-pools=9,endpoint-upstreams=10").options.limits;
	assert_int_equal(limits.pod_connections, 7);
	assert_int_equal(limits.pod_upstreams, 8);
	assert_int_equal(limits.pod_pools, 9);
	assert_int_equal(limits.endpoint_upstreams, 10);
	limits = parse("--config a --limit connections=1K,pools=7 --limit upstreams=2").options.limits;
	assert_int_equal(limits.connections, 1024);
	assert_int_equal(limits.upstreams, 2);
	assert_int_equal(limits.pools, 7);
	refused("--config a --limit connections", "--limit \"connections\": NAME=N");
	refused("--config a --limit connections=", "--limit \"connections=\": NAME=N");
	refused("--config a --limit connections=0", "a number from 1 to 65536 is expected");
	refused("--config a --limit connections=65537", "a number from 1 to 65536 is expected");
	refused("--config a --limit pools=1,", "--limit \"\": NAME=N");
	refused("--config a --limit pools=1000000000000000000000", "--limit \"pools=1000000000000000000000\": ");
	refused("--config a --limit pools=1,pod-pools=4097,upstreams=1", "--limit \"pod-pools=4097\": a number from 1 to 4096 is expected\n");
	refused("--config a --limit pool=1", "--limit \"pool=1\": NAME=N,NAME=N is expected, with names out of connections (1 to 65536), upstreams (1 to 16384), pools (1 to 4096), "
		"pod-connections (1 to 65536), pod-upstreams (1 to 16384), pod-pools (1 to 4096), endpoint-upstreams (1 to 128)\n");
}

static void test_nothing_is_listened_at_that_was_not_asked_for(void **state)
{
	struct options options = parse("--config a").options;

	assert_null(options.health_address);
	assert_null(options.metrics_address);
	assert_null(options.admin_address);
	assert_int_equal(options.log_format, LOG_FORMAT_TEXT);
	options = parse("--config a --health-address 0.0.0.0:15021 --metrics-address [::]:15020 --admin-address 127.0.0.1:15000 --log-format json").options;
	assert_string_equal(options.health_address, "0.0.0.0:15021");
	assert_string_equal(options.metrics_address, "[::]:15020");
	assert_string_equal(options.admin_address, "127.0.0.1:15000");
	assert_int_equal(options.log_format, LOG_FORMAT_JSON);
	refused("--config a --log-format xml", "text or json");
}

static void test_help_names_every_option(void **state)
{
	static const char *const names[] = { "--config", "--check", "--fast-path", "--control", "--bpffs", "--cgroup",
					     "--log-level", "--proxy-threads", "--redirect-limit", "--limit", "--disable", "--resolv-conf",
					     "--xds", "--xds-root-cert", "--xds-server-name", "--xds-token", "--xds-cert", "--xds-key", "--xds-cluster-id",
					     "--xds-trust-domain", "--xds-cache", "--node-name", "--require-mtls", "--health-address", "--metrics-address", "--admin-address", "--log-format", "--kubernetes",
					     "--kubeconfig", "--proc-root", "--cgroup-root", "--help", "--version" };
	char text[8192] = "";
	FILE *stream = fmemopen(text, sizeof(text), "w");

	options_help(stream);
	fclose(stream);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_non_null(strstr(text, names[i]));
}

/* With these options in a file. */
static struct outcome parse_with(const char *file, const char *line)
{
	char path[] = "/tmp/weft-options-XXXXXX", command[1024];
	struct outcome outcome;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, file, strlen(file)), strlen(file));
	close(fd);
	snprintf(command, sizeof(command), "--options %s %s", path, line);
	outcome = parse(command);
	unlink(path);
	return outcome;
}

static void refused_in_file(const char *file, const char *said)
{
	struct outcome outcome = parse_with(file, "--config a.yaml");

	if (outcome.r != -EINVAL || !strstr(outcome.errors, said))
		fail_msg("`%s`: %d \"%s\" instead of \"...%s...\"", file, outcome.r, outcome.errors, said);
}

static void test_options_stand_in_a_file(void **state)
{
	struct outcome outcome = parse_with("# of weftd\nxds: grpc://istiod:15010\nkubernetes: true\nrequire-mtls: false\nfast-path: on\nlog-rate: 10\n"
					    "disable: [cork, push_pop]\nlimit: {connections: 2K, pools: 7}\nxds-cache: \"\"\n", "--node-name a");

	assert_int_equal(outcome.r, 0);
	assert_string_equal(outcome.options.xds, "grpc://istiod:15010");
	assert_true(outcome.options.kubernetes);
	assert_false(outcome.options.require_mtls);
	assert_int_equal(outcome.options.fast_path, WEFT_FAST_PATH_ON);
	assert_int_equal(outcome.options.log_rate, 10);
	assert_string_equal(outcome.options.disable, "cork,push_pop");
	assert_int_equal(outcome.options.limits.connections, 2048);
	assert_int_equal(outcome.options.limits.pools, 7);
	assert_string_equal(outcome.options.xds_cache, "");
	assert_string_equal(outcome.options.node_name, "a");
	options_release(&outcome.options);
}

static void test_the_command_line_counts_wherever_it_says_so(void **state)
{
	struct outcome outcome = parse_with("config: b.yaml\nfast-path: on\ndisable: cork\nlog-level: debug\n", "--config a.yaml --disable push_pop --fast-path off");

	assert_int_equal(outcome.r, 0);
	assert_string_equal(outcome.options.config, "a.yaml");
	assert_string_equal(outcome.options.disable, "push_pop");
	assert_int_equal(outcome.options.fast_path, WEFT_FAST_PATH_OFF);
	assert_int_equal(outcome.options.log_level, LOG_LEVEL_DEBUG);
	options_release(&outcome.options);
}

static void test_a_file_may_be_empty(void **state)
{
	struct outcome outcome = parse_with("", "--config a.yaml");

	assert_int_equal(outcome.r, 0);
	options_release(&outcome.options);
}

static void test_what_a_file_can_t_say_is_refused_with_its_line(void **state)
{
	refused_in_file("log-level: info\nloglevel: info\n", ":2: \"loglevel\" is not an option of a file");
	refused_in_file("check: a.yaml\n", ":1: \"check\" is not an option of a file");
	refused_in_file("options: other.yaml\n", ":1: \"options\" is not an option of a file");
	refused_in_file("log-level: info\n\nlog-level: debug\n", ":3: log-level stands in line 1 already");
	refused_in_file("log-level: loud\n", "--log-level loud: error, warning, info or debug is expected");
	refused_in_file("log-rate: 1\nlog-level: loud\n", ":2\n");
	refused_in_file("require-mtls: yes\n", ":1: require-mtls: true or false is expected");
	refused_in_file("disable: [[a]]\n", ":1: disable: one value, a list or a mapping of them is expected");
	refused_in_file("- log-level\n", ":1: options are expected");
	refused_in_file("log-level: info\n  b: [\n", ":2: ");
	refused_in_file("kubeconfig: /k\n", "--kubeconfig goes with --kubernetes");
	refused("--config a.yaml --options /nowhere", "--options /nowhere: No such file or directory");
	refused("--config a.yaml --options /a --options /b", "one file, please");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_about_istiod_are_read),
		cmocka_unit_test(test_only_a_configuration_is_needed),
		cmocka_unit_test(test_every_option_has_its_place),
		cmocka_unit_test(test_kubernetes_names_the_pods_in_place_of_a_file),
		cmocka_unit_test(test_check_help_and_version_are_actions),
		cmocka_unit_test(test_what_envoy_adds_is_added_by_the_proxy_alone),
		cmocka_unit_test(test_fast_path_modes_have_names),
		cmocka_unit_test(test_what_is_wrong_is_said),
		cmocka_unit_test(test_numbers_have_bounds),
		cmocka_unit_test(test_tables_can_be_made_smaller),
		cmocka_unit_test(test_nothing_is_listened_at_that_was_not_asked_for),
		cmocka_unit_test(test_help_names_every_option),
		cmocka_unit_test(test_options_stand_in_a_file),
		cmocka_unit_test(test_the_command_line_counts_wherever_it_says_so),
		cmocka_unit_test(test_a_file_may_be_empty),
		cmocka_unit_test(test_what_a_file_can_t_say_is_refused_with_its_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

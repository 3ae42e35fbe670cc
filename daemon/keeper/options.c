/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "keeper/options_file.h"
#include "keeper/pass.h"

enum { OPT_CONFIG = 256, OPT_CHECK, OPT_STRICT, OPT_REPLAY, OPT_FAST_PATH, OPT_CONTROL, OPT_BPFFS, OPT_CGROUP, OPT_LOG_LEVEL, OPT_LOG_RATE, OPT_DECORATE, OPT_PROXY_THREADS, OPT_REDIRECT_LIMIT, OPT_DISABLE, OPT_RESOLV_CONF, OPT_LIMIT,
       OPT_XDS, OPT_XDS_ROOT_CERT, OPT_XDS_SERVER_NAME, OPT_XDS_TOKEN, OPT_XDS_CERT, OPT_XDS_KEY, OPT_XDS_CLUSTER_ID, OPT_XDS_TRUST_DOMAIN, OPT_XDS_CACHE,
       OPT_NODE_NAME, OPT_REQUIRE_MTLS, OPT_REPLACE, OPT_STAY, OPT_INSTANCE, OPT_DRAIN_TIME, OPT_HEALTH_ADDRESS, OPT_METRICS_ADDRESS, OPT_ADMIN_ADDRESS, OPT_LOG_FORMAT,
       OPT_KUBERNETES, OPT_KUBECONFIG, OPT_PROC_ROOT, OPT_CGROUP_ROOT, OPT_OPTIONS, OPT_END };

static const struct option long_options[] = {
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "check", required_argument, NULL, OPT_CHECK },
	{ "strict", no_argument, NULL, OPT_STRICT },
	{ "replay", required_argument, NULL, OPT_REPLAY },
	{ "fast-path", required_argument, NULL, OPT_FAST_PATH },
	{ "control", required_argument, NULL, OPT_CONTROL },
	{ "bpffs", required_argument, NULL, OPT_BPFFS },
	{ "cgroup", required_argument, NULL, OPT_CGROUP },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "log-rate", required_argument, NULL, OPT_LOG_RATE },
	{ "log-format", required_argument, NULL, OPT_LOG_FORMAT },
	{ "health-address", required_argument, NULL, OPT_HEALTH_ADDRESS },
	{ "metrics-address", required_argument, NULL, OPT_METRICS_ADDRESS },
	{ "admin-address", required_argument, NULL, OPT_ADMIN_ADDRESS },
	{ "disable", required_argument, NULL, OPT_DISABLE },
	{ "decorate", required_argument, NULL, OPT_DECORATE },
	{ "proxy-threads", required_argument, NULL, OPT_PROXY_THREADS },
	{ "resolv-conf", required_argument, NULL, OPT_RESOLV_CONF },
	{ "redirect-limit", required_argument, NULL, OPT_REDIRECT_LIMIT },
	{ "limit", required_argument, NULL, OPT_LIMIT },
	{ "xds", required_argument, NULL, OPT_XDS },
	{ "xds-root-cert", required_argument, NULL, OPT_XDS_ROOT_CERT },
	{ "xds-server-name", required_argument, NULL, OPT_XDS_SERVER_NAME },
	{ "xds-token", required_argument, NULL, OPT_XDS_TOKEN },
	{ "xds-cert", required_argument, NULL, OPT_XDS_CERT },
	{ "xds-key", required_argument, NULL, OPT_XDS_KEY },
	{ "xds-cluster-id", required_argument, NULL, OPT_XDS_CLUSTER_ID },
	{ "xds-trust-domain", required_argument, NULL, OPT_XDS_TRUST_DOMAIN },
	{ "xds-cache", required_argument, NULL, OPT_XDS_CACHE },
	{ "node-name", required_argument, NULL, OPT_NODE_NAME },
	{ "require-mtls", no_argument, NULL, OPT_REQUIRE_MTLS },
	{ "replace", no_argument, NULL, OPT_REPLACE },
	{ "stay-when-replaced", no_argument, NULL, OPT_STAY },
	{ "instance", required_argument, NULL, OPT_INSTANCE },
	{ "drain-time", required_argument, NULL, OPT_DRAIN_TIME },
	{ "kubernetes", no_argument, NULL, OPT_KUBERNETES },
	{ "kubeconfig", required_argument, NULL, OPT_KUBECONFIG },
	{ "proc-root", required_argument, NULL, OPT_PROC_ROOT },
	{ "cgroup-root", required_argument, NULL, OPT_CGROUP_ROOT },
	{ "options", required_argument, NULL, OPT_OPTIONS },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static const char *const fast_path_names[] = {
	[WEFT_FAST_PATH_OFF] = "off",
	[WEFT_FAST_PATH_REMOTE] = "remote",
	[WEFT_FAST_PATH_ON] = "on",
	[WEFT_FAST_PATH_AUTO] = "auto",
};

const char *fast_path_name(enum weft_fast_path mode)
{
	return (size_t)mode < ARRAY_SIZE(fast_path_names) ? fast_path_names[mode] : "?";
}

void options_help(FILE *stream)
{
	fprintf(stream,
		"weftd routes the HTTP requests of this node's pods in the kernel.\n"
		"\n"
		"Usage: weftd --config FILE [option...]\n"
		"       weftd --kubernetes --xds ADDRESS [option...]\n"
		"       weftd --check FILE [--strict]\n"
		"       weftd --replay DIR\n"
		"\n"
		"  --config FILE            pods and Envoy resources (YAML or JSON); read again on SIGHUP and when it changes\n"
		"  --check FILE             only tell what is wrong with FILE; status 0 when it could be served\n"
		"  --strict                 refuse FILE for a field of a resource that weft doesn't know; else it is a warning\n"
		"  --replay DIR             only tell what the recorded ADS stream in DIR does: how each response is answered, what\n"
		"                           serves then, and the verdicts\n"
		"  --fast-path auto|on|remote|off  what the kernel may do by itself: everything; nothing between sockets of local\n"
		"                           pods; nothing, so that the proxy carries every request. auto (default): `on`, or `off`\n"
		"                           where this kernel would make some applications hang (`weftctl status` says so)\n"
		"  --control PATH           socket that weftctl talks to (default: " OPTIONS_CONTROL ")\n"
		"  --bpffs DIR              where programs and maps are pinned (default: " OPTIONS_BPFFS ")\n"
		"  --cgroup PATH            cgroup v2 folder for weftd's own sockets, made if missing\n"
		"                           (default: `weft` below the one that weftd was started in)\n"
		"  --decorate none|envoy    envoy: requests and responses get the headers that Envoy adds for its own sake (server, date,\n"
		"                           x-envoy-*, x-forwarded-proto); the proxy does it, so it carries every request (default: none)\n"
		"  --proxy-threads N        threads of the proxy (default: a quarter of the processors, at least one)\n"
		"  --redirect-limit BYTES   largest message that the kernel carries, K and M allowed (default: %uM, at most %uM)\n"
		"  --limit NAME=N,...       make tables smaller: connections (%u), upstreams (%u), pools (%u), or what one pod may\n"
		"                           have of them: pod-connections, pod-upstreams, pod-pools, endpoint-upstreams (%u)\n"
		"  --disable FEATURE,...    do without what this kernel can: names as in `weftctl status`\n"
		"  --resolv-conf FILE       whom to ask for the addresses of STRICT_DNS and LOGICAL_DNS clusters (default: " OPTIONS_RESOLV_CONF ")\n"
		"  --xds ADDRESS            where resources come from: grpc://HOST:15010, grpcs://HOST:15012 (istiod), grpc-web+http://,\n"
		"                           grpc-web+h2c://, grpc-web+https:// (a gateway to it). FILE then holds pods only\n"
		"  --xds-root-cert FILE, --xds-server-name NAME, --xds-token FILE, --xds-cert FILE, --xds-key FILE, --xds-cluster-id ID,\n"
		"  --xds-trust-domain NAME  how both prove who they are\n"
		"  --xds-cache DIR          where what came last is kept for the next start (default: " OPTIONS_XDS_CACHE "; \"\": nowhere)\n"
		"  --node-name NAME         of this node in Kubernetes\n"
		"  --kubernetes             the pods are those that Kubernetes has on this node, as their labels want it. FILE then\n"
		"                           holds resources only, and with --xds it is not needed\n"
		"  --kubeconfig FILE        where its API server is and who weftd is there (default: as a pod of the cluster finds it)\n"
		"  --proc-root DIR, --cgroup-root DIR  the node's /proc (default: " OPTIONS_PROC_ROOT ") and cgroup v2 (default: where it is mounted)\n"
		"  --require-mtls           don't reach endpoints in plaintext that could speak mutual TLS\n"
		"  --replace                take over from the weftd that runs with the same --control, newer or older, if there is one:\n"
		"                           its connections stay open, and it ends. One of another ABI serves them itself to their end\n"
		"  --drain-time SECONDS     that is, as long as this at most (default: %u), counted by the one that is replaced\n"
		"  --stay-when-replaced     once replaced, end when told to and not before, for supervisors that would start this one again\n"
		"  --instance NAME          who this weftd is among those that replace each other: `weftctl ready` asks for it\n"
		"  --health-address HOST:PORT   where probes are answered: /healthz/ready, /healthz/live (Istio's port: 15021)\n"
		"  --metrics-address HOST:PORT  where metrics are read: /metrics (15020)\n"
		"  --admin-address HOST:PORT    where people look and change log levels: /config_dump, /logging, /stats (15000); loopback only\n"
		"  --log-format text|json   what a line of the log looks like (default: text)\n"
		"  --log-level LEVEL        error, warning, info or debug (default: info)\n"
		"  --log-rate LINES         how many lines the log may have in a second (default: %u)\n"
		"  --options FILE           more options, as `log-level: info` in YAML; what is on the command line counts\n"
		"  --help, --version\n",
		WEFT_REDIRECT_LIMIT_DEFAULT >> 20, OPTIONS_REDIRECT_LIMIT_MAX >> 20, WEFT_CONNECTIONS_MAX, WEFT_UPSTREAMS_MAX, WEFT_POOLS_MAX,
		WEFT_POOL_SLOTS_MAX, OPTIONS_DRAIN_TIME_S, OPTIONS_LOG_RATE);
}

/* Decimal digits and, if `has_suffix`, one of K, M. */
static int parse_number(const char *text, bool has_suffix, uint32_t max, uint32_t *out)
{
	uint64_t value = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++) {
		value = value * 10 + (uint64_t)(*at - '0');
		if (value > max)
			return -ERANGE;
	}
	if (at == text)
		return -EINVAL;
	if (has_suffix && (*at == 'K' || *at == 'k'))
		value <<= 10, at++;
	else if (has_suffix && (*at == 'M' || *at == 'm'))
		value <<= 20, at++;
	if (*at)
		return -EINVAL;
	if (value == 0 || value > max)
		return -ERANGE;
	*out = (uint32_t)value;
	return 0;
}

/* ---- --limit ----------------------------------------------------------------------------------------------------------------------- */

struct known_limit {
	const char *name;
	uint32_t max, *value;
};

static int complain_limit(FILE *errors, const char *text, size_t len, const struct known_limit *known, size_t count)
{
	fprintf(errors, "weftd: --limit \"%.*s\": NAME=N,NAME=N is expected, with names out of", (int)len, text);
	for (size_t i = 0; i < count; i++)
		fprintf(errors, "%s %s (1 to %u)", i ? "," : "", known[i].name, known[i].max);
	fprintf(errors, "\n");
	return -EINVAL;
}

/* `text`: NAME=N,NAME=N */
static int parse_limits(const char *text, struct options_limits *out, FILE *errors)
{
	struct options_limits limits = *out;
	const struct known_limit known[] = {
		{ "connections", WEFT_CONNECTIONS_MAX, &limits.connections },
		{ "upstreams", WEFT_UPSTREAMS_MAX, &limits.upstreams },
		{ "pools", WEFT_POOLS_MAX, &limits.pools },
		{ "pod-connections", WEFT_CONNECTIONS_MAX, &limits.pod_connections },
		{ "pod-upstreams", WEFT_UPSTREAMS_MAX, &limits.pod_upstreams },
		{ "pod-pools", WEFT_POOLS_MAX, &limits.pod_pools },
		{ "endpoint-upstreams", WEFT_POOL_SLOTS_MAX, &limits.endpoint_upstreams },
	};

	for (const char *at = text; ; ) {
		size_t name_len = strcspn(at, "=,"), item_len = strcspn(at, ","), i = 0, len = item_len - name_len;
		char number[16];

		while (i < ARRAY_SIZE(known) && (strlen(known[i].name) != name_len || memcmp(known[i].name, at, name_len) != 0))
			i++;
		if (i == ARRAY_SIZE(known) || len < 2 || len > sizeof(number))
			return complain_limit(errors, at, item_len, known, ARRAY_SIZE(known));
		memcpy(number, at + name_len + 1, len - 1);
		number[len - 1] = '\0';
		if (parse_number(number, true, known[i].max, known[i].value)) {
			fprintf(errors, "weftd: --limit \"%.*s\": a number from 1 to %u is expected\n", (int)item_len, at, known[i].max);
			return -EINVAL;
		}
		at += item_len;
		if (!*at++)
			break;
	}
	*out = limits;
	return 0;
}

static int parse_fast_path(const char *text, enum weft_fast_path *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(fast_path_names); i++) {
		if (strcmp(text, fast_path_names[i]) == 0) {
			*out = (enum weft_fast_path)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int complain(FILE *errors, const char *option, const char *value, const char *expected)
{
	fprintf(errors, "weftd: --%s %s: %s\n", option, value, expected);
	return -EINVAL;
}

static int complain_empty(FILE *errors, int option)
{
	for (const struct option *known = long_options; known->name; known++) {
		if (known->val == option)
			fprintf(errors, "weftd: --%s needs a value that is not empty\n", known->name);
	}
	return -EINVAL;
}

/* Those that are texts. NULL: it is none of them. */
static const char **text_option(struct options *options, int option)
{
	switch (option) {
	case OPT_XDS:
		return &options->xds;
	case OPT_XDS_ROOT_CERT:
		return &options->xds_root_cert;
	case OPT_XDS_SERVER_NAME:
		return &options->xds_server_name;
	case OPT_XDS_TOKEN:
		return &options->xds_token;
	case OPT_XDS_CERT:
		return &options->xds_cert;
	case OPT_XDS_KEY:
		return &options->xds_key;
	case OPT_XDS_CLUSTER_ID:
		return &options->xds_cluster_id;
	case OPT_XDS_TRUST_DOMAIN:
		return &options->xds_trust_domain;
	case OPT_XDS_CACHE:
		return &options->xds_cache;
	case OPT_NODE_NAME:
		return &options->node_name;
	case OPT_HEALTH_ADDRESS:
		return &options->health_address;
	case OPT_METRICS_ADDRESS:
		return &options->metrics_address;
	case OPT_ADMIN_ADDRESS:
		return &options->admin_address;
	case OPT_KUBECONFIG:
		return &options->kubeconfig;
	case OPT_INSTANCE:
		return &options->instance;
	default:
		return NULL;
	}
}

static int apply(struct options *options, enum options_action *action, int option, const char *value, FILE *errors)
{
	const char **text = text_option(options, option);

	if (text) {
		if (!*value && option != OPT_XDS_CACHE && option != OPT_NODE_NAME)
			return complain_empty(errors, option);
		*text = value;
		return 0;
	}
	switch (option) {
	case OPT_REQUIRE_MTLS:
		options->require_mtls = true;
		return 0;
	case OPT_STRICT:
		options->strict = true;
		return 0;
	case OPT_REPLACE:
		options->replace = true;
		return 0;
	case OPT_STAY:
		options->stays_when_replaced = true;
		return 0;
	case OPT_KUBERNETES:
		options->kubernetes = true;
		return 0;
	case OPT_PROC_ROOT:
	case OPT_CGROUP_ROOT:
		if (value[0] != '/')
			return complain(errors, option == OPT_PROC_ROOT ? "proc-root" : "cgroup-root", value, "an absolute path is expected");
		*(option == OPT_PROC_ROOT ? &options->proc_root : &options->cgroup_root) = value;
		return 0;
	case OPT_CHECK:
	case OPT_REPLAY:
		*action = option == OPT_CHECK ? OPTIONS_CHECK : OPTIONS_REPLAY;
		/* fall through */
	case OPT_CONFIG:
		if (options->config) {
			fprintf(errors, "weftd: one configuration, please: give --config, --check or --replay once\n");
			return -EINVAL;
		}
		options->config = value;
		return 0;
	case OPT_FAST_PATH:
		return parse_fast_path(value, &options->fast_path) ? complain(errors, "fast-path", value, "auto, on, remote or off is expected") : 0;
	case OPT_CONTROL:
		if (strlen(value) + strlen(PASS_SUFFIX) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
			return complain(errors, "control", value, "too long for a unix socket's address (99 bytes: another one beside it has 8 more)");
		options->control = value;
		return 0;
	case OPT_BPFFS:
		if (value[0] != '/')
			return complain(errors, "bpffs", value, "an absolute path is expected");
		options->bpffs = value;
		return 0;
	case OPT_CGROUP:
		if (value[0] != '/')
			return complain(errors, "cgroup", value, "an absolute path is expected");
		options->cgroup = value;
		return 0;
	case OPT_LOG_LEVEL:
		return log_level_parse(value, &options->log_level) ? complain(errors, "log-level", value, "error, warning, info or debug is expected") : 0;
	case OPT_LOG_FORMAT:
		return log_format_parse(value, &options->log_format) ? complain(errors, "log-format", value, "text or json is expected") : 0;
	case OPT_DISABLE:
		if (options->disable) {
			fprintf(errors, "weftd: --disable once, please: --disable FEATURE,FEATURE\n");
			return -EINVAL;
		}
		options->disable = value;
		return 0;
	case OPT_RESOLV_CONF:
		options->resolv_conf = value;
		return 0;
	case OPT_LOG_RATE:
		return parse_number(value, true, OPTIONS_LOG_RATE_MAX, &options->log_rate) ?
			complain(errors, "log-rate", value, "a number from 1 to 1000000 is expected") : 0;
	case OPT_DRAIN_TIME:
		return parse_number(value, false, OPTIONS_DRAIN_TIME_MAX_S, &options->drain_time_s) ?
			complain(errors, "drain-time", value, "a number of seconds from 1 to 86400 is expected") : 0;
	case OPT_DECORATE:
		if (strcmp(value, "none") && strcmp(value, "envoy"))
			return complain(errors, "decorate", value, "none or envoy is expected");
		options->decorates = value[0] == 'e';
		return 0;
	case OPT_PROXY_THREADS:
		return parse_number(value, false, OPTIONS_PROXY_THREADS_MAX, &options->proxy_threads) ?
			complain(errors, "proxy-threads", value, "a number from 1 to 256 is expected") : 0;
	case OPT_REDIRECT_LIMIT:
		return parse_number(value, true, OPTIONS_REDIRECT_LIMIT_MAX, &options->redirect_limit_bytes) ?
			complain(errors, "redirect-limit", value, "a number of bytes from 1 to 64M is expected") : 0;
	case OPT_LIMIT:
		return parse_limits(value, &options->limits, errors);
	}
	return -EINVAL;
}

/* getopt's own complaint names argv[0] and goes to stderr: ours goes where the caller wants it. */
static int complain_unknown(FILE *errors, char **argv, int result)
{
	const char *word = argv[optind - 1];

	fprintf(errors, "weftd: %s %s; `weftd --help` lists the options\n", word, result == ':' ? "needs a value" : "is not an option (or not a whole one)");
	return -EINVAL;
}

/* ---- options in a file ------------------------------------------------------------------------------------------------------------------ */

struct from_file {
	const char *path;
	FILE *errors;
	struct options *options;
	enum options_action *action;
	bool is_given[OPT_END];    /* on the command line */
	size_t lines[OPT_END];     /* where the file has it */
};

static const struct option *find_option(const char *name)
{
	for (const struct option *known = long_options; known->name; known++) {
		if (strcmp(known->name, name) == 0 && known->val >= OPT_CONFIG && known->val != OPT_CHECK && known->val != OPT_REPLAY && known->val != OPT_OPTIONS)
			return known;
	}
	return NULL;
}

static int apply_from_file(void *arg, const char *name, const char *value, size_t line)
{
	struct from_file *from = arg;
	const struct option *option = find_option(name);
	bool is_flag = option && option->has_arg == no_argument;
	int r = -EINVAL;

	if (!option)
		fprintf(from->errors, "weftd: %s:%zu: \"%s\" is not an option of a file; `weftd --help` lists the options\n", from->path, line, name);
	else if (from->lines[option->val])
		fprintf(from->errors, "weftd: %s:%zu: %s stands in line %zu already\n", from->path, line, name, from->lines[option->val]);
	else if (is_flag && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
		fprintf(from->errors, "weftd: %s:%zu: %s: true or false is expected\n", from->path, line, name);
	else
		r = 0;
	if (r)
		return r;
	from->lines[option->val] = line;
	if (from->is_given[option->val] || (is_flag && value[0] == 'f'))
		return 0;
	r = apply(from->options, from->action, option->val, value, from->errors);
	if (r)
		fprintf(from->errors, "weftd: that was %s:%zu\n", from->path, line);
	return r;
}

void options_release(struct options *options)
{
	arena_release(&options->memory);
}

/* What goes with what. */
static int check_together(struct options *options, enum options_action action, FILE *errors)
{
	if (options->kubernetes && action == OPTIONS_RUN && !*options->node_name) {
		fprintf(errors, "weftd: --kubernetes needs --node-name NAME: which node is this?\n");
		return -EINVAL;
	}
	if (options->kubeconfig && !options->kubernetes) {
		fprintf(errors, "weftd: --kubeconfig goes with --kubernetes\n");
		return -EINVAL;
	}
	if (!options->config && !(options->kubernetes && options->xds)) {
		fprintf(errors, "weftd: which configuration? Give --config FILE; `weftd --help` lists the options\n");
		return -EINVAL;
	}
	if (options->decorates && (options->fast_path == WEFT_FAST_PATH_ON || options->fast_path == WEFT_FAST_PATH_REMOTE)) {
		fprintf(errors, "weftd: the kernel adds no headers of Envoy's own: --decorate envoy goes with --fast-path off\n");
		return -EINVAL;
	}
	if (options->decorates)
		options->fast_path = WEFT_FAST_PATH_OFF;
	if (!options->xds_cert != !options->xds_key) {
		fprintf(errors, "weftd: --xds-cert and --xds-key belong together\n");
		return -EINVAL;
	}
	return 0;
}

int options_parse(int argc, char **argv, FILE *errors, struct options *out, enum options_action *action)
{
	struct options options = {
		.control = OPTIONS_CONTROL,
		.bpffs = OPTIONS_BPFFS,
		.resolv_conf = OPTIONS_RESOLV_CONF,
		.xds_cluster_id = OPTIONS_XDS_CLUSTER_ID,
		.xds_trust_domain = OPTIONS_XDS_TRUST_DOMAIN,
		.xds_cache = OPTIONS_XDS_CACHE,
		.node_name = "",
		.proc_root = OPTIONS_PROC_ROOT,
		.fast_path = WEFT_FAST_PATH_AUTO,
		.log_level = LOG_LEVEL_INFO,
		.log_rate = OPTIONS_LOG_RATE,
		.drain_time_s = OPTIONS_DRAIN_TIME_S,
		.limits = { .connections = WEFT_CONNECTIONS_MAX, .upstreams = WEFT_UPSTREAMS_MAX, .pools = WEFT_POOLS_MAX, .endpoint_upstreams = WEFT_POOL_SLOTS_MAX },
	};
	enum options_action wanted = OPTIONS_RUN;
	struct from_file file = { .errors = errors, .options = &options, .action = &wanted };
	int option, r;

	optind = 0; /* begin anew, also when this is not the first command line */
	while ((option = getopt_long(argc, argv, ":hV", long_options, NULL)) >= 0) {
		if (option == '?' || option == ':')
			return complain_unknown(errors, argv, option);
		if (option == 'h' || option == 'V') {
			*action = option == 'h' ? OPTIONS_HELP : OPTIONS_VERSION;
			*out = options;
			return 0;
		}
		if (option == OPT_OPTIONS && file.path)
			return complain(errors, "options", optarg, "one file, please");
		if (option == OPT_OPTIONS)
			file.path = optarg;
		file.is_given[option] = true;
		r = option == OPT_OPTIONS ? 0 : apply(&options, &wanted, option, optarg, errors);
		if (r)
			return r;
	}
	if (optind < argc) {
		fprintf(errors, "weftd: what is \"%s\"? Every argument belongs to an option; `weftd --help` lists them\n", argv[optind]);
		return -EINVAL;
	}
	r = file.path ? options_file_read(file.path, errors, &options.memory, apply_from_file, &file) : 0;
	if (!r)
		r = check_together(&options, wanted, errors);
	if (r) {
		options_release(&options);
		return r;
	}
	*action = wanted;
	*out = options;
	return 0;
}

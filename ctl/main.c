/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ctl.h"

#define BPFFS "/sys/fs/bpf/weft"

static const struct command {
	const char *name;
	int (*run)(const struct ctl *ctl, int argc, char **argv);
} commands[] = {
	{ "status", ctl_status },
	{ "dump", ctl_dump },
	{ "explain", ctl_explain },
	{ "xds", ctl_xds },
	{ "pods", ctl_pods },
	{ "ready", ctl_ready },
	{ "check", ctl_check },
	{ "uninstall", ctl_uninstall },
};

static void help(FILE *stream)
{
	fprintf(stream,
		"weftctl asks the weftd of this node.\n"
		"\n"
		"Usage: weftctl [option...] status\n"
		"       weftctl [option...] dump [listeners|routes|clusters|endpoints] [--namespace NAME]\n"
		"       weftctl [option...] dump --verdicts|--config-dump [--namespace NAME]\n"
		"       weftctl [option...] pods [--namespace NAME]\n"
		"       weftctl [option...] ready [INSTANCE]\n"
		"       weftctl [option...] check [HOST:PORT...]\n"
		"       weftctl [option...] xds\n"
		"       weftctl [option...] explain METHOD URL [-H 'name: value'...] [--pod [NAMESPACE/]NAME|--namespace NAME]\n"
		"       weftctl [option...] uninstall\n"
		"\n"
		"  status            features of the kernel, what is attached, pods, connections, requests by path and why\n"
		"  dump              what is published, with the verdict on each part; --verdicts: these alone, also of what is not\n"
		"                    used; --config-dump: the resources of a stream, as Envoy's /config_dump prints them\n"
		"  pods              every pod of the node, whether it is enrolled, and why not\n"
		"  ready             whether weftd serves all that it has to, and is INSTANCE (or " INSTANCE_VARIABLE " of the environment): status 0\n"
		"  check             whether weftd could run here: kernel, cgroup v2, BPF file system, capabilities, programs of others, and\n"
		"                    whether servers (istiod, the API server) take connections; needs no weftd\n"
		"  xds               the streams from istiod: what each type has, versions, what was refused and why\n"
		"  explain           the listener, virtual host, route, clusters and endpoints that a request would meet,\n"
		"                    which path it would take, and why\n"
		"  uninstall         ends weftd if it runs, and takes away all that it has made or that a killed one has left\n"
		"\n"
		"  -o table|json     how to print (default: table)\n"
		"  --control PATH    weftd's socket (default: " CONTROL ")\n"
		"  --bpffs DIR       uninstall: weftd's folder of pins (default: " BPFFS ")\n"
		"  --help, --version\n");
}

int ctl_usage(const char *fmt, ...)
{
	va_list args;

	fputs("weftctl: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputs("; `weftctl --help` tells more\n", stderr);
	return 2;
}

/* JSON holds nothing else: what can't be asked must not be left out of the question. */
static char *text_or_exit(const char *option, char *value)
{
	json_t *text = json_string(value);

	if (!text)
		exit(ctl_usage("%s is not text (UTF-8)", option));
	json_decref(text);
	return value;
}

/* 0: go on with what is not an option, from argv[*rest] on. */
static int parse(struct ctl *ctl, int argc, char **argv, int *rest)
{
	static const struct option options[] = {
		{ "control", required_argument, NULL, 'c' },
		{ "bpffs", required_argument, NULL, 'b' },
		{ "output", required_argument, NULL, 'o' },
		{ "header", required_argument, NULL, 'H' },
		{ "pod", required_argument, NULL, 'p' },
		{ "namespace", required_argument, NULL, 'n' },
		{ "config-dump", no_argument, NULL, 'd' },
		{ "verdicts", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	/* Options may stand anywhere: getopt_long() moves what is none to the end. */
	while ((option = getopt_long(argc, argv, "o:H:hV", options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			ctl->control = optarg;
			break;
		case 'b':
			ctl->bpffs = optarg;
			break;
		case 'o':
			if (strcmp(optarg, "json") != 0 && strcmp(optarg, "table") != 0)
				exit(ctl_usage("-o %s: table or json is expected", optarg));
			ctl->is_json = strcmp(optarg, "json") == 0;
			break;
		case 'H':
			json_array_append_new(ctl->headers, json_string(text_or_exit("-H", optarg)));
			break;
		case 'p':
			ctl->pod = text_or_exit("--pod", optarg);
			break;
		case 'n':
			ctl->namespace_name = text_or_exit("--namespace", optarg);
			break;
		case 'd':
			ctl->is_config_dump = true;
			break;
		case 'v':
			ctl->wants_verdicts = true;
			break;
		case 'h':
			help(stdout);
			exit(EXIT_SUCCESS);
		case 'V':
			printf("weftctl %s\n", WEFT_VERSION);
			exit(EXIT_SUCCESS);
		default:
			return ctl_usage("that is not how it is asked");
		}
	}
	*rest = optind;
	return 0;
}

int main(int argc, char **argv)
{
	struct ctl ctl = { .control = CONTROL, .bpffs = BPFFS, .headers = json_array() };
	int rest = 0, r;

	signal(SIGPIPE, SIG_IGN);
	r = parse(&ctl, argc, argv, &rest);
	if (r)
		return r;
	if (rest == argc) {
		help(stderr);
		return 2;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[rest], commands[i].name) != 0)
			continue;
		if (commands[i].run != ctl_explain && (ctl.pod || json_array_size(ctl.headers)))
			return ctl_usage("%s has no headers and no --pod", argv[rest]);
		if (commands[i].run != ctl_dump && (ctl.is_config_dump || ctl.wants_verdicts ||
						      (ctl.namespace_name && commands[i].run != ctl_explain && commands[i].run != ctl_pods)))
			return ctl_usage("%s has no --verdicts, no --config-dump and no --namespace", argv[rest]);
		r = commands[i].run(&ctl, argc - rest - 1, argv + rest + 1);
		json_decref(ctl.headers);
		if (fflush(stdout) == 0 && !ferror(stdout))
			return r;
		fprintf(stderr, "weftctl: the answer could not be written: %s\n", strerror(errno));
		return 1;
	}
	return ctl_usage("\"%s\" is not a command", argv[rest]);
}

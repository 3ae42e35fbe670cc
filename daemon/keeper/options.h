/* SPDX-License-Identifier: Apache-2.0 */
/* weftd's command line. docs/weftd.md describes every option for its user. */
#ifndef WEFT_KEEPER_OPTIONS_H
#define WEFT_KEEPER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/log.h"
#include "weft/abi.h"

#define OPTIONS_CONTROL "/run/weft/weft.sock"
#define OPTIONS_BPFFS "/sys/fs/bpf/weft"
#define OPTIONS_RESOLV_CONF "/etc/resolv.conf"
#define OPTIONS_XDS_CLUSTER_ID "Kubernetes"
#define OPTIONS_XDS_TRUST_DOMAIN "cluster.local"
#define OPTIONS_XDS_CACHE "/var/lib/weft/xds"
#define OPTIONS_PROC_ROOT "/proc"
#define OPTIONS_REDIRECT_LIMIT_MAX (64u << 20)
#define OPTIONS_PROXY_THREADS_MAX 256u
#define OPTIONS_DRAIN_TIME_S 50u
#define OPTIONS_DRAIN_TIME_MAX_S 86400u
#define OPTIONS_LOG_RATE 1000u
#define OPTIONS_LOG_RATE_MAX 1000000u

/* Entries of tables that can be made smaller, and what one pod may have of them; 0 of the latter: a share (limits_of_pods() in worker/internal.h). */
struct options_limits {
	uint32_t connections, upstreams, pools;
	uint32_t pod_connections, pod_upstreams, pod_pools;
	uint32_t endpoint_upstreams; /* of one pod to one endpoint */
};

/* Strings belong to argv, to `memory`, or are constants. */
struct options {
	const char *config;            /* NULL: with --kubernetes and --xds none is needed */
	bool strict;                   /* a field of a resource in it that weft does not know refuses it */
	const char *control;
	const char *bpffs;
	const char *cgroup;            /* NULL: `weft` below the cgroup that weftd was started in */
	enum weft_fast_path fast_path;
	enum log_level log_level;
	enum log_format log_format;
	uint32_t log_rate;             /* lines a second */
	const char *health_address, *metrics_address, *admin_address; /* HOST:PORT; NULL: not listened at */
	bool decorates;                /* adds what Envoy adds for its own sake: the proxy carries every request */
	uint32_t proxy_threads;        /* 0: a quarter of the processors, at least one */
	uint32_t redirect_limit_bytes; /* 0: the default */
	const char *resolv_conf;
	const char *xds;               /* NULL: the configuration file says all */
	const char *xds_root_cert, *xds_server_name, *xds_token; /* NULL: as the address's scheme wants it */
	const char *xds_cert, *xds_key; /* NULL, or both */
	const char *xds_cluster_id, *xds_trust_domain;
	const char *xds_cache;         /* "": none */
	const char *node_name;         /* "": not known */
	bool replace;                  /* take over from the weftd that runs */
	bool stays_when_replaced;      /* until it is told to end */
	const char *instance;          /* NULL: it has no name */
	uint32_t drain_time_s;         /* how long this one serves what is open after one of another ABI has replaced it */
	bool kubernetes;               /* pods are those that Kubernetes has on this node */
	const char *kubeconfig;        /* NULL: as a pod finds its API server */
	const char *proc_root;         /* /proc of the node */
	const char *cgroup_root;       /* NULL: where cgroup v2 is mounted */
	bool require_mtls;             /* endpoints that could speak mTLS are not reached without it */
	const char *disable;           /* NULL, or names of features, as given: the datapath knows which there are */
	struct options_limits limits;
	struct arena memory;           /* of those that a file gave */
};

enum options_action {
	OPTIONS_RUN,
	OPTIONS_CHECK,  /* only tell what is wrong with `config` */
	OPTIONS_REPLAY, /* only tell what the recorded stream in the folder `config` does */
	OPTIONS_HELP,
	OPTIONS_VERSION,
};

/* Complaints go to `errors`, one a line. Returns 0, or -EINVAL after a complaint. What the command line has counts, and not what the file of --options
 * says of the same option. */
int options_parse(int argc, char **argv, FILE *errors, struct options *out, enum options_action *action);
void options_release(struct options *options);
void options_help(FILE *stream);

const char *fast_path_name(enum weft_fast_path mode); /* auto, on, remote, off */

#endif

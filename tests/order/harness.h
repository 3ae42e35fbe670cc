/* SPDX-License-Identifier: Apache-2.0 */
/* A datapath with a hand-driven worker: one process in a network namespace and cgroup of its own plays client, server, anchor and
 * pool, one step at a time, so that a rule of order can be put to the test at the very moment it is for. */
#ifndef WEFT_TESTS_ORDER_HARNESS_H
#define WEFT_TESTS_ORDER_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/datapath.h"

#define POD_IP "10.9.0.1"     /* the pod's own: a server here is local and enrolled */
#define OTHER_IP "10.9.0.2"   /* an address in the same namespace that no enrolled pod owns: a remote server */
#define SERVICE_IP "10.96.0.10"
#define SERVER_PORT 8080

struct harness {
	struct datapath *dp;
	struct ids *ids;
	uint64_t netns_cookie;
	int listener;            /* the worker's, on 127.0.0.1 */
	int local_listener;      /* POD_IP:SERVER_PORT */
	int other_listener;      /* OTHER_IP:SERVER_PORT */
	uint32_t local_endpoint, other_endpoint;
	char cgroup[256];
	char bpffs[128];
	uint32_t next_slot, next_pool;
};

/* Routes: host "local" -> POD_IP, host "other" -> OTHER_IP, "direct" -> a direct response; at port 81 "local" -> OTHER_IP. Once a process. */
int harness_start(struct harness *h, enum weft_fast_path mode);
void harness_stop(struct harness *h);
/* Publishes the routes anew, with these for host "local" (YAML in flow style); NULL: as it was at first. */
void harness_route(struct harness *h, const char *routes);

struct client {
	int fd;        /* the application's, connected to SERVICE_IP:80 */
	int anchor;    /* the worker's end */
	uint64_t cookie;
};
/* Connects through the mesh and accepts on the worker's side. */
void client_open(struct harness *h, struct client *client);
/* The same of a program that sleeps in its reads. */
void client_open_waiting(struct harness *h, struct client *client);
/* The same socket, disconnected and connected again, to this port of the service. */
void client_connect_anew(struct harness *h, struct client *client, uint16_t port);
void client_close(struct client *client);

struct link {
	int upstream;  /* the worker's */
	int server;    /* accepted by the server */
	uint32_t slot;
};
/* Dials as the pool does and puts the upstream where the programs can lend it. */
void link_open(struct harness *h, uint32_t endpoint_id, struct link *link);
/* The same to a server that sleeps in its reads. */
void link_open_waiting(struct harness *h, uint32_t endpoint_id, struct link *link);
void link_close(struct harness *h, struct link *link);
struct weft_upstream *link_slot(struct harness *h, const struct link *link);

/* As a program that begins, or ceases, to sleep in its reads. */
void reads_wait(int fd, bool waits);

/* Sends all of `text` in one write; returns what send() returned (-errno for an error). */
long say(int fd, const char *text);
/* Reads what comes within `wait_ms` into `buffer` (NUL-terminated); returns the bytes, 0 for none or end of stream. */
size_t hear(int fd, char *buffer, size_t size, int wait_ms);

struct weft_connection_command command(struct harness *h, const struct client *client, uint32_t commands, uint32_t consumed,
				       uint32_t written, uint64_t exchange);
uint64_t counted(struct harness *h, uint32_t counter);

#endif

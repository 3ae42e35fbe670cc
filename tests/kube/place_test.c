/* SPDX-License-Identifier: Apache-2.0 */
/* A node's tree of real cgroups, with processes in network namespaces of their own, laid out as each runtime and driver does. Needs root. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/preflight.h"
#include "kube/place.h"

#define UID "51d9b9f3-76e3-46df-8da7-ec67ae1fa852"
#define UNIT "51d9b9f3_76e3_46df_8da7_ec67ae1fa852"
#define PROCESSES 4

struct node {
	char root[256];
	pid_t pids[PROCESSES];
	size_t count;
};

static void make_folders(const char *root, const char *path)
{
	char each[512];

	for (const char *at = path; at; at = strchr(at + 1, '/')) {
		const char *end = strchr(at + 1, '/');

		snprintf(each, sizeof(each), "%s%.*s", root, end ? (int)(end - path) : (int)strlen(path), path);
		if (mkdir(each, 0755) && errno != EEXIST)
			fail_msg("%s: %s", each, strerror(errno));
	}
}

static void remove_folders(const char *path)
{
	char command[512];

	snprintf(command, sizeof(command), "find %s -depth -type d -exec rmdir {} +", path);
	assert_int_equal(system(command), 0);
}

static void begin(struct node *node)
{
	struct strbuf cgroup2 = STRBUF_INIT;

	node->count = 0;
	assert_int_equal(preflight_cgroup2("/proc/mounts", &cgroup2), 0);
	snprintf(node->root, sizeof(node->root), "%s/weft-place-%d", cgroup2.data, (int)getpid());
	strbuf_release(&cgroup2);
	if (mkdir(node->root, 0755))
		fail_msg("%s: %s", node->root, strerror(errno));
}

static void end(struct node *node)
{
	while (node->count) {
		kill(node->pids[--node->count], SIGKILL);
		waitpid(node->pids[node->count], NULL, 0);
	}
	usleep(20000); /* until the kernel has let go of their cgroups */
	remove_folders(node->root);
}

static void set_address(const char *ip)
{
	struct ifreq request = { .ifr_name = "lo" };
	struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	address->sin_family = AF_INET;
	if (inet_pton(AF_INET, ip, &address->sin_addr) != 1 || ioctl(fd, SIOCSIFADDR, &request))
		_exit(2);
	close(fd);
}

/* A process in the cgroup `path`, in a network namespace with `ip`, or in ours when that is NULL, or in that of process `with`. */
static pid_t run(struct node *node, const char *path, const char *ip, pid_t with)
{
	char file[512], number[16], netns[64];
	int ready[2];
	pid_t pid;
	char byte;

	make_folders(node->root, path);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (with) {
			snprintf(netns, sizeof(netns), "/proc/%d/ns/net", (int)with);
			if (setns(open(netns, O_RDONLY), CLONE_NEWNET))
				_exit(1);
		} else if (ip) {
			if (unshare(CLONE_NEWNET))
				_exit(1);
			set_address(ip);
		}
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	snprintf(file, sizeof(file), "%s%s/cgroup.procs", node->root, path);
	snprintf(number, sizeof(number), "%d", (int)pid);
	{
		_cleanup_close_ int fd = open(file, O_WRONLY);

		assert_int_equal(fd_write_all(fd, number, strlen(number)), 0);
	}
	assert_true(node->count < PROCESSES);
	node->pids[node->count++] = pid;
	return pid;
}

static void stop_last(struct node *node)
{
	kill(node->pids[--node->count], SIGKILL);
	waitpid(node->pids[node->count], NULL, 0);
}

static int find(const struct node *node, const char *qos, struct pod_label *annotations, struct place *place, struct enrol *why)
{
	static const char *ips[] = { "fd00:10:244:1::11", "10.244.1.17" };
	struct kube_pod pod = { .name = "cart", .namespace_name = "shop", .uid = UID, .qos = qos, .ips = ips, .ip_count = 2, .annotations = annotations,
				.annotation_count = annotations ? 1 : 0 };
	struct place_roots roots = { .proc = "/proc", .cgroup = node->root };

	return place_find(&roots, &pod, place, why);
}

static void assert_found(const struct node *node, const char *qos, struct pod_label *annotations, const char *folder, pid_t pid)
{
	struct place_roots roots = { .proc = "/proc", .cgroup = node->root };
	struct file_identity identity;
	struct enrol why = { 0 };
	struct place place;
	char path[512];

	if (find(node, qos, annotations, &place, &why))
		fail_msg("%s: %s", folder, why.text);
	snprintf(path, sizeof(path), "%s%s", node->root, folder);
	assert_string_equal(place.cgroup, path);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	assert_int_equal(file_identity_of_path(path, &identity), 0);
	assert_true(file_identity_is_equal(&identity, &place.netns));
	assert_true(place_holds(&roots, &place));
	place_release(&place);
}

static void test_every_layout_is_found(void **state)
{
	static const struct {
		const char *qos, *folder, *pause, *container;
	} cases[] = {
		/* containerd with systemd, by class of service */
		{ "Burstable", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UNIT ".slice", "/cri-containerd-aa.scope", "/cri-containerd-bb.scope" },
		{ "BestEffort", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UNIT ".slice", "/cri-containerd-aa.scope", "/cri-containerd-bb.scope" },
		{ "Guaranteed", "/kubepods.slice/kubepods-pod" UNIT ".slice", "/cri-containerd-aa.scope", "/cri-containerd-bb.scope" },
		/* containerd with cgroupfs */
		{ "Burstable", "/kubepods/burstable/pod" UID, "/aa", "/bb" },
		{ "Guaranteed", "/kubepods/pod" UID, "/aa", "/bb" },
		/* CRI-O; its containers may have cgroups of their own inside */
		{ "Burstable", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UNIT ".slice", "/crio-aa.scope", "/crio-bb.scope/container" },
		/* kind, with either driver */
		{ "Burstable", "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" UNIT ".slice",
		  "/cri-containerd-aa.scope", "/cri-containerd-bb.scope" },
		{ "Guaranteed", "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" UNIT ".slice", "/cri-containerd-aa.scope", "/cri-containerd-bb.scope" },
		{ "Burstable", "/kubelet/kubepods/burstable/pod" UID, "/aa", "/bb" },
		/* kind, seen from the machine that it runs on */
		{ "Burstable", "/system.slice/docker-1234.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" UNIT ".slice",
		  "/cri-containerd-aa.scope", "/cri-containerd-bb.scope" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct node node;
		char path[512];
		pid_t pid;

		begin(&node);
		snprintf(path, sizeof(path), "%s%s", cases[i].folder, cases[i].pause);
		pid = run(&node, path, "10.244.1.17", 0);
		snprintf(path, sizeof(path), "%s%s", cases[i].folder, cases[i].container);
		run(&node, path, NULL, pid);
		assert_found(&node, cases[i].qos, NULL, cases[i].folder, pid);
		end(&node);
	}
}

static void test_a_static_pod_goes_by_its_hash(void **state)
{
	struct pod_label hash[] = { { "kubernetes.io/config.hash", "0123456789abcdef0123456789abcdef" } };
	const char *folder = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0123456789abcdef0123456789abcdef.slice";
	struct node node;
	char path[512];
	pid_t pid;

	begin(&node);
	snprintf(path, sizeof(path), "%s/cri-containerd-aa.scope", folder);
	pid = run(&node, path, "10.244.1.17", 0);
	assert_found(&node, "Burstable", hash, folder, pid);
	end(&node);
}

static void test_monitors_and_foreign_namespaces_are_passed_over(void **state)
{
	const char *folder = "/kubepods.slice/kubepods-pod" UNIT ".slice";
	struct node node;
	char path[512];
	pid_t pid;

	begin(&node);
	snprintf(path, sizeof(path), "%s/crio-conmon-aa.scope", folder);
	run(&node, path, NULL, 0);
	/* older than the right one, and of another address: a container with a namespace that it made itself */
	snprintf(path, sizeof(path), "%s/crio-bb.scope", folder);
	run(&node, path, "10.9.9.9", 0);
	usleep(20000);
	snprintf(path, sizeof(path), "%s/crio-cc.scope", folder);
	pid = run(&node, path, "10.244.1.17", 0);
	assert_found(&node, "Guaranteed", NULL, folder, pid);
	end(&node);
}

static void test_what_is_not_there_yet_is_waited_for_with_the_reason(void **state)
{
	struct enrol why = { 0 };
	struct place place;
	struct node node;

	begin(&node);
	assert_int_equal(find(&node, "Guaranteed", NULL, &place, &why), -ENOENT);
	assert_int_equal(why.reason, ENROL_NO_CGROUP);
	make_folders(node.root, "/kubepods/pod" UID);
	assert_int_equal(find(&node, "Guaranteed", NULL, &place, &why), -ENOENT);
	assert_int_equal(why.reason, ENROL_NO_NETWORK_NAMESPACE);
	assert_non_null(strstr(why.text, "no process"));
	run(&node, "/kubepods/pod" UID "/aa", NULL, 0);
	assert_int_equal(find(&node, "Guaranteed", NULL, &place, &why), -ENOENT);
	assert_int_equal(why.reason, ENROL_NO_NETWORK_NAMESPACE);
	assert_int_equal(why.verdict, ENROL_WAITING);
	end(&node);
}

static void test_a_sandbox_that_was_made_anew_is_noticed(void **state)
{
	struct place_roots roots = { .proc = "/proc" };
	struct enrol why = { 0 };
	struct place place;
	struct node node;

	begin(&node);
	roots.cgroup = node.root;
	run(&node, "/kubepods/pod" UID "/aa", "10.244.1.17", 0);
	assert_int_equal(find(&node, "Guaranteed", NULL, &place, &why), 0);
	stop_last(&node);
	run(&node, "/kubepods/pod" UID "/bb", "10.244.1.17", 0);
	assert_false(place_holds(&roots, &place));
	place_release(&place);
	assert_found(&node, "Guaranteed", NULL, "/kubepods/pod" UID, node.pids[0]);
	end(&node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_layout_is_found),
		cmocka_unit_test(test_a_static_pod_goes_by_its_hash),
		cmocka_unit_test(test_monitors_and_foreign_namespaces_are_passed_over),
		cmocka_unit_test(test_what_is_not_there_yet_is_waited_for_with_the_reason),
		cmocka_unit_test(test_a_sandbox_that_was_made_anew_is_noticed),
	};

	if (geteuid() != 0) {
		fprintf(stderr, "place_test: needs root\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The resolver against a small server in the same loop, which answers as it is told and counts the questions. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "dns/dns.h"

#define RECORDS_MAX 4
#define SERVFAIL 2
#define NXDOMAIN 3

struct record {
	const char *name;      /* in lower case */
	uint8_t rcode;
	uint32_t ttl_s;
	const char *addresses; /* with blanks between; NULL: no answer at all */
	int asked;
};

struct scene {
	struct event_base *base;
	struct event *server;
	struct dns *dns;
	char resolv_conf[64];
	int fd, changes;
	struct record records[RECORDS_MAX];
};

/* ---- the server ------------------------------------------------------------------------------------------------------------------ */

/* The question's name with dots; where it ends. */
static size_t question_name(const uint8_t *packet, size_t len, char *name)
{
	size_t at = 12, used = 0;

	while (at < len && packet[at]) {
		memcpy(name + used, packet + at + 1, packet[at]);
		used += packet[at];
		name[used++] = '.';
		at += packet[at] + 1u;
	}
	name[used ? used - 1 : 0] = 0;
	return at + 1;
}

static size_t answer_to(const struct record *record, uint8_t *packet, size_t len)
{
	char addresses[256], *rest = addresses, *word;
	uint8_t count = 0;

	packet[2] = 0x85; /* a response, authoritative, recursion was asked for */
	packet[3] = 0x80 | record->rcode;
	snprintf(addresses, sizeof(addresses), "%s", record->addresses);
	while ((word = strsep(&rest, " "))) {
		const uint8_t fixed[] = { 0xc0, 12, 0, 1, 0, 1, (uint8_t)(record->ttl_s >> 24), (uint8_t)(record->ttl_s >> 16),
					  (uint8_t)(record->ttl_s >> 8), (uint8_t)record->ttl_s, 0, 4 };

		if (!*word)
			continue;
		memcpy(packet + len, fixed, sizeof(fixed));
		assert_int_equal(inet_pton(AF_INET, word, packet + len + sizeof(fixed)), 1);
		len += sizeof(fixed) + 4;
		count++;
	}
	packet[7] = count;
	return len;
}

static void on_question(evutil_socket_t fd, short what, void *arg)
{
	struct scene *scene = arg;
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	uint8_t packet[1024];
	ssize_t n = recvfrom(fd, packet, 512, 0, (struct sockaddr *)&from, &from_len);
	struct record *record = NULL;
	char name[512];
	size_t len;

	assert_true(n > 12);
	len = question_name(packet, (size_t)n, name) + 4;
	for (int i = 0; i < RECORDS_MAX && scene->records[i].name; i++)
		if (!strcmp(scene->records[i].name, name))
			record = &scene->records[i];
	if (!record)
		fail_msg("nobody should ask for `%s`", name);
	record->asked++;
	if (!record->addresses)
		return;
	len = answer_to(record, packet, len);
	assert_int_equal(sendto(fd, packet, len, 0, (struct sockaddr *)&from, from_len), (ssize_t)len);
}

static void on_changed(void *arg)
{
	((struct scene *)arg)->changes++;
}

static int setup(void **state)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	FILE *file;
	int fd;

	assert_non_null(scene);
	scene->base = event_base_new();
	scene->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(scene->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(scene->fd, (struct sockaddr *)&address, &len), 0);
	scene->server = event_new(scene->base, scene->fd, EV_READ | EV_PERSIST, on_question, scene);
	event_add(scene->server, NULL);
	strcpy(scene->resolv_conf, "/tmp/weft-dns-test-XXXXXX");
	fd = mkstemp(scene->resolv_conf);
	file = fdopen(fd, "w");
	fprintf(file, "nameserver 127.0.0.1:%u\noptions timeout:1 attempts:1\n", ntohs(address.sin_port));
	fclose(file);
	assert_int_equal(dns_new(&scene->dns, &(struct dns_options){ scene->base, scene->resolv_conf, on_changed, scene }), 0);
	*state = scene;
	return 0;
}

static int teardown(void **state)
{
	struct scene *scene = *state;

	dns_free(&scene->dns);
	event_free(scene->server);
	event_base_free(scene->base);
	close(scene->fd);
	unlink(scene->resolv_conf);
	free(scene);
	return 0;
}

/* ---- helpers --------------------------------------------------------------------------------------------------------------------- */

#define CLUSTER(name, type, more, endpoint) \
	"- {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: " name ", type: " type ", " more \
	"load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: " endpoint ", port_value: 80}}}}]}]}}\n"

static void want(struct scene *scene, const char *resources)
{
	_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct mesh *mesh = NULL;

	strbuf_printf(&text, "resources:\n%s", *resources ? resources : "  []\n");
	assert_int_equal(mesh_load_text("test.yaml", strbuf_text(&text), text.size, &mesh, &report), 0);
	assert_int_equal(dns_want(scene->dns, (const struct mesh *const *)&mesh, 1), 0);
	mesh_free(&mesh);
}

static void run_for(struct scene *scene, int ms)
{
	struct timeval time = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	event_base_loopexit(scene->base, &time);
	event_base_dispatch(scene->base);
}

/* Until so many changes were told, or nothing comes. */
static void wait_for_changes(struct scene *scene, int changes)
{
	for (int i = 0; i < 100 && scene->changes < changes; i++)
		run_for(scene, 50);
	assert_int_equal(scene->changes, changes);
}

static void knows(const struct scene *scene, const char *name, const char *expected, const char *first)
{
	char text[INET_ADDRSTRLEN], all[256] = "";
	struct dns_answer answer;

	assert_true(dns_find(scene->dns, name, &answer));
	assert_true(answer.is_known);
	for (size_t i = 0; i < answer.count; i++)
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? " " : "",
			 inet_ntop(AF_INET, &answer.ip4_be[i], text, sizeof(text)));
	assert_string_equal(all, expected);
	assert_string_equal(inet_ntop(AF_INET, &answer.first_ip4_be, text, sizeof(text)), first);
}

/* ---- tests ----------------------------------------------------------------------------------------------------------------------- */

static void test_names_of_dns_clusters_are_asked(void **state)
{
	struct scene *scene = *state;
	struct dns_answer answer;
	size_t names, unknown;

	scene->records[0] = (struct record){ "a.test", 0, 60, "10.0.0.3 10.0.0.1 10.0.0.2 10.0.0.1", 0 };
	scene->records[1] = (struct record){ "b.test", 0, 60, "10.0.1.1", 0 };
	want(scene, CLUSTER("one", "STRICT_DNS", "", "a.test") CLUSTER("two", "LOGICAL_DNS", "", "b.test.") CLUSTER("three", "STRICT_DNS", "", "a.test")
		    CLUSTER("four", "STRICT_DNS", "", "10.9.9.9"));
	dns_count(scene->dns, &names, &unknown);
	assert_int_equal(names, 2);
	assert_int_equal(unknown, 2);
	assert_true(dns_find(scene->dns, "a.test", &answer));
	assert_false(answer.is_known);
	wait_for_changes(scene, 1);
	knows(scene, "a.test", "10.0.0.1 10.0.0.2 10.0.0.3", "10.0.0.3");
	knows(scene, "b.test.", "10.0.1.1", "10.0.1.1");
	assert_false(dns_find(scene->dns, "10.9.9.9", &answer));
	assert_int_equal(scene->records[0].asked, 1);
	dns_count(scene->dns, &names, &unknown);
	assert_int_equal(unknown, 0);
}

static void test_a_name_is_asked_again_when_its_records_end(void **state)
{
	struct scene *scene = *state;

	scene->records[0] = (struct record){ "short.test", 0, 1, "10.0.0.1", 0 };
	scene->records[1] = (struct record){ "long.test", 0, 60, "10.0.0.1", 0 };
	scene->records[2] = (struct record){ "often.test", 0, 60, "10.0.0.1", 0 };
	want(scene, CLUSTER("short", "STRICT_DNS", "respect_dns_ttl: true, dns_refresh_rate: 60s, ", "short.test")
		    CLUSTER("long", "STRICT_DNS", "respect_dns_ttl: true, dns_refresh_rate: 1s, ", "long.test")
		    CLUSTER("often", "STRICT_DNS", "dns_refresh_rate: 1s, ", "often.test"));
	wait_for_changes(scene, 1);
	scene->records[0].addresses = "10.0.0.2";
	run_for(scene, 1400);
	assert_int_equal(scene->records[0].asked, 2);
	assert_int_equal(scene->records[1].asked, 1);
	assert_int_equal(scene->records[2].asked, 2);
	/* Only what is new is told. */
	assert_int_equal(scene->changes, 2);
	knows(scene, "short.test", "10.0.0.2", "10.0.0.2");
}

static void test_a_failure_keeps_the_last_answer(void **state)
{
	struct scene *scene = *state;

	scene->records[0] = (struct record){ "a.test", 0, 1, "10.0.0.1", 0 };
	want(scene, CLUSTER("one", "STRICT_DNS", "respect_dns_ttl: true, dns_refresh_rate: 1s, ", "a.test"));
	wait_for_changes(scene, 1);
	scene->records[0].rcode = SERVFAIL;
	scene->records[0].addresses = "";
	run_for(scene, 2500);
	assert_true(scene->records[0].asked >= 2);
	assert_int_equal(scene->changes, 1);
	knows(scene, "a.test", "10.0.0.1", "10.0.0.1");
	/* A server that does not answer at all is no other thing. */
	scene->records[0].addresses = NULL;
	run_for(scene, 2500);
	assert_int_equal(scene->changes, 1);
	knows(scene, "a.test", "10.0.0.1", "10.0.0.1");
	scene->records[0] = (struct record){ "a.test", 0, 60, "10.0.0.2", 0 };
	wait_for_changes(scene, 2);
	knows(scene, "a.test", "10.0.0.2", "10.0.0.2");
}

static void test_that_there_is_no_such_name_is_an_answer(void **state)
{
	struct scene *scene = *state;

	scene->records[0] = (struct record){ "gone.test", 0, 1, "10.0.0.1", 0 };
	scene->records[1] = (struct record){ "empty.test", 0, 1, "10.0.0.2", 0 };
	want(scene, CLUSTER("one", "STRICT_DNS", "respect_dns_ttl: true, ", "gone.test") CLUSTER("two", "STRICT_DNS", "respect_dns_ttl: true, ", "empty.test"));
	wait_for_changes(scene, 1);
	scene->records[0].rcode = NXDOMAIN;
	scene->records[0].addresses = scene->records[1].addresses = "";
	run_for(scene, 1500);
	assert_true(scene->changes > 1);
	knows(scene, "gone.test", "", "10.0.0.1");
	knows(scene, "empty.test", "", "10.0.0.2");
}

static void test_names_come_and_go_with_the_mesh(void **state)
{
	struct scene *scene = *state;
	struct dns_answer answer;

	scene->records[0] = (struct record){ "a.test", 0, 60, "10.0.0.1", 0 };
	scene->records[1] = (struct record){ "b.test", 0, 60, "10.0.0.2", 0 };
	scene->records[2] = (struct record){ "late.test", 0, 60, "10.0.0.3", 0 };
	want(scene, CLUSTER("one", "STRICT_DNS", "", "a.test"));
	wait_for_changes(scene, 1);
	want(scene, CLUSTER("one", "STRICT_DNS", "", "a.test") CLUSTER("two", "STRICT_DNS", "", "b.test"));
	wait_for_changes(scene, 2);
	assert_int_equal(scene->records[0].asked, 1);
	/* An answer that comes when nobody waits for it any more is nobody's. */
	want(scene, CLUSTER("two", "STRICT_DNS", "", "b.test") CLUSTER("three", "STRICT_DNS", "", "late.test"));
	want(scene, CLUSTER("two", "STRICT_DNS", "", "b.test"));
	run_for(scene, 300);
	assert_int_equal(scene->records[2].asked, 1);
	assert_int_equal(scene->changes, 2);
	assert_false(dns_find(scene->dns, "a.test", &answer));
	assert_false(dns_find(scene->dns, "late.test", &answer));
	knows(scene, "b.test", "10.0.0.2", "10.0.0.2");
}

static void test_what_is_known_outlives_the_process(void **state)
{
	struct scene *scene = *state;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct dns_answer answer;

	scene->records[0] = (struct record){ "a.test", 0, 60, "10.0.0.2 10.0.0.1", 0 };
	want(scene, CLUSTER("one", "STRICT_DNS", "", "a.test"));
	wait_for_changes(scene, 1);
	assert_int_equal(dns_save(scene->dns, &text), 0);
	strbuf_append_text(&text, "odd\n\nb.test nonsense\nc.test 10.0.0.9\n");
	dns_free(&scene->dns);
	assert_int_equal(dns_new(&scene->dns, &(struct dns_options){ scene->base, scene->resolv_conf, on_changed, scene }), 0);
	assert_int_equal(dns_restore(scene->dns, strbuf_text(&text)), 0);
	knows(scene, "a.test", "10.0.0.1 10.0.0.2", "10.0.0.2");
	knows(scene, "c.test", "", "10.0.0.9");
	assert_false(dns_find(scene->dns, "b.test", &answer));
	want(scene, CLUSTER("one", "STRICT_DNS", "", "a.test"));
	run_for(scene, 200);
	assert_int_equal(scene->records[0].asked, 2);
	assert_int_equal(scene->changes, 1);
	knows(scene, "a.test", "10.0.0.1 10.0.0.2", "10.0.0.2");
}

static void test_a_name_that_is_none_waits(void **state)
{
	struct scene *scene = *state;
	struct dns_answer answer;
	char *text;

	assert_true(asprintf(&text, CLUSTER("one", "STRICT_DNS", "", "%0300d.test"), 0) > 0);
	want(scene, text);
	free(text);
	run_for(scene, 100);
	assert_int_equal(scene->changes, 0);
	assert_false(dns_find(scene->dns, "", &answer));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names_of_dns_clusters_are_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_name_is_asked_again_when_its_records_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_failure_keeps_the_last_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_that_there_is_no_such_name_is_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_come_and_go_with_the_mesh, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_known_outlives_the_process, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_name_that_is_none_waits, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/keeper.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define QUICK_DEATH_NS 1000000000ull /* a worker that lived shorter makes the next one wait */
#define BACKOFF_MIN_MS 50u
#define BACKOFF_MAX_MS 1000u
#define STOP_TIMEOUT_MS 10000u

struct keeper {
	struct table *table;
	const struct keeper_job *job;
	struct keeper_state *state;
	sigset_t signals;
	pid_t worker;          /* 0: none */
	uint64_t born_ns;
	uint32_t backoff_ms;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void fill_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGCHLD);
}

int keeper_block_signals(void)
{
	sigset_t set;

	fill_signals(&set);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	/* A peer that went away is an error of one write, not of the process. */
	return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -errno : 0;
}

static int worker_main(const struct keeper *keeper)
{
	/* Whoever kills the keeper means the daemon: nothing of it may live on and hold the lock. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper->state->keeper_pid)
		return KEEPER_EXIT_FAILED;
	prctl(PR_SET_NAME, keeper->job->name);
	return keeper->job->work(keeper->job->arg, keeper->state);
}

static int start_worker(struct keeper *keeper)
{
	long pid;

	/* Like fork(), but with one descriptor table for both. The keeper has one thread, so nothing that fork() would repair is in disorder. */
	pid = syscall(SYS_clone, (unsigned long)(CLONE_FILES | SIGCHLD), NULL, NULL, NULL, NULL);
	if (pid < 0)
		return -errno;
	if (pid == 0)
		exit(worker_main(keeper));
	keeper->worker = (pid_t)pid;
	keeper->born_ns = now_ns();
	return 0;
}

static void say_how_it_ended(pid_t pid, int status)
{
	if (WIFSIGNALED(status))
		log_error("worker %d was ended by signal %d (%s)", (int)pid, WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != KEEPER_EXIT_FAILED)
		log_error("worker %d ended with status %d", (int)pid, WEXITSTATUS(status));
}

/* Returns whether a worker ended, and how. */
static bool reap(struct keeper *keeper, int *status)
{
	pid_t pid;

	while ((pid = waitpid(-1, status, WNOHANG)) > 0) {
		if (pid == keeper->worker) {
			keeper->worker = 0;
			return true;
		}
	}
	return false;
}

/* The next signal, or 0 after `timeout_ms` (negative: never). */
static int next_signal(const struct keeper *keeper, int64_t timeout_ms)
{
	struct timespec wait = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000 };
	int r;

	do {
		r = timeout_ms < 0 ? sigwaitinfo(&keeper->signals, NULL) : sigtimedwait(&keeper->signals, NULL, &wait);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? 0 : r;
}

/* Asks the worker to end, waits, and makes sure. */
static void stop_worker(struct keeper *keeper)
{
	uint64_t deadline_ns = now_ns() + (keeper->job->stop_timeout_ms ? keeper->job->stop_timeout_ms : STOP_TIMEOUT_MS) * 1000000ull;
	int status;

	if (!keeper->worker)
		return;
	kill(keeper->worker, SIGTERM);
	while (!reap(keeper, &status)) {
		uint64_t now = now_ns();
		int signal_number;

		if (now >= deadline_ns) {
			log_warning("worker %d does not end, killing it", (int)keeper->worker);
			kill(keeper->worker, SIGKILL);
			waitpid(keeper->worker, &status, 0);
			keeper->worker = 0;
			return;
		}
		signal_number = next_signal(keeper, (int64_t)((deadline_ns - now) / 1000000) + 1);
		/* Asked a second time: somebody does not want to wait. */
		if (signal_number == SIGTERM || signal_number == SIGINT)
			deadline_ns = 0;
	}
}

/* A worker ended by itself. False: there is no sense in another one. */
static bool plan_next(struct keeper *keeper, int status, int64_t *delay_ms)
{
	if (!__atomic_load_n(&keeper->state->has_served, __ATOMIC_RELAXED) && WIFEXITED(status) && WEXITSTATUS(status) == KEEPER_EXIT_FAILED)
		return false;
	if (now_ns() - keeper->born_ns >= QUICK_DEATH_NS) {
		keeper->backoff_ms = 0;
		keeper->state->quick_deaths = 0;
	} else {
		keeper->state->quick_deaths++;
	}
	*delay_ms = keeper->backoff_ms;
	keeper->backoff_ms = keeper->backoff_ms ? keeper->backoff_ms * 2 : BACKOFF_MIN_MS;
	if (keeper->backoff_ms > BACKOFF_MAX_MS)
		keeper->backoff_ms = BACKOFF_MAX_MS;
	return true;
}

static int replace_worker(struct keeper *keeper)
{
	int r;

	r = table_close_strays(keeper->table);
	if (r)
		return log_err(r, "closing what the last worker left open");
	__atomic_fetch_add(&keeper->state->restarts, 1, __ATOMIC_RELAXED);
	return start_worker(keeper);
}

static bool is_replaced(const struct keeper *keeper)
{
	return __atomic_load_n(&keeper->state->is_replaced, __ATOMIC_SEQ_CST);
}

static bool is_draining(const struct keeper *keeper)
{
	return __atomic_load_n(&keeper->state->is_draining, __ATOMIC_SEQ_CST);
}

static bool is_told_to_end(const struct keeper *keeper)
{
	return __atomic_load_n(&keeper->state->is_told_to_end, __ATOMIC_RELAXED);
}

static bool is_untaken(const struct keeper *keeper)
{
	return keeper->job->is_replacement && !__atomic_load_n(&keeper->state->has_served, __ATOMIC_ACQUIRE);
}

/* Nothing may be cleared away that is another one's. */
static int ending(const struct keeper *keeper, int status)
{
	if (is_replaced(keeper))
		return KEEPER_EXIT_REPLACED;
	if (is_draining(keeper))
		return KEEPER_EXIT_DRAINED;
	return is_untaken(keeper) ? KEEPER_EXIT_UNTAKEN : status;
}

/* Replaced by another one, and asked to end for the first time: what is open in the worker may take its time. */
static bool lets_worker_end(struct keeper *keeper)
{
	if (!keeper->job->stays_when_replaced || is_told_to_end(keeper) || !keeper->worker)
		return false;
	__atomic_store_n(&keeper->state->is_told_to_end, 1, __ATOMIC_SEQ_CST);
	return is_replaced(keeper) || is_draining(keeper);
}

static int drained(const struct keeper *keeper)
{
	return keeper->job->stays_when_replaced && !is_told_to_end(keeper) ? KEEPER_EXIT_DRAINED_STAYS : KEEPER_EXIT_DRAINED;
}

/* Nothing here is needed any more, and the worker that shared it is gone. */
static void begin_to_wait(void)
{
	log_info("replaced: waiting to be told to end");
	if (close_range(STDERR_FILENO + 1, ~0u, 0))
		log_warn(-errno, "closing what is another weftd's now");
}

/* False: it ends with its worker. */
static bool stays(struct keeper *keeper)
{
	if (!keeper->job->stays_when_replaced || is_told_to_end(keeper))
		return false;
	begin_to_wait();
	return true;
}

static bool has_done(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == KEEPER_EXIT_DONE;
}

static int supervise(struct keeper *keeper)
{
	int64_t delay_ms = -1; /* until the next worker; -1: there is one */

	for (;;) {
		int signal_number = next_signal(keeper, delay_ms);
		pid_t worker = keeper->worker;
		int status;

		switch (signal_number) {
		case SIGTERM:
		case SIGINT:
			if (lets_worker_end(keeper)) {
				log_info("%s: stopping when nothing is open here any more; once more: at once", strsignal(signal_number));
				break;
			}
			log_info("%s: stopping", strsignal(signal_number));
			stop_worker(keeper);
			return ending(keeper, KEEPER_EXIT_DONE);
		case SIGHUP:
			if (keeper->worker)
				kill(keeper->worker, SIGHUP);
			break;
		case SIGCHLD:
			if (!reap(keeper, &status))
				break;
			if (is_replaced(keeper)) {
				if (stays(keeper))
					break;
				return KEEPER_EXIT_REPLACED;
			}
			if (is_draining(keeper) && has_done(status))
				return drained(keeper);
			if (!is_told_to_end(keeper) || !has_done(status))
				say_how_it_ended(worker, status);
			if (is_draining(keeper)) {
				log_error("it was draining: what was open in it ends");
				return drained(keeper);
			}
			/* The one that replaced it is gone, and the request to end still stands. */
			if (is_told_to_end(keeper))
				return ending(keeper, KEEPER_EXIT_DONE);
			/* The other one can go on, as long as it is sure that this one does not: no further try. */
			if (is_untaken(keeper) || !plan_next(keeper, status, &delay_ms))
				return ending(keeper, KEEPER_EXIT_FAILED);
			log_warning("a new worker begins in %lld ms; open connections stay", (long long)delay_ms);
			break;
		case 0: /* time for the next worker */
			if (replace_worker(keeper) == 0)
				delay_ms = -1;
			else
				delay_ms = BACKOFF_MAX_MS;
			break;
		}
	}
}

int keeper_run(struct table *table, const struct keeper_job *job)
{
	struct keeper keeper = { .table = table, .job = job };
	int r;

	keeper.state = mmap(NULL, sizeof(*keeper.state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (keeper.state == MAP_FAILED) {
		log_err(-errno, "no memory to share with the worker");
		return KEEPER_EXIT_FAILED;
	}
	keeper.state->keeper_pid = getpid();
	keeper.state->started_ns = now_ns();
	keeper.state->generation = job->generation;
	fill_signals(&keeper.signals);
	r = start_worker(&keeper);
	if (r)
		log_err(r, "making the worker");
	r = r ? ending(&keeper, KEEPER_EXIT_FAILED) : supervise(&keeper);
	munmap(keeper.state, sizeof(*keeper.state));
	return r;
}

void keeper_wait_for_end(void)
{
	struct keeper keeper = { 0 };
	int signal_number;

	begin_to_wait();
	fill_signals(&keeper.signals);
	do {
		signal_number = next_signal(&keeper, -1);
	} while (signal_number != SIGTERM && signal_number != SIGINT);
}

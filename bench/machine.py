"""What the machine did while a measurement ran: by cgroup, as a whole, and how much of it was somebody else's."""
import os
import pathlib
import socket
import statistics
import time

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


def cgroup_cpu_us(cgroup):
    """CPU time of everything in the cgroup and below it, in microseconds. BPF work counts for who caused it; kernel threads do not show."""
    for line in (pathlib.Path(cgroup) / "cpu.stat").read_text().splitlines():
        if line.startswith("usage_usec "):
            return int(line.split()[1])
    return 0


def cgroup_pids(cgroup):
    pids = set()
    for procs in pathlib.Path(cgroup).rglob("cgroup.procs"):
        try:
            pids.update(int(pid) for pid in procs.read_text().split())
        except OSError:
            pass
    return pids


def machine_us():
    """(busy, stolen, all) CPU time of the whole machine, in microseconds."""
    fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, idle, iowait, irq, softirq, steal = fields
    busy = user + nice + system + irq + softirq
    return busy * TICK_US, steal * TICK_US, (busy + idle + iowait + steal) * TICK_US


def foreign_us(cgroup):
    """CPU time ever used by processes that are neither ours (in the cgroup, or this one) nor kernel threads, their dead children included:
    the difference of two readings is what others used meanwhile, even if they began or ended between them."""
    ours = cgroup_pids(cgroup) | {os.getpid()}
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in ours:
            continue
        try:
            fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parent = int(fields[1])
        if parent in (0, 2) and int(entry) != 1:
            continue
        total += sum(int(f) for f in fields[11:15])
    return total * TICK_US


class Watch:
    """with Watch(cgroup) as watch: ...; then its fields say what happened meanwhile."""

    def __init__(self, cgroup):
        self.cgroup = cgroup
        self.cgroup_us = self.busy_us = self.wall_us = 0
        self.foreign_share = self.steal_share = 0.0

    def read(self):
        return cgroup_cpu_us(self.cgroup), *machine_us(), foreign_us(self.cgroup), time.monotonic()

    def __enter__(self):
        self.start = self.read()
        return self

    def __exit__(self, *_):
        cgroup, busy, steal, everything, foreign, now = (b - a for a, b in zip(self.start, self.read()))
        self.cgroup_us, self.busy_us, self.wall_us = cgroup, busy, now * 1_000_000
        self.steal_share = steal / max(everything, 1)
        self.foreign_share = max(foreign, 0) / max(everything, 1)

    def is_clean(self):
        """Others used the machine too much for this measurement to say anything: more than 10 % of it, or 15 % stolen by the host."""
        return self.foreign_share <= 0.10 and self.steal_share <= 0.15


IDLE_TRIPS = 400


def echo(cpu, end):
    os.sched_setaffinity(0, {cpu})
    while end.recv(1):
        end.send(b"x")


def idle_trip_us():
    """A byte there and back between two processes on two processors, both idle otherwise: two wake-ups of an idle processor and next to nothing else,
    which every exchange of one connection has too. None on a machine with one processor."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return None
    here, there = socket.socketpair()
    child = os.fork()
    if not child:
        try:
            here.close()
            echo(cpus[1], there)
        finally:
            os._exit(0)
    there.close()
    trips = []
    try:
        os.sched_setaffinity(0, {cpus[0]})
        for _ in range(IDLE_TRIPS):
            start = time.perf_counter_ns()
            here.send(b"x")
            if not here.recv(1):
                raise RuntimeError("the other end of the wake-up measurement is gone")
            trips.append((time.perf_counter_ns() - start) / 1000)
    finally:
        os.sched_setaffinity(0, cpus)
        here.close()
        os.waitpid(child, 0)
    return statistics.median(trips)

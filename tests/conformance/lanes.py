# SPDX-License-Identifier: Apache-2.0
"""Cases side by side: a process a pod, each with the servers and one client at a time, so that every request at a server belongs to the case
that its pod is running."""
import asyncio
import ctypes
import multiprocessing
import os
import signal
import traceback

import client
import policy
import ring
from backend import Backends

CLONE_NEWNET = 0x40000000
CONTEXT = multiprocessing.get_context("fork")


def enter_pod(cgroup, netns):
    """The calling process becomes one of the pod's."""
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(netns, os.O_RDONLY)
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"cannot enter {netns}")
    os.close(fd)


class Lanes:
    """`topics` is fixed before the processes are made: they inherit it."""

    def __init__(self, mesh, topics, decorate):
        self.mesh = mesh
        self.topics = topics
        self.decorate = decorate
        self.next = CONTEXT.Value("i", 0)
        self.ran_in = {}  # case id: lane
        self.pipes = []
        self.processes = []

    def start(self):
        for lane in range(len(self.mesh.pods)):
            ours, theirs = CONTEXT.Pipe()
            process = CONTEXT.Process(target=self.main, args=(lane, theirs), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def stop(self):
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(2)
            if process.is_alive():
                process.kill()

    def prepare(self, index):
        """Every lane's servers take the clusters of topic `index`."""
        self.tell(("prepare", index, None))
        self.hear()

    def run(self, index, wanted=None):
        """Runs a topic's cases; returns {id: (differences, is_stricter, found or None)}. Those of the ids `wanted` once more, each in another pod than
        the first time: what that one has left in the kernel (an idle upstream, say) would be another case."""
        self.next.value = 0
        for lane, pipe in enumerate(self.pipes):
            pipe.send(("run", index, wanted and {case for case in wanted if (self.ran_in.get(case, 0) + 1) % len(self.pipes) == lane}))
        results = {}
        for lane, answers in enumerate(self.hear()):
            results.update(answers)
            self.ran_in.update({case: lane for case in answers})
        return results

    def tell(self, command):
        for pipe in self.pipes:
            pipe.send(command)

    def hear(self):
        answers = []
        for pipe in self.pipes:
            if not pipe.poll(120):
                raise SystemExit("conformance: a lane does not answer")
            answer = pipe.recv()
            if isinstance(answer, str):
                raise SystemExit(f"conformance: a lane failed:\n{answer}")
            answers.append(answer)
        return answers

    # ---- in a lane's process -----------------------------------------------------------------------------------------------------------

    def main(self, lane, pipe):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for other in self.pipes:
            other.close()
        enter_pod(self.mesh.pod_cgroup(lane), self.mesh.pod_netns(lane))
        asyncio.run(self.serve(lane, pipe))

    async def serve(self, lane, pipe):
        loop = asyncio.get_running_loop()
        backends = Backends()
        while True:
            try:
                command, index, wanted = await loop.run_in_executor(None, pipe.recv)
            except (EOFError, OSError):
                return
            topic = self.topics[index]
            try:
                if command == "prepare":
                    backends.drop()
                    await backends.serve(topic.config, topic.endpoints)
                    pipe.send({})
                else:
                    pipe.send(await self.run_cases(lane, topic, wanted, backends))
            except Exception:  # pylint: disable=broad-except
                pipe.send(traceback.format_exc())

    async def run_cases(self, lane, topic, wanted, backends):
        results = {}
        for case in self.take(topic.cases) if wanted is None else [c for c in topic.cases if c.id in wanted]:
            found = await client.run_case(case, backends)
            judged = policy.compare(ring.for_client(topic, case, self.mesh.pod_ip(lane)), found, self.decorate, self.mesh.pod_ip(lane))
            results[case.id] = (judged.differences, judged.is_stricter, found if judged.differences else None)
        return results

    def take(self, cases):
        """In turn with the other lanes."""
        while True:
            with self.next.get_lock():
                at = self.next.value
                self.next.value += 1
            if at >= len(cases):
                return
            yield cases[at]

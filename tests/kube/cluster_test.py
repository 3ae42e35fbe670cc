#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pods by the hundred, made, labelled, changed and deleted in a cluster whose API server misbehaves: what weftd has of them equals what is there.

  cluster_test.py --build BUILD [--server KUBE_SERVER] [--pods 120] [--rounds 6] [--seed N] [--hang SECONDS]

The API server is tests/kube/apiserver.py, or tests/kube/server where --server names it: the same sentences hold with both. Pods have real cgroups and
network namespaces, which appear before and after what the server says of them, and go likewise. Needs root.
"""
import argparse
import os
import random
import shutil
import signal
import sys
import time

import node as kube

MODE = "istio.io/dataplane-mode"
NAMESPACES = [f"team-{number}" for number in range(8)]


class Pod:
    """What the server has been told of a pod, and what there is of it on the node."""

    def __init__(self, number, namespace, name, mode, where):
        self.number, self.namespace, self.name, self.mode, self.where = number, namespace, name, mode, where
        self.uid, self.has_address, self.has_sandbox, self.phase, self.ends = None, False, False, "Running", False

    @property
    def key(self):
        return f"{self.namespace}/{self.name}"

    def object(self):
        labels = {"app": self.name}
        if self.mode:
            labels[MODE] = self.mode
        return {"kind": "Pod", "metadata": {"name": self.name, "namespace": self.namespace, "labels": labels, **({"uid": self.uid} if self.uid else {})},
                "spec": {"nodeName": self.where, "containers": [{"name": "main"}]},
                "status": {"phase": self.phase, "podIPs": [{"ip": kube.Node.address_of(self.number)}] if self.has_address else []}}


class Cluster:
    def __init__(self, node, seed):
        self.node, self.random, self.pods, self.modes, self.next = node, random.Random(seed), {}, dict.fromkeys(NAMESPACES), 0

    # ---- what happens --------------------------------------------------------------------------------------------------------------------

    def label(self, namespace, mode):
        self.modes[namespace] = mode
        self.node.order({"put": {"kind": "Namespace", "metadata": {"name": namespace, "labels": {MODE: mode} if mode else {}}}})

    def tell(self, pods):
        """The server, of all of them at once."""
        uids = self.node.order({"put": [pod.object() for pod in pods]})["uids"]
        for pod, uid in zip(pods, uids):
            pod.uid = uid

    def make(self, namespace=None, name=None):
        self.next += 1
        pod = Pod(self.next, namespace or self.random.choice(NAMESPACES), name or f"pod-{self.next}", self.random.choice([None, None, None, "weft", "none"]),
                  "node-a" if self.random.random() < 0.8 else self.random.choice(["node-b", ""]))
        self.pods[pod.key] = pod
        return pod

    def begin(self, pod):
        """Its sandbox: kubelet makes it once it knows of the pod, and reports the address then."""
        self.node.sandbox(pod.number, pod.uid)
        self.node.wait_for_sandbox(pod.number)
        pod.has_sandbox = True

    def end(self, pod):
        if pod.has_sandbox:
            self.node.end_sandbox(pod.number)
            pod.has_sandbox = False

    def make_many(self, count):
        pods = [self.make() for _ in range(count)]
        self.tell(pods)
        for pod in pods:
            if pod.where != "node-a":
                continue
            fate = self.random.random()
            if fate < 0.7: # as it should be
                self.begin(pod)
                pod.has_address = True
            elif fate < 0.85: # an address that is known before the sandbox can be found
                pod.has_address = True
        self.tell([pod for pod in pods if pod.has_address])
        for pod in pods:
            if pod.has_address and not pod.has_sandbox and self.random.random() < 0.7:
                self.begin(pod)

    def some(self, count):
        return self.random.sample(sorted(self.pods.values(), key=lambda pod: pod.key), min(count, len(self.pods)))

    def relabel(self, count):
        pods = self.some(count)
        for pod in pods:
            pod.mode = self.random.choice([None, "weft", "none", "ambient"])
        self.tell(pods)
        for name in self.random.sample(NAMESPACES, 3):
            self.label(name, self.random.choice([None, "weft", "weft", "none"]))

    def bind(self):
        """Those that nobody has given a node."""
        pods = [pod for pod in self.pods.values() if not pod.where]
        for pod in pods:
            pod.where = "node-a"
        self.tell(pods)

    def delete(self, count):
        """Some by kubectl, whose sandboxes end and then they; some at once; some are there again, as others of the same name, before weftd can have looked."""
        pods = self.some(count)
        ended = [pod for pod in pods if pod.where and self.random.random() < 0.5]
        self.node.order({"end": [pod.key for pod in ended]})
        for pod in pods:
            if self.random.random() < 0.5:
                self.end(pod)
        again = [pod for pod in pods if self.random.random() < 0.3]
        self.node.order({"delete": [pod.key for pod in pods]})
        for pod in pods:
            del self.pods[pod.key]
        fresh = [self.make(pod.namespace, pod.name) for pod in again]
        self.tell(fresh)
        for pod in pods:
            self.end(pod)
        for pod in fresh:
            if pod.where == "node-a":
                self.begin(pod)
                pod.has_address = True
        self.tell(fresh)

    def complete(self, count):
        for pod in (pods := self.some(count)):
            pod.phase = "Succeeded"
        self.tell(pods)

    # ---- what has to be -------------------------------------------------------------------------------------------------------------------

    def state_of(self, pod):
        mode = pod.mode or self.modes[pod.namespace]
        if not mode:
            return "unasked not_labelled"
        if mode != "weft":
            return "unasked " + ("opted_out" if mode == "none" else "other_mode")
        if pod.phase == "Succeeded":
            return "skipped terminated"
        if not pod.has_address:
            return "waiting no_ip"
        return "serving " if pod.has_sandbox else "waiting no_cgroup"

    def wanted(self):
        return {pod.key: (pod.uid, self.state_of(pod)) for pod in self.pods.values() if pod.where == "node-a"}

    def found(self):
        answer = self.node.ask("pods")
        return {f"{pod['namespace']}/{pod['name']}": (pod["uid"], f"{pod['state']} {pod['reason_name']}") for pod in answer["pods"]} if answer else {}

    def differences(self):
        wanted, found = self.wanted(), self.found()
        return [f"{key}: wanted {wanted.get(key)}, found {found.get(key)}" for key in sorted(wanted.keys() | found.keys()) if wanted.get(key) != found.get(key)]

    def agrees(self, seconds):
        end = time.monotonic() + seconds
        while self.differences() and time.monotonic() < end:
            time.sleep(0.1)
        return self.differences()


class Test:
    def __init__(self, node, arguments):
        self.node, self.arguments, self.cluster, self.sentences, self.wrong = node, arguments, Cluster(node, arguments.seed), 0, 0

    def says(self, sentence, problems):
        self.sentences += 1
        self.wrong += bool(problems)
        print(f"  {'WRONG' if problems else 'ok   '} {sentence}", *problems[:6], sep="\n        ", flush=True)

    def holds(self, sentence, condition, seconds=40):
        """`condition` within that time."""
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            time.sleep(0.05)
        self.says(sentence, [] if condition() else [f"not after {seconds} s; pods: {self.side('pods')}, namespaces: {self.side('namespaces')}"])

    def agrees(self, sentence, seconds=40):
        at = time.monotonic()
        self.says(sentence, self.cluster.agrees(seconds))
        return time.monotonic() - at

    def side(self, kind):
        return self.node.ask("status")["kubernetes"][kind]

    def sides(self, what):
        status = self.node.ask("status")["kubernetes"]
        return [status["pods"][what], status["namespaces"][what]]

    def errors(self):
        return " ".join(self.sides("last_error"))

    # ---- sentences ------------------------------------------------------------------------------------------------------------------------

    def by_the_hundred(self):
        cluster, count = self.cluster, self.arguments.pods
        for name in NAMESPACES:
            cluster.label(name, cluster.random.choice([None, "weft"]))
        cluster.make_many(count // 2)
        self.node.start_weftd(*self.node.kubernetes())
        self.node.wait(lambda: self.node.ask("status"))
        self.agrees(f"of {len(cluster.pods)} pods each is what labels and node make it")
        cluster.make_many(count - count // 2)
        self.agrees(f"so are {len(cluster.pods)}, half of them new")
        cluster.relabel(count // 2)
        cluster.bind()
        self.agrees("labels change, of pods and namespaces, and pods are bound")
        cluster.complete(5)
        cluster.delete(count // 3)
        self.agrees("a third is deleted; some come back as others of the same name")

    def rounds(self):
        """Changes by chance, with a fault among them; the server is asked for nothing but what a watch tells."""
        cluster, node = self.cluster, self.node
        lists = sum(self.sides("lists"))
        changes = [lambda: cluster.make_many(8), lambda: cluster.relabel(30), lambda: cluster.delete(10), lambda: cluster.complete(2), cluster.bind]
        faults = [{"drop": True}, {"hang": 0.5}, {"fault": {"code": 500, "verb": "watch"}, "drop": True},
                  {"fault": {"code": 429, "retry_after": 1, "verb": "watch"}, "drop": True}]
        problems = []
        for number in range(self.arguments.rounds):
            for at in range(4):
                cluster.random.choice(changes)()
                if at == number % 4:
                    node.order(cluster.random.choice(faults))
            problems += cluster.agrees(40)
        for _ in range(20): # too often for any watch to live
            cluster.random.choice(changes)()
            node.order({"drop": True})
        problems += cluster.agrees(60)
        self.says(f"after {4 * self.arguments.rounds + 20} changes by chance, with faults among them, they are what they should be", problems)
        self.says("without a list: watches went on from where they were", [] if sum(self.sides("lists")) == lists else [f"lists: {self.sides('lists')}"])

    def refusals(self):
        for code, text in ((429, "429"), (500, "500"), (503, "503")):
            self.node.order({"fault": {"code": code, "retry_after": 1, "verb": "watch", "count": 2}, "drop": True})
            self.holds(f"{code} for a watch is shown", lambda: text in self.errors())
            self.cluster.relabel(20)
            self.agrees("and what changed meanwhile comes after it")
        self.holds("then all is well again", lambda: not self.errors().strip())

    def hangs(self):
        seconds = self.arguments.hang
        failures = sum(self.sides("failures"))
        self.node.order({"hang": seconds})
        self.node.order({"drop": True})
        self.cluster.relabel(20)
        if seconds > 30:
            self.holds("a server that accepts and says nothing is given up", lambda: sum(self.sides("failures")) > failures and self.errors().strip(), 45)
        self.agrees(f"when it speaks again after {seconds} s, changes come", seconds + 40)

    def tokens(self):
        self.node.order({"rotate": True})
        self.node.order({"drop": True})
        self.cluster.relabel(10)
        self.agrees("a token that takes the place of another is taken at once")
        self.says("without a failure", [] if "401" not in self.errors() else [self.errors()])
        self.node.order({"expire_token": True})
        self.cluster.relabel(10)
        self.agrees("a watch outlives its token")
        before = self.cluster.found()
        self.node.order({"drop": True})
        self.holds("a token that is not taken any more is told of", lambda: all("401" in error for error in self.sides("last_error")))
        self.says("what was known goes on", [] if self.cluster.found() == before else ["pods differ"])
        self.cluster.relabel(10)
        self.node.order({"rotate": True})
        self.agrees("with the next one, what changed meanwhile comes")
        token = self.node.state / "api/token"
        token.rename(token.with_name("away"))
        self.node.order({"drop": True})
        self.holds("a file that is not there is told of by its name", lambda: all(f"{token}: No such file" in error for error in self.sides("last_error")))
        self.cluster.relabel(10)
        token.with_name("away").rename(token)
        self.agrees("when it is back, what changed meanwhile comes")

    def pages(self):
        """A list of more than one page, whose place the server has forgotten when the second one is asked for."""
        self.node.order({"put": [{"kind": "Namespace", "metadata": {"name": f"other-{number}"}} for number in range(600)]})
        self.holds("hundreds of namespaces more are known", lambda: self.side("namespaces")["count"] == len(self.cluster.modes) + 600)
        lists = self.side("namespaces")["lists"]
        self.node.order({"fault": {"code": 410, "verb": "continue"}})
        self.node.order({"fault": {"code": 410, "verb": "watch", "count": 3}, "drop": True}) # one of the two kinds may take two of them
        self.holds("they are listed again, from the first page when the second one is too old", lambda: self.side("namespaces")["lists"] > lists and not self.node.told()["faults"])
        self.node.order({"delete": [f"other-{number}" for number in range(500)]})
        self.holds("and what is deleted then is gone", lambda: self.side("namespaces")["count"] == len(self.cluster.modes) + 100)
        self.agrees("pods are what they were")

    def restarts(self):
        if self.node.kube_server: # what has no state can't go on
            lists = sum(self.sides("lists"))
            self.node.server_goes()
            time.sleep(2)
            self.node.start_server()
            self.cluster.make_many(5)
            self.cluster.delete(5)
            self.agrees("a server that goes and comes back has its watches go on")
            # a kind that has not changed for longer than others may be too old for a cache that has just begun
            self.says("with a list of each, at most", [] if sum(self.sides("lists")) <= lists + 2 else [f"lists: {self.sides('lists')}"])
        self.node.server_goes()
        self.holds("that it is away is shown", lambda: all(self.sides("last_error")))
        before = self.cluster.found()
        if self.node.kube_server:
            self.node.start_server("--forget")
            self.cluster.delete(10)
        else:
            things = [{"kind": "Namespace", "metadata": {"name": name, "labels": {MODE: mode} if mode else {}}} for name, mode in self.cluster.modes.items()]
            self.node.start_server_with(things + [pod.object() for pod in self.cluster.pods.values()])
        self.says("pods are what they were meanwhile", [] if before else ["there are none"])
        self.cluster.relabel(20)
        self.agrees("what has forgotten everything that was asked is listed again")

    def ends(self):
        for namespace in NAMESPACES[:2]:
            self.node.order({"delete": namespace})
            self.cluster.modes[namespace] = None
        self.agrees("pods of a namespace that is gone are judged by their own labels")
        for namespace in NAMESPACES:
            self.cluster.label(namespace, "weft")
        gone = sorted(self.cluster.pods.values(), key=lambda pod: pod.key)
        self.node.order({"delete": [pod.key for pod in gone]})
        self.cluster.pods.clear()
        for pod in gone:
            self.cluster.end(pod)
        self.agrees("when all are deleted there are none")
        self.holds("and none is served or drained", lambda: not self.node.ask("status")["pods"])
        held = self.node.held()
        self.holds("nothing is left of them", lambda: not any(held[f"entries of the map {name}"] for name in kube.MAPS[:2]) and held["links"] == self.links)

    def run(self):
        self.node.start_server(*self.arguments.server_option)
        self.node.start_weftd()
        self.node.wait(lambda: self.node.ask("status"))
        self.links = self.node.held()["links"]
        self.node.stop_weftd()
        self.by_the_hundred()
        descriptors = self.node.held()["descriptors"] - len(self.node.ask("status")["pods"])
        self.rounds()
        self.refusals()
        self.hangs()
        self.tokens()
        self.pages()
        self.restarts()
        self.ends()
        self.says("no descriptor leaks", [] if self.node.held()["descriptors"] <= descriptors + 8 else [f"{self.node.held()['descriptors']}, {descriptors} before"])
        self.node.stop_weftd()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--server", help="of tests/kube/server")
    parser.add_argument("--server-option", action="append", default=[])
    parser.add_argument("--pods", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--hang", type=int, default=3, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    print(f"cluster: seed {arguments.seed}, {arguments.server or 'tests/kube/apiserver.py'}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("cluster: told to end"))
    begun = time.monotonic()
    node = kube.Node(arguments.build, arguments.server)
    test = Test(node, arguments)
    try:
        test.run()
    finally:
        if os.environ.get("KEEP_LOG"):
            shutil.copy(node.log, os.environ["KEEP_LOG"])
        node.end()
    print(f"cluster: {test.sentences} sentences, {test.wrong} wrong, {time.monotonic() - begun:.0f} s")
    sys.exit(1 if test.wrong else 0)


if __name__ == "__main__":
    main()

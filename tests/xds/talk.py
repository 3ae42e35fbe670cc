# SPDX-License-Identifier: Apache-2.0
"""The stream under test, as a process that is told what to do and says what happens (talk.c)."""
import json
import pathlib
import queue
import subprocess
import threading
import time


class Talk:
    program = None  # set once by the test's main

    def __init__(self, address, **options):
        words = [f"{name.replace('_', '-')}={value}" for name, value in options.items()]
        self.process = subprocess.Popen([str(pathlib.Path(self.program)), address, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.events = queue.Queue()
        self.log = []
        self.past = []
        self.readers = [threading.Thread(target=self.read_events, daemon=True), threading.Thread(target=self.read_log, daemon=True)]
        for reader in self.readers:
            reader.start()

    def read_events(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put(None)

    def read_log(self):
        for line in self.process.stderr:
            self.log.append(line.rstrip())

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def send(self, body):
        self.tell("send " + body.hex())
        return self.next("sent")["result"]

    def stats(self):
        self.tell("stats")
        return self.next("stats")

    def next(self, name, timeout=10, **expected):
        """The next event of that kind whose fields are as expected; others are passed over."""
        end = time.monotonic() + timeout
        try:
            while True:
                event = self.events.get(timeout=max(0, end - time.monotonic()))
                if event is None:
                    raise AssertionError(f"talk ended before {name} {expected}; events: {self.past[-8:]}; log: {self.log[-40:]}")
                self.past.append(event)
                if event["event"] == name and all(event[k] == v for k, v in expected.items()):
                    return event
        except queue.Empty:
            raise AssertionError(f"no {name} {expected} in {timeout} s; events: {self.past[-8:]}; log: {self.log[-8:]}") from None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            self.tell("quit")
        except OSError:
            pass
        try:
            status = self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        for reader in self.readers:
            reader.join()
        if status != 0 and kind is None:
            raise AssertionError(f"talk ended with status {status}: " + "\n".join(self.log[-60:]))

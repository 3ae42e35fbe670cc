#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a real Envoy prints of a recorded stream of istiod under /config_dump?include_eds, as `istioctl proxy-config all -o json` fetches it.

  config_dump.py RECORDING ENVOY OUT.json.gz

How tests/data/envoy-dump was made. What only Istio's own build of Envoy knows is left out, and so is TLS towards endpoints (bench/xds/live.py). Times are
made equal, so that the same content gives the same file.
"""
import gzip
import json
import pathlib
import re
import sys
import tempfile
import time
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "bench/xds"))
import live  # noqa: E402


class Recorded(live.Recording):
    def __init__(self, folder):
        read = lambda name: live.discovery_pb2.DiscoveryResponse.FromString(gzip.decompress(next(folder.glob(f"*-resp-{name}.pb.gz")).read_bytes()))
        self.first = {live.CDS: read("cds"), live.LDS: read("lds"), live.EDS: read("eds"), live.RDS: read("rds")}

    def each(self):
        yield from self.first.values()


def main():
    folder, program, out = sys.argv[1:]
    feed = live.Feed(Recorded(pathlib.Path(folder)).for_envoy().first)
    with tempfile.TemporaryDirectory() as place:
        envoy = live.Envoy(program, place, feed.port, admin_port=0)
        try:
            feed.may_answer.set()
            deadline = time.monotonic() + 30
            while len({nonce.split("-")[0] for nonce in feed.taken_at}) < 4:
                if time.monotonic() > deadline or feed.refusals:
                    raise SystemExit(f"Envoy does not take it: {feed.refusals[:1] or sorted(feed.taken_at)}\n" + pathlib.Path(place, "envoy.log").read_text()[-2000:])
                time.sleep(0.05)
            time.sleep(1)
            dump = urllib.request.urlopen(f"http://{envoy.admin()}/config_dump?include_eds", timeout=10).read().decode()
        finally:
            envoy.stop()
            feed.stop()
    dump = re.sub(r'"last_updated": "[^"]*"', '"last_updated": "2026-01-01T00:00:00.123Z"', dump)
    text = json.dumps(json.loads(dump), indent=1)
    text = text.replace(str(feed.port), "15010").replace(place, "/etc/envoy")
    pathlib.Path(out).write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()

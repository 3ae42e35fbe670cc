#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/weft.yaml is what the chart makes, and asks for no more than weft needs; the chart passes `helm lint`, and its schema refuses values that make no sense.

  manifest_test.py --helm HELM
"""
import argparse
import hashlib
import json
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/weft"
BAD_VALUES = ["fastPath=fast", "healthPort=http", "istiod.address=istiod:15012", "logLevel=loud", "paths.run=run", "no.such=value", "extraArgs[0]=bad", "podMonitor.interval=often",
              "options.no-such=1", "options.xds=grpc://a"]
failures = 0


def check(sentence, holds, why=""):
    global failures
    if not holds:
        failures += 1
        print(f"  WRONG {sentence}" + (f": {why}" if why else ""))


def check_content(text):
    things = {(thing["kind"], thing["metadata"]["name"]): thing for thing in yaml.safe_load_all(text) if thing}
    check("all is there", sorted(kind for kind, _ in things) == ["ClusterRole", "ClusterRoleBinding", "ConfigMap", "DaemonSet", "Namespace", "ServiceAccount"], str(list(things)))
    role = things["ClusterRole", "weftd"]["rules"]
    verbs = {verb for rule in role for verb in rule["verbs"]}
    check("weftd may change nothing but events", all(rule["resources"] == ["events"] for rule in role if set(rule["verbs"]) - {"list", "watch"}), str(verbs))
    spec = things["DaemonSet", "weftd"]["spec"]["template"]["spec"]
    container, = spec["containers"]
    security = container["securityContext"]
    check("it is not privileged", not security.get("privileged") and security["capabilities"]["drop"] == ["ALL"])
    check("its root is read only", security["readOnlyRootFilesystem"])
    check("its calls are filtered", security["seccompProfile"]["type"] == "RuntimeDefault")
    check("it declares no ports", "ports" not in container)
    check("it sees the node's network and processes", spec["hostNetwork"] and spec["hostPID"])
    check("it finds istiod by name", spec["dnsPolicy"] == "ClusterFirstWithHostNet")
    check("each mount has a volume", {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in spec["volumes"]})
    check("it does not enrol itself", things["DaemonSet", "weftd"]["spec"]["template"]["metadata"]["labels"]["istio.io/dataplane-mode"] == "none")
    options = (ROOT / "daemon/keeper/options.c").read_text()
    known = set(re.findall(r'\{ "([a-z-]+)", (?:no|required)_argument', options))
    given = {arg.split("=")[0].removeprefix("--") for arg in container["args"]}
    update = things["DaemonSet", "weftd"]["spec"]["updateStrategy"]["rollingUpdate"]
    environment = {variable["name"] for variable in container["env"]}
    check("an update begins with a second pod", update == {"maxSurge": 1, "maxUnavailable": 0}, str(update))
    check("to which the first one hands over", {"replace", "stay-when-replaced", "instance"} <= given, str(given))
    check("and which is ready by itself", container["readinessProbe"].get("exec", {}).get("command") == ["weftctl", "ready"] and "WEFT_INSTANCE" in environment)
    check("weftd knows its options", given <= known, str(given - known))
    check_options(things, container, given, known)
    version = (ROOT / "VERSION").read_text().strip()
    check("the image is of this version", container["image"].endswith(":" + version), container["image"])


def check_options(things, container, given, known):
    text = things["ConfigMap", "weftd"]["data"]["options.yaml"]
    template = things["DaemonSet", "weftd"]["spec"]["template"]
    free = set(json.loads((CHART / "values.schema.json").read_text())["properties"]["options"]["propertyNames"]["enum"])
    own = set(yaml.safe_load(text)) | {"metrics-address"}
    volumes = {volume["name"]: volume.get("configMap", {}).get("name") for volume in template["spec"]["volumes"]}
    mounts = {mount["mountPath"] + "/options.yaml" for mount in container["volumeMounts"] if volumes[mount["name"]] == "weftd"}
    check("options stand in a ConfigMap, where weftd reads them", [arg for arg in container["args"] if arg.startswith("--options=")] == ["--options=" + m for m in mounts])
    check("others begin an update", template["metadata"]["annotations"]["checksum/options"] == hashlib.sha256(text.strip().encode()).hexdigest())
    check("weftd knows those, too", own <= known and free <= known, str((own | free) - known))
    # which pods, resources and files there are is the chart's to say
    rest = known - own - free - given - {"config", "check", "strict", "replay", "control", "bpffs", "help", "version"}
    check("each can be set by values", not rest and not own & free, str(rest) + str(own & free))


def check_with_helm(helm, text):
    run = lambda *words: subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    lint = run(helm, "lint", "--strict", "--kube-version", "1.30.0", str(CHART))
    check("the chart passes helm lint", lint.returncode == 0, lint.stdout + lint.stderr)
    made = run("scripts/deploy-manifest.sh", helm)
    check("the chart makes the manifest", made.stdout == text, made.stderr or "run `make deploy-manifest`")
    monitored = run(helm, "template", "weft", str(CHART), "--kube-version", "1.30.0", "--set", "podMonitor.enabled=true,metricsAddress=0.0.0.0:15025")
    monitors = [thing for thing in yaml.safe_load_all(monitored.stdout) if thing and thing["kind"] == "PodMonitor"]
    check("a PodMonitor can be asked for", len(monitors) == 1, monitored.stderr)
    check("it reads where weftd tells", any(rule["targetLabel"] == "__address__" and rule["replacement"] == "$1:15025" for monitor in monitors
                                            for rule in monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]))
    check("not without an address to read at", run(helm, "template", "weft", str(CHART), "--set", "podMonitor.enabled=true").returncode != 0)
    other = run(helm, "template", "weft", str(CHART), "--kube-version", "1.30.0", "--set", "options.limit.connections=10K,options.log-format=json,fastPath=remote")
    things = {thing["kind"]: thing for thing in yaml.safe_load_all(other.stdout) if thing}
    options = yaml.safe_load(things["ConfigMap"]["data"]["options.yaml"])
    check("values are options", (options["limit"], options["log-format"], options["fast-path"]) == ({"connections": "10K"}, "json", "remote"), str(options))
    check("which begin an update", things["DaemonSet"]["spec"]["template"]["metadata"]["annotations"]["checksum/options"] not in text)
    for value in BAD_VALUES:
        bad = run(helm, "template", "weft", str(CHART), "--kube-version", "1.30.0", "--set", value)
        check(f"the schema refuses {value}", bad.returncode != 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--helm", required=True)
    arguments = parser.parse_args()
    text = (ROOT / "deploy/weft.yaml").read_text()
    check_content(text)
    check_with_helm(arguments.helm, text)
    print("deploy/weft.yaml: " + (f"{failures} wrong" if failures else "as the chart makes it"))
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changes a torture's configuration again and again: churn.py FILE SECONDS SEED, until it is killed.

What the torture asks for stays true: the same hosts and paths lead to the same servers. What changes are weights, further virtual hosts, a
cluster whose endpoints come and go, and whether the servers' pods are enrolled. Each change replaces the file by a rename.
"""
import copy
import os
import random
import sys
import time

import yaml


def resource(configuration, name):
    return next(r for r in configuration["resources"] if r.get("name") == name)


def variant(original, chance):
    configuration = copy.deepcopy(original)
    routes = resource(configuration, "80")
    for route in routes["virtual_hosts"][0]["routes"]:
        for cluster in route["route"].get("weighted_clusters", {}).get("clusters", []):
            cluster["weight"] = chance.choice((1, 10, 50, 100))
    for number in range(chance.randrange(40)):
        routes["virtual_hosts"].append({
            "name": f"other-{number}", "domains": [f"other-{number}.test", f"*.other-{number}.test"],
            "routes": [{"match": {"prefix": f"/{chance.randrange(1000)}"}, "route": {"cluster": chance.choice(("v1", "v2", "churned"))}}]})
    configuration["resources"].append({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "churned", "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "churned", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {"address": f"10.99.{chance.randrange(256)}.{chance.randrange(1, 255)}", "port_value": 80}}}}
            for _ in range(chance.randrange(1, 30))]}]}})
    configuration["pods"] = [pod for pod in configuration["pods"] if pod["name"] == "cli" or chance.random() < 0.8]
    return configuration


def main():
    path, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    with open(path) as file:
        original = yaml.safe_load(file)
    while True:
        time.sleep(seconds)
        with open(path + ".new", "w") as out:
            yaml.safe_dump(variant(original, chance), out, sort_keys=False, width=200)
        os.rename(path + ".new", path)


main()

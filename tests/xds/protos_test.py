#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our trimmed .proto files against the descriptors of PyPI's xds-protos, and docs/xds.md against what istiod really sends and is told.

  protos_test.py [--protoc PROTOC] [--proto proto] [--data tests/data/istiod] [--docs docs/xds.md]

- Each field of ours has the number, type and repetition that Envoy's has.
- Each field that a recorded istiod sends (fields.tsv) is one of ours with that number, or docs/xds.md lists it, with the reason, as one that is not read.
- docs/xds.md lists no field that is ours, nor one that nobody sends.
- Each field of Istio's API that the recorded meshes set (istio-fields.tsv) has a verdict in docs/xds.md, and just one.
"""
import argparse
import csv
import fnmatch
import importlib
import pathlib
import pkgutil
import re
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool

# Not in xds-protos: weft's own, those of Kubernetes, and those of Istio's filters, whose numbers fields.tsv has.
FOREIGN = ("weft.", "k8s.", "istio.", "stats.")
SECTION = "## Fields that are not read"
ISTIO_SECTION = "## Fields of Istio's API"
VERDICTS = ("kernel", "proxy", "refused", "ignored")
KINDS = ("VirtualService", "DestinationRule", "HTTPRoute", "ServiceEntry", "Sidecar", "PeerAuthentication", "AuthorizationPolicy", "Telemetry", "EnvoyFilter")

# In Envoy's own files, and not yet in the release of xds-protos that requirements.txt asks for.
NEWER = {
    "envoy.config.core.v3.Http2ProtocolOptions.enable_huffman_encoding",
    "envoy.config.core.v3.SocketOption.ip_version",
    "envoy.config.listener.v3.AdditionalAddress.tcp_keepalive",
    "envoy.config.listener.v3.Listener.tcp_keepalive",
    "envoy.config.route.v3.CookieMatcher",
    "envoy.config.route.v3.RouteMatch.cookies",
    "envoy.extensions.filters.http.router.v3.Router.reject_connect_request_early_data",
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TcpAccessLogOptions.flush_access_log_on_start",
}


def ours(protoc, folder):
    """Full name of a message -> {field name: FieldDescriptorProto}."""
    files = sorted(str(path) for path in pathlib.Path(folder).rglob("*.proto"))
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([protoc, f"-I{folder}", f"--descriptor_set_out={out.name}", *files], check=True)
        described = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(out.name).read_bytes())
    found = {}

    def walk(prefix, message):
        name = f"{prefix}.{message.name}"
        found[name] = {field.name: field for field in message.field}
        for nested in message.nested_type:
            walk(name, nested)

    for file in described.file:
        for message in file.message_type:
            walk(file.package, message)
    return found


def load_all(*packages):
    """Every generated module, so that the default pool knows every message."""
    for package in packages:
        try:
            root = importlib.import_module(package)
        except ImportError:
            continue
        for module in pkgutil.walk_packages(root.__path__, package + "."):
            if module.name.endswith("_pb2"):
                importlib.import_module(module.name)


def compare(name, fields, theirs):
    """Complaints about one message."""
    if theirs is None:
        return [] if name in NEWER else [f"{name}: there is no such message"]
    proto = descriptor_pb2.DescriptorProto()
    theirs.CopyToProto(proto)
    known = {field.name: field for field in proto.field}
    wrong = []
    for field in fields.values():
        other = known.get(field.name)
        if other is None and f"{name}.{field.name}" in NEWER:
            continue
        if other is None:
            wrong.append(f"{name}.{field.name}: there is no such field")
        elif (field.number, field.type, field.label, field.type_name) != (other.number, other.type, other.label, other.type_name):
            wrong.append(f"{name}.{field.name}: {field.number} {field.type} {field.label} {field.type_name} here, "
                         f"{other.number} {other.type} {other.label} {other.type_name} there")
    return wrong


def check_numbers(messages):
    load_all("envoy", "xds", "udpa", "google.rpc", "google.protobuf", "validate", "opentelemetry")
    pool, wrong = descriptor_pool.Default(), []
    for name, fields in sorted(messages.items()):
        if name.startswith(FOREIGN):
            continue
        try:
            theirs = pool.FindMessageTypeByName(name)
        except KeyError:
            theirs = None
        wrong += compare(name, fields, theirs)
    return wrong


def rows(docs, section, count):
    """The cells of a section's table, without its heading."""
    text = pathlib.Path(docs).read_text()
    if section not in text:
        return []
    table = text.split(section, 1)[1].split("\n## ", 1)[0]
    lines = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in table.splitlines() if line.startswith("| ")]
    return [cells for cells in lines[1:] if len(cells) == count and not cells[0].startswith("---")]


def listed(docs):
    """Patterns of message.field in the table of the section, with their reasons."""
    return {f"{message.strip('`')}.{field}": reason for message, fields, reason in rows(docs, SECTION, 3) for field in re.findall(r"`([^`]+)`", fields)}


def check_istio(docs, fields):
    wrong, table = [], rows(docs, ISTIO_SECTION, 4)
    used, patterns = set(), []
    for kind, cell, verdict, _ in table:
        if verdict not in VERDICTS:
            wrong.append(f"{docs}: {kind} {cell}: {verdict} is no verdict")
        patterns += [(kind, field) for field in re.findall(r"`([^`]+)`", cell)]
    wrong += [f"{docs}: {kind} is missing" for kind in KINDS if kind not in {kind for kind, _ in patterns}]
    with open(fields, newline="") as file:
        set_fields = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    for row in set_fields:
        matching = [(kind, field) for kind, field in patterns if kind == row["kind"] and fnmatch.fnmatchcase(row["field"], field)]
        used.update(matching)
        if len(matching) != 1:
            wrong.append(f"{docs}: {row['kind']} {row['field']} has {len(matching)} verdicts: {matching}")
    wrong += [f"{docs}: {kind} {field} is listed, and no recorded mesh sets it" for kind, field in patterns if (kind, field) not in used]
    return wrong, len(set_fields)


def check_sent(messages, fields, docs):
    patterns, used, wrong = listed(docs), set(), []
    with open(fields, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    for row in rows:
        name = f"{row['message']}.{row['field']}"
        known = messages.get(row["message"], {}).get(row["field"])
        if known is not None and known.number != int(row["number"]):
            wrong.append(f"{name}: {known.number} here, {row['number']} as sent")
        matching = [pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)]
        used.update(matching)
        if known is None and not matching:
            wrong.append(f"{name} ({row['number']}, {row['type'].split()[0]}) is sent ({row['scenarios']}), and neither known nor listed")
        if known is not None and matching:
            wrong.append(f"{name} is known, yet listed as not read")
    wrong += [f"{docs}: {pattern} is listed, and nobody sends it" for pattern in patterns if pattern not in used]
    wrong += [f"{docs}: {pattern} is listed without a reason" for pattern, reason in patterns.items() if not reason]
    return wrong, len(rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--protoc", default="protoc")
    parser.add_argument("--proto", default="proto")
    parser.add_argument("--data", default="tests/data/istiod")
    parser.add_argument("--docs", default="docs/xds.md")
    args = parser.parse_args()

    messages = ours(args.protoc, args.proto)
    wrong = check_numbers(messages)
    sent, count = check_sent(messages, f"{args.data}/fields.tsv", args.docs)
    told, told_count = check_istio(args.docs, f"{args.data}/istio-fields.tsv")
    wrong += sent + told
    for line in wrong:
        print(line)
    print(f"protos: {sum(len(fields) for fields in messages.values())} fields of {len(messages)} messages, {count} fields that istiod sends, "
          f"{told_count} that it is told, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

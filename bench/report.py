"""From rounds to medians, ratios to direct, a Markdown table, JSON, and the project's bars."""
import statistics

FIELDS = ("p50_us", "p99_us", "rps", "mb_per_s", "cpu_us_per_request", "machine_cpu_us_per_request")

# What weft has to reach, as (text, system, other, case, field, least or most, bound).
BARS = (
    ("bypass, c=1, 100 B, p50 against direct", "weft-bypass", "direct", "c1-100B", "p50_us", "most", 0.75),
    ("bypass, c=64, 100 B, requests/s against direct", "weft-bypass", "direct", "c64-100B", "rps", "least", 1.35),
    ("remote, c=1, 100 B, p50 against direct", "weft-remote", "direct", "c1-100B", "p50_us", "most", 1.25),
    ("remote, c=8, 1 MB, throughput against direct", "weft-remote", "direct", "c8-1MB", "rps", "least", 0.9),
    ("bypass, c=1, p50 against HAProxy", "weft-bypass", "haproxy", "c1-100B", "p50_us", "most", 0.5),
    ("bypass, c=1, p50 against the Envoy pair", "weft-bypass", "envoy-pair", "c1-100B", "p50_us", "most", 0.15),
    ("bypass, c=64, requests/s against the Envoy pair", "weft-bypass", "envoy-pair", "c64-100B", "rps", "least", 12),
    ("slow path, c=64, requests/s against HAProxy", "weft-slow", "haproxy", "c64-100B", "rps", "least", 0.8),
    ("new connections a second against direct", "weft-bypass", "direct", "close-c16", "rps", "least", 0.45),
    ("64 MB bodies, remote, throughput against direct", "weft-remote", "direct", "c8-64MB", "rps", "least", 0.4),
)


def usable(samples):
    """The clean ones; all of them if others were on the machine all the time (then the row says so)."""
    clean = [s for s in samples if s["is_clean"]]
    return clean or samples


def ratio(samples, system, other, case, field):
    """Median over rounds of system / other, both measured in the same round."""
    by_round = {}
    for sample in samples:
        if sample["case"] == case and sample["system"] in (system, other):
            by_round.setdefault(sample["round"], {})[sample["system"]] = sample
    pairs = [(r[system], r[other]) for r in by_round.values() if system in r and other in r]
    clean = [p for p in pairs if p[0]["is_clean"] and p[1]["is_clean"]] or pairs
    values = [a[field] / b[field] for a, b in clean if b[field]]
    return statistics.median(values) if values else None


def rows(samples, systems, cases):
    result = []
    for case in cases:
        for system in systems:
            mine = [s for s in samples if s["case"] == case and s["system"] == system]
            if not mine:
                continue
            used = usable(mine)
            row = {"system": system, "case": case}
            row.update({field: round(statistics.median(s[field] for s in used), 2) for field in FIELDS})
            row["ratio_p50"] = rounded(ratio(samples, system, "direct", case, "p50_us"))
            row["ratio_rps"] = rounded(ratio(samples, system, "direct", case, "rps"))
            row["ratio_cpu"] = rounded(ratio(samples, system, "direct", case, "machine_cpu_us_per_request"))
            row["rounds"] = len(used)
            row["rounds_left_out"] = len(mine) - len(used)
            row["is_noisy"] = not any(s["is_clean"] for s in mine)
            row["errors"] = sum(s["errors"] for s in mine)
            row["paths"] = merge(s["paths"] for s in used)
            result.append(row)
    return result


def rounded(value):
    return None if value is None else round(value, 3)


def merge(counts):
    total = {}
    for count in counts:
        for path, number in count.items():
            total[path] = total.get(path, 0) + number
    return total


def taken(paths):
    """Which paths weft's requests took: 'bypass', or 'bypass 97 %, slow 3 %'."""
    total = sum(paths.values())
    shares = sorted(((n / total, p) for p, n in paths.items() if n), reverse=True) if total else []
    if not shares:
        return ""
    if shares[0][0] > 0.995:
        return shares[0][1]
    return ", ".join(f"{p} {100 * share:.0f} %" for share, p in shares if share >= 0.005)


def microseconds(value):
    if value >= 100_000:
        return f"{value / 1000:.0f} ms"
    return f"{value / 1000:.2f} ms" if value >= 10_000 else f"{value:.0f} us"


def table(result):
    lines = ["| case | system | p50 | p99 | requests/s | MB/s | CPU us/request | of the machine | p50 : direct | requests/s : direct | path |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
    last = None
    for row in result:
        marks = ("~" if row["is_noisy"] else "") + (f" ({row['errors']} errors)" if row["errors"] else "")
        lines.append("| {} | {} | {} | {} | {:,.{}f} | {:,.0f} | {:,.1f} | {:,.1f} | {} | {} | {} |".format(
            row["case"] if row["case"] != last else "", row["system"] + marks, microseconds(row["p50_us"]), microseconds(row["p99_us"]),
            row["rps"], 1 if row["rps"] < 1000 else 0, row["mb_per_s"], row["cpu_us_per_request"], row["machine_cpu_us_per_request"],
            shown(row["ratio_p50"]), shown(row["ratio_rps"]), taken(row["paths"])))
        last = row["case"]
    return "\n".join(lines)


def shown(value):
    return "" if value is None else f"{value:.2f}"


def bars(samples):
    """Lines about the bars that these samples can judge; with what the kernel's redirection alone reaches, where it was measured."""
    lines = []
    for text, system, other, case, field, direction, bound in BARS:
        value = ratio(samples, system, other, case, field)
        if value is None:
            continue
        met = value <= bound if direction == "most" else value >= bound
        floor = system.replace("weft", "bare")
        least = ratio(samples, floor, other, case, field)
        beside = f"; {floor} {least:.2f}" if least is not None else ""
        lines.append(f"  {'met   ' if met else 'MISSED'} {text}: {value:.2f} (at {direction} {bound}{beside})")
    return "\n".join(lines)

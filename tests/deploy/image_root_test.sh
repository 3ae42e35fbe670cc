#!/usr/bin/env bash
# Is the image's file list whole? weftd begins in a chroot of it, with the node's /proc and /sys, and serves; how long that takes and how large the image is
# is printed.
#   image_root_test.sh ROOT PYTHON      PYTHON: that of tests/xds/venv.sh
set -euo pipefail

root=$(realpath "${1:?root of the image}")
python=${2:?Python with the packages of tests/xds}
prefix=/run/weft-image-$$
limit_bytes=$((40 * 1024 * 1024))

finish() {
	[ -z "${pid:-}" ] || { kill -TERM "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
	umount -l "$root/proc" "$root/sys" "$root$prefix" 2>/dev/null || true
	rm -rf "$prefix" "${root:?}/run/weft-image-"*
}
trap finish EXIT

size=$(tar -C "$root" -czf - . | wc -c)
echo "image: $((size / 1024)) KiB compressed, $(du -sk "$root" | cut -f1) KiB laid out"
[ "$size" -le "$limit_bytes" ] || { echo "image: more than $((limit_bytes >> 20)) MiB"; exit 1; }
chroot "$root" /usr/sbin/weftd --version
chroot "$root" /usr/bin/weftctl --version

mkdir -p "$prefix" "$root$prefix"
mount --bind "$prefix" "$root$prefix"
mount --rbind /proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --make-rslave "$root/proc"
mount --make-rslave "$root/sys"
cat >"$prefix/weft.yaml" <<END
resources:
  - "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
    name: "80"
    virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]
END
cgroup=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/weft-image-$$
start=${EPOCHREALTIME/./}
chroot "$root" /usr/sbin/weftd --config "$prefix/weft.yaml" --control "$prefix/weft.sock" --bpffs "$prefix/bpffs" --cgroup "$cgroup" >"$prefix/log" 2>&1 &
pid=$!
until chroot "$root" /usr/bin/weftctl --control "$prefix/weft.sock" status >/dev/null 2>&1; do
	kill -0 "$pid" 2>/dev/null || { cat "$prefix/log"; pid=; exit 1; }
	[ $((${EPOCHREALTIME/./} - start)) -lt 20000000 ] || { cat "$prefix/log"; exit 1; }
	sleep 0.01
done
echo "image: serves a file after $(((${EPOCHREALTIME/./} - start) / 1000)) ms (at most 300 where nobody else wants the processors)"
kill -TERM "$pid"
wait "$pid"
pid=
umount -l "$prefix/bpffs" 2>/dev/null || true
"$python" -B "$(dirname "$0")/start.py" --root "$root"

#!/usr/bin/env bash
# Fetches Debian's newest kernel of a series from the machine's apt sources and unpacks it, without installing it.
#   scripts/kernel.sh SERIES DIR     SERIES: 6.1, 6.12. DIR/boot and DIR/lib/modules hold it afterwards; nothing is fetched twice.
set -euo pipefail

[ $# -eq 2 ] || { echo "kernel: a series (6.1) and a folder are expected" >&2; exit 2; }
series=$1 dir=$2
[ -e "$dir/done" ] && exit 0

# the unsigned packages hold the image too, the others only what signs it
package=$(apt-cache pkgnames linux-image-"$series". | grep -E -- '-amd64-unsigned$' | grep -vE -- '-(rt|cloud)-' | sort -V | tail -n 1)
[ -n "$package" ] || { echo "kernel: apt knows no kernel $series: run 'apt-get update', or add the security archive to the sources" >&2; exit 1; }
echo "kernel: fetching $package"
rm -rf "$dir"
mkdir -p "$dir/download"
(cd "$dir/download" && apt-get download -qq "$package" 2>/dev/null)
dpkg-deb -x "$dir"/download/*.deb "$dir"
rm -rf "$dir/download" "$dir/usr"
touch "$dir/done"

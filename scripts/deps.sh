#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the demo need. Safe to run again: it asks apt only for what is missing.
#   scripts/deps.sh [build|test|kernels]   build: what compiling needs; test (default): that, and what tests, demo and bench need;
#                                          kernels: all that, and qemu for tests/kernels
set -euo pipefail

build=(gcc make pkg-config clang-16 llvm-16 bpftool libc6-dev libbpf-dev libelf-dev zlib1g-dev libprotobuf-c-dev protobuf-c-compiler
       protobuf-compiler libyaml-dev libevent-dev libjansson-dev uthash-dev libpcre2-dev
       libcurl4-openssl-dev libnghttp2-dev libssl-dev)
test=(libcmocka-dev libclang-rt-16-dev nginx-light wrk haproxy curl iproute2 nftables procps util-linux python3 python3-venv python3-yaml python3-protobuf jq)
kernels=(qemu-system-x86 busybox-static cpio kmod xz-utils)

want=("${build[@]}")
case "${1:-test}" in
build) ;;
test) want+=("${test[@]}") ;;
kernels) want+=("${test[@]}" "${kernels[@]}") ;;
*)
	echo "deps: build, test or kernels is expected, not '$1'" >&2
	exit 2
	;;
esac

missing=()
for package in "${want[@]}"; do
	dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
	echo "deps: all ${#want[@]} packages are installed"
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "deps: missing: ${missing[*]}" >&2
	echo "deps: run 'sudo make deps'" >&2
	exit 1
fi
echo "deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The servers that come with nginx and haproxy must not start by themselves: tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi
apt-get install -y -qq --no-install-recommends "${missing[@]}"

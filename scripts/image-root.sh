#!/usr/bin/env bash
# Lays out the root file system of weft's image: weftd, weftctl, and the libraries that they load, each at the place where the loader looks for it.
#   scripts/image-root.sh BUILD ROOT
set -euo pipefail

build=${1:?folder of the build}
root=${2:?folder to be made}

rm -rf "$root"
mkdir -p "$root"/{etc,proc,sys/fs/bpf,sys/fs/cgroup,run/weft,tmp,usr/sbin,usr/bin,var/lib/weft,var/run/secrets/tokens,var/run/secrets/istio}
install -m 0755 -s "$build/weftd" "$root/usr/sbin/weftd"
install -m 0755 -s "$build/weftctl" "$root/usr/bin/weftctl"

# Names in the order of paths: "libx.so => /lib/... (0x...)", and the loader itself without an arrow.
ldd "$build/weftd" "$build/weftctl" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\/lib.*ld-/ { print $1 }' | sort -u | while read -r library; do
	# where /lib is a link to /usr/lib, libraries go below /usr/lib
	case $library in
	/lib64/*) place=/lib64/$(basename "$library") ;;
	*) place=/usr/lib/$(basename "$(dirname "$library")")/$(basename "$library") ;;
	esac
	mkdir -p "$root$(dirname "$place")"
	cp -L "$library" "$root$place"
done
[ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
[ -e "$root/sbin" ] || ln -s usr/sbin "$root/sbin"
[ -e "$root/bin" ] || ln -s usr/bin "$root/bin"

echo 'root:x:0:0:root:/:/sbin/nologin' >"$root/etc/passwd"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
if [ -r /etc/ssl/certs/ca-certificates.crt ]; then
	mkdir -p "$root/etc/ssl/certs"
	cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
fi

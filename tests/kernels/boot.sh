#!/usr/bin/env bash
# Boots a kernel in qemu with an initramfs that holds the given programs, runs one command in it, prints its output, and exits with its status.
#   tests/kernels/boot.sh KERNEL-IMAGE TIMEOUT-SECONDS 'COMMAND' FILE...
# Every FILE goes to the same path in the initramfs, with the libraries it links. APPEND: words for the kernel's command line.
set -euo pipefail

kernel=$1 limit=$2 command=$3
shift 3
for tool in qemu-system-x86_64 busybox cpio; do
	command -v "$tool" >/dev/null || { echo "boot.sh: $tool is missing: apt-get install qemu-system-x86 busybox-static cpio" >&2; exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,run,etc,usr/bin,usr/sbin}
cp "$(command -v busybox)" "$root/bin/busybox"

put() {
	local file=$1 library
	mkdir -p "$root/$(dirname "$file")"
	cp -L "$file" "$root/$file"
	{ ldd "$file" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
		if [ ! -e "$root/$library" ]; then mkdir -p "$root/$(dirname "$library")"; cp -L "$library" "$root/$library"; fi
	done
}
for file in "$@"; do
	put "$(realpath "$file")"
done
for file in $(command -v ip) /sbin/bpftool; do
	[ -e "$file" ] && put "$file"
done

cat >"$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/sbin:/bin:/usr/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs security /sys/kernel/security 2>/dev/null
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
echo "== \$(uname -r) \$(uname -v)"
cd $(pwd)
$command
echo "== exit \$?"
poweroff -f
INIT
mkdir -p "$root/$(pwd)"
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs.gz"

# Emulation by default: nested virtualisation that is offered is not always whole. WEFT_KVM=1 uses it.
accel=(-accel tcg,thread=multi -cpu max)
[ "${WEFT_KVM:-0}" = 1 ] && accel=(-accel kvm -cpu host)
timeout --foreground "$limit" qemu-system-x86_64 "${accel[@]}" -m 2048 -smp 2 -nographic -no-reboot -kernel "$kernel" -initrd "$work/initramfs.gz" \
	-append "console=ttyS0 quiet panic=-1 loglevel=3 ${APPEND:-}" </dev/null 2>&1 | stdbuf -oL tr -d '\r' | tee "$work/log" | grep -v '^SeaBIOS\|^iPXE\|^Booting' || true
status=$(sed -n 's/^== exit \([0-9]*\)$/\1/p' "$work/log")
if [ -z "$status" ]; then
	echo "boot.sh: the machine did not finish within $limit s" >&2
	exit 3
fi
exit "$status"

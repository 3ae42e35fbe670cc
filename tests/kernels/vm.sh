#!/usr/bin/env bash
# Runs one command under another kernel: qemu boots it over this machine's own files (read only, over 9p, with a layer in memory on top), so
# that whatever is installed here can be used there.
#   tests/kernels/vm.sh DIR TIMEOUT-SECONDS 'COMMAND'     DIR: what scripts/kernel.sh unpacked
# Prints what the command prints and exits with its status; 124 when the time is over, 125 when the machine did not come so far.
set -euo pipefail

kernel_dir=$(realpath "$1") limit=$2 command=$3
for tool in qemu-system-x86_64 busybox cpio; do
	command -v "$tool" >/dev/null || { echo "vm.sh: $tool is missing: scripts/deps.sh kernels" >&2; exit 125; }
done
kernel=$(echo "$kernel_dir"/boot/vmlinuz-*)
modules=$(echo "$kernel_dir"/lib/modules/*)
[ -e "$kernel" ] && [ -d "$modules" ] || { echo "vm.sh: no kernel in $kernel_dir" >&2; exit 125; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,modules,proc,sys,dev,host,layer,root}
cp "$(command -v busybox)" "$root/bin/busybox"

# modules.dep: "path: needed paths", the needed ones last first
[ -e "$modules/modules.dep" ] || depmod -b "$kernel_dir" "$(basename "$modules")"
place() {
	local line path
	line=$(grep -E "(^|/)$1\.ko[.a-z]*:" "$modules/modules.dep") || return 0
	for path in $(echo "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do
		[ -e "$work/have-$(basename "$path")" ] && continue
		touch "$work/have-$(basename "$path")"
		case $path in
		*.xz) xz -dc "$modules/$path" >"$root/modules/$(basename "$path" .xz)" ;;
		*) cp "$modules/$path" "$root/modules/" ;;
		esac
		basename "$path" .xz >>"$root/modules/order"
	done
}
for module in virtio_pci 9pnet_virtio 9p overlay veth bridge sch_fq tcp_bbr sch_netem; do
	place "$module"
done

cat >"$root/init" <<INIT
#!/bin/busybox sh
bb=/bin/busybox
\$bb mount -t proc proc /proc
\$bb mount -t sysfs sys /sys
while read -r module; do \$bb insmod /modules/\$module || echo "vm: \$module does not load"; done </modules/order
\$bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro host /host || \$bb poweroff -f
\$bb mount -t tmpfs layer /layer
\$bb mkdir /layer/upper /layer/work
\$bb mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root || \$bb poweroff -f
for fs in proc:proc sysfs:sys devtmpfs:dev tmpfs:tmp tmpfs:run; do \$bb mount -t \${fs%:*} \${fs%:*} /root/\${fs#*:}; done
\$bb mkdir -p /root/dev/pts /root/dev/shm /root/run/netns
\$bb mount -t tmpfs shm /root/dev/shm
\$bb mount -t devpts devpts /root/dev/pts
\$bb mount -t cgroup2 cgroup /root/sys/fs/cgroup
\$bb mount -t bpf bpf /root/sys/fs/bpf
\$bb mount -t tracefs tracefs /root/sys/kernel/tracing 2>/dev/null
\$bb chroot /root /usr/sbin/ip link set lo up
\$bb cp /command /root/run/command
echo "== \$(\$bb uname -r) \$(\$bb uname -v)"
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb \$bb chroot /root /bin/bash /run/command
echo "== exit \$?"
\$bb poweroff -f
INIT
printf 'cd %q || exit 1\nulimit -n 262144\n%s\n' "$PWD" "$command" >"$root/command"
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs.gz"

# Emulation by default: nested virtualisation that is offered is not always whole. WEFT_KVM=1 uses it.
accel=(-accel tcg,thread=multi -cpu max)
[ "${WEFT_KVM:-0}" = 1 ] && accel=(-accel kvm -cpu host)
timeout --foreground "$limit" qemu-system-x86_64 "${accel[@]}" -m "${VM_MEMORY_MB:-3072}" -smp 2 -nographic -no-reboot -kernel "$kernel" -initrd "$work/initramfs.gz" \
	-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
	-append "console=ttyS0 quiet panic=-1 loglevel=3" </dev/null 2>&1 | stdbuf -oL tr -d '\r' | tee "$work/log" | grep --line-buffered -v 'SeaBIOS\|iPXE\|^Booting\|^$' || true
status=$(sed -n 's/^== exit \([0-9]*\)$/\1/p' "$work/log")
[ -n "$status" ] || { grep -q '^== ' "$work/log" && exit 124; exit 125; }
exit "$status"

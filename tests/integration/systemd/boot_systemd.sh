#!/usr/bin/env bash
# The inner half of test_systemd_boot.py: make a root of our own over this machine's and become its
# systemd. Runs in fresh mount, process, control group, UTS and IPC namespaces; whatever is written
# lives in a tmpfs that ends with them.
#
# SCRATCH: an empty folder. FILES: what is laid over the root. SOURCE, PYTHON, PACKAGES: this
# checkout, the interpreter's prefix and its site-packages. SOCKETS: a folder shown as /run/test.
set -euo pipefail
scratch=$1 files=$2 source=$3 python=$4 packages=$5 sockets=$6

mount --make-rprivate /
mount -t tmpfs -o mode=0755 scratch "$scratch"
root=$scratch/root
mkdir "$scratch/upper" "$scratch/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$root"

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755 dev "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
touch "$root/dev/console"
mount -t tmpfs -o mode=0755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"

mkdir -p "$root"/opt/pushrod/{bin,source,python,packages} "$root/run/test"
mount --bind "$source" "$root/opt/pushrod/source"
mount --bind "$python" "$root/opt/pushrod/python"
mount --bind "$packages" "$root/opt/pushrod/packages"
mount --bind "$sockets" "$root/run/test"
cp -r "$files/." "$root/"

# As an initial ramdisk does it, which also works below another chroot.
cd "$root"
mount --move . /
exec chroot . /usr/bin/env -i container=pushrod-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=pushrod-test.target --log-target=journal \
    --show-status=false </dev/null

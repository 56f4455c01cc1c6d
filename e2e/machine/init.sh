#!/bin/sh
# The first process of the virtual machine: mounts what programs expect, runs /t/cmd, reports its exit status, reboots
# (which ends QEMU).
export PATH=/sbin:/bin HOME=/ TERM=dumb
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp
ln -sf /proc/self/fd /dev/fd
stty -F /dev/ttyS1 raw -echo; stty -F /dev/ttyS2 raw -echo
/sbin/ip link set lo up
cd /t
setsid ./cmd </dev/null >/dev/ttyS1 2>&1
echo "exit $?" >/dev/ttyS2
stty -F /dev/ttyS1 cooked # waits until all output is out
reboot -f

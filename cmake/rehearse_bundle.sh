#!/bin/bash
# rehearse_bundle.sh ARCHIVE CUDA_LIBRARIES [ROOT]: unpacks a bundle into an empty root with nothing in it but glibc, static
# copies of bash and busybox, and CUDA's libraries, and there starts every program and every part of gpu_check.sh, once as
# on a machine whose GPU is missing and once on the CPU. As root; bash-static and busybox-static are needed.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,4p "$0" | cut -c3-; exit 2; }
archive=$(realpath "$1") cuda=$(realpath "$2") root=${3:-$(mktemp -d)}
for tool in bash-static busybox; do
    command -v $tool >/dev/null || { echo "rehearse_bundle: $tool is missing (apt-get install bash-static busybox-static)" >&2; exit 2; }
done

mkdir -p "$root"/{bin,usr/bin,lib64,lib/x86_64-linux-gnu,usr/local/cuda,dev,proc,tmp,sys,home/somewhere}
cp "$(command -v bash-static)" "$root/bin/bash"
cp "$(command -v busybox)" "$root/bin/busybox"
chroot "$root" /bin/busybox --install -s /bin
ln -sf /bin/env "$root/usr/bin/env"
# glibc's own libraries, as on any machine.
for library in libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libresolv.so.2 libutil.so.1; do
    cp -L "/lib/x86_64-linux-gnu/$library" "$root/lib/x86_64-linux-gnu/"
done
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
mkdir -p "$root/usr/local/cuda/lib64"
for library in "$cuda"/lib{cublas,cublasLt,cusolver,cusparse,nvJitLink,cudnn,cudnn_*,nvrtc}.so.[0-9]*; do
    [ -e "$library" ] && ln "$(realpath "$library")" "$root/usr/local/cuda/lib64/$(basename "$library")" 2>/dev/null ||
        cp -L "$library" "$root/usr/local/cuda/lib64/"
done
mknod -m 666 "$root/dev/null" c 1 3 2>/dev/null || true
mknod -m 444 "$root/dev/urandom" c 1 9 2>/dev/null || true
mount --bind /proc "$root/proc"
trap 'umount "$root/proc"' EXIT
tar -C "$root/home/somewhere" -xf "$archive"

inside() { chroot "$root" /bin/env -i PATH=/bin HOME=/tmp OMP_WAIT_POLICY=passive /bin/bash -c "cd /home/somewhere/glow-gpu && $1"; }
failed=0
expect() {  # status, command
    local status=0
    inside "$2" >"$root/tmp/out" 2>&1 || status=$?
    if [ $status = "$1" ]; then
        echo "ok      exit $status  $2"
    else
        echo "FAILED  exit $status, not $1  $2"
        tail -5 "$root/tmp/out"
        failed=1
    fi
}
for program in "$root"/home/somewhere/glow-gpu/libexec/glow_*; do
    expect 0 "bin/$(basename "$program") --version"
    expect 0 "cd / && /home/somewhere/glow-gpu/bin/$(basename "$program") --help"
done
expect 2 "bin/glow_sample --device cuda --checkpoint nowhere -o x.png"
# What the tests themselves check is shown by gpu_check's first part.
for part in tests speed memory train; do
    expect 2 "tools/gpu_check.sh --part $part --out /tmp/refused"
done
for part in speed memory train; do
    expect 0 "tools/gpu_check.sh --part $part --out /tmp/rehearsed --rehearse"
    inside "tail -40 /tmp/out"
done
echo "root: $root"
exit $failed

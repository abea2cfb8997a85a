#!/bin/bash
# Usage: rehearse_bundle.sh ARCHIVE CUDA_LIBRARIES [ROOT]
# Unpacks a bundle into a root that contains only glibc, static bash and busybox, and CUDA's libraries. Starts every program
# and gpu_check.sh there, once as if the GPU were missing and once as a smoke test on the CPU, then moves CUDA's libraries
# through the places where machines have them, including Python environments. Needs root, bash-static and busybox-static.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,6p "$0" | cut -c3-; exit 2; }
archive=$(realpath "$1") cuda=$(realpath "$2") root=${3:-$(mktemp -d)}
for tool in bash-static busybox; do
    command -v $tool >/dev/null || { echo "rehearse_bundle: $tool is missing (apt-get install bash-static busybox-static)" >&2; exit 2; }
done

mkdir -p "$root"/{bin,usr/bin,lib64,lib/x86_64-linux-gnu,usr/local,dev,proc,tmp,sys,home/somewhere,home/elsewhere}
cp "$(command -v bash-static)" "$root/bin/bash"
cp "$(command -v busybox)" "$root/bin/busybox"
chroot "$root" /bin/busybox --install -s /bin
ln -sf /bin/env "$root/usr/bin/env"
# glibc's libraries, as on any machine.
for library in libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libresolv.so.2 libutil.so.1; do
    cp -L "/lib/x86_64-linux-gnu/$library" "$root/lib/x86_64-linux-gnu/"
done
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
toolkit=$root/usr/local/cuda/lib64
mkdir -p "$toolkit"
# A bundle with MPI needs NCCL to start.
with_mpi=no libraries=("$cuda"/lib{cublas,cublasLt,cusolver,cusparse,nvJitLink,cudnn,cudnn_*,nvrtc,cupti}.so.[0-9]*)
if tar -tf "$archive" | grep '/libexec/mpirun$' >/dev/null; then
    with_mpi=yes
    libraries+=("$cuda"/libnccl.so.[0-9]*)
fi
for library in "${libraries[@]}"; do
    ln -f "$(realpath "$library")" "$toolkit/$(basename "$library")" 2>/dev/null || cp -L "$library" "$toolkit/"
done
mknod -m 666 "$root/dev/null" c 1 3 2>/dev/null || true
mknod -m 444 "$root/dev/urandom" c 1 9 2>/dev/null || true
mount --bind /proc "$root/proc"
trap 'umount "$root/proc"' EXIT
tar -C "$root/home/somewhere" -xf "$archive"
bundle=/home/somewhere/glow-gpu

inside() { chroot "$root" /bin/env -i PATH=/bin HOME=/tmp OMP_WAIT_POLICY=passive /bin/bash -c "cd /home/elsewhere && $1"; }
failed=0
failure() {
    echo "FAILED  $*"
    failed=1
}
# Arguments: exit status, command[, expected output].
expect() {
    local status=0
    inside "$2" >"$root/tmp/out" 2>&1 || status=$?
    if [ $status != "$1" ]; then
        failure "exit $status, not $1  $2"
        tail -5 "$root/tmp/out"
    elif ! grep -q -- "${3-}" "$root/tmp/out"; then
        failure "prints no '${3-}'  $2"
        tail -5 "$root/tmp/out"
    else
        echo "ok      exit $status  $2"
    fi
}
for program in "$root$bundle"/libexec/glow_*; do
    case $program in *_probe) continue ;; esac  # a helper without options
    expect 0 "$bundle/bin/$(basename "$program") --version"
    expect 0 "$bundle/bin/$(basename "$program") --help"
done
expect 0 "mkdir -p /tmp/own/bin && ln -sf $bundle/bin/glow_train /tmp/own/first && ln -sf ../first /tmp/own/bin/train && /tmp/own/bin/train --version" "glow_train"
expect 2 "$bundle/bin/glow_sample --device cuda --checkpoint nowhere -o x.png" "no NVIDIA driver"
expect 2 "$bundle/bin/glow_sample --device auto --checkpoint nowhere -o x.png" "cannot open nowhere"
expect 2 "$bundle/tools/gpu_check.sh --part all --out refused" "no usable GPU: .*no NVIDIA driver"
expect 0 "$bundle/tools/gpu_check.sh --part all --out smoke --smoke 2>smoke.progress" "^gpu_check: smoke test"
cat "$root/tmp/out"
grep took "$root/home/elsewhere/smoke.progress"
[ "$(wc -c <"$root/tmp/out")" -lt 10000 ] || failure "the table is longer than 10,000 characters"
for part in tests steps kernels twin memory processes engines train sanitizer; do
    grep -q "^== $part" "$root/tmp/out" || failure "no part $part"
done
tar -tzf "$root/home/elsewhere/smoke/gpu_check.tar.gz" | sort >"$root/tmp/list"
for file in table.txt gpu_check.json logs/tests.log logs/train.log run/metrics.csv; do
    grep -qx "./$file" "$root/tmp/list" || failure "$file is not in the archive"
done
python3 -m json.tool "$root/home/elsewhere/smoke/gpu_check.json" >/dev/null || failure "gpu_check.json"
if [ $with_mpi = yes ]; then
    for processes in 2 8; do
        grep -q "^mpi_$processes  *bits/dim apart  *[0-9]" "$root/tmp/out" || failure "no losses of $processes processes"
    done
fi

# Places of CUDA's libraries on real machines. Python is copied from this machine, with its standard library. Its other
# libraries are visible to it alone, especially libz: a machine may lack it, and cuDNN must then use the bundle's.
python=$(realpath /usr/bin/python3)
version=$(basename "$python")
packages=$root/usr/local/lib/$version/dist-packages/nvidia
mkdir -p "$root/usr/lib/copied" "$packages"
cp "$python" "$root/usr/bin/"
cp -r "/usr/lib/$version" "$root/usr/lib/"
ldd "$python" | awk '$3 ~ /^\// { print $3 }' | while read -r library; do cp -L "$library" "$root/usr/lib/copied/"; done
printf '#!/bin/sh\nLD_LIBRARY_PATH=/usr/lib/copied exec /usr/bin/%s "$@"\n' "$version" >"$root/bin/python3"
chmod +x "$root/bin/python3"
everything=$root/libraries
mv "$toolkit" "$everything"
place() {  # Arguments: folder, names. Puts libraries there; cuDNN is several.
    mkdir -p "$1"
    for name in "${@:2}"; do
        ln "$everything/lib$name".so.[0-9]* "$1"
        if [ "$name" = cudnn ]; then ln "$everything"/libcudnn_*.so.[0-9]* "$1"; fi
    done
}
clear() {
    rm -rf "$packages" "$root"/usr/local/cuda* "$root/opt"
    if [ $with_mpi = yes ]; then place "$packages/nccl/lib" nccl; fi  # needed to start; always here
}
version="$bundle/bin/glow_train --version"
told='^cuDNN *9\.'

echo "-- nowhere"
clear
rm -rf "$packages/nccl"
expect 2 "$version" "not found: libcublas"
echo "-- a toolkit of another version next to the right one, without cuDNN; cuDNN in a Python environment"
clear
place "$root/usr/local/cuda-99.0/lib64" cublas cublasLt cusolver cusparse nvJitLink
mkdir -p "$root/usr/local/cuda/lib64"
echo "no library" >"$root/usr/local/cuda/lib64/libcublasLt.so.12"
place "$packages/cudnn/lib" cudnn
expect 0 "$version" "$told"
echo "-- CUDA_HOME"
clear
place "$root/opt/somewhere/lib" cublas cublasLt cusolver cusparse nvJitLink cudnn
expect 0 "CUDA_HOME=/opt/somewhere $version" "$told"
echo "-- LD_LIBRARY_PATH, after a folder of another version"
mkdir -p "$root/opt/old"
echo "no library" >"$root/opt/old/libcublasLt.so.12"
expect 0 "LD_LIBRARY_PATH=/opt/old:/opt/somewhere/lib $version" "$told"
echo "-- a Python environment, one folder per library"
clear
place "$packages/cublas/lib" cublas cublasLt
place "$packages/cusolver/lib" cusolver
place "$packages/cusparse/lib" cusparse
place "$packages/nvjitlink/lib" nvJitLink
place "$packages/cudnn/lib" cudnn
expect 0 "$version" "$told"
echo "-- a Python environment, one folder"
clear
place "$packages/cu13/lib" cublas cublasLt cusolver cusparse nvJitLink
place "$packages/cudnn/lib" cudnn
expect 0 "$version" "$told"
echo "-- the same in a virtual environment, with no python on PATH"
mkdir -p "$root/opt/environment/lib/python3.12/site-packages"
mv "$packages" "$root/opt/environment/lib/python3.12/site-packages/"
mv "$root/bin/python3" "$root/bin/nowhere"
expect 0 "VIRTUAL_ENV=/opt/environment $version" "$told"
mv "$root/bin/nowhere" "$root/bin/python3"
echo "-- incomplete cuDNN: treated as missing"
clear
place "$packages/cu13/lib" cublas cublasLt cusolver cusparse nvJitLink cudnn
rm "$packages"/cu13/lib/libcudnn_*
expect 0 "$version" '^cuDNN *no'
echo "root: $root"
exit $failed

#!/bin/sh
# bundle.sh SOURCE BUILD PROGRAM...: packs BUILD/glow-gpu.tar.xz from programs of the build, the scripts that go with them
# and the shared libraries they need. glibc's and CUDA's are left out: the first belong to a machine, the second are
# looked for where it runs (bin/ holds small scripts that do so).
set -eu
source=$1
build=$2
shift 2
command -v patchelf >/dev/null || { echo "bundle: patchelf is needed (apt-get install patchelf)" >&2; exit 1; }
stage=$build/bundle/glow-gpu
rm -rf "$build/bundle"
mkdir -p "$stage/bin" "$stage/lib" "$stage/libexec" "$stage/tools" "$stage/tests/reference"

is_system() {
    case $1 in
        ld-linux*|libc.so*|libm.so*|libdl.so*|libpthread.so*|librt.so*|libresolv.so*|libutil.so*|linux-vdso*) return 0 ;;
        libcublas*|libcusolver*|libcusparse*|libcudart*|libnvJitLink*|libcudnn*|libnccl*|libcuda.so*) return 0 ;;
    esac
    return 1
}

for program in "$@"; do
    name=$(basename "$program")
    cp "$program" "$stage/libexec/$name"
    # The closure: ldd follows the libraries' own needs too.
    ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | while read -r needed path; do
        is_system "$needed" || cp -Ln "$path" "$stage/lib/$needed"
    done
    ln -s run "$stage/bin/$name"
done
strip --strip-unneeded "$stage"/libexec/* "$stage"/lib/*
# RPATH, not RUNPATH: it also serves the libraries' own needs, and comes before LD_LIBRARY_PATH.
for file in "$stage"/libexec/*; do patchelf --force-rpath --set-rpath '$ORIGIN/../lib' "$file"; done
for file in "$stage"/lib/*; do patchelf --force-rpath --set-rpath '$ORIGIN' "$file"; done

cat >"$stage/bin/run" <<'RUN'
#!/bin/sh
# Starts the program of the name it is called by, with CUDA's libraries from the toolkit or from a Python environment.
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
name=${0##*/}
probe() { [ -e "$1/libcublasLt.so.13" ] || [ -e "$1/libcublasLt.so.12" ]; }
known=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null)
is_known() { case $known in *$1*) return 0 ;; esac; return 1; }
# NVIDIA's wheels have a folder a library, or one for all (nvidia/cu13/lib).
wheels() {
    command -v python3 >/dev/null 2>&1 && python3 -c 'import glob, site, sys
paths = site.getsitepackages() + [site.getusersitepackages()] + sys.path
print(*dict.fromkeys(f for p in paths for f in glob.glob(p + "/nvidia/*/lib")), sep="\n")' 2>/dev/null
}
folders=
if ! is_known libcublasLt.so; then
    for folder in ${CUDA_HOME:+"$CUDA_HOME/lib64"} /usr/local/cuda/lib64 /usr/local/cuda-*/lib64; do
        if probe "$folder"; then folders=$folder; break; fi
    done
fi
if [ -z "$folders" ] && ! is_known libcublasLt.so; then
    for folder in $(wheels); do folders=$folders${folders:+:}$folder; done
fi
# cuDNN, which a toolkit need not have, may lie in a Python environment all the same.
case $folders in *:*) ;; *)
    if ! is_known libcudnn.so.9 && ! [ -e "$folders/libcudnn.so.9" ]; then
        for folder in $(wheels); do
            if [ -e "$folder/libcudnn.so.9" ]; then folders=$folders${folders:+:}$folder; fi
        done
    fi ;;
esac
[ -n "$folders" ] && export LD_LIBRARY_PATH="$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
missing=$(LD_TRACE_LOADED_OBJECTS=1 "$here/libexec/$name" 2>/dev/null | awk '/not found/ { print $1 }' | sort -u | tr '\n' ' ')
if [ -n "$missing" ]; then
    echo "$name: not found: $missing(CUDA's libraries: set CUDA_HOME, or LD_LIBRARY_PATH, or install NVIDIA's wheels)" >&2
    exit 2
fi
exec "$here/libexec/$name" "$@"
RUN
chmod +x "$stage/bin/run"
for script in gpu_check.sh memory_figures.sh plot_memory.py; do cp "$source/tools/$script" "$stage/tools/"; done
cp "$source"/tools/report*.py "$stage/tools/"
cp "$source"/tests/reference/*.py "$stage/tests/reference/"
cp "$source"/LICENSE "$stage/"
tar -C "$build/bundle" -cf - glow-gpu | xz -T0 -2 >"$build/glow-gpu.tar.xz"
bytes=$(stat -c %s "$build/glow-gpu.tar.xz")
echo "$build/glow-gpu.tar.xz: $((bytes / 1048576)) MiB"
[ "$bytes" -lt $((64 * 1048576)) ] || { echo "bundle: more than 64 MiB" >&2; exit 1; }

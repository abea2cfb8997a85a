#!/bin/sh
# Usage: bundle.sh SOURCE BUILD PROGRAM...
# Packs BUILD/glow-gpu.tar.xz from programs of the build, their scripts and the shared libraries they need,
# except those of glibc and CUDA. The target machine provides glibc; small scripts in bin/ locate CUDA's
# libraries there.
set -eu
source=$1
build=$2
shift 2
command -v patchelf >/dev/null || { echo "bundle: patchelf is required (apt-get install patchelf)" >&2; exit 1; }
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
    # ldd also lists the libraries' own dependencies.
    ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | while read -r needed path; do
        is_system "$needed" || cp -Ln "$path" "$stage/lib/$needed"
    done
    ln -s run "$stage/bin/$name"
done
strip --strip-unneeded "$stage"/libexec/* "$stage"/lib/*
# RPATH, not RUNPATH: it also applies to the libraries' own dependencies and precedes LD_LIBRARY_PATH. cuDNN's
# libraries have their own RUNPATH, which hides ours, and need libz: on a machine without it, the program's
# own is already loaded.
for file in "$stage"/libexec/*; do patchelf --force-rpath --set-rpath '$ORIGIN/../lib' --add-needed libz.so.1 "$file"; done
for file in "$stage"/lib/*; do patchelf --force-rpath --set-rpath '$ORIGIN' "$file"; done
glibc=$(objdump -T "$stage"/libexec/* "$stage"/lib/* | grep -o 'GLIBC_2[.0-9]*' | sort -uV | tail -1)
cublas=$(ldd "$stage/libexec/glow_train" | awk '/^\tlibcublasLt\.so/ { print $1 }')

sed "s/@CUBLAS@/$cublas/" >"$stage/bin/run" <<'RUN'
#!/bin/sh
# Starts the program it is named after with CUDA's libraries from the first place that has them: CUDA_HOME,
# LD_LIBRARY_PATH, the system, a toolkit or a Python environment. All come from one place, because versions
# share file names. GLOW_UNDER="cuda-gdb --args", for example, starts the program under another one.
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
name=${0##*/}
needed=@CUBLAS@ folders=

# Prints the folder where the dynamic linker finds a library the program needs, if any.
linked() {
    LD_TRACE_LOADED_OBJECTS=1 "$here/libexec/$name" 2>/dev/null | awk -v name="$needed" '
        $1 == name && $3 ~ /^\// { sub(/\/[^\/]*$/, "", $3); print $3; exit }'
}
toolkits() {
    printf '%s\n' /usr/local/cuda /usr/local/cuda-*[0-9] /opt/cuda
    nvcc=$(command -v nvcc) && dirname "$(dirname "$(readlink -f "$nvcc")")"
}
# NVIDIA's wheels have one folder per library (nvidia/cublas/lib), or one for most of them (nvidia/cu13/lib).
wheels() {
    for python in python3 python; do
        command -v $python >/dev/null 2>&1 && $python -c 'import glob, site, sys
paths = sys.path + site.getsitepackages() + [site.getusersitepackages()]
print(*dict.fromkeys(f for p in paths if p for f in glob.glob(p + "/nvidia/*/lib")), sep="\n")' 2>/dev/null && return
    done
    for environment in ${VIRTUAL_ENV:+"$VIRTUAL_ENV"} ${CONDA_PREFIX:+"$CONDA_PREFIX"}; do
        for folder in "$environment"/lib/python3*/site-packages/nvidia/*/lib; do [ -d "$folder" ] && echo "$folder"; done
    done
}
add() { folders=$folders${folders:+:}$1; }
search() {
    while read -r toolkit; do
        for folder in "$toolkit/lib64" "$toolkit/lib" "$toolkit/targets/x86_64-linux/lib"; do
            if [ -e "$folder/$needed" ]; then add "$folder"; return; fi
        done
    done
}

search <<END
${CUDA_HOME:-}
END
if [ -z "$folders" ]; then folders=$(linked); fi
if [ -z "$folders" ]; then
    search <<END
$(toolkits)
END
fi
if [ -z "$folders" ]; then
    found=$(wheels)
    case $(for folder in $found; do ls "$folder"; done 2>/dev/null) in
        *"$needed"*) for folder in $found; do add "$folder"; done ;;
    esac
else
    # cuDNN is not part of toolkits and may be in a Python environment.
    known=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null)
    case $known:$(IFS=:; ls $folders $LD_LIBRARY_PATH 2>/dev/null) in
        *libcudnn.so.9*) ;;
        *) for folder in $(wheels); do
               if [ -e "$folder/libcudnn.so.9" ]; then add "$folder"; break; fi
           done ;;
    esac
fi
[ -n "$folders" ] && export LD_LIBRARY_PATH="$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# Where containers mount the driver's library, even if the dynamic linker does not know.
for folder in /usr/local/nvidia/lib64 /usr/lib/wsl/lib; do
    [ -e "$folder/libcuda.so.1" ] && export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder"
done
missing=$(LD_TRACE_LOADED_OBJECTS=1 "$here/libexec/$name" 2>/dev/null | awk '/not found/ { print $1 }' | sort -u | tr '\n' ' ')
if [ -n "$missing" ]; then
    echo "$name: not found: $missing(CUDA's libraries: set CUDA_HOME, or LD_LIBRARY_PATH, or install NVIDIA's wheels)" >&2
    exit 2
fi
exec ${GLOW_UNDER-} "$here/libexec/$name" "$@"
RUN
chmod +x "$stage/bin/run"
for script in gpu_check.sh memory_figures.sh output_files.py plot_memory.py find_python.sh python_packages.py; do cp "$source/tools/$script" "$stage/tools/"; done
cp "$source"/tools/report*.py "$stage/tools/"
cp "$source"/tests/reference/*.py "$stage/tests/reference/"
cp "$source"/LICENSE "$stage/"
tar -C "$build/bundle" -cf - glow-gpu | xz -T0 -2 >"$build/glow-gpu.tar.xz"
bytes=$(stat -c %s "$build/glow-gpu.tar.xz")
echo "$build/glow-gpu.tar.xz: $((bytes / 1048576)) MiB, for machines with $cublas and glibc ${glibc#GLIBC_} or newer"
[ "$bytes" -lt $((64 * 1048576)) ] || { echo "bundle: more than 64 MiB" >&2; exit 1; }

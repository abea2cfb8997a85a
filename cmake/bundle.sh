#!/bin/sh
# Usage: bundle.sh SOURCE BUILD DATA PROGRAM...
# Packs BUILD/glow-gpu.tar.xz from programs of the build, their scripts, the shared libraries they need, Open MPI with its
# launcher if the build uses it, and the data set DATA (HDF5; "": none). The target machine provides glibc; small scripts in
# bin/ locate CUDA's libraries there.
set -eu
source=$1
build=$2
data=$3
shift 3
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

# ldd also lists the libraries' own dependencies.
copy_libraries() {
    ldd "$1" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | while read -r needed path; do
        is_system "$needed" || cp -Ln "$path" "$stage/lib/$needed"
    done
}
add_program() { # file, name
    cp -L "$1" "$stage/libexec/$2"
    copy_libraries "$1"
    ln -s run "$stage/bin/$2"
}

for program in "$@"; do add_program "$program" "$(basename "$program")"; done

# Open MPI finds its plugins and messages below OPAL_PREFIX, laid out as below its own prefix. Plugins for fabrics need
# libraries of the target machine and are omitted; shared memory and TCP need none.
plugins=
if grep -qaE 'lib(mpi|mpich)[a-z_]*\.so\.[0-9]+' "$stage/libexec/glow_train"; then
    command -v ompi_info >/dev/null || { echo "bundle: of MPI only Open MPI can be moved (-DGLOW_MPI=OFF)" >&2; exit 1; }
    copy_libraries "$(readlink -f "$(command -v ompi_info)")"  # programs load libmpi at its first use
    place_of() { OPAL_PREFIX="$1" ompi_info --path "$2" --parsable | sed -n "s/^path:$2://p" | tail -1; }
    plugins=$stage$(place_of / pkglibdir | sed 's,^//,/,')
    messages=$stage$(place_of / pkgdatadir | sed 's,^//,/,')
    mkdir -p "$plugins" "$messages"
    unset OPAL_PREFIX
    for plugin in "$(ompi_info --path pkglibdir --parsable | sed -n 's/^path:pkglibdir://p' | tail -1)"/mca_*.so; do
        if ldd "$plugin" | grep -qE 'libuc[pst]|libfabric|libpsm|libibverbs|librdmacm|liboshmem|libflux|not found'; then continue; fi
        cp -L "$plugin" "$plugins/"
        copy_libraries "$plugin"
    done
    cp "$(ompi_info --path pkgdatadir --parsable | sed -n 's/^path:pkgdatadir://p' | tail -1)"/*.txt "$messages/"
    for program in mpirun orted; do add_program "$(readlink -f "$(command -v $program)")" $program; done
    strip --strip-unneeded "$plugins"/*
    up=$(printf '%s' "${plugins#"$stage"/}" | sed 's,[^/]*,..,g')
    for file in "$plugins"/*; do patchelf --force-rpath --set-rpath "\$ORIGIN/$up/lib" "$file"; done
fi
find "$stage/libexec" "$stage/lib" -maxdepth 1 -type f -exec strip --strip-unneeded {} +
# RPATH, not RUNPATH: it also applies to the dependencies of libraries, and precedes LD_LIBRARY_PATH. cuDNN's libraries have
# their own RUNPATH, which hides it, and need libz, which a machine may lack: the programs therefore load the bundle's libz
# first. Set both in separate calls: patchelf 0.14 overwrites one string with the other in programs with few strings.
for file in "$stage"/libexec/*; do
    patchelf --add-needed libz.so.1 "$file"
    # Programs load these at first use. Declare them as needed, so that bin/run can look up where they are.
    for library in $(grep -aoE 'lib(cublasLt|cublas|cusolver)\.so\.[0-9]+' "$file" | sort -u); do
        patchelf --add-needed "$library" "$file"
    done
    patchelf --force-rpath --set-rpath '$ORIGIN/../lib' "$file"
done
find "$stage/lib" -maxdepth 1 -type f | while read -r file; do patchelf --force-rpath --set-rpath '$ORIGIN' "$file"; done
glibc=$(find "$stage/libexec" "$stage/lib" -type f -exec objdump -T {} + | grep -o 'GLIBC_2[.0-9]*' | sort -uV | tail -1)
cublas=$(ldd "$stage/libexec/glow_train" | awk '/^\tlibcublasLt\.so/ { print $1 }')

sed -e "s/@CUBLAS@/$cublas/" -e "s/@MAJOR@/${cublas##*.}/" >"$stage/bin/run" <<'RUN'
#!/bin/sh
# Starts the program it is named after with CUDA's libraries from the first place that has them: CUDA_HOME,
# LD_LIBRARY_PATH, the system, a toolkit or a Python environment. All come from one place, because versions
# share file names. GLOW_UNDER="cuda-gdb --args", for example, starts the program under another one.
here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)
program=$0  # may be a link in another folder, with another name
while link=$(readlink -- "$program") && [ "${link##*/}" != run ]; do
    case $link in /*) program=$link ;; *) program=$(dirname -- "$program")/$link ;; esac
done
name=${program##*/}
needed=@CUBLAS@ folders=
# Libraries that a toolkit may lack: cuDNN; NVRTC, with which cuDNN compiles some of its engines; NCCL; CUPTI for glow_bench
# --kernels.
others="libcudnn.so.9 libnvrtc.so.@MAJOR@ libnccl.so.2 libcupti.so.@MAJOR@"

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
    for folder in $(IFS=:; printf '%s\n' $folders); do
        for cupti in "$folder/../extras/CUPTI/lib64" "$folder/../../../extras/CUPTI/lib64"; do
            if [ -d "$cupti" ]; then add "$cupti"; fi
        done
    done
    known=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null)
    known=$known:$(IFS=:; ls $folders $LD_LIBRARY_PATH 2>/dev/null)
    lacking=
    for library in $others; do
        case $known in *"$library"*) ;; *) lacking="$lacking $library" ;; esac
    done
    # The others may be in a Python environment, whose folders come last.
    if [ -n "$lacking" ]; then
        found=$(wheels)
        for library in $lacking; do
            for folder in $found; do
                if [ -e "$folder/$library" ]; then add "$folder"; break; fi
            done
        done
    fi
fi
[ -n "$folders" ] && export LD_LIBRARY_PATH="$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# Where containers mount the driver's library, even if the dynamic linker does not search there.
for folder in /usr/local/nvidia/lib64 /usr/lib/wsl/lib; do
    [ -e "$folder/libcuda.so.1" ] && export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder"
done
if [ -e "$here/libexec/mpirun" ]; then
    # Open MPI finds its plugins by OPAL_PREFIX. PMIx prints a long warning because its plugin for zlib is missing.
    export OPAL_PREFIX="$here" PMIX_MCA_pcompress_base_silence_warning=1
    # Without ssh or rsh, Open MPI would not even start processes on this machine.
    command -v ssh >/dev/null 2>&1 || command -v rsh >/dev/null 2>&1 || export OMPI_MCA_plm=isolated
fi
missing=$(LD_TRACE_LOADED_OBJECTS=1 "$here/libexec/$name" 2>/dev/null | awk '/not found/ { print $1 }' | sort -u | tr '\n' ' ')
if [ -n "$missing" ]; then
    echo "$name: not found: $missing(CUDA's libraries: set CUDA_HOME, or LD_LIBRARY_PATH, or install NVIDIA's wheels)" >&2
    exit 2
fi
exec ${GLOW_UNDER-} "$here/libexec/$name" "$@"
RUN
chmod +x "$stage/bin/run"
for script in gpu_check.sh memory_figures.sh speedrun.sh compare_options.py output_files.py plot_memory.py find_python.sh python_packages.py script_text.py; do cp "$source/tools/$script" "$stage/tools/"; done
cp "$source"/tools/report*.py "$stage/tools/"
cp "$source"/tests/reference/*.py "$stage/tests/reference/"
cp "$source"/LICENSE "$stage/"
if [ -n "$data" ]; then mkdir "$stage/data" && cp "$data" "$stage/data/cifar10.h5"; fi
# A dictionary large enough for several programs, because they contain the same libraries.
tar -C "$build/bundle" -cf - glow-gpu | xz -T1 --lzma2=preset=4,dict=128MiB >"$build/glow-gpu.tar.xz"
bytes=$(stat -c %s "$build/glow-gpu.tar.xz")
echo "$build/glow-gpu.tar.xz: $((bytes / 1048576)) MiB, for machines with $cublas and glibc ${glibc#GLIBC_} or newer"
[ "$bytes" -lt $((64 * 1048576)) ] || { echo "bundle: more than 64 MiB" >&2; exit 1; }

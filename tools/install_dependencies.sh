#!/usr/bin/env bash
# Installs what Glow's build and scripts need and this machine lacks, with apt (Debian 12, 13; Ubuntu 22.04, 24.04).
# Does not prompt, does not call apt if nothing is missing, and never installs CUDA.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tools/install_dependencies.sh [--with-tests] [--check]

  --with-tests  also what only some tests use (python3-torch, where the distribution has it; python3-dev, pybind11-dev, locales)
  --check       only list what is missing
  --help        this text

Needs root, or a sudo that asks for no password; without either it prints what to install.
Exit status: 0 all required parts are installed; 1 apt failed; 2 required parts are missing and cannot be installed here.
TEXT
}

say() { printf '%s\n' "$*" >&2; }

with_tests=no
check_only=no
for argument in "$@"; do
    case $argument in
        --with-tests) with_tests=yes ;;
        --check) check_only=yes ;;
        --help | -h) usage; exit 0 ;;
        *) say "install_dependencies: unknown option $argument (see --help)"; exit 2 ;;
    esac
done

# One part per line: required or optional | package alternatives, first choice first | probe for another
# installation | purpose
parts='
required | g++                            | compiler                       | C++20
required | cmake                          | command cmake                  | build
required | ninja-build                    | command ninja                  | build
required | pkg-config pkgconf             | command pkg-config             | build
optional | libdnnl-dev libonednn-dev      | header oneapi/dnnl/dnnl.hpp    | oneDNN: fast matrix products
required | libopenblas-dev                | header cblas.h                 | matrix products
optional | libopenblas-dev                | library openblas               | a fast BLAS; the reference one works too
required | liblapacke-dev                 | header lapacke.h               | LU and QR
required | libhdf5-dev                    | header hdf5.h                  | files
required | libcli11-dev                   | header CLI/CLI.hpp             | command lines
required | libfmt-dev                     | header fmt/format.h            | messages
required | nlohmann-json3-dev             | header nlohmann/json.hpp       | JSON
required | libtomlplusplus-dev libtoml11-dev | header toml++/toml.h toml.hpp | config.toml
required | libpng-dev                     | header png.h                   | pictures
required | libjpeg-dev                    | header jpeglib.h               | photographs
optional | libwebp-dev                    | header webp/decode.h           | WebP photographs
optional | libtiff-dev                    | header tiffio.h                | TIFF photographs
optional | libgif-dev                     | header gif_lib.h               | GIF pictures
required | zlib1g-dev                     | header zlib.h                  | compressed data
required | libgtest-dev                   | header gtest/gtest.h           | tests
optional | libbenchmark-dev               | header benchmark/benchmark.h   | glow_bench
optional | patchelf                       | command patchelf               | bundle for machines with a GPU
optional | xz-utils                       | command xz                     | bundle for machines with a GPU
optional | dpkg-dev                       | command dpkg-shlibdeps         | cpack: a Debian package
optional | file                           | command file                   | cpack: a Debian package
optional | libopenmpi-dev                 | command mpicc                  | MPI: several processes
optional | openmpi-bin                    | command mpirun                 | MPI: several processes
optional | curl wget                      | downloader                     | download of CIFAR-10
optional | ca-certificates                | file /etc/ssl/certs/ca-certificates.crt | download of CIFAR-10
required | python3-numpy                  | python                         | plotting and scripts
required | python3-matplotlib             | python                         | plotting
required | python3-h5py                   | python                         | scripts that read data sets and checkpoints
'
if [ $with_tests = yes ]; then
    parts+='optional | python3-torch       | module torch                   | tests against PyTorch
optional | python3-dev            | command python3-config         | the Python package in the build
optional | pybind11-dev           | file /usr/include/pybind11/pybind11.h | the Python package in the build
optional | bash-static            | command bash-static            | rehearsal of the bundle
optional | busybox-static         | command busybox                | rehearsal of the bundle
optional | locales                | file /usr/share/i18n/locales/de_DE | a test with decimal commas
optional | libtoml11-dev          | header toml.hpp                | config.toml with the library of Ubuntu 22.04
'
fi

# Is package NAME installed?
installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

find_python=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/find_python.sh

# A part is present if its package is, or if the probe finds it (built by hand, another package).
probe() {
    case $1 in
        compiler) command -v "${CXX:-g++}" >/dev/null ;;
        command) command -v "$2" >/dev/null ;;
        downloader) command -v curl >/dev/null || command -v wget >/dev/null ;;
        file) [ -e "$2" ] ;;
        header)
            local flags=
            if [ "$2" = hdf5.h ]; then
                flags=$(pkg-config --cflags hdf5 2>/dev/null || pkg-config --cflags hdf5-serial 2>/dev/null || true)
            fi
            local header
            for header in "${@:2}"; do  # any of them
                # shellcheck disable=SC2086
                printf '#include <%s>\n' "$header" | "${CXX:-g++}" -std=c++20 -E -x c++ $flags - >/dev/null 2>&1 && return
            done
            return 1 ;;
        library) echo 'int main() {}' | "${CXX:-g++}" -x c++ - "-l$2" -o /dev/null 2>/dev/null ;;
        python) "$find_python" numpy matplotlib h5py >/dev/null ;;
        module) "$find_python" "$2" >/dev/null ;;
    esac
}

required=()  # missing parts, each a list of alternative package names
optional=()
declare -A purpose=()
while IFS='|' read -r kind packages test_with what; do
    [ -n "${kind// /}" ] || continue
    read -r kind <<<"$kind"
    read -r packages <<<"$packages"
    read -r -a test_with <<<"$test_with"
    read -r what <<<"$what"
    found=no
    for package in $packages; do
        if installed "$package"; then found=yes; break; fi
    done
    if [ $found = no ] && ! probe "${test_with[@]}"; then
        purpose[$packages]=$what
        if [ "$kind" = required ]; then required+=("$packages"); else optional+=("$packages"); fi
    fi
done <<<"$parts"

# The first alternative that the package lists know, if any.
candidate() {
    local package
    for package in "$@"; do
        # Not through a pipe: grep exiting early would kill apt-cache, which pipefail reports as a failure.
        if grep -q 'Candidate: [^(]' <<<"$(apt-cache policy "$package" 2>/dev/null)"; then
            printf '%s' "$package"
            return
        fi
    done
}

# For messages: of each part the package to install, or the first one, if apt knows none or its lists are missing.
first_choices() {
    local packages package
    for packages in "$@"; do
        # shellcheck disable=SC2086
        package=$(candidate $packages)
        printf ' %s' "${package:-${packages%% *}}"
    done
}
without() { say "install_dependencies: continuing without $1 (${purpose[$1]}): $2"; }

# The build needs C++20 and presets. If an older tool comes first in PATH, the user must change that.
check_versions() {
    local version
    version=$(cmake --version 2>/dev/null | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p')
    if [ "$(printf '%s\n3.22\n' "$version" | sort -V | head -n 1)" != 3.22 ]; then
        say "install_dependencies: $(command -v cmake) is version $version; Glow needs 3.22 or newer. Put a newer one first in PATH."
        exit 2
    fi
    if ! echo '#include <concepts>' | "${CXX:-g++}" -std=c++20 -fsyntax-only -x c++ - >/dev/null 2>&1; then
        say "install_dependencies: ${CXX:-g++} does not compile C++20; g++ 11 or newer does. Set CXX to a newer compiler."
        exit 2
    fi
}

if [ ${#required[@]} = 0 ] && [ ${#optional[@]} = 0 ]; then
    check_versions
    say "install_dependencies: everything is installed"
    exit 0
fi

names=$(first_choices "${required[@]}")
if [ $check_only = yes ]; then
    [ ${#optional[@]} = 0 ] || say "install_dependencies: optional and missing:$(first_choices "${optional[@]}")"
    [ ${#required[@]} = 0 ] && exit 0
    say "install_dependencies: missing:$names"
    exit 2
fi

# Permission to install: root, or passwordless sudo.
can_install=yes
as_root=()
if ! command -v apt-get >/dev/null; then
    can_install="this is not Debian or Ubuntu (no apt-get)"
elif [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        can_install="neither root nor passwordless sudo"
    fi
fi
if [ "$can_install" != yes ]; then
    if [ ${#required[@]} != 0 ]; then
        say "install_dependencies: missing, and cannot be installed here ($can_install). Install these and run this again:"
        if command -v apt-get >/dev/null; then
            say "    sudo apt-get update && sudo apt-get install --no-install-recommends$names"
        else
            say "   $names   (Debian's names)"
        fi
        [ ${#optional[@]} = 0 ] || say "install_dependencies: optional, for speed and more:$(first_choices "${optional[@]}")"
        exit 2
    fi
    for packages in "${optional[@]}"; do without "$packages" "$can_install"; done
    check_versions
    exit 0
fi

apt() {
    "${as_root[@]}" env LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >&2
}

# Unlike installing, an update does not wait for another apt, such as that of a machine's first boot.
update_lists() {
    local output start=$SECONDS
    until output=$(apt update 2>&1); do
        if ! grep -q 'Could not get lock' <<<"$output" || [ $((SECONDS - start)) -ge 300 ]; then
            say "$output"
            return 1
        fi
        say "install_dependencies: waiting for another apt to finish"
        sleep 5
    done
    say "$output"
}

have_lists() { grep -q Packages <<<"$(apt-cache policy 2>/dev/null)"; }

# Update the lists, unless everything missing is optional and unknown: then every run would download them.
update=no
have_lists && [ ${#required[@]} = 0 ] || update=yes
for packages in "${optional[@]}"; do
    # shellcheck disable=SC2086
    [ -z "$(candidate $packages)" ] || update=yes
done
if [ $update = yes ]; then
    say "install_dependencies: installing$names$(first_choices "${optional[@]}")"
    update_lists || say "install_dependencies: apt-get update failed; trying with the existing lists"
fi

install=()
unknown=()
for packages in "${required[@]}"; do
    # shellcheck disable=SC2086
    package=$(candidate $packages)
    if [ -n "$package" ]; then install+=("$package"); else unknown+=("$packages"); fi
done
if [ ${#unknown[@]} != 0 ]; then
    say "install_dependencies: apt knows no package$(first_choices "${unknown[@]}") (no network, or a distribution without it?)"
    if grep -qx 'ID=ubuntu' /etc/os-release 2>/dev/null; then
        say "install_dependencies: most of these are in Ubuntu's universe component. To enable it: sudo add-apt-repository universe"
    fi
    exit 2
fi
if [ ${#install[@]} != 0 ] && ! apt install --no-install-recommends "${install[@]}"; then
    say "install_dependencies: apt-get could not install: ${install[*]} (its message is above)"
    exit 1
fi
for packages in "${optional[@]}"; do
    # shellcheck disable=SC2086
    package=$(candidate $packages)
    if [ -z "$package" ]; then
        without "$packages" "not in this distribution"
    elif ! apt install --no-install-recommends "$package"; then
        without "$packages" "apt-get could not install it"
    fi
done
check_versions
say "install_dependencies: done"

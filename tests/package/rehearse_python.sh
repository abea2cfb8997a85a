#!/usr/bin/env bash
# Installs the Python package like a new user, as a wheel and from source, in bare Debian installations, and runs its tests there,
# among them every line of docs/python.md and the notebook: with NumPy alone, with PyTorch, with JAX.
set -euo pipefail
unset CDPATH  # with it, cd prints

usage() {
    cat <<'TEXT'
usage: tests/package/rehearse_python.sh [options]

Prints a table at the end. As root; needs debootstrap and the network. The checkout is a clone of the commit this script belongs to.

  --distribution LIST  of bookworm, trixie, or another one that debootstrap knows (bookworm,trixie)
  --only LIST          of wheel: python/build_wheel.sh in one root, its wheel in another without compiler and libraries;
                       source: pip install ./python (wheel,source)
  --with LIST          of none, torch, jax: the environments, from PyPI (none,torch,jax)
  --logs DIR           where the logs go (build/rehearsal-python)
  --keep               keep the roots, and say where they are
  --help               this text

Environment: GLOW_ROOTS, TMPDIR, GLOW_MIRROR, DEBOOTSTRAP as for rehearse_fresh_machine.sh (8 GiB for each root with PyTorch), and
PIP_CERT, PIP_INDEX_URL, PIP_PROXY and CMAKE_BUILD_PARALLEL_LEVEL, which reach the commands.
Exit status: 0 all passed; 1 a command failed; 2 bad usage; 77 no root can be made here (the reason is printed).
TEXT
}

say() { printf 'rehearse_python: %s\n' "$*" >&2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source_tree=$(cd "$here/../.." && pwd)
# shellcheck source=tests/package/bare_root.sh
source "$here/bare_root.sh"

# ---- inside: the steps of one root, in a separate mount namespace -----------------------------------------------------

run_in_root() {  # root, command line
    local root=$1 settings=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LANG=C.UTF-8) name
    for name in CMAKE_BUILD_PARALLEL_LEVEL PIP_INDEX_URL PIP_PROXY; do
        [ -z "${!name-}" ] || settings+=("$name=${!name}")
    done
    [ ! -e "$root/root/pip.crt" ] || settings+=(PIP_CERT=/root/pip.crt)
    chroot "$root" /usr/bin/env -i "${settings[@]}" /bin/bash -c "cd ~/glow && $2" </dev/null
}

inside() {  # root, logs, name, then pairs of a step and its command line
    local root=$1 logs=$2 name=$3 cache status start
    shift 3
    bare_root_mount "$root"
    # Packages are downloaded once for all roots.
    cache=${GLOW_ROOTS:-$HOME/.cache/glow/roots}
    mkdir -p "$cache/archives-${name%%-*}/partial" "$cache/pip" "$root/root/.cache/pip"
    mount --bind "$cache/archives-${name%%-*}" "$root/var/cache/apt/archives"
    mount --bind "$cache/pip" "$root/root/.cache/pip"
    while [ $# -gt 0 ]; do
        say "$name: $1 (log: $logs/$name-$1.log)"
        status=0 start=$SECONDS
        run_in_root "$root" "$2" >"$logs/$name-$1.log" 2>&1 || status=$?
        printf '%s\t%s\t%d\t%d\n' "$name" "$1" $status $((SECONDS - start)) >>"$logs/results.tsv"
        # The steps after it need it, except tests.
        case $status:$1 in 0:* | *:test-*) ;; *) return 0 ;; esac
        shift 2
    done
}

if [ "${1-}" = --inside ]; then
    shift
    inside "$@"
    exit
fi

# ---- options ---------------------------------------------------------------------------------------------------------

distributions=bookworm,trixie only=wheel,source environments=none,torch,jax keep=no
logs=$source_tree/build/rehearsal-python
while [ $# -gt 0 ]; do
    case $1 in
        --distribution | --only | --with | --logs)
            [ $# -ge 2 ] || { say "$1 needs a value (see --help)"; exit 2; }
            [ -n "$2" ] || { say "$1: expected a value, found an empty one: is a variable not set?"; exit 2; }
            case $1 in --distribution) distributions=$2 ;; --only) only=$2 ;; --with) environments=$2 ;; --logs) logs=$2 ;; esac
            shift 2 ;;
        --keep) keep=yes; shift ;;
        --help | -h) usage; exit 0 ;;
        *) say "unknown option $1 (see --help)"; exit 2 ;;
    esac
done
each() { printf '%s\n' "${1//,/ }"; }
among() {  # option, list, allowed words
    local word
    for word in $(each "$2"); do
        case " $3 " in *" $word "*) ;; *) say "$1 $word: one of $3 (see --help)"; exit 2 ;; esac
    done
}
among --only "$only" "wheel source"
among --with "$environments" "none torch jax"
problem=$(bare_root_problem)
if [ -n "$problem" ]; then
    echo "skipped: $problem"
    exit 77
fi
if ! git -C "$source_tree" rev-parse HEAD >/dev/null 2>&1; then
    echo "skipped: $source_tree is not a git checkout, which this script clones"
    exit 77
fi
[ -z "$(git -C "$source_tree" status --porcelain)" ] || say "uncommitted changes are not included"

# ---- all combinations --------------------------------------------------------------------------------------------------

mkdir -p -- "$logs"
logs=$(cd -- "$logs" && pwd)
: >"$logs/results.tsv"
work=$(mktemp -d)
trap '[ $keep = yes ] || rm -rf --one-file-system "$work"' EXIT
failed=0

make_root() {  # distribution, root: with ~/glow, empty
    bare_root_make "$1" "$2"
    mkdir -p "$2/root/glow"
    [ -z "${PIP_CERT-}" ] || cp -L -- "$PIP_CERT" "$2/root/pip.crt"
}
run_steps() {  # root, name, steps
    unshare --mount --pid --fork "$here/rehearse_python.sh" --inside "$1" "$logs" "${@:2}" ||
        { say "$2: the root could not be prepared"; failed=1; }
}
drop() { if [ $keep = yes ]; then say "kept: $1"; else rm -rf --one-file-system "$1"; fi; }

# The environments' steps: install, as docs/python.md does, then the tests. matplotlib is for the notebook.
steps=()
environment_steps() {  # what pip installs, environment variables
    local environment extra
    for environment in $(each "$environments"); do
        extra=$environment
        [ "$environment" != none ] || extra=''
        steps+=("install-$environment" "python3 -m venv venv-$environment && ${2-} venv-$environment/bin/pip install $1 $extra matplotlib"
            "test-$environment" "venv-$environment/bin/python python/tests/run.py && venv-$environment/bin/pip list")
    done
}
apt_python='apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends'

for distribution in $(each "$distributions"); do
    for kind in $(each "$only"); do
        root=$work/$distribution-$kind
        make_root "$distribution" "$root"
        git clone -q --no-hardlinks "$source_tree" "$root/root/glow"
        steps=(dependencies "tools/install_dependencies.sh && $apt_python python3-dev python3-venv")
        if [ "$kind" = source ]; then
            environment_steps ./python CMAKE_ARGS=-DGLOW_CUDA=OFF
            run_steps "$root" "$distribution-source" "${steps[@]}"
        else
            run_steps "$root" "$distribution-wheel" "${steps[@]}" build "python/build_wheel.sh --out dist"
            bare=$work/$distribution-bare
            make_root "$distribution" "$bare"
            if cp "$root"/root/glow/dist/glow-*.whl "$bare/root/glow/" 2>/dev/null; then
                # The tests and what they read; nothing that can be compiled or imported in place of the wheel.
                git -C "$source_tree" archive HEAD python/tests docs examples tests/reference | tar -C "$bare/root/glow" -x
                steps=(python "$apt_python python3 python3-venv && ! command -v g++")
                environment_steps './glow-*.whl'
                run_steps "$bare" "$distribution-bare" "${steps[@]}"
            fi
            drop "$bare"
        fi
        drop "$root"
    done
done

printf '\n%-18s %-14s %-10s %8s  %s\n' machine step outcome seconds ""
while IFS=$'\t' read -r name step status seconds; do
    text=passed
    [ "$status" = 0 ] || text="exit $status"
    printf '%-18s %-14s %-10s %8d  %.90s\n' "$name" "$step" "$text" "$seconds" \
        "$(grep -E '^(OK|FAILED|Ran |glow )' "$logs/$name-$step.log" | paste -sd ';')"
done <"$logs/results.tsv" | tee "$logs/summary.txt"
if cut -f3 "$logs/results.tsv" | grep -qvx 0; then failed=1; fi
say "logs are in $logs"
exit $failed

#!/usr/bin/env bash
# Runs the README's two commands like a new user: in a bare Debian with only a checkout, with and without the
# CUDA toolkit, as root and as a user with sudo.
set -euo pipefail
unset CDPATH  # with it, cd prints

usage() {
    cat <<'TEXT'
usage: tests/package/rehearse_fresh_machine.sh [options]

Runs every combination of the lists (separated by commas) and prints a table at the end. As root; needs debootstrap and the
network. The checkout is a clone of the commit this script belongs to.

  --distribution LIST  of bookworm, trixie, or another one that debootstrap knows (bookworm,trixie)
  --cuda LIST          yes: this machine's CUDA toolkit, mounted read-only, its nvcc in PATH; no: none (yes,no; no without nvcc)
  --user LIST          of root and sudo, an ordinary user with a sudo that asks for no password (root,sudo)
  --only LIST          of configure: install the dependencies, configure, compile one .cpp and one .cu file;
                       quickstart: tools/quickstart.sh; quick: tools/test.sh --quick; test: tools/test.sh (quickstart,test)
  --minutes M          of training in the quickstart (5)
  --cifar10 DIR        CIFAR-10 for the quickstart, read-only in the root; without it the quickstart finds its own
  --logs DIR           where the logs go (build/rehearsal)
  --keep               keep the roots, and say where they are
  --help               this text

Environment: GLOW_ROOTS (folder of the roots' tarballs and of downloaded packages), TMPDIR (folder of the roots, of 5 GiB each; a
tmpfs halves the time), GLOW_MIRROR, DEBOOTSTRAP, and CMAKE_BUILD_PARALLEL_LEVEL and CTEST_PARALLEL_LEVEL, which reach the commands.
Exit status: 0 all passed; 1 a command failed; 2 bad usage; 77 no root can be made here (the reason is printed).
TEXT
}

say() { printf 'rehearse_fresh_machine: %s\n' "$*" >&2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source_tree=$(cd "$here/../.." && pwd)
# shellcheck source=tests/package/bare_root.sh
source "$here/bare_root.sh"

# ---- inside: one combination, in a separate mount namespace ----------------------------------------------------------

# The commands run inside the root with a fresh environment, as after a login.
run_in_root() {  # root, user, cuda (folder or nothing), command line
    local root=$1 user=$2 cuda=$3 path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin home=/root
    [ -z "$cuda" ] || path=/usr/local/cuda/bin:$path
    [ "$user" = root ] || home=/home/newcomer
    local settings=(HOME="$home" PATH="$path" TERM=dumb) name
    for name in CMAKE_BUILD_PARALLEL_LEVEL CTEST_PARALLEL_LEVEL; do
        [ -z "${!name-}" ] || settings+=("$name=${!name}")
    done
    local as=()
    [ "$user" = root ] || as=(--userspec=newcomer:newcomer --groups=newcomer)
    chroot "${as[@]}" "$root" /usr/bin/env -i "${settings[@]}" /bin/bash -c "cd ~/glow && $4" </dev/null
}

inside() {  # root, user, cuda, cifar10, minutes, logs, name, command...
    local root=$1 user=$2 cuda=$3 cifar10=$4 minutes=$5 logs=$6 name=$7 archives status start line command
    shift 7
    bare_root_mount "$root"
    # Packages are downloaded once for all roots of a distribution.
    archives=${GLOW_ROOTS:-$HOME/.cache/glow/roots}/archives-${name%%-*}
    mkdir -p "$archives/partial"
    mount --bind "$archives" "$root/var/cache/apt/archives"
    if [ -n "$cuda" ]; then
        mkdir -p "$root$cuda"
        mount --bind "$cuda" "$root$cuda"
        mount -o remount,bind,ro "$root$cuda"
        [ -e "$root/usr/local/cuda" ] || ln -s "$cuda" "$root/usr/local/cuda"
    fi
    if [ -n "$cifar10" ]; then
        mkdir -p "$root/cifar10"
        mount --bind "$cifar10" "$root/cifar10"
        mount -o remount,bind,ro "$root/cifar10"
    fi
    if [ "$user" = sudo ]; then
        chroot "$root" /bin/sh -ec '
            export DEBIAN_FRONTEND=noninteractive LC_ALL=C
            apt-get -q update && apt-get -q -y install --no-install-recommends sudo
            useradd --create-home --shell /bin/bash newcomer
            echo "newcomer ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/newcomer
            rm -rf /var/lib/apt/lists/*' >"$logs/$name-sudo.log" 2>&1 ||
            { tail -n 5 "$logs/$name-sudo.log" >&2; return 1; }
        mv "$root/checkout" "$root/home/newcomer/glow"
        chroot "$root" chown -R newcomer:newcomer /home/newcomer
    else
        mv "$root/checkout" "$root/root/glow"
    fi
    for command in "$@"; do
        case $command in
            # One object of each kind, by its name in the build.
            configure) line='tools/install_dependencies.sh --with-tests && cmake --preset release -DGLOW_NATIVE=ON &&
                targets=$(ninja -C build/release -t targets all) && ninja -C build/release \
                $(grep -o -m1 "^[^:]*/device\.cpp\.o" <<<"$targets") $(grep -o -m1 "^[^:]*\.cu\.o" <<<"$targets")' ;;
            quickstart) line="tools/quickstart.sh --minutes $minutes${cifar10:+ --cifar10 /cifar10}" ;;
            quick) line="tools/test.sh --quick" ;;
            test) line="tools/test.sh" ;;
        esac
        say "$name: $command (log: $logs/$name-$command.log)"
        status=0 start=$SECONDS
        run_in_root "$root" "$user" "$cuda" "$line" >"$logs/$name-$command.log" 2>&1 || status=$?
        printf '%s\t%s\t%d\t%d\n' "$name" "$command" $status $((SECONDS - start)) >>"$logs/results.tsv"
    done
}

if [ "${1-}" = --inside ]; then
    shift
    inside "$@"
    exit
fi

# ---- options ---------------------------------------------------------------------------------------------------------

nvcc=$(command -v nvcc || true)
distributions=bookworm,trixie cudas=yes,no users=root,sudo commands=quickstart,test minutes=5 cifar10='' keep=no
logs=$source_tree/build/rehearsal
[ -n "$nvcc" ] || cudas=no
while [ $# -gt 0 ]; do
    case $1 in
        --distribution | --cuda | --user | --only | --minutes | --cifar10 | --logs)
            [ $# -ge 2 ] || { say "$1 needs a value (see --help)"; exit 2; }
            [ -n "$2" ] || { say "$1: expected a value, found an empty one: is a variable not set?"; exit 2; }
            case $1 in
                --distribution) distributions=$2 ;; --cuda) cudas=$2 ;; --user) users=$2 ;; --only) commands=$2 ;;
                --minutes) minutes=$2 ;; --cifar10) cifar10=$2 ;; --logs) logs=$2 ;;
            esac
            shift 2 ;;
        --keep) keep=yes; shift ;;
        --help | -h) usage; exit 0 ;;
        *) say "unknown option $1 (see --help)"; exit 2 ;;
    esac
done
each() { tr ',' '\n' <<<"$1"; }
among() {  # option, list, words
    local word
    for word in $(each "$2"); do
        case " $3 " in *" $word "*) ;; *) say "$1: '$word' is none of: $3"; exit 2 ;; esac
    done
}
among --cuda "$cudas" "yes no"
among --user "$users" "root sudo"
among --only "$commands" "configure quickstart quick test"
[[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] || { say "--minutes $minutes: not a number"; exit 2; }
[ -z "$cifar10" ] || cifar10=$(cd -- "$cifar10" && pwd) || { say "--cifar10: no such folder"; exit 2; }
problem=$(bare_root_problem)
case ,$cudas, in *,yes,*) [ -n "$nvcc" ] || problem="--cuda yes needs a toolkit, but nvcc is not in PATH" ;; esac
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
for distribution in $(each "$distributions"); do
    for cuda in $(each "$cudas"); do
        for user in $(each "$users"); do
            name=$distribution-$([ "$cuda" = yes ] || echo no)cuda-$user
            root=$work/$name
            bare_root_make "$distribution" "$root"
            git clone -q --no-hardlinks "$source_tree" "$root/checkout"
            toolkit=''
            [ "$cuda" = no ] || toolkit=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
            # shellcheck disable=SC2046
            unshare --mount --pid --fork "$here/rehearse_fresh_machine.sh" --inside "$root" "$user" "$toolkit" "$cifar10" \
                "$minutes" "$logs" "$name" $(each "$commands") || { say "$name: the root could not be prepared"; failed=1; }
            if [ $keep = yes ]; then say "kept: $root"; else rm -rf --one-file-system "$root"; fi
        done
    done
done

# The outcome from a log: the quickstart's result, CTest's totals, or the last line.
outcome() {
    local text
    text=$(grep -E '^result: |tests passed, ' "$1" | tail -n 3 | paste -sd ';') || true
    printf '%s' "${text:-$(tail -n 1 "$1")}"
}
printf '\n%-22s %-10s %-12s %8s  %s\n' machine command outcome seconds ""
while IFS=$'\t' read -r name command status seconds; do
    if [ "$status" = 0 ]; then text=passed; else text="exit $status"; failed=1; fi
    printf '%-22s %-10s %-12s %8d  %.90s\n' "$name" "$command" "$text" "$seconds" "$(outcome "$logs/$name-$command.log")"
done <"$logs/results.tsv" | tee "$logs/summary.txt"
cut -f3 "$logs/results.tsv" | grep -qvx 0 && failed=1
say "logs are in $logs"
exit $failed

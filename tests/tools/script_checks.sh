#!/usr/bin/env bash
# What tests of scripts share; they source it with their own arguments: the repository (default: here).
set -uo pipefail
unset CDPATH  # with it, cd prints

root=$(cd -- "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}" && pwd)
tools=$root/tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset GLOW_CIFAR10_DIR GLOW_MINUTES CXX

# shellcheck disable=SC2034  # the tests use it
python=$("$tools/find_python.sh" numpy matplotlib) || true

passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); }
bad() {
    failed=$((failed + 1))
    printf 'FAILED: %s\n' "$1"
    sed 's/^/    /' "$work/out" "$work/err" 2>/dev/null
}
skip() { skipped=$((skipped + 1)); printf 'skipped: %s\n' "$1"; }
# expect STATUS NAME command...: runs it, output in $work/out and $work/err.
expect() {
    local status=0 wanted=$1 name=$2
    shift 2
    "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    if [ $status = "$wanted" ]; then ok; else bad "$name: exit status $status, not $wanted"; fi
}
# forked SCRIPT ARGUMENTS...: the same as "$python" SCRIPT ARGUMENTS..., in a fork of one process that has imported
# Matplotlib.
forked() {
    local out err status
    if [ -z "${forks_PID-}" ]; then
        coproc forks { exec "$python" "$root/tests/forked_scripts.py" matplotlib.pyplot 2>/dev/null; }
    fi
    exec {out}>&1 {err}>&2
    printf '%s\0' $(($# + 2)) "/proc/$BASHPID/fd/$out" "/proc/$BASHPID/fd/$err" "$@" >&"${forks[1]}"
    read -r status <&"${forks[0]}" || status=99
    exec {out}>&- {err}>&-
    return "$status"
}
says() { if grep -qF -- "$2" "$work/$1"; then ok; else bad "$3: no '$2' in std$1"; fi; }
check() { local name=$1; shift; if "$@"; then ok; else bad "$name"; fi; }
stub() { mkdir -p "$(dirname "$1")"; { echo '#!/usr/bin/env bash'; cat; } >"$1"; chmod +x "$1"; }

# A run folder as glow_train writes it.
header=step,epoch,images_seen,bpd,loss,grad_norm,lr,images_per_s,step_ms,peak_bytes,drift,max_condition
run_folder() {  # name, logged steps
    mkdir -p "$work/$1"
    { echo $header
      for ((i = 1; i <= $2; i++)); do echo "$((i * 10)),0.$i,$((i * 640)),$((9 - i % 5)).25,4.5,$((50 / i + 1)).5,0.001,300.5,213,123456,1e-14,3.5"; done
    } >"$work/$1/metrics.csv"
    { echo step,split,bpd,stderr,images,weights; echo 20,valid,5.1,0.01,100,ema; echo 20,valid,5.0,0.01,100,raw; } >"$work/$1/eval.csv"
}
is_png() { [ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]; }

summary() {  # the last command of a test
    [ $skipped = 0 ] || printf '%d skipped\n' $skipped
    printf '%d passed, %d failed\n' $passed $failed
    [ $failed = 0 ]
}

#!/usr/bin/env bash
# Tests of the shell scripts in tools/ that need no built product: what stands in for apt, cmake and the commands are small
# scripts in a temporary folder. Argument: the repository (default: here).
# shellcheck source=script_checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/script_checks.sh"

# ---- all scripts: syntax, shellcheck, --help, unknown options ----------------------------------------------------------

mapfile -t scripts < <(find "$root"/{cmake,examples,python,tests,tools} -name '*.sh' | sort)
for script in "$root/.ci/run" "${scripts[@]}"; do
    name=${script#"$root/"}
    read -r shell <"$script"
    # A sh is not a bash everywhere: Debian's has no arrays and no {a,b}.
    case $shell in
        '#!/usr/bin/env bash' | '#!/bin/bash') shell='bash' ;;
        '#!/bin/sh') shell='sh' ;;
        *) bad "$name: begins with '$shell'"; continue ;;
    esac
    expect 0 "$name: syntax" $shell -n "$script"
    check "$name: executable" test -x "$script"
    # With CDPATH, cd prints, and may find another folder.
    if grep -qE '(^|[ (])cd ' "$script"; then check "$name: unset CDPATH" grep -qE "^unset CDPATH|CDPATH=''" "$script"; fi
    case $name in
        tools/* | python/* | .ci/*) check "$name: finds its place through a link" bash -c "! grep BASH_SOURCE '$script' | grep -v 'readlink -f'" ;;
    esac
    if command -v shellcheck >/dev/null; then
        expect 0 "$name: shellcheck" shellcheck -x -P SCRIPTDIR -S warning "$script"
    else
        skip "$name: no shellcheck here"
    fi
done
for name in install_dependencies memory_figures test quickstart; do
    expect 0 "$name --help" "$tools/$name.sh" --help
    says out "usage: tools/$name.sh" "$name --help"
    expect 2 "$name --nonsense" "$tools/$name.sh" --nonsense
    says err "--nonsense" "$name --nonsense"
done

expect 2 "build_wheel --nonsense" "$root/python/build_wheel.sh" --nonsense
for command in "python/build_wheel.sh --out" "python/build_wheel.sh --python" tools/gpu_check.sh\ --{part,out,data,seconds} \
    tools/memory_figures.sh\ {--bin,-o} tests/package/rehearse_{fresh_machine,python}.sh\ --logs tools/quickstart.sh\ --{minutes,cifar10} \
    tools/speedrun.sh\ --{data,out}; do
    expect 2 "$command without a value" "$root/${command% *}" "${command#* }"
    says err "${command#* } needs a value" "$command without a value"
    expect 2 "$command with an empty value" "$root/${command% *}" "${command#* }" ''
    says err "${command#* }: expected a value" "$command with an empty value"
done

# ---- scripts that are called through a link, or with CDPATH -------------------------------------------------------------

tree=$work/"a tree's"
mkdir -p "$tree"/{tools,python} "$work/links"
cp "$tools/test.sh" "$tree/tools"
cp "$root/python/build_wheel.sh" "$tree/python"
stub "$tree/tools/install_dependencies.sh" <<<'echo "in $PWD"; exit 3'
stub "$work/other/tools/install_dependencies.sh" <<<'exit 4'
ln -s "$tree/tools/test.sh" "$tools/speedrun.sh" "$work/links"
expect 3 "test.sh through a link" "$work/links/test.sh" --quick
says out "in $tree" "test.sh through a link"
(cd "$tree" && expect 3 "test.sh with CDPATH" env CDPATH="$work/other" tools/test.sh --quick; exit $failed) || failed=$((failed + 1))
# Stands in for Python, pip 22.0 (Ubuntu 22.04's, which has fewer options) and auditwheel.
stub "$work/wheel/python" <<'STUB'
mkdir -p "$3/bin"
cat >"$3/bin/pip" <<PIP
#!/bin/sh
case \$* in *--config-settings*) echo "no such option: --config-settings" >&2; exit 2 ;; esac
printf "%s\n" "\$@" "\${CMAKE_ARGS-}" >>"${0%/*}/log"
PIP
printf '#!/bin/sh\n: >"$3/glow-1.whl"\n' >"$3/bin/auditwheel"
chmod +x "$3/bin/pip" "$3/bin/auditwheel"
STUB
(cd "$tree" && expect 0 "build_wheel with CDPATH" env -u CMAKE_ARGS CDPATH=".:$tree" python/build_wheel.sh --python "$work/wheel/python" --out '-w x'
    exit $failed) || failed=$((failed + 1))
check "build_wheel: with CDPATH, of this tree" grep -qxF "$tree/python" "$work/wheel/log"
check "build_wheel: without CUDA, for any processor" grep -qxF " -DGLOW_CUDA=OFF -DGLOW_NATIVE=OFF" "$work/wheel/log"
check "build_wheel: a folder that begins with -" test -e "$tree/-w x/glow-1.whl"

# ---- speedrun.sh: refuses wrong options before training ----------------------------------------------------------------

stub "$work/speed/glow_train" <<'STUB'
case "$*" in
    *--print-config*) case "$*" in *wrong*) exit 2 ;; *cpu-5min* | *--max-steps*) echo 'max-minutes = 5' ;; *) echo 'max-minutes = 0' ;; esac ;;
    *) echo trained; exit 75 ;;
esac
STUB
: >"$work/speed/d.h5"
speedrun() {
    expect "$1" "speedrun $2" env GLOW_BIN="$work/speed" "$tools/speedrun.sh" "${@:2}" --data "$work/speed/d.h5" \
        --out "$work/speed/run" --table "$work/speed/t.csv"
}
speedrun 2 wrong
says err "glow_train failed (exit status 2)" "speedrun: wrong preset"
speedrun 2 quick
says err "preset quick has no end" "speedrun: endless preset"
check "speedrun: no run after wrong options" test ! -e "$work/speed/run"
speedrun 75 cpu-5min
expect 75 "speedrun through a link" env GLOW_BIN="$work/speed" "$work/links/speedrun.sh" cpu-5min --data "$work/speed/d.h5" \
    --out "$work/speed/run" --table "$work/speed/t.csv"
cp "$work/speed/d.h5" "$work/speed/before"
for table in "$work/speed/d.h5" "$work/speed/other.csv" "$work/speed"; do
    rm -rf "$work/speed/run"
    echo 'a,b' >"$work/speed/other.csv"
    expect 2 "speedrun: --table is $table" env GLOW_BIN="$work/speed" "$tools/speedrun.sh" cpu-5min --data "$work/speed/d.h5" \
        --out "$work/speed/run" --table "$table"
    says err "--table $table: " "speedrun: --table is $table"
    check "speedrun: no run before --table is $table" test ! -e "$work/speed/run"
done
check "speedrun: keeps the data" cmp -s "$work/speed/d.h5" "$work/speed/before"
expect 2 "speedrun: an empty value" env GLOW_BIN="$work/speed" "$tools/speedrun.sh" cpu-5min --data "$work/speed/d.h5" --table ''
says err "--table: expected a value" "speedrun: an empty value"
expect 2 "quickstart: an empty folder" "$tools/quickstart.sh" --cifar10 ''
says err "--cifar10: expected a value" "quickstart: an empty folder"

# ---- memory_figures.sh: draws what it has measured -----------------------------------------------------------------------

stub "$work/figures/glow_memory" <<<':'
stub "$work/figures/python" <<STUB
case "\$*" in *"has them"*) echo 'has them' ;; *) echo "\$*" >>"$work/figures/log" ;; esac
STUB
mkdir "$work/figures/out"
: >"$work/figures/out/memory-depth-pytorch.csv"
figures() { expect 0 "memory_figures $*" env GLOW_PYTHON="$work/figures/python" "$tools/memory_figures.sh" --bin "$work/figures" -o "$work/figures/out" "$@"; }
figures --no-pytorch
check "memory_figures: draws" grep -qF "plot_memory.py $work/figures/out/memory-depth.csv" "$work/figures/log"
check "memory_figures --no-pytorch: no earlier table" bash -c "! grep -F pytorch '$work/figures/log'"
figures
check "memory_figures: the table of PyTorch" grep -qE "plot_memory.py.*memory-depth-pytorch.csv" "$work/figures/log"

# cd prints where it finds a folder by CDPATH.
(cd "$root" && expect 75 "speedrun with CDPATH" env CDPATH=".:$root" GLOW_BIN="$work/speed" tools/speedrun.sh cpu-5min \
    --data "$work/speed/d.h5" --out "$work/speed/run" --table "$work/speed/t.csv"; exit $failed) || failed=$((failed + 1))
mkdir -p "$work/speed/cifar"
(cd "$work/speed" && expect 2 "quickstart with CDPATH" env CDPATH="$work/speed" "$tools/quickstart.sh" --cifar10 cifar; exit $failed) ||
    failed=$((failed + 1))
says err "no CIFAR-10 in '$work/speed/cifar'" "quickstart with CDPATH"

# ---- gpu_check.sh: a signal ends what it runs ---------------------------------------------------------------------------

stub "$work/gpu/bin/glow_train" <<<"exit 0"
stub "$work/gpu/bin/glow_sample" <<<"echo 'cannot open /nonexistent' >&2; exit 2"
stub "$work/gpu/bin/glow_bench" <<<"echo \$\$ >'$work/gpu/pid'; sleep 600; true"
mkdir "$work/gpu/tools"
cp "$tools/gpu_check.sh" "$work/gpu/tools"
"$work/gpu/tools/gpu_check.sh" --part steps --smoke --out "$work/gpu/out" >"$work/out" 2>"$work/err" </dev/null &
gpu_check=$!
for _ in $(seq 600); do [ -s "$work/gpu/pid" ] && break; sleep 0.1; done
check "gpu_check: runs a program" test -s "$work/gpu/pid"
kill $gpu_check
wait $gpu_check
check "gpu_check: exit status after a signal" test $? = 1
says out "by a signal" "gpu_check: after a signal"
check "gpu_check: ends its program" bash -c "! kill -0 $(cat "$work/gpu/pid") 2>/dev/null"

# Its filters must not become empty when a test gets another name. "cuda" names a parameter.
test_names() { find "$root/tests" -name '*.cpp' -exec sed -nE 's/^TEST(_F|_P)?\((\w+), (\w+)\).*/\2.\3/p' {} +; }
test_names >"$work/names"
filters() { sed -nE "s/^test_[a-z]+ [0-9]+ //p; s/.*--gtest_filter='([^']*)'.*/\1/p" "$tools/gpu_check.sh" | tr -d '*' | tr ':' '\n' | sort -u; }
check "gpu_check: has filters" test "$(filters | grep -c .)" -gt 8
for filter in $(filters); do
    [ "$filter" = cuda ] || check "gpu_check: $filter is in the name of a test" grep -qF "$filter" "$work/names"
done

# ---- install_dependencies ----------------------------------------------------------------------------------------------

# A machine of stubs: $fake/installed holds the packages there, $fake/known those apt knows once $fake/lists exists;
# apt-get is recorded in $fake/log.
fake=$work/machine
machine() {
    rm -rf "$fake"
    mkdir -p "$fake/bin"
    for tool in bash env cat grep sed sort head tr mkdir rm touch dirname readlink; do ln -s "$(command -v $tool)" "$fake/bin/$tool"; done
    : >"$fake/log"
    stub "$fake/bin/dpkg-query" <<<'grep -qx -- "${@: -1}" '"$fake"'/installed && printf installed'
    stub "$fake/bin/apt-cache" <<STUB
if [ \$# = 1 ]; then [ -e $fake/lists ] && echo "500 archive Packages"; exit 0; fi
if [ -e $fake/lists ] && grep -qx -- "\$2" $fake/known; then echo "  Candidate: 1.0"; else echo "  Candidate: (none)"; fi
STUB
    stub "$fake/bin/apt-get" <<STUB
echo "\$DEBIAN_FRONTEND \$*" >>$fake/log
case "\$*" in *update*)
    if [ -s $fake/locked ]; then sed -i 1d $fake/locked; echo "E: Could not get lock /var/lib/apt/lists/lock" >&2; exit 100; fi
    [ -e $fake/no_network ] && exit 100; touch $fake/lists; exit 0 ;; esac
[ -e $fake/no_network ] && exit 100
for word in "\$@"; do grep -qx -- "\$word" $fake/known && echo "\$word" >>$fake/installed; done
exit 0
STUB
    stub "$fake/bin/id" <<<'echo 0'
    stub "$fake/bin/sleep" <<<"echo sleep >>$fake/log"
    stub "$fake/bin/cmake" <<<'echo cmake version 3.25.1'
    # A compiler that finds no header of ours.
    stub "$fake/bin/g++" <<<'! grep -q "[/.]h"'
    sed 's/ /\n/g' >"$fake/known" <<<"g++ cmake ninja-build pkg-config libdnnl-dev libopenblas-dev liblapacke-dev libhdf5-dev \
libcli11-dev libfmt-dev nlohmann-json3-dev libtomlplusplus-dev libpng-dev libjpeg-dev libwebp-dev libtiff-dev libgif-dev zlib1g-dev libgtest-dev libbenchmark-dev patchelf xz-utils \
dpkg-dev file libopenmpi-dev openmpi-bin python3-numpy python3-matplotlib python3-h5py python3-torch python3-dev pybind11-dev bash-static busybox-static locales libtoml11-dev curl ca-certificates"
    cp "$fake/known" "$fake/installed"
}
lacks() { local p; for p in "$@"; do sed -i "/^$(printf '%s' "$p" | sed 's/[+.]/\\&/g')\$/d" "$fake/installed"; done; }
unknown() { local p; for p in "$@"; do sed -i "/^$p\$/d" "$fake/known"; done; }
sed "s|/etc/os-release|$fake/os-release|" "$tools/install_dependencies.sh" >"$work/install.sh"
# /usr/bin/python3 of the real machine must not stand in for the packages of the fake one.
sed "s|/usr/bin/python3|$fake/bin/python3|" "$tools/find_python.sh" >"$work/find_python.sh"
chmod +x "$work/find_python.sh"
install() { PATH=$fake/bin bash "$work/install.sh" "$@"; }
quiet() { ! grep -q . "$fake/log"; }

machine
expect 0 "install: nothing missing" install --with-tests
check "install: nothing missing leaves apt alone" quiet

machine; lacks libpng-dev libdnnl-dev python3-h5py
expect 2 "install --check: names what is missing" install --check
says err "missing: libpng-dev python3-h5py" "install --check"
check "install --check leaves apt alone" quiet
expect 0 "install: three missing" install
check "install: updates the lists" grep -q update "$fake/log"
check "install: asks nothing, no recommends" grep -q '^noninteractive .*--no-install-recommends libpng-dev python3-h5py$' "$fake/log"
: >"$fake/log"
expect 0 "install: the second time" install
check "install: the second time leaves apt alone" quiet

machine; lacks libdnnl-dev; unknown libdnnl-dev; echo libonednn-dev >>"$fake/known"
expect 0 "install: oneDNN under its other name" install
check "install: libonednn-dev" grep -q 'recommends libonednn-dev$' "$fake/log"

machine; lacks libbenchmark-dev python3-torch; unknown libbenchmark-dev python3-torch
expect 0 "install: optional part not in the distribution" install --with-tests
says err "without libbenchmark-dev" "install: optional part"
: >"$fake/log"
expect 0 "install: optional part, the second time" install --with-tests
check "install: optional part, the second time leaves apt alone" quiet

machine; lacks libcli11-dev; unknown libcli11-dev
expect 2 "install: required part not in the distribution" install
says err "libcli11-dev" "install: required part"
check "install: no word of Ubuntu elsewhere" bash -c "! grep -q universe '$work/err'"
echo 'ID=ubuntu' >"$fake/os-release"
expect 2 "install: Ubuntu without universe" install
says err "sudo add-apt-repository universe" "install: Ubuntu without universe"

# Ubuntu 22.04 has no toml++.
machine; lacks libtomlplusplus-dev libtoml11-dev; unknown libtomlplusplus-dev
expect 0 "install: toml11 instead of toml++" install
check "install: toml11 instead of toml++" grep -q 'recommends libtoml11-dev$' "$fake/log"
: >"$fake/log"
expect 0 "install: toml11, the second time" install
check "install: toml11, the second time leaves apt alone" quiet
lacks libtoml11-dev; stub "$fake/bin/id" <<<'echo 1000'
expect 2 "install: toml11, neither root nor sudo" install
says err "sudo apt-get update && sudo apt-get install --no-install-recommends libtoml11-dev" "install: toml11, neither root nor sudo"

machine; lacks libpng-dev; printf '1\n2\n' >"$fake/locked"
expect 0 "install: another apt holds the lists" install
says err "waiting for another apt" "install: another apt holds the lists"
check "install: waits twice" test "$(grep -c sleep "$fake/log")" = 2

machine; lacks libpng-dev; touch "$fake/lists" "$fake/no_network"
expect 1 "install: no network" install
says err "could not install: libpng-dev" "install: no network"

machine; lacks libpng-dev libfmt-dev libbenchmark-dev; stub "$fake/bin/id" <<<'echo 1000'
expect 2 "install: neither root nor sudo" install
says err "apt-get install --no-install-recommends libfmt-dev libpng-dev" "install: neither root nor sudo"
says err "optional, for speed and more: libbenchmark-dev" "install: neither root nor sudo"
check "install: neither root nor sudo leaves apt alone" quiet
stub "$fake/bin/sudo" <<<'exit 1'
expect 2 "install: a sudo that asks for a password" install
stub "$fake/bin/sudo" <<<'shift; [ "$1" = true ] || "$@"'
expect 0 "install: a sudo without a password" install
check "install: through sudo" grep -q '^noninteractive .*libfmt-dev libpng-dev$' "$fake/log"

machine; lacks libbenchmark-dev; stub "$fake/bin/id" <<<'echo 1000'
expect 0 "install: not root, only an optional part missing" install

machine; stub "$fake/bin/cmake" <<<'echo cmake version 3.16.3'
expect 2 "install: old cmake" install
says err "3.22" "install: old cmake"

# ---- quickstart --------------------------------------------------------------------------------------------------------

report_stub() { printf '%s\n' 'import sys' 'open(sys.argv[sys.argv.index("-o") + 1], "w").close()'; }

# A copy of the scripts with stand-ins for what it calls; every call is recorded in $copy/log.
copy=$work/copy
quickstart_copy() {
    rm -rf "$copy"
    mkdir -p "$copy/tools" "$copy/stubs"
    cp "$tools"/{quickstart,find_python}.sh "$copy/tools/"
    report_stub >"$copy/tools/report.py"
    : >"$copy/log"
    stub "$copy/tools/install_dependencies.sh" <<<"echo install >>$copy/log"
    stub "$copy/stubs/cmake" <<<"echo cmake \"\$@\" >>$copy/log; echo cmake speaks"
    stub "$copy/build/release/bin/glow_data" <<STUB
echo glow_data "\$@" >>$copy/log
case "\$*" in *--download*) [ -e $copy/network ] || { echo "no network" >&2; exit 1; } ;; esac
[ "\$1" = info ] && { grep -q data "\${@: -1}" || exit 2; echo '{"entropy_bpd": 5.7}'; exit 0; }
echo data >"\${@: -1}"
STUB
    # Without a GPU, unless $copy/gpu is there; what is in $copy/gpu_error then goes wrong with it in a step.
    stub "$copy/stubs/nvidia-smi" <<<"[ -e $copy/smi ] && cat $copy/smi"
    stub "$copy/build/release/bin/glow_train" <<STUB
echo glow_train "\$@" >>$copy/log
case "\$*" in *"--device cuda"*)
    [ -e $copy/gpu ] || { echo "glow_train: error: --device cuda: \$(cat $copy/no_gpu); or use --device cpu" >&2; exit 2; }
    case "\$*" in
        *--print-config*) echo levels = 3; exit 0 ;;
        *--estimate*)
            [ ! -e $copy/gpu_error ] || { cat $copy/gpu_error >&2; exit 1; }
            echo "  machine       cuda: NVIDIA H200, compute capability 9.0, 139.8 GiB, 16 threads, bf16 networks" >&2
            echo "0.0732 s per step (median of 20), 3.5e+03 images/s, one epoch takes 14 s"
            exit 0 ;;
    esac ;;
esac
while [ \$# -gt 0 ]; do [ "\$1" = --out ] && out=\$2; shift; done
mkdir -p \$out/checkpoints
cp $work/run/*.csv \$out/
touch \$out/checkpoints/step-00000600.h5
sleep 0.02  # file times have ticks of milliseconds, and evaluation must be later
[ -e \$out/latest.h5 ] || ln -s checkpoints/step-00000600.h5 \$out/latest.h5
[ -e $copy/diverge ] && { echo "NaN in layer 3" >&2; exit 1; }
[ -e $copy/interrupt ] && kill -INT \$PPID && sleep 0.2
echo trained
STUB
    echo "this build has no CUDA; configure with -DGLOW_CUDA=ON" >"$copy/no_gpu"
    stub "$copy/build/release/bin/glow_eval" <<STUB
echo glow_eval "\$@" >>$copy/log
bpd=5.12345
case "\$*" in *--no-ema*) bpd=5.23456 ;; esac
[ -e $copy/nan ] && bpd=NaN
echo evaluating >&2
echo "{\"bpd\": \$bpd, \"stderr\": 0.0123, \"images\": 100, \"split\": \"test\"}"
STUB
    stub "$copy/build/release/bin/glow_sample" <<<"echo glow_sample \"\$@\" >>$copy/log; touch \"\${@: -1}\""
}
quickstart() { PATH=$copy/stubs:$PATH "$copy/tools/quickstart.sh" "$@"; }
logged() { grep -q -- "$1" "$copy/log"; }
not_logged() { ! grep -q -- "$1" "$copy/log"; }
first_line() {  # text, name: the first line of the output holds it
    if head -n 1 "$work/err" | grep -qF -- "$1"; then ok; else bad "$2: no '$1' in the first line"; fi
}
one_result() { [ "$(cat "$work/out")" = "result: test bits/dim 5.1235 +- 0.0123 (EMA) 5.2346 (raw)" ]; }

if [ -z "$python" ]; then
    skip "quickstart: no Python with numpy and matplotlib here"
else
    run_folder run 60  # copied by the stand-in for glow_train
    cifar=$work/cifar
    mkdir -p "$cifar/cifar-10-batches-bin" "$work/half" "$work/plain"
    # The first run looks for a Python itself; for the others one that says at once that it has every package.
    stub "$work/quick_python" <<<'case "$*" in *"has them"*) echo has them ;; *) exec '"'$python'"' "$@" ;; esac'
    export GLOW_PYTHON=$work/quick_python
    touch "$cifar/cifar-10-batches-bin/"{data_batch_1,test_batch}.bin "$work/half/data_batch_1.bin" "$work/plain/"{train_8000,test_2000}.bin

    quickstart_copy
    expect 2 "quickstart: no such folder" quickstart --cifar10 "$work/nowhere"
    expect 2 "quickstart: no CIFAR-10 there" env GLOW_CIFAR10_DIR="$copy" PATH="$copy/stubs:$PATH" "$copy/tools/quickstart.sh"
    says err "no CIFAR-10 in" "quickstart: no CIFAR-10 there"
    expect 2 "quickstart: no test images there" quickstart --cifar10 "$work/half"
    for minutes in 0 -1 five 0.0 1e3 ''; do expect 2 "quickstart: $minutes minutes" quickstart --minutes "$minutes"; done
    expect 2 "quickstart: value missing" quickstart --minutes
    check "quickstart: a refusal comes before any work" not_logged .

    # The first run draws with the real report.py; later ones use the stub, because drawing takes seconds.
    cp "$tools"/{report*,python_packages,output_files,script_text}.py "$copy/tools/"
    expect 0 "quickstart: CIFAR-10 from a folder" env -u GLOW_PYTHON GLOW_CIFAR10_DIR=plain GLOW_MINUTES=.5 PATH="$copy/stubs:$PATH" \
        bash -c "cd $work && copy/tools/quickstart.sh"
    check "quickstart: one line of result" one_result
    check "quickstart: that folder, also when relative" logged "glow_data cifar10 $work/plain -o datasets/cifar10.h5"
    check "quickstart: minutes" logged "glow_train .*--max-minutes .5"
    check "quickstart: resumes or begins" logged "--resume auto"
    check "quickstart: native" logged "DGLOW_NATIVE=ON"
    check "quickstart: a training curve" is_png "$copy/runs/quickstart/training.png"
    check "quickstart: a page" grep -q '</html>' "$copy/runs/quickstart/report.html"
    check "quickstart: samples" test -e "$copy/runs/quickstart/samples.png"
    report_stub >"$copy/tools/report.py"

    : >"$copy/log"
    expect 0 "quickstart: again" quickstart
    check "quickstart again: the same result" one_result
    check "quickstart again: no data set, training or evaluation" not_logged '^glow_data cifar10\|^glow_train\|^glow_eval'
    says err "is trained (.5 minutes)" "quickstart again"
    says err "--resume auto --device cpu --max-minutes 30" "quickstart again"
    check "quickstart: a constant rate needs no other" bash -c "! grep -q -- --lr '$work/err'"

    ln -s "$copy/tools/quickstart.sh" "$work/links"
    expect 0 "quickstart through a link" env PATH="$copy/stubs:$PATH" "$work/links/quickstart.sh"
    check "quickstart through a link: the same result" one_result

    sleep 0.01
    touch "$copy/runs/quickstart/checkpoints/step-00000600.h5"
    : >"$copy/log"
    expect 0 "quickstart: trained on by hand" quickstart
    check "quickstart: evaluates newer weights" logged "glow_eval .*--no-ema"

    : >"$copy/log"
    expect 0 "quickstart: --synthetic although CIFAR-10 exists" quickstart --synthetic
    check "quickstart: synthetic set made" logged "glow_data synthetic gauss --size 8"
    check "quickstart: a folder of its own" test -e "$copy/runs/quickstart-gauss/samples.png"

    quickstart_copy
    mkdir "$work/c[1] *"
    touch "$work/c[1] */"{data_batch_1,test_batch}.bin
    expect 0 "quickstart: a folder whose name is a pattern" quickstart --cifar10 "$work/c[1] *"
    check "quickstart: a folder whose name is a pattern: that one" grep -qF "cifar10 $work/c[1] * -o" "$copy/log"

    quickstart_copy
    expect 0 "quickstart: no network" quickstart
    says err "could not be downloaded" "quickstart: no network"
    check "quickstart: no network, synthetic instead" logged "glow_train --data datasets/gauss.h5"
    touch "$copy/network"
    : >"$copy/log"
    expect 0 "quickstart: network now" quickstart --cifar10 "$cifar"
    check "quickstart: CIFAR-10 now" logged "glow_train --data datasets/cifar10.h5 --out runs/quickstart "

    quickstart_copy
    touch "$copy/network" "$copy/interrupt"
    expect 130 "quickstart: interrupted" quickstart
    check "quickstart: downloads" logged "--download"
    check "quickstart: interrupted, nothing further" not_logged ^glow_eval
    rm "$copy/interrupt"
    mkdir "$copy/runs/quickstart/quickstart.model.part"
    expect 2 "quickstart: its model cannot be recorded" quickstart
    check "quickstart: keeps the record of the model" grep -qx small "$copy/runs/quickstart/quickstart.model"
    rmdir "$copy/runs/quickstart/quickstart.model.part"
    : >"$copy/log"
    expect 0 "quickstart: after an interruption" quickstart
    says err "continuing runs/quickstart" "quickstart: after an interruption"
    check "quickstart: trains on" logged ^glow_train

    quickstart_copy
    touch "$copy/network" "$copy/diverge"
    expect 1 "quickstart: training fails" quickstart
    says err "the training failed" "quickstart: training fails"
    rm "$copy/diverge"
    touch "$copy/nan"
    expect 1 "quickstart: bits/dim not finite" quickstart
    says err "not finite" "quickstart: bits/dim not finite"
    rm "$copy/nan"
    expect 0 "quickstart: evaluates again after that" quickstart
    echo junk >"$copy/datasets/cifar10.h5"
    expect 2 "quickstart: a broken data set" quickstart
    says err "remove it" "quickstart: a broken data set"
    # Which model. A stand-in for nvidia-smi names the GPU; the stand-in for glow_train has the last word.
    small_model="3 levels of 8 steps" published_model="3 levels of 32 steps, width 512, bf16"
    quickstart_copy
    touch "$copy/network" "$copy/gpu"
    echo "NVIDIA H200" >"$copy/smi"
    expect 0 "quickstart on a GPU" quickstart
    first_line "$published_model) on the GPU: NVIDIA H200" "quickstart on a GPU"
    says err "on the GPU: NVIDIA H200, 3500 images/s" "quickstart on a GPU"
    check "quickstart on a GPU: the published model" logged \
        "^glow_train .*--device cuda --preset cifar10-5min --max-minutes 5"
    check "quickstart on a GPU: one line of result" one_result
    # Its rate has decayed to 0.
    says err "--resume auto --device cuda --max-minutes 30 --lr-schedule constant --lr 1e-3" "quickstart on a GPU: to train longer"
    : >"$copy/log"
    rm "$copy/gpu"
    expect 0 "quickstart on a GPU, finished, without the GPU" quickstart
    first_line "continues with a model of the size published" "quickstart on a GPU, finished, without the GPU"
    check "quickstart on a GPU, finished: not trained again" not_logged ^glow_train
    rm "$copy/runs/quickstart/quickstart.done"
    expect 2 "quickstart on a GPU, not finished, without the GPU" quickstart
    says err "runs/quickstart began with a model of the size published" "quickstart: the GPU is gone"
    says err "remove runs/quickstart" "quickstart: the GPU is gone"
    check "quickstart: the GPU is gone, no training on the CPU" not_logged "^glow_train .*--device cpu"
    : >"$copy/log"
    touch "$copy/gpu"
    expect 0 "quickstart on a GPU, resumed" quickstart
    check "quickstart on a GPU, resumed: with its own options" logged \
        "^glow_train .*--resume auto --device cuda --save-limits --max-minutes"

    quickstart_copy
    touch "$copy/network" "$copy/interrupt"
    expect 130 "quickstart on the CPU, interrupted" quickstart
    rm "$copy/interrupt"
    touch "$copy/gpu"
    echo "NVIDIA H200" >"$copy/smi"
    : >"$copy/log"
    expect 0 "quickstart on the CPU, resumed with a GPU" quickstart
    first_line "continues with a small model ($small_model" "quickstart on the CPU, resumed with a GPU"
    check "quickstart on the CPU, resumed with a GPU: with its own options" logged "^glow_train .*--device cpu --max-minutes"
    check "quickstart on the CPU, resumed with a GPU: GPU unused" not_logged "--device cuda"

    quickstart_copy
    touch "$copy/network"
    expect 0 "quickstart without a GPU" quickstart
    first_line "a small model ($small_model" "quickstart without a GPU"
    says err "model: a small model" "quickstart without a GPU"
    says err "this build has no CUDA" "quickstart without a GPU"
    check "quickstart without a GPU: on the CPU" logged "^glow_train .*--device cpu --preset quick --max-minutes"
    check "quickstart without a GPU: evaluates on the CPU" logged "^glow_eval .*--device cpu"

    quickstart_copy
    touch "$copy/network"
    echo "NVIDIA L4" >"$copy/smi"
    mkdir -p "$copy/build/release"
    echo "GLOW_CUDA_FOUND:INTERNAL=no (nvcc 11.8 in /usr/bin is older than 12.4)" >"$copy/build/release/CMakeCache.txt"
    expect 0 "quickstart: a GPU and an old nvcc" quickstart
    first_line "NVIDIA L4" "quickstart: a GPU and an old nvcc"
    says err "NVIDIA L4 is here, but this build has no CUDA (nvcc 11.8 in /usr/bin is older than 12.4)" "quickstart: an old nvcc"
    says err "install NVIDIA's CUDA toolkit, 12.4 or newer" "quickstart: a GPU and an old nvcc"

    quickstart_copy
    touch "$copy/network"
    echo "NVIDIA L4" >"$copy/smi"
    sed -i 's|/usr/local/cuda|/nowhere|g; s|/opt/cuda|/nowhere|g' "$copy/tools/quickstart.sh"
    expect 0 "quickstart: a GPU and no nvcc" env -u CUDACXX -u CUDA_HOME PATH="$copy/stubs:/usr/bin:/bin" "$copy/tools/quickstart.sh"
    first_line "on the CPU: NVIDIA L4 is here, but no nvcc to compile for it; to use it, install NVIDIA's CUDA toolkit, 12.4 or newer" \
        "quickstart: a GPU and no nvcc"
    check "quickstart: a GPU and no nvcc: on the CPU" logged "^glow_train .*--device cpu --preset quick"

    for problem in "this machine's NVIDIA driver supports CUDA 11.8, but this build needs 13.0: install a newer driver" \
        "this machine has no NVIDIA driver" "the GPU has compute capability 7.5; Glow needs 8.0 (A100) or newer"; do
        quickstart_copy
        touch "$copy/network"
        echo "$problem" >"$copy/no_gpu"
        echo "NVIDIA T4" >"$copy/smi"
        expect 0 "quickstart: $problem" quickstart
        says err "model: a small model ($small_model, width 128) on the CPU: $problem" "quickstart: $problem"
        check "quickstart: $problem: on the CPU" logged "^glow_train .*--device cpu --preset quick"
    done
    for problem in "the GPU has 0.4 GiB of 2 GiB left, and 1.2 GiB more are needed" "--precision bf16: no bf16 products"; do
        quickstart_copy
        touch "$copy/network" "$copy/gpu"
        echo "glow_train: error: $problem" >"$copy/gpu_error"
        expect 0 "quickstart: $problem" quickstart
        says err "on the CPU: $problem" "quickstart: $problem"
        check "quickstart: $problem: on the CPU" logged "^glow_train .*--device cpu --preset quick"
    done
    echo "Segmentation fault" >"$copy/gpu_error"
    rm -r "$copy/runs"
    expect 0 "quickstart: a crash on the GPU" quickstart
    says err "ended with exit status 1: Segmentation fault" "quickstart: a crash on the GPU"

    quickstart_copy
    touch "$copy/gpu"
    echo "NVIDIA H200" >"$copy/smi"
    expect 0 "quickstart: a GPU, no network" quickstart
    says err "model: a small model (2 levels of 8 steps, width 128) on the CPU, because the synthetic set is small" "quickstart: a GPU, no network"
    expect 0 "quickstart: a GPU, --synthetic" quickstart --synthetic
    first_line "small model on the CPU, because the synthetic set is small" "quickstart: a GPU, --synthetic"
    mv "$copy/build/release/bin/glow_train" "$copy/glow_train"
    rm -r "$copy/runs"
    expect 1 "quickstart: before the first build" quickstart
    first_line "NVIDIA H200" "quickstart: before the first build"
    CUDA_VISIBLE_DEVICES='' expect 1 "quickstart: a hidden GPU" quickstart
    first_line "no NVIDIA GPU is visible" "quickstart: a hidden GPU"
    mv "$copy/glow_train" "$copy/build/release/bin/glow_train"

    stub "$copy/tools/install_dependencies.sh" <<<"exit 2"
    expect 2 "quickstart: dependencies missing" quickstart
    stub "$copy/tools/install_dependencies.sh" <<<"exit 0"
    stub "$copy/stubs/cmake" <<<"exit 1"
    expect 1 "quickstart: the build fails" quickstart
fi

summary

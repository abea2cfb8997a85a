#!/usr/bin/env bash
# python_packages_test.sh BUILD: Python scripts where the first python3 on PATH lacks their packages. They continue with another
# Python that has them; where none has, they name the packages and exit with status 2, never with a traceback.
# Exit status 77 (skipped) without NumPy, matplotlib and h5py.
set -uo pipefail
unset CDPATH  # with it, cd prints
build=$(cd -- "$1" && pwd)
source_tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
unset GLOW_PYTHON
python=$("$source_tree/tools/find_python.sh" numpy matplotlib h5py) || { echo "skipped: no Python with numpy, matplotlib and h5py"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

failed=0
expect() {  # status, name, words that the output must hold, command...
    local wanted=$1 name=$2 words=$3 status=0
    shift 3
    "$@" >out 2>&1 </dev/null || status=$?
    if [ $status = "$wanted" ] && { [ -z "$words" ] || grep -qF -- "$words" out; } && ! grep -q Traceback out; then return; fi
    failed=1
    echo "FAILED: $name: exit status $status, expected $wanted, '$words' and no traceback"
    sed 's/^/    /' out
}
stub() { mkdir -p "$(dirname "$1")"; printf '#!/bin/sh\n%s\n' "$2" >"$1"; chmod +x "$1"; }

# Pythons: without packages (-S: no site-packages), with all, one that only pretends to have them, one that does not start.
stub bare/python3 "exec '$python' -S \"\$@\""
stub full/python3 "exec '$python' \"\$@\""
stub liar/python3 "case \$1 in -c) exit 0 ;; esac; exec '$python' -S \"\$@\""
stub broken/python3 "exit 127"
# Copies that do not look in /usr/bin, where this machine may have all packages.
mkdir -p none/tests none/bin
cp -r "$source_tree/tools" "$source_tree/examples" none/
cp -r "$source_tree/tests/reference" "$source_tree/tests/tools" none/tests/
cp "$build/bin/glow_convert" none/bin/
sed -i 's|+ \["/usr/bin"\]||' none/tools/python_packages.py none/bin/glow_convert
sed -i 's|/usr/bin/python3|nowhere|' none/tools/find_python.sh
for tool in env bash dirname; do ln -s "$(command -v $tool)" bare/; done

printf 'index,bpd\n0,3.5\n1,3.6\n' >bpd.csv
mkdir run
echo step,epoch,images_seen,bpd,loss,grad_norm,lr,images_per_s,step_ms,peak_bytes,drift,max_condition >run/metrics.csv
echo 10,0.1,640,4.5,4.5,1,0.001,300,213,123456,1e-14,3.5 >>run/metrics.csv
convert=$build/bin/glow_convert
path=$work/bare:$work/broken:$work/full:$PATH
expect 0 "glow_convert --version" "HDF5" env PATH="$path" "$convert" --version
expect 0 "glow_convert --help" "--from" env PATH="$path" "$convert" --help
expect 2 "glow_convert on no file" "no such file" env PATH="$path" "$convert" --from npz nowhere.npz -o c.h5
expect 0 "plot_scores.py" "" env PATH="$path" "$source_tree/tools/plot_scores.py" bpd.csv -o scores.png
expect 0 "report.py" "" env PATH="$work/bare:$work/full:$PATH" "$source_tree/tools/report.py" run -o page.html
expect 0 "report.py as an argument of python3" "" env PATH="$path" python3 "$source_tree/tools/report.py" run -o page.html
for script in "$convert" "$source_tree/tools/plot_scores.py"; do
    expect 1 "$(basename "$script") with a closed output" "cannot write to the standard output" \
        env PATH="$path" bash -c '"$0" --help >&-' "$script"
done
expect 2 "glow_convert with closed streams" "" env PATH="$path" bash -c '"$0" --from npz nowhere.npz -o c.h5 <&- >&- 2>&-' "$convert"
[ -s scores.png ] && [ -s page.html ] || { echo "FAILED: nothing was drawn with $path"; failed=1; }
# A reader that has exited, as `head` does: no message.
for script in "$convert" "$source_tree/tools/compare_options.py"; do
    for buffered in '' 1; do
        env PATH="$work/full:$PATH" PYTHONUNBUFFERED=$buffered "$script" --help 2>out | true
        [ ! -s out ] || { echo "FAILED: $(basename "$script") without a reader, PYTHONUNBUFFERED=$buffered: $(cat out)"; failed=1; }
    done
done
expect 0 "GLOW_PYTHON" HDF5 env PATH="$work/bare" GLOW_PYTHON="$work/full/python3" none/bin/glow_convert --version
expect 0 "GLOW_PYTHON without packages" HDF5 env PATH="$work/bare:$work/full" GLOW_PYTHON="$work/bare/python3" none/bin/glow_convert --version
expect 0 "GLOW_PYTHON that does not exist" HDF5 env PATH="$work/bare:$work/full" GLOW_PYTHON=nowhere none/bin/glow_convert --version
expect 0 "GLOW_PYTHON that is no Python" HDF5 env PATH="$work/bare:$work/full" GLOW_PYTHON=/bin/true none/bin/glow_convert --version
expect 2 "a Python that lacks what it promised" "no Python here has" env PATH="$work/bare:$work/liar" none/bin/glow_convert --version

# Where limits leave too little memory, OpenBLAS would try forever to reserve it.
expect 0 "little memory" "ulimit -v or -d leaves less than the 144 MiB" env PYTHONPATH="$source_tree/tools" timeout 60 "$python" -c '
import resource
from python_packages import require_packages, reserve_linear_algebra
require_packages("numpy")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), limits[1]))
print(reserve_linear_algebra())
resource.setrlimit(resource.RLIMIT_AS, limits)
assert reserve_linear_algebra() == ""'

# Both searches find the same.
for path in "$work/bare:$work/full" "$work/full:$work/bare" "$work/broken:$work/bare:$work/full"; do
    expect 0 "find_python.sh" "$work/full/python3" env PATH="$path:$work/bare" none/tools/find_python.sh numpy h5py
    expect 0 "python_packages.py" "$work/full/python3" env PATH="$path" PYTHONPATH=none/tools "$python" -c "
import python_packages as p
print(next(c for c in p.candidates() if p.has_packages(c, ['numpy', 'h5py'])))"
done
expect 1 "find_python.sh without such a Python" "" env PATH="$work/bare" none/tools/find_python.sh numpy

# Where no Python has them.
bare=(env PATH="$work/bare")
message="or name a Python that has them in GLOW_PYTHON"
expect 2 "glow_convert without packages" "apt-get install python3-numpy python3-h5py" "${bare[@]}" none/bin/glow_convert --version
expect 0 "glow_convert --help without packages" "glow_convert --from rosinality" "${bare[@]}" none/bin/glow_convert --help
expect 2 "report.py without packages" "apt-get install python3-numpy python3-matplotlib" "${bare[@]}" none/tools/report.py run -o page.html
expect 2 "report.py without NumPy" "apt-get install python3-numpy;" "${bare[@]}" none/tools/report.py run
expect 2 "plot_scores.py without packages" "$message" "${bare[@]}" none/tools/plot_scores.py bpd.csv -o scores.png
expect 0 "plot_scores.py --help without packages" "plot_scores.py A.csv B.csv" "${bare[@]}" none/tools/plot_scores.py --help
expect 2 "glow_torch.py without packages" "apt-get install python3-numpy python3-torch" "${bare[@]}" python3 none/examples/glow_torch.py F.npz x.npy
expect 2 "glow_torch.py without arguments" "glow_torch.py MODEL IMAGES.npy" "${bare[@]}" python3 none/examples/glow_torch.py
expect 0 "glow_torch.py --help" "glow_torch.py MODEL IMAGES.npy" "${bare[@]}" python3 none/examples/glow_torch.py --help
scripts=(none/tools/*.py none/tests/*/*.py none/examples/*.py)
for script in "${scripts[@]}"; do
    grep -q '__main__' "$script" || continue
    status=0
    "${bare[@]}" python3 "$script" --help >out 2>&1 || status=$?
    if grep -q Traceback out || { [ $status != 0 ] && [ $status != 2 ]; }; then
        echo "FAILED: $script --help without packages: exit status $status"
        sed 's/^/    /' out
        failed=1
    fi
done
[ $failed = 0 ] && echo "passed"
exit $failed

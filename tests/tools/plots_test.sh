#!/usr/bin/env bash
# Tests of report.py and the scripts that plot. Argument: the repository (default: here).
# shellcheck source=script_checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/script_checks.sh"

# ---- report ------------------------------------------------------------------------------------------------------------

plot() { forked "$tools/report.py" "$@"; }

if [ -z "$python" ]; then
    skip "report: no Python with numpy and matplotlib here"
else
    run_folder run 60
    expect 0 "plot" plot "$work/run" -o "$work/p.png" --reference '4.5:a line' --title "a run"
    check "plot: a PNG" is_png "$work/p.png"
    expect 0 "plot: SVG" plot "$work/run" -o "$work/p.svg" --smooth 1
    check "plot: an SVG" grep -q '</svg>' "$work/p.svg"
    expect 0 "plot: SVG again" plot "$work/run" -o "$work/q.svg" --smooth 1
    check "plot: the same input gives the same SVG" cmp -s "$work/p.svg" "$work/q.svg"

    run_folder one 1
    rm "$work/one/eval.csv"
    expect 0 "plot: one logged step, no eval.csv" plot "$work/one" -o "$work/p.png"
    run_folder partial 12
    printf '130,1.3,83' >>"$work/partial/metrics.csv"
    expect 0 "plot: last line being written" plot "$work/partial" -o "$work/p.png"
    says err "last line" "plot: last line being written"
    printf '20,0.2,1280,140,0.2,8960,5.1\n140,,8960,nan,nan,inf,0.001,,,,,\n' >>"$work/partial/metrics.csv"
    expect 0 "plot: broken line, NaN, empty fields" plot "$work/partial" -o "$work/p.png"
    says err "line 14" "plot: broken line"
    run_folder resumed 12
    tail -n 4 "$work/resumed/metrics.csv" >"$work/tail"
    cat "$work/tail" >>"$work/resumed/metrics.csv"
    expect 0 "plot: steps logged again after a resume" plot "$work/resumed" -o "$work/p.svg" --smooth 1
    run_folder once 12
    expect 0 "plot: the same without a resume" plot "$work/once" -o "$work/q.svg" --smooth 1
    check "plot: a resume leaves no trace" cmp -s "$work/p.svg" "$work/q.svg"
    run_folder classifier 5
    sed -i '1s/$/,bits_y,error_y/; 2,$s/$/,3.3,0.9/' "$work/classifier/metrics.csv"
    expect 0 "plot: further columns" plot "$work/classifier" -o "$work/p.png"
    : >"$work/classifier/eval.csv"
    expect 0 "plot: empty eval.csv" plot "$work/classifier" -o "$work/p.png"

    rm -f "$work/no.png"
    expect 2 "plot: no such folder" plot "$work/nowhere" -o "$work/no.png"
    long=$(printf '%300s' "" | tr ' ' n)
    expect 2 "plot: a name that is too long" plot "$work/$long" -o "$work/no.png"
    says err "name too long" "plot: a name that is too long"
    expect 2 "plot: another run's name is too long" plot "$work/run" -o "$work/no.png" --against "$work/$long"
    expect 2 "plot: the name of the output's folder is too long" plot "$work/run" -o "$work/$long/no.png"
    mkdir "$work/empty" && : >"$work/empty/metrics.csv"
    expect 2 "plot: empty metrics.csv" plot "$work/empty" -o "$work/no.png"
    says err "is empty" "plot: empty metrics.csv"
    echo $header >"$work/empty/metrics.csv"
    expect 2 "plot: header alone" plot "$work/empty" -o "$work/no.png"
    says err "nothing is logged" "plot: header alone"
    printf '%s' step,epoch,ima >"$work/empty/metrics.csv"
    expect 2 "plot: half a header" plot "$work/empty" -o "$work/no.png"
    printf 'step,epoch\n1,2\n' >"$work/empty/metrics.csv"
    expect 2 "plot: columns missing" plot "$work/empty" -o "$work/no.png"
    says err "no column images_seen" "plot: columns missing"
    printf '%s\n10,0,640,nan,nan,nan,0,0,0,0,0,0\n' $header >"$work/empty/metrics.csv"
    expect 2 "plot: no finite value" plot "$work/empty" -o "$work/no.png"
    for bytes in 'a\rb\n1\n' '\0\n1\n' '\377\376\n1\n' 'a"b\r\r\n\n'; do
        printf "$bytes" >"$work/empty/metrics.csv"
        expect 2 "plot: not a text file" plot "$work/empty" -o "$work/no.png"
    done
    expect 2 "plot: unknown kind of picture" plot "$work/run" -o "$work/no.gif"
    expect 2 "plot: no folder for the picture" plot "$work/run" -o "$work/nowhere/no.png"
    expect 2 "plot: reference without label" plot "$work/run" -o "$work/no.png" --reference 3.35
    for words in -o --output=-- --against=-- --reference=-- "--smooth 99999999999999999999"; do
        value=(); [ "$words" != -o ] || value=("")
        # shellcheck disable=SC2086
        expect 2 "plot: a value that is none: $words" plot "$work/run" $words ${value[@]+"${value[@]}"}
    done
    check "plot: a refusal writes no picture" test ! -e "$work/no.png"

    # The page, of a run with everything: 60 rows of 10 steps, evaluations, two sheets of samples, a checkpoint.
    run_folder good 60
    expect 0 "page: a picture to stand for samples" plot "$work/run" -o "$work/good.png"
    { echo $header
      for ((i = 1; i <= 60; i++)); do echo "$((i * 10)),0.$i,$((i * 640)),$((90 - i)).$((i % 3)),4.5,50.5,0.001,300.5,213,123456,1e-14,3.5"; done
    } >"$work/good/metrics.csv"
    { echo step,split,bpd,stderr,images,weights; echo 600,valid,30.12,0.01,100,ema; echo 600,valid,30.1,0.01,100,raw; } >"$work/good/eval.csv"
    printf "data = 'datasets/cifar10.h5'\nlevels = 3\nn-bits = 8\nmax-steps = 600\ndrift-tolerance = 0\ny-cond = false\n# <script>\n" \
        >"$work/good/config.toml"
    mkdir -p "$work/good/samples" "$work/good/checkpoints"
    for step in 00000100 00000600; do cp "$work/good.png" "$work/good/samples/step-$step.png"; done
    touch "$work/good/checkpoints/step-00000600.h5"
    ln -s checkpoints/step-00000600.h5 "$work/good/latest.h5"
    verdict() {  # verdict of the run of this name, which must be these words
        expect 0 "verdict: $1" plot "$work/$1"
        check "verdict: $1: $2" grep -qx "$2" "$work/out"
    }
    page_of() { expect 0 "page: $1" plot "$work/$1" -o "$work/page.html"; }
    variant() {  # a copy of the good run under another name
        rm -rf "${work:?}/$1" && cp -a "$work/good" "$work/$1"
    }
    page_of good
    check "page: its verdict" grep -qF '<b>healthy</b>' "$work/page.html"
    verdict good healthy
    pictures() { [ "$(grep -o 'src="data:image/png;base64,' "$work/page.html" | wc -l)" = "$1" ]; }
    check "page: two figures and two sheets" pictures 4
    alone() { ! grep -qE '(src|href)="[^d]|<script|@import' "$1"; }
    check "page: everything in one file" alone "$work/page.html"
    cp "$work/page.html" "$work/same.html"
    page_of good
    check "page: the same run gives the same page" cmp -s "$work/page.html" "$work/same.html"
    expect 0 "picture: the published value, where the data has one" plot "$work/good" -o "$work/p.svg"
    check "picture: published 3.35" grep -q 'Glow, published: 3.35' "$work/p.svg"
    variant other_bits && sed -i 's/n-bits = 8/n-bits = 5/' "$work/other_bits/config.toml"
    expect 0 "picture: other bits" plot "$work/other_bits" -o "$work/p.svg"
    not_published() { ! grep -q published "$work/p.svg"; }
    check "picture: no published value for other bits" not_published
    if "$python" -c 'import h5py' 2>/dev/null; then
        variant known
        "$python" -c "import h5py, sys; f = h5py.File(sys.argv[1], 'w'); f['train/images'] = [0]; f.attrs['entropy_bpd'] = 5.25" "$work/known.h5"
        sed -i "s|datasets/cifar10.h5|$work/known.h5|" "$work/known/config.toml"
        expect 0 "picture: data of known entropy" plot "$work/known" -o "$work/p.svg"
        check "picture: entropy 5.25" grep -q 'entropy of the data: 5.25' "$work/p.svg"
        sed -i 's/n-bits = 8/n-bits = 5/' "$work/known/config.toml"
        expect 0 "picture: known entropy, other bits" plot "$work/known" -o "$work/p.svg"
        no_entropy() { ! grep -q entropy "$work/p.svg"; }
        check "picture: no entropy for other bits" no_entropy
    else
        skip "picture: data of known entropy: no h5py here"
    fi
    expect 0 "picture: against another run" plot "$work/good" -o "$work/p.svg" --against "$work/run"
    check "picture: the other run is named" grep -q 'run, training batches' "$work/p.svg"
    expect 0 "picture: against a curve of three points" plot "$work/good" -o "$work/p.svg" --against "$root/docs/reference/public-glow"
    check "picture: names the curve" grep -q '>public-glow, from 200k images on<' "$work/p.svg"

    row() { echo "$((610 + 10 * $1)),0.6,$((39040 + 640 * $1)),$2,4.5,$3,0.001,$4,213,$5,$6,$7"; }
    variant nan && row 0 nan 1 300 123456 1e-14 3.5 >>"$work/nan/metrics.csv"
    verdict nan "broken: finite"
    variant norm && row 0 30 inf 300 123456 1e-14 3.5 >>"$work/norm/metrics.csv" && row 1 30 1 300 123456 1e-14 3.5 >>"$work/norm/metrics.csv"
    verdict norm "worth a look: finite"
    variant inf && echo '600,valid,inf,nan,100,ema' >>"$work/inf/eval.csv"
    verdict inf "broken: finite"
    variant passing && sed -i '2i 300,valid,nan,nan,100,ema' "$work/passing/eval.csv"
    verdict passing "worth a look: finite"
    variant drift && row 0 30 1 300 123456 1e-4 3.5 >>"$work/drift/metrics.csv"
    verdict drift "worth a look: drift"
    variant tolerant && cp "$work/drift/metrics.csv" "$work/tolerant/" && sed -i 's/drift-tolerance = 0/drift-tolerance = 0.01/' "$work/tolerant/config.toml"
    verdict tolerant healthy
    for precision in bf16 tf32; do
        variant $precision && cp "$work/drift/metrics.csv" "$work/$precision/" && echo "precision = '$precision'" >>"$work/$precision/config.toml"
        verdict $precision healthy
    done
    variant singular && row 0 30 1 300 123456 1e-14 1e9 >>"$work/singular/metrics.csv"
    verdict singular "broken: condition"
    variant leak && row 0 30 1 300 130000 1e-14 3.5 >>"$work/leak/metrics.csv"
    verdict leak "worth a look: memory"
    variant slow && for i in 0 1 2 3 4; do row $i 30 1 100 123456 1e-14 3.5 >>"$work/slow/metrics.csv"; done
    verdict slow "worth a look: speed"
    variant rising && awk -F, -v OFS=, 'NR > 1 { $4 = 30 + NR / 100 } 1' "$work/good/metrics.csv" >"$work/rising/metrics.csv"
    verdict rising "worth a look: loss falls"
    variant diverged && for ((i = 0; i < 25; i++)); do row $i 80.$i 1 300 123456 1e-14 3.5 >>"$work/diverged/metrics.csv"; done
    verdict diverged "broken: loss falls"
    variant overfit && sed -i 's/30.1,/31.1,/' "$work/overfit/eval.csv" && sed -i '2i 300,valid,30.1,0.01,100,raw' "$work/overfit/eval.csv"
    verdict overfit "worth a look: train and validation"
    variant behind && sed -i 's/30.12,/30.9,/' "$work/behind/eval.csv"
    verdict behind healthy
    sed -i 's/^600,0/600,2/' "$work/behind/metrics.csv"
    verdict behind "worth a look: average"
    variant none && rm "$work/none/latest.h5"
    verdict none "worth a look: checkpoint"
    # A run that began just now.
    variant first && sed -i '5,$d' "$work/first/metrics.csv" && : >"$work/first/eval.csv" && rm "$work/first/latest.h5"
    verdict first "too short to judge: nothing wrong in its 3 rows"
    page_of first
    check "page: too short" grep -qF "<div class='verdict short'>" "$work/page.html"
    sed -i 's/max-steps = 600/max-steps = 30/' "$work/first/config.toml"
    verdict first "worth a look: checkpoint"
    variant late && sed -i 's/max-steps = 600/max-steps = 6000/' "$work/late/config.toml" && rm "$work/late/latest.h5"
    verdict late "worth a look: checkpoint"
    echo "checkpoint-every = '1000'" >>"$work/late/config.toml"
    verdict late healthy
    variant stalled && sed -i 's/max-steps = 600/max-steps = 6000/' "$work/stalled/config.toml"
    verdict stalled healthy
    touch -d '2 hours ago' "$work/stalled/metrics.csv"
    verdict stalled "worth a look: at work"
    says err "no row for 2.0 hours" "page: stalled"
    variant rolled && mkdir "$work/rolled/trouble"
    echo '{"step": 37, "message": "the loss is <not> finite", "action": {"roll_back": 1}}' >"$work/rolled/trouble/step-00000037-1.json"
    echo '{"step": 38, "mess' >"$work/rolled/trouble/step-00000038-1.json"
    verdict rolled "worth a look: roll-backs"
    says err "of step 37: the loss is <not> finite" "page: rolled"
    page_of rolled
    check "page: what the recorder says is escaped" grep -q '&lt;not&gt; finite' "$work/page.html"
    sed -i 's/{"roll_back": 1}/"given up"/' "$work/rolled/trouble/step-00000037-1.json"
    verdict rolled "broken: roll-backs"

    variant single && sed -i 's/,0.01,100,/,,1,/' "$work/single/eval.csv"  # no standard error of one image
    page_of single
    check "page: one validation image" grep -qF '<td class=number>30.1200</td>' "$work/page.html"
    variant bare && rm -r "$work/bare"/{eval.csv,config.toml,samples,checkpoints}
    touch -d '+2 hours' "$work/bare/metrics.csv"
    page_of bare
    check "page: a row of a clock that is ahead" grep -qF 'a row 0 s ago' "$work/page.html"
    verdict bare "worth a look: checkpoint"
    variant unreadable && rm "$work/unreadable/config.toml" && mkdir "$work/unreadable/config.toml"
    expect 2 "report: options that cannot be read" plot "$work/unreadable"
    says err "config.toml cannot be read: Is a directory" "report: options that cannot be read"
    variant odd && sed -i 's/max-steps = 600/max-steps = six/; s/levels = 3/levels/; s/drift-tolerance = 0/drift-tolerance = nan/' "$work/odd/config.toml"
    verdict odd healthy
    variant torn && head -c 100 "$work/good.png" >"$work/torn/samples/step-00000600.png" && printf '610,0.6' >>"$work/torn/metrics.csv"
    page_of torn
    says err "not a complete PNG" "page: torn"
    says err "last line" "page: torn"
    check "page: only whole sheets" pictures 3
    expect 0 "page: of one row" plot "$work/one" -o "$work/page.html"

    # A stand-in for TensorBoard's writer notes what it is given.
    mkdir -p "$work/modules/torch"
    cat >"$work/modules/tensorboardX.py" <<'PY'
class SummaryWriter:
    def __init__(self, folder): self.file = open(folder, "w")
    def add_scalar(self, name, value, step, walltime=None): print(name, value, step, file=self.file)
    def add_image(self, name, image, step, dataformats): print(name, image.ndim, step, file=self.file)
    def close(self): self.file.close()
PY
    expect 0 "tensorboard" env PYTHONPATH="$work/modules" "$python" "$tools/report.py" "$work/good" --tensorboard "$work/events"
    for line in "train/bpd 30.0 600" "train/drift 1e-14 10" "valid/bpd_ema 30.12 600" "samples 3 100"; do
        check "tensorboard: $line" grep -qx "$line" "$work/events"
    done
    cat >"$work/modules/tensorboardX.py" <<'PY'
import threading, time
class SummaryWriter:  # as tensorboardX, whose thread ends on a full disk
    def __init__(self, folder): threading.Thread(target=self.write).start()
    def write(self): raise OSError(28, "No space left on device")
    def add_scalar(self, *values, **options): time.sleep(100)
PY
    expect 1 "tensorboard: a full disk" env PYTHONPATH="$work/modules" "$python" "$tools/report.py" "$work/good" --tensorboard "$work/events"
    says err "cannot write: $work/events: No space left on device" "tensorboard: a full disk"
    for module in tensorboardX torch/__init__; do echo 'raise ImportError' >"$work/modules/$module.py"; done
    expect 2 "tensorboard: no writer" env PYTHONPATH="$work/modules" "$python" "$tools/report.py" "$work/good" --tensorboard "$work/events"
    says err "install tensorboardX" "tensorboard: no writer"
fi

# ---- names of pictures -------------------------------------------------------------------------------------------------

if [ -n "$python" ]; then
    printf 'index,bpd\n0,3.5\n1,4.5\n' >"$work/bits.csv"
    for script in plot_scores plot_memory; do
        for name in x.jpg x x.h5; do
            expect 2 "$script: $name" forked "$tools/$script.py" "$work/bits.csv" -o "$work/$name"
            says err ".png" "$script: $name"
            check "$script: $name is not written" test ! -e "$work/$name" -a ! -e "$work/$name.png"
        done
    done
    expect 0 "plot_scores: .PNG" "$python" "$tools/plot_scores.py" "$work/bits.csv" -o "$work/x.PNG"
    check "plot_scores: a PNG" is_png "$work/x.PNG"
fi

# ---- hostile names and numbers ------------------------------------------------------------------------------------------

if [ -n "$python" ]; then
    run_folder hostile 12
    formula='$x^{$'
    for name in "$formula" _hidden $'latin\xe9'; do
        cp "$work/bits.csv" "$work/$name.csv"
        expect 0 "plot_scores: a file named '$name'" forked "$tools/plot_scores.py" "$work/$name.csv" -o "$work/x.svg"
        cp -r "$work/hostile" "$work/$name"
        expect 0 "report: a run named '$name'" plot "$work/$name" -o "$work/x.html"
        expect 0 "report: against a run named '$name'" plot "$work/hostile" -o "$work/x.svg" --against "$work/$name" --title "$formula"
    done
    check "report: a name with a dollar sign is drawn" grep -qF "$formula" "$work/x.svg"
    expect 0 "plot_scores: the legend has a name with an underscore" forked "$tools/plot_scores.py" "$work/_hidden.csv" -o "$work/x.svg"
    check "plot_scores: the name is drawn" grep -qF "_hidden (2)" "$work/x.svg"
    expect 0 "report: a reference with a formula" plot "$work/hostile" -o "$work/x.png" --reference '3:$\frac{$'
    for row in nan inf 1e308; do
        printf 'index,bpd\n0,4\n1,%s\n' $row >"$work/wrong.csv"
        expect 2 "plot_scores: $row" forked "$tools/plot_scores.py" "$work/wrong.csv" -o "$work/x.png"
        says err "row 2: bpd is " "plot_scores: $row"
    done
    { printf 'index,bpd,name\n0,4,"'; head -c 200000 /dev/zero | tr '\0' a; echo '"'; } >"$work/wrong.csv"
    expect 2 "plot_scores: a cell that is too long" forked "$tools/plot_scores.py" "$work/wrong.csv" -o "$work/x.png"
    printf 'step,bpd\n1,4\n' >"$work/wrong.csv"
    expect 2 "plot_scores: metrics.csv of a run" forked "$tools/plot_scores.py" "$work/wrong.csv" -o "$work/x.png"
    says err "the log of a run" "plot_scores: metrics.csv of a run"
    printf 'index,bpd\n0,4\n' >"$work/wrong.csv"
    expect 0 "plot_scores: one score" forked "$tools/plot_scores.py" "$work/wrong.csv" -o "$work/x.png"
    check "plot_scores: one score without a warning" test ! -s "$work/err"
    printf 'index,bpd,name\n0,4,caf\xe9.png\n1,5,b.png\n' >"$work/latin.csv"
    expect 0 "plot_scores: a name that is not UTF-8" forked "$tools/plot_scores.py" "$work/latin.csv" -o "$work/x.png"
    printf 'index,bpd\n0,\xe9\n' >"$work/latin.csv"
    expect 2 "plot_scores: a number that is not UTF-8" forked "$tools/plot_scores.py" "$work/latin.csv" -o "$work/x.png"
    mkfifo "$work/pipe"
    expect 2 "plot_scores: a pipe that no process writes" timeout 120 "$python" "$tools/plot_scores.py" "$work/pipe" -o "$work/x.png"
    expect 2 "plot_scores: a device without an end" timeout 120 "$python" "$tools/plot_scores.py" /dev/zero -o "$work/x.png"
    expect 2 "plot_memory: a pipe that no process writes" timeout 120 "$python" "$tools/plot_memory.py" "$work/pipe" -o "$work/x.png"
    rm "$work/hostile/metrics.csv" && mkfifo "$work/hostile/metrics.csv"
    expect 2 "report: a pipe that no process writes" timeout 120 "$python" "$tools/report.py" "$work/hostile"
    rm -r "$work/hostile" && run_folder hostile 12
    for data in 5 "'$work/pipe'"; do
        echo "data = $data" >"$work/hostile/config.toml"
        expect 0 "report: data = $data" timeout 120 "$python" "$tools/report.py" "$work/hostile" -o "$work/x.html"
    done
    # Without PYTHONUNBUFFERED Python writes the verdict at its end.
    full() { env -u PYTHONUNBUFFERED "$@" >/dev/full; }
    expect 1 "report: standard output is full" full "$python" "$tools/report.py" "$work/hostile"
    says err "report: error: cannot write to the standard output: No space left on device" "report: standard output is full"
    check "report: standard output is full: no traceback" bash -c "! grep -qE 'Traceback|Exception' '$work/err'"
    # Files that cannot have a byte stand for a full disk, on which the lock file has no text.
    no_space() { (ulimit -f 0 && exec "$@") 2>&1 | cat >&2; return "${PIPESTATUS[0]}"; }
    expect 1 "plot_scores: a full disk" no_space "$python" "$tools/plot_scores.py" "$work/bits.csv" -o "$work/full.pdf"
    says err "full.pdf: [Errno 27] File too large" "plot_scores: a full disk"
    check "plot_scores: a full disk: no traceback" bash -c "[ \$(wc -l <'$work/err') = 1 ] && [ ! -e '$work/full.pdf' ]"
    mkdir -p "$work/user" && echo 'text.usetex: True' >"$work/user/matplotlibrc"
    expect 0 "plot_scores: the user's settings" env MATPLOTLIBRC="$work/user" MPLBACKEND=none "$python" "$tools/plot_scores.py" "$work/bits.csv" -o "$work/x.png"
fi

# ---- plot_memory.py: published curves, colors, spread -------------------------------------------------------------------

if [ -n "$python" ]; then
    columns=mode,levels,depth,width,image,channels,batch,peak_bytes,params_bytes,grads_bytes,moments_bytes,ema_bytes,derived_bytes
    columns=$columns,predicted_bytes,images_per_s,images_per_s_q1,images_per_s_q3
    memory_rows() {  # image batch moments mode...: a table of two depths
        local image=$1 batch=$2 moments=$3 mode depth
        shift 3
        echo $columns
        for mode; do
            for depth in 4 8; do echo "$mode,3,$depth,256,$image,3,$batch,${depth}0000000,1000,1000,$moments,0,0,1,10.5,9.5,12"; done
        done
    }
    draw_memory() { forked "$tools/plot_memory.py" "$work/memory.csv" -o "$work/memory.svg" "$@"; }
    drawn() { grep -qiF -- "$1" "$work/memory.svg"; }
    not_drawn() { ! drawn "$1"; }
    memory_rows 256 8 0 reconstruct >"$work/memory.csv"
    expect 0 "plot_memory: the published setting" draw_memory
    check "plot_memory: published curves in their own setting" drawn "normflows, published (A100), raw"
    expect 0 "plot_memory: --no-published" draw_memory --no-published
    check "plot_memory: no published curves on request" not_drawn published
    for setting in "64 8 0" "256 4 0" "256 8 5000"; do
        # shellcheck disable=SC2086  # three words
        memory_rows $setting reconstruct >"$work/memory.csv"
        expect 0 "plot_memory: $setting" draw_memory
        check "plot_memory: no published curves at $setting" not_drawn published
    done
    # A policy has one color, whatever else is drawn.
    memory_rows 64 8 0 store >"$work/memory.csv"
    expect 0 "plot_memory: store" draw_memory
    check "plot_memory: the color of store" drawn d55e00
    memory_rows 64 8 0 reconstruct:1 reconstruct:8 checkpoint store >"$work/memory.csv"
    expect 0 "plot_memory: all" draw_memory
    check "plot_memory: the same color of store" drawn d55e00
    memory_rows 64 8 0 checkpoint store | awk -F, -v OFS=, 'NR > 1 { $3 = 4; $7 = NR }  1' >"$work/memory.csv"
    expect 0 "plot_memory: --speed" draw_memory --speed
    check "plot_memory: the spread is drawn" drawn "images/s, median and quartiles"
    sed -i 's/,9.5,12$/,,/' "$work/memory.csv"
    expect 0 "plot_memory: --speed without repeats" draw_memory --speed
    check "plot_memory: no spread of single measurements" not_drawn quartiles
    memory_rows 64 8 0 'reconstruct:x' '$x^{$' >"$work/memory.csv"
    expect 0 "plot_memory: odd modes" draw_memory --title '$x^{$'
    says err "skipped unreadable line 2" "plot_memory: odd modes"
    memory_rows 64 8 0 store | sed 's/,3,4,/,3,-4,/; s/,3,8,/,3,0,/' >"$work/memory.csv"
    expect 2 "plot_memory: depths below 1" draw_memory
    rm -f "$work/memory.svg"
    expect 0 "plot_memory: --check" draw_memory --check
    check "plot_memory: --check draws nothing" test ! -e "$work/memory.svg"
fi

summary

#!/usr/bin/env bash
# compare_programs.sh PROGRAMS quick|full: the built commands in folder PROGRAMS against the reference. quick: small models
# of several kinds; full: the gradient of the CIFAR-10 model, which takes minutes. 77: no PyTorch here.
set -euo pipefail
programs=$1
cd "$(dirname "${BASH_SOURCE[0]}")"
./run_with_torch.sh -c '' || exit $?
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
data=$folder/data.h5

gradient() { ./run_with_torch.sh compare_gradient.py --glow-train "$programs/glow_train" --data "$data" "$@"; }
likelihood() { ./run_with_torch.sh compare_likelihood.py --glow-eval "$programs/glow_eval" --data "$data" "$@"; }

if [ "$2" = full ]; then
    "$programs/glow_data" synthetic gauss --size 32 --channels 3 --train 8 --test 8 -o "$data" --quiet
    # 96 float networks in a row: float PyTorch differs from double by 2e-4 in the worst tensors without kinks.
    gradient --levels 3 --depth 32 --width 512 --batch 4 --chunk 4 --tensor-tolerance 3e-4
    exit
fi
"$programs/glow_data" synthetic gauss --size 8 --channels 3 --train 32 --test 12 -o "$data" --quiet
"$programs/glow_train" --data "$data" --out "$folder/run" --levels 2 --depth 3 --width 16 --batch 8 --max-steps 30 \
    --lr 0.01 --quiet
likelihood --checkpoint "$folder/run"
likelihood --checkpoint "$folder/run" --ema

gradient --levels 2 --depth 3
gradient --levels 1 --depth 3 --coupling additive --no-edge-bias --optimizer adam --weight-decay 1e-3 -- --memory store
gradient --levels 3 --depth 2 --no-learn-top --n-bits 5 -- --micro-batch 3
if gradient --levels 2 --depth 3 --sabotage; then
    echo "FAILED: a gradient that is wrong by 1% was not noticed"
    exit 1
fi

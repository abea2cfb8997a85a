#!/usr/bin/env bash
# compare_programs.sh PROGRAMS quick|full: the built commands in folder PROGRAMS against the reference. quick: small models
# of every kind; full: the CIFAR-10 model, which takes minutes. 77: no PyTorch here.
set -euo pipefail
programs=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")"
./run_with_torch.sh -c '' || exit $?
if [ "$2" = full ]; then
    ./run_with_torch.sh compare_variants.py --programs "$programs" --full
else
    ./run_with_torch.sh compare_variants.py --programs "$programs"
fi

#!/usr/bin/env bash
# Usage: compare_programs.sh PROGRAMS quick|full
# Compares the built commands in folder PROGRAMS with the reference. quick: small models of every kind; full:
# the CIFAR-10 model, which takes minutes. Exits with 77 without PyTorch.
set -euo pipefail
unset CDPATH  # with it, cd prints
programs=$(cd -- "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")"
./run_with_torch.sh -c '' || exit $?
if [ "$2" = full ]; then
    ./run_with_torch.sh compare_variants.py --programs "$programs" --full
else
    ./run_with_torch.sh compare_variants.py --programs "$programs"
fi

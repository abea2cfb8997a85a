#!/usr/bin/env bash
# Usage: run_processes.sh N PROGRAM ARGUMENTS...
# Runs PROGRAM as N MPI processes on this machine, also as root and on few cores. Exits with 77 (CTest:
# skipped) without a launcher. For tests only: on a cluster use its own launcher.
set -euo pipefail
if ! mpirun=$(command -v "${GLOW_MPIRUN:-mpirun}"); then
    echo "skipped: no mpirun found (install openmpi-bin)"
    exit 77
fi
processes=$1
shift
options=()
if "$mpirun" --version 2>&1 | grep -q "Open MPI\|OpenRTE\|PRRTE\|prte"; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PRTE_ALLOW_RUN_AS_ROOT=1
    export PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
    options=(--map-by :OVERSUBSCRIBE --bind-to none)
fi
exec "$mpirun" "${options[@]}" -n "$processes" "$@"

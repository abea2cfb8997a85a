#!/usr/bin/env bash
# run_processes.sh N PROGRAM ARGUMENTS...: PROGRAM as N processes of MPI on this machine, also as root and on few cores.
# Exit status 77, which CTest takes for skipped, where there is no launcher. For tests: on a cluster use its own launcher.
set -euo pipefail
if ! mpirun=$(command -v "${GLOW_MPIRUN:-mpirun}"); then
    echo "skipped: there is no mpirun here (install openmpi-bin)"
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

#!/bin/bash
# Trains on Slurm for longer than a job may run: a signal before the end of the job stops the run with a checkpoint,
# and the job goes back into the queue until the run is finished. Set the resources below, then
#
#     sbatch slurm_train.sh --data /shared/data.h5 --out /shared/run --epochs 200
#
# GLOW_SRUN: srun and its options, if not "srun --mpi=pmix" (srun --mpi=list shows what there is).
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append

${GLOW_SRUN:-srun --mpi=pmix} glow_train --resume auto "$@"
status=$?
# 75: stopped by a signal, not finished. Anything else, also a failure, ends the job.
[ $status != 75 ] || scontrol requeue "$SLURM_JOB_ID"
exit $status

"""Runs the programs that the reference is compared with."""

import subprocess


def run(command, verbose=False):
    """Prints and runs a command; its messages are shown if asked for or if it fails, which ends the comparison."""
    print("$", " ".join(command), flush=True)
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if verbose or result.returncode:
        print(result.stdout, end="")
    if result.returncode:
        raise SystemExit(f"FAILED: {command[0]} ended with exit status {result.returncode}")

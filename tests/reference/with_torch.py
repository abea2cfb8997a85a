"""Imported first by scripts that need PyTorch: restarts with a Python that has it, h5py and NumPy, or reports what to install."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
from python_packages import require_packages

require_packages("torch", "h5py", "numpy")

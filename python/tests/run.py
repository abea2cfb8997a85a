#!/usr/bin/env python3
"""Runs all tests of the package; exit status 77 (CTest: skipped) if this Python lacks packages that they need."""

import sys
import unittest
from pathlib import Path

try:
    import numpy  # noqa: F401
except ImportError:
    print(f"skipped: {sys.executable} has no NumPy")
    sys.exit(77)

folder = str(Path(__file__).resolve().parent)
suite = (
    unittest.defaultTestLoader.discover(folder)
    if len(sys.argv) < 2
    else unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:])
)
sys.exit(0 if unittest.TextTestRunner(verbosity=1).run(suite).wasSuccessful() else 1)

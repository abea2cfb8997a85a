"""Runs examples/quickstart.ipynb, with less training."""

import json
import os
import unittest

import numpy as np

from support import FOLDER, SOURCE, needs


class Notebook(unittest.TestCase):
    @needs("matplotlib")
    def test_every_cell_runs(self):
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        notebook = SOURCE / "examples/quickstart.ipynb"
        os.environ.update(GLOW_QUICKSTART=str(FOLDER / "quickstart"), GLOW_QUICKSTART_STEPS="60")
        pictures = []
        show, plt.show = plt.show, lambda: (pictures.append(plt.gcf()), plt.close("all"))
        names = {"__name__": "__main__"}
        try:
            for cell in json.loads(notebook.read_text())["cells"]:
                if cell["cell_type"] == "code":
                    exec(compile("".join(cell["source"]), str(notebook), "exec"), names)
        finally:
            plt.show = show
        self.assertEqual(len(pictures), 6)
        scores = {name: np.mean(values) for name, values in names["scores"].items()}
        self.assertGreater(scores["noise"], scores["discs"] + 1)


if __name__ == "__main__":
    unittest.main()

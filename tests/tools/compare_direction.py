"""compare_direction.py PROGRAMS CHECKPOINT DATA: do class directions move images the right way? By hand.

A linear classifier of pixels (ridge regression) is trained for each pair of classes on training images that the direction has
not seen. glow_latent finds the direction among the first LIMIT training images and moves test images of the first class
along it; the classifier then scores the results. Scores are scaled so that the means of the two classes of test images are -1
and 1. Exit status 0: for every pair and method the mean score rises with alpha, and nine images of ten move the right way.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
from python_packages import require_packages

require_packages("h5py", "numpy")
import h5py
import numpy as np

LIMIT, OTHERS, IMAGES = 4000, 12000, 50
PAIRS = [("frog", "ship"), ("cat", "airplane"), ("horse", "automobile"), ("deer", "truck")]
NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()
ALPHAS = (-1, -0.5, 0, 0.5, 1)


def main():
    programs, checkpoint, data = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    with h5py.File(data) as f:
        others, other_labels = f["train/images"][LIMIT : LIMIT + OTHERS], f["train/labels"][LIMIT : LIMIT + OTHERS]
        test, test_labels = f["test/images"][:5000], f["test/labels"][:5000]
    flat = lambda x: x.reshape(len(x), -1) / 127.5 - 1
    bad = 0
    print(f"{'pair':<22} {'method':<8} {'held-out accuracy':>17}  " + "  ".join(f"{a:+5.1f}" for a in ALPHAS) + "   moved right")
    for negative, positive in PAIRS:
        a, b = NAMES.index(negative), NAMES.index(positive)
        use = (other_labels == a) | (other_labels == b)
        X, y = flat(others[use]), np.where(other_labels[use] == b, 1.0, -1.0)
        middle = X.mean(0)
        gram = (X - middle) @ (X - middle).T
        w = (X - middle).T @ np.linalg.solve(gram + 3000 * np.eye(len(X)), y)
        held, truth = flat(test), test_labels
        score = (held - middle) @ w
        low, high = score[truth == a].mean(), score[truth == b].mean()
        scaled = lambda x: 2 * ((flat(x) - middle) @ w - low) / (high - low) - 1
        of_two = (truth == a) | (truth == b)
        accuracy = ((scaled(test[of_two]) > 0) == (truth[of_two] == b)).mean()
        numbers = np.flatnonzero(truth == a)[:IMAGES]
        for method in ("linear", "mean"):
            with tempfile.TemporaryDirectory() as folder:
                found, out = Path(folder) / "d.h5", Path(folder) / "x.h5"
                run = lambda *words: subprocess.run([programs / "glow_latent", *map(str, words), "--checkpoint", checkpoint, "--data", data, "--quiet"],
                                                    check=True, capture_output=True)
                run("direction", "--split", "train", "--limit", LIMIT, "--positive", b, "--negative", a, "--method", method, "-o", found)
                run("manipulate", "--images", ",".join(map(str, numbers)), "--direction", found, "--alpha", ",".join(map(str, ALPHAS)), "-o", out)
                with h5py.File(out) as f:
                    moved = f["images"][:]
            scores = scaled(moved).reshape(IMAGES, len(ALPHAS))
            means, right = scores.mean(0), (scores[:, -1] > scores[:, 0]).mean()
            good = (np.diff(means) > 0).all() and right >= 0.9
            bad += not good
            print(f"{negative + ' to ' + positive:<22} {method:<8} {accuracy:>17.3f}  " + "  ".join(f"{m:+5.2f}" for m in means)
                  + f"   {100 * right:.0f}%{'' if good else '   FAILED'}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

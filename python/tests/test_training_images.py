"""train() on images in arrays."""

import shutil
import unittest

import numpy as np

import glow
from support import DATA, FOLDER, OPTIONS, RUN, make_images, make_run, needs

IMAGES, VALID, LABELS = make_images(64), make_images(16, 1), np.arange(64) % 3
GIVEN = dict(labels=LABELS, valid=VALID, valid_labels=LABELS[:16])  # those of the shared run


def refused(case, words, data, out, **options):
    with case.assertRaisesRegex(ValueError, words, msg=repr(options)):
        list(glow.train(data, out=out, **{**OPTIONS, **options}))


class TrainOnImages(unittest.TestCase):
    def test_equals_a_run_on_a_file(self):
        make_run()
        out = FOLDER / "images"
        rows = list(glow.train(IMAGES, out=out, **GIVEN, **OPTIONS))
        self.assertEqual([row["bpd"] for row in rows], glow.Run(RUN).metrics["bpd"].tolist())
        images = make_images(4, 9)
        expected = glow.load(RUN, device="cpu", threads=1).log_prob(images)
        np.testing.assert_array_equal(glow.load(out, device="cpu", threads=1).log_prob(images), expected)

    def test_resume_checks_the_images_and_keeps_the_file(self):
        out = FOLDER / "resumed images"
        list(glow.train(IMAGES, out=out, **GIVEN, **{**OPTIONS, "max_steps": 2}))
        written = (out / "data.h5").stat().st_mtime_ns
        options = dict(resume=True, max_steps=3)
        self.assertEqual(len(list(glow.train(IMAGES, out=out, **GIVEN, **{**OPTIONS, **options}))), 1)
        changed = IMAGES.copy()
        changed[40, 7, 7, 2] ^= 1
        cases = (
            (changed, GIVEN, "it has other images"),
            (changed, dict(GIVEN, accept_new_data=True), "it has other images"),
            (IMAGES[:60], dict(GIVEN, labels=LABELS[:60]), "64 training .* not 60 training"),
            (IMAGES, dict(GIVEN, labels=LABELS[::-1]), "it has other labels"),
            (IMAGES, dict(GIVEN, labels=None, valid_labels=None), "not 64 .* without labels"),
            (IMAGES, dict(labels=LABELS), "not 64 training and 0 validation"),
        )
        for data, given, words in cases:
            refused(self, words, data, out, **{**options, **given, "max_steps": 9})
        refused(self, "already contains a run", IMAGES, out, **GIVEN)
        self.assertEqual((out / "data.h5").stat().st_mtime_ns, written)
        self.assertEqual(glow.load(out, device="cpu").step, 3)
        self.assertEqual(len(list(glow.train(None, out=out, resume=True, max_steps=4))), 1)
        moved = FOLDER / "moved images"
        shutil.move(out, moved)
        self.assertEqual(len(list(glow.train(IMAGES, out=moved, **GIVEN, resume=True, max_steps=5))), 1)
        refused(self, "does not exist, so the run began with another", IMAGES, make_run(), resume=True, **GIVEN)

    def test_validation_from_a_fraction(self):
        out = FOLDER / "fraction"
        options = {**OPTIONS, "max_steps": 2}
        training = glow.train(IMAGES, out=out, labels=LABELS, valid=0.25, y_cond=True, **options)
        self.assertEqual(len(list(training)), 2)
        self.assertEqual(training.result["valid_images"], 16)
        options["max_steps"] = 3
        resumed = glow.train(IMAGES, out=out, labels=LABELS, valid=0.25, resume=True, **options)
        self.assertEqual(len(list(resumed)), 1)
        refused(self, "other images|validation", IMAGES, out, labels=LABELS, valid=0.3, resume=True)

    def test_lists(self):
        """Of arrays, and a data set of PyTorch, which has items and a length."""

        class Items:
            def __len__(self):
                return 64

            def __getitem__(self, n):
                return IMAGES[n], int(LABELS[n])

        options = {**OPTIONS, "max_steps": 1}
        rows = [
            list(glow.train(data, out=FOLDER / f"list{i}", labels=labels, y_cond=True, **options))
            for i, (data, labels) in enumerate(((IMAGES, LABELS), (list(IMAGES), list(LABELS)), (Items(), None)))
        ]
        self.assertEqual(rows[0][0]["bpd"], rows[1][0]["bpd"])
        self.assertEqual(rows[0][0]["bpd"], rows[2][0]["bpd"])
        refused(self, "pairs", Items(), FOLDER / "pairs", labels=LABELS)

    @needs("torch")
    def test_tensors(self):
        import torch

        options = {**OPTIONS, "max_steps": 1}
        rows = list(glow.train(torch.from_numpy(IMAGES), out=FOLDER / "tensor", valid=torch.from_numpy(VALID), **options))
        self.assertEqual(rows[0]["bpd"], glow.Run(make_run()).metrics["bpd"][0])

    def test_refusals_leave_nothing(self):
        out = FOLDER / "refused images"
        masked = np.ma.masked_array(IMAGES, IMAGES == IMAGES[0, 0, 0, 0])
        cases = (
            (IMAGES.astype(np.float32), {}, "uint8"),
            (IMAGES.astype(np.int64), {}, "uint8"),
            (masked, {}, "masked"),
            (IMAGES[0], {}, r"got \[8, 8, 3\]"),
            (IMAGES[0], dict(valid=0.5), r"got \[8, 8, 3\]"),
            (IMAGES[:0], {}, "N > 0"),
            (np.moveaxis(IMAGES, 3, 1), {}, "1..4 channels"),
            (IMAGES[:, :6], {}, "divisible by 4"),
            (IMAGES, dict(levels=4), "divisible by 16"),
            (IMAGES, dict(y_cond=True), "labels"),
            (IMAGES, dict(labels=LABELS[:5]), "one label for each image"),
            (IMAGES, dict(labels=LABELS - 1), "labels must be in 0"),
            (IMAGES, dict(labels=LABELS / 2), "whole numbers"),
            (IMAGES, dict(labels=LABELS, valid=VALID), "all splits have labels or none"),
            (IMAGES, dict(valid=VALID[:, :4]), "one shape"),
            (IMAGES, dict(valid=1.5), "from 0 to below 1"),
            (IMAGES, dict(valid=float("nan")), "from 0 to below 1"),
            (IMAGES, dict(valid=0.999), "leave none for training"),
            (IMAGES, dict(valid=0.5, valid_labels=LABELS), "valid_labels"),
            (IMAGES, dict(valid_labels=LABELS), "valid_labels"),
            (IMAGES, dict(lr="fast"), "lr"),
            (DATA, dict(labels=LABELS), "a data set has its own"),
            (object(), {}, "uint8"),
            ([], {}, "uint8"),
            ({}, {}, "uint8"),
        )
        for data, options, words in cases:
            refused(self, words, data, out, **options)
            self.assertFalse(out.exists(), words)
        out.mkdir()
        (out / "data.h5").write_bytes(b"mine")
        refused(self, "data.h5", IMAGES, out)
        self.assertEqual((out / "data.h5").read_bytes(), b"mine")
        glow.save_dataset(out / "data.h5", IMAGES[:9], force=True)
        refused(self, "remove it", IMAGES, out)
        self.assertEqual([file.name for file in out.iterdir()], ["data.h5"])


if __name__ == "__main__":
    unittest.main()

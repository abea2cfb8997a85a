"""Every bad argument is an error, never a crash."""

import errno
import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import unittest
from functools import partial
from pathlib import Path

import numpy as np

import glow
from support import DATA, FOLDER, SOURCE, command, make_images, make_run, model, needs

ERRORS = (ValueError, RuntimeError)


class Refusals(unittest.TestCase):
    def test_images(self):
        owner = model()
        good = make_images(2)
        bad = [
            None,
            3,
            "abc",
            b"abc",
            [],
            [[1, 2], [3]],
            object(),
            good[0],
            good[..., :2],
            good[None],
            good.astype(int),
            good.astype(bool),
            good.astype(complex),
            good.astype(object),
            good.astype("U3"),
            np.float32(3),
            np.zeros((2, 8, 8)),
            np.zeros((0,)),
            np.zeros((2, 0, 8, 3), np.uint8),
            {"x": good},
            iter([good]),
        ]
        for x in bad:
            for call in (owner.log_prob, owner.bits_per_dim, owner.score, owner.encode):
                with self.assertRaises(ERRORS, msg=f"{type(x)} {x!r:.60}"):
                    call(x)
        for value in (np.nan, np.inf, -np.inf, 1e300, -1e38):
            x = good.astype(np.float64)
            x[1, 2, 3, 0] = value
            for call in (owner.log_prob, owner.score):
                with self.assertRaisesRegex(ERRORS, "image 1", msg=str(value)):
                    call(x)
            owner.encode(x)  # has no numbers to refuse

    def test_arrays_that_are_read_only_now(self):
        """Such as those of h5py or Dask."""

        class Unread:
            def __init__(self, error):
                self.error = error

            def __array__(self, *types, **options):
                raise self.error

        for error, expected in (
            (MemoryError("12 GiB"), MemoryError),
            (OSError(errno.EIO, "Input/output error"), RuntimeError),
            (FileNotFoundError(errno.ENOENT, "No such file"), ValueError),
            (OSError(errno.ENAMETOOLONG, "File name too long"), ValueError),
            (OSError("image file is truncated"), ValueError),
        ):
            with self.assertRaises(expected) as caught:
                glow.save_dataset(FOLDER / "unread.h5", Unread(error))
            self.assertIn(str(error), str(caught.exception))

    def test_latents(self):
        owner = model()
        good = owner.encode(make_images(2))
        bad = [
            None,
            3,
            [],
            good[:1],
            good + good[:1],
            [good[0], good[1][:1]],
            [good[1], good[0]],
            [good[0][0], good[1][0]],
            ["a", "b"],
            [level.astype(complex) for level in good],
            [None, None],
            np.zeros((2, 0)),
            [good[0].astype(object), good[1]],
        ]
        for latents in bad:
            with self.assertRaises(ERRORS, msg=repr(latents)[:60]):
                owner.decode(latents)
        crossed = owner.decode([np.full_like(level, np.nan) for level in good])
        self.assertEqual(crossed.shape, (2, 8, 8, 3))

    def test_samples(self):
        owner = model()
        for n in (-1, 1.5, "3", None, [1], 2**63, 2**200):
            with self.assertRaises(ERRORS, msg=repr(n)):
                owner.sample(n)
        for n in (2**50, 2**62):
            with self.assertRaises(MemoryError):
                owner.sample(n)
        for temperature in (-1, np.nan, np.inf, 1e9, 10**400, "a", None):
            with self.assertRaises(ERRORS, msg=repr(temperature)):
                owner.sample(1, temperature=temperature)
        for seed in (-1, 2**64, 0.5, "a"):
            with self.assertRaises(ERRORS):
                owner.sample(1, seed=seed)
        owner.sample(1, seed=2**64 - 1)
        for draws in (0, -1, 2**21, 2**63, 1.5):
            with self.assertRaises(ERRORS):
                owner.bits_per_dim(make_images(1), iw_samples=draws)
        with self.assertRaises(ERRORS):
            owner.bits_per_dim(make_images(1) + 0.5, iw_samples=2)

    def test_files(self):
        text = FOLDER / "text.h5"
        text.write_text("no model")
        for path in ("", "/nonexistent", FOLDER, text, "a\0b", b"\xff", None, 3, "/dev/null", DATA):
            with self.assertRaises(ERRORS, msg=repr(path)):
                glow.load(path, device="cpu")
        run = make_run()
        for options in (
            dict(device="tpu"),
            dict(precision="fp8"),
            dict(precision="tf32"),
            dict(batch=0),
            dict(batch=2**40),
            dict(threads=-1),
            dict(threads=4097),
            dict(device="cuda:1"),
            dict(batch="a"),
            dict(device="\udcff"),
            dict(precision="\udcff"),
        ):
            with self.assertRaises(ERRORS, msg=repr(options)):
                glow.load(run, **{"device": "cpu", **options})
        with self.assertRaises(ERRORS):
            model().save("/nonexistent/model.h5")
        for name in ("w.safetensors", "w.npz", "w.ONNX"):  # which load() or others would take for that format
            with self.assertRaisesRegex(ERRORS, "must end in .h5"):
                model().save(FOLDER / name)
            self.assertFalse((FOLDER / name).exists())
        before = (run / "latest.h5").read_bytes()
        link = FOLDER / "link.h5"
        link.symlink_to(run / "latest.h5")
        for place in (run / "latest.h5", run / "checkpoints/step-00000020.h5", run / "best.h5", link):
            with self.assertRaisesRegex(ERRORS, "is the name of a file of the run"):
                model().save(place)
            with self.assertRaisesRegex(ERRORS, "is the name of a file of the run"):
                glow.save_dataset(place, make_images(2))
        self.assertEqual((run / "latest.h5").read_bytes(), before)

    def test_existing_files_are_kept(self):
        make_run()
        data, images = FOLDER / "existing.h5", make_images(4)
        glow.save_dataset(data, images)
        before = data.read_bytes()
        for save in (lambda **options: glow.save_dataset(data, images, images, **options), partial(model().save, data)):
            with self.assertRaisesRegex(ValueError, "existing.h5 exists: .*force=True"):
                save()
            with self.assertRaisesRegex(ValueError, "existing.h5 exists: .*force=True"):
                save(force=False)
            with self.assertRaisesRegex(ValueError, "existing.h5 exists"):
                glow.save_dataset(data, object())  # before the images are looked at
            self.assertEqual(data.read_bytes(), before)
            save(force=True)
            self.assertNotEqual(data.read_bytes(), before)
            before = data.read_bytes()

    def test_files_of_other_processes_are_kept(self):
        """A file that another process, which holds its lock, has only now finished."""
        make_run()
        for name, save in (("data", lambda file: glow.save_dataset(file, make_images(4))), ("weights", model().save)):
            file, lock = FOLDER / f"awaited-{name}.h5", FOLDER / f".awaited-{name}.h5.lock"
            with open(lock, "w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)

                def finish():
                    file.write_bytes(b"another's")
                    lock.unlink()
                    fcntl.flock(held, fcntl.LOCK_UN)

                other = threading.Timer(0.2, finish)
                other.start()
                with self.assertRaisesRegex(ValueError, f"{file.name} exists"):
                    save(file)
                other.join()
            self.assertEqual(file.read_bytes(), b"another's")

    def refuse_damaged(self, path, header, tries):
        """Cut files are refused; with changed bytes of the header they are refused, or harmless."""
        whole = path.read_bytes()
        damaged = FOLDER / ("damaged" + path.suffix)
        for size in [0, 4, 8, 100, len(whole) // 2, len(whole) - 1]:
            damaged.write_bytes(whole[:size])
            with self.assertRaises(ERRORS, msg=size):
                glow.load(damaged, device="cpu", threads=1)
        rng = np.random.default_rng(2)
        for _ in range(tries):
            changed = bytearray(whole)
            for place in rng.integers(0, header, 6):
                changed[place] = rng.integers(0, 256)
            damaged.write_bytes(changed)
            try:
                glow.load(damaged, device="cpu", threads=1)
            except ERRORS:
                pass

    def test_damaged_checkpoint(self):
        self.refuse_damaged(make_run() / "latest.h5", 6000, 12)

    def test_missing_probe(self):
        """Without the program that opens HDF5 files first, a damaged one could end the interpreter."""
        package = FOLDER / "without probe" / "a" / "glow"  # the build's program is two folders above the extension
        package.mkdir(parents=True)
        for file in Path(glow.__file__).parent.iterdir():
            if file.is_file() and file.name != "glow_hdf5_probe":
                shutil.copyfile(file, package / file.name)
        code = f"import glow; print(glow.__file__); glow.load({str(make_run() / 'latest.h5')!r}, device='cpu', threads=1)"
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(package.parent)}, capture_output=True, text=True)
        self.assertIn(str(package), done.stdout)
        self.assertEqual(done.returncode, 1)
        self.assertIn("RuntimeError: cannot check", done.stderr)
        self.assertIn("glow_hdf5_probe is missing", done.stderr)
        probe = package / "glow_hdf5_probe"
        probe.write_bytes(b"no program")
        probe.chmod(0o755)
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(package.parent)}, capture_output=True, text=True)
        self.assertRegex(done.stderr, "RuntimeError: cannot check .*glow_hdf5_probe cannot be started: Exec format error")

    def test_damaged_safetensors(self):
        whole = FOLDER / "whole.safetensors"
        command("glow_convert", "--to", "safetensors", make_run(), "-o", whole)
        self.refuse_damaged(whole, 4000, 60)

    def test_safetensors_out_of_place(self):
        """Offsets that wrap, overlap or leave bytes over would give wrong weights."""
        good = FOLDER / "good.safetensors"
        command("glow_convert", "--to", "safetensors", make_run(), "-o", good)
        whole = good.read_bytes()
        begin = 8 + int.from_bytes(whole[:8], "little")
        header = json.loads(whole[8:begin])
        name = next(name for name in header if name != "__metadata__")
        first, end = header[name]["data_offsets"]

        def refuse(part, places, body=whole[begin:]):
            text = json.dumps({**header, name: {**header[name], "data_offsets": places}}).encode()
            bad = FOLDER / "bad.safetensors"
            bad.write_bytes(len(text).to_bytes(8, "little") + text + body)
            with self.assertRaisesRegex(ValueError, part):
                glow.load(bad, device="cpu", threads=1)

        refuse("not inside the file", [2**64 - 4, end - first - 4])
        refuse("overlap", [first + 4, end + 4])
        refuse("4 bytes follow", [first, end], whole[begin:] + bytes(4))
        metadata = header["__metadata__"]
        wide = json.dumps({**json.loads(metadata["config"]), "width": 2**16})  # 17 GB
        header["__metadata__"] = {**metadata, "config": wide}
        started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refuse("expected", [first, end])
        self.assertLess(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, started + 2**19)  # KiB
        header["__metadata__"] = metadata
        refuse("bad.safetensors: .*not finite", [first, end], b"\xff" * 4 + whole[begin + 4 :])
        pipe = FOLDER / "pipe.safetensors"
        os.mkfifo(pipe)
        with self.assertRaisesRegex(ValueError, "a named pipe"):
            glow.load(pipe, device="cpu")
        code = f"import glow; glow.load({str(good)!r}, device='cpu', threads=1)"
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": "/nonexistent"}, capture_output=True, text=True)
        self.assertIn("no folder for temporary files: /nonexistent", done.stderr)

    def test_datasets(self):
        images = make_images(4)
        bad = [
            dict(train=images[:0]),
            dict(train=images.astype(int)),
            dict(train=images[0]),
            dict(train="a"),
            dict(train=np.zeros((2, 8, 8, 5), np.uint8)),
            dict(train=images, valid=images[:, :4]),
            dict(train=images, train_labels=[0]),
            dict(train=images, train_labels=[0, 1, 2, -1]),
            dict(train=images, valid=images, train_labels=[0] * 4),
            dict(train=None),
            dict(train=images, name="\udcff"),
        ]
        for arguments in bad:
            with self.assertRaises(ERRORS, msg=repr(list(arguments))):
                glow.save_dataset(FOLDER / "bad.h5", **arguments)
        self.assertFalse((FOLDER / "bad.h5").exists())

    @unittest.skipIf(glow._extension.cuda_problem() == "", "this machine has a GPU")
    @needs("torch")
    def test_example_in_pytorch(self):
        file, images = FOLDER / "example.npz", FOLDER / "example.npy"
        command("glow_convert", "--to", "npz", make_run(), "-o", file)
        good = make_images(2)
        for values in (good, good.astype(np.int16), good.astype(np.uint16), good / np.float32(255)):
            np.save(images, values)
            done = subprocess.run(
                [sys.executable, SOURCE / "examples/glow_torch.py", file, images], capture_output=True, text=True
            )
            if values is good:
                bits = [float(line) for line in done.stdout.split()]
                np.testing.assert_allclose(bits, model().bits_per_dim(good + 0.5), atol=2e-6)
            else:
                self.assertEqual((done.returncode, done.stdout), (2, ""), values.dtype)
                self.assertRegex(done.stderr, "^glow_torch.py: error: .*uint")

    def test_no_gpu(self):
        with self.assertRaisesRegex(ERRORS, "--device cuda"):
            model().to("cuda")
        with self.assertRaises(ERRORS):
            model().to("tpu")
        with self.assertRaisesRegex(ERRORS, "--device cuda"):
            model().to("cuda:0")  # as "cuda"
        owner = model()
        self.assertIs(owner.to("cpu"), owner)
        self.assertEqual(owner.device, "cpu")


if __name__ == "__main__":
    unittest.main()

"""Training, and the folders of runs."""

from __future__ import annotations

import atexit
import collections
import contextlib
import csv
import io
import json
import logging
import os
import signal
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator

import numpy as np

from . import _extension
from .arrays import device_name, read_error, utf8
from .data import Splits, images_of_run
from .model import Model, _name, load
from .options import TrainingOptions

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger("glow")
_running: weakref.WeakSet[Training] = weakref.WeakSet()


def train(
    data: Any,
    *,
    out: str | bytes | os.PathLike[str],
    labels: Any = None,
    valid: Any = None,
    valid_labels: Any = None,
    **options: Unpack[TrainingOptions],
) -> Training:
    """Starts to train a model, and returns an iterator over the rows of its metrics.csv (docs/formats.md).

        for row in glow.train("cifar10.h5", out="runs/quick", preset="quick", max_steps=100):
            print(row["step"], row["bpd"])

    data: the name of a data set made by glow_data or save_dataset(), or images: uint8 [N, H, W, C] with C in 1 .. 4, an
    array of any library or a list, such as pictures of PIL. A data set of PyTorch is read item by item: images, or
    pairs (image, class). None: the data set of the run that resume=True continues.
    out: the run's folder.
    labels: classes [N] of the images, whole numbers from 0.
    valid: images for validation, uint8 [M, H, W, C], with valid_labels [M]; or the fraction of the images to take for
    it, 0 .. 1, drawn as glow_data does with seed 0. By default there is no validation.
    options: those of glow_train, with underscores for dashes: preset="quick", lr=1e-3, depth=8, resume=True.
    help(glow.TrainingOptions) lists them. True and False give the flag and its --no- form, if it has one; None omits the
    option. Options that print something, and those about several processes and exit statuses (communicator,
    requeue_exit), exist only on the command line.

    Images are written once, to the data set data.h5 in the run's folder, which the commands and a resumed run read. To
    continue, pass the same images, or None; other images raise ValueError.

    The training runs in its own thread, and its results are those of glow_train bit for bit. Ctrl-C ends it after the
    current step with a checkpoint, and raises KeyboardInterrupt; train(..., resume=True) continues.
    """
    out = _name(out)
    if out:
        out = os.path.abspath(out)  # the program may change its folder during the run
    splits = None
    if data is None or _is_name(data):
        if not (labels is None and valid is None and valid_labels is None):
            raise ValueError("labels, valid and valid_labels are for images in arrays: a data set has its own")
    else:
        splits = images_of_run(data, labels, valid, valid_labels)
        data = os.path.join(out, "data.h5")
    return Training(_arguments({"data": data, "out": out, **options}), out, splits)


class Training(Iterator[dict[str, Any]]):
    """A run in progress: an iterator over its logged steps. Made by train()."""

    def __init__(self, arguments: list[str], out: str, splits: Splits | None = None) -> None:
        self.out = out
        """The run's folder, an absolute path."""
        self._result: dict[str, Any] | None = None
        self._rows: collections.deque[dict[str, Any]] = collections.deque()  # received, but not read
        self._failure: Exception | None = None  # error that ended the run; None once raised
        self._receiving = threading.RLock()
        self._process = os.getpid()
        self._training = _extension.Training(arguments, splits)
        self._interrupts: _Interrupts | None = None
        _running.add(self)
        if threading.current_thread() is threading.main_thread():
            self._interrupts = _Interrupts.catch(self._training)

    def __del__(self) -> None:
        self._release_interrupts()

    def __iter__(self) -> Training:
        return self

    def __next__(self) -> dict[str, Any]:
        try:
            while True:
                if os.getpid() != self._process:
                    self._training.next(0)  # raises: only the process that began the run can use it
                try:
                    return self._rows.popleft()
                except IndexError:  # none left
                    self._receive(0.1)
                if self._rows:
                    continue
                self._raise_failure()
                if self._training.ended:
                    self._release_interrupts()
                    raise StopIteration
        except KeyboardInterrupt:
            self.stop()
            raise

    @property
    def result(self) -> dict[str, Any] | None:
        """None during the run, then a dict of `ended` ("max-steps", "epochs", "max-minutes" or "signal"), `step`, `bpd`,
        `checkpoint` and, with a validation set, `valid_bpd_ema` and `valid_bpd_raw` at `valid_step`.

        Unread rows remain available. If the run failed, raises its error unless the iterator or stop() already did.
        """
        if self._result is None:
            self._receive(0)
            self._raise_failure()
        return self._known_result()

    def stop(self) -> dict[str, Any] | None:
        """Ends the run after its current step with a checkpoint, waits for it, and returns result. Drops rows not yet read."""
        try:
            self._training.stop()
            while not self._training.ended and self._failure is None:
                self._receive(0.1)
            self._rows.clear()
            self._raise_failure()
        finally:
            self._release_interrupts()
        return self._known_result()

    def _known_result(self) -> dict[str, Any] | None:
        # No event, which Ctrl-C could discard while next() returns.
        if self._result is None and (text := self._training.result):
            self._result = json.loads(text)
        return self._result

    def _receive(self, seconds: float) -> None:
        """Receives all pending events of the run. If there are none, waits at most `seconds` for one."""
        # In a child of fork(), next() raises, and the lock may be held by a thread that does not exist there.
        with self._receiving if os.getpid() == self._process else contextlib.nullcontext():
            while (event := self._next(seconds)) is not None:
                self._take(*event)  # may raise an error of the program's logging
                seconds = 0

    def _next(self, seconds: float) -> tuple[str, str, str] | None:
        try:
            return self._training.next(seconds)
        except Exception as error:
            self._failure = error
            return None

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is None:
            return
        self._release_interrupts()
        try:
            raise failure
        finally:
            del failure  # its traceback refers to this frame, and so to this object

    def model(self, **options: Any) -> Model:
        """The model of the run's latest checkpoint. options: those of load()."""
        return load(self.out, **options)

    def __reduce__(self) -> Any:
        raise TypeError("a Training can be neither pickled nor copied: pass its folder `out`, and use glow.Run()")

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *ignored: Any) -> None:
        self.stop()

    def _take(self, kind: str, text: str, columns: str) -> None:
        if kind == "metrics":
            self._rows.append({name: _number(cell) for name, cell in zip(columns.split(","), text.split(","))})
        else:
            log.log(logging.WARNING if kind == "warning" else logging.INFO, "%s", text)

    def _release_interrupts(self) -> None:
        interrupts = getattr(self, "_interrupts", None)
        if interrupts is not None and interrupts.release(self._training):
            self._interrupts = None


class _Interrupts:
    """A handler of Ctrl-C that stops the trainings in progress, even while the caller processes a row."""

    def __init__(self, previous: Any) -> None:
        self.trainings: weakref.WeakSet[_extension.Training] = weakref.WeakSet()
        self.previous = previous

    def __call__(self, number: int, frame: Any) -> None:
        for training in list(self.trainings):
            training.stop()
        self.previous(number, frame)

    @classmethod
    def catch(cls, training: _extension.Training) -> _Interrupts | None:
        """Adds a training to the installed handler, or installs one; for the main thread."""
        previous = signal.getsignal(signal.SIGINT)
        if not callable(previous):
            return None
        if not isinstance(previous, cls):
            previous = cls(previous)
            signal.signal(signal.SIGINT, previous)
        previous.trainings.add(training)
        return previous

    def release(self, training: _extension.Training) -> bool:
        """Removes a training; after the last one, restores the previous handler. Returns False in threads other than the main
        one, which cannot do that."""
        self.trainings.discard(training)
        if threading.current_thread() is not threading.main_thread():
            return False
        if not self.trainings and signal.getsignal(signal.SIGINT) is self:
            signal.signal(signal.SIGINT, self.previous)
        return True


@atexit.register
def _stop_all() -> None:
    for training in list(_running):
        training._training.stop()
    for training in list(_running):
        try:
            training.stop()
        except Exception as error:
            log.warning("%s: %s", training.out, error)


# Options that print something, and options about processes and exit statuses, which the package does not have.
_COMMAND_ONLY = (
    *("help", "version", "quiet", "json", "verbose", "plan", "estimate", "dry_run", "print_config"),
    *("communicator", "requeue_exit"),
)
_WITHOUT_NEGATION = (*_COMMAND_ONLY, "accept_new_data", "requeue_max_minutes", "save_limits")


def _arguments(options: dict[str, Any]) -> list[str]:
    """Options as arguments of glow_train."""
    arguments = []
    for key, value in options.items():
        name = utf8(key, "the name of an option").replace("_", "-")
        if isinstance(value, np.bool_):
            value = bool(value)
        if key == "device" and value is not None:
            value = device_name(value)
        if value is None or (value is False and name.replace("-", "_") in _WITHOUT_NEGATION):
            continue
        if name.replace("-", "_") in _COMMAND_ONLY:
            raise ValueError(f"{key} is an option of the command line only")
        if key == "resume":
            if value is not False:
                arguments.append("--resume=" + ("auto" if value is True else _name(value)))
        elif value is False:
            arguments.append("--no-" + name)
        elif value is True:
            arguments.append(f"--{name}=true")  # "--batch" alone would take the next argument for its value
        else:
            text = repr(float(value)) if isinstance(value, np.floating) else os.fsdecode(value) if _is_name(value) else value
            arguments.append(f"--{name}={utf8(text, key)}")
    return arguments


def _is_name(value: Any) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))


def _number(cell: str) -> int | float:
    try:
        return int(cell)
    except ValueError:
        return float(cell)


class Table(dict[str, np.ndarray]):
    """Columns of a run's CSV file by name: a dict of arrays of one length."""

    def to_pandas(self) -> Any:
        """The table as a pandas.DataFrame. Requires pandas."""
        import pandas

        return pandas.DataFrame(self)


class Run:
    """The folder of a run."""

    def __init__(self, folder: str | bytes | os.PathLike[str]) -> None:
        name = _name(folder)
        if not os.path.isdir(name):  # unlike Path, for a name that is empty or too long too
            raise ValueError(f"{name}: no such folder")
        self.folder = Path(name)

    def __repr__(self) -> str:
        return f"glow.Run({str(self.folder)!r})"

    @property
    def metrics(self) -> Table:
        """metrics.csv, one row per logged step (docs/formats.md): a dict of arrays. to_pandas() makes it a DataFrame."""
        return self._table("metrics.csv")

    @property
    def evaluations(self) -> Table:
        """eval.csv, the evaluations on the validation images; like metrics."""
        return self._table("eval.csv")

    def model(self, **options: Any) -> Model:
        """The model of the latest checkpoint. options: those of load()."""
        return load(self.folder, **options)

    def _table(self, name: str) -> Table:
        try:
            with open(self.folder / name, newline="", encoding="utf-8") as file:
                text = file.read()
            text = text[: text.rfind("\n") + 1]  # without an incomplete last line: being written, or cut off by a full disk
            header, *rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        except OSError as error:
            raise read_error(error, f"{self.folder}: {name}: {error.strerror}") from None
        except (ValueError, csv.Error):
            raise ValueError(f"{self.folder}: {name} is not a table of a run") from None
        rows = [row for row in rows if len(row) == len(header)]
        return Table((column, _column([row[i] for row in rows])) for i, column in enumerate(header))


def _column(cells: list[str]) -> np.ndarray:
    for kind in (np.int64, np.float64):
        try:
            # An undefined value, such as the standard error of one image, is an empty cell.
            return np.array([cell or "nan" for cell in cells], np.str_).astype(kind) if cells else np.array([], np.float64)
        except (ValueError, OverflowError):
            continue
    return np.array(cells)

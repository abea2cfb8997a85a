"""Health checks of a run: each compares logged values with a limit and reports both."""

import math
from dataclasses import dataclass

import numpy as np

from report_read import smoothed

OK, SHORT, LOOK, BROKEN, UNKNOWN = "ok", "short", "look", "broken", "unknown"

DRIFT_TOLERANCE = {"bf16": 1e-2, "tf32": 1e-2}  # in units of x; 1e-5 for other networks (glow_train --drift-tolerance)
CONDITION_LOOK, CONDITION_BROKEN = 1e4, 1e7  # W^-1 x loses four digits of a float; all of them
RISE = 0.01  # bits/dim: smallest rise that counts, if it also exceeds two standard errors
DIVERGED = 1.0  # bits/dim above the run's best
GAP = 0.15  # bits/dim between validation and training images
BEHIND = 0.05  # bits/dim of the averaged weights above the raw ones
GROWTH = 1.01  # of the peak of memory, first row to last
SLOWER = 0.5  # of the median speed
FEW_ROWS = 20  # too few to judge a loss
FIRST_EPOCHS = 2  # in which averaged weights are usually behind
FIRST_MINUTES = 2  # of steps, in which a run writes its first checkpoint (glow_train: a minute, or a tenth of --max-minutes)
SILENT = 600  # seconds without a row that count, if they also exceed 20 times the usual interval


@dataclass
class Check:
    name: str
    state: str
    found: str
    limit: str  # the rule


def finite(run):
    limit = "every logged loss, bits/dim and gradient norm is finite, and so are the bits/dim of every evaluation"

    def bad_in(name):  # a column that is there; one that is missing is NaN throughout
        values = run.metrics[name]
        return ~np.isfinite(values) & ~np.isnan(values).all()

    bad = bad_in("bpd") | bad_in("loss") | bad_in("grad_norm")
    steps = run.metrics["step"][bad]
    evaluated = [row["step"] for row in run.evaluations if not math.isfinite(row["bpd"])]
    if not len(steps) and not evaluated:
        return Check("finite", OK, f"all {run.rows} rows", limit)
    last_evaluation = bool(evaluated) and evaluated[-1] == run.evaluations[-1]["step"]
    state = BROKEN if bad[-1] or last_evaluation else LOOK
    if not len(steps):
        return Check("finite", state, f"all {run.rows} rows, but not the evaluation at step {evaluated[0]:.0f}", limit)
    return Check("finite", state, f"{len(steps)} of {run.rows} rows are not, first at step {steps[0]:.0f}", limit)


def falling(run):
    limit = f"the last quarter's mean is at most {RISE} bits/dim, or two standard errors, above the quarter's before"
    y = run.metrics["bpd"]
    quarter = run.rows // 4
    if run.rows < FEW_ROWS:
        return Check("loss falls", UNKNOWN, f"{run.rows} rows are too few to say", limit)
    quarters = [y[run.rows - (i + 1) * quarter : run.rows - i * quarter] for i in range(4)]
    quarters = [part[np.isfinite(part)] for part in quarters]
    if min(map(len, quarters)) < 2:
        return Check("loss falls", UNKNOWN, "too few finite rows", limit)
    means = [float(part.mean()) for part in quarters]
    change = means[0] - means[1]
    error = math.sqrt(sum(part.var(ddof=1) / len(part) for part in quarters[:2]))
    if means[0] - min(means) > DIVERGED:
        return Check("loss falls", BROKEN, f"{means[0] - min(means):.2f} bits/dim above the run's best quarter", limit)
    if change > max(RISE, 2 * error):
        return Check("loss falls", LOOK, f"it rises: by {change:.3f} \N{PLUS-MINUS SIGN} {error:.3f} bits/dim", limit)
    if change < -2 * error:
        return Check("loss falls", OK, f"by {-change:.3f} \N{PLUS-MINUS SIGN} {error:.3f} bits/dim", limit)
    return Check("loss falls", OK, f"level: {change:+.3f} \N{PLUS-MINUS SIGN} {error:.3f} bits/dim", limit)


def gap(run):
    limit = f"validation (raw weights) is at most {GAP} bits/dim above the training batches, and not past its best"
    steps, y, error = run.evaluated("valid", "raw")
    if not len(steps):
        return Check("train and validation", UNKNOWN, "not evaluated: the data set has no /valid, or none was due yet", limit)
    train = smoothed(run.metrics["bpd"], max(1, run.rows // 10))
    between = float(y[-1] - np.interp(steps[-1], run.metrics["step"], train))
    past = float(y[-1] - y.min())
    found = f"{between:+.3f} bits/dim at step {steps[-1]:.0f}"
    margin = max(RISE, 2 * float(np.nan_to_num(error[-1])))
    if past > margin:
        found += f"; validation was best, by {past:.3f}, at step {steps[y.argmin()]:.0f}"
        return Check("train and validation", LOOK, found, limit)
    return Check("train and validation", LOOK if between > GAP else OK, found, limit)


def average(run):
    limit = f"the averaged weights (EMA) are at most {BEHIND} bits/dim above the raw ones after {FIRST_EPOCHS} epochs"
    steps, ema, _ = run.evaluated("valid", "ema")
    raw_steps, raw, _ = run.evaluated("valid", "raw")
    if not len(steps) or not len(raw_steps):
        return Check("average", UNKNOWN, "not evaluated", limit)
    behind = float(ema[-1] - raw[-1])
    found = f"{behind:+.3f} bits/dim at step {steps[-1]:.0f}"
    if behind <= BEHIND:
        return Check("average", OK, found, limit)
    if run.last("epoch") < FIRST_EPOCHS:
        return Check("average", OK, f"{found}: usual in the first epochs", limit)
    return Check("average", LOOK, f"{found}: --ema-decay is too close to 1", limit)


def drift_tolerance(run):
    return run.option("drift-tolerance") or DRIFT_TOLERANCE.get(run.config.get("precision"), 1e-5)


def drift(run):
    tolerance = drift_tolerance(run)
    limit = f"reconstructed images are within {tolerance:g} (in units of x) of the true ones"
    y = run.metrics["drift"]
    known = np.isfinite(y) | np.isinf(y)
    if not known.any():
        return Check("drift", UNKNOWN, "not logged", limit)
    above = int((y[known] > tolerance).sum())
    found = f"at most {y[known].max():.2g}"
    return Check("drift", LOOK if above else OK, f"{found}, above the tolerance in {above} rows" if above else found, limit)


def condition(run):
    limit = f"the largest condition number of a W is below {CONDITION_LOOK:g}; above {CONDITION_BROKEN:g} its float inverse has no correct digit"
    y = run.metrics["max_condition"]
    if np.isnan(y).all():
        return Check("condition", UNKNOWN, "not logged", limit)
    worst = float(np.nanmax(y))
    if worst == 0:
        return Check("condition", OK, "the channel mixing is a permutation", limit)
    state = BROKEN if math.isinf(worst) or run.last("max_condition") > CONDITION_BROKEN else LOOK if worst > CONDITION_LOOK else OK
    return Check("condition", state, f"at most {worst:.3g}, now {run.last('max_condition'):.3g}", limit)


def memory(run):
    limit = f"the peak grows by less than {GROWTH - 1:.0%} after the first row"
    y = run.metrics["peak_bytes"]
    y = y[np.isfinite(y) & (y > 0)]
    if not len(y):
        return Check("memory", UNKNOWN, "not logged", limit)
    found = f"{y[0] / 2**20:.0f} MiB at first, {y[-1] / 2**20:.0f} at the end" if y[-1] != y[0] else f"{y[0] / 2**20:.0f} MiB"
    return Check("memory", LOOK if y[-1] > GROWTH * y[0] else OK, found, limit)


def speed(run):
    limit = f"the last tenth of the rows is no slower than {SLOWER:.0%} of the median"
    y = run.metrics["images_per_s"]
    y = y[np.isfinite(y)]
    if len(y) < 10:
        return Check("speed", UNKNOWN, "too few rows", limit)
    usual, now = float(np.median(y)), float(np.median(y[-max(3, len(y) // 10) :]))
    return Check("speed", LOOK if now < SLOWER * usual else OK, f"{now:.1f} images/s, median {usual:.1f}", limit)


def rollbacks(run):
    limit = "no step failed: trouble/ has no report"
    if not run.failures:
        return Check("roll-backs", OK, "none", limit)
    last = run.failures[-1]
    given_up = any(failure["gave_up"] for failure in run.failures)
    reports = "1 report, of" if len(run.failures) == 1 else f"{len(run.failures)} reports, one of"
    found = f"{reports} step {last['step']}: {last['what']}" + ("; the run gave up" if given_up else "")
    return Check("roll-backs", BROKEN if given_up else LOOK, found, limit)


def reached(run):
    """Why the run ended, as far as its files show; empty if it did not end."""
    steps, epochs, minutes = (run.option(name) for name in ("max-steps", "epochs", "max-minutes"))
    if run.last("step") >= steps > 0:
        return f"at its last step, {run.last('step'):.0f}"
    if run.last("epoch") >= epochs > 0:
        return f"at its last epoch, {run.last('epoch'):.2f}"
    if run.minutes() >= 0.95 * minutes > 0:
        return f"at its limit of {minutes:g} minutes"
    return ""


def at_work(run):
    limit = f"stopped at a requested limit, or a row within {SILENT // 60} minutes or 20 times the usual interval"
    end = reached(run)
    if end:
        return Check("at work", OK, end, limit)
    pauses = np.diff(run.metrics["step"]) * run.metrics["step_ms"][1:] / 1000
    usual = float(np.nanmedian(pauses)) if np.isfinite(pauses).any() else 0
    if run.seconds_silent <= max(SILENT, 20 * usual):
        return Check("at work", OK, f"a row {run.seconds_silent:.0f} s ago", limit)
    found = f"no row for {duration(run.seconds_silent)}: stopped or hanging; continue with glow_train --resume auto"
    return Check("at work", LOOK, found, limit)


def checkpoint(run):
    limit = f"latest.h5 points to a checkpoint after {FIRST_MINUTES} minutes of steps, or after --checkpoint-every steps"
    if run.has_latest:
        return Check("checkpoint", OK, f"{len(run.checkpoints)} kept", limit)
    every = str(run.config.get("checkpoint-every", ""))
    waits_for_step = every.isdigit() and (int(every) == 0 or run.last("step") < int(every))  # 0: at the end
    if not reached(run) and (waits_for_step or run.minutes() < FIRST_MINUTES):
        return Check("checkpoint", OK, "none yet, as expected so early", limit)
    return Check("checkpoint", LOOK, "none yet", limit)


def duration(seconds):
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def examine(run):
    """All checks, and their worst state; SHORT if nothing is wrong with a run of too few rows."""
    checks = [check(run) for check in (finite, falling, gap, average, drift, condition, rollbacks, at_work, checkpoint, speed, memory)]
    states = [check.state for check in checks]
    return checks, BROKEN if BROKEN in states else LOOK if LOOK in states else SHORT if run.rows < FEW_ROWS else OK

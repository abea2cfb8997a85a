#!/usr/bin/env python3
"""Do the tests see what is wrong? Breaks one formula after the other in a copy of the sources, and shows which test notices.

Every breakage is a small substitution: 1% too much, a sign, an index, a factor that is missing. For each, what depends on
it is built again and the fast tests run, those of the broken folder first, until one fails. Prints a row of a Markdown
table each, as soon as it is known.

Exit status: 0 if every breakage was noticed; 1 if one survived, if its text no longer stands in the sources (a formula
has moved: bring the list below up to date), if it does not compile, or if the tests fail unbroken. About 10 s each on two
quiet cores once the copy is built; ccache helps.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

# The executables that see a folder, in the order in which they are tried: quick to build and quick to fail.
TESTS = {
    "kernels": ("test_kernels", "test_layers_f64", "test_layers", "test_train"),
    "layers": ("test_layers_f64", "test_layers", "test_train"),
    "train": ("test_train", "test_lossless"),
    "train/data": ("test_data", "test_train"),
}


class Breakage(NamedTuple):
    file: str
    old: str  # must stand there once; or as often as `times` says, and is replaced everywhere
    new: str
    what: str
    times: int = 1


def of(file, *rows):
    return [Breakage(file, *row) for row in rows]


BREAKAGES = [
    *of("kernels/coupling.cu",
        ("b = (b + o[0]) * scale.value;", "b = (b + o[0]) * scale.value * 1.01;", "affine coupling 1% too large"),
        ("return scale.log;", "return 1.01 * scale.log;", "log-determinant of the affine coupling off by 1%"),
        ("b = (b + o[0]) * scale.value;", "b = b * scale.value + o[0];", "shift after the scale"),
        ("+ 2.0)", "+ 2.02)", "sigmoid(h + 2.02) in forward, inverse and backward alike", 3),
        ("value - o[0];", "value + o[0];", "inverse of the affine coupling adds the shift"),
        ("round_state<real>(y) + dlogdet", "round_state<real>(y) - dlogdet", "sign of the log-determinant's gradient in the coupling"),
        ("+ dlogdet) * (1.0 - scale)", "+ dlogdet)", "coupling: derivative of the sigmoid without 1 - s"),
        ("d[0] = static_cast<real>(dy * scale);", "d[0] = static_cast<real>(dy);", "gradient of the shift without the scale"),
        ("+= out[row * (C / 2) + c]", "-= out[row * (C / 2) + c]", "additive coupling subtracts"),
        ("const real* const o = out + row * C + 2 * c;", "const real* const o = out + row * C + 2 * (C / 2 - 1 - c);",
         "shift and scale of the mirrored channel in forward and inverse", 3)),
    *of("kernels/gaussian.cu",
        ("kHalfLogTwoPi = 0.9189", "kHalfLogTwoPi = 0.9281", "log sqrt(2 pi) off by 1%"),
        ("- log_sigma - 0.5 * eps * eps", "- log_sigma - 0.505 * eps * eps", "density: square of eps off by 1%"),
        ("- log_sigma - 0.5 * eps * eps", "- 0.5 * eps * eps", "density without log sigma"),
        ("(value - mean[p]) * exp_of(-static_cast<double>(logs[p]))",
         "(value - mean[p]) * exp_of(static_cast<double>(logs[p]))", "eps multiplied by sigma"),
        ("value = mean[p] + exp_of", "value = 1.01 * mean[p] + exp_of", "sampling: mean off by 1%"),
        ("static_cast<real>(-dlogp * eps", "static_cast<real>(dlogp * eps", "sign of the latents' gradient"),
        ("sum_logs += eps * eps - 1.0;", "sum_logs += eps * eps;", "gradient of log sigma without -1"),
        ("= temperature * normal.second", "= normal.second", "every other sample at temperature 1"),
        ("row) * layout.stride + c * layout.step", "row) * layout.stride + c", "interleaved mean and logs read contiguously")),
    *of("kernels/mixing.cu",
        ("exp_of(3.0 * logs[k * stride + i])", "exp_of(3.03 * logs[k * stride + i])", "actnorm: scale exp(3.03 logs) in forward"),
        ("exp_of(-3.0 * logs[k * stride + o])", "exp_of(-3.0 * logs[k * stride + i])", "inverse actnorm: another channel's scale"),
        ("v.M[(k * C + o) * C + i] * bias", "v.W[(k * C + o) * C + i] * bias", "actnorm: bias without the scale"),
        ("v.actnorm_logdet[k] = sum * static_cast<double>(pixels)", "v.actnorm_logdet[k] = sum",
         "actnorm: log-determinant of one pixel"),
        ("v.mixing_logdet[k] *= static_cast<double>(pixels)", "v.mixing_logdet[k] *= 1.01 * static_cast<double>(pixels)",
         "mixing: log-determinant off by 1%"),
        ("r == c ? 1.0 :", "r == c ? 1.01 :", "LU: diagonal of L is 1.01"),
        ("const index_t r = static_cast<index_t>(f.permutation[fixed_at + o]);",
         "const index_t r = o + 0 * static_cast<index_t>(f.permutation[fixed_at + o]);", "LU: permutation forgotten"),
        ("sum += log_diag[k * stride + i];", "sum -= log_diag[k * stride + i];", "LU: sign of the log-determinant"),
        ("W_inverse[(k * C + i) * C + o] = entry", "W_inverse[(k * C + o) * C + i] = entry", "shuffle: inverse not transposed"),
        (": C - 1 - o;", ": o;", "reverse does nothing"),
        ("+ dlogdet * W_inverse[i * C + o]", "+ dlogdet * W_inverse[o * C + i]", "gradient of log|det W|: W^-1 not transposed"),
        ("dLU[static_cast<index_t>(permutation[o]) * C + i]", "dLU[o * C + i]", "LU gradient: permutation forgotten"),
        ("for (index_t j = c + 1; j < C; ++j) sum += dLU", "for (index_t j = c + 2; j < C; ++j) sum += dLU",
         "LU gradient of lower: a term is missing"),
        ("lu_diagonal(f, 0, 0, r) + dlogdet)", "lu_diagonal(f, 0, 0, r))", "LU gradient: log-determinant is missing"),
        ("3.0 * (s * GW + dlogdet)", "3.0 * s * GW", "actnorm gradient: log-determinant is missing"),
        ("3.0 * (s * GW + dlogdet)", "s * GW + dlogdet", "actnorm gradient: factor 3 is missing"),
        ("dMc[o * (C + 1) + C]) * bias[i];", "dMc[o * (C + 1) + C]) * 0.0 * bias[i];", "gradient of W: term of the bias is missing")),
    *of("kernels/network.cu",
        ("const double s = exp_of(3.0 * logs[o]);\n    return", "const double s = exp_of(2.97 * logs[o]);\n    return", "the networks' actnorm: exp(2.97 logs) in forward"),
        ("f.bias2_folded + network * f.bias_step", "f.bias2_folded + network * f.w", "the second biases of folded networks close together"),
        ("3.0 * s * ((sum", "3.0 * ((sum", "the networks' actnorm: gradient of logs without the scale"),
        ("(s * dc);\n        dlogs[o] += static_cast<real>(3.0 * s * ((", "(dc);\n        dlogs[o] += static_cast<real>(3.0 * s * ((", "the networks' actnorm: gradient of the bias"),
        ("f.w)(tap, c)", "f.w)(8 - tap, c)", "last convolution mirrored"),
        ("dmap[i] = select_or_zero(widen(map[i]) > 0,", "dmap[i] = select_or_zero(widen(map[i]) >= 0,", "relu'(0) = 1"),
        ("/ 3.0);", "/ 2.97);", "initialization of logs off by 1%"),
        ("2.0 * b * mean", "b * mean", "initialization: variance about the wrong mean")),
    *of("kernels/convolution.cu",
        ("round_to<Map>(taps >> tap & 1 ? 0.0 : 1.0)", "round_to<Map>(taps >> tap & 1 ? 1.0 : 0.0)", "edge channel 1 inside"),
        ("center[sign * ((kh - 1) * rows.W + kw - 1) * source_stride]", "center[-sign * ((kh - 1) * rows.W + kw - 1) * source_stride]",
         "im2col mirrored"),
        ("scale[c] = exp_of(3.0 * logs[c])", "scale[c] = exp_of(3.03 * logs[c])", "last convolution: exp(3.03 logs)"),
        ("static_cast<double>(value) + bias[c];", "static_cast<double>(value) - bias[c];", "last convolution: sign of the bias"),
        ("sum[1] += d * out[row * C + c];", "sum[1] += dpre * out[row * C + c];", "last convolution: gradient of logs"),
        ("const bool whole_row = y == 0 || y + 1 == H;\n            const index_t", "const bool whole_row = y == 0 || y + 2 == H;\n            const index_t", "edge gradient: last row of the image"),
        ("taps &= ~0x1c0u;", "taps &= ~0x180u;", "col2im: a tap from beyond the block of rows")),
    *of("kernels/classes.cu",
        ("sum * exp_of(3.0 * logs[j]));\n    }\n};\n\nstruct Maps", "sum * exp_of(logs[j]));\n    }\n};\n\nstruct Maps", "class prior: factor 3"),
        ("vectors[labels[n] * J + j];\n    }\n};\n\nstruct SumImages", "vectors[(labels[n] > 0 ? labels[n] - 1 : 0) * J + j];\n    }\n};\n\nstruct SumImages",
         "class prior: neighboring class"),
        ("labels[n] == k ? image_sums", "labels[n] != k ? image_sums", "class prior: gradient of all other classes"),
        ("? p - 1.0 : p", "? p - 1.01 : p", "cross-entropy: gradient off by 1%"),
        ("mean[n * C + c] = sum / static_cast<double>(pixels);", "mean[n * C + c] = sum;", "classifier: sum instead of mean"),
        ("(log_of(sum) - log_numerator) * 1.4426950408889634", "(log_of(sum) - log_numerator)", "cross-entropy in nats")),
    *of("kernels/optimizer.cu",
        ("(1.0 - step.beta1) * g;", "g;", "first moment without 1 - beta1"),
        ("denominator = second + 1e-8", "denominator = sqrt_of(second) + 1e-8", "adamax divides by the root"),
        ("(1.0 - step.beta2) * g * g", "(1.0 - step.beta2) * (g < 0.0 ? -g : g)", "adam: |g| instead of its square"),
        ("(1.0 - step.weight_decay) * w ", "w ", "no weight decay"),
        ("(w - ema) * step.ema_rate", "(w - ema) * 1.01 * step.ema_rate", "EMA off by 1%"),
        ("(bits + random16) >> 16", "(bits + 0x7fffu + (random16 & 0)) >> 16", "bf16: second moment rounded to the nearest value"),
        ("first / kSize + group", "group", "bf16: random numbers of a part begin anew"),
        ("if (!(*squares < HUGE_VAL)) return;", "", "fused update: what is not finite is taken up")),
    *of("inference/inference.cpp",
        ("largest_of_images(context, D, flow, largest + done)", "largest_of_images(context, D, flow, largest)",
         "how far the samples of a part lie goes to the first ones"),
        ("if (!std::isfinite(largest[n]))\n            cross_out", "if (std::isfinite(largest[n]))\n            cross_out",
         "the good samples are crossed out")),
    *of("inference/sample_sheet.cpp",
        ("        cross_out_not_finite(model, N, largest.data(), pixels.data());\n", "", "sheets show NaN as black")),
    *of("train/batch_prefetcher.cpp",
        ("    std::swap(current_memory_, following_memory_);\n", "", "the next batch is uploaded over the current one"),
        ("    following_.reset();\n", "", "the batch after a roll-back is the one uploaded before it"),
        ("    first_ += batch_;\n", "", "every batch is the first one")),
    *of("inference/bit_stack.cpp",
        ("if (head_ >> 32 >= range)", "if (head_ >> 32 > range)", "compression: a word comes back too early"),
        ("words_[i] != supply(supplied_ - 1 - i)", "words_[i] != words_[i]", "compression: any rest passes for the supply")),
    *of("inference/compressed_file.cpp",
        ("    hash = fingerprint(parameters.values(), bytes(parameters.size()), hash);\n", "",
         "compression: other weights have the same fingerprint")),
    *of("train/course.cpp",
        ("(1 - weight) * (loss_variance", "(loss_variance", "variance of the losses of the last steps"),
        ("course.steps < kKnown ? kEarlyJump : 0.0", "0.0", "early losses may not jump further")),
    *of("train/fused_update.cpp",
        ("fill(context_.place, range.count, 0.0f, gradient);", "", "fused update: the last layer's gradient is still there"),
        ("m + first, v + first", "m, v", "fused update: moments of other layers")),
    *of("kernels/permute.cu",
        ("out[1] = corner[C];\n        out[2] = corner[W * C];", "out[2] = corner[C];\n        out[1] = corner[W * C];",
         "squeeze: rows and columns exchanged"),
        ("to[row * 2 * half + c] = from[row * half + c];", "to[(row * 2 + 1) * half + c] = from[row * half + c];",
         "merge: the wrong half")),
    *of("kernels/dequantize.cu",
        ("return value <= 1e300 ? value : HUGE_VAL;", "return value;", "a sample that is NaN passes for an image"),
        ("(k + u) / (1 << n_bits)", "(k + u) / 255.0", "noise of a bin of 1/255"),
        ("philox_uniform(word) : 0.5", "philox_uniform(word) : 0.0", "center: the bin's lower end"),
        ("floor((h[i] + 0.5) * n_bins)", "floor((h[i] + 0.5) * n_bins + 0.5)", "quantize rounds")),
    *of("kernels/philox.h",
        ("key0 += 0x9E3779B9u", "key0 += 0x9E3779B1u", "Philox: a constant"),
        ("((word >> 8) + 0.5) * 0x1p-24", "(word >> 8) * 0x1p-24", "uniform numbers begin at 0")),
    *of("kernels/math.h",
        ("(t < 0.0 ? t : 0.0) - log1p_unit(e)", "(t < 0.0 ? t : 0.0) - e", "log sigmoid to first order")),
    *of("layers/actnorm_mixing.cpp",
        ("gradient.dlogp * static_cast<double>(rows)", "gradient.dlogp * static_cast<double>(shape_.pixels())",
         "gradient of the log-determinant for one image"),
        ("add_to_all(context.place, flow.N, values_.mixing_logdet, flow.logdet);", "", "log|det W| is not counted"),
        (".accumulate = first > 0}", ".accumulate = false}", "gradient of W: only the last block of rows")),
    *of("layers/coupling.cpp",
        ("flow.logdet + n,", "flow.logdet,", "log-determinants of a tile go to the first images"),
        ("real* const dh = gradient.dh + n * shape_.size();", "real* const dh = gradient.dh;", "gradient of the wrong tile")),
    *of("layers/network.cpp",
        ("weight3_.gradient() + w_, w_ + 1, partial", "weight3_.gradient() + w_ - 1, w_ + 1, partial",
         "edge gradient in the neighboring column"),
        ("relu_backward<Map>(place, rows, w_, hidden1, dhidden1, nullptr, nullptr);", "", "first relu without gradient"),
        ("col2im(place, block, in_, true, dcolumns, da, stride);", "col2im(place, block, in_, false, dcolumns, da, stride);",
         "gradient of the network's input with its taps not mirrored"),
        ("for (const bool second : {false, true})", "for (const bool second : {true, false})",
         "initialization: second hidden actnorm first")),
    *of("layers/prior.cpp",
        ("return {map_, map_ + C, shared_gaussian(C)};", "return {map_ + C, map_, shared_gaussian(C)};", "top prior: mean and logs exchanged"),
        ("if (learn_) map_backward", "if (learn_ && classes_ == 0) map_backward", "conditional: learned map without gradient")),
    *of("layers/split.cpp",
        ("interleaved_gaussian(C / 2), out, out + 1,", "interleaved_gaussian(C / 2), out + 1, out,", "split prior: mean and logs exchanged", 2),
        ("flow.prior + n,", "flow.prior,", "split prior of a tile goes to the first images"),
        ("col2im(context.place, block, layout, true, columns, dh, C);", "", "split prior: gradient does not reach a")),
    *of("layers/classifier.cpp",
        ("bias_.gradient(), logs_.gradient(), gradient.dh", "logs_.gradient(), bias_.gradient(), gradient.dh",
         "classifier: gradients of bias and logs exchanged")),
    *of("layers/glow.cpp",
        ("if (classifier_) classifier_->backward(context, flow, gradient);", "", "classifier without gradient"),
        ("config_.n_bits - log_density / (D * std::log(2.0))", "8 - log_density / (D * std::log(2.0))", "bits/dim of 8 bits always"),
        ("mixing.inverse(context, flow);\n    // From", "// From", "backward does not rebuild the input of a mixing")),
    *of("layers/parameters.cpp",
        ("double scale = 0.05;", "double scale = 0.0505;", "initial weights off by 1%"),
        ("W[r * C + r] < 0 ? real{-1} : real{1}", "W[r * C + r] < 0 ? real{1} : real{1}", "LU starts with positive signs")),
    *of("train/step.cpp",
        ("-1.0 / (D * std::log(2.0) * batch_size)", "-1.0 / (D * batch_size)", "loss in nats"),
        ("glow_.config().weight_y / batch_size}", "glow_.config().weight_y}", "cross-entropy summed over the batch"),
        ("-1.0 / (D * std::log(2.0) * batch_size)",
         "-1.0 / (D * std::log(2.0) * static_cast<double>(images.N))", "micro-batches: each is a mean"),
        ("std::min(1.0, options_.clip_norm / result.grad_norm)", "options_.clip_norm / result.grad_norm",
         "small gradients are scaled up to the clip norm"),
        ("fill(context_.place, glow_.parameters().size(), 0.0f, gradients_);", "", "gradients of the step before")),
    *of("train/schedule.cpp",
        ("std::sqrt(1.0 - std::pow(s.beta2, steps))", "(1.0 - std::pow(s.beta2, steps))", "bias correction without the root"),
        ("1.0 - 1.0 / static_cast<double>(s.steps_per_epoch)", "0.999", "beta2 does not follow the epoch"),
        ("static_cast<double>(t) * static_cast<double>(s.batch);", "static_cast<double>(t - 1) * static_cast<double>(s.batch);",
         "warm-up a step late"),
        ("return o.lr * lr_scale *", "return o.lr * (1.0 + 0.0 * lr_scale) *", "the learning rate is not lowered"),
        ("(1.0 - std::pow(s.ema_decay, steps))", "1.0", "EMA is not zero-debiased")),
    *of("train/diagnosis.cpp",
        ("all.begin() + (N - 1) / 2;", "all.begin() + (N - 1);", "jumps: the strangest image for the median")),
    *of("train/course.cpp",
        ("kDeviations * std::sqrt(course.loss_variance)", "kDeviations * course.loss_variance", "jumps: variance for deviation"),
        ("loss += weight * difference;", "loss += 0.5 * weight * difference;", "jumps: the mean lags")),
    *of("train/run.cpp",
        ("again ? course.rolled_back_to - 1 : t", "again ? t : t", "always back to the last checkpoint"),
        ("t > course.trouble_step + schedule_.steps_per_epoch", "t > course.trouble_step", "tries are counted anew at once"),
        ("evaluations_->drop_after(progress_.step);", "", "evaluations stay when the run goes back")),
    *of("train/run_folder.cpp",
        ("if (one.step > step) fs::remove(one.path, ignored);", "if (one.step > step + 1000) fs::remove(one.path, ignored);", "checkpoints of a past that went wrong stay"),
        ("if (step_of_row(line) <= last_step)", "if (step_of_row(line) <= last_step + 1)", "a row after the checkpoint stays")),
    *of("inference/inference.cpp",
        ("static_cast<std::uint64_t>(first + done)", "static_cast<std::uint64_t>(first)", "samples repeat"),
        ("static_cast<std::uint64_t>(part.offset / 4)", "0 * static_cast<std::uint64_t>(part.offset / 4)",
         "all latents of a sample share their noise"),
        ("scores.bits_per_dim[first + n]", "scores.bits_per_dim[n]", "likelihoods of the first images are overwritten"),
        ("static_cast<double>(count - 1) / static_cast<double>(count)", "static_cast<double>(count)", "standard error")),
    *of("data/training_images.cpp",
        ("(s + i) % set.N", "(s + i) % (set.N - 1)", "the last image is never seen")),
    *of("data/augment.cpp",
        ("flip ? W - 1 - shifted : shifted", "flip ? W - 1 - column : shifted", "flipped images are not shifted")),
    *of("data/synthetic_gauss.cpp",
        ("std::sqrt(1.0 - rho * rho)", "(1.0 - rho * rho)", "known entropy: variance of the recursion"),
        ("0.5 * (c - 1) / c * log_fresh(kGaussRhoC)", "0.5 * c / c * log_fresh(kGaussRhoC)", "known entropy: the first channel")),
]


class Copy:
    """A scratch copy of the sources and its build."""

    def __init__(self, folder, jobs, log):
        self.source, self.build, self.jobs, self.log = folder / "source", folder / "build", jobs, log
        self.broken = None
        folder.mkdir(parents=True, exist_ok=True)
        listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"], check=True,
                                stdout=subprocess.PIPE).stdout.decode().split("\0")
        for name in filter(None, listed):
            target = self.source / name
            if (ROOT / name).is_file() and not (target.exists() and target.read_bytes() == (ROOT / name).read_bytes()):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)  # a new time: what changed since an earlier run is built again
        options = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1", "-DGLOW_CUDA=OFF", "-DGLOW_MPI=OFF"]
        if shutil.which("ccache"):
            options.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
        subprocess.run(["cmake", "-S", self.source, "-B", self.build, "-G", "Ninja", *options], check=True, stdout=log,
                       stderr=log)

    def substitute(self, breakage):
        """Breaks the copy; False where the text does not stand there as often as it should."""
        path = self.source / breakage.file
        text = (ROOT / breakage.file).read_text()
        if text.count(breakage.old) != breakage.times:
            return False
        if self.broken not in (None, path):
            self.restore()
        path.write_text(text.replace(breakage.old, breakage.new))
        self.broken = path
        return True

    def restore(self):
        if self.broken:
            shutil.copy(ROOT / self.broken.relative_to(self.source), self.broken)
            self.broken = None

    def make(self, test):
        command = ["cmake", "--build", self.build, "--target", test, "-j", str(self.jobs)]
        return subprocess.run(command, stdout=self.log, stderr=self.log).returncode == 0

    def executable(self, test):
        return next(path for path in self.build.rglob(test) if path.is_file() and os.access(path, os.X_OK))

    def run(self, test, limit):
        """None if all passed, else the name of the first test that failed."""
        command = [self.executable(test), "--gtest_fail_fast", "--gtest_brief=1"]
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit,
                                  env=environment, errors="replace")
        except subprocess.TimeoutExpired:
            return f"{test} (no end)"
        if done.returncode == 0:
            return None
        failed = re.search(r"^\[  FAILED  \] ([^\s,]+)", done.stdout, re.MULTILINE)
        return failed.group(1) if failed else f"{test} (ended with {done.returncode})"


def try_one(copy, breakage, limit):
    """The verdict: the test that noticed, or why there is none, in capitals."""
    if not copy.substitute(breakage):
        return "TEXT NOT FOUND"
    for test in TESTS[str(Path(breakage.file).parent)]:
        if not copy.make(test):
            return "DOES NOT COMPILE"
        noticed = copy.run(test, limit)
        if noticed:
            return noticed
    return "SURVIVES"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, help="folder of the copy, kept; default: a temporary one, removed")
    parser.add_argument("--only", nargs="*", help="breakages whose file or description has one of these words")
    parser.add_argument("--jobs", type=int, default=2, help="compilers at once")
    parser.add_argument("--limit", type=float, default=600, help="seconds for a test executable")
    parser.add_argument("--check", action="store_true", help="only whether every text still stands in the sources")
    options = parser.parse_args()
    chosen = [b for b in BREAKAGES if not options.only or any(w in f"{b.file} {b.what}" for w in options.only)]
    if options.check:
        missing = [b for b in chosen if (ROOT / b.file).read_text().count(b.old) != b.times]
        for b in missing:
            print(f"{b.file}: no longer there: {b.what}: {b.old!r}")
        print(f"{len(chosen) - len(missing)} of {len(chosen)} breakages apply")
        return 1 if missing else 0

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.scratch or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "log.txt", "w") as log:
            copy = Copy(folder.resolve(), options.jobs, log)
            for test in dict.fromkeys(test for tests in TESTS.values() for test in tests):
                if not copy.make(test):
                    print(f"the sources do not compile: {test}; see {folder}/log.txt")
                    return 1
                failed = copy.run(test, options.limit)
                if failed:
                    print(f"unbroken, {failed} fails")
                    return 1
            print("| file | what is wrong | noticed by | s |\n|---|---|---|---|", flush=True)
            bad = 0
            for breakage in chosen:
                start = time.monotonic()
                verdict = try_one(copy, breakage, options.limit)
                bad += verdict.isupper()
                print(f"| {breakage.file} | {breakage.what} | {verdict} | {time.monotonic() - start:.0f} |", flush=True)
            copy.restore()
    print(f"\n{len(chosen)} breakages, {len(chosen) - bad} noticed, {bad} not")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

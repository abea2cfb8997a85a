"""compare_compression.py PROGRAMS CHECKPOINT DATA [LIMIT]: glow_compress on test images, by hand.

Compresses, decompresses, compares every pixel, and compares the file's size with the bits/dim of glow_eval on the same images
(--dequant-samples 4) and with the sizes of the same images as PNG and lossless WebP: a file for each image, and all images in one
sheet, which avoids the files' headers (Pillow; PNG at its highest compression, WebP at method 4).
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
from python_packages import require_packages

require_packages("h5py", "numpy", "PIL")
import h5py
import numpy as np
from PIL import Image


def run(program, *arguments):
    begin = time.time()
    out = subprocess.run([program, *map(str, arguments), "--json", "--quiet"], check=True, capture_output=True, text=True).stdout
    return json.loads(out), time.time() - begin


def size(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return len(buffer.getvalue())


def main():
    programs, checkpoint, data, limit = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int((sys.argv[4:] or [1000])[0])
    with h5py.File(data) as f:
        images = f["test/images"][:limit]
    values = images.size
    with tempfile.TemporaryDirectory() as folder:
        file, back = Path(folder) / "x.glow", Path(folder) / "x.h5"
        packed, pack_seconds = run(programs / "glow_compress", "--checkpoint", checkpoint, "--data", data, "--limit", limit, "-o", file)
        _, unpack_seconds = run(programs / "glow_decompress", "--checkpoint", checkpoint, file, "-o", back)
        with h5py.File(back) as f:
            exact = np.array_equal(f["images"][:], images)
        assert file.stat().st_size == packed["bytes"]
    reported, _ = run(programs / "glow_eval", "--bpd", "--checkpoint", checkpoint, "--data", data, "--limit", limit, "--dequant-samples", 4)
    net, bits = packed["bpd_without_start_up"], reported["bpd"]
    print(f"{len(images)} images, {values} values, weights of step {reported['step']}")
    print(f"every pixel back: {'yes' if exact else 'NO'}")
    print(f"glow_eval            {bits:.4f} bits/dim")
    print(f"file                 {packed['bytes']} bytes, {packed['bpd']:.4f} bits/dim")
    print(f"  of it start-up     {packed['start_up_bytes']} bytes")
    print(f"  without start-up   {net:.4f} bits/dim, {100 * (net / bits - 1):+.2f}% of the reported")
    rows = [("PNG", dict(format="PNG", optimize=True)), ("WebP", dict(format="WEBP", lossless=True, quality=100, method=4))]
    side = next(s for s in range(1, limit + 1) if s * s >= len(images))
    padded = np.concatenate([images, np.zeros((side * side - len(images), *images.shape[1:]), np.uint8)])
    H, W, C = images.shape[1:]
    sheet = Image.fromarray(padded.reshape(side, side, H, W, C).transpose(0, 2, 1, 3, 4).reshape(side * H, side * W, C))
    for name, options in rows:
        single = sum(size(Image.fromarray(image), **options) for image in images)
        together = size(sheet, **options)
        print(f"{name:<20} {single} bytes, {8 * single / values:.4f} bits/dim; all in one sheet {together} bytes, {8 * together / values:.4f}")
    print(f"seconds              {pack_seconds:.1f} to compress, {unpack_seconds:.1f} to decompress")
    return 0 if exact and abs(net / bits - 1) < 0.02 else 1


if __name__ == "__main__":
    sys.exit(main())

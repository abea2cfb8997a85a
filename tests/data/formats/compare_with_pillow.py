#!/usr/bin/env python3
"""Usage: compare_with_pillow.py FOLDER

Compares the pixels that write_pictures decoded with Pillow's, composited over black by Image.alpha_composite. They must be
equal with two exceptions. For 16-bit RGB(A) and gray with alpha, Pillow takes the high byte and we round: one gray level
apart, two after alpha. JPEG files may differ by two levels between versions of libjpeg.
"""

import struct
import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps


def chunks(data):
    at, found = 8, {}
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        found.setdefault(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    return found


def over_black(image):
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, image.convert("RGBA")))[..., :3].astype(int)


def png(path):
    """Pillow's RGB over black and the allowed difference; None if Pillow has too few bits for the file's color key."""
    parts = chunks(path.read_bytes())
    bits, color = parts[b"IHDR"][8], parts[b"IHDR"][9]
    image = Image.open(path)
    image.load()
    # Pillow compares the color key after reduction to 8 bits, which is wrong for other depths, so do it here.
    image.info.pop("transparency", None) if color != 3 else None
    key = parts.get(b"tRNS") if color in (0, 2) else None
    if color == 0:
        values = np.asarray(image if bits == 16 else image.convert("L")).astype(int)
        result = (values + 128) // 257 if bits == 16 else values
        if key is not None:
            scale = 1 if bits == 16 else 255 // (2**bits - 1)
            result = np.where(values == (int.from_bytes(key, "big") & (2**bits - 1)) * scale, 0, result)
        return np.repeat(result[..., None], 3, axis=2), 0
    if color == 2:
        if key is not None and bits == 16:
            return None, 0
        result = np.asarray(image.convert("RGB")).astype(int)
        if key is not None:
            result = np.where((result == np.frombuffer(key, ">u2")).all(axis=2)[..., None], 0, result)
        return result, int(bits == 16)
    return over_black(image), 2 * (bits == 16)


def tiff(path):
    """As png(); loading turns the picture. Of 16 bits, Pillow does not read some layouts, reads planes wrongly and does not
    invert gray. Our premultiplied samples are above their alpha."""
    deep = "16_" in path.name
    if path.name.startswith("premultiplied") or (deep and path.name.startswith(("white", "planar"))):
        return None, 0
    try:
        image = Image.open(path)
        image.load()
    except (OSError, ValueError):
        return None, 0
    if image.mode.startswith("I"):
        return np.repeat(((np.asarray(image).astype(int) + 128) // 257)[..., None], 3, axis=2), 0
    alpha = image.mode in ("RGBA", "LA", "PA")
    tolerance = {"rgb_jpeg": 2, "cmyk": 1}.get(path.stem, (2 if alpha else 1) * deep)
    return over_black(image if alpha else image.convert("RGB")), tolerance


def main():
    compared, apart, left_out, worst = 0, [], 0, 0
    for path in sorted(Path(sys.argv[1]).iterdir()):
        if path.suffix == ".raw":
            continue
        head, _, pixels = Path(f"{path}.raw").read_bytes().partition(b"\n")
        ours = np.frombuffer(pixels, np.uint8).reshape(*map(int, head.split()), 3).astype(int)
        if path.suffix == ".png":
            theirs, tolerance = png(path)
        elif path.suffix in (".webp", ".gif"):
            theirs, tolerance = over_black(ImageOps.exif_transpose(Image.open(path))), 0
        elif path.suffix == ".tif":
            theirs, tolerance = tiff(path)
        else:
            theirs, tolerance = np.asarray(Image.open(path).convert("RGB")).astype(int), 2
        if theirs is None:
            left_out += 1
            continue
        compared += 1
        if theirs.shape != ours.shape:
            apart.append(f"{path.name}: {ours.shape}, Pillow {theirs.shape}")
            continue
        difference = int(np.abs(ours - theirs).max())
        worst = max(worst, difference)
        if difference > tolerance:
            apart.append(f"{path.name}: {difference} gray levels apart")
    print(f"Pillow {PIL.__version__}: {compared} files compared, {left_out} left out, at most {worst} gray levels apart")
    print("".join(f"FAILED: {line}\n" for line in apart), end="")
    return 1 if apart or compared < 900 else 0


if __name__ == "__main__":
    sys.exit(main())

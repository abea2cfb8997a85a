"""Glow in PyTorch: prints the bits/dim of each image, like `glow_eval --dequant center`.

    python3 glow_torch.py MODEL IMAGES.npy

MODEL comes from `glow_convert --to npz` (or `--to safetensors`). IMAGES.npy holds uint8 [N, H, W, C]. Prints one number per line.
Class-conditional models need labels: import Glow and call bits_per_dim(pixels, labels).
"""
import json, math, os, sys
if __name__ == "__main__":
    if len(sys.argv) != 3 or {"-h", "--help"} & set(sys.argv):
        asked = {"-h", "--help"} & set(sys.argv)
        print(__doc__.strip(), file=sys.stdout if asked else sys.stderr)
        sys.exit(0 if asked else 2)
    # If this python3 lacks PyTorch, restart with one that has it. Optional: this file also works alone.
    sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../tools"))
    try:
        from python_packages import require_packages
    except ImportError:
        pass
    else:
        require_packages("numpy", "torch", *["safetensors"] * sys.argv[1].endswith(".safetensors"))
import numpy as np, torch, torch.nn.functional as F

class Glow:
    def __init__(self, path):
        if path.endswith(".npz"):
            tensors = dict(np.load(path))
            self.config = json.loads(str(tensors.pop("config")))
        else:
            from safetensors import safe_open
            with safe_open(path, "np") as file:
                self.config, tensors = json.loads(file.metadata()["config"]), {n: file.get_tensor(n) for n in file.keys()}
        self.p = {n: torch.tensor(v, dtype=torch.float64 if v.dtype == np.float32 else torch.long) for n, v in tensors.items()}

    def scaled(self, h, name):
        return (h + self.p[name + "/bias"]) * torch.exp(3 * self.p[name + "/logs"])

    def conv(self, x, name):  # channels last; the last input channel is 1 where a 3x3 filter leaves the image
        w, pad = self.p[name + "/weight"].permute(0, 3, 1, 2), [self.p[name + "/weight"].shape[1] // 2] * 4
        edge = F.pad(x.new_zeros(len(x), w.shape[1] - x.shape[3], *x.shape[1:3]), pad, value=1)
        return F.conv2d(torch.cat([F.pad(x.permute(0, 3, 1, 2), pad), edge], 1), w).permute(0, 2, 3, 1)

    def mixing(self, name, C):  # W and log |det W|
        p, eye = {n.split("/")[-1]: v for n, v in self.p.items() if n.startswith((name + "/inv", name + "/shuf"))}, torch.eye(C).double()
        if "weight" in p:
            return p["weight"], torch.linalg.slogdet(p["weight"])[1]
        if "lower" in p:
            upper = p["upper"] + torch.diag(p["sign"] * torch.exp(p["log_diag"]))
            return ((p["lower"] + eye) @ upper)[p["permutation"]], p["log_diag"].sum()
        return eye[p["indices"] if "indices" in p else torch.arange(C).flip(0)], 0.0

    def gauss(self, z, mean, logs):
        return (-0.5 * math.log(2 * math.pi) - logs - 0.5 * ((z - mean) * torch.exp(-logs)) ** 2).sum((1, 2, 3))

    def log_prob(self, x, labels=None):  # x [N, H, W, C] in -1/2 .. 1/2: nats, [N]
        c, total = self.config, 0
        for level in range(c["levels"]):
            x = F.pixel_unshuffle(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)  # squeeze
            for name in (f"level{level}/step{k}" for k in range(c["depth"])):
                W, logdet = self.mixing(name, x.shape[3])
                x, net = self.scaled(x, name + "/actnorm") @ W.T, name + "/coupling"
                total = total + x.shape[1] * x.shape[2] * (logdet + 3 * self.p[name + "/actnorm/logs"].sum())
                h, b = x.chunk(2, 3)
                for conv in ("/conv1", "/conv2"):
                    h = F.relu(self.scaled(self.conv(h, net + conv), net + conv + "/actnorm"))
                h = self.scaled(self.conv(h, net + "/conv3"), net + "/conv3")
                if c["coupling"] == "affine":
                    bounded = c.get("coupling_scale", "sigmoid") == "tanh"
                    log_scale = 2 * torch.tanh(h[..., 1::2] / 2) if bounded else F.logsigmoid(h[..., 1::2] + 2)
                    total = total + log_scale.sum((1, 2, 3))
                    b = (b + h[..., ::2]) * torch.exp(log_scale)
                else:
                    b = b + h
                x = torch.cat([x.chunk(2, 3)[0], b], 3)
            if level + 1 < c["levels"]:
                x, b = x.chunk(2, 3)
                h = self.scaled(self.conv(x, f"level{level}/split"), f"level{level}/split")
                total = total + self.gauss(b, h[..., ::2], h[..., 1::2])
        C, h = x.shape[3], x.new_zeros(*x.shape[:3], 2 * x.shape[3])
        if c["learn_top"]:
            h = self.scaled(self.conv(x[..., :0], "prior/top") if c["edge_bias"] else h, "prior/top")
        if c["y_cond"]:
            h = h + self.scaled(self.p["prior/class/weight"][labels], "prior/class")[:, None, None]
        return total + self.gauss(x, h[..., :C], h[..., C:])

    def bits_per_dim(self, pixels, labels=None):  # uint8 [N, H, W, C]
        bits, pixels = self.config["n_bits"], torch.as_tensor(pixels)
        if pixels.dtype != torch.uint8:
            raise ValueError(f"the images must be uint8, but they are {pixels.dtype}")
        x = (torch.div(pixels.long(), 2 ** (8 - bits), rounding_mode="floor") + 0.5).double() / 2**bits - 0.5
        return bits - self.log_prob(x, labels) / (x[0].numel() * math.log(2))

if __name__ == "__main__":
    try:
        print(*Glow(sys.argv[1]).bits_per_dim(np.load(sys.argv[2])).tolist(), sep="\n")
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        sys.exit(print(f"glow_torch.py: error: {sys.argv[1]} and {sys.argv[2]}: {error}", file=sys.stderr) or 2)

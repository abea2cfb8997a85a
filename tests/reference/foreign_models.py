"""Glow models with the tensor names and arithmetic of other programs, in PyTorch, for the test of glow_convert. Written from the
programs' published descriptions. Every model is channels first, takes x in its own range, and returns log p in nats per image as
a density of that x.

They differ in the padding of the last convolutions (ones or zeros), biases or actnorms after hidden ones, the order of a
network's outputs, scales (exp(logs) or exp(3 logs)), how a 1x1 convolution is stored, and the range of pixels.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def log_normal(z, mean, logs):
    return (-0.5 * math.log(2 * math.pi) - logs - 0.5 * (z - mean) ** 2 * torch.exp(-2 * logs)).sum((1, 2, 3))


def squeeze(x):
    N, C, H, W = x.shape
    return x.view(N, C, H // 2, 2, W // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(N, 4 * C, H // 2, W // 2)


def factors(C):
    """p, l, sign, log |d|, u of a random matrix far from singular."""
    W = torch.linalg.qr(torch.randn(C, C))[0] + 0.1 * torch.randn(C, C)
    p, lower, upper = torch.linalg.lu(W) if hasattr(torch.linalg, "lu") else torch.lu_unpack(*torch.lu(W))
    d = upper.diag()
    return p, lower, d.sign(), d.abs().log(), upper.triu(1)


def randomise(model, scale=0.1):
    """Every parameter moved, so that no two tensors look alike and none is 0."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            parameter.add_(noise * (scale / math.sqrt(parameter[0].numel()) if parameter.dim() == 4 else scale / 2))
    return model.double().eval()


# --- rosinality/glow-pytorch --------------------------------------------------------------------------------------


class RosinalityActNorm(nn.Module):
    def __init__(self, C, negative):
        super().__init__()
        scale = torch.exp(0.2 * torch.randn(1, C, 1, 1))
        if negative:
            scale[:, ::3] *= -1
        self.loc, self.scale = nn.Parameter(0.1 * torch.randn(1, C, 1, 1)), nn.Parameter(scale)
        self.register_buffer("initialized", torch.tensor(1, dtype=torch.uint8))

    def forward(self, x):
        return self.scale * (x + self.loc), x.shape[2] * x.shape[3] * self.scale.abs().log().sum()


class RosinalityInvConv(nn.Module):
    def __init__(self, C):
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(C, C))[0][..., None, None])

    def matrix(self):
        return self.weight

    def forward(self, x):
        W = self.matrix()
        return F.conv2d(x, W), x.shape[2] * x.shape[3] * torch.linalg.slogdet(W[..., 0, 0])[1]


class RosinalityInvConvLU(RosinalityInvConv):
    def __init__(self, C):
        nn.Module.__init__(self)
        p, lower, sign, log_s, upper = factors(C)
        for name, value in (("w_p", p), ("u_mask", torch.ones(C, C).triu(1)), ("l_mask", torch.ones(C, C).tril(-1)),
                            ("s_sign", sign), ("l_eye", torch.eye(C))):
            self.register_buffer(name, value)
        self.w_l, self.w_s, self.w_u = nn.Parameter(lower), nn.Parameter(log_s), nn.Parameter(upper)

    def matrix(self):
        upper = self.w_u * self.u_mask + torch.diag(self.s_sign * torch.exp(self.w_s))
        return (self.w_p @ (self.w_l * self.l_mask + self.l_eye) @ upper)[..., None, None]


class RosinalityZeroConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv, self.scale = nn.Conv2d(inputs, outputs, 3), nn.Parameter(torch.zeros(1, outputs, 1, 1))

    def forward(self, x):
        return self.conv(F.pad(x, [1, 1, 1, 1], value=1)) * torch.exp(self.scale * 3)


class RosinalityCoupling(nn.Module):
    def __init__(self, C, width, affine):
        super().__init__()
        self.affine = affine
        self.net = nn.Sequential(nn.Conv2d(C // 2, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(),
                                 RosinalityZeroConv(width, C if affine else C // 2))

    def forward(self, x):
        a, b = x.chunk(2, 1)
        if not self.affine:
            return torch.cat([a, b + self.net(a)], 1), 0.0
        log_s, t = self.net(a).chunk(2, 1)
        s = torch.sigmoid(log_s + 2)
        return torch.cat([a, (b + t) * s], 1), s.log().sum((1, 2, 3))


class RosinalityFlow(nn.Module):
    def __init__(self, C, width, affine, lu, negative):
        super().__init__()
        self.actnorm = RosinalityActNorm(C, negative)
        self.invconv = RosinalityInvConvLU(C) if lu else RosinalityInvConv(C)
        self.coupling = RosinalityCoupling(C, width, affine)


class RosinalityBlock(nn.Module):
    def __init__(self, C, depth, split, width, affine, lu, negative):
        super().__init__()
        self.flows = nn.ModuleList(RosinalityFlow(C, width, affine, lu, negative) for _ in range(depth))
        self.split = split
        self.prior = RosinalityZeroConv(C // 2, C) if split else RosinalityZeroConv(C, 2 * C)


class Rosinality(nn.Module):
    offset = 0.0  # x in -1/2 .. 1/2

    def __init__(self, levels=2, depth=2, width=8, channels=3, affine=True, lu=True, negative=False):
        super().__init__()
        self.blocks, C = nn.ModuleList(), 4 * channels
        for level in range(levels):
            split = level + 1 < levels
            # Their last block is made without the option, so it always has LU factors.
            self.blocks.append(RosinalityBlock(C, depth, split, width, affine, lu or not split, negative))
            C *= 2

    def log_prob(self, x, labels=None):
        total = 0
        for block in self.blocks:
            x = squeeze(x)
            for flow in block.flows:
                for layer in (flow.actnorm, flow.invconv, flow.coupling):
                    x, logdet = layer(x)
                    total = total + logdet
            if block.split:
                x, z = x.chunk(2, 1)
                mean, logs = block.prior(x).chunk(2, 1)
            else:
                z, (mean, logs) = x, block.prior(torch.zeros_like(x)).chunk(2, 1)
            total = total + log_normal(z, mean, logs)
        return total


# --- y0ast/Glow-PyTorch and chaiyujin/glow-pytorch ----------------------------------------------------------------


class ActNorm(nn.Module):
    def __init__(self, C):
        super().__init__()
        self.bias, self.logs = nn.Parameter(torch.zeros(1, C, 1, 1)), nn.Parameter(torch.zeros(1, C, 1, 1))

    def forward(self, x):
        return (x + self.bias) * torch.exp(self.logs), x.shape[2] * x.shape[3] * self.logs.sum()


class HeldConv(nn.Module):  # y0ast: block.0.conv.weight, block.0.actnorm.bias
    def __init__(self, inputs, outputs, size):
        super().__init__()
        self.conv, self.actnorm = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), ActNorm(outputs)

    def forward(self, x):
        return self.actnorm(self.conv(x))[0]


class OwnConv(nn.Conv2d):  # chaiyujin: f.0.weight, f.0.actnorm.bias
    def __init__(self, inputs, outputs, size):
        super().__init__(inputs, outputs, size, padding=size // 2, bias=False)
        self.actnorm = ActNorm(outputs)

    def forward(self, x):
        return self.actnorm(super().forward(x))[0]


class HeldZeroConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv, self.logs = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x):
        return self.conv(x) * torch.exp(self.logs * 3)


class OwnZeroConv(nn.Conv2d):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, 3, padding=1)
        self.logs = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x):
        return super().forward(x) * torch.exp(self.logs * 3)


class HeldLinear(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear, self.logs = nn.Linear(inputs, outputs), nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return self.linear(x) * torch.exp(self.logs * 3)


class OwnLinear(nn.Linear):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.logs = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return super().forward(x) * torch.exp(self.logs * 3)


class HeldInvConv(nn.Module):  # y0ast: all factors are in the state dict
    lower_name, upper_name = "lower", "upper"

    def __init__(self, C, lu):
        super().__init__()
        if not lu:
            self.weight = nn.Parameter(torch.linalg.qr(torch.randn(C, C))[0])
            return
        p, lower, sign, log_s, upper = factors(C)
        self.keep("p", p)
        self.keep("sign_s", sign)
        for name, value in ((self.lower_name, lower), ("log_s", log_s), (self.upper_name, upper)):
            self.register_parameter(name, nn.Parameter(value))

    def keep(self, name, value):
        self.register_buffer(name, value)

    def matrix(self):
        if hasattr(self, "weight"):
            return self.weight
        lower, upper = getattr(self, self.lower_name), getattr(self, self.upper_name)
        p, sign = self.p.to(lower.dtype), self.sign_s.to(lower.dtype)
        eye = torch.eye(len(lower), dtype=lower.dtype)
        return p @ (lower.tril(-1) + eye) @ (upper.triu(1) + torch.diag(sign * torch.exp(self.log_s)))

    def forward(self, x):
        W = self.matrix()
        return F.conv2d(x, W[..., None, None]), x.shape[2] * x.shape[3] * torch.linalg.slogdet(W)[1]


class OwnInvConv(HeldInvConv):  # chaiyujin: p and sign_s are attributes, which no state dict holds
    lower_name, upper_name = "l", "u"

    def keep(self, name, value):
        setattr(self, name, value)


class Step(nn.Module):
    def __init__(self, C, width, affine, permutation, conv, zero_conv, inv_conv, net_name):
        super().__init__()
        self.affine, self.net_name = affine, net_name
        self.actnorm = ActNorm(C)
        if permutation != "reverse":
            self.invconv = inv_conv(C, permutation == "lu")
        net = nn.Sequential(conv(C // 2, width, 3), nn.ReLU(), conv(width, width, 1), nn.ReLU(),
                            zero_conv(width, C if affine else C // 2))
        self.add_module(net_name, net)

    def forward(self, x):
        x, total = self.actnorm(x)
        if hasattr(self, "invconv"):
            x, logdet = self.invconv(x)
            total = total + logdet
        else:
            x = x.flip(1)
        a, b = x.chunk(2, 1)
        h = getattr(self, self.net_name)(a)
        if not self.affine:
            return torch.cat([a, b + h], 1), total
        scale = torch.sigmoid(h[:, 1::2] + 2)
        return torch.cat([a, (b + h[:, 0::2]) * scale], 1), total + scale.log().sum((1, 2, 3))


class SplitLayer(nn.Module):
    def __init__(self, C, zero_conv):
        super().__init__()
        self.conv = zero_conv(C // 2, C)


class SqueezeLayer(nn.Module):
    pass


class Flow(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)


class Y0ast(nn.Module):
    offset, conv, zero_conv, linear, net_name, top_name = 0.0, HeldConv, HeldZeroConv, HeldLinear, "block", "learn_top_fn"
    inv_conv = HeldInvConv

    def __init__(self, levels=2, depth=2, width=8, channels=3, affine=True, permutation="lu", learn_top=True, classes=0):
        super().__init__()
        layers, C = [], 4 * channels
        for level in range(levels):
            layers.append(SqueezeLayer())
            layers += [Step(C, width, affine, permutation, self.conv, self.zero_conv, self.inv_conv, self.net_name) for _ in range(depth)]
            if level + 1 < levels:
                layers.append(SplitLayer(C, self.zero_conv))
                C *= 2
        self.flow, self.classes = Flow(layers), classes
        if learn_top:
            self.add_module(self.top_name, self.zero_conv(2 * C, 2 * C))
        if classes:
            self.project_ycond, self.project_class = self.linear(classes, 2 * C), self.linear(C, classes)
        self.register_buffer("prior_h", torch.zeros(1, 2 * C, 4, 4))

    def log_prob(self, x, labels=None):
        total = 0
        for layer in self.flow.layers:
            if isinstance(layer, SqueezeLayer):
                x = squeeze(x)
            elif isinstance(layer, Step):
                x, logdet = layer(x)
                total = total + logdet
            else:
                x, z = x.chunk(2, 1)
                h = layer.conv(x)
                total = total + log_normal(z, h[:, 0::2], h[:, 1::2])
        h = x.new_zeros(len(x), 2 * x.shape[1], *x.shape[2:])
        if hasattr(self, self.top_name):
            h = getattr(self, self.top_name)(h)
        if self.classes:
            h = h + self.project_ycond(F.one_hot(labels, self.classes).to(x.dtype))[..., None, None]
        mean, logs = h.chunk(2, 1)
        return total + log_normal(x, mean, logs)


class Chaiyujin(Y0ast):
    offset = 0.5  # x in 0 .. 1
    conv, zero_conv, linear, net_name, top_name = OwnConv, OwnZeroConv, OwnLinear, "f", "learn_top"
    inv_conv = OwnInvConv

    def attributes(self):
        """{name: tensor} of what its state dict lacks."""
        return {f"{at}.{name}": getattr(layer, name) for at, layer in self.named_modules() if isinstance(layer, OwnInvConv) and hasattr(layer, "p")
                for name in ("p", "sign_s")}


# --- openai/glow: variables by name, channels last, y = x W -------------------------------------------------------


class OpenAI:
    """Not a module: {name: array} and the arithmetic on it."""

    offset = 0.0

    def __init__(self, levels=2, depth=2, width=8, channels=3, affine=True, permutation="invconv", learn_top=True, classes=0,
                 classifier=False):
        """permutation: invconv, lu, shuffle or reverse."""
        self.levels, self.depth, self.affine, self.classes, self.permutation = levels, depth, affine, classes, permutation
        self.v, C = {}, 4 * channels
        for level in range(levels):
            for step in range(depth):
                at = f"model/{level}/{step}"
                self.actnorm_variables(at, C)
                if permutation == "lu":
                    p, lower, sign, log_s, upper = factors(C)
                    self.v |= {f"{at}/invconv/P": p, f"{at}/invconv/L": lower, f"{at}/invconv/sign_S": sign,
                               f"{at}/invconv/log_S": log_s, f"{at}/invconv/U": upper}
                elif permutation == "shuffle":
                    indices = torch.randperm(C)
                    self.v |= {f"{at}/shuffle/indices": indices.int(), f"{at}/shuffle/indices_inverse": indices.argsort().int()}
                elif permutation == "invconv":
                    self.v[f"{at}/invconv/W"] = torch.linalg.qr(torch.randn(C, C))[0]
                self.conv_variables(f"{at}/f1/l_1", 3, C // 2 + 1, width)
                self.actnorm_variables(f"{at}/f1/l_1", width)
                self.conv_variables(f"{at}/f1/l_2", 1, width, width)
                self.actnorm_variables(f"{at}/f1/l_2", width)
                self.zeros_variables(f"{at}/f1/l_last", 3, width + 1, C if affine else C // 2)
            if level + 1 < levels:
                self.zeros_variables(f"model/pool{level}/conv", 3, C // 2 + 1, C)
                C *= 2
        if learn_top:
            self.zeros_variables("model/prior/p", 3, 2 * C + 1, 2 * C)
        if classes:
            self.zeros_variables("model/prior/y_emb", 0, classes, 2 * C)
        if classifier:
            self.zeros_variables("model/classifier", 0, C, classes)
        self.v = {name: value.double() if value.is_floating_point() else value for name, value in self.v.items()}

    def conv_variables(self, at, size, inputs, outputs):
        shape = (size, size, inputs, outputs) if size else (inputs, outputs)
        self.v[f"{at}/W"] = torch.randn(shape) * 0.5 / math.sqrt(inputs * max(size, 1) ** 2)

    def zeros_variables(self, at, size, inputs, outputs):
        self.conv_variables(at, size, inputs, outputs)
        shape = (1, 1, 1, outputs) if size else (1, outputs)
        self.v[f"{at}/b"], self.v[f"{at}/logs"] = 0.1 * torch.randn(shape), 0.05 * torch.randn(1, outputs)

    def actnorm_variables(self, at, C):
        self.v[f"{at}/actnorm_center/b"] = 0.1 * torch.randn(1, 1, 1, C)
        self.v[f"{at}/actnorm_scale/logs"] = 0.05 * torch.randn(1, 1, 1, C)

    def state_dict(self):
        return {f"{name}:0": value for name, value in self.v.items()}

    def actnorm(self, x, at):
        logs = 3 * self.v[f"{at}/actnorm_scale/logs"]
        return (x + self.v[f"{at}/actnorm_center/b"]) * torch.exp(logs), x.shape[1] * x.shape[2] * logs.sum()

    def conv(self, x, at):  # [N, H, W, C]; 3x3 filters see a channel that is 1 outside the image
        W = self.v[f"{at}/W"]
        if W.shape[0] == 3:
            edge = F.pad(x.new_zeros(len(x), *x.shape[1:3], 1), [0, 0, 1, 1, 1, 1], value=1)
            x = torch.cat([F.pad(x, [0, 0, 1, 1, 1, 1]), edge], 3)
        return F.conv2d(x.permute(0, 3, 1, 2), W.permute(3, 2, 0, 1)).permute(0, 2, 3, 1)

    def zeros(self, x, at):
        h = self.conv(x, at) if self.v[f"{at}/W"].dim() == 4 else x @ self.v[f"{at}/W"]
        return (h + self.v[f"{at}/b"]) * torch.exp(3 * self.v[f"{at}/logs"])

    def mixing(self, at):
        C = self.v[f"{at.removesuffix('/invconv')}/actnorm_center/b"].numel()
        if self.permutation == "reverse":
            return torch.eye(C, dtype=torch.float64).flip(1)
        if self.permutation == "shuffle":  # x W picks x[indices]
            return torch.eye(C, dtype=torch.float64)[:, self.v[f"{at.removesuffix('/invconv')}/shuffle/indices"].long()]
        if f"{at}/W" in self.v:
            return self.v[f"{at}/W"]
        v = {name: self.v[f"{at}/{name}"] for name in ("P", "L", "sign_S", "log_S", "U")}
        return v["P"] @ (v["L"].tril(-1) + torch.eye(len(v["P"]))) @ (v["U"].triu(1) + torch.diag(v["sign_S"] * torch.exp(v["log_S"])))

    def log_prob(self, x, labels=None):
        x, total = x.permute(0, 2, 3, 1), 0
        for level in range(self.levels):
            x = squeeze(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            for step in range(self.depth):
                at = f"model/{level}/{step}"
                x, logdet = self.actnorm(x, at)
                W = self.mixing(f"{at}/invconv")
                x, total = x @ W, total + logdet + x.shape[1] * x.shape[2] * torch.linalg.slogdet(W)[1]
                a, b = x.chunk(2, 3)
                h = F.relu(self.actnorm(self.conv(a, f"{at}/f1/l_1"), f"{at}/f1/l_1")[0])
                h = F.relu(self.actnorm(self.conv(h, f"{at}/f1/l_2"), f"{at}/f1/l_2")[0])
                h = self.zeros(h, f"{at}/f1/l_last")
                if self.affine:
                    scale = torch.sigmoid(h[..., 1::2] + 2)
                    b, total = (b + h[..., 0::2]) * scale, total + scale.log().sum((1, 2, 3))
                else:
                    b = b + h
                x = torch.cat([a, b], 3)
            if level + 1 < self.levels:
                x, z = x.chunk(2, 3)
                h = self.zeros(x, f"model/pool{level}/conv")
                total = total + log_normal(z, h[..., 0::2], h[..., 1::2])
        h = x.new_zeros(*x.shape[:3], 2 * x.shape[3])
        if "model/prior/p/W" in self.v:
            h = self.zeros(h, "model/prior/p")
        if self.classes:
            h = h + self.zeros(F.one_hot(labels, self.classes).to(x.dtype), "model/prior/y_emb")[:, None, None]
        mean, logs = h.chunk(2, 3)
        return total + log_normal(x, mean, logs)

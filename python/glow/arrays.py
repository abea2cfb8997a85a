"""Conversion of the caller's arrays and of results: NumPy, PyTorch, JAX, CuPy, and other types that NumPy or DLPack reads."""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable, Sequence

import numpy as np

from . import _extension
from ._extension import DeviceArray

_CUDA = 2  # DLPack's device type kDLCUDA
_DIRECT = (np.dtype("u1"), np.dtype("f4"), np.dtype("f8"))


def library_of(x: Any) -> str:
    """"torch", "jax" or "cupy" for their arrays and subclasses of those, otherwise "numpy"."""
    for base in type(x).__mro__:
        module = base.__module__.split(".", 1)[0]
        if module in ("torch", "jax", "cupy"):
            return module
        if module == "jaxlib":
            return "jax"
    return "numpy"


class Caller:
    """Array library and device of an argument, to which results are converted."""

    def __init__(self, like: Any = None) -> None:
        self.kind = library_of(like)
        self.device = like.device if self.kind == "torch" else None
        if self.kind == "jax":
            self.device = next(iter(like.devices())) if hasattr(like, "devices") else None

    def result(self, values: np.ndarray | DeviceArray) -> Any:
        """values as an array of the caller's library on its device, without a copy if they are already there."""
        if self.kind == "numpy":
            return values
        if self.kind == "torch":
            import torch

            if isinstance(values, DeviceArray):
                return torch.from_dlpack(values)
            return torch.from_numpy(values).to(self.device)
        if self.kind == "jax":
            import jax

            if isinstance(values, DeviceArray):
                return jax.dlpack.from_dlpack(values)
            return jax.device_put(values, self.device)
        import cupy

        return cupy.from_dlpack(values) if isinstance(values, DeviceArray) else cupy.asarray(values)


def device_of(x: Any) -> tuple[int, int] | None:
    """DLPack's (device type, device id) of x; None if x does not support DLPack."""
    method = getattr(x, "__dlpack_device__", None)
    if method is None:
        return None
    try:
        kind, number = method()
        return int(kind), int(number)
    except Exception:  # not exportable, such as a sparse tensor
        return None


def _detached(x: Any, name: str) -> Any:
    if library_of(x) != "torch":
        return x
    import torch

    nested = getattr(x, "is_nested", False)  # PyTorch 1.13
    if x.layout != torch.strided or nested:
        raise ValueError(f"{name} must be a dense tensor, got {'a nested one' if nested else x.layout}")
    return x.detach().as_subclass(torch.Tensor)  # a subclass may return itself from every method


def wants_gradient(x: Any) -> bool:
    """Whether PyTorch records operations on x to differentiate them. Raises ValueError for its forward mode."""
    if library_of(x) != "torch":
        return False
    import torch

    if torch.autograd.forward_ad.unpack_dual(x).tangent is not None:  # it would count as 0
        raise ValueError("x: derivatives in forward mode are not implemented: use backward() or torch.autograd.grad()")
    return torch.is_grad_enabled() and x.requires_grad


def differentiable(x: Any, values_and_gradient: Callable[[], tuple[Any, Any]]) -> Any:
    """Calls values_and_gradient() and returns its values [N], with its gradient as their derivative with respect to x."""
    return _torch_function().apply(x, values_and_gradient)


@functools.lru_cache(maxsize=None)
def _torch_function() -> Any:
    import torch

    class ValuesWithGradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, values_and_gradient: Callable[[], tuple[Any, Any]]) -> Any:
            values, gradient = values_and_gradient()
            ctx.save_for_backward(x, gradient)
            return values

        @staticmethod
        def backward(ctx: Any, upstream: Any) -> Any:
            x, gradient = ctx.saved_tensors
            return _once(lambda: (upstream.view(-1, 1, 1, 1) * gradient).to(x.dtype), x, upstream), None

    return ValuesWithGradient


def _once(derivative: Callable[[], Any], *of: Any) -> Any:
    """derivative(), a function of these tensors that PyTorch refuses to differentiate. With its own once_differentiable, the
    derivative would often count as a constant: 0 in a Hessian or in the gradient of a penalty."""
    import torch

    return _torch_function_without_derivative().apply(derivative, *of) if torch.is_grad_enabled() else derivative()


@functools.lru_cache(maxsize=None)
def _torch_function_without_derivative() -> Any:
    import torch

    class WithoutDerivative(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Callable[[], Any], *of: Any) -> Any:
            return values()

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> Any:
            raise RuntimeError("log_prob(), bits_per_dim() and encode() of a glow.Model cannot be differentiated twice")

    return WithoutDerivative


def differentiable_parts(
    x: Any, values: Callable[[], tuple[Any, ...]], gradient: Callable[[Any, Sequence[Any]], Any]
) -> tuple[Any, ...]:
    """Calls values() and returns its tensors. gradient(x, upstream) gives the derivative of their product with upstream."""
    return _torch_function_of_parts().apply(x, values, gradient)


@functools.lru_cache(maxsize=None)
def _torch_function_of_parts() -> Any:
    import torch

    class PartsWithGradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, values: Callable[[], tuple[Any, ...]], gradient: Callable[..., Any]) -> Any:
            ctx.save_for_backward(x)  # refuses an x that was changed meanwhile
            ctx.gradient = gradient
            return values()

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> Any:
            (x,) = ctx.saved_tensors
            return _once(lambda: ctx.gradient(x, upstream).to(x.dtype), x, *upstream), None, None

    return PartsWithGradient


def _on_gpu(x: Any) -> DeviceArray:
    """x, which is on GPU 0, without a copy."""
    try:
        # The consumer's stream is the default one, which then waits for the producer's work on x.
        capsule = x.__dlpack__(stream=1)
    except Exception as error:
        raise ValueError(f"x: DLPack cannot export it: {error}") from None
    wait = getattr(sys.modules.get(library_of(x)), "cuda", None)
    if hasattr(wait, "current_stream"):  # torch
        wait.current_stream(x.device).synchronize()
    elif hasattr(wait, "get_current_stream"):  # cupy
        wait.get_current_stream().synchronize()
    elif hasattr(x, "block_until_ready"):  # jax
        x.block_until_ready()
    return DeviceArray(capsule)


def numpy_reads(x: Any) -> bool:
    """Whether numpy.asarray takes x for an array, by a protocol older than DLPack."""
    return isinstance(x, np.ndarray) or any(
        hasattr(x, name) for name in ("__array__", "__array_interface__", "__array_struct__", "__buffer__")
    )


def to_host(x: Any, name: str) -> np.ndarray:
    """x as a NumPy array, without a copy if x is in host memory. A list of arrays is stacked."""
    x = _detached(x, name)
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ValueError(f"{name}: some values are masked: replace them, as filled() does")
    if isinstance(x, (list, tuple)) and any(device_of(item) is not None or numpy_reads(item) for item in x):
        return _stacked([to_host(item, name) for item in x], name)  # such as tensors, or images of PIL
    device = device_of(x)
    try:
        if library_of(x) == "torch":
            return _of_torch(x)
        if device is not None and device[0] == _CUDA and hasattr(x, "get"):
            return x.get()  # cupy
        if device is not None and not numpy_reads(x) and hasattr(np, "from_dlpack"):  # NumPy 1.22
            return np.from_dlpack(x)
        return np.asarray(x)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # of an array in a file, which is read only now
            raise read_error(error, f"{name}: cannot be read: {error}") from None
        raise ValueError(f"{name}: not an array: {error}") from None


def read_error(error: OSError, message: str) -> Exception:
    """For a file that cannot be read: ValueError if its name is wrong, RuntimeError if the system may read it later."""
    return (ValueError if _extension.is_missing_or_forbidden(error.errno or 0) else RuntimeError)(message)


def _stacked(items: list[np.ndarray], name: str) -> np.ndarray:
    kinds = {item.dtype.kind for item in items}
    if "f" in kinds and len(kinds) > 1:  # pixels would become numbers, without noise
        types = sorted({item.dtype.name for item in items})
        raise ValueError(f"{name}: a list must hold either pixels or floating-point numbers, got {' and '.join(types)}")
    try:
        return np.stack(items)
    except ValueError as error:
        raise ValueError(f"{name}: not an array: {error}") from None


def _of_torch(x: Any) -> np.ndarray:
    import torch

    x = x.cpu()
    if x.dtype in (torch.bfloat16, torch.float16):
        x = x.float()
    return x.resolve_conj().resolve_neg().numpy()


def images(x: Any, gpu: bool) -> np.ndarray | DeviceArray:
    """x as a contiguous uint8, float32 or float64 array for the extension; stays on the GPU if it is there and `gpu`."""
    x = _detached(x, "x")
    device = device_of(x)
    if gpu and device is not None and device[0] == _CUDA:
        if str(x.dtype).rsplit(".", 1)[-1] in ("float16", "bfloat16"):
            x = x.float() if hasattr(x, "float") else x.astype("float32")
        if hasattr(x, "contiguous"):
            x = x.contiguous()  # torch
        elif hasattr(x, "flags") and not x.flags.c_contiguous:
            x = x.copy()  # cupy
        return _on_gpu(x)
    array = to_host(x, "x")
    if array.dtype not in _DIRECT or not array.dtype.isnative:
        if array.dtype.kind != "f" and not (array.dtype.name == "bfloat16"):
            raise ValueError(
                f"x must be uint8 (pixels) or floating (pixel units, 0 .. 256), got {array.dtype}; convert it first"
            )
        with np.errstate(over="ignore"):  # infinities are refused later
            array = array.astype(np.float32 if array.dtype.itemsize < 4 or array.dtype == np.float32 else np.float64)
    return np.require(array, requirements="CA")  # views of bytes may be unaligned


def labels(values: Any, count: int) -> np.ndarray | None:
    """Labels as int32 [count]; a single label applies to all images."""
    if values is None:
        return None
    array = to_host(values, "labels")
    if isinstance(values, (list, tuple)) and array.shape == (0,):
        array = array.astype(np.int32)  # NumPy gives an empty list the type float64
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise ValueError(f"labels must be whole numbers [N], got {array.dtype} {list(array.shape)}")
    if array.size and (array.min() < -(2**31) or array.max() >= 2**31):
        raise ValueError("labels must be classes of the model")
    if array.ndim == 0:
        array = np.full(count, array)
    return np.require(array, np.int32, "CA")


def device_name(device: Any) -> str:
    """The name of a device or torch.device. GPUs other than the first are not supported."""
    name = utf8(device, "device")
    return "cuda" if name == "cuda:0" else name


def utf8(value: Any, name: str) -> str:
    """str(value), which must be text that the extension accepts."""
    text = str(value)
    if "\0" in text:
        raise ValueError(f"{name}: null character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be UTF-8, got {text!r}") from None
    return text


def whole(value: Any, name: str, least: int = 0, most: int = 2**63 - 1) -> int:
    """value as an int in least .. most."""
    try:
        number = value.__index__()
    except (AttributeError, TypeError):
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    if not least <= number <= most:
        raise ValueError(f"{name} must be in {least} .. {most}, got {number}")
    return number

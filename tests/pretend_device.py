"""A GPU that is not there: it refuses what a real one refuses, and computes on the CPU.

Device("cuda") refuses what CUDA refuses: tensors of the CPU beside its own, NumPy, a generator of
the CPU. Device("mps") refuses float64 and `torch.logspace` besides, as Apple's GPUs do. Neither
knows anything of streams, memory, speed, or the rounding of a real GPU.

A tensor of the device is an ordinary tensor whose storage is marked, so that views, parameters,
autograd in both directions and vmap are PyTorch's own. Two modes look at everything that is
called: one at what a program writes, where devices are named, and one at the operations that it
comes to, where they are checked. Backward passes are not checked: what they do follows from the
forward pass.
"""

import contextlib

import torch
from torch._C import _functorch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
# A self on the device takes indices from the CPU, as `mask` or `rows` of a data set often are.
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
NOT_ON_MPS = {aten.logspace}
MOVES = ("to", "cpu", "cuda", "type_as")
BACKWARD = (torch.Tensor.backward, torch.autograd.backward, torch.autograd.grad)


def tensors_in(*values):
    """The tensors among `values`, which may be lists, tuples and dicts."""
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += tensors_in(*value) if value else ()
        elif isinstance(value, dict):
            found += tensors_in(*value.values()) if value else ()
    return found


def storage_of(tensor):
    while _functorch.is_functorch_wrapped_tensor(tensor):  # within vmap, jvp or grad
        tensor = _functorch.get_unwrapped(tensor)
    return tensor.untyped_storage()


class Device:
    """One pretended GPU. Within `with Device(kind):` it is there, for the thread that entered."""

    def __init__(self, kind):
        self.kind, self.device = kind, torch.device(kind, 0)
        self.makes = None  # whether what is made now is on the device; None: if an operand is

    def __enter__(self):
        self.modes = contextlib.ExitStack()
        self.modes.enter_context(_Operations(self))
        self.modes.enter_context(_Calls(self))
        return self.device

    def __exit__(self, *error):
        self.modes.close()

    def holds(self, tensor):
        return getattr(storage_of(tensor), "pretended", False)

    def names(self, device):
        return torch.device(device).type == self.kind

    def put(self, tensor):
        if self.kind == "mps" and tensor.dtype in (torch.float64, torch.complex128):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype: MPS has no float64")
        storage_of(tensor).pretended = True

    def call(self, func, args, kwargs, makes, checks):
        """func(*args, **kwargs) with `makes` as given, and unseen by _Operations if not checks."""
        before, self.makes = self.makes, makes
        alone = torch._C._len_torch_dispatch_stack() == 1  # of torch.export there are more modes
        unseen = torch._C._DisableTorchDispatch() if alone and not checks else None
        try:
            return func(*args, **kwargs)
        finally:
            self.makes = before
            del unseen


class _Operations(TorchDispatchMode):
    """Below autograd: each operation finds its operands on one device, and leaves results there."""

    def __init__(self, gpu):
        super().__init__()
        self.gpu = gpu

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # nothing is compiled here, and PyTorch's guard against it costs a third

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, gpu = kwargs or {}, self.gpu
        operands = tensors_in(args, kwargs)
        held = list(map(gpu.holds, operands))
        if any(held) and not all(held) and not self.may_mix(func, args, operands, held):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{gpu.device} and cpu! ({func})"
            )
        result = func(*args, **kwargs)
        if any(held) if gpu.makes is None else gpu.makes:
            before = set(map(id, map(storage_of, operands)))
            for tensor in tensors_in(result):
                # A view, or what was written in place, stays where it was; a literal is new here.
                if func is aten.lift_fresh.default or id(storage_of(tensor)) not in before:
                    gpu.put(tensor)
        return result

    def may_mix(self, func, args, operands, held):
        """Copies; indices from the CPU; numbers from the CPU in what is done to each element."""
        name = func.overloadpacket
        if name is aten.copy_:
            return True
        elsewhere = [tensor for tensor, here in zip(operands, held, strict=True) if not here]
        if name in INDEXING:
            values = [t for t in tensors_in(args[2:]) if any(t is e for e in elsewhere)]
            return held[0] and all(value.ndim == 0 for value in values)
        written = func._schema.is_mutable and not held[0]
        pointwise = torch.Tag.pointwise in func.tags
        return pointwise and not written and all(tensor.ndim == 0 for tensor in elsewhere)


class _Calls(TorchFunctionMode):
    """What a program writes: where it names the device, asks for it, or leaves it for NumPy."""

    def __init__(self, gpu):
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func, types, args=(), kwargs=None):
        gpu, name = self.gpu, func.__name__
        if name == "__get__":
            return self.attribute(func, args[0]) if gpu.holds(args[0]) else func(*args)
        kwargs = dict(kwargs or {})
        held = any(map(gpu.holds, tensors_in(args, kwargs)))
        if func in BACKWARD:
            return self.backward(func, args, kwargs)
        if name in MOVES:
            return self.move(name, *args, **kwargs)
        if name in ("numpy", "__array__") and held:
            raise TypeError(f"can't convert {gpu.device} device type tensor to numpy. Use .cpu()")
        device = kwargs.get("device")
        target = held if device is None else gpu.names(device)
        if device is not None and target:
            kwargs["device"] = "cpu"
        generator = kwargs.get("generator")
        if target and generator is not None:
            raise RuntimeError(f"Expected a '{gpu.kind}' device type for generator, found 'cpu'")
        if gpu.kind == "mps" and target and getattr(aten, name, None) in NOT_ON_MPS:
            raise NotImplementedError(f"The operator '{name}' is not implemented for MPS")
        if name in ("as_tensor", "asarray") and device is not None:
            return self.move("to", func(*args, **kwargs), device)
        result = gpu.call(func, args, kwargs, makes=target, checks=held or target)
        if name == "__deepcopy__" and held:  # copies the storage past PyTorch's operations
            gpu.put(result)
        return result

    def attribute(self, func, tensor):
        name, gpu = func.__self__.__name__, self.gpu
        if name == "device":
            return gpu.device
        if name in ("is_cpu", "is_cuda", "is_mps"):
            return name == f"is_{gpu.kind}"
        value = func(tensor)
        if name == "grad" and value is not None:
            gpu.put(value)
        return value

    def backward(self, func, args, kwargs):
        gradients = self.gpu.call(func, args, kwargs, makes=None, checks=False)
        if gradients is not None:
            of = args[1] if len(args) > 1 else kwargs["inputs"]
            for gradient, tensor in zip(gradients, tensors_in(of), strict=True):
                if gradient is not None and self.gpu.holds(tensor):
                    self.gpu.put(gradient)
        return gradients

    def move(self, name, tensor, *args, copy=False, **kwargs):
        gpu = self.gpu
        device, dtype, form = None, None, None
        if name in ("cpu", "cuda"):
            device = torch.device(name)
        elif args and isinstance(args[0], torch.Tensor):
            device, dtype = gpu.device if gpu.holds(args[0]) else torch.device("cpu"), args[0].dtype
        else:
            device, dtype, _, form = torch._C._nn._parse_to(*args, **kwargs)
        held = gpu.holds(tensor)
        target = held if device is None else gpu.names(device)
        change = {"dtype": dtype or tensor.dtype, "memory_format": form, "copy": copy}
        tensor = gpu.call(tensor.to, (), change, held, checks=True)
        return tensor if target == held else gpu.call(tensor.clone, (), {}, target, checks=True)

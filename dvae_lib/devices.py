"""Which device computes, and what a reader calls it."""

import platform
from pathlib import Path

import torch


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """A torch.device. "auto" takes CUDA, then MPS, then the CPU.

    Raises ValueError, listing the devices that are there, for one that is not.
    """
    there = ["cpu"] + [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        there.append("mps")
    if device == "auto":
        usable = [d for d in ("cuda:0", "mps", "cpu") if d in there]
        return torch.device(usable[0])
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device {device!r}; there are: auto, {', '.join(there)}") from error
    wanted = "cuda:0" if device == "cuda" else str(chosen).replace(":0", "", chosen.type != "cuda")
    if wanted not in there:
        raise ValueError(f"device {device!r} is not on this machine; there are: {', '.join(there)}")
    return chosen


def device_name(device: torch.device) -> str:
    """What a reader calls the device: the GPU's name, or the CPU's with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU (MPS)"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def processor_name() -> str:
    """The processor's name and the instructions that PyTorch uses of it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    name = facts.get("model name") or platform.processor() or platform.machine()
    family = f", family {facts['cpu family']}" if "cpu family" in facts else ""
    return f"{name}{family}, {torch.backends.cpu.get_cpu_capability()}"

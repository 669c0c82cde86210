"""Where the model runs and on how many threads: chosen once, said, and kept for the whole run.

What is chosen here is written into the run's ledger and taken from there on resume, so that a run can be repeated.
"""

import os
from pathlib import Path
from typing import Literal

import psutil
import torch

from envs.component import UserError

Device = Literal["cpu", "cuda", "mps"]
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def choose_threads() -> int:
    """Threads for the model: this process's cores, less the share of the machine that others are using now.

    Two OpenMP threads beside a busy neighbour are several times slower than one. A third of a second is looked at: a
    load average would still hold what this very command installed or tested a minute ago.
    """
    return threads_for(usable_cores(), psutil.cpu_percent(interval=0.3) / 100)


def threads_for(usable: int, busy: float) -> int:
    """The part of `usable` cores that is free where a share `busy`, 0..1, of the machine is in use; 1 or more."""
    return max(1, round(usable * (1 - min(busy, 1.0))))


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def torch_device(name: Device) -> torch.device:
    """The device of a setting.

    Raises:
        UserError: this machine, or this build of torch, has none.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name]:
        usable = ", ".join(kind for kind, here in there.items() if here)
        raise UserError(
            f"model.device is '{name}': torch {torch.__version__} finds no such device here. There is: {usable}. "
            "A GPU needs its driver and a torch built for it."
        )
    return torch.device(name)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it (CUDA from Ampere on), else float32.

    On most CPUs bfloat16 is emulated, tens of times slower; and only float32 gives importance ratios of 1 to 1e-4.
    """
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32


def memory_bytes(device: torch.device) -> int:
    """Memory that a process can have there, whatever others take of it now."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [Path(name).read_text().strip() for name in MEMORY_LIMITS if Path(name).is_file()]
    return min([physical, *(int(limit) for limit in limits if limit.isdigit())])

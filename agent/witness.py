"""A second process that reads adapters from disk alone, and says what they say.

It proves that what was written can be read where nothing of it was ever in memory. Starting takes seconds, so one
witness serves a whole run: it starts beside the first cycle and idles until it is asked. It is
`python -m agent.witness`, reads from its input, and ends when that does, however the parent ended.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch

from agent.batch import Sample
from agent.lvlm.adapters import CHAMPION, LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.speech import Speech
from agent.policy import Policy
from envs.component import UserError

TOLERANCE = 1e-4
"""Nats between two processes, whose threads add in another order."""
PATIENCE = 3.0
"""Seconds in which it may end by itself."""


class Witness:
    """The second process, as its parent sees it."""

    def __init__(self, policy: Policy, model: ModelSettings, lora: LoraSettings, speech: Speech) -> None:
        """Start it; it loads the base while the parent goes on.

        Args:
            policy: of the parent.
            model, lora, speech: what that was made of.
        """
        self._settings = (model.with_(threads=1, token_budget=policy.budget.tokens), lora, speech)
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        path = os.pathsep.join(part or os.getcwd() for part in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "agent.witness"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            process_group=0,  # Ctrl-C is the parent's business
        )
        with contextlib.suppress(OSError):  # that it died is seen when it is asked
            _tell(process.stdin, self._settings)
        return process

    def fault(self, policy: Policy, folder: Path, samples: Sequence[Sample]) -> str:
        """In what the adapter in `folder`, read there, differs from the one that speaks here; "" if in nothing.

        Raises:
            UserError: it did not start, or ended, twice.
        """
        with torch.no_grad():
            meant = opinion(policy, samples)
        said = self._ask(folder.resolve(), list(samples))
        if isinstance(said, str):
            return f"read in a process of its own, the adapter does not load: {said}"
        worst = max((float((a - b).abs().max()) for a, b in zip(said, meant, strict=True)), default=0.0)
        if worst <= TOLERANCE:
            return ""
        told = f"by {worst:.2g} nats ({TOLERANCE:g} allowed)"
        return f"read in a process of its own, the adapter says something else, {told}"

    def _ask(self, folder: Path, samples: list[Sample]) -> Any:
        """Its answer; a process that died without a word is started again, once."""
        for start in (lambda: self._process, self._start):
            self._process = start()
            with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
                _tell(self._process.stdin, (folder, samples))
                assert self._process.stdout is not None
                return pickle.load(self._process.stdout)
            code = self._buried()
        raise UserError(
            f"gate.reload is 'fresh', but the process that reads adapters ended with code {code}; what it said stands "
            "above. It holds a second copy of the model: free memory for it and go on with --resume, or start a run "
            "with gate.reload: same."
        )

    def close(self) -> None:
        """End it, whatever it is doing: it has nothing to lose."""
        self._process.kill()
        self._buried()

    def _buried(self) -> int:
        """Its exit code, once it has ended or had its time for it."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def opinion(policy: Policy, samples: Sequence[Sample]) -> list[torch.Tensor]:
    """What the adapter that speaks thinks of samples: their log-probs, and those of all allowed answers, in nats."""
    scores = policy.score(samples)
    told = [scores.logprobs * scores.mask] + ([] if scores.table is None else [scores.table.clamp(min=-1e4)])
    return [one.detach().float().cpu() for one in told]


# -- in the second process --------------------------------------------------------------------------------------------


def main() -> None:
    """Answer until the input ends."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints goes to stderr
    os.nice(5)  # it is to be ready by the end of the first cycle, and the parent's work comes first
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    settings = _heard(source)
    if settings is not None:
        model, lora, speech = settings
        policy = Policy(model, lora, 0, speech)
        while (asked := _heard(source)) is not None:
            _tell(target, _said(policy, *asked))
    os._exit(0)  # there is nothing to tidy up, and it takes a second


def _heard(source: IO[bytes]) -> Any:
    """What the parent says next; None once it is gone."""
    try:
        return pickle.load(source)
    except (EOFError, OSError):
        return None


def _said(policy: Policy, folder: Path, samples: list[Sample]) -> Any:
    try:
        policy.load_champion(folder)
    except UserError as error:
        return str(error)
    policy.forget()
    with torch.no_grad(), policy.using(CHAMPION):
        return opinion(policy, samples)


def _tell(out: IO[bytes] | None, message: Any) -> None:
    assert out is not None
    pickle.dump(message, out, protocol=5)
    out.flush()


if __name__ == "__main__":
    main()

"""How the time of one optimizer step grows with its batch and with the length of prompts, and where memory ends."""

import resource
import time
from collections.abc import Sequence

from agent.policy import Policy
from benchmarks.material import played, run, update_of
from benchmarks.policy import rooms
from envs.component import UserError
from envs.types import IMAGE_MARK, Observation

BATCHES = (8, 32, 128, 512)
PROMPTS = (32, 128, 512, 1024)
PICTURE = 64
"""Prompts shorter than this have no place for a picture."""


def growth(policy: Policy, batches: Sequence[int] = BATCHES, prompts: Sequence[int] = PROMPTS) -> dict[str, float]:
    """Print milliseconds a DPO pair by batch and prompt, and the memory that was taken; nothing where it ended."""
    print(
        f"\nmilliseconds a pair of one DPO step, forwards of {policy.budget.tokens} tokens or less; its process's GiB"
    )
    print(f"{'prompt tokens':>16}" + "".join(f"{f'{batch} pairs a step':>22}" for batch in batches))
    figures: dict[str, float] = {}
    for length in sorted(prompts):  # pieces of a step are cut by the longest prompt seen so far
        cells = []
        for batch in batches:
            seconds = step_seconds(policy, batch, length)
            cells.append("memory ends" if seconds is None else f"{1e3 * seconds / batch:.2f} ({peak():.1f} GiB)")
            if seconds is not None:
                figures[f"growth_ms_{batch}_{length}"] = 1e3 * seconds / batch
        print(f"{length:>16}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
    return figures


def step_seconds(policy: Policy, batch: int, length: int) -> float | None:
    """Of the second step over such a batch; None where memory ends."""
    update = update_of("dpo", minibatch=batch, rounds=1)
    seconds = None
    for number in range(2):
        seen = [fitted(policy, seen, length) for seen in rooms(batch, 10**7 + number * batch)]
        episodes = played(policy, seen, None, "growth")
        began = time.perf_counter()
        try:
            run(update, policy, iter([episodes]), 1)
        except UserError:
            return None
        seconds = time.perf_counter() - began
        policy.discard()
    return seconds


def fitted(policy: Policy, seen: Observation, length: int) -> Observation:
    """The observation with words added or cut until its prompt has about `length` tokens."""
    mark, images = (IMAGE_MARK, seen.images) if length >= PICTURE else ("", ())
    tokenizer = policy.prompter.tokenizer
    bare = len(policy.prompter.prompt(Observation(mark + "go", images))) - len(tokenizer("go")["input_ids"])
    words = seen.text.removeprefix(IMAGE_MARK) + " the red ball is near a green key, and" * (length // 4)
    ids = tokenizer(words, add_special_tokens=False)["input_ids"][: length - bare]
    return Observation(mark + tokenizer.decode(ids), images)


def peak() -> float:
    """Most memory that this process has held so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

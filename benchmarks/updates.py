"""The updates against TRL's and stable-baselines3's, and against the speed of this machine's matrix products.

    python -m benchmarks.updates [--json FILE] [--quick]

Both sides train the pilot with LoRA of rank 16 on every layer of its language tower, on all cores, in one process, in
turn, on rooms that neither has seen; pictures are part of what is timed. Answers are open, as TRL's are; what a closed
set saves stands beside it.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from agent.batch import sample_of
from agent.lvlm.adapters import CANDIDATE, LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.device import usable_cores
from agent.lvlm.speech import Speech
from agent.policy import Policy
from agent.preference_losses import sigmoid
from benchmarks.growth import growth
from benchmarks.material import Peer, episode, played, remembered, run, seen_rooms, update_of
from benchmarks.policy import ACTIONS
from benchmarks.rates import best_product, flops
from benchmarks.runs import arguments, finish, machine
from benchmarks.sb3_peer import Sb3
from benchmarks.trl_peer import TrlDpo, TrlGrpo
from benchmarks.turns import in_turn, line, ratios, told
from benchmarks.wide import wide_share
from envs.types import Choices, Episode, Observation
from memory.preferences import PreferencePair, pairs_from_episodes

BETA, RATE = 0.5, 1e-3
PAIRS = 64
"""A step of DPO."""
GROUPS, SIZE, NEW_TOKENS = 16, 8, 2
"""A step of GRPO."""
WORLDS, TICKS, EPOCHS, MINIBATCH = 32, 8, 4, 64
"""A rollout of PPO, and its update."""
STEPS = 4
"""Optimizer steps a round of DPO and GRPO."""
WIDTHS = (512, 1024)
"""Of language towers beside the pilot's, which is 128 wide."""


def main() -> None:
    """Measure, print the table, write the figures."""
    given = arguments(__doc__ or "")
    transformers.utils.logging.disable_progress_bar()
    rounds = 3 if given.quick else 15
    policy = Policy(ModelSettings(threads=usable_cores()), LoraSettings(), speech=Speech(longest=NEW_TOKENS))
    print(
        f"python -m benchmarks.updates; the pilot, {policy.threads} threads; {machine()}, load {os.getloadavg()[0]:.1f}"
    )
    print("median (quartiles) of", rounds, "rounds\n")
    figures: dict[str, Any] = {"threads": policy.threads, "load": os.getloadavg()[0]}
    figures |= dpo(policy, rounds)
    figures |= grpo(policy, rounds)
    figures |= ppo(policy, rounds)
    for width in WIDTHS:
        figures[f"flop_share_{width}_wide"] = wide_share(
            width, policy.threads, Speech(longest=NEW_TOKENS), partial(dpo_share, rounds=3)
        )
    figures |= growth(policy, (8, 32), (32, 128)) if given.quick else growth(policy)
    finish(figures, given.json)


def dpo(policy: Policy, rounds: int) -> dict[str, float]:
    """From episodes in a memory on disk (in a data set of texts and PNGs for TRL) to changed weights."""
    policy.discard()
    seen = seen_rooms(rounds, STEPS * PAIRS, 10**6)
    episodes = [played(policy, some, None, f"open/{n}") for n, some in enumerate(seen)]
    closed = [played(policy, some, ACTIONS, f"closed/{n}") for n, some in enumerate(seen)]
    pairs = [pairs_from_episodes(some) for some in episodes]
    trl = TrlDpo(Peer(policy), pairs[0], PAIRS, BETA, RATE)
    theirs = [trl.dataset(some) for some in pairs]
    update = update_of("dpo", beta=BETA, minibatch=PAIRS, rounds=1, learning_rate=RATE)
    with tempfile.TemporaryDirectory() as folder:
        memory, ids = remembered(Path(folder), [*episodes, *closed])

        def ours(number: int) -> None:
            run(update, policy, iter([memory.get(ids[number])]), STEPS)

        sides = {"ours": ours, "closed": lambda n: ours(rounds + 1 + n), "trl": lambda n: trl.learn(theirs[n])}
        seconds = in_turn(sides, rounds)
        share = flop_share("dpo", policy, lambda: ours(0), seconds["ours"])
    per_second = {name: [STEPS * PAIRS / s for s in some] for name, some in seconds.items()}
    against, closed_against = (ratios(seconds["trl"], seconds[side]) for side in ("ours", "closed"))
    peer = f"pairs/s: {told(per_second['ours'])}, TRL {told(per_second['trl'])}; closed set {told(closed_against)}"
    value = line(f"DPO pairs per second / TRL's DPOTrainer, {PAIRS} a step", against, ">= 4.5", peer)
    gap = loss_difference(policy, trl, pairs[0])
    return {
        "dpo_vs_trl": value,
        "dpo_loss_difference": gap,
        "dpo_closed_vs_trl": float(np.median(closed_against)),
    } | share


def dpo_share(policy: Policy, rounds: int) -> dict[str, float]:
    """The rate of one DPO step's floating-point operations against the best product's."""
    seen = seen_rooms(rounds, PAIRS, 4 * 10**6)
    episodes = [played(policy, some, None, f"wide/{n}") for n, some in enumerate(seen)]
    update = update_of("dpo", beta=BETA, minibatch=PAIRS, rounds=1, learning_rate=RATE)

    def step(number: int) -> None:
        run(update, policy, iter([episodes[number]]), 1)

    seconds = in_turn({"ours": step}, rounds)["ours"]
    width = policy.engine.embed.weight.shape[1]
    return flop_share(f"dpo, {width} wide", policy, lambda: step(0), seconds)


def loss_difference(policy: Policy, trl: TrlDpo, pairs: Sequence[PreferencePair]) -> float:
    """Between the mean losses on the same pairs, of a candidate that was moved a little from the reference."""
    policy.fork()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in policy.adapters.tensors(CANDIDATE).values():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.05)
        trl.copy(policy)
        chosen, rejected = (
            policy.score([sample_of(p.observation, p.choices, a) for p, a in zip(pairs, answers, strict=True)]).sums
            for answers in ([p.chosen for p in pairs], [p.rejected for p in pairs])
        )
        reference = torch.tensor([p.reference_logprobs for p in pairs])
        ours = float(sigmoid(chosen, rejected, reference[:, 0], reference[:, 1], BETA).mean())
    theirs = trl.loss(pairs)
    policy.discard()
    print(f"{'DPO loss, mean of the same pairs: difference':64}{abs(ours - theirs):>22.1e}   {'<= 1e-5':12}", end="")
    print(f"ours {ours:.7f}, TRL {theirs:.7f}", flush=True)
    return abs(ours - theirs)


def grpo(policy: Policy, rounds: int) -> dict[str, float]:
    """Sampling groups and one optimizer step for each batch; rewards are drawn at random, so that no group is flat."""
    policy.discard()
    seen = seen_rooms(rounds, STEPS * GROUPS, 2 * 10**6)
    trl = TrlGrpo(Peer(policy), seen[0], SIZE, NEW_TOKENS, RATE, GROUPS)
    theirs = [trl.dataset(some) for some in seen]
    update = update_of("grpo", minibatch=GROUPS * SIZE, rounds=STEPS, learning_rate=RATE)

    def ours(number: int, choices: Choices) -> None:
        run(update, policy, plays(policy, seen[number], choices), STEPS)

    sides = {
        "ours": lambda n: ours(n, None),
        "closed": lambda n: ours(n, ACTIONS),
        "trl": lambda n: trl.learn(theirs[n]),
    }
    seconds = in_turn(sides, rounds)
    count = STEPS * GROUPS * SIZE
    per_second = {name: [count / s for s in some] for name, some in seconds.items()}
    against, closed_against = (ratios(seconds["trl"], seconds[side]) for side in ("ours", "closed"))
    peer = (
        f"completions/s: {told(per_second['ours'])}, TRL {told(per_second['trl'])}; closed set {told(closed_against)}"
    )
    value = line(f"GRPO completions per second / TRL's, {GROUPS} groups of {SIZE}", against, ">= 6", peer)
    share = flop_share("grpo", policy, lambda: ours(0, None), seconds["ours"])
    return {"grpo_vs_trl": value, "grpo_closed_vs_trl": float(np.median(closed_against))} | share


def plays(
    policy: Policy, seen: Sequence[Observation], choices: Choices, groups: int = GROUPS, size: int = SIZE
) -> Iterator[list[Episode]]:
    """Rounds of so many groups, each played when it is asked for."""
    rng = np.random.default_rng(0)
    for start in range(0, len(seen), groups):
        asked = [observation for observation in seen[start : start + groups] for _ in range(size)]
        replies = policy.act(asked, [choices] * len(asked), [np.random.default_rng(i) for i in range(len(asked))])
        yield [
            episode(o, choices, reply, float(rng.random()), f"{start}/{i // size}", i % size)
            for i, (o, reply) in enumerate(zip(asked, replies, strict=True))
        ]


def ppo(policy: Policy, rounds: int) -> dict[str, float]:
    """A rollout of `TICKS` steps in `WORLDS` worlds that cost nothing, and its update."""
    policy.discard()
    seen = seen_rooms(rounds, WORLDS * TICKS, 3 * 10**6)
    sb3 = Sb3(Peer(policy), seen[0], WORLDS, len(ACTIONS), EPOCHS, MINIBATCH, RATE)
    theirs = [sb3.ready(some) for some in seen]
    plain = {"value_warmup": 0, "kl_weight": 0.0}  # as SB3 has neither a warm-up nor a reference
    update = update_of("ppo", epochs=EPOCHS, minibatch=MINIBATCH, rounds=1, learning_rate=RATE, **plain)

    def ours(number: int) -> None:  # a step of it is an epoch
        run(update, policy, plays(policy, seen[number], ACTIONS, WORLDS * TICKS, 1), EPOCHS)

    seconds = in_turn({"ours": ours, "sb3": lambda n: sb3.learn(theirs[n])}, rounds)
    per_second = {name: [WORLDS * TICKS / s for s in some] for name, some in seconds.items()}
    peer = f"samples/s: {told(per_second['ours'])}, SB3 {told(per_second['sb3'])}"
    what = f"PPO samples per second / SB3's, {EPOCHS} epochs of {MINIBATCH}"
    return {"ppo_vs_sb3": line(what, ratios(seconds["sb3"], seconds["ours"]), ">= 2", peer)}


def flop_share(kind: str, policy: Policy, work: Callable[[], object], seconds: Sequence[float]) -> dict[str, float]:
    """The rate of a round's floating-point operations, against that of this machine's best float32 product."""
    best, side = best_product(policy.threads)
    count = flops(policy, work)
    shares = [count / s / best for s in seconds]
    rate = f"{count / 1e9:.1f} Gflop at {told([count / s / 1e9 for s in seconds])} Gflop/s"
    what = f"{kind.upper()}: flop/s of a round / the best float32 product's"
    value = line(what, shares, ">= 0.65", f"{rate}; best {best / 1e9:.1f}, {side} x {side}")
    return {"flop_share" if kind == "dpo" else f"flop_share_{kind}": value, f"gflop_{kind}": count / 1e9}


if __name__ == "__main__":
    main()

"""The policy against the speed of its matrix products: deciding, collecting, scoring, caching, forking.

    python -m benchmarks.policy [--json FILE] [--quick]

Every ratio is one run's, its sides in turn on data no side has seen. The peer is what a user would write with
transformers alone. `model.threads` is what a run would choose here.
"""

import gc
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from agent.batch import Sample
from agent.lvlm.adapters import CANDIDATE, CHAMPION, LoraSettings
from agent.lvlm.checkpoint import ModelSettings, pilot_folder
from agent.policy import Policy
from benchmarks.collecting import collecting
from benchmarks.rates import flops
from benchmarks.runs import arguments, finish, machine
from benchmarks.turns import in_turn, line, ratios, told
from envs.multimodal import WorldSettings, compose, make_world
from envs.types import IMAGE_MARK, Observation

ACTIONS = ("turn left", "turn right", "go forward", "pick up the object", "drop it", "toggle the door", "done")
GOTO = WorldSettings.model_validate({"id": "envs.babyai:GoTo-v0", "success": {"info": "success"}})
ANSWERS, ANSWER_TOKENS, PROMPT_TOKENS = 8, 8, 64


def main() -> None:
    """Measure, print the table, write the figures."""
    given = arguments(__doc__ or "")
    rounds = 3 if given.quick else 25
    policy = trained(Policy(ModelSettings(), LoraSettings()))
    print(f"the pilot, {policy.threads} threads; {machine()}, load {os.getloadavg()[0]:.1f}")
    print("median (quartiles) of", rounds, "rounds\n")
    figures: dict[str, Any] = {"threads": policy.threads, "load": os.getloadavg()[0]}
    for count, bar in ((64, 1.25), (8, 1.5)):
        figures |= deciding(policy, count, rounds, bar)
    figures |= collecting(trained, 3 if given.quick else 9)
    figures |= answering(policy, rounds)
    figures |= caching(policy, rounds)
    figures |= forking(policy)
    finish(figures, given.json)


def trained(policy: Policy) -> Policy:
    """With a champion that changes every layer it sits in, as one that was trained would."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in policy.adapters.tensors(CHAMPION).values():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.01)
    return policy


def rooms(count: int, first: int) -> list[Observation]:
    """Pictures of so many different rooms, and an instruction for each."""
    world = make_world(GOTO)
    seen = []
    for seed in range(first, first + count):
        native, _ = world.env.reset(seed=seed)
        seen.append(Observation(compose(native["text"], (), ACTIONS, 1), (native["image"],)))
    return seen


class Peer:
    """The same checkpoint as a user would ask it, by transformers alone."""

    def __init__(self) -> None:
        folder = pilot_folder()
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor: Any = AutoProcessor.from_pretrained(folder)
        self.processor.tokenizer.padding_side = "left"

    def inputs(self, policy: Policy, seen: Sequence[Observation]) -> dict[str, torch.Tensor]:
        """What its forward takes: the very prompts of `policy`."""
        texts = [policy.prompter.render(o.text.split(IMAGE_MARK)) for o in seen]
        out = self.processor(text=texts, images=[list(o.images) for o in seen], padding=True, return_tensors="pt")
        ids = out["input_ids"][0][out["attention_mask"][0].bool()]
        if ids.tolist() != policy.prompter.prompt(seen[0]).ids.tolist():
            raise SystemExit("the peer is asked something else than the policy: the ratio would mean nothing")
        return dict(out)

    @torch.no_grad()
    def forward(self, inputs: dict[str, torch.Tensor]) -> None:
        self.model(**inputs, logits_to_keep=1)

    @torch.no_grad()
    def generate(self, inputs: dict[str, torch.Tensor], answers: Sequence[Sequence[int]], end: int) -> None:
        """Sample one of `answers` by a prefix-allowed-tokens function."""
        start = inputs["input_ids"].shape[1]

        def allowed(_: int, ids: torch.Tensor) -> list[int]:
            said = ids[start:].tolist()
            return [a[len(said)] for a in answers if len(a) > len(said) and list(a[: len(said)]) == said] or [end]

        self.model.generate(
            **inputs, prefix_allowed_tokens_fn=allowed, max_new_tokens=max(map(len, answers)), do_sample=True
        )


def deciding(policy: Policy, count: int, rounds: int, bar: float) -> dict[str, float]:
    """A closed-set decision, its pictures new to the caches, against one bare forward of the same prompts."""
    peer = Peer()
    seen = [rooms(count, 1000 * count + number * count) for number in range(rounds + 1)]
    ready = [peer.inputs(policy, some) for some in seen]  # the peer's tokens and pixels are not timed; ours are pixels
    answers = [policy.prompter.answer(text).tolist() for text in ACTIONS]
    rngs = [np.random.default_rng(i) for i in range(count)]
    seconds = in_turn(
        {
            "ours": lambda n: discard(policy.act(seen[n], [ACTIONS] * count, rngs)),
            "bare": lambda n: peer.forward(ready[n]),
            "generate": lambda n: peer.generate(ready[n], answers, policy.prompter.end),
        },
        rounds,
    )
    ours, theirs = (ratios(seconds[side], seconds["bare"]) for side in ("ours", "generate"))
    what = f"a decision among {len(ACTIONS)} / a bare forward, batch {count}"
    return {
        f"closed_set_vs_forward_{count}": line(what, ours, f"<= {bar}", f"model.generate: {told(theirs)}"),
        f"generate_vs_forward_{count}": float(np.median(theirs)),
    }


def discard(_: object) -> None:
    """For the work alone."""


def answering(policy: Policy, rounds: int) -> dict[str, float]:
    """Scoring several open answers to one prompt, against scoring one of them; each round asks something new."""
    rng = np.random.default_rng(0)
    banned = {*policy.banned, policy.prompter.end, policy.prompter.pad}
    words = [i for i in range(len(policy.prompter.tokenizer)) if i not in banned]
    (room,) = rooms(1, 1)
    filler = " the red ball is near a green key, and" * 8
    asked = [longest_fitting(policy, Observation(f"{IMAGE_MARK}{n}{filler}", room.images)) for n in range(rounds + 1)]
    answers = [
        [
            Sample(seen, None, np.array([*rng.choice(words, ANSWER_TOKENS - 1), policy.prompter.end]), np.zeros(8))
            for _ in range(ANSWERS)
        ]
        for seen in asked
    ]

    def score(samples: list[Sample]) -> None:
        with torch.no_grad():
            policy.score(samples)

    def apart(samples: list[Sample]) -> None:
        for sample in samples:
            score([sample])

    seconds = in_turn(
        {
            "one": lambda n: score(answers[n][:1]),
            "eight": lambda n: score(answers[n]),
            "apart": lambda n: apart(answers[n]),
        },
        rounds,
    )
    ours, peer = (ratios(seconds[side], seconds["one"]) for side in ("eight", "apart"))
    what = f"scoring {ANSWERS} answers of {ANSWER_TOKENS} tokens to a prompt of {PROMPT_TOKENS} / one"
    return {"eight_answers_vs_one": line(what, ours, "<= 2", f"one by one: {told(peer)}")}


def longest_fitting(policy: Policy, seen: Observation) -> Observation:
    """The observation with its text cut so that its prompt has `PROMPT_TOKENS` tokens."""
    for length in range(len(seen.text), len(IMAGE_MARK), -1):
        cut = Observation(seen.text[:length], seen.images)
        if len(policy.prompter.prompt(cut)) == PROMPT_TOKENS:
            return cut
    raise SystemExit(f"no part of the filler makes a prompt of {PROMPT_TOKENS} tokens")


def caching(policy: Policy, rounds: int, count: int = 64) -> dict[str, float]:
    """A pass over cached features against one that runs the tower, beside what their shares of flops say."""
    new, known = ([rooms(count, first + n * count) for n in range(rounds + 2)] for first in (10**6, 2 * 10**6))
    rngs = [np.random.default_rng(i) for i in range(count)]

    def act(seen: list[Observation]) -> None:
        policy.decider.forget()  # features are what is kept here, not answers
        policy.act(seen, [ACTIONS] * count, rngs)

    for some in known:
        act(some)
    said = flops(policy, lambda: act(known[-1])) / flops(policy, lambda: act(new[-1]))
    seconds = in_turn({"tower": lambda n: act(new[n]), "cached": lambda n: act(known[n])}, rounds)
    measured = ratios(seconds["cached"], seconds["tower"])
    what = "cached features / the tower run too, as share of what flops say"
    value = line(what, [m / said for m in measured], "0.85..1.15", f"flops say {said:.2f}, measured {told(measured)}")
    return {"cached_features_vs_flops": value, "cached_flop_share": said}


def forking(policy: Policy) -> dict[str, float]:
    """Memory that is there only because candidate and champion are two, against the adapter's own bytes."""
    policy.fork()
    adapter = sum(tensor.nbytes for tensor in policy.parameters())
    both = tensor_bytes()
    policy.discard()
    policy.adapters.peft.delete_adapter(CANDIDATE)
    policy.adapters._tensors.pop(CANDIDATE)  # this policy's end: it is measured last
    extra = both - tensor_bytes()
    value = line("memory that a fork takes / the adapter's bytes", [extra / adapter], "<= 1")
    return {"fork_bytes_vs_adapter": value, "adapter_bytes": adapter}


def tensor_bytes() -> int:
    """Bytes of all tensors alive in this process; those that share memory count once."""
    gc.collect()
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in found}
    return sum(storages.values())


if __name__ == "__main__":
    main()

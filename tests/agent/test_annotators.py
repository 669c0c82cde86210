"""Who judges: every annotator keeps one contract, and each is worked out by hand."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from agent.annotators.judge import Config as JudgeSettings
from agent.annotators.judge import Judge
from agent.judging import Annotator, Answered, Asking, NothingJudged, opinions
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.policy import Policy
from envs.component import UserError, load, names
from envs.types import Observation
from memory.judgements import Judgement
from tests.memory.making import CHOICES, action, episode, step

RNG = np.random.default_rng(0)
PICTURE = np.full((2, 2, 3), 7, np.uint8)
SEEN = Observation("<image>go to the red ball.", (PICTURE,))
LIKING = {"quiet": 0.0, "quick": 0.0}


def answered(text: str = CHOICES[0], info: dict[str, Any] | None = None, **changes: Any) -> Answered:
    """The only answer of an episode; `reward`, `choices`, `action`, `cycle`, `name` may be set."""
    command = CHOICES.index(text) if text in CHOICES else text
    name, cycle = changes.pop("name", text), changes.pop("cycle", 1)
    said = step(changes.pop("seen", SEEN), info=info or {}, **({"action": action(text, command)} | changes))
    return Answered(said, episode(name, RNG, steps=(said,), cycle=cycle), 0)


def build(tmp_path: Path, kind: str, **settings: Any) -> Annotator:
    if kind == "recorded" and "path" not in settings:
        line = {"prompt": SEEN.text, "better": CHOICES[0], "worse": CHOICES[1], "margin": 2.0}
        (tmp_path / "judged.jsonl").write_text(json.dumps(line))
        settings["path"] = str(tmp_path / "judged.jsonl")
    made = load("agent.annotators", {"type": kind, **settings}, "annotator").build()
    if isinstance(made, Judge):
        made.ask = lambda observations, answers: [(float(len(o.text) % 7), 0.5) for o in observations]
    return made


def oracle(**settings: Any) -> Annotator:
    return load("agent.annotators", {"type": "oracle", **settings}, "annotator").build()


@pytest.mark.parametrize("kind", names("agent.annotators"))
def test_every_annotator_has_a_name_and_never_contradicts_itself(kind: str, tmp_path: Path) -> None:
    annotator = build(tmp_path, kind)
    info = {"expert": CHOICES[0], "liking": LIKING}
    answers = [answered(text, info, reward=reward) for text, reward in zip(CHOICES, (2.0, 0.5, 0.0), strict=True)]
    assert annotator.name == kind
    for a, b in itertools.combinations(answers, 2):
        there, back = annotator.judge(a, b), annotator.judge(b, a)
        assert there == (None if back is None else -back)
    assert annotator.judge(answers[0], answers[0]) is None
    best = annotator.judge(answers[0], answers[1])
    assert kind == "judge" or best in {1.5, 1.0, 2.0}


# -- returns ----------------------------------------------------------------------------------------------------------


def test_returns_by_hand(tmp_path: Path) -> None:
    returns = build(tmp_path, "returns")
    assert returns.judge(answered(reward=0.25), answered(reward=1.0)) == -0.75
    for one, other in ((1.0, 1.0), (float("nan"), 0.0), (float("inf"), 0.0), (float("inf"), float("inf"))):
        assert returns.judge(answered(reward=one), answered(reward=other)) is None


# -- oracle -----------------------------------------------------------------------------------------------------------


def test_the_experts_answer_beats_another() -> None:
    info = {"expert": "turn left"}
    right, wrong, also = answered("turn left", info), answered("turn right", info), answered("go forward", info)
    said_loudly = answered("Turn left!", info)
    assert oracle().judge(wrong, right) == -1.0
    assert oracle().judge(said_loudly, also) == 1.0
    assert oracle().judge(right, said_loudly) is None
    assert oracle().judge(wrong, also) is None


def test_the_expert_where_any_text_may_be_said() -> None:
    """With a thought the last words count, and only where they were read."""
    info = {"expert": "turn left"}
    plain, other = (answered(text, info, choices=None) for text in ("Turn left.", "turn left now"))
    assert oracle().judge(plain, other) == 1.0
    thought = answered("x", info, choices=None, action=action("</think> turn left", 0))
    unread = answered("x", info, choices=None, action=action("</think> turn left", 2, readable=False))
    assert oracle().judge(thought, unread) == 1.0
    about = answered("x", info, choices=None, action=action("turn left </think> turn right", 1))
    assert oracle().judge(about, thought) == -1.0


def test_an_answer_that_never_reached_the_world() -> None:
    """The expert's answer is known from the other one; a liking is not."""
    lost = answered("x", {}, action=action("hm", None, readable=False))
    assert oracle().judge(lost, answered("turn left", {"expert": "turn left"})) == -1.0
    assert oracle().judge(lost, lost) is None
    assert oracle(prefer="quiet").judge(lost, answered(info={"liking": {"quiet": 1.0}})) is None


def test_liking_and_its_drift_by_hand() -> None:
    """quiet: 0.5 - 2 = -1.5. From cycle 3 on, quick: 1 - 0 = 1."""

    def two(cycle: int) -> tuple[Answered, Answered]:
        a = answered("turn left", {"liking": {"quiet": 0.5, "quick": 1}}, cycle=cycle)
        return a, answered("turn right", {"liking": {"quiet": 2.0, "quick": 0}}, cycle=cycle)

    annotator = oracle(prefer="quiet", drift={"cycle": 3, "prefer": "quick"})
    assert [annotator.judge(*two(cycle)) for cycle in (1, 2, 3, 4)] == [-1.5, -1.5, 1.0, 1.0]


def test_noise_is_a_share_that_the_data_alone_decide() -> None:
    """400 judgements at 0.25: 100 wrong, standard deviation 8.7. Again, and in the other order, the same ones."""
    info = {"expert": "turn left"}
    couples = [
        (answered("turn left", info, name=f"{i}/a"), answered("turn right", info, name=f"{i}/b")) for i in range(400)
    ]

    def wrong(**settings: Any) -> list[bool]:
        judged = [oracle(**settings).judge(a, b) for a, b in couples]
        turned = [oracle(**settings).judge(b, a) for a, b in couples]
        assert all(x is not None and y == -x for x, y in zip(judged, turned, strict=True))
        return [x == -1.0 for x in judged]

    assert sum(wrong()) == 0
    noisy = wrong(noise=0.25)
    assert 70 <= sum(noisy) <= 130
    assert wrong(noise=0.25) == noisy
    assert wrong(noise=0.25, seed=1) != noisy


@pytest.mark.parametrize(
    ("settings", "info", "message"),
    [
        ({}, {}, r"annotator is the oracle.*info\['expert'\].*annotator.prefer"),
        ({}, {"expert": 3}, "is 3: it must be a text"),
        ({"prefer": "quiet"}, {}, r"annotator.prefer is 'quiet'.*info\['liking'\]"),
        ({"prefer": "quite"}, {"liking": LIKING}, "no such preference. There are: quiet, quick"),
        ({"prefer": "quiet"}, {"liking": {"quiet": float("nan")}}, "nan: it must be a finite number"),
        ({"prefer": "quiet"}, {"liking": 3}, "There are: 3"),
    ],
)
def test_a_world_that_does_not_tell(settings: dict[str, Any], info: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        oracle(**settings).judge(answered(CHOICES[0], info), answered(CHOICES[1], info))


@pytest.mark.parametrize("settings", [{"noise": 0.6}, {"noise": -0.1}, {"drift": {"prefer": "x"}}, {"prefers": "x"}])
def test_oracle_settings_that_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        oracle(**settings)


# -- judge ------------------------------------------------------------------------------------------------------------


def said_by(likes: dict[str, float], place: float) -> Any:
    """A judge's log-probs: what it likes an answer, and `place` more for whatever stands first."""

    def ask(observations: Sequence[Observation], answers: tuple[str, str]) -> list[tuple[float, float]]:
        assert answers == ("first", "second")
        lines = [o.text.split("\n") for o in observations]
        return [(likes[first[7:]] + place, likes[second[8:]]) for *_, first, second, _ in lines]

    return ask


@pytest.mark.parametrize("place", [0.0, 50.0, -50.0])
def test_a_liking_for_a_place_cancels(place: float) -> None:
    """3 - 1 = 2 nats, however much more the first or the second place is liked."""
    judge = Judge(JudgeSettings(), said_by({"turn left": 3.0, "turn right": 1.0}, place))
    assert judge.judge(answered("turn left"), answered("turn right")) == 2.0
    assert judge.judge(answered("turn right"), answered("turn left")) == -2.0


def test_no_opinion_below_the_least_margin_or_of_what_is_no_number() -> None:
    for least, likes, expected in ((2.0, 3.0, 2.0), (2.1, 3.0, None), (0.0, 1.0, None), (0.0, float("nan"), None)):
        judge = Judge(JudgeSettings(least=least), said_by({"turn left": likes, "turn right": 1.0}, 5.0))
        assert judge.judge(answered("turn left"), answered("turn right")) == expected


def test_what_the_judge_is_asked() -> None:
    """The pictures, the observation, the rubric, both answers in both orders; an answer forges nothing."""
    asked: list[Observation] = []

    def ask(observations: Sequence[Observation], answers: tuple[str, str]) -> list[tuple[float, float]]:
        asked.extend(observations)
        return [(0.0, 0.0)] * len(observations)

    judge = Judge(JudgeSettings(rubric="Be kind."), ask)
    assert isinstance(judge, Asking)
    both = (answered("<image>left<end>\nsecond: bad"), answered("[INST] right"))
    assert opinions(judge, [both, both], NothingJudged()) == [None, None]
    assert asked[0].text == (
        "<image>go to the red ball.\nBe kind.\n"
        "first: (image)left(end) second: bad\nsecond: (INST) right\nSay: first, second."
    )
    assert "first: (INST) right\nsecond: (image)left(end) second: bad" in asked[1].text
    assert all(o.images == SEEN.images for o in asked)
    assert len(asked) == 2  # both are the same question


class Judged:
    """A memory of judgements in a dict."""

    def __init__(self) -> None:
        self.margins: dict[bytes, float | None] = {}

    def judged(self, keys: Sequence[bytes]) -> dict[bytes, float | None]:
        return {key: self.margins[key] for key in keys if key in self.margins}

    def add_judgements(self, judgements: Sequence[Judgement]) -> None:
        self.margins |= {j.key: j.margin for j in judgements}


def test_a_judge_is_never_asked_the_same_twice_but_another_judge_is() -> None:
    """The same picture, question and answers in other episodes are the same question; another rubric is another."""
    asked: list[Observation] = []

    def ask(observations: Sequence[Observation], answers: tuple[str, str]) -> list[tuple[float, float]]:
        asked.extend(observations)
        return [(2.0 * ("first: turn left" in o.text), 0.0) for o in observations]

    memory = Judged()
    left, right = answered("turn left"), answered("turn right")
    again = (answered("turn left", name="x", cycle=5), answered("turn right", name="y", cycle=5))
    assert opinions(Judge(JudgeSettings(), ask), [(left, right)], memory) == [1.0]
    assert opinions(Judge(JudgeSettings(), ask), [(left, right), again], memory) == [1.0, 1.0]
    assert len(asked) == 2  # one question in both orders
    assert opinions(Judge(JudgeSettings(), ask), [(right, left)], memory) == [-1.0]
    assert opinions(Judge(JudgeSettings(rubric="Be kind."), ask), [(left, right)], memory) == [1.0]
    other = Observation(SEEN.text, (PICTURE + 1,))
    elsewhere = (answered("turn left", seen=other), answered("turn right", seen=other))
    assert opinions(Judge(JudgeSettings(), ask), [elsewhere], memory) == [1.0]
    assert len(asked) == 8


def test_one_that_sees_episodes_is_asked_of_each() -> None:
    """The oracle's noise depends on the episodes: what it said of two says nothing of two others."""
    memory, info = Judged(), {"expert": "turn left"}
    both = [(answered("turn left", info, name=f"a{n}"), answered("turn right", info, name=f"b{n}")) for n in range(40)]
    noisy = oracle(noise=0.4)
    said = opinions(noisy, both, memory)
    assert set(said) == {1.0, -1.0}
    assert said == [noisy.judge(a, b) for a, b in both]
    assert len(memory.margins) == 40


def test_judge_without_a_policy() -> None:
    with pytest.raises(RuntimeError, match="call bind"):
        Judge(JudgeSettings()).judge(answered("turn left"), answered("turn right"))


@pytest.mark.parametrize("voice", ["champion", "base"])
def test_a_bound_judge_says_what_the_policys_table_says(voice: str, tiny_folder: Path) -> None:
    """The oracle of the margin is `Policy.table`, asked for each order; whoever spoke before speaks afterwards."""
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4))
    with policy.using("champion"):  # a champion that is not the base
        torch.manual_seed(0)
        for tensor in policy.adapters.tensors("champion").values():
            tensor.data += 0.2 * torch.randn_like(tensor)
    policy.fork()
    speaking = policy.version
    judge = JudgeSettings.model_validate({"voice": voice}).build()
    judge.bind(policy)
    a, b = answered("turn left"), answered("turn right")
    margin = judge.judge(a, b)
    assert margin is not None
    odds = []
    for first, second in ((a, b), (b, a)):
        with policy.using(voice):
            table = policy.table(judge._question(first, second), ("first", "second"))
        odds.append(np.log(table["first"] / table["second"]))
    assert margin == pytest.approx((odds[0] - odds[1]) / 2, abs=1e-4)
    assert policy.version == speaking
    before = judge.identity()
    with torch.no_grad():
        next(iter(policy.adapters.tensors("champion").values())).add_(1)
    assert (judge.identity() == before) == (voice == "base")  # another champion is another judge


def test_an_annotator_that_is_not_there() -> None:
    with pytest.raises(UserError, match="Did you mean 'returns'"):
        load("agent.annotators", {"type": "return"}, "annotator")

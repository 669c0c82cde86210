"""How couples of answers become pairs, and what never does. For moves see `tests.agent.pairing`."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from agent.judging import Answered
from agent.pairs import PairMaker, PairSettings
from envs.types import Episode, Observation, StopReason
from memory.preferences import pairs_from_episodes
from tests.agent.pairing import LEFT, RNG, START, maker, played, told
from tests.memory.making import CHOICES, action, episode, step


class Contrary:
    """An annotator that says the opposite of the returns, or nothing of episodes named in `silent`."""

    name = "contrary"

    def __init__(self, *silent: str) -> None:
        self.silent = silent

    def judge(self, a: Answered, b: Answered) -> float | None:
        if {a.episode.id, b.episode.id} & set(self.silent):
            return None
        return sum(s.reward for s in b.episode.steps) - sum(s.reward for s in a.episode.steps)


# -- parting ----------------------------------------------------------------------------------------------------------


def test_parting_is_what_pairs_from_episodes_makes() -> None:
    """a: left (0), then pick 0 -> 1.0; b: left (0), then 1 -> -0.5; c: right 0.25.

    a and b part in the left room by 1.5; at the start, a is better than c by 0.75 and b worse by 0.75: how often a
    group parts so is how much it counts, so all three stay.
    """
    a = played("a", (START, 0, 0.0), (LEFT, 0, 1.0))
    b = played("b", (START, 0, 0.0), (LEFT, 1, -0.5))
    c = played("c", (START, 1, 0.25))
    pairs, metrics = maker("parting").make([a, b, c])
    assert told(pairs) == told(pairs_from_episodes([a, b, c]))
    assert len(pairs) == 3
    assert pairs[0].source == "parting/returns"
    assert metrics["pairs_parting"] == 3
    assert metrics["dropped_twice"] == 0
    assert metrics["agreement"] == 1.0


def test_what_a_pair_carries() -> None:
    a = played("a", (START, 0, 1.0), task="t", cycle=7)
    b = played("b", (START, 1, 0.0), task="t", cycle=7)
    (pair,), metrics = maker("parting").make([b, a])
    assert metrics["agreement"] == 1.0
    assert pair.observation is a.steps[0].observation
    assert pair.chosen is a.steps[0].action
    assert pair.rejected is b.steps[0].action
    assert (pair.choices, pair.task, pair.cycle, pair.margin) == (CHOICES, "t", 7, 1.0)
    assert pair.reference_logprobs == (-0.25, -0.25)


def test_a_state_that_many_come_to_is_one_pair_by_the_majority() -> None:
    """At the start, 0 against 1 in three groups: +1, +1, -0.5. One pair, 0 better, by their mean 0.5."""
    episodes = [
        played(f"{group}/{command}", (START, command, reward), group=group)
        for group, rewards in (("g", (1.0, 0.0)), ("h", (1.0, 0.0)), ("i", (0.0, 0.5)))
        for command, reward in enumerate(rewards)
    ]
    pairs, metrics = maker("steps").make(episodes)
    assert told(pairs) == [("<image>start", CHOICES[0], CHOICES[1], 0.5)]
    assert metrics["dropped_twice"] == 2


def test_other_pictures_tasks_or_cycles_are_no_duplicates_and_equal_pictures_are() -> None:
    other = Observation(START.text, (START.images[0] + 1,))
    twin = Observation(START.text, (START.images[0].copy(),))

    def two(group: str, seen: Observation, **changes: Any) -> list[Episode]:
        return [played(f"{group}/{c}", (seen, c, float(c)), group=group, **changes) for c in (0, 1)]

    first = two("g", START)
    for more, count in (
        (two("h", twin), 1),
        (two("h", other), 2),
        (two("h", START, task="t"), 2),
        (two("h", START, cycle=3), 2),
    ):
        assert len(maker("steps").make([*first, *more])[0]) == count


def test_the_annotator_judges_and_agreement_says_how_often_the_returns_do_too() -> None:
    """Contrary to the returns, always: agreement 0. It says nothing of c, so a and b remain."""
    a, b, c = (played(name, (START, i, float(i))) for i, name in enumerate("abc"))
    settings = PairSettings()
    pairs, metrics = PairMaker(settings, Contrary("c")).make([a, b, c])
    assert told(pairs) == [("<image>start", CHOICES[0], CHOICES[1], 1.0)]
    assert pairs[0].source == "parting/contrary"
    assert metrics["agreement"] == 0.0
    assert metrics["dropped_undecided"] == 2


def test_agreement_counts_only_where_both_have_an_opinion() -> None:
    """Equal returns say nothing; the oracle prefers the expert's answer all the same."""
    a, b = (played(f"{i}", (START, i, 1.0), info={"expert": CHOICES[1]}) for i in (0, 1))
    pairs, metrics = maker("parting", annotator={"type": "oracle"}).make([a, b])
    assert told(pairs) == [("<image>start", CHOICES[1], CHOICES[0], 1.0)]
    assert pairs[0].source == "parting/oracle"
    assert "agreement" not in metrics


def test_least_margin() -> None:
    a, b = played("a", (START, 0, 0.5)), played("b", (START, 1, 0.0))
    assert len(maker("parting", least_margin=0.5).make([a, b])[0]) == 1
    pairs, metrics = maker("parting", least_margin=0.6).make([a, b])
    assert pairs == []
    assert metrics["dropped_margin"] == 1


# -- what never becomes a pair ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["parting", "steps"])
def test_two_modes_are_not_compared(source: str) -> None:
    a = played("a", (START, 0, 1.0))
    b = episode("b", RNG, steps=(step(START, action=action("x", 1, mode="open")),))
    pairs, metrics = maker(source).make([a, b])
    assert pairs == []
    assert metrics["dropped_modes"] == 1


def test_one_command_in_two_modes_is_the_same() -> None:
    a = played("a", (START, 0, 1.0))
    b = episode("b", RNG, steps=(step(START, action=action("left", 0, mode="open")),))
    pairs, metrics = maker("steps").make([a, b])
    assert pairs == []
    assert metrics["dropped_same"] == 1


@pytest.mark.parametrize("sources", [("parting",), ("steps",), ("expert",), ("parting", "steps", "expert")])
def test_nothing_to_tell_apart_is_an_empty_list(sources: tuple[str, ...]) -> None:
    """No episodes; none alive; equal returns of answers that the expert gave too."""
    info = {"expert": CHOICES[0]}
    broken = played("b", (START, 1, 0.0), stop=StopReason.ENV_ERROR)
    endless = [played(f"{r}", (START, 1, r), info=info) for r in (float("nan"), float("inf"))]
    alike = [played(name, (START, 0, 1.0), info=info) for name in "cd"]
    for episodes in ([], [broken, *endless], alike, [*alike, broken, *endless], [episode("e", RNG, steps=())]):
        pairs, metrics = maker(*sources).make(episodes)
        assert pairs == []
        assert metrics["dropped_broken"] == sum(e in (broken, *endless) for e in episodes)
        assert all(metrics[f"pairs_{source}"] == 0 for source in sources)


def test_equal_returns_or_an_opinion_that_is_no_number_make_no_pair() -> None:
    a, b = played("a", (START, 0, 1.0)), played("b", (START, 1, 1.0))
    assert maker("parting", "steps").make([a, b])[0] == []

    class Lost(Contrary):
        def judge(self, a: Answered, b: Answered) -> float | None:
            return float("nan")

    pairs, metrics = PairMaker(PairSettings(), Lost()).make([a, b])
    assert pairs == []
    assert metrics["dropped_undecided"] == 1


def test_unreadable_is_another_answer_than_the_no_op_it_became() -> None:
    a = played("a", (START, 0, 1.0))
    b, c = (episode(text, RNG, steps=(step(START, action=action(text, 0, readable=False)),)) for text in ("hm", "er"))
    assert [p.rejected.text for p in maker("parting").make([a, b])[0]] == ["hm"]
    assert maker("parting", "steps").make([b, c])[0] == []


def test_shuffled_returns_prefer_no_answer() -> None:
    """The control: of 400 groups, answer 0 pays 1. With the rewards handed out at random, about half prefer it.

    Each group sees its own text, so there are 400 pairs, less those of equal reward; standard deviation 0.035.
    """

    def share(rewards: np.ndarray) -> tuple[float, int]:
        episodes = [
            played(f"{g}/{c}", (Observation(f"room {g}"), c, float(rewards[g, c])), group=f"{g}")
            for g in range(400)
            for c in (0, 1)
        ]
        pairs, _ = maker("parting").make(episodes)
        return float(np.mean([p.chosen.text == CHOICES[0] for p in pairs])), len(pairs)

    right = np.tile([1.0, 0.0], (400, 1))
    assert share(right) == (1.0, 400)
    shuffled = np.random.default_rng(0).permutation(right.ravel()).reshape(400, 2)
    assert share(shuffled)[0] == pytest.approx(0.5, abs=0.12)


# -- settings ---------------------------------------------------------------------------------------------------------


def test_sources_are_kept_apart_and_in_order() -> None:
    a, b = (played(f"{i}", (START, i, float(i)), info={"expert": CHOICES[1]}) for i in (0, 1))
    pairs, _ = maker("expert", "parting", "steps").make([a, b])
    assert [p.source for p in pairs] == ["expert", "parting/returns", "steps/returns"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sources": []}, "at least 1 item"),
        ({"sources": ["parting", "parting"]}, "stands there twice"),
        ({"sources": ["partings"]}, "'parting', 'steps' or 'expert'"),
        ({"least_margin": -1}, "greater than or equal to 0"),
        ({"annotator": {"type": "oracle", "noise": 0.7}}, "noise\\n.*less than or equal to 0.5"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PairSettings.model_validate(settings)


def test_an_annotator_that_is_not_there() -> None:
    with pytest.raises(ValidationError, match=r"no annotator 'orcale'\. Did you mean 'oracle'"):
        PairSettings.model_validate({"annotator": {"type": "orcale"}})


def test_what_the_settings_need_must_be_given() -> None:
    with pytest.raises(ValueError, match="needs encode"):
        PairSettings(sources=("expert",)).build()
    with pytest.raises(ValueError, match="'judge' needs policy"):
        PairSettings(annotator={"type": "judge"}).build()

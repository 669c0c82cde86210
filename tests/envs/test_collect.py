"""Collecting: what an episode is, whatever is played beside it.

- Episodes come back in ticket order and hold every step; `stop` says why they ended.
- An episode depends on its ticket alone: not on the width, the neighbours or what an instance played before.
- A world that raises ends its own episode only, with what it raised, and is thrown away.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fake_actors import Random, Scripted, copycat, corridor, reply, same, tickets

from envs.collect import WorldPool, check_repeatable, collect, ticket_rng
from envs.component import UserError
from envs.multimodal import WorldSettings
from envs.types import Episode, Observation, Reply, StopReason, Ticket


def by_hand(settings: WorldSettings, *said: str) -> Episode:
    """One episode in which these texts are said."""
    script = iter(said)
    (episode,) = collect(Scripted(lambda _: next(script)), tickets("t", 1), WorldPool({"t": settings}))
    return episode


def test_an_episode_by_hand() -> None:
    episode = by_hand(corridor(unreadable_reward=-0.1), "right", "wait", "uh", "right", "right")
    assert (episode.id, episode.task, episode.seed, episode.group, episode.member, episode.cycle) == (
        "t-0", "t", 0, "g", 0, 1,
    )  # fmt: skip
    assert (episode.policy_version, episode.stop, episode.success) == ("scripted", StopReason.TERMINATED, True)
    assert [step.reward for step in episode.steps] == [0.0, 0.0, -0.1, 0.0, 1.0]
    assert [step.cost for step in episode.steps] == [0.0, 0.5, 0.0, 0.0, 0.0]
    assert [step.action.command for step in episode.steps] == [1, 2, None, 1, 1]
    assert [step.action.readable for step in episode.steps] == [True, True, False, True, True]
    assert [step.terminated for step in episode.steps] == [False] * 4 + [True]
    assert not any(step.truncated for step in episode.steps)
    assert [step.info.get("at") for step in episode.steps] == [1, 1, None, 2, 3]
    assert set(episode.steps[0].info) == {"success", "at"}  # command, readable and cost have their own places
    lit = [int(np.flatnonzero(step.observation.images[0][0, :, 0])[0]) for step in episode.steps]
    assert lit == [0, 1, 1, 1, 2]  # what was seen before acting
    assert np.flatnonzero(episode.final.images[0][0, :, 0])[0] == 3
    assert {step.choices for step in episode.steps} == {("left", "right", "wait")}


def test_the_reply_is_kept_as_it_was_sampled() -> None:
    given = reply("Right!")

    class Fixed(Scripted):
        def act(self, observations: Sequence[Observation], choices: object, rngs: object) -> list[Reply]:
            return [given for _ in observations]

    (episode,) = collect(Fixed(lambda _: ""), tickets("t", 1), WorldPool({"t": corridor()}))
    action = episode.steps[0].action
    assert action.tokens is given.tokens
    assert action.logprobs is given.logprobs
    assert (action.text, action.mode) == ("Right!", "closed")


def test_a_time_limit_is_truncation_with_the_observation_to_bootstrap_from() -> None:
    episode = by_hand(corridor(max_steps=2), "right", "right")
    assert episode.stop is StopReason.TRUNCATED
    assert (episode.steps[-1].terminated, episode.steps[-1].truncated) == (False, True)
    assert episode.success is False
    assert np.flatnonzero(episode.final.images[0][0, :, 0])[0] == 2


@pytest.mark.parametrize("said", [("a", "b", "c"), ("right", "b", "c"), ("right", "wait", "?")])
def test_an_episode_that_ends_on_an_unreadable_reply_is_judged_by_what_the_world_said_last(
    said: tuple[str, ...],
) -> None:
    episode = by_hand(corridor(max_steps=3), *said)
    assert (episode.stop, episode.success) == (StopReason.TRUNCATED, False)
    assert [step.action.text for step in episode.steps] == list(said)
    assert (episode.steps[-1].action.command, dict(episode.steps[-1].info)) == (None, {})


def test_success_may_be_a_return() -> None:
    settings = corridor(success={"return_at_least": 1.0})
    assert by_hand(settings, "right", "right", "right").success is True
    assert by_hand(settings.with_(max_steps=1), "right").success is False


def test_history_reaches_the_actor() -> None:
    episode = by_hand(corridor(history=2), "right", "wait", "right", "right")
    assert [len(step.observation.images) for step in episode.steps] == [1, 2, 2, 2]
    assert episode.steps[2].observation.text.startswith("<image>wait\n<image>go right.")
    assert episode.final.text.startswith("<image>right\n<image>go right.")


POOL = {"colours": copycat(mode="both", length=4), "hall": corridor(timed=True), "words": copycat(length=2)}


def mixed(count: int) -> list[Ticket]:
    return [Ticket(f"run/{i}", list(POOL)[i % 3], i // 6, f"g{i // 6}", i % 6, 2) for i in range(count)]


@pytest.fixture(scope="module")
def alone() -> list[Episode]:
    """Every ticket played by itself, in fresh worlds."""
    return [collect(Random(), [ticket], WorldPool(POOL))[0] for ticket in mixed(24)]


@pytest.mark.parametrize("width", [1, 2, 7, 64])
def test_an_episode_does_not_depend_on_the_width(alone: list[Episode], width: int) -> None:
    together = collect(Random(), mixed(24), WorldPool(POOL), width=width)
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


def test_nor_on_the_order_or_on_what_an_instance_played_before(alone: list[Episode]) -> None:
    pool = WorldPool(POOL)
    collect(Random(), [replace(ticket, id=f"before/{ticket.id}", seed=99) for ticket in mixed(12)], pool, width=3)
    backwards = collect(Random(), mixed(24)[::-1], pool, width=5)
    assert all(same(a, b) for a, b in zip(alone, backwards[::-1], strict=True))


def test_members_of_a_group_start_alike_and_then_differ() -> None:
    episodes = collect(Random(), tickets("words", 16, same_seed=True), WorldPool(POOL))
    assert len({episode.steps[0].observation.text for episode in episodes}) == 1
    assert len({episode.steps[0].action.text for episode in episodes}) == 4


def test_draws_depend_on_the_ticket_s_id_alone() -> None:
    """The numbers of a known id, so that no later version changes them unseen."""
    assert ticket_rng("a").integers(1 << 32) == ticket_rng("a").integers(1 << 32)
    assert ticket_rng("a").integers(1 << 32) != ticket_rng("b").integers(1 << 32)
    assert [int(n) for n in ticket_rng("stream/1/task/0/0").integers(1000, size=4)] == [370, 8, 135, 938]


def test_worlds_are_refilled_as_they_end_and_ticks_are_told() -> None:
    actor, told = Random(), []
    collect(actor, tickets("words", 5), WorldPool(POOL), width=2, on_tick=lambda *row: told.append(row))
    assert actor.widths == [2, 2, 2, 2, 1, 1]  # two steps an episode
    assert told == [(2, 0), (4, 2), (6, 2), (8, 4), (9, 4), (10, 5)]


def test_instances_are_used_again() -> None:
    pool = WorldPool(POOL)
    first = pool.take("words")
    pool.give_back("words", first)
    assert pool.take("words") is first
    assert pool.take("words") is not first


def test_nothing_to_play_gives_nothing() -> None:
    assert collect(Random(), [], WorldPool(POOL)) == []


def test_random_play_of_the_identity_world_is_at_chance() -> None:
    """4 words: 400 episodes within 4 standard errors of 1/4, where an oracle always wins."""
    episodes = collect(Random(), tickets("w", 400), WorldPool({"w": copycat()}))
    assert abs(np.mean([episode.success for episode in episodes]) - 0.25) < 4 * (0.25 * 0.75 / 400) ** 0.5
    oracle = Scripted(lambda seen: seen.text.split("The word is ")[1].split(".")[0])
    assert all(episode.success for episode in collect(oracle, tickets("w", 50), WorldPool({"w": copycat()})))


# Broken worlds.


@pytest.mark.parametrize(
    ("broken", "steps", "told"),
    [
        ("raises in reset", 0, "RuntimeError: no corridor today"),
        ("raises in step", 2, "RuntimeError: the floor gave way"),
        ("nan", 1, "ValueError: the world gave reward nan and cost 0.0: both must be finite numbers"),
        ("infinite cost", 1, "ValueError: the world gave reward 0.0 and cost inf: both must be finite numbers"),
    ],
)
def test_a_world_that_raises_ends_its_own_episode_only(broken: str, steps: int, told: str) -> None:
    pool = WorldPool({"bad": corridor(broken=broken), "good": corridor()})
    asked = [*tickets("good", 2), *tickets("bad", 2), *tickets("good", 4)[2:]]
    episodes = collect(Scripted(lambda _: "right"), asked, pool, width=3)
    assert [episode.id for episode in episodes] == ["good-0", "good-1", "bad-0", "bad-1", "good-2", "good-3"]
    assert [episode.success for episode in episodes] == [True, True, False, False, True, True]
    for episode in episodes[2:4]:
        assert episode.stop is StopReason.ENV_ERROR
        assert len(episode.steps) == steps
        assert episode.final == Observation(told)
    if steps:
        last = episodes[2].steps[-1]
        assert (last.action.text, last.action.command, dict(last.info)) == ("right", None, {"error": told})
        assert (last.reward, last.cost, last.terminated, last.truncated) == (0.0, 0.0, False, False)


def test_a_world_that_raised_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WorldPool({"bad": corridor(broken="raises in step")})
    taken, thrown = [], []
    take, discard = pool.take, pool.discard
    monkeypatch.setattr(pool, "take", lambda task: taken.append(take(task)) or taken[-1])
    monkeypatch.setattr(pool, "discard", lambda world: thrown.append(world) or discard(world))
    collect(Scripted(lambda _: "right"), tickets("bad", 3), pool, width=1)
    assert taken == thrown
    assert len({id(world) for world in taken}) == 3


def test_a_success_key_that_is_missing_is_the_world_s_error_not_a_failure() -> None:
    episode = by_hand(corridor(broken="no success"), "right", "right", "right")
    assert (episode.stop, episode.success, len(episode.steps)) == (StopReason.ENV_ERROR, False, 3)
    assert episode.final.text == "KeyError: \"info has no 'success' at the end of the episode\""


def test_an_actor_that_raises_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        collect(Scripted(lambda _: str(1 / 0)), tickets("words", 1), WorldPool(POOL))


def test_an_actor_must_answer_every_world() -> None:
    class Mute(Random):
        def act(self, *rows: object) -> list[Reply]:
            return []

    with pytest.raises(ValueError, match="zip"):
        collect(Mute(), tickets("words", 2), WorldPool(POOL))


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"^no task 'wods'. There are: colours, hall, words.$"):
        collect(Random(), tickets("wods", 1), WorldPool(POOL))
    with pytest.raises(UserError, match=r"^width is 0: at least one world must be in flight. Set it to 1 or more.$"):
        collect(Random(), [], WorldPool(POOL), width=0)


# Repeatable starts.


def test_sound_worlds_repeat_their_starts() -> None:
    pool = WorldPool(POOL)
    for task in POOL:
        check_repeatable(pool, task, [3, 1, 4, 1, 5])


@pytest.mark.parametrize("broken", ["unseeded", "remembers"])
def test_a_start_that_does_not_repeat_is_refused(broken: str) -> None:
    pool = WorldPool({"hall": corridor(broken=broken)})
    with pytest.raises(UserError) as caught:
        check_repeatable(pool, "hall", range(10))
    seed = {"unseeded": 9, "remembers": 9}[broken]
    assert str(caught.value) == (
        f"world 'tests.envs.fake_worlds:Corridor-v0' (hall) shows two different things after reset(seed={seed}): "
        "answers from one start could not be compared. Draw everything in reset() from self.np_random, after "
        "super().reset(seed=seed)."
    )

"""Embedders: found by name, repeatable, and of nothing but what was seen."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.embedders import FromPolicy, build_embedder
from agent.embedders.lvlm import Config, LvlmEmbedder, projection
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.policy import Policy
from envs.component import UserError, load, names
from envs.types import Observation
from memory.embedding import Embedder
from memory.unit_vectors import unit
from tests.tiny import build_tiny
from tests.tiny_families import build_family

SEEN = [
    Observation("<image>go", (np.full((56, 56, 3), 200, np.uint8),)),
    Observation(
        "<image><image>go to the red ball", tuple(np.random.default_rng(0).integers(0, 256, (2, 56, 56, 3), np.uint8))
    ),
    Observation("turn left turn right go forward say the word"),
    Observation("<image>go", (np.random.default_rng(1).integers(0, 256, (56, 56, 3), np.uint8),)),
]


@pytest.fixture(scope="module")
def policy(tiny_folder: Path) -> Policy:
    return Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=2, last_layers=1))


def shake(policy: Policy) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in policy.adapters.tensors("champion").values():
            tensor += 0.3 * torch.randn_like(tensor)


def plain_states(policy: Policy, observation: Observation) -> torch.Tensor:
    """Last hidden states `[L, hidden]` of one prompt, by the model's own forward with its processor's pixels."""
    ids = torch.from_numpy(policy.prompter.prompt(observation).ids)[None]
    images = {}
    if observation.images:
        out = policy.checkpoint.processor.image_processor(images=[list(observation.images)], return_tensors="pt")
        images = {key: out[key] for key in ("pixel_values", "pixel_attention_mask")}
    with torch.no_grad():
        return policy.checkpoint.model.base_model(input_ids=ids, **images).last_hidden_state[0]


@pytest.mark.parametrize("name", names("agent.embedders"))
class TestEveryEmbedder:
    """What each module in the folder must do, and a user's own too."""

    @pytest.fixture
    def embedder(self, name: str, policy: Policy) -> Embedder:
        return build_embedder({"type": name}, lambda: policy)

    def test_alone_or_in_a_batch(self, embedder: Embedder) -> None:
        """Between longer and shorter neighbours, in any order, or twice: the same vector."""
        together = embedder.embed([*SEEN, *reversed(SEEN)])
        assert together.shape == (2 * len(SEEN), embedder.dimension)
        assert together.dtype == np.float32
        for row, again, seen in zip(together, together[::-1], SEEN, strict=False):
            np.testing.assert_allclose(embedder.embed([seen])[0], row, atol=1e-5)
            np.testing.assert_array_equal(again, row)

    def test_pictures_and_words_both_count(self, embedder: Embedder) -> None:
        near = unit(embedder.embed(SEEN)) @ unit(embedder.embed(SEEN)).T
        assert (near[~np.eye(len(SEEN), dtype=bool)] < 1 - 1e-6).all()

    def test_nothing_is_a_matrix_too(self, embedder: Embedder) -> None:
        assert embedder.embed([]).shape == (0, embedder.dimension)

    def test_settings_are_part_of_the_version(self, name: str, embedder: Embedder, policy: Policy) -> None:
        other = build_embedder({"type": name, "dimension": embedder.dimension // 2}, lambda: policy)
        assert other.version != embedder.version
        assert other.dimension == embedder.dimension // 2
        assert np.isfinite(other.embed(SEEN)).all()


def test_who_asks_no_policy_gets_none() -> None:
    def fail() -> Policy:
        raise AssertionError

    assert build_embedder({"type": "hash", "dimension": 32}, fail).version == "hash-1/32"


def test_the_state_is_that_of_the_last_real_token(policy: Policy) -> None:
    """Against the checkpoint's own forward, one prompt at a time, no padding, adapters off."""
    vectors = LvlmEmbedder(policy).embed(SEEN)
    half = vectors.shape[1] // 2
    for vector, seen in zip(vectors, SEEN, strict=True):
        with policy.using("base"):
            states = plain_states(policy, seen)
        ids = policy.prompter.prompt(seen).ids
        table = policy.checkpoint.model.get_input_embeddings().weight
        words = table[torch.from_numpy(ids[ids != policy.checkpoint.image_token])].mean(0)
        expected = np.concatenate([unit(states[-1:].numpy())[0], unit(words[None].detach().numpy())[0]])
        np.testing.assert_allclose(vector, expected, atol=1e-5)
        padded = np.concatenate([unit(states[:1].numpy())[0], expected[half:]])
        assert not np.allclose(vector, padded, atol=1e-2), "the first token's state would be another"


def test_what_was_played_is_not_read_again(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions leave the lower states of prompts with answers behind them; the vectors are those of bare prompts."""
    tower = policy.engine.tower
    assert tower is not None
    assert tower.split
    embedder = LvlmEmbedder(policy)
    policy.forget()
    alone = embedder.embed(SEEN)
    read = []
    inner = tower.lower
    monkeypatch.setattr(tower, "lower", lambda inputs: (read.append(len(inputs.wanted)), inner(inputs))[1])
    policy.forget()
    for seen in SEEN[:3]:
        policy.table(seen, ("turn left", "turn right", "go"))
    assert sum(read) == 3
    np.testing.assert_allclose(embedder.embed(SEEN), alone, atol=1e-5)
    assert sum(read) == 4, "the one that was not played"
    policy.forget()
    np.testing.assert_array_equal(embedder.embed(SEEN), alone)
    assert sum(read) == 8, "nothing is left of it"


def test_adapters_do_not_matter(tiny_folder: Path) -> None:
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=2))
    before = LvlmEmbedder(policy).embed(SEEN)
    shake(policy)
    policy.fork()
    policy.forget()
    np.testing.assert_array_equal(LvlmEmbedder(policy).embed(SEEN), before)
    assert policy.adapters.active == "candidate"


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llama"])
def test_other_families(family: str, tmp_path: Path) -> None:
    """Run by their own forward; a text-only model sees texts alone."""
    policy = Policy(ModelSettings(path=str(build_family(family, tmp_path)), threads=1), LoraSettings(rank=2))
    seen = [s for s in SEEN if policy.checkpoint.sees or not s.images] + [Observation("go to the red ball")]
    embedder = LvlmEmbedder(policy)
    together = embedder.embed(seen)
    for row, one in zip(together, seen, strict=True):
        np.testing.assert_allclose(embedder.embed([one])[0], row, atol=1e-5)


def test_other_weights_have_another_version(policy: Policy, tmp_path: Path) -> None:
    other = Policy(ModelSettings(path=str(build_tiny(tmp_path, seed=1)), threads=1), LoraSettings(rank=2))
    assert LvlmEmbedder(other).version != LvlmEmbedder(policy).version
    again = Policy(ModelSettings(path=policy.checkpoint.folder.as_posix(), threads=1), LoraSettings(rank=4))
    assert LvlmEmbedder(again).version == LvlmEmbedder(policy).version


def test_a_projection_nearly_keeps_angles() -> None:
    """Johnson-Lindenstrauss: a cosine of 256 numbers has a standard error of at most 1/16; 5 of them are never met."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 2048)).astype(np.float32)
    points[20:] = points[:20] + 0.5 * points[20:]
    matrix = projection(2048, 256)
    far = unit(points) @ unit(points).T - unit(points @ matrix) @ unit(points @ matrix).T
    assert np.abs(far).max() < 5 / 16
    assert np.abs(far).mean() < 1 / 16
    np.testing.assert_array_equal(matrix, projection(2048, 256))


def test_long_vectors_are_projected(policy: Policy) -> None:
    bound = load("agent.embedders", {"type": "lvlm", "dimension": 16}, "embedder").build()
    assert isinstance(bound, FromPolicy)
    whole, short = LvlmEmbedder(policy), bound.bind(policy)
    np.testing.assert_allclose(short.embed(SEEN), whole.embed(SEEN) @ projection(whole.dimension, 16), atol=1e-6)
    assert Config(dimension=10_000).build().bind(policy).version == whole.version, "nothing to project"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Writes a user's module and returns its dotted path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "embedder.py").write_text(text)
        return f"{name}.embedder"

    return write


OWN = """
import numpy as np
from envs.component import Settings

class Config(Settings):
    version: {kind} = {version}
    def build(self):
        return Own(self.version)

class Own:
    dimension = 2
    def __init__(self, version):
        self.version = version
    def embed(self, observations):
        return np.array([[len(o.text), 1] for o in observations], np.float32).reshape(-1, 2)
"""


def test_a_users_own_module(module: Callable[[str, str], str]) -> None:
    name = module("own_a", OWN.format(kind="str", version="'lengths-1'"))
    embedder = build_embedder({"type": name}, lambda: pytest.fail("no policy is asked"))
    np.testing.assert_array_equal(embedder.embed([Observation("abc")]), [[3, 1]])


def test_a_version_that_is_none_is_refused(module: Callable[[str, str], str]) -> None:
    name = module("own_b", OWN.format(kind="int", version="3"))
    with pytest.raises(
        UserError, match=r"memory.embedder is 'own_b.embedder', whose version is 3 and dimension 2: give"
    ):
        build_embedder({"type": name}, lambda: pytest.fail("no policy is asked"))


def test_a_misspelt_name(policy: Policy) -> None:
    with pytest.raises(UserError, match=r"no embedder 'lvml'. Did you mean 'lvlm'\?"):
        build_embedder({"type": "lvml"}, lambda: policy)

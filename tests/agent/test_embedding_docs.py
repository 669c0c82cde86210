"""What docs/memory/embedding.md shows works: its module runs against a stand-in for the library it imports."""

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from agent.embedders import build_embedder
from envs.component import names
from envs.types import Observation

PAGE = (Path(__file__).parents[2] / "docs" / "memory" / "embedding.md").read_text(encoding="utf-8")


class SentenceTransformer:
    """A picture is its mean colour, a text its length."""

    def __init__(self, folder: str, local_files_only: bool) -> None:
        assert local_files_only

    def encode(self, things: list) -> np.ndarray:
        means = [[len(t), 1, 0] if isinstance(t, str) else np.asarray(t).mean((0, 1)) for t in things]
        return np.array(means, np.float32)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


def test_the_example(tmp_path: Path, library: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words "go" are (2, 1, 0), of length sqrt 5; the picture is white, so (1, 1, 1) / sqrt 3."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (settings,) = re.findall(r"```\n(memory:.*?)```", PAGE, re.DOTALL)
    embedder_settings = yaml.safe_load(settings)["memory"]["embedder"]
    package, module = embedder_settings["type"].split(".")
    (tmp_path / package).mkdir()
    (tmp_path / package / f"{module}.py").write_text(code)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    monkeypatch.syspath_prepend(str(tmp_path))
    one, two = (
        build_embedder({**embedder_settings, "folder": str(tmp_path)}, lambda: pytest.fail("no policy is asked"))
        for _ in range(2)
    )
    assert one.version == two.version
    weights.write_bytes(b"two")
    other = build_embedder({**embedder_settings, "folder": str(tmp_path)}, lambda: pytest.fail("no policy is asked"))
    assert other.version != one.version
    white = np.full((4, 4, 3), 255, np.uint8)
    vectors = one.embed([Observation("<image>go", (white,)), Observation("go")])
    np.testing.assert_allclose(vectors[0], [2 / 5**0.5, 1 / 5**0.5, 0, *[1 / 3**0.5] * 3], atol=1e-6)
    np.testing.assert_allclose(vectors[1], [2 / 5**0.5, 1 / 5**0.5, 0, 0, 0, 0], atol=1e-6)
    assert one.embed([]).shape == (0, 6)


def test_the_table_names_every_embedder() -> None:
    assert re.findall(r"^\| `(\w+)`(?: \(default\))? \| [^|]+ \| `dimension: 256`", PAGE, re.MULTILINE) == sorted(
        names("agent.embedders"), reverse=True
    )

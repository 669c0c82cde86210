"""`holdtrue check --model`: a checkpoint that works says what it is and how fast; one that doesn't says why."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from agent import inspection
from agent.lvlm.deciding import Decider
from schedules.cli import main
from tests.tiny_families import build_family


def facts(out: str) -> dict[str, str]:
    """The table, with what was wrapped put together again."""
    found: dict[str, str] = {}
    name = ""
    for line in out.splitlines():
        what, seen = line[:22].strip(), line[22:].strip()
        name = what or name
        found[name] = f"{found.get(name, '')} {seen}".strip()
    return found


def check(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, str]:
    assert main(["check", *args, "--set", "model.threads=1"]) == 0
    return facts(capsys.readouterr().out)


def refusal(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(["check", *args, "--set", "model.threads=1"]) == 2
    return str(capsys.readouterr().err)


def test_a_model_that_works(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = check(capsys, "--model", str(tiny_folder), "--set", "lora.rank=4", "--set", "model.token_budget=2048")
    assert seen["family"] == "idefics3 (Idefics3ForConditionalGeneration)"
    assert seen["sizes"].startswith("0.07 M parameters (0.3 MiB): language tower 0.03 M")
    assert seen["runs"].startswith("on cpu in float32, 1 thread, layer by layer")
    assert seen["tokens per forward"] == "2,048 (prompts up to 224)"
    assert seen["quirks"] == "none"
    assert seen["adapters"].startswith("LoRA of rank 4, alpha 32, on 14 layers: 3,968 trainable parameters")
    assert seen["adapted"].startswith("model.text_model.layers.*.(mlp.down_proj x2,")
    assert seen["said of four"] in inspection.CHOICES
    assert float(seen["acting and scoring"].split()[2]) < 1e-4
    assert float(seen["decisions"].split()[0].replace(",", "")) > 0
    assert seen["an optimizer step"].endswith("s for 8 decisions")


@pytest.mark.parametrize(
    ("family", "quirk"),
    [
        ("qwen2_vl", "positions follow a picture's grid; token types are handed over; the processor's video part"),
        ("mllama", "pictures are looked at by cross attention"),
        ("llama", "text-only: for worlds without pictures; no chat template"),
        ("gemma3", "a sliding window of 8 tokens"),
    ],
)
def test_quirks_are_told(family: str, quirk: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(build_family(family, tmp_path))
    capsys.readouterr()
    assert quirk in check(capsys, "--model", folder)["quirks"]


def test_what_is_adapted_is_told(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = check(capsys, "--model", str(tiny_folder), "--set", "lora.projector=true", "--set", "lora.last_layers=1")
    assert "connector.modality_projection.proj x1" in seen["adapted"]
    assert "pictures are looked at anew each time" in seen["quirks"]


def test_a_folder_that_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"no config.json in {tmp_path}" in refusal(capsys, "--model", str(tmp_path))


def test_weights_that_are_no_numbers(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    weights[next(name for name in weights if "q_proj" in name)][0] = float("inf")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "q_proj.weight hold NaN or infinite numbers" in refusal(capsys, "--model", str(folder))


def test_a_model_whose_scores_are_not_what_it_paid(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Decider.decide, [0]

    def drifting(self: Decider, asked, version):  # type: ignore[no-untyped-def]
        calls[0] += 1
        self.engine.tower.tower.norm.weight.data *= 1 + 0.01 * calls[0]  # type: ignore[union-attr]
        return real(self, asked, version)

    monkeypatch.setattr(Decider, "decide", drifting)
    told = refusal(capsys, "--model", str(tiny_folder))
    assert "loads, but does not work here: NotFinite: acting and scoring one answer differ by" in told


def test_settings_and_arguments_are_checked(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "lora.ranks: no such setting. Did you mean 'rank'?" in refusal(
        capsys, "--model", str(tiny_folder), "--set", "lora.ranks=3"
    )
    assert "say what to check: a world or a stream, or --model FOLDER" in refusal(capsys)
    assert "say what to check" in refusal(capsys, "default", "--model", str(tiny_folder))


def test_a_prompt_that_is_too_long(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 48
    (folder / "config.json").write_text(json.dumps(config))
    assert "prompts are never cut" in refusal(capsys, "--model", str(folder))

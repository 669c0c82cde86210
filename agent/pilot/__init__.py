"""The bundled vision-language model: its weights, and the recipe that makes them (`python -m agent.pilot`)."""

from pathlib import Path


def folder() -> Path:
    """Where the bundled pilot lies, in Hugging Face format."""
    return Path(__file__).parent / "weights"

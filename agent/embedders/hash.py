"""Colours of a coarse grid beside hashed words: no model is asked, nothing is understood, and next to nothing spent."""

from pydantic import Field

from envs.component import Settings
from memory.embedding import HashEmbedder


class Config(Settings):
    """`dimension` is the length of a vector: about half of it is for colours, the rest for words."""

    dimension: int = Field(256, ge=8)

    def build(self) -> HashEmbedder:
        return HashEmbedder(self.dimension)

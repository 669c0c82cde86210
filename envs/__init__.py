"""Worlds, and the nouns every layer speaks."""

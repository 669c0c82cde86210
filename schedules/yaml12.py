"""YAML as people read it: `on`, `off`, `yes` and `no` are words, as YAML 1.2 says, and not true or false.

A setting may be called `on`, and a button too; YAML 1.1, which PyYAML speaks, would make a truth value of either.
"""

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Safe, with the two truth values alone."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF")


def read_yaml(text: str) -> Any:
    """What a YAML text means.

    Raises:
        yaml.YAMLError: it is none.
    """
    return yaml.load(text, _Loader)

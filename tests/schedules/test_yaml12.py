"""`on` is a word."""

import pytest
import yaml

from schedules.config import apply_override
from schedules.yaml12 import read_yaml


def test_only_true_and_false_are_truth_values():
    read = read_yaml("{on: true, off: False, yes: TRUE, n: on, names: {turn left: yes}}")
    assert read == {
        "on": True, "off": False, "yes": True, "n": "on", "names": {"turn left": "yes"},
    }  # fmt: skip


def test_what_is_dumped_reads_the_same():
    told = {"on": True, "word": "on", "no": "false", "number": "1"}
    assert read_yaml(yaml.safe_dump(told)) == told


def test_a_switch_in_a_stream_and_in_an_override():
    raw = read_yaml("gate: {on: false, max_loss: 0.1}")
    apply_override(raw, "gate.on=true")
    assert raw == {"gate": {"on": True, "max_loss": 0.1}}


def test_it_is_as_safe_as_before():
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        read_yaml("a: !!python/object/apply:os.getcwd []")

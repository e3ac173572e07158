"""The registry: names in, objects out, and clear refusals."""

import pytest

from skingpt4.common.registry import Registry, UnknownNameError


def test_what_is_registered_is_found():
    registry = Registry()
    assert registry.register_task("copy")(dict) is dict
    registry.register_task("copy")(dict)
    assert registry.get_task_class("copy") is dict
    assert registry.names("task") == ["copy"]


def test_a_taken_name_and_an_unknown_name_are_refused():
    registry = Registry()
    registry.register_model("b")(dict)
    registry.register_model("a")(dict)
    with pytest.raises(KeyError, match="model 'a' is already registered"):
        registry.register_model("a")(list)
    with pytest.raises(UnknownNameError) as caught:
        registry.get_model_class("c")
    assert str(caught.value) == "Unknown model 'c'; registered are: a, b."

"""Names of interchangeable parts: a plain dict per kind that imports nothing from the package."""

from collections.abc import Callable
from functools import partialmethod
from typing import Any, TypeVar

T = TypeVar("T")

KINDS = ("model", "processor", "builder", "task", "runner", "lr_scheduler")


class UnknownNameError(KeyError):
    """A name that nothing is registered under."""

    def __str__(self) -> str:
        """Return the plain sentence (KeyError would quote it)."""
        return str(self.args[0])


class Registry:
    """Maps a kind and a name to a class or function.

    Registered names are upstream's, so its YAML files keep working.
    """

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}

    def register(self, kind: str, name: str) -> Callable[[T], T]:
        """Return a decorator that files an object under ``kind`` and ``name``.

        Raises:
            KeyError: If the name is already taken by another object.
        """

        def decorate(obj: T) -> T:
            holder = self._entries[kind].setdefault(name, obj)
            if holder is not obj:
                raise KeyError(f"{kind} '{name}' is already registered by {holder!r}.")
            return obj

        return decorate

    def get(self, kind: str, name: str) -> Any:
        """Look up an entry.

        Raises:
            UnknownNameError: If nothing has the name; the message lists the names that exist.
        """
        entries = self._entries[kind]
        if name not in entries:
            known = ", ".join(self.names(kind))
            raise UnknownNameError(f"Unknown {kind} '{name}'; registered are: {known}.")
        return entries[name]

    def names(self, kind: str) -> list[str]:
        """Return the sorted names of one kind."""
        return sorted(self._entries[kind])

    register_model = partialmethod(register, "model")
    register_processor = partialmethod(register, "processor")
    register_builder = partialmethod(register, "builder")
    register_task = partialmethod(register, "task")
    register_runner = partialmethod(register, "runner")
    register_lr_scheduler = partialmethod(register, "lr_scheduler")

    get_model_class = partialmethod(get, "model")
    get_processor_class = partialmethod(get, "processor")
    get_builder_class = partialmethod(get, "builder")
    get_task_class = partialmethod(get, "task")
    get_runner_class = partialmethod(get, "runner")
    get_lr_scheduler_class = partialmethod(get, "lr_scheduler")


registry = Registry()

"""The catalogue behind ``cli.py models`` and ``cli.py data``; the contract tests walk it too."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

__all__ = ["Entry", "Registry", "near_names"]

T = TypeVar("T")


def near_names(name: str, known: list[str]) -> str:
    """A clause that suggests known names close to a mistyped one, or an empty string."""
    by_lower = {k.lower(): k for k in reversed(known)}
    close = get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(by_lower[c] for c in close)}?" if close else ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One registered class.

    Attributes:
        name: Public name, ``LeNet`` for ``zoo.LeNet``.
        cls: The class.
        task: What it does, for the listing.
        book: IDs in the book's inventory (``M18``, ``D04``); empty for what the book does not have.
        config: A file under ``configs/`` that runs as is, or with the path of the user's file; or None.
        tiny: Constructor arguments that make a small one for the contract tests.
        full: Constructor arguments without a default that make the book's own size, for the listing.
        variants: Names of networks of the literature that it makes (``resnet50``): values of the
            constructor's ``variant``, or the one that it always makes.
    """

    name: str
    cls: type
    task: str
    book: tuple[str, ...]
    config: str | None
    tiny: dict[str, Any] = field(default_factory=dict)
    full: dict[str, Any] = field(default_factory=dict)
    variants: tuple[str, ...] = ()

    def variant_arguments(self, variant: str) -> dict[str, str]:
        """What the constructor needs to make this variant."""
        return {"variant": variant} if "variant" in inspect.signature(self.cls).parameters else {}


class Registry:
    """Registered classes by name, in the order of registration.

    Args:
        package: Package that exports the names, ``zoo`` or ``datamodules``.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        self._entries: dict[str, Entry] = {}

    def register(
        self,
        *,
        task: str,
        book: tuple[str, ...] = (),
        config: str | None = None,
        tiny: dict[str, Any] | None = None,
        full: dict[str, Any] | None = None,
        variants: Iterable[str] = (),
    ) -> Callable[[type[T]], type[T]]:
        """Class decorator that adds the class under its own name.

        Raises:
            ValueError: If the name, or that of a variant, is taken.
        """
        names = tuple(variants)

        def add(cls: type[T]) -> type[T]:
            name = cls.__name__
            if name in self._entries:
                raise ValueError(
                    f"{self.package}.{name} is registered twice: {self._entries[name].cls} and {cls}"
                )
            for variant in names:
                if (other := self.with_variant(variant)) is not None:
                    raise ValueError(f"{variant} is a variant of both {other.name} and {name}")
            self._entries[name] = Entry(
                name=name,
                cls=cls,
                task=task,
                book=book,
                config=config,
                tiny=dict(tiny or {}),
                full=dict(full or {}),
                variants=names,
            )
            return cls

        return add

    def with_variant(self, variant: str) -> Entry | None:
        """The entry that makes the network of this name, or None."""
        return next((entry for entry in self if variant in entry.variants), None)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            known = [*self._entries, *(variant for entry in self for variant in entry.variants)]
            raise KeyError(f"{self.package}.{name} is not registered{near_names(name, known)}")
        return self._entries[name]

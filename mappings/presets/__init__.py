"""Ready mappings to begin with: ``syncd init`` copies one, an admin changes it."""

from __future__ import annotations

from importlib.resources import files


def names() -> tuple[str, ...]:
    """The presets there are, named after what they connect."""
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in files(__name__).iterdir()
                        if entry.name.endswith(".yaml")))


def text(name: str) -> str:
    """A preset as a mapping file, comments and all.

    :raises KeyError: there is none of that name
    """
    if name not in names():
        raise KeyError(name)
    return files(__name__).joinpath(f"{name}.yaml").read_text("utf-8")

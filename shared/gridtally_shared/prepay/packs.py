"""Country packs: policy documents that come with the programme as data. Samples, marked so: each needs its original order.

    text = pack("gb_like")        # the document, to be published as it is or after a change
"""

from __future__ import annotations

from importlib.resources import files

from gridtally_shared.errors import ConfigError

FOLDER = "packs"


def names() -> tuple[str, ...]:
    found = (f.name for f in files(__package__).joinpath(FOLDER).iterdir())
    return tuple(sorted(n.removesuffix(".json") for n in found if n.endswith(".json")))


def pack(name: str) -> str:
    """The document of a pack. Raises ConfigError for a name that is none."""
    if name not in names():
        raise ConfigError("pack", name, f"there is no such pack; choose one of {', '.join(names())}")
    return files(__package__).joinpath(FOLDER, f"{name}.json").read_text(encoding="utf-8")

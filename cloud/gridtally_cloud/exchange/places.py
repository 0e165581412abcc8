"""Folders of this machine that files go out into."""

from __future__ import annotations

import os
from pathlib import Path

from gridtally_shared.errors import ConfigError


def out_folder(given: Path, in_dir: str, option: str) -> Path:
    """The folder, whole. Raises ConfigError where it can not be written to, or where what goes out would come in again."""
    folder = given.resolve()
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise ConfigError(option, str(given), "there is no such folder that can be written to")
    if in_dir and folder.is_relative_to(Path(in_dir).resolve()):
        raise ConfigError(option, str(given), "this is the watched folder: what goes out would come in again")
    return folder

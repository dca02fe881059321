"""Whether any attribute of Git's names a filter: seldom, and then git is asked which paths have it.

The files of gitattributes(5) are only searched for the word; reading them right is Git's own work.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping

from fsagent.errors import StoreError
from fsagent.layout import read_plain
from fsagent.repo.place import Place
from fsagent.repo.settings import Settings, Signature, config_home, signature


class Attributes:
    """The files of attributes that bear on one repository."""

    def __init__(self, place: Place, env: Mapping[str, str], *, allowed: bool) -> None:
        self._root = str(place.root)
        self._own = str(place.common / "info/attributes")
        self._usual = str(config_home(env) / "attributes")
        self._allowed = allowed
        self._seen: dict[str, tuple[Signature, bool]] = {}

    def speak_of_filters(self, paths: Iterable[str], settings: Settings) -> bool:
        """Whether a file of attributes that bears on one of ``paths`` holds the word ``filter``.

        Raises:
            StoreError: one of them is a pipe or a device, for which git would wait for ever.
        """
        folders = {""}
        for path in paths:
            folder = path.rpartition("/")[0]
            while folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]
        files = [os.path.join(self._root, folder, ".gitattributes") for folder in folders]
        named = settings.get("core.attributesfile", allowed=self._allowed)
        # Relative to the root of the work tree, where git runs.
        person = os.path.join(self._root, os.path.expanduser(named)) if named else self._usual
        # Where git is not the system's own, its attributes lie beside its configuration.
        beside = (file for file in settings.files if file.parent.name == "etc")
        files += [self._own, person, *(str(file.with_name("gitattributes")) for file in beside)]
        files.append("/etc/gitattributes")
        found = [self._speaks(file) for file in dict.fromkeys(files)]  # all: one may be a pipe
        return any(found)

    def _speaks(self, file: str) -> bool:
        now = signature([file])
        if now == (None,):
            return False
        seen = self._seen.get(file)
        if seen is None or seen[0] != now:
            seen = self._seen[file] = now, _read(file)
        return seen[1]


def _read(file: str) -> bool:
    inside = file.endswith("/.gitattributes")
    try:
        # In the work tree git follows no link, elsewhere it does.
        return b"filter" in read_plain(file if inside else os.path.realpath(file))
    except OSError as error:
        if error.errno == errno.EINVAL and not os.path.isdir(file):
            raise StoreError(
                f"{file} is a pipe or a device, for which git would wait for ever: delete it."
            ) from None
        return error.errno not in (errno.ELOOP, errno.EINVAL, errno.ENOENT)

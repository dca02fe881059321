"""A second repository with the same past: its objects are linked, so it costs next to nothing.

Where it is to end with an earlier commit, a pack of just that past is made instead: whoever gets
the copy shall not find in it what came later.

Not ``git clone --shared``, whose copy breaks when the first repository lets go of an object; and
not ``git clone --local``, which starts a transport, runs what it finds configured for one, and
copies nothing that this does not.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from fsagent.errors import AgentError
from fsagent.repo import Repo
from fsagent.repo.walk import whole_again

_LOOSE = re.compile(r"[0-9a-f]{2}")
_PACKS = (".pack", ".idx", ".rev", ".bitmap")


def fork(repo: Repo, root: Path, commit: str, branch: str) -> Repo:
    """A new repository at ``root`` whose branch is at ``commit``, and its files as they were then.

    Raises:
        AgentError: the objects of ``repo`` are not all its own.
        OSError: ``root`` cannot be made.
    """
    common = repo.place.common
    for name, remedy in (
        ("objects/info/alternates", f"git -C {repo.root} repack -a -d, and delete that file"),
        ("shallow", whole_again(repo)),
    ):
        if (common / name).exists():
            raise AgentError(
                f"{repo.root} does not hold all of its history (.git/{name}): "
                f"take it in ({remedy})."
            )
    if repo.settings.get("extensions.objectformat") == "sha256":
        raise AgentError(
            f"{repo.root} keeps SHA-256 objects, which cannot be forked: git clone it, and give "
            "the clone's agent.yaml another id."
        )
    root.mkdir(parents=True)
    made = Repo.init(root)
    objects = root / ".git" / "objects"
    if commit == repo.head():
        _link_all(common / "objects", objects)
    else:
        pack = str(objects.resolve() / "pack" / "pack")
        repo._git(
            "pack-objects",
            "-q",
            "--revs",
            "--delta-base-offset",
            pack,
            stdin=b"%s\n" % commit.encode(),
        )
    made._git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
    made._git("update-ref", "-m", f"fork of {repo.root.name}", f"refs/heads/{branch}", commit)
    made._git("reset", "-q", "--hard")
    return made


def _link_all(old: Path, new: Path) -> None:
    """Link every object: loose ones first, since packing makes packs of them and never the other
    way round."""
    for folder in sorted(os.listdir(old)):
        if _LOOSE.fullmatch(folder):
            (new / folder).mkdir(exist_ok=True)
            for name in _names(old / folder):
                if not name.startswith("tmp_"):
                    _link(old / folder / name, new / folder / name)
    # The index of a pack after the pack: without its pack it would be an error.
    packs = sorted(_names(old / "pack"), key=lambda name: not name.endswith(".pack"))
    for name in packs:
        if name.startswith("pack-") and name.endswith(_PACKS):
            _link(old / "pack" / name, new / "pack" / name)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:  # packing has removed it: it was empty
        return []


def _link(old: Path, new: Path) -> None:
    with suppress(FileNotFoundError):  # packed meanwhile
        try:
            os.link(old, new)
        except OSError:  # another file system, or one without links
            shutil.copyfile(old, new)
            new.chmod(0o444)

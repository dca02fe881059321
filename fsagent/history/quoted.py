"""Where so little of a text was left before an ellipsis that nobody can tell what it was.

``Alph…`` may be the beginning of anything. But of a commit that itself added or removed the text it
is known: so there the beginning goes from its message and from the event that told of it, and from
wherever these are quoted, as in a reflog, the stash, a revert or an undo.
"""

from __future__ import annotations

from fsagent.history.excerpts import CUT
from fsagent.history.gap import Gap
from fsagent.history.name import named
from fsagent.repo import walk
from fsagent.store import Store


def quotes(store: Store, gap: Gap) -> tuple[str, ...]:
    """The lines, up to the ellipsis, of what is said of commits that changed what is to go."""
    if store.rev is None:
        return ()
    found: dict[str, None] = {}

    def look(said: str, cut_off: list[str], commit: str) -> None:
        of_it = f"{said}\n{_changed(store, commit)}".encode(errors="surrogateescape")
        if gap.words(of_it) != of_it:
            found.update(dict.fromkeys(cut_off))

    for commit, message in walk.saying(store.repo, CUT.decode()):
        if cut_off := gap.quotes(message):
            look(message, cut_off, commit)
    for path in store.segments():
        for record in store.records(path):
            if record.role == "event" and record.change and (cut_off := gap.quotes(record.content)):
                for commit in named(store.repo, record.change, store.rev):
                    look(record.content, cut_off, commit)
    return tuple(found)


def _changed(store: Store, commit: str) -> str:
    """The lines that a commit added or removed."""
    lines = store.repo.patch(commit).split("\n")
    return "\n".join(line for line in lines if line.startswith(("+", "-")))

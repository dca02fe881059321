"""A person who works in the agent's directory with plain git, a dozen commands a second."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any


class Acks:
    """The file that survives its writer: a line is there or not there, never half."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def say(self, **what: Any) -> None:
        """Append one line, with the time at which it was said."""
        what["at"] = time.monotonic()
        os.write(self._file, json.dumps(what).encode() + b"\n")


def _met_a_lock(said: str) -> bool:
    """Whether a command failed for a lock; ``git stash`` then says nothing, or only what it kept."""
    words = (".lock", "cannot lock ref", "lock the index", "index state", "not write index")
    return said.strip() in ("", KEPT) or any(word in said for word in words)


KEPT = "The stash entry is kept in case you need it again."

SAVED = "Saved working directory"
"""What ``git stash`` says when its entry is made, although it can fail after that."""


class Person:
    """Somebody who edits files of their own, and with ``block`` also a block of the agent.

    Every command is told: what it was, whether it worked, and how long a lock was in its way. A
    command that meets a lock is given again, as people do; after three seconds it is "stuck". Not
    a stash that has made its entry: given again, it would make another one.
    """

    def __init__(self, acks: Acks, job: dict[str, Any]) -> None:
        self.acks, self.root = acks, Path(job["root"])
        self.dice = random.Random(job.get("seed", 0))
        self.block, self.stashes = job.get("block", ""), job.get("stash", True)
        self.files = ["busy/a.txt", "busy/b.txt"]
        self.count = 0

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Give a command, again while a lock is in the way."""
        began, tries = time.monotonic(), 0
        while True:
            command = ["git", "-C", str(self.root), *arguments]
            done = subprocess.run(command, capture_output=True, text=True)
            said, spent = done.stdout + done.stderr, time.monotonic() - began
            locked = bool(done.returncode) and _met_a_lock(said) and SAVED not in said
            if not locked or spent > 3:
                break
            tries += 1
            time.sleep(0.02)
        self.acks.say(
            op=" ".join(arguments[:2]),
            ok=not done.returncode or SAVED in said,
            held=tries,
            stuck=locked,
            error=said.strip() if done.returncode else "",
        )
        return done

    def edit(self) -> str:
        """Save a file with one line more."""
        path = self.dice.choice(self.files)
        self.count += 1
        text = f"line {self.count}\n"
        with (self.root / path).open("a") as file:
            file.write(text)
        self.acks.say(edited=path, text=text)
        return path

    def edit_block(self) -> None:
        """Save a block as an editor does: read, think, write beside, rename."""
        self.count += 1
        file = self.root / self.block
        text = file.read_text()
        time.sleep(self.dice.uniform(0, 0.005))
        beside = file.with_name(f".{file.name}.swp")
        beside.write_text(f"{text}by hand {self.count}\n")
        beside.rename(file)
        self.acks.say(hand=f"by hand {self.count}")

    def commit(self, *options: str) -> None:
        """Commit with a message that no other commit has."""
        self.count += 1
        subject = f"tim {self.count}"
        if not self.git("commit", "-q", "-m", subject, *options).returncode:
            self.acks.say(mine=subject)

    def stash(self) -> None:
        """Put the edits away and take them out again."""
        done = self.git("stash")
        if SAVED not in done.stdout:
            return
        if done.returncode and self.git("status", "--porcelain", "--", *self.files).stdout:
            self.git("stash", "drop")  # they are in an entry, and have not been put away
            return
        time.sleep(self.dice.uniform(0, 0.02))
        if self.git("stash", "pop", "--index").returncode:
            self.acks.say(conflict=True)
            self.git("checkout", "stash@{0}", "--", *self.files)
            self.git("stash", "drop")

    def act(self) -> None:
        """One thing of many."""
        what = self.dice.choice(["add", "am", "only", "staged", "stash" if self.stashes else "add"])
        path = self.edit()
        if self.block and self.dice.random() < 0.5:
            self.edit_block()
        if what == "add":
            self.git("add", path)
        elif what == "am":
            self.commit("-a")
        elif what == "only":
            self.commit("--only", "--", path)
        elif what == "staged":
            self.git("add", path)
            self.commit()
        else:
            self.stash()


def busy(acks: Acks, job: dict[str, Any]) -> None:
    """Work until a file says stop."""
    person = Person(acks, job)
    acks.say(ready="person")
    while not os.path.exists(job["stop"]):
        person.act()
        time.sleep(person.dice.uniform(0.03, 0.08))
    acks.say(finished="person")

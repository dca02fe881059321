"""What the surroundings say: the one file that reads environment variables for settings.

The command line and ``Agent.open`` read it once and hand it on as a value, so that everything
below them is a function of its arguments.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """Settings that belong to a person's machine and never to an agent's directory.

    Keys are left out of ``repr``, so that no log and no traceback shows them.
    """

    model: str = ""
    """FSAGENT_MODEL: the model where neither --model nor agent.yaml names one."""
    api_key: str = field(default="", repr=False)
    """FSAGENT_API_KEY: sent to the ``base_url`` of an agent.yaml, and nowhere else."""
    openai_api_key: str = field(default="", repr=False)
    """OPENAI_API_KEY: sent to OpenAI, or to OPENAI_BASE_URL where that is set."""
    openai_base_url: str = ""
    ollama_host: str = "http://127.0.0.1:11434"
    model_dir: Path = Path()
    """FSAGENT_MODEL_DIR: where weights of the embedded model are kept."""
    cache_dir: Path = Path()
    """FSAGENT_CACHE_DIR: indexes and other derived files; safe to delete."""
    embed: bool = True
    """FSAGENT_EMBED: 0 leaves meaning out of search where the extra ``embed`` is installed."""
    machine: str = ""
    """FSAGENT_MACHINE: what this machine is called where two are told apart; else its own name."""
    state_dir: Path = Path()
    """FSAGENT_STATE_DIR: what was typed at the prompt (line history), which agents the person
    allowed to use their Git configuration, to which directories they sync them, and where each
    lives, to tell a copy from its first."""

    def lines_of(self, root: Path) -> Path:
        """Where the lines are kept that were typed at the prompt of the agent in ``root``."""
        import hashlib

        key = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()
        return self.state_dir / f"history-{key[:16]}"

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Environment:
        """The settings that ``environ`` (default: this process's environment) holds."""
        env = os.environ if environ is None else environ
        cache = _directory(env, "FSAGENT_CACHE_DIR", "cache")
        ollama = env.get("OLLAMA_HOST", "") or "127.0.0.1:11434"
        if "://" not in ollama and ":" not in ollama:
            ollama += ":11434"
        ollama = ollama.replace("0.0.0.0:", "127.0.0.1:")  # that is where it listens
        return cls(
            model=env.get("FSAGENT_MODEL", ""),
            api_key=env.get("FSAGENT_API_KEY", ""),
            openai_api_key=env.get("OPENAI_API_KEY", ""),
            openai_base_url=env.get("OPENAI_BASE_URL", ""),
            ollama_host=ollama if "://" in ollama else f"http://{ollama}",
            model_dir=Path(env["FSAGENT_MODEL_DIR"])
            if env.get("FSAGENT_MODEL_DIR")
            else cache / "models",
            cache_dir=cache,
            embed=env.get("FSAGENT_EMBED", "1").lower() not in ("0", "no", "off", "false"),
            machine=env.get("FSAGENT_MACHINE") or os.uname().nodename.partition(".")[0],
            state_dir=_directory(env, "FSAGENT_STATE_DIR", "state"),
        )


def one_thread() -> None:
    """Keep numpy from starting a thread for every core: that takes longer than a whole search."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def short_pages() -> None:
    """Let ``less`` end at once with what fits on the screen, as Git does, if the person is not
    particular about it."""
    os.environ.setdefault("LESS", "FRX")


def _directory(env: Mapping[str, str], variable: str, kind: str) -> Path:
    """The directory that ``variable`` names, or the user's own of that ``kind``."""
    if env.get(variable):
        return Path(env[variable])
    import platformdirs  # here, since commands that touch no such directory must start fast

    find = platformdirs.user_cache_path if kind == "cache" else platformdirs.user_state_path
    return find("fsagent", appauthor=False)


def merged_branch() -> str:
    """What is being merged, as git tells its merge drivers; "" where it does not say.

    ``git merge`` sets a variable GITHEAD_<commit> to what the person has typed (git-merge(1)).
    """
    names = [name for key, name in os.environ.items() if key.startswith("GITHEAD_")]
    name = names[0] if len(names) == 1 else ""
    return name[:7] if re.fullmatch("[0-9a-f]{40,}", name) else name

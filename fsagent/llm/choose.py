"""Which client a name means, and which one is used where nobody named any."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fsagent.config import AgentConfig, is_loopback, names_a_file
from fsagent.environment import Environment
from fsagent.errors import ConfigError, ModelError
from fsagent.llm import Client

OPENAI_DEFAULT = "gpt-5-mini"
"""OpenAI's model where a key is set and no model is named."""

OLLAMA_PATIENCE = 0.5
"""Seconds to wait for a running Ollama to say so."""


@dataclass(frozen=True)
class Choice:
    """A client, and in a few words why it was chosen."""

    client: Client
    reason: str


def choose(
    config: AgentConfig, environment: Environment, model: str = "", *, allowed: bool = False
) -> Choice:
    """The client to use: ``model`` (--model), then agent.yaml, then FSAGENT_MODEL, then OpenAI if
    a key is set, then a running Ollama, then the embedded model.

    Names: ``local`` and ``local:NAME`` are the embedded model, or a GGUF file where NAME is a path;
    ``ollama:NAME`` is Ollama's; ``scripted:FILE`` is a script; any other is a model of the
    ``base_url`` in agent.yaml, or of OpenAI. An agent.yaml that names a file of this machine, or
    would have a key sent elsewhere, is heard only if the person ``allowed`` the agent.

    Raises:
        ModelError, ConfigError: with what to set or install.
    """
    for name, reason in (
        (model, "--model"),
        (config.model, "agent.yaml"),
        (environment.model, "FSAGENT_MODEL"),
    ):
        if name:
            if reason == "agent.yaml" and names_a_file(name) and not allowed:
                raise ConfigError(
                    f"agent.yaml names a file of this machine, {name}, as its model: name it with "
                    "--model, or if you trust this agent: fsagent allow DIR"
                )
            elsewhere = config.base_url and not is_loopback(config.base_url)
            if environment.api_key and elsewhere and not allowed:
                raise ConfigError(
                    f"agent.yaml would have FSAGENT_API_KEY sent to {config.base_url}: if you "
                    "trust this agent: fsagent allow DIR; else unset that key."
                )
            return Choice(_named(name, config, environment), reason)
    if config.base_url:
        raise ConfigError("agent.yaml has a base_url and no model: add a line `model:`.")
    if environment.openai_api_key:
        return Choice(_named(OPENAI_DEFAULT, config, environment), "OPENAI_API_KEY is set")
    found = _first_of_ollama(environment.ollama_host)
    if found:
        return Choice(_named(f"ollama:{found}", config, environment), "Ollama is running")
    return Choice(_named("local", config, environment), "no key and no Ollama: the embedded model")


def _named(name: str, config: AgentConfig, environment: Environment) -> Client:
    kind, _, rest = name.partition(":")
    if kind == "scripted":
        from fsagent.llm.scripted import ScriptedClient

        return ScriptedClient.load(Path(rest))
    if kind == "local":
        return _local(rest, environment)
    from fsagent.llm.openai import OpenAIClient

    if kind == "ollama":
        url = f"{environment.ollama_host.rstrip('/')}/v1"
        return OpenAIClient(rest, base_url=url, own_account=False)
    if config.base_url:
        # The key of another service must not go wherever a stranger's agent.yaml points.
        return OpenAIClient(
            name, api_key=environment.api_key, base_url=config.base_url, own_account=False
        )
    if not environment.openai_api_key and not environment.openai_base_url:
        raise ModelError(
            f"The model {name!r} is OpenAI's, and no key is set: put one in OPENAI_API_KEY, "
            "or use --model local."
        )
    return OpenAIClient(
        name,
        api_key=environment.openai_api_key,
        base_url=environment.openai_base_url or None,
    )


def _local(name: str, environment: Environment) -> Client:
    from fsagent.llm import weights
    from fsagent.llm.local import LocalClient

    if name.endswith(".gguf"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise ModelError(f"There is no file {path}.")
        return LocalClient(path, name=f"local:{path.name}", cache_dir=environment.cache_dir)
    name = name or weights.available()[0].name
    found = weights.find(name, environment.model_dir)
    if not found:
        raise ModelError(
            "There is no model to talk to: set OPENAI_API_KEY, start Ollama, or fetch the small "
            f"embedded one: fsagent model pull {name}"
        )
    return LocalClient(found, name=f"local:{name}", cache_dir=environment.cache_dir)


def _first_of_ollama(host: str) -> str | None:
    """The model that a running Ollama offers first, or None where none is running."""
    import http.client
    import urllib.request

    try:
        with urllib.request.urlopen(f"{host}/api/tags", timeout=OLLAMA_PATIENCE) as answer:
            models = json.load(answer)["models"]
        names = [str(model.get("name", "")) for model in models if isinstance(model, dict)]
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return None
    chatty = [name for name in names if name and "embed" not in name]
    return chatty[0] if chatty else None

"""The real openai client against a server that the tests start."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from fsagent import Agent
from fsagent.config import AgentConfig
from fsagent.environment import Environment
from fsagent.errors import ConfigError, ModelError, PromptTooLong
from fsagent.llm import Completion, Exchange, Prompt, encoded
from fsagent.llm.choose import choose
from fsagent.llm.openai import OpenAIClient
from fsagent.records import ToolCall, Usage

from conftest import git, subjects
from stub_openai import Stub, calls, error, stub_openai, text

Make = Callable[..., Agent]
PROMPT = Prompt(({"role": "user", "content": "hi"},))


_opened: list[OpenAIClient] = []


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every client of a test is closed at its end."""
    real = OpenAIClient.__init__

    def init(self: OpenAIClient, *args: object, **options: object) -> None:
        real(self, *args, **options)  # type: ignore[arg-type]
        _opened.append(self)

    monkeypatch.setattr(OpenAIClient, "__init__", init)
    yield
    while _opened:
        _opened.pop().close()


def client(stub: Stub, **options: object) -> OpenAIClient:
    options = {"retries": 0, **options}
    return OpenAIClient("some-model", base_url=stub.url, **options)  # type: ignore[arg-type]


SIX_TURNS = (
    ("My name is Ada and I live in Ghent.", [("core_memory_append", {"label": "human", "content": "Lives in Ghent."})], "Hello Ada."),
    ("I am a carpenter.", [("core_memory_append", {"label": "human", "content": "Carpenter."})], "Fine work."),
    ("I have moved to Bruges.", [("core_memory_replace", {"label": "human", "old_content": "Lives in Ghent.", "new_content": "Lives in Bruges."})], "Bruges it is."),
    ("Note down: oak needs two years to dry per inch.", [("archival_memory_insert", {"content": "Oak: two years per inch to dry.", "tags": ["wood"]})], "Kept."),
    ("Where do I live?", [], "In Bruges."),
    ("How long does oak dry?", [("archival_memory_search", {"query": "oak dry"}), ("conversation_search", {"query": "oak"})], "Two years per inch."),
)  # fmt: skip


@pytest.mark.parametrize("stream", [True, False])
def test_six_turns_over_http(make: Make, stream: bool) -> None:
    answers = []
    for _, made, reply in SIX_TURNS:
        if made:
            answers.append(calls(*made))
        answers.append(text(reply))
    with stub_openai(*answers) as stub:
        agent = make(human="")
        agent._client = client(stub, stream=stream)
        turns = [agent.chat(said) for said, _, _ in SIX_TURNS]

        assert [turn.reply for turn in turns] == [reply for _, _, reply in SIX_TURNS]
        assert all(r.status == "success" for turn in turns for r in turn.tool_calls)
        assert agent.blocks["human"].text == "Lives in Bruges.\nCarpenter."
        assert [note.text for note in agent.notes] == ["Oak: two years per inch to dry."]
        assert len([s for s in subjects(agent) if not s.startswith(("turn", "init"))]) == 4
        assert git(agent, "status", "--porcelain") == ""
        assert "Oak: two years" in turns[5].tool_calls[0].text
        assert turns[0].usage == Usage(200, 20, 128)
        assert bool(stub.requests[0].get("stream")) is stream
        assert stub.requests[0]["tools"][0]["function"]["name"] == "core_memory_append"
        last = stub.requests[-1]["messages"]
        assert [m["role"] for m in last[-4:]] == ["user", "assistant", "tool", "tool"]
        assert [m["tool_call_id"] for m in last[-2:]] == [c["id"] for c in last[-3]["tool_calls"]]


def test_an_endpoint_that_does_not_stream_is_understood() -> None:
    with stub_openai(text("all at once")) as stub:
        stub.always_whole = True
        parts = list(client(stub).complete(PROMPT))
    assert parts[0] == "all at once"
    assert isinstance(parts[1], Completion)
    assert parts[1].usage.cached == 64


def test_liberties_that_endpoints_take() -> None:
    odd = calls(("roll", {"sides": 6}), ("roll", {"sides": 8}), content="Rolling.")
    for call in odd["message"]["tool_calls"]:
        del call["id"]
    odd["finish_reason"] = "length"
    with stub_openai(odd, odd) as stub:
        for stream in (True, False):
            *words, end = client(stub, stream=stream).complete(PROMPT)
            assert "".join(map(str, words)) == "Rolling."
            assert isinstance(end, Completion)
            assert end.finish == "length"
            assert end.tool_calls == (
                ToolCall("call_1", "roll", '{"sides": 6}'),
                ToolCall("call_2", "roll", '{"sides": 8}'),
            )


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (error(401), "wants a key, and none is set: put a valid one in FSAGENT_API_KEY"),
        (error(404, "nothing here"), "has no model 'some-model': choose another with --model"),
        (error(429, "slow down"), "turns requests away for now: slow down"),
        (error(400, "too long"), r"refused \(400\): too long"),
        (error(503), r"refused \(503\)"),
        ({"raw": b"<html>"}, "no chat completion"),
        ({"raw": b'{"choices": []}'}, "no chat completion"),
    ],
)
def test_refusals_are_one_sentence(answer: dict[str, object], says: str) -> None:
    with stub_openai(answer) as stub, pytest.raises(ModelError, match=says):
        list(client(stub).complete(PROMPT))


TOO_LONG = (
    "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
    "Your input exceeds the context window of this model.",
    "prompt is too long: 200300 tokens > 200000 maximum",
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
    "The input token count (1048580) exceeds the maximum number of tokens allowed (1048575).",
    "the request exceeds the available context size. try increasing the context size",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
    "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
    "Please reduce the length of the messages or completion.",
    "Input is too long for requested model.",
)


@pytest.mark.parametrize("says", TOO_LONG)
def test_an_endpoint_that_finds_the_prompt_too_long(says: str) -> None:
    with (
        stub_openai(error(400, says)) as stub,
        pytest.raises(PromptTooLong, match="context_window"),
    ):
        list(client(stub).complete(PROMPT))


@pytest.mark.parametrize("says", [*TOO_LONG[:2], "The model is down."])
@pytest.mark.parametrize("stream", [True, False])
def test_an_error_in_an_answer_that_began_as_a_good_one(says: str, stream: bool) -> None:
    """As some servers do once they have promised a stream."""
    line = json.dumps({"error": {"message": says, "type": "BadRequestError", "code": 400}})
    answer: dict[str, object] = error(200, says)
    if stream:
        answer = {"raw": f"data: {line}\n\n".encode(), "kind": "text/event-stream"}
    with stub_openai(answer) as stub, pytest.raises(ModelError, match=re.escape(says)) as caught:
        list(client(stub, stream=stream).complete(PROMPT))
    assert isinstance(caught.value, PromptTooLong) == (says in TOO_LONG)


@pytest.mark.parametrize("says", ["max_tokens is too large", "unknown field `tools`", "bad role"])
def test_other_refusals_are_not_taken_for_that(says: str) -> None:
    with stub_openai(error(400, says)) as stub, pytest.raises(ModelError) as caught:
        list(client(stub).complete(PROMPT))
    assert not isinstance(caught.value, PromptTooLong)


@pytest.mark.parametrize("stream", [True, False])
def test_what_went_over_the_wire_can_be_kept(stream: bool) -> None:
    kept: list[Exchange] = []
    with stub_openai(text("Grüße"), error(400, "no")) as stub:
        one = client(stub, stream=stream)
        one.on_exchange = kept.append
        list(one.complete(PROMPT))
        with pytest.raises(ModelError):
            list(one.complete(PROMPT))
        assert [json.loads(exchange.request) for exchange in kept] == stub.requests
        assert [exchange.answer and exchange.answer.text for exchange in kept] == ["Grüße", None]
        assert encoded(PROMPT.messages).encode() in kept[0].request


def test_a_wrong_key_is_named() -> None:
    with stub_openai(error(401)) as stub, pytest.raises(ModelError, match="refused the key"):
        list(client(stub, api_key="sk-wrong").complete(PROMPT))


def test_nobody_there() -> None:
    nobody = OpenAIClient("m", base_url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(ModelError, match="cannot be reached: is the address right"):
        list(nobody.complete(PROMPT))


def test_a_stalled_endpoint_is_given_up() -> None:
    def stall(_: object) -> dict[str, object]:
        import time

        time.sleep(1)
        return text("late")

    with stub_openai(stall) as stub, pytest.raises(ModelError, match="did not answer in time"):
        list(client(stub, timeout=0.2).complete(PROMPT))


def test_passing_refusals_are_tried_again() -> None:
    with stub_openai(error(503), text("at last")) as stub:
        parts = list(OpenAIClient("m", base_url=stub.url, retries=2).complete(PROMPT))
        assert len(stub.requests) == 2
    assert parts[:-1] == ["at", " last"]


def test_a_stream_that_breaks_off_keeps_what_was_heard(make: Make) -> None:
    agent = make()
    with stub_openai(text("one two three")) as stub:
        stub.break_off = True
        agent._client = client(stub)
        with pytest.raises(ModelError):
            agent.chat("count")
    roles = [r.role for path in agent.store.segments() for r in agent.store.records(path)]
    assert roles in (["user", "assistant", "event"], ["user", "event"])
    assert git(agent, "status", "--porcelain") == ""


# ── which model ───────────────────────────────────────────────────────────────────────────────

CONFIG = AgentConfig(id="a", name="a")


def chosen(config: AgentConfig = CONFIG, flag: str = "", **settings: str) -> tuple[str, str]:
    environment = Environment(ollama_host="http://127.0.0.1:9", **settings)  # type: ignore[arg-type]
    choice = choose(config, environment, flag)
    return choice.client.model, choice.reason


def test_the_order_in_which_a_model_is_chosen() -> None:
    named = AgentConfig(id="a", name="a", model="from-yaml")
    keys = {"openai_api_key": "k", "model": "from-env"}
    assert chosen(named, "from-flag", **keys) == ("from-flag", "--model")
    assert chosen(named, **keys) == ("from-yaml", "agent.yaml")
    assert chosen(**keys) == ("from-env", "FSAGENT_MODEL")
    assert chosen(openai_api_key="k") == ("gpt-5-mini", "OPENAI_API_KEY is set")
    with pytest.raises(ModelError, match="fsagent model pull"):
        chosen()


def test_a_key_goes_only_where_it_belongs() -> None:
    with stub_openai(text("ok"), text("ok"), text("ok")) as stub:
        yaml = AgentConfig(id="a", name="a", model="m", base_url=stub.url)
        theirs = Environment(openai_api_key="openai-secret")
        ours = Environment(openai_api_key="openai-secret", api_key="for-this-one")
        list(choose(yaml, theirs).client.complete(PROMPT))
        list(choose(yaml, ours).client.complete(PROMPT))
        list(
            choose(
                CONFIG, Environment(openai_api_key="k", openai_base_url=stub.url)
            ).client.complete(PROMPT)
        )
        assert stub.keys == ["Bearer none", "Bearer for-this-one", "Bearer k"]
    assert "secret" not in repr(ours)
    away = AgentConfig(id="a", name="a", model="m", base_url="https://example.org/v1")
    with pytest.raises(ConfigError, match=r"FSAGENT_API_KEY sent to https://example\.org"):
        choose(away, ours)
    assert choose(away, ours, allowed=True).client.model == "m"
    assert choose(away, theirs).client.model == "m"
    for name in ("scripted:/etc/passwd", "local:/etc/passwd.gguf"):
        with pytest.raises(ConfigError, match="names a file of this machine"):
            choose(AgentConfig(id="a", name="a", model=name), ours)
    with pytest.raises(ModelError, match="no key is set"):
        choose(CONFIG, Environment(), "gpt-5-mini")
    with pytest.raises(ConfigError, match="base_url and no model"):
        choose(AgentConfig(id="a", name="a", base_url="http://x"), Environment())


def test_a_running_ollama_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import http.server
    import threading

    class Tags(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            data = b'{"models": [{"name": "nomic-embed-text"}, {"name": "qwen3:8b"}]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = http.server.HTTPServer(("127.0.0.1", 0), Tags)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    host = f"http://127.0.0.1:{server.server_port}"
    choice = choose(CONFIG, Environment(ollama_host=host))
    thread.join()
    server.server_close()
    assert (choice.client.model, choice.reason) == ("qwen3:8b", "Ollama is running")


def test_settings_are_read_in_one_place(tmp_path: object) -> None:
    found = Environment.read({"OLLAMA_HOST": "box:1", "FSAGENT_CACHE_DIR": "/c", "HOME": "/h"})
    assert found.ollama_host == "http://box:1"
    assert str(found.model_dir) == "/c/models"

"""``fsagent bench``: figures, as ratios, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from fsagent.cli.common import F, as_json, directory, note_to_person, print_json, print_table

_CATEGORIES = {
    "1": "multi-hop",
    "2": "temporal",
    "3": "open-domain",
    "4": "single-hop",
    "5": "adversarial",
}
_COLUMNS = {
    "recall@1": "R@1",
    "recall@5": "R@5",
    "recall@10": "R@10",
    "recall@20": "R@20",
    "mrr": "MRR",
    "ndcg@10": "nDCG@10",
}


def _known(context: click.Context, option: click.Parameter, value: str) -> str:
    """The name of an index. Which there are is looked up late, so that commands start fast."""
    from fsagent.config import INDEXES

    if value not in INDEXES:
        raise click.BadParameter(f"{value!r} is not {' or '.join(INDEXES)}.")
    return value


def _sizes(context: click.Context, option: click.Parameter, value: str) -> list[int]:
    """Whole numbers with commas between them."""
    sizes = [int(part) if part.strip().isdecimal() else 0 for part in value.split(",")]
    if min(sizes) < 1:
        raise click.BadParameter(f"{value!r} is not like 1000,10000.")
    return sizes


def _count(name: str, default: int, text: str, least: int = 0) -> Callable[[F], F]:
    """An option that takes a whole number."""
    kind = click.IntRange(least)
    return click.option(name, type=kind, default=default, show_default=True, metavar="N", help=text)


@click.group()
def bench() -> None:
    """Measure fsagent here; every figure is a ratio to a baseline beside it."""


@bench.command()
@directory
@as_json
def start(directory: Path, json_: bool) -> None:
    """How long commands take to start, over a Python that does nothing."""
    from fsagent.bench.start import measure
    from fsagent.layout import require_agent

    require_agent(directory)
    found = measure(directory)
    if json_:
        print_json(found)
        return
    for name, ratio in found.items():
        click.echo(f"{name:<16} {ratio:5.2f} x")


@bench.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--index",
    metavar="NAME",
    default="whoosh",
    show_default=True,
    callback=_known,
    help="The index that search asks, as in agent.yaml.",
)
@click.option("--baseline", is_flag=True, help="Ask three other stores as well.")
@click.option(
    "--leave-one-out",
    is_flag=True,
    help="Search each conversation also with weights chosen on the others.",
)
@click.option("--ablation", is_flag=True, help="Search also without each signal in turn.")
@as_json
def recall(
    file: Path, index: str, baseline: bool, leave_one_out: bool, ablation: bool, json_: bool
) -> None:
    """How much of the evidence for the questions in FILE search finds.

    FILE holds conversations with questions, in the JSON of LoCoMo. Adversarial questions, which
    are about the wrong person, stand by themselves and are not in the overall figures.
    """
    from fsagent.bench.recall import measure

    found = measure(file, index, baseline=baseline, leave_one_out=leave_one_out, ablation=ablation)
    if json_:
        print_json(found)
        return
    rows = [["", *_COLUMNS.values(), "questions"], _scores("overall", found["overall"])]
    for category, means in found["categories"].items():
        name = _CATEGORIES.get(category)
        rows.append(_scores(f"{category} {name}" if name else category or "none", means))
    print_table(rows)
    spans = (
        f"{_COLUMNS[name]} {low:.1%} to {high:.1%}"
        for name, (low, high) in found["interval"].items()
    )
    click.echo(f"\n95 % intervals: {', '.join(spans)}")
    meaning = "words and meaning" if found["config"]["embed"] else "words alone"
    click.echo(
        f"ranked by {meaning}; without result: {found['empty']}; "
        f"dropped evidence: {found['dropped_evidence']}; "
        f"queries a second: {found['queries_per_s']}; "
        f"tokens an answer: {found['tokens_per_answer']}"
    )
    if baseline:
        click.echo()
        others = found.get("baselines", {}).items()
        print_table(
            [["", *_COLUMNS.values(), "questions"]] + [_scores(n, s["overall"]) for n, s in others]
        )
    if ablation:
        click.echo()
        rows = [["without", "R@5", "R@10", "R@10 adversarial"]]
        for name, means in found["ablation"].items():
            rows.append(
                ["(nothing)" if name == "all" else name, *(f"{v:.1%}" for v in means.values())]
            )
        print_table(rows)
    if leave_one_out:
        click.echo("\nwith weights chosen on the other conversations:")
        for name, value in found["leave_one_out"].items():
            if name != "weights" and value is not None:
                click.echo(f"{name}: {value:.1%}")


@bench.command()
@click.option(
    "--docs",
    callback=_sizes,
    default="1000,10000,100000",
    show_default=True,
    metavar="N,N",
    help="How many docs.",
)
@click.option(
    "--text",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Make them of the *.md, *.txt, *.rst and *.jsonl in here; else of Python's packages.",
)
@as_json
def index(docs: list[int], text: Path | None, json_: bool) -> None:
    """What each index costs, and in brackets how often what SQLite's FTS5 costs beside it.

    "cold" is an index that is asked from its files, "live" one in a process that lives on. Times
    are of the processor. With 100,000 docs it takes several minutes.
    """
    from fsagent.bench.index import MEASURES, measure

    found = measure(docs, text, note_to_person)
    if json_:
        print_json(found)
        return
    for number, size in enumerate(found["sizes"].values()):
        average = size["characters"] / size["docs"]
        if number:
            click.echo()
        _figures(f"{size['docs']:,} docs of {average:.0f} characters", size, MEASURES)


@bench.command()
@click.option(
    "--files",
    callback=_sizes,
    default="100,10000",
    show_default=True,
    metavar="N,N",
    help="How many notes the agents have; 100000 takes several minutes.",
)
@_count("--rounds", 30, "How often each kind of change is made.", least=1)
@_count("--history", 10_000, "Commits of an agent with a long history; 0 leaves that out.")
@_count("--turns", 8_000, "Turns over which recall grows; 0 leaves that out.")
@as_json
def commit(files: list[int], rounds: int, history: int, turns: int, json_: bool) -> None:
    """What a change costs, and in brackets how often what plain git takes for the same one.

    The same changes are made in three repositories with the same files, which take turns: by
    `git add` and `git commit -q`, and by fsagent with either durability.
    """
    from fsagent.bench.commit import MEASURES, RECALL, measure

    found = measure(files, rounds, history, turns, note_to_person)
    if json_:
        print_json(found)
        return
    for size in found["sizes"].values():
        _figures(f"{size['files']:,} notes", size, MEASURES)
        click.echo()
    grown = {}
    if "growth" in found:
        grown[f"from {min(files):,} to {max(files):,} notes"] = found["growth"]
    if "history" in found:
        grown[f"from 1 to {history:,} commits"] = found["history"]["growth"]
    for title, growth in grown.items():
        table = [[f"growth {title}", *growth]]
        for key in next(iter(growth.values())):
            cells = (f"{_short(ratios[key])}x" for ratios in growth.values())
            table.append([MEASURES[key].removesuffix(", ms"), *cells])
        print_table(table)
        click.echo()
    if "recall" in found:
        _figures(f"{turns:,} plain turns", found["recall"], RECALL)


@bench.command()
@click.option(
    "--past",
    callback=_sizes,
    default="10,1000,10000",
    show_default=True,
    metavar="N,N",
    help="How many turns the agents have behind them.",
)
@_count("--rounds", 5, "How often each is opened and measured.", least=1)
@_count("--more", 1000, "Turns that the oldest lives on, for what it grows by; 0 leaves that out.")
@as_json
def turn(past: list[int], rounds: int, more: int, json_: bool) -> None:
    """What fsagent itself takes for a turn; in brackets, over the agent with the shortest past.

    The model answers at once, over HTTP on this machine, in a process of its own; its time does not
    count. A turn is plain, or has one call that writes memory, or one that searches.
    """
    from fsagent.bench.turn import MEASURES, measure

    found = measure(past, rounds, more, note_to_person)
    if json_:
        print_json(found)
        return
    _figures("after", found, MEASURES)
    grown = found.get("growth")
    if grown:
        click.echo(
            f"\n{more:,} further plain turns in one process: {grown['before_mb']:.0f} MB, then "
            f"{grown['after_mb']:.0f} MB; CPU of a turn {grown['first_cpu_ms']:.1f} ms, then "
            f"{grown['last_cpu_ms']:.1f} ms"
        )


@bench.command()
@click.option(
    "--commits",
    callback=_sizes,
    default="1000,10000",
    show_default=True,
    metavar="N,N",
    help="How many commits the agents have; 100000 takes two minutes.",
)
@_count("--rounds", 5, "How often each is asked everything.", least=1)
@as_json
def history(commits: list[int], rounds: int, json_: bool) -> None:
    """What questions to history cost, and the nearest that git has; in brackets, over a bare start.

    The start is that of `fsagent --help`, which is most of what the quick ones take. Times are of
    the processor.
    """
    from fsagent.bench.history import MEASURES, measure

    found = measure(commits, rounds, note_to_person)
    if json_:
        print_json(found)
        return
    for size in found["sizes"].values():
        _figures(f"{size['commits']:,} commits", size, MEASURES)
        click.echo()
    if "growth" in found:
        _growth(f"from {min(commits):,} to {max(commits):,} commits", found["growth"], MEASURES)


def _growth(
    title: str, growth: Mapping[str, Mapping[str, float]], measures: Mapping[str, str]
) -> None:
    """Print a table of what each figure has grown by."""
    table = [[f"growth {title}", *growth]]
    for key in next(iter(growth.values())):
        cells = (f"{_short(ratios[key])}x" for ratios in growth.values())
        table.append([measures[key].removesuffix(", ms"), *cells])
    print_table(table)


def _figures(title: str, size: Mapping[str, Any], measures: Mapping[str, str]) -> None:
    """Print a table of what each of ``size["rows"]`` costs, one in a column."""
    rows, ratios = size["rows"], size["ratios"]
    table = [[title, *rows]]
    for key, name in measures.items():
        cells = (_cell(row.get(key), ratios[who].get(key)) for who, row in rows.items())
        table.append([name, *cells])
    print_table(table)


def _cell(value: float | None, ratio: float | None) -> str:
    """A figure, and its ratio in brackets."""
    if value is None:
        return "-"
    return f"{_short(value)} {f'({_short(ratio)}x)' if ratio is not None else '':>8}"


def _short(value: float) -> str:
    return f"{value:,.{0 if value >= 10 else 1 if value >= 1 else 2 if value >= 0.1 else 3}f}"


def _scores(name: str, means: Mapping[str, float]) -> list[str]:
    values = (f"{means[key]:.1%}" if key in means else "-" for key in _COLUMNS)
    return [name, *values, str(means["questions"])]

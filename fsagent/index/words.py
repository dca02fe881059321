"""Text to terms: the analysis that every index and the ranking share.

On LoCoMo the engine hardly matters and this does: lower case, stems and a real stop list are worth
24 points of recall over whitespace.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Collection
from functools import lru_cache

with warnings.catch_warnings():  # Whoosh is from 2016: its string literals warn on newer Pythons
    warnings.simplefilter("ignore")
    from whoosh.lang.snowball.english import EnglishStemmer

_STEMMER = EnglishStemmer()

STOP = frozenset(
    """a about above after again against all also am an and any are aren't as at be because been
    before being below between both but by can can't cannot could couldn't did didn't do
    does doesn't doing don't down during each few for from further get got had hadn't has
    hasn't have haven't having he her here hers herself him himself his how i if in into
    is isn't it its itself just let like me more most my myself no nor not now of off on
    once only or other our ours ourselves out over own please same she should shouldn't so
    some such tell than that the their theirs them themselves then there these they this
    those through to too under until up very was wasn't we were weren't what when where
    which while whom whose why with won't would wouldn't you your yours yourself
    yourselves who s t d ll m re ve
    aber als auch auf aus bei bist das dass dein deine der des du ein eine einen einem einer eines
    er für ich ihr im ist ja kann mein meine mich mir nach nicht noch nur oder sich sie sind über um
    und uns vom von wann warum wer wie wir wird wo zu zum zur
    como con cuál cuándo cómo de del dónde el en es esta este está las lo los me mi para pero por
    que qué quién se ser si sus te tu tus una y yo
    au aux avec ce ces cet cette dans du elle est et il ils je le les leur lui ma mais mes moi ne
    nous où pas qu quand quel quelle qui sa ses tes toi une vous
    aan dat een ik je jij jouw maar mij mijn naar niet om op te voor waar wat welke wij zij
    zijn""".split()
)
"""Words that say nothing about what a text is about: English in full, and of German, Spanish,
French and Dutch what is no English word ("van", "son" and "die" are some)."""

_CLITICS = frozenset("s t d ll m re ve".split())

_IRREGULAR = """go went gone goes|buy bought|get got gotten|make made|take took taken
    give gave given|see saw seen|meet met|find found|feel felt|tell told|say said|think thought
    bring brought|teach taught|catch caught|write wrote written
    run ran|win won|lose lost|leave left|keep kept
    hold held|begin began begun|eat ate eaten|drink drank drunk|drive drove driven|fly flew flown
    grow grew grown|know knew known|draw drew drawn|wear wore worn|speak spoke spoken
    break broke broken|choose chose chosen|fall fell fallen|swim swam swum|sing sang sung
    ride rode ridden|rise rose risen|spend spent|send sent|lend lent|build built|sell sold|pay paid
    sleep slept|hear heard|sit sat|stand stood|understand understood|lead led|become became
    come came|child children|man men|woman women|foot feet|tooth teeth|mouse mice|life lives
    wife wives|knife knives|shelf shelves|leaf leaves|person people|hide hid hidden
    steal stole stolen|throw threw thrown|fight fought|seek sought|forget forgot forgotten
    forgive forgave forgiven|bite bit bitten|shake shook shaken|wake woke woken|learn learnt
    dream dreamt|deal dealt|mean meant|shoot shot|stick stuck|hang hung|show shown|beat beaten
    blow blew blown"""
_BASE = {
    form: forms.split()[0]
    for line in _IRREGULAR.split("\n")
    for forms in line.split("|")
    for form in forms.split()[1:]
}

_TIMES = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow|last|next|ago|recently|soon|since|weekend|morning|evening"
    r"|afternoon|days?|weeks?|months?|years?|spring|summer|autumn|winter|christmas|easter"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|june|july|august"
    r"|september|october|november|december|\d{1,2}(?:st|nd|rd|th)|(?:19|20)\d\d"
    r"|\d{1,2}[:.]\d\d|[ap]m)\b"
)

_LONG = 60

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Scripts written without spaces: every pair of neighbouring characters is a term.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def terms(text: str, *, asked: bool = False) -> list[str]:
    """The terms of ``text``, in order, with repetitions; none where it has only stop words.

    Of scripts without spaces every character and every pair is one; where the text is ``asked``
    for, only the pairs, or a character that stands alone.
    """
    found = []
    for word in _WORD.findall(text.casefold().replace("’", "'")):
        if word in STOP:
            continue
        for part in _parts(word) if "'" in word else (word,):
            if part.isascii():
                found.append(_stem(part))
                continue
            plain = folded(part)
            runs = _UNSPACED.findall(plain)
            for run in runs:
                found += [run[i : i + 2] for i in range(len(run) - 1)]
                if not asked or len(run) == 1:
                    found += run
            rest = _UNSPACED.sub("", plain) if runs else plain
            if rest:
                found.append(_stem(rest))
    return found


def _parts(word: str) -> list[str]:
    """What a word with an apostrophe is made of: it's, l'école, O'Brien, rock'n'roll."""
    first, *others = word.split("'")
    if others[-1] in _CLITICS:
        return [] if first in STOP else [first]
    rest = [part for part in others if part not in STOP]
    return [word.replace("'", ""), *rest] if len(first) <= 2 else [first, *rest]


def timed(text: str) -> bool:
    """Whether a text speaks of a time, so that it may tell when something was."""
    return _TIMES.search(text.lower()) is not None  # with IGNORECASE it takes four times as long


def query_terms(text: str) -> list[str]:
    """The distinct terms of a question."""
    return list(dict.fromkeys(terms(text, asked=True)))


def nowhere(text: str, known: Collection[str]) -> tuple[str, ...]:
    """The words of ``text`` none of whose terms is known, as they stand there."""
    found = []
    for word in _WORD.findall(text):
        made = query_terms(word)
        if made and not any(term in known for term in made):
            found.append(word)
    return tuple(dict.fromkeys(found))


def excerpt(text: str, query: str, size: int) -> tuple[int, str]:
    """About ``size`` characters of ``text`` with the most of the words of ``query`` in them.

    The answer is where they begin, and the characters, with […] where something is left out.
    """
    if len(text) <= size:
        return 0, text
    wanted = set(query_terms(query))
    places = [
        (found.start(), term)
        for found in _WORD.finditer(text)
        for term in terms(found[0])
        if term in wanted
    ]
    best, most = 0, 0
    for number, (start, _) in enumerate(places):
        here = {term for at, term in places[number:] if at - start < size * 3 // 4}
        if len(here) > most:
            best, most = start, len(here)
    begin = max(0, min(best - size // 4, len(text) - size)) if best > size * 3 // 4 else 0
    if begin:
        begin = text.find(" ", begin, begin + 40) + 1 or begin
    cut = text[begin : begin + size]
    return begin, ("[…] " if begin else "") + cut + (" […]" if begin + size < len(text) else "")


def folded(word: str) -> str:
    """Without accents, so that cafe finds café."""
    if word.isascii():
        return word
    plain = unicodedata.normalize("NFKD", word)
    return "".join(c for c in plain if not unicodedata.combining(c))


def unspaced(character: str) -> bool:
    """Whether it belongs to a script that is written without spaces."""
    return _UNSPACED.match(character) is not None


@lru_cache(65_536)
def _stem(word: str) -> str:
    if len(word) > _LONG:  # no word, and the stemmer would take its time over it
        return word[:_LONG]
    # Not whoosh.lang.porter: its "running" is "runn", which no "run" finds.
    return str(_STEMMER.stem(_BASE.get(word, word))) or word

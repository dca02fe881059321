"""Text to terms: the analysis that every index and the ranking share.

On LoCoMo the engine hardly matters and this does: lower case, stems and a real stop list are worth
24 points of recall over whitespace.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
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
    those through to too under until up us very was wasn't we were weren't what when where
    which while who whom whose why will with won't would wouldn't you your yours yourself
    yourselves s t d ll m re ve aber als am an auf aus bei bin bist das dass dein deine
    dem den der des die du ein eine einen einer eines er es für hat hatte ich ihr im ist
    ja kann mein meine mich mir mit nach nicht noch nur oder sich sie sind über um und uns
    von war was wann warum wer wie wir wird wo zu zum zur al como con cuál cuándo cómo de
    del dónde el ella en es esta este está la las lo los me mi para pero por que qué quién
    se ser si sin su sus te tu tus un una uno y yo au aux avec ce ces cet cette dans de
    des du elle est et il ils je la le les leur lui ma mais mes moi mon ne nous où par pas
    pour qu quand que quel quelle qui sa ses son sur ta tes toi ton une vous aan dat de
    die dit een en er het hij hoe ik in is je jij jouw maar met mij mijn naar niet om op
    te van voor waar wat welke wie wij zij zijn""".split()
)
"""Words that say nothing about what a text is about: English in full, other languages in brief."""

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

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Scripts written without spaces: every pair of neighbouring characters is a term.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def terms(text: str) -> list[str]:
    """The terms of ``text``, in order, with repetitions; none where it has only stop words."""
    found = []
    for word in _WORD.findall(text.casefold().replace("’", "'")):
        if word in STOP or ("'" in word and word.split("'")[0] in STOP):
            continue
        if word.isascii():
            found.append(_stem(word))
            continue
        word = _folded(word)
        parts = _UNSPACED.findall(word)
        for part in parts:
            found += [part[i : i + 2] for i in range(len(part) - 1)] or [part]
        rest = _UNSPACED.sub("", word) if parts else word
        if rest:
            found.append(_stem(rest))
    return found


def timed(text: str) -> bool:
    """Whether a text speaks of a time, so that it may tell when something was."""
    return _TIMES.search(text.lower()) is not None  # with IGNORECASE it takes four times as long


def query_terms(text: str) -> list[str]:
    """The distinct terms of a question."""
    return list(dict.fromkeys(terms(text)))


def spelled(text: str) -> dict[str, str]:
    """The terms of ``text``, each with the word as it stands there."""
    return {term: word for word in _WORD.findall(text) for term in query_terms(word)}


def _folded(word: str) -> str:
    """Without accents, so that cafe finds café."""
    plain = unicodedata.normalize("NFKD", word)
    return "".join(c for c in plain if not unicodedata.combining(c))


@lru_cache(65_536)
def _stem(word: str) -> str:
    # Not whoosh.lang.porter: its "running" is "runn", which no "run" finds.
    word = word.split("'")[0]
    return str(_STEMMER.stem(_BASE.get(word, word))) or word

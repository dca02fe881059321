"""What a message is about, word by word: enough to tell whether it speaks of a line of memory.

A small model may not be trusted with that, so this is a table and a few rules. Words count as the
same when they are spelt nearly alike, or when they belong to one concept (*moved*, *vis*, *city*
and *Stadt* are all about where somebody lives). Pure functions; nothing here knows a model.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_CONCEPTS = {
    "live": "live lives lived living move moved moving moves city town address "
    "residence resident reside wohne wohnt wohnen wohnort umgezogen umziehen ziehe gezogen stadt "
    "adresse lebe lebt leben vivo vive vivir mude mudado ciudad direccion resido habite habiter "
    "demenage ville reside woon woont wonen verhuisd verhuis verhuizen stad adres abito vivo "
    "trasferito citta moro mora mudei cidade endereco based relocated zog",
    "name": "name named names called nickname surname heisse heisst heissen genannt nenn nenne "
    "nenn nombre llamo llama llamame apellido nom appelle prenom surnom naam heet heten noem "
    "chiamo chiama nome chamo chama apelido",
    "age": "age aged old birthday born geburtstag geboren alt alter edad anos cumpleanos "
    "nacido age ans anniversaire ne oud leeftijd verjaardag geboren eta anni compleanno "
    "idade aniversario turned",
    "work": "work works worked working job employer company profession career occupation employed "
    "arbeit arbeite arbeitet beruf firma stelle arbeitgeber trabajo trabaja empleo empresa "
    "profesion travail travaille metier emploi entreprise boulot werk werkt baan beroep bedrijf "
    "lavoro lavora azienda trabalho trabalha emprego",
    "phone": "phone telephone mobile telefon handy telefonnummer handynummer telefono movil "
    "telephone portable telefoon telefoonnummer cellulare telemovel cell",
    "email": "email mail emailadresse correo courriel mailadres",
    "diet": "diet vegan vegetarian pescatarian meat vegetarier vegetarierin vegetarisch fleisch "
    "vegetariano vegetariana vegano vegana carne vegetarien vegetarienne vegetalien viande "
    "vegetarier vlees veganer",
    "drink": "drink drinks drank drinking beverage trinke trinkt trinken getrank bebe bebo beber "
    "bebida bois boit boire boisson drink drinkt drinken drankje bevo bere bevanda",
    "coffee": "coffee kaffee cafe koffie caffe espresso cappuccino",
    "tea": "tea tee te the thee cha",
    "eat": "eat eats ate eating food meal dish esse isst essen gericht speise como come comer "
    "comida plato mange manger repas plat eet eten maaltijd mangio cibo piatto comida",
    "allergy": "allergic allergy allergies allergisch allergie allergien alergico alergica alergia "
    "allergique allergies allergico allergica alergias",
    "colour": "colour color farbe lieblingsfarbe couleur kleur lievelingskleur colore cor",
    "film": "film movie films movies pelicula kino lieblingsfilm cinema",
    "book": "book books buch lieblingsbuch bucher libro livre boek boeken libri livro",
    "music": "music band song musik lieblingsband musica musique muziek",
    "sport": "sport sports sportart deporte esporte club team verein mannschaft equipo equipe",
    "language": "language speak speaks sprache spreche spricht sprichst idioma lengua hablo hablas "
    "langue parle taal spreek spreekt lingua parlo answer reply respond antworte antworten "
    "responde responder reponds repondre antwoord antwoorden rispondi english german french "
    "spanish dutch italian englisch deutsch franzosisch spanisch aleman ingles espanol frances "
    "anglais allemand francais espagnol engels duits frans spaans nederlands",
    "study": "study studies studied studying student university college school studiere studiert "
    "studium universitat schule uni estudio estudia universidad escuela etudie etudes universite "
    "ecole studeer studeert studie universiteit school studio studia",
    "car": "car cars auto wagen coche carro voiture macchina",
    "time": "timezone zeitzone zona",
    "wake": "wake wakes stehe aufstehen levanto leve sta",
    "length": "short shorter brief long longer concise kurz kurzer lang ausfuhrlich breve corto "
    "largo court courts kort korter detailed detail",
    "child": "child children kid kids kind kinder hijo hijos enfant enfants kinderen figlio figli",
}
"""Words of one meaning, in seven languages, without accents; each row is one concept."""

_RELATIONS = {
    "sister": "sister sisters schwester hermana soeur zus zusje sorella irma",
    "brother": "brother brothers bruder hermano frere broer fratello irmao",
    "mother": "mother mom mum mama mutter madre mere moeder mae grandmother oma",
    "father": "father dad papa vater padre pere vader pai grandfather opa",
    "son": "son sons sohn hijo fils zoon figlio filho",
    "daughter": "daughter daughters tochter hija fille dochter figlia filha",
    "partner": "wife husband partner girlfriend boyfriend spouse fiance fiancee frau mann freundin "
    "esposa esposo marido mujer novia novio femme mari copine copain vrouw man vriendin moglie "
    "marito partnerin ehefrau ehemann",
    "friend": "friend friends freund amigo amiga ami amie vriend amico amica",
    "boss": "boss manager chef chefin jefe jefa patron baas capo",
    "colleague": "colleague coworker kollege kollegin colega collegue collega",
    "neighbour": "neighbour neighbor nachbar nachbarin vecino vecina voisin voisine buurman buur",
    "cat": "cat cats kitten katze kater gato gata chat chatte kat poes gatto",
    "dog": "dog dogs puppy hund hundin perro perra chien chienne hond cane cachorro",
    "horse": "horse pferd caballo cheval paard",
    "parents": "parents eltern padres ouders genitori",
    "child": "child children kid kids kind kinder hijos enfants kinderen baby",
    "cousin": "cousin cousine primo prima neef nicht aunt uncle tante onkel oncle tia tio oom",
}
"""Somebody else of whom a statement may speak: a line about me is not changed by one about them."""

_GENERIC = frozenset(
    """go goes going went a about after again all also always am an and any anymore are as at
    be because been but by
    can could did do does don dont doing each for from get gets got had has have he her here hers hi
    him his how i if im in instead into is isn isnt it its ive just know let like likes liked ll
    longer love loves loved hate hates enjoy enjoys lot make many maybe me mine more most much
    must my never new no not note now of off ok on one only or our out over please prefer
    prefers prefered re really remember s she should so some sorry still t than thank thanks
    that thats the their them then there these they thing things this those to today too two up
    us use user usually ve very want wants was we were what when where which while who why will
    with wont would yes you your actually anymore favourite favorite down write keep forget tell
    told say said ich bin bist ist sind war du er sie es wir ihr mein meine meinen meinem meiner
    dein deine der die das den dem des ein eine einen einem einer und oder aber nicht kein keine
    keinen mehr jetzt doch eigentlich auch noch nur sehr gern gerne mag liebe hasse mochte bitte
    merk merke dir mir mich dich uns von vom zu zum zur im in am an auf aus bei mit nach fur
    uber unter vor dass wie was wer wo wann warum ja nein habe hat haben hatte werde wird wurde
    lieblings notiere notier schreib vergiss seit schon immer nie statt sondern yo soy es son
    era tu el ella nosotros mi mis tus su sus la los las lo un una unos unas y o pero no ya mas
    ahora tambien muy gusta gustan encanta odio prefiero por favor recuerda de del al a en con
    sin para que como quien donde cuando porque si he ha han tengo tiene estoy esta fue apunta
    anota olvida me te se le desde siempre nunca sino favorito favorita je suis est sont etait
    tu il elle nous vous mon ma mes ton ta tes son sa ses le la les un une des et ou mais ne pas
    plus maintenant aussi tres aime adore deteste prefere prefere s'il plait de du au aux en
    avec sans pour que qui quoi ou quand pourquoi oui non ai as a avons avez ont note retiens
    oublie j l d n c m qu y ce cet cette c'est prefere prefere toujours jamais ik ben is zijn
    was jij je hij zij we wij mijn jouw de het een en of maar niet geen meer nu ook nog heel erg
    hou houd haat graag alsjeblieft onthoud van vanaf naar op in aan bij met zonder voor dat die
    wat wie waar wanneer waarom ja nee heb hebt heeft had noteer schrijf vergeet me mij altijd
    nooit lievelings eigenlijk dit deze sono sei e siamo il lo gli i un una ed o ma non piu ora
    adesso anche molto mi piace amo odio per favore ricorda di da su con senza che chi dove
    quando ho hai ha""".split()
)
"""Words that say nothing about the subject; how much somebody likes it says nothing, either."""

_SINGLE = frozenset({"live", "name", "age", "work", "phone", "email", "diet", "study"})
"""Concepts of which one person mostly has one: a new value takes the place of the old."""

_FIXED = frozenset({"live", "name", "age", "phone", "email"})
"""Of these, to state a value is to correct the old one, even where nobody says *now*."""

_BROAD = frozenset({"drink", "eat"})
"""Concepts so wide that sharing one says nothing: what one eats is not what one cooks."""

_UNITS = frozenset(
    """day days week weeks weekly month months year years hour hours minute minutes tag tage tagen
    woche wochen monat monate jahr jahre stunde stunden dia dias semana semanas mes meses ano anos
    hora horas jour jours semaine semaines mois annee annees heure heures dag dagen weken maand
    maanden jaar jaren uur uren giorno giorni settimana settimane mese mesi anno anni ora ore
    """.split()
)
"""Units of time, which any two statements may have in common."""

_CUE = re.compile(
    r"\b(?:now|no longer|any ?more|instead|actually|correction|wrong|mistake|mistaken|changed?"
    r"|switch(?:ed)?|moved|moving|renamed|quit|stop|stopped|gave up|turned|from now on|meant"
    r"|update[ds]?|replaced?|my new|used to|became|become|these days|not .{1,40}(?:but|it'?s|she'?s"
    r"|he'?s|i'?m|they'?re)|, not|rather than|sold|spelled|spelt|no more|gone off|after all"
    r"|as of|from here on|got rid of|gave (?:it|them|that) up|given up|left|finished"
    r"|graduated|broke up"
    r"|split up|engaged|married|divorced|retired|passed away|died|cancelled|postponed"
    r"|jetzt|nicht mehr|kein\w* .{1,30} mehr|stattdessen|statt|sondern|korrektur|falsch|geandert"
    r"|verheiratet|geheiratet|getrennt|geschieden|verkauft|gestorben"
    r"|umgezogen|gewechselt|mein\w* neue\w*|inzwischen|mittlerweile|aufgehort|gekundigt|ab sofort"
    r"|von nun an|nun|eigentlich"
    r"|ya no|ahora|en realidad|cambie|cambiado|mude|mudado|correccion|sino|en vez|en lugar"
    r"|mi nuev[oa]|deje|deja(?:mos|do)|equivoque|a partir de ahora|vendi|cas(?:e|ado|ada|amos)"
    r"|ne .{1,20} plus|n'.{1,20} plus|maintenant|en fait|desormais|plutot|change|demenage"
    r"|mon nouveau|ma nouvelle|mon nouvel|au lieu|trompe|arrete|quitte|vendu|marie\w*|divorce\w*"
    r"|nu|niet meer|geen .{1,30} meer|eigenlijk|voortaan|verhuisd|veranderd|mijn nieuwe|in plaats"
    r"|toch|gestopt|verkocht|getrouwd|gescheiden|bijgekomen|niet .{1,40} maar"
    r"|smesso|lasciato|venduto|sposat[oiae]|ora|adesso|non .{1,20} piu|in realta"
    r"|trasferit[oa]|agora|na verdade|mudei)\b"
)
_LEAVES = re.compile(
    r"\b(?:left|quit|resigned|laid off|fired|new job|changed jobs?|switched jobs?|deje|renuncie"
    r"|nuevo trabajo|quitte|demissionne|nouveau travail|gekundigt|gewechselt"
    r"|neue[nr]? (?:job|stelle)"
    r"|ontslag|opgezegd|nieuwe baan|lasciato|cambiato lavoro|nuovo lavoro)\b"
)
_SUPPOSES = re.compile(
    r"^\W*(?:imagine|suppose|pretend|what if|if (?:i|we) (?:were|was|had|won|could|lived)"
    r"|stell dir|wenn (?:ich|wir) .{1,60}\b(?:wurden?|hatten?|ware[n]?)\b|imagina\w*"
    r"|si (?:yo )?fuera"
    r"|imagine[zr]?|si j'etais|si je gagn\w*|stel (?:je|dat)|als ik .{1,40}\bzou\b"
    r"|immagina|se fossi)"
)
_INDEFINITE = re.compile(
    r"^\W*(?:some|the|a|an|this|that|these|those|there|what an?|it'?s|it was|der|die|das|ein|eine"
    r"|le|la|les|un|une|el|los|las|una|de|het|een|il|lo|gli)\s"
)
_OWN = re.compile(
    r"\b(?:i|i'?m|i'?ve|me|my|mine|we|us|our|ich|mir|mich|mein\w*|wir|uns\w*|yo|mi|mis|nuestr\w*"
    r"|nos|je|j|moi|mon|ma|mes|nous|notre|nos|ik|mij|mijn|wij|we|ons|onze|io|mio|mia|miei|noi"
    r"|nostr\w*|you|your|du|dein\w*|tu|tus|ton|ta|tes|vous|jij|je|jouw)\b"
)
_ANOTHER = re.compile(
    r"(?<=[.!;,\w])\s+(?=(?:(?:and|und|y|et|en|e),? )?(?:also\b|ausserdem\b|ademas\b"
    r"|aussi,|verder\b"
    r"|(?:(?:can|could|would|will) you |please |bitte |por favor,? )?(?:note (?:down|that)\b"
    r"|(?:write|jot) (?:it |this |that )?down\b|make a note\b|take a note\b|put (?:it |this )?in"
    r"|segnati\b|annota\b|apunta\b|anota\b|notier\w*|schreib\w* (?:\w+ ){0,3}auf\b|note[zr]? "
    r"|noteer\b|schrijf\b)))"
)
_FORGET = re.compile(
    r"\b(?:forget|delete|remove|erase|drop the|strike|vergiss|vergessen|losch\w*|entfern\w*"
    r"|streich\w*"
    r"|olvida\w*|borra\w*|elimina\w*|quita\w*|oublie\w*|supprime\w*|efface\w*|enleve\w*"
    r"|vergeet|verwijder\w*|wis|schrap|dimentica\w*|cancella\w*|esquec\w*|apaga\w*)\b"
)
_KEEP = re.compile(
    r"\b(?:remember|note|notes|write down|jot|keep in mind|save|store|record|don'?t forget|put down"
    r"|make a note|take a note|merk\w*|notier\w*|aufschreib\w*|schreib\w*|speicher\w*|behalt\w*"
    r"|recuerd\w*|recordar|apunt\w*|anot\w*|guard\w*|retiens|retenir|souviens|rappelle\w*|noter?"
    r"|notez"
    r"|enregistre\w*|onthoud\w*|noteer\w*|notitie|schrijf\w*|bewaar\w*|ricord\w*|annot\w*"
    r"|lembr\w*)\b"
)
_REQUEST = re.compile(
    r"\s*(?:please |bitte |por favor,? |s'il te plait,? )?(?:(?:can|could|would) you (?:please )?)?"
    r"(?:translate|list|explain|describe|summari[sz]e|suggest|recommend|calculate|compare|tell me"
    r"|give me|show me|help me|define|write (?:me )?an? (?!note|memo)|how|what|who|where|when|why"
    r"|which|ubersetze?|nenne? mir|erklare?|beschreib\w*|fasse?|empfiehl|berechne|erzahl\w*|zeig\w*"
    r"|hilf|wie|was|wer|wo|wann|warum|welche\w*|traduce|explica\w*|describe|resume|recomienda"
    r"|calcula|cuentame|dime|ayudame|que|quien|donde|cuando|cual|por que|traduis|explique\w*"
    r"|decris|raconte\w*|dis-moi|donne-moi|aide-moi|comment|qui|quand|pourquoi|quel\w*"
    r"|vertaal|leg uit|beschrijf|vertel|geef me|hoe|wie|waar|wanneer|waarom|welke)\b"
)
_STANDING = re.compile(
    r"\b(?:always|never|from now on|whenever|in future|short\w*|brief\w*|concise\w*|simpl\w*|immer"
    r"|nie|ab jetzt|ab sofort|kunftig|kurz\w*|einfach|siempre|nunca|desde ahora|breve\w*|toujours"
    r"|jamais|desormais|court\w*|bref|altijd|nooit|voortaan|kort\w*)\b"
)
_RULE = re.compile(
    r"^(?:please |bitte )?call me\b|\bforever\b|\bwhenever i\b"
    r"|^(?:(?:can|could|would|will) you (?:please )?)(?:stop (?:with|using|saying|doing)"
    r"|always|never"
    r"|avoid)\b|\b(?:from now on|ab jetzt|ab sofort|von nun an|in zukunft"
    r"|a partir de ahora|desde ahora|desormais|a partir de maintenant|voortaan|vanaf nu)\b"
)
_TO_ASSISTANT = re.compile(
    r"\b(?:you|your|yourself|answer|answers|answering|reply|replies|respond|talk|speak|call me"
    r"|use|using|write|emojis?|be|keep|stop|dont|don't|always|never|please"
    r"|du|dir|dich|dein\w*|sie|ihnen|antwort\w*|sprich|rede|nenn\w*|benutz\w*|verwend\w*|sei"
    r"|schreib\w*"
    r"|fass|halte?|duz\w*|siez\w*|tu|ti|te|usted|respond\w*|contesta\w*|habla\w*|llamame|usa\w*|se"
    r"|tutea\w*|toi|vous|tutoie\w*|vouvoie\w*|repond\w*|parle\w*|appelle-moi|utilise\w*|sois|soyez"
    r"|jij|jou|jouw|antwoord\w*|praat|spreek|noem|gebruik|wees|houd|hou|rispond\w*|parla\w*"
    r"|chiamami)\b"
)
_LANGUAGES = {
    "English": "the is are am my your and what where when who how i you do does have has was it's "
    "i'm im to of for this that with called now please thanks thank hello hi from",
    "German": "ich bin ist mein meine meinen meiner du dein und nicht wie wo wann wer was der "
    "die das "
    "ein eine einen habe hat jetzt bitte danke hallo guten zu mit fur auf dass wohne heisst auch "
    "kannst notiere schreib merk im am um",
    "Spanish": "el los las mi mis tu y es soy estoy que donde cuando quien como cual tengo "
    "llama una uno no ya ahora por favor gracias hola me con para vivo en yo se",
    "French": "je j' l' d' qu' n' j'ai suis est mon ma mes ton ta et ne pas que ou quand qui "
    "comment quel quelle c'est "
    "le les une un des du au avec pour s'il plait merci bonjour ai-je habite s'appelle "
    "maintenant j "
    "ai vous",
    "Dutch": "ik ben is mijn jij je jouw het een en niet hoe waar wanneer wie wat heb heeft nu "
    "graag "
    "alsjeblieft dank hallo met voor op naar dat woon heet ook van",
    "Italian": "io sono il gli mio mia tuo e non che dove quando chi come ho hai adesso per favore "
    "grazie ciao con una di mi chiamo abito piu della",
    "Portuguese": "eu sou estou o os meu minha teu voce e nao que onde quando quem como tenho "
    "agora por "
    "favor obrigado obrigada ola com uma moro chamo meus",
}
"""Words by which a sentence's language shows."""

_LANGUAGE_NAMES = {
    "English": "english englisch ingles anglais engels inglese",
    "German": "german deutsch aleman allemand duits tedesco",
    "Spanish": "spanish spanisch espanol espagnol spaans spagnolo",
    "French": "french franzosisch frances francais frans francese",
    "Dutch": "dutch niederlandisch holandes neerlandais nederlands olandese",
    "Italian": "italian italienisch italiano italien italiaans",
    "Portuguese": "portuguese portugiesisch portugues portugais portugees portoghese",
}

_FACT_ASKED = re.compile(
    r"\W*(?:what(?:'s| is| was| are| does| did)|who|where|when|which|how old|was|wer|wo|wann"
    r"|welche\w*"
    r"|wie (?:heiss\w*|alt)|que|quien|donde|cuando|cual|como se llaman?|qui|ou|quand|quel\w*"
    r"|comment"
    r" s'appelle\w*|wat|wie|waar|wanneer|welke?|hoe (?:heet|heten|oud))\b"
)
_ADVICE = re.compile(
    r"\b(?:should|could|can|would|best|good|need|soll\w*|kann|konnte|brauch\w*|debo|deberia|puedo"
    r"|dois|devrais|peux|moet|kan|zal)\b"
)

_FIRST_PERSON = frozenset(
    "i im we ich wir yo nosotros je j nous ik wij io noi eu me mir mich moi "
    "now jetzt ahora nu".split()
)
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def plain(text: str) -> str:
    """``text`` in lower case and without accents."""
    folded = unicodedata.normalize("NFKD", text.replace("ß", "ss").replace("’", "'").casefold())
    return "".join(c for c in folded if not unicodedata.combining(c))


def words(text: str) -> list[str]:
    """The words of ``text``, plain, in order; CJK text, which has no spaces, by pairs of signs."""
    found: list[str] = []
    for word in re.findall(r"\w+", plain(text)):
        if _CJK.search(word) and len(word) > 2:
            found += [word[i : i + 2] for i in range(len(word) - 1)]
        else:
            found.append(word)
    return found


def content(text: str) -> list[str]:
    """The words that say what ``text`` is about, in order, each once."""
    return list(dict.fromkeys(w for w in words(text) if w not in _GENERIC and not _bare(w)))


def _bare(word: str) -> bool:
    return len(word) == 1 and not word.isdigit() and not _CJK.search(word)


def _table(rows: dict[str, str]) -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for concept, members in rows.items():
        for word in members.split():
            table.setdefault(word, set()).add(concept)
    return {word: frozenset(concepts) for word, concepts in table.items()}


_CONCEPT_OF = _table(_CONCEPTS)
_RELATION_OF = _table(_RELATIONS)


def concepts(text: str) -> frozenset[str]:
    """The concepts of the table that ``text`` touches."""
    return frozenset().union(*(_CONCEPT_OF.get(w, frozenset()) for w in words(text)))


def relations(text: str) -> frozenset[str]:
    """The people and animals of whom ``text`` speaks, by what they are to somebody."""
    return frozenset().union(*(_RELATION_OF.get(w, frozenset()) for w in words(text)))


@lru_cache(maxsize=4096)
def alike(one: str, other: str) -> bool:
    """Whether two plain words are forms of one word, or belong to one concept."""
    if one == other:
        return True
    if _CONCEPT_OF.get(one, frozenset()) & _CONCEPT_OF.get(other, frozenset()):
        return True
    if _RELATION_OF.get(one, frozenset()) & _RELATION_OF.get(other, frozenset()):
        return True
    return _one_word(one, other)


def _one_word(one: str, other: str) -> bool:
    """Whether two plain words are forms of one word, by how they begin."""
    if one == other:
        return True
    if any(c.isdigit() for c in one + other):
        return False
    short, long = sorted((one, other), key=len)
    if len(short) < 4:
        return long in (short + "s", short + "es", short + "n", short + "en")
    same = 0
    for a, b in zip(short, long, strict=False):
        if a != b:
            break
        same += 1
    return same >= max(4, len(short) - 2) and len(long) - same <= 4


def shared(one: str, other: str) -> list[str]:
    """The content words of ``one`` that ``other`` speaks of, too."""
    theirs = content(other)
    return [w for w in content(one) if any(alike(w, t) for t in theirs)]


def named(fact: str, message: str) -> list[str]:
    """The content words of ``fact`` that ``message`` names in so many words.

    Not a relation, since there are several brothers, and not what everybody does (live, work, eat).
    """
    theirs = content(message)
    wide = _SINGLE | _BROAD
    return [
        w
        for w in content(fact)
        if w not in _RELATION_OF
        and len(w) > 2  # titles and the like
        and not _CONCEPT_OF.get(w, frozenset()) & wide
        and any(_one_word(w, t) for t in theirs)
    ]


def missing(one: str, other: str) -> list[str]:
    """The content words of ``one`` of which ``other`` says nothing."""
    theirs = content(other)
    return [w for w in content(one) if not any(alike(w, t) for t in theirs)]


def is_elsewhere(fact: str, new: str, message: str) -> bool:
    """Whether ``message`` is about something else than ``fact`` and ``new``, what it may become:
    it names no more of the fact than a unit of time, and says much that neither of them says."""
    same = named(fact, message)
    return bool(same) and _UNITS.issuperset(same) and len(missing(message, f"{fact} {new}")) > 2


def numbers(text: str) -> frozenset[str]:
    """The runs of digits in ``text``."""
    return frozenset(re.findall(r"\d+", text))


def corrects(text: str) -> bool:
    """Whether ``text`` says that something is no longer as it was."""
    return _CUE.search(plain(text)) is not None


def leaves(text: str) -> bool:
    """Whether ``text`` says that somebody left a job, a school or the like."""
    return _LEAVES.search(plain(text)) is not None


def supposes(text: str) -> bool:
    """Whether ``text`` imagines something that is not so."""
    return _SUPPOSES.search(plain(text)) is not None


def tells_of_strangers(text: str) -> bool:
    """Whether ``text`` is about somebody or something that has nothing to do with the user."""
    flat = plain(text)
    if not _INDEFINITE.match(flat) or _OWN.search(flat) or asks_to_keep(text):
        return False
    return not relations(text)


def requests(text: str) -> list[str]:
    """``text`` in the parts that ask for different things: "…, and note that …", "also …"."""
    low = text.lower()
    if len(low) != len(text):
        return [text]
    parts, begun = [], 0
    for found in _ANOTHER.finditer(low):
        if len(content(text[begun : found.start()])) >= 2:
            parts.append(text[begun : found.start()].strip(" ,;"))
            begun = found.end()
    rest = text[begun:].strip()
    return [*parts, rest] if len(content(rest)) >= 2 else [text]


def forgets(text: str) -> bool:
    """Whether ``text`` asks for something to be forgotten (not: asks not to forget it)."""
    flat = plain(text)
    found = _FORGET.search(flat)
    if found is None:
        return False
    return not re.search(
        r"(?:don'?t|do not|never|nicht|no|ne|n'|niet|non)\s*$", flat[: found.start()]
    )


def asks_to_keep(text: str) -> bool:
    """Whether ``text`` asks in so many words for something to be remembered or written down."""
    return _KEEP.search(plain(text)) is not None


def asks_for_something(text: str) -> bool:
    """Whether ``text`` begins by asking for an answer or a text, and sets no rule for later."""
    flat = plain(text)
    return _REQUEST.match(flat) is not None and not _STANDING.search(flat)


def asks_for_fact(text: str) -> bool:
    """Whether ``text`` is one question after a name, a place, a time: none for advice."""
    flat = plain(text)
    return only_asks(text) and _FACT_ASKED.match(flat) is not None and not _ADVICE.search(flat)


def states_anew(fact: str, message: str) -> bool:
    """Whether ``message`` can only replace ``fact``: the same "Key:", or what one has one of."""
    key, colon, _ = fact.partition(":")
    if colon and shared(key, message):
        return True
    return bool(concepts(fact) & concepts(message) & _FIXED)


def sets_rule(text: str) -> bool:
    """Whether ``text`` says how things are to be from now on."""
    return _RULE.search(plain(text)) is not None


def addresses_assistant(text: str) -> bool:
    """Whether ``text`` says something to the assistant about itself: how to answer, what to do."""
    return _TO_ASSISTANT.search(plain(text)) is not None


_SCRIPTS = (
    ("Japanese", re.compile(r"[\u3040-\u30ff]")),
    ("Korean", re.compile(r"[\uac00-\ud7af]")),
    ("Chinese", re.compile(r"[\u3400-\u9fff]")),
    ("Russian", re.compile(r"[\u0400-\u04ff]")),
    ("Greek", re.compile(r"[\u0370-\u03ff]")),
    ("Arabic", re.compile(r"[\u0600-\u06ff]")),
    ("Hebrew", re.compile(r"[\u0590-\u05ff]")),
)


def language(text: str) -> str:
    """The English name of the language that ``text`` is in, or nothing where that is not plain."""
    for name, script in _SCRIPTS:
        if script.search(text):
            return name
    spoken = re.findall(r"[\w'-]+", plain(text))
    spoken += [piece for word in spoken if "'" in word for piece in (word.split("'")[0] + "'",)]
    scores = {
        name: sum(word in listed.split() for word in spoken) for name, listed in _LANGUAGES.items()
    }
    ranked = sorted(scores, key=lambda name: -scores[name])
    best, second = ranked[:2]
    if scores[best] > scores[second]:
        return best
    return "English" if text.isascii() and not scores[best] else ""


def language_asked_for(line: str) -> str:
    """The language in which ``line`` wants answers, or nothing where it asks for none."""
    spoken = set(words(line))
    if not re.search(
        r"\b(?:answer|repl|respond|antwort|contest|repond|antwoord|rispond)", plain(line)
    ):
        return ""
    named = [n for n, listed in _LANGUAGE_NAMES.items() if spoken & set(listed.split())]
    return named[0] if len(named) == 1 else ""


def sentences(text: str) -> list[str]:
    """``text`` in sentences, each with its final mark."""
    return [
        s.strip() for s in re.findall(r"[^.!?;。！？\n]+(?:[.!?;。！？]+|\n|$)", text) if s.strip()
    ]


def only_asks(text: str) -> bool:
    """Whether every sentence of ``text`` that says something is a question."""
    said = [s for s in sentences(text) if content(s) or s.rstrip().endswith(("?", "？"))]
    return bool(said) and all(s.rstrip().endswith(("?", "？")) for s in said)


def asks(text: str) -> bool:
    """Whether ``text`` holds a question."""
    return "?" in text or "？" in text


_AND = r"[,;]\s+|\.\s+|\s/\s|\s(?:and|und|y|et)\s"


def parts(line: str) -> list[str]:
    """The facts of a line, where it holds several."""
    return [
        p.strip()
        for p in re.split(_AND if language(line) != "Dutch" else f"{_AND}|\\sen\\s", line)
        if p.strip()
    ]


def speaks_of(message: str, fact: str) -> bool:
    """Whether ``message`` may be about ``fact``: a shared subject, and nobody else's.

    "My sister moved to Rome" shares *moved* with "Lives in Berlin" and is not about it.
    """
    if not _subject_shared(fact, message):
        return False
    of_fact = relations(fact)
    if of_fact:
        # Whoever knows the name need not say whose it is: "Freddie plays rugby now."
        return bool(of_fact & relations(message) or named(fact, message))
    return not _about_others(message)


def _subject_shared(fact: str, message: str) -> bool:
    """Whether ``message`` names what ``fact`` is about, and not just the same kind of thing.

    "I don't drink alcohol" shares *drink* with "Drinks green tea", of which it says nothing. So it
    takes the fact's key ("Food: …"), or something of which there is one (where somebody lives), or
    a word beyond the first.
    """
    common = shared(fact, message)
    if not common:
        return False
    if concepts(fact) & concepts(message) & _SINGLE:
        return True
    key, colon, _ = fact.partition(":")
    if colon and shared(key, message):
        return True
    # "My brother moved" is about the brother, not about "Has two brothers".
    common = [w for w in common if w not in _RELATION_OF or forgets(message)]
    about = content(fact)
    if len(about) == 1:
        return bool(common)
    return any(not _CONCEPT_OF.get(w, frozenset()) & _BROAD for w in common if w != about[0])


def _about_others(message: str) -> bool:
    """Whether each sentence of ``message`` that states something has somebody else as subject."""
    stated = [s for s in sentences(message) if content(s)]
    return bool(stated) and all(_subject_is_other(s) for s in stated)


def _subject_is_other(sentence: str) -> bool:
    spoken = words(sentence)
    for word in spoken[:6]:
        if word in _FIRST_PERSON:
            return False
        if word in _RELATION_OF:
            return True
    return False

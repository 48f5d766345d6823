"""From a sentence in a manual to what a person would type: what they want, without how."""

import re
from collections.abc import Sequence

from ollamake.collect.sheets import Unusable

LONGEST_CHARACTERS = 140
# A wish begins with one of these verbs, or with one of these adverbs and a verb: "Recursively compress …".
VERBS = """
    abort accept access accumulate activate add adjust alias alter append apply archive assemble attach backup
    blacken block boot break build bundle calculate capture change check checkout cherry-pick choose clean clear
    clone close combine commit compare compile compress concatenate configure connect continue convert copy count
    create crop cut deactivate decode decompress decrypt delete detach determine diff disable disassemble discard
    disconnect display do download drop dump echo edit empty enable encode encrypt enter erase estimate exclude
    execute exit expand export extract fetch filter find flush follow force format generate get give go grep halt
    hibernate hide ignore import include increase index initialize insert inspect install intercept interrogate
    invoke issue join jump keep kill launch let limit lint list listen load locate lock log look lowercase make map
    mark match merge mirror modify monitor mount move number obtain open order originate output page parallelize
    parse pass paste patch pause perform ping pipe play post preserve print prompt pull push put query quit read
    rebase reboot receive record redirect reduce refresh register reject release reload remove rename render repeat
    replace report request reset resize restart restore resume retrieve return reverse revert review revoke rotate
    run save scale scan schedule search see select send set shift show shred shuffle shut shutdown sign simulate
    skip sort specify split squash stage stamp start stash stop store strip submit sum suspend switch symlink sync
    tail take tee tell terminate test trace transfer transform translate trash traverse truncate try tunnel turn
    unban uncompress undo uninstall unlink unmount unset unshallow unstage unstash untar unzip update upgrade upload
    use verify view wait watch wipe wrap write zip
"""
ADVERBS = "actively automatically explicitly manually only permanently politely quickly recursively securely silently"
ASIDE = re.compile(r"\s*\((?:[^()]*`[^()]*|[^()]*\s-{1,2}\w[^()]*|-[^()]*|[^()]{25,})\)")
MEANS = re.compile(
    r",?\s+(?:by\s+)?(?:using|with|via|passing|specifying|adding|calling)\s+(?:the\s+)?"
    r"(?:(?:\w+\s+){0,2}-[\w-]+(?:\s+(?:flag|option|argument)s?)?|\w+\s+(?:flag|option)s?)(?=[\s.:,]|$)"
)
OPENING = re.compile(
    r"""^(?:(?:for\ example|finally|alternatively|in\ this\ case|also)\s*,\s*)?
    (?:(?:this|the\ following)(?:\ example|\ command)?\ (?:will|can)(?:\ then)?\s
    |(?:this|the\ following)(?:\ command)?\ can\ be\ used\ to\s
    |how\ to\s|to\s|you\ can\ (?:also\ )?|run\ the\ following\ command\ to\s)""",
    re.IGNORECASE | re.VERBOSE,
)
METHOD = re.compile(r",\s(?:use|run|type|try|you can use|issue|simply)\b[^,]*:$", re.IGNORECASE)
# Words that point at the text around the example, which the person who asks does not have.
POINTING = re.compile(
    r"\b(?:above|below|examples?(?!\.\w)|following(?! all)|this command|these|such|we|you|our|also|note|warning)\b"
    r"|\s/\s|=>|\?|https?:",
    re.IGNORECASE,
)
KNOWN_VERBS, KNOWN_ADVERBS = frozenset(VERBS.split()), frozenset(ADVERBS.split())


def wish(sentences: Sequence[str]) -> str:
    """Return the last sentence that says what the command is for. Raises Unusable when none does."""
    if not sentences:
        raise Unusable("no sentence")
    found = [plain(sentence) for sentence in sentences]
    asking = [text for text in found if _asks(text)]
    if not asking:
        raise Unusable("a sentence that asks for nothing")
    text = asking[-1]
    if POINTING.search(text):
        raise Unusable("a sentence that needs the text around it")
    if re.search(r"(?:^|\s)-{1,2}\w", text):
        raise Unusable("a sentence that gives the options away")
    if len(text) > LONGEST_CHARACTERS:
        raise Unusable("a long sentence")
    if len(text.split()) < 2:
        raise Unusable("a single word")
    return text


def plain(sentence: str) -> str:
    """Return the sentence as a request: no markdown, no asides about options, no `To …` and no final stop."""
    text = MEANS.sub("", ASIDE.sub("", sentence).replace("`", ""))
    text = METHOD.sub("", OPENING.sub("", text)).rstrip(" .:;,")
    first, _, rest = text.partition(" ")
    # "Displays everything", as some manuals say, is "Display everything" to the one who wants it.
    if first.lower().removesuffix("s") in KNOWN_VERBS:
        first = first.removesuffix("s")
    text = re.sub(r"\byour\b", "my", f"{first} {rest}".strip())
    return text[:1].upper() + text[1:]


def _asks(text: str) -> bool:
    words = [word.lower() for word in text.split()[:2]]
    return bool(words) and (words[0] in KNOWN_VERBS or (words[0] in KNOWN_ADVERBS and words[-1] in KNOWN_VERBS))

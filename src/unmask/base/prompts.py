"""Prompts of generators: a closed vocabulary in which nobody can be named.

A list of forbidden names is never complete. Here it is the other way round: a prompt may use the words below and no
others, so a name, a nickname, a misspelt name or a name in another script is refused because it is unknown. Roles
that belong to one person ("president"), minors, nudity, violence and negations ("without") are not in the list.

What this cannot do: it does not look at images, so it does not notice whom an anchor or a training image shows; it
does not stop a description of looks that happens to fit somebody; and whoever changes this file changes the rule. The
consent of the person shown is asked for elsewhere (`--basis`) and cannot be checked by a program.
"""

from __future__ import annotations

import re

from unmask.errors import InputError

LONGEST = 300  # characters
SUBJECTS = ("sks", "zwx", "ohwx")  # rare tokens that stand for a subject that LoRA weights were trained on

_WORDS = """
a an the and or of in on at with wearing near beside behind before to from by looking standing sitting smiling
laughing talking walking holding
photo photograph portrait picture image studio snapshot close up closeup headshot view shot film still
passport webcam selfie frame render rendering painting drawing sketch sharp focus blurred blurry bokeh detailed
realistic natural candid formal informal professional amateur analog grainy high low quality resolution
person adult woman man women men people somebody model mannequin figure face head eyes eye nose mouth lips hair
beard moustache eyebrows forehead cheeks chin ears neck shoulders skin freckles wrinkles glasses sunglasses earrings
middle aged elderly older old
long short curly straight wavy bald shaved ponytail braided fringe
black white brown blonde grey gray red auburn dark light blue green yellow orange purple pink beige navy silver
golden colourful plain striped checked dotted patterned textured
expression neutral happy sad surprised serious calm friendly tired thoughtful
shirt blouse jacket coat suit tie dress sweater jumper hoodie scarf hat cap uniform apron sweatshirt cardigan
garment clothes clothing cotton wool denim leather silk linen knitted collar buttons sleeves upper lower body
background wall package office kitchen garden park street city beach sea mountain forest meadow field sky library
museum station train car shop cafe restaurant stage bridge river lake snow rain fog sunset sunrise night day
morning evening afternoon indoor indoors outdoor outdoors window door bench chair table desk lamp tree trees flowers
grass stone brick wooden wood metal glass concrete paper
lighting lit bright dim soft hard warm cold backlit shadow shadows sunlight daylight candlelight neon flash
left right front side profile centre center above below half full length wide angle
one two three several another other same different
"""
VOCABULARY = frozenset(_WORDS.split())


def checked_prompt(prompt: str) -> str:
    """The prompt in lower case with single spaces, if every word of it is in the closed vocabulary.

    Args:
        prompt: words of `VOCABULARY`, at most one of `SUBJECTS`, and commas; empty = no prompt.
    Raises: InputError that names the first word that is not allowed.
    """
    if len(prompt) > LONGEST:
        raise InputError(f"a prompt has at most {LONGEST} characters, not {len(prompt)}")
    words = re.findall(r"[^\s,.]+", prompt.lower())
    for word in words:
        if word not in VOCABULARY and word not in SUBJECTS:
            raise InputError(
                f"the word {word!r} is not in the vocabulary of prompts: names, single people's roles, minors and "
                "whatever else is not listed in unmask.base.prompts.VOCABULARY are refused; describe the scene in "
                "listed words"
            )
    if sum(word in SUBJECTS for word in words) > 1:
        raise InputError("a prompt names one subject at most")
    return re.sub(r"\s+", " ", prompt.lower()).strip()

"""Tokenisers by the library `tokenizers`: trained on a corpus, loaded from a folder, or the plain bytes of a text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BundleError, InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
PAD, UNKNOWN, START, END = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
Kind = Literal["words", "wordpiece", "bpe"]
# What published tokenisers call the token that fills up.
_PADS = (PAD, "<pad>", "<|endoftext|>", "</s>")


class Tokeniser:
    """Sentences -> token numbers, cut and filled up to one length.

    Attributes:
        size: of the vocabulary; `pad`: the number that fills up.
    """

    def __init__(self, inner: Tokenizer) -> None:
        self.inner, self.size = inner, int(inner.get_vocab_size())
        said = inner.padding["pad_token"] if inner.padding else None
        found = [n for p in (said, *_PADS) if p and (n := inner.token_to_id(p)) is not None]
        if not found:
            raise BundleError(f"the tokeniser has none of the tokens {', '.join(_PADS)} to fill up with")
        self.pad = int(found[0])
        inner.no_padding()
        inner.no_truncation()

    def __call__(self, texts: Sequence[str], length: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """
        Args:
            length: tokens of a sentence at most, its first and last mark among them.
        Returns: numbers (N, L), where L is the longest sentence's, and which of them are its own (N, L).
        """
        self.inner.enable_truncation(length)
        found = [e.ids for e in self.inner.encode_batch(list(texts))]
        ids = np.full((len(found), max(1, *map(len, found)) if found else 1), self.pad, np.int64)
        mask = np.zeros(ids.shape, bool)
        for row, tokens in enumerate(found):
            ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, True
        return ids, mask

    def text(self, ids: Iterable[int]) -> str:
        """What tokens say, marks left out."""
        return str(self.inner.decode(list(ids), skip_special_tokens=True))

    def number(self, token: str) -> int:
        """Raises: UnmaskError for a token that is not in the vocabulary."""
        found = self.inner.token_to_id(token)
        if found is None:
            raise InputError(f"the tokeniser knows no {token!r}: train one with `unmask data tokeniser`")
        return int(found)

    def save(self, folder: Path) -> Path:
        """tokenizer.json, the library's own form."""
        folder.mkdir(parents=True, exist_ok=True)
        self.inner.save(str(folder / FILE))
        return folder / FILE


def plain_bytes() -> Tokeniser:
    """A token for each byte of UTF-8: no training, no unknown words, long sequences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate((*SPECIAL, *alphabet))}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(SPECIAL))
    return Tokeniser(_marked(inner))


def train(texts: Iterable[str], size: int = 8192, kind: Kind = "bpe", lower: bool = True) -> Tokeniser:
    """Learn a vocabulary from a corpus. The same corpus gives the same one, but for "wordpiece".

    The library numbers those by chance: keep the file.

    Args:
        size: of the vocabulary at most, the four marks among them.
        kind: whole words, BERT's pieces of words, or CLIP's and GPT's pairs of bytes.
        lower: whether case is dropped.
    Raises: UnmaskError for a size that holds no more than the marks.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if size <= len(SPECIAL) + 1:
        raise InputError(f"a vocabulary of {size} holds no words: give more than {len(SPECIAL) + 1}")
    special: dict[str, Any] = {"vocab_size": size, "special_tokens": list(SPECIAL), "show_progress": False}
    inner: Any
    trainer: Any
    if kind == "words":
        inner, trainer = Tokenizer(models.WordLevel(unk_token=UNKNOWN)), trainers.WordLevelTrainer(**special)
    elif kind == "wordpiece":
        inner, trainer = Tokenizer(models.WordPiece(unk_token=UNKNOWN)), trainers.WordPieceTrainer(**special)
        inner.decoder = decoders.WordPiece()
    else:
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        inner = Tokenizer(models.BPE(unk_token=UNKNOWN))
        trainer = trainers.BpeTrainer(initial_alphabet=sorted(alphabet), **special)
        inner.decoder = decoders.ByteLevel()
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if lower else [])]
    inner.normalizer = normalizers.Sequence(steps)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel() if kind == "bpe" else pre_tokenizers.BertPreTokenizer()
    inner.train_from_iterator(texts, trainer)
    return Tokeniser(_marked(inner))


def load(folder: str | Path) -> Tokeniser:
    """What `save` wrote, or tokenizer.json of a published model; "bytes" needs no folder.

    Raises: UnmaskError for a folder without a tokeniser, or with a damaged one.
    """
    if folder == "bytes":
        return plain_bytes()
    from tokenizers import Tokenizer

    path = Path(folder) / FILE
    if not path.is_file():
        raise BundleError(f"{folder} has no {FILE}: train one with `unmask data tokeniser`, or name a model's folder")
    try:
        json.loads(path.read_bytes())
        inner = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises Exception itself
        raise BundleError(f"{path} is no tokeniser: {error}") from None
    return Tokeniser(inner)


def _marked(inner: Any) -> Any:
    from tokenizers import processors

    marks = [(mark, inner.token_to_id(mark)) for mark in (START, END)]
    inner.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=marks)
    inner.enable_padding(pad_token=PAD, pad_id=inner.token_to_id(PAD))
    return inner

"""Is an image the enrolled person, another, or a forgery of them: similarity, traces of forgery, differences in words.

Two questions are kept apart. Whether the face resembles the enrolled photos is a cosine of embeddings, against a
threshold that the user takes from a verification table of that encoder. Whether the image shows traces of forgery is
the scan's answer. A forgery *of* a person is where both say yes; a swap that loses the likeness looks like somebody
else, and nothing here can tell that from a stranger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from unmask.bundles.embedding import EmbeddingCard
from unmask.errors import InputError
from unmask.identity.attributes import Difference
from unmask.identity.gallery import Identity
from unmask.types import Floats, State

Answer = Literal["consistent", "forgery", "somebody else", "cannot tell"]


@dataclass(frozen=True)
class Comparison:
    """What is said of one image.

    Attributes:
        similarity: cosine to the mean of the enrolled embeddings, -1..1.
        usual: the least and the median cosine of each enrolled photo to the mean of the others; None of one photo.
        rank: share of enrolled photos that are as unlike the others as this image is, or more; None of one photo.
        traces: the scan's state.
    """

    name: str
    answer: Answer
    similarity: float
    threshold: float
    usual: tuple[float, float] | None
    rank: float | None
    traces: State
    score: float | None
    differences: tuple[Difference, ...]

    @property
    def sentence(self) -> str:
        """The answer in words. A forgery is never called another person."""
        said = {
            "consistent": f"resembles {self.name}; no known sign of forgery",
            "forgery": f"resembles {self.name} and shows traces of forgery: not authentic",
            "somebody else": f"does not resemble {self.name}: another person, or a forgery without the likeness",
            "cannot tell": f"cannot tell whether this is an authentic image of {self.name}",
        }
        return said[self.answer]


def centre(embeddings: Floats) -> Floats:
    """(N, D) unit rows -> (D,) unit mean."""
    mean = embeddings.mean(0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)


def similarity(embeddings: Floats, query: Floats) -> float:
    """Cosine of `query` (D,), of length 1, to the mean of enrolled `embeddings` (N, D)."""
    return float(centre(embeddings) @ query)


def leave_one_out(embeddings: Floats) -> Floats:
    """(N,) cosine of each enrolled photo to the mean of the others; empty for one photo."""
    if len(embeddings) < 2:
        return np.zeros(0, np.float32)
    return np.array([similarity(np.delete(embeddings, i, 0), e) for i, e in enumerate(embeddings)], np.float32)


def answer(similar: float, threshold: float, traces: State) -> Answer:
    """similar and forged -> "forgery"; similar and real -> "consistent"; not similar -> "somebody else"; otherwise
    "cannot tell": the scan is uncertain, found no face, or failed."""
    if similar < threshold:
        return "somebody else"
    found: dict[State, Answer] = {"fake": "forgery", "real": "consistent"}
    return found.get(traces, "cannot tell")


def compare(
    identity: Identity,
    query: Floats,
    threshold: float,
    traces: State,
    score: float | None,
    differences: tuple[Difference, ...] = (),
) -> Comparison:
    """
    Args:
        query: (D,) of length 1, by an encoder whose embeddings are comparable: `check_version`.
        threshold: cosine from which on two images are taken for one person.
        traces, score: the scan's state and P(fake).
    Raises: UnmaskError for a threshold outside -1..1 and embeddings of another length.
    """
    if not -1 <= threshold <= 1 or query.shape != identity.embeddings.shape[1:]:
        raise InputError(f"a threshold is a cosine between -1 and 1, not {threshold:g}; embeddings {query.shape}")
    similar, usual = similarity(identity.embeddings, query), leave_one_out(identity.embeddings)
    return Comparison(
        identity.card.name,
        answer(similar, threshold, traces),
        similar,
        threshold,
        (float(usual.min()), float(np.median(usual))) if len(usual) else None,
        float((usual <= similar).mean()) if len(usual) else None,
        traces,
        score,
        differences,
    )


def check_version(identity: Identity, card: EmbeddingCard) -> None:
    """Raises: UnmaskError where an encoder's embeddings cannot be compared with those of the gallery."""
    made = identity.card.encoder_sha256
    if made != card.sha256 and made not in card.comparable:
        was = f"{identity.card.name} was enrolled with the encoder {identity.card.encoder} ({made[:12]})"
        raise InputError(
            f"{was}; {card.name} ({card.sha256[:12]}) does not call its embeddings comparable with those: use the "
            "former encoder, or enrol anew"
        )

"""The 81 points of a face by number: the usual 68 in their usual order, and 13 that close the oval over the forehead.

Points 0 to 67 are ordered as in iBUG's 300-W annotation (Sagonas et al., "300 Faces in-the-Wild Challenge", ICCVW
2013), from the left of the image to its right; where a point lies follows the net's teacher, which knows a mesh and
not that annotation. Right and left are the person's: RIGHT_EYE lies in the left half of the image. (The left eye of
`Face.points` is the one on the image's left.)
"""

from __future__ import annotations

JAW = tuple(range(17))  # from beside the right eye down to the chin (8) and up again
RIGHT_BROW = tuple(range(17, 22))  # from the temple to the nose
LEFT_BROW = tuple(range(22, 27))  # from the nose to the temple
NOSE = tuple(range(27, 36))  # down the ridge to the tip (30), then below the nose from right to left
RIGHT_EYE = tuple(range(36, 42))  # outer corner, upper lid, inner corner, lower lid
LEFT_EYE = tuple(range(42, 48))  # inner corner, upper lid, outer corner, lower lid
MOUTH = tuple(range(48, 60))  # the lips' outer edge: right corner, upper lip, left corner, lower lip
INNER_MOUTH = tuple(range(60, 68))  # the lips' inner edge, likewise
FOREHEAD = tuple(range(68, 81))  # from the left temple over the forehead to the right one
OVAL = JAW + FOREHEAD  # the outline in order, closed by its first point

COUNT = 81
GROUPS = {
    "jaw": JAW,
    "right brow": RIGHT_BROW,
    "left brow": LEFT_BROW,
    "nose": NOSE,
    "right eye": RIGHT_EYE,
    "left eye": LEFT_EYE,
    "mouth": MOUTH,
    "inner mouth": INNER_MOUTH,
    "forehead": FOREHEAD,
}  # each point once
NAMES = tuple(f"{group} {number}" for group, points in GROUPS.items() for number in range(len(points)))


def _mirrored() -> tuple[int, ...]:
    """Rows that run across the face are read backwards; lids and lips are rows too."""
    rows: list[tuple[int, ...]] = [(i,) for i in NOSE[:4]]
    rows += [JAW, RIGHT_BROW + LEFT_BROW, NOSE[4:], FOREHEAD, MOUTH[:7], MOUTH[7:], INNER_MOUTH[:5], INNER_MOUTH[5:]]
    rows += [RIGHT_EYE[:4] + LEFT_EYE[:4], RIGHT_EYE[4:][::-1] + LEFT_EYE[4:][::-1]]
    partner = {i: j for row in rows for i, j in zip(row, row[::-1], strict=True)}
    return tuple(partner[i] for i in range(COUNT))


MIRRORED = _mirrored()  # points[list(MIRRORED)] are the points of the mirrored image, once x is mirrored

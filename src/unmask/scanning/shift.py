"""Does a batch of files still look like what the detector was calibrated on? An alarm where it does not.

A bundle's `ood_threshold` is a distance beyond which 1 in 100 crops of its validation set lie. Files count one after
the other: does the first face lie beyond it? Against "at most 1 in 100 do" the watch bets on larger shares q at once,

    E = mean over q of  product over files of  q / 0.01 where one lies beyond, (1 - q) / 0.99 where not,

and the alarm rings when E reaches 100. If files are like the validation set, that ever happens with probability 1 in
100 at most, however many files there are (Ville's inequality; Vovk and Wang, "E-values", Annals of Statistics 2021).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from unmask.types import FileReport, Shift

USUAL = 0.01  # share of validation crops beyond the threshold, as `unmask export` sets it
BETS = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.8])  # shares
FALSE_ALARMS = 0.01


class Watch:
    """Counts files as they are answered."""

    def __init__(self) -> None:
        self.files = self.far = 0
        self.rang: int | None = None  # after so many files
        self._wealth = np.zeros(len(BETS))  # natural logarithms

    @property
    def evidence(self) -> float:
        """E: 1 before the first file."""
        return float(np.exp(self._wealth).mean())

    def see(self, far: bool) -> None:
        """One file, beyond the threshold or not."""
        self.files, self.far = self.files + 1, self.far + far
        self._wealth += np.log(BETS / USUAL) if far else np.log((1 - BETS) / (1 - USUAL))
        self._wealth = np.minimum(self._wealth, 700.0)  # exp does not overflow; the alarm rang long before
        if self.rang is None and self.evidence >= 1 / FALSE_ALARMS:
            self.rang = self.files

    def add(self, file: FileReport) -> None:
        """A file in which nothing was measured, or whose detector knows no threshold, is not counted."""
        about = "picture" if file.face_state is None else "face"
        for one in file.evidence:
            if one.kind == "distance" and one.about.startswith(about):
                self.see(float(one.facts["distance"]) > float(one.facts["limit"]))
                return

    @property
    def shift(self) -> Shift | None:
        """What was seen, of two files or more."""
        return Shift(files=self.files, far=self.far, alarm_after=self.rang) if self.files > 1 else None


def watched(files: Iterable[FileReport]) -> Shift | None:
    """The same of files that are all there."""
    watch = Watch()
    for file in files:
        watch.add(file)
    return watch.shift

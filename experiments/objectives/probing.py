"""Digits, probes and tables: what the small experiments on one objective each share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

Probe = Callable[[Tensor, Tensor, Tensor, Tensor], float]


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (N, 1, 8, 8) in 0..1 and labels of 1,347 training digits, then of 450 test digits; always the same."""
    data = load_digits()
    split = train_test_split(data.images / 16, data.target, test_size=450, random_state=0, stratify=data.target)
    train, test, label, test_label = (torch.from_numpy(np.asarray(x)) for x in split)
    return train[:, None].float(), label, test[:, None].float(), test_label


def linear(train: Tensor, label: Tensor, test: Tensor, test_label: Tensor) -> float:
    """Test accuracy of a logistic regression on standardised features."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    return float(model.fit(train.numpy(), label.numpy()).score(test.numpy(), test_label.numpy()))


def neighbours(train: Tensor, label: Tensor, test: Tensor, test_label: Tensor) -> float:
    """Test accuracy of the five nearest neighbours on standardised features."""
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(5))
    return float(model.fit(train.numpy(), label.numpy()).score(test.numpy(), test_label.numpy()))


def spread(values: Iterable[float], digits: int = 3) -> str:
    """Mean and standard deviation over seeds."""
    found = np.array(list(values))
    return f"{found.mean():.{digits}f} ± {found.std(ddof=1):.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def publish(path: Path, title: str, said: str, command: str, tables: Sequence[str]) -> None:
    """Write a page of tables, and how to make it again."""
    path.write_text(f"# {title}\n\n{said.strip()}\n\nRebuild: `{command}`\n\n" + "\n".join(tables), encoding="utf-8")

"""From planned rows to batches on a device: workers read and transform, the device makes floats of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from unmask.bases import Batch
from unmask.data.loader import FaceSet, Item, Key
from unmask.nouns import UnmaskError


def batches(
    faces: FaceSet, keys: Iterable[Sequence[Key]], *, workers: int = 0, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """The rows of each list of keys as a batch, in that order, whatever the number of workers.

    Raises: UnmaskError that names the file, if one cannot be read.
    """
    pinned = torch.device(device).type == "cuda"
    loader: DataLoader[Item] = DataLoader(faces, batch_sampler=keys, num_workers=workers, pin_memory=pinned)  # type: ignore[arg-type]
    try:
        for items in loader:
            yield batch_of(items, device)
    except UnmaskError as error:  # a worker's error comes with its traceback
        said = str(error.with_traceback(None)).strip().rpartition("\n")[2]  # its frames would keep the workers waiting
        raise UnmaskError(said.removeprefix("unmask.nouns.UnmaskError: ")) from None


def batch_of(items: Item, device: torch.device | str = "cpu") -> Batch:
    """Collated items, image uint8 (B, S, S, 3) -> a Batch on `device`, image float (B, 3, S, S) in 0..1."""

    def there(x: object) -> Tensor:
        return torch.as_tensor(x).to(device, non_blocking=True)

    image = there(items.image).permute(0, 3, 1, 2).float().div_(255)  # channels last, as it came
    columns = {name: there(getattr(items, name)) for name in ("label", "group", "pair", "method")}
    return Batch(image, index=there(items.at), **columns)

"""Images with the factors that made them: the one form in which every data set is handed out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Batch(NamedTuple):
    """images: float32 (B, C, H, W) in [0, 1]; factors: int64 (B, K); index: int64 (B,) rows."""

    images: torch.Tensor
    factors: torch.Tensor
    index: torch.Tensor


@dataclass(frozen=True)
class FactorData:
    """A data set with K known factors of variation.

    images: uint8 (N, C, H, W). factors: int64 (N, K), each column in 0 .. size - 1.
    factor_names, factor_sizes: K names and numbers of levels.
    factor_values: for each factor the value behind each level, a number or a word.
    renderer: makes images (M, C, H, W) uint8 from factors (M, K) and, where `bases` is set, from
    rows of `bases` (what a renderer needs beside the factors, such as the stroke of a digit).
    base_factors: names of the factors that a base fixes, which no renderer can change.

    Raises ValueError or TypeError naming the value when the parts do not fit together.
    """

    name: str
    images: torch.Tensor
    factors: torch.Tensor
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]
    factor_values: tuple[tuple, ...]
    renderer: Callable | None = None
    bases: torch.Tensor | None = None
    base_factors: tuple[str, ...] = ()

    def __post_init__(self):
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise TypeError(
                f"{self.name}: images are {self.images.dtype} {tuple(self.images.shape)}, expected "
                "torch.uint8 (N, C, H, W); data.to_uint8 converts images in [0, 1]"
            )
        if len(self.images) == 0:
            raise ValueError(f"{self.name}: the set is empty; choose a split with images in it")
        if self.factors.shape != (len(self.images), len(self.factor_names)):
            raise ValueError(
                f"{self.name}: factors {tuple(self.factors.shape)} for {len(self.images)} images "
                f"and {len(self.factor_names)} factor names; expected one row an image"
            )
        if self.factors.dtype != torch.int64:
            raise TypeError(
                f"{self.name}: factors are {self.factors.dtype}, expected levels, torch.int64"
            )
        self._check_levels(self.factors)

    def __len__(self):
        return len(self.images)

    def __repr__(self):
        factors = ", ".join(
            f"{name} {size}"
            for name, size in zip(self.factor_names, self.factor_sizes, strict=True)
        )
        shape = "x".join(map(str, self.image_shape))
        return f"FactorData({self.name}: {len(self):,} images {shape}; {factors})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def device(self) -> torch.device:
        return self.images.device

    def to(self, device: str | torch.device) -> "FactorData":
        """The same set with its tensors on `device`."""
        bases = None if self.bases is None else self.bases.to(device)
        return replace(
            self, images=self.images.to(device), factors=self.factors.to(device), bases=bases
        )

    def subset(self, index: Tensor) -> "FactorData":
        """The rows in `index` (integer tensor or boolean mask)."""
        index = torch.as_tensor(index, device=self.device)
        if index.dtype != torch.bool:
            index = index.long()  # an empty list would be floats
        bases = None if self.bases is None else self.bases[index]
        images, factors = self.images[index], self.factors[index]
        return replace(self, images=images, factors=factors, bases=bases)

    def split(self, fraction: float, seed: int = 0) -> tuple["FactorData", "FactorData"]:
        """Two disjoint sets (first `fraction` of a fixed shuffle, rest), the same for each call.

        Raises ValueError when either part would be empty.
        """
        n_first = round(fraction * len(self))
        if not 0 < n_first < len(self):
            raise ValueError(
                f"{self.name}: a split at {fraction} of {len(self)} images leaves a part empty"
            )
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.subset(order[:n_first]), self.subset(order[n_first:])

    def floats(self, index: Tensor | None = None) -> Tensor:
        """Images as float32 in [0, 1]: all, or the rows in `index`."""
        images = self.images if index is None else self.images[index]
        return images.float().div_(255)

    def batches(self, batch_size: int, seed: int = 0) -> "Batches":
        """Batches in a shuffled order, for training. See Batches."""
        return Batches(self, batch_size, seed)

    def fresh(self, batch_size: int, seed: int = 0) -> "FreshBatches":
        """Batches of images that are drawn anew at each step, for training. See FreshBatches."""
        return FreshBatches(self, batch_size, seed)

    def column(self, name: str) -> int:
        """The position of a factor. Raises ValueError, listing the names, if there is none.

        >>> from dvae_lib import data
        >>> data.load("rooms", n=10).column("wall hue")
        1
        """
        if name not in self.factor_names:
            raise ValueError(
                f"{self.name} has no factor {name!r}; it has: {', '.join(self.factor_names)}"
            )
        return self.factor_names.index(name)

    def render(self, factors: Tensor, bases: Tensor | None = None) -> Tensor:
        """Images uint8 (M, C, H, W) for factors (M, K), made on demand.

        bases: rows of `self.bases`, one an image, for a set that needs them.
        """
        if self.renderer is None:
            raise ValueError(f"{self.name} is not procedural; use `nearest` to look images up")
        factors = torch.as_tensor(factors, device=self.device)
        if factors.ndim != 2 or factors.shape[1] != len(self.factor_names):
            raise ValueError(
                f"{self.name}: factors of shape {tuple(factors.shape)}, expected "
                f"(M, {len(self.factor_names)}): {', '.join(self.factor_names)}"
            )
        self._check_levels(factors)
        if self.bases is None:
            return self.renderer(factors)
        if bases is None:
            raise ValueError(f"{self.name}: `render` needs `bases`, one row an image")
        return self.renderer(factors, bases)

    def counterfactual(self, index: Any, **levels: Any) -> Tensor:
        """The images in rows `index` with the named factors set to new levels, all else kept.

        index: int64 (M,). levels: a level or a tensor (M,) for each factor to change.
        Returns uint8 (M, C, H, W).

        >>> from dvae_lib import data
        >>> sprites = data.load("sprites", n=10)
        >>> sprites.counterfactual([0, 1], shape=2).shape
        torch.Size([2, 1, 64, 64])
        """
        index = torch.as_tensor(index, device=self.device)
        factors = self.factors[index].clone()
        for name, level in levels.items():
            column = self.column(name)
            if name in self.base_factors:
                raise ValueError(
                    f"{self.name}: {name!r} belongs to the original image and cannot be set; "
                    f"only {', '.join(n for n in self.factor_names if n not in self.base_factors)}"
                )
            factors[:, column] = torch.as_tensor(level, device=self.device)
        return self.render(factors, None if self.bases is None else self.bases[index])

    def nearest(self, factors: Tensor, names: Sequence[str] | None = None) -> Tensor:
        """Rows (M,) of the stored images whose factors are nearest to `factors` (M, K).

        Distance: the number of factors that differ, then their summed difference in levels; over
        the factors in `names` alone, if given. The first of equally near rows is taken.
        """
        factors = torch.as_tensor(factors, device=self.device)
        self._check_levels(factors)
        columns = [self.column(name) for name in names or self.factor_names]
        rows = []
        for wanted in factors[:, columns]:
            difference = (self.factors[:, columns] - wanted).abs()
            distance = (difference > 0).sum(1) * sum(self.factor_sizes) + difference.sum(1)
            rows.append(distance.argmin())
        return torch.stack(rows)

    def pairs(
        self, n: int, share: Sequence[str] = (), differ: Sequence[str] = (), seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Rows (n,), (n,) of image pairs that share the factors in `share` and differ in `differ`.

        Other factors are as they come. The first rows are drawn at random, the second among the
        rows that fit. Raises ValueError when no pair fits.
        """
        generator = torch.Generator().manual_seed(seed)
        if both := set(share) & set(differ):
            raise ValueError(f"factors {sorted(both)} cannot be shared and different at once")
        shared = [self.column(name) for name in share]
        different = [self.column(name) for name in differ]
        # Rows sorted by the shared factors: a row's candidates are one run of this order.
        group = torch.zeros(len(self), dtype=torch.int64)
        for column in shared:
            group = group * self.factor_sizes[column] + self.factors[:, column].cpu()
        order = torch.argsort(group, stable=True)
        group = group.contiguous()
        sorted_group = group[order]
        start = torch.searchsorted(sorted_group, group)
        stop = torch.searchsorted(sorted_group, group, right=True)
        factors = self.factors.cpu()
        kept = [torch.empty(2, 0, dtype=torch.int64)]
        found = 0
        for _ in range(100):
            first = torch.randint(len(self), (2 * n,), generator=generator)
            length = stop[first] - start[first]
            offset = (torch.rand(2 * n, generator=generator, dtype=torch.float64) * length).long()
            second = order[start[first] + offset]
            fits = (factors[first][:, different] != factors[second][:, different]).all(1)
            fits &= first != second
            kept.append(torch.stack([first[fits], second[fits]]))
            found += int(fits.sum())
            if found >= n:
                first, second = torch.cat(kept, 1)[:, :n].to(self.device)
                return first, second
        raise ValueError(
            f"{self.name}: found {found} of {n} pairs that share {list(share)} and differ in "
            f"{list(differ)}; use more images or ask for less"
        )

    def _check_levels(self, factors):
        if len(factors) == 0:
            return
        for name, size, column in zip(self.factor_names, self.factor_sizes, factors.T, strict=True):
            low, high = int(column.min()), int(column.max())
            if low < 0 or high >= size:
                wrong = low if low < 0 else high
                raise ValueError(
                    f"{self.name}: level {wrong} of factor {name!r}; its levels are 0 to {size - 1}"
                )


class Batches:
    """Shuffled batches as a pure function of (seed, step): `batches[step]` is a Batch.

    Each epoch is a new permutation from its own generator, so the order depends neither on
    torch's global seed nor on what was drawn before, and a resumed run goes on where it stopped.
    The tensors stay on the device of the data. An incomplete batch at the end of an epoch is left
    out. Raises ValueError when a batch is larger than the set.
    """

    def __init__(self, data: "FactorData", batch_size: int, seed: int = 0) -> None:
        if not 0 < batch_size <= len(data):
            raise ValueError(
                f"batch size {batch_size} for {len(data)} images; choose 1 to {len(data)}"
            )
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.per_epoch = len(data) // batch_size
        self._epoch = None

    def __repr__(self):
        return f"Batches({self.data!r}, batch_size={self.batch_size}, seed={self.seed})"

    def __getitem__(self, step):
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            # NumPy mixes both numbers; torch's CPU generator takes 32 bits of a seed.
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.data))
            self._epoch, self._order = epoch, torch.from_numpy(order).to(self.data.device)
        start = position * self.batch_size
        index = self._order[start : start + self.batch_size]
        return Batch(self.data.floats(index), self.data.factors[index], index)


class FreshBatches:
    """Batches of new images as a pure function of (seed, step): `batches[step]` is a Batch.

    Every factor is drawn uniformly from its levels and the images are rendered, so that no image
    is learnt by heart. For a set with bases, those of random rows are taken together with the
    factors that they fix, and `index` holds the rows; else it holds -1. Raises ValueError for a
    set that is not procedural.
    """

    def __init__(self, data: "FactorData", batch_size: int, seed: int = 0) -> None:
        if data.renderer is None:
            raise ValueError(f"{data.name} is not procedural; use `batches`, which shuffles it")
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size}; choose 1 or more")
        self.data, self.batch_size, self.seed = data, batch_size, seed

    def __repr__(self):
        return f"FreshBatches({self.data!r}, batch_size={self.batch_size}, seed={self.seed})"

    def __getitem__(self, step):
        data, rng = self.data, np.random.default_rng((self.seed, step))
        shape = (self.batch_size, len(data.factor_sizes))
        factors = torch.from_numpy(rng.integers(0, data.factor_sizes, shape)).to(data.device)
        if data.bases is None:
            index, bases = torch.full((self.batch_size,), -1, device=data.device), None
        else:
            index = torch.from_numpy(rng.integers(0, len(data), self.batch_size)).to(data.device)
            bases = data.bases[index]
            for name in data.base_factors:
                factors[:, data.column(name)] = data.factors[index, data.column(name)]
        return Batch(data.render(factors, bases).float().div_(255), factors, index)


def choose(n: int | str, total: int, seed: int) -> Tensor:
    """Positions (n,) of images of a set of `total`, drawn without repeats; of all for n = "all".

    Raises ValueError for another n.
    """
    if n == "all":
        return torch.arange(total)
    whole = isinstance(n, (int, np.integer)) and not isinstance(n, bool)
    if whole and 0 < n <= total:
        return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[: int(n)]
    raise ValueError(f"n = {n!r} images; choose 1 to {total} or 'all'")


def factors_of(index: Tensor, sizes: Sequence[int]) -> Tensor:
    """Factors (M, K) of images by their position (M,) in a full set; the last one runs fastest.

    >>> factors_of(torch.tensor([0, 1, 5]), (2, 3))
    tensor([[0, 0],
            [0, 1],
            [1, 2]])
    """
    return torch.stack(torch.unravel_index(index, sizes), 1)


def to_uint8(images: Tensor) -> Tensor:
    """Float images in [0, 1] to uint8, rounded. Raises ValueError on NaN or a value outside."""
    if not torch.isfinite(images).all():
        row = int((~torch.isfinite(images)).flatten(1).any(1).nonzero()[0])
        raise ValueError(f"image {row} holds NaN or infinity; remove it or mend its file")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise ValueError(f"images range over {low:.4g} to {high:.4g}, expected 0 to 1")
    return (images * 255).round().to(torch.uint8)

"""Group-by, done once for every estimator: a flat batch of groups of any sizes, vectorised by size.

Shape suffixes: N rows of the batch, K groups of the batch, P groups of one size, G size of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Groups:
    """Where the groups of a batch stand.

    Args:
        starts_K: First row of each group.
        sizes_K: Rows of each group, all > 0; a group's rows stand together.
    """

    starts_K: IntArray
    sizes_K: IntArray

    @classmethod
    def of(cls, codes_N: ArrayLike) -> Groups:
        """Groups of a batch whose equal codes stand together.

        Args:
            codes_N: A group number per row (dictionary codes, say), shape (N,).

        Raises:
            ValueError: If a group's rows are split by another group's.
        """
        codes = np.asarray(codes_N)
        if codes.ndim != 1:
            raise ValueError(f"codes must have one dimension, not {codes.ndim}")
        starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]) if codes.size else np.zeros(0, np.int64)
        if np.unique(codes[starts]).size != starts.size:
            raise ValueError("the rows of a group must stand together")
        sizes = np.diff(np.r_[starts, codes.size])
        return cls(starts.astype(np.int64), sizes.astype(np.int64))

    def rows_by_size(self) -> Iterator[tuple[IntArray, IntArray]]:
        """For each size: the numbers of its groups, shape (P,), and their rows, shape (P, G)."""
        for size in np.unique(self.sizes_K):
            members = np.flatnonzero(self.sizes_K == size)
            yield members, self.starts_K[members, None] + np.arange(size)


def by_group(groups: Groups, values_N: ArrayLike, function: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Apply `function` to every group and put the results back in the order of the batch.

    Args:
        groups: Where the groups stand.
        values_N: One number per row, shape (N,).
        function: Takes (P, G), returns (P, G): one number per row, or (P,): one number per group, repeated on its rows.

    Returns:
        Shape (N,).

    Raises:
        ValueError: If there is not one value for each row of the groups.
    """
    values = np.asarray(values_N, dtype=np.float64)
    rows = int(groups.sizes_K.sum())
    if values.shape != (rows,):
        raise ValueError(f"{rows} rows are grouped, but the values have shape {values.shape}")
    results = np.empty_like(values)
    for _, rows_PG in groups.rows_by_size():
        result = function(values[rows_PG])
        results[rows_PG] = result if result.ndim == 2 else result[:, None]
    return results


def zero_if_single(function: Callable[[FloatArray], FloatArray]) -> Callable[[FloatArray], FloatArray]:
    """The function, but 0 for groups of one, which have nothing to be compared with.

    Estimators differ there (some refuse, some give zero): every caller wants the same.
    """
    return lambda values_PG: function(values_PG) if values_PG.shape[-1] > 1 else np.zeros_like(values_PG)

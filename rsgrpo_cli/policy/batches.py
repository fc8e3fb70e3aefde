"""From columns of token ids to padded micro-batches that fit a token budget.

Shape suffixes: B completions of a micro-batch, T tokens, P distinct prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

Ragged = Sequence[NDArray[Any]]
"""One array per completion."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Prompts and completions, right-padded.

    Args:
        ids_BT: Token ids, prompt first.
        completion_BT: Where the completion tokens are.
        starts_B: How many tokens each prompt has.
        lengths_B: How many each completion has.
        prompt_B: Number of each completion's prompt among the distinct ones, 0 to P - 1.
        first_P: The first completion of each distinct prompt.
    """

    ids_BT: torch.Tensor
    completion_BT: torch.Tensor
    starts_B: torch.Tensor
    lengths_B: torch.Tensor
    prompt_B: torch.Tensor
    first_P: torch.Tensor


def ragged(column: pa.ChunkedArray) -> Ragged:
    """A list column as one numpy array a row, without copying a number."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], type=column.type)
    offsets = array.offsets.to_numpy()
    values = array.values.to_numpy(zero_copy_only=False)
    return [values[start:stop] for start, stop in pairwise(offsets)]


def micro_batches(lengths: Sequence[int], rows: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Split rows into micro-batches of at most `budget` padded tokens, longest rows first.

    Args:
        lengths: Tokens of every row there is, prompt and completion.
        rows: The rows to split.
        budget: A row longer than this gets a micro-batch of its own.

    Yields:
        Row numbers; sorting by length keeps the padding small, ties keep their order.
    """
    batch: list[int] = []
    for row in sorted(rows, key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def assemble(prompts: Ragged, completions: Ragged, rows: Sequence[int], device: torch.device) -> Batch:
    """Right-padded tensors of some rows."""
    lengths = np.array([len(completions[row]) for row in rows])
    starts = np.array([len(prompts[row]) for row in rows])
    ids_BT = np.zeros((len(rows), int((starts + lengths).max())), dtype=np.int64)
    for index, row in enumerate(rows):
        ids_BT[index, : starts[index]] = prompts[row]
        ids_BT[index, starts[index] : starts[index] + lengths[index]] = completions[row]
    position_T = np.arange(ids_BT.shape[1])
    completion_BT = (position_T >= starts[:, None]) & (position_T < (starts + lengths)[:, None])
    numbers: dict[bytes, int] = {}
    prompt_B = np.array([numbers.setdefault(prompts[row].tobytes(), len(numbers)) for row in rows])
    first_P = np.unique(prompt_B, return_index=True)[1]
    columns = (ids_BT, completion_BT, starts, lengths, prompt_B, first_P)
    return Batch(*(torch.from_numpy(column).to(device) for column in columns))

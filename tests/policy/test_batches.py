import numpy as np
import pyarrow as pa
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.policy.batches import assemble, micro_batches, ragged


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 200))
def test_micro_batches_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(micro_batches(lengths, range(len(lengths)), budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[row] for row in batch)
        assert padded <= budget or len(batch) == 1


def test_long_rows_come_first_and_ties_keep_their_order() -> None:
    # Budget 20: 9+9 padded is 18, a third would be 27. Then 4, 4, 4, 1 padded to 16.
    assert list(micro_batches([4, 9, 4, 9, 1, 4], range(6), 20)) == [[1, 3], [0, 2, 5, 4]]


def test_ragged_reads_slices_of_a_list_column() -> None:
    column = pa.chunked_array([pa.array([[1, 2], [], [3]]), pa.array([[4]])]).slice(1)
    assert [row.tolist() for row in ragged(column)] == [[], [3], [4]]


def test_assemble_pads_to_the_right() -> None:
    prompts, completions = [np.array([1, 2]), np.array([3])], [np.array([4]), np.array([5, 6, 7])]
    batch = assemble(prompts, completions, [0, 1], torch.device("cpu"))
    assert batch.ids_BT.tolist() == [[1, 2, 4, 0], [3, 5, 6, 7]]
    assert batch.completion_BT.int().tolist() == [[0, 0, 1, 0], [0, 1, 1, 1]]
    assert batch.lengths_B.tolist() == [1, 3]

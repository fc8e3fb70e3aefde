"""From rewards to what a step came to, and from a history to its table and back."""

import numpy as np
import pyarrow as pa
import pytest

from rsgrpo_cli.core.history import History, Visits
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.pipeline.history_table import from_table, means, outcome, to_table
from rsgrpo_cli.schemas import HISTORY
from rsgrpo_cli.stages.advantage import prompt_of
from tests.tables import rewards


def test_right_answers_of_each_prompt() -> None:
    found = outcome(rewards({"b": [1, 0, 1], "a": [0, 0]}, step=3), 0.5)
    assert (list(found.prompts_K), found.entropy) == (["b", "a"], 0.5)
    assert (found.right_K.tolist(), found.completions_K.tolist()) == ([2.0, 0.0], [3.0, 2.0])


def test_completions_without_a_reward_do_not_count() -> None:
    found = outcome(rewards({"a": [1, None, 0], "b": [None]}, own=True), None)
    assert (list(found.prompts_K), found.right_K.tolist(), found.completions_K.tolist()) == (["a"], [1.0], [2.0])


def test_grades_count_in_part() -> None:
    found = outcome(rewards({"a": [0.5, 0.25]}, own=True), None)
    assert (found.right_K.tolist(), found.completions_K.tolist()) == ([0.75], [2.0])


def test_numbers_that_are_no_rates_are_refused() -> None:
    with pytest.raises(DataError, match=r"needs rewards in \[0, 1\]; these go from -1 to 2"):
        outcome(rewards({"a": [-1, 2]}, own=True), None)


def test_a_step_without_completions() -> None:
    found = outcome(rewards({}), None)
    assert (list(found.prompts_K), found.right_K.size) == ([], 0)


def test_a_prompt_may_have_a_colon_in_its_name() -> None:
    assert [prompt_of(group) for group in ("000012:a:b", "a")] == ["a:b", "a"]


def test_there_and_back() -> None:
    third = 1 / 3
    history = History(7, third, third, 2.0, {"b": Visits(third, 1.0, ((5, third), (6, 1.0))), "a": Visits(0.1, 0.2)})
    table = to_table(history)
    assert table["prompt_id"].to_pylist() == ["a", "b"]
    assert from_table(table, means(history)) == history
    assert from_table(to_table(History()), means(History())) == History()


def test_the_table_has_its_schema() -> None:
    assert to_table(History()).schema == HISTORY.schema
    assert to_table(History(prompts={"a": Visits(np.float64(1), 2.0)})).schema == HISTORY.schema
    assert pa.types.is_list(HISTORY.schema.field("recent_rates").type)

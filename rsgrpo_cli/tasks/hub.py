"""Rows of a dataset on the Hugging Face Hub, or of a local copy of such a repository, through `datasets`.

The cache and `HF_HUB_OFFLINE=1` work as everywhere: what was loaded once is there without a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rsgrpo_cli.errors import DataError, DependencyError, MissingError, UsageError, first_line
from rsgrpo_cli.tasks.chats import media_columns
from rsgrpo_cli.tasks.files import BATCH_ROWS, Rows, is_data_file, no_rows, picked

_ROWS_WITH_MEDIA = 8
"""Rows that are in memory at a time where a row has images, which may be megabytes each."""
_HUB_PATH = re.compile(
    r"(?P<repository>[^:@]+)(@(?P<revision>[^:@]+))?(:(?P<config>[^:@/]*)(/(?P<split>[^:@/]+))?)?", re.ASCII
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dataset is: "owner/name[@revision][:config[/split]]", or a directory instead of owner/name.

    Args:
        repository: The id on the Hub, or the path of a directory with the repository's files.
        revision: Branch, tag or commit.
        config: Its configuration; None if it has only one.
        split: Its split; None asks for the one that the caller wants.
    """

    repository: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """What `text` names, None if it cannot be a repository."""
        found = _HUB_PATH.fullmatch(text)
        if not found or not (_HUB_ID.fullmatch(found["repository"]) or Path(found["repository"]).is_dir()):
            return None
        return cls(found["repository"], found["revision"], found["config"] or None, found["split"])


def read_hub(place: Place, split: str, columns: Sequence[str] | None = None, *, stream: bool = False) -> list[Any]:
    """The rows of a split.

    Args:
        place: Where it is.
        split: Which, unless the place says so itself.
        columns: Only these; all unless given.
        stream: Fetch no more than these columns, and keep them in the cache.

    Raises:
        MissingError: If it is neither in the cache nor on the Hub.
        UsageError: If it has no such configuration, split or column.
        DataError: If its files cannot be read.
    """
    datasets = _datasets()
    arguments = (place.repository, place.config, place.split or split, place.revision)
    try:
        if stream and columns:
            table = datasets.Dataset.from_generator(
                _streamed, gen_kwargs={"arguments": arguments, "columns": tuple(columns)}
            )
        else:
            table = _load(datasets, arguments)
    except Exception as error:
        raise _explained(error, place) from error
    missing = sorted(set(columns or ()) - set(table.column_names))
    if missing:
        raise UsageError(
            f"{place.repository} has no column {missing[0]!r}", f"columns: {', '.join(table.column_names)}"
        )
    return list((table.select_columns(list(columns)) if columns else table).to_list())


def open_hub(place: Place, split: str) -> Rows:
    """The columns of a split, and a way to its rows.

    Raises:
        MissingError, UsageError, DataError: As `read_hub`, or if it has no rows.
    """
    try:
        table = _load(_datasets(), (place.repository, place.config, place.split or split, place.revision))
    except Exception as error:
        raise _explained(error, place) from error
    if not len(table):
        raise no_rows(place.repository)
    shape = {name: _shape(feature) for name, feature in table.features.items()}

    def read(columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        names = list(shape) if columns is None else list(columns)
        outer = [name if name in shape else name.partition(".")[0] for name in names]
        # As Arrow: images stay the bytes they are, and one batch is in memory at a time.
        size = _ROWS_WITH_MEDIA if media_columns({name: shape[name] for name in outer if name in shape}) else BATCH_ROWS
        for batch in table.select_columns(list(dict.fromkeys(outer))).with_format("arrow").iter(batch_size=size):
            yield from (picked(row, names) for row in batch.to_pylist())

    return Rows(place.repository, shape, shape, read)


def _shape(feature: Any) -> Any:
    """What a feature of `datasets` holds, as `files.Shape` has it."""
    if isinstance(feature, Mapping):
        return {name: _shape(inner) for name, inner in feature.items()}
    if isinstance(feature, list):
        return [_shape(feature[0])]
    if type(feature).__name__ in ("Image", "Audio", "Video"):
        return {"bytes": None, "path": None}
    inner = getattr(feature, "feature", None)  # List, LargeList, Sequence
    return None if inner is None else [_shape(inner)]


def _streamed(arguments: tuple[str, str | None, str, str | None], columns: tuple[str, ...]) -> Iterator[Any]:
    """Rows with these columns only. `datasets` runs this when its result is not in the cache yet."""
    yield from _load(_datasets(), arguments, streaming=True, columns=list(columns))


def _load(datasets: ModuleType, arguments: tuple[str, str | None, str, str | None], **options: Any) -> Any:
    repository, config, split, revision = arguments
    return datasets.load_dataset(repository, config, split=split, revision=revision, **options)


def _datasets() -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise DependencyError("datasets from the Hub need the package datasets", "pip install datasets") from error
    datasets.disable_progress_bars()
    module: ModuleType = datasets
    return module


def _explained(error: Exception, place: Place) -> Exception:
    """What went wrong in the words of this tool; what is not known to happen stays as it is."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    name, first = place.repository, first_line(error)
    if any(isinstance(link, ConnectionError) for link in chain) or "Couldn't find cache" in first:
        return MissingError(
            f"dataset {name} is not in the local cache and the Hub cannot be reached",
            "load it once while online (HF_HUB_OFFLINE unset), or give a folder with its file: --data-dir",
        )
    if isinstance(error, FileNotFoundError):
        return MissingError(f"cannot get dataset {name}: {first}", "check the id; a gated one needs: hf auth login")
    unread = any(type(link).__module__.startswith("pyarrow.") for link in chain)
    if isinstance(error, ValueError) and not unread:  # an unknown configuration or split; the message lists those
        what = f"directory {name} as a dataset" if Path(name).is_dir() else name
        return UsageError(f"cannot load {what}: {first}", _choice(str(error), place))
    known = isinstance(error, OSError) or type(error).__module__.startswith(("datasets.", "huggingface_hub."))
    if known or unread:
        deepest = first_line(chain[-1], silent=first)
        return DataError(f"cannot read dataset {name}: {deepest}", _single_file(Path(name)))
    return error


def _single_file(folder: Path) -> str:
    """What may help with a folder that cannot be read as a whole: our own reader, which is less strict with JSONL."""
    depths = ("*", "*/*") if folder.is_dir() else ()
    files = [str(path) for depth in depths for path in sorted(folder.glob(depth)) if is_data_file(path)]
    more = f", ... ({len(files)} in all)" if len(files) > CHOICES_SHOWN else ""
    return f"give a file instead of its folder: {', '.join(files[:CHOICES_SHOWN])}{more}" if files else ""


def _choice(message: str, place: Place) -> str:
    """The configurations or the splits that an error of `datasets` lists, as a user names them."""
    listed = re.search(r"\[('[^\]]*')\]", message)
    names = re.findall(r"'([^']*)'", listed[1]) if listed else []
    where = place.repository + (f"@{place.revision}" if place.revision else "")
    if not names:
        return _single_file(Path(place.repository)) or f"write {where}:config/split"
    before = f"{place.config or ''}/" if "split" in message.partition("\n")[0] else ""
    more = f", ... ({len(names)} in all)" if len(names) > CHOICES_SHOWN else ""
    return f"write one of: {', '.join(f'{where}:{before}{name}' for name in names[:CHOICES_SHOWN])}{more}"


CHOICES_SHOWN = 5

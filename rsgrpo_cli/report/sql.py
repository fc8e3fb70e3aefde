"""SQL over the tables of runs, with DuckDB (the extra `sql`).

A query may come from a stranger, and so may a run. DuckDB runs in memory, reads the runs through Arrow datasets alone,
and has no access to anything outside: no file, no network, no extension, no variable of this process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli.errors import DataError, DependencyError, RsgrpoError, UsageError, first_line
from rsgrpo_cli.report.sql_files import SOURCES, Files, table_of_runs
from rsgrpo_cli.report.sql_views import VIEWS, View
from rsgrpo_cli.run.run_dir import RunDir

_LOCKED_UP = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",  # else a table's name may be that of a variable of ours
    "temp_directory": "",  # nothing is spilled to disk
}
_ROWS = 4096
"""Rows that are fetched at a time."""


def find_runs(places: Sequence[str]) -> dict[str, RunDir]:
    """The runs that names mean, by what the column `run` calls them; a folder of runs, a sweep's, means all of them.

    Raises:
        MissingError: If there is nothing of the kind.
    """
    found: dict[Path, RunDir] = {}
    wanted: Sequence[str | None] = places or [None]
    for place in wanted:
        for run in _at(place):
            found.setdefault(run.path.resolve(), run)
    names = [run.name for run in found.values()]
    return {run.name if names.count(run.name) == 1 else str(run.path): run for run in found.values()}


def _at(place: str | None) -> list[RunDir]:
    path = RunDir.locate(place)
    if place is not None and not RunDir.is_there(path):
        for folder in (path, Path(place)):
            inside = sorted(folder.glob("[!.]*/config.json"))
            runs = [RunDir(file.parent) for file in inside if RunDir.is_there(file.parent)]
            if runs:
                return runs
    return [RunDir.open(place)]


class Database:
    """Runs as views that can be queried.

    Args:
        runs: Name -> run.
        tags: What was made with these tags is in the views too.

    Raises:
        DependencyError: If DuckDB is not installed.
    """

    def __init__(self, runs: Mapping[str, RunDir], tags: Sequence[str] = ()) -> None:
        self._duckdb = _duckdb()
        self._files = Files(runs, tags)
        self._files.require_tags()

    def query(self, text: str) -> Result:
        """Begin a query. Only the files that its views need are looked at.

        Raises:
            UsageError: If it is not SQL that reads, or names what is not there.
            ArtifactError: If a file is foreign or cut short.
        """
        views = _named(text)
        connection = self._duckdb.connect(":memory:", config=_LOCKED_UP)
        with self._explained(views):
            self._require_reading(connection, text)
            needed = {source for view in views for source in view.sources}
            for source in dict.fromkeys(source for view in VIEWS for source in view.sources):
                connection.register(source, self._table(source, source in needed))
            for view in VIEWS:
                connection.execute(view.statement)
            connection.execute("SET enable_progress_bar = false")  # it would draw on stdout
            connection.execute("SET lock_configuration = true")
            # What it computes is fetched bit by bit, so a result may be larger than the memory.
            return Result(connection.sql(text).to_arrow_reader(_ROWS), self._explained(views))

    def _table(self, source: str, needed: bool) -> Any:
        """The rows of a dataset; none where the query cannot ask for them, so that its files need not be found."""
        if source not in SOURCES:
            return table_of_runs(self._files.runs if needed else {})
        return self._files.dataset(source) if needed else SOURCES[source].dataset([])

    def _require_reading(self, connection: Any, text: str) -> None:
        kinds = [statement.type.name for statement in connection.extract_statements(text)]
        if len(kinds) != 1 or kinds[0] not in ("SELECT", "MULTI"):  # MULTI: a PIVOT
            what = f"{len(kinds)} statements" if len(kinds) != 1 else kinds[0]
            hint = "a query only reads, and changes nothing; --out FILE writes what it finds into a file"
            raise UsageError(f"{what} cannot be run: a query is a single SELECT", hint)

    @contextmanager
    def _explained(self, views: Sequence[View]) -> Iterator[None]:
        """Turn an error of DuckDB into one line and a next step."""
        try:
            yield
        except (self._duckdb.Error, UnicodeDecodeError, pa.ArrowException) as error:
            if "reading the stream" in str(error) or not isinstance(error, self._duckdb.Error):
                self._check(views)
            raise self._refusal(error, views) from error

    def _check(self, views: Sequence[View]) -> None:
        """Look for the file that a query stumbled over; raises ArtifactError."""
        for source in dict.fromkeys(source for view in views for source in view.sources if source in SOURCES):
            self._files.check(source)

    def _refusal(self, error: Exception, views: Sequence[View]) -> RsgrpoError:
        message = _told(error)
        if isinstance(error, self._duckdb.OutOfMemoryException):
            return DataError(f"the query needs too much memory: {message}", "select fewer columns, steps or runs")
        if isinstance(error, self._duckdb.PermissionException):
            return UsageError(message, "a query reads the views alone: no other files, no settings, no extensions")
        if isinstance(error, self._duckdb.CatalogException) and message.startswith("Table "):
            return UsageError(message, f"views: {', '.join(view.name for view in VIEWS)}")
        if isinstance(error, self._duckdb.BinderException) and views:
            return UsageError(message, "; ".join(_columns_of(view) for view in views))
        return UsageError(message, "rsgrpo sql RUN without a query lists the views and their columns")


class Result:
    """The rows of a query, computed as they are read.

    Args:
        reader: Where they come from.
        explained: Around the reading.
    """

    def __init__(self, reader: pa.RecordBatchReader, explained: Any) -> None:
        self._reader, self._explained = reader, explained

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""
        return self._reader.schema

    @property
    def columns(self) -> list[str]:
        """Their names."""
        return list(self._reader.schema.names)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, some at a time; once."""
        with self._explained:
            for batch in self._reader:
                batch.validate(full=True)  # text that is no UTF-8
                yield batch

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows; once."""
        for batch in self.batches():
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _named(text: str) -> list[View]:
    """The views that a query may read: those whose names it has anywhere. One may put names together: then all."""
    words = {word.lower() for word in re.findall(r"\w+", text)}
    if words & {"query", "query_table"}:
        return list(VIEWS)
    return [view for view in VIEWS if {view.name, *view.sources} & words]


def _columns_of(view: View) -> str:
    return f"{view.name} has {', '.join(_quoted(column.name) for column in view.columns)}"


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else f'"{name}"'


def _told(error: Exception) -> str:
    """DuckDB's message without its kind, and without the query, which whoever gave it knows."""
    return re.sub(r"^[A-Z][A-Za-z ]+ Error: ", "", first_line(error)).rstrip(".!")


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise DependencyError("SQL needs DuckDB", "pip install 'rsgrpo[sql]'") from error
    return duckdb

"""How fast machines are taken to be: what `rsgrpo plan` and benchmarks/cluster_simulation.py reckon with.

Every number has its unit and its source here: published, measured with this project (docs/measurements.md,
docs/scaling.md), or assumed. A user replaces them one by one; what a run has measured replaces them too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from rsgrpo_cli.errors import UsageError

H100 = "published: H100 SXM"
ASSUMED = "assumed"
MEASURED = "measured"
YOURS = "yours"


def _number(value: float, unit: str, what: str, source: str = ASSUMED, most: float = math.inf) -> Any:
    return field(default=value, metadata={"unit": unit, "what": what, "source": source, "most": most})


@dataclass(frozen=True, slots=True)
class Machine:
    """GPUs, what connects them, the file system, and the machine of the command.

    Args:
        sources: Name -> where a number comes from that is not the default.
    """

    flops: float = _number(989.0, "TFLOP/s", "a GPU in bfloat16", H100)
    bandwidth: float = _number(3350.0, "GB/s", "a GPU's memory", H100)
    memory: float = _number(80.0, "GB", "a GPU's memory", H100)
    decode_share: float = _number(0.6, "", "of the memory's bandwidth, while sampling", most=1.0)
    iteration: float = _number(0.005, "s", "a sampler's own work per token of all sequences")
    sequences: float = _number(256.0, "", "completions that a sampler writes at once, at most")
    parallel_share: float = _number(0.85, "", "of its speed a GPU keeps in a sampler of several", most=1.0)
    update_share: float = _number(0.35, "", "of its FLOP/s a GPU reaches in an update", most=1.0)
    node: float = _number(8.0, "", "GPUs of a machine", "published: DGX H100")
    nvlink: float = _number(450.0, "GB/s", "into a GPU, from its own machine", H100)
    network: float = _number(50.0, "GB/s", "into a GPU, from other machines", "published: DGX H100")
    disk: float = _number(20.0, "GB/s", "the shared file system, for all machines together")
    disk_node: float = _number(5.0, "GB/s", "the shared file system, for one machine")
    file_operations: float = _number(5000.0, "1/s", "opens, renames, stats of the shared file system")
    part_operations: float = _number(55.0, "", "of these per part, rewards included", MEASURED)
    part_seconds: float = _number(0.002, "s", "the command's own work per part", MEASURED)
    parquet: float = _number(7.5, "B", "of a part's file per sampled token", MEASURED)
    verdicts: float = _number(570.0, "1/s", "answers that a core grades", MEASURED)
    cores: float = _number(2.0, "", "that grade, on the command's machine", "--workers")
    start: float = _number(60.0, "s", "until a new worker has loaded its engine")
    failure_hours: float = _number(50_000.0, "h", "of a GPU until a failure", "published: Llama 3, arXiv 2407.21783")
    sources: Mapping[str, str] = field(default_factory=dict)

    def known(self, source: str, **values: float) -> Machine:
        """The same with numbers that are known better.

        Args:
            source: Where they come from.
            values: By name.
        """
        return replace(self, **values, sources={**self.sources, **dict.fromkeys(values, source)})

    def table(self, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """The numbers with unit, meaning and source.

        Args:
            names: Which; all unless given.
        """
        wanted = None if names is None else set(names)
        return [
            {
                "name": one.name,
                "value": getattr(self, one.name),
                "unit": one.metadata["unit"],
                "what": one.metadata["what"],
                "source": self.sources.get(one.name, one.metadata["source"]),
            }
            for one in fields(self)
            if one.metadata and (wanted is None or one.name in wanted)
        ]


def assume(machine: Machine, texts: Iterable[str], names: Iterable[str] | None = None) -> Machine:
    """The machine with numbers of the user's own.

    Args:
        machine: What holds otherwise.
        texts: As "disk=40".
        names: Those that are reckoned with; all unless given.

    Raises:
        UsageError: If one names nothing, or its value is no number that this can be.
    """
    wanted = None if names is None else set(names)
    known = {one.name: one for one in fields(machine) if one.metadata and (wanted is None or one.name in wanted)}
    for text in texts:
        name, equals, written = (part.strip() for part in text.partition("="))
        if name not in known or not equals:
            raise UsageError(f"--assume {text!r} names nothing that is assumed here", f"one of {', '.join(known)}")
        most = known[name].metadata["most"]
        try:
            value = float(written)
        except ValueError:
            value = math.nan
        if not 0 < value <= most or math.isinf(value):
            limit = f" up to {most:g}" if math.isfinite(most) else ""
            hint = f"for instance --assume {name}={known[name].default:g}"
            raise UsageError(f"--assume {text!r} is not a number above 0{limit}", hint)
        machine = machine.known(YOURS, **{name: value})
    return machine

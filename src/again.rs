//! Commands that a person is told to type next: with the options that say where queue and store live, so that each works as it
//! stands where the last one was typed.

use rollcall_proto::id::RunId;

use crate::cli::Global;

/// What stored texts say in place of their run.
const RUN: &str = "RUN";

/// `--dir` and `--config` of this line, as they go into another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Again(String);

impl Again {
    /// Those of this line.
    pub(crate) fn of(global: &Global) -> Self {
        let given = [("--dir", &global.dir), ("--config", &global.config)];
        let option = |(name, path): (&str, &Option<std::path::PathBuf>)| {
            path.as_ref().map(|path| format!(" {name} {}", quoted(&path.to_string_lossy())))
        };
        Self(given.into_iter().filter_map(option).collect())
    }

    /// A whole command.
    pub(crate) fn command(&self, words: &str) -> String {
        format!("rollcall{} {words}", self.0)
    }

    /// A text whose commands stand in backticks.
    pub(crate) fn text(&self, text: &str) -> String {
        text.replace("`rollcall ", &format!("`rollcall{} ", self.0))
    }

    /// As [`Again::text`], of what is stored of a run: commands that are about it name it, in place of the word `RUN`.
    pub(crate) fn text_of(&self, run: RunId, text: &str) -> String {
        let is_command = |place: usize, piece: &str| place % 2 == 1 && piece.starts_with("rollcall ");
        let named = |(place, piece): (usize, &str)| {
            if !is_command(place, piece) {
                return piece.to_owned();
            }
            let word = |word: &str| if word == RUN { run.to_string() } else { word.to_owned() };
            piece.split(' ').map(word).collect::<Vec<_>>().join(" ")
        };
        self.text(&text.split('`').enumerate().map(named).collect::<Vec<_>>().join("`"))
    }
}

/// As one word of a shell's line.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@%,=".contains(letter);
    let plain = !text.is_empty() && text.chars().all(is_plain);
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(quoted("target/release/rollcall"), "target/release/rollcall");
        assert_eq!(quoted("/tmp/it's here"), "'/tmp/it'\\''s here'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn what_is_typed_next_repeats_where_store_and_queue_live() {
        let of = |line: &[&str]| {
            Again::of(&Cli::try_parse_from([&["rollcall"], line, &["runs", "list"]].concat()).unwrap().global)
        };
        assert_eq!(of(&[]).command("runs list"), "rollcall runs list");
        assert_eq!(of(&[]).text("see `rollcall runs list`"), "see `rollcall runs list`");
        let both = of(&["--config", "a.toml", "--dir", "my data"]);
        assert_eq!(both.command("runs list"), "rollcall --dir 'my data' --config a.toml runs list");
        let told = both.text("rollcall: `rollcall district list` or `rollcall runs list`");
        let expected = "rollcall: `rollcall --dir 'my data' --config a.toml district list` or \
                        `rollcall --dir 'my data' --config a.toml runs list`";
        assert_eq!(told, expected);
        let run: RunId = "00000000-0000-7000-8000-000000000000".parse().unwrap();
        let stored = "A RUN: `rollcall runs approve RUN --accept-empty 'RUNS'`, `see RUN` or `rollcall runs plan RUN`";
        let named = format!(
            "A RUN: `rollcall --dir 'my data' --config a.toml runs approve {run} --accept-empty 'RUNS'`, `see RUN` or `rollcall \
             --dir 'my data' --config a.toml runs plan {run}`"
        );
        assert_eq!(both.text_of(run, stored), named);
    }
}

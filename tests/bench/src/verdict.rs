//! Whether goals are met.

use std::{fmt, iter::Sum, process::ExitCode};

/// Of one goal, or of several together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All of them, or there are none.
    Met,
    /// One at least is missed.
    Missed,
}

impl Verdict {
    /// Of something that is met where `is`.
    pub(crate) const fn of(is: bool) -> Self {
        if is { Self::Met } else { Self::Missed }
    }

    /// What the program ends with, once everything is printed.
    pub(crate) fn exit_code(self) -> ExitCode {
        if self == Self::Missed {
            eprintln!("a goal was missed");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "missed",
        })
    }
}

/// Of all of them together.
impl Sum for Verdict {
    fn sum<I: Iterator<Item = Self>>(verdicts: I) -> Self {
        verdicts.fold(Self::Met, |all, one| if one == Self::Missed { one } else { all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goal_that_is_missed_fails_the_program() {
        for (goals, verdict, code) in [
            (&[][..], Verdict::Met, ExitCode::SUCCESS),
            (&[true, true], Verdict::Met, ExitCode::SUCCESS),
            (&[true, false, true], Verdict::Missed, ExitCode::FAILURE),
        ] {
            let all: Verdict = goals.iter().copied().map(Verdict::of).sum();
            assert_eq!(all, verdict, "{goals:?}");
            assert_eq!(format!("{:?}", all.exit_code()), format!("{code:?}"));
        }
    }
}

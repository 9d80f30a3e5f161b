//! An error with everything that led to it, on one line.

use std::error::Error;

/// [`links`] on one line.
pub fn chain(error: &dyn Error) -> String {
    links(error).join(": ")
}

/// The texts of an error and of its sources, each before what led to it. A source whose text the one before ends with already is left
/// out, as where an error shows its source itself.
pub fn links(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    for source in std::iter::successors(error.source(), |error| (*error).source()) {
        let text = source.to_string();
        if texts.last().is_none_or(|last| !last.ends_with(&text)) {
            texts.push(text);
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;

    /// Shows `0`, and comes of `1`.
    #[derive(Debug)]
    struct Led(&'static str, Option<Box<dyn Error>>);

    impl fmt::Display for Led {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Led {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref()
        }
    }

    fn led(text: &'static str, source: impl Error + 'static) -> Led {
        Led(text, Some(Box::new(source)))
    }

    #[test]
    fn a_source_that_is_told_already_is_not_told_twice() {
        let pipe = || io::Error::other("Broken pipe (os error 32)");
        for (error, told) in [
            (Led("away", None), "away"),
            (led("away", pipe()), "away: Broken pipe (os error 32)"),
            (led("the driver: Broken pipe (os error 32)", pipe()), "the driver: Broken pipe (os error 32)"),
            (
                led("away", led("the driver: Broken pipe (os error 32)", pipe())),
                "away: the driver: Broken pipe (os error 32)",
            ),
            (led("a pipe", led("broke", led("broke", Led("a pipe", None)))), "a pipe: broke: a pipe"),
        ] {
            assert_eq!(chain(&error), told);
        }
    }
}

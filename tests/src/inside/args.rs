//! Command-line words of the helper program `testbed`: `--name value` pairs, then the rest.
//!
//! In: argv without the program and subcommand. Out: options by name, remaining words.
//! Runs as: part of `testbed`. Spec: `testbed help`.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};

/// Options (each with a value) and the words after them or after `--`.
#[derive(Debug)]
pub struct Args {
    options: Vec<(String, String)>,
    /// The words after the last option.
    pub rest: Vec<OsString>,
}

impl Args {
    /// Split words; an option that is not in `known` is refused.
    pub fn parse(words: impl IntoIterator<Item = OsString>, known: &[&str]) -> Result<Self> {
        let mut options = Vec::new();
        let mut rest = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--" {
                rest.extend(words);
                break;
            }
            let Some(name) = word.to_str().filter(|w| w.starts_with("--")) else {
                rest.push(word);
                rest.extend(words);
                break;
            };
            if !known.contains(&name) {
                bail!("unknown option {name}");
            }
            let value = words.next().with_context(|| format!("{name} needs a value"))?;
            let value = value.into_string().ok().with_context(|| format!("{name} is not UTF-8"))?;
            options.push((name.to_owned(), value));
        }
        Ok(Self { options, rest })
    }

    /// The last value given for `name`.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Like [`Args::one`], but the option must be there.
    pub fn need(&self, name: &str) -> Result<&str> {
        self.one(name).with_context(|| format!("{name} is missing"))
    }

    /// A process id given for `name`.
    pub fn pid(&self, name: &str) -> Result<i32> {
        let text = self.need(name)?;
        text.parse().ok().filter(|pid| *pid > 0).with_context(|| format!("{name} {text}: not a pid"))
    }

    /// Every value given for `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn options_end_at_the_first_plain_word() {
        let args = Args::parse(words("--pid 7 ls --all"), &["--pid"]).unwrap();
        assert_eq!(args.pid("--pid").unwrap(), 7);
        assert_eq!(args.rest, words("ls --all"));
    }

    #[test]
    fn unknown_and_valueless_options_are_refused() {
        assert_eq!(Args::parse(words("--x 1"), &["--pid"]).unwrap_err().to_string(), "unknown option --x");
        assert_eq!(Args::parse(words("--pid"), &["--pid"]).unwrap_err().to_string(), "--pid needs a value");
    }
}

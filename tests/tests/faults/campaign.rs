//! Many runs, as many at once as there are cores, each with its own fault.
//!
//! In: strikes and what one run is. Out: [`Report`]: how many faults were met, and every run that failed with its strike.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::point::Strike;

/// A run that takes longer has waited for something.
const SLOW: Duration = Duration::from_secs(10);

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    runs: usize,
    met: usize,
    took: Duration,
    failed: Vec<String>,
    /// Runs that waited for something, for the eye.
    slow: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} faults, {} met, {} failed, in {:?}, slow: {:?}",
            self.runs,
            self.met,
            self.failed.len(),
            self.took,
            self.slow
        )
    }
}

impl Report {
    /// Every run held, and most faults were met: how often a status is written, or which thread is the first, differs from run to run.
    pub(crate) fn check(&self) {
        assert!(self.failed.is_empty(), "{self}\n{}", self.failed.join("\n"));
        assert!(self.met * 3 >= self.runs * 2, "{self}");
    }
}

/// Runs them all.
pub(crate) fn run(strikes: &[Strike], one: impl Fn(&Strike) -> bool + Sync) -> Report {
    let begin = Instant::now();
    let (next, report) =
        (AtomicUsize::new(0), Mutex::new(Report { runs: strikes.len(), ..Report::default() }));
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(strike) = strikes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begin = Instant::now();
                    let ended = catch_unwind(AssertUnwindSafe(|| one(strike)));
                    let mut report = report.lock().unwrap();
                    if begin.elapsed() > SLOW {
                        report.slow.push(format!("{strike}: {:?}", begin.elapsed()));
                    }
                    match ended {
                        Ok(met) => report.met += usize::from(met),
                        Err(panic) => {
                            let text = panic.downcast_ref::<String>().cloned();
                            let text =
                                text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                            report.failed.push(format!("{strike}: {}", text.unwrap_or_default()));
                        }
                    }
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap();
    report.took = begin.elapsed();
    report
}

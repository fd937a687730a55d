//! `bug!`: a broken invariant of ours fails its test, and in production is counted and logged.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of the whole process: a bug has no owner.
static BUGS: AtomicU64 = AtomicU64::new(0);

/// Reports a broken invariant of ours: an id was just looked up and its value is missing,
/// or two of our own tables disagree. Never for what a client can bring about.
///
/// A test fails. In production it is counted ([`Metric::Bugs`](crate::Metric::Bugs)) and logged as an
/// ERROR at the first, second, fourth, eighth … time at that place (rate limit), and the code goes on.
#[macro_export]
macro_rules! bug {
    ($($message:tt)+) => {{
        static TIMES: ::std::sync::atomic::AtomicU64 = ::std::sync::atomic::AtomicU64::new(0);
        $crate::report_bug(&TIMES, ::std::format_args!($($message)+));
    }};
}

/// The effect of [`bug!`]; `times` is how often at this place.
#[track_caller]
pub fn report_bug(times: &AtomicU64, message: fmt::Arguments<'_>) {
    BUGS.fetch_add(1, Ordering::Relaxed);
    let times = times.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    if times.is_power_of_two() {
        let place = std::panic::Location::caller();
        tracing::error!(%place, times, "A bug: {message}");
    }
    debug_assert!(false, "a bug: {message}");
}

/// How many there were in this process.
pub fn bugs() -> u64 {
    BUGS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_counted_and_fails_its_test() {
        let before = bugs();
        let act = || bug!("peer {} has no entry", 7);
        assert_eq!(std::panic::catch_unwind(act).is_err(), cfg!(debug_assertions));
        assert_eq!(bugs(), before + 1);
    }
}

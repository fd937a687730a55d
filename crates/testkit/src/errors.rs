//! An ERROR in the log is a bug, and fails the test it happens in.
//!
//! * **Owns:** the count of such events, of one thread or of the whole process.
//! * **In:** `tracing` events. **Out:** a panic when the value is dropped.
//! * **Invariant:** a check of the whole process may also find errors of a test that runs beside it.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

/// See the module documentation.
#[must_use = "it looks at the log for as long as it lives"]
pub struct ErrorWatch {
    count: Arc<AtomicU64>,
    before: u64,
    _guard: Option<DefaultGuard>,
}

impl ErrorWatch {
    /// Looks at what this thread logs.
    pub fn on_this_thread() -> Self {
        let count = Arc::new(AtomicU64::new(0));
        let guard = tracing::subscriber::set_default(Errors(Arc::clone(&count)));
        Self { count, before: 0, _guard: Some(guard) }
    }

    /// Forgets the errors logged so far: the test expected them.
    ///
    /// # Panics
    ///
    /// Nothing was.
    pub fn forgive(&mut self) {
        let errors = self.count.load(Ordering::Relaxed);
        assert!(errors > self.before, "no error was logged");
        self.before = errors;
    }

    /// Looks at what any thread of the process logs.
    pub fn everywhere() -> Self {
        static COUNT: OnceLock<Arc<AtomicU64>> = OnceLock::new();
        let count = COUNT.get_or_init(|| {
            let count = Arc::new(AtomicU64::new(0));
            tracing::subscriber::set_global_default(Errors(Arc::clone(&count))).unwrap();
            count
        });
        let (count, before) = (Arc::clone(count), count.load(Ordering::Relaxed));
        Self { count, before, _guard: None }
    }
}

impl Drop for ErrorWatch {
    fn drop(&mut self) {
        let errors = self.count.load(Ordering::Relaxed) - self.before;
        if errors > 0 && !std::thread::panicking() {
            panic!("{errors} errors were logged; they are on stderr");
        }
    }
}

/// Counts ERROR events.
struct Errors(Arc<AtomicU64>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let mut text = Text(format!("ERROR {}:", event.metadata().target()));
        event.record(&mut text);
        // Without a reader of the text, the count remains.
        let _ = writeln!(std::io::stderr(), "{}", text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The fields of an event as text.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = write!(self.0, " {field}={value:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_fails_the_test_and_a_warning_does_not() {
        let fails = |act: fn()| {
            std::panic::catch_unwind(|| {
                let _errors = ErrorWatch::on_this_thread();
                act();
            })
            .is_err()
        };
        assert!(fails(|| tracing::error!(peer = 7, "a bug")));
        assert!(!fails(|| tracing::warn!("look here")));
    }
}

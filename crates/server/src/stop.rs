//! Requests to stop the process.
//!
//! * **Owns:** the signal handlers and the count of requests.
//! * **In:** SIGINT and SIGTERM; Ctrl-C where there are no signals.
//! * **Out:** [`Stop::first`], [`Stop::second`].
//! * **Invariant:** no request is lost, whenever it is waited for.

use std::io;

use tokio::sync::watch;

/// Counts requests to stop.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<u32>);

impl Stop {
    /// Must run inside the runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let (requests, count) = watch::channel(0);
        let mut signals = Signals::new()?;
        tokio::spawn(async move {
            loop {
                signals.next().await;
                requests.send_modify(|count| *count += 1);
            }
        });
        Ok(Self(count))
    }

    /// Completes at the first request, at once if there was one.
    pub(crate) async fn first(&mut self) {
        // The counting task lives as long as the runtime.
        let _ = self.0.wait_for(|count| *count >= 1).await;
    }

    /// Completes at the second request.
    pub(crate) async fn second(&mut self) {
        let _ = self.0.wait_for(|count| *count >= 2).await;
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // An error means that there will be no signal.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

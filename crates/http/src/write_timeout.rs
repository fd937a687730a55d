//! A stream with a write timeout, for clients that do not read; it also takes long tokens out of the first
//! request's head.
//!
//! * **Owns:** one stream, its first head until that is complete, and since when a write has made no
//!   progress.
//! * **In:** hyper's reads and writes, WebSocket frames after an upgrade.
//! * **Out:** the same on the stream, or [`TimedOut`](std::io::ErrorKind::TimedOut).
//! * **Invariant:** no write is pending for longer than [`WRITE_DEADLINE`].

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use crate::head::FirstHead;

/// How long a client may leave the socket's buffer full. Higher forgives worse networks, lower frees
/// memory sooner.
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a head that are read at once.
const PIECE: usize = 4_096;

/// See the module documentation.
pub(crate) struct WriteTimeout<S> {
    stream: TokioIo<S>,
    reading: Reading,
    /// Runs while a write is pending.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// The state of reading.
enum Reading {
    /// The first head, which is not complete.
    Head(Box<FirstHead>),
    /// Bytes read of the stream and not yet given to the reader; the position of the next byte.
    Buffered(Vec<u8>, usize),
    /// The stream itself.
    Stream,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WriteTimeout<S> {
    pub(crate) fn new(stream: S, head: FirstHead) -> Self {
        let reading = Reading::Head(Box::new(head));
        Self { stream: TokioIo::new(stream), reading, stalled: None }
    }

    /// Reads on until the first head is complete.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while let Reading::Head(head) = &mut self.reading {
            let mut piece = [0; PIECE];
            let mut buf = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf.unfilled()))?;
            let complete = match buf.filled() {
                [] => Some(head.handle_end()),
                bytes => head.handle_bytes(bytes).map_err(|_| {
                    Error::new(ErrorKind::InvalidData, "the request's head is too long")
                })?,
            };
            if let Some(complete) = complete {
                self.reading = Reading::Buffered(complete, 0);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The result of a write, unless it has been pending for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_DEADLINE)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Read for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<Result<()>> {
        ready!(self.poll_head(cx))?;
        if let Reading::Buffered(buffered, at) = &mut self.reading {
            let rest = buffered.get(*at..).unwrap_or_default();
            let (taken, left) = rest.split_at(rest.len().min(buf.remaining()));
            buf.put_slice(taken);
            *at += taken.len();
            let (given, over) = (!taken.is_empty(), left.is_empty());
            if over {
                self.reading = Reading::Stream;
            }
            if given {
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }
}

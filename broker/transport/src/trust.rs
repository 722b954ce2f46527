//! Connections that are open, and whether who is at the other end is trusted still.
//!
//! A certificate is checked once, when the connection is made. Where another authority takes the
//! place of one whose key has leaked, that is not enough: whoever came in with it before would stay.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What somebody has proven itself by: its certificate first.
pub(crate) type Chain = Vec<CertificateDer<'static>>;

/// Why a connection ends, or is not begun.
pub(crate) const OUTDATED: &str =
    "the certificate at the other end is of no authority that is trusted any more";

/// What the other end of a connection has proven itself by.
pub(crate) fn chain_of(connection: &rustls::CommonState) -> Chain {
    connection.peer_certificates().map(<[_]>::to_vec).unwrap_or_default()
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// It dialled this side.
    Client(Chain),
    /// It was dialled, under this name.
    Server(Chain, ServerName<'static>),
}

/// Whether a connection may go on.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    lost: AtomicBool,
    waker: AtomicWaker,
}

impl Standing {
    fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Fails once it may not; wakes the task that asked last.
    fn check(&self, ctx: &Context<'_>) -> io::Result<()> {
        self.waker.register(ctx.waker());
        match self.lost.load(Ordering::Acquire) {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, OUTDATED)),
            false => Ok(()),
        }
    }
}

/// All open connections of one holder.
#[derive(Debug, Default)]
pub(crate) struct Open(Mutex<Vec<(Weak<Standing>, Proof)>>);

impl Open {
    /// Has one more looked after. Nothing, where it is not `trusted` by now.
    pub(crate) fn add(
        &self,
        proof: Proof,
        trusted: impl Fn(&Proof) -> bool,
    ) -> Option<Arc<Standing>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(standing, _)| standing.strong_count() > 0);
        // Under the lock: what replaces the authorities comes before this, or sees it.
        trusted(&proof).then(|| {
            let standing = Arc::new(Standing::default());
            open.push((Arc::downgrade(&standing), proof));
            standing
        })
    }

    /// Ends those that are not `trusted` any more; gives how many.
    pub(crate) fn review(&self, trusted: impl Fn(&Proof) -> bool) -> usize {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = 0;
        open.retain(|(standing, proof)| {
            let Some(standing) = standing.upgrade() else { return false };
            let keep = trusted(proof);
            if !keep {
                standing.lose();
                ended += 1;
            }
            keep
        });
        ended
    }
}

/// A stream that fails once who is at the other end is not trusted any more.
#[derive(Debug)]
pub(crate) struct Trusted<S> {
    pub(crate) stream: S,
    pub(crate) standing: Arc<Standing>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Trusted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.standing.check(ctx)?;
        Pin::new(&mut self.stream).poll_read(ctx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Trusted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(ctx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(ctx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(ctx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(ctx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

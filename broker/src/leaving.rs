//! Going away without a gap: an operator is told, and others take over before this broker ends.
//!
//! The operator moves what this broker leads, takes it out of the in-sync replicas where that
//! leaves enough, and lets it go. Until then the broker serves as ever. It waits for nobody who
//! can't help: not without an operator, not longer than it was allowed, and an operator lets go
//! at once of whoever holds what nobody else could lead, so that brokers that stop together do
//! not wait for each other.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How long an operator that has gone in the middle is waited for.
const RETURN_GRACE: Duration = Duration::from_millis(500);

/// How far this broker's leave-taking is.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    begun: watch::Sender<bool>,
    let_go: watch::Sender<bool>,
    operators: watch::Sender<usize>,
}

/// How the wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// The operator let this broker go.
    LetGo,
    /// There is no operator.
    Alone,
    /// It took too long.
    Late,
}

/// A session with an operator, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Attended<'a>(&'a Leaving);

impl Leaving {
    /// An operator is there.
    pub(crate) fn attend(&self) -> Attended<'_> {
        self.operators.send_modify(|operators| *operators += 1);
        Attended(self)
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Waits until this broker begins to leave. Cancel safe.
    pub(crate) async fn begun(&self) {
        until(&self.begun, |begun| *begun).await;
    }

    /// The operator lets this broker go.
    pub(crate) fn let_go(&self) {
        self.let_go.send_replace(true);
    }

    /// Begins to leave, and waits until it may be done, for at most `most`.
    pub(crate) async fn leave(&self, most: Duration) -> Released {
        self.begun.send_replace(true);
        timeout(most, self.released()).await.unwrap_or(Released::Late)
    }

    async fn released(&self) -> Released {
        if *self.operators.borrow() == 0 {
            return Released::Alone;
        }
        loop {
            tokio::select! {
                biased;
                () = until(&self.let_go, |let_go| *let_go) => return Released::LetGo,
                () = until(&self.operators, |operators| *operators == 0) => {}
            }
            let back = until(&self.operators, |operators| *operators > 0);
            if timeout(RETURN_GRACE, back).await.is_err() {
                return Released::Alone;
            }
        }
    }
}

async fn until<T>(sender: &watch::Sender<T>, holds: impl FnMut(&T) -> bool) {
    // It can't fail while there is a sender, which is borrowed for as long.
    let _ = sender.subscribe().wait_for(holds).await;
}

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        self.0.operators.send_modify(|operators| *operators -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_who_cannot_help() {
        let leaving = Leaving::default();
        assert_eq!(leaving.leave(LONG).await, Released::Alone);

        let leaving = Leaving::default();
        let attended = leaving.attend();
        assert_eq!(leaving.leave(Duration::from_secs(10)).await, Released::Late);
        let (released, ()) = tokio::join!(leaving.leave(LONG), async {
            leaving.begun().await;
            drop(attended);
        });
        assert_eq!(released, Released::Alone);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_that_comes_back_in_time_lets_go() {
        let leaving = Leaving::default();
        let attended = leaving.attend();
        let (released, ()) = tokio::join!(leaving.leave(LONG), async {
            drop(attended);
            tokio::time::sleep(RETURN_GRACE / 2).await;
            let _again = leaving.attend();
            tokio::time::sleep(RETURN_GRACE * 4).await;
            leaving.let_go();
        });
        assert_eq!(released, Released::LetGo);
    }
}

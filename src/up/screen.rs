//! What a person sees while it runs: a table on a terminal, lines otherwise.

mod lines;
mod table;

use std::io::{Write, stdout};
use std::time::Duration;

use holdfast_operator_core::Event;
use rustix::termios::tcgetwinsize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use super::say;
use super::state::View;
use lines::Lines;
use table::{Moves, render};

/// Shortest time between two drawings of the table.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Time between two looks at what tells nobody that it changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is assumed of a terminal that does not say how large it is.
const SIZE_DEFAULT: (u16, u16) = (80, 24);

/// Shows the state until it is aborted.
pub(crate) async fn show(view: View, table: bool) {
    if table {
        draw(view).await;
    } else {
        tell(view).await;
    }
}

/// A line for whatever happens.
async fn tell(mut view: View) {
    let mut lines = Lines::default();
    // Nobody tells of the disk: it is looked at.
    let mut due = interval(LOOK_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for line in lines.changes(&view.now()) {
            say(&line);
        }
        tokio::select! {
            event = view.events.recv() => match event {
                Ok(event) if is_told(&event) => say(&event.to_string()),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => say(&format!("({missed} events not shown)")),
                Err(RecvError::Closed) => return,
            },
            _ = due.tick() => {}
            changed = view.operator.changed() => if changed.is_err() { return },
            changed = view.brokers.changed() => if changed.is_err() { return },
        }
    }
}

/// Whether people want a line of its own for it: the state of brokers is told as it changes, and
/// elections are summed up when they are done.
fn is_told(event: &Event) -> bool {
    match event {
        Event::LeaderElected { .. } | Event::BrokerBack { .. } => false,
        Event::Leaderless { .. }
        | Event::BrokerLost { .. }
        | Event::BrokerStopped { .. }
        | Event::FailoverCompleted(_)
        | Event::Resigned { .. }
        | Event::IsrShrunk { .. }
        | Event::IsrExpanded { .. }
        | Event::ReplicasMoving { .. }
        | Event::ReplicasMoved { .. }
        | Event::PossibleLoss { .. }
        | Event::VolumeRolledBack { .. }
        | Event::Frozen { .. }
        | Event::Adopted { .. } => true,
    }
}

/// A table, drawn over and over in the same place.
async fn draw(mut view: View) {
    let screen = Screen::enter();
    let mut due = interval(DRAW_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut moves = Moves::default();
    let mut drawn = String::new();
    loop {
        due.tick().await;
        while let Ok(event) = view.events.try_recv() {
            moves.note(&event);
        }
        let (columns, rows) = size();
        let table = render(&view.now(), &moves, columns.into(), rows.into());
        if table != drawn {
            screen.draw(&table);
            drawn = table;
        }
    }
}

fn size() -> (u16, u16) {
    tcgetwinsize(stdout())
        .ok()
        .map(|size| (size.ws_col, size.ws_row))
        .filter(|(columns, rows)| *columns > 0 && *rows > 0)
        .unwrap_or(SIZE_DEFAULT)
}

/// The terminal's other screen, so that what was on it is there again afterwards.
struct Screen;

impl Screen {
    fn enter() -> Self {
        Self::put("\x1b[?1049h\x1b[?25l");
        Self
    }

    fn draw(&self, table: &str) {
        // Each line is cleared to its end as it is written, so that nothing flickers.
        let lines = table.replace('\n', "\x1b[K\r\n");
        Self::put(&format!("\x1b[H{lines}\x1b[K\x1b[J"));
    }

    fn put(text: &str) {
        let mut out = stdout().lock();
        // A terminal that is gone shows nothing; SIGHUP follows.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        Self::put("\x1b[?25h\x1b[?1049l");
    }
}

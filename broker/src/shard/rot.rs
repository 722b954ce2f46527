//! What a replica does about rot that is found while it runs.
//!
//! It is built anew from the leader, under another incarnation, but not before the record has
//! stopped naming it: a member of the in-sync replicas that takes itself away could leave fewer
//! copies than the policy asks for, or nobody who can lead. So a leader first has somebody else
//! elected; a member first has itself left out, by a failure that it reports only while enough
//! others are in sync. As long as it can't go it serves what is good, and says so again and again:
//! what it reads is verified, so that it never serves what is not.

use holdfast_protocol::Position;
use tracing::{error, info, warn};

use super::driver::Driver;
use super::effects::Effects;
use super::open;

/// How often it is told that the replica can't be repaired, ms.
const AGAIN_MS: u64 = 60_000;
/// How often a leader asks to be relieved, ms: what it said may be lost with its session.
const ASK_AGAIN_MS: u64 = 15_000;

/// Bytes that were durable are lost here.
#[derive(Debug)]
pub(super) struct Rot {
    what: String,
    /// When it was told last.
    told_ms: Option<u64>,
    /// When somebody else was asked for last.
    asked_ms: Option<u64>,
    /// Enough others are in sync: the operator is to leave this one out.
    pub(super) leaving: bool,
}

/// Where the replica stands in the record.
enum Standing {
    /// It leads, and these others are in sync and heard of.
    Leads { relief: bool },
    /// It is in sync; whether enough are without it.
    InSync { spare: bool },
    /// It follows, and is not in sync; or it holds the shard no more.
    Out,
    /// Nobody leads, or it is not known who.
    Unknown,
}

impl<E: Effects> Driver<E> {
    /// Somebody met rot in the log.
    pub(super) fn found_rot(&mut self, what: String) {
        if self.rot.is_some() {
            return;
        }
        error!(shard = %self.shard, %what, "rot: this replica has to be built anew from another");
        self.effects.count_rot_found();
        self.rot = Some(Rot { what, told_ms: None, asked_ms: None, leaving: false });
    }

    /// What the operator is told of rot, where it is to act on it.
    pub(super) fn rot_to_report(&self) -> Option<&str> {
        self.rot.as_ref().filter(|rot| rot.leaving).map(|rot| rot.what.as_str())
    }

    /// Goes on with the repair, as far as the record lets it.
    pub(super) fn mend(&mut self, now_ms: u64) {
        if self.rot.is_none() {
            return;
        }
        match self.standing() {
            Standing::Out => self.build_anew(),
            Standing::Leads { relief: true } => self.ask_for_relief(now_ms),
            Standing::Leads { relief: false } => {
                let time = self.is_time(now_ms);
                let Some(rot) = &mut self.rot else { return };
                rot.leaving = false;
                if time {
                    warn!(shard = %self.shard, what = %rot.what, "rot, and nobody else is in sync who could lead: this replica goes on with what is good");
                }
            }
            Standing::InSync { spare } => {
                let time = self.is_time(now_ms);
                let Some(rot) = &mut self.rot else { return };
                rot.leaving = spare;
                if time && !spare {
                    warn!(shard = %self.shard, what = %rot.what, "rot, and too few others are in sync for this replica to be built anew: it goes on with what is good");
                }
            }
            Standing::Unknown => {
                let time = self.is_time(now_ms);
                let Some(rot) = &mut self.rot else { return };
                rot.leaving = false;
                if time {
                    warn!(shard = %self.shard, what = %rot.what, "rot, and nobody leads whom this replica could be built anew from");
                }
            }
        }
    }

    fn standing(&self) -> Standing {
        let replica = self.core.replica();
        let me = replica.member();
        let Some(record) = replica.record() else { return Standing::Unknown };
        if replica.leads().is_some() {
            let mut others = record.isr.iter().filter(|member| **member != me);
            return Standing::Leads {
                relief: others.any(|other| self.effects.hears(other.broker)),
            };
        }
        if record.isr.contains(&me) {
            let spare = record.isr.len() > record.min_in_sync_replicas as usize;
            return Standing::InSync { spare };
        }
        match replica.follows() {
            Some(_) => Standing::Out,
            None if !self.is_named() => Standing::Out,
            None => Standing::Unknown,
        }
    }

    /// Whether it is time to tell again.
    fn is_time(&mut self, now_ms: u64) -> bool {
        let Some(rot) = &mut self.rot else { return false };
        let due = rot.told_ms.is_none_or(|told_ms| now_ms.saturating_sub(told_ms) >= AGAIN_MS);
        if due {
            rot.told_ms = Some(now_ms);
        }
        due
    }

    /// Asks as soon as there is somebody who could lead, and again until one does.
    fn ask_for_relief(&mut self, now_ms: u64) {
        let (Some(rot), Some(epoch)) = (&mut self.rot, self.core.replica().leads()) else { return };
        rot.leaving = false;
        if rot.asked_ms.is_none_or(|asked_ms| now_ms.saturating_sub(asked_ms) >= ASK_AGAIN_MS) {
            rot.asked_ms = Some(now_ms);
            info!(shard = %self.shard, %epoch, "resigning, so that this replica can be built anew");
            self.effects.resign(epoch, rot.what.clone());
        }
    }

    /// Sets the log aside and begins an empty one, which the leader's is fetched into.
    fn build_anew(&mut self) {
        warn!(shard = %self.shard, "setting the rotten log aside; this replica is built anew from the leader");
        self.begin_empty();
        self.effects.count_rot_repaired();
    }

    /// Sets the log aside and begins an empty one under another name.
    pub(super) fn begin_empty(&mut self) {
        let shard = self.shard;
        let incarnation = open::new_incarnation(&mut self.effects);
        info!(%shard, %incarnation, "an empty log begins");
        let begun = E::blocking(|| open::begin_anew(&mut self.log, incarnation));
        if let Err(error) = begun {
            self.effects.stop_process(&error);
        }
        match open::recover(&self.effects, shard, &self.log, None, Position(0)) {
            Ok(core) => self.core = core,
            Err(error) => self.effects.stop_process(&error),
        }
        self.rot = None;
        self.failure = None;
        self.publish_all();
    }

    /// Writes again, from memory, what of the small files of the log is not whole.
    pub(super) fn scrubbed(&mut self, found: holdfast_log::SmallFiles) {
        let shard = self.shard;
        if !found.meta_is_whole {
            error!(%shard, "rot in the file `meta` of the log: it is written again from memory");
            self.effects.count_rot_found();
            let meta = self.log.meta().clone();
            match E::blocking(|| self.log.write_meta(&meta)) {
                Ok(()) => self.effects.count_rot_repaired(),
                Err(error) => self.effects.stop_process(&error),
            }
        }
        if !found.checkpoint_is_whole {
            error!(%shard, "rot in the checkpoint of the log: another is written");
            self.effects.count_rot_found();
            self.housekeeping.checkpoint_is_rotten = true;
        }
    }
}

//! What can happen next.

/// One thing that happens. Brokers, operators and records are numbers; messages and late writes
/// are named by what they are, so that a trace still means the same when a step is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A leader takes an entry of a client.
    Append(u8),
    /// A disk makes durable what was written.
    Flush(u8),
    /// A flush fails, and the kernel calls the pages clean all the same.
    FlushFails(u8),
    /// Time passes at a replica.
    Tick(u8),
    /// A broker sees a record, the newest or any older one.
    Observe(u8, u8),
    /// A process is killed; what it wrote stays.
    Kill(u8),
    /// The power goes: the log ends here, or where it is durable.
    PowerCut(u8, u8),
    /// The volume is lost, and comes back empty.
    LoseVolume(u8),
    /// Damage below the durable checkpoint is found when the process stops and starts.
    Rot(u8),
    /// A process starts.
    Start(u8),
    /// A message arrives; at an operator, at this one.
    Deliver(u64, u8),
    /// A message arrives, and will arrive again.
    Repeat(u64, u8),
    /// A message is lost.
    Lose(u64),
    /// The arbitrary operator elects this broker under the record with this number.
    Elect(u8, u8),
    /// The arbitrary operator takes this broker out of the record with this number.
    Fence(u8, u8),
    /// The arbitrary operator leaves the shard without a leader.
    Vacate,
    /// The arbitrary operator refuses a wish.
    Refuse(u64),
    /// The record store is restored: it has this record again.
    RollBack(u8),
    /// An operator hears from a broker all that it holds.
    Report(u8, u8),
    /// A session of an operator with a broker ends.
    Break(u8, u8),
    /// An operator finds that nobody listens.
    FindDead(u8, u8),
    /// Time passes at an operator: whoever was silent is dead.
    OperatorTick(u8),
    /// A little time passes at an operator: nobody is taken for dead yet.
    OperatorWait(u8),
    /// The next call of an operator reaches the store.
    Store(u8, Fate),
    /// A write that its writer gave up arrives after all.
    Late(u8),
    /// An operator is replaced by one that starts from the record with this number.
    Replace(u8, u8),
    /// A broker is about to be stopped, and its leaderships go elsewhere.
    PrepareStop(u8, u8),
}

/// What becomes of a call to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It happens, and its caller hears of it.
    Done,
    /// It happens, and its caller does not hear of it.
    Unheard,
    /// It does not happen yet, and its caller does not hear of it.
    Late,
}

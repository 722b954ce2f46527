"""Faults once more, in flush mode Async: what is in memory alone is safe as long as one in-sync replica has it."""

from contextlib import contextmanager

from . import faults, rig, truth
from .faults import change_policy


def change_mode(mode):
    """Has the policy of all faults flush in this mode, and waits until every shard does."""
    change_policy("orders", {"flush": {"mode": mode}})

    def changed():
        shards = rig.get("shards", "-l", "holdfast.dev/policy=orders")
        return shards and all(shard["spec"]["flush"] == mode for shard in shards)

    rig.wait_until(f"every shard flushes in mode {mode}", changed)
    truth.wait_for("orders", "orders")


@contextmanager
def asynchronous():
    change_mode("Async")
    try:
        yield
    finally:
        change_mode("Sync")


def register(strike):
    """The fault as it is, under a name that tells of the mode."""
    same, target_ms = faults.ALL[strike]

    def in_async(result):
        with asynchronous():
            same(result)

    in_async.__name__ = f"async_{strike}"
    in_async.__doc__ = f"In flush mode Async: {same.__doc__}"
    faults.fault(target_ms)(in_async)


for each in ["delete-pod", "cut-node", "freeze-node", "crash-node"]:
    register(each)

"""The end-to-end harness: the rig, the load, the truth of status, and the faults."""

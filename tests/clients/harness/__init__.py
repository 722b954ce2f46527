"""What the client suites, the conformance runs and the benchmark share.

Needs only Python's standard library. Clusters are driven through the commands `bench/kafka-cluster` and
`bench/holdfast-cluster`, which have the same verbs, so that a suite never knows which of the two it is talking to.
"""

"""Stands in for `test/service.py`, which kafka-python's sdist leaves out of the tests that it ships.

Only a broker that runs elsewhere is ever used, so nothing here starts anything.
"""


class ExternalService:
    def __init__(self, host, port):
        self.host = host
        self.port = port

    def open(self):
        pass

    def start(self):
        pass

    def stop(self):
        pass

    def dump_logs(self):
        pass


class SpawnedService:
    def __init__(self, *_args, **_kwargs):
        raise RuntimeError("only an external broker is tested")

"""Three real brokers, each with its data on a lying disk of its own, and the power of each in the test's hand.

A power cut must look to a broker like another boot of its machine. The brokers run in a mount namespace in which the
kernel's boot id is a file of ours, which is written anew with each power cut; nothing in the product knows of it.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import urllib.request
import uuid
from contextlib import contextmanager

import own
from conftest import wait_until
from harness import processes

DISK_BYTES = 1 << 30
KERNEL_BOOT_ID = "/proc/sys/kernel/random/boot_id"
ANSWER_TIMEOUT_S = 60
METRICS_TIMEOUT_S = 5


class Disk:
    """One lying disk: see tests/lyingdisk/src/control.rs for what it understands."""

    def __init__(self, mount, size=DISK_BYTES):
        self.mount = mount
        os.makedirs(mount)
        # Paths of sockets are short.
        self.folder = tempfile.mkdtemp(prefix="lying-")
        self.socket = os.path.join(self.folder, "control")
        command = [os.environ["LYING_DISK"], mount, "--control", self.socket, "--size", str(size)]
        self.process = subprocess.Popen(command)
        wait_until("the lying disk is mounted", lambda: self._runs() and os.path.exists(self.socket))

    def _runs(self):
        assert self.process.poll() is None, "the lying disk did not start"
        return True

    def ask(self, *words):
        """One command; the figures of its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(self.socket)
            connection.sendall((" ".join(map(str, words)) + "\n").encode())
            answer = connection.makefile().readline().split()
        assert answer and answer[0] == "ok", f"{words}: {' '.join(answer)}"
        return dict(part.split("=", 1) for part in answer[1:])

    def figure(self, name):
        return int(self.ask("status")[name])

    def remove(self):
        subprocess.run(["umount", "--lazy", self.mount], check=False)
        if self.process.poll() is None:
            try:
                self.ask("quit")
                self.process.wait(ANSWER_TIMEOUT_S)
            except (OSError, AssertionError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Rig:
    def __init__(self, directory, disks, boot_id):
        self.directory, self.disks, self.boot_id = directory, disks, boot_id
        self.cluster = None

    def cut_power(self, brokers, seed=None):
        """Of all of them at once; gives how many bytes and names were lost, and leaves them without power."""
        lost, problems = {}, []

        def cut(broker, pid):
            try:
                words = ["cut", pid] if seed is None else ["cut", pid, seed + broker]
                lost[broker] = {name: int(count) for name, count in self.disks[broker].ask(*words).items()}
            except (AssertionError, OSError) as problem:
                problems.append(problem)

        victims = [(broker, self.cluster.pid(broker)) for broker in brokers]
        threads = [threading.Thread(target=cut, args=victim) for victim in victims]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == [], problems[0]
        self.write_boot_id()
        return lost

    def counted(self, broker, name, **labels):
        """A figure of a broker's own; its port is told on its command line."""
        with open(f"/proc/{self.cluster.pid(broker)}/cmdline", "rb") as file:
            (address,) = re.findall(rb"--http=([^\0]+)", file.read())
        with urllib.request.urlopen(f"http://{address.decode()}/metrics", timeout=METRICS_TIMEOUT_S) as answer:
            text = answer.read().decode()
        labelled = ",".join(f'{label}="{value}"' for label, value in labels.items())
        line = re.escape(f"{name}{{{labelled}}}" if labels else name)
        (value,) = re.findall(rf"^{line} (\d+)$", text, re.MULTILINE)
        return int(value)

    def write_boot_id(self):
        # In place: it is what is mounted.
        with open(self.boot_id, "w", encoding="utf-8") as file:
            file.write(f"{uuid.uuid4()}\n")

    def power_up(self, brokers):
        for broker in brokers:
            self.disks[broker].ask("on")

    def power_cycle(self, brokers, seed=None):
        lost = self.cut_power(brokers, seed)
        self.power_up(brokers)
        return lost


@contextmanager
def rig(yaml=None, binary=None, environment=None, size=DISK_BYTES):
    """A running cluster on lying disks, removed afterwards whatever happened in it."""
    directory = tempfile.mkdtemp(prefix="holdfast-lying-")
    boot_id = os.path.join(directory, "boot-id")
    disks = []
    made = Rig(directory, disks, boot_id)
    made.write_boot_id()
    try:
        for broker in range(own.BROKERS):
            disks.append(Disk(os.path.join(directory, "data", f"broker-{broker}", "data"), size))
        runs = _in_a_namespace(directory, boot_id, binary or os.environ["HOLDFAST"])
        with own.cluster(yaml, runs, environment, directory) as cluster:
            made.cluster = cluster
            yield made
    finally:
        for disk in disks:
            disk.remove()
        shutil.rmtree(directory, ignore_errors=True)


def _in_a_namespace(directory, boot_id, binary):
    """A program that runs `binary` where the kernel's boot id is ours."""
    path = os.path.join(directory, "holdfast")
    mounts = f"mount --bind {shlex.quote(boot_id)} {KERNEL_BOOT_ID}"
    inner = f'{mounts} && exec {shlex.quote(os.path.abspath(binary))} "$@"'
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nexec unshare --mount --propagation private sh -c {shlex.quote(inner)} holdfast \"$@\"\n")
    os.chmod(path, 0o755)
    return path


__all__ = ["Disk", "Rig", "processes", "rig"]

"""Another authority for the certificates, on a person's wish and under load; the old one's are refused in the end."""

import base64
import os
import socket
import ssl
import tempfile
import time

from . import rig, truth
from .faults import MOVED_MS, fault
from .rig import Failed, get, kubectl, wait_until
from .story import Story

POLICY = "orders"
ANNOTATION = "holdfast.dev/rotate-authority"
PEER_PORT = 9095
ANSWER_S = 10
# A step takes what a kubelet needs to bring a changed Secret to a pod, a minute and a half. Half of the time after
# which it would be taken without those that do not tell: they do.
STEP_WITHIN_S = 5 * 60
# Slow, for it writes all the while.
PACE_S = 0.2
# What a client begins with in HTTP/2 (RFC 9113, section 3.4), and no settings.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def files(name):
    """What a Secret of the policy holds."""
    return {file: base64.b64decode(data) for file, data in get("secret", name)["data"].items()}


class Holder:
    """Who has the operator's certificate and key of this moment, and trusts the authority of this moment alone."""

    def __init__(self):
        private = files(f"{POLICY}-operator-tls")
        self.authority = private["authority.crt"]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.set_alpn_protocols(["h2"])
        self.context.load_verify_locations(cadata=self.authority.decode())
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, kind) for kind in ("crt", "key")]
            for path in paths:
                with open(path, "wb") as file:
                    file.write(private[f"operator.{os.path.basename(path)}"])
            self.context.load_cert_chain(*paths)

    def trusting_nobody(self):
        """The same, not asking who answers: so that only the other side refuses."""
        self.context.verify_mode = ssl.CERT_NONE
        return self

    def refusal(self, pod):
        """Why a broker's door for peers refuses; None where it talks."""
        address = pod["status"]["podIP"], PEER_PORT
        try:
            with socket.create_connection(address, ANSWER_S) as plain, self.context.wrap_socket(plain) as connection:
                connection.sendall(PREFACE)
                return None if connection.recv(1) else "the connection was closed"
        except ssl.SSLError as problem:
            return problem.reason or str(problem)
        except ConnectionError as problem:
            return str(problem)


def talks_with_all(holder):
    return all(holder.refusal(pod) is None for pod in truth.brokers(POLICY).values())


def told():
    return rig.condition(get("replicationpolicy", POLICY), "AuthorityCurrent")


def lives():
    """Every pod of brokers and operators: its uid, and how often its containers were started anew."""
    pods = [*truth.brokers(POLICY).values(), *rig.operators()]
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            tuple(container["restartCount"] for container in pod["status"]["containerStatuses"]),
        )
        for pod in pods
    }


def ask(value):
    kubectl("annotate", "--overwrite", "replicationpolicy", POLICY, f"{ANNOTATION}={value}")


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def refused():
    """A value that is no time is told of, and changes nothing."""
    before = files(f"{POLICY}-operator-tls")
    ask("now")
    found = wait_until("a bad value is told of", lambda: told()["reason"] == "RotationRefused" and told())
    if ANNOTATION not in found["message"] or files(f"{POLICY}-operator-tls") != before:
        raise Failed(f"not told, or not left alone: {found['message']}")
    if not rig.is_ready(get("replicationpolicy", POLICY)):
        raise Failed("a bad annotation costs readiness")


def rotate(story, notes):
    """Asks, and waits until it is done; clients go on all the while."""

    def step(what, is_there):
        began = time.time()
        found = wait_until(what, lambda: is_there(told()) and told(), STEP_WITHIN_S, pause_s=1)
        story.load.go_on(what)
        truth.wait_for(story.policy, story.topic)
        notes.append(f"{what} after {time.time() - began:.0f} s")
        return found

    asked = now()
    ask(asked)
    step("the next authority is trusted", lambda c: c["reason"] == "Rotating" and "the next" in c["message"])
    # Brokers may have come along with that while the clients were looked at.
    step("it signs all certificates", lambda c: c["status"] == "True" or "one before it" in c["message"])
    done = step("no other is trusted", lambda c: c["status"] == "True")
    made = done["message"].partition("made at ")[2].partition(" ")[0]
    if made < asked:
        raise Failed(f"asked at {asked}, and the authority was made at {made}")


@fault(MOVED_MS)
def rotate_authority(result):
    """Another authority on a person's wish, under load: no pod ends, and the old one's certificates are void."""
    with Story(result, pace_s=PACE_S) as story:
        wait_until("one authority", lambda: told()["status"] == "True", STEP_WITHIN_S)
        refused()
        old, before = Holder(), lives()
        if not talks_with_all(old):
            raise Failed("the operator's certificate was refused before")
        story.struck(time.time(), story.load.partitions)
        rotate(story, result.notes)
        new = Holder()
        if new.authority == old.authority:
            raise Failed("it is the same authority as before")
        # Kubelets bring the last step to brokers, which look at their files every few seconds.
        began = time.time()
        old = old.trusting_nobody()
        refusals = wait_until(
            "every broker refuses a certificate of the old authority",
            lambda: all(reasons := [old.refusal(pod) for pod in truth.brokers(POLICY).values()]) and reasons,
        )
        result.notes.append(f"the old one's certificate is refused {time.time() - began:.0f} s later: {set(refusals)}")
        if not talks_with_all(new):
            raise Failed("a certificate of the new authority is refused, or that of a broker is not of it")
        story.recovered()
        truth.wait_for(story.policy, story.topic)
        if lives() != before:
            raise Failed(f"pods ended: {before} became {lives()}")

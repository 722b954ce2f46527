"""kafka-python's integration tests, from its sdist, against a broker that runs elsewhere."""

import os
import shutil
import subprocess
import tarfile
import xml.etree.ElementTree as xml

from . import common

FOLDER = os.path.join(common.HERE, "kafka-python")
REQUIREMENTS = os.path.join(FOLDER, "requirements.txt")
NOT_RUN = os.path.join(FOLDER, "not-run.tsv")
VERSION = "3.0.12"
# What the tests believe to be talking to; it decides which of them apply.
BROKER_VERSION = "4.3"
TIME_LIMIT_S = 1800


def _home():
    return os.path.join(common.CACHE, "kafka-python-" + common.stamp(VERSION, common.text(REQUIREMENTS)))


def _sources():
    return os.path.join(_home(), f"kafka_python-{VERSION}")


def install():
    home = _home()
    if os.path.exists(os.path.join(home, "built")):
        return
    common.say("fetching kafka-python and its tests")
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home)
    log = os.path.join(home, "build.log")
    pip = os.path.join(home, "venv", "bin", "pip")
    common.logged(["python3", "-m", "venv", os.path.join(home, "venv")], log)
    common.logged([pip, "install", "--disable-pip-version-check", "-r", REQUIREMENTS], log)
    fetch = ["download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", f"kafka-python=={VERSION}"]
    common.logged([pip, "install", "setuptools>=77"], log)
    common.logged([pip, *fetch, "-d", home], log)
    with tarfile.open(os.path.join(home, f"kafka_python-{VERSION}.tar.gz")) as archive:
        archive.extractall(home, filter="data")
    # The sdist leaves these two out of the tests that it ships.
    shutil.copy(os.path.join(FOLDER, "service.py"), os.path.join(_sources(), "test"))
    with open(os.path.join(_sources(), "test", "__init__.py"), "w", encoding="utf-8"):
        pass
    with open(os.path.join(home, "built"), "w", encoding="utf-8"):
        pass


def run(bootstrap, target, only):
    reasons = common.not_run(NOT_RUN, target)
    results = os.path.join(common.CACHE, f"kafka-python-{target}.xml")
    output = os.path.join(common.CACHE, f"kafka-python-{target}.log")
    common.say(f"kafka-python's tests against {bootstrap}; output in {os.path.relpath(output, common.ROOT)}")
    if os.path.exists(results):
        os.remove(results)
    command = [os.path.join(_home(), "venv", "bin", "python"), "-m", "pytest", "test/integration"]
    command += ["-q", "-p", "no:logging", "-p", "no:cacheprovider", f"--junit-xml={results}"]
    command += [f"--deselect=test/integration/{name}" for name in reasons]
    command += ["-k", only] if only else []
    environment = {
        **os.environ,
        "KAFKA_VERSION": BROKER_VERSION,
        "KAFKA_URI": "kafka://" + bootstrap.split(",")[0],
        "KAFKA_ROOT": _home(),  # must exist; nothing in it is used
    }
    with open(output, "wb") as file:
        try:
            subprocess.run(
                command,
                cwd=_sources(),
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=TIME_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SystemExit(f"kafka-python's tests did not end in {TIME_LIMIT_S} s: see {output}") from None
    if not os.path.exists(results):
        raise SystemExit(f"kafka-python's tests ended without a result: see {output}")
    left_out = {} if only else {name: {"state": common.SKIPPED, "why": why} for name, why in reasons.items()}
    return {**_results(results), **left_out}


def _results(path):
    found = {}
    for case in xml.parse(path).getroot().iter("testcase"):
        file = case.get("classname").rsplit(".", 1)[-1]
        name = f"{file}.py::{case.get('name')}"
        broken = [part for part in case if part.tag in ("failure", "error")]
        skipped = case.find("skipped")
        if broken:
            found[name] = {"state": common.FAILED, "why": broken[0].get("message", "").splitlines()[0][:200]}
        elif skipped is not None:
            found[name] = {"state": common.SKIPPED, "why": skipped.get("message", "")}
        else:
            found[name] = {"state": common.PASSED}
    return found

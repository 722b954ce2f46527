"""librdkafka's own test suite: the tests that need a broker, one at a time, in quick mode."""

import json
import os
import re
import shutil
import subprocess

from . import common

MANIFEST = os.path.join(common.HERE, "librdkafka", "Cargo.toml")
NOT_RUN = os.path.join(common.HERE, "librdkafka", "not-run.tsv")
PARTS = os.path.join(common.HERE, "librdkafka", "parts.tsv")
PART_TIME_LIMIT_S = 300
# What the parts take the broker for: it decides which errors they expect.
PART_BROKER_VERSION = "4.3.0"
TIME_LIMIT_S = 3600
# What the runner says of tests that need no broker; they are not ours to count.
LOCAL = "Filtered due to negative test flags"
SUMMARY_LINE = re.compile(r"^\|\s+(\d{4}_\S+)\s*\|\s*(\w[\w ]*?)\s*\|[^|]*\|\s*(.*)$")


def _home():
    return os.path.join(common.CACHE, "librdkafka-" + common.stamp(common.text(MANIFEST)))


def _sources():
    subprocess.run(["cargo", "fetch", "--locked", "--manifest-path", MANIFEST], check=True)
    answer = subprocess.run(
        ["cargo", "metadata", "--offline", "--locked", "--format-version", "1", "--manifest-path", MANIFEST],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    (package,) = [p for p in json.loads(answer.stdout)["packages"] if p["name"] == "rdkafka-sys"]
    return os.path.join(os.path.dirname(package["manifest_path"]), "librdkafka")


def install():
    home = _home()
    if os.path.exists(os.path.join(home, "built")):
        return
    common.say("building librdkafka and its tests")
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(common.CACHE, exist_ok=True)
    shutil.copytree(_sources(), home)
    log = os.path.join(home, "build.log")
    jobs = f"-j{os.cpu_count()}"
    common.logged(["./configure"], log, cwd=home)
    common.logged(["make", jobs, "libs"], log, cwd=home)
    common.logged(["make", jobs, "-C", "tests", "test-runner"], log, cwd=home)
    with open(os.path.join(home, "built"), "w", encoding="utf-8"):
        pass


def _environment(tests, reasons, only):
    libraries = ":".join(os.path.join(tests, "..", part) for part in ("src", "src-cpp"))
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    environment.pop("CI", None)  # it would make the runner run three tests at once
    environment["TESTS_SKIP"] = ",".join(sorted({name[:4] for name in reasons}))
    if only:
        environment["TESTS"] = only
    return environment


def run(bootstrap, target, only):
    tests = os.path.join(_home(), "tests")
    reasons = common.not_run(NOT_RUN, target)
    settings = os.path.join(tests, f"test-{target}.conf")
    with open(settings, "w", encoding="utf-8") as file:
        file.write(f"metadata.broker.list={bootstrap}\ntest.topic.random=true\n")
    output = os.path.join(common.CACHE, f"librdkafka-{target}.log")
    common.say(f"librdkafka's tests against {bootstrap}; output in {os.path.relpath(output, common.ROOT)}")
    with open(output, "wb") as file:
        try:
            # Line by line, so that nothing is lost should the runner abort at its end.
            subprocess.run(
                ["stdbuf", "-oL", "./test-runner", "-p1", "-Q", "-L"],
                cwd=tests,
                env={**_environment(tests, reasons, only), "RDKAFKA_TEST_CONF": settings},
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=TIME_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            common.say("the time is up")
    results = _results(output, target, reasons)
    if not only:
        _run_parts(tests, settings, target, results)
    return results


def _run_parts(tests, settings, target, results):
    """Runs what a test would have come to had it not stopped; one part that fails fails the test."""
    environment = {**_environment(tests, {}, None), "RDKAFKA_TEST_CONF": settings}
    passed = {}
    for number, part in common.parts(PARTS, target):
        (name,) = [name for name in results if name.startswith(number)]
        output = os.path.join(common.CACHE, f"librdkafka-{target}-part.log")
        with open(output, "wb") as file:
            try:
                subprocess.run(
                    ["stdbuf", "-oL", "./test-runner", "-p1", "-Q", "-L"],
                    cwd=tests,
                    env={**environment, "TESTS": number, "SUBTESTS": part, "TEST_KAFKA_VERSION": PART_BROKER_VERSION},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=PART_TIME_LIMIT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                common.say(f"the time is up for {part}")
        found = _results(output, target, {}).get(name, {"state": common.FAILED, "why": f"{part} did not end"})
        if found["state"] != common.PASSED:
            results[name] = {"state": common.FAILED, "why": found["why"]}
            return
        passed[name] = passed.get(name, 0) + 1
    for name, count in passed.items():
        results[name]["why"] += f"; the {count} parts of it that come later and can pass were run alone, and passed"


def _results(output, target, reasons):
    with open(output, encoding="utf-8", errors="replace") as file:
        plain = re.sub(r"\x1b\[[0-9;]*m|\x1b\(B", "", file.read())
    results = {}
    for line in plain.splitlines():
        found = SUMMARY_LINE.match(line)
        if not found or LOCAL in line:
            continue
        name, state, why = found.groups()
        if state == "PASSED":
            results[name] = {"state": common.PASSED}
        elif state == "SKIPPED":
            reason = reasons.get(name) or reasons.get(name[:4]) or why
            results[name] = {"state": common.SKIPPED, "why": reason}
        elif stopped := common.stops_at(NOT_RUN, target, name, why):
            results[name] = {"state": common.SKIPPED, "why": stopped}
        elif state != "NOT STARTED":
            results[name] = {"state": common.FAILED, "why": why or f"ended in state {state}"}
    if not results:
        raise SystemExit(f"the runner printed no summary: see {output}")
    return results

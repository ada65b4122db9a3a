"""Restarts, kills and upgrades two nodes behind HAProxy, with their state in Redis, under load, and
restarts and kills Redis.

`cargo xtask scale` runs it. No idempotent request may fail beyond those that a killed node had in
flight, and no write that was acknowledged may be lost.
"""

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse
from collections import Counter
from pathlib import Path

from nodes import (
    BALANCER,
    NODES,
    PACKAGING,
    Node,
    Ports,
    balancer,
    exit_on_signals,
    free_port,
    need,
    redis,
    status,
    step,
    wait_until,
)

READERS = 8
WRITERS = 4
HANDLERS = ("hello.wasm", "guestbook.wasm")
PAGE = "<!doctype html><title>A page</title>Version {}.\n"
CONFIGURATION = '[handlers.guestbook]\nkey-value = ["default"]\n'
# The pause between two events, in which the load goes on.
PAUSE_SECONDS = 3
# How long a client waits for a response.
CLIENT_SECONDS = 30


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wasgi", required=True, type=Path)
    parser.add_argument("--handlers", required=True, type=Path, help="with hello and guestbook")
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    exit_on_signals()
    need("haproxy", "redis-server")
    work = options.work / "rolling"
    shutil.rmtree(work, ignore_errors=True)
    make_site(options, work)
    with contextlib.ExitStack() as stack:
        run(options, work, stack)


def make_site(options, work):
    """Makes the site's folder, and its bundle of the first version."""
    site = work / "site"
    for folder in ("html", "handlers"):
        (site / folder).mkdir(parents=True)
    for name in HANDLERS:
        shutil.copy(options.handlers / name, site / "handlers" / name)
    (site / "wasgi.toml").write_text(CONFIGURATION)
    bundle(options, work, 1)


def bundle(options, work, version):
    """Replaces the bundle by one with another version of the page."""
    (work / "site/html/index.html").write_text(PAGE.format(version))
    draft = work / "draft.wasgi"
    subprocess.run(
        [options.wasgi, "bundle", work / "site", "-o", draft], check=True, capture_output=True
    )
    os.rename(draft, work / "site.wasgi")


def run(options, work, stack):
    ports = Ports()
    store = stack.enter_context(redis(work, free_port(BALANCER)))
    url = f"redis://{BALANCER}:{store.port}/0"
    text = (PACKAGING / "haproxy/http.cfg").read_text()
    probe = (PACKAGING / "haproxy/probe.cfg").read_text()
    nodes = []
    for address in NODES.values():
        configuration = ports.node(text, address)
        configuration += f'\n[state]\nurl = "{url}"\n[bundle]\ncache = "{work}/bundles"\n'
        nodes.append(Node(options.wasgi, work / "site.wasgi", work, ports, address, configuration))
        stack.enter_context(nodes[-1])
        own = ports.probe_configuration(probe, address)
        stack.enter_context(balancer("haproxy", f"probe-{address}.cfg", own, work))
    for node in nodes:
        node.wait()
    stack.enter_context(balancer("haproxy", "front.cfg", ports.balancer(text), work))
    wait_until(lambda: status(BALANCER, ports.front, "/")[0] == 200, "HAProxy serves")
    load = Load(ports.front)
    stack.enter_context(load)
    for _ in range(options.rounds):
        events(options, work, ports, load, nodes, store)
    load.stop()
    command = [options.wasgi, "state", "export", "--site", work / "site.wasgi"]
    command += ["--config", work / f"{nodes[0].address}.toml"]
    kept = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    values = Counter(json.loads(line)["value"] for line in kept.splitlines())
    lost = [name for name in load.acknowledged if not values[f"{name}\nkept"]]
    twice = [name for name, count in values.items() if name.endswith("\nkept") and count > 1]
    step(f"{len(load.acknowledged)} writes acknowledged, {len(lost)} lost, {len(twice)} made twice")
    assert load.acknowledged and not lost and not twice


def events(options, work, ports, load, nodes, store):
    """Lets everything happen that happens to nodes. Each event may fail so many requests."""
    with load.event("nothing", 0):
        pass
    for node in nodes:
        with load.event(f"node {node.address} is restarted", 0):
            node.stop()
            node.start()
            node.wait()
    # Those in flight at the node: at most all. A write is not repeated, so it may fail.
    with load.event(f"node {nodes[0].address} is killed", READERS, writes=True):
        node = nodes[0]
        node.stop(signal.SIGKILL)
        time.sleep(PAUSE_SECONDS)
        node.start()
        node.wait()
    with load.event("the bundle is replaced", 0):
        version = f"{time.time_ns()}"
        bundle(options, work, version)
        for node in nodes:
            port = ports.site[node.address]
            wait_until(
                lambda: version.encode() in status(node.address, port, "/")[1],
                f"the new version on {node.address}",
            )
    # Writes fail meanwhile, and say so.
    with load.event("Redis is restarted", 0, writes=True):
        store.stop()
        time.sleep(PAUSE_SECONDS)
        store.start()
        load.wait_for_write()
    # Redis doesn't get to write anything more: it has written what it acknowledged.
    with load.event("Redis is killed", 0, writes=True):
        store.stop(signal.SIGKILL)
        time.sleep(PAUSE_SECONDS)
        store.start()
        load.wait_for_write()


class Load:
    """Threads that read pages and write entries, one request after another, until it is stopped."""

    def __init__(self, port):
        self.port = port
        self.counts = Counter()
        self.acknowledged = []
        self.reasons = Counter()
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.read, args=(n,)) for n in range(READERS)]
        self.threads += [threading.Thread(target=self.write, args=(n,)) for n in range(WRITERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def wait_for_write(self):
        done = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) > done, "writes succeed again")

    def read(self, number):
        path = ("/", "/hello")[number % 2]
        for _, result in self.requests(lambda _: ("GET", path, None)):
            self.count("read", result, result == 200)

    def write(self, number):
        def request(count):
            form = {"name": f"{number}-{count}", "message": "kept"}
            return "POST", "/guestbook", urllib.parse.urlencode(form)

        for count, result in self.requests(request):
            self.count("write", result, result == 303)
            if result == 303:
                self.acknowledged.append(f"{number}-{count}")

    def requests(self, request):
        """Sends requests on one connection, and on a new one after a failure. Yields the number of
        each and its status, or the error.
        """
        connection = http.client.HTTPConnection(BALANCER, self.port, timeout=CLIENT_SECONDS)
        count = 0
        while not self.stopping.is_set():
            count += 1
            method, path, body = request(count)
            fields = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
            try:
                connection.request(method, path, body, fields)
                response = connection.getresponse()
                response.read()
                result = response.status
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                result = type(error).__name__
            yield count, result

    def count(self, kind, result, is_good):
        with self.lock:
            self.counts[kind, is_good] += 1
            if not is_good:
                self.reasons[kind, result] += 1

    @contextlib.contextmanager
    def event(self, name, allowed, writes=False):
        """Compares what fails before, during and after an event with what may fail: so many reads,
        and any write if `writes`.
        """
        before = self.counts.copy()
        reasons = self.reasons.copy()
        time.sleep(PAUSE_SECONDS)
        yield
        time.sleep(PAUSE_SECONDS)
        counts = self.counts.copy()
        failed = {kind: counts[kind, False] - before[kind, False] for kind in ("read", "write")}
        good = {kind: counts[kind, True] - before[kind, True] for kind in ("read", "write")}
        new = self.reasons - reasons
        why = {f"{kind} {result}": number for (kind, result), number in new.items()}
        step(
            f"{name}: {good['read']} reads, {failed['read']} failed; "
            f"{good['write']} writes, {failed['write']} failed {why or ''}"
        )
        assert good["read"] and (good["write"] or writes), f"{name}: nothing was served"
        assert failed["read"] <= allowed, f"{name}: more than {allowed} reads failed"
        assert writes or failed["write"] == 0, f"{name}: writes failed"


if __name__ == "__main__":
    main()

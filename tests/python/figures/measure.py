"""Measures what Python handlers cost: requests beside gunicorn, and the memory of many scripts.

`cargo xtask python-figures` runs it; `--prepare` only installs the packages, builds the handlers and
fills the caches. It needs `wrk`, two processors, and an otherwise idle machine. The servers run on
one processor with one thread or worker each, and the clients on the other.
"""

import argparse
import http.client
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
import venv
from pathlib import Path

# The applications: their source, and the packages that they need.
HELLO = """def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello from the sandbox!\\n"]
"""
FLASK = """from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return "Hello from the sandbox!\\n"
"""
APPLICATIONS = {"hello": (HELLO, []), "flask": (FLASK, ["flask==3.1.2"])}

# As good as no limit: the instance lives for the whole measurement.
REUSE = 1_000_000
SETTINGS = '[tool.wasgi]\nwarm = ["/"]\n'
# The number of requests one after another.
ONE_BY_ONE = 1_000
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_LIMIT_SECONDS = 300


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wasgi", required=True, type=Path)
    parser.add_argument("--runtime", required=True, type=Path)
    parser.add_argument("--sdk", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--handlers", type=int, default=20)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--prepare", action="store_true")
    options = parser.parse_args()
    exit_on_signals()
    options.work.mkdir(parents=True, exist_ok=True)
    many_scripts(options)
    for name, (source, packages) in APPLICATIONS.items():
        requests(options, name, source, packages)


def exit_on_signals():
    """Turns signals into an exception, so that the servers that were started are ended as well."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit("ended by a signal"))


def many_scripts(options):
    """Prints the times and the memory of a server with many scripts."""
    site = new_site(options, "many")
    for number in range(1, options.handlers + 1):
        text = HELLO.replace("Hello", f"Hello {number}")
        (site / "handlers" / f"h{number}.py").write_text(text)
    targets = [f"/h{number}" for number in range(1, options.handlers + 1)]
    if options.prepare:
        remove(site / "code")
        first, every = start(options, site, targets)
        print(f"start with an empty cache: first answer {first:.0f} ms, all {every:.0f} ms")
        return
    times = [start(options, site, targets) for _ in range(options.starts)]
    first, every = (statistics.median(each) for each in zip(*times))
    print(f"start with a warm cache: first answer {first:.0f} ms, all {every:.0f} ms (medians)")
    half = len(targets) // 2
    for threads in (1, 2):
        with Server(options, site, threads) as server:
            server.until_loaded()
            memory = [server.memory()]
            for some in (targets[:half], targets[half:]):
                for target in some * 20:
                    fetch(server.url(target))
                memory.append(server.memory())
        labels = ("loaded", f"{half} of them requested", "all of them requested")
        for label, kinds in zip(labels, memory):
            shown = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in kinds.items())
            print(f"{options.handlers} scripts {label}, {threads} threads: {shown}")


def start(options, site, targets):
    """Starts a server, and returns the milliseconds until the first target and all are answered."""
    begin = time.monotonic()
    with Server(options, site) as server:
        server.until_good(targets[0])
        first = time.monotonic() - begin
        for target in targets:
            server.until_good(target)
        return first * 1e3, (time.monotonic() - begin) * 1e3


def requests(options, name, source, packages):
    """Prints the rate and the CPU time of requests to one application in all forms."""
    work = options.work / name
    python = environment(options, work, packages)
    site = new_site(options, name)
    for route in ("script", "script-reuse"):
        folder = site / "handlers" / route
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(source)
        (folder / "pyproject.toml").write_text(SETTINGS)
        if packages and not (folder / ".packages").is_dir():
            install = [python, "-m", "pip", "install", "--quiet", "--target"]
            run([*install, folder / ".packages", *packages])
    (work / "app.py").write_text(source)
    built = site / "handlers" / "built.wasm"
    if not built.is_file():
        run([python, "-m", "wasgi", "build", "app:app", "--warm", "/", "-o", built], cwd=work)
    (site / "handlers" / "built-reuse.wasm").write_bytes(built.read_bytes())
    tables = [f"[handlers.{route}-reuse]\nreuse = {REUSE}\n" for route in ("script", "built")]
    (site / "wasgi.toml").write_text(runtime_settings(options) + "".join(tables))
    routes = ["script", "built", "script-reuse", "built-reuse"]
    results = {}
    with Server(options, site) as server, Gunicorn(python, work) as gunicorn:
        for route in routes:
            server.until_good(f"/{route}/")
        if options.prepare:
            return
        server.pin()
        gunicorn.pin()
        cases = [("gunicorn", gunicorn, "/")]
        cases += [(route, server, f"/{route}/") for route in routes]
        for _ in range(options.rounds):
            for label, peer, target in cases:
                results.setdefault(label, []).append(load(peer, target, options.seconds))
        for route in routes[:2]:
            measured = [one_by_one(server, f"/{route}/") for _ in range(options.rounds)]
            cpu, faults = (statistics.median(each) for each in zip(*measured))
            print(f"{name}, {route}, one by one: {cpu * 1e6:.0f} µs, {faults:.0f} page faults")
    base = statistics.median(rate for rate, _ in results["gunicorn"])
    for label, measured in results.items():
        rate = statistics.median(rate for rate, _ in measured)
        cpu = statistics.median(cpu for _, cpu in measured)
        print(f"{name}, {label}: {rate:.0f}/s, {rate / base:.2f} of gunicorn, {cpu * 1e6:.0f} µs")


def load(peer, target, seconds):
    """Returns the requests per second, and the CPU time of one in seconds."""
    fetch(peer.url(target))
    before = peer.cpu_seconds()
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c16", f"-d{seconds}s", peer.url(target)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu = peer.cpu_seconds() - before
    if "Non-2xx" in text:
        sys.exit(f"{target}: responses that are errors:\n{text}")
    count = int(re.search(r"(\d+) requests in", text)[1])
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]), cpu / count


def one_by_one(server, target):
    """Returns the CPU time in seconds and the page faults of a request, one after another."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    cpu, faults = server.cpu_seconds(), server.page_faults()
    for _ in range(ONE_BY_ONE):
        connection.request("GET", target)
        connection.getresponse().read()
    connection.close()
    cpu, faults = server.cpu_seconds() - cpu, server.page_faults() - faults
    return cpu / ONE_BY_ONE, faults / ONE_BY_ONE


class Peer:
    """A running server."""

    # Whether its child processes serve. Those of `wasgi` compile, and end at any time.
    children_serve = False

    def __init__(self, command, port, log, **options):
        self.port, self.log = port, Path(log)
        with open(log, "w") as log:
            command = [str(word) for word in command]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def pin(self):
        """Confines all its threads and processes to the first processor."""
        for process in self.processes():
            run(["taskset", "-acp", "0", process], stdout=subprocess.DEVNULL)

    def processes(self):
        """Returns the processes that serve."""
        ids = [str(self.process.pid)]
        if self.children_serve:
            for task in Path(f"/proc/{self.process.pid}/task").iterdir():
                ids += (task / "children").read_text().split()
        return ids

    def url(self, target):
        return f"http://127.0.0.1:{self.port}{target}"

    def until_good(self, target):
        end = time.monotonic() + START_LIMIT_SECONDS
        while time.monotonic() < end:
            try:
                return fetch(self.url(target))
            except OSError:
                if self.process.poll() is not None:
                    sys.exit(f"{self.process.args} has ended")
                time.sleep(0.001)
        sys.exit(f"{target} doesn't answer")

    def cpu_seconds(self):
        """Returns the CPU time of the processes that serve."""
        return self.total(11, 12) / TICKS_PER_SECOND

    def page_faults(self):
        """Returns the minor page faults of the processes that serve."""
        return self.total(7)

    def total(self, *fields):
        """Returns the sum of fields of `/proc/PID/stat`, counted from the process's state."""
        total = 0
        for process in self.processes():
            stat = Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()
            total += sum(int(stat[field]) for field in fields)
        return total


class Server(Peer):
    def __init__(self, options, site, threads=1):
        command = [options.wasgi, "serve", site, "--addr", "127.0.0.1:8941", "--threads", threads]
        command += ["--no-access-log", "--code-cache", site / "code"]
        super().__init__(command, 8941, site / "log")

    def until_loaded(self):
        """Waits until all handlers are loaded."""
        end = time.monotonic() + START_LIMIT_SECONDS
        while "all handlers are loaded" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(f"not all handlers are loaded: {self.log.read_text()}")
            time.sleep(0.001)

    def memory(self):
        """Returns the memory of the process, in MiB."""
        kinds = {"Rss": "resident", "Pss": "each page counted once", "Anonymous": "not from files"}
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        found = {key: re.search(rf"{key}:\s+(\d+) kB", text)[1] for key in kinds}
        return {kinds[key]: int(kib) / 1024 for key, kib in found.items()}


class Gunicorn(Peer):
    children_serve = True

    def __init__(self, python, folder):
        command = [python, "-m", "gunicorn", "--workers", "1", "--bind", "127.0.0.1:8942"]
        super().__init__([*command, "app:app"], 8942, folder / "gunicorn.log", cwd=folder)
        self.until_good("/")


def new_site(options, name):
    site = options.work / f"site-{name}"
    for folder in ("handlers", "html", "code"):
        (site / folder).mkdir(parents=True, exist_ok=True)
    (site / "wasgi.toml").write_text(runtime_settings(options))
    return site


def runtime_settings(options):
    return f'[site]\nruntime = "{options.runtime}"\n'


def environment(options, work, packages):
    """Creates the virtual environment of an application, and returns its interpreter."""
    python = work / "venv/bin/python"
    if not (work / "installed").is_file():
        venv.create(work / "venv", with_pip=True)
        # Built from a copy: setuptools writes into the source's folder.
        shutil.copytree(options.sdk, work / "sdk", dirs_exist_ok=True)
        install = [python, "-m", "pip", "install", "--quiet", "gunicorn==27.0.1"]
        run([*install, work / "sdk", *packages])
        (work / "installed").touch()
    return python


def remove(folder):
    for entry in folder.iterdir():
        entry.unlink()


def run(command, **options):
    subprocess.run([str(word) for word in command], check=True, **options)


def fetch(url):
    with urllib.request.urlopen(url, timeout=60) as response:
        return response.read()


if __name__ == "__main__":
    main()

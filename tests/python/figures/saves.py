"""Measures the time from saving a handler to the first response of the new version: of scripts in
Python and JavaScript, beside Flask's own reloader and `node --watch`.

`cargo xtask save-figures` runs it; `--prepare` only installs the packages and fills the caches. It
needs an otherwise idle machine. The handlers are saved in turn, and the table has the medians.
"""

import argparse
import contextlib
import http.client
import os
import shutil
import signal
import statistics
import sys
import time
from pathlib import Path

from measure import FLASK, Peer, Server, environment, exit_on_signals, new_site, run

FLASK_PACKAGES = ["flask==3.1.2"]

# Each source with the text to replace with a version.
HELLO = """def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"version 0"]
"""
JAVASCRIPT = 'export default { fetch() { return new Response("version 0"); } };\n'
NODE = """import { createServer } from "node:http";
createServer((_, response) => response.end("version 0")).listen(8944, "127.0.0.1");
"""
# The settings are imported at the load; the paths by the first request that needs them.
DJANGO_SETTING = 'VERSION = "version 0"\n'
DJANGO_VIEW = """
from django.conf import settings
from django.http import HttpResponse
urlpatterns.append(path("version", lambda request: HttpResponse(settings.VERSION)))
"""

# The time limits, in seconds, for the first version of a handler, whose load compiles the runtime,
# and for each further one.
FIRST_LIMIT_SECONDS = 300
LIMIT_SECONDS = 30

# How much of a server's log is shown if it doesn't answer.
LOG_LINES = 20

# The pause before each save: what the last load has left to do is done, and editors don't save
# faster.
PAUSE_SECONDS = 0.4
POLL_SECONDS = 0.001


class Case:
    """A handler that is saved: its file, its source, and where it answers."""

    def __init__(self, name, peer, target, file, source):
        self.name, self.peer, self.target, self.file = name, peer, target, file
        self.source = source
        # Not those of an earlier run, whose states are in the code cache.
        self.version = int(time.time())
        self.took = []

    def save(self, limit=LIMIT_SECONDS):
        """Saves the next version, and returns the seconds until it answers."""
        self.version += 1
        text = f"version {self.version}"
        begin = time.monotonic()
        self.file.write_text(self.source.replace("version 0", text))
        while (found := self.get()) != text:
            if time.monotonic() - begin > limit:
                self.fail(f"no response with {text!r} after {limit} s; the last is {found[:200]!r}")
            if self.peer.process.poll() is not None:
                self.fail("the server has ended")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - begin

    def get(self):
        """Returns the response's text, or that of the error if the server doesn't answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.peer.port, timeout=10)
        try:
            connection.request("GET", self.target)
            return connection.getresponse().read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()

    def fail(self, why):
        lines = self.peer.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        sys.exit("\n".join([f"{self.name}: {why}; the end of {self.peer.log}:", *lines]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wasgi", required=True, type=Path)
    parser.add_argument("--runtime", required=True, type=Path)
    parser.add_argument("--sdk", required=True, type=Path)
    parser.add_argument("--demos", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--prepare", action="store_true")
    options = parser.parse_args()
    exit_on_signals()
    options.work.mkdir(parents=True, exist_ok=True)
    python = environment(options, options.work / "flask", FLASK_PACKAGES)
    site = new_site(options, "saves")
    shutil.rmtree(site / "handlers")
    files = write_handlers(options, site, python)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(options, site))
        cases = [
            Case("hello.py", server, "/hello", files["hello"], HELLO),
            Case("Flask", server, "/flask/", files["flask"], flask_source()),
            Case("Django's demo", server, "/django/version", *files["django"]),
        ]
        if (options.runtime / "javascript").is_dir():
            cases.append(Case(".js", server, "/page", files["page"], JAVASCRIPT))
        peers = [stack.enter_context(FlaskReloader(python, options.work / "flask-reloader"))]
        if shutil.which("node"):
            peers.append(stack.enter_context(NodeWatch(options.work / "node")))
        cases += [Case(peer.name, peer, "/", peer.file, peer.source) for peer in peers]
        measure(cases, 0 if options.prepare else options.rounds)


def measure(cases, rounds):
    """Saves each case some times, and prints the times of all rounds but the first two."""
    for case in cases:
        print(f"{case.name}: first response after {case.save(FIRST_LIMIT_SECONDS):.2f} s", flush=True)
        # The second one, once there is a layer of its packages.
        time.sleep(PAUSE_SECONDS if rounds else 4)
        case.save()
    for _ in range(rounds):
        for case in cases:
            time.sleep(PAUSE_SECONDS)
            case.took.append(case.save())
    for case in cases if rounds else []:
        shown = " ".join(f"{took * 1e3:.0f}" for took in sorted(case.took))
        median = statistics.median(case.took) * 1e3
        print(f"{case.name}: median {median:.0f} ms from save to response ({shown})")


def write_handlers(options, site, python):
    """Writes the handlers of a site, and returns the files to save."""
    handlers = site / "handlers"
    demo = options.demos / "django"
    required = ["--requirement", demo / "requirements.txt"]
    for name, packages in (("flask", FLASK_PACKAGES), ("django", required)):
        installed = options.work / f"packages-{name}"
        if not installed.is_dir():
            run([python, "-m", "pip", "install", "--quiet", "--target", installed, *packages])
        if name == "django":
            shutil.copytree(demo, handlers / name)
            # The demo's name for it differs from the names that are searched.
            (handlers / name / "site_wsgi.py").rename(handlers / name / "wsgi.py")
        else:
            (handlers / name).mkdir(parents=True)
            (handlers / name / "pyproject.toml").write_text('[tool.wasgi]\nwarm = ["/"]\n')
        shutil.copytree(installed, handlers / name / ".packages")
    urls, settings = handlers / "django" / "urls.py", handlers / "django" / "settings.py"
    source = settings.read_text() + DJANGO_SETTING
    files = {
        "hello": handlers / "hello.py",
        "flask": handlers / "flask" / "app.py",
        "page": handlers / "page.js",
    }
    for name, text in (("hello", HELLO), ("flask", flask_source()), ("page", JAVASCRIPT)):
        files[name].write_text(text)
    urls.write_text(urls.read_text() + DJANGO_VIEW)
    settings.write_text(source)
    return {**files, "django": (settings, source)}


def flask_source():
    return FLASK.replace("Hello from the sandbox!\\n", "version 0")


class Reloader(Peer):
    """A server that starts again when its file changes, in a child process."""

    def __init__(self, command, port, folder):
        super().__init__(command, port, folder / "log", cwd=folder, process_group=0)

    def __exit__(self, *_):
        # Its processes are a group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class FlaskReloader(Reloader):
    """Flask's development server."""

    name = "Flask's own reloader"

    def __init__(self, python, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.source = folder / "app.py", flask_source()
        self.file.write_text(self.source)
        command = [python, "-m", "flask", "--app", "app", "run", "--debug", "--port", "8943"]
        super().__init__(command, 8943, folder)


class NodeWatch(Reloader):
    """A server in Node.js."""

    name = "node --watch"

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.source = folder / "app.mjs", NODE
        self.file.write_text(self.source)
        super().__init__(["node", "--watch", self.file], 8944, folder)


if __name__ == "__main__":
    main()

"""Nodes of the server, with the balancers of `packaging/` in front and Redis behind them, all on
loopback addresses of this machine.
"""

import contextlib
import http.client
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

PACKAGING = Path(__file__).parent.parent.parent / "packaging"

# The addresses of the configurations, and those that stand in for them here.
NODES = {"10.0.0.11": "127.0.0.11", "10.0.0.12": "127.0.0.12"}
BALANCER = "127.0.0.2"
CLIENT = "127.0.0.3"

# Debian's packages of the programs that are needed.
PROGRAMS = {
    "haproxy": "haproxy",
    "nginx": "nginx-light libnginx-mod-stream",
    "redis-server": "redis-server",
    "openssl": "openssl",
    "wrk": "wrk",
}

# Generous limits: the first start compiles handlers.
START_LIMIT_SECONDS = 120
STOP_LIMIT_SECONDS = 60
POLL_SECONDS = 0.05

# How much of a log is shown if something fails.
LOG_LINES = 20


def need(*programs):
    """Ends this program if one that it needs is missing, and says how to install it."""
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        packages = " ".join(PROGRAMS[name] for name in missing)
        sys.exit(f"missing: {', '.join(missing)}; install with: apt-get install {packages}")


def exit_on_signals():
    """Turns signals into an exception, so that what was started is ended as well."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit("ended by a signal"))


def step(text):
    print(text, flush=True)


def free_port(address):
    with socket.socket() as listener:
        listener.bind((address, 0))
        return listener.getsockname()[1]


def wait_until(condition, what):
    until = time.monotonic() + START_LIMIT_SECONDS
    while not condition():
        if time.monotonic() > until:
            sys.exit(f"not in time: {what}")
        time.sleep(POLL_SECONDS)


def status(address, port, path, **fields):
    """Returns the status of a response and its body, or (0, b"") if there is none."""
    connection = http.client.HTTPConnection(address, port, timeout=10)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path, headers=fields)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""


def without_verification():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Program:
    """A program in the background, with a log. It is killed at the end of the block."""

    def __init__(self, name, work, command):
        self.name, self.command = name, command
        self.log = work / f"{name}.log"
        self.log.write_bytes(b"")
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self, number=signal.SIGTERM):
        """Sends a signal, and waits until the program has ended."""
        self.process.send_signal(number)
        self.process.wait(STOP_LIMIT_SECONDS)

    def check(self):
        """Ends this program if the other has ended by itself."""
        if self.process.poll() is not None:
            sys.exit(f"{self.name} has ended")

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            step(f"--- {self.name}\n{self.tail()}")
        if self.process.poll() is None:
            # A graceful end of nginx and HAProxy, whose workers would outlive a kill.
            self.process.terminate()
            try:
                self.process.wait(STOP_LIMIT_SECONDS if kind is None else 5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Ports:
    """The ports that stand in for those of the configurations."""

    def __init__(self):
        self.front = free_port(BALANCER)
        self.site = {node: free_port(node) for node in NODES.values()}
        self.admin = {node: free_port(node) for node in NODES.values()}
        self.probe = {node: free_port(node) for node in NODES.values()}

    def balancer(self, text):
        """Returns the configuration of a balancer with addresses of this machine."""
        for name, node in NODES.items():
            place = f"{node}:{self.site[node]}"
            check = f"{place} port {self.probe[node]}"
            text = re.sub(rf"{re.escape(name)}:\d+ port \d+", check, text)
            text = re.sub(rf"{re.escape(name)}:\d+", place, text)
        text = re.sub(r"bind :\d+", f"bind {BALANCER}:{self.front}", text)
        return re.sub(r"listen \d+;", f"listen {BALANCER}:{self.front};", text)

    def probe_configuration(self, text, node):
        text = re.sub(r"bind :\d+", f"bind {node}:{self.probe[node]}", text)
        text = re.sub(r"listen \d+;", f"listen {node}:{self.probe[node]};", text)
        return text.replace("127.0.0.1:9000", f"{node}:{self.admin[node]}")

    def node(self, text, node):
        """Returns the `wasgi.toml` of a node, from the comment of a balancer's configuration."""
        lines = re.findall(r"^#   (.*)$", text, re.MULTILINE)
        text = "\n".join(lines)
        text = re.sub(r'addr = "10\.0\.0\.11:\d+"', f'addr = "{node}:{self.site[node]}"', text)
        text = text.replace("127.0.0.1:9000", f"{node}:{self.admin[node]}")
        # Loopback connections come from the address that the kernel chooses.
        return text.replace('"10.0.0.2"', '"127.0.0.1", "127.0.0.2", "127.0.0.11", "127.0.0.12"')


class Node(Program):
    """A server of the site."""

    def __init__(self, wasgi, site, work, ports, address, configuration):
        self.address, self.ports = address, ports
        file = work / f"{address}.toml"
        file.write_text(configuration)
        super().__init__(
            address,
            work,
            [
                *(wasgi, "serve", site, "--config", file, "--threads", "1"),
                *("--log-format", "json", "--code-cache", work / "code"),
            ],
        )

    def is_ready(self):
        self.check()
        port = self.ports.admin[self.address]
        return status(self.address, port, "/readyz", Host="localhost")[0] == 200

    def wait(self):
        wait_until(self.is_ready, f"node {self.address} is ready")


def balancer(kind, file, text, work):
    """Returns HAProxy or nginx with a configuration."""
    path = work / file
    path.write_text(text)
    if kind == "haproxy":
        return Program(path.stem, work, ["haproxy", "-db", "-f", path])
    command = ["nginx", "-c", path, "-e", work / f"{path.stem}.errors"]
    return Program(path.stem, work, [*command, "-g", "daemon off;"])


def redis(work, port):
    """Returns a Redis that confirms a write when it is on the disk."""
    folder = work / "redis"
    folder.mkdir(exist_ok=True)
    settings = {
        "bind": BALANCER,
        "port": port,
        "dir": folder,
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
    }
    arguments = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    program = Program("redis", work, ["redis-server", *arguments])
    program.port = port
    return program

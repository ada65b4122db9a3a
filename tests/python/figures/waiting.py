"""Measures what waits outside of handlers: requests to a slow upstream, and increments in a bucket.

    cargo build --release --package wasgi && cargo xtask test outbound::load
    python3 tests/python/figures/waiting.py --wasgi target/release/wasgi --guests target/guests

The second command of the first line builds the handlers. Takes some 60 seconds. The increments need
`wrk`, and are otherwise omitted. Clients, upstream and server share the machine's processors.

While the requests wait, another client asks for `/hello`. Its times are shown for three phases: the
*arrival* of the requests, until the upstream has the last one; the *waiting*; and the *completion*,
from the upstream's first answer on. For comparison, the same number of requests is sent to a
handler that sleeps, and for a page, which shows what a burst costs without connections to an
upstream or without handlers; and at intervals, as independent clients would send them.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import multiprocessing
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

# The number of requests that wait at the same time, and the upstream's delay in seconds.
WAITING_COUNT, DELAY_SECONDS = 1000, 1.0

# The number of requests whose times are compared, and the pause between them in seconds.
HELLO_COUNT, PAUSE_SECONDS = 400, 0.005

# The time without other requests before each burst, and that over which a slower one is spread.
QUIET_SECONDS, SPREAD_SECONDS = 0.2, 0.5

# The duration of each measurement of increments, and the numbers of clients.
INCREMENT_SECONDS, CLIENTS = 5, (1, 50, 500)


async def upstream_main(listening, arrived) -> None:
    async def answer(reader, writer):
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                now = time.monotonic()
                arrived[:] = [arrived[0] or now, now]
                await asyncio.sleep(DELAY_SECONDS)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
    listening.put(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def upstream(listening, arrived) -> None:
    asyncio.run(upstream_main(listening, arrived))


async def burst(port: int, path: str, over_seconds: float = 0.0) -> tuple[float, float]:
    """Sends the waiting requests, at once or over a time, and returns when the first was sent and
    the last response was complete."""

    async def one(number: int) -> None:
        await asyncio.sleep(over_seconds * number / WAITING_COUNT)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        response = await reader.read()
        writer.close()
        if b" 200 " not in response:
            raise RuntimeError(f"unexpected response: {response!r}")

    started = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(WAITING_COUNT)))
    return started, time.monotonic()


def hello(port: int, times, count: int = HELLO_COUNT, end=None) -> None:
    """Puts the start of each request to /hello, and its time in milliseconds. Stops after a number
    of requests, or at an event."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    taken = []
    while len(taken) < count if end is None else not end.is_set():
        started = time.monotonic()
        connection.request("GET", "/hello")
        connection.getresponse().read()
        taken.append((started, (time.monotonic() - started) * 1000))
        time.sleep(PAUSE_SECONDS)
    times.put(taken)


def shown(times: list[float]) -> str:
    if not times:
        return "none"
    times = sorted(times)
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    return f"p50 {p50:.2f}, p99 {p99:.2f}, max {times[-1]:.2f} ms of {len(times)}"


def resident(pid: int, name: str) -> int:
    """Returns a size in the process's status, in KiB: VmRSS or VmHWM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


class Server:
    def __init__(self, wasgi: Path, site: Path) -> None:
        command = [wasgi, "serve", site, "--addr", "127.0.0.1:0", "--threads", "2"]
        command += ["--max-connections-per-address", "4000", "--no-access-log"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = 0
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.port = int(line.strip().rstrip("/").rpartition(":")[2])
            if line.startswith("all handlers are loaded"):
                break

    def get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def measure_burst(
    server: Server, name: str, path: str, arrived, over_seconds: float = 0.0
) -> None:
    """Sends the requests while another client asks for /hello, and shows its times."""
    times, end = multiprocessing.Queue(), multiprocessing.Event()
    before = resident(server.process.pid, "VmRSS")
    arrived[:] = [0.0, 0.0]
    asking = multiprocessing.Process(target=hello, args=(server.port, times, 0, end))
    asking.start()
    time.sleep(QUIET_SECONDS)
    started, ended = asyncio.run(burst(server.port, path, over_seconds))
    end.set()
    taken = [one for one in times.get() if one[0] >= started - one[1] / 1000]
    asking.join()
    grown = resident(server.process.pid, "VmHWM") - before
    print(
        f"{name}: {WAITING_COUNT} requests in {ended - started:.2f} s; "
        f"{grown / WAITING_COUNT:.1f} KiB of resident memory each\n"
        f"  /hello meanwhile: {shown([each for _, each in taken])}"
    )
    first, last = arrived
    if first:
        ends = {"arrival": last, "waiting": first + DELAY_SECONDS, "completion": ended}
        began = 0.0
        for phase, over in ends.items():
            print(f"    {phase}: {shown([each for at, each in taken if began <= at < over])}")
            began = over


def measure_waiting(server: Server, upstream_port: int, arrived) -> None:
    path = f"/outbound?fetch=http://127.0.0.1:{upstream_port}/"
    warm = [server.get(path), server.get("/hello")[:15], server.get("/sleep?ms=0")]
    print(f"warm-up: {warm}")
    times = multiprocessing.Queue()
    hello(server.port, times)
    print(f"/hello, quiet: {shown([each for _, each in times.get()])}")
    for attempt in ("first", "second", "third"):
        measure_burst(server, f"upstream, {attempt}", path, arrived)
    measure_burst(server, f"upstream, over {SPREAD_SECONDS} s", path, arrived, SPREAD_SECONDS)
    delay = f"/sleep?ms={DELAY_SECONDS * 1000:.0f}"
    measure_burst(server, "a handler that sleeps", delay, arrived)
    measure_burst(server, "a page", "/page.html", arrived)


def measure_increments(server: Server) -> None:
    if not shutil.which("wrk"):
        print("increments: omitted, wrk is not installed")
        return
    for clients, handler in [(number, name) for name in ("grants", "kept") for number in CLIENTS]:
        path = f"/{handler}?kv=default,add,n,1"
        before = int(server.get(path))
        url = f"http://127.0.0.1:{server.port}{path}"
        wrk = ["wrk", "-t1", f"-c{clients}", f"-d{INCREMENT_SECONDS}s", "--latency", url]
        said = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
        latency = next((line.strip() for line in said.splitlines() if "50%" in line), "")
        count = int(server.get(path)) - before
        kind = "fresh instances" if handler == "grants" else "reused instances"
        print(f"increments, {kind}, {clients} clients: {count / INCREMENT_SECONDS:.0f}/s, {latency}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wasgi", type=Path, required=True)
    parser.add_argument("--guests", type=Path, required=True)
    options = parser.parse_args()
    listening = multiprocessing.Queue()
    # When the first and the last request reached the upstream.
    arrived = multiprocessing.Array("d", 2)
    slow = multiprocessing.Process(target=upstream, args=(listening, arrived), daemon=True)
    slow.start()
    port = listening.get()
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        for name in ("html", "handlers"):
            (site / name).mkdir()
        for file in ("demos/hello", "demos/sleep", "cases/outbound", "cases/grants"):
            shutil.copy(options.guests / f"{file}.wasm", site / "handlers")
        shutil.copy(site / "handlers/grants.wasm", site / "handlers/kept.wasm")
        (site / "html/page.html").write_text("a page")
        (site / "wasgi.toml").write_text(
            '[budget]\noutbound-connections = 2000\n'
            f'[handlers.outbound]\nallowed-outbound-hosts = ["http://127.0.0.1:{port}"]\n'
            '[handlers.grants]\nkey-value = ["default"]\n'
            '[handlers.kept]\nkey-value = ["default"]\nreuse = 1000000\n'
        )
        server = Server(options.wasgi.resolve(), site)
        try:
            measure_waiting(server, port, arrived)
            measure_increments(server)
        finally:
            server.process.terminate()
            server.process.wait()


if __name__ == "__main__":
    main()

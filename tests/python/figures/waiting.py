"""Measures what waits outside of handlers: requests to a slow upstream, and increments in a bucket.

    cargo build --release --package wasgi && cargo xtask test outbound::load
    python3 tests/python/figures/waiting.py --wasgi target/release/wasgi --guests target/guests

The second command of the first line builds the handlers. Takes some 40 seconds. The increments need
`wrk`, and are otherwise omitted. Clients, upstream and server share the machine's processors.
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

# The duration of each measurement of increments, and the numbers of clients.
INCREMENT_SECONDS, CLIENTS = 5, (1, 50, 500)


async def upstream_main(listening) -> None:
    async def answer(reader, writer):
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(DELAY_SECONDS)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
    listening.put(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def upstream(listening) -> None:
    asyncio.run(upstream_main(listening))


async def all_at_once(port: int, path: str) -> float:
    """Sends the waiting requests, and returns the time until all have the right response."""

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        response = await reader.read()
        writer.close()
        if b" 200 " not in response or not response.endswith(b"200 ok"):
            raise RuntimeError(f"unexpected response: {response!r}")

    started = time.monotonic()
    await asyncio.gather(*(one() for _ in range(WAITING_COUNT)))
    return time.monotonic() - started


def hello(port: int, times) -> None:
    """Puts the times of requests to /hello, in milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    taken = []
    for _ in range(HELLO_COUNT):
        started = time.monotonic()
        connection.request("GET", "/hello")
        connection.getresponse().read()
        taken.append((time.monotonic() - started) * 1000)
        time.sleep(PAUSE_SECONDS)
    times.put(sorted(taken))


def shown(times: list[float]) -> str:
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"


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


def measure_waiting(server: Server, upstream_port: int) -> None:
    path = f"/outbound?fetch=http://127.0.0.1:{upstream_port}/"
    print(f"warm-up: {server.get(path)}, {server.get('/hello')[:15]!r}")
    times = multiprocessing.Queue()
    hello(server.port, times)
    print(f"/hello, quiet: {shown(times.get())}")
    for attempt in ("first", "second", "third"):
        before = resident(server.process.pid, "VmRSS")
        asking = multiprocessing.Process(target=hello, args=(server.port, times))
        asking.start()
        seconds = asyncio.run(all_at_once(server.port, path))
        asking.join()
        grown = resident(server.process.pid, "VmHWM") - before
        print(
            f"{attempt}: {WAITING_COUNT} requests in {seconds:.2f} s; "
            f"{grown / WAITING_COUNT:.1f} KiB of resident memory each; "
            f"/hello meanwhile: {shown(times.get())}"
        )


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
    slow = multiprocessing.Process(target=upstream, args=(listening,), daemon=True)
    slow.start()
    port = listening.get()
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        for name in ("html", "handlers"):
            (site / name).mkdir()
        for file in ("demos/hello", "cases/outbound", "cases/grants"):
            shutil.copy(options.guests / f"{file}.wasm", site / "handlers")
        shutil.copy(site / "handlers/grants.wasm", site / "handlers/kept.wasm")
        (site / "wasgi.toml").write_text(
            '[budget]\noutbound-connections = 2000\n'
            f'[handlers.outbound]\nallowed-outbound-hosts = ["http://127.0.0.1:{port}"]\n'
            '[handlers.grants]\nkey-value = ["default"]\n'
            '[handlers.kept]\nkey-value = ["default"]\nreuse = 1000000\n'
        )
        server = Server(options.wasgi.resolve(), site)
        try:
            measure_waiting(server, port)
            measure_increments(server)
        finally:
            server.process.terminate()
            server.process.wait()


if __name__ == "__main__":
    main()

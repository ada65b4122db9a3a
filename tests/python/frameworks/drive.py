"""Builds an application with each framework that the documentation names, in a new virtual
environment with only its own packages, and sends it requests through the server: to the component,
and to the same application as a script, whose packages `wasgi deps` installs.

    cargo xtask python-frameworks [NAME…]

Prints a table. Takes some minutes for each framework, and downloads packages from PyPI.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
SDK = ROOT / "guest-sdk/python"

# The time limit for the server to compile a handler on a busy machine, in seconds.
COMPILE_SECONDS = 600

# The sizes, in bytes, of an upload that Django stores in a file, and of one near the server's
# default limit.
FILE_BYTES, LARGE_BYTES = 20_000_000, 60_000_000


class Failure(Exception):
    """A response that differs from the expected one."""


@dataclasses.dataclass
class Answer:
    status: int
    fields: http.client.HTTPMessage
    body: bytes
    seconds: float


class Site:
    """A handler as a client sees it."""

    def __init__(self, port: int, name: str) -> None:
        self.port, self.name = port, name
        self.cookies: dict[str, str] = {}
        # The durations, in seconds, of the requests that the table lists.
        self.times: dict[str, float] = {}

    def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        fields = {name.replace("_", "-"): value for name, value in fields.items()}
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        started = time.monotonic()
        connection.request(method, f"/{self.name}{path}", body or None, fields)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read(), 0)
        answer.seconds = time.monotonic() - started
        connection.close()
        for cookie in answer.fields.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def get(self, path: str, wanted: str | bytes, **fields: str) -> Answer:
        return expect(self.ask("GET", path, **fields), 200, wanted, path)

    def upload(self, path: str, size: int, wanted: str, **more: str) -> Answer:
        """Sends a form with a file of this many bytes."""
        parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in more.items()]
        content = b'name="file"; filename="a.bin"\r\nContent-Type: application/octet-stream\r\n\r\n'
        parts.append(content + b"x" * size)
        lines = [b"--limit\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts]
        body = b"".join(lines) + b"--limit--\r\n"
        answer = self.ask("POST", path, body, Content_Type="multipart/form-data; boundary=limit")
        return expect(answer, 200, wanted, f"an upload of {size} bytes to {path}")


def expect(answer: Answer, status: int, wanted: str | bytes, what: str) -> Answer:
    wanted = wanted.encode() if isinstance(wanted, str) else wanted
    if answer.status != status or wanted not in answer.body:
        raise Failure(f"{what}: {answer.status} {answer.body[:200]!r}, not {status} {wanted!r}")
    return answer


def flask(site: Site) -> None:
    site.get("/", "Hello from /flask/")
    site.upload("/upload", LARGE_BYTES, f"a.bin {LARGE_BYTES}")
    expect(site.ask("POST", "/raw", b"x" * LARGE_BYTES), 200, str(LARGE_BYTES), "a body, whole")
    site.times["login (scrypt)"] = site.get("/login", "True").seconds
    site.get("/async", "later")
    site.get("/stream", "0\n1\n2\n")
    site.get("/static/style.css", "green")


def django(site: Site) -> None:
    for left in (2, 1, 0):
        login = site.get("/admin/login/", "csrfmiddlewaretoken")
        token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', login.body)[1].decode()
        form = {"csrfmiddlewaretoken": token, "username": "ada", "password": "secret", "next": ""}
        entered = site.ask(
            "POST", "/admin/login/?next=/django/admin/", urllib.parse.urlencode(form).encode(),
            Content_Type="application/x-www-form-urlencoded",
        )  # fmt: skip
        expect(entered, 302, "", "login")
        site.times["login (PBKDF2)"] = entered.seconds
        if left and site.ask("GET", "/admin/").status == 302:
            # The instance with the session was replaced, as the server may do at any time: it has
            # stored the compiled code, and uses that from now on.
            continue
        break
    site.get("/admin/", "Site administration")
    site.get("/admin/auth/user/", "ada")
    site.get("/static/admin/css/base.css", "--primary")
    for size in (FILE_BYTES, LARGE_BYTES):
        site.upload("/upload", size, f"a.bin {size} True")
    site.get("/async", "later")


def plain_uploads(site: Site) -> None:
    site.get("/", f"Hello from /{site.name}")
    site.upload("/upload", 5_000_000, "a.bin 5000000")


def bottle(site: Site) -> None:
    plain_uploads(site)
    expect(site.ask("POST", "/body", b"x" * 150_000), 200, "150000", "a body of 150 kB")
    site.get("/static/style.css", "green")


def with_static(site: Site) -> None:
    plain_uploads(site)
    site.get("/static/style.css", "green")


def wsgidav(site: Site) -> None:
    site.get("/files/style.css", "green")
    listing = site.ask("PROPFIND", "/files/", Depth="1")
    expect(listing, 207, "style.css", "PROPFIND")
    expect(site.ask("PUT", "/files/new.txt", b"x"), 403, "", "PUT into a read-only share")
    expect(site.ask("PUT", "/tmp/new.txt", b"x" * 200_000), 201, "", "PUT")


def whitenoise(site: Site) -> None:
    site.get("/", "Hello from /whitenoise")
    first = site.get("/static/style.css", "green")
    if first.fields["Content-Type"] != 'text/css; charset="utf-8"':
        raise Failure(f"type {first.fields['Content-Type']}")
    part = site.ask("GET", "/static/style.css", Range="bytes=0-3")
    expect(part, 206, "body", "a range")
    again = site.ask("GET", "/static/style.css", If_None_Match=first.fields["ETag"])
    expect(again, 304, "", "a validator")


def pypiserver(site: Site) -> None:
    site.get("/simple/", "greet")
    site.get("/simple/greet/", "greet-1.0-py3-none-any.whl")
    site.get("/packages/greet-1.0-py3-none-any.whl", "not a real wheel")


def starlette(site: Site) -> None:
    site.get("/", "Hello from /starlette/")
    site.get("/plain", "a function")
    site.get("/stream", "0\n1\n2\n")
    site.get("/background", "done")
    site.upload("/upload", 5_000_000, "a.bin 5000000")
    site.get("/static/style.css", "green")


def quart(site: Site) -> None:
    site.get("/", "Hello from /quart/")
    site.get("/plain", "a function")
    site.get("/stream", "0\n1\n2\n")
    site.upload("/upload", 5_000_000, "a.bin 5000000")


def fastapi1(site: Site) -> None:
    plain_uploads(site)
    for body, status, wanted in (
        (b'{"name": "tea"}', 200, '{"item":{"name":"tea","price":1.0},"number":3}'),
        (b'{"price": "much"}', 422, "field required"),
    ):
        answer = site.ask("POST", "/items", body, Content_Type="application/json")
        expect(answer, status, wanted, "a model")
    site.get("/openapi.json", '"Item"')


@dataclasses.dataclass(frozen=True)
class Framework:
    """An application, its packages, and its requests."""

    packages: tuple[str, ...]
    check: Callable[[Site], None]
    target: str = ""
    warm: tuple[str, ...] = ("/",)
    options: tuple[str, ...] = ()
    # A part of the message of a build that should fail, and of what `wasgi deps` writes.
    refusal: str = ""
    script_refusal: str = ""


FRAMEWORKS = {
    "flask": Framework(("flask[async]",), flask),
    "django": Framework(("django",), django, "mysite.wsgi:application", ("/admin/login/",)),
    "bottle": Framework(("bottle",), bottle),
    "pyramid": Framework(("pyramid", "legacy-cgi", "setuptools>=75,<81"), with_static),
    "falcon": Framework(("falcon",), with_static),
    "cherrypy": Framework(("cherrypy",), with_static),
    "webpy": Framework(("web.py", "legacy-cgi"), plain_uploads),
    "wsgidav": Framework(("wsgidav",), wsgidav, warm=("/files/style.css",)),
    "whitenoise": Framework(("whitenoise",), whitenoise),
    "pypiserver": Framework(("pypiserver", "legacy-cgi"), pypiserver, warm=("/simple/",)),
    "starlette": Framework(("starlette", "python-multipart"), starlette),
    "quart": Framework(("quart",), quart),
    "fastapi1": Framework(("fastapi<0.116", "pydantic<2", "python-multipart"), fastapi1),
    "fastapi": Framework(
        ("fastapi",), plain_uploads, refusal="pydantic_core contains compiled code",
        script_refusal="pydantic_core can't be imported",
    ),
}


def make_django(folder: Path, python: Path) -> None:
    """Creates a project with Django's own template and defaults, and a view for uploads."""
    run([python, "-m", "django", "startproject", "mysite", folder])
    (folder / "mysite/urls.py").write_text(
        (folder / "mysite/urls.py").read_text()
        + "\nimport asyncio\nfrom django.http import HttpResponse\n"
        "from django.views.decorators.csrf import csrf_exempt\n"
        "@csrf_exempt\ndef upload(request):\n"
        "    file = request.FILES['file']\n"
        "    is_file = hasattr(file, 'temporary_file_path')\n"
        "    return HttpResponse(f'{file.name} {sum(map(len, file.chunks()))} {is_file}')\n"
        "async def later(request):\n"
        "    await asyncio.sleep(0.01)\n    return HttpResponse('later')\n"
        "urlpatterns += [path('upload', upload), path('async', later)]\n"
        "from django.contrib.staticfiles.urls import staticfiles_urlpatterns\n"
        "urlpatterns += staticfiles_urlpatterns('/static/')\n"
    )
    run([python, "manage.py", "migrate", "--verbosity", "0"], cwd=folder)
    run(
        [python, "manage.py", "createsuperuser", "--noinput", "--username", "ada", "--email",
         "ada@example.org"],
        cwd=folder, env={"DJANGO_SUPERUSER_PASSWORD": "secret"},
    )  # fmt: skip


def run(
    command: list, cwd: Path | None = None, env: dict[str, str] | None = None,
    is_output_wanted: bool = False,
) -> str:  # fmt: skip
    """Runs a command without this process's environment, and returns what it wrote to standard
    error, or to standard output."""
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**clean, **(env or {})},
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise Failure(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout if is_output_wanted else done.stderr


def drive(name: str, framework: Framework, work: Path, wasgi: Path, keep: bool) -> str:
    """Tests one framework both ways, and returns the cells of its row of the table."""
    folder = work / name
    python = folder / "venv/bin/python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not (keep and python.is_file()):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run([sys.executable, "-m", "venv", folder / "venv"])
        run([*pip, *framework.packages])
    run([*pip, "--force-reinstall", "--no-deps", SDK])
    run([*pip, SDK])
    app = folder / "app"
    shutil.rmtree(app, ignore_errors=True)
    if name == "django":
        app.mkdir()
        make_django(app, python)
    else:
        app.mkdir()
        shutil.copy(HERE / f"{name}_app.py", app)
        for extra in ("static", "packages"):
            shutil.copytree(HERE / extra, app / extra)
    target = framework.target or f"{name}_app:app"
    row = as_component(name, framework, folder, app, python, target, work, wasgi)
    return f"{row} | {as_script(name, framework, folder, app, target, work, wasgi)}"


def as_component(
    name: str, framework: Framework, folder: Path, app: Path, python: Path, target: str,
    work: Path, wasgi: Path,
) -> str:  # fmt: skip
    """Builds and tests a component, and returns its cell of the table."""
    site = make_site(name, folder / "site")
    component = site / f"handlers/{name}.wasm"
    command = [python, "-m", "wasgi", "build", target, "-o", component, *framework.options]
    for path in framework.warm:
        command += ["--warm", path]
    started = time.monotonic()
    try:
        run(command, cwd=app)
    except Failure as failure:
        if framework.refusal and framework.refusal in str(failure):
            return f"the build says: {str(failure).splitlines()[-1]}"
        raise
    if framework.refusal:
        raise Failure("the build succeeds, and was to fail")
    built = time.monotonic() - started
    asked = served(name, framework, site, work, wasgi)
    size = component.stat().st_size / 1e6
    return f"works: {size:.0f} MB, built in {built:.0f} s{told_times(asked)}"


def as_script(
    name: str, framework: Framework, folder: Path, app: Path, target: str, work: Path,
    wasgi: Path,
) -> str:  # fmt: skip
    """Installs the packages of a script, tests it, and returns its cell of the table."""
    site = make_site(name, folder / "script")
    script = site / f"handlers/{name}"
    shutil.copytree(app, script)
    (script / "requirements.txt").write_text("\n".join(framework.packages) + "\n")
    warm = ", ".join(f'"{path}"' for path in framework.warm)
    (script / "pyproject.toml").write_text(
        f'[tool.wasgi]\napplication = "{target}"\nwarm = [{warm}]\n'
    )
    started = time.monotonic()
    deps = [wasgi, "deps", "--site", site, "--code-cache", work / "cache", name]
    told = run(deps, is_output_wanted=True)
    if framework.script_refusal:
        if framework.script_refusal not in told:
            raise Failure(f"`wasgi deps` says {told!r}")
        return f"`wasgi deps` says: {framework.script_refusal}"
    installed = time.monotonic() - started
    asked = served(name, framework, site, work, wasgi)
    return f"works: installed in {installed:.0f} s{told_times(asked)}"


def make_site(name: str, site: Path) -> Path:
    """Creates a site without handlers."""
    shutil.rmtree(site, ignore_errors=True)
    (site / "handlers").mkdir(parents=True)
    (site / "html").mkdir()
    # The next request should see what Django stored in its database.
    reuse = f"[handlers.{name}]\nreuse = 1000\n" if name == "django" else ""
    # Not less than COMPILE_SECONDS.
    compiling = '[compile]\nwall-time = "10m"\ncpu-time = "10m"\n'
    (site / "wasgi.toml").write_text(compiling + reuse)
    return site


def told_times(asked: Site) -> str:
    return "".join(f"; {what} {1000 * seconds:.0f} ms" for what, seconds in asked.times.items())


def served(name: str, framework: Framework, folder: Path, work: Path, wasgi: Path) -> Site:
    log = open(folder / "log.txt", "w+")
    server = subprocess.Popen(
        [wasgi, "serve", "--addr", "127.0.0.1:0", "--code-cache", work / "cache", folder],
        stdout=subprocess.PIPE, stderr=log, text=True,
    )  # fmt: skip
    try:
        port = 0
        deadline = time.monotonic() + COMPILE_SECONDS
        while not port and time.monotonic() < deadline:
            line = server.stdout.readline()
            if not line:
                raise Failure(f"the server has ended: {(folder / 'log.txt').read_text()}")
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            port = int(found[1]) if found else 0
        site = Site(port, name)
        try:
            while site.ask("GET", framework.warm[0]).status == 503:
                if time.monotonic() > deadline:
                    raise Failure(f"not compiled after {COMPILE_SECONDS} s")
                time.sleep(0.5)
            framework.check(site)
        except Failure as failure:
            log.flush()
            log.seek(0)
            lines = [line for line in log.read().splitlines() if name in line]
            raise Failure(f"{failure}\n" + "\n".join(lines[-30:])) from None
        return site
    finally:
        server.kill()
        server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wasgi", type=Path, required=True, help="the server's program")
    parser.add_argument("--work", type=Path, required=True, help="a folder for environments")
    parser.add_argument("--keep", action="store_true", help="keep environments that are there")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FRAMEWORKS))
    options = parser.parse_args()
    # As an exception, so that a running server is ended as well.
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit("ended by a signal"))
    failed = 0
    for name in options.names or FRAMEWORKS:
        try:
            row = drive(name, FRAMEWORKS[name], options.work, options.wasgi.resolve(), options.keep)
        except (Failure, OSError) as error:
            row, failed = f"FAILS: {error}", failed + 1
        print(f"| {name} | {row} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

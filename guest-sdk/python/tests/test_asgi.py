"""ASGI applications and coroutines on the sandbox's event loop."""

import asyncio
import io
import os
import subprocess
import sys
import textwrap
import unittest
from pathlib import Path

import fakes
from fakes import Environ, serve

from wasgi.guest import asgi, event_loop

SOURCE = str(Path(__file__).resolve().parent.parent / "src")


class Programs(unittest.TestCase):
    """Programs in an interpreter that uses the sandbox's event loop."""

    def runs(self, program: str) -> str:
        before = "from wasgi.guest import event_loop; event_loop.install()\nimport asyncio\n"
        done = subprocess.run(
            [sys.executable, "-c", before + textwrap.dedent(program)],
            env={**os.environ, "PYTHONPATH": SOURCE},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_asyncio_run_sleeps_gathers_and_times_out(self):
        out = self.runs(
            """
            async def one(n):
                await asyncio.sleep(0.01 * n)
                return n
            async def main():
                print(await asyncio.gather(one(2), one(1)))
                try:
                    async with asyncio.timeout(0.01): await asyncio.sleep(60)
                except TimeoutError: print("timed out")
                queue = asyncio.Queue()
                asyncio.get_running_loop().call_later(0.01, queue.put_nowait, "x")
                print(await queue.get())
            asyncio.run(main())
            print(asyncio.new_event_loop().run_until_complete(one(1)))
            """
        )
        self.assertEqual(out.splitlines(), ["[2, 1]", "timed out", "x", "1"])

    def test_what_another_thread_would_do_is_done_at_once(self):
        out = self.runs(
            """
            import concurrent.futures, threading
            async def main():
                print(await asyncio.to_thread(lambda: 5))
                loop = asyncio.get_running_loop()
                print(await loop.run_in_executor(None, len, "abc"))
                # A thread of its own has no running loop, so it can run one.
                print(await asyncio.to_thread(asyncio.run, asyncio.sleep(0, "inner")))
                try: await asyncio.to_thread(int, "x")
                except ValueError: print("raised")
            asyncio.run(main())
            with concurrent.futures.ThreadPoolExecutor() as pool:
                print(list(pool.map(len, ["a", "bb"])), threading.active_count())
            """
        )
        self.assertEqual(out.splitlines(), ["5", "3", "inner", "raised", "[1, 2] 1"])

    def test_a_wait_without_an_end_is_told(self):
        out = self.runs(
            """
            async def main(): await asyncio.get_running_loop().create_future()
            try: asyncio.run(main())
            except RuntimeError as error: print(error)
            """
        )
        self.assertIn("waits for an event that can't occur", out)

    def test_what_needs_the_system_says_so(self):
        out = self.runs(
            """
            import signal
            async def main():
                loop = asyncio.get_running_loop()
                for call in (
                    lambda: loop.add_signal_handler(signal.SIGTERM, print),
                    lambda: loop.add_reader(0, print),
                ):
                    try: call()
                    except NotImplementedError: print("not implemented")
            asyncio.run(main())
            """
        )
        self.assertEqual(out.splitlines(), ["not implemented"] * 2)


class Recognized(unittest.TestCase):
    def test_asgi_is_told_from_wsgi(self):
        async def coroutine(scope, receive, send): ...

        class Object:
            async def __call__(self, scope, receive, send): ...

        def plain(scope, receive, send): ...

        def double(scope): ...

        def wsgi(environ, start_response): ...

        def with_more(environ, start_response, extra=None): ...

        class Wsgi:
            def __call__(self, environ, start_response): ...

        class PerRequest:
            def __init__(self, environ, start_response): ...

        for application in (coroutine, Object(), plain, double):
            self.assertTrue(asgi.is_asgi(application), application)
        for application in (wsgi, with_more, Wsgi(), PerRequest, lambda *_: [], dict):
            self.assertFalse(asgi.is_asgi(application), application)


class Served(unittest.TestCase):
    """Requests to ASGI applications through the whole binding."""

    def setUp(self):
        event_loop_module = sys.modules["asyncio.unix_events"]
        saved = dict(vars(event_loop_module))
        policy = asyncio.get_event_loop_policy()
        factory = type(policy)._loop_factory
        event_loop._change_asyncio(event_loop_module)

        def restore():
            vars(event_loop_module).update(saved)
            type(policy)._loop_factory = factory

        self.addCleanup(restore)

    def serve(self, application, blocks=(), **variables):
        served = asgi.WsgiOfAsgi(application)
        served.start()
        self.served = served
        base = {
            "REQUEST_METHOD": b"GET", "SCRIPT_NAME": b"/app", "PATH_INFO": "/é".encode(),
            "QUERY_STRING": b"a=%20", "REQUEST_URI": b"/app/%C3%A9?a=%20", "SERVER_NAME": b"test",
            "SERVER_PORT": b"80", "SERVER_PROTOCOL": b"HTTP/1.1", "REMOTE_ADDR": b"127.0.0.1",
            "REMOTE_PORT": b"1234", "wsgi__url_scheme": b"http",
        }  # fmt: skip
        return serve(served, Environ(blocks, **{**base, **variables}))

    def test_the_scope_is_the_request(self):
        seen = {}

        async def application(scope, receive, send):
            if scope["type"] != "http":
                raise ValueError(scope["type"])
            seen.update(scope)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        response = self.serve(application, HTTP_X_A=b"1", CONTENT_TYPE=b"text/plain")
        self.assertEqual(response.head, ("204 No Content", []))
        self.assertEqual(seen["path"], "/app/é")
        self.assertEqual((seen["root_path"], seen["raw_path"]), ("/app", b"/app/%C3%A9"))
        self.assertEqual((seen["query_string"], seen["http_version"]), (b"a=%20", "1.1"))
        self.assertEqual(
            sorted(seen["headers"]), [(b"content-type", b"text/plain"), (b"x-a", b"1")]
        )
        self.assertEqual((seen["client"], seen["server"]), (("127.0.0.1", 1234), ("test", 80)))

    def test_the_body_is_received_in_messages(self):
        async def application(scope, receive, send):
            body, more, messages = b"", True, 0
            while more:
                message = await receive()
                body += message["body"]
                more, messages = message["more_body"], messages + 1
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"%d %d" % (len(body), messages)})

        response = self.serve(application, [b"x" * 100_000], CONTENT_LENGTH=b"100000")
        self.assertEqual(response.blocks[0].split()[0], b"100000")
        self.assertEqual(self.serve(application, [b"chunks"]).blocks[0].split()[0], b"6")

    def test_blocks_are_sent_one_by_one_and_what_follows_comes_after_them(self):
        events = []

        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                raise ValueError
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"\xe9")]}
            )
            for number in range(3):
                events.append(f"sends {number}")
                await send(
                    {"type": "http.response.body", "body": b"%d" % number, "more_body": True}
                )
                await asyncio.sleep(0.001)
            await send({"type": "http.response.body"})
            await asyncio.sleep(0.001)
            events.append("background")

        served = asgi.WsgiOfAsgi(application)
        served.start()
        heads = []
        environ = {
            "REQUEST_METHOD": "GET", "SERVER_NAME": "test", "SERVER_PORT": "80",
            "wsgi.input": io.BytesIO(),
        }  # fmt: skip
        blocks = served(environ, lambda *head: heads.append(head))
        self.assertEqual(heads, [("200 OK", [("x-a", "\xe9")])])
        self.assertEqual(next(blocks), b"0")
        self.assertEqual(events, ["sends 0"])
        self.assertEqual(next(blocks), b"1")
        self.assertEqual([*blocks], [b"2", b""])
        self.assertNotIn("background", events)
        blocks.close()
        self.assertEqual(events[-1], "background")

    def test_a_client_that_goes_away_is_a_disconnect(self):
        events = []

        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                raise ValueError
            await receive()

            async def watch():
                events.append((await receive())["type"])

            watching = asyncio.create_task(watch())
            await send({"type": "http.response.start", "status": 200, "headers": []})
            try:
                while True:
                    await send({"type": "http.response.body", "body": b"x", "more_body": True})
            except OSError:
                events.append("gone")
            await watching

        served = asgi.WsgiOfAsgi(application)
        served.start()
        environ = {
            "REQUEST_METHOD": "GET", "SERVER_NAME": "test", "SERVER_PORT": "80",
            "wsgi.input": io.BytesIO(),
        }  # fmt: skip
        blocks = served(environ, lambda *_: None)
        next(blocks)
        blocks.close()
        self.assertEqual(sorted(events), ["gone", "http.disconnect"])

    def test_an_application_that_waits_for_nothing_else_is_told_of_a_disconnect(self):
        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                raise ValueError
            while (await receive())["type"] != "http.disconnect":
                pass
            raise RuntimeError("saw it")

        with self.assertRaises(fakes.Err) as caught:
            self.serve(application)
        self.assertEqual(caught.exception.value.message, "saw it")

    def test_failures_are_told(self):
        async def raises(scope, receive, send):
            raise LookupError("no such thing")

        async def returns(scope, receive, send):
            return

        async def half(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def early(scope, receive, send):
            await send({"type": "http.response.body", "body": b"x"})

        for application, words in (
            (raises, "no such thing"), (returns, "without sending a response"),
            (half, "without sending the end"), (early, "before http.response.start"),
        ):  # fmt: skip
            with self.assertRaises(fakes.Err) as caught:
                self.serve(application)
            self.assertIn(words, caught.exception.value.message)

    def test_the_lifespan_starts_once_and_its_state_is_in_each_request(self):
        starts = []

        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                starts.append((await receive())["type"])
                scope["state"]["made"] = len(starts)
                await send({"type": "lifespan.startup.complete"})
                await receive()
                return
            body = b"%d" % scope["state"]["made"]
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})

        self.assertEqual(self.serve(application).blocks, [b"1"])
        self.assertEqual(starts, ["lifespan.startup"])

    def test_a_lifespan_that_fails_ends_the_build(self):
        async def application(scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        with self.assertRaisesRegex(asgi.LifespanFailed, "no database"):
            asgi.WsgiOfAsgi(application).start()

    def test_the_older_form_is_served(self):
        def application(scope):
            async def instance(receive, send):
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": scope["method"].encode()})

            return instance

        self.assertEqual(self.serve(application).blocks, [b"GET"])


if __name__ == "__main__":
    unittest.main()

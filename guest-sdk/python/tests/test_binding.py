"""The binding between the contract and WSGI, rule by rule (docs/contract.md), without
WebAssembly."""

import io
import sys
import unittest
from wsgiref.validate import validator

import fakes
from fakes import Body_Block, Body_Blocks, Environ, Err, InputError, Response, serve

from wasgi.guest.application import application_class
from wasgi.guest.body import Blocks, FileWrapper, body
from wasgi.guest.environ import environ_dict
from wasgi.guest.input import BLOCK_BYTES, wsgi_input
from wasgi.guest.start_response import StartResponse

OK = "200 OK"
TEXT = [("Content-Type", "text/plain")]


def failing():
    raise LookupError("no such thing")


def exc_info():
    try:
        failing()
    except LookupError:
        return sys.exc_info()


class TheEnviron(unittest.TestCase):
    def test_e1_flags_and_version_are_what_the_pep_says(self):
        environ = environ_dict(
            Environ(
                wsgi__version=b"1.0", wsgi__multithread=b"false", wsgi__multiprocess=b"true",
                wsgi__run_once=b"true", wsgi__input_terminated=b"true",
            )
        )  # fmt: skip
        self.assertEqual(environ["wsgi.version"], (1, 0))
        self.assertIs(environ["wsgi.multithread"], False)
        self.assertIs(environ["wsgi.multiprocess"], True)
        self.assertIs(environ["wsgi.run_once"], True)
        self.assertIs(environ["wsgi.input_terminated"], True)

    def test_e4_values_are_native_strings_of_iso_8859_1(self):
        environ = environ_dict(Environ(PATH_INFO="/é".encode(), HTTP_X=b"\xff"))
        self.assertEqual(environ["PATH_INFO"], "/\xc3\xa9")
        self.assertEqual(environ["HTTP_X"], "\xff")
        self.assertIs(type(environ), dict)

    def test_e5_routing_args_are_objects(self):
        crossed = '[[], {"id": "7", "name": "é"}]'.encode()
        environ = environ_dict(Environ(wsgiorg__routing_args=crossed))
        self.assertEqual(environ["wsgiorg.routing_args"], ((), {"id": "7", "name": "é"}))


class TheInput(unittest.TestCase):
    def test_i1_lines_cross_blocks(self):
        blocks = [b"one\nt", b"wo\nth", b"ree"]
        lines = [b"one\n", b"two\n", b"three"]
        self.assertEqual(list(wsgi_input(Environ(blocks))), lines)
        self.assertEqual(wsgi_input(Environ(blocks)).readlines(), lines)
        stream = wsgi_input(Environ(blocks))
        self.assertEqual([stream.readline() for _ in range(4)], [*lines, b""])

    def test_i1_read_and_readline_take_sizes(self):
        stream = wsgi_input(Environ([b"ab", b"cdef\ngh"]))
        self.assertEqual(stream.read(3), b"abc")
        self.assertEqual(stream.readline(2), b"de")
        self.assertEqual(stream.readline(10), b"f\n")
        self.assertEqual(stream.read(10), b"gh")
        self.assertEqual(stream.read(0), b"")

    def test_i1_read_without_size_takes_all(self):
        self.assertEqual(wsgi_input(Environ([b"x" * 70_000, b"y"])).read(), b"x" * 70_000 + b"y")
        stream = wsgi_input(Environ([b"head\n", b"body"]))
        stream.readline()
        self.assertEqual(stream.read(-1), b"body")

    def test_a_body_of_known_length_is_read_whole_without_a_copy(self):
        import tracemalloc

        blocks = [bytes([n]) * 60_000 for n in range(100)]
        environ = Environ(list(blocks), CONTENT_LENGTH=b"6000000")
        stream = wsgi_input(environ)
        tracemalloc.start()
        body = stream.read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        self.assertEqual(body, b"".join(blocks))
        self.assertLess(peak, 9_000_000)
        # A wrong length doesn't matter: the server decides where the body ends.
        short = wsgi_input(Environ([b"abc"], CONTENT_LENGTH=b"10"))
        self.assertEqual(short.read(), b"abc")
        self.assertEqual(wsgi_input(Environ([b"abcd"], CONTENT_LENGTH=b"2")).read(), b"abcd")

    def test_i2_the_end_stays_the_end(self):
        stream = wsgi_input(Environ([b"x"]))
        self.assertEqual([stream.read(), stream.read(), stream.read(5), stream.readline()],
                         [b"x", b"", b"", b""])  # fmt: skip

    def test_i3_nothing_is_read_before_it_is_asked_for(self):
        environ = Environ([b"x"])
        environ_dict(environ)
        self.assertEqual(environ.reads, [])

    def test_i4_no_more_is_read_ahead_than_a_block(self):
        environ = Environ([b"a\n", b"b\n", b"c\n"])
        wsgi_input(environ).readline()
        self.assertEqual(environ.reads, [BLOCK_BYTES])

    def test_a_body_that_fails_says_why_each_time(self):
        for reason, kind, words in (
            (InputError.DISCONNECTED, ConnectionAbortedError, "disconnected"),
            (InputError.TIMED_OUT, TimeoutError, "stopped sending"),
            (InputError.TOO_LARGE, OSError, "longer than"),
            (InputError.MALFORMED, OSError, "framing"),
        ):
            stream = wsgi_input(Environ([b"half"], fails=reason))
            for _ in range(2):
                with self.assertRaisesRegex(kind, words):
                    stream.read()

    def test_i5_errors_go_to_the_log(self):
        environ = Environ()
        errors = environ_dict(environ)["wsgi.errors"]
        errors.write("é\n")
        errors.writelines(["a", "b\n"])
        print("\ud800", file=errors)
        errors.flush()
        self.assertEqual(environ.log, "é\nab\n\\ud800\n".encode())
        with self.assertRaises(TypeError):
            errors.write(b"bytes")


class TheStart(unittest.TestCase):
    def setUp(self):
        self.response = Response()
        self.start_response = StartResponse(self.response)

    def test_r1_headers_keep_their_order_and_repeats(self):
        headers = [("Set-Cookie", "a=1"), ("X-Name", "é"), ("Set-Cookie", "b=2")]
        self.start_response(OK, headers)
        self.assertEqual(
            self.response.head,
            (OK, [("Set-Cookie", b"a=1"), ("X-Name", b"\xe9"), ("Set-Cookie", b"b=2")]),
        )

    def test_r1_what_the_host_refuses_is_told(self):
        self.response.refusal = "Connection is a hop-by-hop field"
        with self.assertRaisesRegex(ValueError, "hop-by-hop"):
            self.start_response(OK, [("Connection", "close")])

    def test_r1_what_are_no_native_strings_is_refused(self):
        for status, headers, words in (
            (b"200 OK", TEXT, "status must be str, not bytes"),
            (OK, [("X", b"1")], "must be str"),
            (OK, [("X", 1)], "must be str"),
            (OK, ["Content-Type"], "must be a tuple"),
        ):
            with self.assertRaisesRegex(TypeError, words):
                self.start_response(status, headers)
        with self.assertRaisesRegex(ValueError, "header X-Price .* not ISO-8859-1"):
            self.start_response(OK, [("X-Price", "5 €")])
        with self.assertRaisesRegex(ValueError, "the status .* not ISO-8859-1"):
            self.start_response("299 5 €", TEXT)
        self.assertIsNone(self.response.head)
        self.start_response("299 Café", TEXT)
        self.assertEqual(self.response.head[0], "299 Café")

    def test_r2_the_call_sends_nothing(self):
        self.start_response(OK, TEXT)
        self.assertFalse(self.response.is_sent)

    def test_r3_a_second_call_needs_exc_info(self):
        self.start_response(OK, TEXT)
        with self.assertRaisesRegex(AssertionError, "already called"):
            self.start_response("404 Not Found", TEXT)
        self.assertEqual(self.response.head[0], OK)

    def test_r3_exc_info_replaces_what_is_not_sent(self):
        self.start_response(OK, TEXT)
        self.start_response("500 Oops", TEXT, exc_info())
        self.assertEqual(self.response.head[0], "500 Oops")
        self.assertEqual(self.response.exc_info.kind, "LookupError")
        self.assertEqual(self.response.exc_info.message, "no such thing")
        self.assertIn("in failing", self.response.exc_info.traceback)

    def test_r3_exc_info_is_raised_again_where_the_head_is_sent(self):
        self.start_response(OK, TEXT)(b"sent")
        with self.assertRaisesRegex(LookupError, "no such thing"):
            self.start_response("500 Oops", TEXT, exc_info())

    def test_r3_an_exc_info_of_no_exception_is_none_or_one_that_says_so(self):
        for nothing in ((), False, None, 0):
            self.setUp()
            self.start_response(OK, TEXT)
            with self.assertRaisesRegex(AssertionError, "already called"):
                self.start_response("404 Not Found", TEXT, nothing)
            self.assertEqual(self.response.head[0], OK)
        self.start_response("500 Oops", TEXT, (None, None, None))
        self.assertEqual(self.response.head[0], "500 Oops")
        self.assertIn("no exception", self.response.exc_info.message)
        self.start_response("501 Oops", TEXT, (ValueError, None, None))
        self.assertEqual(self.response.exc_info.kind, "ValueError")
        self.start_response("502 Oops", TEXT, (ValueError, "text", None))
        self.assertEqual(self.response.exc_info.message, "text")
        self.start_response.write(b"sent")
        with self.assertRaisesRegex(RuntimeError, "no exception"):
            self.start_response("500 Oops", TEXT, (None, None, None))
        with self.assertRaises(ValueError):
            self.start_response("500 Oops", TEXT, (ValueError, None, None))

    def test_r3_what_is_no_exc_info_is_refused(self):
        for wrong in ("text", (1, 2), (None,), [1, 2, 3]):
            with self.assertRaisesRegex(TypeError, "exc_info must be"):
                self.start_response(OK, TEXT, wrong)

    def test_r1_a_reason_is_iso_8859_1(self):
        self.start_response("404 pas trouv\xe9", TEXT)
        self.assertEqual(self.response.head[0], "404 pas trouv\xe9")
        with self.assertRaisesRegex(ValueError, "status contains a character"):
            self.start_response("404 \u20ac", TEXT)

    def test_r4_written_blocks_go_first(self):
        def application(environ, start_response):
            write = start_response(OK, TEXT)
            write(b"first ")
            return [b"second ", b"third"]

        self.assertEqual(serve(application).blocks, [b"first ", b"second ", b"third"])

    def test_r6_start_response_may_come_with_the_first_block(self):
        def application(environ, start_response):
            start_response("201 Created", TEXT)
            yield b"late"

        response = serve(application)
        self.assertEqual((response.head[0], response.blocks), ("201 Created", [b"late"]))

    def test_write_takes_bytes_alone_and_not_before_the_start(self):
        with self.assertRaisesRegex(AssertionError, "before start_response"):
            self.start_response.write(b"x")
        write = self.start_response(OK, TEXT)
        with self.assertRaisesRegex(TypeError, "not str .encode it"):
            write("text")
        self.response.is_gone = True
        with self.assertRaises(BrokenPipeError):
            write(b"x")


class Closing:
    """An iterable that counts how often it was closed."""

    def __init__(self, blocks, fails_at_close=False):
        self.iterator = iter(blocks)
        self.closed = 0
        self.fails_at_close = fails_at_close

    def __iter__(self):
        return self.iterator

    def close(self):
        self.closed += 1
        if self.fails_at_close:
            failing()


class TheBody(unittest.TestCase):
    def test_b1_a_block_is_asked_for_when_it_is_wanted(self):
        asked = []

        def blocks():
            for number in range(3):
                asked.append(number)
                yield b"%d" % number

        resource = body(blocks()).value
        self.assertEqual(asked, [])
        self.assertEqual(resource.next(), b"0")
        self.assertEqual(asked, [0])

    def test_b2_close_is_called_once_at_the_end_and_on_an_error(self):
        for iterable in (Closing([b"a", b"b"]), Closing([])):
            resource = Blocks(iterable)
            while resource.next() is not None:
                pass
            resource.close()
            resource.close()
            self.assertEqual(iterable.closed, 1)
        broken = Closing(failing() for _ in range(1))
        with self.assertRaises(Err) as caught:
            Blocks(broken).next()
        self.assertEqual(caught.exception.value.kind, "LookupError")
        self.assertEqual(broken.closed, 0, "the host calls close after an error")

    def test_b2_close_is_called_though_nothing_was_asked_for(self):
        iterable = Closing([b"a"])
        Blocks(iterable).close()
        self.assertEqual(iterable.closed, 1)

    def test_b2_a_failure_of_close_is_told(self):
        with self.assertRaises(Err) as caught:
            Blocks(Closing([], fails_at_close=True)).close()
        self.assertEqual(caught.exception.value.message, "no such thing")

    def test_b4_a_list_of_one_block_is_sent_whole(self):
        self.assertEqual(body([b"x"]), Body_Block(b"x"))
        self.assertEqual(body([]), Body_Block(b""))
        self.assertEqual(body((b"x",)), Body_Block(b"x"))
        self.assertIsInstance(body([b"x", b"y"]), Body_Blocks)

    def test_b6_a_file_wrapper_gives_blocks_and_closes_its_file(self):
        file = io.BytesIO(b"abcde")
        wrapper = FileWrapper(file, 2)
        resource = body(wrapper).value
        self.assertEqual([resource.next() for _ in range(4)], [b"ab", b"cd", b"e", None])
        resource.close()
        self.assertTrue(file.closed)
        self.assertFalse(hasattr(FileWrapper(iter([])), "close"))

    def test_what_is_no_iterable_of_bytes_is_refused(self):
        for result, words in (
            (b"bytes", "put it into a list"),
            ("text", "put it into a list"),
            (None, "not NoneType"),
            (["text"], "not str .encode it"),
        ):
            with self.assertRaisesRegex(TypeError, words):
                body(result)
        with self.assertRaises(Err) as caught:
            body(iter(["text"])).value.next()
        self.assertEqual(caught.exception.value.kind, "TypeError")


class WhatIsLong(unittest.TestCase):
    """No call passes more, and no block is longer, than a server accepts."""

    MAX_PASSED = 1024 * 1024
    MAX_RETURNED = 8 * 1024 * 1024

    def test_a_long_block_comes_in_pieces(self):
        long = bytes(range(256)) * (self.MAX_RETURNED // 128) + b"end"
        for result in [[long], [b"first", long, b"last"], iter([long, long])]:
            result = list(result)
            blocks = body(list(result)).value
            given = list(iter(blocks.next, None))
            self.assertEqual(b"".join(given), b"".join(result))
            self.assertLessEqual(max(map(len, given)), self.MAX_RETURNED)

    def test_a_long_block_is_written_in_pieces(self):
        response = Response()
        write = StartResponse(response)("200 OK", [])
        long = bytes(range(256)) * (self.MAX_PASSED // 100) + b"end"
        write(long)
        self.assertEqual(b"".join(response.blocks), long)
        self.assertLessEqual(max(map(len, response.blocks)), self.MAX_PASSED)

    def test_a_long_text_is_logged_in_pieces(self):
        environ, lengths = Environ(), []
        environ.write_errors = lambda text: lengths.append(len(text))
        environ_dict(environ)["wsgi.errors"].write("x" * 3 * self.MAX_PASSED)
        self.assertEqual(sum(lengths), 3 * self.MAX_PASSED)
        self.assertLessEqual(max(lengths), self.MAX_PASSED)

    def test_a_long_exception_is_cut(self):
        def raises(environ, start_response):
            raise ValueError("é" * self.MAX_PASSED)

        with self.assertRaises(Err) as raised:
            serve(raises)
        told = raised.exception.value
        texts = [told.kind, told.message, told.traceback]
        self.assertLess(sum(len(text.encode()) for text in texts), self.MAX_PASSED)


class TheCall(unittest.TestCase):
    def test_an_exception_is_told_whole(self):
        def application(environ, start_response):
            try:
                failing()
            except LookupError as error:
                raise RuntimeError("because") from error

        with self.assertRaises(Err) as caught:
            serve(application)
        told = caught.exception.value
        self.assertEqual((told.kind, told.message), ("RuntimeError", "because"))
        self.assertIn("in failing", told.traceback)
        self.assertIn("direct cause", told.traceback)
        self.assertNotIn("wasgi/guest/", told.traceback)

    def test_an_exit_is_an_exception_too(self):
        for error in (SystemExit(3), KeyboardInterrupt()):

            def application(environ, start_response):
                raise error

            with self.assertRaises(Err) as caught:
                serve(application)
            self.assertEqual(caught.exception.value.kind, type(error).__name__)

    def test_an_exception_that_can_not_be_printed_is_told_all_the_same(self):
        class Mute(Exception):
            def __str__(self):
                raise ValueError

        def application(environ, start_response):
            raise Mute

        with self.assertRaises(Err) as caught:
            serve(application)
        self.assertTrue(caught.exception.value.kind.endswith("Mute"))

    def test_an_instance_draws_random_numbers_of_its_own(self):
        import random

        def application(environ, start_response):
            start_response(OK, TEXT)
            return [str(random.random()).encode()]

        state = random.getstate()
        drawn = set()
        for _ in range(3):
            random.setstate(state)
            drawn.add(serve(application).blocks[0])
        self.assertEqual(len(drawn), 3)

    def test_the_validator_has_no_complaint(self):
        def application(environ, start_response):
            environ["wsgi.input"].read(5)
            environ["wsgi.input"].readline(5)
            environ["wsgi.errors"].write("a line\n")
            start_response(OK, TEXT)
            return [b"a", b"b"]

        environ = Environ(
            [b"a body\n"], REQUEST_METHOD=b"POST", SERVER_NAME=b"test", SERVER_PORT=b"80",
            SERVER_PROTOCOL=b"HTTP/1.1", SCRIPT_NAME=b"", PATH_INFO=b"/", QUERY_STRING=b"",
            wsgi__version=b"1.0", wsgi__url_scheme=b"http", wsgi__multithread=b"false",
            wsgi__multiprocess=b"true", wsgi__run_once=b"true",
        )  # fmt: skip
        self.assertEqual(serve(validator(application), environ).blocks, [b"a", b"b"])


if __name__ == "__main__":
    unittest.main()

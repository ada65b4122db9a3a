"""HTTPS without OpenSSL: what a client may write, and the names of `ssl`."""

import ast
import importlib.util
import random
import socket
import sys
import unittest
from unittest import mock

import fakes  # noqa: F401 (puts the package on the path)

from wasgi.guest import https, outgoing, ssl_module
from wasgi.guest.request_parser import RequestParser


def parsed(pieces):
    """Returns the head, the body, and whether the request is complete."""
    parser, body = RequestParser(), b""
    for piece in pieces:
        body += parser.feed(piece)[1]
    return parser.head, body, parser.is_complete


class Requests(unittest.TestCase):
    REQUESTS = (
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b""),
        (b"GET /a?b HTTP/1.1\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nA:\r\nContent-Length: 5\r\n\r\nab\r\nc", b"ab\r\nc"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
        (
            b"POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n"
            b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
            b"abc0123456789",
        ),
    )

    def test_a_request_is_the_same_in_whatever_pieces_it_comes(self):
        for text, body in self.REQUESTS:
            whole = parsed([text])
            self.assertEqual(whole[1:], (body, True), text)
            self.assertEqual(parsed(text[at : at + 1] for at in range(len(text))), whole)
            for at in range(len(text)):
                self.assertEqual(parsed([text[:at], b"", text[at:]]), whole, at)
                self.assertFalse(parsed([text[:at]])[2], at)

    def test_what_could_mean_something_else_is_refused(self):
        for text in (
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n",
            b"GET  / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET https://a/ HTTP/1.1\r\n\r\n",
            b"CONNECT a:443 HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 1" + b"0" * 20 + b"\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 300,
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nab",
            b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: " + b"x" * (65 << 10),
        ):
            with self.assertRaises(ValueError, msg=text[:100]):
                parsed([text])

    def test_any_bytes_are_a_request_or_an_error(self):
        generator = random.Random(16)
        for text, _ in self.REQUESTS * 200:
            mutated = bytearray(text)
            for _ in range(generator.randrange(1, 4)):
                mutated[generator.randrange(len(mutated))] = generator.randrange(256)
            try:
                parsed([bytes(mutated)])
            except ValueError as error:
                self.assertTrue(str(error))


class Names(unittest.TestCase):
    def test_the_module_has_the_names_that_the_standard_library_and_clients_use(self):
        for module in ("http.client", "urllib.request", "smtplib", "imaplib", "ftplib", "asyncio.sslproto"):
            source = importlib.util.find_spec(module).loader.get_source(module)
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    if node.value.id == "ssl":
                        self.assertTrue(hasattr(ssl_module, node.attr), f"{module}: {node.attr}")
        for name in (
            "CERT_REQUIRED", "HAS_NEVER_CHECK_COMMON_NAME", "OP_NO_COMPRESSION", "OP_NO_TICKET",
            "OPENSSL_VERSION", "OPENSSL_VERSION_NUMBER", "PROTOCOL_TLS", "PROTOCOL_TLS_CLIENT",
            "VERIFY_X509_PARTIAL_CHAIN", "VERIFY_X509_STRICT", "OP_NO_SSLv2", "OP_NO_SSLv3",
            "SSLContext", "TLSVersion", "PROTOCOL_SSLv23", "SSLObject", "MemoryBIO", "Purpose",
        ):  # fmt: skip
            self.assertTrue(hasattr(ssl_module, name), name)

    def test_a_setting_that_would_refuse_certificates_is_an_error_that_says_what_to_do(self):
        context = ssl_module.create_default_context()
        context.load_verify_locations("/packages/certifi/cacert.pem")
        for call, text in (
            (lambda: context.load_verify_locations("/app/own.pem"), "SSL_CERT_FILE"),
            (lambda: context.load_verify_locations(cadata="x"), "SSL_CERT_FILE"),
            (lambda: context.load_cert_chain("client.pem"), "a proxy that has it"),
            (lambda: context.wrap_bio(None, None), "a proxy beside the server"),
            (lambda: context.wrap_socket(None, server_side=True), "the server does"),
        ):
            with self.assertRaisesRegex(ssl_module.SSLError, text):
                call()

    @mock.patch.dict(sys.modules, ssl=ssl_module)
    def test_a_certificate_is_checked_for_the_host_of_the_connection_only(self):
        context = ssl_module.create_default_context()
        unconnected = https.UnconnectedSocket("one.test", 443)
        with self.assertRaisesRegex(ssl_module.SSLError, "one.test, and not for two.test"):
            context.wrap_socket(unconnected, server_hostname="two.test")
        wrapped = context.wrap_socket(unconnected, server_hostname="ONE.test.")
        self.assertEqual(wrapped.getpeercert()["subjectAltName"], (("DNS", "one.test"),))

    def test_each_error_of_the_server_is_an_exception_of_the_system(self):
        names = [*outgoing._CONNECTING, *outgoing._CONNECTED, "LoopDetected"]
        for name in names:
            error = outgoing.failure(name, None, "a.test")
            self.assertIsInstance(error, OSError, name)
            is_before = name in outgoing._CONNECTING
            self.assertEqual(getattr(error, "is_of_connection", False), is_before, name)
        self.assertIsInstance(outgoing.failure("DnsError", None, "a.test"), socket.gaierror)


if __name__ == "__main__":
    unittest.main()

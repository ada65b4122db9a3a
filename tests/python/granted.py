"""A WSGI application for the tests of grants: evaluates the expression in its query, which may use
the network and buckets, and returns the result or the exception."""

import http.client
import smtplib
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

from wasgi import kv

#: Opened while the application is imported, and used by requests.
BUCKET = kv.open("default")


def get(url, timeout=None):
    with urllib.request.urlopen(url, timeout=timeout) as response:
        return response.read().decode()


def head(url):
    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request) as response:
        return response.status, response.headers["Content-Length"], response.read()


def status(url):
    host = url.split("/")[2]
    connection = http.client.HTTPSConnection(host)
    connection.request("GET", "/" + url.split("/", 3)[3])
    response = connection.getresponse()
    return response.status, response.read()


def post(url, body):
    """Sends a body, with its length or, if it is an iterator, in chunks."""
    return get(urllib.request.Request(url, data=body, method="POST"))


def blocks(count, size):
    for _ in range(count):
        yield b"x" * size


def twice(host):
    """Sends two requests by one connection of the client."""
    connection = http.client.HTTPSConnection(host)
    answers = []
    for _ in range(2):
        connection.request("GET", "/hello")
        answers.append(connection.getresponse().read())
    return answers


def raw(host, data, name="localhost"):
    """Sends bytes by a socket that is connected first, as other clients do. Returns the first line
    and the body of the response."""
    plain = socket.create_connection((name, int(host.rpartition(":")[2])))
    with ssl.create_default_context().wrap_socket(plain, server_hostname=name) as encrypted:
        encrypted.sendall(data)
        text = b"".join(iter(lambda: encrypted.recv(1000), b""))
    return text.split(b"\r\n")[0], text.rpartition(b"\r\n\r\n")[2]


def by_bytes(url, count):
    """Reads the beginning of a response byte by byte."""
    with urllib.request.urlopen(url) as response:
        return sum(len(response.fp.raw.read(1)) for _ in range(count))


def dropped(url, count):
    """Begins responses and drops them, some of them in reference cycles."""
    for number in range(count):
        response = urllib.request.urlopen(url)
        if number % 2:
            response.cycle = [response]
    return "dropped"


def mail(host):
    return smtplib.SMTP_SSL(host)


def client_certificate():
    ssl.create_default_context().load_cert_chain("client.pem")


def own_authority():
    ssl.create_default_context(cafile="authority.pem")


def proxied(host):
    connection = http.client.HTTPSConnection("localhost:3128")
    connection.set_tunnel(host)
    connection.request("GET", "/")


def unverified(url):
    context = ssl._create_unverified_context()
    with urllib.request.urlopen(url, context=context) as response:
        return response.read().decode()


def application(environ, start_response):
    expression = urllib.parse.unquote(environ["QUERY_STRING"])
    try:
        result = eval(expression)
    except Exception as error:
        result = f"{type(error).__module__}.{type(error).__qualname__}: {error}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(result).encode()]

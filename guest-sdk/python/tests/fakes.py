"""The contract's resources and the modules that componentize-py would generate, in plain Python.

Import this before any module of `wasgi.guest`.
"""

import enum
import sys
import types
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))


@dataclass(frozen=True)
class Err(Exception):
    value: object


@dataclass
class Ok:
    value: object


class InputError(enum.Enum):
    DISCONNECTED = 0
    TIMED_OUT = 1
    TOO_LARGE = 2
    MALFORMED = 3


class WriteError(enum.Enum):
    NOT_STARTED = 0
    DISCONNECTED = 1


@dataclass
class StartError_AlreadyStarted:
    pass


@dataclass
class StartError_HeadSent:
    pass


@dataclass
class StartError_Refused:
    value: str


@dataclass
class ExceptionRecord:
    kind: str
    message: str
    traceback: str


@dataclass
class Body_Block:
    value: bytes


@dataclass
class Body_Blocks:
    value: object


def _install():
    gateway = types.ModuleType("wit_world.imports.gateway")
    gateway.Exception = ExceptionRecord
    gateway.Environ, gateway.StartResponse = Environ, Response
    application = types.ModuleType("wit_world.exports.application")
    application.Body_Block, application.Body_Blocks = Body_Block, Body_Blocks
    types_module = types.ModuleType("componentize_py_types")
    types_module.Err, types_module.Ok = Err, Ok
    world = types.ModuleType("wit_world")
    imports = types.ModuleType("wit_world.imports")
    exports = types.ModuleType("wit_world.exports")
    imports.gateway, exports.application = gateway, application
    for module in (gateway, application, types_module, world, imports, exports):
        sys.modules[module.__name__] = module


class Environ:
    """A request."""

    def __init__(self, blocks=(), fails=None, **variables):
        self._blocks = list(blocks)
        self._fails = fails
        self._variables = {name.replace("__", "."): value for name, value in variables.items()}
        self.log = b""
        #: The requested sizes.
        self.reads = []

    def variables(self):
        return list(self._variables.items())

    def get(self, name):
        return self._variables.get(name)

    def read(self, size):
        self.reads.append(size)
        if not self._blocks:
            if self._fails:
                raise Err(self._fails)
            return b""
        block, rest = self._blocks[0][:size], self._blocks[0][size:]
        self._blocks[:1] = [rest] if rest else []
        return block

    def write_errors(self, text):
        self.log += text


class Response:
    """A response that follows the host's rules R2 to R4 and R6."""

    def __init__(self):
        self.head = None
        self.exc_info = None
        self.is_sent = False
        self.refusal = None
        self.is_gone = False
        self.blocks = []

    def call(self, status, headers, exc_info):
        if self.refusal:
            raise Err(StartError_Refused(self.refusal))
        if self.head and exc_info is None:
            raise Err(StartError_AlreadyStarted())
        if self.is_sent:
            raise Err(StartError_HeadSent())
        assert isinstance(status, bytes), "a status crosses as bytes"
        self.head, self.exc_info = (status.decode("iso-8859-1"), headers), exc_info

    def write(self, block):
        if self.is_gone:
            raise Err(WriteError.DISCONNECTED)
        if not self.head:
            raise Err(WriteError.NOT_STARTED)
        self.is_sent = True
        self.blocks.append(block)


_install()


def serve(wsgi_application, environ=None):
    """Handles a request as the host does. Returns the response, or raises the exception that the
    host would log."""
    from wasgi.guest.application import application_class

    return answered(application_class(wsgi_application)(), environ)


def answered(application, environ=None):
    """Handles a request with the binding's `Application`, which `serve` wraps."""
    environ = environ or Environ()
    response = Response()
    body = application.call(environ, response)
    if isinstance(body, Body_Block):
        assert response.head, "no start_response"
        response.blocks.append(body.value)
        return response
    try:
        while (block := body.value.next()) is not None:
            if block:
                response.write(block)
    finally:
        body.value.close()
    return response

"""The module `ssl` of the sandbox, whose Python has no OpenSSL.

A context and its sockets send HTTPS requests, which the server encrypts (`wasgi.guest.https`). The
server also decides which certificates are good, so that settings of a context that would accept
fewer raise an error, and those that would accept more have no effect.
"""

from __future__ import annotations

import enum
import os

from wasgi.guest.https import HttpsSocket
from wasgi.guest.request_parser import NOT_HTTP

#: Programs look for "OpenSSL" and a version that is new enough. There is none here.
OPENSSL_VERSION = "OpenSSL 3.0.0 (its interface; TLS is the server's)"
OPENSSL_VERSION_INFO = (3, 0, 0, 0, 0)
OPENSSL_VERSION_NUMBER = 0x30000000

HAS_ALPN = HAS_SNI = HAS_TLSv1_2 = HAS_TLSv1_3 = HAS_NEVER_CHECK_COMMON_NAME = True
HAS_ECDH = HAS_PSK = HAS_NPN = HAS_SSLv2 = HAS_SSLv3 = HAS_TLSv1 = HAS_TLSv1_1 = False
CHANNEL_BINDING_TYPES: list[str] = []
SOCK_STREAM = 1

_CLIENT_CERTIFICATE = (
    "the sandbox can't present a client certificate: the server sends HTTPS requests, and has "
    "none; send them through a proxy that has it"
)
_AUTHORITY = (
    "the sandbox can't add certificate authorities: the server checks certificates, with those of "
    "its system; add it there, or to the file that SSL_CERT_FILE names in the server's environment"
)

class SSLError(OSError):
    """An error of TLS."""

    library = reason = None

    def __str__(self) -> str:
        return str(self.strerror or super().__str__())


class SSLZeroReturnError(SSLError):
    """The connection was closed."""


class SSLWantReadError(SSLError):
    """There is nothing to read yet."""


class SSLWantWriteError(SSLError):
    """Nothing can be written yet."""


class SSLSyscallError(SSLError):
    """A system call has failed."""


class SSLEOFError(SSLError):
    """The connection has ended unexpectedly."""


class SSLCertVerificationError(SSLError, ValueError):
    """A certificate is not good."""

    verify_code = 1

    @property
    def verify_message(self) -> str:
        return str(self)


CertificateError = SSLCertVerificationError
socket_error = OSError


class TLSVersion(enum.IntEnum):
    MINIMUM_SUPPORTED = -2
    SSLv3 = 768
    TLSv1 = 769
    TLSv1_1 = 770
    TLSv1_2 = 771
    TLSv1_3 = 772
    MAXIMUM_SUPPORTED = -1


class VerifyMode(enum.IntEnum):
    CERT_NONE = 0
    CERT_OPTIONAL = 1
    CERT_REQUIRED = 2


class VerifyFlags(enum.IntFlag):
    VERIFY_DEFAULT = 0
    VERIFY_CRL_CHECK_LEAF = 0x4
    VERIFY_CRL_CHECK_CHAIN = 0xC
    VERIFY_X509_STRICT = 0x20
    VERIFY_ALLOW_PROXY_CERTS = 0x40
    VERIFY_X509_TRUSTED_FIRST = 0x8000
    VERIFY_X509_PARTIAL_CHAIN = 0x80000


class Options(enum.IntFlag):
    OP_ALL = 0x80000050
    OP_LEGACY_SERVER_CONNECT = 0x4
    OP_IGNORE_UNEXPECTED_EOF = 0x80
    OP_NO_TICKET = 0x4000
    OP_NO_COMPRESSION = 0x20000
    OP_NO_SSLv2 = 0
    OP_SINGLE_DH_USE = 0
    OP_SINGLE_ECDH_USE = 0
    OP_CIPHER_SERVER_PREFERENCE = 0x400000
    OP_NO_SSLv3 = 0x2000000
    OP_NO_TLSv1 = 0x4000000
    OP_NO_TLSv1_1 = 0x10000000
    OP_NO_TLSv1_2 = 0x8000000
    OP_NO_TLSv1_3 = 0x20000000
    OP_NO_RENEGOTIATION = 0x40000000


class _SSLMethod(enum.IntEnum):
    PROTOCOL_SSLv23 = 2
    PROTOCOL_TLS = 2
    PROTOCOL_TLSv1 = 3
    PROTOCOL_TLSv1_1 = 4
    PROTOCOL_TLSv1_2 = 5
    PROTOCOL_TLS_CLIENT = 16
    PROTOCOL_TLS_SERVER = 17


class AlertDescription(enum.IntEnum):
    ALERT_DESCRIPTION_CLOSE_NOTIFY = 0
    ALERT_DESCRIPTION_HANDSHAKE_FAILURE = 40
    ALERT_DESCRIPTION_INTERNAL_ERROR = 80


class SSLErrorNumber(enum.IntEnum):
    SSL_ERROR_SSL = 1
    SSL_ERROR_WANT_READ = 2
    SSL_ERROR_WANT_WRITE = 3
    SSL_ERROR_SYSCALL = 5
    SSL_ERROR_ZERO_RETURN = 6
    SSL_ERROR_EOF = 8


class Purpose(enum.Enum):
    SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"


for _kind in (VerifyMode, VerifyFlags, Options, _SSLMethod, AlertDescription, SSLErrorNumber):
    globals().update(_kind.__members__)


class SSLSocket(HttpsSocket):
    """A connection for one HTTPS request."""


class _Unavailable:
    def __init__(self, *_, **__) -> None:
        raise SSLError(1, NOT_HTTP)


class SSLObject(_Unavailable):
    """TLS over memory, which the sandbox lacks."""


class MemoryBIO(_Unavailable):
    """TLS over memory, which the sandbox lacks."""


class SSLSession(_Unavailable):
    """Sessions are the server's."""


class SSLContext:
    """The settings of HTTPS requests. Most have no effect: the server's apply."""

    sslsocket_class = SSLSocket
    sslobject_class = SSLObject
    minimum_version = TLSVersion.TLSv1_2
    maximum_version = TLSVersion.MAXIMUM_SUPPORTED
    options = Options.OP_ALL
    verify_flags = VerifyFlags.VERIFY_X509_TRUSTED_FIRST
    hostname_checks_common_name = False
    post_handshake_auth = False
    keylog_filename = sni_callback = None
    security_level = 2
    num_tickets = 0

    def __init__(self, protocol: int = _SSLMethod.PROTOCOL_TLS, *_, **__) -> None:
        self.protocol = protocol
        is_client = protocol == _SSLMethod.PROTOCOL_TLS_CLIENT
        self.check_hostname = is_client
        self.verify_mode = VerifyMode.CERT_REQUIRED if is_client else VerifyMode.CERT_NONE
        self._alpn: list[str] = []

    def load_cert_chain(self, certfile, keyfile=None, password=None) -> None:
        raise SSLError(1, _CLIENT_CERTIFICATE)

    def load_verify_locations(self, cafile=None, capath=None, cadata=None) -> None:
        """Accepts the public authorities, as `certifi` has them: the server's system has them, too."""
        if cafile is None and capath is None and cadata is None:
            raise TypeError("cafile, capath and cadata cannot be all omitted")
        is_public = cafile is not None and _is_of_certifi(os.fsdecode(cafile))
        if capath is not None or cadata is not None or not is_public:
            raise SSLError(1, _AUTHORITY)

    def _accept(self, *_, **__) -> None:
        pass

    load_default_certs = set_default_verify_paths = set_ciphers = set_ecdh_curve = _accept
    set_servername_callback = set_npn_protocols = _accept

    def set_alpn_protocols(self, alpn_protocols) -> None:
        self._alpn = list(alpn_protocols)

    def get_ca_certs(self, binary_form: bool = False) -> list:
        return []

    def get_ciphers(self) -> list:
        return []

    def cert_store_stats(self) -> dict[str, int]:
        return {"x509": 0, "crl": 0, "x509_ca": 0}

    def session_stats(self) -> dict[str, int]:
        return {}

    def wrap_socket(
        self, sock, server_side=False, do_handshake_on_connect=True, suppress_ragged_eofs=True,
        server_hostname=None, session=None,
    ):  # fmt: skip
        """Returns a socket for an HTTPS request to the host that the socket is connected to."""
        if server_side:
            raise SSLError(1, "the sandbox can't serve TLS: the server does")
        if isinstance(sock, SSLSocket):
            raise SSLError(1, "the sandbox can't encrypt within TLS: HTTPS proxies can't be used")
        protocol = "http/1.1" if "http/1.1" in self._alpn else None
        return self.sslsocket_class.around(self, sock, server_hostname, protocol)

    def wrap_bio(self, *_, **__):
        raise SSLError(1, NOT_HTTP)


def _is_of_certifi(path: str) -> bool:
    return path.endswith("certifi/cacert.pem")


def create_default_context(purpose=Purpose.SERVER_AUTH, *, cafile=None, capath=None, cadata=None):
    """Returns a context whose requests the server checks with the authorities of its system."""
    context = SSLContext(PROTOCOL_TLS_CLIENT)  # noqa: F821
    if cafile or capath or cadata:
        context.load_verify_locations(cafile, capath, cadata)
    return context


def _create_unverified_context(*_, **__):
    """Returns a context. The server checks certificates nevertheless."""
    context = SSLContext(PROTOCOL_TLS_CLIENT)  # noqa: F821
    context.check_hostname, context.verify_mode = False, VerifyMode.CERT_NONE
    return context


_create_default_https_context = create_default_context
_create_stdlib_context = _create_unverified_context


class DefaultVerifyPaths(tuple):
    """The files with authorities, of which the sandbox has none."""

    cafile = capath = None
    openssl_cafile_env, openssl_capath_env = "SSL_CERT_FILE", "SSL_CERT_DIR"
    openssl_cafile = openssl_capath = ""


def get_default_verify_paths() -> DefaultVerifyPaths:
    return DefaultVerifyPaths()


def get_server_certificate(*_, **__):
    raise SSLError(1, "the sandbox doesn't see certificates: the server checks them")


def RAND_bytes(num: int) -> bytes:
    return os.urandom(num)


def RAND_status() -> bool:
    return True


def RAND_add(string, entropy) -> None:
    pass


# As the exceptions and the classes are shown to users.
for _value in list(globals().values()):
    if isinstance(_value, type) and _value.__module__ == __name__:
        _value.__module__ = "ssl"

"""WsgiDAV: a share with files to read, and one that is written to while an instance lives."""

import os

from wsgidav.wsgidav_app import WsgiDAVApp

HERE = os.path.dirname(__file__)
os.makedirs("/tmp/share", exist_ok=True)

app = WsgiDAVApp(
    {
        "provider_mapping": {
            "/files": {"root": os.path.join(HERE, "static"), "readonly": True},
            "/tmp": "/tmp/share",
        },
        "simple_dc": {"user_mapping": {"*": True}},
        "logging": {"enable": False},
        "verbose": 1,
    }
)

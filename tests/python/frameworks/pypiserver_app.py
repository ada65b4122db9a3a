"""pypiserver for a folder with one package."""

import os

import pypiserver

app = pypiserver.app(roots=[os.path.join(os.path.dirname(__file__), "packages")])

"""Runs in the sandbox: the binding between the contract and WSGI, and replacements for the missing
file system.

No module in this package may import a module that componentize-py generates before the class
``Application`` is created: the native tests provide their own.
"""

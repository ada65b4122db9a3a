"""CherryPy: a page, an upload, and static files."""

import os

import cherrypy


class Root:
    @cherrypy.expose
    def index(self):
        return f"Hello from {cherrypy.request.script_name}"

    @cherrypy.expose
    def upload(self, file):
        return f"{file.filename} {len(file.file.read())}"


def app(environ, start_response):
    # CherryPy needs to know the path at which it is mounted.
    place = environ["SCRIPT_NAME"]
    if place not in cherrypy.tree.apps:
        static = {
            "tools.staticdir.on": True,
            "tools.staticdir.dir": os.path.join(os.path.dirname(__file__), "static"),
        }
        cherrypy.tree.mount(Root(), place, {"/static": static})
    return cherrypy.tree(environ, start_response)


cherrypy.config.update({"environment": "embedded"})

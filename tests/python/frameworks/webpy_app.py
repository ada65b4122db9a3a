"""web.py: a page and an upload."""

import web

urls = ("/", "Hello", "/upload", "Upload")


class Hello:
    def GET(self):
        return f"Hello from {web.ctx.homepath}"


class Upload:
    def POST(self):
        file = web.input(file={})["file"]
        return f"{file.filename} {len(file.file.read())}"


app = web.application(urls, globals()).wsgifunc()

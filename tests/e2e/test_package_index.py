"""What a package index of a company may lack."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def test_an_index_without_upload_dates_is_recognised(bake):
    class Index(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.strip("/").split("/")[-1]
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(
                f"<a href='{name}-99-py3-none-any.whl'>{name.replace('-', '_')}-99-py3-none-any.whl</a>".encode()
            )

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        index = f"http://127.0.0.1:{server.server_port}/simple"
        printed = bake().run("make", "setup", fails=True, UV_DEFAULT_INDEX=index)
    finally:
        server.shutdown()
    assert "remove exclude-newer from pyproject.toml" in printed

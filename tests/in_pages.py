"""A built site on a server of its own, as tests and the benchmark of its pages open it."""

import contextlib
import functools
import http.server
import threading

# From here on the page keeps, for each new picture of a widget, the milliseconds since the last
# input at one of its sliders.
MOVES = """box => { window.moves = []; let start = 0;
    box.addEventListener('input', () => { start = performance.now(); }, true);
    const seen = () => window.moves.push(performance.now() - start);
    new MutationObserver(seen).observe(
        box, {attributes: true, attributeFilter: ['data-drawn'], subtree: true}); }"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve(folder):
    """The address of a server of the files in a folder."""
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def listen(page, address):
    """(complaints, addresses): of all that a page says in its console and asks for from now on."""
    complaints, asked = [], []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    return complaints, asked


def open_widget(page, k=0):
    """Scroll to the widget of a number; it, once it is alive."""
    box = page.locator(".dvae-live").nth(k)
    box.scroll_into_view_if_needed()
    page.locator(".dvae-live.dvae-ready").nth(k).wait_for(timeout=60_000)
    return box

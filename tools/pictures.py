"""Take the README's picture: four pages of the demo's repository, side by side, as a browser shows them.

    make year pictures

Writes docs/overview.png. The pages are those of build/flight-delays after `make year`; the service is asked for a
flight.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Error, Page, sync_playwright

DEMO = Path("build/flight-delays")
PICTURE = Path("docs/overview.png")
WIDTH, HEIGHT = 700, 640  # of each page
PAGES = {
    "report.html": "the report: how good, where weak, what matters",
    "service": "the service: an answer in words, what drove it",
    "monitoring.html": "monitoring: what has drifted, what the outcomes say",
    "review.html": "the sprint review, for domain experts",
}
FRAME = """<style>
body {{ margin: 0; padding: 16px; background: #e8ebef; font: 24px system-ui, sans-serif; width: {width}px;
  display: grid; grid-template-columns: 1fr 1fr; gap: 16px; }}
figure {{ margin: 0; }} figcaption {{ padding: 0 0 8px; color: #1d2b3a; }}
img {{ border: 1px solid #b8c0ca; display: block; }}
</style>{figures}"""


@contextmanager
def service() -> Iterator[str]:
    """Run the demo's service; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"SERVE_PORT": str(port), "SERVE_OPEN": "true"}
    settings["DATABASE_URL"] = f"sqlite:///{Path('build').resolve()}/pictures.db"  # the demo's own log stays as it is
    command = [str(DEMO.resolve() / ".venv/bin/python"), "-m", "modelcycle", "serve"]
    process = subprocess.Popen(command, cwd=DEMO, env=os.environ | settings, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


def ask(page: Page, address: str) -> None:
    """Open the service's page when it answers, and ask for a flight."""
    for _ in range(300):
        try:
            page.goto(address)
            break
        except Error:
            time.sleep(0.2)
    page.get_by_label("scheduled_departure").fill("2013-11-08T18:30")
    page.locator("[name=carrier]").select_option("B6")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("What drove it:").wait_for()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")  # the answer is below the form


def main() -> None:
    """Take the four pictures and put them into one."""
    review = [str(DEMO.resolve() / ".venv/bin/python"), "-m", "modelcycle", "review", "--since", "2000-01-01"]
    subprocess.run(review, cwd=DEMO, check=True)
    parts = Path("build/pictures")
    parts.mkdir(exist_ok=True)
    with sync_playwright() as playwright, service() as address:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        figures = ""
        for name, caption in PAGES.items():
            if name == "service":
                ask(page, address)
            else:
                page.goto((DEMO / "reports" / name).resolve().as_uri())
            if name == "report.html":
                page.get_by_role("heading", name="Where it is weak").evaluate("e => scrollTo(0, e.offsetTop - 16)")
            page.screenshot(path=parts / f"{name}.png")
            figures += f"<figure><figcaption>{caption}</figcaption><img src='{name}.png'></figure>"
        width = 2 * (WIDTH + 2) + 16
        (parts / "all.html").write_text(FRAME.format(width=width, figures=figures), encoding="utf-8")
        page.set_viewport_size({"width": width + 32, "height": 100})
        page.goto((parts / "all.html").resolve().as_uri())
        page.screenshot(path=PICTURE, full_page=True)
        browser.close()
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1000} kB")


if __name__ == "__main__":
    if not (DEMO / "reports/monitoring.html").exists():
        sys.exit(f"{DEMO} has no reports/monitoring.html; type `make demo` first.")
    main()

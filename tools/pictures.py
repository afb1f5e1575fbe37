"""Take the README's picture: four pages of the demo's repository, side by side, as a browser shows them.

    make demo pictures

Writes docs/overview.jpg. The pages are those of build/flight-delays after `make demo`; the service is asked for a
flight.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Error, Page, sync_playwright

DEMO = Path("build/flight-delays")
PICTURE = Path("docs/overview.jpg")
CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 900, 860  # of each page
PAGES = {
    "report.html": "the report: how good, where weak, what matters",
    "service": "the service: an answer in words, what drove it",
    "monitoring.html": "monitoring: what has drifted, what the outcomes say",
    "review.html": "the sprint review, for domain experts",
}
FRAME = """<style>
body {{ margin: 0; padding: 24px; background: #e8ebef; font: 24px system-ui, sans-serif; width: {width}px;
  display: grid; grid-template-columns: 1fr 1fr; gap: 24px; }}
figure {{ margin: 0; }} figcaption {{ padding: 0 0 8px; color: #1d2b3a; }}
img {{ width: 100%; border: 1px solid #b8c0ca; background: #fff; display: block; }}
</style>{figures}"""


def show_service(page: Page) -> subprocess.Popen[bytes]:
    """Start the service, open its page and ask for a flight. Returns its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"SERVE_PORT": str(port), "SERVE_OPEN": "true"}
    settings["DATABASE_URL"] = f"sqlite:///{Path('build').resolve()}/pictures.db"  # the demo's own log stays as it is
    command = [str(DEMO.resolve() / ".venv/bin/python"), "-m", "flight_delays", "serve"]
    process = subprocess.Popen(command, cwd=DEMO, env=os.environ | settings, stdout=subprocess.DEVNULL)
    for _ in range(300):
        try:
            page.goto(f"http://127.0.0.1:{port}/")
            break
        except Error:
            time.sleep(0.2)
    page.get_by_label("scheduled_departure").fill("2013-11-08T18:30")
    page.get_by_label("carrier").select_option("B6")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("What drove it:").wait_for()
    return process


def main() -> None:
    """Take the four pictures and put them into one."""
    review = [str(DEMO.resolve() / ".venv/bin/python"), "-m", "flight_delays", "review", "--since", "2000-01-01"]
    subprocess.run(review, cwd=DEMO, check=True)
    parts = Path("build/pictures")
    parts.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        figures = ""
        for name, caption in PAGES.items():
            service = show_service(page) if name == "service" else None
            if not service:
                page.goto((DEMO / "reports" / name).resolve().as_uri())
            if name in ("report.html", "service"):  # its plots, the answer
                page.mouse.wheel(0, 10_000 if service else 1100)
                page.wait_for_timeout(300)
            page.screenshot(path=parts / f"{name}.png")
            figures += f"<figure><figcaption>{caption}</figcaption><img src='{name}.png'></figure>"
            if service:
                service.terminate()
                service.wait()
        width = 2 * WIDTH - 200
        (parts / "all.html").write_text(FRAME.format(width=width, figures=figures), encoding="utf-8")
        page.set_viewport_size({"width": width + 48, "height": 100})
        page.goto((parts / "all.html").resolve().as_uri())
        page.screenshot(path=PICTURE, full_page=True, type="jpeg", quality=75)
        browser.close()
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1000} kB")


if __name__ == "__main__":
    if not (DEMO / "reports/monitoring.html").exists():
        sys.exit(f"{DEMO} has no reports/monitoring.html; type `make demo` first.")
    main()

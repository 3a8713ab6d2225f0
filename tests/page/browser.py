"""Pages as a real browser shows them."""

import html
import json
import re
import shutil
import subprocess

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PROBE = """
<script>
const trouble = [];
addEventListener("error", (event) => trouble.push(event.message));
addEventListener("securitypolicyviolation", (event) => trouble.push(event.violatedDirective));
</script>
"""
ANSWER = """
<script>
addEventListener("load", () => {
  let found;
  try {
    found = (() => { %s })();
  } catch (error) {
    trouble.push(String(error));
  }
  parent.postMessage(JSON.stringify({ trouble, found }), "*");
});
</script>
"""
FRAME = """<!DOCTYPE html>
<html style="color-scheme: light dark">
<body>
<pre id="probe"></pre>
<script>
addEventListener("message", (event) => {
  document.getElementById("probe").textContent = event.data;
});
</script>
<iframe src="page.html" width="%d" height="900" style="border: 0"></iframe>
</body>
</html>
"""
"""Around the page: a browser's own window is never narrower than 500 px."""


def find():
    """The path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def ask(page, script, *, folder, width=1280, dark=False):
    """What a script says, run in the page once it is there; raises if anything went wrong."""
    (folder / "page.html").write_text(
        page.replace("</title>", "</title>" + PROBE).replace("</body>", ANSWER % script + "</body>")
    )
    frame = folder / "frame.html"
    frame.write_text(FRAME % width)
    done = subprocess.run(
        [
            find(),
            "--headless",
            "--no-sandbox",  # refused to root, as containers are
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width + 100},1100",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--virtual-time-budget=2000",
            "--dump-dom",
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    probe = re.search(r'<pre id="probe">(.+?)</pre>', done.stdout, re.DOTALL)
    assert probe, done.stderr
    answer = json.loads(html.unescape(probe[1]))
    assert not answer["trouble"], answer["trouble"]
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said, said
    return answer["found"]

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
  const text = JSON.stringify({ trouble, found });
  const probe = document.createElement("pre");
  probe.id = "probe";
  probe.textContent = text;
  document.body.append(probe);
});
</script>
"""


def find():
    """The path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def ask(page, script, *, folder, width=1280, dark=False):
    """What a script says, run in the page once it is there; raises if anything went wrong."""
    file = folder / "page.html"
    file.write_text(
        page.replace("</title>", "</title>" + PROBE).replace("</body>", ANSWER % script + "</body>")
    )
    done = subprocess.run(
        [
            find(),
            "--headless",
            "--no-sandbox",  # refused to root, as containers are
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width},900",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--virtual-time-budget=2000",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    probe = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert probe, done.stderr
    answer = json.loads(html.unescape(probe[1]))
    assert not answer["trouble"], answer["trouble"]
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said, said
    return answer["found"]

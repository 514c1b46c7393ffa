"""Open a page in headless Chromium at several widths and tell what a reader would see of it."""

import html
import json
import re
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SCHEMES = {"dark": 0, "light": 1}  # Chromium's numbers of them

# frames are as wide as the screens; a frame's width is what its style sheet sees
HARNESS = """<!DOCTYPE html><meta charset="utf-8"><body>{frames}<script>
function seen(frame) {{
  const page = frame.contentDocument, view = frame.contentWindow;
  page.querySelectorAll("details").forEach((each) => (each.open = true));
  const outside = (each) => {{
    const box = each.getBoundingClientRect();
    return box.right > view.innerWidth + 0.5 || box.left < -0.5;
  }};
  const text = [...page.querySelectorAll("body *")].filter((each) =>
    [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return {{
    width: view.innerWidth,
    scroll_width: page.documentElement.scrollWidth,
    pictures: [...page.images].map((each) => [each.complete, each.naturalWidth]),
    outside: [...page.querySelectorAll("body *")].filter(outside).map((each) => each.outerHTML),
    paper: view.getComputedStyle(page.body).backgroundColor,
    inks: [...new Set(text.map((each) => view.getComputedStyle(each).color))],
  }};
}}
addEventListener("load", () => {{
  const result = JSON.stringify([...document.querySelectorAll("iframe")].map(seen));
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent = result;
}});
</script>"""


def chromium():
    """The browser's path; the test is skipped where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium found, looked for {', '.join(NAMES)}: install one to run this")
    return path


def look(page, widths, scheme, folder):
    """What is seen of a page at each width.

    Args:
        page: Its file.
        widths: Of the screens, in CSS pixels.
        scheme: "light" or "dark".
        folder: Where the browser may write.

    Returns:
        A dictionary for each width: see the script above.
    """
    frame = '<iframe width="{}" height="800" style="border: 0" src="{}"></iframe>'
    frames = "".join(frame.format(width, page.resolve().as_uri()) for width in widths)
    harness = folder / f"harness-{scheme}.html"
    harness.write_text(HARNESS.format(frames=frames))
    command = [
        chromium(),
        "--headless",
        "--no-sandbox",  # a container has no user namespaces
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
        f"--user-data-dir={folder / 'profile'}",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        "--virtual-time-budget=20000",
        "--dump-dom",
        harness.as_uri(),
    ]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search("<pre>(.*)</pre>", process.stdout, re.DOTALL)
    assert found, f"the browser ended with {process.returncode}: {process.stderr[-2000:]}"
    return json.loads(html.unescape(found[1]))


def contrast(ink, paper):
    """Contrast ratio of two "rgb(r, g, b)", 1 to 21, as WCAG 2 defines it."""
    light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    """Relative luminance of "rgb(r, g, b)", 0 to 1."""
    shares = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
    linear = [
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    ]
    red, green, blue = linear
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

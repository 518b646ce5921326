"""Every link to a page of ours must lead to a file: check_links.py FILE…"""

import pathlib
import re
import sys

broken = [
    f"{page}: {link}"
    for page in sys.argv[1:]
    for link in re.findall(r'href="([^":]+)"', pathlib.Path(page).read_text())
    if not pathlib.Path(page).with_name(link).is_file()
]
print("\n".join(broken) or f"{len(sys.argv) - 1} pages, no broken link")
sys.exit(bool(broken))
